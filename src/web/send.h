#ifndef WEB_SEND_H
#define WEB_SEND_H

/* A file as the answer to GET or HEAD: coding, validators, conditions, ranges. */

#include "web/compress.h"
#include "web/files.h"

/* pool: NULL when the route does not compress. */
void web_send_file(struct http_exchange *exchange, struct web_files *files, struct web_file *file,
                   struct web_compressors *pool);

#endif
