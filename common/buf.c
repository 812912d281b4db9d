#include "common/buf.h"

#include <stdarg.h>

enum { FIRST_BYTES = 64 };

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){.max_bytes = max_bytes};
}

void buf_release(struct buf *b)
{
    if (b == NULL) {
        return;
    }
    free(b->bytes);
    *b = (struct buf){.max_bytes = b->max_bytes};
}

void buf_wipe(struct buf *b)
{
    if (b != NULL && b->bytes != NULL) {
        explicit_bzero(b->bytes, b->cap_bytes);
    }
    buf_release(b);
}

void buf_clear(struct buf *b)
{
    b->len_bytes = 0;
    b->failed = false;
    if (b->bytes != NULL) {
        b->bytes[0] = '\0';
    }
}

int buf_reserve(struct buf *b, size_t more_bytes)
{
    if (b->failed || more_bytes > b->max_bytes || b->len_bytes > b->max_bytes - more_bytes) {
        b->failed = true;
        return -1;
    }
    size_t need = b->len_bytes + more_bytes + 1;
    if (need <= b->cap_bytes) {
        return 0;
    }
    size_t cap = b->cap_bytes < FIRST_BYTES ? FIRST_BYTES : b->cap_bytes * 2;
    if (cap < need) {
        cap = need;
    }
    if (cap > b->max_bytes + 1) {
        cap = b->max_bytes + 1;
    }
    char *bytes = realloc(b->bytes, cap);
    if (bytes == NULL) {
        b->failed = true;
        return -1;
    }
    b->bytes = bytes;
    b->cap_bytes = cap;
    return 0;
}

int buf_add(struct buf *b, const void *bytes, size_t len_bytes)
{
    if (buf_reserve(b, len_bytes) < 0) {
        return -1;
    }
    if (len_bytes > 0) {
        memcpy(b->bytes + b->len_bytes, bytes, len_bytes);
    }
    b->len_bytes += len_bytes;
    b->bytes[b->len_bytes] = '\0';
    return 0;
}

int buf_add_str(struct buf *b, const char *text)
{
    return buf_add(b, text, strlen(text));
}

int buf_add_char(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    /* Into what is there first: most additions are short, and then one pass is enough. */
    if (buf_reserve(b, 0) < 0) {
        return -1;
    }
    size_t room = b->cap_bytes - b->len_bytes;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(b->bytes + b->len_bytes, room, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->bytes[b->len_bytes] = '\0';
        b->failed = true;
        return -1;
    }
    if ((size_t)n >= room) {
        b->bytes[b->len_bytes] = '\0';
        if (buf_reserve(b, (size_t)n) < 0) {
            return -1;
        }
        va_start(ap, fmt);
        (void)vsnprintf(b->bytes + b->len_bytes, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    b->len_bytes += (size_t)n;
    return 0;
}

const char *buf_text(const struct buf *b)
{
    return b->bytes == NULL ? "" : b->bytes;
}

char *buf_take(struct buf *b)
{
    char *bytes = b->bytes;
    *b = (struct buf){.max_bytes = b->max_bytes};
    return bytes;
}
