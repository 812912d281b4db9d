/* Brings the database to what this program was built with.
 *
 * Numbered steps (sql/NNN_*.sql) run once, each in a transaction of its own, and never change
 * afterwards; what only describes (views, typed views, grants) is applied anew whenever its
 * text changed. Everything happens under one advisory lock, so any number of migrations at
 * once do the work once. */
#ifndef CORE_MIGRATE_H
#define CORE_MIGRATE_H

#include "common/err.h"
#include "common/store.h"

#include <stdbool.h>

/** Told each thing done (or, in a dry run, that would be done), one line without newline.
 * Statements that somebody with more rights has to run come line by line too. */
typedef void migrate_say(void *arg, const char *line);

enum { MIGRATE_STATEMENT_TIMEOUT_MS = 15 * 60 * 1000 }; /* for the store that is given */

/**
 * Migrate. s belongs to the owner's login (MIGRATE_DATABASE_URL); give it
 * MIGRATE_STATEMENT_TIMEOUT_MS. Without CREATEROLE the statements of sql/roles.sql are said
 * and the rest goes on. A database that is newer than this program is left alone.
 *
 * Returns 0, or -1 with err set:
 *   ERR_CONFLICT  an applied step's text has changed
 *   ERR_INTERNAL  a statement of a step failed; the message names the step
 *   else as store.h says
 */
int migrate_run(struct store *s, bool dry_run, migrate_say *say, void *say_arg, struct err *err)
    MUST_USE;

/** Does the database have every step of this program? 1 yes, 0 no (or none at all), -1 err. */
int migrate_is_current(struct store *s, struct err *err) MUST_USE;

#endif
