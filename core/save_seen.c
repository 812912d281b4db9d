/* record_seen: bumped by every fetch, so that order and completeness never need the wide row.
 */
#include "core/save_priv.h"

/* fetched_at is when the fetch began: what changed later it may not have seen. The rows come
 * sorted by id and are locked in that order. A row that does not come back was written by a
 * later fetch: ours is stale. What comes back is still the old hash. */
static const char *const seen_sql =
    "INSERT INTO psync.record_seen AS s (connection_id, object_type, record_id, fetch_no, "
    "run_id, fetched_at) "
    "SELECT $1::bigint, $2::text, x, $4::bigint, nullif($5::bigint, 0), "
    "coalesce($6::timestamptz, now())"
    " FROM unnest($3::text[]) AS x "
    "ON CONFLICT (connection_id, object_type, record_id) DO UPDATE SET"
    " fetch_no = excluded.fetch_no, fetched_at = excluded.fetched_at,"
    " run_id = coalesce(excluded.run_id, s.run_id) "
    "WHERE s.fetch_no < excluded.fetch_no "
    "RETURNING record_id, encode(hash, 'hex'), state, reason_code, fail_count";

/* After the seen rows are locked, so what it sees is what the winner before us left. The
 * mapped fields are as last written exactly when writing them again would change nothing. LIMIT
 * 1 makes each a look-up by primary key whatever the planner believes: a first sync runs before
 * the tables were ever analysed, and a join over the whole connection took 60 ms a batch. */
static const char *const before_sql =
    "SELECT x.id, r.deleted_at IS NOT NULL, r.in_scope, l.customer_id, l.mapping_version,"
    " l.how = 'source', coalesce(c.fields || l.applied = c.fields, false),"
    " c.archived_at IS NOT NULL, coalesce(r.parent_id, '') "
    "FROM unnest($3::text[]) AS x (id) "
    "CROSS JOIN LATERAL (SELECT * FROM psync.record WHERE connection_id = $1::bigint"
    "  AND object_type = $2::text AND record_id = x.id LIMIT 1) r "
    "LEFT JOIN LATERAL (SELECT * FROM psync.record_link WHERE connection_id = $1::bigint"
    "  AND object_type = $2::text AND record_id = x.id LIMIT 1) l ON true "
    "LEFT JOIN LATERAL (SELECT * FROM psync.customer WHERE customer_id = l.customer_id"
    "  LIMIT 1) c ON true";

void save_add_ids(struct params *p, const struct save_row *rows, int n,
                  bool (*wanted)(const struct save_row *row))
{
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n; i++) {
        if (wanted == NULL || wanted(&rows[i])) {
            params_array_text(p, rows[i].id, strlen(rows[i].id));
        }
    }
    params_array_end(p);
}

static struct save_row *row_of(struct save_row *rows, int n, const char *id)
{
    int from = 0;
    while (from < n) {
        int middle = from + (n - from) / 2;
        int order = strcmp(rows[middle].id, id);
        if (order == 0) {
            return &rows[middle];
        }
        if (order < 0) {
            from = middle + 1;
        } else {
            n = middle;
        }
    }
    return NULL;
}

static void take_seen(struct save_row *rows, int n, const struct rows *r)
{
    for (int i = 0; i < rows_count(r); i++) {
        struct save_row *row = row_of(rows, n, rows_text(r, i, 0));
        if (row == NULL) {
            continue;
        }
        row->fresh = true;
        (void)snprintf(row->hash, sizeof row->hash, "%s", rows_text(r, i, 1));
        (void)snprintf(row->state, sizeof row->state, "%s", rows_text(r, i, 2));
        (void)snprintf(row->code, sizeof row->code, "%s", rows_text(r, i, 3));
        row->fail_count = (int)rows_int(r, i, 4);
    }
}

static void take_before(struct save_row *rows, int n, const struct rows *r)
{
    for (int i = 0; i < rows_count(r); i++) {
        struct save_row *row = row_of(rows, n, rows_text(r, i, 0));
        if (row == NULL) {
            continue;
        }
        row->known = true;
        row->deleted = rows_bool(r, i, 1);
        row->was_in_scope = rows_bool(r, i, 2);
        row->customer_id = rows_int(r, i, 3);
        row->mapping_version = (int)rows_int(r, i, 4);
        row->own = rows_bool(r, i, 5);
        row->intact = rows_bool(r, i, 6);
        row->archived = rows_bool(r, i, 7);
        (void)snprintf(row->parent, sizeof row->parent, "%s", rows_text(r, i, 8));
    }
}

static struct params *scope_params(const struct save *s)
{
    struct params *p = params_new();
    params_int(p, s->job->conn->connection_id);
    params_text(p, s->job->object->name);
    return p;
}

/* Which roots a full run works out anew though nothing of them changed: where a scope filters,
 * all of them, since it may be another scope now. */
static bool asks_timed(const struct save *s)
{
    return s->root && !s->root_self && s->job->run_id != 0;
}

