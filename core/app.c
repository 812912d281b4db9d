#include "core/app.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int app_open_log(struct app *a, struct err *err)
{
    enum log_level level = LOG_INFO;
    enum log_format format = log_format_for(STDERR_FILENO);
    if (log_level_parse(config_text(a->config, SETTING_LOG_LEVEL), &level) != 0) {
        level = LOG_INFO;
    }
    if (config_is_set(a->config, SETTING_LOG_FORMAT) &&
        log_format_parse(config_text(a->config, SETTING_LOG_FORMAT), &format) != 0) {
        format = LOG_JSON;
    }
    a->log = log_new(a->program, STDERR_FILENO, level, format, err);
    return a->log != NULL ? 0 : -1;
}

static int app_open_store(struct app *a, bool generic_plans, struct err *err)
{
    if (!config_is_set(a->config, SETTING_DATABASE_URL)) {
        err_set(
            err, ERR_CONFIG,
            "DATABASE_URL is not set: name the PostgreSQL database, or run `pivotal-sync up`");
        return -1;
    }
    struct store_options o = {
        .url = config_text(a->config, SETTING_DATABASE_URL),
        .application_name = a->program,
        .max_connections = (int)config_int(a->config, SETTING_DB_POOL),
        .generic_plans = generic_plans,
    };
    a->store = store_new(a->loop, &o, err);
    return a->store != NULL ? 0 : -1;
}

/* What the queue's scripts must know of every provider. */
static int app_queue_tables(struct app *a, struct queue_options *o)
{
    size_t families = 0, objects = 0;
    for (int i = 0; providers[i] != NULL; i++) {
        for (const struct quota_family *f = providers[i]->quotas; f->name != NULL; f++) {
            families++;
        }
        for (const struct object_type *t = providers[i]->objects; t->name != NULL; t++) {
            objects += t->links_name != NULL ? 2 : 1;
        }
    }
    a->families = calloc(families + 1, sizeof *a->families);
    a->objects = calloc(objects + 1, sizeof *a->objects);
    if (a->families == NULL || a->objects == NULL) {
        return -1;
    }
    for (int i = 0; providers[i] != NULL; i++) {
        const struct provider *p = providers[i];
        for (const struct quota_family *f = p->quotas; f->name != NULL; f++) {
            a->families[o->family_count++] =
                (struct queue_family){p->name, f->name, f->rate_per_s, f->burst};
        }
        for (const struct object_type *t = p->objects; t->name != NULL; t++) {
            a->objects[o->object_count++] =
                (struct queue_object){p->name, t->name, t->read_family, t->batch_max};
            if (t->links_name != NULL) {
                a->objects[o->object_count++] =
                    (struct queue_object){p->name, t->links_name, t->links_family, 1};
            }
        }
    }
    o->families = a->families;
    o->objects = a->objects;
    return 0;
}

/* The analyzer does not see that app_close frees the URLs. */
ANALYZER_OFF("-Wanalyzer-malloc-leak")
static int app_open_queue(struct app *a, unsigned needs, struct err *err)
{
    size_t n = config_list_count(a->config, SETTING_REDIS_URL);
    if (n == 0) {
        err_set(err, ERR_CONFIG,
                "REDIS_URL is not set: name the Redis, or run `pivotal-sync up`");
        return -1;
    }
    struct queue_options o = {
        .url_count = (int)n,
        .shards = a->shards,
        .lease_ms = config_int(a->config, SETTING_LEASE_S) * 1000,
        .wait_replicas = (int)config_int(a->config, SETTING_REDIS_WAIT_REPLICAS),
        .command_timeout_ms = (needs & APP_QUICK) != 0 ? 3000 : 0,
        .worker = a->worker,
    };
    a->redis_urls = calloc(n + 1, sizeof *a->redis_urls);
    if (a->redis_urls == NULL || app_queue_tables(a, &o) != 0) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        struct slice url = config_list_item(a->config, SETTING_REDIS_URL, i);
        a->redis_urls[i] = strndup(url.bytes, url.len_bytes);
        if (a->redis_urls[i] == NULL) {
            err_set(err, ERR_NOMEM, "out of memory");
            return -1;
        }
    }
    o.urls = (const char *const *)a->redis_urls;
    a->queue = queue_open(a->loop, &o, err);
    return a->queue != NULL ? 0 : -1;
}
ANALYZER_ON

static int app_open_http(struct app *a, struct err *err)
{
    struct http_client_options o = {
        .user_agent = "pivotal-sync/" PIVOTAL_SYNC_VERSION,
        .max_connections = 64,
        .max_connections_per_host = 32,
        .allow_private_hosts = config_bool(a->config, SETTING_ALLOW_PRIVATE_PROVIDER_HOSTS),
    };
    if (config_is_set(a->config, SETTING_PROVIDER_CA_FILE)) {
        o.ca_file = config_text(a->config, SETTING_PROVIDER_CA_FILE);
    }
    a->http = http_client_new(a->loop, &o, err);
    return a->http != NULL ? 0 : -1;
}

