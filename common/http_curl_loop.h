/* curl's multi_socket interface under libuv: its sockets and its one timer, nothing of
 * requests. Private to http_curl*.c. */
#ifndef COMMON_HTTP_CURL_LOOP_H
#define COMMON_HTTP_CURL_LOOP_H

#include "common/compiler.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <uv.h>

struct watch;

/* Part of its owner, who must live until the handles have closed: hold() and release() count
 * them. moved() is called whenever curl worked, so that its messages are read. */
struct curl_loop {
    uv_loop_t *loop;
    CURLM *multi; /* the owner's to clean up, before curl_loop_close() */
    void (*moved)(void *owner);
    void (*hold)(void *owner);
    void (*release)(void *owner);
    void *owner;
    uv_timer_t timer;
    struct watch *watches;
};

/** The four callbacks, owner, loop and multi are set. -1: no memory. After 0,
 * curl_loop_close(). */
int curl_loop_open(struct curl_loop *l) MUST_USE;
/** Alone, curl's housekeeping of kept connections is no reason for the loop to run on; a
 * request is: busy while there is one. */
void curl_loop_busy(struct curl_loop *l, bool busy);
/** For CURLOPT_CLOSESOCKETFUNCTION with the loop as its data: stops watching, then closes. */
int curl_loop_socket_close(void *loop, curl_socket_t fd);
void curl_loop_close(struct curl_loop *l);

#endif
