/* The queue on Redis: life of a queue, and the verbs that are one script call. The scripts do
 * the work (queue_lib.lua tells the keys); puts are in queue_redis_put.c, claims and leases in
 * queue_redis_claim.c, what is shown in queue_redis_show.c. */
#include "common/queue_redis.h"
#include "common/clock.h"
#include "common/task.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

enum { UNITS_PER_STEP = 500, LEASES_PER_STEP = 10, SHARDS_MAX = 4096 };

const char *const lane_names[LANE_COUNT] = {"interactive", "webhook", "run_now", "nightly"};

struct conn *queue_conn(const struct queue *q, int shard)
{
    return q->shard[shard].conn;
}

int queue_check_shard(const struct queue *q, int shard, struct err *err)
{
    if (shard < 0 || shard >= q->shards) {
        err_set(err, ERR_INVALID, "shard %d: there are %d", shard, q->shards);
        return -1;
    }
    return 0;
}

struct redisReply *queue_call(struct queue *q, int shard, enum queue_script script,
                              struct args *args, struct err *err)
{
    struct redisReply *reply = NULL;
    if (queue_check_shard(q, shard, err) == 0) {
        reply = conn_call(queue_conn(q, shard), &q->scripts[script], shard, args, err);
    }
    args_release(args);
    return reply;
}

int queue_call_int(struct queue *q, int shard, enum queue_script script, struct args *args,
                   int64_t *out, struct err *err)
{
    struct redisReply *reply = queue_call(q, shard, script, args, err);
    if (reply == NULL) {
        return -1;
    }
    if (out != NULL) {
        *out = reply_int(reply, 0);
    }
    freeReplyObject(reply);
    return 0;
}

/* ---- life ---- */

static int open_homes(struct queue *q, const struct redis_home *homes, int count,
                      struct err *err)
{
    for (int i = 0; i < q->shards; i++) {
        struct shard_state *s = &q->shard[i];
        s->queue = q;
        s->no = i;
        s->conn = conn_new(q->loop, &homes[i % count], q->command_timeout_ms, err);
        if (s->conn == NULL) {
            return -1;
        }
        s->wake_conn = conn_new(q->loop, &homes[i % count], q->command_timeout_ms, err);
        if (s->wake_conn == NULL) {
            return -1;
        }
    }
    return 0;
}

static int open_shards(struct queue *q, const struct queue_options *o, struct err *err)
{
    struct redis_home *homes = calloc((size_t)o->url_count, sizeof *homes);
    q->urls = calloc((size_t)o->url_count, sizeof *q->urls);
    int rc = 0;
    if (homes == NULL || q->urls == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the queue");
        rc = -1;
    }
    for (int i = 0; rc == 0 && i < o->url_count; i++) {
        rc = redis_url_parse(o->urls[i], &q->urls[i], err);
    }
    int count = rc == 0 ? place_homes(q->urls, o->url_count, homes, err) : -1;
    if (count > 0) {
        rc = open_homes(q, homes, count, err);
    }
    free(homes);
    return count > 0 ? rc : -1;
}

static void queue_release(struct queue *q)
{
    scripts_release(q->scripts);
    free(q->urls);
    free(q->shard);
    free(q);
}

static void close_shards(struct queue *q)
{
    for (int i = 0; q->shard != NULL && i < q->shards; i++) {
        conn_close(q->shard[i].conn);
        conn_close(q->shard[i].wake_conn);
    }
}

struct queue *queue_open(uv_loop_t *loop, const struct queue_options *o, struct err *err)
{
    if (o->url_count < 1 || o->shards < 1 || o->shards > SHARDS_MAX || o->lease_ms < 100) {
        err_set(
            err, ERR_CONFIG,
            "queue: %d addresses (1 or more), %d shards (1 to %d), lease of %lld ms (100 or "
            "more)",
            o->url_count, o->shards, SHARDS_MAX, (long long)o->lease_ms);
        return NULL;
    }
    struct queue *q = calloc(1, sizeof *q);
    if (q == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the queue");
        return NULL;
    }
    q->loop = loop;
    q->shards = o->shards;
    q->lease_ms = o->lease_ms;
    q->wait_replicas = o->wait_replicas;
    q->command_timeout_ms = o->command_timeout_ms > 0 ? o->command_timeout_ms : 5000;
    (void)snprintf(q->worker, sizeof q->worker, "%s", o->worker != NULL ? o->worker : "");
    q->shard = calloc((size_t)q->shards, sizeof *q->shard);
    if (q->shard == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the queue");
        goto fail;
    }
    if (scripts_init(q->scripts, o, err) != 0 || open_shards(q, o, err) != 0) {
        goto fail;
    }
    (void)uv_prepare_init(loop, &q->flush);
    (void)uv_timer_init(loop, &q->renew);
    q->flush.data = q;
    q->renew.data = q;
    q->handles_open = 2;
    return q;

fail:
    close_shards(q);
    queue_release(q);
    return NULL;
}

