/* Contract of common/http_client.h: the client against our own server on the same loop, and
 * against peers that misbehave, which are raw sockets in a thread. */
#include "common/http_client.h"

#include "common/clock.h"
#include "common/http_server.h"
#include "common/task.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the two above first. */
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEADLINE_MS = 10000, PARALLEL = 40 };

struct stage {
    uv_loop_t loop;
    struct http_server *server;
    struct http_client *client;
    struct http_client_options options;
    int port;
    char url[256];
    /* one request */
    struct http_request req;
    struct http_response resp;
    struct err err;
    int rc;
    /* the server's side */
    struct http_exchange *held;
    uv_timer_t later;
    struct http_exchange *waiting[PARALLEL];
    int waiting_count;
    char seen[256];
    int finished;
};

/* gzip of "squeezed", and of 200,000 zeros. */
static const unsigned char squeezed[] = {
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x2b, 0x2e, 0x2c, 0x4d,
    0x4d, 0xad, 0x4a, 0x4d, 0x01, 0x00, 0xde, 0x26, 0x14, 0x00, 0x08, 0x00, 0x00, 0x00};
static const unsigned char bomb[229] = {
    0x1f, 0x8b,         0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xed, 0xc1,
    0x31, 0x01,         0x00, 0x00, 0x00, 0xc2, 0xa0, 0xf5, 0x4f, 0x6d, 0x06, 0x7f,
    0xa0, [218] = 0x80, 0xd7, 0x00, 0x7b, 0x58, 0xe0, 0x5c, 0x40, 0x0d, 0x03, 0x00};

/* ---- our server ---- */

static void handle_echo(struct http_exchange *x, void *arg)
{
    struct stage *stage = arg;
    struct slice body = http_exchange_body(x);
    const char *agent = http_exchange_header(x, "User-Agent");
    const char *key = http_exchange_header(x, "Authorization");
    const char *expect = http_exchange_header(x, "Expect");
    (void)snprintf(stage->seen, sizeof stage->seen, "%s|%s|%s|%s", http_exchange_method(x),
                   agent != NULL ? agent : "-", key != NULL ? key : "-",
                   expect != NULL ? expect : "-");
    (void)http_exchange_set_header(x, "X-Mixed-Case", "  Value ");
    http_answer(x, 200, "text/plain", body.bytes, body.len_bytes);
}

static void handle_gzip(struct http_exchange *x, void *arg)
{
    const char *accept = http_exchange_header(x, "Accept-Encoding");
    (void)arg;
    if (accept == NULL || strstr(accept, "gzip") == NULL) {
        http_answer_text(x, 406, "");
        return;
    }
    (void)http_exchange_set_header(x, "Content-Encoding", "gzip");
    if (strcmp(http_exchange_hole(x, 0), "bomb") == 0) {
        http_answer(x, 200, "text/plain", bomb, sizeof bomb);
    } else {
        http_answer(x, 200, "text/plain", squeezed, sizeof squeezed);
    }
}

static void handle_big(struct http_exchange *x, void *arg)
{
    size_t len = (size_t)strtoul(http_exchange_hole(x, 0), NULL, 10);
    char *bytes = calloc(1, len + 1);
    (void)arg;
    http_answer(x, 200, "application/octet-stream", bytes, len);
    free(bytes);
}

static void handle_redirect(struct http_exchange *x, void *arg)
{
    (void)arg;
    (void)http_exchange_set_header(x, "Location", "/echo");
    http_answer_text(x, 302, "");
}

static void handle_silent(struct http_exchange *x, void *arg)
{
    struct stage *stage = arg;
    stage->held = x;
}

static void answer_all(uv_timer_t *timer)
{
    struct stage *stage = timer->data;
    for (int i = 0; i < stage->waiting_count; i++) {
        http_answer_text(stage->waiting[i], 200, "later");
    }
    stage->waiting_count = 0;
}

static void handle_later(struct http_exchange *x, void *arg)
{
    struct stage *stage = arg;
    stage->waiting[stage->waiting_count++] = x;
    (void)uv_timer_start(&stage->later, answer_all, 10, 0);
}

static const struct http_route routes[] = {
    {"POST", "/echo", handle_echo},        {"GET", "/echo", handle_echo},
    {"PATCH", "/echo", handle_echo},       {"DELETE", "/echo", handle_echo},
    {"GET", "/gzip/{what}", handle_gzip},  {"GET", "/big/{bytes}", handle_big},
    {"GET", "/redirect", handle_redirect}, {"GET", "/silent", handle_silent},
    {"GET", "/later", handle_later},       {0}};

