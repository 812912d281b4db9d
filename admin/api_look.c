/* What there is to look at: connections with their two clocks, runs, customers, deliveries,
 * queue, quotas, activity, the error types. PostgreSQL makes the JSON; a viewer may see it all.
 */
#include "admin/api.h"

#include "common/clock.h"
#include "core/customer.h"
#include "core/figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNITS_MAX = 200, LIST_MAX_BYTES = 4 << 20 };

/* $1 connection (0 = all), $2 workspace (NULL = all). */
static const char connections_sql[] =
    "SELECT coalesce(json_agg(v ORDER BY array_position(ARRAY['reauthorize', 'disconnected'],"
    "   v.state), v.incremental_health <> 'stale' AND v.full_health <> 'stale',"
    "   v.workspace, v.provider, v.mode), '[]')::text FROM ("
    " SELECT s.*, w.tz, w.business_hours, w.currency, c.connected_by, c.objects,"
    "   c.account ->> 'ui_domain' AS ui_domain, k.kind AS credential, k.scopes,"
    "   (SELECT count(*) FROM psync.record_seen n WHERE n.connection_id = s.connection_id"
    "     AND n.state = 'in_sync') AS in_sync,"
    "   (SELECT coalesce(json_object_agg(u.state, u.n), '{}') FROM (SELECT n.state, count(*) "
    "AS n"
    "     FROM psync.record_seen n WHERE n.connection_id = s.connection_id"
    "     AND n.state NOT IN ('in_sync', 'archived') GROUP BY 1) u) AS unwell,"
    "   (SELECT max(m.version) FROM psync.mapping m WHERE m.connection_id = s.connection_id)"
    "     AS mapping_version,"
    "   (SELECT to_jsonb(r) || " RUN_PHASE_SQL(
        "r") " FROM psync_bi.run_history r"
             "     WHERE r.connection_id = s.connection_id AND r.kind = 'full'"
             "     AND r.status IN ('queued', 'running') ORDER BY r.run_id DESC LIMIT 1) AS "
             "live_run,"
             "   (SELECT row_to_json(r) FROM psync_bi.run_history r WHERE r.connection_id ="
             "     s.connection_id AND r.kind = 'full' AND r.status NOT IN ('queued', "
             "'running')"
             "     ORDER BY r.run_id DESC LIMIT 1) AS last_run"
             " FROM psync_bi.connection_status s JOIN psync.connection c USING (connection_id)"
             "   JOIN psync.workspace w ON w.workspace_id = s.workspace_id"
             "   LEFT JOIN psync.credential k ON k.connection_id = s.connection_id"
             " WHERE ($1::bigint = 0 OR s.connection_id = $1) AND ($2::text IS NULL OR "
             "s.workspace = $2)"
             ") v";

/* What a walk must be granted, as a list; null where its tokens do not say. */
static json_t *scopes_needed(const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "provider"));
    const struct provider *p = name != NULL ? provider_find(name) : NULL;
    if (p == NULL || p->scopes_needed == NULL) {
        return json_null();
    }
    json_t *out = json_array();
    for (const char *at = p->scopes_needed; *at != '\0'; at += *at == ' ') {
        size_t len = strcspn(at, " ");
        (void)json_array_append_new(out, json_stringn(at, len));
        at += len;
    }
    return out;
}

/* How many units of each wait, what is left of the quota, and whether calls are held back: only
 * the queue knows. null = it does not answer. */
static void add_waiting(struct api_call *c, json_t *rows)
{
    size_t i;
    json_t *row;
    struct err err = {0};
    json_auto_t *quota = figures_quota(c->app, &err);
    json_array_foreach(rows, i, row)
    {
        json_t *q = figures_queue(
            c->app, json_integer_value(json_object_get(row, "connection_id")), &err);
        json_t *mine = quota != NULL ? figures_quota_of(quota, row) : json_null();
        figures_set_throttled(row, mine);
        (void)json_object_set_new(row, "queue", q != NULL ? q : json_null());
        (void)json_object_set_new(row, "quota", mine);
        (void)json_object_set_new(row, "scopes_needed", scopes_needed(row));
    }
}

