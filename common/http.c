#include "common/http.h"

enum {
    HEADERS_MAX_BYTES = 64 * 1024,
    CONNECT_TIMEOUT_MS = 5 * 1000,
    FIRST_BYTE_TIMEOUT_MS = 30 * 1000,
    TOTAL_TIMEOUT_MS = 90 * 1000,
};

void http_request_init(struct http_request *r)
{
    *r = (struct http_request){
        .method = "GET",
        .endpoint = "",
        .family = "",
        .answer_max_bytes = HTTP_BODY_MAX_BYTES,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .first_byte_timeout_ms = FIRST_BYTE_TIMEOUT_MS,
        .total_timeout_ms = TOTAL_TIMEOUT_MS,
    };
    buf_init(&r->url, HTTP_URL_MAX_BYTES);
    buf_init(&r->headers, HEADERS_MAX_BYTES);
    buf_init(&r->body, HTTP_BODY_MAX_BYTES);
}

void http_request_release(struct http_request *r)
{
    if (r == NULL) {
        return;
    }
    buf_release(&r->url);
    buf_wipe(&r->headers); /* may hold credentials, as a token call's body does */
    buf_wipe(&r->body);
    http_request_init(r);
}

static bool is_token(const char *name)
{
    if (*name == '\0') {
        return false;
    }
    for (const char *p = name; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c <= ' ' || c >= 0x7f || c == ':') {
            return false;
        }
    }
    return true;
}

static bool has_control(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return true;
        }
    }
    return false;
}

int http_request_header(struct http_request *r, const char *name, const char *value)
{
    size_t name_len = strlen(name);
    size_t value_len = strlen(value);
    if (!is_token(name) || has_control(value)) {
        return -1;
    }
    if (name_len > HTTP_HEADER_MAX_BYTES || value_len > HTTP_HEADER_MAX_BYTES) {
        return -1;
    }
    int count = 0;
    for (size_t i = 0; i < r->headers.len_bytes; i++) {
        count += r->headers.bytes[i] == '\n';
    }
    if (count >= HTTP_HEADERS_MAX) {
        return -1;
    }
    return buf_printf(&r->headers, "%s: %s\n", name, value);
}

int http_escape(struct buf *out, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
        char coded[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (plain ? buf_add_char(out, (char)c) < 0 : buf_add(out, coded, 3) < 0) {
            return -1;
        }
    }
    return 0;
}

void http_response_init(struct http_response *r)
{
    *r = (struct http_response){0};
    buf_init(&r->headers, HEADERS_MAX_BYTES);
    buf_init(&r->body, HTTP_BODY_MAX_BYTES);
}

void http_response_release(struct http_response *r)
{
    if (r == NULL) {
        return;
    }
    buf_release(&r->headers);
    buf_wipe(&r->body);
    http_response_init(r);
}

const char *http_response_header(const struct http_response *r, const char *name, char *out,
                                 size_t out_bytes)
{
    size_t name_len = strlen(name);
    const char *line = buf_text(&r->headers);
    while (*line != '\0') {
        const char *end = strchrnul(line, '\n');
        size_t len = (size_t)(end - line);
        if (len > name_len && memcmp(line, name, name_len) == 0 && line[name_len] == ':') {
            const char *value = line + name_len + 1;
            while (value < end && (*value == ' ' || *value == '\t')) {
                value++;
            }
            size_t value_len = (size_t)(end - value);
            if (value_len >= out_bytes) {
                return NULL;
            }
            memcpy(out, value, value_len);
            out[value_len] = '\0';
            return out;
        }
        line = *end == '\n' ? end + 1 : end;
    }
    return NULL;
}
