/*
 * Which call is this? GETs of every resource, and the POSTs and DELETEs of webhook endpoints:
 * the only thing a mirror writes.
 */
#include "stripe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPAND_MAX = 20, PARTS_MAX = 6 };

static void answer_missing(struct st_call *c, const struct st_class *cls, const char *id)
{
    struct st_mode *other = &c->account->modes[c->mode->live ? 0 : 1];
    const char *more = "";
    struct st_record *twin = other->seeded ? st_find(other, cls->type, id) : NULL;
    if (twin != NULL && !twin->deleted)
        more = c->mode->live ? "; a similar object exists in test mode, but a live mode key "
                               "was used to make this request."
                             : "; a similar object exists in live mode, but a test mode key "
                               "was used to make this request.";
    st_error(c->r, 404, "resource_missing", cls->id_param, "No such %s: '%s'%s", cls->object,
             id, more);
}

static void answer_unknown_url(struct st_call *c)
{
    st_error(c->r, 404, NULL, NULL,
             "Unrecognized request URL (%s: %s). Please see https://stripe.com/docs or we can "
             "help at https://support.stripe.com/.",
             c->r->method, c->r->path);
}

bool st_read_expand(struct st_call *c, enum st_type type, bool list)
{
    static const char data[] = "data.";
    const struct sim_params *query = &c->r->query;
    const char **paths = sim_calloc(EXPAND_MAX, sizeof *paths);
    c->view.expand = paths;
    for (size_t i = 0; i < query->count; i++) {
        const char *path = query->items[i].value;
        if (strncmp(query->items[i].name, "expand", 6) != 0)
            continue;
        char bad[256];
        enum st_expand_result result =
            st_expand_check(type, c->view.shape, list, path, bad, sizeof bad);
        if (result == ST_EXPAND_TOO_DEEP) {
            st_error(c->r, 400, "property_expansion_max_depth", NULL,
                     "You cannot expand more than 4 levels of a property. Property: %s", path);
            return false;
        }
        if (result == ST_EXPAND_UNKNOWN) {
            st_error(c->r, 400, NULL, "expand", "This property cannot be expanded (%s).", bad);
            return false;
        }
        if (c->view.expand_count == EXPAND_MAX) {
            st_error(c->r, 400, NULL, "expand", "You cannot expand more than 20 properties.");
            return false;
        }
        paths[c->view.expand_count++] = list ? path + sizeof data - 1 : path;
    }
    return true;
}

/* A retrieve takes nothing but expand[]. */
static bool only_expand(struct st_call *c)
{
    for (size_t i = 0; i < c->r->query.count; i++) {
        const char *name = c->r->query.items[i].name;
        if (strncmp(name, "expand", 6) == 0 || strcmp(name, "client_secret") == 0)
            continue;
        st_error(c->r, 400, "parameter_unknown", name, "Received unknown parameter: %s", name);
        return false;
    }
    return true;
}

static void answer_text(struct st_call *c, int status)
{
    c->r->res.status = status;
    c->r->rows = 1;
    st_headers(c->r, c->version);
    sim_answer_header(c->r, "Content-Type: application/json");
}

static void retrieve(struct st_call *c, const struct st_class *cls, const char *id)
{
    sim_count_id(c->r, cls->path != NULL ? cls->path : cls->object, id);
    if (!only_expand(c) || !st_read_expand(c, cls->type, false))
        return;
    struct st_record *rec = st_find(c->mode, cls->type, id);
    if (rec == NULL || (rec->deleted && cls->gone_is_404)) {
        answer_missing(c, cls, id);
        return;
    }
    if (rec->deleted) {
        st_answer(c->r, 200, c->version, st_render_deleted(rec));
        c->r->rows = 1;
        return;
    }
    if (cls->type == ST_PLAN) {
        json_t *plan = st_render_plan(&c->view, rec);
        for (size_t i = 0; i < c->view.expand_count; i++)
            st_expand_apply(&c->view, ST_PLAN, plan, c->view.expand[i]);
        st_answer(c->r, 200, c->version, plan);
        return;
    }
    st_render_text(&c->view, rec, 0, &c->r->res.body);
    answer_text(c, 200);
}

