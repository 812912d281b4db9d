/* Checks of values by type: each gives the normal form, or says what is allowed. */
#include "common/config_private.h"
#include "common/seal.h"

#include <ctype.h>
#include <limits.h>

static struct slice trim(struct slice s)
{
    while (s.len_bytes > 0 && isspace((unsigned char)s.bytes[0])) {
        s.bytes++;
        s.len_bytes--;
    }
    while (s.len_bytes > 0 && isspace((unsigned char)s.bytes[s.len_bytes - 1])) {
        s.len_bytes--;
    }
    return s;
}

static char *copy(struct slice s)
{
    return strndup(s.bytes, s.len_bytes);
}

/* One of "a|b|c"? */
static bool among(const char *choices, struct slice s)
{
    const char *p = choices;
    while (*p != '\0') {
        const char *end = strchrnul(p, '|');
        if ((size_t)(end - p) == s.len_bytes && memcmp(p, s.bytes, s.len_bytes) == 0) {
            return true;
        }
        p = *end == '|' ? end + 1 : end;
    }
    return false;
}

/* Digits at the start of s; the rest of s without blanks is the unit. */
static bool split_number(struct slice s, int64_t *number, struct slice *unit)
{
    size_t i = s.len_bytes > 0 && s.bytes[0] == '-';
    size_t digits = 0;
    int64_t v = 0;
    for (; i < s.len_bytes && isdigit((unsigned char)s.bytes[i]); i++, digits++) {
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, s.bytes[i] - '0', &v)) {
            return false;
        }
    }
    *number = s.len_bytes > 0 && s.bytes[0] == '-' ? -v : v;
    *unit = trim((struct slice){s.bytes + i, s.len_bytes - i});
    return digits > 0;
}

struct unit {
    const char *name;
    int64_t times;
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};
static const struct unit time_units[] = {{"", 1},   {"s", 1},    {"min", 60},
                                         {"m", 60}, {"h", 3600}, {NULL, 0}};
static const struct unit size_units[] = {{"", 1},
                                         {"B", 1},
                                         {"KiB", INT64_C(1) << 10},
                                         {"MiB", INT64_C(1) << 20},
                                         {"GiB", INT64_C(1) << 30},
                                         {NULL, 0}};

static bool in_units(const struct config_row *row, struct slice s, const struct unit *units,
                     int64_t *number)
{
    struct slice unit;
    if (!split_number(s, number, &unit)) {
        return false;
    }
    for (; units->name != NULL; units++) {
        if (slice_is(unit, units->name)) {
            return !__builtin_mul_overflow(*number, units->times, number) &&
                   *number >= row->min && *number <= row->max;
        }
    }
    return false;
}

static bool check_bool(struct slice s, int64_t *number)
{
    bool yes = among("on|true|yes|1", s);
    *number = yes;
    return yes || among("off|false|no|0", s);
}

static bool has_blank(struct slice s)
{
    for (size_t i = 0; i < s.len_bytes; i++) {
        if ((unsigned char)s.bytes[i] <= ' ') {
            return true;
        }
    }
    return false;
}

static bool check_url(const struct config_row *row, struct slice s)
{
    const char *sep = memmem(s.bytes, s.len_bytes, "://", 3);
    if (sep == NULL || has_blank(s)) {
        return false;
    }
    struct slice scheme = {s.bytes, (size_t)(sep - s.bytes)};
    size_t rest_bytes = s.len_bytes - scheme.len_bytes - 3;
    if (!among(row->choices, scheme)) {
        return false;
    }
    /* "postgresql://" alone is a whole URL of libpq: everything by default */
    return rest_bytes > 0 || scheme.len_bytes > 5;
}

static bool check_urls(const struct config_row *row, struct slice s)
{
    while (true) {
        const char *comma = memchr(s.bytes, ',', s.len_bytes);
        size_t n = comma == NULL ? s.len_bytes : (size_t)(comma - s.bytes);
        if (!check_url(row, trim((struct slice){s.bytes, n}))) {
            return false;
        }
        if (comma == NULL) {
            return true;
        }
        s = (struct slice){comma + 1, s.len_bytes - n - 1};
    }
}

static bool check_listen(struct slice s)
{
    if (s.len_bytes > 6 && memcmp(s.bytes, "unix:/", 6) == 0) {
        return true;
    }
    const char *colon = memrchr(s.bytes, ':', s.len_bytes);
    if (colon == NULL || colon == s.bytes || has_blank(s)) {
        return false;
    }
    struct slice host = {s.bytes, (size_t)(colon - s.bytes)};
    struct slice port = {colon + 1, s.len_bytes - host.len_bytes - 1};
    struct slice unit;
    int64_t number;
    if (memchr(host.bytes, ':', host.len_bytes) != NULL &&
        (host.bytes[0] != '[' || host.bytes[host.len_bytes - 1] != ']')) {
        return false; /* an IPv6 address stands in brackets */
    }
    return split_number(port, &number, &unit) && unit.len_bytes == 0 && number >= 0 &&
           number <= 65535;
}

