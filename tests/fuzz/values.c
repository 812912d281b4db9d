/* A mapping file and the values of a record: every conversion of every type.
 *
 * Input: a text ended by NUL (the mapping, JSON), the rest is an object of properties. */
#include "common/json.h"
#include "core/convert.h"
#include "tests/fuzz/fuzz.h"

static void decimals(const char *text)
{
    char plain[DECIMAL_MAX_BYTES], again[DECIMAL_MAX_BYTES];
    for (int shift = -12; shift <= 12; shift += 6) {
        if (decimal_plain(text, shift, plain) != ET_NONE) {
            continue;
        }
        int64_t n = 0;
        MUST(strlen(plain) < sizeof plain);
        MUST(strspn(plain, "-.0123456789") == strlen(plain));
        MUST(decimal_plain(plain, 0, again) == ET_NONE && strcmp(plain, again) == 0);
        (void)decimal_to_int(plain, &n);
    }
}

static void apply(const struct mapping *m, const json_t *properties)
{
    static char free_plan[] = "free", pro_plan[] = "pro", owner[] = "a@example.com";
    char *plans[] = {free_plan, pro_plan, NULL};
    char *owners[] = {owner, NULL};
    json_t *owner_emails = json_pack("{s:s}", "77", "a@example.com");
    const struct mapping_context context = {.tz = "Europe/Berlin",
                                            .plans = plans,
                                            .owners = owners,
                                            .default_owner = "",
                                            .owner_emails = owner_emails};
    struct mapping_result r;
    struct err err = {0};
    if (mapping_apply(m, properties, &context, &r, &err) == 0) {
        struct buf text;
        buf_init(&text, 8 << 20);
        for (int i = 0; i < r.problem_count; i++) {
            MUST(r.problems[i].type != ET_NONE && is_utf8(r.problems[i].message));
        }
        if (mapping_fields_text(m, r.fields, &text) == 0) {
            /* As real numbers: PostgreSQL takes more digits than jansson's integers have. */
            json_t *j = json_loadb(text.bytes, text.len_bytes, JSON_DECODE_INT_AS_REAL, NULL);
            MUST(json_is_object(j));
            json_decref(j);
        }
        buf_release(&text);
        mapping_result_release(&r);
    }
    json_decref(owner_emails);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct err err = {0};
    char *text = input_text(&in);
    struct slice rest = input_rest(&in);
    struct mapping *m = mapping_parse(text, &err);
    json_t *properties = json_parse(rest, &err);
    decimals(text);
    if (m != NULL && json_is_object(properties)) {
        apply(m, properties);
    }
    if (m != NULL) {
        json_t *back = mapping_to_json(m);
        MUST(json_array_size(back) == (size_t)m->count);
        json_decref(back);
    }
    json_decref(properties);
    mapping_free(m);
    free(text);
    free((char *)(uintptr_t)rest.bytes);
    return 0;
}
