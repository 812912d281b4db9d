/* What is parked or paused, who is woken, what is shown, and Redis in trouble. */
#include "tests/contract/queue_rig.h"

/* ---- parked, paused, dropped ---- */

TEST(a_parked_connection_keeps_its_queue)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_INTERACTIVE) == 0);
    CHECK(queue_park(rig->q, 0, 7, "auth_revoked", &rig->err) == 0);
    CHECK(rig_put(rig, 7, "company", "2", LANE_WEBHOOK) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    FSCK(2);
    int64_t n = 0;
    CHECK(queue_unpark(rig->q, 0, 7, "field_type", &n, &rig->err) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    CHECK(queue_unpark(rig->q, 0, 7, "auth_revoked", &n, &rig->err) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    queue_claim_free(rig->q, c);
    FSCK(2);
}

TEST(a_connection_a_lane_or_everything_can_be_paused)
{
    struct claim *c = NULL;
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    CHECK(queue_pause(rig->q, 0, 7, 0, true, &rig->err) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    FSCK(1);
    CHECK(queue_pause(rig->q, 0, 7, 0, false, &rig->err) == 0);
    CHECK(queue_pause(rig->q, -1, 0, LANE_WEBHOOK, true, &rig->err) == 0);
    CHECK(rig_put(rig, 7, "company", "2", LANE_WEBHOOK) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    FSCK(2);
    CHECK(rig_put(rig, 7, "company", "3", LANE_NIGHTLY) == 0);
    c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK_INT(c->lane, LANE_NIGHTLY);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    CHECK(queue_pause(rig->q, -1, 0, LANE_WEBHOOK, false, &rig->err) == 0);
    FSCK(2);
    CHECK(queue_pause(rig->q, -1, 0, -1, true, &rig->err) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    CHECK(queue_pause(rig->q, -1, 0, -1, false, &rig->err) == 0);
    c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK_INT(c->unit_count, 2);
    queue_claim_free(rig->q, c);
}

TEST(a_dropped_connection_leaves_nothing)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_configure(rig, 8, "fast", "b:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 1500, LANE_WEBHOOK) == 0);
    CHECK(rig_put(rig, 8, "company", "1", LANE_WEBHOOK) == 0);
    enum outcome outcomes[] = {OUTCOME_PARK, OUTCOME_BURY, OUTCOME_RETRY};
    struct claim *c = NULL;
    for (size_t i = 0; i < COUNT_OF(outcomes);) {
        c = rig_claim(rig, 10);
        CHECK(c != NULL);
        if (c->connection_id == 8) {
            CHECK(rig_finish(rig, c, OUTCOME_RETRY, 100000, NULL) == 0);
        } else {
            CHECK(rig_finish(rig, c, outcomes[i++], 100000, "x") == 0);
        }
    }
    c = rig_claim(rig, 10);
    CHECK(c != NULL);
    FSCK(1501);
    CHECK(queue_drop_connection(rig->q, 0, 7, &rig->err) == 0);
    FSCK(1);
    CHECK(rig_finish(rig, c, OUTCOME_RETRY, 0, NULL) == 0); /* finds nothing */
    FSCK(1);
    CHECK_INT(rig_redis(rig, "EXISTS {ps0}:c:7 {ps0}:u:7 {ps0}:n:7 {ps0}:b:7 {ps0}:pr:7"), 0);
}

TEST(units_of_an_unknown_connection_wait_until_it_is_configured)
{
    int64_t ids[4];
    int shards[4];
    int n = 0;
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    FSCK(1);
    CHECK(queue_unconfigured(rig->q, ids, shards, 4, &n, &rig->err) == 0);
    CHECK_INT(n, 1);
    CHECK_INT(ids[0], 7);
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(queue_unconfigured(rig->q, ids, shards, 4, &n, &rig->err) == 0);
    CHECK_INT(n, 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    queue_claim_free(rig->q, c);
}

/* ---- waking ---- */

enum { WAIT_MS = 5000 };

struct waiting {
    struct rig *rig;
    struct wake done;
    int64_t woken_mono_us;
};

static void wait_for_work(void *arg)
{
    struct waiting *w = arg;
    queue_wait(w->rig->q, WAIT_MS);
    w->woken_mono_us = clock_mono_us();
    wake_fire(&w->done);
}

TEST(a_put_wakes_an_idle_waiter)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    (void)rig_redis(rig, "DEL {ps0}:wake");
    for (int i = 0; i < 20; i++) {
        char id[16];
        struct waiting w = {.rig = rig};
        CHECK(task_start(&rig->loop, "waiter", wait_for_work, &w, &rig->err) == 0);
        task_sleep_ms(5);
        (void)snprintf(id, sizeof id, "%d", i);
        int64_t put_us = clock_mono_us();
        CHECK(rig_put(rig, 7, "company", id, LANE_WEBHOOK) == 0);
        CHECK(wake_wait(&w.done, clock_mono_ms() + WAIT_MS + 5000, &rig->err) == 0);
        CHECK(w.woken_mono_us - put_us < WAIT_MS * 1000); /* by the put, not by its deadline */
    }
}

/* ---- what it shows ---- */

static void count_put(void *arg, const struct err *err)
{
    *(int *)arg += err == NULL ? 1 : 1000;
}

TEST(receipts_and_the_routes_version_travel_with_puts)
{
    struct unit_put u = rig_unit(7, "company", "1", LANE_WEBHOOK);
    const char *receipts[] = {"{\"verdict\":\"accepted\"}", "{\"verdict\":\"joined\"}"};
    int answered = 0;
    CHECK(queue_ping(rig->q, &rig->err) == 0);
    CHECK_INT(queue_routes_version(rig->q), 0);
    (void)rig_redis(rig, "INCR {ps0}:routes");
    for (int i = 0; i < 300; i++) {
        queue_put_start(rig->q, &u, i % 2, receipts, 2, count_put, &answered);
    }
    CHECK_INT(answered, 0);
    int64_t until = clock_mono_ms() + 5000;
    while (answered < 300 && clock_mono_ms() < until) {
        task_sleep_ms(1);
    }
    CHECK_INT(answered, 300);
    CHECK_INT(queue_routes_version(rig->q), 1);
    CHECK(queue_routes_changed(rig->q, &rig->err) == 0);
    CHECK_INT(queue_routes_version(rig->q), 2);
    struct buf lines;
    buf_init(&lines, 65536);
    CHECK(queue_receipts(rig->q, 599, &lines, &rig->err) == 0);
    int n = 0;
    for (size_t i = 0; i < lines.len_bytes; i++) {
        n += lines.bytes[i] == '\n';
    }
    CHECK_INT(n, 599);
    buf_clear(&lines);
    CHECK(queue_receipts(rig->q, 100, &lines, &rig->err) == 0);
    CHECK(strcmp(buf_text(&lines), "{\"verdict\":\"joined\"}\n") == 0);
    buf_release(&lines);
    FSCK(1);
}

TEST(stats_lists_and_workers_tell_what_is)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_configure(rig, 8, "fast", "b:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 3, LANE_INTERACTIVE) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    struct unit_end ends[3] = {{OUTCOME_PARK, 0, "r\"1"},
                               {OUTCOME_RETRY, 60000, NULL},
                               {OUTCOME_BURY, 0, "poison_job"}};
    CHECK(queue_finish(rig->q, c, ends, &rig->err) == 0);
    CHECK(rig_put_many(rig, 7, "company", 100, 700, LANE_NIGHTLY) == 0);
    CHECK(rig_put_many(rig, 8, "company", 0, 4, LANE_WEBHOOK) == 0);
    c = rig_claim(rig, 2);
    CHECK(c != NULL);
    rig_pass(rig, 2000);
    struct queue_stats s;
    CHECK(queue_stats(rig->q, 0, &s, &rig->err) == 0);
    CHECK_INT(s.waiting[0] + s.waiting[1] + s.waiting[2] + s.waiting[3], 702);
    CHECK_INT(s.delayed, 1);
    CHECK_INT(s.parked, 1);
    CHECK_INT(s.buried, 1);
    CHECK_INT(s.leased, 2);
    CHECK_INT(s.workers, 1);
    CHECK(s.oldest_age_ms >= 2000 && s.oldest_age_ms < 60000);
    CHECK(queue_stats(rig->q, 8, &s, &rig->err) == 0);
    CHECK_INT(s.parked, 0);
    static const struct {
        const char *state;
        int64_t connection;
        int max, want;
    } rows[] = {{"waiting", 0, 10000, 702}, {"waiting", 0, 650, 650}, {"delayed", 0, 10, 1},
                {"parked", 7, 10, 1},       {"parked", 8, 10, 0},     {"buried", 0, 10, 1},
                {"leased", 0, 10, 2},       {"delayed", 8, 10, 0}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf json;
        buf_init(&json, 1 << 20);
        CHECK(queue_list(rig->q, rows[i].connection, rows[i].state, rows[i].max, &json,
                         &rig->err) == 0);
        int n = 0;
        for (const char *p = buf_text(&json); (p = strstr(p, "\"connection_id\"")) != NULL;
             p++) {
            n++;
        }
        CHECK_INT(n, rows[i].want);
        buf_release(&json);
    }
    struct buf json;
    buf_init(&json, 65536);
    CHECK(queue_workers(rig->q, &json, &rig->err) == 0);
    CHECK(strstr(buf_text(&json), "\"worker\":\"host:1\"") != NULL);
    CHECK(strstr(buf_text(&json), "\"units\":2") != NULL);
    CHECK(queue_list(rig->q, 0, "nonsense", 1, &json, &rig->err) != 0);
    buf_release(&json);
    queue_claim_free(rig->q, c);
    FSCK(707);
}

TEST(fsck_sees_what_is_wrong)
{
    static const char *const damage[] = {
        "ZREM {ps0}:w:7:1rcompany 5",  "ZADD {ps0}:w:7:0rcompany 1 5",
        "HDEL {ps0}:u:7 rcompany:5",   "ZREM {ps0}:ring1 7",
        "ZADD {ps0}:d 1 7|rcompany:5", "ZREM {ps0}:n:7 1rcompany",
        "HINCRBY {ps0}:c:7 w1 1",      "ZADD {ps0}:wait 1 7",
        "ZADD {ps0}:l 1 99",
    };
    for (size_t i = 0; i < COUNT_OF(damage); i++) {
        (void)rig_redis(rig, "FLUSHALL");
        CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
        CHECK(rig_put_many(rig, 7, "company", 0, 10, LANE_WEBHOOK) == 0);
        FSCK(10);
        CHECK(rig_redis(rig, damage[i]) >= 0);
        struct buf v;
        int64_t n = 0;
        buf_init(&v, 65536);
        CHECK(queue_fsck(rig->q, &v, &n, &rig->err) == 0);
        CHECK(v.len_bytes > 0);
        buf_release(&v);
    }
}

TEST(identity_and_durability_are_told)
{
    struct buf b;
    buf_init(&b, 4096);
    CHECK(queue_identity(rig->q, &b, &rig->err) == 0);
    CHECK(b.len_bytes > 40 + strlen("/master/"));
    CHECK(strncmp(b.bytes + 40, "/master/", 8) == 0);
    struct buf later;
    buf_init(&later, 4096);
    CHECK(queue_identity(rig->q, &later, &rig->err) == 0);
    CHECK(strcmp(buf_text(&b), buf_text(&later)) == 0);
    (void)rig_redis(rig, "FLUSHALL");
    buf_clear(&later);
    CHECK(queue_identity(rig->q, &later, &rig->err) == 0);
    CHECK(strcmp(buf_text(&b), buf_text(&later)) != 0);
    buf_release(&later);
    buf_clear(&b);
    (void)rig_redis(rig, "CONFIG SET appendfsync everysec");
    CHECK(queue_check_durability(rig->q, &b, &rig->err) == 0);
    CHECK(strstr(buf_text(&b), "appendfsync everysec") != NULL);
    (void)rig_redis(rig, "CONFIG SET appendfsync always");
    buf_release(&b);
}

/* ---- Redis in trouble ---- */

TEST(scripts_come_back_after_a_script_flush)
{
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    (void)rig_redis(rig, "SCRIPT FLUSH");
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    FSCK(1);
}

TEST(full_memory_stops_puts_and_not_the_work)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 10, LANE_WEBHOOK) == 0);
    (void)rig_redis(rig, "CONFIG SET maxmemory 1");
    int rc = rig_put(rig, 7, "company", "11", LANE_WEBHOOK);
    enum err_code code = rig->err.code;
    struct claim *c = rig_claim(rig, 100);
    int finished = c != NULL ? rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) : -1;
    (void)rig_redis(rig, "CONFIG SET maxmemory 0");
    CHECK(rc != 0);
    CHECK_INT(code, ERR_UNAVAILABLE);
    CHECK_INT(finished, 0);
    FSCK(0);
}

