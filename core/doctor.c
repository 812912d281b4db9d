#include "core/doctor.h"

#include "common/clock.h"
#include "core/migrate.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    ANSWER_MS = 5000,
    POSTGRES_LEAST = 150000,
    CLOCK_ADVICE_MS = 2000,
    CLOCK_MEND_MS = 60000, /* signatures allow 300 s, and the other side may be off too */
};

struct examination {
    uv_loop_t *loop;
    struct config *config;
    struct doctor_report *report;
    struct http_client *http;
};

static const char *const verdict_names[] = {"ok", "advice", "mend", "skipped"};

const char *doctor_verdict_name(enum doctor_verdict v)
{
    return verdict_names[v];
}

bool doctor_is_ill(const struct doctor_report *r)
{
    for (int i = 0; i < r->count; i++) {
        if (r->items[i].verdict == DOCTOR_MEND) {
            return true;
        }
    }
    return false;
}

PRINTF_LIKE(5, 6)
static void found(struct doctor_report *r, enum doctor_verdict verdict, const char *check,
                  const char *mend, const char *fmt, ...)
{
    va_list ap;
    struct doctor_finding *f = &r->items[r->count < DOCTOR_MAX ? r->count++ : DOCTOR_MAX - 1];
    f->verdict = verdict;
    snprintf(f->check, sizeof f->check, "%s", check);
    snprintf(f->mend, sizeof f->mend, "%s", mend);
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
}

/* A clock beside ours. */
static void judge_clock(struct doctor_report *r, const char *whose, int64_t theirs_ms)
{
    char check[40];
    int64_t off_ms = clock_now_ms() - theirs_ms;
    int64_t size_ms = off_ms < 0 ? -off_ms : off_ms;
    snprintf(check, sizeof check, "Clock and %s", whose);
    found(r,
          size_ms > CLOCK_MEND_MS     ? DOCTOR_MEND
          : size_ms > CLOCK_ADVICE_MS ? DOCTOR_ADVICE
                                      : DOCTOR_OK,
          check,
          size_ms > CLOCK_ADVICE_MS
              ? "Keep both by NTP (timedatectl set-ntp on): signatures are good for 300 s only."
              : "",
          "%s", "");
    struct doctor_finding *f = &r->items[r->count - 1];
    if (size_ms <= CLOCK_ADVICE_MS) {
        snprintf(f->text, sizeof f->text, "they agree");
    } else {
        snprintf(f->text, sizeof f->text, "ours is %lld s %s", (long long)(size_ms / 1000),
                 off_ms > 0 ? "ahead" : "behind");
    }
}

/* ---- settings ---- */

static void check_settings(const struct examination *e)
{
    struct err err = {0};
    struct seal *seal = NULL;
    if (!config_is_set(e->config, SETTING_SECRET_KEY)) {
        found(e->report, DOCTOR_MEND, "Settings: SECRET_KEY",
              "Make one: openssl rand -base64 32, into a file that SECRET_KEY_FILE names.",
              "is not set; no credential can be stored or used");
    } else if ((seal = seal_new(config_text(e->config, SETTING_SECRET_KEY), &err)) == NULL) {
        found(e->report, DOCTOR_MEND, "Settings: SECRET_KEY", "32 bytes in base64 each.", "%s",
              err.msg);
    } else {
        found(e->report, DOCTOR_OK, "Settings: SECRET_KEY", "", "set (%s)",
              config_source(e->config, SETTING_SECRET_KEY));
    }
    seal_free(seal);
}

/* ---- PostgreSQL ---- */

