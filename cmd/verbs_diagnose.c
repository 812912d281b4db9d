/* Verbs by which the software looks for the cause itself: diagnose, why. */
#include "cmd/cmd.h"

#include "core/diagnose.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROBE_WAIT_MS = 15000 };

/* The findings of one connection behind those of others; each says whose it is. */
static void findings_append(json_t *all, const struct findings *f,
                            const struct connection *conn)
{
    size_t i;
    json_t *each;
    json_auto_t *list = findings_to_json(f);
    json_array_foreach(list, i, each)
    {
        (void)json_object_set_new(each, "workspace", json_string(conn->workspace));
        (void)json_object_set_new(each, "provider", json_string(conn->provider->name));
        (void)json_object_set_new(each, "mode", json_string(conn->mode));
        (void)json_object_set_new(each, "connection_id", json_integer(conn->connection_id));
    }
    (void)json_array_extend(all, list);
}

static void findings_print_json(const struct cmd *c, const json_t *all)
{
    size_t i;
    const json_t *each;
    if (c->form != OUT_JSONL) {
        char *text = json_dumps(all, JSON_INDENT(1));
        printf("%s\n", text != NULL ? text : "[]");
        free(text);
        return;
    }
    json_array_foreach(all, i, each)
    {
        print_json_object(each);
    }
}

/* Word and sign, never colour alone. */
static void findings_print(const struct findings *f)
{
    enum { INDENT = 6 };
    static const char *const signs[] = {"ok", "CAUSE", "-"};
    static const char *const colors[] = {"32", "1;31", "2"};
    bool color = output_has_color(STDOUT_FILENO);
    const struct finding *cause = findings_first_cause(f);
    for (int i = 0; i < f->count; i++) {
        printf("%s%s%s%-*s%s%s\n", color ? "\033[" : "",
               color ? colors[f->items[i].verdict] : "", color ? "m" : "", INDENT,
               signs[f->items[i].verdict], color ? "\033[0m" : "", f->items[i].check);
        print_wrapped("", INDENT, f->items[i].text, false);
    }
    if (cause == NULL) {
        printf("\nNothing is wrong.\n");
        return;
    }
    char line[400];
    snprintf(line, sizeof line, "%s%s%s%s", cause->mend,
             cause->code[0] != '\0' ? "  (pivotal-sync explain " : "", cause->code,
             cause->code[0] != '\0' ? ")" : "");
    putchar('\n');
    print_wrapped("", 0, line, false);
    if (cause->command[0] != '\0') {
        printf("  %s\n", cause->command);
    }
}

/* "17" to 17, if there is such a customer. */
static int64_t diagnose_customer_id(struct cmd *c, const char *text, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (text[0] == '\0' || strlen(text) > 18 || strspn(text, "0123456789") != strlen(text)) {
        err_set(err, ERR_INVALID, "'%s' is not a customer: they are numbers", text);
        return -1;
    }
    params_int(p, strtoll(text, NULL, 10));
    params_text(p, cmd_workspace(c));
    if (store_query(c->app->store,
                    "SELECT customer_id FROM psync.customer JOIN psync.workspace w"
                    "   USING (workspace_id) WHERE customer_id = $1"
                    "   AND ($2::text IS NULL OR w.name = $2)",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "there is no customer %s", text);
        return -1;
    }
    return rows_int(r, 0, 0);
}

/* One connection: 0, 6, or -1. */
static int diagnose_one(struct cmd *c, int64_t connection_id, int64_t customer_id,
                        int64_t wait_ms, json_t *all, struct err *err)
{
    CLEANUP(connection_freep)
    struct connection *conn = connection_load(c->app->store, c->app->seal, connection_id, err);
    struct findings *f = conn != NULL ? calloc(1, sizeof *f) : NULL;
    int code = -1;
    if (f == NULL) {
        return -1;
    }
    f->utc = cmd_has(c, "utc");
    if (diagnose_connection(c->app, conn, customer_id, wait_ms, f, err) == 0) {
        code = findings_first_cause(f) != NULL ? EXIT_RECORD_ERRORS : EXIT_OK;
        findings_append(all, f, conn);
        if (c->form == OUT_TABLE) {
            printf("%s%s %s %s\n", json_array_size(all) > (size_t)f->count ? "\n" : "",
                   conn->workspace, conn->provider->name, conn->mode);
            findings_print(f);
        }
    }
    free(f);
    return code;
}

