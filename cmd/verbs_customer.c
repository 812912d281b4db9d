/* Verbs about customers: list, show, links made by hand, resync of one, erasing. */
#include "cmd/cmd.h"

#include "core/customer.h"
#include "core/erase.h"
#include "core/link.h"
#include "core/lookup.h"
#include "core/preview.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SYNC_WAIT_MS = 60 * 1000 };

static int customer_number(const char *text, int64_t *out, struct err *err)
{
    char *end = NULL;
    *out = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || *out < 1) {
        err_set(err, ERR_INVALID, "'%.40s' is not a customer: they are numbers", text);
        return -1;
    }
    return 0;
}

int verb_customer_list(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    const char *archived = cmd_option(c, "archived");
    int64_t limit = cmd_limit(c, 50, err);
    if (limit < 0) {
        return -1;
    }
    if (archived != NULL && strcmp(archived, "yes") != 0 && strcmp(archived, "no") != 0) {
        err_set(err, ERR_INVALID, "--archived is yes or no");
        return -1;
    }
    params_text(p, cmd_workspace(c));
    params_int(p, limit == 0 ? INT64_MAX : limit);
    params_text(p, cmd_option(c, "name"));
    params_text(p, cmd_option(c, "domain"));
    params_text(p, cmd_option(c, "owner"));
    params_text(p, cmd_option(c, "plan"));
    params_text(p, cmd_option(c, "payment-status"));
    params_text(p, archived);
    params_bool(p, cmd_has(c, "without-billing"));
    int64_t after = 0;
    if (cmd_has(c, "after") && customer_number(cmd_option(c, "after"), &after, err) != 0) {
        return -1;
    }
    params_int(p, after);
    return output_query(
        c,
        "SELECT v.* FROM psync_bi.customer v JOIN psync.workspace w USING (workspace_id)"
        " WHERE ($1::text IS NULL OR w.name = $1)"
        "   AND ($3::text IS NULL OR strpos(lower(v.name), lower($3)) > 0)"
        "   AND ($4::text IS NULL OR lower(v.domain) = lower($4))"
        "   AND ($5::text IS NULL OR lower(v.owner) = lower($5))"
        "   AND ($6::text IS NULL OR lower(v.plan) = lower($6))"
        "   AND ($7::text IS NULL OR v.payment_status = $7)"
        "   AND ($8::text IS NULL OR (v.archived_at IS NOT NULL) = ($8 = 'yes'))"
        "   AND (NOT $9::boolean OR NOT EXISTS (SELECT FROM psync.record_link l"
        "     WHERE l.customer_id = v.customer_id AND l.how <> 'source'))"
        "   AND v.customer_id > $10"
        " ORDER BY customer_id LIMIT $2::bigint",
        p,
        "customer_id:ID ~name ~domain ?~owner ?plan ?#arr #mrr mrr_currency:CUR"
        " ?payment_status:PAYMENT ?archived_at:ARCHIVED | workspace_id subscription_status"
        " industry #employee_count:EMPLOYEES archived_why",
        NULL, err);
}

/* ---- show ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* 2026-11-30T20:24:17.505825+00:00, as PostgreSQL has it in JSON, as it is elsewhere. */
static const char *moment(const char *json_time, char out[40])
{
    const char *zone = strlen(json_time) > 19 ? strpbrk(json_time + 19, "+-Z") : NULL;
    int zone_bytes = zone == NULL ? 0 : (int)strlen(zone);
    if (zone_bytes == 6 && strcmp(zone + 3, ":00") == 0) {
        zone_bytes = 3;
    }
    snprintf(out, 40, "%.10s %.8s%.*s", json_time, strlen(json_time) > 19 ? json_time + 11 : "",
             zone_bytes, zone != NULL ? zone : "");
    return out;
}

