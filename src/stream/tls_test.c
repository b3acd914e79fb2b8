/* Tests of the TLS of servers against OpenSSL's own client, without a socket. */
#include "stream/tls_test.h"

#include "core/sys.h"
#include "core/test.h"
#include "metrics/challenges.h"
#include "stream/x509.h"

#include <stdio.h>

static const char *const two_names[] = { "www.example.com", "*.example.org" };

/* Bytes of the client to the server, at most `piece` at a time; what the server decrypts is put
 * behind each other. */
static enum tls_state to_server(struct test_tls_client *client, struct tls *tls, size_t piece,
                                struct buffer *plain)
{
    char cipher[32768], data[1000];
    enum tls_state state = TLS_MORE;
    for (;;) {
        int len = BIO_read(client->to_server, cipher, (int)(piece < 32768 ? piece : 32768));
        if (len <= 0)
            return state;
        tls_put(tls, text_from(cipher, (size_t)len));
        do {
            size_t got;
            state = tls_read(tls, data, sizeof(data), &got);
            buffer_append(plain, text_from(data, got));
        } while (state == TLS_DATA);
        if (state != TLS_MORE)
            return state;
    }
}

static void to_client(struct test_tls_client *client, struct tls *tls)
{
    struct buffer *output = tls_output(tls);
    if (output->len > 0)
        BIO_write(client->from_server, output->data, (int)output->len);
    buffer_clear(output);
}

/* Until both have nothing to say. True: the handshake is done on both sides. */
static bool shake(struct test_tls_client *client, struct tls *tls, size_t piece)
{
    struct buffer plain = buffer_of(1000);
    enum tls_state state = TLS_MORE;
    bool is_done = false;
    for (int i = 0; i < 6 && state == TLS_MORE; i++) {
        is_done = test_tls_client_shake(client);
        state = to_server(client, tls, piece, &plain);
        to_client(client, tls);
    }
    CHECK(plain.len == 0, "nothing was sent yet");
    buffer_done(&plain);
    return is_done && tls_is_open(tls);
}

static void read_tickets(struct test_tls_client *client)
{
    char none[8];
    (void)SSL_read(client->ssl, none, sizeof(none));
    ERR_clear_error();
}

TEST(tls_shakes_hands_in_any_pieces)
{
    static const size_t pieces[] = { 1, 2, 3, 5, 7, 100, 32768 };
    static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    struct tls_context *context = test_tls_context(two_names, 2);
    REQUIRE(context != NULL, "context");
    for (size_t i = 0; i < COUNT(pieces) * COUNT(versions); i++) {
        struct test_tls_client client = { 0 };
        struct tls *tls = tls_new(context);
        struct buffer plain = buffer_of(100000);
        char large[40000];
        int version = versions[i % COUNT(versions)];
        memset(large, 'x', sizeof(large));
        test_tls_client_start(&client, "www.example.com", "http/1.1", version);
        CHECK(shake(&client, tls, pieces[i / 2]), "pieces of %zu", pieces[i / 2]);
        CHECK(SSL_version(client.ssl) == version, "version");
        CHECK(SSL_write(client.ssl, large, sizeof(large)) == sizeof(large), "write");
        CHECK(to_server(&client, tls, pieces[i / 2], &plain) == TLS_MORE, "state");
        CHECK(plain.len == sizeof(large) && memcmp(plain.data, large, plain.len) == 0,
              "%zu bytes came", plain.len);
        CHECK(tls_write(tls, T("answer")), "write");
        to_client(&client, tls);
        CHECK(SSL_read(client.ssl, large, sizeof(large)) == 6 && memcmp(large, "answer", 6) == 0,
              "the answer came");
        buffer_done(&plain);
        tls_free(tls);
        test_tls_client_done(&client);
    }
    tls_context_unref(context);
}

