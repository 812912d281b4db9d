/* Child processes of `up`: started with a log file, a socket or another user, watched, started
 * again with back-off, ended with a deadline. Each is in a process group of its own, so that
 * Ctrl-C reaches only `up`, which then ends them in order; and each gets a signal when `up`
 * itself dies. */
#ifndef CMD_UP_CHILD_H
#define CMD_UP_CHILD_H

#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct up_children;
struct up_child;

struct up_child_spec {       /* all lent until the child is freed */
    const char *name;        /* "worker" */
    const char *const *argv; /* argv[0] is the path; ends with NULL */
    const char *log_path;    /* stdout and stderr are appended; NULL = as ours */
    const char *user;        /* run as; NULL = as we are */
    const char *directory;   /* to start in; NULL = where we are */
    int listen_fd;           /* passed as LISTEN_FDS; 0 = none */
    int *stdout_fd;  /* set to the reading end of a pipe; NULL = none. Not with restart */
    int stop_signal; /* 0 = SIGTERM */
    bool restart;    /* when it ends by itself */
};

/** say is told what happens to children, one line each. */
struct up_children *up_children_new(uv_loop_t *loop, void (*say)(void *arg, const char *line),
                                    void *say_arg, struct err *err) MUST_USE;
/** Kill what is left, wait for it, free. Handles close with the loop's next turn. */
void up_children_free(struct up_children *cs);

/** Start one. NULL with ERR_OS when there is no such program. */
struct up_child *up_child_start(struct up_children *cs, const struct up_child_spec *spec,
                                struct err *err) MUST_USE;
bool up_child_running(const struct up_child *c);
/** How often it was started again. */
int up_child_restarts(const struct up_child *c);
/** Exit code, or 128 + signal, of the last end; -1 while it runs. */
int up_child_code(const struct up_child *c);
/** Wait until it has ended; ERR_TIMEOUT. In a task. */
int up_child_wait(struct up_child *c, int64_t deadline_mono_ms, struct err *err) MUST_USE;
/** Send its stop signal, once, and do not start it again. */
void up_child_signal(struct up_child *c);
/** The same, wait up to grace_ms, then kill. NULL is fine. In a task. */
void up_child_stop(struct up_child *c, int64_t grace_ms);
/** As soon as this child has ended and is no longer wanted. NULL is fine. */
void up_child_free(struct up_child *c);

#endif
