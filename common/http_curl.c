/* http_client.h on libcurl's multi interface, which http_curl_loop.c runs under libuv.
 *
 * What curl leaves to us: the deadline of the first byte, the cap on decoded bytes, looking at
 * the address before it is connected, and the end of a request that has no connection yet (curl
 * 7.88 looks at no deadline while one waits for another's) or that it forgot, timer and all,
 * after an allocation that failed.
 *
 * Proxies from the environment are not used: behind one the connected address says nothing
 * about the host. */
#include "common/clock.h"
#include "common/http_client.h"
#include "common/http_curl_loop.h"
#include "common/net_address.h"
#include "common/task.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    IDLE_TRANSFERS_MAX = 64,      /* easy handles kept for reuse */
    DEAD_PEER_TIMEOUT_MS = 20000, /* unacknowledged bytes: a silent HTTP/2 connection must go */
    KEEPALIVE_S = 20,
    KEPT_S = 118,         /* curl's own limit for an idle connection */
    TOTAL_GRACE_MS = 250, /* curl's own deadline gets its chance first: it says more */
};

/* One request on its way. Lives from http_client_send() until the task has its answer, then
 * rests in client->idle. */
struct transfer {
    struct http_client *client;
    CURL *easy;
    struct curl_slist *headers;
    struct http_response *resp; /* the caller's, NULL when idle */
    struct wake done;
    uv_timer_t first_byte;
    int64_t first_byte_timeout_ms;
    size_t answer_max_bytes;
    bool sent;       /* connected, the request goes out */
    bool answered;   /* the first header line came */
    bool body_began; /* what comes as header now is a trailer */
    bool too_large;
    bool refused_host;
    bool ended;
    enum err_code ours; /* no fault of the other side: out of memory, bad URL */
    char error_text[CURL_ERROR_SIZE];
    struct transfer *prev, *next; /* in client->flying or client->idle (next only) */
};

struct http_client {
    struct curl_loop curl;
    CURLSH *share; /* TLS sessions, so that a new connection resumes */
    char *user_agent;
    char *ca_file;
    bool allow_private_hosts;
    bool closing;
    int64_t silent_at_mono_ms; /* of the last connection that fell silent, 0 = none */
    int refs;                  /* itself, what its loop holds, each transfer */
    int idle_count;
    struct transfer *flying;
    struct transfer *idle;
};

static void client_ref(void *client)
{
    ((struct http_client *)client)->refs++;
}

static void client_unref(void *client)
{
    struct http_client *c = client;
    if (--c->refs > 0) {
        return;
    }
    free(c->user_agent);
    free(c->ca_file);
    free(c);
    curl_global_cleanup();
}

static curl_socket_t socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct transfer *t = arg;
    struct net_address address;
    const int dead_peer_ms = DEAD_PEER_TIMEOUT_MS;
    (void)purpose;
    if (!t->client->allow_private_hosts &&
        (!net_address_of(&to->addr, &address) || !net_address_is_public(&address))) {
        t->refused_host = true;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
    if (fd >= 0 && (to->family == AF_INET || to->family == AF_INET6)) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_peer_ms, sizeof dead_peer_ms);
    }
    return fd;
}

/* ---- what comes back ---- */

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    struct buf *body = &t->resp->body;
    size_t len = size * count;
    size_t room = t->answer_max_bytes - body->len_bytes;
    t->body_began = true;
    if (len > room) {
        /* What fits is kept: the log shows the beginning of the offending answer. */
        t->too_large = true;
        (void)buf_add(body, bytes, room);
        return 0;
    }
    if (buf_add(body, bytes, len) != 0) {
        t->ours = ERR_NOMEM;
        return 0;
    }
    return len;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    struct buf *headers = &t->resp->headers;
    size_t len = size * count;
    size_t text = len;
    t->answered = true;
    (void)uv_timer_stop(&t->first_byte);
    if (t->body_began) {
        return len; /* a trailer */
    }
    while (text > 0 && (bytes[text - 1] == '\n' || bytes[text - 1] == '\r')) {
        text--;
    }
    if (text >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        buf_clear(headers); /* of a 1xx before it */
        return len;
    }
    const char *colon = memchr(bytes, ':', text);
    if (colon == NULL) {
        return len; /* the blank line, or a folded one, which nobody may send any more */
    }
    const char *value = colon + 1;
    const char *end = bytes + text;
    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    for (const char *p = bytes; p < colon; p++) {
        (void)buf_add_char(headers, (char)(*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p));
    }
    (void)buf_add(headers, ": ", 2);
    (void)buf_add(headers, value, (size_t)(end - value));
    (void)buf_add_char(headers, '\n');
    if (headers->failed) {
        t->too_large = true;
        return 0;
    }
    return len;
}

