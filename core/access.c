#include "core/access.h"

#include "common/sign.h"

#include <stdio.h>
#include <string.h>

static const char prefix[] = "pst_";

static const char *const role_names[] = {
    [ACCESS_NONE] = "none",
    [ACCESS_VIEWER] = "viewer",
    [ACCESS_OPERATOR] = "operator",
    [ACCESS_ADMIN] = "admin",
};

const char *access_role_name(enum access_role role)
{
    return role_names[role];
}

enum access_role access_role_find(const char *name)
{
    for (int role = ACCESS_VIEWER; role <= ACCESS_ADMIN; role++) {
        if (strcmp(name, role_names[role]) == 0) {
            return (enum access_role)role;
        }
    }
    return ACCESS_NONE;
}

static void access_hash(const char *token, unsigned char out[SIGN_SHA256_BYTES])
{
    sign_sha256((struct slice){token, strlen(token)}, out);
}

static int access_make(char token[ACCESS_TOKEN_MAX_BYTES], struct err *err)
{
    char nonce[SIGN_NONCE_BYTES];
    int rc = sign_nonce(nonce, err);
    if (rc == 0) {
        (void)snprintf(token, ACCESS_TOKEN_MAX_BYTES, "%s%s", prefix, nonce);
    }
    explicit_bzero(nonce, sizeof nonce);
    return rc;
}

int access_create(struct store *s, const struct actor *who, enum access_role role,
                  const char *name, char token[ACCESS_TOKEN_MAX_BYTES], int64_t *token_id,
                  struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    unsigned char hash[SIGN_SHA256_BYTES];
    if (strlen(name) >= ACCESS_NAME_MAX_BYTES) {
        err_set(err, ERR_INVALID, "the name of a token has at most %d bytes",
                ACCESS_NAME_MAX_BYTES - 1);
        return -1;
    }
    if (access_make(token, err) != 0) {
        return -1;
    }
    access_hash(token, hash);
    params_bytea(p, hash, sizeof hash);
    params_text(p, access_role_name(role));
    params_text(p, name);
    params_text(p, who->name);
    params_text(p, who->kind);
    /* One statement: no token without its audit row. */
    if (store_query(s,
                    "WITH made AS (INSERT INTO psync.admin_token (token_hash, role, name,"
                    "     created_by) VALUES ($1, $2, $3, $4) RETURNING token_id),"
                    " noted AS (INSERT INTO psync.audit (actor, actor_kind, action, target,"
                    "     detail) SELECT $4, $5, 'token.create', 'token ' || token_id,"
                    "     jsonb_build_object('role', $2::text, 'name', $3::text) FROM made)"
                    " SELECT token_id FROM made",
                    p, &r, err) != 0) {
        explicit_bzero(token, ACCESS_TOKEN_MAX_BYTES);
        return -1;
    }
    *token_id = rows_int(r, 0, 0);
    return 0;
}

void access_of_row(const struct rows *r, struct access *out)
{
    *out = (struct access){.token_id = rows_int(r, 0, 0),
                           .role = access_role_find(rows_text(r, 0, 1))};
    (void)snprintf(out->name, sizeof out->name, "%s", rows_text(r, 0, 2));
}

int access_check(struct store *s, const char *token, struct access *out, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    unsigned char hash[SIGN_SHA256_BYTES];
    *out = (struct access){0};
    access_hash(token, hash);
    params_bytea(p, hash, sizeof hash);
    if (store_query(s,
                    "SELECT token_id, role, name FROM psync.admin_token"
                    " WHERE token_hash = $1 AND revoked_at IS NULL",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_DENIED, "the token is unknown or was revoked");
        return -1;
    }
    access_of_row(r, out);
    return 0;
}

int access_revoke(struct store *s, const struct actor *who, int64_t token_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, token_id);
    params_text(p, who->name);
    params_text(p, who->kind);
    if (store_query(s,
                    "WITH gone AS (UPDATE psync.admin_token SET revoked_at = now()"
                    "     WHERE token_id = $1 AND revoked_at IS NULL RETURNING token_id),"
                    " noted AS (INSERT INTO psync.audit (actor, actor_kind, action, target)"
                    "     SELECT $2, $3, 'token.revoke', 'token ' || token_id FROM gone)"
                    " SELECT 1 FROM psync.admin_token WHERE token_id = $1",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        err_set(err, ERR_NOT_FOUND, "there is no token %lld (pivotal-sync token list)",
                (long long)token_id);
        return -1;
    }
    return 0;
}
