/* Exact fractions, for money. Values are made by the functions below, never change, and live
 * until their ratio_pool goes; so a formula is written straight down and nothing is freed in
 * between. Numerator and denominator have no size limit: percents of percents of amounts with
 * twelve decimals leave 128 bits behind quickly.
 *
 * When memory runs out or an input is no number the pool is marked failed and every further
 * result is zero; ask ratio_failed() once, at the end. */
#ifndef PROVIDER_RATIO_H
#define PROVIDER_RATIO_H

#include "common/buf.h"
#include "common/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct ratio;
struct ratio_pool;

/** Returns a pool the caller owns, or NULL when there is no memory. */
struct ratio_pool *ratio_pool_new(void) MUST_USE;
void ratio_pool_free(struct ratio_pool *p);
void ratio_pool_freep(struct ratio_pool **p);
/** True once anything went wrong. */
bool ratio_failed(const struct ratio_pool *p);

const struct ratio *ratio_int(struct ratio_pool *p, int64_t n);
/** n / d; d must not be 0. */
const struct ratio *ratio_fraction(struct ratio_pool *p, int64_t n, int64_t d);
/** A decimal number as JSON writes it ("12.50", "-3", "1e3"), at most 60 characters and an
 * exponent within +-60. NULL when it is none (the pool is not marked failed by that). */
const struct ratio *ratio_parse(struct ratio_pool *p, struct slice text) MUST_USE;

const struct ratio *ratio_add(struct ratio_pool *p, const struct ratio *a,
                              const struct ratio *b);
const struct ratio *ratio_sub(struct ratio_pool *p, const struct ratio *a,
                              const struct ratio *b);
const struct ratio *ratio_mul(struct ratio_pool *p, const struct ratio *a,
                              const struct ratio *b);
/** a / b; b = 0 marks the pool failed. */
const struct ratio *ratio_div(struct ratio_pool *p, const struct ratio *a,
                              const struct ratio *b);
/** The greatest integer not above a / the smallest not below a. */
const struct ratio *ratio_floor(struct ratio_pool *p, const struct ratio *a);
const struct ratio *ratio_ceil(struct ratio_pool *p, const struct ratio *a);
/** <0, 0, >0 like strcmp. */
int ratio_cmp(struct ratio_pool *p, const struct ratio *a, const struct ratio *b);

/** Rounded half up to an integer; -1 when that passes 64 bits. */
int ratio_round(struct ratio_pool *p, const struct ratio *a, int64_t *out) MUST_USE;
/** "13000/3", or "4333" for an integer, in lowest terms, added to out. */
int ratio_text(struct ratio_pool *p, const struct ratio *a, struct buf *out);

#endif
