/* /_sim/ for both providers: which room a call belongs to. */
#include "internal.h"

#include <string.h>
#include <unistd.h>

bool sim_error_by_id(struct sim_request *r, const char *id)
{
    return r->provider == SIM_HUBSPOT ? sim_hubspot_error(r, id) : sim_stripe_error(r, id);
}

/* "/_sim/faults/3" with prefix "faults" gives "/3"; NULL when it is another room. */
static const char *tail_of(const char *path, const char *prefix)
{
    size_t n = strlen(prefix);
    if (strncmp(path, prefix, n) != 0 || (path[n] != '\0' && path[n] != '/')) {
        return NULL;
    }
    return path + n;
}

static void health(struct sim_request *r)
{
    sim_answer_json(r, 200,
                    json_pack("{s:b, s:s, s:s, s:i, s:I}", "ok", 1, "hubspot",
                              sim_base_url(r->sim, SIM_HUBSPOT), "stripe",
                              sim_base_url(r->sim, SIM_STRIPE), "pid", (int)getpid(), "now_ms",
                              (json_int_t)sim_now_ms(r->sim)),
                    0);
}

static void mutate(struct sim_request *r, json_t *body)
{
    struct sim_notify n;
    sim_notify_parse(&n, body);
    const json_t *v = json_object_get(body, "n");
    json_int_t count = v != NULL ? json_integer_value(v) : 1;
    const char *only = json_string_value(json_object_get(body, "provider"));
    for (json_int_t i = 0; i < count; i++) {
        bool stripe =
            only != NULL ? strcmp(only, "stripe") == 0 : sim_rand_below(r->sim, 2) == 1;
        if (stripe) {
            sim_stripe_mutate(r->sim, &n);
        } else {
            sim_hubspot_mutate(r->sim, &n);
        }
    }
    sim_answer_json(r, 200, json_pack("{s:I}", "changed", count), 0);
}

static void set_clock(struct sim_request *r, json_t *body)
{
    const json_t *v = json_object_get(body, "offset_ms");
    if (json_is_integer(v)) {
        sim_set_clock_offset_ms(r->sim, json_integer_value(v));
    }
    health(r);
}

static void dispatch(struct sim_request *r, const char *path, json_t *body)
{
    const char *tail = NULL;
    if (strcmp(path, "health") == 0) {
        health(r);
    } else if (strcmp(path, "clock") == 0) {
        set_clock(r, body);
    } else if (strcmp(path, "mutate") == 0) {
        mutate(r, body);
    } else if ((tail = tail_of(path, "faults")) != NULL) {
        faults_control(r, tail, body);
    } else if ((tail = tail_of(path, "counters")) != NULL) {
        counters_control(r, tail);
    } else if ((tail = tail_of(path, "webhooks")) != NULL) {
        webhooks_control(r, tail, body);
    } else if ((tail = tail_of(path, "hubspot")) != NULL && *tail == '/') {
        sim_hubspot_control(r, tail + 1, body);
    } else if ((tail = tail_of(path, "stripe")) != NULL && *tail == '/') {
        sim_stripe_control(r, tail + 1, body);
    } else {
        sim_answer_error(r, 404, "no such call: %s %s", r->method, r->path);
    }
}

void control_handle(struct sim_request *r)
{
    json_t *body = r->body_len > 0 ? sim_request_json(r) : json_object();
    if (!json_is_object(body)) {
        json_decref(body);
        sim_answer_error(r, 400, "the body is no JSON object");
        return;
    }
    dispatch(r, r->path + strlen("/_sim/"), body);
    json_decref(body);
}
