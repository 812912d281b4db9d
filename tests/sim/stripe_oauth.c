/*
 * OAuth: the authorize page of Stripe Apps and of Connect (it redirects at once), the token and
 * deauthorize calls. A code works once and for five minutes; using it twice revokes the
 * connection. A refresh token of an app dies when it is used. Errors are flat, unlike the
 * API's.
 */
#include "stripe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* gcc's analyzer loses sight of what uthash keeps in its buckets and cries leak. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

struct grant {
    UT_hash_handle hh;
    char *value; /* ac_... or rt_... */
    struct st_account *account;
    bool live;
    bool any_mode; /* a code: the secret key decides */
    bool connect;
    bool used;
    int64_t expires_at_ms;
};

struct st_oauth {
    struct grant *codes;
    struct grant *refreshes;
    json_t *settings; /* deny, account, mode, permissions, refresh_rolls, error, client_ids */
    uint64_t next;
};

static const char default_settings[] =
    "{\"deny\":false,\"account\":\"acct_1SimDefault\",\"mode\":null,\"permissions\":null,"
    "\"refresh_rolls\":true,\"error\":null,"
    "\"client_ids\":[\"ca_sim0000000000000000000000000001\"]}";

void st_oauth_init(struct stripe_sim *app)
{
    app->oauth = sim_calloc(1, sizeof *app->oauth);
    app->oauth->settings = json_loads(default_settings, 0, NULL);
}

static void grants_free(struct grant **all)
{
    struct grant *g = NULL;
    struct grant *next = NULL;
    HASH_ITER(hh, *all, g, next)
    {
        HASH_DEL(*all, g);
        free(g->value);
        free(g);
    }
}

void st_oauth_free(struct stripe_sim *app)
{
    grants_free(&app->oauth->codes);
    grants_free(&app->oauth->refreshes);
    json_decref(app->oauth->settings);
    free(app->oauth);
}

static struct grant *grant_new(struct stripe_sim *app, struct grant **all, const char *prefix,
                               struct st_account *a, bool live, int64_t life_s)
{
    struct grant *g = sim_calloc(1, sizeof *g);
    struct st_mode *m = &a->modes[live ? 1 : 0];
    char *random = st_new_id(app, m, prefix, 32);
    g->value = random;
    g->account = a;
    g->live = live;
    g->expires_at_ms = sim_now_ms(app->sim) + life_s * 1000;
    HASH_ADD_KEYPTR(hh, *all, g->value, strlen(g->value), g);
    return g;
}

static struct grant *grant_find(struct grant *all, const char *value)
{
    struct grant *g = NULL;
    HASH_FIND_STR(all, value, g);
    return g;
}

static void oauth_error(struct sim_request *r, int status, const char *error, const char *fmt,
                        ...) __attribute__((format(printf, 4, 5)));
static void oauth_error(struct sim_request *r, int status, const char *error, const char *fmt,
                        ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    st_answer(r, status, NULL,
              json_pack("{s:s, s:s}", "error", error, "error_description", text));
}

static bool known_client(const struct st_oauth *o, const char *id)
{
    size_t i = 0;
    json_t *one = NULL;
    json_array_foreach(json_object_get(o->settings, "client_ids"), i, one)
    {
        if (id != NULL && strcmp(json_string_value(one), id) == 0)
            return true;
    }
    return false;
}

/* ---- authorize ---- */

static void add_query(struct sim_buf *b, const char *name, const char *value)
{
    sim_buf_addf(b, "%s%s=", strchr(b->p, '?') != NULL ? "&" : "?", name);
    for (; *value != '\0'; value++) {
        unsigned char c = (unsigned char)*value;
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                     (c >= 'a' && c <= 'z') || strchr("-_.~", c) != NULL;
        sim_buf_addf(b, plain ? "%c" : "%%%02X", c);
    }
}

