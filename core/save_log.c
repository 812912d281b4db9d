/* What is logged, and the checkpoint and clocks that commit with it. */
#include "core/save_priv.h"

#include "common/clock.h"

static int64_t not_below_0(int64_t v)
{
    return v > 0 ? v : 0;
}

/* What every row of this job has in common. */
static struct attempt common_row(const struct save_job *job, const struct unit *unit,
                                 int64_t now_ms)
{
    struct attempt a = {
        .connection_id = job->conn->connection_id,
        .run_id = job->run_id,
        .kind = UNIT_RECORD,
        .trigger = unit != NULL ? unit->trigger : "",
        .actor = unit != NULL ? unit->actor : "",
        .object = job->object != NULL ? job->object->name : "",
        .attempt_no = unit != NULL ? unit->attempts + 1 : 1,
        .events = unit != NULL ? unit->events : 1,
        .fetch_no = job->fetch_no,
        .started_at_ms = job->started_at_ms,
        .duration_ms = not_below_0(now_ms - job->started_at_ms),
        .lag_ms = -1,
        .worker = job->worker,
        .exchange = job->exchange,
    };
    if (unit != NULL && unit->first_seen_ms > 0) {
        /* Both by Redis' clock. */
        int64_t claimed_at_ms =
            job->claim != NULL ? job->claim->claimed_at_ms : job->started_at_ms;
        a.queue_wait_ms = not_below_0(claimed_at_ms - unit->first_seen_ms);
    }
    if (unit != NULL && unit->occurred_at_ms > 0) {
        a.lag_ms = not_below_0(now_ms - unit->occurred_at_ms);
    }
    return a;
}

/* Who asked for a chunk: its own unit. */
static const struct unit *chunk_unit(const struct save_job *job)
{
    return job->claim != NULL && job->claim->unit_count > 0 ? &job->claim->units[0] : NULL;
}

/* There may be an earlier row that did not end well, of which the record itself knows nothing:
 * a worker that died of it wrote none. */
static bool asked_again(const struct unit *u)
{
    return u->attempts > 0 || strcmp(u->trigger, "retry") == 0 ||
           strcmp(u->trigger, "person") == 0 || strcmp(u->trigger, "cli") == 0;
}

static struct attempt row_attempt(const struct save *s, const struct save_row *row)
{
    const struct save_job *job = s->job;
    const struct save_verdict *v = row->verdict;
    const struct unit *unit = row->item->unit != NULL ? row->item->unit : chunk_unit(job);
    struct attempt a = common_row(job, unit, s->now_ms);
    a.record_id = row->id;
    a.customer_id = v->customer_id;
    a.status = v->plan.status;
    a.failure = v->failure;
    a.error_field = row->error_field[0] != '\0' ? row->error_field : v->failure.detail;
    a.error_count = v->failure.type == ET_NONE ? 0
                    : row->problem_count > 0   ? row->problem_count
                                               : 1;
    a.seen = 1;
    a.changed = v->changed;
    a.slice = row->item->record->raw;
    if (v->restored && v->failure.type == ET_NONE) {
        a.failure = (struct failure){.type = ET_RECORD_RESTORED, .wait_ms = -1};
        (void)snprintf(a.failure.message, sizeof a.failure.message,
                       "%s %s is back at the provider; it is no longer archived",
                       job->object->name, row->id);
    }
    a.recovers = row->code[0] != '\0' || row->fail_count > 0 ||
                 (row->item->unit != NULL && asked_again(row->item->unit));
    if (row->item->unit == NULL) {
        a.attempt_no = 1;
        a.events = 1;
    }
    if (v->plan.status == ATTEMPT_RETRYING) {
        a.next_retry_at_ms = s->now_ms + v->plan.delay_ms;
    }
    return a;
}

/* Of a chunk only what did not succeed gets a row of its own; a record whose later state is
 * stored already is no news there. */
static bool logged(const struct save *s, const struct save_row *row)
{
    return s->job->chunk == NULL
               ? row->item->unit != NULL || row->verdict->failure.type != ET_NONE
               : row->verdict->failure.type != ET_NONE && !row->verdict->stale;
}

static struct attempt chunk_attempt(const struct save *s)
{
    const struct save_result *out = s->out;
    struct attempt a = common_row(s->job, chunk_unit(s->job), s->now_ms);
    a.kind = UNIT_CHUNK;
    a.seen = s->job->item_count;
    a.changed = (int)(out->created + out->updated);
    a.error_count = (int)out->failed;
    a.status = out->failed == 0                   ? ATTEMPT_SUCCEEDED
               : out->failed < s->job->item_count ? ATTEMPT_PARTIAL
                                                  : ATTEMPT_FAILED;
    a.bodyless = true; /* each failed record keeps its own part */
    return a;
}

