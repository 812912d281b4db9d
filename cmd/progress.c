/* Following a run: a bar on a terminal, a line each ten seconds elsewhere. The run belongs to
 * the workers: Ctrl-C stops only the watching. */
#include "cmd/cmd.h"

#include "common/clock.h"
#include "common/task.h"
#include "core/run.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    POLL_MS = 250,
    PLAIN_LINE_MS = 10000,
    RATE_WINDOW = 32,
    BAR_CELLS = 20,
    ETA_AFTER_MS = 5000
};

struct progress {
    bool terminal, quiet;
    int64_t started_ms, last_line_ms;
    struct {
        int64_t at_ms, seen;
    } samples[RATE_WINDOW];
    int sample_count;
};

static double progress_rate(struct progress *p, int64_t seen)
{
    int64_t now_ms = clock_mono_ms();
    int slot = p->sample_count++ % RATE_WINDOW;
    p->samples[slot].at_ms = now_ms;
    p->samples[slot].seen = seen;
    int oldest = p->sample_count > RATE_WINDOW ? p->sample_count % RATE_WINDOW : 0;
    int64_t span_ms = now_ms - p->samples[oldest].at_ms;
    return span_ms > 0 ? (double)(seen - p->samples[oldest].seen) * 1000.0 / (double)span_ms
                       : 0.0;
}

static void progress_line(struct progress *p, const struct run_info *r, char *out,
                          size_t out_bytes)
{
    char bar[BAR_CELLS + 1], eta[48] = "";
    double rate = progress_rate(p, r->seen);
    int n = 0;
    if (r->expected > 0 && r->seen <= r->expected) {
        int full = (int)(r->seen * BAR_CELLS / r->expected);
        for (int i = 0; i < BAR_CELLS; i++) {
            bar[i] = i < full ? '#' : '-';
        }
        bar[BAR_CELLS] = '\0';
        int64_t left_s = rate > 0.0 ? (int64_t)((double)(r->expected - r->seen) / rate) + 1 : 0;
        if (left_s > 0 && clock_mono_ms() - p->started_ms > ETA_AFTER_MS) {
            snprintf(eta, sizeof eta, "  ETA %lld:%02lld", (long long)(left_s / 60),
                     (long long)(left_s % 60));
        }
        n = snprintf(out, out_bytes, "%s  [%s]  %lld/%lld  %lld %%", r->object, bar,
                     (long long)r->seen, (long long)r->expected,
                     (long long)(r->seen * 100 / r->expected));
    } else {
        n = snprintf(out, out_bytes, "%s  %lld records", r->object, (long long)r->seen);
    }
    if (n > 0 && (size_t)n < out_bytes) {
        snprintf(out + n, out_bytes - (size_t)n, "  %.0f/s%s  %lld failed", rate, eta,
                 (long long)r->failed);
    }
}

static void progress_show(struct progress *p, const struct run_info *r)
{
    char line[256];
    int64_t now_ms = clock_mono_ms();
    progress_line(p, r, line, sizeof line);
    if (p->quiet) {
        return;
    }
    if (p->terminal) {
        int width = 0, lines = 0;
        output_size(STDERR_FILENO, &width, &lines); /* it may have changed */
        /* Shorter than the line, so that none is wrapped and left behind. */
        fprintf(stderr, "\r\033[K%.*s", width > 1 ? width - 1 : 1, line);
        fflush(stderr);
    } else if (now_ms - p->last_line_ms >= PLAIN_LINE_MS) {
        p->last_line_ms = now_ms;
        fprintf(stderr, "%s\n", line);
    }
}

static int progress_end(struct cmd *c, const struct progress *p, const struct run_info *r)
{
    int64_t took_s =
        (r->finished_at_ms - (r->started_at_ms > 0 ? r->started_at_ms : r->queued_at_ms)) /
        1000;
    if (p->terminal && !p->quiet) {
        fprintf(stderr, "\r\033[K");
    }
    if (!p->quiet) {
        say("%s in %lld:%02lld. %lld ok (%lld new, %lld updated, %lld unchanged, %lld "
            "skipped), "
            "%lld failed, %lld archived.",
            strcmp(r->status, "succeeded") == 0   ? "Done"
            : strcmp(r->status, "partial") == 0   ? "Done in part"
            : strcmp(r->status, "cancelled") == 0 ? "Cancelled"
                                                  : "Failed",
            (long long)(took_s / 60), (long long)(took_s % 60),
            (long long)(r->seen - r->failed), (long long)r->created, (long long)r->updated,
            (long long)r->unchanged, (long long)r->skipped, (long long)r->failed,
            (long long)r->archived);
        if (r->error_message[0] != '\0') {
            say("%s: %s", r->error_code, r->error_message);
        }
        if (r->failed > 0 || r->chunks_failed > 0) {
            say("Next: pivotal-sync log --run %lld --errors-only", (long long)r->run_id);
        }
    }
    if (c->form == OUT_JSON) {
        printf("{\"run_id\":%lld,\"status\":\"%s\",\"seen\":%lld,\"failed\":%lld}\n",
               (long long)r->run_id, r->status, (long long)r->seen, (long long)r->failed);
    }
    return strcmp(r->status, "succeeded") == 0 ? EXIT_OK
           : strcmp(r->status, "partial") == 0 ? EXIT_RECORD_ERRORS
                                               : EXIT_FAILED;
}

int progress_run(struct cmd *c, int64_t run_id, int64_t timeout_ms, struct err *err)
{
    struct progress p = {.terminal = output_is_terminal(STDERR_FILENO),
                         .quiet = cmd_has(c, "quiet"),
                         .started_ms = clock_mono_ms()};
    p.last_line_ms = p.started_ms;
    cmd_on_interrupt("Run %lld goes on: pivotal-sync run show %lld --wait", (long long)run_id,
                     (long long)run_id);
    for (;;) {
        struct run_info r;
        if (run_load(c->app->store, run_id, &r, err) != 0) {
            if (err->code != ERR_UNAVAILABLE || clock_mono_ms() - p.started_ms > timeout_ms) {
                return -1;
            }
            err_clear(err); /* PostgreSQL restarts; the run goes on after it */
            task_sleep_ms(1000);
            continue;
        }
        if (run_ended(&r)) {
            return progress_end(c, &p, &r);
        }
        if (clock_mono_ms() - p.started_ms > timeout_ms) {
            err_set(err, ERR_TIMEOUT, "run %lld goes on: pivotal-sync run list",
                    (long long)run_id);
            return -1;
        }
        progress_show(&p, &r);
        task_sleep_ms(POLL_MS);
    }
}
