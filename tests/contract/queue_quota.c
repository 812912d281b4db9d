/* Leases that run out, and the quota that a claim takes with it. */
#include "tests/contract/queue_rig.h"

/* ---- leases ---- */

TEST(a_lost_lease_returns_the_units_and_refuses_the_old_holder)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 10, LANE_WEBHOOK) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK(rig_put(rig, 7, "company", "3", LANE_INTERACTIVE) == 0);
    rig_pass(rig, 30001);
    int64_t reaped = 0;
    CHECK(queue_reap(rig->q, &reaped, &rig->err) == 0);
    CHECK_INT(reaped, 1);
    FSCK(10);
    struct claim *d = rig_claim(rig, 100);
    CHECK(d != NULL);
    CHECK_INT(d->lane, LANE_INTERACTIVE); /* what came meanwhile was not lost either */
    CHECK(d->token > c->token);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) != 0);
    CHECK_INT(rig->err.code, ERR_CONFLICT);
    FSCK(10);
    CHECK(rig_finish(rig, d, OUTCOME_COMPLETE, 0, NULL) == 0);
    FSCK(9);
}

TEST(a_claim_reaps_by_itself_what_is_overdue)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    queue_claim_free(rig->q, c);
    CHECK(rig_claim(rig, 100) == NULL);
    rig_pass(rig, 30001);
    c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    FSCK(0);
}

TEST(three_lost_leases_single_out_and_three_more_bury_the_poison_only)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 20, LANE_WEBHOOK) == 0);
    int done = 0;
    int lost = 0;
    for (int i = 0; i < 40; i++) {
        struct claim *c = rig_claim(rig, 100);
        if (c == NULL) {
            break;
        }
        bool poison = false;
        for (int k = 0; k < c->unit_count; k++) {
            poison = poison || strcmp(c->units[k].id, "13") == 0;
        }
        CHECK(i < 3 ? c->unit_count == 20 : c->unit_count == 1);
        if (poison) {
            lost++;
            queue_claim_free(rig->q, c);
            rig_pass(rig, 30001);
        } else {
            done += c->unit_count;
            CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
        }
    }
    CHECK_INT(done, 19);
    CHECK_INT(lost, 6);
    struct queue_stats s;
    CHECK(queue_stats(rig->q, 7, &s, &rig->err) == 0);
    CHECK_INT(s.buried, 1);
    FSCK(1);
    struct buf json;
    buf_init(&json, 65536);
    CHECK(queue_list(rig->q, 0, "buried", 10, &json, &rig->err) == 0);
    CHECK(strstr(buf_text(&json), "\"id\":\"13\"") != NULL);
    CHECK(strstr(buf_text(&json), "\"reason\":\"poison_job\"") != NULL);
    buf_release(&json);
}

/* Two that kill their worker, and a dozen that were in work beside them each time. Each claim
 * is a job of one worker; who touches a poison takes all of the worker's jobs along. */
TEST(poison_takes_nobody_along_that_was_in_work_beside_it)
{
    enum { JOBS = 6 };
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "single", 0, 14, LANE_WEBHOOK) == 0);
    int done = 0;
    for (int death = 0; death < 40; death++) {
        struct claim *jobs[JOBS] = {0};
        int suspects = 0;
        bool poison = false;
        for (int i = 0; i < JOBS; i++) {
            jobs[i] = rig_claim(rig, 2);
            for (int k = 0; jobs[i] != NULL && k < jobs[i]->unit_count; k++) {
                const char *id = jobs[i]->units[k].id;
                poison = poison || strcmp(id, "3") == 0 || strcmp(id, "8") == 0;
            }
            suspects += death >= 12 && jobs[i] != NULL;
        }
        for (int i = 0; i < JOBS; i++) {
            if (jobs[i] != NULL && poison) {
                queue_claim_free(rig->q, jobs[i]);
            } else if (jobs[i] != NULL) {
                done += jobs[i]->unit_count;
                CHECK(rig_finish(rig, jobs[i], OUTCOME_COMPLETE, 0, NULL) == 0);
            }
        }
        CHECK(suspects <= 1); /* by then nobody is left that is not one */
        rig_pass(rig, 30001);
    }
    struct queue_stats s;
    CHECK(queue_stats(rig->q, 7, &s, &rig->err) == 0);
    CHECK_INT(s.buried, 2);
    CHECK_INT(done, 12);
    FSCK(2);
}

