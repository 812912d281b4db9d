/* From source properties to a customer and its fields. */
#include "core/save_priv.h"

/* ---- which customer ---- */

static const char *text_of(const struct root *root, const char *property)
{
    const char *text = json_string_value(json_object_get(root->properties, property));
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static bool self(const struct roots *r)
{
    return (r->object->flags & OBJECT_SELF) != 0;
}

/* Billing records make customers only where nothing else does. */
static bool makes_customers(const struct roots *r)
{
    return self(r) || (!r->conn->has_crm && !r->conn->billing_signal_only);
}

static bool to_match(const struct root *root)
{
    return !root->linked && !root->deleted && root->problem == ET_NONE &&
           root->properties != NULL;
}

static void take_match(const struct roots *r, struct root *root, const struct match *m)
{
    if (m->customer_id != 0) {
        root->customer_id = m->customer_id;
        root->how = m->how;
    } else if (makes_customers(r) && m->problem != ET_MATCH_AMBIGUOUS &&
               m->problem != ET_DUPLICATE_SOURCE) {
        root->create = true;
        root->how = "source";
    } else {
        root->problem = m->problem;
        (void)snprintf(root->message, sizeof root->message, "%s", m->message);
    }
}

static int match_roots(struct roots *r, struct err *err)
{
    char other_id[64];
    int n = 0;
    for (int i = 0; i < r->count; i++) {
        n += to_match(&r->items[i]);
    }
    if (n == 0) {
        return 0;
    }
    struct match_key *keys = calloc((size_t)n, sizeof *keys);
    struct match *matches = calloc((size_t)n, sizeof *matches);
    int rc = -1;
    if (keys == NULL || matches == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for matching");
        goto done;
    }
    match_other_id_property(other_id);
    for (int i = 0, k = 0; i < r->count; i++) {
        const struct root *root = &r->items[i];
        if (to_match(root)) {
            keys[k++] = (struct match_key){root->id, text_of(root, "email_domain"),
                                           text_of(root, other_id)};
        }
    }
    rc = match_customers(r->tx, r->conn, r->object, keys, n, matches, err);
    for (int i = 0, k = 0; i < r->count && rc == 0; i++) {
        if (to_match(&r->items[i])) {
            take_match(r, &r->items[i], &matches[k++]);
        }
    }
done:
    free(keys);
    free(matches);
    return rc;
}

/* ---- owners ---- */

/* What fills an owner field holds the provider's ids; their addresses are mirrored as records
 * of the type "owner". *out stays NULL where no mapping line asks. */
static int load_owners(struct roots *r, json_t **out, struct err *err)
{
    const struct mapping *m = r->conn->mapping;
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *rows = NULL;
    int count = 0;
    params_int(p, r->conn->connection_id);
    params_array_begin(p, ARRAY_TEXT);
    for (int i = 0; i < r->count; i++) {
        for (int k = 0; k < m->count; k++) {
            const char *id = strcmp(m->fields[k].type, "owner") == 0
                                 ? text_of(&r->items[i], m->fields[k].source)
                                 : NULL;
            if (id != NULL && strchr(id, '@') == NULL) {
                params_array_text(p, id, strlen(id));
                count++;
            }
        }
    }
    params_array_end(p);
    if (count == 0) {
        return 0;
    }
    if (store_send(r->tx,
                   "SELECT record_id, raw ->> 'email' FROM psync.record"
                   " WHERE connection_id = $1::bigint AND object_type = 'owner'"
                   " AND record_id = ANY ($2::text[]) AND raw ->> 'email' <> ''",
                   p, &rows, err) != 0 ||
        store_sync(r->tx, err) != 0) {
        err_wrap(err, "read owners");
        return -1;
    }
    *out = json_object();
    for (int i = 0; i < rows_count(rows); i++) {
        (void)json_object_set_new(*out, rows_text(rows, i, 0),
                                  json_string(rows_text(rows, i, 1)));
    }
    return 0;
}

/* ---- fields ---- */

int roots_extra_lines(const struct roots *r, struct mapping_field extra[2])
{
    static char name[] = "name", domain[] = "domain", email[] = "email_domain", text[] = "text",
                none[] = "";
    int n = 0;
    if (self(r) || !makes_customers(r)) {
        return 0;
    }
    if (mapping_find(r->conn->mapping, name) == NULL) {
        extra[n++] = (struct mapping_field){name, name, text, none};
    }
    if (mapping_find(r->conn->mapping, domain) == NULL) {
        extra[n++] = (struct mapping_field){domain, email, domain, none};
    }
    return n;
}

/* A customer made of a billing record needs a name; mailboxes of people are no domain. */
static void fill_in(const struct roots *r, struct root *root)
{
    const char *domain = text_of(root, "email_domain");
    if (text_of(root, "name") == NULL) {
        const char *email = text_of(root, "email");
        (void)json_object_set_new(root->properties, "name",
                                  json_string(email != NULL ? email : root->id));
    }
    if (domain != NULL && !r->conn->match_personal_emails && match_domain_personal(domain)) {
        (void)json_object_set_new(root->properties, "email_domain", json_null());
    }
}

static int write_texts(const struct mapping *m, struct root *root, struct err *err)
{
    json_auto_t *applied = json_copy(root->mapped.fields);
    (void)json_object_del(applied, "created_at"); /* written once, then left alone */
    if (applied == NULL || mapping_fields_text(m, root->mapped.fields, &root->fields) != 0 ||
        mapping_fields_text(m, applied, &root->applied) != 0 ||
        (!root->linked && mapping_sources_text(m, root->mapped.fields, &root->origin) != 0)) {
        err_set(err, ERR_NOMEM, "no room for the fields of a customer");
        return -1;
    }
    return 0;
}

static int map_root(const struct roots *r, struct root *root, const struct mapping *m,
                    const struct mapping *own, const struct mapping_context *c, struct err *err)
{
    if (!self(r) && strcmp(root->how, "source") == 0) {
        fill_in(r, root);
        m = own;
    }
    if (mapping_apply(m, root->properties, c, &root->mapped, err) != 0) {
        return -1;
    }
    if (root->create && self(r) && mapping_find(m, "name") != NULL &&
        json_object_get(root->mapped.fields, "name") == NULL) {
        /* No customer without a name. */
        root->create = false;
        root->problem = ET_MAP_REQUIRED_EMPTY;
        (void)snprintf(root->message, sizeof root->message, "the name is blank");
        return 0;
    }
    return write_texts(m, root, err);
}

/* A root outside the scope makes no customer. One that fits a customer made elsewhere is linked
 * all the same, with what derives from nothing, so that the order in which its parts and the
 * scope came does not matter. */
static void leave_outside(struct roots *r)
{
    for (int i = 0; i < r->count; i++) {
        struct root *root = &r->items[i];
        if (!root->outside) {
            continue;
        }
        root->create = false;
        root->problem = ET_OUT_OF_STRIPE_SCOPE;
        (void)snprintf(root->message, sizeof root->message,
                       "%s has no subscription in the mirrored scope (%s %.150s)", root->id,
                       r->conn->scope_kind, r->conn->scope_id);
    }
}

int roots_map(struct roots *r, struct err *err)
{
    json_auto_t *owners = NULL;
    struct mapping_field extra[2];
    if (r->count == 0) {
        return 0;
    }
    for (int i = 0; i < r->count && self(r); i++) {
        struct root *root = &r->items[i];
        root->create = !root->linked && root->problem == ET_NONE;
        root->how = root->create ? "source" : root->how;
    }
    if ((!self(r) && match_roots(r, err) != 0) || load_owners(r, &owners, err) != 0) {
        return -1;
    }
    leave_outside(r);
    const struct mapping *m = r->conn->mapping;
    int extras = roots_extra_lines(r, extra);
    struct mapping own = {calloc((size_t)m->count + (size_t)extras + 1, sizeof *own.fields),
                          m->count + extras};
    struct mapping_context c = {.tz = r->conn->tz,
                                .plans = r->conn->plans,
                                .owners = r->conn->owners,
                                .default_owner = r->conn->default_owner,
                                .owner_emails = owners,
                                .enum_labels = r->conn->enum_labels};
    if (own.fields == NULL) {
        err_set(err, ERR_NOMEM, "out of memory for a mapping");
        return -1;
    }
    memcpy(own.fields, m->fields, (size_t)m->count * sizeof *own.fields);
    memcpy(own.fields + m->count, extra, (size_t)extras * sizeof *own.fields);
    int rc = 0;
    for (int i = 0; i < r->count && rc == 0; i++) {
        struct root *root = &r->items[i];
        if (root->properties != NULL && (root->customer_id != 0 || root->create)) {
            rc = map_root(r, root, m, &own, &c, err);
        }
    }
    free(own.fields);
    return rc;
}
