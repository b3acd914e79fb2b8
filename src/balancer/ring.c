/*
 * The ring of consistent hashing: each candidate has points on a circle, in number by its weight,
 * placed by its name. A key belongs to the first point behind it, so a candidate that comes or goes
 * takes or leaves only its own keys.
 */
#include "balancer/choose_private.h"

#include "core/memory.h"

#include <stdlib.h>

enum {
    POINTS_EACH = 160,      /* of weight average: shares differ by some percent then */
    POINTS_MOST = 1U << 18, /* of all together */
};

static int compare_points(const void *a, const void *b)
{
    const struct ring_point *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

void ring_done(struct ring *ring)
{
    memory_free(ring->points);
    memory_free(ring->starts);
    *ring = (struct ring){ 0 };
}

/* The first point of each part of the circle; as many parts as points, at least. */
static void index_parts(struct ring *ring)
{
    uint32_t bits = 1;
    while (1U << bits < ring->len)
        bits++;
    ring->shift = 64 - bits;
    ring->starts = memory_new_array(1U << bits, sizeof(*ring->starts));
    uint32_t at = 0;
    for (uint64_t part = 0; part < 1U << bits; part++) {
        while (at < ring->len && ring->points[at].at >> ring->shift < part)
            at++;
        ring->starts[part] = at;
    }
}

void ring_build(struct ring *ring, const struct candidate *items, uint32_t count)
{
    uint64_t weights = 0, members = 0;
    ring_done(ring);
    for (uint32_t i = 0; i < count; i++) {
        weights += items[i].weight;
        members += items[i].weight > 0;
    }
    if (members == 0)
        return;
    uint64_t all = members * POINTS_EACH < POINTS_MOST ? members * POINTS_EACH : POINTS_MOST;
    ring->points = memory_new_array(all + members, sizeof(*ring->points));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t points = all * items[i].weight / weights;
        if (points == 0 && items[i].weight > 0)
            points = 1;
        for (uint64_t k = 0; k < points; k++)
            ring->points[ring->len++] =
                (struct ring_point){ choose_mix(items[i].name_hash + choose_mix(k + 1)), i };
    }
    qsort(ring->points, ring->len, sizeof(*ring->points), compare_points);
    index_parts(ring);
}

uint32_t ring_find(const struct ring *ring, uint64_t key)
{
    uint32_t at = ring->starts[key >> ring->shift];
    while (at < ring->len && ring->points[at].at < key)
        at++;
    return at < ring->len ? at : 0;
}
