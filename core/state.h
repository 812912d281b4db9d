/* Connected, Reauthorize, Disconnected: the only three states, with cause and time, and what
 * each means for the queue. */
#ifndef CORE_STATE_H
#define CORE_STATE_H

#include "core/app.h"

struct actor; /* core/actions.h */

/**
 * Set the state of a connection (PostgreSQL, audit) and park or unpark it in the queue. Setting
 * the state that is there already changes nothing but makes sure of the queue. who: NULL = the
 * system. *released (may be NULL) is how many parked units came back.
 */
int state_set(struct app *app, int64_t connection_id, int shard, enum conn_state state,
              const char *code, const char *reason, const struct actor *who, int64_t *released,
              struct err *err) MUST_USE;

/** What a failure means for its connection, by the banner column of the error types: sets
 * Reauthorize or Disconnected, or does nothing. c is the connection with the credential that
 * was refused (a fetch's own: it may have renewed it); when another one has taken its place
 * meanwhile, the refusal says nothing of that one and the state stays. Errors are logged, not
 * returned: the unit that met the failure is logged anyway, and the next one will try again. */
void state_after_failure(struct app *app, const struct connection *c,
                         const struct failure *why);

/** Park the units of a connection that is not connected. Where a person connects it at the same
 * time, their unparking has the last word. */
int state_park(struct app *app, int64_t connection_id, int shard, const char *code,
               struct err *err) MUST_USE;

/** Tell the queue about a connection as PostgreSQL has it (after connect, at rebuild). */
int state_configure_queue(struct app *app, int64_t connection_id, struct err *err) MUST_USE;

#endif
