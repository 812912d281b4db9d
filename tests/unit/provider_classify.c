/* Every error answer we know of, as an error type. */
#include "provider/answer.h"
#include "tests/unit/provider_test.h"

static void classify(const char *provider, const char *endpoint, int status,
                     const char *headers, const char *body, struct failure *out)
{
    struct http_request q;
    struct http_response r;
    http_request_init(&q);
    q.endpoint = endpoint;
    answer_make(&r, status, headers, body);
    provider_find(provider)->classify(&q, &r, out);
    http_response_release(&r);
    http_request_release(&q);
}

static void want(const struct failure *f, const char *code)
{
    const struct error_info *info = error_info(f->type);
    assert_non_null(info);
    assert_string_equal(info->code, code);
}

/* ---- HubSpot ---- */

struct hubspot_case {
    const char *id, *endpoint, *code;
    int64_t wait_ms;
};

static const json_t *by_id(const json_t *list, const char *id)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_text_of(json_array_get(list, i), "id"), id) == 0)
            return json_array_get(list, i);
    }
    fail_msg("no '%s'", id);
    return NULL;
}

static void check_hubspot(const json_t *list, const struct hubspot_case *cases, size_t n)
{
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *e = by_id(list, cases[i].id);
        const json_t *body = json_object_get(e, "body");
        struct failure f;
        char headers[512] = "";
        const char *name = NULL;
        json_t *value = NULL;
        char *text = json_is_string(body) ? strdup(json_string_value(body))
                                          : json_dumps(body, JSON_COMPACT);
        json_object_foreach(json_object_get(e, "headers"), name, value)
        {
            size_t at = strlen(headers);
            snprintf(headers + at, sizeof headers - at, "%s: %s\n", name,
                     json_string_value(value));
        }
        for (char *p = headers; *p != '\0'; p++)
            *p = *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p;
        classify("hubspot", cases[i].endpoint, (int)json_int_of(e, "http", 0), headers, text,
                 &f);
        free(text);
        const struct error_info *info = error_info(f.type);
        const char *code = info != NULL ? info->code : "none";
        if (strcmp(code, cases[i].code) != 0 || f.wait_ms != cases[i].wait_ms)
            fail_msg("%s: %s, wait %lld", cases[i].id, code, (long long)f.wait_ms);
        assert_int_equal(f.http_status, json_int_of(e, "http", 0));
        if (f.type != ET_NONE)
            assert_true(f.message[0] != '\0');
        if (json_text_of(body, "correlationId") != NULL)
            assert_string_equal(f.request_id, json_text_of(body, "correlationId"));
    }
}

#define COMPANY  "/crm/objects/{v}/companies/{id}"
#define SEARCHED "/crm/objects/{v}/companies/search"
#define LISTED   "/crm/lists/{v}/{listId}/memberships"
#define TOKEN    "/oauth/{v}/token"

