#ifndef CLI_STATUS_H
#define CLI_STATUS_H

/* The page of `trilith status`. Private to src/cli. */

#include "core/buffer.h"

#include <jansson.h>

/* Writes the page for two answers of the parent that were `us` microseconds apart. Pure. */
void status_page(struct buffer *out, const json_t *first, const json_t *second, int64_t us,
                 bool has_colour);

/* status_tables.c: what is known of each application and each route. */
void status_tables(struct buffer *out, const json_t *root);

#endif
