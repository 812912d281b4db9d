/* The end of a full run: asking once more for what it did not see, holding back too large a
 * removal, and counting. */
#include "core/run_chunk.h"

#include <stdio.h>
#include <string.h>

/* Guard: a removal of at least this many and this share is held for a person. */
enum { GUARD_COUNT = 20, GUARD_PERCENT = 20, SWEEP_SINGLE_CALLS = 10 };

/* For one object type: what is live here and was not seen. Scoped types left the scope when the
 * membership pass did not name them and nothing said since that they joined; the others when no
 * page did, unless it is older than the pages go back. $1 connection, $2 type, $3 run, $4 its
 * first fetch number, $5 scoped, $6 related.
 */
#define SWEEP_MEMBER(id)                                                                       \
    " LEFT JOIN LATERAL (SELECT 1 AS one FROM psync.scope_member k"                            \
    "   WHERE k.connection_id = $1 AND k.record_id = " id " AND (k.run_id = $3 OR k.since >="  \
    "     (SELECT coalesce(started_at, queued_at) FROM psync.run WHERE run_id = $3))"          \
    "   LIMIT 1) "
/* Look-ups by primary key whatever the planner believes (see save_seen.c): after a first sync
 * no table was analysed yet. */
#define SWEEP_CANDIDATES                                                                       \
    " FROM psync.record r"                                                                     \
    " CROSS JOIN LATERAL (SELECT fetch_no, run_id FROM psync.record_seen"                      \
    "   WHERE connection_id = r.connection_id AND object_type = r.object_type"                 \
    "     AND record_id = r.record_id LIMIT 1) s" SWEEP_MEMBER(                                \
        "r.record_id") "m ON true"                                                             \
                       " WHERE r.connection_id = $1 AND r.object_type = $2 AND r.deleted_at "  \
                       "IS NULL AND "                                                          \
                       "r.in_scope"                                                            \
                       "   AND CASE WHEN $5 THEN m.one IS NULL"                                \
                       "     ELSE s.fetch_no < $4 AND s.run_id IS DISTINCT FROM $3"            \
                       "       AND coalesce(r.created_at, now()) >= to_timestamp(coalesce(("   \
                       "         SELECT min(coalesce(range_from, 0)) FROM psync.run_chunk"     \
                       "         WHERE run_id = $3 AND object_type = $2 AND kind = 'range'), " \
                       "0)) END"

struct sweep {
    struct store_tx *tx;
    int64_t run_id, connection_id, first_fetch_no;
    int64_t confirmed; /* a person confirmed this many removals; 0 = none */
    int64_t made;
    bool unread; /* a page of the members could not be read: nobody is known to have left */
    bool held;   /* members were kept, so what hangs below them stays, too */
};

static struct params *sweep_params(const struct sweep *w, const struct object_type *o)
{
    struct params *p = params_new();
    params_int(p, w->connection_id);
    params_text(p, o->name);
    params_int(p, w->run_id);
    params_int(p, w->first_fetch_no);
    params_bool(p, (o->flags & OBJECT_SCOPED) != 0);
    params_bool(p, (o->flags & OBJECT_RELATED) != 0);
    return p;
}

/* Too much at once is held for a person, and said in the run. Contacts that go with their
 * company are not counted: the guard looked at the company. */
static int sweep_guard(struct sweep *w, const struct object_type *o, int64_t *absent,
                       bool *held, struct err *err)
{
    CLEANUP(params_freep) struct params *p = sweep_params(w, o);
    CLEANUP(params_freep) struct params *g = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_send(w->tx,
                   "SELECT count(*), count(*) FILTER (WHERE NOT $6 OR of_member),"
                   " (SELECT count(*) FROM psync.record WHERE connection_id = $1"
                   "   AND object_type = $2 AND deleted_at IS NULL AND in_scope),"
                   " (SELECT count(*) FROM psync.scope_member WHERE connection_id = $1"
                   "   AND run_id = $3)"
                   " FROM (SELECT p.one IS NOT NULL AS of_member"
                   "   FROM (SELECT r.parent_id" SWEEP_CANDIDATES
                   ") c" SWEEP_MEMBER("c.parent_id") "p ON true) x",
                   p, &r, err) != 0 ||
        store_sync(w->tx, err) != 0) {
        return -1;
    }
    *absent = rows_int(r, 0, 0);
    int64_t counted = rows_int(r, 0, 1), live = rows_int(r, 0, 2);
    bool emptied = (o->flags & OBJECT_SCOPED) != 0 && live > 0 && rows_int(r, 0, 3) == 0;
    bool large = counted >= GUARD_COUNT && counted * 100 >= live * GUARD_PERCENT;
    /* Confirmed was what was shown then; the list may have shrunk further since. */
    *held = (emptied || large) && counted > w->confirmed + w->confirmed * GUARD_PERCENT / 100;
    if (!*held) {
        return 0;
    }
    char text[200];
    snprintf(text, sizeof text, "%lld of %lld %s would be archived; nothing was",
             (long long)counted, (long long)live, o->plural);
    params_int(g, w->run_id);
    params_text(g, text);
    params_text(g, o->name);
    return store_send(w->tx,
                      "WITH r AS (UPDATE psync.run SET error_code = 'mass_removal_guard',"
                      "     error_message = $2 WHERE run_id = $1"
                      "   RETURNING connection_id, run_id, trigger, requested_by)"
                      " INSERT INTO psync.attempt (attempt_id, connection_id, run_id, kind,"
                      "   trigger, actor, object_type, status, error_code, error_message,"
                      "   error_count, started_at)"
                      " SELECT psync.next_attempt_id(), connection_id, run_id, 'check',"
                      "   trigger, requested_by, $3, 'failed', 'mass_removal_guard', $2, 1,"
                      "   now() FROM r",
                      g, NULL, err);
}

