#ifndef CORE_LIST_H
#define CORE_LIST_H

/*
 * Intrusive doubly linked ring. A struct that can be in a list embeds a struct list; a list head is
 * one too. list_init makes it a ring of itself, which is also the state of an item in no list, so
 * list_remove may be called twice.
 */

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *previous;
};

static inline void list_init(struct list *list)
{
    list->next = list;
    list->previous = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

/* Appends item (which must be in no list) at the end of the ring that head starts. */
static inline void list_append(struct list *head, struct list *item)
{
    item->next = head;
    item->previous = head->previous;
    head->previous->next = item;
    head->previous = item;
}

static inline void list_prepend(struct list *head, struct list *item)
{
    list_append(head->next, item);
}

static inline void list_remove(struct list *item)
{
    item->previous->next = item->next;
    item->next->previous = item->previous;
    list_init(item);
}

/* The struct that embeds `item` as `member`. */
#define list_entry(item, type, member) ((type *)((char *)(item)-offsetof(type, member)))

/* First entry or NULL. */
#define list_first(head, type, member)                                                             \
    (list_is_empty(head) ? NULL : list_entry((head)->next, type, member))

/* Walks all; the current item may be removed, no other. */
#define list_each(at, head)                                                                        \
    for (struct list *at = (head)->next, *at##_next = at->next; at != (head);                      \
         at = at##_next, at##_next = at->next)

#endif