static json_t *connections(struct api_call *c, int64_t connection_id, const char *workspace)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct err err = {0};
    params_int(p, connection_id);
    params_text(p, workspace);
    if (store_query(c->app->store, connections_sql, p, &r, &err) != 0) {
        api_problem_err(c, &err);
        return NULL;
    }
    json_t *rows = json_loads(rows_text(r, 0, 0), 0, NULL);
    add_waiting(c, rows);
    return rows;
}

static void look_connections(struct api_call *c)
{
    char workspace[API_TEXT_MAX_BYTES];
    api_query(c, "workspace", workspace);
    json_t *rows = connections(c, 0, workspace[0] != '\0' ? workspace : NULL);
    if (rows != NULL) {
        api_answer_json(c, 200, json_pack("{s:o, s:n}", "items", rows, "next"));
    }
}

static void look_connection(struct api_call *c)
{
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    json_t *rows = conn != NULL ? connections(c, conn->connection_id, NULL) : NULL;
    if (rows == NULL) {
        return;
    }
    json_t *one = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    api_answer_json(c, 200, one);
}

/* A statement about one connection, $1. */
static void about_connection(struct api_call *c, const char *sql)
{
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    CLEANUP(params_freep) struct params *p = params_new();
    if (conn != NULL) {
        params_int(p, conn->connection_id);
        api_answer_query(c, sql, p, "There is no such connection.");
    }
}

/* By cause: what failed in the last 30 days and has not succeeded since. */
static void look_attention(struct api_call *c)
{
    about_connection(
        c,
        "SELECT json_build_object('items', coalesce(json_agg(v ORDER BY v.severity <> 'error',"
        "   v.records DESC), '[]'), 'next', null)::text FROM ("
        " SELECT error_code, error_field, min(error_title) AS error_title, min(severity) AS"
        "   severity, min(retry) AS retry, count(DISTINCT (object_type, record_id)) AS records,"
        "   count(*) AS attempts, min(started_at) AS first_at, max(started_at) AS last_at,"
        "   max(attempt_id)::text AS latest"
        " FROM psync_bi.sync_log WHERE connection_id = $1 AND NOT resolved"
        "   AND status IN ('failed', 'partial', 'retrying') AND record_id IS NOT NULL"
        "   AND severity IN ('error', 'warning')"
        " GROUP BY error_code, error_field ORDER BY 4, 6 DESC LIMIT 50) v");
}

static void look_deliveries(struct api_call *c)
{
    about_connection(
        c,
        "SELECT json_build_object('hours', 24,"
        " 'verdicts', (SELECT coalesce(json_object_agg(verdict, n), '{}') FROM (SELECT verdict,"
        "    count(*) AS n FROM psync.webhook_event WHERE connection_id = $1 AND event_no >="
        "    psync.attempt_floor(now() - interval '24 hours') GROUP BY 1) v),"
        " 'lag_p50_seconds', l.p50, 'lag_p95_seconds', l.p95,"
        " 'last', (SELECT coalesce(json_agg(e ORDER BY e.event_no DESC), '[]') FROM (SELECT"
        "    event_no::text AS event_no, received_at, verdict, event_id, event_type, "
        "object_type,"
        "    record_id, lag_ms FROM psync.webhook_event WHERE connection_id = $1"
        "    AND event_no >= psync.attempt_floor(now() - interval '30 days')"
        "    ORDER BY event_no DESC LIMIT 10) e),"
        " 'types', (SELECT coalesce(json_agg(t ORDER BY t.event_type), '[]') FROM (SELECT"
        "    event_type, count(*) AS events, max(received_at) AS last_at FROM "
        "psync.webhook_event"
        "    WHERE connection_id = $1 AND event_type <> '' AND event_no >="
        "    psync.attempt_floor(now() - interval '7 days') GROUP BY 1 LIMIT 60) t))::text"
        " FROM (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY lag_ms / 1000.0) AS p50,"
        "   percentile_cont(0.95) WITHIN GROUP (ORDER BY lag_ms / 1000.0) AS p95"
        "   FROM psync.webhook_event WHERE connection_id = $1 AND event_no >="
        "   psync.attempt_floor(now() - interval '24 hours')) l");
}

