/*
 * /_sim/stripe/...: accounts, keys, settings; records made, changed and deleted by hand; and
 * the truth a mirror must equal. DESIGN.md lists the calls.
 */
#include "stripe.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 6 };

struct control {
    struct sim_request *r;
    struct stripe_sim *app;
    struct st_account *account;
    json_t *body;
};

static bool method_is(const struct control *c, const char *method)
{
    return strcmp(c->r->method, method) == 0;
}

static bool wants_live(const struct control *c)
{
    const char *mode = sim_param(&c->r->query, "mode", 0);
    if (mode == NULL)
        mode = st_text_at(c->body, "mode");
    return mode != NULL && strcmp(mode, "live") == 0;
}

/* ---- settings ---- */

enum setting_type { A_NUMBER, A_BOOL };

static const struct {
    const char *name;
    enum setting_type type;
    size_t offset;
} settings[] = {
    {"limit_global_test", A_NUMBER, offsetof(struct st_settings, limit_global_test)},
    {"limit_global_live", A_NUMBER, offsetof(struct st_settings, limit_global_live)},
    {"limit_endpoint", A_NUMBER, offsetof(struct st_settings, limit_endpoint)},
    {"limit_search", A_NUMBER, offsetof(struct st_settings, limit_search)},
    {"access_token_s", A_NUMBER, offsetof(struct st_settings, access_token_s)},
    {"code_s", A_NUMBER, offsetof(struct st_settings, code_s)},
    {"events_max", A_NUMBER, offsetof(struct st_settings, events_max)},
    {"event_days", A_NUMBER, offsetof(struct st_settings, event_days)},
    {"enforce_permissions", A_BOOL, offsetof(struct st_settings, enforce_permissions)},
    {"retry_after_on_429", A_BOOL, offsetof(struct st_settings, retry_after_on_429)},
    {"bad_cursor_404", A_BOOL, offsetof(struct st_settings, bad_cursor_404)},
    {"revoked_is_401", A_BOOL, offsetof(struct st_settings, revoked_is_401)},
};

static const char *set_settings(struct st_settings *s, const json_t *wanted)
{
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)wanted, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
            if (strcmp(settings[i].name, key) != 0)
                continue;
            char *at = (char *)s + settings[i].offset;
            if (settings[i].type == A_BOOL)
                *(bool *)(void *)at = json_is_true(value);
            else
                *(int64_t *)(void *)at = json_integer_value(value);
            found = true;
        }
        if (!found)
            return "unknown setting";
    }
    return NULL;
}

static json_t *settings_json(const struct st_settings *s)
{
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        const char *at = (const char *)s + settings[i].offset;
        json_object_set_new(out, settings[i].name,
                            settings[i].type == A_BOOL
                                ? json_boolean(*(const bool *)(const void *)at)
                                : json_integer(*(const int64_t *)(const void *)at));
    }
    return out;
}

/* ---- accounts and keys ---- */

static json_t *key_json(const struct st_key *k)
{
    return json_pack("{s:s, s:s, s:s, s:O?, s:b, s:b}", "key", k->key, "account",
                     k->account->id, "mode", k->live ? "live" : "test", "permissions",
                     k->permissions, "expired", k->expired ? 1 : 0, "revoked",
                     k->revoked ? 1 : 0);
}

static json_t *account_json(const struct control *c, struct st_account *a)
{
    json_t *keys = json_array();
    struct st_key *k = NULL;
    struct st_key *next = NULL;
    HASH_ITER(hh, c->app->keys, k, next)
    {
        if (k->account == a)
            json_array_append_new(keys, key_json(k));
    }
    json_t *modes = json_object();
    for (int live = 0; live < 2; live++) {
        json_t *counts = json_object();
        for (size_t t = 0; t < ST_TYPES; t++) {
            const struct st_class *cls = st_class((enum st_type)t);
            if (t != ST_PLAN)
                json_object_set_new(counts, cls->path != NULL ? cls->path : cls->object,
                                    json_integer((json_int_t)a->modes[live].tables[t].live));
        }
        json_object_set_new(modes, live ? "live" : "test", counts);
    }
    return json_pack("{s:s, s:s, s:b, s:b, s:o, s:o, s:o}", "account", a->id, "api_version",
                     a->api_version, "connected", a->connected ? 1 : 0, "revoked",
                     a->revoked ? 1 : 0, "keys", keys, "settings", settings_json(&a->settings),
                     "counts", modes);
}

