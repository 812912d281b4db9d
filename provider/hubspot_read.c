/* What an answer of the call just planned says. Records stay the slices of the body they came
 * in; only ids, times and what a decision hangs on are read out of them. */
#include "common/clock.h"
#include "provider/hubspot_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int hs_fail_memory(struct failure *why)
{
    failure_no_memory(why);
    return -1;
}

/* Moves the body into the list and cuts it. what: the array that must be there. */
int hs_take_page(struct http_response *r, struct record_list *out, const char *what,
                 struct hs_page *p, struct failure *why)
{
    struct err err = {0};
    *p = (struct hs_page){0};
    size_t len = r->body.len_bytes;
    const char *bytes = record_list_keep(out, &r->body);
    if (bytes == NULL)
        return hs_fail_memory(why);
    p->body = (struct slice){bytes, len};
    if (json_split(p->body, what, &p->split, &err) < 0) {
        failure_set(why, ET_MALFORMED_BODY, "%.200s", err.msg);
        return -1;
    }
    if (!p->split.found) {
        failure_set(why, ET_UNEXPECTED_SHAPE, "the answer has no '%s'", what);
        json_split_release(&p->split);
        return -1;
    }
    return 0;
}

/* paging.next.after; false at the end. */
bool hs_next_page(struct slice paging, char after[HS_AFTER_MAX_BYTES])
{
    struct slice next = json_member(paging, "next");
    struct slice v = json_member(next, "after");
    int64_t n = 0;
    if (json_slice_text(v, after, HS_AFTER_MAX_BYTES))
        return after[0] != '\0';
    if (!json_slice_int(v, &n))
        return false;
    (void)snprintf(after, HS_AFTER_MAX_BYTES, "%lld", (long long)n);
    return true;
}

static int set_cursor(struct record_list *out, const char *cursor, struct failure *why)
{
    free(out->cursor);
    out->has_more = cursor != NULL;
    out->cursor = cursor != NULL ? strdup(cursor) : NULL;
    return cursor != NULL && out->cursor == NULL ? hs_fail_memory(why) : 0;
}

static void take_total(const struct hs_page *p, const struct ask *a, struct record_list *out)
{
    int64_t total = 0;
    if (a->cursor == NULL && json_slice_int(json_split_member(&p->split, "total"), &total))
        out->total = total;
}

/* ---- one record ---- */

const char *const hs_record_names[RE_COUNT] = {"id", "createdAt", "updatedAt", "archived",
                                               "properties"};

static int64_t instant_ms(struct slice v)
{
    char text[64];
    int64_t at_ms = 0;
    return json_slice_text(v, text, sizeof text) && clock_parse(text, &at_ms) == 0 ? at_ms : 0;
}

/* Adds the record in raw. A record without an id is told as FAILED, the others go on. */
static struct record *add_record(struct record_list *out, const struct object_type *o,
                                 struct slice raw, const char *asked,
                                 struct slice fields[RE_COUNT])
{
    char id[RECORD_ID_MAX_BYTES + 1];
    bool archived = false;
    memset(fields, 0, RE_COUNT * sizeof *fields);
    bool whole = raw.len_bytes > 0 && raw.bytes[0] == '{' &&
                 json_members(raw, hs_record_names, fields, RE_COUNT) == 0;
    bool named = whole && id_of_slice(fields[RE_ID], id);
    struct record *r = answer_record(out, o, RECORD_FOUND, named ? id : asked);
    if (r == NULL)
        return NULL;
    record_set_raw(r, raw);
    if (!named) {
        r->status = RECORD_FAILED;
        failure_set(&r->failure, ET_UNEXPECTED_SHAPE, "the record has no id");
        return r;
    }
    if ((o->flags & OBJECT_RELATED) != 0 &&
        !id_of_slice(json_member(fields[RE_PROPERTIES], "associatedcompanyid"), r->other_id))
        r->other_id[0] = '\0';
    r->created_s = instant_ms(fields[RE_CREATED]) / 1000;
    r->updated_at_ms = instant_ms(fields[RE_UPDATED]);
    if (json_slice_bool(fields[RE_ARCHIVED], &archived) && archived)
        r->status = RECORD_GONE;
    else if (record_check(r) && (o->flags & (OBJECT_ROOT | OBJECT_RELATED)) != 0 &&
             (fields[RE_PROPERTIES].bytes == NULL || fields[RE_PROPERTIES].bytes[0] != '{')) {
        r->status = RECORD_FAILED;
        failure_set(&r->failure, ET_UNEXPECTED_SHAPE, "the record has no properties");
    }
    return r;
}

