/* Where a shard is: several Redis, a shard that is moved, sentinels and a cluster as far as one
 * process can show (tests/system 62 and 63 have the real ones). Databases of one Redis stand
 * for several. */
#include "common/queue_redis.h"
#include "tests/contract/queue_rig.h"

enum { SHARDS = 2, UNITS = 800 };

static struct queue *open_many(struct rig *rig, const char *const *urls, int n)
{
    return rig_open_many(rig, urls, n, SHARDS, 5000);
}

static void db_url(char *out, size_t out_bytes, int db)
{
    (void)snprintf(out, out_bytes, "%s%s%d", rig_url(),
                   strncmp(rig_url(), "unix://", 7) == 0 ? "?db=" : "/", db);
}

static int know(struct rig *rig, int64_t id, int shard)
{
    struct queue_connection c = {
        .connection_id = id, .shard = shard, .provider = "fast", .account = "a:live"};
    return queue_configure(rig->q, &c, &rig->err);
}

static int put(struct rig *rig, struct queue *q, int shard, int no)
{
    char id[16];
    (void)snprintf(id, sizeof id, "%d", no);
    struct unit_put u = rig_unit(10 + shard, "company", id, LANE_WEBHOOK);
    u.shard = shard;
    return queue_put(q, &u, 1, &rig->err);
}

static long long keys_in(struct rig *rig, int db)
{
    (void)rig_redis(rig, "SELECT %d", db);
    long long n = rig_redis(rig, "DBSIZE");
    (void)rig_redis(rig, "SELECT 0");
    return n;
}

TEST(a_shard_begins_at_the_address_of_its_number)
{
    char url[2][160];
    db_url(url[0], sizeof url[0], 0);
    db_url(url[1], sizeof url[1], 1);
    const char *const urls[] = {url[0], url[1]};
    struct queue *q = open_many(rig, urls, 2);
    CHECK(q != NULL);
    CHECK(put(rig, q, 1, 1) == 0);
    CHECK_INT(keys_in(rig, 0), 0);
    CHECK(keys_in(rig, 1) > 0);
    queue_close(q);
}

/* Everything: waiting, delayed, parked, buried, in work; and programs that were told nothing.
 */
TEST(a_moved_shard_takes_all_its_units_and_its_leases_along)
{
    char home[160], away[160], where[400];
    db_url(home, sizeof home, 0);
    db_url(away, sizeof away, 5);
    const char *const urls[] = {home};
    struct queue *q = open_many(rig, urls, 1);
    struct queue *mine = rig->q;
    CHECK(q != NULL);
    rig->q = q;
    CHECK(know(rig, 10, 0) == 0 && know(rig, 11, 1) == 0);
    for (int i = 0; i < 40; i++) {
        CHECK(put(rig, q, i % 2, i) == 0);
    }
    /* Whichever connection is first, that claim is ended; one of shard 1 stays open. */
    struct claim *open = NULL;
    for (int i = 0; i < 8 && open == NULL; i++) {
        struct claim *c = rig_claim(rig, 4);
        CHECK(c != NULL);
        if (c->shard == 1) {
            open = c;
        } else {
            CHECK(rig_finish(rig, c, OUTCOME_RELEASE, 0, NULL) == 0);
        }
    }
    CHECK(open != NULL);
    struct queue_move_result r;
    CHECK(queue_move_shard(q, 1, away, false, &r, &rig->err) == 0);
    CHECK(r.keys > 0);
    CHECK(queue_place(q, 1, where, sizeof where, &rig->err) == 0);
    CHECK(strcmp(where, r.to) == 0);
    CHECK(rig_finish(rig, open, OUTCOME_PARK, 0, "auth_revoked") == 0);
    FSCK(40);
    CHECK_INT(rig_redis(rig, "EXISTS {ps1}:moved"), 1);
    CHECK_INT(rig_redis(rig, "EXISTS {ps1}:cs"), 0);
    CHECK_INT(rig_redis(rig, "EXISTS {ps0}:cs"), 1);

    /* A program that starts now, with the old list, is sent on; so is one that knew the old
     * place, and what it puts wakes whoever waits. */
    struct queue *late = open_many(rig, urls, 1);
    CHECK(late != NULL);
    CHECK(put(rig, late, 1, 100) == 0);
    FSCK(41);
    rig->q = late;
    FSCK(41);
    rig->q = q;

    /* There already; and back. */
    CHECK(queue_move_shard(q, 1, away, false, &r, &rig->err) != 0);
    CHECK_INT(rig->err.code, ERR_INVALID);
    CHECK(queue_move_shard(late, 1, home, false, &r, &rig->err) == 0);
    FSCK(41);
    CHECK_INT(rig_redis(rig, "EXISTS {ps1}:moved"), 0);
    CHECK_INT(keys_in(rig, 5), 1);
    queue_close(late);
    queue_close(q);
    rig->q = mine;
}

