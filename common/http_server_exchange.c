/* One request: framing, route, body, the handler, the answer.
 *
 * microhttpd calls exchange_begin() with the request line, exchange_step() with the headers,
 * then with each piece of the body, then once more with none, and exchange_completed() at the
 * end. An answer that comes later suspends the connection in between.
 *
 * A request that is refused before its body came is still read to the end, within bounds:
 * closing a socket that has unread bytes sends a reset, which may overtake the answer. */
#include "common/http_server_private.h"

#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    STATUS_TOO_LARGE = 413, /* its name differs between versions of microhttpd */
    BODY_FIRST_BYTES = 1024,
    BODY_TRUSTED_BYTES = 4 * 1024, /* of a declared length, allocated before it came */
    DISCARD_EXTRA_BYTES = 1024 * 1024,
    FORWARDED_MAX_BYTES = 1024,
    ALLOW_MAX_BYTES = 64,
};

/* ---- life ---- */

void *exchange_begin(void *server, const char *target, struct MHD_Connection *connection)
{
    struct http_server *s = server;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info != NULL ? info->socket_context : NULL;
    size_t len = strlen(target);
    struct http_exchange *x = c != NULL ? calloc(1, sizeof *x + len + 1) : NULL;
    if (x == NULL) {
        return NULL;
    }
    memcpy(x->target, target, len + 1);
    x->server = s;
    x->connection = connection;
    x->conn = c;
    x->next = s->exchanges;
    if (s->exchanges != NULL) {
        s->exchanges->prev = x;
    }
    s->exchanges = x;
    return x;
}

static void body_release(struct http_exchange *x)
{
    if (x->server != NULL) {
        x->server->counts.body_bytes -= (int64_t)x->body_cap_bytes;
    }
    free(x->body);
    x->body = NULL;
    x->body_len_bytes = x->body_cap_bytes = 0;
}

static void exchange_unlink(struct http_exchange *x)
{
    struct http_server *s = x->server;
    if (s == NULL) {
        return;
    }
    if (x->prev != NULL) {
        x->prev->next = x->next;
    } else {
        s->exchanges = x->next;
    }
    if (x->next != NULL) {
        x->next->prev = x->prev;
    }
    x->prev = x->next = NULL;
}

static void exchange_free(struct http_exchange *x)
{
    body_release(x);
    exchange_unlink(x);
    if (x->response != NULL && (x->server == NULL || x->response != x->server->empty_200)) {
        MHD_destroy_response(x->response);
    }
    for (int i = 0; i < x->header_count; i++) {
        free(x->headers[i]);
    }
    free(x->path);
    free(x);
}

void exchange_orphan(struct http_exchange *x)
{
    bool held = x->handled && !x->answered; /* a handler has it and will answer */
    x->connection = NULL;
    x->conn = NULL;
    if (!held) {
        exchange_free(x);
        return;
    }
    body_release(x);
    exchange_unlink(x);
    x->server = NULL;
}

void exchange_completed(void *server, struct MHD_Connection *connection, void **exchange,
                        enum MHD_RequestTerminationCode why)
{
    struct http_exchange *x = *exchange;
    (void)server, (void)connection, (void)why;
    *exchange = NULL;
    if (x == NULL) {
        return;
    }
    connection_stage(x->conn, STAGE_IDLE);
    x->connection = NULL;
    x->conn = NULL;
    if (x->answered || !x->handled) {
        exchange_free(x);
    }
}

