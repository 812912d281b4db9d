/* The next call of an ask. One record costs one call; a page carries a hundred. */
#include "common/sign.h"
#include "provider/stripe_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_MAX = 100, REST_MAX_BYTES = HTTP_BODY_MAX_BYTES };

static void state_free(void *data)
{
    struct st_state *d = data;
    buf_release(&d->rest);
    free(d);
}

static struct st_state *state_of(struct ask_state *s)
{
    if (s->data == NULL) {
        struct st_state *d = calloc(1, sizeof *d);
        if (d != NULL)
            buf_init(&d->rest, REST_MAX_BYTES);
        s->data = d;
        s->data_free = state_free;
    }
    return s->data;
}

/* With a token of its own the connection needs no more; a Connect account without one is read
 * with the platform's key on its behalf. */
static int authorize(struct http_request *q, const struct provider_conn *c, struct err *err)
{
    bool platform = c->access_token[0] == '\0' && strcmp(c->oauth_kind, "connect") == 0 &&
                    c->account[0] != '\0';
    if (request_bearer(q, platform ? c->client_secret : c->access_token, err) < 0)
        return -1;
    if ((platform && http_request_header(q, "Stripe-Account", c->account) < 0) ||
        (c->api_version[0] != '\0' &&
         http_request_header(q, "Stripe-Version", c->api_version) < 0)) {
        err_set(err, ERR_INVALID, "account or API version does not fit into a header");
        return -1;
    }
    return 0;
}

static enum plan_result send(const struct provider_conn *c, struct ask_state *s,
                             struct http_request *q, enum st_call call, const char *method,
                             const char *endpoint, struct err *err)
{
    struct st_state *d = s->data;
    if (authorize(q, c, err) < 0)
        return PLAN_ERROR;
    d->call = call;
    d->endpoint = endpoint;
    d->refresh = false;
    return plan_call(s, q, method, endpoint, "api", err);
}

static const struct stripe_type *type_of(const struct ask *a, struct err *err)
{
    const struct stripe_type *t = a->object != NULL ? stripe_type(a->object->name) : NULL;
    if (t == NULL)
        err_set(err, ERR_INVALID, "'%s' is no Stripe object",
                a->object != NULL ? a->object->name : "");
    return t;
}

/* ---- records ---- */

static const char *expansions(const struct provider_conn *c, const struct stripe_type *t)
{
    if (t->expand_old != NULL && strcmp(c->api_version, "2025-03-31") < 0)
        return t->expand_old;
    if (t->expand_2025_03 != NULL && strcmp(c->api_version, "2025-09-30") < 0)
        return t->expand_2025_03;
    return t->expand;
}

/* words: separated by blanks; NULL = none. before: "data." on a list. */
static void query_expand(struct http_request *q, const char *before, const char *words)
{
    char path[128];
    for (const char *p = words; p != NULL && *p != '\0'; p += *p == ' ') {
        size_t len = strcspn(p, " ");
        (void)snprintf(path, sizeof path, "%s%.*s", before, (int)len, p);
        (void)url_query(q, "expand[]", path);
        p += len;
    }
}

static enum plan_result plan_records(const struct provider_conn *c, const struct ask *a,
                                     struct ask_state *s, struct http_request *q,
                                     struct err *err)
{
    struct st_state *d = s->data;
    const struct stripe_type *t = type_of(a, err);
    if (t == NULL)
        return PLAN_ERROR;
    if (d->offset >= a->id_count)
        return PLAN_DONE;
    (void)url_set(q, c->api_base, t->path);
    (void)url_segment(q, a->ids[d->offset]);
    query_expand(q, "", expansions(c, t));
    return send(c, s, q, ST_RECORD, "GET", t->endpoint, err);
}

