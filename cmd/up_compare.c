/* Mirror against simulator, record by record.
 *
 * The mirror may hold more than the plain form of a record: objects where the provider's plain
 * form has ids (our standard expansions), and lists complete. So everything the provider's
 * record has must be in ours, and an id equals the object with that id. HubSpot sends the
 * properties that were asked for; those are compared. */
#include "cmd/up_priv.h"

#include "common/clock.h"

#include "common/banned.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REPORT_MAX_LINES = 25, PATH_BYTES = 256, INVOICE_DAYS = 395 };

static void differ(struct up_comparison *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void differ(struct up_comparison *c, const char *fmt, ...)
{
    char line[512];
    if (++c->differences > REPORT_MAX_LINES) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    (void)buf_printf(&c->report, "  %s\n", line);
}

/* ---- two JSON values ---- */

static const char *id_of(const json_t *v)
{
    return json_is_string(v) ? json_string_value(v)
                             : json_string_value(json_object_get(v, "id"));
}

static bool same(json_t *truth, const json_t *ours, char *path);

static bool same_arrays(json_t *truth, const json_t *ours, char *path)
{
    size_t n = strlen(path);
    if (json_array_size(truth) != json_array_size(ours)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(truth); i++) {
        (void)snprintf(path + n, PATH_BYTES - n, "[%zu]", i);
        if (!same(json_array_get(truth, i), json_array_get(ours, i), path)) {
            return false;
        }
    }
    path[n] = '\0';
    return true;
}

static bool same_objects(json_t *truth, const json_t *ours, char *path)
{
    size_t n = strlen(path);
    const char *key = NULL;
    json_t *value = NULL;
    const char *kind = json_string_value(json_object_get(truth, "object"));
    if (kind != NULL && strcmp(kind, "list") == 0) {
        (void)snprintf(path + n, PATH_BYTES - n, ".data");
        bool equal = same(json_object_get(truth, "data"), json_object_get(ours, "data"), path);
        if (equal) {
            path[n] = '\0';
        }
        return equal;
    }
    json_object_foreach(truth, key, value)
    {
        (void)snprintf(path + n, PATH_BYTES - n, ".%s", key);
        if (!same(value, json_object_get(ours, key), path)) {
            return false;
        }
    }
    path[n] = '\0';
    return true;
}

/* On false, path says where. */
static bool same(json_t *truth, const json_t *ours, char *path)
{
    if (truth == NULL || ours == NULL) {
        return truth == ours;
    }
    if (json_is_number(truth) && json_is_number(ours)) {
        return fabs(json_number_value(truth) - json_number_value(ours)) < 1e-9;
    }
    if (json_is_object(truth) && json_is_object(ours)) {
        return same_objects(truth, ours, path);
    }
    if (json_is_array(truth) && json_is_array(ours)) {
        return same_arrays(truth, ours, path);
    }
    if ((json_is_string(truth) && json_is_object(ours)) ||
        (json_is_object(truth) && json_is_string(ours))) {
        const char *a = id_of(truth);
        const char *b = id_of(ours);
        return a != NULL && b != NULL && strcmp(a, b) == 0;
    }
    return json_equal(truth, ours) != 0;
}

/* ---- our side ---- */

/* Live records of one type: id -> raw. */
static json_t *ours_load(struct up *up, const char *provider, const char *object,
                         struct err *err)
{
    CLEANUP(params_freep) struct params *p = params_new();
    CLEANUP(rows_freep) struct rows *r = NULL;
    params_text(p, provider);
    params_text(p, object);
    if (store_query(up->store,
                    "SELECT r.record_id, r.raw FROM psync.record r"
                    " JOIN psync.connection c USING (connection_id)"
                    " WHERE c.provider = $1 AND r.object_type = $2"
                    "  AND r.deleted_at IS NULL AND r.in_scope",
                    p, &r, err) < 0) {
        return NULL;
    }
    json_t *out = json_object();
    for (int i = 0; out != NULL && i < rows_count(r); i++) {
        json_t *raw = json_loadb(rows_text(r, i, 1), rows_len(r, i, 1), JSON_ALLOW_NUL, NULL);
        if (raw == NULL || json_object_set_new(out, rows_text(r, i, 0), raw) != 0) {
            err_set(err, ERR_PROTOCOL, "record '%s' does not decode", rows_text(r, i, 0));
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

/* What is left in ours was not at the provider. */
static void report_extra(struct up_comparison *c, const char *kind, json_t *ours)
{
    const char *id = NULL;
    json_t *raw = NULL;
    json_object_foreach(ours, id, raw)
    {
        differ(c, "%s %s is here and not (or no longer) at the provider", kind, id);
    }
}

/* ---- HubSpot ---- */

static void compare_properties(struct up_comparison *c, const char *kind, const char *id,
                               const json_t *truth, const json_t *ours)
{
    const json_t *properties = json_object_get(truth, "properties");
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(json_object_get(ours, "properties"), name, value)
    {
        const json_t *wanted = json_object_get(properties, name);
        if (wanted != NULL && !json_equal(wanted, value)) {
            differ(c, "%s %s: %s is '%s' here, '%s' at the provider", kind, id, name,
                   json_is_string(value) ? json_string_value(value) : "null",
                   json_is_string(wanted) ? json_string_value(wanted) : "null");
        }
    }
}

static int compare_hubspot(struct up *up, struct up_comparison *c, const char *object,
                           const char *path, bool all_wanted, int *count, struct err *err)
{
    char url[UP_URL_BYTES + 80];
    char kind[64];
    json_auto_t *truth = NULL;
    (void)snprintf(url, sizeof url, "%s/_sim/hubspot/1234567/%s", up->sim_hubspot, path);
    (void)snprintf(kind, sizeof kind, "hubspot %s", object);
    if (up_call(up, url, NULL, &truth, err) < 0) {
        return -1;
    }
    json_auto_t *ours = ours_load(up, "hubspot", object, err);
    if (ours == NULL) {
        return -1;
    }
    size_t i = 0;
    json_t *record = NULL;
    json_array_foreach(truth, i, record)
    {
        const char *id = id_of(record);
        json_t *mine = json_object_get(ours, id == NULL ? "" : id);
        if (mine != NULL) {
            compare_properties(c, kind, id, record, mine);
            (void)json_object_del(ours, id);
            (*count)++;
        } else if (all_wanted) {
            differ(c, "%s %s is missing here", kind, id);
        }
    }
    report_extra(c, kind, ours);
    return 0;
}

/* Every member of the list is one live customer that carries its name. */
static int compare_customers(struct up *up, struct up_comparison *c, struct err *err)
{
    CLEANUP(rows_freep) struct rows *r = NULL;
    if (store_query(up->store,
                    "SELECT r.record_id, u.customer_id, u.archived_at IS NOT NULL,"
                    "  u.fields ->> 'name' IS NOT DISTINCT FROM r.raw #>> '{properties,name}'"
                    " FROM psync.record r JOIN psync.connection n USING (connection_id)"
                    " LEFT JOIN psync.record_link l USING (connection_id, object_type,"
                    "  record_id)"
                    " LEFT JOIN psync.customer u ON u.customer_id = l.customer_id"
                    " WHERE n.provider = 'hubspot' AND r.object_type = 'company'"
                    "  AND r.deleted_at IS NULL AND r.in_scope",
                    NULL, &r, err) < 0) {
        return -1;
    }
    for (int i = 0; i < rows_count(r); i++) {
        if (rows_is_null(r, i, 1)) {
            differ(c, "hubspot company %s has no customer", rows_text(r, i, 0));
        } else if (rows_bool(r, i, 2)) {
            differ(c, "customer %s of company %s is archived", rows_text(r, i, 1),
                   rows_text(r, i, 0));
        } else if (!rows_bool(r, i, 3)) {
            differ(c, "customer %s of company %s has another name", rows_text(r, i, 1),
                   rows_text(r, i, 0));
        } else {
            c->customers++;
        }
    }
    return 0;
}

/* ---- Stripe ---- */

static int compare_stripe(struct up *up, struct up_comparison *c, const char *object,
                          const char *plural, struct err *err)
{
    char url[UP_URL_BYTES + 80];
    char kind[64];
    json_auto_t *truth = NULL;
    (void)snprintf(url, sizeof url, "%s/_sim/stripe/acct_1SimDefault/%s", up->sim_stripe,
                   plural);
    (void)snprintf(kind, sizeof kind, "stripe %s", object);
    if (up_call(up, url, NULL, &truth, err) < 0) {
        return -1;
    }
    json_auto_t *ours = ours_load(up, "stripe", object, err);
    if (ours == NULL) {
        return -1;
    }
    int64_t oldest_s = clock_now_ms() / 1000 - INVOICE_DAYS * INT64_C(86400);
    bool dated = strcmp(object, "invoice") == 0; /* only 13 months of them are mirrored */
    size_t i = 0;
    json_t *record = NULL;
    json_array_foreach(truth, i, record)
    {
        const char *id = id_of(record);
        json_t *mine = json_object_get(ours, id == NULL ? "" : id);
        bool deleted = json_is_true(json_object_get(record, "deleted"));
        bool old = dated && json_integer_value(json_object_get(record, "created")) < oldest_s;
        char path[PATH_BYTES] = "";
        if (mine == NULL && !deleted && !old) {
            differ(c, "%s %s is missing here", kind, id);
        } else if (mine != NULL && deleted) {
            differ(c, "%s %s is deleted at the provider", kind, id);
        } else if (mine != NULL && !same(record, mine, path)) {
            differ(c, "%s %s differs at %s", kind, id, path);
        } else {
            c->stripe_objects++;
        }
        if (mine != NULL) {
            (void)json_object_del(ours, id);
        }
    }
    report_extra(c, kind, ours);
    return 0;
}

int up_compare(struct up *up, struct up_comparison *out, struct err *err)
{
    static const struct {
        const char *object, *plural;
    } stripe[] = {{"customer", "customers"}, {"subscription", "subscriptions"},
                  {"price", "prices"},       {"product", "products"},
                  {"coupon", "coupons"},     {"invoice", "invoices"}};
    *out = (struct up_comparison){0};
    buf_init(&out->report, 65536);
    if (compare_hubspot(up, out, "company", "companies?list=42", true, &out->companies, err) <
            0 ||
        compare_hubspot(up, out, "contact", "contacts", false, &out->contacts, err) < 0 ||
        compare_customers(up, out, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < COUNT_OF(stripe); i++) {
        if (compare_stripe(up, out, stripe[i].object, stripe[i].plural, err) < 0) {
            return -1;
        }
    }
    return 0;
}
