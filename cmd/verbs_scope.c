/* Verbs about what is mirrored. */
#include "cmd/cmd.h"

#include "core/connect.h"
#include "core/filter.h"
#include "core/mirror.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAMES_SHOWN = 20,
    NAMES_LISTED = 10000,
    PREVIEW_NAMES = 100,
    CONFIRM_WAIT_MS = 24 * 3600 * 1000
};

static int64_t scope_number(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static const char *scope_text(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));
    return text != NULL ? text : "";
}

static int scope_print_json(const json_t *o, bool line)
{
    char *text = json_dumps(o, JSON_COMPACT);
    if (text == NULL) {
        return -1;
    }
    printf(line ? "%s\n" : "[%s]\n", text);
    free(text);
    return 0;
}

static void scope_print_names(const char *what, const json_t *list, int64_t all)
{
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n && i < NAMES_SHOWN; i++) {
        const json_t *one = json_array_get(list, i);
        printf("%s %s %s\n", what, scope_text(one, "record_id"), scope_text(one, "name"));
    }
    int64_t shown = (int64_t)(n < NAMES_SHOWN ? n : NAMES_SHOWN);
    if (all > shown) {
        printf("%s ... and %" PRId64 " more\n", what, all - shown);
    }
}

static const char *scope_id(const struct cmd *c)
{
    return c->arg_count > 2 ? c->args[2] : "";
}

/* The effect of a choice, before it is made. */
static int scope_preview(struct cmd *c, const struct connection *conn, const char *kind,
                         struct err *err)
{
    const char *id = scope_id(c);
    json_t *p = mirror_preview(c->app, conn, kind, id, PREVIEW_NAMES, err);
    if (p == NULL) {
        return -1;
    }
    if (c->form == OUT_JSON || c->form == OUT_JSONL) {
        (void)scope_print_json(p, c->form == OUT_JSONL);
    } else {
        printf("%s %s%s%s: %" PRId64 " would be added, %" PRId64 " kept, %" PRId64
               " archived.\n",
               kind, id, scope_text(p, "name")[0] != '\0' ? " " : "", scope_text(p, "name"),
               scope_number(p, "adds"), scope_number(p, "keeps"), scope_number(p, "archives"));
        scope_print_names("+", json_object_get(p, "add"), scope_number(p, "adds"));
        scope_print_names("-", json_object_get(p, "archive"), scope_number(p, "archives"));
    }
    say("Nothing was changed.");
    json_decref(p);
    return EXIT_OK;
}

int verb_scope_set(struct cmd *c, struct err *err)
{
    const char *kind = c->args[1];
    struct scope_result r;
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn == NULL) {
        return -1;
    }
    if (provider_scope_kind(conn->provider, kind, err) != 0) {
        return -1;
    }
    if ((c->arg_count < 3) != (strcmp(kind, "all") == 0)) {
        err_set(err, ERR_INVALID,
                c->arg_count < 3 ? "which %s? Its id goes behind" : "%s has no id", kind);
        return -1;
    }
    if (cmd_has(c, "dry-run")) {
        return scope_preview(c, conn, kind, err);
    }
    if (connect_scope(c->app, conn, kind, scope_id(c), &c->actor, &r, err) != 0) {
        return -1;
    }
    char count[48] = "";
    if (r.size >= 0) {
        snprintf(count, sizeof count, " (%lld members)", (long long)r.size);
    }
    say("Mirroring %s%s%s%s%s%s.", kind, c->arg_count > 2 ? " " : "", scope_id(c),
        r.name[0] != '\0' ? ": " : "", r.name, count);
    if (r.dropped[0] != '\0') {
        say("Not mapped, because %s has no such property: %s.", conn->provider->title,
            r.dropped);
    }
    if (r.run_id > 0) {
        say("Full sync %lld started. Watch it: pivotal-sync run-now %s --wait",
            (long long)r.run_id, c->args[0]);
    }
    return EXIT_OK;
}

int verb_scope_choices(struct cmd *c, struct err *err)
{
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    json_auto_t *all = conn != NULL ? mirror_choices(c->app, conn, c->args[1],
                                                     c->arg_count > 2 ? c->args[2] : "", err)
                                    : NULL;
    if (all == NULL) {
        return -1;
    }
    return output_json(c, json_object_get(all, "items"),
                       "id name ?processing:TYPE ?#size"
                       " ?changed_at:CHANGED",
                       err);
}

int verb_scope_show(struct cmd *c, struct err *err)
{
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    json_t *o = conn != NULL ? mirror_show(c->app->store, conn, NAMES_LISTED, err) : NULL;
    if (o == NULL) {
        return -1;
    }
    if (c->form == OUT_JSON || c->form == OUT_JSONL) {
        (void)scope_print_json(o, c->form == OUT_JSONL);
        json_decref(o);
        return EXIT_OK;
    }
    int64_t held = scope_number(o, "held_removals");
    const struct object_type *filtered = filter_object(conn->provider);
    const char *kind = scope_text(o, "scope_kind");
    if (filtered != NULL) {
        printf("%s%s%s%s%s: %" PRId64 " %s mirrored here.\n", kind[0] != '\0' ? kind : "all",
               kind[0] != '\0' ? " " : "", scope_text(o, "scope_id"),
               kind[0] != '\0' ? " " : "", scope_text(o, "scope_name"),
               scope_number(o, "mirrored"), filtered->plural);
    } else if (kind[0] == '\0') {
        printf("Nothing is chosen yet: pivotal-sync scope set %s list <id>\n", c->args[0]);
    } else {
        printf("%s %s %s: %" PRId64 " members at %s, %" PRId64 " mirrored here.\n",
               scope_text(o, "scope_kind"), scope_text(o, "scope_id"),
               scope_text(o, "scope_name"), scope_number(o, "scope_size"),
               conn->provider->title, scope_number(o, "mirrored"));
    }
    if (held > 0) {
        printf("%" PRId64 " removals are held back (run %" PRId64
               "). To apply them: pivotal-sync scope confirm-removals %s\n",
               held, scope_number(o, "held_run"), c->args[0]);
        scope_print_names("-", json_object_get(o, "removals"), held);
    }
    json_decref(o);
    return EXIT_OK;
}

int verb_scope_confirm(struct cmd *c, struct err *err)
{
    int64_t run_id = 0;
    int64_t timeout_ms = cmd_timeout_ms(c, CONFIRM_WAIT_MS, err);
    CLEANUP(connection_freep) struct connection *conn = NULL;
    if (timeout_ms < 0 || (conn = cmd_connection(c, c->args[0], err)) == NULL ||
        mirror_confirm(c->app, conn, &c->actor, &run_id, err) != 0) {
        return -1;
    }
    say("Full sync %" PRId64 " started; it archives who is gone.", run_id);
    return cmd_has(c, "wait") ? progress_run(c, run_id, timeout_ms, err) : EXIT_OK;
}
