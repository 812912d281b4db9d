/* Portals: settings, tables of records, values. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every setting with its default; DESIGN.md explains them. */
static const char defaults[] =
    "{\"limit_general\":110,\"limit_general_window_ms\":10000,\"limit_search\":5,"
    "\"limit_search_window_ms\":1000,\"limit_associations\":100,"
    "\"limit_associations_window_ms\":10000,\"limit_daily\":0,\"token_bucket\":false,\"enforce_"
    "scopes\":true,"
    "\"associations_batch_max\":100,\"search_body_max\":3000,\"search_window_max\":10000,"
    "\"url_max\":16000,\"search_delay_ms\":0,\"search_jitter\":false,"
    "\"retry_after_on_429\":false,\"merged_reads\":\"404\",\"merge_new_id\":false,"
    "\"batch_missing\":\"207\",\"associations_missing\":\"absent\","
    "\"association_ids\":\"number\",\"access_token_s\":1800,\"refresh_rotates\":false,"
    "\"uninstall_kills_access\":false,\"clock_skew_ms\":0,\"v2026_09_associations\":true,"
    "\"v2026_09_207\":true,"
    "\"webhooks_calculated\":false,\"account\":{\"accountType\":\"STANDARD\","
    "\"timeZone\":\"Europe/Berlin\",\"companyCurrency\":\"USD\",\"additionalCurrencies\":[],"
    "\"utcOffset\":\"+01:00\",\"utcOffsetMilliseconds\":3600000,"
    "\"uiDomain\":\"app.hubspot.com\",\"dataHostingLocation\":\"na1\"}}";

struct type_row {
    const char *plural;
    const char *singular;
    const char *id;
    const char *modified;
    int64_t first_id;
};

static const struct type_row types[HS_TYPES] = {
    [HS_CONTACTS] = {"contacts", "contact", "0-1", "lastmodifieddate", 30000000000},
    [HS_COMPANIES] = {"companies", "company", "0-2", "hs_lastmodifieddate", 20000000000},
    [HS_DEALS] = {"deals", "deal", "0-3", "hs_lastmodifieddate", 40000000000},
    [HS_TICKETS] = {"tickets", "ticket", "0-5", "hs_lastmodifieddate", 50000000000},
};

enum hs_type hs_type_of(const char *word)
{
    for (int t = 0; t < HS_TYPES; t++) {
        if (strcmp(word, types[t].plural) == 0 || strcmp(word, types[t].singular) == 0 ||
            strcmp(word, types[t].id) == 0) {
            return (enum hs_type)t;
        }
    }
    return HS_TYPES;
}

const char *hs_plural(enum hs_type t)
{
    return types[t].plural;
}

const char *hs_singular(enum hs_type t)
{
    return types[t].singular;
}

const char *hs_type_id(enum hs_type t)
{
    return types[t].id;
}

const char *hs_modified_name(enum hs_type t)
{
    return types[t].modified;
}

int64_t hs_int(const struct hs_portal *p, const char *setting)
{
    return json_integer_value(json_object_get(p->settings, setting));
}

bool hs_flag(const struct hs_portal *p, const char *setting)
{
    return json_is_true(json_object_get(p->settings, setting));
}

bool hs_is(const struct hs_portal *p, const char *setting, const char *value)
{
    const char *v = json_string_value(json_object_get(p->settings, setting));
    return v != NULL && strcmp(v, value) == 0;
}

const char *hs_settings_patch(struct hs_portal *p, json_t *patch)
{
    const char *name = NULL;
    json_t *v = NULL;
    json_object_foreach(patch, name, v)
    {
        const json_t *old = json_object_get(p->settings, name);
        bool both_bool = json_is_boolean(old) && json_is_boolean(v);
        if (old == NULL || (json_typeof(old) != json_typeof(v) && !both_bool)) {
            return "unknown setting, or of another type";
        }
    }
    json_object_foreach(patch, name, v)
    {
        if (json_is_object(v)) {
            (void)json_object_update(json_object_get(p->settings, name), v);
        } else {
            (void)json_object_set(p->settings, name, v);
        }
    }
    return NULL;
}

