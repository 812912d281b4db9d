/* What both providers need to turn answers into failures and records. Not part of the
 * provider interface: only files of this folder include it. */
#ifndef PROVIDER_ANSWER_H
#define PROVIDER_ANSWER_H

#include "common/json.h"
#include "provider/provider.h"

/** Empty failure, with status of the answer and no wait. */
void failure_init(struct failure *f, const struct http_response *r);
/** Set the type and, where message is empty, a sentence of ours. */
void failure_set(struct failure *f, enum error_type type, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/** Out of memory for an answer: of our own failures the one that comes again by itself. */
void failure_no_memory(struct failure *f);
/** Copy the provider's sentence into message, without what looks like a credential and without
 * control characters; cut at the field's size, never inside a UTF-8 sequence. */
void failure_say(struct failure *f, struct slice text);
/** Append words to detail, separated by a blank; the same redaction. */
void failure_detail(struct failure *f, const char *text);
/** True when there was no answer; then the type is set from the fault. oauth: of a token
 * endpoint, where a provider that does not answer is auth_refresh_unavailable. */
bool failure_of_fault(struct failure *f, const struct http_response *r, bool oauth);
/** Retry-After of the answer in ms (seconds or an HTTP date), else fallback_ms. */
int64_t answer_wait_ms(const struct http_response *r, int64_t fallback_ms);
/** The tree of an answer's body when it is a JSON object; NULL when it is not. */
json_t *answer_json(const struct http_response *r);
/** An instant that a provider gave as a number, 0 when it is none that a calendar holds (up to
 * the year 10000): later ones overflow when they are counted in smaller units. */
int64_t instant_or_none(int64_t n, int64_t units_per_s);
/** The body as a slice. */
struct slice answer_body(const struct http_response *r);

/** True when the text contains word, whatever its case; NULL text is empty. */
bool text_has(const char *text, const char *word);
/** Copy into a field; false and empty when it does not fit. */
bool text_copy(char *out, size_t out_bytes, const char *text);

/** May this be an id: not empty, UTF-8, no control characters? */
bool id_fits(const char *id);
/** Forgets the request's id in f when it is none: a header may hold any bytes. */
void request_id_check(struct failure *f);
/** An id that is sent as a string or as an integer, as text; false when it is neither, does not
 * fit or is too long. */
bool id_of_slice(struct slice value, char out[RECORD_ID_MAX_BYTES + 1]);

/** A record of the answer: object, raw, hash. NULL = no memory. */
struct record *answer_record(struct record_list *out, const struct object_type *o,
                             enum record_status status, const char *id);
/** A raw record whose content PostgreSQL could not hold or that no one could decode becomes
 * FAILED (text_not_storable, malformed_body); true when it is fine. */
bool record_check(struct record *r);

/** Growing one request URL: base, path with "{id}" escaped, query. */
int url_set(struct http_request *q, const char *base, const char *path);
/** Append an escaped path segment. */
int url_segment(struct http_request *q, const char *segment);
/** Append ?name=value or &name=value, the value escaped. */
int url_query(struct http_request *q, const char *name, const char *value);
int url_query_int(struct http_request *q, const char *name, int64_t value);
/** Append name=value to a form body, escaped. */
int form_add(struct http_request *q, const char *name, const char *value);
/** "Authorization: Bearer token"; -1 with err set when it is empty or holds odd characters. */
int request_bearer(struct http_request *q, const char *token, struct err *err) MUST_USE;

/** Answer of plan() when the request was put together: PLAN_CALL, or PLAN_ERROR when a part did
 * not fit. Counts the call. */
enum plan_result plan_call(struct ask_state *s, struct http_request *q, const char *method,
                           const char *endpoint, const char *family, struct err *err);

#endif
