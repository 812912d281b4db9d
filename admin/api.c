/* The JSON API: who is asking and may they, then the handler in a task of its own, then one
 * answer. What each resource is stands in openapi.json, which a test holds the server to. */
#include "admin/api.h"

#include "admin/admin.h"
#include "common/json.h"
#include "common/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IN_FLIGHT_MAX = 128, RETRY_AFTER_S = 5, LOCKED_AFTER_S = 300 };

struct api {
    struct app *app;
    struct sessions *sessions;
    int in_flight;
};

/* ---- answers ---- */

static void answer_headers(struct http_exchange *x)
{
    (void)http_exchange_set_header(x, "Cache-Control", "no-store");
    (void)http_exchange_set_header(x, "X-Content-Type-Options", "nosniff");
    (void)http_exchange_set_header(x, "Content-Security-Policy", "default-src 'none'");
}

void api_problem_plain(struct http_exchange *x, int status, const char *code,
                       const char *detail)
{
    static const struct {
        int status;
        const char *title;
    } titles[] = {{400, "The request is not right"},
                  {401, "Sign in first"},
                  {403, "Not allowed"},
                  {404, "Not found"},
                  {409, "Not possible as things are"},
                  {415, "Not JSON"},
                  {422, "The request is not right"},
                  {429, "Too many attempts"},
                  {500, "Something went wrong here"},
                  {503, "Not available now"},
                  {504, "It took too long"},
                  {502, "The provider did not help"}};
    const char *title = "Failed";
    for (size_t i = 0; i < COUNT_OF(titles); i++) {
        title = titles[i].status == status ? titles[i].title : title;
    }
    json_auto_t *j = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", "about:blank", "title",
                               title, "status", status, "code", code, "detail", detail);
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    answer_headers(x);
    if (status == 401) {
        (void)http_exchange_set_header(x, "WWW-Authenticate", "Bearer");
    } else if (status == 503 || status == 429) {
        char seconds[16];
        (void)snprintf(seconds, sizeof seconds, "%d",
                       status == 429 ? LOCKED_AFTER_S : RETRY_AFTER_S);
        (void)http_exchange_set_header(x, "Retry-After", seconds);
    }
    if (text != NULL) {
        http_answer(x, status, "application/problem+json", text, strlen(text));
    } else {
        http_answer_text(x, 500, "out of memory\n");
    }
    free(text);
}

void api_problem(struct api_call *c, int status, const char *code, const char *detail)
{
    struct http_exchange *x = c->x;
    c->x = NULL;
    api_problem_plain(x, status, code, detail);
}

/* "there is no such run" as a sentence: our messages begin small and end without a stop. */
static void sentence(const char *message, char out[ERR_MSG_MAX_BYTES + 2])
{
    size_t len = strlen(message);
    (void)snprintf(out, ERR_MSG_MAX_BYTES + 2, "%s%s", message,
                   len > 0 && strchr(".!?", message[len - 1]) == NULL ? "." : "");
    if (out[0] >= 'a' && out[0] <= 'z') {
        out[0] = (char)(out[0] - 'a' + 'A');
    }
}

void api_problem_err(struct api_call *c, const struct err *err)
{
    static const struct {
        enum err_code code;
        int status;
        const char *name;
    } kinds[] = {
        {ERR_INVALID, 400, "invalid"},           {ERR_NOT_FOUND, 404, "not_found"},
        {ERR_CONFLICT, 409, "conflict"},         {ERR_DENIED, 409, "not_possible"},
        {ERR_AUTH, 409, "needs_reauthorize"},    {ERR_CONFIG, 409, "not_configured"},
        {ERR_RATE_LIMITED, 503, "rate_limited"}, {ERR_TEMPORARY, 503, "temporary"},
        {ERR_UNAVAILABLE, 503, "unavailable"},   {ERR_PROTOCOL, 502, "provider"},
        {ERR_TIMEOUT, 504, "timeout"},
    };
    char text[ERR_MSG_MAX_BYTES + 2];
    sentence(err->msg, text);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        if (kinds[i].code == err->code) {
            api_problem(c, kinds[i].status, kinds[i].name, text);
            return;
        }
    }
    log_error(c->app->log, "admin.failed", "%s: %s", http_exchange_path(c->x), err->msg);
    api_problem(c, 500, "internal",
                "Something went wrong here; the log of the program says what.");
}

