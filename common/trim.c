/* The libraries under us (libcrypto, libgnutls, libpq with Kerberos and LDAP) run through some
 * 5 MB of code while they initialise and never again. Those pages stay mapped until the machine
 * is short of memory; for a small daemon they are half of what it seems to use.
 *
 * Only mappings without a single private page are touched ("Anonymous: 0 kB"): dropping those
 * loses nothing, while relocated data, although read-only by then, exists nowhere else. */
#include "common/trim.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct mapping {
    unsigned long from, to;
    bool droppable; /* a file's, not writable */
};

/* "from-to rwxp offset device inode path"; false for any other line. */
static bool mapping_parse(const char *line, struct mapping *out)
{
    char *end = NULL;
    out->from = strtoul(line, &end, 16);
    if (end == line || *end != '-') {
        return false;
    }
    out->to = strtoul(end + 1, &end, 16);
    if (end[0] != ' ' || strlen(end) < sizeof " rwxp") {
        return false;
    }
    out->droppable = end[2] != 'w' && strchr(end, '/') != NULL;
    return true;
}

void trim_after_start(void)
{
    char line[512];
    struct mapping m = {0};
    FILE *f = fopen("/proc/self/smaps", "re");
    (void)malloc_trim(0);
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        static const char anonymous[] = "Anonymous:";
        struct mapping next;
        if (mapping_parse(line, &next)) {
            m = next;
        } else if (m.droppable && strncmp(line, anonymous, sizeof anonymous - 1) == 0 &&
                   strtoul(line + sizeof anonymous - 1, NULL, 10) == 0) {
            /* An address out of a text file: there is no other way to make it a pointer. */
            void *from = (void *)m.from; // NOLINT(performance-no-int-to-ptr)
            (void)madvise(from, m.to - m.from, MADV_DONTNEED);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
}
