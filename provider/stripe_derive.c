/* A Stripe customer's source properties from its bundle: itself, its subscriptions, the prices
 * and coupons they name, its open invoices. */
#include "provider/stripe_mrr.h"
#include "provider/stripe_priv.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { CURRENCIES_MAX = 32 };

struct amounts {
    struct {
        char currency[8];
        const struct ratio *sum;
    } by[CURRENCIES_MAX];
    size_t count;
};

static void set_text(json_t *out, const char *key, const char *text)
{
    (void)json_object_set_new(
        out, key, text != NULL && text[0] != '\0' ? json_string(text) : json_null());
}

/* The part behind the last @, in lower case; null where there is none. */
static void set_email(json_t *out, const char *email)
{
    char domain[256];
    const char *at = email != NULL ? strrchr(email, '@') : NULL;
    set_text(out, "email", email);
    (void)snprintf(domain, sizeof domain, "%s", at != NULL ? at + 1 : "");
    for (char *p = domain; *p != '\0'; p++)
        *p = isspace((unsigned char)*p) ? '\0' : (char)tolower((unsigned char)*p);
    set_text(out, "email_domain", strchr(domain, '.') != NULL ? domain : NULL);
}

/* metadata.<key> for mappings, and the id of the HubSpot company where somebody kept it. */
static void set_metadata(json_t *out, json_t *metadata)
{
    static const char *const names[] = {"hubspot_company_id", "hubspot_id", "hs_object_id",
                                        "hubspot_object_id", "hubspot_company"};
    const char *key = NULL;
    json_t *value = NULL;
    set_text(out, "hubspot_company_id", NULL);
    json_object_foreach(metadata, key, value)
    {
        char name[128];
        (void)snprintf(name, sizeof name, "metadata.%s", key);
        (void)json_object_set(out, name, value);
    }
    for (size_t i = COUNT_OF(names); i-- > 0;) {
        const char *id = json_text_of(metadata, names[i]);
        if (id != NULL && id[0] != '\0' && id[strspn(id, "0123456789")] == '\0')
            set_text(out, "hubspot_company_id", id);
    }
}

/* Of its subscriptions the first in this order. */
static const char *subscription_status(const json_t *subscriptions)
{
    static const char *const order[] = {"active", "trialing",   "past_due", "unpaid",
                                        "paused", "incomplete", "canceled"};
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        for (size_t k = 0; k < json_array_size(subscriptions); k++) {
            const char *s = json_text_of(json_array_get(subscriptions, k), "status");
            if (s != NULL && strcmp(s, order[i]) == 0)
                return order[i];
        }
    }
    return "none";
}

static bool has_status(const json_t *list, const char *status)
{
    for (size_t k = 0; k < json_array_size(list); k++) {
        const char *s = json_text_of(json_array_get(list, k), "status");
        if (s != NULL && strcmp(s, status) == 0)
            return true;
    }
    return false;
}

/* Open and past its due date, or open after a charge was tried in vain. */
static bool is_overdue(const json_t *invoice, int64_t now_s)
{
    const char *status = json_text_of(invoice, "status");
    int64_t due_s = json_int_of(invoice, "due_date", 0);
    if (status == NULL || strcmp(status, "open") != 0)
        return false;
    if (due_s > 0)
        return due_s < now_s;
    return json_int_of(invoice, "attempt_count", 0) > 0 &&
           json_int_of(invoice, "amount_remaining", 1) > 0;
}

/* Of a subscription that the scope leaves out, which is as if it were not there. */
static bool bills_another(const json_t *invoice, const json_t *subscriptions)
{
    const json_t *details =
        json_object_get(json_object_get(invoice, "parent"), "subscription_details");
    const json_t *of = json_object_get(details, "subscription");
    if (of == NULL)
        of = json_object_get(invoice, "subscription");
    const char *id = json_is_object(of) ? json_text_of(of, "id") : json_string_value(of);
    for (size_t k = 0; id != NULL && k < json_array_size(subscriptions); k++) {
        const char *other = json_text_of(json_array_get(subscriptions, k), "id");
        if (other != NULL && strcmp(other, id) == 0)
            return false;
    }
    return id != NULL;
}

