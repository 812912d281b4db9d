/* The scanner looks only for quotes and brackets, sixteen bytes at a time where the machine can
 * (SSE2 is part of x86-64), else byte by byte. Measured on pages of both providers it is an
 * order of magnitude faster than building jansson's tree, and needs no memory but the list of
 * slices. Rejected: simdjson (C++), a full tokenizer (it would repeat what PostgreSQL checks).
 */
#include "common/json.h"

#include "common/utf8.h"

#include <errno.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct cursor {
    const char *start, *at, *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_space(struct cursor *c)
{
    while (c->at < c->end && is_space(*c->at)) {
        c->at++;
    }
}

static bool take(struct cursor *c, char wanted)
{
    skip_space(c);
    if (c->at == c->end || *c->at != wanted) {
        return false;
    }
    c->at++;
    return true;
}

/* ---- the two fast loops ---- */

static bool is_structural(char c)
{
    return c == '"' || c == '{' || c == '}' || c == '[' || c == ']';
}

/* The next quote or bracket at or behind p, or end. */
static const char *find_structural(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i open = _mm_set1_epi8('{');
    const __m128i close = _mm_set1_epi8('}');
    const __m128i bit = _mm_set1_epi8(0x20); /* makes '[' '{' and ']' '}' */
    while (end - p >= 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i y = _mm_or_si128(x, bit);
        __m128i hit =
            _mm_or_si128(_mm_cmpeq_epi8(x, quote),
                         _mm_or_si128(_mm_cmpeq_epi8(y, open), _mm_cmpeq_epi8(y, close)));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask != 0) {
            return p + __builtin_ctz(mask);
        }
        p += 16;
    }
#endif
    while (p < end && !is_structural(*p)) {
        p++;
    }
    return p;
}

/* The next quote or backslash at or behind p, or end. */
static const char *find_quote(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i slash = _mm_set1_epi8('\\');
    while (end - p >= 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, slash));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask != 0) {
            return p + __builtin_ctz(mask);
        }
        p += 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\') {
        p++;
    }
    return p;
}

/* at is behind the opening quote; moves behind the closing one. */
static bool skip_string(struct cursor *c)
{
    const char *p = c->at;
    for (;;) {
        p = find_quote(p, c->end);
        if (c->end - p < 1) {
            return false;
        }
        if (*p == '"') {
            c->at = p + 1;
            return true;
        }
        if (c->end - p < 2) {
            return false;
        }
        p += 2;
    }
}

/* ---- values ---- */

/* at is behind the opening bracket. depth counts it and those around it. */
static bool skip_brackets(struct cursor *c, char opening, int depth)
{
    uint64_t objects = opening == '{'; /* one bit a level, the innermost lowest */
    int inside = 1;
    while (inside > 0) {
        c->at = find_structural(c->at, c->end);
        if (c->at == c->end) {
            return false;
        }
        char ch = *c->at++;
        if (ch == '"') {
            if (!skip_string(c)) {
                return false;
            }
        } else if (ch == '{' || ch == '[') {
            if (depth + inside >= JSON_DEPTH_MAX) {
                return false;
            }
            objects = objects << 1 | (ch == '{');
            inside++;
        } else {
            if ((ch == '}') != ((objects & 1) != 0)) {
                return false;
            }
            objects >>= 1;
            inside--;
        }
    }
    return true;
}

/* A number, true, false or null, at its first character. Only what follows it is looked at:
 * whoever reads the value checks it. */
