#ifndef ACME_ANSWERS_H
#define ACME_ANSWERS_H

/*
 * What a CA answers (RFC 8555 7.1, problems of RFC 7807): JSON from outside into structs with
 * limits. Pure, fuzzed. What does not matter here is passed over, what matters is checked: a URL is
 * https and printable, a token has only the characters that a path and a file name may have.
 */

#include "core/buffer.h"
#include "metrics/challenges.h"

enum {
    ACME_URL_SIZE = 1024,
    ACME_NAMES_LIMIT = 100,      /* of one certificate, as CAs allow */
    ACME_ANSWER_LIMIT = 1 << 20, /* bytes of an answer */
    ACME_REASON_SIZE = 400,
};

struct acme_directory {
    char new_nonce[ACME_URL_SIZE];
    char new_account[ACME_URL_SIZE];
    char new_order[ACME_URL_SIZE];
    bool needs_binding; /* to an account outside ACME */
};

enum acme_status { ACME_PENDING, ACME_READY, ACME_PROCESSING, ACME_VALID, ACME_INVALID };

struct acme_order {
    enum acme_status status;
    char (*authorizations)[ACME_URL_SIZE]; /* memory_free */
    size_t authorization_count;
    char finalize[ACME_URL_SIZE];
    char certificate[ACME_URL_SIZE]; /* empty: not there yet */
    char reason[ACME_REASON_SIZE];   /* of an invalid one; may be empty */
};

struct acme_authorization {
    enum acme_status status; /* never READY; deactivated, expired and revoked are INVALID */
    char name[CHALLENGE_NAME_SIZE];
    bool has_challenge; /* of the type that was asked for */
    char url[ACME_URL_SIZE];
    char token[CHALLENGE_TOKEN_LIMIT + 1];
    char reason[ACME_REASON_SIZE]; /* why its challenge failed; may be empty */
};

struct acme_problem {
    char type[64];                 /* "badNonce", "rateLimited", ... or empty */
    char reason[ACME_REASON_SIZE]; /* for people; never empty */
};

/* ERR_SYNTAX: no JSON, ERR_PROTOCOL: something is missing or is not what it must be; *why says. */
MUST_CHECK enum err acme_directory_parse(struct text json, struct acme_directory *out,
                                         struct why *why);
MUST_CHECK enum err acme_order_parse(struct text json, struct acme_order *out, struct why *why);
void acme_order_done(struct acme_order *order);
/* type: "http-01" */
MUST_CHECK enum err acme_authorization_parse(struct text json, const char *type,
                                             struct acme_authorization *out, struct why *why);
/* Anything is a problem: what is no JSON gets the status as its reason. */
void acme_problem_parse(struct text json, int64_t http_status, struct acme_problem *out);

/* A line of an answer's head: what a client of ACME needs. */
struct acme_head {
    char nonce[ACME_URL_SIZE];
    char location[ACME_URL_SIZE];
    int64_t retry_after_s; /* 0: not said */
};

/* Adds a header line to what is known; ignores others. now_s: since 1970. */
void acme_head_read(struct text line, int64_t now_s, struct acme_head *head);

#endif
