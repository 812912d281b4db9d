/*
 * Seeded data of a mode: a price list with every kind of price, and customers that belong to
 * the same companies as HubSpot's. All of it follows from the seed, the account and the index.
 */
#include "stripe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MANY_CUSTOMERS = 5000, /* beyond, only every tenth subscription has invoices */
    HISTORY_DAYS = 720,
    ADDONS = 14
};

struct seeded_price {
    const char *name; /* end of the id */
    const char *product;
    const char *currency;
    const char *interval;
    int interval_count;
    const char *decimal; /* unit amount; NULL = tiered */
    const char *more;    /* further members, quotes as in the templates */
};

static const char *const products[][2] = {
    {"SimStarter", "Pivotal Starter"}, {"SimGrowth", "Pivotal Growth"},
    {"SimScale", "Pivotal Scale"},     {"SimAddons", "Pivotal Add-ons"},
    {"SimApi", "API usage"},           {"SimOnboarding", "Onboarding"},
};

#define TIERS                                                                                  \
    "'tiers':[{'flat_amount':null,'flat_amount_decimal':null,'unit_amount':700,"               \
    "'unit_amount_decimal':'700','up_to':5},{'flat_amount':null,'flat_amount_decimal':null,"   \
    "'unit_amount':650,'unit_amount_decimal':'650','up_to':10},{'flat_amount':1000,"           \
    "'flat_amount_decimal':'1000','unit_amount':600,'unit_amount_decimal':'600',"              \
    "'up_to':null}]"

static const struct seeded_price prices[] = {
    {"StarterMonthly", "SimStarter", "usd", "month", 1, "4900",
     "'lookup_key':'starter_monthly'"},
    {"StarterYearly", "SimStarter", "usd", "year", 1, "49000", NULL},
    {"StarterQuarterly", "SimStarter", "usd", "month", 3, "13900", NULL},
    {"StarterEur", "SimStarter", "eur", "month", 1, "4500",
     "'currency_options':{'eur':{'custom_unit_amount':null,'tax_behavior':'exclusive',"
     "'unit_amount':4500,'unit_amount_decimal':'4500'}}"},
    {"StarterJpy", "SimStarter", "jpy", "month", 1, "6500", NULL},
    {"GrowthSeat", "SimGrowth", "usd", "month", 1, "1250", "'nickname':'Per seat'"},
    {"GrowthSeatYearly", "SimGrowth", "usd", "year", 1, "12000", NULL},
    {"GrowthPackage", "SimGrowth", "usd", "month", 1, "500",
     "'transform_quantity':{'divide_by':10,'round':'up'}"},
    {"GrowthWeekly", "SimGrowth", "usd", "week", 1, "1000", NULL},
    {"GrowthDaily", "SimGrowth", "usd", "day", 1, "100", NULL},
    {"ScaleGraduated", "SimScale", "usd", "month", 1, NULL,
     "'billing_scheme':'tiered','tiers_mode':'graduated'," TIERS},
    {"ScaleVolume", "SimScale", "usd", "month", 1, NULL,
     "'billing_scheme':'tiered','tiers_mode':'volume'," TIERS},
    {"ApiCalls", "SimApi", "usd", "month", 1, "0.5", NULL},
    {"ApiMetered", "SimApi", "usd", "month", 1, "0.02",
     "'recurring':{'interval':'month','interval_count':1,'meter':'mtr_1SimApi',"
     "'trial_period_days':null,'usage_type':'metered'}"},
    {"OnboardingFee", "SimOnboarding", "usd", NULL, 0, "150000", NULL},
    {"StarterOld", "SimStarter", "usd", "month", 1, "2900", "'active':false"},
};

static const char *const coupons[] = {
    "{'id':'SIM25FOREVER','name':'25 % off','duration':'forever','percent_off':25,'created':1}",
    "{'id':'SIM10OFF','name':'10.00 off','duration':'forever','amount_off':1000,"
    "'currency':'usd','created':2,'currency_options':{'eur':{'amount_off':900}}}",
    "{'id':'SIM50HALFYEAR','name':'Half a year for half','duration':'repeating',"
    "'duration_in_months':6,'percent_off':50,'created':3}",
    "{'id':'SIM50ONCE','name':'First month for half','duration':'once','percent_off':50,"
    "'created':4}",
    "{'id':'SIM33ADDONS','name':'Add-ons','duration':'forever','percent_off':33.3,"
    "'created':5,'applies_to':{'products':['prod_SimAddons']}}",
};

