/* Two tasks. One reads the view when it was woken, else once a minute, so that a lost wake
 * heals; the other asks Redis every 2 s for the counter that `connect`, `disconnect` and the
 * like raise (and so learns whether Redis is there).
 *
 * Lookups are binary searches in two arrays: a snapshot is made seldom and read often. */
#include "webhook-gw/routes.h"

#include "common/clock.h"
#include "common/sign.h"
#include "common/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WATCH_EVERY_MS = 2000,
    WATCH_AWAY_MS = 250,    /* while Redis is away */
    READ_APART_MS = 1000,   /* at most one reading in this time */
    RETRY_MS = 1000,        /* after one that failed */
    REFRESH_MS = 60 * 1000, /* without being asked */
    WAITING_MAX = 256,
    CLOCKS_APART_MS = 60 * 1000,
};

/* The associated data that each secret of the list was sealed with. */
#define SEALED_AS "webhook_secret"

static const char routes_sql[] =
    "SELECT connection_id, provider, mode, account_id, shard, state,"
    " (SELECT string_agg(encode(s.sealed, 'hex'), ',' ORDER BY s.n)"
    "  FROM unnest(webhook_secrets) WITH ORDINALITY AS s(sealed, n))"
    " FROM psync.gateway_route";

struct waiting {
    routes_cb *cb;
    void *arg;
};

struct routes {
    struct routes_options o;
    struct route *by_account; /* owns; sorted by provider, account, connection */
    struct route **by_id;
    int count;
    bool loaded;
    int64_t loaded_at_mono_ms;
    int64_t read_at_mono_ms; /* the last reading began */
    int64_t version;         /* of the counter when it was read; -1 = never */
    bool wanted;
    struct wake read_wake, watch_wake;
    bool stopping;
    bool orphaned; /* nobody will call routes_free() */
    int tasks;
    struct waiting waiting[WAITING_MAX];
    int waiting_count;
    struct err redis_err, postgres_err; /* ERR_NONE = well */
    /* Their clocks less our monotonic one, so that setting ours does not move them; known once
     * asked, and kept while they are away. */
    int64_t redis_less_mono_ms, postgres_less_mono_ms;
    bool redis_known, postgres_known;
    bool clocks_apart;
    char clocks[160];
};

/* ---- clocks ---- */

static int64_t redis_ahead_ms(const struct routes *r, int64_t now_ms)
{
    return r->redis_known ? r->redis_less_mono_ms + clock_mono_ms() - now_ms : 0;
}

static int64_t postgres_ahead_ms(const struct routes *r, int64_t now_ms)
{
    return r->postgres_known ? r->postgres_less_mono_ms + clock_mono_ms() - now_ms : 0;
}

/* Between the two of the three that are the furthest apart. */
static int64_t apart_ms(int64_t redis, int64_t postgres)
{
    int64_t low = redis < postgres ? redis : postgres;
    int64_t high = redis < postgres ? postgres : redis;
    low = low < 0 ? low : 0;
    high = high > 0 ? high : 0;
    return high - low;
}

static void clocks_look(struct routes *r)
{
    int64_t now_ms = clock_now_ms();
    int64_t redis = redis_ahead_ms(r, now_ms);
    int64_t postgres = postgres_ahead_ms(r, now_ms);
    bool apart = apart_ms(redis, postgres) > CLOCKS_APART_MS;
    r->clocks[0] = '\0';
    if (apart) {
        char other[64] = "";
        if (r->postgres_known) {
            (void)snprintf(other, sizeof other, ", PostgreSQL's %+.1f s",
                           (double)postgres / 1000);
        }
        (void)snprintf(r->clocks, sizeof r->clocks,
                       "clocks are apart: Redis' is %+.1f s from ours%s", (double)redis / 1000,
                       other);
    }
    if (apart && !r->clocks_apart) {
        log_warn(r->o.log, "clock.apart", "%s; signatures are judged by the median", r->clocks);
    } else if (!apart && r->clocks_apart) {
        log_info(r->o.log, "clock.together", "clocks are together again");
    }
    r->clocks_apart = apart;
}

