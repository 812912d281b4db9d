#include "core/connect.h"

#include "core/fetch.h"
#include "core/filter.h"
#include "core/note.h"
#include "core/rebuild.h"
#include "core/run.h"
#include "core/state.h"
#include "core/token.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Connections of one provider account share its limits, so they share its shard. */
static int connect_shard(const char *provider, const char *account, int shards)
{
    unsigned hash = 5381;
    for (const char *p = provider; *p != '\0'; p++) {
        hash = hash * 33 ^ (unsigned char)*p;
    }
    for (const char *p = account; *p != '\0'; p++) {
        hash = hash * 33 ^ (unsigned char)*p;
    }
    return (int)(hash % (unsigned)shards);
}

/* What a person's paste or a finished walk gives us. All lent. */
struct connect_grant {
    const char *kind; /* "token", "oauth" */
    const char *access_token, *refresh_token;
    int64_t expires_in_s;       /* 0 = never */
    const json_t *scopes;       /* array of texts, NULL = unknown */
    const char *account;        /* expected, NULL = the one bound to the row, or any */
    const char *webhook_secret; /* NULL = as it was */
};

int connect_row(struct app *app, const char *workspace, const char *provider, const char *mode,
                int64_t *connection_id, bool *existed, struct err *err)
{
    struct workspace_ref w;
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (lookup_workspace(app->store, workspace, &w, err) != 0) {
        return -1;
    }
    params_int(p, w.workspace_id);
    params_text(p, provider);
    params_text(p, mode);
    if (store_query(app->store,
                    "WITH made AS (INSERT INTO psync.connection (workspace_id, provider, mode)"
                    "   VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING connection_id)"
                    " SELECT connection_id, false FROM made UNION ALL"
                    " SELECT connection_id, true FROM psync.connection"
                    "   WHERE workspace_id = $1 AND provider = $2 AND mode = $3",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_CONFLICT, "another connect of %s is going on; try again", provider);
        return -1;
    }
    *connection_id = rows_int(r, 0, 0);
    *existed = rows_bool(r, 0, 1);
    return 0;
}

static void connect_undo(struct app *app, const struct connect_result *out)
{
    struct err err = {0};
    CLEANUP(params_freep) struct params *p = params_new();
    if (out->existed || out->connection_id == 0) {
        return;
    }
    params_int(p, out->connection_id);
    if (store_query(app->store,
                    "DELETE FROM psync.connection WHERE connection_id = $1"
                    "   AND state = 'disconnected' AND account_id = ''",
                    p, NULL, &err) != 0) {
        log_warn(app->log, "connect.undo", "a row without a credential is left: %s", err.msg);
    }
}

json_t *connect_ask(struct app *app, struct connection *c, const struct ask *ask,
                    struct err *err)
{
    struct record_list none;
    struct failure why;
    struct fetch f;
    json_t *facts = NULL;
    int64_t later_ms = 0;
    record_list_init(&none);
    fetch_init(&f, app, c, NULL);
    enum fetch_end end = fetch_ask(&f, ask, &none, &facts, &why, &later_ms);
    if (end == FETCH_FAILED && ask->kind == ASK_SCHEMA) {
        /* With the stored credential: what it lacks is the banner's. */
        state_after_failure(app, f.conn, &why);
    }
    fetch_release(&f);
    record_list_release(&none);
    if (end == FETCH_OK) {
        return facts != NULL ? facts : json_object();
    }
    if (end == FETCH_LATER) {
        err_set(err, ERR_RATE_LIMITED,
                "the quota of this account is used up; try again in %lld s",
                (long long)later_ms / 1000 + 1);
        return NULL;
    }
    const struct error_info *info = error_info(why.type);
    bool code_refused = ask->kind == ASK_TOKEN_CODE && why.type == ET_INVALID_REQUEST;
    enum err_code code = info->banner != BANNER_NONE || code_refused ? ERR_AUTH
                         : why.type == ET_AUTH_CLIENT_REJECTED       ? ERR_CONFIG
                         : why.type == ET_LIST_NOT_FOUND || why.type == ET_RECORD_NOT_FOUND
                             ? ERR_NOT_FOUND
                             : ERR_TEMPORARY;
    err_set(err, code, "%s (%s): %s%s%s", info->title, info->code, why.message,
            why.detail[0] != '\0' ? "; " : "", why.detail);
    return NULL;
}

