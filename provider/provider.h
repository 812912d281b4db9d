/* What the product asks of a provider, without I/O: requests out, answers in. The caller owns
 * sockets, clocks, quotas and the database. A third provider is one file that fills this
 * struct, one line in provider.c, and sql/provider_<name>.sql. */
#ifndef PROVIDER_PROVIDER_H
#define PROVIDER_PROVIDER_H

#include "common/err.h"
#include "common/http.h"
#include "provider/record.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- what it has ---- */
struct quota_family {
    const char *name; /* "general", "search", "associations"; Stripe: one per list endpoint */
    int limit, window_ms; /* the provider's rule: at most limit calls in any window */
    double rate_per_s;    /* ours: burst + rate x window <= limit, with room for jitter */
    int burst;
};

enum object_flags {
    OBJECT_DEFAULT = 1,    /* mirrored unless switched off */
    OBJECT_ROOT = 2,       /* customer fields derive from it (company; Stripe customer) */
    OBJECT_SELF = 4,       /* a root whose raw alone is enough to derive from */
    OBJECT_LISTED = 8,     /* a full run reads it by pages of the whole type */
    OBJECT_SCOPED = 16,    /* a full run reads it by ids: members of the mirrored scope */
    OBJECT_RELATED = 32,   /* read by ids that another object's answer named (contacts) */
    OBJECT_DATED = 64,     /* its list comes newest first and can be bounded by creation */
    OBJECT_FILTERED = 128, /* listed as a whole; inside() tells which are in the scope */
    OBJECT_SHARED = 256,   /* many roots derive from it, which ones others say (a price) */
};

struct object_type {
    const char *name;        /* "company": in units, SQL, commands */
    const char *plural;      /* "companies" */
    int batch_max;           /* records per read-by-id call; 1 = one call each */
    int page_max;            /* records per page of a listing */
    const char *read_family; /* quota of reads by id */
    const char *list_family;
    unsigned flags;
    int months; /* a full run reads what was created within so many; 0 = everything */
    /* OBJECT_RELATED: what the queue calls the question which of them belong to others, and its
     * quota. The name ends in "-links". */
    const char *links_name, *links_family;
};

/* ---- webhooks ---- */
struct hook {
    const char *method;
    const char
        *public_url;   /* as the provider called it: PUBLIC_URL less a trailing slash + path */
    struct slice body; /* raw bytes */
    /* Value of a header by its lower-case name; NULL when absent. */
    const char *(*header)(const void *request, const char *name);
    const void *request;
};

/* Secrets to try, newest first. Lent. */
struct secret_list {
    const struct slice *secrets;
    int count;
};

/* One thing a delivery told us to look at. */
struct hook_item {
    char account[64];   /* portal id or acct_...; "" = that of the endpoint */
    const char *mode;   /* static: "live", "test", or "" when the provider has none */
    const char *object; /* static object_type name; "" = the connection itself;
                           NULL = nothing of ours (counted) */
    char id[RECORD_ID_MAX_BYTES + 1];
    char hint[RECORD_ID_MAX_BYTES +
              24];      /* "", privacy_deleted, merged_into=<id>, deauthorized */
    char event_id[128]; /* identity for receipts and de-duplication */
    char event_type[80];
    int64_t occurred_at_ms;
    bool import; /* part of a bulk import, and a catch-up finds it as well */
};
struct hint_list {
    struct hook_item *items;
    size_t count, cap;
};
void hint_list_release(struct hint_list *l);
/** Append a zeroed item; NULL = no memory or over 10,000. Good until the next add. */
struct hook_item *hint_list_add(struct hint_list *l);

/* ---- a connection as its provider needs to see it. All lent, NUL-terminated, never NULL. ----
 */
struct provider_conn {
    const char *api_base; /* no trailing slash */
    const char *api_version;
    const char *account; /* "" before the first check */
    const char *mode;    /* "live" or "test" */
    const char *access_token;
    const char *refresh_token;
    const char *client_id, *client_secret; /* the app's */
    const char *token_url;                 /* "" = the provider's default under api_base */
    const char *app_id, *developer_key;    /* HubSpot's, for the app's subscriptions; or "" */
    const char *oauth_kind;                /* Stripe: "app" or "connect"; else "" */
    const char *scope_kind;                /* of the provider's scope_kinds; "" = all */
    const char *scope_id;
    const char *const *properties; /* source properties the mapping needs */
    int property_count;
    int associations_batch_max; /* HubSpot; 0 = 100 */
};

