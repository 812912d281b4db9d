/* The webhook gateway as a program: signed deliveries in, units in Redis out. Each test has a
 * database, a Redis and a gateway of its own. PIVOTAL_SYNC_TEST_DATABASE_URL is a superuser. */
#include "common/clock.h"
#include "common/http_client.h"
#include "common/http_server.h"
#include "common/queue.h"
#include "common/seal.h"
#include "common/sign.h"
#include "common/store.h"
#include "common/task.h"
#include "core/migrate.h"
#include "tests/unit/in_task.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define GATEWAY "pivotal-sync-webhook-gw"
#define KEY     "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
#define BASE    "https://hooks.example.test/base"

enum { DEADLINE_MS = 15000 };

struct scene {
    uv_loop_t loop;
    char folder[64], database[64], url[512], redis_url[128], base[64];
    struct store *admin, *store;
    struct queue *queue;
    struct seal *seal;
    struct http_client *http;
    pid_t redis, gateway;
    int port;
    int passed_fd; /* the gateway's listening socket, when the test owns it */
    struct err err;
    void (*body)(struct scene *s);
    bool unmigrated;
    struct http_response resp;
    struct buf text;
    int done;
};

/* ---- processes ---- */

static pid_t spawn(const char *const *argv, const char *const *env, int passed_fd)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (passed_fd > 0) {
            (void)dup2(passed_fd, 3); /* where systemd's protocol wants it; inherited */
        }
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execvpe(argv[0], (char *const *)(uintptr_t)argv,
                      env != NULL ? (char *const *)(uintptr_t)env : environ);
        _exit(127);
    }
    return pid;
}

static int end(pid_t *pid, int signal)
{
    int status = -1;
    if (*pid > 0) {
        (void)kill(*pid, signal);
        (void)waitpid(*pid, &status, 0);
        *pid = 0;
    }
    return status;
}

static void redis_start(struct scene *s)
{
    char socket_path[96];
    (void)snprintf(socket_path, sizeof socket_path, "%s/redis.sock", s->folder);
    const char *argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--unixsocket",
                          socket_path,
                          "--dir",
                          s->folder,
                          "--save",
                          "",
                          "--appendonly",
                          "yes",
                          "--appendfsync",
                          "always",
                          "--maxmemory-policy",
                          "noeviction",
                          "--logfile",
                          "redis.log",
                          NULL};
    s->redis = spawn(argv, NULL, 0);
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (access(socket_path, F_OK) != 0 && clock_mono_ms() < deadline_ms) {
        task_sleep_ms(5);
    }
}

static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    (void)close(fd);
    return ntohs(at.sin_port);
}

/* PIVOTAL_SYNC_TEST_BIN: where the programs of another build mode are. */
static const char *gateway_path(char out[256])
{
    const char *folder = getenv("PIVOTAL_SYNC_TEST_BIN");
    (void)snprintf(out, 256, "%s/" GATEWAY, folder != NULL ? folder : "build/bin");
    return out;
}

static void gateway_start(struct scene *s)
{
    char database[600], redis[200], listen_at[64], metrics[96], program[256];
    const char *argv[] = {gateway_path(program), NULL};
    (void)snprintf(database, sizeof database, "DATABASE_URL=%s", s->url);
    (void)snprintf(redis, sizeof redis, "REDIS_URL=%s", s->redis_url);
    (void)snprintf(listen_at, sizeof listen_at, "PIVOTAL_SYNC_WEBHOOK_LISTEN=127.0.0.1:%d",
                   s->port);
    (void)snprintf(metrics, sizeof metrics, "PIVOTAL_SYNC_METRICS_LISTEN=%s", s->folder);
    const char *env[] = {database,
                         redis,
                         listen_at,
                         metrics,
                         s->passed_fd > 0 ? "LISTEN_FDS=1" : "NO_FDS=1",
                         "PIVOTAL_SYNC_SECRET_KEY=" KEY,
                         "PIVOTAL_SYNC_PUBLIC_URL=" BASE "/",
                         "PIVOTAL_SYNC_HUBSPOT_CLIENT_SECRET=hub-new,hub-old",
                         "PIVOTAL_SYNC_STRIPE_WEBHOOK_SECRET=whsec_app",
                         "PIVOTAL_SYNC_WEBHOOK_MAX_BODY_BYTES=100000",
                         "PIVOTAL_SYNC_LOG_LEVEL=error",
                         NULL};
    s->gateway = spawn(argv, env, s->passed_fd);
}

