/* Verbs that set things up: migrate, workspaces, connections, scope. */
#include "cmd/cmd.h"

#include "common/task.h"
#include "core/choose.h"
#include "core/connect.h"
#include "core/lookup.h"
#include "core/migrate.h"
#include "core/oauth.h"
#include "core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void migrate_line(void *arg, const char *line)
{
    (void)arg;
    printf("%s\n", line);
}

int verb_migrate(struct cmd *c, struct err *err)
{
    enum setting which = config_is_set(c->config, SETTING_MIGRATE_DATABASE_URL)
                             ? SETTING_MIGRATE_DATABASE_URL
                             : SETTING_DATABASE_URL;
    if (!config_is_set(c->config, which)) {
        err_set(err, ERR_CONFIG, "DATABASE_URL is not set: name the PostgreSQL database");
        return -1;
    }
    struct store_options o = {.url = config_text(c->config, which),
                              .application_name = "pivotal-sync migrate",
                              .max_connections = 1,
                              .statement_timeout_ms = MIGRATE_STATEMENT_TIMEOUT_MS};
    struct store *s = store_new(task_loop(), &o, err);
    if (s == NULL) {
        return -1;
    }
    int rc = migrate_run(s, cmd_has(c, "dry-run"), migrate_line, NULL, err);
    store_free(s);
    return rc;
}

int verb_workspace_add(struct cmd *c, struct err *err)
{
    static const char *const options[] = {"tz",    "business-hours", "nightly-at",   "currency",
                                          "plans", "owners",         "default-owner"};
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_text(p, c->args[0]);
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        params_text(p, cmd_option(c, options[i]));
    }
    if (store_query(
            c->app->store,
            "INSERT INTO psync.workspace (name, tz, business_hours, nightly_at, currency,"
            "   plans, owners, default_owner)"
            " SELECT $1, coalesce((SELECT name FROM pg_timezone_names"
            "     WHERE lower(name) = lower($2) LIMIT 1), $2, 'UTC'),"
            "   coalesce($3, 'Mon-Fri 09:00-18:00'), coalesce($4::time, '03:00'),"
            "   lower($5), regexp_split_to_array($6, '\\s*,\\s*'),"
            "   regexp_split_to_array($7, '\\s*,\\s*'), $8"
            " WHERE $2::text IS NULL OR EXISTS (SELECT 1 FROM pg_timezone_names"
            "   WHERE lower(name) = lower($2))"
            " ON CONFLICT (name) DO NOTHING RETURNING workspace_id",
            p, &r, err) != 0) {
        if (err->code == ERR_REJECTED) {
            err->code = ERR_INVALID;
            err_wrap(err, "workspace '%s'", c->args[0]);
        }
        return -1;
    }
    if (rows_count(r) == 0) {
        struct workspace_ref w;
        if (lookup_workspace(c->app->store, c->args[0], &w, err) == 0) {
            err_set(err, ERR_CONFLICT, "there is a workspace '%s' already", c->args[0]);
        } else {
            err_set(err, ERR_INVALID, "'%s' is not a time zone that PostgreSQL knows",
                    cmd_option(c, "tz"));
        }
        return -1;
    }
    if (action_audit(c->app->store, &c->actor, rows_int(r, 0, 0), 0, "workspace.add",
                     c->args[0], NULL, err) != 0) {
        return -1;
    }
    say("Workspace '%s' is made. Next: pivotal-sync connection connect hubspot --token-file "
        "FILE",
        c->args[0]);
    return EXIT_OK;
}

