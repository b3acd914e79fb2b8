#ifndef APP_SCOPE_H
#define APP_SCOPE_H

/* Request -> what an ASGI scope says, in the memory a worker reads. Pure. */

#include "app/segment.h"
#include "http/http.h"

/* Fills the slot's table: the entries with keys first, then each header as KEY_OTHER with its name
 * in lower case, several of one name apart. body_length: of the collected body, -1 when the request
 * has none. ERR_LIMIT when it does not fit (431). */
MUST_CHECK enum err app_scope_build(const struct http_request *request, int64_t body_length,
                                    struct segment_slot *slot);

#endif
