/* The two addresses of the OAuth walk. A request waits for PostgreSQL and the provider, so each
 * has a task of its own; what it says is one page.
 *
 * The return comes from another site, so the session's cookie (SameSite=Strict) is not with it.
 * A cookie of the walk's own is: "p." or "s." (begun on the page, or at the start address) and
 * the text that oauth_begin() gave. Else somebody could have another person's browser end a
 * walk of theirs, and so connect an account of their own here. */
#include "admin/admin.h"

#include "admin/page.h"
#include "common/task.h"
#include "core/oauth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    IN_FLIGHT_MAX = 64,
    NAME_MAX_BYTES = 128,
    CODE_MAX_BYTES = 2048,
    LOCATION_MAX_BYTES = 8192,
    RETRY_AFTER_S = 10,
    COOKIE_LIFE_S = 30 * 60,
};

struct oauth_pages {
    struct app *app;
    struct sessions *sessions;
    struct metric_family *walks; /* by provider and end */
    int in_flight;
};

/* One request; its texts are copied out of the exchange before the task waits. */
struct walk {
    struct oauth_pages *oauth;
    struct http_exchange *x;
    char provider[NAME_MAX_BYTES];
    char workspace[NAME_MAX_BYTES], mode[16];               /* start */
    char state[NAME_MAX_BYTES], code[CODE_MAX_BYTES];       /* callback */
    char error[NAME_MAX_BYTES], error_text[CODE_MAX_BYTES]; /* callback, of the provider */
    char browser[SIGN_NONCE_BYTES];                         /* callback: what it shows */
    struct session_claim claim;                             /* start: who is asking */
    bool from_page;                                         /* callback: and goes back there */
};

static const char *title_of(const struct walk *w)
{
    const struct provider *p = provider_find(w->provider);
    return p != NULL ? p->title : "The provider";
}

static void count(const struct walk *w, const char *end)
{
    const struct provider *p = provider_find(w->provider);
    metric_inc(METRIC(w->oauth->walks, p != NULL ? p->name : "other", end));
}

static void walk_free(struct walk *w)
{
    explicit_bzero(w->code, sizeof w->code);
    explicit_bzero(w->browser, sizeof w->browser);
    explicit_bzero(&w->claim, sizeof w->claim);
    w->oauth->in_flight--;
    free(w);
}

/* ---- the cookie of a walk ---- */

static const char *cookie_name(const struct config *config)
{
    bool secure = config_is_set(config, SETTING_ADMIN_PUBLIC_URL) &&
                  strncmp(config_text(config, SETTING_ADMIN_PUBLIC_URL), "https://", 8) == 0;
    return secure ? "__Host-psync_walk" : "psync_walk";
}

void oauth_pages_keep(const struct config *config, struct http_exchange *x, const char *browser,
                      bool from_page)
{
    char cookie[256];
    const char *name = cookie_name(config);
    (void)snprintf(
        cookie, sizeof cookie, "%s=%s%s; Path=/; HttpOnly; SameSite=Lax; Max-Age=%d%s", name,
        from_page ? "p." : "s.", browser, COOKIE_LIFE_S, name[0] == '_' ? "; Secure" : "");
    (void)http_exchange_set_header(x, "Set-Cookie", cookie);
    explicit_bzero(cookie, sizeof cookie);
}

/* What the browser shows; "" when that is nothing of ours. */
static void cookie_take(struct walk *w)
{
    char text[SIGN_NONCE_BYTES + 2];
    w->browser[0] = '\0';
    if (session_cookie(w->x, cookie_name(w->oauth->app->config), text, sizeof text) &&
        (strncmp(text, "p.", 2) == 0 || strncmp(text, "s.", 2) == 0)) {
        w->from_page = text[0] == 'p';
        (void)snprintf(w->browser, sizeof w->browser, "%s", text + 2);
    }
    explicit_bzero(text, sizeof text);
}

/* ---- pages ---- */

static void link_to_start(const struct walk *w, const char *workspace, const char *mode,
                          struct page *p)
{
    struct err err = {0};
    buf_clear(&p->link);
    if (oauth_start_url(w->oauth->app->config, w->provider, workspace, mode, &p->link, &err) !=
        0) {
        buf_clear(&p->link);
    }
    p->link_text = "Begin again";
}

