/* The same picture again and again, until Ctrl-C. */
#ifndef CMD_WATCH_H
#define CMD_WATCH_H

#include "cmd/cmd.h"

#include <stdio.h>

/** Write the picture as it is now. */
typedef int watch_fn(struct cmd *c, FILE *out, struct err *err);

/** Draw it each interval_ms: in place on a terminal, one after the other elsewhere. Returns
 * only with an error; what PostgreSQL or Redis refuse for now is waited for. */
int watch_run(struct cmd *c, int64_t interval_ms, watch_fn *fn, struct err *err) MUST_USE;

#endif
