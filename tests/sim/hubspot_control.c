/* /_sim/hubspot/: accounts, records, lists, and the truth a mirror must equal. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One control call: the path cut at '/', and who it is about. */
struct control {
    struct sim_request *r;
    struct hs_app *app;
    struct hs_portal *p;
    json_t *body;
    char *seg[8];
    int n;
    struct sim_notify how;
};

static bool is(const struct control *c, const char *method)
{
    return strcmp(c->r->method, method) == 0;
}

static const char *text_of(const struct control *c, const char *name)
{
    return json_string_value(json_object_get(c->body, name));
}

static void ok(const struct control *c)
{
    sim_answer_json(c->r, 200, json_pack("{s:b}", "ok", 1), 0);
}

static void unknown(const struct control *c)
{
    sim_answer_error(c->r, 404, "no such call: %s %s", c->r->method, c->r->path);
}

/* An id given as a number or as text; -1 when neither. */
static int64_t id_of(const json_t *v)
{
    if (json_is_integer(v)) {
        return json_integer_value(v);
    }
    return json_is_string(v) ? hs_parse_id(json_string_value(v)) : -1;
}

/* ---- accounts ---- */

static json_t *portal_json(const struct hs_portal *p)
{
    json_t *tokens = json_array();
    for (struct hs_token *t = p->app->tokens; t != NULL; t = t->hh.next) {
        if (t->portal == p) {
            (void)json_array_append_new(
                tokens, json_pack("{s:s, s:s, s:O, s:b, s:I}", "token", t->token, "kind",
                                  t->refresh     ? "refresh"
                                  : t->is_static ? "static"
                                                 : "oauth",
                                  "scopes", t->scopes, "revoked", t->revoked, "expires_at_ms",
                                  (json_int_t)t->expires_at_ms));
        }
    }
    json_t *counts = json_object();
    for (int t = 0; t < HS_TYPES; t++) {
        (void)json_object_set_new(counts, hs_plural((enum hs_type)t),
                                  json_integer((json_int_t)p->tables[t].live));
    }
    return json_pack("{s:I, s:b, s:b, s:o, s:o, s:O}", "portal_id", (json_int_t)p->id,
                     "installed", p->installed, "user_removed", p->user_removed, "tokens",
                     tokens, "counts", counts, "settings", p->settings);
}

static size_t size_of(const struct control *c, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(c->body, name));
    return v > 0 ? (size_t)v : 0;
}

static void accounts(struct control *c)
{
    if (is(c, "GET")) {
        json_t *out = json_array();
        for (struct hs_portal *p = c->app->portals; p != NULL; p = p->next) {
            (void)json_array_append_new(out, portal_json(p));
        }
        sim_answer_json(c->r, 200, json_pack("{s:o}", "accounts", out), 0);
        return;
    }
    int64_t id = id_of(json_object_get(c->body, "portal_id"));
    if (!is(c, "POST") || id <= 0 || hs_portal_find(c->app, id) != NULL) {
        sim_answer_error(c->r, 400, "POST with a portal_id that is not taken");
        return;
    }
    struct hs_portal *p = hs_portal_new(c->app, id);
    json_t *settings = json_object_get(c->body, "settings");
    const char *bad = settings != NULL ? hs_settings_patch(p, settings) : NULL;
    if (bad != NULL) {
        sim_answer_error(c->r, 400, "%s", bad);
        return;
    }
    hs_seed_records(p, size_of(c, "companies"), size_of(c, "list_members"),
                    size_of(c, "contacts"));
    const char *token = text_of(c, "token");
    if (token != NULL) {
        json_t *scopes = json_object_get(c->body, "scopes");
        json_t *all = scopes != NULL ? json_incref(scopes) : hs_all_scopes();
        (void)hs_token_new(c->app, p, token, all, true);
        json_decref(all);
    }
    sim_answer_json(c->r, 201, portal_json(p), 0);
}

