/* UTF-8 as PostgreSQL takes it: no overlong forms, no surrogates, nothing past U+10FFFF. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include "common/buf.h"

#include <stdint.h>

/** Length in bytes (1 to 4) of the valid character at the start of s; 0 when there is none. */
size_t utf8_char_bytes(struct slice s);

/** How many bytes from the start of s are valid. */
size_t utf8_valid_bytes(struct slice s);

/** The longest prefix of s of at most max_bytes that does not cut a character in two. */
struct slice utf8_cut(struct slice s, size_t max_bytes);

/** Write a code point to out; returns its length. A surrogate or too large one is U+FFFD. */
size_t utf8_encode(uint32_t code_point, char out[4]);

#endif
