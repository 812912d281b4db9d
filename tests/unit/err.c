#include "common/err.h"

#include "tests/unit/test.h"

#include <errno.h>

static void says_what_failed_and_who_asked(void **state)
{
    (void)state;
    struct err err = {0};
    errno = ENOENT;
    err_os(&err, ERR_CONFIG, "cannot open secret '%s'", "/x");
    err_wrap(&err, "load %s", "stripe");
    assert_int_equal(err.code, ERR_CONFIG);
    assert_int_equal(err.os_errno, ENOENT);
    assert_string_equal(err.msg,
                        "load stripe: cannot open secret '/x': No such file or directory");
}

static void cuts_messages_that_are_too_long(void **state)
{
    (void)state;
    struct err err = {0};
    char text[2 * ERR_MSG_MAX_BYTES];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    err_set(&err, ERR_INTERNAL, "%s", text);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX_BYTES - 1);
    for (int i = 0; i < 3; i++) {
        err_wrap(&err, "%s", "who");
        assert_int_equal(strlen(err.msg), ERR_MSG_MAX_BYTES - 1);
        assert_memory_equal(err.msg, "who: ", 5);
    }
    err_wrap(&err, "%s", text);
    assert_true(strlen(err.msg) < ERR_MSG_MAX_BYTES);
    errno = ENOENT;
    err_os(&err, ERR_OS, "%s", text);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX_BYTES - 1);
}

static void of_many_failures_the_first_is_kept(void **state)
{
    (void)state;
    static const struct {
        int rc;
        const char *text;
    } steps[] = {{0, ""}, {-1, "first"}, {0, ""}, {-1, "second"}};
    struct err err = {0}, why = {0};
    int rc = 0;
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        if (steps[i].rc != 0) {
            err_set(&why, ERR_OS, "%s", steps[i].text);
        }
        rc |= err_keep_first(steps[i].rc, &why, &err);
        assert_int_equal(why.code, ERR_NONE);
    }
    assert_int_equal(rc, -1);
    assert_string_equal(err.msg, "first");
}

static void a_missing_struct_is_fine(void **state)
{
    (void)state;
    err_set(NULL, ERR_OS, "x");
    err_os(NULL, ERR_OS, "x");
    err_wrap(NULL, "x");
    err_clear(NULL);
    assert_string_equal(err_name(ERR_TIMEOUT), "ERR_TIMEOUT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_failed_and_who_asked),
        cmocka_unit_test(cuts_messages_that_are_too_long),
        cmocka_unit_test(of_many_failures_the_first_is_kept),
        cmocka_unit_test(a_missing_struct_is_fine),
    };
    return RUN_TESTS(tests);
}