static void short_lease(struct rig *rig)
{
    const char *urls[] = {rig_url()};
    struct queue_options o = {.urls = urls,
                              .url_count = 1,
                              .shards = 1,
                              .lease_ms = 300,
                              .families = rig_families,
                              .family_count = (int)COUNT_OF(rig_families),
                              .objects = rig_objects,
                              .object_count = (int)COUNT_OF(rig_objects),
                              .worker = "host:2"};
    queue_close(rig->q);
    rig->q = queue_open(&rig->loop, &o, &rig->err);
}

TEST(live_claims_are_renewed_by_themselves)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    short_lease(rig);
    CHECK(rig->q != NULL);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    int64_t until = clock_mono_ms() + 900; /* three leases long */
    while (clock_mono_ms() < until) {
        int64_t reaped = 0;
        CHECK(queue_reap(rig->q, &reaped, &rig->err) == 0);
        CHECK_INT(reaped, 0);
        CHECK(!queue_claim_lost(rig->q, c));
        task_sleep_ms(20);
    }
    /* Somebody took it away: the holder learns it from the renewal. A renewal that comes
     * between the two commands saves the lease once more. */
    int64_t reaped = 0;
    for (int tries = 0; reaped == 0 && tries < 50; tries++) {
        (void)rig_redis(rig, "INCRBY {ps0}:clock_offset_ms 100000");
        CHECK(queue_reap(rig->q, &reaped, &rig->err) == 0);
    }
    CHECK_INT(reaped, 1);
    until = clock_mono_ms() + 5000;
    while (!queue_claim_lost(rig->q, c) && clock_mono_ms() < until) {
        task_sleep_ms(5);
    }
    CHECK(queue_claim_lost(rig->q, c));
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) != 0);
    CHECK_INT(rig->err.code, ERR_CONFLICT);
}

/* ---- quota ---- */

