/* What the queue promises of putting, claiming and ending, one verb after the other. */
#include "tests/contract/queue_rig.h"

/* ---- put, claim, complete ---- */

TEST(a_unit_is_claimed_once_and_gone_when_complete)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    struct unit_put u = rig_unit(7, "company", "id with : and | and \xc3\xa9", LANE_WEBHOOK);
    u.actor = "ann";
    u.occurred_at_ms = 1234567890123;
    CHECK(queue_put(rig->q, &u, 1, &rig->err) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK_INT(c->connection_id, 7);
    CHECK_INT(c->unit_count, 1);
    CHECK_INT(c->lane, LANE_WEBHOOK);
    CHECK_INT(c->calls, 1);
    CHECK(strcmp(c->units[0].id, u.id) == 0);
    CHECK(strcmp(c->units[0].object, "company") == 0);
    CHECK(strcmp(c->units[0].trigger, "webhook") == 0);
    CHECK(strcmp(c->units[0].actor, "ann") == 0);
    CHECK_INT(c->units[0].occurred_at_ms, 1234567890123);
    CHECK_INT(c->units[0].events, 1);
    CHECK_INT(c->units[0].attempts, 0);
    CHECK(c->units[0].first_seen_ms > 0 && c->claimed_at_ms >= c->units[0].first_seen_ms);
    CHECK(rig_claim(rig, 100) == NULL);
    FSCK(1);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    FSCK(0);
}

TEST(puts_on_a_waiting_unit_only_count)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    for (int i = 0; i < 5; i++) {
        CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    }
    FSCK(1);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK_INT(c->unit_count, 1);
    CHECK_INT(c->units[0].events, 5);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    FSCK(0);
}

TEST(any_number_of_puts_during_work_cost_one_more_fetch)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_NIGHTLY) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    for (int i = 0; i < 1000; i++) {
        CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    }
    CHECK(rig_claim(rig, 100) == NULL);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK_INT(c->lane, LANE_WEBHOOK);
    CHECK_INT(c->units[0].events, 1000);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    FSCK(0);
}

TEST(hints_are_kept_once_each_and_an_erasure_always_fits)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    for (int i = 0; i < 12; i++) {
        char hint[32];
        (void)snprintf(hint, sizeof hint, "merged_into=%d", i / 2 * 2);
        struct unit_put u = rig_unit(7, "company", "1", LANE_WEBHOOK);
        u.hint = hint;
        CHECK(queue_put(rig->q, &u, 1, &rig->err) == 0);
    }
    struct claim *c = rig_claim(rig, 1);
    CHECK(c != NULL);
    CHECK_INT(c->units[0].hint_count, 6);
    CHECK(strcmp(c->units[0].hints[1], "merged_into=2") == 0);
    for (int i = 0; i < 12; i++) {
        char hint[32] = "privacy_deleted";
        if (i < 11) {
            (void)snprintf(hint, sizeof hint, "merged_into=%d", 100 + i);
        }
        struct unit_put u = rig_unit(7, "company", "1", LANE_WEBHOOK);
        u.hint = hint;
        CHECK(queue_put(rig->q, &u, 1, &rig->err) == 0);
    }
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    c = rig_claim(rig, 1);
    CHECK(c != NULL);
    CHECK_INT(c->units[0].hint_count, QUEUE_HINTS_MAX);
    CHECK(strcmp(c->units[0].hints[QUEUE_HINTS_MAX - 1], "privacy_deleted") == 0);
    queue_claim_free(rig->q, c);
}

TEST(a_claim_is_one_batch_of_one_object_type)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 250, LANE_WEBHOOK) == 0);
    CHECK(rig_put_many(rig, 7, "contact", 0, 10, LANE_WEBHOOK) == 0);
    int companies = 0;
    int contacts = 0;
    struct claim *c = NULL;
    while ((c = rig_claim(rig, 100)) != NULL) {
        CHECK(c->unit_count <= 100);
        CHECK_INT(c->calls, 1);
        for (int i = 0; i < c->unit_count; i++) {
            CHECK(strcmp(c->units[i].object, c->units[0].object) == 0);
        }
        *(strcmp(c->units[0].object, "company") == 0 ? &companies : &contacts) += c->unit_count;
        CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    }
    CHECK_INT(companies, 250);
    CHECK_INT(contacts, 10);
    FSCK(0);
}

