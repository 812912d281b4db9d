/* A program's /metrics, /livez and /readyz on METRICS_LISTEN. */
#ifndef COMMON_METRICS_SERVER_H
#define COMMON_METRICS_SERVER_H

#include "common/err.h"
#include "common/http_server.h"
#include "common/metrics.h"

#include <stdbool.h>
#include <uv.h>

/* One thing that a program needs to be ready, or likes to have. */
struct readiness_check {
    const char *name; /* static: "redis" */
    bool ok;
    bool needed;      /* else the program is ready all the same */
    char reason[200]; /* why it is not ok */
};
enum { READINESS_CHECKS_MAX = 8 };

/** Fill checks (room for READINESS_CHECKS_MAX); returns how many. Never waits. */
typedef int readiness_fn(void *arg, struct readiness_check *checks);

/** Answer GET /readyz: 200 or 503; with ?verbose, JSON with a reason for each check. Strangers
 * (http_exchange_is_stranger) get the names of the checks without the reasons. */
void readiness_answer(struct http_exchange *x, readiness_fn *fn, void *arg);

struct metrics_server;
/**
 * where: "host:port" for this program alone, or a folder, which then holds one unix socket for
 * each program ("<folder>/<program>.sock"). readiness may be NULL. metrics and program are
 * lent. NULL with err set (ERR_CONFIG, ERR_OS, ERR_NOMEM).
 */
struct metrics_server *metrics_server_new(uv_loop_t *loop, const char *where,
                                          const char *program, struct metrics *metrics,
                                          readiness_fn *readiness, void *arg, struct err *err)
    MUST_USE;
void metrics_server_free(struct metrics_server *m);

#endif
