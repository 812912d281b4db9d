/* Our own programs under `up`: their sockets, their start, and talking to them. */
#include "cmd/up_priv.h"

#include "common/clock.h"
#include "common/http_server.h"

#include "common/banned.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    READY_MS = 30000,
    READY_CALL_MS = 2000,
    COMMAND_MS = 30 * 60 * 1000,
    CALL_MS = 60000,
    ANSWER_MAX_BYTES = 64 * 1024 * 1024,
};

/* ---- sockets ---- */

/* Base URL of a listening socket as this machine reaches it; "" for a unix socket. */
static void socket_base(int fd, char out[UP_URL_BYTES])
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof at;
    char host[INET6_ADDRSTRLEN] = "127.0.0.1"; /* for a socket on all addresses */
    out[0] = '\0';
    if (getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        return;
    }
    if (at.ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, &at, sizeof v4);
        if (v4.sin_addr.s_addr != htonl(INADDR_ANY)) {
            (void)inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
        }
        (void)snprintf(out, UP_URL_BYTES, "http://%s:%d", host, ntohs(v4.sin_port));
    } else if (at.ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, &at, sizeof v6);
        bool any = IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr);
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
        (void)snprintf(out, UP_URL_BYTES, "http://[%s]:%d", any ? "::1" : host,
                       ntohs(v6.sin6_port));
    }
}

static int listen_one(struct up *up, enum setting setting, int *fd, char base[UP_URL_BYTES],
                      struct err *err)
{
    *fd = http_listen(config_text(up->config, setting), BACKLOG, err);
    if (*fd < 0 && up->demo && !config_is_set(up->config, setting)) {
        /* A demo does not insist on a port that something else has. */
        *fd = http_listen("127.0.0.1:0", BACKLOG, err);
    }
    if (*fd < 0) {
        *fd = 0;
        err_wrap(err, "%s", config_name(setting));
        return -1;
    }
    socket_base(*fd, base);
    return 0;
}

int up_listen(struct up *up, struct err *err)
{
    if (listen_one(up, SETTING_WEBHOOK_LISTEN, &up->webhook_fd, up->webhook_base, err) < 0 ||
        listen_one(up, SETTING_ADMIN_LISTEN, &up->admin_fd, up->admin_base, err) < 0) {
        return -1;
    }
    if (up->admin_base[0] != '\0' && !config_is_set(up->config, SETTING_ADMIN_PUBLIC_URL)) {
        return up_setting(config_name(SETTING_ADMIN_PUBLIC_URL), up->admin_base, err);
    }
    return 0;
}

/* ---- HTTP ---- */

int up_call(struct up *up, const char *url, const json_t *body, json_t **out, struct err *err)
{
    struct http_request q;
    struct http_response r;
    http_request_init(&q);
    http_response_init(&r);
    q.method = body == NULL ? "GET" : "POST";
    q.endpoint = "up";
    q.total_timeout_ms = up->call_ms > 0 ? up->call_ms : CALL_MS;
    q.answer_max_bytes = ANSWER_MAX_BYTES;
    (void)buf_add_str(&q.url, url);
    int rc = 0;
    if (body != NULL) {
        char *text = json_dumps(body, JSON_COMPACT);
        rc = text == NULL ? -1 : buf_add_str(&q.body, text);
        free(text);
        if (rc < 0 || http_request_header(&q, "Content-Type", "application/json") < 0) {
            err_set(err, ERR_NOMEM, "out of memory for a call");
            rc = -1;
        }
    }
    if (rc == 0) {
        rc = http_client_send(up->http, &q, &r, err);
    }
    if (rc == 0 && r.fault != HTTP_OK) {
        err_set(err, ERR_UNAVAILABLE, "'%s': %s", url, r.fault_text);
        rc = -1;
    } else if (rc == 0 && (r.status < 200 || r.status > 299)) {
        err_set(err, ERR_PROTOCOL, "'%s' answers %d: %.200s", url, r.status, buf_text(&r.body));
        rc = -1;
    }
    if (rc == 0 && out != NULL) {
        json_error_t why;
        *out = json_loadb(buf_text(&r.body), r.body.len_bytes, JSON_ALLOW_NUL, &why);
        if (*out == NULL) {
            err_set(err, ERR_PROTOCOL, "'%s' answers no JSON: %s", url, why.text);
            rc = -1;
        }
    }
    http_request_release(&q);
    http_response_release(&r);
    return rc;
}

/* ---- programs ---- */

int up_program_path(const struct up *up, const char *program, char out[UP_PATH_BYTES],
                    struct err *err)
{
    return up_path(out, up->bin_dir, program, err);
}

/* What a child lends; kept in one list until the end. */
struct program {
    char path[UP_PATH_BYTES], log[UP_PATH_BYTES];
    const char *argv[2];
};

