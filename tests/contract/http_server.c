/* Contract of common/http_server.h: a client on raw sockets in a thread of its own speaks to a
 * server on the test's loop, so that every byte and every pause is the test's. */
#include "common/http_server.h"

#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the two above first. */
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DEADLINE_MS = 10000, ANSWER_BYTES = 256 * 1024, WAITING_MAX = 64 };

/* What the client thread does and saw; the asserts are made afterwards, by the test. */
struct scene {
    uv_loop_t loop;
    uv_async_t client_done;
    uv_timer_t late;
    struct http_server *server;
    struct http_server_options options;
    void (*client)(struct scene *scene);
    int port;
    char answer[ANSWER_BYTES];
    char second[ANSWER_BYTES];
    int64_t took_ms;
    int handled;
    _Atomic bool stopped;
    bool freed;
    struct http_exchange *waiting[WAITING_MAX];
    int waiting_count;
    char seen[512];
};

/* ---- handlers ---- */

static void handle_echo(struct http_exchange *x, void *arg)
{
    struct scene *scene = arg;
    struct slice body = http_exchange_body(x);
    scene->handled++;
    http_answer(x, 200, "application/octet-stream", body.bytes, body.len_bytes);
}

static void handle_empty(struct http_exchange *x, void *arg)
{
    struct scene *scene = arg;
    scene->handled++;
    http_answer(x, 200, NULL, NULL, 0);
}

static void answer_waiting(uv_timer_t *timer)
{
    struct scene *scene = timer->data;
    int count = scene->waiting_count;
    scene->waiting_count = 0;
    for (int i = 0; i < count; i++) {
        http_answer_text(scene->waiting[i], 200, "later\n");
    }
}

static void handle_later(struct http_exchange *x, void *arg)
{
    struct scene *scene = arg;
    scene->handled++;
    scene->waiting[scene->waiting_count++] = x;
    assert_int_equal(uv_timer_start(&scene->late, answer_waiting, 20, 0), 0);
}

static void handle_never(struct http_exchange *x, void *arg)
{
    struct scene *scene = arg;
    scene->handled++;
    scene->waiting[scene->waiting_count++] = x;
}

static void handle_look(struct http_exchange *x, void *arg)
{
    struct scene *scene = arg;
    char value[64] = "";
    const char *query = http_exchange_query(x, "q", value, sizeof value);
    const char *header = http_exchange_header(x, "x-thing");
    (void)snprintf(scene->seen, sizeof scene->seen, "%s|%s|%s|%s|%s|%s|%s",
                   http_exchange_method(x), http_exchange_target(x), http_exchange_route(x),
                   http_exchange_hole(x, 0), query != NULL ? query : "-",
                   header != NULL ? header : "-", http_exchange_peer(x));
    assert_int_equal(http_exchange_set_header(x, "X-Answer", "yes"), 0);
    assert_int_equal(http_exchange_set_header(x, "X-Bad", "a\r\nb: c"), -1);
    http_answer_text(x, 201, "seen\n");
}

static const struct http_route routes[] = {
    {"POST", "/echo", handle_echo},       {"POST", "/empty", handle_empty},
    {"GET", "/later", handle_later},      {"GET", "/never", handle_never},
    {"GET", "/look/{id}", handle_look},   {"GET", "/rest/*", handle_look},
    {"GET", "/livez", http_answer_livez}, {0}};

/* ---- the stage ---- */

static void *client_main(void *arg)
{
    struct scene *scene = arg;
    int64_t began_ms = clock_mono_ms();
    scene->client(scene);
    scene->took_ms = clock_mono_ms() - began_ms;
    (void)uv_async_send(&scene->client_done);
    return NULL;
}

