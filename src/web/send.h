#ifndef WEB_SEND_H
#define WEB_SEND_H

/* A file as the answer to GET or HEAD: coding, validators, conditions, ranges. */

#include "web/files.h"

void web_send_file(struct http_exchange *exchange, struct web_files *files, struct web_file *file,
                   bool may_compress);

#endif