static int add_gone(struct record_list *out, const struct object_type *o, const char *id,
                    struct failure *why)
{
    return answer_record(out, o, RECORD_GONE, id) != NULL ? 0 : hs_fail_memory(why);
}

/* The id that was asked for lives on in the record that came. */
static int add_merged(struct record_list *out, const struct object_type *o, const char *asked,
                      const char *survivor, struct failure *why)
{
    struct record *r = answer_record(out, o, RECORD_MERGED, asked);
    if (r == NULL)
        return hs_fail_memory(why);
    (void)text_copy(r->other_id, sizeof r->other_id, survivor);
    return 0;
}

static int read_one(const struct ask *a, struct hs_state *d, struct http_response *r,
                    struct record_list *out, struct failure *why)
{
    struct slice fields[RE_COUNT];
    const char *asked = a->ids[d->offset];
    size_t len = r->body.len_bytes;
    const char *bytes = record_list_keep(out, &r->body);
    if (bytes == NULL)
        return hs_fail_memory(why);
    struct slice raw = {bytes, len};
    struct json_split split;
    struct err err = {0};
    if (json_split(raw, "properties", &split, &err) < 0) {
        failure_set(why, ET_MALFORMED_BODY, "%.200s", err.msg);
        return -1;
    }
    json_split_release(&split);
    struct record *rec = add_record(out, a->object, raw, asked, fields);
    if (rec == NULL)
        return hs_fail_memory(why);
    d->offset += d->asked;
    if (strcmp(rec->id, asked) != 0) {
        char survivor[RECORD_ID_MAX_BYTES + 1];
        memcpy(survivor, rec->id, sizeof survivor);
        out->count--;
        return add_merged(out, a->object, asked, survivor, why);
    }
    return 0;
}

/* ---- batch read ---- */

static int asked_index(const struct ask *a, const struct hs_state *d, const char *id)
{
    for (int i = 0; i < d->asked; i++) {
        if (strcmp(a->ids[d->offset + i], id) == 0)
            return i;
    }
    return -1;
}

/* A record that nobody asked for is the survivor of one that was: it names those it took over
 * in hs_merged_object_ids ("1;2"). */
static int take_survivor(const struct ask *a, const struct hs_state *d, struct slice properties,
                         const char *survivor, bool *seen, struct record_list *out,
                         struct failure *why)
{
    char merged[4096];
    if (!json_slice_text(json_member(properties, "hs_merged_object_ids"), merged,
                         sizeof merged))
        return 0;
    char *rest = NULL;
    for (char *id = strtok_r(merged, "; ,", &rest); id != NULL;
         id = strtok_r(NULL, "; ,", &rest)) {
        int i = asked_index(a, d, id);
        if (i < 0 || seen[i])
            continue;
        seen[i] = true;
        if (add_merged(out, a->object, id, survivor, why) < 0)
            return -1;
    }
    return 0;
}

static enum error_type type_of_category(const char *category)
{
    static const struct {
        const char *category;
        enum error_type type;
    } table[] = {{"OBJECT_NOT_FOUND", ET_NONE},
                 {"MISSING_SCOPES", ET_SCOPE_MISSING},
                 {"VALIDATION_ERROR", ET_INVALID_REQUEST},
                 {"RATE_LIMITS", ET_RATE_LIMIT_BURST},
                 {"BANNED", ET_PERMISSION_DENIED}};
    for (size_t i = 0; category != NULL && i < COUNT_OF(table); i++) {
        if (strcmp(table[i].category, category) == 0)
            return table[i].type;
    }
    return ET_PROVIDER_ERROR;
}

/* errors[] of a 207: what was said of single ids. Not found needs no word: absence tells it. */
static int read_errors(const struct ask *a, const struct hs_state *d, struct slice errors,
                       bool *seen, struct record_list *out, struct failure *why)
{
    struct err err = {0};
    if (errors.bytes == NULL || errors.bytes[0] != '[')
        return 0;
    json_t *list = json_parse(errors, &err);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        const json_t *ids = json_object_get(json_object_get(e, "context"), "ids");
        const char *message = json_text_of(e, "message");
        enum error_type type = type_of_category(json_text_of(e, "category"));
        for (size_t k = 0; type != ET_NONE && k < json_array_size(ids) && rc == 0; k++) {
            const char *id = json_string_value(json_array_get(ids, k));
            int at = id != NULL ? asked_index(a, d, id) : -1;
            if (at < 0 || seen[at])
                continue;
            struct record *r = answer_record(out, a->object, RECORD_FAILED, id);
            if (r == NULL) {
                rc = hs_fail_memory(why);
                break;
            }
            seen[at] = true;
            if (message != NULL)
                failure_say(&r->failure, (struct slice){message, strlen(message)});
            failure_set(&r->failure, type, "HubSpot could not read this record");
        }
    }
    json_decref(list);
    return rc;
}

