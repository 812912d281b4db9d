#include "common/sign.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

/* Contexts that only save work: what a call returns never depends on an earlier one. They live
 * as long as the thread. */
static _Thread_local struct {
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    EVP_MAC *hmac;
    EVP_MAC_CTX *mac;
} kept;

static void must(bool ok)
{
    if (!ok) {
        (void)fprintf(stderr, "libcrypto cannot compute SHA-256\n");
        abort();
    }
}

void sign_sha256(struct slice bytes, unsigned char out[SIGN_SHA256_BYTES])
{
    if (kept.digest == NULL) {
        kept.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        kept.digest = EVP_MD_CTX_new();
        must(kept.sha256 != NULL && kept.digest != NULL &&
             EVP_DigestInit_ex2(kept.digest, kept.sha256, NULL) == 1);
    }
    /* Without a type it starts again with what it has. */
    must(EVP_DigestInit_ex2(kept.digest, NULL, NULL) == 1 &&
         EVP_DigestUpdate(kept.digest, bytes.bytes, bytes.len_bytes) == 1 &&
         EVP_DigestFinal_ex(kept.digest, out, NULL) == 1);
}

void sign_hash128(struct slice bytes, unsigned char out[SIGN_HASH128_BYTES])
{
    unsigned char whole[SIGN_SHA256_BYTES];
    sign_sha256(bytes, whole);
    memcpy(out, whole, SIGN_HASH128_BYTES);
}

void sign_hmac_sha256(struct slice key, const struct slice *parts, size_t count,
                      unsigned char out[SIGN_SHA256_BYTES])
{
    if (kept.mac == NULL) {
        char digest[] = "SHA256";
        const OSSL_PARAM params[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
            OSSL_PARAM_construct_end(),
        };
        kept.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
        kept.mac = kept.hmac == NULL ? NULL : EVP_MAC_CTX_new(kept.hmac);
        must(kept.mac != NULL && EVP_MAC_CTX_set_params(kept.mac, params) == 1);
    }
    /* A NULL key would mean "the last one again". */
    const unsigned char *bytes = (const unsigned char *)(key.bytes == NULL ? "" : key.bytes);
    must(EVP_MAC_init(kept.mac, bytes, key.len_bytes, NULL) == 1);
    for (size_t i = 0; i < count; i++) {
        must(EVP_MAC_update(kept.mac, (const unsigned char *)parts[i].bytes,
                            parts[i].len_bytes) == 1);
    }
    size_t len = 0;
    must(EVP_MAC_final(kept.mac, out, &len, SIGN_SHA256_BYTES) == 1 &&
         len == SIGN_SHA256_BYTES);
}

bool sign_equal(struct slice a, struct slice b)
{
    return a.len_bytes == b.len_bytes &&
           (a.len_bytes == 0 || CRYPTO_memcmp(a.bytes, b.bytes, a.len_bytes) == 0);
}

/* ---- base64 ---- */

static const char digits_plain[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char digits_url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int encode(struct buf *out, struct slice bytes, const char *digits, bool padded)
{
    const unsigned char *p = (const unsigned char *)bytes.bytes;
    for (size_t i = 0; i < bytes.len_bytes; i += 3) {
        size_t n = bytes.len_bytes - i < 3 ? bytes.len_bytes - i : 3;
        uint32_t v = (uint32_t)p[i] << 16;
        v |= n > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        v |= n > 2 ? p[i + 2] : 0;
        const char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
                              n > 1 ? digits[v >> 6 & 63] : '=', n > 2 ? digits[v & 63] : '='};
        (void)buf_add(out, four, padded ? 4 : n + 1);
    }
    return out->failed ? -1 : 0;
}

int sign_base64(struct buf *out, struct slice bytes)
{
    return encode(out, bytes, digits_plain, true);
}

int sign_base64url(struct buf *out, struct slice bytes)
{
    return encode(out, bytes, digits_url, false);
}

static int value_of_digit(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+') {
        return 62;
    }
    return c == '/' ? 63 : -1;
}

/* Four digits to n bytes (3, or fewer before padding); -1 when they are none. */
static int decode_four(const char *four, size_t n, unsigned char out[3])
{
    uint32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = i <= n ? value_of_digit(four[i]) : 0;
        if (digit < 0 || (i > n && four[i] != '=')) {
            return -1;
        }
        v = v << 6 | (uint32_t)digit;
    }
    /* Bits behind the last byte must be zero, or one secret would have many spellings. */
    if ((n == 1 && (v & 0xffff) != 0) || (n == 2 && (v & 0xff) != 0)) {
        return -1;
    }
    out[0] = (unsigned char)(v >> 16);
    out[1] = (unsigned char)(v >> 8);
    out[2] = (unsigned char)v;
    return 0;
}

int sign_base64_decode(struct slice text, unsigned char *out, size_t out_bytes,
                       size_t *len_bytes)
{
    *len_bytes = 0;
    if (text.len_bytes % 4 != 0) {
        return -1;
    }
    size_t n = 0;
    for (size_t i = 0; i < text.len_bytes; i += 4) {
        const char *four = text.bytes + i;
        size_t bytes = 3;
        if (i + 4 == text.len_bytes && four[3] == '=') {
            bytes = four[2] == '=' ? 1 : 2;
        }
        unsigned char three[3];
        if (decode_four(four, bytes, three) < 0 || bytes > out_bytes - n) {
            return -1;
        }
        memcpy(out + n, three, bytes);
        n += bytes;
    }
    *len_bytes = n;
    return 0;
}

/* ---- hex, random ---- */

char *sign_hex(struct slice bytes, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.len_bytes; i++) {
        unsigned char c = (unsigned char)bytes.bytes[i];
        out[2 * i] = digits[c >> 4];
        out[2 * i + 1] = digits[c & 15];
    }
    out[2 * bytes.len_bytes] = '\0';
    return out;
}

static int value_of_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int sign_hex_decode(struct slice text, unsigned char *out, size_t len_bytes)
{
    if (text.len_bytes != 2 * len_bytes) {
        return -1;
    }
    for (size_t i = 0; i < len_bytes; i++) {
        int high = value_of_hex(text.bytes[2 * i]);
        int low = value_of_hex(text.bytes[2 * i + 1]);
        if (high < 0 || low < 0) {
            return -1;
        }
        out[i] = (unsigned char)(high << 4 | low);
    }
    return 0;
}

int sign_random(void *out, size_t len_bytes, struct err *err)
{
    if (len_bytes > INT32_MAX || RAND_bytes(out, (int)len_bytes) != 1) {
        err_set(err, ERR_OS, "no random bytes to be had");
        return -1;
    }
    return 0;
}

int sign_nonce(char out[SIGN_NONCE_BYTES], struct err *err)
{
    char bytes[32];
    struct buf text;
    if (sign_random(bytes, sizeof bytes, err) != 0) {
        return -1;
    }
    buf_init(&text, SIGN_NONCE_BYTES);
    int rc = sign_base64url(&text, (struct slice){bytes, sizeof bytes});
    if (rc == 0) {
        memcpy(out, buf_text(&text), SIGN_NONCE_BYTES);
    } else {
        err_set(err, ERR_NOMEM, "out of memory");
    }
    buf_wipe(&text);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return rc;
}
