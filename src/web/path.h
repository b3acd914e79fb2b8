#ifndef WEB_PATH_H
#define WEB_PATH_H

/* Paths of URLs and their files. */

#include "core/buffer.h"

/* True when `path` lies at or below `prefix`, by whole segments: "/a" and "/a/" have "/a" and
 * "/a/b", not "/ab". */
bool web_path_has_prefix(struct text path, struct text prefix);

/* What is left of the path behind the prefix, without slashes in front. */
struct text web_path_rest(struct text path, struct text prefix);

/* May a file at this place below a static folder be seen? Not with hidden segments (".git", "..")
 * or NUL. `is_root`: rest starts at the root of the site, where ".well-known" is allowed. */
bool web_path_is_public(struct text rest, bool is_root);

/* Opens below the folder for reading; never outside of it, whatever links say. symlinks: follow
 * those that stay inside. Returns the descriptor, or -1 with errno. */
int web_path_open(int folder, const char *path, bool symlinks, int flags);

/* Appends the path with everything but unreserved characters and slashes as %XX, so that it can
 * stand in a Location header or an href. */
void web_path_encode(struct buffer *out, struct text path);

/* Appends text for HTML content and attribute values. */
void web_html_escape(struct buffer *out, struct text text);

#endif
