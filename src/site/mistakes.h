#ifndef SITE_MISTAKES_H
#define SITE_MISTAKES_H

/*
 * Mistakes of one file, collected in any order and written in the order of the file. Private to
 * src/site.
 */

#include "site/site.h"

enum { MISTAKES_KEPT = 200 }; /* nobody reads more; the rest is only counted */

struct mistake {
    struct site_place place;
    size_t number; /* order of finding, for mistakes at one place */
    struct text text;
};

struct mistakes {
    struct arena *arena;
    struct mistake items[MISTAKES_KEPT];
    size_t count; /* all, also those that are not kept */
};

/* Where a value stands in the tree, as a chain on the stack: "routes[2].path". */
struct path {
    const struct path *parent; /* NULL: the root, which has no name */
    struct text name;          /* key; empty: an item of a list */
    size_t index;              /* of the item, from 0 */
};

enum { PATH_TEXT_SIZE = 256 };

/* Writes the path; a long one is cut. */
void path_format(const struct path *path, char out[PATH_TEXT_SIZE]);

/* Adds "path: message". path may be NULL: no path is written. */
void mistakes_add(struct mistakes *mistakes, struct site_place place, const struct path *path,
                  const char *format, ...) PRINTF_LIKE(4, 5);

/* Sorts and writes them as lines "file:line:column: path: message". */
void mistakes_write(struct mistakes *mistakes, const char *file, struct site_mistakes *out);

/* Up to 60 bytes of outside text, ready to be printed: controls and broken UTF-8 become '?', a
 * longer one ends in "...". */
enum { SHOWN_SIZE = 72 };
const char *shown(struct text text, char out[SHOWN_SIZE]);

/* The one of `count` names that `wrong` was probably meant to be, or an empty text. */
struct text nearest(struct text wrong, const struct text *names, size_t count);

#endif
