#include "core/run.h"
#include "scheduler/scheduler.h"

/* The latest instant due by now: nightly_at of the workspace's zone plus a spread by
 * connection, PostgreSQL doing all the arithmetic. Missed while down: only the latest, never a
 * pile. */
static const char due_sql[] =
    "WITH due AS (SELECT c.connection_id, d.day,"
    "     psync.local_instant(d.day, w.nightly_at, w.tz)"
    "       + make_interval(secs => (c.connection_id * 7919 % 900)::double precision) AS at"
    "   FROM psync.connection c JOIN psync.workspace w USING (workspace_id),"
    "     LATERAL (SELECT (psync.schedule_now() AT TIME ZONE w.tz)::date + n AS day"
    "       FROM generate_series(-1, 1) AS n) d"
    "   WHERE c.state = 'connected' AND c.paused_at IS NULL"
    "     AND (c.scope_kind IS NOT NULL OR c.last_full_success_at IS NOT NULL)),"
    " next AS (UPDATE psync.connection c SET next_full_at = n.at"
    "   FROM (SELECT connection_id, min(at) AS at FROM due WHERE at > psync.schedule_now() "
    "GROUP BY 1) n"
    "   WHERE n.connection_id = c.connection_id AND c.next_full_at IS DISTINCT FROM n.at)"
    " SELECT DISTINCT ON (d.connection_id) d.connection_id,"
    "   (extract(epoch FROM d.at) * 1000)::bigint"
    " FROM due d JOIN psync.connection c USING (connection_id)"
    " WHERE d.at <= psync.schedule_now() AND d.at > c.created_at"
    "   AND NOT EXISTS (SELECT 1 FROM psync.occurrence o WHERE o.connection_id = "
    "d.connection_id"
    "     AND o.kind = 'nightly' AND o.due_at >= d.at)"
    " ORDER BY d.connection_id, d.at DESC";

/* What is due while a person holds the connection: said once for each slot, so that the log
 * shows why there was no nightly run. */
static const char paused_sql[] =
    "WITH due AS (SELECT c.connection_id, c.paused_at, c.paused_by, w.tz, due.at"
    "   FROM psync.connection c JOIN psync.workspace w USING (workspace_id),"
    "     LATERAL (SELECT max(at) AS at FROM (SELECT psync.local_instant("
    "         (psync.schedule_now() AT TIME ZONE w.tz)::date + n, w.nightly_at, w.tz) AS at"
    "       FROM generate_series(-1, 1) AS n) i WHERE at <= psync.schedule_now()) due"
    "   WHERE c.state = 'connected' AND c.paused_at < due.at),"
    " slot AS (INSERT INTO psync.occurrence (connection_id, kind, due_at)"
    "   SELECT connection_id, 'nightly-paused', at FROM due"
    "   ON CONFLICT DO NOTHING RETURNING connection_id)"
    " INSERT INTO psync.attempt (attempt_id, connection_id, kind, trigger, status, error_code,"
    "   error_message, started_at)"
    " SELECT psync.next_attempt_id(), connection_id, 'check', 'nightly', 'skipped',"
    "   'connection_paused', 'paused by ' || coalesce(nullif(paused_by, ''), 'somebody') ||"
    "   ' since ' || to_char(paused_at AT TIME ZONE tz, 'YYYY-MM-DD HH24:MI'), now()"
    " FROM due JOIN slot USING (connection_id)";

static int fire_one(struct scheduler *s, int64_t id, int64_t due_at_ms, struct err *err)
{
    int64_t run_id = 0;
    CLEANUP(connection_freep)
    struct connection *c = connection_cache_get(s->app->connections, id, err);
    if (c == NULL) {
        return -1;
    }
    if (run_start(s->app, c, "nightly", "", LANE_NIGHTLY, due_at_ms, &run_id, err) == 0) {
        log_info(s->app->log, "run.started", "nightly full sync %lld of connection %lld",
                 (long long)run_id, (long long)id);
        return 0;
    }
    /* Another scheduler was first, or a run is live already. */
    return err->code == ERR_CONFLICT || err->code == ERR_INVALID ? 0 : -1;
}

/* A connection that cannot be loaded (its key is gone, say) keeps nobody else from a night. */
int nightly_fire(struct scheduler *s, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct err why = {0};
    int rc = 0;
    if (store_query(s->app->store, paused_sql, NULL, NULL, err) != 0 ||
        store_query(s->app->store, due_sql, NULL, &r, err) != 0) {
        return -1;
    }
    for (int i = 0; i < rows_count(r); i++) {
        rc |=
            err_keep_first(fire_one(s, rows_int(r, i, 0), rows_int(r, i, 1), &why), &why, err);
    }
    return rc;
}
