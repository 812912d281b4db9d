/* Claims, their leases, and waiting for work.
 *
 * Idle tasks wait in a list; while there are any, a blocking pop on each shard asks for a
 * token that a put leaves there. A token that comes when nobody waits any more is put back,
 * since an idle process elsewhere may want it. */
#include "common/clock.h"
#include "common/queue_redis.h"
#include "common/task.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

enum { POP_S = 10 };

struct live_claim {
    struct claim claim; /* first: a claim is its live claim */
    struct live_claim *next, *prev;
    int64_t good_until_mono_ms; /* our clock: the lease has not run out before that */
    bool lost;
};

struct waiter {
    struct waiter *next, *prev;
    struct wake wake;
};

/* ---- claim ---- */

static void copy_text(char *out, size_t out_bytes, const struct redisReply *reply, size_t i)
{
    size_t n = 0;
    const char *text = reply_text(reply, i, &n);
    if (n >= out_bytes) {
        n = out_bytes - 1;
    }
    memcpy(out, text, n);
    out[n] = '\0';
}

static void read_unit(struct unit *u, const struct claim *claim, const struct redisReply *reply,
                      size_t at)
{
    size_t n = 0;
    const char *kind = reply_text(reply, 3, &n);
    u->kind = kind[0] == 'c' ? UNIT_CHUNK : kind[0] == 'k' ? UNIT_CHECK : UNIT_RECORD;
    u->lane = claim->lane;
    (void)snprintf(u->object, sizeof u->object, "%s", n > 0 ? kind + 1 : "");
    copy_text(u->id, sizeof u->id, reply, at);
    u->first_seen_ms = reply_int(reply, at + 1);
    u->occurred_at_ms = reply_int(reply, at + 2);
    u->events = (int)reply_int(reply, at + 3);
    u->attempts = (int)reply_int(reply, at + 4);
    copy_text(u->trigger, sizeof u->trigger, reply, at + 5);
    copy_text(u->actor, sizeof u->actor, reply, at + 6);
    const struct redisReply *hints = reply->element[at + 7];
    for (size_t i = 0; i < hints->elements && i < QUEUE_HINTS_MAX; i++) {
        copy_text(u->hints[i], sizeof u->hints[i], hints, i);
        u->hint_count++;
    }
}

enum { CLAIM_HEAD = 6, CLAIM_UNIT = 8 };

static struct claim *read_claim(struct queue *q, int shard, const struct redisReply *reply,
                                int64_t asked_mono_ms, struct err *err)
{
    size_t units = (reply->elements - CLAIM_HEAD) / CLAIM_UNIT;
    int64_t lane = reply_int(reply, 2);
    if (lane < 0 || lane >= LANE_COUNT || units > QUEUE_BATCH_MAX) {
        /* Somebody else wrote these keys; the lease runs out by itself. */
        err_set(err, ERR_INTERNAL, "Redis: a claim of %zu units in lane %lld", units,
                (long long)lane);
        return NULL;
    }
    struct live_claim *live = calloc(1, sizeof *live);
    struct unit *list = calloc(units > 0 ? units : 1, sizeof *list);
    if (live == NULL || list == NULL) {
        free(live);
        free(list);
        err_set(err, ERR_NOMEM, "out of memory for a claim");
        return NULL;
    }
    struct claim *c = &live->claim;
    c->shard = shard;
    c->token = reply_int(reply, 0);
    c->connection_id = reply_int(reply, 1);
    c->lane = (enum lane)lane;
    c->calls = (int)reply_int(reply, 4);
    c->claimed_at_ms = reply_int(reply, 5);
    c->calls_at_mono_ms = asked_mono_ms;
    c->units = list;
    c->unit_count = (int)units;
    for (size_t i = 0; i < units; i++) {
        read_unit(&list[i], c, reply, CLAIM_HEAD + i * CLAIM_UNIT);
    }
    live->good_until_mono_ms = asked_mono_ms + q->lease_ms;
    live->next = q->claims;
    if (q->claims != NULL) {
        q->claims->prev = live;
    }
    q->claims = live;
    return c;
}

static int claim_shard(struct queue *q, int shard, int max_units, struct claim **out,
                       int64_t *wait_ms, struct err *err)
{
    struct args a;
    int64_t asked = clock_mono_ms();
    args_init(&a);
    args_int(&a, max_units);
    args_str(&a, q->worker);
    args_int(&a, q->lease_ms);
    struct redisReply *reply = queue_call(q, shard, SCRIPT_CLAIM, &a, err);
    if (reply == NULL) {
        return -1;
    }
    int rc = 0;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements >= CLAIM_HEAD) {
        *out = read_claim(q, shard, reply, asked, err);
        rc = *out != NULL ? 0 : -1;
    } else {
        int64_t ms = reply_int(reply, 1);
        *wait_ms = ms < *wait_ms ? ms : *wait_ms;
    }
    freeReplyObject(reply);
    return rc;
}

