/* Requests, files and times of certificates. */
#include "acme/certificate.h"

#include "core/test.h"
#include "stream/local_ca.h"
#include "stream/x509.h"

static const uint8_t secret[LOCAL_CA_SECRET_BYTES] = "a CA in a test";
static const struct text names[] = { T("www.example.com"), T("example.com") };
enum { NOW_S = 1800000000, DAY_S = 86400 };

TEST(acme_request_asks_for_all_names)
{
    struct why why = { "" };
    struct buffer der = buffer_of(4096);
    EVP_PKEY *key = acme_key_new();
    REQUIRE(key != NULL && acme_request_write(key, names, 2, &der, &why) == OK, "%s", why.text);
    const uint8_t *at = (const uint8_t *)der.data;
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)der.len);
    REQUIRE(request != NULL, "DER");
    CHECK(X509_REQ_verify(request, key) == 1, "signed");
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    GENERAL_NAMES *list = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    CHECK(sk_GENERAL_NAME_num(list) == 2, "two names");
    GENERAL_NAMES_free(list);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    buffer_done(&der);
}

struct parts {
    struct buffer chain, key, ca;
};

static bool make(struct parts *parts, const struct text *of, size_t count)
{
    struct why why = { "" };
    *parts = (struct parts){ buffer_of(20000), buffer_of(20000), buffer_of(20000) };
    return CHECK(
        local_ca_issue(secret, T("x"), of, count, NOW_S, &parts->chain, &parts->key, &why) == OK &&
            local_ca_write(secret, T("x"), &parts->ca, &why) == OK,
        "%s", why.text);
}

static void done(struct parts *parts)
{
    buffer_done(&parts->chain);
    buffer_done(&parts->key);
    buffer_done(&parts->ca);
}

TEST(acme_file_is_written_and_read)
{
    struct parts parts;
    struct why why = { "" };
    struct acme_facts facts;
    struct buffer file = buffer_of(ACME_FILE_LIMIT);
    REQUIRE(make(&parts, names, 2), "parts");
    EVP_PKEY *key = x509_read_key(buffer_text(&parts.key));
    buffer_append(&parts.chain, buffer_text(&parts.ca));
    CHECK(acme_file_write(key, buffer_text(&parts.chain), &file, &why) == OK, "%s", why.text);
    CHECK(acme_file_read(buffer_text(&file), names, 2, &facts, &why) == OK, "%s", why.text);
    CHECK(facts.is_complete && facts.until_s == NOW_S + (int64_t)LOCAL_CA_DAYS * DAY_S, "facts");
    CHECK(acme_is_good(&facts, NOW_S) && !acme_is_good(&facts, facts.until_s), "times");
    const struct text more[] = { names[0], T("other.example.com") };
    CHECK(acme_file_read(buffer_text(&file), more, 2, &facts, &why) == OK && !facts.is_complete,
          "another name");
    for (size_t len = 0; len + 1 < file.len; len += 101)
        CHECK(acme_file_read(text_part(buffer_text(&file), 0, len), names, 2, &facts, &why) != OK ||
                  len > parts.key.len + 200,
              "cut at %zu", len);
    EVP_PKEY_free(key);
    buffer_done(&file);
    done(&parts);
}

TEST(acme_file_of_a_liar_is_refused)
{
    struct parts parts, other;
    struct why why = { "" };
    struct acme_facts facts;
    REQUIRE(make(&parts, names, 2) && make(&other, names, 2), "parts");
    EVP_PKEY *key = x509_read_key(buffer_text(&parts.key));
    struct buffer twisted = buffer_of(40000);
    buffer_append(&twisted, buffer_text(&parts.chain));
    buffer_append(&twisted, buffer_text(&other.chain));
    const struct {
        struct text chain;
        const char *want;
    } cases[] = {
        { buffer_text(&other.chain), "the certificate is for another key" },
        { buffer_text(&twisted), "the certificate is not signed by the next one of its chain" },
        { T("<html>"), "the CA sent no certificate in PEM form" },
        { T(""), "the CA sent no certificate in PEM form" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer file = buffer_of(ACME_FILE_LIMIT);
        enum err err = acme_file_write(key, cases[i].chain, &file, &why);
        if (err == OK)
            err = acme_file_read(buffer_text(&file), names, 2, &facts, &why);
        CHECK(err == ERR_SYNTAX && strcmp(why.text, cases[i].want) == 0, "%s", why.text);
        buffer_done(&file);
    }
    EVP_PKEY_free(key);
    buffer_done(&twisted);
    done(&parts);
    done(&other);
}

TEST(acme_due_is_after_two_thirds)
{
    struct acme_facts facts = { NOW_S, NOW_S + 90 * DAY_S, true };
    CHECK(acme_due_s(&facts, 0) == NOW_S + 60 * DAY_S, "latest");
    for (uint32_t seed = 0; seed < 5000; seed += 37) {
        int64_t due_s = acme_due_s(&facts, seed);
        CHECK(due_s > NOW_S + 56 * DAY_S && due_s <= NOW_S + 60 * DAY_S, "%u", seed);
    }
    CHECK(acme_alert_s(&facts) == NOW_S + 75 * DAY_S, "alert");
    CHECK(acme_turn_s(&facts, 0) == 0 && acme_turn_s(NULL, 0) == 0, "the first one does not wait");
    CHECK(acme_turn_s(&facts, 1) == 12 * 3600 && acme_turn_s(NULL, 2) == 60, "others do");
    struct acme_facts odd = { NOW_S, NOW_S - 10, true };
    CHECK(acme_due_s(&odd, 5) == odd.until_s, "an odd one");
}

TEST(acme_pause_grows_to_a_limit)
{
    CHECK(acme_pause_s(1, false, 0, 0) == 2 && acme_pause_s(2, false, 0, 0) == 4, "down");
    CHECK(acme_pause_s(1, true, 0, 0) == 60 && acme_pause_s(3, true, 0, 0) == 240, "refused");
    CHECK(acme_pause_s(1, false, 500, 0) == 500, "as the CA says");
    for (unsigned i = 1; i < 100; i++) {
        CHECK(acme_pause_s(i, false, 0, 999) <= 750 && acme_pause_s(i, true, 0, 999) <= 4500, "%u",
              i);
        CHECK(acme_pause_s(i, true, 0, 0) >= acme_pause_s(i, false, 0, 0), "%u", i);
    }
}
