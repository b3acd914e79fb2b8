/*
 * The algorithms. Round-robin and random-two draw from the schedule, the hashes from the ring
 * (ring.c), least-connections from a heap of indices.
 */
#include "balancer/choose_private.h"

#include "core/memory.h"

#include <stdlib.h>

enum {
    SCHEDULE_MOST = 65536, /* turns; larger sums of weights are scaled down */
    DRAWS = 4,             /* of random-two, for each of the two */
    HEAP_CHILDREN = 4,     /* one cache line of indices per step down */
    LOAD_SHIFT = 20,
};

uint64_t choose_hash(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint64_t hash = 0xcbf29ce484222325U;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3U;
    return choose_mix(hash);
}

/* ---- life ---- */

struct chooser *chooser_new(enum balancer_algorithm algorithm, uint32_t count)
{
    struct chooser *chooser = NEW(struct chooser);
    chooser->algorithm = algorithm;
    chooser->count = count;
    chooser->items = memory_new_array(count + 1, sizeof(*chooser->items));
    chooser->heap = memory_new_array(count + 1, sizeof(*chooser->heap));
    chooser->cursor = &chooser->own_cursor;
    for (uint32_t i = 0; i < count; i++)
        chooser->items[i] = (struct candidate){ .share = CHOOSE_FULL_SHARE,
                                                .limit = UINT32_MAX,
                                                .heap_at = CHOOSE_NONE,
                                                .is_usable = true };
    return chooser;
}

void chooser_free(struct chooser *chooser)
{
    if (chooser == NULL)
        return;
    ring_done(&chooser->ring);
    memory_free(chooser->schedule);
    memory_free(chooser->heap);
    memory_free(chooser->items);
    memory_free(chooser);
}

void chooser_share(struct chooser *chooser, _Atomic uint64_t *cursor)
{
    chooser->cursor = cursor != NULL ? cursor : &chooser->own_cursor;
}

/* ---- the heap of least-connections ---- */

static bool is_less(const struct chooser *chooser, uint32_t a, uint32_t b)
{
    const struct candidate *x = &chooser->items[a], *y = &chooser->items[b];
    return x->load != y->load ? x->load < y->load : x->turn < y->turn;
}

static void heap_put(struct chooser *chooser, uint32_t at, uint32_t index)
{
    chooser->heap[at] = index;
    chooser->items[index].heap_at = at;
}

static void heap_up(struct chooser *chooser, uint32_t at)
{
    uint32_t index = chooser->heap[at];
    while (at > 0) {
        uint32_t parent = (at - 1) / HEAP_CHILDREN;
        if (!is_less(chooser, index, chooser->heap[parent]))
            break;
        heap_put(chooser, at, chooser->heap[parent]);
        at = parent;
    }
    heap_put(chooser, at, index);
}

static void heap_down(struct chooser *chooser, uint32_t at)
{
    uint32_t index = chooser->heap[at];
    for (;;) {
        uint32_t first = at * HEAP_CHILDREN + 1, least = index, place = at;
        for (uint32_t i = first; i < first + HEAP_CHILDREN && i < chooser->heap_len; i++)
            if (is_less(chooser, chooser->heap[i], least)) {
                least = chooser->heap[i];
                place = i;
            }
        if (place == at)
            break;
        heap_put(chooser, at, least);
        at = place;
    }
    heap_put(chooser, at, index);
}

static void heap_add(struct chooser *chooser, uint32_t index)
{
    heap_put(chooser, chooser->heap_len++, index);
    heap_up(chooser, chooser->heap_len - 1);
}

static void heap_remove(struct chooser *chooser, uint32_t index)
{
    uint32_t at = chooser->items[index].heap_at, last = chooser->heap[--chooser->heap_len];
    chooser->items[index].heap_at = CHOOSE_NONE;
    if (last == index)
        return;
    heap_put(chooser, at, last);
    heap_up(chooser, at);
    heap_down(chooser, chooser->items[last].heap_at);
}

/* ---- what is known of a candidate ---- */

static bool has_room(const struct candidate *item)
{
    return item->is_usable && item->weight > 0 && item->active < item->limit;
}

/* After any change: its load, and its place in the heap. */
static void update(struct chooser *chooser, uint32_t index)
{
    struct candidate *item = &chooser->items[index];
    uint64_t weight = (uint64_t)item->weight * item->share;
    if (weight > 0)
        item->load = (((uint64_t)item->active + 1) << (LOAD_SHIFT + 10)) / weight;
    if (chooser->algorithm != BALANCER_LEAST_CONNECTIONS)
        return;
    if (item->heap_at != CHOOSE_NONE && !has_room(item)) {
        heap_remove(chooser, index);
    } else if (item->heap_at != CHOOSE_NONE) {
        heap_up(chooser, item->heap_at);
        heap_down(chooser, item->heap_at);
    } else if (has_room(item)) {
        heap_add(chooser, index);
    }
}

