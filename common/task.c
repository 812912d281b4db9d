/* Tasks are ucontext coroutines. A task that waits is in the heap of its loop's scheduler when
 * it has a deadline, and otherwise only known to the wake it waits for. A fired or overdue
 * task goes to the run queue, which an idle handle works off in the next turn of the loop: an
 * active idle handle makes libuv poll without blocking, and a stopped one costs nothing.
 *
 * The scheduler of a loop is made with its first task. Its two handles are closed by
 * task_run() or task_cleanup() once no task lives; until then they neither keep the loop alive
 * nor wake it.
 *
 * Rejected: hand-written context switches (swapcontext's two sigprocmask calls are about
 * 0.3 us a switch, far below any of the waits), one uv_timer_t in each task (it would have to
 * be closed, a turn of the loop later, before a stack could be used again). */
#include "common/task.h"

#include "common/clock.h"

#include <assert.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define WITH_ASAN 1
#include <dlfcn.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#else
#define WITH_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define WITH_TSAN 0
#endif

enum {
    STACKS_KEPT = 256,
    /* ASan's red zones and unshared frames need several times the room. */
    STACK_BYTES = WITH_ASAN || WITH_TSAN ? 4 * TASK_STACK_BYTES : TASK_STACK_BYTES,
    NOT_IN_HEAP = -1,
};

struct scheduler;

/* Lives at the upper end of its own stack's mapping. */
struct task {
    struct task *next; /* in the run queue, or among the kept stacks */
    struct scheduler *scheduler;
    const char *name;
    task_fn *fn;
    void *arg;
    ucontext_t context; /* of the task while it is set aside */
    ucontext_t caller;  /* of who resumed it */
    struct task *resumed_by;
    bool finished;
    struct wake *waits_for; /* NULL when it runs or is in the run queue */
    int heap_index;
    int64_t deadline_mono_ms;
    char *map;
    size_t map_bytes;
    char *stack;
    size_t stack_bytes;
    const void *caller_stack; /* the next two for ASan only */
    size_t caller_stack_bytes;
    void *fiber,
        *caller_fiber; /* for TSan only, which has to be told whose stack it looks at */
};

struct scheduler {
    struct scheduler *next;
    uv_loop_t *loop;
    uv_idle_t idle;
    uv_timer_t timer;
    struct task *ready, **ready_tail;
    struct task **heap; /* by deadline, the next one first */
    int heap_len, heap_cap;
    int live; /* tasks started and not finished */
    int open; /* handles not yet closed */
};

/* The one exception to "no state at file scope": task_inside() has no argument, and a context
 * switch happens to a thread, not to an object. */
static _Thread_local struct {
    struct task *current;
    struct scheduler *schedulers;
    struct task *kept;
    int kept_count;
} self;

/* ---- stacks ---- */

static struct task *stack_map(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = STACK_BYTES + page;
    char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        return NULL;
    }
    if (mprotect(map, page, PROT_NONE) < 0) {
        (void)munmap(map, bytes);
        return NULL;
    }
    size_t task_bytes = (sizeof(struct task) + 63) & ~(size_t)63;
    struct task *t = (struct task *)(void *)(map + bytes - task_bytes);
    t->map = map;
    t->map_bytes = bytes;
    t->stack = map + page;
    t->stack_bytes = STACK_BYTES - task_bytes;
#if WITH_ASAN
    __lsan_register_root_region(t->stack, STACK_BYTES);
#endif
    return t;
}

static void stack_unmap(struct task *t)
{
#if WITH_ASAN
    __lsan_unregister_root_region(t->stack, STACK_BYTES);
    __asan_unpoison_memory_region(t->stack, t->stack_bytes);
#endif
    (void)munmap(t->map, t->map_bytes);
}

static struct task *task_take(void)
{
    struct task *t = self.kept;
    if (t == NULL) {
        return stack_map();
    }
    self.kept = t->next;
    self.kept_count--;
#if WITH_ASAN
    /* The frames of the last user never returned, so their red zones are still marked. */
    __asan_unpoison_memory_region(t->stack, t->stack_bytes);
#endif
    return t;
}

static void task_keep(struct task *t)
{
    if (self.kept_count >= STACKS_KEPT) {
        stack_unmap(t);
        return;
    }
    t->next = self.kept;
    self.kept = t;
    self.kept_count++;
}

