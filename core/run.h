/* Full runs: a run is cut into chunks, rows in PostgreSQL of which the queue holds a window. A
 * chunk's cursor, records and counters commit together, so a run that was killed goes on where
 * it stopped. A claim works one page and gives the chunk back: higher lanes go in between.
 *
 *   HubSpot list  : one 'scope' chunk pages through the members; each page makes 'ids' chunks
 * of a batch read each, and 'related' chunks that find their contacts Stripe        : one
 * 'range' chunk per object type, split by creation time while it has more at the end    :
 * 'sweep' chunks ask once more for what the run did not see, before anything is archived; a
 * large removal is held for a person instead */
#ifndef CORE_RUN_H
#define CORE_RUN_H

#include "core/app.h"
#include "provider/record.h"

struct actor; /* core/actions.h */

enum { RUN_WINDOW = 64, RUN_STALLS_MAX = 5 };

struct run_info {
    int64_t run_id, connection_id;
    int shard;
    char kind[16], status[16], trigger[24], requested_by[64], error_code[48],
        error_message[256];
    int64_t expected; /* -1 = unknown */
    int64_t seen, created, updated, unchanged, skipped, failed, archived, api_calls;
    int64_t chunks_open, chunks_done, chunks_failed;
    int64_t queued_at_ms, started_at_ms, progress_at_ms, finished_at_ms;
    char object[48]; /* type of the first open chunk: the phase */
};

/** How many root records (*o: their type) a full run will probably see: those in the mirrored
 * list, as HubSpot says, else those mirrored now. 0 = nobody knows yet; -1 with err. */
int64_t run_expects(struct store *s, const struct connection *c, const struct object_type **o,
                    struct err *err) MUST_USE;

/**
 * Start a full run of a connection. ERR_CONFLICT when one is live: *run_id is that one;
 * ERR_INVALID when a scope is needed and none is set. lane: LANE_RUN_NOW or LANE_NIGHTLY.
 * due_at_ms: the nightly instant it is for, which fires once whoever sees it first
 * (ERR_CONFLICT with *run_id 0 for the others); 0 = by hand.
 */
int run_start(struct app *app, const struct connection *c, const char *trigger,
              const char *actor, enum lane lane, int64_t due_at_ms, int64_t *run_id,
              struct err *err) MUST_USE;

/* What becomes of many single reads. */
enum run_bulk {
    RUN_BULK_NOT,     /* read them one by one */
    RUN_BULK_STARTED, /* a run of the type reads all of them */
    RUN_BULK_GOES_ON, /* one that was started after the newest change is doing so already */
};
/**
 * Where one call reads one record: when so many reads (20 at least) would cost more than 1.2
 * times the calls of listing the whole type, start a run of that type. newest_ms: the latest
 * change among them.
 */
int run_instead_of_reads(struct app *app, const struct connection *c,
                         const struct object_type *o, int64_t reads, int64_t newest_ms,
                         const char *trigger, enum run_bulk *out, int64_t *run_id,
                         struct err *err) MUST_USE;

/** Read one. ERR_NOT_FOUND. */
int run_load(struct store *s, int64_t run_id, struct run_info *out, struct err *err) MUST_USE;
/** True when it has ended. */
bool run_ended(const struct run_info *r);

/** Keep the queue's window full, and when nothing is left open: sweep, then finish. Any program
 * may call it at any time; also puts again what the queue may have lost. */
int run_advance(struct app *app, int64_t run_id, struct err *err) MUST_USE;
/** The same after a chunk or a page of one. Locks nothing where there is nothing to do: half of
 * the window is filled still, or no chunk waits and one is on its way, whose end comes here. */
int run_go_on(struct app *app, int64_t run_id, struct err *err) MUST_USE;

/** Cancel: no further chunk starts; the page in hand is kept. ERR_CONFLICT when it has ended.
 */
int run_cancel(struct app *app, int64_t run_id, const struct actor *who, struct err *err)
    MUST_USE;

/** Start a full run by what a person has just chosen for the connection, in place of one that
 * is live: begun by the former choice, that one would call things outside that are inside now.
 * *run_id 0: nothing can be read yet, or a run by this choice has begun already. */
int run_start_over(struct app *app, const struct connection *c, const struct actor *who,
                   int64_t *run_id, struct err *err) MUST_USE;

/* A chunk as a worker takes it. */
struct run_chunk {
    int64_t run_id, claim_no;
    int chunk_no, attempts;
    char object[48], kind[16], trigger[24], actor[64];
    char **ids, **parents; /* each ends with NULL; NULL when it has none */
    int id_count;
    char *cursor;   /* NULL = from the start */
    bool too_large; /* its last page did not fit: attempts says how often */
    bool splits;    /* of a range: its first page, or the oldest, may find that it is large */
    int64_t range_from, range_to;
};
void run_chunk_release(struct run_chunk *c);

/** Take a chunk for this claim: raises claim_no, marks the run running. ERR_NOT_FOUND when
 * there is nothing to do any more (done, cancelled). id is the unit's: "<run_id>.<chunk_no>".
 */
int run_chunk_take(struct store *s, const char *id, struct run_chunk *out, struct err *err)
    MUST_USE;

/** A page of the scope was read: members, new chunks and the cursor in one transaction. */
int run_save_scope_page(struct app *app, const struct connection *c,
                        const struct run_chunk *chunk, const struct record_list *page,
                        int api_calls, struct err *err) MUST_USE;
/** Related ids were found (contacts of companies): new chunks, this one done. */
int run_save_related(struct app *app, const struct run_chunk *chunk,
                     const struct record_list *refs, const struct object_type *related,
                     int api_calls, struct err *err) MUST_USE;
/** After a page of a range with more to come: where that is much, give the older half to a
 * chunk of its own while the run has few. When the page's first and last record were created.
 */
int run_split_range(struct app *app, const struct run_chunk *chunk, int64_t first_created_s,
                    int64_t last_created_s, struct err *err) MUST_USE;
/** A chunk cannot be worked: it counts as failed, the run goes on with the others. */
int run_chunk_fail(struct app *app, const struct run_chunk *chunk, const struct failure *why,
                   struct err *err) MUST_USE;
/** The cursor left the set: begin the range again (what is stored already is only compared). */
int run_chunk_rewind(struct app *app, const struct run_chunk *chunk, struct err *err) MUST_USE;

#endif