void api_answer(struct api_call *c, int status, const char *json, size_t len_bytes)
{
    struct http_exchange *x = c->x;
    c->x = NULL;
    answer_headers(x);
    http_answer(x, status, "application/json", json, len_bytes);
}

void api_answer_json(struct api_call *c, int status, json_t *value)
{
    char *text =
        value != NULL
            ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15))
            : NULL;
    json_decref(value);
    if (text == NULL) {
        api_problem(c, 500, "internal", "Out of memory.");
        return;
    }
    api_answer(c, status, text, strlen(text));
    free(text);
}

void api_answer_query(struct api_call *c, const char *sql, const struct params *p,
                      const char *absent)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct err err = {0};
    if (store_query(c->app->store, sql, p, &r, &err) != 0) {
        api_problem_err(c, &err);
    } else if (rows_count(r) == 0 || rows_is_null(r, 0, 0)) {
        api_problem(c, 404, "not_found", absent);
    } else {
        api_answer(c, 200, rows_text(r, 0, 0), rows_len(r, 0, 0));
    }
}

/* ---- what a handler reads ---- */

const char *api_query(const struct api_call *c, const char *name, char out[API_TEXT_MAX_BYTES])
{
    out[0] = '\0';
    if (http_exchange_query(c->x, name, out, API_TEXT_MAX_BYTES) == NULL) {
        out[0] = '\0';
    }
    return out;
}

/* Digits as a number; -1 when they are none, or too many for 63 bits. */
static int64_t number_of(const char *text)
{
    int64_t n = 0;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || n > (INT64_MAX - (*at - '0')) / 10) {
            return -1;
        }
        n = n * 10 + (*at - '0');
    }
    return text[0] != '\0' ? n : -1;
}

int64_t api_query_int(const struct api_call *c, const char *name, int64_t otherwise)
{
    char text[API_TEXT_MAX_BYTES];
    api_query(c, name, text);
    return text[0] != '\0' ? number_of(text) : otherwise;
}

int api_query_limit(const struct api_call *c)
{
    int64_t n = api_query_int(c, "limit", API_PAGE_DEFAULT);
    return n < 1 ? 1 : n > API_PAGE_MAX ? API_PAGE_MAX : (int)n;
}

const char *api_body_text(const struct api_call *c, const char *name)
{
    return json_text_of(c->body, name);
}

bool api_body_true(const struct api_call *c, const char *name)
{
    return json_is_true(json_object_get(c->body, name));
}

int64_t api_hole_id(struct api_call *c, int i)
{
    int64_t id = number_of(http_exchange_hole(c->x, i));
    if (id <= 0) {
        api_problem(c, 404, "not_found", "There is nothing of that number here.");
        return 0;
    }
    return id;
}

struct connection *api_connection(struct api_call *c)
{
    char workspace[API_TEXT_MAX_BYTES];
    struct err err = {0};
    api_query(c, "workspace", workspace);
    struct connection *conn = lookup_connection(c->app, workspace[0] != '\0' ? workspace : NULL,
                                                http_exchange_hole(c->x, 0), &err);
    if (conn == NULL) {
        api_problem_err(c, &err);
    }
    return conn;
}

/* ---- one request ---- */

struct request {
    struct api *api;
    const struct api_route *route;
    struct session_claim claim;
    struct api_call call;
};

static const struct api_route *const tables[] = {api_look_routes, api_log_routes,
                                                 api_act_routes, api_setup_routes};

static const struct api_route *route_of(const struct http_exchange *x)
{
    const char *path = http_exchange_route(x), *method = http_exchange_method(x);
    method = strcmp(method, "HEAD") == 0 ? "GET" : method;
    for (size_t t = 0; t < COUNT_OF(tables); t++) {
        for (const struct api_route *r = tables[t]; r->method != NULL; r++) {
            if (strcmp(r->path, path) == 0 && strcmp(r->method, method) == 0) {
                return r;
            }
        }
    }
    return NULL;
}

static void request_free(struct request *q)
{
    json_decref(q->call.body);
    explicit_bzero(&q->claim, sizeof q->claim);
    q->api->in_flight--;
    free(q);
}

