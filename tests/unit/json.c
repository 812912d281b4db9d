#include "common/json.h"

#include "common/utf8.h"
#include "tests/unit/test.h"

static struct slice sl(const char *text)
{
    return slice_of(text);
}

static void cuts_a_page_into_its_records(void **state)
{
    (void)state;
    const char *page = " {\"object\" : \"list\", \"data\": [ {\"id\":\"a]}\\\"\"} ,2, \"x\", []"
                       ",{\"n\":{\"m\":[1,{}]}}], \"has_more\":true, \"next\":null} \n";
    struct json_split s;
    struct err err = {0};
    assert_int_equal(json_split(sl(page), "data", &s, &err), 0);
    assert_true(s.found);
    assert_int_equal(s.element_count, 5);
    assert_true(slice_is(s.elements[0], "{\"id\":\"a]}\\\"\"}"));
    assert_true(slice_is(s.elements[1], "2"));
    assert_true(slice_is(s.elements[2], "\"x\""));
    assert_true(slice_is(s.elements[3], "[]"));
    assert_true(slice_is(s.elements[4], "{\"n\":{\"m\":[1,{}]}}"));
    assert_int_equal(s.member_count, 4);
    assert_true(slice_is(json_split_member(&s, "has_more"), "true"));
    assert_true(slice_is(json_split_member(&s, "object"), "\"list\""));
    assert_null(json_split_member(&s, "url").bytes);
    json_split_release(&s);
}

static void takes_a_text_that_is_itself_the_array(void **state)
{
    (void)state;
    struct json_split s;
    struct err err = {0};
    assert_int_equal(json_split(sl("[{\"a\":1},{\"a\":2}]"), NULL, &s, &err), 0);
    assert_int_equal(s.element_count, 2);
    json_split_release(&s);
    assert_int_equal(json_split(sl("[]"), NULL, &s, &err), 0);
    assert_true(s.found);
    assert_int_equal(s.element_count, 0);
    json_split_release(&s);
    assert_int_equal(json_split(sl("{}"), NULL, &s, &err), -1);
    assert_int_equal(json_split(sl("[]"), "data", &s, &err), -1);
}

static void an_absent_array_is_told_and_no_error(void **state)
{
    (void)state;
    struct json_split s;
    struct err err = {0};
    assert_int_equal(json_split(sl("{\"data\":{\"x\":[1]},\"results\":3}"), "data", &s, &err),
                     0);
    assert_false(s.found);
    assert_int_equal(s.member_count, 2);
    json_split_release(&s);
}

static void lets_through_what_only_one_record_should_pay_for(void **state)
{
    (void)state;
    const char *page = "{\"results\":[{\"a\":\"\\u0000\"},{\"a\":\"\\ud800\"},{\"a\":1"
                       "23456789012345678901234567890},{\"a\":\"\xff\"},{\"a\":1}]}";
    struct json_split s;
    struct err err = {0};
    assert_int_equal(json_split(sl(page), "results", &s, &err), 0);
    assert_int_equal(s.element_count, 5);
    for (size_t i = 0; i < 5; i++) {
        json_t *tree = json_parse(s.elements[i], &err);
        assert_int_equal(tree != NULL, i == 4);
        json_decref(tree);
    }
    json_split_release(&s);
}

static void refuses_every_truncation_of_a_page(void **state)
{
    (void)state;
    const char *page = "{\"a\":[1,2],\"data\":[{\"id\":\"x\\\\\",\"n\":{\"o\":[true]}},\"s\"],"
                       "\"has_more\":false}";
    size_t len = strlen(page);
    for (size_t n = 0; n < len; n++) {
        /* A copy of its own, so that a sanitizer sees a read behind the end. */
        char *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, page, n);
        struct json_split s;
        struct err err = {0};
        assert_int_equal(json_split((struct slice){copy, n}, "data", &s, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        assert_null(s.elements);
        free(copy);
    }
}

static void refuses_texts_that_are_not_json(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "{\"data\":[}]}",  "{\"data\":[1,]}",     "{\"data\":[1 2]}",  "{\"data\":[1]}x",
        "{\"data\":[,1]}", "{\"data\" [1]}",      "{data:[1]}",        "{\"data\":[{]}]}",
        "{\"data\":[1],}", "{,\"data\":[1]}",     "\xef\xbb\xbf{}",    "<html></html>",
        "{\"data\":}",     "{\"data\":[\"a\nb]}", "{\"data\":[[1}]}]", "{\"data\":[@]}",
    };
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        struct json_split s;
        struct err err = {0};
        assert_int_equal(json_split(sl(broken[i]), "data", &s, &err), -1);
    }
}

