#ifndef ACME_CALL_H
#define ACME_CALL_H

/*
 * Requests to a CA over HTTPS, with libcurl. Blocking: for the short-lived process that orders a
 * certificate. The library is loaded by that process when it needs it; no other process of Trilith
 * has it in its memory.
 */

#include "acme/answers.h"

struct acme_call;

enum acme_method { ACME_GET, ACME_HEAD, ACME_POST };

struct acme_reply {
    int64_t status;
    struct acme_head head;
    struct buffer body; /* at most ACME_ANSWER_LIMIT */
};

/* trusted: PEM of those whose signature a CA's server must show; empty: the system's list. It must
 * stay. ERR_MISSING: the library is not installed. */
MUST_CHECK enum err acme_call_new(struct text trusted, struct acme_call **call_out,
                                  struct why *why);
void acme_call_free(struct acme_call *call); /* accepts NULL */

/* One request, within timeout_ms; redirects are not followed. ERR_CLOSED with the reason when there
 * was no whole answer. What the reply held before is forgotten. */
MUST_CHECK enum err acme_call_make(struct acme_call *call, enum acme_method method, const char *url,
                                   struct text body, int64_t timeout_ms, struct acme_reply *reply,
                                   struct why *why);

#endif
