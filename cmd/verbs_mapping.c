/* Verbs about which property fills which field: show, validate, diff, apply, rollback. */
#include "cmd/cmd.h"

#include "core/mapping_store.h"
#include "core/preview.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX_BYTES = 1024 * 1024, LISTED = 20 };

void print_json_object(const json_t *j)
{
    /* 15 digits: what a decimal of a person's has, without the noise of doubles */
    char *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(15));
    printf("%s\n", text != NULL ? text : "{}");
    free(text);
}

static int read_file(const char *path, struct buf *out, struct err *err)
{
    char chunk[16 * 1024];
    bool ours = strcmp(path, "-") != 0;
    FILE *f = ours ? fopen(path, "re") : stdin;
    if (f == NULL) {
        err_set(err, ERR_INVALID, "cannot read '%s': %s", path, strerror(errno));
        return -1;
    }
    int rc = 0;
    for (size_t n = fread(chunk, 1, sizeof chunk, f); n > 0 && rc == 0;
         n = fread(chunk, 1, sizeof chunk, f)) {
        rc = buf_add(out, chunk, n);
    }
    if (rc != 0) {
        err_set(err, ERR_INVALID, "'%s' is larger than a mapping may be", path);
    }
    if (ours) {
        (void)fclose(f);
    }
    return rc;
}

static int version_of(const char *text, struct err *err)
{
    char *end = NULL;
    long v = strtol(text[0] == 'v' ? text + 1 : text, &end, 10);
    if (*end != '\0' || v < 1 || v > 1000000) {
        err_set(err, ERR_INVALID, "'%s' is not a version of a mapping: they are numbers", text);
        return -1;
    }
    return (int)v;
}

/* Whose mapping: the provider that is named before the other arguments, or in the file, or the
 * workspace's only connection, or the one that makes its customers. */
static struct connection *mapped_connection(struct cmd *c, const char *named,
                                            const char *in_file, struct err *err)
{
    const char *const names[] = {named, in_file, "hubspot", "stripe"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (names[i] == NULL || names[i][0] == '\0') {
            continue;
        }
        err_clear(err);
        struct connection *conn = cmd_connection(c, names[i], err);
        if (conn != NULL || err->code != ERR_NOT_FOUND || i < 2) {
            return conn;
        }
    }
    return NULL;
}

static void print_lines(const struct mapping *m)
{
    int widths[2] = {5, 6};
    for (int i = 0; i < m->count; i++) {
        int field = (int)strlen(m->fields[i].field), source = (int)strlen(m->fields[i].source);
        widths[0] = field > widths[0] ? field : widths[0];
        widths[1] = source > widths[1] ? source : widths[1];
    }
    printf("%-*s  %-*s  %-9s  CONVERT\n", widths[0], "FIELD", widths[1], "SOURCE", "TYPE");
    for (int i = 0; i < m->count; i++) {
        const struct mapping_field *f = &m->fields[i];
        printf("%-*s  %-*s  %-9s  %s\n", widths[0], f->field, widths[1], f->source, f->type,
               f->convert);
    }
}

int verb_mapping_show(struct cmd *c, struct err *err)
{
    const char *wanted = cmd_option(c, "version");
    int version = wanted != NULL ? version_of(wanted, err) : 0;
    CLEANUP(connection_freep)
    struct connection *conn =
        version >= 0 ? mapped_connection(c, c->arg_count > 0 ? c->args[0] : NULL, NULL, err)
                     : NULL;
    struct mapping *m = NULL;
    if (conn == NULL || mapping_store_load(c->app->store, conn->connection_id, version, &m,
                                           &version, err) != 0) {
        return -1;
    }
    if (c->form == OUT_TABLE) {
        say("Mapping of %s, version %d.", conn->provider->title, version);
        print_lines(m);
    } else {
        json_auto_t *out = json_pack("{s:i, s:s, s:o}", "version", version, "provider",
                                     conn->provider->name, "fields", mapping_to_json(m));
        print_json_object(out);
    }
    mapping_free(m);
    return EXIT_OK;
}

/* ---- checking ---- */

static void say_findings(const struct mapping_check *m)
{
    for (int i = 0; i < m->count; i++) {
        const struct mapping_finding *f = &m->findings[i];
        if (f->line > 0) {
            say("%s, line %d, field '%s': %s", f->error ? "Error" : "Warning", f->line,
                f->field, f->text);
        } else {
            say("%s: %s", f->error ? "Error" : "Warning", f->text);
        }
    }
}

/* The file of `validate` and `apply`, checked. 0, or -1 with err. */
static int check_file(struct cmd *c, struct connection **conn, struct mapping_check *check,
                      struct err *err)
{
    struct buf text;
    int rc = -1;
    buf_init(&text, FILE_MAX_BYTES);
    if (read_file(c->args[c->arg_count - 1], &text, err) == 0) {
        json_auto_t *file = json_loads(buf_text(&text), 0, NULL);
        *conn = mapped_connection(c, c->arg_count > 1 ? c->args[0] : NULL,
                                  json_string_value(json_object_get(file, "provider")), err);
        rc = *conn == NULL ? -1
                           : mapping_store_check(c->app, *conn, buf_text(&text), check, err);
    }
    buf_release(&text);
    return rc;
}

