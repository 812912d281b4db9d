/* Bytes, clock, generator and digests of the simulator. */
#include "internal.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void *checked(void *p)
{
    if (p == NULL) {
        (void)fputs("pivotal-sync-sim: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *sim_calloc(size_t count, size_t size)
{
    return checked(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

void *sim_realloc(void *p, size_t size)
{
    return checked(realloc(p, size > 0 ? size : 1));
}

char *sim_strdup(const char *s)
{
    return checked(strdup(s));
}

char *sim_strf(const char *fmt, ...)
{
    char *out = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&out, fmt, ap) < 0) {
        out = NULL;
    }
    va_end(ap);
    return checked(out);
}

static void buf_room(struct sim_buf *b, size_t more)
{
    if (b->len + more + 1 > b->cap) {
        size_t cap = b->cap > 0 ? b->cap : 256;
        while (cap < b->len + more + 1) {
            cap *= 2;
        }
        b->p = sim_realloc(b->p, cap);
        b->cap = cap;
    }
}

void sim_buf_add(struct sim_buf *b, const void *p, size_t len)
{
    buf_room(b, len);
    if (len > 0) {
        memcpy(b->p + b->len, p, len);
    }
    b->len += len;
    b->p[b->len] = '\0';
}

void sim_buf_adds(struct sim_buf *b, const char *s)
{
    sim_buf_add(b, s, strlen(s));
}

void sim_buf_addf(struct sim_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int need = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    buf_room(b, (size_t)need);
    va_start(ap, fmt);
    (void)vsnprintf(b->p + b->len, (size_t)need + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)need;
}

void sim_buf_add_json_string(struct sim_buf *b, const char *s, size_t len)
{
    buf_room(b, len * 6 + 2);
    char *o = b->p + b->len;
    *o++ = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') {
            *o++ = '\\';
            *o++ = (char)c;
        } else if (c >= 0x20) {
            *o++ = (char)c;
        } else if (c == '\n') {
            *o++ = '\\';
            *o++ = 'n';
        } else {
            static const char hex[] = "0123456789abcdef";
            memcpy(o, "\\u00", 4);
            o[4] = hex[c >> 4];
            o[5] = hex[c & 15];
            o += 6;
        }
    }
    *o++ = '"';
    *o = '\0';
    b->len = (size_t)(o - b->p);
}

static int dump_to_buf(const char *p, size_t len, void *arg)
{
    struct sim_buf *b = arg;
    sim_buf_add(b, p, len);
    return 0;
}

void sim_buf_add_json(struct sim_buf *b, const json_t *v, size_t flags)
{
    (void)json_dump_callback(v, dump_to_buf, b, flags | JSON_ENCODE_ANY);
}

bool sim_buf_add_hex(struct sim_buf *b, const char *hex)
{
    static const char digits[] = "0123456789abcdef";
    for (; *hex != '\0'; hex += 2) {
        const char *hi = strchr(digits, hex[0] | 0x20);
        const char *lo = hex[1] != '\0' ? strchr(digits, hex[1] | 0x20) : NULL;
        if (hi == NULL || lo == NULL) {
            return false;
        }
        char c = (char)((hi - digits) * 16 + (lo - digits));
        sim_buf_add(b, &c, 1);
    }
    return true;
}

void sim_buf_free(struct sim_buf *b)
{
    free(b->p);
    memset(b, 0, sizeof *b);
}

int64_t sim_mono_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t sim_now_ms(const struct sim *s)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + s->clock_offset_ms;
}

void sim_set_clock_offset_ms(struct sim *s, int64_t offset_ms)
{
    s->clock_offset_ms = offset_ms;
}

void sim_iso_time(int64_t at_ms, char *out, size_t size)
{
    time_t t = (time_t)(at_ms / 1000);
    struct tm tm;
    (void)gmtime_r(&t, &tm);
    char day[32];
    (void)strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out, size, "%s.%03dZ", day, (int)(at_ms % 1000));
}

uint64_t sim_rand(struct sim *s)
{
    /* xorshift64*: short, seeded, the same everywhere. */
    uint64_t x = s->rng;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    s->rng = x;
    return x * UINT64_C(2685821657736338717);
}

uint64_t sim_rand_below(struct sim *s, uint64_t below)
{
    return below > 0 ? (sim_rand(s) >> 11) % below : 0;
}

uint64_t sim_mix(uint64_t seed, uint64_t a, uint64_t b)
{
    uint64_t z = seed * UINT64_C(0x9E3779B97F4A7C15) + a * UINT64_C(0xBF58476D1CE4E5B9) +
                 b * UINT64_C(0x94D049BB133111EB) + 1;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

void sim_uuid(struct sim *s, char *out)
{
    uint64_t a = sim_rand(s);
    uint64_t b = sim_rand(s);
    (void)snprintf(out, 37, "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(a >> 32),
                   (unsigned)(a >> 16) & 0xffffU, (unsigned)a & 0xfffU,
                   0x8000U | ((unsigned)(b >> 48) & 0x3fffU),
                   (unsigned long long)(b & UINT64_C(0xffffffffffff)));
}

void sim_hmac_sha256(const char *key, const void *data, size_t len, unsigned char out[32])
{
    unsigned n = 32;
    (void)HMAC(EVP_sha256(), key, (int)strlen(key), data, len, out, &n);
}

void sim_sha256(const void *data, size_t len, unsigned char out[32])
{
    unsigned n = 32;
    (void)EVP_Digest(data, len, out, &n, EVP_sha256(), NULL);
}

void sim_hex(const unsigned char *p, size_t len, char *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex[p[i] >> 4];
        out[2 * i + 1] = hex[p[i] & 15];
    }
    out[2 * len] = '\0';
}

void sim_base64(const unsigned char *p, size_t len, char *out)
{
    (void)EVP_EncodeBlock((unsigned char *)out, p, (int)len);
}