static void nesting(struct buf *b, int depth)
{
    buf_clear(b);
    for (int i = 0; i < depth; i++) {
        assert_int_equal(buf_add_str(b, i % 2 ? "{\"a\":" : "["), 0);
    }
    assert_int_equal(buf_add_char(b, '1'), 0);
    for (int i = depth - 1; i >= 0; i--) {
        assert_int_equal(buf_add_char(b, i % 2 ? '}' : ']'), 0);
    }
}

static void refuses_what_is_nested_too_deep(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int depth = 1; depth < 200; depth++) {
        nesting(&b, depth);
        struct slice text = {buf_text(&b), b.len_bytes};
        struct json_split s;
        struct err err = {0};
        bool fits = depth <= JSON_DEPTH_MAX;
        assert_int_equal(json_split(text, NULL, &s, &err), fits ? 0 : -1);
        json_split_release(&s);
        json_t *tree = json_parse(text, &err);
        assert_int_equal(tree != NULL, fits);
        json_decref(tree);
    }
    buf_release(&b);
}

static void finds_members_and_the_last_of_several_wins(void **state)
{
    (void)state;
    const char *text = "{\"id\":\"evt_1\",\"d\\u0061ta\":{\"object\":{\"id\":1}},\"live\":true,"
                       "\"id\":\"evt_2\"}";
    static const char *const names[] = {"id", "data", "none"};
    struct slice v[3];
    assert_int_equal(json_members(sl(text), names, v, 3), 0);
    assert_true(slice_is(v[0], "\"evt_2\""));
    assert_true(slice_is(v[1], "{\"object\":{\"id\":1}}"));
    assert_null(v[2].bytes);
    assert_null(json_member(v[2], "id").bytes); /* of what is not there, nothing is there */
    assert_true(slice_is(json_member(json_member(v[1], "object"), "id"), "1"));
    assert_null(json_member(sl("[1]"), "id").bytes);
    assert_null(json_member(sl("{\"id\":1"), "id").bytes);
    assert_int_equal(json_members(sl("{\"id\":1} x"), names, v, 3), -1);
}

static void decodes_strings(void **state)
{
    (void)state;
    char out[16];
    assert_true(json_slice_text(sl("\"a\\n\\u00e4\\ud83d\\ude00\\/\""), out, sizeof out));
    assert_string_equal(out, "a\n\xc3\xa4\xf0\x9f\x98\x80/");
    assert_true(json_slice_text(sl("\"\""), out, 1));
    assert_string_equal(out, "");
    assert_true(json_slice_text(sl("\"123456789012345\""), out, sizeof out));
    assert_false(json_slice_text(sl("\"1234567890123456\""), out, sizeof out));
    static const char *const broken[] = {"1",           "\"",          "\"\\u0000\"",
                                         "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"",
                                         "\"\\x\"",     "\"\xff\"",    "\"\\\"",
                                         "\"a\nb\"",    "\"\\u12\"",   "\"\\ud800\\u\""};
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        assert_false(json_slice_text(sl(broken[i]), out, sizeof out));
    }
}

static void reads_integers_to_their_last_bit(void **state)
{
    (void)state;
    int64_t v = 0;
    assert_true(json_slice_int(sl("9223372036854775807"), &v));
    assert_true(v == INT64_MAX);
    assert_true(json_slice_int(sl("-9223372036854775808"), &v));
    assert_true(v == INT64_MIN);
    assert_false(json_slice_int(sl("9223372036854775808"), &v));
    assert_false(json_slice_int(sl("1.5"), &v));
    assert_false(json_slice_int(sl("-"), &v));
    assert_false(json_slice_int((struct slice){0}, &v));
    bool b = false;
    assert_true(json_slice_bool(sl("true"), &b) && b);
    assert_true(json_slice_bool(sl("false"), &b) && !b);
    assert_false(json_slice_bool(sl("1"), &b));
    assert_true(json_slice_null((struct slice){0}));
    assert_true(json_slice_null(sl("null")));
}

