/* Forgetting: a record as after a privacy deletion, a workspace as a whole. */
#ifndef CORE_ERASE_H
#define CORE_ERASE_H

#include "core/actions.h"

/**
 * Erase what is kept of a record: raw, bodies of attempts, the values it gave to its customer
 * and where they came from, in one transaction. Its id and the time stay in the audit trail.
 * ERR_NOT_FOUND when nothing of it is here.
 */
int erase_record(struct app *app, const struct connection *c, const struct object_type *object,
                 const char *record_id, const char *reason, const struct actor *who,
                 struct err *err) MUST_USE;

/** Delete a workspace with everything in it, log and records too; the audit trail stays. Its
 * connections are taken out of the queue first. */
int erase_workspace(struct app *app, int64_t workspace_id, const char *name,
                    const struct actor *who, struct err *err) MUST_USE;

#endif