static enum http_fault fault_of(const struct transfer *t, CURLcode code)
{
    switch ((int)code) {
    case CURLE_OK:
        return HTTP_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
        return HTTP_DNS;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_PROXY:
        return HTTP_PROXY;
    case CURLE_UNSUPPORTED_PROTOCOL: /* of the URL, or what answered is not HTTP */
        return t->sent ? HTTP_RESET : HTTP_REFUSED_HOST;
    case CURLE_COULDNT_CONNECT:
        return t->refused_host ? HTTP_REFUSED_HOST : HTTP_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
        return HTTP_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return t->sent ? HTTP_TIMEOUT_READ : HTTP_TIMEOUT_CONNECT;
    case CURLE_WRITE_ERROR:
        return t->too_large ? HTTP_TOO_LARGE : HTTP_RESET;
    default: /* send, receive, empty or cut answer, HTTP/2 stream, bad encoding */
        return HTTP_RESET;
    }
}

static void transfer_end(struct transfer *t, enum http_fault fault, const char *text)
{
    struct http_response *resp = t->resp;
    struct http_client *c = t->client;
    if (fault == HTTP_TIMEOUT_READ) {
        c->silent_at_mono_ms = clock_mono_ms();
    }
    long status = 0;
    curl_off_t took_us = 0;
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(t->easy, CURLINFO_TOTAL_TIME_T, &took_us);
    resp->status = t->answered ? (int)status : 0;
    resp->took_us = took_us;
    resp->fault = fault;
    if (fault != HTTP_OK) {
        (void)snprintf(resp->fault_text, sizeof resp->fault_text, "%s", text);
    }
    t->ended = true;
    (void)uv_timer_stop(&t->first_byte);
    (void)curl_multi_remove_handle(c->curl.multi, t->easy);
    if (t->prev != NULL) {
        t->prev->next = t->next;
    } else {
        c->flying = t->next;
    }
    if (t->next != NULL) {
        t->next->prev = t->prev;
    }
    t->prev = t->next = NULL;
    if (c->flying == NULL) {
        curl_loop_busy(&c->curl, false);
    }
    if (c->closing) {
        curl_easy_cleanup(t->easy); /* before the share and the multi it leans on */
        t->easy = NULL;
    }
    wake_fire(&t->done);
}

