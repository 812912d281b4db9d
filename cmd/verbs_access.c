/* Verbs about who may do what: tokens of the admin page and its API. */
#include "cmd/cmd.h"

#include "core/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int verb_token_create(struct cmd *c, struct err *err)
{
    const char *role_text = cmd_option(c, "role"), *name = cmd_option(c, "name");
    enum access_role role = role_text != NULL ? access_role_find(role_text) : ACCESS_NONE;
    char token[ACCESS_TOKEN_MAX_BYTES];
    int64_t token_id = 0;
    if (role == ACCESS_NONE) {
        err_set(err, ERR_INVALID, "%s: --role is viewer, operator or admin",
                role_text != NULL ? role_text : "token create");
        return -1;
    }
    if (access_create(c->app->store, &c->actor, role, name != NULL ? name : "", token,
                      &token_id, err) != 0) {
        return -1;
    }
    if (c->form == OUT_TABLE) {
        printf("%s\n", token);
    } else {
        json_auto_t *j =
            json_pack("{s:I, s:s, s:s, s:s}", "token_id", (json_int_t)token_id, "role",
                      role_text, "name", name != NULL ? name : "", "token", token);
        print_json_object(j);
    }
    say("Token %lld may do what %s may. It is shown only now; only its hash is kept.",
        (long long)token_id,
        role == ACCESS_ADMIN      ? "an admin"
        : role == ACCESS_OPERATOR ? "an operator"
                                  : "a viewer");
    explicit_bzero(token, sizeof token);
    return EXIT_OK;
}

int verb_token_list(struct cmd *c, struct err *err)
{
    return output_query(c,
                        "SELECT token_id, role, name, created_at, created_by, revoked_at"
                        " FROM psync.admin_token ORDER BY token_id",
                        NULL,
                        "token_id:TOKEN role name created_at:CREATED created_by:BY"
                        " revoked_at:REVOKED",
                        NULL, err);
}

int verb_token_revoke(struct cmd *c, struct err *err)
{
    char *end = NULL;
    long long token_id = strtoll(c->args[0], &end, 10);
    if (*end != '\0' || end == c->args[0]) {
        err_set(err, ERR_INVALID, "'%s' is not the number of a token (pivotal-sync token list)",
                c->args[0]);
        return -1;
    }
    if (access_revoke(c->app->store, &c->actor, token_id, err) != 0) {
        return -1;
    }
    say("Token %lld opens nothing any more.", token_id);
    return EXIT_OK;
}