/* ---- switching ---- */

static void switch_begins(void **fake_stack, const void *bottom, size_t bytes)
{
#if WITH_ASAN
    __sanitizer_start_switch_fiber(fake_stack, bottom, bytes);
#else
    (void)fake_stack;
    (void)bottom;
    (void)bytes;
#endif
}

static void switch_ended(void *fake_stack, const void **from, size_t *from_bytes)
{
#if WITH_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, from, from_bytes);
#else
    (void)fake_stack;
    (void)from;
    (void)from_bytes;
#endif
}

/* TSan's side of a switch, right before it: inline, since what TSan records of a call must
 * begin and end on one stack. */
static inline __attribute__((always_inline)) void fiber_enter(struct task *t)
{
#if WITH_TSAN
    if (t->fiber == NULL) {
        t->fiber = __tsan_create_fiber(0);
    }
    t->caller_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(t->fiber, 0);
#else
    (void)t;
#endif
}

static inline __attribute__((always_inline)) void fiber_leave(struct task *t)
{
#if WITH_TSAN
    __tsan_switch_to_fiber(t->caller_fiber, 0);
#else
    (void)t;
#endif
}

static void fiber_end(struct task *t)
{
#if WITH_TSAN
    __tsan_destroy_fiber(t->fiber);
    t->fiber = NULL;
#else
    (void)t;
#endif
}

static void switch_context(ucontext_t *from, const ucontext_t *to)
{
#if WITH_ASAN
    /* ASan's own swapcontext says on stderr that it knows no stacks, and forgets what it knew
     * of both; ours are told. */
    static int (*swap)(ucontext_t *, const ucontext_t *);
    if (swap == NULL) {
        void *found = dlsym(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), "swapcontext");
        memcpy(&swap, &found, sizeof swap); /* ISO C has no cast from void * to a function */
    }
    (void)swap(from, to);
#else
    (void)swapcontext(from, to);
#endif
}

/* Run t until it waits or ends. */
static void task_resume(struct task *t)
{
    t->resumed_by = self.current;
    self.current = t;
    void *fake_stack = NULL;
    switch_begins(&fake_stack, t->stack, t->stack_bytes);
    fiber_enter(t);
    switch_context(&t->caller, &t->context);
    switch_ended(fake_stack, NULL, NULL);
    self.current = t->resumed_by;
    if (t->finished) {
        t->scheduler->live--;
        fiber_end(t);
        task_keep(t);
    }
}

/* Give the thread back to who resumed the task. */
static void task_suspend(struct task *t)
{
    void *fake_stack = NULL;
    switch_begins(&fake_stack, t->caller_stack, t->caller_stack_bytes);
    fiber_leave(t);
    switch_context(&t->context, &t->caller);
    switch_ended(fake_stack, &t->caller_stack, &t->caller_stack_bytes);
}

static void task_main(void)
{
    struct task *t = self.current;
    switch_ended(NULL, &t->caller_stack, &t->caller_stack_bytes);
    t->fn(t->arg);
    t->finished = true;
    switch_begins(NULL, t->caller_stack, t->caller_stack_bytes);
    fiber_leave(t);
    (void)setcontext(&t->caller);
    abort(); /* not reached */
}

/* A function of its own, never inlined: the compiler takes getcontext for a setjmp and would
 * distrust every variable around it. */
static __attribute__((noinline)) void context_make(struct task *t)
{
    (void)getcontext(&t->context);
    t->context.uc_stack.ss_sp = t->stack;
    t->context.uc_stack.ss_size = t->stack_bytes;
    t->context.uc_link = NULL;
    makecontext(&t->context, task_main, 0);
}

/* ---- the heap of deadlines ---- */

static void heap_put(struct scheduler *s, int i, struct task *t)
{
    s->heap[i] = t;
    t->heap_index = i;
}

static void heap_up(struct scheduler *s, int i)
{
    struct task *t = s->heap[i];
    while (i > 0) {
        int parent = (i - 1) / 2;
        if (s->heap[parent]->deadline_mono_ms <= t->deadline_mono_ms) {
            break;
        }
        heap_put(s, i, s->heap[parent]);
        i = parent;
    }
    heap_put(s, i, t);
}