static void every_hubspot_error_body_has_its_type(void **state)
{
    (void)state;
    static const struct hubspot_case api[] = {
        {"rate-ten-secondly", COMPANY, "rate_limit_burst", 10000},
        {"rate-daily", COMPANY, "rate_limit_daily", 3600000},
        {"rate-search", SEARCHED, "rate_limit_search", 1000},
        {"rate-associations", "/crm/associations/{v}/{from}/{to}/batch/read",
         "rate_limit_burst", 10000},
        {"token-expired", COMPANY, "auth_token_expired", -1},
        {"token-expired-old-text", COMPANY, "auth_token_expired", -1},
        {"token-invalid", COMPANY, "auth_key_invalid", -1},
        {"missing-scopes", COMPANY, "scope_missing", -1},
        {"banned", COMPANY, "permission_denied", -1},
        {"not-found", COMPANY, "record_not_found", -1},
        {"lists-404-html", LISTED, "malformed_body", -1},
        {"validation", COMPANY, "invalid_request", -1},
        {"search-past-10000", SEARCHED, "invalid_request", -1},
        {"uri-too-long", COMPANY, "uri_too_long", -1},
        {"locked", COMPANY, "record_locked", 2500},
        {"migration", COMPANY, "provider_migrating", 3600000},
        {"http-502", COMPANY, "provider_unavailable", -1},
        {"http-503", COMPANY, "provider_unavailable", -1},
        {"http-504", COMPANY, "provider_unavailable", -1},
        {"http-521", COMPANY, "provider_unavailable", -1},
        {"http-522", COMPANY, "provider_edge_error", -1},
        {"http-523", COMPANY, "provider_edge_error", -1},
        {"http-524", COMPANY, "provider_edge_error", -1},
        {"http-525", COMPANY, "provider_edge_error", -1},
        {"http-526", COMPANY, "provider_edge_error", -1},
        {"http-530", COMPANY, "provider_edge_error", -1},
        {"batch-207", "/crm/objects/{v}/companies/batch/read", "none", -1},
        {"subscription-limit", "/webhooks/v3/{appId}/subscriptions", "invalid_request", -1},
    };
    static const struct hubspot_case token[] = {
        {"refresh-revoked", TOKEN, "auth_revoked", -1},
        {"refresh-revoked-v1", TOKEN, "auth_revoked", -1},
        {"auth-code", TOKEN, "invalid_request", -1},
        {"hub", TOKEN, "auth_revoked", -1},
        {"bad-client-id", TOKEN, "auth_client_rejected", -1},
        {"bad-client-secret", TOKEN, "auth_client_rejected", -1},
        {"bad-redirect-uri", TOKEN, "config_error", -1},
        {"bad-grant-type", TOKEN, "config_error", -1},
        {"bad-scopes", TOKEN, "config_error", -1},
        {"bad-code-verifier", TOKEN, "config_error", -1},
        {"token-429", TOKEN, "auth_refresh_unavailable", 1000},
        {"token-503", TOKEN, "auth_refresh_unavailable", -1},
    };
    json_t *file = load_fixture("tests/fixtures/hubspot/error-bodies.json");
    check_hubspot(json_object_get(file, "api"), api, COUNT_OF(api));
    check_hubspot(json_object_get(file, "oauthToken"), token, COUNT_OF(token));
    json_decref(file);
}

static void names_the_scope_and_the_property(void **state)
{
    (void)state;
    struct failure f;
    json_t *file = load_fixture("tests/fixtures/hubspot/error-bodies.json");
    const json_t *list = json_object_get(file, "api");
    char *text = json_dumps(json_object_get(by_id(list, "missing-scopes"), "body"), 0);
    classify("hubspot", COMPANY, 403, NULL, text, &f);
    assert_string_equal(f.detail, "crm.objects.companies.read");
    free(text);
    text = json_dumps(json_object_get(by_id(list, "validation"), "body"), 0);
    classify("hubspot", COMPANY, 400, NULL, text, &f);
    assert_string_equal(f.detail, "discount");
    free(text);
    json_decref(file);
}

static void a_missing_list_is_told_apart_from_a_missing_record(void **state)
{
    (void)state;
    struct failure f;
    static const char body[] = "{\"category\":\"OBJECT_NOT_FOUND\",\"message\":\"no\"}";
    classify("hubspot", LISTED, 404, NULL, body, &f);
    want(&f, "list_not_found");
    classify("hubspot", "/crm/lists/{v}/records/{objectTypeId}/{recordId}/memberships", 404,
             NULL, body, &f);
    want(&f, "record_not_found");
}

static void waits_as_long_as_the_provider_says(void **state)
{
    (void)state;
    struct failure f;
    classify("hubspot", COMPANY, 429, "retry-after: 7\n", "{}", &f);
    want(&f, "rate_limit_burst");
    assert_int_equal(f.wait_ms, 7000);
    classify("stripe", "/v1/customers", 503, "retry-after: 30\n", "", &f);
    want(&f, "provider_unavailable");
    assert_int_equal(f.wait_ms, 30000);
    classify("hubspot", COMPANY, 400, NULL, "", &f);
    assert_int_equal(f.wait_ms, -1);
}

