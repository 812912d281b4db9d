/* The API's filter of the log: the query of an address and the cursor of a body become
 * conditions and parameters of a statement.
 *
 * Input: "name=value" texts ended by NUL, as they are after decoding; "next" is the body's.
 * What must hold: no byte of a value is in the statement, and it asks for the parameters it
 * has. */
#include "tests/fuzz/fuzz.h"

#include "admin/api.h"

enum { PAIRS_MAX = 24 };

static struct {
    char *pairs[PAIRS_MAX];
    int count, problems;
} query;

static const char *query_value(const char *name)
{
    size_t len = strlen(name);
    for (int i = 0; i < query.count; i++) {
        if (strncmp(query.pairs[i], name, len) == 0 && query.pairs[i][len] == '=') {
            return query.pairs[i] + len + 1;
        }
    }
    return NULL;
}

/* ---- in place of api.c ---- */

const char *api_query(const struct api_call *c, const char *name, char out[API_TEXT_MAX_BYTES])
{
    const char *value = query_value(name);
    (void)c;
    bool fits = value != NULL && strlen(value) < API_TEXT_MAX_BYTES;
    (void)snprintf(out, API_TEXT_MAX_BYTES, "%s", fits ? value : "");
    return out;
}

int64_t api_query_int(const struct api_call *c, const char *name, int64_t otherwise)
{
    char text[API_TEXT_MAX_BYTES];
    char *end = NULL;
    if (api_query(c, name, text)[0] == '\0') {
        return otherwise;
    }
    bool digits = strspn(text, "0123456789") == strlen(text) && strlen(text) < 19;
    return digits ? strtoll(text, &end, 10) : -1;
}

int api_query_limit(const struct api_call *c)
{
    (void)c;
    return API_PAGE_DEFAULT;
}

const char *api_body_text(const struct api_call *c, const char *name)
{
    (void)c;
    return query_value(name);
}

bool api_body_true(const struct api_call *c, const char *name)
{
    (void)c, (void)name;
    return true;
}

int64_t api_hole_id(struct api_call *c, int i)
{
    (void)c, (void)i;
    return 1;
}

struct connection *api_connection(struct api_call *c)
{
    (void)c;
    return NULL;
}

void api_answer(struct api_call *c, int status, const char *json, size_t len_bytes)
{
    (void)c, (void)status, (void)json, (void)len_bytes;
}

void api_answer_json(struct api_call *c, int status, json_t *value)
{
    (void)c, (void)status;
    json_decref(value);
}

void api_answer_query(struct api_call *c, const char *sql, const struct params *p,
                      const char *absent)
{
    (void)c, (void)sql, (void)p, (void)absent;
}

void api_problem(struct api_call *c, int status, const char *code, const char *detail)
{
    (void)c, (void)code;
    MUST(status == 400 && is_utf8(detail));
    query.problems++;
}

void api_problem_err(struct api_call *c, const struct err *err)
{
    (void)c, (void)err;
}

void api_problem_plain(struct http_exchange *x, int status, const char *code,
                       const char *detail)
{
    (void)x, (void)status, (void)code, (void)detail;
}

/* The code under test; its filter and its cells are nobody else's business. */
#include "admin/api_export.c"
#include "admin/api_log.c"

/* Every number behind a $ is one of the parameters, and nothing is quoted but words of ours. */
static void check_where(const struct filter *f)
{
    const char *where = buf_text(&f->where);
    MUST(strspn(where, "$():|<>=?*,.'- _0123456789abcdefghijklmnopqrstuvwxyz"
                       "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == strlen(where));
    int quotes = 0;
    for (const char *at = where; *at != '\0'; at++) {
        quotes += *at == '\'';
        if (*at == '$') {
            long n = strtol(at + 1, NULL, 10);
            MUST(n >= 1 && n <= f->count);
        }
    }
    MUST(quotes % 2 == 0);
    MUST(strstr(where, "--") == NULL && strchr(where, ';') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct api_call call = {0};
    struct filter f;
    query.count = query.problems = 0;
    while (in.at < in.end && query.count < PAIRS_MAX) {
        query.pairs[query.count++] = input_text(&in);
    }
    int rc = filter_read(&call, &f);
    MUST((rc == 0) == (query.problems == 0));
    if (rc == 0) {
        retry_cursor(&call, &f);
        if (!f.where.failed) {
            check_where(&f);
        }
    }
    filter_release(&f);
    for (int i = 0; i < query.count; i++) {
        struct buf cell;
        buf_init(&cell, 1 << 20);
        csv_cell(&cell, query.pairs[i]);
        MUST(cell.failed ||
             (buf_text(&cell)[0] == '"' && strchr("=+@\t\r", buf_text(&cell)[1]) == NULL) ||
             strspn(query.pairs[i], "+-0123456789.eE") == strlen(query.pairs[i]));
        buf_release(&cell);
        free(query.pairs[i]);
    }
    return 0;
}
