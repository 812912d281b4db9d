/* The PostgreSQL store against a real server: PIVOTAL_SYNC_TEST_DATABASE_URL, a superuser. */
#include "tests/contract/store_rig.h"

#include "common/clock.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- values ---- */

static void values_body(struct fixture *f)
{
    CLEANUP(params_freep)
    struct params *p = params_new();
    CLEANUP(rows_freep)
    struct rows *r = NULL;
    params_text(p, "a'b\\c");
    params_text(p, NULL);
    params_int(p, INT64_MIN);
    params_bool(p, true);
    params_float(p, 0.1);
    params_bytea(p, "\0\xff\x10", 3);
    params_bytea(p, NULL, 0);
    params_time_ms(p, 1700000000123);
    params_time_ms(p, 0);
    params_text_n(p, "{\"a\":1} junk", 7);
    ok(f, store_query(f->store,
                      "SELECT $1::text AS t, $2::text, $3::bigint, $4::boolean, $5::float8,"
                      " $6::bytea, $7::bytea, $8::timestamptz, $9::timestamptz,"
                      " $10::jsonb ->> 'a'",
                      p, &r, &f->err));
    assert_int_equal(rows_columns(r), 10);
    assert_string_equal(rows_column_name(r, 0), "t");
    assert_string_equal(rows_text(r, 0, 0), "a'b\\c");
    assert_true(rows_is_null(r, 0, 1));
    assert_string_equal(rows_text(r, 0, 1), "");
    assert_true(rows_int(r, 0, 2) == INT64_MIN);
    assert_true(rows_bool(r, 0, 3));
    assert_true(rows_float(r, 0, 4) == 0.1);
    size_t n = 0;
    unsigned char *bytes = rows_bytea(r, 0, 5, &n);
    assert_int_equal(n, 3);
    assert_memory_equal(bytes, "\0\xff\x10", 3);
    free(bytes);
    assert_null(rows_bytea(r, 0, 6, &n));
    assert_string_equal(rows_text(r, 0, 7), "2023-11-14 22:13:20.123+00");
    assert_true(rows_is_null(r, 0, 8));
    assert_int_equal(rows_int(r, 0, 9), 1);
}

static void passes_values_both_ways(void **state)
{
    (void)state;
    with_store(1, values_body);
}

static void arrays_body(struct fixture *f)
{
    CLEANUP(params_freep)
    struct params *p = params_new();
    CLEANUP(rows_freep)
    struct rows *r = NULL;
    params_array_begin(p, ARRAY_TEXT);
    params_array_text(p, "{\"a\": 1}", 8);
    params_array_text(p, NULL, 0);
    params_array_text(p, "\"x\"", 3);
    params_array_end(p);
    params_array_begin(p, ARRAY_INT8);
    params_array_int(p, -5);
    params_array_int(p, INT64_MAX);
    params_array_null(p);
    params_array_end(p);
    params_array_begin(p, ARRAY_BYTEA);
    params_array_text(p, "\0z", 2);
    params_array_end(p);
    params_array_begin(p, ARRAY_BOOL);
    params_array_int(p, 1);
    params_array_int(p, 0);
    params_array_end(p);
    params_array_begin(p, ARRAY_TIME);
    params_array_int(p, 0);
    params_array_int(p, 1000);
    params_array_end(p);
    params_array_begin(p, ARRAY_TEXT);
    params_array_end(p);
    ok(f, store_query(f->store,
                      "SELECT (SELECT string_agg(coalesce(x::jsonb::text, 'null'), '|')"
                      "   FROM unnest($1::text[]) x),"
                      " $2::bigint[]::text, $3::bytea[]::text, $4::boolean[]::text,"
                      " $5::timestamptz[]::text, cardinality($6::text[])",
                      p, &r, &f->err));
    assert_string_equal(rows_text(r, 0, 0), "{\"a\": 1}|null|\"x\"");
    assert_string_equal(rows_text(r, 0, 1), "{-5,9223372036854775807,NULL}");
    assert_string_equal(rows_text(r, 0, 2), "{\"\\\\x007a\"}");
    assert_string_equal(rows_text(r, 0, 3), "{t,f}");
    assert_string_equal(rows_text(r, 0, 4), "{NULL,\"1970-01-01 00:00:01+00\"}");
    assert_int_equal(rows_int(r, 0, 5), 0);
}

static void passes_arrays_in_binary(void **state)
{
    (void)state;
    with_store(1, arrays_body);
}