static struct limits_told told_by(const char *family, const char *headers)
{
    struct http_request q;
    struct http_response r;
    struct limits_told told = {.daily_limit = -1, .daily_left = -1};
    http_request_init(&q);
    q.family = family;
    answer_make(&r, 200, headers, "{}");
    provider_find("hubspot")->limits(&q, &r, &told);
    http_response_release(&r);
    http_request_release(&q);
    return told;
}

#define INTERVAL "x-hubspot-ratelimit-interval-milliseconds: 10000\n"

static void reads_the_limits_that_an_answer_names(void **state)
{
    (void)state;
    static const struct {
        const char *max;
        double rate_per_s;
    } plans[] = {{"100", 9.6}, {"110", 10.6}, {"190", 18.6}, {"250", 24.6}, {"1000", 99.6}};
    for (size_t i = 0; i < COUNT_OF(plans); i++) {
        char headers[200];
        snprintf(headers, sizeof headers, "x-hubspot-ratelimit-max: %s\n" INTERVAL,
                 plans[i].max);
        double rate = told_by("general", headers).rate_per_s;
        assert_true(rate > plans[i].rate_per_s - 0.001 && rate < plans[i].rate_per_s + 0.001);
        assert_true(told_by("associations", headers).rate_per_s <= 0);
        assert_true(told_by("search", headers).rate_per_s <= 0);
    }
    static const char *const odd[] = {
        "",
        "x-hubspot-ratelimit-max: 110\n",
        INTERVAL,
        "x-hubspot-ratelimit-max: many\n" INTERVAL,
        "x-hubspot-ratelimit-max: -5\n" INTERVAL,
        "x-hubspot-ratelimit-max: 0\n" INTERVAL,
        "x-hubspot-ratelimit-max: 99999999999999999999\n" INTERVAL,
        "x-hubspot-ratelimit-max: 110\nx-hubspot-ratelimit-interval-milliseconds: 0\n",
    };
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        struct limits_told told = told_by("general", odd[i]);
        assert_true(told.rate_per_s <= 0);
        assert_int_equal(told.daily_limit, -1);
        assert_int_equal(told.daily_left, -1);
    }
    struct limits_told day = told_by("general", "x-hubspot-ratelimit-daily: 250000\n"
                                                "x-hubspot-ratelimit-daily-remaining: 0\n");
    assert_int_equal(day.daily_limit, 250000);
    assert_int_equal(day.daily_left, 0);
    day = told_by("general", "x-hubspot-ratelimit-daily: 250000\n");
    assert_int_equal(day.daily_limit, -1);
}

/* ---- Stripe ---- */

#define ERROR(members) "{\"error\":{" members ",\"type\":\"invalid_request_error\"}}"

static void every_stripe_error_has_its_type(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *headers, *body, *code;
    } cases[] = {
        {400, "", ERROR("\"code\":\"parameter_unknown\",\"param\":\"x\""), "invalid_request"},
        {400, "", ERROR("\"code\":\"property_expansion_max_depth\""), "invalid_request"},
        {400, "", ERROR("\"code\":\"rate_limit\""), "rate_limit_burst"},
        {401, "", ERROR("\"message\":\"Invalid API Key provided: sk_test_***S8wL\""),
         "auth_key_invalid"},
        {401, "", ERROR("\"code\":\"api_key_expired\",\"message\":\"Expired API Key\""),
         "auth_key_invalid"},
        {401, "", ERROR("\"message\":\"The access token expired\""), "auth_token_expired"},
        {402, "", ERROR("\"message\":\"x\""), "payment_required"},
        {403, "", ERROR("\"code\":\"account_invalid\""), "auth_app_uninstalled"},
        {403, "", ERROR("\"message\":\"Application access may have been revoked.\""),
         "auth_app_uninstalled"},
        {403, "",
         ERROR("\"message\":\"The API key provided does not allow requests from your IP "
               "address (1.2.3.4).\""),
         "permission_denied"},
        {404, "", ERROR("\"code\":\"resource_missing\",\"param\":\"id\""), "record_not_found"},
        {404, "",
         ERROR("\"code\":\"resource_missing\",\"message\":\"No such customer: 'cus_1'; a "
               "similar object exists in test mode, but a live mode key was used to make this "
               "request.\""),
         "auth_mode_mismatch"},
        {404, "", ERROR("\"message\":\"Unrecognized request URL (GET: /v1/x).\""),
         "invalid_request"},
        {404, "", "<html>not here</html>", "malformed_body"},
        {409, "", ERROR("\"code\":\"idempotency_key_in_use\""), "conflict"},
        {424, "", ERROR("\"message\":\"x\""), "provider_dependency"},
        {429, "stripe-rate-limited-reason: endpoint-rate\n", ERROR("\"code\":\"rate_limit\""),
         "rate_limit_burst"},
        {429, "stripe-rate-limited-reason: global-concurrency\n",
         ERROR("\"code\":\"rate_limit\""), "rate_limit_concurrency"},
        {429, "", ERROR("\"code\":\"lock_timeout\""), "conflict"},
        {500, "", ERROR("\"message\":\"x\""), "provider_error"},
        {502, "", "<html></html>", "provider_unavailable"},
        {503, "", "", "provider_unavailable"},
        {522, "", "", "provider_edge_error"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct failure f;
        classify("stripe", "/v1/customers", cases[i].status, cases[i].headers, cases[i].body,
                 &f);
        if (strcmp(error_info(f.type)->code, cases[i].code) != 0)
            fail_msg("%zu: %s", i, error_info(f.type)->code);
    }
}

