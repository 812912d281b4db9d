#include "core/poison.h"

#include "core/run.h"

#include <string.h>

enum { LIST_MAX = 1000, LIST_MAX_BYTES = 4 * 1024 * 1024 };

/* $1 what `queue list --state buried` tells. due_ms is when the unit was buried. Answers those
 * that are new: the run of a chunk (else 0), its connection, type and id. */
static const char *const log_sql =
    "WITH u AS (SELECT x.*, CASE WHEN kind = 'chunk' THEN split_part(id, '.', 1)::bigint END"
    "    AS run_id FROM jsonb_to_recordset($1::jsonb) AS x (connection_id bigint, kind text,"
    "     object text, id text, events int, trigger text, actor text, reason text, due_ms int8)"
    "   JOIN psync.connection USING (connection_id) WHERE reason = 'poison_job'),"
    " chunk AS (UPDATE psync.run_chunk c SET status = 'failed', error_code = 'poison_job',"
    "     updated_at = now() FROM u WHERE c.run_id = u.run_id"
    "     AND c.chunk_no = split_part(u.id, '.', 2)::int AND c.status IN ('waiting', 'queued')"
    "   RETURNING u.id),"
    " fresh AS (SELECT * FROM u WHERE CASE kind WHEN 'chunk' THEN id IN (SELECT id FROM chunk)"
    "   ELSE NOT EXISTS (SELECT FROM psync.attempt a WHERE a.connection_id = u.connection_id"
    "     AND a.object_type = u.object AND a.record_id = u.id AND a.error_code = 'poison_job'"
    "     AND a.attempt_id >= u.due_ms << 20) END),"
    " seen AS (INSERT INTO psync.record_seen AS s (connection_id, object_type, record_id,"
    "     fetch_no, state, reason_code, fail_count)"
    "   SELECT DISTINCT connection_id, object, id, 0, 'failing', 'poison_job', 1 FROM fresh"
    "   WHERE kind = 'record' ON CONFLICT (connection_id, object_type, record_id) DO UPDATE"
    "   SET state = 'failing', reason_code = 'poison_job', fail_count = s.fail_count + 1),"
    " a AS (INSERT INTO psync.attempt (attempt_id, connection_id, run_id, kind, trigger, actor,"
    "     object_type, record_id, status, error_code, error_message, error_count, events,"
    "     started_at)"
    "   SELECT psync.next_attempt_id(), connection_id, run_id, kind, trigger, actor,"
    "     regexp_replace(object, '-links$', ''),"
    "     CASE WHEN kind <> 'chunk' THEN id END, 'failed', 'poison_job',"
    "     'whoever worked on it ended before it was done, six times', 1, events, now()"
    "   FROM fresh)"
    " SELECT coalesce(run_id, 0), c.connection_id, c.shard, f.object, f.id FROM fresh f"
    " JOIN psync.connection c USING (connection_id)";

/* Whoever claims a chunk that counts as failed has nothing to do and completes it. */
static int poison_release(struct app *app, const struct rows *r, int row, struct err *err)
{
    struct unit_put put = {
        .connection_id = rows_int(r, row, 1),
        .shard = (int)rows_int(r, row, 2),
        .kind = UNIT_CHUNK,
        .object = rows_text(r, row, 3),
        .id = rows_text(r, row, 4),
        .lane = LANE_INTERACTIVE,
        .trigger = "retry",
        .actor = "",
        .hint = "",
    };
    if (queue_put(app->queue, &put, 1, err) != 0) {
        return -1;
    }
    return run_advance(app, rows_int(r, row, 0), err);
}

static int poison_write(struct app *app, const struct buf *json, struct rows **out,
                        struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(store_abortp) struct store_tx *tx = store_begin(app->store, err);
    if (tx == NULL) {
        return -1;
    }
    params_text_n(p, json->bytes, json->len_bytes);
    if (store_send(tx, "SELECT pg_advisory_xact_lock(hashtextextended('poison', 0))", NULL,
                   NULL, err) != 0 ||
        store_send(tx, log_sql, p, out, err) != 0) {
        return -1;
    }
    struct store_tx *ending = tx;
    tx = NULL;
    return store_commit(ending, err);
}

int poison_log(struct app *app, int64_t *logged, struct err *err)
{
    struct buf json;
    int rc = 0;
    CLEANUP(rows_freep) struct rows *r = NULL;
    *logged = 0;
    buf_init(&json, LIST_MAX_BYTES);
    if (queue_list(app->queue, 0, "buried", LIST_MAX, &json, err) != 0 ||
        (json.len_bytes > 2 && poison_write(app, &json, &r, err) != 0)) {
        rc = -1;
    }
    buf_release(&json);
    for (int i = 0; rc == 0 && i < rows_count(r); i++) {
        ++*logged;
        if (rows_int(r, i, 0) != 0) {
            rc = poison_release(app, r, i, err);
        }
    }
    return rc;
}
