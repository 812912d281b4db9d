/* Migrations and the SQL surface against a real server: PIVOTAL_SYNC_TEST_DATABASE_URL, a
 * superuser. Every test makes and drops a database of its own. */
#include "common/clock.h"
#include "common/error_type.h"
#include "common/store.h"
#include "common/task.h"
#include "core/access.h"
#include "core/migrate.h"
#include "tests/unit/in_task.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    uv_loop_t loop;
    char database[64];
    char url[512];
    struct store *store;
    void (*body)(struct fixture *f);
    struct err err;
    int lines, done;
    char last_line[512];
};

/* The test URL with another database name (and user). */
static void url_make(char *out, size_t out_bytes, const char *database, const char *user)
{
    const char *url = getenv("PIVOTAL_SYNC_TEST_DATABASE_URL");
    const char *query = strchr(url, '?');
    size_t end = query == NULL ? strlen(url) : (size_t)(query - url);
    while (end > 0 && url[end - 1] != '/') {
        end--;
    }
    (void)snprintf(out, out_bytes, "%.*s%s%s", (int)end, url, database,
                   query == NULL ? "" : query);
    if (user != NULL) {
        size_t n = strlen(out);
        /* libpq takes the last of several. */
        (void)snprintf(out + n, out_bytes - n, "%suser=%s", query == NULL ? "?" : "&", user);
    }
}

static struct store *store_at(struct fixture *f, const char *url, const char *role)
{
    struct store_options o = {.url = url,
                              .application_name = "sql-test",
                              .role = role,
                              .max_connections = 2,
                              .statement_timeout_ms = 60000};
    struct store *s = store_new(&f->loop, &o, &f->err);
    assert_non_null(s);
    return s;
}

static void script(struct fixture *f, struct store *s, const char *sql)
{
    if (store_script(s, sql, &f->err) < 0) {
        fail_msg("%s: %s", sql, f->err.msg);
    }
}

static const char *text(struct fixture *f, const char *sql, char out[256])
{
    CLEANUP(rows_freep)
    struct rows *r = NULL;
    if (store_query(f->store, sql, NULL, &r, &f->err) < 0) {
        fail_msg("%s: %s", sql, f->err.msg);
    }
    assert_int_equal(rows_count(r), 1);
    (void)snprintf(out, 256, "%s", rows_is_null(r, 0, 0) ? "NULL" : rows_text(r, 0, 0));
    return out;
}

static void is(struct fixture *f, const char *sql, const char *expected)
{
    char out[256];
    if (strcmp(text(f, sql, out), expected) != 0) {
        fail_msg("%s gives %s, not %s", sql, out, expected);
    }
}

static void body_task(void *arg)
{
    struct fixture *f = arg;
    struct store *admin = store_at(f, getenv("PIVOTAL_SYNC_TEST_DATABASE_URL"), NULL);
    char sql[160];
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE %s", f->database);
    script(f, admin, sql);
    f->store = store_at(f, f->url, NULL);
    f->body(f);
    store_free(f->store);
    (void)snprintf(sql, sizeof sql, "DROP DATABASE %s WITH (FORCE)", f->database);
    script(f, admin, sql);
    store_free(admin);
}

static void with_database(void (*body)(struct fixture *f))
{
    in_task_check();
    struct fixture f = {.body = body};
    (void)snprintf(f.database, sizeof f.database, "psync_sql_%ld_%lld", (long)getpid(),
                   (long long)clock_mono_us());
    url_make(f.url, sizeof f.url, f.database, NULL);
    assert_int_equal(uv_loop_init(&f.loop), 0);
    assert_int_equal(task_run(&f.loop, body_task, &f, &f.err), 0);
    (void)uv_run(&f.loop, UV_RUN_DEFAULT);
    task_cleanup();
    assert_int_equal(uv_loop_close(&f.loop), 0);
}

static void count_lines(void *arg, const char *line)
{
    struct fixture *f = arg;
    f->lines++;
    (void)snprintf(f->last_line, sizeof f->last_line, "%s", line);
}

