/* The page: static files from inside the program, packed where the browser takes it, with a tag
 * so that a second visit moves nothing. Nothing here is about anybody: what is, the API says.
 */
#include "admin/files.h"

#include "admin/admin.h"
#include "common/sign.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 128, TAG_BYTES = 24 };

/* No inline script, no style but ours and what scripts set, nothing from elsewhere. */
static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'";

static const struct embedded *find(const char *path)
{
    for (const struct embedded *f = admin_files; f->path != NULL; f++) {
        if (strcmp(f->path, path) == 0) {
            return f;
        }
    }
    return NULL;
}

static const char *type_of(const char *path)
{
    static const struct {
        const char *end, *type;
    } types[] = {{".html", "text/html; charset=utf-8"},
                 {".js", "text/javascript; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".svg", "image/svg+xml"},
                 {".json", "application/json"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot != NULL && i < COUNT_OF(types); i++) {
        if (strcmp(dot, types[i].end) == 0) {
            return types[i].type;
        }
    }
    return "application/octet-stream";
}

static bool takes_gzip(struct http_exchange *x)
{
    const char *accepts = http_exchange_header(x, "Accept-Encoding");
    return accepts != NULL && strstr(accepts, "gzip") != NULL &&
           strstr(accepts, "gzip;q=0") == NULL;
}

/* An address of the page (/admin/..., /) is index.html; the script reads the address. */
static void path_of(const struct http_exchange *x, char out[PATH_BYTES])
{
    const char *path = http_exchange_path(x);
    if (strncmp(path, "/web/", 5) == 0 && strlen(path) < PATH_BYTES - 8) {
        (void)snprintf(out, PATH_BYTES, "admin%s", path);
    } else {
        (void)snprintf(out, PATH_BYTES, "admin/web/index.html");
    }
}

void files_handle(struct http_exchange *x, void *arg)
{
    char path[PATH_BYTES], packed[PATH_BYTES + 4], tag[TAG_BYTES];
    unsigned char hash[SIGN_SHA256_BYTES];
    (void)arg;
    path_of(x, path);
    (void)snprintf(packed, sizeof packed, "%s.gz", path);
    const struct embedded *plain = find(path), *gz = takes_gzip(x) ? find(packed) : NULL;
    const struct embedded *f = gz != NULL ? gz : plain;
    if (f == NULL) {
        http_answer_text(x, 404, "there is no such file\n");
        return;
    }
    struct slice bytes = {f->bytes, (size_t)(f->end - f->bytes)};
    sign_sha256(bytes, hash);
    char hex[2 * 8 + 1];
    (void)snprintf(tag, sizeof tag, "\"%s\"",
                   sign_hex((struct slice){(const char *)hash, 8}, hex));
    (void)http_exchange_set_header(x, "ETag", tag);
    (void)http_exchange_set_header(x, "Cache-Control", "no-cache");
    (void)http_exchange_set_header(x, "Vary", "Accept-Encoding");
    (void)http_exchange_set_header(x, "Content-Security-Policy", policy);
    (void)http_exchange_set_header(x, "X-Content-Type-Options", "nosniff");
    (void)http_exchange_set_header(x, "X-Frame-Options", "DENY");
    (void)http_exchange_set_header(x, "Referrer-Policy", "same-origin");
    (void)http_exchange_set_header(x, "Cross-Origin-Opener-Policy", "same-origin");
    if (gz != NULL) {
        (void)http_exchange_set_header(x, "Content-Encoding", "gzip");
    }
    const char *known = http_exchange_header(x, "If-None-Match");
    if (known != NULL && strstr(known, tag) != NULL) {
        http_answer(x, 304, NULL, NULL, 0);
        return;
    }
    http_answer(x, 200, type_of(path), bytes.bytes, bytes.len_bytes);
}