static enum plan_result plan_rest(const struct provider_conn *c, const struct ask *a,
                                  struct ask_state *s, struct http_request *q, struct err *err)
{
    struct st_state *d = s->data;
    const struct stripe_type *t = type_of(a, err);
    if (t == NULL)
        return PLAN_ERROR;
    const char *hole = strstr(t->rest_path, "/{id}");
    if (hole != NULL) {
        (void)buf_add_str(&q->url, c->api_base);
        (void)buf_add(&q->url, t->rest_path, (size_t)(hole - t->rest_path));
        (void)url_segment(q, d->rest_id);
        (void)buf_add_str(&q->url, hole + strlen("/{id}"));
    } else {
        (void)url_set(q, c->api_base, t->rest_path);
        (void)url_query(q, t->name, d->rest_id);
    }
    (void)url_query_int(q, "limit", PAGE_MAX);
    if (d->rest_after[0] != '\0')
        (void)url_query(q, "starting_after", d->rest_after);
    if (strcmp(c->api_version, "2025-03-31") >= 0)
        query_expand(q, "data.", t->rest_expand);
    return send(c, s, q, ST_REST, "GET", t->rest_path, err);
}

/* ---- pages ---- */

static int read_cursor(struct st_state *d, const struct ask *a, struct err *err)
{
    char *end = NULL;
    if (a->cursor == NULL)
        return 0;
    long long at_s = strtoll(a->cursor, &end, 10);
    if (end == a->cursor || *end != ' ' || !text_copy(d->after, sizeof d->after, end + 1) ||
        d->after[0] == '\0') {
        err_set(err, ERR_INVALID, "'%s' is no cursor of a listing", a->cursor);
        return -1;
    }
    d->after_s = at_s;
    return 0;
}

static void query_window(struct http_request *q, const struct st_state *d, int64_t from_s,
                         int64_t below_s)
{
    if (from_s > 0)
        (void)url_query_int(q, "created[gte]", from_s);
    if (d->by_time)
        (void)url_query_int(q, "created[lte]", d->after_s);
    else if (below_s > 0)
        (void)url_query_int(q, "created[lt]", below_s);
    if (!d->by_time && d->after[0] != '\0')
        (void)url_query(q, "starting_after", d->after);
}

static int page_limit(const struct ask *a)
{
    return a->page_max > 0 && a->page_max < PAGE_MAX ? a->page_max : PAGE_MAX;
}

static enum plan_result plan_page(const struct provider_conn *c, const struct ask *a,
                                  struct ask_state *s, struct http_request *q, struct err *err)
{
    struct st_state *d = s->data;
    const struct stripe_type *t = type_of(a, err);
    if (t == NULL || (s->calls == 0 && read_cursor(d, a, err) < 0))
        return PLAN_ERROR;
    if (d->done)
        return PLAN_DONE;
    (void)url_set(q, c->api_base, t->path);
    (void)url_query_int(q, "limit", page_limit(a));
    if (t->list_query != NULL)
        (void)buf_add_str(&q->url, t->list_query);
    query_expand(q, "data.", expansions(c, t));
    query_window(q, d, a->created_from_s, a->created_to_s);
    return send(c, s, q, ST_LIST, "GET", t->path, err);
}

/* Names of the events of one type, or of all that are mirrored; Stripe takes at most 20: where
 * more are wanted all are listed, and what is not ours is passed over. */
static void query_events(struct http_request *q, const struct ask *a)
{
    enum { NAMES_MAX = 20 };
    const struct stripe_type *t = a->object != NULL ? stripe_type(a->object->name) : NULL;
    for (size_t i = 0; t != NULL && t->events[i] != NULL; i++)
        (void)url_query(q, "types[]", t->events[i]);
    json_auto_t *needed = t == NULL ? stripe_events_needed(a->objects) : NULL;
    for (size_t i = 0; json_array_size(needed) <= NAMES_MAX && i < json_array_size(needed); i++)
        (void)url_query(q, "types[]", json_string_value(json_array_get(needed, i)));
}

/* There is no `updated` anywhere: what changed is known from the events of 30 days. */
static enum plan_result plan_changed(const struct provider_conn *c, const struct ask *a,
                                     struct ask_state *s, struct http_request *q,
                                     struct err *err)
{
    struct st_state *d = s->data;
    if ((a->object != NULL && type_of(a, err) == NULL) ||
        (s->calls == 0 && read_cursor(d, a, err) < 0))
        return PLAN_ERROR;
    if (d->done)
        return PLAN_DONE;
    (void)url_set(q, c->api_base, "/v1/events");
    (void)url_query_int(q, "limit", page_limit(a));
    if (a->undelivered)
        (void)url_query(q, "delivery_success", "false");
    query_events(q, a);
    query_window(q, d, a->since_ms / 1000, a->until_ms > 0 ? a->until_ms / 1000 + 1 : 0);
    return send(c, s, q, ST_EVENTS, "GET", "/v1/events", err);
}

