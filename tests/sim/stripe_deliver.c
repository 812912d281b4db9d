/*
 * Deliveries: which endpoint wants which event, how its body looks there, and its signature.
 * Every attempt is signed anew, once for each active secret.
 */
#include "stripe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not published; these keep to "up to three days" and "three times over a few hours". */
static const int64_t live_retry_ms[] = {60000,    300000,   900000,   3600000,  7200000,
                                        14400000, 28800000, 43200000, 43200000, 43200000};
static const int64_t test_retry_ms[] = {600000, 3600000, 7200000};

enum { SHUFFLE_MAX_MS = 40 };

/* One delivery: an event to an endpoint. It looks both up anew for each attempt, so that a
 * rolled secret counts from then on. */
struct job {
    struct stripe_sim *app;
    struct st_mode *mode;
    struct st_mode *endpoint_mode;
    char *event_id;
    char *endpoint_id;
    char *account; /* member "account" for Connect endpoints, or NULL */
    char *body;    /* sent as it is, or NULL */
    json_t *tweak; /* hand-made: "secret", "timestamp_offset_ms", "omit", "headers" */
    int copy;      /* only copy 0 counts for pending_webhooks */
};

static void job_free(void *ctx)
{
    struct job *j = ctx;
    free(j->event_id);
    free(j->endpoint_id);
    free(j->account);
    free(j->body);
    json_decref(j->tweak);
    free(j);
}

static json_t *body_for(const struct job *j, json_t *event, const json_t *endpoint)
{
    if (json_is_true(json_object_get(endpoint, "_thin")))
        return json_incref(json_object_get(event, "_thin"));
    struct st_view v = {.app = j->app, .mode = j->mode, .shape = ST_SHAPE_NEW};
    struct st_record *rec = st_find(j->mode, ST_EVENT, j->event_id);
    json_t *shown = st_render_plain(&v, rec);
    const char *version = st_text_at(endpoint, "api_version");
    if (version != NULL) {
        char key[4];
        snprintf(key, sizeof key, "%d", (int)st_shape_of(version));
        json_t *other = json_object_get(json_object_get(event, "_shapes"), key);
        json_t *data = json_object_get(shown, "data");
        if (other != NULL)
            json_object_set(data, "object", other);
        json_object_set_new(shown, "api_version", json_string(version));
    }
    if (j->account != NULL)
        json_object_set_new(shown, "account", json_string(j->account));
    return shown;
}

static void add_signature(struct sim_buf *line, const char *scheme, const char *secret,
                          const char *signed_payload, size_t len)
{
    unsigned char mac[32];
    char hex[65];
    sim_hmac_sha256(secret, signed_payload, len, mac);
    sim_hex(mac, sizeof mac, hex);
    sim_buf_addf(line, ",%s=%s", scheme, hex);
}

static bool omitted(const json_t *tweak, const char *what)
{
    size_t i = 0;
    json_t *one = NULL;
    json_array_foreach(json_object_get(tweak, "omit"), i, one)
    {
        if (json_is_string(one) && strcmp(json_string_value(one), what) == 0)
            return true;
    }
    return false;
}

static void sign(const struct job *j, const json_t *endpoint, const struct sim_buf *body,
                 struct sim_buf *headers)
{
    const json_t *offset = json_object_get(j->tweak, "timestamp_offset_ms");
    int64_t now_s = (sim_now_ms(j->app->sim) + json_integer_value(offset)) / 1000;
    struct sim_buf payload = {0};
    sim_buf_addf(&payload, "%lld.", (long long)now_s);
    sim_buf_add(&payload, body->p, body->len);
    struct sim_buf line = {0};
    if (!omitted(j->tweak, "timestamp"))
        sim_buf_addf(&line, "t=%lld", (long long)now_s);
    const char *given = st_text_at(j->tweak, "secret");
    size_t i = 0;
    json_t *secret = NULL;
    if (given != NULL)
        add_signature(&line, "v1", given, payload.p, payload.len);
    else if (!omitted(j->tweak, "v1"))
        json_array_foreach(json_object_get(endpoint, "_secrets"), i, secret)
            add_signature(&line, "v1", json_string_value(secret), payload.p, payload.len);
    if (!j->mode->live)
        add_signature(&line, "v0", "sim", payload.p, payload.len);
    if (!omitted(j->tweak, "signature"))
        sim_buf_addf(headers, "Stripe-Signature: %s\n", line.p + (line.p[0] == ',' ? 1 : 0));
    sim_buf_free(&line);
    sim_buf_free(&payload);
}

