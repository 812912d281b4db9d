#include "core/run.h"

#include "common/crash.h"
#include "core/actions.h"
#include "core/run_chunk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- starting ---- */

static bool run_lists(const struct object_type *o)
{
    return (o->flags & OBJECT_LISTED) != 0;
}

int run_start(struct app *app, const struct connection *c, const char *trigger,
              const char *actor, enum lane lane, int64_t due_at_ms, int64_t *run_id,
              struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    int chunks = 0;
    params_int(p, c->connection_id);
    params_int(p, c->workspace_id);
    params_text(p, trigger);
    params_text(p, actor);
    params_text(p, lane_names[lane]);
    params_array_begin(p, ARRAY_TEXT);
    for (const struct object_type *o = c->provider->objects; o->name != NULL; o++) {
        if (connection_mirrors(c, o) && (o->flags & (OBJECT_LISTED | OBJECT_SCOPED)) != 0) {
            params_array_text(p, o->name, strlen(o->name));
            chunks++;
        }
    }
    params_array_end(p);
    params_array_begin(p, ARRAY_TEXT);
    for (const struct object_type *o = c->provider->objects; o->name != NULL; o++) {
        if (!connection_mirrors(c, o) || (o->flags & (OBJECT_LISTED | OBJECT_SCOPED)) == 0) {
            continue;
        }
        if ((o->flags & OBJECT_SCOPED) != 0 && c->scope_kind[0] == '\0') {
            err_set(
                err, ERR_INVALID,
                "what is to be mirrored is not chosen yet: pivotal-sync scope set %s list <id>",
                c->provider->name);
            return -1;
        }
        const char *kind = run_lists(o) ? "range" : "scope";
        params_array_text(p, kind, strlen(kind));
    }
    params_array_end(p);
    params_array_begin(p, ARRAY_INT8);
    for (const struct object_type *o = c->provider->objects; o->name != NULL; o++) {
        if (connection_mirrors(c, o) && (o->flags & (OBJECT_LISTED | OBJECT_SCOPED)) != 0) {
            params_array_int(p, o->months);
        }
    }
    params_array_end(p);
    if (chunks == 0) {
        err_set(err, ERR_INVALID, "connection %lld mirrors nothing",
                (long long)c->connection_id);
        return -1;
    }
    params_time_ms(p, due_at_ms);
    if (store_query(app->store,
                    "WITH due AS (INSERT INTO psync.occurrence (connection_id, kind, due_at)"
                    "   SELECT $1, 'nightly', $9::timestamptz WHERE $9 IS NOT NULL"
                    "   ON CONFLICT DO NOTHING RETURNING 1),"
                    " r AS (INSERT INTO psync.run (connection_id, workspace_id, kind, trigger,"
                    "   requested_by, lane, first_fetch_no)"
                    "   SELECT $1, $2, 'full', $3, $4, $5, nextval('psync.fetch_no')"
                    "   WHERE $9 IS NULL OR EXISTS (SELECT 1 FROM due)"
                    "   ON CONFLICT DO NOTHING RETURNING run_id),"
                    " k AS (INSERT INTO psync.run_chunk (run_id, chunk_no, object_type, kind,"
                    "     range_from)"
                    "   SELECT run_id, n, o, k, CASE WHEN months > 0 THEN"
                    "       extract(epoch FROM now() - make_interval(months => months::int))"
                    "     END FROM r, unnest($6::text[], $7::text[], $8::int8[])"
                    "     WITH ORDINALITY AS t (o, k, months, n))"
                    " SELECT run_id, true FROM r"
                    " UNION ALL SELECT run_id, false FROM psync.run"
                    "   WHERE connection_id = $1 AND kind = 'full'"
                    "     AND status IN ('queued', 'running')",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_CONFLICT, "a run of this connection is just ending; try again");
        *run_id = 0;
        return -1;
    }
    *run_id = rows_int(r, 0, 0);
    if (!rows_bool(r, 0, 1)) {
        err_set(err, ERR_CONFLICT, "full sync %lld is running already", (long long)*run_id);
        return -1;
    }
    crash_point("run.made");
    return run_advance(app, *run_id, err);
}

