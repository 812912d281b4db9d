/* What the queue holds and what is left of the providers' quotas, once for the command and the
 * page. */
#ifndef CORE_FIGURES_H
#define CORE_FIGURES_H

#include "core/app.h"

#include <jansson.h>

/** {waiting: {lane: n}, delayed, parked, buried, leased, oldest_age_s, workers}; connection_id
 * 0 = of all. The caller owns it; NULL with err. */
json_t *figures_queue(struct app *app, int64_t connection_id, struct err *err) MUST_USE;

/** An array of quota buckets, and of the month's reads where a provider rations them. The
 * caller owns it; NULL with err. */
json_t *figures_quota(struct app *app, struct err *err) MUST_USE;

/** What of it belongs to the account of one connection: row has connection_id, provider,
 * account_id and mode as the views name them. The caller owns it. */
json_t *figures_quota_of(const json_t *quota, const json_t *row) MUST_USE;

/** Where no call of one of these buckets may be made for now: set throttled_until (ISO) of row,
 * and throttled_why to the title of the error type that closed it. */
void figures_set_throttled(json_t *row, const json_t *buckets);

#endif