static void authorize(struct sim_request *r, bool connect)
{
    struct stripe_sim *app = st_app(r->sim);
    struct st_oauth *o = app->oauth;
    const char *client = sim_param(&r->query, "client_id", 0);
    const char *redirect = sim_param(&r->query, "redirect_uri", 0);
    const char *state = sim_param(&r->query, "state", 0);
    const char *type = sim_param(&r->query, "response_type", 0);
    snprintf(r->endpoint, sizeof r->endpoint, "GET %s",
             connect ? "/oauth/authorize" : "/oauth/v2/authorize");
    if (!known_client(o, client)) {
        oauth_error(r, 400, "invalid_client",
                    "No application matches the supplied client "
                    "identifier");
        return;
    }
    if (connect && (type == NULL || strcmp(type, "code") != 0)) {
        oauth_error(r, 400, "unsupported_response_type", "Unsupported response type");
        return;
    }
    if (redirect == NULL || strncmp(redirect, "http", 4) != 0) {
        oauth_error(r, 400, "invalid_redirect_uri",
                    "Invalid redirect URI '%s'. Ensure this uri "
                    "exactly matches one of the uris specified "
                    "in your application settings.",
                    redirect != NULL ? redirect : "");
        return;
    }
    struct sim_buf to = {0};
    sim_buf_adds(&to, redirect);
    if (json_is_true(json_object_get(o->settings, "deny"))) {
        add_query(&to, "error", "access_denied");
        add_query(&to, "error_description", "The user denied your request");
    } else {
        struct st_account *a = st_account_find(app, st_text_at(o->settings, "account"));
        const char *mode = st_text_at(o->settings, "mode");
        struct grant *g =
            grant_new(app, &o->codes, "ac_", a, mode != NULL && strcmp(mode, "live") == 0,
                      a->settings.code_s);
        g->connect = connect;
        g->any_mode = mode == NULL;
        add_query(&to, "code", g->value);
        if (connect)
            add_query(&to, "scope", "read_write");
        else
            add_query(&to, "account_id", a->id);
    }
    if (state != NULL)
        add_query(&to, "state", state);
    r->res.status = 302;
    st_headers(r, NULL);
    sim_answer_header(r, "Location: %s", to.p);
    sim_buf_free(&to);
}

/* ---- tokens ---- */

static void forget_tokens(struct stripe_sim *app, struct st_account *a, bool live)
{
    struct st_key *k = NULL;
    struct st_key *next = NULL;
    HASH_ITER(hh, app->keys, k, next)
    {
        if (k->kind == ST_KEY_TOKEN && k->account == a && k->live == live)
            k->revoked = true;
    }
    struct grant *g = NULL;
    struct grant *next_grant = NULL;
    HASH_ITER(hh, app->oauth->refreshes, g, next_grant)
    {
        if (g->account == a && g->live == live)
            g->used = true;
    }
}

static void application_event(struct stripe_sim *app, struct st_account *a, bool live,
                              const char *what, const struct sim_notify *n)
{
    struct st_change ch;
    char type[64];
    snprintf(type, sizeof type, "account.application.%s", what);
    st_change_begin(&ch, app, &a->modes[live ? 1 : 0], n);
    const json_t *client =
        json_array_get(json_object_get(app->oauth->settings, "client_ids"), 0);
    (void)st_event(&ch, type, NULL,
                   json_pack("{s:s, s:s, s:s}", "id", json_string_value(client), "object",
                             "application", "name", "Pivotal Sync"),
                   NULL);
    st_change_end(&ch);
}

void st_oauth_deauthorize(struct stripe_sim *app, struct st_account *a, bool live,
                          const struct sim_notify *n)
{
    /* Told while still connected: it is the last event the application gets. */
    a->connected = true;
    application_event(app, a, live, "deauthorized", n);
    a->connected = false;
    a->revoked = true;
    struct grant *g = NULL;
    struct grant *next = NULL;
    HASH_ITER(hh, app->oauth->refreshes, g, next)
    {
        if (g->account == a)
            g->used = true;
    }
}

