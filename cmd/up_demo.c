/* The demo: two simulated accounts, connected as a person would do it - by our own commands -
 * and then changed under the eyes of the mirror. The simulator shares no code with us; it is
 * asked over HTTP like everything else. */
#include "cmd/up_priv.h"

#include "common/clock.h"
#include "core/access.h"

#include "common/banned.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SIM_READY_MS = 15000,
    BURST = 60,
    SETTLE_MS = 40000,
    STILL_MS = 8000,
    MUTATE_EVERY_MS = 2000,
    EXIT_RECORD_ERRORS = 6, /* of run-now: finished, some records with errors */
};

/* The simulator's default accounts (tests/sim/DESIGN.md). */
#define SIM_HUBSPOT_TOKEN  "pat-na1-sim-00000000-0000-0000-0000-000000000001"
#define SIM_HUBSPOT_SECRET "sim-hubspot-secret"
#define SIM_STRIPE_KEY     "rk_test_sim000000000000000000000001"
#define SIM_STRIPE_HOOK    "whsec_demo0000000000000000000000001"

struct demo {
    char program[UP_PATH_BYTES], log[UP_PATH_BYTES];
    char hubspot_token[UP_PATH_BYTES], hubspot_secret[UP_PATH_BYTES];
    char stripe_key[UP_PATH_BYTES], stripe_hook[UP_PATH_BYTES];
    const char *argv[6];
};

/* ---- before the services ---- */

static int secret_file(struct up *up, const char *name, const char *text,
                       char path[UP_PATH_BYTES], struct err *err)
{
    if (up_path(path, up->data_dir, name, err) < 0) {
        return -1;
    }
    return up_write(path, text, 0600, NULL, err);
}

/* The one line it prints when it is ready. */
static int read_bases(struct up *up, int fd, struct err *err)
{
    char line[1024];
    size_t n = 0;
    int64_t deadline = clock_mono_ms() + SIM_READY_MS;
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    for (;;) {
        ssize_t got = read(fd, line + n, sizeof line - 1 - n);
        n += got > 0 ? (size_t)got : 0;
        line[n] = '\0';
        if (strchr(line, '\n') != NULL) {
            break;
        }
        if (got == 0 || n == sizeof line - 1 || clock_mono_ms() > deadline) {
            err_set(err, ERR_UNAVAILABLE, "the simulator did not start");
            return -1;
        }
        if (up_sleep(up, 20, err) < 0) {
            return -1;
        }
    }
    json_auto_t *said = json_loads(line, 0, NULL);
    const char *hubspot = json_string_value(json_object_get(said, "hubspot"));
    const char *stripe = json_string_value(json_object_get(said, "stripe"));
    if (hubspot == NULL || stripe == NULL) {
        err_set(err, ERR_PROTOCOL, "the simulator said '%.100s'", line);
        return -1;
    }
    (void)snprintf(up->sim_hubspot, sizeof up->sim_hubspot, "%s", hubspot);
    (void)snprintf(up->sim_stripe, sizeof up->sim_stripe, "%s", stripe);
    return 0;
}

static int settings(struct up *up, const struct demo *d, struct err *err)
{
    const struct {
        const char *name, *value;
    } rows[] = {
        {"ALLOW_PRIVATE_PROVIDER_HOSTS", "on"}, {"HUBSPOT_API_BASE", up->sim_hubspot},
        {"STRIPE_API_BASE", up->sim_stripe},    {"HUBSPOT_CLIENT_ID", "sim-hubspot-client"},
        {"HUBSPOT_APP_ID", "1160452"},          {"PUBLIC_URL", up->webhook_base},
        {"ADMIN_PUBLIC_URL", up->admin_base},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (up_setting(rows[i].name, rows[i].value, err) < 0) {
            return -1;
        }
    }
    (void)unsetenv("PIVOTAL_SYNC_HUBSPOT_CLIENT_SECRET");
    return setenv("PIVOTAL_SYNC_HUBSPOT_CLIENT_SECRET_FILE", d->hubspot_secret, 1);
}

