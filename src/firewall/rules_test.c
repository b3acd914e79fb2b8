/* Plans and rules: what is open at a server of a site, and what nft is told. */
#include "firewall/rules.h"

#include "core/memory.h"
#include "core/test.h"
#include "firewall/kernel.h"
#include "site/site_fixture.h"

#include <jansson.h>
#include <stdio.h>

#define SITE                                                                                       \
    "site: www.foobar.com\n"                                                                       \
    "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }\n"            \
    "listen: { http: 80, https: 443, dns: 53 }\n"                                                  \
    "balancer: { on: lb-01 }\n"                                                                    \
    "web: { on: [web-01, web-02], static: { /: files } }\n"                                        \
    "dns: { on: lb-01 }\n"                                                                         \
    "tls: { certificate: local, inside: mutual }\n"

#define FIREWALL "firewall: { admin: [192.0.2.0/24, '2001:db8::/32'] }\n"

enum { ARENA = 1 << 20, RULES = 1 << 20 };

struct made {
    struct site *site;
    struct arena *arena;
    struct firewall_plan plan;
};

static struct made make(const char *source, const char *server)
{
    struct made made = { .site = site_parse_good(source), .arena = arena_new(ARENA, 0) };
    const struct site_server *self = site_server_find(made.site, text_of(server));
    enum err err = firewall_plan_make(made.site, self != NULL ? self : &made.site->servers[0],
                                      made.arena, &made.plan);
    CHECK(err == OK, "%s", err_text(err));
    return made;
}

static void drop(struct made *made)
{
    arena_free(made->arena);
    site_free(made->site);
}

/* "in/https in/http out/web" */
static void write_ways(const struct firewall_plan *plan, struct buffer *out)
{
    for (size_t i = 0; i < plan->way_count; i++)
        buffer_print(out, "%s%s", i > 0 ? " " : "", plan->ways[i].counter);
}

