/* Units of records: one batched read, one transaction. */
#include "worker/scope.h"

#include "common/clock.h"
#include "core/erase.h"
#include "core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFLICT_AGAIN_MS = 1000, FULL_AGAIN_MS = 10 * 1000 };

struct records_job {
    struct worker *w;
    struct claim *claim;
    struct connection *conn;
    const struct object_type *object;
    enum scope_verdict scope[QUEUE_BATCH_MAX];
    bool unread[QUEUE_BATCH_MAX]; /* outside and not in the mirror: no call is spent on it */
    struct record absent[QUEUE_BATCH_MAX]; /* for units that are not asked for */
    struct scope_parent *parents; /* of the list's records, when they hang below a member */
    struct fetch fetch;
    struct record_list list;
    int64_t fetch_no, started_at_ms;
};

/* "Not a member" of somebody who was one: true of a list that is gone, too, and then nobody
 * leaves. */
static enum fetch_end records_scope_is_there(struct records_job *j, struct failure *why,
                                             int64_t *later_ms)
{
    struct record_list none;
    struct ask ask = {.kind = ASK_SCOPE_INFO};
    record_list_init(&none);
    enum fetch_end end = fetch_ask(&j->fetch, &ask, &none, NULL, why, later_ms);
    record_list_release(&none);
    return end;
}

static enum fetch_end records_ask_member(struct records_job *j, const char *id, bool was,
                                         bool *in, struct failure *why, int64_t *later_ms)
{
    struct err err = {0};
    struct ask ask = {.kind = ASK_MEMBERSHIP, .object = j->object, .ids = &id, .id_count = 1};
    struct record_list answer;
    record_list_init(&answer);
    enum fetch_end end = fetch_ask(&j->fetch, &ask, &answer, NULL, why, later_ms);
    *in = answer.count > 0 && answer.records[0].status == RECORD_REF;
    record_list_release(&answer);
    if (end == FETCH_OK && was && !*in) {
        end = records_scope_is_there(j, why, later_ms);
    }
    if (end == FETCH_OK && *in != was && scope_note(j->w, j->conn, id, *in, &err) != 0) {
        log_warn(j->w->app->log, "scope.note", "cannot note a member: %s", err.msg);
    }
    return end;
}

/* The scope question for root records: the local table first; the provider for what is unknown,
 * and for what a person asks about. */
static enum fetch_end records_scope(struct records_job *j, struct failure *why,
                                    int64_t *later_ms)
{
    struct err err = {0};
    const char *ids[QUEUE_BATCH_MAX];
    bool member[QUEUE_BATCH_MAX] = {false};
    for (int i = 0; i < j->claim->unit_count; i++) {
        ids[i] = j->claim->units[i].id;
    }
    if (scope_members(j->w, j->conn, ids, j->claim->unit_count, member, &err) != 0) {
        return job_ours_failed(why, &err);
    }
    for (int i = 0; i < j->claim->unit_count; i++) {
        bool in = member[i];
        if (!in || j->claim->units[i].lane == LANE_INTERACTIVE) {
            enum fetch_end end = records_ask_member(j, ids[i], member[i], &in, why, later_ms);
            if (end != FETCH_OK) {
                return end;
            }
        }
        j->scope[i] = in ? SCOPE_IN : SCOPE_OUT;
    }
    /* Who is in the mirror and no member any more may have left, or be deleted. */
    bool mirrored[QUEUE_BATCH_MAX] = {false};
    if (scope_mirrored(j->w, j->conn, ids, j->claim->unit_count, mirrored, &err) != 0) {
        return job_ours_failed(why, &err);
    }
    for (int i = 0; i < j->claim->unit_count; i++) {
        j->unread[i] = j->scope[i] == SCOPE_OUT && !mirrored[i];
    }
    return FETCH_OK;
}

static enum fetch_end records_read(struct records_job *j, struct failure *why,
                                   int64_t *later_ms)
{
    const char *ids[QUEUE_BATCH_MAX];
    int n = 0;
    for (int i = 0; i < j->claim->unit_count; i++) {
        if (!j->unread[i]) {
            ids[n++] = j->claim->units[i].id;
        }
    }
    if (n == 0) {
        return FETCH_OK;
    }
    struct ask ask = {.kind = ASK_RECORDS, .object = j->object, .ids = ids, .id_count = n};
    return fetch_ask(&j->fetch, &ask, &j->list, NULL, why, later_ms);
}