static void large_body(struct fixture *f)
{
    enum { EACH_BYTES = 200 * 1000, EACH = 100 };
    char *text = malloc(EACH_BYTES);
    assert_non_null(text);
    memset(text, 'x', EACH_BYTES);
    CLEANUP(params_freep)
    struct params *p = params_new();
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < EACH; i++) {
        params_array_text(p, text, EACH_BYTES);
    }
    params_array_end(p);
    free(text);
    /* Twice in one pipeline, and all of it comes back: neither side may block the other. */
    struct store_tx *tx = store_begin(f->store, &f->err);
    assert_non_null(tx);
    CLEANUP(rows_freep)
    struct rows *a = NULL;
    CLEANUP(rows_freep)
    struct rows *b = NULL;
    ok(f, store_send(tx, "SELECT unnest($1::text[])", p, &a, &f->err));
    ok(f, store_send(tx, "SELECT unnest($1::text[])", p, &b, &f->err));
    ok(f, store_commit(tx, &f->err));
    assert_int_equal(rows_count(a), EACH);
    assert_int_equal(rows_len(b, EACH - 1, 0), EACH_BYTES);
}

static void moves_large_values_both_ways_at_once(void **state)
{
    (void)state;
    /* 80 MB, under a sanitizer on a busy machine too. */
    with_store_at(getenv("PIVOTAL_SYNC_TEST_DATABASE_URL"), 1, 60000, large_body);
}

/* ---- errors ---- */

static void codes_body(struct fixture *f)
{
    static const struct {
        const char *sql;
        enum err_code code;
        const char *sqlstate;
    } cases[] = {
        {"SELECT 1/0", ERR_REJECTED, "22012"},
        {"SELECT '{\"a\":\"\\u0000\"}'::jsonb", ERR_REJECTED, "22P05"},
        {"SELECT nothing", ERR_INTERNAL, "42703"},
        {"SELECT pg_sleep(60)", ERR_TIMEOUT, "57014"},
        {"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$", ERR_CONFLICT,
         "40001"},
        {"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53100'; END $$", ERR_UNAVAILABLE,
         "53100"},
        {"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '42501'; END $$", ERR_DENIED,
         "42501"},
    };
    int64_t backend = number(f, "SELECT pg_backend_pid()");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(store_query(f->store, cases[i].sql, NULL, NULL, &f->err), -1);
        assert_string_equal(err_name(f->err.code), err_name(cases[i].code));
        assert_string_equal(f->err.sqlstate, cases[i].sqlstate);
    }
    assert_int_equal(number(f, "SELECT pg_backend_pid()"), backend);
}

static void says_what_a_failure_means_and_keeps_the_connection(void **state)
{
    (void)state;
    with_store(1, codes_body);
}

static void terminated_body(struct fixture *f)
{
    /* While the statement runs. */
    assert_int_equal(store_query(f->store,
                                 "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)",
                                 NULL, NULL, &f->err),
                     -1);
    assert_string_equal(err_name(f->err.code), "ERR_UNAVAILABLE");
    /* In a transaction, by somebody else, between two syncs. */
    struct store_tx *tx = store_begin(f->store, &f->err);
    assert_non_null(tx);
    CLEANUP(rows_freep)
    struct rows *r = NULL;
    ok(f, store_send(tx, "SELECT pg_backend_pid()", NULL, &r, &f->err));
    ok(f, store_sync(tx, &f->err));
    CLEANUP(params_freep)
    struct params *p = params_new();
    params_int(p, rows_int(r, 0, 0));
    ok(f,
       store_query(f->store, "SELECT pg_terminate_backend($1::int, 5000)", p, NULL, &f->err));
    CLEANUP(rows_freep)
    struct rows *never = NULL;
    ok(f, store_send(tx, "SELECT 1", NULL, &never, &f->err));
    assert_int_equal(store_commit(tx, &f->err), -1);
    assert_string_equal(err_name(f->err.code), "ERR_UNAVAILABLE");
    assert_null(never);
    /* While idle: the next statement does not even notice. */
    int64_t backend = number(f, "SELECT pg_backend_pid()");
    tx = store_begin(f->store, &f->err);
    assert_non_null(tx);
    CLEANUP(params_freep)
    struct params *q = params_new();
    params_int(q, backend);
    ok(f, store_send(tx,
                     "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                     " WHERE application_name = 'store-test' AND pid <> pg_backend_pid()",
                     NULL, NULL, &f->err));
    ok(f, store_commit(tx, &f->err));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(number(f, "SELECT 7"), 7);
    }
}

static void survives_a_terminated_backend(void **state)
{
    (void)state;
    with_store(2, terminated_body);
}

/* ---- transactions ---- */

