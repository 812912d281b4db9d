/* A queue on the Redis of PIVOTAL_SYNC_TEST_REDIS_URL, emptied for each test, and a second,
 * plain connection for what only tests do. Test bodies are tasks; a failed CHECK is kept and
 * told to cmocka after the task has returned (cmocka jumps, and must not jump off a task's
 * stack). */
#ifndef TESTS_CONTRACT_QUEUE_RIG_H
#define TESTS_CONTRACT_QUEUE_RIG_H

#include "common/clock.h"
#include "common/queue.h"
#include "common/task.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rig {
    uv_loop_t loop;
    struct queue *q;
    redisContext *redis;
    struct err err;
    char failure[768];
    void (*body)(struct rig *);
};

#define CHECK(cond)                                                                            \
    do {                                                                                       \
        if (!(cond)) {                                                                         \
            rig_fail(rig, __FILE__, __LINE__, #cond);                                          \
            return;                                                                            \
        }                                                                                      \
    } while (0)
#define CHECK_INT(a, b)                                                                        \
    do {                                                                                       \
        long long rig_a = (long long)(a), rig_b = (long long)(b);                              \
        if (rig_a != rig_b) {                                                                  \
            char rig_text[128];                                                                \
            (void)snprintf(rig_text, sizeof rig_text, "%s is %lld and not %lld", #a, rig_a,    \
                           rig_b);                                                             \
            rig_fail(rig, __FILE__, __LINE__, rig_text);                                       \
            return;                                                                            \
        }                                                                                      \
    } while (0)

static inline void rig_fail(struct rig *rig, const char *file, int line, const char *what)
{
    if (rig->failure[0] == '\0') {
        (void)snprintf(rig->failure, sizeof rig->failure, "%s:%d: %s (%s)", file, line, what,
                       rig->err.code != ERR_NONE ? rig->err.msg : "no error");
    }
}

static const struct queue_family rig_families[] = {
    {"hubspot", "general", 10.6, 3},
    {"hubspot", "search", 4, 1},
    {"stripe", "general", 21.5, 2},
    {"fast", "general", 1000000, 1000000},
};
static const struct queue_object rig_objects[] = {
    {"hubspot", "company", "general", 100}, {"hubspot", "contact", "general", 100},
    {"hubspot", "list", "search", 1},       {"stripe", "customer", "general", 1},
    {"fast", "company", "general", 100},    {"fast", "contact", "general", 100},
    {"fast", "single", "general", 1},
};

static inline const char *rig_url(void)
{
    return getenv("PIVOTAL_SYNC_TEST_REDIS_URL");
}

static inline struct queue *rig_open_many(struct rig *rig, const char *const *urls, int n,
                                          int shards, int64_t timeout_ms)
{
    struct queue_options o = {.urls = urls,
                              .url_count = n,
                              .shards = shards,
                              .lease_ms = 30000,
                              .command_timeout_ms = timeout_ms,
                              .families = rig_families,
                              .family_count = (int)COUNT_OF(rig_families),
                              .objects = rig_objects,
                              .object_count = (int)COUNT_OF(rig_objects),
                              .worker = "host:1"};
    return queue_open(&rig->loop, &o, &rig->err);
}

static inline struct queue *rig_open(struct rig *rig, const char *url, int shards,
                                     int64_t timeout_ms)
{
    return rig_open_many(rig, &url, 1, shards, timeout_ms);
}

static inline long long rig_redis(struct rig *rig, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    redisReply *r = redisvCommand(rig->redis, format, ap);
    va_end(ap);
    long long v = -1;
    if (r != NULL) {
        v = r->type == REDIS_REPLY_INTEGER  ? r->integer
            : r->type == REDIS_REPLY_STRING ? strtoll(r->str, NULL, 10)
            : r->type == REDIS_REPLY_ERROR  ? -2
                                            : 0;
        freeReplyObject(r);
    }
    return v;
}

/* Move the clock of shard 0 forward. */
static inline void rig_pass(struct rig *rig, int64_t ms)
{
    (void)rig_redis(rig, "INCRBY {ps0}:clock_offset_ms %lld", (long long)ms);
}

static inline redisContext *rig_connect(void)
{
    const char *url = rig_url();
    if (strncmp(url, "unix://", 7) == 0) {
        return redisConnectUnix(url + 7);
    }
    char host[128] = "127.0.0.1";
    int port = 6379;
    (void)sscanf(url, "redis://%127[^:]:%d", host, &port);
    return redisConnect(host, port);
}

static inline void rig_task(void *arg)
{
    struct rig *rig = arg;
    rig->body(rig);
}

/* Run body in a task with an empty Redis. */
static inline void rig_run(void (*body)(struct rig *))
{
    if (rig_url() == NULL) {
        print_message("PIVOTAL_SYNC_TEST_REDIS_URL is not set\n");
        skip();
    }
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig->body = body;
    rig->redis = rig_connect();
    assert_non_null(rig->redis);
    assert_int_equal(rig->redis->err, 0);
    (void)rig_redis(rig, "FLUSHALL");
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    rig->q = rig_open(rig, rig_url(), 1, 5000);
    if (rig->q == NULL) {
        fail_msg("%s", rig->err.msg);
    }
    struct err err = {0};
    if (task_run(&rig->loop, rig_task, rig, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    if (rig->failure[0] != '\0') { /* what else the test opened would keep the loop going */
        fail_msg("%s", rig->failure);
    }
    queue_close(rig->q);
    (void)uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    redisFree(rig->redis);
    task_cleanup();
    free(rig);
}

/* ---- short forms ---- */

static inline int rig_configure(struct rig *rig, int64_t id, const char *provider,
                                const char *account)
{
    struct queue_connection c = {.connection_id = id, .provider = provider, .account = account};
    return queue_configure(rig->q, &c, &rig->err);
}

static inline struct unit_put rig_unit(int64_t connection, const char *object, const char *id,
                                       enum lane lane)
{
    return (struct unit_put){.connection_id = connection,
                             .kind = UNIT_RECORD,
                             .object = object,
                             .id = id,
                             .lane = lane,
                             .trigger = "webhook",
                             .actor = "",
                             .hint = ""};
}

static inline int rig_put(struct rig *rig, int64_t connection, const char *object,
                          const char *id, enum lane lane)
{
    struct unit_put u = rig_unit(connection, object, id, lane);
    return queue_put(rig->q, &u, 1, &rig->err);
}

static inline int rig_put_many(struct rig *rig, int64_t connection, const char *object,
                               int first, int count, enum lane lane)
{
    struct unit_put *u = calloc((size_t)count, sizeof *u);
    char(*ids)[24] = calloc((size_t)count, sizeof *ids);
    int rc = -1;
    if (u != NULL && ids != NULL) {
        for (int i = 0; i < count; i++) {
            (void)snprintf(ids[i], sizeof ids[i], "%d", first + i);
            u[i] = rig_unit(connection, object, ids[i], lane);
        }
        rc = queue_put(rig->q, u, count, &rig->err);
    }
    free(u);
    free(ids);
    return rc;
}

/* NULL when there is none (or an error, which fails the test at the next CHECK of rig->err). */
static inline struct claim *rig_claim(struct rig *rig, int max_units)
{
    struct claim *c = NULL;
    int64_t wait_ms = 0;
    if (queue_claim(rig->q, max_units, &c, &wait_ms, &rig->err) != 0) {
        rig_fail(rig, __FILE__, __LINE__, "claim");
        return NULL;
    }
    return c;
}

static inline int rig_finish(struct rig *rig, struct claim *c, enum outcome outcome,
                             int64_t delay_ms, const char *reason)
{
    struct unit_end ends[QUEUE_BATCH_MAX];
    for (int i = 0; i < c->unit_count; i++) {
        ends[i] = (struct unit_end){outcome, delay_ms, reason};
    }
    return queue_finish(rig->q, c, ends, &rig->err);
}

/* Clean, or the test fails. Returns the number of units. */
static inline int64_t rig_fsck(struct rig *rig, const char *file, int line)
{
    struct buf v;
    int64_t n = -1;
    buf_init(&v, 65536);
    if (queue_fsck(rig->q, &v, &n, &rig->err) != 0 || v.len_bytes > 0) {
        rig_fail(rig, file, line, buf_text(&v));
        n = -1;
    }
    buf_release(&v);
    return n;
}
#define FSCK(n)                                                                                \
    do {                                                                                       \
        int64_t rig_n = rig_fsck(rig, __FILE__, __LINE__);                                     \
        CHECK(rig->failure[0] == '\0');                                                        \
        CHECK_INT(rig_n, (n));                                                                 \
    } while (0)

/* A test is a task: TEST(name) { CHECK(...); } */
#define TEST(name)                                                                             \
    static void name##_body(struct rig *rig);                                                  \
    static void name(void **state)                                                             \
    {                                                                                          \
        (void)state;                                                                           \
        rig_run(name##_body);                                                                  \
    }                                                                                          \
    static void name##_body(struct rig *rig)

#endif
