/* Places at which tests kill a program. A test names a folder in PIVOTAL_SYNC_TEST_CRASH_DIR
 * and puts a file there with a point's name; the next process that passes the point takes the
 * file away and kills itself with SIGKILL. Without the variable, which no setting, file or flag
 * can set, a point is one getenv(). */
#ifndef COMMON_CRASH_H
#define COMMON_CRASH_H

/** A labelled point, "save.committed": static text, also the name of the file. */
void crash_point(const char *name);

#endif