static const char *change_key(struct control *c, struct st_key *k)
{
    const json_t *v = json_object_get(c->body, "permissions");
    if (v != NULL) {
        json_decref(k->permissions);
        k->permissions = json_is_array(v) ? json_deep_copy(v) : NULL;
    }
    size_t i = 0;
    json_t *one = NULL;
    json_array_foreach(json_object_get(c->body, "remove"), i, one)
    {
        for (size_t n = json_array_size(k->permissions); n > 0; n--) {
            if (json_equal(json_array_get(k->permissions, n - 1), one))
                json_array_remove(k->permissions, n - 1);
        }
    }
    json_array_foreach(json_object_get(c->body, "add"), i, one)
    {
        if (k->permissions != NULL)
            json_array_append(k->permissions, one);
    }
    v = json_object_get(c->body, "expires_in_s");
    if (json_is_integer(v))
        k->expires_at_ms = sim_now_ms(c->app->sim) + json_integer_value(v) * 1000;
    v = json_object_get(c->body, "expired");
    if (v != NULL)
        k->expired = json_is_true(v);
    v = json_object_get(c->body, "revoked");
    if (v != NULL)
        k->revoked = json_is_true(v);
    return NULL;
}

static const char *add_key(struct control *c, struct st_account *a)
{
    const char *key = st_text_at(c->body, "key");
    if (key == NULL)
        return "a key needs \"key\"";
    bool live = wants_live(c) || strstr(key, "_live_") != NULL;
    return change_key(c, st_key_new(c->app, key, ST_KEY_ACCOUNT, a, live));
}

static const char *change_account(struct control *c, struct st_account *a)
{
    const json_t *v = json_object_get(c->body, "settings");
    const char *error = v != NULL ? set_settings(&a->settings, v) : NULL;
    const char *version = st_text_at(c->body, "api_version");
    if (error == NULL && version != NULL && !st_version_known(version))
        error = "unknown api_version";
    if (error != NULL)
        return error;
    if (version != NULL) {
        free(a->api_version);
        a->api_version = sim_strdup(version);
    }
    v = json_object_get(c->body, "connected");
    if (v != NULL)
        a->connected = json_is_true(v);
    v = json_object_get(c->body, "revoked");
    if (v != NULL)
        a->revoked = json_is_true(v);
    v = json_object_get(c->body, "object");
    if (json_is_object(v))
        json_object_update(a->object, (json_t *)(uintptr_t)v);
    return NULL;
}

static void seed_account(struct control *c, struct st_account *a)
{
    const json_t *n = json_object_get(c->body, "customers");
    const json_t *per = json_object_get(c->body, "subscriptions_per_customer");
    struct st_mode *m = &a->modes[wants_live(c) ? 1 : 0];
    m->seeded = true;
    st_seed(c->app, m, (size_t)json_integer_value(n),
            json_is_number(per) ? json_number_value(per) : 1.0);
}

static void answer_result(struct control *c, const char *error, json_t *ok)
{
    if (error != NULL) {
        json_decref(ok);
        sim_answer_error(c->r, 400, "%s", error);
        return;
    }
    sim_answer_json(c->r, 200, ok, JSON_INDENT(2));
}

static void accounts_call(struct control *c)
{
    if (method_is(c, "GET")) {
        json_t *all = json_array();
        struct st_account *a = NULL;
        struct st_account *next = NULL;
        HASH_ITER(hh, c->app->accounts, a, next)
        {
            json_array_append_new(all, account_json(c, a));
        }
        sim_answer_json(c->r, 200, all, JSON_INDENT(2));
        return;
    }
    const char *id = st_text_at(c->body, "account");
    if (id == NULL || st_account_find(c->app, id) != NULL) {
        sim_answer_error(c->r, 400, "%s",
                         id == NULL ? "\"account\" is missing"
                                    : "that account is there already");
        return;
    }
    struct st_account *a = st_account_new(c->app, id);
    const char *error = change_account(c, a);
    if (error == NULL && json_object_get(c->body, "key") != NULL)
        error = add_key(c, a);
    if (error == NULL && json_object_get(c->body, "customers") != NULL)
        seed_account(c, a);
    a->modes[0].seeded = true;
    a->modes[1].seeded = true;
    answer_result(c, error, error == NULL ? account_json(c, a) : NULL);
}

