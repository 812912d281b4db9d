/* Any bytes to the JSON scanner, its readers of scalars, the squeezer, jansson behind its
 * limits, and the redactor. */
#include "common/json.h"

#include "common/redact.h"
#include "tests/fuzz/fuzz.h"

static bool within(struct slice part, struct slice whole)
{
    return part.len_bytes == 0 ||
           (part.bytes >= whole.bytes &&
            part.bytes + part.len_bytes <= whole.bytes + whole.len_bytes);
}

static void scalars(struct slice value)
{
    char text[64];
    int64_t number = 0;
    bool truth = false;
    if (json_slice_text(value, text, sizeof text)) {
        MUST(is_utf8(text));
    }
    (void)!json_slice_int(value, &number);
    (void)!json_slice_bool(value, &truth);
    (void)json_slice_null(value);
}

static void split(struct slice text, const char *array)
{
    struct json_split s;
    struct err err = {0};
    if (json_split(text, array, &s, &err) != 0) {
        MUST(err.code == ERR_INVALID && err.msg[0] != '\0');
        MUST(s.member_count == 0 && s.element_count == 0);
        return;
    }
    for (size_t i = 0; i < s.member_count; i++) {
        MUST(within(s.members[i].name, text) && within(s.members[i].value, text));
        scalars(s.members[i].value);
    }
    for (size_t i = 0; i < s.element_count; i++) {
        MUST(within(s.elements[i], text) && s.elements[i].len_bytes > 0);
        scalars(s.elements[i]);
        scalars(json_member(s.elements[i], "id"));
    }
    scalars(json_split_member(&s, "id"));
    json_split_release(&s);
}

static void walk(struct slice text, int depth)
{
    struct json_walk w;
    struct json_member m;
    if (depth > 4 || json_walk_begin(&w, text) != 0) {
        return;
    }
    while (json_walk_next(&w, &m) > 0) {
        MUST(within(m.name, text) && within(m.value, text));
        walk(m.value, depth + 1);
    }
}

/* What is read without a tree is what the tree says. */
static void tree(struct slice text)
{
    static const char *const names[] = {"id", "data", "x"};
    struct slice values[3];
    struct err err = {0};
    json_t *j = json_parse(text, &err);
    MUST(j != NULL || (err.code == ERR_INVALID && err.msg[0] != '\0'));
    int rc = json_members(text, names, values, 3);
    if (json_is_object(j)) {
        MUST(rc == 0);
        for (int i = 0; i < 3; i++) {
            const json_t *v = json_object_get(j, names[i]);
            int64_t n = 0;
            char word[64];
            MUST(v == NULL || values[i].bytes != NULL || strchr(text.bytes, '\\') != NULL);
            if (json_is_integer(v) && values[i].bytes != NULL &&
                json_slice_int(values[i], &n)) {
                MUST(n == json_integer_value(v));
            }
            if (json_is_string(v) && values[i].bytes != NULL &&
                json_slice_text(values[i], word, sizeof word)) {
                MUST(strcmp(word, json_string_value(v)) == 0);
            }
        }
        (void)json_text_of(j, "id");
        (void)json_int_of(j, "id", 0);
        (void)json_bool_of(j, "id", false);
    }
    char *out = malloc(text.len_bytes + 1);
    MUST(out != NULL);
    size_t n = json_squeeze(text, out);
    MUST(n <= text.len_bytes);
    if (j != NULL) {
        json_t *same = json_parse((struct slice){out, n}, &err);
        MUST(same != NULL && json_equal(j, same));
        json_decref(same);
    }
    free(out);
    json_decref(j);
}

static void write_back(struct slice text)
{
    struct buf b;
    struct err err = {0};
    buf_init(&b, 1 << 20);
    if (json_add_text(&b, text) == 0) {
        for (size_t i = 0; i < b.len_bytes; i++) {
            MUST((unsigned char)b.bytes[i] >= 0x20);
        }
        json_t *j = json_parse((struct slice){b.bytes, b.len_bytes}, &err);
        /* jansson takes no NUL inside of a string. */
        MUST(j != NULL || memchr(text.bytes, '\0', text.len_bytes) != NULL);
        json_decref(j);
    }
    buf_clear(&b);
    struct redact_result r;
    if (redact_body(text, &b, &r) == 0) {
        MUST(b.len_bytes <= REDACT_MAX_BYTES);
        MUST(utf8_valid_bytes((struct slice){b.bytes, b.len_bytes}) == b.len_bytes);
        MUST(b.len_bytes == 0 || memchr(b.bytes, '\0', b.len_bytes) == NULL);
    }
    buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    /* One more byte, a NUL, for strchr above; the parsers are told the length without it. */
    struct slice text = input_rest(&in);
    char *ended = malloc(text.len_bytes + 1);
    MUST(ended != NULL);
    memcpy(ended, text.bytes, text.len_bytes);
    ended[text.len_bytes] = '\0';
    split(text, NULL);
    split(text, "data");
    split(text, "results");
    walk(text, 0);
    tree((struct slice){ended, text.len_bytes});
    write_back(text);
    free(ended);
    free((char *)(uintptr_t)text.bytes);
    return 0;
}
