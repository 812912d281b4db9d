/* Random walks: the real scripts against a plain model of what a queue promises.
 *
 * The scripts' clock stands and is set by hand in ticks, also back; leases last half a tick and
 * delays end half a tick before a full one, so that nothing depends on how long the test takes:
 * a seed is always the same walk. (A tick is so long that the queue's own timer, which renews
 * leases by the real clock, stays out of it.) A crash is a claim that is forgotten; its lease
 * runs out with the next tick. After each batch fsck must be clean and the sums must agree.
 *
 * QUEUE_MODEL_STEPS (20000), QUEUE_MODEL_SEED. */
#include "tests/contract/queue_rig.h"

enum {
    CONNECTIONS = 4,
    OBJECTS = 3,
    IDS = 30,
    UNITS = CONNECTIONS * OBJECTS * IDS,
    CLAIMS_MAX = 12,
    HINTS = 3,
    REASONS = 3,
    POISON = 3, /* lost leases: alone from now on, and one of all at a time */
    BURY = 6,
    BATCH_STEPS = 200,
};
static const int64_t TICK_MS = 50000000;
static const int64_t START_MS = 2000000000000; /* tick 0 */
static const char *const objects[OBJECTS] = {"company", "contact", "single"};
static const char *const hints[HINTS] = {"privacy_deleted", "merged_into=5", "deauthorized"};
static const char *const reasons[REASONS] = {"mapping", "auth_revoked", "field_type"};

enum state { NONE, WAITING, DELAYED, LEASED, PARKED, BURIED };

struct next {
    bool is;
    int lane, events;
    unsigned hints;
};
struct m_unit {
    enum state state;
    int lane, events, attempts, losses, reason;
    unsigned hints;
    double due; /* tick */
    int claim;  /* of model.claims, when leased */
    struct next next;
};
struct m_claim {
    bool live;    /* its lease is there */
    bool suspect; /* of a unit that may be poison */
    struct claim *real;
    double until;
    int count, units[QUEUE_BATCH_MAX];
};
struct m_connection {
    bool paused;
    int parked; /* -1 no, else reason; REASONS = "parked" */
};
struct model {
    struct m_unit units[UNITS];
    struct m_claim claims[CLAIMS_MAX];
    struct m_connection connections[CONNECTIONS];
    bool lane_paused[LANE_COUNT], all_paused;
    int64_t tick;
    bool settled; /* nothing is overdue */
    uint64_t random;
    int64_t steps, claimed, lost, crashed;
};

static unsigned pick(struct model *m, unsigned n)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (unsigned)((m->random >> 11) % n);
}

static int connection_of(int unit)
{
    return unit / (OBJECTS * IDS);
}
static int object_of(int unit)
{
    return unit / IDS % OBJECTS;
}

static void set_clock(struct rig *rig, struct model *m)
{
    (void)rig_redis(rig, "SET {ps0}:clock_offset_ms =%lld",
                    (long long)(START_MS + m->tick * TICK_MS));
}

/* ---- the model's rules ---- */

static void merge_next(struct m_unit *u)
{
    if (u->next.is) {
        u->lane = u->next.lane < u->lane ? u->next.lane : u->lane;
        u->events += u->next.events;
        u->hints |= u->next.hints;
        u->next.is = false;
    }
}

static void m_put(struct model *m, int unit, int lane, double delay, unsigned hint)
{
    struct m_unit *u = &m->units[unit];
    double due = (double)m->tick + delay;
    switch (u->state) {
    case NONE:
        *u = (struct m_unit){.lane = lane, .events = 1, .hints = hint};
        u->state = delay > 0 ? DELAYED : WAITING;
        u->due = due;
        return;
    case LEASED:
        if (!u->next.is) {
            u->next = (struct next){.is = true, .lane = lane};
        }
        u->next.lane = lane < u->next.lane ? lane : u->next.lane;
        u->next.events++;
        u->next.hints |= hint;
        return;
    case WAITING:
    case DELAYED:
    case PARKED:
    case BURIED:
        break;
    }
    u->events++;
    u->hints |= hint;
    u->lane = lane < u->lane ? lane : u->lane;
    if (u->state == BURIED && lane != LANE_INTERACTIVE) {
        return;
    }
    if (u->state == PARKED || u->state == BURIED) {
        u->attempts = u->losses = 0;
    }
    if (u->state == WAITING) {
        return;
    }
    if (u->state == DELAYED && delay > 0) {
        u->due = due < u->due ? due : u->due;
        return;
    }
    u->state = delay > 0 ? DELAYED : WAITING;
    u->due = due;
}

