/* Between the files of config; nobody else includes it. */
#ifndef COMMON_CONFIG_PRIVATE_H
#define COMMON_CONFIG_PRIVATE_H

#include "common/config.h"

enum config_type {
    TYPE_TEXT,
    TYPE_PATH,    /* absolute */
    TYPE_URL,     /* schemes in choices */
    TYPE_URLS,    /* several, comma-separated */
    TYPE_LISTEN,  /* host:port, unix:/path */
    TYPE_METRICS, /* the same, a folder, or off */
    TYPE_KEYS,    /* of seal.h */
    TYPE_LIST,    /* comma-separated texts */
    TYPE_ENUM,    /* one of choices */
    TYPE_BOOL,
    TYPE_INT,
    TYPE_SECONDS, /* 30, 30s, 5min, 2h */
    TYPE_BYTES,   /* 1048576, 1 MiB */
};

enum {
    FLAG_SECRET = 1,    /* no flag of its own; a file form and a credential */
    FLAG_FILE = 2,      /* a file form: may hold a password, shown without it */
    FLAG_BARE_ENV = 4,  /* the environment without prefix counts last */
    FLAG_RELOAD = 8,    /* takes effect on SIGHUP */
    FLAG_NO_SLASH = 16, /* a trailing slash is taken off */
};

struct config_row {
    const char *name;
    enum config_type type;
    unsigned flags;
    unsigned programs;       /* config_program_bit */
    const char *fallback;    /* default; NULL: none, or made by config_fill_defaults() */
    const char *choices;     /* "a|b" of an enum or of URL schemes */
    int64_t min, max;        /* of a number */
    const char *hole, *help; /* for --help */
};

extern const struct config_row config_rows[SETTING_COUNT];

/* Where a value came from; the larger wins. */
enum {
    LAYER_DEFAULT = 0,
    LAYER_BARE_ENV = 1,
    LAYER_FILES = 2, /* + number of the file */
    LAYER_CREDENTIAL = 1000,
    LAYER_ENV = 1001,
    LAYER_FLAG = 1002,
};

struct config_value {
    char *text; /* normal form; NULL: none */
    int64_t number;
    int layer;
    bool by_file_form; /* read from the file that <NAME>_FILE names */
    char *source;      /* NULL: default */
    /* the last offer, accepted or not: two from one layer contradict each other */
    int offered_layer;
    bool offered_form;
    char *offered_source;
};

struct config {
    const struct config_program *program;
    int argc;
    char *const *argv;
    struct config_value values[SETTING_COUNT];
    char **problems;
    size_t problem_count;
    bool usage_problem; /* of the flags: exit code 2 */
    bool nomem;
    bool wants_help, wants_version;
    const char *path; /* --config */
    bool path_given;
    int file_count;
    char **args;
    int arg_count;
};

/* config_value.c: text in normal form (caller frees) and number, or NULL with *allowed told. */
char *config_check(const struct config_row *row, const char *text, int64_t *number,
                   struct buf *allowed);

/* config.c */
void config_add_problem(struct config *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** A setting by a name of len bytes, with "_FILE" behind it when file_form; -1: none. */
int config_find(struct slice name, bool *file_form);
/** The setting whose name is nearest; NULL when none is near. */
const char *config_nearest(struct slice name);
/** A value from a layer; source: "/etc/x.conf:3", "environment", ... */
void config_offer(struct config *c, enum setting s, bool file_form, int layer, const char *text,
                  const char *source);

/* config_read.c: the sources */
void config_read_flags(struct config *c);
void config_read_environment(struct config *c);
void config_read_credentials(struct config *c);
void config_read_files(struct config *c);

#endif
