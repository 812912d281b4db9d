/*
 * Events: made when something changes, frozen then, in the API version of the account (and of
 * every endpoint that has one of its own), and sent to the endpoints that want them.
 */
#include "stripe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void st_change_begin(struct st_change *ch, struct stripe_sim *app, struct st_mode *m,
                     const struct sim_notify *n)
{
    *ch = (struct st_change){.app = app, .mode = m, .notify = *n};
}

static int64_t created_now(struct st_change *ch)
{
    int64_t now_s = sim_now_ms(ch->app->sim) / 1000;
    if (!ch->notify.same_second) {
        ch->app->same_second_at = now_s;
        return now_s;
    }
    if (ch->app->same_second_at == 0)
        ch->app->same_second_at = now_s;
    return ch->app->same_second_at;
}

/* Payloads for endpoints pinned to an older version: {"0": object, "1": object} by shape. */
static json_t *other_shapes(struct st_change *ch, struct st_record *rec, bool plan)
{
    json_t *shapes = NULL;
    enum st_shape own = st_shape_of(ch->mode->account->api_version);
    const struct st_vec *endpoints = &ch->mode->tables[ST_ENDPOINT].order;
    for (size_t i = 0; rec != NULL && i < endpoints->count; i++) {
        json_t *version = st_field(ch->app, endpoints->items[i], "api_version");
        enum st_shape shape = st_shape_of(json_string_value(version));
        char key[4];
        snprintf(key, sizeof key, "%d", (int)shape);
        if (json_is_string(version) && shape != own &&
            (shapes == NULL || json_object_get(shapes, key) == NULL)) {
            struct st_view v = {.app = ch->app, .mode = ch->mode, .shape = shape};
            if (shapes == NULL)
                shapes = json_object();
            json_object_set_new(shapes, key,
                                plan ? st_render_plan(&v, rec) : st_render_plain(&v, rec));
        }
        json_decref(version);
    }
    return shapes;
}

static json_t *thin_form(struct st_change *ch, const char *type, const json_t *obj,
                         const char *id, int64_t created)
{
    const char *object = st_text_at(obj, "object");
    const char *about = st_text_at(obj, "id");
    const struct st_class *cls = object != NULL ? st_class_by_object(object) : NULL;
    char at[40];
    sim_iso_time(created * 1000 + sim_now_ms(ch->app->sim) % 1000, at, sizeof at);
    json_t *related = json_null();
    if (about != NULL && cls != NULL && cls->path != NULL)
        related = json_pack("{s:s, s:s, s:o}", "id", about, "type", object, "url",
                            json_sprintf("/v1/%s/%s", cls->path, about));
    return json_pack("{s:s, s:s, s:o, s:s, s:b, s:n, s:n, s:o}", "id", id, "object",
                     "v2.core.event", "type", json_sprintf("v1.%s", type), "created", at,
                     "livemode", ch->mode->live ? 1 : 0, "context", "reason", "related_object",
                     related);
}

struct st_record *st_event(struct st_change *ch, const char *type, struct st_record *rec,
                           json_t *obj, json_t *previous)
{
    if (ch->event_type != NULL)
        type = ch->event_type;
    int64_t created = created_now(ch);
    char *id = st_new_id(ch->app, ch->mode, "evt_", 24);
    json_t *data = json_pack("{s:O}", "object", obj);
    if (previous != NULL)
        json_object_set_new(data, "previous_attributes", previous);
    json_t *request = json_pack("{s:s?, s:n}", "id", ch->request_id, "idempotency_key");
    json_t *sparse =
        json_pack("{s:s, s:s, s:I, s:o, s:i, s:o, s:s, s:o}", "id", id, "api_version",
                  ch->mode->account->api_version, "created", (json_int_t)created, "data", data,
                  "pending_webhooks", 0, "request", request, "type", type, "_thin",
                  thin_form(ch, type, obj, id, created));
    json_t *shapes = other_shapes(ch, rec, strncmp(type, "plan.", 5) == 0);
    if (shapes != NULL)
        json_object_set_new(sparse, "_shapes", shapes);
    json_decref(obj);
    free(id);
    struct st_record *made = st_insert(ch->app, ch->mode, ST_EVENT, sparse);
    ch->events = sim_realloc(ch->events, (ch->count + 1) * sizeof *ch->events);
    ch->events[ch->count++] = made;
    return made;
}

void st_events_trim(struct st_mode *m, int64_t now_s)
{
    struct st_vec *v = &m->tables[ST_EVENT].order;
    const struct st_settings *s = &m->account->settings;
    int64_t oldest = now_s - s->event_days * ST_DAY_S;
    while (v->count > 0 && (v->count > (size_t)s->events_max || v->items[0]->created < oldest))
        st_remove(m, v->items[0]);
}

void st_change_end(struct st_change *ch)
{
    if (ch->notify.notify)
        st_deliver(ch);
    free(ch->events);
    *ch = (struct st_change){.app = ch->app, .mode = ch->mode, .notify = ch->notify};
    st_events_trim(ch->mode, sim_now_ms(ch->app->sim) / 1000);
}