/* What went wrong on our side or the provider's, by its kind. */
static void answer_failure(const struct walk *w, const char *workspace, const char *mode,
                           const struct err *err)
{
    static const struct {
        enum err_code code;
        int status;
        const char *title, *say;
    } kinds[] = {
        {ERR_NOT_FOUND, 404, "Not found", "Check the address."},
        {ERR_INVALID, 400, "This cannot be connected", "Check the address."},
        {ERR_CONFIG, 500, "The settings are not complete",
         "Whoever runs pivotal-sync has to mend this; nothing was changed."},
        {ERR_AUTH, 403, "Sign-in was refused",
         "The connection is as it was. Begin again and sign in once more."},
        {ERR_DENIED, 409, "This is another account",
         "Nothing was changed. Begin again and choose the account of this connection."},
        {ERR_UNAVAILABLE, 503, "Not now", "A service is away. Begin again in a moment."},
        {ERR_TEMPORARY, 503, "Not now", "Nothing was changed. Begin again in a moment."},
        {ERR_RATE_LIMITED, 503, "Not now", "Nothing was changed. Begin again in a moment."},
        {ERR_TIMEOUT, 503, "Not now", "Nothing was changed. Begin again in a moment."},
    };
    struct page page;
    page_init(&page);
    page.status = 500;
    page.title = "This did not work";
    const char *say = "Begin again; if it stays so, the log of pivotal-sync-admin says more.";
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        if (kinds[i].code == err->code) {
            page.status = kinds[i].status;
            page.title = kinds[i].title;
            say = kinds[i].say;
        }
    }
    page_line(&page, "%s: %s.", title_of(w), err->msg);
    page_line(&page, "%s", say);
    if (page.status == 503) {
        char seconds[16];
        (void)snprintf(seconds, sizeof seconds, "%d", RETRY_AFTER_S);
        (void)http_exchange_set_header(w->x, "Retry-After", seconds);
    }
    if (err->code != ERR_NOT_FOUND && err->code != ERR_INVALID) {
        link_to_start(w, workspace, mode, &page);
    }
    log_warn(w->oauth->app->log, "oauth.failed", "%s: %s", w->provider, err->msg);
    page_answer(w->x, &page);
    page_release(&page);
}

static void answer_plain(struct http_exchange *x, int status, const char *title,
                         const char *line)
{
    struct page page;
    page_init(&page);
    page.status = status;
    page.title = title;
    page_line(&page, "%s", line);
    page_answer(x, &page);
    page_release(&page);
}

/* ---- start ---- */

