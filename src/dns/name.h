#ifndef DNS_NAME_H
#define DNS_NAME_H

/* A domain name in wire form (RFC 1035 3.1): length-prefixed labels with the empty one at the end,
 * lower case, so equal names have equal bytes. */

#include "core/error.h"
#include "core/text.h"

enum { DNS_NAME_LIMIT = 255, DNS_LABEL_LIMIT = 63, DNS_LABELS_LIMIT = 128 };

struct dns_name {
    uint8_t wire[DNS_NAME_LIMIT];
    uint8_t len; /* with the last zero byte; 1: the root */
};

/* "www.foobar.com" or "www.foobar.com." below `origin` (NULL: below the root). Labels have letters,
 * digits, '-' and '_'; the first one may be "*". */
MUST_CHECK enum err dns_name_parse(struct text text, const struct dns_name *origin,
                                   struct dns_name *name_out, struct why *why);

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b);

/* Is `name` the same as `origin` or below it? */
bool dns_name_is_below(const struct dns_name *name, const struct dns_name *origin);

/* The name without its first label; the root stays the root. */
struct dns_name dns_name_parent(const struct dns_name *name);

static inline struct text dns_name_text(const struct dns_name *name)
{
    return text_from((const char *)name->wire, name->len);
}

/* Lower case of a byte of a name; length bytes (up to 63) are never letters. */
static inline uint8_t dns_lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

#endif
