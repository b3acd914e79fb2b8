/* Frames of HTTP/2: what is taken, in any pieces, and what ends a connection. */
#include "http/http2_wire.h"

#include "core/test.h"

#define FRAME(bytes)                                                                               \
    {                                                                                              \
        (bytes), sizeof(bytes) - 1                                                                 \
    }

TEST(wire_takes_and_refuses)
{
    static const struct {
        const char *what;
        struct text frame;
        enum wire_error error; /* WIRE_NO_ERROR: taken */
        size_t payload;        /* without padding and priority */
    } cases[] = {
        { "data", FRAME("\0\0\3\0\1\0\0\0\1abc"), WIRE_NO_ERROR, 3 },
        { "padded data", FRAME("\0\0\5\0\x9\0\0\0\1\2abxx"), WIRE_NO_ERROR, 2 },
        { "all padding", FRAME("\0\0\3\0\x9\0\0\0\1\2xx"), WIRE_NO_ERROR, 0 },
        { "padding over all", FRAME("\0\0\3\0\x9\0\0\0\1\3xx"), WIRE_PROTOCOL_ERROR, 0 },
        { "padding without length", FRAME("\0\0\0\0\x9\0\0\0\1"), WIRE_FRAME_SIZE_ERROR, 0 },
        { "data of no stream", FRAME("\0\0\1\0\1\0\0\0\0a"), WIRE_PROTOCOL_ERROR, 0 },
        { "head", FRAME("\0\0\1\1\4\0\0\0\1\x82"), WIRE_NO_ERROR, 1 },
        { "head with priority", FRAME("\0\0\6\1\x24\0\0\0\1\0\0\0\0\7\x82"), WIRE_NO_ERROR, 1 },
        { "head with both", FRAME("\0\0\x8\1\x2c\0\0\0\1\1\0\0\0\0\7\x82x"), WIRE_NO_ERROR, 1 },
        { "head of no stream", FRAME("\0\0\1\1\4\0\0\0\0\x82"), WIRE_PROTOCOL_ERROR, 0 },
        { "head that depends on itself", FRAME("\0\0\6\1\x24\0\0\0\1\x80\0\0\1\7\x82"),
          WIRE_PROTOCOL_ERROR, 0 },
        { "half a priority", FRAME("\0\0\2\1\x24\0\0\0\1\0\0"), WIRE_FRAME_SIZE_ERROR, 0 },
        { "priority", FRAME("\0\0\5\2\0\0\0\0\3\0\0\0\1\7"), WIRE_NO_ERROR, 5 },
        { "priority of another length", FRAME("\0\0\4\2\0\0\0\0\3\0\0\0\1"), WIRE_FRAME_SIZE_ERROR,
          0 },
        { "priority of itself", FRAME("\0\0\5\2\0\0\0\0\3\0\0\0\3\7"), WIRE_PROTOCOL_ERROR, 0 },
        { "reset", FRAME("\0\0\4\3\0\0\0\0\1\0\0\0\x8"), WIRE_NO_ERROR, 4 },
        { "reset of nothing", FRAME("\0\0\4\3\0\0\0\0\0\0\0\0\x8"), WIRE_PROTOCOL_ERROR, 0 },
        { "short reset", FRAME("\0\0\3\3\0\0\0\0\1\0\0\0"), WIRE_FRAME_SIZE_ERROR, 0 },
        { "settings", FRAME("\0\0\6\4\0\0\0\0\0\0\4\0\0\0\1"), WIRE_NO_ERROR, 6 },
        { "settings that are taken", FRAME("\0\0\0\4\1\0\0\0\0"), WIRE_NO_ERROR, 0 },
        { "the same with more", FRAME("\0\0\6\4\1\0\0\0\0\0\4\0\0\0\1"), WIRE_FRAME_SIZE_ERROR, 0 },
        { "odd settings", FRAME("\0\0\5\4\0\0\0\0\0\0\4\0\0\0"), WIRE_FRAME_SIZE_ERROR, 0 },
        { "settings of a stream", FRAME("\0\0\0\4\0\0\0\0\1"), WIRE_PROTOCOL_ERROR, 0 },
        { "push", FRAME("\0\0\4\5\4\0\0\0\1\0\0\0\2"), WIRE_PROTOCOL_ERROR, 0 },
        { "ping", FRAME("\0\0\x8\6\0\0\0\0\0abcdefgh"), WIRE_NO_ERROR, 8 },
        { "short ping", FRAME("\0\0\4\6\0\0\0\0\0abcd"), WIRE_FRAME_SIZE_ERROR, 0 },
        { "ping of a stream", FRAME("\0\0\x8\6\0\0\0\0\1abcdefgh"), WIRE_PROTOCOL_ERROR, 0 },
        { "goaway", FRAME("\0\0\xa\7\0\0\0\0\0\0\0\0\1\0\0\0\0hi"), WIRE_NO_ERROR, 10 },
        { "short goaway", FRAME("\0\0\4\7\0\0\0\0\0\0\0\0\1"), WIRE_FRAME_SIZE_ERROR, 0 },
        { "goaway of a stream", FRAME("\0\0\x8\7\0\0\0\0\1\0\0\0\1\0\0\0\0"), WIRE_PROTOCOL_ERROR,
          0 },
        { "window", FRAME("\0\0\4\x8\0\0\0\0\0\0\0\0\1"), WIRE_NO_ERROR, 4 },
        { "window of a stream", FRAME("\0\0\4\x8\0\0\0\0\1\0\0\0\1"), WIRE_NO_ERROR, 4 },
        { "short window", FRAME("\0\0\3\x8\0\0\0\0\0\0\0\0"), WIRE_FRAME_SIZE_ERROR, 0 },
        { "continuation", FRAME("\0\0\1\x9\4\0\0\0\1\x82"), WIRE_NO_ERROR, 1 },
        { "of nothing", FRAME("\0\0\1\x9\4\0\0\0\0\x82"), WIRE_PROTOCOL_ERROR, 0 },
        { "unknown", FRAME("\0\0\2\x42\xff\x80\0\0\1ab"), WIRE_NO_ERROR, 2 },
        { "priority update", FRAME("\0\0\7\x10\0\0\0\0\0\0\0\0\1u=1"), WIRE_NO_ERROR, 7 },
        { "of a stream", FRAME("\0\0\7\x10\0\0\0\0\1\0\0\0\1u=1"), WIRE_PROTOCOL_ERROR, 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_frame frame;
        enum wire_error error;
        for (size_t cut = 0; cut < cases[i].frame.len; cut++) {
            struct text part = text_part(cases[i].frame, 0, cut);
            enum wire_state state = wire_next(&part, &frame, &error);
            CHECK(part.len == cut && (state == WIRE_MORE ||
                                      (state == WIRE_BAD && cut >= 9 && error == cases[i].error)),
                  "%s: cut at %zu", cases[i].what, cut);
        }
        struct text in = cases[i].frame;
        enum wire_state state = wire_next(&in, &frame, &error);
        CHECK(error == cases[i].error, "%s: error %d", cases[i].what, (int)error);
        CHECK(state == (error == WIRE_NO_ERROR ? WIRE_FRAME : WIRE_BAD), "%s", cases[i].what);
        CHECK(state == WIRE_BAD || (in.len == 0 && frame.payload.len == cases[i].payload &&
                                    frame.len == cases[i].frame.len - WIRE_HEAD_BYTES),
              "%s: payload of %zu", cases[i].what, frame.payload.len);
    }
}

/* Without waiting for the rest of it. */
TEST(wire_refuses_large_frames_at_once)
{
    struct wire_frame frame;
    enum wire_error error;
    struct text most = T("\0\x40\0\0\0\0\0\0\1"), more = T("\0\x40\1\0\0\0\0\0\1");
    CHECK(wire_next(&most, &frame, &error) == WIRE_MORE && frame.len == WIRE_FRAME_BYTES, "16384");
    CHECK(wire_next(&more, &frame, &error) == WIRE_BAD && error == WIRE_FRAME_SIZE_ERROR, "16385");
}

TEST(wire_settings)
{
    static const struct {
        struct text pair;
        enum wire_error error;
    } cases[] = {
        { FRAME("\0\2\0\0\0\0"), WIRE_NO_ERROR },
        { FRAME("\0\2\0\0\0\2"), WIRE_PROTOCOL_ERROR },
        { FRAME("\0\4\x7f\xff\xff\xff"), WIRE_NO_ERROR },
        { FRAME("\0\4\x80\0\0\0"), WIRE_FLOW_CONTROL_ERROR },
        { FRAME("\0\5\0\0\x40\0"), WIRE_NO_ERROR },
        { FRAME("\0\5\0\0\x3f\xff"), WIRE_PROTOCOL_ERROR },
        { FRAME("\0\5\0\xff\xff\xff"), WIRE_NO_ERROR },
        { FRAME("\0\5\1\0\0\0"), WIRE_PROTOCOL_ERROR },
        { FRAME("\0\x8\0\0\0\2"), WIRE_PROTOCOL_ERROR },
        { FRAME("\0\x9\0\0\0\2"), WIRE_PROTOCOL_ERROR },
        { FRAME("\xff\xff\xff\xff\xff\xff"), WIRE_NO_ERROR }, /* unknown */
    };
    uint16_t id;
    uint32_t value;
    enum wire_error error;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct text pair = cases[i].pair;
        CHECK(wire_setting(&pair, &id, &value, &error) && error == cases[i].error, "pair %zu", i);
        CHECK(!wire_setting(&pair, &id, &value, &error), "the end");
    }
}

