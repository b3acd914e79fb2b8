#ifndef CLI_STATUS_H
#define CLI_STATUS_H

/* The page of `trilith status`. Private to src/cli. */

#include "core/buffer.h"

#include <jansson.h>

/* Writes the page for two answers of the parent that were `us` microseconds apart. Pure. */
void status_page(struct buffer *out, const json_t *first, const json_t *second, int64_t us,
                 bool has_colour);

/* "850ms", "12s", "3m", "5h", "9d": the two digits that matter. */
const char *status_age(int64_t ms, char out[24]);

/* "-" (null), "85us", "1.2ms", "340ms", "12s": what matters of microseconds. */
const char *status_us(const json_t *us, char out[24]);

/* status_backends.c: the backends and databases, and what of them differs from the site file; rates
 * when there is a first answer, `us` before the second. Nothing where there are none. */
void status_backends(struct buffer *out, const json_t *first, const json_t *second, int64_t us,
                     bool has_colour);

/* status_tables.c: what is known of each application and each route. */
void status_tables(struct buffer *out, const json_t *root);

#endif
