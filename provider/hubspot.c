/* HubSpot: what it has, and the small answers that need no call. Facts and where they come
 * from: DESIGN.md. */
#include "provider/hubspot_priv.h"

#include <string.h>

/* In the order a full run reads: owners first, since a company's owner is found by them. */
const struct object_type hubspot_objects[] = {
    {.name = "owner",
     .plural = "owners",
     .batch_max = 100,
     .page_max = 100,
     .read_family = "general",
     .list_family = "general",
     .flags = OBJECT_DEFAULT | OBJECT_LISTED},
    {.name = "company",
     .plural = "companies",
     .batch_max = 100,
     .page_max = 100,
     .read_family = "general",
     .list_family = "general",
     .flags = OBJECT_DEFAULT | OBJECT_ROOT | OBJECT_SELF | OBJECT_SCOPED},
    {.name = "contact",
     .plural = "contacts",
     .batch_max = 100,
     .page_max = 100,
     .read_family = "general",
     .list_family = "general",
     .links_name = "contact-links",
     .links_family = "associations",
     .flags = OBJECT_DEFAULT | OBJECT_RELATED},
    {0},
};

/* burst + rate x window stays under the limit in any window, with room for the jitter between
 * our clock and theirs. Search and associations have limits of their own. */
static const struct quota_family quotas[] = {
    {.name = "general", .limit = 110, .window_ms = 10000, .rate_per_s = 10.6, .burst = 3},
    {.name = "search", .limit = 5, .window_ms = 1000, .rate_per_s = 3.9, .burst = 1},
    {.name = "associations", .limit = 100, .window_ms = 10000, .rate_per_s = 9.6, .burst = 3},
    {.name = "oauth", .limit = 100, .window_ms = 10000, .rate_per_s = 5, .burst = 5},
    {0},
};

static const char default_mapping[] =
    "[{\"field\":\"name\",\"source\":\"name\",\"type\":\"text\",\"convert\":\"trim\"},"
    "{\"field\":\"domain\",\"source\":\"domain\",\"type\":\"domain\",\"convert\":\"lower\"},"
    "{\"field\":\"owner\",\"source\":\"hubspot_owner_id\",\"type\":\"owner\",\"convert\":"
    "\"owner_email\"},"
    "{\"field\":\"plan\",\"source\":\"tier\",\"type\":\"enum\",\"convert\":\"plan\"},"
    "{\"field\":\"arr\",\"source\":\"annualrevenue\",\"type\":\"number\",\"convert\":\"\"},"
    "{\"field\":\"industry\",\"source\":\"industry\",\"type\":\"text\",\"convert\":\"\"},"
    "{\"field\":\"employee_count\",\"source\":\"numberofemployees\",\"type\":\"integer\","
    "\"convert\":\"\"},"
    "{\"field\":\"created_at\",\"source\":\"createdate\",\"type\":\"datetime\",\"convert\":"
    "\"\"}]";

static const char scopes[] =
    "oauth crm.objects.companies.read crm.objects.contacts.read crm.schemas.companies.read "
    "crm.schemas.contacts.read crm.lists.read crm.objects.owners.read";

const struct object_type *hubspot_object(const char *name)
{
    for (const struct object_type *o = hubspot_objects; o->name != NULL; o++) {
        if (strcmp(o->name, name) == 0)
            return o;
    }
    return NULL;
}

/* A company's properties are the source properties as they are. */
static int derive(const json_t *bundle, const struct derive_policy *p, json_t **out,
                  json_t **notes, struct err *err)
{
    (void)p;
    const json_t *properties = json_object_get(bundle, "properties");
    if (notes != NULL)
        *notes = NULL;
    if (!json_is_object(properties)) {
        err_set(err, ERR_PROTOCOL, "the company has no properties");
        return -1;
    }
    *out = json_deep_copy(properties);
    if (*out != NULL && json_object_get(*out, "hs_object_id") == NULL &&
        json_is_string(json_object_get(bundle, "id")))
        (void)json_object_set(*out, "hs_object_id", json_object_get(bundle, "id"));
    if (*out == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a company's properties");
        return -1;
    }
    return 0;
}

/* With a known account the page is pinned to it, so that a user who reauthorizes cannot pick
 * another portal by mistake. */
static int authorize_url(const struct provider_conn *c, const char *authorize_base,
                         const char *redirect_uri, const char *state, struct buf *out,
                         struct err *err)
{
    static const char tail[] = "/oauth/authorize";
    const char *base =
        authorize_base[0] != '\0' ? authorize_base : "https://app.hubspot.com/oauth/authorize";
    size_t len = strlen(base);
    if (c->client_id[0] == '\0') {
        err_set(err, ERR_CONFIG, "HUBSPOT_CLIENT_ID is not set");
        return -1;
    }
    if (c->account[0] != '\0' && len > sizeof tail - 1 &&
        strcmp(base + len - (sizeof tail - 1), tail) == 0) {
        (void)buf_add(out, base, len - strlen("/authorize"));
        (void)buf_add_char(out, '/');
        (void)http_escape(out, c->account);
        (void)buf_add_str(out, "/authorize");
    } else {
        (void)buf_add_str(out, base);
    }
    (void)buf_add_str(out, "?client_id=");
    (void)http_escape(out, c->client_id);
    (void)buf_add_str(out, "&redirect_uri=");
    (void)http_escape(out, redirect_uri);
    (void)buf_add_str(out, "&scope=");
    (void)http_escape(out, scopes);
    (void)buf_add_str(out, "&optional_scope=crm.objects.deals.read&state=");
    (void)http_escape(out, state);
    if (out->failed) {
        err_set(err, ERR_INVALID, "the authorize URL is too long");
        return -1;
    }
    return 0;
}

static bool is_host(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-")] == 0;
}

/* A HubSpot token belongs to one account; there is no test mode of it. */
static const char *token_mode(const char *token)
{
    return token[0] != '\0' && strpbrk(token, " \t\r\n") == NULL ? "live" : NULL;
}

static int record_url(const struct provider_conn *c, const char *ui_domain, const char *object,
                      const char *id, struct buf *out)
{
    const char *type = strcmp(object, "company") == 0   ? "0-2"
                       : strcmp(object, "contact") == 0 ? "0-1"
                                                        : NULL;
    if (type == NULL || c->account[0] == '\0')
        return 0;
    (void)buf_printf(out, "https://%s/contacts/",
                     is_host(ui_domain) ? ui_domain : "app.hubspot.com");
    (void)http_escape(out, c->account);
    (void)buf_printf(out, "/record/%s/", type);
    return http_escape(out, id);
}

extern const struct provider provider_hubspot;
const struct provider provider_hubspot = {
    .name = "hubspot",
    .title = "HubSpot",
    .scope_kinds = "list stage pipeline",
    .objects = hubspot_objects,
    .quotas = quotas,
    .hook_of_app = true,
    .request_id_header = "x-hubspot-correlation-id",
    .hook_verify = hubspot_hook_verify,
    .hook_parse = hubspot_hook_parse,
    .hook_test = hubspot_hook_test,
    .plan = hubspot_plan,
    .read = hubspot_read,
    .classify = hubspot_classify,
    .limits = hubspot_limits,
    .derive = derive,
    .default_mapping = default_mapping,
    .scopes_needed = scopes,
    .authorize_url = authorize_url,
    .record_url = record_url,
    .token_mode = token_mode,
    .hook_manifest = hubspot_hook_manifest,
};
