/*
 * See peer_tls.h. OpenSSL wants an external key as a session that both sides "resume": made by hand
 * from the key, with the one cipher suite whose hash is the key's (SHA-256).
 */
#include "process/peer_tls.h"

#include "core/memory.h"
#include "core/openssl.h"
#include "core/text.h"

#include <string.h>

static const unsigned char suite[] = { 0x13, 0x01 }; /* TLS_AES_128_GCM_SHA256 */

struct peer_tls {
    SSL_CTX *server, *client;
    SSL_SESSION *session;
    char identity[256];
};

static int find_session(SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **out)
{
    struct peer_tls *tls = SSL_get_app_data(ssl);
    *out = NULL;
    if (len != strlen(tls->identity) || memcmp(identity, tls->identity, len) != 0)
        return 1; /* unknown: goes on without, and ends for lack of a certificate */
    SSL_SESSION_up_ref(tls->session);
    *out = tls->session;
    return 1;
}

static int use_session(SSL *ssl, const EVP_MD *digest, const unsigned char **identity, size_t *len,
                       SSL_SESSION **out)
{
    struct peer_tls *tls = SSL_get_app_data(ssl);
    (void)digest; /* there is one suite */
    SSL_SESSION_up_ref(tls->session);
    *out = tls->session;
    *identity = (const unsigned char *)tls->identity;
    *len = strlen(tls->identity);
    return 1;
}

static SSL_CTX *make_context(bool is_server)
{
    SSL_CTX *context = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
    if (context == NULL)
        return NULL;
    bool is_set = SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
                  SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
                  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1 &&
                  SSL_CTX_set_num_tickets(context, 0) == 1;
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    if (is_server) {
        SSL_CTX_set_psk_find_session_callback(context, find_session);
    } else {
        SSL_CTX_set_psk_use_session_callback(context, use_session);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL); /* no certificate can pass */
    }
    if (!is_set) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

static SSL_SESSION *make_session(SSL_CTX *context, const uint8_t key[PEER_KEY_BYTES])
{
    SSL *ssl = SSL_new(context);
    SSL_SESSION *session = SSL_SESSION_new();
    const SSL_CIPHER *cipher = ssl != NULL ? SSL_CIPHER_find(ssl, suite) : NULL;
    bool is_made = cipher != NULL && session != NULL &&
                   SSL_SESSION_set1_master_key(session, key, PEER_KEY_BYTES) == 1 &&
                   SSL_SESSION_set_cipher(session, cipher) == 1 &&
                   SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1;
    SSL_free(ssl);
    if (is_made)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

enum err peer_tls_new(const uint8_t key[PEER_KEY_BYTES], const char *identity,
                      struct peer_tls **tls_out, struct why *why)
{
    struct peer_tls *tls = NEW(struct peer_tls);
    tls->server = make_context(true);
    tls->client = make_context(false);
    if (tls->server != NULL && tls->client != NULL)
        tls->session = make_session(tls->client, key);
    bool fits = text_copy_to(text_of(identity), tls->identity, sizeof(tls->identity));
    if (tls->session == NULL || !fits) {
        char reason[128];
        ERR_error_string_n(ERR_get_error(), reason, sizeof(reason));
        peer_tls_free(tls);
        return fail(why, ERR_SYSTEM, "cannot set TLS up: %s", reason);
    }
    *tls_out = tls;
    return OK;
}

void peer_tls_free(struct peer_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->server);
    SSL_CTX_free(tls->client);
    SSL_SESSION_free(tls->session);
    memory_free(tls);
}

/* ---- connections ---- */

struct peer_secured {
    SSL *ssl;
};

struct peer_secured *peer_secured_new(struct peer_tls *tls, int fd, bool is_server)
{
    SSL *ssl = SSL_new(is_server ? tls->server : tls->client);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_app_data(ssl, tls);
    if (is_server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    struct peer_secured *secured = NEW(struct peer_secured);
    secured->ssl = ssl;
    return secured;
}

void peer_secured_free(struct peer_secured *secured)
{
    if (secured == NULL)
        return;
    SSL_free(secured->ssl);
    ERR_clear_error();
    memory_free(secured);
}

static enum peer_io result_of(struct peer_secured *secured, int result)
{
    switch (SSL_get_error(secured->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return PEER_WAIT_READ;
    case SSL_ERROR_WANT_WRITE:
        return PEER_WAIT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return PEER_ENDED;
    default:
        return PEER_BROKEN;
    }
}

enum peer_io peer_secured_handshake(struct peer_secured *secured)
{
    ERR_clear_error();
    int result = SSL_do_handshake(secured->ssl);
    if (result != 1)
        return result_of(secured, result);
    /* it cannot have been by anything but the key: belt and braces */
    bool is_proven =
        SSL_session_reused(secured->ssl) == 1 && SSL_version(secured->ssl) == TLS1_3_VERSION;
    return is_proven ? PEER_DONE : PEER_BROKEN;
}

enum peer_io peer_secured_read(struct peer_secured *secured, char *data, size_t size,
                               size_t *got_out)
{
    ERR_clear_error();
    int result = SSL_read_ex(secured->ssl, data, size, got_out);
    return result == 1 ? PEER_DONE : result_of(secured, result);
}

enum peer_io peer_secured_write(struct peer_secured *secured, const char *data, size_t len,
                                size_t *done_out)
{
    ERR_clear_error();
    int result = SSL_write_ex(secured->ssl, data, len, done_out);
    return result == 1 ? PEER_DONE : result_of(secured, result);
}

enum peer_io peer_secured_finish(struct peer_secured *secured)
{
    ERR_clear_error();
    int result = SSL_shutdown(secured->ssl);
    return result >= 0 ? PEER_DONE : result_of(secured, result);
}
