/*
 * sd_notify both ways: what we tell systemd, and what foreign programs (mariadbd) tell us. A
 * program's message counts only when the kernel says that it comes from the process we started.
 */
#include "process/parent.h"

#include "core/clock.h"
#include "core/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SCM_MAX_FD_BYTES = 253 * sizeof(int) }; /* the kernel's limit per packet */

void notify_systemd(const char *format, ...)
{
    char text[512];
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (path == NULL || (path[0] != '/' && path[0] != '@') ||
        !text_copy_to(text_of(path), address.sun_path, sizeof(address.sun_path)))
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    AUTO(fd_close) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, len);
}

void notify_reloading(void)
{
    notify_systemd("RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=Reloading", (long long)clock_now_us());
}

int64_t notify_watchdog_ms(void)
{
    uint64_t us, pid;
    const char *value = getenv("WATCHDOG_USEC"), *whose = getenv("WATCHDOG_PID");
    if (value == NULL || !text_to_uint(text_of(value), INT64_MAX, &us) || us == 0)
        return 0;
    if (whose != NULL && (!text_to_uint(text_of(whose), INT32_MAX, &pid) || (pid_t)pid != getpid()))
        return 0;
    return us / 2000 > 0 ? (int64_t)(us / 2000) : 1;
}

int notify_listen(const char *path, uid_t uid, struct why *why)
{
    static const int on = 1;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (!text_copy_to(text_of(path), address.sun_path, sizeof(address.sun_path))) {
        fail(why, ERR_LIMIT, "the path '%s' is too long for a socket", path);
        return -1;
    }
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || chmod(path, 0600) != 0 ||
        (geteuid() == 0 && lchown(path, uid, (gid_t)-1) != 0)) {
        fail(why, ERR_SYSTEM, "cannot make the socket '%s': %s", path, strerror(errno));
        fd_close(&fd);
    }
    return fd;
}

static pid_t sender_of(struct msghdr *packet)
{
    pid_t pid = 0;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(packet); at != NULL; at = CMSG_NXTHDR(packet, at)) {
        if (at->cmsg_level != SOL_SOCKET)
            continue;
        if (at->cmsg_type == SCM_CREDENTIALS) {
            struct ucred credentials;
            memcpy(&credentials, CMSG_DATA(at), sizeof(credentials));
            pid = credentials.pid;
        } else if (at->cmsg_type == SCM_RIGHTS) { /* nobody asked for descriptors */
            int fds[SCM_MAX_FD_BYTES / sizeof(int)];
            size_t size = at->cmsg_len - CMSG_LEN(0);
            size = size < sizeof(fds) ? size : sizeof(fds);
            memcpy(fds, CMSG_DATA(at), size);
            for (size_t i = 0; i < size / sizeof(int); i++)
                fd_close(&fds[i]);
        }
    }
    return pid;
}

enum err notify_receive(int fd, struct notify_message *message)
{
    char text[4096], control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(SCM_MAX_FD_BYTES)];
    struct iovec part = { .iov_base = text, .iov_len = sizeof(text) };
    struct msghdr packet = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
    };
    *message = (struct notify_message){ 0 };
    ssize_t len;
    do
        len = recvmsg(fd, &packet, MSG_CMSG_CLOEXEC);
    while (len < 0 && errno == EINTR);
    if (len < 0)
        return errno == EAGAIN ? ERR_BUSY : ERR_SYSTEM;
    message->pid = sender_of(&packet);
    struct text rest = text_from(text, (size_t)len);
    while (rest.len > 0) {
        struct text line = text_next(&rest, '\n');
        if (text_equal(line, T("READY=1")))
            message->is_ready = true;
        uint64_t us;
        if (text_starts_with(line, T("EXTEND_TIMEOUT_USEC=")) &&
            text_to_uint(text_skip(line, 20), INT64_MAX, &us))
            message->extend_ms = (int64_t)(us / 1000);
        if (text_starts_with(line, T("STATUS=")))
            text_copy_to(text_part(line, 7, sizeof(message->status) - 1), message->status,
                         sizeof(message->status));
    }
    return OK;
}