/* Only an admin connects. Whoever is not signed in does so first and comes back here. */
static bool start_allowed(struct walk *w, struct access *who)
{
    struct err err = {0};
    if (session_who(w->oauth->sessions, &w->claim, who, &err) == 0) {
        if (who->role == ACCESS_ADMIN) {
            return true;
        }
        count(w, "not_allowed");
        answer_plain(w->x, 403, "This needs the role admin",
                     "Connecting a provider is for admins. Ask one of them, or sign in with a "
                     "token of that role.");
    } else if (err.code == ERR_AUTH) {
        struct buf location;
        buf_init(&location, LOCATION_MAX_BYTES);
        (void)buf_add_str(&location, "/admin/sign-in?then=");
        for (const char *at = http_exchange_target(w->x); *at != '\0'; at++) {
            bool plain = (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') ||
                         strchr("/_-", *at) != NULL;
            (void)buf_printf(&location, plain ? "%c" : "%%%02X", (unsigned char)*at);
        }
        (void)http_exchange_set_header(w->x, "Location", buf_text(&location));
        (void)http_exchange_set_header(w->x, "Cache-Control", "no-store");
        http_answer(w->x, 303, NULL, NULL, 0);
        buf_release(&location);
    } else {
        answer_failure(w, w->workspace, w->mode, &err);
    }
    return false;
}

static void start_task(void *arg)
{
    struct walk *w = arg;
    struct access access;
    struct err err = {0};
    struct buf location;
    char browser[SIGN_NONCE_BYTES];
    if (!start_allowed(w, &access)) {
        walk_free(w);
        return;
    }
    const struct actor who = {.name = access.name[0] != '\0' ? access.name : "admin page",
                              .kind = "page"};
    buf_init(&location, LOCATION_MAX_BYTES);
    if (oauth_begin(w->oauth->app, w->provider, w->workspace, w->mode, &who, &location, browser,
                    &err) != 0) {
        count(w, "not_begun");
        answer_failure(w, w->workspace, w->mode, &err);
    } else {
        count(w, "begun");
        oauth_pages_keep(w->oauth->app->config, w->x, browser, false);
        (void)http_exchange_set_header(w->x, "Location", buf_text(&location));
        (void)http_exchange_set_header(w->x, "Cache-Control", "no-store");
        (void)http_exchange_set_header(w->x, "Referrer-Policy", "no-referrer");
        http_answer(w->x, 302, NULL, NULL, 0);
    }
    explicit_bzero(browser, sizeof browser);
    buf_wipe(&location);
    walk_free(w);
}

/* ---- callback ---- */

static void answer_connected(const struct walk *w, const struct oauth_walk *walk,
                             const struct connect_result *r)
{
    struct page page;
    char title[64];
    if (w->from_page) {
        char back[96];
        (void)snprintf(back, sizeof back, "/admin/integrations/%lld?walk=connected",
                       (long long)walk->connection_id);
        (void)http_exchange_set_header(w->x, "Location", back);
        (void)http_exchange_set_header(w->x, "Cache-Control", "no-store");
        http_answer(w->x, 303, NULL, NULL, 0);
        return;
    }
    (void)snprintf(title, sizeof title, "%s is connected", title_of(w));
    page_init(&page);
    page.title = title;
    page_line(&page, "Workspace %s now reads account %s%s%s (%s).", walk->workspace, r->account,
              r->name[0] != '\0' ? ", " : "", r->name, r->mode);
    if (r->released > 0) {
        page_line(&page,
                  r->released == 1 ? "%lld waiting change is being applied."
                                   : "%lld waiting changes are being applied.",
                  (long long)r->released);
    }
    if (r->run_id > 0) {
        page_line(&page, "Full sync %lld has started.", (long long)r->run_id);
    } else if (!r->existed) {
        page_line(&page, "Next: choose what is mirrored (pivotal-sync scope set).");
    } else {
        page_line(&page, "Sync goes on by itself; what changed meanwhile is being caught up.");
    }
    page_answer(w->x, &page);
    page_release(&page);
}

static void answer_other_account(const struct walk *w, const struct oauth_walk *walk,
                                 const struct connect_result *r)
{
    struct page page;
    page_init(&page);
    page.status = 409;
    page.title = "This is another account";
    page_line(&page, "You signed in to account %s%s%s, but this connection belongs to %s%s%s.",
              r->account, r->name[0] != '\0' ? ", " : "", r->name, r->bound,
              r->bound_name[0] != '\0' ? ", " : "", r->bound_name);
    page_line(&page, "Nothing was changed. Begin again and choose account %s (%s).", r->bound,
              "auth_account_mismatch");
    link_to_start(w, walk->workspace, walk->mode, &page);
    log_warn(w->oauth->app->log, "oauth.other_account",
             "connection %lld: signed in to account %s instead of %s",
             (long long)walk->connection_id, r->account, r->bound);
    page_answer(w->x, &page);
    page_release(&page);
}

static void answer_denied(const struct walk *w, const struct oauth_walk *walk)
{
    struct page page;
    bool denied = strcmp(w->error, "access_denied") == 0;
    page_init(&page);
    page.status = denied ? 403 : 400;
    page.title = denied ? "Consent was not given" : "Sign-in did not end well";
    page_line(&page, "%s answered %s%s%s. The connection is as it was.", title_of(w), w->error,
              w->error_text[0] != '\0' ? ": " : "", w->error_text);
    link_to_start(w, walk->workspace, walk->mode, &page);
    page_answer(w->x, &page);
    page_release(&page);
}

static void finish(struct walk *w, const struct oauth_walk *walk)
{
    struct app *app = w->oauth->app;
    struct connect_result result;
    struct err err = {0};
    const struct actor who = {.name = walk->actor, .kind = "page"};
    if (connect_oauth(app, walk->connection_id, w->code, walk->redirect_uri, &who, &result,
                      &err) == 0) {
        count(w, "connected");
        log_info(app->log, "oauth.connected", "connection %lld: %s account %s",
                 (long long)walk->connection_id, w->provider, result.account);
        answer_connected(w, walk, &result);
        return;
    }
    oauth_leave(app, walk);
    if (err.code == ERR_DENIED && result.account[0] != '\0' && result.bound[0] != '\0') {
        count(w, "other_account");
        answer_other_account(w, walk, &result);
    } else {
        count(w, "failed");
        answer_failure(w, walk->workspace, walk->mode, &err);
    }
}

static void callback_task(void *arg)
{
    struct walk *w = arg;
    struct oauth_walk walk;
    struct err err = {0};
    int found = oauth_take(w->oauth->app, w->provider, w->state, w->browser, &walk, &err);
    if (found < 0) {
        count(w, "failed");
        answer_failure(w, NULL, NULL, &err);
    } else if (found == 0) {
        count(w, "unknown_state");
        answer_plain(w->x, 400, "This sign-in is over",
                     "It was used already, took longer than half an hour, or began in another "
                     "browser or under another address. Nothing was changed. Begin again from "
                     "the start.");
    } else if (w->error[0] != '\0') {
        count(w, "denied");
        oauth_leave(w->oauth->app, &walk);
        answer_denied(w, &walk);
    } else if (w->code[0] == '\0') {
        count(w, "no_code");
        oauth_leave(w->oauth->app, &walk);
        answer_plain(w->x, 400, "The code is missing",
                     "The provider sent you back without a code. Nothing was changed. Begin "
                     "again from the start.");
    } else {
        finish(w, &walk);
    }
    walk_free(w);
}

/* ---- requests ---- */

static struct walk *walk_new(struct oauth_pages *o, struct http_exchange *x)
{
    struct walk *w = o->in_flight < IN_FLIGHT_MAX ? calloc(1, sizeof *w) : NULL;
    if (w == NULL) {
        answer_plain(x, 503, "Not now", "Too much is going on. Begin again in a moment.");
        return NULL;
    }
    w->oauth = o;
    w->x = x;
    o->in_flight++;
    (void)snprintf(w->provider, sizeof w->provider, "%s", http_exchange_hole(x, 0));
    return w;
}

/* A parameter into out; -1 when it is there and cannot be used. */
static int take_query(struct http_exchange *x, const char *name, char *out, size_t out_bytes)
{
    out[0] = '\0';
    if (http_exchange_query(x, name, out, out_bytes) != NULL) {
        return 0;
    }
    out[0] = '\0';
    /* Absent and too long look alike: the name in the query tells. */
    const char *query = strchr(http_exchange_target(x), '?');
    size_t len = strlen(name);
    for (const char *at = query; at != NULL; at = strchr(at + 1, '&')) {
        if (strncmp(at + 1, name, len) == 0 && at[1 + len] == '=') {
            return -1;
        }
    }
    return 0;
}

static void launch(struct walk *w, const char *name, task_fn *fn)
{
    struct err err = {0};
    struct oauth_pages *o = w->oauth;
    struct http_exchange *x = w->x;
    if (task_start(o->app->loop, name, fn, w, &err) != 0) {
        walk_free(w);
        answer_plain(x, 503, "Not now", "Too much is going on. Begin again in a moment.");
    }
}

/* A walk is begun and ended by a person's browser, never by a preview of its address. */
static bool refuse_head(struct http_exchange *x)
{
    if (strcmp(http_exchange_method(x), "HEAD") != 0) {
        return false;
    }
    (void)http_exchange_set_header(x, "Allow", "GET");
    http_answer(x, 405, NULL, NULL, 0);
    return true;
}

void oauth_pages_start(struct oauth_pages *o, struct http_exchange *x)
{
    struct walk *w = refuse_head(x) ? NULL : walk_new(o, x);
    if (w == NULL) {
        return;
    }
    if (take_query(x, "workspace", w->workspace, sizeof w->workspace) != 0 ||
        take_query(x, "mode", w->mode, sizeof w->mode) != 0) {
        walk_free(w);
        answer_plain(x, 400, "This cannot be connected",
                     "The workspace or the mode in the address cannot be one.");
        return;
    }
    session_claim_read(o->sessions, x, &w->claim);
    launch(w, "oauth start", start_task);
}

void oauth_pages_callback(struct oauth_pages *o, struct http_exchange *x)
{
    struct walk *w = refuse_head(x) ? NULL : walk_new(o, x);
    if (w == NULL) {
        return;
    }
    cookie_take(w);
    (void)take_query(x, "error", w->error, sizeof w->error);
    (void)take_query(x, "error_description", w->error_text, sizeof w->error_text);
    if (take_query(x, "state", w->state, sizeof w->state) != 0 ||
        take_query(x, "code", w->code, sizeof w->code) != 0 || w->state[0] == '\0') {
        count(w, "unknown_state");
        walk_free(w);
        answer_plain(x, 400, "This sign-in did not begin here",
                     "The address has no usable state. Nothing was changed. Begin again from "
                     "the start.");
        return;
    }
    launch(w, "oauth callback", callback_task);
}

struct oauth_pages *oauth_pages_new(struct app *app, struct sessions *sessions,
                                    struct metrics *metrics, struct err *err)
{
    struct oauth_pages *o = calloc(1, sizeof *o);
    if (o == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    o->app = app;
    o->sessions = sessions;
    o->walks = metrics_family(metrics, METRIC_COUNTER, "oauth_walks_total", "provider,end",
                              "OAuth walks by how they went on");
    return o;
}

void oauth_pages_free(struct oauth_pages *o)
{
    free(o);
}

int oauth_pages_in_flight(const struct oauth_pages *o)
{
    return o->in_flight;
}
