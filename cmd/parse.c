/* From words to a verb with its options, and what to say when they do not fit. A near miss is
 * suggested and never done: the person types it again. */
#include "cmd/cmd.h"

#include "provider/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct option_def common_options[] = {
    {"workspace", "NAME", "the workspace; may be left out where there is one"},
    {"output", "FORM", "table, wide, plain, json, jsonl, csv or name"},
    {"json", "FIELDS?", "as -o json; with a,b only these fields"},
    {"plain", NULL, "as -o plain: tabs between values, no headers, nothing cut"},
    {"limit", "N", "at most so many rows (50); 0 = all"},
    {"utc", NULL, "times in UTC, not in the zone of the workspace"},
    {"timeout", "TIME", "give up after this long: 90s, 15m"},
    {"no-color", NULL, "no colours; so does NO_COLOR"},
    {"no-input", NULL, "ask nothing; what needs an answer is refused"},
    {"no-pager", NULL, "no pager for what is longer than the terminal"},
    {"quiet", NULL, "no messages on stderr"},
    {"verbose", NULL, "say more on stderr"},
    {"help", NULL, "this text"},
    {0},
};
static const char *const letters = "w:workspace o:output n:limit q:quiet v:verbose h:help";

char option_letter(const char *name)
{
    size_t len = strlen(name);
    for (const char *p = letters; p != NULL; p = strchr(p, ' ')) {
        p += *p == ' ';
        if (strncmp(p + 2, name, len) == 0 && (p[2 + len] == ' ' || p[2 + len] == '\0')) {
            return *p;
        }
    }
    return 0;
}

void option_value(const struct option_def *o, char out[OPTION_VALUE_MAX_BYTES])
{
    size_t len = o->value != NULL ? strlen(o->value) : 0;
    bool optional = len > 0 && o->value[len - 1] == '?';
    out[0] = '\0';
    if (len > 0) {
        snprintf(out, OPTION_VALUE_MAX_BYTES, optional ? " [%.*s]" : " %.*s",
                 (int)len - optional, o->value);
    }
}

/* ---- near misses ---- */

/* Edit distance in which two letters that changed places count once. */
static int distance(const char *a, const char *b)
{
    enum { LONGEST = 48 };
    int rows[3][LONGEST + 1];
    size_t na = strlen(a), nb = strlen(b);
    if (na > LONGEST || nb > LONGEST) {
        return 99;
    }
    int *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++) {
        last[j] = (int)j;
        before[j] = 0;
    }
    for (size_t i = 1; i <= na; i++) {
        now[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = last[j - 1] + (a[i - 1] != b[j - 1]);
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            now[j] = best;
        }
        int *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[nb];
}

void typo_begin(struct typo *t, const char *typed)
{
    *t = (struct typo){.typed = typed,
                       .distance = strlen(typed) < 5   ? 2
                                   : strlen(typed) < 8 ? 3
                                                       : 4};
}

void typo_try(struct typo *t, const char *candidate)
{
    int d = distance(t->typed, candidate);
    size_t len = strlen(t->typed);
    /* A good beginning is a near miss too. */
    if (len >= 3 && strncmp(t->typed, candidate, len) == 0) {
        d = 1;
    }
    if (d < t->distance && (size_t)d < strlen(candidate)) {
        t->distance = d;
        t->best = candidate;
    }
}

/* ---- the verb ---- */

static int verb_match(const struct verb *v, char *const *words, int n)
{
    const char *p = v->words;
    int used = 0;
    while (*p != '\0') {
        size_t len = strcspn(p, " ");
        if (used >= n || strlen(words[used]) != len || strncmp(words[used], p, len) != 0) {
            return 0;
        }
        used++;
        p += len + (p[len] == ' ');
    }
    return used;
}

const struct verb *parse_verb(char *const *words, int n, int *used)
{
    for (const struct verb *v = verbs; v->words != NULL; v++) {
        *used = verb_match(v, words, n);
        if (*used > 0) {
            return v;
        }
    }
    return NULL;
}

/* "connection" alone, or with a word that is none of its own: which there are. */
static bool unknown_member(char *const *words, int n)
{
    size_t len = strlen(words[0]);
    struct typo t;
    bool family = false;
    typo_begin(&t, n > 1 ? words[1] : "");
    for (const struct verb *v = verbs; v->words != NULL; v++) {
        if (strncmp(v->words, words[0], len) == 0 && v->words[len] == ' ') {
            family = true;
            typo_try(&t, v->words + len + 1);
        }
    }
    if (!family) {
        return false;
    }
    if (n > 1 && words[1][0] != '-') {
        fprintf(stderr, "pivotal-sync %s: '%s' is not one of its commands", words[0], words[1]);
        if (t.best != NULL) {
            fprintf(stderr, "; did you mean '%s %s'?", words[0], t.best);
        }
    } else {
        fprintf(stderr, "pivotal-sync %s: which?", words[0]);
    }
    fputs("\nThere are:", stderr);
    for (const struct verb *v = verbs; v->words != NULL; v++) {
        if (strncmp(v->words, words[0], len) == 0 && v->words[len] == ' ' &&
            v->summary != NULL) {
            fprintf(stderr, " %s", v->words + len + 1);
        }
    }
    fprintf(stderr, "   (pivotal-sync help %s)\n", words[0]);
    return true;
}

