/* Scripts and arguments of the queue's Redis driver. The provider table becomes two Lua tables
 * in front of each script, so that a claim needs no argument for it and each program version
 * runs scripts of its own. */
#include "common/embedded.h"
#include "common/queue_redis.h"

#include <hiredis/hiredis.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { SCRIPT_MAX_BYTES = 256 * 1024, ARGS_MAX_BYTES = 32 * 1024 * 1024 };

/* Full memory must stop puts, not the work that frees memory. */
static const struct {
    const char *verb, *flags;
} rows[SCRIPT_COUNT] = {
    [SCRIPT_BREAKER] = {"breaker", "allow-oom"},
    [SCRIPT_CLAIM] = {"claim", "allow-oom"},
    [SCRIPT_CLOSE] = {"close", "allow-oom"},
    [SCRIPT_CONFIGURE] = {"configure", "allow-oom"},
    [SCRIPT_CONNECTIONS] = {"connections", "no-writes"},
    [SCRIPT_DROP] = {"drop", "allow-oom"},
    [SCRIPT_FINISH] = {"finish", "allow-oom"},
    [SCRIPT_FSCK] = {"fsck", "no-writes"},
    [SCRIPT_FIND] = {"find", "no-writes"},
    [SCRIPT_LIST] = {"list", "no-writes"},
    [SCRIPT_PARK] = {"park", "allow-oom"},
    [SCRIPT_PAUSE] = {"pause", "allow-oom"},
    [SCRIPT_PING] = {"ping", ""},
    [SCRIPT_PUT] = {"put", ""},
    [SCRIPT_QUOTA] = {"quota", "no-writes"},
    [SCRIPT_REAP] = {"reap", "allow-oom"},
    [SCRIPT_RECEIPTS] = {"receipts", "allow-oom"},
    [SCRIPT_RENEW] = {"renew", "allow-oom"},
    [SCRIPT_RESERVE] = {"reserve", "allow-oom"},
    [SCRIPT_STATS] = {"stats", "no-writes"},
    [SCRIPT_THROTTLE] = {"throttle", "allow-oom"},
    [SCRIPT_TOLD] = {"told", "allow-oom"},
    [SCRIPT_UNPARK] = {"unpark", "allow-oom"},
    [SCRIPT_WORKERS] = {"workers", "no-writes"},
};

static const struct embedded *find_file(const char *verb)
{
    char path[64];
    (void)snprintf(path, sizeof path, "common/queue_%s.lua", verb);
    for (const struct embedded *e = embedded_files; e->path != NULL; e++) {
        if (strcmp(e->path, path) == 0) {
            return e;
        }
    }
    return NULL;
}

static bool name_is_plain(const char *s)
{
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
           strlen(s);
}

static bool is_first_of_provider(const char *const *names, int i, const char *name)
{
    for (int j = 0; j < i; j++) {
        if (strcmp(names[j], name) == 0) {
            return false;
        }
    }
    return true;
}

static void add_provider(struct buf *b, const struct queue_options *o, const char *provider)
{
    (void)buf_printf(b, "FAMILIES['%s']={", provider);
    for (int i = 0; i < o->family_count; i++) {
        const struct queue_family *f = &o->families[i];
        if (strcmp(f->provider, provider) == 0) {
            (void)buf_printf(b, "['%s']={r=%.6f,b=%d},", f->name, f->rate_per_s, f->burst);
        }
    }
    (void)buf_printf(b, "}\nOBJECTS['%s']={", provider);
    for (int i = 0; i < o->object_count; i++) {
        const struct queue_object *t = &o->objects[i];
        if (strcmp(t->provider, provider) == 0) {
            (void)buf_printf(b, "['%s']={f='%s',b=%d},", t->name, t->family, t->batch_max);
        }
    }
    (void)buf_printf(b, "}\n");
}

static int tables_text(struct buf *b, const struct queue_options *o, struct err *err)
{
    const char **providers = calloc((size_t)o->family_count + 1, sizeof *providers);
    if (providers == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for the queue's tables");
        return -1;
    }
    int rc = 0;
    (void)buf_printf(b, "local FAMILIES,OBJECTS,DEFAULT_FAMILY={},{},{}\n");
    for (int i = 0; i < o->family_count; i++) {
        const struct queue_family *f = &o->families[i];
        providers[i] = f->provider;
        if (!name_is_plain(f->provider) || !name_is_plain(f->name) || !(f->rate_per_s > 0) ||
            f->burst < 1) {
            err_set(err, ERR_CONFIG, "quota family '%s' of '%s' has a bad name, rate or burst",
                    f->name, f->provider);
            rc = -1;
            break;
        }
        if (is_first_of_provider(providers, i, f->provider)) {
            add_provider(b, o, f->provider);
            (void)buf_printf(b, "DEFAULT_FAMILY['%s']='%s'\n", f->provider, f->name);
        }
    }
    free(providers);
    for (int i = 0; rc == 0 && i < o->object_count; i++) {
        const struct queue_object *t = &o->objects[i];
        if (!name_is_plain(t->provider) || !name_is_plain(t->name) ||
            !name_is_plain(t->family)) {
            err_set(err, ERR_CONFIG, "object type '%s' of '%s' has a bad name", t->name,
                    t->provider);
            rc = -1;
        }
    }
    if (rc == 0 && b->failed) {
        err_set(err, ERR_NOMEM, "out of memory for the queue's tables");
        rc = -1;
    }
    return rc;
}

