/* The counters of all processes: one block per slot in memory that every process maps. */
#include "process/parent.h"
#include "process/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* A block per slot in its own cache lines, and one more for what is gone. */
struct metrics_block {
    _Alignas(64) struct metrics metrics;
};

struct metrics_block *counters_new(void)
{
    void *memory = mmap(NULL, (SLOT_LIMIT + 1) * sizeof(struct metrics_block),
                        PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fputs("trilith: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void counters_free(struct metrics_block *blocks)
{
    if (blocks != NULL)
        munmap(blocks, (SLOT_LIMIT + 1) * sizeof(struct metrics_block));
}

struct metrics *counters_of(struct metrics_block *blocks, size_t number)
{
    return &blocks[number].metrics;
}

static _Atomic int64_t *entry_of(const struct metrics_block *block, uint32_t entry)
{
    return (_Atomic int64_t *)((char *)&block->metrics + metrics_entries[entry].offset);
}

void counters_reset_gauges(struct metrics_block *blocks, size_t number)
{
    for (uint32_t i = 0; i < metrics_entry_count; i++)
        if (metrics_entries[i].kind == METRICS_GAUGE)
            metrics_set(entry_of(&blocks[number], i), 0);
}

void counters_retire(struct metrics_block *blocks, size_t number)
{
    counters_reset_gauges(blocks, number);
    for (uint32_t i = 0; i < metrics_entry_count; i++) {
        _Atomic int64_t *from = entry_of(&blocks[number], i);
        metrics_add(entry_of(&blocks[SLOT_LIMIT], i), metrics_get(from));
        metrics_set(from, 0);
    }
}

int64_t counters_sum(const struct metrics_block *blocks, uint32_t entry)
{
    int64_t sum = 0;
    for (size_t i = 0; i <= SLOT_LIMIT; i++)
        sum += metrics_get(entry_of(&blocks[i], entry));
    return sum;
}

int64_t process_counter(const struct metrics_block *counters, uint32_t entry)
{
    return counters != NULL ? counters_sum(counters, entry) : 0;
}

int64_t process_gauge_least(const struct metrics_block *counters, uint32_t entry)
{
    int64_t least = 0;
    for (size_t i = 0; counters != NULL && i < SLOT_LIMIT; i++) {
        int64_t value = metrics_get(entry_of(&counters[i], entry));
        if (value != 0 && (least == 0 || value < least))
            least = value;
    }
    return least;
}
