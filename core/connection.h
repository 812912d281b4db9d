/* A connection as the product sees it: one workspace, one provider, one mode. Loaded from
 * PostgreSQL with everything that fetching and saving need, cached for a moment. */
#ifndef CORE_CONNECTION_H
#define CORE_CONNECTION_H

#include "common/err.h"
#include "common/seal.h"
#include "common/store.h"
#include "core/mapping.h"
#include "provider/provider.h"

#include <stdbool.h>
#include <stdint.h>

enum conn_state { CONN_CONNECTED, CONN_REAUTHORIZE, CONN_DISCONNECTED };
extern const char *const conn_state_names[]; /* "connected", "reauthorize", "disconnected" */

struct connection {
    int64_t connection_id, workspace_id, version;
    int refs; /* connection_free() drops one */
    int64_t loaded_at_mono_ms;
    const struct provider *provider;
    char *workspace, *mode, *account_id, *account_name;
    int shard;
    enum conn_state state;
    char *state_code, *state_reason;
    bool paused;
    /* scope; kind "" = everything the provider lists */
    char *scope_kind, *scope_id, *scope_name;
    int64_t scope_size; /* -1 = unknown */
    char **objects;     /* mirrored object types, ends with NULL; NULL = the defaults */
    /* mapping in force */
    struct mapping *mapping; /* NULL = none yet */
    int mapping_version;
    json_t *enum_labels; /* property -> {value: label}, of lines that ask for labels */
    /* workspace */
    char *tz, *currency, *account_currency, *default_owner, *ui_domain;
    char **plans, **owners;                                   /* NULL = any */
    bool match_personal_emails, billing_signal_only, has_crm; /* has_crm: the workspace has a
                                       connection whose provider's roots make customers */
    bool subtract_recurring, subtract_once;
    /* credential, unsealed; wiped when freed */
    char *credential_kind; /* "token", "oauth", "" = none */
    char *access_token, *refresh_token;
    int64_t credential_version, expires_at_ms; /* 0 = never */
    int64_t token_life_ms;                     /* from its issue to its end; 0 = unknown */
    int64_t watermark_at_ms;                   /* 0 = none */
};

/** True when that object type is mirrored here. */
bool connection_mirrors(const struct connection *c, const struct object_type *o);
/** Key of the shared limiter: provider account and mode, "acct_1:test". */
void connection_account_key(const struct connection *c, char *out, size_t out_bytes);

/** Load one, fresh. ERR_NOT_FOUND when there is none. The caller owns a reference. */
struct connection *connection_load(struct store *s, const struct seal *seal,
                                   int64_t connection_id, struct err *err) MUST_USE;
/** One more reference to what is lent: it is counted, not changed. */
struct connection *connection_ref(const struct connection *c);
void connection_free(struct connection *c);
void connection_freep(struct connection **c);

enum { CONNECTION_CACHE_MS = 2000 }; /* how old a worker's copy may be */

/* A small cache for workers: an entry younger than max_age_ms is lent again. */
struct connection_cache;
struct connection_cache *connection_cache_new(struct store *s, const struct seal *seal,
                                              int64_t max_age_ms) MUST_USE;
void connection_cache_free(struct connection_cache *cache);
/** A reference (connection_free). */
struct connection *connection_cache_get(struct connection_cache *cache, int64_t connection_id,
                                        struct err *err) MUST_USE;
void connection_cache_drop(struct connection_cache *cache, int64_t connection_id);

#endif
