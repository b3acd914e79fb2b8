/* Any bytes as frames: what is taken lies in the input, and cut off it is never something else. */
#include "http/http2_wire.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text in = text_from((const char *)data, size);
    struct wire_frame frame, cut;
    enum wire_error error, other;
    while (in.len > 0) {
        struct text start = in, part = in;
        enum wire_state state = wire_next(&in, &frame, &error);
        assert((state == WIRE_BAD) == (error != WIRE_NO_ERROR));
        if (state != WIRE_FRAME)
            break;
        part.len = WIRE_HEAD_BYTES + frame.len;
        assert(in.data == start.data + part.len && frame.len <= WIRE_FRAME_BYTES);
        assert(frame.payload.len == 0 || (frame.payload.data >= start.data + WIRE_HEAD_BYTES &&
                                          frame.payload.data + frame.payload.len <= in.data));
        part.len -= frame.len > 0 ? 1 : WIRE_HEAD_BYTES;
        assert(wire_next(&part, &cut, &other) == WIRE_MORE);
        if (frame.type == WIRE_SETTINGS) {
            uint16_t id;
            uint32_t value;
            while (wire_setting(&frame.payload, &id, &value, &other))
                continue;
        }
    }
    return 0;
}
