/* A table for people. Through a pipe nothing is cut; on a terminal it fits: first times lose
 * their year, then columns marked '?' go, from the right, then those marked '~' are cut. Word
 * and colour say the same, so nothing is lost without colours. */
#include "cmd/cmd.h"

#include "common/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

enum { COLUMNS_MAX = 40, PAD_MAX = 60, CUT_TO_LEAST = 14, CELL_MAX_BYTES = 1024 };

struct column {
    int from; /* of the grid; -1 = it has none of that name */
    char header[48];
    int width, content; /* printed; of the cells alone */
    bool may_go, may_cut, number, is_time, gone;
};

struct table {
    struct column columns[COLUMNS_MAX];
    int count;
    bool fit, short_times, color, header_done;
};

void table_free(struct table *t)
{
    free(t);
}

/* One character at p: its bytes, its columns on a terminal, and whether it is safe to print.
 * What steers a terminal or turns the direction of text is not. */
static size_t glyph(const char *p, int *width, bool *safe)
{
    size_t n = utf8_char_bytes((struct slice){p, strnlen(p, 4)});
    const unsigned char *u = (const unsigned char *)p;
    wchar_t point = n <= 1   ? u[0]
                    : n == 2 ? (wchar_t)((u[0] & 0x1F) << 6 | (u[1] & 0x3F))
                    : n == 3
                        ? (wchar_t)((u[0] & 0x0F) << 12 | (u[1] & 0x3F) << 6 | (u[2] & 0x3F))
                        : (wchar_t)((u[0] & 0x07) << 18 | (u[1] & 0x3F) << 12 |
                                    (u[2] & 0x3F) << 6 | (u[3] & 0x3F));
    *safe = n > 0 && point >= 0x20 && !(point >= 0x7f && point < 0xA0) &&
            !(point >= 0x202A && point <= 0x202E) && !(point >= 0x2066 && point <= 0x2069);
    *width = *safe ? wcwidth(point) : 1;
    *width = *width < 0 ? 1 : *width;
    return n > 0 ? n : 1;
}

static int text_width(const char *text)
{
    int width = 0, one = 0;
    bool safe = false;
    for (size_t n; *text != '\0'; text += n) {
        n = glyph(text, &one, &safe);
        width += one;
    }
    return width;
}

/* "2026-11-23 15:04:05.123+01": where the seconds end, or 0 when it is no time. */
static size_t time_seconds_end(const char *text)
{
    static const char shape[] = "dddd-dd-dd dd:dd:dd";
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (shape[i] == 'd' ? !digit : text[i] != shape[i]) {
            return 0;
        }
    }
    return sizeof shape - 1;
}

/* A cell as it is shown: times to the second, without the year when room is scarce. */
static void cell_text(const struct table *t, const struct grid *g, int row, int k, char *out)
{
    const struct column *c = &t->columns[k];
    const char *text = c->from >= 0 ? g->cell(g, row, c->from) : "";
    size_t seconds = time_seconds_end(text), skip = t->short_times ? 5 : 0;
    if (seconds > 0) {
        size_t fraction =
            text[seconds] == '.' ? 1 + strspn(text + seconds + 1, "0123456789") : 0;
        snprintf(out, CELL_MAX_BYTES, "%.*s%s", (int)(seconds - skip), text + skip,
                 text + seconds + fraction);
        return;
    }
    const char *point = c->number ? strchr(text, '.') : NULL;
    size_t digits = point != NULL ? strspn(point + 1, "0123456789") : 0;
    if (digits > 3 && point[1 + digits] == '\0') { /* seconds and rates, not money */
        snprintf(out, CELL_MAX_BYTES, "%.1f", strtod(text, NULL));
        return;
    }
    snprintf(out, CELL_MAX_BYTES, "%s", text);
}

