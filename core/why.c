/* "Why is this record missing?": ten ordered checks, live; stops at the first cause. */
#include "core/diagnose.h"

#include "common/clock.h"
#include "core/fetch.h"
#include "core/filter.h"
#include "core/preview.h"

#include <stdio.h>
#include <string.h>

struct why {
    struct app *app;
    const struct connection *conn;
    const struct object_type *object;
    const char *id;
    struct findings *out;
    /* what PostgreSQL knows */
    struct rows *known; /* one row, or none */
    struct record_list live;
    bool there;           /* live.records[0] is the record */
    bool in_scope;        /* it was asked for, and is inside */
    struct preview would; /* what saving it now would do */
    bool tried;           /* of that */
    char command[256];
};

enum known_column {
    K_DELETED,
    K_MERGED,
    K_IN_SCOPE,
    K_SAME,
    K_STATE,
    K_REASON,
    K_CUSTOMER,
    K_ARCHIVED,
    K_INTACT,
    K_FETCHED
};

static const char *why_command(struct why *w, const char *verb)
{
    snprintf(w->command, sizeof w->command, "pivotal-sync %s %s %s %s -w %s", verb,
             w->conn->provider->name, w->object->name, w->id, w->conn->workspace);
    return w->command;
}

/* 1 */
static void why_connected(struct why *w)
{
    static const char check[] = "Is the provider connected?";
    if (w->conn->state == CONN_CONNECTED) {
        findings_add(w->out, FINDING_OK, check, "%s account %s is connected",
                     w->conn->provider->title, w->conn->account_id);
        return;
    }
    snprintf(w->command, sizeof w->command, "pivotal-sync connection %s %s -w %s",
             w->conn->state == CONN_DISCONNECTED ? "connect" : "reauthorize",
             w->conn->provider->name, w->conn->workspace);
    findings_cause(w->out, error_type_find(w->conn->state_code), check, NULL, w->command,
                   "%s is %s: %s", w->conn->provider->title, conn_state_names[w->conn->state],
                   w->conn->state_reason);
}

static enum fetch_end why_ask(struct why *w, const struct ask *ask, struct record_list *out,
                              struct failure *failure)
{
    struct fetch f;
    int64_t later_ms = 0;
    fetch_init(&f, w->app, w->conn, NULL);
    enum fetch_end end = fetch_ask(&f, ask, out, NULL, failure, &later_ms);
    fetch_release(&f);
    if (end == FETCH_LATER) {
        fetch_failure(failure, ET_RATE_LIMIT_BURST, "no quota for another call just now");
    }
    return end;
}

/* 2 and 3: there, and may the token see it? One call answers both. */
static bool why_forbidden(enum error_type type)
{
    return type == ET_SCOPE_MISSING || type == ET_PERMISSION_DENIED || type == ET_PLAN_REQUIRED;
}

static void why_exists(struct why *w)
{
    static const char check[] = "Does the record exist there?";
    static const char may[] = "May our token see it?";
    struct failure failure = {0};
    struct ask ask = {.kind = ASK_RECORDS, .object = w->object, .ids = &w->id, .id_count = 1};
    bool asked = why_ask(w, &ask, &w->live, &failure) == FETCH_OK;
    const struct record *r = w->live.count > 0 ? &w->live.records[0] : NULL;
    if (asked && r != NULL && r->status == RECORD_FAILED) {
        failure = r->failure;
        asked = false;
    }
    if (!asked && why_forbidden(failure.type)) {
        findings_add(w->out, FINDING_SKIPPED, check, "it cannot be told");
        findings_cause(w->out, failure.type, may, NULL, why_command(w, "resync"), "%s%s%s",
                       failure.message, failure.detail[0] != '\0' ? ": " : "", failure.detail);
        return;
    }
    if (!asked) {
        findings_cause(w->out, failure.type, check, NULL, why_command(w, "resync"), "%s",
                       failure.message[0] != '\0' ? failure.message
                                                  : "it could not be asked for");
        return;
    }
    if (r == NULL || r->status == RECORD_GONE) {
        bool was_here = rows_count(w->known) > 0;
        findings_cause(w->out, was_here ? ET_RECORD_DELETED : ET_RECORD_NOT_FOUND, check, NULL,
                       "", "%s has no %s %s%s", w->conn->provider->title, w->object->name,
                       w->id, was_here ? " any more" : " that we may see");
        return;
    }
    if (r->status == RECORD_MERGED) {
        findings_cause(w->out, ET_RECORD_MERGED, check, NULL, "", "It was merged into %s",
                       r->other_id);
        return;
    }
    w->there = true;
    findings_add(w->out, FINDING_OK, check, "%s has it now", w->conn->provider->title);
    findings_add(w->out, FINDING_OK, may, "It does");
}