TEST(a_replica_is_away_and_not_asked_again_on_the_same_connection)
{
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    (void)rig_redis(rig, "REPLICAOF 127.0.0.1 1");
    int rc = rig_put(rig, 7, "company", "2", LANE_WEBHOOK);
    enum err_code code = rig->err.code;
    (void)rig_redis(rig, "REPLICAOF NO ONE");
    CHECK(rc != 0);
    CHECK_INT(code, ERR_UNAVAILABLE);
    int64_t until = clock_mono_ms() + 5000;
    while ((rc = rig_put(rig, 7, "company", "2", LANE_WEBHOOK)) != 0 &&
           clock_mono_ms() < until) {
        task_sleep_ms(5);
    }
    CHECK(rc == 0);
    FSCK(2);
}

TEST(a_redis_kept_busy_by_a_script_is_away)
{
    redisContext *other = rig_connect();
    CHECK(other != NULL && other->err == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    (void)rig_redis(rig, "CONFIG SET busy-reply-threshold 20");
    int done = 0;
    (void)redisAppendCommand(other, "EVAL %s 0", "while true do end");
    while (done == 0 && redisBufferWrite(other, &done) == REDIS_OK) {
    }
    task_sleep_ms(50);
    int rc = rig_put(rig, 7, "company", "2", LANE_WEBHOOK);
    enum err_code code = rig->err.code;
    (void)rig_redis(rig, "SCRIPT KILL");
    (void)rig_redis(rig, "CONFIG SET busy-reply-threshold 5000");
    redisFree(other);
    CHECK(rc != 0);
    CHECK_INT(code, ERR_UNAVAILABLE);
    int64_t until = clock_mono_ms() + 5000;
    while ((rc = rig_put(rig, 7, "company", "2", LANE_WEBHOOK)) != 0 &&
           clock_mono_ms() < until) {
        task_sleep_ms(5);
    }
    CHECK(rc == 0);
    FSCK(2);
}

TEST(after_flushall_old_tokens_fit_no_new_lease)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    struct claim *old = rig_claim(rig, 100);
    CHECK(old != NULL);
    (void)rig_redis(rig, "FLUSHALL");
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    task_sleep_ms(2);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK(c->token > old->token);
    CHECK(rig_finish(rig, old, OUTCOME_COMPLETE, 0, NULL) != 0);
    CHECK_INT(rig->err.code, ERR_CONFLICT);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    FSCK(0);
}

