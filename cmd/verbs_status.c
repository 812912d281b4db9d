/* status: banner, two clocks, counters, queue. Worst first; --watch draws it again. */
#include "cmd/cmd.h"

#include "cmd/watch.h"
#include "core/figures.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WATCH_MS = 2000, WATCH_PLAIN_MS = 10000 };

/* The keys of the contract, in its order, and what people are shown beside. */
#define STATUS_SQL                                                                             \
    "SELECT s.workspace, s.provider, s.mode, s.connection_id, s.state, s.state_code,"          \
    " s.state_reason, s.state_since, s.last_incremental_at, s.last_catch_up_at,"               \
    " s.incremental_health, s.last_full_success_at, s.full_health, s.next_full_at,"            \
    " 0 AS waiting, s.failing,"                                                                \
    " (SELECT coalesce(json_agg(json_build_object('object_type', k.object_type,"               \
    "    'provider_count', k.provider_count, 'mirrored_count', k.mirrored_count,"              \
    "    'failing_count', k.failing_count, 'difference', k.difference,"                        \
    "    'checked_at', k.checked_at) ORDER BY k.object_type), '[]')"                           \
    "  FROM psync_bi.completeness k WHERE k.connection_id = s.connection_id) AS completeness," \
    " s.account_id, s.account_name, s.paused_at, s.paused_by, s.throttled_until,"              \
    " s.throttled_why,"                                                                        \
    " extract(epoch FROM now() - s.last_incremental_at)::bigint AS incremental_age_s,"         \
    " extract(epoch FROM now() - s.last_full_success_at)::bigint AS full_age_s,"               \
    " (SELECT json_build_object('run_id', r.run_id, 'seen', r.seen, 'expected', r.expected)"   \
    "  FROM psync_bi.run_history r WHERE r.connection_id = s.connection_id"                    \
    "    AND r.status IN ('queued', 'running') ORDER BY r.run_id DESC LIMIT 1) AS run"         \
    " FROM psync_bi.connection_status s WHERE ($1::bigint = 0 OR s.connection_id = $1)"        \
    "   AND ($2::text IS NULL OR s.workspace = $2)"                                            \
    " ORDER BY s.state = 'connected', s.workspace, s.provider, s.mode"

struct status {
    json_t *rows;
    json_t *quota; /* array of the buckets; NULL when the queue does not answer */
    struct queue_stats queue;
    bool queue_answers;
    char queue_error[256];
};

static json_t *status_queue(const struct queue_stats *q)
{
    json_t *lanes = json_object();
    for (int i = 0; i < LANE_COUNT; i++) {
        json_object_set_new(lanes, lane_names[i], json_integer(q->waiting[i]));
    }
    return json_pack("{s:o, s:I, s:I, s:I, s:I}", "waiting", lanes, "delayed",
                     (json_int_t)q->delayed, "parked", (json_int_t)q->parked, "leased",
                     (json_int_t)q->leased, "oldest_age_s",
                     (json_int_t)(q->oldest_age_ms / 1000));
}

static int64_t status_waiting(const struct queue_stats *q)
{
    int64_t n = q->delayed + q->parked + q->leased;
    for (int i = 0; i < LANE_COUNT; i++) {
        n += q->waiting[i];
    }
    return n;
}

static const char *text_of(const json_t *row, const char *name)
{
    const char *text = json_string_value(json_object_get(row, name));
    return text != NULL ? text : "";
}

static long long number_of(const json_t *row, const char *name)
{
    return (long long)json_integer_value(json_object_get(row, name));
}

/* ---- for people ---- */

static void print_word(FILE *out, const char *word, const char *color, bool colors)
{
    fprintf(out, "%s%s%s%s%s", colors ? "\033[" : "", colors ? color : "", colors ? "m" : "",
            word, colors ? "\033[0m" : "");
}

