/* Whose record is it: every case of matching, merges, what is to be forgotten. */
#include "tests/contract/save_rig.h"

/* ---- every case of matching ---- */

struct match_case {
    const char *what, *email, *other_id;
    bool personal_too, by_hand;
    const char *expected; /* "how name" of the customer, or the record's state and reason */
};

static const struct match_case match_cases[] = {
    {"a domain that one customer has", "a@alpha.example", "", false, false, "domain Alpha"},
    {"in capitals", "A@ALPHA.EXAMPLE", "", false, false, "domain Alpha"},
    {"a domain that two have", "a@beta.example", "", false, false, "ambiguous match_ambiguous"},
    {"an id goes before it", "a@beta.example", "2", false, false, "id Beta"},
    {"also before another customer's domain", "a@alpha.example", "3", false, false, "id Gamma"},
    {"an id that nobody has leaves the domain", "a@gamma.example", "77", false, false,
     "domain Gamma"},
    {"an id alone", "", "1", false, false, "id Alpha"},
    {"a domain that nobody has", "a@none.example", "", false, false, "unmatched match_none"},
    {"an id that nobody has, alone", "", "77", false, false, "unmatched match_none"},
    {"neither of both", "", "", false, false, "unmatched match_no_key"},
    {"a mailbox of a person", "a@gmail.com", "", false, false, "excluded match_personal_email"},
    {"which counts where it is switched on", "a@gmail.com", "", true, false, "domain Mail"},
    {"an id goes before the switch", "a@gmail.com", "1", false, false, "id Alpha"},
    {"an archived customer's domain", "a@old.example", "", false, false,
     "unmatched match_none"},
    {"a hand goes before the domain", "a@alpha.example", "", false, true, "hand Gamma"},
    {"before an id", "a@alpha.example", "2", false, true, "hand Gamma"},
    {"before several that fit", "a@beta.example", "", false, true, "hand Gamma"},
    {"and before having no key", "", "", false, true, "hand Gamma"},
};

static void link_by_hand(struct fixture *f, const char *record_id, const char *company_id)
{
    run(f,
        "INSERT INTO psync.record_link (connection_id, object_type, record_id, customer_id, "
        "how)"
        " SELECT %lld, 'customer', '%s', customer_id, 'hand' FROM psync.record_link"
        " WHERE connection_id = %lld AND record_id = '%s'",
        (long long)f->stripe->connection_id, record_id, (long long)f->hubspot->connection_id,
        company_id);
}

static void match_one(struct fixture *f, const struct match_case *m, int no)
{
    char id[32];
    (void)snprintf(id, sizeof id, "cus_case%d", no);
    if (m->by_hand) {
        link_by_hand(f, id, "3");
    }
    f->stripe->match_personal_emails = m->personal_too;
    /* Twice: what was decided stands. */
    for (int i = 0; i < 2; i++) {
        add(f, RECORD_FOUND, id,
            "{\"id\":\"%s\",\"email\":\"%s\",\"description\":\"%d\",\"metadata\":"
            "{\"hubspot_company_id\":\"%s\"}}",
            id, m->email, i, m->other_id);
        save(f, f->stripe, "customer");
        is(f, m->expected,
           "SELECT coalesce((SELECT l.how || ' ' || (c.fields ->> 'name') FROM "
           "psync.record_link"
           " l JOIN psync.customer c USING (customer_id) WHERE l.connection_id = %lld"
           " AND l.record_id = '%s'), (SELECT state || ' ' || reason_code FROM"
           " psync.record_seen WHERE connection_id = %lld AND record_id = '%s'))",
           (long long)f->stripe->connection_id, id, (long long)f->stripe->connection_id, id);
    }
    run(f, "DELETE FROM psync.record_link WHERE connection_id = %lld",
        (long long)f->stripe->connection_id);
}

static void match_table_body(struct fixture *f)
{
    add_workspace(f, true);
    three_companies(f);
    company(f, "8", "Beta too", "beta.example", "1");
    company(f, "9", "Mail", "gmail.com", "1");
    company(f, "10", "Old", "old.example", "1");
    save(f, f->hubspot, "company");
    run(f,
        "UPDATE psync.customer SET archived_at = now(), archived_why = 'person'"
        " WHERE fields ->> 'name' = 'Old' AND workspace_id = %lld",
        (long long)f->hubspot->workspace_id);
    for (size_t i = 0; i < COUNT_OF(match_cases); i++) {
        print_message("%s\n", match_cases[i].what);
        match_one(f, &match_cases[i], (int)i);
    }
    is(f, "6", "SELECT count(*) FROM psync.customer WHERE workspace_id = %lld",
       (long long)f->hubspot->workspace_id);
}