static void m_finish(struct m_unit *u, const struct unit_end *end, int reason, double due)
{
    struct next next = u->next;
    switch (end->outcome) {
    case OUTCOME_COMPLETE:
        *u = (struct m_unit){0};
        if (next.is) {
            *u = (struct m_unit){.state = WAITING,
                                 .lane = next.lane,
                                 .events = next.events,
                                 .hints = next.hints};
        }
        return;
    case OUTCOME_PARK:
        merge_next(u);
        u->state = next.is ? WAITING : PARKED;
        u->reason = reason;
        if (next.is) {
            u->attempts = u->losses = 0;
        }
        return;
    case OUTCOME_BURY:
        merge_next(u);
        u->state = BURIED;
        if (next.is && next.lane == LANE_INTERACTIVE) {
            u->state = WAITING;
            u->attempts = u->losses = 0;
        }
        return;
    case OUTCOME_RETRY:
        u->attempts++;
        break;
    case OUTCOME_RELEASE:
        break;
    }
    u->losses = 0;
    merge_next(u);
    u->state = end->delay_ms > 0 ? DELAYED : WAITING;
    u->due = due;
}

static bool is_overdue(const struct model *m, const struct m_claim *c)
{
    return c->live && c->until <= (double)m->tick;
}

static void m_lose(struct model *m, struct m_claim *c)
{
    c->live = false;
    m->lost++;
    for (int i = 0; i < c->count; i++) {
        struct m_unit *u = &m->units[c->units[i]];
        if (u->state == LEASED && &m->claims[u->claim] == c) {
            merge_next(u);
            u->losses++;
            u->state = u->losses >= BURY && c->count == 1 ? BURIED : WAITING;
        }
    }
}

static void m_settle(struct model *m)
{
    for (int i = 0; i < CLAIMS_MAX; i++) {
        struct m_claim *c = &m->claims[i];
        if (is_overdue(m, c)) {
            m_lose(m, c);
        } else if (c->live && c->until - (double)m->tick > 1) {
            c->until = (double)m->tick + 0.5; /* the clock was set back */
        }
    }
    for (int i = 0; i < UNITS; i++) {
        if (m->units[i].state == DELAYED && m->units[i].due <= (double)m->tick) {
            m->units[i].state = WAITING;
        }
    }
    m->settled = true;
}

static bool suspect_in_work(const struct model *m)
{
    for (int i = 0; i < CLAIMS_MAX; i++) {
        const struct m_claim *c = &m->claims[i];
        if (c->live && c->suspect && (m->settled || !is_overdue(m, c))) {
            return true;
        }
    }
    return false;
}

static bool may_claim(const struct model *m, int unit)
{
    const struct m_unit *u = &m->units[unit];
    const struct m_connection *c = &m->connections[connection_of(unit)];
    return u->state == WAITING && (u->losses < POISON || !suspect_in_work(m)) &&
           !m->all_paused && !m->lane_paused[u->lane] && !c->paused && c->parked < 0;
}

/* ---- steps ---- */

static void reap(struct rig *rig, struct model *m)
{
    int64_t reaped = 0;
    CHECK(queue_reap(rig->q, &reaped, &rig->err) == 0);
    m_settle(m);
}

