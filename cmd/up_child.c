#include "cmd/up_child.h"

#include "common/clock.h"
#include "common/task.h"

#include "common/banned.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RESTART_MIN_MS = 200,
    RESTART_MAX_MS = 10000,
    HEALTHY_MS = 10000, /* running that long forgives earlier ends */
    LISTEN_FD = 3,
    KILL_WAIT_MS = 5000,
    ARGV_MAX = 40,
};

struct up_children {
    uv_loop_t *loop;
    uv_signal_t sigchld;
    void (*say)(void *arg, const char *line);
    void *say_arg;
    struct up_child *first;
};

struct up_child {
    struct up_children *set;
    struct up_child *next;
    struct up_child_spec spec;
    uv_timer_t timer;
    pid_t pid; /* 0 = does not run */
    int code;
    bool stopping;
    int restarts;
    int64_t started_mono_ms;
    int64_t backoff_ms;
    struct wake *ended; /* of who waits for its end */
};

static void say(const struct up_children *cs, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(const struct up_children *cs, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    cs->say(cs->say_arg, line);
}

/* ---- in the new process ---- */

static _Noreturn void child_fails(const char *what)
{
    int saved = errno;
    (void)dprintf(STDERR_FILENO, "cannot start: %s: %s\n", what, strerror(saved));
    _exit(127);
}

static void child_user(const char *name)
{
    const struct passwd *pw = getpwnam(name);
    if (pw == NULL || initgroups(name, pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 ||
        setuid(pw->pw_uid) != 0) {
        child_fails("cannot become another user");
    } else {
        (void)setenv("HOME", pw->pw_dir, 1);
        (void)setenv("USER", name, 1);
        (void)setenv("LOGNAME", name, 1);
    }
}

static void child_socket(int fd)
{
    char pid[24];
    (void)snprintf(pid, sizeof pid, "%ld", (long)getpid());
    if (fd == LISTEN_FD) {
        (void)fcntl(fd, F_SETFD, 0);
    } else if (dup2(fd, LISTEN_FD) < 0) {
        child_fails("cannot pass the socket");
    }
    (void)setenv("LISTEN_PID", pid, 1);
    (void)setenv("LISTEN_FDS", "1", 1);
}

static _Noreturn void child_main(const struct up_child_spec *spec, int in, int out,
                                 pid_t parent)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setpgid(0, 0);
    (void)umask(077);
    if (in >= 0) {
        (void)dup2(in, STDIN_FILENO);
    }
    if (out >= 0) {
        (void)dup2(out, STDOUT_FILENO);
    }
    if (out >= 0 && spec->stdout_fd == NULL) {
        (void)dup2(out, STDERR_FILENO);
    }
    if (spec->listen_fd > 0) {
        child_socket(spec->listen_fd);
    } else {
        (void)unsetenv("LISTEN_FDS");
        (void)unsetenv("LISTEN_PID");
    }
    (void)close_range(spec->listen_fd > 0 ? LISTEN_FD + 1 : LISTEN_FD, ~0U, 0);
    if (spec->user != NULL) {
        child_user(spec->user);
    }
    if (spec->directory != NULL && chdir(spec->directory) != 0) {
        child_fails(spec->directory);
    }
    /* After the change of user, which forgets it. */
    (void)prctl(PR_SET_PDEATHSIG, spec->stop_signal != 0 ? spec->stop_signal : SIGTERM);
    if (getppid() != parent) {
        _exit(127);
    }
    char *argv[ARGV_MAX + 1] = {0}; /* execv wants them without const, and changes nothing */
    for (size_t i = 0; i < ARGV_MAX && spec->argv[i] != NULL; i++) {
        memcpy(&argv[i], &spec->argv[i], sizeof argv[i]);
    }
    assert(argv[0] != NULL);
    (void)execv(argv[0], argv);
    child_fails(argv[0]);
}

/* ---- starting ---- */

static int open_output(const struct up_child_spec *spec, int pipe_fds[2], struct err *err)
{
    if (spec->stdout_fd != NULL) {
        if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
            err_os(err, ERR_OS, "cannot make a pipe for %s", spec->name);
            return -2;
        }
        return pipe_fds[1];
    }
    if (spec->log_path == NULL) {
        return -1;
    }
    int fd = open(spec->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) {
        err_os(err, ERR_OS, "cannot write '%s'", spec->log_path);
        return -2;
    }
    return fd;
}

