/*
 * What is said of whole sites: every finding with its element and line, and nothing else. The four
 * infrastructures of the examples, each without what the one before was told, and others of which
 * each has its own weakness.
 */
#include "audit/finding.h"
#include "audit/report.h"
#include "site/site_fixture.h"

#define SERVERS                                                                                    \
    "site: www.foobar.com\n"                                                                       \
    "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }\n"            \
    "listen:   { http: 80, dns: 53 }\n"                                                            \
    "balancer: { on: lb-01, algorithm: round-robin }\n"

static const struct {
    const char *what, *source, *want;
} cases[] = {
    { "one server on its own machine",
      "site: www.foobar.com\n"
      "listen: { http: 8080, dns: 5300 }\n"
      "app: { wsgi: \"a:b\", root: r, workers: 2 }\n"
      "database: { name: guestbook }\n"
      "dns: {}\n",
      "high single-server this machine @1\n"
      "medium maintenance-downtime this machine @1\n"
      "medium not-scalable this machine @1\n"
      "medium no-monitoring www.foobar.com @1\n"
      "medium no-backup guestbook @4\n"
      "low no-https www.foobar.com @3\n"
      "low no-firewall www.foobar.com @1\n" },
    { "a balancer before two servers",
      SERVERS "web: { on: [web-01, web-02], static: { /static/: s } }\n"
              "app: { on: [web-01, web-02], wsgi: \"a:b\", root: r, workers: 2 }\n"
              "database: { on: [web-01, web-02], name: guestbook, reads: replica }\n"
              "dns: { on: lb-01 }\n",
      "high single-balancer lb-01 @4\n"
      "high no-https www.foobar.com @4\n"
      "high no-firewall www.foobar.com @1\n"
      "medium single-writable-database web-01 @7\n"
      "medium single-name-server lb-01 @8\n"
      "medium cleartext-inside web, app/app, sql, replication @4\n"
      "medium no-monitoring www.foobar.com @1\n"
      "medium async-replication web-01 @7\n"
      "medium no-backup guestbook @7\n"
      "low fate-unknown web-01 and web-02 @2\n"
      "low all-in-one web-01 and web-02 @7\n" },
    { "the same with TLS that ends at the balancer",
      SERVERS "web: { on: [web-01, web-02], static: { /static/: s } }\n"
              "app: { on: [web-01, web-02], wsgi: \"a:b\", root: r, workers: 2 }\n"
              "database: { on: [web-01, web-02], name: guestbook, reads: replica }\n"
              "tls: { certificate: acme, hsts: 1y }\n",
      "high single-balancer lb-01 @4\n"
      "high no-firewall www.foobar.com @1\n"
      "medium single-writable-database web-01 @7\n"
      "medium tls-ends-at-balancer lb-01 @8\n"
      "medium cleartext-inside app/app, sql, replication @6\n"
      "medium no-monitoring www.foobar.com @1\n"
      "medium async-replication web-01 @7\n"
      "medium no-backup guestbook @7\n"
      "low fate-unknown web-01 and web-02 @2\n"
      "low all-in-one web-01 and web-02 @7\n" },
    { "encrypted everywhere, watched",
      SERVERS "web: { on: [web-01, web-02], static: { /static/: s } }\n"
              "app: { on: [web-01, web-02], wsgi: \"a:b\", root: r, workers: 2 }\n"
              "database: { on: [web-01, web-02], name: guestbook, reads: replica }\n"
              "tls: { certificate: acme, inside: mutual, hsts: 1y }\n"
              "monitor: { on: lb-01 }\n",
      "high single-balancer lb-01 @4\n"
      "high no-firewall www.foobar.com @1\n"
      "medium single-writable-database web-01 @7\n"
      "medium no-receiver www.foobar.com @9\n"
      "medium async-replication web-01 @7\n"
      "medium no-backup guestbook @7\n"
      "low fate-unknown web-01 and web-02 @2\n"
      "low all-in-one web-01 and web-02 @7\n"
      "low monitor-falls-too lb-01 @9\n" },
    { "nothing single but the writable database, what is known accepted",
      "site: www.foobar.com\n"
      "servers:\n"
      "  lb-01: { address: 198.51.100.11, rack: r1 }\n"
      "  lb-02: { address: 203.0.113.12, rack: r2 }\n"
      "  web-01: { address: 198.51.100.21, rack: r1 }\n"
      "  web-02: { address: 198.51.100.22, rack: r2 }\n"
      "  app-01: { address: 198.51.100.31, rack: r1 }\n"
      "  app-02: { address: 198.51.100.32, rack: r2 }\n"
      "  db-01: { address: 198.51.100.41, rack: r1 }\n"
      "  db-02: { address: 198.51.100.42, rack: r2 }\n"
      "  db-03: { address: 198.51.100.43, rack: r3 }\n"
      "balancer: { on: [lb-01, lb-02] }\n"
      "vip: { address: 198.51.100.10, interval: 10ms }\n"
      "web: { on: [web-01, web-02] }\n"
      "app: { on: [app-01, app-02], wsgi: \"a:b\", root: r, workers: 2 }\n"
      "database: { on: [db-01, db-02, db-03], name: g, reads: replica, replication: semi-sync }\n"
      "dns: { on: [lb-01, lb-02] }\n"
      "tls: { certificate: acme, inside: mutual, hsts: 1y }\n"
      "objectives: { link-loss: 60ms, writes-lost: 0 }\n"
      "audit: { accept: [no-firewall, no-backup g, no-monitoring x] }\n",
      "borne no-firewall www.foobar.com @1\n"
      "medium single-writable-database db-01 @16\n"
      "medium no-monitoring www.foobar.com @1\n"
      "borne no-backup g @16\n"
      "low accept-unused no-monitoring @20\n" },
    { "the database on the balancer's server",
      SERVERS "web: { on: [web-01, web-02], static: { /static/: s } }\n"
              "app: { on: [web-01, web-02], wsgi: \"a:b\", root: r, workers: 2 }\n"
              "database: { on: lb-01, name: guestbook }\n"
              "tls: { certificate: acme, inside: mutual, hsts: 1y }\n",
      "high single-balancer lb-01 @4\n"
      "high single-database lb-01 @7\n"
      "high no-firewall www.foobar.com @1\n"
      "medium no-monitoring www.foobar.com @1\n"
      "medium no-backup guestbook @7\n"
      "low fate-unknown web-01 and web-02 @2\n" },
    { "two balancers in one rack, without a virtual address",
      "site: www.foobar.com\n"
      "servers: { a: { address: 192.0.2.1, rack: r1 }, b: { address: 192.0.2.2, rack: r1 },\n"
      "           c: { address: 192.0.2.3, rack: r2 }, d: { address: 192.0.2.4, rack: r3 } }\n"
      "balancer: { on: [a, b] }\n"
      "web: { on: [c, d], static: { /: f } }\n"
      "tls: { certificate: acme, inside: mutual, hsts: 1y }\n",
      "high shared-fate rack r1 @2\n"
      "high no-firewall www.foobar.com @1\n"
      "medium no-virtual-address a and b @4\n"
      "medium no-monitoring www.foobar.com @1\n" },
    { "an address with one server, two servers alone, adverts too slow",
      "site: www.foobar.com\n"
      "servers: { a: { address: 192.0.2.1, rack: r1 }, b: { address: 192.0.2.2, rack: r2 } }\n"
      "web: { static: { /: f } }\n"
      "vip: { address: 192.0.2.9, on: a }\n"
      "tls: { certificate: acme, inside: mutual, hsts: 1y }\n"
      "objectives: { link-loss: 60ms }\n",
      "high vip-one-candidate a @4\n"
      "high no-firewall www.foobar.com @1\n"
      "medium vip-no-witness a @4\n"
      "medium no-monitoring www.foobar.com @1\n"
      "medium link-loss-missed vip @6\n" },
    { "one application server, one replica that writes wait for",
      "site: www.foobar.com\n"
      "servers: { a: { address: 192.0.2.1, rack: r1 }, b: { address: 192.0.2.2, rack: r2 },\n"
      "           c: { address: 192.0.2.3, rack: r3 } }\n"
      "balancer: { on: [a, b] }\n"
      "vip: { address: 192.0.2.9, interval: 10ms }\n"
      "web: { on: [a, b] }\n"
      "app: { on: c, wsgi: \"a:b\", root: r, workers: 2 }\n"
      "database: { on: [a, b], name: g, replication: semi-sync }\n"
      "tls: { certificate: acme, inside: mutual, hsts: 1y }\n",
      "high single-app c @7\n"
      "high no-firewall www.foobar.com @1\n"
      "medium single-writable-database a @8\n"
      "medium reads-on-primary a @8\n"
      "medium semi-sync-one-replica b @8\n"
      "medium no-monitoring www.foobar.com @1\n"
      "medium no-backup g @8\n" },
    { "HTTPS that is not forced, a CA of its own, no HSTS",
      "site: www.foobar.com\n"
      "servers: { a: { address: 192.0.2.1, rack: r1 }, b: { address: 192.0.2.2, rack: r2 } }\n"
      "web: { static: { /: f } }\n"
      "tls: { certificate: local, redirect: no, inside: mutual }\n",
      "high no-firewall www.foobar.com @1\n"
      "medium no-virtual-address a and b @3\n"
      "medium https-not-forced www.foobar.com @4\n"
      "medium no-monitoring www.foobar.com @1\n"
      "low local-authority www.foobar.com @4\n" },
    { "upstreams in cleartext, unchecked, single; checks that see nothing",
      "site: www.foobar.com\n"
      "servers: { a: { address: 192.0.2.1, rack: r1 }, b: { address: 192.0.2.2, rack: r2 } }\n"
      "balancer: { on: [a, b], check: { type: tcp } }\n"
      "web: { on: [a, b] }\n"
      "vip: { address: 192.0.2.9, interval: 10ms }\n"
      "routes:\n"
      "  - { path: /, upstream: api }\n"
      "  - { path: /old, upstream: \"https://old.example.com\" }\n"
      "upstreams:\n"
      "  api: { to: [\"http://203.0.113.1:80\", \"http://203.0.113.2:80\"] }\n"
      "  new: { to: [\"https://n1.example.com\", \"https://n2.example.com\"],\n"
      "         check: { status: 200-599 } }\n"
      "tls: { certificate: acme, inside: mutual, hsts: 1y }\n",
      "high no-firewall www.foobar.com @1\n"
      "medium single-upstream old.example.com @8\n"
      "medium vip-no-witness a and b @5\n"
      "medium cleartext-upstream upstream/api/203.0.113.1:80 @10\n"
      "medium cleartext-upstream upstream/api/203.0.113.2:80 @10\n"
      "medium no-monitoring www.foobar.com @1\n"
      "medium check-cannot-fail upstream/new @11\n"
      "low shallow-check web @3\n"
      "low no-check upstream/api @10\n" },
    { "secrets, root, trust in anyone, more workers than connections",
      "site: www.foobar.com\n"
      "servers: { a: 192.0.2.1 }\n"
      "listen: { http: 80 }\n"
      "web: { trusted: [0.0.0.0/0] }\n"
      "app: { wsgi: \"a:b\", root: r, workers: 30, user: root,\n"
      "       environment: { API_TOKEN: abc, SECRET_KEY: { file: key }, LANG: C } }\n"
      "database: { name: g, connections: 20 }\n"
      "tls: { certificate: acme, hsts: 1y }\n"
      "monitor: {}\n",
      "high single-server a @2\n"
      "high no-firewall www.foobar.com @1\n"
      "high trusts-anyone web.trusted @4\n"
      "high runs-as-root app @5\n"
      "medium maintenance-downtime a @2\n"
      "medium not-scalable a @2\n"
      "medium no-receiver www.foobar.com @9\n"
      "medium no-backup g @7\n"
      "medium few-connections g @7\n"
      "medium secret-in-file API_TOKEN @5\n" },
    { "promises that cannot be kept",
      "site: www.foobar.com\n"
      "servers: { a: { address: 192.0.2.1, rack: r1 }, b: { address: 192.0.2.2, rack: r2 } }\n"
      "web: {}\n"
      "app: { wsgi: \"a:b\", root: r, workers: 2 }\n"
      "database: { name: g, reads: replica }\n"
      "tls: { certificate: acme, inside: mutual, hsts: 1y }\n"
      "objectives: { availability: 99.99%, database-failover: 5s, writes-lost: 0 }\n",
      "high no-firewall www.foobar.com @1\n"
      "high async-replication a @5\n"
      "medium single-writable-database a @5\n"
      "medium no-virtual-address a and b @3\n"
      "medium no-monitoring www.foobar.com @1\n"
      "medium no-backup g @5\n"
      "medium availability-missed www.foobar.com @7\n"
      "medium failover-missed a @7\n"
      "low all-in-one a and b @5\n" },
    { "services passed on, and name servers in one network",
      "site: www.foobar.com\n"
      "servers: { a: { address: 192.0.2.1, site: x }, b: { address: 192.0.2.2, site: y } }\n"
      "dns: {}\n"
      "tcp:\n"
      "  mail: { on: a, listen: 25, to: [\"b:2525\"] }\n"
      "  chat: { listen: 5222, to: [\"a:15222\", \"b:15222\"] }\n",
      "high no-firewall www.foobar.com @1\n"
      "medium single-listener a @5\n"
      "medium single-backend b @5\n"
      "medium no-monitoring www.foobar.com @1\n"
      "low name-servers-together a and b @3\n"
      "low no-check tcp/chat @6\n" },
};

