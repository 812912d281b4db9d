#include "common/clock.h"

#include "common/compiler.h"

#include <ctype.h>
#include <stdbool.h>

enum { MS_PER_S = 1000, US_PER_S = 1000 * 1000, S_PER_DAY = 24 * 60 * 60 };

static int64_t read_clock_us(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts); /* cannot fail for the two clocks used here */
    return (int64_t)ts.tv_sec * US_PER_S + ts.tv_nsec / 1000;
}

int64_t clock_now_ms(void)
{
    return read_clock_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_mono_ms(void)
{
    return read_clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_mono_us(void)
{
    return read_clock_us(CLOCK_MONOTONIC);
}

/* v with n digits and the character behind them; returns where to go on. */
static char *put_digits(char *p, int v, int n, char behind)
{
    for (int i = n - 1; i >= 0; i--) {
        p[i] = (char)('0' + v % 10);
        v /= 10;
    }
    p[n] = behind;
    return p + n + 1;
}

char *clock_text(int64_t at_ms, char out[CLOCK_TEXT_BYTES])
{
    int64_t s = at_ms / MS_PER_S;
    int64_t ms = at_ms % MS_PER_S;
    if (ms < 0) { /* before 1970: round down, not towards zero */
        ms += MS_PER_S;
        s -= 1;
    }
    time_t t = (time_t)s;
    struct tm tm = {0};
    if (gmtime_r(&t, &tm) == NULL || tm.tm_year < -1900 || tm.tm_year > 8099) {
        memcpy(out, "9999-12-31T23:59:59.999Z", sizeof "9999-12-31T23:59:59.999Z");
        return out;
    }
    char *p = out;
    p = put_digits(p, tm.tm_year + 1900, 4, '-');
    p = put_digits(p, tm.tm_mon + 1, 2, '-');
    p = put_digits(p, tm.tm_mday, 2, 'T');
    p = put_digits(p, tm.tm_hour, 2, ':');
    p = put_digits(p, tm.tm_min, 2, ':');
    p = put_digits(p, tm.tm_sec, 2, '.');
    p = put_digits(p, (int)ms, 3, 'Z');
    *p = '\0';
    return out;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar (years start in March, so that
 * the leap day is the last one). */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    if (m <= 2) {
        y -= 1;
        m += 12;
    }
    int64_t day_of_year = (153 * (m - 3) + 2) / 5 + d - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

/* n digits of *p to *out; moves p. */
static bool take_digits(const char **p, int n, int64_t *out)
{
    int64_t v = 0;
    for (int i = 0; i < n; i++) {
        if (!isdigit((unsigned char)(*p)[i])) {
            return false;
        }
        v = v * 10 + ((*p)[i] - '0');
    }
    *p += n;
    *out = v;
    return true;
}

static bool take_char(const char **p, char c)
{
    if (**p != c) {
        return false;
    }
    *p += 1;
    return true;
}

static bool take_fraction_ms(const char **p, int64_t *ms)
{
    *ms = 0;
    if (**p != '.' && **p != ',') {
        return true;
    }
    *p += 1;
    if (!isdigit((unsigned char)**p)) {
        return false;
    }
    for (int64_t unit = 100; isdigit((unsigned char)**p); *p += 1, unit /= 10) {
        *ms += (**p - '0') * unit;
    }
    return true;
}

/* "Z", "+hh:mm", "+hhmm" or "+hh", as minutes. */
static bool take_offset_min(const char **p, int64_t *min)
{
    *min = 0;
    if (take_char(p, 'Z') || take_char(p, 'z')) {
        return true;
    }
    int64_t sign = **p == '-' ? -1 : 1;
    if (**p != '+' && **p != '-') {
        return false;
    }
    *p += 1;
    int64_t h = 0;
    int64_t m = 0;
    if (!take_digits(p, 2, &h)) {
        return false;
    }
    if (**p != '\0') {
        (void)take_char(p, ':');
        if (!take_digits(p, 2, &m)) {
            return false;
        }
    }
    *min = sign * (h * 60 + m);
    return h < 24 && m < 60;
}

static bool date_fits(int64_t y, int64_t m, int64_t d)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (m < 1 || m > 12 || d < 1 || d > days[m - 1]) {
        return false;
    }
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m != 2 || d < 29 || leap;
}

int clock_parse(const char *text, int64_t *at_ms)
{
    const char *p = text;
    int64_t y;
    int64_t mon;
    int64_t d;
    int64_t h;
    int64_t min;
    int64_t s;
    int64_t ms;
    int64_t offset_min;
    if (!take_digits(&p, 4, &y) || !take_char(&p, '-') || !take_digits(&p, 2, &mon) ||
        !take_char(&p, '-') || !take_digits(&p, 2, &d)) {
        return -1;
    }
    if (!take_char(&p, 'T') && !take_char(&p, 't') && !take_char(&p, ' ')) {
        return -1;
    }
    if (!take_digits(&p, 2, &h) || !take_char(&p, ':') || !take_digits(&p, 2, &min) ||
        !take_char(&p, ':') || !take_digits(&p, 2, &s)) {
        return -1;
    }
    if (!take_fraction_ms(&p, &ms) || !take_offset_min(&p, &offset_min) || *p != '\0') {
        return -1;
    }
    /* 60 is a leap second: it becomes the first of the next minute, as in POSIX time. */
    if (!date_fits(y, mon, d) || h > 23 || min > 59 || s > 60) {
        return -1;
    }
    int64_t t = days_of(y, mon, d) * S_PER_DAY + h * 3600 + min * 60 + s - offset_min * 60;
    *at_ms = t * MS_PER_S + ms;
    return 0;
}
