/* Completion for shells. The scripts ask the program itself, so that commands and options are
 * those of the table and values are live: connections, workspaces, runs, failed attempts,
 * error types, lanes. What cannot be asked in time completes without them, silently. */
#include "cmd/cmd.h"

#include "provider/provider.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEADLINE_S = 2, LIVE_MAX = 200 };

struct completion {
    struct cmd *c;
    const char *typed;    /* the beginning of the word at the cursor */
    const char *provider; /* of the words before it, or NULL */
    const char *workspace;
    struct store *store; /* NULL: live values are left out */
    int64_t connection_id;
};

static void offer(const struct completion *k, const char *value, const char *text)
{
    if (strncmp(value, k->typed, strlen(k->typed)) == 0) {
        printf("%s\t", value);
        for (const char *p = text; *p != '\0'; p++) {
            putchar((unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p);
        }
        putchar('\n');
    }
}

/* ---- live values ---- */

static void on_deadline(int signal_no)
{
    (void)signal_no;
    _exit(0); /* what was found so far was printed */
}

static void store_start(struct completion *k)
{
    struct err err = {0};
    if (k->store == NULL && config_is_set(k->c->config, SETTING_DATABASE_URL)) {
        struct store_options o = {.url = config_text(k->c->config, SETTING_DATABASE_URL),
                                  .application_name = "pivotal-sync completion",
                                  .max_connections = 1,
                                  .statement_timeout_ms = 1000};
        k->store = store_new(k->c->app->loop, &o, &err);
    }
}

/* Rows of (value, text); $1 is the beginning that was typed, $2 the workspace or NULL. */
static void offer_rows(struct completion *k, const char *sql)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    struct err err = {0};
    store_start(k);
    if (k->store == NULL) {
        return;
    }
    params_text(p, k->typed);
    params_text(p, k->workspace);
    if (store_query(k->store, sql, p, &r, &err) != 0) {
        return;
    }
    for (int i = 0; i < rows_count(r) && i < LIVE_MAX; i++) {
        offer(k, rows_text(r, i, 0), rows_text(r, i, 1));
    }
}

static const char connections_sql[] =
    "SELECT DISTINCT ON (1) CASE WHEN count(*) OVER (PARTITION BY workspace_id, provider) > 1"
    "   THEN provider || ':' || mode ELSE provider END,"
    "   concat_ws(' ', workspace, state, coalesce(nullif(account_name, ''), account_id))"
    " FROM psync_bi.connection_status WHERE $1::text IS NOT NULL"
    "   AND ($2::text IS NULL OR workspace = $2) ORDER BY 1";
static const char workspaces_sql[] =
    "SELECT name, tz FROM psync.workspace WHERE starts_with(name, $1)"
    "   AND ($2::text IS NULL OR true) ORDER BY 1 LIMIT 200";
static const char runs_sql[] =
    "SELECT run_id::text, concat_ws(' ', provider, status, to_char(queued_at, 'MM-DD HH24:MI'))"
    " FROM psync_bi.run_history WHERE starts_with(run_id::text, $1)"
    "   AND ($2::text IS NULL OR true) ORDER BY run_id DESC LIMIT 30";
static const char attempts_sql[] =
    "SELECT attempt_id::text, concat_ws(' ', provider, object_type, record_id, error_title)"
    " FROM psync_bi.sync_log WHERE severity = 'error' AND starts_with(attempt_id::text, $1)"
    "   AND ($2::text IS NULL OR true) ORDER BY attempt_id DESC LIMIT 30";
static const char records_sql[] = "SELECT record_id, concat_ws(' ', provider, object_type, "
                                  "reason) FROM psync_bi.record_health"
                                  " WHERE state = 'failing' AND starts_with(record_id, $1)"
                                  "   AND ($2::text IS NULL OR true) LIMIT 50";
static const char customers_sql[] =
    "SELECT customer_id::text, name FROM psync_bi.customer"
    " WHERE starts_with(customer_id::text, $1) AND ($2::text IS NULL OR true)"
    " ORDER BY customer_id LIMIT 50";
