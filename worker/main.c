/* pivotal-sync-worker: a parent with WORKER_PROCESSES children that die with it. The parent
 * only starts, restarts and ends them; each child is one loop with WORKER_INFLIGHT jobs at
 * most. */
#include "worker/worker.h"

#include "common/clock.h"
#include "common/metrics_server.h"
#include "common/proc.h"
#include "core/meters.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    DRAIN_MS = 25000,
    RESTART_MAX_MS = 10000,
    CHILDREN_MAX = 256,
    /* What a job whose time is over may still have under way: a call (90 s), writing what it
     * brought (a statement has 32 s). */
    JOB_END_MS = 180 * 1000,
};

static const struct config_program program = {
    .bit = CONFIG_WORKER,
    .name = "pivotal-sync-worker",
    .version = PIVOTAL_SYNC_VERSION,
    .about = "Pulls work from the queue, asks HubSpot and Stripe, writes to PostgreSQL.",
};

/* ---- a child ---- */

struct child {
    struct worker worker;
    struct app app;
    struct proc *proc;
    uv_loop_t loop;
    int exit_code;
    /* NULL unless METRICS_LISTEN is set */
    struct metrics *metrics;
    struct metrics_server *server;
    struct metric *running, *room;
    char name[40];
};

static void child_ended(void *arg)
{
    struct child *c = arg;
    struct err err = {0};
    int64_t deadline_ms = clock_mono_ms() + DRAIN_MS;
    take_loop(&c->worker);
    while (c->worker.inflight > c->worker.hanging && clock_mono_ms() < deadline_ms) {
        wake_reset(&c->worker.idle);
        if (wake_wait(&c->worker.idle, clock_mono_ms() + 100, &err) != 0) {
            err_clear(&err);
        }
    }
    if (c->worker.inflight > 0) {
        log_warn(c->app.log, "worker.drain",
                 "%d jobs did not end in time; their leases run out", c->worker.inflight);
    }
    uv_stop(&c->loop);
}

static void child_figures(void *arg)
{
    struct child *c = arg;
    metric_set(c->running, c->worker.inflight);
    metric_set(c->room, c->worker.inflight_max - c->worker.inflight);
}

static void child_drain(void *arg)
{
    struct child *c = arg;
    log_info(c->app.log, "worker.drain", "ending: %d jobs in flight", c->worker.inflight);
    proc_notify_stopping();
    c->worker.draining = true;
    wake_fire(&c->worker.idle);
}

/* A folder holds a socket for each child; of HOST:PORT each child has the next port. */
static int child_metrics(struct child *c, struct config *config, int index, struct err *err)
{
    char where[300];
    const char *listen_at = config_text(config, SETTING_METRICS_LISTEN);
    if (listen_at[0] == '\0' || strcmp(listen_at, "off") == 0) {
        return 0;
    }
    const char *colon = strrchr(listen_at, ':');
    bool folder = strchr(listen_at, '/') != NULL;
    int n = folder || colon == NULL
                ? snprintf(where, sizeof where, "%s", listen_at)
                : snprintf(where, sizeof where, "%.*s:%ld", (int)(colon - listen_at), listen_at,
                           strtol(colon + 1, NULL, 10) + index);
    (void)snprintf(c->name, sizeof c->name, "pivotal-sync-worker-%d", index + 1);
    c->metrics = metrics_new(PIVOTAL_SYNC_VERSION, err);
    c->app.meters = c->metrics != NULL ? meters_new(c->metrics) : NULL;
    if (n < 0 || (size_t)n >= sizeof where || c->app.meters == NULL) {
        err_set(err, ERR_CONFIG, "cannot serve metrics at '%s'", listen_at);
        return -1;
    }
    struct metric_family *state = metrics_family(c->metrics, METRIC_GAUGE, "worker_jobs",
                                                 "state", "Jobs of this process");
    c->running = METRIC(state, "running");
    c->room = METRIC(state, "room");
    c->server = metrics_on_write(c->metrics, child_figures, c) == 0
                    ? metrics_server_new(&c->loop, where, c->name, c->metrics, NULL, NULL, err)
                    : NULL;
    return c->server != NULL ? 0 : -1;
}

