/* A new key for the credentials: put it in front of SECRET_KEY, then seal every value again. */
#ifndef CORE_KEYS_H
#define CORE_KEYS_H

#include "core/actions.h"

struct keys_count {
    int64_t credentials; /* rows looked at */
    int64_t sealed;      /* rows of which a value was sealed anew */
};

/**
 * Seal what an older key sealed with the first one, a row at a time. Programs may run
 * meanwhile, as long as they know both keys; killed at any row, every row stays readable, and
 * the next call goes on. A row that changes under it is looked at again. ERR_CONFIG names the
 * connection whose value no key of ours opens.
 */
int keys_rotate(struct app *app, const struct actor *who, struct keys_count *out,
                struct err *err) MUST_USE;

#endif
