#include "core/fetch.h"

#include "common/clock.h"
#include "common/crash.h"
#include "common/redact.h"
#include "common/task.h"
#include "core/limit.h"
#include "core/meters.h"
#include "core/token.h"

#include <stdio.h>
#include <string.h>

enum { RESERVE_PATIENCE_MS = 2000 };

/* The quota that a claim has paid from: as the queue's scripts find it. */
static const char *claim_family(const struct connection *c, const struct claim *claim)
{
    const char *name = claim->unit_count > 0 ? claim->units[0].object : "";
    for (const struct object_type *o = c->provider->objects; o->name != NULL; o++) {
        if (strcmp(o->name, name) == 0) {
            return o->read_family;
        }
        if (o->links_name != NULL && strcmp(o->links_name, name) == 0) {
            return o->links_family;
        }
    }
    return c->provider->quotas[0].name;
}

void fetch_init(struct fetch *f, struct app *app, const struct connection *conn,
                const struct claim *claim)
{
    memset(f, 0, sizeof *f);
    f->app = app;
    f->conn = connection_ref(conn);
    f->began_mono_ms = clock_mono_ms();
    if (claim != NULL) {
        f->calls_left = claim->calls;
        f->family = claim_family(conn, claim);
        f->calls_at_mono_ms = claim->calls_at_mono_ms;
    }
    exchange_init(&f->exchange);
}

void fetch_release(struct fetch *f)
{
    connection_free(f->conn);
    exchange_release(&f->exchange);
}

/* A call is paid by the claim's tokens while they are fresh, else by one of its own. Waits as
 * long as patience allows: a task that waits holds no worker. 0, or the ms still to wait. */
static int64_t fetch_pay(struct fetch *f, const char *family, struct err *err)
{
    if (f->calls_left > 0 && strcmp(f->family, family) == 0 &&
        clock_mono_ms() - f->calls_at_mono_ms <= QUEUE_CALL_STALE_MS) {
        f->calls_left--;
        return 0;
    }
    char account[128];
    connection_account_key(f->conn, account, sizeof account);
    struct queue *q = f->app->queue;
    const char *provider = f->conn->provider->name;
    int shard = f->conn->shard;
    int64_t patience_ms = RESERVE_PATIENCE_MS;
    bool paid = false;
    for (;;) {
        int64_t wait_ms = 0;
        bool in_line = false;
        /* In line: else every claim that comes later could be first, each time. Who has waited
         * asks once more whether the account was closed meanwhile. */
        int rc = paid ? queue_reserve(q, shard, provider, account, family, 0, &wait_ms, err)
                      : queue_reserve_ahead(q, shard, provider, account, family, patience_ms,
                                            &in_line, &wait_ms, err);
        paid = paid || in_line;
        if (rc != 0) {
            return -1;
        }
        if (wait_ms <= 0) {
            return 0;
        }
        if (!in_line && wait_ms > patience_ms) {
            return wait_ms;
        }
        patience_ms -= wait_ms;
        f->throttled_ms += wait_ms;
        meters_throttled(f->app->meters, provider, family, wait_ms);
        task_sleep_ms(wait_ms);
    }
}

static void fetch_keep_exchange(struct fetch *f, const struct http_request *req,
                                const struct http_response *resp)
{
    struct exchange *x = &f->exchange;
    x->method = req->method;
    x->endpoint = req->endpoint;
    x->status = resp->status;
    x->took_us = resp->took_us;
    provider_request_id(f->conn->provider, resp, x->request_id);
    buf_clear(&x->url);
    buf_clear(&x->headers);
    buf_clear(&x->body);
    (void)buf_add(&x->url, req->url.bytes, req->url.len_bytes);
    (void)buf_add(&x->headers, resp->headers.bytes, resp->headers.len_bytes);
    /* One more than is shown, so that it is seen that there was more. */
    size_t keep = resp->body.len_bytes, most = REDACT_MAX_BYTES + 1;
    (void)buf_add(&x->body, resp->body.bytes, keep < most ? keep : most);
}

void fetch_failure(struct failure *why, enum error_type type, const char *text)
{
    memset(why, 0, sizeof *why);
    why->type = type;
    why->wait_ms = -1;
    snprintf(why->message, sizeof why->message, "%.*s", (int)sizeof why->message - 1, text);
}

static enum fetch_end fetch_ours(struct failure *why, enum error_type type,
                                 const struct err *err)
{
    fetch_failure(why, type, err->msg);
    why->retry_advice = err->code == ERR_NOMEM;
    return FETCH_FAILED;
}

static bool fetch_uses_token(const struct fetch *f, const struct ask *ask)
{
    bool hook = ask->kind == ASK_HOOK_STATUS || ask->kind == ASK_HOOK_REPAIR;
    return ask->kind != ASK_TOKEN_CODE && ask->kind != ASK_TOKEN_REFRESH &&
           !(hook && f->conn->provider->hook_of_app);
}

static bool fetch_is_token_fault(const struct fetch *f, const struct ask *ask,
                                 const struct failure *why)
{
    if (!fetch_uses_token(f, ask)) {
        return false;
    }
    return why->type == ET_AUTH_TOKEN_EXPIRED || why->type == ET_AUTH_KEY_INVALID;
}

