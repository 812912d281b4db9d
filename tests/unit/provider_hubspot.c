/* Asks of HubSpot, played through without a network. */
#include "tests/unit/provider_test.h"

static const struct provider *hubspot(void)
{
    return provider_find("hubspot");
}

#define COMPANY(id, more)                                                                      \
    "{\"id\":\"" id "\",\"properties\":{\"name\":\"A\"" more                                   \
    "},\"createdAt\":\"2024-08-15T17:09:13.648Z\",\"updatedAt\":"                              \
    "\"2026-11-20T10:00:00.000Z\",\"archived\":false}"

static void reads_one_company_by_its_id(void **state)
{
    (void)state;
    static const char *const ids[] = {"1246965"};
    static const char *const properties[] = {"annualrevenue", "name", "annualrevenue"};
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_RECORDS, "company");
    t.ask.ids = ids;
    t.ask.id_count = 1;
    t.conn.properties = properties;
    t.conn.property_count = 3;
    play_url(&t, "GET",
             "https://api.example/crm/objects/2026-03/companies/1246965?properties=name%2C"
             "domain%2Chubspot_owner_id%2Clifecyclestage%2Ccreatedate%2Chs_lastmodifieddate%2C"
             "hs_object_id%2Chs_merged_object_ids%2Cannualrevenue");
    assert_string_equal(t.req.endpoint, "/crm/objects/{v}/companies/{id}");
    assert_string_equal(t.req.family, "general");
    assert_non_null(strstr(buf_text(&t.req.headers), "Authorization: Bearer token-1\n"));
    assert_int_equal(play_answer(&t, 200, COMPANY("1246965", "")), 0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "F:1246965");
    assert_int_equal(t.list.records[0].created_s, 1723741753);
    assert_int_equal(t.list.records[0].updated_at_ms, 1795168800000);
    play_end(&t);
}

static void takes_404_and_a_survivor_as_answers(void **state)
{
    (void)state;
    static const char *const ids[] = {"1", "2"};
    struct play t;
    char out[1024];
    for (int i = 0; i < 2; i++) {
        play_begin(&t, hubspot(), ASK_RECORDS, "company");
        t.ask.ids = ids + i;
        t.ask.id_count = 1;
        assert_int_equal(play_plan(&t), PLAN_CALL);
        assert_int_equal(i == 0 ? play_answer(&t, 404, "{\"category\":\"OBJECT_NOT_FOUND\"}")
                                : play_answer(&t, 200, COMPANY("9", "")),
                         0);
        assert_int_equal(play_plan(&t), PLAN_DONE);
        assert_string_equal(play_records(&t, out), i == 0 ? "G:1" : "M:2>9");
        play_end(&t);
    }
}

static void a_page_of_html_with_404_says_nothing_about_a_record(void **state)
{
    (void)state;
    static const char *const ids[] = {"1"};
    struct play t;
    play_begin(&t, hubspot(), ASK_RECORDS, "company");
    t.ask.ids = ids;
    t.ask.id_count = 1;
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 404, "<html>404</html>"), -1);
    assert_int_equal(t.why.type, ET_MALFORMED_BODY);
    assert_int_equal(t.list.count, 0);
    play_end(&t);
}