static int unknown_verb(char *const *words, int n)
{
    char typed[128], family[32];
    struct typo t;
    if (unknown_member(words, n)) {
        return EXIT_USAGE;
    }
    snprintf(typed, sizeof typed, "%s %s", words[0], n > 1 ? words[1] : "");
    typo_begin(&t, words[0]);
    for (const struct verb *v = verbs; v->words != NULL; v++) {
        size_t len = strcspn(v->words, " ");
        if (v->words[len] == '\0' && v->summary != NULL) {
            typo_try(&t, v->words);
        }
    }
    for (const struct verb *v = verbs; n > 1 && v->words != NULL; v++) {
        if (strchr(v->words, ' ') != NULL && distance(typed, v->words) < t.distance) {
            t.best = v->words;
            t.distance = distance(typed, v->words);
        }
    }
    for (const struct verb *v = verbs; v->words != NULL; v++) {
        size_t len = strcspn(v->words, " ");
        snprintf(family, sizeof family, "%.*s", (int)len, v->words);
        if (v->words[len] == ' ' && distance(words[0], family) < t.distance) {
            t.best = v->words;
            t.distance = distance(words[0], family);
        }
    }
    fprintf(stderr, "pivotal-sync: '%s' is not a command", words[0]);
    if (t.best != NULL) {
        fprintf(stderr, "; did you mean '%s'?\n", t.best);
    } else {
        fputs(" (pivotal-sync help)\n", stderr);
    }
    return EXIT_USAGE;
}

/* ---- options ---- */

static const struct option_def *option_find(const struct option_def *list, const char *name,
                                            size_t len)
{
    for (const struct option_def *o = list; o != NULL && o->name != NULL; o++) {
        if (strlen(o->name) == len && strncmp(o->name, name, len) == 0) {
            return o;
        }
    }
    return NULL;
}

static void unknown_option(const struct cmd *c, const char *word)
{
    const struct option_def *lists[] = {c->verb->options, common_options};
    char typed[64];
    struct typo t;
    snprintf(typed, sizeof typed, "%.*s", (int)strcspn(word, "="), word);
    const char *bare = typed + strspn(typed, "-");
    typo_begin(&t, bare);
    for (size_t l = 0; l < COUNT_OF(lists) && strlen(bare) > 1; l++) {
        for (const struct option_def *o = lists[l]; o != NULL && o->name != NULL; o++) {
            typo_try(&t, o->name);
        }
    }
    fprintf(stderr, "pivotal-sync %s: unknown option '%s'", c->verb->words, typed);
    if (t.best != NULL) {
        fprintf(stderr, "; did you mean '--%s'?\n", t.best);
    } else {
        fprintf(stderr, " (pivotal-sync help %s)\n", c->verb->words);
    }
}

/* "--json hubspot": the word behind is the provider, not a field. */
static bool looks_like_fields(const char *word)
{
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, ":"), word);
    return word[0] >= 'a' && word[0] <= 'z' &&
           strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_,") == strlen(word) &&
           provider_find(name) == NULL;
}

static const struct option_def *option_of(const struct cmd *c, const char *word, size_t *len)
{
    const char *name = word + 2;
    *len = strcspn(name, "=");
    if (word[1] != '-') {
        name = NULL;
        for (const struct option_def *o = common_options; o->name != NULL; o++) {
            if (word[1] == option_letter(o->name) && word[2] == '\0') {
                name = o->name;
                *len = strlen(name);
            }
        }
        if (name == NULL) {
            return NULL;
        }
    }
    const struct option_def *o = option_find(c->verb->options, name, *len);
    return o != NULL ? o : option_find(common_options, name, *len);
}