static void keys_call(struct control *c, const char *key)
{
    if (key == NULL) {
        const char *error = add_key(c, c->account);
        answer_result(c, error, error == NULL ? account_json(c, c->account) : NULL);
        return;
    }
    struct st_key *k = st_key_find(c->app, key);
    if (k == NULL) {
        sim_answer_error(c->r, 404, "no such key");
        return;
    }
    if (method_is(c, "DELETE"))
        k->revoked = true;
    else
        (void)change_key(c, k);
    sim_answer_json(c->r, 200, key_json(k), JSON_INDENT(2));
}

/* ---- the truth ---- */

static struct st_view truth_view(struct control *c, struct st_mode *m, const char **expand)
{
    struct st_view v = {.app = c->app, .mode = m, .whole = true, .sound = true};
    const char *version = sim_param(&c->r->query, "version", 0);
    v.shape = st_shape_of(version);
    v.expand = expand;
    const char *path = NULL;
    while (v.expand_count < 8 &&
           (path = sim_param(&c->r->query, "expand[]", v.expand_count)) != NULL)
        expand[v.expand_count++] = path;
    return v;
}

static json_t *truth_of(const struct st_view *v, struct st_record *rec, bool plan, bool extras)
{
    if (plan)
        return st_render_plan(v, rec);
    json_t *obj = st_render(v, rec);
    /* What only an expansion shows belongs to the truth as well. */
    static const char *const names[] = {"tiers", "currency_options", "applies_to"};
    for (size_t i = 0;
         extras && (rec->cls->type == ST_PRICE || rec->cls->type == ST_COUPON) && i < 3; i++) {
        json_t *extra = st_render_extra(v, rec->cls->type, names[i], obj);
        if (extra != NULL)
            json_object_set_new(obj, names[i], extra);
    }
    return obj;
}

