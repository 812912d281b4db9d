/* Single statements, scripts and pipelined transactions. */
#include "common/store_pg.h"

#include "common/clock.h"

#include "common/banned.h"

#include <stdlib.h>
#include <string.h>

/* The server's own time-out gets its chance first: it keeps the connection. */
enum { ANSWER_GRACE_MS = 2000 };

/* ---- statements ---- */

static int64_t answer_deadline(const struct store *s)
{
    return clock_mono_ms() + s->conn.statement_timeout_ms + ANSWER_GRACE_MS;
}

static int conn_send(struct pg_conn *c, const char *sql, const struct params *params,
                     struct pg_sent *sent, struct err *err)
{
    struct pg_args args;
    if (params_args(params, &args, err) < 0) {
        return -1;
    }
    if (c->pg == NULL || pg_statement_send(c, sql, &args, sent) < 0) {
        err_set(err, ERR_UNAVAILABLE, "cannot send to PostgreSQL");
        pg_conn_close(c);
        return -1;
    }
    return 0;
}

static int conn_send_sync(struct pg_conn *c, struct err *err)
{
    if (c->pg == NULL || PQpipelineSync(c->pg) != 1) {
        err_set(err, ERR_UNAVAILABLE, "lost the connection to PostgreSQL");
        pg_conn_close(c);
        return -1;
    }
    return 0;
}

enum answer {
    ANSWER_OK,
    ANSWER_FAILED,  /* err says why */
    ANSWER_SKIPPED, /* an earlier statement failed */
    ANSWER_LOST,    /* err says why; the connection is closed */
};

/* Read one answer. *out may be NULL. */
static enum answer answer_read(struct store *s, struct pg_conn *c, struct rows **out,
                               struct err *err)
{
    enum answer answer = ANSWER_OK;
    for (;;) {
        PGresult *result = NULL;
        struct err why = {0};
        if (pg_conn_next(c, answer_deadline(s), &result, &why) < 0) {
            if (answer != ANSWER_FAILED) {
                *err = why; /* else the server's last word is the better one */
            }
            return ANSWER_LOST;
        }
        if (result == NULL) {
            return answer;
        }
        switch (PQresultStatus(result)) {
        case PGRES_TUPLES_OK:
        case PGRES_COMMAND_OK:
        case PGRES_EMPTY_QUERY:
            if (out == NULL) {
                break;
            }
            *out = rows_wrap(result);
            result = NULL;
            if (*out == NULL) {
                err_set(err, ERR_NOMEM, "out of memory for a result");
                answer = ANSWER_FAILED;
            }
            break;
        case PGRES_PIPELINE_ABORTED:
            answer = ANSWER_SKIPPED;
            break;
        default:
            pg_err_result(err, result);
            answer = ANSWER_FAILED;
            break;
        }
        PQclear(result);
    }
}

/* Read a statement's answers. *out may be NULL. */
static enum answer statement_read(struct store *s, struct pg_conn *c,
                                  const struct pg_sent *sent, struct rows **out,
                                  struct err *err)
{
    enum answer before = ANSWER_OK;
    for (int i = 0; i < sent->before; i++) {
        struct err why = {0};
        enum answer answer = answer_read(s, c, NULL, &why);
        if (before == ANSWER_OK && answer != ANSWER_OK) {
            *err = why;
            before = answer;
        }
        if (answer == ANSWER_LOST) {
            return answer;
        }
    }
    pg_prepare_answered(sent, before == ANSWER_OK);
    struct err skipped = {0};
    enum answer own =
        before == ANSWER_OK ? answer_read(s, c, out, err) : answer_read(s, c, NULL, &skipped);
    if (own == ANSWER_LOST) {
        return own;
    }
    enum answer answer = before == ANSWER_OK ? own : before;
    if (answer == ANSWER_FAILED) {
        pg_prepare_failed(s, c, sent, err);
    }
    return answer;
}

/* Read up to the answer of a sync. */
static int sync_read(struct store *s, struct pg_conn *c, struct err *err)
{
    for (;;) {
        PGresult *result = NULL;
        if (pg_conn_next(c, answer_deadline(s), &result, err) < 0) {
            return -1;
        }
        bool end = result != NULL && PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        PQclear(result);
        if (end) {
            return 0;
        }
    }
}