static void say_not_allowed(struct api_call *c, enum access_role needed)
{
    char text[160];
    (void)snprintf(text, sizeof text, "You are signed in as %s; this needs the role %s.",
                   access_role_name(c->who.role), access_role_name(needed));
    api_problem(c, 403, "role", text);
}

static void request_task(void *arg)
{
    struct request *q = arg;
    struct api_call *c = &q->call;
    struct err err = {0};
    char name[ACCESS_NAME_MAX_BYTES];
    if (session_who(q->api->sessions, &q->claim, &c->who, &err) != 0) {
        if (err.code == ERR_AUTH || err.code == ERR_RATE_LIMITED) {
            char text[ERR_MSG_MAX_BYTES + 2];
            sentence(err.msg, text);
            api_problem(c, err.code == ERR_AUTH ? 401 : 429,
                        err.code == ERR_AUTH ? "signed_out" : "too_many_attempts", text);
        } else {
            api_problem_err(c, &err);
        }
    } else if (c->who.role < q->route->role) {
        say_not_allowed(c, q->route->role);
    } else {
        if (c->who.name[0] != '\0') {
            (void)snprintf(name, sizeof name, "%s", c->who.name);
        } else {
            (void)snprintf(name, sizeof name, "token %lld", (long long)c->who.token_id);
        }
        c->actor = (struct actor){.name = name, .kind = q->claim.by_cookie ? "page" : "api"};
        q->route->handler(c);
    }
    request_free(q);
}

/* The body as an object; false when it was answered. */
static bool body_read(struct http_exchange *x, json_t **body)
{
    struct slice bytes = http_exchange_body(x);
    const char *type = http_exchange_header(x, "Content-Type");
    struct err err = {0};
    if (bytes.len_bytes == 0) {
        return true;
    }
    if (type == NULL || strncasecmp(type, "application/json", 16) != 0) {
        api_problem_plain(x, 415, "not_json", "The body has to be application/json.");
        return false;
    }
    *body = json_parse(bytes, &err);
    if (!json_is_object(*body)) {
        json_decref(*body);
        *body = NULL;
        api_problem_plain(x, 400, "invalid", "The body has to be a JSON object.");
        return false;
    }
    return true;
}

static void api_handle(struct api *a, struct http_exchange *x)
{
    const struct api_route *route = route_of(x);
    struct session_claim claim;
    struct err err = {0};
    json_t *body = NULL;
    const char *why = NULL;
    if (route == NULL) {
        api_problem_plain(x, 404, "not_found", "There is no such resource.");
        return;
    }
    session_claim_read(a->sessions, x, &claim);
    if (!session_is_same_site(a->sessions, x, claim.by_cookie, &why)) {
        api_problem_plain(x, 403, "cross_site", why);
        return;
    }
    if (!body_read(x, &body)) {
        return;
    }
    struct request *q = a->in_flight < IN_FLIGHT_MAX ? calloc(1, sizeof *q) : NULL;
    if (q == NULL) {
        json_decref(body);
        api_problem_plain(x, 503, "unavailable",
                          "Too much is going on; try again in a moment.");
        return;
    }
    *q = (struct request){.api = a, .route = route, .claim = claim};
    q->call = (struct api_call){.app = a->app, .x = x, .body = body};
    a->in_flight++;
    if (task_start(a->app->loop, "api", request_task, q, &err) != 0) {
        request_free(q);
        api_problem_plain(x, 503, "unavailable",
                          "Too much is going on; try again in a moment.");
    }
}

/* ---- signing in and out ---- */

struct sign_in {
    struct api *api;
    struct http_exchange *x;
    struct session_claim claim;
    char token[ACCESS_TOKEN_MAX_BYTES * 2];
};

static void who_answer(struct http_exchange *x, const struct access *who)
{
    struct api_call c = {.x = x};
    api_answer_json(&c, 200,
                    json_pack("{s:s, s:s, s:I}", "role", access_role_name(who->role), "name",
                              who->name, "token_id", (json_int_t)who->token_id));
}

