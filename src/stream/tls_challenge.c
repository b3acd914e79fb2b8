/*
 * TLS-ALPN-01 (RFC 8737): a CA that wants to see whether this server answers for a name asks for
 * the protocol acme-tls/1 and the name; it gets a certificate that this server signs itself, with
 * the digest that only who made the order can know. Nobody else is shown it, no request is ever
 * read on such a connection, and without an order under way there is nothing to ask for.
 */
#include "stream/tls_private.h"

#include "core/clock.h"
#include "metrics/challenges.h"
#include "stream/x509.h"

enum { LIFE_S = 86400 };

/* The extension of a ClientHello that asks for acme-tls/1 and nothing else. */
static const uint8_t asked[] = "\x00\x0b\x0a"
                               "acme-tls/1";
static const uint8_t protocol[] = "\x0a"
                                  "acme-tls/1";

/* ---- the certificate ---- */

static bool add_digest(X509 *certificate, const uint8_t digest[CHALLENGE_DIGEST_BYTES])
{
    uint8_t der[2 + CHALLENGE_DIGEST_BYTES] = { V_ASN1_OCTET_STRING, CHALLENGE_DIGEST_BYTES };
    memcpy(der + 2, digest, CHALLENGE_DIGEST_BYTES);
    ASN1_OBJECT *id = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1); /* id-pe-acmeIdentifier */
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    if (id != NULL && value != NULL && ASN1_OCTET_STRING_set(value, der, sizeof(der)) == 1)
        extension = X509_EXTENSION_create_by_OBJ(NULL, id, 1, value);
    bool is_added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(id);
    return is_added;
}

static bool add_name(X509 *certificate, const char *name)
{
    struct text text = text_of(name);
    GENERAL_NAMES *names = x509_names_new(&text, 1);
    bool is_added =
        names != NULL && X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, 0) == 1;
    GENERAL_NAMES_free(names);
    return is_added;
}

static X509 *make_certificate(EVP_PKEY *key, const char *name, const uint8_t *digest, int64_t now_s)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = certificate != NULL ? X509_get_subject_name(certificate) : NULL;
    if (subject != NULL && X509_set_version(certificate, X509_VERSION_3) == 1 &&
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1 &&
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)"ACME", -1, -1,
                                   0) == 1 &&
        X509_set_issuer_name(certificate, subject) == 1 &&
        ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)(now_s - LIFE_S)) != NULL &&
        ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)(now_s + LIFE_S)) != NULL &&
        X509_set_pubkey(certificate, key) == 1 && add_name(certificate, name) &&
        add_digest(certificate, digest) && X509_sign(certificate, key, EVP_sha256()) > 0)
        return certificate;
    X509_free(certificate);
    return NULL;
}

/* ---- what OpenSSL asks ---- */

static int choose_certificate(SSL *ssl, int *alert, void *argument)
{
    const struct tls_context *context = argument;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    int64_t now_s = clock_wall_ms() / 1000;
    uint8_t digest[CHALLENGE_DIGEST_BYTES];
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    if (name == NULL || !challenges_find(context->challenges, text_of(name), now_s, digest))
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = key != NULL ? make_certificate(key, name, digest, now_s) : NULL;
    bool is_used = certificate != NULL && SSL_use_certificate(ssl, certificate) == 1 &&
                   SSL_use_PrivateKey(ssl, key) == 1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    *alert = SSL_AD_INTERNAL_ERROR;
    return is_used ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *len_out,
                           const unsigned char *offered, unsigned int offered_len, void *argument)
{
    *out = protocol + 1;
    *len_out = sizeof(protocol) - 2;
    return SSL_TLSEXT_ERR_OK;
}

/* Before anything else of a ClientHello: who asks for acme-tls/1 goes on with other settings. */
static int look_at_hello(SSL *ssl, int *alert, void *argument)
{
    const struct tls_context *context = argument;
    const unsigned char *offer;
    size_t len;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &offer,
                                  &len) == 1 &&
        len == sizeof(asked) - 1 && memcmp(offer, asked, len) == 0)
        SSL_set_SSL_CTX(ssl, context->challenge);
    return SSL_CLIENT_HELLO_SUCCESS;
}

bool tls_challenge_prepare(struct tls_context *context)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    if (ssl == NULL || SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) != 1) {
        SSL_CTX_free(ssl);
        return false;
    }
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
    SSL_CTX_set_tlsext_servername_callback(ssl, choose_certificate);
    SSL_CTX_set_tlsext_servername_arg(ssl, context);
    SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
    context->challenge = ssl;
    SSL_CTX_set_client_hello_cb(context->certificates[0].ssl, look_at_hello, context);
    return true;
}
