/* The private PostgreSQL and Redis of `up`: on unix sockets only, as durable as the design
 * asks, and as users of their own when we are root, because PostgreSQL refuses root and both
 * are better off without its rights.
 *
 * PostgreSQL lets in by peer: the kernel says who is at the other end of the socket, so there
 * is no password to keep. */
#include "cmd/up_priv.h"

#include "common/clock.h"

#include "common/banned.h"

#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { READY_MS = 90000 /* a crash recovery may take its time */, INITDB_MS = 120000 };

#define PG_USER     "psync"
#define PG_DATABASE "pivotal_sync"

/* The user a service runs as: NULL when we are not root. */
static const char *service_user(const char *first, const char *second)
{
    if (geteuid() != 0) {
        return NULL;
    }
    return getpwnam(first) != NULL ? first : second;
}

static int log_path(const struct up *up, const char *name, char out[UP_PATH_BYTES],
                    struct err *err)
{
    char file[64];
    (void)snprintf(file, sizeof file, "log/%s.log", name);
    return up_path(out, up->data_dir, file, err);
}

/* ---- PostgreSQL ---- */

struct pg {
    const char *user;         /* it runs as */
    char bin[UP_PATH_BYTES];  /* folder of initdb and postgres */
    char home[UP_PATH_BYTES]; /* holds data */
    char data[UP_PATH_BYTES];
    char sockets[UP_PATH_BYTES];
    char log[UP_PATH_BYTES];
};

static bool has_program(const char *dir, const char *name)
{
    char path[UP_PATH_BYTES];
    struct err err = {0};
    return up_path(path, dir, name, &err) == 0 && access(path, X_OK) == 0;
}

/* The version that made the data; for new data the newest of Debian's places, else PATH. */
static int pg_find(struct pg *pg, struct err *err)
{
    char path[UP_PATH_BYTES];
    char version[16] = "";
    if (up_path(path, pg->data, "PG_VERSION", err) < 0) {
        return -1;
    }
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        if (fgets(version, sizeof version, f) != NULL) {
            version[strcspn(version, "\n")] = '\0';
        }
        (void)fclose(f);
    }
    if (version[0] != '\0') {
        (void)snprintf(pg->bin, sizeof pg->bin, "/usr/lib/postgresql/%s/bin", version);
        if (has_program(pg->bin, "postgres")) {
            return 0;
        }
    }
    glob_t found = {0};
    long best = -1;
    if (version[0] == '\0' &&
        glob("/usr/lib/postgresql/*/bin", GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; found.gl_pathv != NULL && i < found.gl_pathc; i++) {
            long n = strtol(found.gl_pathv[i] + strlen("/usr/lib/postgresql/"), NULL, 10);
            if (n > best && has_program(found.gl_pathv[i], "initdb")) {
                best = n;
                (void)snprintf(pg->bin, sizeof pg->bin, "%s", found.gl_pathv[i]);
            }
        }
    }
    globfree(&found);
    if (best >= 0) {
        return 0;
    }
    const char *places = getenv("PATH");
    char *search = strdup(places != NULL ? places : "");
    char *rest = search;
    for (char *dir; rest != NULL && (dir = strsep(&rest, ":")) != NULL;) {
        if (has_program(dir, "initdb") && has_program(dir, "postgres")) {
            (void)snprintf(pg->bin, sizeof pg->bin, "%s", dir);
            free(search);
            return 0;
        }
    }
    free(search);
    err_set(err, ERR_CONFIG,
            "no PostgreSQL server %s on this machine: apt-get install postgresql, or set "
            "DATABASE_URL",
            version);
    return -1;
}

/* Into a folder beside and renamed, so that a start that was cut short leaves nothing half. */
static int pg_init(struct up *up, struct pg *pg, struct err *err)
{
    char fresh[UP_PATH_BYTES];
    char program[UP_PATH_BYTES];
    if (access(pg->data, F_OK) == 0) {
        return 0;
    }
    if (up_path(fresh, pg->home, "data.new", err) < 0 ||
        up_path(program, pg->bin, "initdb", err) < 0 || up_remove_tree(fresh, err) < 0) {
        return -1;
    }
    up_say(up, "postgresql making a database in %s", pg->data);
    const char *const argv[] = {program,
                                "-D",
                                fresh,
                                "-U",
                                PG_USER,
                                "-A",
                                "peer",
                                "-E",
                                "UTF8",
                                "-k",
                                "--locale=C.UTF-8",
                                NULL};
    struct up_child_spec spec = {.name = "initdb",
                                 .argv = argv,
                                 .log_path = pg->log,
                                 .user = pg->user,
                                 .directory = "/"};
    up->command = up_child_start(up->children, &spec, err);
    if (up->command == NULL) {
        return -1;
    }
    int rc = up_child_wait(up->command, clock_mono_ms() + INITDB_MS, err);
    up_child_stop(up->command, 1000);
    int code = up_child_code(up->command);
    up_child_free(up->command);
    up->command = NULL;
    if (rc < 0 || code != 0) {
        err_set(err, ERR_OS, "initdb failed (%d): see '%s'", code, pg->log);
        return -1;
    }
    if (rename(fresh, pg->data) != 0) {
        err_os(err, ERR_OS, "cannot rename '%s'", fresh);
        return -1;
    }
    return 0;
}