/* Records that failed before and are well now, told by a chunk's single row. */
static int resolve_recovered(struct save *s, int64_t chunk_attempt_id, struct err *err)
{
    int n = 0;
    const char **ids = calloc((size_t)s->row_count + 1, sizeof *ids);
    if (ids == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for recovered records");
        return -1;
    }
    for (int i = 0; i < s->row_count; i++) {
        const struct save_row *row = &s->rows[i];
        if (row->fresh && row->code[0] != '\0' && row->verdict->failure.type == ET_NONE) {
            ids[n++] = row->id;
        }
    }
    int rc = attempt_resolve_send(s->tx, s->job->conn->connection_id, s->job->object->name, ids,
                                  n, chunk_attempt_id, err);
    free((void *)ids);
    return rc;
}

static int send_attempts(struct save *s, struct err *err)
{
    int n = s->job->chunk != NULL ? 1 : 0;
    struct attempt *rows = calloc((size_t)s->row_count + 1, sizeof *rows);
    if (rows == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for log rows");
        return -1;
    }
    if (s->job->chunk != NULL) {
        rows[0] = chunk_attempt(s);
    }
    for (int i = 0; i < s->row_count; i++) {
        if (logged(s, &s->rows[i])) {
            rows[n++] = row_attempt(s, &s->rows[i]);
        }
    }
    int rc = attempt_send(s->tx, rows, n, err);
    if (rc == 0 && s->job->chunk != NULL) {
        rc = resolve_recovered(s, rows[0].attempt_id, err);
    }
    s->logged = rows;
    s->logged_count = n;
    return rc;
}

static void tell_attempts(const struct save_job *job, const struct attempt *rows, int n)
{
    meters_attempts(job->meters, job->conn->provider->name, rows, n);
    attempt_tell(job->log, job->conn->provider->name, rows, n);
}

void save_log_tell(const struct save *s)
{
    tell_attempts(s->job, s->logged, s->logged_count);
    meters_rows(s->job->meters, s->job->object->name, s->out->created, s->out->updated,
                s->out->unchanged);
}

/* ---- checkpoint ---- */

static const char *const chunk_sql =
    "UPDATE psync.run_chunk SET cursor = $4::text,"
    " status = CASE WHEN $5::bool THEN 'done' ELSE status END, attempts = 0,"
    " pages = pages + 1, api_calls = api_calls + $6::int,"
    " throttled_ms = throttled_ms + $13::bigint, seen = seen + $7::bigint,"
    " created = created + $8::bigint, updated = updated + $9::bigint,"
    " unchanged = unchanged + $10::bigint, skipped = skipped + $11::bigint,"
    " failed = failed + $12::bigint, error_code = '', updated_at = now() "
    "WHERE run_id = $1::bigint AND chunk_no = $2::int AND claim_no = $3::bigint";

/* All chunks of a run share its row, and whoever writes it keeps the others waiting until the
 * commit is on the disk: once a second is enough. */
static const char *const run_sql =
    "UPDATE psync.run r SET progress_at = now(), stalls = 0, api_calls = k.calls,"
    " throttled_ms = k.throttled_ms "
    "FROM (SELECT sum(api_calls) AS calls, sum(throttled_ms) AS throttled_ms"
    "  FROM psync.run_chunk WHERE run_id = $1::bigint) k "
    "WHERE r.run_id = $1::bigint AND (r.progress_at IS NULL"
    "  OR r.progress_at < now() - interval '1 second')";

static int save_chunk(struct save *s, struct err *err)
{
    const struct save_chunk *c = s->job->chunk;
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(params_freep) struct params *run = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    const int64_t counts[] = {s->job->item_count, s->out->created, s->out->updated,
                              s->out->unchanged,  s->out->skipped, s->out->failed};
    params_int(p, c->run_id);
    params_int(p, c->chunk_no);
    params_int(p, c->claim_no);
    params_text(p, c->cursor);
    params_bool(p, c->done);
    params_int(p, c->api_calls);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        params_int(p, counts[i]);
    }
    params_int(p, c->throttled_ms);
    params_int(run, c->run_id);
    if (store_send(s->tx, chunk_sql, p, &r, err) != 0 ||
        store_send(s->tx, run_sql, run, NULL, err) != 0 || store_sync(s->tx, err) != 0) {
        return -1;
    }
    if (rows_affected(r) == 0) {
        err_set(err, ERR_CONFLICT, "chunk %lld.%d belongs to another claim",
                (long long)c->run_id, c->chunk_no);
        return -1;
    }
    return 0;
}

/* The webhook channel was known good just now. One row for all saves of a connection: written
 * once a second at most. */
