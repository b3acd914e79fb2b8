#ifndef APP_PHP_HEAD_H
#define APP_PHP_HEAD_H

/*
 * The head of a CGI answer (RFC 3875 6): header lines up to an empty one, `Status:` among them. It
 * comes from somebody's program, so it is read strictly and with limits. Pure.
 */

#include "core/text.h"

enum { PHP_HEAD_LIMIT = 64 * 1024, PHP_HEAD_LINES = 256 };

/* Where the body starts in `data`, or -1 when the end of the head is not there yet. `from`: how far
 * earlier calls looked (0 at first); kept by the function. */
ssize_t php_head_end(struct text data, size_t *from);

struct php_head {
    int status;
    int64_t content_length; /* -1: not said */
    struct text rest;       /* private */
};

/* `text` is all up to php_head_end. NULL, or why it is refused. */
const char *php_head_parse(struct text text, struct php_head *head);

/* The headers one by one, without Status and Content-Length. */
bool php_head_next(struct php_head *head, struct text *name, struct text *value);

#endif