int64_t run_expects(struct store *s, const struct connection *c, const struct object_type **o,
                    struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    *o = c->provider->objects;
    while ((*o)->name != NULL && ((*o)->flags & OBJECT_ROOT) == 0) {
        (*o)++;
    }
    if ((*o)->name == NULL || c->scope_size > 0) {
        return (*o)->name == NULL ? 0 : c->scope_size;
    }
    params_int(p, c->connection_id);
    params_text(p, (*o)->name);
    if (store_query(s,
                    "SELECT count(*) FROM psync.record WHERE connection_id = $1"
                    " AND object_type = $2 AND deleted_at IS NULL AND in_scope",
                    p, &r, err) != 0) {
        return -1;
    }
    return rows_int(r, 0, 0);
}

/* ---- reading ---- */

bool run_ended(const struct run_info *r)
{
    return strcmp(r->status, "queued") != 0 && strcmp(r->status, "running") != 0;
}

static void run_copy(char *out, size_t out_bytes, const struct rows *r, int row, int column)
{
    snprintf(out, out_bytes, "%s", rows_text(r, row, column));
}

#define MS(column) "coalesce((extract(epoch FROM " column ") * 1000)::bigint, 0)"

/* $1 run. Its chunks summed up; the phase is the type of the first that is open. */
// clang-format off
static const char *const load_sql =
    "SELECT r.run_id, r.connection_id, c.shard, r.kind, r.status, r.trigger, r.requested_by,"
    " r.error_code, r.error_message, coalesce(r.expected, -1), k.seen, k.created, k.updated,"
    " k.unchanged, k.skipped, k.failed, r.archived, k.api_calls, k.open, k.done,"
    " k.failed_chunks, " MS("r.queued_at") ", " MS("r.started_at") ", "
    MS("greatest(r.progress_at, k.progress_at)") ", " MS("r.finished_at") ","
    " coalesce(k.phase, '')"
    " FROM psync.run r JOIN psync.connection c USING (connection_id), LATERAL ("
    "   SELECT coalesce(sum(seen), 0) AS seen, coalesce(sum(created), 0) AS created,"
    "     coalesce(sum(updated), 0) AS updated, coalesce(sum(unchanged), 0) AS unchanged,"
    "     coalesce(sum(skipped), 0) AS skipped, coalesce(sum(failed), 0) AS failed,"
    "     coalesce(sum(api_calls), 0) AS api_calls, max(updated_at) AS progress_at,"
    "     count(*) FILTER (WHERE status IN ('waiting', 'queued')) AS open,"
    "     count(*) FILTER (WHERE status = 'done') AS done,"
    "     count(*) FILTER (WHERE status = 'failed') AS failed_chunks,"
    "     (array_agg(object_type ORDER BY chunk_no)"
    "       FILTER (WHERE status IN ('waiting', 'queued')))[1] AS phase"
    "   FROM psync.run_chunk WHERE run_id = r.run_id) k"
    " WHERE r.run_id = $1";
// clang-format on

int run_load(struct store *s, int64_t run_id, struct run_info *out, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    memset(out, 0, sizeof *out);
    params_int(p, run_id);
    if (store_query(s, load_sql, p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "there is no run %lld", (long long)run_id);
        return -1;
    }
    out->run_id = rows_int(r, 0, 0);
    out->connection_id = rows_int(r, 0, 1);
    out->shard = (int)rows_int(r, 0, 2);
    run_copy(out->kind, sizeof out->kind, r, 0, 3);
    run_copy(out->status, sizeof out->status, r, 0, 4);
    run_copy(out->trigger, sizeof out->trigger, r, 0, 5);
    run_copy(out->requested_by, sizeof out->requested_by, r, 0, 6);
    run_copy(out->error_code, sizeof out->error_code, r, 0, 7);
    run_copy(out->error_message, sizeof out->error_message, r, 0, 8);
    int64_t *numbers[] = {
        &out->expected,     &out->seen,          &out->created,        &out->updated,
        &out->unchanged,    &out->skipped,       &out->failed,         &out->archived,
        &out->api_calls,    &out->chunks_open,   &out->chunks_done,    &out->chunks_failed,
        &out->queued_at_ms, &out->started_at_ms, &out->progress_at_ms, &out->finished_at_ms};
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        *numbers[i] = rows_int(r, 0, 9 + (int)i);
    }
    run_copy(out->object, sizeof out->object, r, 0, 25);
    return 0;
}

