/* The queue for whoever runs it: what waits where, pausing, draining, repair. */
#include "cmd/cmd.h"

#include "common/clock.h"
#include "common/task.h"
#include "core/figures.h"
#include "core/rebuild.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 100000, DRAIN_MS = 60000, DRAIN_POLL_MS = 200 };

static json_t *stats_json(const struct queue_stats *q)
{
    json_t *lanes = json_object();
    for (int i = 0; i < LANE_COUNT; i++) {
        json_object_set_new(lanes, lane_names[i], json_integer(q->waiting[i]));
    }
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "waiting", lanes, "delayed",
                     (json_int_t)q->delayed, "parked", (json_int_t)q->parked, "leased",
                     (json_int_t)q->leased, "oldest_age_s",
                     (json_int_t)(q->oldest_age_ms / 1000), "buried", (json_int_t)q->buried,
                     "workers", (json_int_t)q->workers);
}

int verb_queue_stats(struct cmd *c, struct err *err)
{
    struct queue_stats q;
    if (queue_stats(c->app->queue, 0, &q, err) != 0) {
        return -1;
    }
    if (c->form != OUT_TABLE) {
        json_auto_t *j = stats_json(&q);
        print_json_object(j);
        return EXIT_OK;
    }
    for (int i = 0; i < LANE_COUNT; i++) {
        printf("%-12s %lld waiting\n", lane_names[i], (long long)q.waiting[i]);
    }
    printf("%-12s %lld\n%-12s %lld\n%-12s %lld\n%-12s %lld\n%-12s %lld s\n%-12s %lld\n",
           "in work", (long long)q.leased, "delayed", (long long)q.delayed, "parked",
           (long long)q.parked, "buried", (long long)q.buried, "oldest",
           (long long)(q.oldest_age_ms / 1000), "workers", (long long)q.workers);
    return EXIT_OK;
}

/* The array that the queue answered, in the form that is wanted. */
static int print_array(struct cmd *c, struct buf *text, int rc, const char *columns,
                       struct err *err)
{
    json_auto_t *array = rc == 0 ? json_loads(buf_text(text), 0, NULL) : NULL;
    buf_release(text);
    if (rc == 0 && array == NULL) {
        err_set(err, ERR_INTERNAL, "the queue's answer is not JSON");
    }
    return array != NULL ? output_json(c, array, columns, err) : -1;
}

static void keep_code(json_t *array, const char *code)
{
    for (size_t i = json_array_size(array); i > 0; i--) {
        const char *reason =
            json_string_value(json_object_get(json_array_get(array, i - 1), "reason"));
        if (reason == NULL || strcmp(reason, code) != 0) {
            json_array_remove(array, i - 1);
        }
    }
}

int verb_queue_list(struct cmd *c, struct err *err)
{
    const char *state = cmd_option(c, "state"), *code = cmd_option(c, "code");
    int64_t limit = cmd_limit(c, 50, err);
    struct buf text;
    if (limit < 0) {
        return -1;
    }
    if (strcmp(c->verb->words, "queue parked") == 0) {
        state = "parked";
    }
    buf_init(&text, 64 << 20);
    int rc = queue_list(c->app->queue, 0, state != NULL ? state : "waiting",
                        limit == 0 || limit > LIST_MAX || code != NULL ? LIST_MAX : (int)limit,
                        &text, err);
    json_auto_t *array = rc == 0 ? json_loads(buf_text(&text), 0, NULL) : NULL;
    buf_release(&text);
    if (array == NULL) {
        return -1;
    }
    if (code != NULL) {
        keep_code(array, code);
    }
    if (json_array_size(array) == 0 && c->form == OUT_TABLE) {
        say("Nothing is %s.", state != NULL ? state : "waiting");
    }
    return output_json(c, array,
                       "connection_id:CONNECTION kind object ~id lane reason ?#events"
                       " ?#attempts ?trigger ?actor | since_ms due_ms worker",
                       err);
}

int verb_worker_list(struct cmd *c, struct err *err)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    int rc = queue_workers(c->app->queue, &text, err);
    return print_array(c, &text, rc, "worker #claims | seen_at_ms:SEEN ~holds", err);
}

int verb_quota(struct cmd *c, struct err *err)
{
    json_auto_t *all = figures_quota(c->app, err);
    if (all == NULL) {
        return -1;
    }
    return output_json(c, all,
                       "provider account ~family #used #free:LEFT ?#burst ?#rate_per_s:RATE/S"
                       " ?reason | full_rate_per_s closed_until_ms breaker_open_until_ms"
                       " connection_id month ration",
                       err);
}

/* ---- pausing ---- */

static int lane_number(const char *name, struct err *err)
{
    struct typo t;
    typo_begin(&t, name);
    for (int i = 0; i < LANE_COUNT; i++) {
        if (strcmp(lane_names[i], name) == 0) {
            return i;
        }
        typo_try(&t, lane_names[i]);
    }
    err_set(err, ERR_INVALID,
            "'%s' is none of the lanes interactive, webhook, run_now, nightly"
            "%s%s%s",
            name, t.best != NULL ? "; did you mean '" : "", t.best != NULL ? t.best : "",
            t.best != NULL ? "'?" : "");
    return -1;
}