/* ---- SQL and Redis ---- */

static void ok(struct scene *s, int rc)
{
    if (rc != 0) {
        fail_msg("%s: %s", err_name(s->err.code), s->err.msg);
    }
}

static struct store *store_at(struct scene *s, const char *url)
{
    struct store_options o = {.url = url,
                              .application_name = "gateway-test",
                              .max_connections = 2,
                              .statement_timeout_ms = 60000};
    struct store *store = store_new(&s->loop, &o, &s->err);
    assert_non_null(store);
    return store;
}

static void sql(struct scene *s, const char *text)
{
    ok(s, store_script(s->store, text, &s->err));
}

static void quiet(void *arg, const char *line)
{
    (void)arg, (void)line;
}

static void secrets_set(struct scene *s, int64_t connection_id, const char *newest,
                        const char *older)
{
    struct params *p = params_new();
    const char *const secrets[] = {newest, older};
    params_int(p, connection_id);
    params_array_begin(p, ARRAY_BYTEA);
    for (size_t i = 0; i < COUNT_OF(secrets); i++) {
        struct buf sealed;
        if (secrets[i] == NULL) {
            continue;
        }
        buf_init(&sealed, 1024);
        ok(s,
           seal_text(s->seal, connection_id, "webhook_secret", secrets[i], &sealed, &s->err));
        params_array_text(p, sealed.bytes, sealed.len_bytes);
        buf_release(&sealed);
    }
    params_array_end(p);
    ok(s, store_query(s->store,
                      "INSERT INTO psync.credential (connection_id, kind, webhook_secrets)"
                      " VALUES ($1, 'token', $2) ON CONFLICT (connection_id)"
                      " DO UPDATE SET webhook_secrets = excluded.webhook_secrets",
                      p, NULL, &s->err));
    params_free(p);
}

/* Connections 1 to 6, in this order. */
static void connections_make(struct scene *s)
{
    sql(s,
        "INSERT INTO psync.workspace (name) VALUES ('w1'), ('w2'), ('w3'), ('w4');"
        "INSERT INTO psync.connection (workspace_id, provider, mode, account_id, state) VALUES"
        " (1, 'stripe', 'live', 'acct_1', 'connected'),"
        " (1, 'hubspot', 'live', '111', 'connected'),"
        " (2, 'hubspot', 'live', '222', 'connected'),"
        " (3, 'hubspot', 'live', '111', 'connected'),"
        " (2, 'stripe', 'live', 'acct_2', 'reauthorize'),"
        " (3, 'stripe', 'live', 'acct_3', 'disconnected')");
    secrets_set(s, 1, "whsec_new", "whsec_old");
}

/* Units of a connection that wait, as JSON text. */
static const char *waiting(struct scene *s, int64_t connection_id)
{
    buf_clear(&s->text);
    ok(s, queue_list(s->queue, connection_id, "waiting", 100, &s->text, &s->err));
    return buf_text(&s->text);
}

static bool waits(struct scene *s, int64_t connection_id, const char *id)
{
    char quoted[128];
    (void)snprintf(quoted, sizeof quoted, "\"%s\"", id);
    return strstr(waiting(s, connection_id), quoted) != NULL;
}

/* ---- requests ---- */

static int post(struct scene *s, const char *path, const char *headers, const char *body,
                size_t len)
{
    struct http_request q;
    http_request_init(&q);
    q.method = "POST";
    (void)buf_printf(&q.url, "http://127.0.0.1:%d%s", s->port, path);
    (void)buf_add_str(&q.headers, headers);
    (void)buf_add(&q.body, body, len);
    ok(s, http_client_send(s->http, &q, &s->resp, &s->err));
    http_request_release(&q);
    return s->resp.fault == HTTP_OK ? s->resp.status : -(int)s->resp.fault;
}

static int get(struct scene *s, const char *path)
{
    struct http_request q;
    http_request_init(&q);
    (void)buf_printf(&q.url, "http://127.0.0.1:%d%s", s->port, path);
    ok(s, http_client_send(s->http, &q, &s->resp, &s->err));
    http_request_release(&q);
    return s->resp.fault == HTTP_OK ? s->resp.status : -(int)s->resp.fault;
}