/* ---- asks ---- */
enum ask_kind {
    ASK_RECORDS, /* ids of one type -> FOUND / GONE / MERGED / FAILED for each id */
    ASK_PAGE,    /* a page of a listing of object, from cursor, in [created_from, created_to) */
    ASK_SCOPE_PAGE, /* a page of ids (REF) in the mirrored scope, from cursor; total = its size
                     */
    ASK_RELATED,    /* ids -> REF of related_object that belong to them (contacts of
                       companies); other_id = the asked id */
    ASK_CHANGED_SINCE, /* REF of what changed in [since_ms, until_ms], of object, from cursor */
    ASK_MEMBERSHIP,    /* one id -> REF when it is in the mirrored scope, GONE when not */
    ASK_SCOPE_JOINS, /* a page of REF in the order they joined the mirrored list, from cursor */
    ASK_SCOPE_INFO,  /* facts {list:{id,name,object_type,size,deleted}}; a list that is gone is
                        ET_LIST_NOT_FOUND */
    ASK_SCOPE_CHOICES, /* what scope_kind may name: facts {choices:[{id,name,processing,size,
                          changed_at}], more}; of lists those whose name has the text */
    ASK_ACCOUNT, /* who are we: facts {account, name, mode, time_zone, ui_domain, currency} */
    ASK_TOKEN_CODE, /* code -> facts {access_token, refresh_token, expires_in, account, scopes}
                     */
    ASK_TOKEN_REFRESH, /* the same from the refresh token */
    ASK_REVOKE,        /* tell the provider that we leave */
    ASK_SCHEMA,      /* facts {properties:[{name,label,type,calculated,options}], list:{...}} */
    ASK_HOOK_STATUS, /* the endpoint of hook_url: facts {supported, found, id, status, enabled,
                        api_version, version_ok, missing:[event types]}, and problem (a
                        sentence, "" = none) where the provider knows better words */
    ASK_HOOK_REPAIR, /* makes it what it should be: the same, and secret when it was made */
};

struct ask {
    enum ask_kind kind;
    const struct object_type *object;
    const struct object_type *related_object;
    const char *const *ids;
    int id_count;
    const char *cursor;                   /* NULL = from the start */
    int page_max;                         /* 0 = the type's */
    int64_t created_from_s, created_to_s; /* 0 = open */
    int64_t since_ms, until_ms;
    const char *code, *redirect_uri;
    const char *text;           /* SCOPE_CHOICES: part of a name; NULL = any */
    const char *hook_url;       /* of the webhook endpoint */
    const char *const *objects; /* HOOK asks: names of the mirrored types, ends with NULL;
                                   NULL = the provider's defaults */
    bool hook_replace;          /* REPAIR: make a new endpoint, its secret is not known */
    bool undelivered;           /* CHANGED_SINCE: only what deliveries failed for */
};

/* Where a multi-call ask stands. Zero-initialise; ask_state_release() when done. */
struct ask_state {
    int step;      /* the provider's own */
    int calls;     /* requests planned so far */
    json_t *facts; /* result of ASK_ACCOUNT, TOKEN, SCHEMA, HOOK: an object */
    void *data;    /* the provider's own, freed by data_free */
    void (*data_free)(void *data);
};
void ask_state_release(struct ask_state *s);

enum plan_result { PLAN_ERROR = -1, PLAN_DONE = 0, PLAN_CALL = 1 };

/* What derive() may want to know. */
struct derive_policy {
    int64_t now_s;
    const char *currency; /* of the workspace, "" = the account's default */
    const char *account_currency;
    bool subtract_recurring; /* discounts that end (repeating): default true */
    bool subtract_once;      /* default false */
    bool filtered;           /* a scope is set: a root without a part in it is outside */
};

/* What an answer says of the provider's own limits. */
struct limits_told {
    double rate_per_s;               /* that keeps the limit with our burst; 0 = not said */
    int64_t daily_limit, daily_left; /* -1 = not said */
};

struct provider {
    const char *name;                  /* "stripe": webhook path, SQL key, log field */
    const char *title;                 /* "Stripe" */
    const struct object_type *objects; /* ends with name NULL; in the order a full run reads */
    const struct quota_family *quotas; /* ends with name NULL */
    int read_ration;       /* reads a month that are always granted; 0 = not rationed */
    bool hook_of_app;      /* deliveries come to one address for all accounts of our app */
    bool changes_together; /* CHANGED_SINCE without an object: of all types in one listing */
    const char *request_id_header; /* of every answer: what its support asks for */
    /* What its scope can be, separated by blanks; "all" = it need not have one. */
    const char *scope_kinds;
    /* Of an OBJECT_FILTERED type: is it inside the scope? NULL = it has no such type. */
    bool (*inside)(const json_t *record, const char *kind, const char *id);

