/* A delivery: whose secrets, is it theirs, what is to be looked at, on Redis' disk, 200.
 *
 * The order is the promise: nothing of a body is parsed before its signature holds, and 200 is
 * said only by the callback of the put. There is no task and no PostgreSQL on this path; a
 * delivery lives in its exchange until Redis has answered.
 *
 * A delivery that the snapshot cannot judge (an unknown connection or account, a signature that
 * fails: perhaps the secret is new) waits for one fresh reading and is then judged finally.
 * When that reading cannot be had although something has changed, the answer is 503. */
#include "webhook-gw/hook_priv.h"

#include "common/clock.h"
#include "common/crash.h"
#include "common/net_address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where each provider's app-level secret is set. A provider without a row has none. */
static const struct {
    const char *provider;
    enum setting setting;
} app_secrets[] = {
    {"hubspot", SETTING_HUBSPOT_CLIENT_SECRET},
    {"stripe", SETTING_STRIPE_WEBHOOK_SECRET},
};

/* ---- small things ---- */

static const char *header_of(const void *request, const char *name)
{
    return http_exchange_header(request, name);
}

static uint64_t hash_event(const struct provider *p, const char *event_id)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a: it only labels receipts */
    for (const char *s = p->name; *s != '\0'; s++) {
        hash = (hash ^ (unsigned char)*s) * 0x100000001b3u;
    }
    for (const char *s = event_id; *s != '\0'; s++) {
        hash = (hash ^ (unsigned char)*s) * 0x100000001b3u;
    }
    return hash != 0 ? hash : 1;
}

static uint64_t *recent_slot(struct hooks *h, uint64_t hash)
{
    return &h->recent[hash & (RECENT_SLOTS - 1)];
}

/* The URL as the provider called it. Without PUBLIC_URL, what the request says of itself: a
 * stranger who lies here only spoils his own signature. */
static const char *public_url(const struct hooks *h, const struct http_exchange *x,
                              char out[URL_MAX_BYTES])
{
    const char *target = http_exchange_target(x);
    if (h->public_url[0] != '\0') {
        (void)snprintf(out, URL_MAX_BYTES, "%s%s", h->public_url, target);
        return out;
    }
    const char *host = http_exchange_header(x, "Host");
    const char *scheme = http_exchange_header(x, "X-Forwarded-Proto");
    bool https = scheme != NULL && strcmp(scheme, "https") == 0;
    (void)snprintf(out, URL_MAX_BYTES, "%s://%s%s", https ? "https" : "http",
                   host != NULL ? host : "", target);
    return out;
}

/* ---- Redis has answered ---- */

static void put_done(void *arg, const struct err *err)
{
    struct delivery *d = arg;
    struct hooks *h = d->hooks;
    if (err != NULL) {
        routes_doubt_redis(h->o.routes);
        hook_unavailable(d, "the queue cannot take work now\n");
        return;
    }
    for (size_t i = 0; i < d->event_count; i++) {
        *recent_slot(h, d->events[i]) = d->events[i];
    }
    routes_notice(h->o.routes);
    crash_point("gw.was_put");
    hook_accept(d);
    crash_point("gw.answered");
}

/* ---- judging ---- */

static void batch_release(struct batch *b)
{
    hint_list_release(&b->items);
    free(b->puts);
    buf_release(&b->receipts);
}

static void add_put(struct batch *b, const struct route *r, const struct hook_item *item)
{
    if (b->put_count == b->put_cap) {
        int cap = b->put_cap == 0 ? 8 : b->put_cap * 2;
        struct unit_put *more = realloc(b->puts, (size_t)cap * sizeof *more);
        if (more == NULL) {
            b->failed = true;
            return;
        }
        b->puts = more;
        b->put_cap = cap;
    }
    b->puts[b->put_count++] = (struct unit_put){
        .connection_id = r->connection_id,
        .shard = r->shard,
        .kind = item->object[0] == '\0' ? UNIT_CHECK : UNIT_RECORD,
        .object = item->object,
        .id = item->id,
        .lane = LANE_WEBHOOK,
        .trigger = "webhook",
        .actor = "",
        .hint = item->hint,
        .occurred_at_ms = item->occurred_at_ms,
    };
}

/* Thousands of single units would take the quota of whatever else happens: past so many a
 * minute, an import becomes one catch-up, which reads its records by hundreds. Two connections
 * in one slot only make the guard later. */
static bool is_flood(struct hooks *h, const struct route *r, const struct hook_item *item,
                     int64_t now_ms)
{
    struct flood *f = &h->floods[(uint64_t)r->connection_id % FLOOD_SLOTS];
    if (!item->import) {
        return false;
    }
    if (f->connection_id != r->connection_id || f->minute != now_ms / 60000) {
        *f = (struct flood){.connection_id = r->connection_id, .minute = now_ms / 60000};
    }
    return ++f->events > FLOOD_EVENTS_PER_MINUTE;
}

