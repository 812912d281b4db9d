/* Decimal numbers as text. Nothing here passes through a double: HubSpot sends "1250.50" and
 * Stripe up to twelve decimals, and both must be stored digit by digit. */
#include "core/convert.h"

#include <errno.h>
#include <math.h>

enum { DIGITS_MAX = 80, EXPONENT_MAX = 100 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* An optional exponent; -1 when what stands there is none. */
static int read_exponent(const char **at, int *exponent)
{
    const char *p = *at;
    *exponent = 0;
    if (*p != 'e' && *p != 'E') {
        return 0;
    }
    p++;
    bool negative = *p == '-';
    if (*p == '-' || *p == '+') {
        p++;
    }
    if (!is_digit(*p)) {
        return -1;
    }
    for (; is_digit(*p); p++) {
        if (*exponent < 10000) {
            *exponent = *exponent * 10 + (*p - '0');
        }
    }
    *exponent = negative ? -*exponent : *exponent;
    *at = p;
    return 0;
}

/* Digits with the point before digits[point] to plain text. */
static enum error_type write_plain(const char *digits, int count, int point, bool negative,
                                   char out[DECIMAL_MAX_BYTES])
{
    int from = 0;
    bool zero = true;
    size_t n = 0;
    if (point > DIGITS_MAX || point < -DIGITS_MAX / 2 || count - point > DIGITS_MAX / 2) {
        return ET_MAP_NUMBER_OUT_OF_RANGE;
    }
    for (int i = 0; i < count; i++) {
        zero = zero && digits[i] == '0';
    }
    if (negative && !zero) {
        out[n++] = '-';
    }
    while (from < point - 1 && from < count && digits[from] == '0') {
        from++; /* leading zeros */
    }
    if (zero && from == count && from < point) {
        from = point - 1; /* "0E+3" is one zero */
    }
    if (point <= 0) {
        out[n++] = '0';
    }
    for (int i = from; i < point; i++) {
        out[n++] = i < count ? digits[i] : '0';
    }
    if (count > point) {
        out[n++] = '.';
        for (int i = point; i < count; i++) {
            out[n++] = i < 0 ? '0' : digits[i];
        }
    }
    out[n] = '\0';
    return ET_NONE;
}

enum error_type decimal_plain(const char *text, int shift10, char out[DECIMAL_MAX_BYTES])
{
    char digits[DIGITS_MAX];
    int count = 0;
    int point = -1;
    int exponent = 0;
    const char *p = text;
    while (is_blank(*p)) {
        p++;
    }
    bool negative = *p == '-';
    if (*p == '-' || *p == '+') {
        p++;
    }
    bool any = false;
    for (; is_digit(*p) || (*p == '.' && point < 0); p++) {
        if (*p == '.') {
            point = count;
            continue;
        }
        any = true;
        if (count == 0 && *p == '0' && point < 0 && is_digit(p[1])) {
            continue; /* leading zeros do not count against the room */
        }
        if (count == DIGITS_MAX) {
            return ET_MAP_NUMBER_OUT_OF_RANGE;
        }
        digits[count++] = *p;
    }
    if (!any || read_exponent(&p, &exponent) != 0) {
        return ET_MAP_TYPE_MISMATCH;
    }
    while (is_blank(*p)) {
        p++;
    }
    if (*p != '\0') {
        return ET_MAP_TYPE_MISMATCH;
    }
    if (exponent > EXPONENT_MAX || exponent < -EXPONENT_MAX) {
        return ET_MAP_NUMBER_OUT_OF_RANGE;
    }
    point = (point < 0 ? count : point) + exponent + shift10;
    return write_plain(digits, count, point, negative, out);
}

enum error_type decimal_of_json(const json_t *in, int shift10, char out[DECIMAL_MAX_BYTES])
{
    char text[64];
    if (json_is_string(in)) {
        return decimal_plain(json_string_value(in), shift10, out);
    }
    if (json_is_integer(in)) {
        (void)snprintf(text, sizeof text, "%lld", (long long)json_integer_value(in));
        return decimal_plain(text, shift10, out);
    }
    if (json_is_real(in)) {
        double v = json_real_value(in);
        if (!isfinite(v)) {
            return ET_MAP_NUMBER_OUT_OF_RANGE;
        }
        /* The shortest text that reads back as the same double is what was sent, if it was
         * sent with at most 15 digits. */
        for (int precision = 15; precision <= 17; precision++) {
            (void)snprintf(text, sizeof text, "%.*g", precision, v);
            if (strtod(text, NULL) == v) {
                break;
            }
        }
        return decimal_plain(text, shift10, out);
    }
    return ET_MAP_TYPE_MISMATCH;
}

enum error_type decimal_to_int(const char *plain, int64_t *out)
{
    char *end = NULL;
    errno = 0;
    long long v = strtoll(plain, &end, 10);
    if (errno == ERANGE) {
        return ET_MAP_NUMBER_OUT_OF_RANGE;
    }
    if (*end == '.') {
        for (end++; *end == '0'; end++) {
        }
    }
    if (*end != '\0') {
        return ET_MAP_TYPE_MISMATCH;
    }
    *out = v;
    return ET_NONE;
}
