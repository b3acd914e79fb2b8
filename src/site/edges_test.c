/*
 * Who talks to whom: whole sites and the complete list of their edges, a line each:
 * "NAME: FROM > TO PROTOCOL/PORT PRIVACY", `!` where it can be read along, @ the line of the file.
 */
#include "site/edges.h"
#include "site/site_fixture.h"

enum { LIST_SIZE = 1 << 16 };

static void write_party(struct buffer *out, const struct site_party *party)
{
    switch (party->kind) {
    case PARTY_ANYONE:
        buffer_print(out, "anyone");
        break;
    case PARTY_RESOLVERS:
        buffer_print(out, "resolvers");
        break;
    case PARTY_NETWORKS:
        buffer_print(out, "%zu networks", party->network_count);
        break;
    case PARTY_HOST:
        buffer_print(out, "%.*s%s", FMT(party->host), party->address.len > 0 ? "" : "?");
        break;
    case PARTY_SERVERS:
        for (size_t i = 0; i < party->server_count; i++)
            buffer_print(out, "%s%.*s", i > 0 ? "," : "", FMT(party->servers[i]->name));
        break;
    }
}

static void write_edges(struct buffer *out, const struct site_edge *edges, size_t count)
{
    static const char *const protocols[] = { "tcp", "udp", "vrrp" };
    static const char *const privacies[] = { "clear", "tls", "mutual", "own" };
    for (size_t i = 0; i < count; i++) {
        buffer_print(out, "%.*s: ", FMT(edges[i].name));
        write_party(out, &edges[i].from);
        buffer_print(out, " > ");
        write_party(out, &edges[i].to);
        buffer_print(out, " %s/%d %s%s @%d\n", protocols[edges[i].protocol], edges[i].port,
                     privacies[edges[i].privacy], site_edge_is_bare(&edges[i]) ? "!" : "",
                     edges[i].place.line);
    }
}

