#ifndef HTTP_WEBSOCKET_H
#define HTTP_WEBSOCKET_H

/*
 * WebSocket frames (RFC 6455), for whoever ends such a connection or looks into one. Pure: bytes
 * in, pieces of messages out; nothing is sent and no clock is read here. No extensions (RFC 7692
 * compression among them): a reserved bit is an error. After WEBSOCKET_BAD or WEBSOCKET_CLOSE
 * nothing more is to be read.
 */

#include "core/error.h"
#include "core/text.h"

#include <stdbool.h>
#include <stdint.h>

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE_FRAME = 8,
    WEBSOCKET_PING_FRAME = 9,
    WEBSOCKET_PONG_FRAME = 10,
};

/* Status codes of a close, RFC 6455 7.4.1. The first two are never sent. */
enum {
    WEBSOCKET_CODE_NONE = 1005, /* a close frame without a code */
    WEBSOCKET_CODE_LOST = 1006, /* no close frame */
    WEBSOCKET_CODE_NORMAL = 1000,
    WEBSOCKET_CODE_GOING_AWAY = 1001,
    WEBSOCKET_CODE_PROTOCOL = 1002,
    WEBSOCKET_CODE_NOT_UTF8 = 1007,
    WEBSOCKET_CODE_TOO_LARGE = 1009,
    WEBSOCKET_CODE_FAILED = 1011,
    WEBSOCKET_CODE_RESTART = 1012,
};

enum {
    WEBSOCKET_HEAD_LIMIT = 14,     /* bytes of a frame's head */
    WEBSOCKET_CONTROL_LIMIT = 125, /* payload of a control frame */
    WEBSOCKET_ACCEPT_SIZE = 29,    /* of the text of Sec-WebSocket-Accept, with its NUL */
};

/* Checks a stream of bytes for UTF-8 (RFC 3629), piece by piece. Starts as all zero. */
struct utf8_check {
    uint8_t needed; /* continuation bytes that must follow */
    uint8_t low;    /* bounds of the next one */
    uint8_t high;
};

/* False as soon as it cannot be UTF-8; with needed == 0 the text may end here. */
bool utf8_check_add(struct utf8_check *check, struct text data);

/* Reads what one side of a connection sends. Set the first fields, leave the rest zero. */
struct websocket_reader {
    bool is_server;        /* frames must be masked; else they must not be */
    int64_t message_limit; /* bytes of a message; else 1009 */
    /* private */
    uint8_t head[WEBSOCKET_HEAD_LIMIT];
    size_t head_len;
    bool is_in_frame;
    bool is_final;
    uint8_t opcode;  /* of the frame */
    uint8_t message; /* opcode of the message under way; 0: none */
    uint8_t mask[4];
    size_t mask_at;
    uint64_t left; /* of the frame's payload */
    int64_t message_bytes;
    struct utf8_check utf8;
    char control[WEBSOCKET_CONTROL_LIMIT];
    size_t control_len;
    /* why it is bad: what to close with */
    uint16_t code;
    const char *problem;
};

enum websocket_event {
    WEBSOCKET_MORE, /* wants more input */
    WEBSOCKET_DATA, /* a piece of a message; may be empty when it is the last */
    WEBSOCKET_PING, /* to be answered by a pong with the same data */
    WEBSOCKET_PONG,
    WEBSOCKET_CLOSE, /* to be answered by a close */
    WEBSOCKET_BAD,   /* close with reader->code */
};

struct websocket_piece {
    struct text data; /* in the caller's space, or in the reader until the next call */
    bool is_text;     /* DATA */
    bool is_last;     /* DATA: ends its message */
    uint16_t code;    /* CLOSE: 1005 when there was none; data is the reason */
};

/* Takes bytes from the front of *input and gives the next event; call it until WEBSOCKET_MORE.
 * Data comes unmasked in `space` (at least 1 byte), at most space_len at a time. */
enum websocket_event websocket_read(struct websocket_reader *reader, struct text *input,
                                    char *space, size_t space_len, struct websocket_piece *piece);

/* True for codes that may stand in a close frame. */
bool websocket_is_close_code(unsigned code);

/* The head of a frame; mask is NULL on the server's side. Returns its length. */
size_t websocket_write_head(char out[WEBSOCKET_HEAD_LIMIT], enum websocket_opcode opcode,
                            bool is_final, uint64_t payload, const uint8_t mask[4]);
/* Masks or unmasks bytes that start at offset `at` of a payload. */
void websocket_mask(char *out, const char *data, size_t len, const uint8_t mask[4], size_t at);

/* The value of Sec-WebSocket-Accept for a key (RFC 6455 4.2.2), with a NUL. */
void websocket_accept_key(struct text key, char out[WEBSOCKET_ACCEPT_SIZE]);
/* True for the Base64 of 16 bytes. */
bool websocket_is_key(struct text key);

#endif
