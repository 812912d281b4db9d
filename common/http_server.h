/* HTTP/1.1 server on libmicrohttpd under libuv. http_server*.c are the only files that know
 * microhttpd.
 *
 * A program gives a table of routes. A handler is called once the whole body is there; it
 * answers at once or later, from any callback or task of the loop, and exactly once. Requests
 * that no route takes, that are too large or framed ambiguously (Content-Length together with
 * Transfer-Encoding, two lengths) never reach a handler.
 *
 * Every wait has a deadline of ours: for the headers, for the body, for the peer to read the
 * answer, for the next request on a kept connection. The handler's own waits are its own. */
#ifndef COMMON_HTTP_SERVER_H
#define COMMON_HTTP_SERVER_H

#include "common/buf.h"
#include "common/err.h"
#include "common/net_address.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct http_server;
struct http_exchange; /* one request and its answer */

typedef void http_handler(struct http_exchange *x, void *arg);

/* path: literal segments, "{name}" for one segment that is not empty, and a last "*" for the
 * rest, empty too. The first row that fits wins. GET serves HEAD too. Ends with path NULL. */
struct http_route {
    const char *method;
    const char *path;
    http_handler *handler;
};

enum { HTTP_SERVER_HOLES_MAX = 4 }; /* {name} and * of a route */

struct http_server_options {
    const char *listen; /* "127.0.0.1:8480", "[::1]:0", "*:80", "unix:/path" */
    int listen_fd; /* a listening socket passed in, 0 = none; wins. Closed with the server */
    const struct http_route *routes; /* lent */
    void *arg;                       /* for the handlers */

    /* 0 = the default in brackets */
    size_t header_max_bytes; /* request line and headers [16 KiB]; past it 431 or 414 */
    size_t body_max_bytes;   /* one body [1 MiB]; past it 413 */
    size_t bodies_max_bytes; /* all bodies held at one time [64 MiB]; past it 503 */
    size_t bodies_per_address_max_bytes; /* bodies of one client's address [a quarter of all,
                                            at least one body]; past it 503. Not for loopback
                                            and unix peers that nobody forwards for */
    int64_t body_min_bytes_per_s;        /* a body that is slower after 5 s is cut [1024] */
    int connections_max;                 /* [1024]; more wait in the listen queue */
    int connections_per_address_max;     /* [256]; not for loopback, unix and trusted peers */
    const struct net_list
        *trusted_proxies;      /* lent; whose X-Forwarded-For counts; NULL = none */
    int64_t header_timeout_ms; /* first byte of a connection to headers [10 s] */
    int64_t body_timeout_ms;   /* headers to end of body [30 s] */
    int64_t send_timeout_ms;   /* answer to its last byte taken [60 s] */
    int64_t idle_timeout_ms;   /* end of an answer to the next request's headers [75 s] */
};

/** Bind, listen and serve on the loop. Returns a server the caller owns, or NULL with err set:
 * ERR_CONFIG (address), ERR_OS (bind), ERR_NOMEM. */
struct http_server *http_server_new(uv_loop_t *loop, const struct http_server_options *o,
                                    struct err *err) MUST_USE;

/** The port it listens on; 0 for a unix socket. */
int http_server_port(const struct http_server *s);

/**
 * Graceful end: accept no more, close idle connections, let the others finish their request,
 * and call stopped (may be NULL), not inside this call, when none is left or after drain_ms,
 * whichever comes first. Then http_server_free().
 */
void http_server_stop(struct http_server *s, int64_t drain_ms, void (*stopped)(void *arg),
                      void *arg);

/** Cut what is left and free; NULL is fine. Exchanges not yet answered stay valid, and must
 * still be answered, which then does nothing. Not from inside a handler. */
void http_server_free(struct http_server *s);

struct http_server_counts {
    int64_t connections; /* open now */
    int64_t body_bytes;  /* held now */
    int64_t accepted, requests;
    int64_t cut_headers, cut_body, cut_send, cut_idle; /* ended by our deadlines */
    int64_t cut_trickle;                               /* bodies below the least rate */
    int64_t refused_address, refused_framing, refused_large, refused_overload;
    int64_t refused_share; /* bodies over the share of one address */
};
void http_server_counts(const struct http_server *s, struct http_server_counts *out);

/* ---- the request. What is lent is good until the exchange is answered. ---- */
const char *http_exchange_method(const struct http_exchange *x);
/** Path and query as sent, undecoded: what some signatures cover. */
const char *http_exchange_target(const struct http_exchange *x);
/** The path alone, undecoded. */
const char *http_exchange_path(const struct http_exchange *x);
/** The route that took it ("/webhooks/stripe/{id}"), for metrics; NULL when none did. */
const char *http_exchange_route(const struct http_exchange *x);
/** Hole i of the route, percent-decoded; "" when there is none. */
const char *http_exchange_hole(const struct http_exchange *x, int i);
/** Value of a query parameter, decoded ("+" is a space), into out; NULL when absent, too long
 * or holding a NUL. */
const char *http_exchange_query(const struct http_exchange *x, const char *name, char *out,
                                size_t out_bytes);
/** Value of a header, any case; NULL when absent or the peer is gone. */
const char *http_exchange_header(const struct http_exchange *x, const char *name);
struct slice http_exchange_body(const struct http_exchange *x);
/** Address of the client: the peer's, or through trusted proxies the one they forwarded for;
 * "unix" for a unix socket. */
const char *http_exchange_peer(struct http_exchange *x);
/** Is it nobody of this machine, as far as can be told: not from loopback or a unix socket, or
 * forwarded by a proxy? Such a client is told no more than it needs. */
bool http_exchange_is_stranger(struct http_exchange *x);
/** Was the connection opened by a trusted proxy? (A unix socket counts when there is any.) */
bool http_exchange_from_proxy(const struct http_exchange *x);
/** Time the headers were complete (clock_mono_us). */
int64_t http_exchange_started_us(const struct http_exchange *x);
/** Memory of the handler's, for what it has to keep until it answers; NULL at first. */
void http_exchange_set_data(struct http_exchange *x, void *data);
void *http_exchange_data(const struct http_exchange *x);

/* ---- the answer ---- */
/** Add a header to the answer. -1 = no memory, or a control character in it. */
int http_exchange_set_header(struct http_exchange *x, const char *name, const char *value);
/** Answer; bytes are copied. The exchange is no longer the caller's. type may be NULL with no
 * body. */
void http_answer(struct http_exchange *x, int status, const char *type, const void *bytes,
                 size_t len_bytes);
/** The same with a text and text/plain. */
void http_answer_text(struct http_exchange *x, int status, const char *text);

/** A handler for GET /livez: "ok", 200. That it is called shows that the loop turns. */
void http_answer_livez(struct http_exchange *x, void *arg);

/* ---- listening sockets ---- */
/** Bind and listen on an address as in the options; a dead unix socket's file is replaced. The
 * file descriptor, or -1 with err set (ERR_CONFIG, ERR_OS). */
int http_listen(const char *address, int backlog, struct err *err) MUST_USE;
/** The i-th socket passed by LISTEN_FDS (systemd's protocol; without LISTEN_PID it is ours
 * too), made close-on-exec; 0 = none. */
int http_listen_passed(int i);

#endif
