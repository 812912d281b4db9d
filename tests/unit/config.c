#include "common/config.h"

#include "tests/unit/test.h"

#include <unistd.h>

#define KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/config.XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static const char *path_of(const char *name)
{
    static char path[4][128];
    static int i;
    i = (i + 1) % 4;
    (void)snprintf(path[i], sizeof path[i], "%s/%s", folder, name);
    return path[i];
}

static void put_file(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void drop_file(const char *name)
{
    assert_int_equal(unlink(path_of(name)), 0);
}

static const struct config_program worker = {
    .bit = CONFIG_WORKER, .name = "worker", .version = "1", .about = "Works."};
static const struct config_program cmd = {
    .bit = CONFIG_CMD, .name = "cmd", .version = "1", .about = "Asks.", .keeps_rest = true};

#define ARGV(...)    ((const char *const[]){"program", __VA_ARGS__, NULL})
#define LOAD(p, ...) load((p), COUNT_OF(ARGV(__VA_ARGS__)) - 1, ARGV(__VA_ARGS__))

static struct config *load(const struct config_program *p, size_t argc, const char *const *argv)
{
    struct err err = {0};
    struct config *c = config_load((int)argc, (char *const *)(uintptr_t)argv, p, &err);
    assert_non_null(c);
    return c;
}

/* No file of this machine counts. */
static const char *no_file(void)
{
    return "--config=";
}

static void has_the_documented_defaults(void **state)
{
    (void)state;
    struct config *c = LOAD(&worker, no_file());
    assert_int_equal(config_problem_count(c), 0);
    assert_int_equal(config_int(c, SETTING_QUEUE_SHARDS), 1);
    assert_int_equal(config_int(c, SETTING_LEASE_S), 30);
    assert_int_equal(config_int(c, SETTING_WEBHOOK_MAX_BODY_BYTES), 32 << 20);
    assert_string_equal(config_text(c, SETTING_WEBHOOK_LISTEN), "127.0.0.1:8480");
    assert_string_equal(config_text(c, SETTING_STRIPE_TOKEN_URL),
                        "https://api.stripe.com/v1/oauth/token");
    assert_string_equal(config_text(c, SETTING_DATABASE_URL), "");
    assert_false(config_is_set(c, SETTING_QUEUE_SHARDS));
    assert_true(config_int(c, SETTING_WORKER_PROCESSES) >= 1);
    assert_string_equal(config_source(c, SETTING_LEASE_S), "default");
    assert_string_not_equal(config_text(c, SETTING_LOG_FORMAT), "");
    config_free(c);
}

static void the_stronger_source_wins(void **state)
{
    (void)state;
    put_file("a.conf", "# comment\n\nDB_POOL = 5\nLEASE_S=\"1min\"\nQUEUE_SHARDS=2\n"
                       "REDIS_URL='redis://file'\n");
    assert_int_equal(setenv("PIVOTAL_SYNC_DB_POOL", "6", 1), 0);
    assert_int_equal(setenv("PIVOTAL_SYNC_QUEUE_SHARDS", "3", 1), 0);
    assert_int_equal(setenv("DATABASE_URL", "postgresql://bare", 1), 0);
    assert_int_equal(setenv("REDIS_URL", "redis://bare", 1), 0);
    char *path = strdup(path_of("a.conf"));
    struct config *c = LOAD(&worker, "--config", path, "--queue-shards=4");
    assert_int_equal(config_problem_count(c), 0);
    assert_int_equal(config_int(c, SETTING_QUEUE_SHARDS), 4);
    assert_string_equal(config_source(c, SETTING_QUEUE_SHARDS), "flag --queue-shards");
    assert_int_equal(config_int(c, SETTING_DB_POOL), 6);
    assert_string_equal(config_source(c, SETTING_DB_POOL), "environment PIVOTAL_SYNC_DB_POOL");
    assert_int_equal(config_int(c, SETTING_LEASE_S), 60);
    assert_string_equal(strrchr(config_source(c, SETTING_LEASE_S), ':'), ":4");
    assert_string_equal(config_text(c, SETTING_REDIS_URL), "redis://file");
    assert_string_equal(config_text(c, SETTING_DATABASE_URL), "postgresql://bare");
    assert_string_equal(config_text(c, SETTING_MIGRATE_DATABASE_URL), "postgresql://bare");
    config_free(c);
    free(path);
    (void)unsetenv("PIVOTAL_SYNC_DB_POOL");
    (void)unsetenv("PIVOTAL_SYNC_QUEUE_SHARDS");
    (void)unsetenv("DATABASE_URL");
    (void)unsetenv("REDIS_URL");
    drop_file("a.conf");
}

static bool has_problem(const struct config *c, const char *part)
{
    for (size_t i = 0; i < config_problem_count(c); i++) {
        if (strstr(config_problem(c, i), part) != NULL) {
            return true;
        }
    }
    return false;
}

static void tells_all_problems_at_once(void **state)
{
    (void)state;
    put_file("b.conf", "QUEUE_SHARD=2\nDB_POOL=0\nWEBHOOK_MAX_BODY_BYTES=1 PB\nwhat\n"
                       "STRIPE_OAUTH=maybe\nDB_POOL=3\nPIVOTAL_SYNC_LEASE_S=3\n"
                       "SECRET_KEY=tellnobody\nDATABASE_URL=mysql://u:tellnobody@h\n");
    char *path = strdup(path_of("b.conf"));
    struct config *c = LOAD(&worker, "--config", path, "--lease-s", "x", "--lease", "stray",
                            "--secret-key", "tellnobody");
    assert_true(has_problem(c, "b.conf:1: QUEUE_SHARD: unknown setting; did you mean "
                               "QUEUE_SHARDS?"));
    assert_true(
        has_problem(c, "b.conf:2: DB_POOL = '0': allowed is a whole number from 1 to 100"));
    assert_true(has_problem(c, "'1 PB': allowed is a size from 1 KiB to 1 GiB"));
    assert_true(has_problem(c, "b.conf:4: a line is NAME=value"));
    assert_true(has_problem(c, "allowed is one of app, connect"));
    assert_true(has_problem(c, "b.conf:6: DB_POOL is set twice"));
    assert_true(has_problem(c, "in a file the name has no prefix: LEASE_S"));
    assert_true(has_problem(c, "SECRET_KEY = (not shown): allowed is base64 of 32 bytes"));
    assert_true(has_problem(c, "allowed is a URL that begins with postgresql://"));
    assert_true(has_problem(c, "flag --lease-s: LEASE_S = 'x'"));
    assert_true(has_problem(c, "flag --lease: unknown; did you mean --lease-s?"));
    assert_true(has_problem(c, "'stray': this program takes flags only"));
    assert_true(has_problem(c, "flag --secret-key: a secret has no flag"));
    assert_false(has_problem(c, "tellnobody"));
    assert_int_equal(config_problem_count(c), 13);
    config_free(c);
    free(path);
    drop_file("b.conf");
}

static void a_secret_comes_from_a_file_or_a_credential(void **state)
{
    (void)state;
    put_file("key", KEY "\n");
    put_file("stripe_secret_key", "sk_test_1\n");
    put_file("pivotal-sync_hubspot_client_secret", "secret-1\n"); /* of a folder loaded whole */
    assert_int_equal(setenv("PIVOTAL_SYNC_SECRET_KEY_FILE", path_of("key"), 1), 0);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
    struct config *c = LOAD(&worker, no_file());
    assert_int_equal(config_problem_count(c), 0);
    assert_string_equal(config_text(c, SETTING_SECRET_KEY), KEY);
    assert_string_equal(config_text(c, SETTING_STRIPE_SECRET_KEY), "sk_test_1");
    assert_string_equal(config_text(c, SETTING_HUBSPOT_CLIENT_SECRET), "secret-1");
    struct buf b;
    buf_init(&b, 1 << 16);
    assert_int_equal(config_write_effective(c, &b), 0);
    assert_non_null(strstr(buf_text(&b), "\nSECRET_KEY=set (file, 44 bytes)  # environment "
                                         "PIVOTAL_SYNC_SECRET_KEY_FILE\n"));
    assert_null(strstr(buf_text(&b), "sk_test_1"));
    config_free(c);
    buf_release(&b);

    assert_int_equal(setenv("PIVOTAL_SYNC_SECRET_KEY", KEY, 1), 0);
    c = LOAD(&worker, no_file());
    assert_true(has_problem(c, "SECRET_KEY and SECRET_KEY_FILE are both set"));
    config_free(c);
    (void)unsetenv("PIVOTAL_SYNC_SECRET_KEY");
    assert_int_equal(setenv("PIVOTAL_SYNC_SECRET_KEY_FILE", "/nowhere", 1), 0);
    c = LOAD(&worker, no_file());
    assert_true(has_problem(c, "SECRET_KEY: cannot open secret '/nowhere'"));
    config_free(c);
    (void)unsetenv("PIVOTAL_SYNC_SECRET_KEY_FILE");
    (void)unsetenv("CREDENTIALS_DIRECTORY");
    drop_file("key");
    drop_file("stripe_secret_key");
    drop_file("pivotal-sync_hubspot_client_secret");
}

static void an_unknown_variable_is_told_but_not_those_of_kubernetes(void **state)
{
    (void)state;
    assert_int_equal(setenv("PIVOTAL_SYNC_DATABASE_ULR", "x", 1), 0);
    assert_int_equal(setenv("PIVOTAL_SYNC_SERVICE_HOST", "10.0.0.1", 1), 0);
    assert_int_equal(setenv("PIVOTAL_SYNC_PORT_80_TCP_ADDR", "10.0.0.1", 1), 0);
    assert_int_equal(setenv("PIVOTAL_SYNC_LEASE_S", "", 1), 0);
    struct config *c = LOAD(&worker, no_file());
    assert_int_equal(config_problem_count(c), 1);
    assert_true(has_problem(c, "did you mean PIVOTAL_SYNC_DATABASE_URL?"));
    config_free(c);
    (void)unsetenv("PIVOTAL_SYNC_DATABASE_ULR");
    (void)unsetenv("PIVOTAL_SYNC_SERVICE_HOST");
    (void)unsetenv("PIVOTAL_SYNC_PORT_80_TCP_ADDR");
    (void)unsetenv("PIVOTAL_SYNC_LEASE_S");
}

static void a_command_keeps_its_words_and_flags(void **state)
{
    (void)state;
    struct config *c = LOAD(&cmd, no_file(), "run-now", "hubspot", "--wait", "--db-pool", "7",
                            "-w", "acme", "--help", "--", "--db-pool");
    assert_int_equal(config_problem_count(c), 0);
    assert_int_equal(config_int(c, SETTING_DB_POOL), 7);
    int n = 0;
    char *const *args = config_args(c, &n);
    static const char *const wanted[] = {"run-now", "hubspot", "--wait", "-w",
                                         "acme",    "--help",  "--",     "--db-pool"};
    assert_int_equal(n, COUNT_OF(wanted));
    for (int i = 0; i < n; i++) {
        assert_string_equal(args[i], wanted[i]);
    }
    assert_null(args[n]);
    config_free(c);
}

static void reads_lists_and_switches(void **state)
{
    (void)state;
    struct config *c =
        LOAD(&worker, no_file(), "--allow-private-provider-hosts", "--redis-url",
             "redis://a:1, redis://b:2", "--hubspot-api-base", "http://127.0.0.1:1//");
    assert_int_equal(config_problem_count(c), 0);
    assert_true(config_bool(c, SETTING_ALLOW_PRIVATE_PROVIDER_HOSTS));
    assert_int_equal(config_list_count(c, SETTING_REDIS_URL), 2);
    assert_true(slice_is(config_list_item(c, SETTING_REDIS_URL, 1), "redis://b:2"));
    assert_null(config_list_item(c, SETTING_REDIS_URL, 2).bytes);
    assert_string_equal(config_text(c, SETTING_HUBSPOT_API_BASE), "http://127.0.0.1:1");
    config_free(c);
    c = LOAD(&worker, no_file(), "--allow-private-provider-hosts=off");
    assert_false(config_bool(c, SETTING_ALLOW_PRIVATE_PROVIDER_HOSTS));
    config_free(c);
}

static void reload_shows_what_changed(void **state)
{
    (void)state;
    put_file("c.conf", "LOG_LEVEL=info\n");
    char *path = strdup(path_of("c.conf"));
    struct err err = {0};
    struct config *c = LOAD(&worker, "--config", path);
    put_file("c.conf", "LOG_LEVEL=debug\n");
    /* argv of LOAD is gone by now, as far as C is concerned; a program's lives on. */
    config_free(c);
    const char *const argv[] = {"worker", "--config", path, NULL};
    c = load(&worker, 3, argv);
    put_file("c.conf", "LOG_LEVEL=warn\n");
    struct config *again = config_reload(c, &err);
    assert_non_null(again);
    assert_false(config_same(c, again, SETTING_LOG_LEVEL));
    assert_true(config_same(c, again, SETTING_DB_POOL));
    assert_true(config_reloadable(SETTING_LOG_LEVEL));
    assert_false(config_reloadable(SETTING_DB_POOL));
    config_free(c);
    config_free(again);
    free(path);
    drop_file("c.conf");
}

static void passwords_are_not_printed(void **state)
{
    (void)state;
    struct config *c = LOAD(&worker, no_file(), "--database-url",
                            "postgresql://u:pa@ss@h:5432/db?password=pass&x=1", "--redis-url",
                            "redis://:pass@h1/0,redis://h2/0");
    assert_int_equal(config_problem_count(c), 0);
    struct buf b;
    buf_init(&b, 1 << 16);
    assert_int_equal(config_write_effective(c, &b), 0);
    assert_null(strstr(buf_text(&b), "pass"));
    assert_null(strstr(buf_text(&b), "pa@ss"));
    assert_non_null(strstr(buf_text(&b), "DATABASE_URL=postgresql://u:***@h:5432/db?...  #"));
    assert_non_null(strstr(buf_text(&b), "REDIS_URL=redis://:***@h1/0,redis://h2/0  #"));
    buf_release(&b);
    config_free(c);
}

/* Found by fuzzing: a '/', '?' or ',' that the password should have escaped. */
static void nor_are_passwords_that_should_have_been_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *url, *shown;
    } cases[] = {
        {"postgresql://u:pa/ss@h/db", "=postgresql://u:***@h/db  #"},
        {"postgresql://u:pa?ss@h/db", "=postgresql://u:***@h/db  #"},
        {"postgresql://u:pa,ss@h/db", "=postgresql://u:***@h/db  #"},
        {"postgresql://u:pa,ss@h1:1,h2:2/db", "=postgresql://u:***@h1:1,h2:2/db  #"},
        {"postgresql://h/db?password=pa@ss", "=postgresql://h:***@ss  #"},
        {"postgresql://u@h/db", "=postgresql://u@h/db  #"},
        {"postgresql:///db?host=/run&user=u", "=postgresql:///db?...  #"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct config *c = LOAD(&worker, no_file(), "--database-url", cases[i].url);
        struct buf b;
        buf_init(&b, 1 << 16);
        assert_int_equal(config_problem_count(c), 0);
        assert_int_equal(config_write_effective(c, &b), 0);
        if (strstr(buf_text(&b), cases[i].shown) == NULL) {
            fail_msg("%s: %s", cases[i].url, buf_text(&b));
        }
        buf_release(&b);
        config_free(c);
    }
}

