/* Saving against a real server: PIVOTAL_SYNC_TEST_DATABASE_URL, a superuser. One database for
 * each program, a workspace of its own for every test; what save*.c share. */
#ifndef TESTS_CONTRACT_SAVE_RIG_H
#define TESTS_CONTRACT_SAVE_RIG_H

#include "core/save.h"

#include "common/clock.h"
#include "common/task.h"
#include "core/migrate.h"
#include "tests/unit/in_task.h"
#include "tests/unit/test.h"

#include <stdarg.h>
#include <unistd.h>

enum { ITEMS_MAX = 128 };

struct fixture {
    uv_loop_t loop;
    struct store *store;
    struct connection *hubspot, *stripe;
    void (*body)(struct fixture *f);
    struct err err;
    int done;
    /* the next save */
    struct record records[ITEMS_MAX];
    struct unit units[ITEMS_MAX];
    struct save_item items[ITEMS_MAX];
    char *texts[ITEMS_MAX];
    int count;
    int64_t fetch_no; /* 0 = the next of the sequence */
    struct save_chunk *chunk;
    int64_t run_id;
    struct save_result result;
};

static char database[64], database_url[512];

/* ---- the database ---- */

static inline struct store *store_at(struct fixture *f, const char *url, const char *role)
{
    struct store_options o = {.url = url,
                              .application_name = "save-test",
                              .role = role,
                              .max_connections = 3,
                              .statement_timeout_ms = 60000};
    struct store *s = store_new(&f->loop, &o, &f->err);
    assert_non_null(s);
    return s;
}

static inline void ok(struct fixture *f, int rc)
{
    if (rc != 0) {
        fail_msg("%s %s: %s", err_name(f->err.code), f->err.sqlstate, f->err.msg);
    }
}

