/*
 * Changes of records with what follows from them: totals and periods filled in, embedded parts
 * kept in their own tables, and the events Stripe would make.
 */
#include "stripe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct st_view event_view(const struct st_change *ch)
{
    return (struct st_view){
        .app = ch->app, .mode = ch->mode, .shape = st_shape_of(ch->mode->account->api_version)};
}

static json_t *render_now(const struct st_change *ch, struct st_record *rec)
{
    struct st_view v = event_view(ch);
    return st_render_plain(&v, rec);
}

static void note_previous(json_t **previous, const char *key, json_t *value)
{
    if (value == NULL)
        return;
    if (*previous == NULL)
        *previous = json_object();
    json_object_set_new(*previous, key, value);
}

/* What differs, with the values before; arrays whole, objects by member, null for a member
 * that was not there. NULL: nothing differs. */
static json_t *previous_of(const json_t *before, const json_t *after)
{
    json_t *previous = NULL;
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)after, key, value)
    {
        json_t *old = json_object_get(before, key);
        if (old == NULL)
            note_previous(&previous, key, json_null());
        else if (json_is_object(old) && json_is_object(value))
            note_previous(&previous, key, previous_of(old, value));
        else if (!json_equal(old, value))
            note_previous(&previous, key, json_incref(old));
    }
    json_object_foreach((json_t *)(uintptr_t)before, key, value)
    {
        if (json_object_get(after, key) == NULL)
            note_previous(&previous, key, json_incref(value));
    }
    return previous;
}

/* ---- event types ---- */

static void event(struct st_change *ch, const char *prefix, const char *verb,
                  struct st_record *rec, const json_t *obj, const json_t *previous)
{
    char type[96];
    snprintf(type, sizeof type, "%s.%s", prefix, verb);
    (void)st_event(ch, type, rec, json_deep_copy(obj),
                   previous != NULL ? json_deep_copy(previous) : NULL);
}

struct transition {
    enum st_type type;
    const char *status;
    const char *verbs[3];
    bool instead; /* of "updated" */
};

static const struct transition transitions[] = {
    {ST_SUBSCRIPTION, "canceled", {"deleted", NULL, NULL}, true},
    {ST_SUBSCRIPTION, "paused", {"paused", NULL, NULL}, false},
    {ST_INVOICE, "open", {"finalized", NULL, NULL}, false},
    {ST_INVOICE, "paid", {"paid", "payment_succeeded", NULL}, false},
    {ST_INVOICE, "void", {"voided", NULL, NULL}, false},
    {ST_INVOICE, "uncollectible", {"marked_uncollectible", NULL, NULL}, false},
    {ST_PAYMENT_INTENT, "succeeded", {"succeeded", NULL, NULL}, true},
    {ST_PAYMENT_INTENT, "canceled", {"canceled", NULL, NULL}, true},
    {ST_CHARGE, "succeeded", {"succeeded", NULL, NULL}, true},
    {ST_CHARGE, "failed", {"failed", NULL, NULL}, true},
    {ST_SCHEDULE, "canceled", {"canceled", NULL, NULL}, true},
    {ST_SCHEDULE, "released", {"released", NULL, NULL}, true},
    {ST_CREDIT_NOTE, "void", {"voided", NULL, NULL}, true},
};

/* A price is a plan as well, under its old name. */
static void plan_event(struct st_change *ch, const char *verb, struct st_record *rec)
{
    struct st_view v = event_view(ch);
    if (rec->cls->type != ST_PRICE)
        return;
    json_t *plan = st_render_plan(&v, rec);
    event(ch, "plan", verb, rec, plan, NULL);
    json_decref(plan);
}

