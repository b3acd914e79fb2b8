/* Words from other servers, the file of bans, listings of nft and messages of the kernel. */
#include "firewall/kernel.h"
#include "firewall/talk.h"

#include <libmnl/libmnl.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text text = text_from((const char *)data, size);
    struct talk_command command;
    struct bans bans = { 0 };
    struct firewall_counts counts = { 0 };
    struct buffer shape = buffer_of(1 << 16);
    if (talk_parse(text, &command) == OK && command.verb == TALK_BAN)
        (void)!bans_add(&bans, &command.who, command.seconds, command.why);
    bans_done(&bans);
    if (bans_read(text, 0, &bans) == OK)
        bans_write(&bans, &shape);
    bans_done(&bans);
    buffer_clear(&shape);
    (void)listing_shape(text, &shape);
    buffer_done(&shape);
    _Alignas(8) char copy[4096];
    if (size <= sizeof(copy)) {
        memcpy(copy, data, size);
        const struct nlmsghdr *message = (const struct nlmsghdr *)copy;
        if (mnl_nlmsg_ok(message, (int)size))
            kernel_take_counter(message, &counts);
    }
    firewall_counts_done(&counts);
    return 0;
}