int verb_workspace_set(struct cmd *c, struct err *err)
{
    const struct workspace_change change = {
        .tz = cmd_option(c, "tz"),
        .business_hours = cmd_option(c, "business-hours"),
        .nightly_at = cmd_option(c, "nightly-at"),
        .currency = cmd_option(c, "currency"),
        .plans = cmd_option(c, "plans"),
        .owners = cmd_option(c, "owners"),
        .default_owner = cmd_option(c, "default-owner"),
        .mrr_subtract_recurring = cmd_option(c, "mrr-subtract-recurring"),
        .mrr_subtract_once = cmd_option(c, "mrr-subtract-once"),
        .match_personal_emails = cmd_option(c, "match-personal-emails"),
        .billing_signal_only = cmd_option(c, "billing-signal-only"),
    };
    const char *name = c->arg_count > 0 ? c->args[0] : cmd_workspace(c);
    int64_t customers = 0;
    if (choose_workspace(c->app, name, &change, &c->actor, &customers, err) != 0) {
        return -1;
    }
    say("Changed. Amounts of %lld billing customers were worked out anew.",
        (long long)customers);
    return EXIT_OK;
}

int verb_connection_set(struct cmd *c, struct err *err)
{
    const char *objects = cmd_option(c, "objects");
    int64_t run_id = 0;
    if (objects == NULL) {
        err_set(err, ERR_INVALID, "connection set wants --objects A,B or --objects default");
        return -1;
    }
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn == NULL || choose_objects(c->app, conn, objects, &c->actor, &run_id, err) != 0) {
        return -1;
    }
    say("Changed.");
    if (run_id > 0) {
        say("Full sync %lld started.", (long long)run_id);
    }
    return EXIT_OK;
}

int verb_workspace_list(struct cmd *c, struct err *err)
{
    return output_query(c,
                        "SELECT workspace_id, name, tz, business_hours, nightly_at::text,"
                        " currency, plans, owners, default_owner, created_at"
                        " FROM psync.workspace ORDER BY name",
                        NULL, "name tz:ZONE business_hours:HOURS nightly_at:NIGHTLY currency",
                        NULL, err);
}

int verb_connection_list(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_text(p, cmd_workspace(c));
    return output_query(c,
                        "SELECT * FROM psync_bi.connection_status"
                        " WHERE $1::text IS NULL OR workspace = $1"
                        " ORDER BY workspace, provider, mode",
                        p,
                        "connection_id:ID workspace provider mode account_id:ACCOUNT state"
                        " ?~state_reason:REASON ?~scope_name:SCOPE | account_name:NAME"
                        " incremental_health:INCREMENTAL full_health:FULL next_full_at:NEXT"
                        " #failing",
                        NULL, err);
}

static void connected(const struct connect_result *r, const char *provider)
{
    say("Connected %s account %s%s%s%s (%s).", provider, r->account,
        r->name[0] != '\0' ? " (" : "", r->name, r->name[0] != '\0' ? ")" : "", r->mode);
    if (r->released > 0) {
        say("%lld waiting changes are being applied.", (long long)r->released);
    }
    if (r->run_id > 0) {
        say("Full sync %lld started. Next: pivotal-sync status", (long long)r->run_id);
    } else if (!r->existed && strcmp(provider, "hubspot") == 0) {
        say("Next: pivotal-sync scope set hubspot list <id>");
    }
}

/* Where a person signs in; the walk itself is the admin program's. */
static int say_oauth(struct cmd *c, const char *provider, const char *workspace,
                     const char *mode, struct err *err)
{
    struct buf url;
    buf_init(&url, 4096);
    int rc = oauth_start_url(c->config, provider, workspace, mode, &url, err);
    if (rc == 0 && c->form == OUT_TABLE) {
        say("Open this in a browser and sign in; pivotal-sync-admin must be running:");
        printf("%s\n", buf_text(&url));
    } else if (rc == 0) {
        json_t *out = json_pack("{s:s}", "url", buf_text(&url));
        char *text = json_dumps(out, JSON_COMPACT);
        printf("%s\n", text != NULL ? text : "{}");
        free(text);
        json_decref(out);
    }
    buf_release(&url);
    return rc;
}