TEST(tls_gives_the_certificate_that_covers_the_name)
{
    static const struct {
        const char *name, *protocol;
        bool is_good;
        int index; /* of the certificate's name */
        int alert;
    } cases[] = {
        { "www.example.com", "http/1.1", true, 0, 0 },
        { "WWW.Example.COM", NULL, true, 0, 0 },
        { "a.example.org", "http/1.1", true, 1, 0 },
        { NULL, "http/1.1", true, 0, 0 },
        { "a.b.example.org", NULL, false, 0, SSL_AD_UNRECOGNIZED_NAME },
        { "example.org", NULL, false, 0, SSL_AD_UNRECOGNIZED_NAME },
        { "other.example.net", NULL, false, 0, SSL_AD_UNRECOGNIZED_NAME },
        { "www.example.com", "h2", false, 0, SSL_AD_NO_APPLICATION_PROTOCOL },
    };
    struct tls_context *context = test_tls_context(two_names, 2);
    REQUIRE(context != NULL, "context");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct test_tls_client client = { 0 };
        struct tls *tls = tls_new(context);
        char name[64] = "";
        test_tls_client_start(&client, cases[i].name, cases[i].protocol, 0);
        bool is_good = shake(&client, tls, 32768);
        CHECK(is_good == cases[i].is_good, "%s", cases[i].name);
        X509 *leaf = SSL_get1_peer_certificate(client.ssl);
        if (leaf != NULL)
            X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, name,
                                      sizeof(name));
        CHECK(!is_good || strcmp(name, two_names[cases[i].index]) == 0, "%s: got %s", cases[i].name,
              name);
        X509_free(leaf);
        tls_free(tls);
        test_tls_client_done(&client);
    }
    tls_context_unref(context);
}

TEST(tls_resumes_in_another_process)
{
    static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (size_t i = 0; i < COUNT(versions); i++) {
        struct test_tls_client client = { 0 };
        /* two contexts with one ticket secret, as two edges have them */
        struct tls_context *first = test_tls_context(two_names, 2);
        struct tls_context *second = test_tls_context(two_names, 2);
        REQUIRE(first != NULL && second != NULL, "contexts");
        struct tls *tls = tls_new(first);
        test_tls_client_start(&client, "a.example.org", "http/1.1", versions[i]);
        CHECK(shake(&client, tls, 32768) && SSL_session_reused(client.ssl) == 0, "first");
        read_tickets(&client);
        tls_free(tls);
        SSL_SESSION *session = client.session;
        REQUIRE(CHECK(session != NULL, "a ticket came"), "ticket");
        client.session = NULL;
        test_tls_client_done(&client);
        client.session = session;
        tls = tls_new(second);
        test_tls_client_start(&client, "a.example.org", "http/1.1", versions[i]);
        CHECK(shake(&client, tls, 32768) && SSL_session_reused(client.ssl) == 1, "resumed");
        tls_free(tls);
        test_tls_client_done(&client);
        tls_context_unref(first);
        tls_context_unref(second);
    }
}

TEST(tls_ends_with_a_notice)
{
    struct tls_context *context = test_tls_context(two_names, 1);
    REQUIRE(context != NULL, "context");
    struct test_tls_client client = { 0 };
    struct tls *tls = tls_new(context);
    struct buffer plain = buffer_of(100);
    char data[16];
    test_tls_client_start(&client, "www.example.com", NULL, 0);
    CHECK(shake(&client, tls, 32768), "handshake");
    SSL_write(client.ssl, "last", 4);
    SSL_shutdown(client.ssl);
    CHECK(to_server(&client, tls, 32768, &plain) == TLS_ENDED, "the end came");
    CHECK(text_equal(buffer_text(&plain), T("last")), "and what was before it");
    CHECK(tls_write(tls, T("still")), "our side is open");
    tls_finish(tls);
    tls_finish(tls);
    CHECK(!tls_write(tls, T("more")), "now it is not");
    to_client(&client, tls);
    CHECK(SSL_read(client.ssl, data, sizeof(data)) == 5, "the answer");
    CHECK(SSL_read(client.ssl, data, sizeof(data)) == 0 &&
              (SSL_get_shutdown(client.ssl) & SSL_RECEIVED_SHUTDOWN) != 0,
          "the notice");
    buffer_done(&plain);
    tls_free(tls);
    test_tls_client_done(&client);
    tls_context_unref(context);
}