/* Of a provider that lists everything, what was read says it. */
static void why_filtered(struct why *w, const char *check)
{
    if (filter_inside(w->conn, w->object, w->live.records[0].raw)) {
        w->in_scope = true;
        findings_add(w->out, FINDING_OK, check, "It is in %s %s", w->conn->scope_kind,
                     w->conn->scope_id);
        return;
    }
    snprintf(w->command, sizeof w->command, "pivotal-sync scope show %s -w %s",
             w->conn->provider->name, w->conn->workspace);
    findings_cause(w->out, ET_OUT_OF_STRIPE_SCOPE, check, NULL, w->command,
                   "It is in %s but has no price of %s %s", w->conn->provider->title,
                   w->conn->scope_kind, w->conn->scope_id);
}

/* 4 */
static void why_in_scope(struct why *w)
{
    static const char check[] = "Is it in what is mirrored?";
    if ((w->object->flags & OBJECT_FILTERED) != 0 && w->conn->scope_kind[0] != '\0' &&
        w->there) {
        why_filtered(w, check);
        return;
    }
    if ((w->object->flags & OBJECT_SCOPED) == 0 || w->conn->scope_kind[0] == '\0') {
        findings_add(w->out, FINDING_SKIPPED, check, "every %s is mirrored", w->object->name);
        return;
    }
    struct record_list answer;
    struct failure failure;
    struct ask ask = {
        .kind = ASK_MEMBERSHIP, .object = w->object, .ids = &w->id, .id_count = 1};
    record_list_init(&answer);
    if (why_ask(w, &ask, &answer, &failure) != FETCH_OK) {
        findings_cause(w->out, failure.type, check, NULL, "", "%s", failure.message);
    } else if (answer.count == 0 || answer.records[0].status != RECORD_REF) {
        char mend[300];
        snprintf(mend, sizeof mend,
                 "Add it there; it appears with the next check, or at once by run-now.");
        snprintf(w->command, sizeof w->command, "pivotal-sync run-now %s -w %s",
                 w->conn->provider->name, w->conn->workspace);
        findings_cause(
            w->out, ET_NOT_IN_MIRRORED_LIST, check, mend, w->command,
            "It is in %s but not in the %s %s", w->conn->provider->title, w->conn->scope_kind,
            w->conn->scope_name != NULL && w->conn->scope_name[0] != '\0' ? w->conn->scope_name
                                                                          : w->conn->scope_id);
    } else {
        w->in_scope = true;
        findings_add(w->out, FINDING_OK, check, "It is in %s %s", w->conn->scope_kind,
                     w->conn->scope_id);
    }
    record_list_release(&answer);
}

/* Saved in a transaction that is never committed: the answer to checks 5, 6 and 9 is what the
 * very code that saves would say now. */
static int why_try(struct why *w, struct err *err)
{
    if ((w->object->flags & OBJECT_ROOT) == 0) {
        return 0;
    }
    if (preview_read(w->app, w->conn, w->object, &w->live.records[0], w->in_scope, &w->would,
                     err) != 0) {
        return -1;
    }
    w->tried = true;
    return 0;
}

