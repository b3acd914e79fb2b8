/*
 * The keys that audits, drills and the virtual address go by: where servers stand, `vip:`,
 * `objectives:`, `audit:`; and exactly what is said about mistakes in them.
 */
#include "site/site_fixture.h"

static const char scaled_up[] =
    "site: www.foobar.com\n"
    "servers:\n"
    "  lb-01: { address: 198.51.100.11, site: fra1, rack: r1 }\n"
    "  lb-02: { address: 198.51.100.12, site: fra1, rack: r2 }\n"
    "  web-01: 198.51.100.21\n"
    "  app-01: 198.51.100.31\n"
    "  db-01: 198.51.100.41\n"
    "  db-02: 198.51.100.42\n"
    "balancer: { on: [lb-01, lb-02], algorithm: round-robin }\n"
    "vip:      { address: 198.51.100.10, mode: active-passive, preempt: { after: 30s } }\n"
    "web:      { on: web-01, static: { /static/: guestbook/static } }\n"
    "app:      { on: app-01, wsgi: \"guestbook:app\", root: guestbook }\n"
    "database: { on: [db-01, db-02], name: guestbook, primary: db-01, reads: replica }\n"
    "objectives: { link-loss: 60ms, planned-change: { lost: 0 }, writes-lost: 0,\n"
    "              availability: 99.95% }\n"
    "audit: { servers: { mtbf: 1y, mttr: 30m },\n"
    "         accept: [single-writable-database, cleartext-leg sql] }\n";

TEST(site_keys_of_the_scaled_up_site)
{
    struct site *site = site_parse_good(scaled_up);
    struct why why = { "" };
    char ip[ADDRESS_TEXT_SIZE];
    REQUIRE(site != NULL, "it is good");
    const struct site_vip *vip = &site->vip;
    CHECK(text_equal(site->servers[1].rack, T("r2")), "rack");
    CHECK(text_equal(site->servers[1].location, T("fra1")), "site");
    CHECK(text_is_empty(site->servers[2].rack), "no rack");
    REQUIRE(vip->is_present && vip->address_count == 1 && vip->on.count == 2, "a VIP of two");
    address_format_ip(&vip->addresses[0], ip);
    CHECK(strcmp(ip, "198.51.100.10") == 0, "%s", ip);
    CHECK(vip->on.servers[0] == &site->servers[0], "the balancers hold it");
    CHECK(vip->mode == VIP_ACTIVE_PASSIVE && vip->preempt == VIP_PREEMPT_AFTER, "mode");
    CHECK(vip->preempt_ms == 30000 && vip->interval_ms == 100 && vip->id == 1, "times");
    CHECK(site->objectives.is_present && site->objectives.link_loss_ms == 60, "link-loss");
    CHECK(site->objectives.has_planned_lost && site->objectives.planned_lost == 0, "planned");
    CHECK(site->objectives.has_writes_lost && site->objectives.writes_lost == 0, "writes");
    CHECK(site->objectives.availability == 999500, "%d", (int)site->objectives.availability);
    CHECK(site->audit.servers.mttr_ms == 1800000, "mttr");
    CHECK(site->audit.racks.mttr_ms == 4 * 3600000, "that of racks is the default");
    REQUIRE(site->audit.accept_count == 2, "two are accepted");
    CHECK(text_equal(site->audit.accept[0].id, T("single-writable-database")), "the first");
    CHECK(text_is_empty(site->audit.accept[0].element), "all of it");
    CHECK(text_equal(site->audit.accept[1].element, T("sql")), "the second, an element");
    CHECK(site_can_run(site, &why) == ERR_UNSUPPORTED, "it does not run yet");
    CHECK(strncmp(why.text, "line 10: vip: is not built yet", 30) == 0, "%s", why.text);
    site_free(site);
}

TEST(site_keys_know_their_places)
{
    struct site *site = site_parse_good("site: a.example.com\n"
                                        "servers:\n"
                                        "  one: 192.0.2.1\n"
                                        "web:\n"
                                        "  static: { /: files }\n");
    static const struct {
        const char *path;
        int line, column;
    } wanted[] = { { "site", 1, 1 },       { "servers.one", 3, 3 }, { "web", 4, 1 },
                   { "web.static", 5, 3 }, { "web.workers", 4, 1 }, { "tls.inside", 0, 0 } };
    for (size_t i = 0; site != NULL && i < COUNT(wanted); i++) {
        struct site_place place = site_key_place(site, wanted[i].path);
        CHECK(place.line == wanted[i].line && place.column == wanted[i].column, "%s: %d:%d",
              wanted[i].path, place.line, place.column);
    }
    site_free(site);
}

TEST(site_keys_that_are_not_there)
{
    struct site *site = site_parse_good("site: a.example.com\nweb: { static: { /: files } }\n");
    REQUIRE(site != NULL, "it is good");
    CHECK(!site->vip.is_present && !site->objectives.is_present, "nothing is said");
    CHECK(site->audit.servers.mtbf_ms == 120LL * 86400000, "a default");
    CHECK(site_can_run(site, NULL) == OK, "it runs");
    site_free(site);
}

