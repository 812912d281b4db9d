/* Saving that is never committed: what a mapping or a resync would change. */
#include "core/preview.h"
#include "core/save_priv.h"

#include "common/clock.h"
#include "core/fetch.h"

enum { STORED_PAGE = 500, LIVE_PAGE = 100, LISTED_MAX = 100000 };

void preview_release(struct preview *p)
{
    json_decref(p->changes);
    json_decref(p->failures);
    *p = (struct preview){0};
}

static int begin(struct preview *out, struct err *err)
{
    *out = (struct preview){.changes = json_array(), .failures = json_array()};
    if (out->changes == NULL || out->failures == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a preview");
        return -1;
    }
    return 0;
}

static int add_failure(struct preview *out, int64_t customer_id, const char *name,
                       const char *record_id, const char *field, enum error_type type,
                       const char *message)
{
    json_t *failure =
        json_pack("{s:I, s:s, s:s, s:s, s:s, s:s}", "customer_id", (json_int_t)customer_id,
                  "name", name, "record_id", record_id, "field", field, "error_code",
                  error_info(type)->code, "message", message);
    /* a text of the provider's that is not UTF-8 has no JSON */
    return failure != NULL ? json_array_append_new(out->failures, failure) : 0;
}

static int failed(const struct connection *c, enum fetch_end end, const struct failure *why,
                  struct err *err)
{
    if (end == FETCH_LATER) {
        err_set(err, ERR_RATE_LIMITED, "the quota of this account is used up; try again");
    } else {
        const struct error_info *info = error_info(why->type);
        err_set(err, info->banner != BANNER_NONE ? ERR_AUTH : ERR_TEMPORARY,
                "cannot ask %s: %s: %s", c->provider->title, info->title, why->message);
    }
    return -1;
}

/* ---- a mapping on every customer ---- */

/* $1 customers, $2 fields, $3 records */
static const char *const compare_sql =
    "SELECT jsonb_build_object('customer_id', c.customer_id,"
    "  'name', coalesce(c.fields ->> 'name', ''), 'record_id', x.record_id, 'fields', d.list) "
    "FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY"
    "  AS x (id, fields, record_id, n) "
    "JOIN psync.customer c ON c.customer_id = x.id "
    "CROSS JOIN LATERAL (SELECT jsonb_agg(jsonb_build_object('field', f.key,"
    "   'now', c.fields -> f.key, 'new', f.value) ORDER BY f.key) AS list"
    "  FROM jsonb_each(x.fields::jsonb) AS f"
    "  WHERE coalesce(c.fields -> f.key, 'null') <> f.value AND NOT (f.key = 'created_at'"
    "   AND c.fields ->> 'created_at' IS NOT NULL)) d "
    "WHERE d.list IS NOT NULL ORDER BY x.n";

static int compare(const struct roots *r, struct preview *out, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *rows = NULL;
    for (int column = 0; column < 3; column++) {
        params_array_begin(p, column == 0 ? ARRAY_INT8 : ARRAY_TEXT);
        for (int i = 0; i < r->count; i++) {
            const struct root *root = &r->items[i];
            if (root->customer_id == 0 || root->fields.len_bytes == 0) {
                continue;
            }
            if (column == 0) {
                params_array_int(p, root->customer_id);
            } else if (column == 1) {
                params_array_text(p, buf_text(&root->fields), root->fields.len_bytes);
            } else {
                params_array_text(p, root->id, strlen(root->id));
            }
        }
        params_array_end(p);
    }
    if (store_send(r->tx, compare_sql, p, &rows, err) != 0 || store_sync(r->tx, err) != 0) {
        err_wrap(err, "compare customers");
        return -1;
    }
    out->changed += rows_count(rows);
    for (int i = 0; i < rows_count(rows) && json_array_size(out->changes) < LISTED_MAX; i++) {
        json_t *change = json_loads(rows_text(rows, i, 0), 0, NULL);
        if (change != NULL && json_array_append_new(out->changes, change) != 0) {
            err_set(err, ERR_NOMEM, "out of memory for a preview");
            return -1;
        }
    }
    return 0;
}

