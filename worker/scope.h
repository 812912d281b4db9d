/* What belongs to the mirrored scope: companies by its members, contacts by their company. */
#ifndef WORKER_SCOPE_H
#define WORKER_SCOPE_H

#include "worker/worker.h"

/** The type whose records are members of the scope; NULL when the provider has none. */
const struct object_type *scope_object(const struct connection *c);

/** member[i] of each id: is it in the scope, as last read? */
int scope_members(struct worker *w, const struct connection *c, const char *const *ids, int n,
                  bool *member, struct err *err) MUST_USE;
/** The same, less those whose record is deleted: whose contacts are mirrored? */
int scope_live_members(struct worker *w, const struct connection *c, const char *const *ids,
                       int n, bool *member, struct err *err) MUST_USE;
/** mirrored[i]: is its record here, alive and inside? */
int scope_mirrored(struct worker *w, const struct connection *c, const char *const *ids, int n,
                   bool *mirrored, struct err *err) MUST_USE;
/** Note that one joined or left. */
int scope_note(struct worker *w, const struct connection *c, const char *id, bool in,
               struct err *err) MUST_USE;

/* A related record (contact) and the member it hangs below. */
struct scope_parent {
    char id[RECORD_ID_MAX_BYTES + 1]; /* "" = none: outside */
};
/**
 * Which member each FOUND record of the list belongs to: the parent it names itself when that
 * is a member, else one of those the provider says it is associated with. parents has a place
 * for each record.
 */
enum fetch_end scope_parents(struct worker *w, struct fetch *f,
                             const struct object_type *related, const struct record_list *list,
                             struct scope_parent *parents, struct failure *why,
                             int64_t *later_ms);

/** Roots came into the mirror or left it: look at what hangs below them. Best effort: the
 * nightly run does the same. */
void scope_follow(struct worker *w, struct fetch *f, const struct claim *claim,
                  const char *const *entered, int entered_count, const char *const *left,
                  int left_count);

struct scope_moves {
    int64_t count; /* who joined or left; no webhook tells of it */
    bool held;     /* more left than may leave without a person: why has it in words */
    struct failure why;
};
/**
 * The catch-up of a list: its newest joins, and all members compared when its size does not add
 * up. Units are put for who joined or left. Does nothing while a full run reads the list.
 */
enum fetch_end scope_catch_up(struct worker *w, struct fetch *f, const struct claim *claim,
                              struct scope_moves *moves, struct failure *why,
                              int64_t *later_ms);

#endif
