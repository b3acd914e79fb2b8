/* Frames of anybody: whole and in pieces they must mean the same, within the limits. */
#include "http/websocket.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1000 };

struct outcome {
    uint64_t data_bytes;
    uint64_t events;
    uint32_t hash; /* of all data */
    uint16_t code;
};

static struct outcome run(struct text input, size_t step, size_t space_len, bool is_server)
{
    char space[256];
    struct websocket_reader reader = { .is_server = is_server, .message_limit = LIMIT };
    struct outcome outcome = { .hash = 2166136261u };
    int64_t message = 0;
    while (input.len > 0) {
        struct text part = text_part(input, 0, step);
        input = text_skip(input, part.len);
        for (;;) {
            struct websocket_piece piece;
            enum websocket_event event = websocket_read(&reader, &part, space, space_len, &piece);
            if (event == WEBSOCKET_MORE) {
                if (part.len > 0)
                    abort();
                break;
            }
            if (event == WEBSOCKET_BAD) {
                outcome.code = reader.code;
                return outcome;
            }
            for (size_t i = 0; i < piece.data.len; i++)
                outcome.hash = (outcome.hash ^ (uint8_t)piece.data.data[i]) * 16777619u;
            outcome.data_bytes += piece.data.len;
            outcome.events += event != WEBSOCKET_DATA || piece.is_last;
            message = event == WEBSOCKET_DATA ? message + (int64_t)piece.data.len : message;
            if (message > LIMIT || piece.data.len > sizeof(space))
                abort();
            if (event == WEBSOCKET_DATA && piece.is_last)
                message = 0;
            if (event == WEBSOCKET_CLOSE) {
                outcome.code = piece.code;
                return outcome;
            }
        }
    }
    return outcome;
}

/* The first byte: whose frames, and how they are cut. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct text input = text_from((const char *)data + 1, size - 1);
    bool is_server = (data[0] & 1) != 0;
    struct outcome whole = run(input, SIZE_MAX, 256, is_server);
    struct outcome cut = run(input, 1 + (data[0] >> 1) % 40, 1 + data[0] % 7, is_server);
    if (whole.code != cut.code || whole.events != cut.events)
        abort();
    if (whole.code != 1007 && (whole.data_bytes != cut.data_bytes || whole.hash != cut.hash))
        abort();
    return 0;
}
