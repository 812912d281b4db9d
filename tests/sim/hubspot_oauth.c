/* OAuth: the authorize page, tokens, introspection, revocation, uninstall. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CODE_LIFE_MS = 10 * 60 * 1000 };

json_t *hs_all_scopes(void)
{
    return json_pack("[s,s,s,s,s,s,s,s,s]", "oauth", "crm.objects.companies.read",
                     "crm.objects.contacts.read", "crm.objects.deals.read",
                     "crm.objects.owners.read", "crm.lists.read", "crm.schemas.companies.read",
                     "crm.schemas.contacts.read", "crm.schemas.deals.read");
}

struct hs_token *hs_token_find(const struct hs_app *app, const char *text)
{
    struct hs_token *t = NULL;
    HASH_FIND_STR(app->tokens, text, t);
    return t;
}

struct hs_token *hs_token_new(struct hs_app *app, struct hs_portal *p, const char *text,
                              json_t *scopes, bool is_static)
{
    struct hs_token *t = hs_token_find(app, text);
    if (t == NULL) {
        t = sim_calloc(1, sizeof *t);
        t->token = sim_strdup(text);
        HASH_ADD_KEYPTR(hh, app->tokens, t->token, strlen(t->token), t);
    } else {
        json_decref(t->scopes);
    }
    t->portal = p;
    t->is_static = is_static;
    t->revoked = false;
    t->scopes = json_incref(scopes);
    t->expires_at_ms = 0;
    t->issued_at_ms = sim_now_ms(app->sim);
    return t;
}

void hs_tokens_free(struct hs_app *app)
{
    struct hs_token *t = NULL;
    struct hs_token *next = NULL;
    t = app->tokens;
    HASH_CLEAR(hh, app->tokens); /* the elements keep their chain */
    for (; t != NULL; t = next) {
        next = t->hh.next;
        json_decref(t->scopes);
        free(t->token);
        free(t);
    }
    json_decref(app->withhold);
    while (app->codes != NULL) {
        struct hs_code *c = app->codes;
        app->codes = c->next;
        free(c->code);
        free(c->redirect_uri);
        json_decref(c->scopes);
        free(c);
    }
}

void hs_uninstall(struct hs_portal *p)
{
    p->installed = false;
    hs_journal_app(p, false);
    struct hs_token *t = NULL;
    struct hs_token *next = NULL;
    HASH_ITER(hh, p->app->tokens, t, next)
    {
        /* A private app's token is not the app's: removing the app leaves it. */
        if (t->portal == p && !t->is_static &&
            (t->refresh || hs_flag(p, "uninstall_kills_access"))) {
            t->revoked = true;
        }
    }
}

/* ---- the authorize page ---- */

static json_t *scopes_of(const char *required, const char *optional)
{
    json_t *out = json_array();
    const char *const lists[2] = {required, optional};
    for (int i = 0; i < 2; i++) {
        char *copy = sim_strdup(lists[i] != NULL ? lists[i] : "");
        char *save = NULL;
        for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
            (void)json_array_append_new(out, json_string(w));
        }
        free(copy);
    }
    return out;
}

static void withhold(json_t *scopes, const json_t *what)
{
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(what, i, v)
    {
        for (size_t k = json_array_size(scopes); k > 0; k--) {
            if (json_equal(json_array_get(scopes, k - 1), v)) {
                (void)json_array_remove(scopes, k - 1);
            }
        }
    }
}

static void redirect(struct sim_request *r, const char *uri, const char *query)
{
    sim_answer_text(r, 302, "text/html; charset=utf-8", "");
    sim_buf_addf(&r->res.headers, "Location: %s%c%s\r\n", uri, strchr(uri, '?') ? '&' : '?',
                 query);
}

