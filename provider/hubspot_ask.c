/* The next call of an ask. Paths exist in two families: dated (/crm/objects/2026-03/companies)
 * and the older v3/v4 one, chosen by the configured version. */
#include "provider/hubspot_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Beyond this the properties go into a body; others met 414 from about 8 KiB on. */
    QUERY_PROPERTIES_MAX_BYTES = 4000,
};

/* ---- state ---- */

static void state_free(void *data)
{
    struct hs_state *d = data;
    free(d->inputs.items);
    free(d->deals.items);
    hubspot_hooks_free(d->hooks);
    free(d);
}

static struct hs_state *state_of(struct ask_state *s)
{
    if (s->data == NULL) {
        struct hs_state *d = calloc(1, sizeof *d);
        s->data = d;
        s->data_free = state_free;
    }
    return s->data;
}

/* ---- requests ---- */

static bool is_dated(const struct provider_conn *c)
{
    return c->api_version[0] >= '0' && c->api_version[0] <= '9';
}

/* "/crm/objects/2026-03" or "/crm/v3/objects". legacy: the version of the older family. */
static int api_path(struct http_request *q, const struct provider_conn *c, const char *area,
                    const char *name, const char *legacy)
{
    if (is_dated(c)) {
        (void)url_set(q, c->api_base, area);
        (void)buf_printf(&q->url, "/%s", name);
        return url_segment(q, c->api_version);
    }
    (void)url_set(q, c->api_base, area);
    return buf_printf(&q->url, "/%s/%s", legacy, name);
}

static int crm_path(struct http_request *q, const struct provider_conn *c, const char *name)
{
    return api_path(q, c, "/crm", name, "v3");
}

static int json_header(struct http_request *q, struct err *err)
{
    if (http_request_header(q, "Content-Type", "application/json") == 0)
        return 0;
    err_set(err, ERR_INTERNAL, "cannot add a header");
    return -1;
}

static enum plan_result send(const struct provider_conn *c, struct ask_state *s,
                             struct http_request *q, enum hs_call call, const char *method,
                             const char *endpoint, const char *family, struct err *err)
{
    struct hs_state *d = s->data;
    if (request_bearer(q, c->access_token, err) < 0 ||
        http_request_header(q, "Accept", "application/json") < 0)
        return PLAN_ERROR;
    if (q->body.len_bytes > 0 && json_header(q, err) < 0)
        return PLAN_ERROR;
    d->call = call;
    d->endpoint = endpoint;
    return plan_call(s, q, method, endpoint, family, err);
}

/* ---- which properties are asked for ---- */

static const char *const company_properties[] = {"name",
                                                 "domain",
                                                 "hubspot_owner_id",
                                                 "lifecyclestage",
                                                 "createdate",
                                                 "hs_lastmodifieddate",
                                                 "hs_object_id",
                                                 "hs_merged_object_ids",
                                                 NULL};
static const char *const contact_properties[] = {"email",
                                                 "firstname",
                                                 "lastname",
                                                 "phone",
                                                 "jobtitle",
                                                 "associatedcompanyid",
                                                 "createdate",
                                                 "lastmodifieddate",
                                                 "hs_object_id",
                                                 "hs_merged_object_ids",
                                                 NULL};

/* Each once: ours, then those the mapping of companies needs. */
int hubspot_properties(const struct provider_conn *c, const struct object_type *o,
                       const char **out, int max)
{
    bool company = (o->flags & OBJECT_ROOT) != 0;
    const char *const *own = company ? company_properties : contact_properties;
    int n = 0;
    for (size_t i = 0; own[i] != NULL && n < max; i++)
        out[n++] = own[i];
    for (int i = 0; company && i < c->property_count && n < max; i++) {
        bool known = false;
        for (int k = 0; k < n; k++)
            known |= strcmp(out[k], c->properties[i]) == 0;
        if (!known)
            out[n++] = c->properties[i];
    }
    return n;
}

enum { PROPERTIES_MAX = 600 };

