/* support-bundle: what support asks for, in one file. Chosen column by column: ids, states,
 * error types, times, counts; never names, e-mails, values or answers of a provider. What is a
 * sentence goes through the redaction of answers and loses its e-mail addresses, once more. */
#include "cmd/cmd.h"

#include "common/clock.h"
#include "common/redact.h"
#include "common/task.h"
#include "core/doctor.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { BUNDLE_FORMAT = 1 };

/* ---- redaction of the last resort ---- */

static bool is_mail_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("._%+-", c) != NULL;
}

/* "anna@acme.eu" becomes "[e-mail]". */
static void hide_mail(const char *text, struct buf *out)
{
    for (const char *p = text; *p != '\0';) {
        size_t n = 0;
        while (p[n] != '\0' && is_mail_char(p[n])) {
            n++;
        }
        if (n > 0 && p[n] == '@') {
            size_t host = 1;
            while (p[n + host] != '\0' && is_mail_char(p[n + host])) {
                host++;
            }
            bool mail = host > 1;
            (void)buf_add_str(out, mail ? "[e-mail]" : "");
            (void)buf_add(out, p, mail ? 0 : n + host);
            p += n + host;
        } else {
            n = n > 0 ? n : 1;
            (void)buf_add(out, p, n);
            p += n;
        }
    }
}

static void redact_value(json_t *value);

static json_t *redact_string(const char *text)
{
    struct buf clean, hidden;
    buf_init(&clean, 256 << 10);
    buf_init(&hidden, 256 << 10);
    int rc = redact_body((struct slice){text, strlen(text)}, &clean, NULL);
    if (rc == 0) {
        hide_mail(buf_text(&clean), &hidden);
    }
    json_t *out = json_string(rc == 0 && !hidden.failed ? buf_text(&hidden) : "[redacted]");
    buf_release(&clean);
    buf_release(&hidden);
    return out;
}

static void redact_value(json_t *value)
{
    const char *key = NULL;
    json_t *each = NULL;
    void *next = NULL;
    size_t i;
    json_object_foreach_safe(value, next, key, each)
    {
        if (json_is_string(each)) {
            json_object_set_new(value, key, redact_string(json_string_value(each)));
        } else {
            redact_value(each);
        }
    }
    json_array_foreach(value, i, each)
    {
        if (json_is_string(each)) {
            json_array_set_new(value, i, redact_string(json_string_value(each)));
        } else {
            redact_value(each);
        }
    }
}

/* ---- what is in it ---- */

static const struct section {
    const char *name, *sql; /* $1 workspace or NULL, $2 ms, $3 customer or NULL */
} sections[] = {
    {"database", "SELECT current_setting('server_version') AS version,"
                 " pg_size_pretty(pg_database_size(current_database())) AS size,"
                 " (SELECT max(name) FROM psync.migration) AS last_step"},
    {"workspaces", "SELECT workspace_id, tz, business_hours, nightly_at, currency"
                   " FROM psync.workspace WHERE $1::text IS NULL OR name = $1"},
    {"connections",
     "SELECT connection_id, s.workspace_id, provider, mode, account_id, state, state_code,"
     " state_reason, state_since, last_incremental_at, last_catch_up_at, last_delivery_at,"
     " incremental_age_business_minutes, incremental_health, last_full_success_at, full_health,"
     " next_full_at, throttled_until, probe_missed, paused_at, scope_kind, scope_id, "
     "scope_size,"
     " failing FROM psync_bi.connection_status s WHERE $1::text IS NULL OR workspace = $1"},
    {"completeness", "SELECT k.* FROM psync_bi.completeness k JOIN psync.workspace w USING"
                     " (workspace_id) WHERE $1::text IS NULL OR w.name = $1"},
    {"runs", "SELECT run_id, connection_id, kind, trigger, status, queued_at, started_at,"
             " finished_at, expected, seen, created, updated, unchanged, skipped, archived,"
             " failed, api_calls, throttled_ms, error_code FROM psync_bi.run_history h"
             " JOIN psync.workspace w USING (workspace_id)"
             " WHERE $1::text IS NULL OR w.name = $1 ORDER BY run_id DESC LIMIT 50"},
    {"attempts",
     "SELECT attempt_id::text, started_at, connection_id, run_id, kind, trigger, object_type,"
     " record_id, customer_id, attempt_no, l.status, duration_ms, queue_wait_ms, lag_ms,"
     " error_code, error_field, http_status, endpoint, provider_request_id, next_retry_at,"
     " resolved FROM psync_bi.sync_log l JOIN psync.workspace w USING (workspace_id)"
     " WHERE ($1::text IS NULL OR w.name = $1) AND attempt_id > psync.attempt_floor(now()"
     "   - make_interval(secs => $2::bigint / 1000.0))"
     " ORDER BY (severity = 'error') DESC NULLS LAST, attempt_id DESC LIMIT 300"},
    {"errors_daily", "SELECT e.day, e.provider, e.error_code, e.attempts, e.records,"
                     " e.last_seen_at FROM psync_bi.errors_daily e JOIN psync.workspace w USING"
                     " (workspace_id) WHERE ($1::text IS NULL OR w.name = $1)"
                     " AND e.day > current_date - 8 ORDER BY 1 DESC, 4 DESC"},
    {"webhooks", "SELECT hour, h.provider, connection_id, verdict, events, lag_p50_seconds,"
                 " lag_p95_seconds FROM psync_bi.webhook_health_hourly h"
                 " WHERE hour > now() - interval '1 day' ORDER BY 1 DESC"},
    {"records", "SELECT h.connection_id, object_type, state, reason_code, count(*) AS records"
                " FROM psync_bi.record_health h JOIN psync.workspace w USING (workspace_id)"
                " WHERE $1::text IS NULL OR w.name = $1 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3"},
    {"audit", "SELECT at, workspace_id, connection_id, actor_kind, action"
              " FROM psync_bi.audit_trail ORDER BY audit_id DESC LIMIT 100"},
    {"customer", "SELECT l.connection_id, l.object_type, l.record_id, l.how, l.linked_at,"
                 " h.state, h.reason_code, h.last_synced_at FROM psync.record_link l"
                 " LEFT JOIN psync_bi.record_health h USING (connection_id, object_type,"
                 "   record_id) WHERE l.customer_id = $3::text::bigint"},
};