static void count_usable(struct chooser *chooser, const struct candidate *item, int change)
{
    if (!item->is_usable || item->weight == 0)
        return;
    chooser->usable = (uint32_t)((int)chooser->usable + change);
    if (change > 0)
        chooser->usable_weight += item->weight;
    else
        chooser->usable_weight -= item->weight;
}

void chooser_set(struct chooser *chooser, uint32_t index, uint64_t name_hash, uint32_t weight)
{
    struct candidate *item = &chooser->items[index];
    if (item->weight == weight && item->name_hash == name_hash)
        return;
    count_usable(chooser, item, -1);
    item->weight = weight < CHOOSE_WEIGHT_MOST ? weight : CHOOSE_WEIGHT_MOST;
    item->name_hash = name_hash;
    count_usable(chooser, item, 1);
    chooser->is_schedule_old = true;
    chooser->is_ring_old = true;
    update(chooser, index);
}

void chooser_use(struct chooser *chooser, uint32_t index, bool is_usable)
{
    struct candidate *item = &chooser->items[index];
    if (item->is_usable == is_usable)
        return;
    count_usable(chooser, item, -1);
    item->is_usable = is_usable;
    count_usable(chooser, item, 1);
    chooser->is_schedule_old = true;
    update(chooser, index);
}

void chooser_limit(struct chooser *chooser, uint32_t index, uint32_t limit)
{
    if (chooser->items[index].limit == limit)
        return;
    chooser->items[index].limit = limit;
    update(chooser, index);
}

void chooser_share_set(struct chooser *chooser, uint32_t index, uint32_t share)
{
    if (chooser->items[index].share == share)
        return;
    chooser->items[index].share = share > 0 ? share : 1;
    update(chooser, index);
}

void chooser_enter(struct chooser *chooser, uint32_t index)
{
    chooser->items[index].active++;
    chooser->items[index].turn = ++chooser->turn;
    chooser->active++;
    update(chooser, index);
}

void chooser_leave(struct chooser *chooser, uint32_t index)
{
    chooser->items[index].active--;
    chooser->active--;
    update(chooser, index);
}

uint32_t chooser_active(const struct chooser *chooser, uint32_t index)
{
    return chooser->items[index].active;
}

bool chooser_has_room(const struct chooser *chooser, uint32_t index)
{
    return has_room(&chooser->items[index]);
}

bool chooser_is_usable(const struct chooser *chooser, uint32_t index)
{
    return chooser->items[index].is_usable && chooser->items[index].weight > 0;
}

uint32_t chooser_usable(const struct chooser *chooser)
{
    return chooser->usable;
}

/* ---- the schedule ---- */

struct turn {
    uint64_t at; /* place in a round, from 0 to 2^32 */
    uint32_t index;
};

