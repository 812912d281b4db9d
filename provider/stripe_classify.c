/* Stripe's answers as error types. Status first: error.type differs between versions. */
#include "provider/stripe_priv.h"

#include <stdio.h>
#include <string.h>

enum { LIMIT_WAIT_MS = 1000, LOCK_WAIT_MS = 500 };

static bool is(const char *a, const char *b)
{
    return a != NULL && strcmp(a, b) == 0;
}

/* (‘plan_read’) of "Enabling "Prices Read" ('plan_read') permissions on this key would ..." */
static void permission_of(const char *message, struct failure *f)
{
    char name[64];
    const char *open = message != NULL ? strstr(message, "('") : NULL;
    const char *close = open != NULL ? strstr(open, "')") : NULL;
    if (close == NULL || (size_t)(close - open - 2) >= sizeof name)
        return;
    (void)snprintf(name, sizeof name, "%.*s", (int)(close - open - 2), open + 2);
    failure_detail(f, name);
}

static enum error_type unauthorized(const char *code, const char *message)
{
    if (is(code, "api_key_expired") || is(code, "platform_api_key_expired") ||
        is(code, "secret_key_required") || text_has(message, "Invalid API Key"))
        return ET_AUTH_KEY_INVALID;
    return text_has(message, "expired") ? ET_AUTH_TOKEN_EXPIRED : ET_AUTH_KEY_INVALID;
}

static enum error_type forbidden(const char *code, const char *message, struct failure *f)
{
    if (is(code, "account_invalid") ||
        text_has(message, "Application access may have been revoked"))
        return ET_AUTH_APP_UNINSTALLED;
    if (is(code, "secret_key_required") || is(code, "platform_api_key_expired") ||
        is(code, "api_key_expired"))
        return ET_AUTH_KEY_INVALID;
    permission_of(message, f);
    return ET_PERMISSION_DENIED;
}

static enum error_type not_found(const json_t *error, const char *code, const char *message)
{
    if (error == NULL)
        return ET_MALFORMED_BODY; /* a gateway's page: says nothing about any record */
    if (text_has(message, "a similar object exists in"))
        return ET_AUTH_MODE_MISMATCH;
    return is(code, "resource_missing") ? ET_RECORD_NOT_FOUND : ET_INVALID_REQUEST;
}

static enum error_type limited(const struct http_response *r, const char *code,
                               struct failure *f)
{
    char reason[64] = "";
    (void)http_response_header(r, "stripe-rate-limited-reason", reason, sizeof reason);
    if (is(code, "lock_timeout")) {
        f->wait_ms = answer_wait_ms(r, LOCK_WAIT_MS);
        return ET_CONFLICT;
    }
    failure_detail(f, reason);
    f->wait_ms = answer_wait_ms(r, LIMIT_WAIT_MS);
    return text_has(reason, "concurrency") ? ET_RATE_LIMIT_CONCURRENCY : ET_RATE_LIMIT_BURST;
}

static enum error_type bad_request(const struct http_response *r, const char *code,
                                   struct failure *f)
{
    if (is(code, "rate_limit"))
        return limited(r, code, f);
    if (is(code, "lock_timeout"))
        return limited(r, code, f);
    if (is(code, "idempotency_key_in_use"))
        return ET_CONFLICT;
    if (is(code, "livemode_mismatch"))
        return ET_AUTH_MODE_MISMATCH;
    if (is(code, "secret_key_required"))
        return ET_AUTH_KEY_INVALID;
    return ET_INVALID_REQUEST;
}