static const char *root_name(const struct root *root)
{
    const char *name = json_string_value(json_object_get(root->properties, "name"));
    return name != NULL ? name : "";
}

static int take_failures(const struct roots *r, struct preview *out)
{
    int rc = 0;
    for (int i = 0; i < r->count && rc == 0; i++) {
        const struct root *root = &r->items[i];
        bool fails = root->customer_id != 0 && root->problem != ET_NONE;
        if (fails) {
            rc = add_failure(out, root->customer_id, root_name(root), root->id, "",
                             root->problem, root->message);
        }
        for (int k = 0; k < root->mapped.problem_count && rc == 0; k++) {
            const struct mapping_problem *p = &root->mapped.problems[k];
            if (error_info(p->type)->severity == SEVERITY_ERROR) {
                fails = true;
                rc = add_failure(out, root->customer_id, root_name(root), root->id, p->field,
                                 p->type, p->message);
            }
        }
        out->failed += fails;
    }
    return rc;
}

static int try_page(struct app *app, const struct connection *with,
                    const struct object_type *object, const char *const *ids,
                    const struct slice *raws, int n, struct preview *out, struct err *err)
{
    struct store_tx *tx = store_begin(app->store, err);
    if (tx == NULL) {
        return -1;
    }
    struct roots roots = {
        .tx = tx, .conn = with, .object = object, .now_ms = clock_now_ms(), .locked = true};
    int rc = -1;
    if (roots_load(&roots, ids, raws, n, err) == 0 && roots_map(&roots, err) == 0 &&
        compare(&roots, out, err) == 0) {
        rc = take_failures(&roots, out);
        if (rc != 0) {
            err_set(err, ERR_NOMEM, "out of memory for a preview");
        }
    }
    roots_release(&roots);
    store_abort(tx);
    return rc;
}

/* Our own copy of the connection, with the mapping that is tried. It is taken. */
static struct connection *with_mapping(struct app *app, int64_t connection_id,
                                       struct mapping *m, struct err *err)
{
    struct connection *c = connection_load(app->store, app->seal, connection_id, err);
    if (c == NULL) {
        mapping_free(m);
        return NULL;
    }
    mapping_free(c->mapping);
    c->mapping = m;
    return c;
}

static struct mapping *copy_mapping(const struct mapping *m, struct err *err)
{
    json_auto_t *lines = mapping_to_json(m);
    char *text = json_dumps(lines, JSON_COMPACT);
    struct mapping *copy = text != NULL ? mapping_parse(text, err) : NULL;
    free(text);
    return copy;
}

/* A renewed token comes with a connection as it is stored, which knows nothing of the mapping
 * that is tried: its token moves into ours. */
static int take_token(struct connection *with, const struct connection *renewed)
{
    char *access = strdup(renewed->access_token), *refresh = strdup(renewed->refresh_token);
    if (access == NULL || refresh == NULL) {
        free(access);
        free(refresh);
        return -1;
    }
    explicit_bzero(with->access_token, strlen(with->access_token));
    explicit_bzero(with->refresh_token, strlen(with->refresh_token));
    free(with->access_token);
    free(with->refresh_token);
    with->access_token = access;
    with->refresh_token = refresh;
    with->credential_version = renewed->credential_version;
    with->expires_at_ms = renewed->expires_at_ms;
    with->token_life_ms = renewed->token_life_ms;
    return 0;
}

static enum fetch_end ask_page(struct app *app, struct connection *with,
                               const struct object_type *object, const char *const *ids, int n,
                               struct record_list *list, struct failure *why)
{
    struct ask ask = {.kind = ASK_RECORDS, .object = object, .ids = ids, .id_count = n};
    enum fetch_end end = FETCH_OK;
    bool renewed = true;
    for (int tries = 0; renewed && tries < 3; tries++) {
        struct fetch f;
        int64_t later_ms = 0;
        record_list_release(list);
        record_list_init(list);
        fetch_init(&f, app, with, NULL);
        end = fetch_ask(&f, &ask, list, NULL, why, &later_ms);
        renewed = f.conn != with;
        if (renewed && take_token(with, f.conn) != 0) {
            fetch_failure(why, ET_INTERNAL_ERROR, "out of memory for a token");
            end = FETCH_FAILED;
        }
        fetch_release(&f);
        renewed = renewed && end == FETCH_OK;
    }
    return end;
}

