/* One source value into one field value: the conversions behind mapping.h. */
#ifndef CORE_CONVERT_H
#define CORE_CONVERT_H

#include "core/mapping.h"

enum { CONVERT_TEXT_MAX_BYTES = 64 * 1024, DECIMAL_MAX_BYTES = 128 };

/* What came of a value. */
struct conversion {
    json_t *value;           /* owned by the caller; NULL = held back */
    enum error_type problem; /* ET_NONE = none; a warning may stand beside a value */
    char message[256];       /* says the value, never more than its first bytes */
};

/** True for a name that may stand in mapping_field.type / .convert. */
bool convert_type_known(const char *type);
bool convert_name_known(const char *convert);

/**
 * Convert a value that is neither JSON null nor an empty string. Returns 0 (look at
 * out->problem), -1 when memory ran out.
 */
int convert_value(const struct mapping_field *f, const json_t *in,
                  const struct mapping_context *c, struct conversion *out) MUST_USE;

/**
 * A decimal number as text ("+1.5e3", " 007.50 ") to its plain digits ("1500", "7.50"): no
 * rounding, decimals kept as they came. ET_NONE, ET_MAP_TYPE_MISMATCH or
 * ET_MAP_NUMBER_OUT_OF_RANGE.
 */
enum error_type decimal_plain(const char *text, int shift10, char out[DECIMAL_MAX_BYTES]);
/** The same for a JSON value: integer, real or string. */
enum error_type decimal_of_json(const json_t *in, int shift10, char out[DECIMAL_MAX_BYTES]);
/** Plain digits to int64: decimals must be zeros. The same three answers. */
enum error_type decimal_to_int(const char *plain, int64_t *out);

#endif