static int send_timed(struct save *s, const struct save_row *rows, int n, struct rows **out,
                      struct err *err)
{
    const struct connection *c = s->job->conn;
    char sql[160];
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, c->connection_id);
    save_add_ids(p, rows, n, NULL);
    params_text(p, c->currency[0] != '\0' ? c->currency : c->account_currency);
    (void)snprintf(sql, sizeof sql,
                   "SELECT id FROM psync.%s_timed($1::bigint, $2::text[], $3::text) AS t (id)",
                   c->provider->name);
    return store_send(s->tx, sql, p, out, err);
}

static void take_timed(struct save_row *rows, int n, const struct rows *r)
{
    for (int i = 0; i < rows_count(r); i++) {
        struct save_row *row = row_of(rows, n, rows_text(r, i, 0));
        if (row != NULL) {
            row->timed = true;
        }
    }
}

int save_seen(struct save *s, struct save_row *rows, int n, struct err *err)
{
    bool filtered = s->job->conn->scope_kind[0] != '\0';
    CLEANUP(params_freep) struct params *bump = scope_params(s);
    CLEANUP(params_freep) struct params *read = scope_params(s);
    CLEANUP(rows_freep) struct rows *seen = NULL;
    CLEANUP(rows_freep) struct rows *before = NULL;
    CLEANUP(rows_freep) struct rows *timed = NULL;
    save_add_ids(bump, rows, n, NULL);
    params_int(bump, s->job->fetch_no);
    params_int(bump, s->job->run_id);
    params_time_ms(bump, s->job->started_at_ms);
    save_add_ids(read, rows, n, NULL);
    if (store_send(s->tx, seen_sql, bump, &seen, err) != 0 ||
        store_send(s->tx, before_sql, read, &before, err) != 0 ||
        (asks_timed(s) && send_timed(s, rows, n, &timed, err) != 0) ||
        store_sync(s->tx, err) != 0) {
        err_wrap(err, "mark records as seen");
        return -1;
    }
    for (int i = 0; i < n; i++) {
        /* A part that is tried again after a rollback starts from nothing. */
        struct save_row blank = {.item = rows[i].item,
                                 .verdict = rows[i].verdict,
                                 .id = rows[i].id,
                                 .was_in_scope = true,
                                 .timed = filtered};
        rows[i] = blank;
    }
    take_seen(rows, n, seen);
    take_timed(rows, n, timed);
    take_before(rows, n, before);
    return 0;
}

/* ---- what failed ---- */

static bool has_failed(const struct save_row *row)
{
    return row->new_state != NULL && strcmp(row->new_state, "failing") == 0 &&
           row->verdict->failure.type != ET_NONE && !row->fresh;
}

static const char *const failed_sql =
    "INSERT INTO psync.record_seen AS s (connection_id, object_type, record_id, fetch_no,"
    " run_id, fetched_at, state, reason_code, fail_count) "
    "SELECT $1::bigint, $2::text, x.id, $5::bigint, nullif($6::bigint, 0), "
    "coalesce($7::timestamptz, now()),"
    " 'failing', x.code, 1"
    " FROM unnest($3::text[], $4::text[]) AS x (id, code) "
    "ON CONFLICT (connection_id, object_type, record_id) DO UPDATE SET"
    " fetch_no = excluded.fetch_no, fetched_at = excluded.fetched_at,"
    " run_id = coalesce(excluded.run_id, s.run_id), state = excluded.state,"
    " reason_code = excluded.reason_code, fail_count = s.fail_count + 1 "
    "WHERE s.fetch_no < excluded.fetch_no";

int save_seen_failed(struct save *s, struct err *err)
{
    int count = 0;
    for (int i = 0; i < s->row_count; i++) {
        count += has_failed(&s->rows[i]);
    }
    if (count == 0) {
        return 0;
    }
    CLEANUP(params_freep) struct params *p = scope_params(s);
    save_add_ids(p, s->rows, s->row_count, has_failed);
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < s->row_count; i++) {
        if (has_failed(&s->rows[i])) {
            const char *code = error_info(s->rows[i].verdict->failure.type)->code;
            params_array_text(p, code, strlen(code));
        }
    }
    params_array_end(p);
    params_int(p, s->job->fetch_no);
    params_int(p, s->job->run_id);
    params_time_ms(p, s->job->started_at_ms);
    return store_send(s->tx, failed_sql, p, NULL, err);
}

/* ---- what became of them ---- */

/* An upsert of rows that are there: the one form of UPDATE that goes by the primary key on
 * tables that were never analysed (see before_sql). */
#define FINISH_SQL(hash)                                                                       \
    "INSERT INTO psync.record_seen AS s (connection_id, object_type, record_id, fetch_no,"     \
    " hash, state, reason_code) "                                                              \
    "SELECT $1::bigint, $2::text, x.id, 0, x.hash, x.state, x.code"                            \
    " FROM unnest($3::text[], $4::bytea[], $5::text[], $6::text[])"                            \
    "  AS x (id, hash, state, code) "                                                          \
    "ON CONFLICT (connection_id, object_type, record_id) DO UPDATE SET"                        \
    " hash = " hash ", state = excluded.state, reason_code = excluded.reason_code,"            \
    " fail_count = CASE WHEN excluded.state = 'failing' THEN s.fail_count + 1 ELSE 0 END"