static void every_case_of_matching_ends_as_designed(void **state)
{
    (void)state;
    with_workspace(match_table_body);
}

static void signal_only_body(struct fixture *f)
{
    add_workspace(f, false);
    f->stripe->billing_signal_only = true;
    stripe_customer(f, "cus_1", "jane@alpha.example");
    save(f, f->stripe, "customer");
    state_is(f, f->stripe, "cus_1", "unmatched match_none");
    is(f, "0", "SELECT count(*) FROM psync.customer WHERE workspace_id = %lld",
       (long long)f->stripe->workspace_id);
}

static void a_billing_signal_only_makes_no_customer(void **state)
{
    (void)state;
    with_workspace(signal_only_body);
}

static void merge_body(struct fixture *f)
{
    add_workspace(f, true);
    three_companies(f);
    stripe_customer(f, "cus_1", "jane@alpha.example");
    save(f, f->stripe, "customer");
    subscription(f, "sub_1", "cus_1", "price_1", 7000);
    save(f, f->stripe, "subscription");
    add(f, RECORD_MERGED, "1", "%s", "");
    (void)snprintf(f->records[0].other_id, sizeof f->records[0].other_id, "2");
    save(f, f->hubspot, "company");
    archived_is(f, "1", "record_merged");
    field_is(f, f->stripe, "cus_1", "name", "Beta");
    field_is(f, f->hubspot, "2", "mrr", "70.00");
    is(f, "2",
       "SELECT merged_into FROM psync.record WHERE connection_id = %lld AND"
       " record_id = '1'",
       (long long)f->hubspot->connection_id);
    subscription(f, "sub_1", "cus_1", "price_1", 9000);
    save(f, f->stripe, "subscription");
    field_is(f, f->hubspot, "2", "mrr", "90.00");
}

static void late_merge_body(struct fixture *f)
{
    add_workspace(f, true);
    company(f, "1", "Alpha", "alpha.example", "1");
    save(f, f->hubspot, "company");
    stripe_customer(f, "cus_1", "jane@alpha.example");
    save(f, f->stripe, "customer");
    subscription(f, "sub_1", "cus_1", "price_1", 7000);
    save(f, f->stripe, "subscription");
    add(f, RECORD_MERGED, "1", "%s", "");
    (void)snprintf(f->records[0].other_id, sizeof f->records[0].other_id, "2");
    save(f, f->hubspot, "company");
    field_is(f, f->stripe, "cus_1", "name", "Alpha");
    company(f, "2", "Beta", "beta.example", "2");
    save(f, f->hubspot, "company");
    field_is(f, f->stripe, "cus_1", "name", "Beta");
    field_is(f, f->hubspot, "2", "mrr", "70.00");
}

static void links_follow_a_survivor_that_comes_after_the_merge(void **state)
{
    (void)state;
    with_workspace(late_merge_body);
}

static void after_a_merge_links_follow_the_survivor(void **state)
{
    (void)state;
    with_workspace(merge_body);
}

static void erase_body(struct fixture *f)
{
    add_workspace(f, true);
    company(f, "1", "Alpha", "alpha.example", "lots");
    save(f, f->hubspot, "company");
    add(f, RECORD_GONE, "1", "%s", "");
    f->units[0].hint_count = 1;
    (void)snprintf(f->units[0].hints[0], sizeof f->units[0].hints[0], "privacy_deleted");
    save(f, f->hubspot, "company");
    is(f, "{}", "SELECT raw FROM psync.record WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
    is(f, "{} record_deleted",
       "SELECT fields::text || ' ' || archived_why FROM psync.customer WHERE workspace_id = "
       "%lld",
       (long long)f->hubspot->workspace_id);
    is(f, "0", "SELECT count(*) FROM psync_bi.field_provenance WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
    is(f, "0",
       "SELECT count(*) FROM psync.attempt a JOIN psync.attempt_body b USING (attempt_id)"
       " WHERE connection_id = %lld AND b.body <> ''",
       (long long)f->hubspot->connection_id);
    is(f, "erase company 1",
       "SELECT action || ' ' || target FROM psync.audit WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
}

static void a_privacy_deletion_erases_values_and_keeps_the_audit(void **state)
{
    (void)state;
    with_workspace(erase_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_of_matching_ends_as_designed),
        cmocka_unit_test(a_billing_signal_only_makes_no_customer),
        cmocka_unit_test(after_a_merge_links_follow_the_survivor),
        cmocka_unit_test(links_follow_a_survivor_that_comes_after_the_merge),
        cmocka_unit_test(a_privacy_deletion_erases_values_and_keeps_the_audit),
    };
    return cmocka_run_group_tests(tests, make_or_drop_database, make_or_drop_database);
}
