/* Rows of the log, written by arrays: one INSERT for all attempts of a batch, one for the
 * bodies of those that failed, one UPDATE for the earlier tries that these resolve. */
#include "core/attempt.h"

#include "common/redact.h"
#include "common/utf8.h"

#include <stddef.h>

const char *const attempt_status_names[] = {
    [ATTEMPT_SUCCEEDED] = "succeeded",     [ATTEMPT_PARTIAL] = "partial",
    [ATTEMPT_FAILED] = "failed",           [ATTEMPT_RETRYING] = "retrying",
    [ATTEMPT_SKIPPED] = "skipped",         [ATTEMPT_CANCELLED] = "cancelled",
    [ATTEMPT_INTERRUPTED] = "interrupted",
};

enum { URL_MAX_BYTES = 16 * 1024, HEADERS_MAX_BYTES = 16 * 1024 };

void exchange_init(struct exchange *e)
{
    *e = (struct exchange){.method = "", .endpoint = ""};
    buf_init(&e->url, URL_MAX_BYTES);
    buf_init(&e->headers, HEADERS_MAX_BYTES);
    buf_init(&e->body, REDACT_MAX_BYTES + 1); /* the +1 lets redact see that more was there */
}

void exchange_release(struct exchange *e)
{
    buf_release(&e->url);
    buf_release(&e->headers);
    buf_release(&e->body);
}

/* ---- rows ---- */

static const char *kind_name(enum unit_kind kind)
{
    switch (kind) {
    case UNIT_RECORD:
        return "record";
    case UNIT_CHUNK:
        return "chunk";
    case UNIT_CHECK:
        return "check";
    }
    return "";
}