TEST(checks_and_chunks_come_one_at_a_time_for_one_call)
{
    CHECK(rig_configure(rig, 7, "hubspot", "a:live") == 0);
    for (int i = 0; i < 3; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "12.%d", i);
        struct unit_put u = rig_unit(7, "company", id, LANE_NIGHTLY);
        u.kind = UNIT_CHUNK;
        CHECK(queue_put(rig->q, &u, 1, &rig->err) == 0);
    }
    struct unit_put u = rig_unit(7, "", "catch-up", LANE_WEBHOOK);
    u.kind = UNIT_CHECK;
    CHECK(queue_put(rig->q, &u, 1, &rig->err) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK_INT(c->units[0].kind, UNIT_CHECK);
    CHECK(strcmp(c->units[0].id, "catch-up") == 0);
    queue_claim_free(rig->q, c);
    c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK_INT(c->units[0].kind, UNIT_CHUNK);
    CHECK_INT(c->unit_count, 1);
    CHECK_INT(c->calls, 1);
    queue_claim_free(rig->q, c);
    FSCK(4);
}

TEST(bad_units_are_refused_before_anything_is_sent)
{
    struct unit_put u[2] = {rig_unit(7, "company", "1", LANE_WEBHOOK),
                            rig_unit(7, "comp:any", "1", LANE_WEBHOOK)};
    CHECK(queue_put(rig->q, u, 2, &rig->err) != 0);
    CHECK_INT(rig->err.code, ERR_INVALID);
    u[1] = rig_unit(7, "company", "", LANE_WEBHOOK);
    CHECK(queue_put(rig->q, u, 2, &rig->err) != 0);
    u[1] = rig_unit(0, "company", "1", LANE_WEBHOOK);
    CHECK(queue_put(rig->q, u, 2, &rig->err) != 0);
    u[1] = rig_unit(7, "company", "1", LANE_WEBHOOK);
    u[1].shard = 1;
    CHECK(queue_put(rig->q, u, 2, &rig->err) != 0);
    CHECK_INT(rig->err.code, ERR_INVALID);
    FSCK(0);
}

/* ---- lanes ---- */

TEST(a_unit_put_again_in_a_higher_lane_moves_up)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 50, LANE_NIGHTLY) == 0);
    struct unit_put u = rig_unit(7, "company", "49", LANE_INTERACTIVE);
    u.trigger = "person";
    CHECK(queue_put(rig->q, &u, 1, &rig->err) == 0);
    CHECK(rig_put(rig, 7, "company", "48", LANE_WEBHOOK) == 0);
    CHECK(rig_put(rig, 7, "company", "49", LANE_NIGHTLY) == 0); /* never down */
    FSCK(50);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK_INT(c->lane, LANE_INTERACTIVE);
    CHECK_INT(c->unit_count, 1);
    CHECK(strcmp(c->units[0].id, "49") == 0);
    CHECK(strcmp(c->units[0].trigger, "person") == 0);
    CHECK_INT(c->units[0].events, 3);
    queue_claim_free(rig->q, c);
}

TEST(interactive_work_goes_first_whatever_waits)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_configure(rig, 8, "fast", "b:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 2000, LANE_NIGHTLY) == 0);
    CHECK(rig_put_many(rig, 8, "company", 0, 200, LANE_WEBHOOK) == 0);
    for (int i = 0; i < 5; i++) {
        CHECK(rig_put(rig, i % 2 ? 7 : 8, "contact", "p", LANE_INTERACTIVE) == 0);
        struct claim *c = rig_claim(rig, 100);
        CHECK(c != NULL);
        CHECK_INT(c->lane, LANE_INTERACTIVE);
        CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    }
    FSCK(2200);
}

