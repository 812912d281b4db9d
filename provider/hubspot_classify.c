/* HubSpot's answers as error types. Every field of its error body is optional and 5xx bodies
 * are often HTML, so the status decides first and the words only refine it. */
#include "provider/hubspot_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEN_SECONDLY_WAIT_MS = 10 * 1000,
    SECONDLY_WAIT_MS = 1000,
    /* The daily limit ends at midnight in the portal's zone, which an answer does not tell. */
    DAILY_WAIT_MS = 3600 * 1000,
    LOCKED_WAIT_MS = 2500,
    MIGRATING_WAIT_MS = 3600 * 1000,
};

static bool is(const char *a, const char *b)
{
    return a != NULL && strcmp(a, b) == 0;
}

/* Ids that HubSpot's support asks for. */
static void find_request_id(const json_t *body, const struct http_response *r,
                            struct failure *f)
{
    if (text_copy(f->request_id, sizeof f->request_id, json_text_of(body, "correlationId")) &&
        f->request_id[0] != '\0')
        return;
    if (http_response_header(r, "x-hubspot-correlation-id", f->request_id,
                             sizeof f->request_id) != NULL)
        return;
    (void)text_copy(f->request_id, sizeof f->request_id, json_text_of(body, "requestId"));
}

static void take_request_id(const json_t *body, const struct http_response *r,
                            struct failure *f)
{
    find_request_id(body, r, f);
    request_id_check(f);
}

static void take_message(const json_t *body, const struct http_response *r, struct failure *f)
{
    const char *m = json_text_of(body, "message");
    if (m == NULL)
        m = json_text_of(body, "error_description");
    if (m != NULL)
        failure_say(f, (struct slice){m, strlen(m)});
    else if (body == NULL && r->body.len_bytes > 0)
        failure_say(f, answer_body(r));
}

static void details_of(json_t *context, struct failure *f)
{
    const char *key = NULL;
    json_t *list = NULL;
    json_object_foreach(context, key, list)
    {
        for (size_t i = 0; i < json_array_size(list); i++)
            failure_detail(f, json_string_value(json_array_get(list, i)));
    }
}

/* The scopes, properties or ids that errors[].context names, else the code. */
static void take_detail(const json_t *body, struct failure *f)
{
    const json_t *errors = json_object_get(body, "errors");
    for (size_t i = 0; i < json_array_size(errors); i++) {
        const json_t *e = json_array_get(errors, i);
        json_t *context = json_object_get(e, "context");
        const json_t *scopes = json_object_get(context, "requiredGranularScopes");
        if (scopes != NULL) {
            for (size_t k = 0; k < json_array_size(scopes); k++)
                failure_detail(f, json_string_value(json_array_get(scopes, k)));
        } else if (json_object_size(context) > 0) {
            details_of(context, f);
        } else {
            failure_detail(f, json_text_of(e, "code"));
        }
    }
}

static enum error_type forbidden(const json_t *body)
{
    const char *category = json_text_of(body, "category");
    const char *message = json_text_of(body, "message");
    if (is(category, "MISSING_SCOPES") || text_has(message, "required scopes"))
        return ET_SCOPE_MISSING;
    if (text_has(message, "upgrade") || text_has(message, "subscription tier") ||
        text_has(message, "your plan") || text_has(message, "not have access to this feature"))
        return ET_PLAN_REQUIRED;
    return ET_PERMISSION_DENIED;
}

/* By policyName, then by message, then by endpoint. */
static enum error_type limited(const json_t *body, const char *endpoint, int64_t *wait_ms)
{
    const char *policy = json_text_of(body, "policyName");
    const char *message = json_text_of(body, "message");
    if (is(policy, "DAILY") || (policy == NULL && text_has(message, "daily limit"))) {
        *wait_ms = DAILY_WAIT_MS;
        return ET_RATE_LIMIT_DAILY;
    }
    bool ten = policy != NULL
                   ? text_has(policy, "TEN_SECONDLY")
                   : text_has(message, "ten_secondly") ||
                         !(text_has(message, "secondly") || text_has(endpoint, "/search"));
    *wait_ms = ten ? TEN_SECONDLY_WAIT_MS : SECONDLY_WAIT_MS;
    if (text_has(endpoint, "/search") || (policy == NULL && endpoint[0] == '\0' && !ten &&
                                          is(json_text_of(body, "category"), "RATE_LIMITS")))
        return ET_RATE_LIMIT_SEARCH;
    return ET_RATE_LIMIT_BURST;
}

static bool past_search_window(const char *endpoint, const char *message)
{
    return text_has(endpoint, "/search") &&
           (text_has(message, "10,000") || text_has(message, "10000"));
}

static enum error_type not_found(const json_t *body, const char *endpoint)
{
    /* A gateway or a wrong path: says nothing about any record. */
    if (body == NULL)
        return ET_MALFORMED_BODY;
    if (strncmp(endpoint, "/crm/lists/", 11) == 0 && !text_has(endpoint, "/records/"))
        return ET_LIST_NOT_FOUND;
    return ET_RECORD_NOT_FOUND;
}

