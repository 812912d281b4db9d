/* A bound log keeps its fields rendered, so a line costs one formatting of the message and one
 * write(2). One write a line also keeps the lines of several programs on one pipe apart.
 * Rejected: a thread or a buffer for the log (lines must be out before a crash). */
#include "common/log.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

enum {
    FIELDS_MAX_BYTES = 2048,
    LINE_MAX_BYTES = 128 * 1024, /* far beyond what the limits below add up to */
    MESSAGE_MAX_BYTES = 2048,
    VALUE_MAX_BYTES = 512, /* a longer value is cut */
    NAME_MAX_BYTES = 64,
};

struct log {
    struct log *root; /* itself in the first one */
    const char *program;
    int fd;
    enum log_level level; /* the root's counts */
    enum log_format format;
    size_t fields_bytes;
    char fields[FIELDS_MAX_BYTES]; /* rendered, each beginning with its separator */
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};
/* severity_number of OpenTelemetry's log model */
static const int level_numbers[] = {5, 9, 13, 17};

int log_level_parse(const char *text, enum log_level *out)
{
    for (size_t i = 0; i < COUNT_OF(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

int log_format_parse(const char *text, enum log_format *out)
{
    if (strcmp(text, "text") != 0 && strcmp(text, "json") != 0) {
        return -1;
    }
    *out = text[0] == 't' ? LOG_TEXT : LOG_JSON;
    return 0;
}

enum log_format log_format_for(int fd)
{
    return isatty(fd) ? LOG_TEXT : LOG_JSON;
}

struct log *log_new(const char *program, int fd, enum log_level level, enum log_format format,
                    struct err *err)
{
    struct log *l = calloc(1, sizeof *l);
    if (l == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the log");
        return NULL;
    }
    l->root = l;
    l->program = program;
    l->fd = fd;
    l->level = level;
    l->format = format;
    return l;
}

struct log *log_bind(const struct log *parent)
{
    if (parent == NULL) {
        return NULL;
    }
    struct log *l = malloc(sizeof *l);
    if (l != NULL) {
        *l = *parent;
    }
    return l;
}

void log_free(struct log *l)
{
    free(l);
}

void log_freep(struct log **l)
{
    log_free(*l);
    *l = NULL;
}

void log_set_level(struct log *l, enum log_level level)
{
    if (l != NULL) {
        l->root->level = level;
    }
}

bool log_on(const struct log *l, enum log_level level)
{
    return l != NULL && level >= l->root->level;
}

/* ---- rendering ---- */

static bool needs_quotes(struct slice s)
{
    if (s.len_bytes == 0) {
        return true;
    }
    for (size_t i = 0; i < s.len_bytes; i++) {
        unsigned char c = (unsigned char)s.bytes[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f) {
            return true;
        }
    }
    return false;
}

static void add_value_text(struct buf *out, struct slice s)
{
    s = utf8_cut(s, VALUE_MAX_BYTES);
    if (needs_quotes(s)) {
        (void)json_add_text(out, s);
    } else {
        (void)buf_add(out, s.bytes, s.len_bytes);
    }
}

/* Names that are not ours keep their spelling. */
static bool is_standard_name(const char *name)
{
    return strchr(name, '.') != NULL;
}

static void add_field(const struct log *l, struct buf *out, const struct log_field *f)
{
    if (l->format == LOG_JSON) {
        (void)buf_printf(out, ",\"%s%s\":", is_standard_name(f->name) ? "" : "pivotal_sync.",
                         f->name);
    } else {
        (void)buf_printf(out, " %s=", f->name);
    }
    if (f->text == NULL) {
        (void)buf_printf(out, "%lld", (long long)f->number);
    } else if (l->format == LOG_JSON) {
        (void)json_add_text(out, utf8_cut(slice_of(f->text), VALUE_MAX_BYTES));
    } else {
        add_value_text(out, slice_of(f->text));
    }
}

/* Take the field that begins with prefix out of those already rendered. A quoted value may
 * hold anything, so the end is found by reading it as it was written. */
static void remove_field(struct log *l, const char *prefix)
{
    size_t prefix_bytes = strlen(prefix);
    char *end = l->fields + l->fields_bytes;
    char *p = l->fields;
    while (p < end) {
        char *value = memchr(p + 1, l->format == LOG_JSON ? ':' : '=', (size_t)(end - p - 1));
        if (value == NULL) {
            return;
        }
        char *next = value + 1;
        if (*next == '"') {
            for (next++; next < end && *next != '"'; next++) {
                next += *next == '\\';
            }
            next++;
        } else {
            while (next < end && *next != ' ' && *next != ',') {
                next++;
            }
        }
        if ((size_t)(end - p) > prefix_bytes && memcmp(p, prefix, prefix_bytes) == 0) {
            memmove(p, next, (size_t)(end - next));
            l->fields_bytes -= (size_t)(next - p);
            return;
        }
        p = next;
    }
}

static void set_field(struct log *l, const struct log_field *f)
{
    if (l == NULL || strlen(f->name) > NAME_MAX_BYTES) {
        return;
    }
    struct buf out;
    buf_init(&out, sizeof l->fields);
    add_field(l, &out, f);
    /* What stands before the value is the same for each value of this name. */
    char prefix[NAME_MAX_BYTES + 24];
    if (l->format == LOG_JSON) {
        (void)snprintf(prefix, sizeof prefix,
                       ",\"%s%s\":", is_standard_name(f->name) ? "" : "pivotal_sync.", f->name);
    } else {
        (void)snprintf(prefix, sizeof prefix, " %s=", f->name);
    }
    remove_field(l, prefix);
    if (!out.failed && out.len_bytes <= sizeof l->fields - l->fields_bytes) {
        memcpy(l->fields + l->fields_bytes, buf_text(&out), out.len_bytes);
        l->fields_bytes += out.len_bytes;
    }
    buf_release(&out);
}

void log_set_text(struct log *l, const char *name, const char *value)
{
    set_field(l, &LOG_F_TEXT(name, value));
}

void log_set_int(struct log *l, const char *name, int64_t value)
{
    set_field(l, &LOG_F_INT(name, value));
}

static void add_head(const struct log *l, struct buf *out, enum log_level level,
                     const char *event, struct slice message)
{
    char ts[CLOCK_TEXT_BYTES];
    (void)clock_text(clock_now_ms(), ts);
    if (l->format == LOG_JSON) {
        (void)buf_printf(out, "{\"timestamp\":\"%s\",\"severity_text\":\"%s\"", ts,
                         level_names[level]);
        (void)buf_printf(out, ",\"severity_number\":%d,\"body\":", level_numbers[level]);
        (void)json_add_text(out, message);
        (void)buf_printf(out, ",\"event.name\":\"%s\",\"service.name\":\"pivotal-sync\"",
                         event);
        (void)buf_printf(out, ",\"pivotal_sync.program\":\"%s\"", l->program);
        (void)buf_add(out, l->fields, l->fields_bytes);
    } else {
        (void)buf_printf(out, "ts=%s level=%s prog=%s", ts, level_names[level], l->program);
        (void)buf_add(out, l->fields, l->fields_bytes);
        (void)buf_add_str(out, " msg=");
        (void)json_add_text(out, message);
        (void)buf_printf(out, " event=%s", event);
    }
}

static void write_line(int fd, const char *bytes, size_t len_bytes)
{
    while (len_bytes > 0) {
        ssize_t n = write(fd, bytes, len_bytes);
        if (n < 0 && errno != EINTR) {
            return; /* nowhere left to tell */
        }
        if (n > 0) {
            bytes += n;
            len_bytes -= (size_t)n;
        }
    }
}

void log_event(const struct log *l, enum log_level level, const char *event,
               const struct log_field *fields, const char *fmt, ...)
{
    if (!log_on(l, level)) {
        return;
    }
    int saved_errno = errno;
    char message[MESSAGE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n;
    struct slice text = {message, len < sizeof message ? len : sizeof message - 1};
    struct buf out;
    buf_init(&out, LINE_MAX_BYTES);
    add_head(l, &out, level, event, text);
    for (; fields != NULL && fields->name != NULL; fields++) {
        add_field(l, &out, fields);
    }
    (void)buf_add_str(&out, l->format == LOG_JSON ? "}\n" : "\n");
    write_line(l->fd, buf_text(&out), out.len_bytes);
    buf_release(&out);
    errno = saved_errno;
}
