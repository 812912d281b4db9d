#include "worker/worker.h"

#include "common/clock.h"
#include "common/crash.h"
#include "core/note.h"
#include "core/state.h"
#include "core/token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REFRESH_MS = 500,
    AWAY_MS = 1000,
    WAITS_AGAIN_S = 60,
    WAITS_WORTH_A_ROW_MS = 1000,
    UNLOADABLE_AGAIN_S = 600,
};

void job_end(struct worker *w, struct claim *claim, const struct unit_end *ends)
{
    struct err err = {0};
    crash_point("worker.finish");
    if (queue_finish(w->app->queue, claim, ends, &err) != 0) {
        /* The lease runs out and another worker repeats the fetch: harmless, but worth a line.
         */
        log_warn(w->app->log, "job.finish", "cannot finish a claim: %s", err.msg);
    }
    crash_point("worker.finished");
}

void job_end_all(struct worker *w, struct claim *claim, enum outcome outcome, int64_t delay_ms)
{
    struct unit_end ends[QUEUE_BATCH_MAX];
    for (int i = 0; i < claim->unit_count && i < QUEUE_BATCH_MAX; i++) {
        ends[i] = (struct unit_end){.outcome = outcome, .delay_ms = delay_ms, .reason = ""};
    }
    job_end(w, claim, ends);
}

void job_give_back(struct worker *w, struct claim *claim, const char *what,
                   const struct err *err)
{
    log_warn(w->app->log, "job.give_back", "%s: %s; %d units wait", what, err->msg,
             claim->unit_count);
    if (err->code == ERR_UNAVAILABLE && job_refusal(err) == ET_NONE) {
        job_away(w, claim);
    }
    job_end_all(w, claim, OUTCOME_RELEASE, AWAY_MS);
}

/* ---- what is told by a row of its own ---- */

static void job_note(struct worker *w, const struct note *n)
{
    struct err err = {0};
    if (note_write(w->app->store, n, &err) != 0) {
        log_warn(w->app->log, "job.note", "cannot write a log row (%s): %s",
                 error_info(n->type)->code, err.msg);
    }
}

void job_away(struct worker *w, const struct claim *claim)
{
    int i = 0;
    while (i < w->away_count && w->away[i].connection_id != claim->connection_id) {
        i++;
    }
    if (i == AWAY_CONNECTIONS_MAX) {
        return; /* as true of this one as of those that are remembered */
    }
    if (i == w->away_count) {
        w->away[w->away_count++] =
            (struct away){.connection_id = claim->connection_id, .since_ms = clock_now_ms()};
    }
    w->away[i].units += claim->unit_count;
}

void job_back(struct worker *w)
{
    struct away away[AWAY_CONNECTIONS_MAX];
    int n = w->away_count;
    memcpy(away, w->away, (size_t)n * sizeof away[0]);
    w->away_count = 0; /* other tasks run while the rows are written */
    for (int i = 0; i < n; i++) {
        char text[200], since[CLOCK_TEXT_BYTES];
        (void)clock_text(away[i].since_ms, since);
        (void)snprintf(text, sizeof text,
                       "PostgreSQL did not answer from %s on; %lld units of work waited", since,
                       (long long)away[i].units);
        job_note(w, &(struct note){.connection_id = away[i].connection_id,
                                   .type = ET_DB_UNAVAILABLE,
                                   .status = "interrupted",
                                   .message = text});
    }
}

enum error_type job_refusal(const struct err *err)
{
    if (strcmp(err->sqlstate, "53100") == 0) {
        return ET_DB_FULL;
    }
    return err->code == ERR_CONFLICT && err->sqlstate[0] != '\0' ? ET_DB_CONFLICT : ET_NONE;
}

void job_waits(struct worker *w, const struct claim *claim, int64_t later_ms)
{
    char text[200];
    if (later_ms < WAITS_WORTH_A_ROW_MS) {
        return;
    }
    (void)snprintf(text, sizeof text,
                   "%d units of work wait %lld s for the share of the quota that is theirs",
                   claim->unit_count, (long long)((later_ms + 999) / 1000));
    job_note(w, &(struct note){.connection_id = claim->connection_id,
                               .type = ET_QUOTA_RESERVED,
                               .status = "skipped",
                               .trigger = claim->units[0].trigger,
                               .message = text,
                               .next_retry_at_ms = clock_now_ms() + later_ms,
                               .again_after_s = WAITS_AGAIN_S});
}