TEST(a_lost_connection_is_made_anew)
{
    for (int i = 0; i < 5; i++) {
        (void)rig_redis(rig, "CLIENT KILL TYPE normal SKIPME yes");
        int64_t until = clock_mono_ms() + 5000;
        int rc = -1;
        while ((rc = rig_put(rig, 7, "company", "1", LANE_WEBHOOK)) != 0 &&
               clock_mono_ms() < until) {
            CHECK_INT(rig->err.code, ERR_UNAVAILABLE);
            task_sleep_ms(5);
        }
        CHECK(rc == 0);
    }
    FSCK(1);
}

TEST(a_silent_redis_ends_by_the_deadline)
{
    queue_close(rig->q);
    rig->q = rig_open(rig, rig_url(), 1, 200);
    CHECK(rig->q != NULL);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    (void)rig_redis(rig, "CLIENT PAUSE 1000 ALL");
    int64_t t = clock_mono_ms();
    CHECK(rig_put(rig, 7, "company", "2", LANE_WEBHOOK) != 0);
    CHECK_INT(rig->err.code, ERR_TIMEOUT);
    CHECK(clock_mono_ms() - t < 800);
    int64_t until = clock_mono_ms() + 10000;
    while (rig_put(rig, 7, "company", "2", LANE_WEBHOOK) != 0 && clock_mono_ms() < until) {
        task_sleep_ms(20);
    }
    FSCK(2);
}

