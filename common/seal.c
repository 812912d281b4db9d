#include "common/seal.h"

#include "common/sign.h"

#include <openssl/err.h>
#include <openssl/evp.h>

enum {
    VERSION = 1,
    ID_BYTES = 4,
    NONCE_BYTES = 12,
    TAG_BYTES = 16,
    HEAD_BYTES = 1 + ID_BYTES + NONCE_BYTES,
    SEALED_MAX_BYTES = 1024 * 1024,
};

struct seal_key {
    unsigned char id[ID_BYTES];
    unsigned char bytes[SEAL_KEY_BYTES];
};

struct seal {
    int count;
    struct seal_key keys[SEAL_KEYS_MAX];
};

static struct slice trimmed(struct slice s)
{
    while (s.len_bytes > 0 && (s.bytes[0] == ' ' || s.bytes[0] == '\n')) {
        s.bytes++;
        s.len_bytes--;
    }
    while (s.len_bytes > 0 &&
           (s.bytes[s.len_bytes - 1] == ' ' || s.bytes[s.len_bytes - 1] == '\n')) {
        s.len_bytes--;
    }
    return s;
}

static int add_key(struct seal *s, struct slice text, struct err *err)
{
    if (s->count == SEAL_KEYS_MAX) {
        err_set(err, ERR_CONFIG, "SECRET_KEY has more than %d keys", SEAL_KEYS_MAX);
        return -1;
    }
    struct seal_key *key = &s->keys[s->count];
    size_t len = 0;
    if (sign_base64_decode(text, key->bytes, sizeof key->bytes, &len) < 0 ||
        len != SEAL_KEY_BYTES) {
        err_set(err, ERR_CONFIG, "key %d of SECRET_KEY is not base64 of %d bytes", s->count + 1,
                SEAL_KEY_BYTES);
        return -1;
    }
    unsigned char hash[SIGN_SHA256_BYTES];
    sign_sha256((struct slice){(const char *)key->bytes, SEAL_KEY_BYTES}, hash);
    memcpy(key->id, hash, ID_BYTES);
    for (int i = 0; i < s->count; i++) {
        if (memcmp(s->keys[i].id, key->id, ID_BYTES) == 0) {
            err_set(err, ERR_CONFIG, "keys %d and %d of SECRET_KEY are the same", i + 1,
                    s->count + 1);
            return -1;
        }
    }
    s->count++;
    return 0;
}

struct seal *seal_new(const char *keys, struct err *err)
{
    struct seal *s = calloc(1, sizeof *s);
    if (s == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for SECRET_KEY");
        return NULL;
    }
    const char *p = keys;
    for (;;) {
        const char *end = strchrnul(p, ',');
        if (add_key(s, trimmed((struct slice){p, (size_t)(end - p)}), err) < 0) {
            seal_free(s);
            return NULL;
        }
        if (*end == '\0') {
            return s;
        }
        p = end + 1;
    }
}

void seal_free(struct seal *s)
{
    if (s != NULL) {
        explicit_bzero(s, sizeof *s);
        free(s);
    }
}

/* What a sealed value is bound to. */
static int add_place(EVP_CIPHER_CTX *ctx, int64_t connection_id, const char *column,
                     bool sealing)
{
    char place[128];
    int n =
        snprintf(place, sizeof place, "pivotal-sync:%lld:%s", (long long)connection_id, column);
    int len = 0;
    const unsigned char *bytes = (const unsigned char *)place;
    if (n < 0 || (size_t)n >= sizeof place) {
        return -1;
    }
    return (sealing ? EVP_EncryptUpdate(ctx, NULL, &len, bytes, n)
                    : EVP_DecryptUpdate(ctx, NULL, &len, bytes, n)) == 1
               ? 0
               : -1;
}

/* Encrypt into out, which has room for all of it; the head is there already. */
static int encrypt(const struct seal_key *key, const unsigned char *nonce,
                   int64_t connection_id, const char *column, struct slice bytes,
                   unsigned char *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len = 0;
    int tail = 0;
    bool ok =
        ctx != NULL &&
        EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), key->bytes, nonce, NULL) == 1 &&
        add_place(ctx, connection_id, column, true) == 0 &&
        EVP_EncryptUpdate(ctx, out, &len, (const unsigned char *)bytes.bytes,
                          (int)bytes.len_bytes) == 1 &&
        EVP_EncryptFinal_ex(ctx, out + len, &tail) == 1 &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, out + bytes.len_bytes) == 1;
    EVP_CIPHER_CTX_free(ctx);
    ERR_clear_error(); /* or libcrypto would keep its own account of it for the thread */
    return ok ? 0 : -1;
}

