/* What is on a screen as a file: a table for a spreadsheet, or lines of JSON. */
#include "admin/api.h"

#include <stdio.h>
#include <string.h>

enum { EXPORT_MAX_BYTES = 64 << 20, SELECT_MAX_BYTES = 33 * 1024, NAME_MAX_BYTES = 80 };

/* A cell; what a spreadsheet would take for a formula is made a text. */
static void csv_cell(struct buf *out, const char *text)
{
    bool formula = text[0] != '\0' && strchr("=+-@\t\r", text[0]) != NULL &&
                   strspn(text, "+-0123456789.eE") != strlen(text);
    (void)buf_add_char(out, '"');
    if (formula) {
        (void)buf_add_char(out, '\'');
    }
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '"') {
            (void)buf_add_char(out, '"');
        }
        (void)buf_add_char(out, *at);
    }
    (void)buf_add_char(out, '"');
}

static void csv_rows(struct buf *out, const struct rows *r)
{
    int columns = rows_columns(r);
    for (int k = 0; k < columns; k++) {
        (void)buf_printf(out, "%s%s", k > 0 ? "," : "", rows_column_name(r, k));
    }
    (void)buf_add_str(out, "\r\n");
    for (int i = 0; i < rows_count(r); i++) {
        for (int k = 0; k < columns; k++) {
            if (k > 0) {
                (void)buf_add_char(out, ',');
            }
            if (!rows_is_null(r, i, k)) {
                csv_cell(out, rows_text(r, i, k));
            }
        }
        (void)buf_add_str(out, "\r\n");
    }
}

static void answer_file(struct api_call *c, const struct buf *out, const char *name, bool csv)
{
    char disposition[NAME_MAX_BYTES];
    struct http_exchange *x = c->x;
    if (out->failed) {
        api_problem(c, 400, "too_large", "This is too much for one file; narrow the filter.");
        return;
    }
    c->x = NULL;
    (void)snprintf(disposition, sizeof disposition, "attachment; filename=\"%s.%s\"", name,
                   csv ? "csv" : "jsonl");
    (void)http_exchange_set_header(x, "Cache-Control", "no-store");
    (void)http_exchange_set_header(x, "X-Content-Type-Options", "nosniff");
    (void)http_exchange_set_header(x, "Content-Disposition", disposition);
    http_answer(x, 200, csv ? "text/csv; charset=utf-8" : "application/jsonl", buf_text(out),
                out->len_bytes);
}

void api_export(struct api_call *c, const char *select, const struct params *p,
                const char *name)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct buf sql, out;
    struct err err = {0};
    char format[API_TEXT_MAX_BYTES];
    bool csv = strcmp(api_query(c, "format", format), "csv") == 0;
    buf_init(&sql, SELECT_MAX_BYTES);
    buf_init(&out, EXPORT_MAX_BYTES);
    (void)buf_printf(&sql, "SELECT %s FROM (%s) v", csv ? "v.*" : "row_to_json(v)::text",
                     select);
    if (sql.failed) {
        api_problem(c, 400, "invalid", "The filter is too long.");
    } else if (store_query(c->app->store, buf_text(&sql), p, &r, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        if (csv) {
            csv_rows(&out, r);
        }
        for (int i = 0; !csv && i < rows_count(r); i++) {
            (void)buf_printf(&out, "%s\n", rows_text(r, i, 0));
        }
        answer_file(c, &out, name, csv);
    }
    buf_release(&out);
    buf_release(&sql);
}
