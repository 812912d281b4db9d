#include "core/migrate.h"

#include "common/embedded.h"
#include "common/error_type.h"

#include "common/banned.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Any constant does, as long as every version uses the same: "psync" in ASCII. */
#define LOCK_SQL "SELECT pg_advisory_xact_lock(482871602019)"

enum { HASH_TEXT_BYTES = 65, NAME_BYTES = 128, LINE_BYTES = 512, TRIES_MAX = 5 };

/* In the order they are applied after the steps: grants come last. "*" is any text. */
static const char *const described[] = {"sql/functions.sql", "sql/provider_*", "sql/views.sql",
                                        "sql/roles.sql"};

struct migration {
    struct store *store;
    bool dry_run;
    migrate_say *say;
    void *say_arg;
    bool has_table; /* psync.migration exists */
    bool changed;   /* something was applied */
    bool newer;     /* the database has steps unknown here */
};

static void said(const struct migration *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void said(const struct migration *m, const char *fmt, ...)
{
    char line[LINE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (m->say != NULL) {
        m->say(m->say_arg, line);
    }
}

/* ---- the files ---- */

static bool matches(const char *pattern, const char *path)
{
    const char *star = strchr(pattern, '*');
    return star == NULL ? strcmp(pattern, path) == 0
                        : strncmp(pattern, path, (size_t)(star - pattern)) == 0;
}

static bool is_step(const struct embedded *f)
{
    const char *p = f->path;
    return strncmp(p, "sql/", 4) == 0 && isdigit((unsigned char)p[4]) &&
           isdigit((unsigned char)p[5]) && isdigit((unsigned char)p[6]) && p[7] == '_';
}

/* "001_schema" of "sql/001_schema.sql". */
static void file_name(const struct embedded *f, char out[NAME_BYTES])
{
    const char *base = strrchr(f->path, '/');
    base = base == NULL ? f->path : base + 1;
    (void)snprintf(out, NAME_BYTES, "%.*s", (int)strcspn(base, "."), base);
}

static int file_hash(const struct embedded *f, char out[HASH_TEXT_BYTES], struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (EVP_Digest(f->bytes, (size_t)(f->end - f->bytes), digest, &n, EVP_sha256(), NULL) !=
        1) {
        err_set(err, ERR_INTERNAL, "cannot hash '%s'", f->path);
        return -1;
    }
    for (unsigned int i = 0; i < n && i < 32; i++) {
        (void)snprintf(out + (size_t)2 * i, 3, "%02x", digest[i]);
    }
    return 0;
}

/* ---- one file ---- */

/* The hash recorded for name, "" when none. */
static int applied_hash(struct store_tx *tx, const char *name, char out[HASH_TEXT_BYTES],
                        struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_text(p, name);
    if (store_send(tx, "SELECT sha256 FROM psync.migration WHERE name = $1", p, &r, err) < 0 ||
        store_sync(tx, err) < 0) {
        return -1;
    }
    (void)snprintf(out, HASH_TEXT_BYTES, "%s", rows_count(r) > 0 ? rows_text(r, 0, 0) : "");
    return 0;
}

static int record_applied(struct store_tx *tx, const struct embedded *f, const char *name,
                          const char *hash, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_text(p, name);
    if (is_step(f)) {
        params_int(p, strtol(name, NULL, 10));
    } else {
        params_null(p);
    }
    params_text(p, hash);
    return store_send(tx,
                      "INSERT INTO psync.migration (name, step, sha256) VALUES ($1, $2, $3)"
                      " ON CONFLICT (name) DO UPDATE SET sha256 = $3, applied_at = now()",
                      p, NULL, err);
}

static int file_apply(struct migration *m, struct store_tx *tx, const struct embedded *f,
                      const char *name, const char *hash, struct err *err)
{
    said(m, m->dry_run ? "would apply %s" : "apply %s", name);
    m->changed = true;
    if (m->dry_run) {
        return 0;
    }
    if (store_script_in(tx, f->bytes, err) < 0) {
        if (err->code == ERR_REJECTED) {
            err->code = ERR_INTERNAL;
        }
        err_wrap(err, "apply %s", name);
        return -1;
    }
    return record_applied(tx, f, name, hash, err);
}

static int step_check(struct migration *m, struct store_tx *tx, const struct embedded *f,
                      struct err *err)
{
    char name[NAME_BYTES];
    char hash[HASH_TEXT_BYTES];
    char was[HASH_TEXT_BYTES] = "";
    file_name(f, name);
    if (file_hash(f, hash, err) < 0 || (m->has_table && applied_hash(tx, name, was, err) < 0)) {
        return -1;
    }
    if (was[0] == '\0') {
        return file_apply(m, tx, f, name, hash, err);
    }
    if (strcmp(was, hash) != 0) {
        err_set(err, ERR_CONFLICT,
                "step %s was applied with another text: steps never change, add a new one",
                name);
        return -1;
    }
    return 0;
}

/* May this login make what is missing of our roles? */
static int roles_possible(struct store_tx *tx, bool *possible, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_send(tx,
                   "SELECT rolsuper OR rolcreaterole OR (SELECT count(*) = 4 FROM pg_roles"
                   "  WHERE rolname IN ('psync_owner', 'psync_app', 'psync_gw',"
                   "                    'psync_bi_reader'))"
                   " FROM pg_roles WHERE rolname = current_user",
                   NULL, &r, err) < 0 ||
        store_sync(tx, err) < 0) {
        return -1;
    }
    *possible = rows_bool(r, 0, 0);
    return 0;
}

static void say_text(const struct migration *m, const char *text)
{
    while (*text != '\0') {
        int len = (int)strcspn(text, "\n");
        said(m, "%.*s", len, text);
        text += len + (text[len] == '\n');
    }
}

static int described_check(struct migration *m, struct store_tx *tx, const struct embedded *f,
                           struct err *err)
{
    char name[NAME_BYTES];
    char hash[HASH_TEXT_BYTES];
    char was[HASH_TEXT_BYTES] = "";
    bool is_roles = strcmp(f->path, "sql/roles.sql") == 0;
    file_name(f, name);
    if (file_hash(f, hash, err) < 0 || (m->has_table && applied_hash(tx, name, was, err) < 0)) {
        return -1;
    }
    /* A step may have changed what a view shows or added what needs a grant. */
    if (strcmp(was, hash) == 0 && !m->changed) {
        return 0;
    }
    bool possible = true;
    if (is_roles && roles_possible(tx, &possible, err) < 0) {
        return -1;
    }
    if (!possible) {
        said(m, "-- this login may not make roles: have somebody run the following who may");
        say_text(m, f->bytes);
        return 0;
    }
    return file_apply(m, tx, f, name, hash, err);
}

static int file_try(struct migration *m, const struct embedded *f, struct err *err)
{
    struct store_tx *tx = store_begin(m->store, err);
    if (tx == NULL) {
        return -1;
    }
    int rc = store_send(tx, LOCK_SQL, NULL, NULL, err);
    if (rc == 0) {
        rc = is_step(f) ? step_check(m, tx, f, err) : described_check(m, tx, f, err);
    }
    if (rc < 0 || m->dry_run) {
        store_abort(tx);
        return rc;
    }
    return store_commit(tx, err);
}

/* One file in a transaction of its own. Programs work meanwhile: where a step and their
 * statements wait for each other, PostgreSQL ends one of the two, and it may be the step. */
static int file_in_transaction(struct migration *m, const struct embedded *f, struct err *err)
{
    int rc = file_try(m, f, err);
    for (int again = 1; rc < 0 && again < TRIES_MAX && strcmp(err->sqlstate, "40P01") == 0;
         again++) {
        err_clear(err);
        rc = file_try(m, f, err);
    }
    return rc;
}

/* ---- before and after ---- */

static int table_ensure(struct migration *m, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(m->store, "SELECT to_regclass('psync.migration') IS NOT NULL", NULL, &r,
                    err) < 0) {
        return -1;
    }
    m->has_table = rows_bool(r, 0, 0);
    if (m->has_table || m->dry_run) {
        return 0;
    }
    static const char make[] =
        "BEGIN; " LOCK_SQL "; CREATE SCHEMA IF NOT EXISTS psync;"
        "CREATE TABLE IF NOT EXISTS psync.migration (name text PRIMARY KEY, step int,"
        " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp());"
        "COMMIT";
    m->has_table = true;
    return store_script(m->store, make, err);
}

