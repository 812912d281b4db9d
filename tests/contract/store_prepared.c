/* Statements that come again: prepared where the session is ours, not behind a pooler (said by
 * PIVOTAL_SYNC_TEST_POOLED). */
#include "tests/contract/store_rig.h"

/* Does a pooler stand between, as the test says who runs this? */
static bool pooled(void)
{
    return getenv("PIVOTAL_SYNC_TEST_POOLED") != NULL;
}

static const char plus_one[] = "SELECT 1 + $1::int AS plus_one";
static const char is_plus_one_prepared[] =
    "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%plus_one'";

static void plus_one_times(struct fixture *f, int times)
{
    for (int i = 0; i < times; i++) {
        CLEANUP(params_freep)
        struct params *p = params_new();
        CLEANUP(rows_freep)
        struct rows *r = NULL;
        params_int(p, i);
        ok(f, store_query(f->store, plus_one, p, &r, &f->err));
        assert_int_equal(rows_int(r, 0, 0), i + 1);
    }
}

static void plus_one_send(struct fixture *f, struct store_tx *tx, int v, struct rows **out)
{
    CLEANUP(params_freep)
    struct params *p = params_new();
    params_int(p, v);
    ok(f, store_send(tx, plus_one, p, out, &f->err));
}

static void repeated_body(struct fixture *f)
{
    plus_one_times(f, 2);
    assert_int_equal(number(f, is_plus_one_prepared), 0);
    plus_one_times(f, 10);
    assert_int_equal(number(f, is_plus_one_prepared), pooled() ? 0 : 1);
    /* Values of another type than those it was prepared for. */
    for (int i = 0; i < 5; i++) {
        CLEANUP(params_freep)
        struct params *p = params_new();
        CLEANUP(rows_freep)
        struct rows *r = NULL;
        if (i == 4) {
            params_bytea(p, "a", 1);
        } else {
            params_text(p, "a");
        }
        ok(f, store_query(f->store, "SELECT $1::text", p, &r, &f->err));
        assert_string_equal(rows_text(r, 0, 0), i == 4 ? "\\x61" : "a");
    }
}

/* Enough to have all plans made anew several times, in pipelines. */
static void many_body(struct fixture *f)
{
    enum { TIMES = 150 };
    for (int round = 0; round < 3; round++) {
        struct rows *r[TIMES] = {0};
        struct store_tx *tx = store_begin(f->store, &f->err);
        for (int i = 0; i < TIMES; i++) {
            plus_one_send(f, tx, i, &r[i]);
        }
        ok(f, store_commit(tx, &f->err));
        for (int i = 0; i < TIMES; i++) {
            assert_int_equal(rows_int(r[i], 0, 0), i + 1);
            rows_free(r[i]);
        }
    }
}

static void prepares_what_comes_again_on_a_session_of_its_own(void **state)
{
    (void)state;
    with_store(1, repeated_body);
    with_store(1, many_body);
}

/* Prepares sql on both connections of a pool. */
static void on_both(struct fixture *f, const char *sql)
{
    struct store_tx *tx = store_begin(f->store, &f->err);
    for (int i = 0; i < 5; i++) {
        ok(f, store_send(tx, sql, NULL, NULL, &f->err));
        query(f, sql);
    }
    ok(f, store_commit(tx, &f->err));
}

/* What breaks a prepared statement from outside says that all is to be repeated, once. */
static void repeatable(struct fixture *f, const char *sql, const char *breaks,
                       const char *sqlstate)
{
    on_both(f, sql);
    query(f, breaks);
    if (!pooled()) {
        assert_int_equal(store_query(f->store, sql, NULL, NULL, &f->err), -1);
        assert_string_equal(err_name(f->err.code), "ERR_CONFLICT");
        assert_string_equal(f->err.sqlstate, sqlstate);
    }
    on_both(f, sql);
}

static void broken_body(struct fixture *f)
{
    static const char all[] = "SELECT * FROM store_test_changed WHERE a > 0 ORDER BY a";
    query(f, "DROP TABLE IF EXISTS store_test_changed");
    query(f, "CREATE TABLE store_test_changed (a int)");
    repeatable(f, all, "ALTER TABLE store_test_changed ADD b int", "0A000");
    repeatable(f, all, "DEALLOCATE ALL", "26000");
    query(f, "DROP TABLE store_test_changed");
}