TEST(wire_writes_what_it_reads)
{
    char frames[256], *at = frames;
    at = wire_put_reset(at, 5, WIRE_CANCEL);
    at = wire_put_goaway(at, 7, WIRE_ENHANCE_YOUR_CALM);
    at = wire_put_window(at, 9, 0x12345678);
    at = wire_put_ping_ack(at, "abcdefgh");
    at = wire_put_head(at, 2 * WIRE_SETTING_BYTES, WIRE_SETTINGS, 0, 0);
    at = wire_put_setting(at, WIRE_INITIAL_WINDOW_SIZE, 77);
    at = wire_put_setting(at, WIRE_ENABLE_CONNECT_PROTOCOL, 1);
    struct text in = text_from(frames, (size_t)(at - frames));
    struct wire_frame frame;
    enum wire_error error;
    uint16_t id;
    uint32_t value;
    REQUIRE(wire_next(&in, &frame, &error) == WIRE_FRAME, "reset");
    CHECK(frame.type == WIRE_RST_STREAM && frame.id == 5 &&
              wire_u32(frame.payload.data) == WIRE_CANCEL,
          "reset");
    REQUIRE(wire_next(&in, &frame, &error) == WIRE_FRAME, "goaway");
    CHECK(frame.type == WIRE_GOAWAY && wire_u31(frame.payload.data) == 7 &&
              wire_u32(frame.payload.data + 4) == WIRE_ENHANCE_YOUR_CALM,
          "goaway");
    REQUIRE(wire_next(&in, &frame, &error) == WIRE_FRAME, "window");
    CHECK(frame.id == 9 && wire_u31(frame.payload.data) == 0x12345678, "window");
    REQUIRE(wire_next(&in, &frame, &error) == WIRE_FRAME, "ping");
    CHECK(frame.flags == WIRE_ACK && text_equal(frame.payload, T("abcdefgh")), "ping");
    REQUIRE(wire_next(&in, &frame, &error) == WIRE_FRAME && in.len == 0, "settings");
    REQUIRE(wire_setting(&frame.payload, &id, &value, &error), "a pair");
    CHECK(id == WIRE_INITIAL_WINDOW_SIZE && value == 77, "window");
    REQUIRE(wire_setting(&frame.payload, &id, &value, &error), "a pair");
    CHECK(id == WIRE_ENABLE_CONNECT_PROTOCOL && value == 1, "connect");
}
