/* Memory that runs out at each allocation in turn while records are saved and while the gateway
 * takes deliveries, against the real servers (nomem_rig.h): a save is whole or not at all, and
 * 200 means that the unit is in Redis. */
#include "tests/contract/nomem_rig.h"
#include "tests/contract/save_rig.h"

#include "common/http_client.h"
#include "common/sign.h"
#include "webhook-gw/hook.h"

#include <hiredis/hiredis.h>

#define SECRET "whsec_of_the_test"

/* ---- saving ---- */

static struct fixture *fx;

/* Saves are the same again each time, but for the names. */
static void fill(struct fixture *f, int64_t number_of_pass)
{
    char name[32];
    (void)snprintf(name, sizeof name, "Alpha %lld", (long long)number_of_pass);
    company(f, "1", name, "alpha.example", "1000.50");
    company(f, "2", "Beta", "beta.example", "2000");
    company(f, "3", name, "gamma.example", "3000");
}

static bool is_named(struct fixture *f, const char *id, int64_t number_of_pass)
{
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM psync.record WHERE connection_id = %lld AND record_id"
                   " = '%s' AND raw::text LIKE '%%Alpha %lld\"%%'",
                   (long long)f->hubspot->connection_id, id, (long long)number_of_pass);
    return number(f, sql) == 1;
}

static int64_t save_number;

/* All of it or nothing; but a record for which there was no memory may fail by itself, and come
 * again by itself. */
static int saved_well(struct fixture *f, int rc)
{
    for (int i = 0; rc == 0 && i < f->count; i++) {
        const struct failure *why = &f->result.verdicts[i].failure;
        if (why->type != ET_NONE) {
            MUST(why->type == ET_INTERNAL_ERROR && strstr(why->message, "memory") != NULL);
            MUST(f->result.verdicts[i].plan.outcome == OUTCOME_RETRY);
            err_set(&pass.err, ERR_NOMEM, "record %d failed", i);
        }
    }
    bool whole = rc == 0 && f->result.failed == 0;
    if (whole) {
        MUST(is_named(f, "1", save_number) && is_named(f, "3", save_number));
    } else if (rc != 0) { /* also when it is the answer to COMMIT that was lost */
        MUST(is_named(f, "1", save_number) == is_named(f, "3", save_number));
    }
    return whole ? 0 : -1;
}

static int save_once(struct fixture *f)
{
    long kept = nomem_pause();
    fill(f, save_number);
    struct exchange exchange;
    exchange_init(&exchange);
    exchange.method = "GET";
    exchange.endpoint = "/test";
    exchange.status = 200;
    (void)buf_add_str(&exchange.body, "{\"whole\":\"answer\"}");
    for (int i = 0; i < f->count; i++) {
        f->records[i].object = provider_object(f->hubspot->provider, "company");
        f->items[i].unit = &f->units[i];
    }
    struct save_job job = {.conn = f->hubspot,
                           .object = provider_object(f->hubspot->provider, "company"),
                           .fetch_no = number(f, "SELECT nextval('psync.fetch_no')"),
                           .items = f->items,
                           .item_count = f->count,
                           .exchange = &exchange,
                           .started_at_ms = clock_now_ms(),
                           .worker = "test",
                           .from_delivery = true};
    nomem_go_on(kept);
    int rc = save_records(f->store, &job, &f->result, &pass.err);
    kept = nomem_pause();
    rc = saved_well(f, rc);
    save_result_release(&f->result);
    exchange_release(&exchange);
    f->count = 0;
    nomem_go_on(kept);
    return rc;
}

static void save_task(void *arg)
{
    (void)arg;
    struct fixture *f = fx;
    long kept = nomem_pause();
    f->loop = pass.loop;
    f->store = NULL;
    struct store_options o = {.url = database_url,
                              .application_name = "nomem",
                              .role = "psync_app",
                              .max_connections = 1,
                              .statement_timeout_ms = 5000};
    f->store = store_new(&pass.loop, &o, &pass.err);
    if (f->hubspot == NULL) {
        add_workspace(f, true);
    }
    save_number++;
    (void)number(f, "SELECT 1"); /* connected */
    nomem_go_on(kept);
    CALL(save_once(f));
    kept = nomem_pause();
    for (int i = 0; i < ITEMS_MAX; i++) {
        free(f->texts[i]);
        f->texts[i] = NULL;
    }
    store_free(f->store);
    nomem_go_on(kept);
}

static bool save_pass(void)
{
    return in_loop(save_task);
}