int verb_mapping_validate(struct cmd *c, struct err *err)
{
    CLEANUP(connection_freep) struct connection *conn = NULL;
    struct mapping_check check = {0};
    int rc = check_file(c, &conn, &check, err);
    if (rc == 0) {
        say_findings(&check);
        if (c->form != OUT_TABLE) {
            json_auto_t *out = json_pack("{s:b, s:o}", "valid", check.errors == 0, "problems",
                                         mapping_check_json(&check));
            print_json_object(out);
        }
        if (check.errors == 0) {
            say("This mapping of %s can be applied: %d lines.", conn->provider->title,
                check.mapping->count);
        } else {
            say("%d problems: this mapping cannot be applied.", check.errors);
        }
        rc = check.errors == 0 ? EXIT_OK : EXIT_RECORD_ERRORS;
    }
    mapping_check_release(&check);
    return rc;
}

/* ---- applying ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void print_value(const json_t *value)
{
    char *text = value == NULL || json_is_null(value)
                     ? strdup("(empty)")
                     : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    printf("%.60s", text != NULL ? text : "");
    free(text);
}

void print_changes(const json_t *changes, size_t most)
{
    size_t i, k;
    const json_t *change, *field;
    json_array_foreach(changes, i, change)
    {
        if (i == most) {
            printf("and %zu more (-o json lists them all)\n", json_array_size(changes) - most);
            break;
        }
        printf("customer %lld  %s\n",
               (long long)json_integer_value(json_object_get(change, "customer_id")),
               text_of(change, "name"));
        json_array_foreach(json_object_get(change, "fields"), k, field)
        {
            printf("  %-16s ", text_of(field, "field"));
            print_value(json_object_get(field, "now"));
            printf(" -> ");
            print_value(json_object_get(field, "new"));
            puts(json_is_true(json_object_get(field, "edited_by_hand"))
                     ? "  (edited by hand, will be overwritten)"
                     : "");
        }
    }
}

static void print_failures(const json_t *failures)
{
    size_t i;
    const json_t *failure;
    json_array_foreach(failures, i, failure)
    {
        if (i == LISTED) {
            printf("and %zu more failures (-o json lists them all)\n",
                   json_array_size(failures) - LISTED);
            break;
        }
        printf("would fail: %s %s %s: %s (%s)\n", text_of(failure, "name"),
               text_of(failure, "record_id"), text_of(failure, "field"),
               text_of(failure, "message"), text_of(failure, "error_code"));
    }
}

static void progress(void *arg, int64_t seen)
{
    (void)arg;
    if (output_is_terminal(2) && seen % 1000 == 0) {
        say("%lld looked at", (long long)seen);
    }
}

static int dry_run(struct cmd *c, const struct connection *conn,
                   const struct mapping_check *check, struct err *err)
{
    struct preview p = {0};
    int rc = preview_mapping(c->app, conn, check->mapping, check->labels, 0, progress, NULL, &p,
                             err);
    if (rc == 0) {
        say("%lld of %lld customers would change; %lld would fail. Nothing was written.",
            (long long)p.changed, (long long)p.seen, (long long)p.failed);
        if (c->form == OUT_TABLE) {
            print_changes(p.changes, LISTED);
            print_failures(p.failures);
        } else {
            json_auto_t *out =
                json_pack("{s:I, s:I, s:I, s:O, s:O}", "customers", (json_int_t)p.seen,
                          "changed", (json_int_t)p.changed, "failed", (json_int_t)p.failed,
                          "changes", p.changes, "failures", p.failures);
            print_json_object(out);
        }
    }
    preview_release(&p);
    return rc;
}

static bool same(const struct mapping *a, const struct mapping *b)
{
    json_auto_t *x = a != NULL ? mapping_to_json(a) : NULL;
    json_auto_t *y = b != NULL ? mapping_to_json(b) : NULL;
    return x != NULL && y != NULL && json_equal(x, y);
}

static int keep(struct cmd *c, const struct connection *conn, const struct mapping *m,
                const json_t *labels, const char *note, struct err *err)
{
    int version = 0;
    if (mapping_store_save(c->app, conn, m, labels, conn->mapping_version, note, &c->actor,
                           &version, err) != 0) {
        return -1;
    }
    if (c->form != OUT_TABLE) {
        printf("{\"version\":%d}\n", version);
    }
    say("Mapping version %d of %s is in force for every record that comes from now on.",
        version, conn->provider->title);
    say("For all records at once: pivotal-sync run-now %s -w %s", conn->provider->name,
        conn->workspace);
    return EXIT_OK;
}

int verb_mapping_apply(struct cmd *c, struct err *err)
{
    CLEANUP(connection_freep) struct connection *conn = NULL;
    struct mapping_check check = {0};
    const char *note = cmd_option(c, "note");
    int rc = check_file(c, &conn, &check, err);
    if (rc == 0) {
        say_findings(&check);
    }
    if (rc == 0 && check.errors > 0) {
        err_set(err, ERR_INVALID, "%d problems: nothing was applied", check.errors);
        rc = -1;
    } else if (rc == 0 && cmd_has(c, "dry-run")) {
        rc = dry_run(c, conn, &check, err);
    } else if (rc == 0 && same(check.mapping, conn->mapping)) {
        say("Version %d is the same already: nothing to do.", conn->mapping_version);
    } else if (rc == 0) {
        rc = keep(c, conn, check.mapping, check.labels, note != NULL ? note : "", err);
    }
    mapping_check_release(&check);
    return rc;
}

int verb_mapping_rollback(struct cmd *c, struct err *err)
{
    int wanted = version_of(c->args[c->arg_count - 1], err), version = 0;
    char note[64];
    struct mapping *m = NULL;
    CLEANUP(connection_freep)
    struct connection *conn =
        wanted > 0 ? mapped_connection(c, c->arg_count > 1 ? c->args[0] : NULL, NULL, err)
                   : NULL;
    if (conn == NULL || mapping_store_load(c->app->store, conn->connection_id, wanted, &m,
                                           &version, err) != 0) {
        return -1;
    }
    snprintf(note, sizeof note, "rolled back to version %d", wanted);
    int rc = EXIT_OK;
    if (same(m, conn->mapping)) {
        say("Version %d is the same as version %d: nothing to do.", conn->mapping_version,
            wanted);
    } else {
        rc = keep(c, conn, m, NULL, note, err);
    }
    mapping_free(m);
    return rc;
}

/* ---- differences ---- */