static void read_messages(void *client)
{
    struct http_client *c = client;
    CURLMsg *message = NULL;
    int left = 0;
    while ((message = curl_multi_info_read(c->curl.multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        struct transfer *t = NULL;
        CURLcode code = message->data.result;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        enum http_fault fault = fault_of(t, code);
        const char *text = t->error_text[0] != '\0' ? t->error_text : curl_easy_strerror(code);
        if (fault == HTTP_REFUSED_HOST) {
            text = code == CURLE_UNSUPPORTED_PROTOCOL
                       ? "only https is allowed"
                       : "the host has a private or reserved address";
        } else if (fault == HTTP_TOO_LARGE) {
            text = "the answer is larger than allowed";
        }
        if (code == CURLE_OUT_OF_MEMORY) {
            t->ours = ERR_NOMEM;
        } else if (code == CURLE_URL_MALFORMAT) {
            t->ours = ERR_INVALID;
        }
        transfer_end(t, fault, text);
    }
}

static void on_first_byte_late(uv_timer_t *timer)
{
    struct transfer *t = timer->data;
    char text[96];
    (void)snprintf(text, sizeof text, "no answer began within %lld ms",
                   (long long)t->first_byte_timeout_ms);
    transfer_end(t, HTTP_TIMEOUT_READ, text);
}

/* curl calls this when the connection, new or kept, is about to carry the request. */
static int on_connected(void *arg, char *peer, char *local, int peer_port, int local_port)
{
    struct transfer *t = arg;
    (void)peer, (void)local, (void)peer_port, (void)local_port;
    t->sent = true;
    if (t->first_byte_timeout_ms > 0) {
        uv_update_time(t->client->curl.loop);
        (void)uv_timer_start(&t->first_byte, on_first_byte_late,
                             (uint64_t)t->first_byte_timeout_ms, 0);
    }
    return CURL_PREREQFUNC_OK;
}

/* ---- transfers ---- */

static void transfer_closed(uv_handle_t *handle)
{
    struct transfer *t = handle->data;
    client_unref(t->client);
    free(t);
}

static void transfer_free(struct transfer *t)
{
    curl_easy_cleanup(t->easy);
    t->easy = NULL;
    uv_close((uv_handle_t *)&t->first_byte, transfer_closed);
}

static struct transfer *transfer_take(struct http_client *c)
{
    struct transfer *t = c->idle;
    if (t != NULL) {
        c->idle = t->next;
        c->idle_count--;
        curl_easy_reset(t->easy);
        t->next = NULL;
        t->sent = t->answered = t->body_began = false;
        t->too_large = t->refused_host = t->ended = false;
        t->ours = ERR_NONE;
        t->error_text[0] = '\0';
        wake_reset(&t->done);
        return t;
    }
    t = calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->easy = curl_easy_init();
    if (t->easy == NULL) {
        free(t);
        return NULL;
    }
    (void)uv_timer_init(c->curl.loop, &t->first_byte);
    t->first_byte.data = t;
    t->client = c;
    c->refs++;
    return t;
}

static void transfer_give_back(struct transfer *t)
{
    struct http_client *c = t->client;
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    t->resp = NULL;
    if (c->closing || c->idle_count >= IDLE_TRANSFERS_MAX) {
        transfer_free(t);
        return;
    }
    t->next = c->idle;
    c->idle = t;
    c->idle_count++;
}

/* "Name: value\n" lines to curl's list; "Expect:" keeps curl from waiting for a 100. */
static int transfer_headers(struct transfer *t, const struct http_request *req)
{
    const char *line = buf_text(&req->headers);
    char text[HTTP_HEADER_MAX_BYTES * 8];
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    while (list != NULL && *line != '\0') {
        size_t len = strcspn(line, "\n");
        if (len >= sizeof text) {
            break;
        }
        (void)snprintf(text, sizeof text, "%.*s", (int)len, line);
        struct curl_slist *longer = curl_slist_append(list, text);
        if (longer == NULL) {
            break;
        }
        list = longer;
        line += len + (line[len] == '\n');
    }
    t->headers = list;
    return list != NULL && *line == '\0' ? 0 : -1;
}

#define SET(option, value) (failed |= curl_easy_setopt(t->easy, option, value) != CURLE_OK)

static int transfer_method(struct transfer *t, const struct http_request *req)
{
    bool failed = false;
    bool get = strcmp(req->method, "GET") == 0;
    if (strcmp(req->method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
    } else if (!get || req->body.len_bytes > 0) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, buf_text(&req->body));
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->body.len_bytes);
        SET(CURLOPT_CUSTOMREQUEST, req->method);
    }
    return failed ? -1 : 0;
}

