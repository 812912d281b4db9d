/*
 * The HubSpot half: one app, many portals. Seeded records are not stored field by field: a
 * record knows its index, and a value that nobody has changed is computed from it, so that
 * 100,000 companies start in a moment and need little memory.
 */
#ifndef PIVOTAL_SYNC_SIM_HUBSPOT_H
#define PIVOTAL_SYNC_SIM_HUBSPOT_H

#include "sim.h"

#include <uthash.h>

enum hs_type { HS_CONTACTS, HS_COMPANIES, HS_DEALS, HS_TICKETS, HS_TYPES };

/* What a seeded value is made of; HS_SLOT_NONE: only what was set by hand. */
enum hs_slot {
    HS_SLOT_NONE,
    HS_SLOT_OBJECT_ID,
    HS_SLOT_CREATED,
    HS_SLOT_MODIFIED,
    HS_SLOT_NAME,
    HS_SLOT_DOMAIN,
    HS_SLOT_WEBSITE,
    HS_SLOT_INDUSTRY,
    HS_SLOT_STAGE,
    HS_SLOT_EMPLOYEES,
    HS_SLOT_REVENUE,
    HS_SLOT_MRR,
    HS_SLOT_ARR,
    HS_SLOT_PLAN,
    HS_SLOT_OWNER,
    HS_SLOT_CITY,
    HS_SLOT_COUNTRY,
    HS_SLOT_PHONE,
    HS_SLOT_RENEWAL,
    HS_SLOT_KEY_ACCOUNT,
    HS_SLOT_TAGS,
    HS_SLOT_HEALTH,
    HS_SLOT_FIRST,
    HS_SLOT_LAST,
    HS_SLOT_EMAIL,
    HS_SLOT_JOB,
    HS_SLOT_DEAL_NAME,
    HS_SLOT_AMOUNT,
    HS_SLOT_PIPELINE,
    HS_SLOT_DEAL_STAGE,
};

/* A property definition. */
struct hs_def {
    char *name;
    json_t *json; /* as the properties API shows it */
    enum hs_slot slot;
    bool calculated;
    bool archived;
    size_t order;
    UT_hash_handle hh;
};

struct hs_object {
    int64_t id;
    int64_t seed;    /* index of a seeded record, -1 = made by hand */
    json_t *props;   /* what was set: string or null; NULL = nothing */
    json_t *history; /* {name: [{value,timestamp,...} newest first]}; NULL = never changed */
    json_t *raw;     /* {name: raw JSON text} instead of the value; NULL = none */
    json_t *raw_hex;
    char *raw_record; /* the whole record as raw text */
    int64_t created_ms;
    int64_t updated_ms;
    int64_t indexed_ms;       /* updated_ms as search still sees it; 0 = not at all */
    int64_t searchable_at_ms; /* from then on search sees updated_ms */
    int64_t archived_ms;      /* 0 = live */
    bool purged;
    int64_t merged_into; /* 0 = not merged */
};

struct hs_table {
    struct hs_object **items; /* ascending id */
    size_t count;
    size_t cap;
    size_t live;
    int64_t next_id;
    struct hs_def *defs; /* by name, in order of definition */
};

struct hs_member {
    int64_t id;
    int64_t joined_ms;
    int64_t first_joined_ms;
};

struct hs_list {
    struct hs_list *next;
    char *id;
    char *name;
    char *object_type_id;
    char *processing_type;
    char *processing_status;
    char *filter_property; /* DYNAMIC: members have this ... */
    char *filter_value;
    int64_t created_ms;
    int64_t updated_ms;
    int64_t deleted_ms;
    struct hs_member *members; /* ascending id */
    size_t count;
    size_t cap;
    struct hs_member *by_join; /* ascending (joined_ms, id); NULL = to be made */
};

struct hs_link {
    int64_t to;
    bool primary;
};

