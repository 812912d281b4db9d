#include "core/mirror.h"

#include "core/connect.h"
#include "core/fetch.h"
#include "core/filter.h"
#include "core/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 100, CHOICES_MAX = 200 };

static const struct object_type *mirror_object(const struct connection *c)
{
    for (const struct object_type *o = c->provider->objects; o->name != NULL; o++) {
        if ((o->flags & OBJECT_SCOPED) != 0) {
            return o;
        }
    }
    return filter_object(c->provider);
}

static json_t *mirror_json(const struct rows *r, struct err *err)
{
    json_t *out = rows_count(r) > 0 ? json_loads(rows_text(r, 0, 0), 0, NULL) : NULL;
    if (out == NULL) {
        err_set(err, ERR_INTERNAL, "PostgreSQL's answer about the scope is no JSON");
    }
    return out;
}

json_t *mirror_show(struct store *s, const struct connection *c, int limit, struct err *err)
{
    const struct object_type *o = mirror_object(c);
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (o == NULL) {
        err_set(err, ERR_INVALID, "%s has no scope to choose", c->provider->title);
        return NULL;
    }
    params_int(p, c->connection_id);
    params_text(p, o->name);
    params_int(p, limit);
    params_bool(p, (o->flags & OBJECT_SCOPED) != 0);
    if (store_query(
            s,
            "WITH last AS (SELECT run_id, error_code, coalesce(started_at, queued_at) AS at"
            "   FROM psync.run WHERE connection_id = $1 AND kind = 'full'"
            "     AND status IN ('succeeded', 'partial', 'failed')"
            "   ORDER BY run_id DESC LIMIT 1),"
            " live AS (SELECT r.record_id, r.raw #>> '{properties,name}' AS name"
            "   FROM psync.record r WHERE r.connection_id = $1 AND r.object_type = $2"
            "     AND r.deleted_at IS NULL AND r.in_scope),"
            " held AS (SELECT l.record_id, l.name, last.run_id FROM live l, last"
            "   WHERE $4::bool AND last.error_code = 'mass_removal_guard' AND NOT EXISTS ("
            "     SELECT FROM psync.scope_member m WHERE m.connection_id = $1"
            "       AND m.record_id = l.record_id"
            "       AND (m.run_id = last.run_id OR m.since >= last.at)))"
            " SELECT jsonb_build_object('scope_kind', c.scope_kind, 'scope_id', c.scope_id,"
            "   'scope_name', c.scope_name, 'scope_size', c.scope_size,"
            "   'mirrored', (SELECT count(*) FROM live),"
            "   'held_removals', (SELECT count(*) FROM held),"
            "   'held_run', (SELECT max(run_id) FROM held),"
            "   'removals', coalesce((SELECT jsonb_agg(jsonb_build_object("
            "       'record_id', record_id, 'name', name)) FROM"
            "     (SELECT * FROM held ORDER BY name, record_id LIMIT $3) x), '[]'))"
            " FROM psync.connection c WHERE c.connection_id = $1",
            p, &r, err) != 0) {
        return NULL;
    }
    return mirror_json(r, err);
}

int mirror_confirm(struct app *app, const struct connection *c, const struct actor *who,
                   int64_t *run_id, struct err *err)
{
    char target[64];
    json_t *now = mirror_show(app->store, c, 0, err);
    *run_id = 0;
    if (now == NULL) {
        return -1;
    }
    int64_t held = json_integer_value(json_object_get(now, "held_removals"));
    int64_t held_run = json_integer_value(json_object_get(now, "held_run"));
    json_decref(now);
    if (held == 0) {
        err_set(err, ERR_DENIED, "no removals are held back");
        return -1;
    }
    if (run_start(app, c, "confirm-removals", who->name, LANE_RUN_NOW, 0, run_id, err) != 0) {
        return -1;
    }
    snprintf(target, sizeof target, "%lld removals of run %lld", (long long)held,
             (long long)held_run);
    return action_audit(app->store, who, c->workspace_id, c->connection_id,
                        "scope.confirm_removals", target, NULL, err);
}

/* ---- preview ---- */

static int preview_failed(enum fetch_end end, const struct failure *why, struct err *err)
{
    if (end == FETCH_LATER) {
        err_set(err, ERR_RATE_LIMITED, "the quota of this account is used up; try again later");
        return -1;
    }
    const struct error_info *info = error_info(why->type);
    enum err_code code = why->type == ET_LIST_NOT_FOUND   ? ERR_NOT_FOUND
                         : info->banner != BANNER_NONE    ? ERR_AUTH
                         : why->type == ET_DB_UNAVAILABLE ? ERR_UNAVAILABLE
                                                          : ERR_REJECTED;
    err_set(err, code, "%s: %s", info->title, why->message);
    return -1;
}