struct seeding {
    struct stripe_sim *app;
    struct st_mode *mode;
    int64_t base_s; /* midnight before the start */
    uint64_t salt;
    size_t customers;
};

static json_t *parse(const char *text)
{
    char *copy = sim_strdup(text);
    for (char *p = copy; *p != '\0'; p++)
        *p = *p == '\'' ? '"' : *p;
    json_t *v = json_loads(copy, 0, NULL);
    free(copy);
    return v;
}

static uint64_t pick(const struct seeding *s, uint64_t i, uint64_t what, uint64_t below)
{
    return sim_mix(s->salt, i, what) % below;
}

/* Ids that are written by hand differ between test and live as real ones do. */
static char *named(const struct seeding *s, const char *prefix, const char *name)
{
    return sim_strf("%s%s%s", prefix, name, s->mode->live ? "Live" : "");
}

static void seed_price(const struct seeding *s, const struct seeded_price *p, int64_t created)
{
    char *id = named(s, "price_1Sim", p->name);
    char *product = named(s, "prod_", p->product);
    json_t *price = json_pack("{s:s, s:s, s:s, s:I}", "id", id, "product", product, "currency",
                              p->currency, "created", (json_int_t)created);
    if (p->interval != NULL)
        json_object_set_new(price, "recurring",
                            json_pack("{s:s, s:i, s:n, s:n, s:s}", "interval", p->interval,
                                      "interval_count", p->interval_count, "meter",
                                      "trial_period_days", "usage_type", "licensed"));
    else
        json_object_update_new(price, json_pack("{s:s, s:n}", "type", "one_time", "recurring"));
    if (p->decimal != NULL) {
        json_object_set_new(price, "unit_amount_decimal", json_string(p->decimal));
        json_object_set_new(price, "unit_amount",
                            strchr(p->decimal, '.') == NULL ? json_integer(atoll(p->decimal))
                                                            : json_null());
    }
    if (p->more != NULL) {
        char *text = sim_strf("{%s}", p->more);
        json_object_update_new(price, parse(text));
        free(text);
    }
    (void)st_insert(s->app, s->mode, ST_PRICE, price);
    free(id);
    free(product);
}

static void seed_catalogue(const struct seeding *s)
{
    int64_t created = s->base_s - (HISTORY_DAYS + 60LL) * ST_DAY_S;
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
        char *id = named(s, "prod_", products[i][0]);
        (void)st_insert(s->app, s->mode, ST_PRODUCT,
                        json_pack("{s:s, s:s, s:I, s:I, s:{s:s}}", "id", id, "name",
                                  products[i][1], "created", (json_int_t)(created + (int)i),
                                  "updated", (json_int_t)(created + (int)i), "metadata", "plan",
                                  products[i][0] + 3));
        free(id);
    }
    size_t n = sizeof prices / sizeof prices[0];
    for (size_t i = 0; i < n; i++)
        seed_price(s, &prices[i], created + 100 + (int64_t)i);
    for (int i = 0; i < ADDONS; i++) {
        char name[32];
        char decimal[16];
        snprintf(name, sizeof name, "Addon%02d", i + 1);
        snprintf(decimal, sizeof decimal, "%d", 100 * (i + 1) + 99);
        const struct seeded_price addon = {name, "SimAddons", "usd", "month", 1, decimal, NULL};
        seed_price(s, &addon, created + 200 + i);
    }
    for (size_t i = 0; i < sizeof coupons / sizeof coupons[0]; i++) {
        json_t *coupon = parse(coupons[i]);
        json_object_set_new(coupon, "created", json_integer(created + 300 + (int64_t)i));
        if (s->mode->live && json_object_get(coupon, "applies_to") != NULL)
            json_object_set_new(coupon, "applies_to",
                                parse("{'products':['prod_SimAddonsLive']}"));
        (void)st_insert(s->app, s->mode, ST_COUPON, coupon);
    }
    (void)st_insert(s->app, s->mode, ST_PROMOTION_CODE,
                    json_pack("{s:s, s:I, s:{s:s, s:s}}", "code", "WELCOME25", "created",
                              (json_int_t)(created + 400), "promotion", "coupon",
                              "SIM25FOREVER", "type", "coupon"));
    (void)st_insert(s->app, s->mode, ST_TAX_RATE,
                    json_pack("{s:I}", "created", (json_int_t)(created + 500)));
    (void)st_insert(s->app, s->mode, ST_FEATURE,
                    json_pack("{s:s, s:s}", "lookup_key", "sso", "name", "Single sign-on"));
}

