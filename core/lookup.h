/* From what people type to what the database calls it. */
#ifndef CORE_LOOKUP_H
#define CORE_LOOKUP_H

#include "core/app.h"

struct workspace_ref {
    int64_t workspace_id;
    char name[64];
};

/** name NULL or "": the only workspace. ERR_NOT_FOUND; ERR_INVALID when several could be meant.
 */
int lookup_workspace(struct store *s, const char *name, struct workspace_ref *out,
                     struct err *err) MUST_USE;

/**
 * PROVIDER of a command or URL: "hubspot", "stripe", "stripe:test", "stripe:live" or a
 * connection id. Plain "stripe" is the workspace's only one, the live one when there are both.
 * Returns the connection, owned by the caller (connection_free), or NULL with ERR_NOT_FOUND.
 */
struct connection *lookup_connection(struct app *app, const char *workspace,
                                     const char *provider, struct err *err) MUST_USE;

#endif
