/* Properties, owners, pipelines, account details. */
#include "hubspot.h"

#include <stdio.h>
#include <string.h>

static bool query_true(const struct sim_request *r, const char *name)
{
    const char *v = sim_param(&r->query, name, 0);
    return v != NULL && strcmp(v, "true") == 0;
}

void hs_properties_call(struct hs_call *c)
{
    struct sim_request *r = c->r;
    enum hs_type t = c->n >= 1 ? hs_type_of(c->seg[0]) : HS_TYPES;
    if (strcmp(r->method, "GET") != 0 || c->n < 1 || c->n > 2 || t == HS_TYPES) {
        hs_unknown_path(r);
        return;
    }
    (void)snprintf(r->endpoint, sizeof r->endpoint, "GET /crm/properties/{v}/%s%s",
                   hs_plural(t), c->n == 2 ? "/{name}" : "");
    char scope[64];
    (void)snprintf(scope, sizeof scope, "crm.schemas.%s.read", hs_plural(t));
    if (t != HS_TICKETS && !hs_need_scope(c, scope)) {
        return;
    }
    bool archived = query_true(r, "archived");
    const char *sensitivity = sim_param(&r->query, "dataSensitivity", 0);
    json_t *out = json_array();
    for (struct hs_def *d = c->p->tables[t].defs; d != NULL; d = d->hh.next) {
        const char *is = json_string_value(json_object_get(d->json, "dataSensitivity"));
        const char *want = sensitivity != NULL ? sensitivity : "non_sensitive";
        if (c->n == 2 ? strcmp(d->name, c->seg[1]) == 0 && !d->archived
                      : d->archived == archived &&
                            strcmp(is != NULL ? is : "non_sensitive", want) == 0) {
            (void)json_array_append(out, d->json);
        }
    }
    r->rows = json_array_size(out);
    if (c->n == 1) {
        sim_answer_json(r, 200, json_pack("{s:o}", "results", out), 0);
    } else if (r->rows == 1) {
        sim_answer_json(r, 200, json_incref(json_array_get(out, 0)), 0);
        json_decref(out);
    } else {
        json_decref(out);
        hs_error(r, 404, "OBJECT_NOT_FOUND", "Property %s does not exist", c->seg[1]);
    }
}

static void list_owners(struct hs_call *c)
{
    struct sim_request *r = c->r;
    const char *text = sim_param(&r->query, "limit", 0);
    int64_t limit = text != NULL ? hs_parse_id(text) : 100;
    const char *after = sim_param(&r->query, "after", 0);
    const char *email = sim_param(&r->query, "email", 0);
    bool archived = query_true(r, "archived");
    if (limit < 1 || limit > 500 || (after != NULL && hs_parse_id(after) < 0)) {
        hs_invalid(r, "Invalid limit or after.");
        return;
    }
    json_t *out = json_array();
    const char *next = NULL;
    size_t i = 0;
    json_t *o = NULL;
    json_array_foreach(c->p->owners, i, o)
    {
        const char *id = json_string_value(json_object_get(o, "id"));
        const char *mail = json_string_value(json_object_get(o, "email"));
        if (json_is_true(json_object_get(o, "archived")) != archived ||
            (after != NULL && hs_parse_id(id) < hs_parse_id(after)) ||
            (email != NULL && (mail == NULL || strcasecmp(mail, email) != 0))) {
            continue;
        }
        if ((int64_t)json_array_size(out) == limit) {
            next = id;
            break;
        }
        (void)json_array_append(out, o);
    }
    r->rows = json_array_size(out);
    json_t *answer = json_pack("{s:o}", "results", out);
    if (next != NULL) {
        (void)json_object_set_new(answer, "paging",
                                  json_pack("{s:{s:s}}", "next", "after", next));
    }
    sim_answer_json(r, 200, answer, 0);
}

void hs_owners_call(struct hs_call *c)
{
    struct sim_request *r = c->r;
    if (strcmp(r->method, "GET") != 0 || c->n > 1) {
        hs_unknown_path(r);
        return;
    }
    (void)snprintf(r->endpoint, sizeof r->endpoint, "GET /crm/owners/{v}%s",
                   c->n == 1 ? "/{id}" : "");
    if (!hs_need_scope(c, "crm.objects.owners.read")) {
        return;
    }
    if (c->n == 0) {
        list_owners(c);
        return;
    }
    size_t i = 0;
    json_t *o = NULL;
    json_array_foreach(c->p->owners, i, o)
    {
        if (strcmp(json_string_value(json_object_get(o, "id")), c->seg[0]) == 0 &&
            json_is_true(json_object_get(o, "archived")) == query_true(r, "archived")) {
            sim_answer_json(r, 200, json_incref(o), 0);
            return;
        }
    }
    (void)sim_hubspot_error(r, "not-found");
}

void hs_pipelines_call(struct hs_call *c)
{
    struct sim_request *r = c->r;
    enum hs_type t = c->n == 1 ? hs_type_of(c->seg[0]) : HS_TYPES;
    if (strcmp(r->method, "GET") != 0 || (t != HS_DEALS && t != HS_TICKETS)) {
        hs_unknown_path(r);
        return;
    }
    (void)snprintf(r->endpoint, sizeof r->endpoint, "GET /crm/pipelines/{v}/%s", hs_plural(t));
    if (hs_need_read(c, t)) {
        json_t *list = t == HS_DEALS ? json_incref(c->p->pipelines) : json_array();
        sim_answer_json(r, 200, json_pack("{s:o}", "results", list), 0);
    }
}

void hs_account_call(struct hs_call *c)
{
    struct sim_request *r = c->r;
    if (strcmp(r->method, "GET") == 0 && c->n == 1 && strcmp(c->seg[0], "details") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "GET /account-info/{v}/details");
        json_t *j = json_deep_copy(json_object_get(c->p->settings, "account"));
        (void)json_object_set_new(j, "portalId", json_integer(c->p->id));
        sim_answer_json(r, 200, j, 0);
        return;
    }
    if (strcmp(r->method, "GET") == 0 && c->n == 3 && strcmp(c->seg[0], "api-usage") == 0 &&
        strcmp(c->seg[1], "daily") == 0 && strcmp(c->seg[2], "private-apps") == 0) {
        (void)snprintf(r->endpoint, sizeof r->endpoint,
                       "GET /account-info/{v}/api-usage/daily/private-apps");
        char now[40];
        sim_iso_time(sim_now_ms(r->sim), now, sizeof now);
        int64_t limit = hs_int(c->p, "limit_daily");
        sim_answer_json(r, 200,
                        json_pack("{s:[{s:s, s:I, s:I, s:s, s:s, s:s}]}", "results", "name",
                                  "private-apps-api-calls-daily", "usageLimit",
                                  (json_int_t)(limit > 0 ? limit : 250000), "currentUsage",
                                  (json_int_t)c->p->calls_today, "collectedAt", now,
                                  "fetchStatus", "SUCCESS", "resetsAt", now),
                        0);
        return;
    }
    hs_unknown_path(r);
}

void hs_uninstall_call(struct hs_call *c)
{
    struct sim_request *r = c->r;
    if (strcmp(r->method, "DELETE") != 0 || c->n != 1 ||
        strcmp(c->seg[0], "external-install") != 0) {
        hs_unknown_path(r);
        return;
    }
    (void)snprintf(r->endpoint, sizeof r->endpoint, "DELETE /appinstalls/{v}/external-install");
    hs_uninstall(c->p);
    r->res.status = 204;
}