static void retrieve_account(struct st_call *c, const char *id)
{
    struct st_account *a = c->account;
    if (id != NULL && strcmp(id, a->id) != 0) {
        a = c->key->kind == ST_KEY_PLATFORM ? st_account_find(c->app, id) : NULL;
        if (a == NULL || !a->connected || a->revoked) {
            st_error(c->r, 403, "account_invalid", NULL,
                     "The provided key does not have access to account '%s' (or that account "
                     "does not exist). Application access may have been revoked.",
                     id);
            return;
        }
    }
    st_answer(c->r, 200, c->version, st_render_account(&c->view, a));
    c->r->rows = 1;
}

static void list_accounts(struct st_call *c)
{
    json_t *data = json_array();
    struct st_account *a = NULL;
    struct st_account *next = NULL;
    HASH_ITER(hh, c->app->accounts, a, next)
    {
        if (c->key->kind == ST_KEY_PLATFORM && a->connected && !a->revoked)
            json_array_append_new(data, st_render_account(&c->view, a));
    }
    c->r->rows = json_array_size(data);
    st_answer(c->r, 200, c->version, st_list_json(data, false, sim_strdup("/v1/accounts")));
}

/* ---- webhook endpoints ---- */

/* url=..&enabled_events[]=..&metadata[k]=v as JSON. */
static json_t *endpoint_fields(const struct sim_params *form)
{
    json_t *fields = json_object();
    for (size_t i = 0; i < form->count; i++) {
        const char *name = form->items[i].name;
        json_t *value = json_string(form->items[i].value);
        size_t len = strlen(name);
        if (strncmp(name, "enabled_events[", 15) == 0) {
            json_t *events = json_object_get(fields, "enabled_events");
            if (events == NULL) {
                json_object_set_new(fields, "enabled_events", json_array());
                events = json_object_get(fields, "enabled_events");
            }
            json_array_append_new(events, value);
        } else if (strncmp(name, "metadata[", 9) == 0 && name[len - 1] == ']') {
            json_t *metadata = json_object_get(fields, "metadata");
            if (metadata == NULL) {
                json_object_set_new(fields, "metadata", json_object());
                metadata = json_object_get(fields, "metadata");
            }
            char *key = sim_strf("%.*s", (int)(len - 10), name + 9);
            json_object_set_new(metadata, key, value);
            free(key);
        } else if (strcmp(name, "connect") == 0 || strcmp(name, "disabled") == 0) {
            json_object_set_new(fields, name,
                                json_boolean(strcmp(form->items[i].value, "true") == 0));
            json_decref(value);
        } else {
            json_object_set_new(fields, name, value);
        }
    }
    return fields;
}

static bool endpoint_fields_ok(struct st_call *c, json_t *fields, bool create)
{
    static const char *const known[] = {"url",      "enabled_events", "api_version",
                                        "connect",  "description",    "metadata",
                                        "disabled", "expand"};
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(fields, key, value)
    {
        bool ok = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            ok = ok || strncmp(known[i], key, strlen(known[i])) == 0;
        if (!ok) {
            st_error(c->r, 400, "parameter_unknown", key, "Received unknown parameter: %s",
                     key);
            return false;
        }
    }
    static const char *const required[] = {"url", "enabled_events"};
    for (size_t i = 0; create && i < 2; i++) {
        if (json_object_get(fields, required[i]) == NULL) {
            st_error(c->r, 400, "parameter_missing", required[i], "Missing required param: %s.",
                     required[i]);
            return false;
        }
    }
    const char *url = st_text_at(fields, "url");
    if (url != NULL && strncmp(url, "https://", 8) != 0 &&
        (c->mode->live ? true : strncmp(url, "http://", 7) != 0)) {
        st_error(c->r, 400, "url_invalid", "url", "Invalid URL: %s", url);
        return false;
    }
    const char *version = st_text_at(fields, "api_version");
    if (version != NULL && !st_version_known(version)) {
        st_error(c->r, 400, NULL, "api_version", "Invalid Stripe API version: %s", version);
        return false;
    }
    return true;
}

