/* What an admin may do: connect and disconnect, map, choose what is mirrored, repair webhooks,
 * link by hand, settings of a workspace. */
#include "admin/admin.h"
#include "admin/api.h"

#include "common/buf.h"
#include "core/choose.h"
#include "core/connect.h"
#include "core/link.h"
#include "core/mapping_store.h"
#include "core/mirror.h"
#include "core/oauth.h"
#include "core/preview.h"
#include "core/webhook.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_SHOWN = 100, LOCATION_MAX_BYTES = 8192, CHANGES_SHOWN = 50 };

static const char *required(struct api_call *c, const char *name)
{
    const char *text = api_body_text(c, name);
    if (text == NULL || text[0] == '\0') {
        char why[96];
        (void)snprintf(why, sizeof why, "The body has to hold %s.", name);
        api_problem(c, 400, "invalid", why);
        return NULL;
    }
    return text;
}

/* ---- connecting ---- */

static void setup_connect(struct api_call *c)
{
    struct connect_result r;
    struct err err = {0};
    const char *provider = required(c, "provider");
    const char *token = provider != NULL ? required(c, "token") : NULL;
    if (token == NULL) {
        return;
    }
    struct connect_request q = {.workspace = api_body_text(c, "workspace"),
                                .provider = provider,
                                .token = token,
                                .account = api_body_text(c, "account"),
                                .webhook_secret = api_body_text(c, "webhook_secret")};
    if (connect_token(c->app, &q, &c->actor, &r, &err) != 0) {
        api_problem_err(c, &err);
        return;
    }
    api_answer_json(c, 200,
                    json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:b}", "connection_id",
                              (json_int_t)r.connection_id, "account", r.account, "account_name",
                              r.name, "mode", r.mode, "run_id", (json_int_t)r.run_id,
                              "released", (json_int_t)r.released, "existed", r.existed));
}

/* The provider's page on which a person agrees. The walk comes back to the page that began it.
 */
static void setup_authorize(struct api_call *c)
{
    struct err err = {0};
    struct buf location;
    char browser[SIGN_NONCE_BYTES];
    const char *provider = required(c, "provider");
    if (provider == NULL) {
        return;
    }
    buf_init(&location, LOCATION_MAX_BYTES);
    if (oauth_begin(c->app, provider, api_body_text(c, "workspace"), api_body_text(c, "mode"),
                    &c->actor, &location, browser, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        oauth_pages_keep(c->app->config, c->x, browser, true);
        api_answer_json(c, 200, json_pack("{s:s}", "location", buf_text(&location)));
    }
    explicit_bzero(browser, sizeof browser);
    buf_wipe(&location);
}

static void setup_disconnect(struct api_call *c)
{
    struct err err = {0};
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    if (connect_disconnect(c->app, conn, &c->actor, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, json_pack("{s:s}", "state", "disconnected"));
    }
}

/* ---- mapping ---- */

static void mapping_get(struct api_call *c)
{
    struct err err = {0};
    struct mapping *m = NULL;
    int version = 0;
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    int64_t wanted = conn != NULL ? api_query_int(c, "version", 0) : 0;
    if (conn == NULL) {
        return;
    }
    if (wanted < 0 || wanted > 1000000) {
        api_problem(c, 400, "invalid", "A version is a number.");
    } else if (mapping_store_load(c->app->store, conn->connection_id, (int)wanted, &m, &version,
                                  &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200,
                        json_pack("{s:i, s:s, s:o}", "version", version, "provider",
                                  conn->provider->name, "fields", mapping_to_json(m)));
    }
    mapping_free(m);
}

static void mapping_versions(struct api_call *c)
{
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    CLEANUP(params_freep) struct params *p = params_new();
    if (conn != NULL) {
        params_int(p, conn->connection_id);
        api_answer_query(
            c,
            "SELECT json_build_object('items', coalesce(json_agg(v ORDER BY version"
            " DESC), '[]'), 'next', null)::text FROM (SELECT version, fields, note,"
            " created_by, created_at FROM psync.mapping WHERE connection_id = $1"
            " ORDER BY version DESC LIMIT 50) v",
            p, "");
    }
}

/* How many in a hundred of the records here have a value: property -> share, of at most 1,000.
 * NULL when nobody can say. */
static json_t *filled(struct api_call *c, const struct connection *conn)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct err err = {0};
    const struct object_type *o = conn->provider->objects;
    while (o->name != NULL && (o->flags & OBJECT_ROOT) == 0) {
        o++;
    }
    params_int(p, conn->connection_id);
    params_text(p, o->name);
    if (store_query(
            c->app->store,
            "WITH r AS (SELECT raw -> 'properties' AS p FROM psync.record WHERE connection_id ="
            "   $1 AND object_type = $2 AND deleted_at IS NULL LIMIT 1000)"
            " SELECT coalesce(json_object_agg(key, share), '{}')::text FROM (SELECT key,"
            "   round(100.0 * count(*) FILTER (WHERE coalesce(value, '') <> '')"
            "     / (SELECT count(*) FROM r))::int AS share"
            "   FROM r, jsonb_each_text(p) GROUP BY key) v",
            p, &r, &err) != 0) {
        return NULL;
    }
    return json_loads(rows_text(r, 0, 0), 0, NULL);
}

