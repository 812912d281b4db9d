/* What an answer of the call just planned says. Records stay the slices of the body they came
 * in, except those whose embedded list had to be completed: they are put together anew. */
#include "provider/stripe_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail_memory(struct failure *why)
{
    failure_no_memory(why);
    return -1;
}

enum { RE_ID, RE_OBJECT, RE_CREATED, RE_DELETED, RE_COUNT };
static const char *const record_names[RE_COUNT] = {"id", "object", "created", "deleted"};

/* Adds the record in raw; one without an id is told as FAILED, the others go on. */
static struct record *add_record(struct record_list *out, const struct object_type *o,
                                 struct slice raw, const char *asked)
{
    struct slice fields[RE_COUNT] = {{0}};
    char id[RECORD_ID_MAX_BYTES + 1];
    bool deleted = false;
    bool named = raw.len_bytes > 0 && raw.bytes[0] == '{' &&
                 json_members(raw, record_names, fields, RE_COUNT) == 0 &&
                 json_slice_text(fields[RE_ID], id, sizeof id) && id_fits(id) &&
                 (asked[0] == '\0' || strcmp(id, asked) == 0);
    struct record *r = answer_record(out, o, RECORD_FOUND, named ? id : asked);
    if (r == NULL)
        return NULL;
    if (named && json_slice_bool(fields[RE_DELETED], &deleted) && deleted) {
        r->status = RECORD_GONE; /* a stub, not its last form */
        return r;
    }
    record_set_raw(r, raw);
    if (!named) {
        r->status = RECORD_FAILED;
        failure_set(&r->failure, ET_UNEXPECTED_SHAPE, "the record has no id or another one");
        return r;
    }
    if (!json_slice_int(fields[RE_CREATED], &r->created_s))
        r->created_s = 0;
    r->created_s = instant_or_none(r->created_s, 1);
    (void)record_check(r);
    return r;
}

/* ---- embedded lists ---- */

/* Finds the next record whose embedded list did not come whole, and notes where it goes on. */
static void find_incomplete(const struct ask *a, struct st_state *d,
                            const struct record_list *out)
{
    const struct stripe_type *t = stripe_type(a->object->name);
    d->completing = false;
    for (; t->embedded != NULL && d->next_record < out->count; d->next_record++) {
        const struct record *r = &out->records[d->next_record];
        bool more = false;
        struct json_walk w;
        struct json_member m;
        if (r->status != RECORD_FOUND)
            continue;
        struct slice list = json_member(r->raw, t->embedded);
        struct slice data = json_member(list, "data");
        if (!json_slice_bool(json_member(list, "has_more"), &more) || !more ||
            data.bytes == NULL || json_walk_begin(&w, data) < 0)
            continue;
        d->rest_after[0] = '\0';
        while (json_walk_next(&w, &m) == 1) {
            if (!json_slice_text(json_member(m.value, "id"), d->rest_after,
                                 sizeof d->rest_after))
                d->rest_after[0] = '\0';
        }
        (void)text_copy(d->rest_id, sizeof d->rest_id, r->id);
        d->rest_record = d->next_record++;
        buf_clear(&d->rest);
        d->completing = true;
        return;
    }
}

