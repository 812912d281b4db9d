/* What the files of the Stripe client share. */
#ifndef PROVIDER_STRIPE_PRIV_H
#define PROVIDER_STRIPE_PRIV_H

#include "provider/answer.h"

/* An object type with what its reads need. */
struct stripe_type {
    const char *name;
    const char *path;                        /* of the list; a record's is path/{id} */
    const char *endpoint;                    /* of one record, for logs */
    const char *list_query;                  /* added to a listing: filters */
    const char *expand;                      /* expansions of a record, separated by blanks */
    const char *expand_2025_03, *expand_old; /* for API versions before 2025-09-30, and before
                                                2025-03-31; NULL = the same */
    const char *embedded;  /* member that is a list of which only the first 10 come, or NULL */
    const char *rest_path; /* where its rest is listed; {id} is the record's */
    const char *rest_expand;   /* expansions of its elements, since 2025-03-31 */
    const char *const *events; /* prefixes or names, NULL-terminated, for /v1/events types[] */
};

extern const struct object_type stripe_objects[];
const struct object_type *stripe_object(const char *name);
/** NULL for a type that is not ours. */
const struct stripe_type *stripe_type(const char *name);

int stripe_hook_verify(const struct hook *h, const struct secret_list *secrets, int64_t now_ms,
                       enum error_type *type, struct err *err);
int stripe_hook_parse(const struct hook *h, struct hint_list *out, struct err *err);
int stripe_hook_test(const struct provider_conn *c, const char *hook_url, struct slice secret,
                     int64_t now_ms, struct http_request *out, struct err *err);

/**
 * What an event is about. type: its name; object: the raw data.object.
 * Returns the static name of the object type to fetch and its id, "" (id "deauthorized") for
 * the connection itself, NULL for nothing of ours.
 */
const char *stripe_event_target(const char *type, struct slice object,
                                char id[RECORD_ID_MAX_BYTES + 1]);

/** Has a subscription a price of these products, or with these lookup keys? */
bool stripe_inside(const json_t *subscription, const char *kind, const char *id);

/** refresh: the request was a token refresh. */
void stripe_classify_answer(const char *endpoint, bool refresh, const struct http_response *r,
                            struct failure *out);
void stripe_classify(const struct http_request *q, const struct http_response *r,
                     struct failure *out);

enum st_call {
    ST_NONE,
    ST_RECORD, /* one record by id */
    ST_LIST,   /* page of a type */
    ST_EVENTS, /* page of events */
    ST_REST,   /* the rest of a record's embedded list */
    ST_ACCOUNT,
    ST_TOKEN,
    ST_REVOKE,
    ST_ENDPOINTS,
    ST_ENDPOINT_SAVE,
    ST_ENDPOINT_DELETE,
};

/* Where an ask stands. */
struct st_state {
    enum st_call call;
    const char *endpoint;
    bool refresh; /* the call was a token refresh */
    int offset;   /* ids asked so far */
    bool done;    /* the page is read */
    /* A cursor names a record and its second: the record may leave the listing while we page
     * (then Stripe refuses it), and we go on from the second. */
    char after[RECORD_ID_MAX_BYTES + 1];
    int64_t after_s;
    bool by_time; /* the cursor was refused */
    /* Embedded lists that did not come whole are read to their end, one after another. */
    bool completing;
    size_t next_record; /* of the list, not looked at yet */
    size_t rest_record;
    char rest_id[RECORD_ID_MAX_BYTES + 1];
    char rest_after[RECORD_ID_MAX_BYTES + 1];
    struct buf rest;                           /* elements that came since, joined by commas */
    char endpoint_id[RECORD_ID_MAX_BYTES + 1]; /* webhook endpoint to change */
    bool endpoint_known, endpoint_sound;       /* sound: nothing to change */
    bool endpoint_anew; /* what cannot be changed is made anew, and the old one deleted */
};

/** The event types an endpoint needs for these object types (ask->objects), an array. */
json_t *stripe_events_needed(const char *const *objects);

enum plan_result stripe_plan(const struct provider_conn *c, const struct ask *a,
                             struct ask_state *s, struct http_request *out, struct err *err);
int stripe_read(const struct provider_conn *c, const struct ask *a, struct ask_state *s,
                struct http_response *r, struct record_list *out, struct failure *why);

int stripe_derive(const json_t *bundle, const struct derive_policy *p, json_t **out,
                  json_t **notes, struct err *err);

/** Account, token and webhook endpoint answers, into s->facts. */
int stripe_read_facts(const struct provider_conn *c, const struct ask *a, struct ask_state *s,
                      const struct http_response *r, struct failure *why);
/** A refusal from which who we are can still be told: 0 with facts, -1 when not. */
int stripe_account_of_refusal(const struct provider_conn *c, struct ask_state *s,
                              struct failure *why);
/** The properties that derive() gives, for the mapping page. */
json_t *stripe_schema(void);

#endif
