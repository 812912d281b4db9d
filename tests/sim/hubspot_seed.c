/* What a new portal holds: property definitions, and values computed from an index. */
#include "hubspot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct def_row {
    enum hs_type type;
    const char *name;
    const char *label;
    const char *kind;  /* type */
    const char *field; /* fieldType */
    enum hs_slot slot;
    const char *flags; /* c = calculated, u = made by the customer, r = read-only, o = owner */
    const char *options; /* "value=Label;..." */
};

#define STAGES                                                                                 \
    "subscriber=Subscriber;lead=Lead;opportunity=Opportunity;customer=Customer;other=Other"
#define INDUSTRIES                                                                             \
    "COMPUTER_SOFTWARE=Computer Software;RETAIL=Retail;BANKING=Banking;"                       \
    "HOSPITAL_HEALTH_CARE=Hospital & Health Care;EDUCATION_MANAGEMENT=Education Management"
#define PLANS "free=Free;starter=Starter;pro=Pro;enterprise=Enterprise"

static const struct def_row defs[] = {
    {HS_COMPANIES, "name", "Company name", "string", "text", HS_SLOT_NAME, "", NULL},
    {HS_COMPANIES, "domain", "Company Domain Name", "string", "text", HS_SLOT_DOMAIN, "", NULL},
    {HS_COMPANIES, "website", "Website URL", "string", "text", HS_SLOT_WEBSITE, "", NULL},
    {HS_COMPANIES, "industry", "Industry", "enumeration", "select", HS_SLOT_INDUSTRY, "",
     INDUSTRIES},
    {HS_COMPANIES, "lifecyclestage", "Lifecycle Stage", "enumeration", "radio", HS_SLOT_STAGE,
     "", STAGES},
    {HS_COMPANIES, "numberofemployees", "Number of Employees", "number", "number",
     HS_SLOT_EMPLOYEES, "", NULL},
    {HS_COMPANIES, "annualrevenue", "Annual Revenue", "number", "number", HS_SLOT_REVENUE, "",
     NULL},
    {HS_COMPANIES, "mrr", "MRR", "number", "number", HS_SLOT_MRR, "u", NULL},
    {HS_COMPANIES, "arr", "ARR", "number", "number", HS_SLOT_ARR, "u", NULL},
    {HS_COMPANIES, "plan", "Plan", "enumeration", "select", HS_SLOT_PLAN, "u", PLANS},
    {HS_COMPANIES, "tier", "Tier", "enumeration", "select", HS_SLOT_PLAN, "u", PLANS},
    {HS_COMPANIES, "hubspot_owner_id", "Company owner", "enumeration", "select", HS_SLOT_OWNER,
     "o", NULL},
    {HS_COMPANIES, "city", "City", "string", "text", HS_SLOT_CITY, "", NULL},
    {HS_COMPANIES, "country", "Country/Region", "string", "text", HS_SLOT_COUNTRY, "", NULL},
    {HS_COMPANIES, "phone", "Phone Number", "string", "phonenumber", HS_SLOT_PHONE, "", NULL},
    {HS_COMPANIES, "description", "Description", "string", "textarea", HS_SLOT_NONE, "", NULL},
    {HS_COMPANIES, "renewal_date", "Renewal date", "date", "date", HS_SLOT_RENEWAL, "u", NULL},
    {HS_COMPANIES, "last_call_at", "Last call", "datetime", "date", HS_SLOT_NONE, "u", NULL},
    {HS_COMPANIES, "is_key_account", "Key account", "bool", "booleancheckbox",
     HS_SLOT_KEY_ACCOUNT, "u", "true=Yes;false=No"},
    {HS_COMPANIES, "tags", "Tags", "enumeration", "checkbox", HS_SLOT_TAGS, "u",
     "vip=VIP;beta=Beta;eu=EU"},
    {HS_COMPANIES, "health_score", "Health score", "number", "calculation_equation",
     HS_SLOT_HEALTH, "cur", NULL},
    {HS_COMPANIES, "num_associated_contacts", "Number of Associated Contacts", "number",
     "calculation_rollup", HS_SLOT_NONE, "cr", NULL},
    {HS_COMPANIES, "hs_merged_object_ids", "Merged Company IDs", "enumeration", "checkbox",
     HS_SLOT_NONE, "r", NULL},
    {HS_COMPANIES, "stripe_customer_id", "Stripe customer", "string", "text", HS_SLOT_NONE, "u",
     NULL},
    {HS_COMPANIES, "createdate", "Create Date", "datetime", "date", HS_SLOT_CREATED, "r", NULL},
    {HS_COMPANIES, "hs_lastmodifieddate", "Last Modified Date", "datetime", "date",
     HS_SLOT_MODIFIED, "r", NULL},
    {HS_COMPANIES, "hs_object_id", "Record ID", "number", "number", HS_SLOT_OBJECT_ID, "r",
     NULL},

    {HS_CONTACTS, "firstname", "First Name", "string", "text", HS_SLOT_FIRST, "", NULL},
    {HS_CONTACTS, "lastname", "Last Name", "string", "text", HS_SLOT_LAST, "", NULL},
    {HS_CONTACTS, "email", "Email", "string", "text", HS_SLOT_EMAIL, "", NULL},
    {HS_CONTACTS, "jobtitle", "Job Title", "string", "text", HS_SLOT_JOB, "", NULL},
    {HS_CONTACTS, "phone", "Phone Number", "string", "phonenumber", HS_SLOT_PHONE, "", NULL},
    {HS_CONTACTS, "lifecyclestage", "Lifecycle Stage", "enumeration", "radio", HS_SLOT_NONE, "",
     STAGES},
    {HS_CONTACTS, "hubspot_owner_id", "Contact owner", "enumeration", "select", HS_SLOT_OWNER,
     "o", NULL},
    {HS_CONTACTS, "associatedcompanyid", "Primary Associated Company ID", "number", "number",
     HS_SLOT_NONE, "r", NULL},
    {HS_CONTACTS, "createdate", "Create Date", "datetime", "date", HS_SLOT_CREATED, "r", NULL},
    {HS_CONTACTS, "lastmodifieddate", "Last Modified Date", "datetime", "date",
     HS_SLOT_MODIFIED, "r", NULL},
    {HS_CONTACTS, "hs_object_id", "Record ID", "number", "number", HS_SLOT_OBJECT_ID, "r",
     NULL},

    {HS_DEALS, "dealname", "Deal Name", "string", "text", HS_SLOT_DEAL_NAME, "", NULL},
    {HS_DEALS, "amount", "Amount", "number", "number", HS_SLOT_AMOUNT, "", NULL},
    {HS_DEALS, "closedate", "Close Date", "datetime", "date", HS_SLOT_NONE, "", NULL},
    {HS_DEALS, "pipeline", "Pipeline", "enumeration", "select", HS_SLOT_PIPELINE, "",
     "default=Sales Pipeline"},
    {HS_DEALS, "dealstage", "Deal Stage", "enumeration", "radio", HS_SLOT_DEAL_STAGE, "",
     "appointmentscheduled=Appointment Scheduled;closedwon=Closed Won;closedlost=Closed Lost"},
    {HS_DEALS, "hubspot_owner_id", "Deal owner", "enumeration", "select", HS_SLOT_OWNER, "o",
     NULL},
    {HS_DEALS, "createdate", "Create Date", "datetime", "date", HS_SLOT_CREATED, "r", NULL},
    {HS_DEALS, "hs_lastmodifieddate", "Last Modified Date", "datetime", "date",
     HS_SLOT_MODIFIED, "r", NULL},
    {HS_DEALS, "hs_object_id", "Record ID", "number", "number", HS_SLOT_OBJECT_ID, "r", NULL},

    {HS_TICKETS, "subject", "Ticket name", "string", "text", HS_SLOT_NONE, "", NULL},
    {HS_TICKETS, "content", "Ticket description", "string", "textarea", HS_SLOT_NONE, "", NULL},
    {HS_TICKETS, "hs_pipeline", "Pipeline", "enumeration", "select", HS_SLOT_NONE, "", NULL},
    {HS_TICKETS, "hs_pipeline_stage", "Ticket status", "enumeration", "select", HS_SLOT_NONE,
     "", NULL},
    {HS_TICKETS, "createdate", "Create date", "datetime", "date", HS_SLOT_CREATED, "r", NULL},
    {HS_TICKETS, "hs_lastmodifieddate", "Last Modified Date", "datetime", "date",
     HS_SLOT_MODIFIED, "r", NULL},
    {HS_TICKETS, "hs_object_id", "Ticket ID", "number", "number", HS_SLOT_OBJECT_ID, "r", NULL},
};

