/* Loading a connection: one query for the row, its workspace, its mapping in force and its
 * credential, which is opened here and wiped when the last reference goes. */
#include "core/connection.h"

#include "common/clock.h"

const char *const conn_state_names[] = {
    [CONN_CONNECTED] = "connected",
    [CONN_REAUTHORIZE] = "reauthorize",
    [CONN_DISCONNECTED] = "disconnected",
};

enum { TOKEN_MAX_BYTES = 16 * 1024 };

bool connection_mirrors(const struct connection *c, const struct object_type *o)
{
    if (c->objects == NULL) {
        return (o->flags & OBJECT_DEFAULT) != 0;
    }
    for (char **name = c->objects; *name != NULL; name++) {
        if (strcmp(*name, o->name) == 0) {
            return true;
        }
    }
    return false;
}

void connection_account_key(const struct connection *c, char *out, size_t out_bytes)
{
    if (c->account_id[0] == '\0') {
        /* Before the first check nobody knows the account: a limiter of its own. */
        (void)snprintf(out, out_bytes, "#%lld:%s", (long long)c->connection_id, c->mode);
    } else {
        (void)snprintf(out, out_bytes, "%s:%s", c->account_id, c->mode);
    }
}

/* ---- freeing ---- */

static void wipe(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

static void free_list(char **list)
{
    for (char **each = list; each != NULL && *each != NULL; each++) {
        free(*each);
    }
    free((void *)list);
}

struct connection *connection_ref(const struct connection *c)
{
    /* The count is no part of what const protects. */
    union {
        const struct connection *lent;
        struct connection *counted;
    } u = {.lent = c};
    u.counted->refs++;
    return u.counted;
}

void connection_free(struct connection *c)
{
    if (c == NULL || --c->refs > 0) {
        return;
    }
    char *texts[] = {c->workspace,     c->mode,         c->account_id,     c->account_name,
                     c->state_code,    c->state_reason, c->scope_kind,     c->scope_id,
                     c->scope_name,    c->tz,           c->currency,       c->account_currency,
                     c->default_owner, c->ui_domain,    c->credential_kind};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        free(texts[i]);
    }
    wipe(c->access_token);
    wipe(c->refresh_token);
    free_list(c->objects);
    free_list(c->plans);
    free_list(c->owners);
    mapping_free(c->mapping);
    json_decref(c->enum_labels);
    free(c);
}

void connection_freep(struct connection **c)
{
    connection_free(*c);
    *c = NULL;
}

/* ---- loading ---- */

/* In the order of the SELECT below. */
enum {
    COL_WORKSPACE_ID,
    COL_VERSION,
    COL_PROVIDER,
    COL_WORKSPACE,
    COL_MODE,
    COL_ACCOUNT_ID,
    COL_ACCOUNT_NAME,
    COL_SHARD,
    COL_STATE,
    COL_STATE_CODE,
    COL_STATE_REASON,
    COL_PAUSED,
    COL_SCOPE_KIND,
    COL_SCOPE_ID,
    COL_SCOPE_NAME,
    COL_SCOPE_SIZE,
    COL_OBJECTS,
    COL_MAPPING,
    COL_MAPPING_VERSION,
    COL_ENUM_LABELS,
    COL_TZ,
    COL_CURRENCY,
    COL_ACCOUNT_CURRENCY,
    COL_DEFAULT_OWNER,
    COL_UI_DOMAIN,
    COL_PLANS,
    COL_OWNERS,
    COL_MATCH_PERSONAL,
    COL_BILLING_SIGNAL_ONLY,
    COL_HAS_CRM,
    COL_SUBTRACT_RECURRING,
    COL_SUBTRACT_ONCE,
    COL_CREDENTIAL_KIND,
    COL_ACCESS_TOKEN,
    COL_REFRESH_TOKEN,
    COL_CREDENTIAL_VERSION,
    COL_EXPIRES_AT,
    COL_TOKEN_LIFE,
    COL_WATERMARK_AT,
};

