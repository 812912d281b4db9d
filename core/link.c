#include "core/link.h"

#include <stdio.h>
#include <string.h>

/* Of $4 the records whose links end: the customers keep what other connections feed too. */
static const char *const take_back_sql =
    "WITH gone AS (SELECT customer_id, field FROM psync.field_origin"
    "   WHERE connection_id = $1::bigint AND object_type = $2::text"
    "   AND record_id = ANY ($3::text[])),"
    " away AS (DELETE FROM psync.field_provenance WHERE connection_id = $1"
    "   AND object_type = $2 AND record_id = ANY ($3)),"
    " lost AS (SELECT g.customer_id, array_agg(g.field) AS keys FROM gone g"
    "   JOIN psync.record_link l ON l.customer_id = g.customer_id AND l.how <> 'source'"
    "    AND l.connection_id = $1 AND l.object_type = $2 AND l.record_id = ANY ($3)"
    "   WHERE NOT EXISTS (SELECT FROM psync.field_origin o WHERE o.field = g.field"
    "    AND o.customer_id = g.customer_id AND o.connection_id <> $1) GROUP BY 1)"
    " UPDATE psync.customer c SET fields = c.fields - lost.keys, updated_at = now()"
    " FROM lost WHERE c.customer_id = lost.customer_id";

/* A customer that was made of the record has nothing to live on, unless something else feeds
 * it. */
static const char *const leave_sql =
    "UPDATE psync.customer c SET archived_at = now(), archived_why = 'linked_elsewhere',"
    " updated_at = now() FROM psync.record_link l"
    " WHERE l.connection_id = $1::bigint AND l.object_type = $2::text"
    "   AND l.record_id = ANY ($3::text[]) AND l.how = 'source'"
    "   AND c.customer_id = l.customer_id AND c.archived_at IS NULL AND NOT EXISTS ("
    "    SELECT FROM psync.record_link o WHERE o.customer_id = c.customer_id"
    "    AND (o.connection_id, o.object_type, o.record_id) <> (l.connection_id, l.object_type,"
    "     l.record_id)) RETURNING c.customer_id";

static const char *const lock_sql =
    "SELECT psync.lock_roots($1::bigint, $3::text[]) WHERE $2::text IS NOT NULL";

static const char *const drop_sql =
    "DELETE FROM psync.record_link WHERE connection_id = $1::bigint AND object_type = $2::text"
    " AND record_id = ANY ($3::text[])";

/* $1 connection, $2 type, $3 record, $4 customer, $5 who */
static const char *const make_sql =
    "INSERT INTO psync.record_link (connection_id, object_type, record_id, customer_id, how,"
    " linked_by) VALUES ($1, $2, $3, $4, 'hand', $5)";

enum { L_THERE, L_CUSTOMER, L_HOW, L_TARGET, L_OTHER, L_OTHER_HOW };

/* What stands: is the record here, whose is it, who else has that customer. */
static const char *const look_sql =
    "SELECT EXISTS (SELECT FROM psync.record_seen WHERE connection_id = $1"
    "   AND object_type = $2 AND record_id = $3), l.customer_id, coalesce(l.how, ''),"
    " EXISTS (SELECT FROM psync.customer c JOIN psync.connection n USING (workspace_id)"
    "   WHERE c.customer_id = $4::bigint AND n.connection_id = $1),"
    " coalesce(o.record_id, ''), coalesce(o.how, '')"
    " FROM (SELECT 1) one LEFT JOIN psync.record_link l ON l.connection_id = $1"
    "   AND l.object_type = $2 AND l.record_id = $3"
    " LEFT JOIN LATERAL (SELECT * FROM psync.record_link WHERE customer_id = $4"
    "   AND connection_id = $1 AND object_type = $2 AND record_id <> $3 LIMIT 1) o ON true";

static struct rows *look(struct app *app, const struct connection *c,
                         const struct object_type *object, const char *record_id,
                         int64_t customer_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    struct rows *r = NULL;
    params_int(p, c->connection_id);
    params_text(p, object->name);
    params_text(p, record_id);
    params_int(p, customer_id);
    return store_query(app->store, look_sql, p, &r, err) == 0 ? r : NULL;
}

static struct params *ids_params(const struct connection *c, const struct object_type *object,
                                 const char *first, const char *second)
{
    struct params *p = params_new();
    params_int(p, c->connection_id);
    params_text(p, object->name);
    params_array_begin(p, ARRAY_TEXT);
    params_array_text(p, first, strlen(first));
    if (second[0] != '\0') {
        params_array_text(p, second, strlen(second));
    }
    params_array_end(p);
    return p;
}