static const char tokens_sql[] =
    "SELECT token_id::text, concat_ws(' ', role, name) FROM psync.admin_token"
    " WHERE revoked_at IS NULL AND starts_with(token_id::text, $1)"
    "   AND ($2::text IS NULL OR true) ORDER BY 1";
static const char zones_sql[] =
    "SELECT name, abbrev FROM pg_timezone_names WHERE starts_with(name, $1)"
    "   AND name NOT LIKE 'posix%' AND ($2::text IS NULL OR true) ORDER BY 1 LIMIT 200";

/* ---- values by the name of their hole ---- */

static void offer_words(const struct completion *k, const char *words)
{
    while (*words != '\0') {
        char word[64];
        size_t n = strcspn(words, "| ");
        snprintf(word, sizeof word, "%.*s", (int)n, words);
        offer(k, word, "");
        words += n + (words[n] != '\0');
    }
}

static void offer_codes(struct completion *k)
{
    for (int t = ET_NONE + 1; t < ET_COUNT; t++) {
        const struct error_info *i = error_info((enum error_type)t);
        offer(k, i->code, i->title);
    }
}

static void offer_types(struct completion *k)
{
    char name[32];
    snprintf(name, sizeof name, "%.*s",
             k->provider != NULL ? (int)strcspn(k->provider, ":") : 0,
             k->provider != NULL ? k->provider : "");
    for (int i = 0; providers[i] != NULL; i++) {
        if (name[0] != '\0' && strcmp(providers[i]->name, name) != 0) {
            continue;
        }
        for (const struct object_type *o = providers[i]->objects; o->name != NULL; o++) {
            offer(k, o->name, providers[i]->title);
        }
    }
}

static void offer_providers(struct completion *k)
{
    bool connects = strcmp(k->c->verb->words, "connection connect") == 0;
    for (int i = 0; connects && providers[i] != NULL; i++) {
        offer(k, providers[i]->name, providers[i]->title);
    }
    if (!connects) {
        offer_rows(k, connections_sql);
    }
}

static const struct hole {
    const char *name, *words, *sql;
    void (*offer)(struct completion *k);
} holes[] = {
    {"PROVIDER", NULL, NULL, offer_providers},
    {"TYPE", NULL, NULL, offer_types},
    {"CODE", NULL, NULL, offer_codes},
    {"NAME", NULL, workspaces_sql, NULL},
    {"RUN", NULL, runs_sql, NULL},
    {"ATTEMPT", NULL, attempts_sql, NULL},
    {"RECORD", NULL, records_sql, NULL},
    {"ID", NULL, customers_sql, NULL},
    {"CUSTOMER", NULL, customers_sql, NULL},
    {"TOKEN", NULL, tokens_sql, NULL},
    {"ZONE", NULL, zones_sql, NULL},
    {"FORM", "table|wide|plain|json|jsonl|csv|name", NULL, NULL},
    {"LANE", "interactive|webhook|run_now|nightly", NULL, NULL},
    {"STATE", "waiting|delayed|parked|buried|leased", NULL, NULL},
    {"ROLE", "viewer|operator|admin", NULL, NULL},
    {"KIND", "list|stage|pipeline|product|lookup_key|all", NULL, NULL},
    {"T", "webhook|person|nightly|catch-up|retry|reconnect", NULL, NULL},
    {"HOW", "source|hand|id|domain", NULL, NULL},
    {"TIME", "30s|15m|1h|24h|7d", NULL, NULL},
    {"S", "ok|past_due|unpaid|none", NULL, NULL},
};

static void offer_hole(struct completion *k, const char *hole)
{
    char name[64];
    size_t start = strspn(hole, "["), n = strcspn(hole + start, "] ?");
    snprintf(name, sizeof name, "%.*s", (int)n, hole + start);
    if (strcmp(name, "FILE") == 0 || strcmp(name, "FOLDER") == 0) {
        puts(":file\t");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(holes); i++) {
        if (strcmp(holes[i].name, name) == 0) {
            if (holes[i].words != NULL) {
                offer_words(k, holes[i].words);
            } else if (holes[i].sql != NULL) {
                offer_rows(k, holes[i].sql);
            } else {
                holes[i].offer(k);
            }
            return;
        }
    }
    if (strchr(name, '|') != NULL && name[0] >= 'a' && name[0] <= 'z') {
        offer_words(k, name);
    }
}

