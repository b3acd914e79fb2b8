/*
 * The site file as a whole: what a good file becomes.
 */
#include "site/site_fixture.h"

#include <stdio.h>

TEST(site_reads_the_simple_stack)
{
    struct site *site =
        site_parse_good("site: www.foobar.com\n"
                        "listen: { http: 8080, dns: 5300 }\n"
                        "web: { static: { /static/: guestbook/static } }\n"
                        "app: { wsgi: \"guestbook:app\", root: guestbook, workers: 2 }\n"
                        "database: { name: guestbook }\n"
                        "dns: {}\n");
    REQUIRE(site != NULL, "is read");
    CHECK(text_equal(site->name, T("www.foobar.com")), "name");
    CHECK(text_equal(site->domain, T("foobar.com")), "domain");
    CHECK(text_equal(site->folder, T("/etc/trilith")), "folder");
    CHECK(!site->has_servers && site->server_count == 1, "one server");
    CHECK(text_equal(site->servers[0].name, T("local")), "its name");
    CHECK(text_equal(site->listen.address, T("127.0.0.1")), "loopback");
    CHECK(site->listen.http == 8080 && site->listen.dns == 5300, "ports");
    REQUIRE(site->route_count == 2, "two routes");
    CHECK(site->routes[0].action == ACTION_STATIC, "longer path first");
    CHECK(text_equal(site->routes[0].folder, T("/etc/trilith/guestbook/static")), "absolute");
    CHECK(text_equal(site->routes[0].index, T("index.html")), "index");
    CHECK(site->routes[0].compress && !site->routes[0].listing, "options");
    CHECK(site->routes[1].action == ACTION_APP, "the rest to the app");
    CHECK(text_equal(site->routes[1].path, T("/")), "default route");
    REQUIRE(site->app_count == 1, "one app");
    CHECK(site->apps[0].workers == 2 && site->apps[0].queue == 1024, "app numbers");
    CHECK(site->apps[0].request_ms == 60000, "app deadline");
    CHECK(text_equal(site->apps[0].python, T("/usr/bin/python3")), "python");
    CHECK(site->web.is_present && site->web.limits.body == 1 << 30, "limits");
    CHECK(site->web.timeouts.idle == 75000, "timeouts");
    CHECK(site->database.is_present && site->database.memory == 128 << 20, "database");
    CHECK(site->dns.is_present && site->dns.ttl == 60, "dns");
    site_free(site);
}

TEST(site_reads_the_same_file_alike_in_every_process)
{
    for (int i = 0; i < 2; i++) {
        struct site *site = NULL;
        struct site_mistakes mistakes;
        bool is_root = i == 1;
        enum err err = site_parse_as(T("site: a.b.c\ndns: {}\n"), "/x/site.yaml", false, is_root,
                                     &site, &mistakes);
        REQUIRE(err == OK, "is read");
        CHECK(site->listen.http == (is_root ? 80 : 8080), "http %d", (int)site->listen.http);
        CHECK(site->listen.dns == (is_root ? 53 : 5300), "dns %d", (int)site->listen.dns);
        site_mistakes_done(&mistakes);
        site_free(site);
    }
}

TEST(site_sorts_routes)
{
    static const char *const want[] = { "a.b.c/x", "a.b.c/", "*.b.c/long", "*.b.c/", "*.c/",
                                        "/x/y",    "/x",     "/x/",        "/" };
    struct site *site = site_parse_good("site: www.b.c\n"
                                        "routes:\n"
                                        "  - { respond: a }\n"
                                        "  - { path: /x, method: [GET, HEAD], respond: a }\n"
                                        "  - { path: /x/, respond: a }\n"
                                        "  - { path: /x/y, respond: a }\n"
                                        "  - { host: '*.c', respond: a }\n"
                                        "  - { host: '*.b.c', respond: a }\n"
                                        "  - { host: '*.b.c', path: /long, respond: a }\n"
                                        "  - { host: A.b.c, respond: a }\n"
                                        "  - { host: a.B.c, path: /x, respond: a }\n");
    REQUIRE(site != NULL && site->route_count == COUNT(want), "all are there");
    for (size_t i = 0; i < COUNT(want); i++) {
        char text[64];
        struct site_route *route = &site->routes[i];
        snprintf(text, sizeof(text), "%.*s%.*s", FMT(route->host), FMT(route->path));
        CHECK(strcmp(text, want[i]) == 0 && route->number == i, "%zu: %s", i, text);
    }
    CHECK(site->routes[6].method_count == 2, "methods");
    CHECK(site->web.is_present, "routes need the web server");
    site_free(site);
}

