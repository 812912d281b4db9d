/* What the listener turned away before a handler saw it: counted by reason, and told in the log
 * at most once in ten seconds, however many there are. */
#ifndef WEBHOOK_GW_REFUSED_H
#define WEBHOOK_GW_REFUSED_H

#include "common/http_server.h"
#include "common/log.h"
#include "common/metrics.h"

enum { REFUSED_REASONS = 9 };

/* Zero-initialise; part of its owner. */
struct refused {
    struct metric *counters[REFUSED_REASONS];
    int64_t counted[REFUSED_REASONS]; /* as the counters have it */
    int64_t told[REFUSED_REASONS];    /* as the log has it */
    int64_t told_at_mono_ms;
};

/** Make the counters; m is lent. */
void refused_open(struct refused *r, struct metrics *m);
/** Bring the counters up to what the server says. */
void refused_count(struct refused *r, const struct http_server_counts *now);
/** The same, and a line when there is something new and the last line is long ago. */
void refused_tell(struct refused *r, const struct http_server_counts *now,
                  const struct log *log);

#endif
