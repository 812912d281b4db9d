#include "common/err.h"

#include <errno.h>
#include <stdarg.h>

static __attribute__((format(printf, 3, 0))) void set_text(struct err *err, enum err_code code,
                                                           const char *fmt, va_list ap)
{
    err->code = code;
    err->os_errno = 0;
    err->sqlstate[0] = '\0';
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
}

void err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    if (err == NULL) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    set_text(err, code, fmt, ap);
    va_end(ap);
}

void err_os(struct err *err, enum err_code code, const char *fmt, ...)
{
    int os_errno = errno;
    if (err == NULL) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    set_text(err, code, fmt, ap);
    va_end(ap);
    err->os_errno = os_errno;
    size_t len = strlen(err->msg);
    (void)snprintf(err->msg + len, sizeof err->msg - len, ": %s", strerror(os_errno));
    errno = os_errno;
}

void err_wrap(struct err *err, const char *fmt, ...)
{
    if (err == NULL) {
        return;
    }
    char text[ERR_MSG_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text - 2, fmt, ap);
    va_end(ap);
    if (n < 0) {
        return;
    }
    size_t len = strlen(text);
    text[len++] = ':';
    text[len++] = ' ';
    size_t old_len = strlen(err->msg);
    if (len + old_len >= sizeof err->msg) {
        old_len = len < sizeof err->msg ? sizeof err->msg - 1 - len : 0;
    }
    if (len + old_len >= sizeof err->msg) {
        return;
    }
    memmove(err->msg + len, err->msg, old_len);
    memcpy(err->msg, text, len);
    err->msg[len + old_len] = '\0';
}

void err_clear(struct err *err)
{
    if (err != NULL) {
        *err = (struct err){0};
    }
}

int err_keep_first(int rc, struct err *why, struct err *err)
{
    if (rc != 0 && err != NULL && err->code == ERR_NONE) {
        *err = *why;
    }
    err_clear(why);
    return rc;
}

const char *err_name(enum err_code code)
{
    switch (code) {
    case ERR_NONE:
        return "ERR_NONE";
    case ERR_CONFIG:
        return "ERR_CONFIG";
    case ERR_OS:
        return "ERR_OS";
    case ERR_NOMEM:
        return "ERR_NOMEM";
    case ERR_INVALID:
        return "ERR_INVALID";
    case ERR_NOT_FOUND:
        return "ERR_NOT_FOUND";
    case ERR_CONFLICT:
        return "ERR_CONFLICT";
    case ERR_DENIED:
        return "ERR_DENIED";
    case ERR_AUTH:
        return "ERR_AUTH";
    case ERR_RATE_LIMITED:
        return "ERR_RATE_LIMITED";
    case ERR_TEMPORARY:
        return "ERR_TEMPORARY";
    case ERR_TIMEOUT:
        return "ERR_TIMEOUT";
    case ERR_UNAVAILABLE:
        return "ERR_UNAVAILABLE";
    case ERR_REJECTED:
        return "ERR_REJECTED";
    case ERR_PROTOCOL:
        return "ERR_PROTOCOL";
    case ERR_CANCELLED:
        return "ERR_CANCELLED";
    case ERR_INTERNAL:
        return "ERR_INTERNAL";
    }
    return "ERR_?";
}
