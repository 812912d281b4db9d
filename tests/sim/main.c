/* pivotal-sync-sim: options, start, end. */
#include "internal.h"

#include <curl/curl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

struct hs_app **sim_hubspot(struct sim *s)
{
    return &s->hubspot;
}

struct stripe_sim **sim_stripe(struct sim *s)
{
    return &s->stripe;
}

const struct sim_options *sim_options(const struct sim *s)
{
    return &s->options;
}

const char *sim_base_url(const struct sim *s, enum sim_provider p)
{
    return s->base_url[p];
}

enum option_kind { TEXT, COUNT, MS, REAL };

struct option_row {
    const char *name;
    enum option_kind kind;
    size_t offset;
    const char *help;
};

#define AT(member) offsetof(struct sim_options, member)
static const struct option_row rows[] = {
    {"hubspot", TEXT, AT(hubspot_listen), "HOST:PORT of HubSpot (port 0 = any)"},
    {"stripe", TEXT, AT(stripe_listen), "HOST:PORT of Stripe (port 0 = any)"},
    {"seed", MS, AT(seed), "seed of all data and changes"},
    {"companies", COUNT, AT(companies), "HubSpot companies"},
    {"list-members", COUNT, AT(list_members), "how many of them are in list 42"},
    {"contacts", COUNT, AT(contacts), "HubSpot contacts"},
    {"customers", COUNT, AT(customers), "Stripe customers"},
    {"subscriptions-per-customer", REAL, AT(subscriptions_per_customer), "on average"},
    {"mutate-every-ms", MS, AT(mutate_every_ms), "one random change each so often (0 = never)"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static void print_help(FILE *f)
{
    (void)fputs("usage: pivotal-sync-sim [options]\n"
                "HubSpot and Stripe for tests, on one loopback port each.\n",
                f);
    for (size_t i = 0; i < ROWS; i++) {
        (void)fprintf(f, "  --%-28s %s\n", rows[i].name, rows[i].help);
    }
}

static bool set_option(struct sim_options *o, const struct option_row *row, const char *text)
{
    char *end = NULL;
    char *at = (char *)o + row->offset;
    switch (row->kind) {
    case TEXT:
        memcpy(at, &text, sizeof text);
        return true;
    case COUNT: {
        size_t v = (size_t)strtoull(text, &end, 10);
        memcpy(at, &v, sizeof v);
        break;
    }
    case MS: {
        int64_t v = (int64_t)strtoll(text, &end, 10);
        memcpy(at, &v, sizeof v);
        break;
    }
    case REAL: {
        double v = strtod(text, &end);
        memcpy(at, &v, sizeof v);
        break;
    }
    }
    return *text != '\0' && *end == '\0' && *text != '-';
}

/* 0 = go on, else the exit code + 1. */
static int read_options(struct sim_options *o, int argc, char **argv)
{
    struct option longs[ROWS + 2];
    memset(longs, 0, sizeof longs);
    for (size_t i = 0; i < ROWS; i++) {
        longs[i] = (struct option){rows[i].name, required_argument, NULL, (int)i + 256};
    }
    longs[ROWS] = (struct option){"help", no_argument, NULL, 'h'};
    int c = 0;
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'h') {
            print_help(stdout);
            return 1;
        }
        if (c < 256 || !set_option(o, &rows[c - 256], optarg)) {
            if (c >= 256) {
                (void)fprintf(stderr, "pivotal-sync-sim: bad value '%s' for --%s\n", optarg,
                              rows[c - 256].name);
            }
            print_help(stderr);
            return 3;
        }
    }
    if (optind < argc) {
        print_help(stderr);
        return 3;
    }
    if (o->list_members > o->companies) {
        o->list_members = o->companies;
    }
    return 0;
}

struct program {
    struct sim sim;
    uv_signal_t signals[2];
    uv_timer_t mutate;
    bool stopping;
};

static void on_signal(uv_signal_t *h, int signum)
{
    (void)signum;
    struct program *p = h->data;
    if (p->stopping) {
        return;
    }
    p->stopping = true;
    uv_close((uv_handle_t *)&p->signals[0], NULL);
    uv_close((uv_handle_t *)&p->signals[1], NULL);
    uv_close((uv_handle_t *)&p->mutate, NULL);
    webhooks_stop(p->sim.webhooks);
    server_stop(p->sim.servers[SIM_HUBSPOT]);
    server_stop(p->sim.servers[SIM_STRIPE]);
}

static void on_mutate(uv_timer_t *h)
{
    struct program *p = h->data;
    static const struct sim_notify once = {.notify = true, .count = 1};
    if (sim_rand_below(&p->sim, 2) == 0) {
        sim_hubspot_mutate(&p->sim, &once);
    } else {
        sim_stripe_mutate(&p->sim, &once);
    }
}

static void start_timers(struct program *p)
{
    static const int numbers[2] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        (void)uv_signal_init(&p->sim.loop, &p->signals[i]);
        p->signals[i].data = p;
        (void)uv_signal_start(&p->signals[i], on_signal, numbers[i]);
    }
    (void)uv_timer_init(&p->sim.loop, &p->mutate);
    p->mutate.data = p;
    if (p->sim.options.mutate_every_ms > 0) {
        uint64_t every = (uint64_t)p->sim.options.mutate_every_ms;
        (void)uv_timer_start(&p->mutate, on_mutate, every, every);
    }
}

static void raise_file_limit(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &l);
    }
}

int main(int argc, char **argv)
{
    struct program *p = sim_calloc(1, sizeof *p);
    struct sim *s = &p->sim;
    s->options = (struct sim_options){
        .hubspot_listen = "127.0.0.1:0",
        .stripe_listen = "127.0.0.1:0",
        .seed = 1,
        .companies = 200,
        .list_members = 150,
        .contacts = 400,
        .customers = 120,
        .subscriptions_per_customer = 1.5,
    };
    int code = read_options(&s->options, argc, argv);
    if (code != 0) {
        free(p);
        return code - 1;
    }
    pid_t parent = getppid();
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        free(p);
        return 0; /* the parent went before we could say so */
    }
    (void)signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    (void)curl_global_init(CURL_GLOBAL_ALL);

    s->rng = sim_mix(s->options.seed, 1, 2) | 1;
    (void)uv_loop_init(&s->loop);
    s->counters = counters_new();
    s->limits = limits_new();
    s->faults = faults_new();
    s->webhooks = webhooks_new(s);
    code = 1;
    if (sim_hubspot_init(s) == 0 && sim_stripe_init(s) == 0 &&
        server_start(s, SIM_HUBSPOT, s->options.hubspot_listen) == 0 &&
        server_start(s, SIM_STRIPE, s->options.stripe_listen) == 0) {
        start_timers(p);
        (void)printf("{\"hubspot\":\"%s\",\"stripe\":\"%s\"}\n", s->base_url[SIM_HUBSPOT],
                     s->base_url[SIM_STRIPE]);
        (void)fflush(stdout);
        (void)uv_run(&s->loop, UV_RUN_DEFAULT);
        code = 0;
    }
    sim_hubspot_free(s);
    sim_stripe_free(s);
    webhooks_free(s->webhooks);
    faults_free(s->faults);
    limits_free(s->limits);
    counters_free(s->counters);
    free(s->servers[0]);
    free(s->servers[1]);
    (void)uv_loop_close(&s->loop);
    curl_global_cleanup();
    free(p);
    return code;
}
