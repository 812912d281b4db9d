/* Erasing what is kept of records, after a privacy deletion at the provider or by hand; and
 * whole workspaces. */
#include "core/erase.h"
#include "core/save_priv.h"

/* Raw, bodies, field values and provenance of the record go; its id and the time stay in the
 * audit trail. Values that another connection gives to the same field too stay. $1 connection,
 * $2 type, $3 ids. */
static const char *const erase_sql[] = {
    "UPDATE psync.record SET raw = '{}', deleted_at = coalesce(deleted_at, now())"
    " WHERE connection_id = $1::bigint AND object_type = $2::text"
    " AND record_id = ANY ($3::text[])",
    "UPDATE psync.record_seen SET hash = NULL WHERE connection_id = $1::bigint"
    " AND object_type = $2::text AND record_id = ANY ($3::text[])",
    "UPDATE psync.attempt_body b SET url = '', headers = '', body = '', truncated = true"
    " FROM psync.attempt a WHERE a.connection_id = $1::bigint AND a.object_type = $2::text"
    " AND a.record_id = ANY ($3::text[]) AND b.attempt_id = a.attempt_id",
    "UPDATE psync.attempt SET error_message = '' WHERE connection_id = $1::bigint"
    " AND object_type = $2::text AND record_id = ANY ($3::text[]) AND error_message <> ''",
    "UPDATE psync.customer c SET fields = c.fields - p.keys, updated_at = now()"
    " FROM (SELECT customer_id, array_agg(field) AS keys FROM psync.field_origin"
    "  WHERE connection_id = $1::bigint AND object_type = $2::text"
    "  AND record_id = ANY ($3::text[]) GROUP BY customer_id) p"
    " WHERE c.customer_id = p.customer_id",
    "DELETE FROM psync.field_provenance WHERE connection_id = $1::bigint"
    " AND object_type = $2::text AND record_id = ANY ($3::text[])",
    "UPDATE psync.record_link SET applied = '{}', notes = NULL, origin = NULL"
    " WHERE connection_id = $1::bigint AND object_type = $2::text AND record_id = ANY "
    "($3::text[])",
};

/* $4 to $6: who, of which kind, and why. */
static const char *const trail_sql =
    "INSERT INTO psync.audit (workspace_id, connection_id, actor, actor_kind, action, target,"
    " reason) SELECT c.workspace_id, c.connection_id, $4::text, $5::text, 'erase',"
    " $2::text || ' ' || id, $6::text"
    " FROM psync.connection c, unnest($3::text[]) AS id WHERE c.connection_id = $1::bigint";

int save_erase_send(struct store_tx *tx, const struct params *p, const struct params *trail,
                    struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(erase_sql); i++) {
        if (store_send(tx, erase_sql[i], p, NULL, err) != 0) {
            return -1;
        }
    }
    return store_send(tx, trail_sql, trail, NULL, err);
}

/* ---- by hand ---- */

static const char *const there_sql =
    "SELECT EXISTS (SELECT FROM psync.record WHERE connection_id = $1 AND object_type = $2"
    "   AND record_id = $3) OR EXISTS (SELECT FROM psync.attempt WHERE connection_id = $1"
    "   AND object_type = $2 AND record_id = $3)";

/* A customer that was made of the record goes with it, as after a deletion. */
static const char *const archive_sql =
    "UPDATE psync.customer c SET archived_at = now(), archived_why = 'record_deleted',"
    " updated_at = now() FROM psync.record_link l WHERE l.connection_id = $1::bigint"
    " AND l.object_type = $2::text AND l.record_id = ANY ($3::text[]) AND l.how = 'source'"
    " AND c.customer_id = l.customer_id AND c.archived_at IS NULL"
    "";

