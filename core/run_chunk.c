#include "core/run_chunk.h"

#include "common/crash.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A split costs up to a page more than was needed: worth it for fifty, since they are read side
 * by side then. Sixteen use up a quota of 25 a second where a page takes 0.7 s. */
enum { RANGE_CHUNKS_MAX = 16, SPLIT_RECORDS = 50 * 100 };

static struct params *chunk_params(const struct run_chunk *c)
{
    struct params *p = params_new();
    params_int(p, c->run_id);
    params_int(p, c->chunk_no);
    params_int(p, c->claim_no);
    return p;
}

/* An array of n texts, NULL where there is none. */
static void params_texts(struct params *p, const char *const *texts, size_t n)
{
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; i < n; i++) {
        if (texts != NULL && texts[i] != NULL) {
            params_array_text(p, texts[i], strlen(texts[i]));
        } else {
            params_array_null(p);
        }
    }
    params_array_end(p);
}

static void chunk_texts_free(char **texts)
{
    for (char **t = texts; t != NULL && *t != NULL; t++) {
        free(*t);
    }
    free(texts);
}

/* The texts of a JSON array, NULL for none; sets *count. The analyzer loses the first text when
 * the second is made. */
ANALYZER_OFF("-Wanalyzer-malloc-leak")
static int chunk_texts(const char *json, char ***out, int *count)
{
    json_auto_t *array = json_loads(json, 0, NULL);
    size_t n = json_array_size(array);
    char **texts = n > 0 ? calloc(n + 1, sizeof *texts) : NULL;
    bool ok = n == 0 || texts != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        const char *text = json_string_value(json_array_get(array, i));
        texts[i] = strdup(text != NULL ? text : "");
        ok = texts[i] != NULL;
    }
    if (!ok) {
        chunk_texts_free(texts);
        return -1;
    }
    *out = texts;
    *count = (int)n;
    return 0;
}
ANALYZER_ON

void run_chunk_release(struct run_chunk *c)
{
    chunk_texts_free(c->ids);
    chunk_texts_free(c->parents);
    free(c->cursor);
    memset(c, 0, sizeof *c);
}

