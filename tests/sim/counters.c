/*
 * What was asked: per endpoint template and status, per record id, and the most arrivals in
 * any rolling window. Tests prove with these that limits were kept and calls coalesced.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct count {
    char *key;
    int64_t n;
    UT_hash_handle hh;
};

struct endpoint {
    char *name;
    int64_t requests;
    size_t largest_page;
    struct count *by_status;
    UT_hash_handle hh;
};

struct side {
    int64_t requests;
    int64_t violations;
    int64_t in_flight;
    int64_t concurrent_peak;
    size_t largest_page;
    struct count *by_status;
    struct count *ids; /* "companies\n123" */
    struct endpoint *endpoints;
};

/* Arrivals within the window, oldest at head; a ring that grows. */
struct window {
    char *key;
    int64_t window_ms;
    int64_t *at_us;
    size_t cap;
    size_t head;
    size_t n;
    size_t peak;
    int64_t refused;
    UT_hash_handle hh;
};

struct counters {
    struct side sides[2];
    struct window *windows;
};

struct counters *counters_new(void)
{
    return sim_calloc(1, sizeof(struct counters));
}

static void bump(struct count **table, const char *key)
{
    struct count *c = NULL;
    HASH_FIND_STR(*table, key, c);
    if (c == NULL) {
        c = sim_calloc(1, sizeof *c);
        c->key = sim_strdup(key);
        HASH_ADD_KEYPTR(hh, *table, c->key, strlen(c->key), c);
    }
    c->n++;
}

static void clear_counts(struct count **table)
{
    struct count *c = NULL;
    struct count *next = NULL;
    c = *table;
    HASH_CLEAR(hh, *table); /* the elements keep their chain */
    for (; c != NULL; c = next) {
        next = c->hh.next;
        free(c->key);
        free(c);
    }
}

void counters_reset(struct counters *cs)
{
    for (int i = 0; i < 2; i++) {
        struct side *s = &cs->sides[i];
        struct endpoint *e = NULL;
        struct endpoint *next = NULL;
        e = s->endpoints;
        HASH_CLEAR(hh, s->endpoints); /* the elements keep their chain */
        for (; e != NULL; e = next) {
            next = e->hh.next;
            clear_counts(&e->by_status);
            free(e->name);
            free(e);
        }
        clear_counts(&s->by_status);
        clear_counts(&s->ids);
        int64_t in_flight = s->in_flight;
        memset(s, 0, sizeof *s);
        s->in_flight = in_flight;
    }
    struct window *w = NULL;
    struct window *wn = NULL;
    w = cs->windows;
    HASH_CLEAR(hh, cs->windows); /* the elements keep their chain */
    for (; w != NULL; w = wn) {
        wn = w->hh.next;
        free(w->key);
        free(w->at_us);
        free(w);
    }
}

void counters_free(struct counters *c)
{
    counters_reset(c);
    free(c);
}

void counters_begin(struct sim *s, struct sim_request *r)
{
    struct side *side = &s->counters->sides[r->provider];
    r->counted = true;
    side->requests++;
    if (++side->in_flight > side->concurrent_peak) {
        side->concurrent_peak = side->in_flight;
    }
}

void counters_end(struct sim *s, struct sim_request *r)
{
    if (!r->counted) {
        return;
    }
    r->counted = false;
    struct side *side = &s->counters->sides[r->provider];
    side->in_flight--;
    char status[16];
    (void)snprintf(status, sizeof status, "%d", r->res.status);
    const char *name = *r->endpoint != '\0' ? r->endpoint : "(unknown)";
    struct endpoint *e = NULL;
    HASH_FIND_STR(side->endpoints, name, e);
    if (e == NULL) {
        e = sim_calloc(1, sizeof *e);
        e->name = sim_strdup(name);
        HASH_ADD_KEYPTR(hh, side->endpoints, e->name, strlen(e->name), e);
    }
    e->requests++;
    bump(&e->by_status, status);
    bump(&side->by_status, status);
    if (r->rows > e->largest_page) {
        e->largest_page = r->rows;
    }
    if (r->rows > side->largest_page) {
        side->largest_page = r->rows;
    }
}

void sim_count_id(struct sim_request *r, const char *type, const char *id)
{
    char key[320];
    (void)snprintf(key, sizeof key, "%s\n%s", type, id);
    bump(&r->sim->counters->sides[r->provider].ids, key);
}

static struct window *find_window(struct counters *cs, const char *key)
{
    struct window *w = NULL;
    HASH_FIND_STR(cs->windows, key, w);
    if (w == NULL) {
        w = sim_calloc(1, sizeof *w);
        w->key = sim_strdup(key);
        HASH_ADD_KEYPTR(hh, cs->windows, w->key, strlen(w->key), w);
    }
    return w;
}