/* ---- account, tokens, endpoints ---- */

static enum plan_result plan_account(const struct provider_conn *c, struct ask_state *s,
                                     struct http_request *q, struct err *err)
{
    if (s->calls > 0)
        return PLAN_DONE;
    (void)url_set(q, c->api_base, "/v1/account");
    return send(c, s, q, ST_ACCOUNT, "GET", "/v1/account", err);
}

static int basic_auth(struct http_request *q, const char *user, struct err *err)
{
    struct buf plain;
    struct buf value;
    buf_init(&plain, HTTP_HEADER_MAX_BYTES);
    buf_init(&value, HTTP_HEADER_MAX_BYTES);
    (void)buf_printf(&plain, "%s:", user);
    (void)buf_add_str(&value, "Basic ");
    int rc = sign_base64(&value, (struct slice){buf_text(&plain), plain.len_bytes});
    if (rc == 0)
        rc = http_request_header(q, "Authorization", buf_text(&value));
    if (plain.bytes != NULL)
        explicit_bzero(plain.bytes, plain.cap_bytes);
    if (value.bytes != NULL)
        explicit_bzero(value.bytes, value.cap_bytes);
    buf_release(&plain);
    buf_release(&value);
    if (rc < 0)
        err_set(err, ERR_CONFIG, "STRIPE_SECRET_KEY does not fit into a header");
    return rc;
}

static const char *token_url(const struct provider_conn *c, struct http_request *q,
                             const char *verb)
{
    bool connect = strcmp(c->oauth_kind, "connect") == 0;
    const char *tail = strrchr(c->token_url, '/');
    if (tail != NULL) {
        (void)buf_add(&q->url, c->token_url, (size_t)(tail - c->token_url));
        (void)buf_printf(&q->url, "/%s", strcmp(verb, "token") == 0 ? tail + 1 : verb);
    } else if (connect) {
        (void)buf_printf(&q->url, "https://connect.stripe.com/oauth/%s", verb);
    } else {
        (void)buf_printf(&q->url, "%s/v1/oauth/%s", c->api_base, verb);
    }
    return strcmp(verb, "token") == 0 ? "/v1/oauth/token" : "/v1/oauth/deauthorize";
}

static enum plan_result send_form(const struct provider_conn *c, struct ask_state *s,
                                  struct http_request *q, enum st_call call,
                                  const char *endpoint, struct err *err)
{
    struct st_state *d = s->data;
    if (c->client_secret[0] == '\0') {
        err_set(err, ERR_CONFIG, "STRIPE_SECRET_KEY is not set");
        return PLAN_ERROR;
    }
    if (basic_auth(q, c->client_secret, err) < 0)
        return PLAN_ERROR;
    if (http_request_header(q, "Content-Type", "application/x-www-form-urlencoded") < 0) {
        err_set(err, ERR_INTERNAL, "cannot add a header");
        return PLAN_ERROR;
    }
    d->call = call;
    d->endpoint = endpoint;
    return plan_call(s, q, "POST", endpoint, "oauth", err);
}

static enum plan_result plan_token(const struct provider_conn *c, const struct ask *a,
                                   struct ask_state *s, struct http_request *q, struct err *err)
{
    struct st_state *d = s->data;
    if (s->calls > 0)
        return PLAN_DONE;
    d->refresh = a->kind == ASK_TOKEN_REFRESH;
    const char *endpoint = token_url(c, q, "token");
    if (d->refresh) {
        (void)form_add(q, "grant_type", "refresh_token");
        (void)form_add(q, "refresh_token", c->refresh_token);
    } else {
        (void)form_add(q, "grant_type", "authorization_code");
        (void)form_add(q, "code", a->code);
    }
    return send_form(c, s, q, ST_TOKEN, endpoint, err);
}

/* Only Connect has a call for it; a Stripe App is uninstalled by its user. */
static enum plan_result plan_revoke(const struct provider_conn *c, struct ask_state *s,
                                    struct http_request *q, struct err *err)
{
    if (s->calls > 0 || strcmp(c->oauth_kind, "connect") != 0 || c->refresh_token[0] == '\0' ||
        c->client_secret[0] == '\0')
        return PLAN_DONE;
    const char *endpoint = token_url(c, q, "deauthorize");
    (void)form_add(q, "client_id", c->client_id);
    (void)form_add(q, "stripe_user_id", c->account);
    return send_form(c, s, q, ST_REVOKE, endpoint, err);
}

