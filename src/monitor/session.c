/* See session.h. */
#include "monitor/session.h"

#include "core/openssl.h"
#include "core/sys.h"

#include <stdio.h>

enum { SIGNATURE_BYTES = 32, SIGNATURE_LEN = 2 * SIGNATURE_BYTES, MESSAGE_SIZE = 96 };

static bool is_hex(struct text text, size_t len)
{
    for (size_t i = 0; i < text.len; i++)
        if ((text.data[i] < '0' || text.data[i] > '9') &&
            (text.data[i] < 'a' || text.data[i] > 'f'))
            return false;
    return text.len == len;
}

bool session_token_is_valid(struct text token)
{
    return is_hex(token, SESSION_TOKEN_LEN);
}

static void sign(const struct session_keys *keys, struct text message, char out[SIGNATURE_LEN + 1])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    HMAC(EVP_sha256(), keys->token, SESSION_TOKEN_LEN, (const uint8_t *)message.data, message.len,
         digest, &len);
    for (size_t i = 0; i < SIGNATURE_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

void session_use(struct session_keys *keys, struct text token)
{
    char digest[SIGNATURE_LEN + 1];
    if (text_equal(text_of(keys->token), token))
        return;
    *keys = (struct session_keys){ 0 };
    text_copy_to(token, keys->token, sizeof(keys->token));
    sign(keys, T("name of the cookie"), digest);
    snprintf(keys->name, sizeof(keys->name), "trilith-page-%.8s", digest);
}

bool session_token_is_right(const struct session_keys *keys, struct text shown)
{
    return keys->token[0] != '\0' && shown.len == SESSION_TOKEN_LEN &&
           CRYPTO_memcmp(keys->token, shown.data, SESSION_TOKEN_LEN) == 0;
}

void session_start(struct session *session_out, int64_t now_s)
{
    sys_random_hex(session_out->number, sizeof(session_out->number), SESSION_NUMBER_LEN / 2);
    session_out->end_s = now_s + SESSION_SECONDS;
}

/* "session END NUMBER", signed. */
static void sign_session(const struct session_keys *keys, const struct session *session,
                         char out[SIGNATURE_LEN + 1])
{
    char message[MESSAGE_SIZE];
    int len = snprintf(message, sizeof(message), "session %lld %s", (long long)session->end_s,
                       session->number);
    sign(keys, text_from(message, (size_t)len), out);
}

void session_write_cookie(const struct session_keys *keys, const struct session *session,
                          int64_t now_s, bool is_secure, char out[SESSION_COOKIE_SIZE])
{
    char signature[SIGNATURE_LEN + 1];
    sign_session(keys, session, signature);
    snprintf(out, SESSION_COOKIE_SIZE,
             "%s=%lld.%s.%s; Path=/; Max-Age=%lld; HttpOnly; SameSite=Strict%s", keys->name,
             (long long)session->end_s, session->number, signature,
             (long long)(session->end_s - now_s), is_secure ? "; Secure" : "");
}

void session_write_no_cookie(const struct session_keys *keys, char out[SESSION_COOKIE_SIZE])
{
    snprintf(out, SESSION_COOKIE_SIZE, "%s=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict",
             keys->name);
}

static bool is_ended(const struct session_keys *keys, const struct session *session)
{
    for (size_t i = 0; i < SESSION_ENDED_LIMIT; i++)
        if (keys->ended[i].end_s != 0 &&
            text_equal(text_of(keys->ended[i].number), text_of(session->number)))
            return true;
    return false;
}

/* "END.NUMBER.SIGNATURE" */
static bool read_value(const struct session_keys *keys, struct text value, int64_t now_s,
                       struct session *session_out)
{
    char signature[SIGNATURE_LEN + 1];
    uint64_t end_s;
    struct text end = text_next(&value, '.');
    struct text number = text_next(&value, '.');
    if (!text_to_uint(end, INT64_MAX, &end_s) || !is_hex(number, SESSION_NUMBER_LEN) ||
        !is_hex(value, SIGNATURE_LEN))
        return false;
    struct session session = { .end_s = (int64_t)end_s };
    text_copy_to(number, session.number, sizeof(session.number));
    sign_session(keys, &session, signature);
    /* one that lasts longer than any that is given out: the clock was turned back */
    if (CRYPTO_memcmp(signature, value.data, SIGNATURE_LEN) != 0 || session.end_s <= now_s ||
        session.end_s > now_s + 2 * (int64_t)SESSION_SECONDS || is_ended(keys, &session))
        return false;
    *session_out = session;
    return true;
}

bool session_read(const struct session_keys *keys, struct text cookies, int64_t now_s,
                  struct session *session_out)
{
    while (keys->token[0] != '\0' && cookies.data != NULL) {
        struct text pair = text_trim(text_next(&cookies, ';'));
        struct text name = text_next(&pair, '=');
        if (text_equal(name, text_of(keys->name)) && pair.data != NULL &&
            read_value(keys, pair, now_s, session_out))
            return true;
    }
    return false;
}

void session_end(struct session_keys *keys, const struct session *session)
{
    struct session_ended *place = &keys->ended[keys->ended_next];
    text_copy_to(text_of(session->number), place->number, sizeof(place->number));
    place->end_s = session->end_s;
    keys->ended_next = (keys->ended_next + 1) % SESSION_ENDED_LIMIT;
}
