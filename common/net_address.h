/* Internet addresses as values: which are public, which belong to a list of networks, how they
 * read. No I/O, no names: resolving is the caller's. */
#ifndef COMMON_NET_ADDRESS_H
#define COMMON_NET_ADDRESS_H

#include "common/compiler.h"
#include "common/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum { NET_ADDRESS_TEXT_BYTES = 64, NET_LIST_MAX = 64 };

/* An address in 16 bytes, IPv4 as ::ffff:a.b.c.d; so both families compare alike. */
struct net_address {
    unsigned char bytes[16];
};

struct net_list {
    int count;
    struct {
        struct net_address base;
        int bits;
    } nets[NET_LIST_MAX];
};

/** The address in a sockaddr; false when it is neither IPv4 nor IPv6 (a unix socket). */
bool net_address_of(const struct sockaddr *sa, struct net_address *out);
/** Read "10.1.2.3" or "fe80::1" (also in brackets); false when it is none. */
bool net_address_parse(const char *text, struct net_address *out);
/** "10.1.2.3" or "2001:db8::1". Returns out. */
char *net_address_text(const struct net_address *a, char out[NET_ADDRESS_TEXT_BYTES]);
/** False for loopback, private, link-local, shared, reserved and multicast addresses, also when
 * they are wrapped into IPv6 (mapped, 6to4, NAT64). */
bool net_address_is_public(const struct net_address *a);
bool net_address_is_loopback(const struct net_address *a);

/** Read "10.0.0.0/8, 127.0.0.1,fd00::/8" ("" or NULL = empty list). ERR_CONFIG names the entry.
 */
int net_list_parse(const char *text, struct net_list *out, struct err *err) MUST_USE;
bool net_list_has(const struct net_list *list, const struct net_address *a);

#endif
