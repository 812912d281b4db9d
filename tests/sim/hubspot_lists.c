/* Lists ("segments"): membership, both orders of paging, search. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_DEFAULT = 100, PAGE_MAX = 250 };

struct hs_list *hs_list_find(const struct hs_portal *p, const char *id)
{
    struct hs_list *l = p->lists;
    while (l != NULL && strcmp(l->id, id) != 0) {
        l = l->next;
    }
    return l;
}

struct hs_list *hs_list_new(struct hs_portal *p, const char *id, const char *name,
                            const char *processing, const char *object_type_id)
{
    struct hs_list *l = sim_calloc(1, sizeof *l);
    l->id = id != NULL ? sim_strdup(id) : sim_strf("%lld", (long long)p->next_list_id++);
    l->name = sim_strdup(name);
    l->processing_type = sim_strdup(processing);
    l->processing_status = sim_strdup("COMPLETE");
    l->object_type_id = sim_strdup(object_type_id);
    l->created_ms = sim_now_ms(p->app->sim);
    l->updated_ms = l->created_ms;
    struct hs_list **at = &p->lists;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = l;
    return l;
}

void hs_list_free(struct hs_list *l)
{
    free(l->id);
    free(l->name);
    free(l->processing_type);
    free(l->processing_status);
    free(l->object_type_id);
    free(l->filter_property);
    free(l->filter_value);
    free(l->members);
    free(l->by_join);
    free(l);
}

static size_t lower(const struct hs_list *l, int64_t id)
{
    size_t lo = 0;
    size_t hi = l->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->members[mid].id < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

bool hs_list_has(const struct hs_list *l, int64_t id)
{
    size_t i = lower(l, id);
    return i < l->count && l->members[i].id == id;
}

static void changed(struct hs_list *l, int64_t at_ms)
{
    free(l->by_join);
    l->by_join = NULL;
    l->updated_ms = at_ms;
}

void hs_list_add(struct hs_list *l, int64_t id, int64_t at_ms)
{
    size_t i = lower(l, id);
    if (i < l->count && l->members[i].id == id) {
        return;
    }
    if (l->count == l->cap) {
        l->cap = l->cap > 0 ? l->cap * 2 : 64;
        l->members = sim_realloc(l->members, l->cap * sizeof *l->members);
    }
    memmove(l->members + i + 1, l->members + i, (l->count - i) * sizeof *l->members);
    l->members[i] = (struct hs_member){id, at_ms, at_ms};
    l->count++;
    changed(l, at_ms);
}

bool hs_list_remove(struct hs_list *l, int64_t id, int64_t at_ms)
{
    size_t i = lower(l, id);
    if (i >= l->count || l->members[i].id != id) {
        return false;
    }
    memmove(l->members + i, l->members + i + 1, (l->count - i - 1) * sizeof *l->members);
    l->count--;
    changed(l, at_ms);
    return true;
}

void hs_lists_follow(struct hs_portal *p, enum hs_type t, const struct hs_object *o,
                     const char *name)
{
    int64_t now = sim_now_ms(p->app->sim);
    for (struct hs_list *l = p->lists; l != NULL; l = l->next) {
        if (l->filter_property == NULL || strcmp(l->filter_property, name) != 0 ||
            strcmp(l->object_type_id, hs_type_id(t)) != 0) {
            continue;
        }
        const struct hs_def *d = hs_def_find(&p->tables[t], name);
        char scratch[HS_SCRATCH];
        const char *v = d != NULL ? hs_value(p, t, o, d, scratch) : NULL;
        if (v != NULL && o->archived_ms == 0 && strcmp(v, l->filter_value) == 0) {
            if (!hs_list_has(l, o->id)) {
                hs_journal_list(p, l, o->id, true);
            }
            hs_list_add(l, o->id, now);
        } else if (hs_list_remove(l, o->id, now)) {
            hs_journal_list(p, l, o->id, false);
        }
    }
}

void hs_lists_forget(struct hs_portal *p, enum hs_type t, int64_t id)
{
    int64_t now = sim_now_ms(p->app->sim);
    for (struct hs_list *l = p->lists; l != NULL; l = l->next) {
        if (strcmp(l->object_type_id, hs_type_id(t)) == 0 && hs_list_remove(l, id, now)) {
            hs_journal_list(p, l, id, false);
        }
    }
}

json_t *hs_list_json(const struct hs_list *l, bool filters)
{
    char created[40];
    char updated[40];
    sim_iso_time(l->created_ms, created, sizeof created);
    sim_iso_time(l->updated_ms, updated, sizeof updated);
    json_t *j = json_pack(
        "{s:s, s:i, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s}", "listId", l->id,
        "listVersion", 1, "name", l->name, "objectTypeId", l->object_type_id, "processingType",
        l->processing_type, "processingStatus", l->processing_status, "size",
        (json_int_t)l->count, "createdAt", created, "updatedAt", updated, "filtersUpdatedAt",
        created, "createdById", "882761034", "updatedById", "882761034");
    if (l->deleted_ms > 0) {
        char deleted[40];
        sim_iso_time(l->deleted_ms, deleted, sizeof deleted);
        (void)json_object_set_new(j, "deletedAt", json_string(deleted));
    }
    if (filters && l->filter_property != NULL) {
        (void)json_object_set_new(
            j, "filterBranch",
            json_pack("{s:s, s:s, s:[], s:[{s:s, s:s, s:{s:s, s:s, s:[s]}}]}",
                      "filterBranchType", "AND", "filterBranchOperator", "AND",
                      "filterBranches", "filters", "filterType", "PROPERTY", "property",
                      l->filter_property, "operation", "operationType", "ENUMERATION",
                      "operator", "IS_ANY_OF", "values", l->filter_value));
    }
    return j;
}

static int by_join_order(const void *a, const void *b)
{
    const struct hs_member *x = a;
    const struct hs_member *y = b;
    if (x->joined_ms != y->joined_ms) {
        return x->joined_ms < y->joined_ms ? -1 : 1;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The members in the order asked for; lent. */
