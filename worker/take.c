#include "worker/worker.h"

#include "common/clock.h"
#include "common/crash.h"

#include <stdlib.h>

enum { AWAY_MS = 1000 };

struct job {
    struct worker *worker;
    struct claim *claim;
};

static void take_job(void *arg)
{
    struct job job = *(struct job *)arg;
    free(arg);
    switch (job.claim->units[0].kind) {
    case UNIT_RECORD:
        job_records(job.worker, job.claim);
        break;
    case UNIT_CHUNK:
        job_chunks(job.worker, job.claim);
        break;
    case UNIT_CHECK:
        job_checks(job.worker, job.claim);
        break;
    }
    job.worker->inflight--;
    wake_fire(&job.worker->idle);
}

static void take_start(struct worker *w, struct claim *claim)
{
    struct err err = {0};
    struct job *job = malloc(sizeof *job);
    w->inflight++;
    if (job != NULL) {
        *job = (struct job){w, claim};
        if (task_start(w->app->loop, "job", take_job, job, &err) == 0) {
            return;
        }
        free(job);
    }
    w->inflight--;
    log_error(w->app->log, "job.start", "cannot start a job: %s", err.msg);
    job_end_all(w, claim, OUTCOME_RELEASE, AWAY_MS);
}

void take_loop(void *arg)
{
    struct worker *w = arg;
    bool away = false;
    while (!w->draining) {
        struct err err = {0};
        struct claim *claim = NULL;
        int64_t wait_ms = 0;
        if (w->inflight >= w->inflight_max) {
            wake_reset(&w->idle);
            if (wake_wait(&w->idle, clock_mono_ms() + AWAY_MS, &err) != 0) {
                err_clear(&err);
            }
            continue;
        }
        if (queue_claim(w->app->queue, QUEUE_BATCH_MAX, &claim, &wait_ms, &err) != 0) {
            if (!away) {
                log_warn(w->app->log, "queue.away", "cannot claim: %s", err.msg);
            }
            away = true;
            task_sleep_ms(AWAY_MS);
            continue;
        }
        if (away) {
            log_info(w->app->log, "queue.back", "the queue answers again");
            away = false;
        }
        if (claim != NULL) {
            crash_point("worker.claimed");
            take_start(w, claim);
        } else {
            queue_wait(w->app->queue, wait_ms);
        }
    }
}
