/* Answers that are about the account and not its records: who we are, tokens, endpoints. */
#include "provider/stripe_priv.h"

#include <stdio.h>
#include <string.h>

enum { APP_TOKEN_LIFE_S = 3600 }; /* Stripe's answer does not say it */

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

/* The mode is in the key; a token of an app does not show it. */
static const char *mode_of(const struct provider_conn *c)
{
    const char *t = c->access_token[0] != '\0' ? c->access_token : c->client_secret;
    if (strncmp(t, "sk_test_", 8) == 0 || strncmp(t, "rk_test_", 8) == 0)
        return "test";
    if (strncmp(t, "sk_live_", 8) == 0 || strncmp(t, "rk_live_", 8) == 0)
        return "live";
    return c->mode[0] != '\0' ? c->mode : "live";
}

static int read_account(const struct provider_conn *c, const json_t *body, json_t *facts,
                        struct failure *why)
{
    const json_t *dashboard = json_object_get(json_object_get(body, "settings"), "dashboard");
    const char *id = json_text_of(body, "id");
    const char *name = json_text_of(dashboard, "display_name");
    if (id == NULL) {
        failure_set(why, ET_UNEXPECTED_SHAPE, "the account has no id");
        return -1;
    }
    if (name == NULL)
        name = json_text_of(json_object_get(body, "business_profile"), "name");
    if (name == NULL)
        name = json_text_of(body, "email");
    (void)json_object_set_new(facts, "account", json_string(id));
    (void)json_object_set_new(facts, "name", or_empty(name));
    (void)json_object_set_new(facts, "mode", json_string(mode_of(c)));
    (void)json_object_set_new(facts, "time_zone",
                              or_empty(json_text_of(dashboard, "timezone")));
    (void)json_object_set_new(facts, "currency",
                              or_empty(json_text_of(body, "default_currency")));
    (void)json_object_set_new(facts, "created", json_integer(json_int_of(body, "created", 0)));
    return json_object_set_new(facts, "ui_domain", json_string("dashboard.stripe.com"));
}

/* A restricted key that may not read the account is told which account it belongs to. */
int stripe_account_of_refusal(const struct provider_conn *c, struct ask_state *s,
                              struct failure *why)
{
    char id[64] = "";
    const char *at = strstr(why->message, "acct_");
    json_t *facts = facts_of(s);
    size_t n = at != NULL ? strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789_")
                          : 0;
    if (n <= strlen("acct_") || n >= sizeof id || facts == NULL)
        return -1;
    memcpy(id, at, n);
    (void)json_object_set_new(facts, "account", json_string(id));
    (void)json_object_set_new(facts, "name", json_string(""));
    (void)json_object_set_new(facts, "mode", json_string(mode_of(c)));
    (void)json_object_set_new(facts, "time_zone", json_string(""));
    (void)json_object_set_new(facts, "currency", json_string(""));
    (void)json_object_set_new(facts, "ui_domain", json_string("dashboard.stripe.com"));
    *why = (struct failure){.wait_ms = -1};
    return 0;
}

static int read_token(const struct provider_conn *c, const json_t *body, json_t *facts,
                      struct failure *why)
{
    const char *access = json_text_of(body, "access_token");
    const char *scope = json_text_of(body, "scope");
    bool app = strcmp(c->oauth_kind, "connect") != 0;
    json_t *scopes = json_array();
    if (access == NULL || access[0] == '\0') {
        json_decref(scopes);
        failure_set(why, ET_AUTH_REFRESH_UNAVAILABLE, "the answer has no access_token");
        return -1;
    }
    if (scope != NULL)
        json_list_add(&scopes, json_string(scope));
    (void)json_object_set_new(facts, "access_token", json_string(access));
    if (json_text_of(body, "refresh_token") != NULL)
        (void)json_object_set(facts, "refresh_token", json_object_get(body, "refresh_token"));
    (void)json_object_set_new(
        facts, "expires_in",
        json_integer(json_int_of(body, "expires_in", app ? APP_TOKEN_LIFE_S : 0)));
    (void)json_object_set_new(facts, "account", or_empty(json_text_of(body, "stripe_user_id")));
    if (json_is_boolean(json_object_get(body, "livemode")))
        (void)json_object_set_new(
            facts, "mode", json_string(json_bool_of(body, "livemode", true) ? "live" : "test"));
    return json_object_set_new(facts, "scopes", scopes);
}

static bool mirrors(const char *const *objects, const struct object_type *o)
{
    for (size_t i = 0; objects != NULL && objects[i] != NULL; i++) {
        if (strcmp(objects[i], o->name) == 0)
            return true;
    }
    return objects == NULL && (o->flags & OBJECT_DEFAULT) != 0;
}

static bool holds(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (one != NULL && (strcmp(one, text) == 0 || strcmp(one, "*") == 0))
            return true;
    }
    return false;
}

json_t *stripe_events_needed(const char *const *objects)
{
    json_t *out = json_array();
    for (const struct object_type *o = stripe_objects; o->name != NULL; o++) {
        const char *const *events = stripe_type(o->name)->events;
        for (size_t i = 0; mirrors(objects, o) && events[i] != NULL; i++) {
            /* Types share some, and plan.* tells again what price.* told. */
            if (strncmp(events[i], "plan.", 5) != 0 && !holds(out, events[i]))
                json_list_add(&out, json_string(events[i]));
        }
    }
    json_list_add(&out, json_string("account.application.deauthorized"));
    return out;
}

