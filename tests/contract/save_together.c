/* Saves side by side, connections as they are loaded, large batches. */
#include "tests/contract/save_rig.h"

/* ---- side by side ---- */

struct racer {
    struct fixture *main, *own;
    int64_t fetch_no;
    int *left;
    struct wake *all;
    int rc;
};

static void race_task(void *arg)
{
    struct racer *r = arg;
    char arr[16];
    (void)snprintf(arr, sizeof arr, "%d", (int)r->fetch_no);
    for (int i = 0; i < 40; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%d", i);
        company(r->own, id, id, "race.example", arr);
    }
    r->own->fetch_no = r->fetch_no;
    r->rc = try_save(r->own, r->main->hubspot, "company");
    if (--*r->left == 0) {
        wake_fire(r->all);
    }
}

static void race_body(struct fixture *f)
{
    enum { RACERS = 6 };
    struct racer racers[RACERS];
    struct wake all = {0};
    int left = RACERS;
    add_workspace(f, true);
    for (int i = 0; i < RACERS; i++) {
        struct fixture *own = calloc(1, sizeof *own);
        own->store = f->store;
        /* The highest starts somewhere in the middle. */
        racers[i] = (struct racer){f, own, 1000 + (i * 5) % RACERS, &left, &all, -1};
    }
    for (int i = 0; i < RACERS; i++) {
        ok(f, task_start(&f->loop, "racer", race_task, &racers[i], &f->err));
    }
    ok(f, wake_wait(&all, clock_mono_ms() + 30000, &f->err));
    for (int i = 0; i < RACERS; i++) {
        ok(racers[i].own, racers[i].rc);
        save_result_release(&racers[i].own->result);
        for (int k = 0; k < ITEMS_MAX; k++) {
            free(racers[i].own->texts[k]);
        }
        free(racers[i].own);
    }
    is(f, "40 1005 1005",
       "SELECT count(*) || ' ' || min(fields ->> 'arr') || ' ' || max(fields ->> 'arr')"
       " FROM psync.customer WHERE workspace_id = %lld",
       (long long)f->hubspot->workspace_id);
    is(f, "1005", "SELECT max(fetch_no) FROM psync.record_seen WHERE connection_id = %lld",
       (long long)f->hubspot->connection_id);
}

static void saves_of_the_same_records_side_by_side_end_in_the_latest(void **state)
{
    (void)state;
    with_workspace(race_body);
}

/* ---- a price that changes while a subscription comes to it ---- */

static void tiered_task(void *arg)
{
    struct racer *r = arg;
    bool price = r->fetch_no < 0;
    char text[512];
    char id[24], customer[24];
    int no = (int)(price ? -r->fetch_no : r->fetch_no);
    (void)snprintf(text, sizeof text,
                   "\"id\":\"price_t\",\"currency\":\"usd\",\"type\":\"recurring\","
                   "\"billing_scheme\":\"tiered\",\"tiers_mode\":\"volume\","
                   "\"unit_amount\":null,\"recurring\":{\"interval\":\"month\","
                   "\"interval_count\":1,\"usage_type\":\"licensed\"}");
    if (price) {
        add(r->own, RECORD_FOUND, "price_t",
            "{%s,\"tiers\":[{\"up_to\":null,\"flat_amount\":null,\"unit_amount\":%d,"
            "\"unit_amount_decimal\":\"%d\"}]}",
            text, no * 100, no * 100);
    } else {
        (void)snprintf(id, sizeof id, "sub_%d", no);
        (void)snprintf(customer, sizeof customer, "cus_%d", no);
        add(r->own, RECORD_FOUND, id,
            "{\"id\":\"%s\",\"object\":\"subscription\",\"customer\":\"%s\","
            "\"status\":\"active\",\"currency\":\"usd\",\"discounts\":[],"
            "\"items\":{\"data\":[{\"id\":\"si_%s\",\"quantity\":1,\"discounts\":[],"
            "\"price\":{%s}}]}}",
            id, customer, id, text);
    }
    r->rc = try_save(r->own, r->main->stripe, price ? "price" : "subscription");
    if (--*r->left == 0) {
        wake_fire(r->all);
    }
}

