/* A connection to the Redis of one shard: made when needed, made anew when lost, a deadline on
 * everything. It goes where answers send it (queue_redis_place.c), and back home when that one
 * is lost.
 *
 * While the first attempt is under way requests wait for it; after an attempt has failed they
 * fail at once until one works, so that a gateway can say 503 without waiting. hiredis answers
 * in order: requests under way form a list whose head has the nearest deadline. */
#include "common/clock.h"
#include "common/queue_redis.h"
#include "common/task.h"

#include <hiredis/adapters/libuv.h>
#include <hiredis/async.h>
#include <stdlib.h>
#include <string.h>

enum { BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 2000, SCRIPT_ROOM_BYTES = 1 << 20 };
enum { HOLD_MS = 20, MOVES_MAX = 8 };

enum conn_state { CONN_IDLE, CONN_RESOLVING, CONN_CONNECTING, CONN_READY, CONN_BACKOFF };

struct conn {
    uv_loop_t *loop;
    struct redis_url *homes;
    int home_count, home_at;
    struct redis_url url; /* where it is */
    bool away;            /* at an address that an answer gave, not at a home */
    bool moving;          /* to next, as soon as what is under way has been answered */
    struct redis_url next, last_away;
    char name[300]; /* for messages: without password */
    int64_t timeout_ms;
    enum conn_state state;
    redisAsyncContext *ac;
    uv_timer_t deadline; /* of the oldest request, or of connecting */
    uv_timer_t backoff;
    uv_timer_t failing; /* zero: fails what came while there is no connection */
    int64_t connect_deadline_mono_ms;
    uv_getaddrinfo_t resolve;
    bool resolving;
    bool stale; /* what is being looked up is not what this attempt wants */
    bool closing;
    int handles_open;
    int failures; /* attempts in a row */
    struct err last;
    struct request *waiting, **waiting_tail; /* not sent yet */
    struct request *sent, **sent_tail;
    struct request *failed, **failed_tail; /* for the failing timer */
    struct request *held, **held_tail;     /* their shard is being moved: for the hold timer */
    uv_timer_t hold;
};

static void conn_connect(struct conn *c);

/* The analyzer forgets what a pointer to the tail's pointer leads to, and reports a leak. */
ANALYZER_OFF("-Wanalyzer-malloc-leak")
static void list_add(struct request ***tail, struct request *r)
{
    r->next = NULL;
    **tail = r;
    *tail = &r->next;
}
ANALYZER_ON

static struct request *list_take_all(struct request **head, struct request ***tail)
{
    struct request *all = *head;
    *head = NULL;
    *tail = head;
    return all;
}

static void fail_all(struct request *r, const struct err *err)
{
    while (r != NULL) {
        struct request *next = r->next;
        r->done(r, NULL, err);
        r = next;
    }
}

static void conn_maybe_free(struct conn *c)
{
    if (c->closing && c->handles_open == 0 && !c->resolving) {
        free(c->homes);
        free(c);
    }
}

static void on_handle_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    c->handles_open--;
    conn_maybe_free(c);
}

static void set_url(struct conn *c, const struct redis_url *url)
{
    if (url != &c->url) {
        c->url = *url;
    }
    if (c->url.is_unix) {
        (void)snprintf(c->name, sizeof c->name, "'%s'", c->url.host);
    } else {
        (void)snprintf(c->name, sizeof c->name, "'%s:%s'", c->url.host, c->url.port);
    }
}

/* Where to try next: home, and in turn with it, while home does not answer, the last place that
 * it sent us to. */
static void go_home(struct conn *c)
{
    bool was_home = !c->away;
    c->moving = false;
    if (c->homes[0].kind == REDIS_PLAIN && was_home && c->last_away.host[0] != '\0') {
        c->away = true;
        set_url(c, &c->last_away);
        return;
    }
    c->home_at = (c->home_at + 1) % c->home_count;
    c->away = false;
    set_url(c, &c->homes[c->home_at]);
}

/* Everything that waited or was under way ends with err. */
static void conn_fail_requests(struct conn *c, const struct err *err)
{
    struct err copy = *err;
    struct request *a = list_take_all(&c->sent, &c->sent_tail);
    struct request *b = list_take_all(&c->waiting, &c->waiting_tail);
    fail_all(a, &copy);
    fail_all(b, &copy);
}

static void on_backoff(uv_timer_t *t)
{
    struct conn *c = t->data;
    conn_connect(c);
}

