#include "core/lookup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int lookup_workspace(struct store *s, const char *name, struct workspace_ref *out,
                     struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_text(p, name != NULL && name[0] != '\0' ? name : NULL);
    if (store_query(s,
                    "SELECT workspace_id, name FROM psync.workspace"
                    " WHERE $1::text IS NULL OR name = $1 ORDER BY name LIMIT 2",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0 && name != NULL && name[0] != '\0') {
        err_set(err, ERR_NOT_FOUND, "there is no workspace '%s' (pivotal-sync workspace list)",
                name);
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND,
                "there is no workspace yet: pivotal-sync workspace add <name>");
        return -1;
    }
    if (rows_count(r) > 1) {
        err_set(err, ERR_INVALID,
                "there are several workspaces: say which with -w ('%s', '%s', ...)",
                rows_text(r, 0, 1), rows_text(r, 1, 1));
        return -1;
    }
    out->workspace_id = rows_int(r, 0, 0);
    snprintf(out->name, sizeof out->name, "%s", rows_text(r, 0, 1));
    return 0;
}

struct connection *lookup_connection(struct app *app, const char *workspace,
                                     const char *provider, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct workspace_ref w = {0};
    char name[64];
    const char *mode = strchr(provider, ':');
    if (provider[0] != '\0' && strspn(provider, "0123456789") == strlen(provider)) {
        return connection_load(app->store, app->seal, strtoll(provider, NULL, 10), err);
    }
    snprintf(name, sizeof name, "%.*s",
             mode != NULL ? (int)(mode - provider) : (int)sizeof name - 1, provider);
    if (provider_find(name) == NULL ||
        (mode != NULL && strcmp(mode, ":live") != 0 && strcmp(mode, ":test") != 0)) {
        err_set(
            err, ERR_INVALID,
            "'%s' is not a provider: hubspot, stripe, stripe:live, stripe:test, or the id of a "
            "connection",
            provider);
        return NULL;
    }
    if (lookup_workspace(app->store, workspace, &w, err) != 0) {
        return NULL;
    }
    params_int(p, w.workspace_id);
    params_text(p, name);
    params_text(p, mode != NULL ? mode + 1 : NULL);
    if (store_query(app->store,
                    "SELECT connection_id FROM psync.connection WHERE workspace_id = $1"
                    "   AND provider = $2 AND ($3::text IS NULL OR mode = $3)"
                    " ORDER BY mode = 'live' DESC LIMIT 1",
                    p, &r, err) != 0) {
        return NULL;
    }
    if (rows_count(r) == 0) {
        err_set(
            err, ERR_NOT_FOUND,
            "workspace '%s' has no connection to %s: pivotal-sync connection connect %s -w %s",
            w.name, provider, name, w.name);
        return NULL;
    }
    return connection_load(app->store, app->seal, rows_int(r, 0, 0), err);
}
