/* Billing records that fitted no customer, or several, looked at again when customers of the
 * workspace were written. In a transaction of its own: what was saved before is safe, and what
 * is missed here the nightly run finds. */
#include "core/save_priv.h"

#include "common/clock.h"

enum { REMATCH_MAX = 500, REWORK_PAGE = 200 };

/* Only records whose address has the domain of a customer that this batch wrote, or that keep
 * an id of the other system: of a workspace's thousands of strangers no other is touched. */
static const char *const unmatched_sql =
    "WITH fresh AS MATERIALIZED (SELECT DISTINCT lower(c.fields ->> 'domain') AS domain"
    "  FROM unnest($7::text[]) AS x (id)"
    "  CROSS JOIN LATERAL (SELECT customer_id FROM psync.record_link"
    "   WHERE connection_id = $5::bigint AND object_type = $6::text AND record_id = x.id"
    "   LIMIT 1) l"
    "  JOIN psync.customer c USING (customer_id) WHERE c.archived_at IS NULL"
    "   AND c.fields ->> 'domain' <> ''),"
    " suspect AS (SELECT r.connection_id, r.record_id FROM psync.connection o, fresh f"
    "  CROSS JOIN LATERAL (SELECT connection_id, record_id FROM psync.record"
    "   WHERE connection_id = o.connection_id AND object_type = $3::text"
    "    AND raw ->> 'email' IS NOT NULL AND deleted_at IS NULL"
    "    AND lower(substring(raw ->> 'email' FROM '[^@]*$')) = f.domain LIMIT 100) r"
    "  WHERE o.workspace_id = $1::bigint AND o.provider = $2::text"
    " UNION SELECT r.connection_id, r.record_id FROM psync.connection o"
    "  JOIN psync.record r ON r.connection_id = o.connection_id AND r.object_type = $3::text"
    "   AND r.deleted_at IS NULL AND (r.raw ->> 'metadata' LIKE '%hubspot%'"
    "    OR r.raw ->> 'metadata' LIKE '%hs\\_object%')"
    "  WHERE o.workspace_id = $1::bigint AND o.provider = $2::text) "
    "SELECT x.connection_id, x.record_id FROM suspect x"
    " CROSS JOIN LATERAL (SELECT state, reason_code FROM psync.record_seen"
    "  WHERE connection_id = x.connection_id AND object_type = $3::text"
    "   AND record_id = x.record_id LIMIT 1) s "
    "WHERE (s.state IN ('unmatched', 'ambiguous')"
    "   OR s.reason_code = 'out_of_stripe_scope') ORDER BY 1, 2 LIMIT $4::int";

static int rework(struct store *store, const struct connection *conn,
                  const struct object_type *object, const char *const *ids, int n,
                  struct err *err)
{
    struct store_tx *tx = store_begin(store, err);
    if (tx == NULL) {
        return -1;
    }
    struct roots roots = {.tx = tx, .conn = conn, .object = object, .now_ms = clock_now_ms()};
    int rc = -1;
    if (roots_load(&roots, ids, NULL, n, err) == 0 && roots_map(&roots, err) == 0 &&
        roots_write(&roots, err) == 0) {
        rc = store_commit(tx, err);
    } else {
        store_abort(tx);
    }
    roots_release(&roots);
    return rc;
}

/* The next connection's ids out of the answer. */
static int rematch_connection(struct store *store, const struct object_type *object,
                              const struct rows *found, int from, int to, struct err *err)
{
    const char *ids[REMATCH_MAX];
    int64_t connection_id = rows_int(found, from, 0);
    CLEANUP(connection_freep)
    struct connection *conn = connection_load(store, NULL, connection_id, err);
    if (conn == NULL || conn->mapping == NULL) {
        return conn == NULL ? -1 : 0;
    }
    for (int i = from; i < to; i++) {
        ids[i - from] = rows_text(found, i, 1);
    }
    return rework(store, conn, object, ids, to - from, err);
}

static int rematch_type(struct store *store, const struct save_job *job,
                        const struct provider *provider, const struct object_type *object,
                        struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *found = NULL;
    params_int(p, job->conn->workspace_id);
    params_text(p, provider->name);
    params_text(p, object->name);
    params_int(p, REMATCH_MAX);
    params_int(p, job->conn->connection_id);
    params_text(p, job->object->name);
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < job->item_count; i++) {
        const char *id = job->items[i].record->id;
        params_array_text(p, id, strlen(id));
    }
    params_array_end(p);
    if (store_query(store, unmatched_sql, p, &found, err) != 0) {
        return -1;
    }
    for (int from = 0, to = 0; from < rows_count(found); from = to) {
        while (to < rows_count(found) && rows_int(found, to, 0) == rows_int(found, from, 0)) {
            to++;
        }
        if (rematch_connection(store, object, found, from, to, err) != 0) {
            return -1;
        }
    }
    return 0;
}

int save_rematch(struct store *store, const struct save_job *job, struct err *err)
{
    for (size_t i = 0; providers[i] != NULL; i++) {
        const struct object_type *o = roots_type(providers[i]);
        if (o != NULL && (o->flags & OBJECT_SELF) == 0 &&
            rematch_type(store, job, providers[i], o, err) != 0) {
            err_wrap(err, "match again");
            return -1;
        }
    }
    return 0;
}

/* ---- everything of a connection ---- */

int save_rework(struct store *store, int64_t connection_id, int64_t *roots, struct err *err)
{
    CLEANUP(connection_freep)
    struct connection *conn = connection_load(store, NULL, connection_id, err);
    const struct object_type *root = conn != NULL ? roots_type(conn->provider) : NULL;
    char after[RECORD_ID_MAX_BYTES + 1] = "";
    *roots = 0;
    if (root == NULL || (root->flags & OBJECT_SELF) != 0 || conn->mapping == NULL) {
        return conn == NULL ? -1 : 0;
    }
    for (;;) {
        const char *ids[REWORK_PAGE];
        CLEANUP(params_freep) struct params *p = params_new();
        CLEANUP(rows_freep) struct rows *r = NULL;
        params_int(p, connection_id);
        params_text(p, root->name);
        params_text(p, after);
        params_int(p, REWORK_PAGE);
        if (store_query(store,
                        "SELECT record_id FROM psync.record WHERE connection_id = $1"
                        "   AND object_type = $2 AND record_id > $3"
                        " ORDER BY record_id LIMIT $4::int",
                        p, &r, err) != 0) {
            return -1;
        }
        int n = rows_count(r);
        for (int i = 0; i < n; i++) {
            ids[i] = rows_text(r, i, 0);
        }
        if (n == 0) {
            return 0;
        }
        if (rework(store, conn, root, ids, n, err) != 0) {
            return -1;
        }
        *roots += n;
        (void)snprintf(after, sizeof after, "%s", rows_text(r, n - 1, 0));
    }
}
