/* Signed requests; see jose.h. */
#include "acme/jose.h"

#include "core/memory.h"
#include "core/openssl.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <stdio.h>

enum {
    NUMBER_BYTES = 32, /* of P-256 */
    POINT_BYTES = 1 + 2 * NUMBER_BYTES,
    SIGNATURE_BYTES = 2 * NUMBER_BYTES,
    DER_BYTES = 80,
    PROTECTED_LIMIT = 8192,
    TEXT_SIZE = 48,
};

void jose_encode(struct buffer *out, struct text bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t at = 0; at < bytes.len; at += 3) {
        size_t count = bytes.len - at < 3 ? bytes.len - at : 3;
        uint32_t bits = 0;
        for (size_t i = 0; i < 3; i++)
            bits = bits << 8 | (i < count ? (uint8_t)bytes.data[at + i] : 0);
        for (size_t i = 0; i <= count; i++)
            buffer_append_byte(out, (uint8_t)digits[bits >> (18 - 6 * i) & 63]);
    }
}

static void encode_into(const uint8_t *bytes, size_t len, char *out, size_t size)
{
    struct buffer text = buffer_of(size - 1);
    jose_encode(&text, text_from((const char *)bytes, len));
    snprintf(out, size, "%.*s", FMT(buffer_text(&text)));
    buffer_done(&text);
}

/* ---- the account ---- */

enum err acme_account_make(const uint8_t secret[LOCAL_CA_SECRET_BYTES],
                           struct acme_account *account_out, struct why *why)
{
    struct acme_account account = { .key = local_ca_key(secret) };
    uint8_t point[POINT_BYTES], digest[CHALLENGE_DIGEST_BYTES];
    char x[TEXT_SIZE], y[TEXT_SIZE];
    size_t len = 0;
    unsigned int digest_len = 0;
    if (account.key == NULL ||
        EVP_PKEY_get_octet_string_param(account.key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point),
                                        &len) != 1 ||
        len != sizeof(point)) {
        acme_account_done(&account);
        return fail(why, ERR_SYSTEM, "cannot make the key of the account");
    }
    encode_into(point + 1, NUMBER_BYTES, x, sizeof(x));
    encode_into(point + 1 + NUMBER_BYTES, NUMBER_BYTES, y, sizeof(y));
    int jwk_len = snprintf(account.jwk, sizeof(account.jwk),
                           "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", x, y);
    if (EVP_Digest(account.jwk, (size_t)jwk_len, digest, &digest_len, EVP_sha256(), NULL) != 1) {
        acme_account_done(&account);
        return fail(why, ERR_SYSTEM, "cannot make the key of the account");
    }
    encode_into(digest, sizeof(digest), account.thumbprint, sizeof(account.thumbprint));
    *account_out = account;
    return OK;
}

void acme_account_done(struct acme_account *account)
{
    EVP_PKEY_free(account->key);
    account->key = NULL;
}

void jose_digest(const char *thumbprint, struct text token, uint8_t out[CHALLENGE_DIGEST_BYTES])
{
    char text[CHALLENGE_TOKEN_LIMIT + CHALLENGE_ACCOUNT_SIZE + 1];
    unsigned int len = 0;
    int size = snprintf(text, sizeof(text), "%.*s.%s", FMT(token), thumbprint);
    memset(out, 0, CHALLENGE_DIGEST_BYTES);
    if (size > 0 && (size_t)size < sizeof(text))
        (void)EVP_Digest(text, (size_t)size, out, &len, EVP_sha256(), NULL);
}

/* ---- signatures ---- */

/* RFC 7518 3.4: the two numbers one behind the other, not the DER that OpenSSL makes. */
static bool sign(EVP_PKEY *key, struct text text, uint8_t out[SIGNATURE_BYTES])
{
    uint8_t der[DER_BYTES];
    const uint8_t *at = der;
    size_t len = sizeof(der);
    ECDSA_SIG *signature = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context != NULL && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestSign(context, der, &len, (const uint8_t *)text.data, text.len) == 1)
        signature = d2i_ECDSA_SIG(NULL, &at, (long)len);
    bool is_signed =
        signature != NULL &&
        BN_bn2binpad(ECDSA_SIG_get0_r(signature), out, NUMBER_BYTES) == NUMBER_BYTES &&
        BN_bn2binpad(ECDSA_SIG_get0_s(signature), out + NUMBER_BYTES, NUMBER_BYTES) == NUMBER_BYTES;
    ECDSA_SIG_free(signature);
    EVP_MD_CTX_free(context);
    return is_signed;
}

