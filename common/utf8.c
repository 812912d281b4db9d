#include "common/utf8.h"

#include <stdint.h>

/* The second byte has a narrower range after some first bytes (RFC 3629, section 4). */
static bool second_fits(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xe0:
        return second >= 0xa0 && second <= 0xbf;
    case 0xed:
        return second >= 0x80 && second <= 0x9f;
    case 0xf0:
        return second >= 0x90 && second <= 0xbf;
    case 0xf4:
        return second >= 0x80 && second <= 0x8f;
    default:
        return second >= 0x80 && second <= 0xbf;
    }
}

static size_t length_by_first(unsigned char c)
{
    if (c < 0x80) {
        return 1;
    }
    if (c >= 0xc2 && c <= 0xdf) {
        return 2;
    }
    if (c >= 0xe0 && c <= 0xef) {
        return 3;
    }
    return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

size_t utf8_char_bytes(struct slice s)
{
    if (s.len_bytes == 0) {
        return 0;
    }
    const unsigned char *p = (const unsigned char *)s.bytes;
    size_t n = length_by_first(p[0]);
    if (n == 0 || n > s.len_bytes) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if (i == 1 ? !second_fits(p[0], p[1]) : (p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return n;
}

size_t utf8_valid_bytes(struct slice s)
{
    size_t i = 0;
    while (i < s.len_bytes) {
        /* Eight ASCII characters at a time: nearly all of what we see. */
        uint64_t eight;
        if (s.len_bytes - i >= sizeof eight) {
            memcpy(&eight, s.bytes + i, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                i += sizeof eight;
                continue;
            }
        }
        size_t n = utf8_char_bytes((struct slice){s.bytes + i, s.len_bytes - i});
        if (n == 0) {
            break;
        }
        i += n;
    }
    return i;
}

struct slice utf8_cut(struct slice s, size_t max_bytes)
{
    if (s.len_bytes <= max_bytes) {
        return s;
    }
    size_t n = max_bytes;
    /* Continuation bytes at the cut belong to a character that began before it. */
    for (int back = 0; back < 3 && n > 0 && ((unsigned char)s.bytes[n] & 0xc0) == 0x80;
         back++) {
        n--;
    }
    return (struct slice){s.bytes, n};
}

size_t utf8_encode(uint32_t code_point, char out[4])
{
    uint32_t c = code_point;
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        c = 0xfffd;
    }
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | (c >> 6));
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | (c >> 12));
        out[1] = (char)(0x80 | ((c >> 6) & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | (c >> 18));
    out[1] = (char)(0x80 | ((c >> 12) & 0x3f));
    out[2] = (char)(0x80 | ((c >> 6) & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}
