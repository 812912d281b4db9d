/*
 * One row per type of object: its path, its permission, the index of its table, the events
 * about it, and the parameters its list takes.
 */
#include "stripe.h"
#include "stripe_templates.h"

#include <string.h>

#define CREATED                                                                                \
    {                                                                                          \
        "created", ST_FILTER_RANGE, 0                                                          \
    }
#define END                                                                                    \
    {                                                                                          \
        NULL, 0, 0                                                                             \
    }

static const struct st_filter customer_filters[] = {
    CREATED, {"email", ST_FILTER_TEXT, 0}, {"test_clock", ST_FILTER_TEXT, 0}, END};

static const struct st_filter subscription_filters[] = {
    CREATED,
    {"customer", ST_FILTER_OWNER, 0},
    {"status", ST_FILTER_SPECIAL, 0},
    {"price", ST_FILTER_SPECIAL, 0},
    {"plan", ST_FILTER_SPECIAL, 0},
    {"current_period_start", ST_FILTER_SPECIAL, 0},
    {"current_period_end", ST_FILTER_SPECIAL, 0},
    {"collection_method", ST_FILTER_TEXT, 0},
    {"automatic_tax[enabled]", ST_FILTER_BOOL, "automatic_tax.enabled"},
    {"customer_account", ST_FILTER_TEXT, 0},
    {"test_clock", ST_FILTER_TEXT, 0},
    END};

static const struct st_filter item_filters[] = {{"subscription", ST_FILTER_OWNER, 0}, END};

static const struct st_filter product_filters[] = {CREATED,
                                                   {"active", ST_FILTER_BOOL, 0},
                                                   {"ids", ST_FILTER_ANY_OF, "id"},
                                                   {"shippable", ST_FILTER_BOOL, 0},
                                                   {"type", ST_FILTER_TEXT, 0},
                                                   {"url", ST_FILTER_TEXT, 0},
                                                   END};

static const struct st_filter price_filters[] = {
    CREATED,
    {"active", ST_FILTER_BOOL, 0},
    {"currency", ST_FILTER_TEXT, 0},
    {"lookup_keys", ST_FILTER_ANY_OF, "lookup_key"},
    {"product", ST_FILTER_OWNER, 0},
    {"type", ST_FILTER_TEXT, 0},
    {"recurring[interval]", ST_FILTER_TEXT, "recurring.interval"},
    {"recurring[meter]", ST_FILTER_TEXT, "recurring.meter"},
    {"recurring[usage_type]", ST_FILTER_TEXT, "recurring.usage_type"},
    END};

static const struct st_filter plan_filters[] = {
    CREATED, {"active", ST_FILTER_BOOL, 0}, {"product", ST_FILTER_OWNER, 0}, END};

static const struct st_filter coupon_filters[] = {CREATED, END};

static const struct st_filter promotion_filters[] = {
    CREATED,
    {"active", ST_FILTER_BOOL, 0},
    {"code", ST_FILTER_TEXT, 0},
    {"coupon", ST_FILTER_TEXT, "promotion.coupon"},
    {"customer", ST_FILTER_TEXT, 0},
    {"customer_account", ST_FILTER_TEXT, 0},
    END};

static const struct st_filter invoice_filters[] = {
    CREATED,
    {"customer", ST_FILTER_OWNER, 0},
    {"customer_account", ST_FILTER_TEXT, 0},
    {"status", ST_FILTER_TEXT, 0},
    {"subscription", ST_FILTER_TEXT, "parent.subscription_details.subscription"},
    {"collection_method", ST_FILTER_TEXT, 0},
    {"due_date", ST_FILTER_RANGE, 0},
    END};

static const struct st_filter line_filters[] = {END};

static const struct st_filter invoice_payment_filters[] = {
    CREATED,
    {"invoice", ST_FILTER_OWNER, 0},
    {"status", ST_FILTER_TEXT, 0},
    {"payment[type]", ST_FILTER_TEXT, "payment.type"},
    {"payment[payment_intent]", ST_FILTER_TEXT, "payment.payment_intent"},
    {"payment[charge]", ST_FILTER_TEXT, "payment.charge"},
    END};

