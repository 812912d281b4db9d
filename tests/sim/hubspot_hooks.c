/* Webhooks: which events a change causes, how they are batched and signed, and the API that
 * manages subscriptions. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ten retries over 24 hours; the exact intervals are unpublished. */
static const int64_t retry_ms[10] = {60000,   300000,   900000,   1800000,  3600000,
                                     7200000, 10800000, 14400000, 18000000, 21600000};

void hs_hooks_init(struct hs_app *app)
{
    app->hooks = (struct hs_hook_config){
        .client_secret = NULL,
        .v1 = true,
        .v3 = true,
        .batch_max = 100,
        .max_inflight = 10,
        .timeout_ms = 5000,
    };
    app->subscriptions = json_array();
    app->journal = json_array();
    app->next_subscription = 25;
    app->next_event = 3816279340;
    app->concurrent = 10;
}

void hs_hooks_free(struct hs_app *app)
{
    free(app->hooks.url);
    free(app->hooks.public_url);
    free(app->hooks.client_secret);
    free(app->target_url);
    json_decref(app->subscriptions);
    json_decref(app->journal);
}

/* The id of the active subscription for this event, or 0. */
static int64_t subscription_for(struct hs_app *app, const char *type, const char *property)
{
    if (!app->hooks.listed) {
        uint64_t h = 7;
        for (const char *p = type; *p != '\0'; p++) {
            h = h * 31 + (unsigned char)*p;
        }
        for (const char *p = property; p != NULL && *p != '\0'; p++) {
            h = h * 31 + (unsigned char)*p;
        }
        return (int64_t)(h % 900000) + 100000;
    }
    size_t i = 0;
    json_t *s = NULL;
    json_array_foreach(app->subscriptions, i, s)
    {
        const char *of = json_string_value(json_object_get(s, "propertyName"));
        if (json_is_true(json_object_get(s, "active")) &&
            strcmp(json_string_value(json_object_get(s, "eventType")), type) == 0 &&
            (property == NULL || (of != NULL && strcmp(of, property) == 0))) {
            return strtoll(json_string_value(json_object_get(s, "id")), NULL, 10);
        }
    }
    return 0;
}

void hs_event(struct hs_portal *p, json_t *events, enum hs_type t, const char *kind,
              int64_t object_id, json_t *extra)
{
    struct hs_app *app = p->app;
    char type[64];
    (void)snprintf(type, sizeof type, "%s.%s", hs_singular(t), kind);
    const char *property = json_string_value(json_object_get(extra, "propertyName"));
    int64_t sub = subscription_for(app, type, property);
    bool never = property != NULL && (strcmp(property, "hs_lastmodifieddate") == 0 ||
                                      strcmp(property, "num_unique_conversion_events") == 0);
    if (events == NULL || sub == 0 || never) {
        json_decref(extra);
        return;
    }
    json_t *e = json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:i, s:s}", "eventId",
                          (json_int_t)app->next_event++, "subscriptionId", (json_int_t)sub,
                          "portalId", (json_int_t)p->id, "appId", (json_int_t)app->app_id,
                          "occurredAt", (json_int_t)sim_now_ms(app->sim), "subscriptionType",
                          type, "attemptNumber", 0, "changeSource", "CRM_UI");
    if (object_id != 0) {
        (void)json_object_set_new(e, "objectId", json_integer(object_id));
    }
    (void)json_object_set_new(e, "sourceId", json_string("userId:882761034"));
    if (extra != NULL) {
        (void)json_object_update(e, extra);
        json_decref(extra);
    }
    (void)json_array_append_new(events, e);
}

/* One batch on its way; what a hand-made delivery wants different is here too. */
struct batch {
    json_t *events; /* or */
    char *body;
    char *secret;
    char *public_url;
    json_t *omit;
    json_t *headers;
    int64_t timestamp_offset_ms;
    int64_t first_sent_ms;
    bool v1;
    bool v3;
};

