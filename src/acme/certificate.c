/* The certificate; see certificate.h. */
#include "acme/certificate.h"

#include "stream/x509.h"

enum {
    SKEW_S = 3600,     /* that our clock may be behind the CA's */
    COMMON_NAME = 64,  /* RFC 5280: a longer one is left out, clients look at the others */
    TURN_FIRST_S = 30, /* without a certificate */
    TURN_LEAST_S = 5,
    TURN_MOST_S = 12 * 3600,
    PAUSE_DOWN_S = 2,     /* the CA did not answer: it may be there again soon */
    PAUSE_REFUSED_S = 60, /* public CAs allow about five failures an hour */
    PAUSE_MOST_S = 3600,
    PAUSE_DOWN_MOST_S = 600,
};

struct evp_pkey_st *acme_key_new(void)
{
    return EVP_EC_gen("P-256");
}

/* ---- the request ---- */

static bool add_names(X509_REQ *request, const struct text *names, size_t count)
{
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    GENERAL_NAMES *list = x509_names_new(names, count);
    bool is_added = list != NULL &&
                    X509V3_add1_i2d(&extensions, NID_subject_alt_name, list, 0, 0) == 1 &&
                    X509_REQ_add_extensions(request, extensions) == 1;
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    GENERAL_NAMES_free(list);
    return is_added;
}

static bool set_subject(X509_REQ *request, struct text name)
{
    return name.len > COMMON_NAME ||
           X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_ASC,
                                      (const uint8_t *)name.data, (int)name.len, -1, 0) == 1;
}

enum err acme_request_write(struct evp_pkey_st *key, const struct text *names, size_t count,
                            struct buffer *out, struct why *why)
{
    uint8_t *der = NULL;
    int len = -1;
    X509_REQ *request = X509_REQ_new();
    if (request != NULL && count > 0 && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
        set_subject(request, names[0]) && X509_REQ_set_pubkey(request, key) == 1 &&
        add_names(request, names, count) && X509_REQ_sign(request, key, EVP_sha256()) > 0)
        len = i2d_X509_REQ(request, &der);
    if (len > 0)
        buffer_append(out, text_from((const char *)der, (size_t)len));
    OPENSSL_free(der);
    X509_REQ_free(request);
    ERR_clear_error();
    return len > 0 && !out->failed ? OK : fail(why, ERR_SYSTEM, "cannot make a request");
}

/* ---- the file ---- */

enum err acme_file_write(struct evp_pkey_st *key, struct text chain, struct buffer *out,
                         struct why *why)
{
    STACK_OF(X509) *certificates = x509_read_chain(chain);
    bool is_written = certificates != NULL && x509_write_key(key, out);
    for (int i = 0; is_written && i < sk_X509_num(certificates); i++)
        is_written = x509_write_certificate(sk_X509_value(certificates, i), out);
    sk_X509_pop_free(certificates, X509_free);
    ERR_clear_error();
    if (certificates == NULL)
        return fail(why, ERR_SYNTAX, "the CA sent no certificate in PEM form");
    return is_written ? OK : fail(why, ERR_LIMIT, "the CA sent too long a chain");
}

static const char *problem_of(STACK_OF(X509) * chain, EVP_PKEY *key)
{
    if (chain == NULL)
        return "there is no certificate in PEM form";
    if (key == NULL)
        return "there is no key in PEM form";
    if (X509_check_private_key(sk_X509_value(chain, 0), key) != 1)
        return "the certificate is for another key";
    if (sk_X509_num(chain) > 1 &&
        X509_verify(sk_X509_value(chain, 0), X509_get0_pubkey(sk_X509_value(chain, 1))) != 1)
        return "the certificate is not signed by the next one of its chain";
    return NULL;
}

static bool covers_all(X509 *leaf, const struct text *names, size_t count)
{
    char name[256];
    for (size_t i = 0; i < count; i++)
        if (!text_copy_to(names[i], name, sizeof(name)) || !x509_covers(leaf, name))
            return false;
    return true;
}

enum err acme_file_read(struct text file, const struct text *names, size_t count,
                        struct acme_facts *facts_out, struct why *why)
{
    STACK_OF(X509) *chain = x509_read_chain(file);
    EVP_PKEY *key = x509_read_key(file);
    const char *problem = problem_of(chain, key);
    if (problem == NULL) {
        X509 *leaf = sk_X509_value(chain, 0);
        *facts_out = (struct acme_facts){ .from_s = x509_time_s(X509_get0_notBefore(leaf)),
                                          .until_s = x509_time_s(X509_get0_notAfter(leaf)),
                                          .is_complete = covers_all(leaf, names, count) };
    }
    EVP_PKEY_free(key);
    sk_X509_pop_free(chain, X509_free);
    ERR_clear_error();
    return problem == NULL ? OK : fail(why, ERR_SYNTAX, "%s", problem);
}

bool acme_is_good(const struct acme_facts *facts, int64_t now_s)
{
    return facts->is_complete && facts->from_s <= now_s + SKEW_S && facts->until_s > now_s;
}

/* ---- times ---- */

static int64_t life_s(const struct acme_facts *facts)
{
    return facts->until_s > facts->from_s ? facts->until_s - facts->from_s : 0;
}

int64_t acme_due_s(const struct acme_facts *facts, uint32_t seed)
{
    int64_t life = life_s(facts);
    return facts->until_s - life / 3 - life / 30 * (seed % 1000) / 1000;
}

int64_t acme_turn_s(const struct acme_facts *facts, int64_t rank)
{
    int64_t step_s = facts != NULL ? life_s(facts) / 24 : TURN_FIRST_S;
    if (step_s < TURN_LEAST_S)
        step_s = TURN_LEAST_S;
    return rank * (step_s < TURN_MOST_S ? step_s : TURN_MOST_S);
}

int64_t acme_alert_s(const struct acme_facts *facts)
{
    return facts->until_s - life_s(facts) / 6;
}

int64_t acme_pause_s(unsigned failures, bool was_refused, int64_t retry_after_s, uint32_t seed)
{
    int64_t most_s = was_refused ? PAUSE_MOST_S : PAUSE_DOWN_MOST_S;
    int64_t pause_s = was_refused ? PAUSE_REFUSED_S : PAUSE_DOWN_S;
    for (unsigned i = 1; i < failures && pause_s < most_s; i++)
        pause_s *= 2;
    pause_s = pause_s < most_s ? pause_s : most_s;
    pause_s += pause_s * (seed % 1000) / 4000;
    return pause_s > retry_after_s ? pause_s : retry_after_s;
}