static void write_findings(struct buffer *out, const struct audit *audit)
{
    for (size_t i = 0; i < audit->finding_count; i++) {
        const struct finding *finding = &audit->findings[i];
        buffer_print(out, "%s %s %.*s @%d\n",
                     finding->is_accepted ? "borne" : finding_severity(finding->severity),
                     finding_kinds[finding->id].id, FMT(finding->element), finding->place.line);
    }
}

TEST(audit_findings_of_whole_sites)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out AUTO(buffer_done) = buffer_of(1 << 16);
        struct arena *arena = arena_new(MODEL_ARENA, 0);
        struct site *site = site_parse_good(cases[i].source);
        struct audit *audit = NULL;
        if (site != NULL &&
            CHECK(audit_make(site, arena, CUT_ORDER, &audit) == OK, "%s", cases[i].what))
            write_findings(&out, audit);
        CHECK(text_equal(buffer_text(&out), text_of(cases[i].want)), "%s:\n%.*s", cases[i].what,
              FMT(buffer_text(&out)));
        site_free(site);
        arena_free(arena);
    }
}

/* Each has words for people: what it means, and what to write. */
TEST(audit_findings_have_words)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena *arena = arena_new(MODEL_ARENA, 0);
        struct site *site = site_parse_good(cases[i].source);
        struct audit *audit = NULL;
        if (site == NULL || audit_make(site, arena, 1, &audit) != OK)
            audit = NULL;
        for (size_t j = 0; audit != NULL && j < audit->finding_count; j++) {
            const struct finding *finding = &audit->findings[j];
            const char *id = finding_kinds[finding->id].id;
            CHECK(text_ends_with(finding->consequence, T(".")) ||
                      text_ends_with(finding->consequence, T(")")),
                  "%s: %.*s", id, FMT(finding->consequence));
            CHECK(text_ends_with(finding->fix, T("\n")), "%s: %.*s", id, FMT(finding->fix));
        }
        site_free(site);
        arena_free(arena);
    }
}

