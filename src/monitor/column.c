/*
 * See column.h. A row: one byte of form, then
 *
 *   form 0   0xxxxxxx            a difference of -64 to 63 (zigzag)
 *            10nnnnnn            the same code n + 1 times more
 *            11xxxxxx xxxxxxxx   a difference of -8064 to 8063 (zigzag; the first byte is not 0xff)
 *            0xff, two bytes     a code as it is
 *   form 1   two bytes for each code
 *
 * A row of buckets: { point, how many buckets, { gap, count }... }..., all varints.
 */
#include "monitor/column.h"

#include "core/reader.h"

#include <math.h>

enum {
    ZERO = 0x8000,
    FRACTIONS = 512,
    EXPONENTS = 64,
    LEAST_POWER = -12, /* numbers below 2^-12 are 0 */
    MAGNITUDE_MOST = EXPONENTS * FRACTIONS - 1,
    FORM_DIFFERENCES = 0,
    FORM_CODES = 1,
    RUN_MOST = 64,
    SMALL_END = 0x80,    /* zigzag numbers of one byte */
    MEDIUM_END = 0x3f00, /* and of two */
    VARINT_MOST = 5,
};

/* ---- codes ---- */

uint16_t column_code(double value)
{
    int power;
    if (isnan(value))
        return COLUMN_GAP;
    double magnitude = fabs(value);
    if (magnitude < ldexp(1, LEAST_POWER))
        return ZERO;
    double fraction = frexp(isinf(value) ? 1e300 : magnitude, &power);
    /* a fraction that is rounded up to the next power carries into it by itself */
    double code = 1 + (double)(power - 1 - LEAST_POWER) * FRACTIONS +
                  floor((fraction - 0.5) * 2 * FRACTIONS + 0.5);
    int whole = code < MAGNITUDE_MOST ? (int)code : MAGNITUDE_MOST;
    return (uint16_t)(value < 0 ? ZERO - whole : ZERO + whole);
}

double column_value(uint16_t code)
{
    if (code == COLUMN_GAP)
        return (double)NAN;
    int magnitude = code > ZERO ? code - ZERO : ZERO - code;
    if (magnitude == 0)
        return 0;
    int power = (magnitude - 1) / FRACTIONS, fraction = (magnitude - 1) % FRACTIONS;
    double value = ldexp(0.5 + (double)fraction / (2 * FRACTIONS), power + 1 + LEAST_POWER);
    return code > ZERO ? value : -value;
}

/* ---- rows ---- */

static uint32_t zigzag(int32_t number)
{
    return number >= 0 ? (uint32_t)number << 1 : ((uint32_t)-number << 1) - 1;
}

static int32_t unzigzag(uint32_t number)
{
    return (number & 1) != 0 ? -(int32_t)((number + 1) >> 1) : (int32_t)(number >> 1);
}

static void write_difference(uint16_t before, uint16_t code, struct buffer *out)
{
    uint32_t difference = zigzag((int32_t)code - (int32_t)before);
    if (difference < SMALL_END) {
        buffer_append_byte(out, (uint8_t)difference);
    } else if (difference < MEDIUM_END) {
        buffer_append_u16(out, (uint16_t)(0xc000 | difference));
    } else {
        buffer_append_byte(out, 0xff);
        buffer_append_u16(out, code);
    }
}

static void write_differences(const uint16_t *codes, size_t count, struct buffer *out)
{
    uint16_t before = ZERO;
    for (size_t i = 0; i < count; i++) {
        size_t run = 0;
        while (i + run < count && run < RUN_MOST && codes[i + run] == before)
            run++;
        if (run > 1) {
            buffer_append_byte(out, (uint8_t)(0x80 | (run - 1)));
            i += run - 1;
            continue;
        }
        write_difference(before, codes[i], out);
        before = codes[i];
    }
}

void column_write(const uint16_t *codes, size_t count, struct buffer *out)
{
    size_t start = out->len;
    buffer_append_byte(out, FORM_DIFFERENCES);
    write_differences(codes, count, out);
    if (out->failed || out->len - start <= 2 * count + 1)
        return;
    out->len = start;
    buffer_append_byte(out, FORM_CODES);
    for (size_t i = 0; i < count; i++)
        buffer_append_u16(out, codes[i]);
}

static enum err read_differences(struct reader *reader, uint16_t *codes_out, size_t count)
{
    int32_t before = ZERO;
    for (size_t i = 0; i < count;) {
        uint8_t first = read_u8(reader);
        size_t run = 1;
        if (first == 0xff)
            before = read_u16(reader);
        else if (first >= 0xc0)
            before += unzigzag((uint32_t)(first & 0x3f) << 8 | read_u8(reader));
        else if (first >= 0x80)
            run = (size_t)(first & 0x3f) + 1;
        else
            before += unzigzag(first);
        if (reader->bad || before < 0 || before > UINT16_MAX || run > count - i)
            return ERR_SYNTAX;
        for (; run > 0; run--)
            codes_out[i++] = (uint16_t)before;
    }
    return reader_left(reader) == 0 ? OK : ERR_SYNTAX;
}

enum err column_read(struct text data, uint16_t *codes_out, size_t count)
{
    struct reader reader = reader_of(data);
    uint8_t form = read_u8(&reader);
    if (reader.bad || form > FORM_CODES)
        return ERR_SYNTAX;
    if (form == FORM_DIFFERENCES)
        return read_differences(&reader, codes_out, count);
    for (size_t i = 0; i < count; i++)
        codes_out[i] = read_u16(&reader);
    return !reader.bad && reader_left(&reader) == 0 ? OK : ERR_SYNTAX;
}

/* ---- buckets ---- */

static void write_varint(struct buffer *out, uint32_t value)
{
    for (; value >= 0x80; value >>= 7)
        buffer_append_byte(out, (uint8_t)(value | 0x80));
    buffer_append_byte(out, (uint8_t)value);
}

static uint32_t read_varint(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 7 * VARINT_MOST; shift += 7) {
        uint8_t byte = read_u8(reader);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) != 0)
            continue;
        reader->bad = reader->bad || value > UINT32_MAX;
        return (uint32_t)value;
    }
    reader->bad = true;
    return 0;
}

void column_write_buckets(const uint32_t counts[HISTOGRAM_BUCKETS], size_t point,
                          struct buffer *out)
{
    uint32_t filled = 0;
    size_t before = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        filled += counts[i] > 0;
    if (filled == 0)
        return;
    write_varint(out, (uint32_t)point);
    write_varint(out, filled);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (counts[i] == 0)
            continue;
        write_varint(out, (uint32_t)(i - before));
        write_varint(out, counts[i]);
        before = i;
    }
}

enum err column_read_buckets(struct text data, size_t points,
                             void (*each)(void *context, size_t point, size_t bucket,
                                          uint32_t count),
                             void *context)
{
    struct reader reader = reader_of(data);
    while (reader_left(&reader) > 0) {
        uint32_t point = read_varint(&reader), filled = read_varint(&reader);
        size_t bucket = 0;
        if (reader.bad || point >= points || filled > HISTOGRAM_BUCKETS)
            return ERR_SYNTAX;
        for (uint32_t i = 0; i < filled; i++) {
            uint32_t gap = read_varint(&reader), count = read_varint(&reader);
            if (reader.bad || gap >= HISTOGRAM_BUCKETS || bucket + gap >= HISTOGRAM_BUCKETS)
                return ERR_SYNTAX;
            bucket += gap;
            each(context, point, bucket, count);
        }
    }
    return OK;
}
