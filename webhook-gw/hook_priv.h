/* A delivery while it is judged and answered: what hook.c and hook_answer.c share. */
#ifndef WEBHOOK_GW_HOOK_PRIV_H
#define WEBHOOK_GW_HOOK_PRIV_H

#include "webhook-gw/hook.h"

enum {
    APP_SECRETS_MAX = 8,
    URL_MAX_BYTES = 2048,
    RECEIPT_BYTES = 512, /* usual; for the first allocation */
    RECEIPTS_MAX_BYTES = 8 * 1024 * 1024,
    RECENT_SLOTS = 8192, /* a power of two */
    FLOOD_SLOTS = 256,   /* a power of two; connections that import at once */
    FLOOD_EVENTS_PER_MINUTE = 1000,
    REFUSED_RECEIPTS_PER_S = 10, /* strangers must not fill Redis */
    RETRY_AFTER_S = 5,
};

/* What became of one event; the names stand in webhook_event.verdict and in the metrics. */
enum verdict {
    VERDICT_ACCEPTED,
    VERDICT_DUPLICATE, /* accepted not long ago; put again all the same, which costs nothing */
    VERDICT_COALESCED, /* one of an import's flood: a catch-up finds it */
    VERDICT_IGNORED,   /* nothing of ours */
    VERDICT_UNKNOWN_ACCOUNT,
    VERDICT_DISCONNECTED,
    VERDICT_MALFORMED,
    VERDICT_SIGNATURE_INVALID,
    VERDICT_SIGNATURE_MISSING,
    VERDICT_TIMESTAMP_OLD,
    VERDICT_UNKNOWN_CONNECTION,
    VERDICT_UNAVAILABLE,
    VERDICT_COUNT,
};

/* A provider with its app-level secrets. */
struct endpoint {
    const struct provider *provider;
    enum setting secret_setting;
    struct secret *secrets[APP_SECRETS_MAX];
    int secret_count;
    struct metric *verdicts[VERDICT_COUNT];
    struct metric *seconds;
};

enum { ENDPOINTS_MAX = 16 };

/* Events of imports that one connection got in this minute. */
struct flood {
    int64_t connection_id, minute;
    int events;
};

struct hooks {
    struct hooks_options o;
    struct flood floods[FLOOD_SLOTS];
    struct endpoint endpoints[ENDPOINTS_MAX];
    int endpoint_count;
    char public_url[URL_MAX_BYTES / 2]; /* no trailing slash; "" = as the request says */
    int in_flight;
    int64_t refused_second; /* of the receipts below */
    int refused_receipts;
    int64_t complained_at_mono_ms;
    int64_t refused_since;         /* not yet told in the log */
    uint64_t recent[RECENT_SLOTS]; /* hashes of event ids whose put succeeded */
};

/* One delivery while it waits, for a fresh snapshot or for Redis. */
struct delivery {
    struct hooks *hooks;
    struct http_exchange *x;
    struct endpoint *endpoint;
    bool final;                  /* the snapshot is as fresh as it gets */
    int verdicts[VERDICT_COUNT]; /* counted when the put succeeded */
    size_t event_count;
    uint64_t events[]; /* hashes, to be remembered when the put succeeded */
};

/* What one delivery asks for, while it is judged. */
struct batch {
    struct hint_list items;
    struct unit_put *puts;
    int put_count, put_cap;
    struct buf receipts; /* texts, each ended by a NUL */
    int receipt_count;
    int verdicts[VERDICT_COUNT];
    bool failed;
};

extern const char *const hook_verdict_names[VERDICT_COUNT];

/** 503 with Retry-After. */
void hook_answer_retry(struct http_exchange *x, const char *text);
/** Note what became of an event (item NULL: of the delivery), for webhook_event. */
void hook_add_receipt(struct batch *b, const struct delivery *d, enum verdict v,
                      int64_t connection_id, const struct hook_item *item, int64_t now_ms);
/** End of a put of receipts alone. arg: the hooks. */
void hook_receipts_done(void *arg, const struct err *err);

/* These end the delivery: d is gone afterwards. */
/** Refuse it, with a receipt and a line in the log. */
void hook_refuse(struct delivery *d, int status, enum verdict v, int64_t connection_id,
                 const char *why);
/** It has to come again. */
void hook_unavailable(struct delivery *d, const char *why);
/** 200: everything that had to be done is done. */
void hook_accept(struct delivery *d);

#endif
