#include "core/customer.h"

/* Where both providers feed a field, the value that stands there is the winner's: of those
 * whose link last wrote exactly it, the newest. */
static const char *const customer_sql =
    "SELECT jsonb_build_object('customer_id', c.customer_id, 'workspace', w.name,"
    " 'archived_at', c.archived_at, 'archived_why', c.archived_why, 'fields', coalesce(("
    "  SELECT jsonb_agg(jsonb_build_object('field', f.key, 'value', f.value, 'edited_by_hand',"
    "    p.record_id IS NOT NULL AND l.applied ? f.key AND l.applied -> f.key <> f.value,"
    "    'provider', n.provider, 'connection_id', p.connection_id, 'object_type', "
    "p.object_type,"
    "    'record_id', p.record_id, 'source_property', p.source_property, 'mapping_version',"
    "    p.mapping_version, 'source_updated_at', p.source_updated_at, 'written_at',"
    "    p.written_at, 'trigger', (SELECT a.trigger FROM psync.attempt a"
    "      WHERE a.connection_id = p.connection_id AND a.object_type = p.object_type"
    "      AND a.record_id = p.record_id AND a.finished_at >= p.written_at"
    "      AND a.started_at <= p.written_at"
    "      ORDER BY a.attempt_id LIMIT 1), 'also_fed_by', (SELECT jsonb_agg(jsonb_build_object("
    "      'provider', on_.provider, 'object_type', o.object_type, 'record_id', o.record_id,"
    "      'source_property', o.source_property, 'value', ol.applied -> f.key, 'written_at',"
    "      o.written_at)) FROM psync.field_origin o"
    "      JOIN psync.connection on_ USING (connection_id)"
    "      LEFT JOIN psync.record_link ol USING (connection_id, object_type, record_id)"
    "      WHERE o.customer_id = c.customer_id AND o.field = f.key"
    "      AND o.connection_id <> p.connection_id)) ORDER BY f.key)"
    "  FROM jsonb_each(c.fields) f LEFT JOIN LATERAL (SELECT q.* FROM psync.field_origin q"
    "    LEFT JOIN psync.record_link ql USING (connection_id, object_type, record_id)"
    "    WHERE q.customer_id = c.customer_id AND q.field = f.key"
    "    ORDER BY (ql.applied -> f.key = f.value) IS TRUE DESC, q.written_at DESC LIMIT 1) p"
    "   ON true LEFT JOIN psync.connection n ON n.connection_id = p.connection_id"
    "   LEFT JOIN psync.record_link l ON l.connection_id = p.connection_id"
    "    AND l.object_type = p.object_type AND l.record_id = p.record_id), '[]'),"
    " 'links', coalesce((SELECT jsonb_agg(jsonb_build_object('provider', n.provider, 'mode',"
    "    n.mode, 'connection_id', l.connection_id, 'object_type', l.object_type, 'record_id',"
    "    l.record_id, 'how', l.how, 'linked_by', l.linked_by, 'linked_at', l.linked_at,"
    "    'mapping_version', l.mapping_version, 'inputs', l.notes) ORDER BY l.linked_at)"
    "  FROM psync.record_link l JOIN psync.connection n USING (connection_id)"
    "  WHERE l.customer_id = c.customer_id), '[]'))::text"
    " FROM psync.customer c JOIN psync.workspace w USING (workspace_id)"
    " WHERE c.customer_id = $1 AND ($2::text IS NULL OR w.name = $2)";

const char *customer_statement(void)
{
    return customer_sql;
}

int customer_read(struct store *s, int64_t customer_id, const char *workspace,
                  struct rows **out, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, customer_id);
    params_text(p, workspace);
    if (store_query(s, customer_sql, p, out, err) != 0) {
        return -1;
    }
    if (rows_count(*out) == 0) {
        rows_free(*out);
        *out = NULL;
        err_set(err, ERR_NOT_FOUND, "there is no customer %lld", (long long)customer_id);
        return -1;
    }
    return 0;
}
