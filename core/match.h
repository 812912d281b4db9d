/* Which customer a billing record belongs to: by an id that either system keeps of the other,
 * then by e-mail domain. Several fit = an error, none = unmatched; never a guess. A link made
 * by hand is a link already, so such a record does not come here. */
#ifndef CORE_MATCH_H
#define CORE_MATCH_H

#include "core/connection.h"

/* A root record without a link. Strings lent. */
struct match_key {
    const char *record_id;
    const char *domain;   /* of its e-mail, lower case; NULL = none */
    const char *other_id; /* of the CRM record that it names; NULL = none */
};

struct match {
    int64_t customer_id; /* 0 = none, then problem says why */
    const char *how;     /* static: "id" or "domain" */
    enum error_type problem;
    char message[256];
};

/** True for gmail.com and the like: mail domains of people, not of companies. */
bool match_domain_personal(const char *domain);

/** The source property in which provider's derive() puts the CRM's id: "hubspot_company_id". Of
 * the first provider whose roots make customers. */
void match_other_id_property(char out[64]);

/**
 * Match n records of one type in one statement; waits for it. A customer whose link of the same
 * connection and type belongs to another live record is duplicate_source: the first link wins,
 * among the keys too, in their order.
 */
int match_customers(struct store_tx *tx, const struct connection *c,
                    const struct object_type *object, const struct match_key *keys, int n,
                    struct match *out, struct err *err) MUST_USE;

#endif