static void never_repeats_a_key(void **state)
{
    (void)state;
    struct failure f;
    classify("stripe", "/v1/customers", 401, NULL,
             ERROR("\"message\":\"Invalid API Key provided: rk_live_51abcDEF0123456789\""), &f);
    assert_null(strstr(f.message, "51abc"));
    assert_string_equal(f.message, "Invalid API Key provided: [redacted]");
    classify("hubspot", COMPANY, 502, NULL,
             "sent Bearer abc.def-ghi and pat-na1-12345678-90ab-cdef", &f);
    assert_null(strstr(f.message, "abc.def"));
    assert_null(strstr(f.message, "1234"));
}

static void names_the_permission_and_the_request(void **state)
{
    (void)state;
    struct failure f;
    classify(
        "stripe", "/v1/prices", 403, "request-id: req_123\n",
        ERROR("\"code\":\"more_permissions_required\",\"message\":\"Permission denied. The "
              "provided key 'rk_live_***j4va7j' does not have the required permissions for "
              "this endpoint on account 'acct_123'. Enabling \\\"Prices Read\\\" "
              "('plan_read') permissions on this key would allow this request to "
              "continue.\""),
        &f);
    want(&f, "permission_denied");
    assert_string_equal(f.detail, "plan_read");
    assert_string_equal(f.request_id, "req_123");
}

static void keeps_what_stripe_says_about_retrying(void **state)
{
    (void)state;
    struct failure f;
    classify("stripe", "/v1/customers", 500, "stripe-should-retry: false\n", "{}", &f);
    assert_int_equal(f.retry_advice, -1);
    classify("stripe", "/v1/customers", 429, "stripe-should-retry: true\n", "{}", &f);
    assert_int_equal(f.retry_advice, 1);
    classify("stripe", "/v1/customers", 500, NULL, "{}", &f);
    assert_int_equal(f.retry_advice, 0);
}

static void stripe_token_errors_depend_on_the_grant(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *form, *body, *code;
    } cases[] = {
        {400, "grant_type=refresh_token&refresh_token=x", "{\"error\":\"invalid_grant\"}",
         "auth_revoked"},
        {400, "grant_type=authorization_code&code=ac_1", "{\"error\":\"invalid_grant\"}",
         "invalid_request"},
        {400, "grant_type=refresh_token", "{\"error\":\"invalid_client\"}",
         "auth_client_rejected"},
        {401, "grant_type=refresh_token", ERROR("\"message\":\"Invalid API Key\""),
         "auth_client_rejected"},
        {400, "grant_type=refresh_token", "{\"error\":\"unsupported_grant_type\"}",
         "config_error"},
        {503, "grant_type=refresh_token", "", "auth_refresh_unavailable"},
        {429, "grant_type=refresh_token", "", "auth_refresh_unavailable"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct http_request q;
        struct http_response r;
        struct failure f;
        http_request_init(&q);
        q.endpoint = "/v1/oauth/token";
        assert_int_equal(buf_add_str(&q.body, cases[i].form), 0);
        answer_make(&r, cases[i].status, NULL, cases[i].body);
        provider_find("stripe")->classify(&q, &r, &f);
        if (strcmp(error_info(f.type)->code, cases[i].code) != 0)
            fail_msg("%zu: %s", i, error_info(f.type)->code);
        http_response_release(&r);
        http_request_release(&q);
    }
}