/* hiredis's adapter forgets its own record when libuv cannot watch the socket; the analyzer
 * tells it here, where the context ends. */
ANALYZER_OFF("-Wanalyzer-malloc-leak")
/* The connection, or the attempt to make it, is over. */
static void conn_lost(struct conn *c, bool was_ready, const struct err *err)
{
    redisAsyncContext *ac = c->ac;
    c->ac = NULL;
    c->last = *err;
    if (ac != NULL) {
        ac->data = NULL;
        redisAsyncFree(ac);
    }
    (void)uv_timer_stop(&c->deadline);
    if (c->closing) {
        return;
    }
    go_home(c);
    c->failures = was_ready ? 0 : c->failures + 1;
    if (was_ready) {
        c->state = CONN_IDLE;
    } else {
        int shift = c->failures < 6 ? c->failures - 1 : 5;
        int64_t ms = (int64_t)BACKOFF_FIRST_MS << shift;
        c->state = CONN_BACKOFF;
        (void)uv_timer_start(&c->backoff, on_backoff,
                             (uint64_t)(ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : ms), 0);
    }
    conn_fail_requests(c, err);
    if (was_ready && c->state == CONN_IDLE) {
        conn_connect(c);
    }
}
ANALYZER_ON

static void on_deadline(uv_timer_t *t);

static void arm_deadline(struct conn *c)
{
    int64_t at = 0;
    if (c->state == CONN_RESOLVING || c->state == CONN_CONNECTING) {
        at = c->connect_deadline_mono_ms;
    } else if (c->sent != NULL) {
        at = c->sent->deadline_mono_ms;
    } else {
        (void)uv_timer_stop(&c->deadline);
        return;
    }
    int64_t left = at - clock_mono_ms();
    uv_update_time(c->loop);
    (void)uv_timer_start(&c->deadline, on_deadline, (uint64_t)(left > 0 ? left : 0) + 1, 0);
}

static void on_deadline(uv_timer_t *t)
{
    struct conn *c = t->data;
    struct err err = {0};
    int64_t now = clock_mono_ms();
    if (c->state == CONN_RESOLVING || c->state == CONN_CONNECTING) {
        if (now >= c->connect_deadline_mono_ms) {
            err_set(&err, ERR_UNAVAILABLE, "no connection to Redis %s within %lld ms", c->name,
                    (long long)c->timeout_ms);
            conn_lost(c, false, &err);
            return;
        }
    } else if (c->sent != NULL && now >= c->sent->deadline_mono_ms) {
        err_set(&err, ERR_TIMEOUT, "no answer from Redis %s by the deadline", c->name);
        conn_lost(c, true, &err);
        return;
    }
    arm_deadline(c);
}

/* ---- requests ---- */

static void on_reply(redisAsyncContext *ac, void *reply_v, void *arg);

static int request_write(struct conn *c, struct request *r)
{
    struct buf b;
    char key[32];
    buf_init(&b, r->args.wire.max_bytes + SCRIPT_ROOM_BYTES);
    if (r->script == NULL) {
        (void)buf_printf(&b, "*%d\r\n", r->args.count);
    } else {
        int n = snprintf(key, sizeof key, "{ps%d}:", r->shard);
        (void)buf_printf(&b, "*%d\r\n", r->args.count + 4);
        if (r->whole_script) {
            (void)buf_printf(&b, "$4\r\nEVAL\r\n$%zu\r\n", r->script->text.len_bytes);
            (void)buf_add(&b, r->script->text.bytes, r->script->text.len_bytes);
        } else {
            (void)buf_printf(&b, "$7\r\nEVALSHA\r\n$40\r\n%s", r->script->sha);
        }
        (void)buf_printf(&b, "\r\n$1\r\n1\r\n$%d\r\n%s\r\n", n, key);
    }
    (void)buf_add(&b, buf_text(&r->args.wire), r->args.wire.len_bytes);
    int rc = -1;
    if (!b.failed && !r->args.wire.failed) {
        rc = redisAsyncFormattedCommand(c->ac, on_reply, r, b.bytes, b.len_bytes) == REDIS_OK
                 ? 0
                 : -1;
    }
    buf_release(&b);
    return rc;
}

static void on_failing(uv_timer_t *t)
{
    struct conn *c = t->data;
    struct request *r = list_take_all(&c->failed, &c->failed_tail);
    struct err err = c->last;
    fail_all(r, &err);
}

