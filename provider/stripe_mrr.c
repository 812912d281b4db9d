#include "provider/stripe_mrr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ITEMS_MAX = 500 };

/* One item that counts, on its way from price to monthly amount. */
struct mrr_item {
    const struct ratio *monthly;
    const struct ratio *factor; /* billing periods a month */
    const char *product;
    json_t *note;
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s != NULL ? s : "";
}

/* An expandable reference: the id as text, or the object that carries it. */
static const char *id_of(const json_t *v)
{
    return json_is_string(v) ? json_string_value(v) : text_of(v, "id");
}

/* A number that the provider sends as text, integer or JSON real. The text of a real is back
 * exactly from its double up to 15 digits, and a percentage has fewer. */
static const struct ratio *decimal(struct ratio_pool *p, const json_t *v)
{
    char text[40];
    if (json_is_integer(v))
        return ratio_int(p, json_integer_value(v));
    if (json_is_real(v)) {
        int n = snprintf(text, sizeof text, "%.15g", json_real_value(v));
        return ratio_parse(p, (struct slice){text, (size_t)n});
    }
    if (json_is_string(v))
        return ratio_parse(p, (struct slice){json_string_value(v), json_string_length(v)});
    return NULL;
}

/* <name>_decimal before <name>: the integer is null where the amount is not whole. */
static const struct ratio *amount(struct ratio_pool *p, const json_t *o, const char *name)
{
    char key[40];
    (void)snprintf(key, sizeof key, "%s_decimal", name);
    const struct ratio *r = decimal(p, json_object_get(o, key));
    return r != NULL ? r : decimal(p, json_object_get(o, name));
}

/* A member that may be missing in one copy of an object because it comes only when expanded. */
static const json_t *either(const json_t *a, const json_t *b, const char *key)
{
    const json_t *v = json_object_get(a, key);
    return v != NULL && !json_is_null(v) ? v : json_object_get(b, key);
}

static void note_text(json_t *note, const char *key, const char *text)
{
    if (note != NULL)
        (void)json_object_set_new(note, key, json_string(text));
}

static void note_ratio(struct ratio_pool *p, json_t *note, const char *key,
                       const struct ratio *r)
{
    struct buf text;
    if (note == NULL)
        return;
    buf_init(&text, 4096);
    if (ratio_text(p, r, &text) == 0)
        note_text(note, key, buf_text(&text));
    buf_release(&text);
}

static json_t *note_list(json_t *note, const char *key)
{
    json_t *list = json_object_get(note, key);
    if (list == NULL && note != NULL) {
        list = json_array();
        if (json_object_set_new(note, key, list) < 0)
            list = NULL;
    }
    return list;
}

static json_t *note_add(json_t *list)
{
    json_t *o = list != NULL ? json_object() : NULL;
    if (o == NULL || json_array_append_new(list, o) < 0)
        return NULL;
    return o;
}

/* ---- the price of one item ---- */

/* Where the amounts stand for the subscription's currency: the price itself, or the entry of
 * its currency_options when its own currency is another. NULL: the price has no such amount. */
static const json_t *priced_in(const json_t *price, const json_t *full, const char *currency)
{
    const char *own = json_string_value(either(price, full, "currency"));
    if (currency[0] == '\0' || own == NULL || strcasecmp(own, currency) == 0)
        return price;
    return json_object_get(either(price, full, "currency_options"), currency);
}

static const struct ratio *tier_cost(struct ratio_pool *p, const json_t *tier,
                                     const struct ratio *units)
{
    const struct ratio *flat = amount(p, tier, "flat_amount");
    const struct ratio *unit = amount(p, tier, "unit_amount");
    const struct ratio *cost = unit != NULL ? ratio_mul(p, unit, units) : ratio_int(p, 0);
    return flat != NULL ? ratio_add(p, cost, flat) : cost;
}

