/* Addresses of Redis: redis[s]://[[user]:password@]host[:port][/db][?ca=FILE],
 * unix://[[user]:password@]/path
 * [?db=N], redis[s]+sentinel://[[user]:password@]host[:port]/primary[/db]
 * [?sentinel_user=U&sentinel_password=P&ca=FILE] and
 * redis[s]+cluster://[[user]:password@]host[:port][?ca=FILE]. User and password, which may be
 * percent-encoded, are those of Redis; sentinels may have others. */
#include "common/queue_redis.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(const char *in, size_t len, char *out, size_t out_bytes)
{
    size_t o = 0;
    for (size_t i = 0; i < len; i++) {
        char c = in[i];
        if (c == '%') {
            int hi = i + 2 < len ? hex_value(in[i + 1]) : -1;
            int lo = hi >= 0 ? hex_value(in[i + 2]) : -1;
            if (hi < 0 || lo < 0) {
                return -1;
            }
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        if (o + 1 >= out_bytes || c == '\0') {
            return -1;
        }
        out[o++] = c;
    }
    out[o] = '\0';
    return 0;
}

static int copy(const char *in, size_t len, char *out, size_t out_bytes)
{
    if (len >= out_bytes) {
        return -1;
    }
    memcpy(out, in, len);
    out[len] = '\0';
    return 0;
}

static bool is_digits(const char *s)
{
    return s[0] != '\0' && strspn(s, "0123456789") == strlen(s);
}

/* The value of a name in "...?a=1&b=2"; out stays as it is when there is none. */
static int query_value(const char *rest, const char *name, char *out, size_t out_bytes)
{
    size_t n = strlen(name);
    for (const char *at = strchr(rest, '?'); at != NULL; at = strchr(at + 1, '&')) {
        if (strncmp(at + 1, name, n) == 0 && at[1 + n] == '=') {
            const char *value = at + n + 2;
            return decode(value, strcspn(value, "&"), out, out_bytes);
        }
    }
    return 0;
}

/* /primary[/db] of a sentinel. */
static int parse_primary(const char *rest, struct redis_url *out)
{
    size_t n = rest[0] == '/' ? strcspn(rest + 1, "/?") : 0;
    if (n == 0 || copy(rest + 1, n, out->primary, sizeof out->primary) != 0) {
        return -1;
    }
    rest += 1 + n;
    if (rest[0] == '/' && rest[1] != '\0') {
        n = strcspn(rest + 1, "?");
        return copy(rest + 1, n, out->db, sizeof out->db) == 0 && is_digits(out->db) ? 0 : -1;
    }
    return 0;
}

static int parse_host(const char *at, struct redis_url *out)
{
    const char *usual_port = out->kind == REDIS_SENTINEL ? "26379" : "6379";
    size_t n = strcspn(at, "/?");
    const char *rest = at + n;
    const char *colon = NULL;
    size_t host_len;
    const char *host = at;
    if (at[0] == '[') { /* [::1]:6379 */
        const char *end = memchr(at, ']', n);
        if (end == NULL) {
            return -1;
        }
        host = at + 1;
        host_len = (size_t)(end - host);
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = memchr(at, ':', n);
        host_len = colon != NULL ? (size_t)(colon - at) : n;
    }
    if (host_len == 0 || copy(host, host_len, out->host, sizeof out->host) != 0) {
        return -1;
    }
    (void)copy(usual_port, strlen(usual_port), out->port, sizeof out->port);
    if (colon != NULL &&
        copy(colon + 1, (size_t)(at + n - colon - 1), out->port, sizeof out->port) != 0) {
        return -1;
    }
    if (!is_digits(out->port) || strtol(out->port, NULL, 10) > 65535) {
        return -1;
    }
    if (out->tls && query_value(rest, "ca", out->ca, sizeof out->ca) != 0) {
        return -1;
    }
    if (out->kind == REDIS_SENTINEL) {
        return query_value(rest, "sentinel_user", out->sentinel_user,
                           sizeof out->sentinel_user) |
               query_value(rest, "sentinel_password", out->sentinel_password,
                           sizeof out->sentinel_password) |
               parse_primary(rest, out);
    }
    if (rest[0] == '/' && rest[1] != '\0' && rest[1] != '?') {
        size_t m = strcspn(rest + 1, "/?");
        if (copy(rest + 1, m, out->db, sizeof out->db) != 0 || !is_digits(out->db)) {
            return -1;
        }
    }
    return 0;
}

static int parse_path(const char *at, struct redis_url *out)
{
    size_t n = strcspn(at, "?");
    if (at[0] != '/' || copy(at, n, out->host, sizeof out->host) != 0) {
        return -1;
    }
    if (query_value(at + n, "db", out->db, sizeof out->db) != 0) {
        return -1;
    }
    return out->db[0] == '\0' || is_digits(out->db) ? 0 : -1;
}

int redis_url_parse(const char *text, struct redis_url *out, struct err *err)
{
    static const struct {
        const char *scheme;
        enum redis_kind kind;
        bool is_unix;
    } schemes[] = {{"redis://", REDIS_PLAIN, false},
                   {"rediss://", REDIS_PLAIN, false},
                   {"unix://", REDIS_PLAIN, true},
                   {"redis+sentinel://", REDIS_SENTINEL, false},
                   {"rediss+sentinel://", REDIS_SENTINEL, false},
                   {"redis+cluster://", REDIS_CLUSTER, false},
                   {"rediss+cluster://", REDIS_CLUSTER, false}};
    memset(out, 0, sizeof *out);
    const char *at = NULL;
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        size_t n = strlen(schemes[i].scheme);
        if (strncmp(text, schemes[i].scheme, n) == 0) {
            at = text + n;
            out->kind = schemes[i].kind;
            out->is_unix = schemes[i].is_unix;
            out->tls = strncmp(text, "rediss", 6) == 0;
        }
    }
    if (at == NULL) {
        /* The rest of it may hold a password. */
        err_set(err, ERR_CONFIG,
                "REDIS_URL begins with '%.*s': allowed are redis://, rediss://, unix://, "
                "redis+sentinel://, rediss+sentinel://, redis+cluster:// and "
                "rediss+cluster://",
                (int)strcspn(text, ":"), text);
        return -1;
    }
    if (out->tls && !redis_tls_here()) {
        err_set(err, ERR_CONFIG,
                "REDIS_URL says rediss, and this build has hiredis without TLS (before 1.0): "
                "name a tunnel with redis:// or unix:// (docs/operations.md)");
        return -1;
    }
    int rc = 0;
    const char *sign = NULL;
    for (const char *p = at; *p != '\0' && *p != '/' && *p != '?'; p++) {
        if (*p == '@') {
            sign = p;
        }
    }
    if (sign != NULL) {
        const char *colon = memchr(at, ':', (size_t)(sign - at));
        const char *user_end = colon != NULL ? colon : sign;
        rc |= decode(at, (size_t)(user_end - at), out->user, sizeof out->user);
        if (colon != NULL) {
            rc |= decode(colon + 1, (size_t)(sign - colon - 1), out->password,
                         sizeof out->password);
        }
        if (strcmp(out->user, "default") == 0 || out->password[0] == '\0') {
            out->user[0] = '\0';
        }
        at = sign + 1;
    }
    if (rc == 0) {
        rc = out->is_unix ? parse_path(at, out) : parse_host(at, out);
    }
    if (rc != 0) {
        err_set(err, ERR_CONFIG,
                "REDIS_URL is not redis://[user:password@]host[:port][/db], unix:///path, "
                "redis+sentinel://host[:port]/primary or redis+cluster://host[:port]");
        return -1;
    }
    return 0;
}

void redis_url_text(const struct redis_url *url, char *out, size_t out_bytes)
{
    const char *db = url->db[0] != '\0' ? url->db : "0";
    bool is_v6 = strchr(url->host, ':') != NULL;
    if (url->is_unix) {
        (void)snprintf(out, out_bytes, "unix://%s%s%s", url->host,
                       strcmp(db, "0") != 0 ? "?db=" : "", strcmp(db, "0") != 0 ? db : "");
    } else {
        (void)snprintf(out, out_bytes, "redis%s://%s%s%s:%s%s%s", url->tls ? "s" : "",
                       is_v6 ? "[" : "", url->host, is_v6 ? "]" : "", url->port,
                       strcmp(db, "0") != 0 ? "/" : "", strcmp(db, "0") != 0 ? db : "");
    }
}
