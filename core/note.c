#include "core/note.h"

#include "common/utf8.h"

#include <string.h>

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

int note_write(struct store *s, const struct note *n, struct err *err)
{
    const struct error_info *info = error_info(n->type);
    const char *message = or_empty(n->message);
    CLEANUP(params_freep) struct params *p = params_new();
    params_int(p, n->connection_id);
    params_int(p, n->run_id);
    params_text(p, info != NULL ? info->code : "");
    params_text(p, n->status);
    params_text(p, n->trigger != NULL && n->trigger[0] != '\0' ? n->trigger : "system");
    params_text(p, or_empty(n->actor));
    params_text(p, or_empty(n->object));
    params_text(p, n->record_id);
    params_text_n(p, message, utf8_valid_bytes((struct slice){message, strlen(message)}));
    params_time_ms(p, n->next_retry_at_ms);
    params_int(p, n->again_after_s);
    return store_query(
        s,
        "INSERT INTO psync.attempt (attempt_id, connection_id, run_id, kind, trigger, actor,"
        "   object_type, record_id, status, error_code, error_message, error_count, events,"
        "   started_at, next_retry_at)"
        " SELECT psync.next_attempt_id(), $1, nullif($2::bigint, 0),"
        "   CASE WHEN $8::text IS NULL THEN 'check' ELSE 'record' END, $5, $6, $7, $8, $4, $3,"
        "   $9, CASE WHEN $4 IN ('failed', 'retrying') THEN 1 ELSE 0 END, 1, now(), $10"
        " WHERE $11::bigint = 0 OR NOT EXISTS (SELECT FROM psync.attempt a"
        "   WHERE a.connection_id = $1 AND a.error_code = $3 AND a.record_id IS NULL"
        "     AND a.attempt_id > psync.attempt_floor(now() - make_interval(secs => $11)))",
        p, NULL, err);
}
