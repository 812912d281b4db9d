/* Choices people make that change what is mirrored or what is made of it: settings of a
 * workspace, object types of a connection. Each writes its audit row. */
#ifndef CORE_CHOOSE_H
#define CORE_CHOOSE_H

#include "core/actions.h"

/* NULL = as it is; "" = none. Lists are separated by commas. */
struct workspace_change {
    const char *tz, *business_hours, *nightly_at, *currency, *plans, *owners, *default_owner;
    const char *mrr_subtract_recurring, *mrr_subtract_once; /* "on", "off" */
    const char *match_personal_emails, *billing_signal_only;
};

/**
 * Change a workspace. What customers derive from billing records is worked out anew from what
 * is stored, without a call: *customers of them were looked at. Waits CONNECTION_CACHE_MS
 * first, so that no worker writes by the old settings afterwards. ERR_INVALID, ERR_NOT_FOUND.
 */
int choose_workspace(struct app *app, const char *name, const struct workspace_change *change,
                     const struct actor *who, int64_t *customers, struct err *err) MUST_USE;

/**
 * Choose the object types of a connection; "default" = those of its provider. Starts a full run
 * in place of one that is live (*run_id; 0 when nothing can be read yet). Rows of types that
 * are no longer mirrored stay as last read. ERR_INVALID names what is not known.
 */
int choose_objects(struct app *app, const struct connection *c, const char *objects,
                   const struct actor *who, int64_t *run_id, struct err *err) MUST_USE;

#endif