static void check_version(struct doctor_report *r, struct store *s)
{
    CLEANUP(rows_freep) struct rows *rows = NULL;
    struct err err = {0};
    if (store_query(
            s,
            "SELECT current_setting('server_version'),"
            "   current_setting('server_version_num')::int, current_user,"
            "   (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
            "   current_setting('fsync'), current_setting('synchronous_commit'),"
            "   coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),"
            "     false), inet_server_addr() IS NULL"
            "     OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1',"
            "   (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
            NULL, &rows, &err) != 0) {
        found(r, DOCTOR_MEND, "PostgreSQL", "Start it, or mend DATABASE_URL.", "%s", err.msg);
        return;
    }
    bool old = rows_int(rows, 0, 1) < POSTGRES_LEAST;
    found(r, old ? DOCTOR_MEND : DOCTOR_OK, "PostgreSQL",
          old ? "Upgrade it: 15 is the oldest that is tested." : "", "%s answers",
          rows_text(rows, 0, 0));
    bool safe =
        strcmp(rows_text(rows, 0, 4), "on") == 0 && strcmp(rows_text(rows, 0, 5), "off") != 0;
    found(r, safe ? DOCTOR_OK : DOCTOR_MEND, "PostgreSQL durability",
          safe ? "" : "Switch fsync and synchronous_commit on.",
          "fsync %s, synchronous_commit %s", rows_text(rows, 0, 4), rows_text(rows, 0, 5));
    bool super = rows_bool(rows, 0, 3);
    found(r, super ? DOCTOR_ADVICE : DOCTOR_OK, "PostgreSQL login",
          super ? "Give the programs a login of their own: CREATE ROLE sync LOGIN IN ROLE "
                  "psync_app; keep the owner's for MIGRATE_DATABASE_URL."
                : "",
          "%s%s", rows_text(rows, 0, 2), super ? " is a superuser" : "");
    bool private = rows_bool(rows, 0, 6) || rows_bool(rows, 0, 7);
    found(r, private ? DOCTOR_OK : DOCTOR_ADVICE, "TLS to PostgreSQL",
          private ? "" : "Add sslmode=verify-full to DATABASE_URL.", "%s",
          rows_bool(rows, 0, 6)   ? "on"
          : rows_bool(rows, 0, 7) ? "not needed on this machine"
                                  : "off, and the server is on another machine");
    judge_clock(r, "PostgreSQL", rows_int(rows, 0, 8));
}

static void check_rights(struct doctor_report *r, struct store *s)
{
    CLEANUP(rows_freep) struct rows *rows = NULL;
    struct err err = {0};
    if (store_query(s,
                    "SELECT count(*), coalesce(min(c.relname), '')"
                    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                    " WHERE n.nspname = 'psync' AND c.relkind IN ('r', 'p') AND c.relname <> "
                    "'migration'"
                    "   AND NOT (has_table_privilege(c.oid, 'SELECT')"
                    "     AND has_table_privilege(c.oid, 'INSERT')"
                    "     AND has_table_privilege(c.oid, 'UPDATE')"
                    "     AND has_table_privilege(c.oid, 'DELETE'))",
                    NULL, &rows, &err) != 0) {
        found(r, DOCTOR_MEND, "PostgreSQL rights", "GRANT psync_app TO the login.", "%s",
              err.msg);
        return;
    }
    int64_t missing = rows_int(rows, 0, 0);
    found(r, missing > 0 ? DOCTOR_MEND : DOCTOR_OK, "PostgreSQL rights",
          missing > 0 ? "GRANT psync_app TO the login that the programs use." : "",
          missing > 0 ? "%lld tables cannot be read or written, %s among them"
                      : "every table can be read and written",
          (long long)missing, rows_text(rows, 0, 1));
}

static void check_partitions(struct doctor_report *r, struct store *s)
{
    CLEANUP(rows_freep) struct rows *rows = NULL;
    struct err err = {0};
    if (store_query(s,
                    "SELECT count(*) FROM generate_series(0, 2) w WHERE to_regclass("
                    "  'psync.attempt_' || to_char(now() AT TIME ZONE 'UTC'"
                    "    + w * interval '1 week', 'IYYY\"w\"IW')) IS NOT NULL",
                    NULL, &rows, &err) != 0) {
        return; /* said by the checks before */
    }
    bool good = rows_int(rows, 0, 0) == 3;
    found(r, good ? DOCTOR_OK : DOCTOR_MEND, "Log partitions",
          good ? ""
               : "Start pivotal-sync-scheduler, which makes them, or run pivotal-sync "
                 "migrate.",
          good ? "made for the coming weeks" : "are not made ahead; soon no row can be logged");
}

