/* Bans: added, prolonged, over, written and read. */
#include "firewall/bans.h"

#include "core/test.h"

#include <stdio.h>

static struct network who(const char *ip)
{
    struct address address;
    struct network network = { 0 };
    CHECK(address_parse_ip(text_of(ip), 0, &address) == OK && ban_of(&address, &network), "%s", ip);
    return network;
}

TEST(bans_are_of_an_address_or_of_a_network_of_ipv6)
{
    static const struct {
        const char *ip, *shown;
    } cases[] = {
        { "192.0.2.1", "192.0.2.1" },
        { "2001:db8::1", "2001:db8::/64" },
        { "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64" },
        { "::ffff:192.0.2.1", "192.0.2.1" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char shown[ADDRESS_TEXT_SIZE];
        struct network network = who(cases[i].ip);
        ban_format(&network, shown);
        CHECK(strcmp(shown, cases[i].shown) == 0, "%s is %s", cases[i].ip, shown);
    }
}

TEST(bans_end)
{
    struct bans bans = { 0 };
    struct network a = who("192.0.2.1"), b = who("2001:db8::1"), same = who("2001:db8::2");
    CHECK(bans_add(&bans, &a, 100, T("first")) == OK, "one");
    CHECK(bans_add(&bans, &b, 200, T("second")) == OK, "two");
    CHECK(bans_add(&bans, &same, 150, T("again\n")) == OK && bans.count == 2, "the same network");
    CHECK(bans_find(&bans, &b)->until_s == 200, "no ban gets shorter");
    CHECK(strcmp(bans_find(&bans, &b)->why, "again?") == 0, "%s", bans_find(&bans, &b)->why);
    CHECK(bans_expire(&bans, 99) == 0 && bans_expire(&bans, 100) == 1, "one is over");
    CHECK(bans_find(&bans, &a) == NULL && bans.count == 1, "the first");
    CHECK(bans_remove(&bans, &same) && !bans_remove(&bans, &same) && bans.count == 0, "removed");
    bans_done(&bans);
}

TEST(bans_are_bounded)
{
    struct bans bans = { 0 };
    for (unsigned i = 0; i < BANS_LIMIT; i++) {
        struct network network = { .is_v4 = true, .bits = 32 };
        network.ip[0] = 10;
        network.ip[2] = (uint8_t)(i >> 8);
        network.ip[3] = (uint8_t)i;
        REQUIRE(bans_add(&bans, &network, 100, T("")) == OK, "%u", i);
    }
    struct network one_more = who("192.0.2.1");
    CHECK(bans_add(&bans, &one_more, 100, T("")) == ERR_LIMIT, "too many");
    bans_done(&bans);
}

TEST(bans_survive_a_restart)
{
    struct bans bans = { 0 }, read = { 0 };
    struct buffer text = buffer_of(65536);
    struct network a = who("192.0.2.1"), b = who("2001:db8::1"), c = who("192.0.2.3");
    CHECK(bans_add(&bans, &a, 100, T("a \"word\"")) == OK &&
              bans_add(&bans, &b, 200, T("second")) == OK &&
              bans_add(&bans, &c, 50, T("short")) == OK,
          "added");
    bans_write(&bans, &text);
    REQUIRE(bans_read(buffer_text(&text), 60, &read) == OK, "%.*s", FMT(buffer_text(&text)));
    CHECK(read.count == 2 && bans_find(&read, &c) == NULL, "what is over is forgotten");
    CHECK(bans_find(&read, &b)->until_s == 200, "its end");
    CHECK(strcmp(bans_find(&read, &a)->why, "a \"word\"") == 0, "its reason");
    bans_done(&bans);
    bans_done(&read);
    buffer_done(&text);
}

TEST(bans_that_are_no_list_are_refused)
{
    static const char *const cases[] = {
        "",
        "{}",
        "[{}]",
        "[{\"address\":\"web-01\",\"until\":100,\"why\":\"\"}]",
        "[{\"address\":\"192.0.2.1\",\"until\":\"soon\",\"why\":\"\"}]",
        "[{\"address\":\"192.0.2.1\",\"until\":100}]",
        "[{\"address\":\"192.0.2.1\",\"until\":100,\"why\":\"\"}",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bans bans = { 0 };
        CHECK(bans_read(text_of(cases[i]), 1, &bans) == ERR_SYNTAX && bans.items == NULL, "%s",
              cases[i]);
    }
}