/* The invoices that count: all, or with a scope those of its subscriptions and of none. */
static json_t *invoices_inside(const json_t *bundle, bool filtered)
{
    json_t *all = json_object_get(bundle, "invoices");
    json_t *inside = filtered ? json_array() : json_incref(all);
    for (size_t i = 0; filtered && i < json_array_size(all); i++) {
        json_t *invoice = json_array_get(all, i);
        if (!bills_another(invoice, json_object_get(bundle, "subscriptions")) &&
            json_array_append(inside, invoice) < 0) {
            json_decref(inside);
            return NULL;
        }
    }
    return inside;
}

static const char *payment_status(const json_t *subscriptions, const json_t *invoices,
                                  int64_t now_s)
{
    bool live = has_status(subscriptions, "active") || has_status(subscriptions, "trialing") ||
                has_status(subscriptions, "paused");
    bool written_off = has_status(invoices, "uncollectible");
    if (has_status(subscriptions, "unpaid") || (written_off && !live))
        return "unpaid";
    if (has_status(subscriptions, "past_due"))
        return "past_due";
    for (size_t i = 0; i < json_array_size(invoices); i++) {
        if (is_overdue(json_array_get(invoices, i), now_s))
            return "past_due";
    }
    return live || json_array_size(invoices) > 0 ? "ok" : "none";
}

static void add_amount(struct ratio_pool *p, struct amounts *a, const char *currency,
                       const struct ratio *monthly)
{
    if (currency[0] == '\0')
        return;
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->by[i].currency, currency) == 0) {
            a->by[i].sum = ratio_add(p, a->by[i].sum, monthly);
            return;
        }
    }
    if (a->count == CURRENCIES_MAX)
        return;
    (void)snprintf(a->by[a->count].currency, sizeof a->by[0].currency, "%s", currency);
    a->by[a->count++].sum = monthly;
}

static bool counts(const json_t *subscription)
{
    const char *status = json_text_of(subscription, "status");
    return status != NULL && (strcmp(status, "active") == 0 || strcmp(status, "past_due") == 0);
}

static int sum_subscriptions(struct ratio_pool *p, const json_t *bundle,
                             const struct derive_policy *policy, struct amounts *a,
                             json_t *notes)
{
    const json_t *subscriptions = json_object_get(bundle, "subscriptions");
    const struct mrr_context cx = {
        .prices = json_object_get(bundle, "prices"),
        .coupons = json_object_get(bundle, "coupons"),
        .customer_discount = json_object_get(json_object_get(bundle, "customer"), "discount"),
        .now_s = policy->now_s,
        .subtract_recurring = policy->subtract_recurring,
        .subtract_once = policy->subtract_once,
    };
    for (size_t i = 0; i < json_array_size(subscriptions); i++) {
        const json_t *sub = json_array_get(subscriptions, i);
        const struct ratio *monthly = NULL;
        char currency[8];
        json_t *note = json_object();
        if (json_array_append_new(notes, note) < 0 ||
            stripe_mrr_subscription(p, sub, &cx, &monthly, currency, note) < 0)
            return -1;
        if (counts(sub))
            add_amount(p, a, currency, monthly);
    }
    return 0;
}

/* The workspace's currency, else the account's; "" where neither has one. */
static const char *set_currency(const struct derive_policy *policy)
{
    const char *c = policy->currency != NULL && policy->currency[0] != '\0'
                        ? policy->currency
                        : policy->account_currency;
    return c != NULL ? c : "";
}