static void patch_token(struct control *c, struct hs_token *t)
{
    json_t *v = json_object_get(c->body, "scopes");
    if (json_is_array(v)) {
        json_decref(t->scopes);
        t->scopes = json_incref(v);
    }
    v = json_object_get(c->body, "revoked");
    if (json_is_boolean(v)) {
        t->revoked = json_is_true(v);
    }
    v = json_object_get(c->body, "expires_in_s");
    if (json_is_number(v)) {
        t->expires_at_ms = sim_now_ms(c->r->sim) + (int64_t)(json_number_value(v) * 1000);
    }
}

static void tokens(struct control *c)
{
    if (c->n == 2 && is(c, "POST")) {
        const char *text = text_of(c, "token");
        const char *kind = text_of(c, "kind");
        if (text == NULL) {
            sim_answer_error(c->r, 400, "token is needed");
            return;
        }
        json_t *scopes = hs_all_scopes();
        struct hs_token *t = hs_token_new(c->app, c->p, text, scopes,
                                          kind == NULL || strcmp(kind, "oauth") != 0);
        t->refresh = kind != NULL && strcmp(kind, "refresh") == 0;
        if (t->refresh) {
            t->is_static = false;
        }
        json_decref(scopes);
        patch_token(c, t);
        sim_answer_json(c->r, 201, portal_json(c->p), 0);
        return;
    }
    struct hs_token *t = c->n == 3 ? hs_token_find(c->app, c->seg[2]) : NULL;
    if (t == NULL) {
        sim_answer_error(c->r, 404, "no such token");
    } else if (is(c, "DELETE")) {
        t->revoked = true;
        ok(c);
    } else {
        patch_token(c, t);
        ok(c);
    }
}

static void edit_scopes(json_t *have, const json_t *list, bool add)
{
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(list, i, v)
    {
        for (size_t k = json_array_size(have); k > 0; k--) {
            if (json_equal(json_array_get(have, k - 1), v)) {
                (void)json_array_remove(have, k - 1);
            }
        }
        if (add) {
            (void)json_array_append(have, v);
        }
    }
}

static void scopes(struct control *c)
{
    for (struct hs_token *t = c->app->tokens; t != NULL; t = t->hh.next) {
        if (t->portal != c->p) {
            continue;
        }
        json_t *v = json_object_get(c->body, "scopes");
        json_t *fresh = json_deep_copy(json_is_array(v) ? v : t->scopes);
        json_decref(t->scopes);
        t->scopes = fresh;
        edit_scopes(fresh, json_object_get(c->body, "remove"), false);
        edit_scopes(fresh, json_object_get(c->body, "add"), true);
    }
    ok(c);
}

static void oauth(struct control *c)
{
    json_t *v = json_object_get(c->body, "deny");
    if (v != NULL) {
        c->app->deny = json_is_true(v);
    }
    v = json_object_get(c->body, "withhold");
    if (v != NULL) {
        json_decref(c->app->withhold);
        c->app->withhold = json_incref(v);
    }
    v = json_object_get(c->body, "portal_id");
    if (v != NULL) {
        c->app->pick_portal = id_of(v) > 0 ? id_of(v) : 0;
    }
    static const char *const names[2] = {"client_id", "client_secret"};
    char **const at[2] = {&c->app->client_id, &c->app->client_secret};
    for (int i = 0; i < 2; i++) {
        const char *text = text_of(c, names[i]);
        if (text != NULL) {
            free(*at[i]);
            *at[i] = sim_strdup(text);
        }
    }
    sim_answer_json(c->r, 200,
                    json_pack("{s:s, s:s, s:b, s:I}", "client_id", c->app->client_id,
                              "client_secret", c->app->client_secret, "deny", c->app->deny,
                              "portal_id", (json_int_t)c->app->pick_portal),
                    0);
}

/* ---- the truth ---- */

static void view_of(const struct control *c, enum hs_type t, struct hs_view *v)
{
    const char *names = sim_param(&c->r->query, "properties", 0);
    if (names != NULL) {
        hs_view_names(v, &c->p->tables[t], t, &names, 1, false);
    } else {
        hs_view_all(v, &c->p->tables[t]);
    }
}

static void with_associations(struct hs_view *v)
{
    for (int k = 0; k < HS_TYPES; k++) {
        v->associations[v->association_count++] = (enum hs_type)k;
    }
}

