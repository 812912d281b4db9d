/* --watch: the same picture again and again. On a terminal it is drawn in place, cut to the
 * terminal's size and anew when that changes; elsewhere it is one more text. */
#include "cmd/watch.h"

#include "common/clock.h"
#include "common/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct watch {
    uv_signal_t *resized;
    struct wake *waiting;
    bool drawn;
};

static void on_resize(uv_signal_t *handle, int signal_no)
{
    struct watch *w = handle->data;
    (void)signal_no;
    if (w->waiting != NULL) {
        wake_fire(w->waiting);
    }
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

/* One line of at most width columns; colours take no room. */
static void draw_line(const char *text, size_t len, int width)
{
    int at = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\033') {
            size_t n = strcspn(text + i, "m");
            printf("%.*s", (int)n + 1, text + i);
            i += n;
        } else if (((unsigned char)text[i] & 0xC0) == 0x80) {
            putchar(at <= width ? text[i] : ' ');
        } else if (++at <= width) {
            putchar(text[i]);
        } else {
            break;
        }
    }
    fputs("\033[0m\033[K\n", stdout);
}

static void draw(struct watch *w, const char *text)
{
    int width = 0, room = 0, line = 0;
    output_size(STDOUT_FILENO, &width, &room);
    fputs(w->drawn ? "\033[H" : "\033[?25l\033[H\033[2J", stdout);
    w->drawn = true;
    while (*text != '\0' && line < room - 2) {
        size_t n = strcspn(text, "\n");
        draw_line(text, n, width);
        text += n + (text[n] == '\n');
        line++;
    }
    if (*text != '\0') {
        fputs("... more than fits; a higher terminal shows it\033[K\n", stdout);
    }
    fputs("\033[J", stdout);
    fflush(stdout);
}

static int watch_step(struct cmd *c, struct watch *w, watch_fn *fn, bool terminal,
                      struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    int rc = fn(c, out, err);
    if (fclose(out) != 0 || text == NULL) {
        rc = -1;
    }
    if (rc != 0 && err->code == ERR_UNAVAILABLE && text != NULL) {
        say("%s; trying again", err->msg); /* it comes back, and so does the picture */
        err_clear(err);
        rc = 0;
    } else if (rc == 0 && terminal) {
        draw(w, text);
    } else if (rc == 0) {
        fputs(text, stdout);
        fflush(stdout);
    }
    free(text);
    return rc;
}

int watch_run(struct cmd *c, int64_t interval_ms, watch_fn *fn, struct err *err)
{
    bool terminal = output_is_terminal(STDOUT_FILENO) && c->form == OUT_TABLE;
    struct watch w = {.resized = calloc(1, sizeof *w.resized)};
    int rc = 0;
    if (w.resized == NULL || uv_signal_init(task_loop(), w.resized) != 0) {
        free(w.resized);
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    w.resized->data = &w;
    (void)uv_signal_start(w.resized, on_resize, SIGWINCH);
    uv_unref((uv_handle_t *)w.resized);
    cmd_on_interrupt("%s", "");
    while (rc == 0) {
        struct wake wake = {0};
        struct err waited = {0};
        rc = watch_step(c, &w, fn, terminal, err);
        if (rc == 0) {
            w.waiting = &wake;
            (void)!wake_wait(&wake, clock_mono_ms() + interval_ms, &waited);
            w.waiting = NULL;
        }
    }
    if (terminal) {
        fputs("\033[?25h", stdout);
    }
    uv_close((uv_handle_t *)w.resized, on_closed);
    return rc;
}
