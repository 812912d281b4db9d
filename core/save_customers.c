/* Customers, their links and where each field came from. */
#include "core/save_priv.h"

static bool writes(const struct root *root)
{
    return root->customer_id != 0 && root->fields.len_bytes > 0;
}

static bool creates(const struct root *root)
{
    return root->create && root->fields.len_bytes > 0;
}

static void add_buf(struct params *p, const struct buf *b)
{
    params_array_text(p, buf_text(b), b->len_bytes);
}

static void add_text(struct params *p, const char *text)
{
    params_array_text(p, text, text != NULL ? strlen(text) : 0);
}

/* ---- making ---- */

/* Ids are drawn first, so that the n-th id is surely the n-th row's. */
static const char *const create_sql =
    "WITH x AS MATERIALIZED (SELECT n, fields,"
    "  nextval(pg_get_serial_sequence('psync.customer', 'customer_id')) AS id"
    "  FROM unnest($2::text[]) WITH ORDINALITY AS u (fields, n)), "
    "made AS (INSERT INTO psync.customer (customer_id, workspace_id, fields)"
    "  OVERRIDING SYSTEM VALUE SELECT id, $1::bigint, fields::jsonb FROM x) "
    "SELECT id FROM x ORDER BY n";

/* Seldom true, and asking costs a fraction of what planning save_merge() does. */
static const char *const merged_sql =
    "SELECT EXISTS (SELECT FROM psync.record WHERE connection_id = $1::bigint"
    " AND object_type = $2::text AND merged_into = ANY ($3::text[]))";

static int create(struct roots *r, struct err *err)
{
    int count = 0;
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(params_freep) struct params *made = params_new();
    CLEANUP(rows_freep) struct rows *ids = NULL;
    CLEANUP(rows_freep) struct rows *merged = NULL;
    params_int(made, r->conn->connection_id);
    params_text(made, r->object->name);
    params_array_begin(made, ARRAY_TEXT);
    params_int(p, r->conn->workspace_id);
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < r->count; i++) {
        if (creates(&r->items[i])) {
            add_buf(p, &r->items[i].fields);
            add_text(made, r->items[i].id);
            r->domain_made = r->domain_made ||
                             (r->domains != NULL &&
                              json_object_get(r->items[i].mapped.fields, "domain") != NULL);
            count++;
        } else if (!r->items[i].linked && r->items[i].customer_id != 0) {
            r->may_inherit = true; /* it was matched: not asked for */
        }
    }
    params_array_end(p);
    params_array_end(made);
    if (count == 0) {
        return 0;
    }
    if (store_send(r->tx, create_sql, p, &ids, err) != 0 ||
        store_send(r->tx, merged_sql, made, &merged, err) != 0 || store_sync(r->tx, err) != 0) {
        err_wrap(err, "make customers");
        return -1;
    }
    r->may_inherit = r->may_inherit || rows_bool(merged, 0, 0);
    for (int i = 0, k = 0; i < r->count; i++) {
        if (creates(&r->items[i])) {
            r->items[i].customer_id = rows_int(ids, k++, 0);
        }
    }
    return 0;
}

/* ---- updating ---- */

/* Exactly the mapped fields; created_at only where there is none. A customer that was archived
 * because its record was gone comes back with it, not one that a person archived. */
static const char *const update_sql =
    "UPDATE psync.customer c SET"
    " fields = c.fields || CASE WHEN c.fields ->> 'created_at' IS NULL THEN x.fields"
    "  ELSE x.fields - 'created_at' END,"
    " archived_at = CASE WHEN x.revive AND c.archived_why IN ('not_in_mirrored_list',"
    "  'out_of_stripe_scope', 'record_deleted') THEN NULL ELSE c.archived_at END,"
    " archived_why = CASE WHEN x.revive AND c.archived_why IN ('not_in_mirrored_list',"
    "  'out_of_stripe_scope', 'record_deleted') THEN NULL ELSE c.archived_why END,"
    " updated_at = now() "
    "FROM (SELECT id, fields::jsonb AS fields, revive"
    "  FROM unnest($1::bigint[], $2::text[], $3::bool[]) AS u (id, fields, revive)) AS x "
    "WHERE c.customer_id = x.id AND c.customer_id = ANY ($1::bigint[]) AND (c.fields || CASE "
    "WHEN c.fields ->> 'created_at' IS NULL"
    "  THEN x.fields ELSE x.fields - 'created_at' END <> c.fields"
    "  OR (x.revive AND c.archived_at IS NOT NULL))";

