#include "provider/ratio.h"

#include <openssl/bn.h>
#include <stdlib.h>
#include <string.h>

enum { PARSE_MAX_CHARS = 60, EXPONENT_MAX = 60 };

/* In lowest terms, den > 0. */
struct ratio {
    struct ratio *next; /* of the pool */
    BIGNUM *num, *den;
};

struct ratio_pool {
    BN_CTX *bn;
    struct ratio *all;
    struct ratio zero; /* what failed operations answer */
    bool failed;
};

struct ratio_pool *ratio_pool_new(void)
{
    struct ratio_pool *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->bn = BN_CTX_new();
    p->zero.num = BN_new();
    p->zero.den = BN_new();
    if (p->bn == NULL || p->zero.num == NULL || p->zero.den == NULL ||
        !BN_set_word(p->zero.den, 1)) {
        ratio_pool_free(p);
        return NULL;
    }
    return p;
}

void ratio_pool_free(struct ratio_pool *p)
{
    if (p == NULL)
        return;
    while (p->all != NULL) {
        struct ratio *r = p->all;
        p->all = r->next;
        BN_free(r->num);
        BN_free(r->den);
        free(r);
    }
    BN_free(p->zero.num);
    BN_free(p->zero.den);
    BN_CTX_free(p->bn);
    free(p);
}

void ratio_pool_freep(struct ratio_pool **p)
{
    ratio_pool_free(*p);
    *p = NULL;
}

bool ratio_failed(const struct ratio_pool *p)
{
    return p->failed;
}

static const struct ratio *failed(struct ratio_pool *p)
{
    p->failed = true;
    return &p->zero;
}

static struct ratio *make(struct ratio_pool *p)
{
    struct ratio *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->num = BN_new();
    r->den = BN_new();
    r->next = p->all;
    p->all = r;
    return r->num != NULL && r->den != NULL ? r : NULL;
}

/* Lowest terms and a positive denominator; what makes two equal values look equal. */
static const struct ratio *settle(struct ratio_pool *p, struct ratio *r)
{
    BIGNUM *g = BN_new();
    bool ok = g != NULL && !BN_is_zero(r->den) && BN_gcd(g, r->num, r->den, p->bn) &&
              BN_div(r->num, NULL, r->num, g, p->bn) && BN_div(r->den, NULL, r->den, g, p->bn);
    BN_free(g);
    if (!ok)
        return failed(p);
    if (BN_is_negative(r->den)) {
        BN_set_negative(r->den, 0);
        BN_set_negative(r->num, !BN_is_negative(r->num));
    }
    return r;
}

static bool set_int(BIGNUM *b, int64_t n)
{
    uint64_t magnitude = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    if (!BN_set_word(b, magnitude))
        return false;
    BN_set_negative(b, n < 0);
    return true;
}

const struct ratio *ratio_fraction(struct ratio_pool *p, int64_t n, int64_t d)
{
    struct ratio *r = make(p);
    if (r == NULL || !set_int(r->num, n) || !set_int(r->den, d))
        return failed(p);
    return settle(p, r);
}