static void mapping_schema(struct api_call *c)
{
    struct err err = {0};
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    json_t *facts = connect_ask(c->app, conn, &(struct ask){.kind = ASK_SCHEMA}, &err);
    if (facts == NULL) {
        api_problem_err(c, &err);
        return;
    }
    json_t *properties = json_incref(json_object_get(facts, "properties"));
    json_decref(facts);
    json_auto_t *shares = filled(c, conn);
    size_t i;
    json_t *property;
    json_array_foreach(properties, i, property)
    {
        const char *type = json_string_value(json_object_get(property, "type"));
        const char *name = json_string_value(json_object_get(property, "name"));
        json_t *share = json_object_get(shares, name != NULL ? name : "");
        (void)json_object_set_new(property, "fits",
                                  mapping_store_fits(type != NULL ? type : ""));
        (void)json_object_set(property, "filled", share != NULL ? share : json_null());
    }
    api_answer_json(c, 200,
                    json_pack("{s:o, s:n}", "items",
                              properties != NULL ? properties : json_array(), "next"));
}

/* The lines of the body, checked against the provider's schema. NULL when it was answered. */
static struct connection *check_body(struct api_call *c, struct mapping_check *check)
{
    struct err err = {0};
    json_t *fields = json_object_get(c->body, "fields");
    char *text = json_is_array(fields) ? json_dumps(fields, JSON_COMPACT) : NULL;
    struct connection *conn = NULL;
    if (text == NULL) {
        api_problem(c, 400, "invalid", "The body has to hold fields, an array of lines.");
        return NULL;
    }
    conn = api_connection(c);
    if (conn != NULL && mapping_store_check(c->app, conn, text, check, &err) != 0) {
        api_problem_err(c, &err);
        connection_free(conn);
        conn = NULL;
    }
    free(text);
    return conn;
}

static void say_problems(struct api_call *c, const struct mapping_check *check)
{
    api_answer_json(c, 200,
                    json_pack("{s:b, s:o}", "valid", check->errors == 0, "problems",
                              mapping_check_json(check)));
}

static json_t *first_of(json_t *list, size_t most)
{
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(list) && i < most; i++) {
        (void)json_array_append(out, json_array_get(list, i));
    }
    return out;
}

/* The fields of a customer as they are, for a preview beside them; NULL when it was answered.
 */
static json_t *fields_now(struct api_call *c, int64_t customer_id)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct err err = {0};
    params_int(p, customer_id);
    if (store_query(c->app->store,
                    "SELECT fields::text FROM psync.customer WHERE customer_id = $1", p, &r,
                    &err) != 0) {
        api_problem_err(c, &err);
        return NULL;
    }
    json_t *now = rows_count(r) > 0 ? json_loads(rows_text(r, 0, 0), 0, NULL) : NULL;
    if (now == NULL) {
        api_problem(c, 404, "not_found", "There is no such customer.");
    }
    return now;
}