TEST(a_redis_that_is_not_there_fails_at_once)
{
    struct queue *mine = rig->q;
    rig->q = rig_open(rig, "unix:///nowhere/at/all", 1, 2000);
    CHECK(rig->q != NULL);
    for (int i = 0; i < 3; i++) {
        int64_t t = clock_mono_ms();
        CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) != 0);
        CHECK_INT(rig->err.code, ERR_UNAVAILABLE);
        CHECK(clock_mono_ms() - t < 1000);
    }
    queue_close(rig->q);
    rig->q = rig_open(rig, "redis://localhost:1/0", 1, 2000);
    CHECK(rig->q != NULL);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) != 0);
    CHECK_INT(rig->err.code, ERR_UNAVAILABLE);
    queue_close(rig->q);
    rig->q = mine;
}

TEST(addresses_that_are_none_are_refused)
{
    static const char *const urls[] = {"http://x",          "redis://",      "redis://h:port",
                                       "redis://h:1/x",     "unix://rel",    "redis://a%zz@h",
                                       "redis://h:999999/", "rediss:/h:6379"};
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        CHECK(rig_open(rig, urls[i], 1, 0) == NULL);
        CHECK_INT(rig->err.code, ERR_CONFIG);
    }
}

TEST(a_password_is_used)
{
    char url[512];
    const char *base = rig_url();
    if (strncmp(base, "unix://", 7) != 0) {
        return;
    }
    (void)rig_redis(rig, "ACL SETUSER ann on >p%%40ss ~* +@all");
    struct queue *mine = rig->q;
    (void)snprintf(url, sizeof url, "unix://ann:p%%2540ss@%s?db=3", base + 7);
    rig->q = rig_open(rig, url, 1, 0);
    CHECK(rig->q != NULL);
    int rc = rig_put(rig, 7, "company", "1", LANE_WEBHOOK);
    queue_close(rig->q);
    (void)snprintf(url, sizeof url, "unix://ann:wrong@%s", base + 7);
    rig->q = rig_open(rig, url, 1, 0);
    CHECK(rig->q != NULL);
    struct err err = rig->err;
    int refused = rig_put(rig, 7, "company", "1", LANE_WEBHOOK);
    queue_close(rig->q);
    rig->q = mine;
    (void)rig_redis(rig, "ACL DELUSER ann");
    CHECK(rc == 0);
    CHECK_INT(err.code, ERR_NONE);
    CHECK(refused != 0);
    CHECK_INT(rig->err.code, ERR_UNAVAILABLE);
}

