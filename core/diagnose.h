/* The article's four checks, run by the software itself: banner, two clocks, errors in the log,
 * the one customer. Stops at the first cause and says its mend. */
#ifndef CORE_DIAGNOSE_H
#define CORE_DIAGNOSE_H

#include "core/app.h"
#include "core/findings.h"

/**
 * Check one connection; customer_id 0 = no particular customer. The second check asks the
 * provider by way of a catch-up (up to wait_ms), so that a quiet account is not called broken.
 * Returns 0 with *out filled, or -1 with err set when the checks themselves could not be made.
 */
int diagnose_connection(struct app *app, const struct connection *c, int64_t customer_id,
                        int64_t wait_ms, struct findings *out, struct err *err) MUST_USE;

/** "Why is this record missing?": ten ordered checks, live. object, id: of the provider. */
int diagnose_record(struct app *app, const struct connection *c, const char *object,
                    const char *id, struct findings *out, struct err *err) MUST_USE;

#endif