static void step_put(struct rig *rig, struct model *m)
{
    struct unit_put puts[12];
    char ids[12][16];
    int n = 1 + (int)pick(m, 12);
    for (int i = 0; i < n; i++) {
        int unit = (int)pick(m, UNITS);
        int lane = (int)pick(m, LANE_COUNT);
        int delay = pick(m, 6) == 0 ? 1 + (int)pick(m, 3) : 0;
        int hint = pick(m, 10) == 0 ? (int)pick(m, HINTS) : -1;
        (void)snprintf(ids[i], sizeof ids[i], "%d", unit % IDS);
        puts[i] = rig_unit(1 + connection_of(unit), objects[object_of(unit)], ids[i],
                           (enum lane)lane);
        puts[i].hint = hint >= 0 ? hints[hint] : "";
        puts[i].delay_ms = delay > 0 ? delay * TICK_MS - TICK_MS / 2 : 0;
        m_put(m, unit, lane, delay > 0 ? delay - 0.5 : 0, hint >= 0 ? 1U << hint : 0);
    }
    CHECK(queue_put(rig->q, puts, n, &rig->err) == 0);
}

static unsigned hint_bits(const struct unit *u)
{
    unsigned bits = 0;
    for (int i = 0; i < u->hint_count; i++) {
        for (int h = 0; h < HINTS; h++) {
            bits |= strcmp(u->hints[i], hints[h]) == 0 ? 1U << h : 0;
        }
    }
    return bits;
}

/* What the claim's own housekeeping must have done for this unit to be claimable. */
static void catch_up(struct model *m, struct m_unit *u)
{
    if (u->state == LEASED && is_overdue(m, &m->claims[u->claim])) {
        m_lose(m, &m->claims[u->claim]);
    } else if (u->state == DELAYED && u->due <= (double)m->tick) {
        u->state = WAITING;
    }
}

static void check_claim(struct rig *rig, struct model *m, struct claim *real, int slot)
{
    struct m_claim *c = &m->claims[slot];
    bool interactive = false;
    bool suspect = false;
    for (int i = 0; i < UNITS; i++) {
        interactive = interactive || (may_claim(m, i) && m->units[i].lane == LANE_INTERACTIVE);
    }
    *c = (struct m_claim){.live = true, .real = real, .until = (double)m->tick + 0.5};
    for (int i = 0; i < real->unit_count; i++) {
        const struct unit *u = &real->units[i];
        int object = 0;
        while (object < OBJECTS && strcmp(objects[object], u->object) != 0) {
            object++;
        }
        CHECK(object < OBJECTS);
        int unit = ((int)(real->connection_id - 1) * OBJECTS + object) * IDS +
                   (int)strtol(u->id, NULL, 10);
        struct m_unit *mu = &m->units[unit];
        if (!m->settled) {
            catch_up(m, mu);
        }
        CHECK(may_claim(m, unit));
        CHECK_INT(mu->lane, real->lane);
        CHECK_INT(mu->events, u->events);
        CHECK_INT(mu->attempts, u->attempts);
        CHECK_INT(mu->hints, hint_bits(u));
        CHECK(mu->losses < POISON || real->unit_count == 1);
        suspect = mu->losses >= POISON;
        mu->state = LEASED;
        mu->claim = slot;
        c->units[c->count++] = unit;
    }
    c->suspect = suspect;
    CHECK(c->count > 0);
    CHECK(!m->settled || !interactive || real->lane == LANE_INTERACTIVE);
    m->claimed += c->count;
}

static void step_claim(struct rig *rig, struct model *m)
{
    int slot = 0;
    while (slot < CLAIMS_MAX && (m->claims[slot].real != NULL || m->claims[slot].live)) {
        slot++;
    }
    if (slot == CLAIMS_MAX) {
        return;
    }
    struct claim *real = rig_claim(rig, 1 + (int)pick(m, 40));
    CHECK(rig->failure[0] == '\0');
    bool any = false;
    for (int unit = 0; m->settled && unit < UNITS; unit++) {
        any = any || may_claim(m, unit);
    }
    CHECK(!any || real != NULL);
    if (real != NULL) {
        check_claim(rig, m, real, slot);
        CHECK(rig->failure[0] == '\0');
    }
    if (!m->settled) {
        reap(rig, m);
    }
}