static const char *const load_sql =
    "SELECT c.workspace_id, c.version, c.provider, w.name, c.mode, c.account_id,"
    " c.account_name, c.shard, c.state, c.state_code, c.state_reason, c.paused_at IS NOT NULL,"
    " coalesce(c.scope_kind, ''), coalesce(c.scope_id, ''), coalesce(c.scope_name, ''),"
    " coalesce(c.scope_size, -1), to_jsonb(c.objects), m.fields, coalesce(m.version, 0),"
    " coalesce(c.settings ->> 'enum_labels', '{}'), w.tz,"
    " coalesce(w.currency, ''), lower(coalesce(c.account ->> 'currency', '')),"
    " coalesce(w.default_owner, ''), coalesce(c.account ->> 'ui_domain', ''),"
    " to_jsonb(w.plans), to_jsonb(w.owners),"
    " coalesce((w.settings ->> 'match_personal_emails')::boolean, false),"
    " coalesce((w.settings ->> 'billing_signal_only')::boolean, false),"
    " EXISTS (SELECT FROM psync.connection o WHERE o.workspace_id = c.workspace_id"
    "  AND o.provider = ANY ($2::text[])"
    "  AND (o.scope_kind IS NOT NULL OR o.state <> 'disconnected')),"
    " coalesce((w.settings ->> 'mrr_subtract_recurring')::boolean, true),"
    " coalesce((w.settings ->> 'mrr_subtract_once')::boolean, false),"
    " coalesce(k.kind, ''), k.access_token, k.refresh_token, coalesce(k.version, 0),"
    " (extract(epoch FROM k.expires_at) * 1000)::bigint,"
    " (extract(epoch FROM k.expires_at - k.updated_at) * 1000)::bigint,"
    " (extract(epoch FROM c.watermark_at) * 1000)::bigint "
    "FROM psync.connection c JOIN psync.workspace w USING (workspace_id) "
    "LEFT JOIN psync.credential k USING (connection_id) "
    "LEFT JOIN LATERAL (SELECT fields, version FROM psync.mapping m"
    " WHERE m.connection_id = c.connection_id ORDER BY version DESC LIMIT 1) m ON true "
    "WHERE c.connection_id = $1";

/* Providers whose roots make customers by themselves. */
static void add_crm_providers(struct params *p)
{
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; providers[i] != NULL; i++) {
        const struct object_type *o = providers[i]->objects;
        while (o->name != NULL && (o->flags & OBJECT_SELF) == 0) {
            o++;
        }
        if (o->name != NULL) {
            params_array_text(p, providers[i]->name, strlen(providers[i]->name));
        }
    }
    params_array_end(p);
}

/* A JSON array of strings to a list that ends with NULL; NULL for SQL NULL. */
static char **text_list(const struct rows *r, int column, bool *failed)
{
    if (rows_is_null(r, 0, column)) {
        return NULL;
    }
    json_auto_t *array = json_loads(rows_text(r, 0, column), 0, NULL);
    char **list = calloc(json_array_size(array) + 1, sizeof *list);
    if (list == NULL) {
        *failed = true;
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *text = json_string_value(json_array_get(array, i));
        list[i] = strdup(text != NULL ? text : "");
        if (list[i] == NULL) {
            *failed = true;
            break;
        }
    }
    return list;
}

static enum conn_state state_of(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(conn_state_names); i++) {
        if (strcmp(conn_state_names[i], name) == 0) {
            return (enum conn_state)i;
        }
    }
    return CONN_DISCONNECTED;
}

