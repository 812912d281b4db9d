/*
 * From a stored record to what the API shows: template, own members, embedded parts, shape of
 * the version, expansions; and its text, kept until the record (or a price) changes.
 */
#include "stripe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_MAX_BYTES = 768 << 20 };

json_t *st_list_json(json_t *data, bool has_more, char *url)
{
    json_t *list = json_pack("{s:s, s:o, s:b, s:s}", "object", "list", "data", data, "has_more",
                             has_more ? 1 : 0, "url", url);
    free(url);
    return list;
}

json_t *st_render_deleted(const struct st_record *rec)
{
    return json_pack("{s:s, s:s, s:b}", "id", rec->id, "object", rec->cls->object, "deleted",
                     1);
}

static json_t *embedded_list(const struct st_view *v, enum st_type type, const char *owner,
                             char *url)
{
    const struct st_vec *all = st_owned(v->mode, type, owner);
    size_t count = all != NULL ? all->count : 0;
    bool oldest_first = st_class(type)->oldest_first;
    json_t *data = json_array();
    bool more = false;
    for (size_t i = 0; i < count; i++) {
        struct st_record *rec = all->items[oldest_first ? i : count - 1 - i];
        if (type == ST_SUBSCRIPTION && strcmp(rec->status, "canceled") == 0)
            continue;
        if (!v->whole && json_array_size(data) == ST_EMBEDDED_MAX) {
            more = true;
            break;
        }
        json_array_append_new(data, st_render_plain(v, rec));
    }
    return st_list_json(data, more, url);
}

/* ---- hooks by type ---- */

static void render_customer(const struct st_view *v, json_t *obj)
{
    const char *discount = st_text_at(obj, "_discount");
    struct st_record *rec = discount ? st_find(v->mode, ST_DISCOUNT, discount) : NULL;
    if (rec != NULL && !rec->deleted)
        json_object_set_new(obj, "discount", st_render_plain(v, rec));
}

static void render_subscription(const struct st_view *v, struct st_record *rec, json_t *obj)
{
    json_object_set_new(
        obj, "items",
        embedded_list(v, ST_SUBSCRIPTION_ITEM, rec->id,
                      sim_strf("/v1/subscription_items?subscription=%s", rec->id)));
}

static void render_item(const struct st_view *v, json_t *obj)
{
    const char *id = st_text_at(obj, "price");
    struct st_record *price = id != NULL ? st_find(v->mode, ST_PRICE, id) : NULL;
    if (price == NULL)
        return;
    if (v->expand_count == 0 && v->shape == ST_SHAPE_NEW) {
        /* By far the most usual case, and most of the work of a page of subscriptions. */
        if (price->shared == NULL) {
            price->shared = st_render_plain(v, price);
            price->shared_plan = st_render_plan(v, price);
        }
        json_object_set(obj, "plan", price->shared_plan);
        json_object_set(obj, "price", price->shared);
    } else {
        json_object_set_new(obj, "plan", st_render_plan(v, price));
        json_object_set_new(obj, "price", st_render_plain(v, price));
    }
    const char *usage = st_text_at(obj, "price.recurring.usage_type");
    if (usage != NULL && strcmp(usage, "metered") == 0)
        json_object_del(obj, "quantity");
}

static void hooks(const struct st_view *v, struct st_record *rec, json_t *obj)
{
    switch (rec->cls->type) {
    case ST_CUSTOMER:
        render_customer(v, obj);
        break;
    case ST_SUBSCRIPTION:
        render_subscription(v, rec, obj);
        break;
    case ST_SUBSCRIPTION_ITEM:
        render_item(v, obj);
        break;
    case ST_PRICE:
        json_object_del(obj, "tiers");
        json_object_del(obj, "currency_options");
        break;
    case ST_COUPON:
        json_object_del(obj, "applies_to");
        json_object_del(obj, "currency_options");
        break;
    case ST_INVOICE:
        json_object_set_new(obj, "lines",
                            embedded_list(v, ST_LINE_ITEM, rec->id,
                                          sim_strf("/v1/invoices/%s/lines", rec->id)));
        break;
    case ST_ENDPOINT:
        json_object_del(obj, "secret");
        break;
    default:
        break;
    }
}

