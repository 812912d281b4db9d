/* What people do, once for the command and the page: run now, resync, retry. Each writes its
 * audit row. */
#ifndef CORE_ACTIONS_H
#define CORE_ACTIONS_H

#include "core/app.h"

struct actor {
    const char *name; /* "anna", or the system user */
    const char *kind; /* "cli", "page", "api" */
};

/** Write one audit row. detail: JSON object text or NULL. */
int action_audit(struct store *s, const struct actor *who, int64_t workspace_id,
                 int64_t connection_id, const char *action, const char *target,
                 const char *detail, struct err *err) MUST_USE;

/** Fleet-wide full sync. As run_start(): ERR_CONFLICT with *run_id when one is live. */
int action_run_now(struct app *app, const struct connection *c, const struct actor *who,
                   int64_t *run_id, struct err *err) MUST_USE;

/**
 * Put one record into the interactive lane. *after_fetch_no: an attempt of the record with a
 * higher fetch number answers this request. ERR_AUTH when the connection waits for a person
 * (the unit is kept all the same).
 */
int action_resync(struct app *app, const struct connection *c, const char *object,
                  const char *record_id, const char *trigger, const struct actor *who,
                  int64_t *after_fetch_no, struct err *err) MUST_USE;

/** Pause or resume a lane (-1 = all) for every connection, with its audit row. What is in work
 * is finished. */
int action_pause_lane(struct app *app, int lane, bool paused, const struct actor *who,
                      struct err *err) MUST_USE;

/** Stop a connection's work, or let it go on. */
int action_pause(struct app *app, const struct connection *c, bool paused,
                 const struct actor *who, struct err *err) MUST_USE;

/* How an attempt at a record ended. */
struct action_outcome {
    int64_t attempt_id, customer_id;
    char status[16], code[48], title[128], message[512];
};

/** Wait for the answer to a resync or retry. ERR_TIMEOUT: the work goes on. */
int action_wait(struct app *app, const struct connection *c, const char *object,
                const char *record_id, int64_t after_fetch_no, int64_t timeout_ms,
                struct action_outcome *out, struct err *err) MUST_USE;

/* What an attempt was about. */
struct action_target {
    int64_t connection_id, resolved_by;
    char object[48], record_id[256], code[48], status[16];
};
/** ERR_NOT_FOUND when there is no such attempt. */
int action_attempt(struct store *s, int64_t attempt_id, struct action_target *out,
                   struct err *err) MUST_USE;

/** Why that attempt cannot be tried again now, or NULL. text must outlive the answer. */
const char *action_retry_refused(const struct action_target *t, const struct connection *c);

#endif