/* All associations of one record to one type. */
struct hs_links {
    char key[64];          /* "1:123:0" from type, id, to type */
    struct hs_link *items; /* ascending id */
    size_t count;
    size_t cap;
    UT_hash_handle hh;
};

struct hs_portal {
    struct hs_portal *next;
    struct hs_app *app;
    int64_t id;
    struct hs_table tables[HS_TYPES];
    struct hs_list *lists; /* in order of creation */
    int64_t next_list_id;
    struct hs_links *links;
    json_t *owners;
    int64_t next_owner_id;
    json_t *pipelines; /* deals */
    json_t *settings;  /* every setting, see hubspot_portal.c */
    bool installed;
    bool user_removed;
    size_t seeded[HS_TYPES];
    size_t seeded_members;
    int64_t day;
    int64_t calls_today;
};

struct hs_token {
    char *token;
    struct hs_portal *portal; /* NULL: the app's own (client credentials) */
    bool is_static;
    bool refresh; /* a refresh token, not an access token */
    bool revoked;
    json_t *scopes;
    int64_t expires_at_ms; /* 0 = never */
    int64_t issued_at_ms;
    UT_hash_handle hh;
};

struct hs_code {
    struct hs_code *next;
    char *code;
    char *redirect_uri;
    json_t *scopes;
    struct hs_portal *portal;
    int64_t expires_at_ms;
    bool used;
};

struct hs_hook_config {
    char *url;
    char *public_url;
    char *client_secret;
    bool v1;
    bool v3;
    bool disabled;
    bool listed;              /* only subscriptions created by the API */
    bool retry_new_ids;       /* a retry carries fresh eventIds */
    bool retry_old_timestamp; /* a retry repeats the first timestamp and signature */
    int64_t batch_max;
    int64_t max_inflight;
    int64_t timeout_ms;
};

struct hs_app {
    struct sim *sim;
    char *client_id;
    char *client_secret;
    char *developer_key;
    int64_t app_id;
    struct hs_portal *portals;
    struct hs_token *tokens; /* access and refresh tokens */
    struct hs_code *codes;
    int64_t serial; /* of made tokens and codes */
    bool deny;
    json_t *withhold;    /* scopes that the user does not grant, NULL = none */
    int64_t pick_portal; /* which account the user picks; 0 = the first */
    struct hs_hook_config hooks;
    json_t *journal; /* array of journal files, oldest first */
    int64_t journal_offset;
    json_t *subscriptions; /* array of subscription objects */
    int64_t next_subscription;
    int64_t next_event;
    char *target_url; /* settings of the webhooks API */
    int64_t concurrent;
    int64_t settings_at_ms;
};

/* One call by the product. */
struct hs_call {
    struct sim_request *r;
    struct hs_app *app;
    struct hs_portal *p;
    struct hs_token *token;
    char *text;    /* the path, cut up */
    char *seg[16]; /* after family and version */
    int n;
    bool dated_2026_09;
    bool v3;
};

/* ---- hubspot_errors.c ---- */

