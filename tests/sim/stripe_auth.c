/*
 * Keys: who calls, for which account and mode, and what the key may read. The bodies are those
 * real answers have, the repeated key included.
 */
#include "stripe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct st_key *st_key_find(struct stripe_sim *app, const char *key)
{
    struct st_key *k = NULL;
    HASH_FIND_STR(app->keys, key, k);
    return k;
}

struct st_key *st_key_new(struct stripe_sim *app, const char *key, enum st_key_kind kind,
                          struct st_account *a, bool live)
{
    struct st_key *k = st_key_find(app, key);
    if (k != NULL)
        st_key_free(app, k);
    k = sim_calloc(1, sizeof *k);
    k->key = sim_strdup(key);
    k->kind = kind;
    k->account = a;
    k->live = live;
    HASH_ADD_KEYPTR(hh, app->keys, k->key, strlen(k->key), k);
    return k;
}

void st_key_free(struct stripe_sim *app, struct st_key *k)
{
    HASH_DEL(app->keys, k);
    json_decref(k->permissions);
    free(k->key);
    free(k);
}

/* The user of "Basic base64(user:password)". */
static char *basic_user(const char *text)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct sim_buf out = {0};
    unsigned bits = 0;
    int have = 0;
    for (; *text != '\0' && *text != '='; text++) {
        const char *digit = strchr(digits, *text);
        if (digit == NULL)
            break;
        bits = (bits << 6) | (unsigned)(digit - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            char byte = (char)((bits >> have) & 0xffU);
            if (byte == ':')
                break;
            sim_buf_add(&out, &byte, 1);
        }
    }
    sim_buf_add(&out, "", 0);
    return out.p != NULL ? out.p : sim_strdup("");
}

char *st_bearer(const struct sim_request *r)
{
    const char *auth = sim_header(r, "authorization");
    if (auth == NULL)
        return NULL;
    if (strncasecmp(auth, "Bearer ", 7) == 0) {
        auth += 7;
        while (*auth == ' ')
            auth++;
        return sim_strdup(auth);
    }
    if (strncasecmp(auth, "Basic ", 6) == 0)
        return basic_user(auth + 6);
    return NULL;
}

static size_t prefix_len(const char *key)
{
    static const char *const prefixes[] = {"sk_test_", "sk_live_", "rk_test_",
                                           "rk_live_", "pk_test_", "pk_live_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(key, prefixes[i], 8) == 0)
            return 8;
    }
    return 0;
}

/* "sk_test_************S8wL"; a malformed one comes back in full, as it really does. */
static char *starred(const char *key)
{
    size_t len = strlen(key);
    if (prefix_len(key) == 0 || len < 16)
        return sim_strdup(key);
    struct sim_buf b = {0};
    sim_buf_add(&b, key, 8);
    for (size_t i = 8; i < len - 4; i++)
        sim_buf_adds(&b, "*");
    sim_buf_adds(&b, key + len - 4);
    return b.p;
}

/* "rk_live_***j4va7j" */
static char *shortened(const char *key)
{
    size_t len = strlen(key);
    size_t prefix = prefix_len(key);
    return sim_strf("%.*s***%s", (int)prefix, key, len > prefix + 6 ? key + len - 6 : "");
}

static void answer_invalid(struct st_call *c, const char *key)
{
    char *shown = starred(key);
    st_error(c->r, 401, NULL, NULL, "Invalid API Key provided: %s", shown);
    free(shown);
}

static void answer_no_access(struct st_call *c, const char *account)
{
    char *shown = shortened(c->key->key);
    st_error(c->r, 403, "account_invalid", NULL,
             "The provided key '%s' does not have access to account '%s' (or that account "
             "does not exist). Application access may have been revoked.",
             shown, account);
    free(shown);
}

static bool key_is_good(struct st_call *c, const char *text)
{
    if (strncmp(text, "pk_", 3) == 0) {
        st_error(c->r, 403, "secret_key_required", NULL,
                 "This API call cannot be made with a publishable API key. Please use a secret "
                 "API key. You can find a list of your API keys at "
                 "https://dashboard.stripe.com/account/apikeys.");
        return false;
    }
    c->key = st_key_find(c->app, text);
    if (c->key == NULL) {
        answer_invalid(c, text);
        return false;
    }
    int64_t now_ms = sim_now_ms(c->app->sim);
    if (c->key->expired || (c->key->expires_at_ms > 0 && now_ms >= c->key->expires_at_ms)) {
        char *shown = shortened(text);
        st_error(c->r, 401, "api_key_expired", NULL, "Expired API Key provided: %s", shown);
        free(shown);
        return false;
    }
    if (c->key->revoked) {
        answer_invalid(c, text);
        return false;
    }
    return true;
}

