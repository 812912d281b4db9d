/* Memory that runs out at each allocation in turn, over what the contract suites promise of
 * queue, store, HTTP client and server, against the real servers (nomem_rig.h). */
#include "tests/contract/nomem_rig.h"

#include "common/http_client.h"
#include "common/http_server.h"
#include "common/queue.h"
#include "common/store.h"

#include <hiredis/hiredis.h>

enum { BODY_BYTES = 20000 };

/* ---- the queue ---- */

static const struct queue_family families[] = {{"fast", "general", 1000000, 1000000}};
static const struct queue_object objects[] = {{"fast", "company", "general", 100}};
static bool put_done, put_well;

static void on_put(void *arg, const struct err *err)
{
    (void)arg;
    MUST(!put_done);
    put_done = true;
    put_well = err == NULL;
    if (err != NULL) {
        pass.err = *err;
    }
}

/* The gateway's form: its callback comes exactly once, whatever happens. */
static int put_as_the_gateway(struct queue *q, const struct unit_put *u)
{
    static const char *const receipts[] = {"{\"verdict\":\"accepted\"}"};
    int64_t until_ms = clock_mono_ms() + DEADLINE_MS;
    put_done = false;
    queue_put_start(q, u, 1, receipts, 1, on_put, NULL);
    while (!put_done && clock_mono_ms() < until_ms) {
        task_sleep_ms(1);
    }
    MUST(put_done);
    return put_well ? 0 : -1;
}

static int work_once(struct queue *q, int *taken)
{
    struct claim *c = NULL;
    int64_t wait_ms = 0;
    struct unit_end ends[QUEUE_BATCH_MAX] = {{0}};
    if (queue_claim(q, 10, &c, &wait_ms, &pass.err) != 0) {
        return -1;
    }
    if (c == NULL) {
        return 0;
    }
    *taken = c->unit_count;
    for (int i = 0; i < c->unit_count; i++) {
        ends[i] = (struct unit_end){OUTCOME_COMPLETE, 0, NULL};
    }
    return queue_finish(q, c, ends, &pass.err);
}

static void use_queue(struct queue *q)
{
    struct queue_connection seven = {
        .connection_id = 7, .provider = "fast", .account = "a:live"};
    struct unit_put puts[3];
    struct queue_stats stats;
    struct buf text;
    int64_t n = 0, wait_ms = 0, version = 0;
    int taken = 0;
    for (int i = 0; i < 3; i++) {
        static const char *const ids[] = {"1", "2", "3"};
        puts[i] = (struct unit_put){.connection_id = 7,
                                    .kind = UNIT_RECORD,
                                    .object = "company",
                                    .id = ids[i],
                                    .lane = LANE_WEBHOOK,
                                    .trigger = "webhook",
                                    .actor = "",
                                    .hint = ""};
    }
    buf_init(&text, 1 << 20);
    CALL(queue_ping(q, &pass.err));
    CALL(queue_configure(q, &seven, &pass.err));
    CALL(queue_put(q, puts, 2, &pass.err));
    CALL(put_as_the_gateway(q, &puts[2]));
    CALL(queue_stats(q, 0, &stats, &pass.err));
    MUST(stats.waiting[LANE_WEBHOOK] == 3);
    CALL(work_once(q, &taken));
    MUST(taken == 3 || pass.failed); /* an answer that was lost: their lease brings them back */
    CALL(queue_reserve(q, 0, "fast", "a:live", "general", 2, &wait_ms, &pass.err));
    CALL(queue_breaker(q, 0, "fast", "a:live", true, &wait_ms, &pass.err));
    CALL(queue_routes_changed(q, &pass.err));
    version = queue_routes_version(q);
    CALL(queue_reap(q, &n, &pass.err));
    CALL(queue_receipts(q, 10, &text, &pass.err));
    buf_clear(&text);
    CALL(queue_list(q, 7, "leased", 10, &text, &pass.err));
    buf_clear(&text);
    CALL(queue_workers(q, &text, &pass.err));
    buf_clear(&text);
    CALL(queue_quota(q, &text, &pass.err));
    buf_clear(&text);
    CALL(queue_fsck(q, &text, &n, &pass.err));
    MUST(pass.wrong || text.len_bytes == 0);
    MUST(n == 0 || n == 3);
    MUST(n == 0 || pass.failed);
    MUST(version >= 0);
    buf_release(&text);
}

