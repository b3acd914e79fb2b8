/*
 * Stopping everything in reverse start order, a level at a time: edges and dns finish what they
 * have, then the application ends, then the database cleanly, the log last so that nothing is lost.
 */
#include "process/parent.h"

#include "core/log.h"

#include <limits.h>

void stop_begin(struct parent *parent, int exit_status)
{
    if (parent->is_stopping)
        return;
    parent->is_stopping = true;
    parent->exit_status = exit_status;
    notify_systemd("STOPPING=1");
    log_info("process", "stops");
    probe_stop(parent);
    loop_timer_stop(parent->loop, &parent->replace_timer);
    loop_timer_stop(parent->loop, &parent->change.timer);
    parent->change.step = CHANGE_NONE;
    control_answer_change(parent, ERR_CANCELLED, T("the site is being stopped"));
    list_each (at, &parent->slots)
        list_entry(at, struct slot, link)->is_new = false;
    loop_defer(parent->loop, &parent->sweep_task);
}

static int highest_level(const struct parent *parent)
{
    int level = INT_MIN;
    list_each (at, &parent->slots) {
        const struct slot *slot = list_entry(at, struct slot, link);
        if (slot->role->start_order > level)
            level = slot->role->start_order;
    }
    return level;
}

void stop_advance(struct parent *parent)
{
    if (!parent->is_stopping)
        return;
    int level = highest_level(parent);
    list_each (at, &parent->slots) {
        struct slot *slot = list_entry(at, struct slot, link);
        if (slot->role->start_order != level)
            continue;
        if (parent->is_hurried && slot->role != &log_role)
            slot_kill(slot);
        else
            slot_stop(slot);
    }
    if (list_is_empty(&parent->slots))
        loop_stop(parent->loop);
}

void stop_hurry(struct parent *parent)
{
    if (parent->is_hurried)
        return;
    log_warn("process", "stops at once: open requests are cut off");
    parent->is_hurried = true;
    stop_advance(parent);
}
