/*
 * The local certificate authority; see local_ca.h. X.509 as of RFC 5280.
 */
#include "stream/local_ca.h"

#include "core/memory.h"
#include "core/sys.h"
#include "stream/x509.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdio.h>

enum {
    DAY_S = 86400,
    EARLY_S = 3600, /* clocks of clients may be behind */
    SERIAL_BITS = 127,
    FILE_LIMIT = 65536,
};

/* The authority's life: fixed, so that it is the same on every server. */
static const int64_t ca_from_s = 1735689600;  /* 2025-01-01 */
static const int64_t ca_until_s = 2524607999; /* 2049-12-31 */

static enum err failed(struct why *why)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return fail(why, ERR_SYSTEM, "cannot make a certificate: %s",
                reason != NULL ? reason : "OpenSSL does not say why");
}

/* ---- keys ---- */

/* The scalar number `attempt`: nearly always the first one is in the range of the curve. */
static bool derive_scalar(const uint8_t *secret, uint8_t attempt, BIGNUM *scalar)
{
    static const char label[] = "local ca key ";
    uint8_t message[sizeof(label)], out[LOCAL_CA_SECRET_BYTES];
    unsigned int len = 0;
    memcpy(message, label, sizeof(label) - 1);
    message[sizeof(label) - 1] = attempt;
    bool is_made = HMAC(EVP_sha256(), secret, LOCAL_CA_SECRET_BYTES, message, sizeof(message), out,
                        &len) != NULL &&
                   len == sizeof(out) && BN_bin2bn(out, sizeof(out), scalar) != NULL;
    OPENSSL_cleanse(out, sizeof(out));
    return is_made;
}

static bool find_scalar(const EC_GROUP *group, const uint8_t *secret, BIGNUM *scalar)
{
    for (unsigned attempt = 0; attempt <= UINT8_MAX; attempt++) {
        if (!derive_scalar(secret, (uint8_t)attempt, scalar))
            return false;
        if (!BN_is_zero(scalar) && BN_cmp(scalar, EC_GROUP_get0_order(group)) < 0)
            return true;
    }
    return false;
}

static EVP_PKEY *key_of(const uint8_t *public_point, size_t len, const BIGNUM *scalar)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *parameters = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (build != NULL && context != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, public_point, len) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, scalar) == 1)
        parameters = OSSL_PARAM_BLD_to_param(build);
    if (parameters == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters) != 1)
        key = NULL;
    OSSL_PARAM_free(parameters); /* wipes what came from secure memory */
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(context);
    return key;
}

EVP_PKEY *local_ca_key(const uint8_t secret[LOCAL_CA_SECRET_BYTES])
{
    EVP_PKEY *key = NULL;
    uint8_t point_bytes[65];
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *point = group != NULL ? EC_POINT_new(group) : NULL;
    BIGNUM *scalar = BN_secure_new();
    if (scalar != NULL)
        BN_set_flags(scalar, BN_FLG_CONSTTIME);
    if (point != NULL && scalar != NULL && find_scalar(group, secret, scalar) &&
        EC_POINT_mul(group, point, scalar, NULL, NULL, NULL) == 1 &&
        EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, point_bytes,
                           sizeof(point_bytes), NULL) == sizeof(point_bytes))
        key = key_of(point_bytes, sizeof(point_bytes), scalar);
    BN_clear_free(scalar);
    EC_POINT_free(point);
    EC_GROUP_free(group);
    return key;
}

/* ---- certificates ---- */

static bool set_name(X509_NAME *name, const char *field, struct text value)
{
    /* RFC 5280: at most 64 characters; nobody looks here for the names a certificate is good for */
    struct text cut = text_part(value, 0, 64);
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const uint8_t *)cut.data,
                                      (int)cut.len, -1, 0) == 1;
}

static bool set_ca_name(X509_NAME *name, struct text site)
{
    return set_name(name, "O", site) && set_name(name, "CN", T("Trilith local CA"));
}

static bool set_times(X509 *certificate, int64_t from_s, int64_t until_s)
{
    return ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)from_s) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)until_s) != NULL;
}

static bool add_extension(X509 *certificate, X509 *issuer, int id, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, id, value);
    bool is_added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_added;
}

static X509 *make_ca(EVP_PKEY *key, struct text site)
{
    X509 *ca = X509_new();
    if (ca != NULL && X509_set_version(ca, X509_VERSION_3) == 1 &&
        ASN1_INTEGER_set(X509_get_serialNumber(ca), 1) == 1 &&
        set_times(ca, ca_from_s, ca_until_s) && set_ca_name(X509_get_subject_name(ca), site) &&
        X509_set_issuer_name(ca, X509_get_subject_name(ca)) == 1 && X509_set_pubkey(ca, key) == 1 &&
        add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        add_extension(ca, ca, NID_subject_key_identifier, "hash") &&
        X509_sign(ca, key, EVP_sha256()) > 0)
        return ca;
    X509_free(ca);
    return NULL;
}

static bool set_serial(X509 *certificate)
{
    BIGNUM *number = BN_new();
    bool is_set = number != NULL && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, 0) == 1 &&
                  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return is_set;
}

