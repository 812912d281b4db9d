/* libpq looks host names up in the calling thread, which would stop the loop. So names are
 * looked up by libuv's thread pool first, and libpq gets addresses (the name goes along for
 * TLS checks and passwords files). */
#include "common/store_pg.h"

#include "common/clock.h"

#include "common/banned.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

enum { ADDRESSES_PER_NAME = 4, HOSTS_MAX_BYTES = 16 * 1024 };

/* On the heap: a look-up that nobody waits for any more ends later by itself. */
struct lookup {
    uv_getaddrinfo_t req;
    struct wake *wake; /* NULL = nobody waits any more */
    int status;
    struct addrinfo *found;
};

static void lookup_free(struct lookup *l)
{
    uv_freeaddrinfo(l->found);
    free(l);
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct lookup *l = req->data;
    l->status = status;
    l->found = found;
    if (l->wake == NULL) {
        lookup_free(l);
    } else {
        wake_fire(l->wake);
    }
}

static bool is_literal(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static void item_add(struct pg_hosts *h, const char *host, const char *address,
                     const char *port)
{
    if (h->host.bytes != NULL) {
        (void)buf_add_char(&h->host, ',');
        (void)buf_add_char(&h->hostaddr, ',');
        (void)buf_add_char(&h->port, ',');
    }
    (void)buf_add_str(&h->host, host);
    (void)buf_add_str(&h->hostaddr, address);
    (void)buf_add_str(&h->port, port);
}

static void addresses_add(struct pg_hosts *h, const char *host, const char *port,
                          const struct addrinfo *found)
{
    int n = 0;
    for (const struct addrinfo *a = found; a != NULL && n < ADDRESSES_PER_NAME;
         a = a->ai_next) {
        char text[INET6_ADDRSTRLEN + 20];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0,
                        NI_NUMERICHOST) == 0) {
            item_add(h, host, text, port);
            n++;
        }
    }
}

static int name_resolve(uv_loop_t *loop, const char *host, const char *port,
                        int64_t deadline_mono_ms, struct pg_hosts *out, struct err *err)
{
    struct lookup *l = calloc(1, sizeof *l);
    if (l == NULL) {
        err_set(err, ERR_NOMEM, "out of memory looking up '%s'", host);
        return -1;
    }
    struct wake wake = {0};
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    l->req.data = l;
    l->wake = &wake;
    int rc = uv_getaddrinfo(loop, &l->req, on_lookup, host, NULL, &hints);
    if (rc < 0) {
        free(l);
        err_set(err, ERR_UNAVAILABLE, "cannot look up '%s': %s", host, uv_strerror(rc));
        return -1;
    }
    if (wake_wait(&wake, deadline_mono_ms, err) < 0) {
        l->wake = NULL;
        (void)uv_cancel((uv_req_t *)&l->req);
        err_set(err, ERR_UNAVAILABLE, "cannot look up '%s': no answer in time", host);
        return -1;
    }
    if (l->status < 0) {
        err_set(err, ERR_UNAVAILABLE, "cannot look up '%s': %s", host, uv_strerror(l->status));
    } else {
        addresses_add(out, host, port, l->found);
    }
    rc = l->status < 0 ? -1 : 0;
    lookup_free(l);
    return rc;
}

/* The next item of a comma-separated list, or NULL at its end. */
static char *item_next(char **list)
{
    return *list == NULL ? NULL : strsep(list, ",");
}

void pg_hosts_release(struct pg_hosts *h)
{
    buf_release(&h->host);
    buf_release(&h->hostaddr);
    buf_release(&h->port);
}

int pg_hosts_resolve(uv_loop_t *loop, const char *hosts, const char *ports,
                     int64_t deadline_mono_ms, struct pg_hosts *out, struct err *err)
{
    buf_init(&out->host, HOSTS_MAX_BYTES);
    buf_init(&out->hostaddr, HOSTS_MAX_BYTES);
    buf_init(&out->port, HOSTS_MAX_BYTES);
    char *hosts_copy = strdup(hosts);
    char *ports_copy = strdup(ports == NULL ? "" : ports);
    int rc = 0;
    if (hosts_copy == NULL || ports_copy == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the hosts of a database URL");
        rc = -1;
    }
    char *host_list = hosts_copy;
    char *port_list = ports_copy;
    char *port = NULL;
    for (char *host; rc == 0 && (host = item_next(&host_list)) != NULL;) {
        char *next = item_next(&port_list); /* one port serves all hosts */
        port = next != NULL ? next : port;
        if (host[0] == '\0' || host[0] == '/' || host[0] == '@') {
            item_add(out, host, "", port == NULL ? "" : port);
        } else if (is_literal(host)) {
            item_add(out, host, host, port == NULL ? "" : port);
        } else if (name_resolve(loop, host, port == NULL ? "" : port, deadline_mono_ms, out,
                                err) < 0 &&
                   (err->code == ERR_NOMEM || clock_mono_ms() >= deadline_mono_ms)) {
            rc = -1;
        }
    }
    if (rc == 0 && (out->host.failed || out->hostaddr.failed || out->port.failed)) {
        err_set(err, ERR_NOMEM, "no room for the hosts of the database URL");
        rc = -1;
    }
    /* A name nobody knows is fatal only when no other host is left. */
    if (rc == 0 && out->host.bytes == NULL) {
        rc = -1;
    }
    free(hosts_copy);
    free(ports_copy);
    return rc;
}