static void render(struct sim *s, void *ctx, int attempt, struct sim_buf *headers,
                   struct sim_buf *body)
{
    struct job *j = ctx;
    (void)s;
    (void)attempt;
    struct st_record *endpoint_rec = st_find(j->endpoint_mode, ST_ENDPOINT, j->endpoint_id);
    json_t *endpoint = endpoint_rec != NULL ? st_load(endpoint_rec) : json_object();
    if (j->body != NULL) {
        sim_buf_adds(body, j->body);
    } else {
        struct st_record *rec = st_find(j->mode, ST_EVENT, j->event_id);
        json_t *event = rec != NULL ? st_load(rec) : NULL;
        json_t *shown = event != NULL ? body_for(j, event, endpoint) : json_object();
        sim_buf_add_json(body, shown, ST_JSON_FLAGS);
        json_decref(shown);
        json_decref(event);
    }
    sim_buf_adds(headers, "User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\n"
                          "Content-Type: application/json; charset=utf-8\n"
                          "Accept: */*; q=0.5, application/xml\n"
                          "Cache-Control: no-cache\n");
    sign(j, endpoint, body, headers);
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(json_object_get(j->tweak, "headers"), name, value)
    {
        sim_buf_addf(headers, "%s: %s\n", name, json_string_value(value));
    }
    json_decref(endpoint);
}

/* No further attempt at an endpoint that was deleted or disabled meanwhile. */
static bool wanted(struct sim *s, void *ctx)
{
    const struct job *j = ctx;
    (void)s;
    struct st_record *rec = st_find(j->endpoint_mode, ST_ENDPOINT, j->endpoint_id);
    if (rec == NULL || rec->deleted)
        return false;
    json_t *status = st_field(j->app, rec, "status");
    bool enabled = strcmp(json_string_value(status), "enabled") == 0;
    json_decref(status);
    return enabled;
}

static void answered(struct sim *s, void *ctx, int attempt, int status, bool last)
{
    struct job *j = ctx;
    (void)s;
    (void)attempt;
    bool ok = status >= 200 && status < 300;
    struct st_record *rec =
        j->event_id != NULL ? st_find(j->mode, ST_EVENT, j->event_id) : NULL;
    if (rec == NULL || j->copy != 0 || (!ok && !last))
        return;
    json_t *event = st_load(rec);
    json_int_t pending = json_integer_value(json_object_get(event, "pending_webhooks"));
    if (ok && pending > 0)
        json_object_set_new(event, "pending_webhooks", json_integer(pending - 1));
    if (!ok)
        json_object_set_new(event, "_failed", json_true());
    st_save(j->mode, rec, event);
}

static bool wants(const json_t *endpoint, const char *type)
{
    const char *status = st_text_at(endpoint, "status");
    if (status != NULL && strcmp(status, "enabled") != 0)
        return false;
    size_t i = 0;
    json_t *one = NULL;
    json_array_foreach(json_object_get(endpoint, "enabled_events"), i, one)
    {
        const char *name = json_string_value(one);
        if (name != NULL && (strcmp(name, "*") == 0 || strcmp(name, type) == 0))
            return true;
    }
    return false;
}

struct jobs {
    struct job **items;
    size_t count;
};

static void add_jobs(struct jobs *jobs, struct st_change *ch, struct st_mode *endpoint_mode,
                     struct st_record *endpoint, struct st_record *event, bool connect)
{
    int copies = ch->notify.count > 0 ? ch->notify.count : 1;
    jobs->items =
        sim_realloc(jobs->items, (jobs->count + (size_t)copies) * sizeof *jobs->items);
    for (int i = 0; i < copies; i++) {
        struct job *j = sim_calloc(1, sizeof *j);
        j->app = ch->app;
        j->mode = ch->mode;
        j->endpoint_mode = endpoint_mode;
        j->event_id = sim_strdup(event->id);
        j->endpoint_id = sim_strdup(endpoint->id);
        j->account = connect ? sim_strdup(ch->mode->account->id) : NULL;
        j->copy = i;
        jobs->items[jobs->count++] = j;
    }
}

static bool is_application_event(const char *type)
{
    return strncmp(type, "account.application.", 20) == 0;
}

/* The endpoints of one mode; returns how many want the event. */
static int to_endpoints(struct jobs *jobs, struct st_change *ch, struct st_mode *mode,
                        bool connect, struct st_record *event)
{
    const struct st_vec *v = &mode->tables[ST_ENDPOINT].order;
    json_t *type = st_field(ch->app, event, "type");
    int found = 0;
    for (size_t i = 0; i < v->count; i++) {
        json_t *endpoint = st_load(v->items[i]);
        bool is_connect = json_is_true(json_object_get(endpoint, "_connect"));
        if (is_connect == connect && wants(endpoint, json_string_value(type))) {
            add_jobs(jobs, ch, mode, v->items[i], event, connect);
            found++;
        }
        json_decref(endpoint);
    }
    json_decref(type);
    return found;
}

