#include "core/mapping_store.h"

#include "common/task.h"
#include "core/fetch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mapping_check_release(struct mapping_check *m)
{
    mapping_free(m->mapping);
    free(m->findings);
    json_decref(m->labels);
    *m = (struct mapping_check){0};
}

json_t *mapping_check_json(const struct mapping_check *m)
{
    json_t *list = json_array();
    for (int i = 0; i < m->count; i++) {
        const struct mapping_finding *f = &m->findings[i];
        (void)json_array_append_new(
            list, json_pack("{s:s, s:i, s:s, s:s}", "severity", f->error ? "error" : "warning",
                            "line", f->line, "field", f->field, "message", f->text));
    }
    return list;
}

static int found(struct mapping_check *m, bool error, int line, const char *field,
                 const char *fmt, ...) PRINTF_LIKE(5, 6);
static int found(struct mapping_check *m, bool error, int line, const char *field,
                 const char *fmt, ...)
{
    va_list ap;
    if (m->count == m->cap) {
        int cap = m->cap == 0 ? 16 : m->cap * 2;
        struct mapping_finding *grown = reallocarray(m->findings, (size_t)cap, sizeof *grown);
        if (grown == NULL) {
            return -1;
        }
        m->findings = grown;
        m->cap = cap;
    }
    struct mapping_finding *f = &m->findings[m->count++];
    *f = (struct mapping_finding){.error = error, .line = line};
    m->errors += error;
    (void)snprintf(f->field, sizeof f->field, "%.63s", field);
    va_start(ap, fmt);
    (void)vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
    return 0;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* ---- the provider's schema ---- */

static json_t *ask_schema(struct app *app, const struct connection *c, struct err *err)
{
    struct record_list none;
    struct failure why;
    struct fetch f;
    json_t *facts = NULL;
    int64_t later_ms = 0;
    record_list_init(&none);
    fetch_init(&f, app, c, NULL);
    enum fetch_end end =
        fetch_ask(&f, &(struct ask){.kind = ASK_SCHEMA}, &none, &facts, &why, &later_ms);
    fetch_release(&f);
    record_list_release(&none);
    if (end == FETCH_OK && json_is_array(json_object_get(facts, "properties"))) {
        return facts;
    }
    json_decref(facts);
    if (end == FETCH_LATER) {
        err_set(err, ERR_RATE_LIMITED, "the quota of this account is used up; try again");
    } else if (end == FETCH_OK) {
        err_set(err, ERR_PROTOCOL, "%s did not say which properties it has",
                c->provider->title);
    } else {
        const struct error_info *info = error_info(why.type);
        err_set(err, info->banner != BANNER_NONE ? ERR_AUTH : ERR_TEMPORARY,
                "cannot ask %s for its properties: %s: %s", c->provider->title, info->title,
                why.message);
    }
    return NULL;
}

static const json_t *find_property(const json_t *schema, const char *name)
{
    size_t i;
    const json_t *p;
    json_array_foreach(json_object_get(schema, "properties"), i, p)
    {
        const char *known = text_of(p, "name");
        size_t n = strlen(known);
        /* "metadata.*" stands for every name that begins so */
        if (strcmp(known, name) == 0 ||
            (n > 1 && known[n - 1] == '*' && strncmp(known, name, n - 1) == 0)) {
            return p;
        }
    }
    return NULL;
}

static bool one_of(const char *text, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strcmp(text, *list) == 0) {
            return true;
        }
    }
    return false;
}

/* Which of the provider's types a field's type can be made from. What is not listed at all (a
 * type the provider made up since) is let through: converting tells. */
static bool type_fits(const char *type, const char *convert, const char *source_type)
{
    static const char *const known[] = {"string", "number",      "date", "datetime",
                                        "bool",   "enumeration", "json", NULL};
    static const struct {
        const char *type;
        const char *const from[6];
    } fits[] = {
        {"number", {"number", "string", NULL}},
        {"integer", {"number", "string", NULL}},
        {"bool", {"bool", "enumeration", "string", NULL}},
        {"date", {"date", "datetime", "string", NULL}},
        {"datetime", {"datetime", "date", "string", NULL}},
        {"enum", {"enumeration", "string", "bool", NULL}},
        {"owner", {"enumeration", "string", "number", NULL}},
        {"list", {"enumeration", "string", NULL}},
        {"domain", {"string", NULL}},
    };
    if (!one_of(source_type, known)) {
        return true;
    }
    if (strcmp(convert, "unix_s") == 0) {
        return strcmp(source_type, "number") == 0 || strcmp(source_type, "string") == 0;
    }
    for (size_t i = 0; i < COUNT_OF(fits); i++) {
        if (strcmp(fits[i].type, type) == 0) {
            return one_of(source_type, fits[i].from);
        }
    }
    return true; /* text and json take everything */
}