static void reads_a_batch_and_says_something_of_each_id(void **state)
{
    (void)state;
    static const char *const ids[] = {"1", "2", "3", "4", "5", "6", "x"};
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_RECORDS, "company");
    t.ask.ids = ids;
    t.ask.id_count = 7;
    play_url(&t, "POST", "https://api.example/crm/objects/2026-03/companies/batch/read");
    assert_non_null(
        strstr(buf_text(&t.req.body), "{\"inputs\":[{\"id\":\"1\"},{\"id\":\"2\"},"));
    assert_null(strstr(buf_text(&t.req.body), "\"x\""));
    assert_int_equal(
        play_answer(
            &t, 207,
            "{\"status\":\"COMPLETE\",\"results\":[" COMPANY("1", "") "," COMPANY(
                "2",
                ",\"note\":\"a\\u0000b\"") "," COMPANY("77",
                                                       ",\"hs_merged_object_ids\":"
                                                       "\"5;8\"") ","
                                                                  "{\"id\":\"6\","
                                                                  "\"properties\":{},"
                                                                  "\"archived\":true}],"
                                                                  "\"numErrors\":2,\"errors\":["
                                                                  "{\"category\":\"OBJECT_NOT_"
                                                                  "FOUND\","
                                                                  "\"context\":{\"ids\":[\"3\"]"
                                                                  "}},{\"category\":"
                                                                  "\"VALIDATION_ERROR\","
                                                                  "\"message\":\"odd\","
                                                                  "\"context\":{\"ids\":[\"4\"]"
                                                                  "}}]}"),
        0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "F:1 X:2 M:5>77 G:6 X:4 G:3 G:x");
    assert_int_equal(t.list.records[1].failure.type, ET_TEXT_NOT_STORABLE);
    assert_int_equal(t.list.records[4].failure.type, ET_INVALID_REQUEST);
    assert_string_equal(t.list.records[4].failure.message, "odd");
    play_end(&t);
}

static void one_record_nobody_can_decode_fails_alone(void **state)
{
    (void)state;
    static const char *const ids[] = {"1", "2", "3", "4"};
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_RECORDS, "company");
    t.ask.ids = ids;
    t.ask.id_count = 4;
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(
        play_answer(
            &t, 200,
            "{\"results\":[" COMPANY("1", ",\"a\":\"\\ud800 lone\"") "," COMPANY(
                "2",
                ",\"n\":"
                "12345678"
                "90123456"
                "78901234"
                "567890") "," COMPANY("3",
                                      ",\"ok\":"
                                      "\"\\ud83d\\ude00\"") "," COMPANY("4", ",\"bad\":"
                                                                             "\"\xff\"") "]}"),
        0);
    assert_string_equal(play_records(&t, out), "X:1 X:2 F:3 X:4");
    assert_int_equal(t.list.records[0].failure.type, ET_TEXT_NOT_STORABLE);
    assert_int_equal(t.list.records[1].failure.type, ET_UNEXPECTED_SHAPE);
    assert_int_equal(t.list.records[3].failure.type, ET_TEXT_NOT_STORABLE);
    play_end(&t);
}

static void a_cut_answer_is_refused_whole(void **state)
{
    (void)state;
    static const char *const ids[] = {"1", "2"};
    static const char *const bad[] = {"{\"results\":[{\"id\":\"1\"", "", "<html>", "[]",
                                      "{\"x\":1}"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct play t;
        play_begin(&t, hubspot(), ASK_RECORDS, "company");
        t.ask.ids = ids;
        t.ask.id_count = 2;
        assert_int_equal(play_plan(&t), PLAN_CALL);
        assert_int_equal(play_answer(&t, 200, bad[i]), -1);
        assert_true(t.why.type == ET_MALFORMED_BODY || t.why.type == ET_UNEXPECTED_SHAPE);
        assert_int_equal(t.list.count, 0);
        play_end(&t);
    }
}

static void an_id_asked_twice_is_not_gone(void **state)
{
    (void)state;
    static const char *const ids[] = {"1", "1"};
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_RECORDS, "company");
    t.ask.ids = ids;
    t.ask.id_count = 2;
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 200, "{\"results\":[" COMPANY("1", "") "]}"), 0);
    assert_string_equal(play_records(&t, out), "F:1");
    play_end(&t);
}