/* state as sent: it goes back byte for byte. */
static char *state_text(const struct sim_request *r)
{
    const char *state = sim_param(&r->query, "state", 0);
    struct sim_buf b = {0};
    sim_buf_adds(&b, state != NULL ? "&state=" : "");
    for (const char *p = state; p != NULL && *p != '\0'; p++) {
        bool plain = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= 'a' && *p <= 'z') || strchr("-_.~", *p) != NULL;
        sim_buf_addf(&b, plain ? "%c" : "%%%02X", (unsigned char)*p);
    }
    return b.p;
}

static void authorize(struct hs_app *app, struct sim_request *r, const char *portal)
{
    (void)snprintf(r->endpoint, sizeof r->endpoint, "GET /oauth/authorize");
    const char *client = sim_param(&r->query, "client_id", 0);
    const char *uri = sim_param(&r->query, "redirect_uri", 0);
    const char *scope = sim_param(&r->query, "scope", 0);
    if (client == NULL || strcmp(client, app->client_id) != 0 || uri == NULL) {
        sim_answer_text(r, 400, "text/html; charset=utf-8",
                        "<html><body>This app cannot be connected: check client_id and "
                        "redirect_uri.</body></html>");
        return;
    }
    char *state = state_text(r);
    struct hs_portal *p = app->portals;
    if (portal != NULL) {
        p = hs_portal_find(app, hs_parse_id(portal));
    } else if (app->pick_portal != 0) {
        p = hs_portal_find(app, app->pick_portal);
    }
    if (app->deny || p == NULL) {
        char *q = sim_strf("error=access_denied&error_description=The%%20user%%20denied%%20"
                           "access%s",
                           state);
        redirect(r, uri, q);
        free(q);
    } else {
        struct hs_code *c = sim_calloc(1, sizeof *c);
        char id[37];
        sim_uuid(app->sim, id);
        c->code = sim_strf("na1-%s", id);
        c->redirect_uri = sim_strdup(uri);
        c->scopes = scopes_of(scope, sim_param(&r->query, "optional_scope", 0));
        withhold(c->scopes, app->withhold);
        c->portal = p;
        c->expires_at_ms = sim_now_ms(app->sim) + CODE_LIFE_MS;
        c->next = app->codes;
        app->codes = c;
        char *q = sim_strf("code=%s%s", c->code, state);
        redirect(r, uri, q);
        free(q);
    }
    free(state);
}

/* ---- tokens ---- */

static struct hs_token *issue(struct hs_app *app, struct hs_portal *p, json_t *scopes,
                              bool refresh)
{
    char id[37];
    sim_uuid(app->sim, id);
    char *text = refresh ? sim_strf("na1-%s", id)
                         : sim_strf("CMSim%lld%s%s", (long long)++app->serial, id, id);
    struct hs_token *t = hs_token_new(app, p, text, scopes, false);
    t->refresh = refresh;
    free(text);
    return t;
}

static void answer_tokens(struct hs_app *app, struct sim_request *r, struct hs_token *refresh)
{
    struct hs_portal *p = refresh->portal;
    struct hs_token *access = issue(app, p, refresh->scopes, false);
    int64_t life_s = hs_int(p, "access_token_s");
    /* With a skew, the token dies earlier (or later) than expires_in says. */
    access->expires_at_ms = sim_now_ms(app->sim) + life_s * 1000 - hs_int(p, "clock_skew_ms");
    (void)snprintf(r->account, sizeof r->account, "%lld", (long long)p->id);
    sim_answer_json(r, 200,
                    json_pack("{s:s, s:s, s:s, s:I, s:O, s:I, s:s}", "token_type", "bearer",
                              "refresh_token", refresh->token, "access_token", access->token,
                              "hub_id", (json_int_t)p->id, "scopes", refresh->scopes,
                              "expires_in", (json_int_t)life_s, "token_use", "access_token"),
                    0);
}

static void bad_refresh(struct sim_request *r, bool v1)
{
    (void)sim_hubspot_error(r, v1 ? "refresh-revoked-v1" : "refresh-revoked");
}

