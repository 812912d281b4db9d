/* The log: one line per event on stderr, for people (logfmt) or machines (JSON with the keys
 * of OpenTelemetry's log model).
 *
 * A log is bound to an object: fields set once stand on every line, so no call repeats ids.
 * Never a token, a body or an e-mail address. Field names: ours ("run_id") come out as
 * "pivotal_sync.run_id" in JSON; names with a dot ("error.type", "http.route") stay as they
 * are. A NULL log swallows everything, which suits tests. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/buf.h"
#include "common/err.h"

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

struct log;

/* A further field of one line: LOG_F_INT("duration_ms", 12). */
struct log_field {
    const char *name;
    const char *text; /* NULL: number counts */
    int64_t number;
};
#define LOG_F_INT(name, value)  ((struct log_field){(name), NULL, (value)})
#define LOG_F_TEXT(name, value) ((struct log_field){(name), (value), 0})
/* LOG_WITH(LOG_F_INT(...), ...) makes the list that log_event() wants. */
#define LOG_WITH(...) ((const struct log_field[]){__VA_ARGS__, {NULL, NULL, 0}})

/** level: "debug" "info" "warn" "error"; format: "text" "json". -1 when it is none. */
int log_level_parse(const char *text, enum log_level *out) MUST_USE;
int log_format_parse(const char *text, enum log_format *out) MUST_USE;
/** Text when fd is a terminal, else JSON. */
enum log_format log_format_for(int fd);

/** program: "worker", lent. fd: 2. NULL with ERR_NOMEM. */
struct log *log_new(const char *program, int fd, enum log_level level, enum log_format format,
                    struct err *err) MUST_USE;
/** A log bound to one object more. Starts with the parent's fields, follows the level of the
 * first one; must be freed before it. NULL (which is fine to use) when memory is out. */
struct log *log_bind(const struct log *parent) MUST_USE;
void log_free(struct log *l);
void log_freep(struct log **l);

/** Set a field for all lines to come, in place of an earlier one of this name. */
void log_set_text(struct log *l, const char *name, const char *value);
void log_set_int(struct log *l, const char *name, int64_t value);
/** Of this log and all bound to it (reload). */
void log_set_level(struct log *l, enum log_level level);

bool log_on(const struct log *l, enum log_level level);

/** One line. event: "sync.attempt.finished"; fields: NULL or LOG_WITH(...). */
void log_event(const struct log *l, enum log_level level, const char *event,
               const struct log_field *fields, const char *fmt, ...) PRINTF_LIKE(5, 6);

/* log_warn(log, "quota.wait", "provider asked to wait %d s", n): arguments are not evaluated
 * when the level is off. */
#define LOG_AT(l, level, event, fields, ...)                                                   \
    (log_on((l), (level)) ? log_event((l), (level), (event), (fields), __VA_ARGS__) : (void)0)
#define log_debug(l, event, ...) LOG_AT(l, LOG_DEBUG, event, NULL, __VA_ARGS__)
#define log_info(l, event, ...)  LOG_AT(l, LOG_INFO, event, NULL, __VA_ARGS__)
#define log_warn(l, event, ...)  LOG_AT(l, LOG_WARN, event, NULL, __VA_ARGS__)
#define log_error(l, event, ...) LOG_AT(l, LOG_ERROR, event, NULL, __VA_ARGS__)

#endif
