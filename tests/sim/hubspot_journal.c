/*
 * The webhook journal: the pull channel. Every change is in it, also list memberships,
 * installs and uninstalls, which no push event tells. One file holds what one change caused.
 */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 5000, RETENTION_MS = 3 * 24 * 3600 * 1000, LINK_LIFE_MS = 600 * 1000 };

/* HubSpot's offsets are UUIDs. Ours carry a sequence number in their last group. */
#define OFFSET "6a6f7572-6e61-4c00-8000-"

/* The number in an offset; 0, which is before all, for text that is none. */
static int64_t offset_number(const char *text)
{
    size_t n = strlen(OFFSET);
    return strncmp(text, OFFSET, n) == 0 ? strtoll(text + n, NULL, 16) : 0;
}

static json_t *entry(const struct hs_portal *p, const char *type, const char *action,
                     const char *type_id, int64_t object_id)
{
    char now[40];
    sim_iso_time(sim_now_ms(p->app->sim), now, sizeof now);
    json_t *e = json_pack("{s:s, s:I, s:s, s:s}", "type", type, "portalId", (json_int_t)p->id,
                          "occurredAt", now, "action", action);
    if (type_id != NULL) {
        (void)json_object_set_new(e, "objectTypeId", json_string(type_id));
    }
    if (object_id != 0) {
        (void)json_object_set_new(e, "objectId", json_integer(object_id));
    }
    return e;
}

void hs_journal_file(struct hs_app *app, json_t *entries)
{
    if (json_array_size(entries) == 0) {
        json_decref(entries);
        return;
    }
    char now[40];
    sim_iso_time(sim_now_ms(app->sim), now, sizeof now);
    (void)json_array_append_new(
        app->journal,
        json_pack("{s:o, s:s, s:o, s:I}", "offset",
                  json_sprintf(OFFSET "%012llx", (unsigned long long)++app->journal_offset),
                  "publishedAt", now, "journalEvents", entries, "_at",
                  (json_int_t)sim_now_ms(app->sim)));
    if (json_array_size(app->journal) > FILES_MAX) {
        (void)json_array_remove(app->journal, 0);
    }
}

void hs_journal_events(struct hs_portal *p, const json_t *events)
{
    static const struct {
        const char *suffix;
        const char *type;
        const char *action;
    } kinds[] = {
        {".creation", "crmObject", "CREATE"},
        {".deletion", "crmObject", "DELETE"},
        {".restore", "crmObject", "RESTORE"},
        {".merge", "crmObject", "MERGE"},
        {".propertyChange", "crmObject", "UPDATE"},
        {".associationChange", "association", "ASSOCIATION_ADDED"},
        {".privacyDeletion", "gdprPrivacyDeletion", "GDPR_DELETE"},
    };
    json_t *out = json_array();
    size_t i = 0;
    json_t *e = NULL;
    json_array_foreach(events, i, e)
    {
        const char *type = json_string_value(json_object_get(e, "subscriptionType"));
        const char *dot = type != NULL ? strchr(type, '.') : NULL;
        char word[32];
        (void)snprintf(word, sizeof word, "%.*s", dot != NULL ? (int)(dot - type) : 0, type);
        enum hs_type t = hs_type_of(word);
        for (size_t k = 0; dot != NULL && t < HS_TYPES && k < sizeof kinds / sizeof *kinds;
             k++) {
            if (strcmp(dot, kinds[k].suffix) != 0) {
                continue;
            }
            bool removed = json_is_true(json_object_get(e, "associationRemoved"));
            json_t *j =
                entry(p, kinds[k].type, removed ? "ASSOCIATION_REMOVED" : kinds[k].action,
                      hs_type_id(t), json_integer_value(json_object_get(e, "objectId")));
            const char *name = json_string_value(json_object_get(e, "propertyName"));
            if (name != NULL) {
                (void)json_object_set_new(
                    j, "propertyChanges",
                    json_pack("{s:O}", name, json_object_get(e, "propertyValue")));
            }
            json_t *merged = json_object_get(e, "mergedObjectIds");
            if (merged != NULL) {
                (void)json_object_set(j, "mergedObjectIds", merged);
            }
            (void)json_array_append_new(out, j);
        }
    }
    hs_journal_file(p->app, out);
}

void hs_journal_list(struct hs_portal *p, const struct hs_list *l, int64_t id, bool joined)
{
    json_t *e = entry(p, "listMembership", joined ? "ADDED_TO_LIST" : "REMOVED_FROM_LIST",
                      l->object_type_id, id);
    (void)json_object_set_new(e, "listId", json_string(l->id));
    hs_journal_file(p->app, json_pack("[o]", e));
}

