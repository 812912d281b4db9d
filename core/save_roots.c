/* Which roots need work, and what their customers' fields derive from. */
#include "common/json.h"
#include "core/save_priv.h"

const struct object_type *roots_type(const struct provider *p)
{
    for (const struct object_type *o = p->objects; o->name != NULL; o++) {
        if ((o->flags & OBJECT_ROOT) != 0) {
            return o;
        }
    }
    return NULL;
}

void roots_release(struct roots *r)
{
    for (int i = 0; i < r->count; i++) {
        struct root *root = &r->items[i];
        free(root->id);
        free(root->notes);
        json_decref(root->properties);
        mapping_result_release(&root->mapped);
        buf_release(&root->fields);
        buf_release(&root->applied);
        buf_release(&root->origin);
    }
    free(r->items);
    *r = (struct roots){0};
}

/* The analyzer loses the text at the moment its root is counted; roots_release frees it. */
ANALYZER_OFF("-Wanalyzer-malloc-leak")
static struct root *add_root(struct roots *r, const char *id, struct err *err)
{
    enum { FIELDS_MAX_BYTES = 8 * 1024 * 1024 };
    if (r->count == r->cap) {
        int cap = r->cap == 0 ? 64 : r->cap * 2;
        struct root *grown = reallocarray(r->items, (size_t)cap, sizeof *grown);
        if (grown == NULL) {
            err_set(err, ERR_NOMEM, "out of memory for customers");
            return NULL;
        }
        r->items = grown;
        r->cap = cap;
    }
    struct root *root = &r->items[r->count];
    *root = (struct root){.id = strdup(id), .how = ""};
    if (root->id == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for customers");
        return NULL;
    }
    buf_init(&root->fields, FIELDS_MAX_BYTES);
    buf_init(&root->applied, FIELDS_MAX_BYTES);
    buf_init(&root->origin, FIELDS_MAX_BYTES);
    r->count++;
    return root;
}
ANALYZER_ON

/* ---- deriving ---- */

static void root_fail(struct root *root, enum error_type type, const char *message)
{
    root->problem = type;
    (void)snprintf(root->message, sizeof root->message, "%.255s", message);
}

static void derive(const struct roots *r, struct root *root, json_t *bundle)
{
    const struct connection *c = r->conn;
    struct derive_policy policy = {
        .now_s = r->now_ms / 1000,
        .currency = c->currency,
        .account_currency = c->account_currency,
        .subtract_recurring = c->subtract_recurring,
        .subtract_once = c->subtract_once,
        .filtered = c->provider->inside != NULL && c->scope_kind[0] != '\0',
    };
    struct err err = {0};
    json_auto_t *notes = NULL;
    if (root->deleted) {
        (void)json_object_set_new(json_object_get(bundle, r->object->name), "deleted",
                                  json_true());
    }
    if (c->provider->derive(bundle, &policy, &root->properties, &notes, &err) != 0) {
        root_fail(root, err.code == ERR_NOMEM ? ET_INTERNAL_ERROR : ET_UNEXPECTED_SHAPE,
                  err.msg);
        return;
    }
    root->notes = notes != NULL ? json_dumps(notes, JSON_COMPACT) : NULL;
    root->outside =
        !root->deleted && json_is_false(json_object_get(root->properties, "in_scope"));
}

static void derive_text(const struct roots *r, struct root *root, struct slice text)
{
    struct err err = {0};
    json_auto_t *bundle = json_parse(text, &err);
    if (bundle == NULL) {
        root_fail(root, err.code == ERR_NOMEM ? ET_INTERNAL_ERROR : ET_MALFORMED_BODY, err.msg);
    } else {
        derive(r, root, bundle);
    }
}

/* ---- roots of their own ---- */

static bool found(const struct save_row *row)
{
    return row->fresh && row->item->record->status == RECORD_FOUND;
}

/* Mapping is skipped only if source, mapping and the customer's mapped fields are all as they
 * were, and nothing was held back last time. */
static bool needs_mapping(const struct save *s, const struct save_row *row)
{
    return row->write || row->customer_id == 0 || !row->intact ||
           row->mapping_version != s->job->conn->mapping_version ||
           (row->own && row->archived) || row->in_scope != row->was_in_scope ||
           row->code[0] != '\0';
}

static int collect_self(struct save *s, struct roots *r, struct save_row *rows, int n,
                        struct err *err)
{
    for (int i = 0; i < n; i++) {
        struct save_row *row = &rows[i];
        if (!found(row) || !row->in_scope || !needs_mapping(s, row)) {
            continue;
        }
        struct root *root = add_root(r, row->id, err);
        if (root == NULL) {
            return -1;
        }
        root->row = row;
        root->source_updated_at_ms = row->item->record->updated_at_ms;
        root->customer_id = row->customer_id;
        root->linked = row->customer_id != 0;
        root->intact = row->intact;
        root->how = row->own ? "source" : root->linked ? "hand" : "";
        derive_text(r, root, row->item->record->raw);
    }
    return 0;
}