static void updated_events(struct st_change *ch, struct st_record *rec, const json_t *before)
{
    const char *prefix = rec->cls->event;
    json_t *after = render_now(ch, rec);
    json_t *previous = previous_of(before, after);
    /* Whoever names the event gets it, also of what is only shown when expanded (tiers). */
    if (prefix == NULL || (previous == NULL && ch->event_type == NULL)) {
        json_decref(after);
        json_decref(previous);
        return;
    }
    bool plain = true;
    const char *was = st_text_at(previous, "status");
    const char *is = st_text_at(after, "status");
    for (size_t i = 0; i < sizeof transitions / sizeof transitions[0]; i++) {
        const struct transition *t = &transitions[i];
        if (was == NULL || t->type != rec->cls->type || strcmp(t->status, is) != 0)
            continue;
        for (size_t k = 0; k < 3 && t->verbs[k] != NULL; k++)
            event(ch, prefix, t->verbs[k], rec, after, t->instead ? NULL : previous);
        plain = !t->instead;
    }
    if (was != NULL && rec->cls->type == ST_SUBSCRIPTION && strcmp(was, "paused") == 0)
        event(ch, prefix, "resumed", rec, after, previous);
    if (rec->cls->type == ST_CHARGE && json_object_get(previous, "amount_refunded") != NULL) {
        event(ch, prefix, "refunded", rec, after, previous);
        plain = false;
    }
    if (plain)
        event(ch, prefix, "updated", rec, after, previous);
    if (ch->event_type == NULL)
        plan_event(ch, "updated", rec);
    json_decref(after);
    json_decref(previous);
}

static void created_events(struct st_change *ch, struct st_record *rec)
{
    static const struct {
        enum st_type type;
        const char *verb;
    } own[] = {{ST_CHARGE, "succeeded"}, {ST_INVOICE_PAYMENT, "paid"}};
    if (rec->cls->event == NULL)
        return;
    const char *verb = "created";
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (own[i].type == rec->cls->type)
            verb = own[i].verb;
    }
    json_t *obj = render_now(ch, rec);
    event(ch, rec->cls->event, verb, rec, obj, NULL);
    plan_event(ch, "created", rec);
    json_decref(obj);
}

/* ---- discounts ---- */

static int64_t months_later(int64_t at_s, json_int_t months)
{
    return at_s + months * 2629800; /* a twelfth of a Julian year */
}

static const char *new_discount(struct st_change *ch, const json_t *wanted,
                                const char *customer, const char *subscription,
                                const char *item, json_t **id)
{
    const char *coupon_id = st_text_at(wanted, "coupon");
    if (coupon_id == NULL)
        coupon_id = st_text_at(wanted, "source.coupon");
    struct st_record *coupon = coupon_id ? st_find(ch->mode, ST_COUPON, coupon_id) : NULL;
    if (coupon == NULL)
        return "a discount needs the id of a coupon";
    json_t *start = json_object_get(wanted, "start");
    int64_t start_s =
        json_is_integer(start) ? json_integer_value(start) : sim_now_ms(ch->app->sim) / 1000;
    json_t *sparse =
        json_pack("{s:{s:s, s:s}, s:I, s:s?, s:s?, s:s?}", "source", "coupon", coupon_id,
                  "type", "coupon", "start", (json_int_t)start_s, "customer", customer,
                  "subscription", subscription, "subscription_item", item);
    json_t *months = st_field(ch->app, coupon, "duration_in_months");
    if (json_object_get(wanted, "end") != NULL)
        json_object_set(sparse, "end", json_object_get(wanted, "end"));
    else if (json_is_integer(months) && json_integer_value(months) > 0)
        json_object_set_new(sparse, "end",
                            json_integer(months_later(start_s, json_integer_value(months))));
    json_decref(months);
    if (json_object_get(wanted, "promotion_code") != NULL)
        json_object_set(sparse, "promotion_code", json_object_get(wanted, "promotion_code"));
    struct st_record *rec = st_insert(ch->app, ch->mode, ST_DISCOUNT, sparse);
    *id = json_string(rec->id);
    created_events(ch, rec);
    return NULL;
}

static void end_discount(struct st_change *ch, const char *id)
{
    struct st_record *rec = st_find(ch->mode, ST_DISCOUNT, id);
    if (rec == NULL || rec->deleted)
        return;
    json_t *obj = render_now(ch, rec);
    st_mark_deleted(ch->mode, rec);
    event(ch, "customer.discount", "deleted", rec, obj, NULL);
    json_decref(obj);
}

