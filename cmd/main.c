/* pivotal-sync: the admins' command. Finds the verb, parses its options, opens what it needs
 * and runs it in a task. */
#include "cmd/cmd.h"
#include "cmd/up.h"

#include "common/proc.h"
#include "common/secret.h"
#include "common/task.h"
#include "core/lookup.h"

#include <errno.h>
#include <locale.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct config_program program = {
    .bit = CONFIG_CMD,
    .name = "pivotal-sync",
    .version = PIVOTAL_SYNC_VERSION,
    .about = "Mirrors HubSpot and Stripe into PostgreSQL, and says why a record is missing.",
    .keeps_rest = true,
};

/* ---- what verbs ask of the command line ---- */

const char *cmd_option(const struct cmd *c, const char *name)
{
    for (int i = 0; i < c->option_count; i++) {
        if (strcmp(c->options[i].name, name) == 0) {
            return c->options[i].value;
        }
    }
    return NULL;
}

bool cmd_has(const struct cmd *c, const char *name)
{
    return cmd_option(c, name) != NULL;
}

const char *cmd_workspace(const struct cmd *c)
{
    return cmd_option(c, "workspace");
}

int64_t cmd_duration_ms(const char *text, struct err *err)
{
    char *end = NULL;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    int64_t unit_ms = *end == '\0' || strcmp(end, "s") == 0 ? 1000
                      : strcmp(end, "m") == 0               ? 60000
                      : strcmp(end, "h") == 0               ? 3600000
                      : strcmp(end, "d") == 0               ? 86400LL * 1000
                      : strcmp(end, "ms") == 0              ? 1
                                                            : 0;
    if (end == text || errno != 0 || n < 0 || unit_ms == 0 || n > 100000000) {
        err_set(err, ERR_INVALID, "'%s' is not a time: 90s, 15m, 24h, 7d", text);
        return -1;
    }
    return n * unit_ms;
}

int64_t cmd_timeout_ms(const struct cmd *c, int64_t otherwise_ms, struct err *err)
{
    const char *text = cmd_option(c, "timeout");
    return text != NULL ? cmd_duration_ms(text, err) : otherwise_ms;
}

char *cmd_secret(const char *path, struct err *err)
{
    struct secret *s = secret_load(strcmp(path, "-") == 0 ? "/dev/stdin" : path, 0, err);
    if (s == NULL) {
        return NULL;
    }
    char *text = strdup(secret_text(s));
    secret_free(s);
    if (text == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
    }
    return text;
}

struct connection *cmd_connection(struct cmd *c, const char *provider, struct err *err)
{
    return lookup_connection(c->app, cmd_workspace(c), provider, err);
}

int64_t cmd_limit(const struct cmd *c, int64_t otherwise, struct err *err)
{
    const char *text = cmd_option(c, "limit");
    char *end = NULL;
    if (text == NULL) {
        return otherwise;
    }
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || n < 0) {
        err_set(err, ERR_INVALID, "-n '%s' is not a number of rows; 0 = all", text);
        return -1;
    }
    return n;
}

int64_t cmd_list_start(struct cmd *c, struct connection **conn, struct err *err)
{
    int64_t limit = cmd_limit(c, 50, err);
    *conn = NULL;
    if (limit < 0 ||
        (c->arg_count > 0 && (*conn = cmd_connection(c, c->args[0], err)) == NULL)) {
        return -1;
    }
    return limit == 0 ? INT64_MAX : limit;
}

int cmd_check_number(const struct cmd *c, const char *option, struct err *err)
{
    const char *text = cmd_option(c, option);
    if (text == NULL ||
        (text[0] != '\0' && strlen(text) < 20 && strspn(text, "0123456789") == strlen(text))) {
        return 0;
    }
    err_set(err, ERR_INVALID, "--%s '%s' is not a number", option, text);
    return -1;
}

/* ---- messages ---- */

static bool quiet; /* -q; set before anything is said */

