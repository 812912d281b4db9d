/* Unit tests of common/net_address. */
#include "common/net_address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <netinet/in.h>
#include <string.h>

static bool is_public(const char *text)
{
    struct net_address a;
    assert_true(net_address_parse(text, &a));
    return net_address_is_public(&a);
}

static void private_addresses_are_not_public(void **state)
{
    (void)state;
    static const char *const not_public[] = {"127.0.0.1",
                                             "10.255.0.1",
                                             "172.16.0.1",
                                             "172.31.255.255",
                                             "192.168.1.1",
                                             "169.254.169.254",
                                             "100.64.0.1",
                                             "0.0.0.0",
                                             "255.255.255.255",
                                             "224.0.0.1",
                                             "::",
                                             "::1",
                                             "fe80::1",
                                             "fc00::1",
                                             "fd12::1",
                                             "ff02::1",
                                             "::ffff:10.0.0.1",
                                             "::127.0.0.1",
                                             "64:ff9b::10.0.0.1",
                                             "2002:7f00:1::1",
                                             "2001:db8::1"};
    for (size_t i = 0; i < COUNT_OF(not_public); i++) {
        if (is_public(not_public[i])) {
            fail_msg("%s passed as public", not_public[i]);
        }
    }
}

static void internet_addresses_are_public(void **state)
{
    (void)state;
    assert_true(is_public("8.8.8.8"));
    assert_true(is_public("172.32.0.1"));
    assert_true(is_public("100.128.0.1"));
    assert_true(is_public("2606:4700::6810:1"));
    assert_true(is_public("64:ff9b::8.8.8.8"));
}

static void a_list_knows_its_networks(void **state)
{
    (void)state;
    struct net_list list;
    struct err err = {0};
    struct net_address a;
    assert_int_equal(net_list_parse("10.0.0.0/8, 192.0.2.7,fd00::/8", &list, &err), 0);
    assert_int_equal(list.count, 3);
    assert_true(net_address_parse("10.9.8.7", &a) && net_list_has(&list, &a));
    assert_true(net_address_parse("192.0.2.7", &a) && net_list_has(&list, &a));
    assert_true(net_address_parse("fd01::1", &a) && net_list_has(&list, &a));
    assert_true(net_address_parse("192.0.2.8", &a) && !net_list_has(&list, &a));
    assert_true(net_address_parse("11.0.0.0", &a) && !net_list_has(&list, &a));
    assert_int_equal(net_list_parse(NULL, &list, &err), 0);
    assert_int_equal(list.count, 0);
}

static void a_bad_network_is_named(void **state)
{
    (void)state;
    static const char *const bad[] = {"10.0.0.0/33", "fd00::/129", "nonsense", "10.0.0.0/",
                                      "1.2.3"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct net_list list;
        struct err err = {0};
        assert_int_equal(net_list_parse(bad[i], &list, &err), -1);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_non_null(strstr(err.msg, bad[i]));
    }
}

static void an_address_reads_as_it_was_written(void **state)
{
    (void)state;
    struct net_address a;
    char text[NET_ADDRESS_TEXT_BYTES];
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    assert_true(net_address_of((const struct sockaddr *)&v4, &a));
    assert_string_equal(net_address_text(&a, text), "127.0.0.1");
    assert_true(net_address_is_loopback(&a));
    assert_true(net_address_parse("[2001:db8::5]", &a));
    assert_string_equal(net_address_text(&a, text), "2001:db8::5");
    struct sockaddr unix_like = {.sa_family = AF_UNIX};
    assert_false(net_address_of(&unix_like, &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(private_addresses_are_not_public),
        cmocka_unit_test(internet_addresses_are_public),
        cmocka_unit_test(a_list_knows_its_networks),
        cmocka_unit_test(a_bad_network_is_named),
        cmocka_unit_test(an_address_reads_as_it_was_written),
    };
    return cmocka_run_group_tests_name("net_address", tests, NULL, NULL);
}