/* ---- words ---- */

static void offer_first_words(const struct completion *k)
{
    for (const struct verb *v = verbs; v->words != NULL; v++) {
        char word[48];
        size_t n = strcspn(v->words, " ");
        bool family = v->words[n] == ' ';
        if (v->summary == NULL ||
            (family && v != verbs && strncmp(v[-1].words, v->words, n) == 0 &&
             v[-1].words[n] == ' ')) {
            continue; /* once for a family */
        }
        snprintf(word, sizeof word, "%.*s", (int)n, v->words);
        offer(k, word, family ? "..." : v->summary);
    }
}

static bool offer_members(const struct completion *k, const char *family)
{
    size_t n = strlen(family);
    bool any = false;
    for (const struct verb *v = verbs; v->words != NULL; v++) {
        if (v->summary != NULL && strncmp(v->words, family, n) == 0 && v->words[n] == ' ') {
            offer(k, v->words + n + 1, v->summary);
            any = true;
        }
    }
    return any;
}

static void offer_options(const struct completion *k, const struct verb *v)
{
    const struct option_def *lists[] = {v->options, common_options};
    char word[64];
    for (size_t l = 0; l < COUNT_OF(lists); l++) {
        for (const struct option_def *o = lists[l]; o != NULL && o->name != NULL; o++) {
            snprintf(word, sizeof word, "--%s", o->name);
            offer(k, word, o->help);
        }
    }
}

/* The option that a word is, when the next word is its value. */
static const struct option_def *valued(const struct verb *v, const char *word)
{
    const struct option_def *lists[] = {v->options, common_options};
    for (size_t l = 0; l < COUNT_OF(lists) && word[0] == '-'; l++) {
        for (const struct option_def *o = lists[l]; o != NULL && o->name != NULL; o++) {
            bool is = word[1] == '-' ? strcmp(word + 2, o->name) == 0
                                     : word[1] != '\0' && word[1] == option_letter(o->name) &&
                                           word[2] == '\0';
            if (is) {
                return o->value != NULL && strchr(o->value, '?') == NULL ? o : NULL;
            }
        }
    }
    return NULL;
}

/* The n-th hole of "PROVIDER [TYPE] RECORD"; the last one for all beyond. */
static const char *hole_at(const char *args, int n)
{
    while (n > 0 && strchr(args, ' ') != NULL) {
        args = strchr(args, ' ') + 1;
        n--;
    }
    return n > 0 ? "" : args;
}

static void complete_verb(struct completion *k, const struct verb *v, int from, int last)
{
    const struct cmd *c = k->c;
    int position = 0;
    const struct option_def *value_of = NULL;
    k->c->verb = v;
    for (int i = from; i < last; i++) {
        if (value_of != NULL) {
            k->workspace = strcmp(value_of->name, "workspace") == 0 ? c->args[i] : k->workspace;
            value_of = NULL;
        } else if (c->args[i][0] == '-') {
            value_of = valued(v, c->args[i]);
        } else {
            k->provider = position == 0 ? c->args[i] : k->provider;
            position++;
        }
    }
    if (value_of != NULL) {
        offer_hole(k, value_of->value);
    } else if (k->typed[0] == '-') {
        offer_options(k, v);
    } else if (strcmp(v->words, "help") == 0) {
        offer_first_words(k);
        for (const struct topic *t = topics; t->name != NULL; t++) {
            offer(k, t->name, t->summary);
        }
    } else {
        const char *hole = hole_at(v->args, position);
        if (strncmp(hole, "[TYPE]", 6) == 0) {
            offer_hole(k, "RECORD"); /* it may be left out */
        }
        offer_hole(k, hole);
    }
}

