/* Checks of a connection: the catch-up from its watermark, which is also the probe that tells a
 * quiet account from a broken webhook channel, and the question whether it still exists. */
#include "worker/scope.h"

#include "common/clock.h"
#include "core/run.h"
#include "core/state.h"
#include "core/webhook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CATCH_UP_OVERLAP_MS = 10 * 60 * 1000, /* search index lag, and clocks that differ */
    CATCH_UP_FIRST_MS = 24 * 60 * 60 * 1000,
    LONG_GAP_MS = 2 * 60 * 60 * 1000,
    SILENT_MINUTES = 30,
    DELIVERY_GRACE_MS = 30 * 1000, /* younger changes may still be on their way to us */
};

struct check_job {
    struct worker *w;
    struct claim *claim;
    struct connection *conn;
    struct fetch fetch;
    struct scope_moves moves;
    int64_t started_at_ms, missed, looked_at;
    int64_t applied_to_ms; /* every change before this is in the mirror; the start, or less */
    struct check_missed *found;
    size_t found_count, found_cap;
};

/* A change that is not in the mirror yet. */
struct check_missed {
    const struct object_type *object;
    char *id;
    int64_t at_ms;
};

/* The analyzer does not see that check_forget frees the ids. */
ANALYZER_OFF("-Wanalyzer-malloc-leak")
static int check_remember(struct check_job *j, const char *object, const char *id,
                          int64_t at_ms, struct err *err)
{
    if (j->found_count == j->found_cap) {
        size_t cap = j->found_cap == 0 ? 256 : j->found_cap * 2;
        struct check_missed *more = realloc(j->found, cap * sizeof *more);
        if (more == NULL) {
            err_set(err, ERR_NOMEM, "out of memory");
            return -1;
        }
        j->found = more;
        j->found_cap = cap;
    }
    struct check_missed *m = &j->found[j->found_count];
    *m = (struct check_missed){provider_object(j->conn->provider, object), strdup(id), at_ms};
    if (m->id == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    j->found_count++;
    return 0;
}
ANALYZER_ON

static void check_forget(struct check_job *j)
{
    for (size_t i = 0; i < j->found_count; i++) {
        free(j->found[i].id);
    }
    free(j->found);
    j->found = NULL;
    j->found_count = j->found_cap = 0;
}

/* Of what changed there, what have we not fetched since? Those are noted; missed counts them.
 */
static int check_note_missed(struct check_job *j, const struct record_list *refs,
                             struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (refs->count == 0) {
        return 0;
    }
    params_int(p, j->conn->connection_id);
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; i < refs->count; i++) {
        params_array_text(p, refs->records[i].object->name,
                          strlen(refs->records[i].object->name));
    }
    params_array_end(p);
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; i < refs->count; i++) {
        params_array_text(p, refs->records[i].id, strlen(refs->records[i].id));
    }
    params_array_end(p);
    params_array_begin(p, ARRAY_TIME);
    for (size_t i = 0; i < refs->count; i++) {
        params_array_int(p, refs->records[i].updated_at_ms);
    }
    params_array_end(p);
    /* Who is no member of the list is not mirrored, whatever changed of it. */
    const struct object_type *root = scope_object(j->conn);
    bool list = root != NULL && strcmp(j->conn->scope_kind, "list") == 0;
    params_text(p, list ? root->name : "");
    /* A fetch that began two seconds after the change has certainly seen it. One that began in
     * those two seconds may not have: it is done again, but tells nothing of deliveries. */
    if (store_query(j->w->app->store,
                    "SELECT t.o, t.id, (extract(epoch FROM min(t.at)) * 1000)::bigint,"
                    "   bool_or(s.record_id IS NULL OR t.at IS NULL OR s.fetched_at < t.at)"
                    " FROM unnest($2::text[], $3::text[],"
                    "     $4::timestamptz[]) AS t (o, id, at)"
                    " LEFT JOIN psync.record_seen s ON s.connection_id = $1"
                    "   AND s.object_type = t.o AND s.record_id = t.id"
                    " WHERE (s.record_id IS NULL OR t.at IS NULL"
                    "   OR s.fetched_at < t.at + interval '2 seconds')"
                    "   AND ($5 = '' OR t.o <> $5 OR EXISTS (SELECT FROM psync.scope_member m"
                    "     WHERE m.connection_id = $1 AND m.record_id = t.id)) GROUP BY 1, 2",
                    p, &r, err) != 0) {
        return -1;
    }
    for (int i = 0; i < rows_count(r); i++) {
        int64_t at_ms = rows_is_null(r, i, 2) ? 0 : rows_int(r, i, 2);
        if (check_remember(j, rows_text(r, i, 0), rows_text(r, i, 1), at_ms, err) != 0) {
            return -1;
        }
        j->missed += rows_bool(r, i, 3) && at_ms <= j->started_at_ms - DELIVERY_GRACE_MS;
        /* Until it is fetched the queue alone knows of it, and the queue may be lost. */
        if (at_ms > 0 && at_ms < j->applied_to_ms) {
            j->applied_to_ms = at_ms;
        }
    }
    return 0;
}

