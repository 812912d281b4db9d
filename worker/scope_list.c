/* The catch-up of a mirrored list. Joining and leaving move no modified date and are told by no
 * webhook: the newest joins are read on from where the last pass ended, and when the list's
 * size does not add up then, all members are compared. */
#include "worker/scope.h"

#include <stdlib.h>
#include <string.h>

/* As for a full run: more than this is held for a person. */
enum { GUARD_COUNT = 20, GUARD_PERCENT = 20 };

struct list_pass {
    struct worker *w;
    struct fetch *f;
    const struct claim *claim;
    struct scope_moves *moves;
    struct failure *why;
    int64_t *later_ms;
    struct err err;
};

static enum fetch_end pass_failed(struct list_pass *l)
{
    return job_ours_failed(l->why, &l->err);
}

static struct params *pass_params(struct list_pass *l)
{
    struct params *p = params_new();
    params_int(p, l->f->conn->connection_id);
    return p;
}

static int pass_query(struct list_pass *l, const char *sql, const struct params *p,
                      struct rows **out)
{
    return store_query(l->w->app->store, sql, p, out, &l->err);
}

/* Units for those whose membership changed; first column of the rows. */
static int pass_put(struct list_pass *l, const struct rows *r)
{
    int n = rows_count(r);
    struct unit_put *puts = calloc((size_t)n + 1, sizeof *puts);
    const struct object_type *o = scope_object(l->f->conn);
    if (puts == NULL || o == NULL) {
        free(puts);
        err_set(&l->err, ERR_NOMEM, "out of memory");
        return -1;
    }
    for (int i = 0; i < n; i++) {
        puts[i] = (struct unit_put){
            .connection_id = l->claim->connection_id,
            .shard = l->claim->shard,
            .kind = UNIT_RECORD,
            .object = o->name,
            .id = rows_text(r, i, 0),
            .lane = LANE_RUN_NOW,
            .trigger = "catch-up",
            .actor = "",
            .hint = "",
        };
    }
    int rc = n > 0 ? queue_put(l->w->app->queue, puts, n, &l->err) : 0;
    free(puts);
    l->moves->count += n;
    return rc;
}

static void add_ids(struct params *p, const struct record_list *page)
{
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; i < page->count; i++) {
        params_array_text(p, page->records[i].id, strlen(page->records[i].id));
    }
    params_array_end(p);
}

/* Those of a page who were no members. */
static int note_joins(struct list_pass *l, const struct record_list *page)
{
    CLEANUP(params_freep) struct params *p = pass_params(l);
    CLEANUP(rows_freep) struct rows *r = NULL;
    add_ids(p, page);
    return pass_query(l,
                      "INSERT INTO psync.scope_member (connection_id, record_id)"
                      " SELECT $1, id FROM (SELECT DISTINCT unnest($2::text[]) AS id) x"
                      " ORDER BY id ON CONFLICT DO NOTHING RETURNING record_id",
                      p, &r) != 0
               ? -1
               : pass_put(l, r);
}

/* ---- the newest joins ---- */

/* Where the last pass ended, for this list; NULL = from the start. */
static char *join_cursor(struct list_pass *l)
{
    CLEANUP(params_freep) struct params *p = pass_params(l);
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (pass_query(l,
                   "SELECT settings #>> '{join,cursor}' FROM psync.connection"
                   " WHERE connection_id = $1 AND settings #>> '{join,list}' = scope_id",
                   p, &r) != 0 ||
        rows_count(r) == 0 || rows_is_null(r, 0, 0)) {
        return NULL;
    }
    return strdup(rows_text(r, 0, 0));
}

static int keep_join_cursor(struct list_pass *l, const char *cursor)
{
    CLEANUP(params_freep) struct params *p = pass_params(l);
    params_text(p, cursor);
    return pass_query(l,
                      "UPDATE psync.connection SET settings = settings || jsonb_build_object("
                      "   'join', jsonb_build_object('list', scope_id, 'cursor', $2::text))"
                      " WHERE connection_id = $1"
                      "   AND settings #>> '{join,cursor}' IS DISTINCT FROM $2::text",
                      p, NULL);
}

/* Reads on from the cursor; the last page's own is kept, so that the next pass reads that page
 * again with what was added behind it. */
static enum fetch_end read_joins(struct list_pass *l)
{
    char *cursor = join_cursor(l);
    bool kept = cursor != NULL;
    enum fetch_end end;
    bool more;
    do {
        struct ask ask = {.kind = ASK_SCOPE_JOINS, .cursor = cursor};
        struct record_list page;
        record_list_init(&page);
        end = fetch_ask(l->f, &ask, &page, NULL, l->why, l->later_ms);
        more = end == FETCH_OK && page.has_more && page.cursor != NULL;
        if (end == FETCH_OK && note_joins(l, &page) != 0) {
            end = pass_failed(l);
            more = false;
        }
        if (more) {
            free(cursor);
            cursor = strdup(page.cursor);
            kept = false;
        }
        record_list_release(&page);
    } while (more);
    bool bad_cursor = kept && end == FETCH_FAILED && l->why->type == ET_INVALID_REQUEST;
    if ((bad_cursor || (end == FETCH_OK && !kept)) &&
        keep_join_cursor(l, bad_cursor ? NULL : cursor) != 0) {
        end = pass_failed(l);
    } else if (bad_cursor) {
        end = FETCH_OK; /* the next pass begins anew; sizes tell what this one missed */
    }
    free(cursor);
    return end;
}

