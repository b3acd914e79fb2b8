/* Bodies: lengths, chunks, until the end; whole, byte by byte and cut everywhere. */
#include "core/test.h"

#include "core/buffer.h"
#include "http/http1.h"

/* Feeds input[from, to); adds the content to *content. */
static enum http1_state feed(struct http1_body *body, struct text input, struct buffer *content,
                             size_t *used)
{
    struct text rest = input, data;
    enum http1_state state;
    do {
        state = http1_body_decode(body, &rest, &data);
        buffer_append(content, data);
    } while (state == HTTP1_DATA);
    *used += input.len - rest.len;
    return state;
}

/* 0: needs more, 1: done with *used bytes taken, -1: refused. piece 0: all at once. */
static int decode(struct text input, enum http1_framing framing, int64_t length, size_t piece,
                  struct buffer *content, size_t *used)
{
    struct http1_body body;
    enum http1_state state = HTTP1_MORE;
    http1_body_init(&body, framing, length);
    buffer_clear(content);
    *used = 0;
    if (piece == 0)
        piece = input.len;
    while (state == HTTP1_MORE && *used < input.len)
        state = feed(&body, text_part(input, *used, piece), content, used);
    if (state == HTTP1_MORE)
        state = feed(&body, text_from("", 0), content, used);
    CHECK(state != HTTP1_BAD || body.problem.status == 400, "always 400");
    return state == HTTP1_MORE ? 0 : state == HTTP1_DONE ? 1 : -1;
}

TEST(http1_chunked_bodies)
{
    static const struct {
        const char *what, *input;
        int want;
        const char *content, *rest;
    } cases[] = {
        { "one chunk", "5\r\nhello\r\n0\r\n\r\n", 1, "hello", "" },
        { "two chunks", "1\r\na\r\n02\r\nbc\r\n0\r\n\r\nGET", 1, "abc", "GET" },
        { "empty", "0\r\n\r\n", 1, "", "" },
        { "many zeros", "000\r\n\r\n", 1, "", "" },
        { "hex", "A\r\n0123456789\r\n0\r\n\r\n", 1, "0123456789", "" },
        { "extension", "1;a\r\nx\r\n0;b=c\r\n\r\n", 1, "x", "" },
        { "two extensions", "1;a;b=c\r\nx\r\n0\r\n\r\n", 1, "x", "" },
        { "quoted extension", "1;a=\"b;\\\"c\"\r\nx\r\n0\r\n\r\n", 1, "x", "" },
        { "trailers", "0\r\nA: b\r\nC:\r\n\r\nrest", 1, "", "rest" },
        { "unfinished size", "5", 0, "", "" },
        { "unfinished data", "5\r\nhel", 0, "hel", "" },
        { "unfinished end", "0\r\n", 0, "", "" },
        { "unfinished trailers", "0\r\nA: b\r\n\r", 0, "", "" },
        { "no size", "\r\n\r\n", -1, "", NULL },
        { "blank before the size", " 5\r\nhello\r\n", -1, "", NULL },
        { "blank behind the size", "5 \r\nhello\r\n0\r\n\r\n", -1, "", NULL },
        { "empty extension", "5;\r\nhello\r\n0\r\n\r\n", -1, "", NULL },
        { "blank before the extension", "5 ;a\r\nhello\r\n", -1, "", NULL },
        { "blank in the extension", "5; a\r\nhello\r\n", -1, "", NULL },
        { "empty extension value", "5;a=\r\nhello\r\n", -1, "", NULL },
        { "unclosed quote", "5;a=\"b\r\nhello\r\n", -1, "", NULL },
        { "LF in a quote", "5;a=\"b\nhello\r\n", -1, "", NULL },
        { "sign", "+5\r\nhello\r\n", -1, "", NULL },
        { "negative", "-5\r\nhello\r\n", -1, "", NULL },
        { "0x", "0x5\r\nhello\r\n", -1, "", NULL },
        { "overflow", "10000000000000000\r\n", -1, "", NULL },
        { "sign bit", "8000000000000000\r\n", -1, "", NULL },
        { "bare LF behind the size", "5\nhello\r\n0\r\n\r\n", -1, "", NULL },
        { "bare CR behind the size", "5\rhello\r\n0\r\n\r\n", -1, "", NULL },
        { "bare LF behind the data", "5\r\nhello\n0\r\n\r\n", -1, "hello", NULL },
        { "data too long", "5\r\nhello!\r\n0\r\n\r\n", -1, "hello", NULL },
        { "bare LF at the end", "0\r\n\n", -1, "", NULL },
        { "bare CR at the end", "0\r\n\rX", -1, "", NULL },
        { "trailer without a colon", "0\r\nabc\r\n\r\n", -1, "", NULL },
        { "blank before a trailer", "0\r\n A: b\r\n\r\n", -1, "", NULL },
        { "folded trailer", "0\r\nA: b\r\n c\r\n\r\n", -1, "", NULL },
        { "blank before the trailer's colon", "0\r\nA : b\r\n\r\n", -1, "", NULL },
        { "control in a trailer", "0\r\nA: \001\r\n\r\n", -1, "", NULL },
    };
    struct buffer content = buffer_of(4096);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct text input = text_of(cases[i].input);
        for (size_t piece = 0; piece <= input.len; piece++) {
            size_t used;
            int result = decode(input, HTTP1_CHUNKED, 0, piece, &content, &used);
            CHECK(result == cases[i].want, "%s in pieces of %zu: %d", cases[i].what, piece, result);
            CHECK(text_equal(buffer_text(&content), text_of(cases[i].content)), "%s: content",
                  cases[i].what);
            if (cases[i].rest != NULL)
                CHECK(text_equal(text_skip(input, used), text_of(cases[i].rest)), "%s: rest",
                      cases[i].what);
        }
    }
    buffer_done(&content);
}

