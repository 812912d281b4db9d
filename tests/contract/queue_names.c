/* A name server that is slow: the look-up of Redis' name comes back after our deadline, and
 * cannot be ended before. Meanwhile everything is answered "unavailable"; afterwards the queue
 * finds its way by itself. getaddrinfo() is this program's own, for one name. */
#include "tests/contract/queue_rig.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMEOUT_MS = 200, FAILURES = 6 };

static const char slow_name[] = "slow.pivotal-sync.test";
static atomic_bool held, looked_up;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = NULL;
    void *found = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&real, &found, sizeof real); /* ISO C has no cast from void * to a function */
    if (name != NULL && strcmp(name, slow_name) == 0) {
        atomic_store(&looked_up, true);
        while (atomic_load(&held)) {
            (void)usleep(5000);
        }
        name = "127.0.0.1";
    }
    return real(name, service, hints, out);
}

static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int port = 0;
    if (bind(fd, (struct sockaddr *)&at, sizeof at) == 0 &&
        getsockname(fd, (struct sockaddr *)&at, &len) == 0) {
        port = ntohs(at.sin_port);
    }
    (void)close(fd);
    return port;
}

/* 0 when there is no redis-server. */
static pid_t server_start(int port)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%d", port);
    pid_t server = fork();
    if (server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_WRONLY);
        (void)dup2(null, STDOUT_FILENO);
        (void)execlp("redis-server", "redis-server", "--bind", "127.0.0.1", "--port", text,
                     "--save", "", (char *)NULL);
        _exit(127);
    }
    int64_t until = clock_mono_ms() + 10000;
    while (server > 0 && clock_mono_ms() < until) {
        if (waitpid(server, NULL, WNOHANG) == server) {
            return 0;
        }
        redisContext *c = redisConnect("127.0.0.1", port);
        bool up = c != NULL && c->err == 0;
        redisFree(c);
        if (up) {
            return server;
        }
        (void)usleep(10000);
    }
    return 0;
}

static char slow_url[96];

TEST(a_look_up_that_outlasts_the_deadline_is_only_a_pause)
{
    atomic_store(&held, true);
    struct queue *q = rig_open(rig, slow_url, 1, TIMEOUT_MS);
    CHECK(q != NULL);
    int64_t until = clock_mono_ms() + 30000;
    for (int i = 0; i < FAILURES && clock_mono_ms() < until; i++) {
        struct err err = {0};
        CHECK(queue_ping(q, &err) != 0);
        CHECK_INT(err.code, ERR_UNAVAILABLE);
        task_sleep_ms(TIMEOUT_MS); /* into and past the next attempts */
    }
    CHECK(atomic_load(&looked_up));
    atomic_store(&held, false);
    int rc = -1;
    while (rc != 0 && clock_mono_ms() < until) {
        rc = queue_ping(q, &rig->err);
        task_sleep_ms(20);
    }
    CHECK_INT(rc, 0);
    queue_close(q);
}

static void slow_names(void **state)
{
    int port = free_port();
    pid_t server = server_start(port);
    if (server == 0) {
        print_message("redis-server is not installed\n");
        skip();
    }
    (void)snprintf(slow_url, sizeof slow_url, "redis://%s:%d", slow_name, port);
    a_look_up_that_outlasts_the_deadline_is_only_a_pause(state);
    (void)kill(server, SIGKILL);
    (void)waitpid(server, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(slow_names)};
    return cmocka_run_group_tests_name("queue_names", tests, NULL, NULL);
}