TEST(shards_are_apart)
{
    struct queue *mine = rig->q;
    rig->q = rig_open(rig, rig_url(), 3, 0);
    CHECK(rig->q != NULL);
    for (int shard = 0; shard < 3; shard++) {
        struct queue_connection c = {.connection_id = 10 + shard,
                                     .shard = shard,
                                     .provider = "fast",
                                     .account = "a:live"};
        CHECK(queue_configure(rig->q, &c, &rig->err) == 0);
    }
    struct unit_put u[30];
    for (int i = 0; i < 30; i++) {
        u[i] = rig_unit(10 + i % 3, "company", i < 15 ? "1" : "2", LANE_WEBHOOK);
        u[i].shard = i % 3;
    }
    CHECK(queue_put(rig->q, u, 30, &rig->err) == 0);
    FSCK(6);
    for (int i = 0; i < 3; i++) {
        struct claim *c = rig_claim(rig, 100);
        CHECK(c != NULL);
        CHECK_INT(c->unit_count, 2);
        CHECK_INT(c->connection_id, 10 + c->shard);
        CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    }
    FSCK(0);
    queue_close(rig->q);
    rig->q = mine;
}

static long long used_memory(struct rig *rig)
{
    redisReply *r = redisCommand(rig->redis, "INFO memory");
    const char *at = r != NULL && r->str != NULL ? strstr(r->str, "used_memory:") : NULL;
    long long n = at != NULL ? strtoll(at + 12, NULL, 10) : 0;
    freeReplyObject(r);
    return n;
}

