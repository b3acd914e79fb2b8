#ifndef BALANCER_CHOOSE_H
#define BALANCER_CHOOSE_H

/*
 * Which of several backends gets the next request: the algorithms, and nothing else. Pure: no
 * clock, no descriptor, no knowledge of HTTP; layer 7 and layer 4 use the same.
 *
 *   round-robin        a schedule in which the turns of a heavy one are spread evenly; one step
 *   least-connections  a heap by requests per weight, ties by who waited longest; O(log n)
 *   random-two         two drawn by weight, the less busy of them; one step
 *   ip-hash            a ring of points by name, found through a table; one step
 *   consistent-hash    the same, and nobody gets more than 1.25 times his share of what is open
 *
 * Nothing on the way of a request walks over all candidates, unless nearly all are full. What is
 * usable changes seldom: schedules are built again at the next choice after that.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum balancer_algorithm {
    BALANCER_ROUND_ROBIN,
    BALANCER_LEAST_CONNECTIONS,
    BALANCER_RANDOM_TWO,
    BALANCER_IP_HASH,
    BALANCER_CONSISTENT_HASH,
};

enum {
    CHOOSE_NONE = UINT32_MAX,
    CHOOSE_FULL_SHARE = 1024,
    CHOOSE_WEIGHT_MOST = 1000,
    CHOOSE_EXCLUDED_MOST = 8,
};

struct chooser;

/* What one choice depends on. */
struct choice {
    uint64_t key;    /* of the hashing algorithms: choose_hash of an address, a path... */
    uint64_t random; /* any bits; for random-two and slow start */
    uint32_t excluded[CHOOSE_EXCLUDED_MOST]; /* were tried already */
    uint32_t excluded_count;
};

static inline bool choice_excludes(const struct choice *choice, uint32_t index)
{
    for (uint32_t i = 0; i < choice->excluded_count; i++)
        if (choice->excluded[i] == index)
            return true;
    return false;
}

/* count candidates, with weight 0 until chooser_set. */
struct chooser *chooser_new(enum balancer_algorithm algorithm, uint32_t count);
void chooser_free(struct chooser *chooser); /* accepts NULL */

/* Several processes that take turns together use one cursor in shared memory; it must outlive the
 * chooser. */
void chooser_share(struct chooser *chooser, _Atomic uint64_t *cursor);

/* name_hash: of what the candidate is called, so that its points on the ring stay where they are
 * when others come and go. weight: 0 (gets nothing) to CHOOSE_WEIGHT_MOST. */
void chooser_set(struct chooser *chooser, uint32_t index, uint64_t name_hash, uint32_t weight);
/* Usable or not, whatever the weight. */
void chooser_use(struct chooser *chooser, uint32_t index, bool is_usable);
/* At most so many open requests. */
void chooser_limit(struct chooser *chooser, uint32_t index, uint32_t limit);
/* Of its weight, 1 to CHOOSE_FULL_SHARE: less while it starts slowly. */
void chooser_share_set(struct chooser *chooser, uint32_t index, uint32_t share);

/* The candidate, or CHOOSE_NONE when no usable one has room (but for the excluded). It is not
 * entered yet. */
uint32_t chooser_pick(struct chooser *chooser, const struct choice *choice);

/* A request is with the candidate; it is not any more. */
void chooser_enter(struct chooser *chooser, uint32_t index);
void chooser_leave(struct chooser *chooser, uint32_t index);

uint32_t chooser_active(const struct chooser *chooser, uint32_t index);
bool chooser_has_room(const struct chooser *chooser, uint32_t index);
bool chooser_is_usable(const struct chooser *chooser, uint32_t index);
/* How many candidates are usable and have a weight. */
uint32_t chooser_usable(const struct chooser *chooser);

/* 64 well-mixed bits of any bytes; not secret. */
uint64_t choose_hash(const void *data, size_t len);

#endif
