#ifndef CORE_ARENA_H
#define CORE_ARENA_H

/*
 * Memory that is freed all at once: a connection's, a request's, a configuration generation's.
 * Every arena has a limit in bytes; only reaching it makes an allocation NULL, and the caller
 * answers that with the error of its protocol (431, 503, REFUSED...).
 */

#include "core/error.h"
#include "core/text.h"

struct arena;

/* An arena that will hold at most limit_bytes. block_bytes: size of its first blocks (0: 4096). */
struct arena *arena_new(size_t limit_bytes, size_t block_bytes);

/* Runs the deferred calls, last one first, and frees everything. Accepts NULL. */
void arena_free(struct arena *arena);

/* Like free followed by new, but keeps the first block: nothing is allocated in the steady state.
 */
void arena_reset(struct arena *arena);

/* size zeroed bytes aligned for any type, or NULL over the limit. */
void *arena_alloc(struct arena *arena, size_t size);

/* size bytes, not zeroed, aligned to 1. */
char *arena_bytes(struct arena *arena, size_t size);

/* Copies; the result is NUL-terminated behind its length. data is NULL over the limit. */
struct text arena_copy(struct arena *arena, struct text text);

/* Formats; data is NULL over the limit. */
struct text arena_print(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

/* function(argument) is called when the arena is freed or reset. False over the limit. */
bool arena_defer(struct arena *arena, void (*function)(void *), void *argument);

/* Bytes handed out since the last reset. */
size_t arena_used(const struct arena *arena);

#define ARENA_NEW(arena, type) ((type *)arena_alloc((arena), sizeof(type)))

#endif
