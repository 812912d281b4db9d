#include "core/diagnose.h"

#include "common/clock.h"
#include "common/task.h"
#include "core/fetch.h"
#include "core/rebuild.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE_POLL_MS = 200, BAD_SIGNATURES_MIN = 3 };

/* ---- 1: the banner ---- */

static const char *diagnose_cli(const struct connection *c, const char *verb, char *out,
                                size_t out_bytes)
{
    snprintf(out, out_bytes, "pivotal-sync %s %s -w %s", verb, c->provider->name, c->workspace);
    return out;
}

static bool check_banner(const struct connection *c, struct findings *out)
{
    static const char check[] = "Does the banner read Connected?";
    char command[200];
    enum error_type type = error_type_find(c->state_code);
    switch (c->state) {
    case CONN_REAUTHORIZE:
        findings_cause(out, type, check,
                       "Reauthorize: sync resumes by itself with all that was waiting.",
                       diagnose_cli(c, "connection reauthorize", command, sizeof command),
                       "%s must be authorized again: %s", c->provider->title, c->state_reason);
        return false;
    case CONN_DISCONNECTED:
        findings_cause(out, type != ET_NONE ? type : ET_AUTH_APP_UNINSTALLED, check,
                       "Connect it again: mapping, scope and history are as they were.",
                       diagnose_cli(c, "connection connect", command, sizeof command),
                       "%s is disconnected: %s", c->provider->title, c->state_reason);
        return false;
    case CONN_CONNECTED:
        break;
    }
    if (c->paused) {
        findings_cause(out, ET_CONNECTION_PAUSED, check, "Resume it.",
                       diagnose_cli(c, "connection resume", command, sizeof command),
                       "%s is connected, but an admin paused it", c->provider->title);
        return false;
    }
    findings_add(out, FINDING_OK, check, "%s account %s is connected", c->provider->title,
                 c->account_id);
    return true;
}

/* ---- 2: the two clocks ---- */

struct clocks {
    char incremental[16], full[16], last_incremental[80], last_full[80], run_code[48],
        hook_code[48], hook_text[300]; /* of what sends deliveries, when it was found off */
    int64_t bad_signatures, probe_missed, run_id;
};

static int clocks_read(struct app *app, const struct connection *c, bool utc,
                       struct clocks *out, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    params_bool(p, utc);
    if (store_query(
            app->store,
            "SELECT s.incremental_health, s.full_health,"
            "   coalesce(psync.local_text(s.last_incremental_at, z.tz), 'never'),"
            "   coalesce(psync.local_text(s.last_full_success_at, z.tz), 'never'),"
            "   s.probe_missed, coalesce(r.run_id, 0), coalesce(r.error_code, ''),"
            "   (SELECT count(*) FROM psync.webhook_event e"
            "     WHERE e.provider = s.provider AND e.verdict LIKE 'wh\\_signature%'"
            "       AND (e.connection_id = s.connection_id OR e.connection_id IS NULL)"
            "       AND e.event_no > psync.attempt_floor(now() - interval '1 day')"
            "       AND e.received_at > coalesce(s.last_delivery_at, '-infinity')),"
            "   coalesce(h.error_code, ''), coalesce(h.error_message, '')"
            " FROM psync_bi.connection_status s"
            " CROSS JOIN LATERAL (SELECT CASE WHEN $2 THEN 'UTC' ELSE w.tz END AS tz"
            "   FROM psync.workspace w WHERE w.workspace_id = s.workspace_id) z"
            " LEFT JOIN LATERAL ("
            "   SELECT run_id, error_code FROM psync.run WHERE connection_id = $1"
            "     AND status IN ('failed', 'partial') ORDER BY run_id DESC LIMIT 1) r ON true"
            " LEFT JOIN LATERAL ("
            "   SELECT error_code, error_message FROM psync.attempt WHERE connection_id = $1"
            "     AND error_code IN ('wh_subscription_off', 'wh_endpoint_disabled')"
            "     AND status = 'failed' AND resolved_by IS NULL"
            "     AND attempt_id > psync.attempt_floor(now() - interval '1 day')"
            "     ORDER BY attempt_id DESC LIMIT 1) h ON true"
            " WHERE s.connection_id = $1",
            p, &r, err) != 0) {
        return -1;
    }
    snprintf(out->incremental, sizeof out->incremental, "%s", rows_text(r, 0, 0));
    snprintf(out->full, sizeof out->full, "%s", rows_text(r, 0, 1));
    snprintf(out->last_incremental, sizeof out->last_incremental, "%s", rows_text(r, 0, 2));
    snprintf(out->last_full, sizeof out->last_full, "%s", rows_text(r, 0, 3));
    out->probe_missed = rows_int(r, 0, 4);
    out->run_id = rows_int(r, 0, 5);
    snprintf(out->run_code, sizeof out->run_code, "%s", rows_text(r, 0, 6));
    out->bad_signatures = rows_int(r, 0, 7);
    snprintf(out->hook_code, sizeof out->hook_code, "%s", rows_text(r, 0, 8));
    snprintf(out->hook_text, sizeof out->hook_text, "%s", rows_text(r, 0, 9));
    return 0;
}

