/* curl says which sockets it wants watched and when it wants to be called; we lend it a uv_poll
 * for each socket and one uv_timer, and hand every event to curl_multi_socket_action().
 *
 * Order that matters:
 *  - A uv_poll is stopped before its socket is closed (curl's close goes through
 *    curl_loop_socket_close()), or libuv would watch a number that already means another
 *    connection; it is freed in its close callback only.
 *  - A timer of 0 ms stays 0 (next turn of the loop): curl may not be called from its
 *    callbacks. */
#include "common/http_curl_loop.h"

#include <stdlib.h>
#include <unistd.h>

/* One socket of curl's under watch. */
struct watch {
    uv_poll_t poll;
    struct curl_loop *in;
    curl_socket_t fd;
    struct watch *prev, *next;
};

static void watch_closed(uv_handle_t *handle)
{
    struct watch *w = handle->data;
    w->in->release(w->in->owner);
    free(w);
}

static void watch_drop(struct watch *w)
{
    struct curl_loop *l = w->in;
    if (w->prev != NULL) {
        w->prev->next = w->next;
    } else {
        l->watches = w->next;
    }
    if (w->next != NULL) {
        w->next->prev = w->prev;
    }
    (void)uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, watch_closed);
}

static struct watch *watch_find(struct curl_loop *l, curl_socket_t fd)
{
    struct watch *w = l->watches;
    while (w != NULL && w->fd != fd) {
        w = w->next;
    }
    return w;
}

static void on_socket_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    struct curl_loop *l = w->in;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    int running = 0;
    if (events & UV_READABLE) {
        flags |= CURL_CSELECT_IN;
    }
    if (events & UV_WRITABLE) {
        flags |= CURL_CSELECT_OUT;
    }
    (void)curl_multi_socket_action(l->multi, w->fd, flags, &running);
    l->moved(l->owner);
}

static struct watch *watch_new(struct curl_loop *l, curl_socket_t fd)
{
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL || uv_poll_init_socket(l->loop, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    w->in = l;
    w->fd = fd;
    w->next = l->watches;
    if (l->watches != NULL) {
        l->watches->prev = w;
    }
    l->watches = w;
    l->hold(l->owner);
    return w;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
    struct curl_loop *l = arg;
    struct watch *w = assigned;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        /* Found by number, not by `assigned`: the socket may have been closed before. */
        w = watch_find(l, fd);
        if (w != NULL) {
            watch_drop(w);
        }
        return 0;
    }
    if (w == NULL) {
        w = watch_find(l, fd);
    }
    if (w == NULL) {
        w = watch_new(l, fd);
        if (w == NULL) {
            return -1;
        }
        (void)curl_multi_assign(l->multi, fd, w);
    }
    int events =
        ((what & CURL_POLL_IN) ? UV_READABLE : 0) | ((what & CURL_POLL_OUT) ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, on_socket_ready) == 0 ? 0 : -1;
}

static void on_timer(uv_timer_t *timer)
{
    struct curl_loop *l = timer->data;
    int running = 0;
    (void)curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    l->moved(l->owner);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct curl_loop *l = arg;
    (void)multi;
    if (timeout_ms < 0) {
        (void)uv_timer_stop(&l->timer);
        return 0;
    }
    /* The loop's clock may be old: a callback before us may have worked for a while. */
    uv_update_time(l->loop);
    return uv_timer_start(&l->timer, on_timer, (uint64_t)timeout_ms, 0) == 0 ? 0 : -1;
}

int curl_loop_socket_close(void *loop, curl_socket_t fd)
{
    struct watch *w = watch_find(loop, fd);
    if (w != NULL) {
        watch_drop(w);
    }
    return close(fd);
}

int curl_loop_open(struct curl_loop *l)
{
    bool failed = uv_timer_init(l->loop, &l->timer) != 0;
    failed |= curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket) != 0;
    failed |= curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l) != 0;
    failed |= curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer) != 0;
    failed |= curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l) != 0;
    if (failed) {
        return -1;
    }
    l->timer.data = l;
    l->hold(l->owner);
    curl_loop_busy(l, false);
    return 0;
}

void curl_loop_busy(struct curl_loop *l, bool busy)
{
    if (busy) {
        uv_ref((uv_handle_t *)&l->timer);
    } else {
        uv_unref((uv_handle_t *)&l->timer);
    }
}

static void timer_closed(uv_handle_t *handle)
{
    struct curl_loop *l = handle->data;
    l->release(l->owner);
}

void curl_loop_close(struct curl_loop *l)
{
    while (l->watches != NULL) {
        watch_drop(l->watches);
    }
    uv_close((uv_handle_t *)&l->timer, timer_closed);
}
