/* What the scheduler knows of the whole, as metrics: queue, connections, clocks, records. */
#include "scheduler/scheduler.h"

#include "common/metrics_server.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct figures {
    struct metrics *metrics;
    struct metrics_server *server;
    struct metric_family *jobs, *oldest, *workers, *state, *incremental, *full, *stale,
        *progress, *records, *quota;
    struct metric *leases;
    int64_t records_read_turns;
};

enum { LIMITS_MAX = 64, QUOTA_MAX_BYTES = 8 << 20 };
enum { RECORDS_EVERY_TURNS = 12 }; /* counting records reads an index of all of them */

static struct metric_family *gauge(struct figures *f, const char *name, const char *labels,
                                   const char *help)
{
    return metrics_family(f->metrics, METRIC_GAUGE, name, labels, help);
}

struct figures *figures_open(struct app *app, struct err *err)
{
    struct figures *f = calloc(1, sizeof *f);
    if (f == NULL || (f->metrics = metrics_new(PIVOTAL_SYNC_VERSION, err)) == NULL) {
        free(f);
        return NULL;
    }
    f->jobs = gauge(f, "queue_jobs", "queue,state", "Units of work by lane and state");
    f->oldest =
        gauge(f, "queue_oldest_job_age_seconds", "queue", "Age of the oldest waiting unit");
    f->workers = gauge(f, "workers", "state", "Worker processes seen in the last minute");
    f->state = gauge(f, "connection_state", "provider,state", "Connections in this state");
    f->incremental =
        gauge(f, "last_incremental_timestamp_seconds", "provider",
              "When the webhook channel was last known good; the oldest connection");
    f->full = gauge(f, "last_full_success_timestamp_seconds", "provider",
                    "When a full sync last completed; the oldest connection");
    f->stale = gauge(f, "incremental_stale", "provider",
                     "1 while a connection's webhook channel is stale in its business hours");
    f->progress = gauge(f, "full_sync_progress_ratio", "provider",
                        "Progress of the slowest live full sync");
    f->records = gauge(f, "records", "provider,state", "Records of the mirror by health");
    f->quota = gauge(f, "quota_remaining_ratio", "provider,window",
                     "What is left of a quota now; the account with the least");
    f->leases = metric_plain(metrics_family(f->metrics, METRIC_COUNTER, "leases_expired_total",
                                            "", "Leases that ran out: a worker died or hung"));
    const char *where = config_text(app->config, SETTING_METRICS_LISTEN);
    if (where[0] != '\0' && strcmp(where, "off") != 0) {
        f->server = metrics_server_new(app->loop, where, "pivotal-sync-scheduler", f->metrics,
                                       NULL, NULL, err);
        if (f->server == NULL) {
            figures_close(f);
            return NULL;
        }
    }
    return f;
}

void figures_close(struct figures *f)
{
    if (f != NULL) {
        metrics_server_free(f->server);
        metrics_free(f->metrics);
        free(f);
    }
}

void figures_lease_lost(struct figures *f, int64_t n)
{
    metric_add(f->leases, (double)n);
}

static int figures_queue(struct scheduler *s, struct err *err)
{
    struct figures *f = s->figures;
    struct queue_stats q;
    if (queue_stats(s->app->queue, 0, &q, err) != 0) {
        return -1;
    }
    for (int i = 0; i < LANE_COUNT; i++) {
        metric_set(METRIC(f->jobs, lane_names[i], "waiting"), (double)q.waiting[i]);
    }
    metric_set(METRIC(f->jobs, "all", "delayed"), (double)q.delayed);
    metric_set(METRIC(f->jobs, "all", "parked"), (double)q.parked);
    metric_set(METRIC(f->jobs, "all", "buried"), (double)q.buried);
    metric_set(METRIC(f->jobs, "all", "leased"), (double)q.leased);
    metric_set(METRIC(f->oldest, "all"), (double)q.oldest_age_ms / 1000.0);
    metric_set(METRIC(f->workers, "alive"), (double)q.workers);
    return 0;
}

struct least {
    const char *provider, *window;
    double ratio;
};

static void least_of(struct least *all, int *n, int max, const char *provider,
                     const char *window, double ratio)
{
    for (int i = 0; i < *n; i++) {
        if (strcmp(all[i].provider, provider) == 0 && strcmp(all[i].window, window) == 0) {
            all[i].ratio = ratio < all[i].ratio ? ratio : all[i].ratio;
            return;
        }
    }
    if (*n < max) {
        all[(*n)++] = (struct least){provider, window, ratio};
    }
}

