/*
 * The Stripe half of the simulator: what its files share.
 *
 * Every object is kept as sparse JSON text, only what differs from the template of its type
 * (stripe_templates.c), so that 50,000 customers with their subscriptions fit. Rendering merges
 * template and text, puts in what lives in other tables (items, lines, discounts) and turns the
 * result into the shape of the API version asked for. Members whose names begin with '_' are
 * the simulator's own and never leave it.
 */
#ifndef PIVOTAL_SYNC_SIM_STRIPE_H
#define PIVOTAL_SYNC_SIM_STRIPE_H

#include "sim.h"

#include <uthash.h>

#define ST_VERSION "2026-10-28.endive"

enum {
    ST_EMBEDDED_MAX = 10, /* entries of an embedded list */
    ST_LIMIT_MAX = 100,
    ST_DAY_S = 86400,
    ST_JSON_FLAGS = JSON_INDENT(2) | JSON_REAL_PRECISION(15)
};

/* The shape an API version has; see the table "where the same fact sits". */
enum st_shape { ST_SHAPE_2023, ST_SHAPE_BASIL, ST_SHAPE_NEW };

enum st_type {
    ST_CUSTOMER,
    ST_SUBSCRIPTION,
    ST_SUBSCRIPTION_ITEM,
    ST_PRODUCT,
    ST_PRICE,
    ST_PLAN, /* no table: a price under its old name */
    ST_COUPON,
    ST_PROMOTION_CODE,
    ST_DISCOUNT, /* no endpoint */
    ST_INVOICE,
    ST_LINE_ITEM,
    ST_INVOICE_PAYMENT,
    ST_CHARGE,
    ST_PAYMENT_INTENT,
    ST_REFUND,
    ST_DISPUTE,
    ST_CREDIT_NOTE,
    ST_SCHEDULE,
    ST_TAX_ID,
    ST_TAX_RATE,
    ST_FEATURE,
    ST_ENTITLEMENT,
    ST_EVENT,
    ST_ENDPOINT,
    ST_TYPES,
    ST_ACCOUNT = ST_TYPES, /* rendered, expanded, but in no table */
    ST_NONE
};

/* How a list parameter chooses. */
enum st_filter_kind {
    ST_FILTER_TEXT,
    ST_FILTER_BOOL,
    ST_FILTER_RANGE,  /* number, or [gt] [gte] [lt] [lte] */
    ST_FILTER_ANY_OF, /* name[] = one of */
    ST_FILTER_OWNER,  /* the table's index answers */
    ST_FILTER_SPECIAL /* by name, in stripe_list.c */
};

struct st_filter {
    const char *param;
    enum st_filter_kind kind;
    const char *field; /* dotted path in the object; NULL = param */
};

/* One row per type of object. */
struct st_class {
    enum st_type type;
    const char *object;    /* "customer": the member "object" */
    const char *path;      /* "customers": below /v1/, and in the control API; NULL = none */
    const char *id_prefix; /* "cus_" */
    const char *template_text;
    const char *owner;           /* dotted path of the id the table is indexed by, or NULL */
    const char *event;           /* "customer" of customer.created, or NULL */
    const char *permission;      /* "customer_read" */
    const char *permission_name; /* "Customers Read" */
    const char *id_param;        /* "customer": param of a resource_missing */
    bool oldest_first;           /* items and lines keep the order of creation */
    bool gone_is_404;            /* false: a deleted one answers {"deleted":true} */
    const struct st_filter *filters; /* ends with .param = NULL */
};

const struct st_class *st_class(enum st_type type);
/** By path ("customers"), or NULL. */
const struct st_class *st_class_by_path(const char *path);
/** By "object" value, or NULL. */
const struct st_class *st_class_by_object(const char *object);

/* Rendered text kept for the next reader. */
struct st_cache {
    char *text;
    size_t len;
    uint64_t key; /* hash of shape and expansions */
    uint64_t gen; /* of the mode, or of the record (plain) when it was made */
};