static int stripe_at(struct scene *s, const char *path, const char *secret, const char *body,
                     int64_t at_s)
{
    unsigned char mac[SIGN_SHA256_BYTES];
    char t[32], hex[2 * SIGN_SHA256_BYTES + 1], headers[256];
    (void)snprintf(t, sizeof t, "%lld", (long long)at_s);
    const struct slice parts[] = {{t, strlen(t)}, {".", 1}, {body, strlen(body)}};
    sign_hmac_sha256((struct slice){secret, strlen(secret)}, parts, COUNT_OF(parts), mac);
    (void)sign_hex((struct slice){(const char *)mac, sizeof mac}, hex);
    (void)snprintf(headers, sizeof headers, "Stripe-Signature: t=%s,v1=%s\n", t, hex);
    return post(s, path, headers, body, strlen(body));
}

static int stripe(struct scene *s, const char *path, const char *secret, const char *body)
{
    return stripe_at(s, path, secret, body, clock_now_ms() / 1000);
}

static const char *event(char out[512], const char *account, const char *type, const char *id)
{
    (void)snprintf(out, 512,
                   "{\"id\":\"evt_%s\",\"object\":\"event\",\"account\":\"%s\",\"type\":\"%s\","
                   "\"livemode\":true,\"created\":%lld,\"data\":{\"object\":{\"id\":\"%s\"}}}",
                   id, account, type, (long long)(clock_now_ms() / 1000), id);
    return out;
}

static int hubspot(struct scene *s, const char *secret, const char *body)
{
    unsigned char mac[SIGN_SHA256_BYTES];
    char t[32], headers[256];
    const char *uri = BASE "/webhooks/hubspot?x=1";
    struct buf text;
    buf_init(&text, 100);
    (void)snprintf(t, sizeof t, "%lld", (long long)clock_now_ms());
    const struct slice parts[] = {
        {"POST", 4}, {uri, strlen(uri)}, {body, strlen(body)}, {t, strlen(t)}};
    sign_hmac_sha256((struct slice){secret, strlen(secret)}, parts, COUNT_OF(parts), mac);
    (void)sign_base64(&text, (struct slice){(const char *)mac, sizeof mac});
    (void)snprintf(headers, sizeof headers,
                   "X-HubSpot-Signature-v3: %s\nX-HubSpot-Request-Timestamp: %s\n",
                   buf_text(&text), t);
    buf_release(&text);
    return post(s, "/webhooks/hubspot?x=1", headers, body, strlen(body));
}

static void wait_ready(struct scene *s)
{
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (get(s, "/readyz") != 200) {
        if (clock_mono_ms() > deadline_ms) {
            (void)get(s, "/readyz?verbose");
            fail_msg("the gateway is not ready: %s", buf_text(&s->resp.body));
        }
        task_sleep_ms(10);
    }
}

/* ---- the scene ---- */

static void database_url(struct scene *s)
{
    const char *url = getenv("PIVOTAL_SYNC_TEST_DATABASE_URL");
    const char *query = strchrnul(url, '?');
    size_t len = (size_t)(query - url);
    while (len > 0 && url[len - 1] != '/') {
        len--;
    }
    (void)snprintf(s->database, sizeof s->database, "psync_gw_%ld_%lld", (long)getpid(),
                   (long long)clock_mono_us());
    (void)snprintf(s->url, sizeof s->url, "%.*s%s%s", (int)len, url, s->database, query);
}

static void play(void *arg)
{
    struct scene *s = arg;
    char statement[160];
    struct queue_options qo = {
        .url_count = 1, .shards = 1, .lease_ms = 30000, .worker = "test"};
    const struct queue_family families[] = {{"hubspot", "general", 1000, 100}};
    const struct queue_object objects[] = {{"hubspot", "contact", "general", 100}};
    const char *urls[] = {s->redis_url};
    qo.families = families;
    qo.objects = objects;
    qo.family_count = qo.object_count = 1;
    qo.urls = urls;
    struct http_client_options ho = {.allow_private_hosts = true};
    s->admin = store_at(s, getenv("PIVOTAL_SYNC_TEST_DATABASE_URL"));
    (void)snprintf(statement, sizeof statement, "CREATE DATABASE %s", s->database);
    ok(s, store_script(s->admin, statement, &s->err));
    s->store = store_at(s, s->url);
    s->seal = seal_new(KEY, &s->err);
    s->queue = queue_open(&s->loop, &qo, &s->err);
    s->http = http_client_new(&s->loop, &ho, &s->err);
    assert_non_null(s->seal);
    assert_non_null(s->queue);
    assert_non_null(s->http);
    if (!s->unmigrated) {
        ok(s, migrate_run(s->store, false, quiet, NULL, &s->err));
        connections_make(s);
    }
    redis_start(s);
    gateway_start(s);
    if (!s->unmigrated) {
        wait_ready(s);
    }
    s->body(s);
    (void)end(&s->gateway, SIGTERM);
    (void)end(&s->redis, SIGKILL);
    http_client_free(s->http);
    queue_close(s->queue);
    store_free(s->store);
    seal_free(s->seal);
    (void)snprintf(statement, sizeof statement, "DROP DATABASE %s WITH (FORCE)", s->database);
    ok(s, store_script(s->admin, statement, &s->err));
    store_free(s->admin);
}

