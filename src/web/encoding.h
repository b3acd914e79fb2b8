#ifndef WEB_ENCODING_H
#define WEB_ENCODING_H

/* Content codings and the choice by Accept-Encoding (RFC 9110 12.5.3). */

#include "http/http.h"

/* In the order of preference for files that were compressed beforehand, best first. */
enum web_encoding { ENCODING_IDENTITY, ENCODING_BR, ENCODING_ZSTD, ENCODING_GZIP, ENCODING_COUNT };

#define ENCODING_BIT(encoding) (1u << (encoding))
#define ENCODING_ALL                                                                               \
    (ENCODING_BIT(ENCODING_BR) | ENCODING_BIT(ENCODING_ZSTD) | ENCODING_BIT(ENCODING_GZIP))

/* How much the client wants each, in thousandths; 0: not acceptable. */
struct web_encodings {
    uint16_t quality[ENCODING_COUNT];
};

/* "gzip", for Content-Encoding, and "gz", for file names and entity tags. */
struct text web_encoding_name(enum web_encoding encoding);
struct text web_encoding_suffix(enum web_encoding encoding);

/* Reads one value of Accept-Encoding. Malformed members are skipped. */
struct web_encodings web_encoding_parse(struct text value);

/* What the request accepts; without the header identity alone. */
struct web_encodings web_encoding_accepted(const struct http_headers *headers);

/* The best of `available` (ENCODING_BIT of each), identity when none is better. On equal quality
 * the first of `order`, which ends with identity, wins. */
enum web_encoding web_encoding_choose(const struct web_encodings *accepted, unsigned available,
                                      const enum web_encoding order[ENCODING_COUNT]);

/* Orders for choose: smallest result first, and cheapest for its size first. */
extern const enum web_encoding web_encoding_by_size[ENCODING_COUNT];
extern const enum web_encoding web_encoding_by_speed[ENCODING_COUNT];

#endif
