#include "core/match.h"

#include <stdarg.h>

/* Sorted, for bsearch. Providers of mailboxes for people, as far as they are common. */
static const char *const personal_domains[] = {
    "126.com",        "163.com",        "aol.com",       "bigpond.com",  "btinternet.com",
    "comcast.net",    "fastmail.com",   "free.fr",       "freenet.de",   "gmail.com",
    "gmx.at",         "gmx.ch",         "gmx.com",       "gmx.de",       "gmx.net",
    "googlemail.com", "hey.com",        "hotmail.co.uk", "hotmail.com",  "hotmail.de",
    "hotmail.es",     "hotmail.fr",     "hotmail.it",    "icloud.com",   "inbox.com",
    "laposte.net",    "libero.it",      "live.co.uk",    "live.com",     "live.fr",
    "mac.com",        "mail.com",       "mail.ru",       "mailbox.org",  "me.com",
    "msn.com",        "naver.com",      "orange.fr",     "outlook.com",  "outlook.de",
    "outlook.fr",     "pm.me",          "posteo.de",     "proton.me",    "protonmail.com",
    "qq.com",         "rocketmail.com", "t-online.de",   "tutanota.com", "verizon.net",
    "wanadoo.fr",     "web.de",         "yahoo.co.in",   "yahoo.co.jp",  "yahoo.co.uk",
    "yahoo.com",      "yahoo.com.br",   "yahoo.de",      "yahoo.es",     "yahoo.fr",
    "yahoo.it",       "yandex.com",     "yandex.ru",     "ymail.com",    "zoho.com",
};

static int compare_names(const void *key, const void *element)
{
    return strcmp(key, *(const char *const *)element);
}

bool match_domain_personal(const char *domain)
{
    return bsearch(domain, (const void *)personal_domains, COUNT_OF(personal_domains),
                   sizeof personal_domains[0], compare_names) != NULL;
}

/* The root type of a provider whose roots make customers; NULL when it has none. */
static const struct object_type *crm_root(const struct provider *p)
{
    for (const struct object_type *o = p->objects; o->name != NULL; o++) {
        if ((o->flags & (OBJECT_ROOT | OBJECT_SELF)) == (OBJECT_ROOT | OBJECT_SELF)) {
            return o;
        }
    }
    return NULL;
}

void match_other_id_property(char out[64])
{
    out[0] = '\0';
    for (size_t i = 0; providers[i] != NULL; i++) {
        const struct object_type *root = crm_root(providers[i]);
        if (root != NULL) {
            (void)snprintf(out, 64, "%s_%s_id", providers[i]->name, root->name);
            return;
        }
    }
}

/* $1 workspace, $2 connection, $3 object type, $4 ids, $5 domains, $6 the CRM's ids, $7 and $8
 * the CRM's providers and root types, $9 the customer field that may name our record. rank 0 is
 * an id, rank 1 a domain. The customers of one domain come by an index (LIMIT makes it one,
 * whatever the planner believes; two are as many as a hundred), a customer's links too (OFFSET:
 * in a first sync, without statistics, each look walked all links of the connection); customers
 * that name a record by a pass over the workspace, only where the mapping fills that field at
 * all. */
static const char *const match_sql =
    "WITH want AS (SELECT * FROM unnest($4::text[], $5::text[], $6::text[])"
    "  WITH ORDINALITY AS x (id, domain, other_id, n)), "
    "hit AS ("
    " SELECT w.n, 0 AS rank, l.customer_id FROM want w"
    "  JOIN psync.connection o ON o.workspace_id = $1::bigint AND o.provider = ANY ($7::text[])"
    "  CROSS JOIN LATERAL (SELECT customer_id, how FROM psync.record_link"
    "   WHERE connection_id = o.connection_id AND object_type = ANY ($8::text[])"
    "   AND record_id = w.other_id LIMIT 1) l WHERE l.how = 'source'"
    " UNION"
    " SELECT w.n, 0, c.customer_id FROM want w JOIN psync.customer c"
    "  ON c.fields ->> $9::text = w.id WHERE c.workspace_id = $1::bigint"
    "  AND c.archived_at IS NULL AND EXISTS (SELECT FROM psync.mapping m"
    "   JOIN psync.connection o USING (connection_id) WHERE o.workspace_id = $1::bigint"
    "   AND m.fields @> jsonb_build_array(jsonb_build_object('field', $9::text)))"
    " UNION"
    " SELECT w.n, 1, c.customer_id FROM want w"
    "  CROSS JOIN LATERAL (SELECT customer_id FROM psync.customer"
    "   WHERE workspace_id = $1::bigint AND lower(fields ->> 'domain') = w.domain"
    "   AND archived_at IS NULL LIMIT 2) c) "
    "SELECT h.n, h.rank, count(*), min(h.customer_id), EXISTS ("
    "  SELECT FROM (SELECT * FROM psync.record_link"
    "    WHERE customer_id = min(h.customer_id) OFFSET 0) l"
    "  CROSS JOIN LATERAL (SELECT deleted_at FROM psync.record"
    "    WHERE connection_id = l.connection_id AND object_type = l.object_type"
    "    AND record_id = l.record_id LIMIT 1) r"
    "  WHERE l.connection_id = $2::bigint AND l.object_type = $3::text"
    "  AND l.record_id <> min(w.id) AND r.deleted_at IS NULL) "
    "FROM hit h JOIN want w USING (n) GROUP BY h.n, h.rank ORDER BY h.n, h.rank";