int verb_diagnose(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    CLEANUP(connection_freep) struct connection *named = NULL;
    const char *customer = cmd_option(c, "customer");
    int64_t wait_ms = cmd_timeout_ms(c, PROBE_WAIT_MS, err), customer_id = 0;
    int code = EXIT_OK;
    if (wait_ms < 0 ||
        (c->arg_count > 0 && (named = cmd_connection(c, c->args[0], err)) == NULL) ||
        (customer != NULL && (customer_id = diagnose_customer_id(c, customer, err)) < 0)) {
        return -1;
    }
    params_int(p, named != NULL ? named->connection_id : 0);
    params_text(p, cmd_workspace(c));
    if (store_query(c->app->store,
                    "SELECT connection_id FROM psync.connection JOIN psync.workspace w"
                    "   USING (workspace_id) WHERE ($1::bigint = 0 OR connection_id = $1)"
                    "   AND ($2::text IS NULL OR w.name = $2) ORDER BY connection_id",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND,
                "there is no connection yet: pivotal-sync connection connect");
        return -1;
    }
    json_auto_t *all = json_array();
    for (int i = 0; i < rows_count(r); i++) {
        int found = diagnose_one(c, rows_int(r, i, 0), customer_id, wait_ms, all, err);
        if (found < 0) {
            return -1;
        }
        code = found != EXIT_OK ? found : code;
    }
    if (c->form != OUT_TABLE) {
        findings_print_json(c, all);
    }
    return code;
}

/* A domain: the root records that carry it, as they are known here. */
static char *why_by_domain(struct cmd *c, const struct connection *conn, const char *domain,
                           struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, conn->connection_id);
    params_text(p, domain);
    if (store_query(c->app->store,
                    "SELECT l.record_id FROM psync.record_link l JOIN psync.customer c"
                    "   USING (customer_id) WHERE l.connection_id = $1"
                    "   AND lower(c.fields ->> 'domain') = lower($2) LIMIT 1",
                    p, &r, err) != 0) {
        return NULL;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND,
                "no customer has the domain '%s' here: give the id of the record at %s", domain,
                conn->provider->title);
        return NULL;
    }
    return strdup(rows_text(r, 0, 0));
}

int verb_why(struct cmd *c, struct err *err)
{
    const char *domain = cmd_option(c, "domain");
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn == NULL) {
        return -1;
    }
    if (domain == NULL && c->arg_count < 2) {
        err_set(err, ERR_INVALID, "why wants the id of a record, or --domain");
        return -1;
    }
    const struct object_type *o = conn->provider->objects;
    while (o->name != NULL && (o->flags & OBJECT_ROOT) == 0) {
        o++;
    }
    const char *object = c->arg_count > 2 ? c->args[1] : o->name;
    char *id = domain != NULL ? why_by_domain(c, conn, domain, err)
                              : strdup(c->args[c->arg_count - 1]);
    struct findings *f = calloc(1, sizeof *f);
    int code = -1;
    if (f != NULL) {
        f->utc = cmd_has(c, "utc");
    }
    if (id != NULL && f != NULL && diagnose_record(c->app, conn, object, id, f, err) == 0) {
        json_auto_t *all = json_array();
        findings_append(all, f, conn);
        if (c->form == OUT_TABLE) {
            findings_print(f);
        } else {
            findings_print_json(c, all);
        }
        code = findings_first_cause(f) != NULL ? EXIT_RECORD_ERRORS : EXIT_OK;
    }
    free(f);
    free(id);
    return code;
}