static void by_code(struct hs_app *app, struct sim_request *r, const struct sim_params *f)
{
    const char *code = sim_param(f, "code", 0);
    const char *uri = sim_param(f, "redirect_uri", 0);
    struct hs_code *c = app->codes;
    while (c != NULL && (code == NULL || strcmp(c->code, code) != 0)) {
        c = c->next;
    }
    if (c == NULL || c->used || sim_now_ms(app->sim) > c->expires_at_ms) {
        (void)sim_hubspot_error(r, "auth-code");
        return;
    }
    if (uri == NULL || strcmp(uri, c->redirect_uri) != 0) {
        (void)sim_hubspot_error(r, "bad-redirect-uri");
        return;
    }
    c->used = true;
    if (!c->portal->installed) {
        hs_journal_app(c->portal, true);
    }
    c->portal->installed = true;
    c->portal->user_removed = false;
    answer_tokens(app, r, issue(app, c->portal, c->scopes, true));
}

static void by_refresh(struct hs_app *app, struct sim_request *r, const struct sim_params *f,
                       bool v1)
{
    const char *text = sim_param(f, "refresh_token", 0);
    struct hs_token *t = text != NULL ? hs_token_find(app, text) : NULL;
    if (t == NULL || !t->refresh || t->revoked || t->portal->user_removed ||
        !t->portal->installed) {
        bad_refresh(r, v1);
        return;
    }
    if (hs_flag(t->portal, "refresh_rotates")) {
        t->revoked = true;
        t = issue(app, t->portal, t->scopes, true);
    }
    answer_tokens(app, r, t);
}

/* For the journal: the app's own token, 30 minutes, no refresh token. */
static void by_credentials(struct hs_app *app, struct sim_request *r,
                           const struct sim_params *f)
{
    json_t *scopes = scopes_of(sim_param(f, "scope", 0), NULL);
    struct hs_token *t = issue(app, NULL, scopes, false);
    t->expires_at_ms = sim_now_ms(app->sim) + INT64_C(1800) * 1000;
    sim_answer_json(r, 200,
                    json_pack("{s:s, s:s, s:O, s:i, s:s}", "token_type", "bearer",
                              "access_token", t->token, "scopes", scopes, "expires_in", 1800,
                              "token_use", "client_credentials"),
                    0);
    json_decref(scopes);
}

static void token(struct hs_app *app, struct sim_request *r, const char *version)
{
    bool v1 = strcmp(version, "v1") == 0;
    (void)snprintf(r->endpoint, sizeof r->endpoint, "POST /oauth/{v}/token");
    const struct sim_params *f = sim_request_form(r);
    const char *type = sim_header(r, "content-type");
    if (!v1 && (sim_param(&r->query, "client_secret", 0) != NULL ||
                sim_param(&r->query, "refresh_token", 0) != NULL)) {
        hs_invalid(r, "Secrets must be sent in the body, not in the URL.");
        return;
    }
    if (type == NULL || strncasecmp(type, "application/x-www-form-urlencoded", 33) != 0) {
        hs_error(r, 415, NULL, "HTTP 415 Unsupported Media Type");
        return;
    }
    const char *id = sim_param(f, "client_id", 0);
    const char *secret = sim_param(f, "client_secret", 0);
    const char *grant = sim_param(f, "grant_type", 0);
    if (id == NULL || strcmp(id, app->client_id) != 0) {
        (void)sim_hubspot_error(r, "bad-client-id");
    } else if (secret == NULL || strcmp(secret, app->client_secret) != 0) {
        (void)sim_hubspot_error(r, "bad-client-secret");
    } else if (grant != NULL && strcmp(grant, "authorization_code") == 0) {
        by_code(app, r, f);
    } else if (grant != NULL && strcmp(grant, "refresh_token") == 0) {
        by_refresh(app, r, f, v1);
    } else if (grant != NULL && strcmp(grant, "client_credentials") == 0 && !v1 &&
               strcmp(version, "2026-09") != 0) {
        by_credentials(app, r, f);
    } else {
        (void)sim_hubspot_error(r, "bad-grant-type");
    }
}

