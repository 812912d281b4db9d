#include "common/task.h"

#include "common/clock.h"
#include "tests/unit/test.h"

static void note(void *arg)
{
    *(int *)arg += 1;
}

static void runs_a_task_to_its_end(void **state)
{
    (void)state;
    struct err err = {0};
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    int n = 0;
    assert_int_equal(task_run(&loop, note, &n, &err), 0);
    assert_int_equal(n, 1);
    assert_false(task_inside());
    assert_int_equal(uv_loop_close(&loop), 0);
}

struct pair {
    struct wake wake;
    uv_timer_t timer;
    char trail[64];
    int result;
    int64_t took_ms;
    int64_t wait_ms;
    struct err err;
};

static void add(struct pair *p, char c)
{
    size_t n = strlen(p->trail);
    p->trail[n] = c;
    p->trail[n + 1] = '\0';
}

static void on_fire(uv_timer_t *timer)
{
    struct pair *p = timer->data;
    add(p, '2');
    wake_fire(&p->wake);
    add(p, '3');
    uv_close((uv_handle_t *)timer, NULL);
}

static void waits_for_a_timer(void *arg)
{
    struct pair *p = arg;
    assert_true(task_inside());
    assert_int_equal(uv_timer_init(task_loop(), &p->timer), 0);
    p->timer.data = p;
    assert_int_equal(uv_timer_start(&p->timer, on_fire, 1, 0), 0);
    add(p, '1');
    p->result = wake_wait(&p->wake, INT64_MAX, &p->err);
    add(p, '4');
}

static void a_fired_wake_resumes_its_task_in_a_later_turn(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct pair p = {.result = -2};
    assert_int_equal(task_run(&loop, waits_for_a_timer, &p, &p.err), 0);
    assert_string_equal(p.trail, "1234");
    assert_int_equal(p.result, 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void waits_until_its_deadline(void *arg)
{
    struct pair *p = arg;
    int64_t start = clock_mono_ms();
    p->result = wake_wait(&p->wake, start + p->wait_ms, &p->err);
    p->took_ms = clock_mono_ms() - start;
}

static void a_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct pair p = {.wait_ms = 20};
    assert_int_equal(task_run(&loop, waits_until_its_deadline, &p, &p.err), 0);
    assert_int_equal(p.result, -1);
    assert_int_equal(p.err.code, ERR_TIMEOUT);
    assert_true(p.took_ms >= 20);
    assert_null(p.wake.waiter);
    wake_fire(&p.wake); /* too late: harms nobody */
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_wake_fired_before_the_wait_does_not_suspend(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct pair p = {.wait_ms = 60 * 1000, .result = -2};
    wake_fire(&p.wake);
    assert_int_equal(task_run(&loop, waits_until_its_deadline, &p, &p.err), 0);
    assert_int_equal(p.result, 0);
    assert_true(p.took_ms < 1000);
    assert_int_equal(uv_loop_close(&loop), 0);
}

enum { MANY = 300 };

struct sleepers {
    int order[MANY];
    int woken, started;
    int64_t base_mono_ms;
};

struct sleeper {
    struct sleepers *all;
    int ms;
};

static void sleep_then_note(void *arg)
{
    struct sleeper *s = arg;
    char room[16 * 1024]; /* stacks are really there */
    memset(room, s->ms & 0x7f, sizeof room);
    s->all->started++;
    struct wake never = {0};
    assert_int_equal(wake_wait(&never, s->all->base_mono_ms + s->ms, NULL), -1);
    assert_int_equal(room[sizeof room - 1], s->ms & 0x7f);
    s->all->order[s->all->woken++] = s->ms;
}

static void many_sleepers_wake_in_order_of_their_deadlines(void **state)
{
    (void)state;
    struct err err = {0};
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct sleepers all = {.base_mono_ms = clock_mono_ms() + 20};
    struct sleeper each[MANY];
    for (int i = 0; i < MANY; i++) {
        each[i] = (struct sleeper){&all, (i * 7919) % 50};
        assert_int_equal(task_start(&loop, "sleeper", sleep_then_note, &each[i], &err), 0);
    }
    assert_int_equal(all.started, MANY);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(all.woken, MANY);
    int misplaced = 0;
    for (int i = 1; i < MANY; i++) {
        misplaced += all.order[i] < all.order[i - 1];
    }
    assert_int_equal(misplaced, 0);
    task_cleanup();
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void start_another(void *arg)
{
    struct pair *p = arg;
    struct err err = {0};
    add(p, 'a');
    assert_int_equal(task_start(task_loop(), "inner", waits_until_its_deadline, p, &err), 0);
    add(p, 'b');
    assert_true(task_inside());
    wake_fire(&p->wake);
    struct wake never = {0};
    assert_int_equal(wake_wait(&never, clock_mono_ms() + 5, &err), -1);
    add(p, 'c');
}

static void a_task_may_start_and_wake_another(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct pair p = {.wait_ms = 60 * 1000, .result = -2};
    assert_int_equal(task_run(&loop, start_another, &p, &p.err), 0);
    assert_string_equal(p.trail, "abc");
    assert_int_equal(p.result, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void wait_for_ever(void *arg)
{
    struct wake *w = arg;
    struct err err = {0};
    assert_int_equal(wake_wait(w, INT64_MAX, &err), 0);
}

static void a_task_without_deadline_does_not_keep_the_loop_alive(void **state)
{
    (void)state;
    struct err err = {0};
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct wake w = {0};
    assert_int_equal(task_start(&loop, "waits", wait_for_ever, &w, &err), 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    wake_fire(&w);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_null(w.waiter);
    task_cleanup();
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void count_turn(uv_prepare_t *prepare)
{
    *(int *)prepare->data += 1;
}

static void nothing_spins_while_a_task_sleeps(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    int turns = 0;
    uv_prepare_t prepare;
    assert_int_equal(uv_prepare_init(&loop, &prepare), 0);
    prepare.data = &turns;
    assert_int_equal(uv_prepare_start(&prepare, count_turn), 0);
    struct pair p = {.wait_ms = 50};
    assert_int_equal(task_run(&loop, waits_until_its_deadline, &p, &p.err), 0);
    assert_true(turns < 10);
    uv_close((uv_handle_t *)&prepare, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_a_task_to_its_end),
        cmocka_unit_test(a_fired_wake_resumes_its_task_in_a_later_turn),
        cmocka_unit_test(a_wait_ends_at_its_deadline),
        cmocka_unit_test(a_wake_fired_before_the_wait_does_not_suspend),
        cmocka_unit_test(many_sleepers_wake_in_order_of_their_deadlines),
        cmocka_unit_test(a_task_may_start_and_wake_another),
        cmocka_unit_test(a_task_without_deadline_does_not_keep_the_loop_alive),
        cmocka_unit_test(nothing_spins_while_a_task_sleeps),
    };
    int failed = RUN_TESTS(tests);
    task_cleanup();
    return failed;
}
