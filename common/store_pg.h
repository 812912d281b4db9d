/* Inside the PostgreSQL store: what its own files share. Nobody else includes this. */
#ifndef COMMON_STORE_PG_H
#define COMMON_STORE_PG_H

#include "common/store.h"
#include "common/task.h"

#include <libpq-fe.h>

/* ---- store_pg_params.c ---- */

enum { PARAMS_MAX = 100, PARAMS_MAX_BYTES = 768 * 1024 * 1024 };

/* The arrays libpq wants, made for one call. */
struct pg_args {
    int count;
    Oid types[PARAMS_MAX];
    const char *values[PARAMS_MAX];
    int lengths[PARAMS_MAX];
    int formats[PARAMS_MAX];
};

/** Fill args from p (may be NULL); they lend p's bytes. -1 when building p had failed. */
int params_args(const struct params *p, struct pg_args *args, struct err *err) MUST_USE;

/* ---- store_pg_rows.c ---- */

/** Take the result. NULL when memory ran out (the result is cleared then). */
struct rows *rows_wrap(PGresult *result) MUST_USE;

/** Set err from a failed result; sqlstate and the code as store.h has them. */
void pg_err_result(struct err *err, const PGresult *result);

/* ---- store_pg_resolve.c ---- */

/* Host, address and port lists as PQconnectStartParams takes them: one item an address. */
struct pg_hosts {
    struct buf host, hostaddr, port;
};

void pg_hosts_release(struct pg_hosts *h);
/** Look up each name of a comma-separated list; sockets and literal addresses pass through. */
int pg_hosts_resolve(uv_loop_t *loop, const char *hosts, const char *ports,
                     int64_t deadline_mono_ms, struct pg_hosts *out, struct err *err) MUST_USE;

/* ---- store_pg_prepare.c ---- */

struct pg_conn;
struct pg_prepared; /* the statements of one connection */
struct pg_text;

/* What was sent for one statement. */
struct pg_sent {
    struct pg_text *text; /* it went by name; NULL = it did not */
    int before;           /* answers that come before the statement's own */
};

/** Send one statement, by name where that pays; fills sent. -1 when libpq failed: close. */
int pg_statement_send(struct pg_conn *c, const char *sql, const struct pg_args *args,
                      struct pg_sent *sent) MUST_USE;
/** The answers before the statement's own have come; ok = none of them failed. */
void pg_prepare_answered(const struct pg_sent *sent, bool ok);
/** The statement failed: where its name may be why, the connection is closed when given back;
 * if it surely is, all connections are and err is ERR_CONFLICT. */
void pg_prepare_failed(struct store *s, struct pg_conn *c, const struct pg_sent *sent,
                       struct err *err);
void pg_prepared_free(struct pg_prepared *p);

/* ---- store_pg_conn.c ---- */

struct pg_conn {
    PGconn *pg;      /* NULL = closed */
    uv_poll_t *poll; /* on its socket; frees itself when closed */
    bool in_use;     /* by a task */
    bool pooled;     /* behind a pooler that gives each transaction another session */
    bool stale;      /* to be closed when it is given back, not to be taken again */
    struct pg_prepared *prepared;
    struct pg_conn *next; /* among the idle ones */
};

struct pg_conn_options {
    uv_loop_t *loop;
    PQconninfoOption *info; /* of the URL */
    const char *application_name;
    const char *role;
    bool generic_plans;
    int64_t statement_timeout_ms;
};

/** Connect and set the session up. -1 with ERR_UNAVAILABLE, or ERR_CONFIG / ERR_NOMEM. */
int pg_conn_open(struct pg_conn *c, const struct pg_conn_options *o, int64_t deadline_mono_ms,
                 struct err *err) MUST_USE;
void pg_conn_close(struct pg_conn *c);
/* Settings of the session, for this transaction only: what a pooled connection begins each
 * with. Sends; its answer is one row. */
int pg_conn_send_settings(struct pg_conn *c, const struct pg_conn_options *o, struct err *err)
    MUST_USE;
/** Is a connection that nobody used still good? Does not wait. */
bool pg_conn_alive(const struct pg_conn *c);
/**
 * Send what is queued and wait for the next result. *result NULL = end of one statement's.
 * -1 with the connection closed: ERR_TIMEOUT or ERR_UNAVAILABLE.
 */
int pg_conn_next(struct pg_conn *c, int64_t deadline_mono_ms, PGresult **result,
                 struct err *err) MUST_USE;

/* ---- store_pg_pool.c ---- */

/* A task in the queue for a connection; lives on its stack. */
struct waiter {
    struct wake wake;
    struct waiter *next;
    struct pg_conn *granted; /* NULL when fired: look again, or failed */
    bool failed;
};

struct store {
    struct pg_conn_options conn;
    int64_t connect_timeout_ms;
    int64_t pool_timeout_ms;
    int max_connections;
    struct pg_conn *idle;
    struct waiter *waiters, **waiters_tail;
    bool probing;             /* a task is trying to connect to a server that was away */
    int64_t backoff_ms;       /* 0 = the last attempt worked */
    int64_t retry_at_mono_ms; /* with backoff_ms */
    struct err last;          /* why the last attempt failed */
    struct pg_conn conns[];
};

/** A connection for the calling task. NULL with ERR_UNAVAILABLE or ERR_TIMEOUT. */
struct pg_conn *pool_take(struct store *s, struct err *err) MUST_USE;
/** Also when it was closed meanwhile; closes one that is still in a transaction. */
void pool_give_back(struct store *s, struct pg_conn *c);

#endif