static void halving_body(struct fixture *f)
{
    query(f, "CREATE TEMP TABLE t (v jsonb)");
    struct store_tx *tx = store_begin(f->store, &f->err);
    assert_non_null(tx);
    CLEANUP(params_freep)
    struct params *bad = params_new();
    CLEANUP(params_freep)
    struct params *good = params_new();
    params_text(bad, "{\"a\": \"\\u0000\"}");
    params_text(good, "{\"a\": \"b\"}");
    static const char insert[] = "INSERT INTO t VALUES ($1::jsonb)";
    ok(f, store_send(tx, insert, good, NULL, &f->err));
    ok(f, store_savepoint(tx, "half", &f->err));
    CLEANUP(rows_freep)
    struct rows *skipped = NULL;
    ok(f, store_send(tx, insert, bad, NULL, &f->err));
    ok(f, store_send(tx, "SELECT 1", NULL, &skipped, &f->err));
    assert_int_equal(store_sync(tx, &f->err), -1);
    assert_string_equal(err_name(f->err.code), "ERR_REJECTED");
    assert_string_equal(f->err.sqlstate, "22P05");
    assert_null(skipped);
    assert_int_equal(store_send(tx, insert, good, NULL, &f->err), -1);
    ok(f, store_rollback_to(tx, "half", &f->err));
    ok(f, store_send(tx, insert, good, NULL, &f->err));
    ok(f, store_commit(tx, &f->err));
    assert_int_equal(number(f, "SELECT count(*) FROM t"), 2);

    /* Dropped with statements queued, one of them wrong. */
    tx = store_begin(f->store, &f->err);
    assert_non_null(tx);
    ok(f, store_send(tx, insert, good, NULL, &f->err));
    ok(f, store_send(tx, insert, bad, NULL, &f->err));
    store_abort(tx);
    assert_int_equal(number(f, "SELECT count(*) FROM t"), 2);

    /* A failing statement before COMMIT: nothing of it stays. */
    tx = store_begin(f->store, &f->err);
    assert_non_null(tx);
    ok(f, store_send(tx, insert, good, NULL, &f->err));
    ok(f, store_send(tx, insert, bad, NULL, &f->err));
    assert_int_equal(store_commit(tx, &f->err), -1);
    assert_string_equal(f->err.sqlstate, "22P05");
    assert_int_equal(number(f, "SELECT count(*) FROM t"), 2);
}

static void rolls_back_to_a_savepoint_after_a_rejected_value(void **state)
{
    (void)state;
    with_store(1, halving_body);
}

static void script_body(struct fixture *f)
{
    ok(f, store_script(f->store, "CREATE TEMP TABLE s (v int); INSERT INTO s VALUES (1), (2);",
                       &f->err));
    assert_int_equal(store_script(f->store, "INSERT INTO s VALUES (3); SELECT 1/0", &f->err),
                     -1);
    assert_int_equal(number(f, "SELECT count(*) FROM s"), 2);
    struct store_tx *tx = store_begin(f->store, &f->err);
    assert_non_null(tx);
    ok(f, store_script_in(tx, "INSERT INTO s VALUES (3); INSERT INTO s VALUES (4)", &f->err));
    store_abort(tx);
    assert_int_equal(number(f, "SELECT count(*) FROM s"), 2);
    assert_int_equal(store_script(f->store, "BEGIN; INSERT INTO s VALUES (3)", &f->err), 0);
}

static void runs_scripts(void **state)
{
    (void)state;
    with_store(1, script_body);
}

/* ---- the pool ---- */

enum { TASKS = 10, ROUNDS = 20 };

static void busy_task(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct err err = {0};
        struct store_tx *tx = store_begin(f->store, &err);
        assert_non_null(tx);
        f->open++;
        f->open_max = f->open > f->open_max ? f->open : f->open_max;
        assert_int_equal(store_send(tx, "UPDATE pool_test SET n = n + 1", NULL, NULL, &err), 0);
        assert_int_equal(store_sync(tx, &err), 0);
        f->open--;
        assert_int_equal(store_commit(tx, &err), 0);
    }
    f->done++;
}

static void pool_body(struct fixture *f)
{
    query(f, "DROP TABLE IF EXISTS pool_test");
    query(f, "CREATE TABLE pool_test AS SELECT 0 AS n");
    for (int i = 0; i < TASKS; i++) {
        ok(f, task_start(&f->loop, "busy", busy_task, f, &f->err));
    }
    int64_t deadline = clock_mono_ms() + 20000;
    while (f->done < TASKS && clock_mono_ms() < deadline) {
        task_sleep_ms(5);
    }
    assert_int_equal(f->done, TASKS);
    assert_int_equal(number(f, "SELECT n FROM pool_test"), TASKS * ROUNDS);
    /* Not by the sessions of PostgreSQL: those of a pooler keep the name of who had them. One
     * may have done it all before the other had connected. */
    assert_in_range(f->open_max, 1, 2);
    query(f, "DROP TABLE pool_test");
}