TEST(what_another_place_holds_is_not_overwritten)
{
    char home[160], away[160];
    struct queue_move_result r;
    db_url(home, sizeof home, 0);
    db_url(away, sizeof away, 5);
    const char *const urls[] = {away}, *const mine[] = {home};
    struct queue *there = open_many(rig, urls, 1);
    struct queue *q = open_many(rig, mine, 1);
    CHECK(there != NULL && q != NULL);
    CHECK(put(rig, there, 1, 1) == 0 && put(rig, q, 1, 2) == 0);
    CHECK(queue_move_shard(q, 1, away, false, &r, &rig->err) != 0);
    CHECK_INT(rig->err.code, ERR_CONFLICT);
    CHECK_INT(rig_redis(rig, "EXISTS {ps1}:moved"), 0);
    CHECK(queue_move_shard(q, 1, away, true, &r, &rig->err) == 0);
    (void)rig_redis(rig, "SELECT 5");
    CHECK_INT(rig_redis(rig, "HLEN {ps1}:u:11"), 1);
    CHECK_INT(rig_redis(rig, "HEXISTS {ps1}:u:11 rcompany:2"), 1);
    (void)rig_redis(rig, "SELECT 0");
    queue_close(there);
    queue_close(q);
}

struct load {
    struct rig *rig;
    struct queue *q;
    struct wake ended;
    int running, next, refused, lost, twice, seen_count;
    bool putters_done, stop; /* a check has failed: the others end as well */
    unsigned char seen[UNITS];
};

static void end_of(struct load *l)
{
    if (--l->running == 0) {
        wake_fire(&l->ended);
    }
}

static void load_putter(void *arg)
{
    struct load *l = arg;
    while (l->next < UNITS && !l->stop) {
        int no = l->next++;
        if (put(l->rig, l->q, no % SHARDS, no) != 0) {
            l->refused++;
        }
    }
    l->putters_done = true;
    end_of(l);
}

static void load_worker(void *arg)
{
    struct load *l = arg;
    while (!l->stop && (!l->putters_done || l->seen_count < UNITS)) {
        struct claim *c = NULL;
        struct err err = {0};
        int64_t wait_ms = 0;
        if (queue_claim(l->q, 3, &c, &wait_ms, &err) != 0) {
            l->refused++;
        }
        if (c == NULL) {
            queue_wait(l->q, wait_ms < 20 ? wait_ms : 20);
            continue;
        }
        struct unit_end ends[QUEUE_BATCH_MAX] = {{.outcome = OUTCOME_COMPLETE}};
        for (int i = 0; i < c->unit_count; i++) {
            int no = (int)strtol(c->units[i].id, NULL, 10);
            l->twice += l->seen[no];
            l->seen_count += !l->seen[no];
            l->seen[no] = 1;
        }
        l->lost += queue_finish(l->q, c, ends, &err) != 0;
    }
    end_of(l);
}

TEST(a_shard_moved_under_load_loses_nothing_and_repeats_nothing)
{
    char home[160], away[160];
    struct queue_move_result r;
    struct err err = {0};
    db_url(home, sizeof home, 0);
    db_url(away, sizeof away, 5);
    const char *const urls[] = {home};
    struct load *l = calloc(1, sizeof *l);
    struct queue *mine = rig->q;
    CHECK(l != NULL);
    l->rig = rig;
    l->q = open_many(rig, urls, 1);
    struct queue *mover = open_many(rig, urls, 1);
    CHECK(l->q != NULL && mover != NULL);
    rig->q = l->q;
    CHECK(know(rig, 10, 0) == 0 && know(rig, 11, 1) == 0);
    int moves = 0;
    for (int i = 0; i < 6; i++) {
        l->running++;
        CHECK(task_start(&rig->loop, "load", i < 2 ? load_putter : load_worker, l, &rig->err) ==
              0);
    }
    int rc = 0;
    while (rc == 0 && !l->putters_done) {
        rc = queue_move_shard(mover, 1, moves % 2 == 0 ? away : home, false, &r, &rig->err);
        moves += rc == 0;
        task_sleep_ms(20);
    }
    /* Whatever fails here, the tasks of the load end before the queue is closed. */
    l->stop = rc != 0 || wake_wait(&l->ended, clock_mono_ms() + 60000, &err) != 0;
    if (l->stop) {
        (void)!wake_wait(&l->ended, clock_mono_ms() + 60000, &err);
    }
    CHECK_INT(rc, 0);
    print_message("# %d units, shard 1 moved %d times, lost %d, twice %d, refused %d\n",
                  l->seen_count, moves, UNITS - l->seen_count, l->twice, l->refused);
    CHECK_INT(l->seen_count, UNITS);
    CHECK_INT(l->twice, 0);
    CHECK_INT(l->refused, 0);
    CHECK_INT(l->lost, 0);
    FSCK(0);
    queue_close(l->q);
    queue_close(mover);
    rig->q = mine;
    free(l);
}