static void conn_fail_soon(struct conn *c, struct request *r)
{
    list_add(&c->failed_tail, r);
    (void)uv_timer_start(&c->failing, on_failing, 0, 0);
}

static void conn_write(struct conn *c, struct request *r)
{
    if (request_write(c, r) != 0) {
        err_set(&c->last, ERR_UNAVAILABLE, "cannot send to Redis %s", c->name);
        conn_fail_soon(c, r);
        return;
    }
    list_add(&c->sent_tail, r);
    if (!uv_is_active((uv_handle_t *)&c->deadline)) {
        arm_deadline(c);
    }
}

static void conn_submit(struct conn *c, struct request *r)
{
    if (c->state == CONN_READY && !c->moving) {
        conn_write(c, r);
        return;
    }
    if (c->state == CONN_IDLE) {
        conn_connect(c);
    }
    if (c->failures > 0 || c->closing) {
        conn_fail_soon(c, r);
        return;
    }
    if (c->state == CONN_READY && !c->moving) {
        conn_write(c, r);
    } else {
        list_add(&c->waiting_tail, r);
    }
}

void conn_send(struct conn *c, struct request *r)
{
    r->conn = c;
    r->deadline_mono_ms = clock_mono_ms() + (r->timeout_ms > 0 ? r->timeout_ms : c->timeout_ms);
    conn_submit(c, r);
}

/* ---- elsewhere ---- */

static void on_hold(uv_timer_t *t)
{
    struct conn *c = t->data;
    struct request *r = list_take_all(&c->held, &c->held_tail);
    while (r != NULL) {
        struct request *next = r->next;
        conn_submit(c, r);
        r = next;
    }
}

static void hold(struct conn *c, struct request *r)
{
    list_add(&c->held_tail, r);
    if (!uv_is_active((uv_handle_t *)&c->hold)) {
        (void)uv_timer_start(&c->hold, on_hold, HOLD_MS, 0);
    }
}

/* True when the answer sends the request elsewhere, or asks it to come again, and it will.
 * Whoever is sent to and fro waits a little each time, until its deadline. */
static bool sent_elsewhere(struct conn *c, struct request *r, const char *error)
{
    struct redis_url next = c->url;
    enum place place = place_read(error, &next);
    if (place == PLACE_HERE || clock_mono_ms() + HOLD_MS >= r->deadline_mono_ms) {
        return false;
    }
    if (place == PLACE_THERE && !c->moving) {
        c->next = next;
        c->moving = true;
    }
    if (place == PLACE_SOON || ++r->moves > MOVES_MAX) {
        hold(c, r);
    } else {
        list_add(&c->waiting_tail, r);
    }
    return true;
}

static void conn_move(struct conn *c)
{
    redisAsyncContext *ac = c->ac;
    c->ac = NULL;
    if (ac != NULL) {
        ac->data = NULL;
        redisAsyncFree(ac);
    }
    (void)uv_timer_stop(&c->deadline);
    c->moving = false;
    c->away = true;
    c->last_away = c->next;
    set_url(c, &c->next);
    c->state = CONN_IDLE;
    conn_connect(c);
}

const struct redis_url *conn_place(const struct conn *c)
{
    return c->moving ? &c->next : &c->url;
}

void conn_follow(struct conn *c, const struct conn *other)
{
    if (!other->away || c->closing || c->sent != NULL || c->waiting != NULL ||
        c->state == CONN_CONNECTING || c->state == CONN_RESOLVING ||
        (strcmp(c->url.host, other->url.host) == 0 &&
         strcmp(c->url.port, other->url.port) == 0 && strcmp(c->url.db, other->url.db) == 0)) {
        return;
    }
    (void)uv_timer_stop(&c->backoff);
    c->failures = 0;
    c->next = other->url;
    conn_move(c);
}

