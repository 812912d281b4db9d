/* The server's life: microhttpd under libuv, connections and their deadlines, the end.
 *
 * microhttpd runs with an epoll descriptor of its own and no thread. libuv watches that
 * descriptor; but resumed connections do not show on it in time (trusting it alone: 21
 * requests/s), so whatever asks for a run sets run_wanted, and the prepare and check phases of
 * each turn run microhttpd once for all of them.
 *
 * microhttpd's own time-out is for idleness only: one byte every few seconds holds a connection
 * for ever, and it sleeps while suspended. So it is off, and each connection has a stage with a
 * deadline of ours. There is no call to close a connection from outside: shutting its socket
 * down makes microhttpd see the end and close it. */
#include "common/http_server_private.h"

#include "common/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LISTEN_BACKLOG = 1024,
    RUNS_PER_TURN = 4,       /* then the loop's other work has its turn */
    POOL_EXTRA_BYTES = 2048, /* of a connection's pool, for the answer's headers */
    BODY_GRACE_MS = 5000,    /* before the rate of a body is judged */
    DRAIN_HEADERS_MS = 1000, /* a new connection without a request while draining */
};

/* ---- running microhttpd ---- */

static void on_again(uv_timer_t *timer);

static void server_run(struct http_server *s)
{
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    bool more = true;
    if (s->running || s->closing) {
        return;
    }
    s->running = true;
    s->run_wanted = false;
    for (int i = 0; i < RUNS_PER_TURN && more; i++) {
        (void)MHD_run(s->daemon);
        more = MHD_get_timeout(s->daemon, &wait_ms) == MHD_YES && wait_ms == 0;
    }
    s->running = false;
    if (more || s->run_wanted) {
        (void)uv_timer_start(&s->again, on_again, 0, 0);
    }
}

static void on_again(uv_timer_t *timer)
{
    server_run(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct http_server *s = poll->data;
    (void)status, (void)events;
    server_run(s);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct http_server *s = prepare->data;
    if (s->run_wanted) {
        server_run(s);
    }
}

static void on_check(uv_check_t *check)
{
    struct http_server *s = check->data;
    if (s->run_wanted) {
        server_run(s);
    }
}

/* ---- connections ---- */

static int64_t stage_timeout_ms(const struct http_server *s, enum connection_stage stage)
{
    switch (stage) {
    case STAGE_HEADERS:
        return s->limits.header_timeout_ms;
    case STAGE_BODY:
        return s->limits.body_timeout_ms;
    case STAGE_SENDING:
        return s->limits.send_timeout_ms;
    case STAGE_IDLE:
        return s->limits.idle_timeout_ms;
    case STAGE_HANDLING:
        break;
    }
    return 0;
}

void connection_stage(struct connection *c, enum connection_stage stage)
{
    int64_t timeout_ms = stage_timeout_ms(c->server, stage);
    c->stage = stage;
    if (stage == STAGE_BODY) {
        c->body_began_mono_ms = clock_mono_ms();
        c->body_came_bytes = 0;
    }
    c->deadline_mono_ms = timeout_ms > 0 ? clock_mono_ms() + timeout_ms : INT64_MAX;
}

static void connection_cut(struct connection *c)
{
    if (!c->cut) {
        c->cut = true;
        (void)shutdown(c->fd, SHUT_RDWR);
    }
}

static void count_cut(struct http_server_counts *counts, enum connection_stage stage)
{
    switch (stage) {
    case STAGE_HEADERS:
        counts->cut_headers++;
        break;
    case STAGE_BODY:
        counts->cut_body++;
        break;
    case STAGE_SENDING:
        counts->cut_send++;
        break;
    case STAGE_IDLE:
        counts->cut_idle++;
        break;
    case STAGE_HANDLING:
        break;
    }
}

static void drained(struct http_server *s)
{
    void (*stopped)(void *arg) = s->stopped;
    s->stopped = NULL;
    (void)uv_timer_stop(&s->deadline);
    if (stopped != NULL) {
        stopped(s->stopped_arg); /* may free the server */
    }
}

/* A body that comes at a trickle holds memory for as long as its deadline lets it. */
static bool connection_trickles(const struct connection *c, int64_t now_ms)
{
    int64_t took_ms = now_ms - c->body_began_mono_ms;
    return c->stage == STAGE_BODY && took_ms > BODY_GRACE_MS &&
           c->body_came_bytes < c->server->limits.body_min_bytes_per_s * took_ms / 1000;
}

static void on_deadline(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    int64_t now_ms = clock_mono_ms();
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        if (now_ms >= c->deadline_mono_ms && !c->cut) {
            count_cut(&s->counts, c->stage);
            connection_cut(c);
        } else if (!c->cut && connection_trickles(c, now_ms)) {
            s->counts.cut_trickle++;
            connection_cut(c);
        }
    }
    if (!s->draining) {
        if (s->connections == NULL) {
            (void)uv_timer_stop(timer);
        }
        return;
    }
    if (s->connections == NULL || now_ms >= s->drain_until_mono_ms) {
        drained(s);
    }
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How often deadlines are looked at: four times within the shortest, at most once a second. */
static uint64_t deadline_period_ms(const struct http_server *s)
{
    const struct http_server_options *l = &s->limits;
    int64_t shortest = smaller(smaller(l->header_timeout_ms, l->body_timeout_ms),
                               smaller(l->send_timeout_ms, l->idle_timeout_ms));
    int64_t period = smaller(shortest / 4, 1000);
    return (uint64_t)(period > 5 ? period : 5);
}

static void connection_open(struct http_server *s, struct MHD_Connection *connection,
                            void **socket_context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *c = calloc(1, sizeof *c);
    *socket_context = c;
    if (c == NULL) {
        if (info != NULL) {
            (void)shutdown(info->connect_fd, SHUT_RDWR);
        }
        return;
    }
    c->server = s;
    c->fd = info != NULL ? info->connect_fd : -1;
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    c->is_inet = info != NULL && info->client_addr != NULL &&
                 net_address_of(info->client_addr, &c->address);
    connection_stage(c, STAGE_HEADERS);
    c->next = s->connections;
    if (s->connections != NULL) {
        s->connections->prev = c;
    }
    s->connections = c;
    s->counts.accepted++;
    s->counts.connections++;
    if (!uv_is_active((const uv_handle_t *)&s->deadline)) {
        (void)uv_timer_start(&s->deadline, on_deadline, deadline_period_ms(s),
                             deadline_period_ms(s));
    }
}

static void connection_closed(struct http_server *s, struct connection *c)
{
    if (c == NULL) {
        return;
    }
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        s->connections = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    free(c);
    s->counts.connections--;
    if (s->draining && !s->closing && s->connections == NULL) {
        (void)uv_timer_start(&s->deadline, on_deadline, 0, deadline_period_ms(s));
    }
}

static void on_connection(void *server, struct MHD_Connection *connection,
                          void **socket_context, enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_open(server, connection, socket_context);
    } else {
        connection_closed(server, *socket_context);
        *socket_context = NULL;
    }
}

