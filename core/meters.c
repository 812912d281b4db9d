#include "core/meters.h"

#include <stdlib.h>

struct meters {
    struct metric_family *attempts, *duration, *wait, *lag, *calls, *throttled, *rows;
};

static struct metric_family *seconds(struct metrics *m, const char *name, const char *labels,
                                     const char *help)
{
    return metrics_family(m, METRIC_HISTOGRAM, name, labels, help);
}

static struct metric_family *counter(struct metrics *m, const char *name, const char *labels,
                                     const char *help)
{
    return metrics_family(m, METRIC_COUNTER, name, labels, help);
}

struct meters *meters_new(struct metrics *m)
{
    struct meters *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->attempts = counter(m, "attempts_total", "provider,kind,status,error_type",
                          "Tries at units of work");
    t->duration =
        seconds(m, "attempt_duration_seconds", "provider,kind", "How long tries took");
    t->wait = seconds(m, "queue_wait_seconds", "provider,kind", "How long units had waited");
    t->lag = seconds(m, "webhook_lag_seconds", "provider",
                     "From the provider's event to the committed row");
    t->calls = seconds(m, "provider_request_duration_seconds", "provider,endpoint,status_class",
                       "Calls of providers");
    t->throttled = counter(m, "provider_throttled_seconds_total", "provider,policy",
                           "Time that work waited for a provider's limit");
    t->rows =
        counter(m, "rows_upserted_total", "object,effect", "Records by what became of them");
    return t;
}

void meters_free(struct meters *m)
{
    free(m);
}

void meters_call(struct meters *m, const char *provider, const char *endpoint, int status,
                 int64_t took_us)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    if (m != NULL) {
        const char *of = classes[status >= 100 && status < 600 ? status / 100 : 0];
        metric_observe(METRIC(m->calls, provider, endpoint, of), (double)took_us / 1e6);
    }
}

void meters_throttled(struct meters *m, const char *provider, const char *family, int64_t ms)
{
    if (m != NULL && ms > 0) {
        metric_add(METRIC(m->throttled, provider, family), (double)ms / 1000.0);
    }
}

void meters_attempts(struct meters *m, const char *provider, const struct attempt *rows, int n)
{
    static const char *const kinds[] = {"record", "chunk", "check"};
    for (int i = 0; m != NULL && i < n; i++) {
        const struct attempt *a = &rows[i];
        const struct error_info *info = error_info(a->failure.type);
        const char *kind = kinds[a->kind];
        metric_inc(METRIC(m->attempts, provider, kind, attempt_status_names[a->status],
                          info != NULL ? info->code : ""));
        metric_observe(METRIC(m->duration, provider, kind), (double)a->duration_ms / 1000.0);
        metric_observe(METRIC(m->wait, provider, kind), (double)a->queue_wait_ms / 1000.0);
        if (a->lag_ms >= 0) {
            metric_observe(METRIC(m->lag, provider), (double)a->lag_ms / 1000.0);
        }
    }
}

void meters_rows(struct meters *m, const char *object, int64_t created, int64_t updated,
                 int64_t unchanged)
{
    if (m != NULL) {
        metric_add(METRIC(m->rows, object, "created"), (double)created);
        metric_add(METRIC(m->rows, object, "updated"), (double)updated);
        metric_add(METRIC(m->rows, object, "unchanged"), (double)unchanged);
    }
}