static int send_update(struct roots *r, struct err *err)
{
    int count = 0;
    CLEANUP(params_freep) struct params *p = params_new();
    for (int column = 0; column < 3; column++) {
        params_array_begin(p, column == 0 ? ARRAY_INT8 : column == 1 ? ARRAY_TEXT : ARRAY_BOOL);
        for (int i = 0; i < r->count; i++) {
            const struct root *root = &r->items[i];
            if (!writes(root) || creates(root)) {
                continue;
            }
            if (column == 0) {
                params_array_int(p, root->customer_id);
                count++;
            } else if (column == 1) {
                add_buf(p, &root->fields);
            } else {
                params_array_int(p, strcmp(root->how, "source") == 0 && !root->deleted &&
                                        !root->outside);
            }
        }
        params_array_end(p);
    }
    return count == 0 ? 0 : store_send(r->tx, update_sql, p, NULL, err);
}

/* ---- where each field came from ---- */

/* A record that comes to a customer of which its connection knows nothing: its link says it for
 * all fields, see link_sql. Of the others, before the customers are updated, a field that holds
 * another value or came from elsewhere gets a row; the rest keep theirs, with their time. $1
 * connection, $2 type, $3 mapping version, $4 to $8 roots, $9 and $10 mapping lines. */
static const char *const provenance_sql =
    "WITH written AS (INSERT INTO psync.field_provenance AS p (customer_id, field,"
    " connection_id, object_type, record_id, source_property, mapping_version,"
    " source_updated_at) "
    "SELECT x.id, f.key, $1::bigint, $2::text, x.record_id, m.source, $3::int, x.updated_at "
    "FROM (SELECT u.*, u.first AND NOT EXISTS (SELECT FROM psync.field_provenance"
    "   WHERE customer_id = u.id AND connection_id = $1::bigint)"
    "  AND NOT EXISTS (SELECT FROM psync.record_link"
    "   WHERE customer_id = u.id AND connection_id = $1::bigint) AS whole"
    "  FROM unnest($4::bigint[], $5::text[], $6::text[], $7::timestamptz[], $8::bool[])"
    "   AS u (id, record_id, fields, updated_at, first) OFFSET 0) AS x "
    "CROSS JOIN LATERAL jsonb_each(x.fields::jsonb) AS f "
    "JOIN unnest($9::text[], $10::text[]) AS m (field, source) ON m.field = f.key "
    "LEFT JOIN LATERAL (SELECT fields FROM psync.customer WHERE customer_id = x.id"
    "  LIMIT 1) c ON true "
    "LEFT JOIN LATERAL (SELECT origin FROM psync.record_link WHERE connection_id = $1::bigint"
    "  AND object_type = $2::text AND record_id = x.record_id LIMIT 1) l ON true "
    "LEFT JOIN LATERAL (SELECT * FROM psync.field_provenance WHERE customer_id = x.id"
    "  AND field = f.key AND connection_id = $1::bigint LIMIT 1) o ON true "
    "WHERE NOT x.whole"
    " AND (coalesce(o.source_property, l.origin ->> f.key) IS DISTINCT FROM m.source"
    "  OR o.record_id <> x.record_id OR o.object_type <> $2::text"
    "  OR (c.fields -> f.key IS DISTINCT FROM f.value AND f.key <> 'created_at')) "
    "ON CONFLICT (customer_id, field, connection_id) DO UPDATE SET"
    " object_type = excluded.object_type, record_id = excluded.record_id,"
    " source_property = excluded.source_property, mapping_version = excluded.mapping_version,"
    " source_updated_at = excluded.source_updated_at, written_at = excluded.written_at"
    " RETURNING field) SELECT count(*) FROM written WHERE field = 'domain'";

