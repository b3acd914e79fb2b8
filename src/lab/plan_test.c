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