/* What every customer would become, or the one that the body names. Nothing is written. */
static void mapping_preview(struct api_call *c)
{
    struct mapping_check check = {0};
    struct preview p = {0};
    struct err err = {0};
    int64_t customer = json_integer_value(json_object_get(c->body, "customer_id"));
    json_t *now = NULL;
    CLEANUP(connection_freep) struct connection *conn = check_body(c, &check);
    if (conn != NULL && check.errors > 0) {
        say_problems(c, &check);
    } else if (conn == NULL || (customer != 0 && (now = fields_now(c, customer)) == NULL)) {
        assert(c->x == NULL); /* it was answered */
    } else if (preview_mapping(c->app, conn, check.mapping, check.labels, customer, NULL, NULL,
                               &p, &err) != 0) {
        api_problem_err(c, &err);
    } else if (customer != 0 && p.seen == 0) {
        api_problem(c, 404, "not_linked", "No record of this connection feeds this customer.");
    } else {
        api_answer_json(c, 200,
                        json_pack("{s:b, s:o, s:I, s:I, s:I, s:o, s:o, s:O?}", "valid", 1,
                                  "problems", mapping_check_json(&check), "customers",
                                  (json_int_t)p.seen, "changed", (json_int_t)p.changed,
                                  "failed", (json_int_t)p.failed, "changes",
                                  first_of(p.changes, CHANGES_SHOWN), "failures",
                                  first_of(p.failures, CHANGES_SHOWN), "now", now));
    }
    json_decref(now);
    preview_release(&p);
    mapping_check_release(&check);
}

static void mapping_check_only(struct api_call *c)
{
    struct mapping_check check = {0};
    CLEANUP(connection_freep) struct connection *conn = check_body(c, &check);
    if (conn != NULL) {
        say_problems(c, &check);
    }
    mapping_check_release(&check);
}

static void mapping_save(struct api_call *c)
{
    struct mapping_check check = {0};
    struct err err = {0};
    const char *note = api_body_text(c, "note");
    json_int_t based_on = json_integer_value(json_object_get(c->body, "based_on"));
    int version = 0;
    CLEANUP(connection_freep) struct connection *conn = check_body(c, &check);
    if (conn != NULL && check.errors > 0) {
        say_problems(c, &check);
    } else if (conn != NULL &&
               mapping_store_save(c->app, conn, check.mapping, check.labels, (int)based_on,
                                  note != NULL ? note : "", &c->actor, &version, &err) != 0) {
        api_problem_err(c, &err);
    } else if (conn != NULL) {
        api_answer_json(c, 201,
                        json_pack("{s:b, s:i, s:o}", "valid", 1, "version", version, "problems",
                                  mapping_check_json(&check)));
    }
    mapping_check_release(&check);
}

static void mapping_rollback(struct api_call *c)
{
    struct err err = {0};
    struct mapping *m = NULL;
    int version = 0;
    char note[64];
    json_int_t wanted = json_integer_value(json_object_get(c->body, "version"));
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    (void)snprintf(note, sizeof note, "rolled back to version %lld", (long long)wanted);
    if (wanted < 1 || wanted > 1000000) {
        api_problem(c, 400, "invalid", "The body has to hold version, a number.");
    } else if (mapping_store_load(c->app->store, conn->connection_id, (int)wanted, &m, &version,
                                  &err) != 0 ||
               mapping_store_save(c->app, conn, m, NULL, conn->mapping_version, note, &c->actor,
                                  &version, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(
            c, 201, json_pack("{s:b, s:i, s:[]}", "valid", 1, "version", version, "problems"));
    }
    mapping_free(m);
}

/* ---- what is mirrored ---- */

static void scope_get(struct api_call *c)
{
    struct err err = {0};
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    json_t *o = mirror_show(c->app->store, conn, NAMES_SHOWN, &err);
    if (o == NULL) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, o);
    }
}

/* Which one: "all" needs none. NULL: answered. */
static const char *scope_id(struct api_call *c, const char *kind)
{
    return strcmp(kind, "all") == 0 ? "" : required(c, "id");
}

static void scope_choices(struct api_call *c)
{
    struct err err = {0};
    char kind[API_TEXT_MAX_BYTES], text[API_TEXT_MAX_BYTES];
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    json_t *o =
        mirror_choices(c->app, conn, api_query(c, "kind", kind), api_query(c, "q", text), &err);
    if (o == NULL) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, o);
    }
}