/* Who may come in: the user we are, and the service's own, both as the owner. */
static int pg_access(const struct pg *pg, struct err *err)
{
    char path[UP_PATH_BYTES];
    char text[256];
    const struct passwd *me = getpwuid(geteuid());
    if (up_path(path, pg->data, "pg_hba.conf", err) < 0 ||
        up_write(path, "local all all peer map=up\n", 0600, pg->user, err) < 0 ||
        up_path(path, pg->data, "pg_ident.conf", err) < 0) {
        return -1;
    }
    (void)snprintf(text, sizeof text, "up \"%s\" " PG_USER "\nup \"%s\" " PG_USER "\n",
                   me == NULL ? "root" : me->pw_name,
                   pg->user != NULL ? pg->user
                   : me != NULL     ? me->pw_name
                                    : "root");
    return up_write(path, text, 0600, pg->user, err);
}

static int pg_paths(struct up *up, struct pg *pg, struct err *err)
{
    pg->user = service_user("postgres", NULL);
    if (geteuid() == 0 && pg->user == NULL) {
        err_set(err, ERR_CONFIG,
                "PostgreSQL refuses to run as root, and there is no user 'postgres'");
        return -1;
    }
    if (up_path(pg->home, up->data_dir, "postgresql", err) < 0 ||
        up_path(pg->data, pg->home, "data", err) < 0 ||
        up_path(pg->sockets, up->run_dir, "postgres", err) < 0 ||
        log_path(up, "postgresql", pg->log, err) < 0) {
        return -1;
    }
    if (up_folder(pg->home, 0700, pg->user, err) < 0 ||
        up_folder(pg->sockets, 0700, pg->user, err) < 0) {
        return -1;
    }
    return pg_find(pg, err);
}

static int service_gone(const struct up_child *c, const char *log, struct err *err)
{
    if (up_child_running(c) || up_child_restarts(c) < 2) {
        return 0;
    }
    err_set(err, ERR_UNAVAILABLE, "it does not stay up: see '%s'", log);
    return -1;
}

/* Wait until it answers, and make our database when it is new. */
static int pg_ready(struct up *up, const struct pg *pg, struct err *err)
{
    char url[UP_URL_BYTES];
    (void)snprintf(url, sizeof url, "postgresql://" PG_USER "@/postgres?host=%s", pg->sockets);
    struct store_options o = {.url = url, .application_name = "up", .max_connections = 1};
    struct store *s = store_new(up->loop, &o, err);
    if (s == NULL) {
        return -1;
    }
    CLEANUP(rows_freep) struct rows *r = NULL;
    int64_t deadline = clock_mono_ms() + READY_MS;
    int rc = -1;
    while (rc < 0) {
        rc = store_query(s, "SELECT 1 FROM pg_database WHERE datname = '" PG_DATABASE "'", NULL,
                         &r, err);
        if (rc < 0 &&
            (clock_mono_ms() > deadline || service_gone(up->postgres, pg->log, err) < 0 ||
             up_sleep(up, 100, err) < 0)) {
            break;
        }
    }
    if (rc == 0 && rows_count(r) == 0) {
        rc = store_script(s, "CREATE DATABASE " PG_DATABASE, err);
    }
    store_free(s);
    if (rc < 0 && err->code != ERR_CANCELLED) {
        err_wrap(err, "private PostgreSQL");
    }
    return rc;
}

/* Lives as long as the child that lends it. */
struct pg_process {
    struct pg pg;
    char program[UP_PATH_BYTES];
    char sockets_arg[UP_PATH_BYTES + 40];
    const char *argv[12];
};

static int pg_start(struct up *up, struct pg_process *p, struct err *err)
{
    if (up_path(p->program, p->pg.bin, "postgres", err) < 0) {
        return -1;
    }
    (void)snprintf(p->sockets_arg, sizeof p->sockets_arg, "unix_socket_directories=%s",
                   p->pg.sockets);
    const char *const argv[] = {p->program,
                                "-D",
                                p->pg.data,
                                "-c",
                                "listen_addresses=",
                                "-c",
                                p->sockets_arg,
                                "-c",
                                "max_connections=200",
                                NULL};
    memcpy(p->argv, argv, sizeof argv);
    struct up_child_spec spec = {.name = "postgresql",
                                 .argv = p->argv,
                                 .log_path = p->pg.log,
                                 .user = p->pg.user,
                                 .directory = "/",
                                 .stop_signal = SIGINT, /* fast shutdown */
                                 .restart = true};
    up->postgres = up_child_start(up->children, &spec, err);
    return up->postgres == NULL ? -1 : 0;
}