static void drop_own_members(json_t *obj)
{
    const char *key = NULL;
    json_t *value = NULL;
    void *next = NULL;
    json_object_foreach_safe(obj, next, key, value)
    {
        if (key[0] == '_')
            json_object_del(obj, key);
    }
}

json_t *st_render_plain(const struct st_view *v, struct st_record *rec)
{
    json_t *obj = json_deep_copy(v->app->templates[rec->cls->type]);
    json_t *sparse = st_load(rec);
    json_object_update(obj, sparse);
    json_decref(sparse);
    if (json_object_get(obj, "livemode") != NULL)
        json_object_set_new(obj, "livemode", json_boolean(v->mode->live));
    hooks(v, rec, obj);
    if (v->shape != ST_SHAPE_NEW)
        st_reshape(v, rec->cls->type, obj);
    drop_own_members(obj);
    return obj;
}

json_t *st_render_plan(const struct st_view *v, struct st_record *price)
{
    static const char *const same[] = {"id",       "active",   "billing_scheme",
                                       "created",  "currency", "metadata",
                                       "nickname", "product",  "tiers_mode"};
    static const char *const recurring[] = {"interval", "interval_count", "meter",
                                            "trial_period_days", "usage_type"};
    struct st_view plain = *v;
    plain.shape = ST_SHAPE_NEW;
    json_t *from = st_render_plain(&plain, price);
    json_t *plan = json_deep_copy(v->app->templates[ST_PLAN]);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        json_object_set(plan, same[i], json_object_get(from, same[i]));
    const json_t *r = json_object_get(from, "recurring");
    for (size_t i = 0; json_is_object(r) && i < sizeof recurring / sizeof recurring[0]; i++)
        json_object_set(plan, recurring[i], json_object_get(r, recurring[i]));
    json_object_set(plan, "amount", json_object_get(from, "unit_amount"));
    json_object_set(plan, "amount_decimal", json_object_get(from, "unit_amount_decimal"));
    json_object_set(plan, "transform_usage", json_object_get(from, "transform_quantity"));
    json_object_set_new(plan, "livemode", json_boolean(v->mode->live));
    json_decref(from);
    if (v->shape != ST_SHAPE_NEW)
        st_reshape(v, ST_PLAN, plan);
    return plan;
}

json_t *st_render_account(const struct st_view *v, struct st_account *a)
{
    json_t *obj = json_deep_copy(v->app->templates[ST_ACCOUNT]);
    json_object_set_new(obj, "id", json_string(a->id));
    json_object_set_new(json_object_get(obj, "external_accounts"), "url",
                        json_sprintf("/v1/accounts/%s/external_accounts", a->id));
    json_object_update_recursive(obj, a->object);
    return obj;
}

json_t *st_render(const struct st_view *v, struct st_record *rec)
{
    json_t *obj = st_render_plain(v, rec);
    for (size_t i = 0; i < v->expand_count; i++)
        st_expand_apply(v, rec->cls->type, obj, v->expand[i]);
    return obj;
}

