/* Tokens of the admin page and its API: who may look, who may act, who may change.
 *
 * A token is "pst_" and 32 random bytes in base64url. Only its SHA-256 is stored, so a copy of
 * the database opens nothing; a slow hash would add nothing to 256 random bits. */
#ifndef CORE_ACCESS_H
#define CORE_ACCESS_H

#include "core/actions.h"

enum { ACCESS_TOKEN_MAX_BYTES = 64, ACCESS_NAME_MAX_BYTES = 128 };

/* Each may do what those before it may. */
enum access_role { ACCESS_NONE, ACCESS_VIEWER, ACCESS_OPERATOR, ACCESS_ADMIN };

struct access {
    int64_t token_id;
    enum access_role role;
    char name[ACCESS_NAME_MAX_BYTES]; /* as given when it was made, for the audit trail */
};

/** "viewer", "operator", "admin"; "none". */
const char *access_role_name(enum access_role role);
/** ACCESS_NONE when it is none of them. */
enum access_role access_role_find(const char *name);

/**
 * Make a token and write the audit row. token receives the text, which is nowhere else: show
 * it once. ERR_INVALID when the name is too long.
 */
int access_create(struct store *s, const struct actor *who, enum access_role role,
                  const char *name, char token[ACCESS_TOKEN_MAX_BYTES], int64_t *token_id,
                  struct err *err) MUST_USE;

/** Row 0 of an answer whose columns are token_id, role, name. */
void access_of_row(const struct rows *r, struct access *out);

/** Whose token is it? ERR_DENIED when it is unknown or revoked: never said which. */
int access_check(struct store *s, const char *token, struct access *out, struct err *err)
    MUST_USE;

/** Revoke a token from now on, with its audit row. ERR_NOT_FOUND; twice is fine. */
int access_revoke(struct store *s, const struct actor *who, int64_t token_id, struct err *err)
    MUST_USE;

#endif