static json_t *section_read(struct store *s, const struct section *section,
                            const struct params *p)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct err err = {0};
    struct buf sql;
    json_t *out = json_array();
    buf_init(&sql, 16384);
    /* The parameters are named so that each statement has all three. */
    (void)buf_printf(&sql,
                     "SELECT row_to_json(v)::text FROM (%s) v WHERE $1::text IS NOT DISTINCT"
                     " FROM $1 AND $2::bigint IS NOT DISTINCT FROM $2 AND $3::text IS NOT"
                     " DISTINCT FROM $3",
                     section->sql);
    if (store_query(s, buf_text(&sql), p, &r, &err) != 0) {
        json_array_append_new(out, json_pack("{s:s}", "cannot_be_read", err.msg));
    }
    for (int i = 0; i < rows_count(r); i++) {
        json_array_append_new(out, json_loads(rows_text(r, i, 0), 0, NULL));
    }
    buf_release(&sql);
    return out;
}

static void add_database(struct cmd *c, json_t *bundle, int64_t since_ms)
{
    CLEANUP(params_freep) struct params *p = params_new();
    struct err err = {0};
    if (!config_is_set(c->config, SETTING_DATABASE_URL)) {
        return; /* doctor says so */
    }
    struct store_options o = {.url = config_text(c->config, SETTING_DATABASE_URL),
                              .application_name = "pivotal-sync support-bundle",
                              .max_connections = 1};
    struct store *s = store_new(task_loop(), &o, &err);
    if (s == NULL) {
        return;
    }
    params_text(p, cmd_workspace(c));
    params_int(p, since_ms);
    params_text(p, cmd_option(c, "customer"));
    for (size_t i = 0; i < COUNT_OF(sections); i++) {
        json_object_set_new(bundle, sections[i].name, section_read(s, &sections[i], p));
    }
    store_free(s);
}

static void add_queue(struct cmd *c, json_t *bundle)
{
    struct err err = {0};
    struct app app;
    struct queue_stats q;
    struct buf text;
    if (!config_is_set(c->config, SETTING_REDIS_URL)) {
        return;
    }
    buf_init(&text, 8 << 20);
    if (app_open(&app, "support-bundle", task_loop(), c->config, APP_QUEUE | APP_QUICK, &err) ==
        0) {
        if (queue_stats(app.queue, 0, &q, &err) == 0) {
            json_object_set_new(
                bundle, "queue",
                json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "interactive",
                          (json_int_t)q.waiting[LANE_INTERACTIVE], "webhook",
                          (json_int_t)q.waiting[LANE_WEBHOOK], "run_now",
                          (json_int_t)q.waiting[LANE_RUN_NOW], "nightly",
                          (json_int_t)q.waiting[LANE_NIGHTLY], "delayed", (json_int_t)q.delayed,
                          "parked", (json_int_t)q.parked, "buried", (json_int_t)q.buried,
                          "leased", (json_int_t)q.leased, "oldest_age_ms",
                          (json_int_t)q.oldest_age_ms, "workers", (json_int_t)q.workers));
        }
        if (queue_quota(app.queue, &text, &err) == 0) {
            json_object_set_new(bundle, "quota", json_loads(buf_text(&text), 0, NULL));
        }
    }
    buf_release(&text);
    app.config = NULL; /* the command's */
    app_close(&app);
}