static enum MHD_Result on_accept(void *server, const struct sockaddr *peer, socklen_t len)
{
    struct http_server *s = server;
    struct net_address address;
    int same = 0;
    if (peer == NULL || len == 0 || !net_address_of(peer, &address) ||
        net_address_is_loopback(&address) ||
        (s->limits.trusted_proxies != NULL &&
         net_list_has(s->limits.trusted_proxies, &address))) {
        return MHD_YES;
    }
    /* A walk, as connections are few and accepting is rare beside requests. */
    for (const struct connection *c = s->connections; c != NULL; c = c->next) {
        same += c->is_inet && memcmp(&c->address, &address, sizeof address) == 0;
    }
    if (same >= s->limits.connections_per_address_max) {
        s->counts.refused_address++;
        return MHD_NO;
    }
    return MHD_YES;
}

/* ---- birth ---- */

static size_t no_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls, (void)connection;
    return strlen(text); /* signatures cover the target as sent; holes are decoded by us */
}

#define DEFAULT(field, value)                                                                  \
    (s->limits.field = s->limits.field > 0 ? s->limits.field : (value))

static void limits_fill(struct http_server *s, const struct http_server_options *o)
{
    s->limits = *o;
    DEFAULT(header_max_bytes, 16 << 10);
    DEFAULT(body_max_bytes, 1 << 20);
    DEFAULT(bodies_max_bytes, 64 << 20);
    DEFAULT(bodies_per_address_max_bytes,
            s->limits.bodies_max_bytes / 4 > s->limits.body_max_bytes
                ? s->limits.bodies_max_bytes / 4
                : s->limits.body_max_bytes);
    DEFAULT(body_min_bytes_per_s, 1024);
    DEFAULT(connections_max, 1024);
    DEFAULT(connections_per_address_max, 256);
    DEFAULT(header_timeout_ms, 10000);
    DEFAULT(body_timeout_ms, 30000);
    DEFAULT(send_timeout_ms, 60000);
    DEFAULT(idle_timeout_ms, 75000);
}

static int daemon_start(struct http_server *s)
{
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0, on_accept, s, exchange_step,
        s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)s->limits.connections_max, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, s->limits.header_max_bytes + POOL_EXTRA_BYTES,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_NOTIFY_COMPLETED,
        exchange_completed, s, MHD_OPTION_URI_LOG_CALLBACK, exchange_begin, s,
        MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_END);
    return s->daemon != NULL ? 0 : -1;
}

static int loop_start(struct http_server *s)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD_LINUX_ONLY);
    if (info == NULL || uv_poll_init(s->loop, &s->poll, info->epoll_fd) != 0) {
        return -1;
    }
    (void)uv_prepare_init(s->loop, &s->prepare);
    (void)uv_check_init(s->loop, &s->check);
    (void)uv_timer_init(s->loop, &s->again);
    (void)uv_timer_init(s->loop, &s->deadline);
    s->poll.data = s->prepare.data = s->check.data = s->again.data = s->deadline.data = s;
    s->handles_open = 5;
    (void)uv_prepare_start(&s->prepare, on_prepare);
    (void)uv_check_start(&s->check, on_check);
    uv_unref((uv_handle_t *)&s->prepare);
    uv_unref((uv_handle_t *)&s->check);
    return uv_poll_start(&s->poll, UV_READABLE, on_readable);
}

