/* Which customer a billing record belongs to, said by a person. Such a link goes before every
 * match and is remembered over every sync. */
#ifndef CORE_LINK_H
#define CORE_LINK_H

#include "core/actions.h"

struct link_result {
    int64_t was_customer_id; /* whose the record was before; 0 = nobody's */
    bool was_archived;       /* that customer was made of this record, and is archived now */
    char displaced[256];     /* another record of the type that lost this customer; "" = none */
};

/**
 * Link a record to a customer of its workspace. What the record wrote elsewhere is taken back;
 * a record that was linked to that customer by a match loses it. The caller has both synced
 * (action_resync). Errors:
 *   ERR_NOT_FOUND  no such record here, no such customer in the workspace
 *   ERR_INVALID    the type's records make their own customers
 *   ERR_CONFLICT   another record is linked to that customer by hand
 */
int link_add(struct app *app, const struct connection *c, const struct object_type *object,
             const char *record_id, int64_t customer_id, const struct actor *who,
             struct link_result *out, struct err *err) MUST_USE;

/** Take a link made by hand away, with what it wrote; the next sync matches the record again.
 * ERR_NOT_FOUND when there is none; ERR_INVALID when it was not made by hand. */
int link_remove(struct app *app, const struct connection *c, const struct object_type *object,
                const char *record_id, const struct actor *who, struct link_result *out,
                struct err *err) MUST_USE;

#endif