static bool asked(const struct control *c, const char *flag)
{
    const char *v = sim_param(&c->r->query, flag, 0);
    return v != NULL && strcmp(v, "0") != 0;
}

/* Whether a record is associated with a live company of the list. */
static bool of_member(const struct control *c, enum hs_type t, const struct hs_object *o,
                      const struct hs_list *l)
{
    const struct hs_links *k = hs_links_of(c->p, t, o->id, HS_COMPANIES);
    for (size_t i = 0; k != NULL && i < k->count; i++) {
        const struct hs_object *company = hs_find(&c->p->tables[HS_COMPANIES], k->items[i].to);
        if (company != NULL && company->archived_ms == 0 && hs_list_has(l, company->id)) {
            return true;
        }
    }
    return false;
}

static void truth(struct control *c, enum hs_type t)
{
    const struct hs_table *tb = &c->p->tables[t];
    const char *list = sim_param(&c->r->query, "list", 0);
    const struct hs_list *l = list != NULL ? hs_list_find(c->p, list) : NULL;
    if (list != NULL && l == NULL) {
        sim_answer_error(c->r, 404, "no list %s", list);
        return;
    }
    const char *of = sim_param(&c->r->query, "companies_of", 0);
    const struct hs_list *owners_list = of != NULL ? hs_list_find(c->p, of) : NULL;
    if (of != NULL && owners_list == NULL) {
        sim_answer_error(c->r, 404, "no list %s", of);
        return;
    }
    bool archived = asked(c, "archived");
    bool ids = asked(c, "ids");
    struct hs_view v = {0};
    view_of(c, t, &v);
    if (asked(c, "associations")) {
        with_associations(&v);
    }
    struct sim_buf *b = &c->r->res.body;
    sim_buf_adds(b, "[");
    bool any = false;
    for (size_t i = 0; i < tb->count; i++) {
        const struct hs_object *o = tb->items[i];
        if ((o->archived_ms > 0) != archived || o->merged_into != 0 || o->purged ||
            (l != NULL && !hs_list_has(l, o->id)) ||
            (owners_list != NULL && !of_member(c, t, o, owners_list))) {
            continue;
        }
        sim_buf_adds(b, any ? ",\n" : "");
        any = true;
        if (ids) {
            sim_buf_addf(b, "\"%lld\"", (long long)o->id);
        } else {
            hs_render(b, c->p, t, o, &v);
        }
    }
    sim_buf_adds(b, "]");
    hs_view_free(&v);
    c->r->res.status = 200;
    sim_answer_header(c->r, "Content-Type: application/json");
}

static void show(struct control *c, enum hs_type t, const struct hs_object *o, int status)
{
    struct hs_view v = {0};
    view_of(c, t, &v);
    with_associations(&v);
    struct sim_buf *b = &c->r->res.body;
    hs_render(b, c->p, t, o, &v);
    hs_view_free(&v);
    if (o->raw_record == NULL) {
        b->len--; /* reopen the object */
        sim_buf_addf(b, ",\"_sim\":{\"merged_into\":\"%lld\",\"purged\":%s,\"seed\":%lld}}",
                     (long long)o->merged_into, o->purged ? "true" : "false",
                     (long long)o->seed);
    }
    c->r->res.status = status;
    sim_answer_header(c->r, "Content-Type: application/json");
}

/* ---- records ---- */

static int64_t change_time(const struct control *c)
{
    const json_t *v = json_object_get(c->body, "updated_at_ms");
    return json_is_integer(v) ? json_integer_value(v) : sim_now_ms(c->r->sim);
}

static const char *source(const struct control *c)
{
    const char *s = text_of(c, "changeSource");
    return s != NULL ? s : "CRM_UI";
}

static void set_raw(json_t **at, json_t *v)
{
    if (v == NULL) {
        return;
    }
    json_decref(*at);
    *at = json_object_size(v) > 0 ? json_incref(v) : NULL;
}

static void corrupt(struct control *c, struct hs_object *o)
{
    set_raw(&o->raw, json_object_get(c->body, "raw"));
    set_raw(&o->raw_hex, json_object_get(c->body, "raw_hex"));
    const json_t *whole = json_object_get(c->body, "raw_record");
    if (whole != NULL) {
        free(o->raw_record);
        o->raw_record = json_is_string(whole) ? sim_strdup(json_string_value(whole)) : NULL;
    }
}

