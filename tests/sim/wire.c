/* How an answer goes out: whole, held, cut, slow, compressed, or not at all. */
#include "server.h"

#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SLOW_TICK_MS = 20 };

static const char *status_text(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 204:
        return "No Content";
    case 207:
        return "Multi-Status";
    case 302:
        return "Found";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 429:
        return "Too Many Requests";
    case 500:
        return "Internal Server Error";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Status"; /* the reason phrase carries no meaning */
    }
}

static uint32_t crc32_of(const unsigned char *p, size_t len)
{
    uint32_t c = 0xffffffffU;
    for (size_t i = 0; i < len; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) {
            c = (c >> 1) ^ (0xedb88320U & (0U - (c & 1U)));
        }
    }
    return ~c;
}

/* A valid gzip member of stored blocks: the client must decode, and no library is needed. */
static void gzip_stored(const struct sim_buf *in, struct sim_buf *out)
{
    static const unsigned char head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};
    sim_buf_add(out, head, sizeof head);
    size_t at = 0;
    do {
        size_t n = in->len - at > 65535 ? 65535 : in->len - at;
        unsigned char b[5] = {at + n == in->len ? 1 : 0, (unsigned char)(n & 255),
                              (unsigned char)(n >> 8), (unsigned char)(~n & 255),
                              (unsigned char)((~n >> 8) & 255)};
        sim_buf_add(out, b, sizeof b);
        sim_buf_add(out, in->p + at, n);
        at += n;
    } while (at < in->len);
    uint32_t tail[2] = {crc32_of((const unsigned char *)in->p, in->len), (uint32_t)in->len};
    sim_buf_add(out, tail, sizeof tail); /* little-endian, as every machine we build on */
}

static void request_done(struct conn *c)
{
    bool close_it = !c->client_keeps_alive || c->plan.no_length;
    counters_end(c->server->sim, c->req);
    request_free(c->req);
    c->req = NULL;
    c->fault = NULL;
    c->out.len = 0;
    if (close_it) {
        conn_close(c, false);
    } else {
        conn_next(c);
    }
}

static void after_write(struct conn *c)
{
    if (c->plan.reset || c->plan.reset_after_bytes >= 0) {
        conn_close(c, true);
    } else if (c->plan.truncate_bytes >= 0) {
        conn_close(c, false);
    } else {
        request_done(c);
    }
}

static void on_written(uv_write_t *w, int status)
{
    struct conn *c = w->data;
    if (c->closing) {
        return;
    }
    if (status != 0) {
        conn_close(c, false);
        return;
    }
    after_write(c);
}

static void write_all(struct conn *c)
{
    uv_buf_t b = uv_buf_init(c->out.p, (unsigned)c->out.len);
    int n = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
    if (n == (int)c->out.len) {
        after_write(c);
        return;
    }
    if (n < 0 && n != UV_EAGAIN) {
        conn_close(c, false);
        return;
    }
    size_t done = n > 0 ? (size_t)n : 0;
    b = uv_buf_init(c->out.p + done, (unsigned)(c->out.len - done));
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &b, 1, on_written) != 0) {
        conn_close(c, false);
    }
}

static void on_slow_tick(uv_timer_t *t)
{
    struct conn *c = t->data;
    size_t n = (size_t)(c->plan.slow_bytes_per_s * SLOW_TICK_MS / 1000);
    uint64_t next_ms = SLOW_TICK_MS;
    if (n == 0) {
        n = 1;
        next_ms = (uint64_t)(1000 / c->plan.slow_bytes_per_s);
    }
    if (n > c->out.len - c->sent) {
        n = c->out.len - c->sent;
    }
    uv_buf_t b = uv_buf_init(c->out.p + c->sent, (unsigned)n);
    int rc = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
    if (rc < 0 && rc != UV_EAGAIN) {
        conn_close(c, false);
        return;
    }
    c->sent += rc > 0 ? (size_t)rc : 0;
    if (c->sent == c->out.len) {
        after_write(c);
    } else {
        (void)uv_timer_start(t, on_slow_tick, next_ms, 0);
    }
}

static void add_date(struct sim_buf *b, struct sim *s)
{
    time_t t = (time_t)(sim_now_ms(s) / 1000);
    struct tm tm;
    char text[64];
    (void)gmtime_r(&t, &tm);
    (void)strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    sim_buf_addf(b, "Date: %s\r\n", text);
}

