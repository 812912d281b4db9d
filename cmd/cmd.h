/* Inside of the command: verbs are rows of one table, which also makes the help. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include "core/actions.h"
#include "core/app.h"

/* Exit codes are a contract (scripts use them). */
enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_REAUTHORIZE = 4,
    EXIT_CONFLICT = 5,
    EXIT_RECORD_ERRORS = 6,
    EXIT_TIMED_OUT = 7,
    EXIT_UNAVAILABLE = 8,
    EXIT_NOT_ALLOWED = 9,
    EXIT_BAD_CONFIG = 10,
    EXIT_INTERRUPTED = 130, /* Ctrl-C: what was started goes on */
};

struct cmd;
typedef int verb_fn(struct cmd *c, struct err *err); /* exit code; -1 with err = by its code */

struct option_def {
    const char *name;  /* "token-file" */
    const char *value; /* "FILE"; "FIELDS?" = may be left out; NULL = a switch */
    const char *help;
};
extern const struct option_def common_options[]; /* of every verb; ends with name NULL */
/** The letter of a common option, 0 = it has none. */
char option_letter(const char *name);
enum { OPTION_VALUE_MAX_BYTES = 40 };
/** Its value as help shows it, with a space before: " FILE", " [FIELDS]", "" for a switch. */
void option_value(const struct option_def *o, char out[OPTION_VALUE_MAX_BYTES]);

struct verb {
    const char *words;    /* "connection connect" */
    const char *args;     /* "PROVIDER" */
    const char *summary;  /* one line; NULL = not shown in the help */
    const char *examples; /* lines */
    unsigned needs;       /* enum app_needs; 0 = nothing is opened */
    verb_fn *run;
    const struct option_def *options; /* ends with name NULL; NULL = none of its own */
    int args_min, args_max;
    const char *more; /* further sentences for help and manual; NULL = none */
};
extern const struct verb verbs[]; /* ends with words NULL */

enum output_form { OUT_TABLE, OUT_JSON, OUT_JSONL, OUT_CSV };
/* What becomes of OUT_TABLE: fitted to the terminal, with every column, tabs between values and
 * no headers, the first column alone. */
enum output_shape { SHAPE_FIT, SHAPE_WIDE, SHAPE_PLAIN, SHAPE_NAME };

enum { CMD_ARGS_MAX = 64, CMD_OPTIONS_MAX = 32 };

struct cmd {
    struct app *app;
    struct config *config;
    const struct verb *verb;
    const char *args[CMD_ARGS_MAX]; /* positional words after the verb */
    int arg_count;
    struct {
        const char *name, *value;
    } options[CMD_OPTIONS_MAX];
    int option_count;
    enum output_form form;
    enum output_shape shape;
    const char *fields; /* of --json a,b: only these members; NULL = all */
    struct actor actor;
};

/** Value of an option, or NULL. A switch that is given has the value "". */
const char *cmd_option(const struct cmd *c, const char *name);
bool cmd_has(const struct cmd *c, const char *name);
/** The -w of this call, or NULL. */
const char *cmd_workspace(const struct cmd *c);
/** Milliseconds of --timeout ("90", "15m", "2h"), or otherwise_ms. -1 with err. */
int64_t cmd_timeout_ms(const struct cmd *c, int64_t otherwise_ms, struct err *err);
/** A duration such as 24h, 7d, 30m, 90s (plain numbers are seconds). -1 with err. */
int64_t cmd_duration_ms(const char *text, struct err *err);
/** Read a secret from a file, or from standard input for "-"; less one trailing newline. */
char *cmd_secret(const char *path, struct err *err);

/** Ask for the connection a command names. */
struct connection *cmd_connection(struct cmd *c, const char *provider, struct err *err);

/** The rows asked for with -n, or otherwise; 0 = all there are. -1 with err. */
int64_t cmd_limit(const struct cmd *c, int64_t otherwise, struct err *err);
/** What a list begins with: the rows asked for with -n, or 50; INT64_MAX = all there are. The
 * connection of the provider named first into *conn, which the caller owns; NULL = none was
 * named. -1 with err. */
int64_t cmd_list_start(struct cmd *c, struct connection **conn, struct err *err);
/** Is the value of an option a number, if it was given? -1 with err. */
int cmd_check_number(const struct cmd *c, const char *option, struct err *err);
/** May it be done? True with --yes, or when a person at a terminal says yes to the question.
 * Without a terminal, or with --no-input, nobody is asked and the answer is no. */
