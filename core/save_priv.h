/* Inside of core/save: what its files share. Programs include core/save.h. */
#ifndef CORE_SAVE_PRIV_H
#define CORE_SAVE_PRIV_H

#include "core/match.h"
#include "core/save.h"

enum { SAVE_STATE_BYTES = 12, SAVE_CODE_BYTES = 40 };

/* One record of the batch: what is known of it, and what was decided. Rows are sorted by
 * record id and hold each id once, so that concurrent saves lock in one order. */
struct save_row {
    const struct save_item *item;
    struct save_verdict *verdict;
    const char *id;
    /* before; filled by save_seen */
    bool fresh;   /* this fetch is the newest */
    bool known;   /* there is a record row */
    bool deleted; /* it was marked so */
    bool was_in_scope;
    char parent[RECORD_ID_MAX_BYTES + 1]; /* "" = none */
    char hash[2 * RECORD_HASH_BYTES + 1]; /* hex; "" = none */
    char state[SAVE_STATE_BYTES];
    char code[SAVE_CODE_BYTES];
    int fail_count;
    /* its link, when the type is a root */
    int64_t customer_id; /* 0 = none */
    int mapping_version;
    bool own;    /* how = source: the customer was made of this record */
    bool intact; /* the customer's mapped fields are as last written */
    bool archived;
    bool timed; /* a full run works its fields out anew, whatever its hash */
    /* decided */
    bool write;    /* the wide row is to be written */
    bool in_scope; /* from now on */
    bool hash_new, hash_clear;
    const char *new_state, *new_code; /* static */
    char error_field[64];
    int problem_count; /* fields held back */
};

/* A root whose customer fields are worked out anew. */
struct root {
    char *id;             /* owned */
    struct save_row *row; /* NULL when the root is not itself of the batch */
    int64_t source_updated_at_ms;
    bool deleted; /* at the provider */
    /* its link */
    int64_t customer_id; /* 0 = none yet */
    const char *how;     /* static: "source", "hand", "id", "domain"; "" = none yet */
    bool linked, intact;
    char state[SAVE_STATE_BYTES], code[SAVE_CODE_BYTES]; /* before, when row is NULL */
    /* made */
    json_t *properties; /* NULL when they could not be derived: problem */
    char *notes;        /* JSON text; NULL = none */
    struct mapping_result mapped;
    struct buf fields;       /* JSON text: all that is mapped; empty = nothing to write */
    struct buf applied;      /* the same without what is written only once */
    struct buf origin;       /* JSON text: where from; empty when it is linked already */
    enum error_type problem; /* of the whole root: no derivation, no match */
    char message[256];
    bool create;
    bool outside; /* none of its parts is in the mirrored scope: no customer is made of it */
};

struct roots {
    struct store_tx *tx;
    const struct connection *conn;
    const struct object_type *object;
    struct root *items;
    int count, cap;
    int64_t now_ms;
    struct rows **domains; /* gets how many domains were written; NULL = not wanted */
    bool domain_made;      /* a new customer has one */
    bool locked;           /* psync.lock_roots() was called for all of them */
    bool of_run;           /* the batch is a chunk's */
    bool may_inherit;      /* a record was merged into one of those that got a customer */
    bool shared;           /* the job's records are of a type that many roots derive from */
};

/* The save of one job. */
struct save {
    struct store_tx *tx;
    const struct save_job *job;
    struct save_row *rows;
    int row_count;
    struct save_result *out;
    int64_t now_ms;
    bool root_self;         /* the job's type is a root whose raw is its bundle */
    bool root;              /* the job's type is a root */
    struct rows *domains;   /* of the part in hand: how many domains were written */
    bool domains_new;       /* who fitted nobody may fit now */
    struct attempt *logged; /* the log rows, to be told of when they are committed */
    int logged_count;
    bool may_inherit; /* a record may have been merged into one that got a customer */
};

/* ---- save_seen.c: what was there ---- */
int save_seen(struct save *s, struct save_row *rows, int n, struct err *err) MUST_USE;
/** Bump, count and mark what failed; waits for nothing. */
int save_seen_failed(struct save *s, struct err *err) MUST_USE;
/** New hash, state, reason where they changed. */
int save_seen_finish(struct save *s, struct save_row *rows, int n, struct err *err) MUST_USE;
/** The same for roots that are not of the batch. */
int save_seen_roots(const struct roots *r, struct err *err) MUST_USE;

/* ---- save_rows.c: the wide rows ---- */
/** Decide what each row needs, by what was there. */
void save_decide(struct save *s, struct save_row *rows, int n);
int save_write_rows(struct save *s, struct save_row *rows, int n, struct err *err) MUST_USE;
/** Erase what a person asked to have erased; after everything else was written. */
int save_erase(struct save *s, struct save_row *rows, int n, struct err *err) MUST_USE;

/* ---- save_erase.c ---- */
/** Queue what erases records. p: connection, type, ids; trail: these, actor, its kind, reason.
 */
int save_erase_send(struct store_tx *tx, const struct params *p, const struct params *trail,
                    struct err *err) MUST_USE;

/* ---- save_roots.c: which roots, and their source properties ---- */
/** The type of a provider's roots; NULL when it has none. */
const struct object_type *roots_type(const struct provider *p);
void roots_release(struct roots *r);
/** Roots among the rows that need work, and those of rows that changed; derived. */
int roots_collect(struct save *s, struct roots *r, struct save_row *rows, int n,
                  struct err *err) MUST_USE;
/** The same for known ids. raws (NULL = as stored, also each by itself) are read instead of
 * what is stored, of a type that is OBJECT_SELF. */
int roots_load(struct roots *r, const char *const *ids, const struct slice *raws, int n,
               struct err *err) MUST_USE;

/* ---- save_map.c: which customer, and which fields ---- */
/** Match what has no link, convert fields. */
int roots_map(struct roots *r, struct err *err) MUST_USE;
/** Lines that a customer made of a billing record needs beside the mapping, or 0. */
int roots_extra_lines(const struct roots *r, struct mapping_field extra[2]);

/* ---- save_customers.c: customers, links, provenance ---- */
int roots_write(struct roots *r, struct err *err) MUST_USE;
int save_archive(struct save *s, struct save_row *rows, int n, struct err *err) MUST_USE;
int save_merge(struct save *s, struct save_row *rows, int n, struct err *err) MUST_USE;

/* ---- save_log.c: attempts, chunk, clocks ---- */
int save_log(struct save *s, struct err *err) MUST_USE;
/** What was logged is committed: count it, and say it. */
void save_log_tell(const struct save *s);

/* ---- save_rematch.c: after the commit ---- */
/** New customers may fit billing records that fitted nobody: match those of the workspace's
 * other connections again. Best effort: the nightly run does the same. */
int save_rematch(struct store *store, const struct save_job *job, struct err *err) MUST_USE;

/** The state of a record with that problem. Static. */
const char *save_state_of(enum error_type type);

/* ---- arrays of rows ---- */
void save_add_ids(struct params *p, const struct save_row *rows, int n,
                  bool (*wanted)(const struct save_row *row));
/** Set a verdict's failure. */
void save_fail(struct save_verdict *v, enum error_type type, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