/* ---- roots with bundles ---- */

static const char *how_of(const char *text)
{
    static const char *const hows[] = {"source", "hand", "id", "domain"};
    for (size_t i = 0; i < COUNT_OF(hows); i++) {
        if (strcmp(hows[i], text) == 0) {
            return hows[i];
        }
    }
    return "";
}

enum {
    COL_ID,
    COL_BUNDLE,
    COL_UPDATED_AT,
    COL_DELETED,
    COL_CUSTOMER,
    COL_HOW,
    COL_INTACT,
    COL_STATE,
    COL_CODE,
};

/* $1 connection, $2 root type, $3 root ids, $4 and $5 type and ids of other changed records.
 * The ids are a row of their own: a function whose argument is a query is planned by each
 * statement anew, one that is given a column becomes a part of it. Oldest first: among several
 * that fit one customer the first link wins. */
static const char *const bundle_sql =
    "SELECT b.record_id, b.bundle, (extract(epoch FROM r.updated_at) * 1000)::bigint,"
    " r.deleted_at IS NOT NULL, l.customer_id, coalesce(l.how, ''),"
    " coalesce(c.fields || l.applied = c.fields, false), coalesce(s.state, ''),"
    " coalesce(s.reason_code, '') "
    "FROM (SELECT ARRAY(SELECT unnest($3::text[]) UNION SELECT record_id"
    "  FROM psync.%s_roots($1::bigint, $4::text, $5::text[])) AS ids) AS wanted "
    "CROSS JOIN LATERAL psync.%s_bundle($1::bigint, wanted.ids) AS b "
    "CROSS JOIN LATERAL (SELECT * FROM psync.record WHERE connection_id = $1::bigint"
    "  AND object_type = $2::text AND record_id = b.record_id LIMIT 1) r "
    "LEFT JOIN LATERAL (SELECT * FROM psync.record_seen WHERE connection_id = $1::bigint"
    "  AND object_type = $2::text AND record_id = b.record_id LIMIT 1) s ON true "
    "LEFT JOIN LATERAL (SELECT * FROM psync.record_link WHERE connection_id = $1::bigint"
    "  AND object_type = $2::text AND record_id = b.record_id LIMIT 1) l ON true "
    "LEFT JOIN LATERAL (SELECT * FROM psync.customer WHERE customer_id = l.customer_id"
    "  LIMIT 1) c ON true "
    "ORDER BY r.created_at, r.record_id";

/* Statements of their own, so that the next sees what was committed while they waited. $2 is
 * not looked at. */
static const char *const lock_sql =
    "SELECT psync.lock_roots($1::bigint, ARRAY(SELECT unnest($3::text[]) UNION"
    "  SELECT record_id FROM psync.%s_roots($1::bigint, $4::text, $5::text[]))) "
    "WHERE $2::text IS NOT NULL";

/* A price that changes while a subscription comes to it: neither sees the other's row, and
 * which roots are touched cannot be told before both are there. So all of the connection, as
 * psync.lock_roots() has it; what many share changes seldom. */
static const char *const lock_all_sql =
    "SELECT pg_advisory_xact_lock(hashtextextended('roots', $1::bigint)) "
    "WHERE $2::text IS NOT NULL AND $3::text[] IS NOT NULL AND $4::text IS NOT NULL"
    " AND $5::text[] IS NOT NULL";

static int take_bundles(struct roots *r, const struct rows *rows, struct err *err)
{
    for (int i = 0; i < rows_count(rows); i++) {
        struct root *root = add_root(r, rows_text(rows, i, COL_ID), err);
        if (root == NULL) {
            return -1;
        }
        root->source_updated_at_ms = rows_int(rows, i, COL_UPDATED_AT);
        root->deleted = rows_bool(rows, i, COL_DELETED);
        root->customer_id = rows_int(rows, i, COL_CUSTOMER);
        root->linked = root->customer_id != 0;
        root->how = how_of(rows_text(rows, i, COL_HOW));
        root->intact = rows_bool(rows, i, COL_INTACT);
        (void)snprintf(root->state, sizeof root->state, "%s", rows_text(rows, i, COL_STATE));
        (void)snprintf(root->code, sizeof root->code, "%s", rows_text(rows, i, COL_CODE));
        derive_text(
            r, root,
            (struct slice){rows_text(rows, i, COL_BUNDLE), rows_len(rows, i, COL_BUNDLE)});
    }
    return 0;
}

/* p holds $1 to $5. */
static int load_bundles(struct roots *r, const struct params *p, struct err *err)
{
    CLEANUP(rows_freep) struct rows *rows = NULL;
    char sql[2048];
    (void)snprintf(sql, sizeof sql, lock_sql, r->conn->provider->name);
    if (!r->locked && store_send(r->tx, r->shared ? lock_all_sql : sql, p, NULL, err) != 0) {
        return -1;
    }
    (void)snprintf(sql, sizeof sql, bundle_sql, r->conn->provider->name,
                   r->conn->provider->name);
    if (store_send(r->tx, sql, p, &rows, err) != 0 || store_sync(r->tx, err) != 0) {
        err_wrap(err, "read what customers derive from");
        return -1;
    }
    return take_bundles(r, rows, err);
}