static void scope_preview(struct api_call *c)
{
    struct err err = {0};
    const char *kind = required(c, "kind"), *id = kind != NULL ? scope_id(c, kind) : NULL;
    CLEANUP(connection_freep) struct connection *conn = id != NULL ? api_connection(c) : NULL;
    if (conn == NULL) {
        return;
    }
    json_t *o = mirror_preview(c->app, conn, kind, id, NAMES_SHOWN, &err);
    if (o == NULL) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, o);
    }
}

static void scope_set(struct api_call *c)
{
    struct err err = {0};
    struct scope_result r;
    const char *kind = required(c, "kind"), *id = kind != NULL ? scope_id(c, kind) : NULL;
    CLEANUP(connection_freep) struct connection *conn = id != NULL ? api_connection(c) : NULL;
    if (conn == NULL) {
        return;
    }
    if (connect_scope(c->app, conn, kind, id, &c->actor, &r, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200,
                        json_pack("{s:s, s:I, s:I, s:s}", "name", r.name, "size",
                                  (json_int_t)r.size, "run_id", (json_int_t)r.run_id, "dropped",
                                  r.dropped));
    }
}

static void scope_confirm(struct api_call *c)
{
    struct err err = {0};
    int64_t run_id = 0;
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    if (mirror_confirm(c->app, conn, &c->actor, &run_id, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 202, json_pack("{s:I}", "run_id", (json_int_t)run_id));
    }
}

/* ---- webhooks ---- */

static json_t *webhook_json(const struct webhook_state *w)
{
    return json_pack("{s:b, s:s, s:s, s:b, s:b, s:s, s:b, s:b, s:s, s:s}", "supported",
                     w->supported, "url", w->url, "id", w->id, "found", w->found, "enabled",
                     w->enabled, "api_version", w->api_version, "events_ok", w->events_ok,
                     "secret_known", w->secret_known, "missing", w->missing, "problem",
                     w->problem);
}

static void webhook_get(struct api_call *c)
{
    struct err err = {0};
    struct webhook_state w = {0};
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    if (webhook_status(c->app, conn, &w, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, webhook_json(&w));
    }
}

static void webhook_mend(struct api_call *c)
{
    struct err err = {0};
    struct webhook_state w = {0};
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    if (webhook_repair(c->app, conn, api_body_true(c, "anew"), &c->actor, &w, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, webhook_json(&w));
    }
}

/* Another secret; the one until now stays good for what is on its way. Without a secret in the
 * body the provider makes a new endpoint. */
static void webhook_turn(struct api_call *c)
{
    struct err err = {0};
    struct webhook_state w = {0};
    const char *secret = api_body_text(c, "secret");
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    if (webhook_rotate(c->app, conn, secret != NULL && secret[0] != '\0' ? secret : NULL,
                       &c->actor, &w, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, webhook_json(&w));
    }
}

/* A delivery of our own, over the way that the provider's take. */
static void webhook_try(struct api_call *c)
{
    struct err err = {0};
    struct webhook_test t = {0};
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    if (webhook_test(c->app, conn, &t, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200,
                        json_pack("{s:s, s:i, s:I, s:s}", "url", t.url, "status", t.status,
                                  "took_ms", (json_int_t)t.took_ms, "problem", t.problem));
    }
}

/* ---- links by hand ---- */

static void link_answer(struct api_call *c, const struct connection *conn,
                        const struct object_type *o, const char *record_id,
                        const struct link_result *r)
{
    struct err err = {0};
    int64_t after = 0;
    if ((r->displaced[0] != '\0' && action_resync(c->app, conn, o->name, r->displaced, "person",
                                                  &c->actor, &after, &err) != 0) ||
        action_resync(c->app, conn, o->name, record_id, "person", &c->actor, &after, &err) !=
            0) {
        api_problem_err(c, &err);
        return;
    }
    api_answer_json(c, 200,
                    json_pack("{s:I, s:b, s:s}", "was_customer_id",
                              (json_int_t)r->was_customer_id, "was_archived", r->was_archived,
                              "displaced", r->displaced));
}