static const struct {
    const char *what, *source, *want;
} cases[] = {
    { "one server",
      "site: www.foobar.com\n"
      "listen: { http: 8080, dns: 5300 }\n"
      "app: { wsgi: \"a:b\", root: r }\n"
      "database: { name: guestbook, port: 3307 }\n"
      "dns: {}\n",
      "http: anyone > local tcp/8080 clear! @3\n"
      "dns/udp: anyone > local udp/5300 clear @5\n"
      "dns/tcp: anyone > local tcp/5300 clear @5\n" },
    { "a balancer and two backends",
      "site: www.foobar.com\n"
      "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }\n"
      "listen:   { http: 80, dns: 53 }\n"
      "balancer: { on: lb-01 }\n"
      "web:      { on: [web-01, web-02], static: { /static/: s } }\n"
      "app:      { on: [web-01, web-02], wsgi: \"a:b\", root: r }\n"
      "database:\n"
      "  on: [web-01, web-02]\n"
      "  name: guestbook\n"
      "dns:      { on: lb-01 }\n",
      "http: anyone > lb-01 tcp/80 clear! @4\n"
      "dns/udp: anyone > lb-01 udp/53 clear @10\n"
      "dns/tcp: anyone > lb-01 tcp/53 clear @10\n"
      "web: lb-01 > web-01,web-02 tcp/80 clear! @4\n"
      "app/app: web-01,web-02 > web-01,web-02 tcp/5310 clear! @6\n"
      "sql: web-01,web-02 > web-01,web-02 tcp/3306 clear! @7\n"
      "replication: web-01,web-02 > web-01,web-02 tcp/3306 clear! @7\n"
      "control: lb-01,web-01,web-02 > lb-01,web-01,web-02 tcp/5320 mutual @2\n" },
    { "the same, encrypted everywhere",
      "site: www.foobar.com\n"
      "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }\n"
      "listen:   { http: 80, https: 443, dns: 53 }\n"
      "balancer: { on: lb-01 }\n"
      "web:      { on: [web-01, web-02], static: { /static/: s } }\n"
      "app:      { on: [web-01, web-02], wsgi: \"a:b\", root: r }\n"
      "database: { on: [web-01, web-02], name: guestbook }\n"
      "tls:      { certificate: local, inside: mutual, redirect: yes }\n",
      "https: anyone > lb-01 tcp/443 tls @8\n"
      "http: anyone > lb-01 tcp/80 clear @4\n"
      "web: lb-01 > web-01,web-02 tcp/443 mutual @4\n"
      "app/app: web-01,web-02 > web-01,web-02 tcp/5310 mutual @6\n"
      "sql: web-01,web-02 > web-01,web-02 tcp/3306 mutual @7\n"
      "replication: web-01,web-02 > web-01,web-02 tcp/3306 mutual @7\n"
      "control: lb-01,web-01,web-02 > lb-01,web-01,web-02 tcp/5320 mutual @2\n" },
    { "TLS that ends at the balancer, which is a web server, too",
      "site: www.foobar.com\n"
      "servers: { a: 198.51.100.10, b: 198.51.100.11 }\n"
      "listen:   { http: 80, https: 443 }\n"
      "balancer: { on: a }\n"
      "web:      { static: { /: s } }\n"
      "tls:      { certificate: local }\n",
      "https: anyone > a tcp/443 tls @6\n"
      "http: anyone > a tcp/80 clear @4\n"
      "web: a > b tcp/80 clear! @4\n"
      "control: a,b > a,b tcp/5320 mutual @2\n" },
    { "upstreams inside and outside, by address and by name",
      "site: www.foobar.com\n"
      "servers: { a: 198.51.100.10, b: 198.51.100.11 }\n"
      "listen: { http: 80 }\n"
      "web: { on: a }\n"
      "routes:\n"
      "  - { path: /, upstream: api }\n"
      "  - { path: /one, upstream: \"https://other.example.com\" }\n"
      "  - { path: /near, upstream: \"http://127.0.0.1:9000\" }\n"
      "upstreams:\n"
      "  api: { to: [\"http://b:8000\", \"http://198.51.100.11:8001\", \"http://192.0.2.1\"] }\n",
      "http: anyone > a tcp/80 clear! @4\n"
      "upstream/api: a > b tcp/8000 clear! @10\n"
      "upstream/api/8001: a > b tcp/8001 clear! @10\n"
      "upstream/api/192.0.2.1: a > 192.0.2.1 tcp/80 clear! @10\n"
      "upstream/https://other.example.com/other.example.com: a > other.example.com? tcp/443 tls "
      "@7\n"
      "control: a,b > a,b tcp/5320 mutual @2\n"
      "names/udp: a > resolvers udp/53 clear @0\n"
      "names/tcp: a > resolvers tcp/53 clear @0\n" },
    { "connections passed on, an application of its own server, a CA",
      "site: www.foobar.com\n"
      "servers: { a: 198.51.100.10, b: '2001:db8::b' }\n"
      "listen: { http: 80, https: 443 }\n"
      "web: { on: a }\n"
      "app: { on: b, wsgi: \"a:b\", root: r }\n"
      "tcp:\n"
      "  mail: { on: a, listen: 2525, to: [\"b:25\", \"192.0.2.5:25\"] }\n"
      "tls:\n"
      "  certificate: acme\n"
      "  acme: { directory: \"https://[2001:db8::ca]:14000/dir\" }\n",
      "https: anyone > a tcp/443 tls @8\n"
      "http: anyone > a tcp/80 clear @4\n"
      "tcp/mail: anyone > a tcp/2525 own @7\n"
      "tcp/mail/to: a > b tcp/25 own @7\n"
      "tcp/mail/to/192.0.2.5:25: a > 192.0.2.5 tcp/25 own @7\n"
      "app/app: a > b tcp/5310 clear! @5\n"
      "control: a,b > a,b tcp/5320 mutual @2\n"
      "names/udp: a > resolvers udp/53 clear @0\n"
      "names/tcp: a > resolvers tcp/53 clear @0\n"
      "acme: a > 2001:db8::ca tcp/14000 tls @8\n"
      "ocsp: a > anyone tcp/80 clear @8\n" },
    { "two balancers with an address between them",
      "site: www.foobar.com\n"
      "servers: { a: 198.51.100.10, b: 198.51.100.11, c: 198.51.100.12 }\n"
      "listen: { http: 80 }\n"
      "balancer: { on: [a, b] }\n"
      "web: { on: c, static: { /: s } }\n"
      "vip: { address: 198.51.100.9 }\n",
      "http: anyone > a,b tcp/80 clear! @4\n"
      "web: a,b > c tcp/80 clear! @4\n"
      "control: a,b,c > a,b,c tcp/5320 mutual @2\n"
      "vip: a,b > a,b vrrp/0 clear @6\n" },
    { "figures for the servers and for others",
      "site: www.foobar.com\n"
      "servers: { a: 198.51.100.10, b: 198.51.100.11 }\n"
      "listen: { http: 80, metrics: 9000 }\n"
      "web: { on: a, static: { /: s } }\n"
      "monitor: { on: b,\n"
      "           scrape: [192.0.2.0/24, 192.0.3.0/24] }\n",
      "http: anyone > a tcp/80 clear! @4\n"
      "control: a,b > a,b tcp/5320 mutual @2\n"
      "metrics: a,b > a,b tcp/9000 clear @5\n"
      "metrics/scrape: 2 networks > a,b tcp/9000 clear @6\n" },
    { "a name server alone",
      "site: www.foobar.com\n"
      "servers: { a: 198.51.100.10, b: 198.51.100.11 }\n"
      "listen: { dns: 53 }\n"
      "dns: { on: b }\n",
      "dns/udp: anyone > b udp/53 clear @4\n"
      "dns/tcp: anyone > b tcp/53 clear @4\n"
      "control: a,b > a,b tcp/5320 mutual @2\n" },
};

