#include "core/state.h"

#include "core/actions.h"

#include <string.h>

enum { ANY_CREDENTIAL = -1 };

/* Writes state and audit row. 1 = changed, 0 = it was that already, or the credential in force
 * is another one than if_credential, -1 = err. A connect stores its credential before it sets
 * the state, so the latest one counts, whence the lock. */
static int state_write(struct app *app, int64_t connection_id, enum conn_state state,
                       const char *code, const char *reason, const struct actor *who,
                       int64_t if_credential, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, connection_id);
    params_text(p, conn_state_names[state]);
    params_text(p, code);
    params_text(p, reason);
    params_text(p, who != NULL ? who->name : "system");
    params_text(p, who != NULL ? who->kind : "system");
    params_int(p, if_credential);
    if (store_query(
            app->store,
            "WITH k AS (SELECT version FROM psync.credential WHERE connection_id = $1 FOR "
            "SHARE),"
            " changed AS ("
            " UPDATE psync.connection SET state = $2, state_code = $3, state_reason = $4,"
            "   state_since = now(), version = version + 1"
            " WHERE connection_id = $1 AND (state, state_code) IS DISTINCT FROM ($2, $3)"
            "   AND ($7 = -1 OR $7 = coalesce((SELECT version FROM k), 0))"
            " RETURNING workspace_id)"
            " INSERT INTO psync.audit (workspace_id, connection_id, actor, actor_kind,"
            "   action, target, reason)"
            " SELECT workspace_id, $1, $5, $6, 'connection.' || $2,"
            "   'connection ' || $1, $4 FROM changed RETURNING audit_id",
            p, &r, err) != 0) {
        return -1;
    }
    if (app->connections != NULL) {
        connection_cache_drop(app->connections, connection_id);
    }
    return rows_count(r) > 0;
}

/* 1, 0, or -1 = err. */
static int state_is_connected(struct app *app, int64_t connection_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, connection_id);
    if (store_query(app->store,
                    "SELECT FROM psync.connection"
                    " WHERE connection_id = $1 AND state = 'connected'",
                    p, &r, err) != 0) {
        return -1;
    }
    return rows_count(r) > 0;
}

int state_park(struct app *app, int64_t connection_id, int shard, const char *code,
               struct err *err)
{
    int64_t units = 0;
    if (queue_park(app->queue, shard, connection_id, code, err) != 0) {
        return -1;
    }
    int connected = state_is_connected(app, connection_id, err);
    return connected == 1 ? queue_unpark(app->queue, shard, connection_id, NULL, &units, err)
                          : connected;
}

int state_set(struct app *app, int64_t connection_id, int shard, enum conn_state state,
              const char *code, const char *reason, const struct actor *who, int64_t *released,
              struct err *err)
{
    int64_t units = 0;
    int changed =
        state_write(app, connection_id, state, code, reason, who, ANY_CREDENTIAL, err);
    if (changed < 0) {
        return -1;
    }
    int rc = state == CONN_CONNECTED
                 ? queue_unpark(app->queue, shard, connection_id, NULL, &units, err)
                 : state_park(app, connection_id, shard, code, err);
    if (rc == 0 && changed > 0) {
        rc = queue_routes_changed(app->queue, err);
    }
    if (released != NULL) {
        *released = units;
    }
    return rc;
}

void state_after_failure(struct app *app, const struct connection *c, const struct failure *why)
{
    const struct error_info *info = error_info(why->type);
    struct err err = {0};
    if (info == NULL || info->banner == BANNER_NONE) {
        return;
    }
    enum conn_state state =
        info->banner == BANNER_REAUTHORIZE ? CONN_REAUTHORIZE : CONN_DISCONNECTED;
    char reason[600];
    snprintf(reason, sizeof reason, "%s%s%s%s", info->title, why->detail[0] != '\0' ? " (" : "",
             why->detail, why->detail[0] != '\0' ? ")" : "");
    int changed = state_write(app, c->connection_id, state, info->code, reason, NULL,
                              c->credential_version, &err);
    if (changed == 0) {
        return; /* in that state already, or connected anew meanwhile */
    }
    if (changed < 0 || state_park(app, c->connection_id, c->shard, info->code, &err) != 0 ||
        queue_routes_changed(app->queue, &err) != 0) {
        log_error(app->log, "connection.state", "cannot set connection %lld to %s: %s",
                  (long long)c->connection_id, conn_state_names[state], err.msg);
        return;
    }
    log_warn(app->log, "connection.state", "connection %lld is %s now: %s",
             (long long)c->connection_id, conn_state_names[state], reason);
}

int state_configure_queue(struct app *app, int64_t connection_id, struct err *err)
{
    CLEANUP(connection_freep)
    /* Without its credential: one that cannot be opened is no reason for a ring without it. */
    struct connection *c = connection_load(app->store, NULL, connection_id, err);
    if (c == NULL) {
        return -1;
    }
    char account[128];
    connection_account_key(c, account, sizeof account);
    struct queue_connection qc = {
        .connection_id = c->connection_id,
        .shard = c->shard,
        .provider = c->provider->name,
        .account = account,
        .parked = c->state != CONN_CONNECTED,
        .paused = c->paused,
    };
    return queue_configure(app->queue, &qc, err);
}
