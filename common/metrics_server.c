/* Apart from the program's own listener, so that a public port never shows figures. */
#include "common/metrics_server.h"

#include "common/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEXT_MAX_BYTES = 4 * 1024 * 1024,
    READINESS_MAX_BYTES = 4096,
    CONNECTIONS_MAX = 16,
    LISTEN_MAX_BYTES = 256,
};

struct metrics_server {
    struct http_server *server;
    struct metrics *metrics;
    readiness_fn *readiness;
    void *arg;
};

static void add_check(struct buf *out, const struct readiness_check *c, bool stranger)
{
    const char *reason = stranger ? "" : c->reason;
    (void)json_add_text(out, (struct slice){c->name, strlen(c->name)});
    (void)buf_printf(out, ":{\"ok\":%s,\"needed\":%s,\"reason\":", c->ok ? "true" : "false",
                     c->needed ? "true" : "false");
    (void)json_add_text(out, (struct slice){reason, strlen(reason)});
    (void)buf_add_char(out, '}');
}

static void readiness_say(struct http_exchange *x, readiness_fn *fn, void *arg, bool stranger)
{
    struct readiness_check checks[READINESS_CHECKS_MAX];
    struct buf text;
    char verbose[8];
    bool ready = true;
    memset(checks, 0, sizeof checks);
    int count = fn != NULL ? fn(arg, checks) : 0;
    for (int i = 0; i < count; i++) {
        ready = ready && (checks[i].ok || !checks[i].needed);
    }
    int status = ready ? 200 : 503;
    if (http_exchange_query(x, "verbose", verbose, sizeof verbose) == NULL) {
        buf_init(&text, READINESS_MAX_BYTES);
        (void)buf_add_str(&text, ready ? "ready\n" : "not ready\n");
        for (int i = 0; i < count; i++) {
            if (!checks[i].ok && checks[i].reason[0] != '\0') {
                (void)buf_printf(&text, "%s: %s\n", checks[i].name,
                                 stranger ? "no" : checks[i].reason);
            }
        }
        http_answer_text(x, status, buf_text(&text));
        buf_release(&text);
        return;
    }
    buf_init(&text, READINESS_MAX_BYTES);
    (void)buf_printf(&text, "{\"ready\":%s,\"checks\":{", ready ? "true" : "false");
    for (int i = 0; i < count; i++) {
        (void)buf_add_str(&text, i > 0 ? "," : "");
        add_check(&text, &checks[i], stranger);
    }
    (void)buf_add_str(&text, "}}\n");
    http_answer(x, status, "application/json", buf_text(&text), text.len_bytes);
    buf_release(&text);
}

void readiness_answer(struct http_exchange *x, readiness_fn *fn, void *arg)
{
    readiness_say(x, fn, arg, http_exchange_is_stranger(x));
}

static void handle_metrics(struct http_exchange *x, void *arg)
{
    const struct metrics_server *m = arg;
    struct buf text;
    buf_init(&text, TEXT_MAX_BYTES);
    if (metrics_write(m->metrics, &text) != 0) {
        http_answer_text(x, 500, "the figures do not fit\n");
    } else {
        http_answer(x, 200, METRICS_CONTENT_TYPE, buf_text(&text), text.len_bytes);
    }
    buf_release(&text);
}

static void handle_readyz(struct http_exchange *x, void *arg)
{
    const struct metrics_server *m = arg;
    readiness_say(x, m->readiness, m->arg, false); /* an operator's listener */
}

static const struct http_route metrics_routes[] = {{"GET", "/metrics", handle_metrics},
                                                   {"GET", "/livez", http_answer_livez},
                                                   {"GET", "/readyz", handle_readyz},
                                                   {0}};

struct metrics_server *metrics_server_new(uv_loop_t *loop, const char *where,
                                          const char *program, struct metrics *metrics,
                                          readiness_fn *readiness, void *arg, struct err *err)
{
    char listen_at[LISTEN_MAX_BYTES];
    struct metrics_server *m = calloc(1, sizeof *m);
    if (m == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the metrics server");
        return NULL;
    }
    *m = (struct metrics_server){.metrics = metrics, .readiness = readiness, .arg = arg};
    bool folder = strncmp(where, "unix:", 5) != 0 && strchr(where, '/') != NULL;
    int n = folder ? snprintf(listen_at, sizeof listen_at, "unix:%s/%s.sock", where, program)
                   : snprintf(listen_at, sizeof listen_at, "%s", where);
    struct http_server_options o = {.listen = listen_at,
                                    .routes = metrics_routes,
                                    .arg = m,
                                    .connections_max = CONNECTIONS_MAX,
                                    .body_max_bytes = 1024};
    if (n < 0 || (size_t)n >= sizeof listen_at) {
        err_set(err, ERR_CONFIG, "METRICS_LISTEN '%s' is too long", where);
    } else {
        m->server = http_server_new(loop, &o, err);
    }
    if (m->server == NULL) {
        err_wrap(err, "METRICS_LISTEN");
        free(m);
        return NULL;
    }
    return m;
}

void metrics_server_free(struct metrics_server *m)
{
    if (m != NULL) {
        http_server_free(m->server);
        free(m);
    }
}