static void step_finish(struct rig *rig, struct model *m)
{
    struct m_claim *c = &m->claims[pick(m, CLAIMS_MAX)];
    struct unit_end ends[QUEUE_BATCH_MAX];
    int why[QUEUE_BATCH_MAX];
    if (c->real == NULL) {
        return;
    }
    bool all_complete = pick(m, 2) == 0;
    for (int i = 0; i < c->count; i++) {
        enum outcome o = all_complete ? OUTCOME_COMPLETE : (enum outcome)pick(m, 5);
        int delay = pick(m, 3) > 0 ? 1 + (int)pick(m, 3) : 0;
        why[i] = (int)pick(m, REASONS);
        ends[i] = (struct unit_end){o, delay > 0 ? delay * TICK_MS - TICK_MS / 2 : 0,
                                    reasons[why[i]]};
        struct m_unit *u = &m->units[c->units[i]];
        if (c->live && u->state == LEASED && &m->claims[u->claim] == c) {
            m_finish(u, &ends[i], why[i], (double)m->tick + delay - 0.5);
        }
    }
    int rc = queue_finish(rig->q, c->real, ends, &rig->err);
    c->real = NULL;
    CHECK(c->live ? rc == 0 : rc != 0 && rig->err.code == ERR_CONFLICT);
    c->live = false;
}

static void step_crash(struct rig *rig, struct model *m)
{
    struct m_claim *c = &m->claims[pick(m, CLAIMS_MAX)];
    if (c->real != NULL) {
        queue_claim_free(rig->q, c->real);
        c->real = NULL;
        m->crashed++;
    }
}

/* What a renewal does to one lease (when it happens is up to a timer of the queue). */
static void step_renew(struct rig *rig, struct model *m)
{
    struct m_claim *c = &m->claims[pick(m, CLAIMS_MAX)];
    if (c->real != NULL && c->live) {
        (void)rig_redis(rig, "ZADD {ps0}:l XX %lld %lld",
                        (long long)(START_MS + m->tick * TICK_MS + TICK_MS / 2),
                        (long long)c->real->token);
        c->until = (double)m->tick + 0.5;
    }
}

static void step_time(struct rig *rig, struct model *m)
{
    m->tick += pick(m, 10) == 0 ? -(int64_t)pick(m, 4) : 1 + (int64_t)pick(m, 2);
    m->settled = false;
    set_clock(rig, m);
    if (pick(m, 2) == 0) {
        reap(rig, m);
    }
}

static void m_unpark(struct model *m, int connection, int reason)
{
    struct m_connection *c = &m->connections[connection];
    if (reason < 0 || c->parked == reason) {
        c->parked = -1;
    }
    for (int i = 0; i < UNITS; i++) {
        struct m_unit *u = &m->units[i];
        if (connection_of(i) == connection && u->state == PARKED &&
            (reason < 0 || u->reason == reason)) {
            u->state = WAITING;
            u->attempts = u->losses = 0;
        }
    }
}

static void step_park(struct rig *rig, struct model *m)
{
    int connection = (int)pick(m, CONNECTIONS);
    struct m_connection *c = &m->connections[connection];
    int reason = (int)pick(m, REASONS + 1) - 1; /* -1 = all */
    int64_t n = 0;
    switch (pick(m, 8)) {
    case 0:
        c->parked = reason < 0 ? 0 : reason;
        CHECK(queue_park(rig->q, 0, connection + 1, reasons[c->parked], &rig->err) == 0);
        return;
    case 1: {
        bool parked = pick(m, 8) == 0;
        c->paused = pick(m, 8) == 0;
        c->parked = !parked ? -1 : c->parked < 0 ? REASONS : c->parked;
        struct queue_connection q = {.connection_id = connection + 1,
                                     .provider = "fast",
                                     .account = connection % 2 ? "a:live" : "b:live",
                                     .parked = parked,
                                     .paused = c->paused};
        CHECK(queue_configure(rig->q, &q, &rig->err) == 0);
        return;
    }
    default:
        m_unpark(m, connection, reason);
        CHECK(queue_unpark(rig->q, 0, connection + 1, reason < 0 ? NULL : reasons[reason], &n,
                           &rig->err) == 0);
    }
}