/* A page of records as the provider has them, with the properties that the mapping names. */
static int try_live(struct app *app, struct connection *with, const struct object_type *object,
                    const char *const *ids, int n, struct preview *out, struct err *err)
{
    struct record_list list;
    struct failure why;
    const char *found_ids[LIVE_PAGE];
    struct slice raws[LIVE_PAGE];
    int found = 0, rc = 0;
    record_list_init(&list);
    enum fetch_end end = ask_page(app, with, object, ids, n, &list, &why);
    if (end != FETCH_OK) {
        rc = failed(with, end, &why, err);
    }
    for (size_t i = 0; rc == 0 && i < list.count && found < LIVE_PAGE; i++) {
        if (list.records[i].status == RECORD_FOUND) {
            found_ids[found] = list.records[i].id;
            raws[found++] = list.records[i].raw;
        }
    }
    if (rc == 0 && found > 0) {
        rc = try_page(app, with, object, found_ids, raws, found, out, err);
    }
    record_list_release(&list);
    return rc;
}

/* Does it name what was not asked for until now? Only where records hold what was asked for. */
static bool needs_live(const struct connection *c, const struct object_type *object,
                       const struct mapping *m)
{
    for (int i = 0; (object->flags & OBJECT_SELF) != 0 && i < m->count; i++) {
        bool known = false;
        for (int k = 0; c->mapping != NULL && k < c->mapping->count && !known; k++) {
            known = strcmp(c->mapping->fields[k].source, m->fields[i].source) == 0;
        }
        if (!known) {
            return true;
        }
    }
    return false;
}

static const char *const page_sql =
    "SELECT l.record_id FROM psync.record_link l"
    " JOIN psync.record r USING (connection_id, object_type, record_id)"
    " WHERE l.connection_id = $1 AND l.object_type = $2 AND l.record_id > $3"
    "   AND ($5::bigint = 0 OR l.customer_id = $5::bigint)"
    "   AND r.in_scope AND r.deleted_at IS NULL ORDER BY l.record_id LIMIT $4::int";

int preview_mapping(struct app *app, const struct connection *c, const struct mapping *m,
                    json_t *labels, int64_t customer_id,
                    void (*progress)(void *arg, int64_t seen), void *arg, struct preview *out,
                    struct err *err)
{
    const struct object_type *object = roots_type(c->provider);
    struct mapping *copy = begin(out, err) == 0 ? copy_mapping(m, err) : NULL;
    char after[RECORD_ID_MAX_BYTES + 1] = "";
    if (copy == NULL || object == NULL) {
        mapping_free(copy);
        return -1;
    }
    bool live = needs_live(c, object, m);
    CLEANUP(connection_freep)
    struct connection *with = with_mapping(app, c->connection_id, copy, err);
    if (with != NULL && labels != NULL && with->enum_labels != NULL) {
        (void)json_object_update(with->enum_labels, labels);
    }
    for (int n = with != NULL ? 1 : 0; n > 0;) {
        const char *ids[STORED_PAGE];
        CLEANUP(params_freep) struct params *p = params_new();
        CLEANUP(rows_freep) struct rows *r = NULL;
        params_int(p, c->connection_id);
        params_text(p, object->name);
        params_text(p, after);
        params_int(p, live ? LIVE_PAGE : STORED_PAGE);
        params_int(p, customer_id);
        if (store_query(app->store, page_sql, p, &r, err) != 0) {
            return -1;
        }
        n = rows_count(r);
        for (int i = 0; i < n; i++) {
            ids[i] = rows_text(r, i, 0);
        }
        if (n > 0 && (live ? try_live(app, with, object, ids, n, out, err)
                           : try_page(app, with, object, ids, NULL, n, out, err)) != 0) {
            return -1;
        }
        if (n > 0) {
            (void)snprintf(after, sizeof after, "%s", ids[n - 1]);
        }
        out->seen += n;
        if (progress != NULL && n > 0) {
            progress(arg, out->seen);
        }
    }
    return with != NULL ? 0 : -1;
}