static int fill_texts(struct connection *c, const struct rows *r, struct err *err)
{
    const struct {
        char **to;
        int column;
    } texts[] = {
        {&c->workspace, COL_WORKSPACE},
        {&c->mode, COL_MODE},
        {&c->account_id, COL_ACCOUNT_ID},
        {&c->account_name, COL_ACCOUNT_NAME},
        {&c->state_code, COL_STATE_CODE},
        {&c->state_reason, COL_STATE_REASON},
        {&c->scope_kind, COL_SCOPE_KIND},
        {&c->scope_id, COL_SCOPE_ID},
        {&c->scope_name, COL_SCOPE_NAME},
        {&c->tz, COL_TZ},
        {&c->currency, COL_CURRENCY},
        {&c->account_currency, COL_ACCOUNT_CURRENCY},
        {&c->default_owner, COL_DEFAULT_OWNER},
        {&c->ui_domain, COL_UI_DOMAIN},
        {&c->credential_kind, COL_CREDENTIAL_KIND},
    };
    bool failed = false;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        *texts[i].to = strdup(rows_text(r, 0, texts[i].column));
        failed = failed || *texts[i].to == NULL;
    }
    c->objects = text_list(r, COL_OBJECTS, &failed);
    c->plans = text_list(r, COL_PLANS, &failed);
    c->owners = text_list(r, COL_OWNERS, &failed);
    if (failed) {
        err_set(err, ERR_NOMEM, "out of memory for a connection");
        return -1;
    }
    return 0;
}

/* A sealed column to its text; "" for NULL, and where the caller has no keys. */
static char *unseal(const struct connection *c, const struct seal *seal, const struct rows *r,
                    int column, const char *name, struct err *err)
{
    size_t len = 0;
    unsigned char *sealed = seal != NULL ? rows_bytea(r, 0, column, &len) : NULL;
    struct buf text;
    char *out = NULL;
    buf_init(&text, TOKEN_MAX_BYTES);
    if (sealed == NULL) {
        out = strdup("");
    } else if (seal_open(seal, c->connection_id, name,
                         (struct slice){(const char *)sealed, len}, &text, err) != 0) {
        goto done;
    } else {
        out = buf_take(&text);
        out = out != NULL ? out : strdup("");
    }
    if (out == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a credential");
    }
done:
    buf_release(&text);
    free(sealed);
    return out;
}

static int fill(struct connection *c, const struct seal *seal, const struct rows *r,
                struct err *err)
{
    c->workspace_id = rows_int(r, 0, COL_WORKSPACE_ID);
    c->version = rows_int(r, 0, COL_VERSION);
    c->provider = provider_find(rows_text(r, 0, COL_PROVIDER));
    c->shard = (int)rows_int(r, 0, COL_SHARD);
    c->state = state_of(rows_text(r, 0, COL_STATE));
    c->paused = rows_bool(r, 0, COL_PAUSED);
    c->scope_size = rows_int(r, 0, COL_SCOPE_SIZE);
    c->mapping_version = (int)rows_int(r, 0, COL_MAPPING_VERSION);
    c->match_personal_emails = rows_bool(r, 0, COL_MATCH_PERSONAL);
    c->billing_signal_only = rows_bool(r, 0, COL_BILLING_SIGNAL_ONLY);
    c->has_crm = rows_bool(r, 0, COL_HAS_CRM);
    c->subtract_recurring = rows_bool(r, 0, COL_SUBTRACT_RECURRING);
    c->subtract_once = rows_bool(r, 0, COL_SUBTRACT_ONCE);
    c->credential_version = rows_int(r, 0, COL_CREDENTIAL_VERSION);
    c->expires_at_ms = rows_int(r, 0, COL_EXPIRES_AT);
    c->token_life_ms = rows_int(r, 0, COL_TOKEN_LIFE);
    c->watermark_at_ms = rows_int(r, 0, COL_WATERMARK_AT);
    c->loaded_at_mono_ms = clock_mono_ms();
    if (c->provider == NULL) {
        err_set(err, ERR_CONFIG, "provider '%s' is not known to this version",
                rows_text(r, 0, COL_PROVIDER));
        return -1;
    }
    if (fill_texts(c, r, err) != 0) {
        return -1;
    }
    if (!rows_is_null(r, 0, COL_MAPPING)) {
        c->mapping = mapping_parse_stored(rows_text(r, 0, COL_MAPPING), err);
        if (c->mapping == NULL) {
            return -1;
        }
    }
    c->enum_labels = json_loads(rows_text(r, 0, COL_ENUM_LABELS), 0, NULL);
    c->access_token = unseal(c, seal, r, COL_ACCESS_TOKEN, "access_token", err);
    if (c->access_token == NULL) {
        return -1;
    }
    c->refresh_token = unseal(c, seal, r, COL_REFRESH_TOKEN, "refresh_token", err);
    return c->refresh_token == NULL ? -1 : 0;
}

