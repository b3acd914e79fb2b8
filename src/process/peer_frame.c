/* Frames of the channel between servers: pure. */
#include "process/peer.h"

#include <assert.h>

static bool is_known(uint8_t type)
{
    return type != 0 && memchr("CNDEAR", type, 6) != NULL;
}

enum err peer_frame_parse(struct text data, struct peer_frame *frame_out, size_t *used_out)
{
    const uint8_t *bytes = (const uint8_t *)data.data;
    if (data.len > 0 && !is_known(bytes[0]))
        return ERR_PROTOCOL;
    if (data.len < PEER_FRAME_HEAD)
        return ERR_BUSY;
    size_t len = (size_t)bytes[1] << 24 | (size_t)bytes[2] << 16 | (size_t)bytes[3] << 8 | bytes[4];
    if (len > PEER_FRAME_LIMIT)
        return ERR_PROTOCOL;
    if (data.len < PEER_FRAME_HEAD + len)
        return ERR_BUSY;
    *frame_out = (struct peer_frame){ .type = (enum peer_frame_type)bytes[0],
                                      .payload = text_part(data, PEER_FRAME_HEAD, len) };
    *used_out = PEER_FRAME_HEAD + len;
    return OK;
}

void peer_frame_write(struct buffer *out, enum peer_frame_type type, struct text payload)
{
    assert(payload.len <= PEER_FRAME_LIMIT);
    buffer_append_byte(out, (uint8_t)type);
    buffer_append_u32(out, (uint32_t)payload.len);
    buffer_append(out, payload);
}