static int64_t median(int64_t a, int64_t b, int64_t c)
{
    int64_t low = a < b ? a : b;
    int64_t high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

int64_t routes_now_ms(const struct routes *r)
{
    int64_t now_ms = clock_now_ms();
    if (!r->redis_known || !r->postgres_known) {
        return now_ms;
    }
    return now_ms + median(0, redis_ahead_ms(r, now_ms), postgres_ahead_ms(r, now_ms));
}

bool routes_clocks_ok(const struct routes *r, const char **reason)
{
    *reason = r->clocks;
    return !r->clocks_apart;
}

int64_t routes_clocks_apart_ms(const struct routes *r)
{
    int64_t now_ms = clock_now_ms();
    if (!r->redis_known && !r->postgres_known) {
        return -1;
    }
    return apart_ms(redis_ahead_ms(r, now_ms), postgres_ahead_ms(r, now_ms));
}

/* A failure leaves what was known. */
static void clocks_ask_postgres(struct routes *r)
{
    struct err ignored = {0};
    CLEANUP(rows_freep) struct rows *rows = NULL;
    int64_t asked_mono_ms = clock_mono_ms();
    if (store_query(r->o.store, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
                    NULL, &rows, &ignored) == 0) {
        r->postgres_less_mono_ms = rows_int(rows, 0, 0) - (asked_mono_ms + clock_mono_ms()) / 2;
        r->postgres_known = true;
        clocks_look(r);
    }
}

/* ---- a snapshot ---- */

static void snapshot_free(struct route *routes, int count)
{
    for (int i = 0; i < count; i++) {
        for (int s = 0; s < routes[i].secret_count; s++) {
            secret_free(routes[i].secrets[s]);
        }
    }
    free(routes);
}

static int compare_account(const void *a, const void *b)
{
    const struct route *x = a;
    const struct route *y = b;
    int c = strcmp(x->provider->name, y->provider->name);
    if (c == 0) {
        c = strcmp(x->account, y->account);
    }
    return c != 0
               ? c
               : (x->connection_id > y->connection_id) - (x->connection_id < y->connection_id);
}

static int compare_id(const void *a, const void *b)
{
    const struct route *const *x = a;
    const struct route *const *y = b;
    return ((*x)->connection_id > (*y)->connection_id) -
           ((*x)->connection_id < (*y)->connection_id);
}

static struct secret *secret_of_hex(const struct routes *r, int64_t connection_id,
                                    struct slice hex, struct err *err)
{
    unsigned char sealed[SECRET_MAX_BYTES + SEAL_OVERHEAD_BYTES];
    struct buf plain;
    struct secret *secret = NULL;
    size_t len = hex.len_bytes / 2;
    if (len > sizeof sealed || sign_hex_decode(hex, sealed, len) != 0) {
        err_set(err, ERR_INVALID, "webhook secret is not sealed bytes");
        return NULL;
    }
    buf_init(&plain, SECRET_MAX_BYTES);
    if (seal_open(r->o.seal, connection_id, SEALED_AS,
                  (struct slice){(const char *)sealed, len}, &plain, err) == 0) {
        secret = secret_new((struct slice){plain.bytes, plain.len_bytes}, clock_now_ms(), err);
    }
    if (plain.bytes != NULL) {
        explicit_bzero(plain.bytes, plain.cap_bytes);
    }
    buf_release(&plain);
    return secret;
}

/* A secret that does not open must not take the others' deliveries along. */
static void route_secrets(const struct routes *r, struct route *route, const char *hex_list)
{
    while (*hex_list != '\0' && route->secret_count < ROUTE_SECRETS_MAX) {
        struct err err = {0};
        size_t len = strcspn(hex_list, ",");
        struct secret *s =
            secret_of_hex(r, route->connection_id, (struct slice){hex_list, len}, &err);
        if (s != NULL) {
            route->secrets[route->secret_count++] = s;
        } else {
            log_error(r->o.log, "webhook.secret.unreadable",
                      "webhook secret of connection %lld cannot be used: %s",
                      (long long)route->connection_id, err.msg);
        }
        hex_list += len;
        hex_list += *hex_list == ',';
    }
}

static int snapshot_take(struct routes *r, const struct rows *rows, struct err *err)
{
    int count = 0;
    int n = rows_count(rows);
    struct route *routes = calloc((size_t)n + 1, sizeof *routes);
    struct route **by_id = calloc((size_t)n + 1, sizeof(struct route *));
    if (routes == NULL || by_id == NULL) {
        free(routes);
        free(by_id);
        err_set(err, ERR_NOMEM, "out of memory for %d routes", n);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        struct route *route = &routes[count];
        route->provider = provider_find(rows_text(rows, i, 1));
        if (route->provider == NULL) {
            continue; /* of a newer version of the programs */
        }
        route->connection_id = rows_int(rows, i, 0);
        (void)snprintf(route->mode, sizeof route->mode, "%s", rows_text(rows, i, 2));
        (void)snprintf(route->account, sizeof route->account, "%s", rows_text(rows, i, 3));
        route->shard = (int)rows_int(rows, i, 4);
        route->disconnected = strcmp(rows_text(rows, i, 5), "disconnected") == 0;
        route_secrets(r, route, rows_text(rows, i, 6));
        count++;
    }
    qsort(routes, (size_t)count, sizeof *routes, compare_account);
    for (int i = 0; i < count; i++) {
        by_id[i] = &routes[i];
    }
    qsort(by_id, (size_t)count, sizeof(struct route *), compare_id);
    snapshot_free(r->by_account, r->count);
    free(r->by_id);
    r->by_account = routes;
    r->by_id = by_id;
    r->count = count;
    return 0;
}

/* ---- lookups ---- */

bool routes_loaded(const struct routes *r)
{
    return r->loaded;
}

const struct route *routes_by_id(const struct routes *r, int64_t connection_id)
{
    int low = 0;
    int high = r->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (r->by_id[middle]->connection_id < connection_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < r->count && r->by_id[low]->connection_id == connection_id ? r->by_id[low]
                                                                           : NULL;
}

static int compare_key(const struct route *route, const struct provider *provider,
                       const char *account)
{
    int c = strcmp(route->provider->name, provider->name);
    return c != 0 ? c : strcmp(route->account, account);
}

const struct route *routes_by_account(const struct routes *r, const struct provider *provider,
                                      const char *account)
{
    int low = 0;
    int high = r->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (compare_key(&r->by_account[middle], provider, account) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < r->count && account[0] != '\0' &&
                 compare_key(&r->by_account[low], provider, account) == 0;
    return found ? &r->by_account[low] : NULL;
}

bool routes_same_account(const struct route *a, const struct route *b)
{
    return a->provider == b->provider && strcmp(a->account, b->account) == 0;
}

const struct route *routes_end(const struct routes *r)
{
    return r->by_account + r->count;
}

/* ---- reading ---- */

static void routes_want(struct routes *r)
{
    r->wanted = true;
    wake_fire(&r->read_wake);
}

static void routes_read(struct routes *r)
{
    struct err err = {0};
    CLEANUP(rows_freep) struct rows *rows = NULL;
    int64_t version = queue_routes_version(r->o.queue);
    bool was_ok = r->postgres_err.code == ERR_NONE;
    r->wanted = false;
    r->read_at_mono_ms = clock_mono_ms();
    if (store_query(r->o.store, routes_sql, NULL, &rows, &err) == 0 &&
        snapshot_take(r, rows, &err) == 0) {
        if (!r->loaded || !was_ok) {
            log_info(r->o.log, "webhook.routes.loaded", "%d connections known", r->count);
        }
        r->loaded = true;
        r->version = version;
        r->loaded_at_mono_ms = clock_mono_ms();
        err_clear(&r->postgres_err);
        clocks_ask_postgres(r);
        return;
    }
    if (was_ok) {
        log_warn(r->o.log, "webhook.routes.unread", "%s: %s",
                 r->loaded ? "routes cannot be read anew, the known ones stay in force"
                           : "routes cannot be read, every delivery is answered 503",
                 err.msg);
    }
    r->postgres_err = err;
}

/* Those who came before the reading began have waited long enough; a later one may have been
 * told of a change that this reading did not see. */
static void serve_waiting(struct routes *r, int count)
{
    struct waiting first[WAITING_MAX];
    memcpy(first, r->waiting, (size_t)count * sizeof *first);
    r->waiting_count -= count;
    memmove(r->waiting, r->waiting + count, (size_t)r->waiting_count * sizeof *first);
    for (int i = 0; i < count; i++) {
        first[i].cb(first[i].arg);
    }
}

static int64_t next_read_in_ms(const struct routes *r)
{
    if (r->postgres_err.code != ERR_NONE || !r->loaded) {
        return RETRY_MS;
    }
    return r->waiting_count > 0 || r->wanted ? 0 : REFRESH_MS;
}

static void read_task(void *arg)
{
    struct routes *r = arg;
    while (!r->stopping) {
        struct err ignored = {0};
        int waiting = r->waiting_count;
        wake_reset(&r->read_wake);
        routes_read(r);
        serve_waiting(r, waiting);
        int64_t due_ms = clock_mono_ms() + next_read_in_ms(r);
        (void)!wake_wait(&r->read_wake, due_ms, &ignored);
        /* Woken early: others who come meanwhile share the reading. */
        int64_t left_ms = r->read_at_mono_ms + READ_APART_MS - clock_mono_ms();
        if (left_ms > 0 && !r->stopping) {
            task_sleep_ms(left_ms);
        }
    }
    serve_waiting(r, r->waiting_count);
    r->tasks--;
    if (r->orphaned) {
        routes_free(r);
    }
}

void routes_notice(struct routes *r)
{
    if (queue_routes_version(r->o.queue) != r->version && !r->wanted && r->loaded) {
        routes_want(r);
    }
}

bool routes_outdated(const struct routes *r)
{
    return r->postgres_err.code != ERR_NONE && queue_routes_version(r->o.queue) != r->version;
}

static void watch_task(void *arg)
{
    struct routes *r = arg;
    while (!r->stopping) {
        struct err err = {0};
        bool was_ok = r->redis_err.code == ERR_NONE;
        if (queue_ping(r->o.queue, &err) == 0) {
            if (!was_ok) {
                log_info(r->o.log, "redis.back", "Redis takes work again");
            }
            err_clear(&r->redis_err);
            r->redis_less_mono_ms = queue_clock_less_mono_ms(r->o.queue);
            r->redis_known = true;
            clocks_look(r);
            routes_notice(r);
        } else {
            if (was_ok) {
                log_error(r->o.log, "redis.away", "deliveries are answered 503: %s", err.msg);
            }
            r->redis_err = err;
        }
        struct err ignored = {0};
        wake_reset(&r->watch_wake);
        if (!r->stopping) {
            int64_t pause_ms = r->redis_err.code == ERR_NONE ? WATCH_EVERY_MS : WATCH_AWAY_MS;
            (void)!wake_wait(&r->watch_wake, clock_mono_ms() + pause_ms, &ignored);
        }
    }
    r->tasks--;
}

void routes_doubt_redis(struct routes *r)
{
    if (r->redis_err.code == ERR_NONE) {
        wake_fire(&r->watch_wake);
    }
}

bool routes_look_again(struct routes *r, routes_cb *cb, void *arg)
{
    if (r->stopping || r->postgres_err.code != ERR_NONE || r->waiting_count == WAITING_MAX) {
        return false;
    }
    r->waiting[r->waiting_count++] = (struct waiting){cb, arg};
    routes_want(r);
    return true;
}

/* ---- life ---- */

struct routes *routes_new(const struct routes_options *o, struct err *err)
{
    struct routes *r = calloc(1, sizeof *r);
    if (r == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for routes");
        return NULL;
    }
    r->o = *o;
    r->version = -1;
    r->tasks = 2;
    if (task_start(o->loop, "routes", read_task, r, err) != 0) {
        free(r);
        return NULL;
    }
    if (task_start(o->loop, "watch", watch_task, r, err) != 0) {
        r->tasks--;
        r->orphaned = true;
        routes_stop(r);
        return NULL;
    }
    return r;
}

void routes_stop(struct routes *r)
{
    r->stopping = true;
    wake_fire(&r->read_wake);
    wake_fire(&r->watch_wake);
}

bool routes_stopped(const struct routes *r)
{
    return r->tasks == 0;
}

void routes_free(struct routes *r)
{
    if (r == NULL) {
        return;
    }
    snapshot_free(r->by_account, r->count);
    free(r->by_id);
    free(r);
}

static bool well(const struct err *err, const char **reason)
{
    *reason = err->code != ERR_NONE ? err->msg : "";
    return err->code == ERR_NONE;
}

bool routes_redis_ok(const struct routes *r, const char **reason)
{
    /* Of several, each takes the deliveries of its connections. */
    return well(&r->redis_err, reason) || queue_shard_ok(r->o.queue, -1);
}

bool routes_postgres_ok(const struct routes *r, const char **reason)
{
    return well(&r->postgres_err, reason);
}

int routes_count(const struct routes *r)
{
    return r->count;
}

int64_t routes_age_ms(const struct routes *r)
{
    return r->loaded ? clock_mono_ms() - r->loaded_at_mono_ms : -1;
}
