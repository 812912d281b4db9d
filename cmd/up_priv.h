/* What the files of `up` share. */
#ifndef CMD_UP_PRIV_H
#define CMD_UP_PRIV_H

#include "cmd/up_child.h"
#include "common/buf.h"
#include "common/config.h"
#include "common/http_client.h"
#include "common/proc.h"
#include "common/store.h"
#include "common/task.h"

#include <jansson.h>

enum { UP_PATH_BYTES = 400, UP_URL_BYTES = 600 };

struct up {
    uv_loop_t loop_here, *loop;
    struct config *config;
    struct proc *proc;
    struct up_children *children;
    struct store *store;
    struct http_client *http;
    bool demo, once;
    bool ending;          /* a signal came */
    struct wake *waiting; /* fired by the signal */
    int code;             /* exit code */

    char bin_dir[UP_PATH_BYTES];  /* where our programs are */
    char data_dir[UP_PATH_BYTES]; /* DATA_DIR, or demo/ in it */
    char run_dir[UP_PATH_BYTES];  /* sockets: short enough for one */
    int lock_fd;
    char database_url[UP_URL_BYTES], redis_url[UP_URL_BYTES];
    void *postgres_process, *redis_process, *programs, *demo_process; /* what children lend:
                                                      freed at the end */

    struct up_child *postgres, *redis, *gateway, *scheduler, *worker, *admin, *sim;
    int64_t call_ms;          /* longest HTTP call; 0 = a minute */
    struct up_child *command; /* the one of ours that runs now */
    int webhook_fd, admin_fd;
    char webhook_base[UP_URL_BYTES], admin_base[UP_URL_BYTES]; /* "" for a unix socket */
    char sim_hubspot[UP_URL_BYTES], sim_stripe[UP_URL_BYTES];
};

/* ---- up.c ---- */
/** A line for the person at the terminal (stderr). */
void up_say(const struct up *up, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Let ms pass, or less when `up` is to end: then -1 with ERR_CANCELLED. */
int up_sleep(struct up *up, int64_t ms, struct err *err) MUST_USE;
/** "<dir>/<name>" into out[UP_PATH_BYTES]; -1 ERR_CONFIG when too long. */
int up_path(char out[UP_PATH_BYTES], const char *dir, const char *name, struct err *err)
    MUST_USE;
/** Make a folder with its parents; owner (a user name) may be NULL. */
int up_folder(const char *path, unsigned mode, const char *owner, struct err *err) MUST_USE;
/** Write a file as a whole (0600 unless mode says otherwise), owner as above. */
int up_write(const char *path, const char *text, unsigned mode, const char *owner,
             struct err *err) MUST_USE;
/** Remove a folder and all in it. Nothing there is fine. */
int up_remove_tree(const char *path, struct err *err) MUST_USE;
/** Set PIVOTAL_SYNC_<name> for our programs, and take <name>_FILE away. */
int up_setting(const char *name, const char *value, struct err *err) MUST_USE;

/* ---- up_services.c ---- */
/** Start PostgreSQL (unless DATABASE_URL is set and this is no demo), wait until it answers,
 * make its database; sets database_url. */
int up_postgres(struct up *up, struct err *err) MUST_USE;
int up_redis(struct up *up, struct err *err) MUST_USE;

/* ---- up_programs.c ---- */
/** Open the listening sockets, so that a port that is taken is noticed first. */
int up_listen(struct up *up, struct err *err) MUST_USE;
/** Start gateway, scheduler, worker and admin and wait until they are ready. */
int up_programs(struct up *up, struct err *err) MUST_USE;
/** Path of one of our programs. */
int up_program_path(const struct up *up, const char *program, char out[UP_PATH_BYTES],
                    struct err *err) MUST_USE;
/** Run `pivotal-sync args...` with our terminal and wait. Its exit code, or -1. */
int up_command(struct up *up, const char *const *args, struct err *err) MUST_USE;
/** GET or POST (body may be NULL: GET) JSON. *out may be NULL. An answer that is not 2xx is
 * ERR_PROTOCOL. */
int up_call(struct up *up, const char *url, const json_t *body, json_t **out, struct err *err)
    MUST_USE;

/* ---- up_demo.c ---- */
/** Start the simulator and point the settings at it. Before the services. */
int up_demo_prepare(struct up *up, struct err *err) MUST_USE;
/** Connect, sync, and go on changing records until a signal, or compare once. */
int up_demo_run(struct up *up, struct err *err) MUST_USE;

/* ---- up_compare.c ---- */
struct up_comparison {
    int companies, contacts, customers, stripe_objects;
    int differences;
    struct buf report; /* a line each, the first of them */
};
/** Compare mirror and simulator now. */
int up_compare(struct up *up, struct up_comparison *out, struct err *err) MUST_USE;

#endif