static int child_spawn(struct up_child *c, struct err *err)
{
    int pipe_fds[2] = {-1, -1};
    int out = open_output(&c->spec, pipe_fds, err);
    if (out == -2) {
        return -1;
    }
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        child_main(&c->spec, in, out, parent);
    }
    int saved = errno;
    if (in >= 0) {
        (void)close(in);
    }
    if (out >= 0) {
        (void)close(out);
    }
    if (pid < 0) {
        if (pipe_fds[0] >= 0) {
            (void)close(pipe_fds[0]);
        }
        errno = saved;
        err_os(err, ERR_OS, "cannot start %s", c->spec.name);
        return -1;
    }
    (void)setpgid(pid, pid); /* here too: whoever comes first */
    c->pid = pid;
    c->code = -1;
    c->started_mono_ms = clock_mono_ms();
    if (c->spec.stdout_fd != NULL) {
        *c->spec.stdout_fd = pipe_fds[0];
    }
    return 0;
}

static void on_restart(uv_timer_t *timer)
{
    struct up_child *c = timer->data;
    struct err err = {0};
    if (c->stopping || c->pid != 0) {
        return;
    }
    c->restarts++;
    if (child_spawn(c, &err) < 0) {
        say(c->set, "%s: %s", c->spec.name, err.msg);
        (void)uv_timer_start(timer, on_restart, RESTART_MAX_MS, 0);
    }
}

static void child_ended(struct up_child *c, int status)
{
    c->pid = 0;
    c->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (c->ended != NULL) {
        wake_fire(c->ended);
    }
    if (!c->spec.restart || c->stopping) {
        return;
    }
    if (clock_mono_ms() - c->started_mono_ms > HEALTHY_MS) {
        c->backoff_ms = 0;
    }
    c->backoff_ms = c->backoff_ms == 0 ? RESTART_MIN_MS : c->backoff_ms * 2;
    if (c->backoff_ms > RESTART_MAX_MS) {
        c->backoff_ms = RESTART_MAX_MS;
    }
    say(c->set, "%s ended (%s %d), starts again in %.1f s", c->spec.name,
        WIFSIGNALED(status) ? "signal" : "exit",
        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
        (double)c->backoff_ms / 1000);
    (void)uv_timer_start(&c->timer, on_restart, (uint64_t)c->backoff_ms, 0);
}

/* Reaps grandchildren that lost their parent too: we are their subreaper. */
static void reap(struct up_children *cs)
{
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (struct up_child *c = cs->first; c != NULL; c = c->next) {
            if (c->pid == pid) {
                child_ended(c, status);
                break;
            }
        }
    }
}

static void on_sigchld(uv_signal_t *handle, int signum)
{
    (void)signum;
    reap(handle->data);
}