static void check_postgres(const struct examination *e)
{
    struct err err = {0};
    if (!config_is_set(e->config, SETTING_DATABASE_URL)) {
        found(e->report, DOCTOR_MEND, "PostgreSQL",
              "Set DATABASE_URL, or run everything here: pivotal-sync up.",
              "DATABASE_URL is not set");
        return;
    }
    struct store_options o = {.url = config_text(e->config, SETTING_DATABASE_URL),
                              .application_name = "pivotal-sync doctor",
                              .max_connections = 1,
                              .statement_timeout_ms = ANSWER_MS};
    struct store *s = store_new(e->loop, &o, &err);
    int current = s != NULL ? migrate_is_current(s, &err) : -1;
    if (current < 0) {
        found(e->report, DOCTOR_MEND, "PostgreSQL",
              "Start it, or mend DATABASE_URL (pivotal-sync check-config --print).", "%s",
              err.msg);
        store_free(s);
        return;
    }
    check_version(e->report, s);
    found(e->report, current == 1 ? DOCTOR_OK : DOCTOR_MEND, "Migrations",
          current == 1 ? "" : "Run: pivotal-sync migrate",
          current == 1 ? "the database is of this version"
                       : "steps of this version are missing");
    if (current == 1) {
        check_rights(e->report, s);
        check_partitions(e->report, s);
    }
    store_free(s);
}

/* ---- Redis ---- */

static void check_durability(struct doctor_report *r, struct queue *q)
{
    struct buf warnings;
    struct err err = {0};
    buf_init(&warnings, 16384);
    if (queue_check_durability(q, &warnings, &err) != 0) {
        found(r, DOCTOR_ADVICE, "Redis durability",
              "Allow CONFIG GET for its user, or look by hand: appendonly yes, appendfsync "
              "always, maxmemory-policy noeviction.",
              "%s", err.msg);
    } else if (warnings.len_bytes == 0) {
        found(r, DOCTOR_OK, "Redis durability and eviction", "",
              "appendfsync always, maxmemory-policy noeviction");
    }
    for (const char *line = buf_text(&warnings); *line != '\0';) {
        size_t n = strcspn(line, "\n");
        bool eviction = memmem(line, n, "maxmemory", 9) != NULL;
        found(r, DOCTOR_MEND, eviction ? "Redis eviction" : "Redis durability",
              eviction ? "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf."
                       : "appendonly yes and appendfsync always in redis.conf: else an "
                         "acknowledged webhook can be lost.",
              "%.*s", (int)n, line);
        line += n + (line[n] == '\n');
    }
    buf_release(&warnings);
}

static void check_queue(struct doctor_report *r, struct queue *q)
{
    struct queue_stats stats;
    struct err err = {0};
    if (queue_ping(q, &err) != 0) {
        found(r, DOCTOR_MEND, "Redis", "Start it, or mend REDIS_URL.", "%s", err.msg);
        return;
    }
    struct buf server;
    buf_init(&server, 1024);
    if (queue_server(q, &server, &err) != 0 || server.len_bytes == 0) {
        (void)buf_add_str(&server, "Redis, which does not tell its version,");
    }
    found(r, DOCTOR_OK, "Redis", "", "%s answers and can be written", buf_text(&server));
    buf_release(&server);
    check_durability(r, q);
    if (queue_stats(q, 0, &stats, &err) == 0) {
        found(r, stats.workers > 0 ? DOCTOR_OK : DOCTOR_ADVICE, "Workers",
              stats.workers > 0 ? "" : "Start pivotal-sync-worker.",
              "%lld seen in the last minute", (long long)stats.workers);
    }
}

static void check_redis(const struct examination *e)
{
    struct err err = {0};
    struct app app;
    if (!config_is_set(e->config, SETTING_REDIS_URL)) {
        found(e->report, DOCTOR_MEND, "Redis",
              "Set REDIS_URL, or run everything here: pivotal-sync up.",
              "REDIS_URL is not set");
        return;
    }
    if (app_open(&app, "doctor", e->loop, e->config, APP_QUEUE | APP_QUICK, &err) != 0) {
        found(e->report, DOCTOR_MEND, "Redis", "Mend REDIS_URL.", "%s", err.msg);
    } else {
        check_queue(e->report, app.queue);
    }
    app.config = NULL; /* the caller's */
    app_close(&app);
}

