/* pivotal-sync-webhook-gw: takes the providers' deliveries. See DESIGN.md. */
#include "common/metrics_server.h"
#include "common/proc.h"
#include "common/task.h"
#include "common/trim.h"
#include "core/app.h"
#include "webhook-gw/hook.h"
#include "webhook-gw/refused.h"
#include "webhook-gw/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DRAIN_MS = 25 * 1000,
    DRAIN_MAX_MS = 30 * 1000,
    CONNECTIONS_MAX = 8192, /* strangers may hold thousands of them open and say nothing */
    HEADER_MAX_BYTES = 10 * 1024, /* each connection holds that much */
    OPEN_FILES = CONNECTIONS_MAX + 1024,
    OWN_FILES = 256, /* kept for PostgreSQL, Redis, logs */
    ENDING_POLL_MS = 20,
    WATCH_MS = 1000,
    EXIT_CONFIG = 10,
};

struct gateway {
    struct app app;
    struct config *reloaded; /* of the last SIGHUP; the app keeps the first one */
    struct metrics *metrics;
    struct metric *connections, *body_bytes, *known, *clocks;
    struct proc *proc;
    struct routes *routes;
    struct hooks *hooks;
    struct http_server *server;
    struct metrics_server *metrics_server;
    struct net_list trusted;
    struct refused refused;
    int connections_max;
    uv_timer_t ending;
    uv_timer_t watch; /* looks what was refused */
};

/* ---- what the listener offers ---- */

static int readiness(void *arg, struct readiness_check *checks)
{
    const struct gateway *g = arg;
    const char *reason = "";
    int n = 0;
    checks[n] = (struct readiness_check){.name = "redis", .needed = true};
    checks[n].ok = routes_redis_ok(g->routes, &reason);
    (void)snprintf(checks[n].reason, sizeof checks[n].reason, "%s", reason);
    n++;
    checks[n] = (struct readiness_check){.name = "routes", .needed = true};
    checks[n].ok = routes_loaded(g->routes);
    (void)snprintf(checks[n].reason, sizeof checks[n].reason,
                   "%d connections, read %lld ms ago", routes_count(g->routes),
                   (long long)routes_age_ms(g->routes));
    n++;
    checks[n] = (struct readiness_check){.name = "postgres", .needed = false};
    checks[n].ok = routes_postgres_ok(g->routes, &reason);
    (void)snprintf(checks[n].reason, sizeof checks[n].reason, "%s", reason);
    n++;
    checks[n] = (struct readiness_check){.name = "clocks", .needed = false};
    checks[n].ok = routes_clocks_ok(g->routes, &reason);
    (void)snprintf(checks[n].reason, sizeof checks[n].reason, "%s", reason);
    n++;
    checks[n] = (struct readiness_check){.name = "serving", .needed = true};
    checks[n].ok = !proc_draining(g->proc);
    (void)snprintf(checks[n].reason, sizeof checks[n].reason, "%s",
                   checks[n].ok ? "" : "the program is ending");
    return n + 1;
}

static void handle_hook(struct http_exchange *x, void *arg)
{
    struct gateway *g = arg;
    hooks_handle(g->hooks, x);
}

static void handle_readyz(struct http_exchange *x, void *arg)
{
    readiness_answer(x, readiness, arg);
}

static const struct http_route gateway_routes[] = {
    {"POST", "/webhooks/{provider}", handle_hook},
    {"POST", "/webhooks/{provider}/{connection_id}", handle_hook},
    {"GET", "/livez", http_answer_livez},
    {"GET", "/readyz", handle_readyz},
    {0}};

/* ---- the end ---- */

static void close_ending(struct gateway *g)
{
    uv_close((uv_handle_t *)&g->ending, NULL);
    uv_close((uv_handle_t *)&g->watch, NULL);
    metrics_server_free(g->metrics_server);
    g->metrics_server = NULL;
    proc_free(g->proc);
    g->proc = NULL;
}

/* The listener is gone; what still waits for Redis or PostgreSQL has deadlines of its own. */
static void on_ending(uv_timer_t *timer)
{
    struct gateway *g = timer->data;
    if (routes_stopped(g->routes) && hooks_in_flight(g->hooks) == 0) {
        uv_stop(g->app.loop);
        close_ending(g);
    }
}

static void on_server_stopped(void *arg)
{
    struct gateway *g = arg;
    http_server_free(g->server);
    g->server = NULL;
    routes_stop(g->routes);
    (void)uv_timer_start(&g->ending, on_ending, 0, ENDING_POLL_MS);
}

