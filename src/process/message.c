/*
 * Messages between the parent and its processes: one packet of a SOCK_SEQPACKET pair each, with
 * descriptors beside it. Both ends run the same program on the same machine, so the head is in host
 * order; it is checked all the same, because a role may have been taken over by an attacker.
 */
#include "process/process.h"

#include "core/sys.h"

#include <errno.h>
#include <sys/socket.h>

enum {
    MESSAGE_MAGIC = 0x54524c31, /* "TRL1" */
    MESSAGE_HEAD = 20,
};

union control_room {
    struct cmsghdr head; /* for its alignment */
    char bytes[CMSG_SPACE(MESSAGE_FD_LIMIT * sizeof(int))];
};

static void put_head(char out[MESSAGE_HEAD], const struct message *message)
{
    uint32_t magic = MESSAGE_MAGIC, type = message->type, len = (uint32_t)message->text.len;
    memcpy(out, &magic, 4);
    memcpy(out + 4, &type, 4);
    memcpy(out + 8, &message->generation, 8);
    memcpy(out + 16, &len, 4);
}

enum err message_parse(struct text packet, struct message *message)
{
    uint32_t magic, type, len;
    uint64_t generation;
    if (packet.len < MESSAGE_HEAD)
        return ERR_PROTOCOL;
    memcpy(&magic, packet.data, 4);
    memcpy(&type, packet.data + 4, 4);
    memcpy(&generation, packet.data + 8, 8);
    memcpy(&len, packet.data + 16, 4);
    bool is_known = magic == MESSAGE_MAGIC && type >= MESSAGE_CONFIG && type < MESSAGE_LAST;
    if (!is_known || len > MESSAGE_TEXT_LIMIT || packet.len != MESSAGE_HEAD + (size_t)len)
        return ERR_PROTOCOL;
    message->type = (enum message_type)type;
    message->generation = generation;
    message->text = text_skip(packet, MESSAGE_HEAD);
    return OK;
}

static enum err send_error(void)
{
    switch (errno) {
    case EAGAIN:
    case ENOBUFS:
    case ETOOMANYREFS: /* too many descriptors on their way at once */
        return ERR_BUSY;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
    case ECONNREFUSED:
        return ERR_CLOSED;
    default:
        return ERR_SYSTEM;
    }
}

enum err message_send(int channel, const struct message *message)
{
    char head[MESSAGE_HEAD];
    union control_room room;
    if (message->text.len > MESSAGE_TEXT_LIMIT || message->fd_count > MESSAGE_FD_LIMIT)
        return ERR_LIMIT;
    put_head(head, message);
    struct iovec parts[2] = {
        { .iov_base = head, .iov_len = sizeof(head) },
        { .iov_base = (void *)message->text.data, .iov_len = message->text.len },
    };
    struct msghdr packet = { .msg_iov = parts, .msg_iovlen = message->text.len > 0 ? 2 : 1 };
    if (message->fd_count > 0) {
        size_t size = message->fd_count * sizeof(int);
        memset(&room, 0, sizeof(room));
        packet.msg_control = room.bytes;
        packet.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *control = CMSG_FIRSTHDR(&packet);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(control), message->fds, size);
    }
    ssize_t done;
    do
        done = sendmsg(channel, &packet, MSG_NOSIGNAL);
    while (done < 0 && errno == EINTR);
    return done < 0 ? send_error() : OK;
}

static void take_fds(struct msghdr *packet, struct message *message)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(packet); at != NULL; at = CMSG_NXTHDR(packet, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && message->fd_count < MESSAGE_FD_LIMIT; i++)
            memcpy(&message->fds[message->fd_count++], CMSG_DATA(at) + i * sizeof(int),
                   sizeof(int));
    }
}

static enum err receive_error(void)
{
    switch (errno) {
    case EAGAIN:
        return ERR_BUSY;
    case ECONNRESET:
    case ENOTCONN:
        return ERR_CLOSED;
    default:
        return ERR_SYSTEM;
    }
}

enum err message_receive(int channel, char *buffer, size_t size, struct message *message)
{
    union control_room room;
    struct iovec part = { .iov_base = buffer, .iov_len = size };
    struct msghdr packet = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = room.bytes,
        .msg_controllen = sizeof(room.bytes),
    };
    message->fd_count = 0;
    ssize_t got;
    do
        got = recvmsg(channel, &packet, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return receive_error();
    if (got == 0)
        return ERR_CLOSED;
    take_fds(&packet, message);
    bool is_cut = (packet.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    enum err err = is_cut ? ERR_PROTOCOL : message_parse(text_from(buffer, (size_t)got), message);
    if (err == OK)
        return OK;
    for (size_t i = 0; i < message->fd_count; i++)
        fd_close(&message->fds[i]);
    message->fd_count = 0;
    return err;
}