/* "discounts" of a subscription or item: ids that stay, objects that are new. */
static const char *set_discounts(struct st_change *ch, json_t *sparse, const json_t *wanted,
                                 const char *customer, const char *subscription,
                                 const char *item)
{
    json_t *ids = json_array();
    size_t i = 0;
    json_t *one = NULL;
    json_array_foreach(wanted, i, one)
    {
        json_t *id = json_is_string(one) ? json_incref(one) : NULL;
        const char *error =
            id == NULL ? new_discount(ch, one, customer, subscription, item, &id) : NULL;
        if (error != NULL) {
            json_decref(ids);
            return error;
        }
        json_array_append_new(ids, id);
    }
    json_array_foreach(json_object_get(sparse, "discounts"), i, one)
    {
        bool stays = false;
        for (size_t k = 0; k < json_array_size(ids); k++)
            stays = stays || json_equal(one, json_array_get(ids, k));
        if (!stays && json_is_string(one))
            end_discount(ch, json_string_value(one));
    }
    json_object_set_new(sparse, "discounts", ids);
    return NULL;
}

static const char *set_customer_discount(struct st_change *ch, struct st_record *rec,
                                         json_t *sparse, const json_t *wanted)
{
    json_t *id = NULL;
    const char *old = st_text_at(sparse, "_discount");
    if (json_is_object(wanted)) {
        const char *error = new_discount(ch, wanted, rec->id, NULL, NULL, &id);
        if (error != NULL)
            return error;
    }
    if (old != NULL)
        end_discount(ch, old);
    json_object_del(sparse, "_discount");
    if (id != NULL)
        json_object_set_new(sparse, "_discount", id);
    return NULL;
}

/* ---- prices and periods ---- */

static void sync_amount(json_t *price)
{
    const json_t *amount = json_object_get(price, "unit_amount");
    const char *decimal = st_text_at(price, "unit_amount_decimal");
    if (json_is_integer(amount))
        json_object_set_new(price, "unit_amount_decimal",
                            json_sprintf("%lld", (long long)json_integer_value(amount)));
    else if (decimal != NULL && strchr(decimal, '.') == NULL)
        json_object_set_new(price, "unit_amount", json_integer(atoll(decimal)));
    else
        json_object_set_new(price, "unit_amount", json_null());
    const char *scheme = st_text_at(price, "billing_scheme");
    if (scheme != NULL && strcmp(scheme, "tiered") == 0) {
        json_object_set_new(price, "unit_amount", json_null());
        json_object_set_new(price, "unit_amount_decimal", json_null());
    }
    const char *type = st_text_at(price, "type");
    if (type != NULL && strcmp(type, "one_time") == 0)
        json_object_set_new(price, "recurring", json_null());
}

static int64_t interval_s(struct st_change *ch, struct st_record *price)
{
    json_t *r = st_field(ch->app, price, "recurring");
    const char *interval = st_text_at(r, "interval");
    const json_t *count = json_object_get(r, "interval_count");
    int64_t one = 2629800;
    if (interval != NULL && strcmp(interval, "day") == 0)
        one = ST_DAY_S;
    else if (interval != NULL && strcmp(interval, "week") == 0)
        one = 7LL * ST_DAY_S;
    else if (interval != NULL && strcmp(interval, "year") == 0)
        one = 31557600;
    int64_t n = json_is_integer(count) ? json_integer_value(count) : 1;
    json_decref(r);
    return one * n;
}

/* ---- items ---- */

static const char *add_item(struct st_change *ch, struct st_record *sub, const json_t *wanted)
{
    const char *price_id = st_text_at(wanted, "price");
    if (price_id == NULL)
        price_id = st_text_at(wanted, "price.id");
    struct st_record *price = price_id ? st_find(ch->mode, ST_PRICE, price_id) : NULL;
    if (price == NULL || price->deleted)
        return "an item needs the id of a price";
    const char *given = st_text_at(wanted, "id");
    if (given != NULL && st_find(ch->mode, ST_SUBSCRIPTION_ITEM, given) != NULL)
        return "there is an item of that id already";
    int64_t now_s = sim_now_ms(ch->app->sim) / 1000;
    json_t *sparse =
        json_pack("{s:s, s:s, s:I, s:I}", "subscription", sub->id, "price", price_id,
                  "current_period_start", (json_int_t)now_s, "current_period_end",
                  (json_int_t)(now_s + interval_s(ch, price)));
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)wanted, key, value)
    {
        if (strcmp(key, "price") != 0 && strcmp(key, "discounts") != 0 &&
            strcmp(key, "plan") != 0)
            json_object_set_new(sparse, key, json_deep_copy(value));
    }
    struct st_record *item = st_insert(ch->app, ch->mode, ST_SUBSCRIPTION_ITEM, sparse);
    const json_t *discounts = json_object_get(wanted, "discounts");
    const char *error = NULL;
    if (json_is_array(discounts)) {
        json_t *again = st_load(item);
        error = set_discounts(ch, again, discounts, sub->owner, sub->id, item->id);
        st_save(ch->mode, item, again);
    }
    st_touch(ch->mode, sub);
    return error;
}

