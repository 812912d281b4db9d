/* Monthly recurring revenue of a Stripe customer, exact. The rules are Stripe's definition as
 * far as it goes (active and past_due only, no trials, taxes, metered items; yearly / 12); what
 * it leaves open is decided here and said in DESIGN.md. No doubles, one rounding, at the end.
 */
#ifndef PROVIDER_STRIPE_MRR_H
#define PROVIDER_STRIPE_MRR_H

#include "provider/ratio.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What a subscription's amount depends on beside itself. All lent; NULL where there is none. */
struct mrr_context {
    const json_t *prices;            /* id -> price: tiers, currency_options */
    const json_t *coupons;           /* id -> coupon: applies_to, currency_options */
    const json_t *customer_discount; /* used where a subscription has none of its own */
    int64_t now_s;
    bool subtract_recurring; /* discounts with an end */
    bool subtract_once;
};

/**
 * Monthly amount of one subscription in minor units of its currency, into *out (lives in the
 * pool; zero when it does not count). currency gets the lower-case code ("" when unknown).
 * notes: an object that gets the inputs: items, prices, discounts and why each counts or not.
 * Returns 0, or -1 when memory ran out.
 */
int stripe_mrr_subscription(struct ratio_pool *p, const json_t *subscription,
                            const struct mrr_context *cx, const struct ratio **out,
                            char currency[8], json_t *notes) MUST_USE;

/** How many decimals the minor unit of a currency stands for: 0, 2 or 3. */
int stripe_currency_decimals(const char *currency);
/** Minor units as decimal text in major units: 10000 usd -> "100.00", 1500 jpy -> "1500". */
void stripe_major_text(int64_t minor, const char *currency, char out[32]);

#endif
