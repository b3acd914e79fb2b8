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

/* The databases alone. */
void status_databases(struct buffer *out, const json_t *root, bool has_colour);

/* status_all.c: the page of all servers; servers: name -> answer of its parent, or one without "ok"
 * and with "error". Pure. */
void status_all_page(struct buffer *out, const char *site, const json_t *servers, bool has_colour);

/* Asks every server of the site and prints; an exit status, CLI_FAILED when one did not answer. */
struct target;
int status_all(const struct target *target, bool is_json);

/* status_tables.c: what is known of each application and each route. */
void status_tables(struct buffer *out, const json_t *root);

#endif