/* The record anew: the further elements behind those that came, has_more false. */
static int rebuild(const struct ask *a, struct st_state *d, struct record_list *out,
                   struct failure *why)
{
    struct record *r = &out->records[d->rest_record];
    struct slice list = json_member(r->raw, stripe_type(a->object->name)->embedded);
    struct slice data = json_member(list, "data");
    struct slice more = json_member(list, "has_more");
    const char *end = r->raw.bytes + r->raw.len_bytes;
    const char *close = data.bytes + data.len_bytes - 1;
    bool more_first = more.bytes < data.bytes;
    struct json_walk w;
    struct json_member m;
    struct buf b;
    bool empty = json_walk_begin(&w, data) < 0 || json_walk_next(&w, &m) != 1;
    const char *at = r->raw.bytes;
    buf_init(&b, r->raw.len_bytes + d->rest.len_bytes + 64);
    for (int part = 0; part < 2; part++) {
        if ((part == 0) == more_first) {
            (void)buf_add(&b, at, (size_t)(more.bytes - at));
            (void)buf_add_str(&b, "false");
            at = more.bytes + more.len_bytes;
        } else {
            (void)buf_add(&b, at, (size_t)(close - at));
            if (!empty && d->rest.len_bytes > 0)
                (void)buf_add_char(&b, ',');
            (void)buf_add(&b, buf_text(&d->rest), d->rest.len_bytes);
            at = close;
        }
    }
    (void)buf_add(&b, at, (size_t)(end - at));
    size_t len = b.len_bytes;
    const char *bytes = b.failed ? NULL : record_list_keep(out, &b);
    buf_release(&b);
    if (bytes == NULL)
        return fail_memory(why);
    record_set_raw(r, (struct slice){bytes, len});
    (void)record_check(r);
    return 0;
}

static int read_rest(const struct ask *a, struct st_state *d, struct http_response *r,
                     struct record_list *out, struct failure *why)
{
    struct json_split split;
    struct err err = {0};
    bool more = false;
    if (json_split(answer_body(r), "data", &split, &err) < 0) {
        failure_set(why, ET_MALFORMED_BODY, "%.200s", err.msg);
        return -1;
    }
    if (!split.found || !json_slice_bool(json_split_member(&split, "has_more"), &more)) {
        json_split_release(&split);
        failure_set(why, ET_UNEXPECTED_SHAPE, "the answer is no list");
        return -1;
    }
    char last[RECORD_ID_MAX_BYTES + 1] = "";
    for (size_t i = 0; i < split.element_count; i++) {
        if (d->rest.len_bytes > 0)
            (void)buf_add_char(&d->rest, ',');
        (void)buf_add(&d->rest, split.elements[i].bytes, split.elements[i].len_bytes);
        if (!json_slice_text(json_member(split.elements[i], "id"), last, sizeof last))
            last[0] = '\0';
    }
    json_split_release(&split);
    if (d->rest.failed) {
        failure_set(why, ET_BODY_TOO_LARGE, "the record's embedded list is too long");
        return -1;
    }
    if (more && (last[0] == '\0' || strcmp(last, d->rest_after) == 0)) {
        failure_set(why, ET_UNEXPECTED_SHAPE, "the embedded list does not come to an end");
        return -1;
    }
    if (more) {
        memcpy(d->rest_after, last, sizeof last);
        return 0;
    }
    if (rebuild(a, d, out, why) < 0)
        return -1;
    find_incomplete(a, d, out);
    return 0;
}

/* ---- records and pages ---- */

static int read_one(const struct ask *a, struct st_state *d, struct http_response *r,
                    struct record_list *out, struct failure *why)
{
    struct json_split split;
    struct err err = {0};
    size_t len = r->body.len_bytes;
    const char *bytes = record_list_keep(out, &r->body);
    if (bytes == NULL)
        return fail_memory(why);
    struct slice raw = {bytes, len};
    /* No array is wanted: this is the look at the whole text that finds it truncated. */
    if (json_split(raw, "id", &split, &err) < 0) {
        failure_set(why, ET_MALFORMED_BODY, "%.200s", err.msg);
        return -1;
    }
    json_split_release(&split);
    d->next_record = out->count;
    if (add_record(out, a->object, raw, a->ids[d->offset]) == NULL)
        return fail_memory(why);
    d->offset++;
    find_incomplete(a, d, out);
    return 0;
}

