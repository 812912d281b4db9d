/* Inside of the admin program. */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "admin/session.h"
#include "common/http_server.h"
#include "common/metrics.h"
#include "common/metrics_server.h"
#include "core/app.h"

/* ---- health.c: what /readyz says, found out in the background ---- */
struct health;
/** Start to look; lent app. NULL with ERR_NOMEM. */
struct health *health_new(struct app *app, struct err *err) MUST_USE;
/** Look no more; true once nothing of it runs, and health_free() may follow. */
void health_stop(struct health *h);
bool health_stopped(const struct health *h);
void health_free(struct health *h);
/** Fills the checks postgres, redis, migrations; returns how many. */
int health_checks(const struct health *h, struct readiness_check *checks);

/* ---- oauth.c: GET /oauth/{provider}/start and /callback ---- */
struct oauth_pages;
struct oauth_pages *oauth_pages_new(struct app *app, struct sessions *sessions,
                                    struct metrics *metrics, struct err *err) MUST_USE;
void oauth_pages_free(struct oauth_pages *o);
/** Walks being answered now: not freed before this is 0. */
int oauth_pages_in_flight(const struct oauth_pages *o);
/** Hand the browser what it has to show when a walk returns to it; from_page: and that it goes
 * back to the page then. */
void oauth_pages_keep(const struct config *config, struct http_exchange *x, const char *browser,
                      bool from_page);
void oauth_pages_start(struct oauth_pages *o, struct http_exchange *x);
void oauth_pages_callback(struct oauth_pages *o, struct http_exchange *x);

/* ---- api.c: /api/v1/... ---- */
struct api;
struct api *api_new(struct app *app, struct sessions *sessions, struct err *err) MUST_USE;
void api_free(struct api *a);
int api_in_flight(const struct api *a);
/** Add its routes from `at` on; returns the next free one. */
int api_add_routes(struct http_route *routes, int at, int most);
void api_sign_in(struct api *a, struct http_exchange *x);
void api_sign_out(struct api *a, struct http_exchange *x);
/** The API of the program whose routes are served (main.c): what handlers get as arg. */
struct api *admin_api(void *arg);

/* ---- events.c: GET /api/v1/events, live figures as server-sent events ---- */
struct events;
struct events *events_new(struct app *app, struct sessions *sessions, struct err *err) MUST_USE;
void events_stop(struct events *e);
bool events_stopped(const struct events *e);
void events_free(struct events *e);
void events_handle(struct events *e, struct http_exchange *x);

/* ---- files.c: the page itself ---- */
/** Answer a file of admin/web/ by the path of the request; every address of the page that is no
 * file is index.html. */
void files_handle(struct http_exchange *x, void *arg);

#endif
