/* Which source property fills which customer field, and how it is converted. */
#ifndef CORE_MAPPING_H
#define CORE_MAPPING_H

#include "common/buf.h"
#include "common/err.h"
#include "common/error_type.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* One line of a mapping. */
struct mapping_field {
    char *field;  /* customer field: name, domain, owner, ..., or a custom one */
    char *source; /* source property: "annualrevenue", "mrr" */
    char *type;   /* of the field: text, number, integer, bool, date, datetime, enum, owner,
                     list, domain, json */
    char
        *convert; /* "" or one of the conversions: lower, trim, plan, owner_email, cents, ... */
};

struct mapping {
    struct mapping_field *fields;
    int count;
};

/** Read a JSON array of {field, source, type?, convert?}. ERR_INVALID names the line. */
struct mapping *mapping_parse(const char *json, struct err *err) MUST_USE;
/** The same of a version that was stored, perhaps by a later program: lines of unknown types
 * are kept, and their fields held back (ET_MAP_TARGET_MISSING). */
struct mapping *mapping_parse_stored(const char *json, struct err *err) MUST_USE;
json_t *mapping_to_json(const struct mapping *m);
void mapping_free(struct mapping *m);

/* What values are allowed to be here. Lent. */
struct mapping_context {
    const char *tz;
    char **plans;               /* NULL = any; compared without case, stored as listed */
    char **owners;              /* NULL = any e-mail */
    const char *default_owner;  /* for an unknown owner, "" = leave out */
    const json_t *owner_emails; /* provider's owner id -> e-mail; may be NULL */
    const json_t *enum_labels;  /* property -> {value: label}; may be NULL */
};

/* One field that was not written as asked. */
struct mapping_problem {
    enum error_type type;
    char field[64];
    char message[256];
};

struct mapping_result {
    json_t *fields; /* object: what is to be written; a field held back is left out */
    struct mapping_problem *problems;
    int problem_count;
};

/**
 * Convert a root's source properties. A property that the provider did not send at all leaves
 * its field as it is (map_unknown_property); one that is null empties it, except name and
 * created_at. Returns 0 (whatever the problems), -1 with ERR_NOMEM.
 */
int mapping_apply(const struct mapping *m, const json_t *properties,
                  const struct mapping_context *c, struct mapping_result *out, struct err *err)
    MUST_USE;
void mapping_result_release(struct mapping_result *r);

/** The line that fills a field; NULL when none does. */
const struct mapping_field *mapping_find(const struct mapping *m, const char *field);

/**
 * The fields as the JSON text that is stored. In mapping_result a number with decimals is a
 * string of its plain digits, because jansson's reals are doubles; here it is written as a
 * JSON number, digit by digit, and jsonb keeps it so. 0, or -1 when it does not fit.
 */
int mapping_fields_text(const struct mapping *m, json_t *fields, struct buf *out) MUST_USE;
/** Which property each of the fields came from: {field: source property}. */
int mapping_sources_text(const struct mapping *m, const json_t *fields, struct buf *out)
    MUST_USE;
/** One value, as in mapping_fields_text(). */
int mapping_value_text(const struct mapping *m, const char *field, const json_t *value,
                       struct buf *out) MUST_USE;

#endif
