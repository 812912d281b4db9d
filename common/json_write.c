/* Texts as JSON strings, and JSON without its blanks. */
#include "common/json.h"

#include "common/utf8.h"

static size_t plain_bytes(struct slice s)
{
    size_t i = 0;
    while (i < s.len_bytes) {
        unsigned char c = (unsigned char)s.bytes[i];
        if (c < ' ' || c == '"' || c == '\\' || c >= 0x7f) {
            break;
        }
        i++;
    }
    return i;
}

static int add_escaped(struct buf *out, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";
    const char *known = c == 0 ? NULL : strchr(from, c);
    if (known != NULL) {
        const char pair[2] = {'\\', to[known - from]};
        return buf_add(out, pair, sizeof pair);
    }
    return buf_printf(out, "\\u%04x", c);
}

/* U+0080 to U+009F, which some terminals obey, and the two line separators, which end a line
 * in JavaScript and in some log readers. */
static bool is_hidden_control(const char *bytes, size_t n)
{
    return (n == 2 && bytes[0] == '\xc2' && (unsigned char)bytes[1] < 0xa0) ||
           (n == 3 &&
            (memcmp(bytes, "\xe2\x80\xa8", 3) == 0 || memcmp(bytes, "\xe2\x80\xa9", 3) == 0));
}

static int add_hidden_control(struct buf *out, const char *bytes, size_t n)
{
    unsigned char last = (unsigned char)bytes[n - 1];
    return buf_printf(out, "\\u%04x", n == 2 ? last : 0x2028u + (last & 1u));
}

int json_add_text(struct buf *out, struct slice s)
{
    (void)buf_add_char(out, '"');
    while (s.len_bytes > 0) {
        size_t n = plain_bytes(s);
        if (n == 0) {
            unsigned char c = (unsigned char)s.bytes[0];
            n = utf8_char_bytes(s);
            if (n == 0) {
                n = 1;
                (void)buf_add_str(out, "\xef\xbf\xbd");
            } else if (n == 1) {
                (void)add_escaped(out, c);
            } else if (is_hidden_control(s.bytes, n)) {
                (void)add_hidden_control(out, s.bytes, n);
            } else {
                (void)buf_add(out, s.bytes, n);
            }
        } else {
            (void)buf_add(out, s.bytes, n);
        }
        s.bytes += n;
        s.len_bytes -= n;
    }
    return buf_add_char(out, '"'); /* buf remembers an earlier failure */
}

size_t json_squeeze(struct slice s, char *out)
{
    const char *p = s.bytes, *end = s.bytes + s.len_bytes;
    char *to = out;
    while (p < end) {
        if (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t') {
            p++;
            continue;
        }
        if (*p != '"') {
            *to++ = *p++;
            continue;
        }
        const char *start = p++;
        while (p < end && *p != '"') {
            p += *p == '\\' ? 2 : 1;
        }
        p = p < end ? p + 1 : end; /* a string cut off ends with the text */
        memcpy(to, start, (size_t)(p - start));
        to += p - start;
    }
    return (size_t)(to - out);
}