const struct ratio *ratio_int(struct ratio_pool *p, int64_t n)
{
    return ratio_fraction(p, n, 1);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The parts of "-12.50e3": digits without the point, and the power of ten to multiply by. */
static int read_decimal(struct slice t, char digits[PARSE_MAX_CHARS + 2], int *scale)
{
    size_t i = 0;
    size_t n = 0;
    int digit_count = 0;
    int exponent = 0;
    *scale = 0;
    if (t.len_bytes == 0 || t.len_bytes > PARSE_MAX_CHARS)
        return -1;
    if (t.bytes[i] == '-')
        digits[n++] = t.bytes[i++];
    for (; i < t.len_bytes && is_digit(t.bytes[i]); i++, digit_count++)
        digits[n++] = t.bytes[i];
    if (digit_count == 0)
        return -1;
    if (i < t.len_bytes && t.bytes[i] == '.') {
        for (i++; i < t.len_bytes && is_digit(t.bytes[i]); i++) {
            digits[n++] = t.bytes[i];
            (*scale)--;
        }
        if (*scale == 0)
            return -1;
    }
    digits[n] = '\0';
    if (i < t.len_bytes && (t.bytes[i] == 'e' || t.bytes[i] == 'E')) {
        i++;
        bool negative = i < t.len_bytes && t.bytes[i] == '-';
        if (i < t.len_bytes && (t.bytes[i] == '-' || t.bytes[i] == '+'))
            i++;
        if (i == t.len_bytes)
            return -1;
        for (; i < t.len_bytes && is_digit(t.bytes[i]) && exponent <= EXPONENT_MAX; i++)
            exponent = exponent * 10 + (t.bytes[i] - '0');
        if (exponent > EXPONENT_MAX)
            return -1;
        *scale += negative ? -exponent : exponent;
    }
    return i == t.len_bytes ? 0 : -1;
}

const struct ratio *ratio_parse(struct ratio_pool *p, struct slice text)
{
    char digits[PARSE_MAX_CHARS + 2];
    int scale = 0;
    if (read_decimal(text, digits, &scale) < 0)
        return NULL;
    struct ratio *r = make(p);
    if (r == NULL || BN_dec2bn(&r->num, digits) == 0 || !BN_set_word(r->den, 1))
        return failed(p);
    BIGNUM *side = scale < 0 ? r->den : r->num;
    for (int i = scale < 0 ? -scale : scale; i > 0; i--) {
        if (!BN_mul_word(side, 10))
            return failed(p);
    }
    return settle(p, r);
}

/* a.num*b.den +- b.num*a.den over a.den*b.den */
static const struct ratio *sum(struct ratio_pool *p, const struct ratio *a,
                               const struct ratio *b, bool minus)
{
    struct ratio *r = make(p);
    BIGNUM *t = BN_new();
    bool ok = r != NULL && t != NULL && BN_mul(r->num, a->num, b->den, p->bn) &&
              BN_mul(t, b->num, a->den, p->bn) && BN_mul(r->den, a->den, b->den, p->bn) &&
              (minus ? BN_sub(r->num, r->num, t) : BN_add(r->num, r->num, t));
    BN_free(t);
    return ok ? settle(p, r) : failed(p);
}

const struct ratio *ratio_add(struct ratio_pool *p, const struct ratio *a,
                              const struct ratio *b)
{
    return sum(p, a, b, false);
}

const struct ratio *ratio_sub(struct ratio_pool *p, const struct ratio *a,
                              const struct ratio *b)
{
    return sum(p, a, b, true);
}

const struct ratio *ratio_mul(struct ratio_pool *p, const struct ratio *a,
                              const struct ratio *b)
{
    struct ratio *r = make(p);
    if (r == NULL || !BN_mul(r->num, a->num, b->num, p->bn) ||
        !BN_mul(r->den, a->den, b->den, p->bn))
        return failed(p);
    return settle(p, r);
}

const struct ratio *ratio_div(struct ratio_pool *p, const struct ratio *a,
                              const struct ratio *b)
{
    struct ratio *r = make(p);
    if (r == NULL || !BN_mul(r->num, a->num, b->den, p->bn) ||
        !BN_mul(r->den, a->den, b->num, p->bn))
        return failed(p);
    return settle(p, r);
}

/* BN_div cuts towards zero; step says which way a remainder then moves the quotient. */
static const struct ratio *whole(struct ratio_pool *p, const struct ratio *a, int step)
{
    struct ratio *r = make(p);
    BIGNUM *rest = BN_new();
    bool ok = r != NULL && rest != NULL && BN_div(r->num, rest, a->num, a->den, p->bn) &&
              BN_set_word(r->den, 1);
    if (ok && !BN_is_zero(rest) && step < 0 && BN_is_negative(a->num))
        ok = BN_sub_word(r->num, 1) == 1;
    if (ok && !BN_is_zero(rest) && step > 0 && !BN_is_negative(a->num))
        ok = BN_add_word(r->num, 1) == 1;
    BN_free(rest);
    return ok ? r : failed(p);
}

const struct ratio *ratio_floor(struct ratio_pool *p, const struct ratio *a)
{
    return whole(p, a, -1);
}

const struct ratio *ratio_ceil(struct ratio_pool *p, const struct ratio *a)
{
    return whole(p, a, 1);
}

int ratio_cmp(struct ratio_pool *p, const struct ratio *a, const struct ratio *b)
{
    const struct ratio *d = ratio_sub(p, a, b);
    if (BN_is_zero(d->num))
        return 0;
    return BN_is_negative(d->num) ? -1 : 1;
}

int ratio_round(struct ratio_pool *p, const struct ratio *a, int64_t *out)
{
    const struct ratio *r = ratio_floor(p, ratio_add(p, a, ratio_fraction(p, 1, 2)));
    if (p->failed || BN_num_bits(r->num) > 63)
        return -1;
    int64_t magnitude = (int64_t)BN_get_word(r->num);
    *out = BN_is_negative(r->num) ? -magnitude : magnitude;
    return 0;
}

int ratio_text(struct ratio_pool *p, const struct ratio *a, struct buf *out)
{
    char *num = BN_bn2dec(a->num);
    char *den = BN_bn2dec(a->den);
    int rc = -1;
    if (num != NULL && den != NULL) {
        rc = buf_add_str(out, num);
        if (rc == 0 && !BN_is_one(a->den))
            rc = buf_printf(out, "/%s", den);
    } else {
        p->failed = true;
    }
    OPENSSL_free(num);
    OPENSSL_free(den);
    return rc;
}