static int check_put(struct check_job *j, const struct object_type *o, struct err *err)
{
    struct unit_put *puts = calloc(j->found_count + 1, sizeof *puts);
    int n = 0;
    if (puts == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    for (size_t i = 0; i < j->found_count; i++) {
        if (j->found[i].object == o) {
            puts[n++] = (struct unit_put){
                .connection_id = j->conn->connection_id,
                .shard = j->claim->shard,
                .kind = UNIT_RECORD,
                .object = o->name,
                .id = j->found[i].id,
                .lane = LANE_RUN_NOW,
                .trigger = "catch-up",
                .actor = "",
                .hint = "",
            };
        }
    }
    int rc = n > 0 ? queue_put(j->w->app->queue, puts, n, err) : 0;
    free(puts);
    return rc;
}

/* All that was found, by the cheaper way for each type: one by one, or the whole type. */
static int check_settle(struct check_job *j, struct err *err)
{
    for (const struct object_type *o = j->conn->provider->objects; o->name != NULL; o++) {
        int64_t reads = 0;
        int64_t newest_ms = 0;
        int64_t run_id = 0;
        enum run_bulk bulk = RUN_BULK_NOT;
        for (size_t i = 0; i < j->found_count; i++) {
            const struct check_missed *m = &j->found[i];
            reads += m->object == o;
            newest_ms = m->object == o && m->at_ms > newest_ms ? m->at_ms : newest_ms;
        }
        if (reads > 0 && (run_instead_of_reads(j->w->app, j->conn, o, reads, newest_ms,
                                               "catch-up", &bulk, &run_id, err) != 0 ||
                          (bulk == RUN_BULK_NOT && check_put(j, o, err) != 0))) {
            return -1;
        }
    }
    return 0;
}

/* What the connection does not mirror is nothing to it. */
static void check_keep_mirrored(const struct check_job *j, struct record_list *refs)
{
    size_t kept = 0;
    for (size_t i = 0; i < refs->count; i++) {
        if (connection_mirrors(j->conn, refs->records[i].object)) {
            refs->records[kept++] = refs->records[i];
        }
    }
    refs->count = kept;
}

/* o NULL: all types at once. */
static enum fetch_end check_object(struct check_job *j, const struct object_type *o,
                                   bool undelivered, int64_t since_ms, struct failure *why,
                                   int64_t *later_ms)
{
    struct err err = {0};
    char *cursor = NULL;
    enum fetch_end end;
    bool more;
    do {
        struct record_list refs;
        struct ask ask = {.kind = ASK_CHANGED_SINCE,
                          .object = o,
                          .objects = (const char *const *)j->conn->objects,
                          .undelivered = undelivered,
                          .cursor = cursor,
                          .since_ms = since_ms,
                          .until_ms = j->started_at_ms};
        record_list_init(&refs);
        end = fetch_ask(&j->fetch, &ask, &refs, NULL, why, later_ms);
        more = end == FETCH_OK && refs.has_more && refs.cursor != NULL;
        check_keep_mirrored(j, &refs);
        j->looked_at += (int64_t)refs.count;
        int rc = end == FETCH_OK ? check_note_missed(j, &refs, &err) : 0;
        /* What is read by hundreds can be begun with; else all of it decides what is cheaper.
         * What was found before a refusal is used as well. */
        if (!j->conn->provider->changes_together || !more) {
            rc = check_settle(j, &err) == 0 ? rc : -1;
            check_forget(j);
        }
        if (rc != 0 && end == FETCH_OK) {
            end = job_ours_failed(why, &err);
            more = false;
        }
        free(cursor);
        cursor = more ? strdup(refs.cursor) : NULL;
        record_list_release(&refs);
    } while (more);
    check_forget(j); /* after a failure of ours */
    free(cursor);
    return end;
}

/* The watermark moves to the oldest change that is still to be fetched, at most to the start of
 * this pass. Nothing missed: the channel is known to be good up to there. */
static int check_store_outcome(struct check_job *j, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, j->conn->connection_id);
    params_time_ms(p, j->started_at_ms);
    params_int(p, j->missed);
    params_time_ms(p, j->applied_to_ms);
    return store_query(
        j->w->app->store,
        "UPDATE psync.connection SET last_catch_up_at = now(), probed_at = now(),"
        "   watermark_at = greatest(watermark_at, $4),"
        "   probe_missed = probe_missed + $3,"
        "   last_incremental_at = CASE WHEN $3 = 0"
        "     THEN greatest(last_incremental_at, $2) ELSE last_incremental_at END,"
        "   channel_state = CASE WHEN $3 > 0 THEN 'stale' ELSE 'quiet' END"
        " WHERE connection_id = $1",
        p, NULL, err);
}

