/*
 * Keys of session tickets (RFC 5077, RFC 8446 4.6.1): derived from secrets and from the time, new
 * ones every 12 hours. A ticket of the period before still works and is replaced by a new one.
 *
 * What is in a ticket of TLS 1.2 opens the connection it is from, so its keys come from a secret
 * that only lives in memory. TLS 1.3 resumes with a new key exchange: its keys come from a secret
 * of all servers of the site, and its tickets are good on each of them and after a restart.
 */
#include "stream/tls_private.h"

#include "core/clock.h"
#include "core/sys.h"

#include <openssl/core_names.h>

enum { PERIOD_S = 12 * 3600 };
enum kind { KIND_1_2, KIND_1_3 };

static bool derive(const uint8_t secret[TLS_SECRET_BYTES], uint8_t use, int64_t period,
                   uint8_t out[TLS_TICKET_KEY_BYTES])
{
    uint8_t message[9] = { use };
    unsigned int len = 0;
    for (size_t i = 0; i < 8; i++)
        message[1 + i] = (uint8_t)((uint64_t)period >> (8 * i));
    return HMAC(EVP_sha256(), secret, TLS_SECRET_BYTES, message, sizeof(message), out, &len) !=
               NULL &&
           len == TLS_TICKET_KEY_BYTES;
}

static bool make_key(const uint8_t secret[TLS_SECRET_BYTES], int64_t period,
                     struct tls_ticket_key *key)
{
    return derive(secret, 'n', period, key->name) && derive(secret, 'c', period, key->cipher) &&
           derive(secret, 'm', period, key->mac);
}

static bool make_keys(struct tls_context *context, int64_t period)
{
    struct tls_tickets *tickets = &context->tickets;
    bool is_good = true;
    if (tickets->period == period)
        return true;
    tickets->period = 0;
    if (tickets->cipher == NULL)
        tickets->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    for (int64_t age = 0; age < TLS_TICKET_AGES && is_good; age++)
        is_good = make_key(context->own_secret, period - age, &tickets->keys[KIND_1_2][age]) &&
                  make_key(context->secret, period - age, &tickets->keys[KIND_1_3][age]);
    if (!is_good || tickets->cipher == NULL)
        return false;
    tickets->period = period;
    return true;
}

void tls_tickets_done(struct tls_tickets *tickets)
{
    EVP_CIPHER_free(tickets->cipher);
    OPENSSL_cleanse(tickets, sizeof(*tickets));
}

static bool start(const struct tls_tickets *tickets, const struct tls_ticket_key *key,
                  const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bool is_new)
{
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->mac,
                                          TLS_TICKET_KEY_BYTES),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CipherInit_ex(cipher, tickets->cipher, NULL, key->cipher, iv, is_new ? 1 : 0) == 1 &&
           EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

int tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                   EVP_MAC_CTX *mac, int is_new)
{
    enum { FAILED = -1, UNKNOWN = 0, GOOD = 1, OLD = 2 };
    struct tls_context *context = SSL_get_app_data(ssl);
    struct tls_tickets *tickets = &context->tickets;
    enum kind kind = SSL_version(ssl) >= TLS1_3_VERSION ? KIND_1_3 : KIND_1_2;
    if (!make_keys(context, clock_wall_ms() / 1000 / PERIOD_S))
        return is_new ? FAILED : UNKNOWN;
    for (size_t age = 0; age < (is_new ? 1 : TLS_TICKET_AGES); age++) {
        const struct tls_ticket_key *key = &tickets->keys[kind][age];
        if (is_new) {
            memcpy(name, key->name, TLS_TICKET_NAME_BYTES);
            sys_random(iv, EVP_MAX_IV_LENGTH);
        } else if (CRYPTO_memcmp(name, key->name, TLS_TICKET_NAME_BYTES) != 0) {
            continue;
        }
        if (!start(tickets, key, iv, cipher, mac, is_new != 0))
            return FAILED;
        /* clients use a ticket of TLS 1.3 once (RFC 8446 C.4), so each resumption brings the next
         */
        return age > 0 || kind == KIND_1_3 ? OLD : GOOD;
    }
    return UNKNOWN;
}
