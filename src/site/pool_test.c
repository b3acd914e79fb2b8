/*
 * Pools: what `balancer:`, `upstreams:`, `tcp:` and apps on several servers become, and exactly
 * what is said about mistakes in them.
 */
#include "site/site_fixture.h"

#include <stdio.h>

static void check_backend(const struct site_pool *pool, size_t index, const char *board,
                          const char *address)
{
    char text[ADDRESS_TEXT_SIZE] = "";
    REQUIRE(pool != NULL && index < pool->backend_count, "%s is there", board);
    const struct site_backend *backend = &pool->backends[index];
    if (backend->address.len > 0)
        address_format(&backend->address, text);
    CHECK(text_equal(backend->board, text_of(board)), "%s is %.*s", board, FMT(backend->board));
    CHECK(strcmp(text, address) == 0, "%s at %s", board, text);
}

static const char distributed[] =
    "site: www.foobar.com\n"
    "listen: { http: 80 }\n"
    "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }\n"
    "balancer: { on: lb-01, algorithm: round-robin }\n"
    "web:      { on: [web-01, web-02], static: { /static/: guestbook/static } }\n"
    "app:      { on: [web-01, web-02], wsgi: \"guestbook:app\", root: guestbook }\n"
    "database: { on: [web-01, web-02], name: guestbook, primary: web-02, reads: replica }\n"
    "dns:      { on: lb-01 }\n";

TEST(site_pool_of_the_distributed_site)
{
    struct site *site = site_parse_good(distributed);
    REQUIRE(site != NULL && site->pool_count == 2, "two pools");
    const struct site_pool *web = site_pool_find(site, T("web"));
    const struct site_pool *app = site_pool_find(site, T("app/app"));
    REQUIRE(web == &site->balancer.pool && app == &site->apps[0].pool, "the balancer's, the app's");
    check_backend(web, 0, "web/web-01", "198.51.100.11:80");
    check_backend(web, 1, "web/web-02", "198.51.100.12:80");
    check_backend(app, 1, "app/app/web-02", "198.51.100.12:5310");
    CHECK(web->backend_count == 2 && web->check.is_active && web->check.interval_ms == 1000, "two");
    CHECK(web->check.type == SITE_CHECK_HTTP && text_equal(web->check.path, T("/")), "check");
    CHECK(web->check.status[0].from == 200 && web->check.status[0].to == 499, "statuses");
    CHECK(text_equal(web->check.host, T("www.foobar.com")), "its host");
    CHECK(web->outlier.failures == 5 && web->outlier.most == 50, "outlier");
    CHECK(web->retries == 2 && web->retry_budget == 20 && web->try_ms == 15000, "retries");
    CHECK(web->backends[0].weight == 1 && !web->backends[0].is_backup, "plain backends");
    CHECK(site->web.trusted_written == 0 && site->web.trusted_count == 3, "its own servers");
    CHECK(networks_contain(site->web.trusted, 3, &site->servers[0].address), "the balancer");
    CHECK(site->database.primary == &site->servers[2] && site->database.port == 3306, "database");
    CHECK(site->database.reads == READS_REPLICA && site->database.lag_ms == 5000, "reads");
    site_free(site);
}

