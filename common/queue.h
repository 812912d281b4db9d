/* The queue: an index, in Redis, of work still to do. Lua scripts (queue_*.lua) do every change
 * in one step; queue_redis*.c are the only files that know hiredis.
 *
 * A unit of work has no payload: it says which record (or chunk of a run, or check of a
 * connection) is to be looked at. Putting a unit that waits only counts; putting one that is
 * in work sets its dirty flag, and finishing it puts it back. So any number of events during
 * one fetch cost one more fetch, and the last state always wins.
 *
 * Verbs, one word per meaning: put, claim, complete, release (back to the front, attempts
 * kept), retry (after a delay), park (waits for a fix), unpark, bury (needs a person), reap.
 *
 * Errors: ERR_UNAVAILABLE  Redis away, loading, read-only, out of memory or disk
 *         ERR_TIMEOUT      no answer by the deadline (the effect is unknown; all verbs may be
 *                          repeated)
 *         ERR_CONFLICT     the lease was lost meanwhile
 *         ERR_INTERNAL     a script failed otherwise */
#ifndef COMMON_QUEUE_H
#define COMMON_QUEUE_H

#include "common/buf.h"
#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum {
    QUEUE_ID_MAX_BYTES = 255, /* provider ids: Stripe allows 255 */
    QUEUE_OBJECT_MAX_BYTES = 40,
    QUEUE_BATCH_MAX = 100,
    QUEUE_HINTS_MAX = 8,
    QUEUE_CALL_STALE_MS = 250, /* a call later than this after its token takes its own */
};

enum lane { LANE_INTERACTIVE, LANE_WEBHOOK, LANE_RUN_NOW, LANE_NIGHTLY, LANE_COUNT };
extern const char
    *const lane_names[LANE_COUNT]; /* "interactive", "webhook", "run_now", "nightly" */

enum unit_kind {
    UNIT_RECORD, /* object + id: fetch that record */
    UNIT_CHUNK,  /* object + "<run_id>.<chunk_no>": work that chunk of a run */
    UNIT_CHECK,  /* object "" + "catch-up", "probe", "deauthorized": of the connection itself */
};

/* One unit to be put. Strings are lent for the call. */
struct unit_put {
    int64_t connection_id;
    int shard;
    enum unit_kind kind;
    const char *object; /* "company", "subscription"; "" for a check */
    const char *id;
    enum lane lane;
    const char
        *trigger; /* "webhook", "person", "cli", "nightly", "catch-up", "retry", "reconnect" */
    const char *actor;      /* who pressed, or "" */
    const char *hint;       /* "" or one of privacy_deleted, merged_into=<id>, deauthorized */
    int64_t delay_ms;       /* 0 = at once; a delayed unit that is put at once comes forward */
    int64_t occurred_at_ms; /* the provider's time of the event, for the lag; 0 = unknown */
};

/* What the scripts must know of a connection to claim for it. Set when a connection is made or
 * changed, by queue rebuild, and again by anyone who finds it missing. */
struct queue_connection {
    int64_t connection_id;
    int shard;
    const char *provider; /* "hubspot" */
    const char
        *account; /* limiter key: provider account and mode; two workspaces may share it */
    bool parked;  /* reauthorize or disconnected: waits for a person */
    bool paused;  /* by an admin */
};

/* What a claim must know of each object type and quota family; from the provider table, the
 * same in every program. A provider's first family serves checks and types not in the table. */
struct queue_family {
    const char *provider, *name;
    double rate_per_s; /* GCRA: burst + rate x window <= the provider's limit in any window */
    int burst;
};
struct queue_object {
    const char *provider, *name;
    const char *family; /* its reads use */
    int batch_max;      /* records per call; 1 = one call each */
};

struct queue_options {
    /* redis://[:password@]host:port/db, unix:///path: shard i begins on i mod n;
     * redis[s]+sentinel://, redis[s]+cluster:// (queue_redis_url.c). */
    const char *const *urls;
    int url_count;
    int shards;
    int64_t lease_ms;
    int64_t command_timeout_ms;          /* 0 = 5000 */
    int wait_replicas;                   /* a put counts when so many have it, too */
    const struct queue_family *families; /* lent for the life of the queue */
    int family_count;
    const struct queue_object *objects;
    int object_count;
    const char *worker; /* name in leases and `worker list`: host:pid */
};

