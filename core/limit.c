#include "core/limit.h"

#include "common/clock.h"
#include "core/note.h"

#include <stdio.h>
#include <string.h>

enum {
    OPEN_AGAIN_S = 45, /* a breaker is open for at least 60 s */
    TOLD_AGAIN_MS = 60 * 1000,
    CLOSED_MS = 15 * 60 * 1000,   /* when nobody says for how long */
    AFTER_MIDNIGHT_MS = 2 * 1000, /* clocks differ */
};

/* Milliseconds until midnight where the account is, or -1 when its zone is not known. */
static int64_t until_midnight_ms(struct app *app, const struct connection *c)
{
    struct err err = {0};
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (app->store == NULL) {
        return -1;
    }
    params_int(p, c->connection_id);
    if (store_query(app->store,
                    "WITH z AS MATERIALIZED (SELECT n.name FROM psync.connection"
                    "   JOIN pg_timezone_names n ON n.name = account ->> 'time_zone'"
                    "   WHERE connection_id = $1 LIMIT 1)"
                    " SELECT (extract(epoch FROM (date_trunc('day', now() AT TIME ZONE name)"
                    "   + interval '1 day') AT TIME ZONE name - now()) * 1000)::bigint FROM z",
                    p, &r, &err) != 0) {
        log_warn(app->log, "quota.midnight", "cannot tell when the day ends: %s", err.msg);
        return -1;
    }
    return rows_count(r) > 0 ? rows_int(r, 0, 0) + AFTER_MIDNIGHT_MS : -1;
}

static bool says_when(const struct http_response *resp)
{
    char text[32];
    return http_response_header(resp, "retry-after", text, sizeof text) != NULL;
}

static uint64_t told_key(const char *account, const char *family)
{
    uint64_t hash = 0xcbf29ce484222325U; /* FNV-1a: two in one slot are only told more often */
    for (const char *s = account; *s != '\0'; s++) {
        hash = (hash ^ (unsigned char)*s) * 0x100000001b3U;
    }
    for (const char *s = family; *s != '\0'; s++) {
        hash = (hash ^ (unsigned char)*s) * 0x100000001b3U;
    }
    return hash;
}

/* Most answers say what the one before said: that costs no call to Redis. */
static int pass_on(struct app *app, const struct connection *c, const char *account,
                   const char *family, const struct limits_told *told, struct err *err)
{
    uint64_t key = told_key(account, family);
    struct app_told *t = &app->told[key % COUNT_OF(app->told)];
    int64_t rate = (int64_t)(told->rate_per_s * 1000);
    int64_t now_ms = clock_mono_ms();
    if (t->key == key && t->rate == rate && now_ms - t->at_mono_ms < TOLD_AGAIN_MS &&
        (told->daily_left == 0) == (t->daily_left == 0)) {
        return 0;
    }
    *t = (struct app_told){key, rate, told->daily_left, now_ms};
    const struct queue_told q = {told->rate_per_s, told->daily_limit, told->daily_left};
    return queue_told(app->queue, c->shard, c->provider->name, account, family, &q, err);
}

/* *day_over: the answer was given, and was the last of the day. */
static int take_told(struct app *app, const struct connection *c, const char *account,
                     const struct http_request *req, const struct http_response *resp,
                     bool *day_over, struct err *err)
{
    struct limits_told told = {.daily_limit = -1, .daily_left = -1};
    if (c->provider->limits == NULL || resp->fault != HTTP_OK) {
        return 0;
    }
    c->provider->limits(req, resp, &told);
    *day_over = told.daily_left == 0;
    if (told.rate_per_s <= 0 && told.daily_limit < 0) {
        return 0;
    }
    return pass_on(app, c, account, req->family, &told, err);
}

/* Calls are stopped from now on: said once for each time. */
static void note_open(struct app *app, const struct connection *c, int64_t open_ms)
{
    struct err err = {0};
    char text[200];
    if (app->store == NULL) {
        return;
    }
    (void)snprintf(text, sizeof text,
                   "too many calls of %s failed in a row; none for %lld s, then one to see",
                   c->provider->title, (long long)(open_ms / 1000));
    if (note_write(app->store,
                   &(struct note){.connection_id = c->connection_id,
                                  .type = ET_CIRCUIT_OPEN,
                                  .status = "retrying",
                                  .message = text,
                                  .next_retry_at_ms = clock_now_ms() + open_ms,
                                  .again_after_s = OPEN_AGAIN_S},
                   &err) != 0) {
        log_warn(app->log, "breaker.note", "cannot log an open breaker: %s", err.msg);
    }
}

void limit_tell(struct app *app, const struct connection *c, const struct http_request *req,
                const struct http_response *resp, struct failure *why)
{
    struct err err = {0};
    char account[128];
    bool day_over = false;
    int64_t open_ms = 0;
    const char *provider = c->provider->name;
    bool up = resp->fault == HTTP_OK && resp->status < 500;
    connection_account_key(c, account, sizeof account);
    int rc = queue_breaker(app->queue, c->shard, provider, account, up, &open_ms, &err);
    if (rc == 0 && !up && open_ms > 0) {
        note_open(app, c, open_ms);
    }
    if (rc == 0) {
        rc = take_told(app, c, account, req, resp, &day_over, &err);
    }
    switch (why->type) {
    case ET_RATE_LIMIT_BURST:
    case ET_RATE_LIMIT_SEARCH:
    case ET_RATE_LIMIT_CONCURRENCY:
        rc = queue_throttle(app->queue, c->shard, provider, account, req->family,
                            why->wait_ms > 0 ? why->wait_ms : 1000, &err);
        break;
    case ET_RATE_LIMIT_DAILY:
        day_over = true;
        break;
    case ET_PROVIDER_MIGRATING:
        rc = queue_close_account(app->queue, c->shard, provider, account,
                                 why->wait_ms > 0 ? why->wait_ms : CLOSED_MS,
                                 error_info(why->type)->code, &err);
        break;
    default:
        break; /* the type's own retry is enough */
    }
    if (day_over) {
        int64_t wait_ms = why->type == ET_RATE_LIMIT_DAILY ? why->wait_ms : -1;
        int64_t midnight_ms = says_when(resp) ? -1 : until_midnight_ms(app, c);
        wait_ms = midnight_ms > 0 ? midnight_ms : wait_ms > 0 ? wait_ms : CLOSED_MS;
        if (why->type == ET_RATE_LIMIT_DAILY) {
            why->wait_ms = wait_ms;
        }
        rc = queue_close_account(app->queue, c->shard, provider, account, wait_ms,
                                 error_info(ET_RATE_LIMIT_DAILY)->code, &err);
    }
    if (rc != 0) {
        log_warn(app->log, "quota.tell", "could not tell the limiter: %s", err.msg);
    }
}
