/* What the provider tests share: answers put together by hand, a hook with headers, files. */
#ifndef TESTS_UNIT_PROVIDER_TEST_H
#define TESTS_UNIT_PROVIDER_TEST_H

#include "common/json.h"
#include "provider/provider.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An answer with a body; headers are "name: value\n" lines or NULL. */
static inline void answer_make(struct http_response *r, int status, const char *headers,
                               const char *body)
{
    http_response_init(r);
    r->status = status;
    assert_int_equal(buf_add_str(&r->headers, headers != NULL ? headers : ""), 0);
    assert_int_equal(buf_add_str(&r->body, body), 0);
}

struct test_headers {
    const char *name[4], *value[4];
};

static inline const char *test_header(const void *request, const char *name)
{
    const struct test_headers *h = request;
    for (size_t i = 0; i < 4 && h->name[i] != NULL; i++) {
        if (strcmp(h->name[i], name) == 0)
            return h->value[i];
    }
    return NULL;
}

static inline json_t *load_fixture(const char *path)
{
    json_error_t e;
    json_t *j = json_load_file(path, 0, &e);
    if (j == NULL)
        fail_msg("%s: %s", path, e.text);
    return j;
}

static inline struct hook hook_of(const char *body, const struct test_headers *h)
{
    return (struct hook){.method = "POST",
                         .public_url = "https://gw.example.com/webhooks/hubspot",
                         .body = slice_of(body),
                         .header = test_header,
                         .request = h};
}

/* One ask played through by hand: call plan, look at the request, give the answer. */
struct play {
    const struct provider *p;
    struct provider_conn conn;
    struct ask ask;
    struct ask_state state;
    struct http_request req;
    struct record_list list;
    struct failure why;
    struct err err;
};

static inline void play_begin(struct play *t, const struct provider *p, enum ask_kind kind,
                              const char *object)
{
    memset(t, 0, sizeof *t);
    t->p = p;
    t->conn = (struct provider_conn){.api_base = "https://api.example",
                                     .api_version = "2026-03",
                                     .account = "62515",
                                     .mode = "live",
                                     .access_token = "token-1",
                                     .refresh_token = "refresh-1",
                                     .client_id = "client-1",
                                     .client_secret = "secret-1",
                                     .token_url = "",
                                     .oauth_kind = "",
                                     .scope_kind = "list",
                                     .scope_id = "42"};
    t->ask = (struct ask){.kind = kind,
                          .object = object != NULL ? provider_object(p, object) : NULL};
    record_list_init(&t->list);
    http_request_init(&t->req);
}

static inline enum plan_result play_plan(struct play *t)
{
    http_request_release(&t->req);
    http_request_init(&t->req);
    enum plan_result r = t->p->plan(&t->conn, &t->ask, &t->state, &t->req, &t->err);
    if (r == PLAN_ERROR)
        print_message("# plan: %s\n", t->err.msg);
    return r;
}

static inline int play_answer(struct play *t, int status, const char *body)
{
    struct http_response r;
    answer_make(&r, status, NULL, body);
    int rc = t->p->read(&t->conn, &t->ask, &t->state, &r, &t->list, &t->why);
    http_response_release(&r);
    return rc;
}

static inline void play_url(struct play *t, const char *method, const char *url)
{
    assert_int_equal(play_plan(t), PLAN_CALL);
    assert_string_equal(t->req.method, method);
    assert_string_equal(buf_text(&t->req.url), url);
}

static inline void play_end(struct play *t)
{
    ask_state_release(&t->state);
    http_request_release(&t->req);
    record_list_release(&t->list);
}

/* The records as "F:1 G:2 M:3>4 R:5 X:6" for one look. */
static inline const char *play_records(const struct play *t, char out[1024])
{
    static const char letters[] = "FRGMX";
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < t->list.count; i++) {
        const struct record *r = &t->list.records[i];
        n += (size_t)snprintf(out + n, 1024 - n, "%s%c:%s%s%s", i > 0 ? " " : "",
                              letters[r->status], r->id, r->other_id[0] != '\0' ? ">" : "",
                              r->other_id);
    }
    return out;
}

#endif
