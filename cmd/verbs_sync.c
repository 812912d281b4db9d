/* Verbs that make something sync: run-now, resync, retry, runs. */
#include "cmd/cmd.h"

#include "common/clock.h"
#include "common/task.h"
#include "core/rebuild.h"
#include "core/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAIT_MS = 60 * 1000,
    RUN_WAIT_MS = 24 * 3600 * 1000,
    CATCH_UP_MS = 5 * WAIT_MS,
    CATCH_UP_POLL_MS = 200
};

/* ---- runs ---- */

static int caught_up_at(struct cmd *c, const struct connection *conn, int64_t *at_ms,
                        struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, conn->connection_id);
    if (store_query(c->app->store,
                    "SELECT coalesce((extract(epoch FROM last_catch_up_at) * 1000)::bigint, 0)"
                    " FROM psync.connection WHERE connection_id = $1",
                    p, &r, err) != 0) {
        return -1;
    }
    *at_ms = rows_int(r, 0, 0);
    return 0;
}

/* Only what changed since the last good moment. */
static int run_incremental(struct cmd *c, const struct connection *conn, struct err *err)
{
    int64_t before_ms = 0, now_ms = 0, timeout_ms = cmd_timeout_ms(c, CATCH_UP_MS, err);
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    if (conn->state != CONN_CONNECTED) {
        err_set(err, ERR_AUTH, "%s is %s: %s", conn->provider->title,
                conn_state_names[conn->state], conn->state_reason);
        return -1;
    }
    if (timeout_ms < 0 || caught_up_at(c, conn, &before_ms, err) != 0 ||
        rebuild_catch_up(c->app, conn->connection_id, conn->shard, "person", err) != 0 ||
        action_audit(c->app->store, &c->actor, conn->workspace_id, conn->connection_id,
                     "run.incremental", conn->provider->name, NULL, err) != 0) {
        return -1;
    }
    if (!cmd_has(c, "wait")) {
        say("Asking %s what changed. Next: pivotal-sync log %s", conn->provider->title,
            c->args[0]);
        return EXIT_OK;
    }
    cmd_on_interrupt("It goes on: pivotal-sync log %s", c->args[0]);
    while (now_ms <= before_ms) {
        if (clock_mono_ms() > deadline_ms) {
            err_set(err, ERR_TIMEOUT, "%s was not asked yet; the work goes on",
                    conn->provider->title);
            return -1;
        }
        task_sleep_ms(CATCH_UP_POLL_MS);
        if (caught_up_at(c, conn, &now_ms, err) != 0) {
            return -1;
        }
    }
    say("Everything that changed at %s is known and queued.", conn->provider->title);
    return EXIT_OK;
}

static int say_started(struct cmd *c, const struct connection *conn, int64_t run_id,
                       struct err *err)
{
    const struct object_type *o = NULL;
    int64_t expected = run_expects(c->app->store, conn, &o, err);
    if (expected < 0) {
        return -1;
    }
    if (expected > 0) {
        say("Full sync %lld started (%lld %s expected).", (long long)run_id,
            (long long)expected, expected == 1 ? o->name : o->plural);
    } else {
        say("Full sync %lld started.", (long long)run_id); /* the first: nobody knows yet */
    }
    return 0;
}

int verb_run_now(struct cmd *c, struct err *err)
{
    int64_t run_id = 0, timeout_ms = cmd_timeout_ms(c, RUN_WAIT_MS, err);
    CLEANUP(connection_freep) struct connection *conn = NULL;
    if (timeout_ms < 0 || (conn = cmd_connection(c, c->args[0], err)) == NULL) {
        return -1;
    }
    if (cmd_has(c, "incremental")) {
        if (cmd_has(c, "full")) {
            err_set(err, ERR_INVALID, "--full or --incremental, not both");
            return -1;
        }
        return run_incremental(c, conn, err);
    }
    bool wait = cmd_has(c, "wait");
    if (action_run_now(c->app, conn, &c->actor, &run_id, err) != 0) {
        struct err lookup = {0};
        struct run_info r;
        if (err->code != ERR_CONFLICT || run_id == 0 ||
            run_load(c->app->store, run_id, &r, &lookup) != 0) {
            return -1;
        }
        say("Full sync %lld is running already, started by %s: %lld seen.", (long long)run_id,
            r.requested_by[0] != '\0' ? r.requested_by : r.trigger, (long long)r.seen);
        if (!wait) {
            return EXIT_CONFLICT;
        }
        err_clear(err);
    } else if (say_started(c, conn, run_id, err) != 0) {
        return -1;
    }
    if (!wait) {
        if (c->form == OUT_JSON) {
            printf("{\"run_id\":%lld}\n", (long long)run_id);
        }
        say("Next: pivotal-sync run list %s", c->args[0]);
        return EXIT_OK;
    }
    return progress_run(c, run_id, timeout_ms, err);
}

