/* How a delivery ends: its answer, its metrics, and the receipt that says what became of it. */
#include "webhook-gw/hook_priv.h"

#include "common/clock.h"
#include "common/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const char *const hook_verdict_names[VERDICT_COUNT] = {
    "accepted",         "duplicate_event",      "coalesced",
    "ignored",          "wh_unknown_account",   "disconnected",
    "wh_malformed",     "wh_signature_invalid", "wh_signature_missing",
    "wh_timestamp_old", "unknown_connection",   "unavailable",
};

void hook_answer_retry(struct http_exchange *x, const char *text)
{
    char seconds[16];
    (void)snprintf(seconds, sizeof seconds, "%d", RETRY_AFTER_S);
    (void)http_exchange_set_header(x, "Retry-After", seconds);
    http_answer_text(x, 503, text);
}

static void observe(const struct delivery *d)
{
    metric_observe(d->endpoint->seconds,
                   (double)(clock_mono_us() - http_exchange_started_us(d->x)) / 1e6);
}

/* ---- receipts ---- */

static void receipt_text(struct buf *out, const char *name, const char *text)
{
    (void)buf_printf(out, ",\"%s\":", name);
    (void)json_add_text(out, (struct slice){text, strlen(text)});
}

void hook_add_receipt(struct batch *b, const struct delivery *d, enum verdict v,
                      int64_t connection_id, const struct hook_item *item, int64_t now_ms)
{
    struct buf *out = &b->receipts;
    (void)buf_printf(out,
                     "{\"v\":1,\"received_at_ms\":%" PRId64 ",\"provider\":\"%s\","
                     "\"verdict\":\"%s\"",
                     now_ms, d->endpoint->provider->name, hook_verdict_names[v]);
    if (connection_id != 0) {
        (void)buf_printf(out, ",\"connection_id\":%" PRId64, connection_id);
    }
    if (item != NULL) {
        receipt_text(out, "event_id", item->event_id);
        receipt_text(out, "event_type", item->event_type);
        receipt_text(out, "object_type", item->object != NULL ? item->object : "");
        receipt_text(out, "record_id", item->id);
        if (item->occurred_at_ms > 0) {
            int64_t lag_ms = now_ms - item->occurred_at_ms;
            (void)buf_printf(out, ",\"lag_ms\":%" PRId64, lag_ms > 0 ? lag_ms : 0);
        }
    }
    receipt_text(out, "peer", http_exchange_peer(d->x));
    (void)buf_add(out, "}\0", 2);
    b->receipt_count++;
}

void hook_receipts_done(void *arg, const struct err *err)
{
    struct hooks *h = arg;
    (void)err; /* a receipt may be lost */
    h->in_flight--;
}

/* A refusal is told to webhook_event too, but only so many a second. */
static void receipt_of_refusal(struct delivery *d, enum verdict v, int64_t connection_id)
{
    struct hooks *h = d->hooks;
    struct batch b = {0};
    int64_t now_ms = clock_now_ms();
    if (now_ms / 1000 != h->refused_second) {
        h->refused_second = now_ms / 1000;
        h->refused_receipts = 0;
    }
    if (h->refused_receipts++ >= REFUSED_RECEIPTS_PER_S) {
        return;
    }
    buf_init(&b.receipts, RECEIPTS_MAX_BYTES);
    hook_add_receipt(&b, d, v, connection_id, NULL, now_ms);
    if (!b.receipts.failed) {
        const char *line = buf_text(&b.receipts);
        h->in_flight++;
        queue_put_start(h->o.queue, NULL, 0, &line, 1, hook_receipts_done, h);
    }
    buf_release(&b.receipts);
}

/* ---- the end of a delivery ---- */

static void delivery_free(struct delivery *d)
{
    d->hooks->in_flight--;
    free(d);
}

void hook_refuse(struct delivery *d, int status, enum verdict v, int64_t connection_id,
                 const char *why)
{
    struct hooks *h = d->hooks;
    int64_t now_mono_ms = clock_mono_ms();
    char text[ERR_MSG_MAX_BYTES + 2];
    metric_inc(d->endpoint->verdicts[v]);
    receipt_of_refusal(d, v, connection_id);
    h->refused_since++;
    if (now_mono_ms - h->complained_at_mono_ms >= 1000) {
        h->complained_at_mono_ms = now_mono_ms;
        log_warn(h->o.log, "webhook.refused",
                 "%s delivery from %s refused (%s): %s; %lld since the last line",
                 d->endpoint->provider->name, http_exchange_peer(d->x), hook_verdict_names[v],
                 why, (long long)h->refused_since);
        h->refused_since = 0;
    }
    (void)snprintf(text, sizeof text, "%s\n", why);
    observe(d);
    http_answer_text(d->x, status, text);
    delivery_free(d);
}

void hook_unavailable(struct delivery *d, const char *why)
{
    metric_inc(d->endpoint->verdicts[VERDICT_UNAVAILABLE]);
    observe(d);
    hook_answer_retry(d->x, why);
    delivery_free(d);
}

/* Everything that had to be done is done. */
void hook_accept(struct delivery *d)
{
    for (int v = 0; v < VERDICT_COUNT; v++) {
        if (d->verdicts[v] > 0) {
            metric_add(d->endpoint->verdicts[v], d->verdicts[v]);
        }
    }
    observe(d);
    http_answer(d->x, 200, NULL, NULL, 0);
    delivery_free(d);
}
