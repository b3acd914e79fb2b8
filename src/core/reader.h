#ifndef CORE_READER_H
#define CORE_READER_H

/*
 * Reader of wire bytes with a sticky error: read many fields, test `bad` once. Past the end every
 * read gives zero or an empty text and sets bad. All bounds are checked in reader_take only.
 */

#include "core/text.h"

struct reader {
    const uint8_t *data;
    size_t len;
    size_t at; /* never larger than len */
    bool bad;
};

static inline struct reader reader_of(struct text packet)
{
    return (struct reader){ .data = (const uint8_t *)packet.data, .len = packet.len };
}

static inline size_t reader_left(const struct reader *reader)
{
    return reader->len - reader->at;
}

/* The next len bytes, as a slice of the packet. */
static inline struct text reader_take(struct reader *reader, size_t len)
{
    if (reader->bad || len > reader_left(reader)) {
        reader->bad = true;
        return (struct text){ NULL, 0 };
    }
    const uint8_t *start = reader->data + reader->at;
    reader->at += len;
    return text_from((const char *)start, len);
}

static inline uint8_t read_u8(struct reader *reader)
{
    struct text bytes = reader_take(reader, 1);
    return bytes.len == 1 ? (uint8_t)bytes.data[0] : 0;
}

/* Big-endian (network order). */
static inline uint16_t read_u16(struct reader *reader)
{
    uint16_t high = read_u8(reader);
    return (uint16_t)(high << 8 | read_u8(reader));
}

static inline uint32_t read_u32(struct reader *reader)
{
    uint32_t high = read_u16(reader);
    return high << 16 | read_u16(reader);
}

#endif