static inline void run(struct fixture *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void run(struct fixture *f, const char *fmt, ...)
{
    char sql[2048];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(sql, sizeof sql, fmt, ap);
    va_end(ap);
    ok(f, store_query(f->store, sql, NULL, NULL, &f->err));
}

/* The answer's only value is expected ("NULL" for none). */
static inline void is(struct fixture *f, const char *expected, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static inline void is(struct fixture *f, const char *expected, const char *fmt, ...)
{
    char sql[2048];
    CLEANUP(rows_freep)
    struct rows *r = NULL;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(sql, sizeof sql, fmt, ap);
    va_end(ap);
    ok(f, store_query(f->store, sql, NULL, &r, &f->err));
    if (rows_count(r) != 1) {
        fail_msg("%s: %d rows", sql, rows_count(r));
    }
    const char *got = rows_is_null(r, 0, 0) ? "NULL" : rows_text(r, 0, 0);
    if (strcmp(got, expected) != 0) {
        fail_msg("%s\n  gives %s, not %s", sql, got, expected);
    }
}

static inline int64_t number(struct fixture *f, const char *sql)
{
    CLEANUP(rows_freep)
    struct rows *r = NULL;
    ok(f, store_query(f->store, sql, NULL, &r, &f->err));
    assert_int_equal(rows_count(r), 1);
    return rows_int(r, 0, 0);
}

static inline void admin_task(void *arg)
{
    struct fixture *f = arg;
    const char *server = getenv("PIVOTAL_SYNC_TEST_DATABASE_URL");
    const char *query = strchr(server, '?');
    size_t end = query == NULL ? strlen(server) : (size_t)(query - server);
    while (end > 0 && server[end - 1] != '/') {
        end--;
    }
    f->store = store_at(f, server, NULL);
    if (database[0] == '\0') {
        (void)snprintf(database, sizeof database, "psync_save_%ld", (long)getpid());
        (void)snprintf(database_url, sizeof database_url, "%.*s%s%s", (int)end, server,
                       database, query == NULL ? "" : query);
        run(f, "CREATE DATABASE %s", database);
        struct store *own = store_at(f, database_url, NULL);
        ok(f, migrate_run(own, false, NULL, NULL, &f->err));
        store_free(own);
    } else {
        run(f, "DROP DATABASE %s WITH (FORCE)", database);
    }
    store_free(f->store);
    f->done = 1;
}

static inline int loop_run(task_fn *task, struct fixture *f)
{
    in_task_check();
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(task_run(&f->loop, task, f, &f->err), 0);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    task_cleanup();
    assert_int_equal(uv_loop_close(&f->loop), 0);
    return f->done == 1 ? 0 : -1;
}

static inline int make_or_drop_database(void **state)
{
    (void)state;
    if (getenv("PIVOTAL_SYNC_TEST_DATABASE_URL") == NULL) {
        return 0;
    }
    struct fixture *f = calloc(1, sizeof *f);
    int rc = loop_run(admin_task, f);
    free(f);
    return rc;
}

/* ---- a workspace ---- */

static inline int64_t add_connection(struct fixture *f, int64_t workspace, const char *provider)
{
    char sql[1024];
    CLEANUP(params_freep) struct params *p = params_new();
    (void)snprintf(
        sql, sizeof sql,
        "INSERT INTO psync.connection (workspace_id, provider, account_id, state,"
        " account, scope_kind, scope_id, scope_name) VALUES (%lld, '%s', 'acct_%lld',"
        " 'connected', '{\"currency\":\"USD\"}', %s) RETURNING connection_id",
        (long long)workspace, provider, (long long)workspace,
        strcmp(provider, "hubspot") == 0 ? "'list', '42', 'Customers'" : "NULL, NULL, NULL");
    int64_t id = number(f, sql);
    params_int(p, id);
    params_text(p, provider_find(provider)->default_mapping);
    ok(f, store_query(f->store,
                      "INSERT INTO psync.mapping (connection_id, version, fields)"
                      " VALUES ($1, 1, $2::jsonb)",
                      p, NULL, &f->err));
    return id;
}

static inline struct connection *load(struct fixture *f, int64_t id)
{
    struct connection *c = connection_load(f->store, NULL, id, &f->err);
    if (c == NULL) {
        fail_msg("%s", f->err.msg);
    }
    return c;
}

static inline void add_workspace(struct fixture *f, bool with_crm)
{
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO psync.workspace (name, currency, plans, default_owner) VALUES"
                   " ('t%lld', 'usd', '{Free,Pro}', 'boss@us.example') RETURNING workspace_id",
                   (long long)clock_mono_us());
    int64_t workspace = number(f, sql);
    if (with_crm) {
        f->hubspot = load(f, add_connection(f, workspace, "hubspot"));
    }
    f->stripe = load(f, add_connection(f, workspace, "stripe"));
}

static inline void body_task(void *arg)
{
    struct fixture *f = arg;
    f->store = store_at(f, database_url, "psync_app");
    f->body(f);
    save_result_release(&f->result);
    for (int i = 0; i < ITEMS_MAX; i++) {
        free(f->texts[i]);
    }
    connection_free(f->hubspot);
    connection_free(f->stripe);
    store_free(f->store);
    f->done = 1;
}

static inline void with_workspace(void (*body)(struct fixture *f))
{
    if (getenv("PIVOTAL_SYNC_TEST_DATABASE_URL") == NULL) {
        skip();
    }
    struct fixture *f = calloc(1, sizeof *f);
    f->body = body;
    int rc = loop_run(body_task, f);
    free(f);
    assert_int_equal(rc, 0);
}

/* ---- saving ---- */

static inline struct save_item *add(struct fixture *f, enum record_status status,
                                    const char *id, const char *fmt, ...) PRINTF_LIKE(4, 5);
static inline struct save_item *add(struct fixture *f, enum record_status status,
                                    const char *id, const char *fmt, ...)
{
    int i = f->count++;
    va_list ap;
    assert_true(i < ITEMS_MAX);
    free(f->texts[i]);
    va_start(ap, fmt);
    assert_true(vasprintf(&f->texts[i], fmt, ap) >= 0);
    va_end(ap);
    f->records[i] = (struct record){.status = status, .updated_at_ms = 1700000000000};
    (void)snprintf(f->records[i].id, sizeof f->records[i].id, "%s", id);
    if (f->texts[i][0] != '\0') {
        record_set_raw(&f->records[i], slice_of(f->texts[i]));
    }
    f->units[i] = (struct unit){.kind = UNIT_RECORD,
                                .lane = LANE_WEBHOOK,
                                .trigger = "webhook",
                                .first_seen_ms = clock_now_ms() - 20,
                                .events = 1};
    (void)snprintf(f->units[i].id, sizeof f->units[i].id, "%s", id);
    f->items[i] = (struct save_item){.record = &f->records[i], .scope = SCOPE_IN};
    return &f->items[i];
}

static inline struct save_item *company(struct fixture *f, const char *id, const char *name,
                                        const char *domain, const char *arr)
{
    return add(f, RECORD_FOUND, id,
               "{\"id\":\"%s\",\"properties\":{\"name\":\"%s\",\"domain\":\"%s\","
               "\"annualrevenue\":\"%s\",\"hubspot_owner_id\":null,\"tier\":\"pro\","
               "\"industry\":null,\"numberofemployees\":\"25\","
               "\"createdate\":\"2024-01-01T00:00:00Z\"}}",
               id, name, domain, arr);
}

static inline int try_save(struct fixture *f, struct connection *c, const char *object)
{
    struct exchange exchange;
    exchange_init(&exchange);
    exchange.method = "GET";
    exchange.endpoint = "/test";
    exchange.status = 200;
    (void)buf_add_str(&exchange.body, "{\"whole\":\"answer\"}");
    save_result_release(&f->result);
    for (int i = 0; i < f->count; i++) {
        f->records[i].object = provider_object(c->provider, object);
        f->items[i].unit = f->chunk == NULL ? &f->units[i] : NULL;
    }
    int64_t fetch_no =
        f->fetch_no != 0 ? f->fetch_no : number(f, "SELECT nextval('psync.fetch_no')");
    struct save_job job = {.conn = c,
                           .object = provider_object(c->provider, object),
                           .fetch_no = fetch_no,
                           .run_id = f->run_id,
                           .items = f->items,
                           .item_count = f->count,
                           .chunk = f->chunk,
                           .exchange = &exchange,
                           .started_at_ms = clock_now_ms(),
                           .worker = "test",
                           .from_delivery = f->chunk == NULL};
    int rc = save_records(f->store, &job, &f->result, &f->err);
    exchange_release(&exchange);
    f->count = 0;
    f->fetch_no = 0;
    return rc;
}

static inline void save(struct fixture *f, struct connection *c, const char *object)
{
    ok(f, try_save(f, c, object));
}

static inline void counts(const struct fixture *f, int created, int updated, int unchanged,
                          int skipped, int failed)
{
    const struct save_result *r = &f->result;
    if (r->created != created || r->updated != updated || r->unchanged != unchanged ||
        r->skipped != skipped || r->failed != failed) {
        fail_msg("created %lld updated %lld unchanged %lld skipped %lld failed %lld",
                 (long long)r->created, (long long)r->updated, (long long)r->unchanged,
                 (long long)r->skipped, (long long)r->failed);
    }
}

/* A field of the customer that a record is linked to. */
static inline void field_is(struct fixture *f, const struct connection *c,
                            const char *record_id, const char *field, const char *expected)
{
    is(f, expected,
       "SELECT c.fields ->> '%s' FROM psync.customer c JOIN psync.record_link l USING"
       " (customer_id) WHERE l.connection_id = %lld AND l.record_id = '%s'",
       field, (long long)c->connection_id, record_id);
}

static inline void archived_is(struct fixture *f, const char *record_id, const char *expected)
{
    is(f, expected,
       "SELECT coalesce(c.archived_why, '-') FROM psync.customer c JOIN psync.record_link l"
       " USING (customer_id) WHERE l.connection_id = %lld AND l.record_id = '%s'"
       " AND (c.archived_at IS NULL) = (c.archived_why IS NULL)",
       (long long)f->hubspot->connection_id, record_id);
}

static inline void state_is(struct fixture *f, const struct connection *c,
                            const char *record_id, const char *expected)
{
    is(f, expected,
       "SELECT state || ' ' || reason_code FROM psync.record_seen WHERE connection_id = %lld"
       " AND record_id = '%s'",
       (long long)c->connection_id, record_id);
}

static inline void three_companies(struct fixture *f)
{
    company(f, "3", "Gamma", "gamma.example", "3000");
    company(f, "1", "Alpha", "WWW.Alpha.example", "1000.50");
    company(f, "2", "Beta", "beta.example", "2000");
    save(f, f->hubspot, "company");
}

/* ---- a chunk; Stripe ---- */

static inline int64_t add_run(struct fixture *f, struct save_chunk *chunk)
{
    char sql[512];
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO psync.run (connection_id, workspace_id, kind, trigger, status)"
                   " VALUES (%lld, %lld, 'full', 'test', 'running') RETURNING run_id",
                   (long long)f->hubspot->connection_id, (long long)f->hubspot->workspace_id);
    int64_t run_id = number(f, sql);
    run(f,
        "INSERT INTO psync.run_chunk (run_id, chunk_no, object_type, kind, claim_no)"
        " VALUES (%lld, 1, 'company', 'ids', 7)",
        (long long)run_id);
    *chunk = (struct save_chunk){
        .run_id = run_id, .chunk_no = 1, .claim_no = 7, .cursor = "next", .api_calls = 2};
    f->run_id = run_id;
    f->chunk = chunk;
    return run_id;
}

static inline void stripe_customer(struct fixture *f, const char *id, const char *email)
{
    add(f, RECORD_FOUND, id,
        "{\"id\":\"%s\",\"object\":\"customer\",\"name\":\"Name of %s\",\"email\":\"%s\","
        "\"metadata\":{},\"delinquent\":false,\"created\":1700000000}",
        id, id, email);
}

static inline void subscription(struct fixture *f, const char *id, const char *customer,
                                const char *price, int cents)
{
    add(f, RECORD_FOUND, id,
        "{\"id\":\"%s\",\"object\":\"subscription\",\"customer\":\"%s\",\"status\":\"active\","
        "\"currency\":\"usd\",\"discounts\":[],\"items\":{\"data\":[{\"id\":\"si_%s\","
        "\"quantity\":1,\"discounts\":[],\"price\":{\"id\":\"%s\",\"currency\":\"usd\","
        "\"type\":\"recurring\",\"billing_scheme\":\"per_unit\",\"unit_amount\":%d,"
        "\"unit_amount_decimal\":\"%d\",\"recurring\":{\"interval\":\"month\","
        "\"interval_count\":1,\"usage_type\":\"licensed\"}}}]}}",
        id, customer, id, price, cents, cents);
}

#endif
