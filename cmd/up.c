/* Order of things: folders and lock, simulator (demo), PostgreSQL, Redis, migrations, sockets,
 * programs; the end is the other way round, workers before what they need. One task does all of
 * it in straight lines; a signal wakes it wherever it waits.
 *
 * `up` has no state of its own: killed hard, its children get their signals from the kernel,
 * and the next `up` finds PostgreSQL and Redis as they were. */
#include "cmd/up.h"

#include "cmd/up_priv.h"
#include "common/clock.h"
#include "core/app.h"
#include "core/migrate.h"

#include "common/banned.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    WORKER_GRACE_MS = 30000, /* they drain up to 25 s */
    PROGRAM_GRACE_MS = 10000,
    SERVICE_GRACE_MS = 30000,
    SOCKET_PATH_MAX = 100, /* 107 is what the kernel takes */
};

void up_say(const struct up *up, const char *fmt, ...)
{
    (void)up;
    va_list ap;
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
}

static void say_child(void *arg, const char *line)
{
    up_say(arg, "%s", line);
}

int up_sleep(struct up *up, int64_t ms, struct err *err)
{
    struct wake wake = {0};
    struct err timeout = {0};
    if (!up->ending) {
        up->waiting = &wake;
        int rc = wake_wait(&wake, clock_mono_ms() + ms, &timeout);
        up->waiting = NULL;
        (void)rc;
    }
    if (up->ending) {
        err_set(err, ERR_CANCELLED, "ending");
        return -1;
    }
    return 0;
}

/* ---- files ---- */

int up_path(char out[UP_PATH_BYTES], const char *dir, const char *name, struct err *err)
{
    int n = snprintf(out, UP_PATH_BYTES, "%s/%s", dir, name);
    if (n < 0 || n >= UP_PATH_BYTES) {
        err_set(err, ERR_CONFIG, "path '%s/%s' is too long", dir, name);
        return -1;
    }
    return 0;
}

static int give_to(const char *path, const char *owner, struct err *err)
{
    const struct passwd *pw = owner == NULL ? NULL : getpwnam(owner);
    if (owner == NULL) {
        return 0;
    }
    if (pw == NULL || chown(path, pw->pw_uid, pw->pw_gid) != 0) {
        err_os(err, ERR_OS, "cannot give '%s' to user %s", path, owner);
        return -1;
    }
    return 0;
}

int up_folder(const char *path, unsigned mode, const char *owner, struct err *err)
{
    char part[UP_PATH_BYTES];
    (void)snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST) {
            err_os(err, ERR_OS, "cannot make folder '%s'", part);
            return -1;
        }
        *slash = '/';
    }
    if (mkdir(path, mode) != 0 && errno != EEXIST) {
        err_os(err, ERR_OS, "cannot make folder '%s'", path);
        return -1;
    }
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || chmod(path, mode) != 0) {
        err_os(err, ERR_OS, "cannot use '%s' as a folder", path);
        return -1;
    }
    return give_to(path, owner, err);
}

int up_write(const char *path, const char *text, unsigned mode, const char *owner,
             struct err *err)
{
    char temporary[UP_PATH_BYTES + 8];
    (void)snprintf(temporary, sizeof temporary, "%s.new", path);
    (void)unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t len = strlen(text);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len || fsync(fd) != 0 ||
        fchmod(fd, mode) != 0) {
        err_os(err, ERR_OS, "cannot write '%s'", path);
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    (void)close(fd);
    if (give_to(temporary, owner, err) < 0) {
        return -1;
    }
    if (rename(temporary, path) != 0) {
        err_os(err, ERR_OS, "cannot write '%s'", path);
        return -1;
    }
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int up_remove_tree(const char *path, struct err *err)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 && errno != ENOENT) {
        err_os(err, ERR_OS, "cannot remove '%s'", path);
        return -1;
    }
    return 0;
}

int up_setting(const char *name, const char *value, struct err *err)
{
    char variable[96];
    (void)snprintf(variable, sizeof variable, "PIVOTAL_SYNC_%s_FILE", name);
    (void)unsetenv(variable);
    variable[strlen(variable) - strlen("_FILE")] = '\0';
    if (setenv(variable, value, 1) != 0) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    return 0;
}