static void saving(void **state)
{
    (void)state;
    needs("PIVOTAL_SYNC_TEST_DATABASE_URL");
    fx = calloc(1, sizeof *fx);
    assert_non_null(fx);
    over_all("saving three records", save_pass);
    connection_free(fx->hubspot);
    connection_free(fx->stripe);
    free(fx);
}

/* ---- the gateway ---- */

static struct {
    struct config *config;
    struct metrics *metrics;
    struct log *log;
    struct seal *seal;
    struct hooks *hooks;
} gw;

static void handle_hook(struct http_exchange *x, void *arg)
{
    (void)arg;
    hooks_handle(gw.hooks, x);
}

static const struct http_route hook_routes[] = {
    {"POST", "/webhooks/{provider}", handle_hook},
    {"POST", "/webhooks/{provider}/{connection_id}", handle_hook},
    {0}};

/* Answered 200, or 503 or not at all and then delivered again, as providers do. */
static int deliver(struct http_client *client, int port, int64_t connection)
{
    unsigned char mac[SIGN_SHA256_BYTES];
    char at[32], hex[2 * SIGN_SHA256_BYTES + 1];
    static const char body[] = "{\"id\":\"evt_1\",\"object\":\"event\",\"type\":\"customer."
                               "updated\",\"livemode\":true,"
                               "\"created\":1790000000,\"data\":{\"object\":{\"id\":\"cus_1\","
                               "\"object\":\"customer\"}}}";
    struct http_request req;
    struct http_response resp;
    long kept = nomem_pause();
    (void)snprintf(at, sizeof at, "%lld", (long long)(clock_now_ms() / 1000));
    const struct slice parts[] = {slice_of(at), {".", 1}, slice_of(body)};
    sign_hmac_sha256(slice_of(SECRET), parts, 3, mac);
    (void)sign_hex((struct slice){(const char *)mac, sizeof mac}, hex);
    http_request_init(&req);
    http_response_init(&resp);
    req.method = "POST";
    req.total_timeout_ms = 10 * TIMEOUT_MS;
    (void)buf_printf(&req.url, "http://127.0.0.1:%d/webhooks/stripe/%lld", port,
                     (long long)connection);
    (void)buf_printf(&req.headers, "Stripe-Signature: t=%s,v1=%s\n", at, hex);
    (void)buf_add_str(&req.body, body);
    nomem_go_on(kept);
    int rc = http_client_send(client, &req, &resp, &pass.err);
    if (rc == 0 && (resp.fault != HTTP_OK || resp.status != 200)) {
        MUST(resp.fault != HTTP_OK || resp.status == 503);
        err_set(&pass.err, ERR_UNAVAILABLE, "fault %d, status %d", (int)resp.fault,
                resp.status);
        rc = -1;
    }
    http_request_release(&req);
    http_response_release(&resp);
    return rc;
}

static void put_is_there(struct queue *q)
{
    struct queue_stats stats = {0};
    MUST(queue_stats(q, 0, &stats, &pass.err) == 0 && stats.waiting[LANE_WEBHOOK] == 1);
}

static void await_routes(struct routes *routes)
{
    int64_t until_ms = clock_mono_ms() + DEADLINE_MS;
    while (!routes_loaded(routes) && clock_mono_ms() < until_ms) {
        task_sleep_ms(2);
    }
    const char *reason = "";
    if (!routes_loaded(routes) && !routes_postgres_ok(routes, &reason)) {
        wrong(reason);
    }
    MUST(routes_loaded(routes));
}

static void take_deliveries(struct queue *q, struct http_server *server,
                            struct http_client *client)
{
    CALL(deliver(client, http_server_port(server), fx->stripe->connection_id));
    long kept = nomem_pause();
    put_is_there(q);
    nomem_go_on(kept);
    CALL(deliver(client, http_server_port(server), fx->stripe->connection_id));
}

