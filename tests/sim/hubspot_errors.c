/* Error answers as HubSpot words them; the same texts serve faults by id. */
#include "hubspot.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* $C stands for the correlation id of the answer. */
struct error_row {
    const char *id;
    int status;
    const char *headers; /* whole lines */
    const char *body;
};

#define CORR   "\"correlationId\":\"$C\""
#define STATUS "\"status\":\"error\""
#define TEN                                                                                    \
    "X-HubSpot-RateLimit-Interval-Milliseconds: 10000\r\n"                                     \
    "X-HubSpot-RateLimit-Max: 110\r\nX-HubSpot-RateLimit-Remaining: 0\r\n"
#define UNSAID "\"message\":\"(text not published)\""

static const struct error_row rows[] = {
    {"rate-ten-secondly", 429, TEN,
     "{" STATUS ",\"message\":\"You have reached your ten_secondly_rolling limit.\","
     "\"errorType\":\"RATE_LIMIT\"," CORR ",\"policyName\":\"TEN_SECONDLY_ROLLING\","
     "\"groupName\":\"publicapi:private_app-api-calls-ten-secondly:123456\"}"},
    {"rate-daily", 429, "",
     "{" STATUS ",\"message\":\"You have reached your daily limit.\","
     "\"errorType\":\"RATE_LIMIT\"," CORR ",\"policyName\":\"DAILY\","
     "\"requestId\":\"3d3e35b7-0dae-4b9f-a6e3-9c230cbcf8dd\"}"},
    {"rate-search", 429, "",
     "{" STATUS ",\"message\":\"You have reached your secondly limit.\"," CORR
     ",\"category\":\"RATE_LIMITS\"}"},
    {"rate-associations", 429, "",
     "{" STATUS ",\"message\":\"You have reached your ten_secondly_rolling limit.\","
     "\"errorType\":\"RATE_LIMIT\"," CORR ",\"policyName\":\"TEN_SECONDLY_ROLLING\"}"},
    {"token-expired", 401, "",
     "{" STATUS
     ",\"message\":\"The OAuth token used to make this call expired 0 second(s) ago.\"," CORR
     ",\"category\":\"EXPIRED_AUTHENTICATION\","
     "\"context\":{\"expire time\":[\"2026-03-10T23:04:41.164Z\"]}}"},
    {"token-expired-old-text", 401, "",
     "{" STATUS ",\"message\":\"This oauth-token is expired! expiresAt: 1700000000000, "
     "now: 1700000001000\"," CORR ",\"category\":\"EXPIRED_AUTHENTICATION\"}"},
    {"token-invalid", 401, "",
     "{" STATUS ",\"message\":\"Authentication credentials not found. This API supports OAuth "
     "2.0 authentication and you can find more details at "
     "https://developers.hubspot.com/docs/methods/auth/oauth-overview\"," CORR
     ",\"category\":\"INVALID_AUTHENTICATION\"}"},
    {"missing-scopes", 403, "",
     "{" STATUS
     ",\"message\":\"This app hasn't been granted all required scopes to make this call. Read "
     "more about required scopes here: https://developers.hubspot.com/scopes.\"," CORR
     ",\"errors\":[{\"message\":\"One or more of the following scopes are required.\","
     "\"context\":{\"requiredGranularScopes\":[\"crm.objects.companies.read\"]}}],"
     "\"links\":{\"scopes\":\"https://developers.hubspot.com/scopes\"},"
     "\"category\":\"MISSING_SCOPES\"}"},
    {"banned", 403, "",
     "{" STATUS ",\"message\":\"The app is not allowed to access this portal.\"," CORR
     ",\"category\":\"BANNED\"}"},
    {"not-found", 404, "",
     "{" STATUS ",\"message\":\"resource not found\"," CORR
     ",\"category\":\"OBJECT_NOT_FOUND\"}"},
    {"lists-404-html", 404, "", "<html><body>404</body></html>"},
    {"validation", 400, "",
     "{" STATUS
     ",\"message\":\"This will be a human readable message with details about the error.\","
     "\"errors\":[{\"message\":\"discount was not a valid number\",\"code\":"
     "\"INVALID_INTEGER\",\"context\":{\"propertyName\":[\"discount\"]}}],"
     "\"category\":\"VALIDATION_ERROR\"," CORR "}"},
    {"search-past-10000", 400, "",
     "{" STATUS ",\"message\":\"(text not published; a VALIDATION_ERROR is assumed)\"," CORR
     ",\"category\":\"VALIDATION_ERROR\"}"},
    {"uri-too-long", 414, "", ""},
    {"locked", 423, "", "{" STATUS "," UNSAID "," CORR "}"},
    {"migration", 477, "Retry-After: 3600\r\n", "{" STATUS "," UNSAID "," CORR "}"},
    {"http-500", 500, "", "{" STATUS ",\"message\":\"internal error\"," CORR "}"},
    {"http-502", 502, "",
     "<html><head><title>502</title></head><body>bad gateway</body></html>"},
    {"http-503", 503, "",
     "<html><head><title>503</title></head><body>temporarily unavailable</body></html>"},
    {"http-504", 504, "",
     "<html><head><title>504</title></head><body>gateway timeout</body></html>"},
    {"http-521", 521, "",
     "<html><head><title>521</title></head><body>web server is down</body></html>"},
    {"http-522", 522, "",
     "<html><head><title>522</title></head><body>connection timed out</body></html>"},
    {"http-523", 523, "",
     "<html><head><title>523</title></head><body>origin unreachable</body></html>"},
    {"http-524", 524, "",
     "<html><head><title>524</title></head><body>no answer within 100 s</body></html>"},
    {"http-525", 525, "",
     "<html><head><title>525</title></head><body>TLS handshake</body></html>"},
    {"http-526", 526, "",
     "<html><head><title>526</title></head><body>TLS certificate</body></html>"},
    {"http-530", 530, "",
     "<html><head><title>530</title></head><body>edge error; seen for a malformed "
     "token</body></html>"},
    {"batch-207", 207, "",
     "{\"status\":\"COMPLETE\",\"results\":[{\"id\":\"1246965\",\"properties\":{\"name\":"
     "\"Acme\",\"hs_object_id\":\"1246965\",\"hs_lastmodifieddate\":"
     "\"2026-11-20T10:00:00.000Z\",\"createdate\":\"2024-08-15T17:09:13.648Z\"},"
     "\"createdAt\":\"2024-08-15T17:09:13.648Z\",\"updatedAt\":\"2026-11-20T10:00:00.000Z\","
     "\"archived\":false}],\"numErrors\":1,\"errors\":[{\"status\":\"error\",\"category\":"
     "\"OBJECT_NOT_FOUND\",\"message\":\"Could not get some COMPANY objects, they may be "
     "deleted or not exist. Check that ids are valid.\",\"context\":{\"ids\":[\"1246978\"]}}],"
     "\"startedAt\":\"2026-11-20T10:00:00.000Z\","
     "\"completedAt\":\"2026-11-20T10:00:00.040Z\"}"},
    {"subscription-limit", 400, "",
     "{" STATUS ",\"message\":\"Couldn't create another subscription. You've reached the "
     "maximum number allowed per application (1000).\"," CORR
     ",\"requestId\":\"919c4c84f66769e53b2c5713d192fca7\"}"},
    {"refresh-revoked", 400, "",
     "{\"error\":\"invalid_grant\",\"error_description\":\"refresh token is invalid, expired "
     "or revoked\",\"status\":\"BAD_REFRESH_TOKEN\",\"message\":\"refresh token is invalid, "
     "expired or revoked\"}"},
    {"refresh-revoked-v1", 400, "",
     "{\"status\":\"BAD_REFRESH_TOKEN\",\"message\":\"missing or invalid refresh token\"," CORR
     "}"},
    {"auth-code", 400, "",
     "{\"status\":\"BAD_AUTH_CODE\",\"message\":\"missing or unknown auth code\"," CORR "}"},
    {"hub", 400, "",
     "{\"status\":\"BAD_HUB\",\"message\":\"missing or unknown hub id\","
     "\"error\":\"access_denied\"}"},
    {"bad-client-id", 400, "",
     "{\"error\":\"invalid_client\",\"status\":\"BAD_CLIENT_ID\",\"message\":\"missing or "
     "unknown client id\"}"},
    {"bad-client-secret", 400, "",
     "{\"error\":\"invalid_client\",\"status\":\"BAD_CLIENT_SECRET\"," UNSAID "}"},
    {"bad-redirect-uri", 400, "",
     "{\"error\":\"invalid_request\",\"status\":\"BAD_REDIRECT_URI\"," UNSAID "}"},
    {"bad-grant-type", 400, "",
     "{\"error\":\"unsupported_grant_type\",\"status\":\"BAD_GRANT_TYPE\"," UNSAID "}"},
    {"bad-scopes", 400, "",
     "{\"error\":\"invalid_scope\",\"status\":\"BAD_SCOPES\"," UNSAID "}"},
    {"bad-code-verifier", 400, "",
     "{\"error\":\"invalid_grant\",\"status\":\"BAD_CODE_VERIFIER\"," UNSAID "}"},
    {"token-429", 429, "",
     "{" STATUS ",\"message\":\"You have reached your secondly limit.\","
     "\"category\":\"RATE_LIMITS\"," CORR "}"},
    {"token-503", 503, "", "<html><body>503</body></html>"},
};

