/*
 * sd_notify of a program: what it says itself about being ready. The socket has an abstract name,
 * so who sends is looked at: only what the program started, with its user's rights, is heard.
 */
#include "app/command_private.h"

#include "core/sys.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int command_notify_open(char *path, size_t size, struct why *why)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    socklen_t len = sizeof(name.sun_family); /* the kernel picks one */
    int on = 1, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&name, len) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0) {
        len = sizeof(name);
        if (getsockname(fd, (struct sockaddr *)&name, &len) == 0) {
            int count = (int)(len - offsetof(struct sockaddr_un, sun_path)) - 1;
            snprintf(path, size, "@%.*s", count, name.sun_path + 1);
            return fd;
        }
    }
    fail(why, ERR_SYSTEM, "cannot make a socket for sd_notify: %s", strerror(errno));
    fd_close(&fd);
    return -1;
}

void command_notify_parse(struct text data, struct command_notice *notice)
{
    *notice = (struct command_notice){ .is_ready = false };
    while (data.len > 0) {
        struct text line = text_next(&data, '\n');
        if (text_equal(line, T("READY=1")))
            notice->is_ready = true;
        else if (text_starts_with(line, T("STATUS=")))
            notice->status = text_skip(line, 7);
    }
}

bool command_notify_receive(int fd, char *buffer, size_t size, struct command_notice *notice)
{
    union {
        char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(16 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = { buffer, size };
    struct msghdr message = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    struct ucred sender = { .pid = 0 };
    ssize_t len = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len < 0)
        return false;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at != NULL; at = CMSG_NXTHDR(&message, at)) {
        if (at->cmsg_level != SOL_SOCKET)
            continue;
        if (at->cmsg_type == SCM_CREDENTIALS)
            memcpy(&sender, CMSG_DATA(at), sizeof(sender));
        for (size_t i = 0;
             at->cmsg_type == SCM_RIGHTS && CMSG_LEN((i + 1) * sizeof(int)) <= at->cmsg_len; i++) {
            int passed; /* nobody wants any */
            memcpy(&passed, CMSG_DATA(at) + i * sizeof(int), sizeof(passed));
            fd_close(&passed);
        }
    }
    bool is_own = sender.pid > 0 && sender.uid == geteuid() && getsid(sender.pid) == getsid(0);
    command_notify_parse(is_own ? text_from(buffer, (size_t)len) : T(""), notice);
    return true;
}