static void each_property(const struct provider_conn *c, const struct object_type *o,
                          void (*add)(struct buf *, const char *, bool), struct buf *out)
{
    const char *names[PROPERTIES_MAX];
    int n = hubspot_properties(c, o, names, PROPERTIES_MAX);
    for (int i = 0; i < n; i++)
        add(out, names[i], i == 0);
}

static void add_json(struct buf *out, const char *name, bool first)
{
    if (!first)
        (void)buf_add_char(out, ',');
    (void)json_add_text(out, (struct slice){name, strlen(name)});
}

static void add_query(struct buf *out, const char *name, bool first)
{
    if (!first)
        (void)buf_add_str(out, "%2C");
    (void)http_escape(out, name);
}

static bool has_properties(const struct object_type *o)
{
    return (o->flags & (OBJECT_ROOT | OBJECT_RELATED)) != 0;
}

static void query_properties(struct http_request *q, const struct provider_conn *c,
                             const struct object_type *o)
{
    if (!has_properties(o))
        return;
    (void)buf_add_str(&q->url, strchr(buf_text(&q->url), '?') == NULL ? "?" : "&");
    (void)buf_add_str(&q->url, "properties=");
    each_property(c, o, add_query, &q->url);
}

static bool properties_fit_query(const struct provider_conn *c)
{
    size_t n = 0;
    for (int i = 0; i < c->property_count; i++)
        n += strlen(c->properties[i]) + 3;
    return n <= QUERY_PROPERTIES_MAX_BYTES;
}

/* ---- records ---- */

