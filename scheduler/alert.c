/* Tells ALERT_WEBHOOK_URL when a connection needs a person, goes stale, or is well again. What
 * is to be told is a row, made in the statement that notices the change: of several schedulers
 * one makes it and one sends it. Whoever dies in the middle of sending leaves it to the next.
 */
#include "common/json.h"
#include "provider/provider.h"
#include "scheduler/scheduler.h"

#include <string.h>

enum {
    LINES_MAX = 20, /* told by one message */
    MESSAGE_MAX_BYTES = 64 * 1024,
    CONNECT_MS = 3000,
    TOTAL_MS = 10000, /* less than the shortest lease, 30 s */
    ANSWER_MAX_BYTES = 4096,
};

/* A connection that an admin disconnected or paused is nobody's surprise: it keeps the
 * condition that was told last. Nor is one stale that was connected a moment ago: its catch-up
 * is on its way. */
static const char notice_sql[] =
    "WITH seen AS (SELECT s.*, c.alerted, (SELECT a.actor_kind FROM psync.audit a"
    "     WHERE a.connection_id = c.connection_id AND a.action = 'connection.disconnected'"
    "     ORDER BY a.audit_id DESC LIMIT 1) AS ended_by"
    "   FROM psync_bi.connection_status s JOIN psync.connection c USING (connection_id)),"
    " judged AS (SELECT connection_id, alerted AS was, CASE"
    "     WHEN state = 'reauthorize' THEN 'reauthorize'"
    "     WHEN state = 'disconnected' AND ended_by = 'system' THEN 'disconnected'"
    "     WHEN state = 'disconnected' OR paused_at IS NOT NULL THEN alerted"
    "     WHEN full_health <> 'stale' AND incremental_health <> 'stale' THEN 'ok'"
    "     WHEN state_since > now() - interval '15 minutes' THEN"
    "       CASE WHEN alerted IN ('reauthorize', 'disconnected') THEN 'ok' ELSE alerted END"
    "     WHEN full_health = 'stale' THEN 'full_stale' ELSE 'incremental_stale' END AS found,"
    "   CASE WHEN state <> 'connected' THEN state_reason"
    "     WHEN full_health = 'stale' THEN coalesce('the last one ended '"
    "       || to_char(last_full_success_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI \"UTC\"'),"
    "       'there was none')"
    "     WHEN probe_missed > 0 THEN probe_missed || ' were found that nobody told'"
    "     ELSE '' END AS reason FROM seen),"
    " changed AS (UPDATE psync.connection c SET alerted = j.found FROM judged j"
    "   WHERE c.connection_id = j.connection_id AND c.alerted IS DISTINCT FROM j.found"
    "   RETURNING c.connection_id, j.found, j.was, CASE j.found WHEN 'ok' THEN '' ELSE "
    "j.reason END)"
    " INSERT INTO psync.alert (connection_id, condition, was, reason) SELECT * FROM changed";

/* What is due, and nothing that overtakes an earlier one of its connection. */
static const char take_sql[] =
    "WITH due AS (SELECT a.alert_id FROM psync.alert a"
    "   WHERE sent_at IS NULL AND next_at <= now() AND at > now() - interval '1 day'"
    "     AND NOT EXISTS (SELECT FROM psync.alert e WHERE e.connection_id = a.connection_id"
    "       AND e.sent_at IS NULL AND e.alert_id < a.alert_id AND e.next_at > now()"
    "       AND e.at > now() - interval '1 day')"
    "   ORDER BY alert_id LIMIT $1::int FOR UPDATE SKIP LOCKED),"
    " taken AS (UPDATE psync.alert a SET tries = tries + 1,"
    "     next_at = now() + least(interval '30 s' * power(2, least(tries, 5)), '15 minutes')"
    "   FROM due WHERE a.alert_id = due.alert_id RETURNING a.*)"
    " SELECT t.alert_id, t.condition, t.was, t.reason, t.connection_id, t.tries, w.name,"
    "   c.provider, c.mode,"
    "   to_char(t.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI \"UTC\"')"
    " FROM taken t JOIN psync.connection c USING (connection_id)"
    "   JOIN psync.workspace w USING (workspace_id) ORDER BY t.alert_id";
enum { ALERT_ID, CONDITION, WAS, REASON, CONNECTION, TRIES, WORKSPACE, PROVIDER, MODE, AT };

static const struct {
    const char *condition, *text, *next;
} words[] = {
    {"reauthorize", "asks for a person to sign in again",
     "Its work waits and goes on by itself after that."},
    {"disconnected", "was disconnected at the provider",
     "Connect it again: mapping, scope and history are kept."},
    {"full_stale", "has no full sync that is recent enough", "Run sync now shows why."},
    {"incremental_stale", "has changes that were not delivered",
     "Webhook status says why, webhook repair mends it."},
    {"ok", "is well again", ""},
};

/* Slack's three characters: what a provider said must not become a link or a mention. */
static void add_plain(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            (void)buf_add_str(out, "&amp;");
            break;
        case '<':
            (void)buf_add_str(out, "&lt;");
            break;
        case '>':
            (void)buf_add_str(out, "&gt;");
            break;
        default:
            (void)buf_add_char(out, *text);
        }
    }
}