int verb_queue_pause(struct cmd *c, struct err *err)
{
    bool pause = strcmp(c->verb->words, "queue pause") == 0;
    const char *lane_name = cmd_option(c, "lane");
    int lane = -1;
    if (c->arg_count > 0 && lane_name != NULL) {
        err_set(err, ERR_INVALID, "name a provider or a lane, not both");
        return -1;
    }
    if (c->arg_count > 0) {
        return verb_connection_pause(c, err);
    }
    if (lane_name != NULL && (lane = lane_number(lane_name, err)) < 0) {
        return -1;
    }
    if (action_pause_lane(c->app, lane, pause, &c->actor, err) != 0) {
        return -1;
    }
    if (pause) {
        say("Workers take nothing more%s%s; what is in work is finished. Next: pivotal-sync "
            "queue resume%s%s",
            lane_name != NULL ? " of lane " : "", lane_name != NULL ? lane_name : "",
            lane_name != NULL ? " --lane " : "", lane_name != NULL ? lane_name : "");
    } else {
        say("Work goes on.");
    }
    return EXIT_OK;
}

int verb_queue_drain(struct cmd *c, struct err *err)
{
    int64_t timeout_ms = cmd_timeout_ms(c, DRAIN_MS, err);
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    struct queue_stats q = {0};
    if (timeout_ms < 0 || queue_pause(c->app->queue, -1, 0, -1, true, err) != 0 ||
        action_audit(c->app->store, &c->actor, 0, 0, "queue.pause", "all", NULL, err) != 0) {
        return -1;
    }
    cmd_on_interrupt("It stays paused: pivotal-sync queue resume");
    for (;;) {
        if (queue_stats(c->app->queue, 0, &q, err) != 0) {
            return -1;
        }
        if (q.leased == 0) {
            say("Nothing is in work. Next, when all is back: pivotal-sync queue resume");
            return EXIT_OK;
        }
        if (clock_mono_ms() > deadline_ms) {
            err_set(err, ERR_TIMEOUT, "%lld units are still in work; it stays paused",
                    (long long)q.leased);
            return -1;
        }
        task_sleep_ms(DRAIN_POLL_MS);
    }
}

/* ---- repair ---- */

int verb_queue_fsck(struct cmd *c, struct err *err)
{
    struct buf violations;
    int64_t checked = 0;
    buf_init(&violations, 1 << 20);
    int rc = queue_fsck(c->app->queue, &violations, &checked, err);
    if (rc == 0) {
        fputs(buf_text(&violations), stdout);
        say("%lld units checked: %s", (long long)checked,
            violations.len_bytes == 0 ? "clean" : "violations above");
        rc = violations.len_bytes == 0 ? EXIT_OK : EXIT_FAILED;
    }
    buf_release(&violations);
    return rc;
}

int verb_queue_rebuild(struct cmd *c, struct err *err)
{
    struct rebuild_counts n;
    if (rebuild_queue(c->app, &n, err) != 0 ||
        action_audit(c->app->store, &c->actor, 0, 0, "queue.rebuild", "", NULL, err) != 0) {
        return -1;
    }
    say("%lld connections told, %lld live runs put, %lld retries put, %lld catch-ups put.",
        (long long)n.connections, (long long)n.runs, (long long)n.retries,
        (long long)n.catch_ups);
    return EXIT_OK;
}

int verb_queue_move_shard(struct cmd *c, struct err *err)
{
    struct queue_move_result r;
    char *end = NULL;
    long shard = strtol(c->args[0], &end, 10);
    if (*end != '\0' || end == c->args[0] || shard < 0 || shard >= c->app->shards) {
        err_set(err, ERR_INVALID, "'%s' is no shard: there are 0 to %d (QUEUE_SHARDS)",
                c->args[0], c->app->shards - 1);
        return -1;
    }
    if (queue_move_shard(c->app->queue, (int)shard, c->args[1], cmd_has(c, "force"), &r, err) !=
        0) {
        return -1;
    }
    if (action_audit(c->app->store, &c->actor, 0, 0, "queue.move-shard", r.to, NULL, err) !=
        0) {
        return -1;
    }
    say("Shard %ld is on %s now: %lld keys, %lld bytes; it stood still for %lld ms. When "
        "REDIS_URL "
        "is changed the next time, let it say so.",
        shard, r.to, (long long)r.keys, (long long)r.bytes, (long long)r.still_ms);
    return EXIT_OK;
}

int verb_version(struct cmd *c, struct err *err)
{
    (void)err;
    printf(c->form == OUT_JSON ? "{\"version\":\"" PIVOTAL_SYNC_VERSION "\"}\n"
                               : "pivotal-sync " PIVOTAL_SYNC_VERSION "\n");
    return EXIT_OK;
}
