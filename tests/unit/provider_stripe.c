/* Asks of Stripe, played through without a network, and what is derived of a customer. */
#include "tests/unit/provider_test.h"

static const struct provider *stripe(void)
{
    return provider_find("stripe");
}

static void begin(struct play *t, enum ask_kind kind, const char *object)
{
    play_begin(t, stripe(), kind, object);
    t->conn.api_version = "2026-10-28.endive";
    t->conn.account = "acct_1";
    t->conn.mode = "test";
    t->conn.access_token = "rk_test_1";
    t->conn.oauth_kind = "app";
    t->conn.scope_kind = "";
}

static const char *raw_of(const struct play *t, size_t i, char out[2048])
{
    const struct slice raw = t->list.records[i].raw;
    snprintf(out, 2048, "%.*s", (int)raw.len_bytes, raw.bytes);
    return out;
}

static void reads_records_one_by_one_with_the_version_pinned(void **state)
{
    (void)state;
    static const char *const ids[] = {"cus_1", "cus_2", "cus_3", "cus_4"};
    struct play t;
    char out[1024];
    begin(&t, ASK_RECORDS, "customer");
    t.ask.ids = ids;
    t.ask.id_count = 4;
    play_url(&t, "GET", "https://api.example/v1/customers/cus_1");
    assert_string_equal(t.req.endpoint, "/v1/customers/{id}");
    assert_non_null(strstr(buf_text(&t.req.headers), "Stripe-Version: 2026-10-28.endive\n"));
    assert_non_null(strstr(buf_text(&t.req.headers), "Authorization: Bearer rk_test_1\n"));
    assert_int_equal(
        play_answer(
            &t, 200,
            "{\n  \"id\": \"cus_1\",\n  \"object\": \"customer\",\n  \"created\": 5\n}"),
        0);
    play_url(&t, "GET", "https://api.example/v1/customers/cus_2");
    assert_int_equal(
        play_answer(&t, 200, "{\"id\":\"cus_2\",\"object\":\"customer\",\"deleted\":true}"), 0);
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(
        play_answer(&t, 404, "{\"error\":{\"code\":\"resource_missing\",\"param\":\"id\"}}"),
        0);
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 404,
                                 "{\"error\":{\"code\":\"resource_missing\",\"message\":\"No "
                                 "such customer; a similar object exists in live mode\"}}"),
                     0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "F:cus_1 G:cus_2 G:cus_3 X:cus_4");
    assert_int_equal(t.list.records[0].created_s, 5);
    assert_int_equal(t.list.records[3].failure.type, ET_AUTH_MODE_MISMATCH);
    play_end(&t);
}

static void expands_the_same_by_id_and_by_page(void **state)
{
    (void)state;
    static const char *const ids[] = {"sub_1"};
    struct play t;
    begin(&t, ASK_RECORDS, "subscription");
    t.ask.ids = ids;
    t.ask.id_count = 1;
    play_url(&t, "GET",
             "https://api.example/v1/subscriptions/sub_1?expand[]=discounts.source.coupon&"
             "expand[]=items.data.discounts");
    play_end(&t);
    begin(&t, ASK_PAGE, "subscription");
    play_url(&t, "GET",
             "https://api.example/v1/subscriptions?limit=100&status=all&expand[]=data."
             "discounts.source.coupon&expand[]=data.items.data.discounts");
    play_end(&t);
    begin(&t, ASK_PAGE, "price");
    play_url(&t, "GET",
             "https://api.example/v1/prices?limit=100&expand[]=data.tiers&expand[]=data."
             "currency_options");
    play_end(&t);
}

static void pages_a_window_and_says_where_to_go_on(void **state)
{
    (void)state;
    struct play t;
    char out[1024];
    begin(&t, ASK_PAGE, "customer");
    t.ask.created_from_s = 100;
    t.ask.created_to_s = 200;
    play_url(&t, "GET",
             "https://api.example/v1/customers?limit=100&created[gte]=100&created[lt]=200");
    assert_int_equal(
        play_answer(&t, 200,
                    "{\"object\":\"list\",\"has_more\":true,\"data\":[{\"id\":\"cus_9\","
                    "\"created\":150},{\"created\":149},{\"id\":\"cus_8\",\"created\":148}]}"),
        0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "F:cus_9 X: F:cus_8");
    assert_int_equal(t.list.records[1].failure.type, ET_UNEXPECTED_SHAPE);
    assert_string_equal(t.list.cursor, "148 cus_8");
    play_end(&t);
}

