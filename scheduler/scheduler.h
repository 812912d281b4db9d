/* Inside of the scheduler: duties that come again. Any number of schedulers may run: each duty
 * is harmless when done twice, or fires once by a unique row. */
#ifndef SCHEDULER_SCHEDULER_H
#define SCHEDULER_SCHEDULER_H

#include "core/app.h"

struct figures;

struct scheduler {
    struct app *app;
    struct figures *figures;
    bool draining;
    int living;          /* duties that have not ended yet */
    struct buf identity; /* of Redis, as last seen: a change is a gap */
    bool queue_was_away; /* since then: deliveries may have been refused */
};

/* One duty; 0, or -1 with err: it is tried again at its next turn. */
int nightly_fire(struct scheduler *s, struct err *err); /* nightly.c: full runs that are due */
int fresh_catch_up(struct scheduler *s, struct err *err); /* fresh.c: catch-ups that are due */
int fresh_gap(struct scheduler *s, struct err *err); /* fresh.c: Redis was restarted, flushed */
int fresh_unconfigured(struct scheduler *s, struct err *err); /* fresh.c: tell the queue */
int reap_leases(struct scheduler *s, struct err *err);        /* reap.c */
int reap_runs(struct scheduler *s, struct err *err);          /* reap.c: keep runs going */
int reap_poison(struct scheduler *s, struct err *err);        /* reap.c: what was buried */
int reap_receipts(struct scheduler *s, struct err *err); /* reap.c: receipts to webhook_event */
int trim_partitions(struct scheduler *s, struct err *err); /* trim.c */
int trim_sample(struct scheduler *s, struct err *err);     /* trim.c: gauges once a minute */
int alert_tell(struct scheduler *s, struct err *err);      /* alert.c: ALERT_WEBHOOK_URL */
int figures_read(struct scheduler *s, struct err *err);    /* figures.c: metrics */

/** The metrics and, where METRICS_LISTEN says, their listener. NULL with err set. */
struct figures *figures_open(struct app *app, struct err *err) MUST_USE;
void figures_close(struct figures *f);
void figures_lease_lost(struct figures *f, int64_t n);

#endif