enum field { RECORD_ID, DOMAIN, OTHER_ID };

static void add_keys(struct params *p, const struct match_key *keys, int n, enum field field,
                     bool personal_too)
{
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < n; i++) {
        const char *text = field == RECORD_ID ? keys[i].record_id
                           : field == DOMAIN  ? keys[i].domain
                                              : keys[i].other_id;
        if (field == DOMAIN && text != NULL && !personal_too && match_domain_personal(text)) {
            text = NULL;
        }
        params_array_text(p, text, text != NULL ? strlen(text) : 0);
    }
    params_array_end(p);
}

static void add_crms(struct params *p, bool types)
{
    params_array_begin(p, ARRAY_TEXT);
    for (size_t i = 0; providers[i] != NULL; i++) {
        const struct object_type *root = crm_root(providers[i]);
        if (root != NULL) {
            const char *text = types ? root->name : providers[i]->name;
            params_array_text(p, text, strlen(text));
        }
    }
    params_array_end(p);
}

static void say(struct match *m, enum error_type problem, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static void say(struct match *m, enum error_type problem, const char *fmt, ...)
{
    va_list ap;
    m->customer_id = 0;
    m->problem = problem;
    va_start(ap, fmt);
    (void)vsnprintf(m->message, sizeof m->message, fmt, ap);
    va_end(ap);
}

static void set_unmatched(const struct match_key *k, bool personal_too, struct match *m)
{
    if (k->domain == NULL && k->other_id == NULL) {
        say(m, ET_MATCH_NO_KEY, "%s has neither an e-mail address nor an id to match by",
            k->record_id);
    } else if (k->domain != NULL && !personal_too && match_domain_personal(k->domain)) {
        say(m, ET_MATCH_PERSONAL_EMAIL, "%s is a domain of personal mailboxes", k->domain);
    } else {
        say(m, ET_MATCH_NONE, "no customer has the domain or id '%s'",
            k->domain != NULL ? k->domain : k->other_id);
    }
}

/* The two (or one) result rows of a key, best rank first. */
static void decide(const struct match_key *k, const struct rows *r, int row, struct match *m)
{
    bool by_id = rows_int(r, row, 1) == 0;
    m->how = by_id ? "id" : "domain";
    if (rows_int(r, row, 2) > 1) {
        say(m, ET_MATCH_AMBIGUOUS, "several customers have the domain or id '%s'",
            !by_id && k->domain != NULL ? k->domain : k->record_id);
    } else if (rows_bool(r, row, 4)) {
        say(m, ET_DUPLICATE_SOURCE, "another record is linked to the customer of '%s'",
            k->domain != NULL ? k->domain : k->record_id);
    } else {
        m->customer_id = rows_int(r, row, 3);
    }
}

static bool taken_before(const struct match *out, int i)
{
    for (int k = 0; k < i; k++) {
        if (out[k].customer_id == out[i].customer_id) {
            return true;
        }
    }
    return false;
}

int match_customers(struct store_tx *tx, const struct connection *c,
                    const struct object_type *object, const struct match_key *keys, int n,
                    struct match *out, struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    bool personal_too = c->match_personal_emails;
    char our_id[64];
    (void)snprintf(our_id, sizeof our_id, "%s_%s_id", c->provider->name, object->name);
    params_int(p, c->workspace_id);
    params_int(p, c->connection_id);
    params_text(p, object->name);
    add_keys(p, keys, n, RECORD_ID, personal_too);
    add_keys(p, keys, n, DOMAIN, personal_too);
    add_keys(p, keys, n, OTHER_ID, personal_too);
    add_crms(p, false);
    add_crms(p, true);
    params_text(p, our_id);
    if (store_send(tx, match_sql, p, &r, err) != 0 || store_sync(tx, err) != 0) {
        err_wrap(err, "match customers");
        return -1;
    }
    int row = 0;
    for (int i = 0; i < n; i++) {
        out[i] = (struct match){.how = ""};
        while (row < rows_count(r) && rows_int(r, row, 0) < i + 1) {
            row++;
        }
        if (row < rows_count(r) && rows_int(r, row, 0) == i + 1) {
            decide(&keys[i], r, row, &out[i]);
        } else {
            set_unmatched(&keys[i], personal_too, &out[i]);
        }
        if (out[i].customer_id != 0 && taken_before(out, i)) {
            say(&out[i], ET_DUPLICATE_SOURCE,
                "another record is linked to the customer of '%s'",
                keys[i].domain != NULL ? keys[i].domain : keys[i].record_id);
        }
    }
    return 0;
}
