/* The forms of a result. Tables are printed by grid.c; JSON is PostgreSQL's own text, so that
 * every number keeps its digits. */
#include "cmd/cmd.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIELDS_MAX = 64, NAME_MAX_BYTES = 64 };

/* ---- the terminal ---- */

bool output_is_terminal(int fd)
{
    const char *term = getenv("TERM");
    return isatty(fd) != 0 && (term == NULL || strcmp(term, "dumb") != 0);
}

bool output_has_color(int fd)
{
    const char *no_color = getenv("NO_COLOR");
    return output_is_terminal(fd) && (no_color == NULL || no_color[0] == '\0');
}

void output_size(int fd, int *columns, int *lines)
{
    struct winsize w = {0};
    bool known = ioctl(fd, TIOCGWINSZ, &w) == 0;
    *columns = known && w.ws_col > 0 ? w.ws_col : 80;
    *lines = known && w.ws_row > 0 ? w.ws_row : 24;
}

/* The pager is a child that stdout is given to; the environment of less as git has it: end when
 * one screen suffices, colours, nothing cleared. */
void output_pager(const struct cmd *c, int lines)
{
    int columns = 0, room = 0, ends[2];
    const char *pager = getenv("PAGER");
    output_size(STDOUT_FILENO, &columns, &room);
    if (!output_is_terminal(STDOUT_FILENO) || !isatty(STDIN_FILENO) || lines < room ||
        (c != NULL && cmd_has(c, "no-pager")) || pipe(ends) != 0) {
        return;
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(ends[0], STDIN_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        (void)setenv("LESS", "FRX", 0);
        (void)execl("/bin/sh", "sh", "-c",
                    pager != NULL && pager[0] != '\0' ? pager : "less 2>/dev/null || cat",
                    (char *)NULL);
        _exit(127);
    }
    (void)close(ends[0]);
    if (pid > 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
    }
    (void)close(ends[1]);
}

int output_close(struct err *err)
{
    errno = 0;
    bool bad = fflush(stdout) != 0 || ferror(stdout) != 0;
    bad = close(STDOUT_FILENO) != 0 || bad; /* a pager sees the end */
    if (bad) {
        err_os(err, ERR_OS, "cannot write the result");
    }
    while (wait(NULL) > 0) {
    }
    return bad ? -1 : 0;
}

void print_safe(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool c1 = p[0] == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0;
        if ((*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f || c1) {
            putchar(' ');
            p += c1;
        } else {
            putchar(*p);
        }
    }
}

void print_rest(int indent, const char *text, bool wrap_always)
{
    enum { WIDEST = 100, PIPE = 80, WORD_MAX_BYTES = 1024 };
    int width = 0, lines = 0, at = indent;
    output_size(STDOUT_FILENO, &width, &lines);
    width = !output_is_terminal(STDOUT_FILENO) ? wrap_always ? PIPE : 1 << 20
            : width > WIDEST                   ? WIDEST
                                               : width;
    while (*text != '\0') {
        char word[WORD_MAX_BYTES];
        size_t n = strcspn(text, " \n");
        int columns = 0;
        snprintf(word, sizeof word, "%.*s", (int)n, text);
        for (const char *p = word; *p != '\0'; p++) {
            columns += ((unsigned char)*p & 0xC0) != 0x80;
        }
        if (at > indent && at + 1 + columns > width) {
            printf("\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            putchar(' ');
            at++;
        }
        print_safe(word);
        at += columns;
        text += n + (text[n] != '\0');
    }
    putchar('\n');
}

void print_wrapped(const char *name, int indent, const char *text, bool wrap_always)
{
    printf("%-*s", indent, name);
    if ((int)strlen(name) > indent - 1 && name[0] != '\0') {
        printf("\n%*s", indent, "");
    }
    print_rest(indent, text, wrap_always);
}

void print_labelled(const struct rows *r, const char *const *names, int n)
{
    enum { INDENT = 13 };
    for (int k = 0; k < n; k++) {
        if (names[k] != NULL && rows_len(r, 0, k) > 0) {
            print_wrapped(names[k], INDENT, rows_text(r, 0, k), false);
        }
    }
}

/* ---- fields of --json a,b ---- */

struct fields {
    int count;
    struct {
        char asked[NAME_MAX_BYTES];
        char column[NAME_MAX_BYTES];
    } items[FIELDS_MAX];
};

/* Which column a field means: itself, NAME_id, error_NAME. */
static const char *field_column(const char *asked, const char *const *names, int n)
{
    char forms[3][NAME_MAX_BYTES + 8];
    snprintf(forms[0], sizeof forms[0], "%s", asked);
    snprintf(forms[1], sizeof forms[1], "%s_id", asked);
    snprintf(forms[2], sizeof forms[2], "error_%s", asked);
    for (size_t f = 0; f < COUNT_OF(forms); f++) {
        for (int i = 0; i < n; i++) {
            if (strcmp(names[i], forms[f]) == 0) {
                return names[i];
            }
        }
    }
    return NULL;
}

static int field_unknown(const char *asked, const char *const *names, int n, struct err *err)
{
    struct buf all;
    struct typo t;
    char brief[FIELDS_MAX][NAME_MAX_BYTES]; /* without _id and error_ */
    buf_init(&all, 4096);
    typo_begin(&t, asked);
    for (int i = 0; i < n && i < FIELDS_MAX; i++) {
        size_t from = strncmp(names[i], "error_", 6) == 0 ? 6 : 0;
        size_t len = strlen(names[i] + from);
        len -= len > 3 && strcmp(names[i] + from + len - 3, "_id") == 0 ? 3 : 0;
        snprintf(brief[i], sizeof brief[i], "%.*s", (int)len, names[i] + from);
        (void)buf_printf(&all, "%s%s", i > 0 ? "," : "", names[i]);
        typo_try(&t, names[i]);
        typo_try(&t, brief[i]);
    }
    err_set(err, ERR_INVALID, "there is no field '%s'%s%s%s; there are: %s", asked,
            t.best != NULL ? ", did you mean '" : "", t.best != NULL ? t.best : "",
            t.best != NULL ? "'" : "", buf_text(&all));
    buf_release(&all);
    return -1;
}

static int fields_read(const char *list, const char *const *names, int n, struct fields *out,
                       struct err *err)
{
    out->count = 0;
    while (*list != '\0' && out->count < FIELDS_MAX) {
        size_t len = strcspn(list, ",");
        char *asked = out->items[out->count].asked;
        snprintf(asked, NAME_MAX_BYTES, "%.*s", (int)len, list);
        const char *column = field_column(asked, names, n);
        if (column == NULL) {
            return field_unknown(asked, names, n, err);
        }
        snprintf(out->items[out->count++].column, NAME_MAX_BYTES, "%s", column);
        list += len + (list[len] == ',');
    }
    return 0;
}

static void say_fields(const char *const *names, int n)
{
    struct buf all;
    buf_init(&all, 8192);
    for (int i = 0; i < n; i++) {
        (void)buf_printf(&all, "%s%s", i > 0 ? "," : "", names[i]);
    }
    say("Fields: %s", buf_text(&all));
    buf_release(&all);
}

/* ---- queries ---- */

/* One zone for the session of this transaction: PgBouncer may give it to others afterwards. */
static const char zone_sql[] =
    "SELECT set_config('TimeZone', coalesce((SELECT CASE WHEN count(DISTINCT tz) = 1 THEN"
    "   min(tz) END FROM psync.workspace WHERE ($1::text IS NULL OR name = $1)"
    "   AND NOT $2::boolean), 'UTC'), true)";

int output_lookup(struct cmd *c, const char *sql, const struct params *p, struct rows **out,
                  struct err *err)
{
    CLEANUP(params_freep) struct params *zone = params_new();
    struct store_tx *tx = zone != NULL ? store_begin(c->app->store, err) : NULL;
    *out = NULL;
    if (tx == NULL) {
        return -1;
    }
    params_text(zone, cmd_workspace(c));
    params_bool(zone, cmd_has(c, "utc"));
    if (store_send(tx, zone_sql, zone, NULL, err) != 0 ||
        store_send(tx, sql, p, out, err) != 0) {
        store_abort(tx);
        return -1;
    }
    if (store_sync(tx, err) != 0) {
        store_abort(tx);
        rows_freep(out);
        return -1;
    }
    return store_commit(tx, err);
}

static int column_names(struct cmd *c, const char *sql, const struct params *p,
                        struct rows **keep, const char **names, int *n, struct err *err)
{
    struct buf wrapped;
    buf_init(&wrapped, 64 << 10);
    int rc = buf_printf(&wrapped, "SELECT * FROM (%s) v LIMIT 0", sql);
    if (rc == 0) {
        rc = store_query(c->app->store, buf_text(&wrapped), p, keep, err);
    }
    buf_release(&wrapped);
    if (rc != 0) {
        return -1;
    }
    *n = rows_columns(*keep) < FIELDS_MAX ? rows_columns(*keep) : FIELDS_MAX;
    for (int i = 0; i < *n; i++) {
        names[i] = rows_column_name(*keep, i);
    }
    return 0;
}

/* What is selected around the statement for the form that is wanted. */
static int wrap(struct cmd *c, const char *sql, const struct params *p, const char *key,
                struct buf *out, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    const char *names[FIELDS_MAX];
    struct fields fields = {0};
    int n = 0;
    if (c->form == OUT_TABLE || c->form == OUT_CSV) {
        return buf_printf(out, "SELECT * FROM (%s) v", sql);
    }
    if (cmd_has(c, "json") && column_names(c, sql, p, &r, names, &n, err) != 0) {
        return -1;
    }
    if (c->fields == NULL) {
        (void)buf_add_str(out, "SELECT row_to_json(v)::text");
    } else if (fields_read(c->fields, names, n, &fields, err) == 0) {
        (void)buf_add_str(out, "SELECT json_build_object(");
        for (int i = 0; i < fields.count; i++) { /* both are names of ours: a-z, 0-9, _ */
            (void)buf_printf(out, "%s'%s', v.%s", i > 0 ? ", " : "", fields.items[i].asked,
                             fields.items[i].column);
        }
        (void)buf_add_str(out, ")::text");
    } else {
        return -1;
    }
    return buf_printf(out, "%s%s%s FROM (%s) v", key != NULL ? ", v." : "",
                      key != NULL ? key : "", key != NULL ? "::text" : "", sql);
}

/* ---- printing rows ---- */

static const char *rows_grid_name(const struct grid *g, int column)
{
    return rows_column_name(g->from, column);
}

static const char *rows_grid_cell(const struct grid *g, int row, int column)
{
    return rows_text(g->from, row, column);
}

static void print_csv_cell(const char *text, bool last)
{
    bool quoted = strpbrk(text, ",\"\r\n") != NULL;
    if (quoted) {
        putchar('"');
    }
    for (; *text != '\0'; text++) {
        if (*text == '"') {
            putchar('"');
        }
        putchar(*text);
    }
    fputs(quoted ? "\"" : "", stdout);
    fputs(last ? "\r\n" : ",", stdout);
}

static void print_csv(const struct rows *r, bool header)
{
    int n = rows_columns(r);
    for (int k = 0; header && k < n; k++) {
        print_csv_cell(rows_column_name(r, k), k + 1 == n);
    }
    for (int i = 0; i < rows_count(r); i++) {
        for (int k = 0; k < n; k++) {
            print_csv_cell(rows_text(r, i, k), k + 1 == n);
        }
    }
}

static void keep_key(struct output *o, const struct rows *r, const char *key)
{
    int column = -1;
    if (key == NULL || rows_count(r) == 0) {
        return;
    }
    if (o->c->form == OUT_JSON || o->c->form == OUT_JSONL) {
        column = 1;
    }
    for (int i = 0; column < 0 && i < rows_columns(r); i++) {
        column = strcmp(rows_column_name(r, i), key) == 0 ? i : -1;
    }
    if (column >= 0) {
        snprintf(o->last_key, sizeof o->last_key, "%s",
                 rows_text(r, rows_count(r) - 1, column));
    }
}

void output_begin(struct output *o, struct cmd *c, const char *columns)
{
    *o = (struct output){.c = c, .columns = columns};
}

int output_page(struct output *o, const char *sql, const struct params *p, const char *key,
                int *n, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct buf wrapped;
    buf_init(&wrapped, 64 << 10);
    int rc = wrap(o->c, sql, p, key, &wrapped, err);
    if (rc == 0) {
        rc = output_lookup(o->c, buf_text(&wrapped), p, &r, err);
    }
    buf_release(&wrapped);
    if (rc != 0) {
        return -1;
    }
    switch (o->c->form) {
    case OUT_TABLE:
        rc = grid_print(o->c,
                        &(struct grid){.rows = rows_count(r),
                                       .columns = rows_columns(r),
                                       .name = rows_grid_name,
                                       .cell = rows_grid_cell,
                                       .from = r},
                        o->columns, &o->table, err);
        break;
    case OUT_CSV:
        print_csv(r, o->rows == 0);
        break;
    case OUT_JSON: /* the bracket comes with the first row: a failure prints nothing */
        for (int i = 0; i < rows_count(r); i++) {
            printf("%s%s", o->rows + i > 0 ? ",\n " : "[", rows_text(r, i, 0));
        }
        break;
    case OUT_JSONL:
        for (int i = 0; i < rows_count(r); i++) {
            printf("%s\n", rows_text(r, i, 0));
        }
        break;
    }
    keep_key(o, r, key);
    o->rows += rows_count(r);
    if (n != NULL) {
        *n = rows_count(r);
    }
    return rc;
}

void output_end(struct output *o)
{
    if (o->c->form == OUT_JSON) {
        fputs(o->rows > 0 ? "]\n" : "[]\n", stdout);
    }
    table_free(o->table);
    o->table = NULL;
}

int output_query(struct cmd *c, const char *sql, const struct params *p, const char *columns,
                 int *n, struct err *err)
{
    struct output o;
    int count = 0;
    if (cmd_has(c, "json") && c->fields == NULL) {
        CLEANUP(rows_freep) struct rows *r = NULL;
        const char *names[FIELDS_MAX];
        if (column_names(c, sql, p, &r, names, &count, err) != 0) {
            return -1;
        }
        say_fields(names, count);
    }
    output_begin(&o, c, columns);
    int rc = output_page(&o, sql, p, NULL, &count, err);
    if (rc == 0) {
        output_end(&o);
    }
    if (n != NULL) {
        *n = count;
    }
    return rc;
}

/* ---- JSON of other origin: the queue's, the table of error types ---- */

struct json_grid {
    const char *names[FIELDS_MAX];
    char **cells;
    int columns;
};

static const char *json_grid_name(const struct grid *g, int column)
{
    const struct json_grid *j = g->from;
    return j->names[column];
}

static const char *json_grid_cell(const struct grid *g, int row, int column)
{
    const struct json_grid *j = g->from;
    const char *text = j->cells[row * j->columns + column];
    return text != NULL ? text : "";
}

static char *json_cell(const json_t *value)
{
    return value == NULL || json_is_null(value) ? NULL
           : json_is_string(value)
               ? strdup(json_string_value(value))
               : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(12));
}

static int json_table(struct cmd *c, const json_t *array, const struct json_grid *shape,
                      const char *columns, struct err *err)
{
    struct json_grid j = *shape;
    size_t rows = json_array_size(array), n = rows * (size_t)j.columns;
    struct table *table = NULL;
    int rc = -1;
    j.cells = calloc(n + 1, sizeof *j.cells);
    if (j.cells == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        j.cells[i] = json_cell(json_object_get(json_array_get(array, i / (size_t)j.columns),
                                               j.names[i % (size_t)j.columns]));
    }
    if (c->form == OUT_CSV) {
        for (size_t i = 0; i < (size_t)j.columns + n; i++) {
            const char *text =
                i < (size_t)j.columns ? j.names[i] : j.cells[i - (size_t)j.columns];
            print_csv_cell(text != NULL ? text : "", (i + 1) % (size_t)j.columns == 0);
        }
        rc = 0;
    } else {
        rc = grid_print(c,
                        &(struct grid){.rows = (int)rows,
                                       .columns = j.columns,
                                       .name = json_grid_name,
                                       .cell = json_grid_cell,
                                       .from = &j},
                        columns, &table, err);
        table_free(table);
    }
    for (size_t i = 0; i < n; i++) {
        free(j.cells[i]);
    }
    free(j.cells);
    return rc;
}

int output_json(struct cmd *c, const json_t *array, const char *columns, struct err *err)
{
    struct json_grid j = {.columns = 0};
    struct fields fields = {0};
    const char *key = NULL;
    json_t *value = NULL, *first = json_array_get(array, 0);
    json_object_foreach(first, key, value)
    {
        if (j.columns < FIELDS_MAX) {
            j.names[j.columns++] = key;
        }
    }
    if (c->form == OUT_TABLE || c->form == OUT_CSV) {
        return first == NULL && c->form == OUT_CSV ? 0 : json_table(c, array, &j, columns, err);
    }
    if (cmd_has(c, "json") && c->fields == NULL) {
        say_fields(j.names, j.columns);
    }
    if (c->fields != NULL && first != NULL &&
        fields_read(c->fields, j.names, j.columns, &fields, err) != 0) {
        return -1;
    }
    fputs(c->form == OUT_JSON ? "[" : "", stdout);
    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *row = json_array_get(array, i), *picked = NULL;
        if (fields.count > 0) {
            picked = json_object();
            for (int f = 0; f < fields.count; f++) {
                value = json_object_get(row, fields.items[f].column);
                json_object_set_new(picked, fields.items[f].asked,
                                    value != NULL ? json_incref(value) : json_null());
            }
        }
        char *text =
            json_dumps(picked != NULL ? picked : row, JSON_COMPACT | JSON_REAL_PRECISION(15));
        printf("%s%s%s", c->form == OUT_JSON && i > 0 ? ",\n " : "", text != NULL ? text : "{}",
               c->form == OUT_JSONL ? "\n" : "");
        free(text);
        json_decref(picked);
    }
    fputs(c->form == OUT_JSON ? "]\n" : "", stdout);
    return 0;
}