static void with_gateway(void (*body)(struct scene *s), bool unmigrated)
{
    in_task_check();
    char program[256];
    if (getenv("PIVOTAL_SYNC_TEST_DATABASE_URL") == NULL ||
        access(gateway_path(program), X_OK) != 0) {
        skip();
    }
    struct scene s = {.body = body, .unmigrated = unmigrated};
    (void)snprintf(s.folder, sizeof s.folder, "/tmp/gateway-XXXXXX");
    assert_non_null(mkdtemp(s.folder));
    (void)snprintf(s.redis_url, sizeof s.redis_url, "unix://%s/redis.sock", s.folder);
    database_url(&s);
    s.port = free_port();
    http_response_init(&s.resp);
    buf_init(&s.text, 1 << 20);
    assert_int_equal(uv_loop_init(&s.loop), 0);
    assert_int_equal(task_run(&s.loop, play, &s, &s.err), 0);
    (void)uv_run(&s.loop, UV_RUN_DEFAULT);
    task_cleanup();
    assert_int_equal(uv_loop_close(&s.loop), 0);
    http_response_release(&s.resp);
    buf_release(&s.text);
    const char *rm[] = {"rm", "-rf", s.folder, NULL};
    pid_t pid = spawn(rm, NULL, 0);
    (void)waitpid(pid, NULL, 0);
}

/* ---- tests ---- */

static void own_endpoint_body(struct scene *s)
{
    char e[512];
    event(e, "", "customer.subscription.updated", "sub_1");
    assert_int_equal(stripe(s, "/webhooks/stripe/1", "whsec_new", e), 200);
    assert_true(waits(s, 1, "sub_1"));
    event(e, "", "customer.updated", "cus_1");
    assert_int_equal(stripe(s, "/webhooks/stripe/1", "whsec_old", e), 200);
    assert_true(waits(s, 1, "cus_1"));
    event(e, "", "customer.updated", "cus_2");
    assert_int_equal(stripe(s, "/webhooks/stripe/1", "whsec_app", e), 401);
    int64_t now_s = clock_now_ms() / 1000;
    assert_int_equal(stripe_at(s, "/webhooks/stripe/1", "whsec_new", e, now_s - 310), 401);
    assert_int_equal(stripe_at(s, "/webhooks/stripe/1", "whsec_new", e, now_s + 310), 401);
    assert_int_equal(post(s, "/webhooks/stripe/1", "", e, strlen(e)), 401);
    assert_false(waits(s, 1, "cus_2"));
    /* Another connection's endpoint, and one without secrets. */
    assert_int_equal(stripe(s, "/webhooks/stripe/5", "whsec_new", e), 401);
}

static void an_endpoint_of_its_own_takes_only_its_secrets(void **state)
{
    (void)state;
    with_gateway(own_endpoint_body, false);
}

static void by_account_body(struct scene *s)
{
    char e[512];
    event(e, "acct_1", "invoice.paid", "in_1");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
    assert_true(waits(s, 1, "in_1"));
    event(e, "acct_2", "invoice.paid", "in_2");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
    assert_true(waits(s, 5, "in_2")); /* reauthorize: queued */
    event(e, "acct_3", "invoice.paid", "in_3");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
    assert_false(waits(s, 6, "in_3")); /* disconnected: counted */
    event(e, "acct_unknown", "invoice.paid", "in_4");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
    event(e, "acct_1", "account.application.deauthorized", "ca_1");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
    assert_non_null(strstr(waiting(s, 1), "deauthorized"));
    event(e, "acct_1", "terminal.reader.action_failed", "tmr_1");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
    assert_false(waits(s, 1, "tmr_1"));
}

