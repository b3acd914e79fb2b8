/* See board.h. An entry's name is written before its kind, and never while its kind is set, so a
 * reader that sees the kind sees the whole name. */
#include "metrics/board.h"

#include "core/memory.h"
#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct board {
    _Atomic uint32_t is_used[BOARD_LANES]; /* reading the others would give them pages */
    struct {
        _Alignas(64) _Atomic uint64_t at; /* a cache line each: all processes write it */
    } cursors[BOARD_CURSORS];
    struct board_series series[BOARD_LANES][BOARD_ENTRIES];
};

struct board *board_new(void)
{
    /* pages come with their first use; most lanes have none */
    void *memory = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        fputs("trilith: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void board_free(struct board *board)
{
    if (board != NULL)
        munmap(board, sizeof(struct board));
}

static void zero_gauges(struct board_series *series)
{
    if (atomic_load(&series->kind) == BOARD_APP) {
        metrics_set(&series->values[APP_QUEUE], 0);
        metrics_set(&series->values[APP_BUSY], 0);
    }
}

void board_lane_start(struct board *board, size_t lane)
{
    if (board == NULL || lane >= BOARD_LANES || atomic_load(&board->is_used[lane]) == 0)
        return;
    for (size_t i = 0; i < BOARD_ENTRIES; i++) {
        struct board_series *series = &board->series[lane][i];
        if (atomic_load(&series->kind) == BOARD_NONE)
            continue;
        atomic_store(&series->users, 0);
        zero_gauges(series);
    }
}

static void take(struct board_series *series, enum board_kind kind, const char *name, size_t len)
{
    bool was_used = atomic_load(&series->kind) != BOARD_NONE; /* new memory is zero */
    atomic_store(&series->kind, BOARD_NONE);
    for (size_t i = 0; was_used && i < BOARD_VALUES; i++)
        metrics_set(&series->values[i], 0);
    for (size_t i = 0; was_used && i < BOARD_HISTOGRAMS; i++)
        histogram_clear(&series->histograms[i]);
    memset(series->name, 0, sizeof(series->name));
    memcpy(series->name, name, len);
    atomic_store(&series->kind, kind);
}

struct board_series *board_use(struct board *board, size_t lane, enum board_kind kind,
                               const char *name, size_t name_len)
{
    if (board == NULL || lane >= BOARD_LANES)
        return NULL;
    atomic_store(&board->is_used[lane], 1);
    struct board_series *first = board->series[lane], *last = &first[BOARD_ENTRIES - 1];
    struct board_series *found = NULL, *unused = NULL, *empty = NULL;
    size_t len = name_len < BOARD_NAME_SIZE ? name_len : BOARD_NAME_SIZE - 1;
    for (struct board_series *at = first; at < last && empty == NULL && found == NULL; at++) {
        enum board_kind has = (enum board_kind)atomic_load(&at->kind);
        if (has == kind && strncmp(at->name, name, len) == 0 && at->name[len] == '\0')
            found = at;
        else if (has == BOARD_NONE)
            empty = at;
        else if (unused == NULL && atomic_load(&at->users) == 0)
            unused = at;
    }
    if (found == NULL) {
        found = empty != NULL ? empty : unused;
        if (found != NULL)
            take(found, kind, name, len);
    }
    if (found == NULL) {
        found = last;
        if (atomic_load(&last->kind) != kind)
            take(last, kind, "others", strlen("others"));
    }
    atomic_fetch_add(&found->users, 1);
    return found;
}

void board_leave(struct board_series *series)
{
    if (series != NULL && atomic_load(&series->users) > 0)
        atomic_fetch_sub(&series->users, 1);
}

_Atomic uint64_t *board_cursor(struct board *board, const char *name, size_t name_len)
{
    if (board == NULL)
        return NULL;
    return &board->cursors[text_hash(text_from(name, name_len)) % BOARD_CURSORS].at;
}

/* ---- readers ---- */

static void add_series(const struct board_series *series, struct board_sum *sum)
{
    for (size_t i = 0; i < BOARD_VALUES; i++)
        sum->values[i] += metrics_get(&series->values[i]);
    for (size_t i = 0; i < BOARD_HISTOGRAMS; i++)
        histogram_collect(&series->histograms[i], &sum->histograms[i]);
}

static bool is_same(const struct board_series *one, const struct board_series *other)
{
    return atomic_load(&one->kind) == atomic_load(&other->kind) &&
           strncmp(one->name, other->name, BOARD_NAME_SIZE) == 0;
}

/* The next entry of a lane that has a name, from `at` on; NULL behind the last one. */
static const struct board_series *next_named(const struct board *board, size_t lane, size_t at)
{
    if (atomic_load(&board->is_used[lane]) == 0)
        return NULL;
    for (; at < BOARD_ENTRIES; at++) {
        if (atomic_load(&board->series[lane][at].kind) != BOARD_NONE)
            return &board->series[lane][at];
        if (at + 1 < BOARD_ENTRIES)
            at = BOARD_ENTRIES - 2; /* they are taken in order; the last one is apart */
    }
    return NULL;
}

static size_t place_of(const struct board *board, size_t lane, const struct board_series *series)
{
    return (size_t)(series - board->series[lane]);
}

/* The entry of that name in a lane, or NULL. */
static const struct board_series *find(const struct board *board, size_t lane,
                                       const struct board_series *like)
{
    const struct board_series *at = next_named(board, lane, 0);
    while (at != NULL && !is_same(at, like))
        at = next_named(board, lane, place_of(board, lane, at) + 1);
    return at;
}

/* Whether it was in the sum of a lane before this one. */
static bool was_seen(const struct board *board, size_t lane, const struct board_series *series)
{
    for (size_t before = 0; before < lane; before++) {
        const struct board_series *same = find(board, before, series);
        if (same != NULL && atomic_load(&same->users) > 0)
            return true;
    }
    return false;
}

static void sum_up(const struct board *board, const struct board_series *series,
                   struct board_sum *sum)
{
    memset(sum, 0, sizeof(*sum));
    sum->kind = (enum board_kind)atomic_load(&series->kind);
    memcpy(sum->name, series->name, BOARD_NAME_SIZE);
    sum->name[BOARD_NAME_SIZE - 1] = '\0';
    for (size_t lane = 0; lane < BOARD_LANES; lane++) {
        const struct board_series *same = find(board, lane, series);
        if (same != NULL)
            add_series(same, sum);
    }
}

void board_each(const struct board *board, void (*each)(void *context, const struct board_sum *sum),
                void *context)
{
    struct board_sum *sum = NEW(struct board_sum);
    for (size_t lane = 0; board != NULL && lane < BOARD_LANES; lane++) {
        const struct board_series *at = next_named(board, lane, 0);
        for (; at != NULL; at = next_named(board, lane, place_of(board, lane, at) + 1)) {
            if (atomic_load(&at->users) == 0 || was_seen(board, lane, at))
                continue;
            sum_up(board, at, sum);
            each(context, sum);
        }
    }
    memory_free(sum);
}