struct queue;

/** No connection is made yet. Returns a queue the caller owns, or NULL (ERR_CONFIG, ERR_NOMEM).
 */
struct queue *queue_open(uv_loop_t *loop, const struct queue_options *o, struct err *err)
    MUST_USE;
/** End what is under way with ERR_CANCELLED and forget live claims; NULL is fine. No task may
 * be inside a call. The memory goes with the next turns of the loop. */
void queue_close(struct queue *q);

/** Redis answers a PING on every shard and can be written. Waits in the task. */
int queue_ping(struct queue *q, struct err *err) MUST_USE;
/** The last ping found this shard well; -1 = at least one. */
bool queue_shard_ok(const struct queue *q, int shard);
/** What answers for each shard, as of the last ping, and in which version, "Redis 7.0.15" or
 * "Valkey 8.0.1", commas between different ones. */
int queue_server(struct queue *q, struct buf *out, struct err *err) MUST_USE;
/** One warning text for each weaker-than-promised setting (appendfsync, maxmemory-policy), each
 * ended by a newline; empty when all is well. */
int queue_check_durability(struct queue *q, struct buf *warnings, struct err *err) MUST_USE;

/** Put units (any shards mixed; pipelined, one script call per shard and 200 units). */
int queue_put(struct queue *q, const struct unit_put *puts, int n, struct err *err) MUST_USE;

/* Callback form for the gateway: all puts of one loop turn go in one script call per shard.
 * receipts: JSON objects, one line each, kept in a capped stream (may be lost, units may not).
 * cb gets NULL or the error; called exactly once, never inside this call. */
typedef void queue_put_cb(void *arg, const struct err *err);
void queue_put_start(struct queue *q, const struct unit_put *puts, int n,
                     const char *const *receipts, int receipt_count, queue_put_cb *cb,
                     void *arg);
/** Counter raised by queue_routes_changed, as the last put or ping brought it. */
int64_t queue_routes_version(const struct queue *q);
/** The clock of Redis (of the first shard) less clock_mono_ms(), as of the last ping: what it
 * reads now, also when our own clock has been set meanwhile. 0 = no ping yet. */
int64_t queue_clock_less_mono_ms(const struct queue *q);
int queue_routes_changed(struct queue *q, struct err *err) MUST_USE;

struct unit {
    enum unit_kind kind;
    enum lane lane;
    char object[QUEUE_OBJECT_MAX_BYTES + 1];
    char id[QUEUE_ID_MAX_BYTES + 1];
    char trigger[16];
    char actor[64];
    int64_t first_seen_ms; /* when it began to wait (Redis TIME) */
    int64_t occurred_at_ms;
    int events;   /* how many puts it stands for */
    int attempts; /* failed tries so far, this one not counted */
    int hint_count;
    char hints[QUEUE_HINTS_MAX][QUEUE_ID_MAX_BYTES + 24];
};

/* Units of one object type of one connection under one lease. */
struct claim {
    int shard;
    int64_t connection_id;
    int64_t token; /* fencing token, of this lease */
    enum lane lane;
    int unit_count;
    struct unit *units;
    int calls;                /* provider calls whose quota is already taken */
    int64_t calls_at_mono_ms; /* our clock when they were taken */
    int64_t claimed_at_ms;    /* Redis TIME */
};

/**
 * Take work. *out is NULL when there is none now; then *wait_ms is how long until something is
 * due that is known now (at most 1000). max_units bounds the batch (1..QUEUE_BATCH_MAX).
 */
int queue_claim(struct queue *q, int max_units, struct claim **out, int64_t *wait_ms,
                struct err *err) MUST_USE;
/** Wait until a put may have made work, or timeout_ms; wakes one idle waiter per put. */
void queue_wait(struct queue *q, int64_t timeout_ms);

