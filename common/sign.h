/* What signatures and content hashes are made of: SHA-256, HMAC, comparison in constant time,
 * base64, hex, random bytes. libcrypto does the work; each thread keeps its contexts, since
 * fetching an algorithm costs several times what a small message does. */
#ifndef COMMON_SIGN_H
#define COMMON_SIGN_H

#include "common/buf.h"
#include "common/err.h"

#include <stdint.h>

enum { SIGN_SHA256_BYTES = 32, SIGN_HASH128_BYTES = 16 };

/* These end the program when libcrypto has no SHA-256: nothing could go on. */
void sign_sha256(struct slice bytes, unsigned char out[SIGN_SHA256_BYTES]);
/** The first half of SHA-256, for content hashes: equal means equal, also against malice. */
void sign_hash128(struct slice bytes, unsigned char out[SIGN_HASH128_BYTES]);
/** HMAC of the parts one after another ("t", ".", body), which saves joining them. */
void sign_hmac_sha256(struct slice key, const struct slice *parts, size_t count,
                      unsigned char out[SIGN_SHA256_BYTES]);

/** Equal? Takes the same time whatever differs; different lengths are no secret. */
bool sign_equal(struct slice a, struct slice b);

/** Append in base64 (RFC 4648, with padding) or in base64url without padding. */
int sign_base64(struct buf *out, struct slice bytes);
int sign_base64url(struct buf *out, struct slice bytes);
/** Decode strictly: the alphabet of base64, padding, nothing else, no stray bits in the last
 * digit. -1 also when it does not fit; out_bytes must be at least len / 4 * 3. */
int sign_base64_decode(struct slice text, unsigned char *out, size_t out_bytes,
                       size_t *len_bytes) MUST_USE;

/** Lower-case hex with a NUL; out has 2 * len + 1 bytes. Returns out. */
char *sign_hex(struct slice bytes, char *out);
/** Hex of either case to exactly len_bytes; -1 when it is anything else. */
int sign_hex_decode(struct slice text, unsigned char *out, size_t len_bytes) MUST_USE;

/** Random bytes good for keys and nonces. -1 with ERR_OS when there are none. */
int sign_random(void *out, size_t len_bytes, struct err *err) MUST_USE;

/** 256 random bits as base64url: a text that nobody guesses. */
enum { SIGN_NONCE_BYTES = 44 };
int sign_nonce(char out[SIGN_NONCE_BYTES], struct err *err) MUST_USE;

#endif