static void add_lines(const struct roots *r, struct params *p)
{
    struct mapping_field extra[2];
    const struct mapping *m = r->conn->mapping;
    int extras = roots_extra_lines(r, extra);
    for (int column = 0; column < 2; column++) {
        params_array_begin(p, ARRAY_TEXT);
        for (int i = 0; i < m->count; i++) {
            add_text(p, column == 0 ? m->fields[i].field : m->fields[i].source);
        }
        for (int i = 0; i < extras; i++) {
            add_text(p, column == 0 ? extra[i].field : extra[i].source);
        }
        params_array_end(p);
    }
}

static int send_provenance(struct roots *r, struct err *err)
{
    static const enum param_array types[] = {ARRAY_INT8, ARRAY_TEXT, ARRAY_TEXT, ARRAY_TIME,
                                             ARRAY_BOOL};
    CLEANUP(params_freep) struct params *p = params_new();
    int count = 0;
    params_int(p, r->conn->connection_id);
    params_text(p, r->object->name);
    params_int(p, r->conn->mapping_version);
    for (size_t column = 0; column < COUNT_OF(types); column++) {
        params_array_begin(p, types[column]);
        for (int i = 0; i < r->count; i++) {
            const struct root *root = &r->items[i];
            if (!writes(root) || root->create) {
                continue;
            }
            if (column == 1) {
                add_text(p, root->id);
            } else if (column == 2) {
                add_buf(p, &root->fields);
            } else {
                params_array_int(p, column == 0   ? root->customer_id
                                    : column == 3 ? root->source_updated_at_ms
                                                  : !root->linked);
                count++;
            }
        }
        params_array_end(p);
    }
    add_lines(r, p);
    return count == 0 ? 0 : store_send(r->tx, provenance_sql, p, r->domains, err);
}

/* ---- links ---- */

/* A deleted record holds no customer against a live one that fits it. */
static const char *const unlink_sql =
    "DELETE FROM psync.record_link l USING psync.record r "
    "WHERE l.connection_id = $1::bigint AND l.object_type = $2::text"
    " AND l.customer_id = ANY ($3::bigint[]) AND r.connection_id = l.connection_id"
    " AND r.object_type = l.object_type AND r.record_id = l.record_id"
    " AND r.deleted_at IS NOT NULL AND l.how <> 'source'";

/* Says where all fields came from, unless provenance_sql has just said it. */
static const char *const link_sql =
    "INSERT INTO psync.record_link AS l (connection_id, object_type, record_id, customer_id,"
    " how, mapping_version, applied, notes, origin, origin_version, origin_updated_at) "
    "SELECT $1::bigint, $2::text, x.record_id, x.id, x.how, $3::int, x.applied::jsonb,"
    " x.notes::jsonb, CASE WHEN x.origin IS NOT NULL AND NOT EXISTS ("
    "  SELECT FROM psync.field_provenance WHERE customer_id = x.id"
    "  AND connection_id = $1::bigint) THEN x.origin::jsonb END, $3::int, x.updated_at "
    "FROM unnest($4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],"
    " $10::timestamptz[]) AS x (record_id, id, how, applied, notes, origin, updated_at) "
    "ON CONFLICT (connection_id, object_type, record_id) DO UPDATE SET"
    " mapping_version = excluded.mapping_version, applied = excluded.applied,"
    " notes = excluded.notes "
    "WHERE l.mapping_version <> excluded.mapping_version OR l.applied <> excluded.applied"
    " OR l.notes - 'as_of' IS DISTINCT FROM excluded.notes - 'as_of'";

static int send_unlink(struct roots *r, struct err *err)
{
    int count = 0;
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, r->conn->connection_id);
    params_text(p, r->object->name);
    params_array_begin(p, ARRAY_INT8);
    for (int i = 0; i < r->count; i++) {
        const struct root *root = &r->items[i];
        if (writes(root) && !root->linked && !root->create) {
            params_array_int(p, root->customer_id);
            count++;
        }
    }
    params_array_end(p);
    return count == 0 ? 0 : store_send(r->tx, unlink_sql, p, NULL, err);
}

