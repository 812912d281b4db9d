#include "common/metrics.h"

#include "tests/unit/test.h"

static struct buf text;

static struct metrics *fresh(void)
{
    struct err err = {0};
    struct metrics *m = metrics_new("0.1.0", &err);
    assert_non_null(m);
    return m;
}

static const char *written(struct metrics *m)
{
    buf_release(&text);
    buf_init(&text, 1 << 20);
    assert_int_equal(metrics_write(m, &text), 0);
    return buf_text(&text);
}

static void writes_counters_and_gauges(void **state)
{
    (void)state;
    struct metrics *m = fresh();
    struct metric_family *f =
        metrics_family(m, METRIC_COUNTER, "attempts_total", "provider,kind", "Attempts.");
    struct metric *s = METRIC(f, "stripe", "web\"hook\\\n");
    metric_inc(s);
    metric_add(s, 2.5);
    assert_ptr_equal(METRIC(f, "stripe", "web\"hook\\\n"), s);
    assert_ptr_not_equal(METRIC(f, "stripe", "full"), s);
    assert_ptr_equal(metrics_family(m, METRIC_COUNTER, "attempts_total", "", ""), f);
    struct metric *g =
        metric_plain(metrics_family(m, METRIC_GAUGE, "workers", "", "Workers there are."));
    assert_null(strstr(written(m), "\npivotal_sync_workers "));
    metric_set(g, 12);
    const char *t = written(m);
    assert_non_null(
        strstr(t, "# HELP pivotal_sync_attempts_total Attempts.\n"
                  "# TYPE pivotal_sync_attempts_total counter\n"
                  "pivotal_sync_attempts_total{provider=\"stripe\",kind=\"web\\\"hook"
                  "\\\\\\n\"} 3.5\n"
                  "pivotal_sync_attempts_total{provider=\"stripe\",kind=\"full\"} 0\n"));
    assert_non_null(strstr(t, "\npivotal_sync_workers 12\n"));
    assert_non_null(strstr(t, "pivotal_sync_build_info{version=\"0.1.0\"} 1\n"));
    assert_non_null(strstr(t, "\nprocess_resident_memory_bytes "));
    metric_unset(g);
    assert_null(strstr(written(m), "\npivotal_sync_workers "));
    metrics_free(m);
}

static void writes_histograms_with_cumulative_buckets(void **state)
{
    (void)state;
    struct metrics *m = fresh();
    struct metric *h = metric_plain(
        metrics_family(m, METRIC_HISTOGRAM, "attempt_duration_seconds", "", "How long."));
    metric_observe(h, 0.005);
    metric_observe(h, 0.02);
    metric_observe(h, 100);
    const char *t = written(m);
    assert_non_null(strstr(t,
                           "pivotal_sync_attempt_duration_seconds_bucket{le=\"0.005\"} 1\n"
                           "pivotal_sync_attempt_duration_seconds_bucket{le=\"0.01\"} 1\n"
                           "pivotal_sync_attempt_duration_seconds_bucket{le=\"0.025\"} 2\n"));
    assert_non_null(strstr(t, "_bucket{le=\"10\"} 2\n"
                              "pivotal_sync_attempt_duration_seconds_bucket{le=\"+Inf\"} 3\n"
                              "pivotal_sync_attempt_duration_seconds_sum 100.025\n"
                              "pivotal_sync_attempt_duration_seconds_count 3\n"));
    metrics_free(m);
}

static void a_family_that_grows_without_end_counts_the_rest_together(void **state)
{
    (void)state;
    struct metrics *m = fresh();
    struct metric_family *f = metrics_family(m, METRIC_COUNTER, "x_total", "a", "X.");
    for (int i = 0; i < 2 * METRICS_SERIES_MAX; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "%d", i);
        metric_inc(METRIC(f, value));
    }
    char big[1000];
    memset(big, 'b', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    metric_inc(METRIC(f, big));
    assert_non_null(strstr(written(m), "pivotal_sync_x_total{a=\"other\"} 501\n"));
    metrics_free(m);
}

static void set_to_seven(void *arg)
{
    metric_set(arg, 7);
}

static void refreshes_before_it_writes(void **state)
{
    (void)state;
    struct metrics *m = fresh();
    struct metric *g = metric_plain(metrics_family(m, METRIC_GAUGE, "queue", "", "Q."));
    assert_int_equal(metrics_on_write(m, set_to_seven, g), 0);
    assert_non_null(strstr(written(m), "pivotal_sync_queue 7\n"));
    metrics_free(m);
}

static void takes_what_memory_could_not_make(void **state)
{
    (void)state;
    struct metric_family *f = metrics_family(NULL, METRIC_COUNTER, "x", "", "");
    assert_null(f);
    assert_null(METRIC(f, "a"));
    metric_inc(NULL);
    metric_set(NULL, 1);
    metric_observe(NULL, 1);
    metric_unset(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_counters_and_gauges),
        cmocka_unit_test(writes_histograms_with_cumulative_buckets),
        cmocka_unit_test(a_family_that_grows_without_end_counts_the_rest_together),
        cmocka_unit_test(refreshes_before_it_writes),
        cmocka_unit_test(takes_what_memory_could_not_make),
    };
    int failed = RUN_TESTS(tests);
    buf_release(&text);
    return failed;
}