/* Fuzzing: what goes into keys, statements and the log was taken as it came. */
static void an_id_that_is_no_text_is_none(void **state)
{
    static const char *const ids[] = {"cus_\xff", "cus_\\n1", "cus_\\u007f", "\xde\xcd", ""};
    struct play t;
    char out[1024];
    char page[256];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        begin(&t, ASK_PAGE, "customer");
        assert_int_equal(play_plan(&t), PLAN_CALL);
        (void)snprintf(page, sizeof page,
                       "{\"object\":\"list\",\"has_more\":false,\"data\":[{\"id\":\"%s\","
                       "\"created\":150},{\"id\":\"cus_8\",\"created\":148}]}",
                       ids[i]);
        assert_int_equal(play_answer(&t, 200, page), 0);
        assert_string_equal(play_records(&t, out), "X: F:cus_8");
        play_end(&t);
    }
}

static void goes_on_by_time_when_the_cursor_is_refused(void **state)
{
    (void)state;
    struct play t;
    begin(&t, ASK_PAGE, "customer");
    t.ask.cursor = "148 cus_8";
    play_url(&t, "GET", "https://api.example/v1/customers?limit=100&starting_after=cus_8");
    assert_int_equal(play_answer(&t, 400,
                                 "{\"error\":{\"code\":\"resource_missing\",\"param\":"
                                 "\"starting_after\",\"message\":\"No such customer: 'cus_8'\""
                                 "}}"),
                     0);
    play_url(&t, "GET", "https://api.example/v1/customers?limit=100&created[lte]=148");
    assert_int_equal(play_answer(&t, 200, "{\"has_more\":false,\"data\":[]}"), 0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_false(t.list.has_more);
    play_end(&t);
}

static void completes_embedded_lists_to_their_end(void **state)
{
    (void)state;
    struct play t;
    char out[2048];
    begin(&t, ASK_PAGE, "subscription");
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(
        play_answer(&t, 200,
                    "{\"has_more\":false,\"data\":["
                    "{\"id\":\"sub_1\",\"items\":{\"data\":[{\"id\":\"si_1\"}],\"has_more\":"
                    "false}},"
                    "{\"id\":\"sub_2\",\"items\":{\"object\":\"list\",\"data\":[{\"id\":"
                    "\"si_2\"}],\"has_more\":true,\"url\":\"/x\"},\"status\":\"active\"},"
                    "{\"id\":\"sub_3\",\"items\":{\"has_more\":true,\"data\":[ ]}}]}"),
        0);
    play_url(&t, "GET",
             "https://api.example/v1/subscription_items?subscription=sub_2&limit=100&"
             "starting_after=si_2&expand[]=data.discounts");
    assert_int_equal(
        play_answer(&t, 200, "{\"has_more\":true,\"data\":[{\"id\":\"si_3\",\"a\":1.10}]}"), 0);
    play_url(&t, "GET",
             "https://api.example/v1/subscription_items?subscription=sub_2&limit=100&"
             "starting_after=si_3&expand[]=data.discounts");
    assert_int_equal(play_answer(&t, 200, "{\"has_more\":false,\"data\":[{\"id\":\"si_4\"}]}"),
                     0);
    play_url(&t, "GET",
             "https://api.example/v1/subscription_items?subscription=sub_3&limit=100&"
             "expand[]=data.discounts");
    assert_int_equal(play_answer(&t, 200, "{\"has_more\":false,\"data\":[{\"id\":\"si_5\"}]}"),
                     0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(raw_of(&t, 1, out),
                        "{\"id\":\"sub_2\",\"items\":{\"object\":\"list\",\"data\":[{\"id\":"
                        "\"si_2\"},{\"id\":\"si_3\",\"a\":1.10},{\"id\":\"si_4\"}],"
                        "\"has_more\":false,\"url\":\"/x\"},\"status\":\"active\"}");
    assert_string_equal(
        raw_of(&t, 2, out),
        "{\"id\":\"sub_3\",\"items\":{\"has_more\":false,\"data\":[ {\"id\":\"si_5\"}]}}");
    assert_int_equal(t.list.count, 3);
    play_end(&t);
}

static void completes_the_lines_of_a_single_invoice(void **state)
{
    (void)state;
    static const char *const ids[] = {"in_1", "in_2"};
    struct play t;
    char out[2048];
    begin(&t, ASK_RECORDS, "invoice");
    t.ask.ids = ids;
    t.ask.id_count = 2;
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 200,
                                 "{\"id\":\"in_1\",\"lines\":{\"data\":[{\"id\":\"il_1\"}],"
                                 "\"has_more\":true}}"),
                     0);
    play_url(&t, "GET",
             "https://api.example/v1/invoices/in_1/lines?limit=100&starting_after=il_1");
    assert_int_equal(play_answer(&t, 200, "{\"has_more\":false,\"data\":[{\"id\":\"il_2\"}]}"),
                     0);
    assert_string_equal(raw_of(&t, 0, out),
                        "{\"id\":\"in_1\",\"lines\":{\"data\":[{\"id\":\"il_1\"},{\"id\":"
                        "\"il_2\"}],\"has_more\":false}}");
    play_url(&t, "GET", "https://api.example/v1/invoices/in_2");
    play_end(&t);
}

