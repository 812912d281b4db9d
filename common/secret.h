/* A key or token in memory: kept apart, never logged, wiped when freed. */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include "common/buf.h"
#include "common/err.h"

#include <stdint.h>

enum { SECRET_MAX_BYTES = 8192 };

struct secret;

/**
 * Read the secret in the file at path, less one trailing newline.
 * loaded_at_ms is the caller's clock, kept for secret_age_ms().
 *
 * Returns a secret the caller owns (secret_free), or NULL with err set:
 *   ERR_CONFIG  the file is missing, empty or over SECRET_MAX_BYTES
 *   ERR_OS      the file exists but could not be read
 *   ERR_NOMEM   out of memory
 */
struct secret *secret_load(const char *path, int64_t loaded_at_ms, struct err *err) MUST_USE;

/** A copy of bytes as a secret. ERR_CONFIG when empty or too long, ERR_NOMEM. */
struct secret *secret_new(struct slice bytes, int64_t loaded_at_ms, struct err *err) MUST_USE;

/** Lend the bytes, good until secret_free(). A NUL follows them. */
struct slice secret_slice(const struct secret *s);
/** The same as a text, for secrets without NUL in them (tokens). */
const char *secret_text(const struct secret *s);
int64_t secret_age_ms(const struct secret *s, int64_t now_ms);

/** Wipe and free; NULL is fine. secret_freep() is the form CLEANUP() wants. */
void secret_free(struct secret *s);
void secret_freep(struct secret **s);

#endif