static void heap_down(struct scheduler *s, int i)
{
    struct task *t = s->heap[i];
    for (;;) {
        int child = 2 * i + 1;
        if (child >= s->heap_len) {
            break;
        }
        if (child + 1 < s->heap_len &&
            s->heap[child + 1]->deadline_mono_ms < s->heap[child]->deadline_mono_ms) {
            child++;
        }
        if (s->heap[child]->deadline_mono_ms >= t->deadline_mono_ms) {
            break;
        }
        heap_put(s, i, s->heap[child]);
        i = child;
    }
    heap_put(s, i, t);
}

static void heap_remove(struct task *t)
{
    struct scheduler *s = t->scheduler;
    int i = t->heap_index;
    if (i == NOT_IN_HEAP) {
        return;
    }
    t->heap_index = NOT_IN_HEAP;
    struct task *last = s->heap[--s->heap_len];
    if (last != t) {
        heap_put(s, i, last);
        heap_up(s, i);
        heap_down(s, last->heap_index);
    }
}

#ifndef __clang__
/* gcc 12 loses sight of the heap once its scheduler is in a thread-local list. */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

/* Room for every live task, so that a wait itself cannot run out of memory. */
static int heap_reserve(struct scheduler *s)
{
    if (s->live < s->heap_cap) {
        return 0;
    }
    int cap = s->heap_cap == 0 ? 64 : s->heap_cap * 2;
    struct task **heap = realloc(s->heap, (size_t)cap * sizeof(struct task *));
    if (heap == NULL) {
        return -1;
    }
    s->heap = heap;
    s->heap_cap = cap;
    return 0;
}

/* ---- the scheduler of a loop ---- */

static void on_timer(uv_timer_t *timer);

