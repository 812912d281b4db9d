/*
 * Names by index, without state: the HubSpot half makes company i of them and the Stripe half
 * customer i, so that most records of the two match by domain.
 */
#include "sim.h"

#include <ctype.h>
#include <stdio.h>

static const char *const first_words[] = {
    "Amber",  "Birch",   "Cedar",   "Delta",  "Ember",  "Falcon", "Granite", "Harvest",
    "Iris",   "Juniper", "Kestrel", "Lumen",  "Meadow", "North",  "Orchid",  "Pioneer",
    "Quartz", "River",   "Summit",  "Timber", "Umbra",  "Vertex", "Willow",  "Zenith",
};
static const char *const second_words[] = {
    "Analytics", "Bakery",   "Cloud",  "Dental",    "Energy",   "Foods",    "Garden",
    "Harbor",    "Imports",  "Labs",   "Logistics", "Machines", "Networks", "Optics",
    "Partners",  "Robotics", "Studio", "Textiles",  "Works",
};
static const char *const given_names[] = {
    "Ada",  "Bruno", "Chiara", "Dmitri", "Elif",  "Femi", "Grace", "Hiro",
    "Ines", "Jonas", "Kavya",  "Liam",   "María", "Noor", "Olga",  "Pavel",
    "Qing", "Ravi",  "Søren",  "Tala",   "Uma",   "Vera", "Wen",   "Zoë",
};
static const char *const family_names[] = {
    "Abara", "Berg",   "Costa",    "Dubois", "Eriksen", "Fischer",  "García", "Haddad",
    "Ito",   "Jansen", "Kowalski", "Lopez",  "Moreau",  "Nakamura", "Okafor", "Petrov",
    "Quinn", "Rossi",  "Sato",     "Tanaka", "Usman",   "Weber",    "Young",  "Zhang",
};
enum {
    FIRST = sizeof first_words / sizeof *first_words,
    SECOND = sizeof second_words / sizeof *second_words,
    GIVEN = sizeof given_names / sizeof *given_names,
    FAMILY = sizeof family_names / sizeof *family_names,
};

void sim_company_name(size_t i, char *out, size_t size)
{
    (void)snprintf(out, size, "%s %s %zu", first_words[i % FIRST],
                   second_words[(i / FIRST + i) % SECOND], i);
}

void sim_company_domain(size_t i, char *out, size_t size)
{
    (void)snprintf(out, size, "%s%s%zu.example", first_words[i % FIRST],
                   second_words[(i / FIRST + i) % SECOND], i);
    for (char *p = out; *p != '\0'; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
}

int64_t sim_company_id(size_t i)
{
    /* Past 2^32, as new HubSpot records are. */
    return INT64_C(10000000000) + (int64_t)i * 1009;
}

bool sim_company_is_member(size_t i, size_t n, size_t m)
{
    return i < n && (i + 1) * m / n > i * m / n;
}

const char *sim_first_name(uint64_t i)
{
    return given_names[i % GIVEN];
}

const char *sim_last_name(uint64_t i)
{
    return family_names[(i / GIVEN + i) % FAMILY];
}
