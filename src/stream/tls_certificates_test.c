/* Tests with certificates that the local CA does not make: RSA beside ECDSA, and ones that name a
 * responder, with answers of it. */
#include "stream/tls_staple.h"
#include "stream/tls_test.h"

#include "core/clock.h"
#include "core/test.h"
#include "metrics/metrics.h"

#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

enum { PEM_BYTES = 32768, HOUR_S = 3600 };

struct signer {
    X509 *certificate;
    EVP_PKEY *key;
};

static void extend(X509 *certificate, X509 *issuer, int id, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension =
        value != NULL ? X509V3_EXT_conf_nid(NULL, &context, id, value) : NULL;
    if (extension != NULL)
        X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

/* by NULL: signs itself. usage: extendedKeyUsage, NULL: a CA. */
static struct signer make(const struct signer *by, int number, bool is_rsa, const char *names,
                          const char *responder, const char *usage)
{
    struct signer made = { X509_new(), is_rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256") };
    char name[32];
    snprintf(name, sizeof(name), "number %d", number);
    X509_set_version(made.certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), number);
    X509_gmtime_adj(X509_getm_notBefore(made.certificate), -HOUR_S);
    X509_gmtime_adj(X509_getm_notAfter(made.certificate), 24L * HOUR_S);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made.certificate), "CN", MBSTRING_ASC,
                               (const uint8_t *)name, -1, -1, 0);
    by = by != NULL ? by : &made;
    X509_set_issuer_name(made.certificate, X509_get_subject_name(by->certificate));
    X509_set_pubkey(made.certificate, made.key);
    extend(made.certificate, by->certificate, NID_subject_alt_name, names);
    extend(made.certificate, by->certificate, NID_info_access, responder);
    extend(made.certificate, by->certificate, NID_ext_key_usage, usage);
    if (usage == NULL)
        extend(made.certificate, by->certificate, NID_basic_constraints, "critical,CA:TRUE");
    CHECK(X509_sign(made.certificate, by->key, EVP_sha256()) > 0, "signed");
    ERR_clear_error();
    return made;
}

static void drop(struct signer *signer)
{
    X509_free(signer->certificate);
    EVP_PKEY_free(signer->key);
}

static void take_pem(BIO *bio, struct buffer *out)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    buffer_append(out, text_from(data, (size_t)len));
    BIO_free(bio);
}

struct pem {
    struct buffer chain, key;
};

static struct pem pem_of(const struct signer *leaf, const struct signer *issuer)
{
    struct pem pem = { buffer_of(PEM_BYTES), buffer_of(PEM_BYTES) };
    BIO *chain = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(chain, leaf->certificate);
    if (issuer != NULL)
        PEM_write_bio_X509(chain, issuer->certificate);
    PEM_write_bio_PrivateKey(key, leaf->key, NULL, NULL, 0, NULL, NULL);
    take_pem(chain, &pem.chain);
    take_pem(key, &pem.key);
    return pem;
}

static struct tls_context *context_of(const struct pem *pems, size_t count, struct metrics *metrics)
{
    struct tls_pair pairs[4];
    struct tls_context *context = NULL;
    struct why why = { "" };
    for (size_t i = 0; i < count; i++)
        pairs[i] = (struct tls_pair){ buffer_text(&pems[i].chain), buffer_text(&pems[i].key), "p" };
    struct tls_settings settings = { .pairs = pairs, .count = count, .metrics = metrics };
    settings.protocols = "http/1.1";
    CHECK(tls_context_new(&settings, &context, &why) == OK, "%s", why.text);
    return context;
}

static void pem_done(struct pem *pem)
{
    buffer_done(&pem->chain);
    buffer_done(&pem->key);
}

/* ---- handshakes ---- */

static bool shake(struct test_tls_client *client, struct tls *tls)
{
    char cipher[32768], plain[64];
    size_t got;
    bool is_done = false;
    for (int i = 0; i < 6; i++) {
        is_done = test_tls_client_shake(client);
        int len = BIO_read(client->to_server, cipher, sizeof(cipher));
        tls_put(tls, text_from(cipher, len > 0 ? (size_t)len : 0));
        (void)tls_read(tls, plain, sizeof(plain), &got);
        struct buffer *output = tls_output(tls);
        if (output->len > 0)
            BIO_write(client->from_server, output->data, (int)output->len);
        buffer_clear(output);
    }
    return is_done && tls_is_open(tls);
}

