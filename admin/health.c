/* Two tasks that look again and again, one for each service, so that one which hangs does not
 * hide the other. What they found grows old: a check that has not come back for a while counts
 * as failed. */
#include "admin/admin.h"

#include "common/clock.h"
#include "common/task.h"
#include "core/migrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 1000, NAP_MS = 100, STALE_MS = 10 * 1000 };

enum what { POSTGRES, REDIS, MIGRATIONS, WHATS };
static const char *const names[WHATS] = {"postgres", "redis", "migrations"};

struct finding {
    bool ok;
    char reason[200];
    int64_t at_mono_ms; /* 0 = not yet */
};

struct health {
    struct app *app;
    struct finding found[WHATS];
    bool stopping;
    int tasks;
};

static void tell(struct health *h, enum what w, bool ok, const char *reason)
{
    struct finding *f = &h->found[w];
    if (f->at_mono_ms != 0 && f->ok != ok) {
        if (ok) {
            log_info(h->app->log, "health.back", "%s is fine again", names[w]);
        } else {
            log_warn(h->app->log, "health.lost", "%s: %s", names[w], reason);
        }
    }
    f->ok = ok;
    f->at_mono_ms = clock_mono_ms();
    (void)snprintf(f->reason, sizeof f->reason, "%s", ok ? "" : reason);
}

static void look_at_postgres(struct health *h)
{
    struct err err = {0};
    int current = -1;
    if (store_query(h->app->store, "SELECT 1", NULL, NULL, &err) != 0) {
        tell(h, POSTGRES, false, err.msg);
        tell(h, MIGRATIONS, false, "PostgreSQL cannot be asked");
        return;
    }
    tell(h, POSTGRES, true, "");
    current = migrate_is_current(h->app->store, &err);
    tell(h, MIGRATIONS, current == 1,
         current < 0 ? err.msg : "the database is not up to date: run pivotal-sync migrate");
}

static void look_at_redis(struct health *h)
{
    struct err err = {0};
    bool ok = queue_ping(h->app->queue, &err) == 0;
    tell(h, REDIS, ok, err.msg);
}

static void look_again(struct health *h, void (*look)(struct health *h))
{
    while (!h->stopping) {
        look(h);
        for (int64_t until_ms = clock_mono_ms() + LOOK_MS;
             !h->stopping && clock_mono_ms() < until_ms;) {
            task_sleep_ms(NAP_MS);
        }
    }
    h->tasks--;
}

static void postgres_task(void *arg)
{
    look_again(arg, look_at_postgres);
}

static void redis_task(void *arg)
{
    look_again(arg, look_at_redis);
}

struct health *health_new(struct app *app, struct err *err)
{
    struct health *h = calloc(1, sizeof *h);
    if (h == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    h->app = app;
    h->tasks = 2;
    if (task_start(app->loop, "look at PostgreSQL", postgres_task, h, err) != 0) {
        free(h);
        return NULL;
    }
    if (task_start(app->loop, "look at Redis", redis_task, h, err) != 0) {
        h->stopping = true; /* the first task still has it: the program ends now */
        return NULL;
    }
    return h;
}

void health_stop(struct health *h)
{
    h->stopping = true;
}

bool health_stopped(const struct health *h)
{
    return h->tasks == 0;
}

void health_free(struct health *h)
{
    free(h);
}

int health_checks(const struct health *h, struct readiness_check *checks)
{
    int64_t now_ms = clock_mono_ms();
    for (int w = 0; w < WHATS; w++) {
        const struct finding *f = &h->found[w];
        struct readiness_check *c = &checks[w];
        *c = (struct readiness_check){.name = names[w], .needed = true, .ok = f->ok};
        (void)snprintf(c->reason, sizeof c->reason, "%s", f->reason);
        if (f->at_mono_ms == 0 || now_ms - f->at_mono_ms > STALE_MS) {
            c->ok = false;
            (void)snprintf(c->reason, sizeof c->reason, "%s",
                           f->at_mono_ms == 0 ? "not looked at yet" : "does not answer");
        }
    }
    return WHATS;
}
