/* One transaction for everything that was fetched.
 *
 * A part of the batch is written under a savepoint: seen rows and links (one wait), wide rows,
 * then the roots whose customers need work. What PostgreSQL refuses is halved until the
 * offenders are alone; each gets its log row, the rest commits. Statements are pipelined, so an
 * unchanged batch costs four round trips: seen, log ids, log and checkpoint, commit. */
#include "core/save_priv.h"

#include "common/clock.h"
#include "common/crash.h"

enum { REPEATS_MAX = 4 };

void save_result_release(struct save_result *r)
{
    free(r->verdicts);
    *r = (struct save_result){0};
}

/* ---- the rows of a job ---- */

static int compare_rows(const void *a, const void *b)
{
    const struct save_row *x = a;
    const struct save_row *y = b;
    int order = strcmp(x->id, y->id);
    /* Of two with one id the later item wins; it must come first. */
    return order != 0 ? order : (x->item < y->item) - (x->item > y->item);
}

/* A reference says nothing to be stored, except that what it names is outside. */
static bool is_record(const struct save_item *item)
{
    return item->record->status != RECORD_REF || item->scope == SCOPE_OUT;
}

static int make_rows(struct save *s, struct err *err)
{
    const struct save_job *job = s->job;
    s->rows = calloc((size_t)job->item_count + 1, sizeof *s->rows);
    if (s->rows == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a batch");
        return -1;
    }
    int n = 0;
    for (int i = 0; i < job->item_count; i++) {
        if (is_record(&job->items[i])) {
            s->rows[n++] = (struct save_row){.item = &job->items[i],
                                             .verdict = &s->out->verdicts[i],
                                             .id = job->items[i].record->id};
        }
    }
    qsort(s->rows, (size_t)n, sizeof *s->rows, compare_rows);
    for (int i = 0; i < n; i++) {
        if (s->row_count > 0 && strcmp(s->rows[s->row_count - 1].id, s->rows[i].id) == 0) {
            continue; /* copied from its twin at the end */
        }
        s->rows[s->row_count++] = s->rows[i];
    }
    return 0;
}

/* Items that are twins of a row take its verdict. */
static void copy_to_twins(const struct save *s)
{
    for (int i = 0; i < s->job->item_count; i++) {
        const struct save_item *item = &s->job->items[i];
        struct save_row key = {.id = item->record->id, .item = item};
        for (int from = 0, to = s->row_count; from < to && is_record(item);) {
            int middle = from + (to - from) / 2;
            int order = strcmp(s->rows[middle].id, key.id);
            if (order == 0) {
                if (s->rows[middle].item != item) {
                    s->out->verdicts[i] = *s->rows[middle].verdict;
                }
                break;
            }
            from = order < 0 ? middle + 1 : from;
            to = order < 0 ? to : middle;
        }
    }
}

/* ---- one part ---- */

/* A root of the job's provider: its customer takes part. */
static int write_customers(struct save *s, struct save_row *rows, int n, struct err *err)
{
    struct roots roots;
    int rc = -1;
    if (roots_collect(s, &roots, rows, n, err) == 0 && roots_map(&roots, err) == 0 &&
        roots_write(&roots, err) == 0) {
        rc = 0;
    }
    s->may_inherit = roots.may_inherit;
    s->domains_new = s->domains_new || roots.domain_made;
    roots_release(&roots);
    if (rc == 0 && s->root) {
        rc = save_merge(s, rows, n, err) != 0 ? -1 : save_archive(s, rows, n, err);
    }
    return rc;
}

/* Before their rows are locked: whoever holds a root's lock may want its row next. */
static int lock_roots(struct save *s, const struct save_row *rows, int n, struct err *err)
{
    if (!s->root || s->root_self) {
        return 0;
    }
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, s->job->conn->connection_id);
    save_add_ids(p, rows, n, NULL);
    return store_send(s->tx, "SELECT psync.lock_roots($1::bigint, $2::text[])", p, NULL, err);
}

static int write_part(struct save *s, struct save_row *rows, int n, struct err *err)
{
    rows_freep(&s->domains);
    if (store_savepoint(s->tx, "part", err) != 0 || lock_roots(s, rows, n, err) != 0 ||
        save_seen(s, rows, n, err) != 0) {
        return -1;
    }
    save_decide(s, rows, n);
    if (save_write_rows(s, rows, n, err) != 0 || write_customers(s, rows, n, err) != 0 ||
        save_seen_finish(s, rows, n, err) != 0 || save_erase(s, rows, n, err) != 0) {
        return -1;
    }
    if (store_sync(s->tx, err) != 0) {
        return -1;
    }
    s->domains_new = s->domains_new || (s->domains != NULL && rows_int(s->domains, 0, 0) > 0);
    return 0;
}

static void refuse(struct save_row *row, const struct err *err)
{
    bool text = strcmp(err->sqlstate, "22P05") == 0 || strcmp(err->sqlstate, "22021") == 0;
    struct save_row blank = {.item = row->item,
                             .verdict = row->verdict,
                             .id = row->id,
                             .new_state = "failing",
                             .new_code = ""};
    *row = blank;
    *row->verdict = (struct save_verdict){0};
    save_fail(row->verdict, text ? ET_TEXT_NOT_STORABLE : ET_DB_REJECTED, "%.200s (%s)",
              err->msg, err->sqlstate);
}

static int write_halving(struct save *s, struct save_row *rows, int n, struct err *err)
{
    if (n == 0 || write_part(s, rows, n, err) == 0) {
        return 0;
    }
    if (err->code != ERR_REJECTED) {
        return -1;
    }
    struct err refused = *err;
    if (store_rollback_to(s->tx, "part", err) != 0) {
        return -1;
    }
    err_clear(err);
    if (n == 1) {
        refuse(&rows[0], &refused);
        return 0;
    }
    return write_halving(s, rows, n / 2, err) != 0
               ? -1
               : write_halving(s, rows + n / 2, n - n / 2, err);
}