/* ---- the network ---- */

/* "Mon, 23 Nov 2026 15:04:05 GMT" to milliseconds; 0 when it is none. */
static int64_t http_date_ms(const struct http_response *resp)
{
    char text[64];
    struct tm tm = {0};
    if (http_response_header(resp, "date", text, sizeof text) == NULL ||
        strptime(text, "%a, %d %b %Y %H:%M:%S", &tm) == NULL) {
        return 0;
    }
    return (int64_t)timegm(&tm) * 1000;
}

static int get(const struct examination *e, const char *url, const char *path,
               struct http_response *resp, struct err *err)
{
    struct http_request q;
    http_request_init(&q);
    q.method = "GET";
    q.endpoint = "doctor";
    q.connect_timeout_ms = q.first_byte_timeout_ms = q.total_timeout_ms = ANSWER_MS;
    int rc = buf_printf(&q.url, "%s%s", url, path);
    rc = rc == 0 ? http_client_send(e->http, &q, resp, err) : -1;
    http_request_release(&q);
    return rc;
}

static void check_provider(const struct examination *e, const char *title, enum setting base)
{
    struct http_response resp;
    struct err err = {0};
    const char *url = config_text(e->config, base);
    char check[40];
    snprintf(check, sizeof check, "%s", title);
    http_response_init(&resp);
    if (get(e, url, "/", &resp, &err) != 0) {
        found(e->report, DOCTOR_MEND, check, "", "%s", err.msg);
    } else if (resp.fault == HTTP_TLS) {
        found(e->report, DOCTOR_MEND, check,
              "Update the certificates (ca-certificates), or name those of your proxy in "
              "PROVIDER_CA_FILE.",
              "TLS: %s", resp.fault_text);
    } else if (resp.fault != HTTP_OK) {
        found(e->report, DOCTOR_MEND, check,
              "Look at DNS, firewall and proxy of this machine; the workers need it too.",
              "%s cannot be reached: %s", url, resp.fault_text);
    } else {
        bool plain = strncmp(url, "https://", 8) != 0;
        found(e->report, plain ? DOCTOR_ADVICE : DOCTOR_OK, check,
              plain ? "Use https except for tests." : "", "%s answers in %lld ms%s", url,
              (long long)(resp.took_us / 1000), plain ? ", without TLS" : "");
        int64_t theirs_ms = http_date_ms(&resp);
        if (theirs_ms > 0) {
            judge_clock(e->report, title, theirs_ms);
        }
    }
    http_response_release(&resp);
}

static void check_webhook_url(const struct examination *e)
{
    static const char check[] = "Webhook URL";
    struct http_response resp;
    struct err err = {0};
    const char *url = config_text(e->config, SETTING_PUBLIC_URL);
    if (!config_is_set(e->config, SETTING_PUBLIC_URL)) {
        found(e->report, DOCTOR_MEND, check,
              "Set PUBLIC_URL to the gateway's address as providers reach it.",
              "PUBLIC_URL is not set; HubSpot's signatures cannot be checked");
        return;
    }
    http_response_init(&resp);
    if (get(e, url, "/readyz", &resp, &err) != 0) {
        found(e->report, DOCTOR_MEND, check, "", "%s", err.msg);
    } else if (resp.fault != HTTP_OK) {
        found(
            e->report, DOCTOR_MEND, check,
            "Start pivotal-sync-webhook-gw; look at DNS, proxy and certificate of PUBLIC_URL.",
            "%s cannot be reached from here: %s", url, resp.fault_text);
    } else if (resp.status != 200) {
        found(e->report, DOCTOR_MEND, check,
              resp.status == 503
                  ? "The gateway cannot take deliveries: look at Redis."
                  : "Something else than the gateway answers: look at the proxy.",
              "%s/readyz answers %d", url, resp.status);
    } else {
        bool plain = strncmp(url, "https://", 8) != 0;
        found(e->report, plain ? DOCTOR_ADVICE : DOCTOR_OK, check,
              plain
                  ? "Providers deliver to https only: put a proxy with a certificate in front."
                  : "",
              "%s is ready (seen from here; pivotal-sync webhook test sends a signed delivery)",
              url);
    }
    http_response_release(&resp);
}

