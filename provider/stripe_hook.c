/* Stripe deliveries: the signature, and an event as the record to look at. An event's payload
 * is in the account's API version and never expanded, so only ids are taken from it. */
#include "common/clock.h"
#include "common/sign.h"
#include "provider/stripe_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOLERANCE_S = 300, CANDIDATES_MAX = 16, HEX_CHARS = 2 * SIGN_SHA256_BYTES };

/* ---- signature ---- */

struct signature {
    struct slice t;
    struct slice v1[CANDIDATES_MAX];
    size_t v1_count;
};

/* "t=1492774577,v1=5257...,v0=6ffb...": every v1 counts, other schemes never. */
static void read_signature(const char *header, struct signature *out)
{
    *out = (struct signature){0};
    for (const char *p = header; *p != '\0';) {
        const char *end = strchrnul(p, ',');
        const char *equals = memchr(p, '=', (size_t)(end - p));
        if (equals != NULL) {
            struct slice value = {equals + 1, (size_t)(end - equals - 1)};
            size_t name_len = (size_t)(equals - p);
            if (name_len == 1 && *p == 't')
                out->t = value;
            else if (name_len == 2 && strncmp(p, "v1", 2) == 0 &&
                     out->v1_count < CANDIDATES_MAX)
                out->v1[out->v1_count++] = value;
        }
        p = *end == ',' ? end + 1 : end;
    }
}

static bool read_seconds(struct slice t, int64_t *at_s)
{
    *at_s = 0;
    if (t.len_bytes == 0 || t.len_bytes > 12)
        return false;
    for (size_t i = 0; i < t.len_bytes; i++) {
        if (t.bytes[i] < '0' || t.bytes[i] > '9')
            return false;
        *at_s = *at_s * 10 + (t.bytes[i] - '0');
    }
    return true;
}

static bool matches(const struct signature *s, struct slice body, struct slice secret)
{
    unsigned char mac[SIGN_SHA256_BYTES];
    char hex[HEX_CHARS + 1];
    const struct slice parts[] = {s->t, {".", 1}, body};
    bool good = false;
    sign_hmac_sha256(secret, parts, COUNT_OF(parts), mac);
    (void)sign_hex((struct slice){(const char *)mac, sizeof mac}, hex);
    for (size_t i = 0; i < s->v1_count; i++)
        good |= sign_equal((struct slice){hex, HEX_CHARS}, s->v1[i]);
    return good;
}

static int refuse(struct err *err, enum error_type *type, enum error_type t, const char *why)
{
    *type = t;
    err_set(err, ERR_AUTH, "%s", why);
    return -1;
}

int stripe_hook_verify(const struct hook *h, const struct secret_list *secrets, int64_t now_ms,
                       enum error_type *type, struct err *err)
{
    struct signature s;
    int64_t at_s = 0;
    int64_t now_s = now_ms / 1000;
    const char *header = h->header(h->request, "stripe-signature");
    if (header == NULL || header[0] == '\0')
        return refuse(err, type, ET_WH_SIGNATURE_MISSING, "no Stripe-Signature header");
    read_signature(header, &s);
    if (!read_seconds(s.t, &at_s))
        return refuse(err, type, ET_WH_SIGNATURE_INVALID, "signature without a timestamp");
    if (s.v1_count == 0)
        return refuse(err, type, ET_WH_SIGNATURE_INVALID, "signature without a v1 scheme");
    bool good = false;
    for (int i = 0; i < secrets->count; i++)
        good |= matches(&s, h->body, secrets->secrets[i]);
    if (!good)
        return refuse(err, type, ET_WH_SIGNATURE_INVALID, "signature does not match");
    /* Stripe's own libraries let the future pass; a replay window has two ends. */
    if (now_s - at_s > TOLERANCE_S || at_s - now_s > TOLERANCE_S)
        return refuse(err, type, ET_WH_TIMESTAMP_OLD, "timestamp is over 300 s from now");
    return 0;
}

/* ---- events ---- */

/* What an event is about, by the beginning of its name; the first that fits counts. member:
 * where the id of the record to fetch stands in data.object. */
