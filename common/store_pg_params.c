/* Values of a statement, kept in the form they travel in: scalars mostly as text, whose type
 * the server infers from the statement; arrays in binary, so that a batch of big JSON is
 * copied once and never quoted. */
#include "common/store_pg.h"

#include "common/banned.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    OID_INFERRED = 0,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_TEXT = 25,
    OID_BOOL = 16,
    OID_TIMESTAMPTZ = 1184,
};

enum { FORMAT_TEXT = 0, FORMAT_BINARY = 1 };

/* Binary timestamps count microseconds from 2000-01-01. */
static const int64_t PG_EPOCH_MS = 946684800000;

struct param {
    size_t offset; /* into bytes */
    size_t len_bytes;
    Oid type;
    int format;
    bool null;
};

struct params {
    struct buf bytes;
    int count;
    bool failed; /* no room: said when the statement is sent */
    bool in_array;
    enum param_array type; /* of the array being built */
    int32_t elements;
    bool has_null;
    struct param items[PARAMS_MAX];
};

static const struct {
    Oid array, element;
} array_oids[] = {
    [ARRAY_TEXT] = {1009, OID_TEXT},        [ARRAY_INT8] = {1016, OID_INT8},
    [ARRAY_BYTEA] = {1001, OID_BYTEA},      [ARRAY_BOOL] = {1000, OID_BOOL},
    [ARRAY_TIME] = {1185, OID_TIMESTAMPTZ},
};

/* What params_new gives when there is no memory, so that its callers need not ask: nothing is
 * ever added to it, and no statement sent with it. */
static struct params no_memory = {.count = PARAMS_MAX, .failed = true};

struct params *params_new(void)
{
    struct params *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return &no_memory;
    }
    buf_init(&p->bytes, PARAMS_MAX_BYTES);
    return p;
}

void params_free(struct params *p)
{
    if (p != NULL && p != &no_memory) {
        buf_release(&p->bytes);
        free(p);
    }
}

void params_freep(struct params **p)
{
    params_free(*p);
    *p = NULL;
}

static struct param *param_begin(struct params *p, Oid type, int format)
{
    if (p->count == PARAMS_MAX) {
        p->failed = true;
        return NULL;
    }
    struct param *item = &p->items[p->count++];
    *item = (struct param){.offset = p->bytes.len_bytes, .type = type, .format = format};
    return item;
}

/* Ends with a NUL, which text values need and binary ones do not mind. */
static void param_end(struct params *p, struct param *item)
{
    item->len_bytes = p->bytes.len_bytes - item->offset;
    (void)buf_add_char(&p->bytes, '\0');
}

static void param_add(struct params *p, Oid type, int format, const void *bytes,
                      size_t len_bytes)
{
    struct param *item = param_begin(p, type, format);
    if (item != NULL) {
        (void)buf_add(&p->bytes, bytes, len_bytes);
        param_end(p, item);
    }
}

static void null_add(struct params *p, Oid type)
{
    struct param *item = param_begin(p, type, FORMAT_TEXT);
    if (item != NULL) {
        item->null = true;
    }
}

void params_null(struct params *p)
{
    null_add(p, OID_INFERRED);
}

void params_text(struct params *p, const char *text)
{
    if (text == NULL) {
        params_null(p);
    } else {
        param_add(p, OID_INFERRED, FORMAT_TEXT, text, strlen(text));
    }
}

void params_text_n(struct params *p, const char *bytes, size_t len_bytes)
{
    if (bytes == NULL) {
        params_null(p);
    } else if (memchr(bytes, '\0', len_bytes) != NULL) {
        /* As text libpq would cut it there; in binary the server refuses it (22021). */
        param_add(p, OID_TEXT, FORMAT_BINARY, bytes, len_bytes);
    } else {
        param_add(p, OID_INFERRED, FORMAT_TEXT, bytes, len_bytes);
    }
}

void params_json(struct params *p, const json_t *v)
{
    char *text = v != NULL ? json_dumps(v, JSON_COMPACT) : NULL;
    params_text(p, text);
    p->failed |= v != NULL && text == NULL;
    free(text);
}

void params_int(struct params *p, int64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRId64, v);
    param_add(p, OID_INFERRED, FORMAT_TEXT, text, (size_t)n);
}

void params_bool(struct params *p, bool v)
{
    param_add(p, OID_INFERRED, FORMAT_TEXT, v ? "t" : "f", 1);
}

void params_float(struct params *p, double v)
{
    char text[40];
    int n = snprintf(text, sizeof text, "%.17g", v);
    param_add(p, OID_INFERRED, FORMAT_TEXT, text, (size_t)n);
}

