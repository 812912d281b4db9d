/* Stripe: what it has, and the small answers that need no call. Facts and where they come
 * from: DESIGN.md. */
#include "provider/stripe_priv.h"

#include <string.h>

#define LISTED(object, many, more, ...)                                                        \
    {                                                                                          \
        .name = (object), .plural = (many), .batch_max = 1, .page_max = 100,                   \
        .read_family = "api", .list_family = "api",                                            \
        .flags = OBJECT_LISTED | OBJECT_DATED | (more), __VA_ARGS__                            \
    }

/* In the order a full run reads: what amounts depend on before what they are computed for. */
const struct object_type stripe_objects[] = {
    LISTED("product", "products", OBJECT_DEFAULT | OBJECT_SHARED),
    LISTED("price", "prices", OBJECT_DEFAULT | OBJECT_SHARED),
    LISTED("coupon", "coupons", OBJECT_DEFAULT | OBJECT_SHARED),
    LISTED("customer", "customers", OBJECT_DEFAULT | OBJECT_ROOT),
    LISTED("subscription", "subscriptions", OBJECT_DEFAULT | OBJECT_FILTERED),
    LISTED("invoice", "invoices", OBJECT_DEFAULT, .months = 13),
    LISTED("charge", "charges", 0),
    LISTED("payment_intent", "payment_intents", 0),
    LISTED("refund", "refunds", 0),
    LISTED("credit_note", "credit_notes", 0),
    LISTED("dispute", "disputes", 0),
    LISTED("promotion_code", "promotion_codes", 0),
    LISTED("subscription_schedule", "subscription_schedules", 0),
    {0},
};

/* Stripe limits each endpoint to 25 a second, and the whole account to 100 (25 in test mode). A
 * call can name one family, so all share one that keeps every one of the three. */
static const struct quota_family quotas[] = {
    {.name = "api", .limit = 25, .window_ms = 1000, .rate_per_s = 21.5, .burst = 2},
    {.name = "oauth", .limit = 25, .window_ms = 1000, .rate_per_s = 5, .burst = 5},
    {0},
};

static const char *const product_events[] = {"product.created", "product.updated",
                                             "product.deleted", NULL};
static const char *const price_events[] = {"price.created",
                                           "price.updated",
                                           "price.deleted",
                                           "plan.created",
                                           "plan.updated",
                                           "plan.deleted",
                                           NULL};
static const char *const coupon_events[] = {"coupon.created", "coupon.updated",
                                            "coupon.deleted", NULL};
static const char *const customer_events[] = {"customer.created",
                                              "customer.updated",
                                              "customer.deleted",
                                              "customer.discount.created",
                                              "customer.discount.updated",
                                              "customer.discount.deleted",
                                              NULL};
static const char *const subscription_events[] = {
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "customer.subscription.trial_will_end",
    "customer.discount.created",
    "customer.discount.updated",
    "customer.discount.deleted",
    NULL};
static const char *const invoice_events[] = {"invoice.created",
                                             "invoice.updated",
                                             "invoice.finalized",
                                             "invoice.finalization_failed",
                                             "invoice.paid",
                                             "invoice.payment_succeeded",
                                             "invoice.payment_failed",
                                             "invoice.payment_action_required",
                                             "invoice.payment_attempt_required",
                                             "invoice.sent",
                                             "invoice.overdue",
                                             "invoice.overpaid",
                                             "invoice.will_be_due",
                                             "invoice.voided",
                                             "invoice.marked_uncollectible",
                                             "invoice.deleted",
                                             "invoice_payment.paid",
                                             NULL};
static const char *const charge_events[] = {
    "charge.succeeded", "charge.failed",  "charge.pending",  "charge.captured",
    "charge.expired",   "charge.updated", "charge.refunded", NULL};
static const char *const intent_events[] = {"payment_intent.created",
                                            "payment_intent.processing",
                                            "payment_intent.requires_action",
                                            "payment_intent.succeeded",
                                            "payment_intent.payment_failed",
                                            "payment_intent.canceled",
                                            "payment_intent.partially_funded",
                                            "payment_intent.amount_capturable_updated",
                                            NULL};
