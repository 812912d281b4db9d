#include "core/figures.h"

#include "common/clock.h"
#include "common/error_type.h"

#include <stdio.h>
#include <string.h>

enum { QUOTA_MAX_BYTES = 4 << 20 };

json_t *figures_queue(struct app *app, int64_t connection_id, struct err *err)
{
    struct queue_stats q = {0};
    if (queue_stats(app->queue, connection_id, &q, err) != 0) {
        return NULL;
    }
    json_t *lanes = json_object(), *paused = json_array();
    for (int i = 0; i < LANE_COUNT; i++) {
        (void)json_object_set_new(lanes, lane_names[i], json_integer(q.waiting[i]));
        if ((q.paused & (QUEUE_PAUSED_ALL | 1U << i)) != 0) {
            (void)json_array_append_new(paused, json_string(lane_names[i]));
        }
    }
    json_t *out =
        json_pack("{s:o, s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "waiting", lanes, "paused",
                  paused, "paused_all", (q.paused & QUEUE_PAUSED_ALL) != 0, "delayed",
                  (json_int_t)q.delayed, "parked", (json_int_t)q.parked, "buried",
                  (json_int_t)q.buried, "leased", (json_int_t)q.leased, "oldest_age_s",
                  (json_int_t)(q.oldest_age_ms / 1000), "workers", (json_int_t)q.workers);
    if (out == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
    }
    return out;
}

/* The month's reads where a provider rations them, as further objects of the array. */
static int add_reads(struct app *app, json_t *list, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(app->store,
                    "SELECT c.provider, c.connection_id, c.account_id || ':' || c.mode,"
                    "   to_char(r.month, 'YYYY-MM'), r.reads"
                    " FROM psync.provider_read r"
                    " JOIN psync.connection c USING (connection_id)"
                    " WHERE r.month = date_trunc('month', now() AT TIME ZONE 'UTC')"
                    " ORDER BY c.connection_id",
                    NULL, &r, err) != 0) {
        return -1;
    }
    for (int i = 0; i < rows_count(r); i++) {
        const struct provider *provider = provider_find(rows_text(r, i, 0));
        (void)json_array_append_new(
            list, json_pack("{s:s, s:I, s:s, s:s, s:s, s:I, s:i}", "provider",
                            rows_text(r, i, 0), "connection_id", (json_int_t)rows_int(r, i, 1),
                            "account", rows_text(r, i, 2), "family", "reads of the month",
                            "month", rows_text(r, i, 3), "used", (json_int_t)rows_int(r, i, 4),
                            "ration", provider != NULL ? provider->read_ration : 0));
    }
    return 0;
}

json_t *figures_quota(struct app *app, struct err *err)
{
    struct buf text;
    json_t *list = NULL;
    buf_init(&text, QUOTA_MAX_BYTES);
    if (queue_quota(app->queue, &text, err) == 0) {
        list = json_loads(buf_text(&text), 0, NULL);
        if (!json_is_array(list)) {
            err_set(err, ERR_INTERNAL, "the queue's answer about quotas is no JSON");
        }
    }
    buf_release(&text);
    if (list != NULL && (!json_is_array(list) || add_reads(app, list, err) != 0)) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static const char *text_of(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));
    return text != NULL ? text : "";
}

json_t *figures_quota_of(const json_t *quota, const json_t *row)
{
    size_t i;
    json_t *bucket, *out = json_array();
    char account[160];
    json_int_t id = json_integer_value(json_object_get(row, "connection_id"));
    (void)snprintf(account, sizeof account, "%s:%s", text_of(row, "account_id"),
                   text_of(row, "mode"));
    json_array_foreach(quota, i, bucket)
    {
        json_t *of = json_object_get(bucket, "connection_id");
        if (strcmp(text_of(bucket, "provider"), text_of(row, "provider")) == 0 &&
            strcmp(text_of(bucket, "account"), account) == 0 &&
            (of == NULL || json_integer_value(of) == id)) {
            (void)json_array_append(out, bucket);
        }
    }
    return out;
}

/* In ms since 1970; 0 = they are open. *why (lent) is the code of the error type, "" when it is
 * not known. */
static int64_t closed_until_ms(const json_t *buckets, const char **why)
{
    size_t i;
    json_t *bucket;
    int64_t latest_ms = 0, now_ms = clock_now_ms();
    json_array_foreach(buckets, i, bucket)
    {
        static const char *const names[] = {"closed_until_ms", "breaker_open_until_ms"};
        for (size_t k = 0; k < COUNT_OF(names); k++) {
            int64_t ms = json_integer_value(json_object_get(bucket, names[k]));
            if (ms > now_ms && ms > latest_ms) {
                latest_ms = ms;
                *why = text_of(bucket, "reason");
            }
        }
    }
    return latest_ms;
}

void figures_set_throttled(json_t *row, const json_t *buckets)
{
    char until[CLOCK_TEXT_BYTES];
    const char *why = "";
    int64_t closed_ms = closed_until_ms(buckets, &why);
    if (closed_ms == 0) {
        return;
    }
    const struct error_info *info = error_info(error_type_find(why));
    (void)json_object_set_new(row, "throttled_until",
                              json_string(clock_text(closed_ms, until)));
    (void)json_object_set_new(row, "throttled_why",
                              json_string(info != NULL ? info->title : why));
}
