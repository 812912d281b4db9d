/* The log: one attempt = one try at one unit. */
#ifndef CORE_ATTEMPT_H
#define CORE_ATTEMPT_H

#include "common/log.h"
#include "common/queue.h"
#include "common/store.h"
#include "provider/record.h"

enum attempt_status {
    ATTEMPT_SUCCEEDED,
    ATTEMPT_PARTIAL,
    ATTEMPT_FAILED,
    ATTEMPT_RETRYING,
    ATTEMPT_SKIPPED,
    ATTEMPT_CANCELLED,
    ATTEMPT_INTERRUPTED
};
extern const char *const attempt_status_names[];

/* The last call of an ask, kept so that a failure can show it. */
struct exchange {
    const char *method;                    /* static */
    const char *endpoint;                  /* static template */
    struct buf url;                        /* without secrets */
    struct buf headers;                    /* of the answer */
    struct buf body;                       /* of the answer, at most 64 KiB, not yet redacted */
    char request_id[REQUEST_ID_MAX_BYTES]; /* the provider's own, "" = none */
    int status;
    int64_t took_us;
};
void exchange_init(struct exchange *e);
void exchange_release(struct exchange *e);

/* A row to be. Strings lent. */
struct attempt {
    int64_t attempt_id; /* set by attempt_send */
    int64_t connection_id, run_id, customer_id;
    enum unit_kind kind;
    const char *trigger, *actor, *object, *record_id; /* record_id NULL for a chunk */
    int attempt_no;
    enum attempt_status status;
    struct failure failure; /* type ET_NONE when it succeeded */
    const char *error_field;
    int error_count, seen, changed, events;
    int64_t fetch_no, started_at_ms, queue_wait_ms, duration_ms, lag_ms; /* lag -1 = unknown */
    int64_t next_retry_at_ms;                                            /* 0 = none */
    bool recovers; /* earlier tries failed: they are resolved when this one did not */
    const char *worker;
    const struct exchange *exchange; /* kept as the body when the attempt failed; NULL = none */
    bool bodyless;                   /* other rows keep what was answered */
    struct slice slice; /* the record's own part of the answer; replaces the body */
};

/**
 * Queue rows (and bodies of those that did not succeed, redacted, at most 64 KiB) into a
 * transaction, by arrays; waits once, for the ids. All rows are of one connection. Where
 * recovers is set, earlier failed or retrying attempts at the same record are marked
 * resolved_by when the new one succeeded or was skipped.
 */
int attempt_send(struct store_tx *tx, struct attempt *rows, int n, struct err *err) MUST_USE;

/**
 * A line of the program's log for each row that was committed, with the ids by which the page,
 * the command and SQL know it: errors at info, all others at debug. Nothing of a provider's or
 * a customer's words is in it: those are in the row.
 */
void attempt_tell(const struct log *log, const char *provider, const struct attempt *rows,
                  int n);

/** Mark earlier failed tries at these records as resolved by that attempt (of a chunk). */
int attempt_resolve_send(struct store_tx *tx, int64_t connection_id, const char *object,
                         const char *const *ids, int n, int64_t attempt_id, struct err *err)
    MUST_USE;

/* What becomes of a unit after a failure. */
struct retry_plan {
    enum outcome outcome;       /* COMPLETE (final), RETRY, PARK, RELEASE (quota: no attempt) */
    enum attempt_status status; /* RETRYING, FAILED, SKIPPED, PARTIAL (stored, not mapped) */
    int64_t delay_ms;
};
/** What the provider advised (Stripe-Should-Retry) first: yes = as auto, no = parked. Then the
 * type's row in the table: auto = full jitter from 2 s to 15 min, 8 tries, what the
 * provider asked first, then parked; after_fix = parked; manual, never = final; mapping and
 * matching are final, since the record is stored. random01 in [0, 1). */
void attempt_retry_plan(const struct failure *f, int attempts_so_far, double random01,
                        struct retry_plan *out);
/** A number in [0, 1) for it, different in every process. */
double attempt_random01(void);

#endif