void params_bytea(struct params *p, const void *bytes, size_t len_bytes)
{
    if (bytes == NULL) {
        null_add(p, OID_BYTEA); /* a statement's types do not depend on its values */
    } else {
        param_add(p, OID_BYTEA, FORMAT_BINARY, bytes, len_bytes);
    }
}

static void put_be64(unsigned char out[8], int64_t v)
{
    uint64_t u = (uint64_t)v;
    for (int i = 7; i >= 0; i--) {
        out[i] = (unsigned char)(u & 0xff);
        u >>= 8;
    }
}

static void put_time(unsigned char out[8], int64_t at_ms)
{
    put_be64(out, (at_ms - PG_EPOCH_MS) * 1000);
}

void params_time_ms(struct params *p, int64_t at_ms)
{
    if (at_ms == 0) {
        null_add(p, OID_TIMESTAMPTZ);
        return;
    }
    unsigned char wire[8];
    put_time(wire, at_ms);
    param_add(p, OID_TIMESTAMPTZ, FORMAT_BINARY, wire, sizeof wire);
}

/* ---- arrays ---- */

static void add_be32(struct params *p, int32_t v)
{
    uint32_t wire = htonl((uint32_t)v);
    (void)buf_add(&p->bytes, &wire, sizeof wire);
}

/* dimensions, has-null flag, element type, length, lower bound; then each element. */
enum { ARRAY_HEADER_BYTES = 20, ARRAY_FLAGS_AT = 4, ARRAY_LENGTH_AT = 12 };

void params_array_begin(struct params *p, enum param_array type)
{
    if (param_begin(p, array_oids[type].array, FORMAT_BINARY) == NULL) {
        return;
    }
    p->in_array = true;
    p->type = type;
    p->elements = 0;
    p->has_null = false;
    add_be32(p, 1);
    add_be32(p, 0);
    add_be32(p, (int32_t)array_oids[type].element);
    add_be32(p, 0);
    add_be32(p, 1);
}

static void element_add(struct params *p, const void *bytes, size_t len_bytes)
{
    if (!p->in_array || len_bytes > PARAMS_MAX_BYTES) {
        p->failed = true;
        return;
    }
    p->elements++;
    add_be32(p, (int32_t)len_bytes);
    (void)buf_add(&p->bytes, bytes, len_bytes);
}

void params_array_null(struct params *p)
{
    if (!p->in_array) {
        return;
    }
    p->elements++;
    p->has_null = true;
    add_be32(p, -1);
}

void params_array_text(struct params *p, const char *bytes, size_t len_bytes)
{
    if (bytes == NULL) {
        params_array_null(p);
    } else {
        element_add(p, bytes, len_bytes);
    }
}

void params_array_int(struct params *p, int64_t v)
{
    unsigned char wire[8];
    switch (p->type) {
    case ARRAY_BOOL:
        wire[0] = v != 0;
        element_add(p, wire, 1);
        return;
    case ARRAY_TIME:
        if (v == 0) {
            params_array_null(p);
            return;
        }
        put_time(wire, v);
        element_add(p, wire, sizeof wire);
        return;
    case ARRAY_INT8:
        put_be64(wire, v);
        element_add(p, wire, sizeof wire);
        return;
    case ARRAY_TEXT:
    case ARRAY_BYTEA:
        p->failed = true;
        return;
    }
}

void params_array_end(struct params *p)
{
    if (!p->in_array) {
        return;
    }
    p->in_array = false;
    struct param *item = &p->items[p->count - 1];
    if (p->bytes.failed || p->bytes.len_bytes < item->offset + ARRAY_HEADER_BYTES) {
        return;
    }
    uint32_t flags = htonl(p->has_null ? 1 : 0);
    uint32_t length = htonl((uint32_t)p->elements);
    memcpy(p->bytes.bytes + item->offset + ARRAY_FLAGS_AT, &flags, sizeof flags);
    memcpy(p->bytes.bytes + item->offset + ARRAY_LENGTH_AT, &length, sizeof length);
    param_end(p, item);
}

int params_args(const struct params *p, struct pg_args *args, struct err *err)
{
    args->count = 0;
    if (p == NULL) {
        return 0;
    }
    if (p == &no_memory || p->bytes.failed) {
        err_set(err, ERR_NOMEM, "values of a statement do not fit in memory");
        return -1;
    }
    if (p->failed || p->in_array) {
        err_set(err, ERR_INTERNAL, "values of a statement are put together wrongly");
        return -1;
    }
    args->count = p->count;
    for (int i = 0; i < p->count; i++) {
        const struct param *item = &p->items[i];
        args->types[i] = item->type;
        args->values[i] = item->null ? NULL : p->bytes.bytes + item->offset;
        args->lengths[i] = (int)item->len_bytes;
        args->formats[i] = item->format;
    }
    return 0;
}
