/* Records: list, read one, batch read. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_DEFAULT = 10, LIST_MAX = 100, HISTORY_MAX = 50, BATCH_MAX = 100 };

static void finish(struct sim_request *r, int status, size_t rows)
{
    r->res.status = status;
    r->rows = rows;
    sim_answer_header(r, "Content-Type: application/json;charset=utf-8");
}

/* All values of a repeated query parameter, into a new array of lent texts. */
static const char **query_values(const struct sim_request *r, const char *name, size_t *count)
{
    const char **out = sim_calloc(r->query.count + 1, sizeof *out);
    const char *v = NULL;
    *count = 0;
    while ((v = sim_param(&r->query, name, *count)) != NULL) {
        out[(*count)++] = v;
    }
    return out;
}

/* The view a query string asks for. Returns false after answering 400. */
static bool view_of_query(struct hs_call *c, enum hs_type t, struct hs_view *v)
{
    const struct hs_table *tb = &c->p->tables[t];
    size_t names = 0;
    size_t history = 0;
    const char **n = query_values(c->r, "properties", &names);
    const char **h = query_values(c->r, "propertiesWithHistory", &history);
    if (names == 0 && history == 0) {
        hs_view_default(v, tb, t);
    }
    if (history > 0) {
        hs_view_names(v, tb, t, h, history, true);
    }
    if (names > 0) {
        hs_view_names(v, tb, t, n, names, false);
    } else if (history > 0) {
        hs_view_default(v, tb, t);
    }
    free(n);
    free(h);
    const char *text = NULL;
    for (size_t i = 0; (text = sim_param(&c->r->query, "associations", i)) != NULL; i++) {
        char *copy = sim_strdup(text);
        char *save = NULL;
        for (char *w = strtok_r(copy, ", ", &save); w != NULL;
             w = strtok_r(NULL, ", ", &save)) {
            enum hs_type to = hs_type_of(w);
            if (to == HS_TYPES || !hs_need_read(c, to)) {
                if (to == HS_TYPES) {
                    hs_invalid(c->r, "Unable to infer object type from: %s", w);
                }
                free(copy);
                return false;
            }
            if (v->association_count < HS_TYPES) {
                v->associations[v->association_count++] = to;
            }
        }
        free(copy);
    }
    return true;
}

static bool wants_archived(const struct sim_request *r)
{
    const char *a = sim_param(&r->query, "archived", 0);
    return a != NULL && strcmp(a, "true") == 0;
}

/* Whether a list of live (or archived) records shows this one. */
static bool shown(const struct hs_object *o, bool archived)
{
    if (o->purged || o->merged_into != 0) {
        return false;
    }
    return (o->archived_ms > 0) == archived;
}

static void list(struct hs_call *c, enum hs_type t)
{
    struct sim_request *r = c->r;
    const struct hs_table *tb = &c->p->tables[t];
    const char *text = sim_param(&r->query, "limit", 0);
    int64_t limit = text != NULL ? hs_parse_id(text) : LIST_DEFAULT;
    bool history = sim_param(&r->query, "propertiesWithHistory", 0) != NULL;
    int64_t max = history ? HISTORY_MAX : LIST_MAX;
    if (limit < 1 || limit > max) {
        hs_invalid(r, "Invalid limit: limit must be between 1 and %lld.", (long long)max);
        return;
    }
    text = sim_param(&r->query, "after", 0);
    int64_t after = text != NULL ? hs_parse_id(text) : 0;
    if (after < 0) {
        hs_invalid(r, "Invalid after: '%s' is not a paging cursor.", text);
        return;
    }
    struct hs_view v = {0};
    if (!view_of_query(c, t, &v)) {
        hs_view_free(&v);
        return;
    }
    bool archived = wants_archived(r);
    struct sim_buf *b = &r->res.body;
    size_t rows = 0;
    sim_buf_adds(b, "{\"results\":[");
    size_t i = hs_lower(tb, after);
    for (; i < tb->count && rows < (size_t)limit; i++) {
        if (shown(tb->items[i], archived)) {
            sim_buf_adds(b, rows++ > 0 ? "," : "");
            hs_render(b, c->p, t, tb->items[i], &v);
        }
    }
    while (i < tb->count && !shown(tb->items[i], archived)) {
        i++;
    }
    sim_buf_adds(b, "]");
    if (i < tb->count) { /* `after` is the id of the next record: pages do not shift */
        sim_buf_addf(b,
                     ",\"paging\":{\"next\":{\"after\":\"%lld\",\"link\":"
                     "\"https://api.hubapi.com%s?after=%lld\"}}",
                     (long long)tb->items[i]->id, r->path, (long long)tb->items[i]->id);
    }
    sim_buf_adds(b, "}");
    hs_view_free(&v);
    finish(r, 200, rows);
}

