/* A series is found by its label values once and then counted by pointer; the text is made only
 * when somebody asks. One thread writes and reads, so there are no atomics. */
#include "common/metrics.h"

#include "common/clock.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BUCKETS = 14, HOOKS_MAX = 16, KEY_MAX_BYTES = 256 };

/* OpenTelemetry's advice for durations, in seconds */
static const double bounds[BUCKETS] = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
                                       0.5,   0.75, 1,     2.5,  5,     7.5, 10};

struct metric {
    enum metric_kind kind;
    bool known;   /* a gauge that was never set is left out */
    double value; /* of a histogram the sum */
    uint64_t count;
    uint64_t buckets[BUCKETS]; /* not cumulative */
    struct metric *next;       /* in the order of making */
    size_t key_bytes;
    char key[]; /* rendered labels: provider="stripe",kind="webhook" */
};

struct metric_family {
    enum metric_kind kind;
    const char *name, *labels, *help;
    struct metric *first, **last;
    unsigned series_count;
    struct metric_family *next;
};

struct metrics {
    struct metric_family *first, **last;
    struct {
        metrics_refresh_fn *fn;
        void *arg;
    } hooks[HOOKS_MAX];
    int hook_count;
    int64_t started_at_ms;
};

struct metrics *metrics_new(const char *version, struct err *err)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (m == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for metrics");
        return NULL;
    }
    m->last = &m->first;
    m->started_at_ms = clock_now_ms();
    metric_set(METRIC(metrics_family(m, METRIC_GAUGE, "build_info", "version",
                                     "Always 1; the label tells which build runs."),
                      version),
               1);
    return m;
}

void metrics_free(struct metrics *m)
{
    if (m == NULL) {
        return;
    }
    while (m->first != NULL) {
        struct metric_family *f = m->first;
        m->first = f->next;
        while (f->first != NULL) {
            struct metric *s = f->first;
            f->first = s->next;
            free(s);
        }
        free(f);
    }
    free(m);
}

struct metric_family *metrics_family(struct metrics *m, enum metric_kind kind, const char *name,
                                     const char *labels, const char *help)
{
    if (m == NULL) {
        return NULL;
    }
    for (struct metric_family *f = m->first; f != NULL; f = f->next) {
        if (strcmp(f->name, name) == 0) {
            return f;
        }
    }
    struct metric_family *f = calloc(1, sizeof *f);
    if (f == NULL) {
        return NULL;
    }
    f->kind = kind;
    f->name = name;
    f->labels = labels;
    f->help = help;
    f->last = &f->first;
    *m->last = f;
    m->last = &f->next;
    return f;
}

/* ---- series ---- */

/* As the text format wants it: backslash, quote and newline escaped. */
static void add_label_value(struct buf *out, const char *value)
{
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\\' || *p == '"') {
            (void)buf_add_char(out, '\\');
            (void)buf_add_char(out, *p);
        } else if (*p == '\n') {
            (void)buf_add_str(out, "\\n");
        } else {
            (void)buf_add_char(out, *p);
        }
    }
}

/* Labels and values as they will be printed; values NULL: every one is "other". A value that
 * is not given is empty. */
static void render_key(struct buf *out, const char *labels, const char *const *values)
{
    bool more = values != NULL;
    for (const char *p = labels; *p != '\0';) {
        const char *end = strchrnul(p, ',');
        const char *value = values == NULL ? "other" : "";
        if (more) {
            value = *values == NULL ? "" : *values;
            more = *values != NULL;
            values += more;
        }
        (void)buf_printf(out, "%s%.*s=\"", out->len_bytes > 0 ? "," : "", (int)(end - p), p);
        add_label_value(out, value);
        (void)buf_add_char(out, '"');
        p = *end == ',' ? end + 1 : end;
    }
}

/* A family has a few dozen series at most; a walk along them beats a table that small. */
static struct metric *series_of(struct metric_family *f, const char *key, size_t len_bytes)
{
    struct metric *s = f->first;
    while (s != NULL && (s->key_bytes != len_bytes || memcmp(s->key, key, len_bytes) != 0)) {
        s = s->next;
    }
    return s;
}

static struct metric *add_series(struct metric_family *f, const char *key, size_t len_bytes)
{
    struct metric *s = calloc(1, sizeof *s + len_bytes + 1);
    if (s == NULL) {
        return NULL;
    }
    memcpy(s->key, key, len_bytes);
    s->key_bytes = len_bytes;
    s->kind = f->kind;
    s->known = f->kind != METRIC_GAUGE;
    *f->last = s;
    f->last = &s->next;
    f->series_count++;
    return s;
}

struct metric *metric_with(struct metric_family *f, const char *const *values)
{
    if (f == NULL) {
        return NULL;
    }
    struct buf key;
    buf_init(&key, KEY_MAX_BYTES);
    render_key(&key, f->labels, values);
    struct metric *s = NULL;
    if (!key.failed) {
        s = series_of(f, buf_text(&key), key.len_bytes);
    }
    if (s == NULL && !key.failed && f->series_count < METRICS_SERIES_MAX) {
        s = add_series(f, buf_text(&key), key.len_bytes);
    } else if (s == NULL && values != NULL) {
        buf_clear(&key);
        render_key(&key, f->labels, NULL);
        s = series_of(f, buf_text(&key), key.len_bytes);
        s = s != NULL ? s : add_series(f, buf_text(&key), key.len_bytes);
    }
    buf_release(&key);
    return s;
}