/* ---- the stage ---- */

static struct stage *stage_new(const struct http_client_options *options)
{
    struct stage *stage = calloc(1, sizeof *stage);
    assert_non_null(stage);
    struct http_server_options server = {
        .listen = "127.0.0.1:0", .routes = routes, .arg = stage};
    stage->options = (struct http_client_options){
        .user_agent = "pivotal-sync/test", .max_connections = 8, .allow_private_hosts = true};
    assert_int_equal(uv_loop_init(&stage->loop), 0);
    assert_int_equal(uv_timer_init(&stage->loop, &stage->later), 0);
    stage->later.data = stage;
    stage->server = http_server_new(&stage->loop, &server, &stage->err);
    assert_non_null(stage->server);
    stage->port = http_server_port(stage->server);
    stage->client =
        http_client_new(&stage->loop, options != NULL ? options : &stage->options, &stage->err);
    assert_non_null(stage->client);
    http_request_init(&stage->req);
    http_response_init(&stage->resp);
    return stage;
}

static void stage_free(struct stage *stage)
{
    if (stage->held != NULL) {
        http_answer_text(stage->held, 200, "");
    }
    http_client_free(stage->client);
    http_server_free(stage->server);
    uv_close((uv_handle_t *)&stage->later, NULL);
    assert_int_equal(uv_run(&stage->loop, UV_RUN_DEFAULT), 0);
    task_cleanup();
    assert_int_equal(uv_loop_close(&stage->loop), 0);
    http_request_release(&stage->req);
    http_response_release(&stage->resp);
    free(stage);
}

static void send_task(void *arg)
{
    struct stage *stage = arg;
    stage->rc = http_client_send(stage->client, &stage->req, &stage->resp, &stage->err);
}

static void fetch(struct stage *stage, const char *scheme, int port, const char *path)
{
    struct err err = {0};
    buf_clear(&stage->req.url);
    (void)buf_printf(&stage->req.url, "%s://127.0.0.1:%d%s", scheme, port, path);
    assert_int_equal(task_run(&stage->loop, send_task, stage, &err), 0);
}

static void get(struct stage *stage, const char *path)
{
    fetch(stage, "http", stage->port, path);
}

/* ---- a peer that follows a script, once for each of its connections ---- */

enum script { CLOSE_AT_ONCE, RESET_IN_BODY, CUT_BODY, SILENT, DRIP, GARBAGE };

struct peer {
    int listen_fd;
    int port;
    enum script script;
    pthread_t thread;
    int stop[2];
};

static bool peer_stopped(const struct peer *peer, int wait_ms)
{
    struct pollfd p = {.fd = peer->stop[0], .events = POLLIN};
    return poll(&p, 1, wait_ms) > 0;
}

static void peer_play(const struct peer *peer, int fd)
{
    char request[4096];
    const char *head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nX-A: b\r\n\r\nsome of it";
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (peer->script != SILENT && recv(fd, request, sizeof request, 0) <= 0) {
        return;
    }
    switch (peer->script) {
    case CLOSE_AT_ONCE:
        break;
    case RESET_IN_BODY:
        (void)send(fd, head, strlen(head), MSG_NOSIGNAL);
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        break;
    case CUT_BODY:
        (void)send(fd, head, strlen(head), MSG_NOSIGNAL);
        break;
    case SILENT:
        (void)peer_stopped(peer, DEADLINE_MS);
        break;
    case DRIP:
        (void)send(fd, head, strlen(head), MSG_NOSIGNAL);
        while (!peer_stopped(peer, 10) && send(fd, "z", 1, MSG_NOSIGNAL) == 1) {
        }
        break;
    case GARBAGE:
        (void)send(fd, "\x16\x03\x01 nonsense\r\n\r\n", 16, MSG_NOSIGNAL);
        break;
    }
}

static void *peer_main(void *arg)
{
    struct peer *peer = arg;
    struct pollfd p[2] = {{.fd = peer->listen_fd, .events = POLLIN},
                          {.fd = peer->stop[0], .events = POLLIN}};
    while (poll(p, 2, DEADLINE_MS) > 0 && p[1].revents == 0) {
        int fd = accept(peer->listen_fd, NULL, NULL);
        if (fd >= 0) {
            peer_play(peer, fd);
            (void)close(fd);
        }
    }
    return NULL;
}