static const char *const finish_sql = FINISH_SQL("excluded.hash");
static const char *const finish_roots_sql = FINISH_SQL("s.hash");

static int from_hex(char c)
{
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

/* What the row's hash is from now on. */
static void add_hash(struct params *p, const struct save_row *row)
{
    unsigned char old[RECORD_HASH_BYTES];
    if (row->hash_new) {
        params_array_text(p, (const char *)row->item->record->hash, RECORD_HASH_BYTES);
    } else if (row->hash_clear || strlen(row->hash) != 2 * sizeof old) {
        params_array_null(p);
    } else {
        for (size_t i = 0; i < sizeof old; i++) {
            old[i] = (unsigned char)(from_hex(row->hash[2 * i]) * 16 +
                                     from_hex(row->hash[2 * i + 1]));
        }
        params_array_text(p, (const char *)old, sizeof old);
    }
}

static bool seen_differs(const struct save_row *row)
{
    return row->fresh &&
           (row->hash_new || row->hash_clear || strcmp(row->new_state, row->state) != 0 ||
            strcmp(row->new_code, row->code) != 0 ||
            (row->fail_count > 0 && strcmp(row->new_state, "failing") != 0));
}

int save_seen_finish(struct save *s, struct save_row *rows, int n, struct err *err)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        count += seen_differs(&rows[i]);
    }
    if (count == 0) {
        return 0;
    }
    CLEANUP(params_freep) struct params *p = scope_params(s);
    save_add_ids(p, rows, n, seen_differs);
    for (int column = 0; column < 3; column++) {
        params_array_begin(p, column == 0 ? ARRAY_BYTEA : ARRAY_TEXT);
        for (int i = 0; i < n; i++) {
            if (!seen_differs(&rows[i])) {
                continue;
            }
            if (column == 0) {
                add_hash(p, &rows[i]);
            } else {
                const char *text = column == 1 ? rows[i].new_state : rows[i].new_code;
                params_array_text(p, text, strlen(text));
            }
        }
        params_array_end(p);
    }
    return store_send(s->tx, finish_sql, p, NULL, err);
}

/* ---- roots that are not of the batch ---- */

const char *save_state_of(enum error_type type)
{
    const struct error_info *info = error_info(type);
    if (info == NULL) {
        return "in_sync";
    }
    switch (type) {
    case ET_MATCH_NONE:
    case ET_MATCH_NO_KEY:
        return "unmatched";
    case ET_MATCH_AMBIGUOUS:
    case ET_DUPLICATE_SOURCE:
        return "ambiguous";
    case ET_MATCH_PERSONAL_EMAIL:
    case ET_NOT_IN_MIRRORED_LIST:
    case ET_OUT_OF_STRIPE_SCOPE:
        return "excluded";
    case ET_RECORD_DELETED:
    case ET_RECORD_NOT_FOUND:
        return "archived";
    case ET_RECORD_MERGED:
        return "merged";
    default: /* all types that are left mean one of two things */
        return info->severity == SEVERITY_ERROR ? "failing" : "in_sync";
    }
}

static enum error_type root_problem(const struct root *root)
{
    if (root->problem != ET_NONE) {
        return root->problem;
    }
    return root->deleted                    ? ET_RECORD_DELETED
           : root->mapped.problem_count > 0 ? root->mapped.problems[0].type
                                            : ET_NONE;
}

static bool root_differs(const struct root *root)
{
    enum error_type type = root_problem(root);
    return root->row == NULL && root->state[0] != '\0' &&
           (strcmp(root->state, save_state_of(type)) != 0 ||
            strcmp(root->code, type == ET_NONE ? "" : error_info(type)->code) != 0);
}

int save_seen_roots(const struct roots *r, struct err *err)
{
    int count = 0;
    for (int i = 0; i < r->count; i++) {
        count += root_differs(&r->items[i]);
    }
    if (count == 0) {
        return 0;
    }
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, r->conn->connection_id);
    params_text(p, r->object->name);
    for (int column = 0; column < 4; column++) {
        params_array_begin(p, column == 1 ? ARRAY_BYTEA : ARRAY_TEXT);
        for (int i = 0; i < r->count; i++) {
            const struct root *root = &r->items[i];
            if (!root_differs(root)) {
                continue;
            }
            enum error_type type = root_problem(root);
            const char *text = column == 0       ? root->id
                               : column == 2     ? save_state_of(type)
                               : type == ET_NONE ? ""
                                                 : error_info(type)->code;
            params_array_text(p, column == 1 ? NULL : text, strlen(text));
        }
        params_array_end(p);
    }
    return store_send(r->tx, finish_roots_sql, p, NULL, err);
}