/* volume: the tier that holds the quantity prices all of it. graduated: each tier entered
 * prices its own units. A quantity of 0 enters no tier and costs nothing. */
static const struct ratio *tiered(struct ratio_pool *p, const json_t *tiers, bool graduated,
                                  const struct ratio *quantity)
{
    const struct ratio *zero = ratio_int(p, 0);
    const struct ratio *cost = zero;
    const struct ratio *below = zero;
    if (ratio_cmp(p, quantity, zero) <= 0)
        return zero;
    for (size_t i = 0; i < json_array_size(tiers); i++) {
        const json_t *tier = json_array_get(tiers, i);
        const struct ratio *up_to = decimal(p, json_object_get(tier, "up_to"));
        bool last = up_to == NULL || ratio_cmp(p, quantity, up_to) <= 0;
        if (!graduated && last)
            return tier_cost(p, tier, quantity);
        if (graduated) {
            const struct ratio *top = last ? quantity : up_to;
            cost = ratio_add(p, cost, tier_cost(p, tier, ratio_sub(p, top, below)));
            below = top;
            if (last)
                break;
        }
    }
    return cost;
}

/* Amount of one billing period, or NULL when the price says none. */
static const struct ratio *per_period(struct ratio_pool *p, const json_t *price,
                                      const json_t *full, const char *currency,
                                      const struct ratio *quantity)
{
    const json_t *where = priced_in(price, full, currency);
    if (where == NULL)
        return NULL;
    const json_t *transform = either(price, full, "transform_quantity");
    const struct ratio *divide_by = decimal(p, json_object_get(transform, "divide_by"));
    if (divide_by != NULL) {
        quantity = ratio_div(p, quantity, divide_by);
        quantity = strcmp(text_of(transform, "round"), "up") == 0 ? ratio_ceil(p, quantity)
                                                                  : ratio_floor(p, quantity);
    }
    const char *scheme = json_string_value(either(price, full, "billing_scheme"));
    if (scheme != NULL && strcmp(scheme, "tiered") == 0) {
        const char *mode = json_string_value(either(price, full, "tiers_mode"));
        const json_t *tiers = either(where, where == price ? full : NULL, "tiers");
        if (!json_is_array(tiers))
            return NULL;
        return tiered(p, tiers, mode != NULL && strcmp(mode, "graduated") == 0, quantity);
    }
    const struct ratio *unit = amount(p, where, "unit_amount");
    if (unit == NULL)
        unit = amount(p, where, "amount"); /* a plan, the price's older form */
    return unit != NULL ? ratio_mul(p, unit, quantity) : NULL;
}

/* Billing periods a month: month 1/n, year 1/12n, week 52/12n, day 365/12n. */
static const struct ratio *periods_a_month(struct ratio_pool *p, const json_t *recurring)
{
    const char *interval = text_of(recurring, "interval");
    json_int_t n = json_integer_value(json_object_get(recurring, "interval_count"));
    if (n <= 0 || n > 10000)
        n = 1;
    if (strcmp(interval, "month") == 0)
        return ratio_fraction(p, 1, n);
    if (strcmp(interval, "year") == 0)
        return ratio_fraction(p, 1, 12 * n);
    if (strcmp(interval, "week") == 0)
        return ratio_fraction(p, 52, 12 * n);
    if (strcmp(interval, "day") == 0)
        return ratio_fraction(p, 365, 12 * n);
    return NULL;
}

/* ---- discounts ---- */

/* The coupon behind a discount: our own copy, which its own events keep fresh, else the one
 * that came with the discount: since 2025-09 discount.source.coupon, before discount.coupon.
 * *rest is where to look for what that one lacks, or NULL. */
static const json_t *coupon_of(const struct mrr_context *cx, const json_t *discount,
                               const json_t **rest)
{
    const json_t *c = json_object_get(json_object_get(discount, "source"), "coupon");
    if (c == NULL || json_is_null(c))
        c = json_object_get(discount, "coupon");
    const json_t *own = json_object_get(cx->coupons, id_of(c));
    const json_t *came = json_is_object(c) ? c : NULL;
    *rest = own != NULL ? came : NULL;
    return own != NULL ? own : came;
}

