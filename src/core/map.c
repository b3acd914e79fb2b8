/* See map.h. Open addressing with linear probing; at most three quarters of the places are used. */
#include "core/map.h"

#include "core/memory.h"

enum { FIRST_PLACES = 16 };

/* The place of the name, or the empty one where it would be. There is always an empty one. */
static size_t place_of(const struct map *map, struct text name)
{
    size_t at = text_hash(name) & (map->places - 1);
    while (map->entries[at].name != NULL &&
           !text_equal(text_from(map->entries[at].name, map->entries[at].len), name))
        at = (at + 1) & (map->places - 1);
    return at;
}

static void grow(struct map *map)
{
    struct map bigger = { .places = map->places > 0 ? 2 * map->places : FIRST_PLACES,
                          .count = map->count };
    bigger.entries = memory_new_array(bigger.places, sizeof(*bigger.entries));
    for (size_t i = 0; i < map->places; i++) {
        const struct map_entry *entry = &map->entries[i];
        if (entry->name != NULL)
            bigger.entries[place_of(&bigger, text_from(entry->name, entry->len))] = *entry;
    }
    memory_free(map->entries);
    *map = bigger;
}

void *map_find(const struct map *map, struct text name)
{
    return map->places > 0 ? map->entries[place_of(map, name)].value : NULL;
}

void map_put(struct map *map, struct text name, void *value)
{
    if (4 * (map->count + 1) > 3 * map->places)
        grow(map);
    struct map_entry *entry = &map->entries[place_of(map, name)];
    entry->value = value;
    if (entry->name != NULL)
        return;
    entry->name = memory_new(name.len + 1);
    memcpy(entry->name, name.data, name.len);
    entry->len = name.len;
    map->count++;
}

void *map_take(struct map *map, struct text name)
{
    if (map->places == 0)
        return NULL;
    size_t mask = map->places - 1, hole = place_of(map, name);
    void *value = map->entries[hole].value;
    if (map->entries[hole].name == NULL)
        return NULL;
    memory_free(map->entries[hole].name);
    map->count--;
    /* what stands behind it moves up, unless it would be in front of the place that it hashes to */
    for (size_t at = (hole + 1) & mask; map->entries[at].name != NULL; at = (at + 1) & mask) {
        const struct map_entry *entry = &map->entries[at];
        size_t home = text_hash(text_from(entry->name, entry->len)) & mask;
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        map->entries[hole] = *entry;
        hole = at;
    }
    map->entries[hole] = (struct map_entry){ 0 };
    return value;
}

struct map_entry *map_next(const struct map *map, size_t *at)
{
    while (*at < map->places) {
        struct map_entry *entry = &map->entries[(*at)++];
        if (entry->name != NULL)
            return entry;
    }
    return NULL;
}

void map_done(struct map *map, void (*done)(void *value))
{
    for (size_t i = 0; i < map->places; i++) {
        if (map->entries[i].name == NULL)
            continue;
        if (done != NULL)
            done(map->entries[i].value);
        memory_free(map->entries[i].name);
    }
    memory_free(map->entries);
    *map = (struct map){ 0 };
}