/* ---- routes ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decode len bytes into out, which has room for len + 1; -1 when malformed or NUL. */
static int decode(const char *from, size_t len, bool plus_is_space, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = from[i];
        if (c == '%') {
            int high = len - i > 2 ? hex_value(from[i + 1]) : -1;
            int low = high >= 0 ? hex_value(from[i + 2]) : -1;
            if (low < 0 || (high == 0 && low == 0)) {
                return -1;
            }
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return 0;
}

struct hole {
    const char *start;
    size_t len;
};

static int route_match(const char *pattern, const char *path, struct hole *holes)
{
    int count = 0;
    while (*pattern != '\0') {
        if (*pattern == '*' && pattern[1] == '\0' && count < HTTP_SERVER_HOLES_MAX) {
            holes[count++] = (struct hole){path, strlen(path)};
            return count;
        }
        if (*pattern == '{' && count < HTTP_SERVER_HOLES_MAX) {
            size_t len = strcspn(path, "/");
            if (len == 0) {
                return -1;
            }
            holes[count++] = (struct hole){path, len};
            path += len;
            pattern += strcspn(pattern, "}");
            pattern += *pattern == '}';
            continue;
        }
        if (*pattern++ != *path++) {
            return -1; /* a shorter path ends here too: its NUL differs */
        }
    }
    return *path == '\0' ? count : -1;
}

/* The path, and behind it the decoded holes, in one piece of memory. 0, or the status to refuse
 * with. */
static int keep_holes(struct http_exchange *x, const struct hole *holes, int count)
{
    size_t path_len = strlen(x->path);
    size_t bytes = path_len + 1;
    for (int i = 0; i < count; i++) {
        bytes += holes[i].len + 1;
    }
    char *all = malloc(bytes);
    if (all == NULL) {
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    memcpy(all, x->path, path_len + 1);
    char *at = all + path_len + 1;
    for (int i = 0; i < count; i++) {
        if (decode(holes[i].start, holes[i].len, false, at) != 0) {
            free(all);
            return MHD_HTTP_NOT_FOUND;
        }
        x->holes[i] = at;
        at += holes[i].len + 1;
    }
    free(x->path);
    x->path = all;
    x->hole_count = count;
    return 0;
}

static bool method_fits(const char *wanted, const char *method)
{
    return strcmp(wanted, method) == 0 ||
           (strcmp(wanted, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* Sets x->route and returns 0, or the status to refuse with. */
static int route_find(struct http_exchange *x)
{
    struct hole holes[HTTP_SERVER_HOLES_MAX];
    char allow[ALLOW_MAX_BYTES] = "";
    size_t len = strcspn(x->target, "?");
    x->path = strndup(x->target, len);
    if (x->path == NULL) {
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    for (const struct http_route *r = x->server->routes; r->path != NULL; r++) {
        int count = route_match(r->path, x->path, holes);
        if (count < 0) {
            continue;
        }
        if (method_fits(r->method, x->method)) {
            int status = count > 0 ? keep_holes(x, holes, count) : 0;
            x->route = status == 0 ? r : NULL;
            return status;
        }
        size_t at = strlen(allow);
        (void)snprintf(allow + at, sizeof allow - at, "%s%s", at > 0 ? ", " : "", r->method);
    }
    if (allow[0] == '\0') {
        return MHD_HTTP_NOT_FOUND;
    }
    (void)http_exchange_set_header(x, "Allow", allow);
    return MHD_HTTP_METHOD_NOT_ALLOWED;
}

/* ---- headers ---- */

struct framing {
    int lengths;
    int encodings;
    bool bad;
    int64_t length_bytes; /* -1 = not said */
};

static enum MHD_Result framing_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                      const char *value)
{
    struct framing *f = arg;
    (void)kind;
    /* "Transfer-Encoding : chunked": what stands in front of us may have read it otherwise. */
    f->bad |= name[strcspn(name, " \t")] != '\0';
    if (strcasecmp(name, "Content-Length") == 0) {
        f->lengths++;
        f->length_bytes = 0;
        f->bad |= value == NULL || *value == '\0';
        for (const char *p = value; p != NULL && *p != '\0'; p++) {
            f->bad |= *p < '0' || *p > '9' || f->length_bytes > INT64_MAX / 10 - 10;
            f->length_bytes = f->bad ? 0 : f->length_bytes * 10 + (*p - '0');
        }
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        f->encodings++;
        f->bad |= value == NULL || strcasecmp(value, "chunked") != 0;
    }
    return MHD_YES;
}

/* The largest body that is read only to be thrown away. */
static size_t discard_max_bytes(const struct http_server *s)
{
    return 2 * s->limits.body_max_bytes + DISCARD_EXTRA_BYTES;
}

static void answer_set(struct http_exchange *x, int status, const char *type, const void *bytes,
                       size_t len_bytes);

static void answer_refusal(struct http_exchange *x, int status)
{
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE) {
        (void)http_exchange_set_header(x, "Retry-After", "5");
    }
    x->handled = true;
    answer_set(x, status, NULL, NULL, 0);
}

static enum MHD_Result answer_send(struct http_exchange *x)
{
    connection_stage(x->conn, STAGE_SENDING);
    return MHD_queue_response(x->connection, (unsigned)x->status, x->response);
}

/* Whose share of the bodies it takes. Loopback is many clients behind a proxy that does not say
 * for whom it speaks, and has none. An IPv6 client owns its network of 64 bits. */
static void client_find(struct http_exchange *x)
{
    static const unsigned char v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
    x->has_client = net_address_parse(http_exchange_peer(x), &x->client) &&
                    !net_address_is_loopback(&x->client);
    if (x->has_client && memcmp(x->client.bytes, v4_prefix, sizeof v4_prefix) != 0) {
        memset(x->client.bytes + 8, 0, 8);
    }
}

static enum MHD_Result headers_done(struct http_exchange *x, const char *method)
{
    struct http_server *s = x->server;
    struct framing f = {.length_bytes = -1};
    x->seen = true;
    x->method = method;
    x->started_us = clock_mono_us();
    s->counts.requests++;
    connection_stage(x->conn, STAGE_BODY);
    (void)MHD_get_connection_values(x->connection, MHD_HEADER_KIND, framing_header, &f);
    if (f.bad || f.lengths > 1 || f.encodings > 1 || f.lengths + f.encodings > 1) {
        /* Where the next request begins is not certain: this connection has none. */
        s->counts.refused_framing++;
        x->close_after = true;
        answer_refusal(x, MHD_HTTP_BAD_REQUEST);
        return answer_send(x);
    }
    x->refuse_status = route_find(x);
    if (x->refuse_status == 0 && f.length_bytes > (int64_t)s->limits.body_max_bytes) {
        x->refuse_status = STATUS_TOO_LARGE;
        s->counts.refused_large++;
    }
    if (x->refuse_status != 0 && (f.length_bytes > (int64_t)discard_max_bytes(s) ||
                                  http_exchange_header(x, "Expect") != NULL)) {
        x->close_after = true;
        answer_refusal(x, x->refuse_status);
        return answer_send(x);
    }
    x->declared_bytes = f.length_bytes > 0 ? (size_t)f.length_bytes : 0;
    if (x->declared_bytes > 0 || f.encodings > 0) {
        client_find(x);
    }
    return MHD_YES;
}

/* ---- body ---- */

static void body_refuse(struct http_exchange *x, int status)
{
    body_release(x);
    x->refuse_status = status;
}

/* A walk, but only for bodies that grow past what most of them are. */
static bool share_is_used_up(const struct http_exchange *x, size_t cap_bytes)
{
    size_t held = cap_bytes;
    if (!x->has_client || cap_bytes <= BODY_TRUSTED_BYTES) {
        return false;
    }
    for (const struct http_exchange *o = x->server->exchanges; o != NULL; o = o->next) {
        if (o != x && o->has_client && memcmp(&o->client, &x->client, sizeof x->client) == 0) {
            held += o->body_cap_bytes;
        }
    }
    return held > x->server->limits.bodies_per_address_max_bytes;
}

/* 0, or -1 when refused and counted. */
static int body_grow(struct http_exchange *x, size_t need_bytes)
{
    struct http_server *s = x->server;
    size_t cap = x->body_cap_bytes > 0 ? x->body_cap_bytes * 2 : BODY_FIRST_BYTES;
    if (x->body_cap_bytes == 0 && x->declared_bytes > 0) {
        cap = x->declared_bytes < BODY_TRUSTED_BYTES ? x->declared_bytes : BODY_TRUSTED_BYTES;
    }
    if (x->declared_bytes >= need_bytes && cap > x->declared_bytes) {
        cap = x->declared_bytes;
    }
    if (cap < need_bytes) {
        cap = need_bytes;
    }
    if (cap > s->limits.body_max_bytes) {
        cap = s->limits.body_max_bytes;
    }
    int64_t more = (int64_t)(cap - x->body_cap_bytes);
    if (share_is_used_up(x, cap)) {
        s->counts.refused_share++;
        return -1;
    }
    char *bytes = s->counts.body_bytes + more <= (int64_t)s->limits.bodies_max_bytes
                      ? realloc(x->body, cap + 1)
                      : NULL;
    if (bytes == NULL) {
        s->counts.refused_overload++;
        return -1;
    }
    s->counts.body_bytes += more;
    x->body = bytes;
    x->body_cap_bytes = cap;
    return 0;
}

static enum MHD_Result body_piece(struct http_exchange *x, const char *bytes, size_t len)
{
    struct http_server *s = x->server;
    x->conn->body_came_bytes += (int64_t)len;
    if (x->refuse_status == 0 && len > s->limits.body_max_bytes - x->body_len_bytes) {
        s->counts.refused_large++;
        body_refuse(x, STATUS_TOO_LARGE);
    }
    if (x->refuse_status == 0 && x->body_len_bytes + len > x->body_cap_bytes &&
        body_grow(x, x->body_len_bytes + len) != 0) {
        body_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE);
    }
    if (x->refuse_status != 0) {
        x->discarded_bytes += len;
        return x->discarded_bytes <= discard_max_bytes(s) ? MHD_YES : MHD_NO;
    }
    memcpy(x->body + x->body_len_bytes, bytes, len);
    x->body_len_bytes += len;
    x->body[x->body_len_bytes] = '\0';
    return MHD_YES;
}

/* ---- the handler ---- */

static enum MHD_Result body_done(struct http_exchange *x)
{
    if (!x->handled) {
        x->handled = true;
        connection_stage(x->conn, STAGE_HANDLING);
        if (x->refuse_status != 0) {
            answer_refusal(x, x->refuse_status);
        } else {
            x->route->handler(x, x->server->arg);
        }
    }
    if (x->answered) {
        return answer_send(x);
    }
    x->suspended = true;
    MHD_suspend_connection(x->connection);
    return MHD_YES;
}

enum MHD_Result exchange_step(void *server, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **exchange)
{
    const struct http_server *s = server;
    struct http_exchange *x = *exchange;
    (void)connection, (void)url, (void)version;
    if (s->closing || x == NULL) {
        return MHD_NO;
    }
    if (!x->seen) {
        return headers_done(x, method);
    }
    if (*upload_bytes > 0) {
        size_t len = *upload_bytes;
        *upload_bytes = 0;
        return body_piece(x, upload, len);
    }
    return body_done(x);
}

/* ---- what the handler sees ---- */

const char *http_exchange_method(const struct http_exchange *x)
{
    return x->method;
}

const char *http_exchange_target(const struct http_exchange *x)
{
    return x->target;
}

const char *http_exchange_path(const struct http_exchange *x)
{
    return x->path;
}

const char *http_exchange_route(const struct http_exchange *x)
{
    return x->route != NULL ? x->route->path : NULL;
}

const char *http_exchange_hole(const struct http_exchange *x, int i)
{
    return i >= 0 && i < x->hole_count ? x->holes[i] : "";
}

const char *http_exchange_query(const struct http_exchange *x, const char *name, char *out,
                                size_t out_bytes)
{
    size_t name_len = strlen(name);
    const char *at = strchr(x->target, '?');
    while (at != NULL && *at != '\0') {
        at++;
        size_t len = strcspn(at, "&");
        if (len >= name_len && memcmp(at, name, name_len) == 0 &&
            (len == name_len || at[name_len] == '=')) {
            const char *value = at + name_len + (len > name_len);
            size_t value_len = len - name_len - (len > name_len);
            if (value_len >= out_bytes || decode(value, value_len, true, out) != 0) {
                return NULL;
            }
            return out;
        }
        at += len;
    }
    return NULL;
}

const char *http_exchange_header(const struct http_exchange *x, const char *name)
{
    return x->connection != NULL
               ? MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name)
               : NULL;
}

struct slice http_exchange_body(const struct http_exchange *x)
{
    return (struct slice){x->body != NULL ? x->body : "", x->body_len_bytes};
}

int64_t http_exchange_started_us(const struct http_exchange *x)
{
    return x->started_us;
}

void http_exchange_set_data(struct http_exchange *x, void *data)
{
    x->data = data;
}

void *http_exchange_data(const struct http_exchange *x)
{
    return x->data;
}

static enum MHD_Result forwarded_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                        const char *value)
{
    struct buf *all = arg;
    (void)kind;
    if (value != NULL && strcasecmp(name, "X-Forwarded-For") == 0) {
        (void)buf_add_str(all, all->len_bytes > 0 ? "," : "");
        (void)buf_add_str(all, value);
    }
    return MHD_YES;
}

/* From the right, as each proxy adds at the end: the first address that is not a trusted
 * proxy's is the last one that somebody we trust has seen. */
static void forwarded_peer(struct http_exchange *x, const struct net_list *trusted)
{
    struct buf all;
    struct net_address address;
    buf_init(&all, FORWARDED_MAX_BYTES);
    (void)MHD_get_connection_values(x->connection, MHD_HEADER_KIND, forwarded_header, &all);
    char *text = all.failed ? NULL : all.bytes;
    while (text != NULL) {
        char *comma = strrchr(text, ',');
        char *entry = comma != NULL ? comma + 1 : text;
        entry += strspn(entry, " \t");
        entry[strcspn(entry, " \t")] = '\0';
        if (!net_address_parse(entry, &address)) {
            break;
        }
        (void)net_address_text(&address, x->peer);
        if (!net_list_has(trusted, &address)) {
            break;
        }
        if (comma == NULL) {
            break;
        }
        *comma = '\0';
    }
    buf_release(&all);
}

const char *http_exchange_peer(struct http_exchange *x)
{
    if (x->peer[0] != '\0' || x->connection == NULL) {
        return x->peer;
    }
    const struct net_list *trusted = x->server->limits.trusted_proxies;
    if (x->conn->is_inet) {
        (void)net_address_text(&x->conn->address, x->peer);
    } else {
        (void)snprintf(x->peer, sizeof x->peer, "unix");
    }
    if (http_exchange_from_proxy(x)) {
        forwarded_peer(x, trusted);
    }
    return x->peer;
}

bool http_exchange_is_stranger(struct http_exchange *x)
{
    struct net_address address;
    const char *peer = http_exchange_peer(x);
    bool forwarded = http_exchange_header(x, "X-Forwarded-For") != NULL ||
                     http_exchange_header(x, "Forwarded") != NULL;
    return forwarded || (strcmp(peer, "unix") != 0 && (!net_address_parse(peer, &address) ||
                                                       !net_address_is_loopback(&address)));
}

bool http_exchange_from_proxy(const struct http_exchange *x)
{
    const struct net_list *trusted =
        x->connection != NULL ? x->server->limits.trusted_proxies : NULL;
    return trusted != NULL && trusted->count > 0 &&
           (!x->conn->is_inet || net_list_has(trusted, &x->conn->address));
}

/* ---- the answer ---- */

int http_exchange_set_header(struct http_exchange *x, const char *name, const char *value)
{
    size_t name_len = strlen(name);
    size_t value_len = strlen(value);
    for (const char *p = value; *p != '\0'; p++) {
        if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f) {
            return -1;
        }
    }
    char *both = x->header_count < ANSWER_HEADERS_MAX ? malloc(name_len + value_len + 2) : NULL;
    if (both == NULL) {
        return -1;
    }
    memcpy(both, name, name_len + 1);
    memcpy(both + name_len + 1, value, value_len + 1);
    x->headers[x->header_count++] = both;
    return 0;
}