int up_demo_prepare(struct up *up, struct err *err)
{
    struct demo *d = calloc(1, sizeof *d);
    if (d == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    up->demo_process = d;
    if (up_program_path(up, "pivotal-sync-sim", d->program, err) < 0 ||
        secret_file(up, "hubspot-token", SIM_HUBSPOT_TOKEN, d->hubspot_token, err) < 0 ||
        secret_file(up, "hubspot-secret", SIM_HUBSPOT_SECRET, d->hubspot_secret, err) < 0 ||
        secret_file(up, "stripe-key", SIM_STRIPE_KEY, d->stripe_key, err) < 0 ||
        secret_file(up, "stripe-webhook-secret", SIM_STRIPE_HOOK, d->stripe_hook, err) < 0) {
        return -1;
    }
    const char *const argv[] = {d->program, "--hubspot",   "127.0.0.1:0",
                                "--stripe", "127.0.0.1:0", NULL};
    memcpy(d->argv, argv, sizeof argv);
    int fd = -1;
    struct up_child_spec spec = {.name = "simulator", .argv = d->argv, .stdout_fd = &fd};
    up->sim = up_child_start(up->children, &spec, err);
    if (up->sim == NULL) {
        return -1;
    }
    int rc = read_bases(up, fd, err);
    (void)close(fd);
    if (rc < 0 || settings(up, d, err) < 0) {
        return -1;
    }
    up_say(up, "simulator  ready   hubspot %s  stripe %s", up->sim_hubspot, up->sim_stripe);
    return 0;
}

/* ---- connecting ---- */

static int command(struct up *up, const char *const *args, struct err *err)
{
    int code = up_command(up, args, err);
    if (code > 0) {
        err_set(err, ERR_INTERNAL, "`pivotal-sync %s %s` ended with %d", args[0],
                args[1] == NULL ? "" : args[1], code);
        return -1;
    }
    return code;
}
#define COMMAND(up, err, ...) command((up), (const char *const[]){__VA_ARGS__, NULL}, (err))

static int hubspot_control(struct up *up, const char *path, json_t *body, struct err *err)
{
    json_auto_t *owned = body;
    char url[UP_URL_BYTES + 80];
    (void)snprintf(url, sizeof url, "%s/_sim/hubspot/1234567/%s", up->sim_hubspot, path);
    return up_call(up, url, owned, NULL, err);
}

/* The seeded portal has no property tier, which the default mapping takes the plan from. */
static int add_tiers(struct up *up, struct err *err)
{
    static const struct {
        int n;
        const char *tier;
    } tiers[] = {{200, "starter"}, {90, "pro"}, {30, "enterprise"}};
    if (hubspot_control(
            up, "properties/companies",
            json_pack("{s:s, s:s, s:s}", "name", "tier", "type", "string", "fieldType", "text"),
            err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < COUNT_OF(tiers); i++) {
        if (hubspot_control(up, "companies/bulk",
                            json_pack("{s:i, s:{s:s}, s:b}", "n", tiers[i].n, "properties",
                                      "tier", tiers[i].tier, "notify", 0),
                            err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int connect_providers(struct up *up, const struct demo *d, struct err *err)
{
    if (add_tiers(up, err) < 0 ||
        COMMAND(up, err, "workspace", "add", "demo", "--currency", "usd", "--plans",
                "starter,pro,enterprise") < 0 ||
        COMMAND(up, err, "connection", "connect", "hubspot", "-w", "demo", "--token-file",
                d->hubspot_token) < 0 ||
        COMMAND(up, err, "scope", "set", "hubspot", "list", "42", "-w", "demo") < 0 ||
        COMMAND(up, err, "connection", "connect", "stripe", "-w", "demo", "--token-file",
                d->stripe_key, "--webhook-secret-file", d->stripe_hook) < 0) {
        return -1;
    }
    return 0;
}

/* Where the simulator sends its deliveries. */
static int configure_webhooks(struct up *up, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    char hubspot[UP_URL_BYTES + 40];
    char stripe[UP_URL_BYTES + 40];
    char url[UP_URL_BYTES + 40];
    if (store_query(up->store,
                    "SELECT connection_id FROM psync.connection WHERE provider = 'stripe'",
                    NULL, &r, err) < 0) {
        return -1;
    }
    (void)snprintf(hubspot, sizeof hubspot, "%s/webhooks/hubspot", up->webhook_base);
    (void)snprintf(stripe, sizeof stripe, "%s/webhooks/stripe/%s", up->webhook_base,
                   rows_text(r, 0, 0));
    (void)snprintf(url, sizeof url, "%s/_sim/webhooks/config", up->sim_hubspot);
    json_auto_t *body =
        json_pack("{s:{s:s, s:s, s:s}, s:{s:s, s:[s], s:s}, s:f}", "hubspot", "url", hubspot,
                  "client_secret", SIM_HUBSPOT_SECRET, "app_id", "1160452", "stripe", "url",
                  stripe, "secrets", SIM_STRIPE_HOOK, "api_version",
                  config_text(up->config, SETTING_STRIPE_API_VERSION), "retry_factor", 0.001);
    return up_call(up, url, body, NULL, err);
}

static int full_syncs(struct up *up, struct err *err)
{
    static const char *const which[] = {"hubspot", "stripe"};
    for (size_t i = 0; i < COUNT_OF(which); i++) {
        const char *const args[] = {"run-now", which[i], "-w", "demo", "--wait", NULL};
        int code = up_command(up, args, err);
        if (code < 0) {
            return -1;
        }
        if (code != 0 && code != EXIT_RECORD_ERRORS) {
            err_set(err, ERR_INTERNAL, "the full sync of %s ended with %d", which[i], code);
            return -1;
        }
    }
    return 0;
}

static int mutate(struct up *up, int n, struct err *err)
{
    char url[UP_URL_BYTES + 40];
    (void)snprintf(url, sizeof url, "%s/_sim/mutate", up->sim_hubspot);
    json_auto_t *body = json_pack("{s:i}", "n", n);
    return up_call(up, url, body, NULL, err);
}

/* ---- --once ---- */

/* Compare until equal, at most settle_ms; or until nothing has moved for a while: what is left
 * then no webhook tells. */
static int settle(struct up *up, int64_t settle_ms, struct up_comparison *c, struct err *err)
{
    int64_t deadline = clock_mono_ms() + settle_ms;
    int64_t moved_at = clock_mono_ms();
    int before = -1;
    for (;;) {
        buf_release(&c->report);
        if (up_compare(up, c, err) < 0) {
            return -1;
        }
        int64_t now = clock_mono_ms();
        moved_at = c->differences == before ? moved_at : now;
        before = c->differences;
        if (before == 0 || now > deadline || now - moved_at > STILL_MS) {
            return 0;
        }
        if (up_sleep(up, 500, err) < 0) {
            return -1;
        }
    }
}

static void print_comparison(const char *when, const struct up_comparison *c)
{
    (void)printf("%s: %d companies, %d contacts, %d customers, %d Stripe objects compared, "
                 "%d differences\n%s",
                 when, c->companies, c->contacts, c->customers, c->stripe_objects,
                 c->differences, buf_text(&c->report));
    (void)fflush(stdout);
}

static int burst(struct up *up, struct err *err)
{
    char url[UP_URL_BYTES + 40];
    (void)snprintf(url, sizeof url, "%s/_sim/webhooks/flush", up->sim_hubspot);
    json_auto_t *flush = json_pack("{s:i}", "deadline_ms", 30000);
    up_say(up, "%d changes at the providers, told by webhook", BURST);
    if (mutate(up, BURST, err) < 0) {
        return -1;
    }
    return up_call(up, url, flush, NULL, err);
}

static int once(struct up *up, struct up_comparison *c, struct err *err)
{
    int64_t started = clock_mono_ms();
    if (settle(up, 10000, c, err) < 0) {
        return -1;
    }
    print_comparison("after the full syncs", c);
    int differences = c->differences;
    if (burst(up, err) < 0 || settle(up, SETTLE_MS, c, err) < 0) {
        return -1;
    }
    print_comparison("after the webhooks", c);
    if (c->differences > 0) {
        up_say(up, "no webhook tells of list members and calculated fields: a full sync does");
        if (full_syncs(up, err) < 0 || settle(up, 10000, c, err) < 0) {
            return -1;
        }
    }
    print_comparison("at the end", c);
    if (differences + c->differences > 0) {
        err_set(err, ERR_INTERNAL, "the mirror differs from the providers");
        return -1;
    }
    (void)printf("equal: mirror and providers, %.1f s after the first full syncs\n",
                 (double)(clock_mono_ms() - started) / 1000);
    return 0;
}

/* ---- without --once ---- */

/* Print what the webhooks have brought since attempt *last. */
static void show_arrivals(struct up *up, int64_t *last)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct err err = {0};
    params_int(p, *last);
    if (store_query(up->store,
                    "SELECT attempt_id, to_char(finished_at, 'HH24:MI:SS'), provider,"
                    " object_type, record_id, status, coalesce(lag_ms, duration_ms)"
                    " FROM psync_bi.sync_log WHERE attempt_id > $1::bigint"
                    "  AND trigger = 'webhook' AND record_id IS NOT NULL"
                    " ORDER BY attempt_id LIMIT 50",
                    p, &r, &err) < 0) {
        return; /* shown next time */
    }
    for (int i = 0; i < rows_count(r); i++) {
        *last = rows_int(r, i, 0);
        (void)printf("%s  %-8s %-13s %-28s %-10s %s ms\n", rows_text(r, i, 1),
                     rows_text(r, i, 2), rows_text(r, i, 3), rows_text(r, i, 4),
                     rows_text(r, i, 5), rows_text(r, i, 6));
    }
    (void)fflush(stdout);
}

/* A link that signs in to the page: the token is behind the "#", which no request carries. */
static int page_link(struct up *up, char token[ACCESS_TOKEN_MAX_BYTES], struct err *err)
{
    int64_t token_id = 0;
    const struct actor who = {.name = "up --demo", .kind = "cli"};
    return access_create(up->store, &who, ACCESS_ADMIN, "demo", token, &token_id, err);
}

static int go_on(struct up *up, struct err *err)
{
    int64_t last = 0;
    char token[ACCESS_TOKEN_MAX_BYTES] = "";
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(up->store, "SELECT coalesce(max(attempt_id), 0) FROM psync.attempt", NULL,
                    &r, err) < 0) {
        return -1;
    }
    last = rows_int(r, 0, 0);
    if (up->admin_base[0] != '\0') {
        if (page_link(up, token, err) < 0) {
            return -1;
        }
        up_say(up, "\nThe admin page (this link signs in):\n  %s/#token=%s", up->admin_base,
               token);
    }
    explicit_bzero(token, sizeof token);
    up_say(up,
           "\nLook at it in another terminal:\n"
           "  psql '%s'\n"
           "    SELECT name, domain, mrr, payment_status FROM psync_bi.customer LIMIT 20;\n"
           "    SELECT * FROM psync_bi.connection_status;\n"
           "  %s/pivotal-sync --config %s/pivotal-sync.conf log\n"
           "\n"
           "Records change now at the simulated providers; each line is one that arrived "
           "by webhook.\nCtrl-C ends all.\n",
           up->database_url, up->bin_dir, up->data_dir);
    for (;;) {
        struct err failed = {0};
        if (mutate(up, 1, &failed) < 0) {
            up_say(up, "%s", failed.msg);
        }
        if (up_sleep(up, MUTATE_EVERY_MS, err) < 0) {
            return -1;
        }
        show_arrivals(up, &last);
        if (!up_child_running(up->sim)) {
            err_set(err, ERR_UNAVAILABLE, "the simulator has ended");
            return -1;
        }
    }
}

int up_demo_run(struct up *up, struct err *err)
{
    const struct demo *d = up->demo_process;
    if (connect_providers(up, d, err) < 0 || configure_webhooks(up, err) < 0 ||
        full_syncs(up, err) < 0) {
        return -1;
    }
    if (!up->once) {
        return go_on(up, err);
    }
    struct up_comparison c = {0};
    int rc = once(up, &c, err);
    buf_release(&c.report);
    return rc;
}
