/* Replies of Redis that once broke the driver, found by tests/fuzz/reply.c and played through
 * it again; what must hold is said there, and what does not hold ends the program. */
#include "tests/unit/test.h"

#include "tests/fuzz/reply.c"

static void play(const char *reply)
{
    assert_int_equal(LLVMFuzzerTestOneInput((const uint8_t *)reply, strlen(reply)), 0);
}

#define ROW_END "$1\r\nx\r\n:1\r\n:1\r\n:3\r\n:1\r\n+w\r\n+\r\n+\r\n:0\r\n:0\r\n+\r\n"

static void a_listed_unit_without_a_kind_is_left_out(void **state)
{
    (void)state;
    play("\3*14\r\n:-1\r\n:1\r\n$12\r\n:company:512\r\n" ROW_END);
    play("\3*14\r\n:-1\r\n:1\r\n$1\r\n:\r\n" ROW_END);
    play("\3*14\r\n:-1\r\n:1\r\n$0\r\n\r\n" ROW_END);
}

#define UNIT "$1\r\n5\r\n:1\r\n:0\r\n:3\r\n:1\r\n+webhook\r\n+\r\n*1\r\n$1\r\nx\r\n"

static void a_claim_in_a_lane_that_is_none_is_an_error(void **state)
{
    (void)state;
    play("\1*14\r\n:7\r\n:1\r\n:9\r\n$8\r\nrcompany\r\n:1\r\n:1790000000000\r\n" UNIT);
    play("\1*14\r\n:7\r\n:1\r\n:-1\r\n$8\r\nrcompany\r\n:1\r\n:1790000000000\r\n" UNIT);
    play("\1*14\r\n:7\r\n:1\r\n:1\r\n$0\r\n\r\n:1\r\n:1790000000000\r\n" UNIT);
    play("\1*6\r\n+a\r\n*0\r\n*-1\r\n$-1\r\n*1\r\n:1\r\n$2\r\n12\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listed_unit_without_a_kind_is_left_out),
        cmocka_unit_test(a_claim_in_a_lane_that_is_none_is_an_error),
    };
    return RUN_TESTS(tests);
}
