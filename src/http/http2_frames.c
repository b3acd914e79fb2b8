/*
 * Looks at frames before nghttp2 does, for the rules of RFC 9113 that it does not enforce once a
 * stream is gone: what it ignores there may be the sign of a client that is out of step with us.
 *
 * Streams that have ended are remembered in two words of bits, by their distance from the last one;
 * what is further away is left alone, as is all that a client may have sent before it saw our
 * reset.
 */
#include "http/http2_private.h"

enum { HEAD_BYTES = 9, PREFACE_BYTES = 24, REMEMBERED = 64 };

static uint32_t read_id(const uint8_t *data)
{
    return ((uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3]) &
           INT32_MAX;
}

void http2_frames_init(struct http2_frames *frames)
{
    *frames = (struct http2_frames){ .left = PREFACE_BYTES, .last_id = -1 };
}

/* Its place in the bits; REMEMBERED: too far away, or not one of the client's past streams. */
static unsigned place_of(const struct http2_frames *frames, int32_t id)
{
    bool is_past = id > 0 && id <= frames->last_id && id % 2 == 1;
    unsigned place = is_past ? (unsigned)(frames->last_id - id) / 2 : REMEMBERED;
    return place < REMEMBERED ? place : REMEMBERED;
}

void http2_frames_opened(struct http2_frames *frames, int32_t id)
{
    int64_t by = ((int64_t)id - frames->last_id) / 2;
    frames->opened = by < REMEMBERED ? frames->opened << by : 0;
    frames->reset = by < REMEMBERED ? frames->reset << by : 0;
    frames->opened |= 1;
    frames->last_id = id;
}

void http2_frames_reset(struct http2_frames *frames, int32_t id)
{
    unsigned place = place_of(frames, id);
    if (place < REMEMBERED)
        frames->reset |= UINT64_C(1) << place;
}

/* NGHTTP2_NO_ERROR, or why the connection ends. */
static uint32_t check_head(const struct http2_frames *frames, bool is_gone)
{
    uint8_t type = frames->head[3];
    int32_t id = (int32_t)read_id(frames->head + 5);
    unsigned place = place_of(frames, id);
    if (type == NGHTTP2_PRIORITY && id == 0)
        return NGHTTP2_PROTOCOL_ERROR;
    if ((type != NGHTTP2_DATA && type != NGHTTP2_HEADERS) || place == REMEMBERED || !is_gone ||
        ((frames->reset >> place) & 1) != 0)
        return NGHTTP2_NO_ERROR;
    if (((frames->opened >> place) & 1) != 0)
        return NGHTTP2_STREAM_CLOSED;
    return type == NGHTTP2_HEADERS ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR;
}

static uint32_t check_payload(const struct http2_frames *frames)
{
    uint32_t value = read_id(frames->payload);
    bool is_own = frames->head[3] == NGHTTP2_PRIORITY && value == read_id(frames->head + 5);
    bool is_zero = frames->head[3] == NGHTTP2_WINDOW_UPDATE && value == 0;
    return is_own || is_zero ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR;
}

/* The first bytes of a payload are kept to be looked at. */
static size_t take_payload(struct http2_frames *frames, struct text data)
{
    size_t len = data.len < frames->left ? data.len : frames->left;
    for (size_t i = 0; i < len && frames->payload_len < sizeof(frames->payload); i++)
        frames->payload[frames->payload_len++] = (uint8_t)data.data[i];
    frames->left -= len;
    return len;
}

size_t http2_frames_next(struct http2_frames *frames, struct text data, nghttp2_session *session,
                         uint32_t *error_out)
{
    size_t used = 0;
    *error_out = NGHTTP2_NO_ERROR;
    if (frames->left == 0) {
        while (frames->head_len < HEAD_BYTES && used < data.len)
            frames->head[frames->head_len++] = (uint8_t)data.data[used++];
        if (frames->head_len < HEAD_BYTES)
            return used;
        int32_t id = (int32_t)read_id(frames->head + 5);
        *error_out = check_head(frames, nghttp2_session_find_stream(session, id) == NULL);
        frames->left =
            (size_t)frames->head[0] << 16 | (size_t)frames->head[1] << 8 | frames->head[2];
        frames->payload_len = 0;
    }
    used += take_payload(frames, text_skip(data, used));
    bool has_payload = frames->head_len == HEAD_BYTES && frames->payload_len == 4;
    if (frames->left == 0) {
        if (has_payload && *error_out == NGHTTP2_NO_ERROR)
            *error_out = check_payload(frames);
        frames->head_len = 0;
    }
    return used;
}
