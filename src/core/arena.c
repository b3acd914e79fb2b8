/* A chain of blocks, newest first; the first block is kept over a reset. */
#include "core/arena.h"

#include "core/memory.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

struct block {
    struct block *older;
    size_t size;
    size_t used;
    alignas(max_align_t) char data[];
};

struct deferred {
    struct deferred *older;
    void (*function)(void *);
    void *argument;
};

struct arena {
    struct block *newest;
    struct deferred *deferred;
    size_t limit;
    size_t used;
    size_t block_bytes;
};

static struct block *block_new(size_t size)
{
    struct block *block = memory_new(sizeof(struct block) + size);
    block->size = size;
    return block;
}

struct arena *arena_new(size_t limit_bytes, size_t block_bytes)
{
    struct arena *arena = NEW(struct arena);
    arena->limit = limit_bytes;
    arena->block_bytes = block_bytes > 0 ? block_bytes : 4096;
    arena->newest = block_new(arena->block_bytes);
    return arena;
}

static void run_deferred(struct arena *arena)
{
    while (arena->deferred != NULL) {
        struct deferred *deferred = arena->deferred;
        arena->deferred = deferred->older;
        deferred->function(deferred->argument);
    }
}

void arena_reset(struct arena *arena)
{
    run_deferred(arena);
    while (arena->newest->older != NULL) {
        struct block *block = arena->newest;
        arena->newest = block->older;
        memory_free(block);
    }
    arena->newest->used = 0;
    arena->used = 0;
}

void arena_free(struct arena *arena)
{
    if (arena == NULL)
        return;
    arena_reset(arena);
    memory_free(arena->newest);
    memory_free(arena);
}

static char *take(struct arena *arena, size_t size, size_t align)
{
    struct block *block = arena->newest;
    size_t start = (block->used + align - 1) & ~(align - 1);
    if (size > arena->limit || arena->used > arena->limit - size)
        return NULL;
    if (start > block->size || size > block->size - start) {
        block = block_new(size > arena->block_bytes ? size : arena->block_bytes);
        block->older = arena->newest;
        arena->newest = block;
        start = 0;
    }
    block->used = start + size;
    arena->used += size;
    return block->data + start;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    char *memory = take(arena, size, alignof(max_align_t));
    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}

char *arena_bytes(struct arena *arena, size_t size)
{
    return take(arena, size, 1);
}

struct text arena_copy(struct arena *arena, struct text text)
{
    char *memory = text.len < SIZE_MAX ? take(arena, text.len + 1, 1) : NULL;
    if (memory == NULL)
        return (struct text){ NULL, 0 };
    if (text.len > 0)
        memcpy(memory, text.data, text.len);
    memory[text.len] = '\0';
    return (struct text){ memory, text.len };
}

struct text arena_print(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *memory = len >= 0 ? take(arena, (size_t)len + 1, 1) : NULL;
    if (memory != NULL)
        vsnprintf(memory, (size_t)len + 1, format, again);
    va_end(again);
    return (struct text){ memory, memory != NULL ? (size_t)len : 0 };
}

bool arena_defer(struct arena *arena, void (*function)(void *), void *argument)
{
    struct deferred *deferred = arena_alloc(arena, sizeof(*deferred));
    if (deferred == NULL)
        return false;
    *deferred = (struct deferred){ arena->deferred, function, argument };
    arena->deferred = deferred;
    return true;
}

size_t arena_used(const struct arena *arena)
{
    return arena->used;
}