struct st_record {
    UT_hash_handle hh;
    const struct st_class *cls;
    char *id;
    char *text; /* sparse JSON */
    int64_t created;
    uint64_t seq;
    char *owner;
    char status[24];
    bool deleted;
    uint64_t rev;          /* counts changes, those of embedded parts too */
    char *raw;             /* wire corruption: JSON text of "raw", "raw_hex", "raw_record" */
    struct st_cache plain; /* shape of the newest version, nothing expanded */
    struct st_cache expanded;
    uint64_t unexpanded_key; /* expansions that change nothing here: the plain text serves */
    json_t *shared;          /* a price (or plan) as items embed it; nobody changes it */
    json_t *shared_plan;
};

/* Records in the order (created, seq), oldest first. */
struct st_vec {
    struct st_record **items;
    size_t count;
    size_t cap;
};

struct st_owner {
    UT_hash_handle hh;
    char *key;
    struct st_vec records;
};

struct st_table {
    const struct st_class *cls;
    struct st_record *by_id;
    struct st_vec order;
    struct st_owner *owners;
    size_t live;
};

struct st_account;

/* Test or live data of an account. */
struct st_mode {
    struct st_account *account;
    bool live;
    bool seeded;
    struct st_table tables[ST_TYPES];
    uint64_t next_id;
    uint64_t next_seq;
    uint64_t gen;       /* counts changes of any record */
    uint64_t price_gen; /* counts changes of prices: they are embedded everywhere */
    size_t cached_bytes;
};

struct st_settings {
    int64_t limit_global_test; /* calls a second; 0 = off */
    int64_t limit_global_live;
    int64_t limit_endpoint;
    int64_t limit_search;
    bool enforce_permissions;
    bool retry_after_on_429;
    bool bad_cursor_404; /* else 400; not confirmed which */
    bool revoked_is_401; /* else 403 account_invalid */
    int64_t access_token_s;
    int64_t code_s;
    int64_t events_max;
    int64_t event_days;
    size_t customers; /* to seed a mode with, on first use */
    double subscriptions_per_customer;
};

struct st_account {
    UT_hash_handle hh;
    char *id;
    char *api_version; /* the account's default */
    json_t *object;    /* members over the account template */
    bool revoked;      /* application access revoked */
    bool connected;    /* the platform may act on it (Stripe-Account) */
    struct st_settings settings;
    struct st_mode modes[2]; /* [live] */
};

enum st_key_kind { ST_KEY_ACCOUNT, ST_KEY_TOKEN, ST_KEY_PLATFORM };

struct st_key {
    UT_hash_handle hh;
    char *key;
    enum st_key_kind kind;
    struct st_account *account;
    bool live;
    json_t *permissions;   /* array of names; NULL = all */
    int64_t expires_at_ms; /* 0 = never */
    bool expired;
    bool revoked;
};

struct st_oauth;  /* stripe_oauth.c */
struct st_replay; /* stripe_idempotent.c */

struct stripe_sim {
    struct sim *sim;
    json_t *templates[ST_TYPES + 1];
    struct st_account *accounts;
    struct st_key *keys;
    struct st_oauth *oauth;
    struct st_replay *replays;
    uint64_t next_request;
    int64_t same_second_at; /* created of events that must share a second */
    bool mutate_live;
};

struct stripe_sim *st_app(struct sim *s);

/* ---- stripe_store.c ---- */

struct st_account *st_account_new(struct stripe_sim *app, const char *id);
struct st_account *st_account_find(struct stripe_sim *app, const char *id);
void st_account_free(struct stripe_sim *app, struct st_account *a);
/** The data of one mode, seeded on first use. */
struct st_mode *st_mode(struct stripe_sim *app, struct st_account *a, bool live);
/** A new id with this prefix and so many characters, deterministic for seed and account. */
char *st_new_id(struct stripe_sim *app, struct st_mode *m, const char *prefix, int len);
/** Record by id, deleted ones too; NULL when there never was one. */
struct st_record *st_find(struct st_mode *m, enum st_type type, const char *id);
/** Records of an owner in order, or NULL. */
const struct st_vec *st_owned(struct st_mode *m, enum st_type type, const char *owner);
/** Put a new record in; takes sparse. An id is made when it has none. */
struct st_record *st_insert(struct stripe_sim *app, struct st_mode *m, enum st_type type,
                            json_t *sparse);
