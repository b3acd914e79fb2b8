/*
 * Letting an old generation go: its processes of the app end only when no edge or dns process has a
 * request in it any more, or when the site's drain time is over.
 */
#include "process/parent.h"

#include "core/log.h"
#include "core/memory.h"

static void late(struct loop_timer *timer)
{
    struct retiring *old = list_entry(timer, struct retiring, timer);
    struct parent *parent = old->parent;
    size_t count = 0;
    for (size_t i = 0; i < SLOT_LIMIT; i++)
        count += old->holders[i];
    log_warn("process", "old configuration is still used, not waiting longer",
             INT("generation", (int64_t)old->generation->number), INT("by", (int64_t)count));
    memset(old->holders, 0, sizeof(old->holders));
    loop_defer(parent->loop, &parent->sweep_task);
}

void retire_begin(struct parent *parent, struct generation *generation)
{
    struct retiring *old = NEW(struct retiring);
    old->parent = parent;
    old->generation = generation;
    loop_timer_init(&old->timer, late);
    list_append(&parent->retiring, &old->link);
    list_each (at, &parent->slots) {
        const struct slot *slot = list_entry(at, struct slot, link);
        old->holders[slot->number] = slot->role->reload == RELOAD_SWAP && !slot->is_new &&
                                     slot->pid > 0 && slot->state != SLOT_STARTING;
    }
    loop_timer_start(parent->loop, &old->timer, generation->site->web.timeouts.drain);
    loop_defer(parent->loop, &parent->sweep_task);
}

void retire_released(struct parent *parent, struct slot *slot, uint64_t generation)
{
    list_each (at, &parent->retiring) {
        struct retiring *old = list_entry(at, struct retiring, link);
        if (old->generation->number == generation)
            old->holders[slot->number] = false;
    }
    loop_defer(parent->loop, &parent->sweep_task);
}

void retire_forget(struct parent *parent, struct slot *slot)
{
    list_each (at, &parent->retiring)
        list_entry(at, struct retiring, link)->holders[slot->number] = false;
    loop_defer(parent->loop, &parent->sweep_task);
}

static bool is_held(const struct retiring *old)
{
    for (size_t i = 0; i < SLOT_LIMIT; i++)
        if (old->holders[i])
            return true;
    return false;
}

/* Its own processes, still there in any state; asks them to stop when `stop`. */
static size_t own_slots(struct parent *parent, const struct retiring *old, bool stop)
{
    size_t count = 0;
    list_each (at, &parent->slots) {
        struct slot *slot = list_entry(at, struct slot, link);
        if (slot->role->reload != RELOAD_REPLACE || slot->is_new ||
            slot->generation != old->generation->number)
            continue;
        count++;
        if (stop)
            slot_stop(slot);
    }
    return count;
}

static void retire_free(struct parent *parent, struct retiring *old)
{
    loop_timer_stop(parent->loop, &old->timer);
    list_remove(&old->link);
    generation_free(old->generation);
    memory_free(old);
}

void retire_advance(struct parent *parent)
{
    list_each (at, &parent->retiring) {
        struct retiring *old = list_entry(at, struct retiring, link);
        if (!old->is_stopping && !is_held(old)) {
            old->is_stopping = true;
            loop_timer_stop(parent->loop, &old->timer);
            own_slots(parent, old, true);
        }
        if (old->is_stopping && own_slots(parent, old, false) == 0) {
            log_info("process", "old configuration released",
                     INT("generation", (int64_t)old->generation->number));
            retire_free(parent, old);
        }
    }
}

void retire_free_all(struct parent *parent)
{
    list_each (at, &parent->retiring)
        retire_free(parent, list_entry(at, struct retiring, link));
}
