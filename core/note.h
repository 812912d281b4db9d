/* Log rows that no try at a unit makes: what happened to a connection as a whole (its calls
 * were stopped, our database was away, a person signed in to another account). */
#ifndef CORE_NOTE_H
#define CORE_NOTE_H

#include "common/error_type.h"
#include "common/store.h"

#include <stdint.h>

/* Texts are lent; NULL is "". */
struct note {
    int64_t connection_id;
    int64_t run_id; /* 0 = none */
    enum error_type type;
    const char *status;          /* succeeded, failed, retrying, skipped, interrupted, ... */
    const char *trigger, *actor; /* "" = the system */
    const char *object;          /* type of record, with record_id */
    const char *record_id;       /* NULL = the connection itself */
    const char *message;         /* as far as it is UTF-8 */
    int64_t next_retry_at_ms;    /* 0 = none */
    int64_t again_after_s;       /* no second row of this type within so many; 0 = always */
};

/** Write the row, committed by itself, unless there is one that is young enough. */
int note_write(struct store *s, const struct note *n, struct err *err) MUST_USE;

#endif
