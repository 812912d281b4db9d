/* Live figures as server-sent events. One task looks every half second while somebody listens;
 * a request is answered when the figures differ from those it has (Last-Event-ID), or after a
 * while with none, and the browser asks again by itself. So an answer is whole, a session that
 * ends is noticed, and the program's end waits for nobody. */
#include "admin/admin.h"

#include "admin/api.h"
#include "common/clock.h"
#include "common/sign.h"
#include "common/task.h"
#include "core/figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK_MS = 500,
    NAP_MS = 100,
    LISTEN_MS = 15 * 1000,
    LISTENERS_MAX = 128,
    AGAIN_MS = 200, /* the browser waits so long before it asks again */
    STALE_MS = 2000,
    SILENT_MS = 4000, /* then the listeners are told that nothing is known */
    VERSION_BYTES = 20,
    FIGURES_MAX_BYTES = 4 << 20,
};

struct events {
    struct app *app;
    struct sessions *sessions;
    bool stopping, looking;
    int listeners;
    char *figures; /* JSON of the last look; NULL before */
    char version[VERSION_BYTES];
    int64_t looked_at_ms;
};

struct listener {
    struct events *events;
    struct http_exchange *x;
    struct session_claim claim;
    char last[VERSION_BYTES];
};

/* Only what moves; each screen reads the rest when one of these has moved. Seconds and bytes
 * that change by themselves are left out, else every look would be news. */
static const char figures_sql[] =
    "SELECT coalesce(json_agg(json_build_object('connection_id', c.connection_id, 'state',"
    " c.state, 'state_code', c.state_code, 'paused', c.paused_at IS NOT NULL,"
    " 'provider', c.provider, 'mode', c.mode, 'account_id', c.account_id,"
    " 'last_incremental_at', c.last_incremental_at, 'channel_state', c.channel_state,"
    " 'last_full_success_at', c.last_full_success_at, 'throttled_until', null,"
    " 'newest', (SELECT max(a.attempt_id)::text FROM psync.attempt a WHERE a.connection_id ="
    "   c.connection_id AND a.attempt_id > psync.attempt_floor(now() - interval '1 day')),"
    " 'run', (SELECT jsonb_build_object('run_id', r.run_id, 'status', r.status, 'expected',"
    "   r.expected, 'seen', r.seen, 'created', r.created, 'updated', r.updated, 'unchanged',"
    "   r.unchanged, 'skipped', r.skipped, 'failed', r.failed, 'requested_by', r.requested_by,"
    "   'trigger', r.trigger, 'started_at', r.started_at, 'throttled_ms', r.throttled_ms,"
    "   'api_calls', r.api_calls)"
    "   || " RUN_PHASE_SQL(
        "r") "   FROM psync_bi.run_history r WHERE r.run_id = (SELECT max(run_id) FROM "
             "psync.run n"
             "     WHERE n.connection_id = c.connection_id AND n.kind = 'full')))"
             " ORDER BY c.connection_id), '[]')::text FROM psync.connection c";

/* Calls are held back until then, which only the queue knows. */
static void add_throttled(struct app *app, json_t *rows)
{
    size_t i;
    json_t *row;
    struct err err = {0};
    json_auto_t *quota = figures_quota(app, &err);
    json_array_foreach(rows, i, row)
    {
        json_auto_t *mine = figures_quota_of(quota, row);
        figures_set_throttled(row, mine);
    }
}

static json_t *look(struct events *e, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(e->app->store, figures_sql, NULL, &r, err) != 0) {
        return NULL;
    }
    json_t *queue = figures_queue(e->app, 0, err);
    err_clear(err);
    if (queue != NULL) {
        (void)json_object_del(queue, "oldest_age_s");
    }
    json_t *rows = json_loads(rows_text(r, 0, 0), 0, NULL);
    add_throttled(e->app, rows);
    return json_pack("{s:o, s:o}", "connections", rows, "queue",
                     queue != NULL ? queue : json_null());
}

static void look_once(struct events *e)
{
    struct err err = {0};
    unsigned char hash[SIGN_SHA256_BYTES];
    json_t *figures = look(e, &err);
    char *text = figures != NULL ? json_dumps(figures, JSON_COMPACT) : NULL;
    json_decref(figures);
    if (text == NULL) {
        return; /* looked_at_ms grows old, and the listeners are told */
    }
    free(e->figures);
    e->figures = text;
    e->looked_at_ms = clock_mono_ms();
    sign_sha256(slice_of(text), hash);
    (void)sign_hex((struct slice){(const char *)hash, 8}, e->version);
}

