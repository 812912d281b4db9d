/* Amounts of Stripe on the customers they belong to. */
#include "tests/contract/save_rig.h"

static void stripe_body(struct fixture *f)
{
    add_workspace(f, true);
    three_companies(f);
    stripe_customer(f, "cus_1", "jane@Alpha.example");
    save(f, f->stripe, "customer");
    field_is(f, f->hubspot, "1", "mrr", "0.00");
    subscription(f, "sub_1", "cus_1", "price_1", 10050);
    save(f, f->stripe, "subscription");
    counts(f, 1, 0, 0, 0, 0);
    field_is(f, f->hubspot, "1", "mrr", "100.50");
    field_is(f, f->hubspot, "1", "name", "Alpha");
    subscription(f, "sub_1", "cus_1", "price_2", 20000);
    save(f, f->stripe, "subscription");
    field_is(f, f->hubspot, "1", "mrr", "200.00");
    is(f, "domain", "SELECT how FROM psync.record_link WHERE connection_id = %lld",
       (long long)f->stripe->connection_id);
    is(f, "cus_1 mrr",
       "SELECT record_id || ' ' || source_property FROM psync_bi.field_provenance WHERE"
       " connection_id = %lld AND field = 'mrr'",
       (long long)f->stripe->connection_id);
    run(f,
        "UPDATE psync.customer SET fields = fields || '{\"mrr\":1}' WHERE workspace_id ="
        " %lld",
        (long long)f->stripe->workspace_id);
    stripe_customer(f, "cus_1", "jane@Alpha.example");
    save(f, f->stripe, "customer");
    counts(f, 0, 1, 0, 0, 0);
    field_is(f, f->hubspot, "1", "mrr", "200.00");
    field_is(f, f->hubspot, "2", "mrr", "1");
    add(f, RECORD_GONE, "cus_1", "%s", "");
    save(f, f->stripe, "customer");
    field_is(f, f->hubspot, "1", "mrr", "0.00");
    archived_is(f, "1", "-");
}

static void a_subscription_moves_mrr_on_the_customer_of_its_domain(void **state)
{
    (void)state;
    with_workspace(stripe_body);
}

static void tiers_body(struct fixture *f)
{
    static const char price[] =
        "{\"id\":\"price_t\",\"object\":\"price\",\"currency\":\"usd\",\"type\":\"recurring\","
        "\"billing_scheme\":\"tiered\",\"tiers_mode\":\"volume\",\"unit_amount\":null,"
        "\"tiers\":[{\"up_to\":null,\"flat_amount\":null,\"unit_amount\":%d,"
        "\"unit_amount_decimal\":\"%d\"}],\"recurring\":{\"interval\":\"month\","
        "\"interval_count\":1,\"usage_type\":\"licensed\"}}";
    add_workspace(f, true);
    three_companies(f);
    add(f, RECORD_FOUND, "price_t", price, 700, 700);
    save(f, f->stripe, "price");
    stripe_customer(f, "cus_1", "jane@alpha.example");
    save(f, f->stripe, "customer");
    add(f, RECORD_FOUND, "sub_1",
        "{\"id\":\"sub_1\",\"customer\":\"cus_1\",\"status\":\"active\",\"currency\":\"usd\","
        "\"discounts\":[],\"items\":{\"data\":[{\"id\":\"si_1\",\"quantity\":3,"
        "\"discounts\":[],\"price\":{\"id\":\"price_t\",\"currency\":\"usd\","
        "\"type\":\"recurring\",\"billing_scheme\":\"tiered\",\"tiers_mode\":\"volume\","
        "\"unit_amount\":null,\"recurring\":{\"interval\":\"month\",\"interval_count\":1,"
        "\"usage_type\":\"licensed\"}}}]}}");
    save(f, f->stripe, "subscription");
    field_is(f, f->hubspot, "1", "mrr", "21.00");
    add(f, RECORD_FOUND, "price_t", price, 900, 900);
    save(f, f->stripe, "price");
    field_is(f, f->hubspot, "1", "mrr", "27.00");
}

static void a_price_that_changes_moves_mrr_without_its_subscription(void **state)
{
    (void)state;
    with_workspace(tiers_body);
}

static void unmatched_body(struct fixture *f)
{
    add_workspace(f, true);
    stripe_customer(f, "cus_1", "jane@alpha.example");
    stripe_customer(f, "cus_2", "joe@gmail.com");
    add(f, RECORD_FOUND, "cus_3", "{\"id\":\"cus_3\",\"email\":null}");
    stripe_customer(f, "cus_4", "ann@alpha.example");
    save(f, f->stripe, "customer");
    assert_int_equal(f->result.verdicts[0].failure.type, ET_MATCH_NONE);
    assert_int_equal(f->result.verdicts[1].failure.type, ET_MATCH_PERSONAL_EMAIL);
    assert_int_equal(f->result.verdicts[2].failure.type, ET_MATCH_NO_KEY);
    assert_int_equal(f->result.verdicts[0].plan.status, ATTEMPT_PARTIAL);
    assert_int_equal(f->result.verdicts[1].plan.status, ATTEMPT_SKIPPED);
    state_is(f, f->stripe, "cus_1", "unmatched match_none");
    is(f, "0", "SELECT count(*) FROM psync.customer WHERE workspace_id = %lld",
       (long long)f->stripe->workspace_id);
    subscription(f, "sub_1", "cus_1", "price_1", 5000);
    save(f, f->stripe, "subscription");
    three_companies(f);
    field_is(f, f->hubspot, "1", "mrr", "50.00");
    state_is(f, f->stripe, "cus_1", "in_sync ");
    state_is(f, f->stripe, "cus_4", "ambiguous duplicate_source");
    company(f, "8", "Alpha too", "alpha.example", "1");
    save(f, f->hubspot, "company");
    stripe_customer(f, "cus_5", "eve@alpha.example");
    save(f, f->stripe, "customer");
    assert_int_equal(f->result.verdicts[0].failure.type, ET_MATCH_AMBIGUOUS);
}