json_t *mapping_store_fits(const char *source_type)
{
    static const char *const types[] = {"text", "number",   "integer", "bool",
                                        "date", "datetime", "enum",    "owner",
                                        "list", "domain",   "json"};
    json_t *out = json_array();
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (type_fits(types[i], "", source_type)) {
            (void)json_array_append_new(out, json_string(types[i]));
        }
    }
    return out;
}

/* The labels of a property's options, for lines that ask for them. */
static int keep_labels(struct mapping_check *m, const char *name, const json_t *property)
{
    size_t i;
    const json_t *option;
    json_t *labels = json_object();
    json_array_foreach(json_object_get(property, "options"), i, option)
    {
        (void)json_object_set(labels, text_of(option, "value"),
                              json_object_get(option, "label"));
    }
    return json_object_set_new(m->labels, name, labels);
}

static int check_source(struct mapping_check *m, int line, const struct mapping_field *f,
                        const json_t *schema)
{
    const json_t *p = find_property(schema, f->source);
    if (p == NULL) {
        return found(m, true, line, f->field, "the provider has no property '%.100s'",
                     f->source);
    }
    const char *type = text_of(p, "type");
    if (json_is_true(json_object_get(p, "archived"))) {
        return found(m, true, line, f->field, "property '%.100s' is archived", f->source);
    }
    if (!type_fits(f->type, f->convert, type)) {
        return found(m, true, line, f->field, "'%.100s' is a %s, which cannot become a %s",
                     f->source, type, f->type);
    }
    if (strcmp(text_of(p, "field_type"), "checkbox") == 0 && strcmp(type, "bool") != 0 &&
        strcmp(f->type, "list") != 0 &&
        found(m, false, line, f->field,
              "'%.100s' holds several values; as %s they are one text", f->source,
              f->type) != 0) {
        return -1;
    }
    return strcmp(f->convert, "label") == 0 ? keep_labels(m, f->source, p) : 0;
}

/* ---- lines ---- */

/* mapping_parse() names one problem; a line by itself tells its own. */
static struct mapping *parse_line(const json_t *line, char *message, size_t message_bytes)
{
    struct err err = {0};
    json_auto_t *alone = json_pack("[O]", line);
    char *text = alone != NULL ? json_dumps(alone, JSON_COMPACT) : NULL;
    struct mapping *m = text != NULL ? mapping_parse(text, &err) : NULL;
    free(text);
    if (m == NULL) {
        const char *colon =
            strncmp(err.msg, "mapping line", 12) == 0 ? strchr(err.msg, ':') : NULL;
        (void)snprintf(message, message_bytes, "%.280s", colon != NULL ? colon + 2 : err.msg);
    }
    return m;
}

static int check_line(struct mapping_check *m, const json_t *lines, int index,
                      const json_t *schema)
{
    char message[300];
    const json_t *line = json_array_get(lines, (size_t)index);
    const char *field = text_of(line, "field");
    struct mapping *alone = parse_line(line, message, sizeof message);
    int rc = 0;
    if (alone == NULL) {
        return found(m, true, index + 1, field, "%s", message);
    }
    for (int i = 0; i < index && rc == 0; i++) {
        if (strcmp(text_of(json_array_get(lines, (size_t)i), "field"), field) == 0) {
            rc = found(m, true, index + 1, field, "line %d fills it already", i + 1);
            break;
        }
    }
    rc = rc == 0 ? check_source(m, index + 1, &alone->fields[0], schema) : -1;
    mapping_free(alone);
    return rc;
}

/* A provider whose records make customers must give them their name. */
static bool needs_name(const struct provider *p)
{
    for (const struct object_type *o = p->objects; o->name != NULL; o++) {
        if ((o->flags & OBJECT_ROOT) != 0 && (o->flags & OBJECT_SELF) != 0) {
            return true;
        }
    }
    return false;
}

static int check_lines(struct mapping_check *m, const struct connection *c, const json_t *lines,
                       const json_t *schema)
{
    bool named = false;
    for (size_t i = 0; i < json_array_size(lines); i++) {
        if (check_line(m, lines, (int)i, schema) != 0) {
            return -1;
        }
        named = named || strcmp(text_of(json_array_get(lines, i), "field"), "name") == 0;
    }
    if (!named && needs_name(c->provider)) {
        return found(m, true, 0, "name", "a customer needs a name, and no line fills it");
    }
    return json_array_size(lines) == 0 ? found(m, true, 0, "", "it has no lines") : 0;
}

