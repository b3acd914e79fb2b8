/*
 * The answer to a WebSocket handshake: Base64 of the SHA-1 of the key and a fixed text (RFC 6455
 * 4.2.2). SHA-1 (RFC 3174) is no secret-keeping here; it only shows that the server knows the
 * protocol.
 */
#include "http/websocket.h"

#include <string.h>

enum { DIGEST_BYTES = 20, BLOCK_BYTES = 64, KEY_BYTES = 24 };

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint32_t rotate(uint32_t value, unsigned by)
{
    return value << by | value >> (32 - by);
}

static void add_block(uint32_t state[5], const uint8_t block[BLOCK_BYTES])
{
    static const uint32_t constants[4] = { 0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6 };
    uint32_t w[80];
    for (size_t i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (size_t i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (size_t i = 0; i < 80; i++) {
        uint32_t mixed = i < 20   ? (b & c) | (~b & d)
                         : i < 40 ? b ^ c ^ d
                         : i < 60 ? (b & c) | (b & d) | (c & d)
                                  : b ^ c ^ d;
        uint32_t next = rotate(a, 5) + mixed + e + w[i] + constants[i / 20];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

/* Of at most 119 bytes: two blocks with the padding. */
static void digest(struct text data, uint8_t out[DIGEST_BYTES])
{
    uint32_t state[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
    uint8_t blocks[2 * BLOCK_BYTES] = { 0 };
    memcpy(blocks, data.data, data.len);
    blocks[data.len] = 0x80;
    size_t total = data.len + 9 > BLOCK_BYTES ? 2 * BLOCK_BYTES : BLOCK_BYTES;
    uint64_t bits = data.len * 8;
    for (size_t i = 0; i < 8; i++)
        blocks[total - 1 - i] = (uint8_t)(bits >> 8 * i);
    for (size_t at = 0; at < total; at += BLOCK_BYTES)
        add_block(state, blocks + at);
    for (size_t i = 0; i < DIGEST_BYTES; i++)
        out[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

bool websocket_is_key(struct text key)
{
    if (key.len != KEY_BYTES || !text_ends_with(key, T("==")))
        return false;
    for (size_t i = 0; i < KEY_BYTES - 2; i++) {
        if (key.data[i] == '\0' || strchr(base64, key.data[i]) == NULL)
            return false;
    }
    return true;
}

void websocket_accept_key(struct text key, char out[WEBSOCKET_ACCEPT_SIZE])
{
    static const char fixed[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char joined[KEY_BYTES + sizeof(fixed)];
    uint8_t sum[DIGEST_BYTES + 1] = { 0 }; /* a multiple of three for Base64 */
    key = text_part(key, 0, KEY_BYTES);
    if (key.len > 0)
        memcpy(joined, key.data, key.len);
    memcpy(joined + key.len, fixed, sizeof(fixed) - 1);
    digest(text_from(joined, key.len + sizeof(fixed) - 1), sum);
    for (size_t i = 0; i < 7; i++) {
        uint32_t three =
            (uint32_t)sum[3 * i] << 16 | (uint32_t)sum[3 * i + 1] << 8 | sum[3 * i + 2];
        for (size_t k = 0; k < 4; k++)
            out[4 * i + k] = base64[three >> (18 - 6 * k) & 63];
    }
    out[27] = '=';
    out[28] = '\0';
}