static void queue_task(void *arg)
{
    (void)arg;
    const char *url = getenv("PIVOTAL_SYNC_TEST_REDIS_URL");
    const struct queue_options o = {.urls = &url,
                                    .url_count = 1,
                                    .shards = 1,
                                    .lease_ms = 30000,
                                    .command_timeout_ms = 2000,
                                    .families = families,
                                    .family_count = (int)COUNT_OF(families),
                                    .objects = objects,
                                    .object_count = (int)COUNT_OF(objects),
                                    .worker = "host:1"};
    long kept = nomem_pause();
    redisContext *plain = redisConnectUnix(url + strlen("unix://"));
    freeReplyObject(redisCommand(plain, "FLUSHALL"));
    redisFree(plain);
    nomem_go_on(kept);
    struct queue *q = NULL;
    CALL((q = queue_open(&pass.loop, &o, &pass.err)) != NULL ? 0 : -1);
    if (q != NULL) {
        use_queue(q);
    }
    queue_close(q);
}

static bool queue_pass(void)
{
    return in_loop(queue_task);
}

static void the_queue(void **state)
{
    (void)state;
    needs("PIVOTAL_SYNC_TEST_REDIS_URL");
    over_all("queue", queue_pass);
}

/* ---- the store ---- */

static int ask_values(struct store *s)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_text(p, "a'b\\c");
    params_int(p, 7);
    params_bool(p, true);
    params_float(p, 0.5);
    params_bytea(p, "\0\xff", 2);
    params_time_ms(p, 1700000000123);
    params_array_begin(p, ARRAY_TEXT);
    params_array_text(p, "x", 1);
    params_array_text(p, NULL, 0);
    params_array_end(p);
    if (store_query(s,
                    "SELECT $1::text, $2::bigint, $3::boolean, $4::float8, $5::bytea,"
                    " $6::timestamptz, array_length($7::text[], 1)",
                    p, &r, &pass.err) != 0) {
        return -1;
    }
    MUST(rows_count(r) == 1 && strcmp(rows_text(r, 0, 0), "a'b\\c") == 0);
    MUST(rows_int(r, 0, 1) == 7 && rows_bool(r, 0, 2) && rows_int(r, 0, 6) == 2);
    return 0;
}

static int change_in_a_transaction(struct store *s)
{
    CLEANUP(store_abortp) struct store_tx *tx = store_begin(s, &pass.err);
    CLEANUP(rows_freep) struct rows *one = NULL;
    CLEANUP(rows_freep) struct rows *two = NULL;
    if (tx == NULL ||
        store_send(tx, "CREATE TEMP TABLE nomem (a int) ON COMMIT DROP", NULL, NULL,
                   &pass.err) != 0 ||
        store_send(tx, "INSERT INTO nomem SELECT generate_series(1, 50)", NULL, NULL,
                   &pass.err) != 0 ||
        store_send(tx, "SELECT a FROM nomem ORDER BY 1", NULL, &one, &pass.err) != 0 ||
        store_sync(tx, &pass.err) != 0 || store_savepoint(tx, "before", &pass.err) != 0 ||
        store_send(tx, "DELETE FROM nomem", NULL, NULL, &pass.err) != 0 ||
        store_rollback_to(tx, "before", &pass.err) != 0 ||
        store_send(tx, "SELECT count(*) FROM nomem", NULL, &two, &pass.err) != 0) {
        return -1;
    }
    struct store_tx *taken = tx;
    tx = NULL;
    if (store_commit(taken, &pass.err) != 0) {
        return -1;
    }
    MUST(rows_count(one) == 50 && rows_int(one, 49, 0) == 50 && rows_int(two, 0, 0) == 50);
    return 0;
}

/* A statement of ours that PostgreSQL refuses is refused for that, or for want of memory. */
static int ask_nonsense(struct store *s)
{
    if (store_query(s, "SELECT 1 / 0", NULL, NULL, &pass.err) == 0) {
        wrong("1 / 0 was answered");
        return 0;
    }
    if (pass.err.code == ERR_INVALID || strcmp(pass.err.sqlstate, "22012") == 0) {
        pass.err = (struct err){0};
        return 0;
    }
    return -1;
}