static void on_reply(redisAsyncContext *ac, void *reply_v, void *arg)
{
    struct conn *c = ac->data;
    struct redisReply *reply = reply_v;
    struct request *r = arg;
    if (c == NULL || reply == NULL) {
        return; /* the connection is going: conn_lost answers what was under way */
    }
    c->sent = r->next;
    if (c->sent == NULL) {
        c->sent_tail = &c->sent;
    }
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0 &&
        r->script != NULL && !r->whole_script) {
        r->whole_script = true;
        conn_write(c, r);
        return;
    }
    struct err err = {0};
    if (reply->type == REDIS_REPLY_ERROR && sent_elsewhere(c, r, reply->str)) {
        if (c->moving && c->sent == NULL) {
            conn_move(c);
        }
        return;
    }
    if (reply_check(reply, &err) != 0) {
        bool read_only = strncmp(reply->str, "READONLY", 8) == 0;
        r->done(r, NULL, &err);
        /* Not the primary any more: the address may lead to another one now. */
        if (read_only && ac->data != NULL) {
            redisAsyncDisconnect(ac);
        }
        if (ac->data != NULL && c->moving && c->sent == NULL) {
            conn_move(c);
        }
        return;
    }
    r->done(r, reply, NULL);
    if (ac->data != NULL && c->moving && c->sent == NULL) {
        conn_move(c);
    }
}

/* ---- connecting ---- */

static void conn_ready(struct conn *c)
{
    c->state = CONN_READY;
    c->failures = 0;
    (void)uv_timer_stop(&c->deadline);
    struct request *r = list_take_all(&c->waiting, &c->waiting_tail);
    while (r != NULL) {
        struct request *next = r->next;
        conn_write(c, r);
        r = next;
    }
}

/* AUTH, SELECT and PING answer one after the other; the first refusal ends the attempt. */
static void on_handshake(redisAsyncContext *ac, void *reply_v, void *arg)
{
    struct conn *c = ac->data;
    struct redisReply *reply = reply_v;
    if (c == NULL || reply == NULL || c->ac != ac || c->state == CONN_READY) {
        return;
    }
    struct err err = {0};
    if (reply_check(reply, &err) != 0) {
        err.code = ERR_UNAVAILABLE;
        err_wrap(&err, "%s", c->name);
    } else if (reply->type == REDIS_REPLY_ARRAY &&
               strcmp(reply_text(reply, 0, NULL), "master") != 0) {
        err_set(&err, ERR_UNAVAILABLE, "Redis %s is no primary", c->name);
    }
    if (err.code != ERR_NONE) {
        conn_lost(c, false, &err);
        return;
    }
    if (arg != NULL) {
        conn_ready(c);
    }
}

/* A sentinel has told who is the primary now. */
static void on_told(redisAsyncContext *ac, void *reply_v, void *arg)
{
    struct conn *c = ac->data;
    const struct redisReply *reply = reply_v;
    (void)arg;
    if (c == NULL || reply == NULL || c->ac != ac) {
        return;
    }
    struct err err = {0};
    c->next = c->url;
    const char *host = reply->elements == 2 ? reply_text(reply, 0, NULL) : "";
    const char *port = reply->elements == 2 ? reply_text(reply, 1, NULL) : "";
    if (reply_check(reply, &err) != 0) {
        err.code = ERR_UNAVAILABLE;
        err_wrap(&err, "sentinel %s", c->name);
    } else if (host[0] == '\0' || strlen(host) >= sizeof c->next.host ||
               strlen(port) >= sizeof c->next.port) {
        err_set(&err, ERR_UNAVAILABLE, "sentinel %s knows no primary '%s'", c->name,
                c->url.primary);
    }
    if (err.code != ERR_NONE) {
        conn_lost(c, false, &err);
        return;
    }
    (void)snprintf(c->next.host, sizeof c->next.host, "%s", host);
    (void)snprintf(c->next.port, sizeof c->next.port, "%s", port);
    conn_move(c);
}

/* Most sentinels have no password and refuse ours, which is that of the primary unless they
 * have one of their own; the question tells whether it matters. */
static void ask_sentinel(struct conn *c)
{
    bool own = c->url.sentinel_password[0] != '\0';
    const char *user = own ? c->url.sentinel_user : c->url.user;
    const char *password = own ? c->url.sentinel_password : c->url.password;
    if (user[0] != '\0') {
        (void)redisAsyncCommand(c->ac, NULL, NULL, "AUTH %s %s", user, password);
    } else if (password[0] != '\0') {
        (void)redisAsyncCommand(c->ac, NULL, NULL, "AUTH %s", password);
    }
    (void)redisAsyncCommand(c->ac, on_told, NULL, "SENTINEL get-master-addr-by-name %s",
                            c->url.primary);
}

