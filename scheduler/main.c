/* pivotal-sync-scheduler: nightly full syncs, catch-ups, lost leases, receipts, retention. */
#include "scheduler/scheduler.h"

#include "common/clock.h"
#include "common/proc.h"
#include "common/task.h"

#include <stdio.h>
#include <string.h>

static const struct config_program program = {
    .bit = CONFIG_SCHEDULER,
    .name = "pivotal-sync-scheduler",
    .version = PIVOTAL_SYNC_VERSION,
    .about = "Starts nightly full syncs and catch-ups, and keeps queue and log in order.",
};

struct duty {
    const char *name;
    int64_t period_ms;
    int (*run)(struct scheduler *s, struct err *err);
};

static const struct duty duties[] = {
    {"gap", 2000, fresh_gap},
    {"unconfigured", 1000, fresh_unconfigured},
    {"leases", 500, reap_leases},
    {"runs", 3000, reap_runs},
    {"poison", 3000, reap_poison},
    {"receipts", 1000, reap_receipts},
    {"nightly", 10000, nightly_fire},
    {"catch-up", 15000, fresh_catch_up},
    {"partitions", 3600000, trim_partitions},
    {"sample", 60000, trim_sample},
    {"figures", 5000, figures_read},
    {"alerts", 5000, alert_tell},
};

struct duty_arg {
    struct scheduler *s;
    const struct duty *duty;
};

enum { NAP_MS = 250 };

static void duty_loop(void *arg)
{
    struct duty_arg *a = arg;
    bool failing = false;
    while (!a->s->draining) {
        struct err err = {0};
        int rc = a->duty->run(a->s, &err);
        if (rc != 0 && !failing) {
            log_warn(a->s->app->log, "duty.failed", "%s: %s", a->duty->name, err.msg);
        } else if (rc == 0 && failing) {
            log_info(a->s->app->log, "duty.back", "%s works again", a->duty->name);
        }
        failing = rc != 0;
        /* In naps, so that the end of the program is noticed. */
        int64_t until_ms = clock_mono_ms() + (failing ? 1000 : a->duty->period_ms);
        while (!a->s->draining && clock_mono_ms() < until_ms) {
            int64_t left_ms = until_ms - clock_mono_ms();
            task_sleep_ms(left_ms < NAP_MS ? left_ms : NAP_MS);
        }
    }
    if (--a->s->living == 0) {
        uv_stop(a->s->app->loop);
    }
}

struct ending {
    struct scheduler scheduler;
    struct app app;
    struct proc *proc;
};

static void drain(void *arg)
{
    struct ending *e = arg;
    e->scheduler.draining = true; /* the duties end at their next breath */
    proc_notify_stopping();
}

int main(int argc, char **argv)
{
    static struct duty_arg args[COUNT_OF(duties)]; /* live as long as their tasks */
    struct config *config = NULL;
    struct err err = {0};
    struct ending e = {0};
    uv_loop_t loop;
    int code = config_start(argc, argv, &program, &config);
    if (config == NULL) {
        return code;
    }
    proc_protect_memory();
    if (uv_loop_init(&loop) != 0 ||
        app_open(&e.app, "scheduler", &loop, config, APP_ALL, &err) != 0) {
        fprintf(stderr, "pivotal-sync-scheduler: %s\n", err.msg);
        return 10;
    }
    e.scheduler.app = &e.app;
    buf_init(&e.scheduler.identity, 4096);
    struct proc_options po = {.arg = &e, .drain = drain, .drain_max_ms = 5000};
    e.scheduler.figures = figures_open(&e.app, &err);
    e.proc = e.scheduler.figures != NULL ? proc_new(&loop, &po, &err) : NULL;
    for (size_t i = 0; e.proc != NULL && i < COUNT_OF(duties); i++) {
        args[i] = (struct duty_arg){&e.scheduler, &duties[i]};
        if (task_start(&loop, duties[i].name, duty_loop, &args[i], &err) != 0) {
            break;
        }
        e.scheduler.living++;
    }
    if (err.code != ERR_NONE) {
        log_error(e.app.log, "scheduler.start", "cannot start: %s", err.msg);
        return 1;
    }
    log_info(e.app.log, "scheduler.ready", "ready");
    proc_notify_ready();
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    log_info(e.app.log, "scheduler.end", "ended");
    figures_close(e.scheduler.figures);
    buf_release(&e.scheduler.identity);
    proc_free(e.proc);
    app_close(&e.app);
    task_cleanup();
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* the handles close */
    (void)uv_loop_close(&loop);
    return 0;
}
