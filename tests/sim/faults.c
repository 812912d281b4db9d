/* Faults: which one meets a request, and what it says of the answer. */
#include "internal.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct holder {
    struct holder *next;
    void (*on_release)(void *);
    void *arg;
};

struct fault {
    struct fault *next;
    int64_t id;
    json_t *spec; /* as posted */
    int provider; /* -1 = both */
    bool has_regex;
    regex_t regex;
    int64_t after;
    int64_t times; /* -1 = always */
    int64_t matched;
    int64_t hits;
    struct holder *holders;
};

struct faults {
    struct fault *first;
    int64_t last_id;
};

struct faults *faults_new(void)
{
    return sim_calloc(1, sizeof(struct faults));
}

static void fault_free(struct fault *f)
{
    struct holder *h = f->holders;
    f->holders = NULL;
    while (h != NULL) {
        struct holder *next = h->next;
        h->on_release(h->arg);
        free(h);
        h = next;
    }
    if (f->has_regex) {
        regfree(&f->regex);
    }
    json_decref(f->spec);
    free(f);
}

void faults_free(struct faults *fs)
{
    while (fs->first != NULL) {
        struct fault *f = fs->first;
        fs->first = f->next;
        fault_free(f);
    }
    free(fs);
}

static const char *text_of(const struct fault *f, const char *key)
{
    return json_string_value(json_object_get(f->spec, key));
}

static int64_t number_of(const struct fault *f, const char *key, int64_t otherwise)
{
    const json_t *v = json_object_get(f->spec, key);
    return json_is_number(v) ? (int64_t)json_number_value(v) : otherwise;
}

static bool flag_of(const struct fault *f, const char *key)
{
    return json_is_true(json_object_get(f->spec, key));
}

static bool matches(const struct fault *f, const struct sim_request *r)
{
    if (f->provider >= 0 && f->provider != (int)r->provider) {
        return false;
    }
    const char *t = text_of(f, "method");
    if (t != NULL && strcmp(t, r->method) != 0) {
        return false;
    }
    t = text_of(f, "path");
    if (t != NULL && strncmp(r->path, t, strlen(t)) != 0) {
        return false;
    }
    if (f->has_regex && regexec(&f->regex, r->target, 0, NULL, 0) != 0) {
        return false;
    }
    t = text_of(f, "contains");
    if (t != NULL && strstr(r->target, t) == NULL &&
        memmem(r->body, r->body_len, t, strlen(t)) == NULL) {
        return false;
    }
    t = text_of(f, "header");
    if (t != NULL) { /* "authorization: Bearer x" text within any header line */
        bool found = false;
        for (size_t i = 0; i < r->headers.count && !found; i++) {
            found = strstr(r->headers.items[i].value, t) != NULL;
        }
        return found;
    }
    return true;
}

struct fault *faults_match(struct faults *fs, const struct sim_request *r)
{
    for (struct fault *f = fs->first; f != NULL; f = f->next) {
        if ((f->times >= 0 && f->hits >= f->times) || !matches(f, r)) {
            continue;
        }
        if (f->matched++ < f->after) {
            continue;
        }
        f->hits++;
        return f;
    }
    return NULL;
}

static void answer_headers(struct sim_request *r, json_t *headers)
{
    const char *name = NULL;
    json_t *v = NULL;
    json_object_foreach(headers, name, v)
    {
        if (json_is_string(v)) {
            sim_answer_header(r, "%s: %s", name, json_string_value(v));
        } else {
            char *text = json_dumps(v, JSON_ENCODE_ANY);
            sim_answer_header(r, "%s: %s", name, text);
            free(text);
        }
    }
}

static bool names_type(json_t *headers)
{
    const char *name = NULL;
    json_t *v = NULL;
    json_object_foreach(headers, name, v)
    {
        if (strcasecmp(name, "content-type") == 0) {
            return true;
        }
    }
    return false;
}

