/* Any answers of a provider to any ask: the calls of an ask are planned, the input is what
 * comes back, and what is made of it is looked at: records, failures, facts, limits, customer
 * fields.
 *
 * Input: bytes of choices (provider, ask, object, ids, flags), a text ended by NUL (cursor),
 * then answers split by NUL: a byte for the status, header lines, an empty line, the body. */
#include "common/json.h"
#include "provider/provider.h"
#include "tests/fuzz/fuzz.h"

enum { CALLS_MAX = 12, ID_COUNT = 4 };

static const int statuses[] = {200, 200, 200, 200, 207, 201, 204, 301, 400, 401, 402,
                               403, 404, 409, 414, 415, 422, 423, 424, 429, 477, 500,
                               502, 503, 504, 521, 523, 526, 0,   0,   0,   0};

static bool is_plain(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20) {
            return false;
        }
    }
    return is_utf8(text);
}

static void check_failure(const struct failure *f)
{
    MUST(f->type == ET_NONE || error_info(f->type) != NULL);
    MUST(memchr(f->message, '\0', sizeof f->message) != NULL && is_plain(f->message));
    MUST(memchr(f->detail, '\0', sizeof f->detail) != NULL && is_plain(f->detail));
    MUST(memchr(f->request_id, '\0', sizeof f->request_id) != NULL && is_plain(f->request_id));
    MUST(f->wait_ms >= -1);
}

static void derive(const struct provider *p, struct slice raw)
{
    struct err err = {0};
    json_t *bundle = json_parse(raw, &err);
    json_t *fields = NULL, *notes = NULL;
    const struct derive_policy policy = {.now_s = 1790000000,
                                         .currency = "",
                                         .account_currency = "usd",
                                         .subtract_recurring = true};
    if (json_is_object(bundle) && p->derive(bundle, &policy, &fields, &notes, &err) == 0) {
        MUST(json_is_object(fields));
    }
    json_decref(fields);
    json_decref(notes);
    json_decref(bundle);
}

static void check_record(const struct provider *p, const struct record *r)
{
    MUST(memchr(r->id, '\0', sizeof r->id) != NULL && is_plain(r->id));
    MUST(memchr(r->other_id, '\0', sizeof r->other_id) != NULL && is_plain(r->other_id));
    check_failure(&r->failure);
    if (r->status == RECORD_FAILED) {
        MUST(r->failure.type != ET_NONE);
    }
    if (r->status == RECORD_FOUND) {
        MUST(r->object != NULL && r->raw.bytes != NULL && r->id[0] != '\0');
        struct err err = {0};
        json_t *j = json_parse(r->raw, &err);
        /* Cut, not parsed: PostgreSQL may still refuse it, and then it is that record's. */
        MUST(j == NULL || json_is_object(j));
        json_decref(j);
        if ((r->object->flags & OBJECT_ROOT) != 0) {
            derive(p, r->raw);
        }
    }
}

static void take_answer(struct http_response *r, char *text)
{
    http_response_init(r);
    unsigned char choice = (unsigned char)text[0];
    r->status = statuses[choice % 32];
    if (r->status == 0) {
        r->fault = (enum http_fault)(1 + choice / 32 % HTTP_REFUSED_HOST);
        (void)snprintf(r->fault_text, sizeof r->fault_text, "%.200s", text);
    }
    char *headers = text[0] != '\0' ? text + 1 : text;
    char *gap = strstr(headers, "\n\n");
    if (gap != NULL) {
        (void)buf_add(&r->headers, headers, (size_t)(gap + 1 - headers));
    }
    (void)buf_add_str(&r->body, gap != NULL ? gap + 2 : headers);
}

static const struct object_type *nth_object(const struct provider *p, unsigned n)
{
    unsigned count = 0;
    while (p->objects[count].name != NULL) {
        count++;
    }
    n %= count + 1;
    return n == count ? NULL : &p->objects[n];
}