TEST(a_batch_costs_one_call_and_single_reads_one_each)
{
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    CHECK(rig_configure(rig, 8, "stripe", "b:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 1000, LANE_WEBHOOK) == 0);
    struct claim *c = NULL;
    int64_t wait_ms = 0, began_ms = clock_mono_ms();
    int calls = 0;
    do { /* the burst, and one for each 95 ms that passed */
        queue_claim_free(rig->q, c);
        CHECK(queue_claim(rig->q, 100, &c, &wait_ms, &rig->err) == 0);
        CHECK(c == NULL || (c->unit_count == 100 && c->calls == 1));
        calls += c != NULL;
    } while (c != NULL);
    CHECK(calls >= 3 && calls <= 4 + (clock_mono_ms() - began_ms) / 95);
    CHECK(wait_ms >= 1 && wait_ms <= 95);
    FSCK(1000);
    CHECK(rig_put_many(rig, 8, "customer", 0, 100, LANE_WEBHOOK) == 0);
    do { /* the other may have another call by now */
        queue_claim_free(rig->q, c);
        c = rig_claim(rig, 100);
        CHECK(c != NULL);
    } while (c->connection_id != 8);
    CHECK_INT(c->unit_count, 2);
    CHECK_INT(c->calls, 2);
    queue_claim_free(rig->q, c);
    rig_pass(rig, 95);
    c = rig_claim(rig, 100);
    CHECK(c != NULL);
    queue_claim_free(rig->q, c);
    FSCK(1100);
}

TEST(two_connections_of_one_account_share_its_quota)
{
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    CHECK(rig_configure(rig, 8, "hubspot", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 1000, LANE_WEBHOOK) == 0);
    CHECK(rig_put_many(rig, 8, "company", 0, 1000, LANE_WEBHOOK) == 0);
    int got[9] = {0};
    int calls = 0;
    int64_t at_ms[1000];
    for (int i = 0; i < 2500; i++) { /* 25 s in steps of 10 ms, and what really passes */
        struct claim *c = NULL;
        while (calls < 1000 && (c = rig_claim(rig, 5)) != NULL) {
            got[c->connection_id]++;
            at_ms[calls++] = c->claimed_at_ms;
            CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
        }
        rig_pass(rig, 10);
    }
    CHECK(calls >= 255 && calls < 1000);
    CHECK(abs(got[7] - got[8]) <= 4);
    /* HubSpot counts in a rolling window: never more than 110 in any 10 s. */
    for (int i = 0, first = 0; i < calls; i++) {
        while (at_ms[i] - at_ms[first] >= 10000) {
            first++;
        }
        CHECK(i - first + 1 <= 110);
    }
    FSCK(2000 - 5 * calls);
}

/* Beside other work a machine earns quota between two calls; and clocks step back, by 5 ms
 * where this was measured. */
static void clock_stands_at(struct rig *rig, int64_t ms)
{
    (void)rig_redis(rig, "SET {ps0}:clock_offset_ms =%lld", 1000000000000 + (long long)ms);
}

TEST(another_family_of_the_account_is_not_held_up)
{
    clock_stands_at(rig, 0);
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 1000, LANE_WEBHOOK) == 0);
    for (int i = 0; i < 3; i++) {
        struct claim *c = rig_claim(rig, 100);
        CHECK(c != NULL);
        queue_claim_free(rig->q, c);
    }
    CHECK(rig_claim(rig, 100) == NULL);
    CHECK(rig_put(rig, 7, "list", "1", LANE_NIGHTLY) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK(strcmp(c->units[0].object, "list") == 0);
    queue_claim_free(rig->q, c);
    FSCK(1001);
}

TEST(reserve_grants_now_or_tells_when)
{
    int64_t wait_ms = -1;
    clock_stands_at(rig, 0);
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 3, &wait_ms, &rig->err) ==
          0);
    CHECK_INT(wait_ms, 0);
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 1, &wait_ms, &rig->err) ==
          0);
    CHECK(wait_ms > 0 && wait_ms <= 95);
    clock_stands_at(rig, 95);
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 1, &wait_ms, &rig->err) ==
          0);
    CHECK_INT(wait_ms, 0);
    clock_stands_at(rig, 10095);
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 20, &wait_ms, &rig->err) ==
          0);
    CHECK_INT(wait_ms, 0);
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 1, &wait_ms, &rig->err) ==
          0);
    CHECK(wait_ms > 1600 && wait_ms < 1800); /* 18 calls in debt */
}

static int ahead(struct rig *rig, int64_t patience_ms, bool *granted, int64_t *wait_ms)
{
    return queue_reserve_ahead(rig->q, 0, "hubspot", "a:live", "general", patience_ms, granted,
                               wait_ms, &rig->err);
}

TEST(who_waits_in_line_for_a_call_is_not_overtaken)
{
    int64_t wait_ms = -1;
    bool granted = false;
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 1, 300, LANE_WEBHOOK) == 0);
    clock_stands_at(rig, 0);
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 3, &wait_ms, &rig->err) ==
          0);
    CHECK_INT(wait_ms, 0);
    /* The next two calls have their takers, so that a claim is after them. */
    CHECK(ahead(rig, 2000, &granted, &wait_ms) == 0);
    CHECK(granted);
    CHECK_INT(wait_ms, 95);
    CHECK(ahead(rig, 2000, &granted, &wait_ms) == 0);
    CHECK(granted);
    CHECK_INT(wait_ms, 189);
    clock_stands_at(rig, 189);
    CHECK(rig_claim(rig, 100) == NULL);
    clock_stands_at(rig, 284);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    queue_claim_free(rig->q, c);
    /* Who has no patience for it takes nothing. */
    CHECK(ahead(rig, 0, &granted, &wait_ms) == 0);
    CHECK(!granted);
    CHECK_INT(wait_ms, 94);
    CHECK(ahead(rig, 94, &granted, &wait_ms) == 0);
    CHECK(granted);
    CHECK_INT(wait_ms, 94);
    /* Closed is closed, also to who has paid. */
    CHECK(queue_throttle(rig->q, 0, "hubspot", "a:live", "general", 1000, &rig->err) == 0);
    CHECK(ahead(rig, 2000, &granted, &wait_ms) == 0);
    CHECK(!granted);
    CHECK_INT(wait_ms, 1000);
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 0, &wait_ms, &rig->err) ==
          0);
    CHECK_INT(wait_ms, 1000);
}

