#include "worker/worker.h"

#include "common/clock.h"
#include "common/crash.h"

#include <stdio.h>
#include <stdlib.h>

enum { AWAY_MS = 1000, WATCH_MS = 1000 };

struct job {
    struct worker *worker;
    struct claim *claim; /* the job ends it: only for the job itself */
    int64_t began_mono_ms, end_ms;
    int shard;
    int64_t token;
    bool hangs;
    char what[RECORD_ID_MAX_BYTES + 128];
    struct job *prev, *next;
};

static void jobs_add(struct worker *w, struct job *job)
{
    job->next = w->jobs;
    if (w->jobs != NULL) {
        w->jobs->prev = job;
    }
    w->jobs = job;
    w->inflight++;
}

static void jobs_remove(struct worker *w, struct job *job)
{
    if (job->prev != NULL) {
        job->prev->next = job->next;
    } else {
        w->jobs = job->next;
    }
    if (job->next != NULL) {
        job->next->prev = job->prev;
    }
    w->hanging -= job->hangs;
    w->inflight--;
    free(job);
}

static void take_job(void *arg)
{
    struct job *job = arg;
    struct worker *w = job->worker;
    int64_t hang_ms = crash_number("job.hangs");
    if (hang_ms >= 0) {
        struct wake never = {0};
        job->end_ms = hang_ms;
        (void)!wake_wait(&never, INT64_MAX, NULL);
    }
    switch (job->claim->units[0].kind) {
    case UNIT_RECORD:
        job_records(w, job->claim);
        break;
    case UNIT_CHUNK:
        job_chunks(w, job->claim);
        break;
    case UNIT_CHECK:
        job_checks(w, job->claim);
        break;
    }
    jobs_remove(w, job);
    wake_fire(&w->idle);
}

/* Everything that a job waits for has a deadline. Should one be missing, its lease would be
 * renewed for good and its units never be worked again: so a job that outlasts them all is
 * given up. Its task cannot be ended; the process can, after what else it does. */
static void take_watch(struct worker *w)
{
    int64_t now_ms = clock_mono_ms();
    if (now_ms < w->watched_at_ms + WATCH_MS) {
        return;
    }
    w->watched_at_ms = now_ms;
    for (struct job *job = w->jobs; job != NULL; job = job->next) {
        int64_t took_ms = now_ms - job->began_mono_ms;
        if (job->hangs || job->end_ms <= 0 || took_ms < job->end_ms) {
            continue;
        }
        log_error(w->app->log, "job.hangs",
                  "%s has not ended for %lld s: given up, and this process ends after what "
                  "else it does",
                  job->what, (long long)(took_ms / 1000));
        queue_claim_give_up(w->app->queue, job->shard, job->token);
        job->hangs = true;
        w->hanging++;
        w->draining = true;
    }
}

static void take_start(struct worker *w, struct claim *claim)
{
    struct err err = {0};
    struct job *job = malloc(sizeof *job);
    if (job != NULL) {
        const struct unit *first = &claim->units[0];
        *job = (struct job){.worker = w,
                            .claim = claim,
                            .began_mono_ms = clock_mono_ms(),
                            .end_ms = w->job_end_ms,
                            .shard = claim->shard,
                            .token = claim->token};
        (void)snprintf(job->what, sizeof job->what, "work on %s %s of connection %lld%s",
                       first->object, first->id, (long long)claim->connection_id,
                       claim->unit_count > 1 ? " and others" : "");
        jobs_add(w, job);
        if (task_start(w->app->loop, "job", take_job, job, &err) == 0) {
            return;
        }
        jobs_remove(w, job);
    }
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
        take_watch(w);
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
