/* LD_PRELOAD: names that resolve as a test wants, for programs that ask getaddrinfo.
 *
 *     PSYNC_TEST_NAMES="api.example=127.0.0.1 other.example=203.0.113.9"
 *
 * Every other name goes to the resolver of the system. */
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static const char *address_of(const char *name, char *out, size_t out_bytes)
{
    const char *at = getenv("PSYNC_TEST_NAMES");
    size_t len = name != NULL ? strlen(name) : 0;
    while (len > 0 && at != NULL && *at != '\0') {
        size_t entry = strcspn(at, " ");
        if (entry > len && entry - len <= out_bytes && memcmp(at, name, len) == 0 &&
            at[len] == '=') {
            memcpy(out, at + len + 1, entry - len - 1);
            out[entry - len - 1] = '\0';
            return out;
        }
        at += entry + (at[entry] == ' ');
    }
    return name;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    char address[64];
    void *found = dlsym(RTLD_NEXT, "getaddrinfo");
    resolver *real = NULL;
    memcpy(&real, &found, sizeof real); /* ISO C has no cast from void * to a function */
    return real(address_of(name, address, sizeof address), service, hints, out);
}