static json_t *options_json(const char *text)
{
    json_t *out = json_array();
    int order = 0;
    while (text != NULL && *text != '\0') {
        const char *eq = strchr(text, '=');
        size_t value_len = (size_t)(eq - text);
        size_t label_len = strcspn(eq + 1, ";");
        (void)json_array_append_new(out, json_pack("{s:s%, s:s%, s:s, s:i, s:b}", "label",
                                                   eq + 1, label_len, "value", text, value_len,
                                                   "description", "", "displayOrder", order++,
                                                   "hidden", 0));
        text = eq + 1 + label_len + (eq[1 + label_len] == ';' ? 1 : 0);
    }
    return out;
}

const char *hs_def_add(struct hs_table *t, json_t *json, enum hs_slot slot)
{
    const char *name = json_string_value(json_object_get(json, "name"));
    if (name == NULL || *name == '\0') {
        return "a property needs a name";
    }
    static const struct {
        const char *name;
        const char *otherwise;
    } texts[] = {{"type", "string"},
                 {"fieldType", "text"},
                 {"groupName", "information"},
                 {"description", ""},
                 {"label", NULL}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (json_object_get(json, texts[i].name) == NULL) {
            const char *v = texts[i].otherwise != NULL ? texts[i].otherwise : name;
            (void)json_object_set_new(json, texts[i].name, json_string(v));
        }
    }
    if (json_object_get(json, "options") == NULL) {
        (void)json_object_set_new(json, "options", json_array());
    }
    static const char *const flags[] = {"hidden",         "hasUniqueValue", "calculated",
                                        "hubspotDefined", "archived",       "formField",
                                        "externalOptions"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (json_object_get(json, flags[i]) == NULL) {
            (void)json_object_set_new(json, flags[i], json_false());
        }
    }
    if (json_object_get(json, "displayOrder") == NULL) {
        (void)json_object_set_new(json, "displayOrder", json_integer(-1));
    }
    struct hs_def *d = NULL;
    HASH_FIND_STR(t->defs, name, d);
    if (d == NULL) {
        d = sim_calloc(1, sizeof *d);
        d->name = sim_strdup(name);
        d->order = HASH_COUNT(t->defs);
        d->slot = slot;
        HASH_ADD_KEYPTR(hh, t->defs, d->name, strlen(d->name), d);
    } else {
        json_decref(d->json);
    }
    d->json = json_incref(json);
    d->calculated = json_is_true(json_object_get(json, "calculated"));
    d->archived = json_is_true(json_object_get(json, "archived"));
    return NULL;
}