static void print_field(const json_t *f)
{
    const json_t *value = json_object_get(f, "value");
    char *text = json_is_null(value) ? strdup("-")
                 : json_is_string(value)
                     ? strdup(json_string_value(value))
                     : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    size_t i;
    const json_t *other;
    printf("  %-20s %s%s\n", text_of(f, "field"), text != NULL ? text : "",
           json_is_true(json_object_get(f, "edited_by_hand")) ? "   (edited by hand)" : "");
    free(text);
    if (text_of(f, "provider")[0] != '\0') {
        char line[512], there[40], here[40];
        bool told = text_of(f, "source_updated_at")[0] != '\0';
        snprintf(line, sizeof line, "%s, %s, %s %s, %s%s%swritten here %s%s%s, mapping v%lld",
                 text_of(f, "provider"), text_of(f, "source_property"),
                 text_of(f, "object_type"), text_of(f, "record_id"),
                 told ? "changed there " : "",
                 told ? moment(text_of(f, "source_updated_at"), there) : "", told ? ", " : "",
                 moment(text_of(f, "written_at"), here),
                 text_of(f, "trigger")[0] != '\0' ? " by " : "", text_of(f, "trigger"),
                 (long long)json_integer_value(json_object_get(f, "mapping_version")));
        print_wrapped("", 23, line, false);
    }
    json_array_foreach(json_object_get(f, "also_fed_by"), i, other)
    {
        char *theirs = json_dumps(json_object_get(other, "value"), JSON_ENCODE_ANY);
        const char *text_theirs = text_of(other, "value");
        printf("  %-20s also fed by %s %s %s (%s): %s\n", "", text_of(other, "provider"),
               text_of(other, "object_type"), text_of(other, "record_id"),
               text_of(other, "source_property"),
               text_theirs[0] != '\0' ? text_theirs
               : theirs != NULL       ? theirs
                                      : "-");
        free(theirs);
    }
}

/* "2 x price_1, coupon c": what one subscription is made of. */
static void subscription_parts(const json_t *sub, struct buf *out)
{
    size_t i;
    const json_t *each;
    json_array_foreach(json_object_get(sub, "items"), i, each)
    {
        (void)buf_printf(out, "%s%s x %s", i > 0 ? ", " : ": ", text_of(each, "quantity"),
                         text_of(each, "price"));
    }
    json_array_foreach(json_object_get(sub, "discounts"), i, each)
    {
        const char *coupon = text_of(each, "coupon");
        (void)buf_printf(
            out, ", coupon %s%s%s%s", coupon[0] != '\0' ? coupon : text_of(each, "discount"),
            text_of(each, "left_out")[0] != '\0' ? " (left out: " : "",
            text_of(each, "left_out"), text_of(each, "left_out")[0] != '\0' ? ")" : "");
    }
}

/* What a provider's amounts are made of; what has another form is printed as it is. */
static void print_inputs(const json_t *inputs)
{
    size_t i;
    const json_t *sub;
    const json_t *subs = json_object_get(inputs, "subscriptions");
    struct buf line;
    if (!json_is_array(subs)) {
        char *text = json_dumps(inputs, JSON_COMPACT | JSON_REAL_PRECISION(15));
        print_wrapped("  made from", 12, text != NULL ? text : "", false);
        free(text);
        return;
    }
    if (json_array_size(subs) == 0) {
        printf("  MRR            0: no subscription inside what is mirrored\n");
        return;
    }
    buf_init(&line, 8192);
    json_array_foreach(subs, i, sub)
    {
        buf_clear(&line);
        (void)buf_printf(&line, "%s %s a month in minor units, %s %s",
                         text_of(sub, "monthly")[0] != '\0' ? text_of(sub, "monthly") : "0",
                         text_of(sub, "currency"), text_of(sub, "status"),
                         text_of(sub, "subscription"));
        subscription_parts(sub, &line);
        print_wrapped(i == 0 ? "  MRR" : "", 17, buf_text(&line), false);
    }
    buf_release(&line);
}

static void print_customer(const json_t *customer)
{
    size_t i;
    const json_t *each;
    printf("Customer %lld of %s%s%s\n",
           (long long)json_integer_value(json_object_get(customer, "customer_id")),
           text_of(customer, "workspace"),
           text_of(customer, "archived_at")[0] != '\0' ? ", archived: " : "",
           text_of(customer, "archived_why"));
    json_array_foreach(json_object_get(customer, "fields"), i, each)
    {
        print_field(each);
    }
    json_array_foreach(json_object_get(customer, "links"), i, each)
    {
        const json_t *inputs = json_object_get(each, "inputs");
        printf("%s %s %s, linked by %s%s%s\n", text_of(each, "provider"),
               text_of(each, "object_type"), text_of(each, "record_id"), text_of(each, "how"),
               text_of(each, "linked_by")[0] != '\0' ? " of " : "", text_of(each, "linked_by"));
        if (json_is_object(inputs)) {
            print_inputs(inputs);
        }
    }
}

int verb_customer_show(struct cmd *c, struct err *err)
{
    int64_t id = 0;
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (customer_number(c->args[0], &id, err) != 0) {
        return -1;
    }
    params_int(p, id);
    params_text(p, cmd_workspace(c));
    if (output_lookup(c, customer_statement(), p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "there is no customer %lld", (long long)id);
        return -1;
    }
    if (c->form != OUT_TABLE) {
        printf("%s\n", rows_text(r, 0, 0));
        return EXIT_OK;
    }
    json_auto_t *customer = json_loads(rows_text(r, 0, 0), 0, NULL);
    print_customer(customer);
    return EXIT_OK;
}