/* ---- customers ---- */

static struct st_record *seed_customer(const struct seeding *s, size_t i)
{
    static const char *const cities[][3] = {{"Berlin", "DE", "10115"},
                                            {"Boston", "US", "02108"},
                                            {"Lyon", "FR", "69001"},
                                            {"Leeds", "GB", "LS1 1AA"}};
    char name[128];
    char domain[128];
    sim_company_name(i, name, sizeof name);
    sim_company_domain(i, domain, sizeof domain);
    int64_t span = (int64_t)HISTORY_DAYS * ST_DAY_S;
    int64_t created = s->base_s - 3LL * ST_DAY_S - span +
                      (int64_t)((double)span * (double)i / (double)s->customers);
    json_t *customer =
        json_pack("{s:s, s:I, s:s, s:{s:s}}", "name", name, "created", (json_int_t)created,
                  "invoice_prefix", "SIM", "metadata", "source", "sim");
    json_object_set_new(customer, "invoice_prefix", json_sprintf("SIM%05zu", i));
    char other[128];
    sim_company_domain(i > 0 ? i - 1 : i, other, sizeof other);
    /* Some pay with a private address or have none (nothing to match by), and some companies
     * have two customers. */
    if (i % 23 == 11)
        json_object_set_new(customer, "email", json_sprintf("owner%zu@gmail.com", i));
    else if (i % 37 == 30)
        json_object_set_new(customer, "email", json_sprintf("second@%s", other));
    else if (i % 29 != 17)
        json_object_set_new(customer, "email", json_sprintf("billing@%s", domain));
    if (i % 3 == 0) {
        const char *const *city = cities[pick(s, i, 1, 4)];
        json_object_set_new(customer, "address",
                            json_pack("{s:s, s:s, s:s, s:n, s:s, s:n}", "city", city[0],
                                      "country", city[1], "line1", "1 Main Street", "line2",
                                      "postal_code", city[2], "state"));
    }
    if (i % 7 == 2)
        json_object_set_new(customer, "balance",
                            json_integer(-(json_int_t)pick(s, i, 2, 5000)));
    return st_insert(s->app, s->mode, ST_CUSTOMER, customer);
}

static json_t *discount_of(const struct seeding *s, const char *coupon, const char *customer,
                           const char *subscription, int64_t start)
{
    struct st_record *rec = st_find(s->mode, ST_COUPON, coupon);
    json_t *months = st_field(s->app, rec, "duration_in_months");
    json_t *d = json_pack("{s:{s:s, s:s}, s:I, s:s?, s:s?}", "source", "coupon", coupon, "type",
                          "coupon", "start", (json_int_t)start, "customer", customer,
                          "subscription", subscription);
    if (json_is_integer(months))
        json_object_set_new(d, "end",
                            json_integer(start + json_integer_value(months) * 2629800));
    json_decref(months);
    return json_string(st_insert(s->app, s->mode, ST_DISCOUNT, d)->id);
}

struct plan_choice {
    const char *price;
    const char *currency;
    int64_t period_s;
};

static struct plan_choice choose_plan(const struct seeding *s, size_t i, uint64_t k)
{
    static const struct plan_choice choices[] = {
        {"StarterMonthly", "usd", 2629800},    {"GrowthSeat", "usd", 2629800},
        {"GrowthSeat", "usd", 2629800},        {"StarterYearly", "usd", 31557600},
        {"GrowthSeatYearly", "usd", 31557600}, {"ScaleGraduated", "usd", 2629800},
        {"ScaleVolume", "usd", 2629800},       {"GrowthPackage", "usd", 2629800},
        {"StarterEur", "eur", 2629800},        {"StarterJpy", "jpy", 2629800},
        {"StarterQuarterly", "usd", 7889400},  {"GrowthWeekly", "usd", 604800},
        {"ApiCalls", "usd", 2629800},
    };
    return choices[pick(s, i, 20 + k, sizeof choices / sizeof choices[0])];
}

