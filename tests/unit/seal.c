#include "common/seal.h"

#include "tests/unit/test.h"

#define KEY_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define KEY_B "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

static struct slice slice(const struct buf *b)
{
    return (struct slice){buf_text(b), b->len_bytes};
}

static struct seal *with(const char *keys)
{
    struct err err = {0};
    struct seal *s = seal_new(keys, &err);
    assert_non_null(s);
    return s;
}

static void opens_what_it_sealed(void **state)
{
    (void)state;
    struct err err = {0};
    struct seal *s = with(KEY_A);
    struct buf sealed;
    struct buf again;
    struct buf open;
    buf_init(&sealed, 1000);
    buf_init(&again, 1000);
    buf_init(&open, 1000);
    assert_int_equal(seal_text(s, 7, "access_token", "sk_test_1", &sealed, &err), 0);
    assert_int_equal(seal_text(s, 7, "access_token", "sk_test_1", &again, &err), 0);
    assert_int_equal(sealed.len_bytes, SEAL_OVERHEAD_BYTES + 9);
    assert_memory_not_equal(sealed.bytes, again.bytes, sealed.len_bytes);
    assert_int_equal(seal_open(s, 7, "access_token", slice(&sealed), &open, &err), 0);
    assert_string_equal(buf_text(&open), "sk_test_1");
    buf_clear(&sealed);
    buf_clear(&open);
    assert_int_equal(seal_text(s, 7, "access_token", "", &sealed, &err), 0);
    assert_int_equal(seal_open(s, 7, "access_token", slice(&sealed), &open, &err), 0);
    assert_string_equal(buf_text(&open), "");
    buf_release(&sealed);
    buf_release(&again);
    buf_wipe(&open);
    seal_free(s);
}

static void opens_neither_in_another_place_nor_changed(void **state)
{
    (void)state;
    struct err err = {0};
    struct seal *s = with(KEY_A);
    struct buf sealed;
    struct buf open;
    buf_init(&sealed, 1000);
    buf_init(&open, 1000);
    assert_int_equal(seal_text(s, 7, "access_token", "sk_test_1", &sealed, &err), 0);
    assert_int_equal(seal_open(s, 8, "access_token", slice(&sealed), &open, &err), -1);
    assert_int_equal(err.code, ERR_DENIED);
    assert_int_equal(seal_open(s, 7, "refresh_token", slice(&sealed), &open, &err), -1);
    for (size_t i = 0; i < sealed.len_bytes; i++) {
        sealed.bytes[i] = (char)(sealed.bytes[i] ^ 1);
        assert_int_equal(seal_open(s, 7, "access_token", slice(&sealed), &open, &err), -1);
        sealed.bytes[i] = (char)(sealed.bytes[i] ^ 1);
    }
    for (size_t n = 0; n < sealed.len_bytes; n++) {
        assert_int_equal(
            seal_open(s, 7, "access_token", (struct slice){sealed.bytes, n}, &open, &err), -1);
    }
    assert_int_equal(open.len_bytes, 0);
    buf_release(&sealed);
    buf_release(&open);
    seal_free(s);
}

static void the_first_key_seals_and_all_open(void **state)
{
    (void)state;
    struct err err = {0};
    struct seal *old = with(KEY_A);
    struct seal *both = with(KEY_B " , " KEY_A "\n");
    struct buf sealed;
    struct buf open;
    buf_init(&sealed, 1000);
    buf_init(&open, 1000);
    assert_int_equal(seal_text(old, 1, "c", "token", &sealed, &err), 0);
    assert_true(seal_is_current(old, slice(&sealed)));
    assert_false(seal_is_current(both, slice(&sealed)));
    assert_int_equal(seal_open(both, 1, "c", slice(&sealed), &open, &err), 0);
    buf_clear(&sealed);
    assert_int_equal(seal_text(both, 1, "c", "token", &sealed, &err), 0);
    assert_true(seal_is_current(both, slice(&sealed)));
    assert_int_equal(seal_open(old, 1, "c", slice(&sealed), &open, &err), -1);
    assert_int_equal(err.code, ERR_CONFIG);
    buf_release(&sealed);
    buf_release(&open);
    seal_free(old);
    seal_free(both);
}

static void refuses_keys_of_another_length_without_telling_them(void **state)
{
    (void)state;
    static const char *const broken[] = {"",
                                         "AAAA",
                                         KEY_A ",",
                                         KEY_A "," KEY_A,
                                         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                         "!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="};
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        struct err err = {0};
        assert_null(seal_new(broken[i], &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_null(strstr(err.msg, "AAAA"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_it_sealed),
        cmocka_unit_test(opens_neither_in_another_place_nor_changed),
        cmocka_unit_test(the_first_key_seals_and_all_open),
        cmocka_unit_test(refuses_keys_of_another_length_without_telling_them),
    };
    return RUN_TESTS(tests);
}
