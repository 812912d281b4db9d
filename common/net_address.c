/* Everything is done on the 16-byte form, so that a rule for IPv4 holds for its IPv6 wrappings
 * too: an allow-list that looks at AF_INET alone is walked around by ::ffff:127.0.0.1. */
#include "common/net_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct net {
    unsigned char base[16];
    int bits;
};

/* IANA's special-purpose registries, less what is globally reachable. */
static const struct net v4_not_public[] = {
    {{0}, 8},             /* "this network" */
    {{10}, 8},            /* private */
    {{100, 64}, 10},      /* shared, RFC 6598 */
    {{127}, 8},           /* loopback */
    {{169, 254}, 16},     /* link-local; cloud metadata lives here */
    {{172, 16}, 12},      /* private */
    {{192, 0, 0}, 24},    /* protocol assignments */
    {{192, 0, 2}, 24},    /* documentation */
    {{192, 88, 99}, 24},  /* old 6to4 relays */
    {{192, 168}, 16},     /* private */
    {{198, 18}, 15},      /* benchmarks */
    {{198, 51, 100}, 24}, /* documentation */
    {{203, 0, 113}, 24},  /* documentation */
    {{224}, 4},           /* multicast */
    {{240}, 4},           /* reserved, broadcast */
};
static const struct net v6_public = {{0x20}, 3}; /* 2000::/3, all that is handed out */
static const struct net v6_not_public[] = {
    {{0x20, 0x01, 0x00}, 23},       /* protocol assignments, Teredo among them */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x3f, 0xff, 0x00}, 20},       /* documentation, RFC 9637 */
};
static const struct net v6_6to4 = {{0x20, 0x02}, 16};
static const struct net v6_nat64 = {{0x00, 0x64, 0xff, 0x9b}, 96};

static bool in_net(const unsigned char *bytes, const unsigned char *base, int bits)
{
    int whole = bits / 8;
    int rest = bits % 8;
    if (memcmp(bytes, base, (size_t)whole) != 0) {
        return false;
    }
    unsigned mask = 0xffu << (8 - rest);
    return rest == 0 || ((bytes[whole] ^ base[whole]) & mask & 0xffu) == 0;
}

bool net_address_of(const struct sockaddr *sa, struct net_address *out)
{
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, sa, sizeof v4); /* the caller's memory need not be aligned for it */
        memcpy(out->bytes, mapped_prefix, sizeof mapped_prefix);
        memcpy(out->bytes + sizeof mapped_prefix, &v4.sin_addr, 4);
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, sa, sizeof v6);
        memcpy(out->bytes, &v6.sin6_addr, 16);
        return true;
    }
    return false;
}

bool net_address_parse(const char *text, struct net_address *out)
{
    char plain[NET_ADDRESS_TEXT_BYTES];
    size_t len = strlen(text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof plain) {
        return false;
    }
    memcpy(plain, text, len);
    plain[len] = '\0';
    if (inet_pton(AF_INET, plain, out->bytes + sizeof mapped_prefix) == 1) {
        memcpy(out->bytes, mapped_prefix, sizeof mapped_prefix);
        return true;
    }
    return inet_pton(AF_INET6, plain, out->bytes) == 1;
}

static bool is_v4(const struct net_address *a)
{
    return memcmp(a->bytes, mapped_prefix, sizeof mapped_prefix) == 0;
}

char *net_address_text(const struct net_address *a, char out[NET_ADDRESS_TEXT_BYTES])
{
    const char *text = is_v4(a) ? inet_ntop(AF_INET, a->bytes + sizeof mapped_prefix, out,
                                            NET_ADDRESS_TEXT_BYTES)
                                : inet_ntop(AF_INET6, a->bytes, out, NET_ADDRESS_TEXT_BYTES);
    if (text == NULL) {
        out[0] = '\0';
    }
    return out;
}

static bool v4_is_public(const unsigned char *bytes)
{
    for (size_t i = 0; i < COUNT_OF(v4_not_public); i++) {
        if (in_net(bytes, v4_not_public[i].base, v4_not_public[i].bits)) {
            return false;
        }
    }
    return true;
}

bool net_address_is_public(const struct net_address *a)
{
    if (is_v4(a)) {
        return v4_is_public(a->bytes + 12);
    }
    if (in_net(a->bytes, v6_nat64.base, v6_nat64.bits)) {
        return v4_is_public(a->bytes + 12);
    }
    if (in_net(a->bytes, v6_6to4.base, v6_6to4.bits)) {
        return v4_is_public(a->bytes + 2);
    }
    if (!in_net(a->bytes, v6_public.base, v6_public.bits)) {
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(v6_not_public); i++) {
        if (in_net(a->bytes, v6_not_public[i].base, v6_not_public[i].bits)) {
            return false;
        }
    }
    return true;
}

bool net_address_is_loopback(const struct net_address *a)
{
    static const unsigned char v6_loopback[16] = {[15] = 1};
    return (is_v4(a) && a->bytes[12] == 127) ||
           memcmp(a->bytes, v6_loopback, sizeof v6_loopback) == 0;
}

static bool net_parse(char *entry, struct net_address *base, int *bits)
{
    char *slash = strchr(entry, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    bool v6 = strchr(entry, ':') != NULL;
    int most = v6 ? 128 : 32;
    long n = most;
    if (!net_address_parse(entry, base)) {
        return false;
    }
    if (slash != NULL) {
        char *end = NULL;
        errno = 0;
        n = strtol(slash + 1, &end, 10);
        if (end == slash + 1 || *end != '\0' || errno != 0 || n < 0 || n > most) {
            return false;
        }
    }
    *bits = (int)n + (v6 ? 0 : 96);
    return true;
}

int net_list_parse(const char *text, struct net_list *out, struct err *err)
{
    memset(out, 0, sizeof *out);
    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, ", \t");
        if (len > 0) {
            char entry[NET_ADDRESS_TEXT_BYTES];
            if (out->count == NET_LIST_MAX) {
                err_set(err, ERR_CONFIG, "more than %d networks in the list", NET_LIST_MAX);
                return -1;
            }
            bool fits = len < sizeof entry;
            (void)snprintf(entry, sizeof entry, "%.*s", (int)(fits ? len : 0), text);
            if (!fits ||
                !net_parse(entry, &out->nets[out->count].base, &out->nets[out->count].bits)) {
                err_set(err, ERR_CONFIG, "'%.*s' is not an address or network like 10.0.0.0/8",
                        (int)len, text);
                return -1;
            }
            out->count++;
        }
        text += len;
        text += strspn(text, ", \t");
    }
    return 0;
}

bool net_list_has(const struct net_list *list, const struct net_address *a)
{
    for (int i = 0; i < list->count; i++) {
        if (in_net(a->bytes, list->nets[i].base.bytes, list->nets[i].bits)) {
            return true;
        }
    }
    return false;
}
