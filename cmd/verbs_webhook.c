/* Verbs about the endpoint that brings deliveries. */
#include "cmd/cmd.h"

#include "core/webhook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_state(const struct cmd *c, const struct webhook_state *w)
{
    if (c->form == OUT_TABLE) {
        printf("%-10s %s\n%-10s %s\n%-10s %s\n%-10s %s\n", "address", w->url, "endpoint",
               w->found ? w->id : "none", "version", w->api_version, "state",
               w->problem[0] != '\0' ? w->problem : "as it should be");
        if (w->found && w->missing[0] != '\0') {
            printf("%-10s %s\n", "missing", w->missing);
        }
        return;
    }
    json_t *j = json_pack("{s:s, s:s, s:b, s:b, s:s, s:b, s:b, s:s, s:s}", "url", w->url, "id",
                          w->id, "found", w->found, "enabled", w->enabled, "api_version",
                          w->api_version, "events_ok", w->events_ok, "secret_known",
                          w->secret_known, "missing", w->missing, "problem", w->problem);
    char *text = json_dumps(j, JSON_COMPACT);
    printf("%s\n", text != NULL ? text : "{}");
    free(text);
    json_decref(j);
}

static int show_state(const struct cmd *c, const struct connection *conn,
                      const struct webhook_state *w)
{
    if (!w->supported) {
        say("%s keeps its webhooks in the app that is installed; there they are looked at, or "
            "here "
            "with HUBSPOT_APP_ID and HUBSPOT_DEVELOPER_KEY set.",
            conn->provider->title);
        return EXIT_OK;
    }
    print_state(c, w);
    return w->problem[0] != '\0' ? EXIT_RECORD_ERRORS : EXIT_OK;
}

/* What came of late, beside how the endpoint stands. */
static int print_deliveries(struct cmd *c, const struct connection *conn, struct err *err)
{
    static const char *const names[] = {"24 hours", "lag", "last good"};
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, conn->connection_id);
    if (output_lookup(
            c,
            "WITH e AS (SELECT verdict, lag_ms FROM psync.webhook_event"
            "   WHERE connection_id = $1 AND event_no >= psync.attempt_floor(now()"
            "     - interval '1 day'))"
            " SELECT coalesce((SELECT string_agg(n || ' ' || verdict, ', ' ORDER BY n DESC,"
            "     verdict) FROM (SELECT verdict, count(*) AS n FROM e GROUP BY 1) v),"
            "   'no delivery'),"
            "  (SELECT 'half within ' || round(percentile_disc(0.5) WITHIN GROUP"
            "     (ORDER BY lag_ms) / 1000.0, 1) || ' s, 95 % within ' || round("
            "     percentile_disc(0.95) WITHIN GROUP (ORDER BY lag_ms) / 1000.0, 1) || ' s'"
            "   FROM e WHERE verdict = 'accepted' AND lag_ms IS NOT NULL),"
            "  (SELECT date_trunc('second', last_delivery_at)::text FROM psync.connection"
            "   WHERE connection_id = $1)",
            p, &r, err) != 0) {
        return -1;
    }
    for (int k = 0; k < (int)COUNT_OF(names); k++) {
        if (rows_len(r, 0, k) > 0) {
            printf("%-10s %s\n", names[k], rows_text(r, 0, k));
        }
    }
    return 0;
}

int verb_webhook_log(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(connection_freep) struct connection *conn = NULL;
    int64_t limit = cmd_list_start(c, &conn, err);
    int n = 0;
    if (limit < 0 || cmd_check_number(c, "before", err) != 0) {
        return -1;
    }
    params_int(p, conn != NULL ? conn->connection_id : 0);
    params_text(p, cmd_option(c, "verdict"));
    params_text(p, cmd_workspace(c));
    params_int(p, limit);
    params_text(p, cmd_option(c, "before"));
    /* One that no connection was found for belongs to every workspace. */
    int rc = output_query(
        c,
        "SELECT e.event_no::text AS event_no, e.received_at, e.provider, e.connection_id,"
        "   e.verdict, e.event_type, e.object_type, e.record_id, e.lag_ms, e.event_id, e.peer"
        " FROM psync.webhook_event e LEFT JOIN psync.connection USING (connection_id)"
        "   LEFT JOIN psync.workspace w USING (workspace_id)"
        " WHERE ($1::bigint = 0 OR e.connection_id = $1)"
        "   AND ($2::text IS NULL OR e.verdict = $2)"
        "   AND ($3::text IS NULL OR w.name IS NULL OR w.name = $3)"
        "   AND e.event_no >= psync.attempt_floor(now() - interval '30 days')"
        "   AND ($5::bigint IS NULL OR e.event_no < $5)"
        " ORDER BY e.event_no DESC LIMIT $4::bigint",
        p,
        "event_no:NO received_at:TIME provider verdict ?event_type:EVENT ?object_type:TYPE"
        " record_id:RECORD ?#lag_ms:LAG-MS | event_id:ID peer:FROM connection_id:CONNECTION",
        &n, err);
    if (rc == 0 && n == 0 && c->form == OUT_TABLE) {
        say("No delivery matches.");
    }
    return rc;
}

int verb_webhook(struct cmd *c, struct err *err)
{
    bool repair = strcmp(c->verb->words, "webhook repair") == 0;
    struct webhook_state w;
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn == NULL) {
        return -1;
    }
    int rc = repair ? webhook_repair(c->app, conn, cmd_has(c, "new"), &c->actor, &w, err)
                    : webhook_status(c->app, conn, &w, err);
    int code = rc == 0 ? show_state(c, conn, &w) : -1;
    if (code >= 0 && !repair && c->form == OUT_TABLE && print_deliveries(c, conn, err) != 0) {
        return -1;
    }
    return code;
}

int verb_webhook_rotate(struct cmd *c, struct err *err)
{
    struct webhook_state w;
    const char *file = cmd_option(c, "secret-file");
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    char *secret = conn != NULL && file != NULL ? cmd_secret(file, err) : NULL;
    if (conn == NULL || (file != NULL && secret == NULL)) {
        return -1;
    }
    int rc = webhook_rotate(c->app, conn, secret, &c->actor, &w, err);
    if (secret != NULL) {
        explicit_bzero(secret, strlen(secret));
    }
    free(secret);
    return rc == 0 ? show_state(c, conn, &w) : -1;
}

int verb_webhook_test(struct cmd *c, struct err *err)
{
    struct webhook_test t;
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn == NULL || webhook_test(c->app, conn, &t, err) != 0) {
        return -1;
    }
    if (c->form == OUT_TABLE) {
        say("%s: %s (%lld ms)", t.url, t.problem[0] != '\0' ? t.problem : "taken",
            (long long)t.took_ms);
    } else {
        json_t *j = json_pack("{s:s, s:i, s:I, s:s}", "url", t.url, "status", t.status,
                              "took_ms", (json_int_t)t.took_ms, "problem", t.problem);
        char *text = json_dumps(j, JSON_COMPACT);
        printf("%s\n", text != NULL ? text : "{}");
        free(text);
        json_decref(j);
    }
    return t.problem[0] != '\0' ? EXIT_RECORD_ERRORS : EXIT_OK;
}

int verb_webhook_manifest(struct cmd *c, struct err *err)
{
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    json_t *manifest = conn != NULL ? webhook_manifest(c->app, conn, err) : NULL;
    char *text = manifest != NULL ? json_dumps(manifest, JSON_INDENT(2)) : NULL;
    json_decref(manifest);
    if (text == NULL) {
        return -1;
    }
    printf("%s\n", text);
    free(text);
    return EXIT_OK;
}