TEST(lanes_share_a_connection_90_to_7_5_to_2_5)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    for (int lane = LANE_WEBHOOK; lane < LANE_COUNT; lane++) {
        CHECK(rig_put_many(rig, 7, "company", lane * 10000, 1000, (enum lane)lane) == 0);
    }
    int got[LANE_COUNT] = {0};
    for (int i = 0; i < 400; i++) {
        struct claim *c = rig_claim(rig, 1);
        CHECK(c != NULL);
        got[c->lane]++;
        CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    }
    CHECK(got[LANE_WEBHOOK] >= 355 && got[LANE_WEBHOOK] <= 365);
    CHECK(got[LANE_RUN_NOW] >= 27 && got[LANE_RUN_NOW] <= 33);
    CHECK(got[LANE_NIGHTLY] >= 8 && got[LANE_NIGHTLY] <= 12);
}

TEST(an_unused_share_is_used_by_the_others)
{
    int got[LANE_COUNT] = {0};
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 300, LANE_NIGHTLY) == 0);
    for (int i = 0; i < 300; i++) {
        if (i == 200) { /* a late-comer is not owed the time it was away */
            CHECK_INT(got[LANE_NIGHTLY], 200);
            CHECK(rig_put_many(rig, 7, "contact", 0, 100, LANE_WEBHOOK) == 0);
        }
        struct claim *c = rig_claim(rig, 1);
        CHECK(c != NULL);
        got[c->lane]++;
        CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    }
    CHECK(got[LANE_WEBHOOK] >= 93 && got[LANE_WEBHOOK] <= 99);
    FSCK(100);
}

TEST(connections_take_turns)
{
    for (int c = 1; c <= 4; c++) {
        char account[24];
        (void)snprintf(account, sizeof account, "%d:live", c);
        CHECK(rig_configure(rig, c, "fast", account) == 0);
    }
    CHECK(rig_put_many(rig, 1, "company", 0, 5000, LANE_WEBHOOK) == 0);
    CHECK(rig_put_many(rig, 2, "company", 0, 500, LANE_WEBHOOK) == 0);
    CHECK(rig_put_many(rig, 3, "company", 0, 500, LANE_NIGHTLY) == 0);
    int got[5] = {0};
    for (int i = 0; i < 40; i++) {
        if (i == 20) {
            CHECK(rig_put_many(rig, 4, "company", 0, 500, LANE_NIGHTLY) == 0);
        }
        struct claim *c = rig_claim(rig, 10);
        CHECK(c != NULL);
        got[c->connection_id]++;
        CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    }
    for (int c = 1; c <= 3; c++) {
        CHECK(got[c] >= 10 && got[c] <= 13);
    }
    CHECK(got[4] >= 4 && got[4] <= 6);
}

/* ---- ends ---- */

TEST(a_retry_waits_counts_and_comes_back)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    for (int i = 0; i < 3; i++) {
        struct claim *c = rig_claim(rig, 100);
        CHECK(c != NULL);
        CHECK_INT(c->units[0].attempts, i);
        CHECK(rig_finish(rig, c, OUTCOME_RETRY, 60000, NULL) == 0);
        FSCK(1);
        CHECK(rig_claim(rig, 100) == NULL);
        rig_pass(rig, 60001);
    }
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    FSCK(0);
}

TEST(a_released_unit_keeps_its_attempts_and_is_first_again)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    for (int i = 0; i < 3; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%d", i);
        CHECK(rig_put(rig, 7, "company", id, LANE_WEBHOOK) == 0);
        rig_pass(rig, 10);
    }
    struct claim *c = rig_claim(rig, 1);
    CHECK(c != NULL && strcmp(c->units[0].id, "0") == 0);
    CHECK(rig_finish(rig, c, OUTCOME_RELEASE, 0, NULL) == 0);
    c = rig_claim(rig, 1);
    CHECK(c != NULL && strcmp(c->units[0].id, "0") == 0);
    CHECK_INT(c->units[0].attempts, 0);
    CHECK(rig_finish(rig, c, OUTCOME_RELEASE, 5000, NULL) == 0);
    c = rig_claim(rig, 1);
    CHECK(c != NULL && strcmp(c->units[0].id, "1") == 0);
    queue_claim_free(rig->q, c);
    FSCK(3);
}

