/* What a provider's answer says, as values: records, references to records, and failures. */
#ifndef PROVIDER_RECORD_H
#define PROVIDER_RECORD_H

#include "common/buf.h"
#include "common/err.h"
#include "common/error_type.h"

#include <stdbool.h>
#include <stdint.h>

enum { RECORD_HASH_BYTES = 16, RECORD_ID_MAX_BYTES = 255, REQUEST_ID_MAX_BYTES = 128 };

/* Why a call or a record did not succeed, in the words of the error types. */
struct failure {
    enum error_type type; /* ET_NONE = no failure */
    int64_t wait_ms;      /* what the provider asked for (Retry-After), or -1 */
    int http_status;      /* 0 without an answer */
    char message[256];    /* the provider's sentence, redacted */
    char request_id[REQUEST_ID_MAX_BYTES]; /* HubSpot correlationId, Stripe Request-Id */
    char detail[256]; /* the scope, permission, property or parameter it names */
    int retry_advice; /* the provider said: 1 = retry (also when there was no memory), -1 = do
                         not; 0 = it did not say */
};

enum record_status {
    RECORD_FOUND, /* raw is the record */
    RECORD_REF,   /* only its id: a membership, a change seen by search or events */
    RECORD_GONE,  /* asked for and not there, or deleted / archived: raw may be its last form */
    RECORD_MERGED, /* lives on as other_id */
    RECORD_FAILED, /* failure says why; raw may be the slice that would not decode */
};

struct object_type;

struct record {
    const struct object_type *object;
    enum record_status status;
    char id[RECORD_ID_MAX_BYTES + 1];
    char other_id[RECORD_ID_MAX_BYTES + 1]; /* MERGED: survivor; ASK_RELATED: the asked id;
                                               FOUND: the parent it names itself, "" = none */
    struct slice raw;                       /* JSON, lent by the list */
    unsigned char hash[RECORD_HASH_BYTES];  /* of raw; a different order of fields gives
                                               another hash: that costs a write, no more */
    int64_t created_s;                      /* 0 = unknown */
    int64_t updated_at_ms; /* the provider's own time of change, 0 = it has none */
    struct failure failure;
};

/* The records of one ask. Owns every byte its records lend. */
struct record_list {
    struct record *records;
    size_t count, cap;
    struct buf *bodies; /* answers (or rebuilt records) the slices point into */
    size_t body_count;
    bool has_more; /* of a page: there is another */
    char *cursor;  /* where it starts; NULL = at the start */
    int64_t total; /* list size, search total; -1 = not said */
};

void record_list_init(struct record_list *l);
void record_list_release(struct record_list *l);
/** Take a body (its memory moves into the list); its bytes, lent. NULL = no memory. */
const char *record_list_keep(struct record_list *l, struct buf *body);
/** Append an empty record (zeroed); NULL = no memory. Good until the next add. */
struct record *record_list_add(struct record_list *l);
/** Set raw and hash of a record. */
void record_set_raw(struct record *r, struct slice raw);

#endif
