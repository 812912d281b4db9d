/* An HTTP request to be made and its answer, as values. Who sends it is http_client.h;
 * providers only make requests and read answers. */
#ifndef COMMON_HTTP_H
#define COMMON_HTTP_H

#include "common/buf.h"

#include <stdint.h>

enum {
    HTTP_HEADERS_MAX = 48,
    HTTP_HEADER_MAX_BYTES = 1024,
    HTTP_URL_MAX_BYTES = 16 * 1024,
    HTTP_BODY_MAX_BYTES = 16 * 1024 * 1024,
};

struct http_request {
    const char *method; /* static: "GET", "POST", ... */
    struct buf url;
    struct buf headers; /* "Name: value\n" lines; secrets allowed, never logged */
    struct buf body;
    const char *endpoint; /* static template for logs and metrics: "/v1/customers/{id}" */
    const char *family;   /* static: the quota it uses: "general", "search" */
    size_t answer_max_bytes;
    int64_t connect_timeout_ms;
    int64_t first_byte_timeout_ms;
    int64_t total_timeout_ms;
};

/* Why there is no HTTP answer. */
enum http_fault {
    HTTP_OK = 0,
    HTTP_DNS,
    HTTP_CONNECT,
    HTTP_TLS,
    HTTP_TIMEOUT_CONNECT,
    HTTP_TIMEOUT_READ,
    HTTP_RESET,
    HTTP_PROXY,
    HTTP_TOO_LARGE,
    HTTP_REFUSED_HOST, /* our allow-list */
};

struct http_response {
    enum http_fault fault;
    char fault_text[256];
    int status;         /* 0 with a fault before the status line */
    struct buf headers; /* "name: value\n", names in lower case */
    struct buf body;    /* decoded; what had come when a fault struck */
    int64_t started_at_ms, took_us;
};

/** Ready with the default limits and time-outs (connect 5 s, first byte 30 s, total 90 s). */
void http_request_init(struct http_request *r);
/** Free what it holds; ready for use again. */
void http_request_release(struct http_request *r);
/** Add one header line; -1 when name or value hold a control character or do not fit. */
int http_request_header(struct http_request *r, const char *name, const char *value) MUST_USE;
/** Append text to a buffer percent-encoded for a URL query value or a form. */
int http_escape(struct buf *out, const char *text);

void http_response_init(struct http_response *r);
void http_response_release(struct http_response *r);
/** Value of a header (name in lower case), copied into out; NULL when absent or too long. */
const char *http_response_header(const struct http_response *r, const char *name, char *out,
                                 size_t out_bytes);

#endif