/* What a delivery alone knows: who survived a merge. */
static void records_apply_hints(const struct unit *u, struct record *r)
{
    static const char merged[] = "merged_into=";
    for (int h = 0; h < u->hint_count && r->status == RECORD_GONE; h++) {
        if (strncmp(u->hints[h], merged, sizeof merged - 1) == 0) {
            r->status = RECORD_MERGED;
            snprintf(r->other_id, sizeof r->other_id, "%.*s", RECORD_ID_MAX_BYTES,
                     u->hints[h] + sizeof merged - 1);
        }
    }
}

static struct record *records_find(struct records_job *j, const char *id, size_t hint)
{
    size_t n = j->list.count;
    for (size_t k = 0; k < n; k++) { /* answers mostly come in the order asked */
        struct record *r = &j->list.records[(hint + k) % n];
        if (strcmp(r->id, id) == 0) {
            return r;
        }
    }
    return NULL;
}

/* A contact is in the scope when a company of it is, and hangs below that one. */
static void records_item_parent(const struct records_job *j, struct save_item *item)
{
    if (j->parents == NULL || item->record->status != RECORD_FOUND) {
        return;
    }
    const char *parent = j->parents[item->record - j->list.records].id;
    item->parent_id = parent[0] != '\0' ? parent : NULL;
    item->scope = parent[0] != '\0' ? SCOPE_IN : SCOPE_OUT;
}

static void records_items(struct records_job *j, struct save_item *items)
{
    for (int i = 0; i < j->claim->unit_count; i++) {
        const struct unit *u = &j->claim->units[i];
        struct record *r = j->unread[i] ? NULL : records_find(j, u->id, (size_t)i);
        if (r == NULL) { /* outside the scope, or in no part of the answer: gone */
            r = &j->absent[i];
            r->object = j->object;
            r->status = j->unread[i] ? RECORD_REF : RECORD_GONE;
            snprintf(r->id, sizeof r->id, "%s", u->id);
        }
        records_apply_hints(u, r);
        items[i] = (struct save_item){.record = r, .unit = u, .scope = j->scope[i]};
        records_item_parent(j, &items[i]);
    }
}

/* A merged record's survivor is looked at in the same lane. */
static void records_put_survivors(struct records_job *j, const struct save_item *items)
{
    struct unit_put puts[QUEUE_BATCH_MAX];
    struct err err = {0};
    int n = 0;
    for (int i = 0; i < j->claim->unit_count; i++) {
        const struct record *r = items[i].record;
        if (r->status == RECORD_MERGED && strcmp(r->id, r->other_id) != 0) {
            puts[n++] = (struct unit_put){
                .connection_id = j->conn->connection_id,
                .shard = j->claim->shard,
                .kind = UNIT_RECORD,
                .object = j->object->name,
                .id = r->other_id,
                .lane = j->claim->lane,
                .trigger = j->claim->units[i].trigger,
                .actor = j->claim->units[i].actor,
                .hint = "",
            };
        }
    }
    if (n > 0 && queue_put(j->w->app->queue, puts, n, &err) != 0) {
        log_warn(j->w->app->log, "merge.put", "cannot put a merge's survivor: %s", err.msg);
    }
}

static struct save_job records_save_job(struct records_job *j, const struct save_item *items)
{
    return (struct save_job){
        .conn = j->fetch.conn,
        .object = j->object,
        .fetch_no = j->fetch_no,
        .items = items,
        .item_count = j->claim->unit_count,
        .claim = j->claim,
        .exchange = &j->fetch.exchange,
        .started_at_ms = j->started_at_ms,
        .worker = j->w->app->worker,
        .meters = j->w->app->meters,
        .log = j->w->app->log,
        .from_delivery = j->claim->lane == LANE_WEBHOOK,
    };
}