static void pages_through_the_members_of_a_list(void **state)
{
    (void)state;
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_SCOPE_PAGE, "company");
    play_url(&t, "GET", "https://api.example/crm/lists/2026-03/42/memberships?limit=250");
    assert_int_equal(play_answer(&t, 200,
                                 "{\"results\":[{\"recordId\":\"7\"},{\"recordId\":\"8\"}],"
                                 "\"total\":3,\"paging\":{\"next\":{\"after\":\"Nz==\"}}}"),
                     0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "R:7 R:8");
    assert_true(t.list.has_more);
    assert_string_equal(t.list.cursor, "Nz==");
    assert_int_equal(t.list.total, 3);
    play_end(&t);
    play_begin(&t, hubspot(), ASK_SCOPE_PAGE, "company");
    t.ask.cursor = "Nz==";
    play_url(&t, "GET",
             "https://api.example/crm/lists/2026-03/42/memberships?limit=250&after=Nz%3D%3D");
    assert_int_equal(play_answer(&t, 200, "{\"results\":[{\"recordId\":\"9\"}]}"), 0);
    assert_false(t.list.has_more);
    assert_null(t.list.cursor);
    play_end(&t);
}

static void a_missing_list_is_not_an_empty_one(void **state)
{
    (void)state;
    struct play t;
    play_begin(&t, hubspot(), ASK_SCOPE_PAGE, "company");
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 404, "{\"category\":\"OBJECT_NOT_FOUND\"}"), -1);
    assert_int_equal(t.why.type, ET_LIST_NOT_FOUND);
    play_end(&t);
}

static void pages_a_stage_by_ascending_id(void **state)
{
    (void)state;
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_SCOPE_PAGE, "company");
    t.conn.scope_kind = "stage";
    t.conn.scope_id = "cust\"omer";
    t.ask.cursor = "99";
    play_url(&t, "POST", "https://api.example/crm/objects/2026-03/companies/search");
    assert_string_equal(t.req.family, "search");
    assert_string_equal(
        buf_text(&t.req.body),
        "{\"filterGroups\":[{\"filters\":[{\"propertyName\":\"lifecyclestage\",\"operator\":"
        "\"EQ\",\"value\":\"cust\\\"omer\"},{\"propertyName\":\"hs_object_id\",\"operator\":"
        "\"GT\",\"value\":\"99\"}]}],\"sorts\":[\"hs_object_id\"],\"properties\":"
        "[\"hs_object_id\"],\"limit\":200}");
    assert_int_equal(play_answer(&t, 200,
                                 "{\"total\":500,\"results\":[{\"id\":\"100\"},{\"id\":\"101\"}"
                                 "],\"paging\":{\"next\":{\"after\":\"2\"}}}"),
                     0);
    assert_string_equal(play_records(&t, out), "R:100 R:101");
    assert_string_equal(t.list.cursor, "101");
    play_end(&t);
}

static void leads_the_deals_of_a_pipeline_to_their_companies(void **state)
{
    (void)state;
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_SCOPE_PAGE, "company");
    t.conn.scope_kind = "pipeline";
    t.conn.scope_id = "default";
    play_url(&t, "POST", "https://api.example/crm/objects/2026-03/deals/search");
    assert_int_equal(play_answer(&t, 200, "{\"total\":1,\"results\":[{\"id\":\"70\"}]}"), 0);
    play_url(&t, "POST",
             "https://api.example/crm/associations/2026-03/deals/companies/batch/read");
    assert_string_equal(buf_text(&t.req.body), "{\"inputs\":[{\"id\":\"70\"}]}");
    assert_int_equal(play_answer(&t, 200,
                                 "{\"results\":[{\"from\":{\"id\":\"70\"},\"to\":"
                                 "[{\"toObjectId\":5,\"associationTypes\":[]}]}]}"),
                     0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "R:5");
    play_end(&t);
}