/* ---- links ---- */

/* The type before the record may be left out: then it is the one that customers derive from. */
static const struct object_type *type_of(const struct connection *conn, const char *name,
                                         struct err *err)
{
    const struct object_type *o =
        name != NULL ? provider_object(conn->provider, name) : conn->provider->objects;
    while (name == NULL && o->name != NULL && (o->flags & OBJECT_ROOT) == 0) {
        o++;
    }
    if (o == NULL || o->name == NULL) {
        err_set(err, ERR_INVALID, "%s has no records of type '%s'", conn->provider->title,
                name != NULL ? name : "");
        return NULL;
    }
    return o;
}

/* Have it synced; with --wait until it is. */
static int sync_record(struct cmd *c, const struct connection *conn,
                       const struct object_type *o, const char *record_id, struct err *err)
{
    int64_t after = 0;
    struct action_outcome end;
    if (action_resync(c->app, conn, o->name, record_id, "person", &c->actor, &after, err) !=
        0) {
        return -1;
    }
    if (!cmd_has(c, "wait")) {
        return EXIT_OK;
    }
    int64_t timeout_ms = cmd_timeout_ms(c, SYNC_WAIT_MS, err);
    if (timeout_ms < 0 ||
        action_wait(c->app, conn, o->name, record_id, after, timeout_ms, &end, err) != 0) {
        return -1;
    }
    if (end.code[0] != '\0') {
        say("%s %s: %s%s%s", o->name, record_id, end.title, end.message[0] != '\0' ? ": " : "",
            end.message);
    }
    return strcmp(end.status, "succeeded") == 0 ? EXIT_OK : EXIT_RECORD_ERRORS;
}

static void say_was(const struct link_result *r, int64_t now)
{
    if (r->was_customer_id != 0 && r->was_customer_id != now) {
        say(r->was_archived ? "Customer %lld, which was made of it, is archived."
                            : "Customer %lld has it no more.",
            (long long)r->was_customer_id);
    }
}

int verb_link_add(struct cmd *c, struct err *err)
{
    struct link_result r;
    int64_t customer = 0;
    const char *id = c->args[c->arg_count - 2];
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    const struct object_type *o =
        conn != NULL ? type_of(conn, c->arg_count > 3 ? c->args[1] : NULL, err) : NULL;
    if (o == NULL || customer_number(c->args[c->arg_count - 1], &customer, err) != 0 ||
        link_add(c->app, conn, o, id, customer, &c->actor, &r, err) != 0) {
        return -1;
    }
    say("%s %s %s belongs to customer %lld, whatever matches.", conn->provider->title, o->name,
        id, (long long)customer);
    say_was(&r, customer);
    if (r.displaced[0] != '\0') {
        int64_t after = 0;
        say("%s %s is matched anew.", o->name, r.displaced);
        if (action_resync(c->app, conn, o->name, r.displaced, "person", &c->actor, &after,
                          err) != 0) {
            return -1;
        }
    }
    return sync_record(c, conn, o, id, err);
}

int verb_link_remove(struct cmd *c, struct err *err)
{
    struct link_result r;
    const char *id = c->args[c->arg_count - 1];
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    const struct object_type *o =
        conn != NULL ? type_of(conn, c->arg_count > 2 ? c->args[1] : NULL, err) : NULL;
    if (o == NULL || link_remove(c->app, conn, o, id, &c->actor, &r, err) != 0) {
        return -1;
    }
    say("%s %s is matched anew.", o->name, id);
    say_was(&r, 0);
    return sync_record(c, conn, o, id, err);
}

int verb_link_list(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(connection_freep) struct connection *conn = NULL;
    int64_t limit = cmd_list_start(c, &conn, err);
    if (limit < 0) {
        return -1;
    }
    params_int(p, conn != NULL ? conn->connection_id : 0);
    params_text(p, cmd_workspace(c));
    params_int(p, limit);
    params_text(p, cmd_option(c, "how"));
    return output_query(
        c,
        "SELECT n.provider, n.mode, l.connection_id, l.object_type, l.record_id, l.customer_id,"
        " c.fields ->> 'name' AS name, l.how, l.linked_by, l.linked_at, l.mapping_version"
        " FROM psync.record_link l JOIN psync.connection n USING (connection_id)"
        " JOIN psync.workspace w USING (workspace_id)"
        " JOIN psync.customer c ON c.customer_id = l.customer_id"
        " WHERE ($1::bigint = 0 OR l.connection_id = $1) AND ($2::text IS NULL OR w.name = $2)"
        "   AND ($4::text IS NULL OR l.how = $4)"
        " ORDER BY l.linked_at DESC LIMIT $3::bigint",
        p,
        "provider ?object_type:TYPE record_id:RECORD customer_id:CUSTOMER ~name how"
        " ?linked_by:BY ?linked_at:SINCE | mode connection_id mapping_version",
        NULL, err);
}

