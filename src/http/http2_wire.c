/* Frames of HTTP/2 to bytes and back; see http2_wire.h. */
#include "http/http2_wire.h"

#include "core/error.h"

enum { PRIORITY_BYTES = 5, GOAWAY_BYTES = 8, WINDOW_BYTES = 4, PING_BYTES = 8, RESET_BYTES = 4 };

/* ---- numbers ---- */

uint32_t wire_u32(const char *data)
{
    const uint8_t *bytes = (const uint8_t *)data;
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

int32_t wire_u31(const char *data)
{
    return (int32_t)(wire_u32(data) & INT32_MAX);
}

static char *put_u32(char *at, uint32_t value)
{
    at[0] = (char)(value >> 24);
    at[1] = (char)(value >> 16);
    at[2] = (char)(value >> 8);
    at[3] = (char)value;
    return at + 4;
}

/* ---- reading ---- */

enum place { OF_STREAM, OF_CONNECTION, OF_BOTH };

/* What each frame needs (6). */
static const struct {
    enum place place;
    uint32_t least;
    uint32_t most;
} rules[] = {
    [WIRE_DATA] = { OF_STREAM, 0, WIRE_FRAME_BYTES },
    [WIRE_HEADERS] = { OF_STREAM, 0, WIRE_FRAME_BYTES },
    [WIRE_PRIORITY] = { OF_STREAM, PRIORITY_BYTES, PRIORITY_BYTES },
    [WIRE_RST_STREAM] = { OF_STREAM, RESET_BYTES, RESET_BYTES },
    [WIRE_SETTINGS] = { OF_CONNECTION, 0, WIRE_FRAME_BYTES },
    [WIRE_PUSH_PROMISE] = { OF_STREAM, 0, WIRE_FRAME_BYTES },
    [WIRE_PING] = { OF_CONNECTION, PING_BYTES, PING_BYTES },
    [WIRE_GOAWAY] = { OF_CONNECTION, GOAWAY_BYTES, WIRE_FRAME_BYTES },
    [WIRE_WINDOW_UPDATE] = { OF_BOTH, WINDOW_BYTES, WINDOW_BYTES },
    [WIRE_CONTINUATION] = { OF_STREAM, 0, WIRE_FRAME_BYTES },
};

static enum wire_error check_head(const struct wire_frame *frame)
{
    bool is_ack = frame->type == WIRE_SETTINGS && (frame->flags & WIRE_ACK) != 0;
    if (frame->len > WIRE_FRAME_BYTES)
        return WIRE_FRAME_SIZE_ERROR;
    if (frame->type == WIRE_PRIORITY_UPDATE)
        return frame->id != 0 ? WIRE_PROTOCOL_ERROR : WIRE_NO_ERROR;
    if (frame->type >= COUNT(rules))
        return WIRE_NO_ERROR;
    enum place place = rules[frame->type].place;
    if (frame->type == WIRE_PUSH_PROMISE || (place == OF_STREAM && frame->id == 0) ||
        (place == OF_CONNECTION && frame->id != 0))
        return WIRE_PROTOCOL_ERROR;
    bool is_sized = frame->len >= rules[frame->type].least && frame->len <= rules[frame->type].most;
    bool is_odd = frame->type == WIRE_SETTINGS && frame->len % WIRE_SETTING_BYTES != 0;
    return !is_sized || is_odd || (is_ack && frame->len > 0) ? WIRE_FRAME_SIZE_ERROR
                                                             : WIRE_NO_ERROR;
}

/* A stream that is said to depend on itself (RFC 7540 5.3.1) is a sign of one who is out of step.
 */
static bool depends_on_itself(const struct wire_frame *frame)
{
    return wire_u31(frame->payload.data) == frame->id;
}

/* Takes padding and priority off. */
static enum wire_error strip(struct wire_frame *frame)
{
    bool has_priority = frame->type == WIRE_HEADERS && (frame->flags & WIRE_HAS_PRIORITY) != 0;
    bool may_pad = frame->type == WIRE_HEADERS || frame->type == WIRE_DATA;
    if (may_pad && (frame->flags & WIRE_PADDED) != 0) {
        if (frame->payload.len == 0)
            return WIRE_FRAME_SIZE_ERROR;
        size_t padding = (uint8_t)frame->payload.data[0];
        frame->payload = text_skip(frame->payload, 1);
        if (padding > frame->payload.len)
            return WIRE_PROTOCOL_ERROR;
        frame->payload.len -= padding;
    }
    if (has_priority) {
        if (frame->payload.len < PRIORITY_BYTES)
            return WIRE_FRAME_SIZE_ERROR;
        if (depends_on_itself(frame))
            return WIRE_PROTOCOL_ERROR;
        frame->payload = text_skip(frame->payload, PRIORITY_BYTES);
    }
    if (frame->type == WIRE_PRIORITY && depends_on_itself(frame))
        return WIRE_PROTOCOL_ERROR;
    return WIRE_NO_ERROR;
}

enum wire_state wire_next(struct text *input, struct wire_frame *out, enum wire_error *error_out)
{
    const uint8_t *head = (const uint8_t *)input->data;
    *out = (struct wire_frame){ .id = -1 };
    *error_out = WIRE_NO_ERROR;
    if (input->len < WIRE_HEAD_BYTES)
        return WIRE_MORE;
    out->len = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
    out->type = head[3];
    out->flags = head[4];
    out->id = wire_u31(input->data + 5);
    *error_out = check_head(out);
    if (*error_out != WIRE_NO_ERROR)
        return WIRE_BAD;
    if (input->len - WIRE_HEAD_BYTES < out->len)
        return WIRE_MORE;
    out->payload = text_part(*input, WIRE_HEAD_BYTES, out->len);
    *error_out = strip(out);
    if (*error_out != WIRE_NO_ERROR)
        return WIRE_BAD;
    *input = text_skip(*input, WIRE_HEAD_BYTES + out->len);
    return WIRE_FRAME;
}

static enum wire_error check_setting(uint16_t id, uint32_t value)
{
    bool is_switch = id == WIRE_ENABLE_PUSH || id == WIRE_ENABLE_CONNECT_PROTOCOL ||
                     id == WIRE_NO_RFC7540_PRIORITIES;
    bool is_size = id == WIRE_MAX_FRAME_SIZE;
    if (id == WIRE_INITIAL_WINDOW_SIZE && value > WIRE_WINDOW_MOST)
        return WIRE_FLOW_CONTROL_ERROR;
    if ((is_switch && value > 1) || (is_size && (value < WIRE_FRAME_BYTES || value > 0xFFFFFF)))
        return WIRE_PROTOCOL_ERROR;
    return WIRE_NO_ERROR;
}

bool wire_setting(struct text *payload, uint16_t *id_out, uint32_t *value_out,
                  enum wire_error *error_out)
{
    *error_out = WIRE_NO_ERROR;
    if (payload->len < WIRE_SETTING_BYTES)
        return false;
    const uint8_t *bytes = (const uint8_t *)payload->data;
    *id_out = (uint16_t)(bytes[0] << 8 | bytes[1]);
    *value_out = wire_u32(payload->data + 2);
    *error_out = check_setting(*id_out, *value_out);
    *payload = text_skip(*payload, WIRE_SETTING_BYTES);
    return true;
}

/* ---- writing ---- */

char *wire_put_head(char *at, size_t len, enum wire_type type, uint8_t flags, int32_t id)
{
    put_u32(at, (uint32_t)len << 8 | (uint32_t)type);
    at[4] = (char)flags;
    return put_u32(at + 5, (uint32_t)id);
}

char *wire_put_setting(char *at, enum wire_setting id, uint32_t value)
{
    at[0] = 0;
    at[1] = (char)id;
    return put_u32(at + 2, value);
}

char *wire_put_reset(char *at, int32_t id, enum wire_error code)
{
    return put_u32(wire_put_head(at, RESET_BYTES, WIRE_RST_STREAM, 0, id), code);
}

char *wire_put_goaway(char *at, int32_t last_id, enum wire_error code)
{
    at = wire_put_head(at, GOAWAY_BYTES, WIRE_GOAWAY, 0, 0);
    return put_u32(put_u32(at, (uint32_t)last_id), code);
}

char *wire_put_window(char *at, int32_t id, uint32_t increment)
{
    return put_u32(wire_put_head(at, WINDOW_BYTES, WIRE_WINDOW_UPDATE, 0, id), increment);
}

char *wire_put_ping_ack(char *at, const char opaque[8])
{
    at = wire_put_head(at, PING_BYTES, WIRE_PING, WIRE_ACK, 0);
    memcpy(at, opaque, PING_BYTES);
    return at + PING_BYTES;
}