/* ---- all members ---- */

/* -1 with err; 0 also while a full run reads the list. */
static int64_t count_members(struct list_pass *l)
{
    CLEANUP(params_freep) struct params *p = pass_params(l);
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (pass_query(l,
                   "SELECT count(*) FROM psync.scope_member"
                   " WHERE connection_id = $1 AND NOT EXISTS (SELECT FROM psync.run"
                   "   WHERE connection_id = $1 AND kind = 'full'"
                   "     AND status IN ('queued', 'running'))",
                   p, &r) != 0) {
        return -1;
    }
    return rows_int(r, 0, 0);
}

/* All members of now. */
static enum fetch_end read_members(struct list_pass *l, struct record_list *out)
{
    char *cursor = NULL;
    enum fetch_end end;
    bool more;
    do {
        struct ask ask = {
            .kind = ASK_SCOPE_PAGE, .object = scope_object(l->f->conn), .cursor = cursor};
        end = fetch_ask(l->f, &ask, out, NULL, l->why, l->later_ms);
        more = end == FETCH_OK && out->has_more && out->cursor != NULL;
        free(cursor);
        cursor = more ? strdup(out->cursor) : NULL;
    } while (more);
    free(cursor);
    return end;
}

/* Who is a member here and not there. Asked once more before anything is archived: they are
 * forgotten as members, so their units ask. */
static int note_leavers(struct list_pass *l, const struct record_list *all, int64_t ours)
{
    CLEANUP(params_freep) struct params *p = pass_params(l);
    CLEANUP(rows_freep) struct rows *r = NULL;
    add_ids(p, all);
    if (pass_query(l,
                   "SELECT record_id FROM psync.scope_member WHERE connection_id = $1"
                   " AND NOT record_id = ANY ($2::text[])",
                   p, &r) != 0) {
        return -1;
    }
    int left = rows_count(r);
    if (left > 0 && (all->count == 0 ||
                     (left >= GUARD_COUNT && (int64_t)left * 100 >= ours * GUARD_PERCENT))) {
        char text[160];
        snprintf(text, sizeof text,
                 "%d of %lld members left the list at once; nothing was archived", left,
                 (long long)ours);
        fetch_failure(&l->moves->why, ET_MASS_REMOVAL_GUARD, text);
        l->moves->held = true;
        return 0;
    }
    if (left == 0) {
        return 0;
    }
    CLEANUP(params_freep) struct params *d = pass_params(l);
    params_array_begin(d, ARRAY_TEXT);
    for (int i = 0; i < left; i++) {
        params_array_text(d, rows_text(r, i, 0), strlen(rows_text(r, i, 0)));
    }
    params_array_end(d);
    if (pass_query(l,
                   "DELETE FROM psync.scope_member WHERE connection_id = $1"
                   " AND record_id = ANY ($2::text[])",
                   d, NULL) != 0) {
        return -1;
    }
    return pass_put(l, r);
}

static enum fetch_end compare_members(struct list_pass *l, int64_t ours)
{
    struct record_list all;
    record_list_init(&all);
    enum fetch_end end = read_members(l, &all);
    if (end == FETCH_OK && (note_joins(l, &all) != 0 || note_leavers(l, &all, ours) != 0)) {
        end = pass_failed(l);
    }
    record_list_release(&all);
    return end;
}

static enum fetch_end read_size(struct list_pass *l, int64_t *size)
{
    struct record_list none;
    json_t *facts = NULL;
    struct ask ask = {.kind = ASK_SCOPE_INFO};
    record_list_init(&none);
    enum fetch_end end = fetch_ask(l->f, &ask, &none, &facts, l->why, l->later_ms);
    const json_t *value = json_object_get(json_object_get(facts, "list"), "size");
    *size = json_is_integer(value) ? json_integer_value(value) : -1;
    json_decref(facts);
    record_list_release(&none);
    if (end == FETCH_OK && *size >= 0) {
        CLEANUP(params_freep) struct params *p = pass_params(l);
        params_int(p, *size);
        if (pass_query(l,
                       "UPDATE psync.connection SET scope_size = $2 WHERE connection_id = $1"
                       " AND scope_size IS DISTINCT FROM $2",
                       p, NULL) != 0) {
            return pass_failed(l);
        }
    }
    return end;
}

enum fetch_end scope_catch_up(struct worker *w, struct fetch *f, const struct claim *claim,
                              struct scope_moves *moves, struct failure *why, int64_t *later_ms)
{
    struct list_pass l = {
        .w = w, .f = f, .claim = claim, .moves = moves, .why = why, .later_ms = later_ms};
    int64_t size = -1;
    if (strcmp(f->conn->scope_kind, "list") != 0) {
        return FETCH_OK;
    }
    int64_t before = count_members(&l);
    if (before < 0) {
        return pass_failed(&l);
    }
    if (before == 0) {
        return FETCH_OK; /* a full run has yet to read it */
    }
    enum fetch_end end = read_size(&l, &size);
    if (end == FETCH_OK) {
        end = read_joins(&l);
    }
    if (end != FETCH_OK) {
        return end;
    }
    int64_t ours = count_members(&l);
    return ours == size || ours == 0 ? FETCH_OK : compare_members(&l, ours);
}
