/* Chunks of runs: one claim works one page, then gives the chunk back, so that higher lanes go
 * in between and every page pays for itself. */
#include "worker/scope.h"

#include "common/clock.h"
#include "core/run.h"
#include "core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct chunk_job {
    struct worker *w;
    struct claim *claim;
    const struct unit *unit;
    struct connection *conn;
    const struct object_type *object;
    struct run_chunk chunk;
    struct fetch fetch;
    struct record_list list;
    int64_t fetch_no, started_at_ms;
};

static const struct unit_end chunk_done = {OUTCOME_COMPLETE, 0, ""};
static const struct unit_end chunk_goes_on = {OUTCOME_RELEASE, 0, ""};

static struct save_job chunk_save_job(struct chunk_job *j);

static struct unit_end chunk_later(struct chunk_job *j, const char *what, const struct err *err)
{
    enum error_type refusal = job_refusal(err);
    if (err->code == ERR_CONFLICT && refusal == ET_NONE) {
        return chunk_done; /* another claim works it now */
    }
    if (refusal != ET_NONE) {
        struct err late = {0};
        struct failure why;
        struct retry_plan plan = {OUTCOME_RELEASE, ATTEMPT_RETRYING, 1000};
        struct save_job job = chunk_save_job(j);
        fetch_failure(&why, refusal, err->msg);
        job.exchange = NULL;
        if (save_failure(j->w->app->store, &job, &why, &plan, &late) != 0) {
            log_warn(j->w->app->log, "chunk.log", "cannot log a failure: %s", late.msg);
        }
    } else if (err->code == ERR_UNAVAILABLE) {
        job_away(j->w, j->claim);
    }
    log_warn(j->w->app->log, "chunk.later", "chunk %s: %s: %s", j->unit->id, what, err->msg);
    return (struct unit_end){OUTCOME_RELEASE, 1000, ""};
}

static enum fetch_end chunk_fetch(struct chunk_job *j, struct failure *why, int64_t *later_ms)
{
    const struct run_chunk *c = &j->chunk;
    struct ask ask = {.object = j->object,
                      .ids = (const char *const *)c->ids,
                      .id_count = c->id_count,
                      .cursor = c->cursor,
                      .created_from_s = c->range_from,
                      .created_to_s = c->range_to};
    if (strcmp(c->kind, "scope") == 0) {
        ask.kind = ASK_SCOPE_PAGE;
        ask.ids = NULL; /* what is carried over is not part of the question */
        ask.id_count = 0;
    } else if (strcmp(c->kind, "range") == 0) {
        ask.kind = ASK_PAGE;
        if (c->too_large) { /* a quarter of the page, then of that: 25, 6, 1 */
            ask.page_max = j->object->page_max >> (2 * (c->attempts < 3 ? c->attempts : 3));
        }
    } else if (strcmp(c->kind, "related") == 0) {
        ask.kind = ASK_RELATED;
        ask.object = scope_object(j->conn) != NULL ? scope_object(j->conn) : j->object;
        ask.related_object = j->object;
    } else {
        ask.kind = ASK_RECORDS;
    }
    return fetch_ask(&j->fetch, &ask, &j->list, NULL, why, later_ms);
}

/* What a complete pass did not name is outside: a company that is no member, a contact of no
 * company that is inside. Other types have no scope. */
static enum scope_verdict chunk_scope(const struct chunk_job *j)
{
    if ((j->object->flags & (OBJECT_SCOPED | OBJECT_RELATED)) == 0) {
        return SCOPE_KEEP;
    }
    return strcmp(j->chunk.kind, "sweep") == 0 ? SCOPE_OUT : SCOPE_IN;
}

static const char *chunk_parent(const struct chunk_job *j, const char *id, int hint)
{
    for (int k = 0; j->chunk.parents != NULL && k < j->chunk.id_count; k++) {
        int i = (hint + k) % j->chunk.id_count;
        if (strcmp(j->chunk.ids[i], id) == 0) {
            return j->chunk.parents[i];
        }
    }
    return NULL;
}

/* Each record's parent: the one it names itself when that is a member, else the one whose
 * associations led to it. */
static int chunk_parents(struct chunk_job *j, struct save_item *items, struct err *err)
{
    const char **own = calloc(j->list.count + 1, sizeof *own);
    int *of = calloc(j->list.count + 1, sizeof *of);
    bool *member = calloc(j->list.count + 1, sizeof *member);
    int n = 0;
    int rc = 0;
    if (own == NULL || of == NULL || member == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        rc = -1;
    }
    for (size_t i = 0; rc == 0 && i < j->list.count; i++) {
        const struct record *r = &j->list.records[i];
        items[i].parent_id = chunk_parent(j, r->id, (int)i);
        if (r->status == RECORD_FOUND && r->other_id[0] != '\0' && items[i].parent_id != NULL &&
            strcmp(r->other_id, items[i].parent_id) != 0) {
            own[n] = r->other_id;
            of[n++] = (int)i;
        }
    }
    if (rc == 0 && n > 0) {
        rc = scope_live_members(j->w, j->conn, own, n, member, err);
    }
    for (int i = 0; rc == 0 && i < n; i++) {
        if (member[i]) {
            items[of[i]].parent_id = own[i];
        }
    }
    free((void *)own);
    free(of);
    free(member);
    return rc;
}

