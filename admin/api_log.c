/* The log: every attempt of the last 30 days, by the same filter for the list, its count, its
 * groups, its export and "retry all". A page is found by the id it begins after, so it stays
 * put while new rows arrive. */
#include "admin/api.h"

#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SQL_MAX_BYTES = 32 * 1024,
    COUNT_MAX = 10000, /* more is "more than": counting a million takes a quarter second */
    RETRY_PER_CALL = 100,
    SLOW_MS = 5000,
};

/* ---- the filter ---- */

struct filter {
    struct buf where; /* " AND ...", of psync_bi.sync_log l */
    struct params *p;
    int count; /* of params */
};

static void filter_release(struct filter *f)
{
    buf_release(&f->where);
    params_free(f->p);
}

/* Add a condition in which %d is the number of its parameter. */
static void filter_text(struct filter *f, const char *condition, const char *value)
{
    params_text(f->p, value);
    f->count++;
    (void)buf_add_str(&f->where, " AND ");
    for (const char *at = condition; *at != '\0'; at++) {
        if (at[0] == '%' && at[1] == 'd') {
            (void)buf_printf(&f->where, "$%d", f->count);
            at++;
        } else {
            (void)buf_add_char(&f->where, *at);
        }
    }
}

static void filter_bare(struct filter *f, const char *condition)
{
    (void)buf_printf(&f->where, " AND %s", condition);
}

/* What a text of the query adds, as it stands. */
static const struct {
    const char *name, *condition;
} texts[] = {
    {"workspace",
     "l.workspace_id = (SELECT workspace_id FROM psync.workspace WHERE name = %d)"},
    {"provider", "l.provider = %d"},
    {"code", "l.error_code = %d"},
    {"field", "l.error_field = %d"},
    {"status", "l.status = ANY (string_to_array(%d, ','))"},
    {"trigger", "l.trigger = ANY (string_to_array(%d, ','))"},
    {"object_type", "l.object_type = %d"},
    {"record", "(l.record_id = %d OR l.customer_id IN (SELECT customer_id FROM psync.customer"
               " WHERE strpos(lower(fields ->> 'name'), lower(%d)) > 0))"},
};

static const struct {
    const char *name, *condition;
} numbers[] = {
    {"connection", "l.connection_id = %d::bigint"}, {"run", "l.run_id = %d::bigint"},
    {"customer", "l.customer_id = %d::bigint"},     {"after", "l.attempt_id < %d::bigint"},
    {"newer_than", "l.attempt_id > %d::bigint"},
};

/* "24h", "7d": what stays relative in an address somebody keeps. */
static bool duration_ok(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits < 5 && strchr("hdm", text[digits]) != NULL &&
           text[digits] != '\0' && text[digits + 1] == '\0';
}

static int filter_times(struct api_call *c, struct filter *f)
{
    char text[API_TEXT_MAX_BYTES];
    static const struct {
        const char *name, *condition;
    } ends[] = {{"from", "l.attempt_id >= psync.attempt_floor(%d::timestamptz)"},
                {"to", "l.attempt_id < psync.attempt_floor(%d::timestamptz)"}};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        int64_t at_ms;
        if (api_query(c, ends[i].name, text)[0] == '\0') {
            continue;
        }
        if (clock_parse(text, &at_ms) != 0) {
            api_problem(c, 400, "invalid",
                        "from and to are times such as 2026-11-20T00:00:00Z.");
            return -1;
        }
        filter_text(f, ends[i].condition, text);
    }
    if (api_query(c, "last", text)[0] != '\0') {
        if (!duration_ok(text)) {
            api_problem(c, 400, "invalid", "last is a time such as 24h or 7d.");
            return -1;
        }
        char interval[16];
        size_t n = strlen(text);
        (void)snprintf(interval, sizeof interval, "%.*s %s", (int)(n - 1), text,
                       text[n - 1] == 'h'   ? "hours"
                       : text[n - 1] == 'd' ? "days"
                                            : "minutes");
        filter_text(f, "l.attempt_id >= psync.attempt_floor(now() - %d::interval)", interval);
    }
    return 0;
}