static void peer_start(struct peer *peer, enum script script)
{
    struct err err = {0};
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    peer->script = script;
    peer->listen_fd = http_listen("127.0.0.1:0", 8, &err);
    assert_true(peer->listen_fd >= 0);
    assert_int_equal(getsockname(peer->listen_fd, (struct sockaddr *)&at, &len), 0);
    peer->port = ntohs(at.sin_port);
    assert_int_equal(pipe(peer->stop), 0);
    assert_int_equal(pthread_create(&peer->thread, NULL, peer_main, peer), 0);
}

static void peer_end(struct peer *peer)
{
    assert_int_equal(write(peer->stop[1], "x", 1), 1);
    assert_int_equal(pthread_join(peer->thread, NULL), 0);
    (void)close(peer->listen_fd);
    (void)close(peer->stop[0]);
    (void)close(peer->stop[1]);
}

/* ---- tests ---- */

static void a_request_and_its_answer_arrive_whole(void **state)
{
    struct stage *stage = stage_new(NULL);
    char value[32];
    (void)state;
    stage->req.method = "POST";
    assert_int_equal(http_request_header(&stage->req, "Authorization", "Bearer k"), 0);
    assert_int_equal(buf_add_str(&stage->req.body, "a=1&b=2"), 0);
    get(stage, "/echo");
    assert_int_equal(stage->rc, 0);
    assert_int_equal(stage->resp.fault, HTTP_OK);
    assert_int_equal(stage->resp.status, 200);
    assert_string_equal(buf_text(&stage->resp.body), "a=1&b=2");
    assert_string_equal(stage->seen, "POST|pivotal-sync/test|Bearer k|-");
    assert_non_null(http_response_header(&stage->resp, "x-mixed-case", value, sizeof value));
    assert_true(stage->resp.took_us > 0 && stage->resp.started_at_ms > 0);
    stage_free(stage);
}

static void every_method_is_sent_as_named(void **state)
{
    static const char *const methods[] = {"GET", "POST", "PATCH", "DELETE", "HEAD"};
    struct stage *stage = stage_new(NULL);
    (void)state;
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        stage->req.method = methods[i];
        get(stage, "/echo");
        assert_int_equal(stage->resp.status, 200);
        assert_memory_equal(stage->seen, methods[i], strlen(methods[i]));
    }
    stage_free(stage);
}

static void connections_are_kept(void **state)
{
    struct stage *stage = stage_new(NULL);
    struct http_server_counts counts;
    (void)state;
    for (int i = 0; i < 5; i++) {
        get(stage, "/echo");
        assert_int_equal(stage->resp.status, 200);
    }
    http_server_counts(stage->server, &counts);
    assert_int_equal(counts.requests, 5);
    assert_int_equal(counts.accepted, 1);
    stage_free(stage);
}

static void later_task(void *arg)
{
    struct stage *stage = arg;
    struct http_request req;
    struct http_response resp;
    struct err err = {0};
    http_request_init(&req);
    http_response_init(&resp);
    (void)buf_add_str(&req.url, stage->url);
    if (http_client_send(stage->client, &req, &resp, &err) == 0 && resp.status == 200 &&
        strcmp(buf_text(&resp.body), "later") == 0) {
        stage->finished++;
    }
    http_request_release(&req);
    http_response_release(&resp);
}

static void wait_for_all(void *arg)
{
    struct stage *stage = arg;
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (stage->finished < PARALLEL && clock_mono_ms() < deadline_ms) {
        task_sleep_ms(5);
    }
}

static void many_requests_share_a_few_connections(void **state)
{
    struct stage *stage = stage_new(NULL);
    struct http_server_counts counts;
    (void)state;
    (void)snprintf(stage->url, sizeof stage->url, "http://127.0.0.1:%d/later", stage->port);
    for (int i = 0; i < PARALLEL; i++) {
        assert_int_equal(task_start(&stage->loop, "later", later_task, stage, &stage->err), 0);
    }
    assert_int_equal(task_run(&stage->loop, wait_for_all, stage, &stage->err), 0);
    assert_int_equal(stage->finished, PARALLEL);
    http_server_counts(stage->server, &counts);
    assert_true(counts.accepted <= 8);
    stage_free(stage);
}

