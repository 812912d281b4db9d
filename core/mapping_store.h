/* Mappings as they are kept: versions of a connection, never changed once written. What a
 * person brings is checked against the provider's own schema, all of it at once, before it
 * becomes the next version. */
#ifndef CORE_MAPPING_STORE_H
#define CORE_MAPPING_STORE_H

#include "core/actions.h"

/* One thing that is wrong, or only odd, with a line. */
struct mapping_finding {
    bool error; /* false: it can be kept all the same, something may be lost */
    int line;   /* from 1; 0 = of the whole */
    char field[64];
    char text[300];
};

struct mapping_check {
    struct mapping *mapping; /* NULL when a line could not be read */
    struct mapping_finding *findings;
    int count, cap, errors;
    json_t *labels; /* property -> {value: label}, of lines that ask for labels */
};
void mapping_check_release(struct mapping_check *m);
/** The findings as the command and the API tell them. The caller owns it. */
json_t *mapping_check_json(const struct mapping_check *m) MUST_USE;

/**
 * Check a mapping's text: an array of lines, or what `mapping show` prints. Asks the provider
 * for its properties. 0 whatever is found; -1 when the check could not be made (ERR_AUTH,
 * ERR_TEMPORARY).
 */
int mapping_store_check(struct app *app, const struct connection *c, const char *text,
                        struct mapping_check *out, struct err *err) MUST_USE;

/** The types a field can have that is made of a property of this type, as a JSON array. The
 * caller owns it. */
json_t *mapping_store_fits(const char *source_type) MUST_USE;

/** One version, 0 = the one in force. ERR_NOT_FOUND. The caller owns *out. */
int mapping_store_load(struct store *s, int64_t connection_id, int version,
                       struct mapping **out, int *loaded_version, struct err *err) MUST_USE;

/**
 * Make it the next version, with its audit row. based_on: the version it was made from; when
 * another has come in between, ERR_CONFLICT and nothing is written. labels may be NULL.
 */
int mapping_store_save(struct app *app, const struct connection *c, const struct mapping *m,
                       const json_t *labels, int based_on, const char *note,
                       const struct actor *who, int *version, struct err *err) MUST_USE;

#endif