static int name_script(struct script *s, struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (EVP_Digest(s->text.bytes, s->text.len_bytes, digest, &n, EVP_sha1(), NULL) != 1 ||
        n != 20) {
        err_set(err, ERR_INTERNAL, "cannot compute the name of a script");
        return -1;
    }
    for (unsigned int i = 0; i < 20; i++) {
        (void)snprintf(s->sha + (size_t)2 * i, 3, "%02x", digest[i]);
    }
    return 0;
}

int scripts_init(struct script scripts[SCRIPT_COUNT], const struct queue_options *o,
                 struct err *err)
{
    struct buf tables;
    int rc = 0;
    buf_init(&tables, SCRIPT_MAX_BYTES);
    const struct embedded *lib = find_file("lib");
    if (tables_text(&tables, o, err) != 0) {
        rc = -1;
    }
    for (int i = 0; rc == 0 && i < SCRIPT_COUNT; i++) {
        struct script *s = &scripts[i];
        const struct embedded *body = find_file(rows[i].verb);
        buf_init(&s->text, SCRIPT_MAX_BYTES);
        if (lib == NULL || body == NULL) {
            err_set(err, ERR_INTERNAL, "script '%s' is not in the program", rows[i].verb);
            rc = -1;
            break;
        }
        (void)buf_printf(&s->text, "#!lua%s%s\n", rows[i].flags[0] ? " flags=" : "",
                         rows[i].flags);
        (void)buf_add(&s->text, tables.bytes, tables.len_bytes);
        (void)buf_add(&s->text, lib->bytes, (size_t)(lib->end - lib->bytes));
        if (buf_add(&s->text, body->bytes, (size_t)(body->end - body->bytes)) != 0) {
            err_set(err, ERR_NOMEM, "out of memory for script '%s'", rows[i].verb);
            rc = -1;
        } else {
            rc = name_script(s, err);
        }
    }
    buf_release(&tables);
    return rc;
}

void scripts_release(struct script scripts[SCRIPT_COUNT])
{
    for (int i = 0; i < SCRIPT_COUNT; i++) {
        buf_release(&scripts[i].text);
    }
}

void args_init(struct args *a)
{
    buf_init(&a->wire, ARGS_MAX_BYTES);
    a->count = 0;
}

void args_release(struct args *a)
{
    buf_release(&a->wire);
    a->count = 0;
}

void args_add(struct args *a, const char *bytes, size_t len_bytes)
{
    (void)buf_printf(&a->wire, "$%zu\r\n", len_bytes);
    (void)buf_add(&a->wire, bytes, len_bytes);
    (void)buf_add(&a->wire, "\r\n", 2);
    a->count++;
}

void args_str(struct args *a, const char *text)
{
    args_add(a, text, strlen(text));
}

void args_int(struct args *a, int64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)v);
    args_add(a, text, (size_t)n);
}

/* Which of Redis' refusals mean that it cannot do its work now. Through a script the word may
 * stand inside the message (before Redis 7) instead of in front. */
int reply_check(const struct redisReply *reply, struct err *err)
{
    static const char *const away[] = {
        "LOADING",    "READONLY",   "OOM",      "MISCONF", "BUSY", "MASTERDOWN", "CLUSTERDOWN",
        "NOREPLICAS", "UNKILLABLE", "TRYAGAIN", "MOVED",   "ASK",  "PSMOVED",    "PSMOVING"};
    static const char *const denied[] = {"NOAUTH", "WRONGPASS", "NOPERM"};
    if (reply->type != REDIS_REPLY_ERROR) {
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(away); i++) {
        size_t n = strlen(away[i]);
        char inside[32];
        (void)snprintf(inside, sizeof inside, " -%s ", away[i]);
        if ((strncmp(reply->str, away[i], n) == 0 && reply->str[n] == ' ') ||
            strstr(reply->str, inside) != NULL) {
            err_set(err, ERR_UNAVAILABLE, "Redis: %s", reply->str);
            return -1;
        }
    }
    if (strstr(reply->str, "Script killed by user") != NULL) {
        err_set(err, ERR_UNAVAILABLE, "Redis: %s", reply->str);
        return -1;
    }
    for (size_t i = 0; i < COUNT_OF(denied); i++) {
        if (strncmp(reply->str, denied[i], strlen(denied[i])) == 0) {
            err_set(err, ERR_UNAVAILABLE, "Redis refuses us: %s", reply->str);
            return -1;
        }
    }
    err_set(err, ERR_INTERNAL, "Redis: %s", reply->str);
    return -1;
}

int64_t reply_int(const struct redisReply *reply, size_t i)
{
    const struct redisReply *e = reply;
    if (reply->type == REDIS_REPLY_ARRAY) {
        if (i >= reply->elements) {
            return 0;
        }
        e = reply->element[i];
    }
    if (e->type == REDIS_REPLY_INTEGER) {
        return e->integer;
    }
    return e->type == REDIS_REPLY_STRING ? strtoll(e->str, NULL, 10) : 0;
}

const char *reply_text(const struct redisReply *reply, size_t i, size_t *len_bytes)
{
    const struct redisReply *e = reply;
    if (len_bytes != NULL) {
        *len_bytes = 0;
    }
    if (reply->type == REDIS_REPLY_ARRAY) {
        if (i >= reply->elements) {
            return "";
        }
        e = reply->element[i];
    }
    if (e->type != REDIS_REPLY_STRING && e->type != REDIS_REPLY_STATUS) {
        return "";
    }
    if (len_bytes != NULL) {
        *len_bytes = (size_t)e->len;
    }
    return e->str;
}
