/* The endpoint at a provider that brings a connection's deliveries. */
#ifndef CORE_WEBHOOK_H
#define CORE_WEBHOOK_H

#include "core/actions.h"

#include <jansson.h>

struct webhook_state {
    bool supported; /* false: it is kept in the provider's app, not by calls */
    bool found, enabled, version_ok, events_ok, secret_known;
    char url[512], id[256], api_version[64];
    char missing[1024]; /* event types that are not switched on */
    char problem[256];  /* one sentence; "" = all is well */
};

/** Where its deliveries go: PUBLIC_URL and the connection, or the app's one address. ERR_CONFIG
 * without PUBLIC_URL. */
int webhook_url(const struct app *app, const struct connection *c, char *out, size_t out_bytes,
                struct err *err) MUST_USE;

/** Ask about it. ERR_CONFIG without PUBLIC_URL, else as connect_ask(). */
int webhook_status(struct app *app, struct connection *c, struct webhook_state *out,
                   struct err *err) MUST_USE;

/** True when the endpoint was made by webhook_repair(), or belongs to our app. False also when
 * that cannot be told. */
bool webhook_is_ours(struct app *app, const struct connection *c);

/**
 * Make it what it should be: made or switched on, with our API version and the event types of
 * the mirrored objects; a secret that is new is stored beside the one before. Where something
 * changed, a catch-up finds what was missed. anew: make a new one whatever it is.
 */
int webhook_repair(struct app *app, struct connection *c, bool anew, const struct actor *who,
                   struct webhook_state *out, struct err *err) MUST_USE;

/**
 * Another signing secret, kept before the one until now, which stays good for deliveries on
 * their way. secret: as somebody rolled it at the provider; NULL = make a new endpoint, the old
 * one is deleted after it. ERR_INVALID where the secret is that of our app.
 */
int webhook_rotate(struct app *app, struct connection *c, const char *secret,
                   const struct actor *who, struct webhook_state *out, struct err *err)
    MUST_USE;

struct webhook_test {
    char url[512];
    int status; /* of the answer; 0 = none came */
    int64_t took_ms;
    char problem[400]; /* one sentence; "" = taken */
};
/** Post an event of ours, signed as the provider would sign it, to that address. It says
 * nothing to look at, and shows among the deliveries as ignored. ERR_INVALID or ERR_CONFIG
 * without a secret; what goes wrong on the way is no error but the problem. */
int webhook_test(struct app *app, const struct connection *c, struct webhook_test *out,
                 struct err *err) MUST_USE;

/** The file by which the app subscribes to what this connection mirrors (HubSpot:
 * webhooks-hsmeta.json). ERR_INVALID for a provider without one. */
json_t *webhook_manifest(struct app *app, const struct connection *c, struct err *err) MUST_USE;

#endif
