/* Mapping: a table of conversions, and what a whole mapping does with a record. */
#include "core/mapping.h"

#include "common/compiler.h"
#include "core/convert.h"
#include "tests/unit/test.h"

static char *plans[] = {(char[]){"Free"}, (char[]){"Pro Plus"}, (char[]){"Enterprise"}, NULL};
static char *owners[] = {(char[]){"anna@acme.example"}, (char[]){"Tom@acme.example"}, NULL};

/* One conversion: type, convert, the source value as JSON, and what is to come of it. */
struct row {
    const char *name, *type, *convert, *in;
    const char *out; /* stored JSON text; NULL = held back */
    enum error_type problem;
};

static const struct row rows[] = {
    {"text as it is", "text", "", "\" Acme \"", "\" Acme \"", ET_NONE},
    {"text trimmed", "text", "trim", "\" Acme \\n\"", "\"Acme\"", ET_NONE},
    {"text lower", "text", "lower", "\" ACME Ä \"", "\"acme Ä\"", ET_NONE},
    {"text upper", "text", "upper", "\"usd\"", "\"USD\"", ET_NONE},
    {"text keeps semicolons", "text", "", "\"a;b\"", "\"a;b\"", ET_NONE},
    {"text of a whole number", "text", "", "42", "\"42\"", ET_NONE},
    {"text of a real number", "text", "", "0.1", "\"0.1\"", ET_NONE},
    {"text of a boolean", "text", "", "true", "\"true\"", ET_NONE},
    {"text of an array", "text", "", "[\"a\",\"b\"]", NULL, ET_MAP_MULTI_SELECT},
    {"text of an object", "text", "", "{\"a\":1}", NULL, ET_MAP_TYPE_MISMATCH},
    {"text with its label", "text", "label", "\"SOFTWARE\"", "\"Software\"", ET_NONE},
    {"text without a label", "text", "label", "\"OTHER\"", "\"OTHER\"", ET_NONE},

    {"whole number", "number", "", "\"120000\"", "120000", ET_NONE},
    {"decimals kept", "number", "", "\"1250.50\"", "1250.50", ET_NONE},
    {"zero as Java writes it", "number", "", "\"0E+3\"", "0", ET_NONE},
    {"twelve decimals", "number", "", "\"0.123456789012\"", "0.123456789012", ET_NONE},
    {"more digits than a double", "number", "", "\"12345678901234567.89\"",
     "12345678901234567.89", ET_NONE},
    {"beyond int64", "number", "", "\"92233720368547758070\"", "92233720368547758070", ET_NONE},
    {"exponent", "number", "", "\"1.5e3\"", "1500", ET_NONE},
    {"negative exponent", "number", "", "\"25E-4\"", "0.0025", ET_NONE},
    {"sign and blanks", "number", "", "\" +7.50 \"", "7.50", ET_NONE},
    {"negative", "number", "", "\"-0.5\"", "-0.5", ET_NONE},
    {"minus nothing", "number", "", "\"-0\"", "0", ET_NONE},
    {"leading zeros", "number", "", "\"007\"", "7", ET_NONE},
    {"no digit before the point", "number", "", "\".5\"", "0.5", ET_NONE},
    {"JSON integer", "number", "", "42", "42", ET_NONE},
    {"JSON real", "number", "", "1250.5", "1250.5", ET_NONE},
    {"JSON real that no double holds", "number", "", "0.1", "0.1", ET_NONE},
    {"cents", "number", "cents", "123456", "1234.56", ET_NONE},
    {"few cents", "number", "cents", "5", "0.05", ET_NONE},
    {"no cents", "number", "cents", "0", "0.00", ET_NONE},
    {"thousands separator", "number", "", "\"1,250\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"word", "number", "", "\"lots\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"two points", "number", "", "\"1.2.3\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"point alone", "number", "", "\".\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"exponent without digits", "number", "", "\"1e\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"boolean as number", "number", "", "true", NULL, ET_MAP_TYPE_MISMATCH},
    {"not a number", "number", "", "\"NaN\"", NULL, ET_MAP_NUMBER_OUT_OF_RANGE},
    {"huge exponent", "number", "", "\"1e5000\"", NULL, ET_MAP_NUMBER_OUT_OF_RANGE},
    {"a hundred digits", "number", "",
     "\"1234567890123456789012345678901234567890123456789012345678901234567890123456789012345"
     "\"",
     NULL, ET_MAP_NUMBER_OUT_OF_RANGE},

    {"integer", "integer", "", "\"250\"", "250", ET_NONE},
    {"integer with zero decimals", "integer", "", "\"250.0\"", "250", ET_NONE},
    {"integer by exponent", "integer", "", "\"2.5e2\"", "250", ET_NONE},
    {"no integer", "integer", "", "\"250.5\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"range as integer", "integer", "", "\"11-50\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"integer out of range", "integer", "", "\"9223372036854775808\"", NULL,
     ET_MAP_NUMBER_OUT_OF_RANGE},

    {"true", "bool", "", "\"true\"", "true", ET_NONE},
    {"Yes", "bool", "", "\"Yes\"", "true", ET_NONE},
    {"false", "bool", "", "\"false\"", "false", ET_NONE},
    {"zero", "bool", "", "0", "false", ET_NONE},
    {"JSON boolean", "bool", "", "true", "true", ET_NONE},
    {"maybe", "bool", "", "\"maybe\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"two as boolean", "bool", "", "2", NULL, ET_MAP_TYPE_MISMATCH},

    {"day", "date", "", "\"2026-02-28\"", "\"2026-02-28\"", ET_NONE},
    {"day of milliseconds", "date", "", "\"1772236800000\"", "\"2026-02-28\"", ET_NONE},
    {"day of an instant", "date", "", "\"2026-02-28T23:59:59.999Z\"", "\"2026-02-28\"",
     ET_NONE},
    {"no such day", "date", "", "\"2026-02-30\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"day the other way round", "date", "", "\"28.02.2026\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"instant", "datetime", "", "\"2024-08-15T17:09:13.648Z\"", "\"2024-08-15T17:09:13.648Z\"",
     ET_NONE},
    {"instant with an offset", "datetime", "", "\"2024-08-15T19:09:13+02:00\"",
     "\"2024-08-15T17:09:13.000Z\"", ET_NONE},
    {"instant of milliseconds", "datetime", "", "1723741753648", "\"2024-08-15T17:09:13.648Z\"",
     ET_NONE},
    {"instant of seconds", "datetime", "unix_s", "1723741753", "\"2024-08-15T17:09:13.000Z\"",
     ET_NONE},
    {"instant before 1970", "datetime", "", "\"-1000\"", "\"1969-12-31T23:59:59.000Z\"",
     ET_NONE},
    {"instant of a day", "datetime", "", "\"2026-02-28\"", "\"2026-02-28T00:00:00.000Z\"",
     ET_NONE},
    {"instant beyond the calendar", "datetime", "", "\"999999999999999\"", NULL,
     ET_MAP_NUMBER_OUT_OF_RANGE},
    {"word as instant", "datetime", "", "\"soon\"", NULL, ET_MAP_TYPE_MISMATCH},

    {"choice", "enum", "", "\" gold \"", "\"gold\"", ET_NONE},
    {"choice of several", "enum", "", "\"gold;silver\"", NULL, ET_MAP_MULTI_SELECT},
    {"choice with its label", "enum", "label", "\"SOFTWARE\"", "\"Software\"", ET_NONE},
    {"plan in another case", "enum", "plan", "\"PRO plus\"", "\"Pro Plus\"", ET_NONE},
    {"plan as listed", "enum", "plan", "\"Free\"", "\"Free\"", ET_NONE},
    {"plan that is not listed", "enum", "plan", "\"gold\"", NULL, ET_MAP_ENUM_UNKNOWN},
    {"several plans", "enum", "plan", "\"free;enterprise\"", NULL, ET_MAP_MULTI_SELECT},

    {"owner by id", "owner", "", "\"77\"", "\"anna@acme.example\"", ET_NONE},
    {"owner by integer id", "owner", "", "77", "\"anna@acme.example\"", ET_NONE},
    {"owner by address as listed", "owner", "", "\"TOM@acme.example\"", "\"Tom@acme.example\"",
     ET_NONE},
    {"owner without an account here", "owner", "", "\"78\"", "\"boss@acme.example\"",
     ET_MAP_OWNER_UNKNOWN},
    {"owner that nobody knows", "owner", "", "\"99\"", "\"boss@acme.example\"",
     ET_MAP_OWNER_UNKNOWN},

    {"list", "list", "", "\"a; b ;;c\"", "[\"a\",\"b\",\"c\"]", ET_NONE},
    {"list of one", "list", "", "\"a\"", "[\"a\"]", ET_NONE},
    {"list of an array", "list", "", "[\"a\",null,\"b\"]", "[\"a\",\"b\"]", ET_NONE},
    {"list of a number", "list", "", "5", "[\"5\"]", ET_NONE},

    {"domain", "domain", "", "\"Acme.Example\"", "\"acme.example\"", ET_NONE},
    {"domain of an address", "domain", "", "\"https://user@WWW.Acme.example:443/a?b#c\"",
     "\"acme.example\"", ET_NONE},
    {"domain of www", "domain", "", "\"www.acme.example/\"", "\"acme.example\"", ET_NONE},
    {"domain of an e-mail", "domain", "", "\"jane@Acme.example\"", "\"acme.example\"", ET_NONE},
    {"domain with a last dot", "domain", "", "\"acme.example.\"", "\"acme.example\"", ET_NONE},
    {"domain beyond ASCII", "domain", "", "\"müller.example\"", "\"müller.example\"", ET_NONE},
    {"word as domain", "domain", "", "\"acme\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"sentence as domain", "domain", "", "\"acme dot com.\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"two dots in a domain", "domain", "", "\"acme..example\"", NULL, ET_MAP_TYPE_MISMATCH},
    {"scheme alone", "domain", "", "\"https://\"", NULL, ET_MAP_TYPE_MISMATCH},

    {"json as it is", "json", "", "{\"usd\":10000}", "{\"usd\":10000}", ET_NONE},
};

static struct mapping_context context(json_t **emails, json_t **labels)
{
    *emails = json_pack("{s:s, s:s}", "77", "Anna@Acme.example", "78", "eve@acme.example");
    *labels = json_pack("{s:{s:s}}", "source", "SOFTWARE", "Software");
    return (struct mapping_context){.tz = "UTC",
                                    .plans = plans,
                                    .owners = owners,
                                    .default_owner = "boss@acme.example",
                                    .owner_emails = *emails,
                                    .enum_labels = *labels};
}

static void every_conversion_of_the_table_holds(void **state)
{
    (void)state;
    json_auto_t *emails = NULL;
    json_auto_t *labels = NULL;
    struct mapping_context c = context(&emails, &labels);
    assert_true(COUNT_OF(rows) >= 60);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct row *r = &rows[i];
        struct err err = {0};
        char line[256];
        (void)snprintf(line, sizeof line,
                       "[{\"field\":\"x\",\"source\":\"source\",\"type\":\"%s\","
                       "\"convert\":\"%s\"}]",
                       r->type, r->convert);
        struct mapping *m = mapping_parse(line, &err);
        assert_non_null(m);
        json_auto_t *in = json_object();
        json_auto_t *value = json_loads(r->in, JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        (void)json_object_set(in, "source", value);
        struct mapping_result got;
        assert_int_equal(0, mapping_apply(m, in, &c, &got, &err));
        struct buf text;
        buf_init(&text, 4096);
        const json_t *made = json_object_get(got.fields, "x");
        if (made != NULL) {
            assert_int_equal(0, mapping_value_text(m, "x", made, &text));
        }
        enum error_type problem = got.problem_count > 0 ? got.problems[0].type : ET_NONE;
        bool same = made == NULL ? r->out == NULL
                                 : r->out != NULL && strcmp(buf_text(&text), r->out) == 0;
        if (!same || problem != r->problem || got.problem_count > 1) {
            fail_msg("%s: got %s, problem %s", r->name, made == NULL ? "-" : buf_text(&text),
                     problem == ET_NONE ? "none" : error_info(problem)->code);
        }
        buf_release(&text);
        mapping_result_release(&got);
        mapping_free(m);
    }
}

static const char *const company_mapping =
    "[{\"field\":\"name\",\"source\":\"name\"},"
    "{\"field\":\"domain\",\"source\":\"domain\"},"
    "{\"field\":\"plan\",\"source\":\"tier\"},"
    "{\"field\":\"arr\",\"source\":\"annualrevenue\"},"
    "{\"field\":\"created_at\",\"source\":\"createdate\"},"
    "{\"field\":\"tags\",\"source\":\"tags\",\"type\":\"list\"}]";

/* Apply the company mapping; the stored text in text, to be released. */
static void apply(const char *properties, struct mapping_result *out, struct buf *text)
{
    struct err err = {0};
    struct mapping_context c = {.default_owner = "", .plans = plans};
    struct mapping *m = mapping_parse(company_mapping, &err);
    assert_non_null(m);
    json_auto_t *in = json_loads(properties, 0, NULL);
    assert_non_null(in);
    assert_int_equal(0, mapping_apply(m, in, &c, out, &err));
    buf_init(text, 4096);
    assert_int_equal(0, mapping_fields_text(m, out->fields, text));
    mapping_free(m);
}

static void a_field_held_back_does_not_hold_back_the_others(void **state)
{
    (void)state;
    struct mapping_result r;
    struct buf text;
    apply("{\"name\":\"Acme\",\"domain\":\"www.acme.example\",\"tier\":\"gold\","
          "\"annualrevenue\":\"12.50\",\"createdate\":\"2024-01-01\",\"tags\":\"a;b\"}",
          &r, &text);
    assert_string_equal(buf_text(&text),
                        "{\"name\":\"Acme\",\"domain\":\"acme.example\",\"arr\":12.50,"
                        "\"created_at\":\"2024-01-01T00:00:00.000Z\",\"tags\":[\"a\",\"b\"]}");
    assert_int_equal(r.problem_count, 1);
    assert_int_equal(r.problems[0].type, ET_MAP_ENUM_UNKNOWN);
    assert_string_equal(r.problems[0].field, "plan");
    buf_release(&text);
    mapping_result_release(&r);
}

static void null_empties_a_field_except_name_and_created_at(void **state)
{
    (void)state;
    struct mapping_result r;
    struct buf text;
    apply("{\"name\":null,\"domain\":\"\",\"tier\":null,\"annualrevenue\":\" \","
          "\"createdate\":null,\"tags\":null}",
          &r, &text);
    assert_string_equal(buf_text(&text),
                        "{\"domain\":null,\"plan\":null,\"arr\":null,\"tags\":null}");
    assert_int_equal(r.problem_count, 1);
    assert_int_equal(r.problems[0].type, ET_MAP_REQUIRED_EMPTY);
    buf_release(&text);
    mapping_result_release(&r);
}

static void a_property_that_is_not_sent_leaves_its_field_alone(void **state)
{
    (void)state;
    struct mapping_result r;
    struct buf text;
    apply("{\"name\":\"Acme\",\"domain\":\"acme.example\",\"annualrevenue\":\"1\","
          "\"createdate\":\"2024-01-01\",\"tags\":\"\"}",
          &r, &text);
    assert_null(json_object_get(r.fields, "plan"));
    assert_int_equal(r.problem_count, 1);
    assert_int_equal(r.problems[0].type, ET_MAP_UNKNOWN_PROPERTY);
    buf_release(&text);
    mapping_result_release(&r);
}

static void an_amount_in_other_currencies_only_is_emptied_and_told(void **state)
{
    (void)state;
    struct err err = {0};
    struct mapping_context c = {.default_owner = ""};
    struct mapping *m = mapping_parse("[{\"field\":\"mrr\",\"source\":\"mrr\"}]", &err);
    json_auto_t *in = json_loads("{\"mrr\":null,\"mrr_by_currency\":{\"jpy\":1500}}", 0, NULL);
    json_auto_t *none = json_loads("{\"mrr\":null,\"mrr_by_currency\":{}}", 0, NULL);
    struct mapping_result r;
    assert_int_equal(0, mapping_apply(m, in, &c, &r, &err));
    assert_true(json_is_null(json_object_get(r.fields, "mrr")));
    assert_int_equal(r.problem_count, 1);
    assert_int_equal(r.problems[0].type, ET_MAP_CURRENCY_UNMAPPED);
    mapping_result_release(&r);
    assert_int_equal(0, mapping_apply(m, none, &c, &r, &err));
    assert_int_equal(r.problem_count, 0);
    mapping_result_release(&r);
    mapping_free(m);
}

static void an_unknown_owner_without_a_default_is_left_out(void **state)
{
    (void)state;
    struct err err = {0};
    struct mapping_context c = {.default_owner = "", .owners = owners};
    struct mapping *m = mapping_parse("[{\"field\":\"owner\",\"source\":\"o\"}]", &err);
    json_auto_t *in = json_loads("{\"o\":\"x@elsewhere.example\"}", 0, NULL);
    struct mapping_result r;
    assert_int_equal(0, mapping_apply(m, in, &c, &r, &err));
    assert_int_equal(json_object_size(r.fields), 0);
    assert_int_equal(r.problems[0].type, ET_MAP_OWNER_UNKNOWN);
    mapping_result_release(&r);
    mapping_free(m);
}

static void an_owner_is_any_address_where_none_are_listed(void **state)
{
    (void)state;
    struct err err = {0};
    struct mapping_context c = {.default_owner = ""};
    struct mapping *m = mapping_parse("[{\"field\":\"owner\",\"source\":\"o\"}]", &err);
    json_auto_t *in = json_loads("{\"o\":\" X@Elsewhere.example\"}", 0, NULL);
    struct mapping_result r;
    assert_int_equal(0, mapping_apply(m, in, &c, &r, &err));
    assert_string_equal(json_string_value(json_object_get(r.fields, "owner")),
                        "x@elsewhere.example");
    mapping_result_release(&r);
    mapping_free(m);
}

static void a_mapping_reads_back_as_it_was_written(void **state)
{
    (void)state;
    struct err err = {0};
    struct mapping *m = mapping_parse(company_mapping, &err);
    json_auto_t *first = mapping_to_json(m);
    char *text = json_dumps(first, 0);
    struct mapping *again = mapping_parse(text, &err);
    json_auto_t *second = mapping_to_json(again);
    assert_true(json_equal(first, second));
    assert_string_equal(m->fields[3].type, "number");
    free(text);
    mapping_free(m);
    mapping_free(again);
}

static void a_bad_mapping_is_refused_and_the_line_named(void **state)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } bad[] = {
        {"{", "not JSON"},
        {"{}", "must be an array"},
        {"[{\"source\":\"a\"}]", "line 1: field ''"},
        {"[{\"field\":\"Arr\",\"source\":\"a\"}]", "line 1: field 'Arr'"},
        {"[{\"field\":\"a\"}]", "line 1: field 'a' has no source"},
        {"[{\"field\":\"a\",\"source\":\"b\",\"type\":\"money\"}]", "unknown type 'money'"},
        {"[{\"field\":\"a\",\"source\":\"b\",\"convert\":\"rot13\"}]", "conversion 'rot13'"},
        {"[{\"field\":\"a\",\"source\":\"b\"},{\"field\":\"a\",\"source\":\"c\"}]",
         "line 2: field 'a' is filled by line 1 too"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct err err = {0};
        assert_null(mapping_parse(bad[i].json, &err));
        assert_int_equal(err.code, ERR_INVALID);
        if (strstr(err.msg, bad[i].says) == NULL) {
            fail_msg("'%s' does not say '%s'", err.msg, bad[i].says);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_conversion_of_the_table_holds),
        cmocka_unit_test(a_field_held_back_does_not_hold_back_the_others),
        cmocka_unit_test(null_empties_a_field_except_name_and_created_at),
        cmocka_unit_test(a_property_that_is_not_sent_leaves_its_field_alone),
        cmocka_unit_test(an_amount_in_other_currencies_only_is_emptied_and_told),
        cmocka_unit_test(an_unknown_owner_without_a_default_is_left_out),
        cmocka_unit_test(an_owner_is_any_address_where_none_are_listed),
        cmocka_unit_test(a_mapping_reads_back_as_it_was_written),
        cmocka_unit_test(a_bad_mapping_is_refused_and_the_line_named),
    };
    return RUN_TESTS(tests);
}
