/* What an answer means for everyone who shares the provider's account: limits met, limits told,
 * health. */
#ifndef CORE_LIMIT_H
#define CORE_LIMIT_H

#include "core/app.h"

/**
 * Tell the limiter and the breaker how a call ended (why->type ET_NONE: well). Limits that the
 * answer names take the place of ours. When the day's calls are used up the account is closed
 * until midnight in its own zone, and why->wait_ms says how long that is, unless the provider
 * said itself. Errors are logged: the call itself is not changed by them.
 */
void limit_tell(struct app *app, const struct connection *c, const struct http_request *req,
                const struct http_response *resp, struct failure *why);

#endif