TEST(site_pool_policy)
{
    struct site *site = site_parse_good(
        "site: a.example.com\n"
        "servers: { one: 192.0.2.1, two: 192.0.2.2, three: '2001:db8::3' }\n"
        "listen: { http: 80, inside: 81, proxy-protocol: accept }\n"
        "balancer:\n"
        "  on: [one, two]\n"
        "  algorithm: consistent-hash\n"
        "  hash: header:X-Customer\n"
        "  weights: { three: 2 }\n"
        "  backup: [one]\n"
        "  try-timeout: 2m\n"
        "  retry-budget: 0%\n"
        "  check: { type: tcp, interval: 500ms }\n"
        "  outlier: { most: 100% }\n"
        "  proxy-protocol: v2\n"
        "  trusted: [192.0.2.0/24, '2001:db8::1']\n"
        "web: { static: { /: files }, trusted: 203.0.113.0/24 }\n"
        "upstreams: { api: { to: ['http://192.0.2.9:8000', 'http://three', 'http://b.example.org', "
        "'http://unix:/run/x'], weights: { 'http://b.example.org': 7 } } }\n"
        "tcp: { mail: { on: one, listen: 2525, to: ['192.0.2.5:25', 'three:25'], idle: 1h, backup: "
        "['three:25'], check: {} } }\n"
        "routes:\n"
        "  - { path: /api, upstream: api, rate: 10/m, rate-by: header:X-Key }\n"
        "  - { path: /x, upstream: 'http://127.0.0.1:9', rate: 5/s, burst: 20 }\n"
        "  - { path: /y, upstream: 'http://127.0.0.1:9' }\n");
    REQUIRE(site != NULL && site->pool_count == 4, "web, api, a URL, mail");
    const struct site_pool *web = &site->balancer.pool, *api = site->routes[0].pool;
    check_backend(web, 0, "web/one", "192.0.2.1:81");
    check_backend(web, 2, "web/three", "[2001:db8::3]:80");
    CHECK(web->hash_by == SITE_HASH_HEADER && text_equal(web->hash_name, T("X-Customer")), "hash");
    CHECK(web->backends[2].weight == 2 && web->backends[0].is_backup, "weights and backup");
    CHECK(web->try_ms == 60000 && web->retry_budget == 0, "one try is no longer than all");
    CHECK(web->check.type == SITE_CHECK_TCP && web->check.interval_ms == 500, "check");
    CHECK(web->proxy_protocol == PROXY_PROTOCOL_V2 && web->outlier.most == 100, "the rest");
    CHECK(site->balancer.trusted_count == 2 && site->web.trusted_written == 1, "trusted");
    CHECK(site->listen.proxy_protocol == 1 && site->listen.control == 5320, "listen");
    REQUIRE(api != NULL && api->backend_count == 4 && !api->check.is_active, "api");
    check_backend(api, 0, "upstream/api/192.0.2.9:8000", "192.0.2.9:8000");
    check_backend(api, 1, "upstream/api/three", "[2001:db8::3]:80");
    check_backend(api, 2, "upstream/api/b.example.org", "");
    check_backend(api, 3, "upstream/api/unix:/run/x", "unix:/run/x");
    CHECK(api->backends[2].weight == 7 && text_equal(api->backends[2].host, T("b.example.org")) &&
              api->backends[2].port == 80,
          "a name");
    const struct site_route *x = &site->routes[1], *y = &site->routes[2];
    CHECK(x->pool != NULL && x->pool == y->pool, "one pool for one URL");
    check_backend(x->pool, 0, "upstream/127.0.0.1:9/127.0.0.1:9", "127.0.0.1:9");
    CHECK(site->routes[0].rate.count == 10 && site->routes[0].rate.per_ms == 60000 &&
              site->routes[0].rate.burst == 10 && site->routes[0].rate.by == SITE_RATE_BY_HEADER,
          "a rate");
    CHECK(x->rate.count == 5 && x->rate.burst == 20 && y->rate.count == 0, "a burst");
    REQUIRE(site->tcp_count == 1, "one service");
    const struct site_tcp *mail = &site->tcp[0];
    CHECK(mail->listen == 2525 && mail->idle_ms == 3600000 && mail->limit == 10000, "tcp");
    CHECK(mail->pool.check.is_active && mail->pool.check.type == SITE_CHECK_TCP, "tcp's check");
    check_backend(&mail->pool, 1, "tcp/mail/three:25", "[2001:db8::3]:25");
    CHECK(mail->pool.backends[1].is_backup, "backup");
    site_free(site);
}

#define SERVERS "site: a.example.com\nservers: { a: 192.0.2.1, b: 192.0.2.2 }\n"

