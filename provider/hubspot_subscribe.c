/* Subscriptions of our app, for apps that have the API for it: they belong to the app and not
 * to an account, and want its developer key. Repairing only adds and switches on: what another
 * connection, or somebody else, needs of the app stays. */
#include "provider/hubspot_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONCURRENT = 10 };

/* What was found and is still to be mended. */
struct hs_hooks {
    bool found, address_ok;
    char address[512];
    json_t *off;     /* inputs of a batch update: those that exist and are not active */
    json_t *missing; /* bodies of those to be made */
    size_t made;
};

void hubspot_hooks_free(struct hs_hooks *h)
{
    if (h == NULL)
        return;
    json_decref(h->off);
    json_decref(h->missing);
    free(h);
}

static struct hs_hooks *hooks_of(struct hs_state *d)
{
    if (d->hooks == NULL) {
        d->hooks = calloc(1, sizeof *d->hooks);
        if (d->hooks != NULL) {
            d->hooks->off = json_array();
            d->hooks->missing = json_array();
        }
    }
    return d->hooks;
}

/* ---- calls ---- */

/* Dated since 2026-03, under another name since 2026-09. */
static void app_path(struct http_request *q, const struct provider_conn *c, const char *tail)
{
    bool dated = c->api_version[0] >= '0' && c->api_version[0] <= '9';
    bool renamed = dated && strcmp(c->api_version, "2026-09") >= 0;
    (void)url_set(q, c->api_base, renamed ? "/app-webhooks" : "/webhooks");
    (void)url_segment(q, dated ? c->api_version : "v3");
    (void)url_segment(q, c->app_id);
    (void)buf_add_str(&q->url, tail);
    (void)url_query(q, "hapikey", c->developer_key); /* taken out wherever an URL is kept */
}

static enum plan_result call(struct hs_state *d, struct ask_state *s, struct http_request *q,
                             enum hs_call which, const char *method, const char *endpoint,
                             struct err *err)
{
    if (http_request_header(q, "Accept", "application/json") < 0 ||
        (q->body.len_bytes > 0 &&
         http_request_header(q, "Content-Type", "application/json") < 0)) {
        err_set(err, ERR_INTERNAL, "cannot add a header");
        return PLAN_ERROR;
    }
    d->call = which;
    d->endpoint = endpoint;
    return plan_call(s, q, method, endpoint, "oauth", err);
}

static int body_of(struct http_request *q, json_t *body, struct err *err)
{
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    int rc = text != NULL ? buf_add_str(&q->body, text) : -1;
    free(text);
    json_decref(body);
    if (rc < 0)
        err_set(err, ERR_NOMEM, "out of memory for a subscription");
    return rc;
}

static enum plan_result plan_repair(const struct provider_conn *c, const struct ask *a,
                                    struct ask_state *s, struct http_request *q,
                                    struct err *err)
{
    struct hs_state *d = s->data;
    struct hs_hooks *h = d->hooks;
    if (!h->address_ok) {
        app_path(q, c, "/settings");
        if (body_of(q,
                    json_pack("{s:s, s:{s:i}}", "targetUrl", a->hook_url, "throttling",
                              "maxConcurrentRequests", CONCURRENT),
                    err) < 0)
            return PLAN_ERROR;
        return call(d, s, q, HS_HOOK_ADDRESS_SAVE, "PUT", "/webhooks/{v}/{appId}/settings",
                    err);
    }
    if (json_array_size(h->off) > 0) {
        app_path(q, c, "/subscriptions/batch/update");
        if (body_of(q, json_pack("{s:O}", "inputs", h->off), err) < 0)
            return PLAN_ERROR;
        return call(d, s, q, HS_HOOK_SWITCH_ON, "POST",
                    "/webhooks/{v}/{appId}/subscriptions/batch/update", err);
    }
    if (h->made >= json_array_size(h->missing))
        return PLAN_DONE;
    app_path(q, c, "/subscriptions");
    if (body_of(q, json_deep_copy(json_array_get(h->missing, h->made)), err) < 0)
        return PLAN_ERROR;
    return call(d, s, q, HS_HOOK_ADD, "POST", "/webhooks/{v}/{appId}/subscriptions", err);
}