static int newest_known(void)
{
    int newest = 0;
    for (const struct embedded *f = embedded_files; f->path != NULL; f++) {
        if (is_step(f)) {
            newest = (int)strtol(f->path + 4, NULL, 10);
        }
    }
    return newest;
}

static int newer_check(struct migration *m, struct err *err)
{
    if (!m->has_table) {
        return 0;
    }
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(m->store, "SELECT coalesce(max(step), 0) FROM psync.migration", NULL, &r,
                    err) < 0) {
        return -1;
    }
    m->newer = rows_int(r, 0, 0) > newest_known();
    if (m->newer) {
        said(m, "the database has step %s, this program knows %d: nothing to do",
             rows_text(r, 0, 0), newest_known());
    }
    return 0;
}

static const char *const severities[] = {
    [SEVERITY_ERROR] = "error", [SEVERITY_WARNING] = "warning", [SEVERITY_SKIPPED] = "skipped"};
static const char *const retries[] = {[RETRY_AUTO] = "auto",
                                      [RETRY_AFTER_FIX] = "after_fix",
                                      [RETRY_MANUAL] = "manual",
                                      [RETRY_NEVER] = "never"};
static const char *const pauses[] = {
    [PAUSES_NOTHING] = "nothing", [PAUSES_FIELD] = "field",
    [PAUSES_RECORD] = "record",   [PAUSES_CHANNEL] = "channel",
    [PAUSES_ACCOUNT] = "account", [PAUSES_CONNECTION] = "connection"};