struct hs_portal *hs_portal_find(struct hs_app *app, int64_t id)
{
    struct hs_portal *p = app->portals;
    while (p != NULL && p->id != id) {
        p = p->next;
    }
    return p;
}

static json_t *default_pipelines(void)
{
    static const char text[] =
        "[{\"id\":\"default\",\"label\":\"Sales Pipeline\",\"displayOrder\":0,"
        "\"archived\":false,\"createdAt\":\"2023-01-01T00:00:00.000Z\","
        "\"updatedAt\":\"2023-01-01T00:00:00.000Z\",\"stages\":["
        "{\"id\":\"appointmentscheduled\",\"label\":\"Appointment Scheduled\","
        "\"displayOrder\":0,\"metadata\":{\"isClosed\":\"false\",\"probability\":\"0.2\"},"
        "\"archived\":false,\"createdAt\":\"2023-01-01T00:00:00.000Z\","
        "\"updatedAt\":\"2023-01-01T00:00:00.000Z\"},"
        "{\"id\":\"closedwon\",\"label\":\"Closed Won\",\"displayOrder\":1,"
        "\"metadata\":{\"isClosed\":\"true\",\"probability\":\"1.0\"},\"archived\":false,"
        "\"createdAt\":\"2023-01-01T00:00:00.000Z\","
        "\"updatedAt\":\"2023-01-01T00:00:00.000Z\"},"
        "{\"id\":\"closedlost\",\"label\":\"Closed Lost\",\"displayOrder\":2,"
        "\"metadata\":{\"isClosed\":\"true\",\"probability\":\"0.0\"},\"archived\":false,"
        "\"createdAt\":\"2023-01-01T00:00:00.000Z\","
        "\"updatedAt\":\"2023-01-01T00:00:00.000Z\"}]}]";
    return json_loads(text, 0, NULL);
}

struct hs_portal *hs_portal_new(struct hs_app *app, int64_t id)
{
    struct hs_portal *p = sim_calloc(1, sizeof *p);
    p->app = app;
    p->id = id;
    p->installed = true;
    p->next_list_id = 100;
    p->settings = json_loads(defaults, 0, NULL);
    p->owners = json_array();
    p->pipelines = default_pipelines();
    for (int t = 0; t < HS_TYPES; t++) {
        p->tables[t].next_id = types[t].first_id;
    }
    hs_seed_defs(p);
    struct hs_portal **at = &app->portals;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = p;
    return p;
}

static void object_free(struct hs_object *o)
{
    json_decref(o->props);
    json_decref(o->history);
    json_decref(o->raw);
    json_decref(o->raw_hex);
    free(o->raw_record);
    free(o);
}

void hs_portal_free(struct hs_portal *p)
{
    for (int t = 0; t < HS_TYPES; t++) {
        struct hs_table *tb = &p->tables[t];
        for (size_t i = 0; i < tb->count; i++) {
            object_free(tb->items[i]);
        }
        free(tb->items);
        struct hs_def *d = NULL;
        struct hs_def *next = NULL;
        d = tb->defs;
        HASH_CLEAR(hh, tb->defs); /* the elements keep their chain */
        for (; d != NULL; d = next) {
            next = d->hh.next;
            json_decref(d->json);
            free(d->name);
            free(d);
        }
    }
    while (p->lists != NULL) {
        struct hs_list *l = p->lists;
        p->lists = l->next;
        hs_list_free(l);
    }
    hs_links_free(p);
    json_decref(p->owners);
    json_decref(p->pipelines);
    json_decref(p->settings);
    free(p);
}

int64_t hs_parse_id(const char *text)
{
    int64_t v = 0;
    size_t i = 0;
    for (; text[i] >= '0' && text[i] <= '9' && i < 18; i++) {
        v = v * 10 + (text[i] - '0');
    }
    return i > 0 && text[i] == '\0' ? v : -1;
}

