/* What a role's process calls: messages to and from the parent, and turning into a foreign
 * program. */
#include "process/generation.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { SEND_PATIENCE_MS = 1000 };

void process_send(struct process *self, enum message_type type, uint64_t generation,
                  struct text text)
{
    struct message message = { .type = type, .generation = generation };
    message.text = text_part(text, 0, MESSAGE_TEXT_LIMIT);
    int64_t until_ms = clock_now_ms() + SEND_PATIENCE_MS;
    enum err err;
    while ((err = message_send(self->channel, &message)) == ERR_BUSY) {
        struct pollfd ready = { .fd = self->channel, .events = POLLOUT };
        int64_t left_ms = until_ms - clock_now_ms();
        if (left_ms <= 0)
            break;
        poll(&ready, 1, left_ms < 10 ? (int)left_ms : 10);
    }
    /* a closed channel is a parent that is gone: this process is about to end too */
    if (err != OK && err != ERR_CLOSED)
        log_warn("process", "message to the parent lost", INT("type", type),
                 STRING("reason", err_text(err)));
}

enum err process_receive(struct process *self, struct message *message, char *buffer, size_t size,
                         struct generation **generation_out, struct why *why)
{
    *generation_out = NULL;
    enum err err = message_receive(self->channel, buffer, size, message);
    if (err != OK)
        return err == ERR_BUSY ? err : fail(why, err, "channel to the parent: %s", err_text(err));
    if (message->type == MESSAGE_CONFIG)
        return generation_unpack(message, generation_out, why);
    return OK;
}

/* The environment given, with NOTIFY_SOCKET behind it. One block, freed by the caller. */
static char **with_notify_socket(char *const environment[], const char *path)
{
    size_t count = 0;
    while (environment[count] != NULL)
        count++;
    size_t list = (count + 2) * sizeof(char *), len = strlen("NOTIFY_SOCKET=") + strlen(path) + 1;
    char **all = memory_new(list + len);
    char *variable = (char *)all + list;
    memcpy(all, environment, count * sizeof(char *));
    snprintf(variable, len, "NOTIFY_SOCKET=%s", path);
    all[count] = path[0] != '\0' ? variable : NULL;
    return all;
}

enum err process_exec(struct process *self, const char *program, char *const arguments[],
                      char *const environment[], const int *keep_fds, size_t keep_count,
                      struct why *why)
{
    AUTO(memory_drop) char **all = with_notify_socket(environment, self->notify_path);
    /* marked, not closed: when exec fails, the channel must still carry the reason */
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    for (size_t i = 0; i < keep_count; i++)
        if (fcntl(keep_fds[i], F_SETFD, 0) != 0)
            return fail(why, ERR_SYSTEM, "cannot pass descriptor %d on to '%s'", keep_fds[i],
                        program);
    /* foreign programs do not expect EAGAIN from their standard error */
    if (sys_set_nonblocking(self->log_fd, false) != OK)
        return fail(why, ERR_SYSTEM, "cannot set up the log pipe");
    signal(SIGPIPE, SIG_DFL);
    execve(program, arguments, all);
    int error = errno;
    signal(SIGPIPE, SIG_IGN);
    enum err ignored = sys_set_nonblocking(self->log_fd, true);
    (void)ignored;
    return fail(why, error == ENOENT ? ERR_NOT_FOUND : ERR_SYSTEM, "cannot run '%s': %s", program,
                strerror(error));
}
