/* `queue move-shard`: the keys of one shard to another Redis, while programs work.
 *
 * The shard's mark is set first, with an end of its own in case we die: from then on every
 * script answers that the shard is on its way, and the programs ask again every few ms, so that
 * nothing is refused while it takes less than their deadline. The keys are copied by DUMP and
 * RESTORE through this program: the two servers need not reach each other. Then the new place
 * is opened, and in the next step the old mark says where it is. Leases go along, so work goes
 * on under them. Redis' clocks should agree: what waits for an instant waits by the new one's.
 */
#include "common/clock.h"
#include "common/queue_redis.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

enum { FENCE_MS = 30000, RENEW_MS = 5000, KEYS_PER_STEP = 500 };

struct move {
    struct queue *queue;
    struct conn *to;
    struct redis_url to_url;
    int shard;
    char prefix[24], mark[32];
    char fence[64];
    int64_t fenced_mono_ms;
    struct queue_move_result *result;
};

static struct conn *source(const struct move *m)
{
    return queue_conn(m->queue, m->shard);
}

static struct redisReply *ask(struct conn *c, const char *const *words, struct err *err)
{
    struct args a;
    args_init(&a);
    for (; *words != NULL; words++) {
        args_str(&a, *words);
    }
    struct redisReply *reply = conn_call(c, NULL, 0, &a, err);
    args_release(&a);
    return reply;
}

/* A command whose answer only has to be no error. */
static int tell(struct conn *c, const char *const *words, struct err *err)
{
    struct redisReply *reply = ask(c, words, err);
    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);
    return 0;
}

/* ---- the mark ---- */

static int fence_begin(struct move *m, struct err *err)
{
    char ms[24];
    (void)snprintf(ms, sizeof ms, "%d", FENCE_MS);
    const char *const words[] = {"SET", m->mark, m->fence, "NX", "PX", ms, NULL};
    struct redisReply *reply = ask(source(m), words, err);
    if (reply == NULL) {
        return -1;
    }
    bool set = reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);
    if (!set) {
        err_set(err, ERR_CONFLICT, "shard %d is being moved by somebody else", m->shard);
        return -1;
    }
    m->fenced_mono_ms = clock_mono_ms();
    return 0;
}

/* Set the mark to value (for ms, 0 = for good) if it is still ours. */
static int fence_set(struct move *m, const char *value, int ms, struct err *err)
{
    static const char script[] =
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
        "if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2]) "
        "else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end return 1";
    char ms_text[24];
    (void)snprintf(ms_text, sizeof ms_text, "%d", ms);
    const char *const words[] = {"EVAL", script, "1", m->mark, m->fence, value, ms_text, NULL};
    struct redisReply *reply = ask(source(m), words, err);
    if (reply == NULL) {
        return -1;
    }
    bool ours = reply_int(reply, 0) == 1;
    freeReplyObject(reply);
    if (!ours) {
        err_set(err, ERR_CONFLICT,
                "shard %d stayed where it is: the move took too long to hold it still",
                m->shard);
        return -1;
    }
    m->fenced_mono_ms = clock_mono_ms();
    return 0;
}

static void fence_lift(struct move *m)
{
    static const char script[] =
        "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1";
    const char *const words[] = {"EVAL", script, "1", m->mark, m->fence, NULL};
    struct err ignored = {0};
    (void)tell(source(m), words, &ignored); /* else it ends by itself */
}

/* ---- keys ---- */

typedef int key_fn(struct move *m, struct conn *c, const char *key, size_t len_bytes,
                   struct err *err);