TEST(http1_trailers)
{
    static const struct {
        const char *what, *lines, *want; /* "name=value;" each; NULL: refused */
    } cases[] = {
        { "none", "", "" },
        { "two", "A: b\r\nC:\r\n", "A=b;C=;" },
        { "twice", "a: 1\r\na: 2\r\n", "a=1;a=2;" },
        { "known ones", "ETag: \"x\"\r\nHost: a\r\nContent-Length: 5\r\nTE: x\r\nCookie: a=b\r\n",
          "ETag=\"x\";" },
        { "of access", "Authorization: x\r\nwww-authenticate: y\r\nMax-Forwards: 1\r\nx: y\r\n",
          "x=y;" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO(buffer_done) struct buffer input = buffer_of(4096), content = buffer_of(64);
        buffer_print(&input, "0\r\n%s\r\n", cases[i].lines);
        for (size_t piece = 1; piece <= input.len; piece++) {
            AUTO(buffer_done) struct buffer seen = buffer_of(4096);
            struct arena *arena = arena_new(65536, 0);
            struct http1_body body;
            struct http_headers trailers = { 0 };
            size_t used = 0;
            http1_body_init(&body, HTTP1_CHUNKED, 0);
            http1_body_keep_trailers(&body, arena);
            while (used < input.len && feed(&body, text_part(buffer_text(&input), used, piece),
                                            &content, &used) == HTTP1_MORE)
                continue;
            CHECK(http1_body_at_end(&body) == HTTP1_DONE, "%s: its end", cases[i].what);
            CHECK(http1_body_trailers(&body, &trailers), "%s", cases[i].what);
            for (size_t at = 0; at < trailers.count; at++)
                buffer_print(&seen, "%.*s=%.*s;", FMT(trailers.items[at].name),
                             FMT(trailers.items[at].value));
            CHECK(text_equal(buffer_text(&seen), text_of(cases[i].want)), "%s in %zu: %.*s",
                  cases[i].what, piece, FMT(buffer_text(&seen)));
            arena_free(arena);
        }
    }
}

TEST(http1_trailers_have_limits)
{
    AUTO(buffer_done) struct buffer input = buffer_of(1 << 20), content = buffer_of(64);
    struct http_headers trailers = { 0 };
    for (int count = HTTP_TRAILERS; count <= HTTP_TRAILERS + 1; count++) {
        struct arena *arena = arena_new(65536, 0);
        struct http1_body body;
        size_t used = 0;
        buffer_clear(&input);
        buffer_append(&input, T("0\r\n"));
        for (int i = 0; i < count; i++)
            buffer_append(&input, T("a: b\r\n"));
        buffer_append(&input, T("\r\n"));
        http1_body_init(&body, HTTP1_CHUNKED, 0);
        http1_body_keep_trailers(&body, arena);
        CHECK(feed(&body, buffer_text(&input), &content, &used) == HTTP1_DONE, "read");
        CHECK(http1_body_trailers(&body, &trailers) == (count == HTTP_TRAILERS), "%d", count);
        arena_free(arena);
    }
}

TEST(http1_chunked_limits)
{
    struct buffer input = buffer_of(1 << 20), content = buffer_of(1 << 20);
    size_t used;
    buffer_append(&input, T("5;a="));
    for (size_t i = 0; i < 300; i++)
        buffer_append_byte(&input, 'b');
    CHECK(decode(buffer_text(&input), HTTP1_CHUNKED, 0, 0, &content, &used) == -1, "extension");
    buffer_clear(&input);
    for (size_t i = 0; i < 300; i++)
        buffer_append_byte(&input, '0');
    CHECK(decode(buffer_text(&input), HTTP1_CHUNKED, 0, 0, &content, &used) == -1, "zeros");
    buffer_clear(&input);
    buffer_append(&input, T("0\r\n"));
    for (size_t i = 0; i < 3000; i++)
        buffer_append(&input, T("a:b\r\n"));
    CHECK(decode(buffer_text(&input), HTTP1_CHUNKED, 0, 0, &content, &used) == -1, "trailers");
    buffer_done(&input);
    buffer_done(&content);
}

TEST(http1_other_bodies)
{
    struct buffer content = buffer_of(4096);
    struct http1_body body;
    size_t used;
    for (size_t piece = 0; piece < 8; piece++) {
        CHECK(decode(T("helloGET"), HTTP1_LENGTH, 5, piece, &content, &used) == 1, "length");
        CHECK(used == 5 && text_equal(buffer_text(&content), T("hello")), "used %zu", used);
        CHECK(decode(T("hel"), HTTP1_LENGTH, 5, piece, &content, &used) == 0, "short");
        CHECK(decode(T("hello"), HTTP1_UNTIL_CLOSE, 0, piece, &content, &used) == 0, "endless");
        CHECK(text_equal(buffer_text(&content), T("hello")), "all of it");
    }
    CHECK(decode(T("GET"), HTTP1_NO_BODY, 0, 0, &content, &used) == 1 && used == 0, "none");
    http1_body_init(&body, HTTP1_UNTIL_CLOSE, 0);
    CHECK(http1_body_at_end(&body) == HTTP1_DONE, "ends with the connection");
    http1_body_init(&body, HTTP1_LENGTH, 5);
    CHECK(http1_body_at_end(&body) == HTTP1_BAD, "cut off");
    http1_body_init(&body, HTTP1_CHUNKED, 0);
    CHECK(http1_body_at_end(&body) == HTTP1_BAD, "cut off");
    buffer_done(&content);
}
