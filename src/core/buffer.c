/* Bounded growable bytes; see buffer.h. */
#include "core/buffer.h"

#include "core/memory.h"

#include <stdio.h>

void buffer_done(struct buffer *buffer)
{
    memory_free(buffer->data);
    *buffer = buffer_of(buffer->limit);
}

void buffer_wipe(struct buffer *buffer)
{
    if (buffer->data != NULL)
        explicit_bzero(buffer->data, buffer->len);
    buffer_done(buffer);
}

char *buffer_reserve(struct buffer *buffer, size_t more)
{
    if (buffer->failed || more > buffer->limit || buffer->len > buffer->limit - more) {
        buffer->failed = true;
        return NULL;
    }
    size_t needed = buffer->len + more;
    if (needed > buffer->capacity || buffer->data == NULL) {
        size_t capacity = buffer->capacity < 256 ? 256 : buffer->capacity * 2;
        if (capacity < needed)
            capacity = needed;
        if (capacity > buffer->limit)
            capacity = buffer->limit;
        buffer->data = memory_resize(buffer->data, capacity);
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->len;
}

void buffer_append(struct buffer *buffer, struct text text)
{
    if (text.len == 0)
        return;
    char *place = buffer_reserve(buffer, text.len);
    if (place == NULL)
        return;
    memcpy(place, text.data, text.len);
    buffer->len += text.len;
}

void buffer_append_byte(struct buffer *buffer, uint8_t byte)
{
    char *place = buffer_reserve(buffer, 1);
    if (place == NULL)
        return;
    *place = (char)byte;
    buffer->len++;
}

void buffer_append_u16(struct buffer *buffer, uint16_t value)
{
    buffer_append_byte(buffer, (uint8_t)(value >> 8));
    buffer_append_byte(buffer, (uint8_t)value);
}

void buffer_append_u32(struct buffer *buffer, uint32_t value)
{
    buffer_append_u16(buffer, (uint16_t)(value >> 16));
    buffer_append_u16(buffer, (uint16_t)value);
}

void buffer_append_uint(struct buffer *buffer, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    buffer_append(buffer, text_from(digits + at, sizeof(digits) - at));
}

void buffer_print(struct buffer *buffer, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *place = len >= 0 ? buffer_reserve(buffer, (size_t)len + 1) : NULL;
    if (place != NULL) {
        vsnprintf(place, (size_t)len + 1, format, again);
        buffer->len += (size_t)len;
    }
    va_end(again);
}

/* Length of the UTF-8 character that starts text, 0 if it is none (RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF). */
static size_t utf8_length(struct text text)
{
    const uint8_t *byte = (const uint8_t *)text.data;
    if (byte[0] < 0x80)
        return 1;
    size_t len = byte[0] >= 0xF0 ? 4 : byte[0] >= 0xE0 ? 3 : 2;
    if (byte[0] < 0xC2 || byte[0] > 0xF4 || text.len < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((byte[i] & 0xC0) != 0x80)
            return 0;
    bool bad = (byte[0] == 0xE0 && byte[1] < 0xA0) || (byte[0] == 0xED && byte[1] > 0x9F) ||
               (byte[0] == 0xF0 && byte[1] < 0x90) || (byte[0] == 0xF4 && byte[1] > 0x8F);
    return bad ? 0 : len;
}

void buffer_append_json(struct buffer *buffer, struct text text)
{
    while (text.len > 0) {
        uint8_t byte = (uint8_t)text.data[0];
        size_t len = utf8_length(text);
        if (byte == '"' || byte == '\\')
            buffer_print(buffer, "\\%c", byte);
        else if (byte == '\n')
            buffer_append(buffer, T("\\n"));
        else if (byte < 0x20 || byte == 0x7F || len == 0)
            buffer_print(buffer, "\\u%04x", byte);
        else
            buffer_append(buffer, text_from(text.data, len));
        text = text_skip(text, len > 0 ? len : 1);
    }
}

void buffer_consume(struct buffer *buffer, size_t len)
{
    if (len >= buffer->len) {
        buffer->len = 0;
        return;
    }
    memmove(buffer->data, buffer->data + len, buffer->len - len);
    buffer->len -= len;
}