enum plan_result hubspot_plan_hooks(const struct provider_conn *c, const struct ask *a,
                                    struct ask_state *s, struct http_request *q,
                                    struct err *err)
{
    struct hs_state *d = s->data;
    if (c->app_id[0] == '\0' || c->developer_key[0] == '\0') {
        /* Then their health is inferred by the probe, not asked for. */
        json_decref(s->facts);
        s->facts = json_pack("{s:b}", "supported", 0);
        if (s->facts != NULL)
            return PLAN_DONE;
        err_set(err, ERR_NOMEM, "out of memory");
        return PLAN_ERROR;
    }
    if (hooks_of(d) == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return PLAN_ERROR;
    }
    if (s->calls == 0) {
        app_path(q, c, "/settings");
        return call(d, s, q, HS_HOOK_ADDRESS, "GET", "/webhooks/{v}/{appId}/settings", err);
    }
    if (s->calls == 1) {
        app_path(q, c, "/subscriptions");
        return call(d, s, q, HS_HOOK_LIST, "GET", "/webhooks/{v}/{appId}/subscriptions", err);
    }
    return a->kind == ASK_HOOK_REPAIR ? plan_repair(c, a, s, q, err) : PLAN_DONE;
}

/* ---- answers ---- */

/* "company.merge" or "company.propertyChange mrr". */
static json_t *name_of(const json_t *wanted)
{
    const char *property = json_text_of(wanted, "propertyName");
    return json_sprintf("%s%s%s", json_text_of(wanted, "eventType"),
                        property != NULL ? " " : "", property != NULL ? property : "");
}

/* A subscription of "object.*" names its type by number. */
static bool event_fits(const json_t *wanted, const json_t *has)
{
    const char *type = json_text_of(has, "eventType");
    const char *id = json_text_of(has, "objectTypeId");
    const char *want = json_text_of(wanted, "eventType");
    const char *verb = strchr(want, '.');
    if (type == NULL || verb == NULL)
        return false;
    if (strncmp(type, "object.", 7) != 0)
        return strcmp(type, want) == 0;
    bool company = strncmp(want, "company.", 8) == 0;
    return id != NULL && strcmp(id, company ? "0-2" : "0-1") == 0 &&
           strcmp(type + 6, verb) == 0;
}

static bool is_same(const json_t *wanted, const json_t *has)
{
    const char *a = json_text_of(wanted, "propertyName");
    const char *b = json_text_of(has, "propertyName");
    return event_fits(wanted, has) && (a == NULL || (b != NULL && strcmp(a, b) == 0));
}

/* Sorts one that is needed: there and on, there and off, or missing. */
static void look_for(struct hs_hooks *h, json_t *wanted, const json_t *list, json_t **names)
{
    json_int_t off_id = -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *has = json_array_get(list, i);
        const json_t *id = json_object_get(has, "id");
        if (!is_same(wanted, has))
            continue;
        if (json_bool_of(has, "active", false))
            return;
        off_id = json_is_integer(id)  ? json_integer_value(id)
                 : json_is_string(id) ? strtoll(json_string_value(id), NULL, 10)
                                      : -1;
    }
    json_list_add(names, name_of(wanted));
    if (off_id >= 0)
        json_list_add(&h->off, json_pack("{s:I, s:b}", "id", off_id, "active", 1));
    else
        json_list_add(&h->missing, json_incref(wanted));
}

