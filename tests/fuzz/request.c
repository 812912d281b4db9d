/* HTTP requests up to the handler: bytes of a stranger on a connection of the real server.
 *
 * Input: the bytes as they are; a NUL byte parts them into pieces that are sent one after
 * another. What must hold: the server ends the connection or answers with HTTP/1.1, a handler
 * sees what fits the limits, and no memory of bodies is left behind. */
#include "common/clock.h"
#include "common/http_server.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BODY_MAX_BYTES = 2048, TURNS_MAX = 400 };

static struct {
    uv_loop_t loop;
    struct http_server *server;
    struct net_list trusted;
    char path[64];
} stage;

static void handle(struct http_exchange *x, void *arg)
{
    char text[64];
    struct slice body = http_exchange_body(x);
    (void)arg;
    MUST(body.len_bytes <= BODY_MAX_BYTES);
    MUST(http_exchange_target(x)[0] != '\0' && http_exchange_route(x) != NULL);
    for (int i = 0; i < HTTP_SERVER_HOLES_MAX; i++) {
        MUST(http_exchange_hole(x, i) != NULL);
    }
    static const char *const names[] = {"q", "after", "limit", ""};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *value = http_exchange_query(x, names[i], text, sizeof text);
        MUST(value == NULL || strlen(value) < sizeof text);
    }
    MUST(strlen(http_exchange_peer(x)) < NET_ADDRESS_TEXT_BYTES);
    (void)http_exchange_is_stranger(x);
    const char *header = http_exchange_header(x, "x-thing");
    if (header != NULL) {
        (void)http_exchange_set_header(x, "X-Answer", header);
    }
    http_answer(x, 200, "application/octet-stream", body.bytes, body.len_bytes);
}

static const struct http_route routes[] = {{"POST", "/webhooks/{provider}", handle},
                                           {"POST", "/webhooks/{provider}/{id}", handle},
                                           {"GET", "/api/v1/log/{id}/*", handle},
                                           {"GET", "/livez", http_answer_livez},
                                           {0}};

static void clean_up(void)
{
    (void)unlink(stage.path);
}

static void stage_open(void)
{
    struct err err = {0};
    char listen_at[80];
    (void)snprintf(stage.path, sizeof stage.path, "/tmp/fuzz-request-%d.sock", (int)getpid());
    (void)snprintf(listen_at, sizeof listen_at, "unix:%s", stage.path);
    MUST(uv_loop_init(&stage.loop) == 0);
    MUST(net_list_parse("127.0.0.1,10.0.0.0/8", &stage.trusted, &err) == 0);
    const struct http_server_options o = {.listen = listen_at,
                                          .routes = routes,
                                          .trusted_proxies = &stage.trusted,
                                          .header_max_bytes = 2048,
                                          .body_max_bytes = BODY_MAX_BYTES,
                                          .bodies_max_bytes = 3 * BODY_MAX_BYTES};
    stage.server = http_server_new(&stage.loop, &o, &err);
    MUST(stage.server != NULL);
    (void)atexit(clean_up);
}

static int dial(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", stage.path);
    MUST(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static void turn(void)
{
    (void)uv_run(&stage.loop, UV_RUN_NOWAIT);
}

/* Sends what fits and runs the server; false when it has closed. */
static bool say(int fd, const uint8_t *bytes, size_t len)
{
    for (int turns = 0; len > 0 && turns < TURNS_MAX; turns++) {
        ssize_t n = send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) {
            return false;
        }
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
        turn();
    }
    turn();
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_server_counts counts;
    char answer[4096];
    const uint8_t *at = data;
    const uint8_t *end = data + size;
    bool first = true;
    if (stage.server == NULL) {
        stage_open();
    }
    int fd = dial();
    turn();
    while (at < end) {
        const uint8_t *nul = memchr(at, '\0', (size_t)(end - at));
        const uint8_t *stop = nul != NULL ? nul : end;
        if (!say(fd, at, (size_t)(stop - at))) {
            break;
        }
        at = nul != NULL ? nul + 1 : end;
    }
    (void)shutdown(fd, SHUT_WR);
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        turn();
        ssize_t n = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            break;
        }
        if (n >= 9 && first) {
            MUST(memcmp(answer, "HTTP/1.1 ", 9) == 0 || memcmp(answer, "HTTP/1.0 ", 9) == 0);
            first = false;
        }
    }
    (void)close(fd);
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        turn();
        http_server_counts(stage.server, &counts);
        if (counts.connections == 0) {
            break;
        }
    }
    MUST(counts.connections == 0);
    MUST(counts.body_bytes == 0);
    return 0;
}
