/*
 * Lists: parameters, filters, cursors. Newest first (items and lines: oldest first). A page
 * costs its own length: the cursor and the created[...] bounds are found by binary search, and
 * the filter an account's code uses most (the owner) has an index.
 */
#include "stripe.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILTERS_MAX = 24, ANY_OF_MAX = 100 };

struct range {
    int64_t low;  /* inclusive */
    int64_t high; /* inclusive */
};

/* One filter of this request. */
struct active {
    const struct st_filter *filter;
    struct range range;
    const char *values[ANY_OF_MAX];
    size_t count;
};

struct query {
    struct st_call *c;
    const struct st_class *cls;
    int64_t limit;
    const char *starting_after;
    const char *ending_before;
    const char *owner;
    struct range created;
    struct active active[FILTERS_MAX];
    size_t count;
    bool has_status;
};

/* Whether the parameter is called base, alone or with brackets after it. */
static bool param_is(const char *name, const char *base, const char **rest)
{
    size_t len = strlen(base);
    if (strncmp(name, base, len) != 0 || (name[len] != '\0' && name[len] != '['))
        return false;
    *rest = name + len;
    return true;
}

static bool read_integer(struct st_call *c, const char *param, const char *text, int64_t *out)
{
    char *end = NULL;
    long long value = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        st_error(c->r, 400, "parameter_invalid_integer", param, "Invalid integer: %s", text);
        return false;
    }
    *out = value;
    return true;
}

static bool read_limit(struct query *q, const char *text)
{
    if (!read_integer(q->c, "limit", text, &q->limit))
        return false;
    if (q->limit >= 1 && q->limit <= ST_LIMIT_MAX)
        return true;
    st_error(q->c->r, 400, "parameter_invalid_integer", "limit",
             q->limit < 1 ? "This value must be greater than or equal to 1."
                          : "This value must be less than or equal to 100.");
    return false;
}

static bool read_range(struct query *q, struct range *range, const char *param,
                       const char *rest, const char *value)
{
    int64_t n = 0;
    if (!read_integer(q->c, param, value, &n))
        return false;
    if (*rest == '\0') {
        *range = (struct range){n, n};
    } else if (strcmp(rest, "[gt]") == 0) {
        range->low = n + 1 > range->low ? n + 1 : range->low;
    } else if (strcmp(rest, "[gte]") == 0) {
        range->low = n > range->low ? n : range->low;
    } else if (strcmp(rest, "[lt]") == 0) {
        range->high = n - 1 < range->high ? n - 1 : range->high;
    } else if (strcmp(rest, "[lte]") == 0) {
        range->high = n < range->high ? n : range->high;
    } else {
        st_error(q->c->r, 400, "parameter_unknown", param, "Received unknown parameter: %s%s",
                 param, rest);
        return false;
    }
    return true;
}

static struct active *activate(struct query *q, const struct st_filter *f)
{
    for (size_t i = 0; i < q->count; i++) {
        if (q->active[i].filter == f)
            return &q->active[i];
    }
    if (q->count == FILTERS_MAX)
        return &q->active[FILTERS_MAX - 1];
    struct active *a = &q->active[q->count++];
    *a = (struct active){.filter = f, .range = {INT64_MIN, INT64_MAX}};
    return a;
}

static bool is_range(const struct st_filter *f)
{
    return f->kind == ST_FILTER_RANGE || strncmp(f->param, "current_period", 14) == 0;
}

/* One parameter that is a filter of this list. Returns -1 refused, 0 not one, 1 taken. */
static int read_filter(struct query *q, const struct sim_param *p)
{
    for (const struct st_filter *f = q->cls->filters; f != NULL && f->param != NULL; f++) {
        const char *rest = NULL;
        if (strcmp(p->name, f->param) == 0)
            rest = "";
        else if ((is_range(f) || f->kind == ST_FILTER_ANY_OF) &&
                 !param_is(p->name, f->param, &rest))
            continue;
        else if (rest == NULL)
            continue;
        if (strcmp(f->param, "created") == 0)
            return read_range(q, &q->created, f->param, rest, p->value) ? 1 : -1;
        if (f->kind == ST_FILTER_OWNER) {
            q->owner = p->value;
            return 1;
        }
        struct active *a = activate(q, f);
        if (is_range(f))
            return read_range(q, &a->range, f->param, rest, p->value) ? 1 : -1;
        if (a->count < ANY_OF_MAX)
            a->values[a->count++] = p->value;
        if (strcmp(f->param, "status") == 0)
            q->has_status = true;
        return 1;
    }
    return 0;
}