int run_chunk_take(struct store *s, const char *id, struct run_chunk *out, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    memset(out, 0, sizeof *out);
    char *dot = NULL, *end = NULL;
    out->run_id = strtoll(id, &dot, 10);
    long chunk_no = *dot == '.' ? strtol(dot + 1, &end, 10) : 0;
    out->chunk_no = (int)chunk_no;
    if (end == NULL || *end != '\0' || chunk_no != out->chunk_no) {
        err_set(err, ERR_NOT_FOUND, "'%s' is not the id of a chunk", id);
        return -1;
    }
    params_int(p, out->run_id);
    params_int(p, out->chunk_no);
    if (store_query(s,
                    "WITH r AS (UPDATE psync.run SET status = 'running',"
                    "     started_at = coalesce(started_at, now())"
                    "   WHERE run_id = $1 AND status = 'queued')"
                    " UPDATE psync.run_chunk c SET claim_no = claim_no + 1, updated_at = now()"
                    " FROM psync.run r WHERE c.run_id = $1 AND c.chunk_no = $2"
                    "   AND r.run_id = c.run_id AND c.status IN ('waiting', 'queued')"
                    "   AND r.status IN ('queued', 'running')"
                    " RETURNING c.claim_no, c.attempts, c.object_type, c.kind,"
                    "   to_json(c.ids)::text, to_json(c.parents)::text, c.cursor,"
                    "   coalesce(c.range_from, 0), coalesce(c.range_to, 0), r.trigger,"
                    "   r.requested_by, c.error_code = 'body_too_large',"
                    "   c.pages = 0 OR coalesce(c.range_from, 0) = (SELECT"
                    "     min(coalesce(k.range_from, 0)) FROM psync.run_chunk k"
                    "     WHERE k.run_id = c.run_id AND k.kind = 'range'"
                    "       AND k.object_type = c.object_type)",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "chunk %s has nothing to do any more", id);
        return -1;
    }
    out->claim_no = rows_int(r, 0, 0);
    out->attempts = (int)rows_int(r, 0, 1);
    snprintf(out->object, sizeof out->object, "%s", rows_text(r, 0, 2));
    snprintf(out->kind, sizeof out->kind, "%s", rows_text(r, 0, 3));
    int parent_count = 0;
    out->cursor = rows_is_null(r, 0, 6) ? NULL : strdup(rows_text(r, 0, 6));
    if (chunk_texts(rows_text(r, 0, 4), &out->ids, &out->id_count) != 0 ||
        chunk_texts(rows_text(r, 0, 5), &out->parents, &parent_count) != 0 ||
        (out->cursor == NULL && !rows_is_null(r, 0, 6))) {
        run_chunk_release(out);
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    out->range_from = rows_int(r, 0, 7);
    out->range_to = rows_int(r, 0, 8);
    snprintf(out->trigger, sizeof out->trigger, "%s", rows_text(r, 0, 9));
    snprintf(out->actor, sizeof out->actor, "%s", rows_text(r, 0, 10));
    out->too_large = rows_bool(r, 0, 11);
    out->splits = rows_bool(r, 0, 12);
    return 0;
}

/* Queue the checkpoint of a chunk; its row count shows whether the claim still holds. */
static int chunk_checkpoint(struct store_tx *tx, const struct run_chunk *c, const char *cursor,
                            bool done, int api_calls, struct rows **out, struct err *err)
{
    CLEANUP(params_freep) struct params *p = chunk_params(c);
    params_text(p, cursor);
    params_bool(p, done);
    params_int(p, api_calls);
    return store_send(tx,
                      "UPDATE psync.run_chunk SET cursor = $4, pages = pages + 1,"
                      "   api_calls = api_calls + $6, attempts = 0, updated_at = now(),"
                      "   status = CASE WHEN $5 THEN 'done' ELSE status END"
                      " WHERE run_id = $1 AND chunk_no = $2 AND claim_no = $3"
                      "   AND status IN ('waiting', 'queued') RETURNING 1",
                      p, out, err);
}

/* Everything that makes chunks does so under the run's lock. */
static int chunk_lock_run(struct store_tx *tx, int64_t run_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, run_id);
    return store_send(tx, "SELECT 1 FROM psync.run WHERE run_id = $1 FOR UPDATE", p, NULL, err);
}

static int chunk_commit(struct store_tx **tx, const struct rows *checkpoint, struct err *err)
{
    if (rows_count(checkpoint) == 0) {
        err_set(err, ERR_CONFLICT, "the chunk belongs to another claim now");
        return -1;
    }
    struct store_tx *ending = *tx;
    *tx = NULL;
    crash_point("listing.commit");
    int rc = store_commit(ending, err);
    crash_point("listing.committed");
    return rc;
}

/* Queue the making of chunks from ids (and parents, or NULL): groups of batch. */
static int chunk_make(struct store_tx *tx, int64_t run_id, const char *kind, const char *object,
                      int batch, const char *const *ids, const char *const *parents, size_t n,
                      struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    if (n == 0) {
        return 0;
    }
    params_int(p, run_id);
    params_text(p, kind);
    params_text(p, object);
    params_int(p, batch);
    params_texts(p, ids, n);
    params_texts(p, parents, n);
    return store_send(
        tx,
        "INSERT INTO psync.run_chunk (run_id, chunk_no, object_type, kind, ids, parents)"
        " SELECT $1, (SELECT max(chunk_no) FROM psync.run_chunk WHERE run_id = $1)"
        "     + row_number() OVER (ORDER BY g), $3, $2, ids,"
        "   CASE WHEN parents[1] IS NOT NULL THEN parents END"
        " FROM (SELECT (n - 1) / $4 AS g, array_agg(id ORDER BY n) AS ids,"
        "     array_agg(parent ORDER BY n) AS parents"
        "   FROM unnest($5::text[], $6::text[]) WITH ORDINALITY AS t (id, parent, n)"
        "   GROUP BY 1) x",
        p, NULL, err);
}