/* Neither the test's CA nor the name is checked here. */
static void start(struct test_tls_client *client, const char *name, int version)
{
    test_tls_client_start(client, NULL, NULL, version);
    SSL_set_tlsext_host_name(client->ssl, name);
}

TEST(tls_gives_each_client_the_key_it_can_use)
{
    static const struct {
        const char *name, *signatures;
        int version, number; /* of the certificate; 0: none */
    } cases[] = {
        { "a.example.com", NULL, TLS1_3_VERSION, 2 },
        { "a.example.com", "RSA-PSS+SHA256", TLS1_3_VERSION, 1 },
        { "a.example.com", "ECDSA+SHA256", TLS1_3_VERSION, 2 },
        { "b.example.com", "RSA+SHA256", TLS1_2_VERSION, 1 },
        { "b.example.com", "ECDSA+SHA256", TLS1_2_VERSION, 2 },
        { "a.example.com", "ed25519", TLS1_3_VERSION, 0 },
        { "192.0.2.7", NULL, TLS1_3_VERSION, 2 }, /* no name: the first */
        { "other.example.com", "RSA-PSS+SHA256", TLS1_3_VERSION, 0 },
        { "other.example.com", "ECDSA+SHA256", TLS1_3_VERSION, 3 },
    };
    const char names[] = "DNS:a.example.com,DNS:b.example.com";
    const char turned[] = "DNS:b.example.com,DNS:a.example.com";
    struct signer signers[3] = { make(NULL, 1, true, names, NULL, "serverAuth"),
                                 make(NULL, 2, false, turned, NULL, "serverAuth"),
                                 make(NULL, 3, false, "DNS:other.example.com", NULL,
                                      "serverAuth") };
    struct metrics metrics = { 0 };
    struct pem pems[3];
    int failed = 0;
    for (size_t i = 0; i < 3; i++)
        pems[i] = pem_of(&signers[i], NULL);
    struct tls_context *context = context_of(pems, 3, &metrics);
    for (size_t i = 0; i < COUNT(cases) && context != NULL; i++) {
        struct test_tls_client client = { 0 };
        struct tls *tls = tls_new(context);
        start(&client, cases[i].name, cases[i].version);
        if (cases[i].signatures != NULL)
            SSL_set1_sigalgs_list(client.ssl, cases[i].signatures);
        bool is_good = shake(&client, tls);
        X509 *got = SSL_get1_peer_certificate(client.ssl);
        long number = is_good ? ASN1_INTEGER_get(X509_get_serialNumber(got)) : 0;
        CHECK(number == cases[i].number, "%zu: %ld", i, number);
        tls_count(tls, tls_outcome(tls));
        failed += cases[i].number == 0;
        X509_free(got);
        tls_free(tls);
        test_tls_client_done(&client);
    }
    CHECK(metrics_get(&metrics.tls_failed_suite) == failed, "counted by reason");
    CHECK(metrics_get(&metrics.tls_1_2) == 2 && metrics_get(&metrics.tls_resumed) == 0, "version");
    tls_context_unref(context);
    for (size_t i = 0; i < 3; i++) {
        pem_done(&pems[i]);
        drop(&signers[i]);
    }
}

/* Nobody can guess a secret that was not given. */
TEST(tls_makes_up_secrets_that_are_missing)
{
    static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    struct signer signer = make(NULL, 1, false, "DNS:a.example.com", NULL, "serverAuth");
    struct pem pem = pem_of(&signer, NULL);
    struct tls_context *contexts[2] = { context_of(&pem, 1, NULL), context_of(&pem, 1, NULL) };
    for (size_t i = 0; i < COUNT(versions) * 2; i++) {
        struct test_tls_client client = { 0 };
        char none[8];
        start(&client, "a.example.com", versions[i / 2]);
        struct tls *tls = tls_new(contexts[0]);
        CHECK(shake(&client, tls), "first");
        (void)SSL_read(client.ssl, none, sizeof(none));
        ERR_clear_error();
        tls_free(tls);
        SSL_SESSION *session = client.session;
        client.session = NULL;
        test_tls_client_done(&client);
        client.session = session;
        start(&client, "a.example.com", versions[i / 2]);
        tls = tls_new(contexts[i % 2]);
        CHECK(shake(&client, tls) && session != NULL, "second");
        CHECK(SSL_session_reused(client.ssl) == (i % 2 == 0), "%zu", i);
        tls_free(tls);
        test_tls_client_done(&client);
    }
    for (size_t i = 0; i < 2; i++)
        tls_context_unref(contexts[i]);
    pem_done(&pem);
    drop(&signer);
}

