/*
 * Timers: a hierarchical wheel of 6 levels with 64 slots each, 1 ms to 2 years. Start and stop
 * touch one list; a bitmap per level finds the next used slot without a search. A timer is moved
 * down at most once per level in its life.
 */
#include "core/loop_private.h"

enum { TOP_SHIFT = WHEEL_BITS * (WHEEL_LEVELS - 1) };

void wheel_init(struct wheel *wheel, int64_t now_ms)
{
    wheel->now_ms = now_ms;
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        wheel->used[level] = 0;
        for (int slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
    }
    list_init(&wheel->soon);
    list_init(&wheel->due);
}

static int level_of(int64_t due_ms, int64_t now_ms)
{
    uint64_t differs = (uint64_t)(due_ms ^ now_ms) | (WHEEL_SLOTS - 1);
    return (63 - __builtin_clzll(differs)) / WHEEL_BITS;
}

void wheel_insert(struct wheel *wheel, struct loop_timer *timer)
{
    if (timer->due_ms <= wheel->now_ms) {
        list_append(&wheel->soon, &timer->link);
        return;
    }
    int level = level_of(timer->due_ms, wheel->now_ms);
    int64_t due_ms = timer->due_ms;
    if (level >= WHEEL_LEVELS) { /* beyond the wheel (years): looked at again when it comes round */
        int64_t limit_ms = wheel->now_ms + ((int64_t)(WHEEL_SLOTS - 1) << TOP_SHIFT);
        level = WHEEL_LEVELS - 1;
        due_ms = due_ms < limit_ms ? due_ms : limit_ms;
    }
    int slot = (int)(due_ms >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1);
    list_append(&wheel->slots[level][slot], &timer->link);
    wheel->used[level] |= UINT64_C(1) << slot;
}

/* Start time of the next used slot on this level, -1 if there is none. */
static int64_t level_next_ms(const struct wheel *wheel, int level)
{
    uint64_t used = wheel->used[level];
    if (used == 0)
        return -1;
    int shift = WHEEL_BITS * level;
    int64_t digit = wheel->now_ms >> shift;
    int at = (int)(digit & (WHEEL_SLOTS - 1));
    /* rotated so that bit 0 is the slot behind the current one */
    int turn = (at + 1) & (WHEEL_SLOTS - 1);
    uint64_t rotated = turn == 0 ? used : used >> turn | used << (WHEEL_SLOTS - turn);
    return (digit + 1 + __builtin_ctzll(rotated)) << shift;
}

/* The next used slot: its time (-1: none) and level. A higher level is first when both start at the
 * same time, because its timers may belong to the lower slot. */
static int64_t next_slot(const struct wheel *wheel, int *level_out)
{
    int64_t next_ms = -1;
    for (int level = WHEEL_LEVELS - 1; level >= 0; level--) {
        int64_t at_ms = level_next_ms(wheel, level);
        if (at_ms >= 0 && (next_ms < 0 || at_ms < next_ms)) {
            next_ms = at_ms;
            *level_out = level;
        }
    }
    return next_ms;
}

int64_t wheel_next_ms(const struct wheel *wheel)
{
    int level = 0;
    if (!list_is_empty(&wheel->soon))
        return wheel->now_ms;
    return next_slot(wheel, &level);
}

/* Appends all of `from` to `to` and empties it. */
static void list_move(struct list *to, struct list *from)
{
    list_each (item, from) {
        list_remove(item);
        list_append(to, item);
    }
}

static void take_slot(struct wheel *wheel, int level, int64_t at_ms)
{
    int slot = (int)(at_ms >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1);
    struct list taken;
    list_init(&taken);
    list_move(&taken, &wheel->slots[level][slot]);
    wheel->used[level] &= ~(UINT64_C(1) << slot);
    wheel->now_ms = at_ms;
    list_each (item, &taken) {
        struct loop_timer *timer = list_entry(item, struct loop_timer, link);
        list_remove(item);
        if (timer->due_ms <= at_ms)
            list_append(&wheel->due, item);
        else
            wheel_insert(wheel, timer);
    }
}

void wheel_run(struct wheel *wheel, int64_t now_ms)
{
    int level = 0;
    list_move(&wheel->due, &wheel->soon);
    for (;;) {
        int64_t at_ms = next_slot(wheel, &level);
        if (at_ms < 0 || at_ms > now_ms)
            break;
        take_slot(wheel, level, at_ms);
    }
    if (now_ms > wheel->now_ms)
        wheel->now_ms = now_ms;
    while (!list_is_empty(&wheel->due)) {
        struct loop_timer *timer = list_first(&wheel->due, struct loop_timer, link);
        list_remove(&timer->link);
        timer->run(timer);
    }
}

void loop_timer_init(struct loop_timer *timer, void (*run)(struct loop_timer *timer))
{
    list_init(&timer->link);
    timer->due_ms = 0;
    timer->run = run;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, int64_t after_ms)
{
    list_remove(&timer->link);
    timer->due_ms = loop->now_ms + (after_ms > 0 ? after_ms : 0);
    wheel_insert(&loop->wheel, timer);
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    list_remove(&timer->link);
}

bool loop_timer_is_running(const struct loop_timer *timer)
{
    return !list_is_empty(&timer->link);
}
