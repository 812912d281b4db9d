/* MRR against the vectors of tests/fixtures/stripe/mrr-vectors.json, and what they leave out.
 */
#include "provider/stripe_mrr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *exact(struct ratio_pool *p, const struct ratio *r, char out[256])
{
    struct buf b;
    buf_init(&b, 256);
    assert_int_equal(ratio_text(p, r, &b), 0);
    (void)snprintf(out, 256, "%s", buf_text(&b));
    buf_release(&b);
    return out;
}

static void vector_is_met(const json_t *v)
{
    const json_t *policy = json_object_get(v, "policy");
    struct ratio_pool *p = ratio_pool_new();
    struct mrr_context cx = {
        .customer_discount = json_object_get(v, "customer_discount"),
        .now_s = json_integer_value(json_object_get(v, "as_of")),
        .subtract_recurring = json_is_true(json_object_get(policy, "subtract_recurring")),
        .subtract_once = json_is_true(json_object_get(policy, "subtract_once")),
    };
    const struct ratio *r = NULL;
    char currency[8];
    char text[256];
    int64_t rounded = -1;
    json_t *notes = json_object();
    assert_non_null(p);
    assert_int_equal(stripe_mrr_subscription(p, json_object_get(v, "subscription"), &cx, &r,
                                             currency, notes),
                     0);
    if (strcmp(exact(p, r, text), json_string_value(json_object_get(v, "mrr_exact"))) != 0)
        fail_msg("%s: %s", json_string_value(json_object_get(v, "name")), text);
    assert_int_equal(ratio_round(p, r, &rounded), 0);
    assert_int_equal(rounded, json_integer_value(json_object_get(v, "mrr_rounded_minor")));
    assert_string_equal(currency, json_string_value(json_object_get(v, "currency")));
    json_decref(notes);
    ratio_pool_free(p);
}

static void gives_every_vector_exactly_and_rounded(void **state)
{
    (void)state;
    json_t *file = json_load_file("tests/fixtures/stripe/mrr-vectors.json", 0, NULL);
    const json_t *vectors = json_object_get(file, "vectors");
    assert_int_equal(json_array_size(vectors), 41);
    for (size_t i = 0; i < json_array_size(vectors); i++)
        vector_is_met(json_array_get(vectors, i));
    json_decref(file);
}

/* What text gives for one subscription with these tables, as an exact fraction. */
static void expect(const char *sub_text, const char *prices, const char *coupons,
                   const char *want)
{
    json_t *sub = json_loads(sub_text, 0, NULL);
    json_t *price_map = json_loads(prices, 0, NULL);
    json_t *coupon_map = json_loads(coupons, 0, NULL);
    struct ratio_pool *p = ratio_pool_new();
    struct mrr_context cx = {.prices = price_map,
                             .coupons = coupon_map,
                             .now_s = 1790000000,
                             .subtract_recurring = true};
    const struct ratio *r = NULL;
    char currency[8];
    char text[256];
    assert_non_null(sub);
    assert_non_null(p);
    assert_int_equal(stripe_mrr_subscription(p, sub, &cx, &r, currency, NULL), 0);
    assert_string_equal(exact(p, r, text), want);
    ratio_pool_free(p);
    json_decref(sub);
    json_decref(price_map);
    json_decref(coupon_map);
}

#define MONTHLY(cur, amount)                                                                   \
    "{\"id\":\"price_1\",\"type\":\"recurring\",\"currency\":\"" cur                           \
    "\",\"unit_amount\":" amount ",\"recurring\":{\"interval\":\"month\",\"interval_count\":"  \
    "1,\"usage_type\":\"licensed\"}}"

static void reads_the_discount_of_older_versions(void **state)
{
    (void)state;
    expect("{\"status\":\"active\",\"currency\":\"usd\",\"discount\":{\"end\":null,\"coupon\":"
           "{\"duration\":\"forever\",\"percent_off\":33.33}},\"items\":{\"data\":[{"
           "\"price\":" MONTHLY("usd", "10000") ",\"quantity\":1}]}}",
           "{}", "{}", "6667");
}

static void finds_an_item_coupon_in_our_own_table(void **state)
{
    (void)state;
    expect("{\"status\":\"active\",\"currency\":\"usd\",\"items\":{\"data\":[{\"discounts\":"
           "[{\"id\":\"di_1\",\"end\":null,\"source\":{\"type\":\"coupon\",\"coupon\":"
           "\"HALF\"}}],\"price\":" MONTHLY("usd", "10000") ",\"quantity\":1}]}}",
           "{}", "{\"HALF\":{\"id\":\"HALF\",\"duration\":\"forever\",\"percent_off\":50}}",
           "5000");
}

