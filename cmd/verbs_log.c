/* The log: every attempt, one of them, what its error means, and who did what. */
#include "cmd/cmd.h"

#include "common/task.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE = 1000,
    FOLLOW_MS = 1000,
    FOLLOW_AGAIN_MS = 5000,
    FOLLOW_FIRST = 10,
    FOLLOW_OVERLAP_S = 30
};

/* "24h" or a moment, as two parameters: milliseconds before now, and a text for PostgreSQL,
 * which knows the zone. One of them is NULL, or both without the option. */
static int add_moment(const struct cmd *c, const char *option, const char *otherwise,
                      struct params *p, struct err *err)
{
    const char *text = cmd_option(c, option);
    text = text != NULL ? text : otherwise;
    if (text == NULL) {
        params_null(p);
        params_null(p);
        return 0;
    }
    /* Only 2026-11-20 and longer: PostgreSQL would take "yesterday" and a lot more. */
    if (strlen(text) >= 10 && text[4] == '-' && text[7] == '-' &&
        strspn(text, "0123456789-:.+ TZ") == strlen(text)) {
        params_null(p);
        params_text(p, text);
        return 0;
    }
    int64_t ms = cmd_duration_ms(text, err);
    if (ms < 0) {
        err_set(err, ERR_INVALID,
                "--%s '%s' is not a time: 24h, 7d, 2026-11-20, \"2026-11-20 "
                "14:00\"",
                option, text);
        return -1;
    }
    params_int(p, ms);
    params_null(p);
    return 0;
}

/* A moment of add_moment() in SQL, or what it is without. */
#define MOMENT(ms, text, otherwise)                                                            \
    "coalesce($" #text "::timestamptz, now() - make_interval(secs => $" #ms                    \
    "::bigint / 1000.0), " otherwise ")"

/* ---- log ---- */

static const char log_sql[] =
    "SELECT l.attempt_id::text AS attempt_id, l.started_at, l.finished_at, l.workspace_id,"
    " l.connection_id, l.provider, l.mode, l.run_id, l.kind, l.trigger, l.actor,"
    " l.object_type, l.record_id, l.customer_id, l.attempt_no, l.status, l.duration_ms,"
    " l.queue_wait_ms, l.lag_ms, l.events, l.error_count, l.error_code, l.error_title,"
    " l.error_family, l.severity, l.retry, l.error_field, l.error_message, l.seen,"
    " l.changed, l.http_status, l.endpoint, l.provider_request_id, l.next_retry_at,"
    " l.retry_of::text AS retry_of, l.resolved, l.worker"
    " FROM psync_bi.sync_log l JOIN psync.workspace w USING (workspace_id)"
    " WHERE ($1::bigint = 0 OR l.connection_id = $1) AND ($2::text IS NULL OR w.name = $2)"
    /* The statuses are those of the partial index: the first page reads nothing else. */
    "   AND (NOT $3::boolean OR (l.severity = 'error'"
    "     AND l.status IN ('failed', 'partial', 'retrying')))"
    "   AND ($4::text IS NULL OR l.error_code = $4)"
    "   AND ($5::text IS NULL OR l.record_id = $5)"
    "   AND ($6::bigint IS NULL OR l.run_id = $6) AND ($7::text IS NULL OR l.trigger = $7)"
    "   AND l.attempt_id > psync.attempt_floor(" MOMENT(
        8, 9,
        "'-infinity'") ")"
                       "   AND ($11::text IS NULL AND $10::bigint IS NULL OR l.attempt_id <"
                       "     psync.attempt_floor(" MOMENT(
                           10, 11, "now()") "))"
                                            "   AND ($12::bigint IS NULL OR l.attempt_id < $12)"
                                            "   AND ($14::bigint IS NULL OR l.attempt_id > $14)"
                                            "   AND ($15::bigint[] IS NULL OR l.attempt_id <> "
                                            "ALL ($15))"
                                            " ORDER BY l.attempt_id DESC LIMIT $13::bigint";

