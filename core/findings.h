/* What a check of the product by itself found: lines in order, the last of which may be the
 * cause. */
#ifndef CORE_FINDINGS_H
#define CORE_FINDINGS_H

#include "common/compiler.h"
#include "common/error_type.h"

#include <jansson.h>
#include <stdbool.h>

enum finding_verdict { FINDING_OK, FINDING_CAUSE, FINDING_SKIPPED };

struct finding {
    enum finding_verdict verdict;
    char check[64];    /* what was asked: "Is the provider connected?" */
    char text[400];    /* what was found, a sentence */
    char mend[300];    /* of a cause: what to do, a sentence */
    char command[256]; /* of a cause: the command that does it, "" when it is not ours to do */
    const char *code;  /* error type, "" = none; static */
};

enum { FINDINGS_MAX = 48 };

struct findings {
    struct finding items[FINDINGS_MAX];
    int count;
    bool utc; /* the caller's wish: times in UTC, not in the zone of the workspace */
};

/** Add a line. Past FINDINGS_MAX the last one is overwritten. */
struct finding *findings_add(struct findings *f, enum finding_verdict verdict,
                             const char *check, const char *fmt, ...) PRINTF_LIKE(4, 5);
/** Add a cause with its error type, whose action is the mend unless mend is given. */
struct finding *findings_cause(struct findings *f, enum error_type type, const char *check,
                               const char *mend, const char *command, const char *fmt, ...)
    PRINTF_LIKE(6, 7);
/** The cause, or NULL: everything asked was well. */
const struct finding *findings_first_cause(const struct findings *f);
/** The lines as the command and the API tell them. The caller owns it. */
json_t *findings_to_json(const struct findings *f) MUST_USE;

#endif
