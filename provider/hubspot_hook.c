/* HubSpot deliveries: the v3 signature, and a batch of events as things to look at.
 *
 * Only v3 is taken. v1 and v2 are still sent next to it, have no timestamp, and a receiver that
 * takes any valid one is only as strong as v1. */
#include "common/sign.h"
#include "provider/hubspot_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_AGE_MS = 300 * 1000,
    TIMESTAMP_CHARS = 13,
    SIGNATURE_CHARS = 44,
    URL_MAX_BYTES = 4096,
};

/* ---- signature ---- */

/* The escapes that v3 undoes before hashing, and no others. */
static char unescaped(const char *at)
{
    static const struct {
        char code[3];
        char plain;
    } table[] = {{"3A", ':'},  {"2F", '/'}, {"3F", '?'}, {"40", '@'}, {"21", '!'}, {"24", '$'},
                 {"27", '\''}, {"28", '('}, {"29", ')'}, {"2A", '*'}, {"2C", ','}, {"3B", ';'}};
    if (at[0] != '%' || at[1] == '\0')
        return '\0';
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char upper = at[2] >= 'a' && at[2] <= 'f' ? (char)(at[2] - 'a' + 'A') : at[2];
        if (at[1] == table[i].code[0] && upper == table[i].code[1])
            return table[i].plain;
    }
    return '\0';
}

static int url_to_hash(const char *url, char out[URL_MAX_BYTES], struct slice *slice)
{
    size_t n = 0;
    for (const char *p = url; *p != '\0'; n++) {
        if (n >= URL_MAX_BYTES)
            return -1;
        char plain = unescaped(p);
        out[n] = plain != '\0' ? plain : *p;
        p += plain != '\0' ? 3 : 1;
    }
    *slice = (struct slice){out, n};
    return 0;
}

static bool read_timestamp(const char *text, int64_t *at_ms)
{
    if (strlen(text) != TIMESTAMP_CHARS || strspn(text, "0123456789") != TIMESTAMP_CHARS)
        return false;
    *at_ms = strtoll(text, NULL, 10);
    return true;
}

static int refuse(struct err *err, enum error_type *type, enum error_type t, const char *why)
{
    *type = t;
    err_set(err, ERR_AUTH, "%s", why);
    return -1;
}

int hubspot_hook_verify(const struct hook *h, const struct secret_list *secrets, int64_t now_ms,
                        enum error_type *type, struct err *err)
{
    char url[URL_MAX_BYTES];
    struct slice uri;
    int64_t at_ms = 0;
    const char *signature = h->header(h->request, "x-hubspot-signature-v3");
    const char *timestamp = h->header(h->request, "x-hubspot-request-timestamp");
    if (signature == NULL || timestamp == NULL)
        return refuse(err, type, ET_WH_SIGNATURE_MISSING, "no v3 signature or no timestamp");
    if (!read_timestamp(timestamp, &at_ms))
        return refuse(err, type, ET_WH_TIMESTAMP_OLD, "timestamp is not 13 digits");
    if (now_ms - at_ms > MAX_AGE_MS || at_ms - now_ms > MAX_AGE_MS)
        return refuse(err, type, ET_WH_TIMESTAMP_OLD, "timestamp is over 300 s from now");
    if (strlen(signature) != SIGNATURE_CHARS || url_to_hash(h->public_url, url, &uri) < 0)
        return refuse(err, type, ET_WH_SIGNATURE_INVALID, "signature has the wrong length");

    const struct slice parts[] = {
        {h->method, strlen(h->method)}, uri, h->body, {timestamp, TIMESTAMP_CHARS}};
    bool good = false;
    for (int i = 0; i < secrets->count; i++) {
        unsigned char mac[SIGN_SHA256_BYTES];
        struct buf text;
        buf_init(&text, 64);
        sign_hmac_sha256(secrets->secrets[i], parts, COUNT_OF(parts), mac);
        /* The text is compared: a lax decoder would take a changed last letter. */
        if (sign_base64(&text, (struct slice){(const char *)mac, sizeof mac}) == 0)
            good |= sign_equal((struct slice){text.bytes, text.len_bytes},
                               (struct slice){signature, SIGNATURE_CHARS});
        buf_release(&text);
    }
    if (!good)
        return refuse(err, type, ET_WH_SIGNATURE_INVALID, "signature does not match");
    return 0;
}

