/* Making and freeing requests; for server.c and its like. */
#ifndef PIVOTAL_SYNC_SIM_REQUEST_H
#define PIVOTAL_SYNC_SIM_REQUEST_H

#include "sim.h"

/** Percent-decode len bytes into a new string; plus: '+' is a space. */
char *request_decode(const char *p, size_t len, bool plus);
/** Takes both strings. */
void request_add_param(struct sim_params *ps, char *name, char *value);
void request_free(struct sim_request *r);

#endif
