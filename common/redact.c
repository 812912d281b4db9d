/* One pass over the body. At each place where a word begins the rules are asked in turn: a key
 * by its prefix, a credential behind "bearer", a digit run that may be a card; behind a name
 * such as "access_token" the value goes, in JSON and in forms alike. Nothing is parsed, since
 * error bodies are often half a page of HTML. What is taken too much is only a log line's loss.
 * Rejected: regular expressions of libc (slow on long bodies, and they stop at NUL). */
#include "common/redact.h"

#include "common/utf8.h"

#include <ctype.h>

static const char replacement[] = "[redacted]";

/* Prefixes of keys and tokens, with the least number of characters behind them. */
static const struct prefix {
    const char *text;
    size_t least_bytes;
} prefixes[] = {
    {"sk_live_", 4}, {"sk_test_", 4}, {"rk_live_", 4}, {"rk_test_", 4}, {"sk_", 16},
    {"rk_", 16},     {"sk_org_", 4},  {"whsec_", 4},   {"ac_", 16},     {"rt_", 16},
    {"pat-", 16},    {"pst_", 16},    {"CJ", 40}, /* HubSpot access tokens */
};

/* Names whose value is a secret, in lower case without '-', '_'. */
static const char *const names[] = {
    "accesstoken", "refreshtoken", "idtoken",   "clientsecret",  "secret",
    "apikey",      "hapikey",      "password",  "authorization", "signingsecret",
    "secretkey",   "privatekey",   "setcookie", "cookie",        "token",
};

struct scan {
    const char *at, *end;
    struct buf *out;
    int redactions;
};

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* What keys and tokens are made of. */
static bool is_token(char c)
{
    return is_word(c) || c == '.' || c == '~' || c == '+' || c == '/' || c == '=';
}

static const char *skip(const char *p, const char *end, bool (*member)(char))
{
    while (p < end && member(*p)) {
        p++;
    }
    return p;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void put_replacement(struct scan *s, const char *resume)
{
    (void)buf_add(s->out, replacement, sizeof replacement - 1);
    s->redactions++;
    s->at = resume;
}

/* ---- rules: each moves at and returns true when it took something ---- */

static bool take_prefixed(struct scan *s)
{
    size_t left = (size_t)(s->end - s->at);
    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        size_t n = strlen(prefixes[i].text);
        if (left > n && memcmp(s->at, prefixes[i].text, n) == 0) {
            const char *behind = skip(s->at + n, s->end, is_word);
            if ((size_t)(behind - s->at) >= n + prefixes[i].least_bytes) {
                put_replacement(s, behind);
                return true;
            }
        }
    }
    return false;
}

/* "Bearer x" and "Basic x": the word stays. */
static bool take_scheme(struct scan *s)
{
    static const char *const schemes[] = {"bearer", "basic"};
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if ((size_t)(s->end - s->at) <= n || strncasecmp(s->at, schemes[i], n) != 0 ||
            !is_blank(s->at[n])) {
            continue;
        }
        const char *from = skip(s->at + n, s->end, is_blank);
        const char *behind = skip(from, s->end, is_token);
        if (behind - from >= 8) { /* shorter it is English: "bearer of" */
            (void)buf_add(s->out, s->at, (size_t)(from - s->at));
            put_replacement(s, behind);
            return true;
        }
    }
    return false;
}

static bool passes_luhn(const char *digits, size_t count)
{
    int sum = 0;
    for (size_t i = 0; i < count; i++) {
        int d = digits[count - 1 - i] - '0';
        if (i % 2 == 1) {
            d = d * 2 > 9 ? d * 2 - 9 : d * 2;
        }
        sum += d;
    }
    return sum % 10 == 0;
}

/* 13 to 19 digits, alone or in groups with single blanks or dashes between. */
static bool take_card(struct scan *s)
{
    enum { LEAST = 13, MOST = 19 };
    char digits[MOST];
    size_t count = 0;
    const char *p = s->at;
    const char *behind = p;
    while (p < s->end) {
        if (isdigit((unsigned char)*p)) {
            if (count == MOST) {
                return false;
            }
            digits[count++] = *p++;
            behind = p;
        } else if ((*p == ' ' || *p == '-') && p == behind) {
            p++;
        } else {
            break;
        }
    }
    /* Ids of records are digits too; those of cards begin with 2 to 6 and check. */
    if (count < LEAST || digits[0] < '2' || digits[0] > '6' || !passes_luhn(digits, count) ||
        (behind < s->end && is_word(*behind))) {
        return false;
    }
    put_replacement(s, behind);
    return true;
}

