/* What a handler sees of a request, and the ways to fill its answer. */
#include "request.h"
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

char *request_decode(const char *p, size_t len, bool plus)
{
    char *out = sim_calloc(len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '%' && i + 2 < len && hex_digit(p[i + 1]) >= 0 &&
            hex_digit(p[i + 2]) >= 0) {
            out[n++] = (char)(hex_digit(p[i + 1]) * 16 + hex_digit(p[i + 2]));
            i += 2;
        } else {
            out[n++] = plus && p[i] == '+' ? ' ' : p[i];
        }
    }
    return out;
}

void request_add_param(struct sim_params *ps, char *name, char *value)
{
    if ((ps->count & (ps->count - 1)) == 0) {
        size_t room = ps->count > 0 ? ps->count * 2 : 1;
        ps->items = sim_realloc(ps->items, room * sizeof *ps->items);
    }
    ps->items[ps->count++] = (struct sim_param){name, value};
}

void sim_params_parse(struct sim_params *ps, const char *text, size_t len)
{
    const char *end = text + len;
    while (text < end) {
        const char *amp = memchr(text, '&', (size_t)(end - text));
        const char *stop = amp != NULL ? amp : end;
        const char *eq = memchr(text, '=', (size_t)(stop - text));
        const char *name_end = eq != NULL ? eq : stop;
        const char *value = eq != NULL ? eq + 1 : stop;
        if (stop > text) {
            request_add_param(ps, request_decode(text, (size_t)(name_end - text), true),
                              request_decode(value, (size_t)(stop - value), true));
        }
        text = stop + 1;
    }
}

void sim_params_free(struct sim_params *ps)
{
    for (size_t i = 0; i < ps->count; i++) {
        free(ps->items[i].name);
        free(ps->items[i].value);
    }
    free(ps->items);
    memset(ps, 0, sizeof *ps);
}

const char *sim_param(const struct sim_params *ps, const char *name, size_t nth)
{
    for (size_t i = 0; i < ps->count; i++) {
        if (strcmp(ps->items[i].name, name) == 0 && nth-- == 0) {
            return ps->items[i].value;
        }
    }
    return NULL;
}

const char *sim_header(const struct sim_request *r, const char *lower_name)
{
    return sim_param(&r->headers, lower_name, 0);
}

const struct sim_params *sim_request_form(struct sim_request *r)
{
    if (!r->form_parsed) {
        r->form_parsed = true;
        sim_params_parse(&r->form, r->body, r->body_len);
    }
    return &r->form;
}

json_t *sim_request_json(const struct sim_request *r)
{
    return json_loadb(r->body, r->body_len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

void request_free(struct sim_request *r)
{
    if (r == NULL) {
        return;
    }
    free(r->target);
    free(r->path);
    free(r->body);
    sim_params_free(&r->query);
    sim_params_free(&r->form);
    sim_params_free(&r->headers);
    sim_buf_free(&r->res.headers);
    sim_buf_free(&r->res.body);
    free(r);
}

void sim_answer_header(struct sim_request *r, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    sim_buf_addf(&r->res.headers, "%s\r\n", line);
}

static void clear_body(struct sim_request *r, int status)
{
    r->res.status = status;
    r->res.body.len = 0;
    if (r->res.body.p != NULL) {
        r->res.body.p[0] = '\0';
    }
}

void sim_answer_json(struct sim_request *r, int status, json_t *v, size_t flags)
{
    clear_body(r, status);
    if (v == NULL) {
        r->res.status = 500; /* a json_pack of ours failed: show it */
        sim_buf_adds(&r->res.body, "{\"error\":\"the simulator could not build its answer\"}");
    } else {
        sim_buf_add_json(&r->res.body, v, flags == 0 ? JSON_COMPACT : flags);
        json_decref(v);
    }
    sim_answer_header(r, "Content-Type: application/json;charset=utf-8");
}

void sim_answer_text(struct sim_request *r, int status, const char *type, const char *text)
{
    clear_body(r, status);
    sim_buf_adds(&r->res.body, text);
    sim_answer_header(r, "Content-Type: %s", type);
}

void sim_answer_error(struct sim_request *r, int status, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sim_answer_json(r, status, json_pack("{s:s}", "error", text), 0);
}
