/*
 * The plan of a lab, from site files alone.
 */
#include "lab/plan.h"

#include "core/test.h"

static struct site *parse(const char *source)
{
    struct site *site = NULL;
    struct site_mistakes mistakes;
    enum err err = site_parse(text_of(source), "/s/site.yaml", false, &site, &mistakes);
    CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    return site;
}

static void check_address(const struct address *address, const char *want)
{
    char text[ADDRESS_TEXT_SIZE];
    address_format_ip(address, text);
    CHECK(strcmp(text, want) == 0, "%s, not %s", text, want);
}

TEST(lab_plans_networks_router_and_client)
{
    struct why why = { "" };
    struct lab_plan plan;
    struct arena *arena = arena_new(1 << 20, 0);
    struct site *site = parse("site: www.foobar.com\n"
                              "servers: { a: 198.51.100.1, b: 198.51.100.254, c: 192.0.2.9, "
                              "d: '2001:db8::1' }\n"
                              "listen: { http: 8080, dns: 5300 }\n"
                              "web: { on: [b, c], static: { /: www } }\n"
                              "dns: { on: c }\n");
    REQUIRE(site != NULL && lab_plan_make(site, arena, &plan, &why) == OK, "%s", why.text);
    CHECK(plan.node_count == 5 && plan.network_count == 4, "four servers and the client");
    CHECK(plan.nodes[0].network == plan.nodes[1].network, "one network");
    CHECK(plan.nodes[0].network != plan.nodes[2].network, "another one");
    check_address(&plan.networks[0].router, "198.51.100.253");
    check_address(&plan.networks[1].router, "192.0.2.1");
    check_address(&plan.networks[2].router, "2001:db8::fe");
    CHECK(plan.networks[2].prefix == 64, "IPv6");
    const struct lab_node *client = lab_node_find(&plan, T("client"));
    REQUIRE(client == &plan.nodes[4] && client->server == NULL, "the client is last");
    check_address(&client->address, "203.0.113.10");
    check_address(&plan.entry, "198.51.100.254");
    CHECK(address_port(&plan.entry) == 8080, "its port");
    check_address(&plan.resolver, "192.0.2.9");
    site_free(site);
    arena_free(arena);
}

#define FIRST                                                                                      \
    "site: www.foobar.com\nservers: { a: 198.51.100.1, b: 198.51.100.2, c: 192.0.2.9 }\ndns: {}\n"

TEST(lab_plan_keeps_links_and_networks_of_a_changed_file)
{
    static const struct {
        const char *what, *source;
        size_t networks;
        const char *links[4]; /* of x, b, c, client */
        const char *want;     /* the reason; NULL: it can be kept */
    } cases[] = {
        { "one goes, one comes",
          "site: www.foobar.com\nservers: { x: 10.0.0.1, c: 192.0.2.9, b: 198.51.100.2 }\ndns: "
          "{}\n",
          4,
          { "n4", "n1", "n2", "n3" },
          NULL },
        { "the client's network",
          "site: www.foobar.com\nservers: { x: 203.0.113.9 }\ndns: {}\n",
          0,
          { NULL },
          "the servers now use the network of the lab's client" },
        { "the router's address",
          "site: www.foobar.com\nservers: { x: 192.0.2.1 }\ndns: {}\n",
          0,
          { NULL },
          "the lab's router has the address of server 'x' already" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        static const char *const names[] = { "x", "b", "c", "client" };
        struct why why = { "" };
        struct lab_plan old, next;
        struct arena *arena = arena_new(1 << 20, 0);
        struct site *first = parse(FIRST), *second = parse(cases[i].source);
        REQUIRE(first != NULL && lab_plan_make(first, arena, &old, &why) == OK, "%s", why.text);
        REQUIRE(second != NULL && lab_plan_make(second, arena, &next, &why) == OK, "%s", why.text);
        enum err err = lab_plan_keep(&old, &next, &why);
        CHECK((err == OK) == (cases[i].want == NULL), "%s: %s", cases[i].what, why.text);
        CHECK(err == OK || strcmp(why.text, cases[i].want) == 0, "%s", why.text);
        CHECK(err != OK || next.network_count == cases[i].networks, "%zu", next.network_count);
        for (size_t j = 0; err == OK && j < COUNT(names); j++) {
            const struct lab_node *node = lab_node_find(&next, text_of(names[j]));
            const struct lab_node *before = lab_node_find(&old, text_of(names[j]));
            CHECK(node != NULL && strcmp(node->link, cases[i].links[j]) == 0, "%s", names[j]);
            CHECK(before == NULL || node->network == before->network, "%s", names[j]);
        }
        site_free(first);
        site_free(second);
        arena_free(arena);
    }
}

TEST(lab_plan_gives_names_to_machines)
{
    struct why why = { "" };
    struct lab_plan plan;
    struct buffer hosts AUTO(buffer_done) = buffer_of(4096);
    struct arena *arena = arena_new(1 << 20, 0);
    struct site *site = parse("site: a.b.c\n"
                              "servers: { one: 192.0.2.1, two: 192.0.2.2 }\n"
                              "dns: { on: one }\n");
    REQUIRE(site != NULL && lab_plan_make(site, arena, &plan, &why) == OK, "%s", why.text);
    lab_plan_hosts(&plan, &plan.nodes[0], &hosts);
    CHECK(text_equal(buffer_text(&hosts), T("127.0.0.1 localhost\n::1 localhost\n192.0.2.1 one\n"
                                            "192.0.2.2 two\n203.0.113.10 client\n")),
          "%.*s", FMT(buffer_text(&hosts)));
    CHECK(plan.entry.len == 0, "no web server, no entry");
    site_free(site);
    arena_free(arena);
}

TEST(lab_plan_refuses_what_cannot_be_laid_out)
{
    static const struct {
        const char *source;
        const char *want; /* a part of the reason */
    } cases[] = {
        { "site: a.b.c\ndns: {}\n", "trilith up" },
        { "site: a.b.c\nservers: { a: 203.0.113.1, b: 198.51.100.1, c: 192.0.2.1 }\n"
          "dns: { on: a }\n",
          "documentation ranges" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct why why = { "" };
        struct lab_plan plan;
        struct arena *arena = arena_new(1 << 20, 0);
        struct site *site = parse(cases[i].source);
        REQUIRE(site != NULL, "is read");
        CHECK(lab_plan_make(site, arena, &plan, &why) != OK, "refused");
        CHECK(strstr(why.text, cases[i].want) != NULL, "%s", why.text);
        site_free(site);
        arena_free(arena);
    }
}