static void remove_item(struct st_change *ch, struct st_record *item)
{
    st_mark_deleted(ch->mode, item);
}

static const char *patch_record(struct st_change *ch, struct st_record *rec,
                                const json_t *patch);

/* "items" of a subscription: those with a known id are changed, others are new, and the ones
 * not named go. */
static const char *set_items(struct st_change *ch, struct st_record *sub, const json_t *wanted)
{
    if (json_is_object(wanted))
        wanted = json_object_get(wanted, "data");
    const struct st_vec *have = st_owned(ch->mode, ST_SUBSCRIPTION_ITEM, sub->id);
    for (size_t k = have != NULL ? have->count : 0; k > 0; k--) {
        struct st_record *item = have->items[k - 1];
        bool stays = false;
        for (size_t i = 0; i < json_array_size(wanted); i++) {
            const char *id = st_text_at(json_array_get(wanted, i), "id");
            stays = stays || (id != NULL && strcmp(id, item->id) == 0);
        }
        if (!stays)
            remove_item(ch, item);
    }
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        const json_t *one = json_array_get(wanted, i);
        const char *id = st_text_at(one, "id");
        struct st_record *item =
            id != NULL ? st_find(ch->mode, ST_SUBSCRIPTION_ITEM, id) : NULL;
        const char *error = item != NULL && !item->deleted ? patch_record(ch, item, one)
                                                           : add_item(ch, sub, one);
        if (error != NULL)
            return error;
    }
    return NULL;
}

static const char *set_lines(struct st_change *ch, struct st_record *invoice,
                             const json_t *wanted)
{
    if (json_is_object(wanted))
        wanted = json_object_get(wanted, "data");
    const struct st_vec *have = st_owned(ch->mode, ST_LINE_ITEM, invoice->id);
    while (have != NULL && have->count > 0)
        st_mark_deleted(ch->mode, have->items[have->count - 1]);
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        json_t *line = json_deep_copy(json_array_get(wanted, i));
        json_object_set_new(line, "invoice", json_string(invoice->id));
        if (json_object_get(line, "subtotal") == NULL && json_object_get(line, "amount"))
            json_object_set(line, "subtotal", json_object_get(line, "amount"));
        (void)st_insert(ch->app, ch->mode, ST_LINE_ITEM, line);
    }
    st_touch(ch->mode, invoice);
    return NULL;
}

/* ---- patches ---- */

static void merge(json_t *into, const char *key, const json_t *value, const json_t *base)
{
    if (!json_is_object(value)) {
        json_object_set_new(into, key, json_deep_copy(value));
        return;
    }
    /* What the template says stays where the patch says nothing. */
    const json_t *have = json_object_get(into, key);
    json_t *merged = json_deep_copy(json_is_object(have) ? have : json_object_get(base, key));
    if (!json_is_object(merged)) {
        json_decref(merged);
        merged = json_object();
    }
    bool metadata = strcmp(key, "metadata") == 0;
    const char *name = NULL;
    json_t *member = NULL;
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        if (metadata && json_is_null(member))
            json_object_del(merged, name);
        else
            merge(merged, name, member, NULL);
    }
    json_object_set_new(into, key, merged);
}

