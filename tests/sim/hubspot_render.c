/* Records as JSON text, written straight out: pages of 100 must be quick. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void view_add(struct hs_def ***items, size_t *count, struct hs_def *d)
{
    for (size_t i = 0; i < *count; i++) {
        if ((*items)[i] == d) {
            return;
        }
    }
    *items = sim_realloc(*items, (*count + 1) * sizeof(struct hs_def *));
    (*items)[(*count)++] = d;
}

static void add_name(struct hs_view *v, const struct hs_table *t, const char *name)
{
    struct hs_def *d = hs_def_find(t, name);
    if (d != NULL) { /* an undefined property is left out in silence */
        view_add(&v->defs, &v->count, d);
    }
}

static void add_fixed(struct hs_view *v, const struct hs_table *t, enum hs_type type)
{
    add_name(v, t, "createdate");
    add_name(v, t, hs_modified_name(type));
    add_name(v, t, "hs_object_id");
}

void hs_view_default(struct hs_view *v, const struct hs_table *t, enum hs_type type)
{
    static const char *const names[HS_TYPES][5] = {
        [HS_CONTACTS] = {"firstname", "lastname", "email", NULL, NULL},
        [HS_COMPANIES] = {"name", "domain", NULL, NULL, NULL},
        [HS_DEALS] = {"dealname", "amount", "closedate", "pipeline", "dealstage"},
        [HS_TICKETS] = {"subject", "content", "hs_pipeline", "hs_pipeline_stage", NULL},
    };
    for (size_t i = 0; i < 5 && names[type][i] != NULL; i++) {
        add_name(v, t, names[type][i]);
    }
    add_fixed(v, t, type);
}

void hs_view_all(struct hs_view *v, const struct hs_table *t)
{
    for (struct hs_def *d = t->defs; d != NULL; d = d->hh.next) {
        if (!d->archived) {
            view_add(&v->defs, &v->count, d);
        }
    }
}

void hs_view_names(struct hs_view *v, const struct hs_table *t, enum hs_type type,
                   const char *const *names, size_t count, bool history)
{
    for (size_t i = 0; i < count; i++) {
        char *copy = sim_strdup(names[i]);
        char *save = NULL;
        for (char *n = strtok_r(copy, ", ", &save); n != NULL;
             n = strtok_r(NULL, ", ", &save)) {
            struct hs_def *d = hs_def_find(t, n);
            if (history && d != NULL) {
                view_add(&v->history, &v->history_count, d);
            }
            add_name(v, t, n);
        }
        free(copy);
    }
    add_fixed(v, t, type);
}

void hs_view_free(struct hs_view *v)
{
    free(v->defs);
    free(v->history);
    memset(v, 0, sizeof *v);
}

static void add_value(struct sim_buf *b, const struct hs_portal *p, enum hs_type t,
                      const struct hs_object *o, const struct hs_def *d)
{
    const char *raw = json_string_value(json_object_get(o->raw, d->name));
    const char *hex = json_string_value(json_object_get(o->raw_hex, d->name));
    if (raw != NULL) {
        sim_buf_adds(b, raw);
        return;
    }
    if (hex != NULL) {
        (void)sim_buf_add_hex(b, hex);
        return;
    }
    char scratch[HS_SCRATCH];
    const char *v = hs_value(p, t, o, d, scratch);
    if (v == NULL) {
        sim_buf_add(b, "null", 4);
    } else {
        sim_buf_add_json_string(b, v, strlen(v));
    }
}

