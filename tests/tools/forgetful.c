/* LD_PRELOAD: a disk that remembers only what was fsynced, for Redis' append-only files.
 *
 * Nothing is really lost: each fsync notes, in FORGETFUL_DIR/<inode>, how long the file was
 * when it began. After the process is killed a test cuts every file to that length, as a power
 * cut would. The fsync takes a few milliseconds, like that of a disk, so that a kill hits it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DISK_US = 5000 };

static int remember(int fd)
{
    struct stat st;
    char path[512];
    char text[32];
    const char *folder = getenv("FORGETFUL_DIR");
    if (folder == NULL || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return 0;
    }
    (void)usleep(DISK_US); /* what the disk takes: a kill in between loses this fsync */
    (void)snprintf(path, sizeof path, "%s/%llu", folder, (unsigned long long)st.st_ino);
    int note = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int len = snprintf(text, sizeof text, "%-20lld\n", (long long)st.st_size);
    int rc = note >= 0 && pwrite(note, text, (size_t)len, 0) == len ? 0 : -1;
    (void)close(note);
    return rc;
}

int fsync(int fd)
{
    return remember(fd);
}

int fdatasync(int fd)
{
    return remember(fd);
}