/* Half a call a second: whoever needs a second call gets it, in line. */
TEST(at_a_lowered_rate_two_steps_are_waited_for)
{
    int64_t wait_ms = -1;
    bool granted = false;
    char clock[64];
    long long now = 1000000000000;
    for (int i = 0; i < 12; i++) {
        (void)snprintf(clock, sizeof clock, "=%lld", now += 1500);
        (void)rig_redis(rig, "SET {ps0}:clock_offset_ms %s", clock);
        CHECK(queue_throttle(rig->q, 0, "hubspot", "a:live", "general", 1, &rig->err) == 0);
    }
    (void)snprintf(clock, sizeof clock, "=%lld", now + 2);
    (void)rig_redis(rig, "SET {ps0}:clock_offset_ms %s", clock);
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 3, &wait_ms, &rig->err) ==
          0);
    CHECK_INT(wait_ms, 0);
    for (int i = 1; i <= 2; i++) {
        CHECK(ahead(rig, 1000, &granted, &wait_ms) == 0);
        CHECK(granted);
        CHECK(wait_ms > 1800 * i && wait_ms < 1900 * i);
    }
    CHECK(ahead(rig, 1000, &granted, &wait_ms) == 0);
    CHECK(!granted);
}

TEST(a_429_closes_the_bucket_and_lowers_the_rate_once)
{
    struct buf json;
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    for (int i = 0; i < 10; i++) { /* ten calls that were under way together */
        CHECK(queue_throttle(rig->q, 0, "hubspot", "a:live", "general", 10000, &rig->err) == 0);
    }
    CHECK(rig_claim(rig, 100) == NULL);
    int64_t wait_ms = 0;
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 1, &wait_ms, &rig->err) ==
          0);
    CHECK(wait_ms > 9000);
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "search", 1, &wait_ms, &rig->err) == 0);
    CHECK_INT(wait_ms, 0);
    buf_init(&json, 65536);
    CHECK(queue_quota(rig->q, &json, &rig->err) == 0);
    CHECK(strstr(buf_text(&json), "\"rate_per_s\":7.4") != NULL);
    rig_pass(rig, 10001);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    queue_claim_free(rig->q, c);
    rig_pass(rig, 6 * 60000); /* 5 % a minute */
    buf_clear(&json);
    CHECK(queue_quota(rig->q, &json, &rig->err) == 0);
    CHECK(strstr(buf_text(&json), "\"rate_per_s\":10.600") != NULL);
    buf_release(&json);
}