static int preview_ask(struct fetch *f, const struct ask *ask, struct record_list *out,
                       json_t **facts, struct err *err)
{
    struct failure why;
    int64_t later_ms = 0;
    enum fetch_end end = fetch_ask(f, ask, out, facts, &why, &later_ms);
    return end == FETCH_OK ? 0 : preview_failed(end, &why, err);
}

static int preview_members(struct fetch *f, const struct object_type *o,
                           struct record_list *out, struct err *err)
{
    char *cursor = NULL;
    int rc;
    bool more;
    do {
        struct ask ask = {.kind = ASK_SCOPE_PAGE, .object = o, .cursor = cursor};
        rc = preview_ask(f, &ask, out, NULL, err);
        more = rc == 0 && out->has_more && out->cursor != NULL;
        free(cursor);
        cursor = more ? strdup(out->cursor) : NULL;
    } while (more);
    free(cursor);
    return rc;
}

static json_t *preview_compare(struct store *s, const struct connection *c,
                               const struct object_type *o, const struct record_list *members,
                               int limit, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    params_text(p, o->name);
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; i < members->count; i++) {
        params_array_text(p, members->records[i].id, strlen(members->records[i].id));
    }
    params_array_end(p);
    params_int(p, limit);
    if (store_query(
            s,
            "WITH next AS (SELECT DISTINCT unnest($3::text[]) AS id),"
            " r AS (SELECT record_id AS id, raw #>> '{properties,name}' AS name,"
            "     deleted_at IS NULL AND in_scope AS live FROM psync.record"
            "   WHERE connection_id = $1 AND object_type = $2),"
            " adds AS (SELECT id, r.name FROM next LEFT JOIN r USING (id)"
            "   WHERE r.live IS NOT TRUE),"
            " gone AS (SELECT id, name FROM r WHERE live AND id NOT IN (SELECT id FROM next))"
            " SELECT jsonb_build_object('adds', (SELECT count(*) FROM adds),"
            "   'archives', (SELECT count(*) FROM gone),"
            "   'keeps', (SELECT count(*) FROM next JOIN r USING (id) WHERE r.live),"
            "   'add', coalesce((SELECT jsonb_agg(jsonb_build_object('record_id', id, 'name',"
            "       name)) FROM (SELECT * FROM adds ORDER BY id LIMIT $4) x), '[]'),"
            "   'archive', coalesce((SELECT jsonb_agg(jsonb_build_object('record_id', id,"
            "       'name', name)) FROM (SELECT * FROM gone ORDER BY name, id LIMIT $4) x),"
            "     '[]'))",
            p, &r, err) != 0) {
        return NULL;
    }
    return mirror_json(r, err);
}

/* The same of a provider that lists everything: a page at a time, because it comes whole. */
static int preview_filter(struct fetch *f, const struct object_type *o, struct record_list *out,
                          struct err *err)
{
    char *cursor = NULL;
    int rc;
    bool more;
    do {
        struct ask ask = {.kind = ASK_PAGE, .object = o, .cursor = cursor};
        struct record_list page;
        record_list_init(&page);
        rc = preview_ask(f, &ask, &page, NULL, err);
        for (size_t i = 0; rc == 0 && i < page.count; i++) {
            const struct record *r = &page.records[i];
            if (r->status != RECORD_FOUND || !filter_inside(f->conn, o, r->raw)) {
                continue;
            }
            struct record *in = record_list_add(out);
            if (in == NULL) {
                err_set(err, ERR_NOMEM, "out of memory for a preview");
                rc = -1;
            } else {
                in->object = o;
                in->status = RECORD_REF;
                (void)snprintf(in->id, sizeof in->id, "%s", r->id);
            }
        }
        more = rc == 0 && page.has_more && page.cursor != NULL;
        free(cursor);
        cursor = more ? strdup(page.cursor) : NULL;
        record_list_release(&page);
    } while (more);
    free(cursor);
    return rc;
}

