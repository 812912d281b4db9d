/* The conversions, one function for each type of a field. A value that does not fit is held
 * back with a problem; nothing is ever guessed, cut or rounded.
 *
 * A number with decimals is carried as a JSON string of its plain digits, since jansson's
 * reals are doubles; mapping_fields_text() writes it as a JSON number again. */
#include "core/convert.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/utf8.h"

#include <stdarg.h>
#include <strings.h>

enum { SHOWN_MAX_BYTES = 60 };

static int problem(struct conversion *out, enum error_type type, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static int problem(struct conversion *out, enum error_type type, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    out->problem = type;
    (void)vsnprintf(out->message, sizeof out->message, fmt, ap);
    va_end(ap);
    return 0;
}

/* Take a value; 0, or -1 when it is NULL. */
static int give(struct conversion *out, json_t *value)
{
    out->value = value;
    return value == NULL ? -1 : 0;
}

/* The beginning of a value, for messages. Whole UTF-8 characters only. */
static const char *shown(const json_t *in, char out[SHOWN_MAX_BYTES + 4])
{
    const char *text = json_is_string(in) ? json_string_value(in) : NULL;
    char *made = NULL;
    if (text == NULL) {
        made = json_dumps(in, JSON_ENCODE_ANY | JSON_COMPACT);
        text = made != NULL ? made : "?";
    }
    size_t len = strnlen(text, SHOWN_MAX_BYTES + 1);
    size_t n = utf8_cut((struct slice){text, len}, SHOWN_MAX_BYTES).len_bytes;
    memcpy(out, text, n);
    (void)snprintf(out + n, 4, "%s", n < len ? "..." : "");
    free(made);
    return out;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct slice trimmed(const char *text)
{
    size_t n = strlen(text);
    while (n > 0 && is_blank(text[n - 1])) {
        n--;
    }
    while (n > 0 && is_blank(*text)) {
        text++;
        n--;
    }
    return (struct slice){text, n};
}

static bool is_word(struct slice s, const char *word)
{
    return strlen(word) == s.len_bytes && strncasecmp(s.bytes, word, s.len_bytes) == 0;
}

/* ASCII only: a locale would make the same value differ between machines. */
static json_t *cased(const char *bytes, size_t len_bytes, bool upper)
{
    char *copy = malloc(len_bytes + 1);
    if (copy == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < len_bytes; i++) {
        char c = bytes[i];
        if (!upper && c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        } else if (upper && c >= 'a' && c <= 'z') {
            c = (char)(c - 'a' + 'A');
        }
        copy[i] = c;
    }
    copy[len_bytes] = '\0';
    json_t *value = json_stringn(copy, len_bytes);
    free(copy);
    return value;
}

/* The label of an option, when the mapping asks for it and it is known; else the value. */
static const char *labelled(const struct mapping_field *f, const char *text,
                            const struct mapping_context *c)
{
    if (strcmp(f->convert, "label") != 0 || c->enum_labels == NULL) {
        return text;
    }
    const char *label =
        json_string_value(json_object_get(json_object_get(c->enum_labels, f->source), text));
    return label != NULL ? label : text;
}

/* ---- text ---- */

static int to_text(const struct mapping_field *f, const json_t *in,
                   const struct mapping_context *c, struct conversion *out)
{
    char digits[DECIMAL_MAX_BYTES];
    if (json_is_array(in)) {
        return problem(out, ET_MAP_MULTI_SELECT, "'%s' holds %zu values, '%s' takes one",
                       f->source, json_array_size(in), f->field);
    }
    if (json_is_object(in)) {
        return problem(out, ET_MAP_TYPE_MISMATCH, "'%s' is an object, not text", f->source);
    }
    if (json_is_boolean(in)) {
        return give(out, json_string(json_is_true(in) ? "true" : "false"));
    }
    if (json_is_number(in)) {
        enum error_type e = decimal_of_json(in, 0, digits);
        return e != ET_NONE ? problem(out, e, "'%s' is no number that can be kept", f->source)
                            : give(out, json_string(digits));
    }
    const char *text = json_string_value(in);
    if (json_string_length(in) > CONVERT_TEXT_MAX_BYTES) {
        return problem(out, ET_MAP_VALUE_TOO_LONG, "'%s' has %zu bytes, the limit is %d",
                       f->source, json_string_length(in), CONVERT_TEXT_MAX_BYTES);
    }
    if (strcmp(f->convert, "lower") == 0 || strcmp(f->convert, "upper") == 0) {
        struct slice s = trimmed(text);
        return give(out, cased(s.bytes, s.len_bytes, f->convert[0] == 'u'));
    }
    if (strcmp(f->convert, "trim") == 0) {
        struct slice s = trimmed(text);
        return give(out, json_stringn(s.bytes, s.len_bytes));
    }
    text = labelled(f, text, c);
    return give(out, json_string(text));
}

/* ---- numbers ---- */

static int number_problem(const struct mapping_field *f, const json_t *in, enum error_type e,
                          struct conversion *out)
{
    char text[SHOWN_MAX_BYTES + 4];
    return problem(out, e,
                   e == ET_MAP_NUMBER_OUT_OF_RANGE   ? "'%s' is out of range: %s"
                   : strcmp(f->type, "integer") == 0 ? "'%s' is not a whole number: '%s'"
                                                     : "'%s' is not a number: '%s'",
                   f->source, shown(in, text));
}

static int to_number(const struct mapping_field *f, const json_t *in,
                     const struct mapping_context *c, struct conversion *out)
{
    (void)c;
    char digits[DECIMAL_MAX_BYTES];
    int64_t whole = 0;
    if (json_is_string(in) && is_word(trimmed(json_string_value(in)), "nan")) {
        return number_problem(f, in, ET_MAP_NUMBER_OUT_OF_RANGE, out);
    }
    enum error_type e = decimal_of_json(in, strcmp(f->convert, "cents") == 0 ? -2 : 0, digits);
    if (e != ET_NONE) {
        return number_problem(f, in, e, out);
    }
    if (strcmp(f->type, "integer") == 0) {
        e = decimal_to_int(digits, &whole);
        return e != ET_NONE ? number_problem(f, in, e, out) : give(out, json_integer(whole));
    }
    if (strchr(digits, '.') == NULL && decimal_to_int(digits, &whole) == ET_NONE) {
        return give(out, json_integer(whole));
    }
    return give(out, json_string(digits));
}

static int to_bool(const struct mapping_field *f, const json_t *in,
                   const struct mapping_context *c, struct conversion *out)
{
    static const char *const yes[] = {"true", "yes", "1", "on"};
    static const char *const no[] = {"false", "no", "0", "off"};
    char text[SHOWN_MAX_BYTES + 4];
    (void)c;
    if (json_is_boolean(in)) {
        return give(out, json_boolean(json_is_true(in)));
    }
    if (json_is_integer(in) && json_integer_value(in) >= 0 && json_integer_value(in) <= 1) {
        return give(out, json_boolean(json_integer_value(in) == 1));
    }
    struct slice s = trimmed(json_is_string(in) ? json_string_value(in) : "");
    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        if (is_word(s, yes[i]) || is_word(s, no[i])) {
            return give(out, json_boolean(is_word(s, yes[i])));
        }
    }
    return problem(out, ET_MAP_TYPE_MISMATCH, "'%s' is neither true nor false: '%s'", f->source,
                   shown(in, text));
}

/* ---- instants ---- */

static bool all_digits(struct slice s)
{
    size_t from = s.len_bytes > 1 && s.bytes[0] == '-' ? 1 : 0;
    for (size_t i = from; i < s.len_bytes; i++) {
        if (s.bytes[i] < '0' || s.bytes[i] > '9') {
            return false;
        }
    }
    return s.len_bytes > from;
}

/* ISO 8601 or a number of milliseconds (unix_s: seconds) since 1970. */
static enum error_type read_instant(const struct mapping_field *f, const json_t *in,
                                    int64_t *at_ms)
{
    /* 0001-01-01 .. 9999-12-31: what both ISO 8601 and PostgreSQL can write. */
    const int64_t first_ms = -62135596800000, last_ms = 253402300799999;
    char digits[DECIMAL_MAX_BYTES];
    char day[sizeof "2026-11-23T00:00:00Z"];
    struct slice s = trimmed(json_is_string(in) ? json_string_value(in) : "");
    if (json_is_number(in) || all_digits(s)) {
        enum error_type e =
            decimal_of_json(in, strcmp(f->convert, "unix_s") == 0 ? 3 : 0, digits);
        if (e == ET_NONE) {
            e = decimal_to_int(digits, at_ms);
        }
        if (e != ET_NONE) {
            return e;
        }
        return *at_ms < first_ms || *at_ms > last_ms ? ET_MAP_NUMBER_OUT_OF_RANGE : ET_NONE;
    }
    if (s.len_bytes == 10) {
        (void)snprintf(day, sizeof day, "%.10sT00:00:00Z", s.bytes);
        return clock_parse(day, at_ms) == 0 ? ET_NONE : ET_MAP_TYPE_MISMATCH;
    }
    char text[64];
    if (s.len_bytes >= sizeof text) {
        return ET_MAP_TYPE_MISMATCH;
    }
    memcpy(text, s.bytes, s.len_bytes);
    text[s.len_bytes] = '\0';
    return clock_parse(text, at_ms) == 0 ? ET_NONE : ET_MAP_TYPE_MISMATCH;
}

static int to_instant(const struct mapping_field *f, const json_t *in,
                      const struct mapping_context *c, struct conversion *out)
{
    char text[CLOCK_TEXT_BYTES];
    char value[SHOWN_MAX_BYTES + 4];
    int64_t at_ms = 0;
    (void)c;
    enum error_type e = read_instant(f, in, &at_ms);
    if (e != ET_NONE) {
        return problem(out, e, "'%s' is not a date: '%s'", f->source, shown(in, value));
    }
    /* HubSpot's date is midnight UTC, so the day is that of UTC, not of the workspace. */
    (void)clock_text(at_ms, text);
    return give(out, strcmp(f->type, "date") == 0 ? json_stringn(text, 10) : json_string(text));
}

/* ---- choices ---- */

static int to_enum(const struct mapping_field *f, const json_t *in,
                   const struct mapping_context *c, struct conversion *out)
{
    char value[SHOWN_MAX_BYTES + 4];
    bool plan = strcmp(f->convert, "plan") == 0 || strcmp(f->field, "plan") == 0;
    if (!json_is_string(in)) {
        return to_text(f, in, c, out);
    }
    struct slice s = trimmed(labelled(f, json_string_value(in), c));
    for (char **p = plan ? c->plans : NULL; p != NULL && *p != NULL; p++) {
        if (is_word(s, *p)) {
            return give(out, json_string(*p));
        }
    }
    if (memchr(s.bytes, ';', s.len_bytes) != NULL) {
        return problem(out, ET_MAP_MULTI_SELECT, "'%s' holds several values: '%s'", f->source,
                       shown(in, value));
    }
    if (plan && c->plans != NULL) {
        return problem(out, ET_MAP_ENUM_UNKNOWN, "no plan is called '%s'", shown(in, value));
    }
    if (strcmp(f->convert, "lower") == 0) {
        return give(out, cased(s.bytes, s.len_bytes, false));
    }
    return give(out, json_stringn(s.bytes, s.len_bytes));
}

static int to_list(const struct mapping_field *f, const json_t *in,
                   const struct mapping_context *c, struct conversion *out)
{
    json_t *list = json_array();
    if (list == NULL) {
        return -1;
    }
    if (json_is_array(in)) {
        size_t i = 0;
        json_t *each = NULL;
        json_array_foreach(in, i, each)
        {
            if (!json_is_null(each)) {
                json_list_add(&list, json_incref(each));
            }
        }
        return give(out, list);
    }
    struct conversion one = {0};
    if (!json_is_string(in)) {
        if (to_text(f, in, c, &one) != 0 || one.value == NULL) {
            json_decref(list);
            *out = one;
            return one.problem == ET_NONE ? -1 : 0;
        }
        json_list_add(&list, one.value);
        return give(out, list);
    }
    for (const char *at = json_string_value(in); at != NULL;) {
        const char *semicolon = strchr(at, ';');
        size_t n = semicolon != NULL ? (size_t)(semicolon - at) : strlen(at);
        char *piece = strndup(at, n);
        if (piece == NULL) {
            json_decref(list);
            return -1;
        }
        struct slice s = trimmed(piece);
        piece[(size_t)(s.bytes - piece) + s.len_bytes] = '\0';
        if (s.len_bytes > 0) {
            json_list_add(&list, json_string(labelled(f, s.bytes, c)));
        }
        free(piece);
        at = semicolon != NULL ? semicolon + 1 : NULL;
    }
    return give(out, list);
}

/* ---- people and domains ---- */

/* The value itself when it is an address, else the address behind the provider's owner id. */
static const char *owner_email(const json_t *in, const struct mapping_context *c, char id[64])
{
    if (json_is_string(in)) {
        (void)snprintf(id, 64, "%s", json_string_value(in));
    } else if (json_is_integer(in)) {
        (void)snprintf(id, 64, "%lld", (long long)json_integer_value(in));
    }
    if (json_is_string(in) && strchr(json_string_value(in), '@') != NULL) {
        return json_string_value(in);
    }
    return c->owner_emails != NULL ? json_string_value(json_object_get(c->owner_emails, id))
                                   : NULL;
}

static int to_owner(const struct mapping_field *f, const json_t *in,
                    const struct mapping_context *c, struct conversion *out)
{
    char id[64] = "";
    const char *email = owner_email(in, c, id);
    if (email != NULL) {
        struct slice s = trimmed(email);
        if (c->owners == NULL) {
            return give(out, cased(s.bytes, s.len_bytes, false));
        }
        for (char **p = c->owners; *p != NULL; p++) {
            if (is_word(s, *p)) {
                return give(out, json_string(*p));
            }
        }
        (void)problem(out, ET_MAP_OWNER_UNKNOWN, "no owner here has the address of '%s'", id);
    } else {
        (void)problem(out, ET_MAP_OWNER_UNKNOWN, "'%s' '%s' has no known address", f->source,
                      id);
    }
    if (c->default_owner == NULL || c->default_owner[0] == '\0') {
        return 0;
    }
    return give(out, json_string(c->default_owner));
}

/* "https://user@WWW.Acme.Example:443/path" and "jane@acme.example" to "acme.example". */
static struct slice bare_domain(struct slice s)
{
    const char *end = s.bytes + s.len_bytes;
    for (const char *p = s.bytes; p + 2 < end; p++) {
        if (p[0] == ':' && p[1] == '/' && p[2] == '/') {
            s = (struct slice){p + 3, (size_t)(end - p - 3)};
            break;
        }
    }
    size_t n = 0;
    while (n < s.len_bytes && strchr("/?#", s.bytes[n]) == NULL) {
        n++;
    }
    s.len_bytes = n;
    const char *at = memrchr(s.bytes, '@', s.len_bytes);
    if (at != NULL) {
        s = (struct slice){at + 1, (size_t)(s.bytes + s.len_bytes - at - 1)};
    }
    const char *colon = memchr(s.bytes, ':', s.len_bytes);
    if (colon != NULL) {
        s.len_bytes = (size_t)(colon - s.bytes);
    }
    while (s.len_bytes > 0 && s.bytes[s.len_bytes - 1] == '.') {
        s.len_bytes--;
    }
    if (s.len_bytes > 4 && strncasecmp(s.bytes, "www.", 4) == 0) {
        s = (struct slice){s.bytes + 4, s.len_bytes - 4};
    }
    return s;
}

static bool domain_sound(struct slice s)
{
    bool dot = false;
    if (s.len_bytes == 0 || s.len_bytes > 253 || s.bytes[0] == '.' || s.bytes[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < s.len_bytes; i++) {
        unsigned char ch = (unsigned char)s.bytes[i];
        bool fits = ch >= 0x80 || ch == '-' || ch == '_' || (ch >= '0' && ch <= '9') ||
                    (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
        if (ch == '.' && s.bytes[i - 1] != '.') {
            dot = true;
        } else if (!fits) {
            return false;
        }
    }
    return dot;
}

static int to_domain(const struct mapping_field *f, const json_t *in,
                     const struct mapping_context *c, struct conversion *out)
{
    char value[SHOWN_MAX_BYTES + 4];
    (void)c;
    struct slice s = trimmed(json_is_string(in) ? json_string_value(in) : "");
    s = bare_domain(s);
    if (!domain_sound(s)) {
        return problem(out, ET_MAP_TYPE_MISMATCH, "'%s' is not a domain: '%s'", f->source,
                       shown(in, value));
    }
    return give(out, cased(s.bytes, s.len_bytes, false));
}

static int to_json(const struct mapping_field *f, const json_t *in,
                   const struct mapping_context *c, struct conversion *out)
{
    (void)f;
    (void)c;
    return give(out, json_deep_copy(in));
}

/* ---- the tables ---- */

typedef int convert_fn(const struct mapping_field *f, const json_t *in,
                       const struct mapping_context *c, struct conversion *out);

static const struct {
    const char *type;
    convert_fn *fn;
} types[] = {
    {"text", to_text},     {"number", to_number}, {"integer", to_number},   {"bool", to_bool},
    {"date", to_instant},  {"enum", to_enum},     {"datetime", to_instant}, {"owner", to_owner},
    {"domain", to_domain}, {"list", to_list},     {"json", to_json},
};

static const char *const converts[] = {"",      "lower",       "upper", "trim",  "plan",
                                       "label", "owner_email", "cents", "unix_s"};

bool convert_type_known(const char *type)
{
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (strcmp(types[i].type, type) == 0) {
            return true;
        }
    }
    return false;
}

bool convert_name_known(const char *convert)
{
    for (size_t i = 0; i < COUNT_OF(converts); i++) {
        if (strcmp(converts[i], convert) == 0) {
            return true;
        }
    }
    return false;
}

int convert_value(const struct mapping_field *f, const json_t *in,
                  const struct mapping_context *c, struct conversion *out)
{
    *out = (struct conversion){0};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (strcmp(types[i].type, f->type) == 0) {
            return types[i].fn(f, in, c, out);
        }
    }
    return problem(out, ET_MAP_TARGET_MISSING, "field '%s' has the unknown type '%s'", f->field,
                   f->type);
}