/* The first thing of a family that saving would complain of; ET_NONE = nothing. */
static enum error_type why_complaint(const struct why *w, bool matching, const char **field,
                                     const char **message)
{
    size_t i;
    const json_t *failure;
    json_array_foreach(w->would.failures, i, failure)
    {
        enum error_type type =
            error_type_find(json_string_value(json_object_get(failure, "error_code")));
        const struct error_info *info = error_info(type);
        if (info != NULL && (strcmp(info->family, "matching") == 0) == matching) {
            *field = json_string_value(json_object_get(failure, "field"));
            *message = json_string_value(json_object_get(failure, "message"));
            return type;
        }
    }
    return ET_NONE;
}

/* 5 and 6: has it a key, and whom does that fit? */
static void why_matched(struct why *w)
{
    static const char key[] = "Has it a key to match by?";
    static const char fits[] = "Which customers fit?";
    const char *field = NULL, *message = NULL;
    if (!w->tried) {
        findings_add(w->out, FINDING_SKIPPED, key, "a %s is no customer by itself",
                     w->object->name);
        findings_add(w->out, FINDING_SKIPPED, fits, "a %s is no customer by itself",
                     w->object->name);
        return;
    }
    enum error_type type = why_complaint(w, true, &field, &message);
    snprintf(w->command, sizeof w->command, "pivotal-sync link add %s %s CUSTOMER -w %s",
             w->conn->provider->name, w->id, w->conn->workspace);
    if (type == ET_MATCH_NO_KEY || type == ET_MATCH_PERSONAL_EMAIL) {
        findings_cause(w->out, type, key, NULL, w->command, "%s", message);
        return;
    }
    findings_add(w->out, FINDING_OK, key, "%s",
                 (w->object->flags & OBJECT_SELF) != 0 ? "It makes a customer of its own"
                                                       : "Yes");
    if (type != ET_NONE) {
        findings_cause(w->out, type, fits, NULL, w->command, "%s", message);
    } else if (rows_count(w->known) > 0 && rows_int(w->known, 0, K_CUSTOMER) != 0) {
        findings_add(w->out, FINDING_OK, fits, "It belongs to customer %lld",
                     (long long)rows_int(w->known, 0, K_CUSTOMER));
    } else {
        findings_add(w->out, FINDING_OK, fits, "One does; it is not linked yet");
    }
}

/* 7: what waits by itself is no cause, unless it is what everything waits for. */
static int why_waiting(struct why *w, struct err *err)
{
    static const char check[] = "Is a job waiting or parked for it?";
    struct queue_place at;
    int64_t now_ms = clock_now_ms();
    if (queue_find(w->app->queue, w->conn->shard, w->conn->connection_id, w->object->name,
                   w->id, &at, err) != 0) {
        return -1;
    }
    bool stands = at.state != NULL &&
                  (strcmp(at.state, "parked") == 0 || strcmp(at.state, "buried") == 0);
    bool missing = rows_count(w->known) == 0 || rows_is_null(w->known, 0, K_SAME);
    if (at.state == NULL) {
        findings_add(w->out, FINDING_OK, check, "No");
    } else if (stands) {
        findings_cause(w->out, error_type_find(at.reason), check, NULL,
                       why_command(w, "resync"), "It is %s after %d tries: %s", at.state,
                       at.attempts, at.reason[0] != '\0' ? at.reason : "no reason is kept");
    } else if (w->conn->paused || missing) {
        bool paused = w->conn->paused;
        if (paused) {
            snprintf(w->command, sizeof w->command, "pivotal-sync connection resume %s -w %s",
                     w->conn->provider->name, w->conn->workspace);
        } else {
            snprintf(w->command, sizeof w->command, "pivotal-sync queue list --state %s",
                     at.state);
        }
        findings_cause(w->out, ET_NONE, check,
                       paused ? "Resume the connection; the job then runs by itself."
                              : "It runs by itself when its turn comes.",
                       w->command, "It is %s in the lane %s, for %lld s now%s", at.state,
                       lane_names[at.lane >= 0 && at.lane < LANE_COUNT ? at.lane : 0],
                       (long long)(now_ms > at.since_ms ? (now_ms - at.since_ms) / 1000 : 0),
                       paused ? "; an admin paused the connection" : "");
    } else {
        findings_add(w->out, FINDING_OK, check, "It is %s in the lane %s", at.state,
                     lane_names[at.lane >= 0 && at.lane < LANE_COUNT ? at.lane : 0]);
    }
    return 0;
}

