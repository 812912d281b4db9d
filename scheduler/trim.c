#include "scheduler/scheduler.h"

enum { LOG_DAYS = 30, QUOTA_MAX_BYTES = 4 << 20 };

int trim_partitions(struct scheduler *s, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, LOG_DAYS);
    if (store_query(s->app->store, "SELECT psync.make_partitions()", NULL, NULL, err) != 0 ||
        store_query(s->app->store, "SELECT psync.drop_partitions($1::int)", p, NULL, err) !=
            0) {
        return -1;
    }
    return store_query(s->app->store,
                       "WITH o AS (DELETE FROM psync.occurrence"
                       "   WHERE due_at < now() - make_interval(days => $1::int)),"
                       " a AS (DELETE FROM psync.alert"
                       "   WHERE at < now() - make_interval(days => $1::int)),"
                       " n AS (DELETE FROM psync.oauth_state WHERE expires_at < now()),"
                       /* what a sign-in that nobody ended left behind */
                       " u AS (DELETE FROM psync.connection c WHERE account_id = ''"
                       "   AND state = 'disconnected'"
                       "   AND created_at < now() - interval '1 day' AND NOT EXISTS"
                       "     (SELECT FROM psync.oauth_state s"
                       "       WHERE s.connection_id = c.connection_id"
                       "         AND s.expires_at > now()))"
                       " DELETE FROM psync.gauge_sample"
                       " WHERE at < now() - make_interval(days => $1::int)",
                       p, NULL, err);
}

/* Calls of each limit in its last hour that had any: one row an hour, of which the last writing
 * counts. Accounts in several shards are one. */
static int sample_quota(struct app *app, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    struct buf text;
    buf_init(&text, QUOTA_MAX_BYTES);
    int rc = queue_quota(app->queue, &text, err);
    if (rc == 0) {
        params_text(p, buf_text(&text));
        rc = store_query(
            app->store,
            "INSERT INTO psync.gauge_sample (at, name, provider, queue, value)"
            " SELECT to_timestamp(hour_ms / 1000), 'quota_calls', provider,"
            "   account || ' ' || family, sum(hour_calls)"
            " FROM json_to_recordset($1::json) AS t (provider text, account text, family text,"
            "   hour_ms bigint, hour_calls bigint)"
            " WHERE hour_calls > 0 GROUP BY 1, 2, 3, 4"
            " ON CONFLICT (at, name, provider, queue) DO UPDATE SET value ="
            "   greatest(gauge_sample.value, excluded.value)",
            p, NULL, err);
    }
    buf_release(&text);
    return rc;
}

int trim_sample(struct scheduler *s, struct err *err)
{
    struct queue_stats q;
    CLEANUP(params_freep) struct params *p = params_new();
    if (queue_stats(s->app->queue, 0, &q, err) != 0) {
        return -1;
    }
    const struct {
        const char *name, *queue;
        int64_t value;
    } gauges[] = {
        {"queue_units", "interactive", q.waiting[LANE_INTERACTIVE]},
        {"queue_units", "webhook", q.waiting[LANE_WEBHOOK]},
        {"queue_units", "run_now", q.waiting[LANE_RUN_NOW]},
        {"queue_units", "nightly", q.waiting[LANE_NIGHTLY]},
        {"queue_units", "delayed", q.delayed},
        {"queue_units", "parked", q.parked},
        {"queue_units", "leased", q.leased},
        {"queue_oldest_age_seconds", "", q.oldest_age_ms / 1000},
        {"workers", "", q.workers},
    };
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; i < COUNT_OF(gauges); i++) {
        params_array_text(p, gauges[i].name, __builtin_strlen(gauges[i].name));
    }
    params_array_end(p);
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; i < COUNT_OF(gauges); i++) {
        params_array_text(p, gauges[i].queue, __builtin_strlen(gauges[i].queue));
    }
    params_array_end(p);
    params_array_begin(p, ARRAY_INT8);
    for (size_t i = 0; i < COUNT_OF(gauges); i++) {
        params_array_int(p, gauges[i].value);
    }
    params_array_end(p);
    if (store_query(s->app->store,
                    "INSERT INTO psync.gauge_sample (at, name, queue, value)"
                    " SELECT date_trunc('minute', now()), n, q, v"
                    " FROM unnest($1::text[], $2::text[], $3::bigint[]) AS t (n, q, v)"
                    " ON CONFLICT DO NOTHING",
                    p, NULL, err) != 0) {
        return -1;
    }
    return sample_quota(s->app, err);
}
