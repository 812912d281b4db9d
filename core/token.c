#include "core/token.h"

#include "common/clock.h"
#include "common/crash.h"
#include "common/task.h"
#include "core/fetch.h"

#include <string.h>

/* A refresher is done or dead within its lease: the quota's patience, the call
 * (FETCH_TOKEN_MAX_MS) and storing the pair fit into it. Who waits outlasts the lease, so that
 * a dead refresher's work is taken over by one that waits. */
enum {
    REFRESH_LEASE_S = 60,
    REFRESH_PATIENCE_MS = 70000,
    REFRESH_POLL_MS = 200,
    REFRESH_AHEAD_MS = 120000,
    STORE_PATIENCE_MS = 20000,
    STORE_POLL_MS = 500,
};
_Static_assert(FETCH_TOKEN_MAX_MS + STORE_PATIENCE_MS + 5000 < REFRESH_LEASE_S * 1000,
               "a refresher ends within its lease");
_Static_assert(REFRESH_PATIENCE_MS > REFRESH_LEASE_S * 1000, "who waits outlasts a lease");

/* One task of this process renews or polls the lease for all of them: fifty tasks that wait
 * cost PostgreSQL what one does, and a token endpoint that is down is asked once for all. Lives
 * on the stack of that task. */
struct token_flight {
    struct token_flight *next;
    int64_t connection_id;
    struct token_waiter *waiters;
};

struct token_waiter {
    struct token_waiter *next;
    struct wake done;
    enum token_result result;
    struct failure why;
};

int token_put_in(struct http_request *req, const char *access_token, struct err *err)
{
    struct buf old = req->headers;
    memset(&req->headers, 0, sizeof req->headers);
    buf_init(&req->headers, old.max_bytes);
    for (const char *p = buf_text(&old); *p != '\0';) {
        const char *end = strchrnul(p, '\n');
        if (strncasecmp(p, "authorization:", 14) != 0) {
            (void)buf_add(&req->headers, p, (size_t)(end - p));
            (void)buf_add_char(&req->headers, '\n');
        }
        p = *end == '\n' ? end + 1 : end;
    }
    buf_release(&old);
    struct buf value;
    buf_init(&value, (size_t)HTTP_HEADER_MAX_BYTES * 4);
    int rc = buf_printf(&value, "Bearer %s", access_token);
    if (rc == 0) {
        rc = http_request_header(req, "Authorization", buf_text(&value));
    }
    if (value.bytes != NULL) {
        explicit_bzero(value.bytes, value.len_bytes);
    }
    buf_release(&value);
    if (rc != 0) {
        err_set(err, ERR_INVALID, "the access token does not fit a header");
    }
    return rc;
}

int token_store(struct app *app, int64_t connection_id, const char *kind,
                const char *access_token, const char *refresh_token, int64_t expires_in_s,
                struct err *err)
{
    struct buf access, refresh;
    buf_init(&access, 16 << 10);
    buf_init(&refresh, 16 << 10);
    int rc = -1;
    struct params *p = params_new();
    if (seal_text(app->seal, connection_id, "access_token", access_token, &access, err) != 0 ||
        seal_text(app->seal, connection_id, "refresh_token", refresh_token, &refresh, err) !=
            0) {
        goto done;
    }
    params_int(p, connection_id);
    params_text(p, kind);
    params_bytea(p, access.bytes, access.len_bytes);
    params_bytea(p, refresh_token[0] != '\0' ? refresh.bytes : NULL, refresh.len_bytes);
    params_int(p, expires_in_s);
    rc = store_query(app->store,
                     "INSERT INTO psync.credential AS c"
                     " (connection_id, kind, access_token, refresh_token, expires_at)"
                     " VALUES ($1, $2, $3, $4, CASE WHEN $5 > 0 THEN"
                     "   now() + make_interval(secs => $5::double precision) END)"
                     " ON CONFLICT (connection_id) DO UPDATE SET kind = excluded.kind,"
                     "   access_token = excluded.access_token,"
                     "   refresh_token = coalesce(excluded.refresh_token, CASE WHEN"
                     "     excluded.kind = 'oauth' THEN c.refresh_token END),"
                     "   expires_at = excluded.expires_at, refreshing_until = NULL,"
                     "   version = c.version + 1, updated_at = now()",
                     p, NULL, err);
done:
    params_free(p);
    buf_release(&access);
    buf_release(&refresh);
    return rc;
}

/* 1 = the lease is ours, 0 = somebody else's, 2 = renewed meanwhile, -1 = err. *left: the one
 * before us took it and never came back. */