static void add_line(const struct scheduler *s, const struct rows *r, int row, struct buf *out)
{
    const struct provider *p = provider_find(rows_text(r, row, PROVIDER));
    const char *condition = rows_text(r, row, CONDITION);
    const char *base = config_text(s->app->config, SETTING_ADMIN_PUBLIC_URL);
    size_t w = 0;
    while (w + 1 < COUNT_OF(words) && strcmp(words[w].condition, condition) != 0) {
        w++;
    }
    (void)buf_printf(out, "%s*%s: %s%s %s*", row > 0 ? "\n" : "", rows_text(r, row, WORKSPACE),
                     p != NULL ? p->title : rows_text(r, row, PROVIDER),
                     strcmp(rows_text(r, row, MODE), "test") == 0 ? " (test mode)" : "",
                     words[w].text);
    if (strcmp(condition, "ok") == 0) {
        (void)buf_printf(out, " (it was: %s)", rows_text(r, row, WAS));
    }
    if (rows_len(r, row, REASON) > 0) {
        (void)buf_add_str(out, ": ");
        add_plain(out, rows_text(r, row, REASON));
    }
    (void)buf_printf(out, ". %s%s%s", words[w].next, words[w].next[0] != '\0' ? " " : "",
                     rows_text(r, row, AT));
    if (base[0] != '\0') {
        (void)buf_printf(out, " %s/admin/integrations/%s", base, rows_text(r, row, CONNECTION));
    }
}

static int add_message(const struct scheduler *s, const struct rows *r, struct buf *body)
{
    struct buf text;
    buf_init(&text, MESSAGE_MAX_BYTES);
    for (int i = 0; i < rows_count(r); i++) {
        add_line(s, r, i, &text);
    }
    json_t *message = text.failed ? NULL : json_pack("{s:s}", "text", buf_text(&text));
    char *dumped = message != NULL ? json_dumps(message, JSON_COMPACT) : NULL;
    int rc = dumped != NULL ? buf_add_str(body, dumped) : -1;
    free(dumped);
    json_decref(message);
    buf_release(&text);
    return rc;
}

/* "" = it was taken; else why not. Never the address: who knows it may write there. */
static int send_message(struct scheduler *s, const struct rows *r, char *why, size_t why_bytes,
                        struct err *err)
{
    struct http_request q;
    struct http_response a;
    http_request_init(&q);
    http_response_init(&a);
    q.method = "POST";
    q.endpoint = "alert";
    q.answer_max_bytes = ANSWER_MAX_BYTES;
    q.connect_timeout_ms = CONNECT_MS;
    q.total_timeout_ms = TOTAL_MS;
    int rc = buf_add_str(&q.url, config_text(s->app->config, SETTING_ALERT_WEBHOOK_URL)) != 0 ||
                     http_request_header(&q, "Content-Type", "application/json") != 0 ||
                     add_message(s, r, &q.body) != 0
                 ? -1
                 : 0;
    if (rc != 0) {
        err_set(err, ERR_NOMEM, "out of memory for an alert");
    } else {
        rc = http_client_send(s->app->http, &q, &a, err);
    }
    if (rc == 0 && a.fault != HTTP_OK) {
        (void)snprintf(why, why_bytes, "%s", a.fault_text);
    } else if (rc == 0 && (a.status < 200 || a.status > 299)) {
        (void)snprintf(why, why_bytes, "it answered %d", a.status);
    }
    http_request_release(&q);
    http_response_release(&a);
    return rc;
}

/* 1 = one message was sent or tried, 0 = nothing is due. */
static int alert_send(struct scheduler *s, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(params_freep) struct params *ended = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    char why[256] = "";
    params_int(p, LINES_MAX);
    if (store_query(s->app->store, take_sql, p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        return 0;
    }
    if (send_message(s, r, why, sizeof why, err) != 0) {
        return -1;
    }
    if (why[0] != '\0') {
        log_warn(s->app->log, "alert.failed",
                 "ALERT_WEBHOOK_URL was not told of %d changes, try %lld: %s", rows_count(r),
                 (long long)rows_int(r, 0, TRIES), why);
    } else {
        log_info(s->app->log, "alert.sent", "ALERT_WEBHOOK_URL was told of %d changes",
                 rows_count(r));
    }
    params_array_begin(ended, ARRAY_INT8);
    for (int i = 0; i < rows_count(r); i++) {
        params_array_int(ended, rows_int(r, i, ALERT_ID));
    }
    params_array_end(ended);
    params_text(ended, why);
    return store_query(s->app->store,
                       "UPDATE psync.alert SET last_error = $2,"
                       "   sent_at = CASE $2 WHEN '' THEN now() END"
                       " WHERE alert_id = ANY($1::bigint[]) AND sent_at IS NULL",
                       ended, NULL, err) != 0
               ? -1
               : 1;
}

int alert_tell(struct scheduler *s, struct err *err)
{
    int more = 1;
    if (!config_is_set(s->app->config, SETTING_ALERT_WEBHOOK_URL)) {
        return 0;
    }
    if (store_query(s->app->store, notice_sql, NULL, NULL, err) != 0) {
        return -1;
    }
    while (more > 0 && !s->draining) {
        more = alert_send(s, err);
    }
    return more < 0 ? -1 : 0;
}