/* 0, or -1 when it was answered. */
static int filter_read(struct api_call *c, struct filter *f)
{
    char text[API_TEXT_MAX_BYTES];
    *f = (struct filter){.p = params_new()};
    buf_init(&f->where, SQL_MAX_BYTES);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (api_query(c, texts[i].name, text)[0] != '\0') {
            filter_text(f, texts[i].condition, text);
        }
    }
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        int64_t n = api_query_int(c, numbers[i].name, 0);
        if (n < 0) {
            char why[96];
            (void)snprintf(why, sizeof why, "%s has to be a number.", numbers[i].name);
            api_problem(c, 400, "invalid", why);
            return -1;
        }
        if (n > 0) {
            filter_text(f, numbers[i].condition, api_query(c, numbers[i].name, text));
        }
    }
    if (strcmp(api_query(c, "errors", text), "1") == 0) {
        filter_bare(f, "l.status IN ('failed', 'partial', 'retrying')");
        /* As a list that is made first: joined with the types, a group by cause went through
         * all that failed once for each type (3.1 s of a million attempts). */
        filter_bare(f, "l.error_code = ANY (ARRAY("
                       "SELECT code FROM psync.error_type WHERE severity = 'error'))");
    }
    if (strcmp(api_query(c, "unresolved", text), "1") == 0) {
        filter_bare(f, "l.status IN ('failed', 'partial', 'retrying') AND NOT l.resolved");
    }
    if (strcmp(api_query(c, "slow", text), "1") == 0) {
        (void)buf_printf(&f->where, " AND l.duration_ms > %d", SLOW_MS);
    }
    return filter_times(c, f);
}

/* ---- list ---- */

#define COLUMNS                                                                                \
    "l.attempt_id::text AS attempt_id, l.started_at, l.finished_at, l.workspace_id,"           \
    " l.connection_id, l.provider, l.mode, l.run_id, l.kind, l.trigger, l.actor,"              \
    " l.object_type, l.record_id, l.customer_id, l.attempt_no, l.status, l.duration_ms,"       \
    " l.queue_wait_ms, l.lag_ms, l.events, l.error_count, l.error_code, l.error_title,"        \
    " l.error_family, l.severity, l.retry, l.error_field, l.error_message, l.seen, l.changed," \
    " l.http_status, l.endpoint, l.provider_request_id, l.next_retry_at,"                      \
    " l.retry_of::text AS retry_of, l.resolved, l.worker"

static void answer_built(struct api_call *c, struct buf *sql, const struct filter *f)
{
    if (sql->failed || f->where.failed) {
        api_problem(c, 400, "invalid", "The filter is too long.");
    } else {
        api_answer_query(c, buf_text(sql), f->p, "There is no such attempt.");
    }
}

static void log_list(struct api_call *c)
{
    struct filter f;
    struct buf sql;
    int limit = api_query_limit(c);
    if (filter_read(c, &f) == 0) {
        buf_init(&sql, SQL_MAX_BYTES);
        (void)buf_printf(
            &sql,
            "WITH page AS (SELECT " COLUMNS " FROM psync_bi.sync_log l WHERE true%s"
            "   ORDER BY l.attempt_id DESC LIMIT %d),"
            " shown AS (SELECT * FROM page ORDER BY attempt_id::bigint DESC LIMIT %d),"
            " named AS (SELECT s.*, coalesce(u.fields ->> 'name', r.raw #>> "
            "'{properties,name}',"
            "     r.raw ->> 'name', r.raw ->> 'email') AS record_name FROM shown s"
            "   LEFT JOIN psync.customer u ON u.customer_id = s.customer_id"
            "   LEFT JOIN psync.record r ON r.connection_id = s.connection_id AND "
            "r.object_type ="
            "     s.object_type AND r.record_id = s.record_id)"
            " SELECT json_build_object('items', coalesce((SELECT json_agg(s ORDER BY"
            "   s.attempt_id::bigint DESC) FROM named s), '[]'), 'next', CASE WHEN (SELECT"
            "   count(*) FROM page) > %d THEN (SELECT min(attempt_id::bigint)::text FROM shown)"
            "   END)::text",
            buf_text(&f.where), limit + 1, limit, limit);
        answer_built(c, &sql, &f);
        buf_release(&sql);
    }
    filter_release(&f);
}