static void on_client_done(uv_async_t *async)
{
    struct scene *scene = async->data;
    uv_close((uv_handle_t *)async, NULL);
    uv_close((uv_handle_t *)&scene->late, NULL);
    if (!scene->freed) {
        http_server_free(scene->server);
        scene->freed = true;
    }
    /* A handler that still holds its exchange answers into the void. */
    for (int i = 0; i < scene->waiting_count; i++) {
        http_answer_text(scene->waiting[i], 200, "too late\n");
    }
}

static struct scene *scene_new(void)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->options = (struct http_server_options){
        .listen = "127.0.0.1:0", .routes = routes, .arg = scene, .idle_timeout_ms = 5000};
    return scene;
}

static void scene_play(struct scene *scene, void (*client)(struct scene *scene))
{
    struct err err = {0};
    pthread_t thread;
    scene->client = client;
    assert_int_equal(uv_loop_init(&scene->loop), 0);
    assert_int_equal(uv_async_init(&scene->loop, &scene->client_done, on_client_done), 0);
    assert_int_equal(uv_timer_init(&scene->loop, &scene->late), 0);
    scene->client_done.data = scene->late.data = scene;
    scene->server = http_server_new(&scene->loop, &scene->options, &err);
    if (scene->server == NULL) {
        fail_msg("%s", err.msg);
    }
    scene->port = http_server_port(scene->server);
    assert_int_equal(pthread_create(&thread, NULL, client_main, scene), 0);
    assert_int_equal(uv_run(&scene->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(uv_loop_close(&scene->loop), 0);
}

/* ---- the client's words ---- */

static int dial(const struct scene *scene)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)scene->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void say_bytes(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        bytes += n;
        len -= (size_t)n;
    }
}

static void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

/* Read until the end, or until `until` is there, or the deadline. True when the peer closed. */
static bool hear(int fd, char *out, const char *until)
{
    size_t len = strlen(out);
    int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    for (;;) {
        int64_t left_ms = deadline_ms - clock_mono_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (until != NULL && strstr(out, until) != NULL) {
            return false;
        }
        if (left_ms <= 0 || poll(&p, 1, (int)left_ms) <= 0 || len + 1 >= ANSWER_BYTES) {
            return false;
        }
        ssize_t n = recv(fd, out + len, ANSWER_BYTES - 1 - len, 0);
        if (n <= 0) {
            return true;
        }
        len += (size_t)n;
        out[len] = '\0';
    }
}

static void talk(struct scene *scene, const char *request, char *out)
{
    int fd = dial(scene);
    say(fd, request);
    (void)hear(fd, out, NULL);
    (void)close(fd);
}

/* ---- tests ---- */

static void client_echo(struct scene *scene)
{
    talk(
        scene,
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        scene->answer);
    talk(scene,
         "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: "
         "chunked\r\n\r\n"
         "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
         scene->second);
}

static void a_body_arrives_whole_with_length_or_in_chunks(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene_play(scene, client_echo);
    assert_non_null(strstr(scene->answer, "HTTP/1.1 200"));
    assert_non_null(strstr(scene->answer, "\r\n\r\nhello"));
    assert_non_null(strstr(scene->second, "\r\n\r\nhello"));
    free(scene);
}

static void client_look(struct scene *scene)
{
    talk(scene,
         "GET /look/a%20b?x=1&q=c%2Bd+e HTTP/1.1\r\nHost: x\r\nX-Thing: 7\r\nConnection: close"
         "\r\n\r\n",
         scene->answer);
}

static void a_handler_sees_the_request_as_sent(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene_play(scene, client_look);
    assert_string_equal(scene->seen, "GET|/look/a%20b?x=1&q=c%2Bd+e|/look/{id}|a b|c+d "
                                     "e|7|127.0.0.1");
    assert_non_null(strstr(scene->answer, "HTTP/1.1 201"));
    assert_non_null(strstr(scene->answer, "X-Answer: yes"));
    assert_null(strstr(scene->answer, "X-Bad"));
    free(scene);
}