static bool check_keys(struct slice s)
{
    char *text = copy(s);
    struct seal *seal = text == NULL ? NULL : seal_new(text, NULL);
    bool ok = seal != NULL;
    seal_free(seal);
    if (text != NULL) {
        explicit_bzero(text, s.len_bytes);
        free(text);
    }
    return ok;
}

static bool is_absolute(struct slice s)
{
    return s.len_bytes > 0 && s.bytes[0] == '/';
}

static bool fits(const struct config_row *row, struct slice s, int64_t *number)
{
    switch (row->type) {
    case TYPE_TEXT:
    case TYPE_LIST:
        return true;
    case TYPE_KEYS:
        return check_keys(s);
    case TYPE_PATH:
        return is_absolute(s);
    case TYPE_URL:
        return check_url(row, s);
    case TYPE_URLS:
        return check_urls(row, s);
    case TYPE_LISTEN:
        return check_listen(s);
    case TYPE_METRICS:
        return check_listen(s) || is_absolute(s) || slice_is(s, "off");
    case TYPE_ENUM:
        return among(row->choices, s);
    case TYPE_BOOL:
        return check_bool(s, number);
    case TYPE_INT:
        return in_units(row, s, no_units, number);
    case TYPE_SECONDS:
        return in_units(row, s, time_units, number);
    case TYPE_BYTES:
        return in_units(row, s, size_units, number);
    }
    return false;
}

static void add_choices(struct buf *out, const char *choices, const char *behind)
{
    for (const char *p = choices; *p != '\0'; p++) {
        if (*p == '|') {
            (void)buf_printf(out, "%s, ", behind);
        } else {
            (void)buf_add_char(out, *p);
        }
    }
    (void)buf_add_str(out, behind);
}

static void add_size(struct buf *out, int64_t bytes)
{
    static const char *const names[] = {"bytes", "KiB", "MiB", "GiB"};
    size_t i = 0;
    while (i + 1 < COUNT_OF(names) && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        i++;
    }
    (void)buf_printf(out, "%lld %s", (long long)bytes, names[i]);
}

static void say_allowed(const struct config_row *row, struct buf *out)
{
    switch (row->type) {
    case TYPE_TEXT:
    case TYPE_LIST:
        return;
    case TYPE_KEYS:
        (void)buf_add_str(out, "base64 of 32 bytes (openssl rand -base64 32), several "
                               "different ones comma-separated");
        return;
    case TYPE_PATH:
        (void)buf_add_str(out, "an absolute path");
        return;
    case TYPE_URL:
    case TYPE_URLS:
        (void)buf_add_str(out, row->type == TYPE_URL ? "a URL that begins with "
                                                     : "comma-separated URLs that begin with ");
        add_choices(out, row->choices, "://");
        return;
    case TYPE_LISTEN:
        (void)buf_add_str(out, "host:port or unix:/path");
        return;
    case TYPE_METRICS:
        (void)buf_add_str(out, "an absolute folder, host:port, unix:/path or off");
        return;
    case TYPE_ENUM:
        (void)buf_add_str(out, "one of ");
        add_choices(out, row->choices, "");
        return;
    case TYPE_BOOL:
        (void)buf_add_str(out, "on or off");
        return;
    case TYPE_INT:
        (void)buf_printf(out, "a whole number from %lld to %lld", (long long)row->min,
                         (long long)row->max);
        return;
    case TYPE_SECONDS:
        (void)buf_printf(out, "seconds from %lld to %lld (or 5min, 1h)", (long long)row->min,
                         (long long)row->max);
        return;
    case TYPE_BYTES:
        (void)buf_add_str(out, "a size from ");
        add_size(out, row->min);
        (void)buf_add_str(out, " to ");
        add_size(out, row->max);
        return;
    }
}

char *config_check(const struct config_row *row, const char *text, int64_t *number,
                   struct buf *allowed)
{
    struct slice s = trim(slice_of(text));
    *number = 0;
    if (!fits(row, s, number)) {
        say_allowed(row, allowed);
        return NULL;
    }
    if ((row->flags & FLAG_NO_SLASH) != 0) {
        while (s.len_bytes > 0 && s.bytes[s.len_bytes - 1] == '/') {
            s.len_bytes--;
        }
    }
    return copy(s);
}