static int clocks_probed_at(struct app *app, const struct connection *c, int64_t *at_ms,
                            struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    if (store_query(app->store,
                    "SELECT coalesce((extract(epoch FROM probed_at) * 1000)::bigint, 0)"
                    " FROM psync.connection WHERE connection_id = $1",
                    p, &r, err) != 0) {
        return -1;
    }
    *at_ms = rows_int(r, 0, 0);
    return 0;
}

/* Ask the provider whether it has changes that no delivery told of. True when it answered. */
static bool clocks_probe(struct app *app, const struct connection *c, int64_t wait_ms)
{
    struct err err = {0};
    int64_t before_ms = 0, now_ms = 0;
    int64_t deadline_ms = clock_mono_ms() + wait_ms;
    if (clocks_probed_at(app, c, &before_ms, &err) != 0 ||
        rebuild_catch_up(app, c->connection_id, c->shard, "person", &err) != 0) {
        return false;
    }
    while (clock_mono_ms() < deadline_ms) {
        task_sleep_ms(PROBE_POLL_MS);
        if (clocks_probed_at(app, c, &now_ms, &err) != 0) {
            return false;
        }
        if (now_ms > before_ms) {
            return true;
        }
    }
    return false;
}

static bool check_incremental(const struct connection *c, const struct clocks *k, bool probed,
                              struct findings *out)
{
    static const char check[] = "Is the last incremental update fresh?";
    char command[200];
    const char *repair = diagnose_cli(c, "webhook repair", command, sizeof command);
    if (k->bad_signatures >= BAD_SIGNATURES_MIN) {
        findings_cause(
            out, ET_WH_SIGNATURE_INVALID, check, NULL, repair,
            "%lld deliveries of the last day had a wrong signature and none since was "
            "good",
            (long long)k->bad_signatures);
        return false;
    }
    if (strcmp(k->incremental, "stale") == 0 && k->hook_code[0] != '\0') {
        findings_cause(out, error_type_find(k->hook_code), check, NULL, repair,
                       "%s sends no changes: %s; the last good moment was %s",
                       c->provider->title, k->hook_text, k->last_incremental);
        return false;
    }
    if (strcmp(k->incremental, "stale") == 0) {
        findings_cause(
            out, ET_WH_SILENT, check, NULL, repair,
            "Changes at %s were not delivered (%lld found so far by asking); the last "
            "good moment was %s",
            c->provider->title, (long long)k->probe_missed, k->last_incremental);
        return false;
    }
    if (strcmp(k->incremental, "quiet") == 0) {
        findings_add(out, FINDING_OK, check, "Quiet: %s has no change that we do not know",
                     c->provider->title);
    } else if (strcmp(k->incremental, "fresh") == 0) {
        findings_add(out, FINDING_OK, check, "Fresh: %s", k->last_incremental);
    } else {
        findings_add(out, FINDING_SKIPPED, check, "Not known (%s)%s", k->incremental,
                     probed ? "" : "; the provider could not be asked now");
    }
    return true;
}

