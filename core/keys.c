#include "core/keys.h"

#include "common/crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEALED_MAX_BYTES = 64 * 1024, SECRETS_MAX = 8, TRIES_MAX = 5 };

/* What one row holds, as it is and as it is to be. */
struct sealed {
    unsigned char *old;
    size_t old_bytes;
    struct buf new;
    bool same; /* the first key sealed it, or there is none */
};

static void sealed_release(struct sealed *v)
{
    free(v->old);
    buf_release(&v->new);
    *v = (struct sealed){0};
}

/* value is taken. */
static int reseal(const struct seal *seal, int64_t connection_id, const char *column,
                  unsigned char *value, size_t value_bytes, struct sealed *out, struct err *err)
{
    struct buf plain;
    struct slice old = {(const char *)value, value_bytes};
    out->old = value;
    out->old_bytes = value_bytes;
    out->same = value == NULL || seal_is_current(seal, old);
    buf_init(&out->new, SEALED_MAX_BYTES);
    if (out->same) {
        return value == NULL || buf_add(&out->new, value, value_bytes) == 0 ? 0 : -1;
    }
    buf_init(&plain, SEALED_MAX_BYTES);
    int rc = seal_open(seal, connection_id, column, old, &plain, err);
    if (rc == 0) {
        rc = seal_bytes(seal, connection_id, column,
                        (struct slice){buf_text(&plain), plain.len_bytes}, &out->new, err);
    }
    if (plain.bytes != NULL) {
        explicit_bzero(plain.bytes, plain.len_bytes);
    }
    buf_release(&plain);
    if (rc != 0) {
        err_wrap(err, "connection %lld, %s", (long long)connection_id, column);
    }
    return rc;
}

/* Only where the row is still what was read: a refresh in between wins. */
static const char *const update_sql =
    "UPDATE psync.credential SET access_token = $2, refresh_token = $3, webhook_secrets = "
    "$4::bytea[]"
    " WHERE connection_id = $1 AND access_token IS NOT DISTINCT FROM $5"
    "   AND refresh_token IS NOT DISTINCT FROM $6"
    "   AND ARRAY(SELECT unnest(webhook_secrets)) = $7::bytea[] RETURNING 1";

static void add_value(struct params *p, const struct sealed *v, bool old)
{
    if (v->old == NULL) {
        params_bytea(p, NULL, 0);
    } else if (old) {
        params_bytea(p, v->old, v->old_bytes);
    } else {
        params_bytea(p, buf_text(&v->new), v->new.len_bytes);
    }
}

static void add_secrets(struct params *p, const struct sealed *v, int n, bool old)
{
    params_array_begin(p, ARRAY_BYTEA);
    for (int i = 0; i < n; i++) {
        if (old) {
            params_array_text(p, (const char *)v[i].old, v[i].old_bytes);
        } else {
            params_array_text(p, buf_text(&v[i].new), v[i].new.len_bytes);
        }
    }
    params_array_end(p);
}

static int write_row(struct store *s, int64_t connection_id, const struct sealed *v,
                     int secrets, bool *written, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, connection_id);
    for (int old = 0; old < 2; old++) {
        add_value(p, &v[0], old == 1);
        add_value(p, &v[1], old == 1);
        add_secrets(p, v + 2, secrets, old == 1);
    }
    if (store_query(s, update_sql, p, &r, err) != 0) {
        return -1;
    }
    *written = rows_count(r) > 0;
    return 0;
}

/* One look at a row: 1 = sealed anew, 0 = nothing to do, 2 = it changed, look again. */
static int rotate_row(struct app *app, int64_t connection_id, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct sealed v[2 + SECRETS_MAX] = {0};
    size_t len = 0;
    int secrets = 0;
    params_int(p, connection_id);
    if (store_query(
            app->store,
            "SELECT access_token, refresh_token, s FROM psync.credential"
            " LEFT JOIN LATERAL unnest(webhook_secrets) WITH ORDINALITY u (s, n) ON true"
            " WHERE connection_id = $1 ORDER BY n",
            p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0) {
        return 0; /* deleted meanwhile */
    }
    unsigned char *value = rows_bytea(r, 0, 0, &len);
    int rc = reseal(app->seal, connection_id, "access_token", value, len, &v[0], err);
    if (rc == 0) {
        value = rows_bytea(r, 0, 1, &len);
        rc = reseal(app->seal, connection_id, "refresh_token", value, len, &v[1], err);
    }
    bool same = v[0].same && v[1].same;
    for (int i = 0; rc == 0 && i < rows_count(r) && secrets < SECRETS_MAX; i++) {
        if (!rows_is_null(r, i, 2)) {
            value = rows_bytea(r, i, 2, &len);
            rc = reseal(app->seal, connection_id, "webhook_secret", value, len, &v[2 + secrets],
                        err);
            same = v[2 + secrets].same && same;
            secrets++;
        }
    }
    bool written = false;
    if (rc == 0 && !same) {
        crash_point("keys.row");
        rc = write_row(app->store, connection_id, v, secrets, &written, err);
        crash_point("keys.written");
        rc = rc != 0 ? -1 : written ? 1 : 2;
    }
    for (size_t i = 0; i < COUNT_OF(v); i++) {
        sealed_release(&v[i]);
    }
    return rc;
}

int keys_rotate(struct app *app, const struct actor *who, struct keys_count *out,
                struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    char detail[64];
    *out = (struct keys_count){0};
    if (store_query(app->store, "SELECT connection_id FROM psync.credential ORDER BY 1", NULL,
                    &r, err) != 0) {
        return -1;
    }
    for (int i = 0; i < rows_count(r); i++) {
        int rc = 2;
        for (int tries = 0; rc == 2 && tries < TRIES_MAX; tries++) {
            rc = rotate_row(app, rows_int(r, i, 0), err);
        }
        if (rc == 2) {
            err_set(err, ERR_CONFLICT,
                    "the credential of connection %lld keeps changing; rotate "
                    "again",
                    (long long)rows_int(r, i, 0));
            rc = -1;
        }
        if (rc < 0) {
            return -1;
        }
        out->credentials++;
        out->sealed += rc;
    }
    snprintf(detail, sizeof detail, "{\"sealed\":%lld}", (long long)out->sealed);
    return action_audit(app->store, who, 0, 0, "keys.rotate", "credentials", detail, err);
}