/* For the page and the command; a count that is lost is no harm, so it waits for no disk. */
static void fetch_count_reads(struct fetch *f)
{
    struct err err = {0};
    CLEANUP(params_freep) struct params *p = params_new();
    if (f->conn->provider->read_ration == 0 || f->reads == 0) {
        return;
    }
    params_int(p, f->conn->connection_id);
    params_int(p, f->reads);
    f->reads = 0;
    if (store_query(
            f->app->store,
            "INSERT INTO psync.provider_read AS r (connection_id, month, reads)"
            " SELECT $1::bigint, date_trunc('month', now() AT TIME ZONE 'UTC'), $2::bigint"
            " FROM set_config('synchronous_commit', 'off', true)"
            " ON CONFLICT (connection_id, month) DO UPDATE"
            "   SET reads = r.reads + excluded.reads",
            p, NULL, &err) != 0) {
        log_warn(f->app->log, "quota.reads", "cannot count reads: %s", err.msg);
    }
}

enum fetch_end fetch_ask(struct fetch *f, const struct ask *ask, struct record_list *out,
                         json_t **facts, struct failure *why, int64_t *later_ms)
{
    struct app_scratch scratch;
    struct provider_conn pc;
    struct ask_state state = {0};
    struct http_request req;
    struct http_response resp;
    struct err err = {0};
    enum fetch_end end = FETCH_OK;
    bool repeated = false, reloaded = false;

    memset(why, 0, sizeof *why);
    *later_ms = 0;
    http_request_init(&req);
    http_response_init(&resp);
    for (;;) {
        if (fetch_uses_token(f, ask) && token_ahead(f->app, &f->conn, why) == TOKEN_FAILED) {
            end = FETCH_FAILED;
            break;
        }
        memset(why, 0, sizeof *why);
        app_provider_conn(f->app, f->conn, &scratch, &pc);
        http_request_release(&req);
        http_request_init(&req);
        enum plan_result plan = f->conn->provider->plan(&pc, ask, &state, &req, &err);
        if (plan == PLAN_DONE) {
            break;
        }
        if (plan == PLAN_ERROR) {
            /* A connection without a usable credential waits for a person, like a refused one.
             */
            end = fetch_ours(
                why, err.code == ERR_AUTH ? ET_AUTH_KEY_INVALID : ET_INTERNAL_ERROR, &err);
            break;
        }
        if (!fetch_uses_token(f, ask)) {
            req.total_timeout_ms = FETCH_TOKEN_MAX_MS;
        }
    again:;
        if (f->app->job_max_ms > 0 && clock_mono_ms() - f->began_mono_ms > f->app->job_max_ms) {
            err_set(&err, ERR_TIMEOUT, "over the limit of a job after %d calls", f->api_calls);
            end = fetch_ours(why, ET_JOB_TIMEOUT, &err);
            break;
        }
        int64_t wait_ms = fetch_pay(f, req.family, &err);
        if (wait_ms != 0) {
            *later_ms = wait_ms;
            end = wait_ms > 0 ? FETCH_LATER : fetch_ours(why, ET_QUEUE_UNAVAILABLE, &err);
            break;
        }
        http_response_release(&resp);
        http_response_init(&resp);
        f->api_calls++;
        f->reads += strcmp(req.method, "GET") == 0;
        crash_point("fetch.before");
        if (http_client_send(f->app->http, &req, &resp, &err) != 0) {
            end = fetch_ours(why, ET_INTERNAL_ERROR, &err);
            break;
        }
        crash_point("fetch.answered");
        meters_call(f->app->meters, f->conn->provider->name, req.endpoint,
                    resp.fault == HTTP_OK ? resp.status : 0, resp.took_us);
        fetch_keep_exchange(f, &req, &resp);
        if (f->conn->provider->read(&pc, ask, &state, &resp, out, why) == 0) {
            struct failure none = {0};
            limit_tell(f->app, f->conn, &req, &resp, &none);
            continue;
        }
        limit_tell(f->app, f->conn, &req, &resp, why);
        if (fetch_is_token_fault(f, ask, why) && !repeated) {
            struct failure first = *why;
            enum token_result t = token_renew(f->app, &f->conn, why);
            repeated = t != TOKEN_OTHERS || reloaded;
            reloaded = true;
            if (t == TOKEN_SAME) {
                *why = first; /* a static token: one repeat of the very same call */
                goto again;
            }
            if (t == TOKEN_NEW || t == TOKEN_OTHERS) {
                /* Others may have renewed it a life ago; refused again, it gets a refresh of
                 * its own. Plan the same step again with the new token. */
                app_provider_conn(f->app, f->conn, &scratch, &pc);
                if (token_put_in(&req, pc.access_token, &err) != 0) {
                    end = fetch_ours(why, ET_INTERNAL_ERROR, &err);
                    break;
                }
                goto again;
            }
        }
        end = FETCH_FAILED;
        break;
    }
    if (end == FETCH_OK && facts != NULL) {
        *facts = state.facts;
        state.facts = NULL;
    }
    http_request_release(&req);
    http_response_release(&resp);
    ask_state_release(&state);
    fetch_count_reads(f);
    return end;
}