static const char *connect_fact(const json_t *facts, const char *name)
{
    const char *text = json_string_value(json_object_get(facts, name));
    return text != NULL ? text : "";
}

/* Also in the log: whoever looks after the connection sees that somebody tried. */
static void connect_note_mismatch(struct app *app, const struct connect_result *out,
                                  const char *wanted)
{
    struct err err = {0};
    char text[400];
    (void)snprintf(text, sizeof text,
                   "signed in to account %s (%s), bound to %s; nothing changed", out->account,
                   out->name, wanted);
    if (note_write(app->store,
                   &(struct note){.connection_id = out->connection_id,
                                  .type = ET_AUTH_ACCOUNT_MISMATCH,
                                  .status = "failed",
                                  .trigger = "person",
                                  .message = text},
                   &err) != 0) {
        log_warn(app->log, "connect.note", "cannot log another account: %s", err.msg);
    }
}

/* Whose token is it? Fills account and name; the facts as text for the row. */
static char *connect_check(struct app *app, const struct connect_grant *g,
                           struct connect_result *out, struct err *err)
{
    CLEANUP(connection_freep)
    struct connection *c = connection_load(app->store, app->seal, out->connection_id, err);
    if (c == NULL) {
        return NULL;
    }
    snprintf(out->bound, sizeof out->bound, "%s", c->account_id);
    snprintf(out->bound_name, sizeof out->bound_name, "%s", c->account_name);
    free(c->access_token);
    free(c->credential_kind);
    c->access_token = strdup(g->access_token);
    c->credential_kind = strdup("token"); /* nothing is stored yet that could be renewed */
    if (c->access_token == NULL || c->credential_kind == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    json_t *facts = connect_ask(app, c, &(struct ask){.kind = ASK_ACCOUNT}, err);
    if (facts == NULL) {
        return NULL;
    }
    snprintf(out->account, sizeof out->account, "%s", connect_fact(facts, "account"));
    snprintf(out->name, sizeof out->name, "%s", connect_fact(facts, "name"));
    char *text = json_dumps(facts, JSON_COMPACT);
    json_decref(facts);
    if (text == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    const char *wanted = g->account != NULL && g->account[0] != '\0' ? g->account : out->bound;
    if (wanted[0] != '\0' && strcmp(wanted, out->account) != 0) {
        connect_note_mismatch(app, out, wanted);
        err_set(err, ERR_DENIED, "the token belongs to account '%s', not to '%s'", out->account,
                wanted);
        free(text);
        return NULL;
    }
    return text;
}

static void connect_scopes(struct params *p, const json_t *scopes)
{
    if (scopes == NULL) {
        params_null(p);
        return;
    }
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; i < json_array_size(scopes); i++) {
        const json_t *each = json_array_get(scopes, i);
        if (json_is_string(each)) {
            params_array_text(p, json_string_value(each), json_string_length(each));
        }
    }
    params_array_end(p);
}

static int connect_store(struct app *app, const struct provider *provider,
                         const struct connect_grant *g, const struct connect_result *out,
                         const char *facts, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(params_freep) struct params *m = params_new();
    struct buf sealed;
    int rc = -1;
    buf_init(&sealed, 8192);
    if (token_store(app, out->connection_id, g->kind, g->access_token, g->refresh_token,
                    g->expires_in_s, err) != 0) {
        goto done;
    }
    bool secret = g->webhook_secret != NULL && g->webhook_secret[0] != '\0';
    if (secret && seal_text(app->seal, out->connection_id, "webhook_secret", g->webhook_secret,
                            &sealed, err) != 0) {
        goto done;
    }
    params_int(p, out->connection_id);
    params_text(p, out->account);
    params_text(p, out->name);
    params_text(p, facts);
    params_int(p, connect_shard(provider->name, out->account, app->shards));
    params_bytea(p, secret ? sealed.bytes : NULL, sealed.len_bytes);
    connect_scopes(p, g->scopes);
    params_int(m, out->connection_id);
    params_text(m, provider->default_mapping);
    if (store_query(app->store,
                    "WITH k AS (UPDATE psync.credential SET scopes = $7, webhook_secrets = CASE"
                    "     WHEN $6::bytea IS NULL THEN webhook_secrets"
                    "     ELSE array_prepend($6, webhook_secrets[1:1]) END"
                    "   WHERE connection_id = $1)"
                    " UPDATE psync.connection SET account_id = $2, account_name = $3,"
                    "   account = $4::jsonb, shard = $5, version = version + 1"
                    " WHERE connection_id = $1",
                    p, NULL, err) != 0 ||
        store_query(app->store,
                    "INSERT INTO psync.mapping (connection_id, version, fields, note)"
                    " VALUES ($1, 1, $2::jsonb, 'default') ON CONFLICT DO NOTHING",
                    m, NULL, err) != 0) {
        goto done;
    }
    rc = 0;
done:
    buf_release(&sealed);
    return rc;
}

/* Units that stood still because of the state. */
static int connect_waiting(struct app *app, const struct connection *c, int64_t *out,
                           struct err *err)
{
    struct queue_stats q;
    *out = 0;
    if (c->state == CONN_CONNECTED) {
        return 0;
    }
    if (queue_stats(app->queue, c->connection_id, &q, err) != 0) {
        return -1;
    }
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        *out += q.waiting[lane];
    }
    *out += q.parked;
    return 0;
}

