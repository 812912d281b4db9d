/*
 * The simulator's shared rooms: HubSpot and Stripe over real HTTP, written from the provider
 * documents alone. It shares no code with provider/: what both sides got wrong in the same way
 * would never be seen. DESIGN.md has the control API and one line per file.
 *
 * One thread, one libuv loop. A handler fills req->res and returns; the server then applies
 * faults and writes the answer. Running out of memory ends the program: it is a test tool.
 */
#ifndef PIVOTAL_SYNC_SIM_H
#define PIVOTAL_SYNC_SIM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sim_provider { SIM_HUBSPOT, SIM_STRIPE };

struct sim; /* everything; sim_get_*() below lend its parts */

/* What the command line said. */
struct sim_options {
    const char *hubspot_listen; /* host:port, port 0 = any */
    const char *stripe_listen;
    uint64_t seed;
    size_t companies;
    size_t list_members;
    size_t contacts;
    size_t customers;
    double subscriptions_per_customer;
    int64_t mutate_every_ms; /* 0 = never */
};

/* ---- util.c: memory, growing bytes, clock, randomness ---- */

/* Growing bytes; zero-initialised is empty. p is NUL-terminated whenever it is not NULL. */
struct sim_buf {
    char *p;
    size_t len;
    size_t cap;
};

