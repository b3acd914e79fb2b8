/*
 * The side that connects, and what a server asks of it in `tls: { inside: mutual }`: names,
 * verification (RFC 9525), sessions. A session is used for as many connections as begin before the
 * server gives the next one: without early data that shows nothing but that they are ours.
 */
#include "stream/tls_private.h"

#include "core/address.h"
#include "core/memory.h"
#include "stream/x509.h"

#include <openssl/x509v3.h>

/* ---- contexts ---- */

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_peer *peer = SSL_get_app_data(ssl);
    SSL_SESSION_free(peer->session);
    peer->session = session;
    return 1; /* it is ours now */
}

static bool offer_protocol(SSL_CTX *ssl, const char *protocol)
{
    uint8_t offer[32];
    size_t len = protocol != NULL ? strlen(protocol) : 0;
    if (len == 0)
        return true;
    if (len >= sizeof(offer))
        return false;
    offer[0] = (uint8_t)len;
    memcpy(offer + 1, protocol, len);
    return SSL_CTX_set_alpn_protos(ssl, offer, (unsigned)len + 1) == 0;
}

static SSL_CTX *make_settings(const struct tls_client_settings *settings)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());
    if (ssl == NULL)
        return NULL;
    int oldest = settings->pair.chain.len > 0 ? TLS1_3_VERSION : TLS1_2_VERSION;
    bool is_set = SSL_CTX_set_min_proto_version(ssl, oldest) == 1 &&
                  offer_protocol(ssl, settings->protocol) &&
                  (settings->authorities.len > 0 || SSL_CTX_set_default_verify_paths(ssl) == 1);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl, keep_session);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (is_set)
        return ssl;
    SSL_CTX_free(ssl);
    return NULL;
}

/* Whose signature counts. */
static enum err add_authorities(SSL_CTX *ssl, struct text pem, struct why *why)
{
    STACK_OF(X509) *chain = x509_read_chain(pem);
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);
    bool is_added = chain != NULL;
    for (int i = 0; is_added && i < sk_X509_num(chain); i++)
        is_added = X509_STORE_add_cert(store, sk_X509_value(chain, i)) == 1;
    sk_X509_pop_free(chain, X509_free);
    ERR_clear_error();
    return is_added ? OK : fail(why, ERR_SYNTAX, "no certificates of an authority in PEM form");
}

static enum err show_pair(SSL_CTX *ssl, const struct tls_pair *pair, struct why *why)
{
    STACK_OF(X509) *chain = x509_read_chain(pair->chain);
    EVP_PKEY *key = chain != NULL ? x509_read_key(pair->key) : NULL;
    X509 *leaf = chain != NULL ? sk_X509_shift(chain) : NULL;
    bool is_set = key != NULL && X509_check_private_key(leaf, key) == 1 &&
                  SSL_CTX_use_cert_and_key(ssl, leaf, key, chain, 1) == 1;
    X509_free(leaf);
    sk_X509_pop_free(chain, X509_free);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return is_set
               ? OK
               : fail(why, ERR_SYNTAX, "%s: no certificate with its key in PEM form", pair->name);
}

static enum err fill(struct tls_context *context, const struct tls_client_settings *settings,
                     struct why *why)
{
    context->method = tls_method_new();
    context->certificates[0].ssl = make_settings(settings);
    context->count = 1;
    SSL_CTX *ssl = context->certificates[0].ssl;
    ERR_clear_error();
    if (context->method == NULL || ssl == NULL)
        return fail(why, ERR_SYSTEM, "cannot set TLS up");
    enum err err = OK;
    if (settings->authorities.len > 0)
        err = add_authorities(ssl, settings->authorities, why);
    if (err == OK && settings->pair.chain.len > 0)
        err = show_pair(ssl, &settings->pair, why);
    return err;
}

enum err tls_client_context_new(const struct tls_client_settings *settings,
                                struct tls_context **context_out, struct why *why)
{
    struct tls_context *context = NEW(struct tls_context);
    context->references = 1;
    enum err err = fill(context, settings, why);
    if (err != OK) {
        tls_context_unref(context);
        return err;
    }
    *context_out = context;
    return OK;
}

enum err tls_demand_certificates(SSL_CTX *ssl, struct text authorities, struct why *why)
{
    static const uint8_t name[] = "inside"; /* sessions of other doors are not for this one */
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_session_id_context(ssl, name, sizeof(name)) != 1 ||
        SSL_CTX_set_num_tickets(ssl, 1) != 1)
        return fail(why, ERR_SYSTEM, "cannot set TLS up");
    return add_authorities(ssl, authorities, why);
}

/* ---- peers ---- */

enum err tls_peer_new(struct tls_context *client, struct text name, struct tls_peer **peer_out,
                      struct why *why)
{
    struct address address;
    struct tls_peer *peer = NEW(struct tls_peer);
    struct text bare = text_starts_with(name, T("[")) && text_ends_with(name, T("]"))
                           ? text_part(name, 1, name.len - 2)
                           : name;
    if (bare.len == 0 || !text_copy_to(bare, peer->name, sizeof(peer->name))) {
        memory_free(peer);
        return fail(why, ERR_LIMIT, "'%.*s' is no name of a server", FMT(name));
    }
    peer->references = 1;
    peer->is_address = address_parse_ip(bare, 0, &address) == OK;
    peer->context = tls_context_ref(client);
    *peer_out = peer;
    return OK;
}

struct tls_peer *tls_peer_ref(struct tls_peer *peer)
{
    peer->references++;
    return peer;
}

void tls_peer_unref(struct tls_peer *peer)
{
    if (peer == NULL || --peer->references > 0)
        return;
    SSL_SESSION_free(peer->session);
    tls_context_unref(peer->context);
    memory_free(peer);
}

void tls_peer_forget(struct tls_peer *peer)
{
    SSL_SESSION_free(peer->session);
    peer->session = NULL;
}

/* A copy: OpenSSL lets each session of TLS 1.3 be used once. */
static bool use_session(const struct tls_peer *peer, SSL *ssl)
{
    if (peer->session == NULL)
        return true;
    SSL_SESSION *session = SSL_SESSION_dup(peer->session);
    bool is_used = session != NULL && SSL_set_session(ssl, session) == 1;
    SSL_SESSION_free(session);
    return is_used;
}

bool tls_peer_begin(struct tls_peer *peer, SSL *ssl)
{
    X509_VERIFY_PARAM *wanted = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                                X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    SSL_set_app_data(ssl, peer);
    SSL_set_connect_state(ssl);
    /* RFC 6066: no address in the server's name */
    bool is_named = peer->is_address ? X509_VERIFY_PARAM_set1_ip_asc(wanted, peer->name) == 1
                                     : X509_VERIFY_PARAM_set1_host(wanted, peer->name, 0) == 1 &&
                                           SSL_set_tlsext_host_name(ssl, peer->name) == 1;
    return is_named && use_session(peer, ssl);
}
