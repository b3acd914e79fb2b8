/* The messages of a role that swaps generations inside its process (swap.h). */
#include "process/swap.h"

#include "core/log.h"
#include "core/sys.h"

#include <stddef.h>

static void forget_next(struct swap *swap)
{
    if (swap->next == NULL)
        return;
    if (swap->steps->forget != NULL)
        swap->steps->forget(swap);
    generation_free(swap->next);
    swap->next = NULL;
}

static enum err make_ready(struct swap *swap, struct generation *generation, struct why *why)
{
    enum err err = OK;
    forget_next(swap);
    if (swap->steps->build != NULL)
        err = swap->steps->build(swap, generation, why);
    if (err != OK) {
        process_send(swap->self, MESSAGE_FAILED, generation->number, text_of(why->text));
        generation_free(generation);
        return err;
    }
    swap->next = generation;
    process_send(swap->self, MESSAGE_READY, generation->number, T(""));
    return OK;
}

static void serve_next(struct swap *swap)
{
    struct why why = { "" };
    struct generation *old = swap->live;
    if (swap->steps->use(swap, swap->next, &why) != OK) {
        log_error(swap->steps->area, "cannot use the new configuration", STRING("why", why.text));
        forget_next(swap);
        return;
    }
    swap->live = swap->next;
    swap->next = NULL;
    if (old != NULL)
        process_send(swap->self, MESSAGE_RELEASED, old->number, T(""));
    if (old == swap->self->first)
        swap->self->first = NULL;
    generation_free(old);
    if (swap->steps->used != NULL)
        swap->steps->used(swap);
}

/* ---- messages ---- */

static bool is_next(const struct swap *swap, const struct message *message)
{
    return swap->next != NULL && swap->next->number == message->generation;
}

static void end(struct swap *swap, bool is_patient)
{
    if (is_patient && swap->steps->drain != NULL)
        swap->steps->drain(swap);
    else
        loop_stop(swap->loop);
}

static void handle(struct swap *swap, const struct message *message, struct generation *generation)
{
    struct why why = { "" };
    enum err ignored = OK; /* the parent was told */
    switch (message->type) {
    case MESSAGE_CONFIG:
        ignored = make_ready(swap, generation, &why);
        break;
    case MESSAGE_COMMIT:
        if (is_next(swap, message))
            serve_next(swap);
        break;
    case MESSAGE_DISCARD:
        if (is_next(swap, message))
            forget_next(swap);
        break;
    case MESSAGE_DRAIN:
    case MESSAGE_STOP:
        end(swap, message->type == MESSAGE_DRAIN);
        break;
    case MESSAGE_READY:
    case MESSAGE_FAILED:
    case MESSAGE_RELEASED:
    case MESSAGE_WORKERS:
    case MESSAGE_NOTE:
    case MESSAGE_LOG_PIPE:
    case MESSAGE_FILES: /* no role of this kind watches any */
    case MESSAGE_TAKEN:
    case MESSAGE_LAST:
        break; /* never to a role of this kind */
    }
    (void)ignored;
}

/* One message. False when there is none now. */
static bool read_message(struct swap *swap)
{
    struct message message = { 0 };
    struct generation *generation = NULL;
    struct why why = { "" };
    enum err err = process_receive(swap->self, &message, swap->buffer, sizeof(swap->buffer),
                                   &generation, &why);
    if (err == ERR_BUSY)
        return false;
    if (err != OK && message.type == MESSAGE_CONFIG) { /* refused, and what serves goes on */
        log_error(swap->steps->area, "bad configuration", STRING("why", why.text));
        process_send(swap->self, MESSAGE_FAILED, message.generation, text_of(why.text));
        return true;
    }
    if (err == ERR_PROTOCOL)
        return true; /* that packet is gone, the next may be good */
    if (err != OK) { /* the parent is gone, and so should we be */
        loop_stop(swap->loop);
        return false;
    }
    handle(swap, &message, generation);
    if (generation == NULL)
        for (size_t i = 0; i < message.fd_count; i++)
            fd_close(&message.fds[i]);
    return true;
}

static void channel_ready(struct loop_watch *watch, unsigned events)
{
    struct swap *swap = list_entry(watch, struct swap, channel);
    (void)events;
    while (read_message(swap))
        continue;
}

/* ---- start ---- */

static enum err attend(struct swap *swap, const struct swap_steps *steps, struct process *self,
                       struct loop *loop, struct why *why)
{
    swap->steps = steps;
    swap->self = self;
    swap->loop = loop;
    enum err err = loop_watch_start(loop, &swap->channel, self->channel, LOOP_READ, channel_ready);
    if (err == OK)
        return OK;
    fail(why, err, "cannot watch the channel to the parent");
    process_send(self, MESSAGE_FAILED, self->first->number, text_of(why->text));
    return err;
}

enum err swap_start(struct swap *swap, const struct swap_steps *steps, struct process *self,
                    struct loop *loop, struct why *why)
{
    enum err err = attend(swap, steps, self, loop, why);
    if (err != OK)
        return err;
    struct generation *first = self->first;
    self->first = NULL; /* ours from here on */
    err = make_ready(swap, first, why);
    if (err == OK && self->is_replay)
        serve_next(swap);
    return err;
}

enum err swap_start_serving(struct swap *swap, const struct swap_steps *steps, struct process *self,
                            struct loop *loop, struct why *why)
{
    enum err err = attend(swap, steps, self, loop, why);
    if (err == OK)
        swap->live = self->first;
    return err;
}
