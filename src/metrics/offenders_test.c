/* Offenders: counted by client, taken once, bounded. */
#include "metrics/offenders.h"

#include "core/sys.h"
#include "core/test.h"

#include <arpa/inet.h>
#include <stdio.h>

struct found {
    size_t calls;
    char last[INET6_ADDRSTRLEN];
    uint32_t count;
    bool is_v4;
    uint8_t bits;
};

static void on_found(void *context, const struct network *who, uint32_t count)
{
    struct found *found = context;
    found->calls++;
    found->count = count;
    found->is_v4 = who->is_v4;
    found->bits = who->bits;
    inet_ntop(who->is_v4 ? AF_INET : AF_INET6, who->ip, found->last, sizeof(found->last));
}

static struct offenders *open_one(int *fd_out)
{
    *fd_out = offenders_open();
    return offenders_map(*fd_out);
}

static void note(struct offenders *offenders, const char *ip, size_t times)
{
    struct address address;
    CHECK(address_parse_ip(text_of(ip), 4711, &address) == OK, "%s", ip);
    for (size_t i = 0; i < times; i++)
        offenders_note(offenders, &address);
}

TEST(offenders_are_taken_once_when_they_did_enough)
{
    static const struct {
        const char *ip, *also, *shown;
        uint8_t bits;
    } cases[] = {
        { "192.0.2.1", "192.0.2.1", "192.0.2.1", 32 },
        { "2001:db8::1", "2001:db8::ffff:2", "2001:db8::", 64 },
        { "::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7", 32 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int fd;
        struct found found = { 0 };
        struct offenders *offenders = open_one(&fd);
        REQUIRE(offenders != NULL, "%s: memory", cases[i].ip);
        note(offenders, cases[i].ip, 3);
        note(offenders, cases[i].also, 2);
        note(offenders, "203.0.113.9", 1);
        offenders_take(offenders, 6, false, on_found, &found);
        CHECK(found.calls == 0, "%s: not yet", cases[i].ip);
        offenders_take(offenders, 5, false, on_found, &found);
        CHECK(found.calls == 1 && found.count == 5, "%s: %zu calls, %u", cases[i].ip, found.calls,
              found.count);
        CHECK(strcmp(found.last, cases[i].shown) == 0 && found.bits == cases[i].bits, "%s: %s/%u",
              cases[i].ip, found.last, found.bits);
        offenders_take(offenders, 1, false, on_found, &found);
        CHECK(found.calls == 2, "%s: the other one", cases[i].ip);
        offenders_unmap(offenders);
        fd_close(&fd);
    }
}

TEST(offenders_begin_anew_after_their_window)
{
    int fd;
    struct found found = { 0 };
    struct offenders *offenders = open_one(&fd);
    REQUIRE(offenders != NULL, "memory");
    note(offenders, "192.0.2.1", 9);
    offenders_take(offenders, 10, true, on_found, &found);
    note(offenders, "192.0.2.1", 9);
    offenders_take(offenders, 10, true, on_found, &found);
    CHECK(found.calls == 0, "never ten in one window");
    offenders_note(NULL, NULL);
    offenders_unmap(offenders);
    fd_close(&fd);
}

TEST(offenders_of_many_addresses_cost_no_more_than_the_table)
{
    int fd;
    struct found found = { 0 };
    struct offenders *offenders = open_one(&fd);
    REQUIRE(offenders != NULL, "memory");
    for (unsigned i = 0; i < 4 * OFFENDERS_PLACES; i++) {
        char ip[32];
        snprintf(ip, sizeof(ip), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        note(offenders, ip, 1);
    }
    offenders_take(offenders, 1, true, on_found, &found);
    CHECK(found.calls > OFFENDERS_PLACES / 2 && found.calls <= OFFENDERS_PLACES, "%zu",
          found.calls);
    note(offenders, "192.0.2.1", 1);
    offenders_take(offenders, 1, true, on_found, &found);
    CHECK(strcmp(found.last, "192.0.2.1") == 0, "there is room again");
    offenders_unmap(offenders);
    fd_close(&fd);
}
