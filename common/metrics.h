/* Counters, gauges and histograms, written as Prometheus text.
 *
 * A family is a name with its label names; a metric is one series of it, found once by its
 * label values and then counted by handle. Labels are of closed sets (provider, kind, status):
 * no record, customer or workspace ids. A family that grows past METRICS_SERIES_MAX counts
 * further series under "other". All functions take NULL for what memory could not make. */
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include "common/buf.h"
#include "common/err.h"

#include <stdint.h>

enum { METRICS_SERIES_MAX = 500, METRICS_LABELS_MAX = 4 };
enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metrics;
struct metric_family;
struct metric;

/** With pivotal_sync_build_info{version} and the process_* metrics in it. */
struct metrics *metrics_new(const char *version, struct err *err) MUST_USE;
void metrics_free(struct metrics *m);

/**
 * A family. name: "attempts_total", the prefix pivotal_sync_ is added; labels: "provider,kind"
 * or ""; both lent, static. Asked for again, the same one comes back. Histograms have the
 * buckets of OpenTelemetry's durations, in seconds.
 */
struct metric_family *metrics_family(struct metrics *m, enum metric_kind kind, const char *name,
                                     const char *labels, const char *help);

/** The series with these label values, one for each label. Lives as long as m. */
struct metric *metric_with(struct metric_family *f, const char *const *values);
#define METRIC(family, ...) metric_with((family), (const char *const[]){__VA_ARGS__, NULL})
/** The series of a family without labels. */
struct metric *metric_plain(struct metric_family *f);

void metric_add(struct metric *c, double by); /* counter (by >= 0) or gauge */
void metric_inc(struct metric *c);
void metric_set(struct metric *g, double value); /* gauge */
void metric_observe(struct metric *h, double seconds);
/** A gauge that is left out of the text until it is set again (nothing known). */
void metric_unset(struct metric *g);

/** Called before each metrics_write() to bring gauges up to date. At most 16. */
typedef void metrics_refresh_fn(void *arg);
int metrics_on_write(struct metrics *m, metrics_refresh_fn *fn, void *arg);

/** Append everything; -1 when out is full. Served as METRICS_CONTENT_TYPE. */
int metrics_write(struct metrics *m, struct buf *out);
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

#endif