static const struct st_filter charge_filters[] = {CREATED,
                                                  {"customer", ST_FILTER_OWNER, 0},
                                                  {"payment_intent", ST_FILTER_TEXT, 0},
                                                  {"transfer_group", ST_FILTER_TEXT, 0},
                                                  END};

static const struct st_filter intent_filters[] = {
    CREATED, {"customer", ST_FILTER_OWNER, 0}, {"customer_account", ST_FILTER_TEXT, 0}, END};

static const struct st_filter refund_filters[] = {
    CREATED, {"charge", ST_FILTER_OWNER, 0}, {"payment_intent", ST_FILTER_TEXT, 0}, END};

static const struct st_filter credit_note_filters[] = {CREATED,
                                                       {"customer", ST_FILTER_OWNER, 0},
                                                       {"customer_account", ST_FILTER_TEXT, 0},
                                                       {"invoice", ST_FILTER_TEXT, 0},
                                                       END};

static const struct st_filter schedule_filters[] = {CREATED,
                                                    {"customer", ST_FILTER_OWNER, 0},
                                                    {"customer_account", ST_FILTER_TEXT, 0},
                                                    {"canceled_at", ST_FILTER_RANGE, 0},
                                                    {"completed_at", ST_FILTER_RANGE, 0},
                                                    {"released_at", ST_FILTER_RANGE, 0},
                                                    {"scheduled", ST_FILTER_SPECIAL, 0},
                                                    END};

static const struct st_filter tax_id_filters[] = {{"owner[type]", ST_FILTER_TEXT, "owner.type"},
                                                  {"owner[customer]", ST_FILTER_OWNER, 0},
                                                  END};

static const struct st_filter tax_rate_filters[] = {
    CREATED, {"active", ST_FILTER_BOOL, 0}, {"inclusive", ST_FILTER_BOOL, 0}, END};

static const struct st_filter feature_filters[] = {
    {"archived", ST_FILTER_SPECIAL, 0}, {"lookup_key", ST_FILTER_TEXT, 0}, END};

static const struct st_filter entitlement_filters[] = {{"customer", ST_FILTER_OWNER, 0}, END};

static const struct st_filter event_filters[] = {CREATED,
                                                 {"type", ST_FILTER_SPECIAL, 0},
                                                 {"types", ST_FILTER_ANY_OF, "type"},
                                                 {"delivery_success", ST_FILTER_SPECIAL, 0},
                                                 {"related_object", ST_FILTER_SPECIAL, 0},
                                                 END};

static const struct st_filter endpoint_filters[] = {END};