static void create_endpoint(struct st_call *c)
{
    json_t *fields = endpoint_fields(sim_request_form(c->r));
    if (!endpoint_fields_ok(c, fields, true)) {
        json_decref(fields);
        return;
    }
    if (c->mode->tables[ST_ENDPOINT].live >= 16) {
        st_error(c->r, 400, NULL, NULL,
                 "You have reached the maximum of 16 test webhook endpoints.");
        json_decref(fields);
        return;
    }
    char *secret = st_new_id(c->app, c->mode, "whsec_", 32);
    json_t *sparse = json_pack("{s:[s], s:b}", "_secrets", secret, "_connect",
                               json_is_true(json_object_get(fields, "connect")) ? 1 : 0);
    json_object_del(fields, "connect");
    json_object_del(fields, "disabled");
    json_object_update(sparse, fields);
    json_decref(fields);
    struct st_record *rec = st_insert(c->app, c->mode, ST_ENDPOINT, sparse);
    json_t *shown = st_render_plain(&c->view, rec);
    /* Only this answer ever shows it. */
    json_object_set_new(shown, "secret", json_string(secret));
    free(secret);
    st_answer(c->r, 200, c->version, shown);
}

static void change_endpoint(struct st_call *c, const char *id)
{
    struct st_record *rec = st_find(c->mode, ST_ENDPOINT, id);
    if (rec == NULL || rec->deleted) {
        answer_missing(c, st_class(ST_ENDPOINT), id);
        return;
    }
    if (strcmp(c->r->method, "DELETE") == 0) {
        st_mark_deleted(c->mode, rec);
        st_answer(c->r, 200, c->version, st_render_deleted(rec));
        return;
    }
    json_t *fields = endpoint_fields(sim_request_form(c->r));
    if (endpoint_fields_ok(c, fields, false)) {
        const json_t *disabled = json_object_get(fields, "disabled");
        if (disabled != NULL)
            json_object_set_new(fields, "status",
                                json_string(json_is_true(disabled) ? "disabled" : "enabled"));
        json_object_del(fields, "disabled");
        json_t *sparse = st_load(rec);
        json_object_update(sparse, fields);
        st_save(c->mode, rec, sparse);
        st_answer(c->r, 200, c->version, st_render_plain(&c->view, rec));
    }
    json_decref(fields);
}

/* ---- thin events ---- */

static void retrieve_v2_event(struct st_call *c, const char *id)
{
    struct st_record *rec = st_find(c->mode, ST_EVENT, id);
    if (rec == NULL) {
        answer_missing(c, st_class(ST_EVENT), id);
        return;
    }
    json_t *thin = st_field(c->app, rec, "_thin");
    if (thin == NULL) {
        answer_missing(c, st_class(ST_EVENT), id);
        return;
    }
    st_answer(c->r, 200, c->version, thin);
}

/* ---- routes ---- */

struct nested {
    const char *parent;
    const char *child;
    enum st_type type;
};

static const struct nested nested[] = {
    {"invoices", "lines", ST_LINE_ITEM},
    {"customers", "subscriptions", ST_SUBSCRIPTION},
    {"customers", "tax_ids", ST_TAX_ID},
    {"charges", "refunds", ST_REFUND},
};

static void set_endpoint(struct st_call *c, const char *template)
{
    snprintf(c->r->endpoint, sizeof c->r->endpoint, "%s %s", c->r->method, template);
}

static bool begin(struct st_call *c, const struct st_class *cls, bool write, bool search)
{
    return st_limit(c, search) && (cls == NULL || st_permitted(c, cls, write));
}

static void route_account(struct st_call *c, char **parts, size_t count)
{
    bool many = strcmp(parts[1], "accounts") == 0;
    set_endpoint(c, many ? (count > 2 ? "/v1/accounts/{id}" : "/v1/accounts") : "/v1/account");
    /* Every key may read its own account. */
    if (!begin(c, NULL, false, false))
        return;
    if (many && count == 2)
        list_accounts(c);
    else
        retrieve_account(c, count > 2 ? parts[2] : NULL);
}

static void route_nested(struct st_call *c, const struct st_class *cls, const char *id,
                         const char *child)
{
    for (size_t i = 0; i < sizeof nested / sizeof nested[0]; i++) {
        if (strcmp(nested[i].parent, cls->path) != 0 || strcmp(nested[i].child, child) != 0)
            continue;
        char template[96];
        snprintf(template, sizeof template, "/v1/%s/{id}/%s", cls->path, child);
        set_endpoint(c, template);
        if (begin(c, st_class(nested[i].type), false, false))
            st_list(c, st_class(nested[i].type), id);
        return;
    }
    answer_unknown_url(c);
}

