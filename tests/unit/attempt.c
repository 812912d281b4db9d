/* What becomes of a unit after a failure, and which mail domains are people's. */
#include "core/attempt.h"
#include "common/compiler.h"
#include "core/match.h"
#include "tests/unit/test.h"

static struct retry_plan plan(enum error_type type, int attempts, int64_t wait_ms,
                              double random)
{
    struct failure f = {.type = type, .wait_ms = wait_ms};
    struct retry_plan p;
    attempt_retry_plan(&f, attempts, random, &p);
    return p;
}

static void success_completes(void **state)
{
    (void)state;
    struct retry_plan p = plan(ET_NONE, 0, -1, 0.5);
    assert_int_equal(p.outcome, OUTCOME_COMPLETE);
    assert_int_equal(p.status, ATTEMPT_SUCCEEDED);
}

static void a_passing_failure_is_retried_with_full_jitter(void **state)
{
    (void)state;
    for (int attempts = 0; attempts < 7; attempts++) {
        struct retry_plan most = plan(ET_TIMEOUT_READ, attempts, -1, 0.999999);
        struct retry_plan least = plan(ET_TIMEOUT_READ, attempts, -1, 0);
        assert_int_equal(most.outcome, OUTCOME_RETRY);
        assert_int_equal(most.status, ATTEMPT_RETRYING);
        assert_int_equal(least.delay_ms, 0);
        assert_true(most.delay_ms <= 2000LL << attempts);
        assert_true(most.delay_ms >= (2000LL << attempts) - 10);
        assert_true(most.delay_ms <= 15LL * 60 * 1000);
    }
}

static void the_eighth_failure_parks(void **state)
{
    (void)state;
    struct retry_plan p = plan(ET_TIMEOUT_READ, 7, -1, 0.5);
    assert_int_equal(p.outcome, OUTCOME_PARK);
    assert_int_equal(p.status, ATTEMPT_FAILED);
}

static void a_retry_never_comes_before_what_the_provider_asked(void **state)
{
    (void)state;
    assert_true(plan(ET_PROVIDER_UNAVAILABLE, 0, 60000, 0).delay_ms >= 60000);
    assert_true(plan(ET_PROVIDER_UNAVAILABLE, 5, 60000, 0.9).delay_ms >= 60000);
}

static void a_rate_limit_burns_no_attempt(void **state)
{
    (void)state;
    struct retry_plan p = plan(ET_RATE_LIMIT_BURST, 30, 4000, 0.5);
    assert_int_equal(p.outcome, OUTCOME_RELEASE);
    assert_int_equal(p.delay_ms, 4000);
}

static void what_waits_for_a_fix_is_parked(void **state)
{
    (void)state;
    assert_int_equal(plan(ET_AUTH_REVOKED, 0, -1, 0).outcome, OUTCOME_PARK);
    assert_int_equal(plan(ET_AUTH_REVOKED, 0, -1, 0).status, ATTEMPT_FAILED);
    assert_int_equal(plan(ET_SCOPE_MISSING, 0, -1, 0).outcome, OUTCOME_PARK);
}

static struct retry_plan advised(enum error_type type, int advice)
{
    struct failure f = {.type = type, .wait_ms = -1, .retry_advice = advice};
    struct retry_plan p;
    attempt_retry_plan(&f, 0, 0.5, &p);
    return p;
}

static void the_provider_knows_best_whether_to_try_again(void **state)
{
    (void)state;
    assert_int_equal(advised(ET_PROVIDER_ERROR, -1).outcome, OUTCOME_PARK);
    assert_int_equal(advised(ET_PROVIDER_ERROR, -1).status, ATTEMPT_FAILED);
    assert_int_equal(advised(ET_PROVIDER_ERROR, 0).outcome, OUTCOME_RETRY);
    assert_int_equal(advised(ET_UNEXPECTED_SHAPE, 1).outcome, OUTCOME_RETRY);
    assert_int_equal(advised(ET_RATE_LIMIT_BURST, -1).outcome, OUTCOME_RELEASE);
    assert_int_equal(advised(ET_AUTH_REVOKED, 1).outcome, OUTCOME_PARK);
}

static void what_a_repeat_cannot_change_is_final(void **state)
{
    (void)state;
    static const struct {
        enum error_type type;
        enum attempt_status status;
    } rows[] = {
        {ET_TEXT_NOT_STORABLE, ATTEMPT_FAILED},     {ET_DB_REJECTED, ATTEMPT_FAILED},
        {ET_NOT_IN_MIRRORED_LIST, ATTEMPT_SKIPPED}, {ET_RECORD_DELETED, ATTEMPT_SKIPPED},
        {ET_STALE_EVENT, ATTEMPT_SKIPPED},          {ET_MAP_TYPE_MISMATCH, ATTEMPT_PARTIAL},
        {ET_MAP_REQUIRED_EMPTY, ATTEMPT_PARTIAL},   {ET_MATCH_NONE, ATTEMPT_PARTIAL},
        {ET_MATCH_PERSONAL_EMAIL, ATTEMPT_SKIPPED}, {ET_MATCH_AMBIGUOUS, ATTEMPT_PARTIAL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct retry_plan p = plan(rows[i].type, 0, -1, 0.5);
        assert_int_equal(p.outcome, OUTCOME_COMPLETE);
        assert_int_equal(p.status, rows[i].status);
    }
}

static void every_type_has_a_plan(void **state)
{
    (void)state;
    for (int t = ET_NONE + 1; t < ET_COUNT; t++) {
        struct retry_plan p = plan((enum error_type)t, 0, -1, 0.5);
        assert_int_not_equal(p.status, ATTEMPT_SUCCEEDED);
        assert_true(p.delay_ms >= 0);
        assert_true(p.outcome != OUTCOME_RETRY || p.status == ATTEMPT_RETRYING);
    }
}

static void mailboxes_of_people_are_known_by_domain(void **state)
{
    (void)state;
    static const char *const people[] = {"gmail.com", "outlook.com", "icloud.com",
                                         "126.com",   "zoho.com",    "t-online.de"};
    static const char *const firms[] = {"acme.example", "mail.acme.example",
                                        "gmail.com.example", ""};
    for (size_t i = 0; i < COUNT_OF(people); i++) {
        assert_true(match_domain_personal(people[i]));
    }
    for (size_t i = 0; i < COUNT_OF(firms); i++) {
        assert_false(match_domain_personal(firms[i]));
    }
}

static void the_crm_id_property_names_provider_and_type(void **state)
{
    (void)state;
    char name[64];
    match_other_id_property(name);
    assert_string_equal(name, "hubspot_company_id");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(success_completes),
        cmocka_unit_test(a_passing_failure_is_retried_with_full_jitter),
        cmocka_unit_test(the_eighth_failure_parks),
        cmocka_unit_test(a_retry_never_comes_before_what_the_provider_asked),
        cmocka_unit_test(a_rate_limit_burns_no_attempt),
        cmocka_unit_test(what_waits_for_a_fix_is_parked),
        cmocka_unit_test(what_a_repeat_cannot_change_is_final),
        cmocka_unit_test(the_provider_knows_best_whether_to_try_again),
        cmocka_unit_test(every_type_has_a_plan),
        cmocka_unit_test(mailboxes_of_people_are_known_by_domain),
        cmocka_unit_test(the_crm_id_property_names_provider_and_type),
    };
    return RUN_TESTS(tests);
}
