#ifndef APP_PHP_H
#define APP_PHP_H

/*
 * PHP applications (`php: FOLDER`): a php-fpm of their own per generation, supervised, and the
 * edge's handler that speaks FastCGI to it.
 *
 *   edge ── pool ── Unix socket that only the edges may open ──► php-fpm children
 */

#include "http/http.h"
#include "process/process.h"

extern const struct role php_role;

/* Descriptors that an edge process needs. */
#define PHP_NEEDS "fpm."

/* In an edge process: the handler of ACTION_APP routes to a PHP application. `files` answers what
 * is no script and is not owned; it must live as long. ERR_MISSING with a reason when the
 * generation lacks the app's descriptors. */
MUST_CHECK enum err php_handler_make(struct loop *loop, struct process *process,
                                     const struct generation *generation,
                                     const struct site_app *app, struct http_handler *files,
                                     struct http_handler **handler_out, struct why *why);

/* Whether php_handler_make made it. */
bool php_handler_is(const struct http_handler *handler);

/* No exchange uses it any more. Accepts NULL. */
void php_handler_free(struct http_handler *handler);

/* The descriptor of the documents of a PHP application in this generation, -1: it has none here. */
int php_documents(const struct generation *generation, const struct site_app *app);

#endif