static int connect_by_oauth(struct cmd *c, struct err *err)
{
    struct workspace_ref w;
    char provider[32];
    const char *mode = strchr(c->args[0], ':');
    snprintf(provider, sizeof provider, "%.*s",
             mode != NULL ? (int)(mode - c->args[0]) : (int)sizeof provider - 1, c->args[0]);
    if (provider_find(provider) == NULL) {
        err_set(err, ERR_INVALID, "'%s' is not a provider: hubspot, stripe", c->args[0]);
        return -1;
    }
    if (cmd_has(c, "account") || cmd_has(c, "webhook-secret-file")) {
        err_set(err, ERR_INVALID, "--account and --webhook-secret-file go with --token-file");
        return -1;
    }
    if (lookup_workspace(c->app->store, cmd_workspace(c), &w, err) != 0) {
        return -1;
    }
    return say_oauth(c, provider, w.name, mode != NULL ? mode + 1 : NULL, err);
}

int verb_connection_reauthorize(struct cmd *c, struct err *err)
{
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn == NULL) {
        return -1;
    }
    if (strcmp(conn->credential_kind, "token") == 0) {
        say("This connection has a token of its own: `connection connect %s --token-file FILE` "
            "replaces it.",
            conn->provider->name);
    }
    return say_oauth(c, conn->provider->name, conn->workspace, conn->mode, err);
}

int verb_connection_connect(struct cmd *c, struct err *err)
{
    const char *token_file = cmd_option(c, "token-file");
    const char *secret_file = cmd_option(c, "webhook-secret-file");
    struct connect_result result;
    int rc = -1;
    if (token_file == NULL) {
        return connect_by_oauth(c, err);
    }
    char *token = cmd_secret(token_file, err);
    char *secret = token != NULL && secret_file != NULL ? cmd_secret(secret_file, err) : NULL;
    if (token != NULL && (secret_file == NULL || secret != NULL)) {
        struct connect_request q = {.workspace = cmd_workspace(c),
                                    .provider = c->args[0],
                                    .token = token,
                                    .account = cmd_option(c, "account"),
                                    .webhook_secret = secret};
        rc = connect_token(c->app, &q, &c->actor, &result, err);
    }
    if (token != NULL) {
        explicit_bzero(token, strlen(token));
    }
    if (secret != NULL) {
        explicit_bzero(secret, strlen(secret));
    }
    free(token);
    free(secret);
    if (rc == 0) {
        connected(&result, c->args[0]);
        if (c->form == OUT_JSON) {
            printf(
                "{\"connection_id\":%lld,\"account\":\"%s\",\"mode\":\"%s\",\"run_id\":%lld}\n",
                (long long)result.connection_id, result.account, result.mode,
                (long long)result.run_id);
        }
    }
    return rc;
}

int verb_connection_disconnect(struct cmd *c, struct err *err)
{
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn == NULL) {
        return -1;
    }
    if (!cmd_confirm_word(c, conn->account_id,
                          "This forgets the token of %s account %s; mapping, scope and history "
                          "are kept.",
                          conn->provider->title, conn->account_id)) {
        err_set(err, ERR_INVALID,
                "this forgets the token of %s account %s (mapping, scope and history are "
                "kept): repeat with --yes, or --confirm %s",
                conn->provider->title, conn->account_id, conn->account_id);
        return -1;
    }
    if (connect_disconnect(c->app, conn, &c->actor, err) != 0) {
        return -1;
    }
    say("Disconnected. Reconnect any time: mapping and scope are as they were.");
    return EXIT_OK;
}

int verb_connection_pause(struct cmd *c, struct err *err)
{
    bool pause = strstr(c->verb->words, " pause") != NULL;
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn == NULL || action_pause(c->app, conn, pause, &c->actor, err) != 0) {
        return -1;
    }
    if (pause) {
        say("%s of %s waits; nothing is lost. Next: pivotal-sync connection resume %s",
            conn->provider->title, conn->workspace, c->args[0]);
    } else {
        say("%s of %s goes on.", conn->provider->title, conn->workspace);
    }
    return EXIT_OK;
}
