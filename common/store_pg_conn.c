/* One connection: opened, watched and read by libuv, in pipeline mode all the time.
 *
 * No options= at connecting: PgBouncer in transaction mode refuses it. The session is set up by
 * one statement instead; but a pooler would give these settings, the role among them, to
 * whoever has that session next. It shows by the process that answers: another one than the
 * greeting named. Then each transaction begins with them, for itself, and no statement is
 * prepared under a name: the next transaction would not find it. A statement whose answer does
 * not come in time costs the connection; PQcancel would block and needs a second one. */
#include "common/store_pg.h"

#include "common/clock.h"

#include "common/banned.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* A host that is cut off within a transaction keeps its rows locked until the server gives it
 * up; ours wait for nobody but PostgreSQL while one is open. */
enum { KEYWORDS_MAX = 80, IDLE_IN_TRANSACTION_MS = 10000 };

/* ---- waiting for a socket ---- */

static void on_poll(uv_poll_t *handle, int status, int events)
{
    (void)status; /* an error shows when libpq reads or writes */
    (void)events;
    (void)uv_poll_stop(handle);
    wake_fire(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle);
}

static uv_poll_t *poll_new(uv_loop_t *loop, int fd, struct err *err)
{
    uv_poll_t *p = malloc(sizeof *p);
    if (p == NULL) {
        err_set(err, ERR_NOMEM, "out of memory watching a connection to PostgreSQL");
        return NULL;
    }
    int rc = uv_poll_init(loop, p, fd);
    if (rc < 0) {
        free(p);
        err_set(err, ERR_OS, "cannot watch a connection to PostgreSQL: %s", uv_strerror(rc));
        return NULL;
    }
    return p;
}

/* Before libpq closes the socket: libuv must have let go of it. */
static void poll_close(uv_poll_t *p)
{
    if (p != NULL) {
        uv_close((uv_handle_t *)p, on_poll_closed);
    }
}

static int poll_wait(uv_poll_t *p, int events, int64_t deadline_mono_ms, struct err *err)
{
    struct wake wake = {0};
    // cppcheck-suppress autoVariables ; the callback is stopped before this returns
    p->data = &wake;
    int rc = uv_poll_start(p, events, on_poll);
    if (rc < 0) {
        err_set(err, ERR_OS, "cannot watch a connection to PostgreSQL: %s", uv_strerror(rc));
        return -1;
    }
    rc = wake_wait(&wake, deadline_mono_ms, err);
    (void)uv_poll_stop(p);
    return rc;
}

/* ---- connecting ---- */

struct keywords {
    const char *names[KEYWORDS_MAX];
    const char *values[KEYWORDS_MAX];
    int count;
};

static void keyword_add(struct keywords *k, const char *name, const char *value)
{
    if (k->count < KEYWORDS_MAX - 1) {
        k->names[k->count] = name;
        k->values[k->count] = value;
        k->count++;
    }
}

static const char *info_value(const PQconninfoOption *info, const char *name)
{
    for (const PQconninfoOption *o = info; o->keyword != NULL; o++) {
        if (strcmp(o->keyword, name) == 0) {
            return o->val;
        }
    }
    return NULL;
}

/* What the URL may say otherwise. A dead peer must not hold a connection for two hours. */
static const struct {
    const char *name, *value;
} link_defaults[] = {
    {"keepalives_idle", "30"},
    {"keepalives_interval", "10"},
    {"keepalives_count", "3"},
    {"tcp_user_timeout", "30000"},
};

static void keywords_fill(struct keywords *k, const struct pg_conn_options *o,
                          const struct pg_hosts *hosts)
{
    static const char *const ours[] = {"host", "hostaddr", "port", "client_encoding",
                                       "connect_timeout"};
    for (size_t i = 0; i < COUNT_OF(link_defaults); i++) {
        if (info_value(o->info, link_defaults[i].name) == NULL) {
            keyword_add(k, link_defaults[i].name, link_defaults[i].value);
        }
    }
    for (const PQconninfoOption *i = o->info; i->keyword != NULL; i++) {
        bool skip = i->val == NULL;
        for (size_t n = 0; n < COUNT_OF(ours); n++) {
            skip = skip || strcmp(i->keyword, ours[n]) == 0;
        }
        if (!skip) {
            keyword_add(k, i->keyword, i->val);
        }
    }
    if (hosts->host.len_bytes > 0) {
        keyword_add(k, "host", buf_text(&hosts->host));
    }
    if (hosts->hostaddr.len_bytes > 0) {
        keyword_add(k, "hostaddr", buf_text(&hosts->hostaddr));
    }
    if (hosts->port.len_bytes > 0) {
        keyword_add(k, "port", buf_text(&hosts->port));
    }
    keyword_add(k, "client_encoding", "UTF8");
    keyword_add(k, "fallback_application_name", o->application_name);
}

