/* Compressors: what comes out is what went in, for every coding, piece size and flush. */
#include "web/compress.h"
#include "core/memory.h"
#include "core/test.h"

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

enum { BODY_LEN = 100000 };

static void take(void *owner, struct text data)
{
    buffer_append(owner, data);
}

static char *body_new(void)
{
    char *body = memory_new(BODY_LEN);
    uint32_t state = 1;
    for (size_t i = 0; i < BODY_LEN; i++) {
        state = state * 1664525 + 1013904223;
        body[i] = "etaoin shrdlu\n"[(state >> 16) % 14];
    }
    return body;
}

static size_t gunzip(struct text in, char *out, size_t size)
{
    z_stream stream = { .next_in = (Bytef *)in.data, .avail_in = (uInt)in.len };
    stream.next_out = (Bytef *)out;
    stream.avail_out = (uInt)size;
    if (inflateInit2(&stream, 31) != Z_OK)
        return 0;
    inflate(&stream, Z_SYNC_FLUSH);
    size_t len = size - stream.avail_out;
    inflateEnd(&stream);
    return len;
}

static size_t unbrotli(struct text in, char *out, size_t size)
{
    BrotliDecoderState *state = BrotliDecoderCreateInstance(NULL, NULL, NULL);
    size_t in_len = in.len, room = size, len = 0;
    const uint8_t *next_in = (const uint8_t *)in.data;
    uint8_t *next_out = (uint8_t *)out;
    BrotliDecoderDecompressStream(state, &in_len, &next_in, &room, &next_out, &len);
    BrotliDecoderDestroyInstance(state);
    return len;
}

static size_t unzstd(struct text in, char *out, size_t size)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ZSTD_inBuffer from = { in.data, in.len, 0 };
    ZSTD_outBuffer to = { out, size, 0 };
    while (from.pos < from.size)
        if (ZSTD_isError(ZSTD_decompressStream(context, &to, &from)))
            break;
    ZSTD_freeDCtx(context);
    return to.pos;
}

static size_t expand(enum web_encoding encoding, struct text in, char *out, size_t size)
{
    if (encoding == ENCODING_GZIP)
        return gunzip(in, out, size);
    return encoding == ENCODING_BR ? unbrotli(in, out, size) : unzstd(in, out, size);
}

static void round_trip(enum web_encoding encoding, size_t piece, enum web_compressor_end between,
                       int64_t length)
{
    AUTO(memory_drop) char *body = body_new();
    AUTO(memory_drop) char *back = memory_new(BODY_LEN + 1);
    AUTO(buffer_done) struct buffer out = buffer_of(1 << 20);
    struct web_compressor *compressor = web_compressor_new(encoding, false, length);
    REQUIRE(compressor != NULL, "new");
    for (size_t at = 0; at < BODY_LEN; at += piece) {
        size_t len = BODY_LEN - at < piece ? BODY_LEN - at : piece;
        CHECK(web_compressor_run(compressor, text_from(body + at, len), between, take, &out),
              "run");
        if (between == COMPRESSOR_FLUSH && at % (piece * 8) == 0)
            CHECK(expand(encoding, buffer_text(&out), back, BODY_LEN + 1) == at + len,
                  "a flushed piece can be read at once");
    }
    CHECK(web_compressor_run(compressor, T(""), COMPRESSOR_END, take, &out), "end");
    web_compressor_free(compressor);
    size_t len = expand(encoding, buffer_text(&out), back, BODY_LEN + 1);
    CHECK(len == BODY_LEN && memcmp(body, back, BODY_LEN) == 0, "coding %d, pieces of %zu",
          (int)encoding, piece);
    CHECK(out.len < BODY_LEN, "smaller");
}

TEST(web_compressor_round_trips)
{
    for (int encoding = ENCODING_BR; encoding < ENCODING_COUNT; encoding++) {
        round_trip((enum web_encoding)encoding, BODY_LEN, COMPRESSOR_MORE, BODY_LEN);
        round_trip((enum web_encoding)encoding, 777, COMPRESSOR_MORE, -1);
        round_trip((enum web_encoding)encoding, 9973, COMPRESSOR_FLUSH, -1);
    }
}

TEST(web_compress_all_refuses_what_grows)
{
    for (int encoding = ENCODING_BR; encoding < ENCODING_COUNT; encoding++) {
        AUTO(buffer_done) struct buffer out = buffer_of(1 << 20);
        CHECK(!web_compress_all((enum web_encoding)encoding, T("x"), &out), "one byte grows");
        AUTO(memory_drop) char *body = body_new();
        buffer_clear(&out);
        CHECK(web_compress_all((enum web_encoding)encoding, text_from(body, BODY_LEN), &out),
              "text shrinks");
    }
}

TEST(web_compress_chooses)
{
    struct http_header item = { T("Accept-Encoding"), T("gzip, br, zstd"), FIELD_ACCEPT_ENCODING };
    struct http_headers all = { &item, 1, 1 }, none = { NULL, 0, 0 };
    CHECK(web_compress_choose(&all, T("text/html"), 5000) == ENCODING_ZSTD, "text");
    CHECK(web_compress_choose(&all, T("text/html"), -1) == ENCODING_ZSTD, "unknown length");
    CHECK(web_compress_choose(&all, T("text/html"), 100) == ENCODING_IDENTITY, "tiny");
    CHECK(web_compress_choose(&all, T("text/html"), 1LL << 40) == ENCODING_IDENTITY, "huge");
    CHECK(web_compress_choose(&all, T("image/png"), 5000) == ENCODING_IDENTITY, "picture");
    CHECK(web_compress_choose(&none, T("text/html"), 5000) == ENCODING_IDENTITY, "not asked");
}

TEST(web_compressors_are_used_again)
{
    AUTO(memory_drop) char *body = body_new();
    AUTO(memory_drop) char *back = memory_new(BODY_LEN + 1);
    struct web_compressors *pool = web_compressors_new();
    for (int encoding = ENCODING_BR; encoding < ENCODING_COUNT; encoding++) {
        struct web_compressor *last = NULL;
        for (size_t len = 1; len < BODY_LEN; len *= 9) {
            AUTO(buffer_done) struct buffer out = buffer_of(1 << 20);
            struct web_compressor *one =
                web_compressors_take(pool, (enum web_encoding)encoding, (int64_t)len);
            CHECK(last == NULL || one == last, "the same again");
            /* the first is left in the middle of a body, as when a client goes away */
            enum web_compressor_end end = last == NULL ? COMPRESSOR_MORE : COMPRESSOR_END;
            CHECK(web_compressor_run(one, text_from(body, len), end, take, &out), "run");
            if (last != NULL)
                CHECK(expand((enum web_encoding)encoding, buffer_text(&out), back, BODY_LEN + 1) ==
                              len &&
                          memcmp(back, body, len) == 0,
                      "coding %d, %zu bytes", encoding, len);
            web_compressors_give(pool, one);
            last = one;
        }
    }
    web_compressors_free(pool);
}
