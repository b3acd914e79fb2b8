/* Thin wrappers over system calls; see sys.h. */
#include "core/sys.h"

#include "core/clock.h"
#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    const char *call;
    int countdown;
    int error;
} fault;

void sys_fault_set(const char *call, int countdown, int error)
{
    fault.call = call;
    fault.countdown = countdown;
    fault.error = error;
}

/* True when the planned fault is due now: either errno is set and *len is 0, or *len is cut to 1.
 */
static bool is_faulty(const char *call, size_t *len)
{
    if (fault.call == NULL || strcmp(fault.call, call) != 0 || fault.countdown-- > 0)
        return false;
    fault.call = NULL;
    if (fault.error == 0) {
        *len = *len > 1 ? 1 : *len;
        return false;
    }
    errno = fault.error;
    return true;
}

#define RESTARTED(name, ...)                                                                       \
    ssize_t done;                                                                                  \
    if (is_faulty(#name, &len))                                                                    \
        return -1;                                                                                 \
    do                                                                                             \
        done = name(__VA_ARGS__);                                                                  \
    while (done < 0 && errno == EINTR);                                                            \
    return done

void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

ssize_t sys_read(int fd, void *data, size_t len)
{
    RESTARTED(read, fd, data, len);
}

ssize_t sys_write(int fd, const void *data, size_t len)
{
    RESTARTED(write, fd, data, len);
}

ssize_t sys_pread(int fd, void *data, size_t len, int64_t offset)
{
    RESTARTED(pread, fd, data, len, offset);
}

ssize_t sys_pwrite(int fd, const void *data, size_t len, int64_t offset)
{
    RESTARTED(pwrite, fd, data, len, offset);
}

enum err sys_write_all(int fd, struct text data)
{
    while (data.len > 0) {
        ssize_t done = sys_write(fd, data.data, data.len);
        if (done < 0)
            return ERR_SYSTEM;
        data = text_skip(data, (size_t)done);
    }
    return OK;
}

enum err sys_read_file(const char *path, size_t limit, struct text *data_out, struct why *why)
{
    struct stat state;
    /* non-blocking: opening a FIFO would wait for its writer */
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &state) != 0)
        return fail(why, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYSTEM, "cannot open '%s': %s", path,
                    strerror(errno));
    if (!S_ISREG(state.st_mode) && !S_ISCHR(state.st_mode))
        return fail(why, ERR_UNSUPPORTED, "'%s' is not a regular file", path);
    char *data = memory_new(1);
    size_t len = 0, capacity = 0;
    for (;;) {
        if (len == capacity) {
            capacity = capacity > 0 ? capacity * 2 : 4096;
            data = memory_resize(data, capacity + 1);
        }
        ssize_t got = sys_read(fd, data + len, capacity - len);
        if (got <= 0 || len + (size_t)got > limit) {
            int error = errno;
            if (got == 0)
                break;
            memory_free(data);
            if (got < 0)
                return fail(why, ERR_SYSTEM, "cannot read '%s': %s", path, strerror(error));
            return fail(why, ERR_LIMIT, "'%s' is larger than %zu bytes", path, limit);
        }
        len += (size_t)got;
    }
    data[len] = '\0';
    *data_out = text_from(data, len);
    return OK;
}

/* The new name is on the disk only when its folder is. */
static enum err sync_folder(const char *path, struct why *why)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash != NULL ? (size_t)(slash - path) : 0;
    snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 1 : (int)(len > 0 ? len : 1),
             slash == NULL ? "." : path);
    AUTO(fd_close) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fsync(fd) != 0)
        return fail(why, ERR_SYSTEM, "cannot sync folder '%s': %s", folder, strerror(errno));
    return OK;
}

