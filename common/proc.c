/* systemd's protocols are a datagram and two variables, so libsystemd is not linked. */
#include "common/proc.h"

#include "common/buf.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HANDLES = 5, NOTIFY_MAX_BYTES = 512 };

struct proc {
    struct proc_options options;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t watchdog, drain_limit;
    int open; /* handles not yet closed */
    bool draining;
};

static void end_at_once(int signal_number)
{
    /* No destructors: a program that does not drain may be stuck in any of them. */
    _exit(128 + signal_number);
}

static void on_drain_limit(uv_timer_t *timer)
{
    (void)timer;
    static const char text[] = "not drained in time; ending\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    end_at_once(SIGTERM);
}

void proc_drain(struct proc *p)
{
    if (p->draining) {
        return;
    }
    p->draining = true;
    proc_notify_stopping();
    if (p->options.drain_max_ms > 0) {
        (void)uv_timer_start(&p->drain_limit, on_drain_limit, (uint64_t)p->options.drain_max_ms,
                             0);
    }
    p->options.drain(p->options.arg);
}

static void on_signal(uv_signal_t *handle, int signal_number)
{
    struct proc *p = handle->data;
    if (signal_number == SIGHUP) {
        if (p->options.reload != NULL && !p->draining) {
            p->options.reload(p->options.arg);
        }
        return;
    }
    if (p->draining) {
        end_at_once(signal_number);
    }
    proc_drain(p);
}

static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    (void)proc_notify("WATCHDOG=1");
}

/* Twice in each interval that systemd waits for; 0 when it does not. */
static uint64_t watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && strtoll(pid, NULL, 10) != (long long)getpid())) {
        return 0;
    }
    unsigned long long us = strtoull(usec, NULL, 10);
    return us == 0 ? 0 : us / 2000 < 1 ? 1 : us / 2000;
}

static void on_closed(uv_handle_t *handle)
{
    struct proc *p = handle->data;
    if (--p->open == 0) {
        free(p);
    }
}

static int watch(struct proc *p, uv_loop_t *loop, uv_signal_t *handle, int signal_number)
{
    if (uv_signal_init(loop, handle) != 0) {
        return -1;
    }
    p->open++;
    handle->data = p;
    uv_unref((uv_handle_t *)handle);
    return uv_signal_start(handle, on_signal, signal_number);
}

static void add_timer(struct proc *p, uv_loop_t *loop, uv_timer_t *timer)
{
    (void)uv_timer_init(loop, timer); /* always succeeds */
    p->open++;
    timer->data = p;
    uv_unref((uv_handle_t *)timer);
}

struct proc *proc_new(uv_loop_t *loop, const struct proc_options *o, struct err *err)
{
    struct proc *p = calloc(1, sizeof *p);
    if (p == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for signal handling");
        return NULL;
    }
    p->options = *o;
    (void)signal(SIGPIPE, SIG_IGN); /* a peer that hangs up is an error of one write */
    add_timer(p, loop, &p->watchdog);
    add_timer(p, loop, &p->drain_limit);
    if (watch(p, loop, &p->term, SIGTERM) != 0 || watch(p, loop, &p->interrupt, SIGINT) != 0 ||
        watch(p, loop, &p->hangup, SIGHUP) != 0) {
        err_set(err, ERR_OS, "cannot watch for signals");
        proc_free(p);
        return NULL;
    }
    uint64_t every_ms = watchdog_ms();
    if (every_ms > 0) {
        (void)uv_timer_start(&p->watchdog, on_watchdog, every_ms, every_ms);
    }
    return p;
}

void proc_free(struct proc *p)
{
    if (p == NULL) {
        return;
    }
    uv_handle_t *handles[HANDLES] = {
        (uv_handle_t *)&p->watchdog,  (uv_handle_t *)&p->drain_limit, (uv_handle_t *)&p->term,
        (uv_handle_t *)&p->interrupt, (uv_handle_t *)&p->hangup,
    };
    for (int i = 0; i < HANDLES; i++) {
        if (handles[i]->data != NULL) { /* not every one when proc_new() failed half-way */
            uv_close(handles[i], on_closed);
        }
    }
}

bool proc_draining(const struct proc *p)
{
    return p->draining;
}

/* ---- systemd ---- */

int proc_notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || *path == '\0') {
        return 0;
    }
    size_t len = strlen(path);
    if ((*path != '/' && *path != '@') || len >= sizeof address.sun_path) {
        return -1;
    }
    memcpy(address.sun_path, path, len);
    if (*path == '@') { /* the abstract namespace begins with a NUL */
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    ssize_t n =
        sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, address_len);
    (void)close(fd);
    return n < 0 ? -1 : 0;
}

void proc_notify_ready(void)
{
    (void)proc_notify("READY=1");
}

void proc_notify_stopping(void)
{
    (void)proc_notify("STOPPING=1");
}

void proc_notify_status(const char *fmt, ...)
{
    char text[NOTIFY_MAX_BYTES] = "STATUS=";
    size_t head = strlen(text);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text + head, sizeof text - head, fmt, ap);
    va_end(ap);
    for (char *p = text; *p != '\0'; p++) {
        if (*p == '\n') { /* would begin another assignment */
            *p = ' ';
        }
    }
    (void)proc_notify(text);
}

/* ---- limits ---- */

int proc_die_with_parent(int64_t parent_pid)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        return -1;
    }
    /* It may have died before the call; then nobody would tell us. */
    return (int64_t)getppid() == parent_pid ? 0 : -1;
}

int64_t proc_open_files(int64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return -1;
    }
    if (limit.rlim_cur < (rlim_t)wanted) {
        struct rlimit raised = limit;
        raised.rlim_cur = limit.rlim_max < (rlim_t)wanted ? limit.rlim_max : (rlim_t)wanted;
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
            limit = raised;
        }
    }
    return limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

void proc_protect_memory(void)
{
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    /* Also when the core pattern is a pipe, to which the limit does not apply. */
    (void)prctl(PR_SET_DUMPABLE, 0);
}
