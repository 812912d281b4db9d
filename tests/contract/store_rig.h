/* A store on the server of PIVOTAL_SYNC_TEST_DATABASE_URL, and a task that uses it. */
#ifndef TESTS_CONTRACT_STORE_RIG_H
#define TESTS_CONTRACT_STORE_RIG_H

#include "common/store.h"
#include "common/task.h"
#include "tests/unit/in_task.h"
#include "tests/unit/test.h"

#include <stdlib.h>

struct fixture {
    uv_loop_t loop;
    struct store *store;
    struct store_options options;
    void (*body)(struct fixture *f);
    struct err err;
    int done;
    int open, open_max; /* transactions at once */
};

static inline void body_task(void *arg)
{
    struct fixture *f = arg;
    f->body(f);
}

/* Run body in a task with a store of max connections. */
static inline void with_store_at(const char *url, int max, int statement_timeout_ms,
                                 void (*body)(struct fixture *f))
{
    in_task_check();
    assert_non_null(url); /* main has looked */
    struct fixture f = {.body = body};
    f.options = (struct store_options){.url = url,
                                       .application_name = "store-test",
                                       .max_connections = max,
                                       .connect_timeout_ms = 2000,
                                       .statement_timeout_ms = statement_timeout_ms,
                                       .pool_timeout_ms = 5000};
    assert_int_equal(uv_loop_init(&f.loop), 0);
    f.store = store_new(&f.loop, &f.options, &f.err);
    assert_non_null(f.store);
    assert_int_equal(task_run(&f.loop, body_task, &f, &f.err), 0);
    store_free(f.store);
    (void)uv_run(&f.loop, UV_RUN_DEFAULT);
    task_cleanup();
    assert_int_equal(uv_loop_close(&f.loop), 0);
}

static inline void with_store(int max, void (*body)(struct fixture *f))
{
    with_store_at(getenv("PIVOTAL_SYNC_TEST_DATABASE_URL"), max, 3000, body);
}

static inline void ok(struct fixture *f, int rc)
{
    if (rc != 0) {
        fail_msg("%s: %s", err_name(f->err.code), f->err.msg);
    }
}

static inline void query(struct fixture *f, const char *sql)
{
    ok(f, store_query(f->store, sql, NULL, NULL, &f->err));
}

static inline int64_t number(struct fixture *f, const char *sql)
{
    CLEANUP(rows_freep)
    struct rows *r = NULL;
    ok(f, store_query(f->store, sql, NULL, &r, &f->err));
    assert_int_equal(rows_count(r), 1);
    return rows_int(r, 0, 0);
}

#endif