static void create(struct control *c, enum hs_type t)
{
    const json_t *given = json_object_get(c->body, "id");
    int64_t id = given != NULL ? id_of(given) : 0;
    struct hs_object *o = id >= 0 ? hs_object_new(&c->p->tables[t], id, change_time(c)) : NULL;
    if (o == NULL) {
        sim_answer_error(c->r, 409, "the id is taken, or is none");
        return;
    }
    if (hs_int(c->p, "search_delay_ms") > 0) {
        o->updated_ms = 0; /* not in the index until the delay is over */
    }
    json_t *events = json_array();
    hs_event(c->p, events, t, "creation", o->id,
             json_pack("{s:s, s:s}", "changeFlag", "NEW", "changeSource", source(c)));
    hs_change(c->p, t, o, json_object_get(c->body, "properties"), true, change_time(c),
              source(c), events);
    corrupt(c, o);
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(json_object_get(c->body, "lists"), i, v)
    {
        struct hs_list *l = json_is_string(v) ? hs_list_find(c->p, json_string_value(v)) : NULL;
        if (l != NULL) {
            hs_list_add(l, o->id, sim_now_ms(c->r->sim));
        }
    }
    const char *word = NULL;
    json_t *ids = NULL;
    json_object_foreach(json_object_get(c->body, "associations"), word, ids)
    {
        enum hs_type to = hs_type_of(word);
        json_array_foreach(ids, i, v)
        {
            if (to < HS_TYPES && id_of(v) > 0) {
                hs_associate(c->p, t, o->id, to, id_of(v), i == 0);
            }
        }
    }
    hs_deliver(c->p, events, &c->how);
    show(c, t, o, 201);
}

static void privacy_delete(struct control *c, struct hs_object *o)
{
    json_t *events = json_array();
    hs_event(c->p, events, HS_CONTACTS, "privacyDeletion", o->id, NULL);
    hs_archive(c->p, HS_CONTACTS, o, events);
    o->purged = true;
    hs_deliver(c->p, events, &c->how);
    ok(c);
}

static void change_record(struct control *c, enum hs_type t, struct hs_object *o)
{
    json_t *events = json_array();
    const json_t *touch = json_object_get(c->body, "touch");
    json_t *values = json_object_get(c->body, "properties");
    bool moves = touch != NULL ? json_is_true(touch) : values != NULL;
    hs_change(c->p, t, o, values, moves, change_time(c), source(c), events);
    corrupt(c, o);
    hs_deliver(c->p, events, &c->how);
    show(c, t, o, 200);
}

static void one_record(struct control *c, enum hs_type t)
{
    struct hs_object *o = hs_find(&c->p->tables[t], hs_parse_id(c->seg[2]));
    if (o == NULL) {
        sim_answer_error(c->r, 404, "no %s %s", hs_singular(t), c->seg[2]);
        return;
    }
    json_t *events = NULL;
    if (c->n == 4 && strcmp(c->seg[3], "restore") == 0 && is(c, "POST")) {
        events = json_array();
        hs_restore(c->p, t, o, events);
        hs_deliver(c->p, events, &c->how);
        show(c, t, o, 200);
    } else if (c->n == 4 && strcmp(c->seg[3], "privacy_delete") == 0 && t == HS_CONTACTS) {
        privacy_delete(c, o);
    } else if (c->n == 3 && is(c, "GET")) {
        show(c, t, o, 200);
    } else if (c->n == 3 && is(c, "PATCH")) {
        change_record(c, t, o);
    } else if (c->n == 3 && is(c, "DELETE")) {
        events = json_array();
        hs_archive(c->p, t, o, events);
        o->purged = o->purged || asked(c, "purge");
        hs_deliver(c->p, events, &c->how);
        ok(c);
    } else {
        unknown(c);
    }
}

