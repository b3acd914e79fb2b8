/* Fuzz target: the file of changed backends. What is read is written and read again the same. */
#include "process/backends.h"

#include "core/memory.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct backends first = { 0 }, second = { 0 };
    struct buffer out = buffer_of(1 << 22);
    struct why why;
    if (backends_parse(text_from((const char *)data, size), &first, &why) == OK) {
        assert(first.count <= BACKEND_CHANGES);
        backends_print(&first, &out);
        assert(backends_parse(buffer_text(&out), &second, &why) == OK);
        assert(second.count == first.count);
        for (size_t i = 0; i < first.count; i++) {
            assert(strcmp(first.items[i].name, second.items[i].name) == 0);
            assert(first.items[i].weight == second.items[i].weight);
        }
    }
    buffer_done(&out);
    memory_free(first.items);
    memory_free(second.items);
    return 0;
}