/* ---- advancing ---- */

struct run_row {
    int64_t run_id, connection_id, first_fetch_no;
    int shard;
    char lane[16], trigger[24], actor[64], provider[24];
    bool swept, scoped;
    int64_t open, queued, failed;
};

/* Lock the run. 0; 1 when it has ended already; -1 with err. */
static int run_lock(struct store_tx *tx, int64_t run_id, struct run_row *out, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    CLEANUP(rows_freep) struct rows *k = NULL;
    memset(out, 0, sizeof *out);
    params_int(p, run_id);
    if (store_send(
            tx,
            "SELECT r.connection_id, c.shard, r.lane, r.trigger, r.requested_by, c.provider,"
            "   r.swept, r.first_fetch_no, r.status IN ('queued', 'running')"
            " FROM psync.run r JOIN psync.connection c USING (connection_id)"
            " WHERE r.run_id = $1 FOR UPDATE OF r",
            p, &r, err) != 0 ||
        store_sync(tx, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "there is no run %lld", (long long)run_id);
        return -1;
    }
    /* Only now, behind the lock: what the others committed before it counts. */
    if (store_send(tx,
                   "SELECT count(*) FILTER (WHERE status IN ('waiting', 'queued')),"
                   "   count(*) FILTER (WHERE status = 'queued'),"
                   "   count(*) FILTER (WHERE status = 'failed')"
                   " FROM psync.run_chunk WHERE run_id = $1",
                   p, &k, err) != 0 ||
        store_sync(tx, err) != 0) {
        return -1;
    }
    out->run_id = run_id;
    out->connection_id = rows_int(r, 0, 0);
    out->shard = (int)rows_int(r, 0, 1);
    run_copy(out->lane, sizeof out->lane, r, 0, 2);
    run_copy(out->trigger, sizeof out->trigger, r, 0, 3);
    run_copy(out->actor, sizeof out->actor, r, 0, 4);
    run_copy(out->provider, sizeof out->provider, r, 0, 5);
    out->swept = rows_bool(r, 0, 6);
    out->first_fetch_no = rows_int(r, 0, 7);
    out->open = rows_int(k, 0, 0);
    out->queued = rows_int(k, 0, 1);
    out->failed = rows_int(k, 0, 2);
    return rows_bool(r, 0, 8) ? 0 : 1;
}

/* A root whose fields derive from its raw alone looks up what was listed before it (owners): $3
 * is its name, $4 the types it waits for. Other roots are derived again when a part comes. */
static void run_order(const struct run_row *run, struct params *p)
{
    const struct provider *provider = provider_find(run->provider);
    const struct object_type *root = NULL;
    for (const struct object_type *o = provider == NULL ? NULL : provider->objects;
         o != NULL && o->name != NULL && root == NULL; o++) {
        root = (o->flags & OBJECT_ROOT) != 0 && (o->flags & OBJECT_SELF) != 0 ? o : NULL;
    }
    params_text(p, root == NULL ? "" : root->name);
    params_array_begin(p, ARRAY_TEXT);
    for (const struct object_type *o = root == NULL ? NULL : provider->objects;
         o != NULL && o != root; o++) {
        params_array_text(p, o->name, strlen(o->name));
    }
    params_array_end(p);
}

