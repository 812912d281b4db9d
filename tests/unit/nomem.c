/* Memory that runs out at each allocation in turn (tests/nomem.h): nothing crashes, nothing
 * leaks, and what fails says so. */
#include "tests/nomem.h"
#include "common/config.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/redact.h"
#include "common/seal.h"
#include "common/secret.h"
#include "common/sign.h"
#include "common/task.h"
#include "core/mapping.h"
#include "tests/unit/provider_test.h"

static void until_it_passes(bool (*fn)(void))
{
    (void)nomem_until_it_passes(fn, 0);
}

static bool split(void)
{
    struct err err = {0};
    struct json_split s;
    if (json_split(
            slice_of("{\"a\":1,\"data\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]}"),
            "data", &s, &err) < 0) {
        return err.code != ERR_NOMEM;
    }
    bool ok = s.element_count == 18;
    json_split_release(&s);
    json_decref(json_parse(slice_of("{\"a\":[1,\"b\",{}]}"), &err));
    return ok;
}

static void cutting_a_page(void **state)
{
    (void)state;
    until_it_passes(split);
}

static struct seal *seal;

static bool seals(void)
{
    struct err err = {0};
    struct buf sealed;
    struct buf open;
    buf_init(&sealed, 1000);
    buf_init(&open, 1000);
    bool ok = seal_text(seal, 1, "c", "token", &sealed, &err) == 0 &&
              seal_open(seal, 1, "c", (struct slice){buf_text(&sealed), sealed.len_bytes},
                        &open, &err) == 0;
    assert_true(ok || err.code != ERR_NONE);
    assert_true(!ok || strcmp(buf_text(&open), "token") == 0);
    secret_free(secret_new(slice_of("x"), 0, &err));
    buf_release(&sealed);
    buf_wipe(&open);
    return ok;
}

static void sealing(void **state)
{
    (void)state;
    struct err err = {0};
    seal = seal_new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &err);
    assert_non_null(seal);
    until_it_passes(seals);
    seal_free(seal);
}

static bool configures(void)
{
    static const struct config_program program = {.bit = CONFIG_WORKER, .name = "worker"};
    const char *const argv[] = {"worker",      "--config=", "--db-pool=x",
                                "--lease-s=5", "--what",    NULL};
    struct err err = {0};
    struct config *c = config_load(5, (char *const *)(uintptr_t)argv, &program, &err);
    assert_true(c != NULL || err.code == ERR_NOMEM);
    bool ok = c != NULL && config_problem_count(c) == 2;
    config_free(c);
    return ok;
}

static void settings(void **state)
{
    (void)state;
    until_it_passes(configures);
}

static bool logs_and_counts(void)
{
    struct err err = {0};
    struct log *l = log_new("x", -1, LOG_INFO, LOG_JSON, &err);
    log_set_text(l, "a", "b");
    struct log *child = log_bind(l);
    log_set_int(child, "c", 1);
    log_info(child, "e", "m");
    bool ok = child != NULL;
    log_free(child);
    log_free(l);

    struct metrics *m = metrics_new("1", &err);
    struct metric_family *f = metrics_family(m, METRIC_COUNTER, "x_total", "a", "X.");
    metric_inc(METRIC(f, "v"));
    struct buf b;
    buf_init(&b, 1 << 16);
    ok = ok && m != NULL && metrics_write(m, &b) == 0;
    metrics_free(m);
    buf_clear(&b);
    ok = redact_body(slice_of("{\"token\":\"x\"}"), &b, NULL) == 0 && ok;
    buf_release(&b);
    return ok;
}

static void log_lines_and_metrics(void **state)
{
    (void)state;
    until_it_passes(logs_and_counts);
}

static void sleep_a_little(void *arg)
{
    task_sleep_ms(1);
    *(bool *)arg = true;
}

static bool runs_a_task(void)
{
    struct err err = {0};
    uv_loop_t loop;
    bool done = false;
    assert_int_equal(uv_loop_init(&loop), 0);
    bool ok = task_run(&loop, sleep_a_little, &done, &err) == 0;
    assert_true(ok == done && (ok || err.code == ERR_NOMEM));
    task_cleanup();
    assert_int_equal(uv_loop_close(&loop), 0);
    return ok;
}

static void tasks(void **state)
{
    (void)state;
    until_it_passes(runs_a_task);
}

/* ---- what providers say ---- */