static const char *choose_status(const struct seeding *s, size_t i, uint64_t k)
{
    static const struct {
        const char *status;
        unsigned weight;
    } all[] = {{"active", 78}, {"trialing", 6},   {"past_due", 5},           {"canceled", 6},
               {"unpaid", 2},  {"incomplete", 1}, {"incomplete_expired", 1}, {"paused", 1}};
    uint64_t at = pick(s, i, 40 + k, 100);
    for (size_t n = 0; n < sizeof all / sizeof all[0]; n++) {
        if (at < all[n].weight)
            return all[n].status;
        at -= all[n].weight;
    }
    return "active";
}

static void seed_item(const struct seeding *s, const char *sub, const char *price,
                      json_int_t quantity, int64_t created, int64_t start, int64_t end)
{
    char *id = named(s, "price_1Sim", price);
    (void)st_insert(s->app, s->mode, ST_SUBSCRIPTION_ITEM,
                    json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "subscription", sub, "price",
                              id, "quantity", quantity, "created", (json_int_t)created,
                              "current_period_start", (json_int_t)start, "current_period_end",
                              (json_int_t)end));
    free(id);
}

static void seed_items(const struct seeding *s, size_t i, uint64_t k, const char *sub,
                       const struct plan_choice *plan, int64_t created, int64_t start)
{
    bool seats =
        strncmp(plan->price, "Growth", 6) == 0 || strncmp(plan->price, "Scale", 5) == 0;
    json_int_t quantity = seats ? (json_int_t)(1 + pick(s, i, 60 + k, 30)) : 1;
    if (strcmp(plan->price, "ApiCalls") == 0)
        quantity = (json_int_t)(100 + pick(s, i, 60 + k, 5000));
    int64_t end = start + plan->period_s;
    seed_item(s, sub, plan->price, quantity, created, start, end);
    if (strcmp(plan->currency, "usd") != 0 || plan->period_s != 2629800)
        return;
    /* Every 40th has more items than an answer carries at once. */
    int addons = i % 40 == 7 && k == 0 ? 12 : (int)(pick(s, i, 70 + k, 10) == 0);
    for (int n = 0; n < addons; n++) {
        char price[32];
        snprintf(price, sizeof price, "Addon%02d", n + 1);
        seed_item(s, sub, price, 1 + n % 3, created + n + 1, start, end);
    }
    if (pick(s, i, 80 + k, 25) == 0)
        seed_item(s, sub, "ApiMetered", 1, created + 20, start, end);
}

static void set_ends(const struct seeding *s, json_t *sub, const char *status, uint64_t i,
                     int64_t period_end)
{
    json_int_t ended = (json_int_t)(s->base_s - (int64_t)(1 + pick(s, i, 90, 60)) * ST_DAY_S);
    if (strcmp(status, "canceled") == 0) {
        json_object_set_new(sub, "canceled_at", json_integer(ended));
        json_object_set_new(sub, "ended_at", json_integer(ended));
        json_object_set_new(sub, "cancellation_details",
                            json_pack("{s:n, s:s, s:n, s:s}", "comment", "feedback",
                                      "too_expensive", "feedback_option", "reason",
                                      "cancellation_requested"));
    } else if (strcmp(status, "trialing") == 0) {
        json_object_set_new(sub, "trial_start", json_integer(s->base_s - 5LL * ST_DAY_S));
        json_object_set_new(sub, "trial_end", json_integer(s->base_s + 9LL * ST_DAY_S));
    } else if (strcmp(status, "active") == 0 && i % 19 == 4) {
        json_object_set_new(sub, "cancel_at_period_end", json_true());
        json_object_set_new(sub, "cancel_at", json_integer(period_end));
        json_object_set_new(sub, "canceled_at", json_integer(s->base_s - ST_DAY_S));
    } else if (strcmp(status, "active") == 0 && i % 31 == 6) {
        json_object_set_new(sub, "pause_collection",
                            json_pack("{s:s, s:n}", "behavior", "void", "resumes_at"));
    }
}