static void pages_associations_per_input(void **state)
{
    (void)state;
    static const char *const ids[] = {"1", "2", "3"};
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_RELATED, "company");
    t.ask.ids = ids;
    t.ask.id_count = 3;
    t.ask.related_object = provider_object(hubspot(), "contact");
    play_url(&t, "POST",
             "https://api.example/crm/associations/2026-03/companies/contacts/batch/read");
    assert_string_equal(t.req.family, "associations");
    assert_int_equal(
        play_answer(&t, 207,
                    "{\"results\":[{\"from\":{\"id\":\"1\"},\"to\":[{\"toObjectId\":11},"
                    "{\"toObjectId\":\"12\"}],\"paging\":{\"next\":{\"after\":\"500\"}}},"
                    "{\"from\":{\"id\":\"2\"},\"to\":[{\"toObjectId\":21}]}],\"errors\":[]}"),
        0);
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_string_equal(buf_text(&t.req.body),
                        "{\"inputs\":[{\"id\":\"1\",\"after\":\"500\"}]}");
    assert_int_equal(
        play_answer(&t, 200,
                    "{\"results\":[{\"from\":{\"id\":\"1\"},\"to\":[{\"toObjectId\":13}]}]}"),
        0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "R:11>1 R:12>1 R:21>2 R:13>1");
    play_end(&t);
}

static void asks_in_associations_no_more_than_allowed_at_once(void **state)
{
    (void)state;
    static const char *const ids[] = {"1", "2", "3"};
    struct play t;
    play_begin(&t, hubspot(), ASK_RELATED, "company");
    t.conn.associations_batch_max = 2;
    t.ask.ids = ids;
    t.ask.id_count = 3;
    t.ask.related_object = provider_object(hubspot(), "contact");
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_string_equal(buf_text(&t.req.body), "{\"inputs\":[{\"id\":\"1\"},{\"id\":\"2\"}]}");
    assert_int_equal(play_answer(&t, 200, "{\"results\":[]}"), 0);
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_string_equal(buf_text(&t.req.body), "{\"inputs\":[{\"id\":\"3\"}]}");
    assert_int_equal(play_answer(&t, 200, "{\"results\":[]}"), 0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    play_end(&t);
}

/* One search by time: what it asks and where it says to go on. */
static void changed(const char *cursor, const char *answer, const char *filter,
                    const char *next)
{
    struct play t;
    play_begin(&t, hubspot(), ASK_CHANGED_SINCE, "company");
    t.ask.since_ms = 1000;
    t.ask.until_ms = 9000;
    t.ask.cursor = cursor;
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_non_null(strstr(buf_text(&t.req.body), filter));
    assert_int_equal(play_answer(&t, 200, answer), 0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    if (next == NULL)
        assert_null(t.list.cursor);
    else
        assert_string_equal(t.list.cursor, next);
    play_end(&t);
}

#define HIT(id, at)                                                                            \
    "{\"id\":\"" id "\",\"properties\":{\"hs_lastmodifieddate\":\"1970-01-01T00:00:" at "Z\"}" \
    "}"
#define MORE ",\"paging\":{\"next\":{\"after\":\"200\"}}"

static void walks_changes_by_time_and_ties_by_id(void **state)
{
    (void)state;
    changed(NULL, "{\"total\":2,\"results\":[" HIT("1", "02.000") "," HIT("2", "03.500") "]}",
            "\"operator\":\"BETWEEN\",\"value\":\"1000\",\"highValue\":\"9000\"", NULL);
    changed(NULL,
            "{\"total\":20000,\"results\":[" HIT("1", "02.000") "," HIT("2", "03.500") "]" MORE
                                                                                       "}",
            "\"value\":\"1000\"", "t 3500");
    changed("t 3500",
            "{\"total\":20000,\"results\":[" HIT("2", "03.500") "," HIT("3", "03.500") "]" MORE
                                                                                       "}",
            "\"value\":\"3500\",\"highValue\":\"9000\"", "i 3500 0");
    changed("i 3500 0",
            "{\"total\":20000,\"results\":[" HIT("2", "03.500") "," HIT("3", "03.500") "]" MORE
                                                                                       "}",
            "\"operator\":\"EQ\",\"value\":\"3500\"},{\"propertyName\":\"hs_object_id\","
            "\"operator\":\"GT\",\"value\":\"0\"",
            "i 3500 3");
    changed("i 3500 3", "{\"total\":1,\"results\":[" HIT("4", "03.500") "]}", "\"EQ\"",
            "t 3501");
    changed("i 9000 3", "{\"total\":0,\"results\":[]}", "\"EQ\"", NULL);
}

static void answers_the_membership_question(void **state)
{
    (void)state;
    static const char *const ids[] = {"5", "6", "7"};
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_MEMBERSHIP, "company");
    t.ask.ids = ids;
    t.ask.id_count = 3;
    play_url(&t, "GET", "https://api.example/crm/lists/2026-03/records/0-2/5/memberships");
    assert_int_equal(
        play_answer(&t, 200, "{\"results\":[{\"listId\":\"41\"},{\"listId\":42}]}"), 0);
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 200, "{\"results\":[{\"listId\":\"41\"}]}"), 0);
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 404, "{\"category\":\"OBJECT_NOT_FOUND\"}"), 0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "R:5 G:6 G:7");
    play_end(&t);
}

