/* Tests of the TLS of clients against our own server, without a socket: who is let in by whom. */
#include "stream/tls_test.h"

#include "core/clock.h"
#include "core/test.h"

struct ends {
    struct tls *client, *server;
    enum tls_state client_state, server_state;
    struct buffer at_client, at_server; /* what came */
};

/* What `from` has to say, to `to`, at most `piece` bytes at a time. */
static enum tls_state carry(struct tls *from, struct tls *to, size_t piece, struct buffer *plain)
{
    char data[1000];
    size_t got;
    enum tls_state state = TLS_MORE;
    struct buffer bytes = *tls_output(from);
    *tls_output(from) = buffer_of(bytes.limit);
    for (size_t at = 0; at < bytes.len && (state == TLS_MORE || state == TLS_DATA); at += piece) {
        tls_put(to, text_part(buffer_text(&bytes), at, piece));
        do {
            state = tls_read(to, data, sizeof(data), &got);
            buffer_append(plain, text_from(data, got));
        } while (state == TLS_DATA);
    }
    buffer_done(&bytes);
    return state;
}

/* Until both have nothing to say or one has failed. True: the server let the client in, and the
 * client the server. */
static bool shake(struct ends *ends, struct tls_context *server, struct tls_peer *peer,
                  size_t piece)
{
    char none[1];
    size_t got;
    *ends = (struct ends){ .client = tls_new_client(peer),
                           .server = tls_new(server),
                           .at_client = buffer_of(100000),
                           .at_server = buffer_of(100000) };
    tls_put(ends->client, T(""));
    ends->client_state = tls_read(ends->client, none, 1, &got);
    for (int i = 0; i < 4 && ends->server_state != TLS_FAILED; i++) {
        ends->server_state = carry(ends->client, ends->server, piece, &ends->at_server);
        enum tls_state state = carry(ends->server, ends->client, piece, &ends->at_client);
        if (ends->client_state != TLS_FAILED)
            ends->client_state = state;
    }
    return tls_is_open(ends->client) && tls_is_open(ends->server) &&
           ends->client_state == TLS_MORE && ends->server_state == TLS_MORE;
}

static void finish(struct ends *ends)
{
    tls_free(ends->client);
    tls_free(ends->server);
    buffer_done(&ends->at_client);
    buffer_done(&ends->at_server);
}

struct member {
    struct tls_context *server, *client;
};

static bool member_make(struct member *member, const char *secret, const char *name)
{
    return test_tls_member(secret, name, &member->server, &member->client);
}

static void member_done(struct member *member)
{
    tls_context_unref(member->server);
    tls_context_unref(member->client);
}

static struct tls_peer *peer_of(struct tls_context *client, const char *name)
{
    struct tls_peer *peer = NULL;
    CHECK(tls_peer_new(client, text_of(name), &peer, NULL) == OK, "%s", name);
    return peer;
}

TEST(tls_client_and_server_know_each_other)
{
    static const size_t pieces[] = { 1, 2, 3, 7, 100, 32768 };
    static const char *const names[] = { "web-01", "192.0.2.1" };
    struct member web, lb;
    REQUIRE(member_make(&web, "site", "web-01") && member_make(&lb, "site", "lb-01"), "members");
    for (size_t i = 0; i < COUNT(pieces) * COUNT(names); i++) {
        struct tls_peer *peer = peer_of(lb.client, names[i % COUNT(names)]);
        struct ends ends;
        size_t piece = pieces[i / COUNT(names)];
        CHECK(shake(&ends, web.server, peer, piece), "pieces of %zu", piece);
        CHECK(tls_write(ends.client, T("GET")), "write");
        CHECK(carry(ends.client, ends.server, piece, &ends.at_server) == TLS_MORE, "carried");
        CHECK(text_equal(buffer_text(&ends.at_server), T("GET")), "came");
        CHECK(tls_write(ends.server, T("200")), "write");
        CHECK(carry(ends.server, ends.client, piece, &ends.at_client) == TLS_MORE, "carried");
        CHECK(text_equal(buffer_text(&ends.at_client), T("200")), "came back");
        finish(&ends);
        tls_peer_unref(peer);
    }
    member_done(&web);
    member_done(&lb);
}

