#include "common/buf.h"

#include "tests/unit/test.h"

static void grows_and_stays_terminated(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    assert_string_equal(buf_text(&b), "");
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(buf_printf(&b, "%d,", i), 0);
    }
    assert_int_equal(strlen(buf_text(&b)), b.len_bytes);
    assert_memory_equal(buf_text(&b), "0,1,2,3,", 8);
    char *taken = buf_take(&b);
    assert_non_null(taken);
    assert_null(buf_take(&b));
    free(taken);
    buf_release(&b);
}

static void an_addition_beyond_the_maximum_fails_and_stays_failed(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    assert_int_equal(buf_add_str(&b, "12345"), 0);
    assert_int_equal(buf_add_char(&b, '6'), -1);
    assert_true(b.failed);
    assert_string_equal(buf_text(&b), "12345");
    buf_clear(&b);
    assert_false(b.failed);
    assert_int_equal(buf_printf(&b, "%s", "123456"), -1);
    assert_string_equal(buf_text(&b), "");
    assert_int_equal(buf_add(&b, "1", 1), -1);
    buf_release(&b);
}

static void text_of_exactly_the_maximum_fits(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 300);
    char text[301];
    memset(text, 'a', 300);
    text[300] = '\0';
    assert_int_equal(buf_printf(&b, "%s", text), 0);
    assert_int_equal(b.len_bytes, 300);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(an_addition_beyond_the_maximum_fails_and_stays_failed),
        cmocka_unit_test(text_of_exactly_the_maximum_fits),
    };
    return RUN_TESTS(tests);
}