static void gateway_task(void *arg)
{
    (void)arg;
    static const struct queue_family families[] = {{"stripe", "general", 20, 2}};
    static const struct queue_object objects[] = {{"stripe", "customer", "general", 1}};
    const char *redis = getenv("PIVOTAL_SYNC_TEST_REDIS_URL");
    long kept = nomem_pause();
    redisContext *plain = redisConnectUnix(redis + strlen("unix://"));
    freeReplyObject(redisCommand(plain, "FLUSHALL"));
    redisFree(plain);
    const struct store_options so = {.url = database_url,
                                     .application_name = "nomem",
                                     .role = "psync_gw",
                                     .max_connections = 1,
                                     .statement_timeout_ms = 3 * TIMEOUT_MS};
    const struct queue_options qo = {.urls = &redis,
                                     .url_count = 1,
                                     .shards = 1,
                                     .lease_ms = 30000,
                                     .command_timeout_ms = 3000,
                                     .families = families,
                                     .family_count = 1,
                                     .objects = objects,
                                     .object_count = 1,
                                     .worker = "gw"};
    const struct http_server_options ho = {.listen = "127.0.0.1:0", .routes = hook_routes};
    const struct http_client_options co = {.user_agent = "nomem", .allow_private_hosts = true};
    struct store *store = store_new(&pass.loop, &so, &pass.err);
    struct queue *q = queue_open(&pass.loop, &qo, &pass.err);
    struct http_server *server = http_server_new(&pass.loop, &ho, &pass.err);
    struct http_client *client = http_client_new(&pass.loop, &co, &pass.err);
    const struct routes_options ro = {
        .loop = &pass.loop, .store = store, .seal = gw.seal, .queue = q, .log = gw.log};
    /* A reading of the routes that fails is tried again a second later: in the long form. */
    bool reading_too = getenv("CHAOS") != NULL;
    nomem_go_on(reading_too ? kept : 0);
    struct routes *routes = NULL;
    CALL((routes = routes_new(&ro, &pass.err)) != NULL ? 0 : -1);
    if (routes == NULL) {
        return;
    }
    await_routes(routes);
    nomem_go_on(reading_too ? nomem_pause() : kept);
    const struct hooks_options o = {.queue = q,
                                    .routes = routes,
                                    .metrics = gw.metrics,
                                    .log = gw.log,
                                    .config = gw.config};
    CALL((gw.hooks = hooks_new(&o, &pass.err)) != NULL ? 0 : -1);
    take_deliveries(q, server, client);
    kept = nomem_pause();
    http_client_free(client);
    http_server_free(server);
    routes_stop(routes);
    while (!routes_stopped(routes) || hooks_in_flight(gw.hooks) > 0) {
        task_sleep_ms(2);
    }
    routes_free(routes);
    hooks_free(gw.hooks);
    queue_close(q);
    store_free(store);
    nomem_go_on(kept);
}

static bool gateway_pass(void)
{
    return in_loop(gateway_task);
}

static void seal_the_secret(void *arg)
{
    struct fixture *f = arg;
    CLEANUP(params_freep) struct params *p = params_new();
    struct buf sealed;
    f->store = store_at(f, database_url, NULL);
    add_workspace(f, false);
    run(f, "UPDATE psync.connection SET mode = 'live' WHERE connection_id = %lld",
        (long long)f->stripe->connection_id);
    buf_init(&sealed, 1024);
    ok(f, seal_text(gw.seal, f->stripe->connection_id, "webhook_secret", SECRET, &sealed,
                    &f->err));
    params_int(p, f->stripe->connection_id);
    params_array_begin(p, ARRAY_BYTEA);
    params_array_text(p, sealed.bytes, sealed.len_bytes);
    params_array_end(p);
    ok(f, store_query(f->store,
                      "INSERT INTO psync.credential (connection_id, kind, webhook_secrets)"
                      " VALUES ($1, 'token', $2)",
                      p, NULL, &f->err));
    buf_release(&sealed);
    store_free(f->store);
    f->done = 1;
}

static void deliveries(void **state)
{
    (void)state;
    needs("PIVOTAL_SYNC_TEST_DATABASE_URL");
    needs("PIVOTAL_SYNC_TEST_REDIS_URL");
    static const struct config_program program = {.bit = CONFIG_GATEWAY, .name = "gateway"};
    const char *const argv[] = {"gateway", "--config=", NULL};
    struct err err = {0};
    gw.seal = seal_new("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", &err);
    gw.config = config_load(2, (char *const *)(uintptr_t)argv, &program, &err);
    gw.metrics = metrics_new("0", &err);
    gw.log = log_new("gateway", -1, LOG_ERROR, LOG_TEXT, &err);
    fx = calloc(1, sizeof *fx);
    assert_non_null(fx);
    assert_int_equal(loop_run(seal_the_secret, fx), 0);
    over_all("deliveries through the gateway", gateway_pass);
    connection_free(fx->stripe);
    free(fx);
    log_free(gw.log);
    metrics_free(gw.metrics);
    config_free(gw.config);
    seal_free(gw.seal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saving),
        cmocka_unit_test(deliveries),
    };
    nomem_begin();
    return cmocka_run_group_tests(tests, make_or_drop_database, make_or_drop_database);
}

/* The gateway's own code, which no library has. */
#include "webhook-gw/hook.c"
#include "webhook-gw/hook_answer.c"
#include "webhook-gw/routes.c"
