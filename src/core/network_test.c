/* Networks: what is read, what is refused, who is in. */
#include "core/network.h"
#include "core/test.h"

TEST(network_reads_what_is_one)
{
    static const struct {
        const char *text;
        enum err err;
        int bits;
    } cases[] = {
        { "192.0.2.0/24", OK, 24 },
        { "192.0.2.1", OK, 32 },
        { "0.0.0.0/0", OK, 0 },
        { "2001:db8::/32", OK, 32 },
        { "[2001:db8::]/32", OK, 32 },
        { "2001:db8::1", OK, 128 },
        { "::/0", OK, 0 },
        { "192.0.2.1/24", ERR_RANGE, 0 },
        { "192.0.2.128/24", ERR_RANGE, 0 },
        { "2001:db8::1/64", ERR_RANGE, 0 },
        { "192.0.2.0/33", ERR_SYNTAX, 0 },
        { "192.0.2.0/", ERR_SYNTAX, 0 },
        { "192.0.2/24", ERR_SYNTAX, 0 },
        { "", ERR_SYNTAX, 0 },
        { "/24", ERR_SYNTAX, 0 },
        { "::ffff:192.0.2.0/120", ERR_SYNTAX, 0 },
        { "all", ERR_SYNTAX, 0 },
        { "192.0.2.0/2 4", ERR_SYNTAX, 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct network network = { .bits = 255 };
        enum err err = network_parse(text_of(cases[i].text), &network);
        CHECK(err == cases[i].err, "%s: %s", cases[i].text, err_text(err));
        CHECK(err != OK || network.bits == cases[i].bits, "%s: %d", cases[i].text, network.bits);
    }
}

TEST(network_knows_its_members)
{
    static const struct {
        const char *network, *address;
        bool is_in;
    } cases[] = {
        { "192.0.2.0/24", "192.0.2.255", true },
        { "192.0.2.0/24", "192.0.3.0", false },
        { "192.0.2.0/25", "192.0.2.127", true },
        { "192.0.2.0/25", "192.0.2.128", false },
        { "192.0.2.1", "192.0.2.1", true },
        { "192.0.2.1", "192.0.2.0", false },
        { "0.0.0.0/0", "255.255.255.255", true },
        { "0.0.0.0/0", "::1", false },
        { "::/0", "2001:db8::1", true },
        { "::/0", "192.0.2.1", false },
        { "192.0.2.0/24", "::ffff:192.0.2.9", true },
        { "2001:db8::/33", "2001:db8:7fff::", true },
        { "2001:db8::/33", "2001:db8:8000::", false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct network network;
        struct address address;
        REQUIRE(network_parse(text_of(cases[i].network), &network) == OK, "%s", cases[i].network);
        REQUIRE(address_parse_ip(text_of(cases[i].address), 1, &address) == OK, "address");
        CHECK(network_contains(&network, &address) == cases[i].is_in, "%s in %s", cases[i].address,
              cases[i].network);
        CHECK(networks_contain(&network, 1, &address) == cases[i].is_in, "as a list");
    }
    struct address local;
    struct network all;
    REQUIRE(address_from_path(T("/run/x"), &local) == OK && network_parse(T("::/0"), &all) == OK,
            "a Unix socket");
    CHECK(!network_contains(&all, &local), "is in no network");
}