static bool is_running(const struct mrr_context *cx, const json_t *discount)
{
    const json_t *end = json_object_get(discount, "end");
    return !json_is_integer(end) || json_integer_value(end) > cx->now_s;
}

/* NULL when the discount counts, else why it does not. */
static const char *left_out(const struct mrr_context *cx, const json_t *discount,
                            const json_t *coupon, const json_t *full)
{
    if (coupon == NULL)
        return "coupon unknown";
    if (!is_running(cx, discount))
        return "ended";
    const char *duration = json_string_value(either(coupon, full, "duration"));
    if (duration == NULL || strcmp(duration, "forever") == 0)
        return NULL;
    if (strcmp(duration, "once") == 0)
        return cx->subtract_once ? NULL : "once";
    return cx->subtract_recurring ? NULL : "recurring";
}

static bool applies_to(const json_t *coupon, const json_t *full, const char *product)
{
    const json_t *products = json_object_get(either(coupon, full, "applies_to"), "products");
    if (!json_is_array(products) || json_array_size(products) == 0)
        return true;
    for (size_t i = 0; i < json_array_size(products); i++) {
        const char *id = json_string_value(json_array_get(products, i));
        if (id != NULL && strcmp(id, product) == 0)
            return true;
    }
    return false;
}

/* amount_off in the subscription's currency; NULL = no effect. */
static const struct ratio *amount_off(struct ratio_pool *p, const json_t *coupon,
                                      const json_t *full, const char *currency)
{
    const char *own = json_string_value(either(coupon, full, "currency"));
    if (own != NULL && strcasecmp(own, currency) == 0)
        return decimal(p, either(coupon, full, "amount_off"));
    const json_t *options = either(coupon, full, "currency_options");
    return decimal(p, json_object_get(json_object_get(options, currency), "amount_off"));
}

static const struct ratio *positive(struct ratio_pool *p, const struct ratio *r)
{
    const struct ratio *zero = ratio_int(p, 0);
    return ratio_cmp(p, r, zero) < 0 ? zero : r;
}

/* One coupon over the items it applies to. periods = how often a month amount_off is taken: an
 * item's own factor, or for a subscription that of its shortest period, since an invoice is
 * made then. Over several items it is spread in proportion to their amounts. */
static void apply_coupon(struct ratio_pool *p, const json_t *coupon, const json_t *full,
                         const char *currency, const struct ratio *periods,
                         struct mrr_item *items, size_t n)
{
    const struct ratio *percent = decimal(p, either(coupon, full, "percent_off"));
    const struct ratio *off = percent == NULL ? amount_off(p, coupon, full, currency) : NULL;
    const struct ratio *total = ratio_int(p, 0);
    if (percent == NULL && off == NULL)
        return;
    for (size_t i = 0; i < n; i++) {
        if (applies_to(coupon, full, items[i].product))
            total = ratio_add(p, total, items[i].monthly);
    }
    if (ratio_cmp(p, total, ratio_int(p, 0)) <= 0)
        return;
    const struct ratio *keep =
        percent != NULL
            ? ratio_sub(p, ratio_int(p, 1), ratio_div(p, percent, ratio_int(p, 100)))
            : ratio_div(p, ratio_sub(p, total, ratio_mul(p, off, periods)), total);
    keep = positive(p, keep);
    for (size_t i = 0; i < n; i++) {
        if (applies_to(coupon, full, items[i].product))
            items[i].monthly = ratio_mul(p, items[i].monthly, keep);
    }
}