static int run_related_batch(const struct run_row *run)
{
    const struct provider *provider = provider_find(run->provider);
    for (const struct object_type *o = provider != NULL ? provider->objects : NULL;
         o != NULL && o->name != NULL; o++) {
        if ((o->flags & OBJECT_RELATED) != 0) {
            return o->batch_max;
        }
    }
    return 1;
}

/* Up to the window, and again what has been silent for ten seconds: whoever was to put it may
 * have been killed before. Putting what waits only counts, and a claim makes itself heard. */
static int run_fill_window(struct store_tx *tx, const struct run_row *run, struct rows **puts,
                           struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, run->run_id);
    params_int(p, run->queued < RUN_WINDOW ? RUN_WINDOW - run->queued : 0);
    run_order(run, p);
    params_int(p, run_related_batch(run));
    return store_send(
        tx,
        "UPDATE psync.run_chunk SET status = 'queued', updated_at = now()"
        " WHERE run_id = $1 AND (chunk_no IN (SELECT chunk_no FROM psync.run_chunk"
        "     WHERE run_id = $1 AND status = 'waiting'"
        "      AND (object_type <> $3 OR NOT EXISTS (SELECT FROM psync.run_chunk o"
        "        WHERE o.run_id = $1 AND o.object_type = ANY ($4)"
        "         AND o.status IN ('waiting', 'queued')))"
        /* A related batch that is not full may yet be filled. */
        "      AND (parents IS NULL OR cardinality(ids) >= $5 OR NOT EXISTS ("
        "        SELECT FROM psync.run_chunk o WHERE o.run_id = $1"
        "         AND o.kind IN ('scope', 'related') AND o.status IN ('waiting', 'queued')))"
        "     ORDER BY chunk_no LIMIT $2)"
        "   OR status = 'queued' AND updated_at < now() - interval '10 seconds')"
        " RETURNING chunk_no, object_type, kind",
        p, puts, err);
}

#define EVERY_PAGE_ENDED_WELL                                                                  \
    " AND r.status IN ('succeeded', 'partial') AND r.error_code = ''"                          \
    " AND NOT EXISTS (SELECT 1 FROM psync.run_chunk k"                                         \
    "   WHERE k.run_id = r.run_id AND k.status = 'failed')"

/* What the queue calls a chunk's type: by that its quota is found. */
static const char *run_unit_object(const struct run_row *run, const struct rows *puts, int row)
{
    const char *name = rows_text(puts, row, 1);
    const struct provider *p = provider_find(run->provider);
    const struct object_type *o = p != NULL ? provider_object(p, name) : NULL;
    bool links = strcmp(rows_text(puts, row, 2), "related") == 0;
    return links && o != NULL && o->links_name != NULL ? o->links_name : name;
}

static int run_put_chunks(struct app *app, const struct run_row *run, const struct rows *puts,
                          struct err *err)
{
    int n = rows_count(puts);
    if (n == 0) {
        return 0;
    }
    struct unit_put *units = calloc((size_t)n, sizeof *units);
    char(*ids)[48] = calloc((size_t)n, sizeof *ids);
    int rc = -1;
    if (units == NULL || ids == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        goto done;
    }
    for (int i = 0; i < n; i++) {
        snprintf(ids[i], sizeof ids[i], "%lld.%s", (long long)run->run_id,
                 rows_text(puts, i, 0));
        units[i] = (struct unit_put){
            .connection_id = run->connection_id,
            .shard = run->shard,
            .kind = UNIT_CHUNK,
            .object = run_unit_object(run, puts, i),
            .id = ids[i],
            .lane = strcmp(run->lane, "nightly") == 0 ? LANE_NIGHTLY : LANE_RUN_NOW,
            .trigger = run->trigger,
            .actor = run->actor,
            .hint = "",
        };
    }
    crash_point("chunk.put");
    rc = queue_put(app->queue, units, n, err);
    crash_point("chunk.was_put");
done:
    free(units);
    free(ids);
    return rc;
}

