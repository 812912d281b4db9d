/* Help: examples first, then options. The man pages (man.c) and docs/commands.md say the same
 * from the same table. */
#include "cmd/cmd.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char exit_codes[] =
    "  0    ok; also with warnings and skipped records\n"
    "  1    failed\n"
    "  2    wrong usage\n"
    "  3    not found: no such workspace, connection, attempt, run or record\n"
    "  4    the connection needs reauthorization\n"
    "  5    already running, or a conflict\n"
    "  6    finished with record errors; a check found a cause\n"
    "  7    timed out while waiting; the work goes on\n"
    "  8    service unavailable: Redis or PostgreSQL\n"
    "  9    not allowed\n"
    "  10   wrong settings\n"
    "  130  Ctrl-C; what was started goes on\n\n"
    "`status` ends with 0 whatever it shows; `status --check` with 4 or 6.\n";

static const char forms[] =
    "  table   fitted to the terminal; through a pipe nothing is cut\n"
    "  wide    a table with every column\n"
    "  plain   tabs between values, no headers, for grep, cut and awk (--plain)\n"
    "  name    the first column alone, for xargs\n"
    "  json    an array of objects; keys are those of the view of the same name\n"
    "  jsonl   an object a line\n"
    "  csv     RFC 4180, with a line of names\n\n"
    "--json a,b prints only these fields (`record` finds record_id, `code` error_code);\n"
    "--json alone is -o json, and says on stderr which fields there are.\n"
    "Results go to stdout, everything else to stderr. Colours, movement and the pager\n"
    "are for terminals only; NO_COLOR, --no-color or TERM=dumb switch colours off.\n"
    "Lists show the newest 50 rows: -n asks for more, -n 0 for all.\n";

static const char times[] =
    "Times are printed in the time zone of the workspace with their offset, or in UTC\n"
    "where rows of several workspaces with different zones are shown; --utc prints UTC.\n"
    "Durations are 90s, 15m, 24h or 7d. --since and --until also take a moment:\n"
    "2026-11-20, \"2026-11-20 14:00\" (in the zone of the workspace),\n"
    "2026-11-20T14:00:00Z.\n";

static const char concepts[] =
    "A workspace is a tenant: time zone, business hours, hour of the nightly full sync.\n"
    "A connection is a workspace, a provider and a mode (live, test). Commands call it\n"
    "hubspot, stripe, stripe:test, stripe:live, or by its number. It is connected, must\n"
    "be reauthorized, or is disconnected; what waits meanwhile is kept.\n\n"
    "A webhook only says which record may have changed; a worker fetches the record\n"
    "fresh. So duplicates, bursts and late deliveries end in the right state. A full\n"
    "sync (nightly, or run-now) compares every mirrored record; a catch-up asks for what\n"
    "changed since the last good moment.\n\n"
    "An attempt is one try at one unit of work and one row of the log, kept 30 days. An\n"
    "error type says what happened, what to do and whether it is tried again by itself:\n"
    "`pivotal-sync explain`.\n\n"
    "Work waits in lanes: interactive (resync, retry), webhook, run_now, nightly.\n\n"
    "When something looks wrong: `pivotal-sync diagnose` names the first cause.\n";

static const char privacy[] =
    "Secrets are never arguments: --token-file FILE, - for standard input, settings from\n"
    "files or systemd credentials. Nothing is asked without a terminal; what is not\n"
    "undone easily wants --yes there. `support-bundle` holds ids, states, the last\n"
    "attempts, versions and settings, and no token, e-mail or field value.\n";

const struct topic topics[] = {
    {"concepts", "workspaces, connections, attempts, lanes", concepts},
    {"output", "forms of a result, fields, colours", forms},
    {"time", "zones and durations", times},
    {"exit-codes", "what the exit code says", exit_codes},
    {"safety", "secrets, questions, what is handed out", privacy},
    {0},
};