static const char log_columns[] =
    "attempt_id:ATTEMPT started_at:TIME ?provider ?trigger ?object_type:TYPE record_id:RECORD "
    "status ~error_title:ERROR ?error_field:FIELD ?#duration_ms:MS | run_id:RUN "
    "customer_id:CUSTOMER actor #attempt_no:TRY #queue_wait_ms:WAITED #http_status:HTTP "
    "provider_request_id:REQUEST error_code:CODE error_message:MESSAGE";

struct log_filter {
    struct cmd *c;
    const struct connection *conn;
};

/* Attempts that --follow printed and may meet again: a row may be committed after one with a
 * higher id, so each look goes back some seconds. */
enum { SEEN_MAX = 4096 };
struct seen {
    int64_t ids[SEEN_MAX];
    int count;
    int64_t newest, oldest; /* of those before the first nothing is wanted */
};

static struct params *log_params(const struct log_filter *f, const char *before, int64_t most,
                                 const struct seen *seen, struct err *err)
{
    const struct cmd *c = f->c;
    struct params *p = params_new();
    params_int(p, f->conn != NULL ? f->conn->connection_id : 0);
    params_text(p, cmd_workspace(c));
    params_bool(p, cmd_has(c, "errors-only"));
    params_text(p, cmd_option(c, "code"));
    params_text(p, cmd_option(c, "record"));
    params_text(p, cmd_option(c, "run"));
    params_text(p, cmd_option(c, "trigger"));
    if (add_moment(c, "since", "30d", p, err) != 0 ||
        add_moment(c, "until", NULL, p, err) != 0) {
        params_free(p);
        return NULL;
    }
    params_text(p, before);
    params_int(p, most);
    if (seen == NULL || seen->newest == 0) {
        params_null(p);
        params_null(p);
        return p;
    }
    int64_t back = seen->newest - ((int64_t)FOLLOW_OVERLAP_S * 1000 << 20);
    params_int(p, back > seen->oldest ? back : seen->oldest);
    params_array_begin(p, ARRAY_INT8);
    for (int i = 0; i < seen->count && i < SEEN_MAX; i++) {
        params_array_int(p, seen->ids[i]);
    }
    params_array_end(p);
    return p;
}

/* Page by page, each behind the last attempt of the one before: what comes meanwhile moves
 * nothing, and no page costs more than the first. */
static int log_pages(const struct log_filter *f, int64_t limit, struct output *o,
                     struct err *err)
{
    char before[64];
    const char *first = cmd_option(f->c, "before");
    snprintf(before, sizeof before, "%s", first != NULL ? first : "");
    for (int64_t left = limit == 0 ? INT64_MAX : limit; left > 0;) {
        int n = 0;
        int64_t most = left < PAGE ? left : PAGE;
        CLEANUP(params_freep)
        struct params *p = log_params(f, before[0] != '\0' ? before : NULL, most, NULL, err);
        if (p == NULL || output_page(o, log_sql, p, "attempt_id", &n, err) != 0) {
            return -1;
        }
        snprintf(before, sizeof before, "%s", o->last_key);
        left -= n;
        if (n < most) {
            return 0;
        }
    }
    return 0;
}

static void follow_remember(struct seen *seen, const struct rows *r)
{
    for (int i = 0; i < rows_count(r); i++) {
        int64_t id = rows_int(r, i, 0);
        seen->ids[seen->count++ % SEEN_MAX] = id;
        seen->newest = id > seen->newest ? id : seen->newest;
        seen->oldest = seen->oldest == 0 ? id : seen->oldest;
    }
}

