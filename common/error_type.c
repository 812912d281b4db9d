#include "common/error_type.h"

#include <string.h>

#define ERROR_TYPE_ROW(up, code, family, title, signal, meaning, action, who, sev, retry,      \
                       pauses, banner)                                                         \
    [ET_##up] = {code, family,         title,         signal,          meaning,        action, \
                 who,  SEVERITY_##sev, RETRY_##retry, PAUSES_##pauses, BANNER_##banner},

static const struct error_info infos[ET_COUNT] = {ERROR_TYPES(ERROR_TYPE_ROW)};

const struct error_info *error_info(enum error_type type)
{
    return type > ET_NONE && type < ET_COUNT ? &infos[type] : NULL;
}

enum error_type error_type_find(const char *code)
{
    for (int t = ET_NONE + 1; t < ET_COUNT; t++) {
        if (strcmp(infos[t].code, code) == 0) {
            return (enum error_type)t;
        }
    }
    return ET_NONE;
}