static const char *code_of(const struct attempt *a)
{
    const struct error_info *info = error_info(a->failure.type);
    return info != NULL ? info->code : "";
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* One column of the INSERT: how it is taken from a row. Exactly one of the two is set. */
struct column {
    enum param_array type;
    const char *(*text)(const struct attempt *a); /* NULL = SQL NULL */
    int64_t (*number)(const struct attempt *a);   /* INT64_MIN = SQL NULL */
};

#define TEXT_COLUMN(name, expression)                                                          \
    static const char *name(const struct attempt *a)                                           \
    {                                                                                          \
        return expression;                                                                     \
    }
#define NUMBER_COLUMN(name, expression)                                                        \
    static int64_t name(const struct attempt *a)                                               \
    {                                                                                          \
        return expression;                                                                     \
    }

static int64_t or_null(int64_t v)
{
    return v == 0 ? INT64_MIN : v;
}

NUMBER_COLUMN(c_attempt_id, a->attempt_id)
NUMBER_COLUMN(c_connection_id, a->connection_id)
NUMBER_COLUMN(c_run_id, or_null(a->run_id))
TEXT_COLUMN(c_kind, kind_name(a->kind))
TEXT_COLUMN(c_trigger, or_empty(a->trigger))
TEXT_COLUMN(c_actor, or_empty(a->actor))
TEXT_COLUMN(c_object, or_empty(a->object))
TEXT_COLUMN(c_record_id, a->record_id)
NUMBER_COLUMN(c_customer_id, or_null(a->customer_id))
NUMBER_COLUMN(c_attempt_no, a->attempt_no)
TEXT_COLUMN(c_status, attempt_status_names[a->status])
TEXT_COLUMN(c_code, code_of(a))
TEXT_COLUMN(c_message, a->failure.message)
TEXT_COLUMN(c_field, or_empty(a->error_field))
NUMBER_COLUMN(c_error_count, a->error_count)
NUMBER_COLUMN(c_seen, a->seen)
NUMBER_COLUMN(c_changed, a->changed)
NUMBER_COLUMN(c_http_status, or_null(a->failure.http_status != 0 ? a->failure.http_status
                                     : a->exchange != NULL       ? a->exchange->status
                                                                 : 0))
TEXT_COLUMN(c_request_id, a->failure.request_id[0] != '\0' ? a->failure.request_id
                          : a->exchange != NULL            ? a->exchange->request_id
                                                           : "")
TEXT_COLUMN(c_endpoint, a->exchange != NULL ? or_empty(a->exchange->endpoint) : "")
NUMBER_COLUMN(c_fetch_no, or_null(a->fetch_no))
NUMBER_COLUMN(c_events, a->events > 0 ? a->events : 1)
NUMBER_COLUMN(c_queue_wait, a->queue_wait_ms < INT32_MAX ? a->queue_wait_ms : INT32_MAX)
NUMBER_COLUMN(c_duration, a->duration_ms < INT32_MAX ? a->duration_ms : INT32_MAX)
NUMBER_COLUMN(c_lag, a->lag_ms < 0 ? INT64_MIN : a->lag_ms)
NUMBER_COLUMN(c_started, a->started_at_ms)
NUMBER_COLUMN(c_next_retry, or_null(a->next_retry_at_ms))
TEXT_COLUMN(c_worker, or_empty(a->worker))
NUMBER_COLUMN(c_recovers, a->recovers && a->record_id != NULL)

/* In the order of $1, $2, ...; the last is only for rows that may repeat one. */
static const struct column columns[] = {
    {ARRAY_INT8, NULL, c_attempt_id},  {ARRAY_INT8, NULL, c_connection_id},
    {ARRAY_INT8, NULL, c_run_id},      {ARRAY_TEXT, c_kind, NULL},
    {ARRAY_TEXT, c_trigger, NULL},     {ARRAY_TEXT, c_actor, NULL},
    {ARRAY_TEXT, c_object, NULL},      {ARRAY_TEXT, c_record_id, NULL},
    {ARRAY_INT8, NULL, c_customer_id}, {ARRAY_INT8, NULL, c_attempt_no},
    {ARRAY_TEXT, c_status, NULL},      {ARRAY_TEXT, c_code, NULL},
    {ARRAY_TEXT, c_message, NULL},     {ARRAY_TEXT, c_field, NULL},
    {ARRAY_INT8, NULL, c_error_count}, {ARRAY_INT8, NULL, c_seen},
    {ARRAY_INT8, NULL, c_changed},     {ARRAY_INT8, NULL, c_http_status},
    {ARRAY_TEXT, c_request_id, NULL},  {ARRAY_TEXT, c_endpoint, NULL},
    {ARRAY_INT8, NULL, c_fetch_no},    {ARRAY_INT8, NULL, c_events},
    {ARRAY_INT8, NULL, c_queue_wait},  {ARRAY_INT8, NULL, c_duration},
    {ARRAY_INT8, NULL, c_lag},         {ARRAY_TIME, NULL, c_started},
    {ARRAY_TIME, NULL, c_next_retry},  {ARRAY_TEXT, c_worker, NULL},
    {ARRAY_BOOL, NULL, c_recovers},
};

/* Two statements, since each is planned anew: the look for the last try that did not succeed is
 * planned for every partition, which took 1.3 to 1.9 ms beside 0.05 ms for all the rest, and
 * most rows repeat nothing. */
#define INSERT_SQL(retry_of, array, column)                                                    \
    "INSERT INTO psync.attempt (attempt_id, connection_id, run_id, kind, trigger, actor,"      \
    " object_type, record_id, customer_id, attempt_no, status, error_code, error_message,"     \
    " error_field, error_count, seen, changed, http_status, provider_request_id, endpoint,"    \
    " fetch_no, events, queue_wait_ms, duration_ms, lag_ms, started_at, next_retry_at,"        \
    " worker, retry_of) "                                                                      \
    "SELECT v_id, v_connection, v_run, v_kind, v_trigger, v_actor, v_object, v_record,"        \
    " v_customer, v_no, v_status, v_code, v_message, v_field, v_errors, v_seen, v_changed,"    \
    " v_http, v_request, v_endpoint, v_fetch, v_events, v_waited, v_took, v_lag, v_started,"   \
    " v_next, v_worker, " retry_of " "                                                         \
    "FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[],"            \
    " $6::text[], $7::text[], $8::text[], $9::bigint[], $10::int8[], $11::text[],"             \
    " $12::text[], $13::text[], $14::text[], $15::int8[], $16::int8[], $17::int8[],"           \
    " $18::int8[], $19::text[], $20::text[], $21::bigint[], $22::int8[], $23::int8[],"         \
    " $24::int8[], $25::bigint[], $26::timestamptz[], $27::timestamptz[], $28::text[]" array   \
    ") AS x (v_id, v_connection, v_run, v_kind, v_trigger, v_actor, v_object, v_record,"       \
    "  v_customer, v_no, v_status, v_code, v_message, v_field, v_errors, v_seen, v_changed,"   \
    "  v_http, v_request, v_endpoint, v_fetch, v_events, v_waited, v_took, v_lag, v_started,"  \
    "  v_next, v_worker" column ")"

static const char *const insert_sql = INSERT_SQL("NULL::bigint", "", "");
static const char *const insert_repeats_sql =
    INSERT_SQL("CASE WHEN v_recovers THEN (SELECT p.attempt_id FROM psync.attempt p"
               "   WHERE p.connection_id = v_connection AND p.object_type = v_object"
               "     AND p.record_id = v_record"
               "     AND p.status IN ('failed', 'partial', 'retrying', 'interrupted')"
               "     AND p.attempt_id >= psync.attempt_floor(now() - interval '31 days')"
               "   ORDER BY p.attempt_id DESC LIMIT 1) END",
               ", $29::bool[]", ", v_recovers");

/* A message may quote what PostgreSQL refuses; that must not take the log row along, so it ends
 * where it stops being UTF-8. */
static void add_text(struct params *p, const char *text)
{
    params_array_text(p, text, text == NULL ? 0 : utf8_valid_bytes(slice_of(text)));
}

static void add_column(struct params *p, const struct column *c, const struct attempt *rows,
                       int n)
{
    params_array_begin(p, c->type);
    for (int i = 0; i < n; i++) {
        if (c->text != NULL) {
            add_text(p, c->text(&rows[i]));
            continue;
        }
        int64_t v = c->number(&rows[i]);
        if (v == INT64_MIN) {
            params_array_null(p);
        } else {
            params_array_int(p, v);
        }
    }
    params_array_end(p);
}

static int send_rows(struct store_tx *tx, const struct attempt *rows, int n, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    bool repeats = false;
    for (int i = 0; i < n; i++) {
        repeats = repeats || c_recovers(&rows[i]) != 0;
    }
    for (size_t i = 0; i < COUNT_OF(columns) - (repeats ? 0 : 1); i++) {
        add_column(p, &columns[i], rows, n);
    }
    return store_send(tx, repeats ? insert_repeats_sql : insert_sql, p, NULL, err);
}

/* ---- bodies ---- */

static bool has_body(const struct attempt *a)
{
    bool ended_badly = a->status == ATTEMPT_FAILED || a->status == ATTEMPT_RETRYING ||
                       a->status == ATTEMPT_PARTIAL;
    return ended_badly && !a->bodyless && (a->exchange != NULL || a->slice.bytes != NULL);
}

/* A body as it will be stored. */
struct kept {
    const struct attempt *of;
    struct buf url, headers, body;
    struct redact_result redacted;
};

static int keep_body(struct kept *k, const struct attempt *a)
{
    const struct exchange *e = a->exchange;
    struct slice raw = a->slice;
    k->of = a;
    /* A replacement may be longer than what it replaces. */
    buf_init(&k->body, (size_t)4 * REDACT_MAX_BYTES);
    buf_init(&k->url, (size_t)4 * URL_MAX_BYTES);
    buf_init(&k->headers, (size_t)4 * HEADERS_MAX_BYTES);
    if (raw.bytes == NULL && e != NULL) {
        raw = (struct slice){buf_text(&e->body), e->body.len_bytes};
    }
    if (redact_body(raw, &k->body, &k->redacted) != 0) {
        return -1;
    }
    if (e == NULL) {
        return 0;
    }
    struct slice url = {buf_text(&e->url), e->url.len_bytes};
    struct slice headers = {buf_text(&e->headers), e->headers.len_bytes};
    return redact_body(url, &k->url, NULL) != 0 ? -1 : redact_body(headers, &k->headers, NULL);
}

static void kept_release(struct kept *kept, int n)
{
    for (int i = 0; i < n; i++) {
        buf_release(&kept[i].url);
        buf_release(&kept[i].headers);
        buf_release(&kept[i].body);
    }
    free(kept);
}

static void add_bufs(struct params *p, const struct kept *kept, int n, size_t offset)
{
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n; i++) {
        const struct buf *b = (const struct buf *)((const char *)&kept[i] + offset);
        params_array_text(p, buf_text(b), b->len_bytes);
    }
    params_array_end(p);
}

