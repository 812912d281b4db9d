#include "common/secret.h"

#include "tests/unit/test.h"

#include <unistd.h>

static struct secret *load(const char *bytes, size_t len, struct err *err)
{
    char path[] = "/tmp/secret.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    (void)close(fd);
    struct secret *s = secret_load(path, 1000, err);
    (void)unlink(path);
    return s;
}

static void loads_a_file_less_its_newline(void **state)
{
    (void)state;
    struct err err = {0};
    static const char *const files[] = {"whsec_1", "whsec_1\n", "whsec_1\r\n"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        CLEANUP(secret_freep)
        struct secret *s = load(files[i], strlen(files[i]), &err);
        assert_non_null(s);
        assert_string_equal(secret_text(s), "whsec_1");
        assert_int_equal(secret_slice(s).len_bytes, 7);
        assert_int_equal(secret_age_ms(s, 1500), 500);
    }
}

static void says_which_file_is_missing_or_unfit(void **state)
{
    (void)state;
    struct err err = {0};
    assert_null(secret_load("/nowhere/key", 0, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_string_equal(err.msg,
                        "cannot open secret '/nowhere/key': No such file or directory");
    assert_null(load("\n", 1, &err));
    assert_non_null(strstr(err.msg, "is empty"));
    static char big[SECRET_MAX_BYTES + 1];
    memset(big, 'k', sizeof big);
    assert_null(load(big, sizeof big, &err));
    assert_non_null(strstr(err.msg, "is longer than"));
    struct secret *s = load(big, SECRET_MAX_BYTES, &err);
    assert_non_null(s);
    assert_int_equal(strlen(secret_text(s)), SECRET_MAX_BYTES);
    secret_free(s);
    assert_null(secret_load("/tmp", 0, &err));
    assert_int_equal(err.code, ERR_OS);
}

static void copies_bytes_it_is_given(void **state)
{
    (void)state;
    struct err err = {0};
    char token[] = "token";
    struct secret *s = secret_new(slice_of(token), 0, &err);
    memset(token, 'x', sizeof token);
    assert_non_null(s);
    assert_string_equal(secret_text(s), "token");
    secret_free(s);
    assert_null(secret_new((struct slice){0}, 0, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_a_file_less_its_newline),
        cmocka_unit_test(says_which_file_is_missing_or_unfit),
        cmocka_unit_test(copies_bytes_it_is_given),
    };
    return RUN_TESTS(tests);
}
