/*
 * OCSP staples; see tls_staple.h. An answer that cannot be checked is never given to a client: one
 * without a staple asks the responder itself or goes on, one with a bad staple refuses us.
 */
#include "stream/tls_staple.h"
#include "stream/tls_private.h"

#include "core/clock.h"

#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <time.h>

enum {
    CLOCK_SKEW_S = 300,   /* of the responder */
    NO_END_S = 12 * 3600, /* an answer that says no end: so long is it used */
    LEAST_S = 60,         /* between two questions */
    AGAIN_LEAST_S = 2,    /* after a failure */
    AGAIN_MOST_S = 3600,
};

size_t tls_staple_count(const struct tls_context *context)
{
    return context->count;
}

/* ---- the question ---- */

static OCSP_CERTID *id_of(const struct tls_certificate *certificate)
{
    /* SHA-1 is what every responder knows; it only names the certificate */
    return OCSP_cert_to_id(EVP_sha1(), certificate->leaf, certificate->issuer);
}

/* Its first responder over http: one over https would need a certificate, too. */
static bool find_responder(const struct tls_certificate *certificate,
                           struct tls_staple_question *question)
{
    char *host = NULL, *port = NULL, *path = NULL;
    int is_tls = 0;
    uint64_t number = 0;
    STACK_OF(OPENSSL_STRING) *urls =
        certificate->issuer != NULL ? X509_get1_ocsp(certificate->leaf) : NULL;
    bool is_there = false;
    for (int i = 0; !is_there && i < sk_OPENSSL_STRING_num(urls); i++) {
        const char *url = sk_OPENSSL_STRING_value(urls, i);
        is_there = OCSP_parse_url(url, &host, &port, &path, &is_tls) == 1 && is_tls == 0 &&
                   text_to_uint(text_of(port), 65535, &number) && number > 0 &&
                   text_copy_to(text_of(host), question->host, sizeof(question->host)) &&
                   text_copy_to(text_of(path), question->path, sizeof(question->path));
        OPENSSL_free(host);
        OPENSSL_free(port);
        OPENSSL_free(path);
        host = port = path = NULL;
    }
    question->port = (uint16_t)number;
    X509_email_free(urls);
    ERR_clear_error();
    return is_there;
}

int64_t tls_staple_due_s(const struct tls_context *context, size_t index)
{
    struct tls_staple_question question;
    const struct tls_certificate *certificate = &context->certificates[index];
    if (certificate->staple.again_s == 0 && !find_responder(certificate, &question))
        return INT64_MAX;
    return certificate->staple.again_s;
}

static bool write_question(const struct tls_certificate *certificate, struct buffer *out)
{
    unsigned char *der = NULL;
    OCSP_REQUEST *request = OCSP_REQUEST_new();
    OCSP_CERTID *id = request != NULL ? id_of(certificate) : NULL;
    bool is_good = id != NULL && OCSP_request_add0_id(request, id) != NULL;
    int len = is_good ? i2d_OCSP_REQUEST(request, &der) : 0;
    if (!is_good)
        OCSP_CERTID_free(id);
    if (len > 0)
        buffer_append(out, text_from((const char *)der, (size_t)len));
    OPENSSL_free(der);
    OCSP_REQUEST_free(request);
    ERR_clear_error();
    return len > 0 && !out->failed;
}

enum err tls_staple_ask(const struct tls_context *context, size_t index,
                        struct tls_staple_question *question_out, struct why *why)
{
    const struct tls_certificate *certificate = &context->certificates[index];
    struct tls_staple_question question = { .body = buffer_of(TLS_STAPLE_LIMIT) };
    if (!find_responder(certificate, &question))
        return fail(why, ERR_NOT_FOUND,
                    "the certificate names no responder, or its issuer is not "
                    "in the chain");
    if (!write_question(certificate, &question.body)) {
        buffer_done(&question.body);
        return fail(why, ERR_SYSTEM, "cannot write a question to the responder");
    }
    *question_out = question;
    return OK;
}

void tls_staple_put_off(struct tls_context *context, size_t index, int64_t now_s)
{
    struct tls_staple *staple = &context->certificates[index].staple;
    int64_t wait_s = (int64_t)AGAIN_LEAST_S << staple->failures;
    if (wait_s < AGAIN_MOST_S)
        staple->failures++;
    staple->again_s = now_s + (wait_s < AGAIN_MOST_S ? wait_s : AGAIN_MOST_S);
}

/* ---- the answer ---- */

static int64_t seconds_of(const ASN1_GENERALIZEDTIME *time)
{
    struct tm tm;
    if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm);
}

/* By the issuer, or by a certificate that it has made for this (RFC 6960 4.2.2.2). */
static bool is_signed(OCSP_BASICRESP *basic, X509 *issuer)
{
    STACK_OF(X509) *known = sk_X509_new_null();
    X509_STORE *store = X509_STORE_new();
    bool is_good = known != NULL && store != NULL && sk_X509_push(known, issuer) > 0 &&
                   X509_STORE_add_cert(store, issuer) == 1 &&
                   X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
                   OCSP_basic_verify(basic, known, store, 0) == 1;
    X509_STORE_free(store);
    sk_X509_free(known);
    return is_good;
}

