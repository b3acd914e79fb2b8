/*
 * Reader and writer of WebSocket frames. The reader gives data as it comes, without waiting for the
 * end of a frame, so it needs no memory for messages; control frames, which may stand between the
 * frames of a message, are kept until they are whole.
 *
 *   head ──► payload ──► head ...          a message: text or binary, continuations, the last final
 */
#include "http/websocket.h"

#include <string.h>

enum { FINAL = 0x80, RESERVED = 0x70, MASKED = 0x80 };

/* ---- UTF-8 ---- */

/* The first byte of a character says what may follow: RFC 3629 section 4. */
static bool begin_character(struct utf8_check *check, uint8_t c)
{
    check->low = 0x80;
    check->high = 0xbf;
    if (c >= 0xc2 && c <= 0xdf) {
        check->needed = 1;
    } else if (c >= 0xe0 && c <= 0xef) {
        check->needed = 2;
        check->low = c == 0xe0 ? 0xa0 : 0x80;
        check->high = c == 0xed ? 0x9f : 0xbf; /* no surrogates */
    } else if (c >= 0xf0 && c <= 0xf4) {
        check->needed = 3;
        check->low = c == 0xf0 ? 0x90 : 0x80;
        check->high = c == 0xf4 ? 0x8f : 0xbf; /* up to U+10FFFF */
    } else {
        return false;
    }
    return true;
}

bool utf8_check_add(struct utf8_check *check, struct text data)
{
    size_t i = 0;
    while (i < data.len) {
        uint64_t block;
        if (check->needed == 0 && data.len - i >= sizeof(block)) {
            memcpy(&block, data.data + i, sizeof(block));
            if ((block & 0x8080808080808080ULL) == 0) {
                i += sizeof(block);
                continue;
            }
        }
        uint8_t c = (uint8_t)data.data[i++];
        if (check->needed > 0) {
            if (c < check->low || c > check->high)
                return false;
            check->low = 0x80;
            check->high = 0xbf;
            check->needed--;
        } else if (c >= 0x80 && !begin_character(check, c)) {
            return false;
        }
    }
    return true;
}

/* ---- masks ---- */

void websocket_mask(char *out, const char *data, size_t len, const uint8_t mask[4], size_t at)
{
    uint8_t turned[8];
    uint64_t wide, block;
    size_t i = 0;
    for (size_t k = 0; k < sizeof(turned); k++)
        turned[k] = mask[(at + k) % 4];
    memcpy(&wide, turned, sizeof(wide));
    for (; len - i >= sizeof(block); i += sizeof(block)) {
        memcpy(&block, data + i, sizeof(block));
        block ^= wide;
        memcpy(out + i, &block, sizeof(block));
    }
    for (; i < len; i++)
        out[i] = (char)((uint8_t)data[i] ^ turned[i % 8]);
}

/* ---- reading ---- */

static enum websocket_event bad(struct websocket_reader *reader, uint16_t code, const char *problem)
{
    reader->code = code;
    reader->problem = problem;
    return WEBSOCKET_BAD;
}