static void read_columns(const struct grid *g, const char *spec, bool wide, struct table *t)
{
    bool beyond = false;
    while (*spec != '\0' && t->count < COLUMNS_MAX) {
        char item[96];
        size_t len = strcspn(spec, " ");
        snprintf(item, sizeof item, "%.*s", (int)len, spec);
        spec += len + (spec[len] == ' ');
        if (strcmp(item, "|") == 0) {
            beyond = true;
            continue;
        }
        if (beyond && !wide) {
            break;
        }
        struct column *c = &t->columns[t->count++];
        size_t marks = strspn(item, "?~#");
        char *name = item + marks, *colon = strchr(name, ':');
        *c = (struct column){.from = -1,
                             .may_go = memchr(item, '?', marks) != NULL,
                             .may_cut = memchr(item, '~', marks) != NULL,
                             .number = memchr(item, '#', marks) != NULL};
        snprintf(c->header, sizeof c->header, "%.47s", colon != NULL ? colon + 1 : name);
        if (colon != NULL) {
            *colon = '\0';
        } else {
            for (char *p = c->header; *p != '\0'; p++) {
                *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p == '_' ? ' ' : *p;
            }
        }
        for (int i = 0; i < g->columns; i++) {
            c->from = strcmp(g->name(g, i), name) == 0 ? i : c->from;
        }
    }
}

static int table_width(const struct table *t, bool cut)
{
    int width = 0;
    for (int k = 0; k < t->count; k++) {
        const struct column *c = &t->columns[k];
        if (!c->gone) {
            int least =
                CUT_TO_LEAST > (int)strlen(c->header) ? CUT_TO_LEAST : (int)strlen(c->header);
            width += (cut && c->may_cut && c->width > least ? least : c->width) + 2;
        }
    }
    return width > 2 ? width - 2 : 0;
}

static void measure(struct table *t, const struct grid *g)
{
    char cell[CELL_MAX_BYTES];
    for (int k = 0; k < t->count; k++) {
        struct column *c = &t->columns[k];
        c->width = text_width(c->header);
        c->content = 0;
        for (int i = 0; i < g->rows; i++) {
            cell_text(t, g, i, k, cell);
            int w = text_width(cell);
            c->content = w > c->content ? w : c->content;
        }
        int most = t->fit || c->content < PAD_MAX ? c->content : PAD_MAX;
        c->width = most > c->width ? most : c->width;
    }
}

static void fit(struct table *t, const struct grid *g, int room)
{
    measure(t, g);
    if (table_width(t, false) > room) {
        t->short_times = true;
        measure(t, g);
    }
    for (int k = t->count - 1; k >= 0 && table_width(t, true) > room; k--) {
        t->columns[k].gone = t->columns[k].may_go;
    }
    while (table_width(t, false) > room) {
        struct column *widest = NULL;
        for (int k = 0; k < t->count; k++) {
            struct column *c = &t->columns[k];
            if (!c->gone && c->may_cut && c->width > 8 &&
                (widest == NULL || c->width > widest->width)) {
                widest = c;
            }
        }
        if (widest == NULL) {
            break;
        }
        widest->width--;
    }
}

/* ---- printing ---- */

static const char *color_of(const char *word)
{
    static const struct {
        const char *word, *color;
    } colors[] = {
        {"connected", "32"}, {"succeeded", "32"},   {"fresh", "32"},         {"ok", "32"},
        {"partial", "33"},   {"retrying", "33"},    {"stale", "33"},         {"unknown", "33"},
        {"skipped", "2"},    {"cancelled", "2"},    {"disconnected", "2"},   {"none", "2"},
        {"failed", "31"},    {"failing", "31"},     {"reauthorize", "1;31"}, {"error", "31"},
        {"past_due", "33"},  {"unpaid", "31"},      {"running", "36"},       {"queued", "36"},
        {"quiet", "32"},     {"interrupted", "33"},
    };
    for (size_t i = 0; i < COUNT_OF(colors); i++) {
        if (strcmp(word, colors[i].word) == 0) {
            return colors[i].color;
        }
    }
    return NULL;
}

