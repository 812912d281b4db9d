/* The error types people see: one row each in error_types.tsv, which also makes the SQL table,
 * the text of `explain` and the error reference. Codes are never renamed, only added. */
#ifndef COMMON_ERROR_TYPE_H
#define COMMON_ERROR_TYPE_H

#include "gen_error_types.h"

#include <stdbool.h>
#include <stddef.h>

#define ERROR_TYPE_ENUM(up, ...) ET_##up,
enum error_type { ET_NONE = 0, ERROR_TYPES(ERROR_TYPE_ENUM) ET_COUNT };
#undef ERROR_TYPE_ENUM

enum et_severity { SEVERITY_ERROR, SEVERITY_WARNING, SEVERITY_SKIPPED };
enum et_retry { RETRY_AUTO, RETRY_AFTER_FIX, RETRY_MANUAL, RETRY_NEVER };
enum et_pauses {
    PAUSES_NOTHING,
    PAUSES_FIELD,
    PAUSES_RECORD,
    PAUSES_CHANNEL,
    PAUSES_ACCOUNT,
    PAUSES_CONNECTION
};
enum et_banner { BANNER_NONE, BANNER_REAUTHORIZE, BANNER_DISCONNECTED };

struct error_info {
    const char *code, *family, *title, *provider_signal, *meaning, *user_action, *who_acts;
    enum et_severity severity;
    enum et_retry retry;
    enum et_pauses pauses;
    enum et_banner banner;
};

/** The row of a type; NULL for ET_NONE. */
const struct error_info *error_info(enum error_type type);
/** The type of a code; ET_NONE when unknown. */
enum error_type error_type_find(const char *code);

#endif