static int send_links(struct roots *r, struct err *err)
{
    static const enum param_array types[] = {ARRAY_TEXT, ARRAY_INT8, ARRAY_TEXT, ARRAY_TEXT,
                                             ARRAY_TEXT, ARRAY_TEXT, ARRAY_TIME};
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, r->conn->connection_id);
    params_text(p, r->object->name);
    params_int(p, r->conn->mapping_version);
    for (size_t column = 0; column < COUNT_OF(types); column++) {
        params_array_begin(p, types[column]);
        for (int i = 0; i < r->count; i++) {
            const struct root *root = &r->items[i];
            if (!writes(root)) {
                continue;
            }
            switch (column) {
            case 0:
                add_text(p, root->id);
                break;
            case 1:
                params_array_int(p, root->customer_id);
                break;
            case 2:
                add_text(p, root->how);
                break;
            case 3:
                add_buf(p, &root->applied);
                break;
            case 4:
                add_text(p, root->notes);
                break;
            case 5:
                add_text(p, root->linked ? NULL : buf_text(&root->origin));
                break;
            default:
                params_array_int(p, root->source_updated_at_ms);
                break;
            }
        }
        params_array_end(p);
    }
    return store_send(r->tx, link_sql, p, NULL, err);
}

/* The customer that was made of a root goes when the root's last part leaves the scope. */
static int send_archive(struct roots *r, struct err *err)
{
    int count = 0;
    CLEANUP(params_freep) struct params *p = params_new();
    params_array_begin(p, ARRAY_INT8);
    for (int i = 0; i < r->count; i++) {
        const struct root *root = &r->items[i];
        if (root->outside && root->customer_id != 0 && strcmp(root->how, "source") == 0) {
            params_array_int(p, root->customer_id);
            count++;
        }
    }
    params_array_end(p);
    return count == 0 ? 0
                      : store_send(r->tx,
                                   "UPDATE psync.customer SET archived_at = now(),"
                                   " archived_why = 'out_of_stripe_scope', updated_at = now()"
                                   " WHERE customer_id = ANY ($1::bigint[])"
                                   " AND archived_at IS NULL",
                                   p, NULL, err);
}

/* ---- all of it ---- */

/* The problem to tell: an error before a warning. */
static const struct mapping_problem *worst(const struct mapping_result *m)
{
    for (int i = 0; i < m->problem_count; i++) {
        if (error_info(m->problems[i].type)->severity == SEVERITY_ERROR) {
            return &m->problems[i];
        }
    }
    return m->problem_count > 0 ? &m->problems[0] : NULL;
}

/* What happened to the customer of a record of the batch, told at the record. */
static void tell(const struct roots *r, const struct root *root)
{
    struct save_row *row = root->row;
    const struct mapping_problem *problem = worst(&root->mapped);
    struct save_verdict *v = row->verdict;
    v->customer_id = root->customer_id;
    v->changed =
        v->changed || root->create || (writes(root) && (!root->linked || !root->intact));
    if (v->failure.type != ET_NONE) {
        return; /* gone or outside: that is what there is to tell */
    }
    if (root->outside && r->of_run) {
        /* Its subscriptions come after it, and have rows of their own. */
        row->new_state = save_state_of(root->problem);
        row->new_code = error_info(root->problem)->code;
        return;
    }
    row->problem_count = root->mapped.problem_count + (root->problem != ET_NONE);
    if (root->problem != ET_NONE) {
        save_fail(v, root->problem, "%s", root->message);
    } else if (problem != NULL) {
        save_fail(v, problem->type, "%s", problem->message);
        (void)snprintf(row->error_field, sizeof row->error_field, "%s", problem->field);
    } else {
        return;
    }
    row->new_state = save_state_of(v->failure.type);
    row->new_code = error_info(v->failure.type)->code;
}

int roots_write(struct roots *r, struct err *err)
{
    bool any = false;
    if (create(r, err) != 0) {
        return -1;
    }
    for (int i = 0; i < r->count; i++) {
        const struct root *root = &r->items[i];
        any = any || writes(root);
        if (root->row != NULL) {
            tell(r, root);
        }
    }
    if (!any) {
        return save_seen_roots(r, err);
    }
    if (send_unlink(r, err) != 0 || send_provenance(r, err) != 0 || send_update(r, err) != 0 ||
        send_links(r, err) != 0 || send_archive(r, err) != 0) {
        err_wrap(err, "write customers");
        return -1;
    }
    return save_seen_roots(r, err);
}

/* ---- leaving ---- */

/* The customer goes when the record it was made of goes; never one that was only linked. */
static bool to_archive(const struct save_row *row)
{
    bool left = row->item->record->status != RECORD_FOUND || !row->in_scope;
    return row->fresh && left && row->own && row->customer_id != 0 && !row->archived;
}