static void answer_tokens(struct sim_request *r, struct stripe_sim *app, struct st_account *a,
                          bool live, bool connect)
{
    struct st_oauth *o = app->oauth;
    struct st_mode *m = &a->modes[live ? 1 : 0];
    char *access = st_new_id(app, m, live ? "sk_live_" : "sk_test_", 24);
    struct st_key *k = st_key_new(app, access, ST_KEY_TOKEN, a, live);
    const json_t *permissions = json_object_get(o->settings, "permissions");
    if (json_is_array(permissions))
        k->permissions = json_deep_copy(permissions);
    if (!connect)
        k->expires_at_ms = sim_now_ms(app->sim) + a->settings.access_token_s * 1000;
    struct grant *refresh = grant_new(app, &o->refreshes, "rt_", a, live, 366L * ST_DAY_S);
    refresh->connect = connect;
    char *public = st_new_id(app, m, live ? "pk_live_" : "pk_test_", 24);
    snprintf(r->account, sizeof r->account, "%s", a->id);
    st_answer(r, 200, NULL,
              json_pack("{s:s, s:b, s:s, s:s, s:s, s:s, s:s}", "access_token", access,
                        "livemode", live ? 1 : 0, "refresh_token", refresh->value, "scope",
                        connect ? "read_write" : "stripe_apps", "stripe_publishable_key",
                        public, "stripe_user_id", a->id, "token_type", "bearer"));
    free(access);
    free(public);
}

static void exchange_code(struct sim_request *r, struct stripe_sim *app, bool live)
{
    const char *code = sim_param(sim_request_form(r), "code", 0);
    if (code == NULL) {
        oauth_error(r, 400, "invalid_request", "No authorization code provided");
        return;
    }
    struct grant *g = grant_find(app->oauth->codes, code);
    if (g == NULL) {
        oauth_error(r, 400, "invalid_grant", "Authorization code does not exist: %s", code);
        return;
    }
    if (g->used) {
        forget_tokens(app, g->account, live);
        oauth_error(r, 400, "invalid_grant",
                    "This authorization code has already been used. All tokens issued with "
                    "this code have been revoked.");
        return;
    }
    if (sim_now_ms(app->sim) >= g->expires_at_ms) {
        oauth_error(r, 400, "invalid_grant", "Authorization code expired: %s", code);
        return;
    }
    if (!g->any_mode && g->live != live) {
        oauth_error(r, 400, "invalid_grant",
                    "Authorization code %s was not issued in %s mode. Use the matching secret "
                    "key.",
                    code, live ? "live" : "test");
        return;
    }
    g->used = true;
    forget_tokens(app, g->account, live);
    g->account->revoked = false;
    g->account->connected = true;
    struct sim_notify n = {.notify = true, .count = 1};
    application_event(app, g->account, live, "authorized", &n);
    answer_tokens(r, app, g->account, live, g->connect);
}

static void refresh_token(struct sim_request *r, struct stripe_sim *app, bool live)
{
    const char *token = sim_param(sim_request_form(r), "refresh_token", 0);
    if (token == NULL) {
        oauth_error(r, 400, "invalid_request", "No refresh token provided");
        return;
    }
    struct grant *g = grant_find(app->oauth->refreshes, token);
    if (g == NULL || g->used || g->live != live || g->account->revoked ||
        sim_now_ms(app->sim) >= g->expires_at_ms) {
        oauth_error(r, 400, "invalid_grant", "Refresh token does not exist: %s", token);
        return;
    }
    if (json_is_true(json_object_get(app->oauth->settings, "refresh_rolls")))
        g->used = true;
    answer_tokens(r, app, g->account, live, g->connect);
}