int mapping_store_check(struct app *app, const struct connection *c, const char *text,
                        struct mapping_check *out, struct err *err)
{
    json_error_t why;
    json_auto_t *all = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    const json_t *lines = json_is_object(all) ? json_object_get(all, "fields") : all;
    *out = (struct mapping_check){.labels = json_object()};
    if (all == NULL) {
        return found(out, true, 0, "", "it is not JSON: %.200s (line %d)", why.text, why.line);
    }
    if (!json_is_array(lines)) {
        return found(out, true, 0, "", "it is neither an array of lines nor {fields: [...]}");
    }
    json_auto_t *schema = ask_schema(app, c, err);
    if (schema == NULL) {
        return -1;
    }
    if (out->labels == NULL || check_lines(out, c, lines, schema) != 0) {
        err_set(err, ERR_NOMEM, "out of memory for a mapping");
        return -1;
    }
    if (out->errors > 0) {
        return 0;
    }
    char *array = json_dumps(lines, JSON_COMPACT);
    if (array == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a mapping");
        return -1;
    }
    out->mapping = mapping_parse(array, err);
    free(array);
    return out->mapping != NULL ? 0 : -1;
}

/* ---- versions ---- */

/* Workers look at a connection anew after so long at most (core/app.c): when a save returns,
 * the version is in force everywhere. */
enum { IN_FORCE_MS = 2100 };

int mapping_store_load(struct store *s, int64_t connection_id, int version,
                       struct mapping **out, int *loaded_version, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    *out = NULL;
    params_int(p, connection_id);
    params_int(p, version);
    if (store_query(s,
                    "SELECT fields, version FROM psync.mapping WHERE connection_id = $1"
                    "   AND ($2::int = 0 OR version = $2) ORDER BY version DESC LIMIT 1",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "there is no mapping version %d", version);
        return -1;
    }
    *loaded_version = (int)rows_int(r, 0, 1);
    *out = mapping_parse(rows_text(r, 0, 0), err);
    return *out != NULL ? 0 : -1;
}

/* The version, what workers cache and the audit row in one statement. A version made from an
 * older one than is in force now is not written. */
static const char *const save_sql =
    "WITH held AS MATERIALIZED (SELECT connection_id, workspace_id FROM psync.connection"
    "   WHERE connection_id = $1 FOR UPDATE),"
    " made AS (INSERT INTO psync.mapping (connection_id, version, fields, note, created_by)"
    "   SELECT $1, $2::int + 1, $3::jsonb, $4, $5 FROM held"
    "   WHERE (SELECT max(version) FROM psync.mapping WHERE connection_id = $1) = $2"
    "   ON CONFLICT DO NOTHING RETURNING version),"
    " told AS (UPDATE psync.connection c SET version = c.version + 1, settings = c.settings"
    "     || jsonb_build_object('enum_labels', coalesce(c.settings -> 'enum_labels', '{}')"
    "       || coalesce($6::jsonb, '{}'))"
    "   FROM made WHERE c.connection_id = $1),"
    " noted AS (INSERT INTO psync.audit (workspace_id, connection_id, actor, actor_kind, "
    "action,"
    "     target, detail) SELECT workspace_id, connection_id, $5, $7, 'mapping.apply',"
    "     'version ' || made.version, jsonb_build_object('note', $4::text)"
    "   FROM held, made)"
    " SELECT version FROM made";

int mapping_store_save(struct app *app, const struct connection *c, const struct mapping *m,
                       const json_t *labels, int based_on, const char *note,
                       const struct actor *who, int *version, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    json_auto_t *lines = mapping_to_json(m);
    params_int(p, c->connection_id);
    params_int(p, based_on);
    params_json(p, lines);
    params_text(p, note);
    params_text(p, who->name);
    params_json(p, labels);
    params_text(p, who->kind);
    if (store_query(app->store, save_sql, p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_CONFLICT,
                "another version than %d came in between; look at it and apply again",
                based_on);
        return -1;
    }
    *version = (int)rows_int(r, 0, 0);
    if (app->connections != NULL) {
        connection_cache_drop(app->connections, c->connection_id);
    }
    task_sleep_ms(IN_FORCE_MS);
    return 0;
}
