/*
 * Files that applications give away (wsgi.file_wrapper): a worker sends the descriptor through the
 * edge's socket, with the slot and ticket of its request, and then names it in the answer by a
 * RECORD_FILE. A descriptor whose request is not there any more is closed at once.
 */
#include "app/bridge_private.h"

#include "core/sys.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { PACKETS_AT_ONCE = 256 }; /* workers do not keep this process from its other work */

static struct call *find_call(const struct bridge *bridge, const struct segment_ticket *packet)
{
    if (packet->slot < bridge->first_slot ||
        packet->slot - bridge->first_slot >= bridge->segment.slots_per_edge ||
        segment_slot_ticket(&bridge->segment, packet->slot) != packet->ticket)
        return NULL;
    return bridge->places[packet->slot - bridge->first_slot].call;
}

void handover_receive(struct bridge *bridge)
{
    for (int i = 0; i < PACKETS_AT_ONCE; i++) {
        struct segment_ticket packet;
        bool is_empty;
        int fd = sys_receive_fd(bridge->back_fd, &packet, sizeof(packet), MSG_DONTWAIT, &is_empty);
        if (is_empty)
            return;
        struct call *call = fd >= 0 ? find_call(bridge, &packet) : NULL;
        if (call == NULL) {
            fd_close(&fd);
            continue;
        }
        fd_close(&call->file);
        call->file = fd;
    }
}

bool handover_is_valid(int file, int64_t offset, int64_t length)
{
    struct stat status;
    int flags = file >= 0 ? fcntl(file, F_GETFL) : -1;
    return flags >= 0 && (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_WRONLY &&
           fstat(file, &status) == 0 && S_ISREG(status.st_mode) && offset >= 0 && length > 0 &&
           offset <= (int64_t)status.st_size && length <= (int64_t)status.st_size - offset;
}