TEST(a_mover_that_dies_leaves_the_shard_where_it_is)
{
    char home[160];
    db_url(home, sizeof home, 0);
    struct queue *q = rig_open(rig, home, SHARDS, 1000);
    CHECK(q != NULL);
    (void)rig_redis(rig, "EVAL %s 1 {ps1}:moved",
                    "return redis.call('SET', KEYS[1], 'PSMOVING 1', 'PX', 300)");
    int64_t began = clock_mono_ms();
    CHECK(put(rig, q, 1, 1) == 0);
    CHECK(clock_mono_ms() - began >= 200);
    (void)rig_redis(rig, "EVAL %s 1 {ps1}:moved",
                    "return redis.call('SET', KEYS[1], 'PSMOVING 1', 'PX', 30000)");
    CHECK(put(rig, q, 1, 2) != 0); /* by its deadline, asked for the last time or about to be */
    CHECK(rig->err.code == ERR_UNAVAILABLE || rig->err.code == ERR_TIMEOUT);
    (void)rig_redis(rig, "DEL {ps1}:moved");
    queue_close(q);
}

TEST(two_marks_that_point_at_each_other_end_by_the_deadline)
{
    char home[160], away[160], word[200];
    db_url(home, sizeof home, 0);
    db_url(away, sizeof away, 5);
    struct queue *q = rig_open(rig, home, SHARDS, 400);
    CHECK(q != NULL);
    (void)snprintf(word, sizeof word, "PSMOVED %s", away);
    (void)rig_redis(rig, "SET {ps1}:moved %s", word);
    (void)rig_redis(rig, "SELECT 5");
    (void)snprintf(word, sizeof word, "PSMOVED %s", home);
    (void)rig_redis(rig, "SET {ps1}:moved %s", word);
    (void)rig_redis(rig, "SELECT 0");
    CHECK(put(rig, q, 1, 1) != 0); /* asked for the last time or about to be, as above */
    CHECK(rig->err.code == ERR_UNAVAILABLE || rig->err.code == ERR_TIMEOUT);
    queue_close(q);
}

TEST(a_put_that_no_replica_has_is_not_acknowledged)
{
    const char *const urls[] = {rig_url()};
    struct queue_options o = {.urls = urls,
                              .url_count = 1,
                              .shards = 1,
                              .lease_ms = 30000,
                              .command_timeout_ms = 400,
                              .wait_replicas = 1,
                              .families = rig_families,
                              .family_count = (int)COUNT_OF(rig_families),
                              .worker = "host:1"};
    struct queue *q = queue_open(&rig->loop, &o, &rig->err);
    CHECK(q != NULL);
    int rc = put(rig, q, 0, 1);
    queue_close(q);
    CHECK(rc != 0);
    CHECK_INT(rig->err.code, ERR_UNAVAILABLE);
    CHECK(strstr(rig->err.msg, "replicas") != NULL);
}

/* ---- what needs no Redis ---- */