int store_query(struct store *s, const char *sql, const struct params *params,
                struct rows **out, struct err *err)
{
    struct err own = {0};
    err = err == NULL ? &own : err;
    if (out != NULL) {
        *out = NULL;
    }
    struct pg_conn *c = pool_take(s, err);
    if (c == NULL) {
        return -1;
    }
    struct rows *rows = NULL;
    struct pg_sent sent = {0};
    bool pooled = c->pooled;
    int rc = pooled ? pg_conn_send_settings(c, &s->conn, err) : 0;
    if (rc == 0) {
        rc = conn_send(c, sql, params, &sent, err);
    }
    if (rc == 0) {
        rc = conn_send_sync(c, err);
    }
    if (rc == 0) {
        enum answer answer = pooled ? answer_read(s, c, NULL, err) : ANSWER_OK;
        if (answer == ANSWER_OK) {
            answer = statement_read(s, c, &sent, out == NULL ? NULL : &rows, err);
        }
        struct err at_sync = {0};
        rc = answer == ANSWER_OK ? 0 : -1;
        if (answer != ANSWER_LOST && sync_read(s, c, &at_sync) < 0 && rc == 0) {
            /* The commit of a single statement happens at the sync. */
            *err = at_sync;
            rc = -1;
        }
    }
    pool_give_back(s, c);
    if (rc < 0) {
        rows_free(rows);
    } else if (out != NULL) {
        *out = rows;
    }
    return rc;
}

/* The simple protocol takes many statements in one string; pipeline mode does not. */
static int script_run(struct store *s, struct pg_conn *c, const char *sql, struct err *err)
{
    if (c->pg == NULL || PQexitPipelineMode(c->pg) != 1 || PQsendQuery(c->pg, sql) != 1) {
        err_set(err, ERR_UNAVAILABLE, "cannot send to PostgreSQL");
        pg_conn_close(c);
        return -1;
    }
    enum answer answer = answer_read(s, c, NULL, err);
    if (answer != ANSWER_LOST && PQenterPipelineMode(c->pg) != 1) {
        pg_conn_close(c);
    }
    return answer == ANSWER_OK ? 0 : -1;
}

int store_script(struct store *s, const char *sql, struct err *err)
{
    struct err own = {0};
    err = err == NULL ? &own : err;
    struct pg_conn *c = pool_take(s, err);
    if (c == NULL) {
        return -1;
    }
    int rc = script_run(s, c, sql, err);
    pool_give_back(s, c);
    return rc;
}

/* ---- transactions ---- */

/* A queued statement. */
struct pending {
    struct rows **out; /* where its result goes, or NULL */
    struct pg_sent sent;
};

struct store_tx {
    struct store *store;
    struct pg_conn *conn;
    struct pending *pending;
    int pending_count, pending_cap;
    bool failed;
};

/* Room for one more answer. */
static int tx_reserve(struct store_tx *tx, struct err *err)
{
    if (tx->pending_count == tx->pending_cap) {
        int cap = tx->pending_cap == 0 ? 16 : tx->pending_cap * 2;
        struct pending *pending = realloc(tx->pending, (size_t)cap * sizeof *pending);
        if (pending == NULL) {
            err_set(err, ERR_NOMEM, "out of memory for a transaction");
            return -1;
        }
        tx->pending = pending;
        tx->pending_cap = cap;
    }
    return 0;
}

static int tx_queue(struct store_tx *tx, const char *sql, const struct params *params,
                    struct rows **out, struct err *err)
{
    if (tx_reserve(tx, err) < 0) {
        return -1;
    }
    struct pending pending = {.out = out};
    if (conn_send(tx->conn, sql, params, &pending.sent, err) < 0) {
        tx->failed = true;
        return -1;
    }
    tx->pending[tx->pending_count++] = pending;
    return 0;
}

static int tx_settings(struct store_tx *tx, struct err *err)
{
    if (!tx->conn->pooled) {
        return 0;
    }
    if (tx_reserve(tx, err) < 0 || pg_conn_send_settings(tx->conn, &tx->store->conn, err) < 0) {
        tx->failed = true;
        return -1;
    }
    tx->pending[tx->pending_count++] = (struct pending){0};
    return 0;
}

static void tx_end(struct store_tx *tx)
{
    pool_give_back(tx->store, tx->conn);
    free(tx->pending);
    free(tx);
}

struct store_tx *store_begin(struct store *s, struct err *err)
{
    struct err own = {0};
    err = err == NULL ? &own : err;
    struct pg_conn *c = pool_take(s, err);
    if (c == NULL) {
        return NULL;
    }
    struct store_tx *tx = calloc(1, sizeof *tx);
    if (tx == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a transaction");
        pool_give_back(s, c);
        return NULL;
    }
    tx->store = s;
    tx->conn = c;
    if (tx_queue(tx, "BEGIN", NULL, NULL, err) < 0 || tx_settings(tx, err) < 0) {
        tx_end(tx);
        return NULL;
    }
    return tx;
}

static int tx_check(const struct store_tx *tx, struct err *err)
{
    if (tx->conn->pg == NULL) {
        err_set(err, ERR_UNAVAILABLE, "lost the connection to PostgreSQL");
        return -1;
    }
    if (tx->failed) {
        err_set(err, ERR_INTERNAL, "the transaction has failed already");
        return -1;
    }
    return 0;
}