static void send_answer(struct conn *c)
{
    struct sim_request *r = c->req;
    struct sim_response *a = &r->res;
    const char *takes = sim_header(r, "accept-encoding");
    if (c->plan.gzip && takes != NULL && strstr(takes, "gzip") != NULL) {
        struct sim_buf packed = {0};
        gzip_stored(&a->body, &packed);
        sim_buf_free(&a->body);
        a->body = packed;
        sim_answer_header(r, "Content-Encoding: gzip");
    }
    c->out.len = 0;
    sim_buf_addf(&c->out, "HTTP/1.1 %d %s\r\n", a->status, status_text(a->status));
    add_date(&c->out, r->sim);
    sim_buf_add(&c->out, a->headers.p != NULL ? a->headers.p : "", a->headers.len);
    if (c->plan.no_length) {
        sim_buf_adds(&c->out, "Connection: close\r\n");
    } else if (a->status != 204) {
        sim_buf_addf(&c->out, "Content-Length: %zu\r\n", a->body.len);
    }
    if (!c->client_keeps_alive && !c->plan.no_length) {
        sim_buf_adds(&c->out, "Connection: close\r\n");
    }
    sim_buf_adds(&c->out, "\r\n");
    size_t body_len = a->body.len;
    if (c->plan.truncate_bytes >= 0 && (size_t)c->plan.truncate_bytes < body_len) {
        body_len = (size_t)c->plan.truncate_bytes;
    }
    if (strcmp(r->method, "HEAD") != 0 && a->status != 204) {
        sim_buf_add(&c->out, a->body.p != NULL ? a->body.p : "", body_len);
    }
    if (c->plan.reset_after_bytes >= 0 && (size_t)c->plan.reset_after_bytes < c->out.len) {
        c->out.len = (size_t)c->plan.reset_after_bytes;
    }
    c->sent = 0;
    if (c->plan.slow_bytes_per_s > 0) {
        (void)uv_timer_start(&c->timer, on_slow_tick, 0, 0);
    } else {
        write_all(c);
    }
}

/* The hold is over: the answer is ready, or is computed now. */
static void let_go(struct conn *c)
{
    (void)uv_timer_stop(&c->timer);
    faults_unhold(c->server->sim->faults, c);
    bool late = c->plan.late;
    c->plan.hold_ms = 0;
    c->plan.until_released = false;
    c->plan.late = false;
    if (late) {
        conn_handle(c);
        if (!c->req->deferred) {
            wire_answer(c);
        }
    } else {
        send_answer(c);
    }
}

static void on_hold_over(uv_timer_t *t)
{
    let_go(t->data);
}

static void on_release(void *arg)
{
    struct conn *c = arg;
    c->fault = NULL;
    /* From the loop, not from inside the call that removed the fault. */
    (void)uv_timer_start(&c->timer, on_hold_over, 0, 0);
}

static void hold(struct conn *c)
{
    faults_hold(c->fault, on_release, c);
    if (!c->plan.until_released || c->plan.hold_ms > 0) {
        (void)uv_timer_start(&c->timer, on_hold_over, (uint64_t)c->plan.hold_ms, 0);
    }
}

void wire_answer(struct conn *c)
{
    if (c->closing) {
        return;
    }
    if (c->fault != NULL) {
        faults_rewrite(c->fault, c->req);
    }
    if (c->fault != NULL && (c->plan.hold_ms > 0 || c->plan.until_released)) {
        hold(c);
        return;
    }
    send_answer(c);
}

void wire_begin(struct conn *c)
{
    struct sim_request *r = c->req;
    struct sim *s = c->server->sim;
    bool control = strncmp(r->path, "/_sim/", 6) == 0;
    c->fault = NULL;
    c->plan = (struct wire_plan){.truncate_bytes = -1, .reset_after_bytes = -1};
    bool answered = false;
    if (!control) {
        counters_begin(s, r);
        c->fault = faults_match(s->faults, r);
        if (c->fault != NULL) {
            answered = faults_answer(c->fault, r, &c->plan);
        }
    }
    if (c->plan.reset && c->plan.hold_ms == 0 && !c->plan.until_released) {
        conn_close(c, true);
        return;
    }
    if (c->plan.reset) {
        c->plan.reset_after_bytes = 0;
    }
    if (!answered && c->plan.late) {
        hold(c);
        return;
    }
    if (!answered) {
        conn_handle(c);
    }
    if (!r->deferred) {
        wire_answer(c);
    }
}

void wire_abandon(struct conn *c)
{
    (void)uv_timer_stop(&c->timer);
    faults_unhold(c->server->sim->faults, c);
    c->fault = NULL;
}