static void print_examples(const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        printf("  %.*s\n", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

/* "-w, --workspace NAME", "    --json [FIELDS]" */
static void print_option(const struct option_def *o)
{
    char left[64], value[OPTION_VALUE_MAX_BYTES], letter[8] = "    ";
    option_value(o, value);
    if (option_letter(o->name) != 0) {
        snprintf(letter, sizeof letter, "-%c, ", option_letter(o->name));
    }
    snprintf(left, sizeof left, "  %s--%s%s", letter, o->name, value);
    print_wrapped(left, 32, o->help, true);
}

static bool has_option(const struct option_def *list, const char *name)
{
    for (; list != NULL && list->name != NULL; list++) {
        if (strcmp(list->name, name) == 0) {
            return true;
        }
    }
    return false;
}

void help_verb(const struct verb *v)
{
    printf("%s\n\nUsage: pivotal-sync %s%s%s [options]\n\nExamples:\n",
           v->summary != NULL ? v->summary : "", v->words, v->args[0] != '\0' ? " " : "",
           v->args);
    print_examples(v->examples);
    if (v->more != NULL) {
        putchar('\n');
        print_wrapped("", 0, v->more, true);
    }
    if (v->options != NULL) {
        printf("\nOptions:\n");
        for (const struct option_def *o = v->options; o->name != NULL; o++) {
            print_option(o);
        }
    }
    printf("\nOptions of every command:\n");
    for (const struct option_def *o = common_options; o->name != NULL; o++) {
        if (!has_option(v->options, o->name)) {
            print_option(o);
        }
    }
    printf("\nExit codes: pivotal-sync help exit-codes\n");
}

static void print_verb(const struct verb *v)
{
    char left[96];
    snprintf(left, sizeof left, "  %s%s%s", v->words, v->args[0] != '\0' ? " " : "", v->args);
    print_wrapped(left, 36, v->summary, true);
}

static const char opening[] =
    "pivotal-sync mirrors HubSpot and Stripe into PostgreSQL, and says why a record is\n"
    "missing or stale.\n\nTry:\n"
    "  pivotal-sync up --demo          everything here, with simulated accounts\n"
    "  pivotal-sync status             how the connections are\n"
    "  pivotal-sync diagnose           what is wrong, and what mends it\n"
    "  pivotal-sync log --errors-only  what went wrong, and why\n";

void help_brief(void)
{
    fprintf(stderr,
            "%s  pivotal-sync help               every command and topic\n"
            "  pivotal-sync help run-now       one of them, with examples\n",
            opening);
}

void help_all(void)
{
    enum { WIDTH = 34, LINES = 100 };
    output_pager(NULL, LINES);
    printf("%s\nCommands:\n", opening);
    for (const struct verb *v = verbs; v->words != NULL; v++) {
        if (v->summary != NULL) {
            print_verb(v);
        }
    }
    printf("\nTopics (pivotal-sync help TOPIC):\n");
    for (const struct topic *t = topics; t->name != NULL; t++) {
        printf("  %-*s %s\n", WIDTH, t->name, t->summary);
    }
    printf("  %-*s %s\n", WIDTH, "settings", "the flags that stand for settings");
    printf("\n`pivotal-sync help COMMAND` says more. Stuck? Send what `pivotal-sync\n"
           "support-bundle` writes, with a screenshot and the customer or onboarding id, to\n"
           "whoever runs support for your installation.\n");
}

static bool help_settings(void)
{
    struct buf flags;
    buf_init(&flags, 65536);
    int rc = config_write_flags(CONFIG_CMD, &flags);
    fputs(rc == 0 ? buf_text(&flags) : "", stdout);
    buf_release(&flags);
    return true;
}

bool help_topic(const char *name)
{
    size_t len = strlen(name);
    bool family = false;
    for (const struct topic *t = topics; t->name != NULL; t++) {
        if (strcmp(t->name, name) == 0) {
            fputs(t->text, stdout);
            return true;
        }
    }
    if (strcmp(name, "settings") == 0) {
        return help_settings();
    }
    for (const struct verb *v = verbs; v->words != NULL; v++) {
        if (strncmp(v->words, name, len) == 0 && v->words[len] == ' ' && v->summary != NULL) {
            print_verb(v);
            family = true;
        }
    }
    return family;
}