static int token_lease(struct app *app, const struct connection *c, bool *left, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    params_int(p, c->credential_version);
    params_int(p, REFRESH_LEASE_S);
    if (store_query(app->store,
                    "WITH lease AS (UPDATE psync.credential SET"
                    "   refreshing_until = now() + make_interval(secs => $3::double precision)"
                    " WHERE connection_id = $1 AND version = $2"
                    "   AND (refreshing_until IS NULL OR refreshing_until < now()) RETURNING 1)"
                    " SELECT (SELECT count(*) FROM lease), version <> $2,"
                    "   refreshing_until IS NOT NULL"
                    " FROM psync.credential WHERE connection_id = $1",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "connection %lld has no credential",
                (long long)c->connection_id);
        return -1;
    }
    *left = rows_bool(r, 0, 2); /* as it was before our update */
    return rows_bool(r, 0, 1) ? 2 : (int)rows_int(r, 0, 0);
}

/* Best effort: the lease runs out by itself. */
static void token_unlease(struct app *app, const struct connection *c)
{
    struct err err = {0};
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, c->connection_id);
    if (store_query(app->store,
                    "UPDATE psync.credential SET refreshing_until = NULL"
                    " WHERE connection_id = $1",
                    p, NULL, &err) != 0) {
        log_warn(app->log, "token.unlease", "cannot give back the refresh lease: %s", err.msg);
    }
}

static enum token_result token_give_up(struct failure *why, enum error_type type,
                                       const char *text)
{
    fetch_failure(why, type, text);
    return TOKEN_FAILED;
}

/* The credential as it is now. Of many that ask, one reads it. */
static enum token_result token_reload(struct app *app, struct connection **conn,
                                      enum token_result how, struct failure *why)
{
    struct err err = {0};
    int64_t id = (*conn)->connection_id;
    struct connection *fresh = connection_cache_get(app->connections, id, &err);
    if (fresh != NULL && fresh->credential_version == (*conn)->credential_version) {
        connection_free(fresh);
        connection_cache_drop(app->connections, id);
        fresh = connection_cache_get(app->connections, id, &err);
    }
    if (fresh == NULL) {
        return token_give_up(why, ET_DB_UNAVAILABLE, err.msg);
    }
    connection_free(*conn);
    *conn = fresh;
    return how;
}

/* A rolling refresh token is gone unless the new one is stored: PostgreSQL gets time to come
 * back. */
static int token_keep(struct app *app, int64_t connection_id, const json_t *facts,
                      struct err *err)
{
    const char *refresh = json_string_value(json_object_get(facts, "refresh_token"));
    int64_t deadline_ms = clock_mono_ms() + STORE_PATIENCE_MS;
    for (;;) {
        err_clear(err);
        if (token_store(app, connection_id, "oauth",
                        json_string_value(json_object_get(facts, "access_token")),
                        refresh != NULL ? refresh : "",
                        json_integer_value(json_object_get(facts, "expires_in")), err) == 0) {
            return 0;
        }
        if (err->code != ERR_UNAVAILABLE || clock_mono_ms() > deadline_ms) {
            return -1;
        }
        task_sleep_ms(STORE_POLL_MS);
    }
}

/* left: an earlier refresh was cut off, perhaps after the provider had answered it. */
static enum token_result token_exchange(struct app *app, struct connection **conn, bool left,
                                        struct failure *why)
{
    struct err err = {0};
    struct record_list none;
    struct fetch f;
    json_t *facts = NULL;
    int64_t later_ms = 0;
    struct ask ask = {.kind = ASK_TOKEN_REFRESH};

    record_list_init(&none);
    fetch_init(&f, app, *conn, NULL);
    enum fetch_end end = fetch_ask(&f, &ask, &none, &facts, why, &later_ms);
    fetch_release(&f);
    record_list_release(&none);
    if (end != FETCH_OK) {
        if (end == FETCH_LATER) {
            return token_give_up(why, ET_AUTH_REFRESH_UNAVAILABLE, "no quota for a refresh");
        }
        if (why->type == ET_AUTH_REVOKED && left) {
            (void)snprintf(why->detail, sizeof why->detail,
                           "an earlier refresh was cut off after %s may have replaced the "
                           "refresh token",
                           (*conn)->provider->title);
        }
        return TOKEN_FAILED;
    }
    int rc = -1;
    crash_point("token.answered");
    if (!json_is_string(json_object_get(facts, "access_token"))) {
        err_set(&err, ERR_PROTOCOL, "the token endpoint sent no access_token");
    } else {
        rc = token_keep(app, (*conn)->connection_id, facts, &err);
    }
    crash_point("token.stored");
    json_decref(facts);
    if (rc != 0) {
        return token_give_up(why, ET_AUTH_REFRESH_UNAVAILABLE, err.msg);
    }
    return token_reload(app, conn, TOKEN_NEW, why);
}

