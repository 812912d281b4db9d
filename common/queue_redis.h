/* Inside the Redis driver of the queue: only queue_redis*.c include this.
 *
 * One connection for commands and one for blocking pops for each shard; replies come in the
 * order of the requests, so one timer watches the oldest. A reply that is late makes the
 * connection useless, and it is made anew.
 *
 * Where a shard is (queue_redis_place.c): a connection begins at its home, which is one
 * address, sentinels that know one, or nodes of a cluster, and goes where an answer sends it.
 */
#ifndef COMMON_QUEUE_REDIS_H
#define COMMON_QUEUE_REDIS_H

#include "common/buf.h"
#include "common/err.h"
#include "common/queue.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct redisReply;
struct redisAsyncContext;

/* ---- scripts: common/queue_<verb>.lua behind the tables and queue_lib.lua ---- */
enum queue_script {
    SCRIPT_BREAKER,
    SCRIPT_CLAIM,
    SCRIPT_CLOSE,
    SCRIPT_CONFIGURE,
    SCRIPT_CONNECTIONS,
    SCRIPT_DROP,
    SCRIPT_FIND,
    SCRIPT_FINISH,
    SCRIPT_FSCK,
    SCRIPT_LIST,
    SCRIPT_PARK,
    SCRIPT_PAUSE,
    SCRIPT_PING,
    SCRIPT_PUT,
    SCRIPT_QUOTA,
    SCRIPT_REAP,
    SCRIPT_RECEIPTS,
    SCRIPT_RENEW,
    SCRIPT_RESERVE,
    SCRIPT_STATS,
    SCRIPT_THROTTLE,
    SCRIPT_TOLD,
    SCRIPT_UNPARK,
    SCRIPT_WORKERS,
    SCRIPT_COUNT
};
struct script {
    char sha[41];
    struct buf text;
};
/** Build the texts and their names (SHA-1, Redis' own). */
int scripts_init(struct script scripts[SCRIPT_COUNT], const struct queue_options *o,
                 struct err *err) MUST_USE;
void scripts_release(struct script scripts[SCRIPT_COUNT]);

/* ---- arguments in Redis' wire form ---- */
struct args {
    struct buf wire;
    int count;
};
void args_init(struct args *a);
void args_release(struct args *a);
void args_add(struct args *a, const char *bytes, size_t len_bytes);
void args_str(struct args *a, const char *text);
void args_int(struct args *a, int64_t v);

/* ---- a request: a script on a shard, or a plain command ---- */
struct request;
/** reply is lent, NULL with err set. Never called inside conn_send. */
typedef void request_done(struct request *r, struct redisReply *reply, const struct err *err);
struct request {
    struct request *next;
    const struct script *script; /* NULL: args are the whole command */
    int shard;
    struct args args;
    int64_t timeout_ms; /* 0 = the connection's */
    int64_t deadline_mono_ms;
    bool whole_script; /* EVAL: Redis did not know the script by its name */
    int moves;         /* how often it was sent elsewhere */
    request_done *done;
    struct conn *conn;
};

/* ---- where a shard is ---- */
enum redis_kind { REDIS_PLAIN, REDIS_SENTINEL, REDIS_CLUSTER };
struct redis_url {
    enum redis_kind kind;
    bool is_unix;
    bool tls;
    char ca[256];   /* file with the CA; "" = the system's */
    char host[256]; /* or path */
    char port[8];
    char user[128], password[512];
    char db[8];
    char primary[64]; /* of a sentinel: the name under which it knows the primary */
    char sentinel_user[128], sentinel_password[512]; /* "" = those of the primary, or none */
};
int redis_url_parse(const char *text, struct redis_url *out, struct err *err) MUST_USE;
/** Is TLS in this build? */
bool redis_tls_here(void);
/** Begin TLS on a connection that is being made. */
int redis_tls_begin(struct redisAsyncContext *ac, const struct redis_url *url, struct err *err)
    MUST_USE;
/** The address as REDIS_URL would write it, without user and password. */
void redis_url_text(const struct redis_url *url, char *out, size_t out_bytes);

