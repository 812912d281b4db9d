/*
 * Idempotency-Key of a POST: the first result is kept for a day and given again; the same key
 * with another request is an error. Requests that were refused as invalid are not kept.
 */
#include "stripe.h"

#include <stdlib.h>
#include <string.h>

enum { KEEP_MS = 24 * 3600 * 1000 };

struct st_replay {
    UT_hash_handle hh;
    char *key; /* account, mode and Idempotency-Key */
    char *request;
    int status;
    char *body;
    char *request_id;
    int64_t at_ms;
};

static char *key_of(const struct st_call *c)
{
    const char *key = sim_header(c->r, "idempotency-key");
    if (key == NULL || strcmp(c->r->method, "POST") != 0)
        return NULL;
    return sim_strf("%s %d %s", c->account->id, c->mode->live ? 1 : 0, key);
}

static char *request_of(const struct st_call *c)
{
    return sim_strf("%s\n%s", c->r->path, c->r->body != NULL ? c->r->body : "");
}

static void replay_free(struct stripe_sim *app, struct st_replay *p)
{
    HASH_DEL(app->replays, p);
    free(p->key);
    free(p->request);
    free(p->body);
    free(p->request_id);
    free(p);
}

bool st_idempotent_replay(struct st_call *c)
{
    char *key = key_of(c);
    struct st_replay *p = NULL;
    if (key != NULL)
        HASH_FIND_STR(c->app->replays, key, p);
    free(key);
    if (p == NULL)
        return false;
    if (sim_now_ms(c->app->sim) - p->at_ms > KEEP_MS) {
        replay_free(c->app, p);
        return false;
    }
    char *request = request_of(c);
    bool same = strcmp(request, p->request) == 0;
    free(request);
    if (!same) {
        st_answer(c->r, 400, c->version,
                  json_pack("{s:{s:s, s:s}}", "error", "message",
                            "Keys for idempotent requests can only be used with the same "
                            "parameters they were first used with.",
                            "type", "idempotency_error"));
        return true;
    }
    c->r->res.status = p->status;
    sim_buf_adds(&c->r->res.body, p->body);
    sim_answer_header(c->r, "Server: nginx");
    sim_answer_header(c->r, "Content-Type: application/json");
    sim_answer_header(c->r, "Request-Id: %s", c->r->request_id);
    sim_answer_header(c->r, "Original-Request: %s", p->request_id);
    sim_answer_header(c->r, "Idempotency-Key: %s", sim_header(c->r, "idempotency-key"));
    sim_answer_header(c->r, "Idempotent-Replayed: true");
    sim_answer_header(c->r, "Stripe-Version: %s", c->version);
    return true;
}

void st_idempotent_keep(struct st_call *c)
{
    char *key = key_of(c);
    if (key == NULL || (c->r->res.status >= 400 && c->r->res.status < 500)) {
        free(key);
        return;
    }
    struct st_replay *p = sim_calloc(1, sizeof *p);
    p->key = key;
    p->request = request_of(c);
    p->status = c->r->res.status;
    p->body = sim_strdup(c->r->res.body.p != NULL ? c->r->res.body.p : "");
    p->request_id = sim_strdup(c->r->request_id);
    p->at_ms = sim_now_ms(c->app->sim);
    HASH_ADD_KEYPTR(hh, c->app->replays, p->key, strlen(p->key), p);
}

void st_idempotent_free(struct stripe_sim *app)
{
    struct st_replay *p = NULL;
    struct st_replay *next = NULL;
    HASH_ITER(hh, app->replays, p, next)
    {
        replay_free(app, p);
    }
}
