/*
 * HTTP/1.1 over libuv, as strict as a test needs: it refuses what a provider's edge would
 * (Content-Length with Transfer-Encoding, two lengths) and keeps connections alive.
 */
#include "server.h"

#include "request.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_MAX_BYTES = 256 * 1024, BODY_MAX_BYTES = 64 * 1024 * 1024 };

static void conn_handle_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    if (--c->handles_open > 0) {
        return;
    }
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        c->server->conns = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    sim_buf_free(&c->in);
    sim_buf_free(&c->out);
    free(c);
}

void conn_close(struct conn *c, bool reset)
{
    if (c->closing) {
        return;
    }
    c->closing = true;
    wire_abandon(c);
    if (c->req != NULL) {
        counters_end(c->server->sim, c->req);
        if (c->req->deferred) {
            c->req->conn = NULL; /* whoever deferred it still holds it */
        } else {
            request_free(c->req);
        }
        c->req = NULL;
    }
    uv_close((uv_handle_t *)&c->timer, conn_handle_closed);
    if (!reset || uv_tcp_close_reset(&c->tcp, (uv_close_cb)conn_handle_closed) != 0) {
        uv_close((uv_handle_t *)&c->tcp, conn_handle_closed);
    }
}

/* A request that cannot be read: say so and hang up. */
static void refuse(struct conn *c, int status, const char *text)
{
    char msg[256];
    int n = snprintf(msg, sizeof msg,
                     "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status,
                     text);
    uv_buf_t b = uv_buf_init(msg, (unsigned)n);
    (void)uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
    conn_close(c, false);
}

struct head {
    struct sim_params headers;
    char *method;
    char *target;
    int64_t length; /* -1 = none said */
    bool chunked;
    bool bad;
    bool http10;
};

static void head_free(struct head *h)
{
    sim_params_free(&h->headers);
    free(h->method);
    free(h->target);
}

static void head_line(struct head *h, char *line)
{
    char *colon = strchr(line, ':');
    if (colon == NULL || colon == line || *line == ' ' || *line == '\t') {
        h->bad = true;
        return;
    }
    *colon = '\0';
    for (char *p = line; *p != '\0'; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t len = strlen(value);
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t')) {
        value[--len] = '\0';
    }
    if (strcmp(line, "content-length") == 0) {
        char *end = NULL;
        int64_t n = (int64_t)strtoll(value, &end, 10);
        if (!isdigit((unsigned char)*value) || *end != '\0' ||
            (h->length >= 0 && h->length != n)) {
            h->bad = true;
        }
        h->length = n;
    } else if (strcmp(line, "transfer-encoding") == 0) {
        h->chunked = true;
        h->bad = h->bad || strcasecmp(value, "chunked") != 0;
    }
    request_add_param(&h->headers, sim_strdup(line), sim_strdup(value));
}

/* Parse the head text (ends before the empty line); the text is cut up. */
static void head_parse(struct head *h, char *text)
{
    h->length = -1;
    char *save = NULL;
    char *line = strtok_r(text, "\r\n", &save);
    char *target = line != NULL ? strchr(line, ' ') : NULL;
    char *version = target != NULL ? strrchr(target + 1, ' ') : NULL;
    if (version == NULL || strncmp(version + 1, "HTTP/1.", 7) != 0) {
        h->bad = true;
        return;
    }
    *target++ = '\0';
    *version++ = '\0';
    h->http10 = strcmp(version, "HTTP/1.0") == 0;
    h->method = sim_strdup(line);
    h->target = sim_strdup(target);
    while ((line = strtok_r(NULL, "\r\n", &save)) != NULL) {
        head_line(h, line);
    }
    if (h->chunked && h->length >= 0) {
        h->bad = true;
    }
}

/* Decode a chunked body. Returns the bytes eaten, 0 when more is needed, -1 when malformed. */
static int64_t read_chunks(const char *p, size_t len, struct sim_buf *body)
{
    size_t at = 0;
    for (;;) {
        const char *eol = memmem(p + at, len - at, "\r\n", 2);
        if (eol == NULL) {
            return 0;
        }
        char *end = NULL;
        unsigned long long n = strtoull(p + at, &end, 16);
        if (end == p + at || n > BODY_MAX_BYTES) {
            return -1;
        }
        at = (size_t)(eol - p) + 2;
        if (len - at < n + 2) {
            return 0;
        }
        if (n == 0) {
            eol = memmem(p + at, len - at, "\r\n", 2);
            return eol != NULL ? (int64_t)(eol - p) + 2 : 0;
        }
        sim_buf_add(body, p + at, (size_t)n);
        at += (size_t)n + 2;
    }
}

static struct sim_request *make_request(struct conn *c, struct head *h, const char *body,
                                        size_t body_len)
{
    struct sim_request *r = sim_calloc(1, sizeof *r);
    r->sim = c->server->sim;
    r->provider = c->server->provider;
    (void)snprintf(r->method, sizeof r->method, "%s", h->method);
    r->target = h->target;
    h->target = NULL;
    size_t path_len = strcspn(r->target, "?#");
    r->path = request_decode(r->target, path_len, false);
    if (r->target[path_len] == '?') {
        const char *q = r->target + path_len + 1;
        sim_params_parse(&r->query, q, strlen(q));
    }
    r->headers = h->headers;
    memset(&h->headers, 0, sizeof h->headers);
    r->body = sim_calloc(body_len + 1, 1);
    if (body_len > 0) {
        memcpy(r->body, body, body_len);
    }
    r->body_len = body_len;
    r->arrived_at_us = sim_mono_us();
    r->conn = c;
    const char *connection = sim_header(r, "connection");
    c->client_keeps_alive =
        connection != NULL ? strcasecmp(connection, "close") != 0 : !h->http10;
    return r;
}