/** The sparse object of a record; a new reference. */
json_t *st_load(const struct st_record *rec);
/** Replace it; takes sparse. */
void st_save(struct st_mode *m, struct st_record *rec, json_t *sparse);
/** Note that something the record shows has changed. */
void st_touch(struct st_mode *m, struct st_record *rec);
void st_mark_deleted(struct st_mode *m, struct st_record *rec);
/** Forget a record wholly (events beyond their number or age). */
void st_remove(struct st_mode *m, struct st_record *rec);
/** First place in v that is not before (created, seq). */
size_t st_vec_lower(const struct st_vec *v, int64_t created, uint64_t seq);
/** Value at a dotted path, or NULL; lent. */
json_t *st_at(const json_t *obj, const char *path);
/** Text at a dotted path, or NULL. */
const char *st_text_at(const json_t *obj, const char *path);
/** Value of a stored field: from the record, else from the template; a new reference. */
json_t *st_field(struct stripe_sim *app, const struct st_record *rec, const char *path);

/* ---- stripe_render.c, stripe_expand.c, stripe_shape.c ---- */

enum st_shape st_shape_of(const char *version);
bool st_version_known(const char *version);

struct st_view {
    struct stripe_sim *app;
    struct st_mode *mode;
    enum st_shape shape;
    bool sound;          /* without the damage of "raw" (the truth) */
    bool whole;          /* embedded lists are not cut (the truth) */
    const char **expand; /* paths, already checked; relative to the object */
    size_t expand_count;
};

/** An object as the API shows it; a new reference. */
json_t *st_render(const struct st_view *v, struct st_record *rec);
/** The same without following v->expand. */
json_t *st_render_plain(const struct st_view *v, struct st_record *rec);
json_t *st_render_plan(const struct st_view *v, struct st_record *price);
json_t *st_render_account(const struct st_view *v, struct st_account *a);
/** {"id","object","deleted":true} */
json_t *st_render_deleted(const struct st_record *rec);
/** As text, indented for depth 0, out of the cache when it can; adds to b with every new
 * line indented by so many spaces. */
void st_render_text(const struct st_view *v, struct st_record *rec, int indent,
                    struct sim_buf *b);
/** The members a field shows only when it is expanded (tiers, applies_to ...); new or NULL. */
json_t *st_render_extra(const struct st_view *v, enum st_type type, const char *name,
                        const json_t *node);
/** List envelope of data (taken). */
json_t *st_list_json(json_t *data, bool has_more, char *url);
/** Turn a fresh object into the shape of an older version. */
void st_reshape(const struct st_view *v, enum st_type type, json_t *obj);

enum st_expand_result { ST_EXPAND_OK, ST_EXPAND_TOO_DEEP, ST_EXPAND_UNKNOWN };
/** May this path be expanded on that type? For lists the path begins with "data.". On
 * ST_EXPAND_UNKNOWN *bad is the offending name. */
enum st_expand_result st_expand_check(enum st_type type, enum st_shape shape, bool list,
                                      const char *path, char *bad, size_t bad_size);
/** Follow it; false when it led to nothing. */
bool st_expand_apply(const struct st_view *v, enum st_type type, json_t *obj, const char *path);

/* ---- stripe_error.c ---- */

struct st_call; /* one request; stripe_api.c */

