/* A delivery of our own, over the way that the provider's take: does it arrive, and is it taken
 * for genuine? */
#include "core/webhook.h"

#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEST_TOTAL_MS = 10 * 1000 };

/* The newest signing secret of the connection's own endpoint into out. */
static int own_secret(struct app *app, const struct connection *c, struct buf *out,
                      struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_int(p, c->connection_id);
    if (store_query(app->store,
                    "SELECT webhook_secrets[1] FROM psync.credential WHERE connection_id = $1",
                    p, &r, err) != 0) {
        return -1;
    }
    if (rows_count(r) == 0 || rows_is_null(r, 0, 0)) {
        err_set(err, ERR_INVALID,
                "no signing secret is stored: `webhook repair %s` makes an endpoint, or give "
                "`webhook rotate-secret %s` its secret",
                c->provider->name, c->provider->name);
        return -1;
    }
    size_t len = 0;
    unsigned char *sealed = rows_bytea(r, 0, 0, &len);
    if (sealed == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    int rc = seal_open(app->seal, c->connection_id, "webhook_secret",
                       (struct slice){(const char *)sealed, len}, out, err);
    free(sealed);
    return rc;
}

static void say_how(const struct http_response *r, struct webhook_test *out)
{
    if (r->fault != HTTP_OK) {
        snprintf(out->problem, sizeof out->problem, "it does not arrive: %s", r->fault_text);
    } else if (r->status == 401) {
        snprintf(
            out->problem, sizeof out->problem,
            "it arrives and its signature is refused: another secret, or PUBLIC_URL is not "
            "what the gateway has");
    } else if (r->status != 200) {
        snprintf(out->problem, sizeof out->problem, "it is answered %d", r->status);
    }
}

int webhook_test(struct app *app, const struct connection *c, struct webhook_test *out,
                 struct err *err)
{
    struct app_scratch scratch;
    struct provider_conn pc;
    struct http_request req;
    struct http_response resp;
    struct buf secret;
    int rc = -1;
    memset(out, 0, sizeof *out);
    buf_init(&secret, 8192);
    http_request_init(&req);
    http_response_init(&resp);
    app_provider_conn(app, c, &scratch, &pc);
    if (webhook_url(app, c, out->url, sizeof out->url, err) != 0) {
        goto done;
    }
    if (!c->provider->hook_of_app) {
        if (own_secret(app, c, &secret, err) != 0) {
            goto done;
        }
    } else if (pc.client_secret[0] == '\0' || buf_add_str(&secret, pc.client_secret) != 0) {
        err_set(err, ERR_CONFIG, "the client secret of our %s app is not set",
                c->provider->title);
        goto done;
    }
    if (c->provider->hook_test(&pc, out->url,
                               (struct slice){buf_text(&secret), secret.len_bytes},
                               clock_now_ms(), &req, err) != 0) {
        goto done;
    }
    req.total_timeout_ms = TEST_TOTAL_MS;
    if (http_client_send(app->http, &req, &resp, err) != 0) {
        goto done;
    }
    out->status = resp.status;
    out->took_ms = (resp.took_us + 500) / 1000;
    say_how(&resp, out);
    rc = 0;
done:
    if (secret.bytes != NULL) {
        explicit_bzero(secret.bytes, secret.cap_bytes);
    }
    buf_release(&secret);
    http_request_release(&req);
    http_response_release(&resp);
    return rc;
}
