/* Is the installation sound? Each check stands alone, has a deadline, and says what mends it;
 * none changes anything. */
#ifndef CORE_DOCTOR_H
#define CORE_DOCTOR_H

#include "core/app.h"

enum doctor_verdict { DOCTOR_OK, DOCTOR_ADVICE, DOCTOR_MEND, DOCTOR_SKIPPED };

struct doctor_finding {
    enum doctor_verdict verdict;
    char check[40]; /* "Redis durability" */
    char text[320]; /* what was found */
    char mend[320]; /* what to do; "" when all is well */
};

enum { DOCTOR_MAX = 32 };

struct doctor_report {
    struct doctor_finding items[DOCTOR_MAX];
    int count;
};

/** "ok", "advice", "mend", "skipped". */
const char *doctor_verdict_name(enum doctor_verdict v);

/** Look at everything: settings, PostgreSQL, Redis, clocks, TLS, providers, the webhook URL.
 * outside: an address with {url} in it that fetches the URL put there and answers as that does;
 * NULL = nobody to ask. Needs a loop and settings only; opens what it needs by itself. Takes
 * some seconds at most for each thing that does not answer. */
void doctor_examine(uv_loop_t *loop, struct config *config, const char *outside,
                    struct doctor_report *out);

/** True when something has to be mended. */
bool doctor_is_ill(const struct doctor_report *r);

#endif