static void list_truth(struct control *c, struct st_mode *m, const struct st_class *cls)
{
    const char *expand[8];
    struct st_view v = truth_view(c, m, expand);
    const char *status = sim_param(&c->r->query, "status", 0);
    const char *owner = sim_param(&c->r->query, "owner", 0);
    bool ids = sim_param(&c->r->query, "ids", 0) != NULL;
    bool extras = sim_param(&c->r->query, "extras", 0) != NULL;
    bool plan = cls->type == ST_PLAN;
    static const struct st_vec nothing = {0};
    const struct st_vec *all = &m->tables[plan ? ST_PRICE : cls->type].order;
    if (owner != NULL) {
        all = st_owned(m, cls->type, owner);
        all = all != NULL ? all : &nothing;
    }
    struct sim_buf *b = &c->r->res.body;
    size_t written = 0;
    sim_buf_adds(b, "[");
    for (size_t i = 0; i < all->count; i++) {
        struct st_record *rec = all->items[i];
        if (status != NULL && strcmp(status, rec->status) != 0)
            continue;
        sim_buf_adds(b, written++ > 0 ? ",\n" : "\n");
        if (!ids && !extras && !plan) {
            st_render_text(&v, rec, 0, b);
            continue;
        }
        json_t *obj = ids ? json_string(rec->id) : truth_of(&v, rec, plan, extras);
        sim_buf_add_json(b, obj, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
        json_decref(obj);
    }
    sim_buf_adds(b, "\n]");
    c->r->res.status = 200;
    sim_answer_header(c->r, "Content-Type: application/json");
}

static void one_truth(struct control *c, struct st_mode *m, struct st_record *rec)
{
    const char *expand[8];
    struct st_view v = truth_view(c, m, expand);
    bool extras = sim_param(&c->r->query, "extras", 0) != NULL;
    sim_answer_json(c->r, 200,
                    rec->deleted ? st_render_deleted(rec) : truth_of(&v, rec, false, extras),
                    ST_JSON_FLAGS);
}

/* ---- changes ---- */

static void begin(struct control *c, struct st_mode *m, struct st_change *ch)
{
    struct sim_notify n;
    sim_notify_parse(&n, c->body);
    st_change_begin(ch, c->app, m, &n);
    ch->event_type = st_text_at(c->body, "event_type");
}

/* "raw", "raw_hex", "raw_record" of a patch: the record goes out damaged until they are empty.
 */
static void set_raw(struct control *c, struct st_mode *m, struct st_record *rec)
{
    static const char *const names[] = {"raw", "raw_hex", "raw_record"};
    json_t *raw = json_object();
    bool named = false;
    for (size_t i = 0; i < 3; i++) {
        json_t *value = json_object_get(c->body, names[i]);
        named = named || value != NULL;
        if ((json_is_object(value) && json_object_size(value) > 0) || json_is_string(value))
            json_object_set(raw, names[i], value);
    }
    if (named) {
        free(rec->raw);
        rec->raw = json_object_size(raw) > 0 ? json_dumps(raw, JSON_COMPACT) : NULL;
        st_touch(m, rec);
    }
    json_decref(raw);
}

static void create_call(struct control *c, struct st_mode *m, const struct st_class *cls)
{
    struct st_change ch;
    const char *error = NULL;
    begin(c, m, &ch);
    struct st_record *rec = st_create(&ch, cls->type, c->body, &error);
    if (rec != NULL)
        set_raw(c, m, rec);
    st_change_end(&ch);
    if (rec == NULL)
        sim_answer_error(c->r, 400, "%s", error);
    else
        one_truth(c, m, rec);
}

static void record_call(struct control *c, struct st_mode *m, const struct st_class *cls,
                        const char *id)
{
    struct st_record *rec = st_find(m, cls->type, id);
    if (rec == NULL) {
        sim_answer_error(c->r, 404, "no such %s", cls->object);
        return;
    }
    struct st_change ch;
    const char *error = NULL;
    if (method_is(c, "PATCH") || method_is(c, "POST")) {
        begin(c, m, &ch);
        error = st_update(&ch, rec, c->body);
        set_raw(c, m, rec);
        st_change_end(&ch);
    } else if (method_is(c, "DELETE")) {
        begin(c, m, &ch);
        st_delete(&ch, rec);
        st_change_end(&ch);
    }
    if (error != NULL)
        sim_answer_error(c->r, 400, "%s", error);
    else
        one_truth(c, m, rec);
}

/* {"ids":[..]} or {"n":k}: the same "patch" for many records. */
static void bulk_call(struct control *c, struct st_mode *m, const struct st_class *cls)
{
    json_t *patch = json_object_get(c->body, "patch");
    const json_t *ids = json_object_get(c->body, "ids");
    const json_t *n = json_object_get(c->body, "n");
    const struct st_vec *all = &m->tables[cls->type].order;
    size_t count = json_is_array(ids) ? json_array_size(ids) : (size_t)json_integer_value(n);
    struct st_change ch;
    json_int_t changed = 0;
    begin(c, m, &ch);
    for (size_t i = 0; i < count; i++) {
        struct st_record *rec = NULL;
        if (json_is_array(ids)) {
            const char *id = json_string_value(json_array_get(ids, i));
            rec = id != NULL ? st_find(m, cls->type, id) : NULL;
        } else if (i < all->count) {
            rec = all->items[i];
        }
        if (rec != NULL && json_is_object(patch) && st_update(&ch, rec, patch) == NULL)
            changed++;
    }
    st_change_end(&ch);
    sim_answer_json(c->r, 200, json_pack("{s:I}", "changed", changed), 0);
}

/* {"subscription": id, "status"?: "paid"}: an invoice with all that belongs to it. */
static void invoice_call(struct control *c, struct st_mode *m)
{
    const char *id = st_text_at(c->body, "subscription");
    const char *status = st_text_at(c->body, "status");
    struct st_record *sub = id != NULL ? st_find(m, ST_SUBSCRIPTION, id) : NULL;
    if (sub == NULL) {
        sim_answer_error(c->r, 400, "no such subscription");
        return;
    }
    struct st_change ch;
    begin(c, m, &ch);
    struct st_record *rec = st_bill(&ch, sub, status != NULL ? status : "paid");
    st_change_end(&ch);
    one_truth(c, m, rec);
}

static void event_call(struct control *c, struct st_mode *m)
{
    const char *type = st_text_at(c->body, "type");
    json_t *obj = json_object_get(c->body, "object");
    const char *about = st_text_at(c->body, "id");
    struct st_change ch;
    begin(c, m, &ch);
    struct st_view v = {
        .app = c->app, .mode = m, .shape = st_shape_of(c->account->api_version)};
    struct st_record *rec = NULL;
    for (size_t t = 0; about != NULL && rec == NULL && t < ST_TYPES; t++)
        rec = st_find(m, (enum st_type)t, about);
    json_t *shown = json_is_object(obj) ? json_incref(obj)
                    : rec != NULL       ? st_render_plain(&v, rec)
                                        : json_object();
    struct st_record *event =
        st_event(&ch, type != NULL ? type : "customer.updated", rec, shown, NULL);
    char *id = sim_strdup(event->id);
    st_change_end(&ch);
    sim_answer_json(c->r, 200, json_pack("{s:s}", "id", id), 0);
    free(id);
}

/* ---- routes ---- */

static void resource_call(struct control *c, char **parts, size_t count)
{
    char two[128];
    const struct st_class *cls = st_class_by_path(parts[0]);
    size_t used = 1;
    if (cls == NULL && count > 1) {
        snprintf(two, sizeof two, "%s/%s", parts[0], parts[1]);
        cls = st_class_by_path(two);
        used = 2;
    }
    if (cls == NULL && strcmp(parts[0], "discounts") == 0)
        cls = st_class(ST_DISCOUNT);
    if (cls == NULL && strcmp(parts[0], "lines") == 0)
        cls = st_class(ST_LINE_ITEM);
    if (cls == NULL) {
        sim_answer_error(c->r, 404, "no such resource: %s", parts[0]);
        return;
    }
    struct st_mode *m = st_mode(c->app, c->account, wants_live(c));
    const char *id = count > used ? parts[used] : NULL;
    if (id == NULL && method_is(c, "GET"))
        list_truth(c, m, cls);
    else if (id == NULL && cls->type == ST_EVENT)
        event_call(c, m);
    else if (id == NULL)
        create_call(c, m, cls);
    else if (strcmp(id, "bulk") == 0 && method_is(c, "POST"))
        bulk_call(c, m, cls);
    else if (strcmp(id, "for_subscription") == 0 && cls->type == ST_INVOICE)
        invoice_call(c, m);
    else
        record_call(c, m, cls, id);
}

static void account_call(struct control *c, char **parts, size_t count)
{
    if (count == 0) {
        const char *error = method_is(c, "GET") ? NULL : change_account(c, c->account);
        answer_result(c, error, error == NULL ? account_json(c, c->account) : NULL);
    } else if (strcmp(parts[0], "keys") == 0) {
        keys_call(c, count > 1 ? parts[1] : NULL);
    } else if (strcmp(parts[0], "seed") == 0) {
        seed_account(c, c->account);
        sim_answer_json(c->r, 200, account_json(c, c->account), JSON_INDENT(2));
    } else if (strcmp(parts[0], "deauthorize") == 0) {
        struct sim_notify n;
        sim_notify_parse(&n, c->body);
        st_oauth_deauthorize(c->app, c->account, wants_live(c), &n);
        sim_answer_json(c->r, 200, account_json(c, c->account), JSON_INDENT(2));
    } else {
        resource_call(c, parts, count);
    }
}

void sim_stripe_control(struct sim_request *r, const char *tail, json_t *body)
{
    struct control c = {.r = r, .app = st_app(r->sim), .body = body};
    char *copy = sim_strdup(tail);
    char *parts[PARTS_MAX];
    size_t count = 0;
    char *save = NULL;
    for (char *p = strtok_r(copy, "/", &save); p != NULL && count < PARTS_MAX;
         p = strtok_r(NULL, "/", &save))
        parts[count++] = p;
    if (count == 0) {
        sim_answer_error(r, 404, "stripe/accounts, stripe/oauth or stripe/ACCOUNT/...");
    } else if (strcmp(parts[0], "accounts") == 0) {
        accounts_call(&c);
    } else if (strcmp(parts[0], "oauth") == 0) {
        st_oauth_control(r, count > 1 ? parts[1] : "", body);
    } else if (strcmp(parts[0], "mutate_mode") == 0) {
        c.app->mutate_live = wants_live(&c);
        sim_answer_json(r, 200, json_pack("{s:b}", "live", c.app->mutate_live ? 1 : 0), 0);
    } else {
        c.account = st_account_find(c.app, parts[0]);
        if (c.account == NULL)
            sim_answer_error(r, 404, "no such Stripe account: %s", parts[0]);
        else
            account_call(&c, parts + 1, count - 1);
    }
    free(copy);
}