/* Everything is in place: connected, and whatever waited goes on. */
static int connect_begin(struct app *app, const struct actor *who, struct connect_result *out,
                         struct err *err)
{
    CLEANUP(connection_freep)
    struct connection *c = connection_load(app->store, app->seal, out->connection_id, err);
    char target[128];
    if (c == NULL || state_configure_queue(app, c->connection_id, err) != 0 ||
        connect_waiting(app, c, &out->released, err) != 0 ||
        state_set(app, c->connection_id, c->shard, CONN_CONNECTED, "", "", who, NULL, err) !=
            0 ||
        state_configure_queue(app, c->connection_id, err) != 0) {
        return -1;
    }
    snprintf(target, sizeof target, "%s %s", c->provider->name, out->account);
    if (action_audit(app->store, who, c->workspace_id, c->connection_id, "connection.connect",
                     target, NULL, err) != 0) {
        return -1;
    }
    connection_free(c);
    c = connection_load(app->store, app->seal, out->connection_id, err);
    if (c == NULL) {
        return -1;
    }
    if (c->watermark_at_ms > 0) {
        return rebuild_catch_up(app, c->connection_id, c->shard, "reconnect", err);
    }
    if (run_start(app, c, "person", who->name, LANE_RUN_NOW, 0, &out->run_id, err) != 0) {
        if (err->code != ERR_CONFLICT && err->code != ERR_INVALID) {
            return -1;
        }
        err_clear(err); /* running already, or its scope is still to be chosen */
    }
    return 0;
}

/* The part that a paste and a walk share: whose is it, keep it, go on. */
static int connect_with(struct app *app, const struct provider *provider,
                        const struct connect_grant *g, const struct actor *who,
                        struct connect_result *out, struct err *err)
{
    char *facts = connect_check(app, g, out, err);
    if (facts == NULL) {
        return -1;
    }
    int rc = connect_store(app, provider, g, out, facts, err);
    free(facts);
    return rc == 0 ? connect_begin(app, who, out, err) : -1;
}