static void difference(const struct mapping_field *a, const struct mapping_field *b,
                       json_t *list)
{
    const struct mapping_field *one = a != NULL ? a : b;
    if (a != NULL && b != NULL && strcmp(a->source, b->source) == 0 &&
        strcmp(a->type, b->type) == 0 && strcmp(a->convert, b->convert) == 0) {
        return;
    }
    const struct mapping_field none = {0};
    const struct mapping_field *x = a != NULL ? a : &none, *y = b != NULL ? b : &none;
    (void)json_array_append_new(
        list, json_pack("{s:s, s:s, s:{s:s?, s:s?, s:s?}, s:{s:s?, s:s?, s:s?}}", "field",
                        one->field, "change",
                        a == NULL   ? "added"
                        : b == NULL ? "removed"
                                    : "changed",
                        "old", "source", x->source, "type", x->type, "convert", x->convert,
                        "new", "source", y->source, "type", y->type, "convert", y->convert));
}

static json_t *differences(const struct mapping *a, const struct mapping *b)
{
    json_t *list = json_array();
    for (int i = 0; i < a->count; i++) {
        difference(&a->fields[i], mapping_find(b, a->fields[i].field), list);
    }
    for (int i = 0; i < b->count; i++) {
        if (mapping_find(a, b->fields[i].field) == NULL) {
            difference(NULL, &b->fields[i], list);
        }
    }
    return list;
}

static void print_differences(const json_t *list)
{
    size_t i;
    const json_t *d;
    json_array_foreach(list, i, d)
    {
        const json_t *old = json_object_get(d, "old"), *new = json_object_get(d, "new");
        const char *change = text_of(d, "change");
        if (strcmp(change, "added") != 0) {
            printf("- %-16s %s  %s  %s\n", text_of(d, "field"), text_of(old, "source"),
                   text_of(old, "type"), text_of(old, "convert"));
        }
        if (strcmp(change, "removed") != 0) {
            printf("+ %-16s %s  %s  %s\n", text_of(d, "field"), text_of(new, "source"),
                   text_of(new, "type"), text_of(new, "convert"));
        }
    }
}

int verb_mapping_diff(struct cmd *c, struct err *err)
{
    int v1 = version_of(c->args[c->arg_count - 2], err);
    int v2 = v1 > 0 ? version_of(c->args[c->arg_count - 1], err) : -1;
    struct mapping *a = NULL, *b = NULL;
    int version = 0, rc = -1;
    CLEANUP(connection_freep)
    struct connection *conn =
        v2 > 0 ? mapped_connection(c, c->arg_count > 2 ? c->args[0] : NULL, NULL, err) : NULL;
    if (conn != NULL &&
        mapping_store_load(c->app->store, conn->connection_id, v1, &a, &version, err) == 0 &&
        mapping_store_load(c->app->store, conn->connection_id, v2, &b, &version, err) == 0) {
        json_auto_t *list = differences(a, b);
        if (c->form == OUT_TABLE) {
            print_differences(list);
        } else {
            print_json_object(list);
        }
        if (json_array_size(list) == 0) {
            say("Versions %d and %d are the same.", v1, v2);
        }
        rc = EXIT_OK;
    }
    mapping_free(a);
    mapping_free(b);
    return rc;
}
