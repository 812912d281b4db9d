/* The pool.
 *
 * A connection that comes back goes straight to the task that waits longest, so a late comer
 * cannot overtake. While the server is away one task at a time tries to connect; the others
 * wait for what it finds out and share its error, so that an outage costs one attempt per
 * back-off and not one per task. */
#include "common/store_pg.h"

#include "common/clock.h"

#include "common/banned.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECT_TIMEOUT_MS = 5000,
    STATEMENT_TIMEOUT_MS = 30000,
    POOL_TIMEOUT_MS = 30000,
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 2000,
};

struct store *store_new(uv_loop_t *loop, const struct store_options *o, struct err *err)
{
    int max = o->max_connections > 0 ? o->max_connections : 1;
    if (o->url == NULL || o->url[0] == '\0') {
        err_set(err, ERR_CONFIG, "no database URL");
        return NULL;
    }
    struct store *s = calloc(1, sizeof *s + (size_t)max * sizeof s->conns[0]);
    if (s == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the database pool");
        return NULL;
    }
    char *message = NULL;
    s->conn.info = PQconninfoParse(o->url, &message);
    if (s->conn.info == NULL) {
        /* libpq's sentence may quote the URL, password included. */
        bool no_memory = message == NULL || strstr(message, "out of memory") != NULL;
        err_set(err, no_memory ? ERR_NOMEM : ERR_CONFIG, "the database URL cannot be read%s",
                no_memory ? ": out of memory" : "");
        PQfreemem(message);
        free(s);
        return NULL;
    }
    s->conn.loop = loop;
    s->conn.application_name =
        o->application_name == NULL ? "pivotal-sync" : o->application_name;
    s->conn.role = o->role;
    s->conn.generic_plans = o->generic_plans;
    s->conn.statement_timeout_ms =
        o->statement_timeout_ms > 0 ? o->statement_timeout_ms : STATEMENT_TIMEOUT_MS;
    s->connect_timeout_ms =
        o->connect_timeout_ms > 0 ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    s->pool_timeout_ms = o->pool_timeout_ms > 0 ? o->pool_timeout_ms : POOL_TIMEOUT_MS;
    s->max_connections = max;
    s->waiters_tail = &s->waiters;
    return s;
}

void store_free(struct store *s)
{
    if (s == NULL) {
        return;
    }
    assert(s->waiters == NULL);
    for (int i = 0; i < s->max_connections; i++) {
        pg_conn_close(&s->conns[i]);
    }
    PQconninfoFree(s->conn.info);
    free(s);
}

/* ---- the pool ---- */

static void waiters_remove(struct store *s, struct waiter *w)
{
    for (struct waiter **at = &s->waiters; *at != NULL; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            break;
        }
    }
    s->waiters_tail = &s->waiters;
    while (*s->waiters_tail != NULL) {
        s->waiters_tail = &(*s->waiters_tail)->next;
    }
}

static struct waiter *waiters_pop(struct store *s)
{
    struct waiter *w = s->waiters;
    if (w != NULL) {
        waiters_remove(s, w);
    }
    return w;
}

static void pool_wake_one(struct store *s)
{
    struct waiter *w = waiters_pop(s);
    if (w != NULL) {
        wake_fire(&w->wake);
    }
}

static void pool_fail_all(struct store *s)
{
    for (struct waiter *w; (w = waiters_pop(s)) != NULL;) {
        w->failed = true;
        wake_fire(&w->wake);
    }
}

void pool_give_back(struct store *s, struct pg_conn *c)
{
    if (c->pg != NULL && (c->stale || PQtransactionStatus(c->pg) != PQTRANS_IDLE)) {
        pg_conn_close(c);
    }
    if (c->pg == NULL) {
        c->in_use = false;
        pool_wake_one(s);
        return;
    }
    struct waiter *w = waiters_pop(s);
    if (w != NULL) {
        w->granted = c;
        wake_fire(&w->wake);
        return;
    }
    c->in_use = false;
    c->next = s->idle;
    s->idle = c;
}

static struct pg_conn *pool_take_idle(struct store *s)
{
    while (s->idle != NULL) {
        struct pg_conn *c = s->idle;
        s->idle = c->next;
        c->next = NULL;
        if (!c->stale && pg_conn_alive(c)) {
            c->in_use = true;
            return c;
        }
        pg_conn_close(c);
    }
    return NULL;
}

static struct pg_conn *pool_find_closed(struct store *s)
{
    for (int i = 0; i < s->max_connections; i++) {
        if (s->conns[i].pg == NULL && !s->conns[i].in_use) {
            return &s->conns[i];
        }
    }
    return NULL;
}

/* c is closed and not in use. NULL with err set when it stays closed. */
static struct pg_conn *pool_connect(struct store *s, struct pg_conn *c,
                                    int64_t deadline_mono_ms, struct err *err)
{
    int64_t now = clock_mono_ms();
    if (s->backoff_ms > 0 && now < s->retry_at_mono_ms &&
        (s->backoff_ms >= BACKOFF_MAX_MS || s->retry_at_mono_ms >= deadline_mono_ms)) {
        *err = s->last;
        return NULL;
    }
    bool probe = s->backoff_ms > 0;
    c->in_use = true;
    if (probe) {
        s->probing = true;
        task_sleep_ms(s->retry_at_mono_ms - now);
    }
    int rc = pg_conn_open(c, &s->conn, clock_mono_ms() + s->connect_timeout_ms, err);
    if (probe) {
        s->probing = false;
    }
    if (rc == 0) {
        s->backoff_ms = 0;
        pool_wake_one(s); /* the next may connect too */
        return c;
    }
    c->in_use = false;
    if (probe || s->backoff_ms == 0) { /* failures side by side count once */
        int64_t longer = s->backoff_ms * 2;
        s->backoff_ms = longer < BACKOFF_MIN_MS   ? BACKOFF_MIN_MS
                        : longer > BACKOFF_MAX_MS ? BACKOFF_MAX_MS
                                                  : longer;
        s->retry_at_mono_ms = clock_mono_ms() + s->backoff_ms;
    }
    s->last = *err;
    pool_fail_all(s);
    return NULL;
}

struct pg_conn *pool_take(struct store *s, struct err *err)
{
    int64_t deadline = clock_mono_ms() + s->pool_timeout_ms;
    for (;;) {
        struct pg_conn *c = pool_take_idle(s);
        if (c != NULL) {
            return c;
        }
        c = s->probing ? NULL : pool_find_closed(s);
        if (c != NULL) {
            return pool_connect(s, c, deadline, err);
        }
        struct waiter w = {0};
        *s->waiters_tail = &w;
        // cppcheck-suppress autoVariables ; out of the list before this returns
        s->waiters_tail = &w.next;
        int rc = wake_wait(&w.wake, deadline, err);
        if (w.granted != NULL) {
            return w.granted;
        }
        if (w.failed) {
            *err = s->last;
            return NULL;
        }
        if (rc < 0) {
            waiters_remove(s, &w);
            err_set(err, ERR_TIMEOUT, "no database connection became free within %lld ms",
                    (long long)s->pool_timeout_ms);
            return NULL;
        }
    }
}