static void client_forwarded(struct scene *scene)
{
    talk(scene,
         "GET /rest/ HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.1.1.1, 9.9.9.9\r\n"
         "X-Forwarded-For: 10.0.0.2\r\nConnection: close\r\n\r\n",
         scene->answer);
}

static void a_forwarded_address_counts_only_through_trusted_proxies(void **state)
{
    struct err err = {0};
    struct net_list trusted;
    (void)state;
    assert_int_equal(net_list_parse("127.0.0.1,10.0.0.0/8", &trusted, &err), 0);
    struct scene *scene = scene_new();
    scene->options.trusted_proxies = &trusted;
    scene_play(scene, client_forwarded);
    assert_non_null(strstr(scene->seen, "|9.9.9.9"));
    free(scene);
    scene = scene_new();
    scene_play(scene, client_forwarded);
    assert_non_null(strstr(scene->seen, "|127.0.0.1"));
    free(scene);
}

static void client_strays(struct scene *scene)
{
    talk(scene, "GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", scene->answer);
    talk(scene, "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", scene->second);
}

static void strays_get_404_and_405(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene_play(scene, client_strays);
    assert_non_null(strstr(scene->answer, "HTTP/1.1 404"));
    assert_non_null(strstr(scene->second, "HTTP/1.1 405"));
    assert_non_null(strstr(scene->second, "Allow: POST"));
    free(scene);
}