static bool check_full(const struct connection *c, const struct clocks *k, struct findings *out)
{
    static const char check[] = "Is the last full sync fresh?";
    char command[200];
    if (strcmp(k->full, "fresh") == 0) {
        findings_add(out, FINDING_OK, check, "Complete at %s", k->last_full);
        return true;
    }
    const struct error_info *info = error_info(error_type_find(k->run_code));
    findings_cause(out, error_type_find(k->run_code), check,
                   info != NULL ? NULL : "Run it now and watch it.",
                   diagnose_cli(c, "run-now --wait", command, sizeof command),
                   "The last complete full sync: %s%s%s", k->last_full,
                   info != NULL ? "; the last run ended with: " : "",
                   info != NULL ? info->title : "");
    return false;
}

/* ---- 3: the log ---- */

static int check_log(struct app *app, const struct connection *c, struct findings *out,
                     struct err *err)
{
    static const char check[] = "Are there errors in the log?";
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    char command[200];
    params_int(p, c->connection_id);
    if (store_query(
            app->store,
            "SELECT l.error_code, count(DISTINCT (l.object_type, l.record_id)),"
            "   count(*) OVER (),"
            "   max(l.attempt_id)::text, max(l.error_message)"
            " FROM psync_bi.sync_log l WHERE l.connection_id = $1"
            "   AND l.severity = 'error' AND NOT l.resolved"
            "   AND l.status IN ('failed', 'partial', 'retrying')"
            "   AND NOT EXISTS (SELECT 1 FROM psync.attempt b"
            "     WHERE b.connection_id = l.connection_id AND b.attempt_id > l.attempt_id"
            "       AND b.object_type = l.object_type AND b.record_id = l.record_id"
            "       AND b.status <> 'interrupted' AND b.error_code NOT IN"
            "         ('connection_paused', 'quota_reserved'))"
            "   AND l.started_at > now() - interval '2 days'"
            " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1",
            p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        findings_add(out, FINDING_OK, check, "No open errors");
        return 0;
    }
    enum error_type type = error_type_find(rows_text(r, 0, 0));
    const struct error_info *info = error_info(type);
    int64_t records = rows_int(r, 0, 1), kinds = rows_int(r, 0, 2);
    char others[60] = "";
    if (kinds > 1) {
        snprintf(others, sizeof others, "; %lld other kind%s of errors", (long long)kinds - 1,
                 kinds == 2 ? "" : "s");
    }
    snprintf(command, sizeof command, "pivotal-sync show %s", rows_text(r, 0, 3));
    findings_cause(out, type, check, NULL, command, "%s: %lld record%s (%s)%s",
                   info != NULL ? info->title : rows_text(r, 0, 0), (long long)records,
                   records == 1 ? "" : "s", rows_text(r, 0, 4), others);
    return 0;
}

/* ---- 4: the one customer ---- */

static int check_customer(struct app *app, const struct connection *c, int64_t customer_id,
                          struct findings *out, struct err *err)
{
    static const char check[] = "Is this customer as the provider has it?";
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    params_int(p, customer_id);
    if (store_query(app->store,
                    "SELECT object_type, record_id FROM psync.record_link"
                    " WHERE connection_id = $1 AND customer_id = $2 ORDER BY 1, 2",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        char command[200];
        snprintf(command, sizeof command, "pivotal-sync link add %s ID %lld -w %s",
                 c->provider->name, (long long)customer_id, c->workspace);
        findings_cause(out, ET_MATCH_NONE, check, NULL, command,
                       "No record of %s is linked to customer %lld", c->provider->title,
                       (long long)customer_id);
        return 0;
    }
    for (int i = 0; i < rows_count(r) && findings_first_cause(out) == NULL; i++) {
        if (diagnose_record(app, c, rows_text(r, i, 0), rows_text(r, i, 1), out, err) != 0) {
            return -1;
        }
    }
    return 0;
}

int diagnose_connection(struct app *app, const struct connection *c, int64_t customer_id,
                        int64_t wait_ms, struct findings *out, struct err *err)
{
    struct clocks k;
    if (!check_banner(c, out)) {
        return 0;
    }
    bool probed = clocks_probe(app, c, wait_ms);
    if (clocks_read(app, c, out->utc, &k, err) != 0) {
        return -1;
    }
    if (!check_incremental(c, &k, probed, out) || !check_full(c, &k, out)) {
        return 0;
    }
    if (check_log(app, c, out, err) != 0) {
        return -1;
    }
    if (customer_id != 0 && findings_first_cause(out) == NULL) {
        return check_customer(app, c, customer_id, out, err);
    }
    return 0;
}
