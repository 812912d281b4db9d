/* What the files of the HubSpot client share. */
#ifndef PROVIDER_HUBSPOT_PRIV_H
#define PROVIDER_HUBSPOT_PRIV_H

#include "provider/answer.h"

extern const struct object_type hubspot_objects[];
const struct object_type *hubspot_object(const char *name);

/** Names of the properties that are asked for of a type: ours and those the mapping needs; at
 * most max. Lent by c. */
int hubspot_properties(const struct provider_conn *c, const struct object_type *o,
                       const char **out, int max);
int hubspot_hook_manifest(const struct provider_conn *c, const char *hook_url, json_t **out,
                          struct err *err);

int hubspot_hook_verify(const struct hook *h, const struct secret_list *secrets, int64_t now_ms,
                        enum error_type *type, struct err *err);
int hubspot_hook_parse(const struct hook *h, struct hint_list *out, struct err *err);

int hubspot_hook_test(const struct provider_conn *c, const char *hook_url, struct slice secret,
                      int64_t now_ms, struct http_request *out, struct err *err);

/** endpoint: the request's template, "" when unknown. */
void hubspot_classify_answer(const char *endpoint, const struct http_response *r,
                             struct failure *out);
void hubspot_classify(const struct http_request *q, const struct http_response *r,
                      struct failure *out);

void hubspot_limits(const struct http_request *q, const struct http_response *r,
                    struct limits_told *out);

enum {
    HS_BATCH_MAX = 100,   /* inputs of a batch read */
    HS_PAGE_MAX = 100,    /* of a listing */
    HS_MEMBERS_MAX = 250, /* of list memberships */
    HS_SEARCH_MAX = 200,
    HS_LIST_SEARCH_MAX = 500,
    HS_AFTER_MAX_BYTES = 512,
};

/* What the call just planned was, so that read() knows what came. */
enum hs_call {
    HS_NONE,
    HS_RECORD,       /* one record by id */
    HS_BATCH,        /* batch read */
    HS_OWNERS,       /* page of owners, of which some are asked for */
    HS_LISTING,      /* page of a type */
    HS_MEMBERS,      /* page of a list's members */
    HS_STAGE_SEARCH, /* companies of a lifecycle stage */
    HS_DEAL_SEARCH,  /* deals of a pipeline */
    HS_CHANGED,      /* search by modified date */
    HS_ASSOCIATIONS,
    HS_LISTS_OF, /* lists that one record is in */
    HS_DEALS,    /* batch read of a company's deals */
    HS_ACCOUNT,
    HS_TOKEN,
    HS_REVOKE,
    HS_PROPERTIES,
    HS_LIST,
    HS_LIST_SEARCH,
    HS_PIPELINES,
    /* of our app */
    HS_HOOK_ADDRESS,
    HS_HOOK_LIST,
    HS_HOOK_ADDRESS_SAVE,
    HS_HOOK_SWITCH_ON,
    HS_HOOK_ADD,
};

/* An input of the associations API with the page it is to go on from. */
struct hs_input {
    char id[24];
    char after[HS_AFTER_MAX_BYTES];
};
struct hs_inputs {
    struct hs_input *items;
    size_t count, cap;
};
/** 0, or -1 without memory or when the id is no record id. */
int hs_inputs_add(struct hs_inputs *l, const char *id, const char *after) MUST_USE;
/** Drop the first n. */
void hs_inputs_drop(struct hs_inputs *l, size_t n);

/* Where an ask stands. */
struct hs_state {
    enum hs_call call;
    const char *endpoint;
    int offset; /* ids asked so far */
    int asked;  /* ids of the call in flight */
    bool done;
    /* CHANGED_SINCE: times from low_ms on; with tie_id, ids above it that share low_ms */
    int64_t low_ms;
    char tie_id[24];
    struct hs_inputs inputs; /* still to be asked of the associations API, or deals to read */
    size_t inputs_asked;
    struct hs_inputs deals;
    size_t deals_asked;
    char after[HS_AFTER_MAX_BYTES]; /* next page of owners */
    bool member;                    /* the membership question is answered with yes */
    struct hs_hooks *hooks;         /* of our app, in hubspot_subscribe.c */
};

enum plan_result hubspot_plan(const struct provider_conn *c, const struct ask *a,
                              struct ask_state *s, struct http_request *out, struct err *err);
int hubspot_read(const struct provider_conn *c, const struct ask *a, struct ask_state *s,
                 struct http_response *r, struct record_list *out, struct failure *why);

/** The app's address and subscriptions: HOOK asks. */
enum plan_result hubspot_plan_hooks(const struct provider_conn *c, const struct ask *a,
                                    struct ask_state *s, struct http_request *q,
                                    struct err *err);
int hubspot_read_hooks(const struct provider_conn *c, const struct ask *a, struct ask_state *s,
                       const struct http_response *r, struct failure *why);
void hubspot_hooks_free(struct hs_hooks *h);
/** What the app must subscribe to for a connection: array of {eventType, propertyName, active}
 * as its API takes them. objects as in struct ask. NULL = no memory. */
json_t *hubspot_events_needed(const struct provider_conn *c, const char *const *objects);

/* ---- what reads answers ---- */

/* An answer taken over by the list and cut into its results. */
struct hs_page {
    struct slice body;
    struct json_split split;
};

/** Moves the body into the list and cuts it. what: the array that must be there. */
int hs_take_page(struct http_response *r, struct record_list *out, const char *what,
                 struct hs_page *p, struct failure *why);
/** paging.next.after; false at the end. */
bool hs_next_page(struct slice paging, char after[HS_AFTER_MAX_BYTES]);
/** Always -1. */
int hs_fail_memory(struct failure *why);
/* Members of a record that are looked at. */
enum { RE_ID, RE_CREATED, RE_UPDATED, RE_ARCHIVED, RE_PROPERTIES, RE_COUNT };
extern const char *const hs_record_names[RE_COUNT];

/** Answers of ASK_RELATED and ASK_MEMBERSHIP. */
int hs_end_membership(const struct ask *a, struct hs_state *d, struct record_list *out,
                      struct failure *why);
int hs_read_associations(const struct ask *a, struct hs_state *d, struct http_response *r,
                         struct record_list *out, struct failure *why);
int hs_read_deals(const struct provider_conn *c, const struct ask *a, struct hs_state *d,
                  struct http_response *r, struct record_list *out, struct failure *why);
int hs_read_lists_of(const struct provider_conn *c, const struct ask *a, struct hs_state *d,
                     struct http_response *r, struct record_list *out, struct failure *why);
int hs_read_member_record(const struct provider_conn *c, const struct ask *a,
                          struct hs_state *d, struct http_response *r, struct record_list *out,
                          struct failure *why);

/** Account, token, properties and list answers, into s->facts. */
int hubspot_read_facts(struct ask_state *s, const struct http_response *r, struct failure *why);

#endif