TEST(firewall_opens_what_the_server_needs)
{
    static const struct {
        const char *what, *source, *server, *want;
    } cases[] = {
        { "the balancer", SITE FIREWALL, "lb-01",
          "in/https in/http in/dns/udp in/dns/tcp in/control in/ssh out/web out/control" },
        { "a web server", SITE FIREWALL, "web-01",
          "in/web in/control in/ssh out/https out/http out/dns/udp out/dns/tcp out/control" },
        { "without ssh", SITE "firewall: { admin: none }\n", "web-01",
          "in/web in/control out/https out/http out/dns/udp out/dns/tcp out/control" },
        { "more ways",
          SITE "firewall: { admin: none, incoming: [{ from: any, port: 9100, on: web-01 }], "
               "outgoing: [{ to: [203.0.113.0/24], port: 25, on: web-02 }] }\n",
          "web-01",
          "in/web in/control in/incoming/9100.1 out/https out/http out/dns/udp out/dns/tcp "
          "out/control" },
        { "and their other end",
          SITE "firewall: { admin: none, incoming: [{ from: any, port: 9100, on: web-01 }], "
               "outgoing: [{ to: [203.0.113.0/24], port: 25, on: web-02 }] }\n",
          "web-02",
          "in/web in/control out/https out/http out/dns/udp out/dns/tcp out/control "
          "out/incoming/9100.1 out/outgoing/25.2" },
        { "one server",
          "site: www.foobar.com\nlisten: { http: 80 }\nweb: { static: { /: f } }\n"
          "firewall: audit\n",
          "", "in/http" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer ways = buffer_of(65536);
        struct made made = make(cases[i].source, cases[i].server);
        write_ways(&made.plan, &ways);
        CHECK(text_equal(buffer_text(&ways), text_of(cases[i].want)), "%s: %.*s", cases[i].what,
              FMT(buffer_text(&ways)));
        buffer_done(&ways);
        drop(&made);
    }
}

TEST(firewall_means_ways_from_server_to_server)
{
    static const struct {
        const char *from, *to;
        enum site_protocol protocol;
        uint16_t port;
        bool want;
    } cases[] = {
        { "lb-01", "web-01", PROTOCOL_TCP, 443, true },   /* the balancer's way */
        { "web-02", "web-01", PROTOCOL_TCP, 443, false }, /* no other web server's */
        { "web-01", "lb-01", PROTOCOL_TCP, 443, true },   /* what is public, is for all */
        { "web-01", "lb-01", PROTOCOL_UDP, 53, true },
        { "lb-01", "web-01", PROTOCOL_UDP, 53, false },
        { "web-01", "web-02", PROTOCOL_TCP, 5320, true },
        { "web-01", "web-01", PROTOCOL_TCP, 5320, false },
        { "web-01", "web-02", PROTOCOL_TCP, 22, false }, /* no administrator */
        { "web-01", "web-02", PROTOCOL_TCP, 80, false },
    };
    struct made made = make(SITE FIREWALL, "lb-01");
    for (size_t i = 0; i < COUNT(cases); i++) {
        bool means = firewall_means(made.plan.edges, made.plan.edge_count,
                                    site_server_find(made.site, text_of(cases[i].from)),
                                    site_server_find(made.site, text_of(cases[i].to)),
                                    cases[i].protocol, cases[i].port);
        CHECK(means == cases[i].want, "%s to %s %d", cases[i].from, cases[i].to, cases[i].port);
    }
    drop(&made);
}

static json_t *written(const struct rules_request *request)
{
    struct buffer text = buffer_of(RULES);
    rules_write(request, &text);
    json_t *all = json_loadb(text.data, text.len, 0, NULL);
    CHECK(!text.failed && all != NULL, "JSON");
    buffer_done(&text);
    return all;
}

/* How many commands of that verb and kind have this text in them. */
static size_t count_commands(const json_t *all, const char *verb, const char *what,
                             const char *part)
{
    json_t *item;
    size_t index, count = 0;
    json_array_foreach(json_object_get(all, "nftables"), index, item)
    {
        json_t *object = json_object_get(json_object_get(item, verb), what);
        char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
        count += text != NULL && strstr(text, part) != NULL;
        memory_free(text);
    }
    return count;
}

TEST(firewall_rules_stay_in_their_own_table)
{
    struct made made = make(SITE FIREWALL, "web-01");
    struct rules_request request = { .plan = &made.plan };
    json_t *all = written(&request), *item, *object;
    const char *verb, *what;
    json_t *command;
    size_t index;
    json_array_foreach(json_object_get(all, "nftables"), index, item)
    {
        json_object_foreach(item, verb, command)
        {
            json_object_foreach(command, what, object)
            {
                const char *name = strcmp(what, "table") == 0 ? "name" : "table";
                const char *table = json_string_value(json_object_get(object, name));
                const char *family = json_string_value(json_object_get(object, "family"));
                CHECK(table != NULL && strcmp(table, "trilith") == 0, "%s %s", verb, what);
                CHECK(family != NULL && strcmp(family, "inet") == 0, "%s %s", verb, what);
                CHECK(strcmp(what, "ruleset") != 0, "never all");
            }
        }
    }
    json_decref(all);
    drop(&made);
}

TEST(firewall_rules_say_why)
{
    struct made made = make(SITE FIREWALL, "web-01");
    struct rules_request request = { .plan = &made.plan };
    json_t *all = written(&request);
    CHECK(count_commands(all, "add", "rule", "site.yaml:8 ssh: people look after") == 2,
          "both families, with the line");
    CHECK(count_commands(all, "add", "rule", "\"addr\":\"2001:db8::\",\"len\":32") == 1, "IPv6");
    CHECK(count_commands(all, "add", "rule", "\"in/web\"") == 1, "its counter");
    CHECK(count_commands(all, "add", "rule", "[\"198.51.100.10\"]") >= 1, "from the balancer");
    CHECK(count_commands(all, "add", "chain", "\"policy\":\"drop\"") == 2, "in and out");
    CHECK(count_commands(all, "add", "rule", "\"jump\"") == 0, "nothing is public here");
    json_decref(all);
    drop(&made);
}

TEST(firewall_of_mode_audit_keeps_nothing_out)
{
    struct made made = make(SITE "firewall: audit\n", "lb-01");
    struct rules_request request = { .plan = &made.plan };
    json_t *all = written(&request);
    CHECK(count_commands(all, "add", "rule", "\"drop\"") == 0, "no drop");
    CHECK(count_commands(all, "add", "rule", "\"reject\"") == 0, "no reject");
    CHECK(count_commands(all, "add", "chain", "\"policy\":\"drop\"") == 0, "no policy");
    CHECK(count_commands(all, "add", "rule", "dropped_in") == 1, "but it is counted");
    CHECK(count_commands(all, "add", "rule", "\"limited\"") == 6, "limits, too");
    json_decref(all);
    drop(&made);
}

TEST(firewall_counters_survive)
{
    struct made made = make(SITE FIREWALL, "lb-01");
    struct firewall_count items[] = { { "in/https", 7, 420, true },
                                      { "in/gone", 1, 60, true },
                                      { "in/ssh", 3, 180, false } };
    struct firewall_counts counts = { items, COUNT(items) };
    struct rules_request request = { .plan = &made.plan, .counts = &counts };
    json_t *all = written(&request);
    CHECK(count_commands(all, "delete", "counter", "") == 1, "one goes");
    CHECK(count_commands(all, "delete", "counter", "in/gone") == 1, "the one of no way");
    CHECK(count_commands(all, "add", "counter", "\"packets\":3,\"bytes\":180") == 1, "as it stood");
    CHECK(count_commands(all, "delete", "table", "") == 0, "the table stays");
    json_decref(all);
    request.is_fresh = true;
    all = written(&request);
    CHECK(count_commands(all, "delete", "counter", "") == 0, "they went with the table");
    CHECK(count_commands(all, "delete", "table", "") == 1, "which is made anew");
    CHECK(count_commands(all, "add", "counter", "\"packets\":7,\"bytes\":420") == 1, "as it stood");
    json_decref(all);
    drop(&made);
}

TEST(firewall_of_a_change_holds_both_but_for_the_control_channel)
{
    struct made now = make(SITE FIREWALL, "web-01");
    struct made next = make("site: www.foobar.com\n"
                            "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: "
                            "198.51.100.99 }\n"
                            "listen: { https: 8443, control: 5320 }\n"
                            "balancer: { on: lb-01 }\n"
                            "web: { on: [web-01, web-02], static: { /: files } }\n"
                            "tls: { certificate: local, inside: mutual }\n"
                            "firewall: { admin: none }\n",
                            "web-01");
    struct rules_request request = { .plan = &next.plan, .also = &now.plan };
    json_t *all = written(&request);
    CHECK(count_commands(all, "add", "rule", "\"right\":8443") > 0, "the new port");
    CHECK(count_commands(all, "add", "rule", "\"right\":443") > 0, "the old one still");
    CHECK(count_commands(all, "add", "rule", "in/ssh") > 0, "and ssh");
    CHECK(count_commands(all, "add", "rule", "198.51.100.99") > 0, "the new address");
    bool has_old = false;
    json_t *item;
    size_t index;
    json_array_foreach(json_object_get(all, "nftables"), index, item)
    {
        char *text = json_dumps(item, JSON_COMPACT);
        has_old = has_old || (strstr(text, "/control\"") != NULL && strstr(text, "100.12") != NULL);
        memory_free(text);
    }
    CHECK(!has_old, "the control channel by the new file only");
    json_decref(all);
    drop(&now);
    drop(&next);
}

TEST(firewall_bans_are_in_the_first_transaction)
{
    struct made made = make(SITE FIREWALL, "lb-01");
    struct bans bans = { 0 };
    struct address address;
    struct network v4, v6;
    CHECK(address_parse_ip(T("203.0.113.7"), 0, &address) == OK && ban_of(&address, &v4), "v4");
    CHECK(address_parse_ip(T("2001:db8::7"), 0, &address) == OK && ban_of(&address, &v6), "v6");
    CHECK(bans_add(&bans, &v4, 160, T("")) == OK && bans_add(&bans, &v6, 130, T("")) == OK, "two");
    struct rules_request request = { .plan = &made.plan, .bans = &bans, .now_s = 100 };
    json_t *all = written(&request);
    CHECK(count_commands(all, "add", "element", "{\"val\":\"203.0.113.7\",\"timeout\":60}") == 1,
          "what is left of it");
    CHECK(count_commands(all, "add", "element", "{\"val\":\"2001:db8::\",\"timeout\":30}") == 1,
          "the network");
    json_decref(all);
    bans_done(&bans);
    drop(&made);
}

TEST(firewall_networks_in_networks_are_named_once)
{
    struct made made =
        make(SITE "firewall: { admin: [10.1.0.0/16, 10.0.0.0/8, 10.0.0.0/8] }\n", "lb-01");
    struct rules_request request = { .plan = &made.plan };
    json_t *all = written(&request);
    CHECK(count_commands(all, "add", "rule",
                         "{\"set\":[{\"prefix\":{\"addr\":\"10.0.0.0\",\"len\":8}}]}") >= 1,
          "the widest alone");
    CHECK(count_commands(all, "add", "rule", "10.1.0.0") == 0, "nothing inside of it");
    json_decref(all);
    drop(&made);
}