static void an_embedded_list_that_turns_in_circles_is_given_up(void **state)
{
    (void)state;
    struct play t;
    begin(&t, ASK_PAGE, "invoice");
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 200,
                                 "{\"has_more\":false,\"data\":[{\"id\":\"in_1\",\"lines\":"
                                 "{\"data\":[{\"id\":\"il_1\"}],\"has_more\":true}}]}"),
                     0);
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 200, "{\"has_more\":true,\"data\":[{\"id\":\"il_1\"}]}"),
                     -1);
    assert_int_equal(t.why.type, ET_UNEXPECTED_SHAPE);
    play_end(&t);
}

static void one_bad_record_of_a_page_fails_alone(void **state)
{
    (void)state;
    struct play t;
    char out[1024];
    begin(&t, ASK_PAGE, "product");
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 200,
                                 "{\"has_more\":false,\"data\":[{\"id\":\"prod_1\"},{\"id\":"
                                 "\"prod_2\",\"name\":\"x\\u0000\"},{\"id\":\"prod_3\",\"n\":"
                                 "99999999999999999999}]}"),
                     0);
    assert_string_equal(play_records(&t, out), "F:prod_1 X:prod_2 X:prod_3");
    play_end(&t);
}

static void finds_what_changed_in_the_events(void **state)
{
    (void)state;
    struct play t;
    char out[1024];
    begin(&t, ASK_CHANGED_SINCE, "coupon");
    t.ask.since_ms = 100999;
    t.ask.until_ms = 200000;
    play_url(&t, "GET",
             "https://api.example/v1/events?limit=100&types[]=coupon.created&types[]=coupon."
             "updated&types[]=coupon.deleted&created[gte]=100&created[lt]=201");
    assert_int_equal(
        play_answer(&t, 200,
                    "{\"has_more\":true,\"data\":["
                    "{\"id\":\"evt_3\",\"type\":\"coupon.updated\",\"created\":103,\"data\":"
                    "{\"object\":{\"id\":\"A\"}}},"
                    "{\"id\":\"evt_2\",\"type\":\"coupon.updated\",\"created\":102,\"data\":"
                    "{\"object\":{\"id\":\"A\"}}},"
                    "{\"id\":\"evt_1\",\"type\":\"coupon.deleted\",\"created\":101,\"data\":"
                    "{\"object\":{\"id\":\"B\"}}}]}"),
        0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "R:A R:B");
    assert_int_equal(t.list.records[0].updated_at_ms, 103000);
    assert_string_equal(t.list.cursor, "101 evt_1");
    play_end(&t);
}