static void repeats_what_a_changed_table_or_session_broke(void **state)
{
    (void)state;
    with_store(2, broken_body);
}

static void rolled_back_body(struct fixture *f)
{
    struct rows *r = NULL;
    plus_one_times(f, 2);
    /* Prepared in a transaction that is rolled back: it stays prepared. */
    struct store_tx *tx = store_begin(f->store, &f->err);
    plus_one_send(f, tx, 5, &r);
    ok(f, store_sync(tx, &f->err));
    assert_int_equal(rows_int(r, 0, 0), 6);
    rows_free(r);
    store_abort(tx);
    plus_one_times(f, 3);
    assert_int_equal(number(f, is_plus_one_prepared), pooled() ? 0 : 1);
}

static void skipped_body(struct fixture *f)
{
    struct rows *r[2] = {0};
    plus_one_times(f, 2);
    /* Behind a failure in the pipeline it is not. */
    struct store_tx *tx = store_begin(f->store, &f->err);
    ok(f, store_send(tx, "SELECT 1/0", NULL, NULL, &f->err));
    plus_one_send(f, tx, 5, &r[0]);
    plus_one_send(f, tx, 6, &r[1]);
    assert_int_equal(store_sync(tx, &f->err), -1);
    assert_string_equal(f->err.sqlstate, "22012");
    assert_null(r[0]);
    assert_null(r[1]);
    store_abort(tx);
    assert_int_equal(number(f, is_plus_one_prepared), 0);
    plus_one_times(f, 3);
    assert_int_equal(number(f, is_plus_one_prepared), pooled() ? 0 : 1);
    /* A statement that cannot be prepared says why, each time. */
    for (int i = 0; i < 4; i++) {
        CLEANUP(params_freep)
        struct params *p = params_new();
        params_int(p, i);
        assert_int_equal(store_query(f->store, "SELECT nothing + $1", p, NULL, &f->err), -1);
        assert_string_equal(err_name(f->err.code), "ERR_INTERNAL");
        assert_string_equal(f->err.sqlstate, "42703");
    }
}

static void knows_what_a_failed_transaction_has_prepared(void **state)
{
    (void)state;
    with_store(1, rolled_back_body);
    with_store(1, skipped_body);
}

/* How often a statement for which the planner likes to know the value was planned for one. */
static int64_t planned_for_a_value(struct fixture *f)
{
    for (int i = 0; i < 10; i++) {
        CLEANUP(params_freep) struct params *p = params_new();
        params_int(p, i);
        ok(f, store_query(f->store, "SELECT count(*) FROM generate_series(1, $1::int) AS up", p,
                          NULL, &f->err));
    }
    return number(f, "SELECT coalesce(sum(custom_plans), 0) FROM pg_prepared_statements"
                     " WHERE statement LIKE '%AS up'");
}

static void generic_body(struct fixture *f)
{
    struct store *own = f->store;
    struct store_options o = f->options;
    o.generic_plans = true;
    int64_t without = planned_for_a_value(f);
    f->store = store_new(&f->loop, &o, &f->err);
    assert_non_null(f->store);
    int64_t with = planned_for_a_value(f);
    store_free(f->store);
    f->store = own;
    assert_int_equal(with, 0);
    assert_true(pooled() || without > 0);
}

static void plans_once_for_all_values_where_asked_to(void **state)
{
    (void)state;
    with_store(1, generic_body);
}

int main(void)
{
    if (getenv("PIVOTAL_SYNC_TEST_DATABASE_URL") == NULL) {
        puts("1..0 # SKIP PIVOTAL_SYNC_TEST_DATABASE_URL is not set");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prepares_what_comes_again_on_a_session_of_its_own),
        cmocka_unit_test(repeats_what_a_changed_table_or_session_broke),
        cmocka_unit_test(knows_what_a_failed_transaction_has_prepared),
        cmocka_unit_test(plans_once_for_all_values_where_asked_to),
    };
    return RUN_TESTS(tests);
}