struct up_children *up_children_new(uv_loop_t *loop,
                                    void (*say_fn)(void *arg, const char *line), void *say_arg,
                                    struct err *err)
{
    struct up_children *cs = calloc(1, sizeof *cs);
    if (cs == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    cs->loop = loop;
    cs->say = say_fn;
    cs->say_arg = say_arg;
    cs->sigchld.data = cs;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (uv_signal_init(loop, &cs->sigchld) != 0 ||
        uv_signal_start(&cs->sigchld, on_sigchld, SIGCHLD) != 0) {
        err_set(err, ERR_OS, "cannot watch child processes");
        free(cs);
        return NULL;
    }
    uv_unref((uv_handle_t *)&cs->sigchld);
    return cs;
}

struct up_child *up_child_start(struct up_children *cs, const struct up_child_spec *spec,
                                struct err *err)
{
    if (access(spec->argv[0], X_OK) != 0) {
        err_os(err, ERR_OS, "cannot start %s: '%s'", spec->name, spec->argv[0]);
        return NULL;
    }
    struct up_child *c = calloc(1, sizeof *c);
    if (c == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    c->set = cs;
    c->spec = *spec;
    c->timer.data = c;
    if (child_spawn(c, err) < 0) {
        free(c);
        return NULL;
    }
    (void)uv_timer_init(cs->loop, &c->timer);
    uv_unref((uv_handle_t *)&c->timer);
    c->next = cs->first;
    cs->first = c;
    return c;
}

/* ---- ending ---- */

bool up_child_running(const struct up_child *c)
{
    return c != NULL && c->pid != 0;
}

int up_child_restarts(const struct up_child *c)
{
    return c->restarts;
}

int up_child_code(const struct up_child *c)
{
    return c->code;
}

int up_child_wait(struct up_child *c, int64_t deadline_mono_ms, struct err *err)
{
    if (c->pid == 0) {
        return 0;
    }
    struct wake ended = {0};
    c->ended = &ended;
    int rc = wake_wait(&ended, deadline_mono_ms, err);
    c->ended = NULL;
    return rc;
}

void up_child_signal(struct up_child *c)
{
    if (c == NULL) {
        return;
    }
    if (!c->stopping && c->pid != 0) {
        (void)kill(c->pid, c->spec.stop_signal != 0 ? c->spec.stop_signal : SIGTERM);
    }
    c->stopping = true;
    (void)uv_timer_stop(&c->timer);
}

void up_child_stop(struct up_child *c, int64_t grace_ms)
{
    struct err err = {0};
    if (c == NULL) {
        return;
    }
    up_child_signal(c);
    if (up_child_wait(c, clock_mono_ms() + grace_ms, &err) < 0) {
        say(c->set, "%s did not end within %lld s: killed", c->spec.name,
            (long long)grace_ms / 1000);
        (void)kill(-c->pid, SIGKILL);
        if (up_child_wait(c, clock_mono_ms() + KILL_WAIT_MS, &err) < 0) {
            say(c->set, "%s cannot be killed", c->spec.name);
        }
    }
}

static void on_child_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void up_child_free(struct up_child *c)
{
    if (c == NULL) {
        return;
    }
    assert(c->pid == 0);
    for (struct up_child **at = &c->set->first; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    uv_close((uv_handle_t *)&c->timer, on_child_closed);
}

static void on_set_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* Whatever still has us as its parent, children of dead children too. */
static void kill_orphans(void)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/task/%ld/children", (long)getpid());
    for (int round = 0; round < 50; round++) {
        FILE *f = fopen(path, "re");
        if (f == NULL) {
            return;
        }
        char text[4096];
        size_t n = fread(text, 1, sizeof text - 1, f);
        text[n] = '\0';
        (void)fclose(f);
        int found = 0;
        char *at = text;
        for (char *end = text; (n = (size_t)strtol(at, &end, 10)) > 0 && end != at; at = end) {
            (void)kill((pid_t)n, SIGKILL);
            found++;
        }
        int status = 0;
        while (found > 0 && waitpid(-1, &status, 0) > 0) {
            found--;
        }
        if (found == 0) {
            return;
        }
    }
}

void up_children_free(struct up_children *cs)
{
    if (cs == NULL) {
        return;
    }
    for (struct up_child *c = cs->first; c != NULL; c = c->next) {
        if (c->pid != 0) {
            (void)kill(-c->pid, SIGKILL);
        }
    }
    kill_orphans();
    while (cs->first != NULL) {
        cs->first->pid = 0;
        up_child_free(cs->first);
    }
    uv_close((uv_handle_t *)&cs->sigchld, on_set_closed);
}
