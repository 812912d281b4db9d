/* What people read of the settings: --help and check-config --print. */
#include "common/config_private.h"

#include <ctype.h>

enum { HELP_COLUMN = 34, NAME_MAX_BYTES = 64 };

static int add_flag(struct buf *out, const struct config_row *row)
{
    size_t from = out->len_bytes;
    bool secret = (row->flags & FLAG_SECRET) != 0;
    (void)buf_add_str(out, "  --");
    for (const char *p = row->name; *p != '\0'; p++) {
        (void)buf_add_char(out, *p == '_' ? '-' : (char)tolower((unsigned char)*p));
    }
    if (secret) {
        (void)buf_add_str(out, "-file PATH");
    } else if (row->hole != NULL) {
        (void)buf_printf(out, " %s", row->hole);
    }
    size_t width = out->len_bytes - from;
    if (width >= HELP_COLUMN) {
        (void)buf_add_char(out, '\n');
        width = 0;
    }
    (void)buf_printf(out, "%*s%s%s", (int)(HELP_COLUMN - width), "",
                     secret ? "file with it: " : "", row->help);
    if (row->fallback != NULL) {
        (void)buf_printf(out, " (default: %s)", row->fallback);
    }
    return buf_add_char(out, '\n');
}

int config_write_flags(enum config_program_bit program, struct buf *out)
{
    for (int s = 0; s < SETTING_COUNT; s++) {
        if ((config_rows[s].programs & (unsigned)program) != 0) {
            (void)add_flag(out, &config_rows[s]);
        }
    }
    (void)buf_printf(out, "  %-*s%s\n", HELP_COLUMN - 2, "--config PATH",
                     "settings as NAME=value, one a line "
                     "(default: /etc/pivotal-sync/pivotal-sync.conf)");
    return buf_add_str(out, "\nEach flag is also a variable, --db-pool as "
                            "PIVOTAL_SYNC_DB_POOL, and a line DB_POOL=... in the file.\n");
}

/* For a cell of a Markdown table. */
static void add_cell(struct buf *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        (void)buf_add_str(out, *p == '|' ? "\\" : "");
        (void)buf_add_char(out, *p);
    }
}

static void add_programs(struct buf *out, unsigned programs)
{
    static const char *const names[] = {"command", "gateway", "scheduler", "worker", "admin"};
    const char *separator = "";
    if (programs == CONFIG_ALL) {
        (void)buf_add_str(out, "all");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if ((programs & 1U << i) != 0) {
            (void)buf_printf(out, "%s%s", separator, names[i]);
            separator = ", ";
        }
    }
}

int config_write_reference(struct buf *out)
{
    (void)buf_add_str(out, "| name | value | default | programs | |\n"
                           "| --- | --- | --- | --- | --- |\n");
    for (int s = 0; s < SETTING_COUNT; s++) {
        const struct config_row *row = &config_rows[s];
        (void)buf_printf(out, "| `%s` | ", row->name);
        add_cell(out, row->hole != NULL ? row->hole : "on|off");
        (void)buf_add_str(out, " | ");
        if (row->fallback != NULL) {
            (void)buf_printf(out, "`%s`", row->fallback);
        }
        (void)buf_add_str(out, " | ");
        add_programs(out, row->programs);
        (void)buf_add_str(out, " | ");
        add_cell(out, row->help);
        (void)buf_printf(out, "%s |\n",
                         (row->flags & FLAG_SECRET) != 0 ? "; **secret**"
                         : (row->flags & FLAG_FILE) != 0 ? "; has a file form"
                                                         : "");
    }
    return out->failed ? -1 : 0;
}

/* Where one of several URLs ends: at a comma with the next scheme behind it. Others belong to
 * the URL: a list of hosts, or a password. */
static const char *url_end(const char *url)
{
    for (const char *comma = strchr(url, ','); comma != NULL; comma = strchr(comma + 1, ',')) {
        const char *next = comma + 1 + strspn(comma + 1, " \t");
        size_t scheme = strspn(next, "abcdefghijklmnopqrstuvwxyz+");
        if (scheme > 0 && strncmp(next + scheme, "://", 3) == 0) {
            return comma;
        }
    }
    return url + strlen(url);
}

/* A URL without the password in it. What stands before the last '@' may be one, whatever
 * characters are in it: also those that it should have escaped. */
static void add_one_url(struct buf *out, const char *url, size_t len)
{
    const char *sep = memmem(url, len, "://", 3);
    const char *host = sep == NULL ? url : sep + 3;
    const char *at = memrchr(host, '@', len - (size_t)(host - url));
    const char *rest = host;
    (void)buf_add(out, url, (size_t)(host - url));
    if (at != NULL) {
        size_t user = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789._-");
        (void)buf_add(out, host, user);
        (void)buf_add_str(out, host + user < at ? ":***" : "");
        rest = at;
    }
    size_t left = len - (size_t)(rest - url);
    const char *query = memchr(rest, '?', left); /* libpq takes password= there */
    (void)buf_add(out, rest, query == NULL ? left : (size_t)(query - rest));
    (void)buf_add_str(out, query == NULL ? "" : "?...");
}

static void add_urls(struct buf *out, const char *urls)
{
    while (*urls != '\0') {
        const char *end = url_end(urls);
        add_one_url(out, urls, (size_t)(end - urls));
        (void)buf_add_str(out, *end == ',' ? "," : "");
        urls = *end == ',' ? end + 1 : end;
    }
}

int config_write_effective(const struct config *c, struct buf *out)
{
    for (int s = 0; s < SETTING_COUNT; s++) {
        const struct config_row *row = &config_rows[s];
        const struct config_value *v = &c->values[s];
        const char *text = config_text(c, (enum setting)s);
        (void)buf_printf(out, "%s=", row->name);
        if ((row->flags & FLAG_SECRET) != 0) {
            if (v->text == NULL) {
                (void)buf_add_str(out, "unset");
            } else {
                (void)buf_printf(out, "set (%s, %zu bytes)", v->by_file_form ? "file" : "value",
                                 strlen(text));
            }
        } else if ((row->flags & FLAG_FILE) != 0) {
            add_urls(out, text);
        } else {
            (void)buf_add_str(out, text);
        }
        (void)buf_printf(out, "  # %s\n", config_source(c, (enum setting)s));
    }
    return out->failed ? -1 : 0;
}