struct connection *connection_load(struct store *s, const struct seal *seal,
                                   int64_t connection_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a connection");
        goto fail;
    }
    c->refs = 1;
    c->connection_id = connection_id;
    params_int(p, connection_id);
    add_crm_providers(p);
    if (store_query(s, load_sql, p, &r, err) != 0) {
        goto fail;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "no connection %lld", (long long)connection_id);
        goto fail;
    }
    if (fill(c, seal, r, err) != 0) {
        err_wrap(err, "connection %lld", (long long)connection_id);
        goto fail;
    }
    return c;

fail:
    connection_free(c);
    return NULL;
}

/* ---- the cache ---- */

/* A worker sees a few dozen connections in any second; a list that drops what is old on the
 * way through is enough. */
struct entry {
    struct connection *conn;
};

struct connection_cache {
    struct store *store;
    const struct seal *seal;
    int64_t max_age_ms;
    struct entry *entries;
    size_t count, cap;
};

struct connection_cache *connection_cache_new(struct store *s, const struct seal *seal,
                                              int64_t max_age_ms)
{
    struct connection_cache *cache = calloc(1, sizeof *cache);
    if (cache != NULL) {
        cache->store = s;
        cache->seal = seal;
        cache->max_age_ms = max_age_ms;
    }
    return cache;
}

static void drop_at(struct connection_cache *cache, size_t i)
{
    connection_free(cache->entries[i].conn);
    cache->entries[i] = cache->entries[--cache->count];
}

void connection_cache_free(struct connection_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    while (cache->count > 0) {
        drop_at(cache, cache->count - 1);
    }
    free(cache->entries);
    free(cache);
}

void connection_cache_drop(struct connection_cache *cache, int64_t connection_id)
{
    for (size_t i = cache->count; i > 0; i--) {
        if (cache->entries[i - 1].conn->connection_id == connection_id) {
            drop_at(cache, i - 1);
        }
    }
}

static int keep(struct connection_cache *cache, struct connection *c)
{
    if (cache->count == cache->cap) {
        size_t cap = cache->cap == 0 ? 16 : cache->cap * 2;
        struct entry *grown = reallocarray(cache->entries, cap, sizeof *grown);
        if (grown == NULL) {
            return -1;
        }
        cache->entries = grown;
        cache->cap = cap;
    }
    cache->entries[cache->count++].conn = c;
    return 0;
}

struct connection *connection_cache_get(struct connection_cache *cache, int64_t connection_id,
                                        struct err *err)
{
    int64_t now = clock_mono_ms();
    for (size_t i = cache->count; i > 0; i--) {
        if (now - cache->entries[i - 1].conn->loaded_at_mono_ms >= cache->max_age_ms) {
            drop_at(cache, i - 1);
        }
    }
    for (size_t i = 0; i < cache->count; i++) {
        if (cache->entries[i].conn->connection_id == connection_id) {
            cache->entries[i].conn->refs++;
            return cache->entries[i].conn;
        }
    }
    struct connection *c = connection_load(cache->store, cache->seal, connection_id, err);
    if (c == NULL) {
        return NULL;
    }
    /* Another task may have loaded it during the query. */
    connection_cache_drop(cache, connection_id);
    if (keep(cache, c) == 0) {
        c->refs++;
    }
    return c;
}
