/* Reading a mapping, and applying it to a root's source properties. */
#include "core/mapping.h"

#include "common/buf.h"
#include "common/json.h"
#include "core/convert.h"

#include <errno.h>
#include <stdarg.h>

enum { FIELDS_MAX = 500, FIELD_NAME_MAX_BYTES = 63 };

/* ---- reading ---- */

/* The type a field has when the line does not say. */
static const char *usual_type(const char *field, const char *convert)
{
    static const struct {
        const char *field, *type;
    } known[] = {
        {"domain", "domain"},       {"owner", "owner"},          {"plan", "enum"},
        {"arr", "number"},          {"mrr", "number"},           {"employee_count", "integer"},
        {"created_at", "datetime"}, {"mrr_by_currency", "json"},
    };
    if (strcmp(convert, "owner_email") == 0) {
        return "owner";
    }
    if (strcmp(convert, "plan") == 0) {
        return "enum";
    }
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (strcmp(known[i].field, field) == 0) {
            return known[i].type;
        }
    }
    return "text";
}

static bool field_name_sound(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= FIELD_NAME_MAX_BYTES && name[0] >= 'a' && name[0] <= 'z' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

static const char *text_of(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    return text != NULL ? text : "";
}

/* stored: a line of an unknown type or conversion is kept; its field is held back when it is
 * applied, and the other lines go on. */
static int read_line(struct mapping *m, const json_t *line, bool stored, struct err *err)
{
    int no = m->count + 1;
    const char *field = text_of(line, "field");
    const char *source = text_of(line, "source");
    const char *convert = text_of(line, "convert");
    const char *type = text_of(line, "type");
    type = type[0] != '\0' ? type : usual_type(field, convert);
    if (!field_name_sound(field)) {
        err_set(err, ERR_INVALID,
                "mapping line %d: field '%s' must be a-z, 0-9 and _, at most %d", no, field,
                FIELD_NAME_MAX_BYTES);
        return -1;
    }
    if (source[0] == '\0' || strlen(source) > CONVERT_TEXT_MAX_BYTES) {
        err_set(err, ERR_INVALID, "mapping line %d: field '%s' has no source", no, field);
        return -1;
    }
    if (!stored && !convert_type_known(type)) {
        err_set(err, ERR_INVALID, "mapping line %d: field '%s' has the unknown type '%s'", no,
                field, type);
        return -1;
    }
    if (!stored && !convert_name_known(convert)) {
        err_set(err, ERR_INVALID, "mapping line %d: field '%s' has the unknown conversion '%s'",
                no, field, convert);
        return -1;
    }
    for (int i = 0; i < m->count; i++) {
        if (strcmp(m->fields[i].field, field) == 0) {
            err_set(err, ERR_INVALID, "mapping line %d: field '%s' is filled by line %d too",
                    no, field, i + 1);
            return -1;
        }
    }
    struct mapping_field *f = &m->fields[m->count++];
    *f = (struct mapping_field){strdup(field), strdup(source), strdup(type), strdup(convert)};
    if (f->field == NULL || f->source == NULL || f->type == NULL || f->convert == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a mapping");
        return -1;
    }
    return 0;
}

static int read_lines(struct mapping *m, const json_t *lines, bool stored, struct err *err)
{
    size_t i = 0;
    const json_t *line = NULL;
    json_array_foreach(lines, i, line)
    {
        if (read_line(m, line, stored, err) != 0) {
            return -1;
        }
    }
    return 0;
}

static struct mapping *parse(const char *json, bool stored, struct err *err)
{
    json_error_t why;
    errno = 0;
    json_auto_t *lines = json_loads(json, JSON_REJECT_DUPLICATES, &why);
    if (errno == ENOMEM) { /* see json_parse() */
        err_set(err, ERR_NOMEM, "out of memory for a mapping");
        return NULL;
    }
    if (lines == NULL) {
        err_set(err, ERR_INVALID, "mapping is not JSON: %s (line %d)", why.text, why.line);
        return NULL;
    }
    if (!json_is_array(lines) || json_array_size(lines) > FIELDS_MAX) {
        err_set(err, ERR_INVALID, "mapping must be an array of at most %d lines", FIELDS_MAX);
        return NULL;
    }
    struct mapping *m = calloc(1, sizeof *m);
    if (m == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a mapping");
        return NULL;
    }
    m->fields = calloc(json_array_size(lines) + 1, sizeof *m->fields);
    if (m->fields == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a mapping");
        goto fail;
    }
    if (read_lines(m, lines, stored, err) != 0) {
        goto fail;
    }
    return m;

fail:
    mapping_free(m);
    return NULL;
}

struct mapping *mapping_parse(const char *json, struct err *err)
{
    return parse(json, false, err);
}

struct mapping *mapping_parse_stored(const char *json, struct err *err)
{
    return parse(json, true, err);
}

json_t *mapping_to_json(const struct mapping *m)
{
    json_t *lines = json_array();
    for (int i = 0; lines != NULL && i < m->count; i++) {
        const struct mapping_field *f = &m->fields[i];
        json_list_add(&lines, json_pack("{s:s, s:s, s:s, s:s}", "field", f->field, "source",
                                        f->source, "type", f->type, "convert", f->convert));
    }
    return lines;
}

void mapping_free(struct mapping *m)
{
    if (m == NULL) {
        return;
    }
    for (int i = 0; m->fields != NULL && i < m->count; i++) {
        free(m->fields[i].field);
        free(m->fields[i].source);
        free(m->fields[i].type);
        free(m->fields[i].convert);
    }
    free(m->fields);
    free(m);
}

const struct mapping_field *mapping_find(const struct mapping *m, const char *field)
{
    for (int i = 0; i < m->count; i++) {
        if (strcmp(m->fields[i].field, field) == 0) {
            return &m->fields[i];
        }
    }
    return NULL;
}

/* ---- applying ---- */

static int add_problem(struct mapping_result *r, const char *field, enum error_type type,
                       const char *fmt, ...) PRINTF_LIKE(4, 5);
static int add_problem(struct mapping_result *r, const char *field, enum error_type type,
                       const char *fmt, ...)
{
    va_list ap;
    struct mapping_problem *grown =
        reallocarray(r->problems, (size_t)r->problem_count + 1, sizeof *grown);
    if (grown == NULL) {
        return -1;
    }
    r->problems = grown;
    struct mapping_problem *p = &grown[r->problem_count++];
    *p = (struct mapping_problem){.type = type};
    (void)snprintf(p->field, sizeof p->field, "%s", field);
    va_start(ap, fmt);
    (void)vsnprintf(p->message, sizeof p->message, fmt, ap);
    va_end(ap);
    return 0;
}

static bool is_empty(const json_t *value)
{
    if (json_is_string(value)) {
        return json_string_value(value)[strspn(json_string_value(value), " \t\r\n")] == '\0';
    }
    return json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0);
}