/* By cause. By record and day first: counting distinct ones of 25,000 sorts them; titles last,
 * since comparing texts of each row costs more than all the rest. */
#define GROUPS_SQL                                                                             \
    "WITH x AS MATERIALIZED (SELECT l.error_code, l.connection_id, l.object_type, "            \
    "l.record_id,"                                                                             \
    "   (l.started_at AT TIME ZONE 'UTC')::date AS day, count(*) AS n,"                        \
    "   min(l.started_at) AS first_at, max(l.started_at) AS last_at"                           \
    "   FROM psync_bi.sync_log l WHERE l.error_code <> ''%s GROUP BY 1, 2, 3, 4, 5),"          \
    " r AS (SELECT error_code, sum(n) AS n, min(first_at) AS first_at, max(last_at) AS"        \
    "   last_at FROM x GROUP BY error_code, connection_id, object_type, record_id),"           \
    " d AS (SELECT error_code, json_object_agg(day, n) AS days FROM (SELECT"                   \
    "   error_code, day, sum(n)::bigint AS n FROM x GROUP BY 1, 2) v GROUP BY 1),"             \
    " g AS (SELECT r.error_code, e.title AS error_title, e.severity, r.attempts, r.records,"   \
    "   r.first_at, r.last_at, d.days FROM (SELECT error_code, sum(n)::bigint AS attempts,"    \
    "     count(*) AS records, min(first_at) AS first_at, max(last_at) AS last_at"             \
    "     FROM r GROUP BY 1) r JOIN d USING (error_code)"                                      \
    "   LEFT JOIN psync.error_type e ON e.code = r.error_code) "

/* How many, and by cause when ?group=1. The order is what makes PostgreSQL walk the index to
 * the limit: without it it joined from the error types, 3 s for 600,000 attempts, now 0.1 s.
 * Errors all have a cause: those are counted by their groups. */
static void log_summary(struct api_call *c)
{
    struct filter f;
    struct buf sql;
    char text[API_TEXT_MAX_BYTES];
    if (filter_read(c, &f) == 0) {
        bool grouped = strcmp(api_query(c, "group", text), "1") == 0;
        bool errors = strcmp(api_query(c, "errors", text), "1") == 0;
        buf_init(&sql, SQL_MAX_BYTES);
        if (grouped) {
            (void)buf_printf(&sql, GROUPS_SQL, buf_text(&f.where));
        }
        (void)buf_printf(
            &sql,
            "SELECT json_build_object('count', least(n.n, %d), 'more', n.n > %d, 'groups', %s"
            ")::text FROM ",
            COUNT_MAX, COUNT_MAX,
            grouped ? "(SELECT coalesce(json_agg(g ORDER BY g.records DESC), '[]') FROM g)"
                    : "null");
        if (grouped && errors) {
            (void)buf_add_str(&sql, "(SELECT coalesce(sum(n), 0)::bigint AS n FROM x) n");
        } else {
            (void)buf_printf(&sql,
                             "(SELECT count(*) AS n FROM (SELECT FROM psync_bi.sync_log l"
                             " WHERE true%s ORDER BY l.attempt_id DESC LIMIT %d) x) n",
                             buf_text(&f.where), COUNT_MAX + 1);
        }
        answer_built(c, &sql, &f);
        buf_release(&sql);
    }
    filter_release(&f);
}

/* ---- one ---- */

