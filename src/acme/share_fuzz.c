/* Fuzz target: what another server asks. */
#include "acme/share.h"
#include "metrics/challenges.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct acme_share_command command;
    if (acme_share_parse(text_from((const char *)data, size), &command) != OK)
        return 0;
    if (command.what == SHARE_SHOW)
        assert(challenges_is_token(command.token));
    if (command.what == SHARE_SHOW || command.what == SHARE_HIDE)
        assert(command.name.len > 0 && command.name.len < CHALLENGE_NAME_SIZE);
    return 0;
}
