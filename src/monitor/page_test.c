/* The page over real connections: who gets in, and what the answers hold. */
#include "monitor/page_private.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/sys.h"
#include "core/test.h"
#include "http/server_fixture.h"
#include "site/site_fixture.h"

#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define TOKEN "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char source[] =
    "site: www.foobar.com\n"
    "servers: { lb-01: 198.51.100.10, web-01: 198.51.100.11, web-02: 198.51.100.12 }\n"
    "balancer: { on: lb-01 }\n"
    "web: { on: [web-01, web-02], static: { /static/: /srv } }\n"
    "dns: { on: lb-01 }\n"
    "monitor: { on: lb-01 }\n";

enum { FROM_S = 1800000000 };

struct scene {
    struct fixture fixture;
    struct process process;
    struct generation generation;
    struct now *now;
    struct store *store;
    struct page *page;
    struct client client;
    char cookie[SESSION_COOKIE_SIZE];
    char folder[64];
};

static void write_alerts(void *context, struct buffer *out)
{
    (void)context;
    buffer_append(out, T("{\"id\":\"a\",\"text\":\"x\"}"));
}

/* Something happens in each short time. */
static void write_events(void *context, int64_t from_ms, int64_t to_ms, struct buffer *out)
{
    (void)context;
    if (to_ms - from_ms < 60000)
        buffer_append(out, T("{\"text\":\"now\"}"));
}

static int listening_socket(void)
{
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0 && listen(fd, 10) == 0,
          "a socket");
    return fd;
}