/* The ask as a whole failed: a row for each unit, and what its type says for the unit. */
static void records_failed(struct records_job *j, const struct failure *why)
{
    struct retry_plan plans[QUEUE_BATCH_MAX];
    struct unit_end ends[QUEUE_BATCH_MAX];
    struct err err = {0};
    const struct error_info *info = error_info(why->type);
    if (job_ours_is_away(why)) {
        /* Only of PostgreSQL is it told later: Redis' absence is the scheduler's to tell. */
        bool db = why->type == ET_DB_UNAVAILABLE;
        err_set(&err, db ? ERR_UNAVAILABLE : ERR_TIMEOUT, "%s", why->message);
        job_give_back(j->w, j->claim, "cannot fetch", &err);
        return;
    }
    state_after_failure(j->w->app, j->fetch.conn, why);
    for (int i = 0; i < j->claim->unit_count; i++) {
        attempt_retry_plan(why, j->claim->units[i].attempts, attempt_random01(), &plans[i]);
        ends[i] = (struct unit_end){plans[i].outcome, plans[i].delay_ms, info->code};
        if (info->banner != BANNER_NONE) {
            /* The whole connection waits; its units keep their place and attempts. */
            ends[i].outcome = OUTCOME_RELEASE;
            ends[i].delay_ms = 0;
        }
    }
    struct save_job job = records_save_job(j, NULL);
    if (save_failure(j->w->app->store, &job, why, plans, &err) != 0) {
        job_give_back(j->w, j->claim, "cannot log a failure", &err);
        return;
    }
    job_end(j->w, j->claim, ends);
}

/* PostgreSQL is there and did not take the batch: nothing of the records' own, so no attempt is
 * burnt; each has its row. */
static void records_refused(struct records_job *j, enum error_type type, const struct err *what)
{
    struct retry_plan plans[QUEUE_BATCH_MAX];
    struct err err = {0};
    struct failure why;
    int64_t delay_ms = type == ET_DB_FULL ? FULL_AGAIN_MS : CONFLICT_AGAIN_MS;
    fetch_failure(&why, type, what->msg);
    for (int i = 0; i < j->claim->unit_count; i++) {
        plans[i] = (struct retry_plan){OUTCOME_RELEASE, ATTEMPT_RETRYING, delay_ms};
    }
    struct save_job job = records_save_job(j, NULL);
    job.exchange = NULL; /* what the provider answered is not the matter */
    if (save_failure(j->w->app->store, &job, &why, plans, &err) != 0) {
        job_give_back(j->w, j->claim, "cannot log a failure", &err);
        return;
    }
    job_end_all(j->w, j->claim, OUTCOME_RELEASE, delay_ms);
}

/* Contacts come and go with their companies. */
static void records_follow(struct records_job *j, const struct save_result *result)
{
    const char *entered[QUEUE_BATCH_MAX];
    const char *left[QUEUE_BATCH_MAX];
    int entered_count = 0;
    int left_count = 0;
    for (int i = 0; i < j->claim->unit_count; i++) {
        if (result->verdicts[i].entered) {
            entered[entered_count++] = j->claim->units[i].id;
        } else if (result->verdicts[i].left) {
            left[left_count++] = j->claim->units[i].id;
        }
    }
    if ((j->object->flags & OBJECT_SCOPED) != 0 && entered_count + left_count > 0) {
        scope_follow(j->w, &j->fetch, j->claim, entered, entered_count, left, left_count);
    }
}

static void records_saved(struct records_job *j, const struct save_item *items)
{
    struct unit_end ends[QUEUE_BATCH_MAX];
    struct save_result result = {0};
    struct err err = {0};
    struct save_job job = records_save_job(j, items);
    if (save_records(j->w->app->store, &job, &result, &err) != 0) {
        save_result_release(&result);
        enum error_type refusal = job_refusal(&err);
        if (refusal != ET_NONE) {
            records_refused(j, refusal, &err);
        } else {
            job_give_back(j->w, j->claim, "cannot save", &err);
        }
        return;
    }
    for (int i = 0; i < j->claim->unit_count; i++) {
        const struct save_verdict *v = &result.verdicts[i];
        const struct error_info *info = error_info(v->failure.type);
        ends[i] = (struct unit_end){v->plan.outcome, v->plan.delay_ms, info ? info->code : ""};
    }
    records_follow(j, &result);
    save_result_release(&result);
    records_put_survivors(j, items);
    job_end(j->w, j->claim, ends);
}