/* ---- one record, pulled fresh ---- */

struct peek {
    const struct rows
        *before; /* fields and what was last written there; no row = no customer */
    const char *record_id;
    struct preview *out;
};

/* $1 customer, $2 its fields before, $3 what was last written, $4 record */
static const char *const peek_sql =
    "SELECT jsonb_build_object('customer_id', c.customer_id,"
    "  'name', coalesce(c.fields ->> 'name', ''), 'record_id', $4::text, 'fields',"
    "  (SELECT jsonb_agg(jsonb_build_object('field', k, 'now', b.fields -> k,"
    "    'new', c.fields -> k, 'edited_by_hand', b.applied ? k"
    "     AND coalesce(b.fields -> k, 'null') <> b.applied -> k) ORDER BY k)"
    "   FROM (SELECT jsonb_object_keys(c.fields) AS k UNION SELECT "
    "jsonb_object_keys(b.fields)) u"
    "   WHERE coalesce(b.fields -> k, 'null') <> coalesce(c.fields -> k, 'null'))) "
    "FROM psync.customer c, (SELECT $2::jsonb AS fields, $3::jsonb AS applied) b "
    "WHERE c.customer_id = $1";

static int peek(struct store_tx *tx, const struct save_result *result, void *arg,
                struct err *err)
{
    struct peek *k = arg;
    const struct save_verdict *v = &result->verdicts[0];
    bool known = rows_count(k->before) > 0;
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    k->out->seen = 1;
    if (v->failure.type != ET_NONE) {
        const struct error_info *info = error_info(v->failure.type);
        if (info->severity == SEVERITY_ERROR) {
            k->out->failed = 1;
        }
        if (add_failure(k->out, v->customer_id, "", k->record_id, "", v->failure.type,
                        v->failure.message) != 0) {
            err_set(err, ERR_NOMEM, "out of memory for a preview");
            return -1;
        }
    }
    params_int(p, v->customer_id);
    params_text(p, known ? rows_text(k->before, 0, 0) : "{}");
    params_text(p, known ? rows_text(k->before, 0, 1) : "{}");
    params_text(p, k->record_id);
    if (store_send(tx, peek_sql, p, &r, err) != 0 || store_sync(tx, err) != 0) {
        return -1;
    }
    json_t *change = rows_count(r) > 0 ? json_loads(rows_text(r, 0, 0), 0, NULL) : NULL;
    if (json_is_array(json_object_get(change, "fields"))) {
        k->out->changed = 1;
        return json_array_append_new(k->out->changes, change);
    }
    json_decref(change);
    return 0;
}

static struct rows *before_of(struct app *app, const struct connection *c,
                              const struct object_type *object, const char *record_id,
                              int64_t *fetch_no, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *drawn = NULL;
    struct rows *r = NULL;
    params_int(p, c->connection_id);
    params_text(p, object->name);
    params_text(p, record_id);
    if (store_query(app->store, "SELECT nextval('psync.fetch_no')", NULL, &drawn, err) != 0 ||
        store_query(app->store,
                    "SELECT c.fields::text, l.applied::text FROM psync.record_link l"
                    " JOIN psync.customer c USING (customer_id)"
                    " WHERE l.connection_id = $1 AND l.object_type = $2 AND l.record_id = $3",
                    p, &r, err) != 0) {
        return NULL;
    }
    *fetch_no = rows_int(drawn, 0, 0);
    return r;
}