bool websocket_is_close_code(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

/* How long this head is, as far as its first bytes tell. */
static size_t head_size(const struct websocket_reader *reader)
{
    if (reader->head_len < 2)
        return 2;
    uint8_t len = reader->head[1] & 0x7f;
    size_t size = len == 127 ? 10 : len == 126 ? 4 : 2;
    return size + ((reader->head[1] & MASKED) != 0 ? 4 : 0);
}

static uint64_t head_payload(const struct websocket_reader *reader)
{
    uint64_t len = reader->head[1] & 0x7f;
    size_t bytes = len == 127 ? 8 : len == 126 ? 2 : 0;
    if (bytes == 0)
        return len;
    len = 0;
    for (size_t i = 0; i < bytes; i++)
        len = len << 8 | reader->head[2 + i];
    return len;
}

static bool is_control(uint8_t opcode)
{
    return (opcode & 8) != 0;
}

/* The first two bytes. NULL when they are right. */
static const char *check_start(const struct websocket_reader *reader)
{
    uint8_t opcode = reader->head[0] & 0x0f;
    bool is_final = (reader->head[0] & FINAL) != 0;
    if ((reader->head[0] & RESERVED) != 0)
        return "a reserved bit is set";
    if (opcode > WEBSOCKET_PONG_FRAME || (opcode > WEBSOCKET_BINARY && !is_control(opcode)))
        return "an opcode that does not exist";
    if (((reader->head[1] & MASKED) != 0) != reader->is_server)
        return reader->is_server ? "a frame without a mask" : "a frame with a mask";
    if (is_control(opcode) && (!is_final || (reader->head[1] & 0x7f) > WEBSOCKET_CONTROL_LIMIT))
        return "a control frame that is too long or in parts";
    if (is_control(opcode))
        return NULL;
    if (opcode == WEBSOCKET_CONTINUATION && reader->message == 0)
        return "a continuation of nothing";
    if (opcode != WEBSOCKET_CONTINUATION && reader->message != 0)
        return "a message inside another";
    return NULL;
}

static bool is_length_shortest(const struct websocket_reader *reader, uint64_t payload)
{
    uint8_t len = reader->head[1] & 0x7f;
    return len < 126 || (len == 126 ? payload >= 126 : payload > 0xffff);
}

/* The head is whole. */
static enum websocket_event begin_frame(struct websocket_reader *reader)
{
    uint64_t payload = head_payload(reader);
    if (!is_length_shortest(reader, payload) || payload > INT64_MAX)
        return bad(reader, WEBSOCKET_CODE_PROTOCOL, "a length that is not the shortest");
    reader->opcode = reader->head[0] & 0x0f;
    reader->is_final = (reader->head[0] & FINAL) != 0;
    reader->left = payload;
    reader->mask_at = 0;
    reader->control_len = 0;
    memset(reader->mask, 0, sizeof(reader->mask));
    if (reader->is_server)
        memcpy(reader->mask, reader->head + reader->head_len - 4, 4);
    reader->head_len = 0;
    reader->is_in_frame = true;
    if (is_control(reader->opcode))
        return WEBSOCKET_MORE;
    if (reader->opcode != WEBSOCKET_CONTINUATION) {
        reader->message = reader->opcode;
        reader->message_bytes = 0;
        reader->utf8 = (struct utf8_check){ 0 };
    }
    if (payload > (uint64_t)(reader->message_limit - reader->message_bytes))
        return bad(reader, WEBSOCKET_CODE_TOO_LARGE, "a message that is too large");
    return WEBSOCKET_MORE;
}

/* WEBSOCKET_MORE: the head is whole, or the input is at its end. */
static enum websocket_event read_head(struct websocket_reader *reader, struct text *input)
{
    while (reader->head_len < head_size(reader)) {
        if (input->len == 0)
            return WEBSOCKET_MORE;
        reader->head[reader->head_len++] = (uint8_t)input->data[0];
        *input = text_skip(*input, 1);
        const char *problem = reader->head_len == 2 ? check_start(reader) : NULL;
        if (problem != NULL)
            return bad(reader, WEBSOCKET_CODE_PROTOCOL, problem);
    }
    return begin_frame(reader);
}

/* Unmasked bytes of the frame. */
static struct text take(struct websocket_reader *reader, struct text *input, char *out,
                        size_t out_len)
{
    size_t len = input->len < out_len ? input->len : out_len;
    if (len > reader->left)
        len = (size_t)reader->left;
    websocket_mask(out, input->data, len, reader->mask, reader->mask_at);
    *input = text_skip(*input, len);
    reader->left -= len;
    reader->mask_at = (reader->mask_at + len) % 4;
    return text_from(out, len);
}

static enum websocket_event read_close(struct websocket_reader *reader,
                                       struct websocket_piece *piece)
{
    struct utf8_check check = { 0 };
    struct text data = text_from(reader->control, reader->control_len);
    piece->code = WEBSOCKET_CODE_NONE;
    piece->data = T("");
    if (data.len == 0)
        return WEBSOCKET_CLOSE;
    if (data.len == 1)
        return bad(reader, WEBSOCKET_CODE_PROTOCOL, "half a close code");
    piece->code = (uint16_t)((uint8_t)data.data[0] << 8 | (uint8_t)data.data[1]);
    piece->data = text_skip(data, 2);
    if (!websocket_is_close_code(piece->code))
        return bad(reader, WEBSOCKET_CODE_PROTOCOL, "a close code that may not be sent");
    if (!utf8_check_add(&check, piece->data) || check.needed != 0)
        return bad(reader, WEBSOCKET_CODE_NOT_UTF8, "a reason that is not UTF-8");
    return WEBSOCKET_CLOSE;
}

static enum websocket_event read_control(struct websocket_reader *reader, struct text *input,
                                         struct websocket_piece *piece)
{
    reader->control_len += take(reader, input, reader->control + reader->control_len,
                                sizeof(reader->control) - reader->control_len)
                               .len;
    if (reader->left > 0)
        return WEBSOCKET_MORE;
    reader->is_in_frame = false;
    piece->data = text_from(reader->control, reader->control_len);
    if (reader->opcode == WEBSOCKET_CLOSE_FRAME)
        return read_close(reader, piece);
    return reader->opcode == WEBSOCKET_PING_FRAME ? WEBSOCKET_PING : WEBSOCKET_PONG;
}

static enum websocket_event read_data(struct websocket_reader *reader, struct text *input,
                                      char *space, size_t space_len, struct websocket_piece *piece)
{
    piece->data = take(reader, input, space, space_len);
    piece->is_text = reader->message == WEBSOCKET_TEXT;
    piece->is_last = reader->left == 0 && reader->is_final;
    reader->message_bytes += (int64_t)piece->data.len;
    if (piece->is_text && !utf8_check_add(&reader->utf8, piece->data))
        return bad(reader, WEBSOCKET_CODE_NOT_UTF8, "a text that is not UTF-8");
    if (reader->left == 0)
        reader->is_in_frame = false;
    if (piece->is_last) {
        reader->message = 0;
        if (piece->is_text && reader->utf8.needed != 0)
            return bad(reader, WEBSOCKET_CODE_NOT_UTF8, "a text that ends inside a character");
        return WEBSOCKET_DATA;
    }
    return piece->data.len > 0 ? WEBSOCKET_DATA : WEBSOCKET_MORE;
}

enum websocket_event websocket_read(struct websocket_reader *reader, struct text *input,
                                    char *space, size_t space_len, struct websocket_piece *piece)
{
    *piece = (struct websocket_piece){ .data = T("") };
    if (reader->code != 0)
        return WEBSOCKET_BAD;
    for (;;) {
        enum websocket_event event;
        bool was_in_frame = reader->is_in_frame;
        if (!was_in_frame)
            event = read_head(reader, input);
        else if (is_control(reader->opcode))
            event = read_control(reader, input, piece);
        else
            event = read_data(reader, input, space, space_len, piece);
        if (event != WEBSOCKET_MORE)
            return event;
        bool has_moved = was_in_frame != reader->is_in_frame;
        if (!has_moved && input->len == 0)
            return WEBSOCKET_MORE;
    }
}

/* ---- writing ---- */

size_t websocket_write_head(char out[WEBSOCKET_HEAD_LIMIT], enum websocket_opcode opcode,
                            bool is_final, uint64_t payload, const uint8_t mask[4])
{
    size_t bytes = payload > 0xffff ? 8 : payload > 125 ? 2 : 0;
    size_t len = 2 + bytes;
    uint8_t first = (uint8_t)opcode;
    first |= is_final ? FINAL : 0;
    out[0] = (char)first;
    uint8_t second = bytes == 8 ? 127 : bytes == 2 ? 126 : (uint8_t)payload;
    out[1] = (char)(second | (mask != NULL ? MASKED : 0));
    for (size_t i = 0; i < bytes; i++)
        out[2 + i] = (char)(uint8_t)(payload >> 8 * (bytes - 1 - i));
    if (mask != NULL) {
        memcpy(out + len, mask, 4);
        len += 4;
    }
    return len;
}