int save_archive(struct save *s, struct save_row *rows, int n, struct err *err)
{
    int count = 0;
    CLEANUP(params_freep) struct params *p = params_new();
    for (int column = 0; column < 2; column++) {
        params_array_begin(p, column == 0 ? ARRAY_INT8 : ARRAY_TEXT);
        for (int i = 0; i < n; i++) {
            if (!to_archive(&rows[i])) {
                continue;
            }
            if (column == 0) {
                params_array_int(p, rows[i].customer_id);
                count++;
            } else {
                add_text(p, rows[i].new_code);
            }
            rows[i].verdict->changed = true;
        }
        params_array_end(p);
    }
    if (count == 0) {
        return 0;
    }
    return store_send(
        s->tx,
        "UPDATE psync.customer c SET archived_at = now(), archived_why = x.why,"
        " updated_at = now() FROM unnest($1::bigint[], $2::text[]) AS x (id, why) "
        "WHERE c.customer_id = x.id AND c.archived_at IS NULL",
        p, NULL, err);
}

/* ---- merging ---- */

/* What was linked to the merged record's customer follows the survivor, with the values it last
 * wrote, unless the survivor has a link of that kind already. When the survivor has no customer
 * yet, it happens once it gets one ($5). */
static const char *const merge_sql =
    "WITH pair AS MATERIALIZED ("
    " SELECT own.customer_id AS from_id, s.customer_id AS to_id"
    " FROM (SELECT * FROM unnest($3::text[], $4::text[]) UNION ALL"
    "  SELECT record_id, merged_into FROM psync.record WHERE connection_id = $1::bigint"
    "  AND object_type = $2::text AND merged_into = ANY ($5::text[])) AS x (id, survivor)"
    " CROSS JOIN LATERAL (SELECT * FROM psync.record_link WHERE connection_id = $1::bigint"
    "  AND object_type = $2::text AND record_id = x.id LIMIT 1) own"
    " CROSS JOIN LATERAL (SELECT * FROM psync.record_link WHERE connection_id = $1::bigint"
    "  AND object_type = $2::text AND record_id = x.survivor LIMIT 1) s"
    " WHERE own.how = 'source' AND own.customer_id <> s.customer_id), "
    "moved AS (UPDATE psync.record_link l SET customer_id = p.to_id FROM pair p"
    " WHERE l.customer_id = p.from_id AND l.how <> 'source' AND NOT EXISTS ("
    "  SELECT FROM psync.record_link k WHERE k.customer_id = p.to_id"
    "  AND k.connection_id = l.connection_id AND k.object_type = l.object_type)"
    " RETURNING l.connection_id, l.record_id, p.from_id, p.to_id, l.applied), "
    "origin AS (UPDATE psync.field_provenance f SET customer_id = m.to_id, written_at = now()"
    " FROM moved m WHERE f.customer_id = m.from_id AND f.connection_id = m.connection_id"
    " AND f.record_id = m.record_id) "
    "UPDATE psync.customer c SET fields = c.fields || m.applied, updated_at = now()"
    " FROM moved m WHERE c.customer_id = m.to_id";

static bool merged(const struct save_row *row)
{
    return row->fresh && row->item->record->status == RECORD_MERGED;
}

/* It may have got its customer just now. */
static bool newly_linked(const struct save_row *row)
{
    return row->fresh && row->item->record->status == RECORD_FOUND && row->customer_id == 0 &&
           row->verdict->customer_id != 0;
}

int save_merge(struct save *s, struct save_row *rows, int n, struct err *err)
{
    int count = 0;
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, s->job->conn->connection_id);
    params_text(p, s->job->object->name);
    save_add_ids(p, rows, n, merged);
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n; i++) {
        if (merged(&rows[i])) {
            add_text(p, rows[i].item->record->other_id);
            count++;
        }
    }
    params_array_end(p);
    save_add_ids(p, rows, n, newly_linked);
    for (int i = 0; i < n && s->may_inherit; i++) {
        count += newly_linked(&rows[i]);
    }
    return count == 0 ? 0 : store_send(s->tx, merge_sql, p, NULL, err);
}