static int run_number(const char *text, int64_t *out, struct err *err)
{
    if (text[0] == '\0' || strlen(text) > 18 || strspn(text, "0123456789") != strlen(text)) {
        err_set(err, ERR_INVALID, "'%s' is not a run: they are numbers", text);
        return -1;
    }
    *out = strtoll(text, NULL, 10);
    return 0;
}

int verb_run_list(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(connection_freep) struct connection *conn = NULL;
    int64_t limit = cmd_list_start(c, &conn, err);
    if (limit < 0) {
        return -1;
    }
    params_int(p, conn != NULL ? conn->connection_id : 0);
    params_int(p, limit);
    params_text(p, cmd_workspace(c));
    int64_t before = INT64_MAX;
    if (cmd_has(c, "before") && run_number(cmd_option(c, "before"), &before, err) != 0) {
        return -1;
    }
    params_int(p, before);
    return output_query(
        c,
        "SELECT h.* FROM psync_bi.run_history h"
        " JOIN psync.workspace w USING (workspace_id)"
        " WHERE ($1::bigint = 0 OR connection_id = $1)"
        "   AND ($3::text IS NULL OR w.name = $3) AND run_id < $4"
        " ORDER BY run_id DESC LIMIT $2::bigint",
        p,
        "run_id:RUN provider ?kind ?trigger ?requested_by:BY status started_at:STARTED"
        " ?#seconds #seen #failed ?#archived ?#api_calls:CALLS ?~error_code:ERROR | mode"
        " finished_at:ENDED #expected #created:NEW #updated #unchanged #skipped"
        " #throttled_ms:THROTTLED error_message:MESSAGE",
        NULL, err);
}

static const char *const run_names[] = {
    NULL,       "Run",     "Status",  "Started by", "Queued", "Started",  "Ended",
    "Expected", "Records", "Outcome", "Archived",   "Calls",  "Open now", "Error"};

static const char run_sql[] =
    "SELECT to_jsonb(h)::text, h.run_id || ', ' || h.kind || ' of ' || h.provider,"
    " h.status || coalesce(' (' || round(h.progress_ratio * 100) || ' %)', ''),"
    " coalesce(nullif(h.requested_by, '') || ', ', '') || h.trigger,"
    " date_trunc('second', h.queued_at)::text, date_trunc('second', h.started_at)::text,"
    " date_trunc('second', h.finished_at) || ', ' || round(h.seconds) || ' s',"
    " nullif(h.expected, -1) || ' in what is mirrored',"
    " h.seen || ' seen' || coalesce((SELECT ': ' || string_agg(object_type || ' ' || seen,"
    "   ', ') FROM (SELECT object_type, sum(seen) AS seen FROM psync.run_chunk k"
    "     WHERE k.run_id = h.run_id GROUP BY 1 HAVING sum(seen) > 0 ORDER BY 2 DESC, 1) k), "
    "''),"
    " h.created || ' new, ' || h.updated || ' updated, ' || h.unchanged || ' unchanged, '"
    "   || h.skipped || ' skipped, ' || h.failed || ' failed',"
    " nullif(h.archived, 0)::text,"
    " h.api_calls || CASE WHEN h.throttled_ms > 0 THEN ', slowed by the limit '"
    "   || round(h.throttled_ms / 1000.0) || ' s' ELSE '' END,"
    " (SELECT string_agg(x.object_type || ' ' || x.n, ', ') FROM (SELECT object_type,"
    "    count(*) AS n FROM psync.run_chunk k WHERE k.run_id = h.run_id"
    "    AND k.status NOT IN ('done', 'failed') GROUP BY 1 ORDER BY 1) x),"
    " nullif(concat_ws(': ', nullif(h.error_code, ''), nullif(h.error_message, '')), '')"
    " FROM psync_bi.run_history h WHERE h.run_id = $1";