static void note_status(struct st_change *ch, struct st_record *rec, json_t *sparse,
                        const json_t *patch)
{
    const char *status = st_text_at(patch, "status");
    json_t *now = json_integer(sim_now_ms(ch->app->sim) / 1000);
    if (status != NULL && rec->cls->type == ST_SUBSCRIPTION &&
        strcmp(status, "canceled") == 0) {
        if (json_object_get(patch, "ended_at") == NULL)
            json_object_set(sparse, "ended_at", now);
        if (!json_is_integer(json_object_get(sparse, "canceled_at")))
            json_object_set(sparse, "canceled_at", now);
    }
    if (status != NULL && rec->cls->type == ST_INVOICE) {
        static const struct {
            const char *status;
            const char *member;
        } at[] = {{"open", "finalized_at"},
                  {"paid", "paid_at"},
                  {"void", "voided_at"},
                  {"uncollectible", "marked_uncollectible_at"}};
        json_t *one = json_object();
        for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
            if (strcmp(at[i].status, status) == 0)
                json_object_set(one, at[i].member, now);
        }
        merge(sparse, "status_transitions", one, ch->app->templates[ST_INVOICE]);
        json_decref(one);
        if (strcmp(status, "paid") == 0 && json_object_get(patch, "amount_paid") == NULL) {
            json_object_set(sparse, "amount_paid", json_object_get(sparse, "amount_due"));
            json_object_set_new(sparse, "amount_remaining", json_integer(0));
        }
    }
    if (rec->cls->type == ST_PRODUCT && json_object_get(patch, "updated") == NULL)
        json_object_set(sparse, "updated", now);
    json_decref(now);
}

static bool is_control_word(const char *key)
{
    static const char *const words[] = {"notify", "count",     "shuffle",    "delay_ms",
                                        "raw",    "raw_hex",   "raw_record", "same_second",
                                        "mode",   "event_type"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i], key) == 0)
            return true;
    }
    return false;
}

/* A member that lives in another table; *taken tells whether it was one. */
static const char *patch_part(struct st_change *ch, struct st_record *rec, json_t *sparse,
                              const char *key, const json_t *value, bool *taken)
{
    enum st_type type = rec->cls->type;
    *taken = true;
    if (type == ST_SUBSCRIPTION && strcmp(key, "discounts") == 0)
        return set_discounts(ch, sparse, value, st_text_at(sparse, "customer"), rec->id, NULL);
    if (type == ST_SUBSCRIPTION_ITEM && strcmp(key, "discounts") == 0)
        return set_discounts(ch, sparse, value, NULL, st_text_at(sparse, "subscription"),
                             rec->id);
    if (type == ST_SUBSCRIPTION_ITEM && strcmp(key, "price") == 0 && json_is_object(value)) {
        json_object_set(sparse, "price", json_object_get(value, "id"));
        return NULL;
    }
    if (type == ST_CUSTOMER && strcmp(key, "discount") == 0)
        return set_customer_discount(ch, rec, sparse, value);
    if (type == ST_ENDPOINT && strcmp(key, "secrets") == 0) {
        json_object_set_new(sparse, "_secrets", json_deep_copy(value));
        return NULL;
    }
    *taken = false;
    return NULL;
}

static const char *patch_record(struct st_change *ch, struct st_record *rec,
                                const json_t *patch)
{
    json_t *sparse = st_load(rec);
    const json_t *items = NULL;
    const json_t *lines = NULL;
    const char *error = NULL;
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)patch, key, value)
    {
        bool taken = false;
        if (is_control_word(key) || strcmp(key, "id") == 0 || strcmp(key, "object") == 0)
            continue;
        if (rec->cls->type == ST_SUBSCRIPTION && strcmp(key, "items") == 0) {
            items = value;
            continue;
        }
        if (rec->cls->type == ST_INVOICE && strcmp(key, "lines") == 0) {
            lines = value;
            continue;
        }
        error = patch_part(ch, rec, sparse, key, value, &taken);
        if (error != NULL)
            break;
        if (!taken)
            merge(sparse, key, value, ch->app->templates[rec->cls->type]);
    }
    if (rec->cls->type == ST_PRICE && error == NULL) {
        /* A new amount in one form replaces the other. */
        if (json_object_get(patch, "unit_amount_decimal") != NULL &&
            json_object_get(patch, "unit_amount") == NULL)
            json_object_del(sparse, "unit_amount");
        sync_amount(sparse);
    }
    note_status(ch, rec, sparse, patch);
    st_save(ch->mode, rec, sparse);
    if (error == NULL && items != NULL)
        error = set_items(ch, rec, items);
    if (error == NULL && lines != NULL)
        error = set_lines(ch, rec, lines);
    return error;
}