/* The application's own secret key, in the header or as client_secret. */
static struct st_key *platform_key(struct sim_request *r, struct stripe_sim *app)
{
    char *text = st_bearer(r);
    const char *form = sim_param(sim_request_form(r), "client_secret", 0);
    struct st_key *k = text != NULL   ? st_key_find(app, text)
                       : form != NULL ? st_key_find(app, form)
                                      : NULL;
    free(text);
    return k != NULL && k->kind == ST_KEY_PLATFORM && !k->revoked ? k : NULL;
}

static void token(struct sim_request *r)
{
    struct stripe_sim *app = st_app(r->sim);
    const char *type = sim_param(sim_request_form(r), "grant_type", 0);
    const char *forced = st_text_at(app->oauth->settings, "error");
    const struct st_key *k = platform_key(r, app);
    if (k == NULL)
        oauth_error(r, 401, "invalid_client",
                    "Invalid API Key provided. Use the secret key of "
                    "the application.");
    else if (forced != NULL)
        oauth_error(r, 400, forced, "Refused: %s", forced);
    else if (type == NULL)
        oauth_error(r, 400, "invalid_request", "No grant type specified");
    else if (strcmp(type, "authorization_code") == 0)
        exchange_code(r, app, k->live);
    else if (strcmp(type, "refresh_token") == 0)
        refresh_token(r, app, k->live);
    else
        oauth_error(r, 400, "unsupported_grant_type", "Unsupported grant type: %s", type);
}

static void deauthorize(struct sim_request *r)
{
    struct stripe_sim *app = st_app(r->sim);
    const struct sim_params *form = sim_request_form(r);
    const char *client = sim_param(form, "client_id", 0);
    const char *user = sim_param(form, "stripe_user_id", 0);
    struct st_account *a = user != NULL ? st_account_find(app, user) : NULL;
    const struct st_key *k = platform_key(r, app);
    if (k == NULL) {
        oauth_error(r, 401, "invalid_client", "Invalid API Key provided");
        return;
    }
    if (!known_client(app->oauth, client) || a == NULL || !a->connected) {
        oauth_error(r, 400, "invalid_client",
                    "This application is not connected to stripe account %s, or that account "
                    "does not exist.",
                    user != NULL ? user : "");
        return;
    }
    struct sim_notify n = {.notify = true, .count = 1};
    st_oauth_deauthorize(app, a, k->live, &n);
    st_answer(r, 200, NULL, json_pack("{s:s}", "stripe_user_id", a->id));
}

bool st_oauth_handle(struct sim_request *r)
{
    bool get = strcmp(r->method, "GET") == 0;
    bool post = strcmp(r->method, "POST") == 0;
    const char *p = r->path;
    size_t len = strlen(p);
    bool v2 =
        strncmp(p, "/oauth/v2/", 10) == 0 && len >= 10 && strcmp(p + len - 9, "authorize") == 0;
    if (get && (v2 || strcmp(p, "/oauth/authorize") == 0)) {
        authorize(r, !v2);
        return true;
    }
    if (!post)
        return false;
    snprintf(r->endpoint, sizeof r->endpoint, "POST %s", p);
    if (strcmp(p, "/v1/oauth/token") == 0 || strcmp(p, "/oauth/token") == 0) {
        token(r);
        return true;
    }
    if (strcmp(p, "/oauth/deauthorize") == 0) {
        deauthorize(r);
        return true;
    }
    r->endpoint[0] = '\0';
    return false;
}

void st_oauth_control(struct sim_request *r, const char *tail, json_t *body)
{
    struct stripe_sim *app = st_app(r->sim);
    struct st_oauth *o = app->oauth;
    (void)tail;
    const char *account = st_text_at(body, "account");
    if (account != NULL && st_account_find(app, account) == NULL) {
        sim_answer_error(r, 400, "no such Stripe account: %s", account);
        return;
    }
    if (strcmp(r->method, "GET") != 0)
        json_object_update_existing(o->settings, body);
    sim_answer_json(r, 200, json_incref(o->settings), JSON_INDENT(2));
}