TEST(tls_answers_nonsense_with_an_alert)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *what;
    } cases[] = {
        { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, "plain HTTP" },
        { "\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff", 10, "a broken hello" },
        { "\x17\x03\x03\x00\x05hello", 10, "data before the handshake" },
        { "\x15\x03\x03\x00\x02\x02\x28", 7, "an alert" },
        { "\x16\x03\x01\xff\xff\x01", 6, "too long a record" },
        { "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", 11, "SSL 2" },
    };
    struct tls_context *context = test_tls_context(two_names, 1);
    REQUIRE(context != NULL, "context");
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t piece = 1; piece <= cases[i].len; piece += cases[i].len - 1) {
            struct tls *tls = tls_new(context);
            char data[16];
            size_t got;
            enum tls_state state = TLS_MORE;
            for (size_t at = 0; at < cases[i].len && state == TLS_MORE; at += piece) {
                tls_put(tls, text_part(text_from(cases[i].bytes, cases[i].len), at, piece));
                state = tls_read(tls, data, sizeof(data), &got);
            }
            /* an odd hello of SSL 2 may ask for more before it is refused */
            CHECK(state == TLS_FAILED || (i == 5 && state == TLS_MORE), "%s in pieces of %zu: %d",
                  cases[i].what, piece, (int)state);
            CHECK(!tls_write(tls, T("x")) && !tls_is_open(tls), "%s", cases[i].what);
            tls_free(tls);
        }
    }
    tls_context_unref(context);
}

TEST(tls_refuses_old_versions)
{
    struct tls_context *context = test_tls_context(two_names, 1);
    REQUIRE(context != NULL, "context");
    struct test_tls_client client = { 0 };
    struct tls *tls = tls_new(context);
    test_tls_client_start(&client, NULL, NULL, TLS1_1_VERSION);
    SSL_set_security_level(client.ssl, 0);
    CHECK(!shake(&client, tls, 32768), "TLS 1.1");
    tls_free(tls);
    test_tls_client_done(&client);
    tls_context_unref(context);
}

TEST(tls_says_what_is_wrong_with_a_pair)
{
    static const char key_text[] = "-----BEGIN PRIVATE KEY-----\nnonsense\n";
    struct why why = { "" };
    struct tls_context *context = NULL;
    struct buffer chains[2] = { buffer_of(10000), buffer_of(10000) };
    struct buffer keys[2] = { buffer_of(10000), buffer_of(10000) };
    uint8_t secret[LOCAL_CA_SECRET_BYTES] = { 1 };
    struct text name = T("a.example.com");
    for (int i = 0; i < 2; i++)
        REQUIRE(local_ca_issue(secret, T("x"), &name, 1, 1800000000, &chains[i], &keys[i], &why) ==
                    OK,
                "%s", why.text);
    const struct {
        struct tls_pair pair;
        const char *part;
    } cases[] = {
        { { T(""), buffer_text(&keys[0]), "p" }, "p: no certificates" },
        { { T("hello"), buffer_text(&keys[0]), "p" }, "p: no certificates" },
        { { buffer_text(&chains[0]), T(""), "p" }, "p: no private key" },
        { { buffer_text(&chains[0]), T(key_text), "p" }, "p: no private key" },
        { { buffer_text(&chains[0]), buffer_text(&keys[1]), "p" }, "p: the key is not" },
        { { text_part(buffer_text(&chains[0]), 0, 300), buffer_text(&keys[0]), "p" },
          "p: no certificates" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tls_settings settings = { .pairs = &cases[i].pair, .count = 1, .protocols = "x" };
        enum err err = tls_context_new(&settings, &context, &why);
        CHECK(err != OK && strstr(why.text, cases[i].part) != NULL, "%zu: %s", i, why.text);
    }
    struct tls_pair good = { buffer_text(&chains[0]), buffer_text(&keys[0]), "p" };
    struct tls_settings settings = { .pairs = &good, .count = 1, .protocols = "x" };
    CHECK(tls_context_new(&settings, &context, &why) == OK, "%s", why.text);
    CHECK(tls_context_expires_s(context) == 1800000000 + LOCAL_CA_DAYS * 86400L, "end");
    tls_context_unref(context);
    for (int i = 0; i < 2; i++) {
        buffer_done(&chains[i]);
        buffer_done(&keys[i]);
    }
}

/* ---- tls-alpn-01 ---- */

static const uint8_t digest[CHALLENGE_DIGEST_BYTES] = "what only the account can know.";

/* Whether it is the certificate of RFC 8737 3 for that name, and that only. */
static bool is_answer(X509 *leaf, const char *name)
{
    ASN1_OBJECT *id = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
    int at = leaf != NULL ? X509_get_ext_by_OBJ(leaf, id, -1) : -1;
    X509_EXTENSION *extension = at >= 0 ? X509_get_ext(leaf, at) : NULL;
    const ASN1_OCTET_STRING *value = extension != NULL ? X509_EXTENSION_get_data(extension) : NULL;
    GENERAL_NAMES *names =
        leaf != NULL ? X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL) : NULL;
    bool is_good = value != NULL && X509_EXTENSION_get_critical(extension) == 1 &&
                   ASN1_STRING_length(value) == 34 &&
                   memcmp(ASN1_STRING_get0_data(value), "\x04\x20", 2) == 0 &&
                   memcmp(ASN1_STRING_get0_data(value) + 2, digest, sizeof(digest)) == 0 &&
                   sk_GENERAL_NAME_num(names) == 1 && X509_check_host(leaf, name, 0, 0, NULL) == 1;
    GENERAL_NAMES_free(names);
    ASN1_OBJECT_free(id);
    return is_good;
}

