#ifndef ACME_OBTAIN_H
#define ACME_OBTAIN_H

/*
 * The dialogue with a CA from its directory to a certificate (RFC 8555 7): a plain script that
 * blocks, for a process of its own.
 */

#include "acme/answers.h"
#include "acme/jose.h"

struct acme_wish {
    const char *directory; /* URL */
    struct text email;     /* may be empty */
    const char *challenge; /* "http-01", "tls-alpn-01" */
    const struct text *names;
    size_t name_count;       /* 1 to ACME_NAMES_LIMIT */
    struct text trusted;     /* see acme_call_new */
    struct text binding_id;  /* of an account that was made elsewhere; empty: none */
    struct text binding_key; /* its bytes */
};

/* Where a CA will look for the answer to a challenge. */
struct acme_prover {
    void *context;
    /* Lets every server that may be asked answer; what cannot be reached is left out. */
    void (*show)(void *context, struct text name, struct text token);
    void (*hide)(void *context, struct text name);
};

struct acme_outcome {
    bool was_refused;      /* by a CA that works: asking again soon will not help */
    int64_t retry_after_s; /* as it said; 0: nothing */
};

/* file_out: key and chain as of acme_file_write, good for all the names; the caller wipes it.
 * outcome_out is written in any case. */
MUST_CHECK enum err acme_obtain(const struct acme_wish *wish, const struct acme_account *account,
                                const struct acme_prover *prover, int64_t timeout_ms,
                                struct buffer *file_out, struct acme_outcome *outcome_out,
                                struct why *why);

#endif