static void client_keep_alive(struct scene *scene)
{
    int fd = dial(scene);
    for (int i = 0; i < 3; i++) {
        char answer[ANSWER_BYTES] = "";
        say(fd, "POST /empty HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
        if (hear(fd, answer, "\r\n\r\n")) {
            break;
        }
        (void)snprintf(scene->answer, sizeof scene->answer, "%d", i + 1);
    }
    (void)close(fd);
}

static void a_connection_is_kept_for_the_next_request(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene_play(scene, client_keep_alive);
    assert_string_equal(scene->answer, "3");
    assert_int_equal(scene->handled, 3);
    free(scene);
}

static void client_many_later(struct scene *scene)
{
    int fds[32];
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        fds[i] = dial(scene);
        say(fds[i], "GET /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }
    int good = 0;
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        scene->second[0] = '\0';
        (void)hear(fds[i], scene->second, NULL);
        good += strstr(scene->second, "later") != NULL;
        (void)close(fds[i]);
    }
    (void)snprintf(scene->answer, sizeof scene->answer, "%d", good);
}

static void answers_may_come_later_and_all_at_once(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene_play(scene, client_many_later);
    assert_string_equal(scene->answer, "32");
    assert_true(scene->took_ms < 2000);
    free(scene);
}

static void client_smuggle(struct scene *scene)
{
    talk(scene,
         "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: "
         "chunked\r\n\r\n"
         "0\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\n\r\n",
         scene->answer);
    talk(
        scene,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        scene->second);
}

static void ambiguous_framing_is_refused_and_closed(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene_play(scene, client_smuggle);
    assert_non_null(strstr(scene->answer, "HTTP/1.1 400"));
    assert_non_null(strstr(scene->second, "HTTP/1.1 400"));
    assert_null(strstr(scene->answer + 5, "HTTP/1.1"));
    assert_int_equal(scene->handled, 0);
    assert_true(scene->took_ms < 2000); /* closed, not waited for */
    free(scene);
}

static char *big_request(const char *head, size_t body_len, size_t *len)
{
    char *all = malloc(strlen(head) + body_len + 1);
    *len = strlen(head) + body_len;
    memcpy(all, head, strlen(head));
    memset(all + strlen(head), 'b', body_len);
    return all;
}

static void client_large(struct scene *scene)
{
    size_t len = 0;
    char *all = big_request("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n",
                            300000, &len);
    int fd = dial(scene);
    say_bytes(fd, all, len);
    (void)hear(fd, scene->answer, "\r\n\r\n");
    (void)close(fd);
    free(all);
    all = big_request(
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n", 300000,
        &len);
    fd = dial(scene);
    say_bytes(fd, all, len);
    say(fd, "\r\n0\r\n\r\n");
    (void)hear(fd, scene->second, "\r\n\r\n");
    (void)close(fd);
    free(all);
}

static void a_body_over_the_limit_gets_413(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene->options.body_max_bytes = 200000;
    scene_play(scene, client_large);
    assert_non_null(strstr(scene->answer, "HTTP/1.1 413"));
    assert_non_null(strstr(scene->second, "HTTP/1.1 413"));
    assert_int_equal(scene->handled, 0);
    free(scene);
}

static void client_huge_claim(struct scene *scene)
{
    talk(scene, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
         scene->answer);
    talk(scene,
         "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "
         "3000000\r\n\r\n",
         scene->second);
}

static void a_claim_far_over_the_limit_is_answered_at_once(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene_play(scene, client_huge_claim);
    assert_non_null(strstr(scene->answer, "HTTP/1.1 413"));
    assert_non_null(strstr(scene->second, "HTTP/1.1 413"));
    assert_null(strstr(scene->second, "100 Continue"));
    assert_true(scene->took_ms < 2000);
    free(scene);
}

static void client_overload(struct scene *scene)
{
    size_t len = 0;
    char *all = big_request("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 150000\r\n\r\n",
                            150000, &len);
    int holding = dial(scene);
    say_bytes(holding, all, len - 1); /* the server holds all but one byte */
    int fd = dial(scene);
    say_bytes(fd, all, len);
    (void)hear(fd, scene->answer, "\r\n\r\n");
    (void)close(fd);
    say(holding, "b");
    (void)hear(holding, scene->second, "\r\n\r\n");
    (void)close(holding);
    free(all);
}

static void bodies_over_the_total_get_503_and_the_first_is_served(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene->options.body_max_bytes = 200000;
    scene->options.bodies_max_bytes = 210000;
    scene_play(scene, client_overload);
    /* Which of the two filled the room first is the kernel's choice; one of them did. */
    bool first_refused = strstr(scene->answer, "HTTP/1.1 503") != NULL;
    const char *refused = first_refused ? scene->answer : scene->second;
    const char *served = first_refused ? scene->second : scene->answer;
    assert_non_null(strstr(refused, "Retry-After: "));
    assert_non_null(strstr(served, "HTTP/1.1 200"));
    free(scene);
}

static void client_long_headers(struct scene *scene)
{
    char line[1100];
    int fd = dial(scene);
    memset(line, 'h', sizeof line);
    (void)snprintf(line, sizeof line, "X-%01000d: 1\r\n", 7);
    say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 40; i++) {
        say(fd, line);
    }
    say(fd, "\r\n");
    (void)hear(fd, scene->answer, "\r\n\r\n");
    (void)close(fd);
}

static void headers_over_the_limit_get_431(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene_play(scene, client_long_headers);
    assert_non_null(strstr(scene->answer, "HTTP/1.1 431"));
    free(scene);
}

static void client_slow_headers(struct scene *scene)
{
    /* A byte every 20 ms is never idle, but must end all the same. */
    const char *text = "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    int fd = dial(scene);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < 500; i++) {
        say_bytes(fd, *text != '\0' ? text++ : "z", 1);
        if (poll(&p, 1, 20) > 0) {
            scene->stopped = recv(fd, scene->answer, 1, 0) <= 0;
            break;
        }
    }
    (void)close(fd);
}

static void slow_headers_are_cut_at_their_deadline(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene->options.header_timeout_ms = 200;
    scene_play(scene, client_slow_headers);
    assert_true(scene->stopped);
    assert_true(scene->took_ms >= 190 && scene->took_ms < 3000);
    free(scene);
}

static void client_slow_body(struct scene *scene)
{
    int fd = dial(scene);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n");
    for (int i = 0; i < 500; i++) {
        say_bytes(fd, "z", 1);
        if (poll(&p, 1, 20) > 0) {
            scene->stopped = recv(fd, scene->answer, 1, 0) <= 0;
            break;
        }
    }
    (void)close(fd);
}