static bool scene_start(struct scene *scene)
{
    struct why why = { "" };
    *scene = (struct scene){ .folder = "/tmp/trilith-page-XXXXXX" };
    struct site *site = site_parse_good(source);
    if (site == NULL || mkdtemp(scene->folder) == NULL ||
        !fixture_start(&scene->fixture, LOOP_EPOLL))
        return false;
    scene->generation = (struct generation){ .number = 3, .site = site, .server = site->servers };
    generation_add_fd(&scene->generation, listening_socket(), "monitor.page");
    scene->now = now_new();
    now_use(scene->now, site);
    bool is_good =
        CHECK(generation_add_data(&scene->generation, T(TOKEN), "monitor.token", &why) == OK &&
                  store_open(scene->folder, &scene->store, &why) == OK,
              "%s", why.text);
    struct api_source facts = {
        .now = scene->now, .store = scene->store, .alerts = write_alerts, .events = write_events
    };
    scene->page = page_new(&scene->process, scene->fixture.loop, &facts);
    is_good =
        is_good && CHECK(page_use(scene->page, &scene->generation, &why) == OK, "%s", why.text);
    scene->fixture.config.handler = &scene->page->handler;
    scene->fixture.config.limits = scene->page->config.limits;
    return is_good && client_open(&scene->client, &scene->fixture);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static void scene_stop(struct scene *scene)
{
    client_close(&scene->client);
    page_free(scene->page);
    fixture_stop(&scene->fixture);
    store_close(scene->store);
    now_free(scene->now);
    rate_table_free(scene->process.rates);
    for (size_t i = 0; i < scene->generation.fd_count; i++)
        fd_close(&scene->generation.fds[i].fd);
    memory_free(scene->generation.fds);
    site_free(scene->generation.site);
    nftw(scene->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Sends it with the cookie that the scene has; more: header lines and, after an empty line, a body.
 */
static void ask(struct scene *scene, const char *line, const char *more)
{
    char request[4096];
    snprintf(request, sizeof(request), "%s HTTP/1.1\r\nHost: localhost\r\nCookie: %s\r\n%s", line,
             scene->cookie, more);
    client_send(&scene->client, text_of(request));
}

static int get(struct scene *scene, const char *path)
{
    char line[2048];
    snprintf(line, sizeof(line), "GET %s", path);
    ask(scene, line, "\r\n");
    return client_answer(&scene->client, HTTP_GET);
}

static int post(struct scene *scene, const char *path, const char *body)
{
    char line[256], rest[1024];
    snprintf(line, sizeof(line), "POST %s", path);
    snprintf(rest, sizeof(rest), "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    ask(scene, line, rest);
    return client_answer(&scene->client, HTTP_POST);
}

static bool log_in(struct scene *scene)
{
    int status = post(scene, "/login", "token=" TOKEN);
    struct text set = client_header(&scene->client, FIELD_SET_COOKIE);
    text_copy_to(text_next(&set, ';'), scene->cookie, sizeof(scene->cookie));
    return CHECK(status == 303, "login: %d", status);
}

static bool has(const struct scene *scene, const char *part)
{
    return text_find_text(buffer_text(&scene->client.body), text_of(part)) >= 0;
}

TEST(page_has_a_door)
{
    struct scene scene;
    REQUIRE(scene_start(&scene), "start");
    CHECK(get(&scene, "/") == 200 && has(&scene, "name=\"token\"") && !has(&scene, "topology"),
          "the door");
    const struct http_headers *headers = &scene.client.response.headers;
    const struct http_header *rules = http_headers_find_name(headers, T("Content-Security-Policy"));
    CHECK(rules != NULL && text_starts_with(rules->value, T("default-src 'none'")), "rules");
    CHECK(text_equal(client_header(&scene.client, FIELD_CACHE_CONTROL), T("no-store")), "no cache");
    CHECK(get(&scene, "/index.html") == 404, "no way around it");
    static const char *const closed[] = { "/api/site", "/api/range?from=1&to=2", "/api/live",
                                          "/api/alerts", "/api/nothing" };
    for (size_t i = 0; i < COUNT(closed); i++)
        CHECK(get(&scene, closed[i]) == 401, "%s", closed[i]);
    CHECK(post(&scene, "/login", "token=" TOKEN "0") == 401 && has(&scene, "not the token"),
          "a wrong one");
    CHECK(post(&scene, "/login", "") == 401 && post(&scene, "/login", "token=%00") == 401,
          "none, a bad one");
    CHECK(client_header(&scene.client, FIELD_SET_COOKIE).len == 0, "no cookie for that");
    REQUIRE(log_in(&scene), "login");
    CHECK(get(&scene, "/") == 200 && has(&scene, "topology"), "the page");
    CHECK(client_header(&scene.client, FIELD_SET_COOKIE).len > 0, "the login lasts from now");
    CHECK(get(&scene, "/api/site") == 200, "inside");
    CHECK(post(&scene, "/logout", "") == 303, "logout");
    CHECK(get(&scene, "/api/site") == 401, "the old cookie is worth nothing");
    scene_stop(&scene);
}

TEST(page_refuses)
{
    struct scene scene;
    REQUIRE(scene_start(&scene) && log_in(&scene), "start");
    CHECK(post(&scene, "/api/site", "x") == 404, "POST elsewhere");
    ask(&scene, "PUT /", "Content-Length: 0\r\n\r\n");
    CHECK(client_answer(&scene.client, HTTP_PUT) == 405, "PUT");
    CHECK(client_header(&scene.client, FIELD_ALLOW).len > 0, "says what is allowed");
    ask(&scene, "POST /logout", "Sec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n");
    CHECK(client_answer(&scene.client, HTTP_POST) == 403, "from another site");
    CHECK(get(&scene, "/api/site") == 200, "still logged in");
    CHECK(get(&scene, "/api/nothing") == 404 && get(&scene, "/secret") == 404, "nothing there");
    CHECK(get(&scene, "/api/range?from=5&to=2&points=9&q=sum:a:b") == 400 && has(&scene, "error"),
          "a bad question");
    CHECK(get(&scene, "/api/events?from=a&to=2") == 400, "another");
    ask(&scene, "POST /login", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    CHECK(client_answer(&scene.client, HTTP_POST) == 413, "a form without a length");
    scene_stop(&scene);
}

TEST(page_limits_logins)
{
    struct scene scene;
    REQUIRE(scene_start(&scene), "start");
    scene.process.rates = rate_table_new();
    int status = 0, tries = 0;
    while (tries < 30 && (status = post(&scene, "/login", "token=no")) == 401)
        tries++;
    CHECK(status == 429 && tries >= 10, "%d after %d tries", status, tries);
    CHECK(post(&scene, "/login", "token=" TOKEN) == 429, "the right one, too");
    scene_stop(&scene);
}

TEST(page_files_are_kept_by_browsers)
{
    struct scene scene;
    char more[256];
    REQUIRE(scene_start(&scene), "start");
    CHECK(get(&scene, "/page.js") == 200 && scene.client.body.len > 20000, "the script");
    size_t whole = scene.client.body.len;
    snprintf(more, sizeof(more), "If-None-Match: %.*s\r\n\r\n",
             FMT(client_header(&scene.client, FIELD_ETAG)));
    ask(&scene, "GET /page.js", more);
    CHECK(client_answer(&scene.client, HTTP_GET) == 304, "unchanged");
    ask(&scene, "GET /page.js", "Accept-Encoding: br, gzip\r\n\r\n");
    CHECK(client_answer(&scene.client, HTTP_GET) == 200 && scene.client.body.len < whole / 2,
          "compressed");
    ask(&scene, "HEAD /page.css", "\r\n");
    CHECK(client_answer(&scene.client, HTTP_HEAD) == 200, "its head");
    CHECK(get(&scene, "/icon.svg") == 200, "the icon");
    scene_stop(&scene);
}

TEST(page_tells_the_site)
{
    struct scene scene;
    REQUIRE(scene_start(&scene) && log_in(&scene), "start");
    CHECK(get(&scene, "/api/site") == 200, "api/site");
    json_t *root = json_loadb(scene.client.body.data, scene.client.body.len, 0, NULL);
    const char *name = NULL, *address = NULL, *first = NULL, *second = NULL, *third = NULL;
    CHECK(root != NULL &&
              json_unpack(root, "{s:[{s:s,s:s,s:[s,s,s]},{},{}]}", "servers", "name", &name,
                          "address", &address, "roles", &first, &second, &third) == 0,
          "%.*s", FMT(buffer_text(&scene.client.body)));
    CHECK(name != NULL && strcmp(name, "lb-01") == 0 && strcmp(address, "198.51.100.10") == 0 &&
              strcmp(first, "balancer") == 0 && strcmp(third, "monitor") == 0,
          "who is where");
    json_decref(root);
    CHECK(get(&scene, "/api/alerts") == 200 && has(&scene, "{\"alerts\":[{\"id\":\"a\""), "alerts");
    CHECK(get(&scene, "/api/events?from=1&to=2") == 200 &&
              has(&scene, "{\"events\":[{\"text\":\"now\"}]}"),
          "events");
    scene_stop(&scene);
}

/* Requests of web-01 rise by one each second, web-02 has 100, and a gap of ten seconds. */
static void fill_store(struct scene *scene)
{
    struct sample_table table;
    for (int server = 0; server < 2; server++) {
        sample_table_init(&table);
        size_t requests = sample_use(&table, SAMPLE_RATE, T("http.requests"));
        size_t latency = sample_use(&table, SAMPLE_HISTOGRAM, T("http.latency"));
        for (int i = 0; i < 60; i++) {
            sample_clear(&table);
            table.series[requests].value = server == 0 ? i : 100;
            table.series[latency].value = 10;
            sample_add_bucket(&table.series[latency], histogram_bucket(server == 0 ? 1000 : 5000),
                              10);
            if (i < 20 || i >= 30)
                store_add(scene->store, server == 0 ? T("web-01") : T("web-02"), FROM_S + i,
                          &table);
        }
        sample_table_done(&table);
    }
}

TEST(page_tells_ranges)
{
    struct scene scene;
    char path[512];
    REQUIRE(scene_start(&scene) && log_in(&scene), "start");
    fill_store(&scene);
    snprintf(path, sizeof(path),
             "/api/range?from=%d&to=%d&points=6&q=sum:web-01,web-02:http.requests"
             "&q=max:web-01,web-02:http.requests&q=avg:web-01:http.requests&q=p50:web-01:"
             "http.latency&q=p99:web-01,web-02:http.latency&q=heat:web-01:http.latency"
             "&q=sum:nobody:http.requests",
             FROM_S, FROM_S + 60);
    CHECK(get(&scene, path) == 200, "api/range");
    json_t *root = json_loadb(scene.client.body.data, scene.client.body.len, 0, NULL);
    json_t *lines = json_object_get(root, "lines");
    REQUIRE(json_array_size(lines) == 7, "%.*s", FMT(buffer_text(&scene.client.body)));
    static const double want[4][2] = { { 104.5, 154.5 }, { 100, 100 }, { 4.5, 54.5 }, { 0, 0 } };
    for (size_t i = 0; i < 3; i++) {
        json_t *line = json_array_get(lines, i);
        double first = json_number_value(json_array_get(line, 0));
        double last = json_number_value(json_array_get(line, 5));
        CHECK(first > want[i][0] * 0.99 && first < want[i][0] * 1.01, "line %zu: %g", i, first);
        CHECK(last > want[i][1] * 0.99 && last < want[i][1] * 1.01, "line %zu: %g", i, last);
        CHECK(json_is_null(json_array_get(line, 2)), "line %zu: the gap", i);
    }
    double half = json_number_value(json_array_get(json_array_get(lines, 3), 0));
    double slow = json_number_value(json_array_get(json_array_get(lines, 4), 0));
    CHECK(half > 960 && half < 1040, "p50 %g", half);
    CHECK(slow > 4800 && slow < 5200, "p99 %g", slow);
    json_t *cell = json_array_get(json_array_get(json_array_get(lines, 5), 0), 0);
    CHECK(json_integer_value(json_array_get(cell, 0)) == (json_int_t)histogram_bucket(1000) / 4,
          "the row");
    double count = json_number_value(json_array_get(cell, 1));
    CHECK(count > 9.5 && count < 10.5, "%g per second", count);
    CHECK(json_is_null(json_array_get(json_array_get(lines, 6), 3)), "nobody is a gap");
    json_decref(root);
    scene_stop(&scene);
}

/* Turns until the stream has said it. */
static bool hears(struct scene *scene, const char *part)
{
    int64_t until_ms = clock_now_ms() + 10000;
    while (clock_now_ms() < until_ms) {
        client_pull(&scene->client);
        if (text_find_text(buffer_text(&scene->client.input), text_of(part)) >= 0)
            return true;
    }
    return false;
}

/* Whether it has said it. */
static bool hears_now(const struct scene *scene, const char *part)
{
    return text_find_text(buffer_text(&scene->client.input), text_of(part)) >= 0;
}

TEST(page_streams_seconds)
{
    struct scene scene;
    REQUIRE(scene_start(&scene) && log_in(&scene), "start");
    ask(&scene, "GET /api/live", "\r\n");
    CHECK(hears(&scene, "event: site\ndata: {\"site\":\"www.foobar.com\""), "the site");
    CHECK(hears(&scene, "\"web-02\":{\"age_ms\":null,\"silent\":true}"), "a silent server");
    CHECK(hears(&scene, "event: alerts\ndata: {\"alerts\":[{\"id\":\"a\""), "alerts");
    struct now_server *server = now_find(scene.now, T("web-01"));
    REQUIRE(server != NULL, "web-01");
    size_t at = sample_use(&server->table, SAMPLE_RATE, T("http.requests"));
    size_t latency = sample_use(&server->table, SAMPLE_HISTOGRAM, T("http.latency"));
    server->table.series[at].value = 12.5;
    server->table.series[latency].value = 3;
    sample_add_bucket(&server->table.series[latency], 100, 3);
    server->heard_ms = clock_now_ms();
    server->frames = 1;
    page_second(scene.page);
    CHECK(hears(&scene, "\"names\":[\"http.requests\",\"http.latency\"]"), "names");
    CHECK(hears(&scene, "\"values\":[12.5,3],\"buckets\":{\"1\":[[100,3]]}"), "values");
    CHECK(!hears_now(&scene, "event: events"), "nothing has happened before the first second");
    page_second(scene.page);
    CHECK(hears(&scene, "event: events\ndata: {\"events\":[{\"text\":\"now\"}]}\n"), "news");

    struct client second;
    REQUIRE(client_open(&second, &scene.fixture), "another connection");
    struct client first = scene.client;
    scene.client = second;
    CHECK(post(&scene, "/logout", "") == 303, "logout");
    second = scene.client;
    scene.client = first;
    CHECK(hears(&scene, "\r\n0\r\n\r\n"), "which ends the stream");
    client_close(&second);
    scene_stop(&scene);
}
