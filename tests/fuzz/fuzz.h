/* What the fuzz targets share. Each target is one file: LLVMFuzzerTestOneInput() takes the
 * bytes of an outsider to a parser and checks what must hold whatever they are (MUST). The
 * first bytes of an input choose what is parsed, the rest is text with parts split by NUL. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "common/buf.h"
#include "common/utf8.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An oracle: what is not true is a crash. */
#define MUST(what)                                                                             \
    do {                                                                                       \
        if (!(what)) {                                                                         \
            (void)fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #what);        \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

struct input {
    const uint8_t *at, *end;
};

static inline unsigned input_byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* The next part, up to a NUL or the end, as a text of its own (free). */
static inline char *input_text(struct input *in)
{
    size_t left = (size_t)(in->end - in->at);
    const uint8_t *nul = left > 0 ? memchr(in->at, '\0', left) : NULL;
    size_t n = nul != NULL ? (size_t)(nul - in->at) : left;
    char *text = malloc(n + 1);
    MUST(text != NULL);
    if (n > 0) {
        memcpy(text, in->at, n);
    }
    text[n] = '\0';
    in->at += n + (nul != NULL);
    return text;
}

/* All that is left, in memory of exactly that size, so that one byte past it is seen (free). */
static inline struct slice input_rest(struct input *in)
{
    size_t n = (size_t)(in->end - in->at);
    char *bytes = malloc(n > 0 ? n : 1);
    MUST(bytes != NULL);
    if (n > 0) {
        memcpy(bytes, in->at, n);
    }
    in->at = in->end;
    return (struct slice){bytes, n};
}

static inline bool is_utf8(const char *text)
{
    struct slice s = slice_of(text);
    return utf8_valid_bytes(s) == s.len_bytes;
}

#endif
