#include "core/poison.h"
#include "core/rebuild.h"

#include "common/crash.h"
#include "scheduler/scheduler.h"

enum { RECEIPTS_MAX = 500, RECEIPTS_MAX_BYTES = 1024 * 1024 };

int reap_leases(struct scheduler *s, struct err *err)
{
    int64_t reaped = 0;
    if (queue_reap(s->app->queue, &reaped, err) != 0) {
        return -1;
    }
    crash_point("reap.done");
    if (reaped > 0) {
        figures_lease_lost(s->figures, reaped);
        log_warn(s->app->log, "lease.lost", "%lld leases ran out; their units are back",
                 (long long)reaped);
    }
    return 0;
}

int reap_runs(struct scheduler *s, struct err *err)
{
    return rebuild_runs(s->app, NULL, err);
}

int reap_poison(struct scheduler *s, struct err *err)
{
    int64_t logged = 0;
    if (poison_log(s->app, &logged, err) != 0) {
        return -1;
    }
    if (logged > 0) {
        log_error(s->app->log, "unit.buried", "%lld units are set aside: they end their worker",
                  (long long)logged);
    }
    return 0;
}

/* JSON lines to one statement. What PostgreSQL refuses is lost: receipts may be, units not. */
int reap_receipts(struct scheduler *s, struct err *err)
{
    struct buf lines;
    int rc = 0;
    buf_init(&lines, RECEIPTS_MAX_BYTES);
    CLEANUP(params_freep) struct params *p = params_new();
    if (queue_receipts(s->app->queue, RECEIPTS_MAX, &lines, err) != 0) {
        rc = -1;
    } else if (lines.len_bytes > 0) {
        crash_point("receipts.taken");
        params_text_n(p, lines.bytes, lines.len_bytes);
        rc = store_query(
            s->app->store,
            "WITH line AS (SELECT l::jsonb AS j FROM"
            "     regexp_split_to_table(rtrim($1, E'\\n'), E'\\n') AS l WHERE l <> ''),"
            " e AS (INSERT INTO psync.webhook_event (event_no, received_at, provider,"
            "     connection_id, verdict, event_id, event_type, object_type, record_id, "
            "lag_ms, peer)"
            "   SELECT psync.next_attempt_id(to_timestamp((j->>'received_at_ms')::bigint / "
            "1000.0)),"
            "     to_timestamp((j->>'received_at_ms')::bigint / 1000.0), "
            "coalesce(j->>'provider', ''),"
            "     nullif((j->>'connection_id')::bigint, 0), coalesce(j->>'verdict', ''),"
            "     coalesce(j->>'event_id', ''), coalesce(j->>'event_type', ''),"
            "     coalesce(j->>'object_type', ''), coalesce(j->>'record_id', ''),"
            "     (j->>'lag_ms')::bigint, coalesce(j->>'peer', '') FROM line WHERE j ? "
            "'verdict'"
            "   RETURNING connection_id, received_at, verdict),"
            /* Units whose worker was lost: told by whoever reaped the lease. */
            " i AS (INSERT INTO psync.attempt (attempt_id, connection_id, run_id, kind,"
            "     trigger, actor, object_type, record_id, attempt_no, status, error_code,"
            "     error_message, error_count, started_at)"
            "   SELECT psync.next_attempt_id(), c.connection_id, CASE WHEN j->>'kind' = 'c'"
            "       THEN psync.as_bigint(split_part(j->>'id', '.', 1)) END,"
            "     CASE j->>'kind' WHEN 'r' THEN 'record' WHEN 'c' THEN 'chunk' ELSE 'check' "
            "END,"
            "     coalesce(j->>'trigger', ''), coalesce(j->>'actor', ''),"
            "     regexp_replace(coalesce(j->>'object', ''), '-links$', ''), CASE j->>'kind' "
            "WHEN 'r' THEN j->>'id' END,"
            "     (j->>'lost')::int, 'interrupted', j->>'incident',"
            "     'the lease of its worker ran out, ' || (j->>'lost') || ' in all', 1,"
            "     to_timestamp((j->>'at_ms')::bigint / 1000.0)"
            "   FROM line JOIN psync.connection c ON c.connection_id = "
            "(j->>'connection_id')::bigint"
            "   WHERE j ? 'incident'),"
            " last AS (SELECT connection_id, max(received_at) AS at FROM e"
            "   WHERE verdict = 'accepted' GROUP BY 1)"
            " UPDATE psync.connection c SET"
            "   last_delivery_at = greatest(c.last_delivery_at, last.at), channel_state = "
            "'fresh'"
            " FROM last WHERE c.connection_id = last.connection_id",
            p, NULL, err);
    }
    buf_release(&lines);
    return rc;
}
