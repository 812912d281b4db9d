/* The wide rows: written when their hash differs, marked when they leave. */
#include "core/filter.h"
#include "core/save_priv.h"

#include <stdarg.h>

void save_fail(struct save_verdict *v, enum error_type type, const char *fmt, ...)
{
    va_list ap;
    /* Of our own failures a save has only want of memory, which comes again by itself. */
    v->failure = (struct failure){
        .type = type, .wait_ms = -1, .retry_advice = type == ET_INTERNAL_ERROR};
    va_start(ap, fmt);
    (void)vsnprintf(v->failure.message, sizeof v->failure.message, fmt, ap);
    va_end(ap);
}

/* ---- deciding ---- */

static void hex(const unsigned char *bytes, char out[2 * RECORD_HASH_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < RECORD_HASH_BYTES; i++) {
        out[2 * i] = digits[bytes[i] >> 4U];
        out[2 * i + 1] = digits[bytes[i] & 15U];
    }
    out[(size_t)2 * RECORD_HASH_BYTES] = '\0';
}

static void say_outside(const struct save *s, struct save_row *row)
{
    const struct connection *c = s->job->conn;
    if ((s->job->object->flags & OBJECT_FILTERED) != 0) {
        save_fail(row->verdict, ET_OUT_OF_STRIPE_SCOPE,
                  "%s %s has no price in the mirrored scope (%s %.100s)", s->job->object->name,
                  row->id, c->scope_kind, c->scope_id);
        return;
    }
    save_fail(row->verdict, ET_NOT_IN_MIRRORED_LIST, "%s %s is not in the mirrored %s %s",
              s->job->object->name, row->id, c->scope_kind[0] != '\0' ? c->scope_kind : "scope",
              c->scope_name[0] != '\0' ? c->scope_name : c->scope_id);
}

/* An association alone changes nothing of the record itself. */
static bool parent_moved(const struct save_row *row)
{
    const char *parent = row->item->parent_id;
    return parent != NULL && strcmp(parent, row->parent) != 0;
}

/* A record outside the mirrored scope that was never inside is not kept at all: only that it
 * was seen, so that "why is it missing" has an answer. */
static void decide_found(struct save *s, struct save_row *row)
{
    char now[2 * RECORD_HASH_BYTES + 1];
    enum scope_verdict scope = row->item->scope;
    if ((s->job->object->flags & OBJECT_FILTERED) != 0) {
        scope = filter_inside(s->job->conn, s->job->object, row->item->record->raw) ? SCOPE_IN
                                                                                    : SCOPE_OUT;
    }
    hex(row->item->record->hash, now);
    row->in_scope = scope == SCOPE_IN || (scope == SCOPE_KEEP && row->was_in_scope);
    if (!row->in_scope && !row->known) {
        row->hash_clear = row->hash[0] != '\0';
    } else {
        row->write =
            !row->known || row->deleted || strcmp(row->hash, now) != 0 || parent_moved(row);
        row->hash_new = row->write;
    }
    if (!row->in_scope) {
        say_outside(s, row);
    }
}

/* Somebody asked for an id of which we never saw a record. A delivery about one means a record
 * that was made and deleted before we looked. */
static bool never_was_here(const struct save_row *row)
{
    const struct unit *u = row->item->unit;
    bool asked = u != NULL && u->lane == LANE_INTERACTIVE;
    bool other =
        strcmp(row->code, "record_deleted") == 0 || strcmp(row->code, "record_merged") == 0;
    return asked && !row->known && row->hash[0] == '\0' && !other;
}