static int compare_turns(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Turns of a candidate in one round. */
static uint32_t turns_of(const struct chooser *chooser, uint32_t index, uint32_t divisor)
{
    const struct candidate *item = &chooser->items[index];
    if (!item->is_usable || item->weight == 0)
        return 0;
    uint64_t sum = chooser->usable_weight / divisor, turns = item->weight / divisor;
    if (sum > SCHEDULE_MOST)
        turns = turns * SCHEDULE_MOST / sum;
    return turns > 0 ? (uint32_t)turns : 1;
}

/* The k-th of w turns stands at (k + 1/2) / w of the round: heavy ones are spread, light ones in
 * the middle, and equal ones follow each other by index. */
static void schedule_build(struct chooser *chooser)
{
    uint32_t divisor = 0, count = 0;
    for (uint32_t i = 0; i < chooser->count; i++)
        if (chooser_is_usable(chooser, i))
            divisor = common_divisor(chooser->items[i].weight, divisor);
    for (uint32_t i = 0; i < chooser->count && divisor > 0; i++)
        count += turns_of(chooser, i, divisor);
    struct turn *turns = memory_new_array(count + 1, sizeof(*turns));
    uint32_t len = 0;
    for (uint32_t i = 0; i < chooser->count && divisor > 0; i++) {
        uint64_t mine = turns_of(chooser, i, divisor);
        for (uint64_t k = 0; k < mine; k++)
            turns[len++] = (struct turn){ ((2 * k + 1) << 31) / mine, i };
    }
    qsort(turns, len, sizeof(*turns), compare_turns);
    memory_free(chooser->schedule);
    chooser->schedule = memory_new_array(len + 1, sizeof(*chooser->schedule));
    for (uint32_t i = 0; i < len; i++)
        chooser->schedule[i] = turns[i].index;
    chooser->schedule_len = len;
    chooser->is_schedule_old = false;
    memory_free(turns);
}

/* ---- choices ---- */

static bool may_take(const struct chooser *chooser, const struct choice *choice, uint32_t index)
{
    return has_room(&chooser->items[index]) && !choice_excludes(choice, index);
}

/* One that starts slowly takes part of its turns only. `step` varies the chance between them. */
static bool takes_turn(const struct candidate *item, uint64_t random, uint32_t step)
{
    return item->share >= CHOOSE_FULL_SHARE ||
           (choose_mix(random + step) & (CHOOSE_FULL_SHARE - 1)) < item->share;
}

static uint32_t pick_in_turn(struct chooser *chooser, const struct choice *choice)
{
    uint32_t second = CHOOSE_NONE;
    for (uint32_t i = 0; i < chooser->schedule_len; i++) {
        uint64_t turn = atomic_fetch_add_explicit(chooser->cursor, 1, memory_order_relaxed);
        uint32_t index = chooser->schedule[turn % chooser->schedule_len];
        if (!may_take(chooser, choice, index))
            continue;
        if (takes_turn(&chooser->items[index], choice->random, i))
            return index;
        if (second == CHOOSE_NONE)
            second = index;
    }
    return second;
}

/* The excluded are taken out for as long as it takes to look below them. */
static uint32_t pick_least(struct chooser *chooser, const struct choice *choice)
{
    uint32_t hidden[CHOOSE_EXCLUDED_MOST], hidden_count = 0, found = CHOOSE_NONE;
    while (chooser->heap_len > 0) {
        found = chooser->heap[0];
        if (!choice_excludes(choice, found))
            break;
        hidden[hidden_count++] = found;
        heap_remove(chooser, found);
        found = CHOOSE_NONE;
    }
    for (uint32_t i = 0; i < hidden_count; i++)
        heap_add(chooser, hidden[i]);
    return found;
}

static uint32_t draw(const struct chooser *chooser, const struct choice *choice, uint64_t *random)
{
    for (int i = 0; i < DRAWS; i++) {
        *random = choose_mix(*random + 1);
        uint32_t index = chooser->schedule[*random % chooser->schedule_len];
        if (may_take(chooser, choice, index))
            return index;
    }
    return CHOOSE_NONE;
}

static uint32_t pick_of_two(struct chooser *chooser, const struct choice *choice)
{
    uint64_t random = choice->random;
    if (chooser->schedule_len == 0)
        return CHOOSE_NONE;
    uint32_t a = draw(chooser, choice, &random), b = draw(chooser, choice, &random);
    for (int i = 0; i < DRAWS && b == a; i++)
        b = draw(chooser, choice, &random);
    if (a == CHOOSE_NONE && b == CHOOSE_NONE) /* nearly all are full: whoever is not */
        return pick_in_turn(chooser, choice);
    if (a == CHOOSE_NONE || b == CHOOSE_NONE)
        return a == CHOOSE_NONE ? b : a;
    return is_less(chooser, b, a) ? b : a;
}

/* A candidate may have 1.25 times its share of all open requests, this one included. */
static bool is_bounded(const struct chooser *chooser, uint32_t index)
{
    const struct candidate *item = &chooser->items[index];
    if (chooser->algorithm != BALANCER_CONSISTENT_HASH)
        return true;
    uint64_t all = 5 * ((uint64_t)chooser->active + 1) * item->weight;
    uint64_t most = (all + 4 * chooser->usable_weight - 1) / (4 * chooser->usable_weight);
    return item->active < most;
}

static uint32_t pick_by_key(struct chooser *chooser, const struct choice *choice)
{
    uint32_t second = CHOOSE_NONE;
    uint64_t key = choose_mix(choice->key);
    if (chooser->usable == 0 || chooser->ring.len == 0)
        return CHOOSE_NONE;
    uint32_t at = ring_find(&chooser->ring, key);
    for (uint32_t i = 0; i < chooser->ring.len; i++) {
        uint32_t index = chooser->ring.points[at].index;
        at = at + 1 < chooser->ring.len ? at + 1 : 0;
        if (!may_take(chooser, choice, index))
            continue;
        /* the key decides who comes to a slow starter early, so that it stays there */
        if (is_bounded(chooser, index) && takes_turn(&chooser->items[index], key, index))
            return index;
        if (second == CHOOSE_NONE)
            second = index;
    }
    return second;
}

uint32_t chooser_pick(struct chooser *chooser, const struct choice *choice)
{
    bool uses_ring =
        chooser->algorithm == BALANCER_IP_HASH || chooser->algorithm == BALANCER_CONSISTENT_HASH;
    if (uses_ring && chooser->is_ring_old) {
        ring_build(&chooser->ring, chooser->items, chooser->count);
        chooser->is_ring_old = false;
    }
    if (!uses_ring && chooser->algorithm != BALANCER_LEAST_CONNECTIONS && chooser->is_schedule_old)
        schedule_build(chooser);
    switch (chooser->algorithm) {
    case BALANCER_ROUND_ROBIN:
        return pick_in_turn(chooser, choice);
    case BALANCER_LEAST_CONNECTIONS:
        return pick_least(chooser, choice);
    case BALANCER_RANDOM_TWO:
        return pick_of_two(chooser, choice);
    case BALANCER_IP_HASH:
    case BALANCER_CONSISTENT_HASH:
        return pick_by_key(chooser, choice);
    }
    return CHOOSE_NONE;
}