TEST(tls_client_refuses_who_it_does_not_know)
{
    struct member web, foreign;
    static const char *const names[] = { "web-01" };
    struct tls_context *public = test_tls_context(names, 1); /* by another authority */
    REQUIRE(member_make(&web, "site", "web-01") && member_make(&foreign, "other", "web-01") &&
                public != NULL,
            "members");
    const struct {
        const char *what;
        struct tls_context *server;
        const char *name;
    } cases[] = {
        { "another server of the site", web.server, "web-02" },
        { "another address", web.server, "192.0.2.2" },
        { "a part of the name", web.server, "web" },
        { "the right name by another site's authority", foreign.server, "web-01" },
        { "the right name by the authority for clients", public, "web-01" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tls_peer *peer = peer_of(web.client, cases[i].name);
        struct ends ends;
        bool is_refused;
        CHECK(!shake(&ends, cases[i].server, peer, 32768), "%s", cases[i].what);
        CHECK(!tls_is_open(ends.client) && !tls_write(ends.client, T("secret")), "%s",
              cases[i].what);
        /* the server may have had nothing for that name in the first place */
        if (ends.client_state == TLS_FAILED && strcmp(cases[i].name, "web-01") == 0) {
            CHECK(tls_failure(ends.client, &is_refused)[0] != '\0' && is_refused, "%s",
                  cases[i].what);
            CHECK(ends.server_state == TLS_FAILED, "the server is told: %s", cases[i].what);
        }
        finish(&ends);
        tls_peer_unref(peer);
    }
    member_done(&web);
    member_done(&foreign);
    tls_context_unref(public);
}

/* A client that believes our authority but shows what it likes. */
static struct tls_context *stranger(const char *by, bool is_member, bool shows)
{
    uint8_t site[LOCAL_CA_SECRET_BYTES] = "site", secret[LOCAL_CA_SECRET_BYTES] = { 0 };
    struct buffer authority = buffer_of(16384), chain = buffer_of(16384), key = buffer_of(16384);
    struct tls_context *context = NULL;
    struct text name = T("lb-01");
    memcpy(secret, by, strlen(by));
    enum err err = local_ca_write(site, T("test"), &authority, NULL);
    if (err == OK)
        err = is_member ? local_ca_issue_member(secret, T("test"), &name, 1, clock_wall_ms() / 1000,
                                                &chain, &key, NULL)
                        : local_ca_issue(secret, T("test"), &name, 1, clock_wall_ms() / 1000,
                                         &chain, &key, NULL);
    struct tls_client_settings settings = { .authorities = buffer_text(&authority) };
    if (shows)
        settings.pair = (struct tls_pair){ buffer_text(&chain), buffer_text(&key), "x" };
    if (err == OK)
        err = tls_client_context_new(&settings, &context, NULL);
    CHECK(err == OK, "a stranger");
    buffer_done(&authority);
    buffer_done(&chain);
    buffer_done(&key);
    return context;
}

TEST(tls_server_refuses_who_it_does_not_know)
{
    static const struct {
        const char *what, *by;
        bool is_member, shows;
    } cases[] = {
        { "no certificate", "site", true, false },
        { "another site's", "other", true, true },
        { "one for clients", "site", false, true },
    };
    struct member web;
    REQUIRE(member_make(&web, "site", "web-01"), "member");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tls_context *client = stranger(cases[i].by, cases[i].is_member, cases[i].shows);
        struct tls_peer *peer = peer_of(client, "web-01");
        struct ends ends;
        bool is_refused = false;
        CHECK(!shake(&ends, web.server, peer, 32768), "%s", cases[i].what);
        CHECK(ends.server_state == TLS_FAILED && ends.at_server.len == 0, "%s", cases[i].what);
        CHECK(tls_failure(ends.server, &is_refused)[0] != '\0', "%s", cases[i].what);
        CHECK(is_refused == cases[i].shows, "%s: %s", cases[i].what,
              tls_failure(ends.server, &is_refused));
        CHECK(ends.client_state == TLS_FAILED, "the client is told: %s", cases[i].what);
        finish(&ends);
        tls_peer_unref(peer);
        tls_context_unref(client);
    }
    member_done(&web);
}

/* Certificates are shown in full handshakes only: its size tells which it was. */
static size_t server_says(struct tls_context *server, struct tls_peer *peer)
{
    char none[1];
    size_t got, len = 0;
    struct buffer plain = buffer_of(1000);
    struct tls *client = tls_new_client(peer), *end = tls_new(server);
    tls_put(client, T(""));
    (void)tls_read(client, none, 1, &got);
    CHECK(carry(client, end, 32768, &plain) == TLS_MORE, "hello");
    len = tls_output(end)->len;
    CHECK(carry(end, client, 32768, &plain) == TLS_MORE && tls_is_open(client), "answer");
    CHECK(carry(client, end, 32768, &plain) == TLS_MORE && tls_is_open(end), "end");
    CHECK(carry(end, client, 32768, &plain) == TLS_MORE, "a session for the next time");
    CHECK(tls_write(client, T("x")), "write");
    CHECK(carry(client, end, 32768, &plain) == TLS_MORE && plain.len == 1, "it works");
    tls_free(client);
    tls_free(end);
    buffer_done(&plain);
    return len;
}

TEST(tls_client_resumes_its_sessions)
{
    struct member web, again, other;
    REQUIRE(member_make(&web, "site", "web-01") && member_make(&again, "site", "web-01") &&
                member_make(&other, "site", "web-02"),
            "members");
    struct tls_peer *peer = peer_of(other.client, "web-01");
    size_t full = server_says(web.server, peer), next = server_says(web.server, peer);
    CHECK(full > 800 && next < 400, "%zu bytes, then %zu", full, next);
    CHECK(server_says(web.server, peer) < 400, "and again");
    CHECK(server_says(again.server, peer) < 400, "after a restart: the same secret of tickets");
    struct tls_peer *second = peer_of(other.client, "web-01");
    CHECK(server_says(web.server, second) > 800, "one of its own");
    tls_peer_unref(second);

    /* what a server gave proves nothing to another */
    struct tls_peer *moved = peer_of(web.client, "192.0.2.1");
    CHECK(server_says(web.server, moved) > 800 && server_says(web.server, moved) < 400, "before");
    CHECK(server_says(other.server, moved) > 800, "a full handshake elsewhere");
    tls_peer_unref(moved);
    tls_peer_unref(peer);
    member_done(&web);
    member_done(&again);
    member_done(&other);
}

TEST(tls_client_names)
{
    struct member web;
    char longest[300];
    memset(longest, 'a', sizeof(longest));
    REQUIRE(member_make(&web, "site", "web-01"), "member");
    const struct {
        struct text name;
        enum err err;
    } cases[] = { { T("web-01"), OK },
                  { T("[2001:db8::1]"), OK },
                  { T("192.0.2.1"), OK },
                  { T(""), ERR_LIMIT },
                  { T("[]"), ERR_LIMIT },
                  { text_from(longest, 255), OK },
                  { text_from(longest, 256), ERR_LIMIT } };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tls_peer *peer = NULL;
        CHECK(tls_peer_new(web.client, cases[i].name, &peer, NULL) == cases[i].err, "%zu", i);
        tls_peer_unref(peer);
    }
    member_done(&web);
}