/* That, else the only one there is. */
static void choose_currency(const struct derive_policy *policy, const struct amounts *a,
                            char out[8])
{
    const char *c = set_currency(policy);
    if (c[0] == '\0' && a->count == 1)
        c = a->by[0].currency;
    (void)snprintf(out, 8, "%.7s", c);
    for (char *p = out; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
}

/* mrr in the chosen currency: its sum; zero for who pays nothing; null with amounts in other
 * currencies only. Each sum is rounded once, here. */
static int set_mrr(struct ratio_pool *p, const struct derive_policy *policy,
                   const struct amounts *a, json_t *out)
{
    char currency[8];
    char text[32];
    bool found = false;
    bool others = false;
    int64_t minor = 0;
    json_t *by_currency = json_object();
    choose_currency(policy, a, currency);
    for (size_t i = 0; i < a->count; i++) {
        int64_t sum = 0;
        if (ratio_round(p, a->by[i].sum, &sum) < 0) {
            json_decref(by_currency);
            return -1;
        }
        if (strcmp(a->by[i].currency, currency) == 0) {
            found = true;
            minor = sum;
        } else if (sum != 0) {
            others = true;
        }
        if (sum != 0)
            (void)json_object_set_new(by_currency, a->by[i].currency, json_integer(sum));
    }
    bool known = currency[0] != '\0' && (found || !others);
    stripe_major_text(minor, currency, text);
    if (currency[0] == '\0' && !others)
        (void)snprintf(text, sizeof text, "0");
    set_text(out, "mrr", known || (currency[0] == '\0' && !others) ? text : NULL);
    set_text(out, "mrr_currency", known ? currency : NULL);
    return json_object_set_new(out, "mrr_by_currency", by_currency);
}

static void set_plain(json_t *out, const json_t *customer)
{
    static const char *const names[] = {"id", "name", "description", "phone", "currency"};
    static const char *const numbers[] = {"created", "balance"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        set_text(out, names[i], json_text_of(customer, names[i]));
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        json_t *v = json_object_get(customer, numbers[i]);
        (void)json_object_set(out, numbers[i], v != NULL ? v : json_null());
    }
    (void)json_object_set_new(out, "delinquent",
                              json_boolean(json_bool_of(customer, "delinquent", false)));
    set_email(out, json_text_of(customer, "email"));
    set_metadata(out, json_object_get(customer, "metadata"));
}

/* ---- the scope ---- */

static bool in_words(const char *words, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = words; *at != '\0' && len > 0;) {
        size_t n = strcspn(at, ", ");
        if (n == len && strncmp(at, word, n) == 0)
            return true;
        at += n + (at[n] != '\0');
    }
    return false;
}

bool stripe_inside(const json_t *subscription, const char *kind, const char *id)
{
    const json_t *items = json_object_get(json_object_get(subscription, "items"), "data");
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *price = json_object_get(json_array_get(items, i), "price");
        const json_t *product = json_object_get(price, "product");
        const char *word = strcmp(kind, "product") != 0 ? json_text_of(price, "lookup_key")
                           : json_is_object(product)    ? json_text_of(product, "id")
                                                        : json_string_value(product);
        if (word != NULL && in_words(id, word))
            return true;
    }
    return false;
}

int stripe_derive(const json_t *bundle, const struct derive_policy *p, json_t **out,
                  json_t **notes, struct err *err)
{
    CLEANUP(ratio_pool_freep) struct ratio_pool *pool = ratio_pool_new();
    const json_t *customer = json_object_get(bundle, "customer");
    bool deleted =
        json_bool_of(customer, "deleted", false) || json_bool_of(bundle, "deleted", false);
    const json_t *subs = deleted ? NULL : json_object_get(bundle, "subscriptions");
    bool outside = p->filtered && !deleted && json_array_size(subs) == 0;
    json_auto_t *invoices =
        deleted || outside ? json_array() : invoices_inside(bundle, p->filtered);
    struct amounts sums = {0};
    json_t *properties = json_object();
    json_t *inputs = json_array();
    *out = NULL;
    if (notes != NULL)
        *notes = NULL;
    if (!json_is_object(customer)) {
        err_set(err, ERR_PROTOCOL, "the bundle has no customer");
        goto fail;
    }
    if (pool == NULL || properties == NULL || inputs == NULL)
        goto no_memory;
    if (invoices == NULL && json_object_get(bundle, "invoices") != NULL)
        goto no_memory;
    set_plain(properties, customer);
    if (p->filtered)
        (void)json_object_set_new(properties, "in_scope", json_boolean(!outside));
    set_text(properties, "subscription_status", subscription_status(subs));
    set_text(properties, "payment_status", payment_status(subs, invoices, p->now_s));
    if (!deleted && sum_subscriptions(pool, bundle, p, &sums, inputs) < 0)
        goto no_memory;
    if (set_mrr(pool, p, &sums, properties) < 0) {
        err_set(err, ERR_PROTOCOL, "the amounts of this customer pass 64 bits");
        goto fail;
    }
    if (notes != NULL)
        *notes =
            json_pack("{s:I, s:s, s:b, s:b, s:O}", "as_of", (json_int_t)p->now_s, "currency",
                      set_currency(p), "subtract_recurring", p->subtract_recurring,
                      "subtract_once", p->subtract_once, "subscriptions", inputs);
    json_decref(inputs);
    *out = properties;
    return 0;

no_memory:
    err_set(err, ERR_NOMEM, "out of memory for a customer's properties");
fail:
    json_decref(inputs);
    json_decref(properties);
    return -1;
}
