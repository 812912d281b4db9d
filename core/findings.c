#include "core/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct finding *findings_next(struct findings *f, enum finding_verdict verdict,
                                     const char *check)
{
    struct finding *n = &f->items[f->count < FINDINGS_MAX ? f->count++ : FINDINGS_MAX - 1];
    memset(n, 0, sizeof *n);
    n->verdict = verdict;
    n->code = "";
    snprintf(n->check, sizeof n->check, "%s", check);
    return n;
}

struct finding *findings_add(struct findings *f, enum finding_verdict verdict,
                             const char *check, const char *fmt, ...)
{
    struct finding *n = findings_next(f, verdict, check);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(n->text, sizeof n->text, fmt, ap);
    va_end(ap);
    return n;
}

struct finding *findings_cause(struct findings *f, enum error_type type, const char *check,
                               const char *mend, const char *command, const char *fmt, ...)
{
    struct finding *n = findings_next(f, FINDING_CAUSE, check);
    const struct error_info *info = error_info(type);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(n->text, sizeof n->text, fmt, ap);
    va_end(ap);
    n->code = info != NULL ? info->code : "";
    snprintf(n->mend, sizeof n->mend, "%s",
             mend != NULL   ? mend
             : info != NULL ? info->user_action
                            : "");
    snprintf(n->command, sizeof n->command, "%s", command != NULL ? command : "");
    return n;
}

const struct finding *findings_first_cause(const struct findings *f)
{
    for (int i = 0; i < f->count; i++) {
        if (f->items[i].verdict == FINDING_CAUSE) {
            return &f->items[i];
        }
    }
    return NULL;
}

json_t *findings_to_json(const struct findings *f)
{
    static const char *const verdicts[] = {"ok", "cause", "skipped"};
    json_t *items = json_array();
    for (int i = 0; i < f->count; i++) {
        const struct finding *n = &f->items[i];
        (void)json_array_append_new(
            items, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "check", n->check, "verdict",
                             verdicts[n->verdict], "text", n->text, "mend", n->mend, "command",
                             n->command, "error_code", n->code));
    }
    return items;
}
