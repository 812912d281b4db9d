/* Inside of the JSON API: one call is a request of somebody who is known, in a task of its own.
 * Each handler answers exactly once. */
#ifndef ADMIN_API_H
#define ADMIN_API_H

#include "admin/session.h"
#include "common/http_server.h"
#include "core/access.h"
#include "core/actions.h"
#include "core/app.h"
#include "core/lookup.h"

#include <jansson.h>

enum {
    API_TEXT_MAX_BYTES = 256,
    API_PAGE_DEFAULT = 50,
    API_PAGE_MAX = 200,
    API_EXPORT_MAX = 20000
};

struct api_call {
    struct app *app;
    struct http_exchange *x; /* NULL once answered */
    struct access who;
    struct actor actor;
    json_t *body; /* an object, or NULL when none came */
};

/* Where a run of psync_bi.run_history is: the type of its first open chunk, how many types
 * there are and are done, and how many records of each it has seen. */
#define RUN_PHASE_SQL(run)                                                                     \
    "(SELECT jsonb_build_object('phase', (array_agg(h.object_type ORDER BY h.at)"              \
    "   FILTER (WHERE h.at IS NOT NULL))[1], 'phases', count(*), 'phases_done',"               \
    "   count(*) FILTER (WHERE h.at IS NULL), 'seen_by_type',"                                 \
    "   coalesce(jsonb_object_agg(h.object_type, h.seen), '{}'))"                              \
    " FROM (SELECT object_type, min(chunk_no) FILTER (WHERE status <> 'done') AS at,"          \
    "     sum(seen)::bigint AS seen FROM psync.run_chunk WHERE run_id = " run ".run_id"        \
    "   GROUP BY object_type) h)"

typedef void api_handler(struct api_call *c);

/* A row of the table: who may, and what is done. */
struct api_route {
    const char *method;
    const char *path;
    enum access_role role;
    api_handler *handler;
};

/** GET /api/v1/session. */
void api_who(struct api_call *c);

/* The tables, each of which ends with method NULL. */
extern const struct api_route api_look_routes[], api_log_routes[], api_act_routes[],
    api_setup_routes[];

/* ---- what a handler reads ---- */
/** A parameter of the query into out; "" when absent, too long or odd. */
const char *api_query(const struct api_call *c, const char *name, char out[API_TEXT_MAX_BYTES]);
/** A number of the query, or otherwise when absent; -1 when it is no number. */
int64_t api_query_int(const struct api_call *c, const char *name, int64_t otherwise);
/** Rows of a page: `limit`, held to 1..API_PAGE_MAX. */
int api_query_limit(const struct api_call *c);
/** A text of the body; NULL when absent or no text. */
const char *api_body_text(const struct api_call *c, const char *name);
bool api_body_true(const struct api_call *c, const char *name);
/** Hole i as a number above 0; answers 404 and returns 0 otherwise. */
int64_t api_hole_id(struct api_call *c, int i);
/** The connection that hole 0 names (an id, or a provider with ?workspace=); answers and
 * returns NULL when there is none. */
struct connection *api_connection(struct api_call *c);

/* ---- how it answers ---- */
/** A JSON text. */
void api_answer(struct api_call *c, int status, const char *json, size_t len_bytes);
/** A JSON value, which is taken; NULL is out of memory. */
void api_answer_json(struct api_call *c, int status, json_t *value);
/** What the first column of the first row of a SELECT says; no row or NULL: 404 with the
 * sentence absent. params are lent. */
void api_answer_query(struct api_call *c, const char *sql, const struct params *p,
                      const char *absent);
/** The rows of a SELECT as a file NAME.csv or NAME.jsonl, as ?format= says; the SELECT holds
 * itself to API_EXPORT_MAX. params are lent. */
void api_export(struct api_call *c, const char *select, const struct params *p,
                const char *name);
/** Problem details (RFC 9457); detail is a sentence for a person. */
void api_problem(struct api_call *c, int status, const char *code, const char *detail);
/** The same from an err. */
void api_problem_err(struct api_call *c, const struct err *err);
/** Before there is a call: the same for an exchange. */
void api_problem_plain(struct http_exchange *x, int status, const char *code,
                       const char *detail);

#endif