static int child_main(struct config *config, int index, int64_t parent_pid)
{
    struct err err = {0};
    struct child *c = calloc(1, sizeof *c);
    if (c == NULL || uv_loop_init(&c->loop) != 0) {
        return 1;
    }
    if (proc_die_with_parent(parent_pid) != 0) {
        return 0;
    }
    proc_protect_memory();
    srand((unsigned)(clock_mono_us() ^ getpid()));
    if (app_open(&c->app, "worker", &c->loop, config, APP_ALL | APP_KEYS, &err) != 0) {
        fprintf(stderr, "pivotal-sync-worker: %s\n", err.msg);
        return 10;
    }
    c->worker = (struct worker){
        .app = &c->app, .inflight_max = (int)config_int(config, SETTING_WORKER_INFLIGHT)};
    c->app.job_max_ms = config_int(config, SETTING_JOB_TIMEOUT_S) * 1000;
    c->worker.job_end_ms = c->app.job_max_ms + JOB_END_MS;
    struct proc_options po = {.arg = c, .drain = child_drain, .drain_max_ms = DRAIN_MS + 5000};
    c->proc = proc_new(&c->loop, &po, &err);
    if (c->proc == NULL || child_metrics(c, config, index, &err) != 0 ||
        task_start(&c->loop, "take", child_ended, c, &err) != 0) {
        log_error(c->app.log, "worker.start", "cannot start: %s", err.msg);
        return 1;
    }
    log_info(c->app.log, "worker.ready", "ready: up to %d jobs in flight",
             c->worker.inflight_max);
    (void)uv_run(&c->loop, UV_RUN_DEFAULT);
    if (c->worker.inflight == 0) {
        proc_free(c->proc);
        metrics_server_free(c->server);
        meters_free(c->app.meters);
        app_close(&c->app);
        metrics_free(c->metrics);
        task_cleanup();
    }
    return 0;
}

/* ---- the parent ---- */

struct parent {
    struct config *config;
    pid_t children[CHILDREN_MAX];
    int64_t started_at_ms[CHILDREN_MAX];
    int count;
    int64_t backoff_ms;
};

static volatile sig_atomic_t parent_signal;

static void parent_on_signal(int number)
{
    if (parent_signal != 0) {
        parent_signal = -number; /* the second: at once */
        return;
    }
    parent_signal = number;
}

static void parent_start_child(struct parent *p, int i)
{
    int64_t parent_pid = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGTERM, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        signal(SIGCHLD, SIG_DFL);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        exit(child_main(p->config, i, parent_pid));
    }
    p->children[i] = pid > 0 ? pid : 0;
    p->started_at_ms[i] = clock_mono_ms();
}

static int parent_find(const struct parent *p, pid_t pid)
{
    for (int i = 0; i < p->count; i++) {
        if (p->children[i] == pid) {
            return i;
        }
    }
    return -1;
}

/* Reap; returns the exit code of a child whose settings were refused, else 0. */
static int parent_reap(struct parent *p)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        int i = parent_find(p, pid);
        if (i < 0) {
            continue;
        }
        p->children[i] = 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 10) {
            return 10;
        }
        if (parent_signal == 0) {
            fprintf(stderr, "pivotal-sync-worker: child %d ended (%s %d); starting another\n",
                    (int)pid, WIFSIGNALED(status) ? "signal" : "exit",
                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        }
    }
    return 0;
}

static int parent_living(const struct parent *p)
{
    int n = 0;
    for (int i = 0; i < p->count; i++) {
        n += p->children[i] > 0;
    }
    return n;
}

static void parent_kill(const struct parent *p, int number)
{
    for (int i = 0; i < p->count; i++) {
        if (p->children[i] > 0) {
            kill(p->children[i], number);
        }
    }
}

static int parent_run(struct parent *p, const sigset_t *wait_mask)
{
    struct timespec tick = {.tv_nsec = 500000000};
    int told = 0;
    for (;;) {
        int code = parent_reap(p);
        if (code != 0) {
            parent_kill(p, SIGTERM);
            return code;
        }
        if (parent_signal != 0 && told != parent_signal) {
            told = parent_signal;
            parent_kill(p, told < 0 ? SIGKILL : SIGTERM);
        }
        if (parent_signal != 0 && parent_living(p) == 0) {
            return 0;
        }
        for (int i = 0; parent_signal == 0 && i < p->count; i++) {
            if (p->children[i] > 0) {
                continue;
            }
            int64_t lived_ms = clock_mono_ms() - p->started_at_ms[i];
            if (lived_ms > p->backoff_ms) {
                p->backoff_ms = lived_ms > RESTART_MAX_MS            ? 100
                                : p->backoff_ms * 2 > RESTART_MAX_MS ? RESTART_MAX_MS
                                                                     : p->backoff_ms * 2;
                parent_start_child(p, i);
            }
        }
        (void)ppoll(NULL, 0, &tick, wait_mask);
    }
}

int main(int argc, char **argv)
{
    struct parent p = {.backoff_ms = 100};
    int code = config_start(argc, argv, &program, &p.config);
    if (p.config == NULL) {
        return code;
    }
    p.count = (int)config_int(p.config, SETTING_WORKER_PROCESSES);
    if (p.count < 1 || p.count > CHILDREN_MAX) {
        p.count = 1;
    }
    /* Signals arrive only inside ppoll, so that none is missed between a test and the wait. */
    sigset_t blocked, wait_mask;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &wait_mask);
    struct sigaction act = {.sa_handler = parent_on_signal};
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    for (int i = 0; i < p.count; i++) {
        parent_start_child(&p, i);
    }
    proc_notify_ready();
    code = parent_run(&p, &wait_mask);
    config_free(p.config);
    return code;
}