static void seed_subscription(const struct seeding *s, size_t i, uint64_t k,
                              struct st_record *customer)
{
    struct plan_choice plan = choose_plan(s, i, k);
    const char *status = choose_status(s, i, k);
    if (i % 40 == 7 && k == 0) {
        plan = (struct plan_choice){"StarterMonthly", "usd", 2629800};
        status = "active";
    }
    int64_t created = customer->created + 600 * ((int64_t)k + 1);
    int64_t start = s->base_s - (int64_t)pick(s, i, 50 + k, 6) * ST_DAY_S;
    json_t *sub =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "customer", customer->id, "status", status,
                  "currency", plan.currency, "created", (json_int_t)created, "start_date",
                  (json_int_t)created, "billing_cycle_anchor", (json_int_t)start);
    set_ends(s, sub, status, i, start + plan.period_s);
    struct st_record *rec = st_insert(s->app, s->mode, ST_SUBSCRIPTION, sub);
    static const char *const usual[] = {"SIM25FOREVER", "SIM10OFF", "SIM50HALFYEAR",
                                        "SIM50ONCE", "SIM33ADDONS"};
    if (i % 6 == 1) {
        json_t *again = st_load(rec);
        json_t *ids = json_array();
        json_array_append_new(
            ids, discount_of(s, usual[pick(s, i, 100 + k, 5)], customer->id, rec->id, created));
        if (i % 24 == 1)
            json_array_append_new(
                ids, discount_of(s, "SIM33ADDONS", customer->id, rec->id, created));
        json_object_set_new(again, "discounts", ids);
        st_save(s->mode, rec, again);
    }
    seed_items(s, i, k, rec->id, &plan, created, start);
    if (s->customers > MANY_CUSTOMERS && i % 10 != 0)
        return;
    bool unpaid = strcmp(status, "past_due") == 0 || strcmp(status, "unpaid") == 0 ||
                  strcmp(status, "incomplete") == 0;
    (void)st_seed_invoice(s->app, s->mode, rec, "paid", created);
    (void)st_seed_invoice(s->app, s->mode, rec, unpaid ? "open" : "paid", start);
}

/* ---- invoices ---- */

static json_int_t line_amount(struct stripe_sim *app, struct st_mode *m, struct st_record *item)
{
    json_t *price_id = st_field(app, item, "price");
    json_t *quantity = st_field(app, item, "quantity");
    struct st_record *price = st_find(m, ST_PRICE, json_string_value(price_id));
    json_t *decimal = price != NULL ? st_field(app, price, "unit_amount_decimal") : NULL;
    double unit = json_is_string(decimal) ? strtod(json_string_value(decimal), NULL) : 650;
    json_int_t amount = (json_int_t)(unit * (double)json_integer_value(quantity) + 0.5);
    json_decref(price_id);
    json_decref(quantity);
    json_decref(decimal);
    return amount;
}

static json_int_t seed_lines(struct stripe_sim *app, struct st_mode *m, const char *invoice,
                             const struct st_record *sub, const char *currency, int64_t created)
{
    const struct st_vec *items = st_owned(m, ST_SUBSCRIPTION_ITEM, sub->id);
    json_int_t total = 0;
    for (size_t i = 0; items != NULL && i < items->count; i++) {
        struct st_record *item = items->items[i];
        json_int_t amount = line_amount(app, m, item);
        json_t *sparse = st_load(item);
        const char *price_id = st_text_at(sparse, "price");
        struct st_record *price = st_find(m, ST_PRICE, price_id);
        json_t *product = price != NULL ? st_field(app, price, "product") : json_string("");
        json_t *decimal =
            price != NULL ? st_field(app, price, "unit_amount_decimal") : json_null();
        json_t *quantity = st_field(app, item, "quantity");
        (void)st_insert(
            app, m, ST_LINE_ITEM,
            json_pack("{s:s, s:I, s:I, s:s, s:s, s:O, s:o, s:s, s:{s:I, s:I}, s:{s:n, s:{s:n, "
                      "s:b, s:n, s:s, s:s}, s:s}, s:{s:{s:s, s:o}, s:s, s:o}}",
                      "invoice", invoice, "amount", amount, "subtotal", amount, "currency",
                      currency, "description", "Subscription", "quantity", quantity,
                      "quantity_decimal",
                      json_sprintf("%lld", (long long)json_integer_value(quantity)),
                      "subscription", sub->id, "period", "end", (json_int_t)(created + 2629800),
                      "start", (json_int_t)created, "parent", "invoice_item_details",
                      "subscription_item_details", "invoice_item", "proration", 0,
                      "proration_details", "subscription", sub->id, "subscription_item",
                      item->id, "type", "subscription_item_details", "pricing", "price_details",
                      "price", price_id, "product", product, "type", "price_details",
                      "unit_amount_decimal", decimal));
        json_decref(quantity);
        json_decref(sparse);
        total += amount;
    }
    return total;
}