TEST(site_reads_every_kind_of_route)
{
    struct site *site = site_parse_good(
        "site: a.b.c\n"
        "app: { wsgi: 'a:b.c()', root: r, mount: /app }\n"
        "routes:\n"
        "  - { path: /s, static: files, index: home.html, listing: yes, cache: 1h }\n"
        "  - { path: /r, redirect: 'https://b.c/', status: 308 }\n"
        "  - { path: /u, upstream: 'http://127.0.0.1:9000', compress: no }\n"
        "  - { path: /v, upstream: 'http://unix:/run/x.sock', header: { X-A: 1 } }\n"
        "  - { path: /t, respond: 503, type: text/html, status: 503, headers: { X-B: c "
        "}, cache: no "
        "}\n");
    REQUIRE(site != NULL && site->route_count == 6, "all are there");
    const struct site_route *app = &site->routes[0], *files = NULL, *move = NULL, *text = NULL;
    for (size_t i = 0; i < site->route_count; i++) {
        const struct site_route *route = &site->routes[i];
        files = route->action == ACTION_STATIC ? route : files;
        move = route->action == ACTION_REDIRECT ? route : move;
        text = route->action == ACTION_RESPOND ? route : text;
    }
    CHECK(app->action == ACTION_APP && text_equal(app->path, T("/app")), "an app at its mount");
    CHECK(text_equal(files->folder, T("/etc/trilith/files")) && files->listing, "static");
    CHECK(text_equal(files->cache_control, T("public, max-age=3600")), "cache");
    CHECK(move->status == 308 && text_equal(move->redirect, T("https://b.c/")), "redirect");
    CHECK(text->status == 503 && text_equal(text->body, T("503")), "respond");
    CHECK(text->header_count == 1 && text_equal(text->headers[0].value, T("c")), "headers");
    CHECK(text_equal(text->cache_control, T("no-store")), "no cache");
    site_free(site);
}

TEST(site_reads_every_kind_of_app)
{
    struct site *site = site_parse_good(
        "site: a.b.c\n"
        "apps:\n"
        "  w: { wsgi: 'a:b', root: r, mount: /w, workers: 2..8, threads: 4, warm: /, "
        "memory: 300M, slow-log: 2s, grace: 1s, max-requests: 10 }\n"
        "  s: { asgi: 'a:b()', root: r, mount: /s, lifespan: on, warm: [ /a, /b ] }\n"
        "  p: { php: public, mount: /p, settings: { memory_limit: 256M } }\n"
        "  c: { command: \"node 'a b.js'  -x\", root: r, mount: /c, listen: socket }\n"
        "  l: { command: [ node, a b.js ], root: r, mount: /l }\n");
    REQUIRE(site != NULL && site->app_count == 5, "all are there");
    const struct site_app *w = &site->apps[0], *s = &site->apps[1], *p = &site->apps[2],
                          *c = &site->apps[3], *l = &site->apps[4];
    CHECK(w->kind == APP_WSGI && text_equal(w->callable, T("a:b")), "wsgi");
    CHECK(w->workers == 2 && w->workers_most == 8 && w->threads == 4, "workers");
    CHECK(w->memory == 300 << 20 && w->slow_ms == 2000 && w->grace_ms == 1000, "limits");
    CHECK(w->max_requests == 10 && w->jitter == 10 && w->warm_count == 1, "recycling");
    CHECK(s->kind == APP_ASGI && s->lifespan == LIFESPAN_ON && s->warm_count == 2, "asgi");
    CHECK(text_equal(s->warm[1], T("/b")) && s->workers == s->workers_most, "warm");
    CHECK(p->kind == APP_PHP && text_equal(p->documents, T("/etc/trilith/public")), "php");
    CHECK(text_equal(p->root, p->documents) && text_equal(p->front, T("index.php")), "its root");
    CHECK(p->setting_count == 1 && text_equal(p->settings[0].value, T("256M")), "settings");
    CHECK(p->workers == 8, "children");
    CHECK(c->kind == APP_COMMAND && c->argument_count == 3 && c->listen == APP_LISTEN_SOCKET,
          "command");
    CHECK(text_equal(c->arguments[1], T("a b.js")), "quotes");
    CHECK(l->argument_count == 2 && text_equal(l->arguments[1], T("a b.js")), "a list");
    CHECK(l->workers == 1 && l->listen == APP_LISTEN_PORT, "one, on a port");
    site_free(site);
}