/* For people who would rather look than read. */
static void look_pictures(struct api_call *c)
{
    about_connection(
        c,
        "WITH z AS (SELECT w.tz FROM psync.connection JOIN psync.workspace w USING "
        "(workspace_id)"
        "   WHERE connection_id = $1),"
        " d AS (SELECT generate_series((now() AT TIME ZONE tz)::date - 29,"
        "   (now() AT TIME ZONE tz)::date, interval '1 day')::date AS day FROM z),"
        " n AS (SELECT (started_at AT TIME ZONE tz)::date AS day, count(*) AS attempts,"
        "   count(*) FILTER (WHERE a.status IN ('failed', 'partial', 'retrying')"
        "     AND e.severity = 'error') AS errors"
        "   FROM z, psync.attempt a LEFT JOIN psync.error_type e ON e.code = a.error_code"
        "   WHERE connection_id = $1 AND attempt_id >="
        "     psync.attempt_floor(now() - interval '30 days') GROUP BY 1),"
        " h AS (SELECT generate_series(date_trunc('hour', now()) - interval '23 hours',"
        "   date_trunc('hour', now()), interval '1 hour') AS hour),"
        " l AS (SELECT date_trunc('hour', received_at) AS hour, count(*) AS events,"
        "   percentile_cont(0.95) WITHIN GROUP (ORDER BY lag_ms / 1000.0) AS p95"
        "   FROM psync.webhook_event WHERE connection_id = $1 AND event_no >="
        "     psync.attempt_floor(now() - interval '25 hours') GROUP BY 1),"
        " q AS (SELECT g.at AS hour, sum(g.value)::bigint AS calls FROM psync.gauge_sample g,"
        "     psync.connection c WHERE c.connection_id = $1 AND g.name = 'quota_calls'"
        "     AND g.at >= date_trunc('hour', now()) - interval '23 hours'"
        "     AND g.provider = c.provider"
        "     AND starts_with(g.queue, c.account_id || ':' || c.mode || ' ') GROUP BY 1)"
        " SELECT json_build_object('days', (SELECT json_agg(json_build_object('day', d.day,"
        "    'attempts', coalesce(n.attempts, 0), 'errors', coalesce(n.errors, 0)) ORDER BY "
        "d.day)"
        "   FROM d LEFT JOIN n USING (day)),"
        "  'hours', (SELECT json_agg(json_build_object('hour', h.hour, 'events',"
        "    coalesce(l.events, 0), 'lag_p95_seconds', l.p95, 'calls', coalesce(q.calls, 0))"
        "    ORDER BY h.hour) FROM h LEFT JOIN l USING (hour) LEFT JOIN q USING "
        "(hour)))::text");
}

/* ---- runs ---- */

static void look_runs(struct api_call *c)
{
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    CLEANUP(params_freep) struct params *p = params_new();
    if (conn == NULL) {
        return;
    }
    params_int(p, conn->connection_id);
    params_int(p, api_query_limit(c));
    params_int(p, api_query_int(c, "after", INT64_MAX));
    api_answer_query(
        c,
        "WITH page AS (SELECT * FROM psync_bi.run_history WHERE connection_id = $1"
        "   AND run_id < $3::bigint ORDER BY run_id DESC LIMIT $2::int + 1),"
        " shown AS (SELECT * FROM page ORDER BY run_id DESC LIMIT $2::int)"
        " SELECT json_build_object('items', coalesce((SELECT json_agg(s ORDER BY run_id DESC)"
        "   FROM shown s), '[]'), 'next', CASE WHEN (SELECT count(*) FROM page) > $2::int"
        "   THEN (SELECT min(run_id)::text FROM shown) END)::text",
        p, "There is no such connection.");
}