void hs_seed_defs(struct hs_portal *p)
{
    for (size_t i = 0; i < sizeof defs / sizeof *defs; i++) {
        const struct def_row *r = &defs[i];
        bool calculated = strchr(r->flags, 'c') != NULL;
        bool custom = strchr(r->flags, 'u') != NULL;
        bool read_only = strchr(r->flags, 'r') != NULL;
        json_t *j = json_pack(
            "{s:s, s:s, s:s, s:s, s:s, s:o, s:b, s:b, s:{s:b, s:b, s:b}, s:s, s:s}", "name",
            r->name, "label", r->label, "type", r->kind, "fieldType", r->field, "groupName",
            r->type == HS_COMPANIES ? "companyinformation" : "information", "options",
            options_json(r->options), "calculated", calculated, "hubspotDefined", !custom,
            "modificationMetadata", "archivable", custom, "readOnlyDefinition", !custom,
            "readOnlyValue", read_only, "createdAt", "2023-01-01T00:00:00.000Z", "updatedAt",
            "2023-01-01T00:00:00.000Z");
        if (calculated) {
            (void)json_object_set_new(j, "calculationFormula", json_string("mrr / 10"));
        }
        if (strchr(r->flags, 'o') != NULL) {
            (void)json_object_set_new(j, "referencedObjectType", json_string("OWNER"));
            (void)json_object_set_new(j, "externalOptions", json_true());
        }
        (void)hs_def_add(&p->tables[r->type], j, r->slot);
        json_decref(j);
    }
}

static const char *const cities[] = {"Berlin", "Boston", "Lyon", "Dublin", "Kraków", "Osaka"};
static const char *const countries[] = {"Germany", "United States", "France",
                                        "Ireland", "Poland",        "Japan"};
static const char *const industries[] = {"COMPUTER_SOFTWARE", "RETAIL", "BANKING",
                                         "HOSPITAL_HEALTH_CARE", "EDUCATION_MANAGEMENT"};
static const char *const plans[] = {"free", "starter", "pro", "enterprise"};
static const char *const stages[] = {"lead", "opportunity", "subscriber"};
static const char *const jobs[] = {"CEO", "Head of Operations", "Buyer", "Engineer"};
static const char *const deal_stages[] = {"appointmentscheduled", "closedwon", "closedlost"};

