#include "core/choose.h"

#include "common/task.h"
#include "core/lookup.h"
#include "core/run.h"
#include "core/save.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- workspaces ---- */

static const char *const change_sql =
    "UPDATE psync.workspace w SET"
    "   tz = coalesce((SELECT name FROM pg_timezone_names WHERE lower(name) = lower($2)"
    "     LIMIT 1), tz),"
    "   business_hours = coalesce($3, business_hours),"
    "   nightly_at = coalesce($4::time, nightly_at),"
    "   currency = CASE WHEN $5::text IS NULL THEN currency ELSE nullif(lower($5), '') END,"
    "   plans = CASE WHEN $6::text IS NULL THEN plans WHEN $6 <> ''"
    "     THEN regexp_split_to_array($6, '\\s*,\\s*') END,"
    "   owners = CASE WHEN $7::text IS NULL THEN owners WHEN $7 <> ''"
    "     THEN regexp_split_to_array($7, '\\s*,\\s*') END,"
    "   default_owner = CASE WHEN $8::text IS NULL THEN default_owner"
    "     ELSE nullif($8, '') END,"
    "   settings = settings || $9::jsonb"
    " WHERE workspace_id = $1 AND ($2::text IS NULL OR EXISTS (SELECT FROM pg_timezone_names"
    "   WHERE lower(name) = lower($2)))";

static int add_switch(json_t *settings, const char *name, const char *value, struct err *err)
{
    if (value == NULL) {
        return 0;
    }
    if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0) {
        err_set(err, ERR_INVALID, "'%s' is neither on nor off", value);
        return -1;
    }
    return json_object_set_new(settings, name, json_boolean(strcmp(value, "on") == 0));
}

/* The switches that are given, as JSON text the caller frees. */
static char *switches(const struct workspace_change *c, struct err *err)
{
    json_auto_t *settings = json_object();
    if (add_switch(settings, "mrr_subtract_recurring", c->mrr_subtract_recurring, err) != 0 ||
        add_switch(settings, "mrr_subtract_once", c->mrr_subtract_once, err) != 0 ||
        add_switch(settings, "match_personal_emails", c->match_personal_emails, err) != 0 ||
        add_switch(settings, "billing_signal_only", c->billing_signal_only, err) != 0) {
        return NULL;
    }
    return json_dumps(settings, JSON_COMPACT);
}

static int change_row(struct app *app, const struct workspace_ref *w,
                      const struct workspace_change *c, const char *settings, struct err *err)
{
    const char *const texts[] = {c->tz,    c->business_hours, c->nightly_at,   c->currency,
                                 c->plans, c->owners,         c->default_owner};
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, w->workspace_id);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        params_text(p, texts[i]);
    }
    params_text(p, settings);
    if (store_query(app->store, change_sql, p, &r, err) != 0) {
        if (err->code == ERR_REJECTED) {
            err->code = ERR_INVALID;
            err_wrap(err, "workspace '%s'", w->name);
        }
        return -1;
    }
    if (rows_affected(r) == 0) {
        err_set(err, ERR_INVALID, "'%s' is not a time zone that PostgreSQL knows", c->tz);
        return -1;
    }
    return 0;
}

int choose_workspace(struct app *app, const char *name, const struct workspace_change *change,
                     const struct actor *who, int64_t *customers, struct err *err)
{
    struct workspace_ref w;
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *connections = NULL;
    *customers = 0;
    if (lookup_workspace(app->store, name, &w, err) != 0) {
        return -1;
    }
    char *settings = switches(change, err);
    int rc = settings == NULL ? -1 : change_row(app, &w, change, settings, err);
    if (rc == 0) {
        rc = action_audit(app->store, who, w.workspace_id, 0, "workspace.set", w.name, settings,
                          err);
    }
    free(settings);
    params_int(p, w.workspace_id);
    if (rc != 0 || store_query(app->store,
                               "UPDATE psync.connection SET version = version + 1"
                               " WHERE workspace_id = $1 RETURNING connection_id",
                               p, &connections, err) != 0) {
        return -1;
    }
    task_sleep_ms(CONNECTION_CACHE_MS);
    for (int i = 0; i < rows_count(connections); i++) {
        int64_t n = 0;
        if (save_rework(app->store, rows_int(connections, i, 0), &n, err) != 0) {
            return -1;
        }
        *customers += n;
    }
    return 0;
}

/* ---- object types ---- */

/* The names into an array parameter, each checked; *n of them. */
static int add_objects(struct params *p, const struct provider *provider, const char *objects,
                       int *n, struct err *err)
{
    char name[64];
    bool root = false;
    params_array_begin(p, ARRAY_TEXT);
    for (const char *at = objects; *at != '\0';) {
        size_t len = strcspn(at, ", ");
        snprintf(name, sizeof name, "%.*s", (int)len, at);
        const struct object_type *o = provider_object(provider, name);
        if (len > 0 && o == NULL) {
            err_set(err, ERR_INVALID, "%s has no object type '%s'", provider->title, name);
            return -1;
        }
        if (len > 0) {
            params_array_text(p, o->name, strlen(o->name));
            root = root || (o->flags & OBJECT_ROOT) != 0;
            (*n)++;
        }
        at += len + (at[len] != '\0');
    }
    params_array_end(p);
    if (!root) {
        err_set(err, ERR_INVALID, "without the type customers are made of nothing can be told");
        return -1;
    }
    return 0;
}

int choose_objects(struct app *app, const struct connection *c, const char *objects,
                   const struct actor *who, int64_t *run_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    int n = 0;
    *run_id = 0;
    params_int(p, c->connection_id);
    if (strcmp(objects, "default") == 0) {
        params_text(p, NULL);
    } else if (add_objects(p, c->provider, objects, &n, err) != 0) {
        return -1;
    }
    if (store_query(app->store,
                    "UPDATE psync.connection SET objects = $2::text[], version = version + 1"
                    " WHERE connection_id = $1",
                    p, NULL, err) != 0 ||
        action_audit(app->store, who, c->workspace_id, c->connection_id, "connection.objects",
                     objects, NULL, err) != 0) {
        return -1;
    }
    CLEANUP(connection_freep)
    struct connection *now = connection_load(app->store, app->seal, c->connection_id, err);
    if (now == NULL) {
        return -1;
    }
    if (now->state != CONN_CONNECTED) {
        return 0; /* the run comes with the connection */
    }
    return run_start_over(app, now, who, run_id, err);
}
