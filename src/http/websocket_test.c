/* WebSocket frames: RFC 6455 sections 5 and 7.4, each case whole, byte by byte and cut anywhere. */
#include "http/websocket.h"

#include "core/test.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What a stream of frames says, one word per event. */
struct seen {
    char text[2048];
    size_t len;
    bool is_open; /* in a message */
};

static void say(struct seen *seen, const char *format, ...) PRINTF_LIKE(2, 3);

static void say(struct seen *seen, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(seen->text + seen->len, sizeof(seen->text) - seen->len, format, arguments);
    va_end(arguments);
    seen->len += len > 0 ? (size_t)len : 0;
    if (seen->len >= sizeof(seen->text))
        seen->len = sizeof(seen->text) - 1;
}

/* The pieces of a message are joined, so that it does not matter how they were cut. */
static void say_data(struct seen *seen, const struct websocket_piece *piece)
{
    if (!seen->is_open)
        say(seen, "%s:", piece->is_text ? "text" : "binary");
    seen->is_open = !piece->is_last;
    say(seen, "%.*s", FMT(piece->data));
    if (piece->is_last)
        say(seen, " ");
}

/* Feeds `step` bytes at a time through a space of space_len. */
static void feed(struct websocket_reader *reader, struct text input, size_t step, size_t space_len,
                 struct seen *seen)
{
    char space[70000];
    while (input.len > 0) {
        struct text part = text_part(input, 0, step);
        input = text_skip(input, part.len);
        for (;;) {
            struct websocket_piece piece;
            enum websocket_event event = websocket_read(reader, &part, space, space_len, &piece);
            if (event == WEBSOCKET_MORE)
                break;
            if (event == WEBSOCKET_DATA)
                say_data(seen, &piece);
            else if (event == WEBSOCKET_PING || event == WEBSOCKET_PONG)
                say(seen, "%s:%.*s ", event == WEBSOCKET_PING ? "ping" : "pong", FMT(piece.data));
            else if (event == WEBSOCKET_CLOSE)
                say(seen, "close:%d:%.*s", piece.code, FMT(piece.data));
            else
                say(seen, "bad:%d", reader->code);
            if (event == WEBSOCKET_CLOSE || event == WEBSOCKET_BAD)
                return;
        }
    }
}

#define S(literal) literal, sizeof(literal) - 1

