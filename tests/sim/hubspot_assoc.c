/* Associations between records, in both directions. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TO_PAGE = 500 };

static struct hs_links *links_at(struct hs_portal *p, enum hs_type from, int64_t id,
                                 enum hs_type to, bool make)
{
    char key[64];
    (void)snprintf(key, sizeof key, "%d:%lld:%d", (int)from, (long long)id, (int)to);
    struct hs_links *l = NULL;
    HASH_FIND_STR(p->links, key, l);
    if (l == NULL && make) {
        l = sim_calloc(1, sizeof *l);
        memcpy(l->key, key, sizeof key);
        HASH_ADD_STR(p->links, key, l);
    }
    return l;
}

const struct hs_links *hs_links_of(struct hs_portal *p, enum hs_type from, int64_t id,
                                   enum hs_type to)
{
    return links_at(p, from, id, to, false);
}

static size_t lower(const struct hs_links *l, int64_t to)
{
    size_t lo = 0;
    size_t hi = l->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->items[mid].to < to) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static void one_way(struct hs_portal *p, enum hs_type from, int64_t from_id, enum hs_type to,
                    int64_t to_id, bool primary)
{
    struct hs_links *l = links_at(p, from, from_id, to, true);
    size_t i = lower(l, to_id);
    if (i < l->count && l->items[i].to == to_id) {
        l->items[i].primary = primary;
        return;
    }
    if (l->count == l->cap) {
        l->cap = l->cap > 0 ? l->cap * 2 : 2;
        l->items = sim_realloc(l->items, l->cap * sizeof *l->items);
    }
    memmove(l->items + i + 1, l->items + i, (l->count - i) * sizeof *l->items);
    l->items[i] = (struct hs_link){to_id, primary};
    l->count++;
}

void hs_associate(struct hs_portal *p, enum hs_type from, int64_t from_id, enum hs_type to,
                  int64_t to_id, bool primary)
{
    one_way(p, from, from_id, to, to_id, primary);
    one_way(p, to, to_id, from, from_id, primary);
}

static bool cut(struct hs_portal *p, enum hs_type from, int64_t from_id, enum hs_type to,
                int64_t to_id)
{
    struct hs_links *l = links_at(p, from, from_id, to, false);
    size_t i = l != NULL ? lower(l, to_id) : 0;
    if (l == NULL || i >= l->count || l->items[i].to != to_id) {
        return false;
    }
    memmove(l->items + i, l->items + i + 1, (l->count - i - 1) * sizeof *l->items);
    l->count--;
    return true;
}

bool hs_dissociate(struct hs_portal *p, enum hs_type from, int64_t from_id, enum hs_type to,
                   int64_t to_id)
{
    (void)cut(p, to, to_id, from, from_id);
    return cut(p, from, from_id, to, to_id);
}

void hs_links_free(struct hs_portal *p)
{
    struct hs_links *l = NULL;
    struct hs_links *next = NULL;
    l = p->links;
    HASH_CLEAR(hh, p->links); /* the elements keep their chain */
    for (; l != NULL; l = next) {
        next = l->hh.next;
        free(l->items);
        free(l);
    }
}

struct type_ids {
    int plain;
    int primary;
};

static struct type_ids ids_of(enum hs_type from, enum hs_type to)
{
    static const struct type_ids table[HS_TYPES][HS_TYPES] = {
        [HS_CONTACTS][HS_COMPANIES] = {279, 1},    [HS_COMPANIES][HS_CONTACTS] = {280, 2},
        [HS_COMPANIES][HS_DEALS] = {342, 6},       [HS_DEALS][HS_COMPANIES] = {341, 5},
        [HS_DEALS][HS_CONTACTS] = {3, 3},          [HS_CONTACTS][HS_DEALS] = {4, 4},
        [HS_COMPANIES][HS_COMPANIES] = {450, 450},
    };
    return table[from][to];
}