int verb_run_show(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    int64_t run_id = 0, timeout_ms = cmd_timeout_ms(c, RUN_WAIT_MS, err);
    int code = EXIT_OK;
    if (timeout_ms < 0 || run_number(c->args[0], &run_id, err) != 0) {
        return -1;
    }
    if (cmd_has(c, "wait")) {
        struct run_info run;
        if (run_load(c->app->store, run_id, &run, err) != 0 ||
            (code = progress_run(c, run_id, timeout_ms, err)) < 0 || c->form == OUT_JSON) {
            return code < 0 || err->code != ERR_NONE ? -1 : code;
        }
    }
    params_int(p, run_id);
    if (output_lookup(c, run_sql, p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "there is no run %lld", (long long)run_id);
        return -1;
    }
    if (c->form != OUT_TABLE) {
        printf("%s\n", rows_text(r, 0, 0));
        return code;
    }
    print_labelled(r, run_names, (int)COUNT_OF(run_names));
    if (strstr(rows_text(r, 0, 9), " 0 failed") == NULL) {
        say("Next: pivotal-sync log --run %lld --errors-only", (long long)run_id);
    }
    return code;
}

int verb_run_cancel(struct cmd *c, struct err *err)
{
    int64_t run_id = 0;
    if (run_number(c->args[0], &run_id, err) != 0 ||
        run_cancel(c->app, run_id, &c->actor, err) != 0) {
        return -1;
    }
    say("Run %lld is cancelled; what it wrote is kept.", (long long)run_id);
    return EXIT_OK;
}

/* ---- one record ---- */

static int outcome_exit(const struct action_outcome *o)
{
    static const char *const absent[] = {"record_not_found", "record_deleted", "record_merged",
                                         "not_in_mirrored_list", "out_of_stripe_scope"};
    if (strcmp(o->status, "succeeded") == 0) {
        return EXIT_OK;
    }
    for (size_t i = 0; i < COUNT_OF(absent); i++) {
        if (strcmp(o->code, absent[i]) == 0) {
            return EXIT_NOT_FOUND;
        }
    }
    const struct error_info *info = error_info(error_type_find(o->code));
    if (info != NULL && info->banner != BANNER_NONE) {
        return EXIT_REAUTHORIZE;
    }
    /* A newer fetch was stored meanwhile: what was asked for has happened. */
    return strcmp(o->code, "stale_event") == 0 ? EXIT_OK : EXIT_RECORD_ERRORS;
}

static int sync_wait(struct cmd *c, const struct connection *conn, const char *object,
                     const char *id, int64_t after_fetch_no, struct err *err)
{
    struct action_outcome o;
    int64_t timeout_ms = cmd_timeout_ms(c, WAIT_MS, err);
    cmd_on_interrupt("It goes on: pivotal-sync log --record %s", id);
    if (timeout_ms < 0 ||
        action_wait(c->app, conn, object, id, after_fetch_no, timeout_ms, &o, err) != 0) {
        return -1;
    }
    if (o.code[0] == '\0') {
        say("%s %s is as %s has it (attempt %lld).", object, id, conn->provider->title,
            (long long)o.attempt_id);
    } else {
        const struct error_info *info = error_info(error_type_find(o.code));
        say("%s %s: %s%s%s. %s (pivotal-sync show %lld)", object, id, o.title,
            o.message[0] != '\0' ? ": " : "", o.message, info != NULL ? info->user_action : "",
            (long long)o.attempt_id);
    }
    if (c->form == OUT_JSON) {
        printf("{\"attempt_id\":\"%lld\",\"status\":\"%s\",\"error_code\":\"%s\","
               "\"customer_id\":%lld}\n",
               (long long)o.attempt_id, o.status, o.code, (long long)o.customer_id);
    }
    return outcome_exit(&o);
}

