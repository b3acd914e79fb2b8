#ifndef WEB_HTTPS_H
#define WEB_HTTPS_H

/*
 * HTTPS where clients come in: certificates on their way from the parent to the edges, the redirect
 * of what is not encrypted, HSTS (RFC 6797).
 */

#include "web/generation.h"

struct tls_context;

/* In the parent: opens the key files, or makes a certificate by the site's own CA, as
 * "tls.chain.N" and "tls.key.N"; "tls.secret" is what tickets are encrypted with. */
MUST_CHECK enum err web_https_prepare(struct generation *generation, struct why *why);

/* In an edge: reads them. */
MUST_CHECK enum err web_https_make(const struct generation *generation,
                                   struct tls_context **context_out, struct why *why);

/* What comes before a route where clients come in. True: answered, with a redirect to HTTPS. */
bool web_https_first(const struct web_generation *self, struct http_exchange *exchange);

/* The value of Location: https://HOST[:PORT]/PATH[?QUERY]. Pure. */
void web_https_target(struct buffer *out, const struct site *site,
                      const struct http_request *request);

#endif
