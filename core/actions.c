#include "core/actions.h"

#include "common/clock.h"
#include "common/error_type.h"
#include "common/task.h"
#include "core/note.h"
#include "core/run.h"

#include <stdio.h>
#include <string.h>

enum { WAIT_POLL_MS = 50 };

int action_audit(struct store *s, const struct actor *who, int64_t workspace_id,
                 int64_t connection_id, const char *action, const char *target,
                 const char *detail, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, workspace_id);
    params_int(p, connection_id);
    params_text(p, who->name);
    params_text(p, who->kind);
    params_text(p, action);
    params_text(p, target);
    params_text(p, detail != NULL ? detail : "{}");
    return store_query(
        s,
        "INSERT INTO psync.audit (workspace_id, connection_id, actor, actor_kind,"
        "   action, target, detail)"
        " VALUES (nullif($1::bigint, 0), nullif($2::bigint, 0), $3, $4, $5, $6,"
        "   $7::jsonb)",
        p, NULL, err);
}

int action_run_now(struct app *app, const struct connection *c, const struct actor *who,
                   int64_t *run_id, struct err *err)
{
    char target[64];
    if (c->state != CONN_CONNECTED) {
        err_set(err, ERR_AUTH, "%s is %s: %s", c->provider->title, conn_state_names[c->state],
                c->state_reason);
        return -1;
    }
    if (run_start(app, c, "person", who->name, LANE_RUN_NOW, 0, run_id, err) != 0) {
        return -1;
    }
    snprintf(target, sizeof target, "run %lld", (long long)*run_id);
    return action_audit(app->store, who, c->workspace_id, c->connection_id, "run.start", target,
                        NULL, err);
}

static int action_next_fetch_no(struct store *s, int64_t *out, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(s, "SELECT nextval('psync.fetch_no')", NULL, &r, err) != 0) {
        return -1;
    }
    *out = rows_int(r, 0, 0);
    return 0;
}

/* The unit is kept; whoever looks into the log sees why nothing happens. */
static int action_note_paused(struct app *app, const struct connection *c, const char *object,
                              const char *record_id, const char *trigger,
                              const struct actor *who, struct err *err)
{
    struct note n = {.connection_id = c->connection_id,
                     .type = ET_CONNECTION_PAUSED,
                     .status = "skipped",
                     .trigger = trigger,
                     .actor = who->name,
                     .object = object,
                     .record_id = record_id,
                     .message =
                         "the connection is paused; the request runs when it is resumed"};
    return note_write(app->store, &n, err);
}

int action_resync(struct app *app, const struct connection *c, const char *object,
                  const char *record_id, const char *trigger, const struct actor *who,
                  int64_t *after_fetch_no, struct err *err)
{
    char target[320];
    if (action_next_fetch_no(app->store, after_fetch_no, err) != 0) {
        return -1;
    }
    struct unit_put put = {
        .connection_id = c->connection_id,
        .shard = c->shard,
        .kind = UNIT_RECORD,
        .object = object,
        .id = record_id,
        .lane = LANE_INTERACTIVE,
        .trigger = trigger,
        .actor = who->name,
        .hint = "",
    };
    if (queue_put(app->queue, &put, 1, err) != 0) {
        return -1;
    }
    snprintf(target, sizeof target, "%s %s", object, record_id);
    if (action_audit(app->store, who, c->workspace_id, c->connection_id, "record.resync",
                     target, NULL, err) != 0) {
        return -1;
    }
    if (c->paused && action_note_paused(app, c, object, record_id, trigger, who, err) != 0) {
        return -1;
    }
    if (c->state != CONN_CONNECTED) {
        err_set(err, ERR_AUTH,
                "%s is %s (%s); the request is kept and runs when it is connected",
                c->provider->title, conn_state_names[c->state], c->state_reason);
        return -1;
    }
    return 0;
}

int action_pause_lane(struct app *app, int lane, bool paused, const struct actor *who,
                      struct err *err)
{
    if (queue_pause(app->queue, -1, 0, lane, paused, err) != 0) {
        return -1;
    }
    return action_audit(app->store, who, 0, 0, paused ? "queue.pause" : "queue.resume",
                        lane >= 0 ? lane_names[lane] : "all", NULL, err);
}