/* Take the lease and refresh, or wait until another process has. */
static enum token_result token_lead(struct app *app, struct connection **conn,
                                    struct failure *why)
{
    struct err err = {0};
    bool left = false;
    int64_t deadline_ms = clock_mono_ms() + REFRESH_PATIENCE_MS;
    for (;;) {
        switch (token_lease(app, *conn, &left, &err)) {
        case 1: {
            enum token_result t = token_exchange(app, conn, left, why);
            if (t == TOKEN_FAILED) {
                token_unlease(app, *conn);
            }
            return t;
        }
        case 2:
            return token_reload(app, conn, TOKEN_OTHERS, why);
        case 0:
            if (clock_mono_ms() > deadline_ms) {
                return token_give_up(
                    why, ET_AUTH_REFRESH_UNAVAILABLE,
                    "another process has been refreshing the token for too long");
            }
            task_sleep_ms(REFRESH_POLL_MS);
            break;
        default:
            return token_give_up(why, ET_DB_UNAVAILABLE, err.msg);
        }
    }
}

static enum token_result token_follow(struct token_flight *flight, struct app *app,
                                      struct connection **conn, struct failure *why)
{
    struct err err = {0};
    struct token_waiter me = {.next = flight->waiters};
    /* It is taken out before its wake is fired. */
    /* cppcheck-suppress autoVariables */
    flight->waiters = &me;
    /* The one that is followed has deadlines for all it does: this wait ends. */
    while (wake_wait(&me.done, INT64_MAX, &err) != 0) {
        err_clear(&err);
    }
    if (me.result == TOKEN_FAILED) {
        *why = me.why;
        return TOKEN_FAILED;
    }
    return token_reload(app, conn, TOKEN_OTHERS, why);
}

static struct token_flight **token_flight_of(struct app *app, int64_t connection_id)
{
    struct token_flight **at = &app->token_flights;
    while (*at != NULL && (*at)->connection_id != connection_id) {
        at = &(*at)->next;
    }
    return at;
}

bool token_awaited(const struct app *app, int64_t connection_id)
{
    const struct token_flight *f = app->token_flights;
    while (f != NULL && f->connection_id != connection_id) {
        f = f->next;
    }
    return f != NULL;
}

enum token_result token_renew(struct app *app, struct connection **conn, struct failure *why)
{
    if (strcmp((*conn)->credential_kind, "oauth") != 0 || (*conn)->refresh_token[0] == '\0') {
        return TOKEN_SAME;
    }
    struct token_flight flight = {.connection_id = (*conn)->connection_id};
    int64_t version = (*conn)->credential_version;
    struct token_flight **at;
    while (*(at = token_flight_of(app, flight.connection_id)) != NULL) {
        enum token_result t = token_follow(*at, app, conn, why);
        if (t == TOKEN_FAILED || (*conn)->credential_version != version) {
            return t;
        } /* else it was about an older token than ours */
    }
    *at = &flight;
    enum token_result t = token_lead(app, conn, why);
    at = token_flight_of(app, flight.connection_id);
    *at = flight.next;
    for (struct token_waiter *w = flight.waiters, *next; w != NULL; w = next) {
        next = w->next; /* its stack is its own again once it runs */
        w->result = t;
        w->why = *why;
        wake_fire(&w->done);
    }
    return t;
}

enum token_result token_ahead(struct app *app, struct connection **conn, struct failure *why)
{
    const struct connection *c = *conn;
    struct err err = {0};
    bool left = false;
    int64_t ahead_ms = c->token_life_ms > 0 && c->token_life_ms / 4 < REFRESH_AHEAD_MS
                           ? c->token_life_ms / 4
                           : REFRESH_AHEAD_MS;
    int64_t remains_ms = c->expires_at_ms - clock_now_ms();
    if (c->expires_at_ms == 0 || remains_ms > ahead_ms || c->refresh_token[0] == '\0' ||
        strcmp(c->credential_kind, "oauth") != 0) {
        return TOKEN_SAME;
    }
    if (remains_ms <= 0) {
        return token_renew(app, conn, why);
    }
    switch (token_lease(app, c, &left, &err)) {
    case 1: {
        enum token_result t = token_exchange(app, conn, left, why);
        if (t == TOKEN_FAILED) {
            token_unlease(app, *conn);
        }
        bool refused = t == TOKEN_FAILED && error_info(why->type)->banner != BANNER_NONE;
        return t == TOKEN_FAILED && !refused ? TOKEN_SAME : t;
    }
    case 2:
        return token_reload(app, conn, TOKEN_OTHERS, why);
    default:
        return TOKEN_SAME; /* somebody is at it, and this one is still good */
    }
}
