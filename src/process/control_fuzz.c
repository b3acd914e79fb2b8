/* Fuzz target: a line on the control socket. */
#include "process/parent.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_request request;
    if (control_parse(text_from((const char *)data, size), &request) == OK) {
        assert(request.command <= CONTROL_LOGS);
        assert(request.lines <= CONTROL_LOG_LINES_LIMIT);
    }
    return 0;
}