static void on_queue_handle_closed(uv_handle_t *h)
{
    struct queue *q = h->data;
    if (--q->handles_open == 0) {
        queue_release(q);
    }
}

void queue_close(struct queue *q)
{
    if (q == NULL) {
        return;
    }
    q->closing = true;
    queue_put_discard(q);
    close_shards(q);
    queue_claims_discard(q);
    uv_close((uv_handle_t *)&q->flush, on_queue_handle_closed);
    uv_close((uv_handle_t *)&q->renew, on_queue_handle_closed);
}

/* ---- verbs ---- */

/* All of them, also when one is away; the first failure is told. */
static int ping_shards(struct queue *q, const char *raise, struct err *err)
{
    int rc = 0;
    for (int shard = 0; shard < q->shards; shard++) {
        struct args a;
        struct err other = {0};
        args_init(&a);
        args_str(&a, raise);
        int64_t asked_mono_ms = clock_mono_ms();
        struct redisReply *reply =
            queue_call(q, shard, SCRIPT_PING, &a, rc == 0 ? err : &other);
        q->shard[shard].away = reply == NULL;
        if (reply == NULL) {
            rc = -1;
            continue;
        }
        q->shard[shard].routes_version = reply_int(reply, 0);
        if (shard == 0) {
            q->clock_less_mono_ms = reply_int(reply, 1) - (asked_mono_ms + clock_mono_ms()) / 2;
        }
        freeReplyObject(reply);
    }
    return rc;
}

bool queue_shard_ok(const struct queue *q, int shard)
{
    for (int i = 0; i < q->shards; i++) {
        if ((shard < 0 || i == shard) && !q->shard[i].away) {
            return true;
        }
    }
    return false;
}

int queue_ping(struct queue *q, struct err *err)
{
    return ping_shards(q, "0", err);
}

int queue_routes_changed(struct queue *q, struct err *err)
{
    return ping_shards(q, "1", err);
}

int64_t queue_clock_less_mono_ms(const struct queue *q)
{
    return q->clock_less_mono_ms;
}

int64_t queue_routes_version(const struct queue *q)
{
    int64_t sum = 0;
    for (int i = 0; i < q->shards; i++) {
        sum += q->shard[i].routes_version;
    }
    return sum;
}

static int reserve(struct queue *q, int shard, const char *provider, const char *account,
                   const char *family, int n, int64_t patience_ms, int64_t *answer,
                   struct err *err)
{
    struct args a;
    args_init(&a);
    args_str(&a, provider);
    args_str(&a, account);
    args_str(&a, family);
    args_int(&a, n);
    args_int(&a, patience_ms);
    return queue_call_int(q, shard, SCRIPT_RESERVE, &a, answer, err);
}

int queue_reserve(struct queue *q, int shard, const char *provider, const char *account,
                  const char *family, int n, int64_t *wait_ms, struct err *err)
{
    return reserve(q, shard, provider, account, family, n, 0, wait_ms, err);
}

int queue_reserve_ahead(struct queue *q, int shard, const char *provider, const char *account,
                        const char *family, int64_t patience_ms, bool *granted,
                        int64_t *wait_ms, struct err *err)
{
    int64_t answer = 0;
    int rc = reserve(q, shard, provider, account, family, 1, patience_ms, &answer, err);
    *granted = answer <= 0;
    *wait_ms = answer < 0 ? -answer : answer;
    return rc;
}