static void send_job(struct job *j, int64_t delay_ms)
{
    struct st_record *rec = st_find(j->endpoint_mode, ST_ENDPOINT, j->endpoint_id);
    json_t *endpoint = rec != NULL ? st_load(rec) : json_object();
    const char *url = st_text_at(endpoint, "url");
    const json_t *timeout = json_object_get(endpoint, "_timeout_ms");
    const json_t *inflight = json_object_get(endpoint, "_max_inflight");
    bool live = j->mode->live;
    struct sim_delivery d = {
        .provider = SIM_STRIPE,
        .account = j->mode->account->id,
        .url = url != NULL ? url : "http://127.0.0.1:9/",
        .group = j->endpoint_id,
        .max_inflight = json_is_integer(inflight) ? (int)json_integer_value(inflight) : 16,
        .delay_ms = delay_ms,
        .timeout_ms = json_is_integer(timeout) ? json_integer_value(timeout) : 10000,
        .retry_ms = live ? live_retry_ms : test_retry_ms,
        .retry_count = live ? sizeof live_retry_ms / sizeof live_retry_ms[0]
                            : sizeof test_retry_ms / sizeof test_retry_ms[0],
        .render = render,
        .wanted = wanted,
        .answered = answered,
        .free_ctx = job_free,
        .ctx = j};
    sim_webhook_send(j->app->sim, &d);
    json_decref(endpoint);
}

static void send_all(struct st_change *ch, struct jobs *jobs)
{
    struct sim *s = ch->app->sim;
    for (size_t i = jobs->count; ch->notify.shuffle && i > 1; i--) {
        size_t k = (size_t)sim_rand_below(s, i);
        struct job *swap = jobs->items[i - 1];
        jobs->items[i - 1] = jobs->items[k];
        jobs->items[k] = swap;
    }
    for (size_t i = 0; i < jobs->count; i++) {
        int64_t delay_ms = ch->notify.delay_ms;
        if (ch->notify.shuffle)
            delay_ms += (int64_t)sim_rand_below(s, SHUFFLE_MAX_MS);
        send_job(jobs->items[i], delay_ms);
    }
    free(jobs->items);
}

void st_deliver(struct st_change *ch)
{
    struct jobs jobs = {0};
    struct st_account *platform = st_account_find(ch->app, "acct_1SimPlatform");
    for (size_t i = 0; i < ch->count; i++) {
        struct st_record *rec = ch->events[i];
        json_t *event = st_load(rec);
        int found = 0;
        if (!is_application_event(st_text_at(event, "type")))
            found += to_endpoints(&jobs, ch, ch->mode, false, rec);
        if (ch->mode->account->connected && platform != NULL) {
            found += to_endpoints(&jobs, ch, &platform->modes[ch->mode->live], true, rec);
            /* A live Connect endpoint gets test events too. */
            if (!ch->mode->live)
                found += to_endpoints(&jobs, ch, &platform->modes[1], true, rec);
        }
        json_object_set_new(event, "pending_webhooks", json_integer(found));
        st_save(ch->mode, rec, event);
    }
    send_all(ch, &jobs);
}

/* ---- the control calls about webhooks ---- */

static const char *configure(struct stripe_sim *app, struct st_account *a, bool live,
                             json_t *config)
{
    const json_t *url = json_object_get(config, "url");
    const char *name = st_text_at(config, "name");
    bool connect = json_is_true(json_object_get(config, "connect"));
    const char *version = st_text_at(config, "api_version");
    if (version != NULL && !st_version_known(version))
        return "unknown api_version";
    if (connect)
        a->connected = true;
    struct st_account *holder = connect ? st_account_find(app, "acct_1SimPlatform") : a;
    struct st_mode *m = &holder->modes[live ? 1 : 0];
    char *id =
        sim_strf("we_1SimConfigured%s%s", connect ? "Connect" : "", name != NULL ? name : "");
    struct st_record *rec = st_find(m, ST_ENDPOINT, id);
    if (rec != NULL && json_is_null(url)) {
        st_remove(m, rec);
        free(id);
        return NULL;
    }
    json_t *sparse =
        rec != NULL
            ? st_load(rec)
            : json_pack("{s:s, s:[s], s:[s], s:b}", "id", id, "enabled_events", "*", "_secrets",
                        "whsec_sim0000000000000000000000000001", "_connect", connect ? 1 : 0);
    static const char *const same[] = {"url", "enabled_events", "api_version", "status"};
    static const char *const own[] = {"secrets", "thin", "timeout_ms", "max_inflight"};
    for (size_t i = 0; i < 4; i++) {
        json_t *value = json_object_get(config, same[i]);
        if (value != NULL)
            json_object_set(sparse, same[i], value);
        value = json_object_get(config, own[i]);
        char key[32];
        snprintf(key, sizeof key, "_%s", own[i]);
        if (value != NULL)
            json_object_set(sparse, key, value);
    }
    free(id);
    if (rec != NULL)
        st_save(m, rec, sparse);
    else if (st_text_at(sparse, "url") != NULL)
        (void)st_insert(app, m, ST_ENDPOINT, sparse);
    else
        json_decref(sparse);
    return NULL;
}

