#include "common/secret.h"

struct secret {
    int64_t loaded_at_ms;
    size_t len_bytes;
    char bytes[SECRET_MAX_BYTES + 2]; /* a file too long shows in the first, a NUL is second */
};

static struct secret *secret_empty(int64_t loaded_at_ms)
{
    struct secret *s = calloc(1, sizeof *s);
    if (s != NULL) {
        s->loaded_at_ms = loaded_at_ms;
    }
    return s;
}

struct secret *secret_load(const char *path, int64_t loaded_at_ms, struct err *err)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        err_os(err, ERR_CONFIG, "cannot open secret '%s'", path);
        return NULL;
    }
    struct secret *s = secret_empty(loaded_at_ms);
    if (s == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for secret '%s'", path);
        goto fail;
    }
    /* Unbuffered: stdio must not keep a second copy of the key. */
    (void)setvbuf(f, NULL, _IONBF, 0);
    s->len_bytes = fread(s->bytes, 1, SECRET_MAX_BYTES + 1, f);
    if (ferror(f)) {
        err_os(err, ERR_OS, "cannot read secret '%s'", path);
        goto fail;
    }
    if (s->len_bytes > SECRET_MAX_BYTES) {
        err_set(err, ERR_CONFIG, "secret '%s' is longer than %d bytes", path, SECRET_MAX_BYTES);
        goto fail;
    }
    if (s->len_bytes > 0 && s->bytes[s->len_bytes - 1] == '\n') {
        s->len_bytes--;
    }
    if (s->len_bytes > 0 && s->bytes[s->len_bytes - 1] == '\r') {
        s->len_bytes--; /* a file that an editor of another system wrote */
    }
    if (s->len_bytes == 0) {
        err_set(err, ERR_CONFIG, "secret '%s' is empty", path);
        goto fail;
    }
    s->bytes[s->len_bytes] = '\0';
    (void)fclose(f);
    return s;

fail:
    secret_free(s);
    (void)fclose(f);
    return NULL;
}

struct secret *secret_new(struct slice bytes, int64_t loaded_at_ms, struct err *err)
{
    if (bytes.len_bytes == 0 || bytes.len_bytes > SECRET_MAX_BYTES) {
        err_set(err, ERR_CONFIG, "a secret has 1 to %d bytes, this one %zu", SECRET_MAX_BYTES,
                bytes.len_bytes);
        return NULL;
    }
    struct secret *s = secret_empty(loaded_at_ms);
    if (s == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a secret");
        return NULL;
    }
    memcpy(s->bytes, bytes.bytes, bytes.len_bytes);
    s->len_bytes = bytes.len_bytes;
    return s;
}

struct slice secret_slice(const struct secret *s)
{
    return (struct slice){s->bytes, s->len_bytes};
}

const char *secret_text(const struct secret *s)
{
    return s->bytes;
}

int64_t secret_age_ms(const struct secret *s, int64_t now_ms)
{
    return now_ms - s->loaded_at_ms;
}

void secret_free(struct secret *s)
{
    if (s != NULL) {
        explicit_bzero(s, sizeof *s);
        free(s);
    }
}

void secret_freep(struct secret **s)
{
    secret_free(*s);
    *s = NULL;
}
