/* The gateway's snapshot of connections and their webhook secrets, so that a delivery needs no
 * PostgreSQL: read from the view psync.gateway_route, kept when PostgreSQL is away. */
#ifndef WEBHOOK_GW_ROUTES_H
#define WEBHOOK_GW_ROUTES_H

#include "common/log.h"
#include "common/queue.h"
#include "common/seal.h"
#include "common/secret.h"
#include "common/store.h"
#include "provider/provider.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum { ROUTE_SECRETS_MAX = 4 };

struct route {
    int64_t connection_id;
    const struct provider *provider;
    char mode[8];
    char account[64];
    int shard;
    bool disconnected;
    int secret_count;
    struct secret *secrets[ROUTE_SECRETS_MAX];
};

struct routes;

struct routes_options {
    uv_loop_t *loop;
    struct store *store;
    const struct seal *seal;
    struct queue *queue;
    const struct log *log; /* all lent */
};

/** Start to read, and to watch for changes. NULL with ERR_NOMEM. */
struct routes *routes_new(const struct routes_options *o, struct err *err) MUST_USE;
/** Stop watching: whoever waits for a second look is called. */
void routes_stop(struct routes *r);
/** Free, once routes_stopped() says so. */
void routes_free(struct routes *r);
bool routes_stopped(const struct routes *r);

/** False before the first snapshot: nothing can be judged. */
bool routes_loaded(const struct routes *r);
/** The connection, or NULL. Lent until the next turn of the loop, like all of these. */
const struct route *routes_by_id(const struct routes *r, int64_t connection_id);
/** The first connection of an account, any mode; the others follow it in memory up to and
 * without routes_end(), as long as routes_same_account(). NULL = none. */
const struct route *routes_by_account(const struct routes *r, const struct provider *provider,
                                      const char *account);
bool routes_same_account(const struct route *a, const struct route *b);
const struct route *routes_end(const struct routes *r);

/**
 * The snapshot did not know what a delivery named: call back once it has been read anew (at
 * most one reading a second, shared by all who wait). False when waiting is no use: PostgreSQL
 * is away, too many wait, or the gateway is ending.
 */
typedef void routes_cb(void *arg);
bool routes_look_again(struct routes *r, routes_cb *cb, void *arg);

/** Cheap: has the counter moved that the last put brought? Then a reading begins. */
void routes_notice(struct routes *r);

/** Is the snapshot known to be old, and PostgreSQL away so that it stays so? Then what it does
 * not know may well exist. */
bool routes_outdated(const struct routes *r);

/** A put failed: ask Redis at once whether it is there. */
void routes_doubt_redis(struct routes *r);

/* For /readyz and the log; Redis that is known to be away need not be waited for. */
bool routes_redis_ok(const struct routes *r, const char **reason);
bool routes_postgres_ok(const struct routes *r, const char **reason);
/** The instant by which signatures are judged: the median of our clock, Redis' and
 * PostgreSQL's, as they last were apart; ours until both are known. */
int64_t routes_now_ms(const struct routes *r);
/** False when two of the three are over a minute apart; reason names which. */
bool routes_clocks_ok(const struct routes *r, const char **reason);
/** How far the two of them are apart that differ most; -1 = none but ours is known. */
int64_t routes_clocks_apart_ms(const struct routes *r);
int routes_count(const struct routes *r);
int64_t routes_age_ms(const struct routes *r);

#endif