/* First line of libpq's message, without its newline. */
static void err_libpq(struct err *err, enum err_code code, const char *doing, const PGconn *pg)
{
    const char *text = pg == NULL ? "out of memory" : PQerrorMessage(pg);
    err_set(err, code, "%s: %.*s", doing, (int)strcspn(text, "\n"), text);
}

static void on_notice(void *arg, const char *message)
{
    (void)arg; /* stderr carries our log lines only */
    (void)message;
}

static int hosts_find(const struct pg_conn_options *o, int64_t deadline_mono_ms,
                      struct pg_hosts *hosts, struct err *err)
{
    const char *host = info_value(o->info, "host");
    const char *hostaddr = info_value(o->info, "hostaddr");
    const char *port = info_value(o->info, "port");
    host = host != NULL ? host : getenv("PGHOST");
    port = port != NULL ? port : getenv("PGPORT");
    if (hostaddr == NULL && host != NULL && host[0] != '\0') {
        return pg_hosts_resolve(o->loop, host, port, deadline_mono_ms, hosts, err);
    }
    buf_init(&hosts->host, 4096);
    buf_init(&hosts->hostaddr, 4096);
    buf_init(&hosts->port, 4096);
    (void)buf_add_str(&hosts->host, host == NULL ? "" : host);
    (void)buf_add_str(&hosts->hostaddr, hostaddr == NULL ? "" : hostaddr);
    (void)buf_add_str(&hosts->port, port == NULL ? "" : port);
    return 0;
}

static int connect_finish(struct pg_conn *c, uv_loop_t *loop, int64_t deadline_mono_ms,
                          struct err *err)
{
    PostgresPollingStatusType want = PGRES_POLLING_WRITING;
    while (want != PGRES_POLLING_OK) {
        if (want == PGRES_POLLING_FAILED || PQstatus(c->pg) == CONNECTION_BAD) {
            err_libpq(err, ERR_UNAVAILABLE, "cannot connect to PostgreSQL", c->pg);
            return -1;
        }
        /* libpq may go on with another socket after each step, under the same number. */
        uv_poll_t *p = poll_new(loop, PQsocket(c->pg), err);
        if (p == NULL) {
            return -1;
        }
        int rc = poll_wait(p, want == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE,
                           deadline_mono_ms, err);
        poll_close(p);
        if (rc < 0) {
            if (err->code == ERR_TIMEOUT) {
                err_set(err, ERR_UNAVAILABLE,
                        "cannot connect to PostgreSQL: no answer in time");
            }
            return -1;
        }
        want = PQconnectPoll(c->pg);
    }
    return 0;
}

/* pid: of the process that the server's greeting named; 0 = whatever it is, for one
 * transaction. Answers whether it is another. */
static int settings_send(struct pg_conn *c, const struct pg_conn_options *o, int pid,
                         struct err *err)
{
    char statement_ms[24], idle_ms[24], pid_text[16];
    (void)snprintf(statement_ms, sizeof statement_ms, "%lld",
                   (long long)o->statement_timeout_ms);
    (void)snprintf(idle_ms, sizeof idle_ms, "%d", IDLE_IN_TRANSACTION_MS);
    (void)snprintf(pid_text, sizeof pid_text, "%d", pid);
    const char *plans = o->generic_plans && pid != 0 ? "force_generic_plan" : "auto";
    const char *values[] = {statement_ms, idle_ms, o->role, pid_text, pid == 0 ? "on" : "off",
                            plans};
    static const char sql[] =
        "SELECT other, CASE WHEN $5::bool OR NOT other THEN"
        " set_config('statement_timeout', $1, $5::bool)"
        " || set_config('idle_in_transaction_session_timeout', $2, $5::bool)"
        " || set_config('timezone', 'UTC', $5::bool)"
        " || set_config('datestyle', 'ISO, MDY', $5::bool)"
        " || set_config('bytea_output', 'hex', $5::bool)"
        " || set_config('plan_cache_mode', $6, $5::bool)"
        " || set_config('role', coalesce($3, current_setting('role')), $5::bool) END"
        " FROM (SELECT pg_backend_pid() <> $4::int AS other) v";
    if (c->pg == NULL ||
        PQsendQueryParams(c->pg, sql, COUNT_OF(values), NULL, values, NULL, NULL, 0) != 1) {
        err_libpq(err, ERR_UNAVAILABLE, "cannot set up a session", c->pg);
        return -1;
    }
    return 0;
}

int pg_conn_send_settings(struct pg_conn *c, const struct pg_conn_options *o, struct err *err)
{
    return settings_send(c, o, 0, err);
}