/* Inside of what is mirrored? 1, 0, or -1 with err. */
static int in_scope(struct fetch *f, const struct connection *c,
                    const struct object_type *object, const char *record_id, struct err *err)
{
    struct record_list answer;
    struct failure why;
    int64_t later_ms = 0;
    if ((object->flags & OBJECT_SCOPED) == 0 || c->scope_kind[0] == '\0') {
        return 1;
    }
    record_list_init(&answer);
    struct ask ask = {
        .kind = ASK_MEMBERSHIP, .object = object, .ids = &record_id, .id_count = 1};
    enum fetch_end end = fetch_ask(f, &ask, &answer, NULL, &why, &later_ms);
    int in = end == FETCH_OK ? answer.count > 0 && answer.records[0].status == RECORD_REF
                             : failed(c, end, &why, err);
    record_list_release(&answer);
    return in;
}

static int pull(struct app *app, const struct connection *c, const struct object_type *object,
                const char *record_id, struct record_list *list, enum scope_verdict *scope,
                struct err *err)
{
    struct failure why;
    struct fetch f;
    int64_t later_ms = 0;
    fetch_init(&f, app, c, NULL);
    int in = in_scope(&f, c, object, record_id, err);
    int rc = in < 0 ? -1 : 0;
    if (in == 0) {
        err_set(err, ERR_NOT_FOUND, "%s %s is not in the mirrored %s %s", object->name,
                record_id, c->scope_kind,
                c->scope_name[0] != '\0' ? c->scope_name : c->scope_id);
        rc = -1;
    }
    struct ask ask = {.kind = ASK_RECORDS, .object = object, .ids = &record_id, .id_count = 1};
    enum fetch_end end = rc == 0 ? fetch_ask(&f, &ask, list, NULL, &why, &later_ms) : FETCH_OK;
    fetch_release(&f);
    if (rc != 0 || end != FETCH_OK) {
        return rc != 0 ? -1 : failed(c, end, &why, err);
    }
    if (list->count == 0 || list->records[0].status != RECORD_FOUND) {
        err_set(err, ERR_NOT_FOUND,
                "%s has no %s %s that we may see: a resync would archive "
                "what is mirrored of it",
                c->provider->title, object->name, record_id);
        return -1;
    }
    *scope = (object->flags & OBJECT_SCOPED) != 0 && c->scope_kind[0] != '\0' ? SCOPE_IN
                                                                              : SCOPE_KEEP;
    return 0;
}

static int preview_save(struct app *app, const struct connection *c,
                        const struct object_type *object, const struct save_item *item,
                        int64_t fetch_no, const struct rows *before, struct preview *out,
                        struct err *err)
{
    struct save_result result = {0};
    struct peek k = {before, item->record->id, out};
    struct save_job job = {.conn = c,
                           .object = object,
                           .fetch_no = fetch_no,
                           .items = item,
                           .item_count = 1,
                           .started_at_ms = clock_now_ms(),
                           .worker = app->worker,
                           .peek = peek,
                           .peek_arg = &k};
    int rc = save_records(app->store, &job, &result, err);
    save_result_release(&result);
    return rc;
}

int preview_read(struct app *app, const struct connection *c, const struct object_type *object,
                 const struct record *record, bool in_scope, struct preview *out,
                 struct err *err)
{
    CLEANUP(rows_freep) struct rows *before = NULL;
    int64_t fetch_no = 0;
    struct save_item item = {.record = record, .scope = in_scope ? SCOPE_IN : SCOPE_KEEP};
    if (begin(out, err) != 0 ||
        (before = before_of(app, c, object, record->id, &fetch_no, err)) == NULL) {
        return -1;
    }
    return preview_save(app, c, object, &item, fetch_no, before, out, err);
}

int preview_record(struct app *app, const struct connection *c,
                   const struct object_type *object, const char *record_id, struct preview *out,
                   struct err *err)
{
    CLEANUP(rows_freep) struct rows *before = NULL;
    struct record_list list;
    int64_t fetch_no = 0;
    int rc = -1;
    record_list_init(&list);
    struct save_item item = {0};
    if (begin(out, err) == 0 &&
        (before = before_of(app, c, object, record_id, &fetch_no, err)) != NULL &&
        pull(app, c, object, record_id, &list, &item.scope, err) == 0) {
        item.record = &list.records[0];
        rc = preview_save(app, c, object, &item, fetch_no, before, out, err);
    }
    record_list_release(&list);
    return rc;
}
