#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

/*
 * Heap memory. Small allocations do not fail: the process ends with a message (a supervisor starts
 * it again). What outsiders can make large has a limit where it is created: core/buffer.h and
 * core/arena.h. malloc and free are not called anywhere else.
 */

#include <stddef.h>

/* size bytes, zeroed, owned by the caller until memory_free. Never NULL. */
void *memory_new(size_t size) __attribute__((returns_nonnull, alloc_size(1)));

/* count zeroed items of size bytes; the product is checked. Never NULL. */
void *memory_new_array(size_t count, size_t size) __attribute__((returns_nonnull));

/* Like realloc, never NULL. New bytes are not zeroed. */
void *memory_resize(void *memory, size_t size) __attribute__((returns_nonnull));

/* A NUL-terminated copy owned by the caller. */
char *memory_copy_string(const char *string) __attribute__((returns_nonnull));

/* Accepts NULL. */
void memory_free(void *memory);

/* Allocations made so far, for tests that show that a path makes none. */
size_t memory_count(void);

/* For AUTO(memory_drop) on a `char *` or `void *` local: frees what it points to. */
void memory_drop(void *pointer_to_pointer);

#define NEW(type) ((type *)memory_new(sizeof(type)))

#endif