static enum fetch_end check_catch_up(struct check_job *j, struct failure *why,
                                     int64_t *later_ms)
{
    int64_t since_ms = j->conn->watermark_at_ms > 0
                           ? j->conn->watermark_at_ms - CATCH_UP_OVERLAP_MS
                           : j->started_at_ms - CATCH_UP_FIRST_MS;
    /* The list first: a change of who is no member is not looked at. */
    enum fetch_end scope = scope_catch_up(j->w, &j->fetch, j->claim, &j->moves, why, later_ms);
    if (scope != FETCH_OK) {
        return scope;
    }
    if (j->conn->provider->changes_together) {
        /* After a long gap first what deliveries failed for: that is most of what is missing.
         */
        enum fetch_end end = FETCH_OK;
        if (j->started_at_ms - since_ms > LONG_GAP_MS) {
            end = check_object(j, NULL, true, since_ms, why, later_ms);
        }
        return end == FETCH_OK ? check_object(j, NULL, false, since_ms, why, later_ms) : end;
    }
    for (const struct object_type *o = j->conn->provider->objects; o->name != NULL; o++) {
        if (!connection_mirrors(j->conn, o)) {
            continue;
        }
        enum fetch_end end = check_object(j, o, false, since_ms, why, later_ms);
        if (end != FETCH_OK) {
            return end;
        }
    }
    return FETCH_OK;
}

static enum fetch_end check_account(struct check_job *j, struct failure *why, int64_t *later_ms)
{
    struct record_list none;
    json_t *facts = NULL;
    struct ask ask = {.kind = ASK_ACCOUNT};
    record_list_init(&none);
    enum fetch_end end = fetch_ask(&j->fetch, &ask, &none, &facts, why, later_ms);
    json_decref(facts);
    record_list_release(&none);
    return end;
}

