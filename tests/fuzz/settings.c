/* A settings file, a flag, and the small languages inside of values: lists of networks,
 * addresses, instants, Redis URLs, encryption keys.
 *
 * Input: a byte of choices, a text ended by NUL, the rest is the file. */
#include "common/config.h"

#include "common/clock.h"
#include "common/net_address.h"
#include "common/queue_redis.h"
#include "common/seal.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

static const struct config_program program = {
    .bit = CONFIG_GATEWAY, .name = "fuzz", .version = "0", .about = "A target."};

/* What it took over is read back and written out. */
static void look(const struct config *c)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < config_problem_count(c); i++) {
        MUST(config_problem(c, i)[0] != '\0');
    }
    for (int s = 0; s < SETTING_COUNT; s++) {
        (void)config_text(c, (enum setting)s);
        (void)config_int(c, (enum setting)s);
        size_t n = config_list_count(c, (enum setting)s);
        for (size_t i = 0; i < n && i < 5; i++) {
            (void)config_list_item(c, (enum setting)s, i);
        }
    }
    (void)config_write_effective(c, &b);
    for (const char *line = buf_text(&b); *line != '\0';) {
        size_t n = strcspn(line, "\n");
        bool url = memmem(line, strcspn(line, "="), "_URL", 4) != NULL &&
                   strncmp(line, "PUBLIC", 6) != 0;
        MUST(!url || memmem(line, n, ":FUZZ-SECRET@", 13) == NULL);
        line += n + (line[n] == '\n');
    }
    buf_release(&b);
}

static void file(const char *flag, struct slice text)
{
    char path[64];
    int fd = memfd_create("settings", 0);
    MUST(fd >= 0 && write(fd, text.bytes, text.len_bytes) == (ssize_t)text.len_bytes);
    (void)snprintf(path, sizeof path, "--config=/proc/self/fd/%d", fd);
    const char *const argv[] = {"fuzz", path, flag, NULL};
    struct err err = {0};
    struct config *c =
        config_load(flag[0] != '\0' ? 3 : 2, (char *const *)(uintptr_t)argv, &program, &err);
    MUST(c != NULL);
    look(c);
    config_free(c);
    (void)close(fd);
}

static void values(const char *text)
{
    struct err err = {0};
    struct net_list list;
    struct net_address address;
    struct redis_url url;
    char shown[NET_ADDRESS_TEXT_BYTES];
    int64_t at_ms = 0;
    if (net_list_parse(text, &list, &err) == 0) {
        MUST(list.count <= NET_LIST_MAX);
    }
    if (net_address_parse(text, &address)) {
        struct net_address again;
        MUST(net_address_parse(net_address_text(&address, shown), &again));
        MUST(memcmp(&address, &again, sizeof again) == 0);
        MUST(!net_address_is_loopback(&address) || !net_address_is_public(&address));
    }
    if (clock_parse(text, &at_ms) == 0) {
        char back[CLOCK_TEXT_BYTES];
        int64_t same = 0;
        MUST(clock_parse(clock_text(at_ms, back), &same) == 0 && same == at_ms);
    }
    if (redis_url_parse(text, &url, &err) == 0) {
        MUST(url.host[0] != '\0');
    }
    struct seal *seal = seal_new(text, &err);
    if (seal != NULL) {
        struct buf out;
        buf_init(&out, 4096);
        MUST(seal_open(seal, 1, "c", slice_of(text), &out, &err) != 0);
        buf_release(&out);
    }
    seal_free(seal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    unsigned choice = input_byte(&in);
    char *text = input_text(&in);
    struct slice rest = input_rest(&in);
    if ((choice & 1) != 0) {
        values(text);
    }
    /* A flag that reads another file would leave the target. */
    bool leaves = strstr(text, "-file") != NULL || strncmp(text, "--config", 8) == 0;
    bool reads = memmem(rest.bytes, rest.len_bytes, "_FILE", 5) != NULL;
    if (!reads) {
        file(leaves ? "" : text, rest);
    }
    free(text);
    free((char *)(uintptr_t)rest.bytes);
    return 0;
}