bool faults_answer(struct fault *f, struct sim_request *r, struct wire_plan *plan)
{
    plan->hold_ms = number_of(f, "hold_ms", 0);
    plan->until_released = flag_of(f, "until_released");
    plan->late = flag_of(f, "late");
    plan->truncate_bytes = number_of(f, "truncate_bytes", -1);
    plan->reset = flag_of(f, "reset");
    plan->reset_after_bytes = number_of(f, "reset_after_bytes", -1);
    plan->slow_bytes_per_s = number_of(f, "slow_bytes_per_s", 0);
    plan->gzip = flag_of(f, "gzip");
    plan->no_length = flag_of(f, "no_length");

    const char *error = text_of(f, "error");
    const json_t *body = json_object_get(f->spec, "body");
    json_t *headers = json_object_get(f->spec, "headers");
    int status = (int)number_of(f, "status", 0);
    if (error != NULL) {
        if (!sim_error_by_id(r, error)) {
            sim_answer_error(r, 500, "no error body is called '%s'", error);
        }
        if (status > 0) {
            r->res.status = status;
        }
    } else if (status > 0) {
        r->res.status = status;
        if (json_is_string(body)) {
            const char *text = json_string_value(body);
            bool json = *text == '{' || *text == '[';
            sim_buf_adds(&r->res.body, text);
            if (*text != '\0' && !names_type(headers)) {
                sim_answer_header(r, "Content-Type: %s",
                                  json ? "application/json" : "text/html; charset=utf-8");
            }
        } else if (body != NULL) {
            sim_buf_add_json(&r->res.body, body, JSON_COMPACT);
            sim_answer_header(r, "Content-Type: application/json");
        }
    } else {
        return false;
    }
    if (*r->endpoint == '\0') {
        (void)snprintf(r->endpoint, sizeof r->endpoint, "%s (fault)", r->method);
    }
    answer_headers(r, headers);
    return true;
}

static void replace_bytes(struct sim_buf *b, const char *find, const char *with,
                          size_t with_len, bool all)
{
    struct sim_buf out = {0};
    size_t find_len = strlen(find);
    size_t at = 0;
    const char *hit = NULL;
    while (find_len > 0 && (hit = memmem(b->p + at, b->len - at, find, find_len)) != NULL) {
        sim_buf_add(&out, b->p + at, (size_t)(hit - b->p) - at);
        sim_buf_add(&out, with, with_len);
        at = (size_t)(hit - b->p) + find_len;
        if (!all) {
            break;
        }
    }
    sim_buf_add(&out, b->p + at, b->len - at);
    sim_buf_free(b);
    *b = out;
}

void faults_rewrite(struct fault *f, struct sim_request *r)
{
    size_t i = 0;
    json_t *rule = NULL;
    json_array_foreach(json_object_get(f->spec, "replace"), i, rule)
    {
        const char *find = json_string_value(json_object_get(rule, "find"));
        const char *with = json_string_value(json_object_get(rule, "with"));
        const char *hex = json_string_value(json_object_get(rule, "with_hex"));
        struct sim_buf bytes = {0};
        if (hex != NULL) {
            (void)sim_buf_add_hex(&bytes, hex);
        } else if (with != NULL) {
            sim_buf_adds(&bytes, with);
        }
        if (find != NULL && r->res.body.len > 0) {
            replace_bytes(&r->res.body, find, bytes.p != NULL ? bytes.p : "", bytes.len,
                          json_is_true(json_object_get(rule, "all")));
        }
        sim_buf_free(&bytes);
    }
    const char *append = text_of(f, "append_hex");
    if (append != NULL) {
        (void)sim_buf_add_hex(&r->res.body, append);
    }
    /* Headers beside the handler's own answer, when the fault does not answer itself. */
    if (number_of(f, "status", 0) == 0 && text_of(f, "error") == NULL) {
        answer_headers(r, json_object_get(f->spec, "headers"));
    }
}

