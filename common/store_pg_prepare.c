/* Statements that come again on one connection are parsed and planned once: named prepared
 * statements, for connections that keep their session (pg_conn.pooled is false).
 *
 * PostgreSQL keeps a plan until a relation or its statistics change. A plan made while a table
 * was empty is a bad one for a full table, so all plans are made anew after more and more uses:
 * no table grows much faster than that. */
#include "common/store_pg.h"

#include "common/banned.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

enum {
    USES_UNNAMED = 2,  /* what is rare does not pay for a name */
    TEXTS_MAX = 256,   /* of a connection: each costs the server a plan's memory */
    REPLAN_FIRST = 64, /* uses of names; then as many as before, at most */
    REPLAN_LAST = 1024,
    PLAIN_MAX_BYTES = 40 /* without values and short (BEGIN): nothing to plan */
};

enum text_state { TEXT_SEEN, TEXT_SENT, TEXT_READY };

struct pg_text {
    const char *sql; /* the key; in the same allocation */
    enum text_state state;
    unsigned uses;
    char name[16];
    int count; /* of types, which are part of what is prepared */
    Oid types[];
};

struct pg_prepared {
    void *texts; /* of tsearch */
    int count;
    unsigned names; /* given so far; none is given twice */
    unsigned uses, replanned_at;
};

static int by_sql(const void *a, const void *b)
{
    return strcmp(((const struct pg_text *)a)->sql, ((const struct pg_text *)b)->sql);
}

void pg_prepared_free(struct pg_prepared *p)
{
    if (p != NULL) {
        tdestroy(p->texts, free);
        free(p);
    }
}

/* NULL: too many, or no memory. */
static struct pg_text *text_find(struct pg_prepared *p, const char *sql,
                                 const struct pg_args *args)
{
    struct pg_text key = {.sql = sql};
    void *found = tfind(&key, &p->texts, by_sql);
    if (found != NULL) {
        return *(struct pg_text **)found;
    }
    if (p->count == TEXTS_MAX) {
        return NULL;
    }
    size_t types_bytes = (size_t)args->count * sizeof args->types[0];
    size_t sql_bytes = strlen(sql) + 1;
    struct pg_text *t = calloc(1, sizeof *t + types_bytes + sql_bytes);
    if (t == NULL) {
        return NULL;
    }
    t->count = args->count;
    memcpy(t->types, args->types, types_bytes);
    t->sql = memcpy((char *)t->types + types_bytes, sql, sql_bytes);
    if (tsearch(t, &p->texts, by_sql) == NULL) {
        free(t);
        return NULL;
    }
    p->count++;
    return t;
}

static bool types_fit(const struct pg_text *t, const struct pg_args *args)
{
    return t->count == args->count &&
           memcmp(t->types, args->types, (size_t)args->count * sizeof t->types[0]) == 0;
}

/* Prepare t if it is time to. 1 = t goes by its name, 0 = without, -1 = libpq failed. */
static int text_ready(struct pg_conn *c, struct pg_text *t, const struct pg_args *args,
                      struct pg_sent *sent)
{
    if (!types_fit(t, args)) {
        return 0;
    }
    if (t->state != TEXT_SEEN) {
        return 1;
    }
    if (t->uses < USES_UNNAMED) {
        t->uses++;
        return 0;
    }
    (void)snprintf(t->name, sizeof t->name, "s%u", ++c->prepared->names);
    if (PQsendPrepare(c->pg, t->name, t->sql, args->count, args->types) != 1) {
        return -1;
    }
    t->state = TEXT_SENT;
    sent->before++;
    return 1;
}

static int replan(struct pg_conn *c, struct pg_sent *sent)
{
    struct pg_prepared *p = c->prepared;
    unsigned since = ++p->uses - p->replanned_at;
    if (since < REPLAN_FIRST || (since < REPLAN_LAST && since < p->replanned_at)) {
        return 0;
    }
    p->replanned_at = p->uses;
    sent->before++;
    return PQsendQueryParams(c->pg, "DISCARD PLANS", 0, NULL, NULL, NULL, NULL, 0) == 1 ? 0
                                                                                        : -1;
}

/* Fill sent; prepare the statement and have plans made anew, if it is time to. */
static int text_choose(struct pg_conn *c, const char *sql, const struct pg_args *args,
                       struct pg_sent *sent)
{
    *sent = (struct pg_sent){0};
    bool plain = args->count == 0 && strlen(sql) < PLAIN_MAX_BYTES;
    if (c->pooled || plain) {
        return 0;
    }
    if (c->prepared == NULL && (c->prepared = calloc(1, sizeof *c->prepared)) == NULL) {
        return 0;
    }
    struct pg_text *t = text_find(c->prepared, sql, args);
    int named = t == NULL ? 0 : text_ready(c, t, args, sent);
    if (named <= 0) {
        return named;
    }
    sent->text = t;
    return replan(c, sent);
}

int pg_statement_send(struct pg_conn *c, const char *sql, const struct pg_args *args,
                      struct pg_sent *sent)
{
    if (text_choose(c, sql, args, sent) < 0) {
        return -1;
    }
    int rc = sent->text != NULL
                 ? PQsendQueryPrepared(c->pg, sent->text->name, args->count, args->values,
                                       args->lengths, args->formats, 0)
                 : PQsendQueryParams(c->pg, sql, args->count, args->types, args->values,
                                     args->lengths, args->formats, 0);
    return rc == 1 ? 0 : -1;
}

void pg_prepare_answered(const struct pg_sent *sent, bool ok)
{
    /* A Prepare that failed or was skipped has made nothing; one in a transaction that is
     * rolled back has. */
    if (sent->text != NULL && sent->text->state == TEXT_SENT) {
        sent->text->state = ok ? TEXT_READY : TEXT_SEEN;
    }
}

void pg_prepare_failed(struct store *s, struct pg_conn *c, const struct pg_sent *sent,
                       struct err *err)
{
    if (sent->text == NULL || err->code != ERR_INTERNAL) {
        return; /* the data, the server */
    }
    c->stale = true;
    /* A table has changed under the statement; somebody said DISCARD ALL. */
    if (strcmp(err->sqlstate, "0A000") == 0 || strcmp(err->sqlstate, "26000") == 0) {
        err->code = ERR_CONFLICT;
        for (int i = 0; i < s->max_connections; i++) {
            s->conns[i].stale = s->conns[i].pg != NULL;
        }
    }
}
