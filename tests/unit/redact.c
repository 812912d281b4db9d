#include "common/redact.h"

#include "common/utf8.h"
#include "tests/unit/test.h"

#include <stdlib.h>

static struct redact_result result;

static const char *redacted(const char *body)
{
    static struct buf b;
    buf_release(&b);
    buf_init(&b, 1 << 20);
    assert_int_equal(redact_body(slice_of(body), &b, &result), 0);
    static char copy[4096];
    (void)snprintf(copy, sizeof copy, "%s", buf_text(&b));
    buf_release(&b);
    return copy;
}

static void takes_keys_out_by_their_prefix(void **state)
{
    (void)state;
    assert_string_equal(
        redacted("{\"message\":\"Invalid API Key provided: sk_live_abcdef123\"}"),
        "{\"message\":\"Invalid API Key provided: [redacted]\"}");
    assert_int_equal(result.redactions, 1);
    assert_false(result.truncated);
    assert_string_equal(
        redacted(
            "rk_test_1234 whsec_abcd1234 pat-na1-11111111-2222-3333 ac_1234567890abcdefX."),
        "[redacted] [redacted] [redacted] [redacted].");
    assert_int_equal(result.redactions, 4);
}

/* Found by fuzzing: one byte behind the body was read; in memory of its own ASan sees that. */
static void a_name_at_the_very_end_is_no_secret(void **state)
{
    (void)state;
    struct buf b;
    char *body = malloc(8);
    assert_non_null(body);
    memcpy(body, "idtoken=", 8);
    buf_init(&b, 1 << 20);
    assert_int_equal(redact_body((struct slice){body, 8}, &b, &result), 0);
    assert_string_equal(buf_text(&b), "idtoken=");
    buf_release(&b);
    free(body);
}

static void takes_bearer_credentials_out(void **state)
{
    (void)state;
    assert_string_equal(redacted("Authorization failed for Bearer abc.def-123/x+y= now"),
                        "Authorization failed for Bearer [redacted] now");
    assert_string_equal(redacted("the bearer of it"), "the bearer of it");
}

static void takes_the_values_of_secret_names_out(void **state)
{
    (void)state;
    assert_string_equal(
        redacted("{\"access_token\" : \"a\\\"b\",\"n\":1,\"refresh_token\":\"x\"}"),
        "{\"access_token\" : \"[redacted]\",\"n\":1,\"refresh_token\":\"[redacted]\"}");
    assert_string_equal(
        redacted("{\"clientSecret\":\"x\",\"token\":null,\"secret\":123}"),
        "{\"clientSecret\":\"[redacted]\",\"token\":null,\"secret\":[redacted]}");
    assert_string_equal(redacted("grant_type=x&client_secret=abc-def&code=1"),
                        "grant_type=x&client_secret=[redacted]&code=1");
    assert_string_equal(redacted("Set-Cookie: a=b; Path=/\nx: y"),
                        "Set-Cookie: [redacted]\nx: y");
    assert_string_equal(redacted("{\"echo\":\"{\\\"api_key\\\":\\\"k1\\\",\\\"b\\\":2}\"}"),
                        "{\"echo\":\"{\\\"api_key\\\":\\\"[redacted]\\\",\\\"b\\\":2}\"}");
    assert_string_equal(redacted("{\"password\":\"unended"), "{\"password\":\"[redacted]");
}

static void takes_card_numbers_out_but_not_record_ids(void **state)
{
    (void)state;
    assert_string_equal(redacted("card 4242424242424242, 4242 4242 4242 4242."),
                        "card [redacted], [redacted].");
    static const char *const kept[] = {"4242424242424241",  "company 12345678901",
                                       "1795435200000",     "id 18446744073709551615",
                                       "4242424242424242x", "a4242424242424242"};
    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        assert_string_equal(redacted(kept[i]), kept[i]);
    }
}

static void leaves_ordinary_bodies_alone(void **state)
{
    (void)state;
    static const char *const kept[] = {
        "{\"status\":\"error\",\"message\":\"resource not found\",\"correlationId\":\"ab-12\"}",
        "{\"id\":\"cus_123\",\"object\":\"customer\",\"email\":\"x@y.z\",\"sk_\":1,\"pat\":2}",
        "<html>Token expired</html>",
        "",
    };
    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        assert_string_equal(redacted(kept[i]), kept[i]);
        assert_int_equal(result.redactions, 0);
    }
}

static void makes_text_that_postgresql_takes(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(redact_body((struct slice){"a\0b\xff\xc3\xa4\xed\xa0\x80", 9}, &b, NULL),
                     0);
    assert_int_equal(strlen(buf_text(&b)), b.len_bytes);
    assert_int_equal(utf8_valid_bytes((struct slice){b.bytes, b.len_bytes}), b.len_bytes);
    assert_memory_equal(b.bytes,
                        "a\xef\xbf\xbd"
                        "b\xef\xbf\xbd\xc3\xa4",
                        10);
    buf_release(&b);
}

static void cuts_long_bodies_between_characters_and_not_within_a_secret(void **state)
{
    (void)state;
    static char body[REDACT_MAX_BYTES + 5000];
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t from = REDACT_MAX_BYTES - 40; from < REDACT_MAX_BYTES + 2; from++) {
        memset(body, ' ', sizeof body);
        memcpy(body + from, "sk_live_0123456789abcdefghijklmnop \xf0\x9f\x98\x80", 39);
        buf_clear(&b);
        struct slice s = {body, sizeof body};
        assert_int_equal(redact_body(s, &b, &result), 0);
        assert_true(result.truncated);
        assert_true(b.len_bytes <= REDACT_MAX_BYTES);
        assert_null(strstr(b.bytes, "sk_"));
        assert_int_equal(utf8_valid_bytes((struct slice){b.bytes, b.len_bytes}), b.len_bytes);
    }
    memset(body, 'x', sizeof body);
    buf_clear(&b);
    assert_int_equal(redact_body((struct slice){body, sizeof body}, &b, &result), 0);
    assert_int_equal(b.len_bytes, REDACT_MAX_BYTES);
    memset(body, '\xff', sizeof body);
    buf_clear(&b);
    assert_int_equal(redact_body((struct slice){body, 30000}, &b, &result), 0);
    assert_int_equal(b.len_bytes, REDACT_MAX_BYTES / 3 * 3);
    assert_true(result.truncated);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_at_the_very_end_is_no_secret),
        cmocka_unit_test(takes_keys_out_by_their_prefix),
        cmocka_unit_test(takes_bearer_credentials_out),
        cmocka_unit_test(takes_the_values_of_secret_names_out),
        cmocka_unit_test(takes_card_numbers_out_but_not_record_ids),
        cmocka_unit_test(leaves_ordinary_bodies_alone),
        cmocka_unit_test(makes_text_that_postgresql_takes),
        cmocka_unit_test(cuts_long_bodies_between_characters_and_not_within_a_secret),
    };
    return RUN_TESTS(tests);
}