static void gzip_is_accepted_and_unpacked(void **state)
{
    struct stage *stage = stage_new(NULL);
    (void)state;
    get(stage, "/gzip/small");
    assert_int_equal(stage->resp.fault, HTTP_OK);
    assert_string_equal(buf_text(&stage->resp.body), "squeezed");
    stage_free(stage);
}

static void the_cap_holds_for_unpacked_bytes(void **state)
{
    struct stage *stage = stage_new(NULL);
    (void)state;
    stage->req.answer_max_bytes = 10000;
    get(stage, "/gzip/bomb");
    assert_int_equal(stage->rc, 0);
    assert_int_equal(stage->resp.fault, HTTP_TOO_LARGE);
    assert_int_equal(stage->resp.status, 200);
    assert_int_equal(stage->resp.body.len_bytes, 10000); /* the beginning is kept */
    stage->req.answer_max_bytes = 200000;
    get(stage, "/gzip/bomb");
    assert_int_equal(stage->resp.fault, HTTP_OK);
    assert_int_equal(stage->resp.body.len_bytes, 200000);
    stage_free(stage);
}

static void an_answer_at_the_cap_passes_and_one_byte_more_does_not(void **state)
{
    struct stage *stage = stage_new(NULL);
    (void)state;
    stage->req.answer_max_bytes = 300000;
    get(stage, "/big/300000");
    assert_int_equal(stage->resp.fault, HTTP_OK);
    assert_int_equal(stage->resp.body.len_bytes, 300000);
    get(stage, "/big/300001");
    assert_int_equal(stage->resp.fault, HTTP_TOO_LARGE);
    stage_free(stage);
}

static void a_redirect_is_an_answer(void **state)
{
    struct stage *stage = stage_new(NULL);
    char value[64];
    (void)state;
    get(stage, "/redirect");
    assert_int_equal(stage->resp.status, 302);
    assert_non_null(http_response_header(&stage->resp, "location", value, sizeof value));
    stage_free(stage);
}

static void peers_that_break_off_are_a_reset(void **state)
{
    static const enum script scripts[] = {CLOSE_AT_ONCE, RESET_IN_BODY, CUT_BODY, GARBAGE};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(scripts); i++) {
        struct stage *stage = stage_new(NULL);
        struct peer peer;
        peer_start(&peer, scripts[i]);
        fetch(stage, "http", peer.port, "/");
        assert_int_equal(stage->rc, 0);
        assert_int_equal(stage->resp.fault, HTTP_RESET);
        assert_true(stage->resp.fault_text[0] != '\0');
        if (scripts[i] == CUT_BODY) {
            assert_int_equal(stage->resp.status, 200);
            assert_string_equal(buf_text(&stage->resp.body), "some of it");
        }
        peer_end(&peer);
        stage_free(stage);
    }
}

static void nobody_listening_is_a_connect_fault(void **state)
{
    struct stage *stage = stage_new(NULL);
    struct peer peer;
    (void)state;
    peer_start(&peer, SILENT);
    peer_end(&peer); /* its port is closed now */
    fetch(stage, "http", peer.port, "/");
    assert_int_equal(stage->resp.fault, HTTP_CONNECT);
    assert_int_equal(stage->resp.status, 0);
    stage_free(stage);
}

static int64_t timed_fetch(struct stage *stage, const char *scheme, int port)
{
    int64_t began_ms = clock_mono_ms();
    fetch(stage, scheme, port, "/");
    return clock_mono_ms() - began_ms;
}

static void a_silent_peer_meets_the_first_byte_deadline(void **state)
{
    struct stage *stage = stage_new(NULL);
    struct peer peer;
    (void)state;
    peer_start(&peer, SILENT);
    stage->req.first_byte_timeout_ms = 150;
    int64_t took_ms = timed_fetch(stage, "http", peer.port);
    assert_int_equal(stage->resp.fault, HTTP_TIMEOUT_READ);
    assert_int_equal(stage->resp.status, 0);
    assert_true(took_ms >= 140 && took_ms < 9000);
    peer_end(&peer);
    stage_free(stage);
}