static void a_slow_body_is_cut_at_its_deadline(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene->options.body_timeout_ms = 200;
    scene_play(scene, client_slow_body);
    assert_true(scene->stopped);
    assert_true(scene->took_ms >= 190 && scene->took_ms < 3000);
    assert_int_equal(scene->handled, 0);
    free(scene);
}

static void client_idle(struct scene *scene)
{
    int fd = dial(scene);
    say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    scene->stopped = hear(fd, scene->answer, NULL);
    (void)close(fd);
}

static void an_idle_connection_is_closed_at_its_deadline(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene->options.idle_timeout_ms = 200;
    scene_play(scene, client_idle);
    assert_non_null(strstr(scene->answer, "ok\n"));
    assert_true(scene->stopped);
    assert_true(scene->took_ms >= 190 && scene->took_ms < 3000);
    free(scene);
}

static void client_goes_away(struct scene *scene)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    for (int i = 0; i < 8; i++) {
        int fd = dial(scene);
        say(fd, i % 2 ? "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
                      : "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nabc");
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        (void)close(fd);
    }
    talk(scene, "GET /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", scene->answer);
}

static void resets_leave_the_server_well(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene_play(scene, client_goes_away);
    assert_non_null(strstr(scene->answer, "later"));
    free(scene);
}