void job_defect(struct worker *w, const struct claim *claim, const char *what)
{
    for (int i = 0; i < claim->unit_count; i++) {
        const struct unit *u = &claim->units[i];
        job_note(w, &(struct note){.connection_id = claim->connection_id,
                                   .type = ET_INTERNAL_ERROR,
                                   .status = "failed",
                                   .trigger = u->trigger,
                                   .actor = u->actor,
                                   .object = u->object,
                                   .record_id = u->kind == UNIT_RECORD ? u->id : NULL,
                                   .message = what});
    }
}

enum fetch_end job_ours_failed(struct failure *why, const struct err *err)
{
    fetch_failure(why, err->code == ERR_NOMEM ? ET_INTERNAL_ERROR : ET_DB_UNAVAILABLE,
                  err->msg);
    why->retry_advice = err->code == ERR_NOMEM;
    return FETCH_FAILED;
}

bool job_ours_is_away(const struct failure *why)
{
    return why->type == ET_DB_UNAVAILABLE || why->type == ET_QUEUE_UNAVAILABLE;
}

/* What no waiting mends, such as a credential sealed with a key that is not in SECRET_KEY,
 * stands in the connection's log; its units wait for whoever mends it. */
static void job_unloadable(struct worker *w, struct claim *claim, const struct err *err)
{
    if (err->sqlstate[0] == '\0' &&
        (err->code == ERR_CONFIG || err->code == ERR_DENIED || err->code == ERR_INVALID)) {
        job_note(w, &(struct note){.connection_id = claim->connection_id,
                                   .type = ET_CONFIG_ERROR,
                                   .status = "failed",
                                   .message = err->msg,
                                   .again_after_s = UNLOADABLE_AGAIN_S});
    }
    job_give_back(w, claim, "cannot load the connection", err);
}

struct connection *job_connection(struct worker *w, struct claim *claim)
{
    struct err err = {0};
    if (token_awaited(w->app, claim->connection_id)) {
        /* One connection's slow token endpoint must not fill the slots of all others. */
        job_end_all(w, claim, OUTCOME_RELEASE, REFRESH_MS);
        return NULL;
    }
    struct connection *c =
        connection_cache_get(w->app->connections, claim->connection_id, &err);
    if (c == NULL && err.code == ERR_NOT_FOUND) {
        int64_t id = claim->connection_id;
        int shard = claim->shard;
        job_end_all(w, claim, OUTCOME_COMPLETE, 0);
        if (queue_drop_connection(w->app->queue, shard, id, &err) != 0) {
            log_warn(w->app->log, "job.drop", "cannot drop connection %lld: %s", (long long)id,
                     err.msg);
        }
        return NULL;
    }
    if (c == NULL) {
        job_unloadable(w, claim, &err);
        return NULL;
    }
    if (c->state != CONN_CONNECTED) {
        /* It may have been connected since this copy was read. */
        connection_free(c);
        connection_cache_drop(w->app->connections, claim->connection_id);
        c = connection_cache_get(w->app->connections, claim->connection_id, &err);
        if (c == NULL) {
            job_unloadable(w, claim, &err);
            return NULL;
        }
    }
    if (c->state != CONN_CONNECTED) {
        /* Somebody put work past the parking (a flushed Redis, say): park it again. */
        if (state_park(w->app, claim->connection_id, claim->shard, c->state_code, &err) != 0) {
            log_warn(w->app->log, "job.park", "cannot park connection %lld: %s",
                     (long long)claim->connection_id, err.msg);
        }
        job_end_all(w, claim, OUTCOME_RELEASE, 0);
        connection_free(c);
        return NULL;
    }
    return c;
}

int64_t job_fetch_no(struct worker *w, const struct connection *c, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    if (store_query(w->app->store,
                    "SELECT nextval('psync.fetch_no'),"
                    " (SELECT version FROM psync.connection WHERE connection_id = $1)",
                    p, &r, err) != 0) {
        return -1;
    }
    if (w->away_count > 0) {
        job_back(w);
    }
    if (rows_int(r, 0, 1) != c->version) {
        connection_cache_drop(w->app->connections, c->connection_id);
        return 0;
    }
    return rows_int(r, 0, 0);
}