TEST(audit_report_for_people)
{
    struct buffer out AUTO(buffer_done) = buffer_of(1 << 18);
    struct arena *arena = arena_new(MODEL_ARENA, 0);
    struct site *site = site_parse_good(cases[1].source);
    struct audit *audit = NULL;
    REQUIRE(site != NULL && audit_make(site, arena, CUT_ORDER, &audit) == OK, "it is audited");
    report_text(audit, "site.yaml", false, &out);
    static const char *const wanted[] = {
        "  read a page\n    fails with: lb-01; 1 pair, 0 triples\n",
        "works 99.90 % of the time, down 9.1 hours a year; most of it by lb-01 (100 %)\n",
        "high    single-balancer: lb-01  (site.yaml:4)\n        There is one balancer.\n",
        "            servers: { lb-02: 198.51.100.13 }\n"
        "            balancer: { on: [lb-01, lb-02] }\n"
        "            vip: { address: 198.51.100.14 }\n",
        "\n3 high, 6 medium, 2 low\n",
    };
    for (size_t i = 0; i < COUNT(wanted); i++)
        CHECK(text_find_text(buffer_text(&out), text_of(wanted[i])) >= 0, "%s in\n%.*s", wanted[i],
              FMT(buffer_text(&out)));
    site_free(site);
    arena_free(arena);
}