/* The type of a record: named, or the provider's root type. */
static const struct object_type *sync_type(const struct connection *conn, const char *name,
                                           struct err *err)
{
    const struct object_type *o = NULL;
    if (name != NULL) {
        o = provider_object(conn->provider, name);
    } else {
        for (o = conn->provider->objects; o->name != NULL && (o->flags & OBJECT_ROOT) == 0;
             o++) {
        }
    }
    if (o == NULL || o->name == NULL) {
        err_set(err, ERR_INVALID, "%s has no records of type '%s'", conn->provider->title,
                name != NULL ? name : "");
        return NULL;
    }
    return o;
}

int verb_resync(struct cmd *c, struct err *err)
{
    int64_t after = 0;
    const char *id = c->args[c->arg_count - 1];
    if (c->arg_count < 2 && !cmd_has(c, "customer")) {
        err_set(err, ERR_INVALID, "resync wants a record, or --customer ID");
        return -1;
    }
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn != NULL && cmd_has(c, "customer")) {
        return verb_resync_customer(c, conn, err);
    }
    const struct object_type *o =
        conn != NULL ? sync_type(conn, c->arg_count > 2 ? c->args[1] : NULL, err) : NULL;
    if (o == NULL) {
        return -1;
    }
    if (strlen(id) > QUEUE_ID_MAX_BYTES || id[0] == '\0') {
        err_set(err, ERR_INVALID, "'%.40s' is not the id of a record", id);
        return -1;
    }
    if (cmd_has(c, "dry-run")) {
        return verb_resync_preview(c, conn, o, id, err);
    }
    if (action_resync(c->app, conn, o->name, id, "person", &c->actor, &after, err) != 0) {
        return -1;
    }
    if (cmd_has(c, "wait")) {
        return sync_wait(c, conn, o->name, id, after, err);
    }
    say("Resync of %s %s is queued. Next: pivotal-sync log %s --record %s", o->name, id,
        c->args[0], id);
    return EXIT_OK;
}

static int retry_one(struct cmd *c, const char *text, struct err *err)
{
    struct action_target t;
    int64_t after = 0, attempt_id = strtoll(text, NULL, 10);
    if (action_attempt(c->app->store, attempt_id, &t, err) != 0) {
        return -1;
    }
    if (t.resolved_by != 0 || strcmp(t.status, "succeeded") == 0) {
        say("Attempt %s needs no retry: a later one succeeded (%lld).", text,
            (long long)(t.resolved_by != 0 ? t.resolved_by : attempt_id));
        return EXIT_OK;
    }
    CLEANUP(connection_freep)
    struct connection *conn =
        connection_load(c->app->store, c->app->seal, t.connection_id, err);
    if (conn == NULL) {
        return -1;
    }
    const char *refused = action_retry_refused(&t, conn);
    if (refused != NULL) {
        err_set(err, ERR_DENIED, "attempt %s (%s) cannot be retried: %s", text, t.code,
                refused);
        return -1;
    }
    if (action_resync(c->app, conn, t.object, t.record_id, "retry", &c->actor, &after, err) !=
        0) {
        return -1;
    }
    if (cmd_has(c, "wait")) {
        return sync_wait(c, conn, t.object, t.record_id, after, err);
    }
    say("Retry of %s %s is queued.", t.object, t.record_id);
    return EXIT_OK;
}

/* Puts what may be retried, or only counts it. */
static int retry_rows(struct cmd *c, const struct rows *r, bool only_count, int64_t *put,
                      int64_t *left_out, struct err *err)
{
    *put = *left_out = 0;
    for (int i = 0; i < rows_count(r); i++) {
        struct action_target t;
        int64_t after = 0;
        if (action_attempt(c->app->store, rows_int(r, i, 0), &t, err) != 0) {
            return -1;
        }
        CLEANUP(connection_freep)
        struct connection *conn =
            connection_load(c->app->store, c->app->seal, t.connection_id, err);
        if (conn == NULL) {
            return -1;
        }
        if (action_retry_refused(&t, conn) != NULL) {
            ++*left_out;
            continue;
        }
        if (!only_count && action_resync(c->app, conn, t.object, t.record_id, "retry",
                                         &c->actor, &after, err) != 0) {
            return -1;
        }
        ++*put;
    }
    return 0;
}

