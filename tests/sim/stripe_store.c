/*
 * Accounts, their two modes, and tables of records: by id, in the order of creation, and by the
 * id each table is indexed by. Pages and look-ups cost no more in a big table than in a small
 * one: a cursor is found by binary search over (created, seq).
 */
#include "stripe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* gcc's analyzer loses sight of what uthash keeps in its buckets and cries leak. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

struct stripe_sim *st_app(struct sim *s)
{
    return *sim_stripe(s);
}

json_t *st_at(const json_t *obj, const char *path)
{
    char part[64];
    const json_t *at = obj;
    while (at != NULL) {
        const char *dot = strchr(path, '.');
        size_t len = dot != NULL ? (size_t)(dot - path) : strlen(path);
        if (len >= sizeof part)
            return NULL;
        memcpy(part, path, len);
        part[len] = '\0';
        json_t *next = json_object_get(at, part);
        if (dot == NULL)
            return next;
        at = next;
        path = dot + 1;
    }
    return NULL;
}

const char *st_text_at(const json_t *obj, const char *path)
{
    return json_string_value(st_at(obj, path));
}

/* ---- vectors ---- */

size_t st_vec_lower(const struct st_vec *v, int64_t created, uint64_t seq)
{
    size_t low = 0;
    size_t high = v->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct st_record *r = v->items[mid];
        if (r->created < created || (r->created == created && r->seq < seq))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void vec_insert(struct st_vec *v, struct st_record *rec)
{
    if (v->count == v->cap) {
        v->cap = v->cap > 0 ? v->cap * 2 : 4;
        v->items = sim_realloc(v->items, v->cap * sizeof *v->items);
    }
    size_t at = st_vec_lower(v, rec->created, rec->seq);
    memmove(v->items + at + 1, v->items + at, (v->count - at) * sizeof *v->items);
    v->items[at] = rec;
    v->count++;
}

static void vec_remove(struct st_vec *v, const struct st_record *rec)
{
    size_t at = st_vec_lower(v, rec->created, rec->seq);
    if (at >= v->count || v->items[at] != rec)
        return;
    memmove(v->items + at, v->items + at + 1, (v->count - at - 1) * sizeof *v->items);
    v->count--;
}

/* ---- index by owner ---- */

static struct st_owner *owner_of(struct st_table *t, const char *key)
{
    struct st_owner *o = NULL;
    HASH_FIND_STR(t->owners, key, o);
    return o;
}

static void index_in(struct st_table *t, struct st_record *rec)
{
    vec_insert(&t->order, rec);
    if (rec->owner == NULL)
        return;
    struct st_owner *o = owner_of(t, rec->owner);
    if (o == NULL) {
        o = sim_calloc(1, sizeof *o);
        o->key = sim_strdup(rec->owner);
        HASH_ADD_KEYPTR(hh, t->owners, o->key, strlen(o->key), o);
    }
    vec_insert(&o->records, rec);
}

static void index_out(struct st_table *t, struct st_record *rec)
{
    vec_remove(&t->order, rec);
    struct st_owner *o = rec->owner != NULL ? owner_of(t, rec->owner) : NULL;
    if (o != NULL)
        vec_remove(&o->records, rec);
}

const struct st_vec *st_owned(struct st_mode *m, enum st_type type, const char *owner)
{
    const struct st_owner *o = owner_of(&m->tables[type], owner);
    return o != NULL ? &o->records : NULL;
}

/* ---- records ---- */

struct st_record *st_find(struct st_mode *m, enum st_type type, const char *id)
{
    struct st_record *rec = NULL;
    if (type >= ST_TYPES)
        return NULL;
    HASH_FIND_STR(m->tables[type == ST_PLAN ? ST_PRICE : type].by_id, id, rec);
    return rec;
}

json_t *st_load(const struct st_record *rec)
{
    json_t *obj = json_loads(rec->text, JSON_ALLOW_NUL, NULL);
    if (obj == NULL) {
        fprintf(stderr, "sim: stored record '%s' does not parse\n", rec->id);
        abort();
    }
    return obj;
}

json_t *st_field(struct stripe_sim *app, const struct st_record *rec, const char *path)
{
    json_t *obj = st_load(rec);
    json_t *value = st_at(obj, path);
    if (value == NULL)
        value = st_at(app->templates[rec->cls->type], path);
    json_incref(value);
    json_decref(obj);
    return value;
}

static char *dup_or_null(const char *s)
{
    return s != NULL ? sim_strdup(s) : NULL;
}

static void read_fast_fields(struct st_record *rec, const json_t *sparse)
{
    free(rec->owner);
    rec->owner = NULL;
    if (rec->cls->owner != NULL)
        rec->owner = dup_or_null(st_text_at(sparse, rec->cls->owner));
    const char *status = st_text_at(sparse, "status");
    snprintf(rec->status, sizeof rec->status, "%s", status != NULL ? status : "");
    const json_t *created = json_object_get(sparse, "created");
    if (json_is_integer(created))
        rec->created = json_integer_value(created);
}

static void cache_drop(struct st_mode *m, struct st_cache *c)
{
    m->cached_bytes -= c->text != NULL ? c->len : 0;
    free(c->text);
    *c = (struct st_cache){0};
}

static void drop_rendered(struct st_mode *m, struct st_record *rec)
{
    cache_drop(m, &rec->plain);
    cache_drop(m, &rec->expanded);
    json_decref(rec->shared);
    json_decref(rec->shared_plan);
    rec->shared = NULL;
    rec->shared_plan = NULL;
    rec->unexpanded_key = 0;
}

void st_touch(struct st_mode *m, struct st_record *rec)
{
    rec->rev++;
    m->gen++;
    if (rec->cls->type == ST_PRICE)
        m->price_gen++;
    drop_rendered(m, rec);
}

struct st_record *st_insert(struct stripe_sim *app, struct st_mode *m, enum st_type type,
                            json_t *sparse)
{
    struct st_table *t = &m->tables[type];
    struct st_record *rec = sim_calloc(1, sizeof *rec);
    rec->cls = st_class(type);
    const char *given = st_text_at(sparse, "id");
    if (given == NULL || *given == '\0') {
        bool is_short = type == ST_CUSTOMER || type == ST_PRODUCT ||
                        type == ST_SUBSCRIPTION_ITEM || type == ST_COUPON;
        char *id = st_new_id(app, m, rec->cls->id_prefix,
                             type == ST_COUPON ? 8
                             : is_short        ? 14
                                               : 24);
        json_object_set_new(sparse, "id", json_string(id));
        rec->id = id;
    } else {
        rec->id = sim_strdup(given);
    }
    rec->seq = ++m->next_seq;
    rec->created = sim_now_ms(app->sim) / 1000;
    if (st_at(app->templates[type], "created") != NULL && st_at(sparse, "created") == NULL)
        json_object_set_new(sparse, "created", json_integer(rec->created));
    read_fast_fields(rec, sparse);
    rec->text = json_dumps(sparse, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(sparse);
    HASH_ADD_KEYPTR(hh, t->by_id, rec->id, strlen(rec->id), rec);
    index_in(t, rec);
    t->live++;
    st_touch(m, rec);
    return rec;
}

void st_save(struct st_mode *m, struct st_record *rec, json_t *sparse)
{
    struct st_table *t = &m->tables[rec->cls->type];
    /* A deleted record stays out of the order; nothing lists it. */
    if (!rec->deleted)
        index_out(t, rec);
    read_fast_fields(rec, sparse);
    free(rec->text);
    rec->text = json_dumps(sparse, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(sparse);
    if (!rec->deleted)
        index_in(t, rec);
    st_touch(m, rec);
}

void st_mark_deleted(struct st_mode *m, struct st_record *rec)
{
    if (rec->deleted)
        return;
    index_out(&m->tables[rec->cls->type], rec);
    rec->deleted = true;
    m->tables[rec->cls->type].live--;
    st_touch(m, rec);
}

static void record_free(struct st_mode *m, struct st_record *rec)
{
    drop_rendered(m, rec);
    free(rec->id);
    free(rec->text);
    free(rec->owner);
    free(rec->raw);
    free(rec);
}

void st_remove(struct st_mode *m, struct st_record *rec)
{
    struct st_table *t = &m->tables[rec->cls->type];
    if (!rec->deleted) {
        index_out(t, rec);
        t->live--;
    }
    HASH_DEL(t->by_id, rec);
    record_free(m, rec);
}

/* ---- ids ---- */

static uint64_t hash_text(const char *s)
{
    uint64_t h = 1469598103934665603ULL;
    for (; *s != '\0'; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211ULL;
    return h;
}

char *st_new_id(struct stripe_sim *app, struct st_mode *m, const char *prefix, int len)
{
    static const char digits[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t who = hash_text(m->account->id) + (m->live ? 1 : 0);
    uint64_t n = ++m->next_id;
    size_t prefix_len = strlen(prefix);
    char *id = sim_calloc(1, prefix_len + (size_t)len + 1);
    memcpy(id, prefix, prefix_len);
    uint64_t bits = 0;
    for (int i = 0; i < len; i++) {
        if (i % 8 == 0)
            bits = sim_mix(sim_options(app->sim)->seed, who, n * 4 + (uint64_t)(i / 8));
        id[prefix_len + (size_t)i] = digits[bits % 62];
        bits /= 62;
    }
    if (len == 24)
        id[prefix_len] = '1';
    return id;
}

/* ---- accounts ---- */

struct st_account *st_account_find(struct stripe_sim *app, const char *id)
{
    struct st_account *a = NULL;
    HASH_FIND_STR(app->accounts, id, a);
    return a;
}

struct st_account *st_account_new(struct stripe_sim *app, const char *id)
{
    struct st_account *a = sim_calloc(1, sizeof *a);
    a->id = sim_strdup(id);
    a->api_version = sim_strdup(ST_VERSION);
    a->object = json_object();
    a->settings = (struct st_settings){.limit_global_test = 25,
                                       .limit_global_live = 100,
                                       .limit_endpoint = 25,
                                       .limit_search = 20,
                                       .enforce_permissions = true,
                                       .access_token_s = 3600,
                                       .code_s = 300,
                                       .events_max = 20000,
                                       .event_days = 30};
    for (int live = 0; live < 2; live++) {
        a->modes[live].account = a;
        a->modes[live].live = live == 1;
        for (size_t t = 0; t < ST_TYPES; t++)
            a->modes[live].tables[t].cls = st_class((enum st_type)t);
    }
    HASH_ADD_KEYPTR(hh, app->accounts, a->id, strlen(a->id), a);
    return a;
}

struct st_mode *st_mode(struct stripe_sim *app, struct st_account *a, bool live)
{
    struct st_mode *m = &a->modes[live ? 1 : 0];
    if (!m->seeded) {
        m->seeded = true;
        if (a->settings.customers > 0)
            st_seed(app, m, a->settings.customers, a->settings.subscriptions_per_customer);
    }
    return m;
}

static void table_free(struct st_mode *m, struct st_table *t)
{
    struct st_record *rec = NULL;
    struct st_record *next = NULL;
    HASH_ITER(hh, t->by_id, rec, next)
    {
        HASH_DEL(t->by_id, rec);
        record_free(m, rec);
    }
    struct st_owner *o = NULL;
    struct st_owner *next_owner = NULL;
    HASH_ITER(hh, t->owners, o, next_owner)
    {
        HASH_DEL(t->owners, o);
        free(o->key);
        free(o->records.items);
        free(o);
    }
    free(t->order.items);
}

void st_account_free(struct stripe_sim *app, struct st_account *a)
{
    HASH_DEL(app->accounts, a);
    for (int live = 0; live < 2; live++) {
        for (size_t t = 0; t < ST_TYPES; t++)
            table_free(&a->modes[live], &a->modes[live].tables[t]);
    }
    json_decref(a->object);
    free(a->api_version);
    free(a->id);
    free(a);
}
