/* What an operator may do: run now, cancel, resync, pause; and the checks the product makes of
 * itself. */
#include "admin/api.h"

#include "core/diagnose.h"
#include "core/preview.h"
#include "core/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE_WAIT_MS = 8000, RESYNC_WAIT_MS = 20000, NOTE_MAX_BYTES = 160 };

/* ---- runs ---- */

static void act_run(struct api_call *c)
{
    int64_t run_id = 0;
    struct err err = {0};
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    if (action_run_now(c->app, conn, &c->actor, &run_id, &err) == 0) {
        api_answer_json(c, 202,
                        json_pack("{s:I, s:b}", "run_id", (json_int_t)run_id, "started", 1));
    } else if (err.code == ERR_CONFLICT && run_id != 0) {
        /* A second press shows the first. */
        api_answer_json(c, 200,
                        json_pack("{s:I, s:b}", "run_id", (json_int_t)run_id, "started", 0));
    } else {
        api_problem_err(c, &err);
    }
}

static void act_cancel(struct api_call *c)
{
    struct err err = {0};
    int64_t run_id = api_hole_id(c, 0);
    if (run_id == 0) {
        return;
    }
    if (run_cancel(c->app, run_id, &c->actor, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, json_pack("{s:I}", "run_id", (json_int_t)run_id));
    }
}

static void act_pause(struct api_call *c)
{
    struct err err = {0};
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    if (conn == NULL) {
        return;
    }
    bool paused = api_body_true(c, "paused");
    if (action_pause(c->app, conn, paused, &c->actor, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, json_pack("{s:b}", "paused", paused));
    }
}

/* A lane for every connection, or all of them when none is named. */
static void act_pause_lane(struct api_call *c)
{
    struct err err = {0};
    const char *name = api_body_text(c, "lane");
    bool paused = api_body_true(c, "paused");
    int lane = name != NULL ? LANE_COUNT - 1 : -1;
    while (name != NULL && lane >= 0 && strcmp(lane_names[lane], name) != 0) {
        lane--;
    }
    if (name != NULL && lane < 0) {
        api_problem(c, 400, "invalid", "The lane is interactive, webhook, run_now or nightly.");
    } else if (action_pause_lane(c->app, lane, paused, &c->actor, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, json_pack("{s:s?, s:b}", "lane", name, "paused", paused));
    }
}

/* ---- one record ---- */

/* The type a request names, or the one customers derive from. */
static const struct object_type *type_of(struct api_call *c, const struct connection *conn)
{
    const char *name = api_body_text(c, "object_type");
    const struct object_type *o =
        name != NULL ? provider_object(conn->provider, name) : conn->provider->objects;
    while (name == NULL && o->name != NULL && (o->flags & OBJECT_ROOT) == 0) {
        o++;
    }
    if (o == NULL || o->name == NULL) {
        api_problem(c, 400, "invalid", "The provider has no records of that type.");
        return NULL;
    }
    return o;
}

static const char *record_of(struct api_call *c)
{
    const char *id = api_body_text(c, "record_id");
    if (id == NULL || id[0] == '\0' || strlen(id) > QUEUE_ID_MAX_BYTES) {
        api_problem(c, 400, "invalid", "The body has to name a record_id.");
        return NULL;
    }
    return id;
}

static void act_resync(struct api_call *c)
{
    int64_t after = 0;
    struct err err = {0};
    struct action_outcome end;
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    const struct object_type *o = conn != NULL ? type_of(c, conn) : NULL;
    const char *id = o != NULL ? record_of(c) : NULL;
    if (id == NULL) {
        return;
    }
    if (action_resync(c->app, conn, o->name, id, "person", &c->actor, &after, &err) != 0 ||
        action_wait(c->app, conn, o->name, id, after, RESYNC_WAIT_MS, &end, &err) != 0) {
        api_problem_err(c, &err);
        return;
    }
    api_answer_json(c, 200,
                    json_pack("{s:o, s:s, s:s, s:s, s:s, s:I}", "attempt_id",
                              json_sprintf("%lld", (long long)end.attempt_id), "status",
                              end.status, "error_code", end.code, "error_title", end.title,
                              "message", end.message, "customer_id",
                              (json_int_t)end.customer_id));
}

static void act_preview(struct api_call *c)
{
    struct err err = {0};
    struct preview p = {0};
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    const struct object_type *o = conn != NULL ? type_of(c, conn) : NULL;
    const char *id = o != NULL ? record_of(c) : NULL;
    if (id == NULL) {
        return;
    }
    if (preview_record(c->app, conn, o, id, &p, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200,
                        json_pack("{s:s, s:s, s:I, s:O, s:O}", "object_type", o->name,
                                  "record_id", id, "changed", (json_int_t)p.changed, "changes",
                                  p.changes, "failures", p.failures));
    }
    preview_release(&p);
}