/* Intent, charge and invoice payment of a paid invoice. */
static void seed_payment(struct stripe_sim *app, struct st_mode *m, json_t *invoice,
                         const char *customer, const char *currency, json_int_t total,
                         int64_t created)
{
    const char *invoice_id = st_text_at(invoice, "id");
    char *charge = st_new_id(app, m, "ch_", 24);
    char *intent = st_new_id(app, m, "pi_", 24);
    (void)st_insert(app, m, ST_PAYMENT_INTENT,
                    json_pack("{s:s, s:I, s:I, s:s, s:s, s:s, s:I, s:s}", "id", intent,
                              "amount", total, "amount_received", total, "currency", currency,
                              "customer", customer, "latest_charge", charge, "created",
                              (json_int_t)created + 2, "_invoice", invoice_id));
    (void)st_insert(app, m, ST_CHARGE,
                    json_pack("{s:s, s:I, s:I, s:s, s:s, s:s, s:I, s:s}", "id", charge,
                              "amount", total, "amount_captured", total, "currency", currency,
                              "customer", customer, "payment_intent", intent, "created",
                              (json_int_t)created + 3, "_invoice", invoice_id));
    (void)st_insert(app, m, ST_INVOICE_PAYMENT,
                    json_pack("{s:s, s:I, s:I, s:s, s:I, s:{s:s, s:s}, s:{s:n, s:I}}",
                              "invoice", invoice_id, "amount_paid", total, "amount_requested",
                              total, "currency", currency, "created", (json_int_t)created + 4,
                              "payment", "payment_intent", intent, "type", "payment_intent",
                              "status_transitions", "canceled_at", "paid_at",
                              (json_int_t)created + 4));
    json_object_set_new(invoice, "_charge", json_string(charge));
    json_object_set_new(invoice, "_payment_intent", json_string(intent));
    free(charge);
    free(intent);
}

struct st_record *st_seed_invoice(struct stripe_sim *app, struct st_mode *m,
                                  struct st_record *sub, const char *status, int64_t created)
{
    json_t *currency_json = st_field(app, sub, "currency");
    const char *currency = json_string_value(currency_json);
    char *id = st_new_id(app, m, "in_", 24);
    json_int_t total = seed_lines(app, m, id, sub, currency, created);
    bool paid = strcmp(status, "paid") == 0;
    struct st_record *customer = st_find(m, ST_CUSTOMER, sub->owner);
    json_t *name = st_field(app, customer, "name");
    json_t *email = st_field(app, customer, "email");
    json_t *invoice = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:i, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
        "id", id, "customer", sub->owner, "status", status, "currency", currency, "amount_due",
        total, "amount_paid", paid ? total : 0, "amount_remaining", paid ? 0 : total, "created",
        (json_int_t)created, "attempted", 1, "attempt_count", 1, "period_start",
        (json_int_t)created, "period_end", (json_int_t)created, "subtotal", total, "total",
        total, "effective_at", (json_int_t)created, "customer_name", name, "customer_email",
        email);
    json_object_set_new(invoice, "number",
                        json_sprintf("SIM-%06llu", (unsigned long long)m->next_id));
    json_object_set_new(invoice, "subtotal_excluding_tax", json_integer(total));
    json_object_set_new(invoice, "total_excluding_tax", json_integer(total));
    json_object_set_new(invoice, "parent",
                        json_pack("{s:n, s:{s:{}, s:s}, s:s}", "quote_details",
                                  "subscription_details", "metadata", "subscription", sub->id,
                                  "type", "subscription_details"));
    json_object_set_new(invoice, "status_transitions",
                        json_pack("{s:I, s:n, s:o, s:n}", "finalized_at", (json_int_t)created,
                                  "marked_uncollectible_at", "paid_at",
                                  paid ? json_integer(created + 4) : json_null(), "voided_at"));
    if (paid)
        seed_payment(app, m, invoice, sub->owner, currency, total, created);
    struct st_record *rec = st_insert(app, m, ST_INVOICE, invoice);
    json_t *again = st_load(sub);
    json_object_set_new(again, "latest_invoice", json_string(id));
    st_save(m, sub, again);
    json_decref(currency_json);
    free(id);
    return rec;
}