static int send_kept(struct store_tx *tx, const struct kept *kept, int n, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_array_begin(p, ARRAY_INT8);
    for (int i = 0; i < n; i++) {
        params_array_int(p, kept[i].of->attempt_id);
    }
    params_array_end(p);
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n; i++) {
        add_text(p, kept[i].of->exchange != NULL ? or_empty(kept[i].of->exchange->method) : "");
    }
    params_array_end(p);
    params_array_begin(p, ARRAY_INT8);
    for (int i = 0; i < n; i++) {
        params_array_int(p, kept[i].of->exchange != NULL ? kept[i].of->exchange->status : 0);
    }
    params_array_end(p);
    add_bufs(p, kept, n, offsetof(struct kept, url));
    add_bufs(p, kept, n, offsetof(struct kept, headers));
    add_bufs(p, kept, n, offsetof(struct kept, body));
    params_array_begin(p, ARRAY_BOOL);
    for (int i = 0; i < n; i++) {
        params_array_int(p, kept[i].redacted.truncated);
    }
    params_array_end(p);
    params_array_begin(p, ARRAY_INT8);
    for (int i = 0; i < n; i++) {
        params_array_int(p, kept[i].redacted.redactions);
    }
    params_array_end(p);
    return store_send(
        tx,
        "INSERT INTO psync.attempt_body (attempt_id, method, url, status, headers,"
        " body, truncated, redactions) "
        "SELECT a, m, u, nullif(s, 0), h, b, t, r FROM unnest($1::bigint[],"
        " $2::text[], $3::int8[], $4::text[], $5::text[], $6::text[],"
        " $7::bool[], $8::int8[]) AS x (a, m, s, u, h, b, t, r)",
        p, NULL, err);
}