static struct save_job chunk_save_job(struct chunk_job *j)
{
    return (struct save_job){
        .conn = j->fetch.conn,
        .object = j->object,
        .fetch_no = j->fetch_no,
        .run_id = j->chunk.run_id,
        .claim = j->claim,
        .exchange = &j->fetch.exchange,
        .started_at_ms = j->started_at_ms,
        .worker = j->w->app->worker,
        .meters = j->w->app->meters,
        .log = j->w->app->log,
    };
}

/* A page of records: written with the cursor behind it. */
static struct unit_end chunk_save_records(struct chunk_job *j)
{
    struct err err = {0};
    size_t n = j->list.count;
    bool range = strcmp(j->chunk.kind, "range") == 0, more = range && j->list.has_more;
    struct save_item *items = calloc(n + 1, sizeof *items);
    struct save_result result = {0};
    if (items == NULL) {
        err_set(&err, ERR_NOMEM, "out of memory");
        return chunk_later(j, "cannot save", &err);
    }
    for (size_t i = 0; i < n; i++) {
        const struct record *r = &j->list.records[i];
        items[i] = (struct save_item){.record = r, .scope = chunk_scope(j)};
    }
    if (chunk_parents(j, items, &err) != 0) {
        free(items);
        return chunk_later(j, "cannot save", &err);
    }
    struct save_chunk chunk = {.run_id = j->chunk.run_id,
                               .chunk_no = j->chunk.chunk_no,
                               .claim_no = j->chunk.claim_no,
                               .cursor = more ? j->list.cursor : NULL,
                               .done = !more,
                               .api_calls = j->fetch.api_calls,
                               .throttled_ms = j->fetch.throttled_ms};
    struct save_job job = chunk_save_job(j);
    job.items = items;
    job.item_count = (int)n;
    job.chunk = &chunk;
    int rc = save_records(j->w->app->store, &job, &result, &err);
    save_result_release(&result);
    int64_t first_created_s = n > 0 ? j->list.records[0].created_s : 0;
    int64_t last_created_s = n > 0 ? j->list.records[n - 1].created_s : 0;
    free(items);
    if (rc != 0) {
        return chunk_later(j, "cannot save", &err);
    }
    if (more && j->chunk.splits && last_created_s > 0 &&
        (j->object->flags & OBJECT_DATED) != 0 &&
        run_split_range(j->w->app, &j->chunk, first_created_s, last_created_s, &err) != 0) {
        log_warn(j->w->app->log, "run.split", "cannot split chunk %s: %s", j->unit->id,
                 err.msg);
    }
    return more ? chunk_goes_on : chunk_done;
}

static struct unit_end chunk_save(struct chunk_job *j)
{
    struct err err = {0};
    int rc;
    if (strcmp(j->chunk.kind, "scope") == 0) {
        rc = run_save_scope_page(j->w->app, j->fetch.conn, &j->chunk, &j->list,
                                 j->fetch.api_calls, &err);
        if (rc == 0 && j->list.has_more) {
            (void)!run_go_on(j->w->app, j->chunk.run_id, &err);
            return chunk_goes_on;
        }
    } else if (strcmp(j->chunk.kind, "related") == 0) {
        rc = run_save_related(j->w->app, &j->chunk, &j->list, j->object, j->fetch.api_calls,
                              &err);
    } else {
        return chunk_save_records(j);
    }
    return rc == 0 ? chunk_done : chunk_later(j, "cannot save", &err);
}

static void chunk_count_attempt(struct chunk_job *j, const char *code)
{
    struct err err = {0};
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, j->chunk.run_id);
    params_int(p, j->chunk.chunk_no);
    params_int(p, j->chunk.claim_no);
    params_text(p, code);
    if (store_query(j->w->app->store,
                    "UPDATE psync.run_chunk SET attempts = attempts + 1, error_code = $4,"
                    "   updated_at = now()"
                    " WHERE run_id = $1 AND chunk_no = $2 AND claim_no = $3",
                    p, NULL, &err) != 0) {
        log_warn(j->w->app->log, "chunk.attempt", "cannot count a try: %s", err.msg);
    }
}

/* The record that the cursor names is gone at the provider, and this run saw it while it was
 * there: the pages read again do not name it, so it is asked for by itself. */
static int chunk_ask_for_cursor(struct chunk_job *j, struct err *err)
{
    struct unit_put put = {
        .connection_id = j->conn->connection_id,
        .shard = j->claim->shard,
        .kind = UNIT_RECORD,
        .object = j->chunk.object,
        .id = j->chunk.cursor,
        .lane = LANE_RUN_NOW,
        .trigger = "catch-up",
        .actor = "",
        .hint = "",
    };
    return queue_put(j->w->app->queue, &put, 1, err);
}