static int read_batch(const struct ask *a, struct hs_state *d, struct http_response *r,
                      struct record_list *out, struct failure *why)
{
    bool seen[HS_BATCH_MAX] = {false};
    struct hs_page p;
    int rc = 0;
    if (hs_take_page(r, out, "results", &p, why) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < p.split.element_count; i++) {
        struct slice fields[RE_COUNT];
        struct record *rec = add_record(out, a->object, p.split.elements[i], "", fields);
        if (rec == NULL) {
            rc = hs_fail_memory(why);
            break;
        }
        int at = asked_index(a, d, rec->id);
        if (at >= 0 && !seen[at]) {
            seen[at] = true;
        } else if (rec->id[0] != '\0') {
            char survivor[RECORD_ID_MAX_BYTES + 1];
            memcpy(survivor, rec->id, sizeof survivor);
            out->count--; /* twice, or not asked for */
            if (at < 0)
                rc = take_survivor(a, d, fields[RE_PROPERTIES], survivor, seen, out, why);
        } else {
            out->count--; /* without an id it answers none of those asked for */
            rc = 0;
            failure_set(why, ET_UNEXPECTED_SHAPE, "a record of the answer has no id");
        }
    }
    if (rc == 0)
        rc = read_errors(a, d, json_split_member(&p.split, "errors"), seen, out, why);
    for (int i = 0; rc == 0 && i < d->asked; i++) {
        const char *id = a->ids[d->offset + i];
        if (seen[i] || asked_index(a, d, id) < i)
            continue;
        /* With an unreadable record about, "absent" is no proof that one is gone. */
        rc = add_gone(out, a->object, id, why);
        if (rc == 0 && why->type != ET_NONE) {
            out->records[out->count - 1].status = RECORD_FAILED;
            out->records[out->count - 1].failure = *why;
        }
    }
    json_split_release(&p.split);
    if (rc == 0) {
        failure_init(why, r);
        d->offset += d->asked;
    }
    return rc;
}

/* ---- pages ---- */

static bool changed_between(const struct record *r, const struct ask *a)
{
    return r->updated_at_ms == 0 || (r->updated_at_ms >= a->since_ms &&
                                     (a->until_ms <= 0 || r->updated_at_ms <= a->until_ms));
}

static int read_listing(const struct ask *a, struct hs_state *d, struct http_response *r,
                        struct record_list *out, struct failure *why)
{
    struct hs_page p;
    char after[HS_AFTER_MAX_BYTES];
    bool refs = a->kind == ASK_SCOPE_PAGE;
    const struct object_type *o = refs ? hubspot_object("company") : a->object;
    int rc = 0;
    if (hs_take_page(r, out, "results", &p, why) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < p.split.element_count; i++) {
        struct slice fields[RE_COUNT];
        struct record *rec = add_record(out, o, p.split.elements[i], "", fields);
        if (rec == NULL)
            rc = hs_fail_memory(why);
        else if (a->kind == ASK_CHANGED_SINCE && !changed_between(rec, a))
            out->count--;
        else if ((refs || a->kind == ASK_CHANGED_SINCE) && rec->status != RECORD_FAILED)
            rec->status = RECORD_REF;
    }
    d->done = rc == 0;
    if (rc == 0)
        rc = set_cursor(
            out, hs_next_page(json_split_member(&p.split, "paging"), after) ? after : NULL,
            why);
    take_total(&p, a, out);
    json_split_release(&p.split);
    return rc;
}

/* Those asked for among all owners; who is on none of the pages is gone. */
static int read_owners(const struct ask *a, struct hs_state *d, struct http_response *r,
                       struct record_list *out, struct failure *why)
{
    struct hs_page p;
    int rc = 0;
    d->asked = a->id_count;
    if (hs_take_page(r, out, "results", &p, why) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < p.split.element_count; i++) {
        struct slice fields[RE_COUNT];
        const struct record *rec = add_record(out, a->object, p.split.elements[i], "", fields);
        if (rec == NULL)
            rc = hs_fail_memory(why);
        else if (asked_index(a, d, rec->id) < 0)
            out->count--;
    }
    if (!hs_next_page(json_split_member(&p.split, "paging"), d->after))
        d->after[0] = '\0';
    json_split_release(&p.split);
    if (rc < 0 || d->after[0] != '\0')
        return rc;
    for (int i = 0; rc == 0 && i < a->id_count; i++) {
        bool there = false;
        for (size_t k = 0; k < out->count; k++)
            there |= strcmp(out->records[k].id, a->ids[i]) == 0;
        if (!there)
            rc = add_gone(out, a->object, a->ids[i], why);
    }
    d->offset = a->id_count;
    return rc;
}

