/* Tests of the local certificate authority: what it makes is verified by OpenSSL. */
#include "stream/local_ca.h"

#include "core/openssl.h"
#include "core/test.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

static const uint8_t secret[LOCAL_CA_SECRET_BYTES] = "a secret";
enum { NOW_S = 1800000000 };

static X509 *read_pem(const struct buffer *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return certificate;
}

static X509 *make_ca(const uint8_t *from)
{
    struct buffer pem = buffer_of(10000);
    struct why why = { "" };
    CHECK(local_ca_write(from, T("www.example.com"), &pem, &why) == OK, "%s", why.text);
    X509 *ca = read_pem(&pem);
    buffer_done(&pem);
    return ca;
}

static X509 *make_leaf(const struct text *names, size_t count)
{
    struct buffer chain = buffer_of(10000), key = buffer_of(10000);
    struct why why = { "" };
    CHECK(local_ca_issue(secret, T("www.example.com"), names, count, NOW_S, &chain, &key, &why) ==
              OK,
          "%s", why.text);
    X509 *leaf = read_pem(&chain);
    buffer_done(&chain);
    buffer_done(&key);
    return leaf;
}

static int verify(X509 *leaf, X509 *ca, int64_t at_s)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(context, store, leaf, NULL);
    X509_STORE_CTX_set_time(context, 0, (time_t)at_s);
    X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(context), X509_V_FLAG_X509_STRICT);
    X509_verify_cert(context);
    int error = X509_STORE_CTX_get_error(context);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    return error;
}

TEST(local_ca_is_the_same_on_every_server)
{
    static const struct text names[] = { T("www.example.com"), T("*.example.com"), T("192.0.2.1"),
                                         T("2001:db8::1") };
    static const uint8_t other_secret[LOCAL_CA_SECRET_BYTES] = "another secret";
    static const int64_t life_s = LOCAL_CA_DAYS * 86400L;
    X509 *first = make_ca(secret), *second = make_ca(secret), *other = make_ca(other_secret);
    X509 *leaf = make_leaf(names, COUNT(names));
    REQUIRE(first != NULL && second != NULL && other != NULL && leaf != NULL, "certificates");
    CHECK(verify(leaf, first, NOW_S) == X509_V_OK, "%s",
          X509_verify_cert_error_string(verify(leaf, first, NOW_S)));
    CHECK(verify(leaf, second, NOW_S) == X509_V_OK, "the other server's");
    CHECK(verify(leaf, other, NOW_S) != X509_V_OK, "another site's");
    CHECK(verify(leaf, first, NOW_S + life_s - 60) == X509_V_OK, "last minute");
    CHECK(verify(leaf, first, NOW_S + life_s + 60) == X509_V_ERR_CERT_HAS_EXPIRED, "too late");
    CHECK(verify(leaf, first, NOW_S - 7200) == X509_V_ERR_CERT_NOT_YET_VALID, "too early");
    CHECK(X509_check_host(leaf, "a.example.com", 0, 0, NULL) == 1, "wildcard");
    CHECK(X509_check_host(leaf, "example.org", 0, 0, NULL) == 0, "another name");
    CHECK(X509_check_ip_asc(leaf, "192.0.2.1", 0) == 1, "IPv4");
    CHECK(X509_check_ip_asc(leaf, "2001:db8::1", 0) == 1, "IPv6");
    CHECK(X509_check_ip_asc(leaf, "192.0.2.2", 0) == 0, "another address");
    X509_free(leaf);
    X509_free(first);
    X509_free(second);
    X509_free(other);
}

TEST(local_ca_names_smuggle_nothing_in)
{
    static const struct text names[] = { T("a.example.com,DNS:evil.example"),
                                         T("b.example.com\0.evil.example") };
    X509 *leaf = make_leaf(names, COUNT(names));
    REQUIRE(leaf != NULL, "certificate");
    CHECK(X509_check_host(leaf, "evil.example", 0, 0, NULL) != 1, "by a comma");
    CHECK(X509_check_host(leaf, "b.example.com", 0, 0, NULL) != 1, "by a NUL");
    X509_free(leaf);
}

TEST(local_ca_makes_new_keys)
{
    static const struct text names[] = { T("a.example.com") };
    X509 *first = make_leaf(names, 1), *second = make_leaf(names, 1);
    REQUIRE(first != NULL && second != NULL, "certificates");
    CHECK(EVP_PKEY_eq(X509_get0_pubkey(first), X509_get0_pubkey(second)) != 1, "keys differ");
    CHECK(ASN1_INTEGER_cmp(X509_get0_serialNumber(first), X509_get0_serialNumber(second)) != 0,
          "numbers differ");
    X509_free(first);
    X509_free(second);
}

TEST(local_ca_members_may_connect_and_answer)
{
    static const struct text names[] = { T("web-01"), T("192.0.2.1") };
    struct buffer chain = buffer_of(10000), key = buffer_of(10000);
    struct why why = { "" };
    enum err err = local_ca_issue_member(secret, T("www.example.com"), names, COUNT(names), NOW_S,
                                         &chain, &key, &why);
    X509 *leaf = read_pem(&chain), *ca = make_ca(secret), *for_clients = make_leaf(names, 2);
    REQUIRE(err == OK && leaf != NULL && ca != NULL && for_clients != NULL, "%s", why.text);
    CHECK(verify(leaf, ca, NOW_S) == X509_V_OK, "as a server");
    CHECK(verify(leaf, ca, NOW_S - 80000) == X509_V_OK, "on a server whose clock is late");
    CHECK(X509_check_purpose(leaf, X509_PURPOSE_SSL_CLIENT, 0) == 1, "as a client");
    CHECK(X509_check_purpose(for_clients, X509_PURPOSE_SSL_CLIENT, 0) == 0, "others are none");
    CHECK(X509_check_host(leaf, "web-01", 0, 0, NULL) == 1, "name");
    CHECK(X509_check_ip_asc(leaf, "192.0.2.1", 0) == 1, "address");
    X509_free(leaf);
    X509_free(ca);
    X509_free(for_clients);
    buffer_done(&chain);
    buffer_done(&key);
}
