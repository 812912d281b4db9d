/*
 * What the base files share among themselves: struct sim, and the seams between server,
 * faults, counters, limits and sender. The two halves see only sim.h.
 */
#ifndef PIVOTAL_SYNC_SIM_INTERNAL_H
#define PIVOTAL_SYNC_SIM_INTERNAL_H

#include "sim.h"

#include <uv.h>

struct counters;
struct limits;
struct faults;
struct fault;
struct webhooks;
struct server;

struct sim {
    struct sim_options options;
    uv_loop_t loop;
    uint64_t rng;
    int64_t clock_offset_ms;
    char base_url[2][96];
    struct server *servers[2];
    struct counters *counters;
    struct limits *limits;
    struct faults *faults;
    struct webhooks *webhooks;
    struct hs_app *hubspot;
    struct stripe_sim *stripe;
};

/* ---- server.c ---- */

/** Listen on host:port for that provider; sets base_url. 0, or -1 after a line on stderr. */
int server_start(struct sim *s, enum sim_provider p, const char *listen);
/** Close the listener and every connection; done once the loop has run out. */
void server_stop(struct server *sv);

/* ---- wire.c: how an answer goes out ---- */

/* What is to happen to an answer, copied from the fault that met the request. */
struct wire_plan {
    int64_t hold_ms;        /* 0 = none */
    bool until_released;    /* held until the fault goes */
    bool late;              /* computed when let go */
    int64_t truncate_bytes; /* -1 = whole body */
    bool reset;
    int64_t reset_after_bytes; /* -1 = not */
    int64_t slow_bytes_per_s;  /* 0 = full speed */
    bool gzip;
    bool no_length;
};

/* ---- faults.c ---- */

struct faults *faults_new(void);
void faults_free(struct faults *f);
/** The fault that acts on this request now (its hits are counted), or NULL. */
struct fault *faults_match(struct faults *f, const struct sim_request *r);
/** Fill plan; whether the fault answers in place of the handler, and does so. */
bool faults_answer(struct fault *f, struct sim_request *r, struct wire_plan *plan);
/** Change the answer's bytes as the fault's replace and append members say. */
void faults_rewrite(struct fault *f, struct sim_request *r);
/** An answer starts or stops being held; on_release is called when the fault goes. */
void faults_hold(struct fault *f, void (*on_release)(void *), void *arg);
void faults_unhold(struct faults *fs, void *arg);
void faults_control(struct sim_request *r, const char *tail, json_t *body);

/* ---- counters.c, limits.c, webhooks.c, control.c ---- */

struct counters *counters_new(void);
void counters_free(struct counters *c);
void counters_begin(struct sim *s, struct sim_request *r);
/** The answer is on its way: status and rows count. */
void counters_end(struct sim *s, struct sim_request *r);
void counters_reset(struct counters *c);
void counters_control(struct sim_request *r, const char *tail);

struct limits *limits_new(void);
void limits_free(struct limits *l);

struct webhooks *webhooks_new(struct sim *s);
/** Drop what is pending and let go of the loop. */
void webhooks_stop(struct webhooks *w);
void webhooks_free(struct webhooks *w);
void webhooks_control(struct sim_request *r, const char *tail, json_t *body);

void control_handle(struct sim_request *r);

#endif
