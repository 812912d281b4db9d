#include "core/webhook.h"

#include "core/connect.h"
#include "core/rebuild.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET_MAX_BYTES = 8192 };

int webhook_url(const struct app *app, const struct connection *c, char *out, size_t out_bytes,
                struct err *err)
{
    if (!config_is_set(app->config, SETTING_PUBLIC_URL)) {
        err_set(err, ERR_CONFIG,
                "PUBLIC_URL is not set: %s has to know where to send deliveries",
                c->provider->title);
        return -1;
    }
    const char *base = config_text(app->config, SETTING_PUBLIC_URL);
    size_t len = strlen(base);
    len -= len > 0 && base[len - 1] == '/';
    int n = snprintf(out, out_bytes, "%.*s/webhooks/%s", (int)len, base, c->provider->name);
    if (!c->provider->hook_of_app && n > 0 && (size_t)n < out_bytes) {
        snprintf(out + n, out_bytes - (size_t)n, "/%lld", (long long)c->connection_id);
    }
    return 0;
}

/* Is a secret stored, and is it that of the endpoint we made (or nobody said which)? */
static int load_own(struct app *app, const struct connection *c, char *id, size_t id_bytes,
                    bool *secret, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    if (store_query(app->store,
                    "SELECT coalesce(c.settings ->> 'webhook_endpoint', ''),"
                    "   coalesce(cardinality(k.webhook_secrets) > 0, false)"
                    " FROM psync.connection c LEFT JOIN psync.credential k USING"
                    "   (connection_id) WHERE connection_id = $1",
                    p, &r, err) != 0) {
        return -1;
    }
    snprintf(id, id_bytes, "%s", rows_count(r) > 0 ? rows_text(r, 0, 0) : "");
    *secret = rows_count(r) > 0 && rows_bool(r, 0, 1);
    return 0;
}

static void take_missing(struct webhook_state *out, const json_t *missing)
{
    size_t len = 0;
    for (size_t i = 0; i < json_array_size(missing) && len < sizeof out->missing - 1; i++) {
        int n = snprintf(out->missing + len, sizeof out->missing - len, "%s%s",
                         i > 0 ? ", " : "", json_string_value(json_array_get(missing, i)));
        len += n > 0 ? (size_t)n : 0;
    }
}

static void take_facts(struct webhook_state *out, const json_t *facts, const char *version)
{
    const char *id = json_string_value(json_object_get(facts, "id"));
    const char *has = json_string_value(json_object_get(facts, "api_version"));
    out->supported = json_is_true(json_object_get(facts, "supported"));
    out->found = json_is_true(json_object_get(facts, "found"));
    out->enabled = json_is_true(json_object_get(facts, "enabled"));
    out->version_ok = json_is_true(json_object_get(facts, "version_ok"));
    out->events_ok = json_is_true(json_object_get(facts, "events_ok"));
    snprintf(out->id, sizeof out->id, "%s", id != NULL ? id : "");
    snprintf(out->api_version, sizeof out->api_version, "%s", has != NULL ? has : "");
    const char *problem = json_string_value(json_object_get(facts, "problem"));
    out->missing[0] = out->problem[0] = '\0';
    take_missing(out, json_object_get(facts, "missing"));
    if (!out->supported) {
        return;
    }
    if (problem != NULL && problem[0] != '\0') {
        snprintf(out->problem, sizeof out->problem, "%s", problem);
    } else if (!out->found) {
        snprintf(out->problem, sizeof out->problem, "there is no endpoint of this address");
    } else if (!out->enabled) {
        snprintf(out->problem, sizeof out->problem, "the endpoint is disabled");
    } else if (!out->version_ok && out->api_version[0] == '\0') {
        snprintf(out->problem, sizeof out->problem,
                 "the endpoint has no API version of its own, so it follows the account's; it "
                 "should have '%s'",
                 version);
    } else if (!out->version_ok) {
        snprintf(out->problem, sizeof out->problem,
                 "the endpoint has API version '%s'; it should have '%s'", out->api_version,
                 version);
    } else if (!out->events_ok) {
        snprintf(out->problem, sizeof out->problem,
                 "the endpoint lacks event types of what is mirrored");
    } else if (!out->secret_known) {
        snprintf(out->problem, sizeof out->problem, "its signing secret is not known here");
    }
}

static json_t *ask_hook(struct app *app, struct connection *c, enum ask_kind kind, bool replace,
                        const struct webhook_state *w, struct err *err)
{
    const struct ask ask = {.kind = kind,
                            .hook_url = w->url,
                            .objects = (const char *const *)c->objects,
                            .hook_replace = replace};
    return connect_ask(app, c, &ask, err);
}

static const char *pinned_version(const struct app *app, const struct connection *c)
{
    struct app_scratch scratch;
    struct provider_conn pc;
    app_provider_conn(app, c, &scratch, &pc);
    return pc.api_version; /* lent by the settings */
}

/* Deliveries to an app are signed with its client secret. */
static bool app_secret_is_set(const struct app *app, const struct connection *c)
{
    struct app_scratch scratch;
    struct provider_conn pc;
    app_provider_conn(app, c, &scratch, &pc);
    return pc.client_secret[0] != '\0';
}

