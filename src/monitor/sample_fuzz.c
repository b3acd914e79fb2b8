/* Fuzz target: frames of an agent, several in a row: u16 length and the frame. What was read can be
 * written, and is read again. */
#include "monitor/sample.h"

#include "core/reader.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1 << 20 };

static void check_again(const struct sample_table *table, int64_t wall_ms)
{
    struct sample_table again;
    struct buffer names = buffer_of(LIMIT), values = buffer_of(LIMIT);
    int64_t time_ms;
    sample_table_init(&again);
    size_t told = sample_write_names(table, 0, LIMIT, &names);
    sample_write_values(table, table->count, wall_ms, LIMIT, &values);
    assert(told == table->count && !names.failed && !values.failed);
    assert(sample_read(buffer_text(&names), &again, &time_ms) == OK && time_ms == -1);
    assert(sample_read(buffer_text(&values), &again, &time_ms) == OK && time_ms == wall_ms);
    assert(again.count == table->count);
    for (size_t i = 0; i < table->count; i++)
        assert(again.series[i].bucket_count == table->series[i].bucket_count);
    buffer_done(&names);
    buffer_done(&values);
    sample_table_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = reader_of(text_from((const char *)data, size));
    struct sample_table table;
    sample_table_init(&table);
    while (reader_left(&reader) > 2) {
        int64_t wall_ms;
        struct text frame = reader_take(&reader, read_u16(&reader));
        if (reader.bad || sample_read(frame, &table, &wall_ms) != OK)
            break;
        if (wall_ms >= 0)
            check_again(&table, wall_ms);
    }
    sample_table_done(&table);
    return 0;
}