/* The record whose event tells of a change of this one. */
static struct st_record *shown_in(const struct st_change *ch, struct st_record *rec)
{
    if (rec->owner != NULL && rec->cls->type == ST_SUBSCRIPTION_ITEM)
        return st_find(ch->mode, ST_SUBSCRIPTION, rec->owner);
    if (rec->owner != NULL && rec->cls->type == ST_LINE_ITEM)
        return st_find(ch->mode, ST_INVOICE, rec->owner);
    return rec;
}

const char *st_update(struct st_change *ch, struct st_record *rec, json_t *patch)
{
    struct st_record *shown = shown_in(ch, rec);
    json_t *before = render_now(ch, shown);
    const char *error = patch_record(ch, rec, patch);
    if (shown != rec)
        st_touch(ch->mode, shown);
    if (error == NULL)
        updated_events(ch, shown, before);
    json_decref(before);
    return error;
}

/* ---- creation ---- */

static const char *check_new(struct st_change *ch, enum st_type type, const json_t *fields)
{
    const char *id = st_text_at(fields, "id");
    if (id != NULL && st_find(ch->mode, type, id) != NULL)
        return "there is a record of that id already";
    const char *customer = st_text_at(fields, "customer");
    bool needs = type == ST_SUBSCRIPTION || type == ST_INVOICE || type == ST_TAX_ID;
    struct st_record *rec = customer ? st_find(ch->mode, ST_CUSTOMER, customer) : NULL;
    if (needs && (rec == NULL || rec->deleted))
        return "it needs the id of a customer";
    const char *product = st_text_at(fields, "product");
    if (type == ST_PRICE && (product == NULL || !st_find(ch->mode, ST_PRODUCT, product)))
        return "a price needs the id of a product";
    return NULL;
}

static void defaults_of(struct st_change *ch, enum st_type type, json_t *sparse)
{
    json_t *now = json_object_get(sparse, "created");
    now = now != NULL ? json_incref(now) : json_integer(sim_now_ms(ch->app->sim) / 1000);
    if (type == ST_SUBSCRIPTION) {
        static const char *const names[] = {"start_date", "billing_cycle_anchor"};
        for (size_t i = 0; i < 2; i++) {
            if (json_object_get(sparse, names[i]) == NULL)
                json_object_set(sparse, names[i], now);
        }
    } else if (type == ST_PRODUCT && json_object_get(sparse, "updated") == NULL) {
        json_object_set(sparse, "updated", now);
    } else if (type == ST_PRICE) {
        sync_amount(sparse);
    } else if (type == ST_TAX_ID) {
        json_object_set_new(sparse, "owner",
                            json_pack("{s:O, s:n, s:s}", "customer",
                                      json_object_get(sparse, "customer"), "customer_account",
                                      "type", "customer"));
    }
    json_decref(now);
}

struct st_record *st_create(struct st_change *ch, enum st_type type, json_t *fields,
                            const char **error)
{
    *error = check_new(ch, type, fields);
    if (*error != NULL)
        return NULL;
    if (type == ST_SUBSCRIPTION_ITEM) {
        const char *owner = st_text_at(fields, "subscription");
        struct st_record *sub =
            owner != NULL ? st_find(ch->mode, ST_SUBSCRIPTION, owner) : NULL;
        if (sub == NULL) {
            *error = "an item needs the id of a subscription";
            return NULL;
        }
        json_t *before = render_now(ch, sub);
        *error = add_item(ch, sub, fields);
        const struct st_vec *items = st_owned(ch->mode, type, owner);
        if (*error == NULL)
            updated_events(ch, sub, before);
        json_decref(before);
        return *error == NULL ? items->items[items->count - 1] : NULL;
    }
    /* The parts that live elsewhere come after the record they belong to. */
    json_t *sparse = json_object();
    json_t *later = json_object();
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(fields, key, value)
    {
        bool part = strcmp(key, "items") == 0 || strcmp(key, "lines") == 0 ||
                    strcmp(key, "discounts") == 0 || strcmp(key, "secrets") == 0 ||
                    (type == ST_CUSTOMER && strcmp(key, "discount") == 0);
        if (part)
            json_object_set(later, key, value);
        else if (!is_control_word(key))
            merge(sparse, key, value, ch->app->templates[type]);
    }
    defaults_of(ch, type, sparse);
    struct st_record *rec = st_insert(ch->app, ch->mode, type, sparse);
    if (json_object_size(later) > 0)
        *error = patch_record(ch, rec, later);
    json_decref(later);
    if (*error != NULL) {
        st_mark_deleted(ch->mode, rec);
        return NULL;
    }
    created_events(ch, rec);
    return rec;
}