static json_t *info_of(const struct hs_app *app, const struct hs_token *t)
{
    int64_t now = sim_now_ms(app->sim);
    if (t == NULL || t->portal == NULL || t->revoked ||
        (t->expires_at_ms > 0 && now >= t->expires_at_ms)) {
        return json_pack("{s:b}", "active", 0);
    }
    json_t *j =
        json_pack("{s:b, s:s, s:s, s:I, s:s, s:i, s:s, s:s, s:I, s:O}", "active", 1, "token",
                  t->token, "token_use", t->refresh ? "refresh_token" : "access_token",
                  "hub_id", (json_int_t)t->portal->id, "hub_domain", "sim.hubspot.example",
                  "user_id", 882761034, "user", "installer@pivotal.example", "client_id",
                  app->client_id, "app_id", (json_int_t)app->app_id, "scopes", t->scopes);
    (void)json_object_set_new(j, "token_type", json_string("Bearer"));
    if (t->expires_at_ms > 0) {
        (void)json_object_set_new(j, "expires_in",
                                  json_integer((t->expires_at_ms - now) / 1000));
    }
    return j;
}

static const char *form_token(struct sim_request *r)
{
    const struct sim_params *f = sim_request_form(r);
    static const char *const names[] = {"token", "refresh_token", "access_token"};
    for (size_t i = 0; i < 3; i++) {
        const char *v = sim_param(f, names[i], 0);
        if (v != NULL) {
            return v;
        }
    }
    return "";
}

static void token_v1(struct hs_app *app, struct sim_request *r, const char *kind,
                     const char *text)
{
    bool refresh = strcmp(kind, "refresh-tokens") == 0;
    (void)snprintf(r->endpoint, sizeof r->endpoint, "%s /oauth/v1/%s/{token}", r->method, kind);
    struct hs_token *t = hs_token_find(app, text);
    if (t == NULL || t->refresh != refresh || t->revoked) {
        if (refresh) {
            bad_refresh(r, true);
        } else {
            (void)sim_hubspot_error(r, "token-invalid");
        }
    } else if (strcmp(r->method, "DELETE") == 0 && refresh) {
        t->revoked = true;
        r->res.status = 204;
    } else {
        json_t *j = info_of(app, t);
        (void)json_object_del(j, "active");
        sim_answer_json(r, 200, j, 0);
    }
}

void hs_oauth_call(struct hs_app *app, struct sim_request *r, char **seg, int n)
{
    bool get = strcmp(r->method, "GET") == 0;
    bool post = strcmp(r->method, "POST") == 0;
    (void)hs_correlation(r);
    if (get && n == 1 && strcmp(seg[0], "authorize") == 0) {
        authorize(app, r, NULL);
    } else if (get && n == 2 && strcmp(seg[1], "authorize") == 0) {
        authorize(app, r, seg[0]);
    } else if (post && n == 2 && strcmp(seg[1], "token") == 0) {
        token(app, r, seg[0]);
    } else if (post && n == 3 && strcmp(seg[1], "token") == 0 &&
               strcmp(seg[2], "introspect") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "POST /oauth/{v}/token/introspect");
        sim_answer_json(r, 200, info_of(app, hs_token_find(app, form_token(r))), 0);
    } else if (post && n == 3 && strcmp(seg[1], "token") == 0 &&
               strcmp(seg[2], "revoke") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "POST /oauth/{v}/token/revoke");
        struct hs_token *t = hs_token_find(app, form_token(r));
        if (t != NULL && t->refresh) {
            t->revoked = true; /* access tokens already issued live on */
        }
        sim_answer_json(r, 200, json_object(), 0);
    } else if (n == 3 && strcmp(seg[0], "v1") == 0 &&
               (strcmp(seg[1], "access-tokens") == 0 ||
                strcmp(seg[1], "refresh-tokens") == 0)) {
        token_v1(app, r, seg[1], seg[2]);
    } else {
        hs_unknown_path(r);
    }
}