int connect_token(struct app *app, const struct connect_request *q, const struct actor *who,
                  struct connect_result *out, struct err *err)
{
    const struct provider *provider = provider_find(q->provider);
    const char *mode = NULL;
    memset(out, 0, sizeof *out);
    if (provider == NULL) {
        err_set(err, ERR_INVALID, "'%s' is not a provider", q->provider);
        return -1;
    }
    mode = provider->token_mode(q->token);
    if (mode == NULL) {
        err_set(err, ERR_INVALID, "this is not a token that %s accepts here", provider->title);
        return -1;
    }
    snprintf(out->mode, sizeof out->mode, "%s", mode);
    if (connect_row(app, q->workspace, q->provider, mode, &out->connection_id, &out->existed,
                    err) != 0) {
        return -1;
    }
    const struct connect_grant g = {.kind = "token",
                                    .access_token = q->token,
                                    .refresh_token = "",
                                    .account = q->account,
                                    .webhook_secret = q->webhook_secret};
    if (connect_with(app, provider, &g, who, out, err) != 0) {
        connect_undo(app, out);
        return -1;
    }
    return 0;
}

/* All that were not granted are listed at once. */
static int connect_granted(const struct provider *provider, const json_t *scopes,
                           struct err *err)
{
    char missing[256] = "";
    size_t len = 0;
    if (provider->scopes_needed == NULL || json_array_size(scopes) == 0) {
        return 0; /* not said: the calls will tell */
    }
    for (const char *at = provider->scopes_needed; *at != '\0';) {
        size_t n = strcspn(at, " "), i;
        const json_t *granted;
        bool there = false;
        json_array_foreach(scopes, i, granted)
        {
            const char *text = json_string_value(granted);
            there = there || (text != NULL && strlen(text) == n && strncmp(text, at, n) == 0);
        }
        if (!there && len < sizeof missing) {
            len += (size_t)snprintf(missing + len, sizeof missing - len, "%s%.*s",
                                    len > 0 ? ", " : "", (int)n, at);
        }
        at += n + (at[n] != '\0');
    }
    if (missing[0] == '\0') {
        return 0;
    }
    const struct error_info *info = error_info(ET_SCOPE_MISSING);
    err_set(err, ERR_AUTH, "%s (%s): not granted were %s", info->title, info->code, missing);
    return -1;
}

int connect_oauth(struct app *app, int64_t connection_id, const char *code,
                  const char *redirect_uri, const struct actor *who, struct connect_result *out,
                  struct err *err)
{
    memset(out, 0, sizeof *out);
    CLEANUP(connection_freep)
    struct connection *c = connection_load(app->store, app->seal, connection_id, err);
    if (c == NULL) {
        return -1;
    }
    const struct provider *provider = c->provider;
    out->connection_id = connection_id;
    out->existed = c->account_id[0] != '\0';
    snprintf(out->mode, sizeof out->mode, "%s", c->mode);
    const struct ask ask = {.kind = ASK_TOKEN_CODE, .code = code, .redirect_uri = redirect_uri};
    json_t *tokens = connect_ask(app, c, &ask, err);
    if (tokens == NULL) {
        return -1;
    }
    const struct connect_grant g = {
        .kind = "oauth",
        .access_token = connect_fact(tokens, "access_token"),
        .refresh_token = connect_fact(tokens, "refresh_token"),
        .expires_in_s = json_integer_value(json_object_get(tokens, "expires_in")),
        .scopes = json_object_get(tokens, "scopes"),
    };
    const char *mode = connect_fact(tokens, "mode");
    int rc = -1;
    if (mode[0] != '\0' && strcmp(mode, c->mode) != 0) {
        err_set(err, ERR_DENIED, "%s gave a token of its %s mode, and this connection is %s",
                provider->title, mode, c->mode);
    } else if (g.access_token[0] == '\0') {
        err_set(err, ERR_PROTOCOL, "%s's token endpoint sent no access_token", provider->title);
    } else if (connect_granted(provider, g.scopes, err) == 0) {
        rc = connect_with(app, provider, &g, who, out, err);
    }
    json_decref(tokens);
    return rc;
}