static void merge(struct control *c, enum hs_type t)
{
    struct hs_table *tb = &c->p->tables[t];
    struct hs_object *winner = hs_find(tb, id_of(json_object_get(c->body, "primary")));
    struct hs_object *losers[32];
    size_t count = 0;
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(json_object_get(c->body, "merged"), i, v)
    {
        struct hs_object *o = hs_find(tb, id_of(v));
        if (o != NULL && o != winner && o->archived_ms == 0 && count < 32) {
            losers[count++] = o;
        }
    }
    if (winner == NULL || count == 0) {
        sim_answer_error(c->r, 400, "primary and merged must be live records");
        return;
    }
    const json_t *given = json_object_get(c->body, "new_id");
    bool new_id = given != NULL ? json_is_true(given) : hs_flag(c->p, "merge_new_id");
    json_t *events = json_array();
    const struct hs_object *result = hs_merge(c->p, t, winner, losers, count, new_id, events);
    hs_deliver(c->p, events, &c->how);
    show(c, t, result, 200);
}

static void bulk(struct control *c, enum hs_type t)
{
    struct hs_table *tb = &c->p->tables[t];
    json_t *ids = json_object_get(c->body, "ids");
    json_t *values = json_object_get(c->body, "properties");
    json_int_t n = json_integer_value(json_object_get(c->body, "n"));
    bool same = json_is_true(json_object_get(c->body, "same_timestamp"));
    int64_t at = change_time(c);
    json_t *events = json_array();
    json_int_t changed = 0;
    for (size_t i = 0; i < tb->count; i++) {
        struct hs_object *o = tb->items[i];
        bool wanted = ids == NULL && changed < n;
        for (size_t k = 0; k < json_array_size(ids) && !wanted; k++) {
            wanted = id_of(json_array_get(ids, k)) == o->id;
        }
        if (wanted && o->archived_ms == 0) {
            hs_change(c->p, t, o, values, true, same ? at : at + changed, source(c), events);
            changed++;
        }
    }
    hs_deliver(c->p, events, &c->how);
    sim_answer_json(c->r, 200, json_pack("{s:I}", "changed", changed), 0);
}

static void records(struct control *c, enum hs_type t)
{
    if (c->n == 2 && is(c, "GET")) {
        truth(c, t);
    } else if (c->n == 2 && is(c, "POST")) {
        create(c, t);
    } else if (c->n == 3 && is(c, "POST") && strcmp(c->seg[2], "merge") == 0) {
        merge(c, t);
    } else if (c->n == 3 && is(c, "POST") && strcmp(c->seg[2], "bulk") == 0) {
        bulk(c, t);
    } else if (c->n >= 3) {
        one_record(c, t);
    } else {
        unknown(c);
    }
}

/* ---- associations, lists, definitions, owners ---- */

static void association_event(struct control *c, json_t *events, enum hs_type from,
                              int64_t from_id, enum hs_type to, int64_t to_id, bool removed,
                              bool primary)
{
    char type[64];
    (void)snprintf(type, sizeof type, "%s_TO_%s", hs_singular(from), hs_singular(to));
    for (char *p = type; *p != '\0'; p++) {
        *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
    }
    hs_event(c->p, events, from, "associationChange", 0,
             json_pack("{s:s, s:I, s:I, s:b, s:b}", "associationType", type, "fromObjectId",
                       (json_int_t)from_id, "toObjectId", (json_int_t)to_id,
                       "associationRemoved", removed, "isPrimaryAssociation", primary));
}

static void associations(struct control *c)
{
    const char *a = text_of(c, "from");
    const char *b = text_of(c, "to");
    enum hs_type from = a != NULL ? hs_type_of(a) : HS_TYPES;
    enum hs_type to = b != NULL ? hs_type_of(b) : HS_TYPES;
    int64_t from_id = id_of(json_object_get(c->body, "from_id"));
    int64_t to_id = id_of(json_object_get(c->body, "to_id"));
    bool remove = json_is_true(json_object_get(c->body, "remove"));
    bool primary = json_is_true(json_object_get(c->body, "primary"));
    if (from == HS_TYPES || to == HS_TYPES || from_id < 0 || to_id < 0) {
        sim_answer_error(c->r, 400, "from, from_id, to, to_id are needed");
        return;
    }
    if (remove) {
        (void)hs_dissociate(c->p, from, from_id, to, to_id);
    } else {
        hs_associate(c->p, from, from_id, to, to_id, primary);
    }
    json_t *events = json_array();
    association_event(c, events, from, from_id, to, to_id, remove, primary);
    association_event(c, events, to, to_id, from, from_id, remove, primary);
    hs_deliver(c->p, events, &c->how);
    ok(c);
}