static void apply_discount(struct ratio_pool *p, const struct mrr_context *cx,
                           const json_t *discount, const char *currency,
                           const struct ratio *periods, struct mrr_item *items, size_t n,
                           json_t *notes)
{
    const json_t *full = NULL;
    const json_t *coupon = coupon_of(cx, discount, &full);
    const char *why_not = left_out(cx, discount, coupon, full);
    json_t *note = note_add(notes);
    note_text(note, "discount", id_of(discount));
    note_text(note, "coupon", coupon != NULL ? text_of(coupon, "id") : "");
    if (why_not != NULL) {
        note_text(note, "left_out", why_not);
        return;
    }
    apply_coupon(p, coupon, full, currency, periods, items, n);
}

/* discounts (a list) since 2025-03, before that one discount. */
static size_t discount_count(const json_t *owner)
{
    const json_t *list = json_object_get(owner, "discounts");
    if (json_array_size(list) > 0)
        return json_array_size(list);
    return json_is_object(json_object_get(owner, "discount")) ? 1 : 0;
}

static const json_t *discount_at(const json_t *owner, size_t i)
{
    const json_t *list = json_object_get(owner, "discounts");
    return json_array_size(list) > 0 ? json_array_get(list, i)
                                     : json_object_get(owner, "discount");
}

static bool has_running_discount(const struct mrr_context *cx, const json_t *owner)
{
    for (size_t i = 0; i < discount_count(owner); i++) {
        if (is_running(cx, discount_at(owner, i)))
            return true;
    }
    return false;
}

/* ---- items and the whole ---- */

/* NULL when the item counts, else why it does not. */
static const char *item_left_out(const json_t *item, const json_t *price, const json_t *full,
                                 const json_t *recurring, int64_t now_s)
{
    const char *type = json_string_value(either(price, full, "type"));
    if (price == NULL)
        return "no price";
    if ((type != NULL && strcmp(type, "recurring") != 0) || !json_is_object(recurring))
        return "not recurring";
    if (strcmp(text_of(recurring, "usage_type"), "metered") == 0)
        return "metered";
    const json_t *trial = json_object_get(item, "current_trial");
    const json_t *trial_end = json_object_get(trial, "end_date");
    if (json_is_integer(trial_end) && json_integer_value(trial_end) > now_s)
        return "in trial";
    return NULL;
}

static bool take_item(struct ratio_pool *p, const struct mrr_context *cx, const json_t *item,
                      const char *currency, struct mrr_item *out)
{
    const json_t *price = json_object_get(item, "price");
    const json_t *own = json_object_get(cx->prices, id_of(price));
    if (!json_is_object(price))
        price = own;
    if (!json_is_object(price))
        price = json_object_get(item, "plan");
    /* Our own copy first: its own events keep it fresh. */
    const json_t *full = own != NULL ? price : json_object_get(cx->prices, id_of(price));
    price = own != NULL ? own : price;
    const json_t *recurring = either(price, full, "recurring");
    if (recurring == NULL && json_object_get(price, "interval") != NULL)
        recurring = price; /* a plan says interval and usage_type itself */
    note_text(out->note, "item", text_of(item, "id"));
    note_text(out->note, "price", id_of(price));
    const char *why_not = item_left_out(item, price, full, recurring, cx->now_s);
    const json_t *q = json_object_get(item, "quantity");
    const struct ratio *quantity = json_is_integer(q) ? decimal(p, q) : ratio_int(p, 1);
    note_ratio(p, out->note, "quantity", quantity);
    const struct ratio *per = NULL;
    if (why_not == NULL) {
        out->factor = periods_a_month(p, recurring);
        per = per_period(p, price, full, currency, quantity);
        if (out->factor == NULL)
            why_not = "interval unknown";
        else if (per == NULL)
            why_not = "no amount in this currency";
    }
    if (why_not != NULL) {
        note_text(out->note, "left_out", why_not);
        return false;
    }
    out->product = id_of(either(price, full, "product"));
    note_ratio(p, out->note, "per_period", per);
    out->monthly = ratio_mul(p, per, out->factor);
    for (size_t i = 0; i < discount_count(item); i++)
        apply_discount(p, cx, discount_at(item, i), currency, out->factor, out, 1,
                       note_list(out->note, "discounts"));
    return true;
}

