#include "core/rebuild.h"

#include "core/run.h"
#include "core/state.h"

#include <stdlib.h>

int rebuild_catch_up(struct app *app, int64_t connection_id, int shard, const char *trigger,
                     struct err *err)
{
    struct unit_put put = {
        .connection_id = connection_id,
        .shard = shard,
        .kind = UNIT_CHECK,
        .object = "",
        .id = "catch-up",
        .lane = LANE_RUN_NOW,
        .trigger = trigger,
        .actor = "",
        .hint = "",
    };
    return queue_put(app->queue, &put, 1, err);
}

int rebuild_runs(struct app *app, int64_t *runs, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(app->store,
                    "SELECT run_id FROM psync.run WHERE status IN ('queued', 'running')"
                    " ORDER BY run_id",
                    NULL, &r, err) != 0) {
        return -1;
    }
    struct err why = {0};
    int rc = 0;
    for (int i = 0; i < rows_count(r); i++) {
        rc |= err_keep_first(run_advance(app, rows_int(r, i, 0), &why), &why, err);
    }
    if (runs != NULL) {
        *runs = rows_count(r);
    }
    return rc;
}

static int rebuild_put_records(struct app *app, const char *sql, const char *trigger,
                               int64_t *count, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(app->store, sql, NULL, &r, err) != 0) {
        return -1;
    }
    int n = rows_count(r);
    struct unit_put *puts = calloc((size_t)n + 1, sizeof *puts);
    if (puts == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    for (int i = 0; i < n; i++) {
        puts[i] = (struct unit_put){
            .connection_id = rows_int(r, i, 0),
            .shard = (int)rows_int(r, i, 1),
            .kind = UNIT_RECORD,
            .object = rows_text(r, i, 2),
            .id = rows_text(r, i, 3),
            .lane = LANE_RUN_NOW,
            .trigger = trigger,
            .actor = "",
            .hint = "",
        };
    }
    int rc = n > 0 ? queue_put(app->queue, puts, n, err) : 0;
    free(puts);
    *count = n;
    return rc;
}

/* Records whose newest attempt is to be tried again. */
static const char retries_sql[] =
    "SELECT DISTINCT a.connection_id, c.shard, a.object_type, a.record_id"
    " FROM psync.attempt a JOIN psync.connection c USING (connection_id)"
    " WHERE a.status = 'retrying' AND a.kind = 'record' AND a.resolved_by IS NULL"
    "   AND a.record_id IS NOT NULL"
    "   AND a.attempt_id > psync.attempt_floor(now() - interval '3 days')"
    "   AND NOT EXISTS (SELECT 1 FROM psync.attempt b"
    "     WHERE b.connection_id = a.connection_id AND b.object_type = a.object_type"
    "       AND b.record_id = a.record_id AND b.attempt_id > a.attempt_id)";

/* What a delivery named and nobody fetched since. A catch-up cannot see what was deleted. */
static const char deliveries_sql[] =
    "SELECT DISTINCT e.connection_id, c.shard, e.object_type, e.record_id"
    " FROM psync.webhook_event e JOIN psync.connection c USING (connection_id)"
    " LEFT JOIN psync.record_seen s ON s.connection_id = e.connection_id"
    "   AND s.object_type = e.object_type AND s.record_id = e.record_id"
    " WHERE e.verdict = 'accepted' AND e.object_type <> '' AND e.record_id <> ''"
    "   AND e.event_no > psync.attempt_floor(now() - interval '1 hour')"
    "   AND (s.fetched_at IS NULL OR s.fetched_at < e.received_at)";

int rebuild_unconfigured(struct app *app, struct err *err)
{
    int64_t ids[64];
    int shards[64], n = 0;
    if (queue_unconfigured(app->queue, ids, shards, (int)COUNT_OF(ids), &n, err) != 0) {
        return -1;
    }
    struct err why = {0};
    int rc = 0;
    for (int i = 0; i < n; i++) {
        int one = state_configure_queue(app, ids[i], &why);
        if (one != 0 && why.code == ERR_NOT_FOUND) {
            err_clear(&why); /* deleted here: its units are of no use */
            one = queue_drop_connection(app->queue, shards[i], ids[i], &why);
        }
        rc |= err_keep_first(one, &why, err);
    }
    return rc;
}

int rebuild_queue(struct app *app, struct rebuild_counts *out, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    *out = (struct rebuild_counts){0};
    if (store_query(app->store,
                    "SELECT connection_id, shard, state = 'connected', watermark_at IS NOT NULL"
                    " FROM psync.connection ORDER BY connection_id",
                    NULL, &r, err) != 0) {
        return -1;
    }
    struct err why = {0};
    int rc = 0;
    for (int i = 0; i < rows_count(r); i++) {
        int64_t id = rows_int(r, i, 0);
        bool watched = rows_bool(r, i, 3);
        int one = state_configure_queue(app, id, &why);
        out->connections += one == 0;
        if (one == 0 && watched) {
            one = rebuild_catch_up(app, id, (int)rows_int(r, i, 1), "catch-up", &why);
            out->catch_ups += one == 0;
        }
        rc |= err_keep_first(one, &why, err);
    }
    rc |= err_keep_first(rebuild_runs(app, &out->runs, &why), &why, err);
    rc |= err_keep_first(rebuild_put_records(app, retries_sql, "retry", &out->retries, &why),
                         &why, err);
    rc |= err_keep_first(
        rebuild_put_records(app, deliveries_sql, "catch-up", &out->deliveries, &why), &why,
        err);
    return rc;
}
