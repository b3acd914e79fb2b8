/* Fuzz target: rows as a file may have them: how many codes, then the row; read both ways. */
#include "monitor/column.h"

#include "core/memory.h"
#include "core/reader.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_bucket(void *context, size_t point, size_t bucket, uint32_t count)
{
    assert(point < 360 && bucket < HISTOGRAM_BUCKETS);
    *(uint64_t *)context += count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = reader_of(text_from((const char *)data, size));
    size_t count = read_u16(&reader) % 1000;
    struct text row = reader_take(&reader, reader_left(&reader));
    uint16_t codes[1000], again[1000];
    uint64_t total = 0;
    if (column_read(row, codes, count) == OK) {
        struct buffer out = buffer_of(4096);
        column_write(codes, count, &out);
        assert(!out.failed && out.len <= 2 * count + 1);
        assert(column_read(buffer_text(&out), again, count) == OK);
        assert(memcmp(codes, again, count * sizeof(*codes)) == 0);
        buffer_done(&out);
    }
    (void)!column_read_buckets(row, 360, count_bucket, &total);
    return 0;
}