static int run_finish(struct store_tx *tx, const struct run_row *run, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, run->run_id);
    if (store_send(
            tx,
            "WITH k AS (SELECT object_type, sum(seen) AS seen, sum(created) AS created,"
            "    sum(updated) AS updated, sum(unchanged) AS unchanged,"
            "    sum(skipped) AS skipped, sum(failed) AS failed, sum(api_calls) AS calls,"
            "    sum(throttled_ms) AS throttled_ms,"
            "    count(*) FILTER (WHERE status = 'failed') AS broken,"
            "    count(*) FILTER (WHERE status = 'done') AS done,"
            "    coalesce(sum(updated) FILTER (WHERE kind = 'sweep'), 0) AS archived"
            "   FROM psync.run_chunk WHERE run_id = $1 GROUP BY object_type),"
            " t AS (SELECT sum(failed) AS failed, sum(broken) AS broken, sum(done) AS done,"
            "    sum(calls) AS calls, sum(throttled_ms) AS throttled_ms,"
            "    sum(archived) AS archived, jsonb_object_agg(object_type,"
            "      jsonb_build_object('seen', seen, 'created', created, 'updated', updated,"
            "        'unchanged', unchanged, 'skipped', skipped, 'failed', failed,"
            "        'broken_chunks', broken)) AS objects FROM k)"
            " UPDATE psync.run r SET finished_at = now(), progress_at = now(),"
            "   objects = t.objects, api_calls = t.calls, throttled_ms = t.throttled_ms,"
            "   archived = t.archived,"
            "   error_code = CASE WHEN r.error_code <> '' THEN r.error_code ELSE coalesce("
            "     (SELECT k.error_code FROM psync.run_chunk k WHERE k.run_id = $1"
            "       AND k.status = 'failed' ORDER BY k.chunk_no LIMIT 1), '') END,"
            "   status = CASE WHEN t.done = 0 THEN 'failed'"
            "     WHEN t.broken > 0 OR t.failed > 0 OR r.error_code <> '' THEN 'partial'"
            "     ELSE 'succeeded' END"
            " FROM t WHERE r.run_id = $1",
            p, NULL, err) != 0) {
        return -1;
    }
    /* The clock moves when every page ended well; records that failed are shown by themselves.
     */
    if (store_send(tx,
                   "UPDATE psync.connection c SET last_full_success_at = r.finished_at,"
                   "   watermark_at = greatest(c.watermark_at, r.started_at)"
                   " FROM psync.run r WHERE r.run_id = $1 AND c.connection_id = r.connection_id"
                   "   AND r.kind = 'full'" EVERY_PAGE_ENDED_WELL,
                   p, NULL, err) != 0) {
        return -1;
    }
    /* Such a run answers what earlier runs, and earlier tries of its own chunks, could not do.
     */
    if (store_send(tx,
                   "UPDATE psync.attempt a SET resolved_by = last.id FROM psync.run r,"
                   "   LATERAL (SELECT max(attempt_id) AS id FROM psync.attempt"
                   "     WHERE run_id = $1 AND kind = 'chunk') last"
                   " WHERE r.run_id = $1" EVERY_PAGE_ENDED_WELL " AND last.id IS NOT NULL"
                   "   AND a.connection_id = r.connection_id AND a.record_id IS NULL"
                   "   AND a.run_id IS NOT NULL AND a.resolved_by IS NULL"
                   "   AND a.status IN ('failed', 'partial', 'retrying')"
                   "   AND a.attempt_id < last.id"
                   "   AND a.attempt_id >= psync.attempt_floor(now() - interval '31 days')",
                   p, NULL, err) != 0) {
        return -1;
    }
    return run_count(tx, run->run_id, run->connection_id, run->provider, err);
}