static int put_endpoint(const struct provider_conn *c, const struct ask *a, json_t *facts,
                        const json_t *endpoint)
{
    const char *status = json_text_of(endpoint, "status");
    const char *version = json_text_of(endpoint, "api_version");
    const json_t *enabled = json_object_get(endpoint, "enabled_events");
    json_auto_t *needed = stripe_events_needed(a->objects);
    json_t *missing = json_array();
    for (size_t i = 0; i < json_array_size(needed); i++) {
        json_t *one = json_array_get(needed, i);
        if (!holds(enabled, json_string_value(one)))
            json_list_add(&missing, json_incref(one));
    }
    if (needed == NULL || missing == NULL) {
        json_decref(missing);
        return -1; /* what was not counted must not look sound */
    }
    (void)json_object_set_new(facts, "supported", json_true());
    (void)json_object_set_new(facts, "found", json_boolean(endpoint != NULL));
    (void)json_object_set_new(facts, "id", or_empty(json_text_of(endpoint, "id")));
    (void)json_object_set_new(facts, "status", or_empty(status));
    (void)json_object_set_new(facts, "api_version", or_empty(version));
    (void)json_object_set_new(
        facts, "version_ok",
        json_boolean(version != NULL && strcmp(version, c->api_version) == 0));
    /* More than is needed, or "*", misses nothing. */
    (void)json_object_set_new(facts, "events_ok", json_boolean(json_array_size(missing) == 0));
    (void)json_object_set_new(facts, "missing", missing);
    if (json_text_of(endpoint, "secret") != NULL) /* only told when it is made */
        (void)json_object_set(facts, "secret", json_object_get(endpoint, "secret"));
    return json_object_set_new(
        facts, "enabled",
        json_boolean(endpoint != NULL && status != NULL && strcmp(status, "enabled") == 0));
}

static int read_endpoints(const struct provider_conn *c, const struct ask *a,
                          struct st_state *d, const json_t *body, json_t *facts,
                          struct failure *why)
{
    const json_t *data = json_object_get(body, "data");
    const json_t *found = NULL;
    if (!json_is_array(data)) {
        failure_set(why, ET_UNEXPECTED_SHAPE, "the answer is no list");
        return -1;
    }
    for (size_t i = 0; i < json_array_size(data); i++) {
        const char *url = json_text_of(json_array_get(data, i), "url");
        if (url != NULL && a->hook_url != NULL && strcmp(url, a->hook_url) == 0)
            found = json_array_get(data, i);
    }
    d->endpoint_known =
        found != NULL &&
        text_copy(d->endpoint_id, sizeof d->endpoint_id, json_text_of(found, "id")) &&
        d->endpoint_id[0] != '\0';
    int rc = put_endpoint(c, a, facts, found);
    bool version_ok = json_is_true(json_object_get(facts, "version_ok"));
    d->endpoint_anew = d->endpoint_known && (a->hook_replace || !version_ok);
    d->endpoint_sound = version_ok && json_is_true(json_object_get(facts, "enabled")) &&
                        json_is_true(json_object_get(facts, "events_ok"));
    return rc;
}

int stripe_read_facts(const struct provider_conn *c, const struct ask *a, struct ask_state *s,
                      const struct http_response *r, struct failure *why)
{
    struct st_state *d = s->data;
    json_t *body = answer_json(r);
    json_t *facts = facts_of(s);
    int rc = -1;
    if (body == NULL)
        failure_set(why, ET_MALFORMED_BODY, "the answer is no JSON object");
    else if (facts == NULL)
        failure_no_memory(why);
    else if (d->call == ST_ACCOUNT)
        rc = read_account(c, body, facts, why);
    else if (d->call == ST_TOKEN)
        rc = read_token(c, body, facts, why);
    else if (d->call == ST_ENDPOINTS)
        rc = read_endpoints(c, a, d, body, facts, why);
    else
        rc = put_endpoint(c, a, facts, body);
    if (rc < 0 && why->type == ET_NONE)
        failure_no_memory(why);
    json_decref(body);
    return rc;
}

json_t *stripe_schema(void)
{
    static const struct {
        const char *name, *label, *type;
    } properties[] = {
        {"mrr", "Monthly recurring revenue", "number"},
        {"mrr_currency", "Currency of the MRR", "string"},
        {"mrr_by_currency", "MRR in minor units by currency", "json"},
        {"payment_status", "Payment status", "enumeration"},
        {"subscription_status", "Subscription status", "enumeration"},
        {"id", "Customer id", "string"},
        {"name", "Name", "string"},
        {"email", "E-mail", "string"},
        {"email_domain", "Domain of the e-mail", "string"},
        {"phone", "Phone", "string"},
        {"description", "Description", "string"},
        {"currency", "Currency", "string"},
        {"created", "Created (unix seconds)", "number"},
        {"balance", "Balance in minor units", "number"},
        {"delinquent", "Delinquent", "bool"},
        {"hubspot_company_id", "HubSpot company id from the metadata", "string"},
        {"metadata.*", "What the metadata keeps under that name", "string"},
    };
    json_t *list = json_array();
    for (size_t i = 0; i < COUNT_OF(properties); i++)
        json_list_add(&list, json_pack("{s:s, s:s, s:s, s:b, s:[]}", "name", properties[i].name,
                                       "label", properties[i].label, "type", properties[i].type,
                                       "calculated", 0, "options"));
    return json_pack("{s:o}", "properties", list);
}