/* An amount that is empty only because it is in currencies without a rule. Providers put the
 * amounts by currency beside the sum, as "<source>_by_currency". */
static bool other_currencies_only(const struct mapping_field *f, const json_t *properties)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s_by_currency", f->source);
    const json_t *amounts = json_object_get(properties, name);
    return json_is_object(amounts) && json_object_size(amounts) > 0;
}

static int apply_empty(const struct mapping_field *f, const json_t *properties,
                       struct mapping_result *out)
{
    if (strcmp(f->field, "created_at") == 0) {
        return 0;
    }
    if (strcmp(f->field, "name") == 0) {
        return add_problem(out, f->field, ET_MAP_REQUIRED_EMPTY, "'%s' is blank", f->source);
    }
    if (other_currencies_only(f, properties) &&
        add_problem(out, f->field, ET_MAP_CURRENCY_UNMAPPED,
                    "'%s' has amounts in other currencies than the workspace's only",
                    f->source) != 0) {
        return -1;
    }
    return json_object_set_new(out->fields, f->field, json_null());
}

static int apply_line(const struct mapping_field *f, const json_t *properties,
                      const struct mapping_context *c, struct mapping_result *out)
{
    struct conversion made;
    const json_t *value = json_object_get(properties, f->source);
    if (value == NULL) {
        return add_problem(out, f->field, ET_MAP_UNKNOWN_PROPERTY,
                           "the provider sends no property '%s'", f->source);
    }
    if (is_empty(value)) {
        return apply_empty(f, properties, out);
    }
    if (convert_value(f, value, c, &made) != 0) {
        return -1;
    }
    if (made.problem != ET_NONE &&
        add_problem(out, f->field, made.problem, "%s", made.message) != 0) {
        json_decref(made.value);
        return -1;
    }
    return made.value != NULL ? json_object_set_new(out->fields, f->field, made.value) : 0;
}

int mapping_apply(const struct mapping *m, const json_t *properties,
                  const struct mapping_context *c, struct mapping_result *out, struct err *err)
{
    *out = (struct mapping_result){.fields = json_object()};
    if (out->fields == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for mapped fields");
        return -1;
    }
    for (int i = 0; i < m->count; i++) {
        if (apply_line(&m->fields[i], properties, c, out) != 0) {
            err_set(err, ERR_NOMEM, "out of memory for mapped fields");
            mapping_result_release(out);
            return -1;
        }
    }
    return 0;
}

void mapping_result_release(struct mapping_result *r)
{
    json_decref(r->fields);
    free(r->problems);
    *r = (struct mapping_result){0};
}

/* ---- as JSON text ---- */

static int add_json(struct buf *out, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text == NULL) {
        return -1;
    }
    int rc = buf_add_str(out, text);
    free(text);
    return rc;
}

int mapping_value_text(const struct mapping *m, const char *field, const json_t *value,
                       struct buf *out)
{
    const struct mapping_field *f = mapping_find(m, field);
    if (f != NULL && strcmp(f->type, "number") == 0 && json_is_string(value)) {
        return buf_add_str(out, json_string_value(value)); /* plain digits are a JSON number */
    }
    return add_json(out, value);
}

int mapping_fields_text(const struct mapping *m, json_t *fields, struct buf *out)
{
    const char *key = NULL;
    json_t *value = NULL;
    char before = '{';
    json_object_foreach(fields, key, value)
    {
        if (buf_add_char(out, before) != 0 || buf_printf(out, "\"%s\":", key) != 0 ||
            mapping_value_text(m, key, value, out) != 0) {
            return -1;
        }
        before = ',';
    }
    return buf_add_str(out, before == '{' ? "{}" : "}");
}

int mapping_sources_text(const struct mapping *m, const json_t *fields, struct buf *out)
{
    char before = '{';
    for (int i = 0; i < m->count; i++) {
        const struct mapping_field *f = &m->fields[i];
        if (json_object_get(fields, f->field) == NULL) {
            continue;
        }
        if (buf_add_char(out, before) != 0 || buf_printf(out, "\"%s\":", f->field) != 0 ||
            json_add_text(out, (struct slice){f->source, strlen(f->source)}) != 0) {
            return -1;
        }
        before = ',';
    }
    return buf_add_str(out, before == '{' ? "{}" : "}");
}