/* ---- the end of things ---- */

static void cancel_all(struct st_change *ch, const char *customer)
{
    const struct st_vec *subs = st_owned(ch->mode, ST_SUBSCRIPTION, customer);
    json_t *patch = json_pack("{s:s}", "status", "canceled");
    for (size_t i = 0; subs != NULL && i < subs->count; i++) {
        if (strcmp(subs->items[i]->status, "canceled") != 0)
            (void)st_update(ch, subs->items[i], patch);
    }
    json_decref(patch);
}

void st_delete(struct st_change *ch, struct st_record *rec)
{
    if (rec->deleted)
        return;
    if (rec->cls->type == ST_SUBSCRIPTION) {
        json_t *patch = json_pack("{s:s}", "status", "canceled");
        (void)st_update(ch, rec, patch);
        json_decref(patch);
        return;
    }
    struct st_record *shown = shown_in(ch, rec);
    json_t *before = render_now(ch, shown);
    if (rec->cls->type == ST_CUSTOMER)
        cancel_all(ch, rec->id);
    st_mark_deleted(ch->mode, rec);
    if (shown != rec) {
        st_touch(ch->mode, shown);
        updated_events(ch, shown, before);
    } else if (rec->cls->event != NULL) {
        event(ch, rec->cls->event, "deleted", rec, before, NULL);
    }
    plan_event(ch, "deleted", rec);
    json_decref(before);
}

static void payment_events(struct st_change *ch, struct st_record *invoice)
{
    static const struct {
        const char *member;
        enum st_type type;
        const char *verb;
    } made[] = {{"_payment_intent", ST_PAYMENT_INTENT, "succeeded"},
                {"_charge", ST_CHARGE, "succeeded"}};
    json_t *sparse = st_load(invoice);
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        const char *id = st_text_at(sparse, made[i].member);
        struct st_record *rec = id != NULL ? st_find(ch->mode, made[i].type, id) : NULL;
        json_t *obj = rec != NULL ? render_now(ch, rec) : NULL;
        if (rec != NULL)
            event(ch, rec->cls->event, made[i].verb, rec, obj, NULL);
        json_decref(obj);
    }
    json_decref(sparse);
    const struct st_vec *payments = st_owned(ch->mode, ST_INVOICE_PAYMENT, invoice->id);
    for (size_t i = 0; payments != NULL && i < payments->count; i++)
        created_events(ch, payments->items[i]);
}

struct st_record *st_bill(struct st_change *ch, struct st_record *sub, const char *status)
{
    json_t *before = render_now(ch, sub);
    struct st_record *invoice =
        st_seed_invoice(ch->app, ch->mode, sub, status, sim_now_ms(ch->app->sim) / 1000);
    json_t *obj = render_now(ch, invoice);
    event(ch, "invoice", "created", invoice, obj, NULL);
    event(ch, "invoice", "finalized", invoice, obj, NULL);
    if (strcmp(status, "paid") == 0) {
        payment_events(ch, invoice);
        event(ch, "invoice", "paid", invoice, obj, NULL);
        event(ch, "invoice", "payment_succeeded", invoice, obj, NULL);
    } else {
        event(ch, "invoice", "payment_failed", invoice, obj, NULL);
    }
    json_decref(obj);
    updated_events(ch, sub, before);
    json_decref(before);
    return invoice;
}