/* One argument that begins with '-'. Returns how many words it took, 0 = error said. */
static int parse_option(struct cmd *c, char *const *words, int n)
{
    const char *value = "";
    size_t len = 0;
    int used = 1;
    const struct option_def *o = option_of(c, words[0], &len);
    if (o == NULL || c->option_count >= CMD_OPTIONS_MAX) {
        unknown_option(c, words[0]);
        return 0;
    }
    bool optional = o->value != NULL && o->value[strlen(o->value) - 1] == '?';
    bool joined = words[0][1] == '-' && words[0][2 + len] == '=';
    if (o->value == NULL && joined) {
        fprintf(stderr, "pivotal-sync %s: --%s takes no value\n", c->verb->words, o->name);
        return 0;
    }
    if (joined) {
        value = words[0] + 3 + len;
    } else if (o->value != NULL && (!optional || (n > 1 && looks_like_fields(words[1])))) {
        if (n < 2) {
            fprintf(stderr, "pivotal-sync %s: --%s wants a %s\n", c->verb->words, o->name,
                    o->value);
            return 0;
        }
        value = words[1];
        used = 2;
    }
    c->options[c->option_count].name = o->name;
    c->options[c->option_count++].value = value;
    return used;
}

static int parse_form(struct cmd *c)
{
    static const struct {
        const char *name;
        enum output_form form;
        enum output_shape shape;
    } forms[] = {
        {"table", OUT_TABLE, SHAPE_FIT},   {"wide", OUT_TABLE, SHAPE_WIDE},
        {"plain", OUT_TABLE, SHAPE_PLAIN}, {"name", OUT_TABLE, SHAPE_NAME},
        {"json", OUT_JSON, SHAPE_FIT},     {"jsonl", OUT_JSONL, SHAPE_FIT},
        {"csv", OUT_CSV, SHAPE_FIT},
    };
    const char *form = cmd_option(c, "output"), *fields = cmd_option(c, "json");
    struct typo t;
    if (form == NULL) {
        form = fields != NULL ? "json" : cmd_has(c, "plain") ? "plain" : "table";
    }
    typo_begin(&t, form);
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        typo_try(&t, forms[i].name);
        if (strcmp(form, forms[i].name) == 0) {
            c->form = forms[i].form;
            c->shape = forms[i].shape;
            c->fields = fields != NULL && fields[0] != '\0' ? fields : NULL;
            return 0;
        }
    }
    fprintf(stderr,
            "pivotal-sync: -o '%s' is none of table, wide, plain, json, jsonl, csv, "
            "name",
            form);
    fprintf(stderr, t.best != NULL ? "; did you mean '%s'?\n" : "\n", t.best);
    return -1;
}

static int parse_rest(struct cmd *c, char *const *words, int n)
{
    bool only_words = false;
    for (int i = 0; i < n;) {
        if (!only_words && strcmp(words[i], "--") == 0) {
            only_words = true;
            i++;
        } else if (!only_words && words[i][0] == '-' && words[i][1] != '\0') {
            int used = parse_option(c, words + i, n - i);
            if (used == 0) {
                return -1;
            }
            i += used;
        } else if (c->arg_count < CMD_ARGS_MAX) {
            c->args[c->arg_count++] = words[i++];
        } else {
            return -1;
        }
    }
    if (cmd_has(c, "help")) {
        return 0;
    }
    if (c->arg_count < c->verb->args_min || c->arg_count > c->verb->args_max) {
        fprintf(stderr, "Usage: pivotal-sync %s%s%s [options]   (pivotal-sync help %s)\n",
                c->verb->words, c->verb->args[0] != '\0' ? " " : "", c->verb->args,
                c->verb->words);
        return -1;
    }
    return parse_form(c);
}

static int parse_help(char *const *words, int n)
{
    int used = 0;
    const struct verb *v = parse_verb(words, n, &used);
    if (v != NULL) {
        help_verb(v);
        return EXIT_OK;
    }
    return help_topic(words[0]) ? EXIT_OK : unknown_verb(words, n);
}

int parse_words(struct cmd *c, char *const *words, int n)
{
    int used = 0;
    bool help = n > 0 && strcmp(words[0], "help") == 0;
    if (n == 0) {
        help_brief();
        return EXIT_USAGE;
    }
    if ((help && n == 1) || strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0) {
        help_all();
        return EXIT_OK;
    }
    if (help) {
        return parse_help(words + 1, n - 1);
    }
    if (strcmp(words[0], "--version") == 0) {
        char version[] = "version";
        c->verb = parse_verb((char *const[]){version, NULL}, 1, &used);
        return PARSE_RUN;
    }
    c->verb = parse_verb(words, n, &used);
    if (c->verb == NULL) {
        return n > 1 && (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0) &&
                       help_topic(words[0])
                   ? EXIT_OK
                   : unknown_verb(words, n);
    }
    if (parse_rest(c, words + used, n - used) != 0) {
        return EXIT_USAGE;
    }
    if (cmd_has(c, "help")) {
        help_verb(c->verb);
        return EXIT_OK;
    }
    return PARSE_RUN;
}