static void add_catch_up(struct batch *b, const struct route *r, const struct hook_item *item)
{
    static const struct hook_item connection = {.object = "", .id = "catch-up"};
    for (int i = 0; i < b->put_count; i++) {
        if (b->puts[i].kind == UNIT_CHECK && b->puts[i].connection_id == r->connection_id) {
            return;
        }
    }
    int before = b->put_count;
    add_put(b, r, &connection);
    if (b->put_count > before) {
        b->puts[before].lane = LANE_RUN_NOW;
        b->puts[before].trigger = "catch-up";
        b->puts[before].occurred_at_ms = item->occurred_at_ms;
    }
}

static bool mode_fits(const struct route *r, const struct hook_item *item)
{
    return item->mode[0] == '\0' || strcmp(item->mode, r->mode) == 0;
}

/* One event for one connection. */
static void judge_for(struct batch *b, struct delivery *d, const struct route *r,
                      const struct hook_item *item, int64_t now_ms)
{
    enum verdict v = VERDICT_ACCEPTED;
    if (item->object == NULL) {
        v = VERDICT_IGNORED;
    } else if (r->disconnected) {
        v = VERDICT_DISCONNECTED;
    } else {
        uint64_t hash = hash_event(d->endpoint->provider, item->event_id);
        if (item->event_id[0] != '\0' && *recent_slot(d->hooks, hash) == hash) {
            v = VERDICT_DUPLICATE;
        }
        if (is_flood(d->hooks, r, item, now_ms)) {
            v = VERDICT_COALESCED;
            add_catch_up(b, r, item);
        } else {
            add_put(b, r, item);
        }
    }
    b->verdicts[v]++;
    hook_add_receipt(b, d, v, r->connection_id, item, now_ms);
}

/* True when the event's account is one of ours (or it has nothing for us anyway). */
static bool judge_item(struct batch *b, struct delivery *d, const struct route *own,
                       const struct hook_item *item, int64_t now_ms)
{
    struct hooks *h = d->hooks;
    bool known = false;
    if (own != NULL) {
        known = mode_fits(own, item) && (item->account[0] == '\0' || own->account[0] == '\0' ||
                                         strcmp(item->account, own->account) == 0);
        if (known) {
            judge_for(b, d, own, item, now_ms);
        }
    } else {
        const struct route *first =
            routes_by_account(h->o.routes, d->endpoint->provider, item->account);
        for (const struct route *r = first;
             r != NULL && r < routes_end(h->o.routes) && routes_same_account(first, r); r++) {
            if (mode_fits(r, item)) {
                known = true;
                judge_for(b, d, r, item, now_ms);
            }
        }
    }
    if (!known && item->object != NULL && (!d->final || routes_outdated(h->o.routes))) {
        return false;
    }
    if (!known) {
        enum verdict v = item->object == NULL ? VERDICT_IGNORED : VERDICT_UNKNOWN_ACCOUNT;
        b->verdicts[v]++;
        hook_add_receipt(b, d, v, 0, item, now_ms);
    }
    return true;
}

static void judge(struct delivery *d);

static const char outdated[] = "connections have changed and cannot be read now\n";

static void look_done(void *arg)
{
    judge(arg);
}

/* True when the delivery now waits for a fresh snapshot. */
static bool look_again(struct delivery *d)
{
    if (d->final) {
        return false;
    }
    d->final = true;
    return routes_look_again(d->hooks->o.routes, look_done, d);
}

/* Start the put of all that was found; d is gone or waits for Redis afterwards. */
static void start_put(struct delivery *d, struct batch *b)
{
    struct hooks *h = d->hooks;
    bool away = false;
    for (int i = 0; i < b->put_count; i++) {
        away |= !queue_shard_ok(h->o.queue, b->puts[i].shard);
    }
    if (away) {
        hook_unavailable(d,
                         "the queue is away\n"); /* at once: the provider's patience is short */
        return;
    }
    const char **lines = calloc((size_t)b->receipt_count + 1, sizeof *lines);
    size_t bytes = sizeof *d + b->items.count * sizeof d->events[0];
    struct delivery *kept = lines != NULL ? realloc(d, bytes) : NULL;
    if (kept == NULL || b->failed) {
        free(lines);
        hook_unavailable(kept != NULL ? kept : d, "out of memory\n");
        return;
    }
    kept->event_count = 0;
    for (size_t i = 0; i < b->items.count; i++) {
        if (b->items.items[i].event_id[0] != '\0') {
            kept->events[kept->event_count++] =
                hash_event(kept->endpoint->provider, b->items.items[i].event_id);
        }
    }
    /* Receipts may be lost, so what did not fit of them is no reason to fail. */
    const char *at = buf_text(&b->receipts);
    int count = b->receipts.failed ? 0 : b->receipt_count;
    for (int i = 0; i < count; i++) {
        lines[i] = at;
        at += strlen(at) + 1;
    }
    memcpy(kept->verdicts, b->verdicts, sizeof kept->verdicts);
    if (b->put_count > 0) {
        crash_point("gw.put");
        queue_put_start(h->o.queue, b->puts, b->put_count, lines, count, put_done, kept);
    } else {
        /* Nothing for us in it: only the receipts go to Redis, and nobody waits for them. */
        if (count > 0) {
            h->in_flight++;
            queue_put_start(h->o.queue, NULL, 0, lines, count, hook_receipts_done, h);
        }
        hook_accept(kept);
    }
    free(lines);
}