static void add_history(struct sim_buf *b, const struct hs_portal *p, enum hs_type t,
                        const struct hs_object *o, const struct hs_view *v)
{
    sim_buf_adds(b, ",\"propertiesWithHistory\":{");
    for (size_t i = 0; i < v->history_count; i++) {
        const struct hs_def *d = v->history[i];
        sim_buf_addf(b, "%s\"%s\":", i > 0 ? "," : "", d->name);
        const json_t *versions = json_object_get(o->history, d->name);
        char scratch[HS_SCRATCH];
        const char *now = hs_value(p, t, o, d, scratch);
        if (versions != NULL) {
            sim_buf_add_json(b, versions, JSON_COMPACT);
        } else if (now == NULL) {
            sim_buf_adds(b, "[]");
        } else {
            char when[40];
            sim_iso_time(o->created_ms, when, sizeof when);
            sim_buf_adds(b, "[{\"value\":");
            sim_buf_add_json_string(b, now, strlen(now));
            sim_buf_addf(b, ",\"timestamp\":\"%s\",\"sourceType\":\"IMPORT\"}]", when);
        }
    }
    sim_buf_adds(b, "}");
}

/* Embedded associations hold the first page only. */
enum { EMBEDDED_MAX = 500 };

static void add_associations(struct sim_buf *b, struct hs_portal *p, enum hs_type t,
                             const struct hs_object *o, const struct hs_view *v)
{
    bool any = false;
    for (size_t i = 0; i < v->association_count; i++) {
        enum hs_type to = v->associations[i];
        const struct hs_links *l = hs_links_of(p, t, o->id, to);
        if (l == NULL || l->count == 0) {
            continue;
        }
        sim_buf_addf(b, "%s\"%s\":{\"results\":[", any ? "," : ",\"associations\":{",
                     hs_plural(to));
        any = true;
        for (size_t k = 0; k < l->count && k < EMBEDDED_MAX; k++) {
            sim_buf_addf(b, "%s{\"id\":\"%lld\",\"type\":\"%s_to_%s\"}", k > 0 ? "," : "",
                         (long long)l->items[k].to, hs_singular(t), hs_singular(to));
        }
        sim_buf_adds(b, "]");
        if (l->count > EMBEDDED_MAX) {
            sim_buf_addf(b, ",\"paging\":{\"next\":{\"after\":\"%lld\"}}",
                         (long long)l->items[EMBEDDED_MAX].to);
        }
        sim_buf_adds(b, "}");
    }
    sim_buf_adds(b, any ? "}" : "");
}

void hs_render(struct sim_buf *b, struct hs_portal *p, enum hs_type t,
               const struct hs_object *o, const struct hs_view *v)
{
    if (o->raw_record != NULL) {
        sim_buf_adds(b, o->raw_record);
        return;
    }
    sim_buf_addf(b, "{\"id\":\"%lld\",\"properties\":{", (long long)o->id);
    for (size_t i = 0; i < v->count; i++) {
        sim_buf_addf(b, "%s\"%s\":", i > 0 ? "," : "", v->defs[i]->name);
        add_value(b, p, t, o, v->defs[i]);
    }
    sim_buf_adds(b, "}");
    if (v->history_count > 0) {
        add_history(b, p, t, o, v);
    }
    char created[40];
    char updated[40];
    sim_iso_time(o->created_ms, created, sizeof created);
    sim_iso_time(o->updated_ms, updated, sizeof updated);
    sim_buf_addf(b, ",\"createdAt\":\"%s\",\"updatedAt\":\"%s\",\"archived\":%s", created,
                 updated, o->archived_ms > 0 ? "true" : "false");
    if (o->archived_ms > 0) {
        char archived[40];
        sim_iso_time(o->archived_ms, archived, sizeof archived);
        sim_buf_addf(b, ",\"archivedAt\":\"%s\"", archived);
    }
    add_associations(b, p, t, o, v);
    const char *ui =
        json_string_value(json_object_get(json_object_get(p->settings, "account"), "uiDomain"));
    sim_buf_addf(b, ",\"url\":\"https://%s/contacts/%lld/record/%s/%lld\"}",
                 ui != NULL ? ui : "app.hubspot.com", (long long)p->id, hs_type_id(t),
                 (long long)o->id);
}