static bool skip_scalar(struct cursor *c)
{
    const char *from = c->at;
    while (c->at < c->end) {
        char ch = *c->at;
        bool in_scalar = (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || ch == '-' ||
                         ch == '+' || ch == '.' || ch == 'E';
        if (!in_scalar) {
            break;
        }
        c->at++;
    }
    return c->at > from;
}

/* depth: brackets around the value. */
static bool take_value(struct cursor *c, int depth, struct slice *out)
{
    skip_space(c);
    if (c->at == c->end) {
        return false;
    }
    const char *from = c->at;
    bool ok;
    if (*from == '"') {
        c->at++;
        ok = skip_string(c);
    } else if (*from == '{' || *from == '[') {
        c->at++;
        ok = depth < JSON_DEPTH_MAX && skip_brackets(c, *from, depth);
    } else {
        ok = skip_scalar(c);
    }
    if (ok) {
        *out = (struct slice){from, (size_t)(c->at - from)};
    }
    return ok;
}

/* A name and its colon. */
static bool take_name(struct cursor *c, struct slice *name)
{
    if (!take(c, '"')) {
        return false;
    }
    const char *from = c->at;
    if (!skip_string(c)) {
        return false;
    }
    *name = (struct slice){from, (size_t)(c->at - 1 - from)};
    return take(c, ':');
}

/* Before the next of a list that ends with close: 1 when one follows, 0 at the end. */
static int take_separator(struct cursor *c, char close, bool *first)
{
    bool was_first = *first;
    *first = false;
    if (take(c, close)) {
        return 0;
    }
    return was_first || take(c, ',') ? 1 : -1;
}

/* ---- split ---- */

/* More room by doubling; the count is the room's, since it doubles at powers of two. */
static void *grown(void *items, size_t count, size_t item_bytes)
{
    enum { FIRST = 16 };
    if (count == 0 || (count >= FIRST && (count & (count - 1)) == 0)) {
        return reallocarray(items, count == 0 ? FIRST : count * 2, item_bytes);
    }
    return items;
}

static int fail_nomem(struct err *err)
{
    err_set(err, ERR_NOMEM, "out of memory for a JSON text");
    return -1;
}

static int fail_at(const struct cursor *c, struct err *err)
{
    err_set(err, ERR_INVALID, "%s at byte %td",
            c->at >= c->end ? "JSON text ends too early" : "JSON text is broken or too deep",
            c->at - c->start);
    return -1;
}

/* at is behind the opening bracket. */
static int split_array(struct cursor *c, int depth, struct json_split *out, struct err *err)
{
    out->element_count = 0; /* the last of several members of one name wins */
    out->found = true;
    bool first = true;
    int more;
    while ((more = take_separator(c, ']', &first)) > 0) {
        struct slice value;
        if (!take_value(c, depth, &value)) {
            return fail_at(c, err);
        }
        struct slice *elements = grown(out->elements, out->element_count, sizeof value);
        if (elements == NULL) {
            return fail_nomem(err);
        }
        out->elements = elements;
        out->elements[out->element_count++] = value;
    }
    return more < 0 ? fail_at(c, err) : 0;
}

static int add_member(struct json_split *out, struct slice name, struct slice value,
                      struct err *err)
{
    struct json_member *members = grown(out->members, out->member_count, sizeof *members);
    if (members == NULL) {
        return fail_nomem(err);
    }
    out->members = members;
    out->members[out->member_count++] = (struct json_member){name, value};
    return 0;
}

static bool name_is(struct slice name, const char *text)
{
    if (memchr(name.bytes, '\\', name.len_bytes) == NULL) {
        return slice_is(name, text);
    }
    char decoded[128];
    struct slice quoted = {name.bytes - 1, name.len_bytes + 2};
    return json_slice_text(quoted, decoded, sizeof decoded) && strcmp(decoded, text) == 0;
}

static int split_object(struct cursor *c, const char *array, struct json_split *out,
                        struct err *err)
{
    bool first = true;
    int more;
    while ((more = take_separator(c, '}', &first)) > 0) {
        struct slice name;
        if (!take_name(c, &name)) {
            return fail_at(c, err);
        }
        skip_space(c);
        const char *from = c->at;
        struct slice value;
        if (from < c->end && *from == '[' && name_is(name, array)) {
            c->at++;
            if (split_array(c, 2, out, err) < 0) {
                return -1;
            }
            value = (struct slice){from, (size_t)(c->at - from)};
        } else if (!take_value(c, 1, &value)) {
            return fail_at(c, err);
        }
        if (add_member(out, name, value, err) < 0) {
            return -1;
        }
    }
    return more < 0 ? fail_at(c, err) : 0;
}

int json_split(struct slice text, const char *array, struct json_split *out, struct err *err)
{
    *out = (struct json_split){0};
    struct cursor c = {text.bytes, text.bytes, text.bytes + text.len_bytes};
    int failed;
    if (!take(&c, array == NULL ? '[' : '{')) {
        failed = fail_at(&c, err);
    } else if (array == NULL) {
        failed = split_array(&c, 1, out, err);
    } else {
        failed = split_object(&c, array, out, err);
    }
    skip_space(&c);
    if (failed == 0 && c.at != c.end) {
        failed = fail_at(&c, err);
    }
    if (failed < 0) {
        json_split_release(out);
    }
    return failed;
}

void json_split_release(struct json_split *s)
{
    if (s != NULL) {
        free(s->members);
        free(s->elements);
        *s = (struct json_split){0};
    }
}

struct slice json_split_member(const struct json_split *s, const char *name)
{
    for (size_t i = s->member_count; i > 0; i--) {
        if (name_is(s->members[i - 1].name, name)) {
            return s->members[i - 1].value;
        }
    }
    return (struct slice){0};
}

/* ---- walk ---- */

int json_walk_begin(struct json_walk *w, struct slice text)
{
    if (text.bytes == NULL) {
        return -1;
    }
    struct cursor c = {text.bytes, text.bytes, text.bytes + text.len_bytes};
    char close = '}';
    if (!take(&c, '{')) {
        close = ']';
        if (!take(&c, '[')) {
            return -1;
        }
    }
    *w = (struct json_walk){c.start, c.at, c.end, close, true};
    return 0;
}

int json_walk_next(struct json_walk *w, struct json_member *out)
{
    *out = (struct json_member){{"", 0}, {NULL, 0}};
    struct cursor c = {w->start, w->at, w->end};
    int more = take_separator(&c, w->close, &w->first);
    if (more == 0) {
        skip_space(&c);
        return c.at == c.end ? 0 : -1;
    }
    if (more < 0 || (w->close == '}' && !take_name(&c, &out->name)) ||
        !take_value(&c, 1, &out->value)) {
        return -1;
    }
    w->at = c.at;
    return 1;
}

int json_members(struct slice text, const char *const *names, struct slice *values,
                 size_t count)
{
    for (size_t i = 0; i < count; i++) {
        values[i] = (struct slice){0};
    }
    struct json_walk w;
    if (json_walk_begin(&w, text) < 0 || w.close != '}') {
        return -1;
    }
    struct json_member m;
    int more;
    while ((more = json_walk_next(&w, &m)) > 0) {
        for (size_t i = 0; i < count; i++) {
            if (name_is(m.name, names[i])) {
                values[i] = m.value;
            }
        }
    }
    return more;
}

struct slice json_member(struct slice text, const char *name)
{
    struct slice value;
    if (json_members(text, &name, &value, 1) < 0) {
        return (struct slice){0};
    }
    return value;
}

/* ---- scalars ---- */

static bool take_hex4(struct cursor *c, uint32_t *out)
{
    if (c->end - c->at < 4) {
        return false;
    }
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char ch = *c->at++;
        uint32_t digit;
        if (ch >= '0' && ch <= '9') {
            digit = (uint32_t)(ch - '0');
        } else if ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'f') {
            digit = (uint32_t)((ch | 0x20) - 'a' + 10);
        } else {
            return false;
        }
        v = v << 4 | digit;
    }
    *out = v;
    return true;
}