static void a_dripping_peer_meets_the_total_deadline(void **state)
{
    struct stage *stage = stage_new(NULL);
    struct peer peer;
    (void)state;
    peer_start(&peer, DRIP);
    stage->req.first_byte_timeout_ms = 100;
    stage->req.total_timeout_ms = 300;
    int64_t took_ms = timed_fetch(stage, "http", peer.port);
    assert_int_equal(stage->resp.fault, HTTP_TIMEOUT_READ);
    assert_int_equal(stage->resp.status, 200);
    assert_true(took_ms >= 290 && took_ms < 9000);
    peer_end(&peer);
    stage_free(stage);
}

static void a_handshake_that_hangs_meets_the_connect_deadline(void **state)
{
    struct stage *stage = stage_new(NULL);
    struct peer peer;
    (void)state;
    peer_start(&peer, SILENT);
    stage->req.connect_timeout_ms = 150;
    int64_t took_ms = timed_fetch(stage, "https", peer.port);
    assert_int_equal(stage->resp.fault, HTTP_TIMEOUT_CONNECT);
    assert_true(took_ms >= 140 && took_ms < 9000);
    peer_end(&peer);
    stage_free(stage);
}

static void what_is_not_tls_is_a_tls_fault(void **state)
{
    struct stage *stage = stage_new(NULL);
    struct peer peer;
    (void)state;
    peer_start(&peer, GARBAGE);
    fetch(stage, "https", peer.port, "/");
    assert_int_equal(stage->resp.fault, HTTP_TLS);
    peer_end(&peer);
    stage_free(stage);
}

static void private_hosts_and_plain_http_are_refused(void **state)
{
    struct http_client_options strict = {.user_agent = "pivotal-sync/test"};
    static const char *const inside[] = {
        "https://127.0.0.1:9/",           "https://[::1]:9/",
        "https://localhost:9/",           "https://10.0.0.1/",
        "https://169.254.169.254/latest", "https://2130706433/"};
    struct stage *stage = stage_new(&strict);
    struct err err = {0};
    struct http_server_counts counts;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(inside); i++) {
        buf_clear(&stage->req.url);
        (void)buf_add_str(&stage->req.url, inside[i]);
        assert_int_equal(task_run(&stage->loop, send_task, stage, &err), 0);
        if (stage->rc != 0 || stage->resp.fault != HTTP_REFUSED_HOST) {
            fail_msg("%s: rc %d, fault %d (%s)", inside[i], stage->rc, stage->resp.fault,
                     stage->resp.fault_text);
        }
    }
    get(stage, "/echo"); /* plain http */
    assert_int_equal(stage->resp.fault, HTTP_REFUSED_HOST);
    http_server_counts(stage->server, &counts);
    assert_int_equal(counts.accepted, 0);
    stage_free(stage);
}

static void an_unknown_name_is_a_dns_fault(void **state)
{
    struct stage *stage = stage_new(NULL);
    struct err err = {0};
    (void)state;
    stage->req.connect_timeout_ms = 3000;
    (void)buf_add_str(&stage->req.url, "http://no-such-host.invalid/");
    assert_int_equal(task_run(&stage->loop, send_task, stage, &err), 0);
    assert_true(stage->resp.fault == HTTP_DNS || stage->resp.fault == HTTP_TIMEOUT_CONNECT);
    stage_free(stage);
}

static void a_bad_url_is_our_mistake(void **state)
{
    struct stage *stage = stage_new(NULL);
    struct err err = {0};
    (void)state;
    (void)buf_add_str(&stage->req.url, "http://[nonsense/");
    assert_int_equal(task_run(&stage->loop, send_task, stage, &err), 0);
    assert_int_equal(stage->rc, -1);
    assert_int_equal(stage->err.code, ERR_INVALID);
    stage_free(stage);
}

static void a_client_freed_in_flight_ends_its_requests(void **state)
{
    struct stage *stage = stage_new(NULL);
    struct err err = {0};
    (void)state;
    (void)buf_printf(&stage->req.url, "http://127.0.0.1:%d/silent", stage->port);
    stage->rc = 99;
    assert_int_equal(task_start(&stage->loop, "silent", send_task, stage, &err), 0);
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (stage->held == NULL && clock_mono_ms() < deadline_ms) {
        (void)uv_run(&stage->loop, UV_RUN_ONCE);
    }
    http_client_free(stage->client);
    stage->client = NULL;
    while (stage->rc == 99 && clock_mono_ms() < deadline_ms) {
        (void)uv_run(&stage->loop, UV_RUN_ONCE);
    }
    assert_int_equal(stage->rc, 0);
    assert_int_equal(stage->resp.fault, HTTP_RESET);
    stage_free(stage);
}

