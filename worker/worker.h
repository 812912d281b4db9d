/* Inside of the worker: one process, many jobs in flight, each a task. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "common/task.h"
#include "core/app.h"
#include "core/fetch.h"
#include "core/save.h"

enum { AWAY_CONNECTIONS_MAX = 32 };

/* Whose units went back because PostgreSQL was away, to be told when it is there again. */
struct away {
    int64_t connection_id, since_ms;
    int64_t units;
};

struct job;

struct worker {
    struct app *app;
    struct job *jobs;                  /* in flight */
    int64_t watched_at_ms, job_end_ms; /* no job goes on for so long; 0 = no limit */
    int hanging;                       /* jobs over that limit: nothing will end them */
    struct away away[AWAY_CONNECTIONS_MAX];
    int away_count;
    int inflight, inflight_max;
    bool draining;
    struct wake idle; /* fired when a job ends */
};

/** The claiming task: takes work while there is room, until draining; which it sets itself when
 * a job hangs. */
void take_loop(void *worker);

/* One job each; all end the claim. */
void job_records(struct worker *w, struct claim *claim);
void job_chunks(struct worker *w, struct claim *claim);
void job_checks(struct worker *w, struct claim *claim);

/* ---- what the three have in common (job.c) ---- */
/** The connection to work for, or NULL after the claim was ended as it should be. */
struct connection *job_connection(struct worker *w, struct claim *claim);
/** End all units of a claim alike. */
void job_end_all(struct worker *w, struct claim *claim, enum outcome outcome, int64_t delay_ms);
/** End them each as ends say, and log what goes wrong. */
void job_end(struct worker *w, struct claim *claim, const struct unit_end *ends);
/** Draw a fetch number, before the request is sent: whoever changed the connection and then
 * starts a run has it worked by what it is now. 0 = our copy is older than the number, and the
 * claim goes back to be worked with a new one; -1 with err. */
int64_t job_fetch_no(struct worker *w, const struct connection *c, struct err *err);
/** Something of ours is away: give the units back for a second, say why. */
void job_give_back(struct worker *w, struct claim *claim, const char *what,
                   const struct err *err);
/** PostgreSQL was away: remembered, and written to the log by job_back() (job_fetch_no() calls
 * it). More than AWAY_CONNECTIONS_MAX connections share the rows of the first ones. */
void job_away(struct worker *w, const struct claim *claim);
void job_back(struct worker *w);
/** ET_DB_CONFLICT or ET_DB_FULL when that is why PostgreSQL did not take a save; else ET_NONE.
 */
enum error_type job_refusal(const struct err *err);
/** A row that says that work waits for quota; at most one a minute for each connection. */
void job_waits(struct worker *w, const struct claim *claim, int64_t later_ms);
/** A row for a defect of ours: these units cannot be worked at all. */
void job_defect(struct worker *w, const struct claim *claim, const char *what);
/** PostgreSQL or Redis failed us, not the provider: all but want of memory passes by itself.
 * Returns FETCH_FAILED. */
enum fetch_end job_ours_failed(struct failure *why, const struct err *err);
/** True when PostgreSQL or Redis being away is the reason, so that nothing is to be logged
 * there. */
bool job_ours_is_away(const struct failure *why);

#endif
