/* Fuzz target: a query of another server, and lines as they may stand in a log. */
#include "process/logs.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text input = text_from((const char *)data, size);
    struct logs_query query = {
        .has_main = true, .has_access = true, .status_from = 500, .status_to = 599
    };
    struct logs_query again;
    if (logs_query_read(input, &query) == OK) {
        struct buffer out = buffer_of(1024);
        logs_query_write(&query, &out);
        assert(!out.failed && logs_query_read(buffer_text(&out), &again) == OK);
        assert(again.lines == query.lines && again.status_from == query.status_from &&
               again.status_to == query.status_to && again.follow == query.follow);
        buffer_done(&out);
    }
    (void)logs_matches(&query, true, input);
    (void)logs_matches(&query, false, input);
    assert(logs_time_ms(true, input) >= -1 && logs_time_ms(false, input) >= -1);
    return 0;
}