static void an_app_endpoint_goes_by_the_account(void **state)
{
    (void)state;
    with_gateway(by_account_body, false);
}

static void hubspot_body(struct scene *s)
{
    const char *body =
        "[{\"eventId\":1,\"subscriptionId\":9,\"portalId\":111,\"occurredAt\":1700000000000,"
        "\"subscriptionType\":\"company.propertyChange\",\"objectId\":501},"
        "{\"eventId\":2,\"subscriptionId\":9,\"portalId\":222,\"occurredAt\":1700000000000,"
        "\"subscriptionType\":\"contact.privacyDeletion\",\"objectId\":502},"
        "{\"eventId\":3,\"subscriptionId\":9,\"portalId\":999,\"occurredAt\":1700000000000,"
        "\"subscriptionType\":\"company.creation\",\"objectId\":503}]";
    assert_int_equal(hubspot(s, "hub-new", body), 200);
    assert_true(waits(s, 2, "501"));
    assert_true(waits(s, 4, "501")); /* two workspaces on one portal */
    assert_true(waits(s, 3, "502"));
    assert_false(waits(s, 3, "503"));
    assert_int_equal(hubspot(s, "hub-old", body), 200);
    assert_int_equal(hubspot(s, "hub-older", body), 401);
    assert_int_equal(hubspot(s, "hub-new", "{\"eventId\":1}"), 400);
    assert_int_equal(hubspot(s, "hub-new", "[]"), 200);

    const struct queue_connection known = {
        .connection_id = 3, .provider = "hubspot", .account = "222:live"};
    struct claim *claim = NULL;
    int64_t wait_ms = 0;
    ok(s, queue_configure(s->queue, &known, &s->err));
    ok(s, queue_claim(s->queue, 10, &claim, &wait_ms, &s->err));
    assert_non_null(claim);
    assert_int_equal(claim->units[0].hint_count, 1);
    assert_string_equal(claim->units[0].hints[0], "privacy_deleted");
    queue_claim_free(s->queue, claim);

    buf_clear(&s->text);
    ok(s, queue_receipts(s->queue, 100, &s->text, &s->err));
    const char *receipts = buf_text(&s->text);
    assert_non_null(strstr(receipts, "\"verdict\":\"accepted\",\"connection_id\":2"));
    assert_non_null(strstr(receipts, "\"verdict\":\"accepted\",\"connection_id\":4"));
    assert_non_null(strstr(receipts, "\"verdict\":\"duplicate_event\",\"connection_id\":3"));
    assert_non_null(strstr(receipts, "\"verdict\":\"wh_unknown_account\""));
    assert_non_null(strstr(receipts, "\"verdict\":\"wh_signature_invalid\""));
    assert_non_null(strstr(receipts, "\"verdict\":\"wh_malformed\""));
    assert_non_null(strstr(receipts, "\"record_id\":\"502\""));
    assert_non_null(strstr(receipts, "\"lag_ms\":"));
}

static void a_hubspot_array_is_put_for_each_portal(void **state)
{
    (void)state;
    with_gateway(hubspot_body, false);
}

static void strays_body(struct scene *s)
{
    char e[512];
    char *big = calloc(1, 100002);
    event(e, "acct_1", "invoice.paid", "in_9");
    memset(big, ' ', 100001);
    assert_int_equal(post(s, "/webhooks/acme", "", e, strlen(e)), 404);
    assert_int_equal(stripe(s, "/webhooks/stripe/77", "whsec_new", e), 404);
    assert_int_equal(stripe(s, "/webhooks/stripe/x1", "whsec_new", e), 404);
    assert_int_equal(stripe(s, "/webhooks/hubspot/1", "whsec_new", e), 404);
    assert_int_equal(get(s, "/webhooks/stripe"), 405);
    assert_int_equal(get(s, "/metrics"), 404);
    assert_int_equal(get(s, "/livez"), 200);
    assert_int_equal(post(s, "/webhooks/stripe", "", big, 100001), 413);
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", "not json"), 400);
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", "[]"), 400);
    free(big);
}

static void strays_get_the_answers_of_the_contract(void **state)
{
    (void)state;
    with_gateway(strays_body, false);
}

