#include "common/http.h"

#include "tests/unit/test.h"

static void refuses_headers_that_would_smuggle_a_line(void **state)
{
    (void)state;
    struct http_request r;
    http_request_init(&r);
    assert_int_equal(http_request_header(&r, "X-A", "b\r\nX-C: d"), -1);
    assert_int_equal(http_request_header(&r, "X A", "b"), -1);
    assert_int_equal(http_request_header(&r, "", "b"), -1);
    assert_int_equal(http_request_header(&r, "X-A", "b c"), 0);
    assert_string_equal(buf_text(&r.headers), "X-A: b c\n");
    char long_value[HTTP_HEADER_MAX_BYTES + 2];
    memset(long_value, 'v', sizeof long_value - 1);
    long_value[sizeof long_value - 1] = '\0';
    assert_int_equal(http_request_header(&r, "X-A", long_value), -1);
    http_request_release(&r);
}

static void escapes_all_but_unreserved_characters(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(http_escape(&b, "aZ9-._~ &=+/\xc3\xa4"), 0);
    assert_string_equal(buf_text(&b), "aZ9-._~%20%26%3D%2B%2F%C3%A4");
    buf_release(&b);
}

static void finds_a_header_of_an_answer(void **state)
{
    (void)state;
    struct http_response r;
    http_response_init(&r);
    assert_int_equal(
        buf_add_str(&r.headers, "request-id-2: no\nrequest-id:  req_1\nretry-after: 3\n"), 0);
    char value[8];
    assert_string_equal(http_response_header(&r, "request-id", value, sizeof value), "req_1");
    assert_string_equal(http_response_header(&r, "retry-after", value, sizeof value), "3");
    assert_null(http_response_header(&r, "etag", value, sizeof value));
    assert_null(http_response_header(&r, "request-id", value, 5));
    http_response_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_headers_that_would_smuggle_a_line),
        cmocka_unit_test(escapes_all_but_unreserved_characters),
        cmocka_unit_test(finds_a_header_of_an_answer),
    };
    return RUN_TESTS(tests);
}
