/* Signed requests: what they say and that anybody can verify them. */
#include "acme/jose.h"

#include "core/openssl.h"
#include "core/test.h"

#include <jansson.h>
#include <openssl/ec.h>
#include <stdio.h>

static const uint8_t secret[LOCAL_CA_SECRET_BYTES] = "the secret of an account in test";

TEST(acme_jose_encodes_without_padding)
{
    static const struct {
        const char *bytes, *want;
    } cases[] = {
        { "", "" },           { "f", "Zg" },          { "fo", "Zm8" },       { "foo", "Zm9v" },
        { "foob", "Zm9vYg" }, { "fooba", "Zm9vYmE" }, { "\xff\xfe", "__4" }, { "\xfb\xff", "-_8" }
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out = buffer_of(100);
        jose_encode(&out, text_of(cases[i].bytes));
        CHECK(text_equal(buffer_text(&out), text_of(cases[i].want)), "%s", cases[i].want);
        buffer_done(&out);
    }
}

/* The other way, for what was encoded above. */
static size_t decode(const char *text, uint8_t *out, size_t size)
{
    size_t len = 0, bits = 0;
    uint32_t value = 0;
    for (; *text != '\0' && len < size; text++) {
        char c = *text;
        uint32_t digit = c >= 'A' && c <= 'Z'   ? (uint32_t)(c - 'A')
                         : c >= 'a' && c <= 'z' ? (uint32_t)(c - 'a') + 26
                         : c >= '0' && c <= '9' ? (uint32_t)(c - '0') + 52
                                                : (c == '-' ? 62u : 63u);
        value = value << 6 | digit;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[len++] = (uint8_t)(value >> bits);
        }
    }
    return len;
}

static bool verify(EVP_PKEY *key, json_t *request)
{
    uint8_t raw[64], *der = NULL;
    char input[8192];
    ECDSA_SIG *signature = ECDSA_SIG_new();
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int len = snprintf(input, sizeof(input), "%s.%s",
                       json_string_value(json_object_get(request, "protected")),
                       json_string_value(json_object_get(request, "payload")));
    bool is_read = decode(json_string_value(json_object_get(request, "signature")), raw,
                          sizeof(raw)) == sizeof(raw);
    ECDSA_SIG_set0(signature, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL));
    int der_len = i2d_ECDSA_SIG(signature, &der);
    bool is_good =
        is_read && der_len > 0 &&
        EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestVerify(context, der, (size_t)der_len, (const uint8_t *)input, (size_t)len) == 1;
    OPENSSL_free(der);
    ECDSA_SIG_free(signature);
    EVP_MD_CTX_free(context);
    return is_good;
}

static json_t *head_of(json_t *request)
{
    char text[8192];
    size_t len = decode(json_string_value(json_object_get(request, "protected")), (uint8_t *)text,
                        sizeof(text) - 1);
    return json_loadb(text, len, 0, NULL);
}

TEST(acme_jose_signs_what_anybody_can_verify)
{
    struct acme_account account = { 0 }, again = { 0 };
    struct why why = { "" };
    REQUIRE(acme_account_make(secret, &account, &why) == OK &&
                acme_account_make(secret, &again, &why) == OK,
            "%s", why.text);
    CHECK(strcmp(account.jwk, again.jwk) == 0 && strlen(account.thumbprint) == 43,
          "the same secret, the same account");
    for (int i = 0; i < 20; i++) { /* numbers with zeros in front come, too */
        struct jose_head head = { "https://ca.example/a\"b", "nonce",
                                  i % 2 == 0 ? NULL : "https://ca.example/account/1" };
        struct buffer body = buffer_of(8192);
        CHECK(jose_sign(&account, &head, i < 10 ? T("{\"a\":1}") : T(""), &body, &why) == OK, "%s",
              why.text);
        json_t *request = json_loadb(body.data, body.len, 0, NULL);
        json_t *said = request != NULL ? head_of(request) : NULL;
        REQUIRE(said != NULL, "JSON");
        CHECK(verify(account.key, request), "signature %d", i);
        CHECK(strcmp(json_string_value(json_object_get(request, "payload")),
                     i < 10 ? "eyJhIjoxfQ" : "") == 0,
              "payload");
        CHECK(strcmp(json_string_value(json_object_get(said, "url")), head.url) == 0, "URL");
        CHECK(strcmp(json_string_value(json_object_get(said, "nonce")), "nonce") == 0, "nonce");
        CHECK((json_object_get(said, "jwk") != NULL) == (i % 2 == 0) &&
                  (json_object_get(said, "kid") != NULL) == (i % 2 == 1),
              "who");
        json_decref(said);
        json_decref(request);
        buffer_done(&body);
    }
    acme_account_done(&account);
    acme_account_done(&again);
}

TEST(acme_jose_digest_of_a_token)
{
    /* printf 'token.thumb' | sha256sum */
    uint8_t out[CHALLENGE_DIGEST_BYTES];
    char hex[65];
    jose_digest("thumb", T("token"), out);
    for (size_t i = 0; i < sizeof(out); i++)
        snprintf(hex + 2 * i, 3, "%02x", out[i]);
    CHECK(strcmp(hex, "94275fb692425daa5a64790118865b72e6de296f11980d23486fda64dd35cdb5") == 0,
          "%s", hex);
}

TEST(acme_jose_decodes_keys)
{
    static const struct {
        const char *encoded, *want; /* NULL: refused */
    } cases[] = {
        { "aGVsbG8", "hello" }, { " aGVsbG8=\n", "hello" },
        { "_-8", "\xff\xef" },  { "", NULL },
        { "a", NULL },          { "aGVsbG9", NULL },
        { "aGVs bG8", NULL },   { "aGVsbG8+", NULL },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO(buffer_done) struct buffer out = buffer_of(64);
        bool is_good = jose_decode(&out, text_of(cases[i].encoded));
        CHECK(is_good == (cases[i].want != NULL), "'%s'", cases[i].encoded);
        CHECK(!is_good || text_equal(buffer_text(&out), text_of(cases[i].want)), "'%s'",
              cases[i].encoded);
    }
}

TEST(acme_jose_binds_accounts)
{
    struct acme_account account = { .jwk = "{\"kty\":\"EC\"}" };
    AUTO(buffer_done) struct buffer out = buffer_of(4096);
    struct why why;
    CHECK(jose_bind(&account, "https://ca.example/account", T("kid-1"), T("a key of 20 bytes..."),
                    &out, &why) == OK,
          "%s", why.text);
    /* by python3: hmac.new(key, protected + b"." + payload, "sha256") */
    CHECK(text_equal(buffer_text(&out),
                     T("{\"protected\":"
                       "\"eyJhbGciOiJIUzI1NiIsImtpZCI6ImtpZC0xIiwidXJsIjoiaHR0cHM6Ly9jYS5leGFtcGxlL"
                       "2FjY291bnQifQ\",\"payload\":\"eyJrdHkiOiJFQyJ9\","
                       "\"signature\":\"8IhpGLChLM_y1P44QpB0lekclvZqWvD-77yXKVn1Yo0\"}")),
          "%.*s", FMT(buffer_text(&out)));
}
