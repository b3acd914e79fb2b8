/*
 * Streams that are gone: what still comes for them may be on its way since before the client knew,
 * or the sign of one that is out of step with us (RFC 9113 5.1).
 *
 * They are remembered in two words of bits, by their distance from the last one; what is further
 * away is left alone, as is all that a client may have sent before it saw our reset.
 */
#include "http/http2_private.h"

enum { REMEMBERED = 64 };

void http2_past_init(struct http2_past *past)
{
    *past = (struct http2_past){ .last_id = -1 };
}

/* Its place in the bits; REMEMBERED: too far away. */
static unsigned place_of(const struct http2_past *past, int32_t id)
{
    unsigned place = (unsigned)(past->last_id - id) / 2;
    return place < REMEMBERED ? place : REMEMBERED;
}

bool http2_past_is_idle(const struct http2_past *past, int32_t id)
{
    return id % 2 == 0 || id > past->last_id;
}

void http2_past_opened(struct http2_past *past, int32_t id)
{
    int64_t by = ((int64_t)id - past->last_id) / 2;
    past->opened = by < REMEMBERED ? past->opened << by : 0;
    past->reset = by < REMEMBERED ? past->reset << by : 0;
    past->opened |= 1;
    past->last_id = id;
}

void http2_past_reset(struct http2_past *past, int32_t id)
{
    unsigned place = place_of(past, id);
    if (place < REMEMBERED)
        past->reset |= UINT64_C(1) << place;
}

enum wire_error http2_past_check(const struct http2_past *past, int32_t id, enum wire_type type)
{
    unsigned place = place_of(past, id);
    if (http2_past_is_idle(past, id))
        return WIRE_PROTOCOL_ERROR;
    if ((type != WIRE_DATA && type != WIRE_HEADERS) || place == REMEMBERED ||
        ((past->reset >> place) & 1) != 0)
        return WIRE_NO_ERROR;
    if (((past->opened >> place) & 1) != 0)
        return WIRE_STREAM_CLOSED;
    return type == WIRE_HEADERS ? WIRE_PROTOCOL_ERROR : WIRE_NO_ERROR; /* 5.1.1 */
}
