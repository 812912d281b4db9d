/* What the queue shows of itself: sums, lists, checks. Everything is read in steps, so that a
 * look at a million units does not hold up the work. */
#include "common/clock.h"
#include "common/queue_redis.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS_PER_STEP = 200, FSCK_UNITS_PER_STEP = 500, LIST_STEP = 500 };

/* ---- stats ---- */

static int stats_shard(struct queue *q, int shard, int64_t connection_id,
                       struct queue_stats *out, struct err *err)
{
    char cursor[32] = "0";
    struct queue_stats one;
    do {
        struct args a;
        args_init(&a);
        if (connection_id != 0) {
            args_int(&a, connection_id);
        } else {
            args_str(&a, "");
        }
        args_str(&a, cursor);
        struct redisReply *reply = queue_call(q, shard, SCRIPT_STATS, &a, err);
        if (reply == NULL) {
            return -1;
        }
        (void)snprintf(cursor, sizeof cursor, "%s", reply_text(reply, 0, NULL));
        int64_t age = reply_int(reply, 1);
        out->oldest_age_ms = age > out->oldest_age_ms ? age : out->oldest_age_ms;
        for (size_t lane = 0; lane < LANE_COUNT; lane++) {
            one.waiting[lane] = reply_int(reply, 2 + lane);
        }
        one.delayed = reply_int(reply, 6);
        one.parked = reply_int(reply, 7);
        one.buried = reply_int(reply, 8);
        one.leased = reply_int(reply, 9);
        one.workers = reply_int(reply, 10);
        out->paused |= (unsigned)reply_int(reply, 11);
        freeReplyObject(reply);
    } while (strcmp(cursor, "0") != 0);
    for (size_t lane = 0; lane < LANE_COUNT; lane++) {
        out->waiting[lane] += one.waiting[lane];
    }
    out->delayed += one.delayed;
    out->parked += one.parked;
    out->buried += one.buried;
    out->leased += one.leased;
    /* Every worker serves every shard. */
    out->workers = one.workers > out->workers ? one.workers : out->workers;
    return 0;
}