static struct unit_end check_failed(struct check_job *j, const struct unit *u,
                                    const struct failure *why)
{
    struct err err = {0};
    struct retry_plan plan;
    const struct error_info *info = error_info(why->type);
    if (job_ours_is_away(why)) {
        if (why->type == ET_DB_UNAVAILABLE) {
            job_away(j->w, j->claim);
        }
        return (struct unit_end){OUTCOME_RELEASE, 1000, ""};
    }
    state_after_failure(j->w->app, j->fetch.conn, why);
    attempt_retry_plan(why, u->attempts, attempt_random01(), &plan);
    struct save_job job = {.conn = j->conn,
                           .claim = j->claim,
                           .exchange = &j->fetch.exchange,
                           .started_at_ms = j->started_at_ms,
                           .worker = j->w->app->worker,
                           .meters = j->w->app->meters,
                           .log = j->w->app->log};
    if (save_failure(j->w->app->store, &job, why, &plan, &err) != 0) {
        log_warn(j->w->app->log, "check.log", "cannot log a failed check: %s", err.msg);
    }
    /* A check comes again by the clock: only a temporary failure is tried sooner. */
    if (plan.outcome == OUTCOME_RETRY) {
        return (struct unit_end){OUTCOME_RETRY, plan.delay_ms, info->code};
    }
    return (struct unit_end){OUTCOME_COMPLETE, 0, info->code};
}

/* Deliveries are silent although changes happen, and for longer than the business day allows.
 */
static void check_silence(struct check_job *j, const struct unit *u)
{
    struct err err = {0};
    struct failure why;
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, j->conn->connection_id);
    if (store_query(j->w->app->store,
                    "SELECT incremental_age_business_minutes FROM psync_bi.connection_status"
                    " WHERE connection_id = $1",
                    p, &r, &err) != 0) {
        log_warn(j->w->app->log, "check.silence", "cannot read the clock: %s", err.msg);
        return;
    }
    double minutes = rows_count(r) > 0 ? rows_float(r, 0, 0) : 0;
    if (minutes > SILENT_MINUTES) {
        char text[200];
        snprintf(text, sizeof text,
                 "%lld changes were not delivered; no delivery for %.0f business minutes",
                 (long long)j->missed, minutes);
        fetch_failure(&why, ET_WH_SILENT, text);
        (void)check_failed(j, u, &why);
    }
}

/* The pass itself: what it looked at, what it found. It answers earlier passes that failed, and
 * what they said of the channel when nothing is missed now. */
static int check_log(struct check_job *j, const struct unit *u, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, j->conn->connection_id);
    params_text(p, u->trigger);
    params_text(p, u->actor);
    params_int(p, j->looked_at);
    params_int(p, j->missed);
    params_time_ms(p, j->started_at_ms);
    params_text(p, j->w->app->worker);
    params_bool(p, j->moves.held);
    return store_query(
        j->w->app->store,
        "WITH l AS (INSERT INTO psync.attempt (attempt_id, connection_id, kind, trigger, actor,"
        "     status, error_code, error_message, seen, changed, started_at, duration_ms,"
        "     worker)"
        "   VALUES (psync.next_attempt_id(), $1, 'check', $2, $3, 'succeeded',"
        "     CASE WHEN $5 > 0 THEN 'wh_missed_events' ELSE '' END,"
        "     CASE WHEN $5 > 0 THEN $5 || ' changes had not been delivered; they are queued'"
        "       ELSE '' END, $4, $5, $6,"
        "     extract(epoch FROM clock_timestamp() - $6::timestamptz) * 1000, $7)"
        "   RETURNING attempt_id)"
        " UPDATE psync.attempt a SET resolved_by = l.attempt_id FROM l"
        " WHERE a.connection_id = $1 AND a.record_id IS NULL AND a.kind = 'check'"
        "   AND a.run_id IS NULL AND a.resolved_by IS NULL"
        "   AND a.status IN ('failed', 'partial', 'retrying')"
        "   AND a.attempt_id >= psync.attempt_floor(now() - interval '31 days')"
        "   AND (a.error_code NOT LIKE 'wh\\_%' OR $5 = 0)"
        "   AND (a.error_code <> 'mass_removal_guard' OR NOT $8)",
        p, NULL, err);
}

