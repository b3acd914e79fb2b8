#ifndef WEB_RANGE_H
#define WEB_RANGE_H

/* The Range header (RFC 9110 14): which bytes of a body are asked for. */

#include "core/text.h"

struct web_range {
    int64_t start;
    int64_t len;
};

/* More parts than this are refused: no reader needs them, attackers do. */
enum { RANGE_LIMIT = 16 };

enum web_range_result {
    RANGE_NONE,        /* not understood: send the whole body (200) */
    RANGE_SOME,        /* send these parts (206) */
    RANGE_UNSATISFIED, /* none of it exists, or it is an attack (416) */
};

/* Reads a Range value for a body of `size` bytes. Parts come in ascending order; those that overlap
 * or nearly touch are joined. More than two that overlap are refused. */
enum web_range_result web_range_parse(struct text value, int64_t size,
                                      struct web_range ranges[RANGE_LIMIT], size_t *count_out);

#endif