static void on_connect(const redisAsyncContext *ac, int status)
{
    struct conn *c = ac->data;
    if (c == NULL) {
        return;
    }
    if (status != REDIS_OK) {
        struct err err = {0};
        err_set(&err, ERR_UNAVAILABLE, "cannot connect to Redis %s: %s", c->name, ac->errstr);
        c->ac = NULL; /* hiredis frees it */
        conn_lost(c, false, &err);
        return;
    }
    if (c->url.kind == REDIS_SENTINEL && !c->away) {
        ask_sentinel(c);
        return;
    }
    int rc = REDIS_OK;
    if (c->url.user[0] != '\0') {
        rc |= redisAsyncCommand(c->ac, on_handshake, NULL, "AUTH %s %s", c->url.user,
                                c->url.password);
    } else if (c->url.password[0] != '\0') {
        rc |= redisAsyncCommand(c->ac, on_handshake, NULL, "AUTH %s", c->url.password);
    }
    if (c->url.db[0] != '\0' && strcmp(c->url.db, "0") != 0) {
        rc |= redisAsyncCommand(c->ac, on_handshake, NULL, "SELECT %s", c->url.db);
    }
    /* A sentinel may send us to one that was the primary until a moment ago. */
    rc |= redisAsyncCommand(c->ac, on_handshake, c,
                            c->url.kind == REDIS_SENTINEL ? "ROLE" : "PING");
    (void)rc; /* a command that could not be queued shows as the connect deadline */
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
    struct conn *c = ac->data;
    if (c == NULL || c->ac != ac) {
        return;
    }
    struct err err = {0};
    const char *why = status == REDIS_OK ? "closed" : ac->errstr;
    if (c->url.tls && c->state != CONN_READY) { /* hiredis does not always say more */
        err_set(
            &err, ERR_UNAVAILABLE,
            "no TLS with Redis %s: %s (its certificate must be of the CA and for that name)",
            c->name, why);
    } else {
        err_set(&err, ERR_UNAVAILABLE, "lost the connection to Redis %s: %s", c->name, why);
    }
    c->ac = NULL;
    conn_lost(c, c->state == CONN_READY, &err);
}

ANALYZER_OFF("-Wanalyzer-malloc-leak") /* the adapter's, as above */
static void conn_attach(struct conn *c, redisAsyncContext *ac)
{
    struct err err = {0};
    c->state = CONN_CONNECTING;
    if (ac == NULL || ac->err != 0) {
        err_set(&err, ERR_UNAVAILABLE, "cannot connect to Redis %s: %s", c->name,
                ac != NULL ? ac->errstr : "out of memory");
        if (ac != NULL) {
            redisAsyncFree(ac);
        }
        conn_lost(c, false, &err);
        return;
    }
    ac->data = c;
    c->ac = ac;
    if (c->url.tls && redis_tls_begin(ac, &c->url, &err) != 0) {
        conn_lost(c, false, &err);
        return;
    }
    if (redisLibuvAttach(ac, c->loop) != REDIS_OK) {
        err_set(&err, ERR_NOMEM, "out of memory for a connection to Redis");
        ac->ev.cleanup = NULL; /* the adapter set it before it had anything to clean up */
        conn_lost(c, false, &err);
        return;
    }
    (void)redisAsyncSetConnectCallback(ac, on_connect);
    (void)redisAsyncSetDisconnectCallback(ac, on_disconnect);
}
ANALYZER_ON

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
    struct conn *c = req->data;
    bool stale = c->stale;
    c->resolving = false;
    c->stale = false;
    if (c->closing || c->state != CONN_RESOLVING || stale) {
        uv_freeaddrinfo(res);
        if (!c->closing && c->state == CONN_RESOLVING) {
            conn_connect(c);
        }
        conn_maybe_free(c);
        return;
    }
    char ip[64] = "";
    if (status == 0 && res != NULL) {
        status = getnameinfo(res->ai_addr, res->ai_addrlen, ip, sizeof ip, NULL, 0,
                             NI_NUMERICHOST) == 0
                     ? 0
                     : UV_EAI_FAIL;
    }
    uv_freeaddrinfo(res);
    if (status != 0) {
        struct err err = {0};
        err_set(&err, ERR_UNAVAILABLE, "cannot resolve Redis %s: %s", c->name,
                uv_strerror(status));
        conn_lost(c, false, &err);
        return;
    }
    conn_attach(c, redisAsyncConnect(ip, (int)strtol(c->url.port, NULL, 10)));
}