static void asks_no_more_than_twenty_event_types(void **state)
{
    (void)state;
    for (const struct object_type *o = stripe()->objects; o->name != NULL; o++) {
        struct play t;
        int n = 0;
        begin(&t, ASK_CHANGED_SINCE, o->name);
        t.ask.since_ms = 1000;
        assert_int_equal(play_plan(&t), PLAN_CALL);
        for (const char *p = buf_text(&t.req.url); (p = strstr(p, "types[]=")) != NULL; p++)
            n++;
        assert_in_range(n, 1, 20);
        play_end(&t);
    }
}

static void a_refused_permission_ends_the_ask(void **state)
{
    (void)state;
    struct play t;
    begin(&t, ASK_PAGE, "coupon");
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 403,
                                 "{\"error\":{\"code\":\"more_permissions_required\","
                                 "\"message\":\"Enabling ('coupon_read') permissions\"}}"),
                     -1);
    assert_int_equal(t.why.type, ET_PERMISSION_DENIED);
    assert_string_equal(t.why.detail, "coupon_read");
    /* The same call again, after a new key: nothing was kept of the refusal. */
    assert_int_equal(play_answer(&t, 200, "{\"has_more\":false,\"data\":[]}"), 0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    play_end(&t);
}

static void tells_who_we_are_even_when_refused(void **state)
{
    (void)state;
    struct play t;
    begin(&t, ASK_ACCOUNT, NULL);
    play_url(&t, "GET", "https://api.example/v1/account");
    assert_int_equal(play_answer(&t, 200,
                                 "{\"id\":\"acct_9\",\"default_currency\":\"eur\",\"settings\":"
                                 "{\"dashboard\":{\"display_name\":\"Acme\",\"timezone\":"
                                 "\"Etc/UTC\"}}}"),
                     0);
    assert_string_equal(json_text_of(t.state.facts, "account"), "acct_9");
    assert_string_equal(json_text_of(t.state.facts, "name"), "Acme");
    assert_string_equal(json_text_of(t.state.facts, "mode"), "test");
    assert_string_equal(json_text_of(t.state.facts, "currency"), "eur");
    play_end(&t);
    begin(&t, ASK_ACCOUNT, NULL);
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 403,
                                 "{\"error\":{\"code\":\"more_permissions_required\","
                                 "\"message\":\"The provided key 'rk_test_***x' does not have "
                                 "the required permissions for this endpoint on account "
                                 "'acct_123'.\"}}"),
                     0);
    assert_string_equal(json_text_of(t.state.facts, "account"), "acct_123");
    play_end(&t);
}

static void refreshes_with_the_apps_own_key(void **state)
{
    (void)state;
    struct play t;
    begin(&t, ASK_TOKEN_REFRESH, NULL);
    play_url(&t, "POST", "https://api.example/v1/oauth/token");
    assert_non_null(strstr(buf_text(&t.req.headers), "Authorization: Basic c2VjcmV0LTE6\n"));
    assert_string_equal(buf_text(&t.req.body),
                        "grant_type=refresh_token&refresh_token=refresh-1");
    assert_int_equal(play_answer(&t, 200,
                                 "{\"access_token\":\"a\",\"livemode\":true,\"refresh_token\":"
                                 "\"r\",\"scope\":\"stripe_apps\",\"stripe_user_id\":\"acct_1\""
                                 "}"),
                     0);
    assert_string_equal(json_text_of(t.state.facts, "refresh_token"), "r");
    assert_int_equal(json_int_of(t.state.facts, "expires_in", 0), 3600);
    assert_string_equal(json_text_of(t.state.facts, "mode"), "live");
    play_end(&t);
}

static void reads_a_connect_account_with_the_platforms_key(void **state)
{
    (void)state;
    struct play t;
    begin(&t, ASK_PAGE, "product");
    t.conn.access_token = "";
    t.conn.oauth_kind = "connect";
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_non_null(strstr(buf_text(&t.req.headers), "Authorization: Bearer secret-1\n"));
    assert_non_null(strstr(buf_text(&t.req.headers), "Stripe-Account: acct_1\n"));
    play_end(&t);
}