static void decide_row(struct save *s, struct save_row *row)
{
    struct save_verdict *v = row->verdict;
    const struct record *rec = row->item->record;
    *v = (struct save_verdict){.customer_id = row->customer_id};
    row->in_scope = row->was_in_scope;
    row->new_state = row->new_code = "";
    if (!row->fresh) {
        v->stale = true;
        save_fail(v, ET_STALE_EVENT, "a later fetch of %s is stored already", row->id);
        return;
    }
    switch (rec->status) {
    case RECORD_FOUND:
        decide_found(s, row);
        break;
    case RECORD_GONE:
        row->hash_clear = row->hash[0] != '\0';
        if (never_was_here(row)) {
            save_fail(v, ET_RECORD_NOT_FOUND, "there is no %s %s that we may see",
                      s->job->object->name, row->id);
        } else {
            save_fail(v, ET_RECORD_DELETED, "%s %s was deleted at the provider",
                      s->job->object->name, row->id);
        }
        break;
    case RECORD_MERGED:
        row->hash_clear = row->hash[0] != '\0';
        save_fail(v, ET_RECORD_MERGED, "%s %s was merged into %s", s->job->object->name,
                  row->id, rec->other_id);
        break;
    case RECORD_REF: /* outside, so nobody asked for it */
        row->in_scope = false;
        say_outside(s, row);
        break;
    case RECORD_FAILED:
        break; /* never comes here */
    }
    const struct error_info *info = error_info(v->failure.type);
    row->new_state = info == NULL ? "in_sync" : save_state_of(v->failure.type);
    row->new_code = info == NULL ? "" : info->code;
    bool was_in = row->known && row->was_in_scope && !row->deleted;
    bool is_in = rec->status == RECORD_FOUND && row->in_scope;
    v->entered = is_in && !was_in;
    v->left = was_in && !is_in;
    v->restored = row->known && row->deleted && is_in;
    v->changed = row->write || (row->known && !row->deleted && row->hash_clear) ||
                 (row->known && row->in_scope != row->was_in_scope);
}

void save_decide(struct save *s, struct save_row *rows, int n)
{
    for (int i = 0; i < n; i++) {
        decide_row(s, &rows[i]);
    }
}

/* ---- writing ---- */

static bool to_write(const struct save_row *row)
{
    return row->fresh && row->write;
}

/* A record that names its customer (all of Stripe's do so alike) hangs below it. */
static const char *const write_sql =
    "INSERT INTO psync.record AS r (connection_id, object_type, record_id, raw, parent_id,"
    " created_at, updated_at, in_scope) "
    "SELECT $1::bigint, $2::text, x.id, x.raw, coalesce(x.parent, CASE WHEN $9::bool THEN"
    "  CASE jsonb_typeof(x.raw -> 'customer') WHEN 'string' THEN x.raw ->> 'customer'"
    "  WHEN 'object' THEN x.raw #>> '{customer,id}' END END),"
    " x.created_at, x.updated_at, x.in_scope "
    "FROM (SELECT id, raw::jsonb AS raw, parent, created_at, updated_at, in_scope"
    "  FROM unnest($3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],"
    "  $8::bool[]) AS u (id, raw, parent, created_at, updated_at, in_scope) OFFSET 0) AS x "
    "ON CONFLICT (connection_id, object_type, record_id) DO UPDATE SET raw = excluded.raw,"
    " parent_id = coalesce(excluded.parent_id, r.parent_id),"
    " created_at = coalesce(excluded.created_at, r.created_at),"
    " updated_at = excluded.updated_at, written_at = now(), deleted_at = NULL,"
    " merged_into = NULL, in_scope = excluded.in_scope";

static void add_raws(struct params *p, const struct save_row *rows, int n)
{
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n; i++) {
        if (to_write(&rows[i])) {
            struct slice raw = rows[i].item->record->raw;
            params_array_text(p, raw.bytes, raw.len_bytes);
        }
    }
    params_array_end(p);
}

static void add_rest(struct params *p, const struct save_row *rows, int n)
{
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n; i++) {
        if (to_write(&rows[i])) {
            const char *parent = rows[i].item->parent_id;
            params_array_text(p, parent, parent != NULL ? strlen(parent) : 0);
        }
    }
    params_array_end(p);
    for (int column = 0; column < 3; column++) {
        params_array_begin(p, column < 2 ? ARRAY_TIME : ARRAY_BOOL);
        for (int i = 0; i < n; i++) {
            const struct record *rec = rows[i].item->record;
            if (to_write(&rows[i])) {
                params_array_int(p, column == 0   ? rec->created_s * 1000
                                    : column == 1 ? rec->updated_at_ms
                                                  : rows[i].in_scope);
            }
        }
        params_array_end(p);
    }
}