/** calloc/realloc/strdup that end the program instead of failing. */
void *sim_calloc(size_t count, size_t size);
void *sim_realloc(void *p, size_t size);
char *sim_strdup(const char *s);
/** A new string by printf rules; the caller frees it. */
char *sim_strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void sim_buf_add(struct sim_buf *b, const void *p, size_t len);
void sim_buf_adds(struct sim_buf *b, const char *s);
void sim_buf_addf(struct sim_buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/** Add s as a JSON string with its quotes. */
void sim_buf_add_json_string(struct sim_buf *b, const char *s, size_t len);
/** Add a whole jansson value; flags as for json_dumps. */
void sim_buf_add_json(struct sim_buf *b, const json_t *v, size_t flags);
/** Add the bytes that hex digits spell; false (with what came before) at a wrong digit. */
bool sim_buf_add_hex(struct sim_buf *b, const char *hex);
void sim_buf_free(struct sim_buf *b);

/** Milliseconds since the epoch as the simulated providers see it (wall clock + offset). */
int64_t sim_now_ms(const struct sim *s);
/** Monotonic microseconds, for windows and durations. */
int64_t sim_mono_us(void);
void sim_set_clock_offset_ms(struct sim *s, int64_t offset_ms);
/** "2026-11-20T10:00:00.000Z" into out (25 bytes and more). */
void sim_iso_time(int64_t at_ms, char *out, size_t size);

/** Next value of the simulator's one seeded generator; the second form is in [0, below). */
uint64_t sim_rand(struct sim *s);
uint64_t sim_rand_below(struct sim *s, uint64_t below);
/** A well-mixed value of (seed, a, b), without state: for seeded data by index. */
uint64_t sim_mix(uint64_t seed, uint64_t a, uint64_t b);
/** An RFC 4122-looking id from the generator; out holds 37 bytes. */
void sim_uuid(struct sim *s, char *out);

/* HMAC-SHA256 (32 bytes) and SHA-256; hex writes 2*len+1 chars, base64 4*((len+2)/3)+1. */
void sim_hmac_sha256(const char *key, const void *data, size_t len, unsigned char out[32]);
void sim_sha256(const void *data, size_t len, unsigned char out[32]);
void sim_hex(const unsigned char *p, size_t len, char *out);
void sim_base64(const unsigned char *p, size_t len, char *out);

/* ---- names.c: what both providers agree on, so that records can be matched ---- */

/** Seeded company number i has this name ("Amber Harbor 12") and domain
 * ("amberharbor12.example"). Stripe customer i uses an e-mail of the same domain. */
void sim_company_name(size_t i, char *out, size_t size);
void sim_company_domain(size_t i, char *out, size_t size);
/** HubSpot id of seeded company i. */
int64_t sim_company_id(size_t i);
/** Whether company i of n is one of the m members of the seeded list (spread evenly). */
bool sim_company_is_member(size_t i, size_t n, size_t m);
/** A first and last name by index. */
const char *sim_first_name(uint64_t i);
const char *sim_last_name(uint64_t i);

/* ---- server.c: requests and answers ---- */

struct sim_param {
    char *name; /* decoded */
    char *value;
};

struct sim_params {
    struct sim_param *items;
    size_t count;
};

struct sim_response {
    int status;
    struct sim_buf headers; /* whole lines "Name: value\r\n", without Content-Length */
    struct sim_buf body;
};

struct sim_request {
    struct sim *sim;
    enum sim_provider provider; /* whose port it came in at */
    char method[12];
    char *target; /* as sent: path and query */
    char *path;   /* percent-decoded, without query */
    struct sim_params query;
    struct sim_params form; /* filled by sim_request_form() */
    bool form_parsed;
    struct sim_params headers; /* names in lower case */
    char *body;                /* NUL-terminated; body_len may be less than strlen sees */
    size_t body_len;
    int64_t arrived_at_us;

    /* Set by the handler, for counters: endpoint template such as
     * "GET /crm/objects/{v}/companies/{id}", account, rows in the answer. */
    char endpoint[160];
    char account[64];
    size_t rows;
    char request_id[64]; /* the provider's correlation or request id, once made */

    struct sim_response res;
    /* A handler that answers later sets deferred and calls sim_request_finish() itself. */
    bool deferred;
    bool counted; /* counters.c knows it */
    void *conn;   /* the server's */
};

/** Header / n-th query or form parameter of that name, or NULL. Lent. */
const char *sim_header(const struct sim_request *r, const char *lower_name);
const char *sim_param(const struct sim_params *p, const char *name, size_t nth);
/** Parse "a=b&c[]=d" (body or query text) into p. */
void sim_params_parse(struct sim_params *p, const char *text, size_t len);
void sim_params_free(struct sim_params *p);
/** The body as application/x-www-form-urlencoded. */
const struct sim_params *sim_request_form(struct sim_request *r);
/** The body as JSON (new reference), or NULL when it is none. */
json_t *sim_request_json(const struct sim_request *r);

/** Set status and, by printf rules, one header line (without CRLF). */
void sim_answer_header(struct sim_request *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/** Answer with this JSON value (reference taken); flags as for json_dumps. */
void sim_answer_json(struct sim_request *r, int status, json_t *v, size_t flags);
void sim_answer_text(struct sim_request *r, int status, const char *type, const char *text);
/** {"error": message} for the control API. */
void sim_answer_error(struct sim_request *r, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/** Fill the answer with the documented error of that id ("rate-daily", ...), by the provider
 * of the request; false when there is none. For faults; handlers may use it too. */
bool sim_error_by_id(struct sim_request *r, const char *id);
/** Send a deferred answer. */
void sim_request_finish(struct sim_request *r);

/* ---- counters.c ---- */

/** This request names that record; call once per id it names (path, batch input). type is the
 * provider's own word ("companies", "customers"). */
void sim_count_id(struct sim_request *r, const char *type, const char *id);
/** A request arrived in this window group: keeps the peak of any rolling window. */
void sim_count_peak(struct sim *s, const char *key, int64_t window_ms);
/** The limiter refused a request (answer 429 that the client could have avoided). */
void sim_count_violation(struct sim *s, const char *key);

/* ---- limits.c: strict rolling windows ---- */

struct sim_limit {
    const char *key; /* e.g. "hubspot:1234567:search" */
    int64_t max;     /* <= 0: no limit, but the peak is still counted */
    int64_t window_ms;
};

/**
 * Take one from every limit, or from none. Counts the peaks, and a violation when refused.
 * Returns NULL when allowed, else the limit that refused. A refused call is not counted
 * into the window.
 */
const struct sim_limit *sim_limits_take(struct sim *s, const struct sim_limit *limits,
                                        size_t count);
/** From now on this key is a token bucket of max per window (softer at the edges), or not. */
void sim_limit_as_bucket(struct sim *s, const struct sim_limit *limit, bool on);
/** How many more calls the window would take now. */
int64_t sim_limit_left(struct sim *s, const struct sim_limit *limit);

/* ---- webhooks.c: the sender ---- */

/* One HTTP delivery with its retries. render() is called once per attempt (attempt counts from
 * 0) and adds header lines (without CRLF, each ending in '\n') and the body, so that every
 * attempt has a fresh signature. Everything is copied; ctx is released by free_ctx. */
struct sim_delivery {
    enum sim_provider provider;
    const char *account;
    const char *url;
    const char *group; /* at most max_inflight at a time share a group */
    int max_inflight;  /* 0 = no bound */
    int64_t delay_ms;  /* before the first attempt */
    int64_t timeout_ms;
    const int64_t *retry_ms; /* waits before attempts 1, 2, ... (before compression) */
    size_t retry_count;
    void (*render)(struct sim *s, void *ctx, int attempt, struct sim_buf *headers,
                   struct sim_buf *body);
    /* Asked before each attempt; false ends the delivery unsent. May be NULL. */
    bool (*wanted)(struct sim *s, void *ctx);
    /* status 0 = no answer; last: no further attempt follows. May be NULL. */
    void (*answered)(struct sim *s, void *ctx, int attempt, int status, bool last);
    void (*free_ctx)(void *ctx);
    void *ctx;
};

void sim_webhook_send(struct sim *s, const struct sim_delivery *d);

/* How a mutation wants its deliveries; parsed from the members of a control body. */
struct sim_notify {
    bool notify;      /* "notify", default true */
    int count;        /* "count": deliveries of each event, default 1 */
    bool shuffle;     /* "shuffle" */
    bool same_second; /* "same_second": events share one created second / occurredAt */
    int64_t delay_ms; /* "delay_ms" */
};
void sim_notify_parse(struct sim_notify *n, const json_t *body);

/* ---- the two providers ---- */

/** hubspot.c (A) / stripe.c (B): their state, kept in struct sim. */
struct hs_app;
struct stripe_sim;
struct hs_app **sim_hubspot(struct sim *s);
struct stripe_sim **sim_stripe(struct sim *s);
const struct sim_options *sim_options(const struct sim *s);
/** http://127.0.0.1:PORT of that provider's port. */
const char *sim_base_url(const struct sim *s, enum sim_provider p);

int sim_hubspot_init(struct sim *s);
void sim_hubspot_free(struct sim *s);
/** Any request at the HubSpot port outside /_sim/. */
void sim_hubspot_handle(struct sim_request *r);
/** /_sim/hubspot/<tail>; tail has no leading slash. */
void sim_hubspot_control(struct sim_request *r, const char *tail, json_t *body);
/** One deterministic random change with its webhook. */
void sim_hubspot_mutate(struct sim *s, const struct sim_notify *n);
/** The "hubspot" member of /_sim/webhooks/config and send; NULL or an error text (lent). */
const char *sim_hubspot_webhook_config(struct sim *s, json_t *config);
const char *sim_hubspot_webhook_send(struct sim *s, json_t *body);

/** Fill the answer with the documented error of that id; false when there is none. */
bool sim_hubspot_error(struct sim_request *r, const char *id);
bool sim_stripe_error(struct sim_request *r, const char *id);

int sim_stripe_init(struct sim *s);
void sim_stripe_free(struct sim *s);
void sim_stripe_handle(struct sim_request *r);
void sim_stripe_control(struct sim_request *r, const char *tail, json_t *body);
void sim_stripe_mutate(struct sim *s, const struct sim_notify *n);
const char *sim_stripe_webhook_config(struct sim *s, json_t *config);
const char *sim_stripe_webhook_send(struct sim *s, json_t *body);

#endif
