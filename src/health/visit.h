#ifndef HEALTH_VISIT_H
#define HEALTH_VISIT_H

/*
 * One look at one backend: a connection, and for http and mysql what comes over it. Ends by itself
 * within its deadline, whatever the other side does, and blocks nobody.
 */

#include "core/loop.h"
#include "metrics/metrics.h"
#include "site/site.h"
#include "stream/tls.h"

/* The texts must stay until the visit is done or cancelled. */
struct visit_plan {
    struct address address;
    const struct site_check *check; /* type, path, host, status, body, timeout_ms */
    int64_t proxy_protocol;         /* enum site_proxy_protocol: said first */
    bool is_http2;                  /* http is asked by HTTP/2 */
    struct tls_peer *peer;          /* who it must be, by TLS; NULL: without */
};

struct visit_result {
    bool is_good;
    int64_t latency_us; /* from the beginning to the verdict */
    char reason[HEALTH_REASON_SIZE];
};

struct visit;

/* done() comes once, from the loop, unless it is cancelled before. */
struct visit *visit_start(struct loop *loop, const struct visit_plan *plan,
                          void (*done)(void *owner, const struct visit_result *result),
                          void *owner);

/* done() does not come any more. Accepts NULL. The loop frees what is left of it. */
void visit_cancel(struct visit *visit);

/* ---- the pure parts ---- */

enum visit_verdict { VISIT_MORE, VISIT_GOOD, VISIT_BAD };

/* Judges the first bytes of an answer; `is_end`: nothing comes after them. `reason` is written with
 * GOOD and BAD. At VISIT_ANSWER_LIMIT bytes the verdict is never MORE. */
enum visit_verdict visit_judge_http(const struct site_check *check, struct text answer, bool is_end,
                                    char reason[HEALTH_REASON_SIZE]);

/* The greeting of a MySQL server and its answer to a login of VISIT_MYSQL_USER without a password,
 * which need not be let in. A visit that left after the greeting would count as a broken login, and
 * a server blocks hosts that have too many of them. Bad: errors that mean that it takes nobody (too
 * many connections, host blocked, shutting down). With VISIT_MORE, *packets_out is how many whole
 * packets came: each of them wants one of ours. */
enum visit_verdict visit_judge_mysql(struct text answer, bool is_end, size_t *packets_out,
                                     char reason[HEALTH_REASON_SIZE]);

#define VISIT_MYSQL_USER "trilith_check"

enum { VISIT_ANSWER_LIMIT = 65536 };

#endif