/* Who is a member no more is forgotten, or a later delivery would find it one. */
static int sweep_members(struct sweep *w, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, w->connection_id);
    params_int(p, w->run_id);
    return store_send(w->tx,
                      "DELETE FROM psync.scope_member WHERE connection_id = $1"
                      " AND run_id IS DISTINCT FROM $2 AND since <"
                      "   (SELECT coalesce(started_at, queued_at) FROM psync.run"
                      "     WHERE run_id = $2)",
                      p, NULL, err);
}

static int sweep_object(struct sweep *w, const struct object_type *o, struct err *err)
{
    bool scoped = (o->flags & OBJECT_SCOPED) != 0;
    bool held = false;
    int64_t absent = 0;
    CLEANUP(params_freep) struct params *p = sweep_params(w, o);
    CLEANUP(rows_freep) struct rows *chunks = NULL;
    if (scoped && w->unread) {
        w->held = true;
        return 0;
    }
    if (sweep_guard(w, o, &absent, &held, err) != 0) {
        return -1;
    }
    if (held) {
        w->held = w->held || scoped;
        return 0;
    }
    if (absent > 0) {
        params_int(p, o->batch_max > 1 ? o->batch_max : SWEEP_SINGLE_CALLS);
        if (store_send(
                w->tx,
                "INSERT INTO psync.run_chunk (run_id, chunk_no, object_type, kind, ids)"
                " SELECT $3, (SELECT max(chunk_no) FROM psync.run_chunk WHERE run_id = $3)"
                "     + row_number() OVER (ORDER BY g), $2, 'sweep', ids FROM ("
                "   SELECT g, array_agg(record_id) AS ids FROM ("
                "     SELECT r.record_id, (row_number() OVER (ORDER BY r.record_id) - 1) / $7"
                "       AS g" SWEEP_CANDIDATES
                " AND $6::bool IS NOT NULL) x GROUP BY g) y RETURNING chunk_no",
                p, &chunks, err) != 0 ||
            store_sync(w->tx, err) != 0) {
            return -1;
        }
        w->made += rows_count(chunks);
    }
    return scoped ? sweep_members(w, err) : 0;
}

static int sweep_confirmed(struct sweep *w, struct rows **out, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, w->run_id);
    params_int(p, w->connection_id);
    return store_send(w->tx,
                      "SELECT substring(h.error_message FROM '^[0-9]+')::bigint"
                      " FROM psync.run r, psync.run h WHERE r.run_id = $1"
                      "   AND r.trigger = 'confirm-removals' AND h.connection_id = $2"
                      "   AND h.error_code = 'mass_removal_guard' AND h.run_id < $1"
                      " ORDER BY h.run_id DESC LIMIT 1",
                      p, out, err);
}