/* What was asked for is a result when nothing is done. */
static void retry_say(const struct cmd *c, bool dry_run, int64_t put, int64_t left_out,
                      int64_t attempts)
{
    char text[200];
    int n = snprintf(text, sizeof text, "%s %lld record%s (%lld attempt%s).",
                     dry_run ? "Would retry" : "Retrying", (long long)put, put == 1 ? "" : "s",
                     (long long)attempts, attempts == 1 ? "" : "s");
    if (left_out > 0 && n > 0) {
        snprintf(text + n, sizeof text - (size_t)n,
                 " %lld left out: they cannot be retried as things are.", (long long)left_out);
    }
    if (c->form != OUT_TABLE) {
        printf("{\"records\":%lld,\"attempts\":%lld,\"left_out\":%lld,\"dry_run\":%s}\n",
               (long long)put, (long long)attempts, (long long)left_out,
               dry_run ? "true" : "false");
    } else if (dry_run) {
        printf("%s\n", text);
    } else {
        say("%s", text);
    }
}

/* Records whose newest attempt ended in an error and may be tried again. */
static int retry_failed(struct cmd *c, struct err *err)
{
    const char *since = cmd_option(c, "since");
    int64_t since_ms = cmd_duration_ms(since != NULL ? since : "24h", err);
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    int64_t left_out = 0, put = 0;
    if (since_ms < 0) {
        return -1;
    }
    params_int(p, since_ms);
    params_text(p, cmd_option(c, "code"));
    params_text(p, cmd_workspace(c));
    if (store_query(
            c->app->store,
            "SELECT DISTINCT ON (a.connection_id, a.object_type, a.record_id) a.attempt_id,"
            "   count(*) OVER ()"
            " FROM psync.attempt a JOIN psync.connection USING (connection_id)"
            "   JOIN psync.workspace w USING (workspace_id)"
            "   JOIN psync.error_type e ON e.code = a.error_code"
            " WHERE a.record_id IS NOT NULL AND a.resolved_by IS NULL"
            "   AND a.status IN ('failed', 'partial', 'retrying')"
            "   AND a.attempt_id > psync.attempt_floor(now()"
            "     - make_interval(secs => $1::bigint / 1000.0))"
            "   AND CASE WHEN $2::text IS NULL THEN e.severity = 'error'"
            "     ELSE a.error_code = $2 END"
            "   AND ($3::text IS NULL OR w.name = $3)"
            " ORDER BY a.connection_id, a.object_type, a.record_id, a.attempt_id DESC",
            p, &r, err) != 0) {
        return -1;
    }
    /* First what would be done, then the question, then the doing. */
    if (retry_rows(c, r, true, &put, &left_out, err) != 0) {
        return -1;
    }
    bool dry_run = cmd_has(c, "dry-run");
    if (!dry_run && put > 0 && cmd_can_ask(c) &&
        !cmd_confirm(c, "Retry %lld records?", (long long)put)) {
        say("Nothing is retried.");
        return EXIT_FAILED;
    }
    if (!dry_run && retry_rows(c, r, false, &put, &left_out, err) != 0) {
        return -1;
    }
    retry_say(c, dry_run, put, left_out, rows_count(r) > 0 ? rows_int(r, 0, 1) : 0);
    return EXIT_OK;
}

/* The newest attempt at a record that did not succeed. */
static int retry_record(struct cmd *c, const char *record, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_text(p, record);
    params_text(p, cmd_workspace(c));
    if (store_query(c->app->store,
                    "SELECT attempt_id FROM psync_bi.sync_log l JOIN psync.workspace w"
                    "   USING (workspace_id) WHERE record_id = $1"
                    "   AND ($2::text IS NULL OR w.name = $2)"
                    " ORDER BY attempt_id DESC LIMIT 1",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "no attempt of the last 30 days is about record '%.64s'",
                record);
        return -1;
    }
    return retry_one(c, rows_text(r, 0, 0), err);
}

int verb_retry(struct cmd *c, struct err *err)
{
    if (cmd_has(c, "failed")) {
        return retry_failed(c, err);
    }
    if (cmd_has(c, "record")) {
        return retry_record(c, cmd_option(c, "record"), err);
    }
    if (c->arg_count == 0) {
        err_set(err, ERR_INVALID,
                "retry wants an attempt (pivotal-sync log --errors-only), --record or "
                "--failed");
        return -1;
    }
    return retry_one(c, c->args[0], err);
}
