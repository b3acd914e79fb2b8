#ifndef BALANCER_CHOOSE_PRIVATE_H
#define BALANCER_CHOOSE_PRIVATE_H

/* Inside of the chooser: candidates, and the ring of the hashing algorithms. */

#include "balancer/choose.h"

struct candidate {
    uint64_t load; /* open requests per weight */
    uint64_t turn; /* when it was last entered */
    uint64_t name_hash;
    uint32_t active;
    uint32_t limit;
    uint32_t weight;
    uint32_t share;
    uint32_t heap_at; /* CHOOSE_NONE: not in the heap */
    bool is_usable;
};

struct ring_point {
    uint64_t at;
    uint32_t index;
};

/* Points by place, and for each part of the circle the first point in or behind it, so that a
 * search is a look and a step or two. */
struct ring {
    struct ring_point *points;
    uint32_t len;
    uint32_t *starts;
    uint32_t shift; /* place >> shift is the part */
};

/* All candidates that have a weight, usable or not: who goes away for a while leaves the keys of
 * the others where they are. */
void ring_build(struct ring *ring, const struct candidate *items, uint32_t count);
/* The first point at or behind the key; ring->len > 0. */
uint32_t ring_find(const struct ring *ring, uint64_t key);
void ring_done(struct ring *ring);

struct chooser {
    enum balancer_algorithm algorithm;
    bool is_schedule_old;
    bool is_ring_old;
    uint32_t count;
    uint32_t usable;
    uint64_t usable_weight;
    uint32_t active; /* of all */
    struct candidate *items;
    _Atomic uint64_t *cursor;
    _Atomic uint64_t own_cursor;
    uint32_t *schedule;
    uint32_t schedule_len;
    uint32_t *heap;
    uint32_t heap_len;
    uint64_t turn;
    struct ring ring;
};

/* splitmix64's last step: every bit of the input moves half of the output's. */
static inline uint64_t choose_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31);
}

#endif