struct word {
    int status;
    int64_t from_s, until_s; /* until_s 0: not said */
};

static enum err read_word(const struct tls_certificate *certificate, OCSP_BASICRESP *basic,
                          struct word *word, struct why *why)
{
    ASN1_GENERALIZEDTIME *from = NULL, *until = NULL;
    int reason = 0;
    OCSP_CERTID *id = id_of(certificate);
    bool is_there = id != NULL && OCSP_resp_find_status(basic, id, &word->status, &reason, NULL,
                                                        &from, &until) == 1;
    OCSP_CERTID_free(id);
    if (!is_there)
        return fail(why, ERR_PROTOCOL, "the answer is not about this certificate");
    word->from_s = seconds_of(from);
    word->until_s = seconds_of(until);
    return OK;
}

static enum err judge(const struct tls_certificate *certificate, OCSP_BASICRESP *basic,
                      int64_t now_s, struct word *word, struct why *why)
{
    if (certificate->issuer == NULL || !is_signed(basic, certificate->issuer))
        return fail(why, ERR_PROTOCOL,
                    "the answer is not signed by the certificate's issuer or for it");
    if (read_word(certificate, basic, word, why) != OK)
        return ERR_PROTOCOL;
    if (word->from_s > now_s + CLOCK_SKEW_S || (word->until_s != 0 && word->until_s <= now_s))
        return fail(why, ERR_PROTOCOL, "the answer is not of now; is the clock right?");
    if (word->status == V_OCSP_CERTSTATUS_REVOKED)
        return fail(why, ERR_DENIED,
                    "the certificate is revoked: clients will refuse it; get a "
                    "new one");
    if (word->status != V_OCSP_CERTSTATUS_GOOD)
        return fail(why, ERR_PROTOCOL, "the responder does not know the certificate");
    return OK;
}

static void keep(struct tls_staple *staple, struct text answer, const struct word *word,
                 int64_t now_s)
{
    unsigned char *der = OPENSSL_memdup(answer.data, answer.len);
    if (der == NULL)
        return;
    OPENSSL_free(staple->der);
    staple->der = der;
    staple->failures = 0;
    staple->len = answer.len;
    staple->until_s = word->until_s != 0 ? word->until_s : now_s + NO_END_S;
    int64_t half_s = (staple->until_s - now_s) / 2;
    staple->again_s = now_s + (half_s > LEAST_S ? half_s : LEAST_S);
}

enum err tls_staple_take(struct tls_context *context, size_t index, struct text answer,
                         int64_t now_s, struct why *why)
{
    struct tls_certificate *certificate = &context->certificates[index];
    const unsigned char *at = (const unsigned char *)answer.data;
    struct word word;
    if (answer.len == 0 || answer.len > TLS_STAPLE_LIMIT)
        return fail(why, ERR_SYNTAX, "the answer is empty or too long");
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)answer.len);
    OCSP_BASICRESP *basic = NULL;
    bool is_whole = response != NULL && (const char *)at == answer.data + answer.len;
    int status = is_whole ? OCSP_response_status(response) : 0;
    if (is_whole && status == OCSP_RESPONSE_STATUS_SUCCESSFUL)
        basic = OCSP_response_get1_basic(response);
    enum err err = OK;
    if (!is_whole)
        err = fail(why, ERR_SYNTAX, "the answer is no OCSP");
    else if (basic == NULL)
        err = fail(why, ERR_PROTOCOL, "the responder says: %s", OCSP_response_status_str(status));
    else
        err = judge(certificate, basic, now_s, &word, why);
    if (err == OK)
        keep(&certificate->staple, answer, &word, now_s);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    return err;
}

void tls_staple_copy(struct tls_context *context, const struct tls_context *earlier)
{
    for (size_t i = 0; earlier != NULL && i < context->count; i++) {
        struct tls_certificate *certificate = &context->certificates[i];
        for (size_t j = 0; j < earlier->count; j++) {
            const struct tls_staple *known = &earlier->certificates[j].staple;
            if (known->der == NULL || certificate->staple.der != NULL ||
                X509_cmp(certificate->leaf, earlier->certificates[j].leaf) != 0)
                continue;
            certificate->staple = *known;
            certificate->staple.der = OPENSSL_memdup(known->der, known->len);
            if (certificate->staple.der == NULL)
                certificate->staple = (struct tls_staple){ 0 };
        }
    }
}

/* ---- in a handshake ---- */

static const struct tls_staple *find_staple(const struct tls_context *context, const X509 *leaf)
{
    for (size_t i = 0; i < context->count; i++)
        if (context->certificates[i].leaf == leaf)
            return &context->certificates[i].staple;
    return NULL;
}

int tls_staple_give(SSL *ssl, void *argument)
{
    const struct tls_staple *staple = find_staple(SSL_get_app_data(ssl), SSL_get_certificate(ssl));
    if (staple == NULL || staple->der == NULL || staple->until_s <= clock_wall_ms() / 1000)
        return SSL_TLSEXT_ERR_NOACK;
    unsigned char *copy = OPENSSL_memdup(staple->der, staple->len);
    if (copy == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)staple->len); /* takes it over */
    return SSL_TLSEXT_ERR_OK;
}