/* Prints at most width columns of a text; what does not fit ends in an ellipsis. Returns how
 * many columns it took. */
static int print_cut(const char *text, int width)
{
    int done = 0, one = 0, all = text_width(text);
    bool safe = false;
    int room = all > width ? width - 1 : width;
    for (size_t n; *text != '\0'; text += n) {
        n = glyph(text, &one, &safe);
        if (done + one > room) {
            break;
        }
        if (safe) {
            printf("%.*s", (int)n, text);
        } else {
            putchar(' ');
        }
        done += one;
    }
    if (all > width) {
        fputs("…", stdout);
        done++;
    }
    return done;
}

static void print_cell(const struct table *t, int k, const char *text, bool header)
{
    const struct column *c = &t->columns[k];
    bool last = true;
    for (int i = k + 1; i < t->count; i++) {
        last = last && t->columns[i].gone;
    }
    const char *color = header ? "1" : color_of(text);
    /* Off a terminal a long text runs on; the columns behind it move. */
    int width = t->fit ? c->width : text_width(text) > c->width ? text_width(text) : c->width;
    int pad = width - (text_width(text) < width ? text_width(text) : width);
    if (c->number) {
        printf("%*s", pad, "");
    }
    if (t->color && color != NULL) {
        printf("\033[%sm", color);
    }
    (void)print_cut(text, width);
    if (t->color && color != NULL) {
        fputs("\033[0m", stdout);
    }
    if (!last) {
        printf("%*s", (c->number ? 0 : pad) + 2, "");
    }
}

static void print_line(const struct table *t, const struct grid *g, int row)
{
    char cell[CELL_MAX_BYTES];
    for (int k = 0; k < t->count; k++) {
        if (t->columns[k].gone) {
            continue;
        }
        if (row < 0) {
            print_cell(t, k, t->columns[k].header, true);
        } else {
            cell_text(t, g, row, k, cell);
            print_cell(t, k, cell, false);
        }
    }
    putchar('\n');
}

/* Tabs between values; in them a tab or line end is a blank. */
static void print_plain(const struct table *t, const struct grid *g, int columns)
{
    for (int i = 0; i < g->rows; i++) {
        for (int k = 0; k < columns; k++) {
            int from = t->columns[k].from;
            for (const char *p = from >= 0 ? g->cell(g, i, from) : ""; *p != '\0'; p++) {
                putchar((unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p);
            }
            putchar(k + 1 < columns ? '\t' : '\n');
        }
    }
}

int grid_print(const struct cmd *c, const struct grid *g, const char *columns,
               struct table **table, struct err *err)
{
    struct table *t = *table;
    if (g->rows == 0) {
        return 0; /* no headers of nothing; the widths come with the first rows */
    }
    if (t == NULL) {
        int room = 0, lines = 0;
        t = calloc(1, sizeof *t);
        if (t == NULL) {
            err_set(err, ERR_NOMEM, "out of memory");
            return -1;
        }
        *table = t;
        t->fit = c->shape == SHAPE_FIT && output_is_terminal(STDOUT_FILENO);
        t->color = output_has_color(STDOUT_FILENO);
        output_size(STDOUT_FILENO, &room, &lines);
        read_columns(g, columns, c->shape == SHAPE_WIDE || c->shape == SHAPE_PLAIN, t);
        if (t->fit) {
            fit(t, g, room);
        } else {
            measure(t, g);
        }
        output_pager(c, g->rows + 2);
    }
    if (c->shape == SHAPE_PLAIN || c->shape == SHAPE_NAME) {
        print_plain(t, g, c->shape == SHAPE_NAME ? 1 : t->count);
        return 0;
    }
    for (int i = t->header_done ? 0 : -1; i < g->rows; i++) {
        print_line(t, g, i);
    }
    t->header_done = true;
    return 0;
}
