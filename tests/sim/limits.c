/*
 * Strict rolling windows: the time of each allowed call is kept, and a call is allowed only
 * when fewer than max lie within the last window. A bucket would let twice the limit through
 * at a window's edge; section 7 of both documents wants the strict form.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct log {
    char *key;
    int64_t *at_us; /* ring of max entries */
    size_t cap;
    size_t head;
    size_t n;
    bool bucket;
    double tokens; /* of the bucket form */
    int64_t filled_at_us;
    UT_hash_handle hh;
};

struct limits {
    struct log *logs;
};

struct limits *limits_new(void)
{
    return sim_calloc(1, sizeof(struct limits));
}

void limits_free(struct limits *l)
{
    struct log *g = NULL;
    struct log *next = NULL;
    g = l->logs;
    HASH_CLEAR(hh, l->logs); /* the elements keep their chain */
    for (; g != NULL; g = next) {
        next = g->hh.next;
        free(g->key);
        free(g->at_us);
        free(g);
    }
    free(l);
}

static struct log *find_log(struct limits *l, const struct sim_limit *limit)
{
    struct log *g = NULL;
    HASH_FIND_STR(l->logs, limit->key, g);
    if (g == NULL) {
        g = sim_calloc(1, sizeof *g);
        g->key = sim_strdup(limit->key);
        HASH_ADD_KEYPTR(hh, l->logs, g->key, strlen(g->key), g);
    }
    if (g->cap < (size_t)limit->max) { /* the limit was raised */
        int64_t *ring = sim_calloc((size_t)limit->max, sizeof *ring);
        for (size_t i = 0; i < g->n; i++) {
            ring[i] = g->at_us[(g->head + i) % g->cap];
        }
        free(g->at_us);
        g->at_us = ring;
        g->cap = (size_t)limit->max;
        g->head = 0;
    }
    int64_t horizon = sim_mono_us() - limit->window_ms * 1000;
    while (g->n > 0 && g->at_us[g->head] <= horizon) {
        g->head = (g->head + 1) % g->cap;
        g->n--;
    }
    return g;
}

void sim_limit_as_bucket(struct sim *s, const struct sim_limit *limit, bool on)
{
    if (limit->max > 0) {
        find_log(s->limits, limit)->bucket = on;
    }
}

int64_t sim_limit_left(struct sim *s, const struct sim_limit *limit)
{
    if (limit->max <= 0) {
        return INT64_MAX;
    }
    struct log *g = find_log(s->limits, limit);
    if (g->bucket) {
        int64_t now = sim_mono_us();
        double more = (double)(now - g->filled_at_us) * (double)limit->max /
                      ((double)limit->window_ms * 1000);
        g->tokens = g->filled_at_us == 0 || g->tokens + more > (double)limit->max
                        ? (double)limit->max
                        : g->tokens + more;
        g->filled_at_us = now;
        return (int64_t)g->tokens;
    }
    return g->n < (size_t)limit->max ? limit->max - (int64_t)g->n : 0;
}

const struct sim_limit *sim_limits_take(struct sim *s, const struct sim_limit *limits,
                                        size_t count)
{
    const struct sim_limit *refused = NULL;
    for (size_t i = 0; i < count; i++) {
        sim_count_peak(s, limits[i].key, limits[i].window_ms);
        if (refused == NULL && limits[i].max > 0 && sim_limit_left(s, &limits[i]) == 0) {
            refused = &limits[i];
        }
    }
    if (refused != NULL) {
        sim_count_violation(s, refused->key);
        return refused;
    }
    for (size_t i = 0; i < count; i++) {
        if (limits[i].max > 0) {
            struct log *g = find_log(s->limits, &limits[i]);
            g->tokens -= g->bucket ? 1 : 0;
            if (g->n == g->cap) { /* a bucket lets more through than a window holds */
                g->head = (g->head + 1) % g->cap;
                g->n--;
            }
            g->at_us[(g->head + g->n++) % g->cap] = sim_mono_us();
        }
    }
    return NULL;
}