/* Neither sees the other's row before it commits: whoever comes second has to see both. */
static void tiered_race_body(struct fixture *f)
{
    enum { ROUNDS = 40 };
    add_workspace(f, false);
    for (int i = 1; i <= ROUNDS; i++) {
        char id[24], email[48], want[24];
        struct racer racers[2];
        struct wake all = {0};
        int left = 2;
        (void)snprintf(id, sizeof id, "cus_%d", i);
        (void)snprintf(email, sizeof email, "x@race%d.example", i);
        (void)snprintf(want, sizeof want, "%d.00", i);
        stripe_customer(f, id, email);
        save(f, f->stripe, "customer");
        for (int k = 0; k < 2; k++) {
            struct fixture *own = calloc(1, sizeof *own);
            own->store = f->store;
            racers[k] = (struct racer){f, own, k == i % 2 ? i : -i, &left, &all, -1};
            ok(f, task_start(&f->loop, "racer", tiered_task, &racers[k], &f->err));
        }
        ok(f, wake_wait(&all, clock_mono_ms() + 30000, &f->err));
        for (int k = 0; k < 2; k++) {
            ok(racers[k].own, racers[k].rc);
            save_result_release(&racers[k].own->result);
            free(racers[k].own->texts[0]);
            free(racers[k].own);
        }
        field_is(f, f->stripe, id, "mrr", want);
    }
}

static void a_price_that_changes_while_a_subscription_comes_to_it_counts(void **state)
{
    (void)state;
    with_workspace(tiered_race_body);
}

/* ---- connections ---- */

static void connection_body(struct fixture *f)
{
    static const char key[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    add_workspace(f, true);
    struct seal *seal = seal_new(key, &f->err);
    struct buf sealed;
    assert_non_null(seal);
    buf_init(&sealed, 1024);
    ok(f, seal_text(seal, f->hubspot->connection_id, "access_token", "pat-secret", &sealed,
                    &f->err));
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, f->hubspot->connection_id);
    params_bytea(p, sealed.bytes, sealed.len_bytes);
    ok(f, store_query(f->store,
                      "INSERT INTO psync.credential (connection_id, kind, access_token)"
                      " VALUES ($1, 'token', $2)",
                      p, NULL, &f->err));
    buf_release(&sealed);
    struct connection_cache *cache = connection_cache_new(f->store, seal, 60000);
    struct connection *c = connection_cache_get(cache, f->hubspot->connection_id, &f->err);
    struct connection *again = connection_cache_get(cache, f->hubspot->connection_id, &f->err);
    assert_non_null(c);
    assert_ptr_equal(c, again);
    assert_string_equal(c->access_token, "pat-secret");
    assert_string_equal(c->refresh_token, "");
    assert_string_equal(c->credential_kind, "token");
    assert_string_equal(c->scope_kind, "list");
    assert_string_equal(c->currency, "usd");
    assert_string_equal(c->account_currency, "usd");
    assert_string_equal(c->plans[1], "Pro");
    assert_null(c->owners);
    assert_int_equal(c->state, CONN_CONNECTED);
    assert_int_equal(c->mapping->count, 8);
    assert_true(c->has_crm && f->stripe->has_crm);
    assert_true(connection_mirrors(c, provider_object(c->provider, "company")));
    assert_false(connection_mirrors(f->stripe, provider_object(f->stripe->provider, "charge")));
    char account[96];
    char expected[96];
    connection_account_key(c, account, sizeof account);
    (void)snprintf(expected, sizeof expected, "acct_%lld:live", (long long)c->workspace_id);
    assert_string_equal(account, expected);
    connection_cache_drop(cache, c->connection_id);
    struct connection *fresh = connection_cache_get(cache, c->connection_id, &f->err);
    assert_ptr_not_equal(fresh, c);
    connection_free(fresh);
    connection_free(again);
    connection_free(c);
    assert_null(connection_cache_get(cache, 999999999, &f->err));
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
    connection_cache_free(cache);
    seal_free(seal);
}