/* From here a name may lead another way than from a provider. Somebody outside asks for us: its
 * own answer is that of our gateway. */
static void check_outside(const struct examination *e, const char *outside)
{
    static const char check[] = "Webhook URL from outside";
    const char *hole = outside != NULL ? strstr(outside, "{url}") : NULL;
    struct http_response resp;
    struct err err = {0};
    struct buf asked;
    if (outside == NULL || !config_is_set(e->config, SETTING_PUBLIC_URL)) {
        return; /* nobody to ask, or nothing to ask for: that is said above */
    }
    if (hole == NULL) {
        found(e->report, DOCTOR_MEND, check,
              "For example --outside 'https://fetch.example/?url={url}'.",
              "--outside has no {url} where the gateway's address goes");
        return;
    }
    buf_init(&asked, 8192);
    http_response_init(&resp);
    (void)buf_add(&asked, outside, (size_t)(hole - outside));
    struct buf ready;
    buf_init(&ready, 4096);
    (void)buf_printf(&ready, "%s/readyz", config_text(e->config, SETTING_PUBLIC_URL));
    (void)http_escape(&asked, buf_text(&ready));
    buf_release(&ready);
    if (get(e, buf_text(&asked), hole + strlen("{url}"), &resp, &err) != 0) {
        found(e->report, DOCTOR_MEND, check, "", "%s", err.msg);
    } else if (resp.fault != HTTP_OK) {
        found(e->report, DOCTOR_ADVICE, check, "Look at the address after --outside.",
              "%.100s cannot be asked: %s", outside, resp.fault_text);
    } else if (resp.status != 200) {
        found(e->report, DOCTOR_MEND, check,
              "Look at DNS, firewall and proxy in front of the gateway.",
              "%s is not reached from outside: the answer is %d",
              config_text(e->config, SETTING_PUBLIC_URL), resp.status);
    } else {
        found(e->report, DOCTOR_OK, check, "", "%s is reached from outside",
              config_text(e->config, SETTING_PUBLIC_URL));
    }
    http_response_release(&resp);
    buf_release(&asked);
}

static void check_network(struct examination *e, bool private_hosts)
{
    struct err err = {0};
    struct http_client_options o = {.user_agent = "pivotal-sync/" PIVOTAL_SYNC_VERSION,
                                    .max_connections = 2,
                                    .max_connections_per_host = 1,
                                    .allow_private_hosts = private_hosts};
    if (config_is_set(e->config, SETTING_PROVIDER_CA_FILE)) {
        o.ca_file = config_text(e->config, SETTING_PROVIDER_CA_FILE);
    }
    e->http = http_client_new(e->loop, &o, &err);
    if (e->http == NULL) {
        found(e->report, DOCTOR_MEND, "Network", "", "%s", err.msg);
    }
}

void doctor_examine(uv_loop_t *loop, struct config *config, const char *outside,
                    struct doctor_report *out)
{
    struct examination e = {.loop = loop, .config = config, .report = out};
    memset(out, 0, sizeof *out);
    check_settings(&e);
    check_postgres(&e);
    check_redis(&e);
    check_network(&e, config_bool(config, SETTING_ALLOW_PRIVATE_PROVIDER_HOSTS));
    if (e.http != NULL) {
        check_provider(&e, "HubSpot", SETTING_HUBSPOT_API_BASE);
        check_provider(&e, "Stripe", SETTING_STRIPE_API_BASE);
        http_client_free(e.http);
    }
    check_network(&e, true); /* the gateway may well be on a private address */
    if (e.http != NULL) {
        check_webhook_url(&e);
        check_outside(&e, outside);
        http_client_free(e.http);
    }
}