static void link_make(struct api_call *c)
{
    struct err err = {0};
    struct link_result r;
    const char *type = required(c, "object_type");
    const char *id = type != NULL ? required(c, "record_id") : NULL;
    CLEANUP(connection_freep) struct connection *conn = id != NULL ? api_connection(c) : NULL;
    const struct object_type *o = conn != NULL ? provider_object(conn->provider, type) : NULL;
    if (conn == NULL) {
        return;
    }
    int64_t customer = json_integer_value(json_object_get(c->body, "customer_id"));
    if (o == NULL) {
        api_problem(c, 400, "invalid", "The provider has no records of that type.");
    } else if (link_add(c->app, conn, o, id, customer, &c->actor, &r, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        link_answer(c, conn, o, id, &r);
    }
}

static void link_take(struct api_call *c)
{
    struct err err = {0};
    struct link_result r;
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    const struct object_type *o = provider_object(conn->provider, http_exchange_hole(c->x, 1));
    const char *id = http_exchange_hole(c->x, 2);
    if (o == NULL) {
        api_problem(c, 404, "not_found", "The provider has no records of that type.");
    } else if (link_remove(c->app, conn, o, id, &c->actor, &r, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        link_answer(c, conn, o, id, &r);
    }
}

/* ---- a workspace ---- */

static void workspace_set(struct api_call *c)
{
    struct err err = {0};
    int64_t customers = 0;
    struct workspace_change change = {
        .tz = api_body_text(c, "tz"),
        .business_hours = api_body_text(c, "business_hours"),
        .nightly_at = api_body_text(c, "nightly_at"),
        .match_personal_emails = api_body_text(c, "match_personal_emails"),
        .billing_signal_only = api_body_text(c, "billing_signal_only"),
    };
    if (choose_workspace(c->app, http_exchange_hole(c->x, 0), &change, &c->actor, &customers,
                         &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, json_pack("{s:I}", "customers", (json_int_t)customers));
    }
}

#define CONNECTION "/api/v1/connections/{connection}"

const struct api_route api_setup_routes[] = {
    {"POST", "/api/v1/connections", ACCESS_ADMIN, setup_connect},
    {"POST", "/api/v1/connections/authorize", ACCESS_ADMIN, setup_authorize},
    {"POST", CONNECTION "/disconnect", ACCESS_ADMIN, setup_disconnect},
    {"GET", CONNECTION "/schema", ACCESS_VIEWER, mapping_schema},
    {"GET", CONNECTION "/mapping", ACCESS_VIEWER, mapping_get},
    {"POST", CONNECTION "/mapping", ACCESS_ADMIN, mapping_save},
    {"GET", CONNECTION "/mapping/versions", ACCESS_VIEWER, mapping_versions},
    {"POST", CONNECTION "/mapping/check", ACCESS_ADMIN, mapping_check_only},
    {"POST", CONNECTION "/mapping/preview", ACCESS_ADMIN, mapping_preview},
    {"POST", CONNECTION "/mapping/rollback", ACCESS_ADMIN, mapping_rollback},
    {"GET", CONNECTION "/scope", ACCESS_VIEWER, scope_get},
    {"GET", CONNECTION "/scope/choices", ACCESS_VIEWER, scope_choices},
    {"POST", CONNECTION "/scope", ACCESS_ADMIN, scope_set},
    {"POST", CONNECTION "/scope/preview", ACCESS_ADMIN, scope_preview},
    {"POST", CONNECTION "/scope/confirm-removals", ACCESS_ADMIN, scope_confirm},
    {"GET", CONNECTION "/webhook-endpoint", ACCESS_VIEWER, webhook_get},
    {"POST", CONNECTION "/webhook-endpoint/repair", ACCESS_ADMIN, webhook_mend},
    {"POST", CONNECTION "/webhook-endpoint/rotate-secret", ACCESS_ADMIN, webhook_turn},
    {"POST", CONNECTION "/webhook-endpoint/test", ACCESS_OPERATOR, webhook_try},
    {"POST", CONNECTION "/links", ACCESS_ADMIN, link_make},
    {"DELETE", CONNECTION "/links/{object_type}/{record}", ACCESS_ADMIN, link_take},
    {"POST", "/api/v1/workspaces/{workspace}/settings", ACCESS_ADMIN, workspace_set},
    {0}};