/* One sentence, or none. */
static json_t *problem_of(const struct hs_hooks *h)
{
    size_t off = json_array_size(h->off);
    size_t missing = json_array_size(h->missing) - h->made;
    if (!h->found)
        return json_string("the app has no address to deliver to");
    if (!h->address_ok)
        return json_sprintf("the app delivers to another address: %s", h->address);
    if (off > 0)
        return json_sprintf("%zu subscription%s of the app %s switched off", off,
                            off == 1 ? "" : "s", off == 1 ? "is" : "are");
    if (missing > 0)
        return json_sprintf("%zu subscription%s of the app %s missing", missing,
                            missing == 1 ? "" : "s", missing == 1 ? "is" : "are");
    return json_string("");
}

/* names: of those that are off or missing; NULL keeps what is said of them. */
static int say(const struct provider_conn *c, struct ask_state *s, json_t *names)
{
    const struct hs_state *d = s->data;
    const struct hs_hooks *h = d->hooks;
    bool sound = json_array_size(h->off) == 0 && h->made >= json_array_size(h->missing);
    json_t *old = json_incref(json_object_get(s->facts, "missing"));
    json_t *missing = names != NULL ? names : sound ? json_array() : json_incref(old);
    json_decref(old);
    json_decref(s->facts);
    s->facts = json_pack("{s:b, s:b, s:s, s:b, s:b, s:b, s:s, s:o, s:o}", "supported", 1,
                         "found", h->found && h->address_ok, "id", c->app_id, "enabled",
                         json_array_size(h->off) == 0, "version_ok", 1, "events_ok", sound,
                         "api_version", "", "missing", missing, "problem", problem_of(h));
    return s->facts != NULL ? 0 : -1;
}

static int read_list(const struct provider_conn *c, const struct ask *a, struct ask_state *s,
                     const json_t *body, struct failure *why)
{
    const struct hs_state *d = s->data;
    const json_t *list = json_object_get(body, "results");
    json_t *names = json_array();
    json_auto_t *needed = hubspot_events_needed(c, a->objects);
    if (!json_is_array(list)) {
        json_decref(names);
        failure_set(why, ET_UNEXPECTED_SHAPE, "the answer has no results");
        return -1;
    }
    for (size_t i = 0; i < json_array_size(needed); i++)
        look_for(d->hooks, json_array_get(needed, i), list, &names);
    if (needed != NULL && d->hooks->off != NULL && d->hooks->missing != NULL && names != NULL &&
        say(c, s, names) == 0)
        return 0;
    failure_no_memory(why);
    return -1;
}

int hubspot_read_hooks(const struct provider_conn *c, const struct ask *a, struct ask_state *s,
                       const struct http_response *r, struct failure *why)
{
    struct hs_state *d = s->data;
    struct hs_hooks *h = d->hooks;
    json_auto_t *body = answer_json(r);
    if (d->call == HS_HOOK_ADDRESS && why->type == ET_RECORD_NOT_FOUND) {
        failure_init(why, r);
        return 0; /* never set, or deleted */
    }
    if (why->type != ET_NONE)
        return -1;
    if (body == NULL) {
        failure_set(why, ET_MALFORMED_BODY, "the answer is no JSON object");
        return -1;
    }
    switch (d->call) {
    case HS_HOOK_LIST:
        return read_list(c, a, s, body, why);
    case HS_HOOK_ADDRESS:
    case HS_HOOK_ADDRESS_SAVE:
        h->found = text_copy(h->address, sizeof h->address, json_text_of(body, "targetUrl")) &&
                   h->address[0] != '\0';
        h->address_ok = h->found && strcmp(h->address, a->hook_url) == 0;
        if (d->call == HS_HOOK_ADDRESS)
            return 0;
        if (!h->address_ok) { /* asked again it would be said again */
            failure_set(why, ET_UNEXPECTED_SHAPE, "the app's address was not taken");
            return -1;
        }
        break;
    case HS_HOOK_SWITCH_ON:
        (void)json_array_clear(h->off);
        break;
    case HS_HOOK_ADD:
        h->made++;
        break;
    default:
        break;
    }
    if (say(c, s, NULL) == 0)
        return 0;
    failure_no_memory(why);
    return -1;
}
