/* What tests of TLS share; see tls_test.h. */
#include "stream/tls_test.h"

#include "core/clock.h"
#include "core/test.h"

#include <openssl/pem.h>

static const uint8_t secret[LOCAL_CA_SECRET_BYTES] = "the secret of a site in a test.";

struct tls_context *test_tls_context(const char *const *names, size_t count)
{
    return test_tls_context_for(names, count, NULL);
}

struct tls_context *test_tls_context_for(const char *const *names, size_t count,
                                         struct challenges *challenges)
{
    enum { MOST = 4, BYTES = 16384 };
    struct buffer chains[MOST], keys[MOST];
    struct tls_pair pairs[MOST];
    struct why why = { "" };
    struct tls_context *context = NULL;
    enum err err = OK;
    for (size_t i = 0; i < count && i < MOST; i++) {
        struct text name = text_of(names[i]);
        chains[i] = buffer_of(BYTES);
        keys[i] = buffer_of(BYTES);
        if (err == OK)
            err = local_ca_issue(secret, T("test"), &name, 1, clock_wall_ms() / 1000, &chains[i],
                                 &keys[i], &why);
        pairs[i] = (struct tls_pair){ buffer_text(&chains[i]), buffer_text(&keys[i]), names[i] };
    }
    struct tls_settings settings = { .pairs = pairs,
                                     .count = count,
                                     .protocols = "http/1.1",
                                     .secret = "tickets",
                                     .own_secret = "tickets of TLS 1.2",
                                     .challenges = challenges };
    if (err == OK)
        err = tls_context_new(&settings, &context, &why);
    CHECK(err == OK, "%s", why.text);
    for (size_t i = 0; i < count && i < MOST; i++) {
        buffer_done(&chains[i]);
        buffer_done(&keys[i]);
    }
    return context;
}

bool test_tls_member(const char *of, const char *name, struct tls_context **server_out,
                     struct tls_context **client_out)
{
    uint8_t bytes[LOCAL_CA_SECRET_BYTES] = { 0 };
    struct buffer authority = buffer_of(16384), chain = buffer_of(16384), key = buffer_of(16384);
    const struct text names[] = { text_of(name), T("192.0.2.1") };
    struct why why = { "" };
    memcpy(bytes, of, strlen(of) < sizeof(bytes) ? strlen(of) : sizeof(bytes));
    enum err err = local_ca_write(bytes, T("test"), &authority, &why);
    if (err == OK)
        err = local_ca_issue_member(bytes, T("test"), names, COUNT(names), clock_wall_ms() / 1000,
                                    &chain, &key, &why);
    struct tls_pair pair = { buffer_text(&chain), buffer_text(&key), name };
    struct tls_settings server = {
        .pairs = &pair, .count = 1, .protocols = "http/1.1", .authorities = buffer_text(&authority)
    };
    struct tls_client_settings client = { .authorities = buffer_text(&authority),
                                          .pair = pair,
                                          .protocol = "http/1.1" };
    memcpy(server.secret, names[0].data, names[0].len < 32 ? names[0].len : 32);
    if (err == OK)
        err = tls_context_new(&server, server_out, &why);
    if (err == OK)
        err = tls_client_context_new(&client, client_out, &why);
    buffer_done(&authority);
    buffer_done(&chain);
    buffer_done(&key);
    return CHECK(err == OK, "%s", why.text);
}

static X509 *read_ca(void)
{
    struct buffer pem = buffer_of(16384);
    struct why why = { "" };
    CHECK(local_ca_write(secret, T("test"), &pem, &why) == OK, "%s", why.text);
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    X509 *ca = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    buffer_done(&pem);
    return ca;
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct test_tls_client *client = SSL_get_app_data(ssl);
    SSL_SESSION_free(client->session);
    client->session = session;
    return 1;
}

static bool client_settings(struct test_tls_client *client, int version)
{
    X509 *ca = read_ca();
    client->settings = SSL_CTX_new(TLS_client_method());
    bool is_set = ca != NULL && client->settings != NULL &&
                  X509_STORE_add_cert(SSL_CTX_get_cert_store(client->settings), ca) == 1 &&
                  SSL_CTX_set_max_proto_version(client->settings, version) == 1;
    X509_free(ca);
    if (client->settings != NULL) {
        SSL_CTX_set_session_cache_mode(client->settings,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(client->settings, keep_session);
    }
    return CHECK(is_set, "settings of the client");
}

bool test_tls_client_start(struct test_tls_client *client, const char *name, const char *protocol,
                           int version)
{
    uint8_t offer[64];
    SSL_SESSION *before = client->session;
    *client = (struct test_tls_client){ 0 };
    if (!client_settings(client, version))
        return false;
    client->ssl = SSL_new(client->settings);
    client->from_server = BIO_new(BIO_s_mem());
    client->to_server = BIO_new(BIO_s_mem());
    SSL_set_bio(client->ssl, client->from_server, client->to_server);
    SSL_set_app_data(client->ssl, client);
    SSL_set_connect_state(client->ssl);
    if (name != NULL) {
        SSL_set_tlsext_host_name(client->ssl, name);
        SSL_set1_host(client->ssl, name);
        SSL_set_verify(client->ssl, SSL_VERIFY_PEER, NULL);
    }
    if (protocol != NULL) {
        offer[0] = (uint8_t)strlen(protocol);
        memcpy(offer + 1, protocol, offer[0]);
        SSL_set_alpn_protos(client->ssl, offer, offer[0] + 1u);
    }
    if (before != NULL)
        SSL_set_session(client->ssl, before);
    SSL_SESSION_free(before);
    return true;
}

void test_tls_client_done(struct test_tls_client *client)
{
    if (client->ssl != NULL) /* else its session would not be resumed */
        SSL_set_shutdown(client->ssl, SSL_SENT_SHUTDOWN);
    SSL_free(client->ssl);
    SSL_CTX_free(client->settings);
    SSL_SESSION_free(client->session);
    ERR_clear_error();
    *client = (struct test_tls_client){ 0 };
}

bool test_tls_client_shake(struct test_tls_client *client)
{
    bool is_done = SSL_do_handshake(client->ssl) == 1;
    ERR_clear_error();
    return is_done;
}
