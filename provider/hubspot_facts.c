/* Answers that are about the account and not its records: who we are, tokens, the schema. */
#include "provider/hubspot_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *facts_of(struct ask_state *s)
{
    if (s->facts == NULL)
        s->facts = json_object();
    return s->facts;
}

static json_t *or_empty(const char *text)
{
    return json_string(text != NULL ? text : "");
}

static json_t *digits_of(const json_t *body, const char *name)
{
    char text[24] = "";
    int64_t n = json_int_of(body, name, 0);
    if (n > 0)
        (void)snprintf(text, sizeof text, "%lld", (long long)n);
    return json_string(text);
}

static int read_account(const json_t *body, json_t *facts, struct failure *why)
{
    const char *name = json_text_of(body, "accountName");
    const char *currency = json_text_of(body, "companyCurrency");
    char lower[8] = "";
    json_t *account = digits_of(body, "portalId");
    if (json_string_length(account) == 0) {
        json_decref(account);
        failure_set(why, ET_UNEXPECTED_SHAPE, "the account's details have no portalId");
        return -1;
    }
    for (size_t i = 0; currency != NULL && currency[i] != '\0' && i + 1 < sizeof lower; i++)
        lower[i] =
            currency[i] >= 'A' && currency[i] <= 'Z' ? (char)(currency[i] | 0x20) : currency[i];
    (void)json_object_set_new(facts, "account", account);
    (void)json_object_set_new(facts, "name", or_empty(name));
    (void)json_object_set_new(facts, "mode", json_string("live"));
    (void)json_object_set_new(facts, "time_zone", or_empty(json_text_of(body, "timeZone")));
    (void)json_object_set_new(facts, "currency", json_string(lower));
    (void)json_object_set_new(facts, "account_type",
                              or_empty(json_text_of(body, "accountType")));
    return json_object_set_new(facts, "ui_domain", or_empty(json_text_of(body, "uiDomain")));
}

static int read_token(const json_t *body, json_t *facts, struct failure *why)
{
    const char *access = json_text_of(body, "access_token");
    json_t *scopes = json_object_get(body, "scopes");
    if (access == NULL || access[0] == '\0') {
        failure_set(why, ET_AUTH_REFRESH_UNAVAILABLE, "the answer has no access_token");
        return -1;
    }
    (void)json_object_set_new(facts, "access_token", json_string(access));
    if (json_text_of(body, "refresh_token") != NULL)
        (void)json_object_set(facts, "refresh_token", json_object_get(body, "refresh_token"));
    (void)json_object_set_new(facts, "expires_in",
                              json_integer(json_int_of(body, "expires_in", 1800)));
    (void)json_object_set_new(facts, "account", digits_of(body, "hub_id"));
    (void)json_object_set_new(facts, "mode", json_string("live"));
    return json_is_array(scopes) ? json_object_set(facts, "scopes", scopes)
                                 : json_object_set_new(facts, "scopes", json_array());
}

static json_t *options_of(const json_t *property)
{
    const json_t *options = json_object_get(property, "options");
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(options); i++) {
        const json_t *o = json_array_get(options, i);
        json_list_add(&out, json_pack("{s:o, s:o}", "value", or_empty(json_text_of(o, "value")),
                                      "label", or_empty(json_text_of(o, "label"))));
    }
    return out;
}

static int read_properties(const json_t *body, json_t *facts, struct failure *why)
{
    const json_t *results = json_object_get(body, "results");
    json_t *list = json_array();
    if (!json_is_array(results)) {
        json_decref(list);
        failure_set(why, ET_UNEXPECTED_SHAPE, "the schema has no results");
        return -1;
    }
    for (size_t i = 0; i < json_array_size(results); i++) {
        const json_t *p = json_array_get(results, i);
        const char *field_type = json_text_of(p, "fieldType");
        bool calculated =
            json_bool_of(p, "calculated", false) ||
            (field_type != NULL && strcmp(field_type, "calculation_equation") == 0);
        if (json_text_of(p, "name") == NULL)
            continue;
        json_list_add(&list,
                      json_pack("{s:s, s:o, s:o, s:o, s:b, s:b, s:o}", "name",
                                json_text_of(p, "name"), "label",
                                or_empty(json_text_of(p, "label")), "type",
                                or_empty(json_text_of(p, "type")), "field_type",
                                or_empty(field_type), "calculated", calculated, "archived",
                                json_bool_of(p, "archived", false), "options", options_of(p)));
    }
    return json_object_set_new(facts, "properties", list);
}