static void write_protected(const struct acme_account *account, const struct jose_head *head,
                            struct buffer *out)
{
    buffer_print(out, "{\"alg\":\"ES256\",\"nonce\":\"");
    buffer_append_json(out, text_of(head->nonce));
    buffer_print(out, "\",\"url\":\"");
    buffer_append_json(out, text_of(head->url));
    if (head->account == NULL) {
        buffer_print(out, "\",\"jwk\":%s}", account->jwk);
        return;
    }
    buffer_print(out, "\",\"kid\":\"");
    buffer_append_json(out, text_of(head->account));
    buffer_print(out, "\"}");
}

enum err jose_sign(const struct acme_account *account, const struct jose_head *head,
                   struct text payload, struct buffer *out, struct why *why)
{
    uint8_t signature[SIGNATURE_BYTES];
    AUTO(buffer_done) struct buffer plain = buffer_of(PROTECTED_LIMIT);
    AUTO(buffer_done) struct buffer input = buffer_of(out->limit);
    write_protected(account, head, &plain);
    jose_encode(&input, buffer_text(&plain));
    size_t head_len = input.len;
    buffer_append_byte(&input, '.');
    jose_encode(&input, payload);
    if (plain.failed || input.failed)
        return fail(why, ERR_LIMIT, "a request to the CA is too long");
    if (!sign(account->key, buffer_text(&input), signature))
        return fail(why, ERR_SYSTEM, "cannot sign a request");
    buffer_print(out, "{\"protected\":\"%.*s\",\"payload\":\"%.*s\",\"signature\":\"",
                 (int)head_len, input.data, (int)(input.len - head_len - 1),
                 input.data + head_len + 1);
    jose_encode(out, text_from((const char *)signature, sizeof(signature)));
    buffer_print(out, "\"}");
    return out->failed ? fail(why, ERR_LIMIT, "a request to the CA is too long") : OK;
}

/* ---- an account that was made elsewhere ---- */

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool jose_decode(struct buffer *out, struct text encoded)
{
    uint32_t bits = 0;
    size_t count = 0;
    encoded = text_trim(encoded);
    while (encoded.len > 0 && strchr("\r\n =", encoded.data[encoded.len - 1]) != NULL)
        encoded.len--;
    for (size_t i = 0; i < encoded.len; i++) {
        int digit = digit_of(encoded.data[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        count += 6;
        if (count < 8)
            continue;
        count -= 8;
        buffer_append_byte(out, (uint8_t)(bits >> count));
    }
    bool is_whole = count < 6 && (bits & ((1U << count) - 1)) == 0;
    return is_whole && encoded.len > 0 && !out->failed;
}

enum err jose_bind(const struct acme_account *account, const char *url, struct text id,
                   struct text key, struct buffer *out, struct why *why)
{
    uint8_t signature[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    AUTO(buffer_done) struct buffer plain = buffer_of(PROTECTED_LIMIT);
    AUTO(buffer_done) struct buffer input = buffer_of(out->limit);
    buffer_print(&plain, "{\"alg\":\"HS256\",\"kid\":\"");
    buffer_append_json(&plain, id);
    buffer_print(&plain, "\",\"url\":\"");
    buffer_append_json(&plain, text_of(url));
    buffer_print(&plain, "\"}");
    jose_encode(&input, buffer_text(&plain));
    size_t head_len = input.len;
    buffer_append_byte(&input, '.');
    jose_encode(&input, text_of(account->jwk));
    if (plain.failed || input.failed)
        return fail(why, ERR_LIMIT, "a request to the CA is too long");
    if (HMAC(EVP_sha256(), key.data, (int)key.len, (const uint8_t *)input.data, input.len,
             signature, &len) == NULL)
        return fail(why, ERR_SYSTEM, "cannot sign a request");
    buffer_print(out, "{\"protected\":\"%.*s\",\"payload\":\"%.*s\",\"signature\":\"",
                 (int)head_len, input.data, (int)(input.len - head_len - 1),
                 input.data + head_len + 1);
    jose_encode(out, text_from((const char *)signature, len));
    buffer_print(out, "\"}");
    return out->failed ? fail(why, ERR_LIMIT, "a request to the CA is too long") : OK;
}
