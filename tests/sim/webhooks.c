/*
 * The webhook sender: deliveries with delay, retries, a bound on what is in flight per group,
 * and a log of every attempt. libcurl sends, under the one libuv loop. What is signed and how
 * is the provider's business (render()).
 */
#include "internal.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct delivery {
    struct delivery *next; /* of all */
    struct delivery *prev;
    struct delivery *ready_next; /* of its group's queue */
    struct webhooks *w;
    struct sim_delivery d; /* its texts are the three below */
    char *account;
    char *url;
    int64_t *waits_ms;
    struct group *group;
    uv_timer_t timer;
    int attempt;
    CURL *curl;
    struct curl_slist *headers;
    struct sim_buf body;
    int64_t started_us;
    int64_t started_at_ms;
};

struct group {
    char *name;
    int in_flight;
    int max_inflight;
    struct delivery *first;
    struct delivery *last;
    UT_hash_handle hh;
};

struct waiter {
    struct waiter *next;
    struct webhooks *w;
    struct sim_request *r;
    uv_timer_t timer;
};

struct webhooks {
    struct sim *sim;
    CURLM *multi;
    uv_timer_t curl_timer;
    struct delivery *all;
    struct group *groups;
    struct waiter *waiters;
    json_t *log;
    int64_t attempts;
    int64_t pending;
    double retry_factor;
    int64_t max_retries; /* -1 = as the schedule says */
    bool stopped;
};

struct socket_watch {
    uv_poll_t poll;
    struct webhooks *w;
    curl_socket_t fd;
};

static void start_ready(struct group *g);
static void check_done(struct webhooks *w);

static void free_on_close(uv_handle_t *h)
{
    free(h->data);
}

/* ---- libcurl under libuv ---- */

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct socket_watch *sw = p->data;
    struct webhooks *w = sw->w;
    int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
                (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0) |
                (status < 0 ? CURL_CSELECT_ERR : 0);
    int running = 0;
    (void)curl_multi_socket_action(w->multi, sw->fd, flags, &running);
    check_done(w);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy;
    struct webhooks *w = arg;
    struct socket_watch *sw = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (sw != NULL) {
            (void)uv_poll_stop(&sw->poll); /* before curl closes the socket */
            uv_close((uv_handle_t *)&sw->poll, free_on_close);
            (void)curl_multi_assign(w->multi, fd, NULL);
        }
        return 0;
    }
    if (sw == NULL) {
        sw = sim_calloc(1, sizeof *sw);
        sw->w = w;
        sw->fd = fd;
        (void)uv_poll_init_socket(&w->sim->loop, &sw->poll, fd);
        sw->poll.data = sw;
        (void)curl_multi_assign(w->multi, fd, sw);
    }
    int events =
        (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    (void)uv_poll_start(&sw->poll, events, on_poll);
    return 0;
}

static void on_curl_timer(uv_timer_t *t)
{
    struct webhooks *w = t->data;
    int running = 0;
    (void)curl_multi_socket_action(w->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    check_done(w);
}

static int on_timer_wanted(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    struct webhooks *w = arg;
    if (ms < 0) {
        (void)uv_timer_stop(&w->curl_timer);
    } else if (!w->stopped) {
        (void)uv_timer_start(&w->curl_timer, on_curl_timer, (uint64_t)ms, 0);
    }
    return 0;
}

static size_t drop_body(char *p, size_t size, size_t n, void *arg)
{
    (void)p;
    (void)arg;
    return size * n;
}

/* ---- one delivery ---- */

static void answer_waiters(struct webhooks *w, bool all)
{
    while (w->waiters != NULL && (all || w->pending == 0)) {
        struct waiter *x = w->waiters;
        w->waiters = x->next;
        sim_answer_json(x->r, w->pending == 0 ? 200 : 408,
                        json_pack("{s:I}", "pending", (json_int_t)w->pending), 0);
        sim_request_finish(x->r);
        uv_close((uv_handle_t *)&x->timer, free_on_close);
    }
}

static void delivery_end(struct delivery *d)
{
    struct webhooks *w = d->w;
    if (d->prev != NULL) {
        d->prev->next = d->next;
    } else {
        w->all = d->next;
    }
    if (d->next != NULL) {
        d->next->prev = d->prev;
    }
    if (d->d.free_ctx != NULL) {
        d->d.free_ctx(d->d.ctx);
    }
    free(d->account);
    free(d->url);
    free(d->waits_ms);
    sim_buf_free(&d->body);
    w->pending--;
    uv_close((uv_handle_t *)&d->timer, free_on_close);
    answer_waiters(w, false);
}

static void on_due(uv_timer_t *t)
{
    struct delivery *d = t->data;
    struct group *g = d->group;
    d->ready_next = NULL;
    if (g->last != NULL) {
        g->last->ready_next = d;
    } else {
        g->first = d;
    }
    g->last = d;
    start_ready(g);
}

static struct curl_slist *header_list(const struct sim_buf *lines)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    char *save = NULL;
    char *text = lines->p != NULL ? lines->p : NULL;
    for (char *line = text != NULL ? strtok_r(text, "\n", &save) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        list = curl_slist_append(list, line);
    }
    return list;
}

