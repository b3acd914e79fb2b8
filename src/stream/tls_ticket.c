/*
 * Keys of session tickets (RFC 5077, RFC 8446 4.6.1): derived from a secret that all processes
 * share and from the time, a new one every 12 hours. A ticket of the period before still works and
 * is replaced by a new one.
 */
#include "stream/tls_private.h"

#include "core/clock.h"
#include "core/sys.h"

#include <openssl/core_names.h>

enum { PERIOD_S = 12 * 3600, NAME_BYTES = 16, KEY_BYTES = 32 };

struct ticket_key {
    uint8_t name[KEY_BYTES]; /* the first 16 are used */
    uint8_t cipher[KEY_BYTES];
    uint8_t mac[KEY_BYTES];
};

static bool derive(const struct tls_context *context, uint8_t use, int64_t period,
                   uint8_t out[KEY_BYTES])
{
    uint8_t message[9] = { use };
    unsigned int len = 0;
    for (size_t i = 0; i < 8; i++)
        message[1 + i] = (uint8_t)((uint64_t)period >> (8 * i));
    return HMAC(EVP_sha256(), context->secret, TLS_SECRET_BYTES, message, sizeof(message), out,
                &len) != NULL &&
           len == KEY_BYTES;
}

static bool make_key(const struct tls_context *context, int64_t period, struct ticket_key *key)
{
    return derive(context, 'n', period, key->name) && derive(context, 'c', period, key->cipher) &&
           derive(context, 'm', period, key->mac);
}

static bool start(const struct ticket_key *key, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
                  EVP_MAC_CTX *mac, bool is_new)
{
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->mac, KEY_BYTES),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, is_new ? 1 : 0) ==
               1 &&
           EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

int tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                   EVP_MAC_CTX *mac, int is_new)
{
    enum { FAILED = -1, UNKNOWN = 0, GOOD = 1, OLD = 2 };
    const struct tls_context *context = SSL_get_app_data(ssl);
    int64_t period = clock_wall_ms() / 1000 / PERIOD_S;
    struct ticket_key key;
    int result = is_new ? FAILED : UNKNOWN;
    for (int64_t age = 0; age < (is_new ? 1 : 2) && result <= UNKNOWN; age++) {
        if (!make_key(context, period - age, &key))
            break;
        if (is_new) {
            memcpy(name, key.name, NAME_BYTES);
            sys_random(iv, EVP_MAX_IV_LENGTH);
        } else if (CRYPTO_memcmp(name, key.name, NAME_BYTES) != 0) {
            continue;
        }
        result = age > 0 ? OLD : GOOD;
        if (!start(&key, iv, cipher, mac, is_new != 0))
            result = FAILED;
    }
    OPENSSL_cleanse(&key, sizeof(key));
    return result;
}