TEST(a_rate_that_the_provider_tells_takes_the_place_of_ours)
{
    struct buf json;
    const struct queue_told larger = {18.6, 250000, 249000};
    const struct queue_told ours = {10.6, -1, -1};
    buf_init(&json, 65536);
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    CHECK(queue_told(rig->q, 0, "hubspot", "a:live", "general", &larger, &rig->err) == 0);
    CHECK(queue_quota(rig->q, &json, &rig->err) == 0);
    CHECK(strstr(buf_text(&json), "\"rate_per_s\":18.600,\"full_rate_per_s\":18.600") != NULL);
    CHECK(strstr(buf_text(&json), "\"daily_limit\":250000,\"daily_left\":249000") != NULL);
    CHECK(strstr(buf_text(&json), "\"rate_per_s\":4.000") != NULL); /* search, as before */
    int64_t wait_ms = 0;
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 20, &wait_ms, &rig->err) ==
          0);
    CHECK(queue_reserve(rig->q, 0, "hubspot", "a:live", "general", 1, &wait_ms, &rig->err) ==
          0);
    CHECK(wait_ms > 900 && wait_ms < 1100); /* 18 calls in debt, at the new rate */
    CHECK(queue_told(rig->q, 0, "hubspot", "a:live", "general", &ours, &rig->err) == 0);
    buf_clear(&json);
    CHECK(queue_quota(rig->q, &json, &rig->err) == 0);
    CHECK(strstr(buf_text(&json), "\"rate_per_s\":18.6") == NULL);
    CHECK(strstr(buf_text(&json), "\"daily_left\":249000") != NULL); /* not told anew */
    CHECK(queue_told(rig->q, 0, "hubspot", "a:live", "nonsense", &larger, &rig->err) == 0);
    buf_release(&json);
}

TEST(a_closed_account_waits_in_every_family)
{
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_INTERACTIVE) == 0);
    CHECK(rig_put(rig, 7, "list", "1", LANE_INTERACTIVE) == 0);
    CHECK(queue_close_account(rig->q, 0, "hubspot", "a:live", 60000, "daily", &rig->err) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    FSCK(2);
    CHECK(queue_close_account(rig->q, 0, "hubspot", "a:live", 0, "", &rig->err) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    queue_claim_free(rig->q, c);
}

TEST(five_failures_open_the_breaker_and_one_probe_closes_it)
{
    int64_t open_ms = 0;
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 300, LANE_WEBHOOK) == 0);
    for (int i = 0; i < 4; i++) {
        CHECK(queue_breaker(rig->q, 0, "hubspot", "a:live", false, &open_ms, &rig->err) == 0);
        CHECK_INT(open_ms, 0);
    }
    CHECK(queue_breaker(rig->q, 0, "hubspot", "a:live", false, &open_ms, &rig->err) == 0);
    CHECK_INT(open_ms, 60000);
    CHECK(rig_claim(rig, 100) == NULL);
    for (int i = 0, want = 120000; i < 6; i++) {
        rig_pass(rig, i == 0 ? 60001 : want + 1);
        struct claim *c = rig_claim(rig, 100);
        CHECK(c != NULL);
        CHECK(rig_claim(rig, 100) == NULL); /* one probe only */
        CHECK(rig_finish(rig, c, OUTCOME_RELEASE, 0, NULL) == 0);
        want = i == 0 ? 120000 : want * 2 > 900000 ? 900000 : want * 2;
        CHECK(queue_breaker(rig->q, 0, "hubspot", "a:live", false, &open_ms, &rig->err) == 0);
        CHECK_INT(open_ms, want);
        /* A call from before it opened says nothing. */
        CHECK(queue_breaker(rig->q, 0, "hubspot", "a:live", true, &open_ms, &rig->err) == 0);
        CHECK(open_ms > want - 1000);
    }
    rig_pass(rig, 900001);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK(queue_breaker(rig->q, 0, "hubspot", "a:live", true, &open_ms, &rig->err) == 0);
    CHECK_INT(open_ms, 0);
    queue_claim_free(rig->q, c);
    c = rig_claim(rig, 100);
    CHECK(c != NULL);
    queue_claim_free(rig->q, c);
    FSCK(300);
}

TEST(seventy_percent_of_ten_calls_open_the_breaker)
{
    int64_t open_ms = 0;
    for (int i = 0; i < 9; i++) {
        CHECK(queue_breaker(rig->q, 0, "hubspot", "a:live", i % 3 == 0, &open_ms, &rig->err) ==
              0);
        CHECK_INT(open_ms, 0);
    }
    CHECK(queue_breaker(rig->q, 0, "hubspot", "a:live", false, &open_ms, &rig->err) == 0);
    CHECK_INT(open_ms, 60000);
    /* Five minutes on, the old ones count no more. */
    CHECK(rig_redis(rig, "DEL {ps0}:a:hubspot:a:live") >= 0);
    for (int i = 0; i < 12; i++) {
        CHECK(queue_breaker(rig->q, 0, "hubspot", "a:live", i % 3 == 0, &open_ms, &rig->err) ==
              0);
        CHECK_INT(open_ms, 0);
        rig_pass(rig, 60000);
    }
}

