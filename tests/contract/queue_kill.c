/* What was acknowledged survives kill -9 of Redis, and the queue finds its way back. Starts a
 * redis-server of its own with the settings that the gateway asks for. */
#include "tests/contract/queue_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PUTTERS = 16, UNITS_MAX = 1000000, KILLS = 3 };

struct crash {
    struct rig rig;
    char dir[64], socket[96], url[128];
    pid_t server;
    struct wake all_ended;
    int running, next, acknowledged, refused, wrong_code, lost;
    int64_t left;
    bool stop;
    unsigned char *is_acknowledged;
};

/* False when there is no redis-server. */
static bool server_start(struct crash *k)
{
    k->server = fork();
    if (k->server == 0) {
        int null = open("/dev/null", O_WRONLY);
        (void)dup2(null, STDOUT_FILENO);
        (void)execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", k->socket,
                     "--dir", k->dir, "--appendonly", "yes", "--appendfsync", "always",
                     "--save", "", (char *)NULL);
        _exit(127);
    }
    int64_t until = clock_mono_ms() + 10000;
    while (k->server > 0 && clock_mono_ms() < until) {
        int status = 0;
        if (waitpid(k->server, &status, WNOHANG) == k->server) {
            k->server = -1;
            return false;
        }
        redisContext *c = redisConnectUnix(k->socket);
        bool up = c != NULL && c->err == 0;
        redisFree(c);
        if (up) {
            return true;
        }
        (void)usleep(10000);
    }
    return false;
}

static void server_kill(struct crash *k)
{
    if (k->server > 0) {
        (void)kill(k->server, SIGKILL);
        (void)waitpid(k->server, NULL, 0);
    }
    (void)unlink(k->socket); /* a dead server's socket would answer "refused" anyway */
}

static void putter(void *arg)
{
    struct crash *k = arg;
    while (!k->stop && k->next < UNITS_MAX) {
        struct err err = {0};
        char id[16];
        int i = k->next++;
        (void)snprintf(id, sizeof id, "%d", i);
        struct unit_put u = rig_unit(7, "company", id, LANE_WEBHOOK);
        if (queue_put(k->rig.q, &u, 1, &err) == 0) {
            k->is_acknowledged[i] = 1;
            k->acknowledged++;
        } else {
            k->refused++;
            k->wrong_code += err.code != ERR_UNAVAILABLE && err.code != ERR_TIMEOUT;
            task_sleep_ms(20);
        }
    }
    if (--k->running == 0) {
        wake_fire(&k->all_ended);
    }
}

static void wait_for_puts(struct crash *k, int more)
{
    int64_t until = clock_mono_ms() + 10000;
    int want = k->acknowledged + more;
    while (k->acknowledged < want && clock_mono_ms() < until) {
        task_sleep_ms(5);
    }
}

static void crash_body(void *arg)
{
    struct crash *k = arg;
    struct rig *rig = &k->rig;
    rig->q = rig_open(rig, k->url, 1, 1000);
    CHECK(rig->q != NULL);
    k->running = PUTTERS;
    for (int i = 0; i < PUTTERS; i++) {
        CHECK(task_start(&rig->loop, "putter", putter, k, &rig->err) == 0);
    }
    for (int i = 0; i < KILLS; i++) {
        wait_for_puts(k, 500 + 333 * i);
        server_kill(k);
        task_sleep_ms(100); /* puts are refused meanwhile */
        CHECK(server_start(k));
        wait_for_puts(k, 100);
    }
    k->stop = true;
    CHECK(wake_wait(&k->all_ended, clock_mono_ms() + 20000, &rig->err) == 0);
    CHECK(rig_configure(rig, 7, "fast", "a:live") == 0);
    struct claim *c = NULL;
    while ((c = rig_claim(rig, 100)) != NULL) {
        for (int i = 0; i < c->unit_count; i++) {
            k->is_acknowledged[strtol(c->units[i].id, NULL, 10)] = 0;
        }
        CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    }
    CHECK(rig->failure[0] == '\0');
    for (int i = 0; i < k->next; i++) {
        k->lost += k->is_acknowledged[i];
    }
    FSCK(0);
}

static void acknowledged_units_survive_kill_9_of_redis(void **state)
{
    (void)state;
    struct crash *k = calloc(1, sizeof *k);
    assert_non_null(k);
    (void)snprintf(k->dir, sizeof k->dir, "/tmp/queue-kill-XXXXXX");
    assert_non_null(mkdtemp(k->dir));
    (void)snprintf(k->socket, sizeof k->socket, "%s/s", k->dir);
    (void)snprintf(k->url, sizeof k->url, "unix://%s", k->socket);
    k->is_acknowledged = calloc(UNITS_MAX, 1);
    assert_non_null(k->is_acknowledged);
    bool started = server_start(k);
    if (started) {
        struct err err = {0};
        assert_int_equal(uv_loop_init(&k->rig.loop), 0);
        assert_int_equal(task_run(&k->rig.loop, crash_body, k, &err), 0);
        queue_close(k->rig.q);
        (void)uv_run(&k->rig.loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&k->rig.loop);
        task_cleanup();
    }
    server_kill(k);
    char remove[96];
    (void)snprintf(remove, sizeof remove, "rm -rf '%s'", k->dir);
    if (system(remove) != 0) {
        print_message("# could not remove %s\n", k->dir);
    }
    struct crash end = *k;
    free(k->is_acknowledged);
    free(k);
    if (!started) {
        print_message("redis-server is not installed\n");
        skip();
    }
    print_message("# %d acknowledged, %d refused, %d lost\n", end.acknowledged, end.refused,
                  end.lost);
    assert_string_equal(end.rig.failure, "");
    assert_int_equal(end.lost, 0);
    assert_int_equal(end.wrong_code, 0);
    assert_true(end.refused > 0 && end.acknowledged > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledged_units_survive_kill_9_of_redis),
    };
    return cmocka_run_group_tests_name("queue_kill", tests, NULL, NULL);
}
