/* See table.h. A place is written between two steps of its sequence number; odd: being written, 0:
 * empty. */
#include "process/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct place {
    _Atomic uint32_t sequence;
    struct process_view view;
};

struct process_table {
    _Atomic uint64_t generation;
    struct place places[PROCESS_TABLE_SIZE];
};

struct process_table *process_table_new(void)
{
    void *memory = mmap(NULL, sizeof(struct process_table), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fputs("trilith: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void process_table_free(struct process_table *table)
{
    if (table != NULL)
        munmap(table, sizeof(*table));
}

void process_table_write(struct process_table *table, size_t at, const struct process_view *view)
{
    struct place *place = &table->places[at];
    uint32_t sequence = atomic_load(&place->sequence);
    atomic_store(&place->sequence, sequence | 1);
    atomic_thread_fence(memory_order_seq_cst);
    place->view = *view;
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t next = (sequence | 1) + 1;
    atomic_store(&place->sequence, next != 0 ? next : 2);
}

void process_table_clear(struct process_table *table, size_t at)
{
    atomic_store(&table->places[at].sequence, 0);
}

void process_table_serve(struct process_table *table, uint64_t generation)
{
    atomic_store(&table->generation, generation);
}

bool process_table_read(const struct process_table *table, size_t at, struct process_view *view_out)
{
    struct process_view view;
    if (table == NULL)
        return false;
    const struct place *place = &table->places[at];
    uint32_t before = atomic_load(&place->sequence);
    if (before == 0 || before % 2 != 0)
        return false;
    memcpy(&view, &place->view, sizeof(view));
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&place->sequence) != before)
        return false;
    view.title[sizeof(view.title) - 1] = '\0';
    *view_out = view;
    return true;
}

uint64_t process_table_generation(const struct process_table *table)
{
    return table != NULL ? atomic_load(&table->generation) : 0;
}