int hubspot_hook_test(const struct provider_conn *c, const char *hook_url, struct slice secret,
                      int64_t now_ms, struct http_request *out, struct err *err)
{
    char url[URL_MAX_BYTES];
    char timestamp[24];
    struct slice uri;
    unsigned char mac[SIGN_SHA256_BYTES];
    struct buf signature;
    buf_init(&signature, 64);
    (void)snprintf(timestamp, sizeof timestamp, "%lld", (long long)now_ms);
    (void)buf_printf(
        &out->body,
        "[{\"eventId\":%lld,\"subscriptionId\":0,\"portalId\":%s,\"occurredAt\":%lld,"
        "\"subscriptionType\":\"pivotal_sync.test\",\"attemptNumber\":0}]",
        (long long)now_ms, c->account[0] != '\0' ? c->account : "0", (long long)now_ms);
    int rc = url_to_hash(hook_url, url, &uri);
    if (rc == 0) {
        const struct slice parts[] = {{"POST", 4},
                                      uri,
                                      {buf_text(&out->body), out->body.len_bytes},
                                      {timestamp, strlen(timestamp)}};
        sign_hmac_sha256(secret, parts, COUNT_OF(parts), mac);
        rc = sign_base64(&signature, (struct slice){(const char *)mac, sizeof mac});
    }
    out->method = "POST";
    out->endpoint = "/webhooks/hubspot";
    if (rc < 0 || url_set(out, hook_url, "") < 0 ||
        http_request_header(out, "Content-Type", "application/json") < 0 ||
        http_request_header(out, "X-HubSpot-Request-Timestamp", timestamp) < 0 ||
        http_request_header(out, "X-HubSpot-Signature-v3", buf_text(&signature)) < 0) {
        err_set(err, ERR_INVALID, "cannot make a delivery to '%s'", hook_url);
        rc = -1;
    }
    buf_release(&signature);
    return rc;
}

/* ---- events ---- */

enum {
    EV_EVENT_ID,
    EV_SUBSCRIPTION_ID,
    EV_PORTAL_ID,
    EV_OCCURRED_AT,
    EV_SUBSCRIPTION_TYPE,
    EV_EVENT_TYPE,
    EV_OBJECT_ID,
    EV_OBJECT_TYPE_ID,
    EV_CHANGE_SOURCE,
    EV_PRIMARY,
    EV_MERGED,
    EV_NEW,
    EV_ASSOCIATION,
    EV_FROM,
    EV_TO,
    EV_COUNT
};

static const char *const event_names[EV_COUNT] = {
    "eventId",         "subscriptionId", "portalId",        "occurredAt",   "subscriptionType",
    "eventType",       "objectId",       "objectTypeId",    "changeSource", "primaryObjectId",
    "mergedObjectIds", "newObjectId",    "associationType", "fromObjectId", "toObjectId",
};

/* One event while it is read: what all its items have in common. */
struct event {
    struct slice v[EV_COUNT];
    struct hook_item common;
    const char *object; /* of the subscription type, NULL = not ours */
    const char *verb;   /* behind its dot */
};

static bool record_id(struct slice v, char out[RECORD_ID_MAX_BYTES + 1])
{
    if (!id_of_slice(v, out))
        return false;
    return out[strspn(out, "0123456789")] == '\0';
}

static const char *ours(const char *name, size_t len)
{
    for (const struct object_type *o = hubspot_objects; o->name != NULL; o++) {
        if ((o->flags & (OBJECT_ROOT | OBJECT_RELATED)) != 0 && strlen(o->name) == len &&
            strncasecmp(o->name, name, len) == 0)
            return o->name;
    }
    return NULL;
}

static const char *by_type_id(struct slice v)
{
    char id[16];
    if (!json_slice_text(v, id, sizeof id))
        return NULL;
    if (strcmp(id, "0-2") == 0)
        return "company";
    return strcmp(id, "0-1") == 0 ? "contact" : NULL;
}

static int add(struct hint_list *out, const struct event *e, const char *object, const char *id,
               const char *hint_name, const char *hint_value, struct err *err)
{
    struct hook_item *item = hint_list_add(out);
    if (item == NULL) {
        err_set(err, ERR_NOMEM, "too many events in one delivery");
        return -1;
    }
    *item = e->common;
    item->object = object;
    (void)text_copy(item->id, sizeof item->id, id);
    (void)snprintf(item->hint, sizeof item->hint, "%s%s", hint_name, hint_value);
    return 0;
}

static int add_nothing(struct hint_list *out, const struct event *e, struct err *err)
{
    return add(out, e, NULL, "", "", "", err);
}

/* The winner may be a new record; the losers also fire deletion, perhaps in another request. */
static int add_merge(struct hint_list *out, const struct event *e, struct err *err)
{
    char survivor[RECORD_ID_MAX_BYTES + 1];
    char id[RECORD_ID_MAX_BYTES + 1];
    struct json_walk w;
    struct json_member m;
    if (!record_id(e->v[EV_NEW], survivor) && !record_id(e->v[EV_PRIMARY], survivor) &&
        !record_id(e->v[EV_OBJECT_ID], survivor))
        return add_nothing(out, e, err);
    if (add(out, e, e->object, survivor, "", "", err) < 0)
        return -1;
    if (record_id(e->v[EV_PRIMARY], id) && strcmp(id, survivor) != 0 &&
        add(out, e, e->object, id, "merged_into=", survivor, err) < 0)
        return -1;
    if (e->v[EV_MERGED].bytes == NULL || e->v[EV_MERGED].bytes[0] != '[' ||
        json_walk_begin(&w, e->v[EV_MERGED]) < 0)
        return 0;
    while (json_walk_next(&w, &m) == 1) {
        if (record_id(m.value, id) && strcmp(id, survivor) != 0 &&
            add(out, e, e->object, id, "merged_into=", survivor, err) < 0)
            return -1;
    }
    return 0;
}