int run_save_scope_page(struct app *app, const struct connection *c,
                        const struct run_chunk *chunk, const struct record_list *page,
                        int api_calls, struct err *err)
{
    const struct object_type *object = provider_object(c->provider, chunk->object);
    size_t carried = (size_t)chunk->id_count, n = carried + page->count;
    bool done = !page->has_more;
    const char **ids = calloc(n + 1, sizeof *ids);
    CLEANUP(rows_freep) struct rows *checkpoint = NULL;
    CLEANUP(params_freep) struct params *members = params_new();
    CLEANUP(params_freep) struct params *rest = chunk_params(chunk);
    CLEANUP(store_abortp) struct store_tx *tx = NULL;
    int rc = -1;

    if (ids == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        goto done;
    }
    /* What does not fill a batch read waits in this chunk for the next page. */
    for (size_t i = 0; i < carried; i++) {
        ids[i] = chunk->ids[i];
    }
    for (size_t i = 0; i < page->count; i++) {
        ids[carried + i] = page->records[i].id;
    }
    size_t whole = done ? n : n - n % (size_t)object->batch_max;

    params_int(members, c->connection_id);
    params_int(members, chunk->run_id);
    params_array_begin(members, ARRAY_TEXT);
    for (size_t i = 0; i < page->count; i++) {
        params_array_text(members, page->records[i].id, strlen(page->records[i].id));
    }
    params_array_end(members);
    params_int(members, page->total);
    params_texts(rest, ids + whole, n - whole);

    tx = store_begin(app->store, err);
    if (tx == NULL || chunk_lock_run(tx, chunk->run_id, err) != 0 ||
        chunk_checkpoint(tx, chunk, page->cursor, done, api_calls, &checkpoint, err) != 0 ||
        store_send(
            tx,
            "WITH r AS (UPDATE psync.run SET expected = CASE WHEN $4 >= 0 THEN $4"
            "     ELSE expected END, progress_at = now() WHERE run_id = $2),"
            " c AS (UPDATE psync.connection SET scope_size = $4"
            "   WHERE connection_id = $1 AND $4 >= 0 AND scope_size IS DISTINCT FROM $4)"
            " INSERT INTO psync.scope_member (connection_id, record_id, run_id)"
            " SELECT $1, id, $2 FROM (SELECT DISTINCT unnest($3::text[]) AS id) x ORDER BY id"
            " ON CONFLICT (connection_id, record_id) DO UPDATE SET run_id = excluded.run_id",
            members, NULL, err) != 0 ||
        store_send(tx,
                   "UPDATE psync.run_chunk SET ids = $4"
                   " WHERE run_id = $1 AND chunk_no = $2 AND claim_no = $3",
                   rest, NULL, err) != 0 ||
        chunk_make(tx, chunk->run_id, "ids", object->name, object->batch_max, ids, NULL, whole,
                   err) != 0) {
        goto done;
    }
    for (const struct object_type *o = c->provider->objects; o->name != NULL; o++) {
        if ((o->flags & OBJECT_RELATED) != 0 && connection_mirrors(c, o) &&
            chunk_make(tx, chunk->run_id, "related", o->name, object->batch_max, ids, NULL,
                       whole, err) != 0) {
            goto done;
        }
    }
    if (store_sync(tx, err) == 0) {
        rc = chunk_commit(&tx, checkpoint, err);
    }
done:
    free(ids);
    return rc;
}