static enum error_type api_error(const json_t *error, const struct http_response *r,
                                 struct failure *f)
{
    const char *code = json_text_of(error, "code");
    const char *message = json_text_of(error, "message");
    switch (r->status) {
    case 400:
        return bad_request(r, code, f);
    case 401:
        return unauthorized(code, message);
    case 402:
        return ET_PAYMENT_REQUIRED;
    case 403:
        return forbidden(code, message, f);
    case 404:
        return not_found(error, code, message);
    case 407:
        return ET_PROXY_FAILED;
    case 408:
        return ET_TIMEOUT_READ;
    case 409:
        f->wait_ms = answer_wait_ms(r, -1);
        return ET_CONFLICT;
    case 414:
        return ET_URI_TOO_LONG;
    case 424:
        f->wait_ms = answer_wait_ms(r, -1);
        return ET_PROVIDER_DEPENDENCY;
    case 429:
        return limited(r, code, f);
    case 502:
    case 503:
    case 504:
        f->wait_ms = answer_wait_ms(r, -1);
        return ET_PROVIDER_UNAVAILABLE;
    default:
        break;
    }
    if (r->status >= 520 && r->status <= 530)
        return ET_PROVIDER_EDGE_ERROR;
    if (r->status >= 500) {
        f->wait_ms = answer_wait_ms(r, -1);
        return ET_PROVIDER_ERROR;
    }
    return r->status >= 400 ? ET_INVALID_REQUEST : ET_UNEXPECTED_SHAPE;
}

/* OAuth errors are flat: {"error":"invalid_grant","error_description":...}. */
static enum error_type token_error(const json_t *body, const struct http_response *r,
                                   bool refresh, struct failure *f)
{
    const char *error = json_text_of(body, "error");
    const char *text = json_text_of(body, "error_description");
    if (text != NULL)
        failure_say(f, (struct slice){text, strlen(text)});
    if (r->status == 429 || r->status >= 500 || r->status == 409 || r->status == 424) {
        f->wait_ms = answer_wait_ms(r, r->status == 429 ? LIMIT_WAIT_MS : -1);
        return ET_AUTH_REFRESH_UNAVAILABLE;
    }
    failure_detail(f, error);
    if (is(error, "invalid_grant")) /* a used or unknown code: the walk is started again */
        return refresh ? ET_AUTH_REVOKED : ET_INVALID_REQUEST;
    if (is(error, "access_denied"))
        return ET_AUTH_REVOKED;
    if (is(error, "invalid_client") || r->status == 401 || r->status == 403)
        return ET_AUTH_CLIENT_REJECTED;
    return body == NULL ? ET_MALFORMED_BODY : ET_CONFIG_ERROR;
}

static void take_advice(const struct http_response *r, struct failure *f)
{
    char value[16];
    if (http_response_header(r, "stripe-should-retry", value, sizeof value) == NULL)
        return;
    if (strcmp(value, "true") == 0)
        f->retry_advice = 1;
    else if (strcmp(value, "false") == 0)
        f->retry_advice = -1;
}

void stripe_classify_answer(const char *endpoint, bool refresh, const struct http_response *r,
                            struct failure *f)
{
    bool oauth = strstr(endpoint, "/oauth/") != NULL;
    failure_init(f, r);
    (void)http_response_header(r, "request-id", f->request_id, sizeof f->request_id);
    request_id_check(f);
    if (failure_of_fault(f, r, oauth) || (r->status >= 200 && r->status < 300))
        return;
    take_advice(r, f);
    json_t *body = answer_json(r);
    const json_t *error = json_object_get(body, "error");
    const char *message = json_text_of(error, "message");
    if (message != NULL)
        failure_say(f, (struct slice){message, strlen(message)});
    else if (body == NULL && r->body.len_bytes > 0)
        failure_say(f, answer_body(r));
    enum error_type type;
    if (oauth && !json_is_object(error)) {
        type = token_error(body, r, refresh, f);
    } else {
        type = api_error(json_is_object(error) ? error : NULL, r, f);
        if (oauth && type == ET_AUTH_KEY_INVALID)
            type = ET_AUTH_CLIENT_REJECTED; /* it was our own key */
        if (oauth && r->status >= 429)
            type = ET_AUTH_REFRESH_UNAVAILABLE;
        if (type != ET_PERMISSION_DENIED || f->detail[0] == '\0')
            failure_detail(f, json_text_of(error, "param"));
    }
    failure_set(f, type, "Stripe answered %d", r->status);
    json_decref(body);
}

void stripe_classify(const struct http_request *q, const struct http_response *r,
                     struct failure *out)
{
    bool refresh = q != NULL && strstr(buf_text(&q->body), "grant_type=refresh_token") != NULL;
    stripe_classify_answer(q != NULL ? q->endpoint : "", refresh, r, out);
}
