/* The state is 32 random bytes, and so is what the browser keeps that began the walk. Only the
 * SHA-256 of both together is kept: who reads the table cannot end somebody's walk, and a state
 * that was carried to another browser finds nothing. Taking it is one DELETE ... RETURNING: of
 * two returns with the same state one finds nothing. */
#include "core/oauth.h"

#include "common/sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WALK_LIFE_S = 30 * 60,
    WALKS_MAX = 20, /* of one connection at a time; the oldest give way */
    URL_MAX_BYTES = 4096,
};

static void oauth_hash(const char *state, const char *browser,
                       unsigned char out[SIGN_SHA256_BYTES])
{
    char both[2 * SIGN_NONCE_BYTES];
    (void)snprintf(both, sizeof both, "%s.%s", state, browser);
    sign_sha256(slice_of(both), out);
    explicit_bzero(both, sizeof both);
}

/* ---- addresses ---- */

int oauth_base(const struct config *config, struct buf *out, struct err *err)
{
    const char *at = config_text(config, SETTING_ADMIN_LISTEN);
    const char *port = strrchr(at, ':');
    if (config_is_set(config, SETTING_ADMIN_PUBLIC_URL)) {
        return buf_add_str(out, config_text(config, SETTING_ADMIN_PUBLIC_URL));
    }
    static const char *const nowhere[] = {"unix:", "*", "0.0.0.0:", "[::]:"};
    bool named = port != NULL && strcmp(port, ":0") != 0;
    for (size_t i = 0; i < COUNT_OF(nowhere); i++) {
        named = named && strncmp(at, nowhere[i], strlen(nowhere[i])) != 0;
    }
    if (!named) {
        err_set(err, ERR_CONFIG,
                "ADMIN_PUBLIC_URL is not set: browsers must find the admin program to come "
                "back to after signing in");
        return -1;
    }
    return buf_printf(out, "http://%s", at);
}

int oauth_start_url(const struct config *config, const char *provider, const char *workspace,
                    const char *mode, struct buf *out, struct err *err)
{
    const char *const query[][2] = {{"workspace", workspace}, {"mode", mode}};
    char separator = '?';
    if (oauth_base(config, out, err) != 0) {
        return -1;
    }
    (void)buf_printf(out, "/oauth/%s/start", provider);
    for (size_t i = 0; i < COUNT_OF(query); i++) {
        if (query[i][1] == NULL || query[i][1][0] == '\0') {
            continue;
        }
        (void)buf_printf(out, "%c%s=", separator, query[i][0]);
        (void)http_escape(out, query[i][1]);
        separator = '&';
    }
    if (out->failed) {
        err_set(err, ERR_INVALID, "the URL is too long");
        return -1;
    }
    return 0;
}

/* "" when the person set none: then the provider knows the right one for its kind of OAuth. */
static const char *oauth_authorize_base(const struct config *config, const char *provider)
{
    static const struct {
        const char *provider;
        enum setting setting;
    } settings[] = {
        {"hubspot", SETTING_HUBSPOT_AUTHORIZE_URL},
        {"stripe", SETTING_STRIPE_AUTHORIZE_URL},
    };
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        if (strcmp(settings[i].provider, provider) == 0 &&
            config_is_set(config, settings[i].setting)) {
            return config_text(config, settings[i].setting);
        }
    }
    return "";
}

/* ---- the start ---- */

/* The connection that a start names, its row made if need be. */
static struct connection *oauth_target(struct app *app, const char *provider,
                                       const char *workspace, const char *mode, struct err *err)
{
    char name[32];
    const char *colon = strchr(provider, ':');
    int64_t connection_id = 0;
    bool existed = false;
    if (provider[0] != '\0' && strspn(provider, "0123456789") == strlen(provider)) {
        return connection_load(app->store, app->seal, strtoll(provider, NULL, 10), err);
    }
    snprintf(name, sizeof name, "%.*s",
             colon != NULL ? (int)(colon - provider) : (int)sizeof name - 1, provider);
    const struct provider *p = provider_find(name);
    if (p == NULL) {
        err_set(err, ERR_NOT_FOUND, "'%s' is not a provider", provider);
        return NULL;
    }
    /* Our secret decides the mode of every token that the walk can bring. */
    struct connection blank = {.provider = p,
                               .account_id = (char[]){""},
                               .mode = (char[]){""},
                               .access_token = (char[]){""},
                               .refresh_token = (char[]){""},
                               .scope_kind = (char[]){""},
                               .scope_id = (char[]){""}};
    struct app_scratch scratch;
    struct provider_conn pc;
    app_provider_conn(app, &blank, &scratch, &pc);
    const char *ours = pc.client_secret[0] != '\0' ? p->token_mode(pc.client_secret) : NULL;
    ours = ours != NULL ? ours : "live";
    explicit_bzero(scratch.client_secret, sizeof scratch.client_secret);
    const char *wanted = colon != NULL ? colon + 1 : mode;
    if (wanted != NULL && wanted[0] != '\0' && strcmp(wanted, ours) != 0) {
        err_set(err, ERR_INVALID, "mode '%s' cannot be connected: our %s app is %s", wanted,
                p->title, ours);
        return NULL;
    }
    if (connect_row(app, workspace, p->name, ours, &connection_id, &existed, err) != 0) {
        return NULL;
    }
    return connection_load(app->store, app->seal, connection_id, err);
}

