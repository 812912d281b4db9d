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

/* The object of -o json, then what a line each says to people; NULL = no line. */
static const char *const show_names[] = {NULL,      "Connection", "Account",     "State",
                                         "Paused",  "Mirrored",   "Incremental", "Full sync",
                                         "Records", "Credential", "Permissions", "Mapping"};
static const char *const show_sql =
    "SELECT (to_jsonb(v) || jsonb_build_object('mapping_version', m.version, 'credential',"
    "   CASE WHEN k.connection_id IS NOT NULL THEN jsonb_build_object('kind', k.kind, 'scopes',"
    "     k.scopes, 'expires_at', k.expires_at, 'updated_at', k.updated_at, 'webhook_secrets',"
    "     cardinality(k.webhook_secrets)) END))::text,"
    " v.connection_id || ', ' || v.provider || ' ' || v.mode || ' of ' || v.workspace,"
    " v.account_id || coalesce(' ' || nullif(v.account_name, ''), ''),"
    " v.state || ' since ' || date_trunc('second', v.state_since)"
    "   || CASE WHEN v.state <> 'connected' THEN ': ' || v.state_reason ELSE '' END,"
    " 'since ' || date_trunc('second', v.paused_at) || coalesce(' by ' || v.paused_by, ''),"
    " coalesce(v.scope_kind || ' ' || v.scope_id || coalesce(' ' || nullif(v.scope_name, ''),"
    "   '') || coalesce(', ' || v.scope_size || ' members', ''), 'everything'),"
    " v.incremental_health || '; known good '"
    "   || coalesce(date_trunc('second', v.last_incremental_at)::text, 'never')"
    "   || ', last delivery '"
    "   || coalesce(date_trunc('second', v.last_delivery_at)::text, 'never')"
    "   || ', last asked ' || coalesce(date_trunc('second', v.last_catch_up_at)::text, 'never')"
    "   || CASE WHEN v.probe_missed > 0 THEN ', ' || v.probe_missed"
    "     || ' found by asking that no delivery told' ELSE '' END,"
    " v.full_health || '; complete '"
    "   || coalesce(date_trunc('second', v.last_full_success_at)::text, 'never')"
    "   || coalesce(', next ' || date_trunc('second', v.next_full_at), ''),"
    " concat_ws(', ', v.provider_records || ' at the provider', v.mirrored_records || ' here',"
    "   v.failing || ' failing', nullif(v.missing_records, 0) || ' missing'),"
    " coalesce(k.kind || ' of ' || date_trunc('second', k.updated_at)"
    "   || coalesce(', good until ' || date_trunc('second', k.expires_at), '') || ', '"
    "   || cardinality(k.webhook_secrets) || ' webhook secret'"
    "   || CASE WHEN cardinality(k.webhook_secrets) = 1 THEN '' ELSE 's' END, 'none'),"
    " array_to_string(k.scopes, ' '),"
    " 'version ' || m.version"
    " FROM psync_bi.connection_status v"
    " LEFT JOIN psync.credential k ON k.connection_id = v.connection_id"
    "   AND k.access_token IS NOT NULL"
    " LEFT JOIN LATERAL (SELECT max(version) AS version FROM psync.mapping"
    "   WHERE connection_id = v.connection_id) m ON true WHERE v.connection_id = $1";

int verb_connection_show(struct cmd *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    CLEANUP(connection_freep) struct connection *conn = cmd_connection(c, c->args[0], err);
    if (conn == NULL) {
        return -1;
    }
    params_int(p, conn->connection_id);
    if (output_lookup(c, show_sql, p, &r, err) != 0) {
        return -1;
    }
    if (c->form != OUT_TABLE) {
        printf("%s\n", rows_text(r, 0, 0));
        return EXIT_OK;
    }
    print_labelled(r, show_names, (int)COUNT_OF(show_names));
    return EXIT_OK;
}