static int read_members(const struct ask *a, struct http_response *r, struct record_list *out,
                        struct failure *why)
{
    struct hs_page p;
    char after[HS_AFTER_MAX_BYTES];
    const struct object_type *company = hubspot_object("company");
    int rc = 0;
    if (hs_take_page(r, out, "results", &p, why) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < p.split.element_count; i++) {
        char id[RECORD_ID_MAX_BYTES + 1];
        if (!id_of_slice(json_member(p.split.elements[i], "recordId"), id)) {
            /* A member we cannot name would look like one that left. */
            failure_set(why, ET_UNEXPECTED_SHAPE, "a member of the list has no recordId");
            rc = -1;
        } else if (answer_record(out, company, RECORD_REF, id) == NULL) {
            rc = hs_fail_memory(why);
        }
    }
    if (rc == 0)
        rc = set_cursor(
            out, hs_next_page(json_split_member(&p.split, "paging"), after) ? after : NULL,
            why);
    take_total(&p, a, out);
    json_split_release(&p.split);
    return rc;
}

/* Results of a search by ascending id: companies as they are, deals to be led to theirs. */
static int read_scope_search(const struct ask *a, struct hs_state *d, struct http_response *r,
                             struct record_list *out, struct failure *why)
{
    struct hs_page p;
    char after[HS_AFTER_MAX_BYTES];
    char id[RECORD_ID_MAX_BYTES + 1] = "";
    bool deals = d->call == HS_DEAL_SEARCH;
    int rc = 0;
    if (hs_take_page(r, out, "results", &p, why) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < p.split.element_count; i++) {
        if (!id_of_slice(json_member(p.split.elements[i], "id"), id)) {
            failure_set(why, ET_UNEXPECTED_SHAPE, "a search result has no id");
            rc = -1;
        } else if (deals ? hs_inputs_add(&d->inputs, id, "") < 0
                         : answer_record(out, hubspot_object("company"), RECORD_REF, id) ==
                               NULL) {
            rc = hs_fail_memory(why);
        }
    }
    bool more =
        p.split.element_count > 0 && hs_next_page(json_split_member(&p.split, "paging"), after);
    if (rc == 0)
        rc = set_cursor(out, more ? id : NULL, why);
    if (!deals)
        take_total(&p, a, out);
    json_split_release(&p.split);
    return rc;
}

/* ---- changes ---- */

/* Where the search goes on: behind the last instant seen, inclusively (what comes twice does no
 * harm), or by id while one instant fills whole pages. */
static int next_window(const struct ask *a, struct hs_state *d, bool more, int64_t last_ms,
                       const char *last_id, struct record_list *out, struct failure *why)
{
    char cursor[64];
    bool ties = d->tie_id[0] != '\0';
    if (!more && !ties)
        return set_cursor(out, NULL, why);
    if (!more && d->low_ms >= a->until_ms && a->until_ms > 0)
        return set_cursor(out, NULL, why);
    if (!more)
        (void)snprintf(cursor, sizeof cursor, "t %lld", (long long)d->low_ms + 1);
    else if (ties)
        (void)snprintf(cursor, sizeof cursor, "i %lld %.20s", (long long)d->low_ms, last_id);
    else if (last_ms > d->low_ms)
        (void)snprintf(cursor, sizeof cursor, "t %lld", (long long)last_ms);
    else
        (void)snprintf(cursor, sizeof cursor, "i %lld 0", (long long)d->low_ms);
    return set_cursor(out, cursor, why);
}