/* Its listing moves the body into the list and cuts it. */
static int take_list(struct http_response *r, struct record_list *out, struct json_split *split,
                     bool *more, struct failure *why)
{
    struct err err = {0};
    size_t len = r->body.len_bytes;
    const char *bytes = record_list_keep(out, &r->body);
    if (bytes == NULL)
        return fail_memory(why);
    if (json_split((struct slice){bytes, len}, "data", split, &err) < 0) {
        failure_set(why, ET_MALFORMED_BODY, "%.200s", err.msg);
        return -1;
    }
    if (!split->found || !json_slice_bool(json_split_member(split, "has_more"), more)) {
        json_split_release(split);
        failure_set(why, ET_UNEXPECTED_SHAPE, "the answer is no list");
        return -1;
    }
    return 0;
}

static int set_cursor(struct record_list *out, bool more, int64_t last_s, const char *last,
                      struct failure *why)
{
    char text[RECORD_ID_MAX_BYTES + 32];
    free(out->cursor);
    out->cursor = NULL;
    out->has_more = more && last[0] != '\0';
    if (more && last[0] == '\0') {
        failure_set(why, ET_UNEXPECTED_SHAPE, "a page with more behind it has no ids");
        return -1;
    }
    if (!more)
        return 0;
    (void)snprintf(text, sizeof text, "%lld %s", (long long)last_s, last);
    out->cursor = strdup(text);
    return out->cursor != NULL ? 0 : fail_memory(why);
}

static int read_list(const struct ask *a, struct st_state *d, struct http_response *r,
                     struct record_list *out, struct failure *why)
{
    struct json_split split;
    char last[RECORD_ID_MAX_BYTES + 1] = "";
    int64_t last_s = d->after_s;
    bool more = false;
    int rc = 0;
    if (take_list(r, out, &split, &more, why) < 0)
        return -1;
    d->next_record = out->count;
    for (size_t i = 0; rc == 0 && i < split.element_count; i++) {
        const struct record *rec = add_record(out, a->object, split.elements[i], "");
        if (rec == NULL)
            rc = fail_memory(why);
        else if (rec->id[0] != '\0')
            memcpy(last, rec->id, sizeof last);
        if (rc == 0 && rec->created_s > 0)
            last_s = rec->created_s;
    }
    json_split_release(&split);
    if (rc == 0)
        rc = set_cursor(out, more, last_s, last, why);
    if (rc == 0) {
        d->done = true;
        find_incomplete(a, d, out);
    }
    return rc;
}

/* ---- events ---- */

enum { EV_ID, EV_TYPE, EV_CREATED, EV_DATA, EV_COUNT };
static const char *const event_names[EV_COUNT] = {"id", "type", "created", "data"};

static bool is_listed(const struct record_list *out, const struct object_type *o,
                      const char *id, int64_t at_ms)
{
    for (size_t i = 0; i < out->count; i++) {
        struct record *r = &out->records[i];
        if (r->object != o || strcmp(r->id, id) != 0)
            continue;
        r->updated_at_ms = at_ms > r->updated_at_ms ? at_ms : r->updated_at_ms;
        return true;
    }
    return false;
}

static int read_event(const struct ask *a, const struct slice v[EV_COUNT], int64_t at_s,
                      struct record_list *out, struct failure *why)
{
    char type[80];
    char id[RECORD_ID_MAX_BYTES + 1];
    if (!json_slice_text(v[EV_TYPE], type, sizeof type))
        return 0;
    const char *name = stripe_event_target(type, json_member(v[EV_DATA], "object"), id);
    const struct object_type *o = name != NULL && name[0] != '\0' ? stripe_object(name) : NULL;
    if (o == NULL || (a->object != NULL && o != a->object) ||
        is_listed(out, o, id, at_s * 1000))
        return 0;
    struct record *r = answer_record(out, o, RECORD_REF, id);
    if (r == NULL)
        return fail_memory(why);
    r->updated_at_ms = at_s * 1000;
    return 0;
}

