/* What every program opens at its start and hands down: settings, log, PostgreSQL, Redis, HTTP.
 */
#ifndef CORE_APP_H
#define CORE_APP_H

#include "common/config.h"
#include "common/http_client.h"
#include "common/log.h"
#include "common/queue.h"
#include "common/seal.h"
#include "common/store.h"
#include "core/connection.h"

#include <uv.h>

#define PIVOTAL_SYNC_VERSION "0.1.0"

/* Limits that an answer named, as they were last passed on to Redis. */
struct app_told {
    uint64_t key; /* of account and family */
    int64_t rate; /* calls in 1000 s */
    int64_t daily_left, at_mono_ms;
};

struct meters;

struct app {
    const char *program; /* static: "worker" */
    uv_loop_t *loop;
    struct config *config;
    struct log *log;
    struct store *store; /* NULL unless asked for, like the rest */
    struct queue *queue;
    struct http_client *http;
    struct seal *seal;
    struct connection_cache *connections;
    struct token_flight *token_flights; /* refreshes that tasks of this process wait for */
    char worker[96];                    /* host:pid, for leases and log rows */
    int shards;
    struct meters *meters; /* NULL = nobody asks */
    int64_t job_max_ms;    /* no further call of a job after so long; 0 = no limit */
    struct queue_family *families;
    struct queue_object *objects;
    char **redis_urls;
    struct app_told told[32];
};

enum app_needs {
    APP_STORE = 1,
    APP_QUEUE = 2,
    APP_HTTP = 4,
    APP_SEAL = 8, /* SECRET_KEY must be set */
    APP_ALL = 15,
    APP_QUICK = 16, /* Redis has 3 s to answer and not 5: somebody outside waits 5 s for us */
    APP_KEYS = 32,  /* its statements look up by keys (store_options.generic_plans) */
};

/**
 * Open what the settings describe; connects to nothing yet. The config is taken: app_close()
 * frees it. On -1 err says which setting to mend (ERR_CONFIG) and app_close() is still due.
 */
int app_open(struct app *a, const char *program, uv_loop_t *loop, struct config *config,
             unsigned needs, struct err *err) MUST_USE;
void app_close(struct app *a);

/** The connection as its provider sees it; everything lent by a, c and scratch. */
struct app_scratch {
    const char *properties[512];
    char client_secret[256]; /* the newest, while the setting holds several */
};
void app_provider_conn(const struct app *a, const struct connection *c,
                       struct app_scratch *scratch, struct provider_conn *out);

#endif