static void answers_the_membership_question_for_a_pipeline(void **state)
{
    (void)state;
    static const char *const ids[] = {"5", "6"};
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_MEMBERSHIP, "company");
    t.conn.scope_kind = "pipeline";
    t.conn.scope_id = "p1";
    t.ask.ids = ids;
    t.ask.id_count = 2;
    play_url(&t, "POST",
             "https://api.example/crm/associations/2026-03/companies/deals/batch/read");
    assert_int_equal(play_answer(&t, 200,
                                 "{\"results\":[{\"from\":{\"id\":\"5\"},\"to\":"
                                 "[{\"toObjectId\":71},{\"toObjectId\":72}]}]}"),
                     0);
    play_url(&t, "POST", "https://api.example/crm/objects/2026-03/deals/batch/read");
    assert_int_equal(play_answer(&t, 200,
                                 "{\"results\":[{\"id\":\"71\",\"properties\":{\"pipeline\":"
                                 "\"p0\"}},{\"id\":\"72\",\"properties\":{\"pipeline\":\"p1\"}"
                                 "}]}"),
                     0);
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 200, "{\"results\":[]}"), 0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "R:5 G:6");
    play_end(&t);
}

static void answers_the_membership_question_for_a_stage(void **state)
{
    (void)state;
    static const char *const ids[] = {"5"};
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_MEMBERSHIP, "company");
    t.conn.scope_kind = "stage";
    t.conn.scope_id = "customer";
    t.ask.ids = ids;
    t.ask.id_count = 1;
    assert_int_equal(play_plan(&t), PLAN_CALL);
    assert_int_equal(play_answer(&t, 200, COMPANY("5", ",\"lifecyclestage\":\"customer\"")), 0);
    assert_string_equal(play_records(&t, out), "R:5");
    play_end(&t);
}

static void speaks_the_older_paths_when_told(void **state)
{
    (void)state;
    struct play t;
    play_begin(&t, hubspot(), ASK_SCOPE_PAGE, "company");
    t.conn.api_version = "v3";
    play_url(&t, "GET", "https://api.example/crm/v3/lists/42/memberships?limit=250");
    play_end(&t);
    play_begin(&t, hubspot(), ASK_ACCOUNT, NULL);
    t.conn.api_version = "v3";
    play_url(&t, "GET", "https://api.example/account-info/v3/details");
    play_end(&t);
}