static const char detail_sql[] =
    "SELECT json_build_object('attempt', to_jsonb(s), 'explanation', (SELECT row_to_json(e)"
    "   FROM psync_bi.error_reference e WHERE e.code = s.error_code),"
    " 'body', (SELECT json_build_object('method', b.method, 'url', b.url, 'status', b.status,"
    "   'headers', b.headers, 'body', b.body, 'truncated', b.truncated, 'redactions',"
    "   b.redactions) FROM psync.attempt_body b WHERE b.attempt_id = $1),"
    " 'connection', (SELECT json_build_object('connection_id', c.connection_id, 'workspace',"
    "   w.name, 'provider', c.provider, 'mode', c.mode, 'account_id', c.account_id, 'state',"
    "   c.state, 'ui_domain', c.account ->> 'ui_domain') FROM psync.connection c"
    "   JOIN psync.workspace w USING (workspace_id) WHERE c.connection_id = s.connection_id),"
    " 'mapping_line', (SELECT m FROM psync.mapping v, jsonb_array_elements(v.fields) m"
    "   WHERE v.connection_id = s.connection_id AND s.error_field <> '' AND m ->> 'field' ="
    "   s.error_field ORDER BY v.version DESC LIMIT 1),"
    " 'history', (SELECT coalesce(json_agg(h ORDER BY h.attempt_id::bigint DESC), '[]') FROM ("
    "   SELECT o.attempt_id::text AS attempt_id, o.started_at, o.status, o.trigger, o.actor,"
    "     o.error_code, o.error_title, o.duration_ms FROM psync_bi.sync_log o"
    "   WHERE o.connection_id = s.connection_id AND o.object_type = s.object_type"
    "     AND o.record_id = s.record_id ORDER BY o.attempt_id DESC LIMIT 20) h),"
    " 'retry_refused', $2::text)::text"
    " FROM (SELECT " COLUMNS ", coalesce(u.fields ->> 'name', r.raw #>> '{properties,name}',"
    "     r.raw ->> 'name', r.raw ->> 'email') AS record_name FROM psync_bi.sync_log l"
    "   LEFT JOIN psync.customer u ON u.customer_id = l.customer_id"
    "   LEFT JOIN psync.record r ON r.connection_id = l.connection_id AND r.object_type ="
    "     l.object_type AND r.record_id = l.record_id"
    "   WHERE l.attempt_id = $1::bigint) s";

/* Why it cannot be retried now; NULL when it can. */
static const char *refused(const struct action_target *t, const struct connection *conn)
{
    if (t->resolved_by != 0 || strcmp(t->status, "succeeded") == 0) {
        return "a later try succeeded: there is nothing to retry";
    }
    return action_retry_refused(t, conn);
}

/* The attempt that the address names; 0 when there is none, which is answered. *conn may be
 * NULL, and err says why; else the caller owns it. */
static int64_t named_attempt(struct api_call *c, struct action_target *t,
                             struct connection **conn, struct err *err)
{
    int64_t id = api_hole_id(c, 0);
    if (id == 0) {
        return 0;
    }
    if (action_attempt(c->app->store, id, t, err) != 0) {
        api_problem_err(c, err);
        return 0;
    }
    *conn = connection_load(c->app->store, c->app->seal, t->connection_id, err);
    return id;
}

static void log_show(struct api_call *c)
{
    struct action_target t;
    struct err err = {0};
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(connection_freep) struct connection *conn = NULL;
    int64_t id = named_attempt(c, &t, &conn, &err);
    if (id == 0) {
        return;
    }
    params_int(p, id);
    params_text(p, conn != NULL ? refused(&t, conn) : "its connection is gone");
    api_answer_query(c, detail_sql, p, "There is no such attempt in the last 30 days.");
}

