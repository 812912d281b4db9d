/* Work that was set aside because whoever did it died, each time. Nobody is left to write its
 * log row, so the scheduler does. */
#ifndef CORE_POISON_H
#define CORE_POISON_H

#include "core/app.h"

/**
 * A log row (poison_job) for every unit that the queue has buried and that has none since. A
 * record is marked failing; a chunk counts as failed, so that its run can end, and leaves the
 * queue. *logged = how many are new. Several schedulers may do it at once.
 */
int poison_log(struct app *app, int64_t *logged, struct err *err) MUST_USE;

#endif