TEST(a_parked_unit_waits_for_its_reason)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put_many(rig, 7, "company", 0, 3, LANE_WEBHOOK) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    struct unit_end ends[3] = {{OUTCOME_PARK, 0, "mapping_missing"},
                               {OUTCOME_PARK, 0, "field_type"},
                               {OUTCOME_PARK, 0, "field_type"}};
    CHECK(queue_finish(rig->q, c, ends, &rig->err) == 0);
    FSCK(3);
    int64_t n = 0;
    CHECK(queue_unpark(rig->q, 0, 7, "other", &n, &rig->err) == 0);
    CHECK_INT(n, 0);
    CHECK(rig_claim(rig, 100) == NULL);
    CHECK(queue_unpark(rig->q, 0, 7, "field_type", &n, &rig->err) == 0);
    CHECK_INT(n, 2);
    FSCK(3);
    /* The record changed: that may be the fix. */
    CHECK(rig_put(rig, 7, "company", "0", LANE_WEBHOOK) == 0);
    FSCK(3);
    c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK_INT(c->unit_count, 3);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    FSCK(0);
}

TEST(a_put_while_a_unit_is_being_parked_is_not_lost)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    CHECK(rig_finish(rig, c, OUTCOME_PARK, 0, "x") == 0);
    c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK(rig_finish(rig, c, OUTCOME_PARK, 0, "x") == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    FSCK(1);
}

TEST(a_buried_unit_comes_back_only_for_a_person)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK(rig_finish(rig, c, OUTCOME_BURY, 0, "poison_job") == 0);
    CHECK(rig_put(rig, 7, "company", "1", LANE_WEBHOOK) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    FSCK(1);
    CHECK(rig_put(rig, 7, "company", "1", LANE_INTERACTIVE) == 0);
    c = rig_claim(rig, 100);
    CHECK(c != NULL);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    FSCK(0);
}

TEST(a_delayed_put_waits_and_a_put_at_once_brings_it_forward)
{
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    struct unit_put u[2] = {rig_unit(7, "company", "1", LANE_WEBHOOK),
                            rig_unit(7, "company", "2", LANE_WEBHOOK)};
    u[0].delay_ms = u[1].delay_ms = 10000;
    CHECK(queue_put(rig->q, u, 2, &rig->err) == 0);
    CHECK(rig_claim(rig, 100) == NULL);
    CHECK(rig_put(rig, 7, "company", "2", LANE_WEBHOOK) == 0);
    FSCK(2);
    struct claim *c = rig_claim(rig, 100);
    CHECK(c != NULL && c->unit_count == 1 && strcmp(c->units[0].id, "2") == 0);
    CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    rig_pass(rig, 10001);
    int64_t reaped = -1;
    CHECK(queue_reap(rig->q, &reaped, &rig->err) == 0);
    CHECK_INT(reaped, 0);
    struct queue_stats s;
    CHECK(queue_stats(rig->q, 0, &s, &rig->err) == 0);
    CHECK_INT(s.waiting[LANE_WEBHOOK], 1);
    CHECK_INT(s.delayed, 0);
    FSCK(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unit_is_claimed_once_and_gone_when_complete),
        cmocka_unit_test(puts_on_a_waiting_unit_only_count),
        cmocka_unit_test(any_number_of_puts_during_work_cost_one_more_fetch),
        cmocka_unit_test(hints_are_kept_once_each_and_an_erasure_always_fits),
        cmocka_unit_test(a_claim_is_one_batch_of_one_object_type),
        cmocka_unit_test(checks_and_chunks_come_one_at_a_time_for_one_call),
        cmocka_unit_test(bad_units_are_refused_before_anything_is_sent),
        cmocka_unit_test(a_unit_put_again_in_a_higher_lane_moves_up),
        cmocka_unit_test(interactive_work_goes_first_whatever_waits),
        cmocka_unit_test(lanes_share_a_connection_90_to_7_5_to_2_5),
        cmocka_unit_test(an_unused_share_is_used_by_the_others),
        cmocka_unit_test(connections_take_turns),
        cmocka_unit_test(a_retry_waits_counts_and_comes_back),
        cmocka_unit_test(a_released_unit_keeps_its_attempts_and_is_first_again),
        cmocka_unit_test(a_parked_unit_waits_for_its_reason),
        cmocka_unit_test(a_put_while_a_unit_is_being_parked_is_not_lost),
        cmocka_unit_test(a_buried_unit_comes_back_only_for_a_person),
        cmocka_unit_test(a_delayed_put_waits_and_a_put_at_once_brings_it_forward),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