static void tells_who_we_are(void **state)
{
    (void)state;
    struct play t;
    play_begin(&t, hubspot(), ASK_ACCOUNT, NULL);
    play_url(&t, "GET", "https://api.example/account-info/2026-03/details");
    assert_int_equal(
        play_answer(&t, 200,
                    "{\"portalId\":62515,\"accountType\":\"STANDARD\",\"timeZone\":"
                    "\"Europe/Berlin\",\"companyCurrency\":\"EUR\",\"uiDomain\":"
                    "\"app.hubspot.com\"}"),
        0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(json_text_of(t.state.facts, "account"), "62515");
    assert_string_equal(json_text_of(t.state.facts, "currency"), "eur");
    assert_string_equal(json_text_of(t.state.facts, "time_zone"), "Europe/Berlin");
    play_end(&t);
}

static void refreshes_with_the_secret_in_the_body(void **state)
{
    (void)state;
    struct play t;
    play_begin(&t, hubspot(), ASK_TOKEN_REFRESH, NULL);
    play_url(&t, "POST", "https://api.example/oauth/2026-03/token");
    assert_string_equal(buf_text(&t.req.body),
                        "grant_type=refresh_token&refresh_token=refresh-1&client_id=client-1&"
                        "client_secret=secret-1");
    assert_null(strstr(buf_text(&t.req.headers), "token-1"));
    assert_int_equal(play_answer(&t, 200,
                                 "{\"token_type\":\"bearer\",\"refresh_token\":\"r2\","
                                 "\"access_token\":\"a2\",\"hub_id\":1234567,\"scopes\":"
                                 "[\"oauth\"],\"expires_in\":1800}"),
                     0);
    assert_string_equal(json_text_of(t.state.facts, "access_token"), "a2");
    assert_string_equal(json_text_of(t.state.facts, "refresh_token"), "r2");
    assert_int_equal(json_int_of(t.state.facts, "expires_in", 0), 1800);
    assert_string_equal(json_text_of(t.state.facts, "account"), "1234567");
    play_end(&t);
}

static void reads_the_schema_and_the_list(void **state)
{
    (void)state;
    struct play t;
    play_begin(&t, hubspot(), ASK_SCHEMA, "company");
    play_url(&t, "GET", "https://api.example/crm/properties/2026-03/companies");
    assert_int_equal(
        play_answer(&t, 200,
                    "{\"results\":[{\"name\":\"mrr\",\"label\":\"MRR\",\"type\":"
                    "\"number\",\"fieldType\":\"calculation_equation\",\"options\":"
                    "[]}]}"),
        0);
    play_url(&t, "GET", "https://api.example/crm/lists/2026-03/42?includeFilters=false");
    assert_int_equal(play_answer(&t, 200,
                                 "{\"list\":{\"listId\":\"42\",\"name\":\"Customers\","
                                 "\"objectTypeId\":\"0-2\",\"processingType\":\"DYNAMIC\","
                                 "\"size\":12}}"),
                     0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    const json_t *p = json_array_get(json_object_get(t.state.facts, "properties"), 0);
    assert_true(json_bool_of(p, "calculated", false));
    assert_int_equal(json_int_of(json_object_get(t.state.facts, "list"), "size", 0), 12);
    play_end(&t);
}

static void derives_the_properties_as_they_are(void **state)
{
    (void)state;
    json_t *raw =
        json_loads("{\"id\":\"5\",\"properties\":{\"name\":\"A\",\"domain\":null}}", 0, NULL);
    json_t *out = NULL;
    struct err err = {0};
    struct derive_policy policy = {0};
    assert_int_equal(hubspot()->derive(raw, &policy, &out, NULL, &err), 0);
    assert_string_equal(json_text_of(out, "name"), "A");
    assert_true(json_is_null(json_object_get(out, "domain")));
    assert_string_equal(json_text_of(out, "hs_object_id"), "5");
    json_decref(out);
    json_decref(raw);
}

static void looks_for_owners_among_all_of_them(void **state)
{
    (void)state;
    static const char *const ids[] = {"7", "8", "9"};
    struct play t;
    char out[1024];
    play_begin(&t, hubspot(), ASK_RECORDS, "owner");
    t.ask.ids = ids;
    t.ask.id_count = 3;
    play_url(&t, "GET", "https://api.example/crm/owners/2026-03?limit=100");
    assert_int_equal(play_answer(&t, 200,
                                 "{\"results\":[{\"id\":\"6\"},{\"id\":\"7\"}],\"paging\":"
                                 "{\"next\":{\"after\":\"x\"}}}"),
                     0);
    play_url(&t, "GET", "https://api.example/crm/owners/2026-03?limit=100&after=x");
    assert_int_equal(play_answer(&t, 200, "{\"results\":[{\"id\":\"9\"}]}"), 0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "F:7 F:9 G:8");
    play_end(&t);
    play_begin(&t, hubspot(), ASK_CHANGED_SINCE, "owner");
    t.ask.since_ms = 2000;
    play_url(&t, "GET", "https://api.example/crm/owners/2026-03?limit=100");
    assert_int_equal(
        play_answer(&t, 200,
                    "{\"results\":[{\"id\":\"1\",\"updatedAt\":\"1970-01-01T00:00:01Z\"},"
                    "{\"id\":\"2\",\"updatedAt\":\"1970-01-01T00:00:03Z\"}]}"),
        0);
    assert_int_equal(play_plan(&t), PLAN_DONE);
    assert_string_equal(play_records(&t, out), "R:2");
    play_end(&t);
}

static void links_to_its_own_pages(void **state)
{
    (void)state;
    struct play t;
    struct buf b;
    play_begin(&t, hubspot(), ASK_ACCOUNT, NULL);
    buf_init(&b, 4096);
    assert_int_equal(hubspot()->record_url(&t.conn, "", "company", "5", &b), 0);
    assert_string_equal(buf_text(&b), "https://app.hubspot.com/contacts/62515/record/0-2/5");
    buf_clear(&b);
    assert_int_equal(hubspot()->authorize_url(&t.conn, "", "https://a/cb", "s t", &b, &t.err),
                     0);
    assert_non_null(
        strstr(buf_text(&b), "https://app.hubspot.com/oauth/62515/authorize?client_id="));
    assert_non_null(strstr(buf_text(&b), "&state=s%20t"));
    buf_release(&b);
    play_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_one_company_by_its_id),
        cmocka_unit_test(takes_404_and_a_survivor_as_answers),
        cmocka_unit_test(a_page_of_html_with_404_says_nothing_about_a_record),
        cmocka_unit_test(reads_a_batch_and_says_something_of_each_id),
        cmocka_unit_test(one_record_nobody_can_decode_fails_alone),
        cmocka_unit_test(a_cut_answer_is_refused_whole),
        cmocka_unit_test(an_id_asked_twice_is_not_gone),
        cmocka_unit_test(pages_through_the_members_of_a_list),
        cmocka_unit_test(a_missing_list_is_not_an_empty_one),
        cmocka_unit_test(pages_a_stage_by_ascending_id),
        cmocka_unit_test(leads_the_deals_of_a_pipeline_to_their_companies),
        cmocka_unit_test(pages_associations_per_input),
        cmocka_unit_test(asks_in_associations_no_more_than_allowed_at_once),
        cmocka_unit_test(walks_changes_by_time_and_ties_by_id),
        cmocka_unit_test(answers_the_membership_question),
        cmocka_unit_test(answers_the_membership_question_for_a_pipeline),
        cmocka_unit_test(answers_the_membership_question_for_a_stage),
        cmocka_unit_test(speaks_the_older_paths_when_told),
        cmocka_unit_test(tells_who_we_are),
        cmocka_unit_test(refreshes_with_the_secret_in_the_body),
        cmocka_unit_test(reads_the_schema_and_the_list),
        cmocka_unit_test(derives_the_properties_as_they_are),
        cmocka_unit_test(looks_for_owners_among_all_of_them),
        cmocka_unit_test(links_to_its_own_pages),
    };
    return RUN_TESTS(tests);
}
