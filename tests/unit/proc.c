#include "common/proc.h"

#include "tests/unit/test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct seen {
    int drains, reloads;
};

static void on_drain(void *arg)
{
    ((struct seen *)arg)->drains++;
}

static void on_reload(void *arg)
{
    ((struct seen *)arg)->reloads++;
}

static void on_limit(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("the loop waited too long");
}

/* Turn the loop until *count is wanted; a deadline keeps it from hanging. */
static void turn_until(uv_loop_t *loop, const int *count, int wanted)
{
    uv_timer_t limit;
    assert_int_equal(uv_timer_init(loop, &limit), 0);
    assert_int_equal(uv_timer_start(&limit, on_limit, 5000, 0), 0);
    while (*count != wanted) {
        (void)uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&limit, NULL);
    (void)uv_run(loop, UV_RUN_NOWAIT);
}

static void a_signal_drains_and_a_hangup_reloads(void **state)
{
    (void)state;
    struct err err = {0};
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct seen seen = {0};
    const struct proc_options o = {.arg = &seen, .drain = on_drain, .reload = on_reload};
    struct proc *p = proc_new(&loop, &o, &err);
    assert_non_null(p);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* keeps no loop alive */
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    turn_until(&loop, &seen.reloads, 1);
    assert_false(proc_draining(p));
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    turn_until(&loop, &seen.drains, 1);
    assert_true(proc_draining(p));
    proc_drain(p);
    assert_int_equal(seen.drains, 1);
    proc_free(p);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void never_ends(void *arg)
{
    (void)arg;
    (void)kill(getpid(), SIGINT);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

/* Exit status of a child that drains by fn, with a limit. */
static int status_of_child(void (*fn)(void *), int64_t drain_max_ms)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct err err = {0};
        uv_loop_t loop;
        uv_idle_t idle;
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(2);
        }
        (void)alarm(10);
        (void)uv_loop_init(&loop);
        (void)uv_idle_init(&loop, &idle);
        (void)uv_idle_start(&idle, on_idle);
        const struct proc_options o = {.drain = fn, .drain_max_ms = drain_max_ms};
        struct proc *p = proc_new(&loop, &o, &err);
        if (p != NULL) {
            proc_drain(p);
            (void)uv_run(&loop, UV_RUN_DEFAULT);
        }
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

static void the_second_signal_and_the_limit_end_the_program(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(never_ends, 0), 128 + SIGINT);
    assert_int_equal(status_of_child(do_nothing, 10), 128 + SIGTERM);
}

static void tells_systemd_what_it_does(void **state)
{
    (void)state;
    char path[] = "/tmp/notify.XXXXXX";
    assert_non_null(mkdtemp(path));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
    proc_notify_ready();
    proc_notify_status("%d waiting\nREADY=0", 7);
    char text[256];
    ssize_t n = recv(fd, text, sizeof text, 0);
    assert_int_equal(n, 7);
    assert_memory_equal(text, "READY=1", 7);
    n = recv(fd, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(text, "STATUS=7 waiting READY=0");

    assert_int_equal(setenv("WATCHDOG_USEC", "4000", 1), 0);
    struct err err = {0};
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    const struct proc_options o = {.drain = do_nothing};
    struct proc *p = proc_new(&loop, &o, &err);
    assert_non_null(p);
    uv_idle_t idle;
    assert_int_equal(uv_idle_init(&loop, &idle), 0);
    assert_int_equal(uv_idle_start(&idle, on_idle), 0);
    n = -1;
    for (int64_t end = (int64_t)uv_hrtime() + 5000000000; n < 0;) {
        (void)uv_run(&loop, UV_RUN_ONCE);
        n = recv(fd, text, sizeof text, MSG_DONTWAIT);
        assert_true((int64_t)uv_hrtime() < end);
    }
    assert_memory_equal(text, "WATCHDOG=1", 10);
    uv_close((uv_handle_t *)&idle, NULL);
    proc_free(p);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)unsetenv("WATCHDOG_USEC");
    assert_int_equal(setenv("NOTIFY_SOCKET", "/nowhere/s", 1), 0);
    assert_int_equal(proc_notify("READY=1"), -1);
    (void)unsetenv("NOTIFY_SOCKET");
    assert_int_equal(proc_notify("READY=1"), 0);
    (void)close(fd);
    (void)unlink(address.sun_path);
    (void)rmdir(path);
}

static void knows_when_the_parent_is_another(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int64_t parent = getppid();
        int ok = proc_die_with_parent(parent) == 0 && proc_die_with_parent(parent + 1) < 0;
        proc_protect_memory();
        struct rlimit core;
        ok = ok && getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0;
        ok = ok && proc_open_files(16) >= 16;
        _exit(ok ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_drains_and_a_hangup_reloads),
        cmocka_unit_test(the_second_signal_and_the_limit_end_the_program),
        cmocka_unit_test(tells_systemd_what_it_does),
        cmocka_unit_test(knows_when_the_parent_is_another),
    };
    return RUN_TESTS(tests);
}