static void migrate(struct fixture *f)
{
    f->lines = 0;
    if (migrate_run(f->store, false, count_lines, f, &f->err) < 0) {
        fail_msg("migrate: %s", f->err.msg);
    }
}

/* ---- migrations ---- */

static void twice_body(struct fixture *f)
{
    assert_int_equal(migrate_is_current(f->store, &f->err), 0);
    assert_int_equal(migrate_run(f->store, true, count_lines, f, &f->err), 0);
    assert_true(f->lines >= 6);
    is(f, "SELECT to_regclass('psync.workspace')", "NULL");
    migrate(f);
    assert_true(f->lines >= 6);
    assert_int_equal(migrate_is_current(f->store, &f->err), 1);
    migrate(f);
    assert_int_equal(f->lines, 1);
    assert_string_equal(f->last_line, "nothing to do");
    char count[16];
    (void)snprintf(count, sizeof count, "%d", ET_COUNT - 1);
    is(f, "SELECT count(*) FROM psync.error_type", count);
    is(f, "SELECT count(*) >= 9 FROM pg_inherits WHERE inhparent = 'psync.attempt'::regclass",
       "t");
    /* A view whose text changed is applied anew, grants after it. */
    script(f, f->store, "UPDATE psync.migration SET sha256 = 'old' WHERE name = 'views'");
    migrate(f);
    assert_int_equal(f->lines, 2);
    assert_string_equal(f->last_line, "apply roles");
    /* A step whose text changed is refused. */
    script(f, f->store, "UPDATE psync.migration SET sha256 = 'old' WHERE step = 1");
    assert_int_equal(migrate_run(f->store, false, count_lines, f, &f->err), -1);
    assert_string_equal(err_name(f->err.code), "ERR_CONFLICT");
    /* A newer database is left alone. */
    script(f, f->store, "INSERT INTO psync.migration VALUES ('999_later', 999, 'x')");
    assert_int_equal(migrate_run(f->store, false, count_lines, f, &f->err), 0);
    assert_int_equal(migrate_is_current(f->store, &f->err), 1);
}

static void migrates_twice_and_refuses_a_changed_step(void **state)
{
    (void)state;
    with_database(twice_body);
}

static void migrate_task(void *arg)
{
    struct fixture *f = arg;
    struct err err = {0};
    struct store *s = store_at(f, f->url, NULL);
    if (migrate_run(s, false, NULL, NULL, &err) < 0) {
        fail_msg("migrate: %s", err.msg);
    }
    store_free(s);
    f->done++;
}

static void migrate_from(struct fixture *f, int places)
{
    for (int i = 0; i < places; i++) {
        assert_int_equal(task_start(&f->loop, "migrate", migrate_task, f, &f->err), 0);
    }
}

static void until_done(struct fixture *f, int count)
{
    int64_t deadline = clock_mono_ms() + 30000;
    while (f->done < count && clock_mono_ms() < deadline) {
        task_sleep_ms(5);
    }
    assert_int_equal(f->done, count);
    assert_int_equal(migrate_is_current(f->store, &f->err), 1);
}

static void at_once_body(struct fixture *f)
{
    migrate_from(f, 3);
    until_done(f, 3);
}

/* Another session has what a step wants next, and wants what the step has. Only the step looks
 * for circles, so it is the one that PostgreSQL ends. */
static void circle_body(struct fixture *f)
{
    char waits[256] = "";
    migrate(f);
    script(f, f->store, "UPDATE psync.migration SET sha256 = 'old' WHERE name = 'views'");
    struct store_tx *tx = store_begin(f->store, &f->err);
    assert_non_null(tx);
    assert_int_equal(store_send(tx, "SET LOCAL deadlock_timeout = '1min'", NULL, NULL, &f->err),
                     0);
    assert_int_equal(
        store_send(tx, "LOCK TABLE psync.migration IN SHARE MODE", NULL, NULL, &f->err), 0);
    assert_int_equal(store_sync(tx, &f->err), 0);
    migrate_from(f, 1);
    int64_t deadline = clock_mono_ms() + 30000;
    while (strcmp(waits, "1") != 0 && clock_mono_ms() < deadline) {
        task_sleep_ms(5);
        text(f,
             "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'RowExclusiveLock'"
             " AND relation = 'psync.migration'::regclass",
             waits);
    }
    assert_string_equal(waits, "1");
    assert_int_equal(
        store_send(tx, "SELECT pg_advisory_xact_lock(482871602019)", NULL, NULL, &f->err), 0);
    assert_int_equal(store_commit(tx, &f->err), 0);
    until_done(f, 1);
    is(f, "SELECT count(*) FROM psync.migration WHERE sha256 = 'old'", "0");
}