void hs_journal_app(struct hs_portal *p, bool installed)
{
    hs_journal_file(p->app, json_pack("[o]", entry(p, "appLifecycleEvent",
                                                   installed ? "APP_INSTALL" : "APP_UNINSTALL",
                                                   installed ? "4-1909196" : "4-1916193", 0)));
}

/* ---- reading it ---- */

static int64_t offset_of(const json_t *file)
{
    return offset_number(json_string_value(json_object_get(file, "offset")));
}

static void pointer(struct hs_app *app, struct sim_request *r, const json_t *file)
{
    if (file == NULL) {
        r->res.status = 204;
        return;
    }
    char until[40];
    sim_iso_time(sim_now_ms(app->sim) + LINK_LIFE_MS, until, sizeof until);
    sim_answer_json(r, 200,
                    json_pack("{s:o, s:s, s:O}", "url",
                              json_sprintf("%s/webhooks-journal/files/%s",
                                           sim_base_url(app->sim, SIM_HUBSPOT),
                                           json_string_value(json_object_get(file, "offset"))),
                              "expiresAt", until, "currentOffset",
                              json_object_get(file, "offset")),
                    0);
}

static json_t *after_offset(const struct hs_app *app, int64_t offset)
{
    size_t i = 0;
    json_t *f = NULL;
    json_array_foreach(app->journal, i, f)
    {
        if (offset_of(f) > offset) {
            return f;
        }
    }
    return NULL;
}

static void download(struct hs_app *app, struct sim_request *r, const char *offset)
{
    (void)snprintf(r->endpoint, sizeof r->endpoint, "GET /webhooks-journal/files/{offset}");
    json_t *f = after_offset(app, offset_number(offset) - 1);
    if (f == NULL || offset_of(f) != offset_number(offset)) {
        (void)sim_hubspot_error(r, "not-found");
        return;
    }
    json_t *copy = json_copy(f);
    (void)json_object_del(copy, "_at");
    r->rows = json_array_size(json_object_get(copy, "journalEvents"));
    sim_answer_json(r, 200, copy, 0);
}

static void forget_old(struct hs_app *app)
{
    int64_t horizon = sim_now_ms(app->sim) - RETENTION_MS;
    while (json_array_size(app->journal) > 0 &&
           json_integer_value(json_object_get(json_array_get(app->journal, 0), "_at")) <
               horizon) {
        (void)json_array_remove(app->journal, 0);
    }
}

void hs_journal_call(struct hs_app *app, struct sim_request *r, char **seg, int n)
{
    if (n == 2 && strcmp(seg[0], "files") == 0) {
        download(app, r, seg[1]); /* the link itself is the permission */
        return;
    }
    const char *auth = sim_header(r, "authorization");
    const struct hs_token *t = auth != NULL && strncasecmp(auth, "Bearer ", 7) == 0
                                   ? hs_token_find(app, auth + 7)
                                   : NULL;
    if (t == NULL || t->revoked || t->portal != NULL ||
        (t->expires_at_ms > 0 && sim_now_ms(app->sim) >= t->expires_at_ms)) {
        (void)sim_hubspot_error(r, "token-invalid");
        return;
    }
    struct sim_limit limit = {.key = "hubspot:app:journal", .max = 50, .window_ms = 1000};
    if (sim_limits_take(r->sim, &limit, 1) != NULL) {
        (void)sim_hubspot_error(r, "rate-search");
        sim_answer_header(r, "Retry-After: 1");
        return;
    }
    forget_old(app);
    bool journal = n >= 3 && strncmp(seg[0], "journal", 7) == 0;
    if (journal && n == 3 && strcmp(seg[2], "earliest") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint,
                       "GET /webhooks-journal/journal/{v}/earliest");
        pointer(app, r, json_array_get(app->journal, 0));
    } else if (journal && n == 3 && strcmp(seg[2], "latest") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint,
                       "GET /webhooks-journal/journal/{v}/latest");
        size_t count = json_array_size(app->journal);
        pointer(app, r, count > 0 ? json_array_get(app->journal, count - 1) : NULL);
    } else if (journal && n == 5 && strcmp(seg[2], "offset") == 0 &&
               strcmp(seg[4], "next") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint,
                       "GET /webhooks-journal/journal/{v}/offset/{offset}/next");
        pointer(app, r, after_offset(app, offset_number(seg[3])));
    } else {
        hs_unknown_path(r);
    }
}
