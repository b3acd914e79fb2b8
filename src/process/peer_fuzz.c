/* Fuzz target: what another server may send: a first line, an answer, frames. */
#include "process/peer_line.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(struct text line, bool is_local)
{
    struct peer_request request, again;
    if (peer_line_parse(line, is_local, &request) != OK)
        return;
    struct buffer out = buffer_of(PEER_LINE_LIMIT * 2);
    peer_line_write(&out, &request, is_local);
    struct text written = text_part(buffer_text(&out), 0, out.len - 1);
    assert(!out.failed && peer_line_parse(written, is_local, &again) == OK);
    assert(again.service == request.service && text_equal(again.server, request.server) &&
           again.epoch == request.epoch && again.hold_ms == request.hold_ms &&
           again.drain_ms == request.drain_ms);
    buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text input = text_from((const char *)data, size), reason;
    struct peer_frame frame;
    size_t used;
    check_line(input, false);
    check_line(input, true);
    enum err err = peer_answer_parse(input, &reason);
    if (err == ERR_DENIED || err == ERR_BUSY)
        assert(reason.len == size - 2);
    while (peer_frame_parse(input, &frame, &used) == OK) {
        assert(used == frame.payload.len + PEER_FRAME_HEAD && used <= input.len);
        input = text_skip(input, used);
    }
    return 0;
}