static int send_bodies(struct store_tx *tx, const struct attempt *rows, int n, struct err *err)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        count += has_body(&rows[i]);
    }
    if (count == 0) {
        return 0;
    }
    struct kept *kept = calloc((size_t)count, sizeof *kept);
    if (kept == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for answer bodies");
        return -1;
    }
    int rc = 0;
    for (int i = 0, k = 0; i < n && rc == 0; i++) {
        if (has_body(&rows[i])) {
            rc = keep_body(&kept[k++], &rows[i]);
        }
    }
    if (rc != 0) {
        err_set(err, ERR_NOMEM, "out of memory for answer bodies");
    } else {
        rc = send_kept(tx, kept, count, err);
    }
    kept_release(kept, count);
    return rc;
}

/* ---- what they resolve ---- */

static bool resolves(const struct attempt *a)
{
    return a->recovers && a->record_id != NULL &&
           (a->status == ATTEMPT_SUCCEEDED || a->status == ATTEMPT_SKIPPED);
}

/* Found by record alone (OFFSET): left to the planner, a page without statistics walked all
 * open errors of the connection. */
static const char *const resolve_sql =
    "UPDATE psync.attempt a SET resolved_by = t.by "
    "FROM (SELECT o.attempt_id, x.by"
    "  FROM unnest($2::text[], $3::text[], $4::bigint[]) AS x (object_type, record_id, by)"
    "  CROSS JOIN LATERAL (SELECT attempt_id, status, resolved_by FROM psync.attempt"
    "   WHERE connection_id = $1 AND object_type = x.object_type"
    "    AND record_id = x.record_id OFFSET 0) o"
    "  WHERE o.status IN ('failed', 'partial', 'retrying') AND o.resolved_by IS NULL"
    "   AND o.attempt_id >= psync.attempt_floor(now() - interval '31 days')"
    "   AND o.attempt_id < $5) t "
    "WHERE a.attempt_id = t.attempt_id AND a.resolved_by IS NULL";