/** {"error":{...}} in Stripe's form. code and param may be NULL. */
void st_error(struct sim_request *r, int status, const char *code, const char *param,
              const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/** Headers every answer has; version may be NULL. */
void st_headers(struct sim_request *r, const char *version);
/** Put the answer into b's place with those headers. */
void st_answer(struct sim_request *r, int status, const char *version, json_t *v);
/* ---- stripe_api.c, stripe_auth.c, stripe_list.c, stripe_search.c ---- */

struct st_call {
    struct sim_request *r;
    struct stripe_sim *app;
    struct st_key *key;
    struct st_account *account;
    struct st_mode *mode;
    const char *version;
    struct st_view view;
    char request_id[32];
};

/** Who calls; on failure the answer is already there. */
bool st_authenticate(struct st_call *c);
bool st_permitted(struct st_call *c, const struct st_class *cls, bool write);
bool st_limit(struct st_call *c, bool search);
/** The secret of the Authorization header; the caller frees it. NULL: none. */
char *st_bearer(const struct sim_request *r);
struct st_key *st_key_new(struct stripe_sim *app, const char *key, enum st_key_kind kind,
                          struct st_account *a, bool live);
struct st_key *st_key_find(struct stripe_sim *app, const char *key);
void st_key_free(struct stripe_sim *app, struct st_key *k);

/** GET of a list; fixed_owner: the id in the path (lines of an invoice), or NULL. */
void st_list(struct st_call *c, const struct st_class *cls, const char *fixed_owner);
void st_search(struct st_call *c, const struct st_class *cls);
/** Read expand[] of the call into c->view; false when refused. */
bool st_read_expand(struct st_call *c, enum st_type type, bool list);

/* ---- stripe_idempotent.c ---- */

/** Answer a POST whose Idempotency-Key was seen before; false when it is new. */
bool st_idempotent_replay(struct st_call *c);
/** Keep the answer just made for its key, if it has one. */
void st_idempotent_keep(struct st_call *c);
void st_idempotent_free(struct stripe_sim *app);

/* ---- stripe_event.c, stripe_deliver.c ---- */

/* Changes that belong together: their events go out when it ends. */
struct st_change {
    struct stripe_sim *app;
    struct st_mode *mode;
    struct sim_notify notify;
    const char *request_id; /* NULL: Stripe did it by itself */
    const char *event_type; /* sent instead of the usual one */
    struct st_record **events;
    size_t count;
};

void st_change_begin(struct st_change *ch, struct stripe_sim *app, struct st_mode *m,
                     const struct sim_notify *n);
/** Make an event about obj (taken, with its previous attributes, which may be NULL). */
struct st_record *st_event(struct st_change *ch, const char *type, struct st_record *rec,
                           json_t *obj, json_t *previous);
void st_change_end(struct st_change *ch);
/** Send an event to the endpoints that want it. */
void st_deliver(struct st_change *ch);
/** Drop events that are too old or too many. */
void st_events_trim(struct st_mode *m, int64_t now_s);
/** Secrets an endpoint signs with now: the array in its record. */
json_t *st_endpoint_json(struct stripe_sim *app, struct st_account *a, json_t *config,
                         const char **error);

/* ---- stripe_change.c: changes with their events ---- */

/** Create; fields is lent. NULL with *error set (lent) when they do not make sense. */
struct st_record *st_create(struct st_change *ch, enum st_type type, json_t *fields,
                            const char **error);
const char *st_update(struct st_change *ch, struct st_record *rec, json_t *patch);
void st_delete(struct st_change *ch, struct st_record *rec);
/** Bill a subscription now: an invoice of that status ("paid", "open") with its payment. */
struct st_record *st_bill(struct st_change *ch, struct st_record *sub, const char *status);

/* ---- stripe_seed.c ---- */
void st_seed(struct stripe_sim *app, struct st_mode *m, size_t customers,
             double subscriptions_per_customer);
/** An invoice with lines, intent, charge and payment for a subscription. */
struct st_record *st_seed_invoice(struct stripe_sim *app, struct st_mode *m,
                                  struct st_record *sub, const char *status, int64_t created);

/* ---- stripe_oauth.c ---- */
void st_oauth_init(struct stripe_sim *app);
void st_oauth_free(struct stripe_sim *app);
/** Authorize pages, token, deauthorize; false when the path is none of them. */
bool st_oauth_handle(struct sim_request *r);
void st_oauth_control(struct sim_request *r, const char *tail, json_t *body);
/** The platform's access to an account ends, with its event. */
void st_oauth_deauthorize(struct stripe_sim *app, struct st_account *a, bool live,
                          const struct sim_notify *n);

#endif