int queue_throttle(struct queue *q, int shard, const char *provider, const char *account,
                   const char *family, int64_t wait_ms, struct err *err)
{
    struct args a;
    args_init(&a);
    args_str(&a, provider);
    args_str(&a, account);
    args_str(&a, family);
    args_int(&a, wait_ms);
    return queue_call_int(q, shard, SCRIPT_THROTTLE, &a, NULL, err);
}

int queue_told(struct queue *q, int shard, const char *provider, const char *account,
               const char *family, const struct queue_told *told, struct err *err)
{
    struct args a;
    args_init(&a);
    args_str(&a, provider);
    args_str(&a, account);
    args_str(&a, family);
    args_int(&a, (int64_t)(told->rate_per_s * 1000 + 0.5));
    args_int(&a, told->daily_limit);
    args_int(&a, told->daily_left);
    return queue_call_int(q, shard, SCRIPT_TOLD, &a, NULL, err);
}

int queue_close_account(struct queue *q, int shard, const char *provider, const char *account,
                        int64_t wait_ms, const char *reason, struct err *err)
{
    struct args a;
    args_init(&a);
    args_str(&a, provider);
    args_str(&a, account);
    args_int(&a, wait_ms);
    args_str(&a, reason);
    return queue_call_int(q, shard, SCRIPT_CLOSE, &a, NULL, err);
}

int queue_breaker(struct queue *q, int shard, const char *provider, const char *account,
                  bool ok, int64_t *open_ms, struct err *err)
{
    struct args a;
    args_init(&a);
    args_str(&a, provider);
    args_str(&a, account);
    args_int(&a, ok ? 1 : 0);
    return queue_call_int(q, shard, SCRIPT_BREAKER, &a, open_ms, err);
}

int queue_configure(struct queue *q, const struct queue_connection *c, struct err *err)
{
    struct args a;
    args_init(&a);
    args_int(&a, c->connection_id);
    args_str(&a, c->provider);
    args_str(&a, c->account);
    args_int(&a, c->parked ? 1 : 0);
    args_int(&a, c->paused ? 1 : 0);
    return queue_call_int(q, c->shard, SCRIPT_CONFIGURE, &a, NULL, err);
}

int queue_park(struct queue *q, int shard, int64_t connection_id, const char *reason,
               struct err *err)
{
    struct args a;
    args_init(&a);
    args_int(&a, connection_id);
    args_str(&a, reason != NULL && reason[0] != '\0' ? reason : "parked");
    return queue_call_int(q, shard, SCRIPT_PARK, &a, NULL, err);
}

int queue_unpark(struct queue *q, int shard, int64_t connection_id, const char *reason,
                 int64_t *units, struct err *err)
{
    int64_t n = 0;
    *units = 0;
    do {
        struct args a;
        args_init(&a);
        args_int(&a, connection_id);
        args_str(&a, reason != NULL ? reason : "");
        args_int(&a, UNITS_PER_STEP);
        if (queue_call_int(q, shard, SCRIPT_UNPARK, &a, &n, err) != 0) {
            return -1;
        }
        *units += n;
    } while (n >= UNITS_PER_STEP);
    return 0;
}

static int pause_step(struct queue *q, int shard, int64_t connection_id, int lane, bool paused,
                      const char *set, char cursor[32], struct err *err)
{
    struct args a;
    args_init(&a);
    args_int(&a, paused ? 1 : 0);
    if (connection_id != 0) {
        args_int(&a, connection_id);
        args_str(&a, "");
    } else {
        args_str(&a, "");
        args_int(&a, lane);
    }
    args_str(&a, cursor);
    args_str(&a, set);
    struct redisReply *reply = queue_call(q, shard, SCRIPT_PAUSE, &a, err);
    if (reply == NULL) {
        return -1;
    }
    (void)snprintf(cursor, 32, "%s", reply_text(reply, 0, NULL));
    freeReplyObject(reply);
    return 0;
}

static int pause_shard(struct queue *q, int shard, int64_t connection_id, int lane, bool paused,
                       struct err *err)
{
    static const char *const sets[] = {"wait", "ring1"};
    for (size_t i = 0; i < COUNT_OF(sets); i++) {
        char cursor[32] = "0";
        do {
            if (pause_step(q, shard, connection_id, lane, paused, sets[i], cursor, err) != 0) {
                return -1;
            }
        } while (strcmp(cursor, "0") != 0);
        if (connection_id != 0 || paused) {
            break;
        }
    }
    return 0;
}