/* Asks are ours, never an outsider's: only those that the product makes. */
static bool ask_is_made(const struct provider *p, const struct ask *a)
{
    switch (a->kind) {
    case ASK_RECORDS:
    case ASK_PAGE:
        return a->object != NULL;
    case ASK_SCOPE_PAGE:
    case ASK_MEMBERSHIP:
    case ASK_SCOPE_JOINS:
    case ASK_SCOPE_INFO:
    case ASK_SCOPE_CHOICES:
    case ASK_SCHEMA:
        return a->object != NULL && (a->object->flags & OBJECT_ROOT) != 0;
    case ASK_RELATED:
        return a->object != NULL && a->related_object != NULL && a->object != a->related_object;
    case ASK_CHANGED_SINCE:
        return a->object != NULL || p->changes_together;
    default:
        return true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const ids[ID_COUNT] = {"1", "512", "77", "cus_1"};
    static const char *const properties[] = {"name", "domain", "annualrevenue"};
    static const char *const objects[] = {"customer", "company", NULL};
    static const char *const scopes[] = {"list", "stage", "pipeline", ""};
    struct input in = {data, data + size};
    const struct provider *p = providers[input_byte(&in) & 1];
    unsigned kind = input_byte(&in), flags = input_byte(&in);
    struct ask ask = {
        .kind = (enum ask_kind)(kind % (ASK_HOOK_REPAIR + 1)),
        .object = nth_object(p, input_byte(&in)),
        .related_object = nth_object(p, input_byte(&in)),
        .ids = ids,
        .id_count = 1 + (int)(flags & 3),
        .page_max = (flags & 4) != 0 ? 2 : 0,
        .since_ms = 1700000000000,
        .until_ms = 1700000900000,
        .code = "code",
        .redirect_uri = "https://gw.example.com/oauth/back",
        .hook_url = "https://gw.example.com/webhooks/stripe/1",
        .objects = (flags & 8) != 0 ? objects : NULL,
        .hook_replace = (flags & 16) != 0,
        .undelivered = (flags & 32) != 0,
    };
    const struct provider_conn conn = {
        .api_base = "https://api.example",
        .api_version = (flags & 64) != 0 ? "v3" : "2026-03",
        .account = "62515",
        .mode = "live",
        .access_token = "token-1",
        .refresh_token = "refresh-1",
        .client_id = "client-1",
        .client_secret = "secret-1",
        .app_id = (flags & 32) != 0 ? "1160452" : "",
        .developer_key = "key-1",
        .token_url = "",
        .oauth_kind = (flags & 128) != 0 ? "connect" : "app",
        .scope_kind = scopes[kind / 32 % 4],
        .scope_id = "42",
        .properties = properties,
        .property_count = 3,
    };
    char *cursor = input_text(&in);
    if (cursor[0] != '\0') {
        ask.cursor = cursor;
    }
    struct ask_state state = {0};
    struct record_list list;
    struct failure why = {0};
    struct err err = {0};
    int rc = 0;
    record_list_init(&list);
    for (int call = 0; rc == 0 && call < CALLS_MAX && ask_is_made(p, &ask); call++) {
        struct http_request q;
        struct http_response r;
        http_request_init(&q);
        enum plan_result planned = p->plan(&conn, &ask, &state, &q, &err);
        if (planned != PLAN_CALL) {
            MUST(planned == PLAN_DONE || err.code != ERR_NONE);
            http_request_release(&q);
            break;
        }
        MUST(q.endpoint != NULL && q.family != NULL && q.url.len_bytes > 0);
        char *text = input_text(&in);
        take_answer(&r, text);
        struct failure other = {0};
        p->classify(&q, &r, &other);
        check_failure(&other);
        struct limits_told told = {.daily_limit = -1, .daily_left = -1};
        if (p->limits != NULL) {
            p->limits(&q, &r, &told);
            MUST(told.rate_per_s >= 0 && told.rate_per_s < 1e9);
        }
        rc = p->read(&conn, &ask, &state, &r, &list, &why);
        MUST(rc == 0 || why.type != ET_NONE);
        check_failure(&why);
        http_response_release(&r);
        http_request_release(&q);
        free(text);
        if (in.at == in.end) {
            break;
        }
    }
    for (size_t i = 0; i < list.count; i++) {
        check_record(p, &list.records[i]);
    }
    MUST(state.facts == NULL || json_is_object(state.facts));
    ask_state_release(&state);
    record_list_release(&list);
    free(cursor);
    return 0;
}