static const char *const refund_events[] = {"refund.created", "refund.updated", "refund.failed",
                                            "charge.refund.updated", NULL};
static const char *const note_events[] = {"credit_note.created", "credit_note.updated",
                                          "credit_note.voided", NULL};
static const char *const dispute_events[] = {
    "charge.dispute.created",          "charge.dispute.updated",
    "charge.dispute.closed",           "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated", NULL};
static const char *const promotion_events[] = {"promotion_code.created",
                                               "promotion_code.updated", NULL};
static const char *const schedule_events[] = {
    "subscription_schedule.created",  "subscription_schedule.updated",
    "subscription_schedule.canceled", "subscription_schedule.completed",
    "subscription_schedule.aborted",  "subscription_schedule.released",
    "subscription_schedule.expiring", NULL};

/* A record reads the same from a page, by id and after its embedded list was completed, so that
 * its hash does not flip: hence one set of expansions, each at most four levels deep. */
static const struct stripe_type types[] = {
    {.name = "product",
     .path = "/v1/products",
     .endpoint = "/v1/products/{id}",
     .events = product_events},
    {.name = "price",
     .path = "/v1/prices",
     .endpoint = "/v1/prices/{id}",
     .expand = "tiers currency_options",
     .events = price_events},
    {.name = "coupon",
     .path = "/v1/coupons",
     .endpoint = "/v1/coupons/{id}",
     .expand = "applies_to currency_options",
     .events = coupon_events},
    {.name = "customer",
     .path = "/v1/customers",
     .endpoint = "/v1/customers/{id}",
     .events = customer_events},
    {.name = "subscription",
     .path = "/v1/subscriptions",
     .endpoint = "/v1/subscriptions/{id}",
     .list_query = "&status=all",
     .expand = "discounts.source.coupon items.data.discounts",
     .expand_2025_03 = "discounts items.data.discounts", /* the coupon comes whole */
     .expand_old = "",                                   /* one discount, whole */
     .embedded = "items",
     .rest_path = "/v1/subscription_items",
     .rest_expand = "discounts",
     .events = subscription_events},
    {.name = "invoice",
     .path = "/v1/invoices",
     .endpoint = "/v1/invoices/{id}",
     .embedded = "lines",
     .rest_path = "/v1/invoices/{id}/lines",
     .events = invoice_events},
    {.name = "charge",
     .path = "/v1/charges",
     .endpoint = "/v1/charges/{id}",
     .events = charge_events},
    {.name = "payment_intent",
     .path = "/v1/payment_intents",
     .endpoint = "/v1/payment_intents/{id}",
     .events = intent_events},
    {.name = "refund",
     .path = "/v1/refunds",
     .endpoint = "/v1/refunds/{id}",
     .events = refund_events},
    {.name = "credit_note",
     .path = "/v1/credit_notes",
     .endpoint = "/v1/credit_notes/{id}",
     .embedded = "lines",
     .rest_path = "/v1/credit_notes/{id}/lines",
     .events = note_events},
    {.name = "dispute",
     .path = "/v1/disputes",
     .endpoint = "/v1/disputes/{id}",
     .events = dispute_events},
    {.name = "promotion_code",
     .path = "/v1/promotion_codes",
     .endpoint = "/v1/promotion_codes/{id}",
     .events = promotion_events},
    {.name = "subscription_schedule",
     .path = "/v1/subscription_schedules",
     .endpoint = "/v1/subscription_schedules/{id}",
     .events = schedule_events},
};

static const char default_mapping[] =
    "[{\"field\":\"mrr\",\"source\":\"mrr\",\"type\":\"number\",\"convert\":\"\"},"
    "{\"field\":\"mrr_currency\",\"source\":\"mrr_currency\",\"type\":\"text\",\"convert\":"
    "\"\"},"
    "{\"field\":\"mrr_by_currency\",\"source\":\"mrr_by_currency\",\"type\":\"json\","
    "\"convert\":\"\"},"
    "{\"field\":\"payment_status\",\"source\":\"payment_status\",\"type\":\"text\","
    "\"convert\":\"\"},"
    "{\"field\":\"subscription_status\",\"source\":\"subscription_status\",\"type\":\"text\","
    "\"convert\":\"\"}]";