static void conn_connect(struct conn *c)
{
    if (c->closing) {
        return;
    }
    c->connect_deadline_mono_ms = clock_mono_ms() + c->timeout_ms;
    if (c->url.is_unix) {
        conn_attach(c, redisAsyncConnectUnix(c->url.host));
        if (c->state == CONN_CONNECTING) {
            arm_deadline(c);
        }
        return;
    }
    if (c->resolving) {
        /* An old look-up has not come back, and nothing can end it: this attempt waits for it,
         * until its deadline, and then begins. */
        c->state = CONN_RESOLVING;
        c->stale = true;
        arm_deadline(c);
        return;
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    c->state = CONN_RESOLVING;
    c->resolve.data = c;
    int rc =
        uv_getaddrinfo(c->loop, &c->resolve, on_resolved, c->url.host, c->url.port, &hints);
    if (rc != 0) {
        struct err err = {0};
        err_set(&err, ERR_UNAVAILABLE, "cannot resolve Redis %s: %s", c->name, uv_strerror(rc));
        conn_lost(c, false, &err);
        return;
    }
    c->resolving = true;
    arm_deadline(c);
}

struct conn *conn_new(uv_loop_t *loop, const struct redis_home *home, int64_t timeout_ms,
                      struct err *err)
{
    struct conn *c = calloc(1, sizeof *c);
    struct redis_url *homes = calloc((size_t)home->count, sizeof *homes);
    if (c == NULL || homes == NULL) {
        free(c);
        free(homes);
        err_set(err, ERR_NOMEM, "out of memory for a connection to Redis");
        return NULL;
    }
    memcpy(homes, home->urls, (size_t)home->count * sizeof *homes);
    c->homes = homes;
    c->home_count = home->count;
    c->loop = loop;
    c->timeout_ms = timeout_ms;
    set_url(c, &homes[0]);
    c->waiting_tail = &c->waiting;
    c->sent_tail = &c->sent;
    c->failed_tail = &c->failed;
    c->held_tail = &c->held;
    uv_timer_t *timers[] = {&c->deadline, &c->backoff, &c->failing, &c->hold};
    for (size_t i = 0; i < COUNT_OF(timers); i++) {
        (void)uv_timer_init(loop, timers[i]);
        timers[i]->data = c;
        c->handles_open++;
    }
    return c;
}

void conn_close(struct conn *c)
{
    if (c == NULL) {
        return;
    }
    struct err err = {0};
    err_set(&err, ERR_CANCELLED, "the queue is closed");
    c->closing = true;
    redisAsyncContext *ac = c->ac;
    c->ac = NULL;
    if (ac != NULL) {
        ac->data = NULL;
        redisAsyncFree(ac);
    }
    conn_fail_requests(c, &err);
    fail_all(list_take_all(&c->failed, &c->failed_tail), &err);
    fail_all(list_take_all(&c->held, &c->held_tail), &err);
    if (c->resolving) {
        (void)uv_cancel((uv_req_t *)&c->resolve);
    }
    uv_close((uv_handle_t *)&c->deadline, on_handle_closed);
    uv_close((uv_handle_t *)&c->backoff, on_handle_closed);
    uv_close((uv_handle_t *)&c->failing, on_handle_closed);
    uv_close((uv_handle_t *)&c->hold, on_handle_closed);
}

/* ---- the form for tasks ---- */

struct call {
    struct request request;
    struct wake wake;
    struct redisReply *reply;
    struct err *err;
};

static void on_call_done(struct request *r, struct redisReply *reply, const struct err *err)
{
    struct call *call = (struct call *)r;
    if (reply == NULL) {
        *call->err = *err;
    } else {
        /* Keep the reply beyond the callback: take its inside, leave hiredis an empty shell. */
        call->reply = malloc(sizeof *reply);
        if (call->reply == NULL) {
            err_set(call->err, ERR_NOMEM, "out of memory for an answer of Redis");
        } else {
            *call->reply = *reply;
            reply->type = REDIS_REPLY_NIL;
            reply->str = NULL;
            reply->element = NULL;
            reply->elements = 0;
        }
    }
    wake_fire(&call->wake);
}

struct redisReply *conn_call(struct conn *c, const struct script *script, int shard,
                             struct args *args, struct err *err)
{
    struct call call = {
        .request = {.script = script, .shard = shard, .args = *args, .done = on_call_done},
        .err = err};
    conn_send(c, &call.request);
    /* The connection's own timer ends every request, so this wait needs no deadline. */
    struct err ignored = {0};
    while (wake_wait(&call.wake, INT64_MAX, &ignored) != 0) {
    }
    return call.reply;
}