/* The page could not be had: a log row, and another try, a wait for a person, or the end of
 * this chunk; the run goes on with the others and will not be called succeeded. */
static struct unit_end chunk_failed(struct chunk_job *j, const struct failure *why)
{
    struct err err = {0};
    const struct error_info *info = error_info(why->type);
    struct retry_plan plan;
    if (job_ours_is_away(why)) {
        bool db = why->type == ET_DB_UNAVAILABLE;
        err_set(&err, db ? ERR_UNAVAILABLE : ERR_TIMEOUT, "%s", why->message);
        return chunk_later(j, "cannot fetch", &err);
    }
    state_after_failure(j->w->app, j->fetch.conn, why);
    attempt_retry_plan(why, j->chunk.attempts, attempt_random01(), &plan);
    bool banner = info->banner != BANNER_NONE;
    bool rewind = j->chunk.cursor != NULL &&
                  (why->type == ET_RECORD_NOT_FOUND || why->type == ET_INVALID_REQUEST);
    bool again =
        (plan.outcome == OUTCOME_RETRY || rewind) && j->chunk.attempts + 1 < RUN_STALLS_MAX;
    if (again) {
        plan.outcome = OUTCOME_RETRY;
        plan.status = ATTEMPT_RETRYING;
    }
    struct save_job job = chunk_save_job(j);
    if (save_failure(j->w->app->store, &job, why, &plan, &err) != 0) {
        return chunk_later(j, "cannot log a failure", &err);
    }
    if (banner) {
        return chunk_goes_on; /* the connection is parked with this chunk in it */
    }
    if (rewind && again) {
        if (why->type == ET_RECORD_NOT_FOUND && chunk_ask_for_cursor(j, &err) != 0) {
            return chunk_later(j, "cannot queue what the cursor named", &err);
        }
        return run_chunk_rewind(j->w->app, &j->chunk, &err) == 0
                   ? chunk_goes_on
                   : chunk_later(j, "cannot rewind", &err);
    }
    if (again) {
        chunk_count_attempt(j, info->code);
        return (struct unit_end){OUTCOME_RELEASE, plan.delay_ms, info->code};
    }
    return run_chunk_fail(j->w->app, &j->chunk, why, &err) == 0
               ? chunk_done
               : chunk_later(j, "cannot fail the chunk", &err);
}

static struct unit_end chunk_work(struct chunk_job *j)
{
    struct err err = {0};
    struct failure why;
    int64_t later_ms = 0;
    struct unit_end end = chunk_done;
    if (run_chunk_take(j->w->app->store, j->unit->id, &j->chunk, &err) != 0) {
        return err.code == ERR_NOT_FOUND ? chunk_done : chunk_later(j, "cannot take it", &err);
    }
    j->object = provider_object(j->conn->provider, j->chunk.object);
    j->fetch_no = job_fetch_no(j->w, j->conn, &err);
    if (j->fetch_no < 0) {
        end = chunk_later(j, "cannot begin", &err);
    } else if (j->fetch_no == 0) {
        end = chunk_goes_on; /* with the connection as it is now */
    } else if (j->object == NULL) {
        fetch_failure(&why, ET_INTERNAL_ERROR, "the provider has no records of this type");
        end = chunk_failed(j, &why);
    } else {
        switch (chunk_fetch(j, &why, &later_ms)) {
        case FETCH_OK:
            end = chunk_save(j);
            break;
        case FETCH_FAILED:
            end = chunk_failed(j, &why);
            break;
        case FETCH_LATER:
            job_waits(j->w, j->claim, later_ms);
            end = (struct unit_end){OUTCOME_RELEASE, later_ms, ""};
            break;
        }
    }
    if (end.outcome == OUTCOME_COMPLETE && run_go_on(j->w->app, j->chunk.run_id, &err) != 0) {
        /* The scheduler will advance it. */
        log_warn(j->w->app->log, "run.advance", "cannot advance run %lld: %s",
                 (long long)j->chunk.run_id, err.msg);
    }
    return end;
}

void job_chunks(struct worker *w, struct claim *claim)
{
    struct unit_end ends[QUEUE_BATCH_MAX];
    struct connection *conn = job_connection(w, claim);
    if (conn == NULL) {
        return;
    }
    for (int i = 0; i < claim->unit_count; i++) {
        struct chunk_job j = {.w = w, .claim = claim, .unit = &claim->units[i], .conn = conn};
        j.started_at_ms = clock_now_ms();
        fetch_init(&j.fetch, w->app, conn, claim);
        record_list_init(&j.list);
        ends[i] = chunk_work(&j);
        record_list_release(&j.list);
        run_chunk_release(&j.chunk);
        fetch_release(&j.fetch);
    }
    job_end(w, claim, ends);
    connection_free(conn);
}