static void batch_free(void *arg)
{
    struct batch *b = arg;
    json_decref(b->events);
    json_decref(b->omit);
    json_decref(b->headers);
    free(b->body);
    free(b->secret);
    free(b->public_url);
    free(b);
}

static bool omitted(const struct batch *b, const char *what)
{
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(b->omit, i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), what) == 0) {
            return true;
        }
    }
    return false;
}

/* v3 decodes these escapes of the URI before hashing, and no others. */
static void decode_uri(const char *uri, struct sim_buf *out)
{
    static const char *const table[] = {"%3A:", "%2F/", "%3F?", "%40@", "%21!", "%24$",
                                        "%27'", "%28(", "%29)", "%2A*", "%2C,", "%3B;"};
    while (*uri != '\0') {
        const char *hit = NULL;
        for (size_t i = 0; i < sizeof table / sizeof *table && *uri == '%'; i++) {
            if (strncasecmp(uri, table[i], 3) == 0) {
                hit = table[i];
            }
        }
        sim_buf_add(out, hit != NULL ? hit + 3 : uri, 1);
        uri += hit != NULL ? 3 : 1;
    }
}

static void sign(const struct batch *b, int64_t now_ms, const struct sim_buf *body,
                 struct sim_buf *headers)
{
    unsigned char digest[32];
    char text[80];
    struct sim_buf src = {0};
    if (b->v1 && !omitted(b, "v1")) {
        sim_buf_adds(&src, b->secret);
        sim_buf_add(&src, body->p, body->len);
        sim_sha256(src.p, src.len, digest);
        sim_hex(digest, 32, text);
        sim_buf_addf(headers, "X-HubSpot-Signature: %s\nX-HubSpot-Signature-Version: v1\n",
                     text);
    }
    src.len = 0;
    sim_buf_adds(&src, "POST");
    decode_uri(b->public_url, &src);
    sim_buf_add(&src, body->p, body->len);
    sim_buf_addf(&src, "%lld", (long long)now_ms);
    sim_hmac_sha256(b->secret, src.p, src.len, digest);
    sim_base64(digest, 32, text);
    if (b->v3 && !omitted(b, "v3")) {
        sim_buf_addf(headers, "X-HubSpot-Signature-v3: %s\n", text);
    }
    if (b->v3 && !omitted(b, "timestamp")) {
        sim_buf_addf(headers, "X-HubSpot-Request-Timestamp: %lld\n", (long long)now_ms);
    }
    sim_buf_free(&src);
}

static void render(struct sim *s, void *ctx, int attempt, struct sim_buf *headers,
                   struct sim_buf *body)
{
    struct batch *b = ctx;
    struct hs_app *app = *sim_hubspot(s);
    if (b->body != NULL) {
        sim_buf_adds(body, b->body);
    } else {
        size_t i = 0;
        json_t *e = NULL;
        json_array_foreach(b->events, i, e)
        {
            if (attempt > 0) {
                (void)json_object_set_new(e, "attemptNumber", json_integer(attempt));
            }
            if (attempt > 0 && app->hooks.retry_new_ids) {
                (void)json_object_set_new(e, "eventId", json_integer(app->next_event++));
            }
        }
        sim_buf_add_json(body, b->events, JSON_COMPACT);
    }
    sim_buf_adds(headers, "Content-Type: application/json\n"
                          "User-Agent: HubSpot Connect 2.0 (http://dev.hubspot.com/) "
                          "(namespace: webhooks-nio-http-client)\n");
    if (attempt == 0 || !app->hooks.retry_old_timestamp) {
        b->first_sent_ms = sim_now_ms(s);
    }
    sign(b, b->first_sent_ms + b->timestamp_offset_ms, body, headers);
    const char *name = NULL;
    json_t *v = NULL;
    json_object_foreach(b->headers, name, v)
    {
        sim_buf_addf(headers, "%s: %s\n", name, json_string_value(v));
    }
}