/* The rarer kinds, a few of each. */
static void seed_extras(const struct seeding *s, size_t i, struct st_record *customer)
{
    const struct st_vec *charges = st_owned(s->mode, ST_CHARGE, customer->id);
    const struct st_vec *invoices = st_owned(s->mode, ST_INVOICE, customer->id);
    const struct st_vec *subs = st_owned(s->mode, ST_SUBSCRIPTION, customer->id);
    json_int_t at = (json_int_t)customer->created + 60;
    if (i % 10 == 4)
        (void)st_insert(s->app, s->mode, ST_TAX_ID,
                        json_pack("{s:s, s:o, s:I, s:{s:s, s:n, s:s}}", "customer",
                                  customer->id, "value", json_sprintf("DE%09zu", i), "created",
                                  at, "owner", "customer", customer->id, "customer_account",
                                  "type", "customer"));
    if (i % 12 == 5 && charges != NULL && charges->count > 0) {
        struct st_record *charge = charges->items[0];
        json_t *paid = st_load(charge);
        json_object_set_new(paid, "amount_refunded", json_integer(100));
        const char *intent = st_text_at(paid, "payment_intent");
        (void)st_insert(s->app, s->mode, ST_REFUND,
                        json_pack("{s:i, s:s, s:s, s:s, s:I, s:s}", "amount", 100, "charge",
                                  charge->id, "customer", customer->id, "payment_intent",
                                  intent, "created", (json_int_t)charge->created + 90,
                                  "currency", st_text_at(paid, "currency")));
        st_save(s->mode, charge, paid);
    }
    if (i % 30 == 8 && charges != NULL && charges->count > 0)
        (void)st_insert(s->app, s->mode, ST_DISPUTE,
                        json_pack("{s:i, s:s, s:I}", "amount", 100, "charge",
                                  charges->items[0]->id, "created",
                                  (json_int_t)charges->items[0]->created + 95));
    if (i % 30 == 9 && invoices != NULL && invoices->count > 0)
        (void)st_insert(s->app, s->mode, ST_CREDIT_NOTE,
                        json_pack("{s:i, s:i, s:i, s:s, s:s, s:o, s:I}", "amount", 100,
                                  "subtotal", 100, "total", 100, "customer", customer->id,
                                  "invoice", invoices->items[0]->id, "number",
                                  json_sprintf("SIM%05zu-CN-01", i), "created", at));
    if (i % 30 == 10 && subs != NULL && subs->count > 0) {
        json_t *sub = st_load(subs->items[0]);
        struct st_record *schedule =
            st_insert(s->app, s->mode, ST_SCHEDULE,
                      json_pack("{s:s, s:s, s:I}", "customer", customer->id, "subscription",
                                subs->items[0]->id, "created", at));
        json_object_set_new(sub, "schedule", json_string(schedule->id));
        st_save(s->mode, subs->items[0], sub);
    }
    if (i % 8 == 3) {
        const struct st_record *feature = s->mode->tables[ST_FEATURE].order.items[0];
        (void)st_insert(s->app, s->mode, ST_ENTITLEMENT,
                        json_pack("{s:s, s:s, s:s}", "_customer", customer->id, "feature",
                                  feature->id, "lookup_key", "sso"));
    }
}

void st_seed(struct stripe_sim *app, struct st_mode *m, size_t customers,
             double subscriptions_per_customer)
{
    int64_t now_s = sim_now_ms(app->sim) / 1000;
    struct seeding s = {.app = app,
                        .mode = m,
                        .base_s = now_s - now_s % ST_DAY_S,
                        .salt = sim_options(app->sim)->seed + (m->live ? 77 : 0),
                        .customers = customers};
    if (m->tables[ST_PRODUCT].live == 0)
        seed_catalogue(&s);
    size_t first = m->tables[ST_CUSTOMER].live;
    for (size_t i = first; i < first + customers; i++) {
        struct st_record *customer = seed_customer(&s, i);
        double exact = subscriptions_per_customer * (double)(i + 1);
        double before = subscriptions_per_customer * (double)i;
        uint64_t count = (uint64_t)exact - (uint64_t)before;
        for (uint64_t k = 0; k < count; k++)
            seed_subscription(&s, i, k, customer);
        seed_extras(&s, i, customer);
        if (i % 15 == 3) {
            json_t *again = st_load(customer);
            json_object_set_new(
                again, "_discount",
                discount_of(&s, "SIM10OFF", customer->id, NULL, customer->created));
            st_save(m, customer, again);
        }
    }
}