/* End the links of these records, and make the new one when customer_id is not 0. */
static int relink(struct app *app, const struct connection *c, const struct object_type *object,
                  const char *record_id, const char *displaced, int64_t customer_id,
                  const struct actor *who, bool *archived, struct err *err)
{
    CLEANUP(params_freep) struct params *ids = ids_params(c, object, record_id, displaced);
    CLEANUP(params_freep) struct params *made = params_new();
    CLEANUP(rows_freep) struct rows *left = NULL;
    params_int(made, c->connection_id);
    params_text(made, object->name);
    params_text(made, record_id);
    params_int(made, customer_id);
    params_text(made, who->name);
    struct store_tx *tx = store_begin(app->store, err);
    if (tx == NULL) {
        return -1;
    }
    if (store_send(tx, lock_sql, ids, NULL, err) != 0 ||
        store_send(tx, leave_sql, ids, &left, err) != 0 ||
        store_send(tx, take_back_sql, ids, NULL, err) != 0 ||
        store_send(tx, drop_sql, ids, NULL, err) != 0 ||
        (customer_id != 0 && store_send(tx, make_sql, made, NULL, err) != 0)) {
        store_abort(tx);
        return -1;
    }
    int rc = store_commit(tx, err);
    *archived = rc == 0 && rows_count(left) > 0;
    return rc;
}

static int audit(struct app *app, const struct connection *c, const struct object_type *object,
                 const char *record_id, int64_t customer_id, const char *action,
                 const struct actor *who, struct err *err)
{
    char target[400], detail[64];
    snprintf(target, sizeof target, "%s %s", object->name, record_id);
    snprintf(detail, sizeof detail, "{\"customer_id\":%lld}", (long long)customer_id);
    return action_audit(app->store, who, c->workspace_id, c->connection_id, action, target,
                        detail, err);
}

int link_add(struct app *app, const struct connection *c, const struct object_type *object,
             const char *record_id, int64_t customer_id, const struct actor *who,
             struct link_result *out, struct err *err)
{
    memset(out, 0, sizeof *out);
    if ((object->flags & OBJECT_ROOT) == 0 || (object->flags & OBJECT_SELF) != 0) {
        err_set(err, ERR_INVALID,
                (object->flags & OBJECT_ROOT) == 0
                    ? "a %s feeds no customer by itself"
                    : "a %s makes its own customer: link the billing record to that one",
                object->name);
        return -1;
    }
    CLEANUP(rows_freep)
    struct rows *r = look(app, c, object, record_id, customer_id, err);
    if (r == NULL) {
        return -1;
    }
    if (!rows_bool(r, 0, L_THERE) || !rows_bool(r, 0, L_TARGET)) {
        err_set(err, ERR_NOT_FOUND,
                !rows_bool(r, 0, L_THERE)
                    ? "%s %s was never seen here"
                    : "the workspace has no customer for %s %s with that id",
                object->name, record_id);
        return -1;
    }
    out->was_customer_id = rows_int(r, 0, L_CUSTOMER);
    if (strcmp(rows_text(r, 0, L_OTHER_HOW), "hand") == 0 ||
        strcmp(rows_text(r, 0, L_OTHER_HOW), "source") == 0) {
        err_set(err, ERR_CONFLICT, "customer %lld belongs to %s %s, %s: link remove it first",
                (long long)customer_id, object->name, rows_text(r, 0, L_OTHER),
                strcmp(rows_text(r, 0, L_OTHER_HOW), "hand") == 0 ? "by hand"
                                                                  : "of which it was made");
        return -1;
    }
    if (out->was_customer_id == customer_id && strcmp(rows_text(r, 0, L_HOW), "hand") == 0) {
        return 0; /* so it is */
    }
    snprintf(out->displaced, sizeof out->displaced, "%s", rows_text(r, 0, L_OTHER));
    if (relink(app, c, object, record_id, out->displaced, customer_id, who, &out->was_archived,
               err) != 0) {
        err_wrap(err, "link %s %s", object->name, record_id);
        return -1;
    }
    return audit(app, c, object, record_id, customer_id, "link.add", who, err);
}

int link_remove(struct app *app, const struct connection *c, const struct object_type *object,
                const char *record_id, const struct actor *who, struct link_result *out,
                struct err *err)
{
    memset(out, 0, sizeof *out);
    CLEANUP(rows_freep) struct rows *r = look(app, c, object, record_id, 0, err);
    if (r == NULL) {
        return -1;
    }
    const char *how = rows_text(r, 0, L_HOW);
    out->was_customer_id = rows_int(r, 0, L_CUSTOMER);
    if (how[0] == '\0') {
        err_set(err, ERR_NOT_FOUND, "%s %s is linked to no customer", object->name, record_id);
        return -1;
    }
    if (strcmp(how, "hand") != 0) {
        err_set(err, ERR_INVALID,
                "that link was made by %s and would come back: link the record to the customer "
                "it belongs to",
                how);
        return -1;
    }
    if (relink(app, c, object, record_id, "", 0, who, &out->was_archived, err) != 0) {
        err_wrap(err, "unlink %s %s", object->name, record_id);
        return -1;
    }
    return audit(app, c, object, record_id, out->was_customer_id, "link.remove", who, err);
}