/* ---- TLS against openssl's own server ---- */

static pid_t tls_server(const char *folder, int port)
{
    char cert[128];
    char key[128];
    char accept_at[32];
    (void)snprintf(cert, sizeof cert, "%s/cert.pem", folder);
    (void)snprintf(key, sizeof key, "%s/key.pem", folder);
    (void)snprintf(accept_at, sizeof accept_at, "127.0.0.1:%d", port);
    pid_t pid = fork();
    if (pid == 0) {
        int quiet = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void)dup2(quiet, STDIN_FILENO);
        (void)dup2(quiet, STDOUT_FILENO);
        (void)dup2(quiet, STDERR_FILENO);
        (void)execlp("openssl", "openssl", "s_server", "-www", "-accept", accept_at, "-cert",
                     cert, "-key", key, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static bool make_certificate(const char *folder)
{
    char command[512];
    (void)snprintf(command, sizeof command,
                   "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                   "-days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1 "
                   "-keyout %s/key.pem -out %s/cert.pem >/dev/null 2>&1",
                   folder, folder);
    return system(command) == 0; /* NOLINT(cert-env33-c): a fixed command of a test */
}

static void certificates_are_verified(void **state)
{
    char folder[] = "/tmp/http-client-XXXXXX";
    char ca[128];
    struct err err = {0};
    struct peer port_finder;
    (void)state;
    assert_non_null(mkdtemp(folder));
    if (!make_certificate(folder)) {
        (void)rmdir(folder);
        skip(); /* no openssl command here */
    }
    peer_start(&port_finder, SILENT);
    peer_end(&port_finder);
    pid_t pid = tls_server(folder, port_finder.port);
    (void)snprintf(ca, sizeof ca, "%s/cert.pem", folder);
    struct http_client_options trusting = {.ca_file = ca, .allow_private_hosts = true};
    struct stage *stage = stage_new(&trusting);
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    do {
        fetch(stage, "https", port_finder.port, "/");
    } while (stage->resp.fault == HTTP_CONNECT && clock_mono_ms() < deadline_ms);
    int trusted_fault = (int)stage->resp.fault;
    int trusted_status = stage->resp.status;
    stage_free(stage);
    stage = stage_new(NULL);
    fetch(stage, "https", port_finder.port, "/");
    int stranger_fault = (int)stage->resp.fault;
    stage_free(stage);
    (void)kill(pid, SIGTERM);
    (void)waitpid(pid, NULL, 0);
    (void)unlink(ca);
    (void)snprintf(ca, sizeof ca, "%s/key.pem", folder);
    (void)unlink(ca);
    (void)rmdir(folder);
    (void)err;
    assert_int_equal(trusted_fault, HTTP_OK);
    assert_int_equal(trusted_status, 200);
    assert_int_equal(stranger_fault, HTTP_TLS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_and_its_answer_arrive_whole),
        cmocka_unit_test(every_method_is_sent_as_named),
        cmocka_unit_test(connections_are_kept),
        cmocka_unit_test(many_requests_share_a_few_connections),
        cmocka_unit_test(gzip_is_accepted_and_unpacked),
        cmocka_unit_test(the_cap_holds_for_unpacked_bytes),
        cmocka_unit_test(an_answer_at_the_cap_passes_and_one_byte_more_does_not),
        cmocka_unit_test(a_redirect_is_an_answer),
        cmocka_unit_test(peers_that_break_off_are_a_reset),
        cmocka_unit_test(nobody_listening_is_a_connect_fault),
        cmocka_unit_test(a_silent_peer_meets_the_first_byte_deadline),
        cmocka_unit_test(a_dripping_peer_meets_the_total_deadline),
        cmocka_unit_test(a_handshake_that_hangs_meets_the_connect_deadline),
        cmocka_unit_test(what_is_not_tls_is_a_tls_fault),
        cmocka_unit_test(private_hosts_and_plain_http_are_refused),
        cmocka_unit_test(an_unknown_name_is_a_dns_fault),
        cmocka_unit_test(a_bad_url_is_our_mistake),
        cmocka_unit_test(a_client_freed_in_flight_ends_its_requests),
        cmocka_unit_test(certificates_are_verified),
    };
    return cmocka_run_group_tests_name("http_client", tests, NULL, NULL);
}
