#ifndef CLI_TOP_H
#define CLI_TOP_H

/* `trilith top`. Private to src/cli. */

#include "core/buffer.h"

#include <jansson.h>

/* What happened between two answers of the parent to `top` that were `us` microseconds apart, as an
 * object of rates and percentiles; the caller frees. Pure. */
json_t *top_measure(const json_t *first, const json_t *second, int64_t us);

/* The page for people, from top_measure's object. */
void top_page(struct buffer *out, const json_t *top, bool has_colour);

#endif
