#include "common/sign.h"

#include "tests/unit/test.h"

static const char *hex(const unsigned char *bytes, size_t n)
{
    static char out[2 * SIGN_SHA256_BYTES + 1];
    return sign_hex((struct slice){(const char *)bytes, n}, out);
}

static void hashes_as_the_standard_says(void **state)
{
    (void)state;
    unsigned char out[SIGN_SHA256_BYTES];
    for (int twice = 0; twice < 2; twice++) { /* the second time with kept contexts */
        sign_sha256(slice_of("abc"), out);
        assert_string_equal(hex(out, sizeof out), "ba7816bf8f01cfea414140de5dae2223"
                                                  "b00361a396177a9cb410ff61f20015ad");
        sign_hash128(slice_of(""), out);
        assert_string_equal(hex(out, SIGN_HASH128_BYTES), "e3b0c44298fc1c149afbf4c8996fb924");
    }
}

static void signs_parts_like_the_whole(void **state)
{
    (void)state;
    /* RFC 4231, test case 2 */
    static const char *const wanted = "5bdcc146bf60754e6a042426089575c7"
                                      "5a003f089d2739839dec58b964ec3843";
    unsigned char out[SIGN_SHA256_BYTES];
    const struct slice parts[] = {slice_of("what do ya"), slice_of(" "), slice_of(""),
                                  slice_of("want for nothing?")};
    sign_hmac_sha256(slice_of("Jefe"), parts, 4, out);
    assert_string_equal(hex(out, sizeof out), wanted);
    sign_hmac_sha256((struct slice){0}, NULL, 0, out);
    assert_string_equal(hex(out, sizeof out), "b613679a0814d9ec772f95d778c35fc5"
                                              "ff1697c493715653c6c712144292c5ad");
    sign_hmac_sha256(slice_of("Jefe"), parts, 4, out);
    assert_string_equal(hex(out, sizeof out), wanted);
}

static void compares_whole_values_only(void **state)
{
    (void)state;
    assert_true(sign_equal(slice_of("abc"), slice_of("abc")));
    assert_false(sign_equal(slice_of("abc"), slice_of("abd")));
    assert_false(sign_equal(slice_of("abc"), slice_of("ab")));
    assert_true(sign_equal((struct slice){0}, (struct slice){0}));
}

static void encodes_base64_of_every_length(void **state)
{
    (void)state;
    static const char *const wanted[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                         "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t n = 0; n < 7; n++) {
        struct buf b;
        buf_init(&b, 100);
        assert_int_equal(sign_base64(&b, (struct slice){"foobar", n}), 0);
        assert_string_equal(buf_text(&b), wanted[n]);
        unsigned char back[8];
        size_t len = 9;
        assert_int_equal(sign_base64_decode(slice_of(wanted[n]), back, sizeof back, &len), 0);
        assert_int_equal(len, n);
        assert_memory_equal(back, "foobar", n);
        buf_release(&b);
    }
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(sign_base64url(&b, (struct slice){"\xff\xfe\xfd\xfc", 4}), 0);
    assert_string_equal(buf_text(&b), "__79_A");
    buf_release(&b);
}

static void refuses_base64_that_is_not_exact(void **state)
{
    (void)state;
    static const char *const broken[] = {"Zg",     "Zg=",   "Zh==",     "Zm9=", "Z===", "====",
                                         "Zg==\n", "Zm9v ", "Zg==Zg==", "Zm-_", "Zg=v"};
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        unsigned char out[16];
        size_t len;
        assert_int_equal(sign_base64_decode(slice_of(broken[i]), out, sizeof out, &len), -1);
    }
    unsigned char small[2];
    size_t len;
    assert_int_equal(sign_base64_decode(slice_of("Zm9v"), small, sizeof small, &len), -1);
}

static void reads_hex_of_the_wanted_length(void **state)
{
    (void)state;
    unsigned char out[3];
    assert_int_equal(sign_hex_decode(slice_of("00fFa5"), out, 3), 0);
    assert_memory_equal(out, "\x00\xff\xa5", 3);
    assert_int_equal(sign_hex_decode(slice_of("00ff"), out, 3), -1);
    assert_int_equal(sign_hex_decode(slice_of("00fg00"), out, 3), -1);
}

static void random_bytes_differ(void **state)
{
    (void)state;
    struct err err = {0};
    unsigned char a[16];
    unsigned char b[16];
    assert_int_equal(sign_random(a, sizeof a, &err), 0);
    assert_int_equal(sign_random(b, sizeof b, &err), 0);
    assert_memory_not_equal(a, b, sizeof a);
}

static void a_nonce_is_a_text_of_256_bits(void **state)
{
    (void)state;
    struct err err = {0};
    char a[SIGN_NONCE_BYTES], b[SIGN_NONCE_BYTES];
    assert_int_equal(sign_nonce(a, &err), 0);
    assert_int_equal(sign_nonce(b, &err), 0);
    assert_int_equal(strlen(a), SIGN_NONCE_BYTES - 1);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_as_the_standard_says),
        cmocka_unit_test(signs_parts_like_the_whole),
        cmocka_unit_test(compares_whole_values_only),
        cmocka_unit_test(encodes_base64_of_every_length),
        cmocka_unit_test(refuses_base64_that_is_not_exact),
        cmocka_unit_test(reads_hex_of_the_wanted_length),
        cmocka_unit_test(random_bytes_differ),
        cmocka_unit_test(a_nonce_is_a_text_of_256_bits),
    };
    return RUN_TESTS(tests);
}