int action_pause(struct app *app, const struct connection *c, bool paused,
                 const struct actor *who, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, c->connection_id);
    params_text(p, paused ? who->name : NULL);
    if (store_query(app->store,
                    "UPDATE psync.connection SET paused_by = $2,"
                    "   paused_at = CASE WHEN $2::text IS NOT NULL THEN now() END,"
                    "   version = version + 1 WHERE connection_id = $1",
                    p, NULL, err) != 0 ||
        queue_pause(app->queue, c->shard, c->connection_id, -1, paused, err) != 0) {
        return -1;
    }
    return action_audit(app->store, who, c->workspace_id, c->connection_id,
                        paused ? "connection.pause" : "connection.resume", c->provider->name,
                        NULL, err);
}

int action_wait(struct app *app, const struct connection *c, const char *object,
                const char *record_id, int64_t after_fetch_no, int64_t timeout_ms,
                struct action_outcome *out, struct err *err)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    memset(out, 0, sizeof *out);
    for (;;) {
        CLEANUP(params_freep) struct params *p = params_new();
        CLEANUP(rows_freep) struct rows *r = NULL;
        params_int(p, c->connection_id);
        params_text(p, object);
        params_text(p, record_id);
        params_int(p, after_fetch_no);
        if (store_query(
                app->store,
                "SELECT attempt_id, status, error_code, coalesce(t.title, ''),"
                "   error_message, coalesce(customer_id, 0)"
                " FROM psync.attempt LEFT JOIN psync.error_type t ON t.code = error_code"
                " WHERE connection_id = $1 AND object_type = $2 AND record_id = $3"
                "   AND fetch_no > $4 AND status <> 'retrying'"
                "   AND attempt_id > psync.attempt_floor(now() - interval '1 day')"
                " ORDER BY attempt_id DESC LIMIT 1",
                p, &r, err) != 0) {
            return -1;
        }
        if (rows_count(r) > 0) {
            out->attempt_id = rows_int(r, 0, 0);
            snprintf(out->status, sizeof out->status, "%s", rows_text(r, 0, 1));
            snprintf(out->code, sizeof out->code, "%s", rows_text(r, 0, 2));
            snprintf(out->title, sizeof out->title, "%s", rows_text(r, 0, 3));
            snprintf(out->message, sizeof out->message, "%s", rows_text(r, 0, 4));
            out->customer_id = rows_int(r, 0, 5);
            return 0;
        }
        if (clock_mono_ms() >= deadline_ms) {
            err_set(err, ERR_TIMEOUT, "no answer after %lld s; the work goes on",
                    (long long)(timeout_ms / 1000));
            return -1;
        }
        task_sleep_ms(WAIT_POLL_MS);
    }
}

int action_attempt(struct store *s, int64_t attempt_id, struct action_target *out,
                   struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    memset(out, 0, sizeof *out);
    params_int(p, attempt_id);
    if (store_query(
            s,
            "SELECT connection_id, object_type, coalesce(record_id, ''), error_code, status,"
            "   coalesce(resolved_by, 0) FROM psync.attempt WHERE attempt_id = $1",
            p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "there is no attempt %lld in the last 30 days",
                (long long)attempt_id);
        return -1;
    }
    out->connection_id = rows_int(r, 0, 0);
    snprintf(out->object, sizeof out->object, "%s", rows_text(r, 0, 1));
    snprintf(out->record_id, sizeof out->record_id, "%s", rows_text(r, 0, 2));
    snprintf(out->code, sizeof out->code, "%s", rows_text(r, 0, 3));
    snprintf(out->status, sizeof out->status, "%s", rows_text(r, 0, 4));
    out->resolved_by = rows_int(r, 0, 5);
    return 0;
}

const char *action_retry_refused(const struct action_target *t, const struct connection *c)
{
    const struct error_info *info = error_info(error_type_find(t->code));
    if (t->record_id[0] == '\0') {
        return "it was a part of a full sync, not one record: use run-now";
    }
    if (info != NULL && info->retry == RETRY_NEVER) {
        return "trying this again cannot change anything";
    }
    if (info != NULL && info->banner != BANNER_NONE && c->state != CONN_CONNECTED) {
        return "reauthorize the connection first";
    }
    return NULL;
}