static void on_drain(void *arg)
{
    struct gateway *g = arg;
    log_info(g->app.log, "program.stopping", "finishing %d deliveries",
             hooks_in_flight(g->hooks));
    proc_notify_stopping();
    http_server_stop(g->server, DRAIN_MS, on_server_stopped, g);
}

static void on_reload(void *arg)
{
    struct gateway *g = arg;
    struct err err = {0};
    struct config *fresh = config_reload(g->app.config, &err);
    if (fresh == NULL || config_problem_count(fresh) > 0 ||
        hooks_reload(g->hooks, fresh, &err) != 0) {
        log_error(g->app.log, "config.reload.failed", "settings stay as they were: %s",
                  err.code != ERR_NONE ? err.msg
                  : fresh != NULL      ? config_problem(fresh, 0)
                                       : "out of memory");
        config_free(fresh);
        return;
    }
    config_free(g->reloaded);
    g->reloaded = fresh;
    log_info(g->app.log, "config.reloaded", "settings read anew");
}

/* ---- the start ---- */

static void on_watch(uv_timer_t *timer)
{
    struct gateway *g = timer->data;
    struct http_server_counts counts;
    if (g->server != NULL) {
        http_server_counts(g->server, &counts);
        refused_tell(&g->refused, &counts, g->app.log);
    }
}

static void refresh_figures(void *arg)
{
    struct gateway *g = arg;
    struct http_server_counts counts;
    if (g->server != NULL) {
        http_server_counts(g->server, &counts);
        metric_set(g->connections, (double)counts.connections);
        metric_set(g->body_bytes, (double)counts.body_bytes);
        refused_count(&g->refused, &counts);
    }
    metric_set(g->known, routes_count(g->routes));
    int64_t apart_ms = routes_clocks_apart_ms(g->routes);
    if (apart_ms >= 0) {
        metric_set(g->clocks, (double)apart_ms / 1000);
    } else {
        metric_unset(g->clocks);
    }
}

static struct metric *gauge(struct gateway *g, const char *name, const char *help)
{
    return metric_plain(metrics_family(g->metrics, METRIC_GAUGE, name, "", help));
}

static int open_metrics(struct gateway *g, struct err *err)
{
    g->metrics = metrics_new(PIVOTAL_SYNC_VERSION, err);
    if (g->metrics == NULL) {
        return -1;
    }
    g->connections =
        gauge(g, "webhook_connections", "Open connections of the webhook listener");
    g->body_bytes = gauge(g, "webhook_body_bytes", "Bytes of bodies held now");
    g->known = gauge(g, "webhook_routes", "Connections the gateway knows");
    g->clocks =
        gauge(g, "clocks_apart_seconds",
              "Between those two of our, Redis' and PostgreSQL's clock that differ most");
    refused_open(&g->refused, g->metrics);
    return metrics_on_write(g->metrics, refresh_figures, g);
}

static int open_listener(struct gateway *g, struct err *err)
{
    const struct config *c = g->app.config;
    struct http_server_options o = {
        .listen = config_text(c, SETTING_WEBHOOK_LISTEN),
        .listen_fd = http_listen_passed(0),
        .routes = gateway_routes,
        .arg = g,
        .body_max_bytes = (size_t)config_int(c, SETTING_WEBHOOK_MAX_BODY_BYTES),
        .bodies_max_bytes = (size_t)config_int(c, SETTING_WEBHOOK_BUFFER_MAX_BYTES),
        .header_max_bytes = HEADER_MAX_BYTES,
        .connections_max = g->connections_max,
        .trusted_proxies = &g->trusted,
    };
    if (net_list_parse(config_text(c, SETTING_TRUSTED_PROXIES), &g->trusted, err) != 0) {
        err_wrap(err, "TRUSTED_PROXIES");
        return -1;
    }
    g->server = http_server_new(g->app.loop, &o, err);
    return g->server != NULL ? 0 : -1;
}

static int open_metrics_listener(struct gateway *g, struct err *err)
{
    const char *where = config_text(g->app.config, SETTING_METRICS_LISTEN);
    if (where[0] == '\0' || strcmp(where, "off") == 0) {
        return 0;
    }
    g->metrics_server = metrics_server_new(g->app.loop, where, "pivotal-sync-webhook-gw",
                                           g->metrics, readiness, g, err);
    return g->metrics_server != NULL ? 0 : -1;
}