static void step_pause(struct rig *rig, struct model *m)
{
    bool on = pick(m, 8) == 0;
    int connection = (int)pick(m, CONNECTIONS);
    int lane = (int)pick(m, LANE_COUNT);
    switch (pick(m, 3)) {
    case 0:
        m->connections[connection].paused = on;
        CHECK(queue_pause(rig->q, 0, connection + 1, 0, on, &rig->err) == 0);
        return;
    case 1:
        m->lane_paused[lane] = on;
        CHECK(queue_pause(rig->q, -1, 0, lane, on, &rig->err) == 0);
        return;
    default:
        m->all_paused = on;
        CHECK(queue_pause(rig->q, -1, 0, -1, on, &rig->err) == 0);
    }
}

static void step_drop(struct rig *rig, struct model *m)
{
    int connection = (int)pick(m, CONNECTIONS);
    for (int i = 0; i < UNITS; i++) {
        if (connection_of(i) == connection) {
            m->units[i] = (struct m_unit){0};
        }
    }
    CHECK(queue_drop_connection(rig->q, 0, connection + 1, &rig->err) == 0);
    m->connections[connection] = (struct m_connection){.parked = -1};
    CHECK(rig_configure(rig, connection + 1, "fast", connection % 2 ? "a:live" : "b:live") ==
          0);
}

static void step(struct rig *rig, struct model *m)
{
    unsigned n = pick(m, 1000);
    m->steps++;
    if (n < 300) {
        step_put(rig, m);
    } else if (n < 600) {
        step_claim(rig, m);
    } else if (n < 820) {
        step_finish(rig, m);
    } else if (n < 850) {
        step_crash(rig, m);
    } else if (n < 890) {
        step_renew(rig, m);
    } else if (n < 930) {
        step_time(rig, m);
    } else if (n < 960) {
        step_park(rig, m);
    } else if (n < 998) {
        step_pause(rig, m);
    } else {
        step_drop(rig, m);
    }
}

static void compare(struct rig *rig, struct model *m)
{
    reap(rig, m);
    CHECK(rig->failure[0] == '\0');
    for (int c = 0; c <= CONNECTIONS; c++) { /* the last round: all together */
        struct queue_stats want = {0};
        struct queue_stats got;
        for (int i = 0; i < UNITS; i++) {
            const struct m_unit *u = &m->units[i];
            if (c < CONNECTIONS && connection_of(i) != c) {
                continue;
            }
            want.waiting[u->lane] += u->state == WAITING;
            want.delayed += u->state == DELAYED;
            want.leased += u->state == LEASED;
            want.parked += u->state == PARKED;
            want.buried += u->state == BURIED;
        }
        CHECK(queue_stats(rig->q, c < CONNECTIONS ? c + 1 : 0, &got, &rig->err) == 0);
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            CHECK_INT(got.waiting[lane], want.waiting[lane]);
        }
        CHECK_INT(got.delayed, want.delayed);
        CHECK_INT(got.leased, want.leased);
        CHECK_INT(got.parked, want.parked);
        CHECK_INT(got.buried, want.buried);
    }
    int64_t units = 0;
    for (int i = 0; i < UNITS; i++) {
        units += m->units[i].state != NONE;
    }
    FSCK(units);
}

