#ifndef APP_PHP_ROLE_PRIVATE_H
#define APP_PHP_ROLE_PRIVATE_H

/*
 * The process that looks after php-fpm.
 *
 *   php_role.c    in the parent: socket, shared memory, what cannot work
 *   php_config.c  the generated configuration
 *   php_run.c     starts php-fpm, starts it again when it dies, ends it
 *   php_probe.c   does it answer?
 */

#include "core/loop.h"
#include "process/process.h"

/* The php-fpm program of the application. ERR_NOT_FOUND with what to install. */
MUST_CHECK enum err php_program_find(const struct site_app *app, char *out, size_t size,
                                     struct why *why);

/* The role's run(). */
int php_run(struct process *self);

struct php_probe;

/* Asks php-fpm over a connection that the parent made (fd is taken over), first whether it is
 * there, then for the application's `ready` path until it is content. done() comes once, later;
 * reason: NULL when it works. */
struct php_probe *php_probe_start(struct loop *loop, int fd, const struct site_app *app,
                                  int documents, struct text host,
                                  void (*done)(void *owner, const char *reason), void *owner);
/* What the last answer lacked. */
const char *php_probe_problem(const struct php_probe *probe);
/* No call comes any more. Accepts NULL. */
void php_probe_cancel(struct php_probe *probe);

#endif