int run_save_related(struct app *app, const struct run_chunk *chunk,
                     const struct record_list *refs, const struct object_type *related,
                     int api_calls, struct err *err)
{
    CLEANUP(rows_freep) struct rows *checkpoint = NULL;
    CLEANUP(rows_freep) struct rows *partial = NULL;
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(store_abortp) struct store_tx *tx = store_begin(app->store, err);
    if (tx == NULL) {
        return -1;
    }
    /* Batches that are not full and not started yet take the new ids in. */
    params_int(p, chunk->run_id);
    params_text(p, related->name);
    params_int(p, related->batch_max);
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; i < refs->count; i++) {
        params_array_text(p, refs->records[i].id, strlen(refs->records[i].id));
    }
    params_array_end(p);
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; i < refs->count; i++) {
        params_array_text(p, refs->records[i].other_id, strlen(refs->records[i].other_id));
    }
    params_array_end(p);
    if ((refs->count > 0 && chunk_lock_run(tx, chunk->run_id, err) != 0) ||
        chunk_checkpoint(tx, chunk, NULL, true, api_calls, &checkpoint, err) != 0 ||
        (refs->count > 0 &&
         store_send(
             tx,
             "WITH base AS (SELECT max(chunk_no) AS no FROM psync.run_chunk WHERE run_id = $1),"
             " old AS (DELETE FROM psync.run_chunk WHERE run_id = $1 AND kind = 'ids'"
             "     AND object_type = $2 AND status = 'waiting' AND cardinality(ids) < $3"
             "   RETURNING ids, parents),"
             " pairs AS (SELECT id, min(parent) AS parent FROM ("
             "     SELECT unnest(ids) AS id, unnest(parents) AS parent FROM old"
             "     UNION ALL SELECT * FROM unnest($4::text[], $5::text[])) x GROUP BY id),"
             " grouped AS (SELECT (row_number() OVER (ORDER BY id) - 1) / $3 AS g, id, parent"
             "   FROM pairs)"
             " INSERT INTO psync.run_chunk (run_id, chunk_no, object_type, kind, ids, parents)"
             " SELECT $1, base.no + 1 + g, $2, 'ids', array_agg(id ORDER BY id),"
             "   array_agg(parent ORDER BY id) FROM grouped, base GROUP BY g, base.no",
             p, &partial, err) != 0) ||
        store_sync(tx, err) != 0) {
        return -1;
    }
    return chunk_commit(&tx, checkpoint, err);
}

/* $1 to $3 chunk and claim, $4 and $5 creation of the page's last and first record, $6 records
 * worth a chunk of their own, $7 chunks at most.
 *
 * Where an earlier run counted the type, what it stored says where to cut, into as many parts
 * as are worth it, once, after the first page. Else the density of the page is all there is:
 * the oldest chunk keeps as much as is worth a chunk and leaves everything older to another,
 * which does the same after its own first page. So the chunks multiply within seconds, none but
 * the last can be in vain, and nobody with a few pages pays for it. */
