/*
 * The Stripe half: its state, the default account, and the random changes of /_sim/mutate.
 */
#include "stripe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *parse_template(const char *text)
{
    char *copy = sim_strdup(text);
    for (char *p = copy; *p != '\0'; p++)
        *p = *p == '\'' ? '"' : *p;
    json_error_t e;
    json_t *v = json_loads(copy, 0, &e);
    if (v == NULL) {
        fprintf(stderr, "sim: template does not parse: %s\n%s\n", e.text, copy);
        abort();
    }
    free(copy);
    return v;
}

int sim_stripe_init(struct sim *s)
{
    const struct sim_options *o = sim_options(s);
    struct stripe_sim *app = sim_calloc(1, sizeof *app);
    *sim_stripe(s) = app;
    app->sim = s;
    for (size_t t = 0; t <= ST_TYPES; t++)
        app->templates[t] = parse_template(st_class((enum st_type)t)->template_text);
    struct st_account *a = st_account_new(app, "acct_1SimDefault");
    a->settings.customers = o->customers;
    a->settings.subscriptions_per_customer = o->subscriptions_per_customer;
    (void)st_key_new(app, "rk_test_sim000000000000000000000001", ST_KEY_ACCOUNT, a, false);
    (void)st_key_new(app, "rk_live_sim000000000000000000000001", ST_KEY_ACCOUNT, a, true);
    struct st_account *platform = st_account_new(app, "acct_1SimPlatform");
    (void)st_key_new(app, "sk_test_simplatform0000000000000001", ST_KEY_PLATFORM, platform,
                     false);
    (void)st_key_new(app, "sk_live_simplatform0000000000000001", ST_KEY_PLATFORM, platform,
                     true);
    st_oauth_init(app);
    return 0;
}

void sim_stripe_free(struct sim *s)
{
    struct stripe_sim *app = st_app(s);
    struct st_key *k = NULL;
    struct st_key *next_key = NULL;
    if (app == NULL)
        return;
    HASH_ITER(hh, app->keys, k, next_key)
    {
        st_key_free(app, k);
    }
    struct st_account *a = NULL;
    struct st_account *next = NULL;
    HASH_ITER(hh, app->accounts, a, next)
    {
        st_account_free(app, a);
    }
    st_oauth_free(app);
    st_idempotent_free(app);
    for (size_t t = 0; t <= ST_TYPES; t++)
        json_decref(app->templates[t]);
    free(app);
    *sim_stripe(s) = NULL;
}

/* ---- random changes ---- */

static struct st_record *any(struct stripe_sim *app, struct st_mode *m, enum st_type type)
{
    const struct st_vec *v = &m->tables[type].order;
    return v->count > 0 ? v->items[sim_rand_below(app->sim, v->count)] : NULL;
}

static struct st_record *any_running(struct stripe_sim *app, struct st_mode *m)
{
    for (int tries = 0; tries < 20; tries++) {
        struct st_record *rec = any(app, m, ST_SUBSCRIPTION);
        if (rec != NULL && strcmp(rec->status, "canceled") != 0 &&
            strcmp(rec->status, "incomplete_expired") != 0)
            return rec;
    }
    return NULL;
}

static void change_customer(struct st_change *ch)
{
    struct st_record *rec = any(ch->app, ch->mode, ST_CUSTOMER);
    if (rec == NULL)
        return;
    uint64_t n = sim_rand(ch->app->sim);
    json_t *patch =
        n % 2 == 0 ? json_pack("{s:{s:o}}", "metadata", "note",
                               json_sprintf("call %llu", (unsigned long long)(n % 1000)))
                   : json_pack("{s:o}", "phone",
                               json_sprintf("+1555%07llu", (unsigned long long)(n % 10000000)));
    (void)st_update(ch, rec, patch);
    json_decref(patch);
}

static void change_quantity(struct st_change *ch)
{
    struct st_record *item = any(ch->app, ch->mode, ST_SUBSCRIPTION_ITEM);
    if (item == NULL)
        return;
    json_t *patch =
        json_pack("{s:I}", "quantity", (json_int_t)(1 + sim_rand_below(ch->app->sim, 60)));
    (void)st_update(ch, item, patch);
    json_decref(patch);
}

