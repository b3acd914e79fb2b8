/* Forwarding headers: who is believed, what is passed on; and PROXY headers before requests. */
#include "http/forwarded.h"
#include "http/server_fixture.h"

static const char *const trusted_texts[] = { "192.0.2.0/24", "2001:db8::/32", "127.0.0.0/8" };
static struct network trusted[COUNT(trusted_texts)];

static struct http_trust trust_make(void)
{
    for (size_t i = 0; i < COUNT(trusted); i++)
        CHECK(network_parse(text_of(trusted_texts[i]), &trusted[i]) == OK, "network");
    return (struct http_trust){ .networks = trusted, .count = COUNT(trusted) };
}

static struct address ip(const char *text)
{
    struct address address = { 0 };
    CHECK(address_parse_ip(text_of(text), 9, &address) == OK, "%s", text);
    return address;
}

/* "Name: value|Name: value" */
static void add_headers(struct http_headers *headers, struct arena *arena, const char *lines)
{
    struct text rest = text_of(lines);
    while (rest.len > 0) {
        struct text line = text_next(&rest, '|');
        struct text name = text_next(&line, ':');
        http_headers_add(headers, arena, http_field_find(name), name, text_trim(line));
    }
}

TEST(forwarded_client_is_found)
{
    static const struct {
        const char *headers;
        const char *client; /* with its port; NULL: not told */
    } cases[] = {
        { "X-Forwarded-For: 203.0.113.9", "203.0.113.9:0" },
        { "X-Forwarded-For: 203.0.113.1, 203.0.113.9", "203.0.113.9:0" },
        { "X-Forwarded-For: 203.0.113.9, 192.0.2.8, 192.0.2.9", "203.0.113.9:0" },
        { "X-Forwarded-For: 203.0.113.9|X-Forwarded-For: 192.0.2.8", "203.0.113.9:0" },
        { "X-Forwarded-For: 203.0.113.9,, ,192.0.2.8,", "203.0.113.9:0" },
        { "X-Forwarded-For: 192.0.2.7, 192.0.2.8", "192.0.2.7:0" },
        { "X-Forwarded-For: 203.0.113.9, unknown, 192.0.2.8", "192.0.2.8:0" },
        { "X-Forwarded-For: unknown", NULL },
        { "X-Forwarded-For: 203.0.113.9:77", "203.0.113.9:77" },
        { "X-Forwarded-For: [2001:db9::1]:77", "[2001:db9::1]:77" },
        { "X-Forwarded-For: 2001:db9::1", "[2001:db9::1]:0" },
        { "X-Forwarded-For: ", NULL },
        { "Forwarded: for=203.0.113.9", "203.0.113.9:0" },
        { "Forwarded: For=\"[2001:db9::1]:77\";proto=https", "[2001:db9::1]:77" },
        { "Forwarded: for=203.0.113.9;by=x;host=\"a,b;c\", for=192.0.2.8", "203.0.113.9:0" },
        { "Forwarded: for=203.0.113.9|Forwarded: proto=http;for=192.0.2.8", "203.0.113.9:0" },
        { "Forwarded: for=_hidden, for=192.0.2.8", "192.0.2.8:0" },
        { "Forwarded: proto=http", NULL },
        { "Forwarded: for=203.0.113.9;bad", NULL },
        { "Forwarded: for=203.0.113.9, for=\"192.0.2.8", NULL },
        { "Forwarded: for = 203.0.113.9", NULL },
        { "Forwarded: for=\"203.0.113.9\" x", NULL },
        { "X-Forwarded-For: 203.0.113.9|Forwarded: for=203.0.113.66", "203.0.113.9:0" },
    };
    struct http_trust trust = trust_make();
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena *arena = arena_new(1 << 16, 0);
        struct http_headers headers = { 0 };
        struct address client = { 0 };
        char out[ADDRESS_TEXT_SIZE] = "";
        add_headers(&headers, arena, cases[i].headers);
        bool is_told = http_forwarded_client(&headers, &trust, &client);
        address_format(&client, out);
        CHECK(is_told == (cases[i].client != NULL), "%s: %d", cases[i].headers, is_told);
        CHECK(!is_told || strcmp(out, cases[i].client) == 0, "%s: %s", cases[i].headers, out);
        arena_free(arena);
    }
}

TEST(forwarded_far_hops_are_not_looked_at)
{
    struct http_trust trust = trust_make();
    struct arena *arena = arena_new(1 << 20, 0);
    struct buffer list = buffer_of(1 << 16);
    struct http_headers headers = { 0 };
    struct address client = { 0 };
    buffer_append(&list, T("203.0.113.9"));
    for (int i = 0; i < 500; i++)
        buffer_append(&list, T(", 192.0.2.8"));
    http_headers_add(&headers, arena, FIELD_X_FORWARDED_FOR, T("X-Forwarded-For"),
                     buffer_text(&list));
    REQUIRE(http_forwarded_client(&headers, &trust, &client), "told");
    struct address near = ip("192.0.2.8");
    address_set_port(&near, 0);
    CHECK(address_equal(&client, &near), "the nearest that are known");
    buffer_done(&list);
    arena_free(arena);
}

