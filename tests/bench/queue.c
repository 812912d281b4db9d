/* The queue alone, with nothing to be done in its units:
 *   queue URL work UNITS CONNECTIONS TASKS [DATABASE_URL]
 *       put, then claimed, leased and completed by several tasks; with a database each claim
 *       writes its log rows first. Prints `put SECONDS`, waits for a line (somebody may look at
 *       Redis), then prints `work SECONDS CPU_SECONDS`.
 *   queue URL pickup UNITS PER_S
 *       from the put by one client to the claim by another that was idle: `pickup MS`, each.
 *   queue URL urgent UNITS CONNECTIONS CLAIMS
 *       nightly units wait in all connections; a person's unit is put in one of them, and the
 *       time of the claim that takes it is told: `claim MS`, each. */
#include "common/queue.h"
#include "common/clock.h"
#include "common/task.h"
#include "core/attempt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { PUT_AT_ONCE = 500, WAIT_MS = 1000 };

static const struct queue_family families[] = {{"fast", "general", 1e6, 1000000}};
static const struct queue_object objects[] = {{"fast", "company", "general", QUEUE_BATCH_MAX}};

struct bench {
    uv_loop_t loop;
    const char *mode;
    struct queue *q, *putting; /* another client, where what one does must not help the other */
    struct store *store;       /* of the log rows; NULL = none are written */
    int units, connections, tasks, per_s;
    int done, running;
    uint64_t *put_at_ns; /* pickup: of each unit */
    struct wake all_done;
    bool failed;
};

static void bench_fail(struct bench *b, const char *what, const struct err *err)
{
    fprintf(stderr, "queue: %s: %s\n", what, err->msg);
    b->failed = true;
}

