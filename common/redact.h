/* Secrets are taken out of a provider's answer before it is stored with an attempt. */
#ifndef COMMON_REDACT_H
#define COMMON_REDACT_H

#include "common/buf.h"

enum { REDACT_MAX_BYTES = 64 * 1024 };

struct redact_result {
    int redactions; /* how many things were replaced */
    bool truncated; /* the body was longer than REDACT_MAX_BYTES */
};

/**
 * Append body to out with each secret replaced by "[redacted]": keys and tokens by their
 * prefixes (sk_ rk_ whsec_ ac_ pat- ...), bearer credentials, the values of members and form
 * fields such as access_token and client_secret, card numbers (13 to 19 digits that pass the
 * Luhn check). What is no UTF-8, and NUL, becomes U+FFFD, so that PostgreSQL takes it. At most
 * REDACT_MAX_BYTES are added, cut between characters; out needs room for twice that on the way.
 *
 * result may be NULL. 0, or -1 when out is full or memory ran out.
 */
int redact_body(struct slice body, struct buf *out, struct redact_result *result);

#endif