static const char *const split_sql =
    "WITH c AS MATERIALIZED (SELECT k.object_type, k.range_from, k.range_to, r.connection_id,"
    "     k.pages AS own, o.*, coalesce(k.range_from,"
    "       nullif(psync.as_bigint(n.account ->> 'created'), 0), 1262304000) AS low,"
    "     coalesce(k.range_from, 0) = o.lowest AS oldest, e.seen AS known"
    "   FROM psync.run_chunk k JOIN psync.run r USING (run_id)"
    "   JOIN psync.connection n USING (connection_id) CROSS JOIN LATERAL ("
    "     SELECT count(*) AS chunks, sum(pages) AS pages,"
    "       min(coalesce(range_from, 0)) AS lowest,"
    "       count(*) FILTER (WHERE status IN ('waiting', 'queued')) AS open"
    "     FROM psync.run_chunk WHERE run_id = $1 AND kind = 'range'"
    "       AND object_type = k.object_type) o"
    "   LEFT JOIN LATERAL (SELECT (objects #>> ARRAY[k.object_type, 'seen'])::bigint AS seen"
    "     FROM psync.run WHERE connection_id = r.connection_id AND run_id < $1"
    "       AND status IN ('succeeded', 'partial') AND objects ? k.object_type"
    "     ORDER BY run_id DESC LIMIT 1) e ON true"
    "   WHERE k.run_id = $1 AND k.chunk_no = $2 AND k.claim_no = $3 AND o.open < $7),"
    " part AS (SELECT c.*, least(known / $6, $7) AS parts FROM c"
    "   WHERE own = 1 AND range_to IS NULL AND known >= 2 * $6),"
    " cut AS (SELECT DISTINCT extract(epoch FROM unnest(percentile_disc("
    "       ARRAY(SELECT i / parts::float8 FROM generate_series(1, parts - 1) i))"
    "       WITHIN GROUP (ORDER BY v.created_at)))::bigint AS at"
    "   FROM part JOIN psync.record v USING (connection_id, object_type)"
    "   WHERE v.created_at >= to_timestamp(low) AND v.created_at < to_timestamp($4)"
    "   GROUP BY parts"
    "   UNION SELECT $4 - $6 / 100 * greatest($5 - $4, 1) FROM c WHERE known IS NULL"
    "     AND oldest AND pages >= 10 AND chunks < 2 + pages / 10),"
    " good AS (SELECT at FROM cut, c WHERE at > low AND at < $4),"
    " mine AS (UPDATE psync.run_chunk SET range_from = (SELECT max(at) FROM good)"
    "   WHERE run_id = $1 AND chunk_no = $2 AND claim_no = $3 AND EXISTS (SELECT FROM good)"
    "   RETURNING 1)"
    " INSERT INTO psync.run_chunk (run_id, chunk_no, object_type, kind, range_from, range_to)"
    " SELECT $1, (SELECT max(chunk_no) FROM psync.run_chunk WHERE run_id = $1)"
    "     + row_number() OVER (ORDER BY at DESC), object_type, 'range',"
    "   coalesce(lag(at) OVER (ORDER BY at), range_from), at FROM good, c, mine"
    " RETURNING 1";

int run_split_range(struct app *app, const struct run_chunk *chunk, int64_t first_created_s,
                    int64_t last_created_s, struct err *err)
{
    CLEANUP(params_freep) struct params *p = chunk_params(chunk);
    CLEANUP(rows_freep) struct rows *made = NULL;
    CLEANUP(store_abortp) struct store_tx *tx = store_begin(app->store, err);
    if (tx == NULL || chunk_lock_run(tx, chunk->run_id, err) != 0) {
        return -1;
    }
    params_int(p, last_created_s);
    params_int(p, first_created_s);
    params_int(p, SPLIT_RECORDS);
    params_int(p, RANGE_CHUNKS_MAX);
    if (store_send(tx, split_sql, p, &made, err) != 0) {
        return -1;
    }
    struct store_tx *ending = tx;
    tx = NULL;
    if (store_commit(ending, err) != 0) {
        return -1;
    }
    return rows_count(made) > 0 ? run_advance(app, chunk->run_id, err) : 0;
}

int run_chunk_fail(struct app *app, const struct run_chunk *chunk, const struct failure *why,
                   struct err *err)
{
    CLEANUP(params_freep) struct params *p = chunk_params(chunk);
    params_text(p, error_info(why->type)->code);
    if (store_query(app->store,
                    "UPDATE psync.run_chunk SET status = 'failed', error_code = $4,"
                    "   updated_at = now()"
                    " WHERE run_id = $1 AND chunk_no = $2 AND claim_no = $3",
                    p, NULL, err) != 0) {
        return -1;
    }
    return run_advance(app, chunk->run_id, err);
}

int run_chunk_rewind(struct app *app, const struct run_chunk *chunk, struct err *err)
{
    CLEANUP(params_freep) struct params *p = chunk_params(chunk);
    return store_query(app->store,
                       "UPDATE psync.run_chunk SET cursor = NULL, attempts = attempts + 1,"
                       "   updated_at = now()"
                       " WHERE run_id = $1 AND chunk_no = $2 AND claim_no = $3",
                       p, NULL, err);
}