int run_advance(struct app *app, int64_t run_id, struct err *err)
{
    CLEANUP(rows_freep) struct rows *puts = NULL;
    CLEANUP(store_abortp) struct store_tx *tx = store_begin(app->store, err);
    struct run_row run;
    if (tx == NULL) {
        return -1;
    }
    int rc = run_lock(tx, run_id, &run, err);
    if (rc != 0) {
        return rc < 0 ? -1 : 0;
    }
    if (run.open == 0 && !run.swept) {
        int64_t made = 0;
        if (run_sweep(tx, run_id, run.connection_id, run.provider, run.first_fetch_no, &made,
                      err) != 0) {
            return -1;
        }
        run.open = made;
    }
    rc = run.open == 0 ? run_finish(tx, &run, err) : run_fill_window(tx, &run, &puts, err);
    if (rc != 0) {
        return -1;
    }
    struct store_tx *ending = tx;
    tx = NULL;
    if (store_commit(ending, err) != 0) {
        return -1;
    }
    return run_put_chunks(app, &run, puts, err);
}

int run_go_on(struct app *app, int64_t run_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, run_id);
    params_int(p, RUN_WINDOW / 2);
    if (store_query(app->store,
                    "SELECT count(*) = 0 OR (count(*) < $2::int AND EXISTS ("
                    "  SELECT FROM psync.run_chunk WHERE run_id = $1::bigint"
                    "  AND status = 'waiting')) FROM (SELECT FROM psync.run_chunk"
                    "  WHERE run_id = $1::bigint AND status = 'queued' LIMIT $2::int) queued",
                    p, &r, err) != 0) {
        return -1;
    }
    return rows_bool(r, 0, 0) ? run_advance(app, run_id, err) : 0;
}

int run_cancel(struct app *app, int64_t run_id, const struct actor *who, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, run_id);
    params_text(p, who->name);
    params_text(p, who->kind);
    if (store_query(
            app->store,
            "WITH r AS (UPDATE psync.run SET status = 'cancelled', cancel_by = $2,"
            "     error_code = 'job_cancelled', finished_at = now()"
            "   WHERE run_id = $1 AND status IN ('queued', 'running')"
            "   RETURNING run_id, workspace_id, connection_id),"
            " k AS (UPDATE psync.run_chunk c SET status = 'cancelled', updated_at = now()"
            "   FROM r WHERE c.run_id = r.run_id AND c.status IN ('waiting', 'queued')),"
            " a AS (INSERT INTO psync.audit (workspace_id, connection_id, actor, actor_kind,"
            "     action, target) SELECT workspace_id, connection_id, $2, $3, 'run.cancel',"
            "     'run ' || run_id FROM r),"
            " l AS (INSERT INTO psync.attempt (attempt_id, connection_id, run_id, kind,"
            "     trigger, actor, status, error_code, error_message, started_at)"
            "   SELECT psync.next_attempt_id(), connection_id, run_id, 'check', 'person', $2,"
            "     'cancelled', 'job_cancelled', 'run ' || run_id || ' was cancelled by ' ||"
            "     coalesce(nullif($2, ''), 'the system') || '; what was read is kept', now()"
            "   FROM r)"
            " SELECT run_id FROM r",
            p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        struct run_info info;
        if (run_load(app->store, run_id, &info, err) == 0) {
            err_set(err, ERR_CONFLICT, "run %lld has ended already: %s", (long long)run_id,
                    info.status);
        }
        return -1;
    }
    return 0;
}

int run_start_over(struct app *app, const struct connection *c, const struct actor *who,
                   int64_t *run_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *live = NULL;
    params_int(p, c->connection_id);
    if (store_query(app->store,
                    "SELECT run_id FROM psync.run WHERE connection_id = $1 AND kind = 'full'"
                    "   AND status IN ('queued', 'running')",
                    p, &live, err) != 0) {
        return -1;
    }
    if (rows_count(live) > 0 && run_cancel(app, rows_int(live, 0, 0), who, err) != 0 &&
        err->code != ERR_CONFLICT) { /* it may just have ended */
        return -1;
    }
    err_clear(err);
    if (run_start(app, c, "person", who->name, LANE_RUN_NOW, 0, run_id, err) != 0) {
        if (err->code != ERR_CONFLICT && err->code != ERR_INVALID) {
            return -1;
        }
        err_clear(err);
        *run_id = 0;
    }
    return 0;
}
