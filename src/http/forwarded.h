#ifndef HTTP_FORWARDED_H
#define HTTP_FORWARDED_H

/*
 * Who really asks, when the other end of the connection is a proxy: X-Forwarded-For, -Proto and
 * -Host, and Forwarded (RFC 7239). Pure. A header is only as true as who wrote it: what a trusted
 * proxy says of its other end is believed, and when that end is a trusted proxy too, what was
 * appended before, and so on from the right to the left.
 */

#include "http/http.h"

/* Takes what a request claims about its way here into request->client and ->scheme, when its peer
 * is trusted (is_forwarded is set then); else removes the claims, so that nobody behind believes
 * them. Without any trusted network nothing but X-Forwarded-* and Forwarded of strangers changes.
 */
void http_forwarded_take(struct http_request *request, const struct http_trust *trust);

/* The address of the first proxy from the right that is not trusted, or of the last that can be
 * read; false when the headers tell none. */
bool http_forwarded_client(const struct http_headers *headers, const struct http_trust *trust,
                           struct address *client_out);

/* What one more hop to the next server says: X-Forwarded-For, -Proto, -Host, and Forwarded when
 * there was one. host: that of the request, or what it got in place of one. */
void http_forwarded_write(const struct http_request *request, struct text host, struct buffer *out);

#endif