static void sign_in_task(void *arg)
{
    struct sign_in *s = arg;
    struct access who;
    struct err err = {0};
    char cookie[256];
    if (session_begin(s->api->sessions, s->token, s->claim.peer, &who, cookie, &err) == 0) {
        (void)http_exchange_set_header(s->x, "Set-Cookie", cookie);
        who_answer(s->x, &who);
    } else if (err.code == ERR_AUTH || err.code == ERR_RATE_LIMITED) {
        char text[ERR_MSG_MAX_BYTES + 2];
        sentence(err.msg, text);
        api_problem_plain(s->x, err.code == ERR_AUTH ? 401 : 429,
                          err.code == ERR_AUTH ? "wrong_token" : "too_many_attempts", text);
    } else {
        struct api_call c = {.app = s->api->app, .x = s->x};
        api_problem_err(&c, &err);
    }
    explicit_bzero(cookie, sizeof cookie);
    explicit_bzero(s->token, sizeof s->token);
    s->api->in_flight--;
    free(s);
}

static void sign_out_task(void *arg)
{
    struct sign_in *s = arg;
    struct err err = {0};
    char cookie[256];
    struct api_call c = {.app = s->api->app, .x = s->x};
    if (session_end(s->api->sessions, &s->claim, cookie, &err) != 0) {
        api_problem_err(&c, &err);
    } else {
        (void)http_exchange_set_header(c.x, "Set-Cookie", cookie);
        (void)http_exchange_set_header(c.x, "Clear-Site-Data", "\"cache\"");
        http_answer(c.x, 204, NULL, NULL, 0);
    }
    s->api->in_flight--;
    free(s);
}

static void session_task(struct api *a, struct http_exchange *x, task_fn *task,
                         const char *token, const struct session_claim *claim)
{
    struct err err = {0};
    struct sign_in *s = a->in_flight < IN_FLIGHT_MAX ? calloc(1, sizeof *s) : NULL;
    if (s == NULL) {
        api_problem_plain(x, 503, "unavailable",
                          "Too much is going on; try again in a moment.");
        return;
    }
    *s = (struct sign_in){.api = a, .x = x, .claim = *claim};
    (void)snprintf(s->token, sizeof s->token, "%s", token);
    a->in_flight++;
    if (task_start(a->app->loop, "session", task, s, &err) != 0) {
        a->in_flight--;
        free(s);
        api_problem_plain(x, 503, "unavailable",
                          "Too much is going on; try again in a moment.");
    }
}

void api_sign_in(struct api *a, struct http_exchange *x)
{
    struct session_claim claim;
    const char *why = NULL;
    json_t *body = NULL;
    session_claim_read(a->sessions, x, &claim);
    if (!session_is_same_site(a->sessions, x, true, &why)) {
        api_problem_plain(x, 403, "cross_site", why);
        return;
    }
    if (!body_read(x, &body)) {
        return;
    }
    const char *token = json_text_of(body, "token");
    if (token == NULL || strlen(token) >= sizeof((struct sign_in *)0)->token) {
        api_problem_plain(x, 400, "invalid", "The body has to hold a token.");
    } else {
        session_task(a, x, sign_in_task, token, &claim);
    }
    json_decref(body);
}

void api_sign_out(struct api *a, struct http_exchange *x)
{
    struct session_claim claim;
    const char *why = NULL;
    session_claim_read(a->sessions, x, &claim);
    if (!session_is_same_site(a->sessions, x, true, &why)) {
        api_problem_plain(x, 403, "cross_site", why);
        return;
    }
    session_task(a, x, sign_out_task, "", &claim);
}

void api_who(struct api_call *c)
{
    struct http_exchange *x = c->x;
    c->x = NULL;
    who_answer(x, &c->who);
}

/* ---- life ---- */

static void route_handle(struct http_exchange *x, void *arg)
{
    api_handle(admin_api(arg), x);
}

int api_add_routes(struct http_route *routes, int at, int most)
{
    for (size_t t = 0; t < COUNT_OF(tables); t++) {
        for (const struct api_route *r = tables[t]; r->method != NULL && at < most; r++) {
            routes[at++] = (struct http_route){r->method, r->path, route_handle};
        }
    }
    if (at < most) {
        routes[at++] = (struct http_route){"GET", "/api/v1/*", route_handle};
    }
    return at;
}

struct api *api_new(struct app *app, struct sessions *sessions, struct err *err)
{
    struct api *a = calloc(1, sizeof *a);
    if (a == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    a->app = app;
    a->sessions = sessions;
    return a;
}

void api_free(struct api *a)
{
    free(a);
}

int api_in_flight(const struct api *a)
{
    return a->in_flight;
}