static void fresh_body(struct scene *s)
{
    char e[512];
    /* Nobody tells the gateway: the delivery itself makes it look again. */
    sql(s, "INSERT INTO psync.connection (workspace_id, provider, mode, account_id, state)"
           " VALUES (4, 'stripe', 'live', 'acct_new', 'connected')");
    event(e, "acct_new", "invoice.paid", "in_7");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
    assert_true(waits(s, 7, "in_7"));
    secrets_set(s, 7, "whsec_seven", NULL);
    event(e, "", "invoice.paid", "in_8");
    assert_int_equal(stripe(s, "/webhooks/stripe/7", "whsec_seven", e), 200);
    assert_true(waits(s, 7, "in_8"));
    sql(s, "INSERT INTO psync.connection (workspace_id, provider, mode, account_id, state)"
           " VALUES (4, 'hubspot', 'live', '444', 'connected')");
    secrets_set(s, 8, "hub-own", NULL);
    assert_int_equal(stripe(s, "/webhooks/hubspot/8", "x", e), 401);
    /* And when it is told, it forgets too. */
    sql(s, "DELETE FROM psync.connection WHERE connection_id = 7");
    ok(s, queue_routes_changed(s->queue, &s->err));
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    event(e, "", "invoice.paid", "in_10");
    while (stripe(s, "/webhooks/stripe/7", "whsec_seven", e) != 404) {
        assert_true(clock_mono_ms() < deadline_ms);
        task_sleep_ms(50);
    }
}

static void what_is_new_is_known_by_one_more_look(void **state)
{
    (void)state;
    with_gateway(fresh_body, false);
}

static void no_postgres_body(struct scene *s)
{
    char e[512], statement[300];
    (void)snprintf(statement, sizeof statement, "ALTER DATABASE %s ALLOW_CONNECTIONS false",
                   s->database);
    ok(s, store_script(s->admin, statement, &s->err));
    (void)snprintf(
        statement, sizeof statement,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s'",
        s->database);
    ok(s, store_script(s->admin, statement, &s->err));
    event(e, "acct_1", "invoice.paid", "in_5");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
    assert_true(waits(s, 1, "in_5"));
    event(e, "acct_1", "invoice.paid", "in_6");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_wrong", e), 401);
    assert_int_equal(stripe(s, "/webhooks/stripe/99", "whsec_wrong", e), 404);
    assert_int_equal(get(s, "/readyz"), 200);
}

static void without_postgres_the_snapshot_stays_in_force(void **state)
{
    (void)state;
    with_gateway(no_postgres_body, false);
}

static void no_redis_body(struct scene *s)
{
    char e[512], value[32];
    event(e, "acct_1", "invoice.paid", "in_5");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
    (void)end(&s->redis, SIGKILL);
    (void)unlink(s->redis_url + strlen("unix://"));
    event(e, "acct_1", "invoice.paid", "in_6");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 503);
    assert_non_null(http_response_header(&s->resp, "retry-after", value, sizeof value));
    assert_int_equal(get(s, "/livez"), 200);
    redis_start(s);
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (stripe(s, "/webhooks/stripe", "whsec_app", e) != 200) {
        assert_true(clock_mono_ms() < deadline_ms);
        task_sleep_ms(20);
    }
    while (queue_ping(s->queue, &s->err) != 0) { /* our own connection comes back too */
        assert_true(clock_mono_ms() < deadline_ms);
        err_clear(&s->err);
        task_sleep_ms(20);
    }
    assert_true(waits(s, 1, "in_5")); /* what was acknowledged outlived the kill */
    assert_true(waits(s, 1, "in_6"));
}

static void without_redis_a_delivery_is_503_until_it_is_back(void **state)
{
    (void)state;
    with_gateway(no_redis_body, false);
}

static void unloaded_body(struct scene *s)
{
    char e[512], value[32];
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (get(s, "/livez") != 200) {
        assert_true(clock_mono_ms() < deadline_ms);
        task_sleep_ms(10);
    }
    event(e, "acct_1", "invoice.paid", "in_5");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 503);
    assert_non_null(http_response_header(&s->resp, "retry-after", value, sizeof value));
    assert_int_equal(get(s, "/readyz?verbose"), 503);
    assert_non_null(strstr(buf_text(&s->resp.body), "\"routes\":{\"ok\":false"));
    ok(s, migrate_run(s->store, false, quiet, NULL, &s->err));
    connections_make(s);
    wait_ready(s);
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
}

static void before_the_first_snapshot_everything_is_503(void **state)
{
    (void)state;
    with_gateway(unloaded_body, true);
}

