/* HTTP client on curl's multi interface under libuv: keep-alive, HTTP/2, every deadline. The
 * only file that knows curl is http_curl.c. */
#ifndef COMMON_HTTP_CLIENT_H
#define COMMON_HTTP_CLIENT_H

#include "common/err.h"
#include "common/http.h"

#include <stdbool.h>
#include <uv.h>

struct http_client;

struct http_client_options {
    const char *user_agent;
    int max_connections; /* kept open in all */
    int max_connections_per_host;
    bool allow_private_hosts; /* loopback and private addresses, plain http: tests, demo */
    const char *ca_file;      /* NULL = the system's */
};

/** Returns a client that the caller owns, or NULL with err set. */
struct http_client *http_client_new(uv_loop_t *loop, const struct http_client_options *o,
                                    struct err *err) MUST_USE;
/** Ends what is in flight (HTTP_RESET) and frees; NULL is fine. */
void http_client_free(struct http_client *c);

/**
 * Send and wait, inside a task. No redirects. Any answer, whatever its status, is 0; so is a
 * fault, which resp->fault tells. -1 with err set only for what is ours (ERR_NOMEM,
 * ERR_INVALID). resp must be initialised; the body in it is the caller's.
 */
int http_client_send(struct http_client *c, const struct http_request *req,
                     struct http_response *resp, struct err *err) MUST_USE;

#endif