static void judge_items(struct delivery *d, const struct hook *hook, const struct route *own)
{
    struct err err = {0};
    struct batch b = {0};
    buf_init(&b.receipts, RECEIPTS_MAX_BYTES);
    if (d->endpoint->provider->hook_parse(hook, &b.items, &err) != 0) {
        batch_release(&b);
        if (err.code == ERR_NOMEM) {
            hook_unavailable(d, "out of memory\n");
        } else {
            hook_refuse(d, 400, VERDICT_MALFORMED, own != NULL ? own->connection_id : 0,
                        err.msg);
        }
        return;
    }
    int64_t now_ms = clock_now_ms();
    for (size_t i = 0; i < b.items.count; i++) {
        if (!judge_item(&b, d, own, &b.items.items[i], now_ms)) {
            batch_release(&b);
            if (look_again(d)) {
                return;
            }
            if (routes_outdated(d->hooks->o.routes)) {
                hook_unavailable(d, outdated);
            } else {
                judge(d); /* final by now */
            }
            return;
        }
    }
    start_put(d, &b);
    batch_release(&b);
}

static enum verdict verdict_of(enum error_type type)
{
    switch ((int)type) {
    case ET_WH_SIGNATURE_MISSING:
        return VERDICT_SIGNATURE_MISSING;
    case ET_WH_TIMESTAMP_OLD:
        return VERDICT_TIMESTAMP_OLD;
    default:
        return VERDICT_SIGNATURE_INVALID;
    }
}

static int verify(const struct delivery *d, const struct hook *hook, const struct route *own,
                  enum error_type *type, struct err *err)
{
    struct slice lent[APP_SECRETS_MAX];
    struct secret_list list = {.secrets = lent};
    struct secret *const *secrets = own != NULL ? own->secrets : d->endpoint->secrets;
    list.count = own != NULL ? own->secret_count : d->endpoint->secret_count;
    for (int i = 0; i < list.count; i++) {
        lent[i] = secret_slice(secrets[i]);
    }
    return d->endpoint->provider->hook_verify(hook, &list, routes_now_ms(d->hooks->o.routes),
                                              type, err);
}

/* The connection that the path names: true when it names none or *own is found. */
static bool find_own(const struct delivery *d, const struct route **own)
{
    const char *id = http_exchange_hole(d->x, 1);
    char *end = NULL;
    *own = NULL;
    if (id[0] == '\0') {
        return true;
    }
    if (strspn(id, "0123456789") == strlen(id) && strlen(id) <= 18) {
        *own = routes_by_id(d->hooks->o.routes, strtoll(id, &end, 10));
    }
    return *own != NULL && (*own)->provider == d->endpoint->provider;
}

static void judge(struct delivery *d)
{
    struct err err = {0};
    enum error_type type = ET_NONE;
    const struct route *own = NULL;
    char url[URL_MAX_BYTES];
    if (!routes_loaded(d->hooks->o.routes)) {
        hook_unavailable(d, "connections are not loaded yet\n");
        return;
    }
    if (!find_own(d, &own)) {
        if (look_again(d)) {
            return;
        }
        if (routes_outdated(d->hooks->o.routes)) {
            hook_unavailable(d, outdated);
        } else {
            hook_refuse(d, 404, VERDICT_UNKNOWN_CONNECTION, 0, "no such connection");
        }
        return;
    }
    const struct hook hook = {
        .method = http_exchange_method(d->x),
        .public_url = public_url(d->hooks, d->x, url),
        .body = http_exchange_body(d->x),
        .header = header_of,
        .request = d->x,
    };
    if (verify(d, &hook, own, &type, &err) != 0) {
        bool may_be_new = verdict_of(type) == VERDICT_SIGNATURE_INVALID;
        if (may_be_new && look_again(d)) {
            return;
        }
        if (may_be_new && routes_outdated(d->hooks->o.routes)) {
            hook_unavailable(d, outdated);
        } else {
            hook_refuse(d, 401, verdict_of(type), own != NULL ? own->connection_id : 0,
                        err.msg);
        }
        return;
    }
    judge_items(d, &hook, own);
}

