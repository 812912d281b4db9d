#include "core/filter.h"

#include "common/json.h"

#include <stdio.h>
#include <string.h>

const struct object_type *filter_object(const struct provider *p)
{
    for (const struct object_type *o = p->objects; o->name != NULL; o++) {
        if ((o->flags & OBJECT_FILTERED) != 0) {
            return o;
        }
    }
    return NULL;
}

bool filter_inside(const struct connection *c, const struct object_type *o, struct slice raw)
{
    struct err err = {0};
    if ((o->flags & OBJECT_FILTERED) == 0 || c->scope_kind[0] == '\0') {
        return true;
    }
    json_auto_t *record = json_parse(raw, &err);
    /* What cannot be read is not filtered away: saving it says what is wrong with it. */
    return record == NULL || c->provider->inside(record, c->scope_kind, c->scope_id);
}

/* $1 connection, $2 kind, $3 the names with commas. */
static const char *const check_sql =
    "SELECT x.id, min(CASE WHEN $2::text = 'product' THEN coalesce(r.raw ->> 'name', x.id)"
    "   ELSE x.id END), count(r.record_id)"
    " FROM regexp_split_to_table($3::text, '\\s*,\\s*') AS x (id)"
    " LEFT JOIN psync.record r ON r.connection_id = $1 AND r.deleted_at IS NULL"
    "   AND CASE WHEN $2 = 'product' THEN r.object_type = 'product' AND r.record_id = x.id"
    "     ELSE r.object_type = 'price' AND r.raw ->> 'lookup_key' = x.id END"
    " GROUP BY x.id ORDER BY x.id";

int filter_check(struct store *s, const struct connection *c, const char *kind, const char *id,
                 char *name, size_t name_bytes, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    size_t len = 0;
    params_int(p, c->connection_id);
    params_text(p, kind);
    params_text(p, id);
    if (store_query(s, check_sql, p, &r, err) != 0) {
        return -1;
    }
    for (int i = 0; i < rows_count(r); i++) {
        if (rows_int(r, i, 2) == 0) {
            err_set(err, ERR_NOT_FOUND, "no %s '%.100s' of %s is mirrored here",
                    strcmp(kind, "product") == 0 ? "product" : "price with lookup key",
                    rows_text(r, i, 0), c->provider->title);
            return -1;
        }
        if (len < name_bytes) {
            len += (size_t)snprintf(name + len, name_bytes - len, "%s%s", i > 0 ? ", " : "",
                                    rows_text(r, i, 1));
        }
    }
    return 0;
}
