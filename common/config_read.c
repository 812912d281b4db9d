/* Where settings come from: flags, environment, credentials, files. */
#include "common/config_private.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <unistd.h>

#define PREFIX              "PIVOTAL_SYNC_"
#define DEFAULT_PATH        "/etc/pivotal-sync/pivotal-sync.conf"
#define DEFAULT_CREDENTIALS "/etc/pivotal-sync/credentials"

enum {
    NAME_MAX_BYTES = 64,
    HINT_MAX_BYTES = 128,
    FILE_MAX_BYTES = 256 * 1024,
    FILES_MAX = 100
};

/* ---- flags ---- */

/* "--queue-shards" to "QUEUE_SHARDS"; false when it cannot be the flag of a setting. */
static bool name_of_flag(struct slice flag, char name[NAME_MAX_BYTES])
{
    if (flag.len_bytes < 3 || flag.len_bytes - 2 >= NAME_MAX_BYTES) {
        return false;
    }
    size_t n = 0;
    for (size_t i = 2; i < flag.len_bytes; i++) {
        char c = flag.bytes[i];
        if (!islower((unsigned char)c) && !isdigit((unsigned char)c) && c != '-') {
            return false;
        }
        name[n++] = c == '-' ? '_' : (char)toupper((unsigned char)c);
    }
    name[n] = '\0';
    return true;
}

static void print_flag(struct buf *out, const char *name)
{
    (void)buf_add_str(out, "--");
    for (; *name != '\0'; name++) {
        (void)buf_add_char(out, *name == '_' ? '-' : (char)tolower((unsigned char)*name));
    }
}

static void unknown_flag(struct config *c, struct slice flag, const char *name)
{
    const char *near = config_nearest(slice_of(name));
    struct buf hint;
    buf_init(&hint, HINT_MAX_BYTES);
    if (near != NULL) {
        (void)buf_add_str(&hint, "; did you mean ");
        print_flag(&hint, near);
        (void)buf_add_char(&hint, '?');
    }
    config_add_problem(c, "flag %.*s: unknown%s", (int)flag.len_bytes, flag.bytes,
                       buf_text(&hint));
    c->usage_problem = true;
    buf_release(&hint);
}

static void keep_arg(struct config *c, int i)
{
    c->args[c->arg_count++] = c->argv[i];
}

/* The value of the flag at *i: behind '=', or the next word. */
static const char *flag_value(struct config *c, int *i, const char *equals)
{
    if (equals != NULL) {
        return equals + 1;
    }
    if (*i + 1 >= c->argc) {
        config_add_problem(c, "flag %s: its value is missing", c->argv[*i]);
        c->usage_problem = true;
        return NULL;
    }
    *i += 1;
    return c->argv[*i];
}

static void take_setting_flag(struct config *c, int *i, struct slice flag, int s,
                              bool file_form, const char *equals)
{
    const struct config_row *row = &config_rows[s];
    if ((row->flags & FLAG_SECRET) != 0 && !file_form) {
        config_add_problem(c,
                           "flag %.*s: a secret has no flag, since others could read it; put "
                           "it into a file and set " PREFIX "%s_FILE",
                           (int)flag.len_bytes, flag.bytes, row->name);
        c->usage_problem = true;
        if (equals == NULL && *i + 1 < c->argc) {
            *i += 1; /* its value is no word of ours */
        }
        return;
    }
    const char *value =
        row->type == TYPE_BOOL && equals == NULL ? "on" : flag_value(c, i, equals);
    if (value == NULL) {
        return;
    }
    char source[NAME_MAX_BYTES + 16];
    (void)snprintf(source, sizeof source, "flag %.*s", (int)flag.len_bytes, flag.bytes);
    size_t before = c->problem_count;
    config_offer(c, (enum setting)s, file_form, LAYER_FLAG, value, source);
    c->usage_problem = c->usage_problem || c->problem_count > before;
}

/* Flags of every program. */
static bool take_common_flag(struct config *c, int *i, struct slice flag, const char *equals)
{
    if (slice_is(flag, "--config")) {
        const char *path = flag_value(c, i, equals);
        if (path != NULL) {
            c->path = path;
            c->path_given = true;
        }
        return true;
    }
    if (c->program->keeps_rest) {
        return false;
    }
    bool help = slice_is(flag, "--help") || slice_is(flag, "-h");
    bool version = slice_is(flag, "--version") || slice_is(flag, "-V");
    c->wants_help = c->wants_help || help;
    c->wants_version = c->wants_version || version;
    return help || version;
}