/* ---- staples ---- */

struct site {
    struct signer ca, leaf, delegate, stranger;
    struct tls_context *context;
};

static struct site site_make(void)
{
    struct site site;
    site.ca = make(NULL, 1, false, NULL, NULL, NULL);
    site.leaf = make(&site.ca, 7, false, "DNS:a.example.com",
                     "OCSP;URI:https://tls.example.com/,OCSP;URI:http://ocsp.example.com:8080/x",
                     "serverAuth");
    site.delegate = make(&site.ca, 8, false, NULL, NULL, "OCSPSigning");
    site.stranger = make(NULL, 1, false, NULL, NULL, NULL);
    struct pem pem = pem_of(&site.leaf, &site.ca);
    site.context = context_of(&pem, 1, NULL);
    pem_done(&pem);
    return site;
}

static void site_done(struct site *site)
{
    tls_context_unref(site->context);
    drop(&site->ca);
    drop(&site->leaf);
    drop(&site->delegate);
    drop(&site->stranger);
}

struct said {
    const struct signer *by;
    const struct signer *about;
    int status;
    int64_t from_s, until_s; /* from now */
};

static struct buffer answer_of(const struct site *site, const struct said *said)
{
    struct buffer out = buffer_of(TLS_STAPLE_LIMIT);
    unsigned char *der = NULL;
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), said->about->certificate, site->ca.certificate);
    ASN1_TIME *from = X509_gmtime_adj(NULL, (long)said->from_s);
    ASN1_TIME *until = X509_gmtime_adj(NULL, (long)said->until_s);
    ASN1_TIME *revoked = said->status == V_OCSP_CERTSTATUS_REVOKED ? from : NULL;
    OCSP_basic_add1_status(basic, id, said->status, 0, revoked, from, until);
    CHECK(OCSP_basic_sign(basic, said->by->certificate, said->by->key, EVP_sha256(), NULL, 0) == 1,
          "signed");
    OCSP_RESPONSE *response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    int len = i2d_OCSP_RESPONSE(response, &der);
    buffer_append(&out, text_from((const char *)der, (size_t)len));
    OPENSSL_free(der);
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    return out;
}

/* What a client gets with its handshake. */
static struct text stapled(struct tls_context *context, struct test_tls_client *client)
{
    const unsigned char *der = NULL;
    struct tls *tls = tls_new(context);
    start(client, "a.example.com", 0);
    SSL_set_tlsext_status_type(client->ssl, TLSEXT_STATUSTYPE_ocsp);
    CHECK(shake(client, tls), "handshake");
    tls_free(tls);
    long len = SSL_get_tlsext_status_ocsp_resp(client->ssl, &der);
    return text_from((const char *)der, len > 0 ? (size_t)len : 0);
}

TEST(tls_staple_asks_the_first_responder_over_http)
{
    struct site site = site_make();
    struct tls_staple_question question;
    struct why why = { "" };
    CHECK(tls_staple_due_s(site.context, 0) == 0, "at once");
    REQUIRE(tls_staple_ask(site.context, 0, &question, &why) == OK, "%s", why.text);
    CHECK(strcmp(question.host, "ocsp.example.com") == 0 && question.port == 8080 &&
              strcmp(question.path, "/x") == 0,
          "%s:%d%s", question.host, question.port, question.path);
    const unsigned char *at = (const unsigned char *)question.body.data;
    OCSP_REQUEST *request = d2i_OCSP_REQUEST(NULL, &at, (long)question.body.len);
    CHECK(request != NULL && OCSP_request_onereq_count(request) == 1, "a question");
    OCSP_REQUEST_free(request);
    buffer_done(&question.body);
    tls_staple_put_off(site.context, 0, 1000);
    CHECK(tls_staple_due_s(site.context, 0) == 1002, "after a failure");
    for (int i = 0; i < 20; i++)
        tls_staple_put_off(site.context, 0, 1000);
    CHECK(tls_staple_due_s(site.context, 0) == 4600, "never later than an hour");
    struct pem pem = pem_of(&site.leaf, NULL);
    struct tls_context *alone = context_of(&pem, 1, NULL);
    CHECK(tls_staple_due_s(alone, 0) == INT64_MAX, "without its issuer");
    tls_context_unref(alone);
    pem_done(&pem);
    site_done(&site);
}

