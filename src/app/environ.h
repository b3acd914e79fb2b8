#ifndef APP_ENVIRON_H
#define APP_ENVIRON_H

/* Request -> environ table of PEP 3333 (and RFC 3875), in the memory a worker reads. Pure. */

#include "app/segment.h"
#include "http/http.h"

/* Fills the slot's table. body_length: of the collected body, -1 when the request has none. The
 * path starts with mount. ERR_LIMIT when it does not fit (431). */
MUST_CHECK enum err app_environ_build(const struct http_request *request, struct text mount,
                                      int64_t body_length, struct segment_slot *slot);

/* Puts a small body behind the table; false when it does not fit. */
bool app_environ_add_body(struct segment_slot *slot, struct text body);

#endif
