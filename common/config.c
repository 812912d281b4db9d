#include "common/config.h"

#include "common/config_private.h"
#include "common/log.h"
#include "common/secret.h"

#include <stdarg.h>
#include <unistd.h>

enum {
    NAME_MAX_BYTES = 64,
    PROBLEM_MAX_BYTES = 1024,
    VALUE_SHOWN_BYTES = 200,
    HELP_MAX_BYTES = 64 * 1024
};

/* ---- problems and names ---- */

void config_add_problem(struct config *c, const char *fmt, ...)
{
    char text[PROBLEM_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char **problems = reallocarray(c->problems, c->problem_count + 1, sizeof *c->problems);
    if (problems == NULL) {
        c->nomem = true;
        return;
    }
    c->problems = problems;
    c->problems[c->problem_count] = strdup(text);
    if (c->problems[c->problem_count] == NULL) {
        c->nomem = true;
        return;
    }
    c->problem_count++;
}

int config_find(struct slice name, bool *file_form)
{
    *file_form = false;
    for (int s = 0; s < SETTING_COUNT; s++) {
        if (slice_is(name, config_rows[s].name)) {
            return s;
        }
    }
    if (name.len_bytes <= 5 || memcmp(name.bytes + name.len_bytes - 5, "_FILE", 5) != 0) {
        return -1;
    }
    struct slice stem = {name.bytes, name.len_bytes - 5};
    for (int s = 0; s < SETTING_COUNT; s++) {
        if (slice_is(stem, config_rows[s].name) &&
            (config_rows[s].flags & (FLAG_SECRET | FLAG_FILE)) != 0) {
            *file_form = true;
            return s;
        }
    }
    return -1;
}

/* How many letters to add, drop or change (Levenshtein). */
static size_t distance(struct slice a, const char *b)
{
    size_t row[NAME_MAX_BYTES + 1];
    size_t b_len = strlen(b);
    if (a.len_bytes > NAME_MAX_BYTES || b_len > NAME_MAX_BYTES) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.len_bytes; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (a.bytes[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = change < least ? change : least;
        }
    }
    return row[b_len];
}

const char *config_nearest(struct slice name)
{
    const char *best = NULL;
    size_t best_distance = name.len_bytes / 3 + 2; /* one more than what is still near */
    for (int s = 0; s < SETTING_COUNT; s++) {
        size_t d = distance(name, config_rows[s].name);
        if (d < best_distance) {
            best = config_rows[s].name;
            best_distance = d;
        }
    }
    return best;
}

/* ---- values ---- */

static void wipe_text(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

static void set_value(struct config *c, enum setting s, char *text, int64_t number, int layer,
                      const char *source)
{
    struct config_value *v = &c->values[s];
    wipe_text(v->text);
    free(v->source);
    v->text = text;
    v->number = number;
    v->layer = layer;
    v->source = source == NULL ? NULL : strdup(source);
    c->nomem = c->nomem || (source != NULL && v->source == NULL);
}

/* The text of the file that <NAME>_FILE names; caller wipes. */
static char *read_form(struct config *c, const struct config_row *row, const char *path,
                       const char *source)
{
    struct err err = {0};
    struct secret *secret = secret_load(path, 0, &err);
    if (secret == NULL) {
        config_add_problem(c, "%s: %s: %s", source, row->name, err.msg);
        return NULL;
    }
    char *text = NULL;
    if (memchr(secret_text(secret), '\0', secret_slice(secret).len_bytes) != NULL) {
        config_add_problem(c, "%s: %s: '%s' has a NUL in it", source, row->name, path);
    } else {
        text = strdup(secret_text(secret));
        c->nomem = c->nomem || text == NULL;
    }
    secret_free(secret);
    return text;
}

static void check_and_set(struct config *c, enum setting s, const char *text, bool file_form,
                          int layer, const char *source)
{
    const struct config_row *row = &config_rows[s];
    struct buf allowed;
    buf_init(&allowed, PROBLEM_MAX_BYTES);
    int64_t number;
    char *normal = config_check(row, text, &number, &allowed);
    if (normal == NULL) {
        bool hidden = file_form || (row->flags & (FLAG_SECRET | FLAG_FILE)) != 0;
        config_add_problem(c, "%s: %s = %s%.*s%s: allowed is %s", source, row->name,
                           hidden ? "(not shown)" : "'", hidden ? 0 : VALUE_SHOWN_BYTES, text,
                           hidden ? "" : "'", buf_text(&allowed));
    } else if (layer >= c->values[s].layer) {
        set_value(c, s, normal, number, layer, source);
        c->values[s].by_file_form = file_form;
    } else {
        wipe_text(normal);
    }
    buf_release(&allowed);
}

/* Remember an offer; false with a problem told when one of this layer was there before. */
static bool first_of_layer(struct config *c, enum setting s, bool file_form, int layer,
                           const char *source)
{
    const char *name = config_rows[s].name;
    struct config_value *v = &c->values[s];
    if (v->offered_source != NULL && v->offered_layer == layer) {
        if (v->offered_form != file_form) {
            config_add_problem(c, "%s: %s and %s_FILE are both set (%s); keep one", source,
                               name, name, v->offered_source);
        } else {
            config_add_problem(c, "%s: %s is set twice (%s)", source, name, v->offered_source);
        }
        return false;
    }
    free(v->offered_source);
    v->offered_source = strdup(source);
    c->nomem = c->nomem || v->offered_source == NULL;
    v->offered_layer = layer;
    v->offered_form = file_form;
    return true;
}

void config_offer(struct config *c, enum setting s, bool file_form, int layer, const char *text,
                  const char *source)
{
    /* `NAME=` in a unit or compose file means: not set */
    if (*text == '\0' || !first_of_layer(c, s, file_form, layer, source)) {
        return;
    }
    if (!file_form) {
        check_and_set(c, s, text, false, layer, source);
        return;
    }
    char *content = read_form(c, &config_rows[s], text, source);
    if (content != NULL) {
        check_and_set(c, s, content, true, layer, source);
        wipe_text(content);
    }
}

/* ---- defaults that depend on something ---- */

static void set_default(struct config *c, enum setting s, const char *text)
{
    if (c->values[s].text != NULL || text == NULL) {
        return;
    }
    struct buf allowed;
    buf_init(&allowed, PROBLEM_MAX_BYTES);
    int64_t number;
    char *normal = config_check(&config_rows[s], text, &number, &allowed);
    if (normal == NULL) {
        c->nomem = true; /* a default is always allowed */
    } else {
        set_value(c, s, normal, number, LAYER_DEFAULT, NULL);
    }
    buf_release(&allowed);
}

static void default_data_dir(struct config *c)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    struct buf b;
    buf_init(&b, PROBLEM_MAX_BYTES);
    if (geteuid() == 0) {
        (void)buf_add_str(&b, "/var/lib/pivotal-sync");
    } else if (state != NULL && *state == '/') {
        (void)buf_printf(&b, "%s/pivotal-sync", state);
    } else if (home != NULL && *home == '/') {
        (void)buf_printf(&b, "%s/.local/state/pivotal-sync", home);
    } else {
        (void)buf_printf(&b, "/tmp/pivotal-sync-%ld", (long)geteuid());
    }
    set_default(c, SETTING_DATA_DIR, buf_text(&b));
    buf_release(&b);
}

static void fill_defaults(struct config *c)
{
    for (int s = 0; s < SETTING_COUNT; s++) {
        set_default(c, (enum setting)s, config_rows[s].fallback);
    }
    char text[SECRET_MAX_BYTES];
    (void)snprintf(text, sizeof text, "%s/v1/oauth/token",
                   config_text(c, SETTING_STRIPE_API_BASE));
    set_default(c, SETTING_STRIPE_TOKEN_URL, text);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    (void)snprintf(text, sizeof text, "%ld", cores < 1 ? 1 : cores > 256 ? 256 : cores);
    set_default(c, SETTING_WORKER_PROCESSES, text);
    set_default(c, SETTING_LOG_FORMAT,
                log_format_for(STDERR_FILENO) == LOG_TEXT ? "text" : "json");
    set_default(c, SETTING_MIGRATE_DATABASE_URL, c->values[SETTING_DATABASE_URL].text);
    default_data_dir(c);
}

/* ---- what the header promises ---- */

static struct config *config_empty(int argc, char *const argv[],
                                   const struct config_program *program)
{
    struct config *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    c->program = program;
    c->argc = argc;
    c->argv = argv;
    c->args = calloc((size_t)argc + 1, sizeof *c->args);
    if (c->args == NULL) {
        config_free(c);
        return NULL;
    }
    return c;
}

struct config *config_load(int argc, char *const argv[], const struct config_program *program,
                           struct err *err)
{
    struct config *c = config_empty(argc, argv, program);
    if (c != NULL) {
        config_read_flags(c);
        config_read_environment(c);
        config_read_credentials(c);
        config_read_files(c);
        fill_defaults(c);
        if (!c->nomem) {
            return c;
        }
    }
    config_free(c);
    err_set(err, ERR_NOMEM, "out of memory for the settings");
    return NULL;
}

struct config *config_reload(const struct config *c, struct err *err)
{
    return config_load(c->argc, c->argv, c->program, err);
}

void config_free(struct config *c)
{
    if (c == NULL) {
        return;
    }
    for (int s = 0; s < SETTING_COUNT; s++) {
        wipe_text(c->values[s].text);
        free(c->values[s].source);
        free(c->values[s].offered_source);
    }
    for (size_t i = 0; i < c->problem_count; i++) {
        free(c->problems[i]);
    }
    free(c->problems);
    free(c->args);
    free(c);
}

void config_freep(struct config **c)
{
    config_free(*c);
    *c = NULL;
}

size_t config_problem_count(const struct config *c)
{
    return c->problem_count;
}

const char *config_problem(const struct config *c, size_t i)
{
    return c->problems[i];
}

static int answer_help(const struct config *c)
{
    struct buf b;
    buf_init(&b, HELP_MAX_BYTES);
    (void)buf_printf(&b, "Usage: %s [FLAGS]\n\n%s\n\nFlags:\n", c->program->name,
                     c->program->about);
    (void)config_write_flags(c->program->bit, &b);
    (void)fputs(buf_text(&b), stdout);
    buf_release(&b);
    return 0;
}

int config_start(int argc, char *const argv[], const struct config_program *program,
                 struct config **out)
{
    enum { GO_ON = -1, OK = 0, FAILED = 1, WRONG_USAGE = 2, WRONG_SETTINGS = 10 };
    struct err err = {0};
    *out = NULL;
    CLEANUP(config_freep) struct config *c = config_load(argc, argv, program, &err);
    if (c == NULL) {
        (void)fprintf(stderr, "%s: %s\n", program->name, err.msg);
        return FAILED;
    }
    if (c->wants_help) {
        return answer_help(c);
    }
    if (c->wants_version) {
        (void)printf("%s %s\n", program->name, program->version);
        return OK;
    }
    for (size_t i = 0; i < c->problem_count; i++) {
        (void)fprintf(stderr, "%s: %s\n", program->name, c->problems[i]);
    }
    if (c->problem_count > 0) {
        return c->usage_problem ? WRONG_USAGE : WRONG_SETTINGS;
    }
    *out = c;
    c = NULL;
    return GO_ON;
}

char *const *config_args(const struct config *c, int *count)
{
    *count = c->arg_count;
    return c->args;
}

bool config_is_set(const struct config *c, enum setting s)
{
    return c->values[s].layer != LAYER_DEFAULT;
}

const char *config_text(const struct config *c, enum setting s)
{
    return c->values[s].text == NULL ? "" : c->values[s].text;
}

int64_t config_int(const struct config *c, enum setting s)
{
    return c->values[s].number;
}

bool config_bool(const struct config *c, enum setting s)
{
    return c->values[s].number != 0;
}

/* The item of a list at *p, without blanks; *p moves behind it. False at the end. */
static bool next_item(const char **p, struct slice *item)
{
    while (**p != '\0') {
        const char *end = strchrnul(*p, ',');
        const char *from = *p;
        const char *to = end;
        *p = *end == ',' ? end + 1 : end;
        while (from < to && *from == ' ') {
            from++;
        }
        while (to > from && to[-1] == ' ') {
            to--;
        }
        if (to > from) {
            *item = (struct slice){from, (size_t)(to - from)};
            return true;
        }
    }
    return false;
}

size_t config_list_count(const struct config *c, enum setting s)
{
    const char *p = config_text(c, s);
    struct slice item;
    size_t count = 0;
    while (next_item(&p, &item)) {
        count++;
    }
    return count;
}

struct slice config_list_item(const struct config *c, enum setting s, size_t i)
{
    const char *p = config_text(c, s);
    struct slice item;
    while (next_item(&p, &item)) {
        if (i-- == 0) {
            return item;
        }
    }
    return (struct slice){0};
}

const char *config_source(const struct config *c, enum setting s)
{
    return c->values[s].source == NULL ? "default" : c->values[s].source;
}

bool config_same(const struct config *a, const struct config *b, enum setting s)
{
    return strcmp(config_text(a, s), config_text(b, s)) == 0;
}