TEST(tls_staple_takes_what_is_signed_and_good)
{
    struct site site = site_make();
    const int64_t now_s = clock_wall_ms() / 1000;
    const struct {
        struct said said;
        enum err err;
        const char *part;
    } cases[] = {
        { { &site.ca, &site.leaf, V_OCSP_CERTSTATUS_GOOD, -10, HOUR_S }, OK, "" },
        { { &site.delegate, &site.leaf, V_OCSP_CERTSTATUS_GOOD, -10, HOUR_S }, OK, "" },
        { { &site.stranger, &site.leaf, V_OCSP_CERTSTATUS_GOOD, -10, HOUR_S },
          ERR_PROTOCOL,
          "not signed" },
        { { &site.leaf, &site.leaf, V_OCSP_CERTSTATUS_GOOD, -10, HOUR_S },
          ERR_PROTOCOL,
          "not signed" },
        { { &site.ca, &site.delegate, V_OCSP_CERTSTATUS_GOOD, -10, HOUR_S },
          ERR_PROTOCOL,
          "not about" },
        { { &site.ca, &site.leaf, V_OCSP_CERTSTATUS_REVOKED, -10, HOUR_S }, ERR_DENIED, "revoked" },
        { { &site.ca, &site.leaf, V_OCSP_CERTSTATUS_UNKNOWN, -10, HOUR_S },
          ERR_PROTOCOL,
          "does not know" },
        { { &site.ca, &site.leaf, V_OCSP_CERTSTATUS_GOOD, -2 * HOUR_S, -HOUR_S },
          ERR_PROTOCOL,
          "not of now" },
        { { &site.ca, &site.leaf, V_OCSP_CERTSTATUS_GOOD, HOUR_S, 2 * HOUR_S },
          ERR_PROTOCOL,
          "not of now" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct why why = { "" };
        struct buffer answer = answer_of(&site, &cases[i].said);
        struct tls_context *fresh = site.context;
        enum err err = tls_staple_take(fresh, 0, buffer_text(&answer), now_s, &why);
        CHECK(err == cases[i].err && strstr(why.text, cases[i].part) != NULL, "%zu: %d %s", i,
              (int)err, why.text);
        buffer_done(&answer);
    }
    int64_t due_s = tls_staple_due_s(site.context, 0);
    CHECK(due_s > now_s + HOUR_S / 2 - 60 && due_s < now_s + HOUR_S / 2 + 60, "half-way");
    site_done(&site);
}

TEST(tls_staple_goes_with_the_handshake)
{
    struct site site = site_make();
    struct test_tls_client client = { 0 };
    struct why why = { "" };
    const int64_t now_s = clock_wall_ms() / 1000;
    struct said said = { &site.ca, &site.leaf, V_OCSP_CERTSTATUS_GOOD, -10, HOUR_S };
    struct buffer answer = answer_of(&site, &said);
    CHECK(stapled(site.context, &client).len == 0, "nothing yet");
    test_tls_client_done(&client);
    for (size_t len = 0; len < answer.len; len++)
        CHECK(tls_staple_take(site.context, 0, text_part(buffer_text(&answer), 0, len), now_s,
                              &why) != OK,
              "cut at %zu", len);
    CHECK(stapled(site.context, &client).len == 0, "nothing of that");
    test_tls_client_done(&client);
    REQUIRE(tls_staple_take(site.context, 0, buffer_text(&answer), now_s, &why) == OK, "%s",
            why.text);
    CHECK(text_equal(stapled(site.context, &client), buffer_text(&answer)), "the answer");
    test_tls_client_done(&client);
    struct pem pem = pem_of(&site.leaf, &site.ca);
    struct tls_context *next = context_of(&pem, 1, NULL);
    tls_staple_copy(next, site.context);
    CHECK(text_equal(stapled(next, &client), buffer_text(&answer)), "after a reload");
    test_tls_client_done(&client);
    tls_context_unref(next);
    pem_done(&pem);
    buffer_done(&answer);
    site_done(&site);
}
