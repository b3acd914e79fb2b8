#ifndef WEB_STATIC_H
#define WEB_STATIC_H

/* The handler of routes to a folder. */

#include "site/site.h"
#include "web/compress.h"
#include "web/files.h"

/* folder: descriptor, not owned. Memory from the arena; nothing to free. */
struct http_handler *web_static_new(struct arena *arena, const struct site_route *route, int folder,
                                    struct web_files *files, struct web_compressors *pool);

#endif