json_t *st_render_extra(const struct st_view *v, enum st_type type, const char *name,
                        const json_t *node)
{
    const char *id = st_text_at(node, "id");
    if (id == NULL)
        return NULL;
    if (type == ST_CUSTOMER && strcmp(name, "subscriptions") == 0)
        return embedded_list(v, ST_SUBSCRIPTION, id,
                             sim_strf("/v1/customers/%s/subscriptions", id));
    if (type == ST_CUSTOMER && strcmp(name, "tax_ids") == 0)
        return embedded_list(v, ST_TAX_ID, id, sim_strf("/v1/customers/%s/tax_ids", id));
    if (type == ST_CUSTOMER && strcmp(name, "sources") == 0)
        return st_list_json(json_array(), false, sim_strf("/v1/customers/%s/sources", id));
    if (type == ST_CUSTOMER && strcmp(name, "tax") == 0)
        return json_pack("{s:s, s:n, s:n, s:s}", "automatic_tax", "unrecognized_location",
                         "ip_address", "location", "provider", "stripe");
    if (type == ST_CUSTOMER && strcmp(name, "cash_balance") == 0)
        return json_null();
    if (type == ST_CHARGE)
        return embedded_list(v, ST_REFUND, id, sim_strf("/v1/charges/%s/refunds", id));
    if (type == ST_INVOICE)
        return embedded_list(v, ST_INVOICE_PAYMENT, id,
                             sim_strf("/v1/invoice_payments?invoice=%s", id));
    struct st_record *rec = st_find(v->mode, type, id);
    return rec != NULL ? st_field(v->app, rec, name) : NULL;
}

/* ---- text ---- */

static void add_indented(struct sim_buf *b, const char *text, size_t len, int indent)
{
    static const char spaces[] = "                ";
    const char *end = text + len;
    while (text < end) {
        const char *nl = memchr(text, '\n', (size_t)(end - text));
        if (nl == NULL || indent == 0) {
            sim_buf_add(b, text, (size_t)(end - text));
            return;
        }
        sim_buf_add(b, text, (size_t)(nl + 1 - text));
        sim_buf_add(b, spaces, (size_t)indent);
        text = nl + 1;
    }
}

static void add_hex(struct sim_buf *b, const char *hex)
{
    for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
        char pair[3] = {hex[0], hex[1], '\0'};
        char byte = (char)strtoul(pair, NULL, 16);
        sim_buf_add(b, &byte, 1);
    }
}

static void set_at(json_t *obj, const char *path, json_t *value)
{
    const char *dot = strrchr(path, '.');
    if (dot == NULL) {
        json_object_set_new(obj, path, value);
        return;
    }
    char *parent = sim_strf("%.*s", (int)(dot - path), path);
    json_t *at = st_at(obj, parent);
    free(parent);
    if (json_is_object(at))
        json_object_set_new(at, dot + 1, value);
    else
        json_decref(value);
}

/* Members named in "raw" and "raw_hex" go out as those bytes, whatever they are. */
static void add_corrupted(struct sim_buf *b, json_t *obj, const char *raw_text)
{
    json_t *raw = json_loads(raw_text, JSON_ALLOW_NUL, NULL);
    const char *whole = st_text_at(raw, "raw_record");
    if (whole != NULL) {
        sim_buf_adds(b, whole);
        json_decref(raw);
        return;
    }
    static const char *const kinds[] = {"raw", "raw_hex"};
    for (size_t k = 0; k < 2; k++) {
        const char *path = NULL;
        json_t *bytes = NULL;
        json_object_foreach(json_object_get(raw, kinds[k]), path, bytes)
        {
            set_at(obj, path, json_sprintf("@@%s %s@@", kinds[k], path));
        }
    }
    char *text = json_dumps(obj, ST_JSON_FLAGS);
    const char *at = text;
    for (const char *mark = strstr(at, "\"@@raw"); mark != NULL; mark = strstr(at, "\"@@raw")) {
        sim_buf_add(b, at, (size_t)(mark - at));
        const char *end = strstr(mark, "@@\"");
        const char *space = strchr(mark, ' ');
        char *kind = sim_strf("%.*s", (int)(space - mark - 3), mark + 3);
        char *path = sim_strf("%.*s", (int)(end - space - 1), space + 1);
        const json_t *bytes = json_object_get(json_object_get(raw, kind), path);
        if (strcmp(kind, "raw") == 0)
            sim_buf_adds(b, json_string_value(bytes));
        else
            add_hex(b, json_string_value(bytes));
        free(kind);
        free(path);
        at = end + 3;
    }
    sim_buf_adds(b, at);
    free(text);
    json_decref(raw);
}