TEST(tls_answers_a_ca_that_proves_a_name)
{
    static const struct {
        const char *name, *protocol;
        int version;
        bool is_good, is_answer;
    } cases[] = {
        { "new.example.net", "acme-tls/1", TLS1_3_VERSION, true, true },
        { "New.Example.NET", "acme-tls/1", TLS1_2_VERSION, true, true },
        { "www.example.com", "acme-tls/1", 0, false, false }, /* not under way */
        { NULL, "acme-tls/1", 0, false, false },
        { "www.example.com", "http/1.1", 0, true, false },
        { "new.example.net", "http/1.1", 0, false, false }, /* nobody else is shown it */
    };
    int fd = challenges_open();
    struct challenges *writer = challenges_map(fd, true);
    struct tls_context *context = test_tls_context_for(two_names, 2, challenges_map(fd, false));
    REQUIRE(context != NULL && writer != NULL, "context");
    CHECK(challenges_put(writer, T("new.example.net"), digest, INT64_MAX, 0), "put");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct test_tls_client client = { 0 };
        struct tls *tls = tls_new(context);
        struct buffer plain = buffer_of(1000);
        test_tls_client_start(&client, cases[i].name, cases[i].protocol, cases[i].version);
        SSL_set_verify(client.ssl, SSL_VERIFY_NONE, NULL);
        bool is_good = shake(&client, tls, i % 2 == 0 ? 1 : 32768) ||
                       (test_tls_client_shake(&client) && tls_is_open(tls));
        CHECK(is_good == cases[i].is_good, "%zu: handshake", i);
        X509 *leaf = SSL_get1_peer_certificate(client.ssl);
        CHECK(is_answer(leaf, cases[i].name) == cases[i].is_answer, "%zu: certificate", i);
        SSL_write(client.ssl, "GET / HTTP/1.1\r\n\r\n", 18);
        enum tls_state state = is_good ? to_server(&client, tls, 32768, &plain) : TLS_MORE;
        CHECK(!cases[i].is_answer || (state == TLS_ENDED && plain.len == 0), "%zu: no request", i);
        CHECK(!is_good || cases[i].is_answer || plain.len == 18, "%zu: others talk", i);
        buffer_done(&plain);
        X509_free(leaf);
        tls_free(tls);
        test_tls_client_done(&client);
    }
    tls_context_unref(context);
    challenges_unmap(writer);
    fd_close(&fd);
}