static int each_key(struct move *m, struct conn *c, key_fn *fn, struct err *err)
{
    char cursor[32] = "0", pattern[32], count[16];
    (void)snprintf(pattern, sizeof pattern, "%s*", m->prefix);
    (void)snprintf(count, sizeof count, "%d", KEYS_PER_STEP);
    do {
        const char *const words[] = {"SCAN", cursor, "MATCH", pattern, "COUNT", count, NULL};
        struct redisReply *reply = ask(c, words, err);
        if (reply == NULL) {
            return -1;
        }
        int rc = 0;
        (void)snprintf(cursor, sizeof cursor, "%s", reply_text(reply, 0, NULL));
        const struct redisReply *keys = reply->elements == 2 ? reply->element[1] : reply;
        for (size_t i = 0; rc == 0 && keys != reply && i < keys->elements; i++) {
            size_t n = 0;
            const char *key = reply_text(keys, i, &n);
            if (n != strlen(m->mark) || memcmp(key, m->mark, n) != 0) {
                rc = fn(m, c, key, n, err);
            }
        }
        freeReplyObject(reply);
        if (rc != 0) {
            return -1;
        }
    } while (strcmp(cursor, "0") != 0);
    return 0;
}

static struct redisReply *ask_key(struct conn *c, const char *verb, const char *key,
                                  size_t len_bytes, struct err *err)
{
    struct args a;
    args_init(&a);
    args_str(&a, verb);
    args_add(&a, key, len_bytes);
    struct redisReply *reply = conn_call(c, NULL, 0, &a, err);
    args_release(&a);
    return reply;
}

static int remove_key(struct move *m, struct conn *c, const char *key, size_t len_bytes,
                      struct err *err)
{
    (void)m;
    struct redisReply *reply = ask_key(c, "UNLINK", key, len_bytes, err);
    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);
    return 0;
}

static int refuse_key(struct move *m, struct conn *c, const char *key, size_t len_bytes,
                      struct err *err)
{
    (void)c;
    err_set(
        err, ERR_CONFLICT,
        "the new place already holds '%.*s': some program may be at work there; name it with "
        "--force to overwrite its shard %d",
        (int)len_bytes, key, m->shard);
    return -1;
}

static int copy_key(struct move *m, struct conn *c, const char *key, size_t len_bytes,
                    struct err *err)
{
    if (clock_mono_ms() > m->fenced_mono_ms + RENEW_MS &&
        fence_set(m, m->fence, FENCE_MS, err) != 0) {
        return -1;
    }
    struct redisReply *life = ask_key(c, "PTTL", key, len_bytes, err);
    struct redisReply *dump = life != NULL ? ask_key(c, "DUMP", key, len_bytes, err) : NULL;
    int64_t life_ms = life != NULL ? reply_int(life, 0) : 0;
    freeReplyObject(life);
    if (dump == NULL) {
        return -1;
    }
    if (dump->type == REDIS_REPLY_NIL) { /* a token that somebody took, or its end came */
        freeReplyObject(dump);
        return 0;
    }
    struct args a;
    size_t n = 0;
    const char *bytes = reply_text(dump, 0, &n);
    args_init(&a);
    a.wire.max_bytes = (size_t)1 << 30;
    args_str(&a, "RESTORE");
    args_add(&a, key, len_bytes);
    args_int(&a, life_ms > 0 ? life_ms : 0);
    args_add(&a, bytes, n);
    args_str(&a, "REPLACE");
    m->result->keys++;
    m->result->bytes += (int64_t)n;
    freeReplyObject(dump);
    struct redisReply *reply = conn_call(m->to, NULL, 0, &a, err);
    args_release(&a);
    if (reply == NULL) {
        err_wrap(err, "the new place");
        return -1;
    }
    freeReplyObject(reply);
    return 0;
}

/* ---- steps ---- */

/* Nobody may work at the new place before all is there, nor find there what an earlier attempt
 * left. It keeps the mark that it has: whoever comes by it is sent to where the shard is. */
static int prepare(struct move *m, bool force, struct err *err)
{
    const char *const set[] = {"SET", m->mark, m->fence, "NX", NULL};
    const char *const get[] = {"GET", m->mark, NULL};
    struct redisReply *reply = ask(m->to, get, err);
    if (reply == NULL) {
        err_wrap(err, "the new place");
        return -1;
    }
    bool marked = reply->type == REDIS_REPLY_STRING;
    freeReplyObject(reply);
    if (!marked && !force && each_key(m, m->to, refuse_key, err) != 0) {
        return -1;
    }
    return tell(m->to, set, err) != 0 || each_key(m, m->to, remove_key, err) != 0 ? -1 : 0;
}