static void repeats_a_step_that_waited_in_a_circle(void **state)
{
    (void)state;
    with_database(circle_body);
}

static void migrates_from_three_places_at_once(void **state)
{
    (void)state;
    with_database(at_once_body);
}

static bool said_create_role;
static void look_for_roles(void *arg, const char *line)
{
    (void)arg;
    said_create_role = said_create_role || strstr(line, "CREATE ROLE") != NULL;
}

static void weak_login_body(struct fixture *f)
{
    char out[256];
    if (strcmp(text(f, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'psync\\_%'", out),
               "0") != 0) {
        return; /* the roles are there already: nothing is missing to be said */
    }
    char sql[256];
    (void)snprintf(
        sql, sizeof sql,
        "CREATE ROLE sql_test_owner LOGIN; ALTER DATABASE %s OWNER TO sql_test_owner",
        f->database);
    script(f, f->store, sql);
    char url[512];
    url_make(url, sizeof url, f->database, "sql_test_owner");
    struct store *weak = store_at(f, url, NULL);
    for (int i = 0; i < 2; i++) { /* said each time, until somebody has done it */
        said_create_role = false;
        if (migrate_run(weak, false, look_for_roles, NULL, &f->err) < 0) {
            fail_msg("migrate: %s", f->err.msg);
        }
        assert_true(said_create_role);
    }
    store_free(weak);
    is(f, "SELECT count(*) FROM psync_bi.connection_status", "0");
    (void)snprintf(sql, sizeof sql,
                   "ALTER DATABASE %s OWNER TO CURRENT_USER;"
                   "REASSIGN OWNED BY sql_test_owner TO CURRENT_USER;"
                   "DROP OWNED BY sql_test_owner; DROP ROLE sql_test_owner",
                   f->database);
    script(f, f->store, sql);
}

static void prints_the_roles_when_it_may_not_make_them(void **state)
{
    (void)state;
    with_database(weak_login_body);
}

/* ---- views ---- */

static void comments_body(struct fixture *f)
{
    migrate(f);
    is(f,
       "SELECT string_agg(c.relname || coalesce('.' || a.attname, ''), ', ') FROM pg_class c"
       " LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
       " WHERE c.relnamespace = 'psync_bi'::regnamespace"
       "   AND (obj_description(c.oid) IS NULL"
       "        OR a.attname IS NULL OR col_description(c.oid, a.attnum) IS NULL)",
       "NULL");
    is(f, "SELECT count(*) FROM pg_views WHERE schemaname = 'psync_bi'", "27");
}

static void comments_every_view_and_column(void **state)
{
    (void)state;
    with_database(comments_body);
}

static void may(struct fixture *f, struct store *s, const char *sql, enum err_code expected)
{
    struct err err = {0};
    int rc = store_query(s, sql, NULL, NULL, &err);
    if (err.code != expected || (rc == 0) != (expected == ERR_NONE)) {
        fail_msg("%s: %s %s", sql, err_name(err.code), err.msg);
    }
    (void)f;
}

static const char fill_sql[] =
    "INSERT INTO psync.workspace (name, tz) VALUES ('acme', 'Europe/Berlin');"
    "INSERT INTO psync.connection (workspace_id, provider, mode, state)"
    "  VALUES (1, 'stripe', 'test', 'connected'), (1, 'hubspot', 'live', 'connected');"
    "INSERT INTO psync.attempt (attempt_id, connection_id, kind, trigger, status, error_code,"
    "  started_at) VALUES (psync.next_attempt_id(), 1, 'record', 'webhook', 'failed',"
    "  'map_type_mismatch', now());"
    "INSERT INTO psync.attempt_body (attempt_id, body) SELECT attempt_id, 'secret'"
    "  FROM psync.attempt;"
    "INSERT INTO psync.webhook_event (event_no, received_at, provider, verdict)"
    "  VALUES (psync.next_attempt_id(), now(), 'stripe', 'accepted');"
    "INSERT INTO psync.run (connection_id, workspace_id, kind, trigger)"
    "  VALUES (1, 1, 'full', 'nightly');";

static void readers_body(struct fixture *f)
{
    migrate(f);
    script(f, f->store, fill_sql);
    struct store *reader = store_at(f, f->url, "psync_bi_reader");
    CLEANUP(rows_freep)
    struct rows *views = NULL;
    assert_int_equal(store_query(f->store,
                                 "SELECT viewname FROM pg_views WHERE schemaname = 'psync_bi'",
                                 NULL, &views, &f->err),
                     0);
    for (int i = 0; i < rows_count(views); i++) {
        char sql[160];
        (void)snprintf(sql, sizeof sql, "SELECT * FROM psync_bi.%s", rows_text(views, i, 0));
        may(f, reader, sql, ERR_NONE);
    }
    may(f, reader, "SELECT * FROM psync.attempt_body", ERR_DENIED);
    may(f, reader, "SELECT * FROM psync.credential", ERR_DENIED);
    may(f, reader, "SELECT * FROM psync.gateway_route", ERR_DENIED);
    may(f, reader, "SELECT psync.drop_partitions(0)", ERR_DENIED);
    may(f, reader, "INSERT INTO psync_bi.gauge_history VALUES (now(), 'x', '', '', 1)",
        ERR_DENIED);
    store_free(reader);

    struct store *gateway = store_at(f, f->url, "psync_gw");
    may(f, gateway, "SELECT * FROM psync.gateway_route", ERR_NONE);
    may(f, gateway, "SELECT * FROM psync.credential", ERR_DENIED);
    may(f, gateway, "SELECT * FROM psync.workspace", ERR_DENIED);
    may(f, gateway, "SELECT * FROM psync_bi.customer", ERR_DENIED);
    store_free(gateway);

    struct store *app = store_at(f, f->url, "psync_app");
    may(f, app, "UPDATE psync.connection SET version = version + 1", ERR_NONE);
    may(f, app, "INSERT INTO psync.customer (workspace_id) VALUES (1)", ERR_NONE);
    may(f, app, "SELECT psync.make_partitions(20)", ERR_NONE);
    may(f, app, "SELECT psync.drop_partitions(3650)", ERR_NONE);
    may(f, app, "DELETE FROM psync.migration", ERR_DENIED);
    may(f, app, "DROP TABLE psync.customer", ERR_DENIED);
    store_free(app);
}

static void gives_each_role_its_views_and_no_more(void **state)
{
    (void)state;
    with_database(readers_body);
}

static void business_body(struct fixture *f)
{
    migrate(f);
#define MINUTES(from, to, tz, hours)                                                           \
    "SELECT psync.business_minutes('" from "'::timestamp AT TIME ZONE '" tz "', '" to          \
    "'::timestamp AT TIME ZONE '" tz "', '" tz "', '" hours "')"
#define WEEK "Mon-Fri 09:00-18:00"
    /* Friday evening to Monday morning, also over the change to summer time. */
    is(f, MINUTES("2026-11-20 17:50", "2026-11-23 09:20", "Europe/Berlin", WEEK), "30");
    is(f, MINUTES("2026-03-27 17:50", "2026-03-30 09:20", "Europe/Berlin", WEEK), "30");
    is(f, MINUTES("2026-10-23 17:50", "2026-10-26 09:20", "Europe/Berlin", WEEK), "30");
    is(f, MINUTES("2026-11-23 10:00", "2026-11-23 10:45", "America/New_York", WEEK), "45");
    is(f, MINUTES("2026-11-23 07:00", "2026-11-23 20:00", "Asia/Tokyo", WEEK), "540");
    is(f, MINUTES("2026-11-21 10:00", "2026-11-22 10:00", "UTC", WEEK), "0");
    is(f, MINUTES("2026-11-23 10:00", "2026-11-23 09:00", "UTC", WEEK), "0");
    /* The night that has 23 or 25 hours, inside hours that run through it. */
    is(f, MINUTES("2026-03-28 22:00", "2026-03-29 06:00", "Europe/Berlin", "Sat 22:00-06:00"),
       "420");
    is(f, MINUTES("2026-10-24 22:00", "2026-10-25 06:00", "Europe/Berlin", "Sat 22:00-06:00"),
       "540");
    is(f, MINUTES("2026-11-23 00:00", "2026-11-24 00:00", "UTC", "Mon-Sun 00:00-24:00"),
       "1440");
    is(f,
       MINUTES("2026-11-28 00:00", "2026-11-29 00:00", "UTC",
               "Mon-Fri 09:00-18:00, Sat 10:00-14:00, Sat 13:00-15:00"),
       "300");
    is(f, MINUTES("2026-11-29 00:00", "2026-11-29 01:00", "UTC", "whenever"), "60");
#undef WEEK
#undef MINUTES
}

static void counts_business_minutes(void **state)
{
    (void)state;
    with_database(business_body);
}

static void health_body(struct fixture *f)
{
    migrate(f);
    script(f, f->store, fill_sql);
    script(f, f->store,
           "UPDATE psync.workspace SET business_hours = 'Mon-Sun 00:00-24:00',"
           " nightly_at = '03:00';"
           "UPDATE psync.connection SET state_since = now() - interval '9 days'");
#define ONE(column) "SELECT " column " FROM psync_bi.connection_status WHERE connection_id = 1"
    is(f, ONE("incremental_health || ' ' || full_health"), "never never");
    script(f, f->store,
           "UPDATE psync.connection SET channel_state = 'fresh',"
           " last_incremental_at = now() - interval '29 minutes'");
    is(f, ONE("incremental_health"), "fresh");
    script(f, f->store, "UPDATE psync.connection SET channel_state = 'quiet'");
    is(f, ONE("incremental_health"), "quiet");
    script(f, f->store,
           "UPDATE psync.connection SET"
           " last_incremental_at = now() - interval '31 minutes'");
    is(f, ONE("incremental_health"), "stale");
    script(f, f->store, "UPDATE psync.connection SET channel_state = 'unknown'");
    is(f, ONE("incremental_health"), "unknown");

    /* A nightly run of one hour each day: late 25 hours after the last good end. */
    script(f, f->store,
           "INSERT INTO psync.run (connection_id, workspace_id, kind, trigger, status,"
           " started_at, finished_at) SELECT 1, 1, 'full', 'nightly', 'succeeded',"
           " now() - interval '1 hour', now();"
           "UPDATE psync.connection SET last_full_success_at = now() - interval '22 hours'");
    is(f, ONE("full_health"), "fresh");
    script(f, f->store,
           "UPDATE psync.connection SET last_full_success_at = now() - interval '27 hours'");
    is(f, ONE("full_health"), "stale");
    script(f, f->store, "UPDATE psync.connection SET state = 'reauthorize'");
    is(f, ONE("incremental_health || ' ' || full_health"), "not_connected not_connected");
#undef ONE
}

static void tells_fresh_from_stale(void **state)
{
    (void)state;
    with_database(health_body);
}

/* ---- providers ---- */

static const char stripe_sql[] =
    "INSERT INTO psync.record (connection_id, object_type, record_id, parent_id, raw) VALUES"
    " (1, 'customer', 'cus_1', NULL, '{\"email\": \"A@X\", \"balance\": \"junk\"}'),"
    " (1, 'customer', 'cus_2', NULL, '{\"discount\": {\"source\": {\"coupon\": \"co_2\"}}}'),"
    " (1, 'subscription', 'sub_1', 'cus_1', '{\"items\": {\"data\": [{\"price\": {\"id\":"
    "   \"price_1\", \"product\": \"prod_1\"}, \"discounts\": [{\"coupon\": {\"id\": "
    "\"co_1\"}}],"
    "   \"current_period_end\": 1700000000}]}}'),"
    " (1, 'subscription', 'sub_2', 'cus_1', '{\"items\": {\"data\": []}}'),"
    " (1, 'price', 'price_1', NULL, '{\"unit_amount_decimal\": \"12.5\"}'),"
    " (1, 'coupon', 'co_1', NULL, '{\"percent_off\": 25}'),"
    " (1, 'coupon', 'co_2', NULL, '{\"percent_off\": 5}'),"
    " (1, 'invoice', 'in_1', 'cus_1', '{\"status\": \"open\"}'),"
    " (1, 'invoice', 'in_2', 'cus_1', '{\"status\": \"paid\"}'),"
    " (2, 'company', '7', NULL, '{\"properties\": {\"name\": \"Acme\", \"annualrevenue\":"
    "   \"1,2 Mio\", \"numberofemployees\": \"12\"}}');"
    "UPDATE psync.record SET deleted_at = now() WHERE record_id = 'sub_2';";

static void stripe_body(struct fixture *f)
{
    migrate(f);
    script(f, f->store, fill_sql);
    script(f, f->store, stripe_sql);
#define ROOTS(type, id)                                                                        \
    "SELECT string_agg(record_id, ' ' ORDER BY record_id)"                                     \
    " FROM psync.stripe_roots(1, '" type "', ARRAY['" id "'])"
    is(f, ROOTS("customer", "cus_1"), "cus_1");
    is(f, ROOTS("subscription", "sub_1"), "cus_1");
    is(f, ROOTS("invoice", "in_1"), "cus_1");
    is(f, ROOTS("price", "price_1"), "cus_1");
    is(f, ROOTS("product", "prod_1"), "cus_1");
    is(f, ROOTS("coupon", "co_1"), "cus_1");
    is(f, ROOTS("coupon", "co_2"), "cus_2");
    is(f, ROOTS("charge", "ch_1"), "NULL");
#undef ROOTS
#define BUNDLE(path)                                                                           \
    "SELECT bundle::jsonb #>> '" path "' FROM psync.stripe_bundle(1, ARRAY['cus_1', 'cus_9'])"
    is(f, BUNDLE("{customer,email}"), "A@X");
    is(f, BUNDLE("{deleted}"), "false");
    is(f, BUNDLE("{subscriptions,0,items,data,0,price,id}"), "price_1");
    is(f, BUNDLE("{subscriptions,1}"), "NULL");
    is(f, BUNDLE("{prices}"), "{\"price_1\": {\"unit_amount_decimal\": \"12.5\"}}");
    is(f, BUNDLE("{coupons}"), "{\"co_1\": {\"percent_off\": 25}}");
    is(f, BUNDLE("{invoices}"), "[{\"status\": \"open\"}]");
#undef BUNDLE
    is(f, "SELECT count(*) FROM psync.stripe_bundle(1, ARRAY['cus_1', 'cus_2', 'cus_9'])", "2");
    is(f, "SELECT count(*) FROM psync.hubspot_roots(2, 'company', ARRAY['7', '8'])", "2");
    is(f, "SELECT count(*) FROM psync.hubspot_roots(2, 'contact', ARRAY['7'])", "0");
}

static void finds_stripe_customers_and_what_they_depend_on(void **state)
{
    (void)state;
    with_database(stripe_body);
}

static void typed_body(struct fixture *f)
{
    migrate(f);
    script(f, f->store, fill_sql);
    script(f, f->store, stripe_sql);
    is(f,
       "SELECT email || coalesce(balance::text, '-') FROM psync_bi.stripe_customer"
       " WHERE record_id = 'cus_1'",
       "a@x-");
    is(f, "SELECT unit_amount FROM psync_bi.stripe_price", "12.5");
    is(f,
       "SELECT current_period_end FROM psync_bi.stripe_subscription"
       " WHERE record_id = 'sub_1'",
       "2023-11-14 22:13:20+00");
    is(f,
       "SELECT name || coalesce(annual_revenue::text, '-') || number_of_employees"
       " FROM psync_bi.hubspot_company",
       "Acme-12");
    is(f, "SELECT psync.as_time('2026-02-30T00:00:00Z')", "NULL");
    is(f, "SELECT psync.as_time('2026-02-03T04:05:06.789Z')", "2026-02-03 04:05:06.789+00");
    is(f, "SELECT psync.as_time('1700000000123')", "2023-11-14 22:13:20.123+00");
    is(f, "SELECT psync.as_time('tomorrow')", "NULL");
    is(f, "SELECT psync.as_numeric('1e400')", "NULL");
    is(f, "SELECT psync.as_bigint('12345678901234567890')", "NULL");
}

static void types_fields_without_ever_failing(void **state)
{
    (void)state;
    with_database(typed_body);
}

/* ---- tokens ---- */

static void token_body(struct fixture *f)
{
    const struct actor who = {"anna", "cli"};
    char token[ACCESS_TOKEN_MAX_BYTES], sql[256];
    int64_t id = 0;
    struct access a;
    migrate(f);
    assert_int_equal(
        access_create(f->store, &who, ACCESS_OPERATOR, "page", token, &id, &f->err), 0);
    assert_int_equal(strlen(token), 4 + 43);
    assert_int_equal(access_check(f->store, token, &a, &f->err), 0);
    assert_int_equal(a.role, ACCESS_OPERATOR);
    assert_int_equal(a.token_id, id);
    assert_string_equal(a.name, "page");
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM psync.admin_token t WHERE t::text LIKE '%%%s%%'",
                   token);
    is(f, sql, "0");
    token[10] = token[10] == 'a' ? 'b' : 'a';
    assert_int_equal(access_check(f->store, token, &a, &f->err), -1);
    assert_int_equal(f->err.code, ERR_DENIED);
    assert_int_equal(a.role, ACCESS_NONE);
    assert_int_equal(access_create(f->store, &who, ACCESS_VIEWER, "", token, &id, &f->err), 0);
    assert_int_equal(access_revoke(f->store, &who, id, &f->err), 0);
    assert_int_equal(access_revoke(f->store, &who, id, &f->err), 0);
    assert_int_equal(access_check(f->store, token, &a, &f->err), -1);
    assert_int_equal(f->err.code, ERR_DENIED);
    assert_int_equal(access_revoke(f->store, &who, 99, &f->err), -1);
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
    is(f, "SELECT string_agg(action, ' ' ORDER BY audit_id) FROM psync_bi.audit_trail",
       "token.create token.create token.revoke");
}

static void keeps_tokens_as_hashes_and_revokes_them(void **state)
{
    (void)state;
    with_database(token_body);
}

int main(void)
{
    if (getenv("PIVOTAL_SYNC_TEST_DATABASE_URL") == NULL) {
        puts("1..0 # SKIP PIVOTAL_SYNC_TEST_DATABASE_URL is not set");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_the_roles_when_it_may_not_make_them),
        cmocka_unit_test(migrates_twice_and_refuses_a_changed_step),
        cmocka_unit_test(migrates_from_three_places_at_once),
        cmocka_unit_test(repeats_a_step_that_waited_in_a_circle),
        cmocka_unit_test(comments_every_view_and_column),
        cmocka_unit_test(gives_each_role_its_views_and_no_more),
        cmocka_unit_test(counts_business_minutes),
        cmocka_unit_test(tells_fresh_from_stale),
        cmocka_unit_test(finds_stripe_customers_and_what_they_depend_on),
        cmocka_unit_test(types_fields_without_ever_failing),
        cmocka_unit_test(keeps_tokens_as_hashes_and_revokes_them),
    };
    return RUN_TESTS(tests);
}
