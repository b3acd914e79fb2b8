/*
 * What the connections of a server share: protocol settings (Mozilla's "intermediate"), the
 * certificates and which of them a client gets, ALPN.
 */
#include "stream/tls_private.h"

#include "core/address.h"
#include "core/memory.h"
#include "core/sys.h"
#include "metrics/challenges.h"
#include "stream/x509.h"

#include <sys/prctl.h>

enum { SESSION_S = 12 * 3600 }; /* the keys of tickets live at least so long */
enum { SECURE_HEAP_BYTES = 256 * 1024, SECURE_PIECE_BYTES = 32 };

/* wiki.mozilla.org/Security/Server_Side_TLS, "intermediate", without finite-field DHE */
static const char suites_tls12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                   "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                   "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char suites_tls13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char groups[] = "X25519:prime256v1:secp384r1";

void tls_protect_keys(void)
{
    /* where memory may not be locked it still is kept out of dumps; a second call changes nothing
     */
    (void)CRYPTO_secure_malloc_init(SECURE_HEAP_BYTES, SECURE_PIECE_BYTES);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* ---- what OpenSSL asks during a handshake ---- */

static int choose_certificate(SSL *ssl, int *alert, void *argument)
{
    const struct tls_context *context = SSL_get_app_data(ssl);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    for (size_t i = 0; i < context->count; i++) {
        if (!x509_covers(context->certificates[i].leaf, name))
            continue;
        if (i > 0)
            SSL_set_SSL_CTX(ssl, context->certificates[i].ssl);
        return SSL_TLSEXT_ERR_OK;
    }
    struct address address; /* RFC 6066 3: not a name, so nothing was asked for */
    if (address_parse_ip(text_of(name), 0, &address) == OK)
        return SSL_TLSEXT_ERR_NOACK;
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *len_out,
                           const unsigned char *offered, unsigned int offered_len, void *argument)
{
    const struct tls_context *context = SSL_get_app_data(ssl);
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, len_out, context->protocols,
                              (unsigned)context->protocols_len, offered,
                              offered_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* ---- making ---- */

static SSL_CTX *make_settings(void)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    if (ssl == NULL)
        return NULL;
    bool is_set = SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) == 1 &&
                  SSL_CTX_set_cipher_list(ssl, suites_tls12) == 1 &&
                  SSL_CTX_set_ciphersuites(ssl, suites_tls13) == 1 &&
                  SSL_CTX_set1_groups_list(ssl, groups) == 1 &&
                  SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, tls_ticket_key) == 1;
    SSL_CTX_set_timeout(ssl, SESSION_S);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF); /* tickets hold all of it */
    SSL_CTX_set_num_tickets(ssl, 1); /* a resumption brings the next; OpenSSL's second costs much */
    SSL_CTX_set_options(ssl,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
    SSL_CTX_set_tlsext_servername_callback(ssl, choose_certificate);
    SSL_CTX_set_tlsext_status_cb(ssl, tls_staple_give);
    if (is_set)
        return ssl;
    SSL_CTX_free(ssl);
    return NULL;
}

static enum err use_pair(struct tls_certificate *certificate, STACK_OF(X509) * chain, EVP_PKEY *key,
                         const char *name, struct why *why)
{
    X509 *leaf = sk_X509_shift(chain);
    certificate->leaf = leaf;
    enum err err = OK;
    if (X509_check_private_key(leaf, key) != 1)
        err = fail(why, ERR_SYNTAX,
                   "%s: the key is not that of the first certificate of the chain (the server's "
                   "own must come first)",
                   name);
    else if (SSL_CTX_use_cert_and_key(certificate->ssl, leaf, key, chain, 1) != 1)
        err = fail(why, ERR_UNSUPPORTED, "%s: %s", name,
                   ERR_reason_error_string(ERR_peek_last_error()));
    ERR_clear_error();
    X509_free(leaf); /* certificate->ssl has its own reference */
    return err;
}

static bool has_name(const GENERAL_NAMES *names, const GENERAL_NAME *name)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        if (GENERAL_NAME_cmp(sk_GENERAL_NAME_value(names, i), (GENERAL_NAME *)name) == 0)
            return true;
    return false;
}

static bool has_names(const GENERAL_NAMES *names, const GENERAL_NAMES *wanted)
{
    bool has_all = names != NULL && wanted != NULL;
    for (int i = 0; has_all && i < sk_GENERAL_NAME_num(wanted); i++)
        has_all = has_name(names, sk_GENERAL_NAME_value(wanted, i));
    return has_all;
}

static bool are_twins(X509 *leaf, X509 *other)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    GENERAL_NAMES *others = X509_get_ext_d2i(other, NID_subject_alt_name, NULL, NULL);
    bool are_same = has_names(names, others) && has_names(others, names) &&
                    EVP_PKEY_get_base_id(X509_get0_pubkey(leaf)) !=
                        EVP_PKEY_get_base_id(X509_get0_pubkey(other));
    GENERAL_NAMES_free(names);
    GENERAL_NAMES_free(others);
    ERR_clear_error();
    return are_same;
}

/* Settings for one more certificate: those of an earlier one with the same names and a key of
 * another kind, so that OpenSSL chooses by what the client can do, or new ones. */
static SSL_CTX *find_settings(struct tls_context *context, X509 *leaf)
{
    for (size_t i = 0; i < context->count; i++) {
        if (!are_twins(leaf, context->certificates[i].leaf))
            continue;
        SSL_CTX_up_ref(context->certificates[i].ssl);
        return context->certificates[i].ssl;
    }
    return make_settings();
}