static int hand_over(struct move *m, struct err *err)
{
    char place[400], value[416];
    const char *const open[] = {"DEL", m->mark, NULL};
    const char *const shut[] = {"SET", m->mark, m->fence, NULL};
    redis_url_text(&m->to_url, place, sizeof place);
    (void)snprintf(value, sizeof value, "PSMOVED %s", place);
    /* Ours for a while yet, or nothing has happened. */
    if (fence_set(m, m->fence, FENCE_MS, err) != 0 || tell(m->to, open, err) != 0) {
        return -1;
    }
    if (fence_set(m, value, 0, err) != 0) {
        struct err ignored = {0};
        (void)tell(m->to, shut, &ignored);
        return -1;
    }
    return 0;
}

static int move(struct move *m, bool force, struct err *err)
{
    if (prepare(m, force, err) != 0 || fence_begin(m, err) != 0) {
        return -1;
    }
    int64_t began = clock_mono_ms();
    if (each_key(m, source(m), copy_key, err) != 0 || hand_over(m, err) != 0) {
        fence_lift(m);
        return -1;
    }
    m->result->still_ms = clock_mono_ms() - began;
    /* What stays behind is only waste; the next move there begins by removing it. */
    struct err ignored = {0};
    (void)each_key(m, source(m), remove_key, &ignored);
    return 0;
}

static int open_place(struct move *m, const char *url, struct err *err)
{
    const struct redis_url *from = conn_place(source(m));
    if (redis_url_parse(url, &m->to_url, err) != 0) {
        return -1;
    }
    if (m->to_url.kind != REDIS_PLAIN || from->kind != REDIS_PLAIN) {
        err_set(err, ERR_INVALID,
                "shards are moved between plain addresses; a cluster moves its slots itself");
        return -1;
    }
    if (m->to_url.password[0] != '\0') {
        err_set(err, ERR_INVALID,
                "name the new place without password: it has the one of REDIS_URL");
        return -1;
    }
    if (strcmp(from->host, m->to_url.host) == 0 && strcmp(from->port, m->to_url.port) == 0 &&
        strtol(from->db, NULL, 10) == strtol(m->to_url.db, NULL, 10)) {
        err_set(err, ERR_INVALID, "shard %d is there", m->shard);
        return -1;
    }
    memcpy(m->to_url.user, from->user, sizeof m->to_url.user);
    memcpy(m->to_url.password, from->password, sizeof m->to_url.password);
    memcpy(m->to_url.ca, from->ca, sizeof m->to_url.ca);
    const struct redis_home home = {&m->to_url, 1};
    m->to = conn_new(m->queue->loop, &home, m->queue->command_timeout_ms, err);
    return m->to != NULL ? 0 : -1;
}

int queue_move_shard(struct queue *q, int shard, const char *url, bool force,
                     struct queue_move_result *result, struct err *err)
{
    struct move m = {.queue = q, .shard = shard, .result = result};
    memset(result, 0, sizeof *result);
    if (queue_check_shard(q, shard, err) != 0) {
        return -1;
    }
    (void)snprintf(m.prefix, sizeof m.prefix, "{ps%d}:", shard);
    (void)snprintf(m.mark, sizeof m.mark, "%smoved", m.prefix);
    (void)snprintf(m.fence, sizeof m.fence, "PSMOVING %08x%08x", (unsigned)arc4random(),
                   (unsigned)arc4random());
    /* A script is told where the shard is, and then we are there. */
    if (queue_ping(q, err) != 0) {
        return -1;
    }
    redis_url_text(conn_place(source(&m)), result->from, sizeof result->from);
    if (open_place(&m, url, err) != 0) {
        return -1;
    }
    redis_url_text(&m.to_url, result->to, sizeof result->to);
    int rc = move(&m, force, err);
    conn_close(m.to);
    return rc;
}

int queue_place(struct queue *q, int shard, char *out, size_t out_bytes, struct err *err)
{
    if (queue_check_shard(q, shard, err) != 0 || queue_ping(q, err) != 0) {
        return -1;
    }
    redis_url_text(conn_place(queue_conn(q, shard)), out, out_bytes);
    return 0;
}
