/* Unit tests of common/trim. */
#include "common/trim.h"

#include "common/sign.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static void hash(char hex[2 * SIGN_SHA256_BYTES + 1])
{
    unsigned char sum[SIGN_SHA256_BYTES];
    sign_sha256((struct slice){"abc", 3}, sum);
    (void)sign_hex((struct slice){(const char *)sum, sizeof sum}, hex);
}

static void code_and_constants_come_back_when_needed(void **state)
{
    char before[2 * SIGN_SHA256_BYTES + 1];
    char after[2 * SIGN_SHA256_BYTES + 1];
    (void)state;
    hash(before);
    trim_after_start();
    hash(after);
    assert_string_equal(before, after);
    assert_memory_equal(before, "ba7816bf", 8);
    trim_after_start(); /* and again */
}

static long resident_pages(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*s %ld", &pages), 1);
    (void)fclose(f);
    return pages;
}

static void it_works_without_core_dumps_too(void **state)
{
    char hex[2 * SIGN_SHA256_BYTES + 1];
    (void)state;
    hash(hex);
    assert_int_equal(prctl(PR_SET_DUMPABLE, 0), 0);
    long before = resident_pages();
    trim_after_start();
    assert_true(resident_pages() < before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_and_constants_come_back_when_needed),
        cmocka_unit_test(it_works_without_core_dumps_too),
    };
    return RUN_TESTS(tests);
}