static bool read_params(struct query *q)
{
    const struct sim_params *query = &q->c->r->query;
    for (size_t i = 0; i < query->count; i++) {
        const struct sim_param *p = &query->items[i];
        const char *rest = NULL;
        if (param_is(p->name, "expand", &rest))
            continue;
        if (strcmp(p->name, "limit") == 0) {
            if (!read_limit(q, p->value))
                return false;
            continue;
        }
        bool after = strcmp(p->name, "starting_after") == 0;
        if (after || strcmp(p->name, "ending_before") == 0) {
            if (*p->value == '\0') {
                st_error(q->c->r, 400, "parameter_invalid_empty", p->name,
                         "You passed an empty string for '%s'. We assume empty values are an "
                         "attempt to unset a parameter; however '%s' cannot be unset. You "
                         "should remove '%s' from your request or supply a non-empty value.",
                         p->name, p->name, p->name);
                return false;
            }
            *(after ? &q->starting_after : &q->ending_before) = p->value;
            continue;
        }
        int taken = read_filter(q, p);
        if (taken < 0)
            return false;
        if (taken == 0) {
            st_error(q->c->r, 400, "parameter_unknown", p->name,
                     "Received unknown parameter: %s", p->name);
            return false;
        }
    }
    if (q->starting_after != NULL && q->ending_before != NULL) {
        st_error(q->c->r, 400, NULL, NULL,
                 "Received both starting_after and ending_before parameters. Please pass in "
                 "only one.");
        return false;
    }
    return true;
}

/* ---- what may not be asked ---- */

static bool one_of(const char *text, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (strcmp(*names, text) == 0)
            return true;
    }
    return false;
}

static bool check_status(struct query *q, const char *status)
{
    static const char *const subscription[] = {
        "active",   "all",    "canceled", "ended",  "incomplete", "incomplete_expired",
        "past_due", "paused", "trialing", "unpaid", NULL};
    static const char *const invoice[] = {"draft",         "open", "paid",
                                          "uncollectible", "void", NULL};
    const char *const *names = NULL;
    if (q->cls->type == ST_SUBSCRIPTION)
        names = subscription;
    else if (q->cls->type == ST_INVOICE)
        names = invoice;
    if (names == NULL || one_of(status, names))
        return true;
    st_error(q->c->r, 400, NULL, "status", "Invalid status: must be one of %s",
             q->cls->type == ST_INVOICE
                 ? "draft, open, paid, uncollectible, or void"
                 : "active, past_due, unpaid, canceled, incomplete, incomplete_expired, "
                   "trialing, paused, all, or ended");
    return false;
}

static bool check_query(struct query *q)
{
    bool type = false;
    bool types = false;
    for (size_t i = 0; i < q->count; i++) {
        const struct active *a = &q->active[i];
        if (strcmp(a->filter->param, "status") == 0 && !check_status(q, a->values[0]))
            return false;
        type = type || (q->cls->type == ST_EVENT && strcmp(a->filter->param, "type") == 0);
        types = types || strcmp(a->filter->param, "types") == 0;
        if (strcmp(a->filter->param, "types") == 0 && a->count > 20) {
            st_error(q->c->r, 400, NULL, "types", "You may pass up to 20 event types.");
            return false;
        }
    }
    if (type && types) {
        st_error(q->c->r, 400, NULL, "type",
                 "You may only specify one of these parameters: type, types.");
        return false;
    }
    if (q->cls->type == ST_SUBSCRIPTION_ITEM && q->owner == NULL) {
        st_error(q->c->r, 400, "parameter_missing", "subscription",
                 "Missing required param: subscription.");
        return false;
    }
    if (q->cls->type == ST_ENTITLEMENT && q->owner == NULL) {
        st_error(q->c->r, 400, "parameter_missing", "customer",
                 "Missing required param: customer.");
        return false;
    }
    return true;
}

/* ---- filters ---- */

static bool in_range(const json_t *value, const struct range *range)
{
    return json_is_integer(value) && json_integer_value(value) >= range->low &&
           json_integer_value(value) <= range->high;
}

static bool text_is(const json_t *value, const char *text)
{
    if (json_is_string(value))
        return strcmp(json_string_value(value), text) == 0;
    if (json_is_boolean(value))
        return strcmp(json_is_true(value) ? "true" : "false", text) == 0;
    return false;
}

static bool any_item(struct query *q, const struct st_record *sub, const struct active *a)
{
    const struct st_vec *items = st_owned(q->c->mode, ST_SUBSCRIPTION_ITEM, sub->id);
    for (size_t i = 0; items != NULL && i < items->count; i++) {
        bool is_price = a->count > 0;
        json_t *value =
            st_field(q->c->app, items->items[i], is_price ? "price" : a->filter->param);
        bool yes = is_price ? text_is(value, a->values[0]) : in_range(value, &a->range);
        json_decref(value);
        if (yes)
            return true;
    }
    return false;
}