static void serves_ten_tasks_with_two_connections(void **state)
{
    (void)state;
    with_store(2, pool_body);
}

static void exhausted_body(struct fixture *f)
{
    struct store_tx *tx = store_begin(f->store, &f->err);
    assert_non_null(tx);
    int64_t before = clock_mono_ms();
    assert_int_equal(store_query(f->store, "SELECT 1", NULL, NULL, &f->err), -1);
    assert_string_equal(err_name(f->err.code), "ERR_TIMEOUT");
    assert_in_range(clock_mono_ms() - before, 4900, 60000);
    store_abort(tx);
    assert_int_equal(number(f, "SELECT 1"), 1);
}

static void gives_up_waiting_for_a_connection(void **state)
{
    (void)state;
    with_store(1, exhausted_body);
}

static void away_body(struct fixture *f)
{
    int64_t before = clock_mono_ms();
    int failures = 0;
    while (clock_mono_ms() - before < 1500) {
        assert_int_equal(store_query(f->store, "SELECT 1", NULL, NULL, &f->err), -1);
        assert_string_equal(err_name(f->err.code), "ERR_UNAVAILABLE");
        failures++;
    }
    /* 0, 0.1, 0.3, 0.7, 1.5 s: the caller that asks again at once is slowed down. */
    assert_in_range(failures, 3, 6);
}

static void backs_off_while_nobody_listens(void **state)
{
    (void)state;
    with_store_at("postgresql://localhost:1/postgres", 2, 3000, away_body);
}

static void silent_body(struct fixture *f)
{
    int64_t before = clock_mono_ms();
    assert_int_equal(store_query(f->store, "SELECT 1", NULL, NULL, &f->err), -1);
    assert_string_equal(err_name(f->err.code), "ERR_UNAVAILABLE");
    assert_in_range(clock_mono_ms() - before, 1900, 20000); /* the deadline is 2 s */
}

static void gives_up_connecting_to_a_silent_server(void **state)
{
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    char url[80];
    (void)snprintf(url, sizeof url, "postgresql://u@127.0.0.1:%d/x", ntohs(at.sin_port));
    with_store_at(url, 1, 3000, silent_body);
    (void)close(fd);
}

static void role_body(struct fixture *f)
{
    query(f, "DROP ROLE IF EXISTS store_test_role");
    query(f, "CREATE ROLE store_test_role");
    struct store_options o = f->options;
    o.role = "store_test_role";
    struct store *s = store_new(&f->loop, &o, &f->err);
    assert_non_null(s);
    CLEANUP(rows_freep)
    struct rows *r = NULL;
    ok(f, store_query(s, "SELECT current_user, current_setting('statement_timeout')", NULL, &r,
                      &f->err));
    assert_string_equal(rows_text(r, 0, 0), "store_test_role");
    assert_string_equal(rows_text(r, 0, 1), "3s");
    store_free(s);
    query(f, "DROP ROLE store_test_role");
}

static void takes_a_role_and_a_server_time_out(void **state)
{
    (void)state;
    with_store(1, role_body);
}

static void refuses_what_is_no_url(void **state)
{
    (void)state;
    struct err err = {0};
    struct store_options o = {.url = "postgresql://u:secret@[::1/x", .max_connections = 1};
    assert_null(store_new(uv_default_loop(), &o, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_null(strstr(err.msg, "secret"));
}

int main(void)
{
    if (getenv("PIVOTAL_SYNC_TEST_DATABASE_URL") == NULL) {
        puts("1..0 # SKIP PIVOTAL_SYNC_TEST_DATABASE_URL is not set");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_values_both_ways),
        cmocka_unit_test(passes_arrays_in_binary),
        cmocka_unit_test(moves_large_values_both_ways_at_once),
        cmocka_unit_test(says_what_a_failure_means_and_keeps_the_connection),
        cmocka_unit_test(survives_a_terminated_backend),
        cmocka_unit_test(rolls_back_to_a_savepoint_after_a_rejected_value),
        cmocka_unit_test(runs_scripts),
        cmocka_unit_test(serves_ten_tasks_with_two_connections),
        cmocka_unit_test(gives_up_waiting_for_a_connection),
        cmocka_unit_test(backs_off_while_nobody_listens),
        cmocka_unit_test(gives_up_connecting_to_a_silent_server),
        cmocka_unit_test(takes_a_role_and_a_server_time_out),
        cmocka_unit_test(refuses_what_is_no_url),
    };
    return RUN_TESTS(tests);
}
