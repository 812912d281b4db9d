#include "provider/answer.h"

#include "common/clock.h"
#include "common/redact.h"
#include "common/utf8.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { SAY_MAX_BYTES = 4096 }; /* of an answer that is looked at for a message */

/* ---- small text ---- */

bool text_has(const char *text, const char *word)
{
    return text != NULL && strcasestr(text, word) != NULL;
}

bool text_copy(char *out, size_t out_bytes, const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;
    out[0] = '\0';
    if (len >= out_bytes)
        return false;
    if (len > 0)
        memcpy(out, text, len + 1);
    return true;
}

/* ---- failures ---- */

void failure_init(struct failure *f, const struct http_response *r)
{
    *f = (struct failure){.wait_ms = -1, .http_status = r->status};
}

void failure_set(struct failure *f, enum error_type type, const char *fmt, ...)
{
    f->type = type;
    if (f->message[0] != '\0')
        return;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(f->message, sizeof f->message, fmt, ap);
    va_end(ap);
    /* What it quotes may be anything, and the end may be cut. */
    for (char *p = f->message; *p != '\0';) {
        size_t n = utf8_char_bytes(slice_of(p));
        if (n <= 1 && ((unsigned char)*p < ' ' || *p == 0x7f || n == 0))
            *p = n == 0 ? '?' : ' ';
        p += n > 1 ? n : 1;
    }
}

void failure_no_memory(struct failure *f)
{
    failure_set(f, ET_INTERNAL_ERROR, "out of memory for an answer");
    f->retry_advice = 1;
}

/* Copies text behind the n bytes that out holds: without credentials (Stripe repeats the key it
 * was sent in its 401, in full when it is malformed), control characters or half characters. */
