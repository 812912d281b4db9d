/* Tasks: straight-line code on one libuv loop.
 *
 * A task is a function with a stack of its own (ucontext). Where it has to wait - for Redis,
 * PostgreSQL, a provider, a timer - it is set aside and the loop goes on; the callback that
 * brings the answer fires its wake. So drivers are asynchronous and everything above them
 * reads from top to bottom. Rejected: callbacks all the way (the save of a batch has a dozen
 * waits in loops), threads (locks everywhere, and libpq calls would not end by deadline).
 *
 * There is one thread; nothing else runs between two waits of a task. */
#ifndef COMMON_TASK_H
#define COMMON_TASK_H

#include "common/compiler.h"
#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum { TASK_STACK_BYTES = 256 * 1024 }; /* mapped, touched as used, guard page below */

typedef void task_fn(void *arg);

/**
 * Start a task on the loop; it first runs within this call until its first wait.
 * Stacks are reused. name (lent, static) is for logs.
 * Returns 0, or -1 with err set (ERR_NOMEM).
 */
int task_start(uv_loop_t *loop, const char *name, task_fn *fn, void *arg, struct err *err)
    MUST_USE;

/** True inside a task. */
bool task_inside(void);
/** The loop of the task that runs. Only inside a task. */
uv_loop_t *task_loop(void);

/* What one task waits for. May be fired before anybody waits. Lives on the waiter's stack or
 * in its object; zero-initialise it. Used once; wake_reset() makes it new. */
struct wake {
    struct task *waiter;
    bool fired;
};

/**
 * Wait until w is fired or deadline_mono_ms (clock_mono_ms; INT64_MAX = for ever) is past.
 * Returns 0 when fired, -1 with ERR_TIMEOUT. Only inside a task.
 */
int wake_wait(struct wake *w, int64_t deadline_mono_ms, struct err *err) MUST_USE;

/** Fire: the waiter goes on in the next turn of the loop (never inside this call). */
void wake_fire(struct wake *w);
void wake_reset(struct wake *w);

/** Let at least ms pass; other tasks run. Only inside a task. */
void task_sleep_ms(int64_t ms);

/** Run fn as a task and the loop until fn has returned (for main() of commands and tests). A
 * wait that nothing on the loop can end any more aborts the program. When no other task lives
 * afterwards, the loop is free of our handles. */
int task_run(uv_loop_t *loop, task_fn *fn, void *arg, struct err *err) MUST_USE;

/** Free cached stacks and close our handles on loops without tasks, turning those loops once.
 * At exit, before uv_loop_close(), which else says UV_EBUSY where task_start() was used. */
void task_cleanup(void);

#endif