static bool status_matches(const struct st_record *rec, const char *wanted)
{
    if (strcmp(wanted, "all") == 0)
        return true;
    if (strcmp(wanted, "ended") == 0)
        return strcmp(rec->status, "canceled") == 0 ||
               strcmp(rec->status, "incomplete_expired") == 0;
    return strcmp(rec->status, wanted) == 0;
}

static bool event_matches(struct query *q, const struct st_record *rec, const struct active *a)
{
    json_t *obj = st_load(rec);
    bool yes = true;
    if (strcmp(a->filter->param, "type") == 0) {
        const char *type = st_text_at(obj, "type");
        size_t len = strlen(a->values[0]);
        if (len > 0 && a->values[0][len - 1] == '*')
            yes = strncmp(type, a->values[0], len - 1) == 0;
        else
            yes = strcmp(type, a->values[0]) == 0;
    } else if (strcmp(a->filter->param, "related_object") == 0) {
        const char *id = st_text_at(obj, "data.object.id");
        yes = id != NULL && strcmp(id, a->values[0]) == 0;
    } else {
        bool delivered = json_integer_value(json_object_get(obj, "pending_webhooks")) == 0 &&
                         !json_is_true(json_object_get(obj, "_failed"));
        yes = delivered == (strcmp(a->values[0], "true") == 0);
    }
    json_decref(obj);
    (void)q;
    return yes;
}

static bool special_matches(struct query *q, struct st_record *rec, const struct active *a)
{
    if (q->cls->type == ST_EVENT)
        return event_matches(q, rec, a);
    if (strcmp(a->filter->param, "status") == 0)
        return status_matches(rec, a->values[0]);
    if (q->cls->type == ST_SUBSCRIPTION)
        return any_item(q, rec, a);
    return true;
}

static bool matches(struct query *q, struct st_record *rec)
{
    if (rec->created < q->created.low || rec->created > q->created.high)
        return false;
    if (q->owner != NULL && (rec->owner == NULL || strcmp(rec->owner, q->owner) != 0))
        return false;
    if (q->cls->type == ST_SUBSCRIPTION && !q->has_status &&
        strcmp(rec->status, "canceled") == 0)
        return false;
    for (size_t i = 0; i < q->count; i++) {
        const struct active *a = &q->active[i];
        if (a->filter->kind == ST_FILTER_SPECIAL) {
            if (!special_matches(q, rec, a))
                return false;
            continue;
        }
        json_t *value = st_field(
            q->c->app, rec, a->filter->field != NULL ? a->filter->field : a->filter->param);
        bool yes = false;
        if (a->filter->kind == ST_FILTER_RANGE)
            yes = in_range(value, &a->range);
        for (size_t k = 0; !yes && k < a->count; k++)
            yes = text_is(value, a->values[k]);
        json_decref(value);
        if (!yes)
            return false;
    }
    return true;
}

/* ---- the page ---- */

struct page {
    struct st_record *items[ST_LIMIT_MAX];
    size_t count;
    bool has_more;
};

static enum st_type table_type(const struct st_class *cls)
{
    return cls->type == ST_PLAN ? ST_PRICE : cls->type;
}

static struct st_record *read_cursor(struct query *q, const char *id, const char *param,
                                     bool *ok)
{
    *ok = true;
    if (id == NULL)
        return NULL;
    struct st_record *rec = st_find(q->c->mode, table_type(q->cls), id);
    if (rec != NULL && !rec->deleted && matches(q, rec))
        return rec;
    *ok = false;
    st_error(q->c->r, q->c->account->settings.bad_cursor_404 ? 404 : 400, "resource_missing",
             param, "No such %s: '%s'", q->cls->object, id);
    return NULL;
}

/* Collect from v going up or down from place at (one past, when going down). */
static void collect(struct query *q, const struct st_vec *v, size_t at, bool up,
                    struct page *page)
{
    for (;;) {
        if (up ? at >= v->count : at == 0)
            return;
        struct st_record *rec = v->items[up ? at++ : --at];
        /* Past the bound of created nothing more can match. */
        if (up ? rec->created > q->created.high : rec->created < q->created.low)
            return;
        if (!matches(q, rec))
            continue;
        if (page->count == (size_t)q->limit) {
            page->has_more = true;
            return;
        }
        page->items[page->count++] = rec;
    }
}

