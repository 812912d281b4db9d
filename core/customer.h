/* A customer as people see it: every field with where it came from, and the records it is
 * linked to. */
#ifndef CORE_CUSTOMER_H
#define CORE_CUSTOMER_H

#include "common/store.h"

/** The statement of it, whose only column is the JSON: $1 customer, $2 workspace or NULL = any.
 */
const char *customer_statement(void);

/** Its row, one whose only column is the JSON of the customer; the caller owns *out. workspace
 * NULL = any. ERR_NOT_FOUND. */
int customer_read(struct store *s, int64_t customer_id, const char *workspace,
                  struct rows **out, struct err *err) MUST_USE;

#endif