static void client_never(struct scene *scene)
{
    int fd = dial(scene);
    say(fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    talk(scene, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", scene->answer);
    (void)close(fd);
}

static void a_server_is_freed_while_answers_are_owed(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    scene_play(scene, client_never);
    assert_non_null(strstr(scene->answer, "ok\n"));
    assert_int_equal(scene->waiting_count, 1);
    free(scene);
}

/* ---- the graceful end ---- */

static void on_stopped(void *arg)
{
    struct scene *scene = arg;
    scene->stopped = true;
    http_server_free(scene->server);
    scene->freed = true;
}

static void stop_then_answer(uv_timer_t *timer)
{
    struct scene *scene = timer->data;
    http_server_stop(scene->server, DEADLINE_MS, on_stopped, scene);
    assert_int_equal(uv_timer_start(timer, answer_waiting, 50, 0), 0);
}

static void handle_stop(struct http_exchange *x, void *arg)
{
    struct scene *scene = arg;
    scene->waiting[scene->waiting_count++] = x;
    assert_int_equal(uv_timer_start(&scene->late, stop_then_answer, 1, 0), 0);
}

static void client_stop(struct scene *scene)
{
    int idle = dial(scene);
    say(idle, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)hear(idle, scene->second, "ok\n");
    int fd = dial(scene);
    say(fd, "GET /stop HTTP/1.1\r\nHost: x\r\n\r\n");
    bool idle_closed = hear(idle, scene->second, NULL);
    int refused = dial(scene); /* the answer is still owed, but nobody new comes in */
    bool closed = hear(fd, scene->answer, NULL);
    for (int64_t end_ms = clock_mono_ms() + DEADLINE_MS;
         !scene->stopped && clock_mono_ms() < end_ms;) {
        (void)usleep(1000);
    }
    (void)snprintf(scene->second, sizeof scene->second, "%d %d %d", idle_closed, refused < 0,
                   closed);
    (void)close(fd);
    (void)close(idle);
}

static void a_graceful_stop_finishes_what_is_in_flight(void **state)
{
    static const struct http_route stop_routes[] = {
        {"GET", "/stop", handle_stop}, {"GET", "/livez", http_answer_livez}, {0}};
    struct scene *scene = scene_new();
    (void)state;
    scene->options.routes = stop_routes;
    scene_play(scene, client_stop);
    assert_true(scene->stopped);
    assert_string_equal(scene->second, "1 1 1");
    assert_non_null(strstr(scene->answer, "later\n"));
    assert_non_null(strstr(scene->answer, "Connection: close"));
    free(scene);
}

/* ---- other sockets ---- */

static void client_unix(struct scene *scene)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", scene->options.listen + 5);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0) {
        say(fd, "GET /look/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        (void)hear(fd, scene->answer, NULL);
    }
    (void)close(fd);
}

static void a_unix_socket_serves_and_its_dead_file_is_replaced(void **state)
{
    char folder[] = "/tmp/http-server-XXXXXX";
    char listen_at[64];
    struct err err = {0};
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(listen_at, sizeof listen_at, "unix:%s/s", folder);
    int dead = http_listen(listen_at, 1, &err);
    assert_true(dead >= 0);
    assert_int_equal(http_listen(listen_at, 1, &err), -1); /* alive: not taken away */
    assert_int_equal(err.code, ERR_OS);
    assert_int_equal(close(dead), 0);
    struct scene *scene = scene_new();
    scene->options.listen = listen_at;
    scene_play(scene, client_unix);
    assert_non_null(strstr(scene->answer, "seen\n"));
    assert_non_null(strstr(scene->seen, "|unix"));
    assert_int_equal(access(listen_at + 5, F_OK), -1);
    assert_int_equal(rmdir(folder), 0);
    free(scene);
}

static void a_passed_socket_serves(void **state)
{
    struct err err = {0};
    struct scene *scene = scene_new();
    (void)state;
    scene->options.listen_fd = http_listen("[::1]:0", 8, &err);
    if (scene->options.listen_fd < 0) {
        scene->options.listen_fd = http_listen("127.0.0.1:0", 8, &err);
    }
    assert_true(scene->options.listen_fd > 0);
    (void)close(scene->options.listen_fd);
    scene->options.listen_fd = http_listen("*:0", 8, &err);
    assert_true(scene->options.listen_fd > 0);
    scene_play(scene, client_keep_alive);
    assert_string_equal(scene->answer, "3");
    free(scene);
}

static void a_bad_address_is_named(void **state)
{
    static const char *const bad[] = {"8480", "host.invalid:1",
                                      "127.0.0.1:", "unix:", "127.0.0.1:99999x"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct err err = {0};
        assert_int_equal(http_listen(bad[i], 1, &err), -1);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_non_null(strstr(err.msg, bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_arrives_whole_with_length_or_in_chunks),
        cmocka_unit_test(a_handler_sees_the_request_as_sent),
        cmocka_unit_test(a_forwarded_address_counts_only_through_trusted_proxies),
        cmocka_unit_test(strays_get_404_and_405),
        cmocka_unit_test(a_connection_is_kept_for_the_next_request),
        cmocka_unit_test(answers_may_come_later_and_all_at_once),
        cmocka_unit_test(ambiguous_framing_is_refused_and_closed),
        cmocka_unit_test(a_body_over_the_limit_gets_413),
        cmocka_unit_test(a_claim_far_over_the_limit_is_answered_at_once),
        cmocka_unit_test(bodies_over_the_total_get_503_and_the_first_is_served),
        cmocka_unit_test(headers_over_the_limit_get_431),
        cmocka_unit_test(slow_headers_are_cut_at_their_deadline),
        cmocka_unit_test(a_slow_body_is_cut_at_its_deadline),
        cmocka_unit_test(an_idle_connection_is_closed_at_its_deadline),
        cmocka_unit_test(resets_leave_the_server_well),
        cmocka_unit_test(a_server_is_freed_while_answers_are_owed),
        cmocka_unit_test(a_graceful_stop_finishes_what_is_in_flight),
        cmocka_unit_test(a_unix_socket_serves_and_its_dead_file_is_replaced),
        cmocka_unit_test(a_passed_socket_serves),
        cmocka_unit_test(a_bad_address_is_named),
    };
    return cmocka_run_group_tests_name("http_server", tests, NULL, NULL);
}