static void send_batch(struct hs_app *app, int64_t portal_id, struct batch *b, int64_t delay_ms)
{
    const struct hs_hook_config *h = &app->hooks;
    char account[24];
    char group[64];
    (void)snprintf(account, sizeof account, "%lld", (long long)portal_id);
    (void)snprintf(group, sizeof group, "hubspot:%s", account);
    if (b->secret == NULL) {
        b->secret =
            sim_strdup(h->client_secret != NULL ? h->client_secret : app->client_secret);
    }
    b->public_url = sim_strdup(h->public_url != NULL ? h->public_url : h->url);
    b->v1 = h->v1;
    b->v3 = h->v3;
    struct sim_delivery d = {
        .provider = SIM_HUBSPOT,
        .account = account,
        .url = h->url,
        .group = group,
        .max_inflight = (int)h->max_inflight,
        .delay_ms = delay_ms,
        .timeout_ms = h->timeout_ms,
        .retry_ms = retry_ms,
        .retry_count = sizeof retry_ms / sizeof *retry_ms,
        .render = render,
        .free_ctx = batch_free,
        .ctx = b,
    };
    sim_webhook_send(app->sim, &d);
}

static void shuffle(struct sim *s, json_t *events)
{
    for (size_t i = json_array_size(events); i > 1; i--) {
        size_t k = (size_t)sim_rand_below(s, i);
        json_t *a = json_incref(json_array_get(events, i - 1));
        json_t *b = json_incref(json_array_get(events, k));
        (void)json_array_set_new(events, i - 1, b);
        (void)json_array_set_new(events, k, a);
    }
}

void hs_deliver(struct hs_portal *p, json_t *events, const struct sim_notify *n)
{
    struct hs_app *app = p->app;
    hs_journal_events(p, events);
    if (!n->notify || app->hooks.url == NULL || app->hooks.disabled ||
        json_array_size(events) == 0) {
        json_decref(events);
        return;
    }
    json_t *all = json_array();
    for (int k = 0; k < n->count; k++) {
        (void)json_array_extend(all, events);
    }
    if (n->shuffle) {
        shuffle(app->sim, all);
    }
    size_t total = json_array_size(all);
    size_t max = app->hooks.batch_max > 0 ? (size_t)app->hooks.batch_max : 100;
    /* Copies of one event go out in requests of their own, as redeliveries do. */
    size_t per_request = n->count > 1 ? json_array_size(events) : total;
    per_request = per_request < max ? per_request : max;
    int64_t second = sim_now_ms(app->sim) / 1000 * 1000;
    for (size_t i = 0; i < total; i += per_request) {
        struct batch *b = sim_calloc(1, sizeof *b);
        b->events = json_array();
        for (size_t k = i; k < i + per_request && k < total; k++) {
            json_t *e = json_copy(json_array_get(all, k));
            if (n->same_second) {
                (void)json_object_set_new(e, "occurredAt", json_integer(second));
            }
            (void)json_array_append_new(b->events, e);
        }
        send_batch(app, p->id, b, n->delay_ms);
    }
    json_decref(all);
    json_decref(events);
}

/* ---- control ---- */

static void set_text(char **at, const json_t *config, const char *name)
{
    const json_t *v = json_object_get(config, name);
    if (v != NULL) {
        free(*at);
        *at = json_is_string(v) ? sim_strdup(json_string_value(v)) : NULL;
    }
}

static void set_int(int64_t *at, const json_t *config, const char *name)
{
    const json_t *v = json_object_get(config, name);
    if (json_is_integer(v)) {
        *at = json_integer_value(v);
    }
}