static void send_continue(struct conn *c)
{
    if (!c->continue_sent) {
        static char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
        uv_buf_t b = uv_buf_init(text, sizeof text - 1);
        (void)uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
        c->continue_sent = true;
    }
}

void conn_next(struct conn *c)
{
    if (c->closing || c->req != NULL || c->in.len == 0) {
        return;
    }
    char *end = memmem(c->in.p, c->in.len, "\r\n\r\n", 4);
    if (end == NULL) {
        if (c->in.len > HEAD_MAX_BYTES) {
            refuse(c, 431, "Request Header Fields Too Large");
        }
        return;
    }
    size_t head_len = (size_t)(end - c->in.p);
    char *text = sim_calloc(head_len + 1, 1);
    memcpy(text, c->in.p, head_len);
    struct head h = {0};
    head_parse(&h, text);
    free(text);

    struct sim_buf chunks = {0};
    const char *body = c->in.p + head_len + 4;
    size_t have = c->in.len - head_len - 4;
    int64_t eaten = h.length >= 0 ? h.length : 0;
    bool complete = true;
    if (h.bad || h.length > BODY_MAX_BYTES) {
        head_free(&h);
        refuse(c, h.length > BODY_MAX_BYTES ? 413 : 400, "Bad Request");
        return;
    }
    if (h.chunked) {
        eaten = read_chunks(body, have, &chunks);
        complete = eaten > 0;
    } else {
        complete = have >= (size_t)eaten;
    }
    if (eaten < 0) {
        refuse(c, 400, "Bad Request");
    } else if (!complete) {
        const char *expect = sim_param(&h.headers, "expect", 0);
        if (expect != NULL && strcasecmp(expect, "100-continue") == 0) {
            send_continue(c);
        }
    } else {
        c->req = make_request(c, &h, h.chunked ? chunks.p : body,
                              h.chunked ? chunks.len : (size_t)eaten);
        size_t used = head_len + 4 + (size_t)eaten;
        memmove(c->in.p, c->in.p + used, c->in.len - used);
        c->in.len -= used;
        c->continue_sent = false;
    }
    sim_buf_free(&chunks);
    head_free(&h);
    if (c->req != NULL) {
        wire_begin(c);
    }
}

void conn_handle(struct conn *c)
{
    struct sim_request *r = c->req;
    if (strncmp(r->path, "/_sim/", 6) == 0) {
        control_handle(r);
    } else if (r->provider == SIM_HUBSPOT) {
        sim_hubspot_handle(r);
    } else {
        sim_stripe_handle(r);
    }
}

void sim_request_finish(struct sim_request *r)
{
    r->deferred = false;
    struct conn *c = r->conn;
    if (c == NULL) {
        request_free(r);
        return;
    }
    wire_answer(c);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *b)
{
    (void)h;
    (void)size;
    b->base = sim_calloc(16384, 1);
    b->len = 16384;
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = s->data;
    if (n > 0) {
        sim_buf_add(&c->in, b->base, (size_t)n);
        conn_next(c);
    } else if (n < 0) {
        conn_close(c, false);
    }
    free(b->base);
}

static void on_connection(uv_stream_t *l, int status)
{
    struct server *sv = l->data;
    if (status < 0) {
        return;
    }
    struct conn *c = sim_calloc(1, sizeof *c);
    c->server = sv;
    (void)uv_tcp_init(&sv->sim->loop, &c->tcp);
    (void)uv_timer_init(&sv->sim->loop, &c->timer);
    c->tcp.data = c;
    c->timer.data = c;
    c->handles_open = 2;
    c->next = sv->conns;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    sv->conns = c;
    if (uv_accept(l, (uv_stream_t *)&c->tcp) != 0) {
        conn_close(c, false);
        return;
    }
    (void)uv_tcp_nodelay(&c->tcp, 1);
    (void)uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

int server_start(struct sim *s, enum sim_provider p, const char *text)
{
    struct server *sv = sim_calloc(1, sizeof *sv);
    s->servers[p] = sv;
    sv->sim = s;
    sv->provider = p;
    (void)uv_tcp_init(&s->loop, &sv->listener);
    sv->listener.data = sv;

    const char *colon = strrchr(text, ':');
    char host[64];
    struct sockaddr_in a;
    (void)snprintf(host, sizeof host, "%.*s", colon != NULL ? (int)(colon - text) : 0, text);
    if (strcmp(host, "localhost") == 0) {
        (void)snprintf(host, sizeof host, "127.0.0.1");
    }
    int rc =
        colon != NULL ? uv_ip4_addr(host, (int)strtol(colon + 1, NULL, 10), &a) : UV_EINVAL;
    if (rc == 0) {
        rc = uv_tcp_bind(&sv->listener, (struct sockaddr *)&a, 0);
    }
    if (rc == 0) {
        rc = uv_listen((uv_stream_t *)&sv->listener, 1024, on_connection);
    }
    if (rc != 0) {
        (void)fprintf(stderr, "pivotal-sync-sim: cannot listen on '%s': %s\n", text,
                      uv_strerror(rc));
        return -1;
    }
    int len = sizeof a;
    (void)uv_tcp_getsockname(&sv->listener, (struct sockaddr *)&a, &len);
    (void)snprintf(s->base_url[p], sizeof s->base_url[p], "http://%s:%d",
                   strcmp(host, "0.0.0.0") == 0 ? "127.0.0.1" : host, ntohs(a.sin_port));
    return 0;
}

void server_stop(struct server *sv)
{
    sv->stopping = true;
    uv_close((uv_handle_t *)&sv->listener, NULL);
    struct conn *next = NULL;
    for (struct conn *c = sv->conns; c != NULL; c = next) {
        next = c->next;
        conn_close(c, false);
    }
}