const struct object_type *stripe_object(const char *name)
{
    for (const struct object_type *o = stripe_objects; o->name != NULL; o++) {
        if (strcmp(o->name, name) == 0)
            return o;
    }
    return NULL;
}

const struct stripe_type *stripe_type(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    }
    return NULL;
}

static int authorize_url(const struct provider_conn *c, const char *authorize_base,
                         const char *redirect_uri, const char *state, struct buf *out,
                         struct err *err)
{
    bool connect = strcmp(c->oauth_kind, "connect") == 0;
    const char *base = authorize_base[0] != '\0' ? authorize_base
                       : connect                 ? "https://connect.stripe.com/oauth/authorize"
                                 : "https://marketplace.stripe.com/oauth/v2/authorize";
    if (c->client_id[0] == '\0') {
        err_set(err, ERR_CONFIG, "STRIPE_CLIENT_ID is not set");
        return -1;
    }
    (void)buf_printf(out, "%s?", base);
    if (connect)
        (void)buf_add_str(out, "response_type=code&scope=read_write&");
    (void)buf_add_str(out, "client_id=");
    (void)http_escape(out, c->client_id);
    (void)buf_add_str(out, "&redirect_uri=");
    (void)http_escape(out, redirect_uri);
    (void)buf_add_str(out, "&state=");
    (void)http_escape(out, state);
    if (out->failed) {
        err_set(err, ERR_INVALID, "the authorize URL is too long");
        return -1;
    }
    return 0;
}

/* The mode stands in the key. Access tokens of OAuth look like secret keys. */
static const char *token_mode(const char *token)
{
    static const char *const kinds[] = {"sk_", "rk_"};
    if (strpbrk(token, " \t\r\n") != NULL) {
        return NULL;
    }
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        if (strncmp(token, kinds[i], 3) == 0) {
            return strncmp(token + 3, "live_", 5) == 0   ? "live"
                   : strncmp(token + 3, "test_", 5) == 0 ? "test"
                                                         : NULL;
        }
    }
    return NULL;
}

static int record_url(const struct provider_conn *c, const char *ui_domain, const char *object,
                      const char *id, struct buf *out)
{
    static const struct {
        const char *object, *page;
    } pages[] = {{"customer", "customers"},
                 {"subscription", "subscriptions"},
                 {"invoice", "invoices"},
                 {"product", "products"},
                 {"price", "prices"},
                 {"coupon", "coupons"},
                 {"charge", "payments"},
                 {"payment_intent", "payments"},
                 {"dispute", "disputes"},
                 {"credit_note", "credit_notes"},
                 {"promotion_code", "promotion_codes"},
                 {"subscription_schedule", "subscription_schedules"}};
    (void)ui_domain;
    for (size_t i = 0; i < COUNT_OF(pages); i++) {
        if (strcmp(pages[i].object, object) != 0)
            continue;
        (void)buf_add_str(out, "https://dashboard.stripe.com/");
        if (c->account[0] != '\0') {
            (void)http_escape(out, c->account);
            (void)buf_add_char(out, '/');
        }
        if (strcmp(c->mode, "test") == 0)
            (void)buf_add_str(out, "test/");
        (void)buf_printf(out, "%s/", pages[i].page);
        return http_escape(out, id);
    }
    return 0;
}

extern const struct provider provider_stripe;
const struct provider provider_stripe = {
    .name = "stripe",
    .title = "Stripe",
    .objects = stripe_objects,
    .quotas = quotas,
    .read_ration = 10000,
    .request_id_header = "request-id",
    .changes_together = true,
    .scope_kinds = "all product lookup_key",
    .inside = stripe_inside,
    .hook_verify = stripe_hook_verify,
    .hook_parse = stripe_hook_parse,
    .hook_test = stripe_hook_test,
    .plan = stripe_plan,
    .read = stripe_read,
    .classify = stripe_classify,
    .derive = stripe_derive,
    .default_mapping = default_mapping,
    .authorize_url = authorize_url,
    .record_url = record_url,
    .token_mode = token_mode,
};