static int read_changed(const struct ask *a, struct hs_state *d, struct http_response *r,
                        struct record_list *out, struct failure *why)
{
    bool contact = strcmp(a->object->name, "contact") == 0;
    const char *property = contact ? "lastmodifieddate" : "hs_lastmodifieddate";
    struct hs_page p;
    char after[HS_AFTER_MAX_BYTES];
    char id[RECORD_ID_MAX_BYTES + 1] = "";
    int64_t last_ms = d->low_ms;
    int rc = 0;
    if (hs_take_page(r, out, "results", &p, why) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < p.split.element_count; i++) {
        struct slice fields[RE_COUNT] = {{0}};
        if (json_members(p.split.elements[i], hs_record_names, fields, RE_COUNT) < 0 ||
            !id_of_slice(fields[RE_ID], id)) {
            failure_set(why, ET_UNEXPECTED_SHAPE, "a search result has no id");
            rc = -1;
            break;
        }
        struct record *rec = answer_record(out, a->object, RECORD_REF, id);
        if (rec == NULL) {
            rc = hs_fail_memory(why);
            break;
        }
        rec->updated_at_ms = instant_ms(json_member(fields[RE_PROPERTIES], property));
        if (rec->updated_at_ms == 0)
            rec->updated_at_ms = instant_ms(fields[RE_UPDATED]);
        last_ms = rec->updated_at_ms > last_ms ? rec->updated_at_ms : last_ms;
    }
    bool more =
        p.split.element_count > 0 && hs_next_page(json_split_member(&p.split, "paging"), after);
    if (rc == 0)
        rc = next_window(a, d, more, last_ms, id, out, why);
    take_total(&p, a, out);
    json_split_release(&p.split);
    d->done = rc == 0;
    return rc;
}

/* ---- dispatch ---- */

/* 404 where it is an answer: this record is not there. */
static bool is_gone(const struct ask *a, const struct hs_state *d, const struct failure *why)
{
    if (why->type != ET_RECORD_NOT_FOUND)
        return false;
    return (a->kind == ASK_RECORDS && d->call == HS_RECORD) ||
           (a->kind == ASK_MEMBERSHIP && (d->call == HS_RECORD || d->call == HS_LISTS_OF));
}

static int read_gone(const struct ask *a, struct hs_state *d, struct record_list *out,
                     struct failure *why)
{
    failure_init(why, &(struct http_response){.status = 404});
    d->member = false;
    if (a->kind == ASK_MEMBERSHIP)
        return hs_end_membership(a, d, out, why);
    return add_gone(out, a->object, a->ids[d->offset++], why);
}

/* A deleted list can be restored for 90 days and still be told of meanwhile. */
static int read_list_alive(const struct ask *a, const struct ask_state *s, struct failure *why)
{
    if (a->kind != ASK_SCOPE_INFO ||
        !json_is_true(json_object_get(json_object_get(s->facts, "list"), "deleted")))
        return 0;
    failure_set(why, ET_LIST_NOT_FOUND, "the list was deleted");
    return -1;
}

int hubspot_read(const struct provider_conn *c, const struct ask *a, struct ask_state *s,
                 struct http_response *r, struct record_list *out, struct failure *why)
{
    struct hs_state *d = s->data;
    hubspot_classify_answer(d->endpoint, r, why);
    if (is_gone(a, d, why))
        return read_gone(a, d, out, why);
    if (d->call == HS_REVOKE &&
        (why->type == ET_AUTH_KEY_INVALID || why->type == ET_RECORD_NOT_FOUND))
        return 0; /* nothing is left to revoke */
    if (d->call >= HS_HOOK_ADDRESS)
        return hubspot_read_hooks(c, a, s, r, why);
    if (why->type != ET_NONE)
        return -1;
    switch (d->call) {
    case HS_RECORD:
        return a->kind == ASK_MEMBERSHIP ? hs_read_member_record(c, a, d, r, out, why)
                                         : read_one(a, d, r, out, why);
    case HS_BATCH:
        return read_batch(a, d, r, out, why);
    case HS_OWNERS:
        return read_owners(a, d, r, out, why);
    case HS_LISTING:
        return read_listing(a, d, r, out, why);
    case HS_MEMBERS:
        return read_members(a, r, out, why);
    case HS_STAGE_SEARCH:
    case HS_DEAL_SEARCH:
        return read_scope_search(a, d, r, out, why);
    case HS_CHANGED:
        return read_changed(a, d, r, out, why);
    case HS_ASSOCIATIONS:
        return hs_read_associations(a, d, r, out, why);
    case HS_LISTS_OF:
        return hs_read_lists_of(c, a, d, r, out, why);
    case HS_DEALS:
        return hs_read_deals(c, a, d, r, out, why);
    case HS_ACCOUNT:
    case HS_TOKEN:
    case HS_PROPERTIES:
    case HS_LIST_SEARCH:
    case HS_PIPELINES:
        return hubspot_read_facts(s, r, why);
    case HS_LIST:
        return hubspot_read_facts(s, r, why) < 0 ? -1 : read_list_alive(a, s, why);
    case HS_NONE:
    case HS_REVOKE:
    case HS_HOOK_ADDRESS:
    case HS_HOOK_LIST:
    case HS_HOOK_ADDRESS_SAVE:
    case HS_HOOK_SWITCH_ON:
    case HS_HOOK_ADD:
        return 0;
    }
    return 0;
}
