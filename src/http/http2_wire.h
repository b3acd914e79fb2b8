#ifndef HTTP_HTTP2_WIRE_H
#define HTTP_HTTP2_WIRE_H

/*
 * Frames of HTTP/2 (RFC 9113 4 and 6) as a server sees them: bytes to frames and back. Pure. What
 * is wrong with a frame by itself is found here; what depends on the streams of a connection is
 * not.
 */

#include "core/text.h"

enum {
    WIRE_HEAD_BYTES = 9,
    WIRE_FRAME_BYTES = 16384, /* of a payload: the smallest limit that a side may have, and ours */
    WIRE_CONTROL_MOST = 32,   /* of a whole frame but HEADERS, DATA and SETTINGS */
    WIRE_SETTING_BYTES = 6,
};

#define WIRE_WINDOW_MOST INT64_C(0x7FFFFFFF) /* 6.9.1 */
#define WIRE_FIRST_WINDOW INT64_C(65535)     /* 6.9.2 */

enum wire_type {
    WIRE_DATA = 0,
    WIRE_HEADERS = 1,
    WIRE_PRIORITY = 2,
    WIRE_RST_STREAM = 3,
    WIRE_SETTINGS = 4,
    WIRE_PUSH_PROMISE = 5,
    WIRE_PING = 6,
    WIRE_GOAWAY = 7,
    WIRE_WINDOW_UPDATE = 8,
    WIRE_CONTINUATION = 9,
    WIRE_PRIORITY_UPDATE = 16, /* RFC 9218 7.1 */
};

enum wire_flag {
    WIRE_END_STREAM = 0x1,
    WIRE_ACK = 0x1, /* of SETTINGS and PING */
    WIRE_END_HEADERS = 0x4,
    WIRE_PADDED = 0x8,
    WIRE_HAS_PRIORITY = 0x20,
};

enum wire_error {
    WIRE_NO_ERROR = 0,
    WIRE_PROTOCOL_ERROR = 1,
    WIRE_INTERNAL_ERROR = 2,
    WIRE_FLOW_CONTROL_ERROR = 3,
    WIRE_STREAM_CLOSED = 5,
    WIRE_FRAME_SIZE_ERROR = 6,
    WIRE_REFUSED_STREAM = 7,
    WIRE_CANCEL = 8,
    WIRE_COMPRESSION_ERROR = 9,
    WIRE_ENHANCE_YOUR_CALM = 11,
};

enum wire_setting {
    WIRE_HEADER_TABLE_SIZE = 1,
    WIRE_ENABLE_PUSH = 2,
    WIRE_MAX_CONCURRENT_STREAMS = 3,
    WIRE_INITIAL_WINDOW_SIZE = 4,
    WIRE_MAX_FRAME_SIZE = 5,
    WIRE_MAX_HEADER_LIST_SIZE = 6,
    WIRE_ENABLE_CONNECT_PROTOCOL = 8, /* RFC 8441 */
    WIRE_NO_RFC7540_PRIORITIES = 9,   /* RFC 9218 2.1 */
};

struct wire_frame {
    struct text payload; /* without padding, and without the priority of HEADERS */
    uint32_t len;        /* of the payload as it was sent: what windows count */
    int32_t id;          /* of the stream, 0: the connection */
    uint8_t type;        /* also unknown ones, which are to be ignored */
    uint8_t flags;
};

enum wire_state { WIRE_MORE, WIRE_FRAME, WIRE_BAD };

/* Takes a frame from the front of *input. WIRE_MORE: not all of it is there; *out has all but the
 * payload if the head is, else id -1. WIRE_BAD: the connection ends with *error_out. */
enum wire_state wire_next(struct text *input, struct wire_frame *out, enum wire_error *error_out);

/* The next pair of SETTINGS; false at the end. *error_out: WIRE_NO_ERROR, or why the connection
 * ends. */
bool wire_setting(struct text *payload, uint16_t *id_out, uint32_t *value_out,
                  enum wire_error *error_out);

/* A number of 32 bits, at the front of a payload that is long enough. */
uint32_t wire_u32(const char *data);
/* The same of 31, as increments and stream numbers are. */
int32_t wire_u31(const char *data);

/* ---- writing: return the end of what they wrote ---- */

/* WIRE_HEAD_BYTES */
char *wire_put_head(char *at, size_t len, enum wire_type type, uint8_t flags, int32_t id);
/* A pair of SETTINGS: WIRE_SETTING_BYTES */
char *wire_put_setting(char *at, enum wire_setting id, uint32_t value);
/* Whole frames: at most WIRE_CONTROL_MOST */
char *wire_put_reset(char *at, int32_t id, enum wire_error code);
char *wire_put_goaway(char *at, int32_t last_id, enum wire_error code);
char *wire_put_window(char *at, int32_t id, uint32_t increment);
char *wire_put_ping_ack(char *at, const char opaque[8]);

#endif