int queue_stats(struct queue *q, int64_t connection_id, struct queue_stats *out,
                struct err *err)
{
    memset(out, 0, sizeof *out);
    for (int shard = 0; shard < q->shards; shard++) {
        if (stats_shard(q, shard, connection_id, out, err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- all connections of a shard, one after the other ---- */

typedef int connection_fn(struct queue *q, int shard, int64_t connection_id, void *arg,
                          struct err *err);

static int each_connection(struct queue *q, int shard, connection_fn *fn, void *arg,
                           struct err *err)
{
    char cursor[32] = "0";
    int rc = 0;
    do {
        struct args a;
        args_init(&a);
        args_str(&a, "cs");
        args_str(&a, cursor);
        args_int(&a, CONNECTIONS_PER_STEP);
        struct redisReply *reply = queue_call(q, shard, SCRIPT_CONNECTIONS, &a, err);
        if (reply == NULL) {
            return -1;
        }
        (void)snprintf(cursor, sizeof cursor, "%s", reply_text(reply, 0, NULL));
        if (reply->elements == 2) {
            const struct redisReply *ids = reply->element[1];
            for (size_t i = 0; rc == 0 && i < ids->elements; i++) {
                rc = fn(q, shard, reply_int(ids, i), arg, err);
            }
        }
        freeReplyObject(reply);
    } while (rc == 0 && strcmp(cursor, "0") != 0);
    return rc < 0 ? -1 : 0; /* > 0: enough */
}

/* ---- fsck ---- */

struct fsck {
    struct buf *violations;
    int64_t *checked;
};

static int fsck_walk(struct queue *q, int shard, const char *what, int64_t connection_id,
                     const struct fsck *f, struct err *err)
{
    char cursor[32] = "0";
    do {
        struct args a;
        args_init(&a);
        args_str(&a, what);
        args_int(&a, connection_id);
        args_str(&a, cursor);
        args_int(&a, FSCK_UNITS_PER_STEP);
        struct redisReply *reply = queue_call(q, shard, SCRIPT_FSCK, &a, err);
        if (reply == NULL) {
            return -1;
        }
        (void)snprintf(cursor, sizeof cursor, "%s", reply_text(reply, 0, NULL));
        *f->checked += reply_int(reply, 1);
        for (size_t i = 2; i < reply->elements; i++) {
            (void)buf_printf(f->violations, "shard %d: %s\n", shard,
                             reply_text(reply, i, NULL));
        }
        freeReplyObject(reply);
    } while (strcmp(cursor, "0") != 0);
    return 0;
}

static int fsck_connection(struct queue *q, int shard, int64_t connection_id, void *arg,
                           struct err *err)
{
    const struct fsck *f = arg;
    if (fsck_walk(q, shard, "conn", connection_id, f, err) != 0) {
        return -1;
    }
    return fsck_walk(q, shard, "units", connection_id, f, err);
}

int queue_fsck(struct queue *q, struct buf *violations, int64_t *checked, struct err *err)
{
    struct fsck f = {violations, checked};
    *checked = 0;
    for (int shard = 0; shard < q->shards; shard++) {
        if (fsck_walk(q, shard, "shard", 0, &f, err) != 0 ||
            fsck_walk(q, shard, "leases", 0, &f, err) != 0 ||
            fsck_walk(q, shard, "delayed", 0, &f, err) != 0 ||
            each_connection(q, shard, fsck_connection, &f, err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- list ---- */

static void json_text(struct buf *b, const char *text, size_t len_bytes)
{
    (void)buf_add_char(b, '"');
    for (size_t i = 0; i < len_bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            (void)buf_add_char(b, '\\');
            (void)buf_add_char(b, (char)c);
        } else if (c < 0x20 || c == 0x7f) {
            (void)buf_printf(b, "\\u%04x", c);
        } else {
            (void)buf_add_char(b, (char)c);
        }
    }
    (void)buf_add_char(b, '"');
}

static void json_field(struct buf *b, const char *name, const struct redisReply *reply,
                       size_t i)
{
    size_t n = 0;
    const char *text = reply_text(reply, i, &n);
    (void)buf_printf(b, ",\"%s\":", name);
    json_text(b, text, n);
}

static const char *kind_name(char kind)
{
    return kind == 'c' ? "chunk" : kind == 'k' ? "check" : "record";
}

enum { LIST_FIELDS = 13 };

static void list_row(struct buf *b, const char *state, const struct redisReply *r, size_t at)
{
    size_t n = 0;
    const char *unit = reply_text(r, at + 1, &n);
    const char *colon = n > 1 ? memchr(unit + 1, ':', n - 1) : NULL; /* behind the kind */
    if (colon == NULL) {
        return;
    }
    int64_t lane = reply_int(r, at + 3);
    (void)buf_printf(
        b, "%s{\"connection_id\":%lld,\"kind\":\"%s\",\"object\":", b->len_bytes > 1 ? "," : "",
        (long long)reply_int(r, at), kind_name(unit[0]));
    json_text(b, unit + 1, (size_t)(colon - unit - 1));
    (void)buf_add_str(b, ",\"id\":");
    json_text(b, colon + 1, n - (size_t)(colon + 1 - unit));
    (void)buf_printf(b, ",\"state\":\"%s\",\"lane\":\"%s\",\"since_ms\":%lld", state,
                     lane_names[lane >= 0 && lane < LANE_COUNT ? lane : 0],
                     (long long)reply_int(r, at + 4));
    (void)buf_printf(b, ",\"events\":%lld,\"attempts\":%lld", (long long)reply_int(r, at + 5),
                     (long long)reply_int(r, at + 6));
    json_field(b, "trigger", r, at + 7);
    json_field(b, "actor", r, at + 8);
    json_field(b, "reason", r, at + 9);
    (void)buf_printf(b, ",\"due_ms\":%lld,\"dirty\":%s", (long long)reply_int(r, at + 10),
                     reply_int(r, at + 11) != 0 ? "true" : "false");
    json_field(b, "worker", r, at + 12);
    (void)buf_add_char(b, '}');
}

struct list {
    struct buf *json;
    const char *state;
    char letter;
    int64_t only; /* connection, 0 = all */
    int left;
};

/* connection_id 0: all that the shard's set of delayed units or leases tells. */
static int list_set(struct queue *q, int shard, int64_t connection_id, void *arg,
                    struct err *err)
{
    struct list *l = arg;
    int64_t offset = 0;
    while (l->left > 0 && offset >= 0) {
        struct args a;
        args_init(&a);
        if (connection_id != 0) {
            args_int(&a, connection_id);
        } else {
            args_str(&a, "");
        }
        args_add(&a, &l->letter, 1);
        args_int(&a, offset);
        args_int(&a, l->letter == 'w' && l->left < LIST_STEP ? l->left : LIST_STEP);
        struct redisReply *reply = queue_call(q, shard, SCRIPT_LIST, &a, err);
        if (reply == NULL) {
            return -1;
        }
        offset = reply_int(reply, 0);
        for (size_t at = 1; l->left > 0 && at + LIST_FIELDS <= reply->elements;
             at += LIST_FIELDS) {
            list_row(l->json, l->state, reply, at);
            l->left--;
        }
        freeReplyObject(reply);
    }
    return l->left > 0 ? 0 : 1;
}

int queue_list(struct queue *q, int64_t connection_id, const char *state, int max,
               struct buf *json, struct err *err)
{
    static const char *const states[] = {"waiting", "delayed", "parked", "buried", "leased"};
    struct list l = {.state = state, .left = max, .only = connection_id};
    for (size_t i = 0; i < COUNT_OF(states); i++) {
        if (strcmp(state, states[i]) == 0) {
            l.letter = states[i][0];
        }
    }
    if (l.letter == '\0') {
        err_set(err, ERR_INVALID,
                "state '%s': allowed are waiting, delayed, parked, buried, leased", state);
        return -1;
    }
    struct buf rows; /* of its own: a row knows by its length whether it is the first */
    buf_init(&rows, json->max_bytes);
    l.json = &rows;
    (void)buf_add_char(&rows, '[');
    int rc = 0;
    for (int shard = 0; rc >= 0 && shard < q->shards && l.left > 0; shard++) {
        if (connection_id != 0 || l.letter == 'd' || l.letter == 'l') {
            rc = list_set(q, shard, connection_id, &l, err);
        } else {
            rc = each_connection(q, shard, list_set, &l, err);
        }
    }
    (void)buf_add_char(&rows, ']');
    if (rc >= 0) {
        (void)buf_add(json, buf_text(&rows), rows.len_bytes);
    }
    if (rc >= 0 && (rows.failed || json->failed)) {
        err_set(err, ERR_NOMEM, "the list does not fit in %zu bytes", json->max_bytes);
        rc = -1;
    }
    buf_release(&rows);
    return rc < 0 ? -1 : 0;
}

/* ---- find ---- */

int queue_find(struct queue *q, int shard, int64_t connection_id, const char *object,
               const char *id, struct queue_place *out, struct err *err)
{
    static const struct {
        char letter;
        const char *name;
    } states[] = {
        {'w', "waiting"}, {'d', "delayed"}, {'p', "parked"}, {'b', "buried"}, {'l', "leased"}};
    struct args a;
    struct buf unit;
    memset(out, 0, sizeof *out);
    args_init(&a);
    args_int(&a, connection_id);
    buf_init(&unit, 1024);
    (void)buf_printf(&unit, "r%s:%s", object, id);
    args_str(&a, buf_text(&unit));
    struct redisReply *reply = queue_call(q, shard, SCRIPT_FIND, &a, err);
    buf_release(&unit);
    if (reply == NULL) {
        return -1;
    }
    size_t n = 0;
    const char *state = reply->elements > 0 ? reply_text(reply, 0, &n) : "";
    for (size_t i = 0; n > 0 && i < COUNT_OF(states); i++) {
        if (state[0] == states[i].letter) {
            out->state = states[i].name;
            out->lane = (int)reply_int(reply, 1);
            out->since_ms = reply_int(reply, 2);
            out->due_ms = reply_int(reply, 3);
            out->attempts = (int)reply_int(reply, 4);
            (void)snprintf(out->reason, sizeof out->reason, "%s", reply_text(reply, 5, NULL));
        }
    }
    freeReplyObject(reply);
    return 0;
}

/* ---- scripts that answer JSON objects ---- */

static int json_array(struct queue *q, enum queue_script script, struct buf *json,
                      int shard_count, struct err *err)
{
    bool first = true;
    (void)buf_add_char(json, '[');
    for (int shard = 0; shard < shard_count; shard++) {
        struct args a;
        args_init(&a);
        struct redisReply *reply = queue_call(q, shard, script, &a, err);
        if (reply == NULL) {
            return -1;
        }
        for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
            (void)buf_printf(json, "%s%s", first ? "" : ",", reply_text(reply, i, NULL));
            first = false;
        }
        freeReplyObject(reply);
    }
    (void)buf_add_char(json, ']');
    return 0;
}

int queue_workers(struct queue *q, struct buf *json, struct err *err)
{
    return json_array(q, SCRIPT_WORKERS, json, q->shards, err);
}

int queue_quota(struct queue *q, struct buf *json, struct err *err)
{
    return json_array(q, SCRIPT_QUOTA, json, q->shards, err);
}

/* ---- about Redis itself ---- */

static struct redisReply *command(struct queue *q, int shard, const char *const *words,
                                  struct err *err)
{
    struct args a;
    args_init(&a);
    for (; *words != NULL; words++) {
        args_str(&a, *words);
    }
    struct redisReply *reply = conn_call(queue_conn(q, shard), NULL, shard, &a, err);
    args_release(&a);
    return reply;
}

static void add_info_field(struct buf *out, const char *info, const char *field)
{
    const char *at = strstr(info, field);
    if (at != NULL) {
        at += strlen(field);
        (void)buf_add(out, at, strcspn(at, "\r\n"));
    }
}

/* A mark that stays as long as the shard's keys do: whoever finds it missing sets a new one, so
 * FLUSHALL, an empty disk or another database shows, though the process is the same. */
static int add_epoch(struct queue *q, int shard, struct buf *out, struct err *err)
{
    char key[32], value[96];
    (void)snprintf(key, sizeof key, "{ps%d}:epoch", shard);
    (void)snprintf(value, sizeof value, "%lld-%08x", (long long)clock_now_ms(),
                   (unsigned)arc4random());
    const char *const set[] = {"SET", key, value, "NX", NULL};
    const char *const get[] = {"GET", key, NULL};
    struct redisReply *reply = command(q, shard, set, err);
    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);
    reply = command(q, shard, get, err);
    if (reply == NULL) {
        return -1;
    }
    (void)buf_add_char(out, '/');
    (void)buf_add_str(out, reply_text(reply, 0, NULL));
    freeReplyObject(reply);
    return 0;
}

/* The first shard that is where this one is: what a server says of itself is asked once. */
static int first_shard_there(const struct queue *q, int shard)
{
    for (int i = 0; i < shard; i++) {
        const struct redis_url *a = conn_place(q->shard[i].conn);
        const struct redis_url *b = conn_place(q->shard[shard].conn);
        if (strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0) {
            return i;
        }
    }
    return shard;
}

static int ask_server(struct queue *q, int shard, struct buf *out, struct err *err)
{
    static const char *const server[] = {"INFO", "server", NULL};
    static const char *const replication[] = {"INFO", "replication", NULL};
    struct redisReply *reply = command(q, shard, server, err);
    if (reply == NULL) {
        return -1;
    }
    add_info_field(out, reply_text(reply, 0, NULL), "run_id:");
    freeReplyObject(reply);
    reply = command(q, shard, replication, err);
    if (reply == NULL) {
        return -1;
    }
    (void)buf_add_char(out, '/');
    add_info_field(out, reply_text(reply, 0, NULL), "role:");
    freeReplyObject(reply);
    return 0;
}

/* A shard that was moved in order (its mark is the same, see add_epoch) is at another server
 * without any gap, so the server that it left stays its name. After a fail-over nobody knows
 * what was lost: there another server is a gap. */
static int look_at_server(struct queue *q, int shard, struct err *err)
{
    struct shard_state *s = &q->shard[shard];
    const struct redis_url *url = conn_place(s->conn);
    int first = first_shard_there(q, shard);
    char at[sizeof s->server_at];
    struct buf now;
    buf_init(&now, sizeof s->server);
    redis_url_text(url, at, sizeof at);
    int rc = first < shard ? buf_add_str(&now, q->shard[first].server)
                           : ask_server(q, shard, &now, err);
    if (rc == 0) {
        bool moved = url->kind == REDIS_PLAIN && s->server_at[0] != '\0' &&
                     strcmp(s->server_at, at) != 0;
        if (!moved && strcmp(s->server, buf_text(&now)) != 0) {
            (void)snprintf(s->told, sizeof s->told, "%s", buf_text(&now));
        }
        (void)snprintf(s->server, sizeof s->server, "%s", buf_text(&now));
        memcpy(s->server_at, at, sizeof at);
    }
    buf_release(&now);
    return rc;
}

int queue_identity(struct queue *q, struct buf *out, struct err *err)
{
    /* Only a script is told where its shard is now. */
    if (queue_ping(q, err) != 0) {
        return -1;
    }
    for (int shard = 0; shard < q->shards; shard++) {
        if (look_at_server(q, shard, err) != 0) {
            return -1;
        }
        (void)buf_add_str(out, shard > 0 ? "," : "");
        (void)buf_add_str(out, q->shard[shard].told);
        if (add_epoch(q, shard, out, err) != 0) {
            return -1;
        }
    }
    return 0;
}

int queue_server(struct queue *q, struct buf *out, struct err *err)
{
    static const char *const words[] = {"INFO", "server", NULL};
    struct buf one;
    buf_init(&one, 256);
    for (int shard = 0; shard < q->shards; shard++) {
        if (first_shard_there(q, shard) != shard) {
            continue;
        }
        struct redisReply *reply = command(q, shard, words, err);
        if (reply == NULL) {
            buf_release(&one);
            return -1;
        }
        const char *info = reply_text(reply, 0, NULL);
        bool valkey = strstr(info, "valkey_version:") != NULL;
        buf_clear(&one);
        (void)buf_add_str(&one, valkey ? "Valkey " : "Redis ");
        add_info_field(&one, info, valkey ? "valkey_version:" : "redis_version:");
        freeReplyObject(reply);
        if (strstr(buf_text(out), buf_text(&one)) == NULL) {
            (void)buf_printf(out, "%s%s", out->len_bytes > 0 ? ", " : "", buf_text(&one));
        }
    }
    buf_release(&one);
    return 0;
}

/* One setting; "" when Redis does not tell it. */
static int setting(struct queue *q, int shard, const char *name, char out[64], struct err *err)
{
    const char *const words[] = {"CONFIG", "GET", name, NULL};
    struct redisReply *reply = command(q, shard, words, err);
    out[0] = '\0';
    if (reply == NULL) {
        return err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT ? -1 : 0;
    }
    (void)snprintf(out, 64, "%s", reply_text(reply, 1, NULL));
    freeReplyObject(reply);
    return 0;
}

int queue_check_durability(struct queue *q, struct buf *warnings, struct err *err)
{
    static const struct {
        const char *name, *want, *why;
    } rows[] = {
        {"appendonly", "yes", "accepted work is lost when Redis is restarted"},
        {"appendfsync", "always", "work accepted in the last second is lost when Redis dies"},
        {"maxmemory-policy", "noeviction", "Redis may throw work away when it is full"},
    };
    struct err full = {0};
    int no = 0;
    /* Tells us where the shards are; that it cannot write is no reason not to ask. */
    if (queue_ping(q, &full) != 0 && full.code == ERR_CANCELLED) {
        *err = full;
        return -1;
    }
    for (int shard = 0; shard < q->shards; shard++) {
        if (first_shard_there(q, shard) != shard) {
            continue;
        }
        int address = no++;
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            char value[64];
            if (setting(q, shard, rows[i].name, value, err) != 0) {
                return -1;
            }
            if (value[0] == '\0') {
                (void)buf_printf(warnings, "Redis %d does not tell its %s (should be %s)\n",
                                 address, rows[i].name, rows[i].want);
            } else if (strcmp(value, rows[i].want) != 0) {
                (void)buf_printf(warnings, "Redis %d has %s %s, should be %s: %s\n", address,
                                 rows[i].name, value, rows[i].want, rows[i].why);
            }
        }
    }
    return 0;
}