static int send_wide(struct save *s, struct save_row *rows, int n, struct err *err)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        count += to_write(&rows[i]);
    }
    if (count == 0) {
        return 0;
    }
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, s->job->conn->connection_id);
    params_text(p, s->job->object->name);
    save_add_ids(p, rows, n, to_write);
    add_raws(p, rows, n);
    add_rest(p, rows, n);
    params_bool(p, !s->root);
    return store_send(s->tx, write_sql, p, NULL, err);
}

/* ---- marking ---- */

static bool leaves(const struct save_row *row)
{
    return row->item->record->status == RECORD_GONE ||
           row->item->record->status == RECORD_MERGED;
}

static bool to_mark(const struct save_row *row)
{
    return row->fresh && row->known && !row->write &&
           ((leaves(row) && !row->deleted) || row->in_scope != row->was_in_scope);
}

static const char *const mark_sql =
    "UPDATE psync.record r SET"
    " deleted_at = CASE WHEN x.gone THEN coalesce(r.deleted_at, now()) END,"
    " merged_into = x.survivor, in_scope = x.in_scope, written_at = now() "
    "FROM unnest($3::text[], $4::bool[], $5::text[], $6::bool[])"
    " AS x (id, gone, survivor, in_scope) "
    "WHERE r.connection_id = $1::bigint AND r.object_type = $2::text AND r.record_id = x.id"
    " AND r.record_id = ANY ($3::text[])"; /* for the index */

static int send_marks(struct save *s, struct save_row *rows, int n, struct err *err)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        count += to_mark(&rows[i]);
    }
    if (count == 0) {
        return 0;
    }
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, s->job->conn->connection_id);
    params_text(p, s->job->object->name);
    save_add_ids(p, rows, n, to_mark);
    for (int column = 0; column < 3; column++) {
        params_array_begin(p, column == 1 ? ARRAY_TEXT : ARRAY_BOOL);
        for (int i = 0; i < n; i++) {
            const struct record *rec = rows[i].item->record;
            if (!to_mark(&rows[i])) {
                continue;
            }
            if (column == 1) {
                bool merged = rec->status == RECORD_MERGED;
                params_array_text(p, merged ? rec->other_id : NULL,
                                  merged ? strlen(rec->other_id) : 0);
            } else {
                params_array_int(p, column == 0 ? leaves(&rows[i]) : rows[i].in_scope);
            }
        }
        params_array_end(p);
    }
    return store_send(s->tx, mark_sql, p, NULL, err);
}

int save_write_rows(struct save *s, struct save_row *rows, int n, struct err *err)
{
    return send_wide(s, rows, n, err) != 0 ? -1 : send_marks(s, rows, n, err);
}

/* ---- erasing ---- */

static bool to_erase(const struct save_row *row)
{
    const struct unit *u = row->item->unit;
    if (row->item->record->status == RECORD_FOUND) {
        return false; /* a hint adds work; what was fetched decides */
    }
    for (int i = 0; u != NULL && i < u->hint_count; i++) {
        if (strcmp(u->hints[i], "privacy_deleted") == 0) {
            return true;
        }
    }
    return false;
}

int save_erase(struct save *s, struct save_row *rows, int n, struct err *err)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        count += to_erase(&rows[i]);
    }
    if (count == 0) {
        return 0;
    }
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(params_freep) struct params *trail = params_new();
    struct params *both[] = {p, trail};
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        params_int(both[i], s->job->conn->connection_id);
        params_text(both[i], s->job->object->name);
        save_add_ids(both[i], rows, n, to_erase);
    }
    params_text(trail, "provider");
    params_text(trail, "system");
    params_text(trail, "privacy deletion at the provider");
    return save_erase_send(s->tx, p, trail, err);
}
