/* Who is asking: a bearer token, the session cookie of the page, or the identity that a trusted
 * proxy vouches for. */
#ifndef ADMIN_SESSION_H
#define ADMIN_SESSION_H

#include "common/http_server.h"
#include "core/access.h"
#include "core/app.h"

enum { SESSION_LIFE_S = 12 * 3600, SESSION_TEXT_BYTES = 64 };

struct sessions;
/** NULL with ERR_NOMEM. */
struct sessions *sessions_new(struct app *app, struct err *err) MUST_USE;
void sessions_free(struct sessions *s);

/* What a request shows of itself; copied before anything waits. */
struct session_claim {
    bool by_cookie; /* or by a proxy: the browser shows it by itself, so a change needs what
                       only our own page can send */
    char token[ACCESS_TOKEN_MAX_BYTES * 2], session[SESSION_TEXT_BYTES];
    char identity[ACCESS_NAME_MAX_BYTES], peer[NET_ADDRESS_TEXT_BYTES];
};

/** Read it off the request. */
void session_claim_read(const struct sessions *s, struct http_exchange *x,
                        struct session_claim *out);

/** The value of a cookie; false when there is none of that name, or it does not fit. */
bool session_cookie(struct http_exchange *x, const char *name, char *out, size_t out_bytes);

/** Who that is. ERR_AUTH when nobody or unknown, ERR_RATE_LIMITED after too many wrong ones. */
int session_who(struct sessions *s, const struct session_claim *claim, struct access *out,
                struct err *err) MUST_USE;

/** Sign in with a token: the text of the cookie header. Errors as session_who(). */
int session_begin(struct sessions *s, const char *token, const char *peer, struct access *out,
                  char cookie[256], struct err *err) MUST_USE;

/** Sign out: the session is gone; cookie is the header that takes it away. */
int session_end(struct sessions *s, const struct session_claim *claim, char cookie[256],
                struct err *err) MUST_USE;

/** Does a request come from our own page, as far as the browser says? False with a sentence.
 * Origin and Sec-Fetch-Site, and for changes by cookie the header X-Pivotal-Sync. */
bool session_is_same_site(const struct sessions *s, struct http_exchange *x, bool by_cookie,
                          const char **why);

#endif