static void set_members(struct control *c, struct hs_list *l, const json_t *ids, bool add)
{
    int64_t now = sim_now_ms(c->r->sim);
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(ids, i, v)
    {
        int64_t id = id_of(v);
        if (id > 0 && add && !hs_list_has(l, id)) {
            hs_list_add(l, id, now);
            hs_journal_list(c->p, l, id, true);
        } else if (id > 0 && !add && hs_list_remove(l, id, now)) {
            hs_journal_list(c->p, l, id, false);
        }
    }
}

static void replace_members(struct control *c, struct hs_list *l, const json_t *ids)
{
    struct hs_list *next = hs_list_new(c->p, "(next)", l->name, "MANUAL", "0-2");
    set_members(c, next, ids, true);
    /* Who stays keeps the time of joining. */
    for (size_t i = l->count; i > 0; i--) {
        int64_t id = l->members[i - 1].id;
        if (!hs_list_has(next, id)) {
            (void)hs_list_remove(l, id, sim_now_ms(c->r->sim));
        }
    }
    set_members(c, l, ids, true);
    for (struct hs_list **at = &c->p->lists; *at != NULL; at = &(*at)->next) {
        if (*at == next) {
            *at = next->next;
            break;
        }
    }
    hs_list_free(next);
}

static void list_members(struct control *c, struct hs_list *l)
{
    json_t *out = json_array();
    for (size_t i = 0; i < l->count; i++) {
        (void)json_array_append_new(out, json_sprintf("%lld", (long long)l->members[i].id));
    }
    sim_answer_json(c->r, 200, json_pack("{s:o}", "members", out), 0);
}

static void replace_text(char **at, const char *v)
{
    if (v != NULL) {
        free(*at);
        *at = sim_strdup(v);
    }
}

static void patch_list(struct control *c, struct hs_list *l)
{
    replace_text(&l->name, text_of(c, "name"));
    replace_text(&l->object_type_id, text_of(c, "objectTypeId"));
    replace_text(&l->processing_type, text_of(c, "processingType"));
    replace_text(&l->processing_status, text_of(c, "processingStatus"));
    json_t *f = json_object_get(c->body, "filter");
    if (json_is_object(f)) {
        replace_text(&l->filter_property, json_string_value(json_object_get(f, "property")));
        replace_text(&l->filter_value, json_string_value(json_object_get(f, "value")));
    } else if (json_is_null(f)) {
        free(l->filter_property);
        free(l->filter_value);
        l->filter_property = NULL;
        l->filter_value = NULL;
    }
    l->updated_ms = sim_now_ms(c->r->sim);
}

static void create_list(struct control *c)
{
    const char *id = text_of(c, "listId");
    const char *processing = text_of(c, "processingType");
    const char *type_id = text_of(c, "objectTypeId");
    const char *name = text_of(c, "name");
    if (id != NULL && hs_list_find(c->p, id) != NULL) {
        sim_answer_error(c->r, 409, "list %s exists", id);
        return;
    }
    struct hs_list *l = hs_list_new(c->p, id, name != NULL ? name : "A list",
                                    processing != NULL ? processing : "MANUAL",
                                    type_id != NULL ? type_id : "0-2");
    patch_list(c, l);
    set_members(c, l, json_object_get(c->body, "members"), true);
    sim_answer_json(c->r, 201, hs_list_json(l, true), 0);
}

