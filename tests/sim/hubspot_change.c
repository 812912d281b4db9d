/* What people do in the account: change, archive, restore, merge; and random changes. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hs_change(struct hs_portal *p, enum hs_type t, struct hs_object *o, json_t *values,
               bool touch, int64_t at_ms, const char *source, json_t *events)
{
    const char *name = NULL;
    json_t *v = NULL;
    json_object_foreach(values, name, v)
    {
        char *text = json_is_string(v) ? sim_strdup(json_string_value(v))
                     : json_is_null(v) ? NULL
                                       : json_dumps(v, JSON_ENCODE_ANY);
        const struct hs_def *d = hs_def_find(&p->tables[t], name);
        hs_set(p, t, o, name, text, at_ms, source);
        hs_lists_follow(p, t, o, name);
        if (d != NULL && (!d->calculated || hs_flag(p, "webhooks_calculated"))) {
            hs_event(p, events, t, "propertyChange", o->id,
                     json_pack("{s:s, s:s, s:s}", "propertyName", name, "propertyValue",
                               text != NULL ? text : "", "changeSource", source));
        }
        free(text);
    }
    if (touch) {
        hs_touch(p, o, at_ms);
    }
}

void hs_archive(struct hs_portal *p, enum hs_type t, struct hs_object *o, json_t *events)
{
    if (o->archived_ms > 0) {
        return;
    }
    o->archived_ms = sim_now_ms(p->app->sim);
    p->tables[t].live--;
    hs_lists_forget(p, t, o->id);
    hs_event(p, events, t, "deletion", o->id, json_pack("{s:s}", "changeFlag", "DELETED"));
}

void hs_restore(struct hs_portal *p, enum hs_type t, struct hs_object *o, json_t *events)
{
    if (o->archived_ms == 0 || o->purged || o->merged_into != 0) {
        return;
    }
    o->archived_ms = 0;
    p->tables[t].live++;
    hs_lists_follow(p, t, o, "lifecyclestage");
    hs_event(p, events, t, "restore", o->id, NULL);
}

/* The loser's values fill what the winner lacks. */
static int64_t fill(struct hs_portal *p, enum hs_type t, struct hs_object *winner,
                    const struct hs_object *loser, int64_t now)
{
    int64_t moved = 0;
    for (struct hs_def *d = p->tables[t].defs; d != NULL; d = d->hh.next) {
        char a[HS_SCRATCH];
        char b[HS_SCRATCH];
        const char *mine = hs_value(p, t, winner, d, a);
        const char *theirs = hs_value(p, t, loser, d, b);
        if (mine == NULL && theirs != NULL && !d->archived) {
            hs_set(p, t, winner, d->name, theirs, now, "MERGE_COMPANIES");
            moved++;
        }
    }
    return moved;
}

static void move_links(struct hs_portal *p, enum hs_type t, int64_t from, int64_t to)
{
    for (int k = 0; k < HS_TYPES; k++) {
        const struct hs_links *l = hs_links_of(p, t, from, (enum hs_type)k);
        while (l != NULL && l->count > 0) {
            struct hs_link link = l->items[l->count - 1];
            (void)hs_dissociate(p, t, from, (enum hs_type)k, link.to);
            if (link.to != to) {
                hs_associate(p, t, to, (enum hs_type)k, link.to, link.primary);
            }
        }
    }
}

static void retire(struct hs_portal *p, enum hs_type t, struct hs_object *o, int64_t into)
{
    o->merged_into = into;
    o->archived_ms = sim_now_ms(p->app->sim);
    p->tables[t].live--;
    for (struct hs_list *l = p->lists; l != NULL; l = l->next) {
        if (strcmp(l->object_type_id, hs_type_id(t)) == 0 && hs_list_has(l, o->id)) {
            hs_list_add(l, into, o->archived_ms);
        }
    }
    hs_lists_forget(p, t, o->id);
    move_links(p, t, o->id, into);
}