TEST(a_waiting_unit_takes_at_most_300_bytes)
{
    enum { UNITS = 100000, STEP = 2000 };
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    long long before = used_memory(rig);
    struct unit_put *u = calloc(STEP, sizeof *u);
    char(*ids)[24] = calloc(STEP, sizeof *ids);
    CHECK(u != NULL && ids != NULL);
    for (int n = 0; n < UNITS; n += STEP) {
        for (int i = 0; i < STEP; i++) {
            (void)snprintf(ids[i], sizeof ids[i], "%lld", 18000000000LL + 7919LL * (n + i));
            u[i] = rig_unit(7, "company", ids[i], LANE_WEBHOOK);
            u[i].occurred_at_ms = 1790000000000;
        }
        CHECK(queue_put(rig->q, u, STEP, &rig->err) == 0);
    }
    free(u);
    free(ids);
    long long each = (used_memory(rig) - before) / UNITS;
    print_message("# %lld bytes a waiting unit\n", each);
    CHECK(each <= 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_parked_connection_keeps_its_queue),
        cmocka_unit_test(a_connection_a_lane_or_everything_can_be_paused),
        cmocka_unit_test(a_dropped_connection_leaves_nothing),
        cmocka_unit_test(units_of_an_unknown_connection_wait_until_it_is_configured),
        cmocka_unit_test(a_put_wakes_an_idle_waiter),
        cmocka_unit_test(receipts_and_the_routes_version_travel_with_puts),
        cmocka_unit_test(stats_lists_and_workers_tell_what_is),
        cmocka_unit_test(fsck_sees_what_is_wrong),
        cmocka_unit_test(identity_and_durability_are_told),
        cmocka_unit_test(scripts_come_back_after_a_script_flush),
        cmocka_unit_test(full_memory_stops_puts_and_not_the_work),
        cmocka_unit_test(a_replica_is_away_and_not_asked_again_on_the_same_connection),
        cmocka_unit_test(a_redis_kept_busy_by_a_script_is_away),
        cmocka_unit_test(after_flushall_old_tokens_fit_no_new_lease),
        cmocka_unit_test(a_lost_connection_is_made_anew),
        cmocka_unit_test(a_silent_redis_ends_by_the_deadline),
        cmocka_unit_test(a_redis_that_is_not_there_fails_at_once),
        cmocka_unit_test(addresses_that_are_none_are_refused),
        cmocka_unit_test(a_password_is_used),
        cmocka_unit_test(shards_are_apart),
        cmocka_unit_test(a_waiting_unit_takes_at_most_300_bytes),
    };
    return cmocka_run_group_tests_name("queue_trouble", tests, NULL, NULL);
}