int run_sweep(struct store_tx *tx, int64_t run_id, int64_t connection_id, const char *provider,
              int64_t first_fetch_no, int64_t *made, struct err *err)
{
    const struct provider *pr = provider_find(provider);
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *types = NULL;
    CLEANUP(rows_freep) struct rows *confirmed = NULL;
    struct sweep w = {.tx = tx,
                      .run_id = run_id,
                      .connection_id = connection_id,
                      .first_fetch_no = first_fetch_no};
    *made = 0;
    if (pr == NULL) {
        err_set(err, ERR_INTERNAL, "cannot sweep provider '%s'", provider);
        return -1;
    }
    params_int(p, run_id);
    if (store_send(tx,
                   "UPDATE psync.run SET swept = true, progress_at = now() WHERE run_id = $1",
                   p, NULL, err) != 0 ||
        sweep_confirmed(&w, &confirmed, err) != 0 ||
        store_send(tx,
                   "SELECT object_type, bool_or(kind = 'scope' AND status = 'failed')"
                   " FROM psync.run_chunk WHERE run_id = $1 GROUP BY 1",
                   p, &types, err) != 0 ||
        store_sync(tx, err) != 0) {
        return -1;
    }
    for (int i = 0; i < rows_count(types); i++) {
        w.unread = w.unread || rows_bool(types, i, 1);
    }
    w.confirmed = rows_count(confirmed) > 0 ? rows_int(confirmed, 0, 0) : 0;
    /* In the order of the provider's table: members before what hangs below them. */
    for (const struct object_type *o = pr->objects; o->name != NULL; o++) {
        bool related = (o->flags & OBJECT_RELATED) != 0;
        bool ran = related; /* without a member no chunk of it was made */
        for (int i = 0; i < rows_count(types); i++) {
            ran = ran || strcmp(rows_text(types, i, 0), o->name) == 0;
        }
        if (ran && !(related && w.held) && sweep_object(&w, o, err) != 0) {
            return -1;
        }
    }
    *made = w.made;
    return 0;
}

/* ---- counting ---- */

/* $1 run, $2 connection, $3 the scoped type, $4 the types that hang below it. What hangs below
 * was named by the ids of the chunks; the scope told its size itself. */
static const char *const count_sql =
    "WITH said AS (SELECT $3 AS object_type, expected AS n FROM psync.run"
    "   WHERE run_id = $1 AND expected IS NOT NULL"
    "  UNION ALL SELECT object_type, count(DISTINCT id) FROM psync.run_chunk k, unnest(k.ids) "
    "id"
    "   WHERE k.run_id = $1 AND k.kind = 'ids' AND k.object_type = ANY ($4)"
    "   GROUP BY object_type),"
    " counted AS (SELECT said.object_type, said.n,"
    "   (SELECT count(*) FROM psync.record r WHERE r.connection_id = $2"
    "     AND r.object_type = said.object_type AND r.deleted_at IS NULL AND r.in_scope) AS "
    "held,"
    "   (SELECT count(*) FROM psync.record_seen s WHERE s.connection_id = $2"
    "     AND s.object_type = said.object_type AND s.state = 'failing' AND NOT EXISTS ("
    "       SELECT FROM psync.record r WHERE r.connection_id = $2"
    "        AND r.object_type = s.object_type AND r.record_id = s.record_id"
    "        AND r.deleted_at IS NULL AND r.in_scope)) AS failing FROM said),"
    " kept AS (INSERT INTO psync.completeness AS k (connection_id, object_type,"
    "     provider_count, mirrored_count, failing_count, run_id)"
    "   SELECT $2, object_type, n, held, failing, $1 FROM counted"
    "   ON CONFLICT (connection_id, object_type) DO UPDATE SET"
    "     provider_count = excluded.provider_count, mirrored_count = excluded.mirrored_count,"
    "     failing_count = excluded.failing_count, run_id = excluded.run_id, checked_at = now())"
    " INSERT INTO psync.attempt (attempt_id, connection_id, run_id, kind, trigger, object_type,"
    "   status, error_code, error_message, error_count, started_at)"
    " SELECT psync.next_attempt_id(), $2, $1, 'check', r.trigger, object_type, 'failed',"
    "   'mirror_incomplete', n || ' at the provider, ' || held || ' here, ' || failing ||"
    "     ' that could not be written', 1, now()"
    " FROM counted, psync.run r WHERE r.run_id = $1 AND r.error_code = ''"
    "   AND r.status IN ('succeeded', 'partial') AND n <> held + failing";

int run_count(struct store_tx *tx, int64_t run_id, int64_t connection_id, const char *provider,
              struct err *err)
{
    const struct provider *pr = provider_find(provider);
    const struct object_type *scoped = NULL;
    CLEANUP(params_freep) struct params *p = params_new();
    if (pr == NULL) {
        err_set(err, ERR_INTERNAL, "cannot count for provider '%s'", provider);
        return -1;
    }
    for (const struct object_type *o = pr->objects; o->name != NULL; o++) {
        scoped = (o->flags & OBJECT_SCOPED) != 0 ? o : scoped;
    }
    if (scoped == NULL) {
        return 0;
    }
    params_int(p, run_id);
    params_int(p, connection_id);
    params_text(p, scoped->name);
    params_array_begin(p, ARRAY_TEXT);
    for (const struct object_type *o = pr->objects; o->name != NULL; o++) {
        if ((o->flags & OBJECT_RELATED) != 0) {
            params_array_text(p, o->name, strlen(o->name));
        }
    }
    params_array_end(p);
    return store_send(tx, count_sql, p, NULL, err);
}
