#ifndef WEB_LISTING_H
#define WEB_LISTING_H

/* The page that lists a folder. */

#include "core/buffer.h"

/* Writes the page for the open folder (the descriptor is not closed). path: as in the URL, ends
 * with '/'. Hidden files are left out, links too unless symlinks. False with errno. */
bool web_listing_write(struct buffer *out, int folder, struct text path, bool symlinks);

#endif