const char *sim_hubspot_webhook_config(struct sim *s, json_t *config)
{
    struct hs_app *app = *sim_hubspot(s);
    struct hs_hook_config *h = &app->hooks;
    set_text(&h->url, config, "url");
    set_text(&h->public_url, config, "public_url");
    set_text(&h->client_secret, config, "client_secret");
    set_int(&h->batch_max, config, "batch_max");
    set_int(&h->max_inflight, config, "max_inflight");
    set_int(&h->timeout_ms, config, "timeout_ms");
    set_int(&app->app_id, config, "app_id");
    const json_t *v = json_object_get(config, "disabled");
    if (v != NULL) {
        h->disabled = json_is_true(v);
    }
    v = json_object_get(config, "retry_new_ids");
    if (v != NULL) {
        h->retry_new_ids = json_is_true(v);
    }
    v = json_object_get(config, "retry_old_timestamp");
    if (v != NULL) {
        h->retry_old_timestamp = json_is_true(v);
    }
    const char *subs = json_string_value(json_object_get(config, "subscriptions"));
    if (subs != NULL) {
        h->listed = strcmp(subs, "listed") == 0;
    }
    const json_t *sig = json_object_get(config, "signatures");
    if (json_is_array(sig)) {
        h->v1 = false;
        h->v3 = false;
        for (size_t i = 0; i < json_array_size(sig); i++) {
            const char *name = json_string_value(json_array_get(sig, i));
            h->v1 = h->v1 || (name != NULL && strcmp(name, "v1") == 0);
            h->v3 = h->v3 || (name != NULL && strcmp(name, "v3") == 0);
        }
    }
    if (h->url != NULL && strncmp(h->url, "http", 4) != 0) {
        free(h->url);
        h->url = NULL;
        return "url must begin with http";
    }
    return NULL;
}

/* Members a hand-made event left out. */
static void complete(struct hs_app *app, json_t *event)
{
    json_t *full =
        json_pack("{s:I, s:i, s:I, s:I, s:I, s:s, s:i, s:s}", "eventId",
                  (json_int_t)app->next_event++, "subscriptionId", 100000, "portalId",
                  (json_int_t)(app->portals != NULL ? app->portals->id : 0), "appId",
                  (json_int_t)app->app_id, "occurredAt", (json_int_t)sim_now_ms(app->sim),
                  "subscriptionType", "company.propertyChange", "attemptNumber", 0,
                  "changeSource", "CRM_UI");
    if (json_object_get(event, "eventType") != NULL) {
        (void)json_object_del(full, "subscriptionType");
    }
    (void)json_object_update_missing(event, full);
    json_decref(full);
}

static const char *send_flood(struct hs_app *app, json_t *body)
{
    const char *word = json_string_value(json_object_get(body, "type"));
    enum hs_type t = word != NULL ? hs_type_of(word) : HS_COMPANIES;
    struct hs_portal *p = app->portals;
    json_int_t portal = json_integer_value(json_object_get(body, "portal_id"));
    if (portal != 0) {
        p = hs_portal_find(app, portal);
    }
    if (t == HS_TYPES || p == NULL || p->tables[t].count == 0) {
        return "no such type, portal or records";
    }
    json_t *events = json_array();
    json_int_t n = json_integer_value(json_object_get(body, "n"));
    for (json_int_t i = 0; i < n; i++) {
        const struct hs_object *o = p->tables[t].items[(size_t)i % p->tables[t].count];
        hs_event(p, events, t, "propertyChange", o->id,
                 json_pack("{s:s, s:s, s:s}", "propertyName", "name", "propertyValue",
                           "imported", "changeSource", "IMPORT"));
    }
    struct sim_notify how;
    sim_notify_parse(&how, body);
    hs_deliver(p, events, &how);
    return NULL;
}

