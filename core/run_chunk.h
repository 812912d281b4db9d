/* Inside of core/run: the chunks. Programs include core/run.h. */
#ifndef CORE_RUN_CHUNK_H
#define CORE_RUN_CHUNK_H

#include "core/run.h"

/** In the transaction that holds the run's lock: chunks that ask once more for what a complete
 * pass did not see, or none when the removal is too large (then the run's error_code is
 * mass_removal_guard). *made = how many. Marks the run swept. */
int run_sweep(struct store_tx *tx, int64_t run_id, int64_t connection_id, const char *provider,
              int64_t first_fetch_no, int64_t *made, struct err *err) MUST_USE;

/** When the run has ended: what the provider says it holds beside what is here, into
 * psync.completeness; a difference gets a log row, mirror_incomplete. */
int run_count(struct store_tx *tx, int64_t run_id, int64_t connection_id, const char *provider,
              struct err *err) MUST_USE;

#endif
