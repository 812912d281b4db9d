/*
 * Error bodies and the headers every answer has.
 */
#include "stripe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void st_headers(struct sim_request *r, const char *version)
{
    sim_answer_header(r, "Server: nginx");
    sim_answer_header(r, "Cache-Control: no-cache, no-store");
    sim_answer_header(r, "Strict-Transport-Security: max-age=63072000; includeSubDomains; "
                         "preload");
    sim_answer_header(r, "Request-Id: %s", r->request_id);
    if (version != NULL)
        sim_answer_header(r, "Stripe-Version: %s", version);
    const char *key = sim_header(r, "idempotency-key");
    if (key != NULL && strcmp(r->method, "POST") == 0) {
        sim_answer_header(r, "Idempotency-Key: %s", key);
        sim_answer_header(r, "Original-Request: %s", r->request_id);
    }
}

void st_answer(struct sim_request *r, int status, const char *version, json_t *v)
{
    st_headers(r, version);
    sim_answer_json(r, status, v, ST_JSON_FLAGS);
}

static bool wants_doc_url(const char *code)
{
    return code != NULL && strcmp(code, "more_permissions_required") != 0;
}

void st_error(struct sim_request *r, int status, const char *code, const char *param,
              const char *fmt, ...)
{
    char message[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);

    json_t *e = json_object();
    if (code != NULL)
        json_object_set_new(e, "code", json_string(code));
    if (wants_doc_url(code)) {
        char doc[128];
        snprintf(doc, sizeof doc, "https://stripe.com/docs/error-codes/%s", code);
        for (char *p = doc; *p != '\0'; p++)
            *p = *p == '_' ? '-' : *p;
        json_object_set_new(e, "doc_url", json_string(doc));
    }
    json_object_set_new(e, "message", json_string(message));
    if (param != NULL)
        json_object_set_new(e, "param", json_string(param));
    if (status != 401 && status != 429)
        json_object_set_new(e, "request_log_url",
                            json_sprintf("https://dashboard.stripe.com/test/logs/%s?t=%lld",
                                         r->request_id,
                                         (long long)(sim_now_ms(r->sim) / 1000)));
    json_object_set_new(e, "type",
                        json_string(status >= 500 ? "api_error" : "invalid_request_error"));
    const char *version = sim_header(r, "stripe-version");
    /* A version we refuse is not echoed. */
    st_headers(r, version != NULL && st_version_known(version) ? version : ST_VERSION);
    if (status < 429)
        sim_answer_header(r, "Stripe-Should-Retry: false");
    if (status == 401)
        sim_answer_header(r, "WWW-Authenticate: Basic realm=\"Stripe\"");
    sim_answer_json(r, status, json_pack("{s:o}", "error", e), ST_JSON_FLAGS);
}

struct kind {
    const char *name;
    int status;
    const char *code;
    const char *header; /* one more header line, or NULL */
    const char *message;
};

static const struct kind kinds[] = {
    {"rate-limit", 429, "rate_limit", "Stripe-Rate-Limited-Reason: global-rate",
     "Request rate limit exceeded. You can learn more about rate limits here "
     "https://stripe.com/docs/rate-limits."},
    {"endpoint-rate", 429, "rate_limit", "Stripe-Rate-Limited-Reason: endpoint-rate",
     "Request rate limit exceeded. You can learn more about rate limits here "
     "https://stripe.com/docs/rate-limits."},
    {"concurrency", 429, "rate_limit", "Stripe-Rate-Limited-Reason: global-concurrency",
     "Request concurrency limit exceeded. You can learn more about rate limits here "
     "https://stripe.com/docs/rate-limits."},
    {"endpoint-concurrency", 429, "rate_limit",
     "Stripe-Rate-Limited-Reason: endpoint-concurrency",
     "Request concurrency limit exceeded. You can learn more about rate limits here "
     "https://stripe.com/docs/rate-limits."},
    {"rate-limit-retry-after", 429, "rate_limit", "Retry-After: 2",
     "Request rate limit exceeded. You can learn more about rate limits here "
     "https://stripe.com/docs/rate-limits."},
    {"rate-limit-no-retry", 429, "rate_limit", "Stripe-Should-Retry: false",
     "Request rate limit exceeded. You can learn more about rate limits here "
     "https://stripe.com/docs/rate-limits."},
    {"api-key-expired", 401, "api_key_expired", NULL,
     "Expired API Key provided: rk_test_***123"},
    {"api-key-invalid", 401, NULL, NULL, "Invalid API Key provided: sk_test_************S8wL"},
    {"more-permissions", 403, "more_permissions_required", NULL,
     "Permission denied. The provided key 'rk_live_***j4va7j' does not have the required "
     "permissions for this endpoint on account 'acct_123'. Enabling \"Prices Read\" "
     "('plan_read') permissions on this key would allow this request to continue."},
    {"account-invalid", 403, "account_invalid", NULL,
     "The provided key 'sk_test_***qPsl' does not have access to account 'acct_123' (or that "
     "account does not exist). Application access may have been revoked."},
    {"ip-allow-list", 403, NULL, NULL,
     "The API key provided does not allow requests from your IP address (1.2.3.4)."},
    {"idempotency-in-use", 409, "idempotency_key_in_use", NULL,
     "There is currently another in-progress request using this Idempotent Key."},
    {"dependency-failed", 424, NULL, NULL, "An external dependency failed."},
    {"api-error", 500, NULL, NULL, "An unknown error occurred"},
    {"api-error-retry", 500, NULL, "Stripe-Should-Retry: true", "An unknown error occurred"},
    {"api-error-no-retry", 500, NULL, "Stripe-Should-Retry: false",
     "An unknown error occurred"},
    {"unavailable", 503, NULL, NULL, "Service temporarily unavailable"},
};

bool sim_stripe_error(struct sim_request *r, const char *kind)
{
    if (strcmp(kind, "lock-timeout") == 0) {
        /* The one answer without a request id and without a reason. */
        sim_answer_header(r, "Server: nginx");
        sim_answer_json(r, 429,
                        json_pack("{s:{s:s, s:s, s:s, s:s}}", "error", "code", "lock_timeout",
                                  "doc_url", "https://stripe.com/docs/error-codes/lock-timeout",
                                  "message",
                                  "This object cannot be accessed right now because another "
                                  "API request or Stripe process is currently accessing it.",
                                  "type", "invalid_request_error"),
                        ST_JSON_FLAGS);
        return true;
    }
    if (strcmp(kind, "html-502") == 0) {
        sim_answer_header(r, "Server: nginx");
        sim_answer_text(r, 502, "text/html",
                        "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
                        "<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n");
        return true;
    }
    if (strcmp(kind, "empty-504") == 0) {
        sim_answer_text(r, 504, "text/plain", "");
        return true;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, kind) != 0)
            continue;
        st_error(r, kinds[i].status, kinds[i].code, NULL, "%s", kinds[i].message);
        if (kinds[i].header != NULL)
            sim_answer_header(r, "%s", kinds[i].header);
        return true;
    }
    return false;
}
