/* What http_server.c (sockets, loop, deadlines, end) and http_server_exchange.c (one request)
 * share. Nobody else includes it. */
#ifndef COMMON_HTTP_SERVER_PRIVATE_H
#define COMMON_HTTP_SERVER_PRIVATE_H

#include "common/http_server.h"

#include <microhttpd.h>

/* What a connection waits for; each has a deadline but HANDLING, which is the handler's. */
enum connection_stage {
    STAGE_HEADERS,
    STAGE_BODY,
    STAGE_HANDLING,
    STAGE_SENDING,
    STAGE_IDLE,
};

struct connection {
    struct http_server *server;
    int fd; /* microhttpd's */
    enum connection_stage stage;
    int64_t deadline_mono_ms; /* INT64_MAX = none */
    int64_t body_began_mono_ms;
    int64_t body_came_bytes;
    bool cut; /* shut down by us; microhttpd will notice */
    bool is_inet;
    struct net_address address;
    struct connection *prev, *next;
};

enum { ANSWER_HEADERS_MAX = 12 };

struct http_exchange {
    struct http_server *server;        /* NULL once the server is gone */
    struct MHD_Connection *connection; /* NULL once the peer is gone */
    struct connection *conn;           /* the same */
    const struct http_route *route;
    const char *method; /* lent by microhttpd, or static */
    char *path;         /* target up to "?", then the holes, in one allocation */
    char *holes[HTTP_SERVER_HOLES_MAX];
    int hole_count;
    char *body;
    size_t body_len_bytes;
    size_t body_cap_bytes;
    int64_t started_us;
    void *data;
    int refuse_status; /* known before the body ended: read on, then refuse */
    bool seen;         /* the handler of microhttpd was called before */
    bool suspended;
    bool handled;  /* given to the route's handler */
    bool answered; /* response is set */
    struct MHD_Response *response;
    int status;
    bool close_after;
    int header_count;
    char *headers[ANSWER_HEADERS_MAX]; /* "name\0value" */
    char peer[NET_ADDRESS_TEXT_BYTES];
    bool has_client;           /* its bodies count against the share of one address */
    struct net_address client; /* forwarded, or the peer's; of IPv6 the network */
    size_t declared_bytes;     /* Content-Length, 0 = none */
    size_t discarded_bytes;
    struct http_exchange *prev, *next; /* in server->exchanges */
    char target[];
};

struct http_server {
    uv_loop_t *loop;
    struct MHD_Daemon *daemon;
    const struct http_route *routes;
    void *arg;
    struct http_server_options limits; /* with the defaults filled in */
    int listen_fd;                     /* -1 once closed */
    char *unix_path;                   /* to unlink, or NULL */
    int port;

    uv_poll_t poll;       /* microhttpd's epoll descriptor */
    uv_prepare_t prepare; /* the two places where a turn of the loop runs microhttpd once */
    uv_check_t check;
    uv_timer_t again;    /* microhttpd wants to be run at a time of its own */
    uv_timer_t deadline; /* looks at the deadlines of the connections */
    int handles_open;
    bool run_wanted;
    bool running; /* inside MHD_run */
    bool draining;
    bool closing; /* in http_server_free: every step of microhttpd is refused */
    int64_t drain_until_mono_ms;
    void (*stopped)(void *arg);
    void *stopped_arg;

    struct connection *connections;
    struct http_exchange *exchanges;
    struct MHD_Response *empty_200;
    struct http_server_counts counts;
};

/** Move a connection to a stage, with its deadline. */
void connection_stage(struct connection *c, enum connection_stage stage);

/* Callbacks of microhttpd, in http_server_exchange.c. */
void *exchange_begin(void *server, const char *target, struct MHD_Connection *connection);
enum MHD_Result exchange_step(void *server, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **exchange);
void exchange_completed(void *server, struct MHD_Connection *connection, void **exchange,
                        enum MHD_RequestTerminationCode why);
/** The server goes away: take the connection from the exchange; free it if it is answered. */
void exchange_orphan(struct http_exchange *x);

#endif