int verb_complete(struct cmd *c, struct err *err)
{
    int last = c->arg_count - 1, used = 0;
    const struct verb *self = c->verb;
    char *words[CMD_ARGS_MAX];
    (void)err;
    if (last < 0) {
        return EXIT_OK;
    }
    struct completion k = {.c = c, .typed = c->args[last]};
    for (int i = 0; i < last; i++) {
        memcpy(&words[i], &c->args[i], sizeof words[i]); /* only read, so const may go */
    }
    (void)signal(SIGALRM, on_deadline);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)alarm(DEADLINE_S);
    const struct verb *v = parse_verb(words, last, &used);
    if (v != NULL) {
        complete_verb(&k, v, used, last);
    } else if (last == 0) {
        offer_first_words(&k);
    } else if (last == 1) {
        (void)offer_members(&k, c->args[0]);
    }
    store_free(k.store);
    c->verb = self;
    return EXIT_OK;
}

/* ---- the scripts ---- */

static const char bash_script[] =
    "# bash completion for pivotal-sync; `pivotal-sync completion bash` prints it.\n"
    "_pivotal_sync() {\n"
    "    local line=${COMP_LINE:0:COMP_POINT} cur prefix value rest\n"
    "    local -a words\n"
    "    read -ra words <<<\"$line\"\n"
    "    [[ $line == *[[:space:]] ]] && words+=('')\n"
    "    cur=${words[${#words[@]}-1]}\n"
    "    prefix=${cur%\"${cur##*[:=]}\"} # readline breaks words there\n"
    "    COMPREPLY=()\n"
    "    while IFS=$'\\t' read -r value rest; do\n"
    "        if [[ $value == :file ]]; then\n"
    "            compopt -o filenames 2>/dev/null\n"
    "            while IFS= read -r value; do COMPREPLY+=(\"$value\"); done \\\n"
    "                < <(compgen -f -- \"$cur\")\n"
    "        else\n"
    "            COMPREPLY+=(\"${value#\"$prefix\"}\")\n"
    "        fi\n"
    "    done < <(\"${words[0]}\" complete -- \"${words[@]:1}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _pivotal_sync pivotal-sync\n";

static const char zsh_script[] =
    "#compdef pivotal-sync\n"
    "# zsh completion for pivotal-sync; `pivotal-sync completion zsh` prints it.\n"
    "_pivotal_sync() {\n"
    "    local line value\n"
    "    local -a described\n"
    "    for line in \"${(@f)$(\"${words[1]}\" complete -- \"${(@)words[2,CURRENT]}\" "
    "2>/dev/null)}\"; do\n"
    "        value=${line%%$'\\t'*}\n"
    "        [[ -z $value ]] && continue\n"
    "        if [[ $value == :file ]]; then\n"
    "            _files\n"
    "            return\n"
    "        fi\n"
    "        described+=(\"${value//:/\\\\:}:${line#*$'\\t'}\")\n"
    "    done\n"
    "    (( ${#described} )) && _describe -V 'pivotal-sync' described\n"
    "}\n"
    "if [[ ${funcstack[1]} == _pivotal_sync ]]; then\n"
    "    _pivotal_sync \"$@\"\n"
    "else\n"
    "    compdef _pivotal_sync pivotal-sync\n"
    "fi\n";

static const char fish_script[] =
    "# fish completion for pivotal-sync; `pivotal-sync completion fish` prints it.\n"
    "function __pivotal_sync_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l cur (commandline -ct)\n"
    "    set -l program $words[1]\n"
    "    set -e words[1]\n"
    "    for line in ($program complete -- $words \"$cur\" 2>/dev/null)\n"
    "        if string match -q ':file*' -- $line\n"
    "            __fish_complete_path \"$cur\"\n"
    "        else\n"
    "            echo $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c pivotal-sync -f -a '(__pivotal_sync_complete)'\n";

int verb_completion(struct cmd *c, struct err *err)
{
    const char *shell = c->args[0];
    const char *script = strcmp(shell, "bash") == 0   ? bash_script
                         : strcmp(shell, "zsh") == 0  ? zsh_script
                         : strcmp(shell, "fish") == 0 ? fish_script
                                                      : NULL;
    if (script == NULL) {
        err_set(err, ERR_INVALID, "'%s' is none of bash, zsh, fish", shell);
        return -1;
    }
    fputs(script, stdout);
    return EXIT_OK;
}
