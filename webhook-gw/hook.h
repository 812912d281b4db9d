/* One delivery: judged, put, answered. */
#ifndef WEBHOOK_GW_HOOK_H
#define WEBHOOK_GW_HOOK_H

#include "common/config.h"
#include "common/http_server.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/queue.h"
#include "webhook-gw/routes.h"

struct hooks;

struct hooks_options {
    struct queue *queue;
    struct routes *routes;
    struct metrics *metrics;
    const struct log *log;
    const struct config *config; /* read in hooks_new and hooks_reload only; the rest lent */
};

/** NULL with ERR_NOMEM or ERR_CONFIG. */
struct hooks *hooks_new(const struct hooks_options *o, struct err *err) MUST_USE;
/** Take the secrets and PUBLIC_URL of a config read anew; on -1 the old ones stay. */
int hooks_reload(struct hooks *h, const struct config *config, struct err *err) MUST_USE;
/** Not while deliveries are in flight (hooks_in_flight). */
void hooks_free(struct hooks *h);
int hooks_in_flight(const struct hooks *h);

/** Handler of POST /webhooks/{provider} and /webhooks/{provider}/{connection_id}. */
void hooks_handle(struct hooks *h, struct http_exchange *x);

#endif