static const char *state_color(const char *state)
{
    return strcmp(state, "connected") == 0 || strcmp(state, "fresh") == 0 ||
                   strcmp(state, "quiet") == 0
               ? "32"
           : strcmp(state, "reauthorize") == 0 ? "1;31"
           : strcmp(state, "stale") == 0       ? "33"
                                               : "2";
}

static void age_text(long long s, char *out, size_t out_bytes)
{
    if (s < 60) {
        snprintf(out, out_bytes, "%lld s ago", s < 0 ? 0 : s);
    } else if (s < 7200) {
        snprintf(out, out_bytes, "%lld min ago", s / 60);
    } else if (s < 172800) {
        snprintf(out, out_bytes, "%lld h ago", s / 3600);
    } else {
        snprintf(out, out_bytes, "%lld days ago", s / 86400);
    }
}

/* "2026-11-23T15:04:05.123+01:00" to the second, with a blank. */
static void moment_text(const char *iso, char out[40])
{
    size_t fraction = iso[0] != '\0' && strlen(iso) > 19 && iso[19] == '.'
                          ? 1 + strspn(iso + 20, "0123456789")
                          : 0;
    snprintf(out, 40, "%.10s %.8s%s", iso, strlen(iso) > 11 ? iso + 11 : "",
             strlen(iso) > 19 ? iso + 19 + fraction : "");
}

static void print_clock(FILE *out, const char *name, const json_t *row, const char *at,
                        const char *age, const char *health, bool colors)
{
    char moment[40] = "never", ago[32] = "";
    const char *iso = text_of(row, at);
    if (iso[0] != '\0') {
        moment_text(iso, moment);
        age_text(number_of(row, age), ago, sizeof ago);
    }
    fprintf(out, "  %-24s %-25s  %-10s  ", name, moment, ago);
    const char *word = text_of(row, health);
    print_word(out, iso[0] == '\0' && strcmp(word, "never") == 0 ? "" : word, state_color(word),
               colors);
    fputc('\n', out);
}

/* A line for each bucket that is not simply free. */
static void print_quota(FILE *out, const json_t *quota)
{
    size_t i;
    const json_t *q;
    bool all_free = true;
    json_array_foreach(quota, i, q)
    {
        bool closed =
            number_of(q, "closed_until_ms") > 0 || number_of(q, "breaker_open_until_ms") > 0;
        double rate = json_number_value(json_object_get(q, "rate_per_s"));
        double full = json_number_value(json_object_get(q, "full_rate_per_s"));
        if (closed || rate < full * 0.99) {
            all_free = false;
            fprintf(out, "Quota  %s %s %s: %.1f of %.1f calls a second%s%s%s\n",
                    text_of(q, "provider"), text_of(q, "account"), text_of(q, "family"), rate,
                    full, closed ? ", closed for now" : "",
                    text_of(q, "reason")[0] != '\0' ? ": " : "", text_of(q, "reason"));
        }
    }
    if (all_free && json_array_size(quota) > 0) {
        fputs("Quota  free: no provider slows us down\n", out);
    }
}

/* What the provider counted beside what is here, at the last full sync. */
static void print_counts(FILE *out, const json_t *counts)
{
    size_t i;
    const json_t *k;
    json_array_foreach(counts, i, k)
    {
        char what[32];
        snprintf(what, sizeof what, "Records: %s", text_of(k, "object_type"));
        fprintf(out, "  %-24s %lld at the provider, %lld here, %lld failing%s\n", what,
                number_of(k, "provider_count"), number_of(k, "mirrored_count"),
                number_of(k, "failing_count"),
                number_of(k, "difference") != 0 ? " (mirror_incomplete)" : "");
    }
}

