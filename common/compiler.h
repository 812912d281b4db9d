/* Attributes and the few macros that every file may use. */
#ifndef COMMON_COMPILER_H
#define COMMON_COMPILER_H

#define MUST_USE          __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define UNUSED            __attribute__((unused))
/* CLEANUP(x_freep) struct x *x = ...; frees at the end of the scope. For our own types only. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* Around one function that gcc's analyzer misjudges, the reason beside it:
 * ANALYZER_OFF("-Wanalyzer-malloc-leak") ... ANALYZER_ON. No other compiler sees anything. */
#define COMPILER_PRAGMA(p) _Pragma(#p)
#if defined(__GNUC__) && !defined(__clang__)
#define ANALYZER_OFF(warning)                                                                  \
    COMPILER_PRAGMA(GCC diagnostic push) COMPILER_PRAGMA(GCC diagnostic ignored warning)
#define ANALYZER_ON COMPILER_PRAGMA(GCC diagnostic pop)
#else
#define ANALYZER_OFF(warning)
#define ANALYZER_ON
#endif

#include "common/banned.h" // IWYU pragma: export

#endif