static bool is_secret_name(struct slice word)
{
    char plain[32];
    size_t n = 0;
    for (size_t i = 0; i < word.len_bytes; i++) {
        char c = word.bytes[i];
        if (c == '_' || c == '-') {
            continue;
        }
        if (n == sizeof plain - 1) {
            return false;
        }
        plain[n++] = (char)tolower((unsigned char)c);
    }
    plain[n] = '\0';
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(plain, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Behind a closing quote that may be escaped (JSON within JSON); p when there is none. */
static const char *skip_quote(const char *p, const char *end)
{
    const char *q = p;
    while (q < end && *q == '\\') {
        q++;
    }
    return q < end && (*q == '"' || *q == '\'') ? q + 1 : p;
}

/* The end of a quoted value whose opening quote (with its escapes) is [open, from). */
static const char *end_of_quoted(const char *open, const char *from, const char *end)
{
    size_t n = (size_t)(from - open);
    char quote = from[-1];
    for (const char *p = from; p < end; p++) {
        if (*p == '\\' && n == 1) {
            p++;
        } else if ((size_t)(end - p) >= n && memcmp(p, open, n) == 0 && p[n - 1] == quote) {
            return p;
        }
    }
    return end;
}

/* name : value or name = value, quoted or not. The name, and what stands between, stays. */
static bool take_named(struct scan *s, const char *word_end)
{
    struct slice word = {s->at, (size_t)(word_end - s->at)};
    if (!is_secret_name(word)) {
        return false;
    }
    const char *p = skip(skip_quote(word_end, s->end), s->end, is_blank);
    if (p >= s->end || (*p != ':' && *p != '=')) {
        return false;
    }
    bool header = *p == ':' && skip_quote(word_end, s->end) == word_end;
    p = skip(p + 1, s->end, is_blank);
    const char *from = skip_quote(p, s->end);
    const char *behind;
    if (from > p) {
        behind = end_of_quoted(p, from, s->end);
    } else if (header) { /* "Set-Cookie: a=b; c=d" to the end of the line */
        behind = memchr(p, '\n', (size_t)(s->end - p));
        behind = behind == NULL ? s->end : behind;
    } else {
        behind = skip(p, s->end, is_token);
        behind = p < s->end && *p == '%' ? p : behind;
    }
    struct slice value = {from, (size_t)(behind - from)};
    if (value.len_bytes == 0 || slice_is(value, "null") || slice_is(value, "true") ||
        slice_is(value, "false") || slice_is(value, replacement)) {
        return false;
    }
    (void)buf_add(s->out, s->at, (size_t)(from - s->at));
    put_replacement(s, behind);
    return true;
}

/* ---- the pass ---- */

/* One character that no rule wants; replaced when PostgreSQL would not take it. */
static void copy_char(struct scan *s)
{
    size_t n = utf8_char_bytes((struct slice){s->at, (size_t)(s->end - s->at)});
    if (n == 0 || *s->at == '\0') {
        (void)buf_add_str(s->out, "\xef\xbf\xbd");
        s->at++;
        return;
    }
    (void)buf_add(s->out, s->at, n);
    s->at += n;
}

static void scan_word(struct scan *s)
{
    const char *word_end = skip(s->at, s->end, is_word);
    if ((isdigit((unsigned char)*s->at) && take_card(s)) || take_prefixed(s) ||
        take_scheme(s) || take_named(s, word_end)) {
        return;
    }
    (void)buf_add(s->out, s->at, (size_t)(word_end - s->at));
    s->at = word_end;
}

int redact_body(struct slice body, struct buf *out, struct redact_result *result)
{
    /* Cut after the secrets are out, or the front half of one might stay: so a secret that
     * begins before the cut is seen whole, up to a margin. */
    enum { MARGIN_BYTES = 8 * 1024 };
    bool truncated = body.len_bytes > REDACT_MAX_BYTES;
    struct slice seen = utf8_cut(body, REDACT_MAX_BYTES + MARGIN_BYTES);
    const char *cut = body.bytes + utf8_cut(body, REDACT_MAX_BYTES).len_bytes;
    struct scan s = {.at = seen.bytes, .end = seen.bytes + seen.len_bytes, .out = out};
    size_t start = out->len_bytes;
    while (s.at < cut && out->len_bytes - start <= REDACT_MAX_BYTES && !out->failed) {
        if (is_word(*s.at)) {
            const char *before = s.at;
            size_t len_before = out->len_bytes;
            int redactions_before = s.redactions;
            scan_word(&s);
            if (s.at > cut && s.redactions == redactions_before) {
                /* A plain word over the cut: only its front. */
                out->len_bytes = len_before + (size_t)(cut - before);
                out->bytes[out->len_bytes] = '\0';
            }
        } else {
            copy_char(&s);
        }
    }
    /* Replacements may be longer than what they replace. */
    if (out->len_bytes - start > REDACT_MAX_BYTES) {
        struct slice text = {out->bytes + start, out->len_bytes - start};
        out->len_bytes = start + utf8_cut(text, REDACT_MAX_BYTES).len_bytes;
        out->bytes[out->len_bytes] = '\0';
        truncated = true;
    }
    if (result != NULL) {
        *result = (struct redact_result){s.redactions, truncated};
    }
    return out->failed ? -1 : 0;
}