/* The ids first, then the rows of just these, oldest first: one page of the output. */
static int follow_once(const struct log_filter *f, int64_t most, struct seen *seen,
                       struct output *o, struct err *err)
{
    CLEANUP(params_freep) struct params *p = log_params(f, NULL, most, seen, err);
    CLEANUP(rows_freep) struct rows *ids = NULL;
    struct buf sql;
    int rc = -1;
    buf_init(&sql, 16384);
    if (p != NULL &&
        buf_printf(&sql, "SELECT attempt_id::bigint FROM (%s) x ORDER BY 1", log_sql) == 0 &&
        output_lookup(f->c, buf_text(&sql), p, &ids, err) == 0) {
        rc = 0;
    }
    buf_release(&sql);
    if (rc == 0 && rows_count(ids) > 0) {
        CLEANUP(params_freep) struct params *q = log_params(f, NULL, PAGE, NULL, err);
        if (q == NULL) {
            return -1;
        }
        params_array_begin(q, ARRAY_INT8);
        for (int i = 0; i < rows_count(ids); i++) {
            params_array_int(q, rows_int(ids, i, 0));
        }
        params_array_end(q);
        buf_init(&sql, 16384);
        rc = buf_printf(&sql,
                        "SELECT * FROM (%s) x WHERE attempt_id::bigint = ANY ($16::bigint[])"
                        " ORDER BY attempt_id::bigint",
                        log_sql);
        if (rc == 0) {
            rc = output_page(o, buf_text(&sql), q, NULL, NULL, err);
        }
        buf_release(&sql);
        follow_remember(seen, ids);
        fflush(stdout);
    }
    return rc;
}

static int log_follow(const struct log_filter *f, struct err *err)
{
    struct output o;
    struct seen *seen = calloc(1, sizeof *seen);
    int64_t first = cmd_limit(f->c, FOLLOW_FIRST, err);
    if (seen == NULL || first < 0) {
        free(seen);
        return -1;
    }
    f->c->form = f->c->form == OUT_JSON ? OUT_JSONL : f->c->form; /* it never ends */
    cmd_on_interrupt("%s", "");
    output_begin(&o, f->c, log_columns);
    int rc = follow_once(f, first > 0 ? first : PAGE, seen, &o, err);
    while (rc == 0) {
        task_sleep_ms(FOLLOW_MS);
        rc = follow_once(f, PAGE, seen, &o, err);
        if (rc != 0 && err->code == ERR_UNAVAILABLE) {
            say("%s; trying again", err->msg);
            err_clear(err);
            task_sleep_ms(FOLLOW_AGAIN_MS);
            rc = 0;
        }
    }
    output_end(&o);
    free(seen);
    return rc;
}

static int check_code(const char *code, struct err *err)
{
    struct typo t;
    if (code == NULL || error_type_find(code) != ET_NONE) {
        return 0;
    }
    typo_begin(&t, code);
    for (int i = ET_NONE + 1; i < ET_COUNT; i++) {
        typo_try(&t, error_info((enum error_type)i)->code);
    }
    err_set(err, ERR_INVALID, "'%s' is not an error type%s%s%s (pivotal-sync explain)", code,
            t.best != NULL ? "; did you mean '" : "", t.best != NULL ? t.best : "",
            t.best != NULL ? "'?" : "");
    return -1;
}

int verb_log(struct cmd *c, struct err *err)
{
    CLEANUP(connection_freep) struct connection *conn = NULL;
    struct output o;
    int64_t limit = cmd_limit(c, 50, err);
    if (limit < 0 || check_code(cmd_option(c, "code"), err) != 0 ||
        cmd_check_number(c, "run", err) != 0 || cmd_check_number(c, "before", err) != 0 ||
        (c->arg_count > 0 && (conn = cmd_connection(c, c->args[0], err)) == NULL)) {
        return -1;
    }
    const struct log_filter f = {.c = c, .conn = conn};
    if (cmd_has(c, "follow")) {
        return log_follow(&f, err);
    }
    if (cmd_has(c, "json") && c->fields == NULL) {
        say("Fields: those of psync_bi.sync_log, such as "
            "attempt,started_at,provider,trigger,record,status,code,title,field,message");
    }
    output_begin(&o, c, log_columns);
    int rc = log_pages(&f, limit, &o, err);
    if (rc == 0) {
        output_end(&o);
        if (o.rows == 0 && c->form == OUT_TABLE && c->shape != SHAPE_NAME) {
            say(cmd_has(c, "errors-only") ? "No errors." : "Nothing matches.");
        } else if (limit > 0 && o.rows == limit && c->form == OUT_TABLE &&
                   (c->shape == SHAPE_FIT || c->shape == SHAPE_WIDE)) {
            say("Older ones: the same with --before %s", o.last_key);
        }
    }
    return rc;
}