static void log_retry(struct api_call *c)
{
    struct action_target t;
    struct err err = {0};
    CLEANUP(connection_freep) struct connection *conn = NULL;
    int64_t after = 0;
    if (named_attempt(c, &t, &conn, &err) == 0) {
        return;
    }
    const char *why = conn != NULL ? refused(&t, conn) : NULL;
    if (why != NULL) {
        err_set(&err, ERR_DENIED, "%s", why);
    }
    if (conn == NULL || why != NULL ||
        action_resync(c->app, conn, t.object, t.record_id, "retry", &c->actor, &after, &err) !=
            0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 202,
                        json_pack("{s:I, s:s, s:s, s:I}", "connection_id",
                                  (json_int_t)t.connection_id, "object_type", t.object,
                                  "record_id", t.record_id, "after_fetch_no",
                                  (json_int_t)after));
    }
}

/* ---- all that match ---- */

/* What retrying n records costs: calls of the provider, and seconds at our rate. */
static void cost(const struct connection *conn, const char *object, int64_t n, int64_t *calls,
                 double *seconds)
{
    const struct object_type *o = provider_object(conn->provider, object);
    int batch = o != NULL && o->batch_max > 0 ? o->batch_max : 1;
    double rate = conn->provider->quotas->rate_per_s;
    for (const struct quota_family *q = conn->provider->quotas; o != NULL && q->name != NULL;
         q++) {
        rate = strcmp(q->name, o->read_family) == 0 ? q->rate_per_s : rate;
    }
    int64_t more = (n + batch - 1) / batch;
    *calls += more;
    *seconds += rate > 0 ? (double)more / rate : 0;
}

struct retry_counts {
    int64_t attempts, records, left_out, put, calls;
    double seconds;
    char why[160]; /* of the last one left out */
};

/* One record of the matching ones: its newest failed attempt. */
static int retry_record(struct api_call *c, const struct rows *r, int i, bool dry,
                        struct connection **conn, struct retry_counts *n, struct err *err)
{
    struct action_target t = {.connection_id = rows_int(r, i, 0)};
    int64_t after = 0;
    (void)snprintf(t.object, sizeof t.object, "%s", rows_text(r, i, 1));
    (void)snprintf(t.record_id, sizeof t.record_id, "%s", rows_text(r, i, 2));
    (void)snprintf(t.code, sizeof t.code, "%s", rows_text(r, i, 3));
    (void)snprintf(t.status, sizeof t.status, "%s", rows_text(r, i, 4));
    if (*conn == NULL || (*conn)->connection_id != t.connection_id) {
        connection_free(*conn);
        *conn = connection_load(c->app->store, c->app->seal, t.connection_id, err);
        if (*conn == NULL) {
            return -1;
        }
    }
    n->attempts += rows_int(r, i, 5);
    n->records++;
    const char *why = action_retry_refused(&t, *conn);
    if (why != NULL) {
        n->left_out++;
        (void)snprintf(n->why, sizeof n->why, "%s", why);
        return 0;
    }
    n->put++;
    cost(*conn, t.object, 1, &n->calls, &n->seconds);
    return dry ? 0
               : action_resync(c->app, *conn, t.object, t.record_id, "retry", &c->actor, &after,
                               err);
}

static void retry_rows(struct api_call *c, const struct rows *r, bool dry)
{
    CLEANUP(connection_freep) struct connection *conn = NULL;
    struct retry_counts n = {0};
    struct err err = {0};
    int most = dry ? COUNT_MAX : RETRY_PER_CALL, rows = rows_count(r);
    for (int i = 0; i < rows && i < most; i++) {
        if (retry_record(c, r, i, dry, &conn, &n, &err) != 0) {
            api_problem_err(c, &err);
            return;
        }
    }
    json_t *next = json_null();
    if (rows > most) {
        next = json_sprintf("%s %s %s", rows_text(r, most - 1, 0), rows_text(r, most - 1, 1),
                            rows_text(r, most - 1, 2));
    }
    api_answer_json(c, dry ? 200 : 202,
                    json_pack("{s:b, s:I, s:I, s:I, s:I, s:s, s:I, s:f, s:b, s:o}", "dry_run",
                              dry, "attempts", (json_int_t)n.attempts, "records",
                              (json_int_t)n.records, "retried", (json_int_t)n.put, "left_out",
                              (json_int_t)n.left_out, "left_out_why", n.why, "calls",
                              (json_int_t)n.calls, "seconds", n.seconds, "more", rows > most,
                              "next", next));
}

