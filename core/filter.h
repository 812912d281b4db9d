/* The scope of a provider whose full run lists everything (Stripe): which records of the
 * filtered type are inside it. Customers none of whose parts are inside are outside, too. */
#ifndef CORE_FILTER_H
#define CORE_FILTER_H

#include "core/connection.h"

/** The type that the scope filters; NULL when the provider has none. */
const struct object_type *filter_object(const struct provider *p);

/** Is a record, as the provider sent it, inside? True without a scope, and for other types. */
bool filter_inside(const struct connection *c, const struct object_type *o, struct slice raw);

/**
 * Are all that id names (separated by commas) mirrored here, so that a slip of the pen filters
 * nothing away? Their names into name. ERR_NOT_FOUND names the first that is not.
 */
int filter_check(struct store *s, const struct connection *c, const char *kind, const char *id,
                 char *name, size_t name_bytes, struct err *err) MUST_USE;

#endif