static void print_connection(FILE *out, const json_t *row, bool colors)
{
    const char *state = text_of(row, "state"), *reason = text_of(row, "state_reason");
    const json_t *run = json_object_get(row, "run");
    char moment[40];
    fprintf(out, "%s%s  %s %s%s  ", colors ? "\033[1m" : "", text_of(row, "workspace"),
            text_of(row, "provider"), text_of(row, "mode"), colors ? "\033[0m" : "");
    print_word(out, state, state_color(state), colors);
    fprintf(out, "  %s %s\n", text_of(row, "account_name"), text_of(row, "account_id"));
    if (reason[0] != '\0') {
        moment_text(text_of(row, "state_since"), moment);
        fprintf(out, "  %s (since %s)\n", reason, moment);
    }
    if (text_of(row, "paused_at")[0] != '\0') {
        fprintf(out, "  Paused by %s: pivotal-sync connection resume %s -w %s\n",
                text_of(row, "paused_by"), text_of(row, "provider"), text_of(row, "workspace"));
    }
    if (text_of(row, "throttled_until")[0] != '\0') {
        moment_text(text_of(row, "throttled_until"), moment);
        const char *why = text_of(row, "throttled_why");
        fprintf(out, "  Throttled until %s%s%s. It goes on by itself.\n", moment,
                why[0] != '\0' ? ": " : "", why);
    }
    print_clock(out, "Last incremental update", row, "last_incremental_at", "incremental_age_s",
                "incremental_health", colors);
    print_clock(out, "Last full sync", row, "last_full_success_at", "full_age_s", "full_health",
                colors);
    if (json_is_object(run)) {
        bool counted = number_of(run, "expected") > 0;
        fprintf(out, "  %-24s run %lld: %lld", "Full sync runs", number_of(run, "run_id"),
                number_of(run, "seen"));
        fprintf(out, counted ? " of %lld records\n" : " records\n", number_of(run, "expected"));
    } else if (text_of(row, "next_full_at")[0] != '\0') {
        moment_text(text_of(row, "next_full_at"), moment);
        fprintf(out, "  %-24s %s\n", "Next full sync", moment);
    }
    print_counts(out, json_object_get(row, "completeness"));
    fprintf(out, "  %lld waiting, %lld failing\n\n", number_of(row, "waiting"),
            number_of(row, "failing"));
}

static void print_status(struct cmd *c, const struct status *s, FILE *out)
{
    bool colors = output_has_color(STDOUT_FILENO);
    const struct queue_stats *q = &s->queue;
    size_t i;
    const json_t *row;
    (void)c;
    json_array_foreach(s->rows, i, row)
    {
        print_connection(out, row, colors);
    }
    if (!s->queue_answers) {
        fprintf(out, "Queue  does not answer: %s\n", s->queue_error);
        return;
    }
    fprintf(out, "Queue  %lld waiting, %lld in work, %lld delayed, %lld parked; %lld workers\n",
            (long long)(status_waiting(q) - q->delayed - q->parked - q->leased),
            (long long)q->leased, (long long)q->delayed, (long long)q->parked,
            (long long)q->workers);
    print_quota(out, s->quota);
}

/* One line each, for a watch that is not at a terminal. */
static void print_lines(const struct status *s, FILE *out)
{
    size_t i;
    const json_t *row;
    json_array_foreach(s->rows, i, row)
    {
        fprintf(out, "%s %s %s %s, incremental %s, full %s, %lld waiting, %lld failing\n",
                text_of(row, "workspace"), text_of(row, "provider"), text_of(row, "mode"),
                text_of(row, "state"), text_of(row, "incremental_health"),
                text_of(row, "full_health"), number_of(row, "waiting"),
                number_of(row, "failing"));
    }
    fprintf(out, "queue %lld in all, %lld workers\n", (long long)status_waiting(&s->queue),
            (long long)s->queue.workers);
}

static void print_json(struct cmd *c, const struct status *s, FILE *out)
{
    json_t *all = json_pack("{s:O, s:o, s:I}", "connections", s->rows, "queue",
                            status_queue(&s->queue), "workers", (json_int_t)s->queue.workers);
    char *text = json_dumps(all, JSON_COMPACT);
    (void)c;
    fprintf(out, "%s\n", text != NULL ? text : "{}");
    free(text);
    json_decref(all);
}

/* ---- asking ---- */