void hooks_handle(struct hooks *h, struct http_exchange *x)
{
    struct endpoint *e = NULL;
    const char *name = http_exchange_hole(x, 0);
    for (int i = 0; i < h->endpoint_count; i++) {
        if (strcmp(h->endpoints[i].provider->name, name) == 0) {
            e = &h->endpoints[i];
        }
    }
    if (e == NULL) {
        http_answer_text(x, 404, "no such provider\n");
        return;
    }
    struct delivery *d = calloc(1, sizeof *d);
    if (d == NULL) {
        hook_answer_retry(x, "out of memory\n");
        return;
    }
    *d = (struct delivery){.hooks = h, .x = x, .endpoint = e};
    h->in_flight++;
    judge(d);
}

/* ---- life ---- */

static void secrets_free(struct secret **secrets, int count)
{
    for (int i = 0; i < count; i++) {
        secret_free(secrets[i]);
        secrets[i] = NULL;
    }
}

static int endpoint_secrets(struct endpoint *e, const struct config *config, struct err *err)
{
    struct secret *fresh[APP_SECRETS_MAX] = {0};
    int count = 0;
    if (e->secret_setting == SETTING_COUNT) {
        return 0;
    }
    size_t n = config_list_count(config, e->secret_setting);
    if (n > APP_SECRETS_MAX) {
        err_set(err, ERR_CONFIG, "%s has more than %d secrets", config_name(e->secret_setting),
                APP_SECRETS_MAX);
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        fresh[count] =
            secret_new(config_list_item(config, e->secret_setting, i), clock_now_ms(), err);
        if (fresh[count] == NULL) {
            secrets_free(fresh, count);
            return -1;
        }
        count++;
    }
    secrets_free(e->secrets, e->secret_count);
    for (int i = 0; i < count; i++) {
        e->secrets[i] = fresh[i];
    }
    e->secret_count = count;
    return 0;
}

int hooks_reload(struct hooks *h, const struct config *config, struct err *err)
{
    const char *url = config_text(config, SETTING_PUBLIC_URL);
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/') {
        len--;
    }
    if (len >= sizeof h->public_url) {
        err_set(err, ERR_CONFIG, "PUBLIC_URL is longer than %zu bytes",
                sizeof h->public_url - 1);
        return -1;
    }
    (void)snprintf(h->public_url, sizeof h->public_url, "%.*s", (int)len, url);
    for (int i = 0; i < h->endpoint_count; i++) {
        if (endpoint_secrets(&h->endpoints[i], config, err) != 0) {
            return -1;
        }
    }
    return 0;
}

static void endpoints_make(struct hooks *h)
{
    struct metric_family *events =
        metrics_family(h->o.metrics, METRIC_COUNTER, "webhook_events_total", "provider,verdict",
                       "Events delivered, by what became of them");
    struct metric_family *seconds =
        metrics_family(h->o.metrics, METRIC_HISTOGRAM, "webhook_request_duration_seconds",
                       "provider", "From the headers of a delivery to its answer");
    for (int i = 0; i < ENDPOINTS_MAX && providers[i] != NULL; i++) {
        struct endpoint *e = &h->endpoints[h->endpoint_count++];
        e->provider = providers[i];
        e->secret_setting = SETTING_COUNT;
        for (size_t s = 0; s < COUNT_OF(app_secrets); s++) {
            if (strcmp(app_secrets[s].provider, e->provider->name) == 0) {
                e->secret_setting = app_secrets[s].setting;
            }
        }
        for (int v = 0; v < VERDICT_COUNT; v++) {
            e->verdicts[v] = METRIC(events, e->provider->name, hook_verdict_names[v]);
        }
        e->seconds = METRIC(seconds, e->provider->name);
    }
}

struct hooks *hooks_new(const struct hooks_options *o, struct err *err)
{
    struct hooks *h = calloc(1, sizeof *h);
    if (h == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the hooks");
        return NULL;
    }
    h->o = *o;
    endpoints_make(h);
    if (hooks_reload(h, o->config, err) != 0) {
        hooks_free(h);
        return NULL;
    }
    h->o.config = NULL;
    return h;
}

int hooks_in_flight(const struct hooks *h)
{
    return h->in_flight;
}

void hooks_free(struct hooks *h)
{
    if (h == NULL) {
        return;
    }
    for (int i = 0; i < h->endpoint_count; i++) {
        secrets_free(h->endpoints[i].secrets, h->endpoints[i].secret_count);
    }
    free(h);
}
