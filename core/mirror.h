/* What is mirrored, for people: the scope, what another one would change, and removals that the
 * guard holds back. */
#ifndef CORE_MIRROR_H
#define CORE_MIRROR_H

#include "core/actions.h"

#include <jansson.h>

/**
 * The scope of a connection: {scope_kind, scope_id, scope_name, scope_size, mirrored,
 * held_removals, held_run, removals: [{record_id, name}]}. removals are those of the last full
 * sync, when the guard held them; at most `limit` are named. NULL with err.
 */
json_t *mirror_show(struct store *s, const struct connection *c, int limit, struct err *err)
    MUST_USE;

/**
 * What there is to choose of a kind of scope: {items: [{id, name, processing, size,
 * changed_at}], more}. The provider is asked, for lists those whose name has the text ("" =
 * any); what it is not asked for (Stripe's products and lookup keys) is what is stored. size
 * and changed_at are null where they are not known. NULL with err, as connect_scope().
 */
json_t *mirror_choices(struct app *app, const struct connection *c, const char *kind,
                       const char *text, struct err *err) MUST_USE;

/**
 * What choosing another scope would do, without choosing it: {name, size, adds, keeps,
 * archives, add: [{record_id, name}], archive: [..]}; at most `limit` (100) of each are named.
 * Asks the provider for all members. Errors as connect_scope().
 */
json_t *mirror_preview(struct app *app, const struct connection *c, const char *kind,
                       const char *id, int limit, struct err *err) MUST_USE;

/**
 * Apply the removals that the guard held in the last full sync: a full sync that asks for the
 * members again and archives who is gone, unless that is far more than was shown. ERR_DENIED
 * when none are held, ERR_CONFLICT with *run_id when a full sync is running.
 */
int mirror_confirm(struct app *app, const struct connection *c, const struct actor *who,
                   int64_t *run_id, struct err *err) MUST_USE;

#endif
