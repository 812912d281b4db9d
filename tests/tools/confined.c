/* confined CALLS PROGRAM [ARGUMENT...]: run a program as systemd does with SystemCallFilter: it
 * may make the system calls named in the file CALLS, one a line, and open sockets of
 * RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6. Any other kills it, so that a test sees
 * what a unit would only refuse (EPERM).
 *
 * libseccomp is there wherever systemd is, but its headers are not: opened by name. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ALLOW = 0x7fff0000, EQUAL = 4 };
static const uint32_t kill_process = 0x80000000U;
struct compare {
    unsigned int argument;
    int how;
    uint64_t a, b;
};

static struct {
    void *(*init)(uint32_t otherwise);
    int (*number)(const char *name);
    int (*add)(void *filter, uint32_t action, int number, unsigned int count, ...);
    int (*load)(const void *filter);
} seccomp;

static void find(void *library, const char *name, void *out)
{
    void *found = library != NULL ? dlsym(library, name) : NULL;
    if (found == NULL) {
        (void)fprintf(stderr, "confined: no %s in libseccomp.so.2\n", name);
        exit(126);
    }
    memcpy(out, &found, sizeof found); /* ISO C has no cast from void * to a function */
}

static void allow(void *filter, const char *name)
{
    static const uint64_t families[] = {AF_UNIX, AF_INET, AF_INET6};
    int number = seccomp.number(name);
    if (number < 0) {
        return; /* of another architecture */
    }
    if (strcmp(name, "socket") != 0) {
        (void)seccomp.add(filter, ALLOW, number, 0);
        return;
    }
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        const struct compare family = {0, EQUAL, families[i], 0};
        (void)seccomp.add(filter, ALLOW, number, 1, family);
    }
}

int main(int argc, char **argv)
{
    void *library = dlopen("libseccomp.so.2", RTLD_NOW);
    FILE *calls = argc > 2 ? fopen(argv[1], "re") : NULL;
    char name[64];
    if (calls == NULL) {
        (void)fprintf(stderr, "usage: confined CALLS PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    find(library, "seccomp_init", &seccomp.init);
    find(library, "seccomp_syscall_resolve_name", &seccomp.number);
    find(library, "seccomp_rule_add", &seccomp.add);
    find(library, "seccomp_load", &seccomp.load);
    void *filter = seccomp.init(kill_process);
    while (filter != NULL && fgets(name, sizeof name, calls) != NULL) {
        name[strcspn(name, "\n")] = '\0';
        allow(filter, name);
    }
    (void)fclose(calls);
    if (filter == NULL || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        seccomp.load(filter) != 0) {
        (void)fprintf(stderr, "confined: the kernel takes no filter\n");
        return 126;
    }
    (void)execvp(argv[2], argv + 2);
    return 127;
}