static void answer_build(struct http_exchange *x, int status, const char *type,
                         const void *bytes, size_t len_bytes)
{
    struct http_server *s = x->server;
    bool close_after = x->close_after || s->draining;
    x->status = status;
    if (status == MHD_HTTP_OK && len_bytes == 0 && type == NULL && x->header_count == 0 &&
        !close_after) {
        x->response = s->empty_200; /* the gateway's usual answer costs nothing to make */
        return;
    }
    /* microhttpd takes a pointer without const, and copies. */
    void *body = (void *)(uintptr_t)bytes; // NOLINT(performance-no-int-to-ptr)
    struct MHD_Response *r = MHD_create_response_from_buffer(
        len_bytes, len_bytes > 0 ? body : NULL, MHD_RESPMEM_MUST_COPY);
    if (r == NULL) {
        x->response = s->empty_200;
        x->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        return;
    }
    if (type != NULL) {
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    }
    if (close_after) {
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    for (int i = 0; i < x->header_count; i++) {
        const char *name = x->headers[i];
        (void)MHD_add_response_header(r, name, name + strlen(name) + 1);
    }
    x->response = r;
}

static void answer_set(struct http_exchange *x, int status, const char *type, const void *bytes,
                       size_t len_bytes)
{
    answer_build(x, status, type, bytes, len_bytes);
    x->answered = true;
    body_release(x);
}

void http_answer(struct http_exchange *x, int status, const char *type, const void *bytes,
                 size_t len_bytes)
{
    if (x->server == NULL || x->connection == NULL) {
        exchange_free(x); /* nobody is there to hear it */
        return;
    }
    answer_set(x, status, type, bytes, len_bytes);
    if (x->suspended) {
        x->suspended = false;
        MHD_resume_connection(x->connection);
        x->server->run_wanted = true;
    }
}

void http_answer_text(struct http_exchange *x, int status, const char *text)
{
    http_answer(x, status, *text != '\0' ? "text/plain; charset=utf-8" : NULL, text,
                strlen(text));
}

void http_answer_livez(struct http_exchange *x, void *arg)
{
    (void)arg;
    http_answer_text(x, MHD_HTTP_OK, "ok\n");
}