/* One ask with its answers. True when it was taken whole; otherwise it says why. */
static bool asks(const char *provider, enum ask_kind kind, const char *object,
                 const char *const *answers)
{
    static const char *const ids[] = {"1"};
    struct play t;
    play_begin(&t, provider_find(provider), kind, object);
    t.ask.ids = ids;
    t.ask.id_count = 1;
    t.ask.hook_url = "https://gw.example.com/webhooks/stripe/1";
    t.ask.redirect_uri = "https://gw.example.com/oauth/back";
    t.ask.code = "code";
    bool ok = true;
    enum plan_result planned = PLAN_DONE;
    while (ok &&
           (planned = t.p->plan(&t.conn, &t.ask, &t.state, &t.req, &t.err)) == PLAN_CALL &&
           *answers != NULL) {
        struct http_response r;
        http_response_init(&r);
        r.status = 200;
        ok = buf_add_str(&r.body, *answers++) == 0; /* ours to give */
        if (ok && t.p->read(&t.conn, &t.ask, &t.state, &r, &t.list, &t.why) != 0) {
            assert_int_not_equal(t.why.type, ET_NONE);
            ok = false;
        }
        http_response_release(&r);
        http_request_release(&t.req);
        http_request_init(&t.req);
    }
    assert_true(planned != PLAN_ERROR || t.err.code != ERR_NONE);
    ok = ok && planned != PLAN_ERROR;
    for (size_t i = 0; i < t.list.count; i++) {
        ok = ok && t.list.records[i].status != RECORD_FAILED;
    }
    play_end(&t);
    return ok;
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static bool asks_hubspot(void)
{
    return asks("hubspot", ASK_RECORDS, "company",
                LIST("{\"id\":\"1\",\"properties\":{\"name\":\"A\"}}")) &&
           asks("hubspot", ASK_SCOPE_PAGE, "company",
                LIST("{\"results\":[{\"recordId\":\"1\"}],\"total\":1}")) &&
           asks("hubspot", ASK_SCHEMA, "company",
                LIST("{\"results\":[{\"name\":\"name\",\"type\":\"string\"}]}",
                     "{\"list\":{\"listId\":\"42\",\"size\":1}}"));
}

static bool asks_stripe(void)
{
    return asks("stripe", ASK_RECORDS, "price",
                LIST("{\"id\":\"1\",\"object\":\"price\",\"created\":1790000000}")) &&
           asks("stripe", ASK_PAGE, "product",
                LIST("{\"object\":\"list\",\"has_more\":false,\"data\":[{\"id\":\"p\","
                     "\"object\":\"product\",\"created\":1790000000}]}")) &&
           asks("stripe", ASK_HOOK_STATUS, NULL,
                LIST("{\"object\":\"list\",\"data\":[],\"has_more\":false}"));
}

static void asking_providers(void **state)
{
    (void)state;
    until_it_passes(asks_hubspot);
    until_it_passes(asks_stripe);
}

static bool parses_deliveries(void)
{
    static const struct test_headers none;
    struct err err = {0};
    struct hint_list list = {0};
    struct hook h = hook_of("[{\"eventId\":1,\"portalId\":62515,\"objectId\":1,"
                            "\"subscriptionType\":\"company.creation\"}]",
                            &none);
    int rc = provider_find("hubspot")->hook_parse(&h, &list, &err);
    bool ok = rc == 0 && list.count == 1;
    assert_true(rc == 0 || err.code == ERR_NOMEM);
    hint_list_release(&list);
    h = hook_of("{\"id\":\"evt_1\",\"object\":\"event\",\"type\":\"customer.updated\","
                "\"data\":{\"object\":{\"id\":\"cus_1\"}}}",
                &none);
    err = (struct err){0};
    rc = provider_find("stripe")->hook_parse(&h, &list, &err);
    ok = ok && rc == 0 && list.count == 1;
    assert_true(rc == 0 || err.code == ERR_NOMEM);
    hint_list_release(&list);
    return ok;
}

static void deliveries(void **state)
{
    (void)state;
    until_it_passes(parses_deliveries);
}

static bool maps(void)
{
    struct err err = {0};
    struct mapping *m =
        mapping_parse("[{\"field\":\"name\",\"source\":\"name\"},"
                      "{\"field\":\"tags\",\"source\":\"tags\",\"type\":\"list\"}]",
                      &err);
    json_t *properties =
        json_parse(slice_of("{\"name\":\"A\",\"tags\":\"a;b;c;d;e;f;g;h;i;j\"}"), &err);
    struct mapping_result r = {0};
    const struct mapping_context c = {.tz = "UTC", .default_owner = ""};
    bool ok =
        m != NULL && properties != NULL && mapping_apply(m, properties, &c, &r, &err) == 0;
    if (ok) {
        assert_int_equal(json_array_size(json_object_get(r.fields, "tags")), 10);
        mapping_result_release(&r);
    } else {
        assert_int_equal(err.code, ERR_NOMEM);
    }
    json_decref(properties);
    mapping_free(m);
    return ok;
}

static void mapping_fields(void **state)
{
    (void)state;
    until_it_passes(maps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cutting_a_page), cmocka_unit_test(sealing),
        cmocka_unit_test(settings),       cmocka_unit_test(log_lines_and_metrics),
        cmocka_unit_test(tasks),          cmocka_unit_test(asking_providers),
        cmocka_unit_test(deliveries),     cmocka_unit_test(mapping_fields),
    };
    nomem_begin();
    return RUN_TESTS(tests);
}
