#include "common/log.h"

#include "common/json.h"
#include "tests/unit/test.h"

#include <unistd.h>

static int ends[2];
static char line[64 * 1024];

static int open_pipe(void **state)
{
    (void)state;
    return pipe(ends);
}

static int close_pipe(void **state)
{
    (void)state;
    (void)close(ends[0]);
    (void)close(ends[1]);
    return 0;
}

/* Everything logged so far. */
static const char *logged(void)
{
    /* A mark of our own, so that reading nothing does not block. */
    assert_int_equal(write(ends[1], "#", 1), 1);
    ssize_t n = read(ends[0], line, sizeof line - 1);
    assert_true(n > 0);
    assert_int_equal(line[n - 1], '#');
    line[n - 1] = '\0';
    return line;
}

static struct log *new_log(enum log_level level, enum log_format format)
{
    struct err err = {0};
    struct log *l = log_new("worker", ends[1], level, format, &err);
    assert_non_null(l);
    return l;
}

static void writes_a_line_for_people(void **state)
{
    (void)state;
    struct log *l = new_log(LOG_INFO, LOG_TEXT);
    log_set_int(l, "job", 8123);
    log_set_text(l, "provider", "hubspot");
    log_set_text(l, "name", "two words");
    log_event(l, LOG_WARN, "quota.wait", LOG_WITH(LOG_F_INT("wait_ms", 4200)),
              "provider asked to wait");
    const char *text = logged();
    assert_memory_equal(text, "ts=20", 5);
    assert_string_equal(strchr(text, ' '),
                        " level=warn prog=worker job=8123 provider=hubspot"
                        " name=\"two words\" msg=\"provider asked to wait\" event=quota.wait"
                        " wait_ms=4200\n");
    log_free(l);
}

static void writes_json_with_the_documented_keys(void **state)
{
    (void)state;
    struct log *l = new_log(LOG_INFO, LOG_JSON);
    log_set_int(l, "run_id", 7);
    log_event(l, LOG_ERROR, "sync.attempt.finished",
              LOG_WITH(LOG_F_TEXT("error.type", "auth_revoked"), LOG_F_TEXT("record_id", "9")),
              "it said \"no\"\n");
    struct err err = {0};
    json_auto_t *tree = json_parse(slice_of(logged()), &err);
    assert_non_null(tree);
    assert_string_equal(json_text_of(tree, "severity_text"), "error");
    assert_int_equal(json_int_of(tree, "severity_number", 0), 17);
    assert_string_equal(json_text_of(tree, "body"), "it said \"no\"\n");
    assert_string_equal(json_text_of(tree, "event.name"), "sync.attempt.finished");
    assert_string_equal(json_text_of(tree, "service.name"), "pivotal-sync");
    assert_string_equal(json_text_of(tree, "error.type"), "auth_revoked");
    assert_int_equal(json_int_of(tree, "pivotal_sync.run_id", 0), 7);
    assert_string_equal(json_text_of(tree, "pivotal_sync.record_id"), "9");
    assert_int_equal(strlen(json_text_of(tree, "timestamp")), 24);
    log_free(l);
}

static int asked;

static int count_asked(void)
{
    return ++asked;
}

static void a_level_that_is_off_costs_nothing(void **state)
{
    (void)state;
    struct log *l = new_log(LOG_INFO, LOG_JSON);
    asked = 0;
    log_debug(l, "x", "%d", count_asked());
    assert_int_equal(asked, 0);
    assert_string_equal(logged(), "");
    struct log *child = log_bind(l);
    log_set_level(child, LOG_DEBUG);
    log_debug(l, "x", "%d", count_asked());
    assert_int_equal(asked, 1);
    assert_string_not_equal(logged(), "");
    log_free(child);
    log_free(l);
    log_warn(NULL, "x", "%d", count_asked());
    assert_int_equal(asked, 1);
}

static void a_bound_log_keeps_its_fields_to_itself(void **state)
{
    (void)state;
    struct log *l = new_log(LOG_INFO, LOG_TEXT);
    log_set_text(l, "ws", "acme corp");
    CLEANUP(log_freep)
    struct log *child = log_bind(l);
    log_set_text(child, "record", "a \" b=c");
    log_set_int(child, "n", 1);
    log_set_text(child, "record", "2");
    log_info(child, "e", "m");
    assert_non_null(strstr(logged(), "prog=worker ws=\"acme corp\" n=1 record=2 msg="));
    log_set_text(child, "ws", "x");
    log_info(child, "e", "m");
    assert_non_null(strstr(logged(), "prog=worker n=1 record=2 ws=x msg="));
    log_info(l, "e", "m");
    assert_non_null(strstr(logged(), "prog=worker ws=\"acme corp\" msg="));
    log_free(l);
}

static void control_characters_never_reach_the_terminal(void **state)
{
    (void)state;
    for (enum log_format f = LOG_TEXT; f <= LOG_JSON; f++) {
        struct log *l = new_log(LOG_INFO, f);
        log_set_text(l, "a", "x\x1b[31m\ny");
        log_info(l, "e", "bad\nts=1 level=error\x1b]0;t\x07 \xc2\x9b \xff \x7f \xe2\x80\xa8");
        const char *text = logged();
        size_t len = strlen(text);
        for (size_t i = 0; i < len; i++) {
            assert_true((unsigned char)text[i] >= ' ' || i == len - 1);
            assert_int_not_equal(text[i], 0x7f);
        }
        assert_null(strstr(text, "\xc2\x9b"));
        assert_null(strstr(text, "\xe2\x80\xa8"));
        log_free(l);
    }
}

static void long_values_are_cut_and_the_line_stays_whole(void **state)
{
    (void)state;
    struct log *l = new_log(LOG_INFO, LOG_JSON);
    char big[5000];
    memset(big, '\x01', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    log_set_text(l, "a", big);
    log_set_int(l, "b", 2);
    log_event(l, LOG_INFO, "e", LOG_WITH(LOG_F_TEXT("c", big)), "%s", big);
    struct err err = {0};
    json_auto_t *tree = json_parse(slice_of(logged()), &err);
    assert_non_null(tree);
    assert_int_equal(json_int_of(tree, "pivotal_sync.b", 0), 2);
    log_free(l);
}

static void knows_levels_and_formats_by_name(void **state)
{
    (void)state;
    enum log_level level = LOG_INFO;
    enum log_format format = LOG_TEXT;
    assert_int_equal(log_level_parse("warn", &level), 0);
    assert_int_equal(level, LOG_WARN);
    assert_int_equal(log_level_parse("loud", &level), -1);
    assert_int_equal(log_format_parse("json", &format), 0);
    assert_int_equal(format, LOG_JSON);
    assert_int_equal(log_format_parse("xml", &format), -1);
    assert_int_equal(log_format_for(ends[1]), LOG_JSON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_a_line_for_people),
        cmocka_unit_test(writes_json_with_the_documented_keys),
        cmocka_unit_test(a_level_that_is_off_costs_nothing),
        cmocka_unit_test(a_bound_log_keeps_its_fields_to_itself),
        cmocka_unit_test(control_characters_never_reach_the_terminal),
        cmocka_unit_test(long_values_are_cut_and_the_line_stays_whole),
        cmocka_unit_test(knows_levels_and_formats_by_name),
    };
    return cmocka_run_group_tests(tests, open_pipe, close_pipe);
}