size_t hs_lower(const struct hs_table *t, int64_t id)
{
    size_t lo = 0;
    size_t hi = t->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->items[mid]->id < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct hs_object *hs_find(const struct hs_table *t, int64_t id)
{
    size_t i = hs_lower(t, id);
    return i < t->count && t->items[i]->id == id ? t->items[i] : NULL;
}

struct hs_object *hs_object_new(struct hs_table *t, int64_t id, int64_t now_ms)
{
    if (id == 0) {
        id = t->next_id;
    }
    size_t i = hs_lower(t, id);
    if (i < t->count && t->items[i]->id == id) {
        return NULL;
    }
    if (t->count == t->cap) {
        t->cap = t->cap > 0 ? t->cap * 2 : 256;
        t->items = sim_realloc(t->items, t->cap * sizeof(struct hs_object *));
    }
    memmove(t->items + i + 1, t->items + i, (t->count - i) * sizeof(struct hs_object *));
    struct hs_object *o = sim_calloc(1, sizeof *o);
    o->id = id;
    o->seed = -1;
    o->created_ms = now_ms;
    o->updated_ms = now_ms;
    o->indexed_ms = now_ms;
    t->items[i] = o;
    t->count++;
    t->live++;
    if (id >= t->next_id) {
        t->next_id = id + 1009; /* ids are ascending, not dense */
    }
    return o;
}

struct hs_def *hs_def_find(const struct hs_table *t, const char *name)
{
    struct hs_def *d = NULL;
    HASH_FIND_STR(t->defs, name, d);
    return d != NULL && !d->archived ? d : NULL;
}

const char *hs_value(const struct hs_portal *p, enum hs_type t, const struct hs_object *o,
                     const struct hs_def *d, char *scratch)
{
    switch (d->slot) {
    case HS_SLOT_OBJECT_ID:
        (void)snprintf(scratch, HS_SCRATCH, "%lld", (long long)o->id);
        return scratch;
    case HS_SLOT_CREATED:
        sim_iso_time(o->created_ms, scratch, HS_SCRATCH);
        return scratch;
    case HS_SLOT_MODIFIED:
        sim_iso_time(o->updated_ms, scratch, HS_SCRATCH);
        return scratch;
    default:
        break;
    }
    if (o->props != NULL) {
        const json_t *v = json_object_get(o->props, d->name);
        if (v != NULL) {
            return json_string_value(v);
        }
    }
    if (o->seed >= 0 && d->slot != HS_SLOT_NONE) {
        return hs_seeded(p, t, (size_t)o->seed, d->slot, scratch);
    }
    return NULL;
}

static json_t *version_of(const char *value, int64_t at_ms, const char *source)
{
    char when[40];
    sim_iso_time(at_ms, when, sizeof when);
    return json_pack("{s:s, s:s, s:s, s:s}", "value", value != NULL ? value : "", "timestamp",
                     when, "sourceType", source, "sourceId", "userId:882761034");
}

void hs_set(struct hs_portal *p, enum hs_type t, struct hs_object *o, const char *name,
            const char *value, int64_t at_ms, const char *source)
{
    if (o->history == NULL) {
        o->history = json_object();
    }
    json_t *versions = json_object_get(o->history, name);
    if (versions == NULL) {
        versions = json_array();
        (void)json_object_set_new(o->history, name, versions);
        const struct hs_def *d = hs_def_find(&p->tables[t], name);
        char scratch[HS_SCRATCH];
        const char *old = d != NULL ? hs_value(p, t, o, d, scratch) : NULL;
        if (old != NULL) {
            (void)json_array_append_new(versions, version_of(old, o->created_ms, "IMPORT"));
        }
    }
    (void)json_array_insert_new(versions, 0, version_of(value, at_ms, source));
    if (json_array_size(versions) > 20) {
        (void)json_array_remove(versions, 20);
    }
    if (o->props == NULL) {
        o->props = json_object();
    }
    (void)json_object_set_new(o->props, name, value != NULL ? json_string(value) : json_null());
}

void hs_touch(struct hs_portal *p, struct hs_object *o, int64_t at_ms)
{
    struct sim *s = p->app->sim;
    int64_t now = sim_now_ms(s);
    if (now >= o->searchable_at_ms) {
        o->indexed_ms = o->updated_ms;
    }
    int64_t delay = hs_int(p, "search_delay_ms");
    if (delay > 0 && hs_flag(p, "search_jitter")) {
        delay = (int64_t)sim_rand_below(s, (uint64_t)delay) + 1;
    }
    o->searchable_at_ms = now + delay;
    o->updated_ms = at_ms;
}
