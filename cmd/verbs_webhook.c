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
    return rc == 0 ? show_state(c, conn, &w) : -1;
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
