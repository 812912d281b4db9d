/* What a program counts while it works, as metrics. Every function takes NULL for "nobody
 * asks". Labels are of closed sets: no ids. */
#ifndef CORE_METERS_H
#define CORE_METERS_H

#include "common/metrics.h"
#include "core/attempt.h"

struct meters;

/** The families of a worker, in m (lent). NULL without memory. */
struct meters *meters_new(struct metrics *m);
void meters_free(struct meters *m);

/** A call of a provider ended: template of the path, HTTP status (0 = no answer). */
void meters_call(struct meters *m, const char *provider, const char *endpoint, int status,
                 int64_t took_us);
/** Work waited for a family of quota. */
void meters_throttled(struct meters *m, const char *provider, const char *family, int64_t ms);
/** Tries as they were logged; rows of one connection. */
void meters_attempts(struct meters *m, const char *provider, const struct attempt *rows, int n);
/** Rows of records by what became of them. */
void meters_rows(struct meters *m, const char *object, int64_t created, int64_t updated,
                 int64_t unchanged);

#endif