static const struct hs_member *ordered(struct hs_list *l, bool join)
{
    if (!join) {
        return l->members;
    }
    if (l->by_join == NULL && l->count > 0) {
        l->by_join = sim_calloc(l->count, sizeof *l->by_join);
        memcpy(l->by_join, l->members, l->count * sizeof *l->by_join);
        qsort(l->by_join, l->count, sizeof *l->by_join, by_join_order);
    }
    return l->by_join;
}

/* A cursor names the last member seen, "id" or "joined-id", so that members who come and go
 * shift no page. Sets *key; false when it is not one of ours. */
static bool read_cursor(const char *text, bool join, struct hs_member *key)
{
    const char *dash = strchr(text, '-');
    if (!join) {
        key->id = hs_parse_id(text);
        return key->id >= 0;
    }
    if (dash == NULL) {
        return false;
    }
    key->joined_ms = strtoll(text, NULL, 10);
    key->id = hs_parse_id(dash + 1);
    return key->id >= 0;
}

static int compare(const struct hs_member *a, const struct hs_member *b, bool join)
{
    return join ? by_join_order(a, b) : a->id < b->id ? -1 : a->id > b->id;
}

static void cursor_text(const struct hs_member *m, bool join, char *out, size_t size)
{
    if (join) {
        (void)snprintf(out, size, "%lld-%lld", (long long)m->joined_ms, (long long)m->id);
    } else {
        (void)snprintf(out, size, "%lld", (long long)m->id);
    }
}