int webhook_status(struct app *app, struct connection *c, struct webhook_state *out,
                   struct err *err)
{
    char own[256];
    bool secret = false;
    memset(out, 0, sizeof *out);
    if (webhook_url(app, c, out->url, sizeof out->url, err) != 0 ||
        load_own(app, c, own, sizeof own, &secret, err) != 0) {
        return -1;
    }
    json_auto_t *facts = ask_hook(app, c, ASK_HOOK_STATUS, false, out, err);
    if (facts == NULL) {
        return -1;
    }
    const char *id = json_string_value(json_object_get(facts, "id"));
    out->secret_known = secret && (own[0] == '\0' || (id != NULL && strcmp(own, id) == 0));
    if (c->provider->hook_of_app) {
        out->secret_known = app_secret_is_set(app, c);
    }
    take_facts(out, facts, pinned_version(app, c));
    return 0;
}

bool webhook_is_ours(struct app *app, const struct connection *c)
{
    struct err err = {0};
    char own[256];
    bool secret = false;
    if (c->provider->hook_of_app) {
        return true; /* whether its app can be asked, the asking tells */
    }
    return load_own(app, c, own, sizeof own, &secret, &err) == 0 && own[0] != '\0';
}

/* What was made or changed, kept: whose secret it is, and the secret beside the last one, since
 * deliveries signed with that may still be on their way. */
static int keep(struct app *app, const struct connection *c, const char *id, const char *secret,
                struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    struct buf sealed;
    int rc = -1;
    buf_init(&sealed, SECRET_MAX_BYTES);
    if (secret != NULL &&
        seal_text(app->seal, c->connection_id, "webhook_secret", secret, &sealed, err) != 0) {
        goto done;
    }
    params_int(p, c->connection_id);
    params_bytea(p, secret != NULL ? sealed.bytes : NULL, sealed.len_bytes);
    params_text(p, id);
    rc = store_query(app->store,
                     "WITH k AS (UPDATE psync.credential SET webhook_secrets = CASE"
                     "     WHEN $2::bytea IS NULL THEN webhook_secrets"
                     "     ELSE array_prepend($2, webhook_secrets[1:1]) END"
                     "   WHERE connection_id = $1)"
                     " UPDATE psync.connection SET version = version + 1,"
                     "   settings = settings || CASE WHEN $3 = '' THEN '{}'::jsonb"
                     "     ELSE jsonb_build_object('webhook_endpoint', $3::text) END"
                     " WHERE connection_id = $1",
                     p, NULL, err);
    if (rc == 0) {
        rc = queue_routes_changed(app->queue, err);
    }
done:
    buf_release(&sealed);
    return rc;
}

static int repair(struct app *app, struct connection *c, bool anew, const char *action,
                  const struct actor *who, struct webhook_state *out, struct err *err)
{
    if (webhook_status(app, c, out, err) != 0) {
        return -1;
    }
    if (!out->supported || (out->problem[0] == '\0' && !anew)) {
        return 0;
    }
    char target[800];
    bool replace = anew || !out->secret_known;
    json_auto_t *facts = ask_hook(app, c, ASK_HOOK_REPAIR, replace, out, err);
    if (facts == NULL) {
        return -1;
    }
    const char *secret = json_string_value(json_object_get(facts, "secret"));
    out->secret_known = out->secret_known || secret != NULL;
    take_facts(out, facts, pinned_version(app, c));
    snprintf(target, sizeof target, "%s %s", out->id, out->url);
    if (keep(app, c, out->id, secret, err) != 0 ||
        action_audit(app->store, who, c->workspace_id, c->connection_id, action, target, NULL,
                     err) != 0) {
        return -1;
    }
    return rebuild_catch_up(app, c->connection_id, c->shard, "reconnect", err);
}

int webhook_repair(struct app *app, struct connection *c, bool anew, const struct actor *who,
                   struct webhook_state *out, struct err *err)
{
    return repair(app, c, anew, "webhook.repair", who, out, err);
}

int webhook_rotate(struct app *app, struct connection *c, const char *secret,
                   const struct actor *who, struct webhook_state *out, struct err *err)
{
    static const char action[] = "webhook.rotate_secret";
    if (c->provider->hook_of_app) {
        err_set(
            err, ERR_INVALID,
            "%s signs with the client secret of our app: make a new one there, put it before "
            "the old one in its setting (NEW,OLD), reload, and take the old one away later",
            c->provider->title);
        return -1;
    }
    if (secret == NULL) {
        return repair(app, c, true, action, who, out, err);
    }
    if (keep(app, c, "", secret, err) != 0 ||
        action_audit(app->store, who, c->workspace_id, c->connection_id, action, "", NULL,
                     err) != 0) {
        return -1;
    }
    return webhook_status(app, c, out, err);
}

json_t *webhook_manifest(struct app *app, const struct connection *c, struct err *err)
{
    struct webhook_state w = {0};
    struct app_scratch scratch;
    struct provider_conn pc;
    json_t *out = NULL;
    if (c->provider->hook_manifest == NULL) {
        err_set(err, ERR_INVALID, "%s has no such file: pivotal-sync webhook status %s",
                c->provider->title, c->provider->name);
        return NULL;
    }
    if (webhook_url(app, c, w.url, sizeof w.url, err) != 0) {
        return NULL;
    }
    app_provider_conn(app, c, &scratch, &pc);
    return c->provider->hook_manifest(&pc, w.url, &out, err) == 0 ? out : NULL;
}
