#ifndef DATABASE_GTID_H
#define DATABASE_GTID_H

/* MariaDB's global transaction ids, "0-1-8138": domain, server, sequence; and lists of them: a
 * position (the last of each domain) or the state of a binary log (the last of each domain and
 * server). Pure; fuzzed. */

#include "core/error.h"
#include "core/text.h"

enum { GTID_LIST_LIMIT = 64, GTID_TEXT_SIZE = 48 };

struct gtid {
    uint32_t domain, server;
    uint64_t sequence;
};

struct gtid_list {
    struct gtid items[GTID_LIST_LIMIT];
    size_t count;
};

/* "0-1-5,0-2-7"; blanks and line feeds around an item are allowed, an empty text is an empty list.
 * ERR_SYNTAX, ERR_LIMIT. */
MUST_CHECK enum err gtid_parse(struct text text, struct gtid_list *list_out);

/* The highest sequence of a domain, 0: none of it. */
uint64_t gtid_last(const struct gtid_list *list, uint32_t domain);

/* Both are positions: does a go beyond b in any domain? */
bool gtid_is_beyond(const struct gtid_list *a, const struct gtid_list *b);

/* Transactions in the binary log of server `own` that the state of its primary's does not have:
 * true, and the last of them. A server that the primary's log never heard of counts only when it is
 * `own`, or beyond all the primary has: what a primary was seeded with is not in its own log. */
bool gtid_find_errant(const struct gtid_list *state, const struct gtid_list *primary, uint32_t own,
                      struct gtid *errant_out);

/* As MariaDB writes it; cut to fit. */
void gtid_list_format(const struct gtid_list *list, char *out, size_t size);

void gtid_format(const struct gtid *gtid, char out[GTID_TEXT_SIZE]);

#endif
