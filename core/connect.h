/* Making a connection, or giving an existing one a new credential: the row, mapping, scope,
 * links and waiting work are kept. */
#ifndef CORE_CONNECT_H
#define CORE_CONNECT_H

#include "core/actions.h"
#include "core/lookup.h"

#include <jansson.h>

struct connect_request {
    const char *workspace;      /* NULL = the only one */
    const char *provider;       /* "hubspot", "stripe" */
    const char *token;          /* private-app token or key */
    const char *account;        /* expected account id, NULL = any */
    const char *webhook_secret; /* of the connection's own endpoint, NULL = none or as it was */
};

struct connect_result {
    int64_t connection_id, run_id;
    int64_t released; /* units that stood still and go on now */
    bool existed;
    char account[64], name[128], mode[8];
    char bound[64], bound_name[128]; /* the account it belonged to before; "" = none */
};

/** The row of (workspace, provider, mode), made if it is not there: disconnected until a
 * credential proved good. workspace NULL = the only one. */
int connect_row(struct app *app, const char *workspace, const char *provider, const char *mode,
                int64_t *connection_id, bool *existed, struct err *err) MUST_USE;

/**
 * Check the token with one call, store it, and let waiting work go on. Stripe starts its first
 * full sync; HubSpot does after its scope is set. Errors:
 *   ERR_AUTH    the provider refuses the token
 *   ERR_DENIED  it belongs to another account than expected
 */
int connect_token(struct app *app, const struct connect_request *q, const struct actor *who,
                  struct connect_result *out, struct err *err) MUST_USE;

/**
 * The end of an OAuth walk: exchange the code and go on as connect_token() does, for a row that
 * is there (core/oauth.h). Nothing changes on -1. Errors: those of connect_token(), and
 *   ERR_AUTH    the provider refuses the code
 *   ERR_CONFIG  it refuses our client id or secret
 *   ERR_DENIED  another account than the one bound (out->account, out->bound), or mode
 */
int connect_oauth(struct app *app, int64_t connection_id, const char *code,
                  const char *redirect_uri, const struct actor *who, struct connect_result *out,
                  struct err *err) MUST_USE;

/** Forget the credential, keep everything else. */
int connect_disconnect(struct app *app, const struct connection *c, const struct actor *who,
                       struct err *err) MUST_USE;

struct scope_result {
    char name[256];
    int64_t size;       /* members, as the provider says; -1 = it does not */
    int64_t run_id;     /* the full sync that was started; 0 = none */
    char dropped[1024]; /* lines of the default mapping whose property this account has not */
};

/** Choose what is mirrored, keep its name and size, and start a full sync, in place of one that
 * is live. kind: of the
 * provider's scope_kinds; id: "" with "all", several products or lookup keys with commas
 * between them. ERR_INVALID for another kind, ERR_NOT_FOUND when there is no such thing. */
int connect_scope(struct app *app, const struct connection *c, const char *kind, const char *id,
                  const struct actor *who, struct scope_result *out, struct err *err) MUST_USE;

/** Run an ask whose result is facts, which the caller owns. NULL with err: what the provider
 * said, in the words of the error types. */
json_t *connect_ask(struct app *app, struct connection *c, const struct ask *ask,
                    struct err *err) MUST_USE;

/** A list as ASK_SCHEMA tells it: ERR_INVALID when it holds no companies, ERR_NOT_FOUND when it
 * was deleted. NULL (no list at all) is fine. */
int connect_list_refused(const json_t *list, struct err *err) MUST_USE;

#endif