/* The token endpoint. status goes before error: a bad code verifier also says invalid_grant. */
static enum error_type token_error(const json_t *body, const struct http_response *r,
                                   struct failure *f)
{
    const char *status = json_text_of(body, "status");
    const char *error = json_text_of(body, "error");
    if (r->status == 429 || r->status >= 500 || r->status == 423 || r->status == 477) {
        f->wait_ms = answer_wait_ms(r, r->status == 429 ? SECONDLY_WAIT_MS : -1);
        return ET_AUTH_REFRESH_UNAVAILABLE;
    }
    failure_detail(f, status != NULL ? status : error);
    if (is(status, "BAD_REFRESH_TOKEN") || is(status, "BAD_HUB"))
        return ET_AUTH_REVOKED;
    if (is(status, "BAD_AUTH_CODE"))
        return ET_INVALID_REQUEST; /* the walk is to be started again */
    if (is(status, "BAD_CLIENT_ID") || is(status, "BAD_CLIENT_SECRET") ||
        is(error, "invalid_client") || r->status == 401)
        return ET_AUTH_CLIENT_REJECTED;
    if (status != NULL && strncmp(status, "BAD_", 4) == 0)
        return ET_CONFIG_ERROR;
    if (is(error, "invalid_grant") || is(error, "access_denied"))
        return ET_AUTH_REVOKED;
    if (body == NULL)
        return ET_MALFORMED_BODY;
    return ET_CONFIG_ERROR;
}

static enum error_type server_error(int status)
{
    switch (status) {
    case 502:
    case 503:
    case 504:
    case 521:
        return ET_PROVIDER_UNAVAILABLE;
    case 522:
    case 523:
    case 524:
    case 525:
    case 526:
    case 530: /* also seen for a malformed token: no proof of it */
        return ET_PROVIDER_EDGE_ERROR;
    default:
        return ET_PROVIDER_ERROR;
    }
}

/* Called with the developer key: what it may not says nothing about a connection. */
static bool is_of_app(const char *endpoint)
{
    return strncmp(endpoint, "/webhooks/", 10) == 0;
}

static enum error_type api_error(const json_t *body, const struct http_response *r,
                                 const char *endpoint, struct failure *f)
{
    const char *message = json_text_of(body, "message");
    const char *category = json_text_of(body, "category");
    int64_t wait_ms = -1;
    enum error_type type = ET_INVALID_REQUEST;
    switch (r->status) {
    case 400:
        return past_search_window(endpoint, message) ? ET_SEARCH_WINDOW_EXCEEDED : type;
    case 401:
        if (is_of_app(endpoint))
            return ET_AUTH_CLIENT_REJECTED;
        return is(category, "EXPIRED_AUTHENTICATION") || text_has(message, "expired")
                   ? ET_AUTH_TOKEN_EXPIRED
                   : ET_AUTH_KEY_INVALID;
    case 403:
        return is_of_app(endpoint) ? ET_AUTH_CLIENT_REJECTED : forbidden(body);
    case 404:
        return not_found(body, endpoint);
    case 407:
        return ET_PROXY_FAILED;
    case 408:
        return ET_TIMEOUT_READ;
    case 409:
        return ET_CONFLICT;
    case 414:
        return ET_URI_TOO_LONG;
    case 423:
        f->wait_ms = answer_wait_ms(r, LOCKED_WAIT_MS);
        return ET_RECORD_LOCKED;
    case 429:
        type = limited(body, endpoint, &wait_ms);
        f->wait_ms = answer_wait_ms(r, wait_ms);
        return type;
    case 477:
        f->wait_ms = answer_wait_ms(r, MIGRATING_WAIT_MS);
        return ET_PROVIDER_MIGRATING;
    default:
        break;
    }
    if (r->status >= 500) {
        f->wait_ms = answer_wait_ms(r, -1);
        return server_error(r->status);
    }
    return r->status >= 400 ? ET_INVALID_REQUEST : ET_UNEXPECTED_SHAPE;
}

static int64_t header_number(const struct http_response *r, const char *name)
{
    char text[24];
    char *end = NULL;
    if (http_response_header(r, name, text, sizeof text) == NULL)
        return -1;
    long long n = strtoll(text, &end, 10);
    return end != text && *end == '\0' && n >= 0 && n < 1000000000 ? n : -1;
}

/* A private app has 100 calls in ten seconds, or 190, or 250, by what the account pays for, and
 * answers say so. Only of the general calls: whether an answer about associations names their
 * own limit or the general one is not known. Four calls less than the limit is what our burst
 * and the jitter between two clocks take. */
void hubspot_limits(const struct http_request *q, const struct http_response *r,
                    struct limits_told *out)
{
    enum { ROOM_CALLS = 4, FEWEST_CALLS = 10, WINDOW_MIN_MS = 1000, WINDOW_MAX_MS = 60000 };
    int64_t most = header_number(r, "x-hubspot-ratelimit-max");
    int64_t window_ms = header_number(r, "x-hubspot-ratelimit-interval-milliseconds");
    if (strcmp(q->family, "general") == 0 && most >= FEWEST_CALLS &&
        window_ms >= WINDOW_MIN_MS && window_ms <= WINDOW_MAX_MS)
        out->rate_per_s = (double)(most - ROOM_CALLS) * 1000.0 / (double)window_ms;
    out->daily_limit = header_number(r, "x-hubspot-ratelimit-daily");
    out->daily_left = header_number(r, "x-hubspot-ratelimit-daily-remaining");
    if (out->daily_limit <= 0 || out->daily_left < 0)
        out->daily_limit = out->daily_left = -1;
}

void hubspot_classify_answer(const char *endpoint, const struct http_response *r,
                             struct failure *f)
{
    bool oauth = strncmp(endpoint, "/oauth/", 7) == 0;
    failure_init(f, r);
    if (failure_of_fault(f, r, oauth) || (r->status >= 200 && r->status < 300))
        return;
    json_t *body = answer_json(r);
    take_request_id(body, r, f);
    take_message(body, r, f);
    enum error_type type = oauth ? token_error(body, r, f) : api_error(body, r, endpoint, f);
    if (!oauth)
        take_detail(body, f);
    failure_set(f, type, "HubSpot answered %d", r->status);
    json_decref(body);
}

void hubspot_classify(const struct http_request *q, const struct http_response *r,
                      struct failure *out)
{
    hubspot_classify_answer(q != NULL ? q->endpoint : "", r, out);
}