static void look_run(struct api_call *c)
{
    CLEANUP(params_freep) struct params *p = params_new();
    int64_t run_id = api_hole_id(c, 0);
    if (run_id > 0) {
        params_int(p, run_id);
        api_answer_query(
            c,
            "SELECT (to_jsonb(r) || " RUN_PHASE_SQL("r") ")::text"
                                                         " FROM psync_bi.run_history r"
                                                         " WHERE run_id = $1",
            p, "There is no such run.");
    }
}

/* ---- customers ---- */

static void look_customers(struct api_call *c)
{
    CLEANUP(params_freep) struct params *p = params_new();
    char workspace[API_TEXT_MAX_BYTES], q[API_TEXT_MAX_BYTES], archived[API_TEXT_MAX_BYTES];
    api_query(c, "workspace", workspace);
    api_query(c, "q", q);
    api_query(c, "archived", archived);
    params_text(p, workspace[0] != '\0' ? workspace : NULL);
    params_int(p, api_query_limit(c));
    params_int(p, api_query_int(c, "after", 0));
    params_text(p, q[0] != '\0' ? q : NULL);
    params_text(p, archived[0] != '\0' ? archived : NULL);
    api_answer_query(
        c,
        "WITH page AS (SELECT v.*, w.name AS workspace FROM psync_bi.customer v"
        "   JOIN psync.workspace w USING (workspace_id)"
        "   WHERE ($1::text IS NULL OR w.name = $1) AND v.customer_id > $3::bigint"
        "     AND ($4::text IS NULL OR strpos(lower(v.name), lower($4)) > 0"
        "       OR strpos(lower(v.domain), lower($4)) > 0 OR v.customer_id::text = $4"
        "       OR EXISTS (SELECT FROM psync.record_link l WHERE l.customer_id = v.customer_id"
        "         AND l.record_id = $4))"
        "     AND ($5::text IS NULL OR (v.archived_at IS NOT NULL) = ($5 = 'yes'))"
        "   ORDER BY customer_id LIMIT $2::int + 1),"
        " shown AS (SELECT s.*, (SELECT count(*) FROM psync.customer o WHERE o.workspace_id ="
        "     s.workspace_id AND lower(o.fields ->> 'domain') = lower(s.domain)"
        "     AND o.archived_at IS NULL) AS same_domain"
        "   FROM (SELECT * FROM page ORDER BY customer_id LIMIT $2::int) s)"
        " SELECT json_build_object('items', coalesce((SELECT json_agg(s ORDER BY customer_id)"
        "   FROM shown s), '[]'), 'next', CASE WHEN (SELECT count(*) FROM page) > $2::int"
        "   THEN (SELECT max(customer_id)::text FROM shown) END)::text",
        p, "");
}

static void look_customer(struct api_call *c)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct err err = {0};
    int64_t id = api_hole_id(c, 0);
    if (id == 0) {
        return;
    }
    if (customer_read(c->app->store, id, NULL, &r, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer(c, 200, rows_text(r, 0, 0), rows_len(r, 0, 0));
    }
}

