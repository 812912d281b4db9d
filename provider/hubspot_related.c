/* What belongs to whom: contacts of companies, and whether a company is mirrored. */
#include "provider/hubspot_priv.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int read_association(const struct ask *a, struct hs_state *d, struct slice result,
                            struct hs_inputs *rest, struct record_list *out,
                            struct failure *why)
{
    char from[RECORD_ID_MAX_BYTES + 1];
    char to[RECORD_ID_MAX_BYTES + 1];
    char after[HS_AFTER_MAX_BYTES];
    struct json_walk w;
    struct json_member m;
    struct slice list = json_member(result, "to");
    if (!id_of_slice(json_member(json_member(result, "from"), "id"), from) ||
        list.bytes == NULL || list.bytes[0] != '[' || json_walk_begin(&w, list) < 0) {
        failure_set(why, ET_UNEXPECTED_SHAPE, "an association has no 'from' or no 'to'");
        return -1;
    }
    while (json_walk_next(&w, &m) == 1) {
        if (!id_of_slice(json_member(m.value, "toObjectId"), to)) {
            failure_set(why, ET_UNEXPECTED_SHAPE, "an association has no toObjectId");
            return -1;
        }
        if (a->kind == ASK_MEMBERSHIP) {
            if (hs_inputs_add(&d->deals, to, "") < 0)
                return hs_fail_memory(why);
            continue;
        }
        const struct object_type *o =
            a->kind == ASK_RELATED ? a->related_object : hubspot_object("company");
        struct record *rec = answer_record(out, o, RECORD_REF, to);
        if (rec == NULL)
            return hs_fail_memory(why);
        if (a->kind == ASK_RELATED)
            (void)text_copy(rec->other_id, sizeof rec->other_id, from);
    }
    if (hs_next_page(json_member(result, "paging"), after) &&
        hs_inputs_add(rest, from, after) < 0)
        return hs_fail_memory(why);
    return 0;
}

int hs_end_membership(const struct ask *a, struct hs_state *d, struct record_list *out,
                      struct failure *why)
{
    const char *id = a->ids[d->offset++];
    return answer_record(out, a->object != NULL ? a->object : hubspot_object("company"),
                         d->member ? RECORD_REF : RECORD_GONE, id) != NULL
               ? 0
               : hs_fail_memory(why);
}

int hs_read_associations(const struct ask *a, struct hs_state *d, struct http_response *r,
                         struct record_list *out, struct failure *why)
{
    struct hs_page p;
    struct hs_inputs rest = {0};
    int rc = 0;
    if (hs_take_page(r, out, "results", &p, why) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < p.split.element_count; i++)
        rc = read_association(a, d, p.split.elements[i], &rest, out, why);
    json_split_release(&p.split);
    if (rc == 0) {
        hs_inputs_drop(&d->inputs, d->inputs_asked);
        for (size_t i = 0; i < rest.count && rc == 0; i++)
            rc = hs_inputs_add(&d->inputs, rest.items[i].id, rest.items[i].after);
        if (rc < 0)
            rc = hs_fail_memory(why);
    }
    free(rest.items);
    if (rc == 0 && a->kind == ASK_MEMBERSHIP && d->inputs.count == 0 && d->deals.count == 0)
        rc = hs_end_membership(a, d, out, why);
    return rc;
}

/* Whether any of a company's deals is in the pipeline; enough to know of one. */
int hs_read_deals(const struct provider_conn *c, const struct ask *a, struct hs_state *d,
                  struct http_response *r, struct record_list *out, struct failure *why)
{
    struct hs_page p;
    if (hs_take_page(r, out, "results", &p, why) < 0)
        return -1;
    for (size_t i = 0; i < p.split.element_count; i++) {
        char pipeline[128];
        struct slice properties = json_member(p.split.elements[i], "properties");
        d->member |=
            json_slice_text(json_member(properties, "pipeline"), pipeline, sizeof pipeline) &&
            strcmp(pipeline, c->scope_id) == 0;
    }
    json_split_release(&p.split);
    hs_inputs_drop(&d->deals, d->member ? d->deals.count : d->deals_asked);
    return d->deals.count > 0 ? 0 : hs_end_membership(a, d, out, why);
}

int hs_read_lists_of(const struct provider_conn *c, const struct ask *a, struct hs_state *d,
                     struct http_response *r, struct record_list *out, struct failure *why)
{
    struct hs_page p;
    if (hs_take_page(r, out, "results", &p, why) < 0)
        return -1;
    for (size_t i = 0; i < p.split.element_count; i++) {
        char id[RECORD_ID_MAX_BYTES + 1];
        d->member |= id_of_slice(json_member(p.split.elements[i], "listId"), id) &&
                     strcmp(id, c->scope_id) == 0;
    }
    json_split_release(&p.split);
    return hs_end_membership(a, d, out, why);
}

/* Scope "stage", or everything: the company itself answers. */
int hs_read_member_record(const struct provider_conn *c, const struct ask *a,
                          struct hs_state *d, struct http_response *r, struct record_list *out,
                          struct failure *why)
{
    struct slice fields[RE_COUNT] = {{0}};
    char stage[128];
    bool archived = false;
    if (json_members(answer_body(r), hs_record_names, fields, RE_COUNT) < 0) {
        failure_set(why, ET_MALFORMED_BODY, "the answer is no JSON object");
        return -1;
    }
    d->member = !(json_slice_bool(fields[RE_ARCHIVED], &archived) && archived);
    if (strcmp(c->scope_kind, "stage") == 0)
        d->member &= json_slice_text(json_member(fields[RE_PROPERTIES], "lifecyclestage"),
                                     stage, sizeof stage) &&
                     strcasecmp(stage, c->scope_id) == 0;
    return hs_end_membership(a, d, out, why);
}