const char *hs_seeded(const struct hs_portal *p, enum hs_type t, size_t i, enum hs_slot slot,
                      char *scratch)
{
    uint64_t h = sim_mix(sim_options(p->app->sim)->seed, i, (uint64_t)slot + UINT64_C(100) * t);
    size_t companies = p->seeded[HS_COMPANIES] > 0 ? p->seeded[HS_COMPANIES] : 1;
    char name[96];
    switch (slot) {
    case HS_SLOT_NAME:
        sim_company_name(i, scratch, HS_SCRATCH);
        return scratch;
    case HS_SLOT_DOMAIN:
        sim_company_domain(i, scratch, HS_SCRATCH);
        return scratch;
    case HS_SLOT_WEBSITE:
        sim_company_domain(i, name, sizeof name);
        (void)snprintf(scratch, HS_SCRATCH, "https://www.%s", name);
        return scratch;
    case HS_SLOT_INDUSTRY:
        return h % 10 == 0 ? NULL : industries[h % 5];
    case HS_SLOT_STAGE:
        return sim_company_is_member(i, p->seeded[HS_COMPANIES], p->seeded_members)
                   ? "customer"
                   : stages[h % 3];
    case HS_SLOT_EMPLOYEES:
        (void)snprintf(scratch, HS_SCRATCH, "%d", (int)(h % 5000) + 1);
        return h % 7 == 0 ? NULL : scratch;
    case HS_SLOT_REVENUE:
        (void)snprintf(scratch, HS_SCRATCH, "%d000", (int)(h % 90000) + 10);
        return scratch;
    case HS_SLOT_MRR:
        (void)snprintf(scratch, HS_SCRATCH, "%d.%02d", (int)(h % 9000), (int)((h >> 32) % 100));
        return scratch;
    case HS_SLOT_ARR:
        (void)snprintf(scratch, HS_SCRATCH, "%d", (int)(h % 90000));
        return scratch;
    case HS_SLOT_PLAN:
        return plans[h % 4];
    case HS_SLOT_OWNER:
        (void)snprintf(scratch, HS_SCRATCH, "%d", 41629780 + (int)(h % 4));
        return h % 5 == 0 ? NULL : scratch;
    case HS_SLOT_CITY:
        return cities[h % 6];
    case HS_SLOT_COUNTRY:
        return countries[sim_mix(sim_options(p->app->sim)->seed, i,
                                 HS_SLOT_CITY + UINT64_C(100) * t) %
                         6];
    case HS_SLOT_PHONE:
        (void)snprintf(scratch, HS_SCRATCH, "+49 30 %07d", (int)(h % 10000000));
        return scratch;
    case HS_SLOT_RENEWAL:
        (void)snprintf(scratch, HS_SCRATCH, "2027-%02d-%02d", (int)(h % 12) + 1,
                       (int)((h >> 8) % 28) + 1);
        return scratch;
    case HS_SLOT_KEY_ACCOUNT:
        return h % 8 == 0 ? "true" : h % 8 < 5 ? "false" : NULL;
    case HS_SLOT_TAGS:
        return h % 4 == 0 ? "vip;eu" : h % 4 == 1 ? "beta" : NULL;
    case HS_SLOT_HEALTH:
        (void)snprintf(scratch, HS_SCRATCH, "%d", (int)(h % 101));
        return scratch;
    case HS_SLOT_FIRST:
        return sim_first_name(h);
    case HS_SLOT_LAST:
        return sim_last_name(h >> 8);
    case HS_SLOT_EMAIL:
        sim_company_domain(i % companies, name, sizeof name);
        (void)snprintf(scratch, HS_SCRATCH, "person%zu@%s", i, name);
        return scratch;
    case HS_SLOT_JOB:
        return jobs[h % 4];
    case HS_SLOT_DEAL_NAME:
        sim_company_name(i % companies, name, sizeof name);
        (void)snprintf(scratch, HS_SCRATCH, "%s - New Deal", name);
        return scratch;
    case HS_SLOT_AMOUNT:
        (void)snprintf(scratch, HS_SCRATCH, "%d", (int)(h % 50000) + 100);
        return scratch;
    case HS_SLOT_PIPELINE:
        return "default";
    case HS_SLOT_DEAL_STAGE:
        return deal_stages[h % 3];
    case HS_SLOT_NONE:
    case HS_SLOT_OBJECT_ID:
    case HS_SLOT_CREATED:
    case HS_SLOT_MODIFIED:
        return NULL;
    }
    return NULL;
}

