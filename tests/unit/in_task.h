/* For tests whose checks run inside a task.
 *
 * cmocka leaves a failed test by longjmp(), here from the stack of the task to that of main():
 * the task is never told that it ended, so it stays the running one, and under ASan the frames
 * that main() had meanwhile stay marked. What a test after that one would report is untrue
 * ("stack-buffer-overflow" in whatever comes first), so there is none. */
#ifndef TESTS_UNIT_IN_TASK_H
#define TESTS_UNIT_IN_TASK_H

#include "common/task.h"

#include <unistd.h>

/** Before a test starts a task: ends the program when an earlier one failed inside its own. */
static inline void in_task_check(void)
{
    static const char why[] = "Bail out! the test before this one failed inside its task\n";
    if (task_inside()) {
        (void)!write(STDOUT_FILENO, why, sizeof why - 1);
        _exit(1);
    }
}

#endif
