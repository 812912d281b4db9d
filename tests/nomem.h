/* Memory that runs out at each allocation in turn, for tests: include it in one file, which
 * thereby replaces the allocator of the whole program, as glibc allows.
 *
 * Only allocations made from our own code and from the libraries named below fail, on the
 * thread of main(). Not those of libuv, libcrypto and hiredis 0.14, which end the program where
 * they have no memory (a supervisor starts it again, and nothing is lost); nor of curl 7.88,
 * which forgets the transfer or divides by zero; nor those that the C library makes for itself
 * (getaddrinfo, printf): nobody can answer for them. Under a
 * sanitizer, which has its own allocator, nothing fails. */
#ifndef TESTS_NOMEM_H
#define TESTS_NOMEM_H

#include "common/compiler.h"
#include "tests/unit/test.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                           \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NOMEM_WRAPPED 0
#else
#define NOMEM_WRAPPED 1
#endif

/* Beside the program itself. */
static const char *const nomem_failing[] = {"libjansson", "libpq.so", "libmicrohttpd"};

/* Volatile, because the compiler knows that malloc() looks at no variable of ours. */
static volatile long nomem_fails_at;         /* the n-th allocation from now fails; 0: none */
static volatile long nomem_live;             /* allocations not yet freed */
static const void *volatile nomem_failed_in; /* where the last one was that failed */
static _Thread_local bool nomem_here;        /* only the thread of main() */
static struct nomem_range {
    uintptr_t from, to;
} nomem_ranges[16];
static int nomem_range_count;

/* /proc/self/maps: <link.h> would bring <elf.h>, whose ET_NONE is one of our error types. */
static inline void nomem_see(const char *line, const char *self)
{
    unsigned long from = 0, to = 0;
    char access[8] = "", path[512] = "";
    if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %511s", &from, &to, access, path) != 4 ||
        access[2] != 'x') {
        return;
    }
    const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    bool wanted = strcmp(path, self) == 0;
    for (size_t i = 0; i < COUNT_OF(nomem_failing); i++) {
        wanted = wanted || strncmp(name, nomem_failing[i], strlen(nomem_failing[i])) == 0;
    }
    if (wanted && nomem_range_count < (int)COUNT_OF(nomem_ranges)) {
        nomem_ranges[nomem_range_count++] = (struct nomem_range){from, to};
    }
}

/** Before the first test. */
static inline void nomem_begin(void)
{
    char line[1024], self[512] = "";
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    while (fgets(line, sizeof line, maps) != NULL) {
        nomem_see(line, self);
    }
    (void)fclose(maps);
    nomem_here = true;
}

static inline bool nomem_fails(const void *caller)
{
    bool counts = false;
    if (nomem_fails_at <= 0 || !nomem_here) {
        return false;
    }
    for (int i = 0; i < nomem_range_count && !counts; i++) {
        counts =
            (uintptr_t)caller >= nomem_ranges[i].from && (uintptr_t)caller < nomem_ranges[i].to;
    }
    if (!counts || --nomem_fails_at != 0) {
        return false;
    }
    nomem_failed_in = caller;
    errno = ENOMEM;
    return true;
}

#if NOMEM_WRAPPED
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t m);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

void *malloc(size_t n)
{
    void *p = nomem_fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
    __atomic_add_fetch(&nomem_live, p != NULL, __ATOMIC_RELAXED);
    return p;
}

void *calloc(size_t n, size_t m)
{
    void *p = nomem_fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, m);
    __atomic_add_fetch(&nomem_live, p != NULL, __ATOMIC_RELAXED);
    return p;
}

void *realloc(void *old, size_t n)
{
    void *p = nomem_fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, n);
    __atomic_add_fetch(&nomem_live, p != NULL && old == NULL, __ATOMIC_RELAXED);
    return p;
}

void free(void *p)
{
    __atomic_sub_fetch(&nomem_live, p != NULL, __ATOMIC_RELAXED);
    __libc_free(p);
}

/* By name, since the C library's own would be its allocation and not its caller's. */
static inline char *nomem_copy(const char *text, size_t len, const void *caller)
{
    char *p = nomem_fails(caller) ? NULL : __libc_malloc(len + 1);
    __atomic_add_fetch(&nomem_live, p != NULL, __ATOMIC_RELAXED);
    if (p != NULL) {
        memcpy(p, text, len);
        p[len] = '\0';
    }
    return p;
}

char *strdup(const char *text)
{
    return nomem_copy(text, strlen(text), __builtin_return_address(0));
}

char *strndup(const char *text, size_t max)
{
    return nomem_copy(text, strnlen(text, max), __builtin_return_address(0));
}
#endif

/** What a test prepares or looks at does not count: between these two nothing fails. */
static inline long nomem_pause(void)
{
    long kept = nomem_fails_at;
    nomem_fails_at = 0;
    return kept;
}

static inline void nomem_go_on(long kept)
{
    nomem_fails_at = kept;
}

/** Where the last one failed, as addr2line wants it. */
static inline void nomem_tell(void)
{
    Dl_info at = {0};
    const void *where = nomem_failed_in;
    if (where != NULL && dladdr(where, &at) != 0) {
        print_message("# the allocation that failed: %s +%#lx\n", at.dli_fname,
                      (unsigned long)((uintptr_t)where - (uintptr_t)at.dli_fbase));
    }
}

/* What a run over all n came to. */
struct nomem_count {
    long passes; /* with a failure in them */
    long all;    /* allocations of a pass that can fail */
};

/**
 * Run fn with the n-th allocation failing, n = 1, 2, ..., until it passes without meeting one;
 * with most > 0 only about so many n, evenly spread. Each pass leaves as much allocated as it
 * found; what is made once and kept is told from a leak by running the same n again.
 */
static inline struct nomem_count nomem_until_it_passes(bool (*fn)(void), long most)
{
    struct nomem_count c = {0, 0};
    assert_true(fn());
    nomem_fails_at = LONG_MAX;
    assert_true(fn());
    c.all = LONG_MAX - nomem_fails_at;
    nomem_fails_at = 0;
    long step = most > 0 && c.all > most ? c.all / most : 1;
    for (long n = 1; NOMEM_WRAPPED; n += step) {
        long left[2] = {0, 0};
        bool ok = false, failed = false;
        for (int again = 0; again < 2 && (again == 0 || left[0] != 0); again++) {
            long before = nomem_live;
            nomem_fails_at = n;
            ok = fn();
            failed = nomem_fails_at == 0;
            nomem_fails_at = 0;
            left[again] = nomem_live - before;
        }
        if (left[0] != 0 && left[1] != 0) {
            nomem_tell();
            fail_msg("allocation %ld: %ld left, then %ld", n, left[0], left[1]);
        }
        if (!failed) {
            assert_true(ok);
            break;
        }
        c.passes++;
        assert_true(n < 1000000);
    }
    return c;
}

#endif