static int move_clock(struct save *s, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, s->job->conn->connection_id);
    return store_send(s->tx,
                      "UPDATE psync.connection SET last_incremental_at = now(),"
                      " channel_state = 'fresh' WHERE connection_id = $1::bigint"
                      " AND (last_incremental_at IS NULL OR channel_state <> 'fresh'"
                      "  OR last_incremental_at < now() - interval '1 second')",
                      p, NULL, err);
}

int save_log(struct save *s, struct err *err)
{
    s->now_ms = clock_now_ms();
    if (send_attempts(s, err) != 0 || (s->job->from_delivery && move_clock(s, err) != 0)) {
        return -1;
    }
    return s->job->chunk != NULL ? save_chunk(s, err) : 0;
}

/* ---- a failed ask ---- */

static int failure_rows(const struct save_job *job, const struct failure *why,
                        const struct retry_plan *plans, struct attempt *rows)
{
    int64_t now_ms = clock_now_ms();
    int n = 0;
    for (int i = 0; i < job->claim->unit_count; i++) {
        const struct unit *u = &job->claim->units[i];
        struct attempt a = common_row(job, u, now_ms);
        a.kind = u->kind;
        a.object = u->kind == UNIT_CHUNK && job->object != NULL ? job->object->name : u->object;
        a.record_id = u->kind == UNIT_RECORD ? u->id : NULL;
        a.status = plans[i].status;
        a.failure = *why;
        a.error_field = why->detail; /* the permission, scope or parameter it names */
        a.error_count = 1;
        a.recovers = asked_again(u);
        if (plans[i].status == ATTEMPT_RETRYING) {
            a.next_retry_at_ms = now_ms + plans[i].delay_ms;
        }
        rows[n++] = a;
    }
    return n;
}

/* That records failed with the ask, so that the try that succeeds knows there is something to
 * resolve. fetch_no stays below any, since nothing was read; the state is the record's own and
 * does not change for what holds up the whole connection, or passes. */
static const char *const failing_sql =
    "INSERT INTO psync.record_seen AS s (connection_id, object_type, record_id, fetch_no,"
    " state, reason_code, fail_count) "
    "SELECT $1::bigint, $2::text, x, 0, 'failing', $3::text, 1"
    " FROM unnest($4::text[]) AS x ORDER BY x "
    "ON CONFLICT (connection_id, object_type, record_id) DO UPDATE SET"
    " state = CASE WHEN $5::bool THEN excluded.state ELSE s.state END,"
    " reason_code = CASE WHEN $5::bool THEN excluded.reason_code ELSE s.reason_code END,"
    " fail_count = s.fail_count + 1";

static bool of_the_record(const struct failure *why, const struct retry_plan *plan)
{
    const struct error_info *info = error_info(why->type);
    return plan->status == ATTEMPT_FAILED && info != NULL &&
           (info->pauses == PAUSES_NOTHING || info->pauses == PAUSES_FIELD ||
            info->pauses == PAUSES_RECORD);
}

static int mark_failing(struct store_tx *tx, const struct save_job *job,
                        const struct failure *why, const struct retry_plan *plans, bool own,
                        struct err *err)
{
    const struct error_info *info = error_info(why->type);
    CLEANUP(params_freep) struct params *p = params_new();
    int n = 0;
    params_int(p, job->conn->connection_id);
    params_text(p, job->object != NULL ? job->object->name : "");
    params_text(p, info != NULL ? info->code : "");
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < job->claim->unit_count; i++) {
        const struct unit *u = &job->claim->units[i];
        if (u->kind == UNIT_RECORD && of_the_record(why, &plans[i]) == own) {
            params_array_text(p, u->id, strlen(u->id));
            n++;
        }
    }
    params_array_end(p);
    params_bool(p, own);
    return n == 0 ? 0 : store_send(tx, failing_sql, p, NULL, err);
}

int save_failure(struct store *s, const struct save_job *job, const struct failure *why,
                 const struct retry_plan *plans, struct err *err)
{
    if (job->claim == NULL || job->claim->unit_count == 0) {
        return 0;
    }
    struct attempt *rows = calloc((size_t)job->claim->unit_count, sizeof *rows);
    if (rows == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for log rows");
        return -1;
    }
    int n = failure_rows(job, why, plans, rows);
    int rc = -1;
    struct store_tx *tx = store_begin(s, err);
    if (tx != NULL && attempt_send(tx, rows, n, err) == 0 &&
        mark_failing(tx, job, why, plans, true, err) == 0 &&
        mark_failing(tx, job, why, plans, false, err) == 0) {
        rc = store_commit(tx, err);
        if (rc == 0) {
            tell_attempts(job, rows, n);
        }
    } else {
        store_abort(tx);
    }
    free(rows);
    return rc;
}
