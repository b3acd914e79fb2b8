#ifndef WEB_MIME_H
#define WEB_MIME_H

/* Media types of files. */

#include "core/text.h"

/* By the extension of the name, without case; "application/octet-stream" for an unknown one. Text
 * has "; charset=utf-8". */
struct text web_mime_type(struct text name);

/* True for types that shrink (text, JSON, SVG, wasm, fonts without own compression...). Parameters
 * are ignored. Not text/event-stream: its events must not wait. */
bool web_mime_is_compressible(struct text type);

#endif