static const char *endpoint_of(const struct object_type *o, enum hs_call call)
{
    static const struct {
        const char *name, *record, *batch, *listing;
    } table[] = {
        {"company", "/crm/objects/{v}/companies/{id}", "/crm/objects/{v}/companies/batch/read",
         "/crm/objects/{v}/companies"},
        {"contact", "/crm/objects/{v}/contacts/{id}", "/crm/objects/{v}/contacts/batch/read",
         "/crm/objects/{v}/contacts"},
        {"owner", "/crm/owners/{v}", "/crm/owners/{v}", "/crm/owners/{v}"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        if (strcmp(table[i].name, o->name) == 0)
            return call == HS_RECORD  ? table[i].record
                   : call == HS_BATCH ? table[i].batch
                                      : table[i].listing;
    }
    return "";
}

static int type_path(struct http_request *q, const struct provider_conn *c,
                     const struct object_type *o)
{
    if (!has_properties(o))
        return crm_path(q, c, o->plural);
    (void)crm_path(q, c, "objects");
    return url_segment(q, o->plural);
}

static enum plan_result plan_one(const struct provider_conn *c, const struct object_type *o,
                                 const char *id, struct ask_state *s, struct http_request *q,
                                 struct err *err)
{
    (void)type_path(q, c, o);
    (void)url_segment(q, id);
    query_properties(q, c, o);
    return send(c, s, q, HS_RECORD, "GET", endpoint_of(o, HS_RECORD), o->read_family, err);
}

static void batch_body(struct buf *out, const char *const *ids, int count)
{
    bool first = true;
    (void)buf_add_str(out, "{\"inputs\":[");
    for (int i = 0; i < count; i++) {
        /* One odd id would get the whole batch refused; it is answered as gone instead. */
        if (ids[i][0] == '\0' || ids[i][strspn(ids[i], "0123456789")] != '\0')
            continue;
        (void)buf_printf(out, "%s{\"id\":\"%s\"}", first ? "" : ",", ids[i]);
        first = false;
    }
    (void)buf_add_str(out, "],\"properties\":[");
}

/* Owners are few and have no batch read: all of them cost less than some of them. */
static enum plan_result plan_owners(const struct provider_conn *c, const struct ask *a,
                                    struct ask_state *s, struct http_request *q,
                                    struct err *err)
{
    struct hs_state *d = s->data;
    (void)type_path(q, c, a->object);
    (void)url_query_int(q, "limit", HS_PAGE_MAX);
    if (d->after[0] != '\0')
        (void)url_query(q, "after", d->after);
    return send(c, s, q, HS_OWNERS, "GET", endpoint_of(a->object, HS_LISTING),
                a->object->list_family, err);
}

static enum plan_result plan_records(const struct provider_conn *c, const struct ask *a,
                                     struct ask_state *s, struct http_request *q,
                                     struct err *err)
{
    struct hs_state *d = s->data;
    const struct object_type *o = a->object;
    int left = a->id_count - d->offset;
    if (left <= 0)
        return PLAN_DONE;
    if (!has_properties(o))
        return plan_owners(c, a, s, q, err);
    d->asked = left < o->batch_max ? left : o->batch_max;
    if (d->asked == 1 && properties_fit_query(c))
        return plan_one(c, o, a->ids[d->offset], s, q, err);
    (void)type_path(q, c, o);
    (void)buf_add_str(&q->url, "/batch/read");
    batch_body(&q->body, a->ids + d->offset, d->asked);
    each_property(c, o, add_json, &q->body);
    (void)buf_add_str(&q->body, "],\"propertiesWithHistory\":[]}");
    return send(c, s, q, HS_BATCH, "POST", endpoint_of(o, HS_BATCH), o->read_family, err);
}

static int page_limit(const struct ask *a, int most)
{
    return a->page_max > 0 && a->page_max < most ? a->page_max : most;
}

static enum plan_result plan_listing(const struct provider_conn *c, const struct ask *a,
                                     const struct object_type *o, bool ids_only,
                                     struct ask_state *s, struct http_request *q,
                                     struct err *err)
{
    (void)type_path(q, c, o);
    (void)url_query_int(q, "limit", page_limit(a, HS_PAGE_MAX));
    if (a->cursor != NULL)
        (void)url_query(q, "after", a->cursor);
    if (ids_only)
        (void)url_query(q, "properties", "hs_object_id");
    else
        query_properties(q, c, o);
    return send(c, s, q, HS_LISTING, "GET", endpoint_of(o, HS_LISTING), o->list_family, err);
}

/* ---- search ---- */

static void add_filter(struct buf *out, const char *property, const char *op, const char *value,
                       const char *high, bool first)
{
    (void)buf_printf(out, "%s{\"propertyName\":\"%s\",\"operator\":\"%s\",\"value\":",
                     first ? "" : ",", property, op);
    (void)json_add_text(out, (struct slice){value, strlen(value)});
    if (high != NULL) {
        (void)buf_add_str(out, ",\"highValue\":");
        (void)json_add_text(out, (struct slice){high, strlen(high)});
    }
    (void)buf_add_char(out, '}');
}

static void search_end(struct buf *out, const char *sort, const char *property, int limit)
{
    (void)buf_printf(out, "]}],\"sorts\":[\"%s\"],\"properties\":[\"%s\"],\"limit\":%d}", sort,
                     property, limit);
}

static void search_path(struct http_request *q, const struct provider_conn *c,
                        const char *plural)
{
    (void)crm_path(q, c, "objects");
    (void)url_segment(q, plural);
    (void)buf_add_str(&q->url, "/search");
    (void)buf_add_str(&q->body, "{\"filterGroups\":[{\"filters\":[");
}

/* By ascending id from the cursor on, never by `after`: past 10,000 that ends, and a record
 * that leaves the result meanwhile would shift the pages. */
static enum plan_result plan_scope_search(const struct provider_conn *c, const struct ask *a,
                                          struct ask_state *s, struct http_request *q,
                                          struct err *err)
{
    bool stage = strcmp(c->scope_kind, "stage") == 0;
    search_path(q, c, stage ? "companies" : "deals");
    add_filter(&q->body, stage ? "lifecyclestage" : "pipeline", "EQ", c->scope_id, NULL, true);
    if (a->cursor != NULL)
        add_filter(&q->body, "hs_object_id", "GT", a->cursor, NULL, false);
    search_end(&q->body, "hs_object_id", "hs_object_id", page_limit(a, HS_SEARCH_MAX));
    return send(c, s, q, stage ? HS_STAGE_SEARCH : HS_DEAL_SEARCH, "POST",
                stage ? "/crm/objects/{v}/companies/search" : "/crm/objects/{v}/deals/search",
                "search", err);
}

/* A cursor of ours: "t <ms>", or "i <ms> <id>" amid records that share one instant. */
static int start_changed(struct hs_state *d, const struct ask *a, struct err *err)
{
    d->low_ms = a->since_ms;
    d->tie_id[0] = '\0';
    if (a->cursor == NULL)
        return 0;
    char *end = NULL;
    bool ties = a->cursor[0] == 'i';
    if (strncmp(a->cursor, ties ? "i " : "t ", 2) == 0)
        d->low_ms = strtoll(a->cursor + 2, &end, 10);
    if (end == NULL || end == a->cursor + 2 ||
        (ties &&
         (*end != ' ' || !text_copy(d->tie_id, sizeof d->tie_id, end + 1) ||
          d->tie_id[0] == '\0' || d->tie_id[strspn(d->tie_id, "0123456789")] != '\0'))) {
        err_set(err, ERR_INVALID, "'%s' is no cursor of a search by time", a->cursor);
        return -1;
    }
    return 0;
}

/* By time; records that share one instant beyond a page (a bulk edit) are drained by id. */
static enum plan_result plan_changed(const struct provider_conn *c, const struct ask *a,
                                     struct ask_state *s, struct http_request *q,
                                     struct err *err)
{
    struct hs_state *d = s->data;
    bool contact = strcmp(a->object->name, "contact") == 0;
    const char *property = contact ? "lastmodifieddate" : "hs_lastmodifieddate";
    char low[24];
    char high[24];
    if (d->done)
        return PLAN_DONE;
    if (!has_properties(a->object)) /* no search: a look at all of them, a page at a time */
        return plan_listing(c, a, a->object, false, s, q, err);
    if (s->calls == 0 && start_changed(d, a, err) < 0)
        return PLAN_ERROR;
    int64_t until_ms = a->until_ms > 0 ? a->until_ms : INT64_C(253402300799000);
    (void)snprintf(low, sizeof low, "%lld", (long long)d->low_ms);
    (void)snprintf(high, sizeof high, "%lld", (long long)until_ms);
    search_path(q, c, a->object->plural);
    if (d->tie_id[0] != '\0') {
        add_filter(&q->body, property, "EQ", low, NULL, true);
        add_filter(&q->body, "hs_object_id", "GT", d->tie_id, NULL, false);
        search_end(&q->body, "hs_object_id", property, page_limit(a, HS_SEARCH_MAX));
    } else {
        add_filter(&q->body, property, "BETWEEN", low, high, true);
        search_end(&q->body, property, property, page_limit(a, HS_SEARCH_MAX));
    }
    return send(c, s, q, HS_CHANGED, "POST",
                contact ? "/crm/objects/{v}/contacts/search"
                        : "/crm/objects/{v}/companies/search",
                "search", err);
}

/* ---- associations ---- */

static enum plan_result plan_associations(const struct provider_conn *c, const char *from,
                                          const char *to, struct ask_state *s,
                                          struct http_request *q, struct err *err)
{
    struct hs_state *d = s->data;
    size_t most = c->associations_batch_max > 0 ? (size_t)c->associations_batch_max : 100;
    d->inputs_asked = d->inputs.count < most ? d->inputs.count : most;
    (void)api_path(q, c, "/crm", "associations", "v4");
    (void)url_segment(q, from);
    (void)url_segment(q, to);
    (void)buf_add_str(&q->url, "/batch/read");
    (void)buf_add_str(&q->body, "{\"inputs\":[");
    for (size_t i = 0; i < d->inputs_asked; i++) {
        const struct hs_input *in = &d->inputs.items[i];
        (void)buf_printf(&q->body, "%s{\"id\":\"%s\"", i > 0 ? "," : "", in->id);
        if (in->after[0] != '\0') {
            (void)buf_add_str(&q->body, ",\"after\":");
            (void)json_add_text(&q->body, (struct slice){in->after, strlen(in->after)});
        }
        (void)buf_add_char(&q->body, '}');
    }
    (void)buf_add_str(&q->body, "]}");
    return send(c, s, q, HS_ASSOCIATIONS, "POST",
                "/crm/associations/{v}/{from}/{to}/batch/read", "associations", err);
}

static enum plan_result plan_related(const struct provider_conn *c, const struct ask *a,
                                     struct ask_state *s, struct http_request *q,
                                     struct err *err)
{
    struct hs_state *d = s->data;
    if (a->related_object == NULL) {
        err_set(err, ERR_INVALID, "no related object type named");
        return PLAN_ERROR;
    }
    /* An id that is none has no associations. */
    for (; d->offset < a->id_count; d->offset++) {
        if (hs_inputs_add(&d->inputs, a->ids[d->offset], "") < 0)
            continue;
    }
    if (d->inputs.count == 0)
        return PLAN_DONE;
    return plan_associations(c, a->object->plural, a->related_object->plural, s, q, err);
}

/* ---- scope ---- */

static bool is_list_scope(const struct provider_conn *c)
{
    return strcmp(c->scope_kind, "list") == 0 && c->scope_id[0] != '\0';
}

/* A page of the list's members: by id, or in the order they joined. */
static enum plan_result plan_members(const struct provider_conn *c, const struct ask *a,
                                     bool by_join, struct ask_state *s, struct http_request *q,
                                     struct err *err)
{
    (void)crm_path(q, c, "lists");
    (void)url_segment(q, c->scope_id);
    (void)buf_add_str(&q->url, by_join ? "/memberships/join-order" : "/memberships");
    (void)url_query_int(q, "limit", page_limit(a, HS_MEMBERS_MAX));
    if (a->cursor != NULL)
        (void)url_query(q, "after", a->cursor);
    return send(c, s, q, HS_MEMBERS, "GET",
                by_join ? "/crm/lists/{v}/{listId}/memberships/join-order"
                        : "/crm/lists/{v}/{listId}/memberships",
                "general", err);
}

static enum plan_result plan_scope_page(const struct provider_conn *c, const struct ask *a,
                                        struct ask_state *s, struct http_request *q,
                                        struct err *err)
{
    struct hs_state *d = s->data;
    if (d->inputs.count > 0)
        return plan_associations(c, "deals", "companies", s, q, err);
    if (s->calls > 0)
        return PLAN_DONE;
    if (c->scope_kind[0] == '\0')
        return plan_listing(c, a, hubspot_object("company"), true, s, q, err);
    if (strcmp(c->scope_kind, "list") != 0)
        return plan_scope_search(c, a, s, q, err);
    return plan_members(c, a, false, s, q, err);
}

static enum plan_result plan_deals(const struct provider_conn *c, struct ask_state *s,
                                   struct http_request *q, struct err *err)
{
    struct hs_state *d = s->data;
    d->deals_asked = d->deals.count < HS_BATCH_MAX ? d->deals.count : HS_BATCH_MAX;
    (void)crm_path(q, c, "objects");
    (void)buf_add_str(&q->url, "/deals/batch/read");
    (void)buf_add_str(&q->body, "{\"inputs\":[");
    for (size_t i = 0; i < d->deals_asked; i++)
        (void)buf_printf(&q->body, "%s{\"id\":\"%s\"}", i > 0 ? "," : "", d->deals.items[i].id);
    (void)buf_add_str(&q->body,
                      "],\"properties\":[\"pipeline\"],\"propertiesWithHistory\":[]}");
    return send(c, s, q, HS_DEALS, "POST", "/crm/objects/{v}/deals/batch/read", "general", err);
}

/* One question for each id; a pipeline needs the company's deals and then their pipeline. */
static enum plan_result plan_membership(const struct provider_conn *c, const struct ask *a,
                                        struct ask_state *s, struct http_request *q,
                                        struct err *err)
{
    struct hs_state *d = s->data;
    if (d->inputs.count > 0)
        return plan_associations(c, "companies", "deals", s, q, err);
    if (d->deals.count > 0)
        return plan_deals(c, s, q, err);
    if (d->offset >= a->id_count)
        return PLAN_DONE;
    const char *id = a->ids[d->offset];
    d->member = false;
    if (strcmp(c->scope_kind, "pipeline") == 0 && hs_inputs_add(&d->inputs, id, "") == 0)
        return plan_associations(c, "companies", "deals", s, q, err);
    if (strcmp(c->scope_kind, "list") != 0)
        return plan_one(c, hubspot_object("company"), id, s, q, err);
    (void)crm_path(q, c, "lists");
    (void)buf_add_str(&q->url, "/records/0-2");
    (void)url_segment(q, id);
    (void)buf_add_str(&q->url, "/memberships");
    return send(c, s, q, HS_LISTS_OF, "GET",
                "/crm/lists/{v}/records/{objectTypeId}/{recordId}/memberships", "general", err);
}

/* ---- account, tokens, schema ---- */

static enum plan_result plan_account(const struct provider_conn *c, struct ask_state *s,
                                     struct http_request *q, struct err *err)
{
    if (s->calls > 0)
        return PLAN_DONE;
    if (is_dated(c))
        (void)api_path(q, c, "", "account-info", "");
    else
        (void)url_set(q, c->api_base, "/account-info/v3");
    (void)buf_add_str(&q->url, "/details");
    return send(c, s, q, HS_ACCOUNT, "GET", "/account-info/{v}/details", "general", err);
}

static enum plan_result plan_token(const struct provider_conn *c, const struct ask *a,
                                   struct ask_state *s, struct http_request *q, struct err *err)
{
    struct hs_state *d = s->data;
    if (s->calls > 0)
        return PLAN_DONE;
    if (c->token_url[0] != '\0')
        (void)url_set(q, c->token_url, "");
    else if (is_dated(c) && api_path(q, c, "", "oauth", "") == 0)
        (void)buf_add_str(&q->url, "/token");
    else
        (void)url_set(q, c->api_base, "/oauth/v3/token");
    if (a->kind == ASK_TOKEN_CODE) {
        (void)form_add(q, "grant_type", "authorization_code");
        (void)form_add(q, "code", a->code);
        (void)form_add(q, "redirect_uri", a->redirect_uri);
    } else {
        (void)form_add(q, "grant_type", "refresh_token");
        (void)form_add(q, "refresh_token", c->refresh_token);
    }
    (void)form_add(q, "client_id", c->client_id);
    (void)form_add(q, "client_secret", c->client_secret);
    if (http_request_header(q, "Content-Type", "application/x-www-form-urlencoded") < 0 ||
        http_request_header(q, "Accept", "application/json") < 0) {
        err_set(err, ERR_INTERNAL, "cannot add a header");
        return PLAN_ERROR;
    }
    d->call = HS_TOKEN;
    d->endpoint = "/oauth/{v}/token";
    return plan_call(s, q, "POST", d->endpoint, "oauth", err);
}

static enum plan_result plan_revoke(const struct provider_conn *c, struct ask_state *s,
                                    struct http_request *q, struct err *err)
{
    /* A private app's token is not ours to uninstall. */
    if (s->calls > 0 || c->refresh_token[0] == '\0')
        return PLAN_DONE;
    if (is_dated(c))
        (void)api_path(q, c, "", "appinstalls", "");
    else
        (void)url_set(q, c->api_base, "/appinstalls/v3");
    (void)buf_add_str(&q->url, "/external-install");
    return send(c, s, q, HS_REVOKE, "DELETE", "/appinstalls/{v}/external-install", "general",
                err);
}

static enum plan_result plan_list(const struct provider_conn *c, struct ask_state *s,
                                  struct http_request *q, struct err *err)
{
    (void)crm_path(q, c, "lists");
    (void)url_segment(q, c->scope_id);
    (void)url_query(q, "includeFilters", "false");
    return send(c, s, q, HS_LIST, "GET", "/crm/lists/{v}/{listId}", "general", err);
}

/* Lists are searched by name, of every type of object; pipelines are few. Lifecycle stages are
 * values of a property: the schema has them. */
static enum plan_result plan_choices(const struct provider_conn *c, const struct ask *a,
                                     struct ask_state *s, struct http_request *q,
                                     struct err *err)
{
    if (s->calls > 0)
        return PLAN_DONE;
    if (strcmp(c->scope_kind, "pipeline") == 0) {
        (void)crm_path(q, c, "pipelines");
        (void)url_segment(q, "deals");
        return send(c, s, q, HS_PIPELINES, "GET", "/crm/pipelines/{v}/{objectType}", "general",
                    err);
    }
    (void)crm_path(q, c, "lists");
    (void)buf_add_str(&q->url, "/search");
    (void)buf_printf(&q->body,
                     "{\"count\":%d,\"offset\":0,"
                     "\"additionalProperties\":[\"hs_list_size\"]",
                     HS_LIST_SEARCH_MAX);
    if (a->text != NULL && a->text[0] != '\0') {
        (void)buf_add_str(&q->body, ",\"query\":");
        (void)json_add_text(&q->body, slice_of(a->text));
    }
    (void)buf_add_char(&q->body, '}');
    return send(c, s, q, HS_LIST_SEARCH, "POST", "/crm/lists/{v}/search", "general", err);
}

static enum plan_result plan_schema(const struct provider_conn *c, const struct ask *a,
                                    struct ask_state *s, struct http_request *q,
                                    struct err *err)
{
    if (s->calls == 0) {
        (void)crm_path(q, c, "properties");
        (void)url_segment(q, a->object != NULL ? a->object->plural : "companies");
        return send(c, s, q, HS_PROPERTIES, "GET", "/crm/properties/{v}/{objectType}",
                    "general", err);
    }
    if (s->calls == 1 && is_list_scope(c))
        return plan_list(c, s, q, err);
    return PLAN_DONE;
}

enum plan_result hubspot_plan(const struct provider_conn *c, const struct ask *a,
                              struct ask_state *s, struct http_request *q, struct err *err)
{
    if (state_of(s) == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for an ask");
        return PLAN_ERROR;
    }
    switch (a->kind) {
    case ASK_RECORDS:
        return plan_records(c, a, s, q, err);
    case ASK_PAGE:
        return s->calls > 0 ? PLAN_DONE : plan_listing(c, a, a->object, false, s, q, err);
    case ASK_SCOPE_PAGE:
        return plan_scope_page(c, a, s, q, err);
    case ASK_RELATED:
        return plan_related(c, a, s, q, err);
    case ASK_CHANGED_SINCE:
        return plan_changed(c, a, s, q, err);
    case ASK_MEMBERSHIP:
        return plan_membership(c, a, s, q, err);
    case ASK_SCOPE_JOINS:
        return s->calls > 0 || !is_list_scope(c) ? PLAN_DONE
                                                 : plan_members(c, a, true, s, q, err);
    case ASK_SCOPE_INFO:
        return s->calls > 0 || !is_list_scope(c) ? PLAN_DONE : plan_list(c, s, q, err);
    case ASK_SCOPE_CHOICES:
        return plan_choices(c, a, s, q, err);
    case ASK_ACCOUNT:
        return plan_account(c, s, q, err);
    case ASK_TOKEN_CODE:
    case ASK_TOKEN_REFRESH:
        return plan_token(c, a, s, q, err);
    case ASK_REVOKE:
        return plan_revoke(c, s, q, err);
    case ASK_SCHEMA:
        return plan_schema(c, a, s, q, err);
    case ASK_HOOK_STATUS:
    case ASK_HOOK_REPAIR:
        return hubspot_plan_hooks(c, a, s, q, err);
    }
    err_set(err, ERR_INVALID, "unknown ask");
    return PLAN_ERROR;
}