/* Stripe-Account (or Stripe-Context) against what the key may act on. */
static bool choose_account(struct st_call *c)
{
    const char *wanted = sim_header(c->r, "stripe-account");
    if (wanted == NULL)
        wanted = sim_header(c->r, "stripe-context");
    c->account = c->key->account;
    if (wanted != NULL && strcmp(wanted, c->account->id) != 0) {
        struct st_account *a = st_account_find(c->app, wanted);
        if (c->key->kind != ST_KEY_PLATFORM || a == NULL || !a->connected || a->revoked) {
            answer_no_access(c, wanted);
            return false;
        }
        c->account = a;
    }
    if (c->account->revoked && c->key->kind == ST_KEY_TOKEN) {
        if (c->account->settings.revoked_is_401)
            answer_invalid(c, c->key->key);
        else
            answer_no_access(c, c->account->id);
        return false;
    }
    return true;
}

static bool choose_version(struct st_call *c)
{
    c->version = sim_header(c->r, "stripe-version");
    if (c->version == NULL)
        c->version = c->account->api_version;
    if (st_version_known(c->version))
        return true;
    st_error(c->r, 400, NULL, NULL, "Invalid Stripe API version: %s", c->version);
    return false;
}

bool st_authenticate(struct st_call *c)
{
    char *text = st_bearer(c->r);
    if (text == NULL || *text == '\0') {
        free(text);
        st_error(c->r, 401, NULL, NULL,
                 "You did not provide an API key. You need to provide your API key in the "
                 "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer "
                 "YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for "
                 "details, or we can help at https://support.stripe.com/.");
        return false;
    }
    bool good = key_is_good(c, text);
    free(text);
    if (!good || !choose_account(c) || !choose_version(c))
        return false;
    snprintf(c->r->account, sizeof c->r->account, "%s", c->account->id);
    c->mode = st_mode(c->app, c->account, c->key->live);
    c->view =
        (struct st_view){.app = c->app, .mode = c->mode, .shape = st_shape_of(c->version)};
    return true;
}

static bool has_permission(const struct st_key *k, const char *name)
{
    size_t i = 0;
    json_t *one = NULL;
    if (k->permissions == NULL)
        return true;
    json_array_foreach(k->permissions, i, one)
    {
        const char *text = json_string_value(one);
        if (text != NULL && (strcmp(text, name) == 0 || strcmp(text, "*") == 0))
            return true;
    }
    return false;
}

bool st_permitted(struct st_call *c, const struct st_class *cls, bool write)
{
    char name[64];
    char words[96];
    snprintf(name, sizeof name, "%s", cls->permission);
    snprintf(words, sizeof words, "%s", cls->permission_name);
    char *tail = strstr(name, "_read");
    if (write && tail != NULL) {
        memcpy(tail, "_write", 7);
        tail = strstr(words, " Read");
        if (tail != NULL)
            memcpy(tail, " Write", 7);
    }
    if (!c->account->settings.enforce_permissions || has_permission(c->key, name))
        return true;
    /* A key that may write may read. */
    char writes[64];
    snprintf(writes, sizeof writes, "%.*s_write", (int)(strlen(cls->permission) - 5),
             cls->permission);
    if (!write && has_permission(c->key, writes))
        return true;
    char *shown = shortened(c->key->key);
    st_error(c->r, 403, "more_permissions_required", NULL,
             "Permission denied. The provided key '%s' does not have the required permissions "
             "for this endpoint on account '%s'. Enabling \"%s\" ('%s') permissions on this "
             "key would allow this request to continue.",
             shown, c->account->id, words, name);
    free(shown);
    return false;
}

bool st_limit(struct st_call *c, bool search)
{
    const struct st_settings *s = &c->account->settings;
    const char *mode = c->key->live ? "live" : "test";
    char global[160];
    char endpoint[320];
    snprintf(global, sizeof global, "stripe:%s:%s:global", c->account->id, mode);
    snprintf(endpoint, sizeof endpoint, "stripe:%s:%s:%s", c->account->id, mode,
             c->r->endpoint);
    const struct sim_limit limits[] = {
        {global, c->key->live ? s->limit_global_live : s->limit_global_test, 1000},
        {endpoint, search ? s->limit_search : s->limit_endpoint, 1000},
    };
    const struct sim_limit *refused = sim_limits_take(c->app->sim, limits, 2);
    if (refused == NULL)
        return true;
    st_error(c->r, 429, "rate_limit", NULL,
             "Request rate limit exceeded. You can learn more about rate limits here "
             "https://stripe.com/docs/rate-limits.");
    sim_answer_header(c->r, "Stripe-Rate-Limited-Reason: %s",
                      refused == &limits[0] ? "global-rate" : "endpoint-rate");
    if (s->retry_after_on_429)
        sim_answer_header(c->r, "Retry-After: 1");
    return false;
}