static int read_list(const json_t *body, json_t *facts, struct failure *why)
{
    const json_t *l = json_object_get(body, "list");
    if (!json_is_object(l)) {
        failure_set(why, ET_UNEXPECTED_SHAPE, "the answer has no list");
        return -1;
    }
    json_t *list =
        json_pack("{s:o, s:o, s:o, s:o, s:I, s:b}", "id", or_empty(json_text_of(l, "listId")),
                  "name", or_empty(json_text_of(l, "name")), "object_type",
                  or_empty(json_text_of(l, "objectTypeId")), "processing",
                  or_empty(json_text_of(l, "processingType")), "size",
                  (json_int_t)json_int_of(l, "size", -1), "deleted",
                  json_text_of(l, "deletedAt") != NULL);
    return json_object_set_new(facts, "list", list);
}

static json_t *list_choice(const json_t *l)
{
    const json_t *more = json_object_get(l, "additionalProperties");
    const char *type = json_text_of(l, "objectTypeId");
    if (type == NULL || strcmp(type, "0-2") != 0 || json_text_of(l, "deletedAt") != NULL)
        return NULL;
    const char *changed = json_text_of(l, "filtersUpdatedAt");
    changed = changed != NULL ? changed : json_text_of(l, "updatedAt");
    /* the size comes as a text */
    const char *size = json_text_of(more, "hs_list_size");
    json_t *count = size != NULL && size[0] != '\0' && strlen(size) < 16 &&
                            strspn(size, "0123456789") == strlen(size)
                        ? json_integer(strtoll(size, NULL, 10))
                        : json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "id", or_empty(json_text_of(l, "listId")),
                     "name", or_empty(json_text_of(l, "name")), "processing",
                     or_empty(json_text_of(l, "processingType")), "size", count, "changed_at",
                     changed != NULL ? json_string(changed) : json_null());
}

static json_t *pipeline_choice(const json_t *p)
{
    return json_is_true(json_object_get(p, "archived"))
               ? NULL
               : json_pack("{s:o, s:o, s:s, s:n, s:n}", "id", or_empty(json_text_of(p, "id")),
                           "name", or_empty(json_text_of(p, "label")), "processing", "", "size",
                           "changed_at");
}

static int read_choices(const json_t *body, bool lists, json_t *facts, struct failure *why)
{
    const json_t *found = json_object_get(body, lists ? "lists" : "results");
    json_t *choices = json_array();
    if (!json_is_array(found)) {
        json_decref(choices);
        failure_set(why, ET_UNEXPECTED_SHAPE, "the answer has no %s",
                    lists ? "lists" : "pipelines");
        return -1;
    }
    for (size_t i = 0; i < json_array_size(found); i++) {
        const json_t *one = json_array_get(found, i);
        json_t *choice = lists ? list_choice(one) : pipeline_choice(one);
        if (choice != NULL)
            json_list_add(&choices, choice);
    }
    (void)json_object_set_new(facts, "more",
                              json_boolean(json_bool_of(body, "hasMore", false)));
    return json_object_set_new(facts, "choices", choices);
}

int hubspot_read_facts(struct ask_state *s, const struct http_response *r, struct failure *why)
{
    const struct hs_state *d = s->data;
    json_t *body = answer_json(r);
    json_t *facts = facts_of(s);
    int rc = -1;
    if (body == NULL)
        failure_set(why, ET_MALFORMED_BODY, "the answer is no JSON object");
    else if (facts == NULL)
        failure_no_memory(why);
    else if (d->call == HS_ACCOUNT)
        rc = read_account(body, facts, why);
    else if (d->call == HS_TOKEN)
        rc = read_token(body, facts, why);
    else if (d->call == HS_PROPERTIES)
        rc = read_properties(body, facts, why);
    else if (d->call == HS_LIST_SEARCH || d->call == HS_PIPELINES)
        rc = read_choices(body, d->call == HS_LIST_SEARCH, facts, why);
    else
        rc = read_list(body, facts, why);
    if (rc < 0 && why->type == ET_NONE)
        failure_no_memory(why);
    json_decref(body);
    return rc;
}
