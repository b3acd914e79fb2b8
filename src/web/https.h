#ifndef WEB_HTTPS_H
#define WEB_HTTPS_H

/*
 * HTTPS where clients come in: certificates on their way from the parent to the edges, the redirect
 * of what is not encrypted, HSTS (RFC 6797).
 */

#include "web/generation.h"

/* What the secret of tickets is derived for from the site's (process/site_key.h). */
#define WEB_TICKETS_LABEL "tls/tickets"

/* In the parent: opens the key files, or makes a certificate by the site's own CA, as
 * "tls.chain.N" and "tls.key.N"; "tls.secret" is what tickets are encrypted with: that of the
 * site, and behind it one that lives as long as the parent (docs/decisions/074). */
MUST_CHECK enum err web_https_prepare(struct generation *generation, struct why *why);

/* In an edge: reads them into self->tls. Its handshakes are counted in self->metrics. */
MUST_CHECK enum err web_https_start(struct web_generation *self, struct why *why);
void web_https_end(struct web_generation *self);

/* In an edge that serves: reads them again; new connections get them, old ones keep theirs. On an
 * error all stays. */
MUST_CHECK enum err web_https_renew(struct web_generation *self, struct why *why);

/* What a certificate is called in messages: where the site file has it. */
void web_https_name(const struct generation *generation, size_t number, char out[512]);

/* What comes before a route where clients come in. True: answered, with a redirect to HTTPS. */
bool web_https_first(const struct web_generation *self, struct http_exchange *exchange);

/* Answers a CA that proves a name; false: that is not what is asked. */
bool web_challenge_answer(const struct web_generation *self, struct http_exchange *exchange);

/* The value of Location: https://HOST[:PORT]/PATH[?QUERY]. Pure. */
void web_https_target(struct buffer *out, const struct site *site,
                      const struct http_request *request);

#endif