void say(const char *fmt, ...)
{
    va_list ap;
    if (quiet) {
        return;
    }
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* ---- Ctrl-C ---- */

/* Set before the handler may read it, so that it ends the program at once, wherever that is. */
static char goodbye[256] = "\n";
static bool at_terminal;

void cmd_on_interrupt(const char *fmt, ...)
{
    va_list ap;
    char text[sizeof goodbye - 8];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(goodbye, sizeof goodbye, "\n%s%s", text, text[0] != '\0' ? "\n" : "");
}

static void on_interrupt(int signal_no)
{
    static const char mend[] = "\033[?25h"; /* the cursor, should it be hidden */
    (void)signal_no;
    if (at_terminal) {
        (void)!write(STDOUT_FILENO, mend, sizeof mend - 1);
    }
    (void)!write(STDERR_FILENO, goodbye, strlen(goodbye));
    _exit(EXIT_INTERRUPTED);
}

/* ---- running ---- */

static int exit_of(const struct err *err)
{
    switch (err->code) {
    case ERR_NONE:
        return EXIT_OK;
    case ERR_INVALID:
        return EXIT_USAGE;
    case ERR_NOT_FOUND:
        return EXIT_NOT_FOUND;
    case ERR_AUTH:
        return EXIT_REAUTHORIZE;
    case ERR_CONFLICT:
        return EXIT_CONFLICT;
    case ERR_TIMEOUT:
        return EXIT_TIMED_OUT;
    case ERR_UNAVAILABLE:
        return EXIT_UNAVAILABLE;
    case ERR_DENIED:
        return EXIT_NOT_ALLOWED;
    case ERR_CONFIG:
        return EXIT_BAD_CONFIG;
    case ERR_OS:
    case ERR_NOMEM:
    case ERR_RATE_LIMITED:
    case ERR_TEMPORARY:
    case ERR_REJECTED:
    case ERR_PROTOCOL:
    case ERR_CANCELLED:
    case ERR_INTERNAL:
        return EXIT_FAILED;
    }
    return EXIT_FAILED;
}

struct running {
    struct cmd *cmd;
    int code;
    struct err err;
};

static void run_task(void *arg)
{
    struct running *r = arg;
    r->code = r->cmd->verb->run(r->cmd, &r->err);
}

/* --timeout of a verb that has none of its own: the whole of it is given up. */
static void on_deadline(uv_timer_t *timer)
{
    const struct cmd *c = timer->data;
    fflush(stdout);
    fprintf(stderr, "pivotal-sync: gave up after %s\n", cmd_option(c, "timeout"));
    _exit(EXIT_TIMED_OUT);
}

static int start_deadline(uv_loop_t *loop, uv_timer_t *timer, struct cmd *c, struct err *err)
{
    for (const struct option_def *o = c->verb->options; o != NULL && o->name != NULL; o++) {
        if (strcmp(o->name, "timeout") == 0) {
            return 0;
        }
    }
    int64_t ms = cmd_timeout_ms(c, 0, err);
    if (ms > 0) {
        (void)uv_timer_init(loop, timer);
        timer->data = c;
        (void)uv_timer_start(timer, on_deadline, (uint64_t)ms, 0);
        uv_unref((uv_handle_t *)timer);
    }
    return ms < 0 ? -1 : 0;
}

static int run_verb(struct cmd *c)
{
    struct app app = {0};
    struct running r = {.cmd = c};
    uv_loop_t loop;
    uv_timer_t deadline = {0};
    if (uv_loop_init(&loop) != 0) {
        return EXIT_FAILED;
    }
    at_terminal = isatty(STDOUT_FILENO) != 0;
    (void)signal(SIGINT, on_interrupt);
    int rc = 0;
    // cppcheck-suppress autoVariables ; only while the verb runs: cleared below
    c->app = &app;
    if (c->verb->needs != 0) {
        rc = app_open(&app, "cmd", &loop, c->config, c->verb->needs, &r.err);
        c->config = app.config;
    } else {
        app.loop = &loop;
        app.config = c->config;
    }
    if (rc == 0 && cmd_has(c, "verbose")) {
        log_set_level(app.log, LOG_DEBUG);
    }
    if (rc == 0) {
        rc = start_deadline(&loop, &deadline, c, &r.err);
    }
    if (rc == 0) {
        rc = task_run(&loop, run_task, &r, &r.err);
    }
    if (deadline.data != NULL) {
        uv_close((uv_handle_t *)&deadline, NULL);
    }
    if (rc != 0 || r.code < 0) {
        fprintf(stderr, "pivotal-sync: %s\n", r.err.msg);
        r.code = exit_of(&r.err);
    }
    c->app = NULL;
    app_close(&app);
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* the handles close */
    task_cleanup();
    (void)uv_loop_close(&loop);
    return r.code;
}

static const char *who_am_i(void)
{
    const char *sudo = getenv("SUDO_USER");
    const struct passwd *pw = getpwuid(getuid());
    return sudo != NULL && sudo[0] != '\0' ? sudo : pw != NULL ? pw->pw_name : "unknown";
}

int main(int argc, char **argv)
{
    struct cmd c = {.actor = {who_am_i(), "cli"}};
    (void)setlocale(LC_CTYPE, "C.UTF-8"); /* how wide characters are */
    if (argc > 1 && strcmp(argv[1], "up") == 0) {
        return up_main(argc - 1, argv + 1);
    }
    proc_protect_memory(); /* keys and tokens are read by commands, too */
    int code = config_start(argc, argv, &program, &c.config);
    if (c.config == NULL) {
        return code;
    }
    int n = 0;
    char *const *words = config_args(c.config, &n);
    code = parse_words(&c, words, n);
    if (cmd_has(&c, "no-color")) {
        (void)setenv("NO_COLOR", "1", 1);
    }
    quiet = cmd_has(&c, "quiet");
    if (code == PARSE_RUN) {
        code = run_verb(&c); /* which frees the settings with all else */
    } else {
        config_free(c.config);
    }
    struct err err = {0};
    if (output_close(&err) != 0) {
        fprintf(stderr, "pivotal-sync: %s\n", err.msg);
        return code != EXIT_OK ? code : EXIT_FAILED;
    }
    return code;
}