static void takes_tiers_and_other_currencies_from_the_price_table(void **state)
{
    (void)state;
    expect(
        "{\"status\":\"active\",\"currency\":\"eur\",\"items\":{\"data\":[{\"price\":" MONTHLY(
            "usd", "10000") ",\"quantity\":2}]}}",
        "{\"price_1\":{\"currency_options\":{\"eur\":{\"unit_amount_decimal\":\"900.5\"}}}}",
        "{}", "1801");
    expect(
        "{\"status\":\"active\",\"currency\":\"eur\",\"items\":{\"data\":[{\"price\":" MONTHLY(
            "usd", "10000") ",\"quantity\":2}]}}",
        "{}", "{}", "0");
}

static void reads_a_plan_where_there_is_no_price(void **state)
{
    (void)state;
    expect("{\"status\":\"active\",\"items\":{\"data\":[{\"plan\":{\"id\":\"p\",\"currency\":"
           "\"usd\",\"amount\":1200,\"interval\":\"year\",\"interval_count\":1,\"usage_type\":"
           "\"licensed\"},\"quantity\":1}]}}",
           "{}", "{}", "100");
}

static void spreads_an_amount_over_items_of_different_length(void **state)
{
    (void)state;
    /* 100 a month + 1200 a year, 20 off each monthly invoice: (10000 + 10000) - 2000 */
    expect(
        "{\"status\":\"active\",\"currency\":\"usd\",\"discounts\":[{\"end\":null,\"source\":"
        "{\"coupon\":{\"duration\":\"forever\",\"amount_off\":2000,\"currency\":\"usd\"}}}],"
        "\"items\":{\"data\":[{\"price\":" MONTHLY(
            "usd", "10000") ",\"quantity\":1},"
                            "{\"price\":{\"type\":\"recurring\",\"currency\":\"usd\",\"unit_"
                            "amount\":120000,"
                            "\"recurring\":{\"interval\":\"year\",\"interval_count\":1}},"
                            "\"quantity\":1}]}}",
        "{}", "{}", "18000");
}

static void survives_numbers_beyond_128_bits(void **state)
{
    (void)state;
    struct ratio_pool *p = ratio_pool_new();
    const struct ratio *r = ratio_int(p, 1);
    char text[256];
    int64_t out = 0;
    for (int i = 0; i < 12; i++)
        r = ratio_mul(p, r, ratio_parse(p, (struct slice){"99999999999.999999999999", 24}));
    assert_int_equal(ratio_round(p, r, &out), -1);
    r = ratio_div(p, r, r);
    assert_string_equal(exact(p, r, text), "1");
    assert_false(ratio_failed(p));
    ratio_pool_free(p);
}

static void rounds_half_up_on_both_sides_of_zero(void **state)
{
    (void)state;
    struct ratio_pool *p = ratio_pool_new();
    int64_t out = 0;
    assert_int_equal(ratio_round(p, ratio_fraction(p, 1, 2), &out), 0);
    assert_int_equal(out, 1);
    assert_int_equal(ratio_round(p, ratio_fraction(p, -1, 2), &out), 0);
    assert_int_equal(out, 0);
    assert_int_equal(ratio_round(p, ratio_fraction(p, -3, 2), &out), 0);
    assert_int_equal(out, -1);
    assert_int_equal(ratio_round(p, ratio_int(p, INT64_MAX), &out), 0);
    assert_true(out == INT64_MAX);
    ratio_pool_free(p);
}

static void refuses_text_that_is_no_number(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "-", "1.", ".5", "1e", "1e999", "0x1", "1 ", "NaN"};
    struct ratio_pool *p = ratio_pool_new();
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_null(ratio_parse(p, (struct slice){bad[i], strlen(bad[i])}));
    assert_false(ratio_failed(p));
    ratio_pool_free(p);
}

static void writes_major_units_with_the_decimals_of_the_currency(void **state)
{
    (void)state;
    char out[32];
    stripe_major_text(10000, "usd", out);
    assert_string_equal(out, "100.00");
    stripe_major_text(1500, "jpy", out);
    assert_string_equal(out, "1500");
    stripe_major_text(5, "kwd", out);
    assert_string_equal(out, "0.005");
    stripe_major_text(-7, "eur", out);
    assert_string_equal(out, "-0.07");
    stripe_major_text(100, "isk", out);
    assert_string_equal(out, "1.00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_every_vector_exactly_and_rounded),
        cmocka_unit_test(reads_the_discount_of_older_versions),
        cmocka_unit_test(finds_an_item_coupon_in_our_own_table),
        cmocka_unit_test(takes_tiers_and_other_currencies_from_the_price_table),
        cmocka_unit_test(reads_a_plan_where_there_is_no_price),
        cmocka_unit_test(spreads_an_amount_over_items_of_different_length),
        cmocka_unit_test(survives_numbers_beyond_128_bits),
        cmocka_unit_test(rounds_half_up_on_both_sides_of_zero),
        cmocka_unit_test(refuses_text_that_is_no_number),
        cmocka_unit_test(writes_major_units_with_the_decimals_of_the_currency),
    };
    return cmocka_run_group_tests_name("provider_mrr", tests, NULL, NULL);
}