static void an_unmatched_record_is_matched_when_its_customer_comes(void **state)
{
    (void)state;
    with_workspace(unmatched_body);
}

static void by_id_body(struct fixture *f)
{
    add_workspace(f, true);
    three_companies(f);
    add(f, RECORD_FOUND, "cus_1",
        "{\"id\":\"cus_1\",\"email\":\"x@beta.example\",\"metadata\":"
        "{\"hubspot_company_id\":\"3\"}}");
    save(f, f->stripe, "customer");
    field_is(f, f->stripe, "cus_1", "name", "Gamma");
    is(f, "id", "SELECT how FROM psync.record_link WHERE connection_id = %lld",
       (long long)f->stripe->connection_id);
    /* And the other way round: a mapped field that names the Stripe customer. */
    run(f,
        "UPDATE psync.mapping SET fields = fields || '[{\"field\":\"stripe_customer_id\","
        "\"source\":\"stripe_id\"}]' WHERE connection_id = %lld",
        (long long)f->hubspot->connection_id);
    run(f,
        "UPDATE psync.customer SET fields = fields || '{\"stripe_customer_id\":\"cus_2\"}'"
        " WHERE workspace_id = %lld AND fields ->> 'name' = 'Alpha'",
        (long long)f->hubspot->workspace_id);
    stripe_customer(f, "cus_2", "x@beta.example");
    save(f, f->stripe, "customer");
    field_is(f, f->stripe, "cus_2", "name", "Alpha");
}

static void an_id_kept_in_the_other_system_goes_before_the_domain(void **state)
{
    (void)state;
    with_workspace(by_id_body);
}

static void alone_body(struct fixture *f)
{
    add_workspace(f, false);
    stripe_customer(f, "cus_1", "jane@alpha.example");
    stripe_customer(f, "cus_2", "joe@gmail.com");
    save(f, f->stripe, "customer");
    counts(f, 2, 0, 0, 0, 0);
    field_is(f, f->stripe, "cus_1", "name", "Name of cus_1");
    field_is(f, f->stripe, "cus_1", "domain", "alpha.example");
    field_is(f, f->stripe, "cus_2", "domain", "NULL");
    stripe_customer(f, "cus_1", "jane@alpha.example");
    stripe_customer(f, "cus_2", "joe@gmail.com");
    save(f, f->stripe, "customer");
    counts(f, 0, 0, 2, 0, 0);
}

static void stripe_makes_customers_only_without_a_crm(void **state)
{
    (void)state;
    with_workspace(alone_body);
}

/* What it says of a link tells whether it was worked out anew. */
static void spoil_notes(struct fixture *f)
{
    run(f,
        "UPDATE psync.record_link SET notes = notes || '{\"subtract_once\":\"spoiled\"}'"
        " WHERE connection_id = %lld",
        (long long)f->stripe->connection_id);
}

static void notes_are(struct fixture *f, const char *record_id, const char *expected)
{
    is(f, expected,
       "SELECT notes ->> 'subtract_once' FROM psync.record_link"
       " WHERE connection_id = %lld AND record_id = '%s'",
       (long long)f->stripe->connection_id, record_id);
}

static void timed_body(struct fixture *f)
{
    add_workspace(f, false);
    stripe_customer(f, "cus_1", "jane@alpha.example");
    stripe_customer(f, "cus_2", "joe@beta.example");
    save(f, f->stripe, "customer");
    subscription(f, "sub_1", "cus_2", "price_1", 10050);
    save(f, f->stripe, "subscription");
    spoil_notes(f);
    f->run_id = 1;
    stripe_customer(f, "cus_1", "jane@alpha.example");
    stripe_customer(f, "cus_2", "joe@beta.example");
    save(f, f->stripe, "customer");
    notes_are(f, "cus_1", "spoiled"); /* nothing of it depends on time */
    notes_are(f, "cus_2", "false");

    field_is(f, f->stripe, "cus_1", "mrr_currency", "usd");
    run(f, "UPDATE psync.workspace SET currency = 'eur' WHERE workspace_id = %lld",
        (long long)f->stripe->workspace_id);
    int64_t id = f->stripe->connection_id;
    connection_free(f->stripe);
    f->stripe = load(f, id);
    stripe_customer(f, "cus_1", "jane@alpha.example");
    save(f, f->stripe, "customer");
    notes_are(f, "cus_1", "false");
    field_is(f, f->stripe, "cus_1", "mrr_currency", "eur");
}

static void a_full_run_works_out_anew_what_time_or_another_currency_changes(void **state)
{
    (void)state;
    with_workspace(timed_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_subscription_moves_mrr_on_the_customer_of_its_domain),
        cmocka_unit_test(a_price_that_changes_moves_mrr_without_its_subscription),
        cmocka_unit_test(an_unmatched_record_is_matched_when_its_customer_comes),
        cmocka_unit_test(an_id_kept_in_the_other_system_goes_before_the_domain),
        cmocka_unit_test(stripe_makes_customers_only_without_a_crm),
        cmocka_unit_test(a_full_run_works_out_anew_what_time_or_another_currency_changes),
    };
    return cmocka_run_group_tests(tests, make_or_drop_database, make_or_drop_database);
}