static struct st_account *account_in(struct stripe_sim *app, const json_t *body)
{
    const char *id = st_text_at(body, "account");
    return st_account_find(app, id != NULL ? id : "acct_1SimDefault");
}

const char *sim_stripe_webhook_config(struct sim *s, json_t *config)
{
    struct stripe_sim *app = st_app(s);
    struct st_account *a = account_in(app, config);
    const char *mode = st_text_at(config, "mode");
    if (a == NULL)
        return "no such Stripe account";
    const char *error = NULL;
    for (int live = 0; live < 2 && error == NULL; live++) {
        if (mode == NULL || strcmp(mode, live ? "live" : "test") == 0)
            error = configure(app, a, live == 1, config);
    }
    return error;
}

static void send_by_hand(struct st_change *ch, const json_t *body, struct jobs *jobs,
                         struct st_record *event)
{
    struct st_mode *m = ch->mode;
    const struct st_vec *v = &m->tables[ST_ENDPOINT].order;
    const char *text = st_text_at(body, "body");
    for (size_t i = 0; i < v->count; i++) {
        size_t from = jobs->count;
        struct st_record none = {.id = (char *)(uintptr_t) ""};
        add_jobs(jobs, ch, m, v->items[i], event != NULL ? event : &none, false);
        for (size_t k = from; k < jobs->count; k++) {
            jobs->items[k]->tweak = json_deep_copy(body);
            jobs->items[k]->body = text != NULL ? sim_strdup(text) : NULL;
        }
    }
}

const char *sim_stripe_webhook_send(struct sim *s, json_t *body)
{
    struct stripe_sim *app = st_app(s);
    struct st_account *a = account_in(app, body);
    const char *mode = st_text_at(body, "mode");
    if (a == NULL)
        return "no such Stripe account";
    struct st_mode *m = &a->modes[mode != NULL && strcmp(mode, "live") == 0];
    if (m->tables[ST_ENDPOINT].live == 0)
        return "no webhook endpoint there: POST /_sim/webhooks/config first";
    struct st_change ch;
    struct sim_notify n;
    struct jobs jobs = {0};
    sim_notify_parse(&n, body);
    st_change_begin(&ch, app, m, &n);
    if (st_text_at(body, "body") != NULL) {
        send_by_hand(&ch, body, &jobs, NULL);
    } else if (st_text_at(body, "event") != NULL) {
        struct st_record *rec = st_find(m, ST_EVENT, st_text_at(body, "event"));
        if (rec == NULL)
            return "no such event";
        send_by_hand(&ch, body, &jobs, rec);
    } else {
        const json_t *events = json_object_get(body, "events");
        for (size_t i = 0; i < json_array_size(events); i++) {
            const json_t *one = json_array_get(events, i);
            const char *type = st_text_at(one, "type");
            json_t *obj = st_at(one, "object");
            if (obj == NULL)
                obj = st_at(one, "data.object");
            struct st_record *rec =
                st_event(&ch, type != NULL ? type : "customer.updated", NULL,
                         obj != NULL ? json_deep_copy(obj) : json_object(), NULL);
            json_t *sparse = st_load(rec);
            const char *key = NULL;
            json_t *value = NULL;
            json_object_foreach((json_t *)(uintptr_t)one, key, value)
            {
                if (strcmp(key, "object") != 0 && strcmp(key, "id") != 0 &&
                    !(strcmp(key, "data") == 0 && obj != NULL))
                    json_object_set(sparse, key, value);
            }
            st_save(m, rec, sparse);
            send_by_hand(&ch, body, &jobs, rec);
        }
    }
    send_all(&ch, &jobs);
    free(ch.events);
    return NULL;
}