static void subscription_discounts(struct ratio_pool *p, const struct mrr_context *cx,
                                   const json_t *sub, const char *currency,
                                   struct mrr_item *items, size_t n, json_t *notes)
{
    const struct ratio *periods = ratio_int(p, 0);
    for (size_t i = 0; i < n; i++) {
        if (ratio_cmp(p, items[i].factor, periods) > 0)
            periods = items[i].factor;
    }
    if (!has_running_discount(cx, sub)) {
        if (json_is_object(cx->customer_discount))
            apply_discount(p, cx, cx->customer_discount, currency, periods, items, n,
                           note_list(notes, "customer_discounts"));
        return;
    }
    for (size_t i = 0; i < discount_count(sub); i++)
        apply_discount(p, cx, discount_at(sub, i), currency, periods, items, n,
                       note_list(notes, "discounts"));
}

int stripe_mrr_subscription(struct ratio_pool *p, const json_t *sub,
                            const struct mrr_context *cx, const struct ratio **out,
                            char currency[8], json_t *notes)
{
    const char *status = text_of(sub, "status");
    const json_t *data = json_object_get(json_object_get(sub, "items"), "data");
    size_t count = json_array_size(data) < ITEMS_MAX ? json_array_size(data) : ITEMS_MAX;
    struct mrr_item *items = calloc(count + 1, sizeof *items);
    size_t n = 0;
    if (items == NULL)
        return -1;
    const char *own = text_of(sub, "currency");
    if (own[0] == '\0' && count > 0)
        own = text_of(json_object_get(json_array_get(data, 0), "price"), "currency");
    (void)snprintf(currency, 8, "%.7s", own);
    for (char *c = currency; *c != '\0'; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    note_text(notes, "subscription", text_of(sub, "id"));
    note_text(notes, "status", status);
    note_text(notes, "currency", currency);
    *out = ratio_int(p, 0);
    if (strcmp(status, "active") == 0 || strcmp(status, "past_due") == 0) {
        for (size_t i = 0; i < count; i++) {
            items[n].note = note_add(note_list(notes, "items"));
            if (take_item(p, cx, json_array_get(data, i), currency, &items[n]))
                n++;
        }
        subscription_discounts(p, cx, sub, currency, items, n, notes);
        for (size_t i = 0; i < n; i++) {
            note_ratio(p, items[i].note, "monthly", items[i].monthly);
            *out = ratio_add(p, *out, items[i].monthly);
        }
    }
    note_ratio(p, notes, "monthly", *out);
    free(items);
    return ratio_failed(p) ? -1 : 0;
}

int stripe_currency_decimals(const char *currency)
{
    static const char zero[] = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf";
    static const char three[] = "bhd jod kwd omr tnd";
    if (strlen(currency) != 3)
        return 2;
    if (strcasestr(zero, currency) != NULL)
        return 0;
    return strcasestr(three, currency) != NULL ? 3 : 2;
}

void stripe_major_text(int64_t minor, const char *currency, char out[32])
{
    static const uint64_t powers[] = {1, 10, 100, 1000};
    int decimals = stripe_currency_decimals(currency);
    uint64_t magnitude = minor < 0 ? 0 - (uint64_t)minor : (uint64_t)minor;
    uint64_t unit = powers[decimals];
    const char *sign = minor < 0 ? "-" : "";
    if (decimals == 0)
        (void)snprintf(out, 32, "%s%llu", sign, (unsigned long long)magnitude);
    else
        (void)snprintf(out, 32, "%s%llu.%0*llu", sign, (unsigned long long)(magnitude / unit),
                       decimals, (unsigned long long)(magnitude % unit));
}
