/* Access tokens: refreshed by one process at a time, stored before they are used. */
#ifndef CORE_TOKEN_H
#define CORE_TOKEN_H

#include "core/app.h"
#include "provider/record.h"

enum token_result {
    TOKEN_SAME, /* a static token: there is nothing to renew */
    TOKEN_NEW,  /* *conn is now a fresh connection with the new token (the old one is freed) */
    TOKEN_OTHERS, /* the same, but somebody else renewed it, perhaps a while ago */
    TOKEN_FAILED, /* *why says what the token endpoint answered */
};

/** Renew the token of *conn, or wait for whoever is renewing it. No transaction is open
 * meanwhile: a lease on the credential row keeps other processes away. Of the tasks of one
 * process that wait, one asks PostgreSQL for the end of it. */
enum token_result token_renew(struct app *app, struct connection **conn, struct failure *why);

/** True while tasks of this process wait for a refresh of the connection's token: whoever is
 * not among them yet comes back later rather than being refused and waiting, too. */
bool token_awaited(const struct app *app, int64_t connection_id);

/**
 * Renew a token that is about to expire, before a call needs it: two minutes ahead, or a
 * quarter of its life. While it is still good nobody waits for whoever is renewing it, and a
 * token endpoint that is down is no failure. TOKEN_SAME: go on with the token there is.
 */
enum token_result token_ahead(struct app *app, struct connection **conn, struct failure *why);

/** Replace the Authorization header of a request that is already planned. */
int token_put_in(struct http_request *req, const char *access_token, struct err *err) MUST_USE;

/** Store a token pair, sealed; raises the credential's version. expires_in_s 0 = never. */
int token_store(struct app *app, int64_t connection_id, const char *kind,
                const char *access_token, const char *refresh_token, int64_t expires_in_s,
                struct err *err) MUST_USE;

#endif