static int transfer_prepare(struct transfer *t, const struct http_request *req)
{
    const struct http_client *c = t->client;
    bool failed = transfer_headers(t, req) != 0 || transfer_method(t, req) != 0;
    SET(CURLOPT_URL, buf_text(&req->url));
    SET(CURLOPT_HTTPHEADER, t->headers);
    SET(CURLOPT_PRIVATE, (void *)t);
    SET(CURLOPT_ERRORBUFFER, t->error_text);
    SET(CURLOPT_USERAGENT, c->user_agent);
    SET(CURLOPT_ACCEPT_ENCODING, "gzip");
    SET(CURLOPT_NOSIGNAL, 1L);
    /* Who ends while its name is being resolved must not wait for the resolver's thread. */
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROTOCOLS_STR, c->allow_private_hosts ? "http,https" : "https");
    SET(CURLOPT_SHARE, c->share);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    /* Not CURLOPT_PIPEWAIT: with it everything for a host waits for the first answer, which may
     * be a slow one, to learn whether one connection would do. Opening some in vain costs less.
     */
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_S);
    SET(CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_S / 4);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)req->connect_timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)req->total_timeout_ms);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, (void *)t);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, (void *)t);
    SET(CURLOPT_PREREQFUNCTION, on_connected);
    SET(CURLOPT_PREREQDATA, (void *)t);
    SET(CURLOPT_OPENSOCKETFUNCTION, socket_open);
    SET(CURLOPT_OPENSOCKETDATA, (void *)t);
    SET(CURLOPT_CLOSESOCKETFUNCTION, curl_loop_socket_close);
    SET(CURLOPT_CLOSESOCKETDATA, (void *)&t->client->curl);
    if (c->ca_file != NULL) {
        SET(CURLOPT_CAINFO, c->ca_file);
    }
    return failed ? -1 : 0;
}

/* When one connection fell silent, the others of its time may lie in the same hole (a firewall
 * that forgot them), and each would cost one more first-byte deadline: they are not used again.
 * Seconds are all that curl knows. */
static int transfer_avoid_silent(struct transfer *t)
{
    int64_t silent_at = t->client->silent_at_mono_ms;
    int64_t age_s = (clock_mono_ms() - silent_at) / 1000;
    if (silent_at == 0 || age_s > KEPT_S) {
        return 0;
    }
    return curl_easy_setopt(t->easy, CURLOPT_MAXLIFETIME_CONN, (long)(age_s > 0 ? age_s : 1)) ==
                   CURLE_OK
               ? 0
               : -1;
}

static int transfer_wait(struct transfer *t, int64_t total_ms, struct err *err)
{
    if (total_ms <= 0) {
        return wake_wait(&t->done, INT64_MAX, err);
    }
    if (wake_wait(&t->done, clock_mono_ms() + total_ms + TOTAL_GRACE_MS, NULL) != 0 &&
        !t->ended) {
        char text[96];
        (void)snprintf(text, sizeof text, "%s within %lld ms",
                       t->sent ? "not answered" : "no connection became free",
                       (long long)total_ms);
        transfer_end(t, t->sent ? HTTP_TIMEOUT_READ : HTTP_TIMEOUT_CONNECT, text);
    }
    return 0;
}

/* ---- the interface ---- */

static bool resolver_is_asynchronous(void)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    return (info->features & CURL_VERSION_ASYNCHDNS) != 0;
}