static const struct st_class classes[] = {
    {ST_CUSTOMER, "customer", "customers", "cus_", st_template_customer, NULL, "customer",
     "customer_read", "Customers Read", "id", false, false, customer_filters},
    {ST_SUBSCRIPTION, "subscription", "subscriptions", "sub_", st_template_subscription,
     "customer", "customer.subscription", "subscription_read", "Subscriptions Read", "id",
     false, true, subscription_filters},
    {ST_SUBSCRIPTION_ITEM, "subscription_item", "subscription_items", "si_",
     st_template_subscription_item, "subscription", NULL, "subscription_read",
     "Subscriptions Read", "item", true, true, item_filters},
    {ST_PRODUCT, "product", "products", "prod_", st_template_product, NULL, "product",
     "product_read", "Products Read", "id", false, true, product_filters},
    {ST_PRICE, "price", "prices", "price_", st_template_price, "product", "price", "plan_read",
     "Prices Read", "price", false, true, price_filters},
    {ST_PLAN, "plan", "plans", "price_", st_template_plan, NULL, "plan", "plan_read",
     "Prices Read", "plan", false, true, plan_filters},
    {ST_COUPON, "coupon", "coupons", "", st_template_coupon, NULL, "coupon", "coupon_read",
     "Coupons Read", "coupon", false, true, coupon_filters},
    {ST_PROMOTION_CODE, "promotion_code", "promotion_codes", "promo_",
     st_template_promotion_code, NULL, "promotion_code", "promotion_code_read",
     "Promotion Codes Read", "promotion_code", false, true, promotion_filters},
    {ST_DISCOUNT, "discount", NULL, "di_", st_template_discount, "customer",
     "customer.discount", "customer_read", "Customers Read", "discount", false, true, NULL},
    {ST_INVOICE, "invoice", "invoices", "in_", st_template_invoice, "customer", "invoice",
     "invoice_read", "Invoices Read", "id", false, true, invoice_filters},
    {ST_LINE_ITEM, "line_item", NULL, "il_", st_template_line_item, "invoice", NULL,
     "invoice_read", "Invoices Read", "line_item", true, true, line_filters},
    {ST_INVOICE_PAYMENT, "invoice_payment", "invoice_payments", "inpay_",
     st_template_invoice_payment, "invoice", "invoice_payment", "invoice_read", "Invoices Read",
     "invoice_payment", false, true, invoice_payment_filters},
    {ST_CHARGE, "charge", "charges", "ch_", st_template_charge, "customer", "charge",
     "charge_read", "Charges Read", "charge", false, true, charge_filters},
    {ST_PAYMENT_INTENT, "payment_intent", "payment_intents", "pi_", st_template_payment_intent,
     "customer", "payment_intent", "payment_intent_read", "PaymentIntents Read", "intent",
     false, true, intent_filters},
    {ST_REFUND, "refund", "refunds", "re_", st_template_refund, "charge", "refund",
     "charge_read", "Charges and Refunds Read", "refund", false, true, refund_filters},
    {ST_DISPUTE, "dispute", "disputes", "dp_", st_template_dispute, "charge", "charge.dispute",
     "dispute_read", "Disputes Read", "dispute", false, true, refund_filters},
    {ST_CREDIT_NOTE, "credit_note", "credit_notes", "cn_", st_template_credit_note, "customer",
     "credit_note", "credit_note_read", "Credit Notes Read", "id", false, true,
     credit_note_filters},
    {ST_SCHEDULE, "subscription_schedule", "subscription_schedules", "sub_sched_",
     st_template_subscription_schedule, "customer", "subscription_schedule",
     "subscription_read", "Subscriptions Read", "schedule", false, true, schedule_filters},
    {ST_TAX_ID, "tax_id", "tax_ids", "txi_", st_template_tax_id, "customer", "customer.tax_id",
     "tax_id_read", "Tax IDs Read", "id", false, true, tax_id_filters},
    {ST_TAX_RATE, "tax_rate", "tax_rates", "txr_", st_template_tax_rate, NULL, "tax_rate",
     "tax_rate_read", "Tax Rates Read", "tax_rate", false, true, tax_rate_filters},
    {ST_FEATURE, "entitlements.feature", "entitlements/features", "feat_",
     st_template_entitlements_feature, NULL, NULL, "entitlement_read", "Entitlements Read",
     "id", false, true, feature_filters},
    {ST_ENTITLEMENT, "entitlements.active_entitlement", "entitlements/active_entitlements",
     "ent_", st_template_entitlements_active_entitlement, "_customer", NULL, "entitlement_read",
     "Entitlements Read", "id", false, true, entitlement_filters},
    {ST_EVENT, "event", "events", "evt_", st_template_event, NULL, NULL, "event_read",
     "Events Read", "id", false, true, event_filters},
    {ST_ENDPOINT, "webhook_endpoint", "webhook_endpoints", "we_", st_template_webhook_endpoint,
     NULL, NULL, "webhook_read", "Webhook Endpoints Read", "webhook_endpoint", false, true,
     endpoint_filters},
    {ST_ACCOUNT, "account", "accounts", "acct_", st_template_account, NULL, "account",
     "account_read", "Account Read", "account", false, true, NULL},
};

const struct st_class *st_class(enum st_type type)
{
    return &classes[type];
}

const struct st_class *st_class_by_path(const char *path)
{
    for (size_t i = 0; i < ST_TYPES; i++) {
        if (classes[i].path != NULL && strcmp(classes[i].path, path) == 0)
            return &classes[i];
    }
    return NULL;
}

const struct st_class *st_class_by_object(const char *object)
{
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strcmp(classes[i].object, object) == 0)
            return &classes[i];
    }
    return NULL;
}