static void store_task(void *arg)
{
    (void)arg;
    const struct store_options o = {.url = getenv("PIVOTAL_SYNC_TEST_DATABASE_URL"),
                                    .application_name = "nomem",
                                    .max_connections = 1,
                                    .connect_timeout_ms = 2000,
                                    .statement_timeout_ms = 5000,
                                    .pool_timeout_ms = 5000};
    struct store *s = NULL;
    CALL((s = store_new(&pass.loop, &o, &pass.err)) != NULL ? 0 : -1);
    if (s != NULL) {
        for (int i = 0; i < 4; i++) { /* from the third time on by name */
            CALL(ask_values(s));
        }
        CALL(change_in_a_transaction(s));
        CALL(ask_nonsense(s));
        CALL(store_script(s, "SELECT 1; SELECT 2", &pass.err));
        CALL(ask_values(s));
    }
    store_free(s);
}

static bool store_pass(void)
{
    return in_loop(store_task);
}

static void the_store(void **state)
{
    (void)state;
    needs("PIVOTAL_SYNC_TEST_DATABASE_URL");
    over_all("store", store_pass);
}

/* ---- HTTP, both ends on one loop ---- */

static void handle_echo(struct http_exchange *x, void *arg)
{
    (void)arg;
    struct slice body = http_exchange_body(x);
    if (http_exchange_set_header(x, "X-Echo", http_exchange_hole(x, 0)) != 0) {
        http_answer_text(x, 503, "no memory\n");
        return;
    }
    http_answer(x, 200, "text/plain", body.bytes, body.len_bytes);
}

static const struct http_route echo_routes[] = {
    {"POST", "/echo/{name}", handle_echo}, {"GET", "/livez", http_answer_livez}, {0}};

/* No memory at the far end shows as an answer of its own or a cut connection. */
static int ask_http(struct http_client *client, int port, const char *path, bool with_body)
{
    static char body[BODY_BYTES];
    struct http_request req;
    struct http_response resp;
    (void)memset(body, 'x', sizeof body);
    http_request_init(&req);
    http_response_init(&resp);
    req.method = with_body ? "POST" : "GET";
    req.total_timeout_ms = TIMEOUT_MS;
    int rc = buf_printf(&req.url, "http://127.0.0.1:%d%s", port, path);
    if (with_body) {
        rc |= buf_add(&req.body, body, sizeof body);
    }
    if (rc != 0) {
        err_set(&pass.err, ERR_NOMEM, "no memory for the request");
    } else {
        rc = http_client_send(client, &req, &resp, &pass.err);
    }
    if (rc == 0 && (resp.fault != HTTP_OK || resp.status != 200)) {
        MUST(resp.fault != HTTP_OK || resp.status == 503 || resp.status == 500);
        err_set(&pass.err, ERR_UNAVAILABLE, "fault %d, status %d", (int)resp.fault,
                resp.status);
        rc = -1;
    } else if (rc == 0 && with_body) {
        MUST(resp.body.len_bytes == sizeof body &&
             memcmp(resp.body.bytes, body, sizeof body) == 0);
    }
    http_request_release(&req);
    http_response_release(&resp);
    return rc;
}

static void http_task(void *arg)
{
    (void)arg;
    const struct http_server_options so = {.listen = "127.0.0.1:0", .routes = echo_routes};
    const struct http_client_options co = {.user_agent = "nomem",
                                           .max_connections = 4,
                                           .max_connections_per_host = 4,
                                           .allow_private_hosts = true};
    struct http_server *server = NULL;
    struct http_client *client = NULL;
    CALL((server = http_server_new(&pass.loop, &so, &pass.err)) != NULL ? 0 : -1);
    CALL((client = http_client_new(&pass.loop, &co, &pass.err)) != NULL ? 0 : -1);
    if (server != NULL && client != NULL) {
        int port = http_server_port(server);
        CALL(ask_http(client, port, "/echo/a", true));
        CALL(ask_http(client, port, "/livez", false));
        CALL(ask_http(client, port, "/echo/b", true));
    }
    http_client_free(client);
    http_server_free(server);
}

static bool http_pass(void)
{
    return in_loop(http_task);
}

static void http_client_and_server(void **state)
{
    (void)state;
    over_all("HTTP client and server", http_pass);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_queue),
        cmocka_unit_test(the_store),
        cmocka_unit_test(http_client_and_server),
    };
    nomem_begin();
    return RUN_TESTS(tests);
}