/* at is behind the u of \u. */
static bool take_unicode(struct cursor *c, uint32_t *out)
{
    uint32_t high;
    uint32_t low;
    if (!take_hex4(c, &high) || high == 0) {
        return false;
    }
    if (high < 0xd800 || high > 0xdfff) {
        *out = high;
        return true;
    }
    if (high > 0xdbff || c->end - c->at < 6 || c->at[0] != '\\' || c->at[1] != 'u') {
        return false;
    }
    c->at += 2;
    if (!take_hex4(c, &low) || low < 0xdc00 || low > 0xdfff) {
        return false;
    }
    *out = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

/* at is behind the backslash; the character it stands for. */
static bool take_escape(struct cursor *c, uint32_t *out)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    char ch = *c->at++;
    if (ch == 'u') {
        return take_unicode(c, out);
    }
    const char *known = ch == '\0' ? NULL : strchr(from, ch);
    if (known == NULL) {
        return false;
    }
    *out = (uint32_t)to[known - from];
    return true;
}

bool json_slice_text(struct slice value, char *out, size_t out_bytes)
{
    if (value.len_bytes < 2 || value.bytes[0] != '"' ||
        value.bytes[value.len_bytes - 1] != '"' || out_bytes == 0) {
        return false;
    }
    size_t n = 0;
    struct cursor c = {value.bytes, value.bytes + 1, value.bytes + value.len_bytes - 1};
    while (c.at < c.end) {
        char piece[4];
        const char *from = c.at;
        size_t len;
        if (*c.at == '\\') {
            uint32_t code_point;
            c.at++;
            if (c.at == c.end || !take_escape(&c, &code_point)) {
                return false;
            }
            len = utf8_encode(code_point, piece);
            from = piece;
        } else {
            len = utf8_char_bytes((struct slice){from, (size_t)(c.end - from)});
            if (len == 0 || (unsigned char)*from < ' ' || *from == '"') {
                return false;
            }
            c.at += len;
        }
        if (len >= out_bytes - n) {
            return false;
        }
        memcpy(out + n, from, len);
        n += len;
    }
    out[n] = '\0';
    return true;
}

