/* Files that travel inside the programs: Lua scripts, SQL steps. The table is made by
 * embed.sh at build time, sorted by path, and ends with a row whose path is NULL. */
#ifndef COMMON_EMBEDDED_H
#define COMMON_EMBEDDED_H

struct embedded {
    const char *path;  /* as in the source tree: "sql/001_schema.sql" */
    const char *bytes; /* followed by a NUL that *end points at */
    const char *end;
};

extern const struct embedded embedded_files[];

#endif
