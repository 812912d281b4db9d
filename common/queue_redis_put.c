/* Puts. All units of one turn of the loop go to a shard in one script call of at most 200
 * units: with appendfsync always that is one write to disk for all requests of a gateway's
 * turn. With wait_replicas a put counts when so many replicas have it, too: WAIT, which scripts
 * refuse, follows on the same connection. */
#include "common/queue_redis.h"
#include "common/task.h"

#include <stdlib.h>
#include <string.h>

enum { PUT_UNITS_MAX = 200, PUT_RECEIPT_MAX_BYTES = 4096 };

/* One call of queue_put_start. */
struct put_op {
    int parts_left; /* batches that hold some of it, and 1 while it is being filled */
    struct err err;
    queue_put_cb *cb;
    void *arg;
};

struct put_batch {
    struct request request;
    struct queue *queue;
    int units;
    struct args unit_args, receipts;
    struct put_op **ops;
    int op_count, op_cap;
};

static void op_done(struct put_op *op, const struct err *err)
{
    if (err != NULL && op->err.code == ERR_NONE) {
        op->err = *err;
    }
    if (--op->parts_left == 0) {
        op->cb(op->arg, op->err.code == ERR_NONE ? NULL : &op->err);
        free(op);
    }
}

static void batch_end(struct put_batch *b, const struct err *err)
{
    for (int i = 0; i < b->op_count; i++) {
        op_done(b->ops[i], err);
    }
    args_release(&b->request.args);
    args_release(&b->unit_args);
    args_release(&b->receipts);
    free(b->ops);
    free(b);
}

static void on_replicated(struct request *r, struct redisReply *reply, const struct err *err)
{
    struct put_batch *b = (struct put_batch *)r;
    struct err few = {0};
    if (reply != NULL && reply_int(reply, 0) < b->queue->wait_replicas) {
        /* The unit is there; that it comes once more does no harm. */
        err_set(&few, ERR_UNAVAILABLE, "%lld of %d replicas have it in time",
                (long long)reply_int(reply, 0), b->queue->wait_replicas);
        err = &few;
        reply = NULL;
    }
    batch_end(b, reply != NULL ? NULL : err);
}

static void on_put(struct request *r, struct redisReply *reply, const struct err *err)
{
    struct put_batch *b = (struct put_batch *)r;
    struct queue *q = b->queue;
    if (reply != NULL) {
        q->shard[r->shard].routes_version = reply_int(reply, 0);
    }
    if (reply == NULL || q->wait_replicas == 0) {
        batch_end(b, reply != NULL ? NULL : err);
        return;
    }
    args_release(&r->args);
    args_init(&r->args);
    args_str(&r->args, "WAIT");
    args_int(&r->args, q->wait_replicas);
    args_int(&r->args, q->command_timeout_ms / 2);
    r->script = NULL;
    r->moves = 0;
    r->done = on_replicated;
    conn_send(queue_conn(q, r->shard), r);
}

static void batch_send(struct queue *q, int shard)
{
    struct put_batch *b = q->shard[shard].open;
    q->shard[shard].open = NULL;
    struct args *a = &b->request.args;
    args_int(a, b->units);
    (void)buf_add(&a->wire, buf_text(&b->unit_args.wire), b->unit_args.wire.len_bytes);
    (void)buf_add(&a->wire, buf_text(&b->receipts.wire), b->receipts.wire.len_bytes);
    a->count += b->unit_args.count + b->receipts.count;
    if (b->unit_args.wire.failed || b->receipts.wire.failed) {
        a->wire.failed = true;
    }
    conn_send(queue_conn(q, shard), &b->request);
}

void queue_put_flush(uv_prepare_t *handle)
{
    struct queue *q = handle->data;
    (void)uv_prepare_stop(handle);
    for (int i = 0; i < q->shards; i++) {
        if (q->shard[i].open != NULL) {
            batch_send(q, i);
        }
    }
}

void queue_put_discard(struct queue *q)
{
    struct err err = {0};
    err_set(&err, ERR_CANCELLED, "the queue is closed");
    for (int i = 0; i < q->shards; i++) {
        struct put_batch *b = q->shard[i].open;
        q->shard[i].open = NULL;
        if (b != NULL) {
            batch_end(b, &err);
        }
    }
}

static struct put_batch *batch_of(struct queue *q, int shard)
{
    struct put_batch *b = q->shard[shard].open;
    if (b == NULL) {
        b = calloc(1, sizeof *b);
        if (b == NULL) {
            return NULL;
        }
        b->queue = q;
        b->request.script = &q->scripts[SCRIPT_PUT];
        b->request.shard = shard;
        b->request.done = on_put;
        args_init(&b->request.args);
        args_init(&b->unit_args);
        args_init(&b->receipts);
        q->shard[shard].open = b;
        (void)uv_prepare_start(&q->flush, queue_put_flush);
    }
    return b;
}

static int batch_join(struct put_batch *b, struct put_op *op)
{
    if (b->op_count > 0 && b->ops[b->op_count - 1] == op) {
        return 0;
    }
    if (b->op_count == b->op_cap) {
        int cap = b->op_cap > 0 ? b->op_cap * 2 : 16;
        struct put_op **ops = realloc(b->ops, (size_t)cap * sizeof(struct put_op *));
        if (ops == NULL) {
            return -1;
        }
        b->ops = ops;
        b->op_cap = cap;
    }
    b->ops[b->op_count++] = op;
    op->parts_left++;
    return 0;
}

static bool object_is_plain(const char *s)
{
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s <= ' ' || *s == ':' || *s == '|') {
            return false;
        }
    }
    return true;
}

