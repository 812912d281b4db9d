#include "worker/scope.h"

#include <stdlib.h>
#include <string.h>

enum { FOLLOW_MAX = 500000 }; /* related records of one batch of roots */

const struct object_type *scope_object(const struct connection *c)
{
    for (const struct object_type *o = c->provider->objects; o->name != NULL; o++) {
        if ((o->flags & OBJECT_SCOPED) != 0) {
            return o;
        }
    }
    return NULL;
}

static struct params *id_params(const struct connection *c, const char *const *ids, int n)
{
    struct params *p = params_new();
    params_int(p, c->connection_id);
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n; i++) {
        params_array_text(p, ids[i], strlen(ids[i]));
    }
    params_array_end(p);
    return p;
}

static int members(struct worker *w, const char *sql, struct params *p, int n, bool *member,
                   struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    memset(member, 0, (size_t)n * sizeof *member);
    if (store_query(w->app->store, sql, p, &r, err) != 0) {
        return -1;
    }
    for (int i = 0; i < rows_count(r); i++) {
        member[rows_int(r, i, 0)] = true;
    }
    return 0;
}

/* LIMIT makes each a look-up by key, whatever the planner believes: it walked all members of
 * the list, and all companies, for a delivery about one. */
#define EACH "SELECT n - 1 FROM unnest($2::text[]) WITH ORDINALITY AS t (id, n) "
#define A_MEMBER                                                                               \
    "CROSS JOIN LATERAL (SELECT FROM psync.scope_member"                                       \
    "  WHERE connection_id = $1::bigint AND record_id = t.id LIMIT 1) m "
#define THE_ROOT                                                                               \
    "LATERAL (SELECT deleted_at, in_scope FROM psync.record WHERE connection_id = $1::bigint"  \
    "  AND object_type = $3::text AND record_id = t.id LIMIT 1) r "

int scope_members(struct worker *w, const struct connection *c, const char *const *ids, int n,
                  bool *member, struct err *err)
{
    CLEANUP(params_freep) struct params *p = id_params(c, ids, n);
    return members(w, EACH A_MEMBER, p, n, member, err);
}

int scope_live_members(struct worker *w, const struct connection *c, const char *const *ids,
                       int n, bool *member, struct err *err)
{
    const struct object_type *root = scope_object(c);
    CLEANUP(params_freep) struct params *p = id_params(c, ids, n);
    if (root == NULL) {
        return -1;
    }
    params_text(p, root->name);
    return members(w, EACH A_MEMBER "LEFT JOIN " THE_ROOT "ON true WHERE r.deleted_at IS NULL",
                   p, n, member, err);
}

int scope_mirrored(struct worker *w, const struct connection *c, const char *const *ids, int n,
                   bool *mirrored, struct err *err)
{
    const struct object_type *root = scope_object(c);
    CLEANUP(params_freep) struct params *p = id_params(c, ids, n);
    if (root == NULL) {
        return -1;
    }
    params_text(p, root->name);
    return members(w, EACH "CROSS JOIN " THE_ROOT "WHERE r.deleted_at IS NULL AND r.in_scope",
                   p, n, mirrored, err);
}

int scope_note(struct worker *w, const struct connection *c, const char *id, bool in,
               struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, c->connection_id);
    params_text(p, id);
    return store_query(w->app->store,
                       in ? "INSERT INTO psync.scope_member (connection_id, record_id)"
                            " VALUES ($1, $2) ON CONFLICT DO NOTHING"
                          : "DELETE FROM psync.scope_member"
                            " WHERE connection_id = $1 AND record_id = $2",
                       p, NULL, err);
}

/* ---- contacts of members ---- */

/* Give each record the first of its candidates that is a member: candidate i is of record
 * of[i]. */
static int take_parents(struct worker *w, const struct connection *c, const char *const *ids,
                        const int *of, int n, struct scope_parent *parents, struct err *err)
{
    bool *member = calloc((size_t)n + 1, sizeof *member);
    if (member == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    int rc = n > 0 ? scope_live_members(w, c, ids, n, member, err) : 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        struct scope_parent *p = &parents[of[i]];
        /* Of several the lowest, as a full run has it. */
        if (member[i] && (p->id[0] == '\0' || strcmp(ids[i], p->id) < 0)) {
            snprintf(p->id, sizeof p->id, "%s", ids[i]);
        }
    }
    free(member);
    return rc;
}

static int own_parents(struct worker *w, const struct connection *c,
                       const struct record_list *list, struct scope_parent *parents,
                       struct err *err)
{
    const char **ids = calloc(list->count + 1, sizeof *ids);
    int *of = calloc(list->count + 1, sizeof *of);
    int n = 0;
    int rc = -1;
    if (ids == NULL || of == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
    } else {
        for (size_t i = 0; i < list->count; i++) {
            const struct record *r = &list->records[i];
            if (r->status == RECORD_FOUND && r->other_id[0] != '\0') {
                ids[n] = r->other_id;
                of[n++] = (int)i;
            }
        }
        rc = take_parents(w, c, ids, of, n, parents, err);
    }
    free((void *)ids);
    free(of);
    return rc;
}

