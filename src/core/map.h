#ifndef CORE_MAP_H
#define CORE_MAP_H

/*
 * A table of pointers under names. The names are copied, what is pointed to is the user's. For
 * tables that our own programs fill: who chooses the names could make it slow, not wrong.
 */

#include "core/text.h"

struct map_entry {
    char *name; /* owned by the map; NULL: the place is empty */
    size_t len;
    void *value;
};

/* All zero: an empty map, which holds no memory. */
struct map {
    struct map_entry *entries;
    size_t places; /* a power of two, or 0 */
    size_t count;
};

/* The value under that name, or NULL. */
void *map_find(const struct map *map, struct text name);

/* Puts a value (not NULL) under the name, in place of the one before. */
void map_put(struct map *map, struct text name, void *value);

/* Takes it out; the value that was there, or NULL. */
void *map_take(struct map *map, struct text name);

/* The next entry from *at on (begin with 0), in no order; NULL at the end. While walking, values
 * may be put under names that are there, nothing else. */
struct map_entry *map_next(const struct map *map, size_t *at);

/* Frees the names; done(value), when it is not NULL, is called for each. It is empty then. */
void map_done(struct map *map, void (*done)(void *value));

#endif