const char *hs_correlation(struct sim_request *r)
{
    if (*r->request_id == '\0') {
        sim_uuid(r->sim, r->request_id);
        sim_answer_header(r, "X-HubSpot-Correlation-Id: %s", r->request_id);
    }
    return r->request_id;
}

bool sim_hubspot_error(struct sim_request *r, const char *id)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct error_row *e = &rows[i];
        if (strcmp(e->id, id) != 0) {
            continue;
        }
        const char *corr = hs_correlation(r);
        r->res.status = e->status;
        r->res.body.len = 0;
        const char *mark = strstr(e->body, "$C");
        if (mark != NULL) {
            sim_buf_add(&r->res.body, e->body, (size_t)(mark - e->body));
            sim_buf_adds(&r->res.body, corr);
            sim_buf_adds(&r->res.body, mark + 2);
        } else {
            sim_buf_adds(&r->res.body, e->body);
        }
        if (*e->body != '\0') {
            sim_answer_header(r, "Content-Type: %s",
                              *e->body == '{' ? "application/json;charset=utf-8"
                                              : "text/html; charset=utf-8");
        }
        sim_buf_adds(&r->res.headers, e->headers);
        return true;
    }
    return false;
}

static void answer(struct sim_request *r, int status, const char *category, const char *text)
{
    json_t *v = json_pack("{s:s, s:s, s:s}", "status", "error", "message", text,
                          "correlationId", hs_correlation(r));
    if (category != NULL) {
        (void)json_object_set_new(v, "category", json_string(category));
    }
    sim_answer_json(r, status, v, 0);
}

void hs_error(struct sim_request *r, int status, const char *category, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    answer(r, status, category, text);
}

void hs_invalid(struct sim_request *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    answer(r, 400, "VALIDATION_ERROR", text);
}

void hs_missing_scope(struct sim_request *r, const char *scope)
{
    sim_answer_json(
        r, 403,
        json_pack("{s:s, s:s, s:s, s:[{s:s, s:{s:[s]}}], s:{s:s}, s:s}", "status", "error",
                  "message",
                  "This app hasn't been granted all required scopes to make this call. Read "
                  "more about required scopes here: https://developers.hubspot.com/scopes.",
                  "correlationId", hs_correlation(r), "errors", "message",
                  "One or more of the following scopes are required.", "context",
                  "requiredGranularScopes", scope, "links", "scopes",
                  "https://developers.hubspot.com/scopes", "category", "MISSING_SCOPES"),
        0);
}

void hs_unknown_path(struct sim_request *r)
{
    sim_answer_text(r, 404, "text/html; charset=utf-8", "<html><body>404</body></html>");
}