static struct up_child *program_start(struct up *up, const char *name, const char *file,
                                      int listen_fd, struct program *p, struct err *err)
{
    char log[64];
    (void)snprintf(log, sizeof log, "log/%s.log", name);
    if (up_program_path(up, file, p->path, err) < 0 ||
        up_path(p->log, up->data_dir, log, err) < 0) {
        return NULL;
    }
    p->argv[0] = p->path;
    struct up_child_spec spec = {.name = name,
                                 .argv = p->argv,
                                 .log_path = p->log,
                                 .listen_fd = listen_fd,
                                 .restart = true};
    return up_child_start(up->children, &spec, err);
}

/* Last lines of a program's log, for the person who waits in vain. */
static void show_log(const struct up *up, const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return;
    }
    char text[2048];
    if (fseek(f, -(long)sizeof text + 1, SEEK_END) != 0) {
        (void)fseek(f, 0, SEEK_SET);
    }
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    (void)fclose(f);
    up_say(up, "--- end of %s\n%s---", path, text);
}

static int wait_ready(struct up *up, const struct up_child *c, const char *name,
                      const char *base, const char *path, const struct program *p,
                      struct err *err)
{
    char url[UP_URL_BYTES + 16];
    (void)snprintf(url, sizeof url, "%s%s", base, path);
    int64_t deadline = clock_mono_ms() + READY_MS;
    for (;;) {
        struct err last = {0};
        /* Behind a socket of ours a call waits for the program's accept. */
        if (base[0] == '\0' ? up_child_running(c) : up_call(up, url, NULL, NULL, &last) == 0) {
            up_say(up, "%-10s ready", name);
            return 0;
        }
        if (up_sleep(up, 100, err) < 0) {
            return -1;
        }
        if (clock_mono_ms() > deadline || up_child_restarts(c) > 3) {
            show_log(up, p->log);
            err_set(err, ERR_UNAVAILABLE, "%s is not ready: %s", name, last.msg);
            return -1;
        }
    }
}

static int wait_running(struct up *up, const struct up_child *c, const char *name,
                        const struct program *p, struct err *err)
{
    /* No port to ask: it has stayed up for a moment, and the log tells the rest. */
    for (int i = 0; i < 5; i++) {
        if (up_sleep(up, 100, err) < 0) {
            return -1;
        }
        if (!up_child_running(c)) {
            show_log(up, p->log);
            err_set(err, ERR_UNAVAILABLE, "%s ends with code %d", name, up_child_code(c));
            return -1;
        }
    }
    up_say(up, "%-10s running", name);
    return 0;
}

int up_programs(struct up *up, struct err *err)
{
    struct program *p = calloc(4, sizeof *p);
    if (p == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    up->programs = p;
    up->call_ms = READY_CALL_MS; /* a signal must not wait for a program that hangs */
    if ((up->gateway = program_start(up, "webhook-gw", "pivotal-sync-webhook-gw",
                                     up->webhook_fd, &p[0], err)) == NULL ||
        (up->scheduler =
             program_start(up, "scheduler", "pivotal-sync-scheduler", 0, &p[1], err)) == NULL ||
        (up->worker = program_start(up, "worker", "pivotal-sync-worker", 0, &p[2], err)) ==
            NULL ||
        wait_ready(up, up->gateway, "webhook-gw", up->webhook_base, "/readyz", &p[0], err) <
            0 ||
        wait_running(up, up->scheduler, "scheduler", &p[1], err) < 0 ||
        wait_running(up, up->worker, "worker", &p[2], err) < 0) {
        return -1;
    }
    /* The admin page is a package of its own: without it all else still works. */
    if (up_program_path(up, "pivotal-sync-admin", p[3].path, err) < 0) {
        return -1;
    }
    if (access(p[3].path, X_OK) != 0) {
        up_say(up, "admin      is not installed");
        up->admin_base[0] = '\0';
    } else {
        up->admin = program_start(up, "admin", "pivotal-sync-admin", up->admin_fd, &p[3], err);
        if (up->admin == NULL ||
            wait_ready(up, up->admin, "admin", up->admin_base, "/livez", &p[3], err) < 0) {
            return -1;
        }
    }
    up->call_ms = 0;
    return 0;
}

int up_command(struct up *up, const char *const *args, struct err *err)
{
    enum { WORDS_MAX = 24 };
    char path[UP_PATH_BYTES];
    const char *argv[WORDS_MAX + 2] = {path};
    char line[512] = "pivotal-sync";
    if (up_program_path(up, "pivotal-sync", path, err) < 0) {
        return -1;
    }
    for (int i = 0; i < WORDS_MAX && args[i] != NULL; i++) {
        argv[i + 1] = args[i];
        size_t n = strlen(line);
        (void)snprintf(line + n, sizeof line - n, " %s", args[i]);
    }
    up_say(up, "$ %s", line);
    struct up_child_spec spec = {.name = "pivotal-sync", .argv = argv};
    up->command = up_child_start(up->children, &spec, err);
    if (up->command == NULL) {
        return -1;
    }
    int rc = up_child_wait(up->command, clock_mono_ms() + COMMAND_MS, err);
    up_child_stop(up->command, 2000);
    int code = up_child_code(up->command);
    up_child_free(up->command);
    up->command = NULL;
    if (up->ending) {
        err_set(err, ERR_CANCELLED, "ending");
        return -1;
    }
    return rc < 0 ? -1 : code;
}