static void a_connection_loads_with_all_that_saving_needs(void **state)
{
    (void)state;
    with_workspace(connection_body);
}

/* ---- speed: told, not judged ---- */

static void speed_body(struct fixture *f)
{
    static const char *const rounds[] = {"new", "unchanged", "changed"};
    struct save_chunk chunk;
    add_workspace(f, true);
    (void)add_run(f, &chunk);
    for (int round = 0; round < 3; round++) {
        int64_t from_us = clock_mono_us();
        for (int batch = 0; batch < 20; batch++) {
            for (int i = 0; i < 100; i++) {
                char id[24];
                char domain[48];
                (void)snprintf(id, sizeof id, "%d", batch * 100 + i);
                (void)snprintf(domain, sizeof domain, "d%s.example", id);
                company(f, id, id, domain, round < 2 ? "1000" : "2000");
            }
            save(f, f->hubspot, "company");
            assert_int_equal(f->result.failed, 0);
        }
        print_message("# %s: %lld records/s\n", rounds[round],
                      2000 * 1000000LL / (long long)(clock_mono_us() - from_us));
    }
    f->chunk = NULL;
}

static void stripe_speed_body(struct fixture *f)
{
    static const char *const rounds[] = {"companies", "customers", "subscriptions",
                                         "customers again"};
    struct save_chunk chunk;
    add_workspace(f, true);
    (void)add_run(f, &chunk);
    for (int round = 0; round < 4; round++) {
        int64_t from_us = clock_mono_us();
        for (int batch = 0; batch < 10; batch++) {
            for (int i = 0; i < 100; i++) {
                char id[24], domain[48], email[64];
                (void)snprintf(id, sizeof id, "%d", batch * 100 + i);
                (void)snprintf(domain, sizeof domain, "d%s.example", id);
                (void)snprintf(email, sizeof email, "x@d%s.example", id);
                if (round == 0) {
                    company(f, id, id, domain, "1000");
                } else if (round == 2) {
                    char sub[32];
                    (void)snprintf(sub, sizeof sub, "sub_%s", id);
                    subscription(f, sub, id, "price_1", 1000);
                } else {
                    stripe_customer(f, id, email);
                }
            }
            save(f, round == 0 ? f->hubspot : f->stripe,
                 round == 0   ? "company"
                 : round == 2 ? "subscription"
                              : "customer");
            assert_int_equal(f->result.failed, 0);
        }
        print_message("# %s: %lld records/s\n", rounds[round],
                      1000 * 1000000LL / (long long)(clock_mono_us() - from_us));
    }
    is(f, "1000 10.00",
       "SELECT count(*) || ' ' || min((fields ->> 'mrr')::numeric) FROM psync.customer"
       " WHERE workspace_id = %lld",
       (long long)f->hubspot->workspace_id);
    f->chunk = NULL;
}

static void a_thousand_customers_get_their_amounts_in_batches(void **state)
{
    (void)state;
    with_workspace(stripe_speed_body);
}

static void two_thousand_companies_are_saved_in_batches(void **state)
{
    (void)state;
    with_workspace(speed_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saves_of_the_same_records_side_by_side_end_in_the_latest),
        cmocka_unit_test(a_price_that_changes_while_a_subscription_comes_to_it_counts),
        cmocka_unit_test(a_connection_loads_with_all_that_saving_needs),
        cmocka_unit_test(a_thousand_customers_get_their_amounts_in_batches),
        cmocka_unit_test(two_thousand_companies_are_saved_in_batches),
    };
    return cmocka_run_group_tests(tests, make_or_drop_database, make_or_drop_database);
}