/* ---- the product's own checks ---- */

static void act_diagnose(struct api_call *c)
{
    struct err err = {0};
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    struct findings *f = conn != NULL ? calloc(1, sizeof *f) : NULL;
    if (f == NULL) {
        if (conn != NULL) {
            api_problem(c, 500, "internal", "Out of memory.");
        }
        return;
    }
    int64_t customer = json_integer_value(json_object_get(c->body, "customer_id"));
    if (diagnose_connection(c->app, conn, customer, PROBE_WAIT_MS, f, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        api_answer_json(c, 200, json_pack("{s:o, s:n}", "items", findings_to_json(f), "next"));
    }
    free(f);
}

/* An address of the provider's pages ends with the id of what it shows. */
static const char *id_in(const char *text)
{
    const char *slash = strstr(text, "://") != NULL ? strrchr(text, '/') : NULL;
    return slash != NULL && slash[1] != '\0' ? slash + 1 : text;
}

/* What people know of a record that is missing: its id, or a name, domain or e-mail of
 * something that is stored. Empty when nothing fits. */
static int find_record(struct api_call *c, const struct connection *conn, const char *object,
                       const char *text, char out[QUEUE_ID_MAX_BYTES + 1], struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, conn->connection_id);
    params_text(p, object);
    params_text(p, text);
    out[0] = '\0';
    if (store_query(c->app->store,
                    "SELECT record_id FROM psync.record WHERE connection_id = $1"
                    "   AND object_type = $2 AND (lower(raw ->> 'name') = lower($3)"
                    "     OR lower(raw ->> 'email') = lower($3)"
                    "     OR lower(raw #>> '{properties,name}') = lower($3)"
                    "     OR lower(raw #>> '{properties,domain}') = lower($3))"
                    " ORDER BY deleted_at IS NOT NULL, record_id LIMIT 1",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) > 0) {
        (void)snprintf(out, QUEUE_ID_MAX_BYTES + 1, "%s", rows_text(r, 0, 0));
    }
    return 0;
}

static bool looks_like_id(const struct connection *conn, const char *text)
{
    return strcmp(conn->provider->name, "hubspot") == 0
               ? strspn(text, "0123456789") == strlen(text)
               : strncmp(text, "cus_", 4) == 0 || strncmp(text, "sub_", 4) == 0;
}

static void act_why(struct api_call *c)
{
    struct err err = {0};
    char id[QUEUE_ID_MAX_BYTES + 1];
    CLEANUP(connection_freep) struct connection *conn = api_connection(c);
    const struct object_type *o = conn != NULL ? type_of(c, conn) : NULL;
    const char *text = o != NULL ? record_of(c) : NULL;
    if (text == NULL) {
        return;
    }
    (void)snprintf(id, sizeof id, "%s", id_in(text));
    if (!looks_like_id(conn, id) && find_record(c, conn, o->name, text, id, &err) != 0) {
        api_problem_err(c, &err);
        return;
    }
    if (id[0] == '\0') {
        char note[NOTE_MAX_BYTES];
        (void)snprintf(note, sizeof note,
                       "Nothing of that name, domain or e-mail is stored here. Give its id or "
                       "address at %s: then %s itself is asked.",
                       conn->provider->title, conn->provider->title);
        api_problem(c, 404, "unknown_record", note);
        return;
    }
    struct findings *f = calloc(1, sizeof *f);
    if (f == NULL) {
        api_problem(c, 500, "internal", "Out of memory.");
    } else if (diagnose_record(c->app, conn, o->name, id, f, &err) != 0) {
        api_problem_err(c, &err);
    } else {
        json_t *out = json_pack("{s:o, s:n}", "items", findings_to_json(f), "next");
        (void)json_object_set_new(out, "record_id", json_string(id));
        (void)json_object_set_new(out, "object_type", json_string(o->name));
        api_answer_json(c, 200, out);
    }
    free(f);
}

const struct api_route api_act_routes[] = {
    {"POST", "/api/v1/connections/{connection}/runs", ACCESS_OPERATOR, act_run},
    {"POST", "/api/v1/runs/{run}/cancel", ACCESS_OPERATOR, act_cancel},
    {"POST", "/api/v1/connections/{connection}/pause", ACCESS_OPERATOR, act_pause},
    {"POST", "/api/v1/queue/pause", ACCESS_OPERATOR, act_pause_lane},
    {"POST", "/api/v1/connections/{connection}/resync", ACCESS_OPERATOR, act_resync},
    {"POST", "/api/v1/connections/{connection}/resync-preview", ACCESS_OPERATOR, act_preview},
    {"POST", "/api/v1/connections/{connection}/diagnose", ACCESS_OPERATOR, act_diagnose},
    {"POST", "/api/v1/connections/{connection}/why", ACCESS_VIEWER, act_why},
    {0}};
