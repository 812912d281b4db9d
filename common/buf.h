/* A growing byte buffer that is born with a maximum. Always NUL-terminated behind len_bytes. */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include "common/compiler.h"

#include <stdbool.h>
#include <stddef.h>

/* Some bytes that belong to somebody else. */
struct slice {
    const char *bytes;
    size_t len_bytes;
};

/** A text as a slice. */
static inline struct slice slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/** True when the slice is exactly text. */
static inline bool slice_is(struct slice s, const char *text)
{
    return s.len_bytes == strlen(text) &&
           (s.len_bytes == 0 || memcmp(s.bytes, text, s.len_bytes) == 0);
}

struct buf {
    char *bytes; /* NULL until something is added */
    size_t len_bytes;
    size_t cap_bytes;
    size_t max_bytes; /* adding beyond it fails and sets failed */
    bool failed;      /* an addition did not fit or memory ran out; sticky until clear */
};

/** Start empty with a maximum. Nothing is allocated. */
void buf_init(struct buf *b, size_t max_bytes);
/** Free the memory; the buffer may be used again. NULL-safe. */
void buf_release(struct buf *b);
/** The same, overwriting what was there first: for credentials. */
void buf_wipe(struct buf *b);
/** Empty it, keep the memory, forget failed. */
void buf_clear(struct buf *b);
/** Add bytes; 0, or -1 with failed set. Callers may add many and check failed once. */
int buf_add(struct buf *b, const void *bytes, size_t len_bytes);
int buf_add_str(struct buf *b, const char *text);
int buf_add_char(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Make room for more_bytes at once, so that adding them moves nothing; -1 as buf_add(). */
int buf_reserve(struct buf *b, size_t more_bytes);
/** The text so far ("" when empty); lent until the next addition. */
const char *buf_text(const struct buf *b);
/** Hand the memory to the caller (free); the buffer is empty afterwards. NULL when empty. */
char *buf_take(struct buf *b);

#endif