/** status, category (NULL = none) and a message by printf rules, with correlation id. */
void hs_error(struct sim_request *r, int status, const char *category, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/** 400 VALIDATION_ERROR. */
void hs_invalid(struct sim_request *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/** 403 MISSING_SCOPES naming the scope. */
void hs_missing_scope(struct sim_request *r, const char *scope);
/** The id that this answer carries in header and body; made on first use. */
const char *hs_correlation(struct sim_request *r);
/** A path nobody knows: HTML, as a gateway answers. */
void hs_unknown_path(struct sim_request *r);

/* ---- hubspot_portal.c: portals, settings, records ---- */

struct hs_portal *hs_portal_new(struct hs_app *app, int64_t id);
void hs_portal_free(struct hs_portal *p);
struct hs_portal *hs_portal_find(struct hs_app *app, int64_t id);
int64_t hs_int(const struct hs_portal *p, const char *setting);
bool hs_flag(const struct hs_portal *p, const char *setting);
bool hs_is(const struct hs_portal *p, const char *setting, const char *value);
/** Merge settings; NULL or what is wrong (lent). */
const char *hs_settings_patch(struct hs_portal *p, json_t *patch);

/** "companies", "company", "0-2", ...; HS_TYPES when unknown. */
enum hs_type hs_type_of(const char *word);
const char *hs_plural(enum hs_type t);   /* "companies" */
const char *hs_singular(enum hs_type t); /* "company" */
const char *hs_type_id(enum hs_type t);  /* "0-2" */
const char *hs_modified_name(enum hs_type t);

struct hs_object *hs_find(const struct hs_table *t, int64_t id);
/** Index of the first record with an id >= id. */
size_t hs_lower(const struct hs_table *t, int64_t id);
/** id 0 = the next one. NULL when the id is taken. */
struct hs_object *hs_object_new(struct hs_table *t, int64_t id, int64_t now_ms);
struct hs_def *hs_def_find(const struct hs_table *t, const char *name);
/** Parse a decimal id; -1 when it is none. */
int64_t hs_parse_id(const char *text);

/** The value of a property: lent, or written to scratch; NULL = none. */
enum { HS_SCRATCH = 128 };
const char *hs_value(const struct hs_portal *p, enum hs_type t, const struct hs_object *o,
                     const struct hs_def *d, char *scratch);
/** Set or clear one value, with history. */
void hs_set(struct hs_portal *p, enum hs_type t, struct hs_object *o, const char *name,
            const char *value, int64_t at_ms, const char *source);
/** The record changed now: move its timestamp and the index. */
void hs_touch(struct hs_portal *p, struct hs_object *o, int64_t at_ms);

/* ---- hubspot_seed.c ---- */

void hs_seed_defs(struct hs_portal *p);
void hs_seed_records(struct hs_portal *p, size_t companies, size_t members, size_t contacts);
/** Value of a slot of seeded record i, in scratch; NULL = none. */
const char *hs_seeded(const struct hs_portal *p, enum hs_type t, size_t i, enum hs_slot slot,
                      char *scratch);
/** Add a definition from an API-like object; NULL or what is wrong. */
const char *hs_def_add(struct hs_table *t, json_t *json, enum hs_slot slot);

/* ---- hubspot_render.c ---- */

/* What to show of a record. */
struct hs_view {
    struct hs_def **defs;
    size_t count;
    struct hs_def **history;
    size_t history_count;
    enum hs_type associations[HS_TYPES];
    size_t association_count;
};

/** The default set, or what names asks for; each name may hold commas. */
void hs_view_default(struct hs_view *v, const struct hs_table *t, enum hs_type type);
void hs_view_all(struct hs_view *v, const struct hs_table *t);
void hs_view_names(struct hs_view *v, const struct hs_table *t, enum hs_type type,
                   const char *const *names, size_t count, bool history);
void hs_view_free(struct hs_view *v);
void hs_render(struct sim_buf *b, struct hs_portal *p, enum hs_type t,
               const struct hs_object *o, const struct hs_view *v);

/* ---- hubspot_lists.c, hubspot_assoc.c ---- */

struct hs_list *hs_list_find(const struct hs_portal *p, const char *id);
/** id NULL = the next one. */
struct hs_list *hs_list_new(struct hs_portal *p, const char *id, const char *name,
                            const char *processing, const char *object_type_id);
void hs_list_free(struct hs_list *l);
bool hs_list_has(const struct hs_list *l, int64_t id);
void hs_list_add(struct hs_list *l, int64_t id, int64_t at_ms);
bool hs_list_remove(struct hs_list *l, int64_t id, int64_t at_ms);
/** A property of the record changed: DYNAMIC lists with a filter on it follow. */
void hs_lists_follow(struct hs_portal *p, enum hs_type t, const struct hs_object *o,
                     const char *name);
/** The record is gone: it leaves every list. */
void hs_lists_forget(struct hs_portal *p, enum hs_type t, int64_t id);
json_t *hs_list_json(const struct hs_list *l, bool filters);
void hs_lists_call(struct hs_call *c);

const struct hs_links *hs_links_of(struct hs_portal *p, enum hs_type from, int64_t id,
                                   enum hs_type to);
/** Both directions. */
void hs_associate(struct hs_portal *p, enum hs_type from, int64_t from_id, enum hs_type to,
                  int64_t to_id, bool primary);
bool hs_dissociate(struct hs_portal *p, enum hs_type from, int64_t from_id, enum hs_type to,
                   int64_t to_id);
void hs_links_free(struct hs_portal *p);
void hs_associations_call(struct hs_call *c);
/** GET .../{id}/associations/{to}; seg as for objects. */
void hs_record_associations(struct hs_call *c, enum hs_type from);

/* ---- the other rooms ---- */

void hs_objects_call(struct hs_call *c);
void hs_search(struct hs_call *c, enum hs_type t);
void hs_properties_call(struct hs_call *c);
void hs_owners_call(struct hs_call *c);
void hs_pipelines_call(struct hs_call *c);
void hs_account_call(struct hs_call *c);
void hs_uninstall_call(struct hs_call *c);
/** Whether the token has the scope, or scopes are not enforced; else answers 403. */
bool hs_need_scope(struct hs_call *c, const char *scope);
bool hs_need_read(struct hs_call *c, enum hs_type t);

void hs_oauth_call(struct hs_app *app, struct sim_request *r, char **seg, int n);
struct hs_token *hs_token_find(const struct hs_app *app, const char *text);
struct hs_token *hs_token_new(struct hs_app *app, struct hs_portal *p, const char *text,
                              json_t *scopes, bool is_static);
void hs_tokens_free(struct hs_app *app);
json_t *hs_all_scopes(void);
void hs_uninstall(struct hs_portal *p);

void hs_hooks_call(struct hs_app *app, struct sim_request *r, char **seg, int n);
void hs_hooks_init(struct hs_app *app);
void hs_hooks_free(struct hs_app *app);
/** Add an event to events (an array), if there is a subscription; extra's members are added
 * (reference taken). kind is "propertyChange", ... */
void hs_event(struct hs_portal *p, json_t *events, enum hs_type t, const char *kind,
              int64_t object_id, json_t *extra);
/** Deliver and release events. */
void hs_deliver(struct hs_portal *p, json_t *events, const struct sim_notify *n);

/* ---- hubspot_journal.c ---- */

/** Publish a journal file of these entries (reference taken); nothing for an empty one. */
void hs_journal_file(struct hs_app *app, json_t *entries);
/** What these webhook events say, as a journal file. */
void hs_journal_events(struct hs_portal *p, const json_t *events);
void hs_journal_list(struct hs_portal *p, const struct hs_list *l, int64_t id, bool joined);
void hs_journal_app(struct hs_portal *p, bool installed);
/** /webhooks-journal/<seg...>. */
void hs_journal_call(struct hs_app *app, struct sim_request *r, char **seg, int n);

/* ---- hubspot_change.c: what people do in the account ---- */

/** Set properties from an object of strings and nulls; events may be NULL. */
void hs_change(struct hs_portal *p, enum hs_type t, struct hs_object *o, json_t *values,
               bool touch, int64_t at_ms, const char *source, json_t *events);
void hs_archive(struct hs_portal *p, enum hs_type t, struct hs_object *o, json_t *events);
void hs_restore(struct hs_portal *p, enum hs_type t, struct hs_object *o, json_t *events);
/** Merge losers into the winner; returns the resulting record. */
struct hs_object *hs_merge(struct hs_portal *p, enum hs_type t, struct hs_object *winner,
                           struct hs_object **losers, size_t count, bool new_id,
                           json_t *events);

#endif