static bool add_names(X509 *certificate, const struct text *names, size_t count)
{
    GENERAL_NAMES *list = x509_names_new(names, count);
    bool is_added =
        list != NULL && X509_add1_ext_i2d(certificate, NID_subject_alt_name, list, 0, 0) == 1;
    GENERAL_NAMES_free(list);
    return is_added;
}

/* What a certificate is good for, and when. */
struct use {
    const char *usage; /* extended key usage */
    int64_t early_s, life_s;
};

static X509 *make_leaf(const struct use *use, EVP_PKEY *key, X509 *ca, EVP_PKEY *signer,
                       const struct text *names, size_t count, int64_t now_s)
{
    X509 *leaf = X509_new();
    if (leaf != NULL && X509_set_version(leaf, X509_VERSION_3) == 1 && set_serial(leaf) &&
        set_times(leaf, now_s - use->early_s, now_s + use->life_s) &&
        set_name(X509_get_subject_name(leaf), "CN", names[0]) &&
        X509_set_issuer_name(leaf, X509_get_subject_name(ca)) == 1 &&
        X509_set_pubkey(leaf, key) == 1 &&
        add_extension(leaf, ca, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(leaf, ca, NID_key_usage, "critical,digitalSignature") &&
        add_extension(leaf, ca, NID_ext_key_usage, use->usage) &&
        add_extension(leaf, ca, NID_subject_key_identifier, "hash") &&
        add_extension(leaf, ca, NID_authority_key_identifier, "keyid:always") &&
        add_names(leaf, names, count) && X509_sign(leaf, signer, EVP_sha256()) > 0)
        return leaf;
    X509_free(leaf);
    return NULL;
}

/* ---- what others call ---- */

enum err local_ca_write(const uint8_t secret[LOCAL_CA_SECRET_BYTES], struct text site,
                        struct buffer *pem_out, struct why *why)
{
    EVP_PKEY *key = local_ca_key(secret);
    X509 *ca = key != NULL ? make_ca(key, site) : NULL;
    bool is_written = ca != NULL && x509_write_certificate(ca, pem_out);
    X509_free(ca);
    EVP_PKEY_free(key);
    return is_written ? OK : failed(why);
}

static bool is_ours(const uint8_t *secret, struct text pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    X509 *ca = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = ca != NULL ? local_ca_key(secret) : NULL;
    bool is_same = key != NULL && EVP_PKEY_eq(key, X509_get0_pubkey(ca)) == 1;
    EVP_PKEY_free(key);
    X509_free(ca);
    BIO_free(bio);
    ERR_clear_error();
    return is_same;
}

enum err local_ca_publish(const uint8_t secret[LOCAL_CA_SECRET_BYTES], struct text site,
                          const char *path, struct why *why)
{
    struct text old;
    if (sys_read_file(path, FILE_LIMIT, &old, NULL) == OK) {
        bool is_good = is_ours(secret, old);
        memory_free((void *)old.data);
        if (is_good)
            return OK;
    }
    AUTO(buffer_done) struct buffer pem = buffer_of(FILE_LIMIT);
    enum err err = local_ca_write(secret, site, &pem, why);
    return err == OK ? sys_replace_file(path, buffer_text(&pem), 0644, (uid_t)-1, (gid_t)-1, why)
                     : err;
}

static enum err issue(const struct use *use, const uint8_t *secret, struct text site,
                      const struct text *names, size_t count, int64_t now_s,
                      struct buffer *chain_out, struct buffer *key_out, struct why *why)
{
    if (count == 0)
        return fail(why, ERR_MISSING, "a certificate needs a name");
    EVP_PKEY *signer = local_ca_key(secret);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *ca = signer != NULL ? make_ca(signer, site) : NULL;
    X509 *leaf =
        ca != NULL && key != NULL ? make_leaf(use, key, ca, signer, names, count, now_s) : NULL;
    bool is_written =
        leaf != NULL && x509_write_certificate(leaf, chain_out) && x509_write_key(key, key_out);
    X509_free(leaf);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(signer);
    return is_written ? OK : failed(why);
}

enum err local_ca_issue(const uint8_t secret[LOCAL_CA_SECRET_BYTES], struct text site,
                        const struct text *names, size_t count, int64_t now_s,
                        struct buffer *chain_out, struct buffer *key_out, struct why *why)
{
    static const struct use use = { "serverAuth", EARLY_S, (int64_t)LOCAL_CA_DAYS * DAY_S };
    return issue(&use, secret, site, names, count, now_s, chain_out, key_out, why);
}

enum err local_ca_issue_member(const uint8_t secret[LOCAL_CA_SECRET_BYTES], struct text site,
                               const struct text *names, size_t count, int64_t now_s,
                               struct buffer *chain_out, struct buffer *key_out, struct why *why)
{
    static const struct use use = { "serverAuth,clientAuth", DAY_S,
                                    (int64_t)LOCAL_CA_MEMBER_DAYS * DAY_S };
    return issue(&use, secret, site, names, count, now_s, chain_out, key_out, why);
}
