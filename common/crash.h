/* Places at which tests kill a program. A test names a folder in PIVOTAL_SYNC_TEST_CRASH_DIR
 * and puts a file there with a point's name; the next process that passes the point takes the
 * file away and kills itself with SIGKILL. Without the variable, which no setting, file or flag
 * can set, a point is one getenv(). */
#ifndef COMMON_CRASH_H
#define COMMON_CRASH_H

#include <stdint.h>

/** A point at which tests do something else than kill: the file is taken away, and the number
 * in it returned; -1 when there is no file. */
int64_t crash_number(const char *name);
/** A labelled point, "save.committed": static text, also the name of the file. */
void crash_point(const char *name);

#endif