static int asked_parents(struct worker *w, const struct connection *c,
                         const struct record_list *list, const struct record_list *refs,
                         struct scope_parent *parents, struct err *err)
{
    const char **ids = calloc(refs->count + 1, sizeof *ids);
    int *of = calloc(refs->count + 1, sizeof *of);
    int n = 0;
    int rc = -1;
    if (ids == NULL || of == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
    } else {
        for (size_t k = 0; k < refs->count; k++) {
            for (size_t i = 0; i < list->count; i++) {
                if (strcmp(list->records[i].id, refs->records[k].other_id) == 0) {
                    ids[n] = refs->records[k].id;
                    of[n++] = (int)i;
                    break;
                }
            }
        }
        rc = take_parents(w, c, ids, of, n, parents, err);
    }
    free((void *)ids);
    free(of);
    return rc;
}

enum fetch_end scope_parents(struct worker *w, struct fetch *f,
                             const struct object_type *related, const struct record_list *list,
                             struct scope_parent *parents, struct failure *why,
                             int64_t *later_ms)
{
    struct err err = {0};
    if (own_parents(w, f->conn, list, parents, &err) != 0) {
        return job_ours_failed(why, &err);
    }
    const char **ids = calloc(list->count + 1, sizeof *ids);
    int n = 0;
    if (ids == NULL) {
        err_set(&err, ERR_NOMEM, "out of memory");
        return job_ours_failed(why, &err);
    }
    for (size_t i = 0; i < list->count; i++) {
        if (list->records[i].status == RECORD_FOUND && parents[i].id[0] == '\0') {
            ids[n++] = list->records[i].id;
        }
    }
    enum fetch_end end = FETCH_OK;
    if (n > 0) {
        struct ask ask = {.kind = ASK_RELATED,
                          .object = related,
                          .related_object = scope_object(f->conn),
                          .ids = ids,
                          .id_count = n};
        struct record_list refs;
        record_list_init(&refs);
        end = fetch_ask(f, &ask, &refs, NULL, why, later_ms);
        if (end == FETCH_OK && asked_parents(w, f->conn, list, &refs, parents, &err) != 0) {
            end = job_ours_failed(why, &err);
        }
        record_list_release(&refs);
    }
    free((void *)ids);
    return end;
}

/* ---- what hangs below a root that came or went ---- */

static int put_related(struct worker *w, const struct claim *claim, const char *object,
                       const char *const *ids, int n, struct err *err)
{
    struct unit_put *puts = calloc((size_t)n + 1, sizeof *puts);
    if (puts == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    for (int i = 0; i < n; i++) {
        puts[i] = (struct unit_put){
            .connection_id = claim->connection_id,
            .shard = claim->shard,
            .kind = UNIT_RECORD,
            .object = object,
            .id = ids[i],
            .lane = LANE_RUN_NOW,
            .trigger = "scope",
            .actor = "",
            .hint = "",
        };
    }
    int rc = n > 0 ? queue_put(w->app->queue, puts, n, err) : 0;
    free(puts);
    return rc;
}

static int follow_entered(struct worker *w, struct fetch *f, const struct claim *claim,
                          const struct object_type *related, const char *const *ids, int n,
                          struct err *err)
{
    struct failure why;
    int64_t later_ms = 0;
    struct record_list refs;
    struct ask ask = {.kind = ASK_RELATED,
                      .object = scope_object(f->conn),
                      .related_object = related,
                      .ids = ids,
                      .id_count = n};
    int rc = -1;
    record_list_init(&refs);
    enum fetch_end end = fetch_ask(f, &ask, &refs, NULL, &why, &later_ms);
    const char **found = calloc(refs.count + 1, sizeof *found);
    if (end != FETCH_OK) {
        err_set(err, ERR_TEMPORARY, "%s", end == FETCH_LATER ? "no quota" : why.message);
    } else if (found == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
    } else {
        int count = refs.count < FOLLOW_MAX ? (int)refs.count : FOLLOW_MAX;
        for (int i = 0; i < count; i++) {
            found[i] = refs.records[i].id;
        }
        rc = put_related(w, claim, related->name, found, count, err);
    }
    free((void *)found);
    record_list_release(&refs);
    return rc;
}

static int follow_left(struct worker *w, const struct connection *c, const struct claim *claim,
                       const struct object_type *related, const char *const *ids, int n,
                       struct err *err)
{
    CLEANUP(params_freep) struct params *p = id_params(c, ids, n);
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_text(p, related->name);
    if (store_query(w->app->store,
                    "SELECT record_id FROM psync.record WHERE connection_id = $1"
                    " AND object_type = $3 AND parent_id = ANY ($2::text[])"
                    " AND in_scope AND deleted_at IS NULL",
                    p, &r, err) != 0) {
        return -1;
    }
    int count = rows_count(r);
    const char **found = calloc((size_t)count + 1, sizeof *found);
    if (found == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    for (int i = 0; i < count; i++) {
        found[i] = rows_text(r, i, 0);
    }
    int rc = put_related(w, claim, related->name, found, count, err);
    free((void *)found);
    return rc;
}

void scope_follow(struct worker *w, struct fetch *f, const struct claim *claim,
                  const char *const *entered, int entered_count, const char *const *left,
                  int left_count)
{
    struct err err = {0};
    for (const struct object_type *o = f->conn->provider->objects; o->name != NULL; o++) {
        if ((o->flags & OBJECT_RELATED) == 0 || !connection_mirrors(f->conn, o)) {
            continue;
        }
        if ((entered_count > 0 &&
             follow_entered(w, f, claim, o, entered, entered_count, &err) != 0) ||
            (left_count > 0 &&
             follow_left(w, f->conn, claim, o, left, left_count, &err) != 0)) {
            log_warn(w->app->log, "scope.follow", "cannot look at the %s of %d records: %s",
                     o->plural, entered_count + left_count, err.msg);
            err_clear(&err);
        }
    }
}
