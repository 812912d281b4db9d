/* pivotal-sync-admin: the page, its API, health and the OAuth walk. See DESIGN.md. */
#include "admin/admin.h"
#include "common/proc.h"
#include "common/task.h"
#include "common/trim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DRAIN_MS = 8 * 1000,
    DRAIN_MAX_MS = 25 * 1000,
    CONNECTIONS_MAX = 256,
    OPEN_FILES = 1024,
    ENDING_POLL_MS = 20,
    ROUTES_MAX = 96,
    EXIT_CONFIG = 10,
};

struct admin {
    struct app app;
    struct metrics *metrics;
    struct metric *connections;
    struct proc *proc;
    struct health *health;
    struct oauth_pages *oauth;
    struct sessions *sessions;
    struct api *api;
    struct events *events;
    struct http_route routes[ROUTES_MAX];
    struct http_server *server;
    struct metrics_server *metrics_server;
    struct net_list trusted;
    uv_timer_t ending;
};

/* ---- what the listener offers ---- */

static int readiness(void *arg, struct readiness_check *checks)
{
    const struct admin *a = arg;
    int n = health_checks(a->health, checks);
    checks[n] = (struct readiness_check){.name = "serving", .needed = true};
    checks[n].ok = !proc_draining(a->proc);
    (void)snprintf(checks[n].reason, sizeof checks[n].reason, "%s",
                   checks[n].ok ? "" : "the program is ending");
    return n + 1;
}

static void handle_readyz(struct http_exchange *x, void *arg)
{
    readiness_answer(x, readiness, arg);
}

static void handle_start(struct http_exchange *x, void *arg)
{
    const struct admin *a = arg;
    oauth_pages_start(a->oauth, x);
}

static void handle_callback(struct http_exchange *x, void *arg)
{
    const struct admin *a = arg;
    oauth_pages_callback(a->oauth, x);
}

static void handle_sign_in(struct http_exchange *x, void *arg)
{
    const struct admin *a = arg;
    api_sign_in(a->api, x);
}

static void handle_sign_out(struct http_exchange *x, void *arg)
{
    const struct admin *a = arg;
    api_sign_out(a->api, x);
}

static void handle_events(struct http_exchange *x, void *arg)
{
    const struct admin *a = arg;
    events_handle(a->events, x);
}

struct api *admin_api(void *arg)
{
    const struct admin *a = arg;
    return a->api;
}

static void fill_routes(struct http_route *routes)
{
    static const struct http_route ours[] = {
        {"GET", "/livez", http_answer_livez},
        {"GET", "/readyz", handle_readyz},
        {"GET", "/oauth/{provider}/start", handle_start},
        {"GET", "/oauth/{provider}/callback", handle_callback},
        {"POST", "/api/v1/session", handle_sign_in},
        {"DELETE", "/api/v1/session", handle_sign_out},
        {"GET", "/api/v1/events", handle_events},
        {"GET", "/", files_handle},
        {"GET", "/admin", files_handle},
        {"GET", "/admin/*", files_handle},
        {"GET", "/web/*", files_handle}};
    memcpy(routes, ours, sizeof ours);
    /* one is left empty: the end */
    (void)api_add_routes(routes, COUNT_OF(ours), ROUTES_MAX - 1);
}

/* ---- the end ---- */

/* Walks and looks have deadlines of their own; drain_max_ms ends what does not keep them. */
static void on_ending(uv_timer_t *timer)
{
    struct admin *a = timer->data;
    if (!health_stopped(a->health) || !events_stopped(a->events) ||
        oauth_pages_in_flight(a->oauth) > 0 || api_in_flight(a->api) > 0) {
        return;
    }
    uv_stop(a->app.loop);
    uv_close((uv_handle_t *)&a->ending, NULL);
    metrics_server_free(a->metrics_server);
    a->metrics_server = NULL;
    proc_free(a->proc);
    a->proc = NULL;
}

static void on_server_stopped(void *arg)
{
    struct admin *a = arg;
    http_server_free(a->server);
    a->server = NULL;
    health_stop(a->health);
    (void)uv_timer_start(&a->ending, on_ending, 0, ENDING_POLL_MS);
}

static void on_drain(void *arg)
{
    struct admin *a = arg;
    log_info(a->app.log, "program.stopping", "finishing %d requests",
             oauth_pages_in_flight(a->oauth) + api_in_flight(a->api));
    proc_notify_stopping();
    events_stop(a->events);
    http_server_stop(a->server, DRAIN_MS, on_server_stopped, a);
}

/* ---- the start ---- */

static void refresh_figures(void *arg)
{
    const struct admin *a = arg;
    struct http_server_counts counts;
    if (a->server != NULL) {
        http_server_counts(a->server, &counts);
        metric_set(a->connections, (double)counts.connections);
    }
}