/* Tell the provider that we leave: as far as it listens, and unless another connection of ours
 * lives on the same installation. A pasted token is its owner's to take back. */
static void connect_revoke(struct app *app, const struct connection *c)
{
    struct err err = {0};
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (strcmp(c->credential_kind, "oauth") != 0 || c->state != CONN_CONNECTED) {
        return;
    }
    params_int(p, c->connection_id);
    params_text(p, c->provider->name);
    params_text(p, c->account_id);
    params_text(p, c->mode);
    if (store_query(app->store,
                    "SELECT 1 FROM psync.connection JOIN psync.credential k"
                    "   USING (connection_id) WHERE connection_id <> $1 AND provider = $2"
                    "   AND account_id = $3 AND mode = $4 AND k.kind = 'oauth'"
                    "   AND k.access_token IS NOT NULL LIMIT 1",
                    p, &r, &err) != 0 ||
        rows_count(r) > 0) {
        return;
    }
    CLEANUP(connection_freep)
    struct connection *own = connection_load(app->store, app->seal, c->connection_id, &err);
    json_auto_t *facts =
        own != NULL ? connect_ask(app, own, &(struct ask){.kind = ASK_REVOKE}, &err) : NULL;
    if (facts == NULL) {
        log_warn(app->log, "connect.revoke", "%s was not told that we leave: %s",
                 c->provider->title, err.msg);
    }
}

int connect_disconnect(struct app *app, const struct connection *c, const struct actor *who,
                       struct err *err)
{
    connect_revoke(app, c);
    CLEANUP(params_freep) struct params *p = params_new();
    char reason[128];
    params_int(p, c->connection_id);
    if (store_query(app->store,
                    "UPDATE psync.credential SET access_token = NULL, refresh_token = NULL,"
                    "   expires_at = NULL, version = version + 1, updated_at = now()"
                    " WHERE connection_id = $1",
                    p, NULL, err) != 0) {
        return -1;
    }
    snprintf(reason, sizeof reason, "disconnected by %s", who->name);
    return state_set(app, c->connection_id, c->shard, CONN_DISCONNECTED, "auth_app_uninstalled",
                     reason, who, NULL, err);
}

/* The default mapping names properties that not every account has: those lines are dropped
 * before the first record, or each record would be reported for them. */
static int connect_trim_mapping(struct app *app, int64_t connection_id,
                                const json_t *properties, struct scope_result *out,
                                struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    size_t i;
    const json_t *property;
    if (!json_is_array(properties) || json_array_size(properties) == 0) {
        return 0;
    }
    params_int(p, connection_id);
    params_array_begin(p, ARRAY_TEXT);
    json_array_foreach(properties, i, property)
    {
        const char *name = json_string_value(json_object_get(property, "name"));
        if (name != NULL) {
            params_array_text(p, name, strlen(name));
        }
    }
    params_array_end(p);
    if (store_query(app->store,
                    "WITH m AS (SELECT version, fields FROM psync.mapping"
                    "   WHERE connection_id = $1 AND version = 1 AND note = 'default'"
                    "     AND NOT EXISTS (SELECT 1 FROM psync.mapping WHERE connection_id = $1"
                    "       AND version > 1)),"
                    " f AS (SELECT l, l->>'source' = ANY($2::text[]) AS known"
                    "   FROM m, jsonb_array_elements(m.fields) AS l),"
                    " u AS (UPDATE psync.mapping SET fields ="
                    "     (SELECT jsonb_agg(l) FROM f WHERE known)"
                    "   WHERE connection_id = $1 AND version = 1"
                    "     AND EXISTS (SELECT 1 FROM f WHERE NOT known)"
                    "     AND EXISTS (SELECT 1 FROM f WHERE known))"
                    " SELECT string_agg((l->>'field') || ' (' || (l->>'source') || ')', ', ')"
                    " FROM f WHERE NOT known",
                    p, &r, err) != 0) {
        return -1;
    }
    snprintf(out->dropped, sizeof out->dropped, "%s", rows_text(r, 0, 0));
    return 0;
}