static int is_there(struct app *app, const struct connection *c,
                    const struct object_type *object, const char *record_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    params_text(p, object->name);
    params_text(p, record_id);
    if (store_query(app->store, there_sql, p, &r, err) != 0) {
        return -1;
    }
    if (!rows_bool(r, 0, 0)) {
        err_set(err, ERR_NOT_FOUND, "nothing is kept here of %s %s", object->name, record_id);
        return -1;
    }
    return 0;
}

int erase_record(struct app *app, const struct connection *c, const struct object_type *object,
                 const char *record_id, const char *reason, const struct actor *who,
                 struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(params_freep) struct params *trail = params_new();
    struct params *both[] = {p, trail};
    if (is_there(app, c, object, record_id, err) != 0) {
        return -1;
    }
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        params_int(both[i], c->connection_id);
        params_text(both[i], object->name);
        params_array_begin(both[i], ARRAY_TEXT);
        params_array_text(both[i], record_id, strlen(record_id));
        params_array_end(both[i]);
    }
    params_text(trail, who->name);
    params_text(trail, who->kind);
    params_text(trail, reason);
    struct store_tx *tx = store_begin(app->store, err);
    if (tx == NULL) {
        return -1;
    }
    if (store_send(tx, archive_sql, p, NULL, err) != 0 ||
        save_erase_send(tx, p, trail, err) != 0) {
        store_abort(tx);
        return -1;
    }
    return store_commit(tx, err);
}

/* ---- a workspace ---- */

/* What does not hang below a row that the workspace's own deletion takes with it. */
static const char *const workspace_sql[] = {
    "DELETE FROM psync.attempt_body b USING psync.attempt a, psync.connection c"
    " WHERE b.attempt_id = a.attempt_id AND a.connection_id = c.connection_id"
    " AND c.workspace_id = $1::bigint",
    "DELETE FROM psync.attempt a USING psync.connection c"
    " WHERE a.connection_id = c.connection_id AND c.workspace_id = $1::bigint",
    "DELETE FROM psync.webhook_event e USING psync.connection c"
    " WHERE e.connection_id = c.connection_id AND c.workspace_id = $1::bigint",
    "DELETE FROM psync.field_provenance p USING psync.connection c"
    " WHERE p.connection_id = c.connection_id AND c.workspace_id = $1::bigint",
    "DELETE FROM psync.record_link l USING psync.connection c"
    " WHERE l.connection_id = c.connection_id AND c.workspace_id = $1::bigint",
    "DELETE FROM psync.record_seen s USING psync.connection c"
    " WHERE s.connection_id = c.connection_id AND c.workspace_id = $1::bigint",
    "DELETE FROM psync.record r USING psync.connection c"
    " WHERE r.connection_id = c.connection_id AND c.workspace_id = $1::bigint",
    "DELETE FROM psync.workspace WHERE workspace_id = $1::bigint",
};

int erase_workspace(struct app *app, int64_t workspace_id, const char *name,
                    const struct actor *who, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *connections = NULL;
    params_int(p, workspace_id);
    if (store_query(app->store,
                    "SELECT connection_id, shard FROM psync.connection WHERE workspace_id = $1",
                    p, &connections, err) != 0) {
        return -1;
    }
    /* Nothing of it is worked on any more; then the rows may go. */
    for (int i = 0; i < rows_count(connections); i++) {
        if (queue_drop_connection(app->queue, (int)rows_int(connections, i, 1),
                                  rows_int(connections, i, 0), err) != 0) {
            return -1;
        }
    }
    struct store_tx *tx = store_begin(app->store, err);
    if (tx == NULL) {
        return -1;
    }
    for (size_t i = 0; i < COUNT_OF(workspace_sql); i++) {
        if (store_send(tx, workspace_sql[i], p, NULL, err) != 0) {
            store_abort(tx);
            return -1;
        }
    }
    if (store_commit(tx, err) != 0) {
        return -1;
    }
    return action_audit(app->store, who, workspace_id, 0, "workspace.delete", name, NULL, err);
}