/* 8 */
static int why_last_attempt(struct why *w, struct err *err)
{
    static const char check[] = "What did the last attempt say?";
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, w->conn->connection_id);
    params_text(p, w->object->name);
    params_text(p, w->id);
    params_bool(p, w->out->utc);
    if (store_query(w->app->store,
                    "SELECT a.attempt_id::text, a.status, a.error_code, a.error_message,"
                    "   psync.local_text(a.started_at, CASE WHEN $4 THEN 'UTC' ELSE w.tz END)"
                    " FROM psync.attempt a JOIN psync.connection c USING (connection_id)"
                    "   JOIN psync.workspace w USING (workspace_id)"
                    " WHERE a.connection_id = $1 AND a.object_type = $2 AND a.record_id = $3"
                    " ORDER BY a.attempt_id DESC LIMIT 1",
                    p, &r, err) != 0) {
        return -1;
    }
    const struct error_info *info =
        rows_count(r) > 0 ? error_info(error_type_find(rows_text(r, 0, 2))) : NULL;
    if (rows_count(r) == 0) {
        findings_add(w->out, FINDING_SKIPPED, check, "no attempt at this record by itself");
    } else if (info != NULL && info->severity == SEVERITY_ERROR) {
        snprintf(w->command, sizeof w->command, "pivotal-sync retry %s --wait",
                 rows_text(r, 0, 0));
        findings_cause(w->out, error_type_find(info->code), check, NULL, w->command, "%s: %s",
                       info->title, rows_text(r, 0, 3));
    } else {
        findings_add(w->out, FINDING_OK, check, "%s at %s%s%s", rows_text(r, 0, 1),
                     rows_text(r, 0, 4), info != NULL ? ": " : "",
                     info != NULL ? info->title : "");
    }
    return 0;
}

/* 9 */
static void why_fills(struct why *w)
{
    static const char check[] = "Would every field of the mapping fill?";
    const char *field = NULL, *message = NULL;
    if (!w->tried) {
        findings_add(w->out, FINDING_SKIPPED, check, "a %s fills no fields by itself",
                     w->object->name);
        return;
    }
    enum error_type type = why_complaint(w, false, &field, &message);
    if (type == ET_NONE) {
        findings_add(w->out, FINDING_OK, check, "Yes");
        return;
    }
    snprintf(w->command, sizeof w->command, "pivotal-sync mapping show %s -w %s",
             w->conn->provider->name, w->conn->workspace);
    findings_cause(w->out, type, check, NULL, w->command, "%s%s%s", field != NULL ? field : "",
                   field != NULL && field[0] != '\0' ? ": " : "",
                   message != NULL ? message : "");
}

