/* Three ways of being known; of each the database, or the proxy, says what one may do. Only
 * hashes are stored. Wrong tokens are counted by address: ten in five minutes, then it waits.
 */
#include "admin/session.h"

#include "common/clock.h"
#include "common/sign.h"
#include "core/oauth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WRONG_MAX = 10,
    WRONG_ALL_MAX = 200, /* from everywhere together */
    WRONG_WINDOW_MS = 5 * 60 * 1000,
    ADDRESSES = 256, /* remembered; the oldest makes room */
    BASE_MAX_BYTES = 1024,
};

static const char cookie_plain[] = "psync_session";
static const char cookie_secure[] = "__Host-psync_session";

struct wrong {
    char peer[NET_ADDRESS_TEXT_BYTES];
    int64_t since_ms;
    int count;
};

struct sessions {
    struct app *app;
    const char *identity_header; /* "" = no proxy is asked */
    enum access_role identity_role;
    bool secure;               /* browsers come by https */
    char base[BASE_MAX_BYTES]; /* ADMIN_PUBLIC_URL: scheme, host, port; "" = unknown */
    struct wrong wrong[ADDRESSES], all;
};

struct sessions *sessions_new(struct app *app, struct err *err)
{
    struct sessions *s = calloc(1, sizeof *s);
    if (s == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    s->app = app;
    s->identity_header = config_text(app->config, SETTING_ADMIN_IDENTITY_HEADER);
    s->identity_role = access_role_find(config_text(app->config, SETTING_ADMIN_IDENTITY_ROLE));
    if (config_is_set(app->config, SETTING_ADMIN_PUBLIC_URL)) {
        const char *url = config_text(app->config, SETTING_ADMIN_PUBLIC_URL);
        const char *host = strstr(url, "://");
        size_t len = host != NULL ? (size_t)(host + 3 - url) + strcspn(host + 3, "/") : 0;
        (void)snprintf(s->base, sizeof s->base, "%.*s", (int)len, url);
        s->secure = strncmp(url, "https://", 8) == 0;
    }
    return s;
}

void sessions_free(struct sessions *s)
{
    free(s);
}

/* ---- wrong tokens ---- */

static struct wrong *wrong_of(struct sessions *s, const char *peer, int64_t now_ms)
{
    struct wrong *oldest = &s->wrong[0];
    for (size_t i = 0; i < ADDRESSES; i++) {
        struct wrong *w = &s->wrong[i];
        if (strcmp(w->peer, peer) == 0) {
            return w;
        }
        oldest = w->since_ms < oldest->since_ms ? w : oldest;
    }
    *oldest = (struct wrong){.since_ms = now_ms};
    (void)snprintf(oldest->peer, sizeof oldest->peer, "%s", peer);
    return oldest;
}

static void wrong_expire(struct wrong *w, int64_t now_ms)
{
    if (now_ms - w->since_ms > WRONG_WINDOW_MS) {
        w->since_ms = now_ms;
        w->count = 0;
    }
}

/* May this address try (again)? A good token is refused too while it may not: else the answer
 * would tell. */
static int wrong_check(struct sessions *s, const char *peer, struct err *err)
{
    int64_t now_ms = clock_mono_ms();
    struct wrong *w = wrong_of(s, peer, now_ms);
    wrong_expire(w, now_ms);
    wrong_expire(&s->all, now_ms);
    if (w->count >= WRONG_MAX || s->all.count >= WRONG_ALL_MAX) {
        err_set(err, ERR_RATE_LIMITED, "too many wrong tokens; try again in five minutes");
        return -1;
    }
    return 0;
}

static void wrong_count(struct sessions *s, const char *peer)
{
    struct wrong *w = wrong_of(s, peer, clock_mono_ms());
    w->count++;
    s->all.count++;
    log_warn(s->app->log, "admin.wrong_token", "a wrong token came from %s (%d)", peer,
             w->count);
}

static int token_check(struct sessions *s, const char *token, const char *peer,
                       struct access *out, struct err *err)
{
    if (wrong_check(s, peer, err) != 0) {
        return -1;
    }
    if (access_check(s->app->store, token, out, err) == 0) {
        return 0;
    }
    if (err->code == ERR_DENIED) {
        wrong_count(s, peer);
        err->code = ERR_AUTH;
    }
    return -1;
}

/* ---- what a request shows ---- */

bool session_cookie(struct http_exchange *x, const char *name, char *out, size_t out_bytes)
{
    size_t name_len = strlen(name);
    out[0] = '\0';
    for (const char *at = http_exchange_header(x, "Cookie"); at != NULL && *at != '\0';) {
        at += strspn(at, "; ");
        size_t len = strcspn(at, ";");
        if (len > name_len && strncmp(at, name, name_len) == 0 && at[name_len] == '=' &&
            len - name_len - 1 < out_bytes) {
            (void)snprintf(out, out_bytes, "%.*s", (int)(len - name_len - 1),
                           at + name_len + 1);
            return true;
        }
        at += len;
    }
    return false;
}

void session_claim_read(const struct sessions *s, struct http_exchange *x,
                        struct session_claim *out)
{
    const char *header = http_exchange_header(x, "Authorization");
    *out = (struct session_claim){0};
    (void)snprintf(out->peer, sizeof out->peer, "%s", http_exchange_peer(x));
    if (header != NULL && strncasecmp(header, "Bearer ", 7) == 0) {
        (void)snprintf(out->token, sizeof out->token, "%s", header + 7);
        return;
    }
    if (session_cookie(x, s->secure ? cookie_secure : cookie_plain, out->session,
                       sizeof out->session)) {
        out->by_cookie = true;
        return;
    }
    const char *who = s->identity_header[0] != '\0' && http_exchange_from_proxy(x)
                          ? http_exchange_header(x, s->identity_header)
                          : NULL;
    if (who != NULL && who[0] != '\0') {
        out->by_cookie = true;
        (void)snprintf(out->identity, sizeof out->identity, "%s", who);
    }
}

static void session_hash(const char *text, unsigned char out[SIGN_SHA256_BYTES])
{
    sign_sha256(slice_of(text), out);
}

static int session_find(struct sessions *s, const char *text, struct access *out,
                        struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    unsigned char hash[SIGN_SHA256_BYTES];
    *out = (struct access){0};
    session_hash(text, hash);
    params_bytea(p, hash, sizeof hash);
    if (store_query(s->app->store,
                    "SELECT t.token_id, t.role, t.name FROM psync.admin_session n"
                    " JOIN psync.admin_token t USING (token_id) WHERE n.session_hash = $1"
                    "   AND n.expires_at > now() AND t.revoked_at IS NULL",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_AUTH, "you are signed out; sign in again");
        return -1;
    }
    access_of_row(r, out);
    return 0;
}

int session_who(struct sessions *s, const struct session_claim *claim, struct access *out,
                struct err *err)
{
    if (claim->token[0] != '\0') {
        return token_check(s, claim->token, claim->peer, out, err);
    }
    if (claim->session[0] != '\0') {
        return session_find(s, claim->session, out, err);
    }
    *out = (struct access){0};
    if (claim->identity[0] != '\0') {
        out->role = s->identity_role;
        (void)snprintf(out->name, sizeof out->name, "%s", claim->identity);
        return 0;
    }
    err_set(err, ERR_AUTH, "sign in first, with a token of `pivotal-sync token create`");
    return -1;
}

/* ---- in and out ---- */

static void cookie_write(const struct sessions *s, const char *text, int life_s,
                         char cookie[256])
{
    (void)snprintf(cookie, 256, "%s=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%d%s",
                   s->secure ? cookie_secure : cookie_plain, text, life_s,
                   s->secure ? "; Secure" : "");
}

int session_begin(struct sessions *s, const char *token, const char *peer, struct access *out,
                  char cookie[256], struct err *err)
{
    unsigned char hash[SIGN_SHA256_BYTES];
    char text[SIGN_NONCE_BYTES];
    CLEANUP(params_freep) struct params *p = params_new();
    if (token_check(s, token, peer, out, err) != 0 || sign_nonce(text, err) != 0) {
        return -1;
    }
    session_hash(text, hash);
    params_bytea(p, hash, sizeof hash);
    params_int(p, out->token_id);
    params_int(p, SESSION_LIFE_S);
    params_text(p, out->name);
    params_text(p, peer);
    /* Whoever signs in clears away what is over. */
    int rc = store_query(
        s->app->store,
        "WITH gone AS (DELETE FROM psync.admin_session"
        "   WHERE expires_at < now()),"
        " noted AS (INSERT INTO psync.audit (actor, actor_kind, action,"
        "   target, detail) VALUES (coalesce(nullif($4, ''), 'token ' || $2::bigint),"
        "   'page', 'session.begin', 'token ' || $2::bigint,"
        "   jsonb_build_object('address', $5::text)))"
        " INSERT INTO psync.admin_session (session_hash, token_id, expires_at)"
        " VALUES ($1, $2::bigint,"
        "   now() + make_interval(secs => $3::double precision))",
        p, NULL, err);
    if (rc == 0) {
        cookie_write(s, text, SESSION_LIFE_S, cookie);
    }
    explicit_bzero(text, sizeof text);
    return rc;
}

int session_end(struct sessions *s, const struct session_claim *claim, char cookie[256],
                struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    unsigned char hash[SIGN_SHA256_BYTES];
    cookie_write(s, "", 0, cookie);
    session_hash(claim->session, hash);
    params_bytea(p, hash, sizeof hash);
    return store_query(s->app->store,
                       "WITH gone AS (DELETE FROM psync.admin_session WHERE session_hash = $1"
                       "   RETURNING token_id)"
                       " INSERT INTO psync.audit (actor, actor_kind, action, target)"
                       " SELECT coalesce(nullif(t.name, ''), 'token ' || token_id), 'page',"
                       "   'session.end', 'token ' || token_id"
                       " FROM gone JOIN psync.admin_token t USING (token_id)",
                       p, NULL, err);
}

/* ---- where a request comes from ---- */

/* Host and port of "scheme://host:port". */
static const char *after_scheme(const char *url)
{
    const char *host = strstr(url, "://");
    return host != NULL ? host + 3 : "";
}

bool session_is_same_site(const struct sessions *s, struct http_exchange *x, bool by_cookie,
                          const char **why)
{
    const char *site = http_exchange_header(x, "Sec-Fetch-Site");
    const char *origin = http_exchange_header(x, "Origin");
    const char *host = http_exchange_header(x, "Host");
    const char *method = http_exchange_method(x);
    bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    *why = "this request comes from another site";
    if (site != NULL && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0) {
        return false;
    }
    if (origin != NULL && strcmp(origin, s->base) != 0 &&
        (host == NULL || strcasecmp(after_scheme(origin), host) != 0)) {
        return false;
    }
    *why =
        "a change needs the header X-Pivotal-Sync: 1, which no form of another site can send";
    return reads || !by_cookie || http_exchange_header(x, "X-Pivotal-Sync") != NULL;
}