const char *sim_hubspot_webhook_send(struct sim *s, json_t *body)
{
    struct hs_app *app = *sim_hubspot(s);
    const char *kind = json_string_value(json_object_get(body, "kind"));
    const char *text = json_string_value(json_object_get(body, "body"));
    const char *secret = json_string_value(json_object_get(body, "secret"));
    json_t *events = json_object_get(body, "events");
    if (app->hooks.url == NULL) {
        return "no webhook url is configured";
    }
    if (kind != NULL && strcmp(kind, "flood") == 0) {
        return send_flood(app, body);
    }
    if (text == NULL && !json_is_array(events)) {
        return "events (an array) or body (text) is needed";
    }
    struct sim_notify how;
    sim_notify_parse(&how, body);
    int64_t portal = app->portals != NULL ? app->portals->id : 0;
    size_t i = 0;
    json_t *e = NULL;
    json_array_foreach(events, i, e)
    {
        if (json_is_object(e)) {
            complete(app, e);
            portal = json_integer_value(json_object_get(e, "portalId"));
        }
    }
    if (how.shuffle && json_is_array(events)) {
        shuffle(s, events);
    }
    for (int k = 0; k < how.count; k++) {
        struct batch *b = sim_calloc(1, sizeof *b);
        b->events = json_deep_copy(events);
        b->body = text != NULL ? sim_strdup(text) : NULL;
        b->secret = secret != NULL ? sim_strdup(secret) : NULL;
        b->omit = json_incref(json_object_get(body, "omit"));
        b->headers = json_incref(json_object_get(body, "headers"));
        b->timestamp_offset_ms =
            json_integer_value(json_object_get(body, "timestamp_offset_ms"));
        send_batch(app, portal, b, how.delay_ms);
    }
    return NULL;
}

/* ---- the subscription API ---- */

static void settings(struct hs_app *app, struct sim_request *r)
{
    char when[40];
    if (strcmp(r->method, "PUT") == 0) {
        json_t *body = sim_request_json(r);
        const char *url = json_string_value(json_object_get(body, "targetUrl"));
        json_int_t n = json_integer_value(
            json_object_get(json_object_get(body, "throttling"), "maxConcurrentRequests"));
        if (url == NULL || n <= 5) {
            hs_invalid(r, "targetUrl and throttling.maxConcurrentRequests (> 5) are required");
            json_decref(body);
            return;
        }
        free(app->target_url);
        app->target_url = sim_strdup(url);
        free(app->hooks.url);
        app->hooks.url = sim_strdup(url);
        app->concurrent = n;
        app->hooks.max_inflight = n;
        app->settings_at_ms = sim_now_ms(app->sim);
        json_decref(body);
    } else if (strcmp(r->method, "DELETE") == 0) {
        free(app->target_url);
        app->target_url = NULL;
        free(app->hooks.url);
        app->hooks.url = NULL;
        r->res.status = 204;
        return;
    }
    if (app->target_url == NULL && app->hooks.url == NULL) {
        (void)sim_hubspot_error(r, "not-found");
        return;
    }
    sim_iso_time(app->settings_at_ms, when, sizeof when);
    const char *url = app->target_url != NULL ? app->target_url : app->hooks.url;
    sim_answer_json(r, 200,
                    json_pack("{s:s, s:{s:I}, s:s, s:s}", "targetUrl", url, "throttling",
                              "maxConcurrentRequests", (json_int_t)app->concurrent, "createdAt",
                              when, "updatedAt", when),
                    0);
}

static void create_subscription(struct hs_app *app, struct sim_request *r)
{
    json_t *body = sim_request_json(r);
    const char *type = json_string_value(json_object_get(body, "eventType"));
    if (type == NULL || strchr(type, '.') == NULL) {
        hs_invalid(r, "eventType is required");
    } else if (json_array_size(app->subscriptions) >= 1000) {
        (void)sim_hubspot_error(r, "subscription-limit");
    } else {
        char when[40];
        char id[24];
        sim_iso_time(sim_now_ms(app->sim), when, sizeof when);
        (void)snprintf(id, sizeof id, "%lld", (long long)app->next_subscription++);
        json_t *s = json_pack("{s:s, s:s, s:b, s:s, s:s}", "id", id, "eventType", type,
                              "active", json_is_true(json_object_get(body, "active")),
                              "createdAt", when, "updatedAt", when);
        static const char *const more[] = {"propertyName", "objectTypeId"};
        for (int i = 0; i < 2; i++) {
            json_t *v = json_object_get(body, more[i]);
            if (json_is_string(v)) {
                (void)json_object_set(s, more[i], v);
            }
        }
        (void)json_array_append(app->subscriptions, s);
        sim_answer_json(r, 201, s, 0);
    }
    json_decref(body);
}