TEST(site_keys_availability)
{
    static const struct {
        const char *written;
        int64_t want; /* 0: a mistake */
    } cases[] = { { "99.9%", 999000 },    { "99.95 %", 999500 }, { "99%", 990000 },
                  { "99.9999%", 999999 }, { "100%", 1000000 },   { "99.9", 0 },
                  { "99.99999%", 0 },     { "101%", 0 },         { "0%", 0 },
                  { "100.1%", 0 },        { "a%", 0 },           { ".5%", 0 } };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer source AUTO(buffer_done) = buffer_of(4096);
        struct site *site = NULL;
        struct site_mistakes mistakes;
        buffer_print(&source,
                     "site: a.example.com\nweb: { static: { /: f } }\n"
                     "objectives: { availability: '%s' }\n",
                     cases[i].written);
        enum err err = site_parse(buffer_text(&source), "s.yaml", false, &site, &mistakes);
        CHECK((err == OK) == (cases[i].want > 0), "%s", cases[i].written);
        CHECK(site == NULL || site->objectives.availability == cases[i].want, "%s",
              cases[i].written);
        site_mistakes_done(&mistakes);
        site_free(site);
    }
}

static const struct broken_site broken[] = {
    { "a server with mistakes",
      T("site: a.example.com\n"
        "servers: { a: { rack: r1 }, b: { address: 192.0.2.1, rak: r1 }, c: [x],\n"
        "           d: { address: 192.0.2.1, site: 'a b' } }\n"
        "dns: {}\n"),
      "site.yaml:2:15: servers.a.address: missing; add it, for example: address: 192.0.2.11\n"
      "site.yaml:2:54: servers.b.rak: unknown key, did you mean 'rack'?\n"
      "site.yaml:2:68: servers.c: a list is not allowed here; must be one text\n"
      "site.yaml:3:15: servers.d: '192.0.2.1' is the address of server 'b' already; each server "
      "needs its own\n"
      "site.yaml:3:43: servers.d.site: 'a b' is no name: write up to 63 letters, digits, '-', '_' "
      "and '.'\n" },
    { "a virtual address with mistakes",
      T("site: a.example.com\n"
        "servers: { a: 192.0.2.1, b: 192.0.2.2, c: 192.0.2.3 }\n"
        "web: { on: [a, b], static: { /: f } }\n"
        "vip: { address: [192.0.2.3, x], on: [a, c], mode: both, preempt: soon }\n"),
      "site.yaml:4:17: vip.address: '192.0.2.3' is the address of server 'c'; it needs one of its "
      "own\n"
      "site.yaml:4:29: vip.address[1]: 'x' is not an IP address; write one like 192.0.2.10 or "
      "2001:db8::10\n"
      "site.yaml:4:37: vip.on: clients do not come in at 'c'; name servers of web:\n"
      "site.yaml:4:51: vip.mode: 'both' is not known; allowed: active-passive active-active\n"
      "site.yaml:4:66: vip.preempt: 'soon' is none of: never, when-ready, { after: 30s }\n" },
    { "two active servers and one address",
      T("site: a.example.com\n"
        "servers: { a: 192.0.2.1, b: 192.0.2.2 }\n"
        "web: { static: { /: f } }\n"
        "vip: { address: 192.0.2.9, mode: active-active }\n"),
      "site.yaml:4:34: vip.mode: needs an address for each active server: write two at least in "
      "`address`\n" },
    { "an address that nobody can take",
      T("site: a.example.com\n"
        "web: { static: { /: f } }\n"
        "vip: { address: 192.0.2.9 }\n"),
      "site.yaml:3:6: vip: one machine has nobody to move an address to; add servers:\n" },
    { "an address that leads nowhere",
      T("site: a.example.com\n"
        "servers: { a: 192.0.2.1, b: 192.0.2.2 }\n"
        "dns: {}\n"
        "vip: { address: 192.0.2.9 }\n"),
      "site.yaml:4:6: vip: nobody comes in by it: add web: or balancer:\n" },
    { "objectives and rates with mistakes",
      T("site: a.example.com\n"
        "web: { static: { /: f } }\n"
        "objectives: { availability: all, link-loss: 60, planned-change: {} }\n"
        "audit: { servers: { mtbf: 1s }, accept: none }\n"),
      "site.yaml:3:29: objectives.availability: 'all' is no share of time; write one like 99.9% or "
      "99.95%\n"
      "site.yaml:3:45: objectives.link-loss: '60' is not a duration; write a number with a unit, "
      "like 250ms, 30s or 1h; allowed: 1ms to 1d\n"
      "site.yaml:3:65: objectives.planned-change.lost: missing; add it, for example: lost: 0\n"
      "site.yaml:4:27: audit.servers.mtbf: '1s' is too small; allowed: 1m to 36500d\n"
      "site.yaml:4:41: audit.accept: 'none' is not allowed here; must be a list, like "
      "[single-writable-database]\n" },
};

TEST(site_mistakes_of_audit_keys)
{
    check_broken_sites(broken, COUNT(broken));
}