/* ---- settings for our programs ---- */

/* Flags of ours become variables of theirs. */
static int pass_flags_on(const struct up *up, struct err *err)
{
    for (int s = 0; s < SETTING_COUNT; s++) {
        enum setting setting = (enum setting)s;
        if (config_is_set(up->config, setting) &&
            strncmp(config_source(up->config, setting), "flag ", 5) == 0 &&
            up_setting(config_name(setting), config_text(up->config, setting), err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Made once; losing it means connecting every provider anew, so it is said. */
static int secret_key(const struct up *up, struct err *err)
{
    char path[UP_PATH_BYTES];
    if (!up->demo && config_is_set(up->config, SETTING_SECRET_KEY)) {
        return 0;
    }
    if (up_path(path, up->data_dir, "secret-key", err) < 0) {
        return -1;
    }
    if (access(path, R_OK) != 0) {
        unsigned char key[32];
        unsigned char text[48];
        if (errno != ENOENT || RAND_bytes(key, sizeof key) != 1) {
            err_os(err, ERR_OS, "cannot make '%s'", path);
            return -1;
        }
        (void)EVP_EncodeBlock(text, key, sizeof key);
        int rc = up_write(path, (const char *)text, 0600, NULL, err);
        explicit_bzero(key, sizeof key);
        explicit_bzero(text, sizeof text);
        if (rc < 0) {
            return -1;
        }
        up_say(up, "made %s: keep a copy, it opens the stored credentials", path);
    }
    (void)unsetenv("PIVOTAL_SYNC_SECRET_KEY");
    if (setenv("PIVOTAL_SYNC_SECRET_KEY_FILE", path, 1) != 0) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    return 0;
}

/* So that commands in another terminal find the same place: --config FILE. */
static int write_config(const struct up *up, struct err *err)
{
    static const char *const names[] = {"DATABASE_URL",     "REDIS_URL",
                                        "SECRET_KEY_FILE",  "WEBHOOK_LISTEN",
                                        "ADMIN_LISTEN",     "PUBLIC_URL",
                                        "ADMIN_PUBLIC_URL", "HUBSPOT_API_BASE",
                                        "STRIPE_API_BASE",  "ALLOW_PRIVATE_PROVIDER_HOSTS"};
    char path[UP_PATH_BYTES];
    struct buf text;
    buf_init(&text, 65536);
    (void)buf_add_str(&text, "# Written by `pivotal-sync up` at each start.\n");
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char variable[96];
        (void)snprintf(variable, sizeof variable, "PIVOTAL_SYNC_%s", names[i]);
        const char *value = getenv(variable);
        if (value != NULL) {
            (void)buf_printf(&text, "%s=%s\n", names[i], value);
        }
    }
    int rc = up_path(path, up->data_dir, "pivotal-sync.conf", err);
    if (rc == 0) {
        rc = up_write(path, buf_text(&text), 0600, NULL, err);
    }
    buf_release(&text);
    return rc;
}

/* ---- folders ---- */

/* As root the services run as others, who have to get through to their folders. */
static int others_may_pass(const char *root, struct err *err)
{
    char part[UP_PATH_BYTES];
    struct stat st;
    (void)snprintf(part, sizeof part, "%s/", root);
    for (char *slash = strchr(part + 1, '/'); geteuid() == 0 && slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (stat(part, &st) == 0 && (st.st_mode & S_IXOTH) == 0) {
            err_set(err, ERR_CONFIG,
                    "DATA_DIR '%s' cannot be used: '%s' lets no other user in, and PostgreSQL "
                    "runs as one",
                    root, part);
            return -1;
        }
        *slash = '/';
    }
    return 0;
}

static int find_bin_dir(struct up *up, struct err *err)
{
    ssize_t n = readlink("/proc/self/exe", up->bin_dir, sizeof up->bin_dir - 1);
    if (n <= 0) {
        err_os(err, ERR_OS, "cannot tell where this program is");
        return -1;
    }
    up->bin_dir[n] = '\0';
    *strrchr(up->bin_dir, '/') = '\0';
    return 0;
}

/* One `up` a folder. */
static int take_lock(struct up *up, const char *path, struct err *err)
{
    up->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (up->lock_fd < 0) {
        err_os(err, ERR_OS, "cannot write '%s'", path);
        return -1;
    }
    if (flock(up->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        char pid[24] = "?";
        ssize_t n = read(up->lock_fd, pid, sizeof pid - 1);
        pid[n > 0 ? n : 0] = '\0';
        err_set(err, ERR_CONFLICT, "`pivotal-sync up` runs already (process %s)", pid);
        return -1;
    }
    if (ftruncate(up->lock_fd, 0) != 0 || dprintf(up->lock_fd, "%ld", (long)getpid()) < 0) {
        err_os(err, ERR_OS, "cannot write '%s'", path);
        return -1;
    }
    return 0;
}

/* A demo begins anew each time; only what an earlier demo made is removed. */
static int demo_folder(struct up *up, const char *root, struct err *err)
{
    char mark[UP_PATH_BYTES];
    if (up_path(up->data_dir, root, "demo", err) < 0 ||
        up_path(mark, up->data_dir, ".pivotal-sync-demo", err) < 0) {
        return -1;
    }
    if (access(up->data_dir, F_OK) == 0 && access(mark, F_OK) != 0) {
        err_set(err, ERR_CONFIG, "'%s' is there and not of a demo: move it away", up->data_dir);
        return -1;
    }
    if (up_remove_tree(up->data_dir, err) < 0 || up_folder(up->data_dir, 0711, NULL, err) < 0) {
        return -1;
    }
    return up_write(mark, "", 0600, NULL, err);
}

static int short_run_dir(struct up *up, struct err *err)
{
    if (strlen(up->data_dir) + strlen("/run/postgres/.s.PGSQL.5432") < SOCKET_PATH_MAX) {
        return up_path(up->run_dir, up->data_dir, "run", err);
    }
    uint64_t hash = 14695981039346656037u; /* FNV-1a: one folder for one DATA_DIR */
    for (const char *p = up->data_dir; *p != '\0'; p++) {
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    }
    (void)snprintf(up->run_dir, sizeof up->run_dir, "/tmp/pivotal-sync-%lu-%08x",
                   (unsigned long)getuid(), (unsigned)(hash & 0xffffffffu));
    struct stat st;
    if (lstat(up->run_dir, &st) == 0 && (!S_ISDIR(st.st_mode) || st.st_uid != getuid())) {
        err_set(err, ERR_CONFIG, "'%s' belongs to somebody else", up->run_dir);
        return -1;
    }
    return 0;
}

static int folders(struct up *up, struct err *err)
{
    const char *root = config_text(up->config, SETTING_DATA_DIR);
    char lock[UP_PATH_BYTES];
    char log[UP_PATH_BYTES];
    if (root[0] != '/') {
        err_set(err, ERR_CONFIG, "DATA_DIR '%s' is not an absolute path", root);
        return -1;
    }
    if (up_folder(root, 0711, NULL, err) < 0 || others_may_pass(root, err) < 0 ||
        up_path(lock, root, up->demo ? "demo.lock" : "up.lock", err) < 0 ||
        take_lock(up, lock, err) < 0) {
        return -1;
    }
    if (up->demo) {
        if (demo_folder(up, root, err) < 0) {
            return -1;
        }
    } else {
        (void)snprintf(up->data_dir, sizeof up->data_dir, "%s", root);
    }
    if (short_run_dir(up, err) < 0 || up_folder(up->run_dir, 0711, NULL, err) < 0 ||
        up_path(log, up->data_dir, "log", err) < 0) {
        return -1;
    }
    return up_folder(log, 0750, NULL, err);
}

/* ---- the start ---- */

static int migrate(struct up *up, struct err *err)
{
    const char *url = config_text(up->config, SETTING_MIGRATE_DATABASE_URL);
    if (up->demo || !config_is_set(up->config, SETTING_MIGRATE_DATABASE_URL)) {
        url = up->database_url;
    }
    struct store_options o = {.url = url,
                              .application_name = "up",
                              .max_connections = 1,
                              .statement_timeout_ms = MIGRATE_STATEMENT_TIMEOUT_MS};
    struct store *s = store_new(up->loop, &o, err);
    if (s == NULL) {
        return -1;
    }
    int rc = migrate_run(s, false, NULL, NULL, err);
    store_free(s);
    if (rc < 0) {
        err_wrap(err, "migrate");
    }
    return rc;
}

static int open_clients(struct up *up, struct err *err)
{
    struct store_options o = {
        .url = up->database_url, .application_name = "up", .max_connections = 2};
    up->store = store_new(up->loop, &o, err);
    return up->store == NULL ? -1 : 0;
}

static void print_places(const struct up *up)
{
    up_say(up, "everything is running");
    if (up->webhook_base[0] != '\0') {
        up_say(up, "webhooks   %s/webhooks/{hubspot,stripe}", up->webhook_base);
    }
    if (up->admin_base[0] != '\0') {
        up_say(up, "admin      %s/readyz?verbose", up->admin_base);
    }
    up_say(up, "database   psql '%s'", up->database_url);
    up_say(up, "commands   %s/pivotal-sync --config %s/pivotal-sync.conf status", up->bin_dir,
           up->data_dir);
    up_say(up, "logs       %s/log/", up->data_dir);
}

static int start_all(struct up *up, struct err *err)
{
    if (find_bin_dir(up, err) < 0 || folders(up, err) < 0 || pass_flags_on(up, err) < 0 ||
        secret_key(up, err) < 0 || up_listen(up, err) < 0) {
        return -1;
    }
    if (up->demo && up_demo_prepare(up, err) < 0) {
        return -1;
    }
    if (up_postgres(up, err) < 0 || up_redis(up, err) < 0 || migrate(up, err) < 0 ||
        open_clients(up, err) < 0 || write_config(up, err) < 0) {
        return -1;
    }
    return up_programs(up, err);
}

static void stop_all(struct up *up)
{
    up->ending = true;
    proc_notify_stopping();
    if (up->command != NULL) {
        up_child_stop(up->command, PROGRAM_GRACE_MS);
    }
    up_child_stop(up->gateway, PROGRAM_GRACE_MS);
    up_child_stop(up->scheduler, PROGRAM_GRACE_MS);
    up_child_stop(up->worker, WORKER_GRACE_MS);
    up_child_stop(up->admin, PROGRAM_GRACE_MS);
    up_child_stop(up->sim, PROGRAM_GRACE_MS);
    store_free(up->store);
    up->store = NULL;
    up_child_stop(up->redis, SERVICE_GRACE_MS);
    up_child_stop(up->postgres, SERVICE_GRACE_MS);
    struct err ignored = {0};
    if (strncmp(up->run_dir, "/tmp/", 5) == 0 && up_remove_tree(up->run_dir, &ignored) < 0) {
        up_say(up, "%s", ignored.msg);
    }
}

static int code_of(const struct err *err)
{
    switch (err->code) {
    case ERR_CANCELLED:
        return 0;
    case ERR_CONFIG:
        return 10;
    case ERR_CONFLICT:
        return 5;
    case ERR_UNAVAILABLE:
        return 8;
    case ERR_TIMEOUT:
        return 7;
    case ERR_NONE:
    case ERR_OS:
    case ERR_NOMEM:
    case ERR_INVALID:
    case ERR_NOT_FOUND:
    case ERR_DENIED:
    case ERR_AUTH:
    case ERR_RATE_LIMITED:
    case ERR_TEMPORARY:
    case ERR_REJECTED:
    case ERR_PROTOCOL:
    case ERR_INTERNAL:
        break;
    }
    return 1;
}

static void up_task(void *arg)
{
    struct up *up = arg;
    struct err err = {0};
    int rc = start_all(up, &err);
    if (rc == 0) {
        proc_notify_ready();
        if (!up->once) {
            print_places(up);
        }
        if (up->demo) {
            rc = up_demo_run(up, &err);
        } else {
            up_say(up, "running; Ctrl-C ends all");
            do {
                rc = up_sleep(up, 3600000, &err);
            } while (rc == 0);
        }
    }
    if (rc < 0) {
        up->code = code_of(&err);
        if (err.code != ERR_CANCELLED) {
            up_say(up, "pivotal-sync up: %s", err.msg);
        }
    }
    if (up->sim != NULL || up->postgres != NULL || up->gateway != NULL) {
        up_say(up, "ending");
    }
    stop_all(up);
}

static void on_signal(void *arg)
{
    struct up *up = arg;
    up->ending = true;
    if (up->waiting != NULL) {
        wake_fire(up->waiting);
    }
    up_child_signal(up->command);
}

/* ---- the command ---- */

static int read_words(struct up *up)
{
    int count = 0;
    char *const *words = config_args(up->config, &count);
    for (int i = 0; i < count; i++) {
        if (strcmp(words[i], "--demo") == 0) {
            up->demo = true;
        } else if (strcmp(words[i], "--once") == 0) {
            up->once = true;
        } else if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) {
            (void)puts("pivotal-sync up            run everything on this machine\n"
                       "pivotal-sync up --demo     with two simulated providers\n"
                       "pivotal-sync up --demo --once   end when the mirror equals them\n\n"
                       "Private PostgreSQL and Redis in DATA_DIR unless DATABASE_URL and\n"
                       "REDIS_URL name others. Ctrl-C ends all in order.");
            return 0;
        } else {
            (void)fprintf(stderr, "pivotal-sync up: unknown word '%s'; see `up --help`\n",
                          words[i]);
            return 2;
        }
    }
    if (up->once && !up->demo) {
        (void)fputs("pivotal-sync up: --once goes with --demo\n", stderr);
        return 2;
    }
    return -1;
}

static int run(struct up *up)
{
    struct err err = {0};
    uv_loop_t *loop = &up->loop_here;
    if (uv_loop_init(loop) != 0) {
        (void)fputs("pivotal-sync up: cannot make an event loop\n", stderr);
        return 1;
    }
    up->loop = loop;
    struct proc_options o = {.arg = up, .drain = on_signal};
    struct http_client_options h = {.user_agent = "pivotal-sync-up/" PIVOTAL_SYNC_VERSION,
                                    .max_connections = 8,
                                    .max_connections_per_host = 4,
                                    .allow_private_hosts = true};
    up->proc = proc_new(loop, &o, &err);
    up->children = up->proc == NULL ? NULL : up_children_new(loop, say_child, up, &err);
    up->http = up->children == NULL ? NULL : http_client_new(loop, &h, &err);
    if (up->http == NULL || task_run(loop, up_task, up, &err) < 0) {
        (void)fprintf(stderr, "pivotal-sync up: %s\n", err.msg);
        up->code = 1;
    }
    http_client_free(up->http);
    up_children_free(up->children);
    proc_free(up->proc);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    task_cleanup();
    (void)uv_loop_close(loop);
    return up->code;
}

int up_main(int argc, char **argv)
{
    static const struct config_program program = {
        .bit = CONFIG_CMD,
        .name = "pivotal-sync up",
        .version = PIVOTAL_SYNC_VERSION,
        .about = "Everything on this machine: PostgreSQL, Redis, gateway, scheduler, workers, "
                 "admin.",
        .keeps_rest = true,
    };
    struct up *up = calloc(1, sizeof *up);
    if (up == NULL) {
        return 1;
    }
    up->lock_fd = -1;
    int code = config_start(argc, argv, &program, &up->config);
    /* Our programs read the same file. */
    for (int i = 1; code < 0 && i < argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0) {
            (void)setenv("PIVOTAL_SYNC_CONFIG", argv[i] + 9, 1);
        } else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
            (void)setenv("PIVOTAL_SYNC_CONFIG", argv[i + 1], 1);
        }
    }
    if (code < 0) {
        code = read_words(up);
    }
    if (code < 0) {
        code = run(up);
    }
    if (up->lock_fd >= 0) {
        (void)close(up->lock_fd);
    }
    config_free(up->config);
    free(up->postgres_process);
    free(up->redis_process);
    free(up->programs);
    free(up->demo_process);
    free(up);
    return code;
}
