#include "core/rebuild.h"
#include "scheduler/scheduler.h"

#include <string.h>

/* Every 15 minutes in business hours unless a delivery came since, else every hour. The slot is
 * a row, so that of several schedulers one fires it. */
static const char catch_up_sql[] =
    "WITH due AS (SELECT c.connection_id, c.shard, CASE WHEN"
    "       psync.business_minutes(now() - interval '1 minute', now(), w.tz, w.business_hours) "
    "> 0"
    "     THEN interval '15 minutes' ELSE interval '1 hour' END AS period,"
    "     greatest(c.last_catch_up_at, c.last_delivery_at) AS last_at"
    "   FROM psync.connection c JOIN psync.workspace w USING (workspace_id)"
    "   WHERE c.state = 'connected' AND c.paused_at IS NULL AND c.watermark_at IS NOT NULL),"
    " slot AS (INSERT INTO psync.occurrence (connection_id, kind, due_at)"
    "   SELECT connection_id, 'catch-up', date_bin(period, now(), timestamptz 'epoch') FROM due"
    "   WHERE last_at IS NULL OR last_at < now() - period"
    "   ON CONFLICT DO NOTHING RETURNING connection_id)"
    " SELECT connection_id, shard FROM due JOIN slot USING (connection_id)";

int fresh_catch_up(struct scheduler *s, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(s->app->store, catch_up_sql, NULL, &r, err) != 0) {
        return -1;
    }
    struct err why = {0};
    int rc = 0;
    for (int i = 0; i < rows_count(r); i++) {
        rc |= err_keep_first(rebuild_catch_up(s->app, rows_int(r, i, 0), (int)rows_int(r, i, 1),
                                              "catch-up", &why),
                             &why, err);
    }
    return rc;
}

int fresh_unconfigured(struct scheduler *s, struct err *err)
{
    return rebuild_unconfigured(s->app, err);
}

/* Nothing was lost, but deliveries were answered 503 and work stood still: one row for each
 * connection. */
static void fresh_note_gap(struct scheduler *s, bool other)
{
    struct err err = {0};
    CLEANUP(params_freep) struct params *p = params_new();
    params_text(p, other ? "Redis came back without what was in it; the queue was made anew "
                           "from PostgreSQL and the providers"
                         : "Redis did not answer for a while; nothing is lost");
    if (store_query(s->app->store,
                    "INSERT INTO psync.attempt (attempt_id, connection_id, kind, trigger,"
                    "   status, error_code, error_message, started_at)"
                    " SELECT psync.next_attempt_id(), connection_id, 'check', 'system',"
                    "   'interrupted', 'queue_unavailable', $1, now()"
                    " FROM psync.connection WHERE state = 'connected'",
                    p, NULL, &err) != 0) {
        log_warn(s->app->log, "queue.note", "cannot log the gap: %s", err.msg);
    }
}

int fresh_gap(struct scheduler *s, struct err *err)
{
    struct rebuild_counts n;
    struct buf now;
    int rc = 0;
    buf_init(&now, 4096);
    if (queue_identity(s->app->queue, &now, err) != 0) {
        s->queue_was_away = true;
        rc = -1;
    } else if (s->queue_was_away || strcmp(buf_text(&now), buf_text(&s->identity)) != 0) {
        /* At the start too: work may have been lost while nobody was looking. */
        rc = rebuild_queue(s->app, &n, err);
        bool other =
            s->identity.len_bytes > 0 && strcmp(buf_text(&now), buf_text(&s->identity)) != 0;
        if (rc == 0 && (s->queue_was_away || other)) {
            fresh_note_gap(s, other);
        }
        if (rc == 0) {
            s->queue_was_away = false;
            buf_clear(&s->identity);
            rc = buf_add_str(&s->identity, buf_text(&now));
            log_info(s->app->log, "queue.rebuilt",
                     "%lld connections, %lld live runs, %lld retries, %lld deliveries, %lld "
                     "catch-ups",
                     (long long)n.connections, (long long)n.runs, (long long)n.retries,
                     (long long)n.deliveries, (long long)n.catch_ups);
        }
    }
    buf_release(&now);
    return rc;
}