static void answers_say_where_a_shard_is(void **state)
{
    (void)state;
    static const struct {
        const char *error;
        enum place place;
        const char *host, *port;
    } rows[] = {
        {"MOVED 3999 10.0.0.2:6381", PLACE_THERE, "10.0.0.2", "6381"},
        {"MOVED 3999 :6382", PLACE_THERE, "first", "6382"},
        {"MOVED 3999 fe80::1:6382", PLACE_THERE, "fe80::1", "6382"},
        {"MOVED 3999", PLACE_HERE, "first", "6379"},
        {"ASK 3999 10.0.0.2:6381", PLACE_SOON, "first", "6379"},
        {"TRYAGAIN Multiple keys", PLACE_SOON, "first", "6379"},
        {"PSMOVING 12", PLACE_SOON, "first", "6379"},
        {"PSMOVED redis://second:7000/3", PLACE_THERE, "second", "7000"},
        {"PSMOVED nonsense", PLACE_HERE, "first", "6379"},
        {"ERR no such key", PLACE_HERE, "first", "6379"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct redis_url url;
        struct err err = {0};
        assert_int_equal(redis_url_parse("redis://u:p@first:6379", &url, &err), 0);
        assert_int_equal(place_read(rows[i].error, &url), rows[i].place);
        assert_string_equal(url.host, rows[i].host);
        assert_string_equal(url.port, rows[i].port);
        assert_string_equal(url.password, "p");
    }
}

static int homes_of(const char *const *texts, int n, struct redis_url *urls,
                    struct redis_home *homes)
{
    struct err err = {0};
    for (int i = 0; i < n; i++) {
        assert_int_equal(redis_url_parse(texts[i], &urls[i], &err), 0);
    }
    return place_homes(urls, n, homes, &err);
}

static void sentinels_of_one_primary_are_one_home(void **state)
{
    (void)state;
    static const char *const texts[] = {"redis+sentinel://s1/a", "redis+sentinel://s1/b/2",
                                        "redis+sentinel://s2:1/a", "redis+sentinel://s2/b/2",
                                        "redis+sentinel://s3/a"};
    struct redis_url urls[5];
    struct redis_home homes[5];
    assert_int_equal(homes_of(texts, 5, urls, homes), 2);
    assert_int_equal(homes[0].count, 3);
    assert_string_equal(homes[0].urls[0].port, "26379");
    assert_string_equal(homes[0].urls[1].port, "1");
    assert_string_equal(homes[0].urls[2].host, "s3");
    assert_int_equal(homes[1].count, 2);
    assert_string_equal(homes[1].urls[1].primary, "b");
    assert_string_equal(homes[1].urls[1].db, "2");

    static const char *const nodes[] = {"redis+cluster://n1", "redis+cluster://n2:7001"};
    assert_int_equal(homes_of(nodes, 2, urls, homes), 1);
    assert_int_equal(homes[0].count, 2);
    static const char *const mixed[] = {"redis+cluster://n1", "redis://n2"};
    assert_int_equal(homes_of(mixed, 2, urls, homes), -1);
    struct err err = {0};
    assert_int_equal(redis_url_parse("redis+sentinel://s1:26379", &urls[0], &err), -1);
}

static void sentinels_may_have_a_password_of_their_own(void **state)
{
    (void)state;
    struct redis_url url;
    struct err err = {0};
    assert_int_equal(redis_url_parse("redis+sentinel://ann:p@s1/a/2?sentinel_user=bob"
                                     "&sentinel_password=q%26%3f",
                                     &url, &err),
                     0);
    assert_string_equal(url.user, "ann");
    assert_string_equal(url.password, "p");
    assert_string_equal(url.primary, "a");
    assert_string_equal(url.db, "2");
    assert_string_equal(url.sentinel_user, "bob");
    assert_string_equal(url.sentinel_password, "q&?");
    assert_int_equal(redis_url_parse("redis+sentinel://s1/a?x=1", &url, &err), 0);
    assert_string_equal(url.sentinel_password, "");
    int tls = redis_tls_here() ? 0 : -1;
    assert_int_equal(redis_url_parse("rediss+sentinel://s1/a?ca=/x", &url, &err), tls);
    assert_int_equal(redis_url_parse("rediss+cluster://n1:1?ca=/x", &url, &err), tls);
    if (tls == 0) {
        assert_true(url.tls);
        assert_string_equal(url.ca, "/x");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shard_begins_at_the_address_of_its_number),
        cmocka_unit_test(a_moved_shard_takes_all_its_units_and_its_leases_along),
        cmocka_unit_test(what_another_place_holds_is_not_overwritten),
        cmocka_unit_test(a_shard_moved_under_load_loses_nothing_and_repeats_nothing),
        cmocka_unit_test(a_mover_that_dies_leaves_the_shard_where_it_is),
        cmocka_unit_test(two_marks_that_point_at_each_other_end_by_the_deadline),
        cmocka_unit_test(a_put_that_no_replica_has_is_not_acknowledged),
        cmocka_unit_test(answers_say_where_a_shard_is),
        cmocka_unit_test(sentinels_of_one_primary_are_one_home),
        cmocka_unit_test(sentinels_may_have_a_password_of_their_own),
    };
    return cmocka_run_group_tests_name("queue_place", tests, NULL, NULL);
}
