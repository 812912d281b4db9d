/* Verbs by which the software looks for the cause itself: diagnose, why. */
#include "cmd/cmd.h"

#include "core/diagnose.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROBE_WAIT_MS = 15000 };

/* Word and sign, never colour alone. */
static int findings_print(const struct cmd *c, const struct findings *f)
{
    enum { INDENT = 6 };
    static const char *const signs[] = {"ok", "CAUSE", "-"};
    static const char *const colors[] = {"32", "1;31", "2"};
    bool color = output_has_color(STDOUT_FILENO);
    const struct finding *cause = findings_first_cause(f);
    if (c->form == OUT_JSON) {
        json_auto_t *list = findings_to_json(f);
        char *text = json_dumps(list, JSON_INDENT(1));
        printf("%s\n", text != NULL ? text : "[]");
        free(text);
        return cause != NULL ? EXIT_RECORD_ERRORS : EXIT_OK;
    }
    for (int i = 0; i < f->count; i++) {
        printf("%s%s%s%-*s%s%s\n", color ? "\033[" : "",
               color ? colors[f->items[i].verdict] : "", color ? "m" : "", INDENT,
               signs[f->items[i].verdict], color ? "\033[0m" : "", f->items[i].check);
        print_wrapped("", INDENT, f->items[i].text, false);
    }
    if (cause == NULL) {
        printf("\nNothing is wrong.\n");
        return EXIT_OK;
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
    return EXIT_RECORD_ERRORS;
}

int verb_diagnose(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    CLEANUP(connection_freep) struct connection *named = NULL;
    const char *customer = cmd_option(c, "customer");
    int64_t wait_ms = cmd_timeout_ms(c, PROBE_WAIT_MS, err);
    int code = EXIT_OK;
    if (wait_ms < 0 ||
        (c->arg_count > 0 && (named = cmd_connection(c, c->args[0], err)) == NULL)) {
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
    for (int i = 0; i < rows_count(r); i++) {
        struct findings *f = calloc(1, sizeof *f);
        CLEANUP(connection_freep)
        struct connection *conn =
            connection_load(c->app->store, c->app->seal, rows_int(r, i, 0), err);
        int rc = f != NULL && conn != NULL
                     ? diagnose_connection(c->app, conn,
                                           customer != NULL ? strtoll(customer, NULL, 10) : 0,
                                           wait_ms, f, err)
                     : -1;
        if (rc == 0) {
            if (c->form == OUT_TABLE) {
                printf("%s%s %s %s\n", i > 0 ? "\n" : "", conn->workspace, conn->provider->name,
                       conn->mode);
            }
            int found = findings_print(c, f);
            code = found != EXIT_OK ? found : code;
        }
        free(f);
        if (rc != 0) {
            return -1;
        }
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
    if (id != NULL && f != NULL && diagnose_record(c->app, conn, object, id, f, err) == 0) {
        code = findings_print(c, f);
    }
    free(f);
    free(id);
    return code;
}