static void add_doctor(struct cmd *c, json_t *bundle)
{
    struct doctor_report *r = calloc(1, sizeof *r);
    json_t *list = json_array();
    if (r != NULL) {
        doctor_examine(task_loop(), c->config, NULL, r);
        for (int i = 0; i < r->count; i++) {
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:s}", "check", r->items[i].check,
                                            "verdict", doctor_verdict_name(r->items[i].verdict),
                                            "text", r->items[i].text));
        }
    }
    free(r);
    json_object_set_new(bundle, "doctor", list);
}

/* NAME=value lines; secrets are "set (...)" and passwords of URLs are left out already. */
static void add_settings(struct cmd *c, json_t *bundle)
{
    struct buf text;
    json_t *lines = json_array();
    buf_init(&text, 65536);
    if (config_write_effective(c->config, &text) == 0) {
        for (const char *p = buf_text(&text); *p != '\0';) {
            size_t n = strcspn(p, "\n");
            json_array_append_new(lines, json_stringn(p, n));
            p += n + (p[n] == '\n');
        }
    }
    buf_release(&text);
    json_object_set_new(bundle, "settings", lines);
}

/* The moment as 2026-11-23T15:04:05Z; in a file's name without '-' and ':'. */
static void stamp(bool in_name, char *out, size_t out_bytes)
{
    time_t now = (time_t)(clock_now_ms() / 1000);
    struct tm tm = {0};
    if (gmtime_r(&now, &tm) == NULL ||
        (in_name ? strftime(out, out_bytes, "%Y%m%dT%H%M%SZ", &tm)
                 : strftime(out, out_bytes, "%Y-%m-%dT%H:%M:%SZ", &tm)) == 0) {
        snprintf(out, out_bytes, "now");
    }
}

static json_t *bundle_make(struct cmd *c, int64_t since_ms)
{
    char at[40];
    struct utsname host = {0};
    stamp(false, at, sizeof at);
    (void)uname(&host);
    json_t *bundle = json_pack(
        "{s:i, s:s, s:{s:s, s:s, s:s, s:s, s:s}}", "format", BUNDLE_FORMAT, "made_at", at,
        "versions", "pivotal_sync", PIVOTAL_SYNC_VERSION, "libuv", uv_version_string(),
        "jansson", JANSSON_VERSION, "kernel", host.release, "machine", host.machine);
    add_settings(c, bundle);
    add_doctor(c, bundle);
    add_database(c, bundle, since_ms);
    add_queue(c, bundle);
    redact_value(bundle);
    return bundle;
}

static int bundle_write(const char *path, const char *text, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (f == NULL) {
        err_os(err, ERR_OS, "cannot write '%s'", path);
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    bool bad = fputs(text, f) == EOF || fputc('\n', f) == EOF;
    if (fclose(f) != 0 || bad) {
        err_set(err, ERR_OS, "cannot write '%s'", path);
        return -1;
    }
    return 0;
}

int verb_support_bundle(struct cmd *c, struct err *err)
{
    char name[96], when[40];
    const char *since = cmd_option(c, "since"), *path = c->arg_count > 0 ? c->args[0] : name;
    const char *customer = cmd_option(c, "customer");
    int64_t since_ms = cmd_duration_ms(since != NULL ? since : "24h", err);
    if (since_ms < 0) {
        return -1;
    }
    if (customer != NULL && (customer[0] == '\0' || strlen(customer) > 18 ||
                             strspn(customer, "0123456789") != strlen(customer))) {
        err_set(err, ERR_INVALID, "'%s' is not a customer: they are numbers", customer);
        return -1;
    }
    stamp(true, when, sizeof when);
    snprintf(name, sizeof name, "pivotal-sync-support-%s.json", when);
    json_auto_t *bundle = bundle_make(c, since_ms);
    char *text = json_dumps(bundle, JSON_INDENT(1));
    if (text == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    int rc = 0;
    if (strcmp(path, "-") == 0) {
        puts(text);
    } else if ((rc = bundle_write(path, text, err)) == 0) {
        printf("%s\n", path);
        say("Look through it, then send it with what you did and what you saw.");
    }
    free(text);
    return rc;
}