struct metric *metric_plain(struct metric_family *f)
{
    static const char *const none[] = {NULL};
    return metric_with(f, none);
}

void metric_add(struct metric *c, double by)
{
    if (c != NULL) {
        c->value += by;
        c->known = true;
    }
}

void metric_inc(struct metric *c)
{
    metric_add(c, 1);
}

void metric_set(struct metric *g, double value)
{
    if (g != NULL) {
        g->value = value;
        g->known = true;
    }
}

void metric_unset(struct metric *g)
{
    if (g != NULL) {
        g->known = false;
    }
}

void metric_observe(struct metric *h, double seconds)
{
    if (h == NULL) {
        return;
    }
    h->value += seconds;
    h->count++;
    for (int i = 0; i < BUCKETS; i++) {
        if (seconds <= bounds[i]) {
            h->buckets[i]++;
            return;
        }
    }
}

int metrics_on_write(struct metrics *m, metrics_refresh_fn *fn, void *arg)
{
    if (m == NULL || m->hook_count == HOOKS_MAX) {
        return -1;
    }
    m->hooks[m->hook_count].fn = fn;
    m->hooks[m->hook_count++].arg = arg;
    return 0;
}

/* ---- the text ---- */

static void add_number(struct buf *out, double v)
{
    if (isnan(v)) {
        (void)buf_add_str(out, "NaN\n");
    } else if (isinf(v)) {
        (void)buf_add_str(out, v > 0 ? "+Inf\n" : "-Inf\n");
    } else if (v == floor(v) && fabs(v) < 1e15) {
        (void)buf_printf(out, "%.0f\n", v);
    } else {
        (void)buf_printf(out, "%.15g\n", v);
    }
}

static void add_name(struct buf *out, const struct metric_family *f, const char *suffix,
                     const struct metric *s)
{
    (void)buf_printf(out, "pivotal_sync_%s%s", f->name, suffix);
    (void)buf_printf(out, s->key[0] == '\0' ? "%s " : "{%s} ", s->key);
}

static void add_histogram(struct buf *out, const struct metric_family *f,
                          const struct metric *h)
{
    uint64_t sum = 0;
    const char *comma = h->key[0] == '\0' ? "" : ",";
    for (int i = 0; i < BUCKETS; i++) {
        sum += h->buckets[i];
        (void)buf_printf(out, "pivotal_sync_%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", f->name,
                         h->key, comma, bounds[i], sum);
    }
    (void)buf_printf(out, "pivotal_sync_%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", f->name,
                     h->key, comma, h->count);
    add_name(out, f, "_sum", h);
    add_number(out, h->value);
    add_name(out, f, "_count", h);
    (void)buf_printf(out, "%" PRIu64 "\n", h->count);
}

static void add_family(struct buf *out, const struct metric_family *f)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    /* Also of a family without a series yet: who looks for its name finds it. */
    (void)buf_printf(out, "# HELP pivotal_sync_%s %s\n# TYPE pivotal_sync_%s %s\n", f->name,
                     f->help, f->name, kinds[f->kind]);
    for (const struct metric *s = f->first; s != NULL; s = s->next) {
        if (!s->known) {
            continue;
        }
        if (f->kind == METRIC_HISTOGRAM) {
            add_histogram(out, f, s);
        } else {
            add_name(out, f, "", s);
            add_number(out, s->value);
        }
    }
}

static void add_process(struct buf *out, const char *name, const char *kind, const char *help,
                        double value)
{
    (void)buf_printf(out, "# HELP process_%s %s\n# TYPE process_%s %s\nprocess_%s ", name, help,
                     name, kind, name);
    add_number(out, value);
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double resident_bytes(void)
{
    char line[128];
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f != NULL) {
        const char *resident = fgets(line, sizeof line, f) == NULL ? NULL : strchr(line, ' ');
        pages = resident == NULL ? 0 : strtol(resident, NULL, 10);
        (void)fclose(f);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_files(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    if (d != NULL) {
        while (readdir(d) != NULL) {
            count++;
        }
        (void)closedir(d);
    }
    return count < 3 ? 0 : count - 3; /* ".", ".." and the folder itself */
}

static void add_processes(const struct metrics *m, struct buf *out)
{
    struct rusage usage;
    struct rlimit limit;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        add_process(out, "cpu_seconds_total", "counter", "CPU time used.",
                    seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
    }
    add_process(out, "resident_memory_bytes", "gauge", "Memory in RAM.", resident_bytes());
    add_process(out, "open_fds", "gauge", "Open file descriptors.", open_files());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        add_process(out, "max_fds", "gauge", "Most open file descriptors.",
                    (double)limit.rlim_cur);
    }
    add_process(out, "start_time_seconds", "gauge", "Start, in seconds since 1970.",
                (double)m->started_at_ms / 1000);
}

int metrics_write(struct metrics *m, struct buf *out)
{
    for (int i = 0; i < m->hook_count; i++) {
        m->hooks[i].fn(m->hooks[i].arg);
    }
    for (const struct metric_family *f = m->first; f != NULL; f = f->next) {
        add_family(out, f);
    }
    add_processes(m, out);
    return out->failed ? -1 : 0;
}
