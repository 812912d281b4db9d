/* Search: filters, one sort, the 10,000 window, and an index that lags. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LIMIT_DEFAULT = 10, LIMIT_MAX = 200, GROUPS_MAX = 5, FILTERS_MAX = 6, TOTAL_MAX = 18 };

enum op {
    EQ,
    NEQ,
    LT,
    LTE,
    GT,
    GTE,
    BETWEEN,
    IN,
    NOT_IN,
    HAS_PROPERTY,
    NOT_HAS_PROPERTY,
    CONTAINS_TOKEN,
    NOT_CONTAINS_TOKEN,
    OPS
};

static const char *const op_names[OPS] = {"EQ",
                                          "NEQ",
                                          "LT",
                                          "LTE",
                                          "GT",
                                          "GTE",
                                          "BETWEEN",
                                          "IN",
                                          "NOT_IN",
                                          "HAS_PROPERTY",
                                          "NOT_HAS_PROPERTY",
                                          "CONTAINS_TOKEN",
                                          "NOT_CONTAINS_TOKEN"};

struct filter {
    enum op op;
    const struct hs_def *def;
    const char *value;
    const char *high;
    json_t *values;
    bool numeric;
    long double number;
    long double high_number;
};

struct query {
    struct hs_portal *p;
    enum hs_type t;
    int64_t now_ms;
    struct filter filters[GROUPS_MAX][FILTERS_MAX];
    size_t counts[GROUPS_MAX];
    size_t groups;
    const char *text;
    const struct hs_def *sort;
    bool descending;
};

/* What search sees as the time of the last change; 0 = not in the index yet. */
static int64_t seen_ms(const struct query *q, const struct hs_object *o)
{
    return q->now_ms >= o->searchable_at_ms ? o->updated_ms : o->indexed_ms;
}

static bool is_time(const struct hs_def *d)
{
    const char *type = json_string_value(json_object_get(d->json, "type"));
    return strcmp(type, "datetime") == 0 || strcmp(type, "date") == 0;
}

static bool is_numeric(const struct hs_def *d)
{
    const char *type = json_string_value(json_object_get(d->json, "type"));
    return is_time(d) || strcmp(type, "number") == 0;
}

/* ms since the epoch, or ISO 8601. */
static bool parse_number(const char *text, bool time, long double *out)
{
    char *end = NULL;
    long double v = strtold(text, &end);
    if (*text != '\0' && *end == '\0') {
        *out = v;
        return true;
    }
    struct tm tm = {0};
    const char *rest = time ? strptime(text, "%Y-%m-%d", &tm) : NULL;
    if (rest == NULL) {
        return false;
    }
    if (*rest == 'T') {
        rest = strptime(rest, "T%H:%M:%S", &tm);
    }
    long double ms = (long double)timegm(&tm) * 1000;
    if (rest != NULL && *rest == '.') {
        ms += strtold(rest, NULL) * 1000;
    }
    *out = ms;
    return true;
}

static bool number_of(const struct query *q, const struct hs_object *o, const struct hs_def *d,
                      long double *out)
{
    if (d->slot == HS_SLOT_MODIFIED) {
        *out = (long double)seen_ms(q, o);
        return true;
    }
    if (d->slot == HS_SLOT_CREATED || d->slot == HS_SLOT_OBJECT_ID) {
        *out = (long double)(d->slot == HS_SLOT_CREATED ? o->created_ms : o->id);
        return true;
    }
    char scratch[HS_SCRATCH];
    const char *v = hs_value(q->p, q->t, o, d, scratch);
    return v != NULL && parse_number(v, is_time(d), out);
}