int queue_claim(struct queue *q, int max_units, struct claim **out, int64_t *wait_ms,
                struct err *err)
{
    *out = NULL;
    *wait_ms = 1000;
    if (max_units < 1 || max_units > QUEUE_BATCH_MAX) {
        err_set(err, ERR_INVALID, "a claim of %d units: 1 to %d", max_units, QUEUE_BATCH_MAX);
        return -1;
    }
    if (!q->renewing) {
        int64_t every = q->lease_ms / 6;
        q->renewing = true;
        (void)uv_timer_start(&q->renew, queue_renew_tick, 0, (uint64_t)every);
    }
    /* Each claim begins at another shard; one that is away does not stop the others. */
    int first = q->next_shard;
    int away = 0;
    q->next_shard = (q->next_shard + 1) % q->shards;
    for (int i = 0; i < q->shards; i++) {
        struct err other = {0};
        if (claim_shard(q, (first + i) % q->shards, max_units, out, wait_ms, &other) != 0) {
            *err = other;
            away++;
        } else if (*out != NULL) {
            return 0;
        }
    }
    return away == q->shards ? -1 : 0;
}

/* ---- end of a claim ---- */

static void live_free(struct live_claim *live)
{
    free(live->claim.units);
    free(live);
}

void queue_claim_free(struct queue *q, struct claim *claim)
{
    if (claim == NULL) {
        return;
    }
    struct live_claim *live = (struct live_claim *)claim;
    if (live->prev != NULL) {
        live->prev->next = live->next;
    } else {
        q->claims = live->next;
    }
    if (live->next != NULL) {
        live->next->prev = live->prev;
    }
    live_free(live);
}

void queue_claims_discard(struct queue *q)
{
    struct live_claim *live = q->claims;
    q->claims = NULL;
    while (live != NULL) {
        struct live_claim *next = live->next;
        live_free(live);
        live = next;
    }
}

static void add_end(struct args *a, const struct unit_end *end)
{
    char text[96];
    switch (end->outcome) {
    case OUTCOME_COMPLETE:
        args_add(a, "c", 1);
        return;
    case OUTCOME_RELEASE:
    case OUTCOME_RETRY:
        (void)snprintf(text, sizeof text, "%c%lld", end->outcome == OUTCOME_RETRY ? 't' : 'r',
                       (long long)(end->delay_ms > 0 ? end->delay_ms : 0));
        break;
    case OUTCOME_PARK:
    case OUTCOME_BURY:
        (void)snprintf(text, sizeof text, "%c%s", end->outcome == OUTCOME_PARK ? 'p' : 'b',
                       end->reason != NULL && end->reason[0] != '\0' ? end->reason : "unknown");
        break;
    }
    args_str(a, text);
}

int queue_finish(struct queue *q, struct claim *claim, const struct unit_end *ends,
                 struct err *err)
{
    struct args a;
    int64_t done = 0;
    args_init(&a);
    args_int(&a, claim->token);
    for (int i = 0; i < claim->unit_count; i++) {
        add_end(&a, &ends[i]);
    }
    int rc = queue_call_int(q, claim->shard, SCRIPT_FINISH, &a, &done, err);
    if (rc == 0 && done == 0) {
        err_set(err, ERR_CONFLICT, "the lease %lld was lost", (long long)claim->token);
        rc = -1;
    }
    queue_claim_free(q, claim);
    return rc;
}

bool queue_claim_lost(const struct queue *q, const struct claim *claim)
{
    (void)q;
    const struct live_claim *live = (const struct live_claim *)claim;
    return live->lost || clock_mono_ms() > live->good_until_mono_ms;
}

void queue_claim_give_up(struct queue *q, int shard, int64_t token)
{
    for (struct live_claim *live = q->claims; live != NULL; live = live->next) {
        live->lost |= live->claim.shard == shard && live->claim.token == token;
    }
}

/* ---- renewal ---- */

struct renewal {
    struct request request;
    struct queue *queue;
    int64_t asked_mono_ms;
    int count;
    int64_t tokens[];
};

static bool is_lost(const struct redisReply *reply, int64_t token)
{
    for (size_t i = 0; i < reply->elements; i++) {
        if (reply_int(reply, i) == token) {
            return true;
        }
    }
    return false;
}

static bool was_asked(const struct renewal *n, int64_t token)
{
    for (int i = 0; i < n->count; i++) {
        if (n->tokens[i] == token) {
            return true;
        }
    }
    return false;
}

