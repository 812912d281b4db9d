/* Asking a provider: plans calls, pays for each, sends it, has it read, and tells the limiter
 * and the breaker how it went. Refreshes an expired token once and repeats that call once. */
#ifndef CORE_FETCH_H
#define CORE_FETCH_H

#include "core/app.h"
#include "core/attempt.h"

enum { FETCH_TOKEN_MAX_MS = 30000 }; /* one call of a token endpoint, in all */

/* What one job may spend and what it has spent. */
struct fetch {
    struct app *app;
    struct connection *conn; /* lent; replaced inside when its token was refreshed */
    int64_t began_mono_ms;   /* the job; against app->job_max_ms */
    int calls_left;          /* paid by the claim, in this family: */
    const char *family;
    int64_t calls_at_mono_ms; /* when they were paid */
    int api_calls;            /* made so far */
    int reads;                /* of them, not counted against the ration yet */
    int64_t throttled_ms;     /* waited for quota so far */
    struct exchange exchange; /* the last call */
};

enum fetch_end {
    FETCH_OK,
    FETCH_FAILED, /* *why is set */
    FETCH_LATER,  /* no quota for another call soon: *later_ms; nothing was decided */
};

/** A failure of our own making, not the provider's. */
void fetch_failure(struct failure *why, enum error_type type, const char *text);

void fetch_init(struct fetch *f, struct app *app, const struct connection *conn,
                const struct claim *claim);
void fetch_release(struct fetch *f);

/**
 * Run an ask to its end. out gets the records; facts (may be NULL) the facts, owned by the
 * caller. err is set only together with FETCH_FAILED when the fault is ours.
 */
enum fetch_end fetch_ask(struct fetch *f, const struct ask *ask, struct record_list *out,
                         json_t **facts, struct failure *why, int64_t *later_ms);

#endif
