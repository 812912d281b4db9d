/*
 * Older API versions put the same facts in other places. An object is made in the newest shape
 * and then turned into the older one; members of the newest shape that the older never had go.
 */
#include "stripe.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

bool st_version_known(const char *version)
{
    int year = 0;
    int month = 0;
    int day = 0;
    int used = 0;
    if (sscanf(version, "%4d-%2d-%2d%n", &year, &month, &day, &used) != 3 || used != 10)
        return false;
    if (version[10] != '\0' && version[10] != '.')
        return false;
    return year >= 2011 && strcmp(version, "2026-12") < 0;
}

enum st_shape st_shape_of(const char *version)
{
    if (version == NULL || strncmp(version, "2025-09-30", 10) >= 0)
        return ST_SHAPE_NEW;
    return strncmp(version, "2025-03-31", 10) >= 0 ? ST_SHAPE_BASIL : ST_SHAPE_2023;
}

static void drop(json_t *obj, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        json_object_del(obj, names[i]);
}

#define DROP(obj, ...)                                                                         \
    do {                                                                                       \
        static const char *const names_[] = {__VA_ARGS__};                                     \
        drop((obj), names_, sizeof names_ / sizeof names_[0]);                                 \
    } while (0)

static void set_or_null(json_t *obj, const char *name, json_t *value)
{
    if (value != NULL)
        json_object_set(obj, name, value);
    else
        json_object_set_new(obj, name, json_null());
}

/* source.coupon or promotion.coupon (an id) becomes the whole coupon. */
static void whole_coupon(const struct st_view *v, json_t *obj, const char *part)
{
    const json_t *at = json_object_get(obj, part);
    const char *id = st_text_at(at, "coupon");
    struct st_record *coupon = id != NULL ? st_find(v->mode, ST_COUPON, id) : NULL;
    if (coupon != NULL)
        json_object_set_new(obj, "coupon", st_render_plain(v, coupon));
    else if (id != NULL)
        json_object_set_new(
            obj, "coupon",
            json_pack("{s:s, s:s, s:b}", "id", id, "object", "coupon", "deleted", 1));
    json_object_del(obj, part);
}

static void first_discount(const struct st_view *v, json_t *obj)
{
    const char *id = json_string_value(json_array_get(json_object_get(obj, "discounts"), 0));
    struct st_record *rec = id != NULL ? st_find(v->mode, ST_DISCOUNT, id) : NULL;
    json_object_set_new(obj, "discount", rec != NULL ? st_render_plain(v, rec) : json_null());
}

static void old_subscription(const struct st_view *v, json_t *obj)
{
    const struct st_vec *items = st_owned(v->mode, ST_SUBSCRIPTION_ITEM, st_text_at(obj, "id"));
    static const char *const names[] = {"current_period_start", "current_period_end"};
    for (size_t i = 0; i < 2; i++) {
        json_t *value = NULL;
        if (items != NULL && items->count > 0)
            value = st_field(v->app, items->items[0], names[i]);
        json_object_set_new(obj, names[i],
                            value != NULL ? value : json_incref(st_at(obj, "start_date")));
    }
    first_discount(v, obj);
    DROP(obj, "billing_cycle_anchor_config", "billing_mode", "billing_schedules",
         "customer_account", "discounts", "invoice_settings", "managed_payments",
         "presentment_details", "status_details");
}

static void old_invoice(const struct st_view *v, json_t *obj)
{
    set_or_null(obj, "subscription", st_at(obj, "parent.subscription_details.subscription"));
    json_object_set_new(obj, "paid",
                        json_boolean(strcmp(st_text_at(obj, "status"), "paid") == 0));
    json_object_set_new(obj, "paid_out_of_band", json_false());
    set_or_null(obj, "charge", st_at(obj, "_charge"));
    set_or_null(obj, "payment_intent", st_at(obj, "_payment_intent"));
    json_object_set_new(obj, "total_tax_amounts", json_array());
    json_object_set_new(obj, "tax", json_null());
    json_object_set_new(obj, "quote", json_null());
    json_object_set_new(obj, "application_fee_amount", json_null());
    json_object_set_new(obj, "rendering_options", json_null());
    json_object_set_new(obj, "subscription_details", json_pack("{s:n}", "metadata"));
    json_object_set_new(obj, "transfer_data", json_null());
    first_discount(v, obj);
    DROP(obj, "amount_overpaid", "automatically_finalizes_at", "confirmation_secret",
         "customer_account", "issuer", "parent", "payments", "rendering", "status_details",
         "total_pretax_credit_amounts", "total_taxes");
}