/* 10: here, not archived, and as the provider has it? */
static void why_here(struct why *w)
{
    static const char check[] = "Is it here as they have it, and not archived?";
    if (rows_count(w->known) > 0 && !rows_is_null(w->known, 0, K_ARCHIVED)) {
        findings_cause(w->out, error_type_find(rows_text(w->known, 0, K_ARCHIVED)), check, NULL,
                       why_command(w, "resync"), "Customer %s is archived: %s",
                       rows_text(w->known, 0, K_CUSTOMER), rows_text(w->known, 0, K_ARCHIVED));
    } else if (rows_count(w->known) == 0 || rows_is_null(w->known, 0, K_SAME)) {
        findings_cause(w->out, ET_NONE, check, "Pull it now.", why_command(w, "resync"),
                       "It was never read here");
    } else if (!rows_bool(w->known, 0, K_SAME)) {
        findings_cause(
            w->out, ET_WH_MISSED_EVENTS, check,
            "Pull it now. Calculated properties, associations and archiving are seen by "
            "the nightly pass only.",
            why_command(w, "resync"), "%s has changed it since we read it (%s)",
            w->conn->provider->title, rows_text(w->known, 0, K_FETCHED));
    } else if (rows_int(w->known, 0, K_CUSTOMER) != 0 && !rows_bool(w->known, 0, K_INTACT)) {
        findings_cause(
            w->out, ET_NONE, check, "Resync overwrites the mapped fields.",
            why_command(w, "resync"),
            "The record is current, but mapped fields of customer %s were changed by hand",
            rows_text(w->known, 0, K_CUSTOMER));
    } else {
        findings_add(w->out, FINDING_OK, check, "Yes, as of %s",
                     rows_text(w->known, 0, K_FETCHED));
    }
}

static int why_load(struct why *w, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, w->conn->connection_id);
    params_text(p, w->object->name);
    params_text(p, w->id);
    params_bytea(p, w->there ? w->live.records[0].hash : NULL, RECORD_HASH_BYTES);
    params_bool(p, w->out->utc);
    rows_free(w->known);
    w->known = NULL;
    return store_query(
        w->app->store,
        "SELECT r.deleted_at, r.merged_into, r.in_scope, s.hash = $4::bytea,"
        "   s.state, s.reason_code, coalesce(l.customer_id, 0),"
        "   CASE WHEN c.archived_at IS NOT NULL"
        "     THEN coalesce(c.archived_why, 'archived') END,"
        "   coalesce(c.fields @> l.applied, false),"
        "   psync.local_text(s.fetched_at, CASE WHEN $5 THEN 'UTC' ELSE z.tz END)"
        " FROM psync.record_seen s JOIN psync.connection n USING (connection_id)"
        " JOIN psync.workspace z USING (workspace_id)"
        " LEFT JOIN psync.record r USING (connection_id, object_type, record_id)"
        " LEFT JOIN psync.record_link l USING (connection_id, object_type, record_id)"
        " LEFT JOIN psync.customer c ON c.customer_id = l.customer_id"
        " WHERE s.connection_id = $1 AND s.object_type = $2 AND s.record_id = $3",
        p, &w->known, err);
}

int diagnose_record(struct app *app, const struct connection *c, const char *object,
                    const char *id, struct findings *out, struct err *err)
{
    struct why w = {.app = app, .conn = c, .id = id, .out = out};
    int rc = -1;
    w.object = provider_object(c->provider, object);
    if (w.object == NULL) {
        err_set(err, ERR_INVALID, "%s has no records of type '%s'", c->provider->title, object);
        return -1;
    }
    record_list_init(&w.live);
    if (why_load(&w, err) != 0) {
        goto done;
    }
    rc = 0;
    why_connected(&w);
    if (findings_first_cause(out) == NULL) {
        why_exists(&w);
    }
    if (findings_first_cause(out) == NULL) {
        rc = why_load(&w, err); /* again: now against the live hash */
    }
    if (rc == 0 && findings_first_cause(out) == NULL) {
        why_in_scope(&w);
    }
    if (rc == 0 && findings_first_cause(out) == NULL) {
        rc = why_try(&w, err);
    }
    if (rc == 0 && findings_first_cause(out) == NULL) {
        why_matched(&w);
    }
    if (rc == 0 && findings_first_cause(out) == NULL) {
        rc = why_waiting(&w, err);
    }
    if (rc == 0 && findings_first_cause(out) == NULL) {
        rc = why_last_attempt(&w, err);
    }
    if (rc == 0 && findings_first_cause(out) == NULL) {
        why_fills(&w);
    }
    if (rc == 0 && findings_first_cause(out) == NULL) {
        why_here(&w);
    }
done:
    preview_release(&w.would);
    rows_free(w.known);
    record_list_release(&w.live);
    return rc;
}