static int open_judges(struct gateway *g, struct err *err)
{
    const struct routes_options ro = {.loop = g->app.loop,
                                      .store = g->app.store,
                                      .seal = g->app.seal,
                                      .queue = g->app.queue,
                                      .log = g->app.log};
    g->routes = routes_new(&ro, err);
    if (g->routes == NULL) {
        return -1;
    }
    const struct hooks_options ho = {.queue = g->app.queue,
                                     .routes = g->routes,
                                     .metrics = g->metrics,
                                     .log = g->app.log,
                                     .config = g->app.config};
    g->hooks = hooks_new(&ho, err);
    return g->hooks != NULL ? 0 : -1;
}

/* Everything that can fail at the start for a reason that a person must mend. */
static int gateway_open(struct gateway *g, struct config *config, struct err *err)
{
    const struct proc_options po = {
        .arg = g, .drain = on_drain, .reload = on_reload, .drain_max_ms = DRAIN_MAX_MS};
    if (app_open(&g->app, "webhook-gw", uv_default_loop(), config,
                 APP_STORE | APP_QUEUE | APP_SEAL | APP_QUICK, err) != 0 ||
        open_metrics(g, err) != 0 || open_listener(g, err) != 0 || open_judges(g, err) != 0 ||
        open_metrics_listener(g, err) != 0) {
        return -1;
    }
    g->proc = proc_new(g->app.loop, &po, err);
    (void)uv_timer_init(g->app.loop, &g->ending);
    g->ending.data = g;
    (void)uv_timer_init(g->app.loop, &g->watch);
    g->watch.data = g;
    (void)uv_timer_start(&g->watch, on_watch, WATCH_MS, WATCH_MS);
    return g->proc != NULL ? 0 : -1;
}

/* What is looked at once, when Redis can be asked. */
static void after_start(void *arg)
{
    struct gateway *g = arg;
    struct err err = {0};
    struct buf warnings;
    buf_init(&warnings, 4096);
    if (queue_check_durability(g->app.queue, &warnings, &err) == 0) {
        for (const char *line = buf_text(&warnings); *line != '\0';) {
            size_t len = strcspn(line, "\n");
            log_warn(g->app.log, "redis.weaker", "%.*s", (int)len, line);
            line += len + (line[len] == '\n');
        }
    }
    buf_release(&warnings);
    trim_after_start();
}

static void gateway_close(struct gateway *g)
{
    hooks_free(g->hooks);
    routes_free(g->routes);
    metrics_free(g->metrics);
    config_free(g->reloaded);
    app_close(&g->app);
    (void)uv_run(uv_default_loop(), UV_RUN_DEFAULT); /* the handles close */
    task_cleanup();
    (void)uv_loop_close(uv_default_loop());
}

int main(int argc, char **argv)
{
    static const struct config_program program = {
        .bit = CONFIG_GATEWAY,
        .name = "pivotal-sync-webhook-gw",
        .version = PIVOTAL_SYNC_VERSION,
        .about = "Takes webhook deliveries of HubSpot and Stripe and queues what they touched.",
    };
    struct gateway g = {0};
    struct config *config = NULL;
    struct err err = {0};
    int code = config_start(argc, argv, &program, &config);
    if (code >= 0) {
        return code;
    }
    proc_protect_memory();
    int64_t connections = proc_open_files(OPEN_FILES) - OWN_FILES;
    g.connections_max = connections >= CONNECTIONS_MAX ? CONNECTIONS_MAX
                        : connections > OWN_FILES      ? (int)connections
                                                       : OWN_FILES;
    if (gateway_open(&g, config, &err) != 0) {
        (void)fprintf(stderr, "pivotal-sync-webhook-gw: %s\n", err.msg);
        return err.code == ERR_CONFIG ? EXIT_CONFIG : EXIT_FAILURE;
    }
    log_info(g.app.log, "program.started", "listening on port %d%s", http_server_port(g.server),
             http_listen_passed(0) != 0 ? " (passed in)" : "");
    if (task_start(g.app.loop, "after start", after_start, &g, &err) != 0) {
        log_warn(g.app.log, "redis.unchecked", "%s", err.msg);
    }
    proc_notify_ready();
    (void)uv_run(g.app.loop, UV_RUN_DEFAULT);
    log_info(g.app.log, "program.stopped", "ended in order");
    gateway_close(&g);
    return EXIT_SUCCESS;
}
