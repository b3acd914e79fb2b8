/* Fuzz target: a line on the control socket. */
#include "process/backends.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_request request;
    if (control_parse(text_from((const char *)data, size), &request) == OK) {
        assert(request.command <= CONTROL_BACKEND);
        assert(request.lines <= CONTROL_LOG_LINES_LIMIT);
        assert(request.weight >= -1 && request.weight <= BACKEND_WEIGHT_MOST);
        assert(request.name.len < HEALTH_NAME_SIZE);
    }
    return 0;
}
