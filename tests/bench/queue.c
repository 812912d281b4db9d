/* What the queue alone does in a second: units put, then claimed, leased and completed by
 * several tasks, with nothing to do in between. usage: queue URL UNITS CONNECTIONS TASKS;
 * prints `put SECONDS`, waits for a line, then prints `work SECONDS CLAIMS`. Between the two
 * somebody may look at Redis. */
#include "common/queue.h"
#include "common/clock.h"
#include "common/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PUT_AT_ONCE = 500 };

static const struct queue_family families[] = {{"fast", "general", 1e6, 1000000}};
static const struct queue_object objects[] = {{"fast", "company", "general", QUEUE_BATCH_MAX}};

struct bench {
    uv_loop_t loop;
    struct queue *q;
    int units, connections, tasks;
    int done, claims, running;
    struct wake all_done;
    bool failed;
};

static void bench_fail(struct bench *b, const char *what, const struct err *err)
{
    fprintf(stderr, "queue: %s: %s\n", what, err->msg);
    b->failed = true;
}

static bool bench_put(struct bench *b, struct err *err)
{
    static struct unit_put puts[PUT_AT_ONCE];
    static char ids[PUT_AT_ONCE][24];
    for (int i = 1; i <= b->connections; i++) {
        struct queue_connection c = {.connection_id = i, .provider = "fast", .account = "a"};
        if (queue_configure(b->q, &c, err) != 0) {
            return false;
        }
    }
    for (int at = 0; at < b->units; at += PUT_AT_ONCE) {
        int n = b->units - at < PUT_AT_ONCE ? b->units - at : PUT_AT_ONCE;
        for (int i = 0; i < n; i++) {
            snprintf(ids[i], sizeof ids[i], "%d", 10000000 + at + i);
            puts[i] = (struct unit_put){.connection_id = (at + i) % b->connections + 1,
                                        .kind = UNIT_RECORD,
                                        .object = "company",
                                        .id = ids[i],
                                        .lane = LANE_WEBHOOK,
                                        .trigger = "webhook",
                                        .actor = "",
                                        .hint = ""};
        }
        if (queue_put(b->q, puts, n, err) != 0) {
            return false;
        }
    }
    return true;
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
            int n = c->unit_count;
            b->claims++;
            if (queue_finish(b->q, c, ends, &err) != 0) {
                bench_fail(b, "finish", &err);
            }
            b->done += n;
        }
    }
    if (--b->running == 0) {
        wake_fire(&b->all_done);
    }
}

static void bench_main(void *arg)
{
    struct bench *b = arg;
    struct err err = {0};
    char line[16];
    int64_t began_ms = clock_mono_ms();
    if (!bench_put(b, &err)) {
        bench_fail(b, "put", &err);
        return;
    }
    printf("put %.3f\n", (double)(clock_mono_ms() - began_ms) / 1000);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) {
        return;
    }
    began_ms = clock_mono_ms();
    for (b->running = 0; b->running < b->tasks; b->running++) {
        if (task_start(&b->loop, "worker", bench_worker, b, &err) != 0) {
            bench_fail(b, "start", &err);
            return;
        }
    }
    if (wake_wait(&b->all_done, INT64_MAX, &err) != 0) {
        bench_fail(b, "wait", &err);
    }
    printf("work %.3f %d\n", (double)(clock_mono_ms() - began_ms) / 1000, b->claims);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct err err = {0};
    if (argc != 5) {
        fprintf(stderr, "usage: queue URL UNITS CONNECTIONS TASKS\n");
        return 2;
    }
    b.units = (int)strtol(argv[2], NULL, 10);
    b.connections = (int)strtol(argv[3], NULL, 10);
    b.tasks = (int)strtol(argv[4], NULL, 10);
    struct queue_options o = {.urls = (const char *const[]){argv[1]},
                              .url_count = 1,
                              .shards = 1,
                              .lease_ms = 30000,
                              .families = families,
                              .family_count = 1,
                              .objects = objects,
                              .object_count = 1,
                              .worker = "bench:1"};
    if (uv_loop_init(&b.loop) != 0 || (b.q = queue_open(&b.loop, &o, &err)) == NULL ||
        task_run(&b.loop, bench_main, &b, &err) != 0) {
        fprintf(stderr, "queue: %s\n", err.msg);
        return 1;
    }
    queue_close(b.q);
    (void)uv_run(&b.loop, UV_RUN_DEFAULT);
    return b.failed ? 1 : 0;
}