static void change_status(struct st_change *ch)
{
    static const char *const next[] = {"active", "past_due", "active", "unpaid", "paused"};
    struct st_record *sub = any_running(ch->app, ch->mode);
    if (sub == NULL)
        return;
    json_t *patch = json_pack("{s:s}", "status", next[sim_rand_below(ch->app->sim, 5)]);
    (void)st_update(ch, sub, patch);
    json_decref(patch);
}

static void change_end(struct st_change *ch)
{
    struct st_record *sub = any_running(ch->app, ch->mode);
    if (sub == NULL)
        return;
    json_t *now = st_field(ch->app, sub, "cancel_at_period_end");
    json_t *patch = json_pack("{s:b}", "cancel_at_period_end", json_is_true(now) ? 0 : 1);
    (void)st_update(ch, sub, patch);
    json_decref(now);
    json_decref(patch);
}

static void change_discount(struct st_change *ch)
{
    struct st_record *sub = any_running(ch->app, ch->mode);
    if (sub == NULL)
        return;
    json_t *have = st_field(ch->app, sub, "discounts");
    json_t *patch = json_array_size(have) > 0
                        ? json_pack("{s:[]}", "discounts")
                        : json_pack("{s:[{s:s}]}", "discounts", "coupon", "SIM25FOREVER");
    (void)st_update(ch, sub, patch);
    json_decref(have);
    json_decref(patch);
}

static void new_subscription(struct st_change *ch)
{
    struct st_record *customer = any(ch->app, ch->mode, ST_CUSTOMER);
    struct st_record *price =
        st_find(ch->mode, ST_PRICE,
                ch->mode->live ? "price_1SimGrowthSeatLive" : "price_1SimGrowthSeat");
    if (customer == NULL || price == NULL)
        return;
    const char *error = NULL;
    json_t *fields =
        json_pack("{s:s, s:[{s:s, s:I}]}", "customer", customer->id, "items", "price",
                  price->id, "quantity", (json_int_t)(1 + sim_rand_below(ch->app->sim, 20)));
    struct st_record *sub = st_create(ch, ST_SUBSCRIPTION, fields, &error);
    json_decref(fields);
    if (sub != NULL)
        (void)st_bill(ch, sub, "paid");
}

static void new_customer(struct st_change *ch)
{
    uint64_t n = sim_rand(ch->app->sim);
    const char *error = NULL;
    json_t *fields = json_pack(
        "{s:o, s:o}", "name", json_sprintf("%s %s", sim_first_name(n), sim_last_name(n / 64)),
        "email", json_sprintf("new%llu@start.example", (unsigned long long)(n % 100000000)));
    (void)st_create(ch, ST_CUSTOMER, fields, &error);
    json_decref(fields);
}

static void end_something(struct st_change *ch)
{
    bool customer = sim_rand_below(ch->app->sim, 4) == 0;
    struct st_record *rec =
        customer ? any(ch->app, ch->mode, ST_CUSTOMER) : any_running(ch->app, ch->mode);
    if (rec != NULL)
        st_delete(ch, rec);
}

void sim_stripe_mutate(struct sim *s, const struct sim_notify *n)
{
    struct stripe_sim *app = st_app(s);
    struct st_account *a = st_account_find(app, "acct_1SimDefault");
    struct st_mode *m = st_mode(app, a, app->mutate_live);
    struct st_change ch;
    st_change_begin(&ch, app, m, n);
    uint64_t what = sim_rand_below(s, 100);
    if (what < 35)
        change_customer(&ch);
    else if (what < 65)
        change_quantity(&ch);
    else if (what < 75)
        change_status(&ch);
    else if (what < 82)
        change_end(&ch);
    else if (what < 88)
        change_discount(&ch);
    else if (what < 93)
        new_subscription(&ch);
    else if (what < 97)
        new_customer(&ch);
    else
        end_something(&ch);
    st_change_end(&ch);
}