TEST(site_reads_servers_and_on)
{
    struct site *site = site_parse_good("site: a.b.c\n"
                                        "servers: { one: 192.0.2.1, two: '2001:db8::2' }\n"
                                        "app: { on: one, wsgi: 'a:b', root: r }\n"
                                        "database: { on: one, name: x }\n"
                                        "dns: { on: two }\n");
    REQUIRE(site != NULL && site->server_count == 2, "two servers");
    const struct site_server *one = site_server_find(site, T("one"));
    const struct site_server *two = site_server_find(site, T("two"));
    CHECK(site_is_on(site, &site->apps[0].on, one) && !site_is_on(site, &site->apps[0].on, two),
          "the app is on one");
    CHECK(site_is_on(site, &site->dns.on, two), "DNS is on two");
    CHECK(site_is_on(site, &site->web.on, one) && !site_is_on(site, &site->web.on, two),
          "web follows its app");
    CHECK(text_is_empty(site->listen.address), "each server listens on its own address");
    CHECK(address_family(&two->address) == AF_INET6, "an IPv6 address");
    site_free(site);
}

TEST(site_accepts_what_yaml_offers)
{
    static const struct {
        const char *what;
        const char *source;
    } cases[] = {
        { "empty sections", "site: a.b.c\ndns:\ndatabase: { name: x }\nweb: ~\napp: {wsgi: 'a:b', "
                            "root: r}\n" },
        { "an anchor", "site: a.b.c\nweb: { timeouts: { head: &t 5s, body: *t } }\napp: { wsgi: "
                       "'a:b', root: r }\n" },
        { "a shared map", "site: a.b.c\napps:\n  one: { wsgi: 'a:b', root: r, mount: /1, "
                          "environment: &e { A: 1 } }\n  two: { wsgi: 'a:b', root: r, mount: /2, "
                          "environment: *e }\n" },
        { "a byte order mark", "\xef\xbb\xbfsite: a.b.c\ndns: {}\n" },
        { "Windows line ends", "site: a.b.c\r\ndns: {}\r\n" },
        { "a document mark", "---\nsite: a.b.c\ndns: {}\n...\n" },
        { "quotes", "'site': \"a.b.c\"\n\"dns\": {}\n" },
        { "JSON", "{\"site\": \"a.b.c\", \"dns\": {\"ttl\": \"1h\"}}" },
        { "a redirect to another host", "site: a.b.c\nroutes: [ { host: b.c, redirect: "
                                        "'http://a.b.c/' }, { respond: x } ]\n" },
        { "a redirect that another route ends", "site: a.b.c\nroutes: [ { redirect: /x }, { path: "
                                                "/x, respond: y } ]\n" },
        { "a redirect to https", "site: a.b.c\nroutes: [ { redirect: 'https://a.b.c/' } ]\n" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct site *site = site_parse_good(cases[i].source);
        CHECK(site != NULL, "%s", cases[i].what);
        site_free(site);
    }
}

TEST(site_reads_cut_files)
{
    struct text whole = T("site: www.foobar.com\n"
                          "web: { static: { /static/: \"a\" } }\n"
                          "app:\n  wsgi: 'a:b'\n  root: r\n  environment: { A: { file: \"x\" } }\n"
                          "routes:\n  - { path: /x, redirect: /y }\n"
                          "dns: { records: [ { name: x, type: TXT, value: \"y\" } ] }\n");
    for (size_t len = 0; len <= whole.len; len++) {
        struct site *site = NULL;
        struct site_mistakes mistakes;
        enum err err = site_parse(text_part(whole, 0, len), "s.yaml", false, &site, &mistakes);
        CHECK((err == OK) == (site != NULL), "cut at %zu", len);
        CHECK((err == OK) == (mistakes.count == 0), "cut at %zu says why", len);
        site_mistakes_done(&mistakes);
        site_free(site);
    }
}