static const struct broken_site cases[] = {
    { "nothing behind the balancer", T(SERVERS "balancer: {}\ndns: {}\n"),
      "site.yaml:3:11: balancer: there is nothing to spread requests over; add web:, app: or "
      "routes:\n" },
    { "a hash without its algorithm",
      T(SERVERS "balancer: { hash: path }\nroutes: [ { respond: x } ]\n"),
      "site.yaml:3:19: balancer.hash: has no effect here; it belongs to `algorithm: "
      "consistent-hash`\n" },
    { "a hash of nothing",
      T(SERVERS "balancer: { algorithm: consistent-hash, hash: 'header:' }\nroutes: [ { respond: x "
                "} ]\n"),
      "site.yaml:3:47: balancer.hash: 'header:' names nothing; write a name like "
      "header:X-Customer\n" },
    { "an unknown hash",
      T(SERVERS "balancer: { algorithm: consistent-hash, hash: url }\nroutes: [ { respond: x } "
                "]\n"),
      "site.yaml:3:47: balancer.hash: 'url' is not known; allowed: path, header:NAME, "
      "cookie:NAME\n" },
    { "an algorithm nearly known",
      T(SERVERS "balancer: { algorithm: roundrobin }\nroutes: [ { respond: x } ]\n"),
      "site.yaml:3:24: balancer.algorithm: 'roundrobin' is not known, did you mean 'round-robin'? "
      "allowed: round-robin least-connections random-two ip-hash consistent-hash\n" },
    { "only backups", T(SERVERS "balancer: { backup: [a, b] }\nroutes: [ { respond: x } ]\n"),
      "site.yaml:3:21: balancer.backup: all of its servers are backups; at least one must not "
      "be\n" },
    { "a weight of nobody",
      T(SERVERS "balancer: { weights: { webserver: 2, a: 0 } }\nroutes: [ { respond: x } ]\n"),
      "site.yaml:3:24: balancer.weights.webserver: 'webserver' is none of its servers; one is "
      "'a'\n"
      "site.yaml:3:41: balancer.weights.a: '0' is too small; allowed: 1 to 256\n" },
    { "keys of an HTTP check",
      T(SERVERS "balancer: { check: { type: tcp, path: /x, status: 200 } }\nroutes: [ { respond: x "
                "} ]\n"),
      "site.yaml:3:33: balancer.check.path: has no effect here; it belongs to `type: http`\n"
      "site.yaml:3:43: balancer.check.status: has no effect here; it belongs to `type: http`\n" },
    { "a range that falls",
      T(SERVERS "balancer: { check: { status: [399-200, 20, 2xx] } }\nroutes: [ { respond: x } "
                "]\n"),
      "site.yaml:3:31: balancer.check.status[0]: '399-200' is not a status; write one like 200, or "
      "a range like 200-399\n"
      "site.yaml:3:40: balancer.check.status[1]: '20' is not a status; write one like 200, or a "
      "range like 200-399\n"
      "site.yaml:3:44: balancer.check.status[2]: '2xx' is not a status; write one like 200, or a "
      "range like 200-399\n" },
    { "no percent sign",
      T(SERVERS "balancer: { outlier: { most: 0.5 } }\nroutes: [ { respond: x } ]\n"),
      "site.yaml:3:30: balancer.outlier.most: '0.5' is not a percentage; write a whole number with "
      "%, like 20%; allowed: 1% to 100%\n" },
    { "networks", T(SERVERS "web: { static: { /: f }, trusted: [192.0.2.1/24, lan] }\n"),
      "site.yaml:3:36: web.trusted[0]: '192.0.2.1/24' has bits behind its prefix that are not "
      "zero; write one like 192.0.2.0/24 or 2001:db8::/32\n"
      "site.yaml:3:50: web.trusted[1]: 'lan' is not a network; write one like 192.0.2.0/24 or "
      "2001:db8::/32\n" },
    { "an upstream that nobody knows",
      T(SERVERS "upstreams: { api: { to: 'http://a' } }\nroutes: [ { path: /1, upstream: aip }, { "
                "path: /2, upstream: other } ]\n"),
      "site.yaml:4:33: routes[0].upstream: there is no upstream 'aip', did you mean 'api'?\n"
      "site.yaml:4:62: routes[1].upstream: there is no 'other' in upstreams:; add it there, or "
      "write a URL like http://127.0.0.1:9000\n" },
    { "upstreams of nothing",
      T(SERVERS "dns: {}\nupstreams: { a b: { to: 'http://a' }, c: {}, d: { to: [] } }\n"),
      "site.yaml:4:14: upstreams.a b: a name is one word of letters, digits, '-' and '_', like "
      "api\n"
      "site.yaml:4:42: upstreams.c.to: missing; add it, for example: to: "
      "[\"http://192.0.2.1:8000\"]\n"
      "site.yaml:4:55: upstreams.d.to: the list is empty; name at least one server, like "
      "\"http://192.0.2.1:8000\"\n" },
    { "an element twice",
      T(SERVERS "tcp: { x: { listen: 1, to: ['a:1', 'a:1', a, 'http://a:2'] } "
                "}\n"),
      "site.yaml:3:36: tcp.x.to[1]: 'a:1' is in this list already\n"
      "site.yaml:3:43: tcp.x.to[2]: 'a' needs a port; example: 192.0.2.5:25 or "
      "unix:/run/other.sock\n"
      "site.yaml:3:46: tcp.x.to[3]: 'http://a:2' is a URL; example: 192.0.2.5:25 or "
      "unix:/run/other.sock\n" },
    { "a port of two",
      T(SERVERS "tcp: { x: { on: a, listen: 5, to: 'a:1' }, y: { on: b, listen: 5, to: 'a:1' }, z: "
                "{ listen: 5, to: 'a:1' } }\n"),
      "site.yaml:3:93: tcp.z.listen: port 5 is the port of x already; they need two ports\n" },
    { "HTTP's keys of a TCP service",
      T(SERVERS "tcp: { x: { listen: 5, to: 'a:1', sticky: x } }\n"),
      "site.yaml:3:35: tcp.x.sticky: unknown key; allowed: on, listen, idle, limit, to, algorithm, "
      "weights, backup, connections, queue, queue-timeout, connect-timeout, slow-start, check, "
      "outlier, proxy-protocol\n" },
    { "a burst of no rate",
      T(SERVERS "routes: [ { respond: x, burst: 5 }, { path: /y, respond: y, rate: 0/s } ]\n"),
      "site.yaml:3:32: routes[0].burst: has no effect without `rate`; add one like rate: 10/s\n"
      "site.yaml:3:67: routes[1].rate: '0/s' is not a rate; write one like 10/s or 100/m; allowed: "
      "1 to 1000000\n" },
    { "a primary that is none", T(SERVERS "database: { on: a, name: x, primary: b }\n"),
      "site.yaml:3:38: database.primary: 'b' is not in `on`; add it there, or name one of "
      "those\n" },
    { "a primary of this machine", T("site: a.example.com\ndatabase: { name: x, primary: b }\n"),
      "site.yaml:2:31: database.primary: this file has no servers:, so everything runs here; "
      "remove `primary`, or add servers: with names and addresses\n" },
};