static void add_link(struct sim_buf *b, const struct hs_portal *p, enum hs_type from,
                     enum hs_type to, const struct hs_link *k)
{
    struct type_ids ids = ids_of(from, to);
    bool strings = hs_is(p, "association_ids", "string");
    const char *no_label = strings ? "" : ",\"label\":null";
    sim_buf_addf(b,
                 strings ? "{\"toObjectId\":\"%lld\",\"associationTypes\":["
                         : "{\"toObjectId\":%lld,\"associationTypes\":[",
                 (long long)k->to);
    if (k->primary && ids.primary != ids.plain) {
        sim_buf_addf(b,
                     "{\"category\":\"HUBSPOT_DEFINED\",\"typeId\":%d,\"label\":\"Primary\"},",
                     ids.primary);
    }
    sim_buf_addf(b, "{\"category\":\"HUBSPOT_DEFINED\",\"typeId\":%d%s}]}", ids.plain,
                 no_label);
}

/* One page of a record's links from `after` on (the next link's id). Returns the rows. */
static size_t add_page(struct sim_buf *b, struct hs_portal *p, bool v3, enum hs_type from,
                       int64_t id, enum hs_type to, int64_t after, size_t limit, bool *more,
                       int64_t *next_after)
{
    const struct hs_links *l = hs_links_of(p, from, id, to);
    size_t i = l != NULL && after > 0 ? lower(l, after) : 0;
    size_t n = 0;
    for (; l != NULL && i < l->count && n < limit; i++) {
        const struct hs_object *o = hs_find(&p->tables[to], l->items[i].to);
        if (o == NULL || o->archived_ms > 0) {
            continue; /* an archived record has no associations */
        }
        sim_buf_adds(b, n++ > 0 ? "," : "");
        if (v3) { /* the older shape */
            sim_buf_addf(b, "{\"id\":\"%lld\",\"type\":\"%s_to_%s\"}",
                         (long long)l->items[i].to, hs_singular(from), hs_singular(to));
        } else {
            add_link(b, p, from, to, &l->items[i]);
        }
    }
    *more = l != NULL && i < l->count;
    *next_after = *more ? l->items[i].to : 0;
    return n;
}

static bool live(struct hs_portal *p, enum hs_type t, int64_t id)
{
    const struct hs_object *o = hs_find(&p->tables[t], id);
    return o != NULL && o->archived_ms == 0;
}

static void batch_read(struct hs_call *c, enum hs_type from, enum hs_type to)
{
    struct sim_request *r = c->r;
    json_t *body = sim_request_json(r);
    json_t *inputs = json_object_get(body, "inputs");
    int64_t max = hs_int(c->p, "associations_batch_max");
    if (!json_is_array(inputs) || json_array_size(inputs) == 0) {
        hs_invalid(r, "Invalid input JSON: inputs must be a non-empty array");
        json_decref(body);
        return;
    }
    if ((int64_t)json_array_size(inputs) > max) {
        hs_invalid(r,
                   "The maximum number of inputs supported in a batch request is %lld, but "
                   "received %zu.",
                   (long long)max, json_array_size(inputs));
        json_decref(body);
        return;
    }
    char now[40];
    sim_iso_time(sim_now_ms(r->sim), now, sizeof now);
    struct sim_buf *b = &r->res.body;
    json_t *missing = json_array();
    sim_buf_adds(b, "{\"status\":\"COMPLETE\",\"results\":[");
    size_t i = 0;
    json_t *in = NULL;
    size_t found = 0;
    json_array_foreach(inputs, i, in)
    {
        const char *id = json_string_value(json_object_get(in, "id"));
        const char *after = json_string_value(json_object_get(in, "after"));
        if (id == NULL) {
            continue;
        }
        sim_count_id(r, hs_plural(from), id);
        struct sim_buf page = {0};
        bool more = false;
        int64_t next = 0;
        int64_t from_id = hs_parse_id(id);
        size_t n = live(c->p, from, from_id)
                       ? add_page(&page, c->p, false, from, from_id, to,
                                  after != NULL ? hs_parse_id(after) : 0, TO_PAGE, &more, &next)
                       : 0;
        if (n == 0) {
            (void)json_array_append_new(missing, json_string(id));
        } else {
            sim_buf_addf(b, "%s{\"from\":{\"id\":\"%s\"},\"to\":[%s]", found++ > 0 ? "," : "",
                         id, page.p);
            if (more) {
                sim_buf_addf(b, ",\"paging\":{\"next\":{\"after\":\"%lld\"}}", (long long)next);
            }
            sim_buf_adds(b, "}");
        }
        sim_buf_free(&page);
    }
    sim_buf_adds(b, "]");
    bool errors = json_array_size(missing) > 0 && hs_is(c->p, "associations_missing", "207");
    if (errors) {
        json_t *list = json_pack("[{s:s, s:s, s:s, s:s, s:{s:O}, s:[], s:{}}]", "status",
                                 "error", "category", "OBJECT_NOT_FOUND", "subCategory",
                                 "crm.associations.NO_ASSOCIATIONS_FOUND", "message",
                                 "No associations found for the given object ids", "context",
                                 "fromObjectId", missing, "errors", "links");
        sim_buf_addf(b, ",\"numErrors\":%zu,\"errors\":", json_array_size(missing));
        sim_buf_add_json(b, list, JSON_COMPACT);
        json_decref(list);
    }
    sim_buf_addf(b, ",\"startedAt\":\"%s\",\"completedAt\":\"%s\"}", now, now);
    r->res.status = errors ? 207 : 200;
    r->rows = found;
    sim_answer_header(r, "Content-Type: application/json;charset=utf-8");
    json_decref(missing);
    json_decref(body);
}