/* Frames as the server sends them (no mask); the test masks them for the other direction. */
static const struct frames {
    const char *what;
    const char *bytes;
    size_t len;
    const char *want;
} cases[] = {
    /* 5.7 */
    { "a text", S("\x81\x05Hello"), "text:Hello " },
    { "a text in two frames", S("\x01\x03Hel\x80\x02lo"), "text:Hello " },
    { "a ping", S("\x89\x05Hello"), "ping:Hello " },
    { "a pong", S("\x8a\x05Hello"), "pong:Hello " },
    { "an empty text", S("\x81\x00"), "text: " },
    { "an empty binary", S("\x82\x00"), "binary: " },
    { "an empty ping", S("\x89\x00"), "ping: " },
    { "two messages",
      S("\x81\x01"
        "a\x82\x01"
        "b"),
      "text:a binary:b " },
    { "three frames, one empty",
      S("\x01\x01"
        "a\x00\x00\x80\x01"
        "b"),
      "text:ab " },
    { "an empty last frame",
      S("\x01\x01"
        "a\x80\x00"),
      "text:a " },
    { "126 bytes",
      S("\x82\x7e\x00\x7e"
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
        "89012345678901234567890123456789012345"),
      NULL },
    /* 5.4, 5.5 */
    { "a ping inside a message",
      S("\x01\x01"
        "a\x89\x01p\x80\x01"
        "b"),
      NULL },
    { "a ping in parts", S("\x09\x01p\x80\x01p"), "bad:1002" },
    { "a ping of 126 bytes", S("\x89\x7e\x00\x7e"), "bad:1002" },
    { "a close of 126 bytes", S("\x88\x7e\x00\x7e"), "bad:1002" },
    { "a continuation of nothing",
      S("\x80\x01"
        "a"),
      "bad:1002" },
    { "a continuation behind the end",
      S("\x81\x01"
        "a\x80\x01"
        "b"),
      "text:a bad:1002" },
    { "a message inside another",
      S("\x01\x00\x81\x01"
        "a"),
      "bad:1002" },
    /* 5.2 */
    { "reserved bit 1",
      S("\xc1\x01"
        "a"),
      "bad:1002" },
    { "reserved bit 2",
      S("\xa1\x01"
        "a"),
      "bad:1002" },
    { "reserved bit 3",
      S("\x91\x01"
        "a"),
      "bad:1002" },
    { "reserved bit in a ping", S("\xc9\x00"), "bad:1002" },
    { "opcode 3", S("\x83\x00"), "bad:1002" },
    { "opcode 7", S("\x87\x00"), "bad:1002" },
    { "opcode 11", S("\x8b\x00"), "bad:1002" },
    { "opcode 15", S("\x8f\x00"), "bad:1002" },
    { "5 bytes in a length of 2", S("\x81\x7e\x00\x05Hello"), "bad:1002" },
    { "5 bytes in a length of 8", S("\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05Hello"), "bad:1002" },
    { "65535 bytes in a length of 8", S("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"), "bad:1002" },
    { "a length with the highest bit", S("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"), "bad:1002" },
    /* 7.4, 5.5.1 */
    { "a close without a code", S("\x88\x00"), "close:1005:" },
    { "a close of one byte", S("\x88\x01\x03"), "bad:1002" },
    { "1000", S("\x88\x02\x03\xe8"), "close:1000:" },
    { "1000 with a reason",
      S("\x88\x05\x03\xe8"
        "bye"),
      "close:1000:bye" },
    { "1001", S("\x88\x02\x03\xe9"), "close:1001:" },
    { "3000", S("\x88\x02\x0b\xb8"), "close:3000:" },
    { "4999", S("\x88\x02\x13\x87"), "close:4999:" },
    { "999", S("\x88\x02\x03\xe7"), "bad:1002" },
    { "1004", S("\x88\x02\x03\xec"), "bad:1002" },
    { "1005", S("\x88\x02\x03\xed"), "bad:1002" },
    { "1006", S("\x88\x02\x03\xee"), "bad:1002" },
    { "1015", S("\x88\x02\x03\xf7"), "bad:1002" },
    { "1016", S("\x88\x02\x03\xf8"), "bad:1002" },
    { "2999", S("\x88\x02\x0b\xb7"), "bad:1002" },
    { "5000", S("\x88\x02\x13\x88"), "bad:1002" },
    { "0", S("\x88\x02\x00\x00"), "bad:1002" },
    { "a reason that is not UTF-8", S("\x88\x03\x03\xe8\xff"), "bad:1007" },
    { "a reason cut in a character", S("\x88\x03\x03\xe8\xc3"), "bad:1007" },
    { "nothing is read behind a close",
      S("\x88\x00\x81\x01"
        "a"),
      "close:1005:" },
    /* 8.1 */
    { "UTF-8", S("\x81\x09\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
      "text:\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 " },
    { "a character in two frames", S("\x01\x01\xc3\x80\x01\xa4"), "text:\xc3\xa4 " },
    { "a character over a ping", S("\x01\x01\xc3\x89\x00\x80\x01\xa4"), NULL },
    { "a lone continuation byte", S("\x81\x01\x80"), "bad:1007" },
    { "an overlong slash", S("\x81\x02\xc0\xaf"), "bad:1007" },
    { "an overlong slash in three", S("\x81\x03\xe0\x80\xaf"), "bad:1007" },
    { "a surrogate", S("\x81\x03\xed\xa0\x80"), "bad:1007" },
    { "above U+10FFFF", S("\x81\x04\xf4\x90\x80\x80"), "bad:1007" },
    { "U+10FFFF", S("\x81\x04\xf4\x8f\xbf\xbf"), "text:\xf4\x8f\xbf\xbf " },
    { "byte FE", S("\x81\x01\xfe"), "bad:1007" },
    { "a text that ends inside a character", S("\x81\x01\xc3"), "bad:1007" },
    { "binary is any bytes", S("\x82\x02\xff\xfe"), "binary:\xff\xfe " },
};

/* The same frames with a mask each. Wrong lengths are copied with what is there. */
static size_t mask_frames(struct text in, char *out)
{
    static const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
    size_t len = 0;
    while (in.len >= 2) {
        uint8_t seven = (uint8_t)in.data[1] & 0x7f;
        size_t head = seven == 127 ? 10 : seven == 126 ? 4 : 2;
        if (head > in.len)
            head = in.len;
        memcpy(out + len, in.data, head);
        out[len + 1] = (char)((uint8_t)out[len + 1] | 0x80);
        len += head;
        size_t payload = 0;
        for (size_t i = 2; i < head; i++)
            payload = payload << 8 | (uint8_t)in.data[i];
        payload = head == 2 ? seven : payload;
        in = text_skip(in, head);
        if (payload > in.len)
            payload = in.len;
        memcpy(out + len, mask, 4);
        websocket_mask(out + len + 4, in.data, payload, mask, 0);
        len += 4 + payload;
        in = text_skip(in, payload);
    }
    return len;
}

static struct websocket_reader reader_of(bool is_server)
{
    return (struct websocket_reader){ .is_server = is_server, .message_limit = 1 << 20 };
}

TEST(websocket_reads_frames)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct text bytes = text_from(cases[i].bytes, cases[i].len);
        char masked[1024];
        struct text from_client = text_from(masked, mask_frames(bytes, masked));
        for (size_t is_server = 0; is_server < 2; is_server++) {
            struct text input = is_server ? from_client : bytes;
            struct seen whole = { .len = 0 };
            struct websocket_reader reader = reader_of(is_server == 1);
            feed(&reader, input, SIZE_MAX, 70000, &whole);
            if (cases[i].want != NULL)
                CHECK(strcmp(whole.text, cases[i].want) == 0, "%s: got '%s'", cases[i].what,
                      whole.text);
            for (size_t step = 1; step <= input.len; step++) {
                struct seen cut = { .len = 0 };
                reader = reader_of(is_server == 1);
                feed(&reader, input, step, step == 1 ? 1 : 3, &cut);
                /* with data before what is bad, more of it is seen when it comes in pieces */
                const char *end = strstr(whole.text, "bad");
                if (end == NULL)
                    CHECK(strcmp(cut.text, whole.text) == 0, "%s by %zu: '%s' for '%s'",
                          cases[i].what, step, cut.text, whole.text);
                else
                    CHECK(strstr(cut.text, end) != NULL, "%s by %zu: '%s' for '%s'", cases[i].what,
                          step, cut.text, whole.text);
            }
        }
    }
}