/* Records in a state: matched by nobody, several that fit, left out. */
static void look_records(struct api_call *c)
{
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    CLEANUP(params_freep) struct params *p = params_new();
    char state[API_TEXT_MAX_BYTES], after[API_TEXT_MAX_BYTES];
    if (conn == NULL) {
        return;
    }
    api_query(c, "state", state);
    api_query(c, "after", after);
    params_int(p, conn->connection_id);
    params_text(p, state[0] != '\0' ? state : "failing");
    params_int(p, api_query_limit(c));
    params_text(p, after);
    api_answer_query(
        c,
        "WITH page AS (SELECT h.*, coalesce(r.raw #>> '{properties,name}', r.raw ->> 'name',"
        "     r.raw ->> 'email') AS name"
        "   FROM psync_bi.record_health h LEFT JOIN psync.record r ON r.connection_id ="
        "     h.connection_id AND r.object_type = h.object_type AND r.record_id = h.record_id"
        "   WHERE h.connection_id = $1 AND h.state = $2 AND h.record_id > $4"
        "   ORDER BY h.record_id LIMIT $3::int + 1),"
        " shown AS (SELECT * FROM page ORDER BY record_id LIMIT $3::int)"
        " SELECT json_build_object('items', coalesce((SELECT json_agg(s ORDER BY record_id)"
        "   FROM shown s), '[]'), 'next', CASE WHEN (SELECT count(*) FROM page) > $3::int"
        "   THEN (SELECT max(record_id) FROM shown) END)::text",
        p, "");
}

/* ---- everything together ---- */

static void look_workspaces(struct api_call *c)
{
    api_answer_query(
        c,
        "SELECT json_build_object('items', coalesce(json_agg(json_build_object('workspace_id',"
        " workspace_id, 'name', name, 'tz', tz, 'business_hours', business_hours, 'nightly_at',"
        " nightly_at, 'currency', currency, 'plans', plans, 'settings', settings)"
        " ORDER BY name), '[]'), 'next', null)::text FROM psync.workspace",
        NULL, "");
}

/* $1 connection (0 = all), $2 before this id, $3 who, $4 what it begins with. */
#define AUDIT_SQL                                                                              \
    "SELECT a.audit_id, a.at, a.workspace_id, w.name AS workspace, a.connection_id,"           \
    " c.provider, a.actor, a.actor_kind, a.action, a.target, a.detail, a.reason"               \
    " FROM psync.audit a LEFT JOIN psync.connection c USING (connection_id)"                   \
    " LEFT JOIN psync.workspace w ON w.workspace_id = a.workspace_id"                          \
    " WHERE ($1::bigint = 0 OR a.connection_id = $1) AND a.audit_id < $2::bigint"              \
    "   AND ($3::text IS NULL OR strpos(lower(a.actor), lower($3)) > 0)"                       \
    "   AND ($4::text IS NULL OR starts_with(a.action, $4)) ORDER BY a.audit_id DESC"

static struct params *audit_filter(struct api_call *c)
{
    struct params *p = params_new();
    char actor[API_TEXT_MAX_BYTES], action[API_TEXT_MAX_BYTES];
    api_query(c, "actor", actor);
    api_query(c, "action", action);
    params_int(p, api_query_int(c, "connection", 0));
    params_int(p, api_query_int(c, "after", INT64_MAX));
    params_text(p, actor[0] != '\0' ? actor : NULL);
    params_text(p, action[0] != '\0' ? action : NULL);
    return p;
}

static void look_audit(struct api_call *c)
{
    CLEANUP(params_freep) struct params *p = audit_filter(c);
    params_int(p, api_query_limit(c));
    api_answer_query(
        c,
        "WITH page AS (" AUDIT_SQL " LIMIT $5::int + 1),"
        " shown AS (SELECT * FROM page ORDER BY audit_id DESC LIMIT $5::int)"
        " SELECT json_build_object('items', coalesce((SELECT json_agg(s ORDER BY audit_id DESC)"
        "   FROM shown s), '[]'), 'next', CASE WHEN (SELECT count(*) FROM page) > $5::int"
        "   THEN (SELECT min(audit_id)::text FROM shown) END)::text",
        p, "");
}

static void look_audit_export(struct api_call *c)
{
    CLEANUP(params_freep) struct params *p = audit_filter(c);
    params_int(p, API_EXPORT_MAX);
    api_export(c, AUDIT_SQL " LIMIT $5::int", p, "activity");
}

