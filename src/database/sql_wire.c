/*
 * Sending over a stream: one buffer is on its way while the other fills, so that everything which
 * comes in the meantime leaves in one piece. To a server silently: its answer is what comes next,
 * so there is nothing to wake up for before (sql_wire_hurry, when there is). Not so to a client: it
 * often has the next statement ready when we are told that the answer has left, which saves a
 * sleep.
 */
#include "database/sql_private.h"

enum { KEPT = 16384 /* of memory for the next time */, SEND_MS = 60000 };

void sql_wire_init(struct sql_wire *wire, size_t limit)
{
    *wire = (struct sql_wire){ .waiting = buffer_of(limit), .flying = buffer_of(limit) };
}

void sql_wire_flush(struct sql_wire *wire)
{
    if (wire->waiting.len == 0 || wire->stream == NULL)
        return;
    if (wire->is_sending) {
        stream_send_hurry(wire->stream);
        return;
    }
    struct buffer next = wire->waiting;
    wire->waiting = wire->flying;
    wire->flying = next;
    struct iovec iov = { wire->flying.data, wire->flying.len };
    wire->is_sending = true;
    if (wire->is_silent)
        stream_send_silent(wire->stream, &iov, 1, SEND_MS);
    else
        stream_send(wire->stream, &iov, 1, SEND_MS);
}

void sql_wire_hurry(struct sql_wire *wire)
{
    if (wire->is_sending && wire->stream != NULL)
        stream_send_hurry(wire->stream);
}

bool sql_wire_sent(struct sql_wire *wire)
{
    wire->is_sending = false;
    if (wire->flying.capacity > KEPT)
        buffer_done(&wire->flying);
    else
        buffer_clear(&wire->flying);
    sql_wire_flush(wire);
    return wire->is_sending;
}

void sql_wire_done(struct sql_wire *wire)
{
    buffer_done(&wire->waiting);
    buffer_done(&wire->flying);
}