static int session_setup(struct pg_conn *c, const struct pg_conn_options *o,
                         int64_t deadline_mono_ms, struct err *err)
{
    if (settings_send(c, o, PQbackendPID(c->pg), err) < 0) {
        return -1;
    }
    if (PQpipelineSync(c->pg) != 1) {
        err_libpq(err, ERR_UNAVAILABLE, "cannot set up a session", c->pg);
        return -1;
    }
    int rc = 0;
    for (;;) {
        PGresult *result = NULL;
        if (pg_conn_next(c, deadline_mono_ms, &result, err) < 0) {
            return -1;
        }
        ExecStatusType status = result == NULL ? PGRES_TUPLES_OK : PQresultStatus(result);
        if (status == PGRES_FATAL_ERROR) {
            pg_err_result(err, result);
            rc = -1;
        } else if (result != NULL && status == PGRES_TUPLES_OK) {
            c->pooled = PQgetvalue(result, 0, 0)[0] == 't';
        }
        PQclear(result);
        if (status == PGRES_PIPELINE_SYNC) {
            if (rc < 0) {
                err_wrap(err, "set up a session");
            }
            return rc;
        }
    }
}

int pg_conn_open(struct pg_conn *c, const struct pg_conn_options *o, int64_t deadline_mono_ms,
                 struct err *err)
{
    struct pg_hosts hosts = {0};
    struct keywords k = {0};
    if (hosts_find(o, deadline_mono_ms, &hosts, err) < 0) {
        pg_hosts_release(&hosts);
        return -1;
    }
    keywords_fill(&k, o, &hosts);
    c->pg = PQconnectStartParams(k.names, k.values, 0);
    pg_hosts_release(&hosts);
    if (c->pg == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a connection to PostgreSQL");
        return -1;
    }
    (void)PQsetNoticeProcessor(c->pg, on_notice, NULL);
    if (connect_finish(c, o->loop, deadline_mono_ms, err) < 0) {
        goto fail;
    }
    if (PQsetnonblocking(c->pg, 1) != 0 || PQenterPipelineMode(c->pg) != 1) {
        err_libpq(err, ERR_UNAVAILABLE, "cannot use a connection to PostgreSQL", c->pg);
        goto fail;
    }
    c->poll = poll_new(o->loop, PQsocket(c->pg), err);
    if (c->poll == NULL || session_setup(c, o, deadline_mono_ms, err) < 0) {
        goto fail;
    }
    return 0;

fail:
    pg_conn_close(c);
    return -1;
}

void pg_conn_close(struct pg_conn *c)
{
    poll_close(c->poll);
    c->poll = NULL;
    PQfinish(c->pg);
    c->pg = NULL;
    pg_prepared_free(c->prepared);
    c->prepared = NULL;
    c->stale = false;
}

bool pg_conn_alive(const struct pg_conn *c)
{
    if (c->pg == NULL || PQstatus(c->pg) != CONNECTION_OK) {
        return false;
    }
    /* Nobody asked anything, so whatever has come is the end (or a notice: then a new
     * connection costs less than telling the two apart). */
    struct pollfd fd = {.fd = PQsocket(c->pg), .events = POLLIN | POLLRDHUP};
    return poll(&fd, 1, 0) == 0;
}

/* ---- reading ---- */

static int conn_lost(struct pg_conn *c, PGresult *result, struct err *err)
{
    if (result != NULL && PQresultErrorField(result, PG_DIAG_SQLSTATE) != NULL) {
        pg_err_result(err, result);
    } else {
        err_libpq(err, ERR_UNAVAILABLE, "lost the connection to PostgreSQL", c->pg);
    }
    PQclear(result);
    pg_conn_close(c);
    return -1;
}

int pg_conn_next(struct pg_conn *c, int64_t deadline_mono_ms, PGresult **result,
                 struct err *err)
{
    *result = NULL;
    if (c->pg == NULL) {
        err_set(err, ERR_UNAVAILABLE, "lost the connection to PostgreSQL");
        return -1;
    }
    for (;;) {
        int unsent = PQflush(c->pg);
        if (unsent < 0) {
            return conn_lost(c, PQgetResult(c->pg), err);
        }
        if (PQisBusy(c->pg) == 0) {
            PGresult *r = PQgetResult(c->pg);
            if (PQstatus(c->pg) == CONNECTION_BAD) {
                return conn_lost(c, r, err);
            }
            *result = r;
            return 0;
        }
        if (poll_wait(c->poll, UV_READABLE | (unsent > 0 ? UV_WRITABLE : 0), deadline_mono_ms,
                      err) < 0) {
            if (err->code == ERR_TIMEOUT) {
                err_set(err, ERR_TIMEOUT, "PostgreSQL did not answer in time");
            }
            pg_conn_close(c);
            return -1;
        }
        if (PQconsumeInput(c->pg) != 1) {
            /* What came before the end may say why. */
            return conn_lost(c, PQgetResult(c->pg), err);
        }
    }
}
