/* Memory that only the start of a program needed. */
#ifndef COMMON_TRIM_H
#define COMMON_TRIM_H

/** Let go of code and read-only data that was touched so far, and of free heap. What is needed
 * again comes back from the page cache by itself. Call once, when the program is up. */
void trim_after_start(void);

#endif