static int unit_check(const struct queue *q, const struct unit_put *u, struct err *err)
{
    if (queue_check_shard(q, u->shard, err) != 0) {
        return -1;
    }
    size_t id = u->id != NULL ? strlen(u->id) : 0;
    if (u->connection_id <= 0 || u->object == NULL ||
        strlen(u->object) > QUEUE_OBJECT_MAX_BYTES || !object_is_plain(u->object) || id == 0 ||
        id > QUEUE_ID_MAX_BYTES || (int)u->lane < 0 || u->lane >= LANE_COUNT ||
        (int)u->kind < 0 || u->kind > UNIT_CHECK ||
        (u->hint != NULL && strlen(u->hint) > QUEUE_ID_MAX_BYTES + 23)) {
        err_set(
            err, ERR_INVALID,
            "unit '%.40s' '%.60s' of connection %lld: object of at most %d bytes without ':' "
            "or '|', id of 1 to %d bytes",
            u->object != NULL ? u->object : "", u->id != NULL ? u->id : "",
            (long long)u->connection_id, QUEUE_OBJECT_MAX_BYTES, QUEUE_ID_MAX_BYTES);
        return -1;
    }
    return 0;
}

static void add_short(struct args *a, const char *text, size_t max_bytes)
{
    args_add(a, text != NULL ? text : "", text != NULL ? strnlen(text, max_bytes) : 0);
}

static void unit_add(struct args *a, const struct unit_put *u)
{
    static const char kinds[] = "rck";
    char name[1 + QUEUE_OBJECT_MAX_BYTES + 1 + QUEUE_ID_MAX_BYTES + 1];
    int n = snprintf(name, sizeof name, "%c%s:%s", kinds[u->kind], u->object, u->id);
    args_int(a, u->connection_id);
    args_add(a, name, (size_t)n);
    args_int(a, (int64_t)u->lane);
    add_short(a, u->trigger, sizeof((struct unit *)0)->trigger - 1);
    add_short(a, u->actor, sizeof((struct unit *)0)->actor - 1);
    add_short(a, u->hint, QUEUE_ID_MAX_BYTES + 23);
    args_int(a, u->delay_ms > 0 ? u->delay_ms : 0);
    args_int(a, u->occurred_at_ms > 0 ? u->occurred_at_ms : 0);
}

/* The batch is held by the queue's shard: the analyzer loses sight of it there. */
ANALYZER_OFF("-Wanalyzer-malloc-leak")
static int put_fill(struct queue *q, struct put_op *op, const struct unit_put *puts, int n,
                    const char *const *receipts, int receipt_count, struct err *err)
{
    for (int i = 0; i < n; i++) {
        if (unit_check(q, &puts[i], err) != 0) {
            return -1;
        }
    }
    for (int i = 0; i < n; i++) {
        int shard = puts[i].shard;
        struct put_batch *b = batch_of(q, shard);
        if (b == NULL || batch_join(b, op) != 0) {
            goto nomem;
        }
        unit_add(&b->unit_args, &puts[i]);
        if (++b->units >= PUT_UNITS_MAX) {
            batch_send(q, shard);
        }
    }
    int shard = n > 0 ? puts[n - 1].shard : 0;
    for (int i = 0; i < receipt_count || (i == 0 && n == 0); i++) {
        struct put_batch *b = batch_of(q, shard);
        if (b == NULL || batch_join(b, op) != 0) {
            goto nomem;
        }
        if (i < receipt_count) {
            add_short(&b->receipts, receipts[i], PUT_RECEIPT_MAX_BYTES);
        }
        if (b->receipts.count >= PUT_UNITS_MAX) {
            batch_send(q, shard);
        }
    }
    return 0;

nomem:
    err_set(err, ERR_NOMEM, "out of memory for a put");
    return -1;
}
ANALYZER_ON

/* A put that is refused before anything is sent still answers in a later turn. */
struct refused {
    uv_timer_t timer;
    struct put_op *op;
};

static void on_refused_closed(uv_handle_t *h)
{
    free(h->data);
}

static void on_refused(uv_timer_t *t)
{
    struct refused *r = t->data;
    op_done(r->op, NULL);
    uv_close((uv_handle_t *)t, on_refused_closed);
}

void queue_put_start(struct queue *q, const struct unit_put *puts, int n,
                     const char *const *receipts, int receipt_count, queue_put_cb *cb,
                     void *arg)
{
    struct put_op *op = calloc(1, sizeof *op);
    struct refused *later = calloc(1, sizeof *later);
    if (op == NULL || later == NULL) {
        struct err err = {0};
        err_set(&err, ERR_NOMEM, "out of memory for a put");
        free(op);
        free(later);
        cb(arg, &err);
        return;
    }
    op->cb = cb;
    op->arg = arg;
    op->parts_left = 1;
    if (put_fill(q, op, puts, n, receipts, receipt_count, &op->err) == 0 &&
        op->parts_left > 1) {
        op->parts_left--;
        free(later);
        return;
    }
    later->op = op;
    later->timer.data = later;
    (void)uv_timer_init(q->loop, &later->timer);
    (void)uv_timer_start(&later->timer, on_refused, 0, 0);
}

struct put_wait {
    struct wake wake;
    struct err *err;
    int rc;
};

static void on_put_waited(void *arg, const struct err *err)
{
    struct put_wait *w = arg;
    if (err != NULL) {
        *w->err = *err;
        w->rc = -1;
    }
    wake_fire(&w->wake);
}

int queue_put(struct queue *q, const struct unit_put *puts, int n, struct err *err)
{
    struct put_wait w = {.err = err};
    struct err ignored = {0};
    if (n == 0) {
        return 0;
    }
    queue_put_start(q, puts, n, NULL, 0, on_put_waited, &w);
    while (wake_wait(&w.wake, INT64_MAX, &ignored) != 0) {
    }
    return w.rc;
}