static int app_open_seal(struct app *a, struct err *err)
{
    if (!config_is_set(a->config, SETTING_SECRET_KEY)) {
        err_set(err, ERR_CONFIG,
                "SECRET_KEY is not set: 32 random bytes in base64 (openssl rand -base64 32)");
        return -1;
    }
    a->seal = seal_new(config_text(a->config, SETTING_SECRET_KEY), err);
    return a->seal != NULL ? 0 : -1;
}

int app_open(struct app *a, const char *program, uv_loop_t *loop, struct config *config,
             unsigned needs, struct err *err)
{
    char host[64] = "localhost";
    memset(a, 0, sizeof *a);
    a->program = program;
    a->loop = loop;
    a->config = config;
    a->shards = (int)config_int(config, SETTING_QUEUE_SHARDS);
    (void)gethostname(host, sizeof host - 1);
    snprintf(a->worker, sizeof a->worker, "%s:%d", host, (int)getpid());
    if (app_open_log(a, err) != 0 || ((needs & APP_SEAL) != 0 && app_open_seal(a, err) != 0) ||
        ((needs & APP_STORE) != 0 && app_open_store(a, (needs & APP_KEYS) != 0, err) != 0) ||
        ((needs & APP_QUEUE) != 0 && app_open_queue(a, needs, err) != 0) ||
        ((needs & APP_HTTP) != 0 && app_open_http(a, err) != 0)) {
        return -1;
    }
    if (a->store != NULL && a->seal != NULL) {
        a->connections = connection_cache_new(a->store, a->seal, CONNECTION_CACHE_MS);
        if (a->connections == NULL) {
            err_set(err, ERR_NOMEM, "out of memory");
            return -1;
        }
    }
    return 0;
}

void app_close(struct app *a)
{
    connection_cache_free(a->connections);
    http_client_free(a->http);
    if (a->queue != NULL) {
        queue_close(a->queue);
    }
    store_free(a->store);
    seal_free(a->seal);
    for (char **u = a->redis_urls; u != NULL && *u != NULL; u++) {
        free(*u);
    }
    free(a->redis_urls);
    free(a->families);
    free(a->objects);
    log_free(a->log);
    config_free(a->config);
    memset(a, 0, sizeof *a);
}

/* Settings of a provider: which hold its addresses and its app. */
struct app_settings {
    const char *provider;
    enum setting api_base, api_version, client_id, client_secret, token_url, app_id,
        developer_key;
};

static const struct app_settings app_settings[] = {
    {"hubspot", SETTING_HUBSPOT_API_BASE, SETTING_HUBSPOT_API_VERSION,
     SETTING_HUBSPOT_CLIENT_ID, SETTING_HUBSPOT_CLIENT_SECRET, SETTING_COUNT,
     SETTING_HUBSPOT_APP_ID, SETTING_HUBSPOT_DEVELOPER_KEY},
    {"stripe", SETTING_STRIPE_API_BASE, SETTING_STRIPE_API_VERSION, SETTING_STRIPE_CLIENT_ID,
     SETTING_STRIPE_SECRET_KEY, SETTING_STRIPE_TOKEN_URL, SETTING_COUNT, SETTING_COUNT},
};

void app_provider_conn(const struct app *a, const struct connection *c,
                       struct app_scratch *scratch, struct provider_conn *out)
{
    *out = (struct provider_conn){
        .api_base = "",
        .api_version = "",
        .account = c->account_id,
        .mode = c->mode,
        .access_token = c->access_token,
        .refresh_token = c->refresh_token,
        .client_id = "",
        .client_secret = "",
        .token_url = "",
        .app_id = "",
        .developer_key = "",
        .oauth_kind = config_text(a->config, SETTING_STRIPE_OAUTH),
        .scope_kind = c->scope_kind,
        .scope_id = c->scope_id,
        .properties = scratch->properties,
    };
    for (size_t i = 0; i < COUNT_OF(app_settings); i++) {
        const struct app_settings *s = &app_settings[i];
        if (strcmp(s->provider, c->provider->name) == 0) {
            out->api_base = config_text(a->config, s->api_base);
            out->api_version = config_text(a->config, s->api_version);
            out->client_id = config_text(a->config, s->client_id);
            if (config_list_count(a->config, s->client_secret) > 0) {
                struct slice newest = config_list_item(a->config, s->client_secret, 0);
                snprintf(scratch->client_secret, sizeof scratch->client_secret, "%.*s",
                         (int)newest.len_bytes, newest.bytes);
                out->client_secret = scratch->client_secret;
            }
            if (s->token_url != SETTING_COUNT) {
                out->token_url = config_text(a->config, s->token_url);
            }
            if (s->app_id != SETTING_COUNT) {
                out->app_id = config_text(a->config, s->app_id);
                out->developer_key = config_text(a->config, s->developer_key);
            }
        }
    }
    for (int i = 0;
         c->mapping != NULL && i < c->mapping->count && i < (int)COUNT_OF(scratch->properties);
         i++) {
        scratch->properties[out->property_count++] = c->mapping->fields[i].source;
    }
}