static void say(char *out, size_t cap, size_t n, struct slice text)
{
    struct buf clean;
    size_t cut = text.len_bytes < SAY_MAX_BYTES ? text.len_bytes : SAY_MAX_BYTES;
    buf_init(&clean, (size_t)8 * SAY_MAX_BYTES);
    if (n + 1 >= cap || redact_body((struct slice){text.bytes, cut}, &clean, NULL) < 0) {
        buf_release(&clean);
        return;
    }
    struct slice fit = utf8_cut((struct slice){buf_text(&clean), clean.len_bytes}, cap - 1 - n);
    for (size_t i = 0; i < fit.len_bytes; i++) {
        unsigned char c = (unsigned char)fit.bytes[i];
        out[n++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
    }
    out[n] = '\0';
    buf_release(&clean);
}

void failure_say(struct failure *f, struct slice text)
{
    say(f->message, sizeof f->message, 0, text);
}

void failure_detail(struct failure *f, const char *text)
{
    size_t n = strlen(f->detail);
    if (text == NULL || text[0] == '\0')
        return;
    if (n > 0 && n + 1 < sizeof f->detail) {
        f->detail[n++] = ' ';
        f->detail[n] = '\0';
    }
    say(f->detail, sizeof f->detail, n, (struct slice){text, strlen(text)});
}

bool failure_of_fault(struct failure *f, const struct http_response *r, bool oauth)
{
    static const enum error_type types[] = {
        [HTTP_DNS] = ET_DNS_FAILED,
        [HTTP_CONNECT] = ET_CONNECT_FAILED,
        [HTTP_TLS] = ET_TLS_FAILED,
        [HTTP_TIMEOUT_CONNECT] = ET_TIMEOUT_CONNECT,
        [HTTP_TIMEOUT_READ] = ET_TIMEOUT_READ,
        [HTTP_RESET] = ET_CONNECTION_RESET,
        [HTTP_PROXY] = ET_PROXY_FAILED,
        [HTTP_TOO_LARGE] = ET_BODY_TOO_LARGE,
        [HTTP_REFUSED_HOST] = ET_CONFIG_ERROR,
    };
    if (r->fault == HTTP_OK)
        return false;
    enum error_type type = types[r->fault];
    if (oauth &&
        (type == ET_TIMEOUT_CONNECT || type == ET_TIMEOUT_READ || type == ET_CONNECTION_RESET))
        type = ET_AUTH_REFRESH_UNAVAILABLE;
    failure_say(f, (struct slice){r->fault_text, strnlen(r->fault_text, sizeof r->fault_text)});
    failure_set(f, type, "no answer");
    return true;
}

int64_t instant_or_none(int64_t n, int64_t units_per_s)
{
    return n > 0 && n / units_per_s < INT64_C(253402300800) ? n : 0;
}

int64_t answer_wait_ms(const struct http_response *r, int64_t fallback_ms)
{
    char value[64];
    if (http_response_header(r, "retry-after", value, sizeof value) == NULL)
        return fallback_ms;
    char *end = NULL;
    double seconds = strtod(value, &end);
    if (end != value && *end == '\0' && seconds >= 0 && seconds <= 7 * 24 * 3600.0)
        return (int64_t)(seconds * 1000.0 + 0.5);
    struct tm tm = {0};
    end = strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (end == NULL || *end != '\0' || r->started_at_ms <= 0)
        return fallback_ms;
    int64_t wait_ms = (int64_t)timegm(&tm) * 1000 - r->started_at_ms;
    return wait_ms > 0 ? wait_ms : 0;
}

struct slice answer_body(const struct http_response *r)
{
    return (struct slice){buf_text(&r->body), r->body.len_bytes};
}

json_t *answer_json(const struct http_response *r)
{
    struct err err = {0};
    json_t *j = json_parse(answer_body(r), &err);
    if (j != NULL && !json_is_object(j)) {
        json_decref(j);
        return NULL;
    }
    return j;
}

/* ---- records ---- */

/* Ids go into keys, statements and lines of the log as they are. */
bool id_fits(const char *id)
{
    struct slice text = {id, strlen(id)};
    for (const char *p = id; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return false;
    }
    return text.len_bytes > 0 && utf8_valid_bytes(text) == text.len_bytes;
}

void request_id_check(struct failure *f)
{
    if (!id_fits(f->request_id))
        f->request_id[0] = '\0';
}

bool id_of_slice(struct slice value, char out[RECORD_ID_MAX_BYTES + 1])
{
    int64_t n = 0;
    out[0] = '\0';
    if (json_slice_text(value, out, RECORD_ID_MAX_BYTES + 1)) {
        out[0] = id_fits(out) ? out[0] : '\0';
        return out[0] != '\0';
    }
    out[0] = '\0';
    if (!json_slice_int(value, &n))
        return false;
    (void)snprintf(out, RECORD_ID_MAX_BYTES + 1, "%lld", (long long)n);
    return true;
}

struct record *answer_record(struct record_list *out, const struct object_type *o,
                             enum record_status status, const char *id)
{
    struct record *r = record_list_add(out);
    if (r == NULL)
        return NULL;
    r->object = o;
    r->status = status;
    (void)text_copy(r->id, sizeof r->id, id);
    return r;
}

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int c = tolower((unsigned char)p[i]);
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* An escape that PostgreSQL's jsonb refuses: \u0000, a surrogate without its other half. at is
 * behind the backslash; *skip is how much of the text it used. */
static bool escape_fits(const char *at, const char *end, size_t *skip)
{
    *skip = 1;
    if (*at != 'u')
        return true;
    int code = end - at >= 5 ? hex4(at + 1) : -1;
    if (code <= 0 || (code >= 0xdc00 && code <= 0xdfff))
        return false;
    *skip = 5;
    if (code < 0xd800 || code > 0xdbff)
        return true;
    int low = end - at >= 11 && at[5] == '\\' && at[6] == 'u' ? hex4(at + 7) : -1;
    *skip = 11;
    return low >= 0xdc00 && low <= 0xdfff;
}

enum raw_verdict { RAW_FINE, RAW_TEXT, RAW_NUMBER };

/* One pass over a record that the scanner cut out without looking into it. A run of 19 digits
 * outside a string may be an integer beyond 64 bits: worth a closer look. */
static enum raw_verdict look_at(struct slice raw)
{
    const char *end = raw.bytes + raw.len_bytes;
    bool in_string = false;
    bool high = false;
    size_t digits = 0;
    enum raw_verdict verdict = RAW_FINE;
    for (const char *p = raw.bytes; p < end; p++) {
        size_t skip = 0;
        high |= (unsigned char)*p >= 0x80;
        if (*p == '\\' && in_string && p + 1 < end) {
            if (!escape_fits(p + 1, end, &skip))
                return RAW_TEXT;
            p += skip;
        } else if (*p == '"') {
            in_string = !in_string;
        } else if (!in_string) {
            digits = *p >= '0' && *p <= '9' ? digits + 1 : 0;
            if (digits >= 19)
                verdict = RAW_NUMBER;
        }
    }
    return high && utf8_valid_bytes(raw) < raw.len_bytes ? RAW_TEXT : verdict;
}

bool record_check(struct record *r)
{
    struct err err = {0};
    switch (look_at(r->raw)) {
    case RAW_FINE:
        return true;
    case RAW_TEXT:
        r->status = RECORD_FAILED;
        failure_set(&r->failure, ET_TEXT_NOT_STORABLE,
                    "the record holds a NUL character or text that is not valid Unicode");
        return false;
    case RAW_NUMBER: {
        json_t *j = json_parse(r->raw, &err);
        json_decref(j);
        if (j != NULL)
            return true;
        r->status = RECORD_FAILED;
        failure_set(&r->failure, ET_UNEXPECTED_SHAPE, "%.200s", err.msg);
        return false;
    }
    }
    return true;
}

/* ---- requests ---- */

int url_set(struct http_request *q, const char *base, const char *path)
{
    buf_clear(&q->url);
    (void)buf_add_str(&q->url, base);
    return buf_add_str(&q->url, path);
}

int url_segment(struct http_request *q, const char *segment)
{
    (void)buf_add_char(&q->url, '/');
    return http_escape(&q->url, segment);
}

int url_query(struct http_request *q, const char *name, const char *value)
{
    bool first = q->url.bytes == NULL || strchr(q->url.bytes, '?') == NULL;
    (void)buf_printf(&q->url, "%c%s=", first ? '?' : '&', name);
    return http_escape(&q->url, value);
}

int url_query_int(struct http_request *q, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    return url_query(q, name, text);
}

int form_add(struct http_request *q, const char *name, const char *value)
{
    if (q->body.len_bytes > 0)
        (void)buf_add_char(&q->body, '&');
    (void)http_escape(&q->body, name);
    (void)buf_add_char(&q->body, '=');
    return http_escape(&q->body, value);
}

int request_bearer(struct http_request *q, const char *token, struct err *err)
{
    char value[HTTP_HEADER_MAX_BYTES];
    if (token[0] == '\0') {
        err_set(err, ERR_AUTH, "the connection has no credential");
        return -1;
    }
    int n = snprintf(value, sizeof value, "Bearer %s", token);
    int rc = -1;
    if (n > 0 && (size_t)n < sizeof value)
        rc = http_request_header(q, "Authorization", value);
    explicit_bzero(value, sizeof value);
    if (rc < 0)
        err_set(err, ERR_AUTH, "the credential does not fit into a header");
    return rc;
}

enum plan_result plan_call(struct ask_state *s, struct http_request *q, const char *method,
                           const char *endpoint, const char *family, struct err *err)
{
    q->method = method;
    q->endpoint = endpoint;
    q->family = family;
    if (q->url.failed || q->headers.failed || q->body.failed) {
        err_set(err, ERR_INVALID, "request to '%s' is too long", endpoint);
        return PLAN_ERROR;
    }
    s->calls++;
    return PLAN_CALL;
}
