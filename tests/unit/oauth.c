/* Where a sign-in begins and comes back to. */
#include "core/oauth.h"

#include "tests/unit/test.h"

#include <stdlib.h>

static const struct config_program program = {
    .bit = CONFIG_ADMIN, .name = "admin", .version = "1", .about = "Signs in."};

struct walk {
    const char *listen, *public_url, *workspace, *mode;
    const char *url; /* NULL = refused */
};

static void check(const struct walk *w)
{
    char listen[64], public_url[64], config[] = "--config=", name[] = "admin";
    char *argv[5] = {name, config, NULL};
    int argc = 2;
    struct err err = {0};
    struct buf url;
    if (w->listen != NULL) {
        (void)snprintf(listen, sizeof listen, "--admin-listen=%s", w->listen);
        argv[argc++] = listen;
    }
    if (w->public_url != NULL) {
        (void)snprintf(public_url, sizeof public_url, "--admin-public-url=%s", w->public_url);
        argv[argc++] = public_url;
    }
    struct config *c = config_load(argc, argv, &program, &err);
    assert_non_null(c);
    assert_int_equal(config_problem_count(c), 0);
    buf_init(&url, 512);
    int rc = oauth_start_url(c, "hubspot", w->workspace, w->mode, &url, &err);
    if (w->url == NULL) {
        assert_int_equal(rc, -1);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_non_null(strstr(err.msg, "ADMIN_PUBLIC_URL"));
    } else {
        assert_int_equal(rc, 0);
        assert_string_equal(buf_text(&url), w->url);
    }
    buf_release(&url);
    config_free(c);
}

static void the_start_is_where_browsers_find_the_admin_program(void **state)
{
    static const struct walk walks[] = {
        {.url = "http://127.0.0.1:8481/oauth/hubspot/start"},
        {.listen = "10.1.2.3:99", .url = "http://10.1.2.3:99/oauth/hubspot/start"},
        {.listen = "unix:/run/x", .url = NULL},
        {.listen = "*:8481", .url = NULL},
        {.listen = "0.0.0.0:8481", .url = NULL},
        {.listen = "127.0.0.1:0", .url = NULL},
        {.listen = "unix:/run/x",
         .public_url = "https://sync.example/admin/",
         .url = "https://sync.example/admin/oauth/hubspot/start"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(walks); i++) {
        check(&walks[i]);
    }
}

static void names_are_escaped_and_left_out_when_empty(void **state)
{
    static const struct walk walks[] = {
        {.workspace = "acme",
         .mode = "test",
         .url = "http://127.0.0.1:8481/oauth/hubspot/start?workspace=acme&mode=test"},
        {.mode = "live", .url = "http://127.0.0.1:8481/oauth/hubspot/start?mode=live"},
        {.workspace = "a&b=c d",
         .mode = "",
         .url = "http://127.0.0.1:8481/oauth/hubspot/start?workspace=a%26b%3Dc%20d"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(walks); i++) {
        check(&walks[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_start_is_where_browsers_find_the_admin_program),
        cmocka_unit_test(names_are_escaped_and_left_out_when_empty),
    };
    (void)unsetenv("PIVOTAL_SYNC_ADMIN_LISTEN");
    (void)unsetenv("PIVOTAL_SYNC_ADMIN_PUBLIC_URL");
    return RUN_TESTS(tests);
}