static int open_metrics(struct admin *a, struct err *err)
{
    a->metrics = metrics_new(PIVOTAL_SYNC_VERSION, err);
    if (a->metrics == NULL) {
        return -1;
    }
    a->connections = metric_plain(metrics_family(a->metrics, METRIC_GAUGE, "admin_connections",
                                                 "", "Open connections of the admin listener"));
    return metrics_on_write(a->metrics, refresh_figures, a);
}

static int open_listener(struct admin *a, struct err *err)
{
    const struct config *c = a->app.config;
    struct http_server_options o = {
        .listen = config_text(c, SETTING_ADMIN_LISTEN),
        .listen_fd = http_listen_passed(0),
        .routes = a->routes,
        .arg = a,
        .connections_max = CONNECTIONS_MAX,
        .trusted_proxies = &a->trusted,
    };
    if (net_list_parse(config_text(c, SETTING_TRUSTED_PROXIES), &a->trusted, err) != 0) {
        err_wrap(err, "TRUSTED_PROXIES");
        return -1;
    }
    a->server = http_server_new(a->app.loop, &o, err);
    return a->server != NULL ? 0 : -1;
}

static int open_metrics_listener(struct admin *a, struct err *err)
{
    const char *where = config_text(a->app.config, SETTING_METRICS_LISTEN);
    if (where[0] == '\0' || strcmp(where, "off") == 0) {
        return 0;
    }
    a->metrics_server = metrics_server_new(a->app.loop, where, "pivotal-sync-admin", a->metrics,
                                           readiness, a, err);
    return a->metrics_server != NULL ? 0 : -1;
}

/* Everything that can fail at the start for a reason that a person must mend. */
static int admin_open(struct admin *a, struct config *config, struct err *err)
{
    const struct proc_options po = {.arg = a, .drain = on_drain, .drain_max_ms = DRAIN_MAX_MS};
    fill_routes(a->routes);
    if (app_open(&a->app, "admin", uv_default_loop(), config, APP_ALL, err) != 0 ||
        open_metrics(a, err) != 0 || open_listener(a, err) != 0) {
        return -1;
    }
    a->sessions = sessions_new(&a->app, err);
    a->api = a->sessions != NULL ? api_new(&a->app, a->sessions, err) : NULL;
    a->events = a->api != NULL ? events_new(&a->app, a->sessions, err) : NULL;
    a->oauth =
        a->events != NULL ? oauth_pages_new(&a->app, a->sessions, a->metrics, err) : NULL;
    a->health = a->oauth != NULL ? health_new(&a->app, err) : NULL;
    if (a->health == NULL || open_metrics_listener(a, err) != 0) {
        return -1;
    }
    a->proc = proc_new(a->app.loop, &po, err);
    (void)uv_timer_init(a->app.loop, &a->ending);
    a->ending.data = a;
    return a->proc != NULL ? 0 : -1;
}

static void admin_close(struct admin *a)
{
    health_free(a->health);
    oauth_pages_free(a->oauth);
    events_free(a->events);
    api_free(a->api);
    sessions_free(a->sessions);
    metrics_free(a->metrics);
    app_close(&a->app);
    (void)uv_run(uv_default_loop(), UV_RUN_DEFAULT); /* the handles close */
    task_cleanup();
    (void)uv_loop_close(uv_default_loop());
}

int main(int argc, char **argv)
{
    static const struct config_program program = {
        .bit = CONFIG_ADMIN,
        .name = "pivotal-sync-admin",
        .version = PIVOTAL_SYNC_VERSION,
        .about = "The admin page and its JSON API; signing in to HubSpot and Stripe by OAuth.",
    };
    struct admin a = {0};
    struct config *config = NULL;
    struct err err = {0};
    int code = config_start(argc, argv, &program, &config);
    if (code >= 0) {
        return code;
    }
    proc_protect_memory();
    (void)proc_open_files(OPEN_FILES);
    if (admin_open(&a, config, &err) != 0) {
        (void)fprintf(stderr, "pivotal-sync-admin: %s\n", err.msg);
        return err.code == ERR_CONFIG ? EXIT_CONFIG : EXIT_FAILURE;
    }
    log_info(a.app.log, "program.started", "listening on port %d%s", http_server_port(a.server),
             http_listen_passed(0) != 0 ? " (passed in)" : "");
    trim_after_start();
    proc_notify_ready();
    (void)uv_run(a.app.loop, UV_RUN_DEFAULT);
    log_info(a.app.log, "program.stopped", "ended in order");
    admin_close(&a);
    return EXIT_SUCCESS;
}
