/* Verbs about credentials: a connection in full, a new key. */
#include "cmd/cmd.h"

#include "core/keys.h"

#include <stdio.h>

int verb_keys_rotate(struct cmd *c, struct err *err)
{
    struct keys_count n;
    if (keys_rotate(c->app, &c->actor, &n, err) != 0) {
        return -1;
    }
    if (c->form != OUT_TABLE) {
        printf("{\"credentials\":%lld,\"sealed\":%lld}\n", (long long)n.credentials,
               (long long)n.sealed);
    }
    say("%lld credentials, %lld sealed anew: all are sealed with the first key of SECRET_KEY.",
        (long long)n.credentials, (long long)n.sealed);
    say("Once every program was restarted with it, and this was repeated, the older keys may "
        "go.");
    return EXIT_OK;
}

int verb_connection_show(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn == NULL) {
        return -1;
    }
    params_int(p, conn->connection_id);
    if (store_query(
            c->app->store,
            "SELECT (to_jsonb(v) || jsonb_build_object('mapping_version', (SELECT max(version)"
            "   FROM psync.mapping m WHERE m.connection_id = v.connection_id), 'credential',"
            "   (SELECT jsonb_build_object('kind', k.kind, 'scopes', k.scopes, 'expires_at',"
            "     k.expires_at, 'updated_at', k.updated_at, 'webhook_secrets',"
            "     cardinality(k.webhook_secrets)) FROM psync.credential k"
            "    WHERE k.connection_id = v.connection_id AND k.access_token IS NOT "
            "NULL)))::text"
            " FROM psync_bi.connection_status v WHERE connection_id = $1",
            p, &r, err) != 0) {
        return -1;
    }
    if (c->form != OUT_TABLE) {
        printf("%s\n", rows_text(r, 0, 0));
        return EXIT_OK;
    }
    json_auto_t *all = json_loads(rows_text(r, 0, 0), 0, NULL);
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(all, key, value)
    {
        char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
        printf("%-22s %s\n", key,
               json_is_null(value)     ? "-"
               : json_is_string(value) ? json_string_value(value)
               : text != NULL          ? text
                                       : "");
        free(text);
    }
    return EXIT_OK;
}