static const char *const banners[] = {[BANNER_NONE] = "",
                                      [BANNER_REAUTHORIZE] = "reauthorize",
                                      [BANNER_DISCONNECTED] = "disconnected"};

enum { ERROR_COLUMNS = 11 };

static const char *error_column(const struct error_info *e, int column)
{
    const char *const values[ERROR_COLUMNS] = {
        e->code,           e->family,         e->title,          e->provider_signal,
        e->meaning,        e->user_action,    e->who_acts,       severities[e->severity],
        retries[e->retry], pauses[e->pauses], banners[e->banner]};
    return values[column];
}

/* Rows that say the same already are left alone, so that a second run writes nothing. */
static int error_types_fill(struct migration *m, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    for (int column = 0; column < ERROR_COLUMNS; column++) {
        params_array_begin(p, ARRAY_TEXT);
        for (int t = ET_NONE + 1; t < ET_COUNT; t++) {
            const char *text = error_column(error_info((enum error_type)t), column);
            params_array_text(p, text, strlen(text));
        }
        params_array_end(p);
    }
    return store_query(
        m->store,
        "INSERT INTO psync.error_type AS e SELECT * FROM unnest($1::text[], $2::text[],"
        "  $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],"
        "  $10::text[], $11::text[])"
        " ON CONFLICT (code) DO UPDATE SET family = excluded.family, title = excluded.title,"
        "  provider_signal = excluded.provider_signal, meaning = excluded.meaning,"
        "  user_action = excluded.user_action, who_acts = excluded.who_acts,"
        "  severity = excluded.severity, retry = excluded.retry, pauses = excluded.pauses,"
        "  banner = excluded.banner"
        " WHERE e IS DISTINCT FROM excluded",
        p, NULL, err);
}

static int partitions_make(struct migration *m, struct err *err)
{
    struct store_tx *tx = store_begin(m->store, err);
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (tx == NULL) {
        return -1;
    }
    if (store_send(tx, LOCK_SQL, NULL, NULL, err) < 0 ||
        store_send(tx, "SELECT psync.make_partitions()", NULL, &r, err) < 0) {
        store_abort(tx);
        return -1;
    }
    if (store_commit(tx, err) < 0) {
        return -1;
    }
    if (rows_int(r, 0, 0) > 0) {
        said(m, "made %s partitions", rows_text(r, 0, 0));
    }
    return 0;
}

static int files_apply(struct migration *m, struct err *err)
{
    for (const struct embedded *f = embedded_files; f->path != NULL; f++) {
        if (is_step(f) && file_in_transaction(m, f, err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < COUNT_OF(described); i++) {
        for (const struct embedded *f = embedded_files; f->path != NULL; f++) {
            if (matches(described[i], f->path) && file_in_transaction(m, f, err) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

int migrate_run(struct store *s, bool dry_run, migrate_say *say, void *say_arg, struct err *err)
{
    struct migration m = {.store = s, .dry_run = dry_run, .say = say, .say_arg = say_arg};
    if (table_ensure(&m, err) < 0 || newer_check(&m, err) < 0) {
        return -1;
    }
    if (m.newer) {
        return 0;
    }
    if (files_apply(&m, err) < 0) {
        return -1;
    }
    if (!dry_run && (error_types_fill(&m, err) < 0 || partitions_make(&m, err) < 0)) {
        return -1;
    }
    if (!m.changed) {
        said(&m, "nothing to do");
    }
    return 0;
}

int migrate_is_current(struct store *s, struct err *err)
{
    struct migration m = {.store = s, .dry_run = true};
    if (table_ensure(&m, err) < 0) {
        return -1;
    }
    if (!m.has_table) {
        return 0;
    }
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(s, "SELECT coalesce(max(step), 0) FROM psync.migration", NULL, &r, err) <
        0) {
        return -1;
    }
    return rows_int(r, 0, 0) >= newest_known();
}