/* What an error answer says about where the shard is. */
enum place {
    PLACE_HERE,  /* nothing */
    PLACE_THERE, /* it was moved */
    PLACE_SOON,  /* it is being moved: ask again in a moment */
};
/** url comes in as the address that gave the answer and goes out as where it sends us; user and
 * password stay. */
enum place place_read(const char *error, struct redis_url *url);
/* Where to begin to look for a shard: one address, or sentinels, or nodes of a cluster. */
struct redis_home {
    const struct redis_url *urls; /* lent */
    int count;
};
/** Addresses of one kind, sentinels by the name of their primary together. Returns how many
 * homes there are, or -1 (ERR_CONFIG). homes has room for url_count. */
int place_homes(struct redis_url *urls, int url_count, struct redis_home *homes,
                struct err *err) MUST_USE;

/* ---- one connection ---- */

struct conn;
/** home's addresses are copied. */
struct conn *conn_new(uv_loop_t *loop, const struct redis_home *home, int64_t timeout_ms,
                      struct err *err) MUST_USE;
/** Where it is, or goes to next. */
const struct redis_url *conn_place(const struct conn *c);
/** Let an idle connection go where another is. */
void conn_follow(struct conn *c, const struct conn *other);
/** Everything under way ends with ERR_CANCELLED; the memory goes with the next loop turn. */
void conn_close(struct conn *c);
/** Send; r must live until done. */
void conn_send(struct conn *c, struct request *r);

/** NULL and err set, or the reply, to be freed by freeReplyObject. Error replies are errors. */
struct redisReply *conn_call(struct conn *c, const struct script *script, int shard,
                             struct args *args, struct err *err) MUST_USE;
/** 0, or -1 with err set when the reply is an error. */
int reply_check(const struct redisReply *reply, struct err *err) MUST_USE;
/** The integer of element i of an array (or its digits as text); 0 when there is none. */
int64_t reply_int(const struct redisReply *reply, size_t i);
/** The text of element i, "" when there is none; len_bytes may be NULL. */
const char *reply_text(const struct redisReply *reply, size_t i, size_t *len_bytes);

/* ---- the queue ---- */
struct put_batch;
struct live_claim;
struct waiter;
struct shard_state {
    struct queue *queue;
    int no;
    struct conn *conn;
    struct conn *wake_conn;
    struct request pop; /* BLPOP, at most one under way */
    bool popping;
    bool away; /* the last ping failed */
    /* For queue_identity: the server last seen, where, and as which it is told. */
    char server[80], told[80], server_at[400];
    struct put_batch *open; /* collects the puts of this loop turn */
    int64_t routes_version;
};
struct queue {
    uv_loop_t *loop;
    int shards, wait_replicas;
    int64_t lease_ms, command_timeout_ms;
    int64_t clock_less_mono_ms; /* Redis' clock less our monotonic one, at the last ping */
    char worker[128];
    struct script scripts[SCRIPT_COUNT];
    struct redis_url *urls;
    struct shard_state *shard;
    uv_prepare_t flush; /* sends the open batches before the loop sleeps */
    uv_timer_t renew;
    bool renewing; /* a claim was asked for: this process is a worker */
    bool closing;
    int handles_open;
    int next_shard;
    struct live_claim *claims;
    struct waiter *waiters;
};

struct conn *queue_conn(const struct queue *q, int shard);
/** conn_call on a shard's connection; args are released. */
struct redisReply *queue_call(struct queue *q, int shard, enum queue_script script,
                              struct args *args, struct err *err) MUST_USE;
/** The same for scripts whose only answer is an integer. */
int queue_call_int(struct queue *q, int shard, enum queue_script script, struct args *args,
                   int64_t *out, struct err *err) MUST_USE;
int queue_check_shard(const struct queue *q, int shard, struct err *err) MUST_USE;

void queue_put_flush(uv_prepare_t *handle);
void queue_put_discard(struct queue *q);
void queue_renew_tick(uv_timer_t *timer);
void queue_claims_discard(struct queue *q);

#endif