static bool moved(const struct save_row *row)
{
    return row->fresh && row->verdict->changed;
}

/* Amounts also depend on time (a discount or a trial ends), so a full run works out every root
 * anew that has any, whatever its hash. */
static bool root_wanted(const struct save *s, const struct save_row *row)
{
    bool whatever = s->job->run_id != 0 && row->timed && found(row);
    return row->fresh && (whatever || moved(row) || (found(row) && needs_mapping(s, row)));
}

static void link_rows(struct roots *r, struct save_row *rows, int n)
{
    for (int i = 0; i < r->count; i++) {
        for (int from = 0, to = n; from < to;) {
            int middle = from + (to - from) / 2;
            int order = strcmp(rows[middle].id, r->items[i].id);
            if (order == 0) {
                r->items[i].row = &rows[middle];
                break;
            }
            from = order < 0 ? middle + 1 : from;
            to = order < 0 ? to : middle;
        }
    }
}

static int collect_bundles(struct save *s, struct roots *r, struct save_row *rows, int n,
                           struct err *err)
{
    int count = 0;
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, r->conn->connection_id);
    params_text(p, r->object->name);
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n && s->root; i++) {
        if (root_wanted(s, &rows[i])) {
            params_array_text(p, rows[i].id, strlen(rows[i].id));
            count++;
        }
    }
    params_array_end(p);
    params_text(p, s->job->object->name);
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n && !s->root; i++) {
        if (moved(&rows[i])) {
            params_array_text(p, rows[i].id, strlen(rows[i].id));
            count++;
        }
    }
    params_array_end(p);
    if (count == 0) {
        return 0;
    }
    if (load_bundles(r, p, err) != 0) {
        return -1;
    }
    if (s->root) {
        link_rows(r, rows, n);
    }
    return 0;
}

int roots_collect(struct save *s, struct roots *r, struct save_row *rows, int n,
                  struct err *err)
{
    const struct object_type *root = roots_type(s->job->conn->provider);
    *r = (struct roots){.tx = s->tx,
                        .conn = s->job->conn,
                        .object = root,
                        .now_ms = s->now_ms,
                        .domains = s->root_self ? &s->domains : NULL,
                        .locked = s->root,
                        .of_run = s->job->chunk != NULL,
                        .shared = (s->job->object->flags & OBJECT_SHARED) != 0};
    if (root == NULL || s->job->conn->mapping == NULL) {
        return 0;
    }
    if ((root->flags & OBJECT_SELF) != 0) {
        return s->root ? collect_self(s, r, rows, n, err) : 0;
    }
    return collect_bundles(s, r, rows, n, err);
}

/* $1 connection, $2 type, $3 ids, $4 raws to read instead, NULL = as stored. */
static const char *const self_sql =
    "SELECT x.id, coalesce(x.raw, r.raw::text),"
    " (extract(epoch FROM r.updated_at) * 1000)::bigint, r.deleted_at IS NOT NULL,"
    " l.customer_id, coalesce(l.how, ''), coalesce(c.fields || l.applied = c.fields, false),"
    " coalesce(s.state, ''), coalesce(s.reason_code, '') "
    "FROM unnest($3::text[], $4::text[]) AS x (id, raw) "
    "JOIN psync.record r ON r.connection_id = $1::bigint AND r.object_type = $2::text"
    " AND r.record_id = x.id "
    "LEFT JOIN psync.record_seen s USING (connection_id, object_type, record_id) "
    "LEFT JOIN psync.record_link l USING (connection_id, object_type, record_id) "
    "LEFT JOIN psync.customer c ON c.customer_id = l.customer_id";

static int load_self(struct roots *r, const struct params *p, struct err *err)
{
    CLEANUP(rows_freep) struct rows *rows = NULL;
    if (store_send(r->tx, self_sql, p, &rows, err) != 0 || store_sync(r->tx, err) != 0) {
        err_wrap(err, "read what customers derive from");
        return -1;
    }
    return take_bundles(r, rows, err);
}

int roots_load(struct roots *r, const char *const *ids, const struct slice *raws, int n,
               struct err *err)
{
    bool self = (r->object->flags & OBJECT_SELF) != 0;
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, r->conn->connection_id);
    params_text(p, r->object->name);
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n; i++) {
        params_array_text(p, ids[i], strlen(ids[i]));
    }
    params_array_end(p);
    if (self) {
        params_array_begin(p, ARRAY_TEXT);
        for (int i = 0; i < n; i++) {
            params_array_text(p, raws != NULL ? raws[i].bytes : NULL,
                              raws != NULL ? raws[i].len_bytes : 0);
        }
        params_array_end(p);
        return load_self(r, p, err);
    }
    params_text(p, "");
    params_array_begin(p, ARRAY_TEXT);
    params_array_end(p);
    return load_bundles(r, p, err);
}