int connect_list_refused(const json_t *list, struct err *err)
{
    const char *type = connect_fact(list, "object_type");
    if (json_is_true(json_object_get(list, "deleted"))) {
        err_set(err, ERR_NOT_FOUND, "list '%s' was deleted", connect_fact(list, "name"));
        return -1;
    }
    if (type[0] != '\0' && strcmp(type, "0-2") != 0) {
        err_set(err, ERR_INVALID,
                "list '%s' holds %s (%s); only a list of companies (0-2) "
                "can be mirrored",
                connect_fact(list, "name"),
                strcmp(type, "0-1") == 0   ? "contacts"
                : strcmp(type, "0-3") == 0 ? "deals"
                                           : "other objects",
                type);
        return -1;
    }
    return 0;
}

/* What the provider says of the choice. */
static int connect_scope_ask(struct app *app, struct connection *next, struct scope_result *out,
                             struct err *err)
{
    json_t *facts = connect_ask(app, next, &(struct ask){.kind = ASK_SCHEMA}, err);
    if (facts == NULL) {
        return -1;
    }
    const json_t *list = json_object_get(facts, "list");
    if (connect_list_refused(list, err) != 0) {
        json_decref(facts);
        return -1;
    }
    snprintf(out->name, sizeof out->name, "%s", connect_fact(list, "name"));
    const json_t *members = json_object_get(list, "size");
    out->size = json_is_integer(members) ? json_integer_value(members) : -1;
    int trimmed = connect_trim_mapping(app, next->connection_id,
                                       json_object_get(facts, "properties"), out, err);
    json_decref(facts);
    return trimmed;
}

/* What is mirrored says it of a provider that lists everything. */
static int connect_scope_look(struct app *app, const struct connection *c, const char *kind,
                              const char *id, struct scope_result *out, struct err *err)
{
    out->size = -1;
    if (strcmp(kind, "all") == 0) {
        return 0;
    }
    if (id[0] == '\0') {
        err_set(err, ERR_INVALID, "which %s? Several have commas between them", kind);
        return -1;
    }
    return filter_check(app->store, c, kind, id, out->name, sizeof out->name, err);
}

int connect_scope(struct app *app, const struct connection *c, const char *kind, const char *id,
                  const struct actor *who, struct scope_result *out, struct err *err)
{
    CLEANUP(connection_freep)
    struct connection *next = connection_load(app->store, app->seal, c->connection_id, err);
    CLEANUP(params_freep) struct params *p = params_new();
    bool all = strcmp(kind, "all") == 0;
    char target[128];
    memset(out, 0, sizeof *out);
    if (next == NULL || provider_scope_kind(c->provider, kind, err) != 0) {
        return -1;
    }
    free(next->scope_kind);
    free(next->scope_id);
    next->scope_kind = strdup(all ? "" : kind);
    next->scope_id = strdup(all ? "" : id);
    if ((filter_object(c->provider) != NULL ? connect_scope_look(app, c, kind, id, out, err)
                                            : connect_scope_ask(app, next, out, err)) != 0) {
        return -1;
    }
    params_int(p, c->connection_id);
    params_text(p, all ? NULL : kind);
    params_text(p, all ? NULL : id);
    params_text(p, out->name);
    params_int(p, out->size);
    if (store_query(
            app->store,
            "UPDATE psync.connection SET scope_kind = $2, scope_id = $3, scope_name = $4,"
            "   scope_size = CASE WHEN $5::bigint >= 0 THEN $5 END, version = version + 1"
            " WHERE connection_id = $1",
            p, NULL, err) != 0) {
        return -1;
    }
    snprintf(target, sizeof target, "%s %s", kind, id);
    if (action_audit(app->store, who, c->workspace_id, c->connection_id, "scope.set", target,
                     NULL, err) != 0) {
        return -1;
    }
    if (app->connections != NULL) {
        connection_cache_drop(app->connections, c->connection_id);
    }
    return run_start_over(app, next, who, &out->run_id, err);
}