/* Everything let go ends empty: no unit was ever lost from sight. */
static void drain(struct rig *rig, struct model *m)
{
    m->all_paused = false;
    CHECK(queue_pause(rig->q, -1, 0, -1, false, &rig->err) == 0);
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        m->lane_paused[lane] = false;
        CHECK(queue_pause(rig->q, -1, 0, lane, false, &rig->err) == 0);
    }
    for (int i = 0; i < CLAIMS_MAX; i++) {
        if (m->claims[i].real != NULL) {
            queue_claim_free(rig->q, m->claims[i].real);
            m->claims[i].real = NULL;
        }
    }
    m->tick += 10;
    set_clock(rig, m);
    reap(rig, m);
    for (int c = 0; c < CONNECTIONS; c++) {
        int64_t n = 0;
        m->connections[c].paused = false;
        m_unpark(m, c, -1);
        CHECK(queue_pause(rig->q, 0, c + 1, 0, false, &rig->err) == 0);
        CHECK(queue_unpark(rig->q, 0, c + 1, NULL, &n, &rig->err) == 0);
    }
    for (int i = 0; i < UNITS; i++) {
        if (m->units[i].state == BURIED) {
            char id[16];
            (void)snprintf(id, sizeof id, "%d", i % IDS);
            m_put(m, i, LANE_INTERACTIVE, 0, 0);
            CHECK(rig_put(rig, 1 + connection_of(i), objects[object_of(i)], id,
                          LANE_INTERACTIVE) == 0);
        }
    }
    compare(rig, m);
    CHECK(rig->failure[0] == '\0');
    for (int i = 0; i < UNITS + 1; i++) {
        struct claim *c = rig_claim(rig, 100);
        CHECK(rig->failure[0] == '\0');
        if (c == NULL) {
            break;
        }
        CHECK(rig_finish(rig, c, OUTCOME_COMPLETE, 0, NULL) == 0);
    }
    FSCK(0);
}

static int64_t from_environment(const char *name, int64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoll(text, NULL, 10) : otherwise;
}

static void walk_body(struct rig *rig)
{
    int64_t steps = from_environment("QUEUE_MODEL_STEPS", 20000);
    int64_t seed = from_environment("QUEUE_MODEL_SEED", clock_now_ms());
    const char *urls[] = {rig_url()};
    struct queue_options o = {.urls = urls,
                              .url_count = 1,
                              .shards = 1,
                              .lease_ms = TICK_MS / 2,
                              .families = rig_families,
                              .family_count = (int)COUNT_OF(rig_families),
                              .objects = rig_objects,
                              .object_count = (int)COUNT_OF(rig_objects),
                              .worker = "model"};
    queue_close(rig->q);
    rig->q = queue_open(&rig->loop, &o, &rig->err);
    CHECK(rig->q != NULL);
    struct model *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    /* The disk is not what is tested here. */
    (void)rig_redis(rig, "CONFIG SET appendfsync no");
    m->random = 88172645463325252ULL ^ ((uint64_t)seed * 2654435761U);
    m->settled = true;
    set_clock(rig, m);
    for (int c = 0; c < CONNECTIONS; c++) {
        m->connections[c].parked = -1;
        CHECK(rig_configure(rig, c + 1, "fast", c % 2 ? "a:live" : "b:live") == 0);
    }
    int64_t started = clock_mono_ms();
    while (m->steps < steps && rig->failure[0] == '\0') {
        step(rig, m);
        if (m->steps % BATCH_STEPS == 0 && rig->failure[0] == '\0') {
            set_clock(rig, m);
            compare(rig, m);
        }
    }
    if (rig->failure[0] == '\0') {
        drain(rig, m);
    }
    print_message(
        "# seed %lld: %lld steps, %lld units claimed, %lld crashes, %lld leases lost, "
        "tick %lld, %lld ms\n",
        (long long)seed, (long long)m->steps, (long long)m->claimed, (long long)m->crashed,
        (long long)m->lost, (long long)m->tick, (long long)(clock_mono_ms() - started));
    free(m);
}

static void scripts_do_what_the_model_says(void **state)
{
    (void)state;
    rig_run(walk_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scripts_do_what_the_model_says),
    };
    return cmocka_run_group_tests_name("queue_model", tests, NULL, NULL);
}
