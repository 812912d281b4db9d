#include "common/clock.h"

#include "common/compiler.h"
#include "tests/unit/test.h"

static void reads_what_it_writes(void **state)
{
    (void)state;
    static const int64_t instants[] = {0,     951782400000,  1709164800123, 1795435200999,
                                       -1,    -86400000,     4102444799999, 253402300799999,
                                       68169, 1677628799000, 1677628800000};
    for (size_t i = 0; i < COUNT_OF(instants); i++) {
        char text[CLOCK_TEXT_BYTES];
        int64_t back = 7;
        assert_int_equal(clock_parse(clock_text(instants[i], text), &back), 0);
        assert_int_equal(back, instants[i]);
    }
}

static void knows_fractions_and_offsets(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t at_ms;
    } cases[] = {
        {"2026-11-23T12:00:00Z", 1795435200000},
        {"2026-11-23T12:00:00.5Z", 1795435200500},
        {"2026-11-23T12:00:00.123456789Z", 1795435200123},
        {"2026-11-23T13:00:00+01:00", 1795435200000},
        {"2026-11-23T07:00:00-0500", 1795435200000},
        {"2026-11-23 13:00:00.000+01", 1795435200000},
        {"2026-11-23T11:59:60Z", 1795435200000},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int64_t at_ms = 0;
        assert_int_equal(clock_parse(cases[i].text, &at_ms), 0);
        assert_int_equal(at_ms, cases[i].at_ms);
    }
}

static void refuses_what_is_no_instant(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "2026-11-23",
        "2026-11-23T12:00:00",
        "2026-02-29T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T12:00:00.Z",
        "2026-11-23T12:00:00Z ",
        "2026-11-23T12:00:00+1:00",
        "2026-11-23T12:00:00+25:00",
        "tomorrow",
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int64_t at_ms = 0;
        assert_int_equal(clock_parse(cases[i], &at_ms), -1);
    }
}

static void instants_beyond_the_calendar_do_not_overflow(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_BYTES];
    assert_string_equal(clock_text(INT64_MAX, text), "9999-12-31T23:59:59.999Z");
    (void)clock_text(INT64_MIN, text);
    assert_true(strlen(text) < CLOCK_TEXT_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(knows_fractions_and_offsets),
        cmocka_unit_test(refuses_what_is_no_instant),
        cmocka_unit_test(instants_beyond_the_calendar_do_not_overflow),
    };
    return RUN_TESTS(tests);
}