int store_send(struct store_tx *tx, const char *sql, const struct params *params,
               struct rows **out, struct err *err)
{
    if (out != NULL) {
        *out = NULL;
    }
    if (tx_check(tx, err) < 0) {
        return -1;
    }
    return tx_queue(tx, sql, params, out, err);
}

/* Send and read all that is queued. keep = hand results out, else drop them. */
static int tx_flush(struct store_tx *tx, bool keep, struct err *err)
{
    int count = tx->pending_count;
    tx->pending_count = 0;
    if (conn_send_sync(tx->conn, err) < 0) {
        tx->failed = true;
        return -1;
    }
    int rc = 0;
    for (int i = 0; i < count; i++) {
        struct err why = {0};
        struct rows *rows = NULL;
        struct rows **out = keep ? tx->pending[i].out : NULL;
        enum answer answer = statement_read(tx->store, tx->conn, &tx->pending[i].sent,
                                            out == NULL ? NULL : &rows, &why);
        if (out != NULL) {
            *out = rows;
        }
        if (answer != ANSWER_OK && rc == 0) {
            *err = why;
            rc = -1;
        }
        if (answer == ANSWER_LOST) {
            tx->failed = true;
            return -1;
        }
    }
    struct err at_sync = {0};
    if (sync_read(tx->store, tx->conn, &at_sync) < 0) {
        if (rc == 0) {
            *err = at_sync;
        }
        rc = -1;
    }
    tx->failed = tx->failed || rc < 0;
    return rc;
}

int store_sync(struct store_tx *tx, struct err *err)
{
    struct err own = {0};
    err = err == NULL ? &own : err;
    if (tx_check(tx, err) < 0) {
        return -1;
    }
    return tx_flush(tx, true, err);
}

enum { SAVEPOINT_MAX_BYTES = 100 };

static int tx_queue_named(struct store_tx *tx, const char *verb, const char *name,
                          struct err *err)
{
    char sql[SAVEPOINT_MAX_BYTES];
    int n = snprintf(sql, sizeof sql, "%s %s", verb, name);
    if (n < 0 || (size_t)n >= sizeof sql) {
        err_set(err, ERR_INTERNAL, "the name of a savepoint is too long");
        return -1;
    }
    return tx_queue(tx, sql, NULL, NULL, err);
}

int store_savepoint(struct store_tx *tx, const char *name, struct err *err)
{
    if (tx_check(tx, err) < 0) {
        return -1;
    }
    return tx_queue_named(tx, "SAVEPOINT", name, err);
}

int store_rollback_to(struct store_tx *tx, const char *name, struct err *err)
{
    struct err own = {0};
    err = err == NULL ? &own : err;
    if (tx->pending_count > 0) {
        struct err ignored = {0};
        (void)tx_flush(tx, false, &ignored);
    }
    tx->failed = false;
    if (tx_check(tx, err) < 0 || tx_queue_named(tx, "ROLLBACK TO SAVEPOINT", name, err) < 0) {
        return -1;
    }
    return tx_flush(tx, false, err);
}

int store_script_in(struct store_tx *tx, const char *sql, struct err *err)
{
    struct err own = {0};
    err = err == NULL ? &own : err;
    if (store_sync(tx, err) < 0) {
        return -1;
    }
    if (script_run(tx->store, tx->conn, sql, err) < 0) {
        tx->failed = true;
        return -1;
    }
    return 0;
}

int store_commit(struct store_tx *tx, struct err *err)
{
    struct err own = {0};
    err = err == NULL ? &own : err;
    int rc = tx_check(tx, err);
    if (rc == 0) {
        rc = tx_queue(tx, "COMMIT", NULL, NULL, err);
    }
    if (rc == 0) {
        rc = tx_flush(tx, true, err);
    }
    if (rc < 0) {
        store_abort(tx);
    } else {
        tx_end(tx);
    }
    return rc;
}

void store_abort(struct store_tx *tx)
{
    if (tx == NULL) {
        return;
    }
    /* Twice: a queued statement that fails makes the server skip the first ROLLBACK. */
    for (int i = 0; i < 2 && tx->conn->pg != NULL; i++) {
        struct err ignored = {0};
        if (tx_queue(tx, "ROLLBACK", NULL, NULL, &ignored) < 0) {
            break;
        }
        if (tx_flush(tx, false, &ignored) == 0) {
            break;
        }
    }
    tx_end(tx); /* closes the connection if it is not idle after all */
}

void store_abortp(struct store_tx **tx)
{
    store_abort(*tx);
    *tx = NULL;
}