static int read_events(const struct ask *a, struct st_state *d, struct http_response *r,
                       struct record_list *out, struct failure *why)
{
    struct json_split split;
    char last[RECORD_ID_MAX_BYTES + 1] = "";
    int64_t last_s = d->after_s;
    bool more = false;
    int rc = 0;
    if (take_list(r, out, &split, &more, why) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < split.element_count; i++) {
        struct slice v[EV_COUNT] = {{0}};
        if (json_members(split.elements[i], event_names, v, EV_COUNT) < 0 ||
            !json_slice_text(v[EV_ID], last, sizeof last)) {
            failure_set(why, ET_UNEXPECTED_SHAPE, "an event has no id");
            rc = -1;
            break;
        }
        if (!json_slice_int(v[EV_CREATED], &last_s))
            last_s = 0;
        last_s = instant_or_none(last_s, 1);
        rc = read_event(a, v, last_s, out, why);
    }
    json_split_release(&split);
    if (rc == 0)
        rc = set_cursor(out, more, last_s, last, why);
    d->done = rc == 0;
    return rc;
}

/* ---- dispatch ---- */

/* The record our cursor names has left the listing: go on from its second. */
static bool cursor_refused(struct st_state *d, const struct http_response *r,
                           const struct failure *why)
{
    if ((d->call != ST_LIST && d->call != ST_EVENTS) || d->by_time || d->after[0] == '\0' ||
        d->after_s <= 0 || (r->status != 400 && r->status != 404))
        return false;
    return strstr(why->detail, "starting_after") != NULL || why->type == ET_RECORD_NOT_FOUND ||
           strstr(why->message, d->after) != NULL;
}

/* What says something about this one record only, and lets the others go on. */
static int read_refused(const struct ask *a, struct st_state *d, struct record_list *out,
                        struct failure *why)
{
    bool gone = why->type == ET_RECORD_NOT_FOUND;
    if (d->call == ST_REST) {
        if (!gone)
            return -1;
        out->records[d->rest_record].status = RECORD_GONE;
        find_incomplete(a, d, out);
        *why = (struct failure){.wait_ms = -1};
        return 0;
    }
    if (d->call != ST_RECORD || (!gone && why->type != ET_AUTH_MODE_MISMATCH))
        return -1;
    struct record *r =
        answer_record(out, a->object, gone ? RECORD_GONE : RECORD_FAILED, a->ids[d->offset]);
    if (r == NULL)
        return fail_memory(why);
    if (!gone)
        r->failure = *why;
    d->offset++;
    *why = (struct failure){.wait_ms = -1};
    return 0;
}

int stripe_read(const struct provider_conn *c, const struct ask *a, struct ask_state *s,
                struct http_response *r, struct record_list *out, struct failure *why)
{
    struct st_state *d = s->data;
    stripe_classify_answer(d->endpoint, d->refresh, r, why);
    if (why->type != ET_NONE && cursor_refused(d, r, why)) {
        d->by_time = true;
        *why = (struct failure){.wait_ms = -1};
        return 0;
    }
    if (d->call == ST_ACCOUNT && why->type == ET_PERMISSION_DENIED)
        return stripe_account_of_refusal(c, s, why);
    if (d->call == ST_REVOKE && why->http_status >= 400 && why->http_status < 429)
        return 0; /* nothing is left to revoke */
    if (d->call == ST_ENDPOINT_DELETE && why->type == ET_RECORD_NOT_FOUND) {
        *why = (struct failure){.wait_ms = -1};
        return 0;
    }
    if (why->type != ET_NONE)
        return read_refused(a, d, out, why);
    switch (d->call) {
    case ST_RECORD:
        return read_one(a, d, r, out, why);
    case ST_LIST:
        return read_list(a, d, r, out, why);
    case ST_EVENTS:
        return read_events(a, d, r, out, why);
    case ST_REST:
        return read_rest(a, d, r, out, why);
    case ST_ACCOUNT:
    case ST_TOKEN:
    case ST_ENDPOINTS:
    case ST_ENDPOINT_SAVE:
        return stripe_read_facts(c, a, s, r, why);
    case ST_NONE:
    case ST_REVOKE:
    case ST_ENDPOINT_DELETE:
        return 0;
    }
    return 0;
}