static void one_subscription(struct hs_app *app, struct sim_request *r, const char *id)
{
    size_t i = 0;
    json_t *s = NULL;
    json_array_foreach(app->subscriptions, i, s)
    {
        if (strcmp(json_string_value(json_object_get(s, "id")), id) == 0) {
            break;
        }
    }
    if (i == json_array_size(app->subscriptions)) {
        hs_error(r, 404, "SUBSCRIPTION_ID_NOT_FOUND", "subscription %s does not exist", id);
        return;
    }
    s = json_array_get(app->subscriptions, i);
    if (strcmp(r->method, "DELETE") == 0) {
        (void)json_array_remove(app->subscriptions, i);
        r->res.status = 204;
        return;
    }
    if (strcmp(r->method, "PATCH") == 0) {
        json_t *body = sim_request_json(r);
        json_t *v = json_object_get(body, "active");
        if (json_is_boolean(v)) {
            (void)json_object_set(s, "active", v);
        }
        json_decref(body);
    }
    sim_answer_json(r, 200, json_incref(s), 0);
}

static void update_many(struct hs_app *app, struct sim_request *r)
{
    json_t *body = sim_request_json(r);
    json_t *out = json_array();
    size_t i = 0;
    json_t *in = NULL;
    json_array_foreach(json_object_get(body, "inputs"), i, in)
    {
        size_t k = 0;
        json_t *s = NULL;
        json_array_foreach(app->subscriptions, k, s)
        {
            if (strtoll(json_string_value(json_object_get(s, "id")), NULL, 10) ==
                json_integer_value(json_object_get(in, "id"))) {
                (void)json_object_set(s, "active", json_object_get(in, "active"));
                (void)json_array_append(out, s);
            }
        }
    }
    char now[40];
    sim_iso_time(sim_now_ms(app->sim), now, sizeof now);
    sim_answer_json(r, 200,
                    json_pack("{s:s, s:o, s:s, s:s}", "status", "COMPLETE", "results", out,
                              "startedAt", now, "completedAt", now),
                    0);
    json_decref(body);
}

void hs_hooks_call(struct hs_app *app, struct sim_request *r, char **seg, int n)
{
    const char *key = sim_param(&r->query, "hapikey", 0);
    const char *auth = sim_header(r, "authorization");
    const char *bearer = auth != NULL && strncmp(auth, "Bearer ", 7) == 0 ? auth + 7 : "";
    (void)hs_correlation(r);
    if (n < 2 || hs_parse_id(seg[0]) < 0) {
        hs_unknown_path(r);
        return;
    }
    (void)snprintf(r->endpoint, sizeof r->endpoint, "%s /app-webhooks/{v}/{appId}/%s%s",
                   r->method, seg[1], n == 3 ? "/{id}" : (n == 4 ? "/batch/update" : ""));
    if (strcmp(key != NULL ? key : bearer, app->developer_key) != 0) {
        (void)sim_hubspot_error(r, "token-invalid");
    } else if (hs_parse_id(seg[0]) != app->app_id) {
        (void)sim_hubspot_error(r, "banned");
    } else if (n == 2 && strcmp(seg[1], "settings") == 0) {
        settings(app, r);
    } else if (n == 2 && strcmp(seg[1], "subscriptions") == 0) {
        if (strcmp(r->method, "POST") == 0) {
            create_subscription(app, r);
        } else {
            sim_answer_json(r, 200, json_pack("{s:O}", "results", app->subscriptions), 0);
        }
    } else if (n == 3 && strcmp(seg[1], "subscriptions") == 0) {
        one_subscription(app, r, seg[2]);
    } else if (n == 4 && strcmp(seg[2], "batch") == 0 && strcmp(seg[3], "update") == 0) {
        update_many(app, r);
    } else {
        hs_unknown_path(r);
    }
}
