/* A run of one type: cheaper than reading many records one by one. */
#include "core/run.h"

#include <string.h>

enum {
    BULK_LEAST = 20, /* fewer are read by themselves: each has its own line in the log then */
    BULK_PERCENT = 120,
};

/* What listing the type would cost: what it cost the last full run, else its pages. And is a
 * run going on that reads all that changed until then anyway? $1 connection, $2 type, $3
 * records a page, $4 months back, $5 the newest change. */
static const char *const cost_sql =
    "SELECT coalesce((SELECT sum(k.api_calls) FROM psync.run_chunk k WHERE k.object_type = $2"
    "     AND k.kind = 'range' AND k.run_id = (SELECT max(run_id) FROM psync.run"
    "       WHERE connection_id = $1 AND kind = 'full' AND status = 'succeeded')),"
    "   (SELECT count(*) / $3 + 1 FROM psync.record WHERE connection_id = $1"
    "     AND object_type = $2 AND deleted_at IS NULL AND ($4 = 0 OR created_at IS NULL"
    "       OR created_at > now() - make_interval(months => $4::int))))::bigint,"
    " EXISTS (SELECT FROM psync.run r JOIN psync.run_chunk k USING (run_id)"
    "   WHERE r.connection_id = $1 AND r.status IN ('queued', 'running')"
    "     AND k.object_type = $2 AND k.kind = 'range'"
    "     AND r.queued_at > $5::timestamptz + interval '2 seconds'),"
    " EXISTS (SELECT FROM psync.run r JOIN psync.run_chunk k USING (run_id)"
    "   WHERE r.connection_id = $1 AND r.status IN ('queued', 'running') AND r.kind = 'bulk'"
    "     AND k.object_type = $2)";

static const char *const start_sql =
    "WITH r AS (INSERT INTO psync.run (connection_id, workspace_id, kind, trigger, lane,"
    "     first_fetch_no) VALUES ($1, $2, 'bulk', $3, 'run_now', nextval('psync.fetch_no'))"
    "   RETURNING run_id),"
    " k AS (INSERT INTO psync.run_chunk (run_id, chunk_no, object_type, kind, range_from)"
    "   SELECT run_id, 1, $4, 'range', CASE WHEN $5 > 0 THEN"
    "     extract(epoch FROM now() - make_interval(months => $5::int))::bigint END FROM r)"
    " SELECT run_id FROM r";

static int bulk_start(struct app *app, const struct connection *c, const struct object_type *o,
                      const char *trigger, int64_t *run_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    params_int(p, c->workspace_id);
    params_text(p, trigger);
    params_text(p, o->name);
    params_int(p, o->months);
    if (store_query(app->store, start_sql, p, &r, err) != 0) {
        return -1;
    }
    *run_id = rows_int(r, 0, 0);
    return run_advance(app, *run_id, err);
}

int run_instead_of_reads(struct app *app, const struct connection *c,
                         const struct object_type *o, int64_t reads, int64_t newest_ms,
                         const char *trigger, enum run_bulk *out, int64_t *run_id,
                         struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    *out = RUN_BULK_NOT;
    *run_id = 0;
    if (reads < BULK_LEAST || o->batch_max > 1 || (o->flags & OBJECT_LISTED) == 0) {
        return 0;
    }
    params_int(p, c->connection_id);
    params_text(p, o->name);
    params_int(p, o->page_max);
    params_int(p, o->months);
    params_time_ms(p, newest_ms);
    if (store_query(app->store, cost_sql, p, &r, err) != 0) {
        return -1;
    }
    int64_t calls = rows_int(r, 0, 0) > 0 ? rows_int(r, 0, 0) : 1;
    bool covered = rows_bool(r, 0, 1);
    bool another = rows_bool(r, 0, 2);
    if (covered) {
        *out = RUN_BULK_GOES_ON;
        return 0;
    }
    if (another || reads * 100 <= calls * BULK_PERCENT) {
        return 0;
    }
    if (bulk_start(app, c, o, trigger, run_id, err) != 0) {
        return -1;
    }
    *out = RUN_BULK_STARTED;
    log_info(app->log, "run.bulk",
             "connection %lld: %lld %s changed; listing all of them costs about %lld calls: "
             "run %lld",
             (long long)c->connection_id, (long long)reads, o->plural, (long long)calls,
             (long long)*run_id);
    return 0;
}