static double cpu_s(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static bool bench_configure(struct bench *b, struct err *err)
{
    for (int i = 1; i <= b->connections; i++) {
        struct queue_connection c = {.connection_id = i, .provider = "fast", .account = "a"};
        if (queue_configure(b->q, &c, err) != 0) {
            return false;
        }
    }
    return true;
}

static bool bench_put(struct bench *b, int from, int units, enum lane lane, struct err *err)
{
    static struct unit_put puts[PUT_AT_ONCE];
    static char ids[PUT_AT_ONCE][24];
    for (int at = from; at < from + units; at += PUT_AT_ONCE) {
        int n = from + units - at < PUT_AT_ONCE ? from + units - at : PUT_AT_ONCE;
        for (int i = 0; i < n; i++) {
            snprintf(ids[i], sizeof ids[i], "%d", 10000000 + at + i);
            puts[i] = (struct unit_put){.connection_id = (at + i) % b->connections + 1,
                                        .kind = UNIT_RECORD,
                                        .object = "company",
                                        .id = ids[i],
                                        .lane = lane,
                                        .trigger = lane == LANE_NIGHTLY ? "nightly" : "webhook",
                                        .actor = "",
                                        .hint = ""};
        }
        if (queue_put(b->putting, puts, n, err) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- work ---- */

/* One row a unit, in one transaction. */
static int write_log(struct bench *b, const struct claim *c, struct err *err)
{
    struct attempt rows[QUEUE_BATCH_MAX];
    struct store_tx *tx = store_begin(b->store, err);
    for (int i = 0; i < c->unit_count; i++) {
        rows[i] = (struct attempt){.connection_id = c->connection_id,
                                   .kind = UNIT_RECORD,
                                   .trigger = c->units[i].trigger,
                                   .object = c->units[i].object,
                                   .record_id = c->units[i].id,
                                   .attempt_no = 1,
                                   .status = ATTEMPT_SUCCEEDED,
                                   .seen = 1,
                                   .events = c->units[i].events,
                                   .started_at_ms = clock_now_ms(),
                                   .lag_ms = -1,
                                   .worker = "bench:1"};
    }
    if (tx == NULL || attempt_send(tx, rows, c->unit_count, err) != 0) {
        store_abort(tx);
        return -1;
    }
    return store_commit(tx, err);
}

static void bench_worker(void *arg)
{
    struct bench *b = arg;
    struct err err = {0};
    struct unit_end ends[QUEUE_BATCH_MAX];
    for (int i = 0; i < QUEUE_BATCH_MAX; i++) {
        ends[i] = (struct unit_end){.outcome = OUTCOME_COMPLETE};
    }
    while (b->done < b->units && !b->failed) {
        struct claim *c = NULL;
        int64_t wait_ms = 0;
        if (queue_claim(b->q, QUEUE_BATCH_MAX, &c, &wait_ms, &err) != 0) {
            bench_fail(b, "claim", &err);
        } else if (c == NULL) {
            queue_wait(b->q, wait_ms);
        } else {
            b->done += c->unit_count;
            if (b->store != NULL && write_log(b, c, &err) != 0) {
                bench_fail(b, "log", &err);
            }
            if (queue_finish(b->q, c, ends, &err) != 0) {
                bench_fail(b, "finish", &err);
            }
        }
    }
    if (--b->running == 0) {
        wake_fire(&b->all_done);
    }
}

static bool bench_work(struct bench *b, struct err *err)
{
    char line[16];
    int64_t began_ms = clock_mono_ms();
    if (!bench_put(b, 0, b->units, LANE_WEBHOOK, err)) {
        return false;
    }
    printf("put %.3f\n", (double)(clock_mono_ms() - began_ms) / 1000);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) {
        return true;
    }
    began_ms = clock_mono_ms();
    double cpu = cpu_s();
    for (b->running = 0; b->running < b->tasks; b->running++) {
        if (task_start(&b->loop, "worker", bench_worker, b, err) != 0) {
            return false;
        }
    }
    if (wake_wait(&b->all_done, INT64_MAX, err) != 0) {
        return false;
    }
    printf("work %.3f %.3f\n", (double)(clock_mono_ms() - began_ms) / 1000, cpu_s() - cpu);
    return true;
}

/* ---- latencies ---- */

/* Take one unit and end it. *out_ns is when the claim came back; false = none was there. */
static bool take_one(struct bench *b, long *unit, uint64_t *out_ns, struct err *err)
{
    struct claim *c = NULL;
    struct unit_end end = {.outcome = OUTCOME_COMPLETE};
    int64_t wait_ms = 0;
    if (queue_claim(b->q, 1, &c, &wait_ms, err) != 0) {
        bench_fail(b, "claim", err);
        return false;
    }
    if (c == NULL) {
        queue_wait(b->q, wait_ms);
        return false;
    }
    *out_ns = uv_hrtime();
    *unit = strtol(c->units[0].id, NULL, 10) - 10000000;
    if (queue_finish(b->q, c, &end, err) != 0) {
        bench_fail(b, "finish", err);
    }
    return true;
}

static void pickup_taker(void *arg)
{
    struct bench *b = arg;
    struct err err = {0};
    while (b->done < b->units && !b->failed) {
        long unit = 0;
        uint64_t at_ns = 0;
        if (take_one(b, &unit, &at_ns, &err)) {
            printf("pickup %.4f\n", (double)(at_ns - b->put_at_ns[unit]) / 1e6);
            b->done++;
        }
    }
    wake_fire(&b->all_done);
}

static bool bench_pickup(struct bench *b, struct err *err)
{
    uint64_t began_ns = uv_hrtime(), each_ns = (uint64_t)(1e9 / b->per_s);
    b->put_at_ns = calloc((size_t)b->units, sizeof *b->put_at_ns);
    if (b->put_at_ns == NULL || task_start(&b->loop, "taker", pickup_taker, b, err) != 0) {
        return false;
    }
    for (int i = 0; i < b->units && !b->failed; i++) {
        uint64_t now_ns = uv_hrtime(), at_ns = began_ns + (uint64_t)(i + 1) * each_ns;
        task_sleep_ms(at_ns > now_ns ? (int64_t)((at_ns - now_ns) / 1000000) : 0);
        b->put_at_ns[i] = uv_hrtime();
        if (!bench_put(b, i, 1, LANE_WEBHOOK, err)) {
            return false;
        }
    }
    return wake_wait(&b->all_done, clock_mono_ms() + 10 * WAIT_MS, err) == 0;
}

static bool bench_urgent(struct bench *b, struct err *err)
{
    if (!bench_put(b, 0, b->units, LANE_NIGHTLY, err)) {
        return false;
    }
    for (int i = 0; i < b->tasks && !b->failed; i++) {
        int wanted =
            b->units + i * 7919 % b->connections; /* its connection is another each time */
        long unit = 0;
        uint64_t began_ns = 0, at_ns = 0;
        if (!bench_put(b, wanted, 1, LANE_INTERACTIVE, err)) {
            return false;
        }
        began_ns = uv_hrtime();
        if (!take_one(b, &unit, &at_ns, err) || unit != wanted) {
            err_set(err, ERR_INTERNAL, "unit %ld came before %d", unit, wanted);
            return false;
        }
        printf("claim %.4f\n", (double)(at_ns - began_ns) / 1e6);
    }
    return true;
}

static void bench_main(void *arg)
{
    struct bench *b = arg;
    struct err err = {0};
    bool (*run)(struct bench *, struct err *) = strcmp(b->mode, "work") == 0     ? bench_work
                                                : strcmp(b->mode, "pickup") == 0 ? bench_pickup
                                                                                 : bench_urgent;
    if (!bench_configure(b, &err) || !run(b, &err)) {
        bench_fail(b, b->mode, &err);
    }
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct err err = {0};
    if (argc < 5) {
        fprintf(stderr, "usage: queue URL work|pickup|urgent UNITS ...\n");
        return 2;
    }
    b.mode = argv[2];
    b.units = (int)strtol(argv[3], NULL, 10);
    b.connections = b.per_s = (int)strtol(argv[4], NULL, 10);
    if (strcmp(b.mode, "pickup") == 0) {
        b.connections = 1;
    }
    b.tasks = argc > 5 ? (int)strtol(argv[5], NULL, 10) : 1;
    struct queue_options o = {.urls = (const char *const[]){argv[1]},
                              .url_count = 1,
                              .shards = 1,
                              .lease_ms = 30000,
                              .families = families,
                              .family_count = 1,
                              .objects = objects,
                              .object_count = 1,
                              .worker = "bench:1"};
    struct store_options so = {.application_name = "bench", .max_connections = 8};
    if (uv_loop_init(&b.loop) != 0 || (b.q = queue_open(&b.loop, &o, &err)) == NULL ||
        (b.putting = queue_open(&b.loop, &o, &err)) == NULL) {
        fprintf(stderr, "queue: %s\n", err.msg);
        return 1;
    }
    if (argc > 6) {
        so.url = argv[6];
        b.store = store_new(&b.loop, &so, &err);
        b.failed = b.store == NULL;
    }
    if (b.failed || task_run(&b.loop, bench_main, &b, &err) != 0) {
        fprintf(stderr, "queue: %s\n", err.msg);
        return 1;
    }
    queue_close(b.putting);
    queue_close(b.q);
    store_free(b.store);
    (void)uv_run(&b.loop, UV_RUN_DEFAULT);
    free(b.put_at_ns);
    return b.failed ? 1 : 0;
}
