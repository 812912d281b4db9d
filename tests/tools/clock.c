/* LD_PRELOAD: a wall clock that is wrong. What the file CLOCK_OFFSET_FILE says, in seconds, is
 * added to what the program reads, so that a test sets and steps it while the program runs. The
 * monotonic clock stays true, as it does where a machine's clock is set. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *at)
{
    const char *path = getenv("CLOCK_OFFSET_FILE");
    char text[32] = "";
    int rc = (int)syscall(SYS_clock_gettime, id, at);
    int fd = id == CLOCK_REALTIME && path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        at->tv_sec += read(fd, text, sizeof text - 1) > 0 ? atol(text) : 0;
        (void)close(fd);
    }
    return rc;
}