static double share(const json_t *q, const char *part, const char *whole)
{
    double all = json_number_value(json_object_get(q, whole));
    return all > 0 ? json_number_value(json_object_get(q, part)) / all : 1.0;
}

/* Of each limit the account that has least left: accounts are no labels. */
static int figures_quota(struct scheduler *s, struct err *err)
{
    struct least all[LIMITS_MAX];
    struct buf text;
    int n = 0;
    buf_init(&text, QUOTA_MAX_BYTES);
    if (queue_quota(s->app->queue, &text, err) != 0) {
        buf_release(&text);
        return -1;
    }
    json_auto_t *list = json_loads(buf_text(&text), 0, NULL);
    buf_release(&text);
    size_t i = 0;
    const json_t *q = NULL;
    json_array_foreach(list, i, q)
    {
        const char *provider = json_string_value(json_object_get(q, "provider"));
        const char *family = json_string_value(json_object_get(q, "family"));
        if (provider == NULL || family == NULL) {
            continue;
        }
        bool closed = json_number_value(json_object_get(q, "closed_until_ms")) > 0;
        least_of(all, &n, LIMITS_MAX, provider, family,
                 closed ? 0.0 : share(q, "free", "burst"));
        if (json_is_number(json_object_get(q, "daily_limit"))) {
            least_of(all, &n, LIMITS_MAX, provider, "day",
                     share(q, "daily_left", "daily_limit"));
        }
    }
    for (int k = 0; k < n; k++) {
        metric_set(METRIC(s->figures->quota, all[k].provider, all[k].window), all[k].ratio);
    }
    return 0;
}

static void set_or_unset(struct metric *m, const struct rows *r, int row, int column)
{
    if (rows_is_null(r, row, column)) {
        metric_unset(m);
    } else {
        metric_set(m, rows_float(r, row, column));
    }
}

static int figures_connections(struct scheduler *s, struct err *err)
{
    struct figures *f = s->figures;
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(s->app->store,
                    "SELECT s.provider, count(*) FILTER (WHERE state = 'connected'),"
                    "   count(*) FILTER (WHERE state = 'reauthorize'),"
                    "   count(*) FILTER (WHERE state = 'disconnected'),"
                    "   extract(epoch FROM min(last_incremental_at)),"
                    "   extract(epoch FROM min(last_full_success_at)),"
                    "   max((incremental_health = 'stale')::int),"
                    "   (SELECT min(h.progress_ratio) FROM psync_bi.run_history h"
                    "     WHERE h.provider = s.provider AND h.status = 'running')"
                    " FROM psync_bi.connection_status s GROUP BY 1",
                    NULL, &r, err) != 0) {
        return -1;
    }
    for (int i = 0; i < rows_count(r); i++) {
        const char *provider = rows_text(r, i, 0);
        for (int state = CONN_CONNECTED; state <= CONN_DISCONNECTED; state++) {
            metric_set(METRIC(f->state, provider, conn_state_names[state]),
                       rows_float(r, i, 1 + state));
        }
        set_or_unset(METRIC(f->incremental, provider), r, i, 4);
        set_or_unset(METRIC(f->full, provider), r, i, 5);
        set_or_unset(METRIC(f->stale, provider), r, i, 6);
        set_or_unset(METRIC(f->progress, provider), r, i, 7);
    }
    return 0;
}

static int figures_records(struct scheduler *s, struct err *err)
{
    static const char *const states[] = {"in_sync",   "excluded", "failing", "unmatched",
                                         "ambiguous", "archived", "merged"};
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(s->app->store,
                    "SELECT c.provider, s.state, count(*) FROM psync.record_seen s"
                    " JOIN psync.connection c USING (connection_id) GROUP BY 1, 2",
                    NULL, &r, err) != 0) {
        return -1;
    }
    for (int p = 0; providers[p] != NULL; p++) {
        for (size_t i = 0; i < COUNT_OF(states); i++) {
            metric_set(METRIC(s->figures->records, providers[p]->name, states[i]), 0.0);
        }
    }
    for (int i = 0; i < rows_count(r); i++) {
        metric_set(METRIC(s->figures->records, rows_text(r, i, 0), rows_text(r, i, 1)),
                   rows_float(r, i, 2));
    }
    return 0;
}

int figures_read(struct scheduler *s, struct err *err)
{
    if (s->figures->server == NULL) {
        return 0; /* nobody asks */
    }
    if (figures_queue(s, err) != 0 || figures_quota(s, err) != 0 ||
        figures_connections(s, err) != 0) {
        return -1;
    }
    return s->figures->records_read_turns++ % RECORDS_EVERY_TURNS == 0 ? figures_records(s, err)
                                                                       : 0;
}
