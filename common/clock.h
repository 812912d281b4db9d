/* Clocks. Wall time is for people and for signatures; deadlines use monotonic time only. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/** Milliseconds since 1970, UTC. */
int64_t clock_now_ms(void);
/** Milliseconds of a clock that only goes forward. */
int64_t clock_mono_ms(void);
/** Microseconds of the same clock. */
int64_t clock_mono_us(void);

enum { CLOCK_TEXT_BYTES = 32 };
/** RFC 3339 with milliseconds in UTC: "2026-11-23T12:00:00.000Z". Returns out. */
char *clock_text(int64_t at_ms, char out[CLOCK_TEXT_BYTES]);
/** Read such a text (any fraction, Z or an offset); -1 when it is none. */
int clock_parse(const char *text, int64_t *at_ms);

#endif
