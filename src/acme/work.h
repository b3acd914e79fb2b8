#ifndef ACME_WORK_H
#define ACME_WORK_H

/*
 * One attempt to have a better certificate than the one there is: from another server of the site,
 * or, when it is this server's turn, from the CA. A process of its own that ends with the attempt,
 * so that it may block, and so that what a CA sends is parsed where nothing else is.
 */

#include "acme/certificate.h"
#include "acme/jose.h"
#include "process/process.h"

#define ACME_FILE "acme/site.pem" /* below the state folder; 0600; the edges get it from there */

struct acme_job {
    const struct generation *generation;
    const struct acme_account *account;
    const struct text *names;
    size_t name_count;
    struct acme_facts facts; /* of the certificate that is there */
    bool has_facts;          /* there is one */
    bool is_due;             /* and it is to be replaced, or there is none */
    bool may_order;          /* it is this server's turn to ask the CA */
};

enum acme_result {
    ACME_NEW,     /* a better one is in the file */
    ACME_NOTHING, /* nobody has one, and it is not our turn; or nothing is due */
    ACME_DOWN,    /* the CA did not answer, or not in a way that can be understood */
    ACME_REFUSED, /* it did, and gives none */
};

struct acme_report {
    enum acme_result result;
    int64_t retry_after_s;
    char text[400]; /* for people: where it came from, or why there is none */
};

/* In the new process. Logs what it does, besides. */
void acme_work(const struct acme_job *job, struct acme_report *report_out);

/* ---- the process: started, awaited, ended by who has it ---- */

struct acme_worker {
    pid_t pid;  /* 0: none */
    int result; /* read end: the report, then the end */
};

/* close_fd: what the child must not keep. */
MUST_CHECK enum err acme_worker_start(struct acme_worker *worker, const struct acme_job *job,
                                      int close_fd, struct why *why);
/* When `result` is readable, or to end it at once: reads the report and waits for its end. */
void acme_worker_finish(struct acme_worker *worker, bool is_killed, struct acme_report *report_out);

/* Where clients come in encrypted: the servers that share the certificate, in the order in which
 * they ask the CA. The rank of this one in it, or -1. */
int64_t acme_rank(const struct generation *generation);

#endif