TEST(site_edges_of_whole_sites)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out AUTO(buffer_done) = buffer_of(LIST_SIZE);
        struct arena *arena = arena_new(LIST_SIZE, 0);
        struct site *site = site_parse_good(cases[i].source);
        size_t count = 0;
        if (site != NULL) {
            const struct site_edge *edges = site_edges(site, arena, &count);
            write_edges(&out, edges, count);
        }
        CHECK(text_equal(buffer_text(&out), text_of(cases[i].want)), "%s:\n%.*s", cases[i].what,
              FMT(buffer_text(&out)));
        site_free(site);
        arena_free(arena);
    }
}

TEST(site_edges_of_one_server)
{
    struct site *site = site_parse_good(cases[1].source);
    struct arena *arena = arena_new(LIST_SIZE, 0);
    size_t count = 0;
    REQUIRE(site != NULL && site->server_count == 3, "it is good");
    const struct site_server *lb = &site->servers[0], *one = &site->servers[1];
    const struct site_edge *edges = site_edges(site, arena, &count);
    for (size_t i = 0; i < count; i++) {
        const struct site_edge *edge = &edges[i];
        bool is_door = edge->kind == EDGE_DOOR || edge->kind == EDGE_DNS;
        bool is_control = edge->kind == EDGE_CONTROL;
        CHECK(site_edge_enters(edge, lb) == (is_door || is_control), "in: %.*s", FMT(edge->name));
        CHECK(site_edge_leaves(edge, lb) == (edge->kind == EDGE_WEB || is_control), "out: %.*s",
              FMT(edge->name));
        CHECK(site_edge_enters(edge, one) == !is_door, "into web-01: %.*s", FMT(edge->name));
        CHECK(!site_edge_joins(edge, one, one), "to itself: %.*s", FMT(edge->name));
        CHECK(site_edge_joins(edge, lb, one) == (edge->kind == EDGE_WEB || is_control), "%.*s",
              FMT(edge->name));
    }
    arena_free(arena);
    site_free(site);
}

TEST(site_edges_in_too_small_an_arena)
{
    struct site *site = site_parse_good(cases[2].source);
    REQUIRE(site != NULL, "it is good");
    for (size_t limit = 0; limit < LIST_SIZE / 4; limit += 64) {
        struct arena *arena = arena_new(limit, 64);
        size_t count = 99;
        (void)site_edges(site, arena, &count);
        CHECK(count == 0 || count == 7, "all or nothing in %zu bytes: %zu", limit, count);
        arena_free(arena);
    }
    site_free(site);
}
