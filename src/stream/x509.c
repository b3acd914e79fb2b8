/* Names, keys and chains; see x509.h. */
#include "stream/x509.h"

#include "core/address.h"

#include <openssl/pem.h>
#include <time.h>

/* ---- names ---- */

static GENERAL_NAME *make_name(struct text text)
{
    struct address address;
    GENERAL_NAME *name = GENERAL_NAME_new();
    bool is_ip = address_parse_ip(text, 0, &address) == OK;
    ASN1_STRING *value = is_ip ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    const void *bytes = text.data;
    size_t len = text.len;
    if (is_ip && address_family(&address) == AF_INET) {
        bytes = &address.u.v4.sin_addr;
        len = sizeof(address.u.v4.sin_addr);
    } else if (is_ip) {
        bytes = &address.u.v6.sin6_addr;
        len = sizeof(address.u.v6.sin6_addr);
    }
    if (name != NULL && value != NULL && ASN1_STRING_set(value, bytes, (int)len) == 1) {
        GENERAL_NAME_set0_value(name, is_ip ? GEN_IPADD : GEN_DNS, value);
        return name;
    }
    ASN1_STRING_free(value);
    GENERAL_NAME_free(name);
    return NULL;
}

GENERAL_NAMES *x509_names_new(const struct text *names, size_t count)
{
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    bool is_good = list != NULL;
    for (size_t i = 0; i < count && is_good; i++) {
        GENERAL_NAME *name = make_name(names[i]);
        is_good = name != NULL && sk_GENERAL_NAME_push(list, name) > 0;
        if (!is_good)
            GENERAL_NAME_free(name);
    }
    if (is_good)
        return list;
    GENERAL_NAMES_free(list);
    return NULL;
}

bool x509_covers(X509 *certificate, const char *name)
{
    return X509_check_host(certificate, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1 ||
           X509_check_ip_asc(certificate, name, 0) == 1;
}

/* ---- writing ---- */

static bool take_bytes(BIO *bio, struct buffer *out)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    if (len <= 0)
        return false;
    buffer_append(out, text_from(data, (size_t)len));
    return !out->failed;
}

bool x509_write_certificate(X509 *certificate, struct buffer *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    bool is_written =
        bio != NULL && PEM_write_bio_X509(bio, certificate) == 1 && take_bytes(bio, out);
    BIO_free(bio);
    return is_written;
}

bool x509_write_key(EVP_PKEY *key, struct buffer *out)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    bool is_written = bio != NULL &&
                      PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
                      take_bytes(bio, out);
    BIO_free(bio); /* wipes it */
    return is_written;
}

/* ---- reading ---- */

/* A key with a password would be asked for on the terminal. */
static int no_password(char *out, int size, int is_write, void *argument)
{
    return -1;
}

EVP_PKEY *x509_read_key(struct text pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    ERR_clear_error();
    BIO_free(bio);
    return key;
}

STACK_OF(X509) * x509_read_chain(struct text pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    STACK_OF(X509) *chain = sk_X509_new_null();
    X509 *certificate = NULL;
    while (bio != NULL && chain != NULL &&
           (certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL)
        sk_X509_push(chain, certificate);
    bool is_whole = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    if (chain != NULL && is_whole && sk_X509_num(chain) > 0)
        return chain;
    sk_X509_pop_free(chain, X509_free);
    return NULL;
}

int64_t x509_time_s(const ASN1_TIME *time)
{
    struct tm tm;
    return ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}