static bool make_page(struct query *q, struct page *page)
{
    static const struct st_vec nothing = {0};
    const struct st_vec *v = &q->c->mode->tables[table_type(q->cls)].order;
    if (q->owner != NULL) {
        v = st_owned(q->c->mode, table_type(q->cls), q->owner);
        if (v == NULL)
            v = &nothing;
    }
    bool ok = false;
    bool back = q->ending_before != NULL;
    struct st_record *cursor = read_cursor(q, back ? q->ending_before : q->starting_after,
                                           back ? "ending_before" : "starting_after", &ok);
    if (!ok)
        return false;
    bool up = q->cls->oldest_first != back;
    size_t at = up ? 0 : v->count;
    if (cursor != NULL) {
        at = st_vec_lower(v, cursor->created, cursor->seq);
        if (up)
            at++;
    } else if (up && q->created.low > INT64_MIN) {
        at = st_vec_lower(v, q->created.low, 0);
    } else if (!up && q->created.high < INT64_MAX) {
        at = st_vec_lower(v, q->created.high + 1, 0);
    }
    collect(q, v, at, up, page);
    for (size_t i = 0; back && i < page->count / 2; i++) {
        struct st_record *swap = page->items[i];
        page->items[i] = page->items[page->count - 1 - i];
        page->items[page->count - 1 - i] = swap;
    }
    return true;
}

static void write_page(struct query *q, const struct page *page, const char *url)
{
    struct st_call *c = q->c;
    struct sim_buf *b = &c->r->res.body;
    sim_buf_adds(b, "{\n  \"object\": \"list\",\n  \"data\": [");
    for (size_t i = 0; i < page->count; i++) {
        sim_buf_adds(b, i > 0 ? ",\n    " : "\n    ");
        if (q->cls->type == ST_PLAN) {
            json_t *plan = st_render_plan(&c->view, page->items[i]);
            for (size_t e = 0; e < c->view.expand_count; e++)
                st_expand_apply(&c->view, ST_PLAN, plan, c->view.expand[e]);
            sim_buf_add_json(b, plan, JSON_INDENT(2));
            json_decref(plan);
        } else {
            st_render_text(&c->view, page->items[i], 4, b);
        }
    }
    sim_buf_addf(b, "%s],\n  \"has_more\": %s,\n  \"url\": ", page->count > 0 ? "\n  " : "",
                 page->has_more ? "true" : "false");
    sim_buf_add_json_string(b, url, strlen(url));
    sim_buf_adds(b, "\n}");
    c->r->rows = page->count;
    c->r->res.status = 200;
    st_headers(c->r, c->version);
    sim_answer_header(c->r, "Content-Type: application/json");
}

static bool owner_exists(struct query *q)
{
    enum st_type type = ST_NONE;
    if (q->cls->type == ST_SUBSCRIPTION_ITEM)
        type = ST_SUBSCRIPTION;
    else if (q->cls->owner != NULL && (strcmp(q->cls->owner, "customer") == 0 ||
                                       strcmp(q->cls->owner, "_customer") == 0))
        type = ST_CUSTOMER;
    else if (q->cls->type == ST_LINE_ITEM || q->cls->type == ST_INVOICE_PAYMENT)
        type = ST_INVOICE;
    else if (q->cls->type == ST_REFUND || q->cls->type == ST_DISPUTE)
        type = ST_CHARGE;
    if (q->owner == NULL || type == ST_NONE)
        return true;
    sim_count_id(q->c->r, st_class(type)->path, q->owner);
    /* A deleted customer's subscriptions can still be listed. */
    if (st_find(q->c->mode, type, q->owner) != NULL)
        return true;
    bool in_path = q->cls->type == ST_LINE_ITEM;
    st_error(q->c->r, in_path ? 404 : 400, "resource_missing",
             in_path ? st_class(type)->id_param : st_class(type)->object, "No such %s: '%s'",
             st_class(type)->object, q->owner);
    return false;
}

void st_list(struct st_call *c, const struct st_class *cls, const char *fixed_owner)
{
    struct query q = {.c = c,
                      .cls = cls,
                      .limit = 10,
                      .owner = fixed_owner,
                      .created = {INT64_MIN, INT64_MAX}};
    struct page page = {0};
    if (cls->type == ST_EVENT) {
        int64_t now_s = sim_now_ms(c->app->sim) / 1000;
        q.created.low = now_s - c->account->settings.event_days * ST_DAY_S;
    }
    if (!read_params(&q) || !check_query(&q) || !st_read_expand(c, cls->type, true) ||
        !owner_exists(&q) || !make_page(&q, &page))
        return;
    char *url = cls->type == ST_SUBSCRIPTION_ITEM
                    ? sim_strf("/v1/subscription_items?subscription=%s", q.owner)
                    : sim_strdup(c->r->path);
    write_page(&q, &page, url);
    free(url);
}