TEST(websocket_wants_masks_of_clients_only)
{
    char space[16];
    struct websocket_piece piece;
    struct text plain = text_from(S("\x81\x01"
                                    "a"));
    struct text masked = text_from(S("\x81\x81\x00\x00\x00\x00"
                                     "a"));
    struct websocket_reader server = reader_of(true), client = reader_of(false);
    CHECK(websocket_read(&server, &plain, space, sizeof(space), &piece) == WEBSOCKET_BAD,
          "a client without a mask");
    CHECK(websocket_read(&client, &masked, space, sizeof(space), &piece) == WEBSOCKET_BAD,
          "a server with a mask");
    CHECK(server.code == 1002 && client.code == 1002, "codes");
}

TEST(websocket_limits_messages)
{
    char space[16];
    struct websocket_piece piece;
    struct websocket_reader reader = { .message_limit = 10 };
    struct text fits = text_from(S("\x82\x0a"
                                   "0123456789"));
    struct text over = text_from(S("\x82\x0b"));
    struct text parts = text_from(S("\x02\x06"
                                    "012345\x80\x05"));
    CHECK(websocket_read(&reader, &fits, space, sizeof(space), &piece) == WEBSOCKET_DATA, "10");
    CHECK(websocket_read(&reader, &over, space, sizeof(space), &piece) == WEBSOCKET_BAD, "11");
    CHECK(reader.code == 1009, "code %d", reader.code);
    reader = (struct websocket_reader){ .message_limit = 10 };
    CHECK(websocket_read(&reader, &parts, space, sizeof(space), &piece) == WEBSOCKET_DATA, "6");
    CHECK(websocket_read(&reader, &parts, space, sizeof(space), &piece) == WEBSOCKET_BAD, "6 + 5");
    CHECK(reader.code == 1009, "code %d", reader.code);
}

TEST(websocket_writes_heads_it_can_read)
{
    static const uint64_t sizes[] = { 0, 1, 125, 126, 127, 65535, 65536, 1 << 20 };
    static const uint8_t mask[4] = { 1, 2, 3, 4 };
    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (size_t is_server = 0; is_server < 2; is_server++) {
            char head[WEBSOCKET_HEAD_LIMIT], space[1];
            struct websocket_piece piece;
            struct websocket_reader reader = reader_of(is_server == 1);
            size_t len = websocket_write_head(head, WEBSOCKET_BINARY, true, sizes[i],
                                              is_server == 1 ? mask : NULL);
            struct text input = text_from(head, len);
            enum websocket_event event =
                websocket_read(&reader, &input, space, sizeof(space), &piece);
            CHECK(event == (sizes[i] == 0 ? WEBSOCKET_DATA : WEBSOCKET_MORE) &&
                      reader.left == sizes[i] && input.len == 0,
                  "%llu: left %llu", (unsigned long long)sizes[i], (unsigned long long)reader.left);
        }
    }
}

TEST(websocket_answers_the_key_of_the_rfc)
{
    char accept[WEBSOCKET_ACCEPT_SIZE];
    websocket_accept_key(T("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    CHECK(strcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == 0, "got %s", accept);
    CHECK(websocket_is_key(T("dGhlIHNhbXBsZSBub25jZQ==")), "a key");
    CHECK(!websocket_is_key(T("")) && !websocket_is_key(T("dGhlIHNhbXBsZSBub25jZQ=")) &&
              !websocket_is_key(T("dGhlIHNhbXBsZSBub25j*Q==")),
          "no keys");
}