static void reads_typed_members_of_a_tree(void **state)
{
    (void)state;
    struct err err = {0};
    json_auto_t *tree = json_parse(
        sl("{\"s\":\"x\",\"i\":7,\"t\":\"-8\",\"b\":true,\"c\":\"false\",\"n\":null}"), &err);
    assert_non_null(tree);
    assert_string_equal(json_text_of(tree, "s"), "x");
    assert_null(json_text_of(tree, "i"));
    assert_null(json_text_of(NULL, "i"));
    assert_int_equal(json_int_of(tree, "i", 0), 7);
    assert_int_equal(json_int_of(tree, "t", 0), -8);
    assert_int_equal(json_int_of(tree, "s", 3), 3);
    assert_int_equal(json_int_of(tree, "n", 3), 3);
    assert_true(json_bool_of(tree, "b", false));
    assert_false(json_bool_of(tree, "c", true));
    assert_true(json_bool_of(tree, "n", true));
    assert_null(json_parse(sl(""), &err));
    assert_null(json_parse(sl("{\"a\":1} {"), &err));
}

static void writes_strings_that_read_back(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    char all[128];
    for (int i = 0; i < 128; i++) {
        all[i] = (char)i;
    }
    assert_int_equal(json_add_text(&b, (struct slice){all + 1, 127}), 0);
    char back[128];
    assert_true(json_slice_text((struct slice){buf_text(&b), b.len_bytes}, back, sizeof back));
    assert_memory_equal(back, all + 1, 127);
    buf_clear(&b);
    assert_int_equal(json_add_text(&b, (struct slice){"\xff\0\xc3\xa4", 4}), 0);
    assert_string_equal(buf_text(&b), "\"\xef\xbf\xbd\\u0000\xc3\xa4\"");
    buf_release(&b);
}

static void squeezes_out_the_blanks_between_values_only(void **state)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"{\n  \"a b\": [1, 2],\r\n\t\"c\": \"x \\\" y\" }",
         "{\"a b\":[1,2],\"c\":\"x \\\" y\"}"},
        {"\"cut off \\", "\"cut off \\"},
        {"  ", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char out[64];
        size_t n = json_squeeze(slice_of(cases[i].text), out);
        assert_int_equal(n, strlen(cases[i].wanted));
        assert_memory_equal(out, cases[i].wanted, n);
    }
}

static void knows_valid_utf8(void **state)
{
    (void)state;
    assert_int_equal(utf8_valid_bytes(sl("abcdefgh\xf0\x9f\x98\x80z")), 13);
    static const char *const broken[] = {"\x80",         "\xc0\x80",         "\xe0\x80\x80",
                                         "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5",
                                         "\xe4\xbd"};
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        assert_int_equal(utf8_valid_bytes(sl(broken[i])), 0);
    }
    struct slice emoji = sl("ab\xf0\x9f\x98\x80");
    for (size_t n = 2; n < 6; n++) {
        assert_int_equal(utf8_cut(emoji, n).len_bytes, 2);
    }
    assert_int_equal(utf8_cut(emoji, 6).len_bytes, 6);
    char out[4];
    assert_int_equal(utf8_encode(0xd800, out), 3);
    assert_memory_equal(out, "\xef\xbf\xbd", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(squeezes_out_the_blanks_between_values_only),
        cmocka_unit_test(cuts_a_page_into_its_records),
        cmocka_unit_test(takes_a_text_that_is_itself_the_array),
        cmocka_unit_test(an_absent_array_is_told_and_no_error),
        cmocka_unit_test(lets_through_what_only_one_record_should_pay_for),
        cmocka_unit_test(refuses_every_truncation_of_a_page),
        cmocka_unit_test(refuses_texts_that_are_not_json),
        cmocka_unit_test(refuses_what_is_nested_too_deep),
        cmocka_unit_test(finds_members_and_the_last_of_several_wins),
        cmocka_unit_test(decodes_strings),
        cmocka_unit_test(reads_integers_to_their_last_bit),
        cmocka_unit_test(reads_typed_members_of_a_tree),
        cmocka_unit_test(writes_strings_that_read_back),
        cmocka_unit_test(knows_valid_utf8),
    };
    return RUN_TESTS(tests);
}