void faults_hold(struct fault *f, void (*on_release)(void *), void *arg)
{
    struct holder *h = sim_calloc(1, sizeof *h);
    h->on_release = on_release;
    h->arg = arg;
    h->next = f->holders;
    f->holders = h;
}

void faults_unhold(struct faults *fs, void *arg)
{
    for (struct fault *f = fs->first; f != NULL; f = f->next) {
        for (struct holder **at = &f->holders; *at != NULL; at = &(*at)->next) {
            if ((*at)->arg == arg) {
                struct holder *h = *at;
                *at = h->next;
                free(h);
                return;
            }
        }
    }
}

static void add_fault(struct sim_request *r, struct faults *fs, json_t *body)
{
    static const char *const known[] = {
        "provider",
        "method",
        "path",
        "regex",
        "contains",
        "header",
        "after",
        "times",
        "status",
        "headers",
        "body",
        "error",
        "hold_ms",
        "until_released",
        "late",
        "truncate_bytes",
        "reset",
        "reset_after_bytes",
        "slow_bytes_per_s",
        "gzip",
        "no_length",
        "replace",
        "append_hex",
    };
    const char *name = NULL;
    json_t *v = NULL;
    json_object_foreach(body, name, v)
    {
        bool ok = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            ok = ok || strcmp(name, known[i]) == 0;
        }
        if (!ok) {
            sim_answer_error(r, 400, "a fault has no member '%s'", name);
            return;
        }
    }
    struct fault *f = sim_calloc(1, sizeof *f);
    f->spec = json_incref(body);
    const char *p = text_of(f, "provider");
    f->provider = p == NULL ? -1 : strcmp(p, "hubspot") == 0 ? SIM_HUBSPOT : SIM_STRIPE;
    const char *regex = text_of(f, "regex");
    if (regex != NULL) {
        f->has_regex = regcomp(&f->regex, regex, REG_EXTENDED | REG_NOSUB) == 0;
        if (!f->has_regex) {
            sim_answer_error(r, 400, "'%s' is no POSIX extended regex", regex);
            fault_free(f);
            return;
        }
    }
    f->after = number_of(f, "after", 0);
    f->times = number_of(f, "times", 1);
    f->id = ++fs->last_id;
    struct fault **at = &fs->first;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = f;
    sim_answer_json(r, 201, json_pack("{s:I}", "id", (json_int_t)f->id), 0);
}

static json_t *list_faults(const struct faults *fs)
{
    json_t *out = json_array();
    for (const struct fault *f = fs->first; f != NULL; f = f->next) {
        json_int_t held = 0;
        for (const struct holder *h = f->holders; h != NULL; h = h->next) {
            held++;
        }
        (void)json_array_append_new(
            out, json_pack("{s:I, s:I, s:I, s:O}", "id", (json_int_t)f->id, "hits",
                           (json_int_t)f->hits, "held", held, "fault", f->spec));
    }
    return json_pack("{s:o}", "faults", out);
}

void faults_control(struct sim_request *r, const char *tail, json_t *body)
{
    struct faults *fs = r->sim->faults;
    if (strcmp(r->method, "POST") == 0 && *tail == '\0') {
        add_fault(r, fs, body);
    } else if (strcmp(r->method, "GET") == 0) {
        sim_answer_json(r, 200, list_faults(fs), 0);
    } else if (strcmp(r->method, "DELETE") == 0) {
        int64_t id = *tail == '/' ? (int64_t)strtoll(tail + 1, NULL, 10) : 0;
        json_int_t removed = 0;
        for (struct fault **at = &fs->first; *at != NULL;) {
            struct fault *f = *at;
            if (id == 0 || f->id == id) {
                *at = f->next;
                fault_free(f);
                removed++;
            } else {
                at = &f->next;
            }
        }
        sim_answer_json(r, removed > 0 || id == 0 ? 200 : 404,
                        json_pack("{s:I}", "removed", removed), 0);
    } else {
        sim_answer_error(r, 405, "POST, GET or DELETE");
    }
}