static int decrypt(const struct seal_key *key, int64_t connection_id, const char *column,
                   struct slice sealed, unsigned char *out)
{
    const unsigned char *nonce = (const unsigned char *)sealed.bytes + 1 + ID_BYTES;
    const unsigned char *bytes = (const unsigned char *)sealed.bytes + HEAD_BYTES;
    int len_bytes = (int)(sealed.len_bytes - SEAL_OVERHEAD_BYTES);
    unsigned char tag[TAG_BYTES];
    memcpy(tag, bytes + len_bytes, TAG_BYTES);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len = 0;
    int tail = 0;
    bool ok = ctx != NULL &&
              EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), key->bytes, nonce, NULL) == 1 &&
              add_place(ctx, connection_id, column, false) == 0 &&
              EVP_DecryptUpdate(ctx, out, &len, bytes, len_bytes) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1 &&
              EVP_DecryptFinal_ex(ctx, out + len, &tail) == 1;
    EVP_CIPHER_CTX_free(ctx);
    ERR_clear_error(); /* or libcrypto would keep its own account of it for the thread */
    return ok ? 0 : -1;
}

int seal_text(const struct seal *s, int64_t connection_id, const char *column, const char *text,
              struct buf *out, struct err *err)
{
    return seal_bytes(s, connection_id, column, slice_of(text), out, err);
}

int seal_bytes(const struct seal *s, int64_t connection_id, const char *column,
               struct slice bytes, struct buf *out, struct err *err)
{
    const struct seal_key *key = &s->keys[0];
    if (bytes.len_bytes > SEALED_MAX_BYTES) {
        err_set(err, ERR_INVALID, "too long to be sealed: %zu bytes", bytes.len_bytes);
        return -1;
    }
    if (buf_reserve(out, bytes.len_bytes + SEAL_OVERHEAD_BYTES) < 0) {
        err_set(err, ERR_NOMEM, "no room for a sealed value");
        return -1;
    }
    unsigned char *at = (unsigned char *)out->bytes + out->len_bytes;
    unsigned char *nonce = at + 1 + ID_BYTES;
    at[0] = VERSION;
    memcpy(at + 1, key->id, ID_BYTES);
    if (sign_random(nonce, NONCE_BYTES, err) < 0) {
        return -1;
    }
    if (encrypt(key, nonce, connection_id, column, bytes, at + HEAD_BYTES) < 0) {
        err_set(err, ERR_INTERNAL, "cannot seal '%s' of connection %lld", column,
                (long long)connection_id);
        return -1;
    }
    out->len_bytes += bytes.len_bytes + SEAL_OVERHEAD_BYTES;
    out->bytes[out->len_bytes] = '\0';
    return 0;
}

static bool is_sealed(struct slice sealed)
{
    return sealed.len_bytes >= SEAL_OVERHEAD_BYTES &&
           sealed.len_bytes <= SEALED_MAX_BYTES + SEAL_OVERHEAD_BYTES &&
           sealed.bytes[0] == VERSION;
}

int seal_open(const struct seal *s, int64_t connection_id, const char *column,
              struct slice sealed, struct buf *out, struct err *err)
{
    if (!is_sealed(sealed)) {
        err_set(err, ERR_INVALID, "'%s' of connection %lld is no sealed value", column,
                (long long)connection_id);
        return -1;
    }
    const struct seal_key *key = NULL;
    for (int i = 0; i < s->count; i++) {
        if (memcmp(s->keys[i].id, sealed.bytes + 1, ID_BYTES) == 0) {
            key = &s->keys[i];
        }
    }
    if (key == NULL) {
        char id[2 * ID_BYTES + 1];
        err_set(err, ERR_CONFIG,
                "'%s' of connection %lld was sealed with key %s, which is not in SECRET_KEY",
                column, (long long)connection_id,
                sign_hex((struct slice){sealed.bytes + 1, ID_BYTES}, id));
        return -1;
    }
    size_t len_bytes = sealed.len_bytes - SEAL_OVERHEAD_BYTES;
    if (buf_reserve(out, len_bytes) < 0) {
        err_set(err, ERR_NOMEM, "no room for '%s' of connection %lld", column,
                (long long)connection_id);
        return -1;
    }
    unsigned char *at = (unsigned char *)out->bytes + out->len_bytes;
    if (decrypt(key, connection_id, column, sealed, at) < 0) {
        explicit_bzero(at, len_bytes); /* unverified text must not be left lying about */
        err_set(err, ERR_DENIED, "'%s' of connection %lld was changed or belongs elsewhere",
                column, (long long)connection_id);
        return -1;
    }
    out->len_bytes += len_bytes;
    out->bytes[out->len_bytes] = '\0';
    return 0;
}

bool seal_is_current(const struct seal *s, struct slice sealed)
{
    return is_sealed(sealed) && memcmp(s->keys[0].id, sealed.bytes + 1, ID_BYTES) == 0;
}
