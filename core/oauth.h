/* The OAuth walk of a person: from our start page to the provider's consent page and back.
 *
 * A walk in progress is one row that holds only a hash, of its state and of what the browser
 * keeps that began it: good for half an hour, for one return, in that browser. What the walk
 * brings is connect_oauth()'s. */
#ifndef CORE_OAUTH_H
#define CORE_OAUTH_H

#include "common/sign.h"
#include "core/connect.h"

/** Append where browsers find the admin program: ADMIN_PUBLIC_URL, else ADMIN_LISTEN when it
 * names a host and a port. ERR_CONFIG when neither does. */
int oauth_base(const struct config *config, struct buf *out, struct err *err) MUST_USE;

/**
 * Append the URL at which a walk begins, for a person to open. provider is a name; workspace
 * and mode may be NULL or "" and are left out then.
 */
int oauth_start_url(const struct config *config, const char *provider, const char *workspace,
                    const char *mode, struct buf *out, struct err *err) MUST_USE;

/**
 * Begin a walk: makes the connection's row when there is none, keeps the hash of a new state,
 * and appends the URL of the provider's consent page to location. provider may be "stripe:test"
 * or the id of a connection too; mode NULL or "" = that of our app's secret, which is all that
 * the token endpoint can give. browser receives the text that the browser has to show at the
 * return: give it as a cookie, nowhere else. Errors:
 *   ERR_NOT_FOUND  no such workspace, provider or connection
 *   ERR_INVALID    a mode that the provider or our app does not have
 *   ERR_CONFIG     client id or ADMIN_PUBLIC_URL is not set
 */
int oauth_begin(struct app *app, const char *provider, const char *workspace, const char *mode,
                const struct actor *who, struct buf *location, char browser[SIGN_NONCE_BYTES],
                struct err *err) MUST_USE;

/* A walk that came back. */
struct oauth_walk {
    int64_t connection_id;
    char workspace[64], mode[8], actor[128], redirect_uri[1024];
};

/**
 * Take the walk of a state and what the browser shows: it is gone afterwards, whatever follows.
 * Returns 1, 0 when there is none (never begun, over, another provider's, or another browser's,
 * which leaves it as it is), or -1 with err set.
 */
int oauth_take(struct app *app, const char *provider, const char *state, const char *browser,
               struct oauth_walk *out, struct err *err) MUST_USE;

/** A walk ended without a token: removes the row if it never had one and no other walk is on.
 * Errors are logged. */
void oauth_leave(struct app *app, const struct oauth_walk *w);

#endif
