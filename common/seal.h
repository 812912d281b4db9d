/* Credentials at rest: AES-256-GCM, bound to their place in the database.
 *
 * A sealed value is: version (1 byte, 1) | key id (4) | nonce (12) | ciphertext | tag (16). The
 * key id is the start of the key's SHA-256, so keys rotate by putting a new one in front of
 * SECRET_KEY and sealing every value again (`keys rotate`). Connection id and column are
 * associated data: a value copied into another row or column does not open. */
#ifndef COMMON_SEAL_H
#define COMMON_SEAL_H

#include "common/buf.h"
#include "common/err.h"

#include <stdint.h>

enum { SEAL_KEY_BYTES = 32, SEAL_KEYS_MAX = 8, SEAL_OVERHEAD_BYTES = 1 + 4 + 12 + 16 };

struct seal;

/**
 * Keys as in SECRET_KEY: base64 of 32 bytes each, comma-separated; the first seals, all open.
 * NULL with err set: ERR_CONFIG (never with any part of a key in the message), ERR_NOMEM.
 */
struct seal *seal_new(const char *keys, struct err *err) MUST_USE;
/** Wipe and free; NULL is fine. */
void seal_free(struct seal *s);

/** Append the sealed form of text (or bytes) to out. column: "access_token". */
int seal_text(const struct seal *s, int64_t connection_id, const char *column, const char *text,
              struct buf *out, struct err *err) MUST_USE;
int seal_bytes(const struct seal *s, int64_t connection_id, const char *column,
               struct slice bytes, struct buf *out, struct err *err) MUST_USE;

/**
 * Append what was sealed to out, in one piece: out is not moved meanwhile, so buf_wipe() leaves
 * no copy. -1 with err set: ERR_CONFIG when no key of ours sealed it, ERR_DENIED when it was
 * changed or belongs elsewhere, ERR_INVALID when it is no sealed value.
 */
int seal_open(const struct seal *s, int64_t connection_id, const char *column,
              struct slice sealed, struct buf *out, struct err *err) MUST_USE;

/** True when sealed was made with the first key: rotation has nothing to do. */
bool seal_is_current(const struct seal *s, struct slice sealed);

#endif