static int oauth_keep(struct app *app, const struct connection *c, const char *state,
                      const char *browser, const char *redirect_uri, const struct actor *who,
                      struct err *err)
{
    unsigned char hash[SIGN_SHA256_BYTES];
    CLEANUP(params_freep) struct params *p = params_new();
    oauth_hash(state, browser, hash);
    params_bytea(p, hash, sizeof hash);
    params_int(p, c->connection_id);
    params_text(p, redirect_uri);
    params_text(p, who->name);
    params_int(p, WALK_LIFE_S);
    params_int(p, WALKS_MAX - 1);
    return store_query(app->store,
                       "WITH gone AS (DELETE FROM psync.oauth_state WHERE nonce_hash IN ("
                       "   SELECT nonce_hash FROM psync.oauth_state WHERE connection_id = $2"
                       "   ORDER BY expires_at DESC OFFSET $6))"
                       " INSERT INTO psync.oauth_state"
                       "   (nonce_hash, connection_id, redirect_uri, actor, expires_at)"
                       " VALUES ($1, $2, $3, $4,"
                       "   now() + make_interval(secs => $5::double precision))",
                       p, NULL, err);
}

int oauth_begin(struct app *app, const char *provider, const char *workspace, const char *mode,
                const struct actor *who, struct buf *location, char browser[SIGN_NONCE_BYTES],
                struct err *err)
{
    char state[SIGN_NONCE_BYTES];
    struct app_scratch scratch;
    struct provider_conn pc;
    struct buf uri;
    int rc = -1;
    CLEANUP(connection_freep)
    struct connection *c = oauth_target(app, provider, workspace, mode, err);
    if (c == NULL) {
        return -1;
    }
    buf_init(&uri, URL_MAX_BYTES);
    if (sign_nonce(state, err) != 0 || sign_nonce(browser, err) != 0 ||
        oauth_base(app->config, &uri, err) != 0) {
        goto done;
    }
    (void)buf_printf(&uri, "/oauth/%s/callback", c->provider->name);
    if (uri.failed) {
        err_set(err, ERR_CONFIG, "ADMIN_PUBLIC_URL is too long");
        goto done;
    }
    app_provider_conn(app, c, &scratch, &pc);
    rc = c->provider->authorize_url(&pc, oauth_authorize_base(app->config, c->provider->name),
                                    buf_text(&uri), state, location, err);
    explicit_bzero(scratch.client_secret, sizeof scratch.client_secret);
    if (rc == 0) {
        rc = oauth_keep(app, c, state, browser, buf_text(&uri), who, err);
    }
done:
    explicit_bzero(state, sizeof state);
    buf_release(&uri);
    return rc;
}

/* ---- the return ---- */

int oauth_take(struct app *app, const char *provider, const char *state, const char *browser,
               struct oauth_walk *out, struct err *err)
{
    unsigned char hash[SIGN_SHA256_BYTES];
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    memset(out, 0, sizeof *out);
    /* Else a long state with a short rest could be put together to what another pair was. */
    if (strlen(state) != SIGN_NONCE_BYTES - 1 || strlen(browser) != SIGN_NONCE_BYTES - 1) {
        return 0;
    }
    oauth_hash(state, browser, hash);
    params_bytea(p, hash, sizeof hash);
    params_text(p, provider);
    if (store_query(
            app->store,
            "DELETE FROM psync.oauth_state s USING psync.connection c, psync.workspace w"
            " WHERE s.nonce_hash = $1 AND s.expires_at > now()"
            "   AND c.connection_id = s.connection_id AND c.provider = $2"
            "   AND w.workspace_id = c.workspace_id"
            " RETURNING c.connection_id, w.name, c.mode, s.actor, s.redirect_uri",
            p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        return 0;
    }
    out->connection_id = rows_int(r, 0, 0);
    snprintf(out->workspace, sizeof out->workspace, "%s", rows_text(r, 0, 1));
    snprintf(out->mode, sizeof out->mode, "%s", rows_text(r, 0, 2));
    snprintf(out->actor, sizeof out->actor, "%s", rows_text(r, 0, 3));
    snprintf(out->redirect_uri, sizeof out->redirect_uri, "%s", rows_text(r, 0, 4));
    return 1;
}

void oauth_leave(struct app *app, const struct oauth_walk *w)
{
    struct err err = {0};
    CLEANUP(params_freep) struct params *p = params_new();
    if (w->connection_id == 0) {
        return;
    }
    params_int(p, w->connection_id);
    if (store_query(app->store,
                    "DELETE FROM psync.connection c WHERE connection_id = $1"
                    "   AND state = 'disconnected' AND account_id = ''"
                    "   AND NOT EXISTS (SELECT FROM psync.oauth_state s"
                    "     WHERE s.connection_id = c.connection_id AND s.expires_at > now())",
                    p, NULL, &err) != 0) {
        log_warn(app->log, "oauth.leave", "a connection that never was is left: %s", err.msg);
    }
}
