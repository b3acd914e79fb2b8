/* The only callers of malloc and free; see memory.h for why they do not report failure. */
#include "core/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t memory_made;

size_t memory_count(void)
{
    return memory_made;
}

static void *memory_checked(void *memory)
{
    memory_made++;
    if (memory == NULL) {
        fputs("trilith: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void *memory_new(size_t size)
{
    return memory_checked(calloc(1, size > 0 ? size : 1));
}

void *memory_new_array(size_t count, size_t size)
{
    return memory_checked(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

void *memory_resize(void *memory, size_t size)
{
    return memory_checked(realloc(memory, size > 0 ? size : 1));
}

char *memory_copy_string(const char *string)
{
    return memory_checked(strdup(string));
}

void memory_free(void *memory)
{
    free(memory);
}

void memory_drop(void *pointer_to_pointer)
{
    void *memory;
    memcpy(&memory, pointer_to_pointer, sizeof(memory));
    free(memory);
}