/* The live record with that value in a property; values compare without case. */
static struct hs_object *find_by(struct hs_portal *p, enum hs_type t, const char *property,
                                 const char *value)
{
    const struct hs_table *tb = &p->tables[t];
    const struct hs_def *d = hs_def_find(tb, property);
    for (size_t i = 0; d != NULL && i < tb->count; i++) {
        char scratch[HS_SCRATCH];
        const char *v =
            shown(tb->items[i], false) ? hs_value(p, t, tb->items[i], d, scratch) : NULL;
        if (v != NULL && strcasecmp(v, value) == 0) {
            return tb->items[i];
        }
    }
    return NULL;
}

static struct hs_object *resolve(struct hs_portal *p, enum hs_type t, const char *property,
                                 const char *id, bool archived)
{
    struct hs_object *o = NULL;
    if (property != NULL && strcmp(property, "hs_object_id") != 0) {
        return find_by(p, t, property, id);
    }
    o = hs_find(&p->tables[t], hs_parse_id(id));
    for (int hops = 0;
         o != NULL && o->merged_into != 0 && hs_is(p, "merged_reads", "winner") && hops < 20;
         hops++) {
        o = hs_find(&p->tables[t], o->merged_into);
    }
    return o != NULL && shown(o, archived) ? o : NULL;
}

static void read_one(struct hs_call *c, enum hs_type t)
{
    struct sim_request *r = c->r;
    sim_count_id(r, hs_plural(t), c->seg[1]);
    const struct hs_object *o =
        resolve(c->p, t, sim_param(&r->query, "idProperty", 0), c->seg[1], wants_archived(r));
    if (o == NULL) {
        (void)sim_hubspot_error(r, "not-found");
        return;
    }
    struct hs_view v = {0};
    if (view_of_query(c, t, &v)) {
        hs_render(&r->res.body, c->p, t, o, &v);
        finish(r, 200, 1);
    }
    hs_view_free(&v);
}

static const char **json_texts(const json_t *array, size_t *count)
{
    const char **out = sim_calloc(json_array_size(array) + 1, sizeof *out);
    size_t i = 0;
    json_t *v = NULL;
    *count = 0;
    json_array_foreach(array, i, v)
    {
        if (json_is_string(v)) {
            out[(*count)++] = json_string_value(v);
        }
    }
    return out;
}

static void view_of_body(struct hs_call *c, enum hs_type t, const json_t *body,
                         struct hs_view *v)
{
    const struct hs_table *tb = &c->p->tables[t];
    size_t names = 0;
    size_t history = 0;
    const char **n = json_texts(json_object_get(body, "properties"), &names);
    const char **h = json_texts(json_object_get(body, "propertiesWithHistory"), &history);
    if (history > 0) {
        hs_view_names(v, tb, t, h, history, true);
    }
    if (names > 0) {
        hs_view_names(v, tb, t, n, names, false);
    } else {
        hs_view_default(v, tb, t);
    }
    free(n);
    free(h);
}

static int by_id(const void *a, const void *b)
{
    const struct hs_object *x = *(struct hs_object *const *)a;
    const struct hs_object *y = *(struct hs_object *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void batch_answer(struct hs_call *c, enum hs_type t, struct hs_object **found, size_t n,
                         const struct hs_view *v, json_t *missing)
{
    struct sim_request *r = c->r;
    struct sim_buf *b = &r->res.body;
    char now[40];
    sim_iso_time(sim_now_ms(r->sim), now, sizeof now);
    /* Not in the order asked for, and each record once. */
    qsort(found, n, sizeof(struct hs_object *), by_id);
    sim_buf_adds(b, "{\"status\":\"COMPLETE\",\"results\":[");
    size_t rows = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || found[i] != found[i - 1]) {
            sim_buf_adds(b, rows++ > 0 ? "," : "");
            hs_render(b, c->p, t, found[i], v);
        }
    }
    sim_buf_adds(b, "]");
    bool partial = json_array_size(missing) > 0 && hs_is(c->p, "batch_missing", "207") &&
                   (!c->dated_2026_09 || hs_flag(c->p, "v2026_09_207"));
    if (partial) {
        char what[32];
        (void)snprintf(what, sizeof what, "%s", hs_singular(t));
        for (char *p = what; *p != '\0'; p++) {
            *p = (char)(*p - 'a' + 'A');
        }
        json_t *errors = json_pack(
            "[{s:s, s:s, s:o, s:{s:O}, s:[], s:{}}]", "status", "error", "category",
            "OBJECT_NOT_FOUND", "message",
            json_sprintf("Could not get some %s objects, they may be deleted or not exist. "
                         "Check that ids are valid.",
                         what),
            "context", "ids", missing, "errors", "links");
        sim_buf_adds(b, ",\"numErrors\":1,\"errors\":");
        sim_buf_add_json(b, errors, JSON_COMPACT);
        json_decref(errors);
    }
    sim_buf_addf(b, ",\"startedAt\":\"%s\",\"completedAt\":\"%s\"}", now, now);
    finish(r, partial ? 207 : 200, rows);
}