static void send_now(struct delivery *d)
{
    struct webhooks *w = d->w;
    struct sim_buf headers = {0};
    d->body.len = 0;
    sim_buf_adds(&d->body, "");
    d->d.render(w->sim, d->d.ctx, d->attempt, &headers, &d->body);
    d->headers = header_list(&headers);
    sim_buf_free(&headers);
    d->started_us = sim_mono_us();
    d->started_at_ms = sim_now_ms(w->sim);
    d->curl = curl_easy_init();
    (void)curl_easy_setopt(d->curl, CURLOPT_URL, d->d.url);
    (void)curl_easy_setopt(d->curl, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(d->curl, CURLOPT_POSTFIELDS, d->body.p);
    (void)curl_easy_setopt(d->curl, CURLOPT_POSTFIELDSIZE, (long)d->body.len);
    (void)curl_easy_setopt(d->curl, CURLOPT_HTTPHEADER, d->headers);
    (void)curl_easy_setopt(d->curl, CURLOPT_TIMEOUT_MS, (long)d->d.timeout_ms);
    (void)curl_easy_setopt(d->curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(d->curl, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(d->curl, CURLOPT_SSL_VERIFYPEER, 0L); /* tests sign their own */
    (void)curl_easy_setopt(d->curl, CURLOPT_WRITEFUNCTION, drop_body);
    (void)curl_easy_setopt(d->curl, CURLOPT_PRIVATE, d);
    (void)curl_multi_add_handle(w->multi, d->curl);
}

static void start_ready(struct group *g)
{
    while (g->first != NULL && (g->max_inflight <= 0 || g->in_flight < g->max_inflight)) {
        struct delivery *d = g->first;
        g->first = d->ready_next;
        if (g->first == NULL) {
            g->last = NULL;
        }
        if (d->d.wanted != NULL && !d->d.wanted(d->w->sim, d->d.ctx)) {
            delivery_end(d);
            continue;
        }
        g->in_flight++;
        send_now(d);
    }
}

static int64_t wait_before(const struct delivery *d, int next_attempt)
{
    struct webhooks *w = d->w;
    int64_t retries = (int64_t)d->d.retry_count;
    if (w->max_retries >= 0) {
        retries = w->max_retries;
    }
    if (next_attempt > retries || d->d.retry_count == 0) {
        return -1;
    }
    size_t i = (size_t)next_attempt - 1;
    if (i >= d->d.retry_count) {
        i = d->d.retry_count - 1;
    }
    /* Up to a tenth more, so that retries of one burst do not march in step. */
    double ms = (double)d->d.retry_ms[i] * w->retry_factor;
    return (int64_t)ms + (int64_t)sim_rand_below(w->sim, (uint64_t)(ms / 10) + 1);
}

static void finished(struct delivery *d, int status)
{
    struct webhooks *w = d->w;
    (void)curl_multi_remove_handle(w->multi, d->curl);
    curl_easy_cleanup(d->curl);
    curl_slist_free_all(d->headers);
    d->curl = NULL;
    d->headers = NULL;
    d->group->in_flight--;

    bool ok = status >= 200 && status < 300;
    int64_t wait_ms = ok ? -1 : wait_before(d, d->attempt + 1);
    (void)json_array_append_new(
        w->log, json_pack("{s:I, s:s, s:s, s:s, s:i, s:I, s:i, s:I, s:I, s:b}", "n",
                          (json_int_t)++w->attempts, "provider",
                          d->d.provider == SIM_HUBSPOT ? "hubspot" : "stripe", "account",
                          d->d.account, "url", d->d.url, "attempt", d->attempt, "at_ms",
                          (json_int_t)d->started_at_ms, "status", status, "duration_ms",
                          (json_int_t)((sim_mono_us() - d->started_us) / 1000), "bytes",
                          (json_int_t)d->body.len, "last", wait_ms < 0));
    if (d->d.answered != NULL) {
        d->d.answered(w->sim, d->d.ctx, d->attempt, status, wait_ms < 0);
    }
    struct group *g = d->group;
    if (wait_ms < 0) {
        delivery_end(d);
    } else {
        d->attempt++;
        (void)uv_timer_start(&d->timer, on_due, (uint64_t)wait_ms, 0);
    }
    start_ready(g);
}

static void check_done(struct webhooks *w)
{
    int left = 0;
    CURLMsg *m = NULL;
    while (!w->stopped && (m = curl_multi_info_read(w->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE) {
            continue;
        }
        char *p = NULL;
        long status = 0;
        CURLcode rc = m->data.result;
        (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p);
        (void)curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        finished((struct delivery *)(void *)p, rc == CURLE_OK ? (int)status : 0);
    }
}

void sim_webhook_send(struct sim *s, const struct sim_delivery *what)
{
    struct webhooks *w = s->webhooks;
    struct delivery *d = sim_calloc(1, sizeof *d);
    d->w = w;
    d->d = *what;
    d->account = sim_strdup(what->account);
    d->url = sim_strdup(what->url);
    d->d.account = d->account;
    d->d.url = d->url;
    int64_t *waits = sim_calloc(what->retry_count, sizeof *waits);
    d->waits_ms = waits;
    if (what->retry_count > 0) {
        memcpy(waits, what->retry_ms, what->retry_count * sizeof *waits);
    }
    d->d.retry_ms = waits;
    const char *name = what->group != NULL ? what->group : "";
    HASH_FIND_STR(w->groups, name, d->group);
    if (d->group == NULL) {
        d->group = sim_calloc(1, sizeof *d->group);
        d->group->name = sim_strdup(name);
        HASH_ADD_KEYPTR(hh, w->groups, d->group->name, strlen(name), d->group);
    }
    d->group->max_inflight = what->max_inflight;
    d->next = w->all;
    if (d->next != NULL) {
        d->next->prev = d;
    }
    w->all = d;
    w->pending++;
    (void)uv_timer_init(&s->loop, &d->timer);
    d->timer.data = d;
    (void)uv_timer_start(&d->timer, on_due, what->delay_ms > 0 ? (uint64_t)what->delay_ms : 0,
                         0);
}

void sim_notify_parse(struct sim_notify *n, const json_t *body)
{
    *n = (struct sim_notify){.notify = true, .count = 1};
    const json_t *v = json_object_get(body, "notify");
    n->notify = v == NULL || json_is_true(v);
    v = json_object_get(body, "count");
    if (json_is_integer(v)) {
        n->count = (int)json_integer_value(v);
    }
    n->shuffle = json_is_true(json_object_get(body, "shuffle"));
    n->same_second = json_is_true(json_object_get(body, "same_second"));
    n->delay_ms = (int64_t)json_integer_value(json_object_get(body, "delay_ms"));
}

/* ---- life and control ---- */

struct webhooks *webhooks_new(struct sim *s)
{
    struct webhooks *w = sim_calloc(1, sizeof *w);
    w->sim = s;
    w->retry_factor = 1;
    w->max_retries = -1;
    w->log = json_array();
    w->multi = curl_multi_init();
    (void)curl_multi_setopt(w->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(w->multi, CURLMOPT_SOCKETDATA, w);
    (void)curl_multi_setopt(w->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    (void)curl_multi_setopt(w->multi, CURLMOPT_TIMERDATA, w);
    (void)uv_timer_init(&s->loop, &w->curl_timer);
    w->curl_timer.data = w;
    return w;
}

/* Forget everything pending. */
static void drop_all(struct webhooks *w)
{
    struct group *g = NULL;
    struct group *next = NULL;
    HASH_ITER(hh, w->groups, g, next)
    {
        g->first = NULL;
        g->last = NULL;
        g->in_flight = 0;
    }
    while (w->all != NULL) {
        struct delivery *d = w->all;
        if (d->curl != NULL) {
            (void)curl_multi_remove_handle(w->multi, d->curl);
            curl_easy_cleanup(d->curl);
            curl_slist_free_all(d->headers);
            d->curl = NULL;
        }
        delivery_end(d);
    }
}

void webhooks_stop(struct webhooks *w)
{
    drop_all(w);
    answer_waiters(w, true);
    w->stopped = true;
    (void)curl_multi_cleanup(w->multi);
    w->multi = NULL;
    uv_close((uv_handle_t *)&w->curl_timer, NULL);
}

void webhooks_free(struct webhooks *w)
{
    struct group *g = NULL;
    struct group *next = NULL;
    g = w->groups;
    HASH_CLEAR(hh, w->groups); /* the elements keep their chain */
    for (; g != NULL; g = next) {
        next = g->hh.next;
        free(g->name);
        free(g);
    }
    json_decref(w->log);
    free(w);
}

static void on_flush_deadline(uv_timer_t *t)
{
    struct waiter *x = t->data;
    for (struct waiter **at = &x->w->waiters; *at != NULL; at = &(*at)->next) {
        if (*at == x) {
            *at = x->next;
            break;
        }
    }
    sim_answer_json(x->r, 408, json_pack("{s:I}", "pending", (json_int_t)x->w->pending), 0);
    sim_request_finish(x->r);
    uv_close((uv_handle_t *)t, free_on_close);
}

static void flush(struct sim_request *r, json_t *body)
{
    struct webhooks *w = r->sim->webhooks;
    if (w->pending == 0) {
        sim_answer_json(r, 200, json_pack("{s:i}", "pending", 0), 0);
        return;
    }
    const json_t *v = json_object_get(body, "deadline_ms");
    struct waiter *x = sim_calloc(1, sizeof *x);
    x->w = w;
    x->r = r;
    x->next = w->waiters;
    w->waiters = x;
    r->deferred = true;
    (void)uv_timer_init(&w->sim->loop, &x->timer);
    x->timer.data = x;
    (void)uv_timer_start(&x->timer, on_flush_deadline,
                         v != NULL ? (uint64_t)json_integer_value(v) : 10000, 0);
}

static void configure(struct sim_request *r, json_t *body)
{
    struct webhooks *w = r->sim->webhooks;
    const char *bad = NULL;
    json_t *v = json_object_get(body, "hubspot");
    if (v != NULL) {
        bad = sim_hubspot_webhook_config(r->sim, v);
    }
    v = json_object_get(body, "stripe");
    if (bad == NULL && v != NULL) {
        bad = sim_stripe_webhook_config(r->sim, v);
    }
    if (bad != NULL) {
        sim_answer_error(r, 400, "%s", bad);
        return;
    }
    v = json_object_get(body, "retry_factor");
    if (json_is_number(v)) {
        w->retry_factor = json_number_value(v);
    }
    v = json_object_get(body, "max_retries");
    if (json_is_integer(v)) {
        w->max_retries = json_integer_value(v);
    }
    sim_answer_json(r, 200,
                    json_pack("{s:f, s:I}", "retry_factor", w->retry_factor, "max_retries",
                              (json_int_t)w->max_retries),
                    0);
}

static void show_log(struct sim_request *r)
{
    struct webhooks *w = r->sim->webhooks;
    const char *since = sim_param(&r->query, "since", 0);
    json_int_t after = since != NULL ? strtoll(since, NULL, 10) : 0;
    json_t *out = json_array();
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(w->log, i, v)
    {
        if (json_integer_value(json_object_get(v, "n")) > after) {
            (void)json_array_append(out, v);
        }
    }
    sim_answer_json(
        r, 200, json_pack("{s:o, s:I}", "attempts", out, "pending", (json_int_t)w->pending), 0);
}

void webhooks_control(struct sim_request *r, const char *tail, json_t *body)
{
    struct webhooks *w = r->sim->webhooks;
    if (strcmp(tail, "/log") == 0) {
        if (strcmp(r->method, "DELETE") == 0) {
            (void)json_array_clear(w->log);
        }
        show_log(r);
    } else if (strcmp(tail, "/flush") == 0) {
        flush(r, body);
    } else if (strcmp(tail, "/drop") == 0) {
        drop_all(w);
        sim_answer_json(r, 200, json_pack("{s:b}", "ok", 1), 0);
    } else if (strcmp(tail, "/config") == 0) {
        configure(r, body);
    } else if (strcmp(tail, "/send") == 0) {
        const char *p = json_string_value(json_object_get(body, "provider"));
        bool stripe = p != NULL && strcmp(p, "stripe") == 0;
        const char *bad = stripe ? sim_stripe_webhook_send(r->sim, body)
                                 : sim_hubspot_webhook_send(r->sim, body);
        if (bad != NULL) {
            sim_answer_error(r, 400, "%s", bad);
        } else {
            sim_answer_json(r, 200, json_pack("{s:I}", "pending", (json_int_t)w->pending), 0);
        }
    } else {
        sim_answer_error(r, 404, "webhooks/config, send, log, flush or drop");
    }
}