/* Something was missed, and what sends deliveries can be asked about (an endpoint that we made,
 * an app whose subscriptions we may read): is it still there and on? */
static void check_endpoint(struct check_job *j, const struct unit *u)
{
    struct err err = {0};
    struct webhook_state w;
    if (!webhook_is_ours(j->w->app, j->conn)) {
        return;
    }
    if (webhook_status(j->w->app, j->conn, &w, &err) != 0) {
        log_warn(j->w->app->log, "webhook.check", "cannot ask about the endpoint: %s", err.msg);
        return;
    }
    bool app = j->conn->provider->hook_of_app;
    if (w.supported && (!w.found || !w.enabled || (app && !w.events_ok))) {
        struct failure why;
        fetch_failure(&why, app ? ET_WH_SUBSCRIPTION_OFF : ET_WH_ENDPOINT_DISABLED, w.problem);
        (void)check_failed(j, u, &why);
    }
}

static struct unit_end check_work(struct check_job *j, const struct unit *u)
{
    struct err err = {0};
    struct failure why;
    int64_t later_ms = 0;
    bool catch_up = strcmp(u->id, "catch-up") == 0;
    enum fetch_end end =
        catch_up ? check_catch_up(j, &why, &later_ms) : check_account(j, &why, &later_ms);
    if (end == FETCH_LATER) {
        job_waits(j->w, j->claim, later_ms);
        return (struct unit_end){OUTCOME_RELEASE, later_ms, ""};
    }
    if (end == FETCH_FAILED) {
        return check_failed(j, u, &why);
    }
    if (j->moves.count > 0) {
        log_info(j->w->app->log, "catch_up.members",
                 "connection %lld: %lld records joined or left the mirrored list",
                 (long long)j->conn->connection_id, (long long)j->moves.count);
    }
    if (j->moves.held) {
        (void)check_failed(j, u, &j->moves.why);
    }
    if (catch_up && j->missed > 0) {
        log_info(
            j->w->app->log, "catch_up.missed",
            "connection %lld: %lld of %lld changes had not been delivered; they are queued",
            (long long)j->conn->connection_id, (long long)j->missed, (long long)j->looked_at);
        check_endpoint(j, u);
        check_silence(j, u);
    }
    /* Last: whoever waits for the outcome then finds what is behind it in the log. */
    if (catch_up && check_log(j, u, &err) != 0) {
        log_warn(j->w->app->log, "check.log", "cannot log a catch-up: %s", err.msg);
    }
    if (catch_up && check_store_outcome(j, &err) != 0) {
        log_warn(j->w->app->log, "check.store", "cannot store a catch-up: %s", err.msg);
        return (struct unit_end){OUTCOME_RELEASE, 1000, ""};
    }
    return (struct unit_end){OUTCOME_COMPLETE, 0, ""};
}

void job_checks(struct worker *w, struct claim *claim)
{
    struct unit_end ends[QUEUE_BATCH_MAX];
    /* By the watermark as it is now; checks are few. */
    connection_cache_drop(w->app->connections, claim->connection_id);
    struct connection *conn = job_connection(w, claim);
    if (conn == NULL) {
        return;
    }
    for (int i = 0; i < claim->unit_count; i++) {
        struct check_job j = {.w = w, .claim = claim, .conn = conn};
        j.started_at_ms = j.applied_to_ms = clock_now_ms();
        fetch_init(&j.fetch, w->app, conn, claim);
        ends[i] = check_work(&j, &claim->units[i]);
        fetch_release(&j.fetch);
    }
    job_end(w, claim, ends);
    connection_free(conn);
}