/* ---- show ---- */

static void show_part(const char *name, const char *text)
{
    print_wrapped(name, 16, text, false);
}

static const char show_sql[] =
    "SELECT (to_jsonb(l) || jsonb_build_object('attempt_id', l.attempt_id::text,"
    "     'retry_of', l.retry_of::text)"
    "   || CASE WHEN $2::boolean THEN jsonb_build_object('body', CASE WHEN b.attempt_id IS"
    "     NOT NULL THEN jsonb_build_object('method', b.method, 'url', b.url, 'status',"
    "     b.status, 'headers', b.headers, 'body', b.body, 'truncated', b.truncated,"
    "     'redactions', b.redactions) END) ELSE '{}' END)::text,"
    " l.error_code, l.error_message, l.object_type, l.record_id, l.status,"
    " l.trigger || coalesce(' (' || nullif(l.actor, '') || ')', ''),"
    " l.provider_request_id, l.http_status, l.endpoint, b.body, l.provider,"
    " date_trunc('second', l.started_at)::text, l.duration_ms, l.queue_wait_ms,"
    " coalesce(l.customer_id::text, ''), coalesce(l.run_id::text, ''), l.attempt_no,"
    " date_trunc('second', l.next_retry_at)::text, l.resolved,"
    " (SELECT string_agg(to_char(h.started_at, 'MM-DD HH24:MI:SS ') || h.status"
    "    || ' (' || h.trigger || ')', ', ' ORDER BY h.attempt_id DESC)"
    "  FROM (SELECT * FROM psync_bi.sync_log x WHERE x.connection_id = l.connection_id"
    "    AND x.object_type = l.object_type AND x.record_id = l.record_id"
    "    ORDER BY x.attempt_id DESC LIMIT 6) h)"
    ", l.retry_of::text, (SELECT a.resolved_by::text FROM psync.attempt a"
    "   WHERE a.attempt_id = l.attempt_id)"
    " FROM psync_bi.sync_log l LEFT JOIN psync.attempt_body b USING (attempt_id)"
    " WHERE l.attempt_id = $1::bigint";

enum show_column {
    SHOW_JSON,
    SHOW_CODE,
    SHOW_MESSAGE,
    SHOW_OBJECT,
    SHOW_RECORD,
    SHOW_STATUS,
    SHOW_TRIGGER,
    SHOW_REQUEST,
    SHOW_HTTP,
    SHOW_ENDPOINT,
    SHOW_BODY,
    SHOW_PROVIDER,
    SHOW_AT,
    SHOW_MS,
    SHOW_WAIT,
    SHOW_CUSTOMER,
    SHOW_RUN,
    SHOW_TRY,
    SHOW_NEXT,
    SHOW_RESOLVED,
    SHOW_HISTORY,
    SHOW_REPEATS,
    SHOW_RESOLVED_BY,
};

