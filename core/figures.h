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

#endif