static void memberships(struct hs_call *c, struct hs_list *l, bool join)
{
    struct sim_request *r = c->r;
    const char *text = sim_param(&r->query, "limit", 0);
    int64_t limit = text != NULL ? hs_parse_id(text) : PAGE_DEFAULT;
    if (limit < 1 || limit > PAGE_MAX) {
        hs_invalid(r, "Invalid limit. The limit must be between 1 and %d.", PAGE_MAX);
        return;
    }
    const char *after = sim_param(&r->query, "after", 0);
    const char *before = sim_param(&r->query, "before", 0);
    struct hs_member key = {0};
    if ((after != NULL && !read_cursor(after, join, &key)) ||
        (before != NULL && !read_cursor(before, join, &key))) {
        hs_invalid(r, "Invalid paging cursor.");
        return;
    }
    const struct hs_member *m = ordered(l, join);
    size_t from = 0;
    size_t to = 0;
    size_t lo = 0;
    size_t hi = l->count;
    while ((after != NULL || before != NULL) && lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int cmp = compare(&m[mid], &key, join);
        if (cmp < 0 || (cmp == 0 && before == NULL)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (before != NULL) {
        to = lo;
        from = to > (size_t)limit ? to - (size_t)limit : 0;
    } else {
        from = after != NULL ? lo : 0;
        to = l->count - from > (size_t)limit ? from + (size_t)limit : l->count;
    }

    struct sim_buf *b = &r->res.body;
    sim_buf_adds(b, "{\"results\":[");
    char when[40];
    for (size_t i = from; i < to; i++) {
        sim_iso_time(m[i].joined_ms, when, sizeof when);
        sim_buf_addf(b, "%s{\"recordId\":\"%lld\",\"membershipTimestamp\":\"%s\"}",
                     i > from ? "," : "", (long long)m[i].id, when);
    }
    sim_buf_addf(b, "],\"total\":%zu", l->count);
    char cursor[64];
    bool next = to < l->count && to > from;
    bool prev = from > 0 && to > from;
    if (next || prev) {
        sim_buf_adds(b, ",\"paging\":{");
    }
    if (next) {
        cursor_text(&m[to - 1], join, cursor, sizeof cursor);
        sim_buf_addf(b, "\"next\":{\"after\":\"%s\"}%s", cursor, prev ? "," : "");
    }
    if (prev) {
        cursor_text(&m[from], join, cursor, sizeof cursor);
        sim_buf_addf(b, "\"prev\":{\"before\":\"%s\"}", cursor);
    }
    sim_buf_adds(b, next || prev ? "}}" : "}");
    r->rows = to - from;
    r->res.status = 200;
    sim_answer_header(r, "Content-Type: application/json;charset=utf-8");
}

static void record_memberships(struct hs_call *c, const char *type_id, const char *id)
{
    sim_count_id(c->r,
                 hs_type_of(type_id) < HS_TYPES ? hs_plural(hs_type_of(type_id)) : type_id, id);
    json_t *out = json_array();
    int64_t record = hs_parse_id(id);
    for (struct hs_list *l = c->p->lists; l != NULL; l = l->next) {
        if (l->deleted_ms > 0 || strcmp(l->object_type_id, type_id) != 0) {
            continue;
        }
        size_t i = lower(l, record);
        if (i < l->count && l->members[i].id == record) {
            char first[40];
            char last[40];
            sim_iso_time(l->members[i].first_joined_ms, first, sizeof first);
            sim_iso_time(l->members[i].joined_ms, last, sizeof last);
            (void)json_array_append_new(out, json_pack("{s:s, s:i, s:b, s:s, s:s}", "listId",
                                                       l->id, "listVersion", 1, "isPublicList",
                                                       0, "firstAddedTimestamp", first,
                                                       "lastAddedTimestamp", last));
        }
    }
    c->r->rows = json_array_size(out);
    sim_answer_json(
        c->r, 200,
        json_pack("{s:I, s:o}", "total", (json_int_t)json_array_size(out), "results", out), 0);
}

static bool listed(const json_t *array, const char *text)
{
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(array, i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), text) == 0) {
            return true;
        }
    }
    return json_array_size(array) == 0;
}

static json_t *search_result(const struct hs_list *l)
{
    json_t *j = hs_list_json(l, false);
    (void)json_object_del(j, "size");
    char size[24];
    (void)snprintf(size, sizeof size, "%zu", l->count);
    (void)json_object_set_new(
        j, "additionalProperties",
        json_pack("{s:s, s:s}", "hs_list_size", size, "hs_list_reference_count", "0"));
    return j;
}