static uint64_t view_key(const struct st_view *v)
{
    uint64_t h = 1469598103934665603ULL + (uint64_t)v->shape * 2 + (v->whole ? 1 : 0);
    for (size_t i = 0; i < v->expand_count; i++) {
        for (const char *p = v->expand[i]; *p != '\0'; p++)
            h = (h ^ (unsigned char)*p) * 1099511628211ULL;
        h = (h ^ 0xffU) * 1099511628211ULL;
    }
    return h;
}

/* An embedded list that is not longer than what is shown anyway is whole either way. */
static bool has_cut_list(const struct st_view *v, const struct st_record *rec)
{
    enum st_type part = rec->cls->type == ST_SUBSCRIPTION ? ST_SUBSCRIPTION_ITEM
                        : rec->cls->type == ST_INVOICE    ? ST_LINE_ITEM
                                                          : ST_NONE;
    const struct st_vec *owned = part != ST_NONE ? st_owned(v->mode, part, rec->id) : NULL;
    return owned != NULL && owned->count > ST_EMBEDDED_MAX;
}

static void keep(struct st_mode *m, struct st_cache *c, char *text, size_t len, uint64_t key,
                 uint64_t gen)
{
    m->cached_bytes -= c->text != NULL ? c->len : 0;
    free(c->text);
    *c = (struct st_cache){0};
    if (m->cached_bytes + len > CACHE_MAX_BYTES) {
        free(text);
        return;
    }
    *c = (struct st_cache){.text = text, .len = len, .key = key, .gen = gen};
    m->cached_bytes += len;
}

static char *make_text(const struct st_view *v, struct st_record *rec, bool *expanded)
{
    json_t *obj = st_render_plain(v, rec);
    *expanded = false;
    for (size_t i = 0; i < v->expand_count; i++)
        *expanded = st_expand_apply(v, rec->cls->type, obj, v->expand[i]) || *expanded;
    char *text = json_dumps(obj, ST_JSON_FLAGS);
    json_decref(obj);
    return text;
}

static void add_raw_text(const struct st_view *v, struct st_record *rec, int indent,
                         struct sim_buf *b)
{
    json_t *obj = st_render(v, rec);
    struct sim_buf raw = {0};
    add_corrupted(&raw, obj, rec->raw);
    add_indented(b, raw.p, raw.len, indent);
    sim_buf_free(&raw);
    json_decref(obj);
}

void st_render_text(const struct st_view *v, struct st_record *rec, int indent,
                    struct sim_buf *b)
{
    if (rec->raw != NULL && !v->sound) {
        add_raw_text(v, rec, indent, b);
        return;
    }
    struct st_view view = *v;
    view.whole = v->whole && has_cut_list(v, rec);
    uint64_t key = view_key(&view);
    struct st_view plain_view = view;
    plain_view.expand_count = 0;
    uint64_t plain_key = view_key(&plain_view);
    bool plain = key == plain_key || rec->unexpanded_key == key;
    const struct st_cache *c = plain ? &rec->plain : &rec->expanded;
    if (plain)
        key = plain_key;
    if (c->text != NULL && c->key == key &&
        c->gen == (plain ? v->mode->price_gen : v->mode->gen)) {
        add_indented(b, c->text, c->len, indent);
        return;
    }
    bool expanded = false;
    char *text = make_text(plain ? &plain_view : &view, rec, &expanded);
    size_t len = strlen(text);
    add_indented(b, text, len, indent);
    if (!expanded && !plain) {
        rec->unexpanded_key = key;
        key = plain_key;
    }
    /* Events are written once and read rarely: they would only fill the cache. */
    if (rec->cls->type == ST_EVENT)
        free(text);
    else if (expanded)
        keep(v->mode, &rec->expanded, text, len, key, v->mode->gen);
    else
        keep(v->mode, &rec->plain, text, len, key, v->mode->price_gen);
}
