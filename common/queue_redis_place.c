/* Where a shard is: one resolver for four ways to run several Redis.
 *
 * A list of addresses: shard i begins at address i mod n, and stays there until `queue
 * move-shard` has moved it. What it leaves behind is one key, {ps<i>}:moved, whose value every
 * script answers as its error, so a program that knows nothing of the move is told by the first
 * thing that it asks, and the move is one step for all of them. A map in PostgreSQL was the
 * other way; but the gateway takes deliveries while PostgreSQL is away, and two programs with
 * maps of different age would both write.
 *
 * Sentinels: the address is asked for before each connection. A cluster: any node is a home,
 * and MOVED says which is right. ASK (its slot is on its way, and part of the keys there
 * already) is waited out: our scripts need all keys of a shard in one place, and the node that
 * answers would find half of them. */
#include "common/queue_redis.h"

#include <stdio.h>
#include <string.h>

static bool begins(const char *text, const char *word)
{
    return strncmp(text, word, strlen(word)) == 0;
}

/* "<slot> <host>:<port>"; no host means the one that answered. */
static enum place read_slot(const char *text, struct redis_url *url)
{
    const char *at = strchr(text, ' ');
    const char *colon = at != NULL ? strrchr(at, ':') : NULL;
    if (colon == NULL || strlen(colon + 1) >= sizeof url->port ||
        (size_t)(colon - at - 1) >= sizeof url->host) {
        return PLACE_HERE;
    }
    if (colon > at + 1) {
        (void)snprintf(url->host, sizeof url->host, "%.*s", (int)(colon - at - 1), at + 1);
    }
    (void)snprintf(url->port, sizeof url->port, "%s", colon + 1);
    url->is_unix = false;
    return PLACE_THERE;
}

enum place place_read(const char *error, struct redis_url *url)
{
    struct redis_url next;
    struct err ignored = {0};
    if (begins(error, "PSMOVED ")) {
        if (redis_url_parse(error + strlen("PSMOVED "), &next, &ignored) != 0) {
            return PLACE_HERE;
        }
        memcpy(next.user, url->user, sizeof next.user);
        memcpy(next.password, url->password, sizeof next.password);
        memcpy(next.ca, url->ca, sizeof next.ca);
        *url = next;
        return PLACE_THERE;
    }
    if (begins(error, "MOVED ")) {
        return read_slot(error + strlen("MOVED "), url);
    }
    return begins(error, "PSMOVING ") || begins(error, "ASK ") || begins(error, "TRYAGAIN ")
               ? PLACE_SOON
               : PLACE_HERE;
}

static bool same_primary(const struct redis_url *a, const struct redis_url *b)
{
    return strcmp(a->primary, b->primary) == 0 && strcmp(a->db, b->db) == 0;
}

/* Sentinels of one primary stand side by side afterwards, in the order in which each primary
 * was named first. */
static int sentinel_homes(struct redis_url *urls, int n, struct redis_home *homes)
{
    int count = 0;
    for (int at = 0; at < n;) {
        int first = at++;
        for (int i = at; i < n; i++) {
            if (same_primary(&urls[first], &urls[i])) {
                struct redis_url found = urls[i];
                memmove(&urls[at + 1], &urls[at], (size_t)(i - at) * sizeof *urls);
                urls[at++] = found;
            }
        }
        homes[count++] = (struct redis_home){&urls[first], at - first};
    }
    return count;
}

int place_homes(struct redis_url *urls, int url_count, struct redis_home *homes,
                struct err *err)
{
    for (int i = 1; i < url_count; i++) {
        if (urls[i].kind != urls[0].kind) {
            err_set(err, ERR_CONFIG,
                    "REDIS_URL mixes addresses, sentinels and nodes of a cluster");
            return -1;
        }
    }
    switch (urls[0].kind) {
    case REDIS_PLAIN:
        for (int i = 0; i < url_count; i++) {
            homes[i] = (struct redis_home){&urls[i], 1};
        }
        return url_count;
    case REDIS_SENTINEL:
        return sentinel_homes(urls, url_count, homes);
    case REDIS_CLUSTER:
        homes[0] = (struct redis_home){urls, url_count};
        return 1;
    }
    return -1;
}
