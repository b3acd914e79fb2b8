#ifndef STREAM_INSIDE_H
#define STREAM_INSIDE_H

/*
 * `tls: { inside: mutual }`: what a server of the site shows the others, and what it asks of them.
 * Each has a certificate for its name and address by an authority that follows from the site's key
 * (docs/decisions/073). The parent makes it, with a new key, for each generation; roles get sealed
 * memory files:
 *
 *   inside.authority  inside.chain  inside.key  inside.tickets
 */

#include "process/process.h"
#include "stream/tls.h"

/* What the struct role of who uses it needs. */
#define INSIDE_NEEDS "inside."

/* In prepare() of each role that uses it; nothing when the site does not ask for it, or it was done
 * for this generation. */
MUST_CHECK enum err inside_prepare(struct generation *generation, struct why *why);

/* In a role: what connections of other servers are taken with, or what they are connected to with.
 * Both only by TLS 1.3, and only with servers of the site. NULL with OK: the site does not ask for
 * it. From then on the process gives no core dump (tls_protect_keys). The caller unrefs it. */
MUST_CHECK enum err inside_server(const struct generation *generation, const char *protocol,
                                  struct tls_context **context_out, struct why *why);
MUST_CHECK enum err inside_client(const struct generation *generation, const char *protocol,
                                  struct tls_context **context_out, struct why *why);

/* The same for a library that reads files: their names in this process (and in a program that it
 * becomes with the descriptors kept). False: the site does not ask for it. */
struct inside_files {
    int fds[3]; /* of the three below */
    char authority[32], chain[32], key[32];
};
bool inside_files(const struct generation *generation, struct inside_files *files_out);

#endif