static bool in_values(const struct query *q, const struct filter *f, const struct hs_object *o,
                      const char *value)
{
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(f->values, i, v)
    {
        const char *text = json_string_value(v);
        long double a = 0;
        long double b = 0;
        if (text == NULL) {
            continue;
        }
        if (f->numeric ? parse_number(text, is_time(f->def), &a) &&
                             number_of(q, o, f->def, &b) && a == b
                       : value != NULL && strcasecmp(text, value) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_token(const char *value, const char *token)
{
    char word[256];
    (void)snprintf(word, sizeof word, "%s", token);
    size_t n = strlen(word);
    char *start = word;
    if (n > 0 && word[n - 1] == '*') {
        word[n - 1] = '\0';
    }
    if (*start == '*') {
        start++;
    }
    return value != NULL && strcasestr(value, start) != NULL;
}

static bool meets_text(const struct query *q, const struct filter *f, const struct hs_object *o)
{
    char scratch[HS_SCRATCH];
    const char *v = hs_value(q->p, q->t, o, f->def, scratch);
    switch (f->op) {
    case EQ:
        return v != NULL && strcasecmp(v, f->value) == 0;
    case NEQ:
        return v == NULL || strcasecmp(v, f->value) != 0;
    case LT:
        return v != NULL && strcasecmp(v, f->value) < 0;
    case LTE:
        return v != NULL && strcasecmp(v, f->value) <= 0;
    case GT:
        return v != NULL && strcasecmp(v, f->value) > 0;
    case GTE:
        return v != NULL && strcasecmp(v, f->value) >= 0;
    case BETWEEN:
        return v != NULL && strcasecmp(v, f->value) >= 0 && strcasecmp(v, f->high) <= 0;
    case IN:
        return in_values(q, f, o, v);
    case NOT_IN:
        return v != NULL && !in_values(q, f, o, v);
    case HAS_PROPERTY:
        return v != NULL;
    case NOT_HAS_PROPERTY:
        return v == NULL;
    case CONTAINS_TOKEN:
        return has_token(v, f->value);
    case NOT_CONTAINS_TOKEN:
        return !has_token(v, f->value);
    case OPS:
        break;
    }
    return false;
}

static bool meets(const struct query *q, const struct filter *f, const struct hs_object *o)
{
    long double v = 0;
    if (!f->numeric || f->op >= IN) {
        return meets_text(q, f, o);
    }
    if (!number_of(q, o, f->def, &v)) {
        return f->op == NEQ;
    }
    switch (f->op) {
    case EQ:
        return v == f->number;
    case NEQ:
        return v != f->number;
    case LT:
        return v < f->number;
    case LTE:
        return v <= f->number;
    case GT:
        return v > f->number;
    case GTE:
        return v >= f->number;
    case BETWEEN:
        return v >= f->number && v <= f->high_number;
    default:
        return false;
    }
}

static bool contains_text(const struct query *q, const struct hs_object *o)
{
    static const char *const names[] = {"name",      "domain",   "website",  "phone",  "email",
                                        "firstname", "lastname", "dealname", "subject"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct hs_def *d = hs_def_find(&q->p->tables[q->t], names[i]);
        char scratch[HS_SCRATCH];
        const char *v = d != NULL ? hs_value(q->p, q->t, o, d, scratch) : NULL;
        if (v != NULL && strcasestr(v, q->text) != NULL) {
            return true;
        }
    }
    return false;
}

static bool hit(const struct query *q, const struct hs_object *o)
{
    if (o->archived_ms > 0 || o->merged_into != 0 || seen_ms(q, o) == 0) {
        return false;
    }
    if (q->text != NULL && *q->text != '\0' && !contains_text(q, o)) {
        return false;
    }
    for (size_t g = 0; g < q->groups; g++) {
        size_t i = 0;
        while (i < q->counts[g] && meets(q, &q->filters[g][i], o)) {
            i++;
        }
        if (i == q->counts[g]) {
            return true;
        }
    }
    return q->groups == 0;
}

/* NULL, or what is wrong. */
static const char *read_filter(const struct query *q, json_t *j, struct filter *f,
                               char *bad_name, size_t size)
{
    const char *name = json_string_value(json_object_get(j, "propertyName"));
    const char *op = json_string_value(json_object_get(j, "operator"));
    f->value = json_string_value(json_object_get(j, "value"));
    f->high = json_string_value(json_object_get(j, "highValue"));
    f->values = json_object_get(j, "values");
    f->def = name != NULL ? hs_def_find(&q->p->tables[q->t], name) : NULL;
    if (f->def == NULL) {
        (void)snprintf(bad_name, size, "%s", name != NULL ? name : "");
        return "PROPERTY_DOESNT_EXIST";
    }
    f->op = OPS;
    for (int i = 0; op != NULL && i < OPS; i++) {
        if (strcmp(op, op_names[i]) == 0) {
            f->op = (enum op)i;
        }
    }
    if (f->op == OPS) {
        return "operator is not valid";
    }
    f->numeric = is_numeric(f->def);
    bool needs_value = f->op <= BETWEEN || f->op >= CONTAINS_TOKEN;
    if ((needs_value && f->value == NULL) || (f->op == BETWEEN && f->high == NULL) ||
        ((f->op == IN || f->op == NOT_IN) && json_array_size(f->values) == 0)) {
        return "a filter lacks its value";
    }
    if (f->numeric && f->op <= BETWEEN &&
        (!parse_number(f->value, is_time(f->def), &f->number) ||
         (f->op == BETWEEN && !parse_number(f->high, is_time(f->def), &f->high_number)))) {
        return "a filter value is not a number or time";
    }
    return NULL;
}

static const char *read_groups(struct query *q, json_t *body, char *bad_name, size_t size)
{
    json_t *groups = json_object_get(body, "filterGroups");
    size_t total = 0;
    size_t g = 0;
    json_t *group = NULL;
    if (json_array_size(groups) > GROUPS_MAX) {
        return "too many filterGroups (5)";
    }
    json_array_foreach(groups, g, group)
    {
        json_t *filters = json_object_get(group, "filters");
        total += json_array_size(filters);
        if (json_array_size(filters) > FILTERS_MAX || total > TOTAL_MAX) {
            return "too many filters (6 in a group, 18 in all)";
        }
        size_t i = 0;
        json_t *j = NULL;
        json_array_foreach(filters, i, j)
        {
            const char *bad = read_filter(q, j, &q->filters[g][i], bad_name, size);
            if (bad != NULL) {
                return bad;
            }
        }
        q->counts[g] = i;
        q->groups = g + 1;
    }
    return NULL;
}

static const char *read_sort(struct query *q, json_t *body)
{
    json_t *sorts = json_object_get(body, "sorts");
    if (json_array_size(sorts) > 1) {
        return "only one sort is supported";
    }
    const json_t *s = json_array_get(sorts, 0);
    const char *name = json_is_string(s)
                           ? json_string_value(s)
                           : json_string_value(json_object_get(s, "propertyName"));
    const char *direction = json_string_value(json_object_get(s, "direction"));
    if (name == NULL) {
        name = "createdate";
    } else if (*name == '-') {
        q->descending = true;
        name++;
    }
    if (direction != NULL && strncmp(direction, "DESC", 4) == 0) {
        q->descending = true;
    }
    q->sort = hs_def_find(&q->p->tables[q->t], name);
    return q->sort == NULL ? "the sort names an unknown property" : NULL;
}

struct row {
    const struct hs_object *o;
    long double number;
    char text[48];
    bool has;
};

static int compare_rows(const void *a, const void *b, void *arg)
{
    const struct query *q = arg;
    const struct row *x = a;
    const struct row *y = b;
    int c = 0;
    if (x->has != y->has) {
        c = x->has ? -1 : 1;
    } else if (x->number != y->number) {
        c = x->number < y->number ? -1 : 1;
    } else {
        c = strcasecmp(x->text, y->text);
    }
    c = q->descending ? -c : c;
    return c != 0 ? c : x->o->id < y->o->id ? -1 : x->o->id > y->o->id;
}

static struct row *matches(struct query *q, size_t *count)
{
    const struct hs_table *tb = &q->p->tables[q->t];
    struct row *rows = NULL;
    size_t cap = 0;
    bool numeric = is_numeric(q->sort);
    *count = 0;
    for (size_t i = 0; i < tb->count; i++) {
        if (!hit(q, tb->items[i])) {
            continue;
        }
        if (*count == cap) {
            cap = cap > 0 ? cap * 2 : 256;
            rows = sim_realloc(rows, cap * sizeof *rows);
        }
        struct row *r = &rows[(*count)++];
        memset(r, 0, sizeof *r);
        r->o = tb->items[i];
        if (numeric) {
            r->has = number_of(q, r->o, q->sort, &r->number);
        } else {
            char scratch[HS_SCRATCH];
            const char *v = hs_value(q->p, q->t, r->o, q->sort, scratch);
            r->has = v != NULL;
            (void)snprintf(r->text, sizeof r->text, "%.47s", v != NULL ? v : "");
        }
    }
    if (*count > 1) {
        qsort_r(rows, *count, sizeof *rows, compare_rows, q);
    }
    return rows;
}

static void answer(struct hs_call *c, struct query *q, json_t *body, size_t after, size_t limit)
{
    struct sim_request *r = c->r;
    size_t count = 0;
    struct row *rows = matches(q, &count);
    struct hs_view v = {0};
    json_t *names = json_object_get(body, "properties");
    const struct hs_table *tb = &q->p->tables[q->t];
    if (json_array_size(names) > 0) {
        size_t i = 0;
        json_t *n = NULL;
        json_array_foreach(names, i, n)
        {
            const char *text = json_string_value(n);
            if (text != NULL) {
                hs_view_names(&v, tb, q->t, &text, 1, false);
            }
        }
    } else {
        hs_view_default(&v, tb, q->t);
    }
    struct sim_buf *b = &r->res.body;
    sim_buf_addf(b, "{\"total\":%zu,\"results\":[", count);
    size_t end = after + limit < count ? after + limit : count;
    for (size_t i = after; i < end; i++) {
        sim_buf_adds(b, i > after ? "," : "");
        hs_render(b, q->p, q->t, rows[i].o, &v);
        r->rows++;
    }
    sim_buf_adds(b, "]");
    if (end < count) {
        sim_buf_addf(b, ",\"paging\":{\"next\":{\"after\":\"%zu\"}}", end);
    }
    sim_buf_adds(b, "}");
    r->res.status = 200;
    sim_answer_header(r, "Content-Type: application/json;charset=utf-8");
    hs_view_free(&v);
    free(rows);
}

static size_t characters(const char *p, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += ((unsigned char)p[i] & 0xc0) != 0x80;
    }
    return n;
}

static void run(struct hs_call *c, struct query *q, json_t *body)
{
    struct sim_request *r = c->r;
    const json_t *limit_json = json_object_get(body, "limit");
    const json_t *after_json = json_object_get(body, "after");
    int64_t limit = limit_json != NULL ? json_integer_value(limit_json) : LIMIT_DEFAULT;
    int64_t after = 0;
    if (json_is_string(after_json) && *json_string_value(after_json) != '\0') {
        after = hs_parse_id(json_string_value(after_json));
    } else if (json_is_integer(after_json)) {
        after = json_integer_value(after_json);
    }
    if (limit < 1 || limit > LIMIT_MAX) {
        hs_invalid(r, "The maximum value for 'limit' is %d.", LIMIT_MAX);
        return;
    }
    if (after < 0) {
        hs_invalid(r, "'after' must be an integer.");
        return;
    }
    int64_t window = hs_int(q->p, "search_window_max");
    if (window > 0 && after + limit > window) {
        (void)sim_hubspot_error(r, "search-past-10000");
        return;
    }
    char bad_name[128] = "";
    const char *bad = read_groups(q, body, bad_name, sizeof bad_name);
    if (bad == NULL) {
        bad = read_sort(q, body);
    }
    if (*bad_name != '\0') {
        sim_answer_json(r, 400,
                        json_pack("{s:s, s:s, s:s, s:s, s:[{s:s, s:s, s:{s:[s]}}]}", "status",
                                  "error", "message", "There was a problem with the request.",
                                  "correlationId", hs_correlation(r), "category",
                                  "VALIDATION_ERROR", "errors", "message",
                                  "a filter names a property that does not exist", "code",
                                  "PROPERTY_DOESNT_EXIST", "context", "propertyName", bad_name),
                        0);
    } else if (bad != NULL) {
        hs_invalid(r, "There was a problem with the request: %s", bad);
    } else {
        answer(c, q, body, (size_t)after, (size_t)limit);
    }
}

void hs_search(struct hs_call *c, enum hs_type t)
{
    struct sim_request *r = c->r;
    int64_t max = hs_int(c->p, "search_body_max");
    if (max > 0 && (int64_t)characters(r->body, r->body_len) > max) {
        hs_invalid(r, "The request body is longer than %lld characters.", (long long)max);
        return;
    }
    json_t *body = sim_request_json(r);
    if (!json_is_object(body)) {
        hs_invalid(r, "Invalid input JSON");
    } else {
        struct query *q = sim_calloc(1, sizeof *q);
        q->p = c->p;
        q->t = t;
        q->now_ms = sim_now_ms(r->sim);
        q->text = json_string_value(json_object_get(body, "query"));
        run(c, q, body);
        free(q);
    }
    json_decref(body);
}