static bool records_is_erased(const struct unit *u)
{
    for (int h = 0; h < u->hint_count; h++) {
        if (strcmp(u->hints[h], "privacy_deleted") == 0) {
            return true;
        }
    }
    return false;
}

/* Deliveries about a type that is switched off here: no call, no row. But what was mirrored of
 * a person once, and is to be forgotten, is forgotten. */
static void records_switched_off(struct worker *w, struct claim *claim,
                                 const struct connection *conn,
                                 const struct object_type *object)
{
    static const struct actor provider = {.name = "provider", .kind = "system"};
    struct unit_end ends[QUEUE_BATCH_MAX];
    for (int i = 0; i < claim->unit_count; i++) {
        const struct unit *u = &claim->units[i];
        struct err err = {0};
        ends[i] = (struct unit_end){OUTCOME_COMPLETE, 0, ""};
        if (records_is_erased(u) &&
            erase_record(w->app, conn, object, u->id, "privacy deletion at the provider",
                         &provider, &err) != 0 &&
            err.code != ERR_NOT_FOUND) {
            log_warn(w->app->log, "job.erase", "cannot erase %s %s yet: %s", object->name,
                     u->id, err.msg);
            ends[i] = (struct unit_end){OUTCOME_RELEASE, 1000, ""};
        }
    }
    job_end(w, claim, ends);
}

void job_records(struct worker *w, struct claim *claim)
{
    struct err err = {0};
    struct failure why;
    int64_t later_ms = 0;
    struct connection *conn = job_connection(w, claim);
    if (conn == NULL) {
        return;
    }
    struct records_job *j = calloc(1, sizeof *j);
    const struct object_type *object = provider_object(conn->provider, claim->units[0].object);
    if (j == NULL || object == NULL) {
        log_error(w->app->log, "job.records", "cannot work units of '%s'",
                  claim->units[0].object);
        job_defect(w, claim, "the provider has no records of this type");
        job_end_all(w, claim, OUTCOME_COMPLETE, 0);
        connection_free(conn);
        free(j);
        return;
    }
    if (claim->lane == LANE_WEBHOOK && !connection_mirrors(conn, object)) {
        records_switched_off(w, claim, conn, object);
        connection_free(conn);
        free(j);
        return;
    }
    *j = (struct records_job){.w = w, .claim = claim, .conn = conn, .object = object};
    j->started_at_ms = clock_now_ms();
    fetch_init(&j->fetch, w->app, conn, claim);
    record_list_init(&j->list);
    j->fetch_no = job_fetch_no(w, conn, &err);
    if (j->fetch_no <= 0) {
        if (j->fetch_no < 0) {
            job_give_back(w, claim, "cannot draw a fetch number", &err);
        } else {
            job_end_all(w, claim, OUTCOME_RELEASE, 0);
        }
        goto done;
    }
    for (int i = 0; i < claim->unit_count; i++) {
        j->scope[i] = SCOPE_KEEP;
    }
    enum fetch_end end = FETCH_OK;
    if ((object->flags & OBJECT_SCOPED) != 0 && conn->scope_kind[0] != '\0') {
        end = records_scope(j, &why, &later_ms);
    }
    if (end == FETCH_OK) {
        end = records_read(j, &why, &later_ms);
    }
    if (end == FETCH_OK && (object->flags & OBJECT_RELATED) != 0 &&
        conn->scope_kind[0] != '\0') {
        j->parents = calloc(j->list.count + 1, sizeof *j->parents);
        end = j->parents != NULL
                  ? scope_parents(w, &j->fetch, object, &j->list, j->parents, &why, &later_ms)
                  : FETCH_LATER;
    }
    switch (end) {
    case FETCH_OK: {
        struct save_item items[QUEUE_BATCH_MAX];
        records_items(j, items);
        records_saved(j, items);
        break;
    }
    case FETCH_FAILED:
        records_failed(j, &why);
        break;
    case FETCH_LATER:
        job_waits(w, claim, later_ms);
        job_end_all(w, claim, OUTCOME_RELEASE, later_ms);
        break;
    }
done:
    record_list_release(&j->list);
    fetch_release(&j->fetch);
    connection_free(conn);
    free(j->parents);
    free(j);
}
