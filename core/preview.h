/* What would happen, without it happening: a mapping tried on every customer, one record pulled
 * fresh. Made by the very code that saves, in a transaction that is never committed. */
#ifndef CORE_PREVIEW_H
#define CORE_PREVIEW_H

#include "core/app.h"

struct preview {
    int64_t seen;     /* records looked at */
    int64_t changed;  /* customers that would change */
    int64_t failed;   /* customers (or records) of which a field would be held back */
    json_t *changes;  /* [{customer_id, name, record_id, fields: [{field, now, new}]}] */
    json_t *failures; /* [{customer_id, name, record_id, field, error_code, message}] */
};
void preview_release(struct preview *p);

/**
 * Try a mapping on every record that feeds a customer, as they are stored; where it names
 * properties that were not asked for until now, as the provider has them. labels (may be NULL):
 * those of mapping_store_check(). customer_id: only what feeds this one; 0 = all. progress
 * (may be NULL) hears of each page.
 */
int preview_mapping(struct app *app, const struct connection *c, const struct mapping *m,
                    json_t *labels, int64_t customer_id,
                    void (*progress)(void *arg, int64_t seen), void *arg, struct preview *out,
                    struct err *err) MUST_USE;

/**
 * Say what saving one record as it was read just now would do: as preview_record(), which reads
 * it. in_scope: it was asked for and is inside of what is mirrored.
 */
int preview_read(struct app *app, const struct connection *c, const struct object_type *object,
                 const struct record *record, bool in_scope, struct preview *out,
                 struct err *err) MUST_USE;

/**
 * Pull one record and say what a resync would do: changes is
 * [{customer_id, name, record_id, fields: [{field, now, new, edited_by_hand}]}] of at most one
 * customer; failures as above. ERR_NOT_FOUND when the provider has it no more or it is outside
 * of what is mirrored; ERR_AUTH, ERR_TEMPORARY when it cannot be asked.
 */
int preview_record(struct app *app, const struct connection *c,
                   const struct object_type *object, const char *record_id, struct preview *out,
                   struct err *err) MUST_USE;

#endif