/* What the next server gets. */
TEST(forwarded_is_passed_on)
{
    static const struct {
        const char *what, *peer, *headers, *scheme, *expected;
    } cases[] = {
        { "nothing there", "203.0.113.1", "", "http",
          "X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:80\r\n" },
        { "a stranger's lies", "203.0.113.1",
          "X-Forwarded-For: 1.1.1.1|X-Forwarded-Proto: https|X-Forwarded-Host: evil|"
          "Forwarded: for=1.1.1.1;proto=https",
          "http",
          "X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a:80\r\n"
          "Forwarded: for=203.0.113.1;host=\"a:80\";proto=http\r\n" },
        { "a trusted proxy", "192.0.2.1",
          "X-Forwarded-For: 1.1.1.1|X-Forwarded-Proto: https|X-Forwarded-Host: shop", "https",
          "X-Forwarded-For: 1.1.1.1, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
          "X-Forwarded-Host: shop\r\n" },
        { "a trusted proxy with Forwarded", "2001:db8::1", "Forwarded: for=1.1.1.1;proto=https",
          "https",
          "X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a:80\r\n"
          "Forwarded: for=1.1.1.1;proto=https, "
          "for=\"[2001:db8::1]\";host=\"a:80\";proto=https\r\n" },
        { "two headers", "192.0.2.1", "X-Forwarded-For: 1.1.1.1|X-Forwarded-For: 192.0.2.2", "http",
          "X-Forwarded-For: 1.1.1.1, 192.0.2.2, 192.0.2.1\r\nX-Forwarded-Proto: http\r\n"
          "X-Forwarded-Host: a:80\r\n" },
    };
    struct http_trust trust = trust_make();
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena *arena = arena_new(1 << 16, 0);
        struct buffer out = buffer_of(1 << 16);
        struct http_request request = { .client = ip(cases[i].peer), .scheme = T("http") };
        add_headers(&request.headers, arena, cases[i].headers);
        http_forwarded_take(&request, &trust);
        http_forwarded_write(&request, T("a:80"), &out);
        CHECK(text_equal(buffer_text(&out), text_of(cases[i].expected)), "%s: %.*s", cases[i].what,
              FMT(buffer_text(&out)));
        CHECK(text_equal(request.scheme, text_of(cases[i].scheme)), "%s: scheme", cases[i].what);
        buffer_done(&out);
        arena_free(arena);
    }
}

TEST(forwarded_of_strangers_is_removed)
{
    struct http_trust nobody = { 0 };
    struct arena *arena = arena_new(1 << 16, 0);
    struct http_request request = { .client = ip("192.0.2.1"), .scheme = T("http") };
    add_headers(&request.headers, arena, "X-Forwarded-For: 1.1.1.1|Forwarded: for=1.1.1.1|A: b");
    http_forwarded_take(&request, &nobody);
    CHECK(request.headers.count == 1 && !request.is_forwarded, "only A is left");
    arena_free(arena);
}

/* ---- over real connections; /client answers the client's address ---- */

#define REQUEST "GET /client HTTP/1.1\r\nHost: a\r\n\r\n"

static bool answers(struct client *client, int status, const char *body)
{
    int got = client_answer(client, HTTP_GET);
    return CHECK(got == status, "%d", got) &&
           CHECK(body == NULL || text_equal(buffer_text(&client->body), text_of(body)), "%.*s",
                 FMT(buffer_text(&client->body)));
}

TEST_BOTH(server_takes_proxy_headers)
{
    static const char header[] = "PROXY TCP4 203.0.113.9 192.0.2.1 4000 80\r\n";
    struct http_trust trust = trust_make();
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    fixture.config.trust.proxies = trust.networks;
    fixture.config.trust.proxy_count = trust.count;
    for (size_t piece = 1; piece <= sizeof(header); piece += sizeof(header) / 2) {
        REQUIRE(client_open(&client, &fixture), "open");
        client_trickle(&client, text_of(header), piece);
        for (int i = 0; i < 2; i++) { /* once per connection, not per request */
            client_send(&client, T(REQUEST));
            answers(&client, 200, "203.0.113.9");
        }
        client_close(&client);
    }
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T("PROXY TCP4 203.0.113.9 192.0.2.1 4000 80\r\n" REQUEST));
    answers(&client, 200, "203.0.113.9"); /* in one packet */
    client_close(&client);
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T("PROXY UNKNOWN\r\n" REQUEST));
    answers(&client, 200, "127.0.0.1");
    client_close(&client);
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T(REQUEST));
    answers(&client, 400, NULL); /* never guessed */
    CHECK(client_is_ended(&client), "and closed");
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(server_takes_no_proxy_header_of_strangers)
{
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T("PROXY TCP4 203.0.113.9 192.0.2.1 4000 80\r\n" REQUEST));
    answers(&client, 400, NULL);
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(server_waits_for_a_proxy_header_only_so_long)
{
    struct http_trust trust = trust_make();
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    fixture.config.trust.proxies = trust.networks;
    fixture.config.trust.proxy_count = trust.count;
    fixture_set_times(&fixture, 20);
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T("PROXY TC"));
    answers(&client, 408, NULL);
    client_close(&client);
    fixture_stop(&fixture);
}

TEST_BOTH(server_believes_trusted_proxies)
{
    struct http_trust trust = trust_make();
    struct fixture fixture;
    struct client client;
    REQUIRE(fixture_start(&fixture, backend), "start");
    fixture.config.trust = trust;
    REQUIRE(client_open(&client, &fixture), "open");
    client_send(&client, T("GET /client HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
                           "GET /client HTTP/1.1\r\nHost: a\r\n\r\n"));
    answers(&client, 200, "203.0.113.9");
    answers(&client, 200, "127.0.0.1");
    client_close(&client);
    fixture_stop(&fixture);
}
