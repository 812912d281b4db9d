/* The HubSpot port: both path families to one, then token, limits, scope, room. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sim_hubspot_init(struct sim *s)
{
    const struct sim_options *o = sim_options(s);
    struct hs_app *app = sim_calloc(1, sizeof *app);
    *sim_hubspot(s) = app;
    app->sim = s;
    app->client_id = sim_strdup("sim-hubspot-client");
    app->client_secret = sim_strdup("sim-hubspot-secret");
    app->developer_key = sim_strdup("sim-hubspot-developer-key");
    app->app_id = 1160452;
    hs_hooks_init(app);
    struct hs_portal *p = hs_portal_new(app, 1234567);
    hs_seed_records(p, o->companies, o->list_members, o->contacts);
    json_t *scopes = hs_all_scopes();
    (void)hs_token_new(app, p, "pat-na1-sim-00000000-0000-0000-0000-000000000001", scopes,
                       true);
    json_decref(scopes);
    return 0;
}

void sim_hubspot_free(struct sim *s)
{
    struct hs_app *app = *sim_hubspot(s);
    if (app == NULL) {
        return;
    }
    hs_tokens_free(app);
    while (app->portals != NULL) {
        struct hs_portal *p = app->portals;
        app->portals = p->next;
        hs_portal_free(p);
    }
    hs_hooks_free(app);
    free(app->client_id);
    free(app->client_secret);
    free(app->developer_key);
    free(app);
}

bool hs_need_scope(struct hs_call *c, const char *scope)
{
    if (!hs_flag(c->p, "enforce_scopes")) {
        return true;
    }
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(c->token->scopes, i, v)
    {
        if (strcmp(json_string_value(v), scope) == 0) {
            return true;
        }
    }
    hs_missing_scope(c->r, scope);
    return false;
}

bool hs_need_read(struct hs_call *c, enum hs_type t)
{
    char scope[64];
    if (t == HS_TICKETS) {
        return hs_need_scope(c, "tickets");
    }
    (void)snprintf(scope, sizeof scope, "crm.objects.%s.read", hs_plural(t));
    return hs_need_scope(c, scope);
}

/* ---- which room a path belongs to ---- */

enum room {
    OBJECTS,
    ASSOCIATIONS,
    LISTS,
    PROPERTIES,
    OWNERS,
    PIPELINES,
    ACCOUNT,
    UNINSTALL,
    NO_ROOM
};

static const struct {
    const char *word;
    enum room room;
    const char *legacy; /* version of the old family */
} families[] = {
    {"objects", OBJECTS, "v3"},           {"objects", OBJECTS, "v4"},
    {"associations", ASSOCIATIONS, "v4"}, {"lists", LISTS, "v3"},
    {"properties", PROPERTIES, "v3"},     {"owners", OWNERS, "v3"},
    {"pipelines", PIPELINES, "v3"},
};

static bool dated(const char *v)
{
    return strcmp(v, "2026-03") == 0 || strcmp(v, "2026-09") == 0;
}

/* Sets *skip to the segments before the room's own. */
static enum room room_of(char **seg, int n, int *skip, const char **version)
{
    *skip = 3;
    for (size_t i = 0;
         n >= 3 && strcmp(seg[0], "crm") == 0 && i < sizeof families / sizeof *families; i++) {
        if (strcmp(seg[1], families[i].word) == 0 && dated(seg[2])) {
            *version = seg[2];
            return families[i].room;
        }
        if (strcmp(seg[2], families[i].word) == 0 && strcmp(seg[1], families[i].legacy) == 0) {
            *version = seg[1];
            return families[i].room;
        }
    }
    *skip = 2;
    if (n >= 2 && (dated(seg[1]) || strcmp(seg[1], "v3") == 0)) {
        *version = seg[1];
        if (strcmp(seg[0], "account-info") == 0) {
            return ACCOUNT;
        }
        if (strcmp(seg[0], "appinstalls") == 0) {
            return UNINSTALL;
        }
    }
    return NO_ROOM;
}

/* ---- token and limits ---- */

static bool authenticate(struct hs_call *c)
{
    struct sim_request *r = c->r;
    const char *auth = sim_header(r, "authorization");
    if (auth != NULL && strncasecmp(auth, "Bearer ", 7) == 0) {
        c->token = hs_token_find(c->app, auth + 7);
    }
    if (c->token == NULL || c->token->refresh || c->token->revoked ||
        c->token->portal == NULL) {
        (void)sim_hubspot_error(r, "token-invalid");
        return false;
    }
    int64_t now = sim_now_ms(r->sim);
    if (c->token->expires_at_ms > 0 && now >= c->token->expires_at_ms) {
        char when[40];
        sim_iso_time(c->token->expires_at_ms, when, sizeof when);
        sim_answer_json(
            r, 401,
            json_pack("{s:s, s:o, s:s, s:s, s:{s:[s]}}", "status", "error", "message",
                      json_sprintf("The OAuth token used to make this call expired %lld "
                                   "second(s) ago.",
                                   (long long)((now - c->token->expires_at_ms) / 1000)),
                      "correlationId", hs_correlation(r), "category", "EXPIRED_AUTHENTICATION",
                      "context", "expire time", when),
            0);
        return false;
    }
    c->p = c->token->portal;
    (void)snprintf(r->account, sizeof r->account, "%lld", (long long)c->p->id);
    return true;
}