static void in_flight_task(void *arg)
{
    struct scene *s = arg;
    char e[512];
    event(e, "acct_1", "invoice.paid", "in_5");
    s->done = stripe(s, "/webhooks/stripe", "whsec_app", e);
}

static void drain_body(struct scene *s)
{
    int status = 0;
    (void)kill(s->redis, SIGSTOP);
    ok(s, task_start(&s->loop, "in flight", in_flight_task, s, &s->err));
    task_sleep_ms(100); /* on its way; sooner or later makes no difference to the promise */
    (void)kill(s->gateway, SIGTERM);
    task_sleep_ms(100);
    assert_int_equal(waitpid(s->gateway, &status, WNOHANG), 0); /* it still owes an answer */
    (void)kill(s->redis, SIGCONT);
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (s->done == 0 || waitpid(s->gateway, &status, WNOHANG) == 0) {
        assert_true(clock_mono_ms() < deadline_ms);
        task_sleep_ms(10);
    }
    s->gateway = 0;
    assert_int_equal(s->done, 200);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(waits(s, 1, "in_5"));
}

static void an_ending_gateway_finishes_what_it_has(void **state)
{
    (void)state;
    with_gateway(drain_body, false);
}

static void metrics_body(struct scene *s)
{
    char e[512], path[128], answer[65536] = "";
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    size_t len = 0;
    ssize_t n = 0;
    event(e, "acct_1", "invoice.paid", "in_5");
    assert_int_equal(stripe(s, "/webhooks/stripe", "whsec_app", e), 200);
    (void)snprintf(path, sizeof path, "%s/" GATEWAY ".sock", s->folder);
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%.100s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    while (len + 1 < sizeof answer &&
           (n = read(fd, answer + len, sizeof answer - 1 - len)) > 0) {
        len += (size_t)n;
    }
    (void)close(fd);
    assert_non_null(strstr(answer, "HTTP/1.1 200"));
    assert_non_null(strstr(answer, "pivotal_sync_webhook_events_total{provider=\"stripe\","
                                   "verdict=\"accepted\"} 1\n"));
    assert_non_null(strstr(answer, "pivotal_sync_webhook_routes 6\n"));
}

static void figures_are_on_a_socket_of_their_own(void **state)
{
    (void)state;
    with_gateway(metrics_body, false);
}

/* The socket belongs to the test, as it would to `up` or systemd: what comes between two
 * gateways waits in its queue. */
static void restart_body(struct scene *s)
{
    (void)end(&s->gateway, SIGTERM);
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    s->passed_fd = http_listen("127.0.0.1:0", 64, &s->err);
    assert_true(s->passed_fd > 0);
    assert_int_equal(getsockname(s->passed_fd, (struct sockaddr *)&at, &len), 0);
    s->port = ntohs(at.sin_port);
    gateway_start(s);
    wait_ready(s);
    int status = end(&s->gateway, SIGTERM);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ok(s, task_start(&s->loop, "between", in_flight_task, s, &s->err));
    task_sleep_ms(50); /* nobody serves, nobody refuses */
    assert_int_equal(s->done, 0);
    gateway_start(s);
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (s->done == 0) {
        assert_true(clock_mono_ms() < deadline_ms);
        task_sleep_ms(10);
    }
    /* The new one may not have its snapshot yet: then it said so, and was not refused. */
    assert_true(s->done == 200 || s->done == 503);
    (void)close(s->passed_fd);
}

static void a_passed_socket_outlives_a_restart(void **state)
{
    (void)state;
    with_gateway(restart_body, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_endpoint_of_its_own_takes_only_its_secrets),
        cmocka_unit_test(an_app_endpoint_goes_by_the_account),
        cmocka_unit_test(a_hubspot_array_is_put_for_each_portal),
        cmocka_unit_test(strays_get_the_answers_of_the_contract),
        cmocka_unit_test(what_is_new_is_known_by_one_more_look),
        cmocka_unit_test(without_postgres_the_snapshot_stays_in_force),
        cmocka_unit_test(without_redis_a_delivery_is_503_until_it_is_back),
        cmocka_unit_test(before_the_first_snapshot_everything_is_503),
        cmocka_unit_test(an_ending_gateway_finishes_what_it_has),
        cmocka_unit_test(figures_are_on_a_socket_of_their_own),
        cmocka_unit_test(a_passed_socket_outlives_a_restart),
    };
    return RUN_TESTS(tests);
}