static void look_errors(struct api_call *c)
{
    api_answer_query(c,
                     "SELECT json_build_object('items', coalesce(json_agg(e ORDER BY e.family,"
                     " e.code), '[]'), 'next', null)::text FROM psync_bi.error_reference e",
                     NULL, "");
}

static json_t *list_of(struct buf *text)
{
    json_t *list = json_loads(buf_text(text), 0, NULL);
    buf_release(text);
    return list != NULL ? list : json_array();
}

static void look_queue(struct api_call *c)
{
    struct err err = {0};
    struct buf workers;
    json_t *queue = figures_queue(c->app, 0, &err);
    json_t *quota = queue != NULL ? figures_quota(c->app, &err) : NULL;
    buf_init(&workers, LIST_MAX_BYTES);
    if (quota == NULL || queue_workers(c->app->queue, &workers, &err) != 0) {
        json_decref(queue);
        json_decref(quota);
        buf_release(&workers);
        api_problem_err(c, &err);
        return;
    }
    api_answer_json(c, 200,
                    json_pack("{s:o, s:o, s:o}", "queue", queue, "quota", quota, "workers",
                              list_of(&workers)));
}

static void look_units(struct api_call *c)
{
    static const char *const states[] = {"waiting", "delayed", "parked", "buried", "leased"};
    char state[API_TEXT_MAX_BYTES];
    struct err err = {0};
    struct buf units;
    bool known = false;
    api_query(c, "state", state);
    for (size_t i = 0; i < COUNT_OF(states); i++) {
        known = known || strcmp(state, states[i]) == 0;
    }
    if (!known) {
        api_problem(c, 400, "invalid",
                    "The state is waiting, delayed, parked, buried or leased.");
        return;
    }
    buf_init(&units, LIST_MAX_BYTES);
    if (queue_list(c->app->queue, api_query_int(c, "connection", 0), state, UNITS_MAX, &units,
                   &err) != 0) {
        buf_release(&units);
        api_problem_err(c, &err);
        return;
    }
    api_answer_json(c, 200, json_pack("{s:o, s:n}", "items", list_of(&units), "next"));
}

const struct api_route api_look_routes[] = {
    {"GET", "/api/v1/session", ACCESS_VIEWER, api_who},
    {"GET", "/api/v1/workspaces", ACCESS_VIEWER, look_workspaces},
    {"GET", "/api/v1/connections", ACCESS_VIEWER, look_connections},
    {"GET", "/api/v1/connections/{connection}", ACCESS_VIEWER, look_connection},
    {"GET", "/api/v1/connections/{connection}/attention", ACCESS_VIEWER, look_attention},
    {"GET", "/api/v1/connections/{connection}/deliveries", ACCESS_VIEWER, look_deliveries},
    {"GET", "/api/v1/connections/{connection}/pictures", ACCESS_VIEWER, look_pictures},
    {"GET", "/api/v1/connections/{connection}/records", ACCESS_VIEWER, look_records},
    {"GET", "/api/v1/connections/{connection}/runs", ACCESS_VIEWER, look_runs},
    {"GET", "/api/v1/runs/{run}", ACCESS_VIEWER, look_run},
    {"GET", "/api/v1/customers", ACCESS_VIEWER, look_customers},
    {"GET", "/api/v1/customers/{customer}", ACCESS_VIEWER, look_customer},
    {"GET", "/api/v1/audit", ACCESS_VIEWER, look_audit},
    {"GET", "/api/v1/audit/export", ACCESS_VIEWER, look_audit_export},
    {"GET", "/api/v1/errors", ACCESS_VIEWER, look_errors},
    {"GET", "/api/v1/queue", ACCESS_VIEWER, look_queue},
    {"GET", "/api/v1/queue/units", ACCESS_VIEWER, look_units},
    {0}};
