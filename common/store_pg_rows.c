/* Results of a statement, and what a failed one means to the caller. */
#include "common/store_pg.h"

#include "common/banned.h"

#include <stdlib.h>
#include <string.h>

struct rows {
    PGresult *result;
};

struct rows *rows_wrap(PGresult *result)
{
    struct rows *r = malloc(sizeof *r);
    if (r == NULL) {
        PQclear(result);
        return NULL;
    }
    r->result = result;
    return r;
}

void rows_free(struct rows *r)
{
    if (r != NULL) {
        PQclear(r->result);
        free(r);
    }
}

void rows_freep(struct rows **r)
{
    rows_free(*r);
    *r = NULL;
}

int rows_count(const struct rows *r)
{
    return r == NULL ? 0 : PQntuples(r->result);
}

int64_t rows_affected(const struct rows *r)
{
    return r == NULL ? 0 : strtoll(PQcmdTuples(r->result), NULL, 10);
}

int rows_columns(const struct rows *r)
{
    return r == NULL ? 0 : PQnfields(r->result);
}

const char *rows_column_name(const struct rows *r, int column)
{
    const char *name = r == NULL ? NULL : PQfname(r->result, column);
    return name == NULL ? "" : name;
}

bool rows_is_null(const struct rows *r, int row, int column)
{
    return r == NULL || PQgetisnull(r->result, row, column) != 0;
}

const char *rows_text(const struct rows *r, int row, int column)
{
    const char *text = r == NULL ? NULL : PQgetvalue(r->result, row, column);
    return text == NULL ? "" : text;
}

size_t rows_len(const struct rows *r, int row, int column)
{
    return r == NULL ? 0 : (size_t)PQgetlength(r->result, row, column);
}

int64_t rows_int(const struct rows *r, int row, int column)
{
    return strtoll(rows_text(r, row, column), NULL, 10);
}

double rows_float(const struct rows *r, int row, int column)
{
    return strtod(rows_text(r, row, column), NULL);
}

bool rows_bool(const struct rows *r, int row, int column)
{
    return rows_text(r, row, column)[0] == 't';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

unsigned char *rows_bytea(const struct rows *r, int row, int column, size_t *len_bytes)
{
    const char *text = rows_text(r, row, column);
    size_t len = rows_len(r, row, column);
    *len_bytes = 0;
    if (len < 2 || text[0] != '\\' || text[1] != 'x') {
        return NULL;
    }
    size_t n = (len - 2) / 2;
    unsigned char *bytes = malloc(n + 1);
    if (bytes == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(text[2 + 2 * i]);
        int low = hex_digit(text[3 + 2 * i]);
        if (high < 0 || low < 0) {
            free(bytes);
            return NULL;
        }
        bytes[i] = (unsigned char)(high << 4 | low);
    }
    bytes[n] = 0;
    *len_bytes = n;
    return bytes;
}

/* ---- failures ---- */

static const struct {
    const char *prefix; /* of the SQLSTATE; the first that fits */
    enum err_code code;
} sqlstates[] = {
    {"57014", ERR_TIMEOUT},     /* statement_timeout, or a person cancelled it */
    {"25P03", ERR_UNAVAILABLE}, /* idle-in-transaction time-out took the connection */
    {"25006", ERR_UNAVAILABLE}, /* read-only: a standby, after a fail-over */
    {"55P03", ERR_CONFLICT},    /* lock not available */
    {"40001", ERR_CONFLICT},    /* serialization failure */
    {"40P01", ERR_CONFLICT},    /* deadlock */
    {"42501", ERR_DENIED},      /* insufficient privilege */
    {"57P0", ERR_UNAVAILABLE},  /* shut down, starting up */
    {"53", ERR_UNAVAILABLE},    /* disk full, out of memory, too many connections */
    {"58", ERR_UNAVAILABLE},    /* the server's own I/O errors */
    {"08", ERR_UNAVAILABLE},    /* connection */
    {"22", ERR_REJECTED},       /* data */
    {"23", ERR_REJECTED},       /* constraints */
    {"", ERR_INTERNAL},
};

void pg_err_result(struct err *err, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (state == NULL) {
        err_set(err, ERR_UNAVAILABLE, "lost the connection to PostgreSQL");
        return;
    }
    enum err_code code = ERR_INTERNAL;
    for (size_t i = 0; i < COUNT_OF(sqlstates); i++) {
        if (strncmp(state, sqlstates[i].prefix, strlen(sqlstates[i].prefix)) == 0) {
            code = sqlstates[i].code;
            break;
        }
    }
    /* No DETAIL: it quotes whole rows, and messages end up in logs. */
    err_set(err, code, "PostgreSQL: %s (%s)", text == NULL ? "no message" : text, state);
    if (err != NULL) {
        (void)snprintf(err->sqlstate, sizeof err->sqlstate, "%s", state);
    }
}