    /* Signature of a delivery. 0, or -1 with ERR_AUTH and *type = ET_WH_SIGNATURE_INVALID,
     * _MISSING or ET_WH_TIMESTAMP_OLD. Never parses the body. */
    int (*hook_verify)(const struct hook *h, const struct secret_list *secrets, int64_t now_ms,
                       enum error_type *type, struct err *err);
    /* A verified body to items. ERR_INVALID when it is not the expected envelope. A single odd
     * event in a good envelope is an item with object NULL. */
    int (*hook_parse)(const struct hook *h, struct hint_list *out, struct err *err);

    /* A delivery that says nothing to look at, signed as the provider would: for a test of the
     * way to us. */
    int (*hook_test)(const struct provider_conn *c, const char *hook_url, struct slice secret,
                     int64_t now_ms, struct http_request *out, struct err *err);

    /* The next call of an ask (PLAN_CALL: *out is filled; initialised by the caller), or
     * PLAN_DONE, or PLAN_ERROR with err set. */
    enum plan_result (*plan)(const struct provider_conn *c, const struct ask *a,
                             struct ask_state *s, struct http_request *out, struct err *err);
    /* Take the answer of the call just planned. 0 = fine, ask plan() again. -1 = not an answer
     * to build on: *why is set (by classify, or by the shape) and the ask is over. May move the
     * body out of the response into the list. */
    int (*read)(const struct provider_conn *c, const struct ask *a, struct ask_state *s,
                struct http_response *r, struct record_list *out, struct failure *why);
    /* Any answer or fault to an error type, a wait and what the provider said. */
    void (*classify)(const struct http_request *q, const struct http_response *r,
                     struct failure *out);

    /* What the headers of an answer say of limits; out is set to "not said" before. NULL = the
     * provider never says. */
    void (*limits)(const struct http_request *q, const struct http_response *r,
                   struct limits_told *out);

    /* A root's source properties (an object of name -> string, number, null or array) from its
     * bundle. For OBJECT_SELF roots the bundle is the raw record, else what the SQL function
     * psync.<name>_bundle returns. The caller owns *out and *notes; notes (may be NULL) are
     * kept beside the result as the answer to "why is it this value". */
    int (*derive)(const json_t *bundle, const struct derive_policy *p, json_t **out,
                  json_t **notes, struct err *err);

    /* "live" or "test" of a pasted token, as far as its form says; NULL when it is none that
     * can be used (Stripe's pk_ keys, blanks inside). Static text. */
    const char *(*token_mode)(const char *token);

    /* The file by which an app of the provider subscribes to what is mirrored; NULL = it has
     * none. The caller owns *out. */
    int (*hook_manifest)(const struct provider_conn *c, const char *hook_url, json_t **out,
                         struct err *err);

    /* The mapping a new connection starts with: JSON array of {field, source, type, convert}.
     */
    const char *default_mapping;
    /* What a walk must be granted, separated by blanks; NULL = its tokens do not say what they
     * were granted. */
    const char *scopes_needed;
    /* The authorize page's URL into out, for the OAuth walk. */
    int (*authorize_url)(const struct provider_conn *c, const char *authorize_base,
                         const char *redirect_uri, const char *state, struct buf *out,
                         struct err *err);
    /* Link to the record in the provider's own page; nothing is added when there is none. */
    int (*record_url)(const struct provider_conn *c, const char *ui_domain, const char *object,
                      const char *id, struct buf *out);
};

/** All providers, ends with NULL. */
extern const struct provider *const providers[];
const struct provider *provider_find(const char *name); /* NULL = none */
/** The provider's own id of a call, from its answer; "" when it gave none. out holds
 * REQUEST_ID_MAX_BYTES. */
void provider_request_id(const struct provider *p, const struct http_response *r, char *out);
/** Can its scope be of that kind? ERR_INVALID names those that it can be. */
int provider_scope_kind(const struct provider *p, const char *kind, struct err *err) MUST_USE;
const struct object_type *provider_object(const struct provider *p,
                                          const char *name); /* NULL */

#endif
