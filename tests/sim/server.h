/*
 * A connection of the server, shared by server.c (reads) and wire.c (writes). One request at a
 * time: the next one on the same connection is read when the answer has gone out.
 */
#ifndef PIVOTAL_SYNC_SIM_SERVER_H
#define PIVOTAL_SYNC_SIM_SERVER_H

#include "internal.h"

struct server {
    struct sim *sim;
    enum sim_provider provider;
    uv_tcp_t listener;
    struct conn *conns;
    bool stopping;
};

struct conn {
    uv_tcp_t tcp;
    uv_timer_t timer; /* hold, and the pace of a slow answer */
    struct server *server;
    struct conn *next;
    struct conn *prev;
    struct sim_buf in;
    bool continue_sent; /* 100 Continue for the request being read */
    bool closing;
    int handles_open;

    struct sim_request *req; /* being answered, or NULL */
    struct fault *fault;     /* that met it; NULL once it is gone */
    struct wire_plan plan;
    bool client_keeps_alive;
    struct sim_buf out;
    size_t sent; /* of a slow answer */
    uv_write_t write;
};

/** Close the connection; with reset, by RST. The request, if deferred, lives on. */
void conn_close(struct conn *c, bool reset);
/** Read the next request, if it is there already. */
void conn_next(struct conn *c);
/** The handler is to be asked now (again, after a late hold). */
void conn_handle(struct conn *c);

/** The request is complete: faults, handler, answer. */
void wire_begin(struct conn *c);
/** The answer is in c->req->res: hold or send it. */
void wire_answer(struct conn *c);
/** The connection goes: let go of the fault. */
void wire_abandon(struct conn *c);

#endif