static int client_setup(struct http_client *c, const struct http_client_options *o)
{
    long total = o->max_connections > 0 ? o->max_connections : 64;
    long per_host = o->max_connections_per_host > 0 ? o->max_connections_per_host : total;
    bool failed = false;
    c->user_agent = strdup(o->user_agent != NULL ? o->user_agent : "pivotal-sync");
    c->ca_file = o->ca_file != NULL ? strdup(o->ca_file) : NULL;
    c->curl.multi = curl_multi_init();
    c->share = curl_share_init();
    if (c->user_agent == NULL || (o->ca_file != NULL && c->ca_file == NULL) ||
        c->curl.multi == NULL || c->share == NULL) {
        return -1;
    }
    failed |= curl_share_setopt(c->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != 0;
    failed |=
        curl_multi_setopt(c->curl.multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX) != 0;
    failed |= curl_multi_setopt(c->curl.multi, CURLMOPT_MAXCONNECTS, total) != 0;
    failed |= curl_multi_setopt(c->curl.multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, total) != 0;
    failed |= curl_multi_setopt(c->curl.multi, CURLMOPT_MAX_HOST_CONNECTIONS, per_host) != 0;
    return failed ? -1 : 0;
}

struct http_client *http_client_new(uv_loop_t *loop, const struct http_client_options *o,
                                    struct err *err)
{
    struct http_client *c = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        err_set(err, ERR_NOMEM, "cannot initialise libcurl");
        return NULL;
    }
    if (!resolver_is_asynchronous()) {
        /* A name that resolves slowly would hold every other task of the program. */
        err_set(err, ERR_CONFIG, "this libcurl resolves names in the calling thread");
        curl_global_cleanup();
        return NULL;
    }
    c = calloc(1, sizeof *c);
    if (c == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the http client");
        curl_global_cleanup();
        return NULL;
    }
    c->refs = 1;
    c->curl = (struct curl_loop){.loop = loop,
                                 .moved = read_messages,
                                 .hold = client_ref,
                                 .release = client_unref,
                                 .owner = c};
    c->allow_private_hosts = o->allow_private_hosts;
    if (client_setup(c, o) != 0 || curl_loop_open(&c->curl) != 0) {
        err_set(err, ERR_NOMEM, "cannot set up the http client");
        (void)curl_multi_cleanup(c->curl.multi);
        (void)curl_share_cleanup(c->share);
        client_unref(c);
        return NULL;
    }
    return c;
}

void http_client_free(struct http_client *c)
{
    if (c == NULL) {
        return;
    }
    c->closing = true;
    while (c->flying != NULL) {
        transfer_end(c->flying, HTTP_RESET, "the program is ending");
    }
    while (c->idle != NULL) {
        struct transfer *t = c->idle;
        c->idle = t->next;
        transfer_free(t);
    }
    (void)curl_multi_cleanup(c->curl.multi);
    curl_loop_close(&c->curl);
    (void)curl_share_cleanup(c->share);
    client_unref(c);
}

int http_client_send(struct http_client *c, const struct http_request *req,
                     struct http_response *resp, struct err *err)
{
    struct transfer *t = transfer_take(c);
    if (t == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a request");
        return -1;
    }
    size_t max_bytes = req->answer_max_bytes > 0 ? req->answer_max_bytes : HTTP_BODY_MAX_BYTES;
    buf_clear(&resp->headers);
    buf_clear(&resp->body);
    resp->body.max_bytes = max_bytes;
    resp->fault = HTTP_OK;
    resp->fault_text[0] = '\0';
    resp->status = 0;
    resp->started_at_ms = clock_now_ms();
    t->resp = resp;
    t->answer_max_bytes = max_bytes;
    t->first_byte_timeout_ms = req->first_byte_timeout_ms;
    const char *to = req->endpoint != NULL ? req->endpoint : "?";
    if (req->url.failed || req->headers.failed || req->body.failed) {
        err_set(err, ERR_INVALID, "request to '%s' is too large", to);
        transfer_give_back(t);
        return -1;
    }
    if (transfer_prepare(t, req) != 0 || transfer_avoid_silent(t) != 0) {
        err_set(err, ERR_NOMEM, "out of memory for a request to '%s'", to);
        transfer_give_back(t);
        return -1;
    }
    if (curl_multi_add_handle(c->curl.multi, t->easy) != CURLM_OK) {
        err_set(err, ERR_NOMEM, "cannot start a request");
        transfer_give_back(t);
        return -1;
    }
    t->next = c->flying;
    if (c->flying != NULL) {
        c->flying->prev = t;
    }
    c->flying = t;
    curl_loop_busy(&c->curl, true);
    int rc = transfer_wait(t, req->total_timeout_ms, err);
    if (rc == 0 && t->ours != ERR_NONE) {
        err_set(err, t->ours, "request to '%s': %s", to, resp->fault_text);
        rc = -1;
    }
    transfer_give_back(t);
    return rc;
}
