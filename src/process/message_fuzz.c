/* Fuzz target: a packet from a role, which an attacker may have taken over. */
#include "process/process.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message message;
    if (message_parse(text_from((const char *)data, size), &message) == OK) {
        assert(message.type >= MESSAGE_CONFIG && message.type < MESSAGE_LAST);
        assert(message.text.len <= size && message.text.len <= MESSAGE_TEXT_LIMIT);
    }
    return 0;
}
