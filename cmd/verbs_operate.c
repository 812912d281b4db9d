/* Verbs of whoever runs the installation: check-config, doctor. */
#include "cmd/cmd.h"

#include "common/task.h"
#include "core/doctor.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- check-config ---- */

static const struct config_program checked = {
    .bit = CONFIG_CMD,
    .name = "pivotal-sync",
    .version = PIVOTAL_SYNC_VERSION,
    .about = "",
    .keeps_rest = true,
};

static int config_judge(const struct config *config, bool print)
{
    static const struct {
        enum setting setting;
        const char *why;
    } needed[] = {
        {SETTING_DATABASE_URL, "every program but `up` needs it"},
        {SETTING_REDIS_URL, "every program but `up` needs it"},
        {SETTING_SECRET_KEY, "without it no credential can be stored or used"},
        {SETTING_PUBLIC_URL, "without it HubSpot's signatures cannot be checked"},
    };
    size_t problems = config_problem_count(config);
    for (size_t i = 0; i < problems; i++) {
        printf("%s\n", config_problem(config, i));
    }
    if (print) {
        struct buf text;
        buf_init(&text, 65536);
        (void)config_write_effective(config, &text);
        fputs(buf_text(&text), stdout);
        buf_release(&text);
    }
    for (size_t i = 0; i < COUNT_OF(needed); i++) {
        if (!config_is_set(config, needed[i].setting)) {
            say("%s is not set: %s", config_name(needed[i].setting), needed[i].why);
        }
    }
    if (problems > 0) {
        say("%zu problems.", problems);
        return EXIT_BAD_CONFIG;
    }
    say("The settings are sound.");
    return EXIT_OK;
}

int verb_check_config(struct cmd *c, struct err *err)
{
    if (c->arg_count == 0) {
        return config_judge(c->config, cmd_has(c, "print")); /* main() refuses others */
    }
    char program[] = "pivotal-sync", flag[] = "--config";
    char *path = strdup(c->args[0]);
    char *argv[] = {program, flag, path, NULL};
    struct config *config = path != NULL ? config_load(3, argv, &checked, err) : NULL;
    int code = config != NULL ? config_judge(config, cmd_has(c, "print")) : -1;
    config_free(config);
    free(path);
    return code;
}

/* ---- doctor ---- */

static json_t *doctor_json(const struct doctor_report *r)
{
    json_t *all = json_array();
    for (int i = 0; i < r->count; i++) {
        const struct doctor_finding *f = &r->items[i];
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s}", "check", f->check,
                                             "verdict", doctor_verdict_name(f->verdict), "text",
                                             f->text, "mend", f->mend));
    }
    return all;
}

/* Word and colour say the same. */
static void doctor_print(const struct doctor_report *r)
{
    enum { INDENT = 8 };
    static const char *const signs[] = {"ok", "advice", "MEND", "-"};
    static const char *const colors[] = {"32", "33", "1;31", "2"};
    bool color = output_has_color(STDOUT_FILENO);
    char line[512];
    for (int i = 0; i < r->count; i++) {
        const struct doctor_finding *f = &r->items[i];
        snprintf(line, sizeof line, "%s: %s", f->check, f->text);
        printf("%s%s%s%-*s%s", color ? "\033[" : "", color ? colors[f->verdict] : "",
               color ? "m" : "", INDENT, signs[f->verdict], color ? "\033[0m" : "");
        print_rest(INDENT, line, false);
        if (f->mend[0] != '\0') {
            print_wrapped("", INDENT, f->mend, false);
        }
    }
}

int verb_doctor(struct cmd *c, struct err *err)
{
    struct doctor_report *r = calloc(1, sizeof *r);
    int rc = 0;
    if (r == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return -1;
    }
    doctor_examine(task_loop(), c->config, cmd_option(c, "outside"), r);
    bool ill = doctor_is_ill(r);
    if (c->form == OUT_TABLE && c->shape == SHAPE_FIT) {
        doctor_print(r);
        say(ill ? "Something has to be mended." : "The installation is sound.");
    } else {
        json_auto_t *all = doctor_json(r);
        rc = output_json(c, all, "check verdict text ~mend", err);
    }
    free(r);
    return rc != 0 ? -1 : ill ? EXIT_RECORD_ERRORS : EXIT_OK;
}
