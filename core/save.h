/* Writing what was fetched: records, customers, provenance, checkpoint, counters and log rows
 * in one PostgreSQL transaction.
 *
 * Order is by fetch_no, drawn before the request: a row is replaced only by a higher one. The
 * wide row is written only when its hash differs; mapping is skipped only when hash, mapping
 * version and the customer's mapped fields are all as they were. A record that PostgreSQL
 * refuses is found by halving under savepoints and gets its own error row; the rest commits. */
#ifndef CORE_SAVE_H
#define CORE_SAVE_H

#include "core/attempt.h"
#include "core/connection.h"
#include "core/meters.h"

enum scope_verdict { SCOPE_IN, SCOPE_OUT, SCOPE_KEEP /* as the row says; no scope question */ };

struct save_item {
    const struct record *record; /* FOUND, GONE, MERGED or FAILED; REF with SCOPE_OUT = not
                                    read, because it is outside */
    const struct unit *unit;     /* the record unit it answers; NULL in a chunk */
    const char *parent_id;       /* contact: its company; NULL = from raw, or as it was */
    enum scope_verdict scope;
};

/* Chunk bookkeeping that commits with the records. */
struct save_chunk {
    int64_t run_id;
    int chunk_no;
    int64_t claim_no; /* must still be the chunk's: else ERR_CONFLICT and nothing is written */
    const char *cursor; /* where to go on, NULL = none */
    bool done;
    int api_calls;
    int64_t throttled_ms; /* waited for the provider's limit */
};

struct save_result;
struct save_job {
    const struct connection *conn;
    const struct object_type *object;
    int64_t fetch_no;
    int64_t run_id; /* full run that sees these records, else 0 */
    const struct save_item *items;
    int item_count;
    const struct save_chunk *chunk; /* NULL for record units */
    const struct claim *claim; /* for trigger, waits and times; of the chunk or the units */
    const struct exchange *exchange;
    int64_t started_at_ms;
    const char *worker;
    struct meters *meters; /* counts what is logged; NULL = nobody asks */
    const struct log *log; /* says it too; NULL = does not */
    bool from_delivery;    /* a delivery put these units: moves last_incremental_at */
    /* Only to see what would happen: called in place of writing the log, and then nothing is
     * committed (core/preview.h). NULL = save. */
    int (*peek)(struct store_tx *tx, const struct save_result *out, void *arg, struct err *err);
    void *peek_arg;
};

struct save_verdict {       /* one for each item */
    struct failure failure; /* type ET_NONE = written or already equal */
    struct retry_plan plan; /* what becomes of its unit */
    int64_t customer_id;    /* 0 = none */
    bool changed;
    bool stale;         /* a later fetch is stored already */
    bool restored;      /* it was deleted, and is there again */
    bool entered, left; /* it is in the mirror now and was not, or the reverse */
};

struct save_result {
    struct save_verdict *verdicts; /* item_count of them; save_result_release() */
    int64_t created, updated, unchanged, skipped, failed;
};
void save_result_release(struct save_result *r);

/**
 * Write it all. Repeats the whole on 40P01/40001 a few times. Returns 0, or -1:
 *   ERR_CONFLICT     the chunk belongs to another claim now
 *   ERR_UNAVAILABLE  PostgreSQL is away: nothing (or, at COMMIT, perhaps all) is written
 */
int save_records(struct store *s, const struct save_job *job, struct save_result *out,
                 struct err *err) MUST_USE;

/**
 * Work out anew, from what is stored, what customers derive from a connection's root records
 * and what hangs below them; *roots were looked at. Nothing to do where a root is all there is.
 */
int save_rework(struct store *s, int64_t connection_id, int64_t *roots, struct err *err)
    MUST_USE;

/**
 * Log rows for units whose ask failed as a whole (no records): one row a record unit, one for a
 * chunk. plans[i] belongs to claim->units[i].
 */
int save_failure(struct store *s, const struct save_job *job, const struct failure *why,
                 const struct retry_plan *plans, struct err *err) MUST_USE;

#endif
