/* Settings: one table (config_table.c), one row each, from which parsing, ranges, --help,
 * the effective settings and the reference come.
 *
 * Where a value comes from, strongest first: flag (--kebab-case), environment
 * (PIVOTAL_SYNC_<NAME>), systemd credential ($CREDENTIALS_DIRECTORY/<name in lower case>,
 * secrets only), file (NAME=value; --config or PIVOTAL_SYNC_CONFIG, by default
 * /etc/pivotal-sync/pivotal-sync.conf when it is there; then conf.d/ *.conf beside it), for
 * DATABASE_URL and REDIS_URL the environment without prefix, the default. A secret has no
 * flag; it and the URLs that may hold a password have the form <NAME>_FILE too. */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include "common/buf.h"
#include "common/err.h"

#include <stdint.h>

enum setting {
    SETTING_DATABASE_URL,
    SETTING_MIGRATE_DATABASE_URL,
    SETTING_REDIS_URL,
    SETTING_DATA_DIR,
    SETTING_DB_POOL,
    SETTING_QUEUE_SHARDS,
    SETTING_REDIS_WAIT_REPLICAS,
    SETTING_LEASE_S,
    SETTING_SECRET_KEY,
    SETTING_PUBLIC_URL,
    SETTING_ADMIN_PUBLIC_URL,
    SETTING_ADMIN_IDENTITY_HEADER,
    SETTING_ADMIN_IDENTITY_ROLE,
    SETTING_WEBHOOK_LISTEN,
    SETTING_ADMIN_LISTEN,
    SETTING_METRICS_LISTEN,
    SETTING_ALERT_WEBHOOK_URL,
    SETTING_TRUSTED_PROXIES,
    SETTING_WEBHOOK_MAX_BODY_BYTES,
    SETTING_WEBHOOK_BUFFER_MAX_BYTES,
    SETTING_HUBSPOT_API_BASE,
    SETTING_HUBSPOT_AUTHORIZE_URL,
    SETTING_HUBSPOT_API_VERSION,
    SETTING_HUBSPOT_CLIENT_ID,
    SETTING_HUBSPOT_CLIENT_SECRET,
    SETTING_HUBSPOT_APP_ID,
    SETTING_HUBSPOT_DEVELOPER_KEY,
    SETTING_STRIPE_API_BASE,
    SETTING_STRIPE_AUTHORIZE_URL,
    SETTING_STRIPE_TOKEN_URL,
    SETTING_STRIPE_API_VERSION,
    SETTING_STRIPE_OAUTH,
    SETTING_STRIPE_CLIENT_ID,
    SETTING_STRIPE_SECRET_KEY,
    SETTING_STRIPE_WEBHOOK_SECRET,
    SETTING_WORKER_PROCESSES,
    SETTING_WORKER_INFLIGHT,
    SETTING_JOB_TIMEOUT_S,
    SETTING_ALLOW_PRIVATE_PROVIDER_HOSTS,
    SETTING_PROVIDER_CA_FILE,
    SETTING_LOG_FORMAT,
    SETTING_LOG_LEVEL,
    SETTING_COUNT
};

/* Programs, as bits: whose --help and flags a setting belongs to. Environment and files may
 * always hold all of them, since programs share them. */
enum config_program_bit {
    CONFIG_CMD = 1,
    CONFIG_GATEWAY = 2,
    CONFIG_SCHEDULER = 4,
    CONFIG_WORKER = 8,
    CONFIG_ADMIN = 16,
    CONFIG_ALL = 31,
};

struct config_program {
    enum config_program_bit bit;
    const char *name;    /* "pivotal-sync-worker" */
    const char *version; /* "0.1.0" */
    const char *about;   /* one sentence for --help */
    /* Keep words and flags that are no setting for config_args(): the command has verbs.
     * --help and --version are then left to it too. */
    bool keeps_rest;
};

struct config;

/**
 * Read all sources. Problems do not stop it: they are collected, each a line with file and
 * line (or flag, or variable), key, value (never a secret's), what is allowed, nearest name.
 * argv and program are lent for as long as the config lives. NULL only with ERR_NOMEM.
 */
struct config *config_load(int argc, char *const argv[], const struct config_program *program,
                           struct err *err) MUST_USE;
/** The same from the same flags again (SIGHUP). */
struct config *config_reload(const struct config *c, struct err *err) MUST_USE;
void config_free(struct config *c);
void config_freep(struct config **c);

size_t config_problem_count(const struct config *c);
const char *config_problem(const struct config *c, size_t i);

/**
 * The start of main(): load, answer --help and --version on stdout, print problems on stderr.
 * Returns -1 to go on with *out set, or the exit code to end with (0; 1; 2 wrong usage;
 * 10 wrong settings).
 */
int config_start(int argc, char *const argv[], const struct config_program *program,
                 struct config **out) MUST_USE;

/** What was no setting (keeps_rest), without argv[0]; NULL-terminated. */
char *const *config_args(const struct config *c, int *count);

/* Values. Lent until config_free(). A setting with a problem has its default. */
bool config_is_set(const struct config *c, enum setting s); /* not by default */
/** Text of any setting; "" when it has neither value nor default. A secret too. */
const char *config_text(const struct config *c, enum setting s);
/** A number, a size in bytes, or 0 and 1. */
int64_t config_int(const struct config *c, enum setting s);
bool config_bool(const struct config *c, enum setting s);
/** Items of a comma-separated list, without the blanks around them. */
size_t config_list_count(const struct config *c, enum setting s);
struct slice config_list_item(const struct config *c, enum setting s, size_t i);
/** "--db-pool", "PIVOTAL_SYNC_DB_POOL", "/etc/x.conf:3", "default", ... */
const char *config_source(const struct config *c, enum setting s);
/** Equal in both? For reload: what changed and needs a restart (config_reloadable). */
bool config_same(const struct config *a, const struct config *b, enum setting s);

/* The table. */
const char *config_name(enum setting s); /* "DB_POOL" */
const char *config_help(enum setting s);
bool config_reloadable(enum setting s); /* takes effect on SIGHUP */

/** The flags of a program, as --help shows them. */
int config_write_flags(enum config_program_bit program, struct buf *out);
/** The table as Markdown, for docs/settings.md. */
int config_write_reference(struct buf *out);
/** NAME=value with its source as a comment; a secret as "set (file, 48 bytes)". */
int config_write_effective(const struct config *c, struct buf *out);

#endif