static const struct {
    const char *prefix, *object, *member;
} targets[] = {
    {"customer.subscription.", "subscription", "id"},
    {"customer.discount.", "discount", "id"},
    {"customer.created", "customer", "id"},
    {"customer.updated", "customer", "id"},
    {"customer.deleted", "customer", "id"},
    {"customer.", NULL, NULL},
    {"invoice.upcoming", NULL, NULL}, /* a preview: it has no id */
    {"invoice.", "invoice", "id"},
    {"invoice_payment.", "invoice", "invoice"},
    {"charge.dispute.", "dispute", "id"},
    {"charge.refund.", "refund", "id"},
    {"charge.", "charge", "id"},
    {"refund.", "refund", "id"},
    {"payment_intent.", "payment_intent", "id"},
    {"product.", "product", "id"},
    {"price.", "price", "id"},
    {"plan.", "price", "id"}, /* the same object under its old name */
    {"coupon.", "coupon", "id"},
    {"promotion_code.", "promotion_code", "id"},
    {"credit_note.", "credit_note", "id"},
    {"subscription_schedule.", "subscription_schedule", "id"},
    {"account.application.deauthorized", "", NULL},
    {"apps.install.deleted", "", NULL},
};

/* The first member of that name. Ids stand at the front of long objects: looking no further
 * than to them halves the cost of a delivery. */
static struct slice first_member(struct slice object, const char *name)
{
    struct json_walk w;
    struct json_member m;
    size_t len = strlen(name);
    if (object.bytes == NULL || object.bytes[0] != '{' || json_walk_begin(&w, object) < 0)
        return (struct slice){0};
    while (json_walk_next(&w, &m) == 1) {
        if (m.name.len_bytes == len && memcmp(m.name.bytes, name, len) == 0)
            return m.value;
    }
    return (struct slice){0};
}

/* A member that is an id, or the object that carries it. */
static bool member_id(struct slice object, const char *name, char out[RECORD_ID_MAX_BYTES + 1])
{
    struct slice v = first_member(object, name);
    if (v.bytes != NULL && v.len_bytes > 0 && v.bytes[0] == '{')
        v = first_member(v, "id");
    return json_slice_text(v, out, RECORD_ID_MAX_BYTES + 1) && id_fits(out);
}

/* A discount cannot be fetched: it comes inside what it hangs on. */
static const char *discount_target(struct slice object, char id[RECORD_ID_MAX_BYTES + 1])
{
    if (member_id(object, "subscription", id))
        return "subscription";
    return member_id(object, "customer", id) ? "customer" : NULL;
}

const char *stripe_event_target(const char *type, struct slice object,
                                char id[RECORD_ID_MAX_BYTES + 1])
{
    id[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(targets); i++) {
        if (strncmp(type, targets[i].prefix, strlen(targets[i].prefix)) != 0)
            continue;
        const char *name = targets[i].object;
        if (name == NULL)
            return NULL;
        if (name[0] == '\0') {
            (void)text_copy(id, RECORD_ID_MAX_BYTES + 1, "deauthorized");
            return "";
        }
        if (strcmp(name, "discount") == 0)
            return discount_target(object, id);
        return member_id(object, targets[i].member, id) ? stripe_object(name)->name : NULL;
    }
    return NULL;
}

/* A thin event names its object by type and id. */
static const char *thin_target(const char *type, struct slice related,
                               char id[RECORD_ID_MAX_BYTES + 1])
{
    char name[64];
    if (strncmp(type, "v1.", 3) == 0 &&
        strcmp(type + 3, "account.application.deauthorized") == 0)
        return stripe_event_target(type + 3, related, id);
    if (!json_slice_text(json_member(related, "type"), name, sizeof name) ||
        !member_id(related, "id", id))
        return NULL;
    const struct object_type *o = stripe_object(strcmp(name, "plan") == 0 ? "price" : name);
    return o != NULL ? o->name : NULL;
}

enum {
    EV_ID,
    EV_OBJECT,
    EV_TYPE,
    EV_CREATED,
    EV_ACCOUNT,
    EV_CONTEXT,
    EV_LIVEMODE,
    EV_DATA,
    EV_RELATED,
    EV_COUNT
};

