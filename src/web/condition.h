#ifndef WEB_CONDITION_H
#define WEB_CONDITION_H

/* Conditional requests (RFC 9110 13). */

#include "http/http.h"

/* What the request is about to get. */
struct web_selected {
    struct text etag;   /* with quotes, maybe W/ in front */
    int64_t modified_s; /* wall seconds */
};

enum web_condition {
    CONDITION_GO,           /* send the answer */
    CONDITION_NOT_MODIFIED, /* 304 */
    CONDITION_FAILED,       /* 412 */
};

/* Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since in the order of RFC
 * 9110 13.2.2. */
enum web_condition web_condition_check(const struct http_headers *headers, bool is_get_or_head,
                                       const struct web_selected *selected);

/* True when If-Range is absent or names exactly the selected representation by a strong validator;
 * now_s tells whether its date is old enough to be one. */
bool web_condition_range_applies(const struct http_headers *headers,
                                 const struct web_selected *selected, int64_t now_s);

/* True when the list of entity tags (or "*") has this one. A weak comparison ignores W/. */
bool web_etag_matches(struct text list, struct text etag, bool is_strong);

#endif