/* ---- verdicts ---- */

static void plan(const struct save *s, const struct save_row *row)
{
    struct save_verdict *v = row->verdict;
    const struct unit *unit = row->item->unit;
    attempt_retry_plan(&v->failure, unit != NULL ? unit->attempts : 0, attempt_random01(),
                       &v->plan);
    if (v->failure.type == ET_RECORD_MERGED) {
        v->plan = (struct retry_plan){OUTCOME_COMPLETE, ATTEMPT_SKIPPED, 0};
    }
    if (s->job->chunk != NULL && v->plan.outcome != OUTCOME_COMPLETE) {
        /* A chunk's records have no unit that could come back; the next run reads them. */
        v->plan = (struct retry_plan){OUTCOME_COMPLETE, ATTEMPT_FAILED, 0};
    }
}

/* A field that the record's own data kept from being written is a record error, though the rest
 * was written. What matching asks of a person is none, nor is an amount in a currency that is
 * not the workspace's, for which the field has its value, NULL: they stand in the log, and an
 * account that has one would never see a night end well. */
static bool has_error(const struct save_verdict *v)
{
    const struct error_info *info = error_info(v->failure.type);
    return v->plan.status == ATTEMPT_FAILED || v->plan.status == ATTEMPT_RETRYING ||
           (v->plan.status == ATTEMPT_PARTIAL && info != NULL &&
            info->severity == SEVERITY_ERROR && strcmp(info->family, "mapping") == 0 &&
            v->failure.type != ET_MAP_CURRENCY_UNMAPPED);
}

static void count(struct save *s)
{
    struct save_result *out = s->out;
    out->created = out->updated = out->unchanged = out->skipped = out->failed = 0;
    for (int i = 0; i < s->row_count; i++) {
        const struct save_row *row = &s->rows[i];
        const struct save_verdict *v = row->verdict;
        plan(s, row);
        if (has_error(v)) {
            out->failed++;
        } else if (v->plan.status == ATTEMPT_SKIPPED) {
            out->skipped++;
        } else if (row->write && !row->known) {
            out->created++;
        } else if (v->changed) {
            out->updated++;
        } else {
            out->unchanged++;
        }
    }
}

/* ---- one try at all of it ---- */

static int write_all(struct save *s, struct err *err)
{
    int sound = 0;
    /* Those that the provider could not give go to the end: nothing of them is written. */
    struct save_row *rows = s->rows;
    struct save_row *part = calloc((size_t)s->row_count + 1, sizeof *part);
    if (part == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a batch");
        return -1;
    }
    for (int i = 0; i < s->row_count; i++) {
        if (rows[i].item->record->status != RECORD_FAILED) {
            part[sound++] = rows[i];
        }
    }
    int rc = write_halving(s, part, sound, err);
    for (int i = 0, k = 0; i < s->row_count; i++) {
        if (rows[i].item->record->status == RECORD_FAILED) {
            rows[i].new_state = "failing";
            *rows[i].verdict = (struct save_verdict){.failure = rows[i].item->record->failure};
        } else {
            rows[i] = part[k++];
        }
    }
    free(part);
    if (rc != 0) {
        return -1;
    }
    count(s);
    if (s->job->peek != NULL) {
        return s->job->peek(s->tx, s->out, s->job->peek_arg, err);
    }
    return save_seen_failed(s, err) != 0 ? -1 : save_log(s, err);
}

static int try_once(struct store *store, const struct save_job *job, struct save_result *out,
                    bool *domains_new, struct err *err)
{
    struct save s = {.job = job, .out = out, .now_ms = clock_now_ms()};
    const struct object_type *root = roots_type(job->conn->provider);
    int rc = -1;
    s.root = (job->object->flags & OBJECT_ROOT) != 0;
    s.root_self = s.root && root != NULL && (root->flags & OBJECT_SELF) != 0;
    if (make_rows(&s, err) != 0) {
        return -1;
    }
    s.tx = store_begin(store, err);
    if (s.tx != NULL && write_all(&s, err) == 0) {
        if (job->peek != NULL) {
            store_abort(s.tx);
            rc = 0;
            goto done;
        }
        crash_point(job->chunk != NULL ? "page.commit" : "save.commit");
        rc = store_commit(s.tx, err);
        crash_point(job->chunk != NULL ? "page.committed" : "save.committed");
    } else {
        store_abort(s.tx);
    }
    if (rc == 0) {
        save_log_tell(&s);
        copy_to_twins(&s);
        *domains_new = s.domains_new;
    }
done:
    rows_freep(&s.domains);
    free(s.logged);
    free(s.rows);
    return rc;
}

int save_records(struct store *s, const struct save_job *job, struct save_result *out,
                 struct err *err)
{
    bool domains_new = false;
    *out = (struct save_result){0};
    out->verdicts = calloc((size_t)job->item_count + 1, sizeof *out->verdicts);
    if (out->verdicts == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a batch");
        return -1;
    }
    for (int repeat = 1;; repeat++) {
        err_clear(err);
        if (try_once(s, job, out, &domains_new, err) == 0) {
            break;
        }
        /* With an SQLSTATE it is a deadlock or the like; without, another claim's chunk. */
        if (err->code != ERR_CONFLICT || err->sqlstate[0] == '\0' || repeat == REPEATS_MAX) {
            save_result_release(out);
            err_wrap(err, "save %d %s", job->item_count, job->object->plural);
            return -1;
        }
    }
    if (domains_new) {
        struct err late = {0};
        (void)!save_rematch(s, job, &late); /* the nightly run does the same */
    }
    return 0;
}