/* Who signed it, if that is in the chain; a reference of its own. */
static X509 *find_issuer(const STACK_OF(X509) * chain, X509 *leaf)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *at = sk_X509_value(chain, i);
        if (X509_check_issued(at, leaf) == X509_V_OK && X509_up_ref(at) == 1)
            return at;
    }
    return NULL;
}

static enum err add_pair(struct tls_context *context, const struct tls_pair *pair, struct why *why)
{
    struct tls_certificate *certificate = &context->certificates[context->count];
    STACK_OF(X509) *chain = x509_read_chain(pair->chain);
    EVP_PKEY *key = chain != NULL ? x509_read_key(pair->key) : NULL;
    enum err err = OK;
    ERR_clear_error();
    certificate->ssl = key != NULL ? find_settings(context, sk_X509_value(chain, 0)) : NULL;
    if (chain == NULL)
        err = fail(why, ERR_SYNTAX, "%s: no certificates in PEM form", pair->name);
    else if (key == NULL)
        err =
            fail(why, ERR_SYNTAX, "%s: no private key in PEM form without a password", pair->name);
    else if (certificate->ssl == NULL)
        err = fail(why, ERR_SYSTEM, "cannot set TLS up");
    else
        err = use_pair(certificate, chain, key, pair->name, why);
    if (err == OK)
        certificate->issuer = find_issuer(chain, certificate->leaf);
    sk_X509_pop_free(chain, X509_free);
    EVP_PKEY_free(key);
    if (err != OK) {
        SSL_CTX_free(certificate->ssl);
        return err;
    }
    int64_t expires_s = x509_time_s(X509_get0_notAfter(certificate->leaf));
    if (context->count == 0 || expires_s < context->expires_s) {
        context->expires_s = expires_s;
        context->expires_first = context->count;
    }
    context->count++;
    return OK;
}

/* "h2,http/1.1" as it is in the extension: a byte of length before each. */
static bool set_protocols(struct tls_context *context, struct text names)
{
    while (names.len > 0) {
        struct text name = text_next(&names, ',');
        if (name.len + 1 > sizeof(context->protocols) - context->protocols_len)
            return false;
        context->protocols[context->protocols_len] = (uint8_t)name.len;
        memcpy(context->protocols + context->protocols_len + 1, name.data, name.len);
        context->protocols_len += name.len + 1;
    }
    return true;
}

/* Who knows the secret can make sessions up, so none is nobody's. */
static void take_secret(uint8_t out[TLS_SECRET_BYTES], const uint8_t given[TLS_SECRET_BYTES])
{
    static const uint8_t none[TLS_SECRET_BYTES];
    if (CRYPTO_memcmp(given, none, sizeof(none)) == 0)
        sys_random(out, TLS_SECRET_BYTES);
    else
        memcpy(out, given, TLS_SECRET_BYTES);
}

static enum err fill(struct tls_context *context, const struct tls_settings *settings,
                     struct why *why)
{
    context->method = tls_method_new();
    if (context->method == NULL)
        return fail(why, ERR_SYSTEM, "cannot set TLS up");
    if (settings->count == 0)
        return fail(why, ERR_MISSING, "no certificate");
    if (settings->count > TLS_PAIRS_LIMIT)
        return fail(why, ERR_LIMIT, "too many certificates, at most %d", TLS_PAIRS_LIMIT);
    if (!set_protocols(context, text_of(settings->protocols)))
        return fail(why, ERR_LIMIT, "too many protocols");
    take_secret(context->secret, settings->secret);
    take_secret(context->own_secret, settings->own_secret);
    context->metrics = settings->metrics;
    enum err err = OK;
    for (size_t i = 0; i < settings->count && err == OK; i++)
        err = add_pair(context, &settings->pairs[i], why);
    if (err == OK && settings->challenges != NULL && !tls_challenge_prepare(context))
        err = fail(why, ERR_SYSTEM, "cannot set TLS up");
    if (err == OK && settings->authorities.len > 0)
        err = tls_demand_certificates(context->certificates[0].ssl, settings->authorities, why);
    return err;
}

enum err tls_context_new(const struct tls_settings *settings, struct tls_context **context_out,
                         struct why *why)
{
    struct tls_context *context = NEW(struct tls_context);
    context->references = 1;
    context->challenges = settings->challenges;
    enum err err = fill(context, settings, why);
    if (err != OK) {
        tls_context_unref(context);
        return err;
    }
    *context_out = context;
    return OK;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    context->references++;
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (context == NULL || --context->references > 0)
        return;
    for (size_t i = 0; i < context->count; i++) {
        OPENSSL_free(context->certificates[i].staple.der);
        X509_free(context->certificates[i].issuer);
        SSL_CTX_free(context->certificates[i].ssl);
    }
    SSL_CTX_free(context->challenge);
    challenges_unmap(context->challenges);
    while (context->spare_count > 0)
        buffer_done(&context->spares[--context->spare_count]);
    BIO_meth_free(context->method);
    tls_tickets_done(&context->tickets);
    OPENSSL_cleanse(context->secret, sizeof(context->secret));
    OPENSSL_cleanse(context->own_secret, sizeof(context->own_secret));
    memory_free(context);
}

int64_t tls_context_expires_s(const struct tls_context *context)
{
    return context->expires_s;
}

size_t tls_context_expires_first(const struct tls_context *context)
{
    return context->expires_first;
}