static void add_events(struct http_request *q, const struct ask *a)
{
    json_auto_t *events = stripe_events_needed(a->objects);
    for (size_t i = 0; i < json_array_size(events); i++)
        (void)form_add(q, "enabled_events[]", json_string_value(json_array_get(events, i)));
}

static enum plan_result send_endpoint(const struct provider_conn *c, struct ask_state *s,
                                      struct http_request *q, enum st_call call,
                                      const char *method, struct err *err)
{
    if (http_request_header(q, "Content-Type", "application/x-www-form-urlencoded") < 0) {
        err_set(err, ERR_INTERNAL, "cannot add a header");
        return PLAN_ERROR;
    }
    return send(c, s, q, call, method, "/v1/webhook_endpoints", err);
}

/* An endpoint's version cannot be changed, nor its secret asked for: then a new one is made,
 * and only after that the old one deleted. */
static enum plan_result plan_hooks(const struct provider_conn *c, const struct ask *a,
                                   struct ask_state *s, struct http_request *q, struct err *err)
{
    struct st_state *d = s->data;
    (void)url_set(q, c->api_base, "/v1/webhook_endpoints");
    if (s->calls == 0) {
        (void)url_query_int(q, "limit", PAGE_MAX);
        return send(c, s, q, ST_ENDPOINTS, "GET", "/v1/webhook_endpoints", err);
    }
    bool anew = !d->endpoint_known || d->endpoint_anew;
    if (a->kind == ASK_HOOK_REPAIR && s->calls == 1 && (anew || !d->endpoint_sound)) {
        if (anew) {
            (void)form_add(q, "url", a->hook_url);
            (void)form_add(q, "api_version", c->api_version);
            (void)form_add(q, "description", "pivotal-sync");
        } else {
            (void)url_segment(q, d->endpoint_id);
            (void)form_add(q, "disabled", "false");
        }
        add_events(q, a);
        return send_endpoint(c, s, q, ST_ENDPOINT_SAVE, "POST", err);
    }
    if (a->kind == ASK_HOOK_REPAIR && s->calls == 2 && d->endpoint_known && d->endpoint_anew) {
        (void)url_segment(q, d->endpoint_id);
        return send_endpoint(c, s, q, ST_ENDPOINT_DELETE, "DELETE", err);
    }
    return PLAN_DONE;
}

enum plan_result stripe_plan(const struct provider_conn *c, const struct ask *a,
                             struct ask_state *s, struct http_request *q, struct err *err)
{
    struct st_state *d = state_of(s);
    if (d == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for an ask");
        return PLAN_ERROR;
    }
    if (d->completing)
        return plan_rest(c, a, s, q, err);
    switch (a->kind) {
    case ASK_RECORDS:
        return plan_records(c, a, s, q, err);
    case ASK_PAGE:
        return plan_page(c, a, s, q, err);
    case ASK_CHANGED_SINCE:
        return plan_changed(c, a, s, q, err);
    case ASK_ACCOUNT:
        return plan_account(c, s, q, err);
    case ASK_TOKEN_CODE:
    case ASK_TOKEN_REFRESH:
        return plan_token(c, a, s, q, err);
    case ASK_REVOKE:
        return plan_revoke(c, s, q, err);
    case ASK_HOOK_STATUS:
    case ASK_HOOK_REPAIR:
        return plan_hooks(c, a, s, q, err);
    case ASK_SCHEMA:
        json_decref(s->facts);
        s->facts = stripe_schema();
        if (s->facts != NULL)
            return PLAN_DONE;
        err_set(err, ERR_NOMEM, "out of memory");
        return PLAN_ERROR;
    case ASK_SCOPE_PAGE:
    case ASK_RELATED:
    case ASK_MEMBERSHIP:
    case ASK_SCOPE_JOINS:
    case ASK_SCOPE_INFO:
    case ASK_SCOPE_CHOICES:
        break;
    }
    err_set(err, ERR_INVALID, "Stripe has no mirrored list to ask for");
    return PLAN_ERROR;
}
