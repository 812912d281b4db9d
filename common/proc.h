/* A program as a process: signals, systemd's notifications, limits. Sockets passed in are
 * http_server.h's. */
#ifndef COMMON_PROC_H
#define COMMON_PROC_H

#include "common/compiler.h"
#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct proc;

struct proc_options {
    void *arg;                 /* for the callbacks */
    void (*drain)(void *arg);  /* the first SIGTERM or SIGINT: finish and end. Required */
    void (*reload)(void *arg); /* SIGHUP; NULL: ignored */
    int64_t drain_max_ms;      /* then the program is ended; 0: no limit */
};

/**
 * Handle signals on the loop and begin systemd's watchdog when it asks for one. The handles do
 * not keep the loop alive. SIGPIPE is ignored. The second SIGTERM or SIGINT, or a drain over
 * its limit, ends the program at once with 128 + signal (SIGTERM's for the limit).
 * NULL with ERR_OS or ERR_NOMEM.
 */
struct proc *proc_new(uv_loop_t *loop, const struct proc_options *o, struct err *err) MUST_USE;
/** Stops watching; the memory goes when the loop has closed the handles. NULL is fine. */
void proc_free(struct proc *p);
/** True from the first SIGTERM or SIGINT, or from proc_drain(). */
bool proc_draining(const struct proc *p);
/** As if SIGTERM had come. */
void proc_drain(struct proc *p);

/** Tell systemd (NOTIFY_SOCKET); nothing without it. */
void proc_notify_ready(void);
void proc_notify_stopping(void);
void proc_notify_status(const char *fmt, ...) PRINTF_LIKE(1, 2);
/** Any text of sd_notify(3), e.g. "RELOADING=1". -1 when there is a socket but it refused. */
int proc_notify(const char *text);

/** Die (SIGKILL) when the parent does. parent_pid is what getpid() gave the parent before it
 * forked: a parent already gone is noticed (-1). */
int proc_die_with_parent(int64_t parent_pid) MUST_USE;
/** Raise the soft limit of open files to wanted, or as far as allowed; returns what it is. */
int64_t proc_open_files(int64_t wanted);
/** No core dumps and no ptrace by others of our user: memory holds credentials. */
void proc_protect_memory(void);

#endif