void config_read_flags(struct config *c)
{
    for (int i = 1; i < c->argc; i++) {
        const char *word = c->argv[i];
        const char *equals = strchr(word, '=');
        struct slice flag = {word, equals == NULL ? strlen(word) : (size_t)(equals - word)};
        char name[NAME_MAX_BYTES];
        bool file_form = false;
        if (strcmp(word, "--") == 0 && c->program->keeps_rest) {
            for (; i < c->argc; i++) {
                keep_arg(c, i);
            }
            return;
        }
        if (take_common_flag(c, &i, flag, equals)) {
            continue;
        }
        bool is_flag =
            flag.len_bytes > 2 && memcmp(word, "--", 2) == 0 && name_of_flag(flag, name);
        int s = is_flag ? config_find(slice_of(name), &file_form) : -1;
        if (s >= 0 && (config_rows[s].programs & c->program->bit) != 0) {
            take_setting_flag(c, &i, flag, s, file_form, equals);
        } else if (c->program->keeps_rest) {
            keep_arg(c, i);
        } else if (is_flag) {
            unknown_flag(c, flag, name);
        } else {
            config_add_problem(c, "'%s': this program takes flags only", word);
            c->usage_problem = true;
        }
    }
}

/* ---- environment ---- */

static bool ends_with(struct slice s, const char *tail)
{
    size_t n = strlen(tail);
    return s.len_bytes >= n && memcmp(s.bytes + s.len_bytes - n, tail, n) == 0;
}

/* Kubernetes puts such variables into every container for a service called pivotal-sync; and
 * PIVOTAL_SYNC_TEST_... is what tests tell each other. */
static bool is_service_link(struct slice name)
{
    return (name.len_bytes > 5 && memcmp(name.bytes, "TEST_", 5) == 0) ||
           ends_with(name, "_SERVICE_HOST") || ends_with(name, "SERVICE_HOST") ||
           memmem(name.bytes, name.len_bytes, "SERVICE_PORT", 12) != NULL ||
           ends_with(name, "_PORT") || slice_is(name, "PORT") ||
           memmem(name.bytes, name.len_bytes, "PORT_", 5) != NULL;
}

static void take_variable(struct config *c, struct slice name, const char *value)
{
    bool file_form;
    int s = config_find(name, &file_form);
    if (s >= 0) {
        char source[NAME_MAX_BYTES + 32];
        (void)snprintf(source, sizeof source, "environment " PREFIX "%.*s", (int)name.len_bytes,
                       name.bytes);
        config_offer(c, (enum setting)s, file_form, LAYER_ENV, value, source);
        return;
    }
    if (slice_is(name, "CONFIG")) {
        if (!c->path_given) {
            c->path = value;
            c->path_given = true;
        }
        return;
    }
    if (is_service_link(name)) {
        return;
    }
    const char *near = config_nearest(name);
    config_add_problem(c, "environment " PREFIX "%.*s: unknown setting%s%s%s",
                       (int)name.len_bytes, name.bytes,
                       near != NULL ? "; did you mean " PREFIX : "", near != NULL ? near : "",
                       near != NULL ? "?" : "");
}

void config_read_environment(struct config *c)
{
    for (char **e = environ; e != NULL && *e != NULL; e++) {
        const char *equals = strchr(*e, '=');
        size_t prefix = sizeof PREFIX - 1;
        if (equals == NULL || strncmp(*e, PREFIX, prefix) != 0) {
            continue;
        }
        const char *name = *e + prefix;
        take_variable(c, (struct slice){name, (size_t)(equals - name)}, equals + 1);
    }
    for (int s = 0; s < SETTING_COUNT; s++) {
        const struct config_row *row = &config_rows[s];
        const char *value = (row->flags & FLAG_BARE_ENV) != 0 ? getenv(row->name) : NULL;
        if (value != NULL && *value != '\0') {
            char source[NAME_MAX_BYTES + 16];
            (void)snprintf(source, sizeof source, "environment %s", row->name);
            config_offer(c, (enum setting)s, false, LAYER_BARE_ENV, value, source);
        }
    }
}

/* A credential by the name of its setting, or with "pivotal-sync_" before it: so a whole folder
 * loaded by one LoadCredential=pivotal-sync:FOLDER is named. */
static bool credential_path(char *path, size_t size, const char *folder, const char *name)
{
    static const char *const prefixes[] = {"", "pivotal-sync_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        int n = snprintf(path, size, "%s/%s", folder, prefixes[i]);
        if (n < 0 || (size_t)n + strlen(name) >= size) {
            continue;
        }
        for (const char *p = name; *p != '\0'; p++) {
            path[n++] = (char)tolower((unsigned char)*p);
        }
        path[n] = '\0';
        if (access(path, F_OK) == 0) {
            return true;
        }
    }
    return false;
}

void config_read_credentials(struct config *c)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (folder == NULL || *folder == '\0') {
        folder = DEFAULT_CREDENTIALS; /* root's command; for others it does not exist */
    }
    for (int s = 0; s < SETTING_COUNT; s++) {
        const struct config_row *row = &config_rows[s];
        char path[PATH_MAX];
        if ((row->flags & (FLAG_SECRET | FLAG_FILE)) != 0 &&
            credential_path(path, sizeof path, folder, row->name)) {
            char source[PATH_MAX + 16];
            (void)snprintf(source, sizeof source, "credential %s", path);
            config_offer(c, (enum setting)s, true, LAYER_CREDENTIAL, path, source);
        }
    }
}

/* ---- files ---- */

