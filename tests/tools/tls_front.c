/* tls_front CERT KEY UPSTREAM_PORT: takes TLS on a spare port of 127.0.0.1, says which on
 * stdout, and passes what is inside on to a port that speaks plainly. A thread a connection;
 * ends by a signal. */
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE_BYTES = 16384 };

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

struct pair {
    SSL *tls;
    int inside, outside;
};

/* One piece from either side to the other; false at an end. */
static bool pass_one(const struct pair *p)
{
    char bytes[PIECE_BYTES];
    struct pollfd fds[2] = {{.fd = p->outside, .events = POLLIN},
                            {.fd = p->inside, .events = POLLIN}};
    if (SSL_pending(p->tls) == 0 && poll(fds, 2, -1) < 0) {
        return false;
    }
    if (SSL_pending(p->tls) > 0 || (fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        int n = SSL_read(p->tls, bytes, sizeof bytes);
        return n > 0 && write(p->inside, bytes, (size_t)n) == n;
    }
    ssize_t n = read(p->inside, bytes, sizeof bytes);
    return n > 0 && SSL_write(p->tls, bytes, (int)n) == n;
}

struct job {
    SSL_CTX *context;
    int outside, port;
};

static void *serve(void *arg)
{
    struct job *job = arg;
    struct sockaddr_in to = loopback(job->port);
    struct pair p = {SSL_new(job->context), socket(AF_INET, SOCK_STREAM, 0), job->outside};
    (void)SSL_set_fd(p.tls, p.outside);
    if (connect(p.inside, (struct sockaddr *)&to, sizeof to) == 0 && SSL_accept(p.tls) == 1) {
        while (pass_one(&p)) {
        }
        (void)SSL_shutdown(p.tls);
    }
    SSL_free(p.tls);
    (void)close(p.inside);
    (void)close(p.outside);
    free(job);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = loopback(0);
    socklen_t len = sizeof at;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc != 4 || SSL_CTX_use_certificate_chain_file(context, argv[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) != 1 ||
        bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 64) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) != 0) {
        (void)fputs("usage: tls_front CERT KEY UPSTREAM_PORT\n", stderr);
        return 2;
    }
    (void)printf("%d\n", ntohs(at.sin_port));
    (void)fflush(stdout);
    for (;;) {
        struct job *job = malloc(sizeof *job);
        pthread_t thread;
        if (job == NULL) {
            return 1;
        }
        *job =
            (struct job){context, accept(listener, NULL, NULL), (int)strtol(argv[3], NULL, 10)};
        if (job->outside < 0 || pthread_create(&thread, NULL, serve, job) != 0) {
            return 1;
        }
        (void)pthread_detach(thread);
    }
}