enum outcome {
    OUTCOME_COMPLETE, /* done (also done with a final error); a dirty unit goes back */
    OUTCOME_RELEASE,  /* attempts kept, to the front or after delay_ms: not our turn, no quota,
                         or the program ends */
    OUTCOME_RETRY,    /* failed: attempts + 1, again after delay_ms */
    OUTCOME_PARK,     /* waits for a fix: reason = error code */
    OUTCOME_BURY,     /* needs a person: reason */
};
struct unit_end {
    enum outcome outcome;
    int64_t delay_ms;
    const char *reason;
};
/** End every unit of the claim (ends[i] belongs to units[i]) and free the claim, whatever comes
 * back. ERR_CONFLICT when the lease was gone: nothing was changed. */
int queue_finish(struct queue *q, struct claim *claim, const struct unit_end *ends,
                 struct err *err) MUST_USE;
/** True once a renewal said that the lease is gone. Leases of live claims are renewed by the
 * queue itself, one call per shard every lease_ms / 6. */
bool queue_claim_lost(const struct queue *q, const struct claim *claim);
/** Renew that claim's lease no longer: who holds it is taken for lost, its units come back when
 * the lease has run out, and the end of the claim will be refused. Named by its token, since
 * its holder may have ended it: then nothing happens. */
void queue_claim_give_up(struct queue *q, int shard, int64_t token);
/** Forget the claim without a word to Redis (its lease runs out). For tests and fatal exits. */
void queue_claim_free(struct queue *q, struct claim *claim);

/** Take n more calls of a family for an account. *wait_ms = 0 when granted, else when to ask
 * again. n = 0 asks whether the account is open. */
int queue_reserve(struct queue *q, int shard, const char *provider, const char *account,
                  const char *family, int n, int64_t *wait_ms, struct err *err) MUST_USE;
/** The same for one call, in line: when it may be sent within patience_ms (at a rate that 429s
 * have lowered: within two steps of it, if that is more) it is taken now, and *wait_ms says in
 * how long it may be sent. Else *granted is false and nothing is taken. */
int queue_reserve_ahead(struct queue *q, int shard, const char *provider, const char *account,
                        const char *family, int64_t patience_ms, bool *granted,
                        int64_t *wait_ms, struct err *err) MUST_USE;
/** A 429 came: close the bucket for wait_ms and lower the rate by 0.7 (it recovers 5 % a
 * minute). */
int queue_throttle(struct queue *q, int shard, const char *provider, const char *account,
                   const char *family, int64_t wait_ms, struct err *err) MUST_USE;
/* What a provider said of its limits in an answer. */
struct queue_told {
    double rate_per_s;               /* to keep its limit with our burst; 0 = it did not say */
    int64_t daily_limit, daily_left; /* calls; -1 = it did not say */
};
/** From now on this rate for a family of an account (kept in Redis), and what `quota` shows. */
int queue_told(struct queue *q, int shard, const char *provider, const char *account,
               const char *family, const struct queue_told *told, struct err *err) MUST_USE;
/** Close every family of an account until then (migrating account, daily limit); no rate
 * change. wait_ms 0 opens it again. */
int queue_close_account(struct queue *q, int shard, const char *provider, const char *account,
                        int64_t wait_ms, const char *reason, struct err *err) MUST_USE;
/** Tell the account's breaker how a call ended (network errors and 5xx are !ok). *open_ms > 0
 * when it is open now. 5 in a row, or 70 % of at least 10 in 5 min; open 60 s doubling to 15
 * min. */
int queue_breaker(struct queue *q, int shard, const char *provider, const char *account,
                  bool ok, int64_t *open_ms, struct err *err) MUST_USE;

/** Make the queue know a connection, or change what it knows. */
int queue_configure(struct queue *q, const struct queue_connection *c, struct err *err)
    MUST_USE;
/** Connections that have units but were never configured (Redis was emptied, say): up to max
 * ids and their shards. */
int queue_unconfigured(struct queue *q, int64_t *connection_ids, int *shards, int max, int *n,
                       struct err *err) MUST_USE;