/* Who would be added is not here yet: one batch read has the names. */
static int preview_names(struct fetch *f, const struct object_type *o, json_t *add,
                         struct err *err)
{
    const char *ids[NAMES_MAX];
    int n = 0;
    size_t i;
    json_t *one;
    json_array_foreach(add, i, one)
    {
        if (n < NAMES_MAX && n < o->batch_max) {
            ids[n++] = json_string_value(json_object_get(one, "record_id"));
        }
    }
    if (n == 0) {
        return 0;
    }
    struct record_list list;
    struct ask ask = {.kind = ASK_RECORDS, .object = o, .ids = ids, .id_count = n};
    record_list_init(&list);
    int rc = preview_ask(f, &ask, &list, NULL, err);
    for (size_t k = 0; rc == 0 && k < list.count; k++) {
        const struct record *rec = &list.records[k];
        json_t *raw = rec->status == RECORD_FOUND
                          ? json_loadb(rec->raw.bytes, rec->raw.len_bytes, 0, NULL)
                          : NULL;
        json_t *name = json_object_get(json_object_get(raw, "properties"), "name");
        json_array_foreach(add, i, one)
        {
            const char *id = json_string_value(json_object_get(one, "record_id"));
            if (name != NULL && id != NULL && strcmp(id, rec->id) == 0) {
                (void)json_object_set(one, "name", name);
            }
        }
        json_decref(raw);
    }
    record_list_release(&list);
    return rc;
}

/* The list's own answer into the preview; a list of something else is refused. */
static int preview_list(const json_t *facts, json_t *out, struct err *err)
{
    const json_t *list = json_object_get(facts, "list");
    if (connect_list_refused(list, err) != 0) {
        return -1;
    }
    json_t *name = json_object_get(list, "name"), *size = json_object_get(list, "size");
    (void)json_object_set(out, "name", name != NULL ? name : json_null());
    (void)json_object_set(out, "size", size != NULL ? size : json_null());
    return 0;
}

static json_t *preview_of_members(struct app *app, const struct connection *c, struct fetch *f,
                                  struct record_list *members, int limit, struct err *err)
{
    const struct object_type *o = mirror_object(c);
    struct ask info = {.kind = ASK_SCOPE_INFO};
    json_t *facts = NULL;
    json_t *out = NULL;
    if (preview_ask(f, &info, members, &facts, err) == 0 &&
        preview_members(f, o, members, err) == 0) {
        out = preview_compare(app->store, c, o, members, limit, err);
    }
    if (out != NULL && (preview_list(facts, out, err) != 0 ||
                        preview_names(f, o, json_object_get(out, "add"), err) != 0)) {
        json_decref(out);
        out = NULL;
    }
    json_decref(facts);
    return out;
}

static json_t *preview_of_filter(struct app *app, const struct connection *c, struct fetch *f,
                                 struct record_list *members, int limit, struct err *err)
{
    const struct object_type *o = mirror_object(c);
    char name[256] = "";
    if ((f->conn->scope_kind[0] != '\0' &&
         filter_check(app->store, c, f->conn->scope_kind, f->conn->scope_id, name, sizeof name,
                      err) != 0) ||
        preview_filter(f, o, members, err) != 0) {
        return NULL;
    }
    json_t *out = preview_compare(app->store, c, o, members, limit, err);
    (void)json_object_set_new(out, "name", json_string(name));
    (void)json_object_set_new(out, "size", json_integer((json_int_t)members->count));
    return out;
}

/* ---- choices ---- */

/* Our own copy of a connection with another scope. */
static struct connection *with_scope(struct app *app, int64_t connection_id, const char *kind,
                                     const char *id, struct err *err)
{
    struct connection *c = connection_load(app->store, app->seal, connection_id, err);
    char *scope_kind = strdup(kind), *scope_id = strdup(id);
    if (c == NULL || scope_kind == NULL || scope_id == NULL) {
        if (c != NULL) {
            err_set(err, ERR_NOMEM, "out of memory for a scope");
        }
        connection_free(c);
        free(scope_kind);
        free(scope_id);
        return NULL;
    }
    free(c->scope_kind);
    free(c->scope_id);
    c->scope_kind = scope_kind;
    c->scope_id = scope_id;
    return c;
}

/* Lifecycle stages are the values of a property. */
static json_t *stage_choices(const json_t *facts)
{
    const json_t *properties = json_object_get(facts, "properties");
    const json_t *options = NULL;
    json_t *items = json_array();
    for (size_t i = 0; i < json_array_size(properties) && options == NULL; i++) {
        const json_t *p = json_array_get(properties, i);
        const char *name = json_string_value(json_object_get(p, "name"));
        if (name != NULL && strcmp(name, "lifecyclestage") == 0) {
            options = json_object_get(p, "options");
        }
    }
    for (size_t i = 0; i < json_array_size(options); i++) {
        const json_t *o = json_array_get(options, i);
        (void)json_array_append_new(items, json_pack("{s:O, s:O, s:s, s:n, s:n}", "id",
                                                     json_object_get(o, "value"), "name",
                                                     json_object_get(o, "label"), "processing",
                                                     "", "size", "changed_at"));
    }
    return items;
}

