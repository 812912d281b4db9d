/* Memory that runs out at each allocation in turn (tests/nomem.h) while a task uses what the
 * contract suites promise: nothing crashes, nothing leaks, what fails says so and does not
 * blame a setting, and the same call succeeds as soon as there is memory again.
 *
 * Every n is tried with CHAOS set, else about MOST of them. */
#ifndef TESTS_CONTRACT_NOMEM_RIG_H
#define TESTS_CONTRACT_NOMEM_RIG_H

#include "common/clock.h"
#include "common/err.h"
#include "common/task.h"
#include "tests/nomem.h"
#include "tests/unit/in_task.h"

#include <stdio.h>
#include <uv.h>

enum { DEADLINE_MS = 20000, MOST = 30, TIMEOUT_MS = 1000 };

static struct {
    uv_loop_t loop;
    struct err err;
    bool failed; /* a call said that it failed */
    bool wrong;  /* what a test found */
    char what[ERR_MSG_MAX_BYTES + 208];
    long codes[32]; /* of calls that failed, by err code */
} pass;

static inline void wrong(const char *what)
{
    if (!pass.wrong) {
        pass.wrong = true;
        (void)snprintf(pass.what, sizeof pass.what, "%.200s: %.511s", what,
                       pass.err.code != ERR_NONE ? pass.err.msg : "no error");
    }
}

/* What a call answered. When it failed it has to say so, memory has to be why, and then the
 * same call has to succeed: true = again. */
static inline bool again(int rc, int64_t from_ms, const char *what)
{
    if (rc == 0 || pass.wrong) {
        return false;
    }
    pass.failed = true;
    pass.codes[pass.err.code]++;
    if (pass.err.code == ERR_NONE || pass.err.code == ERR_INTERNAL ||
        pass.err.code == ERR_CONFIG || nomem_fails_at > 0 ||
        clock_mono_ms() - from_ms > DEADLINE_MS) {
        wrong(what);
        return false;
    }
    pass.err = (struct err){0};
    task_sleep_ms(2); /* it may be connecting again */
    return true;
}

#define CALL(call)                                                                             \
    do {                                                                                       \
        int64_t call_from_ms = clock_mono_ms();                                                \
        while (again((call), call_from_ms, #call)) {                                           \
        }                                                                                      \
    } while (0)
#define MUST(cond)                                                                             \
    do {                                                                                       \
        if (!(cond)) {                                                                         \
            wrong(#cond);                                                                      \
        }                                                                                      \
    } while (0)

/* A pass on a loop of its own; libuv's part of it does not fail. True: nothing failed. */
static inline bool in_loop(task_fn *fn)
{
    struct err err = {0};
    in_task_check();
    pass.failed = pass.wrong = false;
    pass.err = (struct err){0};
    long kept = nomem_pause();
    assert_int_equal(uv_loop_init(&pass.loop), 0);
    nomem_go_on(kept);
    int rc = task_run(&pass.loop, fn, NULL, &err);
    (void)uv_run(&pass.loop, UV_RUN_DEFAULT);
    task_cleanup();
    assert_int_equal(uv_loop_close(&pass.loop), 0);
    assert_true(rc == 0 || err.code == ERR_NOMEM);
    if (pass.wrong) {
        (void)nomem_pause();
        nomem_tell();
        fail_msg("%s", pass.what);
    }
    return rc == 0 && !pass.failed;
}

/* A service that `make test` starts: without it nothing can run out of memory beside it. */
static inline void needs(const char *variable)
{
    if (getenv(variable) == NULL) {
        print_message("%s is not set\n", variable);
        skip();
    }
}

static inline void over_all(const char *what, bool (*fn)(void))
{
    (void)memset(pass.codes, 0, sizeof pass.codes);
    struct nomem_count c = nomem_until_it_passes(fn, getenv("CHAOS") != NULL ? 0 : MOST);
    print_message("# %s: %ld passes with a failure, of %ld allocations; said", what, c.passes,
                  c.all);
    for (size_t i = 0; i < COUNT_OF(pass.codes); i++) {
        if (pass.codes[i] > 0) {
            print_message(" %s %ld", err_name((enum err_code)i), pass.codes[i]);
        }
    }
    print_message("\n");
}

#endif
