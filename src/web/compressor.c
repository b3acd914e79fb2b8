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
    struct web_compressor *next; /* in a pool */
    enum web_encoding encoding;
    z_stream gzip;
    BrotliEncoderState *br;
    ZSTD_CCtx *zstd;
};

struct web_compressors {
    struct web_compressor *idle[ENCODING_COUNT];
    size_t count[ENCODING_COUNT];
};

enum {
    OUT_SIZE = 16384,
    WINDOW_LOG = 18,
    WINDOW_LOG_MIN = 12,
    IDLE_LIMIT = 16, /* of a coding; as many as usually run between two turns of the loop */
};

/* The window that holds a body of that length. */
static int window_log(int64_t length)
{
    int log = WINDOW_LOG_MIN;
    while (log < WINDOW_LOG && (length < 0 || (1LL << log) < length))
        log++;
    return log;
}

static bool gzip_start(struct web_compressor *compressor, bool is_thorough)
{
    enum { GZIP_FRAME = 16, WINDOW_BITS = 15, MEMORY_LEVEL = 8 };
    return deflateInit2(&compressor->gzip, is_thorough ? 6 : 4, Z_DEFLATED,
                        WINDOW_BITS + GZIP_FRAME, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK;
}

static bool br_start(struct web_compressor *compressor, bool is_thorough, int64_t length)
{
    BrotliEncoderDestroyInstance(compressor->br);
    compressor->br = BrotliEncoderCreateInstance(NULL, NULL, NULL);
    BrotliEncoderState *br = compressor->br;
    if (br == NULL)
        return false;
    uint32_t hint = length > 0 ? (uint32_t)length : 0;
    return BrotliEncoderSetParameter(br, BROTLI_PARAM_QUALITY, is_thorough ? 6 : 4) &&
           BrotliEncoderSetParameter(br, BROTLI_PARAM_LGWIN, (uint32_t)window_log(length)) &&
           BrotliEncoderSetParameter(br, BROTLI_PARAM_SIZE_HINT, hint);
}

static bool zstd_start(struct web_compressor *compressor, bool is_thorough, int64_t length)
{
    ZSTD_CCtx *zstd = compressor->zstd != NULL ? compressor->zstd : ZSTD_createCCtx();
    compressor->zstd = zstd;
    if (zstd == NULL)
        return false;
    return !ZSTD_isError(ZSTD_CCtx_reset(zstd, ZSTD_reset_session_and_parameters)) &&
           !ZSTD_isError(
               ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, is_thorough ? 8 : 3)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, window_log(length))) &&
           !ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(zstd, length >= 0 ? (unsigned long long)length
                                                                       : ZSTD_CONTENTSIZE_UNKNOWN));
}

static bool compressor_start(struct web_compressor *compressor, bool is_thorough, bool is_used,
                             int64_t length)
{
    switch (compressor->encoding) {
    case ENCODING_GZIP:
        return is_used ? deflateReset(&compressor->gzip) == Z_OK
                       : gzip_start(compressor, is_thorough);
    case ENCODING_BR:
        return br_start(compressor, is_thorough, length);
    case ENCODING_ZSTD:
        return zstd_start(compressor, is_thorough, length);
    case ENCODING_IDENTITY:
    case ENCODING_COUNT:
        break;
    }
    return false;
}

struct web_compressor *web_compressor_new(enum web_encoding encoding, bool is_thorough,
                                          int64_t length)
{
    struct web_compressor *compressor = NEW(struct web_compressor);
    compressor->encoding = encoding;
    if (compressor_start(compressor, is_thorough, false, length))
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
    BrotliEncoderDestroyInstance(compressor->br);
    ZSTD_freeCCtx(compressor->zstd);
    memory_free(compressor);
}

struct web_compressors *web_compressors_new(void)
{
    return NEW(struct web_compressors);
}

void web_compressors_free(struct web_compressors *pool)
{
    for (int i = 0; pool != NULL && i < ENCODING_COUNT; i++) {
        while (pool->idle[i] != NULL) {
            struct web_compressor *compressor = pool->idle[i];
            pool->idle[i] = compressor->next;
            web_compressor_free(compressor);
        }
    }
    memory_free(pool);
}

struct web_compressor *web_compressors_take(struct web_compressors *pool,
                                            enum web_encoding encoding, int64_t length)
{
    struct web_compressor *compressor = pool->idle[encoding];
    if (compressor == NULL)
        return web_compressor_new(encoding, false, length);
    pool->idle[encoding] = compressor->next;
    pool->count[encoding]--;
    if (compressor_start(compressor, false, true, length))
        return compressor;
    web_compressor_free(compressor);
    return NULL;
}

void web_compressors_give(struct web_compressors *pool, struct web_compressor *compressor)
{
    if (compressor == NULL)
        return;
    enum web_encoding encoding = compressor->encoding;
    if (pool->count[encoding] >= IDLE_LIMIT) {
        web_compressor_free(compressor);
        return;
    }
    compressor->next = pool->idle[encoding];
    pool->idle[encoding] = compressor;
    pool->count[encoding]++;
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
    struct web_compressor *compressor = web_compressor_new(encoding, true, (int64_t)body.len);
    if (compressor == NULL)
        return false;
    bool ok = web_compressor_run(compressor, body, COMPRESSOR_END, pass_to_buffer, out);
    web_compressor_free(compressor);
    return ok && !out->failed && out->len < body.len;
}