static json_t *asked_choices(struct app *app, const struct connection *c, const char *kind,
                             const char *text, struct err *err)
{
    bool stage = strcmp(kind, "stage") == 0;
    struct ask ask = {.kind = stage ? ASK_SCHEMA : ASK_SCOPE_CHOICES, .text = text};
    struct fetch f;
    struct record_list none;
    json_t *facts = NULL, *out = NULL;
    CLEANUP(connection_freep)
    struct connection *as = with_scope(app, c->connection_id, stage ? "" : kind, "", err);
    if (as == NULL) {
        return NULL;
    }
    fetch_init(&f, app, as, NULL);
    record_list_init(&none);
    if (preview_ask(&f, &ask, &none, &facts, err) == 0) {
        json_t *items =
            stage ? stage_choices(facts) : json_incref(json_object_get(facts, "choices"));
        out = json_pack("{s:o, s:b}", "items", items != NULL ? items : json_array(), "more",
                        json_is_true(json_object_get(facts, "more")));
        if (out == NULL) {
            err_set(err, ERR_NOMEM, "out of memory for the choices");
        }
    }
    json_decref(facts);
    record_list_release(&none);
    fetch_release(&f);
    return out;
}

static json_t *stored_choices(struct app *app, const struct connection *c, const char *kind,
                              const char *text, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    params_text(p, kind);
    params_text(p, text);
    params_int(p, CHOICES_MAX);
    if (store_query(
            app->store,
            "WITH own AS (SELECT CASE WHEN $2 = 'product' THEN record_id"
            "     ELSE raw ->> 'lookup_key' END AS id,"
            "     CASE WHEN $2 = 'product' THEN raw ->> 'name' ELSE"
            "       raw ->> 'nickname' END AS name"
            "   FROM psync.record WHERE connection_id = $1 AND deleted_at IS NULL"
            "     AND object_type = CASE WHEN $2 = 'product' THEN 'product' ELSE 'price'"
            "       END),"
            " fit AS (SELECT id, max(name) AS name FROM own WHERE id <> ''"
            "     AND strpos(lower(id || ' ' || coalesce(name, '')), lower($3)) > 0"
            "   GROUP BY id ORDER BY 2, 1 LIMIT $4::int + 1),"
            " shown AS (SELECT * FROM fit LIMIT $4::int)"
            " SELECT jsonb_build_object('more', (SELECT count(*) > $4::int FROM fit),"
            "   'items', coalesce((SELECT jsonb_agg(jsonb_build_object('id', id, 'name',"
            "     coalesce(name, id), 'processing', '', 'size', null,"
            "     'changed_at', null)) FROM shown), '[]'))",
            p, &r, err) != 0) {
        return NULL;
    }
    return mirror_json(r, err);
}

json_t *mirror_choices(struct app *app, const struct connection *c, const char *kind,
                       const char *text, struct err *err)
{
    if (provider_scope_kind(c->provider, kind, err) != 0) {
        return NULL;
    }
    if (strcmp(kind, "all") == 0) {
        return json_pack("{s:[], s:b}", "items", "more", 0);
    }
    const struct object_type *o = mirror_object(c);
    return o != NULL && (o->flags & OBJECT_FILTERED) != 0
               ? stored_choices(app, c, kind, text, err)
               : asked_choices(app, c, kind, text, err);
}

/* ---- preview of another scope ---- */

json_t *mirror_preview(struct app *app, const struct connection *c, const char *kind,
                       const char *id, int limit, struct err *err)
{
    bool all = strcmp(kind, "all") == 0;
    CLEANUP(connection_freep)
    struct connection *next =
        with_scope(app, c->connection_id, all ? "" : kind, all ? "" : id, err);
    const struct object_type *o = mirror_object(c);
    struct fetch f;
    struct record_list members;
    json_t *out;
    if (next == NULL || o == NULL || provider_scope_kind(c->provider, kind, err) != 0) {
        return NULL;
    }
    fetch_init(&f, app, next, NULL);
    record_list_init(&members);
    out = (o->flags & OBJECT_FILTERED) != 0
              ? preview_of_filter(app, c, &f, &members, limit, err)
              : preview_of_members(app, c, &f, &members, limit, err);
    record_list_release(&members);
    fetch_release(&f);
    return out;
}