static struct slice trim(struct slice s)
{
    while (s.len_bytes > 0 && isspace((unsigned char)s.bytes[0])) {
        s.bytes++;
        s.len_bytes--;
    }
    while (s.len_bytes > 0 && isspace((unsigned char)s.bytes[s.len_bytes - 1])) {
        s.len_bytes--;
    }
    return s;
}

static struct slice unquote(struct slice s)
{
    if (s.len_bytes >= 2 && (s.bytes[0] == '"' || s.bytes[0] == '\'') &&
        s.bytes[s.len_bytes - 1] == s.bytes[0]) {
        return (struct slice){s.bytes + 1, s.len_bytes - 2};
    }
    return s;
}

static void unknown_key(struct config *c, const char *source, struct slice name)
{
    size_t prefix = sizeof PREFIX - 1;
    bool prefixed = name.len_bytes > prefix && memcmp(name.bytes, PREFIX, prefix) == 0;
    struct slice rest = {name.bytes + prefix, prefixed ? name.len_bytes - prefix : 0};
    bool file_form;
    int shown = name.len_bytes < NAME_MAX_BYTES ? (int)name.len_bytes : NAME_MAX_BYTES;
    if (prefixed && config_find(rest, &file_form) >= 0) {
        config_add_problem(c, "%s: %.*s: in a file the name has no prefix: %.*s", source, shown,
                           name.bytes, (int)rest.len_bytes, rest.bytes);
        return;
    }
    const char *near = config_nearest(name);
    config_add_problem(c, "%s: %.*s: unknown setting%s%s%s", source, shown, name.bytes,
                       near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                       near != NULL ? "?" : "");
}

static void take_line(struct config *c, struct slice line, const char *source, int layer)
{
    line = trim(line);
    if (line.len_bytes == 0 || line.bytes[0] == '#' || line.bytes[0] == ';') {
        return;
    }
    const char *equals = memchr(line.bytes, '=', line.len_bytes);
    if (equals == NULL) {
        config_add_problem(c, "%s: a line is NAME=value, or a comment that begins with #",
                           source);
        return;
    }
    size_t before = (size_t)(equals - line.bytes);
    struct slice name = trim((struct slice){line.bytes, before});
    struct slice value = unquote(trim((struct slice){equals + 1, line.len_bytes - before - 1}));
    bool file_form;
    int s = config_find(name, &file_form);
    if (s < 0) {
        unknown_key(c, source, name);
        return;
    }
    char *text = strndup(value.bytes, value.len_bytes);
    if (text == NULL) {
        c->nomem = true;
        return;
    }
    config_offer(c, (enum setting)s, file_form, layer, text, source);
    explicit_bzero(text, strlen(text));
    free(text);
}

/* The whole file as text; -1 with a problem told. */
static int read_file(struct config *c, const char *path, char *text, size_t *len_bytes)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        config_add_problem(c, "%s: cannot be opened: %s", path, strerror(errno));
        return -1;
    }
    (void)setvbuf(f, NULL, _IONBF, 0); /* may hold secrets: no second copy */
    *len_bytes = fread(text, 1, FILE_MAX_BYTES, f);
    bool failed = ferror(f) != 0;
    (void)fclose(f);
    if (failed) {
        config_add_problem(c, "%s: cannot be read: %s", path, strerror(errno));
    } else if (*len_bytes == FILE_MAX_BYTES) {
        config_add_problem(c, "%s: is larger than %d bytes", path, FILE_MAX_BYTES - 1);
        failed = true;
    }
    return failed ? -1 : 0;
}

static void read_one(struct config *c, const char *path)
{
    char *text = malloc(FILE_MAX_BYTES);
    size_t len = 0;
    if (text == NULL) {
        c->nomem = true;
        return;
    }
    if (c->file_count < FILES_MAX && read_file(c, path, text, &len) == 0) {
        int layer = LAYER_FILES + c->file_count++;
        int number = 1;
        const char *end = text + len;
        for (const char *p = text; p < end; number++) {
            const char *eol = memchr(p, '\n', (size_t)(end - p));
            eol = eol == NULL ? end : eol;
            char source[PATH_MAX + 16];
            (void)snprintf(source, sizeof source, "%s:%d", path, number);
            take_line(c, (struct slice){p, (size_t)(eol - p)}, source, layer);
            p = eol + 1;
        }
    }
    explicit_bzero(text, FILE_MAX_BYTES);
    free(text);
}

void config_read_files(struct config *c)
{
    const char *path = c->path == NULL ? DEFAULT_PATH : c->path;
    if (*path != '\0' && (c->path_given || access(path, F_OK) == 0)) {
        read_one(c, path);
    }
    const char *slash = strrchr(path, '/');
    char pattern[PATH_MAX];
    int n = snprintf(pattern, sizeof pattern, "%.*sconf.d/*.conf",
                     slash == NULL ? 0 : (int)(slash - path + 1), path);
    glob_t found;
    if (*path == '\0' || n < 0 || (size_t)n >= sizeof pattern ||
        glob(pattern, 0, NULL, &found) != 0) {
        return;
    }
    for (size_t i = 0; i < found.gl_pathc; i++) {
        read_one(c, found.gl_pathv[i]);
    }
    globfree(&found);
}
