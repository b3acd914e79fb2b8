#ifndef WEB_STAPLE_H
#define WEB_STAPLE_H

/*
 * Keeps the OCSP staples of an edge's certificates fresh: asks their responders (over http, one
 * question at a time, from the loop) and gives the answers to the context (stream/tls_staple.h).
 */

#include "core/loop.h"
#include "stream/tls.h"

struct web_staples;

struct web_staples *web_staples_new(struct loop *loop);

/* From now on those of this context (NULL: none); takes a reference. Staples of certificates that
 * the one before had, too, go on. */
void web_staples_use(struct web_staples *staples, struct tls_context *context);

/* Nothing is asked any more; the loop frees what is under way. Accepts NULL. */
void web_staples_free(struct web_staples *staples);

/* The answer of a responder as it came, to its end; *der_out is in it. Pure. */
MUST_CHECK enum err web_staple_read(struct text bytes, struct buffer *der_out, struct why *why);

#endif