void hs_associations_call(struct hs_call *c)
{
    struct sim_request *r = c->r;
    enum hs_type from = c->n == 4 ? hs_type_of(c->seg[0]) : HS_TYPES;
    enum hs_type to = c->n == 4 ? hs_type_of(c->seg[1]) : HS_TYPES;
    if (from == HS_TYPES || to == HS_TYPES || strcmp(r->method, "POST") != 0 ||
        strcmp(c->seg[2], "batch") != 0 || strcmp(c->seg[3], "read") != 0) {
        hs_unknown_path(r);
        return;
    }
    (void)snprintf(r->endpoint, sizeof r->endpoint,
                   "POST /crm/associations/{v}/%s/%s/batch/read", hs_plural(from),
                   hs_plural(to));
    if (hs_need_read(c, from) && hs_need_read(c, to)) {
        batch_read(c, from, to);
    }
}

void hs_record_associations(struct hs_call *c, enum hs_type from)
{
    struct sim_request *r = c->r;
    enum hs_type to = hs_type_of(c->seg[3]);
    if (to == HS_TYPES || (c->dated_2026_09 && !hs_flag(c->p, "v2026_09_associations"))) {
        hs_unknown_path(r);
        return;
    }
    (void)snprintf(r->endpoint, sizeof r->endpoint,
                   "GET /crm/objects/{v}/%s/{id}/associations/%s", hs_plural(from),
                   hs_plural(to));
    if (!hs_need_read(c, from) || !hs_need_read(c, to)) {
        return;
    }
    sim_count_id(r, hs_plural(from), c->seg[1]);
    const char *text = sim_param(&r->query, "limit", 0);
    const char *after = sim_param(&r->query, "after", 0);
    int64_t limit = text != NULL ? hs_parse_id(text) : TO_PAGE;
    int64_t id = hs_parse_id(c->seg[1]);
    if (limit < 1 || limit > TO_PAGE || (after != NULL && hs_parse_id(after) < 0)) {
        hs_invalid(r, "Invalid limit or after.");
        return;
    }
    if (!live(c->p, from, id)) {
        (void)sim_hubspot_error(r, "not-found");
        return;
    }
    struct sim_buf *b = &r->res.body;
    bool more = false;
    int64_t next = 0;
    sim_buf_adds(b, "{\"results\":[");
    r->rows = add_page(b, c->p, c->v3, from, id, to, after != NULL ? hs_parse_id(after) : 0,
                       (size_t)limit, &more, &next);
    sim_buf_adds(b, "]");
    if (more) {
        sim_buf_addf(b, ",\"paging\":{\"next\":{\"after\":\"%lld\"}}", (long long)next);
    }
    sim_buf_adds(b, "}");
    r->res.status = 200;
    sim_answer_header(r, "Content-Type: application/json;charset=utf-8");
}
