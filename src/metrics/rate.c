/*
 * The table of rates; see rate.h.
 *
 * A place is two words: the key, and the time at which the credit of its owner is whole again
 * ("full time" here, TAT in papers on GCRA). A place whose full time has passed is as good as
 * empty.
 */
#include "metrics/rate.h"

#include "core/sys.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { WAYS = 8 };

struct place {
    _Atomic uint64_t key; /* 0: none */
    _Atomic int64_t full_us;
};

struct rate_table {
    uint64_t secret[2];
    _Alignas(64) struct place places[RATE_PLACES];
};

struct rate_table *rate_table_new(void)
{
    struct rate_table *table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (table == MAP_FAILED) {
        fputs("trilith: out of memory\n", stderr);
        abort();
    }
    sys_random(table->secret, sizeof(table->secret));
    return table;
}

void rate_table_free(struct rate_table *table)
{
    if (table != NULL)
        munmap(table, sizeof(*table));
}

/* ---- SipHash-1-3, for keys that outsiders choose ---- */

static uint64_t turn_left(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static void mix(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = turn_left(v[1], 13) ^ v[0];
    v[0] = turn_left(v[0], 32);
    v[2] += v[3];
    v[3] = turn_left(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = turn_left(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = turn_left(v[1], 17) ^ v[2];
    v[2] = turn_left(v[2], 32);
}

static void add_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    mix(v);
    v[0] ^= word;
}

uint64_t rate_key(const struct rate_table *table, uint64_t what, const void *who, size_t len)
{
    uint64_t v[4] = {
        table->secret[0] ^ UINT64_C(0x736f6d6570736575),
        table->secret[1] ^ UINT64_C(0x646f72616e646f6d),
        table->secret[0] ^ UINT64_C(0x6c7967656e657261),
        table->secret[1] ^ UINT64_C(0x7465646279746573),
    };
    add_word(v, what);
    const uint8_t *at = who;
    size_t left = len;
    for (; left >= 8; left -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        add_word(v, word);
    }
    uint64_t last = (uint64_t)len << 56;
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)at[i] << 8 * i;
    add_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        mix(v);
    uint64_t key = v[0] ^ v[1] ^ v[2] ^ v[3];
    return key != 0 ? key : 1;
}

/* ---- places ---- */

/* The place of the key; a new one when it has none. */
static struct place *place_of(struct rate_table *table, uint64_t key)
{
    struct place *set = &table->places[key % (RATE_PLACES / WAYS) * WAYS];
    struct place *soonest = set;
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < WAYS; i++) {
        if (atomic_load_explicit(&set[i].key, memory_order_relaxed) == key)
            return &set[i];
        int64_t full = atomic_load_explicit(&set[i].full_us, memory_order_relaxed);
        if (full < least) {
            least = full;
            soonest = &set[i];
        }
    }
    /* the time first: whoever sees the key sees no more of its predecessor's debt */
    atomic_store_explicit(&soonest->full_us, 0, memory_order_relaxed);
    atomic_store_explicit(&soonest->key, key, memory_order_release);
    return soonest;
}

bool rate_take(struct rate_table *table, uint64_t key, const struct rate *rate, int64_t now_us,
               int64_t *wait_us_out)
{
    struct place *place = place_of(table, key);
    int64_t credit_us = rate->interval_us * rate->burst;
    int64_t full = atomic_load_explicit(&place->full_us, memory_order_relaxed);
    int64_t next;
    do {
        next = (full > now_us ? full : now_us) + rate->interval_us;
        if (next - now_us > credit_us) {
            *wait_us_out = next - now_us - credit_us;
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&place->full_us, &full, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}