static int send_resolved(struct store_tx *tx, const struct attempt *rows, int n,
                         struct err *err)
{
    int count = 0;
    int64_t first = INT64_MAX;
    for (int i = 0; i < n; i++) {
        count += resolves(&rows[i]);
        first = rows[i].attempt_id < first ? rows[i].attempt_id : first;
    }
    if (count == 0) {
        return 0;
    }
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, rows[0].connection_id);
    for (int column = 0; column < 3; column++) {
        params_array_begin(p, column < 2 ? ARRAY_TEXT : ARRAY_INT8);
        for (int i = 0; i < n; i++) {
            if (!resolves(&rows[i])) {
                continue;
            }
            if (column == 2) {
                params_array_int(p, rows[i].attempt_id);
            } else {
                add_text(p, column == 0 ? or_empty(rows[i].object) : rows[i].record_id);
            }
        }
        params_array_end(p);
    }
    params_int(p, first);
    return store_send(tx, resolve_sql, p, NULL, err);
}

int attempt_resolve_send(struct store_tx *tx, int64_t connection_id, const char *object,
                         const char *const *ids, int n, int64_t attempt_id, struct err *err)
{
    if (n == 0) {
        return 0;
    }
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, connection_id);
    for (int column = 0; column < 3; column++) {
        params_array_begin(p, column < 2 ? ARRAY_TEXT : ARRAY_INT8);
        for (int i = 0; i < n; i++) {
            if (column == 2) {
                params_array_int(p, attempt_id);
            } else {
                add_text(p, column == 0 ? object : ids[i]);
            }
        }
        params_array_end(p);
    }
    params_int(p, attempt_id);
    return store_send(tx, resolve_sql, p, NULL, err);
}

/* ---- all of it ---- */

static int take_ids(struct store_tx *tx, struct attempt *rows, int n, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *ids = NULL;
    params_int(p, n);
    if (store_send(tx, "SELECT psync.next_attempt_id() FROM generate_series(1, $1::int)", p,
                   &ids, err) != 0 ||
        store_sync(tx, err) != 0) {
        return -1;
    }
    for (int i = 0; i < n; i++) {
        rows[i].attempt_id = rows_int(ids, i, 0);
    }
    return 0;
}

int attempt_send(struct store_tx *tx, struct attempt *rows, int n, struct err *err)
{
    if (n == 0) {
        return 0;
    }
    if (take_ids(tx, rows, n, err) != 0 || send_rows(tx, rows, n, err) != 0 ||
        send_bodies(tx, rows, n, err) != 0 || send_resolved(tx, rows, n, err) != 0) {
        err_wrap(err, "log attempts");
        return -1;
    }
    return 0;
}

static void tell_one(const struct log *log, enum log_level level, const char *provider,
                     const struct attempt *a)
{
    const struct error_info *info = error_info(a->failure.type);
    char id[24];
    snprintf(id, sizeof id, "%lld", (long long)a->attempt_id); /* past 2^53 */
    struct log_field fields[] = {
        LOG_F_TEXT("attempt_id", id),
        LOG_F_TEXT("provider", provider),
        LOG_F_INT("connection_id", a->connection_id),
        LOG_F_TEXT("kind", kind_name(a->kind)),
        LOG_F_TEXT("trigger", or_empty(a->trigger)),
        LOG_F_TEXT("object_type", or_empty(a->object)),
        LOG_F_TEXT("status", attempt_status_names[a->status]),
        LOG_F_INT("duration_ms", a->duration_ms),
        {NULL, NULL, 0},
        {NULL, NULL, 0},
        {NULL, NULL, 0},
        {NULL, NULL, 0},
        {NULL, NULL, 0},
    };
    size_t n = COUNT_OF(fields) - 5;
    if (a->record_id != NULL) {
        fields[n++] = LOG_F_TEXT("record_id", a->record_id);
    }
    if (a->run_id != 0) {
        fields[n++] = LOG_F_INT("run_id", a->run_id);
    }
    if (info != NULL) {
        fields[n++] = LOG_F_TEXT("error.type", info->code);
    }
    if (a->failure.http_status != 0) {
        fields[n++] = LOG_F_INT("http.response.status_code", a->failure.http_status);
    }
    log_event(log, level, "sync.attempt.finished", fields, "%s %s%s%s",
              or_empty(a->object)[0] != '\0' ? a->object : kind_name(a->kind),
              attempt_status_names[a->status], info != NULL ? ": " : "",
              info != NULL ? info->title : "");
}