static void look_task(void *arg)
{
    struct events *e = arg;
    while (!e->stopping && e->listeners > 0) {
        look_once(e);
        task_sleep_ms(LOOK_MS);
    }
    e->looking = false;
}

/* Waits for news. -1 when there is none to be had. */
static int wait_for_news(struct listener *l)
{
    struct events *e = l->events;
    int64_t until_ms = clock_mono_ms() + LISTEN_MS;
    while (!e->stopping && clock_mono_ms() < until_ms) {
        if (e->figures != NULL && clock_mono_ms() - e->looked_at_ms < STALE_MS &&
            strcmp(e->version, l->last) != 0) {
            return 0;
        }
        task_sleep_ms(NAP_MS);
    }
    return -1;
}

static void answer_events(struct listener *l, bool news)
{
    struct events *e = l->events;
    struct buf out;
    buf_init(&out, FIGURES_MAX_BYTES);
    bool stale = e->figures == NULL || clock_mono_ms() - e->looked_at_ms > SILENT_MS;
    (void)buf_printf(&out, "retry: %d\n", AGAIN_MS);
    if (news) {
        (void)buf_printf(&out, "id: %s\nevent: figures\ndata: %s\n\n", e->version, e->figures);
    } else {
        (void)buf_printf(&out, "event: %s\ndata: {}\n\n", stale ? "stale" : "still");
    }
    (void)http_exchange_set_header(l->x, "Cache-Control", "no-store");
    (void)http_exchange_set_header(l->x, "X-Content-Type-Options", "nosniff");
    (void)http_exchange_set_header(l->x, "X-Accel-Buffering", "no");
    http_answer(l->x, 200, "text/event-stream", buf_text(&out), out.len_bytes);
    buf_release(&out);
}

static void listen_task(void *arg)
{
    struct listener *l = arg;
    struct events *e = l->events;
    struct access who;
    struct err err = {0};
    if (session_who(e->sessions, &l->claim, &who, &err) != 0) {
        api_problem_plain(l->x, err.code == ERR_AUTH ? 401 : 503,
                          err.code == ERR_AUTH ? "signed_out" : "unavailable",
                          err.code == ERR_AUTH ? "Sign in first." : "Not available now.");
    } else {
        answer_events(l, wait_for_news(l) == 0);
    }
    e->listeners--;
    explicit_bzero(&l->claim, sizeof l->claim);
    free(l);
}

void events_handle(struct events *e, struct http_exchange *x)
{
    struct err err = {0};
    const char *why = NULL;
    struct listener *l = NULL;
    struct session_claim claim;
    session_claim_read(e->sessions, x, &claim);
    if (!session_is_same_site(e->sessions, x, claim.by_cookie, &why)) {
        api_problem_plain(x, 403, "cross_site", why);
        return;
    }
    l = e->listeners < LISTENERS_MAX && !e->stopping ? calloc(1, sizeof *l) : NULL;
    if (l == NULL) {
        api_problem_plain(x, 503, "unavailable", "Too many are listening.");
        return;
    }
    *l = (struct listener){.events = e, .x = x, .claim = claim};
    const char *last = http_exchange_header(x, "Last-Event-ID");
    (void)snprintf(l->last, sizeof l->last, "%s", last != NULL ? last : "");
    e->listeners++;
    if (!e->looking) {
        e->looking = true;
        if (task_start(e->app->loop, "live figures", look_task, e, &err) != 0) {
            e->looking = false;
        }
    }
    if (task_start(e->app->loop, "listener", listen_task, l, &err) != 0) {
        e->listeners--;
        free(l);
        api_problem_plain(x, 503, "unavailable",
                          "Too much is going on; try again in a moment.");
    }
}

struct events *events_new(struct app *app, struct sessions *sessions, struct err *err)
{
    struct events *e = calloc(1, sizeof *e);
    if (e == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    e->app = app;
    e->sessions = sessions;
    return e;
}

void events_stop(struct events *e)
{
    e->stopping = true;
}

bool events_stopped(const struct events *e)
{
    return e->listeners == 0 && !e->looking;
}

void events_free(struct events *e)
{
    if (e != NULL) {
        free(e->figures);
        free(e);
    }
}
