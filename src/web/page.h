#ifndef WEB_PAGE_H
#define WEB_PAGE_H

/* Error pages: the site's own, else a built-in one. */

#include "http/http.h"
#include "process/process.h"

struct web_page {
    int status;
    struct text type;
    struct text body;
};

struct web_pages {
    struct web_page *items;
    size_t count;
};

/* Reads the site's error pages from the generation's descriptors into the arena. */
MUST_CHECK enum err web_pages_load(struct web_pages *pages, const struct generation *generation,
                                   struct arena *arena, struct why *why);

/* Answers with the page of that status. */
void web_pages_answer(const struct web_pages *pages, struct http_exchange *exchange, int status);

/* The built-in page, pure: HTML, or JSON for clients that ask for it. */
void web_page_write(struct buffer *out, int status, const char *id, bool is_json);

/* True when Accept prefers JSON to HTML. */
bool web_page_wants_json(const struct http_headers *headers);

#endif
