/* health: is the program of this machine, or container, ready? Asks where METRICS_LISTEN says,
 * as a health check of containers does that have neither curl nor a shell. */
#include "cmd/cmd.h"

#include <dirent.h>
#include <jansson.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_S = 3, ANSWER_MAX_BYTES = 4096 };

/* The answer to GET /readyz, head and body; false: there is none. */
static bool ask(int fd, const struct sockaddr *at, socklen_t len, char *out, size_t out_bytes)
{
    static const char question[] = "GET /readyz HTTP/1.1\r\nHost: health\r\n"
                                   "Connection: close\r\n\r\n";
    const struct timeval patience = {.tv_sec = ANSWER_S};
    size_t got = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
        connect(fd, at, len) != 0 ||
        send(fd, question, sizeof question - 1, MSG_NOSIGNAL) != (ssize_t)sizeof question - 1) {
        return false;
    }
    while (got + 1 < out_bytes) {
        ssize_t n = recv(fd, out + got, out_bytes - 1 - got, 0);
        if (n <= 0) {
            break;
        }
        got += (size_t)n;
    }
    out[got] = '\0';
    return got > 0;
}

/* One row; true when it is ready. */
static bool judge(json_t *rows, const char *program, int fd, const struct sockaddr *at,
                  socklen_t len)
{
    char answer[ANSWER_MAX_BYTES];
    const char *said = "no answer";
    bool ready = false;
    if (fd >= 0 && ask(fd, at, len, answer, sizeof answer)) {
        char *body = strstr(answer, "\r\n\r\n");
        ready = strncmp(answer, "HTTP/1.1 200", 12) == 0;
        char *text = body != NULL ? body + 4 : answer;
        text[strcspn(text, "\r\n")] = '\0'; /* its first line */
        said = text;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    json_array_append_new(
        rows, json_pack("{s:s, s:b, s:s}", "program", program, "ready", ready, "said", said));
    return ready;
}

static bool judge_socket(json_t *rows, const char *program, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int n = snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    bool fits = n > 0 && (size_t)n < sizeof at.sun_path;
    int fd = fits ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    return judge(rows, program, fd, (const struct sockaddr *)&at, sizeof at);
}

/* Each program leaves its socket in the folder; what died left one too. */
static bool judge_folder(json_t *rows, const char *folder)
{
    struct dirent **names = NULL;
    bool all = true;
    int count = scandir(folder, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char program[sizeof names[i]->d_name], path[PATH_MAX];
        (void)snprintf(program, sizeof program, "%s", names[i]->d_name);
        char *end = strstr(program, ".sock");
        if (end != NULL && end[5] == '\0') {
            (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
            *end = '\0';
            all = judge_socket(rows, program, path) && all;
        }
        free(names[i]);
    }
    free(names);
    return all && json_array_size(rows) > 0;
}

static bool judge_port(json_t *rows, const char *where)
{
    char host[256];
    const char *colon = strrchr(where, ':');
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    size_t brackets = where[0] == '[' ? 1 : 0;
    (void)snprintf(host, sizeof host, "%.*s", (int)((size_t)(colon - where) - 2 * brackets),
                   where + brackets);
    /* A listener on every address is reached at 0.0.0.0 and :: too. */
    int fd = getaddrinfo(host, colon + 1, &hints, &found) == 0
                 ? socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)
                 : -1;
    bool ready = judge(rows, where, fd, found != NULL ? found->ai_addr : NULL,
                       found != NULL ? found->ai_addrlen : 0);
    if (found != NULL) {
        freeaddrinfo(found);
    }
    return ready;
}

int verb_health(struct cmd *c, struct err *err)
{
    const char *where = config_text(c->config, SETTING_METRICS_LISTEN);
    json_auto_t *rows = json_array();
    bool ready = false;
    if (strcmp(where, "off") == 0) {
        err_set(err, ERR_CONFIG, "METRICS_LISTEN is off: nobody says how the programs are");
        return -1;
    }
    if (strncmp(where, "unix:", 5) == 0) {
        ready = judge_socket(rows, where, where + 5);
    } else if (where[0] == '/') {
        ready = judge_folder(rows, where);
    } else {
        ready = judge_port(rows, where);
    }
    if (output_json(c, rows, "program ready said", err) != 0) {
        return -1;
    }
    return ready ? EXIT_OK : EXIT_UNAVAILABLE;
}
