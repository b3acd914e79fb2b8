/*
 * The site file as a whole: what a good file becomes.
 */
#include "site/site.h"

#include "core/test.h"

static struct site *parse_good(const char *source)
{
    struct site *site = NULL;
    struct site_mistakes mistakes;
    enum err err = site_parse(text_of(source), "/etc/trilith/site.yaml", false, &site, &mistakes);
    CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    return site;
}

TEST(site_reads_the_simple_stack)
{
    struct site *site = parse_good("site: www.foobar.com\n"
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
