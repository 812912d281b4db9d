/* PostgreSQL through libpq, asynchronous and in pipeline mode, under libuv. The only files that
 * know libpq are store_pg*.c.
 *
 * A store is a pool of connections to one database. Each is opened when needed, opened again
 * when lost (back-off 0.1 s doubling to 2 s, then every call fails at once with ERR_UNAVAILABLE
 * until one works), never used by two tasks at once. All calls wait in the calling task.
 *
 * Errors: ERR_UNAVAILABLE  no connection (08*, 57P0*, lost in between): repeat the whole
 *         ERR_CONFLICT     40001, 40P01, 55P03; 0A000, 26000 of a prepared statement (its table
 *                          has changed): repeat the whole
 *         ERR_REJECTED     22*, 23*: the data; err->sqlstate says which
 *         ERR_TIMEOUT      statement or pool deadline
 *         ERR_DENIED       42501
 *         ERR_INTERNAL     any other SQLSTATE (a wrong statement of ours), disk full is
 *                          ERR_UNAVAILABLE with sqlstate 53100 */
#ifndef COMMON_STORE_H
#define COMMON_STORE_H

#include "common/buf.h"
#include "common/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct store;
struct store_tx;
struct rows;

struct store_options {
    const char *url;              /* postgresql://... */
    const char *application_name; /* static */
    const char *role;             /* SET ROLE after connecting, NULL = none */
    int max_connections;          /* of the pool */
    int64_t connect_timeout_ms;   /* 0 = 5000 */
    int64_t statement_timeout_ms; /* 0 = 30000; also the server's statement_timeout */
    int64_t pool_timeout_ms;      /* waiting for a free connection; 0 = 30000 */
    bool generic_plans; /* what is prepared is planned once for all values, and not anew for
                           each where the planner hopes for a better one: for statements that
                           look up by keys. Not behind a pooler, where nothing is prepared. */
};

/** No connection is made yet. Returns a store the caller owns, or NULL (ERR_CONFIG, ERR_NOMEM).
 */
struct store *store_new(uv_loop_t *loop, const struct store_options *o, struct err *err)
    MUST_USE;
void store_free(struct store *s);

/* ---- values of a statement: $1, $2, ... in the order they are added. Zero-initialise. ---- */
struct params;
/** Values are copied (arrays of big JSON too, once, straight into the wire form). Never NULL:
 * where there is no memory, the statement they are given to says so (ERR_NOMEM). */
struct params *params_new(void) MUST_USE;
void params_free(struct params *p);
void params_freep(struct params **p);
void params_null(struct params *p);
void params_text(struct params *p, const char *text); /* NULL = SQL NULL */
void params_text_n(struct params *p, const char *bytes, size_t len_bytes);
void params_int(struct params *p, int64_t v);
void params_bool(struct params *p, bool v);
void params_float(struct params *p, double v);
void params_bytea(struct params *p, const void *bytes,
                  size_t len_bytes);                  /* NULL bytes = NULL */
void params_time_ms(struct params *p, int64_t at_ms); /* timestamptz; 0 = NULL */
void params_json(struct params *p, const json_t *v);  /* its text; NULL = SQL NULL */
/* One-dimensional arrays in binary form. begin, then one call for each element, then end. */
enum param_array { ARRAY_TEXT, ARRAY_INT8, ARRAY_BYTEA, ARRAY_BOOL, ARRAY_TIME };
void params_array_begin(struct params *p, enum param_array type);
void params_array_text(struct params *p, const char *bytes,
                       size_t len_bytes);           /* NULL = NULL; also bytea */
void params_array_int(struct params *p, int64_t v); /* int8, bool (0/1), time (ms; 0 = NULL) */
void params_array_null(struct params *p);
void params_array_end(struct params *p);

/* ---- results (text format) ---- */
void rows_free(struct rows *r);
void rows_freep(struct rows **r);
int rows_count(const struct rows *r); /* 0 for NULL */
int64_t rows_affected(const struct rows *r);
bool rows_is_null(const struct rows *r, int row, int column);
/** Text of a value ("" for NULL), lent until rows_free. */
const char *rows_text(const struct rows *r, int row, int column);
size_t rows_len(const struct rows *r, int row, int column);
int64_t rows_int(const struct rows *r, int row, int column); /* 0 for NULL */
double rows_float(const struct rows *r, int row, int column);
bool rows_bool(const struct rows *r, int row, int column);
/** bytea in hex text form decoded; NULL with len 0 for SQL NULL. Caller frees. */
unsigned char *rows_bytea(const struct rows *r, int row, int column, size_t *len_bytes);
int rows_columns(const struct rows *r);
const char *rows_column_name(const struct rows *r, int column);

/** One statement, committed by itself. params may be NULL. out may be NULL; else rows_free. */
int store_query(struct store *s, const char *sql, const struct params *params,
                struct rows **out, struct err *err) MUST_USE;

/** Several statements in one string without parameters. PostgreSQL takes them as one
 * transaction, unless the text itself says BEGIN and COMMIT. */
int store_script(struct store *s, const char *sql, struct err *err) MUST_USE;

/* ---- a transaction; statements are pipelined ---- */
/** Take a connection and queue BEGIN (READ COMMITTED). NULL with err set. */
struct store_tx *store_begin(struct store *s, struct err *err) MUST_USE;
/** Queue one statement without waiting. sql is static. *out (may be NULL) is set by the next
 * store_sync or store_commit, and is the caller's. params may be freed after the call. */
int store_send(struct store_tx *tx, const char *sql, const struct params *params,
               struct rows **out, struct err *err) MUST_USE;
/** Send what is queued and wait for it. On -1 err is the first statement's failure, the
 * transaction is failed (only store_rollback_to and store_abort are left). */
int store_sync(struct store_tx *tx, struct err *err) MUST_USE;
/** Queue SAVEPOINT name / queue and wait for ROLLBACK TO name. name is static. */
int store_savepoint(struct store_tx *tx, const char *name, struct err *err) MUST_USE;
int store_rollback_to(struct store_tx *tx, const char *name, struct err *err) MUST_USE;
/** Wait for what is queued, then run several statements in one string (migrations). */
int store_script_in(struct store_tx *tx, const char *sql, struct err *err) MUST_USE;
/** Queue COMMIT, wait, give the connection back; tx is gone whatever comes back. A lost
 * connection here means unknown: ERR_UNAVAILABLE. */
int store_commit(struct store_tx *tx, struct err *err) MUST_USE;
/** ROLLBACK and give the connection back. NULL is fine. Never fails. */
void store_abort(struct store_tx *tx);
void store_abortp(struct store_tx **tx);

/* A connection of its own, outside the pool, for LISTEN or advisory locks, is not needed:
 * pg_advisory_xact_lock inside a transaction serves. */

#endif
