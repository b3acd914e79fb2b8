#ifndef CORE_BUFFER_H
#define CORE_BUFFER_H

/*
 * Growable bytes with a limit and a sticky failure: append as often as needed, test `failed` once.
 * After a failure nothing more is appended. Holds no memory until the first append.
 */

#include "core/error.h"
#include "core/text.h"

struct buffer {
    char *data;
    size_t len;
    size_t capacity;
    size_t limit;
    bool failed;
};

/* An empty buffer that will never hold more than limit bytes. */
static inline struct buffer buffer_of(size_t limit)
{
    return (struct buffer){ .limit = limit };
}

/* Frees the memory; the buffer is empty again and may be used. */
void buffer_done(struct buffer *buffer);

/* The same for secrets: what was in it is overwritten before. (What it held before it grew is not:
 * reserve enough at once.) */
void buffer_wipe(struct buffer *buffer);

/* Empties it but keeps the memory. */
static inline void buffer_clear(struct buffer *buffer)
{
    buffer->len = 0;
    buffer->failed = false;
}

/* Makes room for `more` bytes behind len and returns the place, or NULL (failed is set). */
char *buffer_reserve(struct buffer *buffer, size_t more);

void buffer_append(struct buffer *buffer, struct text text);
void buffer_append_byte(struct buffer *buffer, uint8_t byte);
void buffer_append_u16(struct buffer *buffer, uint16_t value); /* big-endian */
void buffer_append_u32(struct buffer *buffer, uint32_t value);
void buffer_append_uint(struct buffer *buffer, uint64_t value); /* decimal digits */
void buffer_print(struct buffer *buffer, const char *format, ...) PRINTF_LIKE(2, 3);

/* Appends text as the inside of a JSON string: quotes, backslash and controls escaped, bytes that
 * are not UTF-8 as \u00XX. */
void buffer_append_json(struct buffer *buffer, struct text text);

/* Drops the first len bytes. */
void buffer_consume(struct buffer *buffer, size_t len);

static inline struct text buffer_text(const struct buffer *buffer)
{
    return (struct text){ buffer->data, buffer->len };
}

#endif