static void timer_arm(struct scheduler *s)
{
    if (s->heap_len == 0) {
        (void)uv_timer_stop(&s->timer);
        return;
    }
    /* uv_now() is CLOCK_MONOTONIC too, as of the start of the turn. */
    int64_t wait_ms = s->heap[0]->deadline_mono_ms - (int64_t)uv_now(s->loop);
    (void)uv_timer_start(&s->timer, on_timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

static void on_idle(uv_idle_t *idle)
{
    struct scheduler *s = idle->data;
    struct task *t = s->ready;
    s->ready = NULL;
    s->ready_tail = &s->ready;
    while (t != NULL) {
        struct task *next = t->next;
        task_resume(t);
        t = next;
    }
    if (s->ready == NULL) {
        (void)uv_idle_stop(&s->idle);
    }
}

static void task_make_ready(struct task *t)
{
    struct scheduler *s = t->scheduler;
    t->next = NULL;
    *s->ready_tail = t;
    s->ready_tail = &t->next;
    (void)uv_idle_start(&s->idle, on_idle);
}

static void on_timer(uv_timer_t *timer)
{
    struct scheduler *s = timer->data;
    int64_t now = clock_mono_ms();
    while (s->heap_len > 0 && s->heap[0]->deadline_mono_ms <= now) {
        struct task *t = s->heap[0];
        heap_remove(t);
        t->waits_for->waiter = NULL;
        t->waits_for = NULL;
        task_make_ready(t);
    }
    timer_arm(s);
}

static struct scheduler *scheduler_of(uv_loop_t *loop)
{
    for (struct scheduler *s = self.schedulers; s != NULL; s = s->next) {
        if (s->loop == loop) {
            return s;
        }
    }
    struct scheduler *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->loop = loop;
    s->ready_tail = &s->ready;
    (void)uv_idle_init(loop, &s->idle); /* these two always succeed */
    (void)uv_timer_init(loop, &s->timer);
    s->open = 2;
    s->idle.data = s;
    s->timer.data = s;
    s->next = self.schedulers;
    self.schedulers = s;
    return s;
}

static void on_closed(uv_handle_t *handle)
{
    struct scheduler *s = handle->data;
    s->open--;
}

/* Close the handles of a scheduler without tasks; the loop has to turn for that. */
static void scheduler_close(struct scheduler *s)
{
    struct scheduler **link = &self.schedulers;
    while (*link != s) {
        link = &(*link)->next;
    }
    *link = s->next;
    uv_close((uv_handle_t *)&s->idle, on_closed);
    uv_close((uv_handle_t *)&s->timer, on_closed);
    while (s->open > 0) {
        (void)uv_run(s->loop, UV_RUN_NOWAIT);
    }
    free(s->heap);
    free(s);
}

/* ---- what the header promises ---- */

int task_start(uv_loop_t *loop, const char *name, task_fn *fn, void *arg, struct err *err)
{
    struct scheduler *s = scheduler_of(loop);
    struct task *t = NULL;
    if (s != NULL && heap_reserve(s) == 0) {
        t = task_take();
    }
    if (t == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for task '%s'", name);
        return -1;
    }
    t->next = NULL;
    t->scheduler = s;
    t->name = name;
    t->fn = fn;
    t->arg = arg;
    t->finished = false;
    t->waits_for = NULL;
    t->heap_index = NOT_IN_HEAP;
    context_make(t);
    s->live++;
    task_resume(t);
    return 0;
}

bool task_inside(void)
{
    return self.current != NULL;
}

uv_loop_t *task_loop(void)
{
    assert(self.current != NULL);
    return self.current->scheduler->loop;
}

int wake_wait(struct wake *w, int64_t deadline_mono_ms, struct err *err)
{
    struct task *t = self.current;
    assert(t != NULL && w->waiter == NULL);
    if (w->fired) {
        return 0;
    }
    struct scheduler *s = t->scheduler;
    w->waiter = t;
    t->waits_for = w;
    t->deadline_mono_ms = deadline_mono_ms;
    if (deadline_mono_ms != INT64_MAX) {
        s->heap[s->heap_len] = t;
        heap_up(s, s->heap_len++);
        if (t->heap_index == 0) {
            timer_arm(s);
        }
    }
    task_suspend(t);
    if (!w->fired) {
        err_set(err, ERR_TIMEOUT, "task '%s' waited until its deadline", t->name);
        return -1;
    }
    return 0;
}

void wake_fire(struct wake *w)
{
    struct task *t = w->waiter;
    w->fired = true;
    w->waiter = NULL;
    if (t == NULL) {
        return;
    }
    t->waits_for = NULL;
    if (t->heap_index != NOT_IN_HEAP) {
        heap_remove(t);
        /* A timer left armed too early costs one turn; only an empty heap must stop it, or
         * it would keep the loop alive. */
        if (t->scheduler->heap_len == 0) {
            timer_arm(t->scheduler);
        }
    }
    task_make_ready(t);
}

void wake_reset(struct wake *w)
{
    assert(w->waiter == NULL);
    w->fired = false;
}

void task_sleep_ms(int64_t ms)
{
    struct wake never = {0};
    int64_t now = clock_mono_ms();
    if (wake_wait(&never, ms > 0 ? now + ms : now, NULL) == 0) {
        abort(); /* nobody else knows of it */
    }
}

struct run {
    task_fn *fn;
    void *arg;
    bool done;
};

static void run_main(void *arg)
{
    struct run *run = arg;
    run->fn(run->arg);
    run->done = true;
}

int task_run(uv_loop_t *loop, task_fn *fn, void *arg, struct err *err)
{
    assert(!task_inside());
    struct run run = {.fn = fn, .arg = arg};
    if (task_start(loop, "run", run_main, &run, err) < 0) {
        return -1;
    }
    while (!run.done) {
        if (uv_run(loop, UV_RUN_ONCE) == 0 && !run.done) {
            /* Its stack still points at run: no way on from here but to end. */
            (void)fprintf(stderr, "task waits for something that nothing can bring\n");
            abort();
        }
    }
    struct scheduler *s = scheduler_of(loop);
    if (s != NULL && s->live == 0) {
        scheduler_close(s);
    }
    return 0;
}

void task_cleanup(void)
{
    struct scheduler *s = self.schedulers;
    while (s != NULL) {
        if (s->live == 0) {
            scheduler_close(s);
            s = self.schedulers; /* closing runs the loop, which may change the list */
        } else {
            s = s->next;
        }
    }
    while (self.kept != NULL) {
        struct task *t = self.kept;
        self.kept = t->next;
        stack_unmap(t);
    }
    self.kept_count = 0;
}