static void a_fault_without_an_answer_has_its_type(void **state)
{
    (void)state;
    static const struct {
        enum http_fault fault;
        const char *code;
    } cases[] = {{HTTP_DNS, "dns_failed"},
                 {HTTP_CONNECT, "connect_failed"},
                 {HTTP_TLS, "tls_failed"},
                 {HTTP_TIMEOUT_CONNECT, "timeout_connect"},
                 {HTTP_TIMEOUT_READ, "timeout_read"},
                 {HTTP_RESET, "connection_reset"},
                 {HTTP_PROXY, "proxy_failed"},
                 {HTTP_TOO_LARGE, "body_too_large"},
                 {HTTP_REFUSED_HOST, "config_error"}};
    for (int p = 0; providers[p] != NULL; p++) {
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
            struct http_request q;
            struct http_response r;
            struct failure f;
            http_request_init(&q);
            q.endpoint = COMPANY;
            answer_make(&r, 0, NULL, "");
            r.fault = cases[i].fault;
            snprintf(r.fault_text, sizeof r.fault_text, "it broke");
            providers[p]->classify(&q, &r, &f);
            want(&f, cases[i].code);
            assert_string_equal(f.message, "it broke");
            q.endpoint = "/v1/oauth/token";
            http_response_release(&r);
            http_request_release(&q);
        }
    }
}

/* Found by fuzzing: a reason may quote any byte of an answer. */
static void a_message_is_plain_text_whatever_it_quotes(void **state)
{
    (void)state;
    struct failure f = {0};
    failure_set(&f, ET_UNEXPECTED_SHAPE, "near '%s'", "a\x04\xff\xc3\xa4\x7f");
    assert_string_equal(f.message, "near 'a ?\xc3\xa4 '");
}

/* Found by fuzzing: the row of the log would have been refused for it. */
static void an_id_of_a_request_that_is_no_text_is_none(void **state)
{
    struct failure f;
    (void)state;
    classify("stripe", "/v1/prices", 500, "request-id: req_\xc9\xff\n", "{}", &f);
    assert_string_equal(f.request_id, "");
    classify("hubspot", "/crm/v3/objects", 500, "x-hubspot-correlation-id: \xff\n", "{}", &f);
    assert_string_equal(f.request_id, "");
    classify("hubspot", "/crm/v3/objects", 500, "", "{\"correlationId\":\"a\\nb\"}", &f);
    assert_string_equal(f.request_id, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_of_a_request_that_is_no_text_is_none),
        cmocka_unit_test(a_message_is_plain_text_whatever_it_quotes),
        cmocka_unit_test(every_hubspot_error_body_has_its_type),
        cmocka_unit_test(names_the_scope_and_the_property),
        cmocka_unit_test(a_missing_list_is_told_apart_from_a_missing_record),
        cmocka_unit_test(waits_as_long_as_the_provider_says),
        cmocka_unit_test(reads_the_limits_that_an_answer_names),
        cmocka_unit_test(every_stripe_error_has_its_type),
        cmocka_unit_test(never_repeats_a_key),
        cmocka_unit_test(names_the_permission_and_the_request),
        cmocka_unit_test(keeps_what_stripe_says_about_retrying),
        cmocka_unit_test(stripe_token_errors_depend_on_the_grant),
        cmocka_unit_test(a_fault_without_an_answer_has_its_type),
    };
    return RUN_TESTS(tests);
}