void sim_count_peak(struct sim *s, const char *key, int64_t window_ms)
{
    struct window *w = find_window(s->counters, key);
    int64_t now = sim_mono_us();
    w->window_ms = window_ms;
    while (w->n > 0 && w->at_us[w->head] <= now - window_ms * 1000) {
        w->head = (w->head + 1) % w->cap;
        w->n--;
    }
    if (w->n == w->cap) {
        size_t cap = w->cap > 0 ? w->cap * 2 : 64;
        int64_t *ring = sim_calloc(cap, sizeof *ring);
        for (size_t i = 0; i < w->n; i++) {
            ring[i] = w->at_us[(w->head + i) % w->cap];
        }
        free(w->at_us);
        w->at_us = ring;
        w->cap = cap;
        w->head = 0;
    }
    w->at_us[(w->head + w->n++) % w->cap] = now;
    if (w->n > w->peak) {
        w->peak = w->n;
    }
}

void sim_count_violation(struct sim *s, const char *key)
{
    find_window(s->counters, key)->refused++;
    s->counters->sides[strncmp(key, "stripe", 6) == 0 ? SIM_STRIPE : SIM_HUBSPOT].violations++;
}

static json_t *counts_json(const struct count *table)
{
    json_t *out = json_object();
    for (const struct count *c = table; c != NULL; c = c->hh.next) {
        (void)json_object_set_new(out, c->key, json_integer(c->n));
    }
    return out;
}

static json_t *ids_json(const struct count *table)
{
    json_t *out = json_object();
    for (const struct count *c = table; c != NULL; c = c->hh.next) {
        const char *nl = strchr(c->key, '\n');
        char type[64];
        (void)snprintf(type, sizeof type, "%.*s", (int)(nl - c->key), c->key);
        json_t *of_type = json_object_get(out, type);
        if (of_type == NULL) {
            of_type = json_object();
            (void)json_object_set_new(out, type, of_type);
        }
        (void)json_object_set_new(of_type, nl + 1, json_integer(c->n));
    }
    return out;
}

static json_t *side_json(const struct side *s, bool with_ids)
{
    json_t *endpoints = json_object();
    for (const struct endpoint *e = s->endpoints; e != NULL; e = e->hh.next) {
        (void)json_object_set_new(
            endpoints, e->name,
            json_pack("{s:I, s:o, s:I}", "requests", (json_int_t)e->requests, "by_status",
                      counts_json(e->by_status), "largest_page", (json_int_t)e->largest_page));
    }
    json_t *out =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "requests", (json_int_t)s->requests,
                  "violations", (json_int_t)s->violations, "largest_page",
                  (json_int_t)s->largest_page, "in_flight", (json_int_t)s->in_flight,
                  "concurrent_peak", (json_int_t)s->concurrent_peak, "by_status",
                  counts_json(s->by_status), "endpoints", endpoints);
    if (with_ids) {
        (void)json_object_set_new(out, "ids", ids_json(s->ids));
    }
    return out;
}

static void one_id(struct sim_request *r, const char *tail)
{
    const char *slash = strchr(tail, '/');
    if (slash == NULL) {
        sim_answer_error(r, 400, "counters/id/TYPE/ID");
        return;
    }
    char *key = sim_strdup(tail);
    key[slash - tail] = '\n';
    json_int_t n = 0;
    for (int i = 0; i < 2; i++) {
        struct count *c = NULL;
        HASH_FIND_STR(r->sim->counters->sides[i].ids, key, c);
        n += c != NULL ? c->n : 0;
    }
    free(key);
    sim_answer_json(r, 200, json_pack("{s:I}", "count", n), 0);
}

void counters_control(struct sim_request *r, const char *tail)
{
    struct counters *cs = r->sim->counters;
    if (strcmp(tail, "/reset") == 0) {
        counters_reset(cs);
        sim_answer_json(r, 200, json_pack("{s:b}", "ok", 1), 0);
        return;
    }
    if (strncmp(tail, "/id/", 4) == 0) {
        one_id(r, tail + 4);
        return;
    }
    const char *ids = sim_param(&r->query, "ids", 0);
    bool with_ids = ids == NULL || strcmp(ids, "0") != 0;
    json_t *peaks = json_object();
    for (const struct window *w = cs->windows; w != NULL; w = w->hh.next) {
        (void)json_object_set_new(
            peaks, w->key,
            json_pack("{s:I, s:I, s:I}", "window_ms", (json_int_t)w->window_ms, "peak",
                      (json_int_t)w->peak, "refused", (json_int_t)w->refused));
    }
    sim_answer_json(r, 200,
                    json_pack("{s:o, s:o, s:o}", "hubspot",
                              side_json(&cs->sides[SIM_HUBSPOT], with_ids), "stripe",
                              side_json(&cs->sides[SIM_STRIPE], with_ids), "peaks", peaks),
                    0);
}