/* The day in the account's own zone: the daily counter starts anew at its midnight. */
static bool over_daily(struct hs_call *c)
{
    int64_t limit = hs_int(c->p, "limit_daily");
    int64_t offset = json_integer_value(
        json_object_get(json_object_get(c->p->settings, "account"), "utcOffsetMilliseconds"));
    int64_t day = (sim_now_ms(c->r->sim) + offset) / 86400000;
    if (day != c->p->day) {
        c->p->day = day;
        c->p->calls_today = 0;
    }
    c->p->calls_today++;
    if (limit <= 0) {
        return false;
    }
    int64_t left = limit - c->p->calls_today;
    if (c->token->is_static) {
        sim_answer_header(c->r, "X-HubSpot-RateLimit-Daily: %lld", (long long)limit);
        sim_answer_header(c->r, "X-HubSpot-RateLimit-Daily-Remaining: %lld",
                          (long long)(left > 0 ? left : 0));
    }
    return left < 0;
}

static bool within_limits(struct hs_call *c, enum room room)
{
    struct sim_request *r = c->r;
    bool search = room == OBJECTS && c->n == 2 && strcmp(c->seg[1], "search") == 0;
    bool assoc = room == ASSOCIATIONS ||
                 (room == OBJECTS && c->n == 4 && strcmp(c->seg[2], "associations") == 0);
    const char *family = search ? "search" : assoc ? "associations" : "general";
    char key[64];
    char name[40];
    (void)snprintf(key, sizeof key, "hubspot:%lld:%s", (long long)c->p->id, family);
    (void)snprintf(name, sizeof name, "limit_%s", family);
    struct sim_limit limit = {.key = key, .max = hs_int(c->p, name)};
    (void)snprintf(name, sizeof name, "limit_%s_window_ms", family);
    limit.window_ms = hs_int(c->p, name);
    sim_limit_as_bucket(r->sim, &limit, hs_flag(c->p, "token_bucket"));

    if (over_daily(c)) {
        sim_count_violation(r->sim, key);
        (void)sim_hubspot_error(r, "rate-daily");
        return false;
    }
    bool refused = sim_limits_take(r->sim, &limit, 1) != NULL;
    if (!search && limit.max > 0) {
        sim_answer_header(r, "X-HubSpot-RateLimit-Interval-Milliseconds: %lld",
                          (long long)limit.window_ms);
        sim_answer_header(r, "X-HubSpot-RateLimit-Max: %lld", (long long)limit.max);
        sim_answer_header(r, "X-HubSpot-RateLimit-Remaining: %lld",
                          (long long)sim_limit_left(r->sim, &limit));
    }
    if (!refused) {
        return true;
    }
    if (hs_flag(c->p, "retry_after_on_429")) {
        sim_answer_header(r, "Retry-After: %lld", (long long)((limit.window_ms + 999) / 1000));
    }
    size_t before = r->res.headers.len;
    (void)sim_hubspot_error(r, search  ? "rate-search"
                               : assoc ? "rate-associations"
                                       : "rate-ten-secondly");
    /* The documented sample repeats the three headers that are there already. */
    char *twice = !search && !assoc && r->res.headers.p != NULL
                      ? strstr(r->res.headers.p + before, "X-HubSpot-RateLimit-Interval")
                      : NULL;
    if (twice != NULL) {
        *twice = '\0';
        r->res.headers.len = (size_t)(twice - r->res.headers.p);
    }
    return false;
}

static void enter(struct hs_call *c, enum room room)
{
    switch (room) {
    case OBJECTS:
        hs_objects_call(c);
        break;
    case ASSOCIATIONS:
        hs_associations_call(c);
        break;
    case LISTS:
        hs_lists_call(c);
        break;
    case PROPERTIES:
        hs_properties_call(c);
        break;
    case OWNERS:
        hs_owners_call(c);
        break;
    case PIPELINES:
        hs_pipelines_call(c);
        break;
    case ACCOUNT:
        hs_account_call(c);
        break;
    case UNINSTALL:
        hs_uninstall_call(c);
        break;
    case NO_ROOM:
        hs_unknown_path(c->r);
        break;
    }
}

void sim_hubspot_handle(struct sim_request *r)
{
    struct hs_app *app = *sim_hubspot(r->sim);
    struct hs_call c = {.r = r, .app = app};
    char *text = sim_strdup(r->path);
    char *seg[16];
    int n = 0;
    char *save = NULL;
    for (char *w = strtok_r(text, "/", &save); w != NULL && n < 16;
         w = strtok_r(NULL, "/", &save)) {
        seg[n++] = w;
    }
    (void)hs_correlation(r);
    int skip = 0;
    const char *version = "";
    enum room room = room_of(seg, n, &skip, &version);
    if (n >= 2 && strcmp(seg[0], "oauth") == 0) {
        hs_oauth_call(app, r, seg + 1, n - 1);
    } else if (n >= 2 &&
               (strcmp(seg[0], "webhooks") == 0 || strcmp(seg[0], "app-webhooks") == 0)) {
        hs_hooks_call(app, r, seg + 2, n - 2);
    } else if (n >= 2 && strcmp(seg[0], "webhooks-journal") == 0) {
        hs_journal_call(app, r, seg + 1, n - 1);
    } else if (authenticate(&c)) {
        c.n = n > skip ? n - skip : 0;
        memcpy(c.seg, seg + (n > skip ? skip : n), (size_t)c.n * sizeof(char *));
        c.dated_2026_09 = strcmp(version, "2026-09") == 0;
        c.v3 = strcmp(version, "v3") == 0;
        int64_t url_max = hs_int(c.p, "url_max");
        if (url_max > 0 && strlen(r->target) > (size_t)url_max) {
            (void)snprintf(r->endpoint, sizeof r->endpoint, "(too long)");
            (void)sim_hubspot_error(r, "uri-too-long");
        } else if (within_limits(&c, room)) {
            enter(&c, room);
        }
    }
    if (*r->endpoint == '\0') {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "%s (%s)", r->method,
                       r->res.status == 429   ? "refused by limit"
                       : r->res.status == 401 ? "refused token"
                                              : "unknown path");
    }
    free(text);
}