TEST(site_mistakes_of_pools)
{
    check_broken_sites(cases, COUNT(cases));
}

TEST(site_pool_reads_cut_files)
{
    struct text whole = text_of(distributed);
    for (size_t len = 0; len <= whole.len; len++) {
        struct site *site = NULL;
        struct site_mistakes mistakes;
        enum err err = site_parse(text_part(whole, 0, len), "s.yaml", false, &site, &mistakes);
        CHECK((err == OK) == (site != NULL), "cut at %zu", len);
        site_mistakes_done(&mistakes);
        site_free(site);
    }
}

TEST(site_pools_of_secured_servers)
{
    static const char text[] =
        "site: www.foobar.com\n"
        "servers: { lb: 192.0.2.1, both: 192.0.2.2, web: 192.0.2.3, app: 192.0.2.4 }\n"
        "listen: { http: 81, https: 444, inside: 5311 }\n"
        "balancer: { on: [lb, both] }\n"
        "web: { on: [both, web] }\n"
        "app: { on: app, wsgi: 'a:b', root: files }\n"
        "upstreams: { api: { to: ['http://web:8000'] } }\n"
        "routes: [ { path: /api, upstream: api } ]\n"
        "tls: { certificate: local, inside: %s }\n";
    for (int is_mutual = 0; is_mutual < 2; is_mutual++) {
        char source[2048];
        snprintf(source, sizeof(source), text, is_mutual ? "mutual" : "off");
        struct site *site = site_parse_good(source);
        REQUIRE(site != NULL, "site");
        const struct site_pool *web = &site->balancer.pool, *app = &site->apps[0].pool;
        const struct site_server *servers = site->servers;
        check_backend(web, 0, "web/both", "192.0.2.2:5311");
        check_backend(web, 1, "web/web", is_mutual ? "192.0.2.3:444" : "192.0.2.3:81");
        check_backend(app, 0, "app/app/app", "192.0.2.4:5311");
        CHECK(web->is_secure == is_mutual && app->is_secure == is_mutual, "secure");
        CHECK(!site_pool_find(site, T("upstream/api"))->is_secure, "any program may be there");
        CHECK(site_is_behind(site, &servers[2]) == is_mutual, "web is behind the balancers");
        CHECK(!site_is_behind(site, &servers[0]) && !site_is_behind(site, &servers[1]) &&
                  !site_is_behind(site, &servers[3]),
              "the others are not");
        CHECK(site_ends_tls(site, &servers[1]) && !site_ends_tls(site, &servers[2]),
              "for browsers");
        site_free(site);
    }
}