/** Take a connection out of the ring with its queue kept / put it back and unpark its units
 * that were parked for `reason` (NULL = all). *units = how many came back. */
int queue_park(struct queue *q, int shard, int64_t connection_id, const char *reason,
               struct err *err) MUST_USE;
int queue_unpark(struct queue *q, int shard, int64_t connection_id, const char *reason,
                 int64_t *units, struct err *err) MUST_USE;
/** Pause or resume by an admin: connection_id, or a lane (-1 = all lanes) when it is 0; then
 * shard -1 means every shard. */
int queue_pause(struct queue *q, int shard, int64_t connection_id, int lane, bool paused,
                struct err *err) MUST_USE;
/** Forget all units of a connection (it is deleted). */
int queue_drop_connection(struct queue *q, int shard, int64_t connection_id, struct err *err)
    MUST_USE;

/** Return what ran out of lease, bring forward what is due. Any scheduler may call it at any
 * time. *reaped counts lost leases. */
int queue_reap(struct queue *q, int64_t *reaped, struct err *err) MUST_USE;
/** Read and remove up to max receipts (JSON lines into out), for webhook_event. */
int queue_receipts(struct queue *q, int max, struct buf *out, struct err *err) MUST_USE;

enum { QUEUE_PAUSED_ALL = 1 << LANE_COUNT };
struct queue_stats {
    int64_t waiting[LANE_COUNT];
    int64_t delayed, parked, buried, leased, oldest_age_ms, workers;
    unsigned paused; /* by a person: bit of each lane; QUEUE_PAUSED_ALL */
};
/** Sums over the shards; connection_id 0 = all. */
int queue_stats(struct queue *q, int64_t connection_id, struct queue_stats *out,
                struct err *err) MUST_USE;
/** Every unit in exactly one place, every batch leased, ring = non-empty sets. Violations as
 * text lines; *checked = units seen. */
int queue_fsck(struct queue *q, struct buf *violations, int64_t *checked, struct err *err)
    MUST_USE;
/** JSON array of up to max units of a state ("waiting", "delayed", "parked", "buried",
 * "leased"). */
int queue_list(struct queue *q, int64_t connection_id, const char *state, int max,
               struct buf *json, struct err *err) MUST_USE;
/* Where one unit is. */
struct queue_place {
    const char *state; /* "waiting", "delayed", "parked", "buried", "leased"; NULL = nowhere */
    int lane, attempts;
    int64_t since_ms, due_ms; /* due: of a delayed one */
    char reason[64];          /* of a parked or buried one */
};
/** Find the unit of a record. */
int queue_find(struct queue *q, int shard, int64_t connection_id, const char *object,
               const char *id, struct queue_place *out, struct err *err) MUST_USE;
/** JSON array of the workers seen in the last minute. */
int queue_workers(struct queue *q, struct buf *json, struct err *err) MUST_USE;
/** JSON array of the quota buckets: account, family, rate, used, closed until. */
int queue_quota(struct queue *q, struct buf *json, struct err *err) MUST_USE;
/* How a shard was moved. */
struct queue_move_result {
    char from[400], to[400]; /* addresses, without user and password */
    int64_t keys, bytes;     /* copied */
    int64_t still_ms;        /* how long the shard stood still */
};
/**
 * Move a shard to the Redis at url (user and password are those of REDIS_URL) while programs
 * work: their calls to it wait meanwhile, then go to the new place. force: overwrite what the
 * new place holds of that shard. ERR_CONFLICT: it stayed where it is.
 */
int queue_move_shard(struct queue *q, int shard, const char *url, bool force,
                     struct queue_move_result *result, struct err *err) MUST_USE;
/** The address of the Redis that holds a shard now, without user and password. */
int queue_place(struct queue *q, int shard, char *out, size_t out_bytes, struct err *err)
    MUST_USE;
/** Identity of each Redis (run id, role, and a mark in each shard that FLUSHALL takes away),
 * joined: a change means a gap to catch up. */
int queue_identity(struct queue *q, struct buf *out, struct err *err) MUST_USE;

#endif