static void search(struct hs_call *c)
{
    json_t *q = sim_request_json(c->r);
    if (!json_is_object(q)) {
        json_decref(q);
        hs_invalid(c->r, "Invalid input JSON");
        return;
    }
    const char *text = json_string_value(json_object_get(q, "query"));
    const char *type_id = json_string_value(json_object_get(q, "objectTypeId"));
    const json_t *count_json = json_object_get(q, "count");
    json_int_t count = count_json != NULL ? json_integer_value(count_json) : 20;
    json_int_t offset = json_integer_value(json_object_get(q, "offset"));
    if (count < 1 || count > 500 || offset < 0) {
        json_decref(q);
        hs_invalid(c->r, "Invalid count or offset: count must be between 1 and 500.");
        return;
    }
    json_t *out = json_array();
    json_int_t total = 0;
    for (struct hs_list *l = c->p->lists; l != NULL; l = l->next) {
        if (l->deleted_ms > 0 || (text != NULL && strcasestr(l->name, text) == NULL) ||
            (type_id != NULL && strcmp(type_id, l->object_type_id) != 0) ||
            !listed(json_object_get(q, "processingTypes"), l->processing_type) ||
            !listed(json_object_get(q, "listIds"), l->id)) {
            continue;
        }
        if (total >= offset && total < offset + count) {
            (void)json_array_append_new(out, search_result(l));
        }
        total++;
    }
    json_int_t end = offset + (json_int_t)json_array_size(out);
    json_decref(q);
    sim_answer_json(c->r, 200,
                    json_pack("{s:b, s:o, s:I, s:I}", "hasMore", end < total, "lists", out,
                              "offset", end, "total", total),
                    0);
}

static void several(struct hs_call *c)
{
    json_t *out = json_array();
    const char *id = NULL;
    for (size_t i = 0; (id = sim_param(&c->r->query, "listIds", i)) != NULL; i++) {
        const struct hs_list *l = hs_list_find(c->p, id);
        if (l != NULL && l->deleted_ms == 0) {
            (void)json_array_append_new(out, hs_list_json(l, false));
        }
    }
    sim_answer_json(c->r, 200, json_pack("{s:o}", "lists", out), 0);
}

void hs_lists_call(struct hs_call *c)
{
    struct sim_request *r = c->r;
    bool get = strcmp(r->method, "GET") == 0;
    if (!hs_need_scope(c, "crm.lists.read")) {
        return;
    }
    if (c->n == 1 && strcmp(c->seg[0], "search") == 0 && strcmp(r->method, "POST") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "POST /crm/lists/{v}/search");
        search(c);
        return;
    }
    if (get && c->n == 4 && strcmp(c->seg[0], "records") == 0 &&
        strcmp(c->seg[3], "memberships") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint,
                       "GET /crm/lists/{v}/records/{objectTypeId}/{recordId}/memberships");
        record_memberships(c, c->seg[1], c->seg[2]);
        return;
    }
    if (get && c->n == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "GET /crm/lists/{v}");
        several(c);
        return;
    }
    bool join = c->n == 3 && strcmp(c->seg[2], "join-order") == 0;
    bool members = c->n >= 2 && strcmp(c->seg[1], "memberships") == 0 && (c->n == 2 || join);
    if (!get || !(c->n == 1 || members)) {
        hs_unknown_path(r);
        return;
    }
    (void)snprintf(r->endpoint, sizeof r->endpoint, "GET /crm/lists/{v}/{listId}%s",
                   join      ? "/memberships/join-order"
                   : members ? "/memberships"
                             : "");
    struct hs_list *l = hs_list_find(c->p, c->seg[0]);
    if (l == NULL || l->deleted_ms > 0) {
        hs_error(r, 404, "OBJECT_NOT_FOUND", "List does not exist with ID %s.", c->seg[0]);
    } else if (members) {
        memberships(c, l, join);
    } else {
        const char *f = sim_param(&r->query, "includeFilters", 0);
        sim_answer_json(
            r, 200,
            json_pack("{s:o}", "list", hs_list_json(l, f != NULL && strcmp(f, "true") == 0)),
            0);
    }
}
