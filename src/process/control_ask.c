/* The other end of the control socket, for the commands. Blocks, within its time. */
#include "process/state_folder.h"

#include "core/clock.h"
#include "core/sys.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

static enum err connect_control(const char *path, struct text site_name, int *fd_out,
                                struct why *why)
{
    struct address address;
    if (address_from_path(text_of(path), &address) != OK)
        return fail(why, ERR_LIMIT, "the path '%s' is too long for a socket: use --state", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, &address.u.any, address.len) == 0) {
        *fd_out = fd;
        return OK;
    }
    int error = errno;
    fd_close(&fd);
    if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR)
        return fail(why, ERR_NOT_FOUND,
                    "%.*s does not run here (nothing answers at %s); `trilith up` starts it, "
                    "--state says where its state folder is",
                    FMT(site_name), path);
    if (error == EACCES || error == EPERM)
        return fail(why, ERR_DENIED,
                    "%.*s runs as another user: only that user and root may ask it (%s)",
                    FMT(site_name), path);
    return fail(why, error == EAGAIN ? ERR_BUSY : ERR_SYSTEM, "cannot reach %s: %s", path,
                strerror(error));
}

static enum err read_answer(int fd, int64_t until_ms, struct buffer *answer)
{
    for (;;) {
        char *place = buffer_reserve(answer, 16384);
        if (place == NULL)
            return ERR_LIMIT;
        ssize_t got = sys_read(fd, place, 16384);
        if (got > 0)
            answer->len += (size_t)got;
        else if (got == 0)
            return answer->len > 0 ? OK : ERR_CLOSED;
        else if (errno != EAGAIN)
            return ERR_CLOSED;
        enum err err = got < 0 ? sys_wait(fd, POLLIN, until_ms) : OK;
        if (err != OK)
            return err;
    }
}

enum err control_ask(const char *state, struct text site_name, struct text command,
                     int64_t timeout_ms, struct buffer *answer, struct why *why)
{
    char path[STATE_PATH_SIZE];
    struct buffer line = buffer_of(1024);
    AUTO(fd_close) int fd = -1;
    int64_t until_ms = clock_now_ms() + timeout_ms;
    if (state_folder_path(state, site_name, "run/control.sock", path, sizeof(path)) != OK)
        return fail(why, ERR_LIMIT, "the state folder's path is too long");
    enum err err = connect_control(path, site_name, &fd, why);
    if (err != OK)
        return err;
    buffer_append(&line, command);
    buffer_append_byte(&line, '\n');
    err = line.failed ? ERR_LIMIT : sys_write_all(fd, buffer_text(&line));
    buffer_done(&line);
    if (err == OK)
        err = read_answer(fd, until_ms, answer);
    if (err != OK)
        return fail(why, err, "%.*s: no answer to `%.*s`: %s", FMT(site_name), FMT(command),
                    err_text(err));
    return OK;
}
