/* Requests beside one that is not answered: they have connections of their own, and whoever
 * waits for one has a deadline for that as well. Order is what counts, not how long it took. */
#include "common/http_client.h"

#include "common/clock.h"
#include "common/http_server.h"
#include "common/task.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the two above first. */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { PATIENT_MS = 6000, IMPATIENT_MS = 300, REQUESTS = 3 };

struct one {
    struct rig *rig;
    const char *path;
    int64_t total_ms;
    enum http_fault fault;
    int status;
    int place; /* as it ended: 1 is the first */
};

struct rig {
    uv_loop_t loop;
    struct http_server *server;
    struct http_client *client;
    struct http_exchange *held[REQUESTS];
    int port, held_count, ended;
    struct one requests[REQUESTS];
};

static void handle_held(struct http_exchange *x, void *arg)
{
    struct rig *rig = arg;
    rig->held[rig->held_count++] = x;
}

static void handle_quick(struct http_exchange *x, void *arg)
{
    (void)arg;
    http_answer_text(x, 200, "quick");
}

static const struct http_route routes[] = {
    {"GET", "/held", handle_held}, {"GET", "/quick", handle_quick}, {0}};

static void send_one(void *arg)
{
    struct one *one = arg;
    struct http_request req;
    struct http_response resp;
    struct err err = {0};
    http_request_init(&req);
    http_response_init(&resp);
    (void)buf_printf(&req.url, "http://127.0.0.1:%d%s", one->rig->port, one->path);
    req.total_timeout_ms = one->total_ms;
    assert_int_equal(http_client_send(one->rig->client, &req, &resp, &err), 0);
    one->fault = resp.fault;
    one->status = resp.status;
    one->place = ++one->rig->ended;
    http_request_release(&req);
    http_response_release(&resp);
}

static void wait_for_all(void *arg)
{
    struct rig *rig = arg;
    int64_t deadline_ms = clock_mono_ms() + 10 * PATIENT_MS;
    while (rig->ended < REQUESTS && clock_mono_ms() < deadline_ms) {
        task_sleep_ms(5);
    }
}

/* All sent at once, in this order, and waited for. */
static void rig_play(struct rig *rig, int connections, const struct one *requests)
{
    struct err err = {0};
    struct http_client_options options = {.user_agent = "pivotal-sync/test",
                                          .max_connections = connections,
                                          .allow_private_hosts = true};
    struct http_server_options server = {.listen = "127.0.0.1:0", .routes = routes, .arg = rig};
    memset(rig, 0, sizeof *rig);
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    rig->server = http_server_new(&rig->loop, &server, &err);
    assert_non_null(rig->server);
    rig->port = http_server_port(rig->server);
    rig->client = http_client_new(&rig->loop, &options, &err);
    assert_non_null(rig->client);
    for (int i = 0; i < REQUESTS; i++) {
        rig->requests[i] = requests[i];
        rig->requests[i].rig = rig;
        assert_int_equal(task_start(&rig->loop, "one", send_one, &rig->requests[i], &err), 0);
    }
    assert_int_equal(task_run(&rig->loop, wait_for_all, rig, &err), 0);
    for (int i = 0; i < rig->held_count; i++) {
        http_answer_text(rig->held[i], 200, "");
    }
    http_client_free(rig->client);
    http_server_free(rig->server);
    assert_int_equal(uv_run(&rig->loop, UV_RUN_DEFAULT), 0);
    task_cleanup();
    assert_int_equal(uv_loop_close(&rig->loop), 0);
}

/* The very first of a host: nothing is known of its connections yet. */
static void one_that_is_held_holds_no_other(void **state)
{
    struct rig rig;
    const struct one requests[REQUESTS] = {{.path = "/held", .total_ms = PATIENT_MS},
                                           {.path = "/quick", .total_ms = PATIENT_MS},
                                           {.path = "/quick", .total_ms = PATIENT_MS}};
    (void)state;
    rig_play(&rig, 8, requests);
    assert_int_equal(rig.ended, REQUESTS);
    assert_int_equal(rig.requests[0].place, REQUESTS);
    assert_int_equal(rig.requests[0].fault, HTTP_TIMEOUT_READ);
    for (int i = 1; i < REQUESTS; i++) {
        assert_int_equal(rig.requests[i].fault, HTTP_OK);
        assert_int_equal(rig.requests[i].status, 200);
    }
}

static void who_waits_for_a_connection_meets_the_total_deadline(void **state)
{
    struct rig rig;
    const struct one requests[REQUESTS] = {{.path = "/held", .total_ms = PATIENT_MS},
                                           {.path = "/held", .total_ms = IMPATIENT_MS},
                                           {.path = "/held", .total_ms = 2 * IMPATIENT_MS}};
    (void)state;
    rig_play(&rig, 1, requests);
    assert_int_equal(rig.ended, REQUESTS);
    assert_int_equal(rig.requests[1].place, 1);
    assert_int_equal(rig.requests[2].place, 2);
    assert_int_equal(rig.requests[0].fault, HTTP_TIMEOUT_READ);
    assert_int_equal(rig.requests[1].fault, HTTP_TIMEOUT_CONNECT);
    assert_int_equal(rig.requests[2].fault, HTTP_TIMEOUT_CONNECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_held_holds_no_other),
        cmocka_unit_test(who_waits_for_a_connection_meets_the_total_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
