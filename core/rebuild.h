/* The queue is an index: whatever it lost can be found again from PostgreSQL and the providers.
 */
#ifndef CORE_REBUILD_H
#define CORE_REBUILD_H

#include "core/app.h"

struct rebuild_counts {
    int64_t connections, runs, retries, deliveries, catch_ups;
};

/**
 * Tell the queue about every connection, put the window of every live run, the records whose
 * last attempt is still to be retried or that a delivery of the last hour named and nobody has
 * fetched since, and a catch-up from the watermark of each connection.
 * Putting twice is harmless: it may run beside live workers and from several places.
 *
 * Here and below: what cannot be put for one connection keeps back none of the others. All have
 * their turn, then -1 tells the first failure.
 */
int rebuild_queue(struct app *app, struct rebuild_counts *out, struct err *err) MUST_USE;

/** Tell the queue about connections that have units and that it does not know. */
int rebuild_unconfigured(struct app *app, struct err *err) MUST_USE;

/** Put a catch-up for one connection. */
int rebuild_catch_up(struct app *app, int64_t connection_id, int shard, const char *trigger,
                     struct err *err) MUST_USE;

/** Keep every live run going: run_advance() on each. *runs may be NULL. */
int rebuild_runs(struct app *app, int64_t *runs, struct err *err) MUST_USE;

#endif
