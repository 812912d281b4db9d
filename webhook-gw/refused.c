#include "webhook-gw/refused.h"

#include "common/clock.h"

#include <stddef.h>
#include <stdio.h>

enum { TELL_EVERY_MS = 10 * 1000, LINE_MAX_BYTES = 512 };

static const struct {
    const char *reason;
    size_t at;
} rows[REFUSED_REASONS] = {
    {"connections_of_one_address", offsetof(struct http_server_counts, refused_address)},
    {"ambiguous_framing", offsetof(struct http_server_counts, refused_framing)},
    {"too_large", offsetof(struct http_server_counts, refused_large)},
    {"bodies_of_one_address", offsetof(struct http_server_counts, refused_share)},
    {"overload", offsetof(struct http_server_counts, refused_overload)},
    {"slow_headers", offsetof(struct http_server_counts, cut_headers)},
    {"slow_body", offsetof(struct http_server_counts, cut_body)},
    {"trickling_body", offsetof(struct http_server_counts, cut_trickle)},
    {"slow_reader", offsetof(struct http_server_counts, cut_send)},
};

static int64_t value(const struct http_server_counts *counts, int i)
{
    return *(const int64_t *)(const void *)((const char *)counts + rows[i].at);
}

void refused_open(struct refused *r, struct metrics *m)
{
    struct metric_family *f =
        metrics_family(m, METRIC_COUNTER, "webhook_refused_total", "reason",
                       "Requests and connections turned away before a delivery was looked at");
    for (int i = 0; i < REFUSED_REASONS; i++) {
        r->counters[i] = METRIC(f, rows[i].reason);
    }
}

void refused_count(struct refused *r, const struct http_server_counts *now)
{
    for (int i = 0; i < REFUSED_REASONS; i++) {
        metric_add(r->counters[i], (double)(value(now, i) - r->counted[i]));
        r->counted[i] = value(now, i);
    }
}

void refused_tell(struct refused *r, const struct http_server_counts *now,
                  const struct log *log)
{
    char line[LINE_MAX_BYTES] = "";
    size_t n = 0;
    int64_t now_mono_ms = clock_mono_ms();
    refused_count(r, now);
    if (r->told_at_mono_ms != 0 && now_mono_ms - r->told_at_mono_ms < TELL_EVERY_MS) {
        return;
    }
    for (int i = 0; i < REFUSED_REASONS; i++) {
        int64_t more = value(now, i) - r->told[i];
        if (more > 0 && n < sizeof line) {
            int added = snprintf(line + n, sizeof line - n, "%s%s %lld", n > 0 ? ", " : "",
                                 rows[i].reason, (long long)more);
            n += added > 0 ? (size_t)added : 0;
            r->told[i] = value(now, i);
        }
    }
    if (n > 0) {
        r->told_at_mono_ms = now_mono_ms;
        log_warn(log, "http.refused", "turned away since the last line: %s", line);
    }
}