static int status_read(struct cmd *c, struct status *s, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    CLEANUP(connection_freep) struct connection *conn = NULL;
    struct err away = {0};
    *s = (struct status){0};
    if (c->arg_count > 0 && (conn = cmd_connection(c, c->args[0], err)) == NULL) {
        return -1;
    }
    params_int(p, conn != NULL ? conn->connection_id : 0);
    params_text(p, cmd_workspace(c));
    if (output_lookup(c, "SELECT row_to_json(v)::text FROM (" STATUS_SQL ") v", p, &r, err) !=
        0) {
        return -1;
    }
    s->rows = json_array();
    s->queue_answers = queue_stats(c->app->queue, 0, &s->queue, &away) == 0;
    s->quota = s->queue_answers ? figures_quota(c->app, &away) : NULL;
    snprintf(s->queue_error, sizeof s->queue_error, "%.255s", away.msg);
    for (int i = 0; i < rows_count(r); i++) {
        json_t *row = json_loads(rows_text(r, i, 0), 0, NULL);
        struct queue_stats q = {0};
        int64_t id = json_integer_value(json_object_get(row, "connection_id"));
        if (s->queue_answers && queue_stats(c->app->queue, id, &q, &away) == 0) {
            json_object_set_new(row, "waiting", json_integer(status_waiting(&q)));
        }
        json_auto_t *mine = figures_quota_of(s->quota, row);
        figures_set_throttled(row, mine);
        json_array_append_new(s->rows, row);
    }
    return 0;
}

static int status_check(const json_t *rows)
{
    size_t i;
    const json_t *row;
    int code = EXIT_OK;
    json_array_foreach(rows, i, row)
    {
        if (strcmp(text_of(row, "state"), "reauthorize") == 0) {
            return EXIT_REAUTHORIZE;
        }
        if (strcmp(text_of(row, "incremental_health"), "stale") == 0 ||
            strcmp(text_of(row, "full_health"), "stale") == 0) {
            code = EXIT_RECORD_ERRORS;
        }
    }
    return code;
}

static int status_draw(struct cmd *c, FILE *out, struct err *err)
{
    struct status s;
    if (status_read(c, &s, err) != 0) {
        return -1;
    }
    if (c->form != OUT_TABLE) {
        print_json(c, &s, out);
    } else if (output_is_terminal(STDOUT_FILENO)) {
        print_status(c, &s, out);
    } else {
        print_lines(&s, out);
    }
    json_decref(s.rows);
    json_decref(s.quota);
    return 0;
}

static int status_watch(struct cmd *c, struct err *err)
{
    const char *interval = cmd_option(c, "interval");
    int64_t ms = interval != NULL                    ? cmd_duration_ms(interval, err)
                 : output_is_terminal(STDOUT_FILENO) ? WATCH_MS
                                                     : WATCH_PLAIN_MS;
    if (ms >= 0 && ms < 100) {
        err_set(err, ERR_INVALID, "--interval is 100ms or longer");
        return -1;
    }
    return ms < 0 ? -1 : watch_run(c, ms, status_draw, err);
}

int verb_status(struct cmd *c, struct err *err)
{
    struct status s;
    if (cmd_has(c, "watch")) {
        return status_watch(c, err);
    }
    if (status_read(c, &s, err) != 0) {
        return -1;
    }
    if (c->form != OUT_TABLE) {
        print_json(c, &s, stdout);
    } else if (c->shape == SHAPE_NAME) {
        size_t i;
        const json_t *row;
        json_array_foreach(s.rows, i, row)
        {
            printf("%lld\n", number_of(row, "connection_id"));
        }
    } else if (c->shape == SHAPE_PLAIN) {
        print_lines(&s, stdout);
    } else {
        if (json_array_size(s.rows) == 0) {
            say("No connection yet. Next: pivotal-sync connection connect hubspot --token-file "
                "FILE");
        }
        print_status(c, &s, stdout);
    }
    int code = cmd_has(c, "check") ? status_check(s.rows) : EXIT_OK;
    json_decref(s.rows);
    json_decref(s.quota);
    return code;
}
