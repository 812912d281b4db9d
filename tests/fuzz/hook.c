/* A delivery from a stranger, as far as the units that are put: headers, path and body chosen
 * by him, then the same body with a good signature. The gateway's own code runs, from its
 * handler on; server, routes and queue are the few functions below.
 *
 * Input: a byte of choices, then texts ended by NUL (two headers, Host, the path's id), the
 * rest is the body. */
#include "tests/fuzz/fuzz.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/sign.h"
#include "webhook-gw/hook.h"

static const char secret_text_[] = "whsec_of_the_fuzz_target";

/* ---- the exchange ---- */

struct http_exchange {
    const char *hole[2];
    const char *names[4], *values[4];
    char target[256];
    struct slice body;
    int answers, status;
};

const char *http_exchange_method(const struct http_exchange *x)
{
    (void)x;
    return "POST";
}

const char *http_exchange_target(const struct http_exchange *x)
{
    return x->target;
}

const char *http_exchange_hole(const struct http_exchange *x, int i)
{
    return x->hole[i];
}

const char *http_exchange_header(const struct http_exchange *x, const char *name)
{
    for (int i = 0; i < 4; i++) {
        if (x->names[i] != NULL && strcasecmp(x->names[i], name) == 0) {
            return x->values[i];
        }
    }
    return NULL;
}

struct slice http_exchange_body(const struct http_exchange *x)
{
    return x->body;
}

const char *http_exchange_peer(struct http_exchange *x)
{
    (void)x;
    return "192.0.2.1";
}

int64_t http_exchange_started_us(const struct http_exchange *x)
{
    (void)x;
    return clock_mono_us();
}

int http_exchange_set_header(struct http_exchange *x, const char *name, const char *value)
{
    (void)x, (void)name, (void)value;
    return 0;
}

void http_answer(struct http_exchange *x, int status, const char *type, const void *bytes,
                 size_t len_bytes)
{
    (void)type, (void)bytes, (void)len_bytes;
    x->answers++;
    x->status = status;
}

void http_answer_text(struct http_exchange *x, int status, const char *text)
{
    MUST(text[0] != '\0');
    http_answer(x, status, NULL, text, strlen(text));
}

/* ---- the snapshot: two connections of each provider ---- */

struct routes {
    struct route all[4];
};

static struct routes snapshot;

bool routes_loaded(const struct routes *r)
{
    (void)r;
    return true;
}

const struct route *routes_by_id(const struct routes *r, int64_t connection_id)
{
    for (int i = 0; i < 4; i++) {
        if (r->all[i].connection_id == connection_id) {
            return &r->all[i];
        }
    }
    return NULL;
}

const struct route *routes_by_account(const struct routes *r, const struct provider *provider,
                                      const char *account)
{
    for (int i = 0; i < 4; i++) {
        if (r->all[i].provider == provider && strcmp(r->all[i].account, account) == 0) {
            return &r->all[i];
        }
    }
    return NULL;
}

bool routes_same_account(const struct route *a, const struct route *b)
{
    return a->provider == b->provider && strcmp(a->account, b->account) == 0;
}

const struct route *routes_end(const struct routes *r)
{
    return r->all + 4;
}

bool routes_look_again(struct routes *r, routes_cb *cb, void *arg)
{
    (void)r, (void)cb, (void)arg;
    return false;
}

void routes_notice(struct routes *r)
{
    (void)r;
}

int64_t routes_now_ms(const struct routes *r)
{
    (void)r;
    return clock_now_ms();
}

bool routes_outdated(const struct routes *r)
{
    (void)r;
    return false;
}

void routes_doubt_redis(struct routes *r)
{
    (void)r;
}

bool routes_redis_ok(const struct routes *r, const char **reason)
{
    (void)r, (void)reason;
    return true;
}

/* ---- the queue: looks at what it is given ---- */

static void check_unit(const struct unit_put *p)
{
    MUST(p->connection_id >= 1 && p->connection_id <= 4);
    MUST(strlen(p->id) <= QUEUE_ID_MAX_BYTES && p->id[0] != '\0');
    MUST(strlen(p->object) <= QUEUE_OBJECT_MAX_BYTES);
    MUST(is_utf8(p->id) && is_utf8(p->hint));
    MUST(strlen(p->hint) < QUEUE_ID_MAX_BYTES + 24);
    if (p->kind == UNIT_RECORD) {
        MUST(provider_object(snapshot.all[p->connection_id - 1].provider, p->object) != NULL);
    }
    for (const char *c = p->id; *c != '\0'; c++) {
        MUST((unsigned char)*c >= 0x20);
    }
}

bool queue_shard_ok(const struct queue *q, int shard)
{
    (void)q, (void)shard;
    return true;
}

void queue_put_start(struct queue *q, const struct unit_put *puts, int n,
                     const char *const *receipts, int receipt_count, queue_put_cb *cb,
                     void *arg)
{
    (void)q;
    for (int i = 0; i < n; i++) {
        check_unit(&puts[i]);
    }
    for (int i = 0; i < receipt_count; i++) {
        struct err err = {0};
        json_t *j = json_parse(slice_of(receipts[i]), &err);
        MUST(json_is_object(j) && strchr(receipts[i], '\n') == NULL);
        json_decref(j);
    }
    cb(arg, NULL);
}