static void on_renewed(struct request *r, struct redisReply *reply, const struct err *err)
{
    struct renewal *n = (struct renewal *)r;
    (void)err; /* a renewal that did not come through shows as good_until_mono_ms */
    for (struct live_claim *live = n->queue->claims; reply != NULL && live != NULL;
         live = live->next) {
        if (live->claim.shard != r->shard || !was_asked(n, live->claim.token)) {
            continue;
        }
        if (is_lost(reply, live->claim.token)) {
            live->lost = true;
        } else {
            live->good_until_mono_ms = n->asked_mono_ms + n->queue->lease_ms;
        }
    }
    args_release(&r->args);
    free(n);
}

static void renew_shard(struct queue *q, int shard)
{
    size_t live_count = 0;
    for (struct live_claim *live = q->claims; live != NULL; live = live->next) {
        live_count += live->claim.shard == shard;
    }
    struct renewal *n = calloc(1, sizeof *n + live_count * sizeof(int64_t));
    if (n == NULL) {
        return; /* the next tick tries again, long before the lease runs out */
    }
    struct args *a = &n->request.args;
    n->queue = q;
    n->asked_mono_ms = clock_mono_ms();
    n->request.script = &q->scripts[SCRIPT_RENEW];
    n->request.shard = shard;
    n->request.done = on_renewed;
    args_init(a);
    args_str(a, q->worker);
    args_int(a, q->lease_ms);
    for (struct live_claim *live = q->claims; live != NULL; live = live->next) {
        if (live->claim.shard == shard && !live->lost) {
            n->tokens[n->count++] = live->claim.token;
            args_int(a, live->claim.token);
        }
    }
    conn_send(queue_conn(q, shard), &n->request);
}

void queue_renew_tick(uv_timer_t *timer)
{
    struct queue *q = timer->data;
    for (int i = 0; i < q->shards; i++) {
        renew_shard(q, i);
    }
}

/* ---- waiting ---- */

static void pop_start(struct shard_state *s);

static void on_pushed_back(struct request *r, struct redisReply *reply, const struct err *err)
{
    (void)reply;
    (void)err; /* a lost token costs at most the second that idle workers sleep */
    args_release(&r->args);
    free(r);
}

static void push_back(struct shard_state *s)
{
    char key[32];
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return;
    }
    (void)snprintf(key, sizeof key, "{ps%d}:wake", s->no);
    args_init(&r->args);
    args_str(&r->args, "RPUSH");
    args_str(&r->args, key);
    args_str(&r->args, "1");
    r->done = on_pushed_back;
    conn_send(s->conn, r);
}

static void waiter_unlink(struct queue *q, struct waiter *w)
{
    if (w->prev != NULL) {
        w->prev->next = w->next;
    } else {
        q->waiters = w->next;
    }
    if (w->next != NULL) {
        w->next->prev = w->prev;
    }
    w->next = NULL;
    w->prev = NULL;
}

static void on_popped(struct request *r, struct redisReply *reply, const struct err *err)
{
    struct shard_state *s =
        (struct shard_state *)((char *)r - offsetof(struct shard_state, pop));
    struct queue *q = s->queue;
    s->popping = false;
    args_release(&r->args);
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY) {
        struct waiter *w = q->waiters;
        if (w != NULL) {
            waiter_unlink(q, w);
            wake_fire(&w->wake);
        } else {
            push_back(s);
        }
    }
    if (q->waiters != NULL && err == NULL && !q->closing) {
        pop_start(s);
    }
}

static void pop_start(struct shard_state *s)
{
    char key[32];
    if (s->popping) {
        return;
    }
    struct queue *q = s->queue;
    memset(&s->pop, 0, sizeof s->pop);
    args_init(&s->pop.args);
    args_str(&s->pop.args, "BLPOP");
    (void)snprintf(key, sizeof key, "{ps%d}:wake", s->no);
    args_str(&s->pop.args, key);
    args_int(&s->pop.args, POP_S);
    s->pop.done = on_popped;
    s->pop.timeout_ms = (int64_t)POP_S * 1000 + q->command_timeout_ms;
    s->popping = true;
    conn_follow(s->wake_conn, s->conn);
    conn_send(s->wake_conn, &s->pop);
}

void queue_wait(struct queue *q, int64_t timeout_ms)
{
    struct waiter w = {.next = q->waiters};
    struct err ignored = {0};
    if (q->waiters != NULL) {
        q->waiters->prev = &w;
    }
    /* It leaves the list before this function returns. */
    // cppcheck-suppress autoVariables
    q->waiters = &w;
    for (int i = 0; i < q->shards; i++) {
        pop_start(&q->shard[i]);
    }
    if (wake_wait(&w.wake, clock_mono_ms() + timeout_ms, &ignored) != 0) {
        waiter_unlink(q, &w);
    }
}
