/*
 * One stream of gzip, br or zstd behind the same three calls. Windows are 128 to 256 KiB: enough
 * for pages, and a thousand slow clients with a compressor each still fit into memory.
 */
#include "web/compress.h"
#include "core/memory.h"

#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

struct web_compressor {
    enum web_encoding encoding;
    z_stream gzip;
    BrotliEncoderState *br;
    ZSTD_CCtx *zstd;
};

enum { OUT_SIZE = 16384, WINDOW_LOG = 18 };

static bool gzip_start(struct web_compressor *compressor, bool is_thorough)
{
    enum { GZIP_FRAME = 16, WINDOW_BITS = 15, MEMORY_LEVEL = 8 };
    return deflateInit2(&compressor->gzip, is_thorough ? 6 : 4, Z_DEFLATED,
                        WINDOW_BITS + GZIP_FRAME, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK;
}

static bool br_start(struct web_compressor *compressor, bool is_thorough)
{
    compressor->br = BrotliEncoderCreateInstance(NULL, NULL, NULL);
    return compressor->br != NULL &&
           BrotliEncoderSetParameter(compressor->br, BROTLI_PARAM_QUALITY, is_thorough ? 6 : 4) &&
           BrotliEncoderSetParameter(compressor->br, BROTLI_PARAM_LGWIN, WINDOW_LOG);
}

static bool zstd_start(struct web_compressor *compressor, bool is_thorough)
{
    compressor->zstd = ZSTD_createCCtx();
    if (compressor->zstd == NULL)
        return false;
    size_t level =
        ZSTD_CCtx_setParameter(compressor->zstd, ZSTD_c_compressionLevel, is_thorough ? 8 : 3);
    size_t window = ZSTD_CCtx_setParameter(compressor->zstd, ZSTD_c_windowLog, WINDOW_LOG);
    return !ZSTD_isError(level) && !ZSTD_isError(window);
}

static bool compressor_start(struct web_compressor *compressor, bool is_thorough)
{
    switch (compressor->encoding) {
    case ENCODING_GZIP:
        return gzip_start(compressor, is_thorough);
    case ENCODING_BR:
        return br_start(compressor, is_thorough);
    case ENCODING_ZSTD:
        return zstd_start(compressor, is_thorough);
    case ENCODING_IDENTITY:
    case ENCODING_COUNT:
        break;
    }
    return false;
}

struct web_compressor *web_compressor_new(enum web_encoding encoding, bool is_thorough)
{
    struct web_compressor *compressor = NEW(struct web_compressor);
    compressor->encoding = encoding;
    if (compressor_start(compressor, is_thorough))
        return compressor;
    web_compressor_free(compressor);
    return NULL;
}

void web_compressor_free(struct web_compressor *compressor)
{
    if (compressor == NULL)
        return;
    if (compressor->encoding == ENCODING_GZIP)
        deflateEnd(&compressor->gzip);
    if (compressor->br != NULL)
        BrotliEncoderDestroyInstance(compressor->br);
    ZSTD_freeCCtx(compressor->zstd);
    memory_free(compressor);
}

struct sink {
    void (*pass)(void *owner, struct text data);
    void *owner;
};

static void sink_pass(const struct sink *sink, const char *data, size_t len)
{
    if (len > 0)
        sink->pass(sink->owner, text_from(data, len));
}

static bool gzip_run(z_stream *gzip, struct text data, enum web_compressor_end end,
                     const struct sink *sink)
{
    static const int flush[] = { [COMPRESSOR_MORE] = Z_NO_FLUSH,
                                 [COMPRESSOR_FLUSH] = Z_SYNC_FLUSH,
                                 [COMPRESSOR_END] = Z_FINISH };
    char out[OUT_SIZE];
    gzip->next_in = (Bytef *)data.data;
    gzip->avail_in = (uInt)data.len;
    do {
        gzip->next_out = (Bytef *)out;
        gzip->avail_out = sizeof(out);
        int result = deflate(gzip, flush[end]);
        if (result == Z_STREAM_ERROR)
            return false;
        sink_pass(sink, out, sizeof(out) - gzip->avail_out);
    } while (gzip->avail_out == 0);
    return true;
}

static bool br_run(BrotliEncoderState *br, struct text data, enum web_compressor_end end,
                   const struct sink *sink)
{
    static const BrotliEncoderOperation operations[] = {
        [COMPRESSOR_MORE] = BROTLI_OPERATION_PROCESS,
        [COMPRESSOR_FLUSH] = BROTLI_OPERATION_FLUSH,
        [COMPRESSOR_END] = BROTLI_OPERATION_FINISH,
    };
    size_t in_len = data.len;
    const uint8_t *in = (const uint8_t *)data.data;
    do {
        size_t room = 0; /* the library then keeps the output, taken below */
        if (!BrotliEncoderCompressStream(br, operations[end], &in_len, &in, &room, NULL, NULL))
            return false;
        size_t len = 0;
        const uint8_t *out = BrotliEncoderTakeOutput(br, &len);
        sink_pass(sink, (const char *)out, len);
    } while (in_len > 0 || BrotliEncoderHasMoreOutput(br));
    return true;
}

static bool zstd_run(ZSTD_CCtx *zstd, struct text data, enum web_compressor_end end,
                     const struct sink *sink)
{
    static const ZSTD_EndDirective directives[] = { [COMPRESSOR_MORE] = ZSTD_e_continue,
                                                    [COMPRESSOR_FLUSH] = ZSTD_e_flush,
                                                    [COMPRESSOR_END] = ZSTD_e_end };
    char bytes[OUT_SIZE];
    ZSTD_inBuffer in = { data.data, data.len, 0 };
    size_t left = 0;
    do {
        ZSTD_outBuffer out = { bytes, sizeof(bytes), 0 };
        left = ZSTD_compressStream2(zstd, &out, &in, directives[end]);
        if (ZSTD_isError(left))
            return false;
        sink_pass(sink, bytes, out.pos);
    } while (in.pos < in.size || (end != COMPRESSOR_MORE && left > 0));
    return true;
}

bool web_compressor_run(struct web_compressor *compressor, struct text data,
                        enum web_compressor_end end, void (*pass)(void *owner, struct text data),
                        void *owner)
{
    const struct sink sink = { pass, owner };
    switch (compressor->encoding) {
    case ENCODING_GZIP:
        return gzip_run(&compressor->gzip, data, end, &sink);
    case ENCODING_BR:
        return br_run(compressor->br, data, end, &sink);
    case ENCODING_ZSTD:
        return zstd_run(compressor->zstd, data, end, &sink);
    case ENCODING_IDENTITY:
    case ENCODING_COUNT:
        break;
    }
    return false;
}

static void pass_to_buffer(void *owner, struct text data)
{
    buffer_append(owner, data);
}

bool web_compress_all(enum web_encoding encoding, struct text body, struct buffer *out)
{
    struct web_compressor *compressor = web_compressor_new(encoding, true);
    if (compressor == NULL)
        return false;
    bool ok = web_compressor_run(compressor, body, COMPRESSOR_END, pass_to_buffer, out);
    web_compressor_free(compressor);
    return ok && !out->failed && out->len < body.len;
}