/* "DEAL_TO_COMPANY": each side that is ours is looked at, whichever side told us. */
static int add_association(struct hint_list *out, const struct event *e, struct err *err)
{
    char type[64];
    char id[RECORD_ID_MAX_BYTES + 1];
    size_t before = out->count;
    if (!json_slice_text(e->v[EV_ASSOCIATION], type, sizeof type))
        type[0] = '\0';
    const char *to = strstr(type, "_TO_");
    const char *from_object = to != NULL ? ours(type, (size_t)(to - type)) : e->object;
    const char *to_object = to != NULL ? ours(to + 4, strlen(to + 4)) : NULL;
    if (from_object != NULL && record_id(e->v[EV_FROM], id) &&
        add(out, e, from_object, id, "", "", err) < 0)
        return -1;
    if (to_object != NULL && record_id(e->v[EV_TO], id) &&
        add(out, e, to_object, id, "", "", err) < 0)
        return -1;
    return out->count > before ? 0 : add_nothing(out, e, err);
}

/* eventId alone is not unique, and attemptNumber differs between tries of one delivery. */
static void identify(struct event *e)
{
    static const int keys[] = {EV_SUBSCRIPTION_ID, EV_OBJECT_ID,  EV_FROM, EV_TO,
                               EV_EVENT_ID,        EV_OCCURRED_AT};
    struct buf id;
    buf_init(&id, sizeof e->common.event_id - 1);
    (void)buf_add_str(&id, e->common.account);
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        char part[RECORD_ID_MAX_BYTES + 1];
        if (id_of_slice(e->v[keys[i]], part))
            (void)buf_printf(&id, "-%.20s", part);
    }
    (void)text_copy(e->common.event_id, sizeof e->common.event_id, buf_text(&id));
    buf_release(&id);
}

static void read_type(struct event *e)
{
    char *type = e->common.event_type;
    size_t size = sizeof e->common.event_type;
    if (!json_slice_text(e->v[EV_SUBSCRIPTION_TYPE], type, size) &&
        !json_slice_text(e->v[EV_EVENT_TYPE], type, size))
        type[0] = '\0';
    const char *dot = strchr(type, '.');
    if (dot == NULL)
        return;
    e->verb = dot + 1;
    e->object = ours(type, (size_t)(dot - type));
    if (strncmp(type, "object.", 7) == 0)
        e->object = by_type_id(e->v[EV_OBJECT_TYPE_ID]);
}

static int read_event(struct slice text, struct hint_list *out, struct err *err)
{
    static const char *const plain[] = {"creation", "deletion", "propertyChange", "restore"};
    struct event e = {.common = {.mode = "live"}, .verb = ""};
    char source[32];
    char id[RECORD_ID_MAX_BYTES + 1];
    if (text.len_bytes == 0 || text.bytes[0] != '{' ||
        json_members(text, event_names, e.v, EV_COUNT) < 0)
        return add_nothing(out, &e, err);
    if (id_of_slice(e.v[EV_PORTAL_ID], id))
        (void)text_copy(e.common.account, sizeof e.common.account, id);
    if (!json_slice_int(e.v[EV_OCCURRED_AT], &e.common.occurred_at_ms))
        e.common.occurred_at_ms = 0;
    e.common.occurred_at_ms = instant_or_none(e.common.occurred_at_ms, 1000);
    identify(&e);
    read_type(&e);
    /* Of an import, what a search by modified date finds as well. */
    e.common.import =
        json_slice_text(e.v[EV_CHANGE_SOURCE], source, sizeof source) &&
        strcmp(source, "IMPORT") == 0 &&
        (strcmp(e.verb, "creation") == 0 || strcmp(e.verb, "propertyChange") == 0);
    if (e.common.account[0] == '\0')
        return add_nothing(out, &e, err);
    if (strcmp(e.verb, "associationChange") == 0)
        return add_association(out, &e, err);
    if (e.object == NULL)
        return add_nothing(out, &e, err);
    if (strcmp(e.verb, "merge") == 0)
        return add_merge(out, &e, err);
    if (!record_id(e.v[EV_OBJECT_ID], id))
        return add_nothing(out, &e, err);
    if (strcmp(e.verb, "privacyDeletion") == 0)
        return add(out, &e, e.object, id, "privacy_deleted", "", err);
    for (size_t i = 0; i < COUNT_OF(plain); i++) {
        if (strcmp(e.verb, plain[i]) == 0)
            return add(out, &e, e.object, id, "", "", err);
    }
    return add_nothing(out, &e, err);
}

int hubspot_hook_parse(const struct hook *h, struct hint_list *out, struct err *err)
{
    struct json_split events;
    int rc = 0;
    if (json_split(h->body, NULL, &events, err) < 0)
        return -1;
    if (!events.found) {
        err_set(err, ERR_INVALID, "delivery is not an array of events");
        rc = -1;
    }
    for (size_t i = 0; rc == 0 && i < events.element_count; i++)
        rc = read_event(events.elements[i], out, err);
    json_split_release(&events);
    return rc;
}