static int port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        return 0;
    }
    if (address.ss_family == AF_INET) {
        memcpy(&v4, &address, sizeof v4);
        return ntohs(v4.sin_port);
    }
    if (address.ss_family == AF_INET6) {
        memcpy(&v6, &address, sizeof v6);
        return ntohs(v6.sin6_port);
    }
    return 0;
}

static void listen_close(struct http_server *s)
{
    if (s->listen_fd < 0) {
        return;
    }
    if (s->daemon != NULL) {
        (void)MHD_quiesce_daemon(s->daemon);
    }
    /* The file goes first: who connects meanwhile is told at once that nobody is there. */
    if (s->unix_path != NULL) {
        (void)unlink(s->unix_path);
    }
    (void)close(s->listen_fd);
    s->listen_fd = -1;
}

struct http_server *http_server_new(uv_loop_t *loop, const struct http_server_options *o,
                                    struct err *err)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (s == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the http server");
        return NULL;
    }
    s->loop = loop;
    s->routes = o->routes;
    s->arg = o->arg;
    limits_fill(s, o);
    s->listen_fd =
        o->listen_fd > 0 ? o->listen_fd : http_listen(o->listen, LISTEN_BACKLOG, err);
    if (s->listen_fd < 0) {
        free(s);
        return NULL;
    }
    if (o->listen_fd <= 0 && strncmp(o->listen, "unix:", 5) == 0) {
        s->unix_path = strdup(o->listen + 5);
    }
    s->port = port_of(s->listen_fd);
    s->empty_200 = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (s->empty_200 == NULL || daemon_start(s) != 0) {
        err_set(err, ERR_NOMEM, "cannot start the http server");
        goto fail;
    }
    if (loop_start(s) != 0) {
        err_set(err, ERR_OS, "cannot watch the http server's sockets");
        goto fail;
    }
    return s;

fail:
    http_server_free(s);
    return NULL;
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

void http_server_counts(const struct http_server *s, struct http_server_counts *out)
{
    *out = s->counts;
}

/* ---- the end ---- */

void http_server_stop(struct http_server *s, int64_t drain_ms, void (*stopped)(void *arg),
                      void *arg)
{
    int64_t now_ms = clock_mono_ms();
    if (s->draining) {
        return;
    }
    server_run(s); /* what has arrived counts as begun */
    listen_close(s);
    s->draining = true;
    s->drain_until_mono_ms = now_ms + drain_ms;
    s->stopped = stopped;
    s->stopped_arg = arg;
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        if (c->stage == STAGE_IDLE) {
            connection_cut(c);
        } else if (c->stage == STAGE_HEADERS) {
            c->deadline_mono_ms = smaller(c->deadline_mono_ms, now_ms + DRAIN_HEADERS_MS);
        }
    }
    /* At most one period late, but never later than drain_ms. */
    uint64_t period_ms = (uint64_t)smaller((int64_t)deadline_period_ms(s), 50);
    (void)uv_timer_start(&s->deadline, on_deadline, 0, period_ms);
}

static void handle_closed(uv_handle_t *handle)
{
    struct http_server *s = handle->data;
    if (--s->handles_open == 0) {
        free(s);
    }
}

/* microhttpd aborts the program when it is stopped with suspended connections. */
static void resume_all(struct http_server *s)
{
    for (struct http_exchange *x = s->exchanges; x != NULL; x = x->next) {
        if (x->suspended && x->connection != NULL) {
            x->suspended = false;
            MHD_resume_connection(x->connection);
        }
    }
    (void)MHD_run(s->daemon);
}

void http_server_free(struct http_server *s)
{
    if (s == NULL) {
        return;
    }
    s->closing = true;
    listen_close(s);
    free(s->unix_path);
    if (s->handles_open > 0) {
        (void)uv_poll_stop(&s->poll); /* before microhttpd closes its epoll descriptor */
    }
    if (s->daemon != NULL) {
        resume_all(s);
        MHD_stop_daemon(s->daemon);
    }
    while (s->exchanges != NULL) {
        exchange_orphan(s->exchanges);
    }
    if (s->empty_200 != NULL) {
        MHD_destroy_response(s->empty_200);
    }
    if (s->handles_open == 0) {
        free(s);
        return;
    }
    uv_close((uv_handle_t *)&s->poll, handle_closed);
    uv_close((uv_handle_t *)&s->prepare, handle_closed);
    uv_close((uv_handle_t *)&s->check, handle_closed);
    uv_close((uv_handle_t *)&s->again, handle_closed);
    uv_close((uv_handle_t *)&s->deadline, handle_closed);
}