static void lists(struct control *c)
{
    if (c->n == 2 && is(c, "POST")) {
        create_list(c);
        return;
    }
    if (c->n == 2) {
        json_t *out = json_array();
        for (struct hs_list *l = c->p->lists; l != NULL; l = l->next) {
            (void)json_array_append_new(out, hs_list_json(l, true));
        }
        sim_answer_json(c->r, 200, json_pack("{s:o}", "lists", out), 0);
        return;
    }
    struct hs_list *l = hs_list_find(c->p, c->seg[2]);
    const char *verb = c->n == 4 ? c->seg[3] : "";
    if (l == NULL) {
        sim_answer_error(c->r, 404, "no list %s", c->seg[2]);
        return;
    }
    if (c->n == 3 && is(c, "DELETE")) {
        l->deleted_ms = sim_now_ms(c->r->sim);
    } else if (c->n == 3 && is(c, "PATCH")) {
        patch_list(c, l);
    } else if (strcmp(verb, "restore") == 0 && is(c, "POST")) {
        l->deleted_ms = 0;
    } else if (strcmp(verb, "members") == 0 && is(c, "GET")) {
        list_members(c, l);
        return;
    } else if (strcmp(verb, "members") == 0 && is(c, "PUT")) {
        replace_members(c, l, json_object_get(c->body, "members"));
    } else if (strcmp(verb, "add") == 0 || strcmp(verb, "remove") == 0) {
        set_members(c, l, json_object_get(c->body, "ids"), strcmp(verb, "add") == 0);
    } else if (!(c->n == 3 && is(c, "GET"))) {
        unknown(c);
        return;
    }
    sim_answer_json(c->r, 200, hs_list_json(l, true), 0);
}

static void properties(struct control *c)
{
    enum hs_type t = c->n >= 3 ? hs_type_of(c->seg[2]) : HS_TYPES;
    if (t == HS_TYPES) {
        unknown(c);
        return;
    }
    struct hs_table *tb = &c->p->tables[t];
    struct hs_def *d = NULL;
    if (c->n == 4) {
        HASH_FIND_STR(tb->defs, c->seg[3], d);
    }
    if (c->n == 3 && is(c, "POST")) {
        const char *bad = hs_def_add(tb, c->body, HS_SLOT_NONE);
        if (bad != NULL) {
            sim_answer_error(c->r, 400, "%s", bad);
            return;
        }
        sim_answer_json(c->r, 201, json_incref(c->body), 0);
    } else if (d != NULL && is(c, "PATCH")) {
        json_t *j = json_deep_copy(d->json);
        (void)json_object_update(j, c->body);
        (void)json_object_set_new(j, "name", json_string(d->name));
        (void)hs_def_add(tb, j, d->slot);
        sim_answer_json(c->r, 200, j, 0);
    } else if (d != NULL && is(c, "DELETE")) {
        d->archived = true;
        (void)json_object_set_new(d->json, "archived", json_true());
        ok(c);
    } else {
        unknown(c);
    }
}

static void owners(struct control *c)
{
    char now[40];
    sim_iso_time(sim_now_ms(c->r->sim), now, sizeof now);
    if (c->n == 2 && is(c, "POST")) {
        char id[24];
        (void)snprintf(id, sizeof id, "%lld", (long long)c->p->next_owner_id++);
        json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:s, s:b}", "id", id, "type",
                              "PERSON", "firstName", "New", "lastName", "Owner", "userId",
                              9600000, "userIdIncludingInactive", 9600000, "createdAt", now,
                              "updatedAt", now, "archived", 0);
        (void)json_object_update(o, c->body);
        (void)json_array_append(c->p->owners, o);
        sim_answer_json(c->r, 201, o, 0);
        return;
    }
    size_t i = 0;
    json_t *o = NULL;
    json_array_foreach(c->p->owners, i, o)
    {
        if (c->n == 3 && strcmp(json_string_value(json_object_get(o, "id")), c->seg[2]) == 0) {
            if (is(c, "DELETE")) {
                (void)json_object_set_new(o, "archived", json_true());
                (void)json_object_set_new(o, "userId", json_null());
            } else if (is(c, "PATCH")) {
                (void)json_object_update(o, c->body);
            }
            (void)json_object_set_new(o, "updatedAt", json_string(now));
            sim_answer_json(c->r, 200, json_incref(o), 0);
            return;
        }
    }
    if (c->n == 2 && is(c, "GET")) {
        sim_answer_json(c->r, 200, json_pack("{s:O}", "owners", c->p->owners), 0);
    } else {
        sim_answer_error(c->r, 404, "no such owner");
    }
}

