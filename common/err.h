/* Errors: a code for the caller, a message for a person. The first failure wins; callers add
 * who was asking with err_wrap(). Logged once, by whoever decides what to do about it. */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include "common/compiler.h"

enum err_code {
    ERR_NONE = 0,
    ERR_CONFIG,       /* a setting is wrong: the program cannot start */
    ERR_OS,           /* a system call failed: os_errno */
    ERR_NOMEM,        /* out of memory */
    ERR_INVALID,      /* bad input: the message names the subject and what is allowed */
    ERR_NOT_FOUND,    /* no such workspace, connection, attempt, ... */
    ERR_CONFLICT,     /* already there, already running, or another one won */
    ERR_DENIED,       /* not allowed */
    ERR_AUTH,         /* the provider refused the credential: the unit waits for a person */
    ERR_RATE_LIMITED, /* a quota is used up: comes back at a known time */
    ERR_TEMPORARY,    /* may work when tried again */
    ERR_TIMEOUT,      /* a deadline passed */
    ERR_UNAVAILABLE,  /* Redis or PostgreSQL is away */
    ERR_REJECTED,     /* PostgreSQL refused the data: sqlstate */
    ERR_PROTOCOL,     /* the other side answered what it should not */
    ERR_CANCELLED,    /* the program is ending */
    ERR_INTERNAL,     /* ours */
};

enum { ERR_MSG_MAX_BYTES = 512 };

struct err {
    enum err_code code;
    int os_errno;
    char sqlstate[6]; /* of PostgreSQL, else empty */
    char msg[ERR_MSG_MAX_BYTES];
};

/**
 * Set code and message. No capital, no full stop: "cannot read secret '/x': ...".
 * Overwrites what is there, so that one struct can serve a loop; clean-up after a failure
 * passes NULL (every function here takes it) or a struct of its own, so that the first
 * failure is the one told.
 */
void err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/** The same with ": " and the text of errno at the end. */
void err_os(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/** Put "text: " in front of the message that is there. */
void err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/** Back to ERR_NONE, so that the struct can be used again. */
void err_clear(struct err *err);

/**
 * For loops in which one failure must not keep back the others: of a step that ended with rc
 * (0 or -1) and *why, err keeps the first failure, and *why is clear for the next step. Returns
 * rc.
 */
int err_keep_first(int rc, struct err *why, struct err *err);

/** "ERR_TIMEOUT" and so on, for logs and tests. */
const char *err_name(enum err_code code);

#endif