/* A connection whose interactive work must wait for a quota goes on with the rest, but not
 * before the interactive work of others. */
TEST(interactive_work_comes_before_the_rest_of_who_has_no_quota_for_his_own)
{
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    CHECK(rig_configure(rig, 8, "hubspot", "b:live") == 0);
    CHECK(rig_configure(rig, 9, "hubspot", "c:live") == 0);
    CHECK(queue_throttle(rig->q, 0, "hubspot", "a:live", "search", 60000, &rig->err) == 0);
    CHECK(rig_put(rig, 7, "list", "1", LANE_INTERACTIVE) == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    CHECK(rig_put(rig, 9, "company", "1", LANE_WEBHOOK) == 0);
    CHECK(rig_put(rig, 8, "company", "1", LANE_INTERACTIVE) == 0);
    static const struct {
        int64_t connection;
        enum lane lane;
    } want[] = {{8, LANE_INTERACTIVE}, {7, LANE_WEBHOOK}, {9, LANE_WEBHOOK}};
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        struct claim *c = rig_claim(rig, 100);
        CHECK(c != NULL);
        CHECK_INT(c->connection_id, want[i].connection);
        CHECK_INT(c->lane, want[i].lane);
        CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    }
    CHECK(rig_claim(rig, 100) == NULL);
    FSCK(1);
}

/* Until when a connection waits was reckoned without the lane that was paused. */
TEST(a_lane_that_is_resumed_is_claimed_at_once)
{
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    CHECK(queue_throttle(rig->q, 0, "hubspot", "a:live", "search", 60000, &rig->err) == 0);
    CHECK(queue_pause(rig->q, -1, 0, LANE_INTERACTIVE, true, &rig->err) == 0);
    CHECK(rig_put(rig, 7, "list", "1", LANE_WEBHOOK) == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_INTERACTIVE) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    CHECK(queue_pause(rig->q, -1, 0, LANE_INTERACTIVE, false, &rig->err) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK_INT(c->lane, LANE_INTERACTIVE);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    FSCK(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_lease_returns_the_units_and_refuses_the_old_holder),
        cmocka_unit_test(a_claim_reaps_by_itself_what_is_overdue),
        cmocka_unit_test(three_lost_leases_single_out_and_three_more_bury_the_poison_only),
        cmocka_unit_test(poison_takes_nobody_along_that_was_in_work_beside_it),
        cmocka_unit_test(live_claims_are_renewed_by_themselves),
        cmocka_unit_test(a_batch_costs_one_call_and_single_reads_one_each),
        cmocka_unit_test(two_connections_of_one_account_share_its_quota),
        cmocka_unit_test(another_family_of_the_account_is_not_held_up),
        cmocka_unit_test(reserve_grants_now_or_tells_when),
        cmocka_unit_test(who_waits_in_line_for_a_call_is_not_overtaken),
        cmocka_unit_test(at_a_lowered_rate_two_steps_are_waited_for),
        cmocka_unit_test(a_429_closes_the_bucket_and_lowers_the_rate_once),
        cmocka_unit_test(a_rate_that_the_provider_tells_takes_the_place_of_ours),
        cmocka_unit_test(a_closed_account_waits_in_every_family),
        cmocka_unit_test(five_failures_open_the_breaker_and_one_probe_closes_it),
        cmocka_unit_test(seventy_percent_of_ten_calls_open_the_breaker),
        cmocka_unit_test(
            interactive_work_comes_before_the_rest_of_who_has_no_quota_for_his_own),
        cmocka_unit_test(a_lane_that_is_resumed_is_claimed_at_once),
    };
    return cmocka_run_group_tests_name("queue_quota", tests, NULL, NULL);
}