struct hs_object *hs_merge(struct hs_portal *p, enum hs_type t, struct hs_object *winner,
                           struct hs_object **losers, size_t count, bool new_id, json_t *events)
{
    int64_t now = sim_now_ms(p->app->sim);
    int64_t moved = 0;
    json_t *ids = json_array();
    struct sim_buf merged = {0};
    struct hs_object *result = winner;
    if (new_id) { /* the merge makes a record of its own; the winner goes too */
        result = hs_object_new(&p->tables[t], 0, now);
        (void)fill(p, t, result, winner, now);
        sim_buf_addf(&merged, "%lld", (long long)winner->id);
    }
    for (size_t i = 0; i < count; i++) {
        moved += fill(p, t, result, losers[i], now);
        (void)json_array_append_new(ids, json_integer(losers[i]->id));
        sim_buf_addf(&merged, "%s%lld", merged.len > 0 ? ";" : "", (long long)losers[i]->id);
        retire(p, t, losers[i], result->id);
    }
    if (new_id) {
        retire(p, t, winner, result->id);
    }
    hs_set(p, t, result, "hs_merged_object_ids", merged.p, now, "MERGE_COMPANIES");
    sim_buf_free(&merged);
    hs_touch(p, result, now);
    json_t *extra =
        json_pack("{s:I, s:O, s:I}", "primaryObjectId", (json_int_t)winner->id,
                  "mergedObjectIds", ids, "numberOfPropertiesMoved", (json_int_t)moved);
    if (new_id) {
        (void)json_object_set_new(extra, "newObjectId", json_integer(result->id));
    }
    /* No propertyChange for fields the merge changed; the losers fire a deletion each. */
    hs_event(p, events, t, "merge", winner->id, extra);
    for (size_t i = 0; i < count; i++) {
        hs_event(p, events, t, "deletion", losers[i]->id, NULL);
    }
    if (new_id) {
        hs_event(p, events, t, "deletion", winner->id, NULL);
    }
    json_decref(ids);
    return result;
}

/* ---- random changes ---- */

static struct hs_object *pick(struct sim *s, const struct hs_table *tb, bool live)
{
    for (int tries = 0; tb->count > 0 && tries < 50; tries++) {
        struct hs_object *o = tb->items[sim_rand_below(s, tb->count)];
        if ((o->archived_ms == 0) == live && o->merged_into == 0 && !o->purged) {
            return o;
        }
    }
    return NULL;
}

static json_t *random_values(struct sim *s, enum hs_type t)
{
    static const char *const plans[] = {"free", "starter", "pro", "enterprise"};
    static const char *const stages[] = {"customer", "opportunity", "lead"};
    uint64_t x = sim_rand_below(s, 100000);
    if (t == HS_CONTACTS) {
        return json_pack("{s:o}", "jobtitle", json_sprintf("Title %d", (int)x));
    }
    switch (sim_rand_below(s, 6)) {
    case 0:
        return json_pack("{s:s}", "plan", plans[x % 4]);
    case 1:
        return json_pack("{s:s}", "lifecyclestage", stages[x % 3]);
    case 2:
        return json_pack("{s:o}", "numberofemployees", json_sprintf("%d", (int)x));
    case 3:
        return x % 2 == 0 ? json_pack("{s:n}", "city") : json_pack("{s:s}", "city", "Malmö");
    default:
        return json_pack("{s:o}", "arr", json_sprintf("%d.50", (int)x));
    }
}

static void random_create(struct hs_portal *p, json_t *events)
{
    struct hs_table *tb = &p->tables[HS_COMPANIES];
    struct hs_object *o = hs_object_new(tb, 0, sim_now_ms(p->app->sim));
    size_t i = tb->count + 1000000;
    char name[96];
    char domain[96];
    sim_company_name(i, name, sizeof name);
    sim_company_domain(i, domain, sizeof domain);
    json_t *v = json_pack("{s:s, s:s, s:s}", "name", name, "domain", domain, "lifecyclestage",
                          i % 2 == 0 ? "customer" : "lead");
    hs_event(p, events, HS_COMPANIES, "creation", o->id,
             json_pack("{s:s}", "changeFlag", "NEW"));
    hs_change(p, HS_COMPANIES, o, v, true, o->created_ms, "CRM_UI", events);
    json_decref(v);
}

void sim_hubspot_mutate(struct sim *s, const struct sim_notify *n)
{
    struct hs_portal *p = (*sim_hubspot(s))->portals;
    json_t *events = json_array();
    uint64_t dice = sim_rand_below(s, 20);
    enum hs_type t = dice < 3 ? HS_CONTACTS : HS_COMPANIES;
    struct hs_object *o = NULL;
    if (dice == 19) {
        random_create(p, events);
    } else if (dice == 18) {
        o = pick(s, &p->tables[HS_COMPANIES], false);
        if (o != NULL) {
            hs_restore(p, HS_COMPANIES, o, events);
        }
    } else if (dice == 17) {
        o = pick(s, &p->tables[HS_COMPANIES], true);
        if (o != NULL) {
            hs_archive(p, HS_COMPANIES, o, events);
        }
    } else {
        o = pick(s, &p->tables[t], true);
        json_t *v = random_values(s, t);
        if (o != NULL) {
            hs_change(p, t, o, v, true, sim_now_ms(s), "CRM_UI", events);
        }
        json_decref(v);
    }
    hs_deliver(p, events, n);
}