static void show_print(const struct cmd *c, const struct rows *r)
{
    const struct error_info *info = error_info(error_type_find(rows_text(r, 0, SHOW_CODE)));
    bool color = output_has_color(STDOUT_FILENO);
    char line[1024];
    printf("%s%s%s  attempt %s\n", color ? "\033[1m" : "",
           info != NULL ? info->title : rows_text(r, 0, SHOW_STATUS), color ? "\033[0m" : "",
           c->args[0]);
    printf("%s %s %s", rows_text(r, 0, SHOW_PROVIDER), rows_text(r, 0, SHOW_OBJECT),
           rows_text(r, 0, SHOW_RECORD));
    if (rows_len(r, 0, SHOW_CUSTOMER) > 0) {
        printf(" · customer %s", rows_text(r, 0, SHOW_CUSTOMER));
    }
    fputs("\n\n", stdout);
    if (info != NULL) {
        snprintf(line, sizeof line, "%s %s", info->meaning, rows_text(r, 0, SHOW_MESSAGE));
        show_part("What happened", line);
        show_part("What to do", info->user_action);
    }
    if (rows_bool(r, 0, SHOW_RESOLVED)) {
        snprintf(line, sizeof line, "by attempt %s, a later try that succeeded",
                 rows_text(r, 0, SHOW_RESOLVED_BY));
        show_part("Resolved", line);
    } else if (rows_len(r, 0, SHOW_NEXT) > 0) {
        snprintf(line, sizeof line, "%s, by itself", rows_text(r, 0, SHOW_NEXT));
        show_part("Next try", line);
    } else if (info != NULL && info->retry == RETRY_NEVER) {
        show_part("Retry", "never: it would end the same way");
    } else if (info != NULL && rows_len(r, 0, SHOW_RECORD) > 0) {
        snprintf(line, sizeof line, "%spivotal-sync retry %s --wait",
                 info->retry == RETRY_AFTER_FIX ? "once that is mended: " : "", c->args[0]);
        show_part("Retry", line);
    }
    if (rows_len(r, 0, SHOW_REPEATS) > 0) {
        snprintf(line, sizeof line, "attempt %s", rows_text(r, 0, SHOW_REPEATS));
        show_part("Repeats", line);
    }
    if (rows_len(r, 0, SHOW_HISTORY) > 0) {
        show_part("Attempts", rows_text(r, 0, SHOW_HISTORY));
    }
    snprintf(line, sizeof line, "%s, by %s at %s, try %s, queued %s ms, ran %s ms%s%s",
             rows_text(r, 0, SHOW_STATUS), rows_text(r, 0, SHOW_TRIGGER),
             rows_text(r, 0, SHOW_AT), rows_text(r, 0, SHOW_TRY), rows_text(r, 0, SHOW_WAIT),
             rows_text(r, 0, SHOW_MS), rows_len(r, 0, SHOW_RUN) > 0 ? ", run " : "",
             rows_text(r, 0, SHOW_RUN));
    show_part("Details", line);
    if (rows_len(r, 0, SHOW_ENDPOINT) > 0) {
        snprintf(line, sizeof line, "%s answered %s%s%s", rows_text(r, 0, SHOW_ENDPOINT),
                 rows_text(r, 0, SHOW_HTTP), rows_len(r, 0, SHOW_REQUEST) > 0 ? ", id " : "",
                 rows_text(r, 0, SHOW_REQUEST));
        show_part("Request", line);
    }
    if (rows_len(r, 0, SHOW_BODY) == 0) {
        show_part("Response body",
                  info == NULL || info->severity == SEVERITY_SKIPPED
                      ? "none is kept of what went well"
                      : "none: there was no answer, or each record keeps its own part");
    } else if (cmd_has(c, "body")) {
        printf("Response body\n");
        print_safe(rows_text(r, 0, SHOW_BODY));
        putchar('\n');
    } else {
        snprintf(line, sizeof line, "%zu bytes, shown by --body", rows_len(r, 0, SHOW_BODY));
        show_part("Response body", line);
    }
}

int verb_show(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (strspn(c->args[0], "0123456789") != strlen(c->args[0]) || strlen(c->args[0]) > 19) {
        err_set(err, ERR_INVALID, "'%s' is not an attempt: they are numbers", c->args[0]);
        return -1;
    }
    params_text(p, c->args[0]);
    params_bool(p, cmd_has(c, "body"));
    if (output_lookup(c, show_sql, p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "there is no attempt %s in the last 30 days", c->args[0]);
        return -1;
    }
    if (c->form != OUT_TABLE) {
        printf("%s\n", rows_text(r, 0, SHOW_JSON));
    } else {
        show_print(c, r);
    }
    return EXIT_OK;
}

/* ---- explain ---- */