int up_postgres(struct up *up, struct err *err)
{
    if (!up->demo && config_is_set(up->config, SETTING_DATABASE_URL)) {
        (void)snprintf(up->database_url, sizeof up->database_url, "%s",
                       config_text(up->config, SETTING_DATABASE_URL));
        return 0;
    }
    struct pg_process *p = calloc(1, sizeof *p);
    if (p == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    up->postgres_process = p;
    if (pg_paths(up, &p->pg, err) < 0 || pg_init(up, &p->pg, err) < 0 ||
        pg_access(&p->pg, err) < 0 || pg_start(up, p, err) < 0 ||
        pg_ready(up, &p->pg, err) < 0) {
        return -1;
    }
    (void)snprintf(up->database_url, sizeof up->database_url,
                   "postgresql://" PG_USER "@/" PG_DATABASE "?host=%s", p->pg.sockets);
    up_say(up, "postgresql ready");
    return up_setting("DATABASE_URL", up->database_url, err);
}

/* ---- Redis ---- */

static const char *redis_program(void)
{
    static const char *const places[] = {"/usr/bin/redis-server", "/usr/local/bin/redis-server",
                                         "/usr/bin/valkey-server"};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        if (access(places[i], X_OK) == 0) {
            return places[i];
        }
    }
    return NULL;
}

/* Does it answer PING with PONG (and not "loading")? */
static bool redis_answers(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char answer[16] = "";
    size_t len = strlen(path);
    if (len >= sizeof address.sun_path) {
        return false;
    }
    memcpy(address.sun_path, path, len + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool pong = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 && poll(&p, 1, 200) == 1 &&
                recv(fd, answer, sizeof answer - 1, 0) > 0 && strncmp(answer, "+PONG", 5) == 0;
    (void)close(fd);
    return pong;
}

struct redis_process {
    char folder[UP_PATH_BYTES], sockets[UP_PATH_BYTES], socket[UP_PATH_BYTES];
    char log[UP_PATH_BYTES];
    const char *argv[24];
};

static int redis_start(struct up *up, struct redis_process *p, struct err *err)
{
    const char *user = service_user("redis", "nobody");
    const char *program = redis_program();
    if (program == NULL) {
        err_set(err, ERR_CONFIG,
                "no redis-server on this machine: apt-get install redis-server, or set "
                "REDIS_URL");
        return -1;
    }
    if (up_path(p->folder, up->data_dir, "redis", err) < 0 ||
        up_path(p->sockets, up->run_dir, "redis", err) < 0 ||
        up_path(p->socket, p->sockets, "redis.sock", err) < 0 ||
        log_path(up, "redis", p->log, err) < 0 || up_folder(p->folder, 0700, user, err) < 0 ||
        up_folder(p->sockets, 0700, user, err) < 0) {
        return -1;
    }
    /* What the gateway's 200 stands on: every write on the disk before it is answered. */
    const char *const argv[] = {program,      "--port",
                                "0",          "--unixsocket",
                                p->socket,    "--unixsocketperm",
                                "700",        "--dir",
                                p->folder,    "--appendonly",
                                "yes",        "--appendfsync",
                                "always",     "--maxmemory-policy",
                                "noeviction", "--save",
                                "",           "--daemonize",
                                "no",         NULL};
    memcpy(p->argv, argv, sizeof argv);
    struct up_child_spec spec = {.name = "redis",
                                 .argv = p->argv,
                                 .log_path = p->log,
                                 .user = user,
                                 .directory = p->folder,
                                 .restart = true};
    up->redis = up_child_start(up->children, &spec, err);
    return up->redis == NULL ? -1 : 0;
}

int up_redis(struct up *up, struct err *err)
{
    if (!up->demo && config_is_set(up->config, SETTING_REDIS_URL)) {
        (void)snprintf(up->redis_url, sizeof up->redis_url, "%s",
                       config_text(up->config, SETTING_REDIS_URL));
        return 0;
    }
    struct redis_process *p = calloc(1, sizeof *p);
    if (p == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    up->redis_process = p;
    if (redis_start(up, p, err) < 0) {
        return -1;
    }
    int64_t deadline = clock_mono_ms() + READY_MS;
    while (!redis_answers(p->socket)) {
        if (clock_mono_ms() > deadline) {
            err_set(err, ERR_UNAVAILABLE, "private Redis does not answer: see '%s'", p->log);
            return -1;
        }
        if (service_gone(up->redis, p->log, err) < 0) {
            err_wrap(err, "private Redis");
            return -1;
        }
        if (up_sleep(up, 50, err) < 0) {
            return -1;
        }
    }
    (void)snprintf(up->redis_url, sizeof up->redis_url, "unix://%s", p->socket);
    up_say(up, "redis      ready");
    return up_setting("REDIS_URL", up->redis_url, err);
}