/* ---- resync with a preview, or of a customer ---- */

static int preview_one(struct cmd *c, const struct connection *conn,
                       const struct object_type *o, const char *id, struct err *err)
{
    struct preview p = {0};
    int rc = preview_record(c->app, conn, o, id, &p, err);
    if (rc == 0) {
        const json_t *failure = json_array_get(p.failures, 0);
        if (p.changed == 0) {
            say("Already the same as in %s.", conn->provider->title);
        } else {
            say("A resync of %s %s would change:", o->name, id);
        }
        if (failure != NULL) {
            say("It would end with %s: %s", text_of(failure, "error_code"),
                text_of(failure, "message"));
        }
        if (c->form == OUT_TABLE) {
            print_changes(p.changes, 1);
        } else {
            json_auto_t *out = json_pack("{s:s, s:s, s:I, s:O, s:O}", "object_type", o->name,
                                         "record_id", id, "changed", (json_int_t)p.changed,
                                         "changes", p.changes, "failures", p.failures);
            print_json_object(out);
        }
        rc = p.failed > 0 ? EXIT_RECORD_ERRORS : EXIT_OK;
    }
    preview_release(&p);
    return rc;
}

int verb_resync_preview(struct cmd *c, const struct connection *conn,
                        const struct object_type *object, const char *record_id,
                        struct err *err)
{
    return preview_one(c, conn, object, record_id, err);
}

int verb_resync_customer(struct cmd *c, struct connection *conn, struct err *err)
{
    int64_t customer = 0;
    int code = EXIT_OK;
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (customer_number(cmd_option(c, "customer"), &customer, err) != 0) {
        return -1;
    }
    params_int(p, customer);
    params_int(p, conn->connection_id);
    if (store_query(c->app->store,
                    "SELECT object_type, record_id FROM psync.record_link"
                    " WHERE customer_id = $1 AND connection_id = $2 ORDER BY 1, 2",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "customer %lld is linked to no record of %s",
                (long long)customer, conn->provider->title);
        return -1;
    }
    for (int i = 0; i < rows_count(r); i++) {
        const struct object_type *o = provider_object(conn->provider, rows_text(r, i, 0));
        const char *id = rows_text(r, i, 1);
        int one = o == NULL               ? EXIT_OK
                  : cmd_has(c, "dry-run") ? preview_one(c, conn, o, id, err)
                                          : sync_record(c, conn, o, id, err);
        if (one < 0) {
            return -1;
        }
        code = one != EXIT_OK ? one : code;
        if (o != NULL && !cmd_has(c, "dry-run")) {
            say("%s %s of %s is %s.", o->name, id, conn->provider->title,
                cmd_has(c, "wait") ? "pulled" : "queued");
        }
    }
    return code;
}

/* ---- forgetting ---- */

int verb_erase(struct cmd *c, struct err *err)
{
    const char *reason = cmd_option(c, "reason");
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    const struct object_type *o = conn != NULL ? type_of(conn, c->args[1], err) : NULL;
    if (o == NULL || erase_record(c->app, conn, o, c->args[2],
                                  reason != NULL ? reason : "by hand", &c->actor, err) != 0) {
        return -1;
    }
    say("Erased: what %s %s said, the answers of its attempts, the values it gave and where "
        "they "
        "came from. Its id and the time stay in the audit trail.",
        o->name, c->args[2]);
    say("If %s still has it, the next sync mirrors it again: delete it there first.",
        conn->provider->title);
    return EXIT_OK;
}

int verb_workspace_delete(struct cmd *c, struct err *err)
{
    struct workspace_ref w;
    if (lookup_workspace(c->app->store, c->args[0], &w, err) != 0) {
        return -1;
    }
    if (!cmd_confirm_word(
            c, w.name,
            "This deletes workspace '%s' with its connections, customers, records and log.",
            w.name)) {
        err_set(err, ERR_INVALID,
                "this deletes workspace '%s' with its connections, customers, records and log; "
                "repeat with --yes, or --confirm %s",
                w.name, w.name);
        return -1;
    }
    if (erase_workspace(c->app, w.workspace_id, w.name, &c->actor, err) != 0) {
        return -1;
    }
    say("Workspace '%s' is deleted. The audit trail is kept.", w.name);
    return EXIT_OK;
}