static void old_line(const struct st_view *v, json_t *obj)
{
    const char *price = st_text_at(obj, "pricing.price_details.price");
    struct st_record *rec = price != NULL ? st_find(v->mode, ST_PRICE, price) : NULL;
    json_object_set_new(obj, "price", rec != NULL ? st_render_plain(v, rec) : json_null());
    json_object_set_new(obj, "plan", rec != NULL ? st_render_plan(v, rec) : json_null());
    json_object_set_new(obj, "amount_excluding_tax", json_incref(st_at(obj, "amount")));
    json_t *item = st_at(obj, "parent.subscription_item_details.subscription_item");
    if (item != NULL)
        json_object_set(obj, "subscription_item", item);
    json_object_set_new(obj, "proration", json_false());
    json_object_set_new(obj, "proration_details", json_pack("{s:n}", "credited_items"));
    json_object_set_new(obj, "tax_amounts", json_array());
    json_object_set_new(obj, "tax_rates", json_array());
    json_object_set_new(obj, "type", json_string("subscription"));
    set_or_null(obj, "unit_amount_excluding_tax", st_at(obj, "pricing.unit_amount_decimal"));
    DROP(obj, "invoice", "parent", "pretax_credit_amounts", "pricing", "quantity_decimal",
         "subtotal", "taxes");
}

static void old_usage(json_t *obj)
{
    json_object_set_new(obj, "aggregate_usage", json_null());
    json_object_del(obj, "meter");
}

void st_reshape(const struct st_view *v, enum st_type type, json_t *obj)
{
    bool old = v->shape == ST_SHAPE_2023;
    switch (type) {
    case ST_DISCOUNT:
        whole_coupon(v, obj, "source");
        if (old)
            DROP(obj, "customer_account", "subscription_item");
        return;
    case ST_PROMOTION_CODE:
        whole_coupon(v, obj, "promotion");
        if (old)
            DROP(obj, "customer_account");
        return;
    default:
        break;
    }
    if (!old)
        return;
    switch (type) {
    case ST_CUSTOMER:
        DROP(obj, "business_name", "customer_account", "individual_name");
        break;
    case ST_SUBSCRIPTION:
        old_subscription(v, obj);
        break;
    case ST_SUBSCRIPTION_ITEM:
        DROP(obj, "current_period_start", "current_period_end", "current_trial", "discounts",
             "billed_until");
        break;
    case ST_PRICE:
        if (json_is_object(json_object_get(obj, "recurring"))) {
            json_t *copy = json_deep_copy(json_object_get(obj, "recurring"));
            old_usage(copy);
            json_object_set_new(obj, "recurring", copy);
        }
        break;
    case ST_PLAN:
        old_usage(obj);
        break;
    case ST_PRODUCT:
        json_object_set_new(obj, "features", json_array());
        DROP(obj, "marketing_features", "tax_details");
        break;
    case ST_INVOICE:
        old_invoice(v, obj);
        break;
    case ST_LINE_ITEM:
        old_line(v, obj);
        break;
    case ST_CHARGE:
    case ST_PAYMENT_INTENT:
        set_or_null(obj, "invoice", st_at(obj, "_invoice"));
        DROP(obj, "customer_account", "managed_payments", "payment_record",
             "allowed_payment_method_types", "excluded_payment_method_types",
             "payment_method_configuration_details");
        break;
    case ST_CREDIT_NOTE:
        json_object_set_new(obj, "tax_amounts", json_array());
        DROP(obj, "customer_account", "total_taxes", "pretax_credit_amounts");
        break;
    case ST_REFUND:
    case ST_SCHEDULE:
    case ST_TAX_ID:
        DROP(obj, "customer_account", "billing_mode", "pause_schedules");
        break;
    default:
        break;
    }
}
