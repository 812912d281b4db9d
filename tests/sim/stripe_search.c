/*
 * /v1/{resource}/search: a small part of the query language, field:"value", field~"part",
 * field>number, metadata["key"]:"value", each perhaps with - before it, joined by AND or by OR.
 */
#include "stripe.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TERMS_MAX = 10 };

struct term {
    char field[96]; /* dotted */
    char op;        /* ':' '~' '>' '<' 'g' (>=) 'l' (<=) */
    char value[256];
    bool negated;
};

struct search {
    struct term terms[TERMS_MAX];
    size_t count;
    bool any; /* OR */
};

static const char *read_field(const char *p, struct term *t)
{
    size_t n = 0;
    for (; *p != '\0' && strchr(":~<>", *p) == NULL && !isspace((unsigned char)*p); p++) {
        if (n + 2 >= sizeof t->field)
            return NULL;
        if (*p == '[')
            t->field[n++] = '.';
        else if (*p != ']' && *p != '"' && *p != '\'')
            t->field[n++] = *p;
    }
    t->field[n] = '\0';
    return n > 0 ? p : NULL;
}

static const char *read_value(const char *p, struct term *t)
{
    size_t n = 0;
    char quote = *p == '"' || *p == '\'' ? *p++ : '\0';
    while (*p != '\0' && (quote != '\0' ? *p != quote : !isspace((unsigned char)*p))) {
        if (n + 1 >= sizeof t->value)
            return NULL;
        t->value[n++] = *p++;
    }
    t->value[n] = '\0';
    return quote != '\0' && *p == quote ? p + 1 : p;
}

static const char *read_term(const char *p, struct term *t)
{
    *t = (struct term){0};
    if (*p == '-') {
        t->negated = true;
        p++;
    }
    p = read_field(p, t);
    if (p == NULL || *p == '\0' || strchr(":~<>", *p) == NULL)
        return NULL;
    t->op = *p++;
    if (*p == '=') {
        t->op = t->op == '>' ? 'g' : 'l';
        p++;
    }
    return read_value(p, t);
}

static bool parse(const char *p, struct search *s)
{
    while (*p != '\0') {
        while (isspace((unsigned char)*p))
            p++;
        if (*p == '\0')
            break;
        if (strncmp(p, "AND ", 4) == 0) {
            p += 4;
            continue;
        }
        if (strncmp(p, "OR ", 3) == 0) {
            s->any = true;
            p += 3;
            continue;
        }
        if (s->count == TERMS_MAX)
            return false;
        p = read_term(p, &s->terms[s->count]);
        if (p == NULL)
            return false;
        s->count++;
    }
    return s->count > 0;
}

static bool compare(const json_t *value, const struct term *t)
{
    if (t->op == ':' && strcmp(t->value, "null") == 0)
        return value == NULL || json_is_null(value);
    if (json_is_integer(value)) {
        json_int_t have = json_integer_value(value);
        json_int_t want = strtoll(t->value, NULL, 10);
        switch (t->op) {
        case '>':
            return have > want;
        case '<':
            return have < want;
        case 'g':
            return have >= want;
        case 'l':
            return have <= want;
        default:
            return have == want;
        }
    }
    if (json_is_boolean(value))
        return strcmp(json_is_true(value) ? "true" : "false", t->value) == 0;
    const char *text = json_string_value(value);
    if (text == NULL)
        return false;
    return t->op == '~' ? strcasestr(text, t->value) != NULL : strcasecmp(text, t->value) == 0;
}

static bool matches(struct stripe_sim *app, const struct search *s, struct st_record *rec)
{
    for (size_t i = 0; i < s->count; i++) {
        json_t *value = st_field(app, rec, s->terms[i].field);
        bool yes = compare(value, &s->terms[i]) != s->terms[i].negated;
        json_decref(value);
        if (yes == s->any)
            return yes;
    }
    return !s->any;
}

void st_search(struct st_call *c, const struct st_class *cls)
{
    const char *query = sim_param(&c->r->query, "query", 0);
    const char *page = sim_param(&c->r->query, "page", 0);
    const char *limit_text = sim_param(&c->r->query, "limit", 0);
    long limit = limit_text != NULL ? strtol(limit_text, NULL, 10) : 10;
    struct search s = {0};
    if (query == NULL) {
        st_error(c->r, 400, "parameter_missing", "query", "Missing required param: query.");
        return;
    }
    if (!parse(query, &s)) {
        st_error(c->r, 400, NULL, "query", "We were unable to parse your search query.");
        return;
    }
    if (limit < 1 || limit > ST_LIMIT_MAX) {
        st_error(c->r, 400, "parameter_invalid_integer", "limit",
                 limit < 1 ? "This value must be greater than or equal to 1."
                           : "This value must be less than or equal to 100.");
        return;
    }
    if (!st_read_expand(c, cls->type, true))
        return;
    const struct st_vec *v = &c->mode->tables[cls->type].order;
    size_t skip = page != NULL ? (size_t)strtoul(page, NULL, 10) : 0;
    size_t seen = 0;
    json_t *data = json_array();
    bool more = false;
    for (size_t i = v->count; i > 0; i--) {
        if (!matches(c->app, &s, v->items[i - 1]) || seen++ < skip)
            continue;
        if (json_array_size(data) == (size_t)limit) {
            more = true;
            break;
        }
        json_array_append_new(data, st_render(&c->view, v->items[i - 1]));
    }
    c->r->rows = json_array_size(data);
    json_t *next = more ? json_sprintf("%zu", skip + (size_t)limit) : json_null();
    st_answer(c->r, 200, c->version,
              json_pack("{s:s, s:o, s:b, s:o, s:s}", "object", "search_result", "data", data,
                        "has_more", more ? 1 : 0, "next_page", next, "url", c->r->path));
}
