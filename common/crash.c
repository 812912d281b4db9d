#include "common/crash.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* False when no test names a folder. */
static bool crash_path(const char *name, char *path, size_t path_bytes)
{
    const char *dir = getenv("PIVOTAL_SYNC_TEST_CRASH_DIR");
    if (dir == NULL || dir[0] == '\0') {
        return false;
    }
    (void)snprintf(path, path_bytes, "%s/%s", dir, name);
    return true;
}

void crash_point(const char *name)
{
    char path[1024];
    if (crash_path(name, path, sizeof path) && unlink(path) == 0) {
        (void)kill(getpid(), SIGKILL);
    }
}

int64_t crash_number(const char *name)
{
    char path[1024], text[32] = "";
    FILE *f = crash_path(name, path, sizeof path) ? fopen(path, "re") : NULL;
    if (f == NULL) {
        return -1;
    }
    (void)!fgets(text, sizeof text, f);
    (void)fclose(f);
    /* Of several that saw it, one takes it. */
    return unlink(path) == 0 ? strtoll(text, NULL, 10) : -1;
}
