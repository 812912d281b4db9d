/* Replies as Redis might send them, spoilt ones too: hiredis reads the bytes, and what each
 * script's answer is made into is looked at. The driver's own decoding runs.
 *
 * Input: a byte of choices, then RESP. */
#include "tests/fuzz/fuzz.h"

#include "common/json.h"

/* The code under test; the functions renamed here, below, stand for the way to Redis. */
#define queue_call     queue_call_fuzzed
#define queue_call_int queue_call_int_fuzzed
#define conn_call      conn_call_fuzzed
#define conn_place     conn_place_fuzzed
#define queue_ping     queue_ping_fuzzed
#define json_text      json_text_of_queue
#define json_array     json_array_of_queue
#include "common/queue_redis_claim.c"
#include "common/queue_redis_show.c"
#undef json_text
#undef json_array

static struct slice wire;
static int calls;

static struct redisReply *next_reply(struct err *err)
{
    void *reply = NULL;
    redisReader *reader = redisReaderCreate();
    MUST(reader != NULL);
    if (calls++ < 3) { /* a cursor that never ends must not make the target endless */
        (void)redisReaderFeed(reader, wire.bytes, wire.len_bytes);
        if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
            reply = NULL;
        }
    }
    redisReaderFree(reader);
    if (reply == NULL) {
        err_set(err, ERR_UNAVAILABLE, "no reply");
    } else if (reply_check(reply, err) != 0) {
        MUST(err->code == ERR_UNAVAILABLE || err->code == ERR_INTERNAL);
        freeReplyObject(reply);
        reply = NULL;
    }
    return reply;
}

struct redisReply *queue_call(struct queue *q, int shard, enum queue_script script,
                              struct args *args, struct err *err)
{
    (void)q, (void)shard, (void)script;
    args_release(args);
    return next_reply(err);
}

struct redisReply *conn_call(struct conn *c, const struct script *script, int shard,
                             struct args *args, struct err *err)
{
    (void)c, (void)script, (void)shard, (void)args;
    return next_reply(err);
}

int queue_call_int(struct queue *q, int shard, enum queue_script script, struct args *args,
                   int64_t *out, struct err *err)
{
    struct redisReply *reply = queue_call(q, shard, script, args, err);
    if (reply == NULL) {
        return -1;
    }
    if (out != NULL) {
        *out = reply_int(reply, 0);
    }
    freeReplyObject(reply);
    return 0;
}

const struct redis_url *conn_place(const struct conn *c)
{
    static const struct redis_url here = {.host = "localhost", .port = "6379"};
    (void)c;
    return &here;
}

int queue_ping(struct queue *q, struct err *err)
{
    (void)q, (void)err;
    return 0;
}

static void claim(struct queue *q)
{
    struct claim *c = NULL;
    int64_t wait_ms = 0;
    struct err err = {0};
    if (queue_claim(q, QUEUE_BATCH_MAX, &c, &wait_ms, &err) != 0 || c == NULL) {
        return;
    }
    MUST(c->lane >= 0 && c->lane < LANE_COUNT);
    MUST(c->unit_count >= 0 && c->unit_count <= QUEUE_BATCH_MAX);
    for (int i = 0; i < c->unit_count; i++) {
        const struct unit *u = &c->units[i];
        MUST(u->hint_count <= QUEUE_HINTS_MAX);
        MUST(memchr(u->id, '\0', sizeof u->id) != NULL);
        MUST(memchr(u->object, '\0', sizeof u->object) != NULL);
    }
    queue_claim_free(q, c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    unsigned choice = input_byte(&in);
    struct shard_state shard = {0};
    struct queue q = {.shards = 1, .lease_ms = 30000, .renewing = true, .shard = &shard};
    struct err err = {0};
    struct buf text;
    int64_t n = 0;
    wire = input_rest(&in);
    /* hiredis makes room for as many elements as the head of an array promises. */
    for (size_t i = 0; i + 6 < wire.len_bytes; i++) {
        if (wire.bytes[i] == '*' && wire.bytes[i + 6] >= '0' && wire.bytes[i + 6] <= '9') {
            free((char *)(uintptr_t)wire.bytes);
            return 0;
        }
    }
    buf_init(&text, 1 << 20);
    calls = 0;
    switch (choice % 8) {
    case 0:
    case 1:
        claim(&q);
        break;
    case 2: {
        struct queue_stats stats;
        MUST(queue_stats(&q, 0, &stats, &err) == 0 || err.code != ERR_NONE);
        break;
    }
    case 3: {
        json_t *j = NULL;
        if (queue_list(&q, 1, "parked", 100, &text, &err) == 0) {
            j = json_parse((struct slice){text.bytes, text.len_bytes}, &err);
            MUST(j != NULL ||
                 utf8_valid_bytes((struct slice){text.bytes, text.len_bytes}) <
                     text.len_bytes ||
                 strstr(buf_text(&text), "\\u0000") != NULL);
        }
        json_decref(j);
        break;
    }
    case 4:
        MUST(queue_fsck(&q, &text, &n, &err) == 0 || err.code != ERR_NONE);
        break;
    case 5:
        MUST(queue_workers(&q, &text, &err) == 0 || err.code != ERR_NONE);
        break;
    case 6:
        MUST(queue_identity(&q, &text, &err) == 0 || err.code != ERR_NONE);
        break;
    default:
        MUST(queue_check_durability(&q, &text, &err) == 0 || err.code != ERR_NONE);
        break;
    }
    buf_release(&text);
    free((char *)(uintptr_t)wire.bytes);
    return 0;
}
