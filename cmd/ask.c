/* Asking a person, which happens only at a terminal. */
#include "cmd/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

bool cmd_can_ask(const struct cmd *c)
{
    return !cmd_has(c, "no-input") && isatty(STDIN_FILENO) != 0 && isatty(STDERR_FILENO) != 0;
}

static bool answer(char *out, int out_bytes)
{
    if (fgets(out, out_bytes, stdin) == NULL) {
        fputc('\n', stderr);
        return false;
    }
    out[strcspn(out, "\r\n")] = '\0';
    return true;
}

bool cmd_confirm(const struct cmd *c, const char *fmt, ...)
{
    char text[128];
    va_list ap;
    if (cmd_has(c, "yes") || !cmd_can_ask(c)) {
        return cmd_has(c, "yes");
    }
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs(" [y/N] ", stderr);
    return answer(text, sizeof text) &&
           (strcasecmp(text, "y") == 0 || strcasecmp(text, "yes") == 0);
}

bool cmd_confirm_word(const struct cmd *c, const char *word, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    const char *given = cmd_option(c, "confirm");
    if (given != NULL) {
        return strcmp(given, word) == 0;
    }
    if (cmd_has(c, "yes") || !cmd_can_ask(c)) {
        return cmd_has(c, "yes");
    }
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nType %s to go on: ", word);
    return answer(text, sizeof text) && strcmp(text, word) == 0;
}
