/* Listening sockets for http_server.h: made from an address, or passed in. */
#include "common/http_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTEN_FDS_START = 3, HOST_MAX_BYTES = 255 };

/* A socket file that nobody listens on any more is in the way of a restart. */
static void remove_dead_socket(const struct sockaddr_un *address)
{
    struct stat st;
    if (lstat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return;
    }
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
        errno == ECONNREFUSED) {
        (void)unlink(address->sun_path);
    }
    (void)close(fd);
}

static int listen_unix(const char *path, int backlog, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path[0] == '\0' || strlen(path) >= sizeof address.sun_path) {
        err_set(err, ERR_CONFIG, "path of socket 'unix:%s' is empty or too long", path);
        return -1;
    }
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    remove_dead_socket(&address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, backlog) != 0) {
        err_os(err, ERR_OS, "cannot listen on 'unix:%s'", path);
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    return fd;
}

static int listen_on(const struct addrinfo *ai, int backlog)
{
    const int on = 1;
    const int off = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off); /* "*" is both */
    }
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, backlog) != 0) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

int http_listen(const char *address, int backlog, struct err *err)
{
    char host[HOST_MAX_BYTES + 1];
    if (strncmp(address, "unix:", 5) == 0) {
        return listen_unix(address + 5, backlog, err);
    }
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon[1] == '\0' || (size_t)(colon - address) > HOST_MAX_BYTES) {
        err_set(err, ERR_CONFIG, "'%s' is not host:port or unix:/path", address);
        return -1;
    }
    size_t len = (size_t)(colon - address);
    const char *start = address;
    if (len >= 2 && start[0] == '[' && start[len - 1] == ']') {
        start++;
        len -= 2;
    }
    (void)snprintf(host, sizeof host, "%.*s", (int)len, start);
    bool any = host[0] == '\0' || strcmp(host, "*") == 0;
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(any ? "::" : host, colon + 1, &hints, &list);
    if (rc != 0) {
        err_set(err, ERR_CONFIG, "cannot listen on '%s': %s", address, gai_strerror(rc));
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *ai = list; ai != NULL && fd < 0; ai = ai->ai_next) {
        fd = listen_on(ai, backlog);
    }
    freeaddrinfo(list);
    if (fd < 0 && any && errno == EAFNOSUPPORT) { /* a machine without IPv6 */
        char v4[32];
        (void)snprintf(v4, sizeof v4, "0.0.0.0:%.6s", colon + 1);
        return http_listen(v4, backlog, err);
    }
    if (fd < 0) {
        err_os(err, ERR_OS, "cannot listen on '%s'", address);
    }
    return fd;
}

static long env_number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    char *end = NULL;
    if (text == NULL || *text == '\0') {
        return otherwise;
    }
    long n = strtol(text, &end, 10);
    return *end == '\0' ? n : 0;
}

int http_listen_passed(int i)
{
    long pid = env_number("LISTEN_PID", (long)getpid());
    long count = env_number("LISTEN_FDS", 0);
    if (pid != (long)getpid() || i < 0 || i >= count) {
        return 0;
    }
    int fd = LISTEN_FDS_START + i;
    int listening = 0;
    socklen_t len = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) != 0 || !listening) {
        return 0;
    }
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}