/* Where the call before ended: "connection type record". */
static void retry_cursor(struct api_call *c, struct filter *f)
{
    char connection[24] = "", object[48] = "", record[API_TEXT_MAX_BYTES] = "";
    const char *text = api_body_text(c, "next");
    if (text == NULL || sscanf(text, "%23s %47s %255[^\n]", connection, object, record) != 3 ||
        strspn(connection, "0123456789") != strlen(connection)) {
        return;
    }
    params_text(f->p, connection);
    params_text(f->p, object);
    params_text(f->p, record);
    (void)buf_printf(&f->where,
                     " AND (l.connection_id, l.object_type, l.record_id) >"
                     " ($%d::bigint, $%d, $%d)",
                     f->count + 1, f->count + 2, f->count + 3);
    f->count += 3;
}

/* A hundred records a call; `next` of the answer goes into the next one, so whoever asks can
 * show how far it is and stop. */
static void log_retry_all(struct api_call *c)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct filter f;
    struct buf sql;
    struct err err = {0};
    bool dry = api_body_true(c, "dry_run");
    if (filter_read(c, &f) != 0) {
        filter_release(&f);
        return;
    }
    retry_cursor(c, &f);
    buf_init(&sql, SQL_MAX_BYTES);
    (void)buf_printf(
        &sql,
        "SELECT connection_id, object_type, record_id, (array_agg(error_code ORDER BY "
        "attempt_id"
        " DESC))[1], (array_agg(status ORDER BY attempt_id DESC))[1], count(*)"
        " FROM psync_bi.sync_log l WHERE l.record_id IS NOT NULL AND NOT l.resolved"
        "   AND l.status IN ('failed', 'partial', 'retrying')%s"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT %d",
        buf_text(&f.where), (dry ? COUNT_MAX : RETRY_PER_CALL) + 1);
    if (sql.failed) {
        api_problem(c, 400, "invalid", "The filter is too long.");
    } else if (store_query(c->app->store, buf_text(&sql), f.p, &r, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        retry_rows(c, r, dry);
    }
    buf_release(&sql);
    filter_release(&f);
}

static void log_export(struct api_call *c)
{
    struct filter f;
    struct buf sql;
    if (filter_read(c, &f) == 0) {
        buf_init(&sql, SQL_MAX_BYTES);
        (void)buf_printf(&sql,
                         "SELECT " COLUMNS " FROM psync_bi.sync_log l"
                         " WHERE true%s ORDER BY l.attempt_id DESC LIMIT %d",
                         buf_text(&f.where), API_EXPORT_MAX);
        if (sql.failed || f.where.failed) {
            api_problem(c, 400, "invalid", "The filter is too long.");
        } else {
            api_export(c, buf_text(&sql), f.p, "sync-log");
        }
        buf_release(&sql);
    }
    filter_release(&f);
}

const struct api_route api_log_routes[] = {
    {"GET", "/api/v1/attempts", ACCESS_VIEWER, log_list},
    {"GET", "/api/v1/attempts/summary", ACCESS_VIEWER, log_summary},
    {"GET", "/api/v1/attempts/export", ACCESS_VIEWER, log_export},
    {"POST", "/api/v1/attempts/retry", ACCESS_OPERATOR, log_retry_all},
    {"GET", "/api/v1/attempts/{attempt}", ACCESS_VIEWER, log_show},
    {"POST", "/api/v1/attempts/{attempt}/retry", ACCESS_OPERATOR, log_retry},
    {0}};