static void help_has_a_line_for_each_flag_of_the_program(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 16);
    assert_int_equal(config_write_flags(CONFIG_WORKER, &b), 0);
    assert_non_null(strstr(buf_text(&b), "--worker-inflight N"));
    assert_non_null(strstr(buf_text(&b), "--secret-key-file PATH"));
    assert_null(strstr(buf_text(&b), "--webhook-listen"));
    assert_null(strstr(buf_text(&b), "--secret-key "));
    buf_release(&b);
    for (int s = 0; s < SETTING_COUNT; s++) {
        assert_non_null(config_name((enum setting)s));
        assert_non_null(config_help((enum setting)s));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_the_documented_defaults),
        cmocka_unit_test(the_stronger_source_wins),
        cmocka_unit_test(tells_all_problems_at_once),
        cmocka_unit_test(a_secret_comes_from_a_file_or_a_credential),
        cmocka_unit_test(an_unknown_variable_is_told_but_not_those_of_kubernetes),
        cmocka_unit_test(a_command_keeps_its_words_and_flags),
        cmocka_unit_test(reads_lists_and_switches),
        cmocka_unit_test(reload_shows_what_changed),
        cmocka_unit_test(passwords_are_not_printed),
        cmocka_unit_test(nor_are_passwords_that_should_have_been_escaped),
        cmocka_unit_test(help_has_a_line_for_each_flag_of_the_program),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