enum err sys_replace_file(const char *path, struct text data, mode_t mode, uid_t uid, gid_t gid,
                          struct why *why)
{
    char beside[PATH_MAX];
    if ((size_t)snprintf(beside, sizeof(beside), "%s.new", path) >= sizeof(beside))
        return fail(why, ERR_LIMIT, "path '%s' is too long", path);
    unlink(beside);
    AUTO(fd_close)
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return fail(why, ERR_SYSTEM, "cannot create '%s': %s", beside, strerror(errno));
    bool is_owned = (uid == (uid_t)-1 && gid == (gid_t)-1) || fchown(fd, uid, gid) == 0;
    if (!is_owned || fchmod(fd, mode) != 0 || sys_write_all(fd, data) != OK || fsync(fd) != 0 ||
        rename(beside, path) != 0) {
        int error = errno;
        unlink(beside);
        return fail(why, ERR_SYSTEM, "cannot write '%s': %s", path, strerror(error));
    }
    return sync_folder(path, why);
}

enum err sys_make_folder(const char *path, mode_t mode, uid_t uid, gid_t gid, struct why *why)
{
    char part[PATH_MAX];
    if (!text_copy_to(text_of(path), part, sizeof(part)) || part[0] == '\0')
        return fail(why, ERR_LIMIT, "bad path '%s'", path);
    for (char *at = part + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return fail(why, ERR_SYSTEM, "cannot make folder '%s': %s", part, strerror(errno));
        *at = '/';
    }
    if (mkdir(part, mode) != 0 && errno != EEXIST)
        return fail(why, ERR_SYSTEM, "cannot make folder '%s': %s", part, strerror(errno));
    AUTO(fd_close) int fd = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    bool is_owned =
        fd >= 0 && ((uid == (uid_t)-1 && gid == (gid_t)-1) || fchown(fd, uid, gid) == 0);
    if (!is_owned || fchmod(fd, mode) != 0)
        return fail(why, ERR_SYSTEM, "cannot set up folder '%s': %s", part, strerror(errno));
    return OK;
}

void sys_random(void *data, size_t len)
{
    char *at = data;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno != EINTR)
            abort();
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        }
    }
}

void sys_random_hex(char *out, size_t size, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t random[64];
    if (bytes > sizeof(random) || size <= bytes * 2)
        abort();
    sys_random(random, bytes);
    for (size_t i = 0; i < bytes; i++) {
        out[2 * i] = digits[random[i] >> 4];
        out[2 * i + 1] = digits[random[i] & 15];
    }
    out[2 * bytes] = '\0';
}

enum err sys_wait(int fd, short events, int64_t until_ms)
{
    enum { LONGEST_MS = 60000 };
    struct pollfd ready = { .fd = fd, .events = events };
    for (;;) {
        int64_t left_ms = until_ms - clock_now_ms();
        if (left_ms <= 0)
            return ERR_TIMEOUT;
        int count = poll(&ready, 1, (int)(left_ms < LONGEST_MS ? left_ms : LONGEST_MS));
        if (count > 0)
            return OK;
        if (count < 0 && errno != EINTR)
            return ERR_SYSTEM;
    }
}

enum err sys_set_nonblocking(int fd, bool nonblocking)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return ERR_SYSTEM;
    flags = nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return fcntl(fd, F_SETFL, flags) == 0 ? OK : ERR_SYSTEM;
}

/* ---- descriptors ---- */

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

bool sys_send_fd(int socket, const void *packet, size_t bytes, int fd)
{
    union control control = { 0 };
    struct iovec iov = { (void *)packet, bytes };
    struct msghdr message = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)bytes;
}

int sys_receive_fd(int socket, void *packet, size_t bytes, int flags, bool *is_empty)
{
    union control control;
    struct iovec iov = { packet, bytes };
    struct msghdr message = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              /* not CMSG_SPACE: its padding has room for a second one */
                              .msg_controllen = CMSG_LEN(sizeof(int)) };
    ssize_t got = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
    *is_empty = got <= 0;
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    int fd = -1;
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    if (got != (ssize_t)bytes || (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0)
        fd_close(&fd);
    return fd;
}
