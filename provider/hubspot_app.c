/* What an app must subscribe to, so that its deliveries cover what is mirrored: for apps of the
 * developer platform as the file webhooks-hsmeta.json. */
#include "provider/hubspot_priv.h"

#include <string.h>

enum { MANIFEST_CONCURRENT = 10 };

/* HubSpot offers no subscription for these, or they never change. */
static bool is_never_told(const char *property)
{
    static const char *const names[] = {"hs_lastmodifieddate",          "lastmodifieddate",
                                        "num_unique_conversion_events", "hs_object_id",
                                        "hs_merged_object_ids",         "createdate"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(names[i], property) == 0)
            return true;
    }
    return false;
}

static int add_property(json_t *list, const char *object, const char *property)
{
    if (is_never_told(property))
        return 0;
    return json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b}", "subscriptionType",
                                                 "object.propertyChange", "objectType", object,
                                                 "propertyName", property, "active", 1));
}

static const char *const verbs[] = {"creation", "deletion", "merge", "restore",
                                    "associationChange"};

static bool is_wanted(const char *const *objects, const char *name)
{
    for (size_t i = 0; objects != NULL && objects[i] != NULL; i++) {
        if (strcmp(objects[i], name) == 0)
            return true;
    }
    return objects == NULL;
}

static void need(json_t **list, const char *object, const char *verb, const char *property)
{
    json_t *each = json_pack("{s:s++, s:b}", "eventType", object, ".", verb, "active", 1);
    if (property != NULL)
        (void)json_object_set_new(each, "propertyName", json_string(property));
    json_list_add(list, each);
}

/* A contact's privacy deletion always: what was mirrored of it once may be here still. */
json_t *hubspot_events_needed(const struct provider_conn *c, const char *const *objects)
{
    static const char *const names[] = {"company", "contact"};
    json_t *list = json_array();
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *properties[512];
        if (!is_wanted(objects, names[i]))
            continue;
        int n =
            hubspot_properties(c, hubspot_object(names[i]), properties, COUNT_OF(properties));
        for (size_t v = 0; v < COUNT_OF(verbs); v++)
            need(&list, names[i], verbs[v], NULL);
        for (int p = 0; p < n; p++) {
            if (!is_never_told(properties[p]))
                need(&list, names[i], "propertyChange", properties[p]);
        }
    }
    need(&list, "contact", "privacyDeletion", NULL);
    return list;
}

/* One subscription for each property that is asked for: of an account that lacks one no events
 * come, and nothing reports it. */
static int add_properties(const struct provider_conn *c, const char *name, json_t *list)
{
    const char *properties[512];
    int n = hubspot_properties(c, hubspot_object(name), properties, (int)COUNT_OF(properties));
    for (int i = 0; i < n; i++) {
        if (add_property(list, name, properties[i]) < 0)
            return -1;
    }
    return 0;
}

static int add_verbs(const char *name, json_t *list)
{
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (json_array_append_new(list, json_pack("{s:s++, s:b}", "subscriptionType", name, ".",
                                                  verbs[i], "active", 1)) < 0)
            return -1;
    }
    return 0;
}

int hubspot_hook_manifest(const struct provider_conn *c, const char *hook_url, json_t **out,
                          struct err *err)
{
    static const char *const names[] = {"company", "contact"};
    json_t *crm = json_array();
    json_t *legacy = json_array();
    int rc = 0;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (add_properties(c, names[i], crm) < 0 || add_verbs(names[i], legacy) < 0)
            rc = -1;
    }
    *out = json_pack("{s:s, s:s, s:{s:{s:s, s:i}, s:{s:o, s:o, s:[{s:s, s:b}]}}}", "uid",
                     "webhooks", "type", "webhooks", "config", "settings", "targetUrl",
                     hook_url, "maxConcurrentRequests", MANIFEST_CONCURRENT, "subscriptions",
                     "crmObjects", crm, "legacyCrmObjects", legacy, "hubEvents",
                     "subscriptionType", "contact.privacyDeletion", "active", 1);
    if (rc == 0 && *out != NULL)
        return 0;
    json_decref(*out);
    *out = NULL;
    err_set(err, ERR_NOMEM, "out of memory for the app's subscriptions");
    return -1;
}