/* The digits of s with an optional sign, and nothing else. */
static bool parse_int(struct slice s, int64_t *out)
{
    size_t i = s.len_bytes > 0 && s.bytes[0] == '-';
    if (i == s.len_bytes) {
        return false;
    }
    int64_t v = 0;
    for (; i < s.len_bytes; i++) {
        int64_t digit = s.bytes[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_sub_overflow(v, digit, &v)) {
            return false;
        }
    }
    /* Counted downwards, since INT64_MIN has no positive twin. */
    if (s.bytes[0] != '-' && __builtin_sub_overflow(0, v, &v)) {
        return false;
    }
    *out = v;
    return true;
}

bool json_slice_int(struct slice value, int64_t *out)
{
    return parse_int(value, out);
}

bool json_slice_bool(struct slice value, bool *out)
{
    *out = slice_is(value, "true");
    return *out || slice_is(value, "false");
}

bool json_slice_null(struct slice value)
{
    return value.bytes == NULL || slice_is(value, "null");
}

/* ---- trees ---- */

json_t *json_parse(struct slice text, struct err *err)
{
    /* jansson descends on the stack, and a task's stack is small: depth first. */
    struct cursor c = {text.bytes, text.bytes, text.bytes + text.len_bytes};
    struct slice value;
    if (!take_value(&c, 0, &value)) {
        (void)fail_at(&c, err);
        return NULL;
    }
    json_error_t why;
    /* Without memory jansson blames the text, or even loses a byte of it; malloc tells. */
    errno = 0;
    json_t *tree = json_loadb(text.bytes, text.len_bytes, JSON_DECODE_ANY, &why);
    if (errno == ENOMEM) {
        json_decref(tree);
        tree = NULL;
        err_set(err, ERR_NOMEM, "out of memory for JSON");
    } else if (tree == NULL) {
        err_set(err, ERR_INVALID, "no valid JSON at byte %d: %s", why.position, why.text);
    }
    return tree;
}

void json_list_add(json_t **list, json_t *value)
{
    if (json_array_append_new(*list, value) != 0) {
        json_decref(*list);
        *list = NULL;
    }
}

const char *json_text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

int64_t json_int_of(const json_t *object, const char *name, int64_t fallback)
{
    const json_t *value = json_object_get(object, name);
    int64_t out;
    if (json_is_integer(value)) {
        return json_integer_value(value);
    }
    struct slice text = {json_string_value(value), json_string_length(value)};
    return text.bytes != NULL && parse_int(text, &out) ? out : fallback;
}

bool json_bool_of(const json_t *object, const char *name, bool fallback)
{
    const json_t *value = json_object_get(object, name);
    if (json_is_boolean(value)) {
        return json_is_true(value);
    }
    const char *text = json_string_value(value);
    if (text != NULL && strcmp(text, "true") == 0) {
        return true;
    }
    return text != NULL && strcmp(text, "false") == 0 ? false : fallback;
}