bool cmd_confirm(const struct cmd *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** The same, but the answer must be this word. */
bool cmd_confirm_word(const struct cmd *c, const char *word, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/** Can a person be asked? */
bool cmd_can_ask(const struct cmd *c);

/* ---- reading the command line (parse.c) ---- */
enum { PARSE_RUN = -1 };
/** Find the verb of these words and read its options. PARSE_RUN to run it, else the exit code:
 * help was printed, or what is wrong was said. */
int parse_words(struct cmd *c, char *const *words, int n);
/** The row whose words these begin with; *used = how many of them. NULL = none. */
const struct verb *parse_verb(char *const *words, int n, int *used);
/** The nearest of several words to what was typed, for "did you mean". */
struct typo {
    const char *typed, *best; /* best NULL = none is near */
    int distance;
};
void typo_begin(struct typo *t, const char *typed);
void typo_try(struct typo *t, const char *candidate);

/* ---- help (help.c) ---- */
void help_all(void);
/** What there is to begin with, on stderr. */
void help_brief(void);
void help_verb(const struct verb *v);
/** Help on a topic or a family ("connection"). False when there is no such thing. */
bool help_topic(const char *name);
/** The topics: name, one line, text; ends with name NULL. */
struct topic {
    const char *name, *summary, *text;
};
extern const struct topic topics[];

/* ---- manual pages (man.c) ---- */
/** Write every page into a folder that is there. 0, or -1 with err. */
int man_write(const char *folder, struct err *err) MUST_USE;

/* ---- output (output.c): results to stdout, messages and progress to stderr ---- */
/* A result that may come in pages. columns: those of the table, space-separated "name:HEADER",
 * each with marks in front: '?' may be left out where the terminal is narrow, '~' may be cut,
 * '#' is a number; behind "|" are those of -o wide. JSON and CSV have all columns. */
struct output {
    struct cmd *c;
    const char *columns;
    struct table *table; /* widths, once the first page is known */
    int64_t rows;
    char last_key[64]; /* of the last row that was printed */
};
void output_begin(struct output *o, struct cmd *c, const char *columns);
/** Print the rows of a SELECT. key: the column whose last value is kept in last_key, or NULL.
 * *n = rows of this page. Times come in the zone of the workspace, or UTC. */
int output_page(struct output *o, const char *sql, const struct params *p, const char *key,
                int *n, struct err *err);
/** Close what is open: brackets, the pager. */
void output_end(struct output *o);
/** All three at once. *n (may be NULL) = rows. */
int output_query(struct cmd *c, const char *sql, const struct params *p, const char *columns,
                 int *n, struct err *err);
/** The objects of an array in the form of -o. */
int output_json(struct cmd *c, const json_t *array, const char *columns, struct err *err);
/** A query whose times are texts in the zone of the workspace (--utc: in UTC). */
int output_lookup(struct cmd *c, const char *sql, const struct params *p, struct rows **out,
                  struct err *err) MUST_USE;
/** One line to stderr. */
void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
/** Is movement wanted on this stream: a terminal that can? */
bool output_is_terminal(int fd);
/** Is colour? Not with NO_COLOR or --no-color either. */
bool output_has_color(int fd);
/** Columns and lines of the terminal at fd; 80 and 24 where it does not say. */
void output_size(int fd, int *columns, int *lines);
/** Send what is printed from here on through a pager where it is a terminal's and longer than
 * the terminal; output_close() waits until it was read. */
void output_pager(const struct cmd *c, int lines);
/** The end of all output. -1 with err when something of it could not be written. */
int output_close(struct err *err) MUST_USE;
/** A name, padded to indent columns, and a text wrapped below itself: to the terminal's width,
 * at most 100; without a terminal at 80 where wrap_always (help), else not at all. */
void print_rest(int indent, const char *text, bool wrap_always); /* behind what stands there */
void print_wrapped(const char *name, int indent, const char *text, bool wrap_always);
/** Text of others without control characters, but for tabs and line ends. */
void print_safe(const char *text);

/* ---- the table (grid.c) ---- */
/* Where the cells come from. */
struct grid {
    int rows, columns;
    const char *(*name)(const struct grid *g, int column);
    const char *(*cell)(const struct grid *g, int row, int column);
    const void *from;
};
/** Print them; *table is made by the first page and keeps the widths for those to come. */
int grid_print(const struct cmd *c, const struct grid *g, const char *columns,
               struct table **table, struct err *err);
void table_free(struct table *t);

/* ---- Ctrl-C (main.c) ---- */
/** What is said when Ctrl-C ends the watching: "run 12 goes on". Empty = nothing. */
void cmd_on_interrupt(const char *fmt, ...) PRINTF_LIKE(1, 2);

/** The first row with a label before each value; a column that is empty, or whose name is NULL,
 * has no line. */
void print_labelled(const struct rows *r, const char *const *names, int n);
/** One JSON value as a line. */
void print_json_object(const json_t *j);
/** The changes of a preview (core/preview.h), at most so many customers. */
void print_changes(const json_t *changes, size_t most);

/** Follow a run to its end, with progress; returns the exit code, or -1 with err. */
int progress_run(struct cmd *c, int64_t run_id, int64_t timeout_ms, struct err *err);

/* ---- verbs, a file per family ---- */
int verb_migrate(struct cmd *c, struct err *err);
int verb_workspace_add(struct cmd *c, struct err *err);
int verb_workspace_set(struct cmd *c, struct err *err);
int verb_workspace_list(struct cmd *c, struct err *err);
int verb_connection_connect(struct cmd *c, struct err *err);
int verb_connection_reauthorize(struct cmd *c, struct err *err);
int verb_connection_set(struct cmd *c, struct err *err);
int verb_connection_list(struct cmd *c, struct err *err);
int verb_connection_disconnect(struct cmd *c, struct err *err);
int verb_connection_pause(struct cmd *c, struct err *err);
int verb_scope_set(struct cmd *c, struct err *err);
int verb_scope_choices(struct cmd *c, struct err *err);
int verb_scope_show(struct cmd *c, struct err *err);
int verb_scope_confirm(struct cmd *c, struct err *err);
int verb_run_now(struct cmd *c, struct err *err);
int verb_run_list(struct cmd *c, struct err *err);
int verb_run_cancel(struct cmd *c, struct err *err);
int verb_resync(struct cmd *c, struct err *err);
int verb_retry(struct cmd *c, struct err *err);
int verb_status(struct cmd *c, struct err *err);
int verb_log(struct cmd *c, struct err *err);
int verb_show(struct cmd *c, struct err *err);
int verb_explain(struct cmd *c, struct err *err);
int verb_customer_list(struct cmd *c, struct err *err);
int verb_queue_stats(struct cmd *c, struct err *err);
int verb_queue_list(struct cmd *c, struct err *err);
int verb_queue_fsck(struct cmd *c, struct err *err);
int verb_queue_rebuild(struct cmd *c, struct err *err);
int verb_queue_move_shard(struct cmd *c, struct err *err);
int verb_worker_list(struct cmd *c, struct err *err);
int verb_quota(struct cmd *c, struct err *err);
int verb_reference(struct cmd *c, struct err *err);
int verb_diagnose(struct cmd *c, struct err *err);
int verb_why(struct cmd *c, struct err *err);
int verb_customer_show(struct cmd *c, struct err *err);
int verb_link_add(struct cmd *c, struct err *err);
int verb_link_remove(struct cmd *c, struct err *err);
int verb_link_list(struct cmd *c, struct err *err);
/* Parts of `resync`: --customer ID, and --dry-run of a record. */
int verb_resync_customer(struct cmd *c, struct connection *conn, struct err *err);
int verb_resync_preview(struct cmd *c, const struct connection *conn,
                        const struct object_type *object, const char *record_id,
                        struct err *err);
int verb_erase(struct cmd *c, struct err *err);
int verb_workspace_delete(struct cmd *c, struct err *err);
int verb_keys_rotate(struct cmd *c, struct err *err);
int verb_connection_show(struct cmd *c, struct err *err);
int verb_mapping_show(struct cmd *c, struct err *err);
int verb_mapping_validate(struct cmd *c, struct err *err);
int verb_mapping_apply(struct cmd *c, struct err *err);
int verb_mapping_rollback(struct cmd *c, struct err *err);
int verb_mapping_diff(struct cmd *c, struct err *err);
int verb_webhook(struct cmd *c, struct err *err);
int verb_webhook_rotate(struct cmd *c, struct err *err);
int verb_webhook_log(struct cmd *c, struct err *err);
int verb_webhook_test(struct cmd *c, struct err *err);
int verb_webhook_manifest(struct cmd *c, struct err *err);
int verb_token_create(struct cmd *c, struct err *err);
int verb_token_list(struct cmd *c, struct err *err);
int verb_token_revoke(struct cmd *c, struct err *err);
int verb_run_show(struct cmd *c, struct err *err);
int verb_queue_pause(struct cmd *c, struct err *err);
int verb_queue_drain(struct cmd *c, struct err *err);
int verb_audit(struct cmd *c, struct err *err);
int verb_check_config(struct cmd *c, struct err *err);
int verb_doctor(struct cmd *c, struct err *err);
int verb_health(struct cmd *c, struct err *err);
int verb_support_bundle(struct cmd *c, struct err *err);
int verb_completion(struct cmd *c, struct err *err);
int verb_complete(struct cmd *c, struct err *err);
int verb_version(struct cmd *c, struct err *err);

#endif