/* The columns of psync_bi.error_reference, without a database. */
static json_t *explain_row(const struct error_info *i)
{
    static const char *const severities[] = {"error", "warning", "skipped"};
    static const char *const retries[] = {"auto", "after_fix", "manual", "never"};
    static const char *const pauses[] = {"nothing", "field",   "record",
                                         "channel", "account", "connection"};
    static const char *const banners[] = {"none", "reauthorize", "disconnected"};
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "code", i->code,
                     "family", i->family, "title", i->title, "provider_signal",
                     i->provider_signal, "meaning", i->meaning, "user_action", i->user_action,
                     "who_acts", i->who_acts, "severity", severities[i->severity], "retry",
                     retries[i->retry], "pauses", pauses[i->pauses], "banner",
                     banners[i->banner]);
}

static int explain_list(struct cmd *c, enum error_type only, struct err *err)
{
    json_auto_t *all = json_array();
    for (int t = ET_NONE + 1; t < ET_COUNT; t++) {
        if (only == ET_NONE || only == (enum error_type)t) {
            json_array_append_new(all, explain_row(error_info((enum error_type)t)));
        }
    }
    return output_json(c, all,
                       "code:CODE ~title:MEANS ?severity:SEVERITY ?retry:RETRY | family"
                       " pauses banner user_action:ACTION",
                       err);
}

int verb_explain(struct cmd *c, struct err *err)
{
    if (c->arg_count == 0) {
        return explain_list(c, ET_NONE, err);
    }
    enum error_type type = error_type_find(c->args[0]);
    const struct error_info *i = error_info(type);
    if (i == NULL) {
        (void)check_code(c->args[0], err);
        err->code = ERR_NOT_FOUND;
        return -1;
    }
    if (c->form != OUT_TABLE || c->shape != SHAPE_FIT) {
        return explain_list(c, type, err);
    }
    static const char *const retries[] = {
        "by itself, later and later", "by itself once the cause is mended",
        "when somebody asks", "never: it would end the same way"};
    bool color = output_has_color(STDOUT_FILENO);
    printf("%s%s%s  %s (%s)\n\n", color ? "\033[1m" : "", i->title, color ? "\033[0m" : "",
           i->code, i->family);
    show_part("Meaning", i->meaning);
    show_part("What to do", i->user_action);
    show_part("Seen as", i->provider_signal);
    show_part("Tried again", retries[i->retry]);
    printf("%-16sdocs/errors.md#%s, man pivotal-sync-errors\n", "More", i->code);
    if (config_is_set(c->config, SETTING_ADMIN_PUBLIC_URL)) {
        printf("%-16s%s/admin/errors#%s\n", "On the page",
               config_text(c->config, SETTING_ADMIN_PUBLIC_URL), i->code);
    }
    return EXIT_OK;
}

/* ---- audit ---- */

int verb_audit(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    int64_t limit = cmd_limit(c, 50, err);
    int n = 0;
    if (limit < 0 || cmd_check_number(c, "before", err) != 0 ||
        add_moment(c, "since", NULL, p, err) != 0 ||
        add_moment(c, "until", NULL, p, err) != 0) {
        return -1;
    }
    params_text(p, cmd_option(c, "actor"));
    params_text(p, cmd_option(c, "action"));
    params_text(p, cmd_workspace(c));
    params_int(p, limit == 0 ? INT64_MAX : limit);
    params_text(p, cmd_option(c, "before"));
    int rc = output_query(
        c,
        "SELECT a.* FROM psync_bi.audit_trail a LEFT JOIN psync.workspace w USING"
        "   (workspace_id)"
        " WHERE a.at >= " MOMENT(1, 2, "'-infinity'") " AND a.at <= " MOMENT(
            3, 4, "'infinity'") "   AND ($5::text IS NULL OR a.actor = $5)"
                                "   AND ($6::text IS NULL OR starts_with(a.action, $6))"
                                "   AND ($7::text IS NULL OR w.name = $7)"
                                "   AND ($9::bigint IS NULL OR a.audit_id < $9)"
                                " ORDER BY a.audit_id DESC LIMIT $8::bigint",
        p,
        "audit_id:NO at:TIME actor ?actor_kind:FROM action ~target ?~reason | workspace_id"
        " connection_id",
        &n, err);
    if (rc == 0 && n == 0 && c->form == OUT_TABLE) {
        say("Nothing matches.");
    }
    return rc;
}