int queue_pause(struct queue *q, int shard, int64_t connection_id, int lane, bool paused,
                struct err *err)
{
    if (lane < -1 || lane >= LANE_COUNT) {
        err_set(err, ERR_INVALID, "lane %d: there are %d", lane, LANE_COUNT);
        return -1;
    }
    if (connection_id != 0 || shard >= 0) {
        return pause_shard(q, shard, connection_id, lane, paused, err);
    }
    for (int i = 0; i < q->shards; i++) {
        if (pause_shard(q, i, 0, lane, paused, err) != 0) {
            return -1;
        }
    }
    return 0;
}

int queue_drop_connection(struct queue *q, int shard, int64_t connection_id, struct err *err)
{
    char cursor[32] = "0";
    int64_t left = 0;
    do {
        struct args a;
        args_init(&a);
        args_int(&a, connection_id);
        args_int(&a, UNITS_PER_STEP);
        args_str(&a, cursor);
        struct redisReply *reply = queue_call(q, shard, SCRIPT_DROP, &a, err);
        if (reply == NULL) {
            return -1;
        }
        left = reply_int(reply, 0);
        (void)snprintf(cursor, sizeof cursor, "%s", reply_text(reply, 1, NULL));
        freeReplyObject(reply);
    } while (left > 0);
    return 0;
}

static int reap_shard(struct queue *q, int shard, int64_t *reaped, struct err *err)
{
    int64_t leases = 0;
    int64_t moved = 0;
    do {
        struct args a;
        args_init(&a);
        args_int(&a, LEASES_PER_STEP);
        args_int(&a, UNITS_PER_STEP);
        args_int(&a, q->lease_ms);
        struct redisReply *reply = queue_call(q, shard, SCRIPT_REAP, &a, err);
        if (reply == NULL) {
            return -1;
        }
        leases = reply_int(reply, 0);
        moved = reply_int(reply, 1);
        freeReplyObject(reply);
        *reaped += leases;
    } while (leases >= LEASES_PER_STEP || moved >= UNITS_PER_STEP);
    return 0;
}

int queue_reap(struct queue *q, int64_t *reaped, struct err *err)
{
    int rc = 0;
    *reaped = 0;
    /* One shard away must not keep the others from their leases. */
    for (int shard = 0; shard < q->shards; shard++) {
        struct err other = {0};
        if (reap_shard(q, shard, reaped, rc == 0 ? err : &other) != 0) {
            rc = -1;
        }
    }
    return rc;
}

int queue_receipts(struct queue *q, int max, struct buf *out, struct err *err)
{
    int rc = 0;
    for (int shard = 0; shard < q->shards && max > 0; shard++) {
        struct args a;
        args_init(&a);
        args_int(&a, max < 1000 ? max : 1000);
        struct err other = {0};
        struct redisReply *reply =
            queue_call(q, shard, SCRIPT_RECEIPTS, &a, rc == 0 ? err : &other);
        if (reply == NULL) {
            rc = -1;
            continue;
        }
        for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
            size_t n = 0;
            const char *line = reply_text(reply, i, &n);
            (void)buf_add(out, line, n);
            (void)buf_add_char(out, '\n');
            max--;
        }
        freeReplyObject(reply);
    }
    /* What was read is out of the queue: it must not go with another shard's failure. */
    return out->len_bytes > 0 ? 0 : rc;
}

int queue_unconfigured(struct queue *q, int64_t *connection_ids, int *shards, int max, int *n,
                       struct err *err)
{
    *n = 0;
    for (int shard = 0; shard < q->shards && *n < max; shard++) {
        struct args a;
        args_init(&a);
        args_str(&a, "uc");
        args_str(&a, "0");
        args_int(&a, max);
        struct redisReply *reply = queue_call(q, shard, SCRIPT_CONNECTIONS, &a, err);
        if (reply == NULL) {
            return -1;
        }
        const struct redisReply *ids = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
                                           ? reply->element[1]
                                           : reply;
        for (size_t i = 0; i < ids->elements && *n < max; i++) {
            connection_ids[*n] = reply_int(ids, i);
            shards[(*n)++] = shard;
        }
        freeReplyObject(reply);
    }
    return 0;
}
