#ifndef WEB_COMPRESS_H
#define WEB_COMPRESS_H

/*
 * Compression: an http_filter for answers on their way out, and whole bodies for the file cache.
 *
 * The filter compresses text-like answers of known or unknown length when the client accepts it. It
 * leaves alone: tiny and huge bodies, answers that have a Content-Encoding or a range already,
 * `Cache-Control: no-transform`, and answers with Set-Cookie. The last is against BREACH: such an
 * answer is made for one user at the moment of signing in, and its length must not tell what is
 * inside. Routes whose pages mix secrets with what a visitor sends say `compress: no`.
 */

#include "web/encoding.h"

enum {
    COMPRESS_MIN = 256,      /* below, headers and CPU cost more than is saved */
    COMPRESS_MAX = 16 << 20, /* a known length above goes out as it is, with sendfile */
};

struct web_compressors; /* below */

/* What the filter will choose for a body of that type and length (-1: unknown). */
enum web_encoding web_compress_choose(const struct http_headers *request_headers, struct text type,
                                      int64_t length);

/* Puts the filter on the exchange; the pool outlives it. */
void web_compress_attach(struct http_exchange *exchange, struct web_compressors *pool);

/* Makes sure that Vary has Accept-Encoding. */
void web_compress_vary(struct http_exchange *exchange);

/* Compresses a whole body, better and slower than the filter; for results that are kept. False when
 * it does not get smaller. */
bool web_compress_all(enum web_encoding encoding, struct text body, struct buffer *out);

/* ---- one compressor ---- */

struct web_compressor;

/* For a body of that length (-1: unknown). Owned by the caller. NULL when the library cannot start.
 */
struct web_compressor *web_compressor_new(enum web_encoding encoding, bool is_thorough,
                                          int64_t length);
void web_compressor_free(struct web_compressor *compressor);

enum web_compressor_end { COMPRESSOR_MORE, COMPRESSOR_FLUSH, COMPRESSOR_END };

/* Takes all of data and gives what comes out to `pass`. FLUSH: everything so far can be read by the
 * client. False when the library failed. */
bool web_compressor_run(struct web_compressor *compressor, struct text data,
                        enum web_compressor_end end, void (*pass)(void *owner, struct text data),
                        void *owner);

/* ---- used ones, for the filter: making their tables anew costs more than most bodies ---- */

struct web_compressors *web_compressors_new(void);
void web_compressors_free(struct web_compressors *pool); /* accepts NULL */
struct web_compressor *web_compressors_take(struct web_compressors *pool,
                                            enum web_encoding encoding, int64_t length);
void web_compressors_give(struct web_compressors *pool, struct web_compressor *compressor);

#endif