void attempt_tell(const struct log *log, const char *provider, const struct attempt *rows,
                  int n)
{
    for (int i = 0; i < n; i++) {
        const struct error_info *info = error_info(rows[i].failure.type);
        enum log_level level =
            info != NULL && info->severity == SEVERITY_ERROR ? LOG_INFO : LOG_DEBUG;
        if (log_on(log, level)) {
            tell_one(log, level, provider, &rows[i]);
        }
    }
}

/* ---- what becomes of a unit ---- */

enum { BACKOFF_BASE_MS = 2000, BACKOFF_CAP_MS = 15 * 60 * 1000, TRIES_MAX = 8 };

/* Full jitter: anything from nothing to the doubled step, so that units that failed together do
 * not come back together. Never sooner than the provider asked. */
static int64_t backoff_ms(const struct failure *f, int attempts_so_far, double random01)
{
    int64_t step = BACKOFF_CAP_MS;
    if (attempts_so_far < 20 && (int64_t)BACKOFF_BASE_MS << attempts_so_far < step) {
        step = (int64_t)BACKOFF_BASE_MS << attempts_so_far;
    }
    int64_t delay = (int64_t)(random01 * (double)step);
    return f->wait_ms > 0 ? f->wait_ms + delay / 8 : delay;
}

double attempt_random01(void)
{
    return (double)arc4random() / 4294967296.0;
}

void attempt_retry_plan(const struct failure *f, int attempts_so_far, double random01,
                        struct retry_plan *out)
{
    const struct error_info *info = error_info(f->type);
    *out = (struct retry_plan){OUTCOME_COMPLETE, ATTEMPT_SUCCEEDED, 0};
    if (info == NULL) {
        return;
    }
    out->status = info->severity == SEVERITY_SKIPPED ? ATTEMPT_SKIPPED : ATTEMPT_FAILED;
    bool mapped = strcmp(info->family, "mapping") == 0 || strcmp(info->family, "matching") == 0;
    if (mapped) {
        /* The record itself is stored; asking the provider again would change nothing. The
         * next change, run or link by hand tries again. */
        if (out->status == ATTEMPT_FAILED) {
            out->status = ATTEMPT_PARTIAL;
        }
        return;
    }
    enum et_retry retry = info->retry;
    bool limit = strcmp(info->family, "rate_limit") == 0;
    if (f->retry_advice > 0 && info->banner == BANNER_NONE) {
        retry = RETRY_AUTO;
    } else if (f->retry_advice < 0 && retry == RETRY_AUTO && !limit) {
        retry = RETRY_AFTER_FIX; /* a limit says only: not at once */
    }
    switch (retry) {
    case RETRY_AUTO:
        if (limit || f->type == ET_CIRCUIT_OPEN || f->type == ET_CONNECTION_PAUSED) {
            out->outcome = OUTCOME_RELEASE; /* burns no attempt */
            out->status = ATTEMPT_RETRYING;
            out->delay_ms = f->wait_ms > 0 ? f->wait_ms : 0;
        } else if (out->status == ATTEMPT_SKIPPED ||
                   (f->type == ET_JOB_TIMEOUT && attempts_so_far > 0)) {
            return; /* a job that was too slow twice would be so a third time */
        } else if (attempts_so_far + 1 >= TRIES_MAX) {
            out->outcome = OUTCOME_PARK;
        } else {
            out->outcome = OUTCOME_RETRY;
            out->status = ATTEMPT_RETRYING;
            out->delay_ms = backoff_ms(f, attempts_so_far, random01);
        }
        return;
    case RETRY_AFTER_FIX:
        out->outcome = OUTCOME_PARK;
        return;
    case RETRY_MANUAL:
    case RETRY_NEVER:
        return;
    }
}