static void repairs_the_webhook_endpoint(void **state)
{
    (void)state;
    struct play t;
    begin(&t, ASK_HOOK_REPAIR, NULL);
    t.ask.hook_url = "https://gw/webhooks/stripe/1";
    play_url(&t, "GET", "https://api.example/v1/webhook_endpoints?limit=100");
    assert_int_equal(play_answer(&t, 200, "{\"data\":[],\"has_more\":false}"), 0);
    play_url(&t, "POST", "https://api.example/v1/webhook_endpoints");
    assert_non_null(strstr(buf_text(&t.req.body), "api_version=2026-10-28.endive"));
    assert_non_null(strstr(buf_text(&t.req.body), "enabled_events%5B%5D=customer.created"));
    assert_int_equal(play_answer(&t, 200,
                                 "{\"id\":\"we_1\",\"status\":\"enabled\",\"secret\":"
                                 "\"whsec_1\"}"),
                     0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(json_text_of(t.state.facts, "secret"), "whsec_1");
    assert_true(json_bool_of(t.state.facts, "enabled", false));
    play_end(&t);
}

/* ---- what is derived ---- */

#define PRICE(cur, amount)                                                                     \
    "{\"id\":\"p\",\"type\":\"recurring\",\"currency\":\"" cur "\",\"unit_amount\":" amount    \
    ",\"recurring\":{\"interval\":\"month\",\"interval_count\":1}}"
#define SUB(status, cur, amount)                                                               \
    "{\"id\":\"s\",\"status\":\"" status "\",\"currency\":\"" cur                              \
    "\",\"items\":{\"data\":[{\"price\":" PRICE(cur, amount) ",\"quantity\":1}]}}"

static json_t *derived_of(const char *bundle_text, const char *currency, bool filtered)
{
    json_t *bundle = json_loads(bundle_text, 0, NULL);
    json_t *out = NULL;
    json_t *notes = NULL;
    struct err err = {0};
    const struct derive_policy policy = {.now_s = 1790000000,
                                         .currency = currency,
                                         .account_currency = "usd",
                                         .subtract_recurring = true,
                                         .filtered = filtered};
    assert_non_null(bundle);
    assert_int_equal(stripe()->derive(bundle, &policy, &out, &notes, &err), 0);
    assert_non_null(notes);
    json_decref(notes);
    json_decref(bundle);
    return out;
}

static json_t *derived(const char *bundle_text, const char *currency)
{
    return derived_of(bundle_text, currency, false);
}

static void derives_amounts_by_currency_and_the_chosen_one(void **state)
{
    (void)state;
    json_t *p = derived(
        "{\"customer\":{\"id\":\"cus_1\",\"email\":\"Jo@Acme.Example \"},"
        "\"subscriptions\":[" SUB("active", "usd", "10000") "," SUB(
            "past_due", "usd", "2050") "," SUB("active", "jpy",
                                               "1500") "," SUB("canceled", "usd", "99999") "]}",
        "");
    assert_string_equal(json_text_of(p, "mrr"), "120.50");
    assert_string_equal(json_text_of(p, "mrr_currency"), "usd");
    assert_int_equal(json_int_of(json_object_get(p, "mrr_by_currency"), "usd", 0), 12050);
    assert_int_equal(json_int_of(json_object_get(p, "mrr_by_currency"), "jpy", 0), 1500);
    assert_string_equal(json_text_of(p, "subscription_status"), "active");
    assert_string_equal(json_text_of(p, "payment_status"), "past_due");
    assert_string_equal(json_text_of(p, "email_domain"), "acme.example");
    json_decref(p);
    p = derived("{\"customer\":{\"id\":\"cus_1\"},\"subscriptions\":[" SUB("active", "jpy",
                                                                           "1500") "]}",
                "JPY");
    assert_string_equal(json_text_of(p, "mrr"), "1500");
    assert_string_equal(json_text_of(p, "mrr_currency"), "jpy");
    json_decref(p);
}

static void amounts_in_other_currencies_only_give_no_mrr(void **state)
{
    (void)state;
    json_t *p = derived("{\"customer\":{\"id\":\"cus_1\"},\"subscriptions\":[" SUB(
                            "active", "eur", "1500") "]}",
                        "usd");
    assert_true(json_is_null(json_object_get(p, "mrr")));
    assert_true(json_is_null(json_object_get(p, "mrr_currency")));
    assert_int_equal(json_int_of(json_object_get(p, "mrr_by_currency"), "eur", 0), 1500);
    json_decref(p);
}

static void who_pays_nothing_or_is_deleted_has_zero(void **state)
{
    (void)state;
    json_t *p = derived("{\"customer\":{\"id\":\"cus_1\"},\"subscriptions\":[]}", "usd");
    assert_string_equal(json_text_of(p, "mrr"), "0.00");
    assert_string_equal(json_text_of(p, "mrr_currency"), "usd");
    assert_string_equal(json_text_of(p, "payment_status"), "none");
    assert_string_equal(json_text_of(p, "subscription_status"), "none");
    json_decref(p);
    p = derived("{\"customer\":{\"id\":\"cus_1\",\"deleted\":true},\"subscriptions\":[" SUB(
                    "active", "usd", "1500") "]}",
                "usd");
    assert_string_equal(json_text_of(p, "mrr"), "0.00");
    assert_string_equal(json_text_of(p, "subscription_status"), "none");
    json_decref(p);
}

static void an_overdue_invoice_is_past_due_and_metadata_names_the_company(void **state)
{
    (void)state;
    json_t *p =
        derived("{\"customer\":{\"id\":\"cus_1\",\"metadata\":{\"hubspot_id\":\"77\","
                "\"tier\":\"gold\"}},\"subscriptions\":[" SUB(
                    "active", "usd",
                    "100") "],\"invoices\":[{\"status\":\"open\",\"due_date\":1780000000}]}",
                "usd");
    assert_string_equal(json_text_of(p, "payment_status"), "past_due");
    assert_string_equal(json_text_of(p, "hubspot_company_id"), "77");
    assert_string_equal(json_text_of(p, "metadata.tier"), "gold");
    json_decref(p);
}

/* The bundle holds the subscriptions inside of the scope, and all open invoices. */
static void an_invoice_of_a_subscription_outside_does_not_count(void **state)
{
    static const struct {
        const char *invoice, *status;
    } cases[] = {
        {"{\"subscription\":\"other\"", "ok"},
        {"{\"subscription\":{\"id\":\"other\"}", "ok"},
        {"{\"parent\":{\"subscription_details\":{\"subscription\":\"other\"}}", "ok"},
        {"{\"parent\":{\"subscription_details\":{\"subscription\":\"s\"}}", "past_due"},
        {"{\"subscription\":\"s\"", "past_due"},
        {"{\"subscription\":null", "past_due"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[1000];
        (void)snprintf(text, sizeof text,
                       "{\"customer\":{\"id\":\"cus_1\"},\"subscriptions\":[%s],"
                       "\"invoices\":[%s,\"status\":\"open\",\"due_date\":1780000000}]}",
                       SUB("active", "usd", "100"), cases[i].invoice);
        json_t *p = derived_of(text, "usd", true);
        assert_string_equal(json_text_of(p, "payment_status"), cases[i].status);
        json_decref(p);
        p = derived(text, "usd");
        assert_string_equal(json_text_of(p, "payment_status"), "past_due");
        json_decref(p);
    }
    json_t *p =
        derived_of("{\"customer\":{\"id\":\"cus_1\"},\"subscriptions\":[],\"invoices\":["
                   "{\"status\":\"open\",\"due_date\":1780000000}]}",
                   "usd", true);
    assert_string_equal(json_text_of(p, "payment_status"), "none");
    assert_string_equal(json_text_of(p, "mrr"), "0.00");
    assert_true(json_is_false(json_object_get(p, "in_scope")));
    json_decref(p);
}

static void a_scope_is_of_products_or_lookup_keys(void **state)
{
    static const struct {
        const char *price, *kind, *id;
        bool inside;
    } cases[] = {
        {"{\"product\":\"prod_1\"}", "product", "prod_1", true},
        {"{\"product\":{\"id\":\"prod_1\"}}", "product", "prod_0, prod_1", true},
        {"{\"product\":\"prod_1\"}", "product", "prod_11,prod_", false},
        {"{\"product\":\"prod_1\",\"lookup_key\":null}", "lookup_key", "prod_1", false},
        {"{\"product\":\"prod_1\",\"lookup_key\":\"a\"}", "lookup_key", "b,a", true},
        {"null", "product", "prod_1", false},
    };
    struct err err = {0};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[160];
        (void)snprintf(text, sizeof text, "{\"items\":{\"data\":[{},{\"price\":%s}]}}",
                       cases[i].price);
        json_t *subscription = json_loads(text, 0, NULL);
        assert_non_null(subscription);
        assert_int_equal(stripe()->inside(subscription, cases[i].kind, cases[i].id),
                         cases[i].inside);
        json_decref(subscription);
    }
    assert_int_equal(provider_scope_kind(stripe(), "lookup_key", &err), 0);
    assert_int_equal(provider_scope_kind(stripe(), "lookup", &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
}

static void the_default_mapping_is_sound(void **state)
{
    (void)state;
    for (int i = 0; providers[i] != NULL; i++) {
        json_t *m = json_loads(providers[i]->default_mapping, 0, NULL);
        assert_true(json_array_size(m) > 0);
        for (size_t k = 0; k < json_array_size(m); k++) {
            assert_non_null(json_text_of(json_array_get(m, k), "field"));
            assert_non_null(json_text_of(json_array_get(m, k), "source"));
        }
        json_decref(m);
    }
}

static void quotas_stay_under_the_limit_in_any_window(void **state)
{
    (void)state;
    for (int i = 0; providers[i] != NULL; i++) {
        for (const struct quota_family *q = providers[i]->quotas; q->name != NULL; q++)
            assert_true(q->burst + q->rate_per_s * q->window_ms / 1000.0 <= q->limit);
        for (const struct object_type *o = providers[i]->objects; o->name != NULL; o++) {
            int found = 0;
            for (const struct quota_family *q = providers[i]->quotas; q->name != NULL; q++) {
                found += strcmp(q->name, o->read_family) == 0;
                found += strcmp(q->name, o->list_family) == 0;
            }
            assert_int_equal(found, 2);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_records_one_by_one_with_the_version_pinned),
        cmocka_unit_test(expands_the_same_by_id_and_by_page),
        cmocka_unit_test(pages_a_window_and_says_where_to_go_on),
        cmocka_unit_test(an_id_that_is_no_text_is_none),
        cmocka_unit_test(goes_on_by_time_when_the_cursor_is_refused),
        cmocka_unit_test(completes_embedded_lists_to_their_end),
        cmocka_unit_test(completes_the_lines_of_a_single_invoice),
        cmocka_unit_test(an_embedded_list_that_turns_in_circles_is_given_up),
        cmocka_unit_test(one_bad_record_of_a_page_fails_alone),
        cmocka_unit_test(finds_what_changed_in_the_events),
        cmocka_unit_test(asks_no_more_than_twenty_event_types),
        cmocka_unit_test(a_refused_permission_ends_the_ask),
        cmocka_unit_test(tells_who_we_are_even_when_refused),
        cmocka_unit_test(refreshes_with_the_apps_own_key),
        cmocka_unit_test(reads_a_connect_account_with_the_platforms_key),
        cmocka_unit_test(repairs_the_webhook_endpoint),
        cmocka_unit_test(derives_amounts_by_currency_and_the_chosen_one),
        cmocka_unit_test(amounts_in_other_currencies_only_give_no_mrr),
        cmocka_unit_test(who_pays_nothing_or_is_deleted_has_zero),
        cmocka_unit_test(an_overdue_invoice_is_past_due_and_metadata_names_the_company),
        cmocka_unit_test(an_invoice_of_a_subscription_outside_does_not_count),
        cmocka_unit_test(a_scope_is_of_products_or_lookup_keys),
        cmocka_unit_test(the_default_mapping_is_sound),
        cmocka_unit_test(quotas_stay_under_the_limit_in_any_window),
    };
    return RUN_TESTS(tests);
}