/* ---- the target ---- */

static struct hooks *hooks_once(void)
{
    static struct hooks *hooks;
    static const char *const accounts[] = {"62515", "1234567", "acct_1", ""};
    struct err err = {0};
    if (hooks != NULL) {
        return hooks;
    }
    setenv("PIVOTAL_SYNC_HUBSPOT_CLIENT_SECRET", secret_text_, 1);
    setenv("PIVOTAL_SYNC_STRIPE_WEBHOOK_SECRET", secret_text_, 1);
    setenv("PIVOTAL_SYNC_PUBLIC_URL", "https://gw.example.com", 1);
    for (int i = 0; i < 4; i++) {
        struct route *r = &snapshot.all[i];
        r->connection_id = i + 1;
        r->provider = provider_find(i < 2 ? "hubspot" : "stripe");
        (void)snprintf(r->account, sizeof r->account, "%s", accounts[i]);
        (void)snprintf(r->mode, sizeof r->mode, "%s", i == 3 ? "test" : "live");
        r->secrets[0] = secret_new(slice_of(secret_text_), 0, &err);
        r->secret_count = 1;
    }
    static const struct config_program program = {.bit = CONFIG_GATEWAY, .name = "fuzz"};
    const char *const argv[] = {"fuzz", "--config=", NULL};
    struct config *config = config_load(2, (char *const *)(uintptr_t)argv, &program, &err);
    const struct hooks_options o = {
        .routes = &snapshot,
        .metrics = metrics_new("0", &err),
        .log = log_new("fuzz", -1, LOG_ERROR, LOG_TEXT, &err),
        .config = config,
    };
    hooks = hooks_new(&o, &err);
    MUST(hooks != NULL);
    config_free(config);
    return hooks;
}

static void signed_headers(struct http_exchange *x, bool stripe, char text[256], char at[32])
{
    unsigned char mac[SIGN_SHA256_BYTES];
    int64_t now_ms = clock_now_ms();
    if (stripe) {
        char hex[2 * SIGN_SHA256_BYTES + 1];
        (void)snprintf(at, 32, "%lld", (long long)(now_ms / 1000));
        const struct slice parts[] = {slice_of(at), {".", 1}, x->body};
        sign_hmac_sha256(slice_of(secret_text_), parts, 3, mac);
        (void)sign_hex((struct slice){(const char *)mac, sizeof mac}, hex);
        (void)snprintf(text, 256, "t=%s,v1=%s", at, hex);
        x->names[0] = "Stripe-Signature";
        x->values[0] = text;
        return;
    }
    struct buf b;
    char url[512];
    buf_init(&b, 256);
    (void)snprintf(at, 32, "%lld", (long long)now_ms);
    (void)snprintf(url, sizeof url, "https://gw.example.com%s", x->target);
    const struct slice parts[] = {{"POST", 4}, slice_of(url), x->body, slice_of(at)};
    sign_hmac_sha256(slice_of(secret_text_), parts, 4, mac);
    (void)sign_base64(&b, (struct slice){(const char *)mac, sizeof mac});
    (void)snprintf(text, 256, "%s", buf_text(&b));
    buf_release(&b);
    x->names[0] = "X-HubSpot-Signature-v3";
    x->values[0] = text;
    x->names[1] = "X-HubSpot-Request-Timestamp";
    x->values[1] = at;
}

static void deliver(struct http_exchange *x)
{
    struct hooks *h = hooks_once();
    x->answers = 0;
    hooks_handle(h, x);
    MUST(x->answers == 1 && hooks_in_flight(h) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct http_exchange x = {0};
    char signature[256], at[32];
    unsigned choice = input_byte(&in);
    bool stripe = choice & 1;
    char *first = input_text(&in), *second = input_text(&in);
    char *host = input_text(&in), *id = input_text(&in);
    x.body = input_rest(&in);

    /* What he says himself. */
    x.hole[0] = stripe ? "stripe" : "hubspot";
    x.hole[1] = id;
    x.names[0] = stripe ? "Stripe-Signature" : "X-HubSpot-Signature-v3";
    x.values[0] = first;
    x.names[1] = "X-HubSpot-Request-Timestamp";
    x.values[1] = second;
    x.names[2] = "Host";
    x.values[2] = host;
    (void)snprintf(x.target, sizeof x.target, "/webhooks/%s", x.hole[0]);
    deliver(&x);
    MUST(x.status == 401 || x.status == 404); /* he has no key */

    /* The same body by somebody with the key. */
    bool own = stripe && (choice & 2) != 0;
    x.hole[1] = own ? "3" : "";
    if (own) {
        (void)snprintf(x.target, sizeof x.target, "/webhooks/stripe/3");
    }
    signed_headers(&x, stripe, signature, at);
    deliver(&x);
    MUST(x.status == 200 || x.status == 400);

    free(first);
    free(second);
    free(host);
    free(id);
    free((char *)(uintptr_t)x.body.bytes);
    return 0;
}

/* Last: the code under test, with the functions above in place of its neighbours. */
#include "webhook-gw/hook.c"
#include "webhook-gw/hook_answer.c"