static const char *const event_names[EV_COUNT] = {"id",       "object",  "type",
                                                  "created",  "account", "context",
                                                  "livemode", "data",    "related_object"};

static int64_t instant_ms(struct slice v)
{
    int64_t n = 0;
    char text[CLOCK_TEXT_BYTES];
    if (json_slice_int(v, &n))
        return instant_or_none(n, 1) * 1000;
    return json_slice_text(v, text, sizeof text) && clock_parse(text, &n) == 0 ? n : 0;
}

static void read_account(const struct slice *v, struct hook_item *item)
{
    char account[64];
    bool there = json_slice_text(v[EV_ACCOUNT], account, sizeof account) ||
                 json_slice_text(v[EV_CONTEXT], account, sizeof account);
    if (there && strncmp(account, "acct_", 5) == 0)
        (void)text_copy(item->account, sizeof item->account, account);
}

int stripe_hook_parse(const struct hook *h, struct hint_list *out, struct err *err)
{
    struct slice v[EV_COUNT] = {{0}};
    char object[32];
    bool live = false;
    if (json_members(h->body, event_names, v, EV_COUNT) < 0 ||
        !json_slice_text(v[EV_OBJECT], object, sizeof object) ||
        (strcmp(object, "event") != 0 && strcmp(object, "v2.core.event") != 0)) {
        err_set(err, ERR_INVALID, "delivery is not an event");
        return -1;
    }
    struct hook_item *item = hint_list_add(out);
    if (item == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for an event");
        return -1;
    }
    if (!json_slice_text(v[EV_ID], item->event_id, sizeof item->event_id))
        item->event_id[0] = '\0';
    if (!json_slice_text(v[EV_TYPE], item->event_type, sizeof item->event_type))
        item->event_type[0] = '\0';
    if (json_slice_bool(v[EV_LIVEMODE], &live))
        item->mode = live ? "live" : "test";
    item->occurred_at_ms = instant_ms(v[EV_CREATED]);
    read_account(v, item);
    item->object = strcmp(object, "event") == 0
                       ? stripe_event_target(item->event_type,
                                             first_member(v[EV_DATA], "object"), item->id)
                       : thin_target(item->event_type, v[EV_RELATED], item->id);
    if (item->object == NULL)
        item->id[0] = '\0';
    else if (item->object[0] == '\0')
        (void)text_copy(item->hint, sizeof item->hint, "deauthorized");
    return 0;
}

int stripe_hook_test(const struct provider_conn *c, const char *hook_url, struct slice secret,
                     int64_t now_ms, struct http_request *out, struct err *err)
{
    char seconds[24];
    char hex[HEX_CHARS + 1];
    char header[HEX_CHARS + 40];
    unsigned char mac[SIGN_SHA256_BYTES];
    (void)snprintf(seconds, sizeof seconds, "%lld", (long long)(now_ms / 1000));
    (void)buf_printf(&out->body,
                     "{\"id\":\"evt_pivotal_sync_test_%lld\",\"object\":\"event\","
                     "\"type\":\"pivotal_sync.test\",\"created\":%s,\"livemode\":%s,"
                     "\"data\":{\"object\":{}}}",
                     (long long)now_ms, seconds,
                     strcmp(c->mode, "live") == 0 ? "true" : "false");
    const struct slice parts[] = {
        {seconds, strlen(seconds)}, {".", 1}, {buf_text(&out->body), out->body.len_bytes}};
    sign_hmac_sha256(secret, parts, COUNT_OF(parts), mac);
    (void)snprintf(header, sizeof header, "t=%s,v1=%s", seconds,
                   sign_hex((struct slice){(const char *)mac, sizeof mac}, hex));
    out->method = "POST";
    out->endpoint = "/webhooks/stripe";
    if (url_set(out, hook_url, "") < 0 ||
        http_request_header(out, "Content-Type", "application/json") < 0 ||
        http_request_header(out, "Stripe-Signature", header) < 0) {
        err_set(err, ERR_INVALID, "cannot make a delivery to '%s'", hook_url);
        return -1;
    }
    return 0;
}