static void batch_read(struct hs_call *c, enum hs_type t)
{
    struct sim_request *r = c->r;
    json_t *body = sim_request_json(r);
    json_t *inputs = json_object_get(body, "inputs");
    if (!json_is_array(inputs) || json_array_size(inputs) == 0) {
        hs_invalid(r, "Invalid input JSON: inputs must be a non-empty array");
        json_decref(body);
        return;
    }
    if (json_array_size(inputs) > BATCH_MAX) {
        hs_invalid(r,
                   "The maximum number of inputs supported in a batch request is %d, but "
                   "received %zu.",
                   BATCH_MAX, json_array_size(inputs));
        json_decref(body);
        return;
    }
    const char *property = json_string_value(json_object_get(body, "idProperty"));
    bool archived = wants_archived(r);
    struct hs_object *found[BATCH_MAX];
    size_t n = 0;
    json_t *missing = json_array();
    size_t i = 0;
    json_t *in = NULL;
    bool bad = false;
    json_array_foreach(inputs, i, in)
    {
        const char *id = json_string_value(json_object_get(in, "id"));
        if (id == NULL) {
            bad = true;
            break;
        }
        sim_count_id(r, hs_plural(t), id);
        struct hs_object *o = resolve(c->p, t, property, id, archived);
        if (o != NULL) {
            found[n++] = o;
        } else {
            (void)json_array_append_new(missing, json_string(id));
        }
    }
    if (bad) {
        hs_invalid(r, "Invalid input JSON: each input needs an id of type string");
    } else {
        struct hs_view v = {0};
        view_of_body(c, t, body, &v);
        batch_answer(c, t, found, n, &v, missing);
        hs_view_free(&v);
    }
    json_decref(missing);
    json_decref(body);
}

void hs_objects_call(struct hs_call *c)
{
    struct sim_request *r = c->r;
    enum hs_type t = c->n > 0 ? hs_type_of(c->seg[0]) : HS_TYPES;
    bool get = strcmp(r->method, "GET") == 0;
    bool post = strcmp(r->method, "POST") == 0;
    if (t == HS_TYPES) {
        if (c->n > 0) {
            hs_invalid(r, "Unable to infer object type from: %s", c->seg[0]);
        } else {
            hs_unknown_path(r);
        }
        return;
    }
    const char *kind = hs_plural(t);
    if (get && c->n == 4 && strcmp(c->seg[2], "associations") == 0) {
        hs_record_associations(c, t);
    } else if (post && c->n == 3 && strcmp(c->seg[1], "batch") == 0 &&
               strcmp(c->seg[2], "read") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "POST /crm/objects/{v}/%s/batch/read",
                       kind);
        if (hs_need_read(c, t)) {
            batch_read(c, t);
        }
    } else if (post && c->n == 2 && strcmp(c->seg[1], "search") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "POST /crm/objects/{v}/%s/search",
                       kind);
        if (hs_need_read(c, t)) {
            hs_search(c, t);
        }
    } else if (get && c->n == 2) {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "GET /crm/objects/{v}/%s/{id}", kind);
        if (hs_need_read(c, t)) {
            read_one(c, t);
        }
    } else if (get && c->n == 1) {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "GET /crm/objects/{v}/%s", kind);
        if (hs_need_read(c, t)) {
            list(c, t);
        }
    } else {
        hs_error(r, 405, NULL, "HTTP 405 Method Not Allowed");
    }
}
