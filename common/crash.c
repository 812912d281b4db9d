#include "common/crash.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void crash_point(const char *name)
{
    const char *dir = getenv("PIVOTAL_SYNC_TEST_CRASH_DIR");
    char path[1024];
    if (dir == NULL || dir[0] == '\0') {
        return;
    }
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (unlink(path) == 0) {
        (void)kill(getpid(), SIGKILL);
    }
}