static void route_write(struct st_call *c, const struct st_class *cls, const char *id)
{
    bool post = strcmp(c->r->method, "POST") == 0;
    bool deletion = strcmp(c->r->method, "DELETE") == 0;
    if (cls->type != ST_ENDPOINT || (!post && !deletion) || (deletion && id == NULL)) {
        answer_unknown_url(c);
        return;
    }
    set_endpoint(c, id != NULL ? "/v1/webhook_endpoints/{id}" : "/v1/webhook_endpoints");
    if (!begin(c, cls, true, false) || st_idempotent_replay(c))
        return;
    if (id == NULL)
        create_endpoint(c);
    else
        change_endpoint(c, id);
    st_idempotent_keep(c);
}

static bool has_search(enum st_type type)
{
    return type == ST_CUSTOMER || type == ST_SUBSCRIPTION || type == ST_INVOICE ||
           type == ST_PRICE || type == ST_PRODUCT || type == ST_CHARGE ||
           type == ST_PAYMENT_INTENT;
}

static void route_resource(struct st_call *c, const struct st_class *cls, char **parts,
                           size_t count)
{
    const char *id = count > 0 ? parts[0] : NULL;
    char template[96];
    bool is_get = strcmp(c->r->method, "GET") == 0;
    snprintf(template, sizeof template, "/v1/%s%s", cls->path, id != NULL ? "/{id}" : "");
    if (count > 2) {
        answer_unknown_url(c);
    } else if (!is_get) {
        route_write(c, cls, id);
    } else if (count == 2) {
        route_nested(c, cls, id, parts[1]);
    } else if (id != NULL && strcmp(id, "search") == 0 && has_search(cls->type)) {
        snprintf(template, sizeof template, "/v1/%s/search", cls->path);
        set_endpoint(c, template);
        if (begin(c, cls, false, true))
            st_search(c, cls);
    } else {
        set_endpoint(c, template);
        if (!begin(c, cls, false, false))
            return;
        if (id != NULL)
            retrieve(c, cls, id);
        else
            st_list(c, cls, NULL);
    }
}

static void route(struct st_call *c, char **parts, size_t count)
{
    if (count == 4 && strcmp(parts[0], "v2") == 0 && strcmp(parts[1], "core") == 0 &&
        strcmp(parts[2], "events") == 0) {
        set_endpoint(c, "/v2/core/events/{id}");
        if (begin(c, st_class(ST_EVENT), false, false))
            retrieve_v2_event(c, parts[3]);
        return;
    }
    if (count < 2 || strcmp(parts[0], "v1") != 0) {
        answer_unknown_url(c);
        return;
    }
    if (strcmp(parts[1], "account") == 0 || strcmp(parts[1], "accounts") == 0) {
        route_account(c, parts, count);
        return;
    }
    size_t used = 2;
    char two[128];
    const struct st_class *cls = st_class_by_path(parts[1]);
    if (cls == NULL && count > 2) {
        snprintf(two, sizeof two, "%s/%s", parts[1], parts[2]);
        cls = st_class_by_path(two);
        used = 3;
    }
    if (cls == NULL)
        answer_unknown_url(c);
    else
        route_resource(c, cls, parts + used, count - used);
}

/* "req_VjZAbNug3CAt4P" */
static void name_request(struct stripe_sim *app, struct sim_request *r)
{
    static const char digits[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    char id[15];
    app->next_request++;
    for (size_t i = 0; i < 14; i++) {
        uint64_t bits = sim_mix(sim_options(app->sim)->seed, app->next_request, i);
        id[i] = digits[bits % 62];
    }
    id[14] = '\0';
    snprintf(r->request_id, sizeof r->request_id, "req_%s", id);
}

void sim_stripe_handle(struct sim_request *r)
{
    struct stripe_sim *app = st_app(r->sim);
    name_request(app, r);
    if (st_oauth_handle(r))
        return;
    struct st_call c = {.r = r, .app = app};
    if (!st_authenticate(&c))
        return;
    char *path = sim_strdup(r->path);
    char *parts[PARTS_MAX];
    size_t count = 0;
    char *save = NULL;
    for (char *p = strtok_r(path, "/", &save); p != NULL && count < PARTS_MAX;
         p = strtok_r(NULL, "/", &save))
        parts[count++] = p;
    route(&c, parts, count);
    free(path);
    free(c.view.expand);
}
