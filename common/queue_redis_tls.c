/* TLS to Redis, where hiredis can (1.0 and later; Debian 12 has 0.14: there a tunnel does it,
 * see docs/operations.md). hiredis itself does not check whose certificate it is, so the
 * session is made here: a chain to the CA and the name in the URL, or no connection. */
#include "common/queue_redis.h"

#ifdef HAVE_HIREDIS_SSL

#include <arpa/inet.h>
#include <hiredis/async.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

bool redis_tls_here(void)
{
    return true;
}

static SSL *session_new(const struct redis_url *url)
{
    unsigned char address[sizeof(struct in6_addr)];
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL) {
        return NULL;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    int ok = SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
             (url->ca[0] != '\0' ? SSL_CTX_load_verify_locations(ctx, url->ca, NULL)
                                 : SSL_CTX_set_default_verify_paths(ctx)) == 1;
    SSL *ssl = ok ? SSL_new(ctx) : NULL;
    SSL_CTX_free(ctx); /* the session keeps it */
    if (ssl == NULL) {
        return NULL;
    }
    if (inet_pton(AF_INET, url->host, address) == 1 ||
        inet_pton(AF_INET6, url->host, address) == 1) {
        ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), url->host) == 1;
    } else {
        ok =
            SSL_set1_host(ssl, url->host) == 1 && SSL_set_tlsext_host_name(ssl, url->host) == 1;
    }
    if (!ok) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

int redis_tls_begin(struct redisAsyncContext *ac, const struct redis_url *url, struct err *err)
{
    ERR_clear_error();
    SSL *ssl = session_new(url);
    if (ssl == NULL) {
        err_set(err, ERR_UNAVAILABLE, "TLS to Redis '%s': cannot use CA '%s'", url->host,
                url->ca[0] != '\0' ? url->ca : "of the system");
        return -1;
    }
    if (redisInitiateSSL(&ac->c, ssl) != REDIS_OK) {
        err_set(err, ERR_UNAVAILABLE, "TLS to Redis '%s': %s", url->host, ac->c.errstr);
        SSL_free(ssl);
        return -1;
    }
    return 0;
}

#else

bool redis_tls_here(void)
{
    return false;
}

int redis_tls_begin(struct redisAsyncContext *ac, const struct redis_url *url, struct err *err)
{
    (void)ac;
    err_set(err, ERR_CONFIG, "no TLS to Redis '%s' in this build", url->host);
    return -1;
}

#endif
