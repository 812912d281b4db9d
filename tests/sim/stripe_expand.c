/*
 * expand[]: which names may be expanded where, checked before anything is looked up (so that
 * the answer does not depend on the data), and then followed. At most four names; "data" of a
 * list counts as one.
 */
#include "stripe.h"

#include <stdio.h>
#include <string.h>

enum { EXPAND_NAMES_MAX = 4, EXPAND_WORK_NAMES = 16 };

enum expand_kind {
    TO_OBJECT, /* an id becomes the object, in arrays too */
    TO_EXTRA,  /* shown only when expanded; st_render_extra() */
    TO_LIST,   /* the same, and it is a list of target */
    THROUGH,   /* an embedded object: only a step on the way, or harmless at the end */
    THROUGH_LIST,
    PART /* a nested part without a type of its own */
};

enum { OLD = 1, BASIL = 2, NEW = 4, ANY = 7 };

struct expandable {
    enum st_type type;
    const char *name; /* dotted below parts */
    enum expand_kind kind;
    enum st_type target;
    int shapes;
};

static const struct expandable table[] = {
    {ST_CUSTOMER, "default_source", TO_OBJECT, ST_NONE, ANY},
    {ST_CUSTOMER, "test_clock", TO_OBJECT, ST_NONE, ANY},
    {ST_CUSTOMER, "discount", THROUGH, ST_DISCOUNT, ANY},
    {ST_CUSTOMER, "sources", TO_LIST, ST_NONE, ANY},
    {ST_CUSTOMER, "subscriptions", TO_LIST, ST_SUBSCRIPTION, ANY},
    {ST_CUSTOMER, "tax", TO_EXTRA, ST_NONE, ANY},
    {ST_CUSTOMER, "tax_ids", TO_LIST, ST_TAX_ID, ANY},
    {ST_CUSTOMER, "cash_balance", TO_EXTRA, ST_NONE, ANY},
    {ST_CUSTOMER, "invoice_credit_balance", TO_EXTRA, ST_NONE, ANY},
    {ST_CUSTOMER, "invoice_settings", PART, ST_NONE, ANY},
    {ST_CUSTOMER, "invoice_settings.default_payment_method", TO_OBJECT, ST_NONE, ANY},

    {ST_SUBSCRIPTION, "application", TO_OBJECT, ST_NONE, ANY},
    {ST_SUBSCRIPTION, "customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_SUBSCRIPTION, "default_payment_method", TO_OBJECT, ST_NONE, ANY},
    {ST_SUBSCRIPTION, "default_source", TO_OBJECT, ST_NONE, ANY},
    {ST_SUBSCRIPTION, "discounts", TO_OBJECT, ST_DISCOUNT, BASIL | NEW},
    {ST_SUBSCRIPTION, "discount", THROUGH, ST_DISCOUNT, OLD},
    {ST_SUBSCRIPTION, "items", THROUGH_LIST, ST_SUBSCRIPTION_ITEM, ANY},
    {ST_SUBSCRIPTION, "latest_invoice", TO_OBJECT, ST_INVOICE, ANY},
    {ST_SUBSCRIPTION, "on_behalf_of", TO_OBJECT, ST_NONE, ANY},
    {ST_SUBSCRIPTION, "pending_setup_intent", TO_OBJECT, ST_NONE, ANY},
    {ST_SUBSCRIPTION, "schedule", TO_OBJECT, ST_SCHEDULE, ANY},
    {ST_SUBSCRIPTION, "test_clock", TO_OBJECT, ST_NONE, ANY},
    {ST_SUBSCRIPTION, "default_tax_rates", THROUGH, ST_TAX_RATE, ANY},

    {ST_SUBSCRIPTION_ITEM, "price", THROUGH, ST_PRICE, ANY},
    {ST_SUBSCRIPTION_ITEM, "plan", THROUGH, ST_PLAN, ANY},
    {ST_SUBSCRIPTION_ITEM, "discounts", TO_OBJECT, ST_DISCOUNT, BASIL | NEW},
    {ST_SUBSCRIPTION_ITEM, "tax_rates", THROUGH, ST_TAX_RATE, ANY},

    {ST_PRODUCT, "default_price", TO_OBJECT, ST_PRICE, ANY},
    {ST_PRODUCT, "tax_code", TO_OBJECT, ST_NONE, ANY},
    {ST_PRICE, "product", TO_OBJECT, ST_PRODUCT, ANY},
    {ST_PRICE, "tiers", TO_EXTRA, ST_NONE, ANY},
    {ST_PRICE, "currency_options", TO_EXTRA, ST_NONE, ANY},
    {ST_PLAN, "product", TO_OBJECT, ST_PRODUCT, ANY},
    {ST_PLAN, "tiers", TO_EXTRA, ST_NONE, ANY},
    {ST_COUPON, "applies_to", TO_EXTRA, ST_NONE, ANY},
    {ST_COUPON, "currency_options", TO_EXTRA, ST_NONE, ANY},

    {ST_DISCOUNT, "customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_DISCOUNT, "promotion_code", TO_OBJECT, ST_PROMOTION_CODE, ANY},
    {ST_DISCOUNT, "source", PART, ST_NONE, NEW},
    {ST_DISCOUNT, "source.coupon", TO_OBJECT, ST_COUPON, NEW},
    {ST_DISCOUNT, "coupon", THROUGH, ST_COUPON, OLD | BASIL},
    {ST_PROMOTION_CODE, "customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_PROMOTION_CODE, "promotion", PART, ST_NONE, NEW},
    {ST_PROMOTION_CODE, "promotion.coupon", TO_OBJECT, ST_COUPON, NEW},
    {ST_PROMOTION_CODE, "coupon", THROUGH, ST_COUPON, OLD | BASIL},

    {ST_INVOICE, "account_tax_ids", TO_OBJECT, ST_TAX_ID, ANY},
    {ST_INVOICE, "application", TO_OBJECT, ST_NONE, ANY},
    {ST_INVOICE, "charge", TO_OBJECT, ST_CHARGE, OLD},
    {ST_INVOICE, "customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_INVOICE, "default_payment_method", TO_OBJECT, ST_NONE, ANY},
    {ST_INVOICE, "default_source", TO_OBJECT, ST_NONE, ANY},
    {ST_INVOICE, "discounts", TO_OBJECT, ST_DISCOUNT, ANY},
    {ST_INVOICE, "discount", THROUGH, ST_DISCOUNT, OLD},
    {ST_INVOICE, "latest_revision", TO_OBJECT, ST_INVOICE, ANY},
    {ST_INVOICE, "lines", THROUGH_LIST, ST_LINE_ITEM, ANY},
    {ST_INVOICE, "on_behalf_of", TO_OBJECT, ST_NONE, ANY},
    {ST_INVOICE, "payment_intent", TO_OBJECT, ST_PAYMENT_INTENT, OLD},
    {ST_INVOICE, "payments", TO_LIST, ST_INVOICE_PAYMENT, BASIL | NEW},
    {ST_INVOICE, "subscription", TO_OBJECT, ST_SUBSCRIPTION, OLD},
    {ST_INVOICE, "parent", PART, ST_NONE, BASIL | NEW},
    {ST_INVOICE, "parent.subscription_details", PART, ST_NONE, BASIL | NEW},
    {ST_INVOICE, "parent.subscription_details.subscription", TO_OBJECT, ST_SUBSCRIPTION,
     BASIL | NEW},
    {ST_INVOICE, "test_clock", TO_OBJECT, ST_NONE, ANY},
    {ST_LINE_ITEM, "discounts", TO_OBJECT, ST_DISCOUNT, ANY},
    {ST_LINE_ITEM, "subscription", TO_OBJECT, ST_SUBSCRIPTION, ANY},
    {ST_LINE_ITEM, "price", THROUGH, ST_PRICE, OLD},
    {ST_LINE_ITEM, "plan", THROUGH, ST_PLAN, OLD},
    {ST_LINE_ITEM, "pricing", PART, ST_NONE, BASIL | NEW},
    {ST_LINE_ITEM, "pricing.price_details", PART, ST_NONE, BASIL | NEW},
    {ST_LINE_ITEM, "pricing.price_details.price", TO_OBJECT, ST_PRICE, BASIL | NEW},
    {ST_INVOICE_PAYMENT, "invoice", TO_OBJECT, ST_INVOICE, ANY},
    {ST_INVOICE_PAYMENT, "payment", PART, ST_NONE, ANY},
    {ST_INVOICE_PAYMENT, "payment.payment_intent", TO_OBJECT, ST_PAYMENT_INTENT, ANY},
    {ST_INVOICE_PAYMENT, "payment.charge", TO_OBJECT, ST_CHARGE, ANY},

    {ST_CHARGE, "application", TO_OBJECT, ST_NONE, ANY},
    {ST_CHARGE, "application_fee", TO_OBJECT, ST_NONE, ANY},
    {ST_CHARGE, "balance_transaction", TO_OBJECT, ST_NONE, ANY},
    {ST_CHARGE, "customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_CHARGE, "failure_balance_transaction", TO_OBJECT, ST_NONE, ANY},
    {ST_CHARGE, "invoice", TO_OBJECT, ST_INVOICE, OLD},
    {ST_CHARGE, "on_behalf_of", TO_OBJECT, ST_NONE, ANY},
    {ST_CHARGE, "payment_intent", TO_OBJECT, ST_PAYMENT_INTENT, ANY},
    {ST_CHARGE, "refunds", TO_LIST, ST_REFUND, ANY},
    {ST_CHARGE, "review", TO_OBJECT, ST_NONE, ANY},
    {ST_CHARGE, "source_transfer", TO_OBJECT, ST_NONE, ANY},
    {ST_CHARGE, "transfer", TO_OBJECT, ST_NONE, ANY},
    {ST_PAYMENT_INTENT, "application", TO_OBJECT, ST_NONE, ANY},
    {ST_PAYMENT_INTENT, "customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_PAYMENT_INTENT, "invoice", TO_OBJECT, ST_INVOICE, OLD},
    {ST_PAYMENT_INTENT, "latest_charge", TO_OBJECT, ST_CHARGE, ANY},
    {ST_PAYMENT_INTENT, "on_behalf_of", TO_OBJECT, ST_NONE, ANY},
    {ST_PAYMENT_INTENT, "payment_method", TO_OBJECT, ST_NONE, ANY},
    {ST_PAYMENT_INTENT, "review", TO_OBJECT, ST_NONE, ANY},
    {ST_REFUND, "balance_transaction", TO_OBJECT, ST_NONE, ANY},
    {ST_REFUND, "charge", TO_OBJECT, ST_CHARGE, ANY},
    {ST_REFUND, "customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_REFUND, "payment_intent", TO_OBJECT, ST_PAYMENT_INTENT, ANY},
    {ST_REFUND, "source_transfer_reversal", TO_OBJECT, ST_NONE, ANY},
    {ST_REFUND, "transfer_reversal", TO_OBJECT, ST_NONE, ANY},
    {ST_DISPUTE, "charge", TO_OBJECT, ST_CHARGE, ANY},
    {ST_DISPUTE, "payment_intent", TO_OBJECT, ST_PAYMENT_INTENT, ANY},
    {ST_CREDIT_NOTE, "customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_CREDIT_NOTE, "invoice", TO_OBJECT, ST_INVOICE, ANY},
    {ST_CREDIT_NOTE, "customer_balance_transaction", TO_OBJECT, ST_NONE, ANY},
    {ST_SCHEDULE, "application", TO_OBJECT, ST_NONE, ANY},
    {ST_SCHEDULE, "customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_SCHEDULE, "subscription", TO_OBJECT, ST_SUBSCRIPTION, ANY},
    {ST_SCHEDULE, "test_clock", TO_OBJECT, ST_NONE, ANY},
    {ST_TAX_ID, "customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_TAX_ID, "owner", PART, ST_NONE, ANY},
    {ST_TAX_ID, "owner.customer", TO_OBJECT, ST_CUSTOMER, ANY},
    {ST_ENTITLEMENT, "feature", TO_OBJECT, ST_FEATURE, ANY},
};

static const struct expandable *find(enum st_type type, const char *name, enum st_shape shape)
{
    int bit = shape == ST_SHAPE_2023 ? OLD : shape == ST_SHAPE_BASIL ? BASIL : NEW;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].type == type && (table[i].shapes & bit) != 0 &&
            strcmp(table[i].name, name) == 0)
            return &table[i];
    }
    return NULL;
}

/* "a.b.c" into names; returns how many, or EXPAND_WORK_NAMES when there are more. */
static size_t split(const char *path, char *copy, size_t size, char **names)
{
    size_t count = 0;
    snprintf(copy, size, "%s", path);
    char *save = NULL;
    for (char *p = strtok_r(copy, ".", &save); p != NULL; p = strtok_r(NULL, ".", &save)) {
        if (count == EXPAND_WORK_NAMES)
            return count;
        names[count++] = p;
    }
    return count;
}

static void join(char *out, size_t size, const char *prefix, const char *name)
{
    snprintf(out, size, "%s%s%s", prefix, *prefix != '\0' ? "." : "", name);
}

enum st_expand_result st_expand_check(enum st_type type, enum st_shape shape, bool list,
                                      const char *path, char *bad, size_t bad_size)
{
    char copy[512];
    char *names[EXPAND_WORK_NAMES];
    size_t count = split(path, copy, sizeof copy, names);
    if (count > EXPAND_NAMES_MAX)
        return ST_EXPAND_TOO_DEEP;
    snprintf(bad, bad_size, "%s", count > 0 ? names[count - 1] : "");
    if (count == 0)
        return ST_EXPAND_UNKNOWN;

    const char *prefix = "";
    bool ends_well = false;
    bool want_data = list;
    for (size_t i = 0; i < count; i++) {
        snprintf(bad, bad_size, "%s", names[i]);
        if (want_data) {
            if (strcmp(names[i], "data") != 0)
                return ST_EXPAND_UNKNOWN;
            want_data = false;
            ends_well = false;
            continue;
        }
        char name[768];
        join(name, sizeof name, prefix, names[i]);
        const struct expandable *e = type == ST_NONE ? NULL : find(type, name, shape);
        if (e == NULL)
            return ST_EXPAND_UNKNOWN;
        prefix = "";
        ends_well = e->kind == TO_OBJECT || e->kind == TO_EXTRA || e->kind == TO_LIST ||
                    e->kind == THROUGH;
        if (e->kind == PART)
            prefix = e->name;
        else
            type = e->target;
        want_data = e->kind == TO_LIST || e->kind == THROUGH_LIST;
    }
    return ends_well ? ST_EXPAND_OK : ST_EXPAND_UNKNOWN;
}

struct walk {
    const struct st_view *view;
    char **names;
    size_t count;
    bool *changed;
};

static void follow(const struct walk *w, enum st_type type, const char *prefix, json_t *node,
                   size_t at);

/* Go on below a value that may be one object or several. */
static void follow_each(const struct walk *w, enum st_type type, json_t *value, size_t at)
{
    if (json_is_object(value)) {
        follow(w, type, "", value, at);
        return;
    }
    size_t i = 0;
    json_t *entry = NULL;
    json_array_foreach(value, i, entry)
    {
        if (json_is_object(entry))
            follow(w, type, "", entry, at);
    }
}

static json_t *object_for(const struct walk *w, enum st_type type, const char *id)
{
    struct st_record *rec = type == ST_NONE ? NULL : st_find(w->view->mode, type, id);
    if (rec == NULL)
        return NULL;
    return rec->deleted ? st_render_deleted(rec) : st_render_plain(w->view, rec);
}

static void ids_to_objects(const struct walk *w, enum st_type type, json_t *node,
                           const char *name)
{
    json_t *value = json_object_get(node, name);
    if (json_is_string(value)) {
        json_t *obj = object_for(w, type, json_string_value(value));
        if (obj != NULL) {
            json_object_set_new(node, name, obj);
            *w->changed = true;
        }
        return;
    }
    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        json_t *obj =
            json_is_string(entry) ? object_for(w, type, json_string_value(entry)) : NULL;
        if (obj != NULL) {
            json_array_set_new(value, i, obj);
            *w->changed = true;
        }
    }
}

static void follow(const struct walk *w, enum st_type type, const char *prefix, json_t *node,
                   size_t at)
{
    if (at >= w->count || json_is_true(json_object_get(node, "deleted")))
        return;
    char name[768];
    join(name, sizeof name, prefix, w->names[at]);
    const struct expandable *e = find(type, name, w->view->shape);
    if (e == NULL)
        return;
    if ((e->kind == TO_EXTRA || e->kind == TO_LIST) &&
        json_object_get(node, w->names[at]) == NULL) {
        json_t *extra = st_render_extra(w->view, type, name, node);
        if (extra != NULL) {
            json_object_set_new(node, w->names[at], extra);
            *w->changed = true;
        }
    }
    if (e->kind == TO_OBJECT)
        ids_to_objects(w, e->target, node, w->names[at]);
    json_t *value = json_object_get(node, w->names[at]);
    if (e->kind == PART) {
        if (json_is_object(value))
            follow(w, type, name, value, at + 1);
    } else if (e->kind == TO_LIST || e->kind == THROUGH_LIST) {
        follow_each(w, e->target, json_object_get(value, "data"), at + 2);
    } else {
        follow_each(w, e->target, value, at + 1);
    }
}

bool st_expand_apply(const struct st_view *v, enum st_type type, json_t *obj, const char *path)
{
    char copy[512];
    char *names[EXPAND_WORK_NAMES];
    bool changed = false;
    struct walk w = {.view = v, .names = names, .changed = &changed};
    w.count = split(path, copy, sizeof copy, names);
    follow(&w, type, "", obj, 0);
    return changed;
}