/* 2023-01-01; everything seeded lies before 2026. */
static const int64_t epoch_ms = 1672531200000;

static void seed_table(struct hs_portal *p, enum hs_type t, size_t n)
{
    static const int64_t first[HS_TYPES] = {
        [HS_CONTACTS] = 15000000000, [HS_DEALS] = 17000000000, [HS_TICKETS] = 18000000000};
    uint64_t seed = sim_options(p->app->sim)->seed;
    p->seeded[t] = n;
    for (size_t i = 0; i < n; i++) {
        int64_t id = t == HS_COMPANIES ? sim_company_id(i) : first[t] + (int64_t)i * 1013;
        int64_t at = epoch_ms + (int64_t)(sim_mix(seed, i, 7) % 500) * 86400000 +
                     (int64_t)(i % 86400000);
        struct hs_object *o = hs_object_new(&p->tables[t], id, at);
        if (o == NULL) {
            continue;
        }
        o->seed = (int64_t)i;
        o->updated_ms = at + (int64_t)(sim_mix(seed, i, 8) % (INT64_C(400) * 86400000));
        o->indexed_ms = o->updated_ms;
    }
    if (p->tables[t].next_id < INT64_C(20000000000) + t * INT64_C(10000000000)) {
        p->tables[t].next_id = INT64_C(20000000000) + t * INT64_C(10000000000);
    }
}

static void seed_owners(struct hs_portal *p)
{
    for (int i = 0; i < 5; i++) {
        bool archived = i == 4;
        char email[96];
        char id[24];
        (void)snprintf(email, sizeof email, "owner%d@pivotal.example", i + 1);
        (void)snprintf(id, sizeof id, "%d", 41629780 + i);
        json_t *o = json_pack(
            "{s:s, s:s, s:s, s:s, s:s, s:o, s:i, s:s, s:s, s:b}", "id", id, "email", email,
            "type", "PERSON", "firstName", sim_first_name((uint64_t)i), "lastName",
            sim_last_name((uint64_t)i), "userId",
            archived ? json_null() : json_integer(9586500 + i), "userIdIncludingInactive",
            9586500 + i, "createdAt", "2023-01-01T00:00:00.000Z", "updatedAt",
            "2024-01-01T00:00:00.000Z", "archived", archived);
        (void)json_array_append_new(p->owners, o);
    }
    p->next_owner_id = 41629790;
}

void hs_seed_records(struct hs_portal *p, size_t companies, size_t members, size_t contacts)
{
    p->seeded_members = members < companies ? members : companies;
    seed_owners(p);
    seed_table(p, HS_COMPANIES, companies);
    seed_table(p, HS_CONTACTS, contacts);
    seed_table(p, HS_DEALS, companies / 10);

    struct hs_list *l = hs_list_new(p, "42", "Customers / Active", "DYNAMIC", "0-2");
    l->filter_property = sim_strdup("lifecyclestage");
    l->filter_value = sim_strdup("customer");
    for (size_t i = 0; i < companies; i++) {
        if (sim_company_is_member(i, companies, p->seeded_members)) {
            hs_list_add(l, sim_company_id(i),
                        epoch_ms + (int64_t)(sim_mix(1, i, 9) % (INT64_C(700) * 86400000)));
        }
    }
    (void)hs_list_new(p, "43", "Key accounts", "MANUAL", "0-2");
    l = hs_list_new(p, "44", "Snapshot of 2025", "SNAPSHOT", "0-2");
    for (size_t i = 0; i < companies && i < 20; i++) {
        hs_list_add(l, sim_company_id(i), epoch_ms);
    }
    l = hs_list_new(p, "45", "Newsletter", "DYNAMIC", "0-1");
    for (size_t i = 0; i < contacts && i < 50; i++) {
        hs_list_add(l, p->tables[HS_CONTACTS].items[i]->id, epoch_ms);
    }
    for (size_t i = 0; companies > 0 && i < contacts; i++) {
        hs_associate(p, HS_COMPANIES, sim_company_id(i % companies), HS_CONTACTS,
                     p->tables[HS_CONTACTS].items[i]->id, true);
    }
    for (size_t i = 0; i < p->tables[HS_DEALS].count; i++) {
        hs_associate(p, HS_COMPANIES, sim_company_id(i), HS_DEALS,
                     p->tables[HS_DEALS].items[i]->id, true);
    }
}