static void pipelines(struct control *c)
{
    char now[40];
    sim_iso_time(sim_now_ms(c->r->sim), now, sizeof now);
    const char *label = text_of(c, "label");
    if (c->n != 3 || !is(c, "POST") || label == NULL) {
        unknown(c);
        return;
    }
    json_t *stages = json_array();
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(json_object_get(c->body, "stages"), i, v)
    {
        const char *l = json_string_value(json_object_get(v, "label"));
        const char *p = json_string_value(json_object_get(v, "probability"));
        const char *closed = json_string_value(json_object_get(v, "isClosed"));
        (void)json_array_append_new(
            stages, json_pack("{s:o, s:s, s:i, s:{s:s, s:s}, s:b, s:s, s:s}", "id",
                              json_sprintf("stage%zu-%zu", json_array_size(c->p->pipelines), i),
                              "label", l != NULL ? l : "Stage", "displayOrder", (int)i,
                              "metadata", "probability", p != NULL ? p : "0.5", "isClosed",
                              closed != NULL ? closed : "false", "archived", 0, "createdAt",
                              now, "updatedAt", now));
    }
    json_t *pipe =
        json_pack("{s:o, s:s, s:i, s:o, s:b, s:s, s:s}", "id",
                  json_sprintf("pipeline%zu", json_array_size(c->p->pipelines)), "label", label,
                  "displayOrder", (int)json_array_size(c->p->pipelines), "stages", stages,
                  "archived", 0, "createdAt", now, "updatedAt", now);
    (void)json_array_append(c->p->pipelines, pipe);
    sim_answer_json(c->r, 201, pipe, 0);
}

/* ---- dispatch ---- */

static void portal_call(struct control *c)
{
    const char *verb = c->n >= 2 ? c->seg[1] : "";
    enum hs_type t = c->n >= 2 ? hs_type_of(verb) : HS_TYPES;
    if (c->n == 1) {
        json_t *s = json_object_get(c->body, "settings");
        const char *bad = is(c, "PATCH") && s != NULL ? hs_settings_patch(c->p, s) : NULL;
        if (bad != NULL) {
            sim_answer_error(c->r, 400, "%s", bad);
        } else {
            sim_answer_json(c->r, 200, portal_json(c->p), 0);
        }
    } else if (t < HS_TYPES) {
        records(c, t);
    } else if (strcmp(verb, "tokens") == 0) {
        tokens(c);
    } else if (strcmp(verb, "scopes") == 0) {
        scopes(c);
    } else if (strcmp(verb, "uninstall") == 0) {
        hs_uninstall(c->p);
        ok(c);
    } else if (strcmp(verb, "user_removed") == 0) {
        c->p->user_removed = true;
        ok(c);
    } else if (strcmp(verb, "associations") == 0) {
        associations(c);
    } else if (strcmp(verb, "lists") == 0) {
        lists(c);
    } else if (strcmp(verb, "properties") == 0) {
        properties(c);
    } else if (strcmp(verb, "owners") == 0) {
        owners(c);
    } else if (strcmp(verb, "pipelines") == 0) {
        pipelines(c);
    } else {
        unknown(c);
    }
}

void sim_hubspot_control(struct sim_request *r, const char *tail, json_t *body)
{
    struct control c = {.r = r, .app = *sim_hubspot(r->sim), .body = body};
    sim_notify_parse(&c.how, body);
    char *text = sim_strdup(tail);
    char *save = NULL;
    for (char *w = strtok_r(text, "/", &save); w != NULL && c.n < 8;
         w = strtok_r(NULL, "/", &save)) {
        c.seg[c.n++] = w;
    }
    if (c.n == 1 && strcmp(c.seg[0], "accounts") == 0) {
        accounts(&c);
    } else if (c.n == 1 && strcmp(c.seg[0], "oauth") == 0) {
        oauth(&c);
    } else if (c.n >= 1 && (c.p = hs_portal_find(c.app, hs_parse_id(c.seg[0]))) != NULL) {
        portal_call(&c);
    } else {
        sim_answer_error(r, 404, "no such portal or call: %s", tail);
    }
    free(text);
}
